/* shmget(): what makes a segment, what finds one, and which refusal comes first. */
#include "conform-shm.h"

#include <sys/stat.h>

static void private_makes_a_new_segment_each_time(void **state)
{
	(void)state;
	int a = shm_new(100, 0600);
	int b = shm_new(100, 0600);

	assert_true(a >= 0 && b >= 0);
	assert_int_not_equal(a, b);
}

static void private_ignores_creat_and_excl(void **state)
{
	(void)state;
	int a = shm_get(IPC_PRIVATE, 100, IPC_CREAT | 0600);
	int b = shm_get(IPC_PRIVATE, 100, IPC_CREAT | IPC_EXCL | 0600);
	int c = shm_get(IPC_PRIVATE, 100, IPC_EXCL | 0600);

	assert_true(a >= 0 && b >= 0 && c >= 0);
	assert_true(a != b && b != c && a != c);
}

static void missing_key_without_creat_is_ENOENT(void **state)
{
	(void)state;
	key_t key = shm_free_key();

	assert_int_equal(ERR(shm_get(key, 100, 0600)), ENOENT);
	assert_int_equal(ERR(shm_get(key, 100, IPC_EXCL | 0600)), ENOENT);
	assert_int_equal(ERR(shm_get(key, 0, 0)), ENOENT);
	assert_int_equal(ERR(shm_get(key, SIZE_MAX, 0)), ENOENT);
}

static void key_creates_once_and_then_finds(void **state)
{
	(void)state;
	key_t key = shm_free_key();
	int id = shm_get(key, 100, IPC_CREAT | 0600);

	assert_true(id >= 0);
	assert_int_equal(shmget(key, 100, IPC_CREAT | 0600), id);
	assert_int_equal(shmget(key, 100, 0600), id);
	assert_int_equal(shmget(key, 100, 0), id);
}

static void creat_excl_of_an_existing_key_is_EEXIST(void **state)
{
	(void)state;
	key_t key = shm_free_key();

	assert_true(shm_get(key, 100, IPC_CREAT | IPC_EXCL | 0600) >= 0);
	assert_int_equal(ERR(shm_get(key, 100, IPC_CREAT | IPC_EXCL | 0600)), EEXIST);
}

static void excl_without_creat_finds(void **state)
{
	(void)state;
	key_t key = shm_free_key();
	int id = shm_get(key, 100, IPC_CREAT | 0600);

	assert_int_equal(shmget(key, 100, IPC_EXCL | 0600), id);
}

static void EEXIST_comes_before_EACCES_and_EINVAL(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = shm_free_key();

	assert_true(shm_get(key, 100, IPC_CREAT | 0) >= 0);
	assert_int_equal(NOBODY_GET(key, 100, IPC_CREAT | 0600), EACCES);
	assert_int_equal(NOBODY_GET(key, 100, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
	assert_int_equal(NOBODY_GET(key, 101, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
}

static void a_too_large_size_comes_before_EACCES(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = shm_free_key();

	assert_true(shm_get(key, 100, IPC_CREAT | 0) >= 0);
	assert_int_equal(NOBODY_GET(key, 100, 0600), EACCES);
	assert_int_equal(NOBODY_GET(key, 101, 0600), EINVAL);
}

static void size_zero_cannot_be_made(void **state)
{
	(void)state;
	assert_int_equal(ERR(shm_new(0, 0600)), EINVAL);
	assert_int_equal(ERR(shm_get(shm_free_key(), 0, IPC_CREAT | 0600)), EINVAL);
}

static void size_zero_or_smaller_finds(void **state)
{
	(void)state;
	key_t key = shm_free_key();
	int id = shm_get(key, 5000, IPC_CREAT | 0600);

	assert_int_equal(shmget(key, 0, 0600), id);
	assert_int_equal(shmget(key, 0, IPC_CREAT | 0600), id);
	assert_int_equal(shmget(key, 1, 0600), id);
	assert_int_equal(shmget(key, 4999, 0600), id);
}

static void size_above_the_segments_is_EINVAL_even_in_its_last_page(void **state)
{
	(void)state;
	key_t key = shm_free_key();
	int id = shm_get(key, page_size() + 1, IPC_CREAT | 0600);

	assert_int_equal(shmget(key, page_size() + 1, 0600), id);
	assert_int_equal(ERR(shm_get(key, page_size() + 2, 0600)), EINVAL);
	assert_int_equal(ERR(shm_get(key, 2 * page_size(), IPC_CREAT | 0600)), EINVAL);
	assert_int_equal(ERR(shm_get(key, SIZE_MAX, 0600)), EINVAL);
}

static void size_above_SHMMAX_is_EINVAL(void **state)
{
	(void)state;
	struct shminfo info;

	assert_true(shmctl(0, IPC_INFO, (struct shmid_ds *)&info) >= 0);
	if (info.shmmax == SIZE_MAX)
		skip();
	assert_int_equal(ERR(shm_new(info.shmmax + 1, 0600)), EINVAL);
	assert_int_equal(ERR(shm_new(SIZE_MAX, 0600)), EINVAL);
	assert_int_equal(ERR(shm_new(SIZE_MAX, SHM_NORESERVE | 0600)), EINVAL);
	assert_int_equal(ERR(shm_get(shm_free_key(), SIZE_MAX, IPC_CREAT | 0600)), EINVAL);
}

static void a_size_beyond_any_file_is_EINVAL(void **state)
{
	(void)state;
	assert_int_equal(ERR(shm_new((size_t)INT64_MAX + 1, 0600)), EINVAL);
	assert_int_equal(ERR(shm_new((size_t)INT64_MAX + 1, SHM_NORESERVE | 0600)), EINVAL);
}

static int overcommit(void)
{
	FILE *f = fopen("/proc/sys/vm/overcommit_memory", "re");
	int mode = -1;

	if (f) {
		if (fscanf(f, "%d", &mode) != 1)
			mode = -1;
		fclose(f);
	}
	return mode;
}

static void a_huge_size_is_ENOMEM(void **state)
{
	(void)state;
	if (overcommit() == 1)
		skip();
	assert_int_equal(ERR(shm_new((size_t)1 << 46, 0600)), ENOMEM);
	assert_int_equal(ERR(shm_get(shm_free_key(), (size_t)1 << 46, IPC_CREAT | 0600)), ENOMEM);
}

static void a_failed_creation_leaves_no_key(void **state)
{
	(void)state;
	if (overcommit() == 1)
		skip();
	key_t key = shm_free_key();

	assert_int_equal(ERR(shm_get(key, (size_t)1 << 46, IPC_CREAT | 0600)), ENOMEM);
	assert_int_equal(ERR(shm_get(key, 0, 0)), ENOENT);
	assert_true(shm_get(key, 100, IPC_CREAT | IPC_EXCL | 0600) >= 0);
}

static void noreserve_takes_a_size_larger_than_memory(void **state)
{
	(void)state;
	if (overcommit() == 2)
		skip();
	int id = shm_new((size_t)1 << 40, SHM_NORESERVE | 0600);
	struct shmid_ds ds;

	assert_true(id >= 0);
	assert_int_equal(shmctl(id, IPC_STAT, &ds), 0);
	assert_int_equal(ds.shm_segsz, (size_t)1 << 40);
	char *p = shmat(id, NULL, 0);
	assert_ptr_not_equal(p, FAILED);
	p[((size_t)1 << 40) - 1] = 7;
	assert_int_equal(p[((size_t)1 << 40) - 1], 7);
	assert_int_equal(p[(size_t)1 << 39], 0);
	assert_int_equal(shmdt(p), 0);
}

static void noreserve_makes_a_normal_segment(void **state)
{
	(void)state;
	int id = shm_new(10000, SHM_NORESERVE | 0640);
	struct shmid_ds ds;

	assert_int_equal(shmctl(id, IPC_STAT, &ds), 0);
	assert_int_equal(ds.shm_perm.mode, 0640);
	assert_int_equal(ds.shm_segsz, 10000);
}

static void mode_bits_are_checked_at_get(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	static const struct {
		int mode, asked, want;
	} row[] = {
		{0600, 0, 0},	      {0600, 0400, EACCES}, {0600, 0004, EACCES},
		{0604, 0004, 0},      {0604, 0400, 0},	    {0604, 0444, 0},
		{0604, 0002, EACCES}, {0604, 0200, EACCES}, {0604, 0600, EACCES},
		{0606, 0666, 0},      {0602, 0200, 0},	    {0602, 0400, EACCES},
		{0660, 0060, EACCES}, {0606, 0777, EACCES}, {0607, 0777, 0},
		{0604, 0100, EACCES}, {0000, 0, 0},	    {0000, 0001, EACCES},
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		key_t key = shm_free_key();
		assert_true(shm_get(key, 100, IPC_CREAT | row[i].mode) >= 0);
		int got = NOBODY_GET(key, 100, row[i].asked);
		if (got != row[i].want)
			print_error("mode %o asked %o: got %d, want %d\n", (unsigned)row[i].mode,
				    (unsigned)row[i].asked, got, row[i].want);
		assert_int_equal(got, row[i].want);
	}
}

static void group_bits_count_for_the_segments_group(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = shm_free_key();
	int id = shm_get(key, 100, IPC_CREAT | 0640);
	struct shmid_ds ds;

	assert_int_equal(shmctl(id, IPC_STAT, &ds), 0);
	ds.shm_perm.gid = CONFORM_NOBODY;
	assert_int_equal(shmctl(id, IPC_SET, &ds), 0);
	assert_int_equal(NOBODY_GET(key, 100, 0400), 0);
	assert_int_equal(NOBODY_GET(key, 100, 0040), 0);
	assert_int_equal(NOBODY_GET(key, 100, 0600), EACCES);
	ds.shm_perm.mode = 0604; /* the group's bits, not the others', count for a member */
	assert_int_equal(shmctl(id, IPC_SET, &ds), 0);
	assert_int_equal(NOBODY_GET(key, 100, 0400), EACCES);
}

static int owner_of_mode_zero(void *arg)
{
	key_t key = *(key_t *)arg;
	int id = shm_get(key, 100, IPC_CREAT | 0);

	NEED(id >= 0);
	NEED(ERR(shmget(key, 100, 0400)) == EACCES);
	NEED(ERR(shmget(key, 100, 0600)) == EACCES);
	NEED(ERR(shmget(key, 100, IPC_CREAT | 0600)) == EACCES);
	NEED(shmget(key, 100, 0) == id);
	NEED(ERR_P(shmat(id, NULL, 0)) == EACCES);
	NEED(ERR_P(shmat(id, NULL, SHM_RDONLY)) == EACCES);
	NEED(shm_nattch(id) == -EACCES);
	NEED(shm_remove(id) == 0); /* ownership alone removes */
	return 0;
}

static void an_owner_with_mode_zero_is_refused(void **state)
{
	(void)state;
	key_t key = shm_free_key();

	if (geteuid() == 0)
		assert_int_equal(nobody_run(owner_of_mode_zero, &key), 0);
	else
		assert_int_equal(child_run(owner_of_mode_zero, &key), 0);
}

static void root_is_never_refused(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = shm_free_key();
	int id = shm_get(key, 100, IPC_CREAT | 0);

	assert_int_equal(shmget(key, 100, 0777), id);
	void *p = shmat(id, NULL, 0);
	assert_ptr_not_equal(p, FAILED);
	assert_int_equal(shmdt(p), 0);
}

static int creator_then_other_owner(void *arg)
{
	key_t key = *(key_t *)arg;
	int id = shm_get(key, 100, IPC_CREAT | 0600);
	struct shmid_ds ds;

	NEED(shmctl(id, IPC_STAT, &ds) == 0);
	ds.shm_perm.uid = 12345;
	NEED(shmctl(id, IPC_SET, &ds) == 0);
	NEED(shmget(key, 100, 0600) == id);
	NEED(shmctl(id, IPC_STAT, &ds) == 0);
	NEED(ds.shm_perm.uid == 12345 && ds.shm_perm.cuid == CONFORM_NOBODY);
	NEED(ERR_P(shmat(id, NULL, 0)) == 0);
	NEED(shm_remove(id) == 0);
	return 0;
}

static void the_creator_keeps_the_owners_rights(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = shm_free_key();

	assert_int_equal(nobody_run(creator_then_other_owner, &key), 0);
}

static void keys_have_32_bits(void **state)
{
	(void)state;
	static const uint32_t base[] = {0x80000000u, 0xffffff00u, 0x7fffff00u, 0x00010000u};

	for (size_t i = 0; i < sizeof(base) / sizeof(*base); i++) {
		key_t key = (key_t)(base[i] + 1 + (uint32_t)getpid() % 64);
		struct shmid_ds ds;
		if (shmget(key, 0, 0) != -1)
			continue; /* somebody else's */
		int id = shm_get(key, 100, IPC_CREAT | IPC_EXCL | 0600);
		assert_true(id >= 0);
		assert_int_equal(shmget(key, 100, 0600), id);
		assert_int_equal(shmctl(id, IPC_STAT, &ds), 0);
		assert_int_equal((key_t)ds.shm_perm.__key, key);
	}
}

static void keys_that_differ_in_the_top_bit_are_two_keys(void **state)
{
	(void)state;
	key_t low = shm_free_key();
	key_t high = (key_t)((uint32_t)low | 0x80000000u);

	if (shmget(high, 0, 0) != -1)
		skip();
	int a = shm_get(low, 100, IPC_CREAT | 0600);
	int b = shm_get(high, 100, IPC_CREAT | 0600);
	assert_true(a >= 0 && b >= 0);
	assert_int_not_equal(a, b);
}

static void an_id_is_seq_times_32768_plus_index(void **state)
{
	(void)state;
	int ids[8];

	for (int i = 0; i < 8; i++) {
		struct shmid_ds ds;
		ids[i] = shm_new(100, 0600);
		assert_true(ids[i] >= 0);
		assert_int_equal(shmctl(ids[i], IPC_STAT, &ds), 0);
		assert_int_equal(ds.shm_perm.__seq, ids[i] / CONFORM_INDICES);
		assert_int_equal(shmctl(ids[i] % CONFORM_INDICES, SHM_STAT, &ds), ids[i]);
		for (int j = 0; j < i; j++)
			assert_int_not_equal(ids[i] % CONFORM_INDICES, ids[j] % CONFORM_INDICES);
	}
}

static void a_stale_id_is_EINVAL_everywhere(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	struct shmid_ds ds;

	assert_int_equal(shm_remove(id), 0);
	assert_int_equal(ERR(shmctl(id, IPC_STAT, &ds)), EINVAL);
	assert_int_equal(ERR(shmctl(id, IPC_SET, &ds)), EINVAL);
	assert_int_equal(ERR(shmctl(id, IPC_RMID, NULL)), EINVAL);
	assert_int_equal(ERR(shmctl(id, SHM_LOCK, NULL)), EINVAL);
	assert_int_equal(ERR(shmctl(id, SHM_UNLOCK, NULL)), EINVAL);
	assert_int_equal(ERR_P(shmat(id, NULL, 0)), EINVAL);
}

static void an_id_is_not_given_again_soon(void **state)
{
	(void)state;
	int first = shm_new(100, 0600);

	assert_int_equal(shm_remove(first), 0);
	for (int i = 0; i < 200; i++) {
		int id = shm_new(100, 0600);
		assert_int_not_equal(id, first);
		assert_int_equal(shm_remove(id), 0);
		assert_true(shm_gone(first));
	}
}

static void after_removal_the_key_is_free(void **state)
{
	(void)state;
	key_t key = shm_free_key();
	int old = shm_get(key, 100, IPC_CREAT | 0600);

	assert_int_equal(shm_remove(old), 0);
	assert_int_equal(ERR(shm_get(key, 100, 0600)), ENOENT);
	int new = shm_get(key, 200, IPC_CREAT | IPC_EXCL | 0600);
	assert_true(new >= 0);
	assert_int_not_equal(new, old);
}

static void only_nine_mode_bits_are_kept_and_umask_is_ignored(void **state)
{
	(void)state;
	mode_t old = umask(0777);
	int id = shm_get(shm_free_key(), 100, IPC_CREAT | IPC_EXCL | 0777);
	struct shmid_ds ds;

	umask(old);
	assert_int_equal(shmctl(id, IPC_STAT, &ds), 0);
	assert_int_equal(ds.shm_perm.mode, 0777);
}

static long long hugepages(void)
{
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", "re");
	long long n = -1;

	if (f) {
		if (fscanf(f, "%lld", &n) != 1)
			n = -1;
		fclose(f);
	}
	return n;
}

static void hugetlb_without_huge_pages_is_ENOMEM(void **state)
{
	(void)state;
	if (hugepages() != 0)
		skip();
	SKIP_UNLESS_ROOT(); /* others may be refused with EPERM first */
	key_t key = shm_free_key();

	assert_int_equal(ERR(shm_new(100, SHM_HUGETLB | 0600)), ENOMEM);
	assert_int_equal(ERR(shm_new(4 << 20, SHM_HUGETLB | 0600)), ENOMEM);
	assert_int_equal(ERR(shm_get(key, 4 << 20, SHM_HUGETLB | IPC_CREAT | 0600)), ENOMEM);
	assert_int_equal(ERR(shm_get(key, 0, 0)), ENOENT);
	assert_int_equal(ERR(shm_new(0, SHM_HUGETLB | 0600)), EINVAL);
}

static void hugetlb_of_an_unknown_page_size_is_EINVAL(void **state)
{
	(void)state;
	if (hugepages() < 0)
		skip();
	assert_int_equal(ERR(shm_new(4 << 20, SHM_HUGETLB | 13 << 26 | 0600)), EINVAL);
}

static void hugetlb_as_nobody_is_EPERM(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	if (hugepages() != 0)
		skip();
	assert_int_equal(NOBODY_GET(IPC_PRIVATE, 4 << 20, SHM_HUGETLB | 0600), EPERM);
}

static void hugetlb_finds_a_normal_segment(void **state)
{
	(void)state;
	key_t key = shm_free_key();
	int id = shm_get(key, 100, IPC_CREAT | 0600);

	assert_int_equal(shmget(key, 100, SHM_HUGETLB | 0600), id);
	assert_int_equal(shmget(key, 100, SHM_NORESERVE | 0600), id);
}

static void anybody_may_make_a_segment(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	assert_int_equal(NOBODY_GET(IPC_PRIVATE, 100, 0600), 0);
	assert_int_equal(NOBODY_GET(shm_free_key(), 100, IPC_CREAT | 0600), 0);
}

static int race_for_key(void *arg)
{
	return ERR(shm_get(*(key_t *)arg, 100, IPC_CREAT | IPC_EXCL | 0600));
}

static void of_racing_creators_exactly_one_wins(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		key_t key = shm_free_key();
		pid_t pid[4];
		int won = 0, lost = 0;
		for (int i = 0; i < 4; i++)
			pid[i] = child_start(race_for_key, &key);
		for (int i = 0; i < 4; i++) {
			int rc = child_wait(pid[i]);
			won += rc == 0;
			lost += rc == EEXIST;
		}
		assert_int_equal(won, 1);
		assert_int_equal(lost, 3);
	}
}

static int find_and_write(void *arg)
{
	int id = shmget(*(key_t *)arg, 0, 0600);
	NEED(id >= 0);
	char *p = shmat(id, NULL, 0);
	NEED(p != FAILED);
	strcpy(p, "hello");
	return ERR(shmdt(p));
}

static void a_key_joins_unrelated_processes(void **state)
{
	(void)state;
	key_t key = shm_free_key();
	int id = shm_get(key, 100, IPC_CREAT | 0600);

	assert_int_equal(child_run(find_and_write, &key), 0);
	char *p = shmat(id, NULL, 0);
	assert_ptr_not_equal(p, FAILED);
	assert_string_equal(p, "hello");
	assert_int_equal(shmdt(p), 0);
}

static void ftok_keys_work(void **state)
{
	(void)state;
	key_t key = ftok("/proc/self/exe", 'v');

	assert_int_not_equal(key, -1);
	int id = shm_get(key, 100, IPC_CREAT | 0600);
	assert_true(id >= 0);
	assert_int_equal(shmget(key, 100, 0600), id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(private_makes_a_new_segment_each_time),
		CONFORM_TEST(private_ignores_creat_and_excl),
		CONFORM_TEST(missing_key_without_creat_is_ENOENT),
		CONFORM_TEST(key_creates_once_and_then_finds),
		CONFORM_TEST(creat_excl_of_an_existing_key_is_EEXIST),
		CONFORM_TEST(excl_without_creat_finds),
		CONFORM_TEST(EEXIST_comes_before_EACCES_and_EINVAL),
		CONFORM_TEST(a_too_large_size_comes_before_EACCES),
		CONFORM_TEST(size_zero_cannot_be_made),
		CONFORM_TEST(size_zero_or_smaller_finds),
		CONFORM_TEST(size_above_the_segments_is_EINVAL_even_in_its_last_page),
		CONFORM_TEST(size_above_SHMMAX_is_EINVAL),
		CONFORM_TEST(a_size_beyond_any_file_is_EINVAL),
		CONFORM_TEST(a_huge_size_is_ENOMEM),
		CONFORM_TEST(a_failed_creation_leaves_no_key),
		CONFORM_TEST(noreserve_takes_a_size_larger_than_memory),
		CONFORM_TEST(noreserve_makes_a_normal_segment),
		CONFORM_TEST(mode_bits_are_checked_at_get),
		CONFORM_TEST(group_bits_count_for_the_segments_group),
		CONFORM_TEST(an_owner_with_mode_zero_is_refused),
		CONFORM_TEST(root_is_never_refused),
		CONFORM_TEST(the_creator_keeps_the_owners_rights),
		CONFORM_TEST(keys_have_32_bits),
		CONFORM_TEST(keys_that_differ_in_the_top_bit_are_two_keys),
		CONFORM_TEST(an_id_is_seq_times_32768_plus_index),
		CONFORM_TEST(a_stale_id_is_EINVAL_everywhere),
		CONFORM_TEST(an_id_is_not_given_again_soon),
		CONFORM_TEST(after_removal_the_key_is_free),
		CONFORM_TEST(only_nine_mode_bits_are_kept_and_umask_is_ignored),
		CONFORM_TEST(hugetlb_without_huge_pages_is_ENOMEM),
		CONFORM_TEST(hugetlb_of_an_unknown_page_size_is_EINVAL),
		CONFORM_TEST(hugetlb_as_nobody_is_EPERM),
		CONFORM_TEST(hugetlb_finds_a_normal_segment),
		CONFORM_TEST(anybody_may_make_a_segment),
		CONFORM_TEST(of_racing_creators_exactly_one_wins),
		CONFORM_TEST(a_key_joins_unrelated_processes),
		CONFORM_TEST(ftok_keys_work),
	};
	return CONFORM_RUN(tests);
}
