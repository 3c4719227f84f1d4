/* semget(): what makes a set, what finds one, and which refusal comes first. */
#include "conform-sem.h"

#include <sys/stat.h>

static int limit_semmsl(void)
{
	struct seminfo info;

	assert_true(semctl(0, 0, IPC_INFO, ARG_P(&info)) >= 0);
	return info.semmsl;
}

static void private_makes_a_new_set_each_time(void **state)
{
	(void)state;
	int a = sem_new(1, 0600);
	int b = sem_new(1, 0600);

	assert_true(a >= 0 && b >= 0);
	assert_int_not_equal(a, b);
}

static void private_ignores_creat_and_excl(void **state)
{
	(void)state;
	int a = sem_get(IPC_PRIVATE, 1, IPC_CREAT | 0600);
	int b = sem_get(IPC_PRIVATE, 1, IPC_CREAT | IPC_EXCL | 0600);
	int c = sem_get(IPC_PRIVATE, 1, IPC_EXCL | 0600);

	assert_true(a >= 0 && b >= 0 && c >= 0);
	assert_true(a != b && b != c && a != c);
}

static void a_private_set_is_not_found_by_key_zero(void **state)
{
	(void)state;
	int a = sem_new(3, 0600);

	assert_int_not_equal(sem_get(0, 3, 0600), a);
}

static void missing_key_without_creat_is_ENOENT(void **state)
{
	(void)state;
	key_t key = sem_free_key();

	assert_int_equal(ERR(sem_get(key, 1, 0600)), ENOENT);
	assert_int_equal(ERR(sem_get(key, 1, IPC_EXCL | 0600)), ENOENT);
	assert_int_equal(ERR(sem_get(key, 0, 0)), ENOENT);
	assert_int_equal(ERR(sem_get(key, limit_semmsl(), 0)), ENOENT);
}

static void key_creates_once_and_then_finds(void **state)
{
	(void)state;
	key_t key = sem_free_key();
	int id = sem_get(key, 3, IPC_CREAT | 0600);

	assert_true(id >= 0);
	assert_int_equal(semget(key, 3, IPC_CREAT | 0600), id);
	assert_int_equal(semget(key, 3, 0600), id);
	assert_int_equal(semget(key, 3, 0), id);
}

static void creat_excl_of_an_existing_key_is_EEXIST(void **state)
{
	(void)state;
	key_t key = sem_free_key();

	assert_true(sem_get(key, 1, IPC_CREAT | IPC_EXCL | 0600) >= 0);
	assert_int_equal(ERR(sem_get(key, 1, IPC_CREAT | IPC_EXCL | 0600)), EEXIST);
	assert_int_equal(ERR(sem_get(key, 0, IPC_CREAT | IPC_EXCL)), EEXIST);
}

static void excl_without_creat_finds(void **state)
{
	(void)state;
	key_t key = sem_free_key();
	int id = sem_get(key, 1, IPC_CREAT | 0600);

	assert_int_equal(semget(key, 1, IPC_EXCL | 0600), id);
}

static void EEXIST_comes_before_EACCES_and_a_too_large_nsems(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = sem_free_key();

	assert_true(sem_get(key, 2, IPC_CREAT | 0) >= 0);
	assert_int_equal(NOBODY_GET(key, 2, IPC_CREAT | 0600), EACCES);
	assert_int_equal(NOBODY_GET(key, 2, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
	assert_int_equal(NOBODY_GET(key, 3, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
}

static void a_too_large_nsems_comes_before_EACCES(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = sem_free_key();

	assert_true(sem_get(key, 2, IPC_CREAT | 0) >= 0);
	assert_int_equal(NOBODY_GET(key, 2, 0600), EACCES);
	assert_int_equal(NOBODY_GET(key, 3, 0600), EINVAL);
}

static void nsems_zero_cannot_be_made(void **state)
{
	(void)state;
	key_t key = sem_free_key();

	assert_int_equal(ERR(sem_new(0, 0600)), EINVAL);
	assert_int_equal(ERR(sem_get(key, 0, IPC_CREAT | 0600)), EINVAL);
	assert_int_equal(ERR(sem_get(key, 0, IPC_CREAT | IPC_EXCL | 0600)), EINVAL);
	assert_int_equal(ERR(sem_get(key, 0, 0)), ENOENT); /* and no key is left */
}

static void nsems_zero_or_smaller_finds(void **state)
{
	(void)state;
	key_t key = sem_free_key();
	int id = sem_get(key, 5, IPC_CREAT | 0600);

	assert_int_equal(semget(key, 0, 0600), id);
	assert_int_equal(semget(key, 0, IPC_CREAT | 0600), id);
	assert_int_equal(semget(key, 1, 0600), id);
	assert_int_equal(semget(key, 4, 0600), id);
	assert_int_equal(sem_nsems(id), 5);
}

static void nsems_above_the_sets_is_EINVAL(void **state)
{
	(void)state;
	key_t key = sem_free_key();
	int id = sem_get(key, 5, IPC_CREAT | 0600);

	assert_int_equal(semget(key, 5, 0600), id);
	assert_int_equal(ERR(sem_get(key, 6, 0600)), EINVAL);
	assert_int_equal(ERR(sem_get(key, 6, IPC_CREAT | 0600)), EINVAL);
}

static void a_negative_nsems_or_one_above_SEMMSL_is_EINVAL_before_all_else(void **state)
{
	(void)state;
	key_t missing = sem_free_key(), key = sem_free_key();
	const int bad[] = {-1, INT32_MIN, limit_semmsl() + 1, INT32_MAX};

	assert_true(sem_get(key, 1, IPC_CREAT | 0600) >= 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(ERR(sem_new(bad[i], 0600)), EINVAL);
		assert_int_equal(ERR(sem_get(missing, bad[i], 0600)), EINVAL); /* not ENOENT */
		assert_int_equal(ERR(sem_get(missing, bad[i], IPC_CREAT | 0600)), EINVAL);
		assert_int_equal(ERR(sem_get(key, bad[i], 0600)), EINVAL);
		assert_int_equal(ERR(sem_get(key, bad[i], IPC_CREAT | IPC_EXCL)), EINVAL);
	}
}

static void SEMMSL_semaphores_can_be_made_and_used(void **state)
{
	(void)state;
	int n = limit_semmsl();
	int id = sem_new(n, 0600);

	assert_true(id >= 0);
	assert_int_equal(sem_nsems(id), n);
	assert_int_equal(sem_val(id, n - 1), 0);
	assert_int_equal(sem_set(id, n - 1, 7), 0);
	assert_int_equal(SEMOP(id, {(unsigned short)(n - 1), -7, 0}, {0, 1, 0}), 0);
	assert_int_equal(sem_val(id, n - 1), 0);
	assert_int_equal(sem_val(id, 0), 1);
}

static void a_new_set_is_all_zero_and_never_used(void **state)
{
	(void)state;
	time_t before = coarse_now();
	int id = sem_new(50, 0600);
	time_t after = time(NULL);
	struct semid_ds ds = sem_stat(id);

	for (int i = 0; i < 50; i++) {
		assert_int_equal(sem_val(id, i), 0);
		assert_int_equal(sem_pid(id, i), 0);
		assert_int_equal(sem_ncnt(id, i), 0);
		assert_int_equal(sem_zcnt(id, i), 0);
	}
	assert_int_equal(ds.sem_otime, 0);
	assert_between(before, ds.sem_ctime, after);
}

static void the_memory_of_a_removed_set_is_not_seen_again(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		int id = sem_new(5, 0600);
		for (int i = 0; i < 5; i++) {
			assert_int_equal(sem_val(id, i), 0);
			assert_int_equal(sem_pid(id, i), 0);
			assert_int_equal(sem_set(id, i, 100 + i), 0);
		}
		assert_int_equal(sem_otime(id), 0);
		assert_int_equal(SEMOP(id, {2, 1, SEM_UNDO}), 0);
		assert_int_equal(sem_remove(id), 0);
	}
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
		key_t key = sem_free_key();
		assert_true(sem_get(key, 1, IPC_CREAT | row[i].mode) >= 0);
		int got = NOBODY_GET(key, 1, row[i].asked);
		if (got != row[i].want)
			print_error("mode %o asked %o: got %d, want %d\n", (unsigned)row[i].mode,
				    (unsigned)row[i].asked, got, row[i].want);
		assert_int_equal(got, row[i].want);
	}
}

static void group_bits_count_for_the_sets_group(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = sem_free_key();
	int id = sem_get(key, 1, IPC_CREAT | 0640);
	struct semid_ds ds = sem_stat(id);

	ds.sem_perm.gid = CONFORM_NOBODY;
	assert_int_equal(semctl(id, 0, IPC_SET, ARG_P(&ds)), 0);
	assert_int_equal(NOBODY_GET(key, 1, 0400), 0);
	assert_int_equal(NOBODY_GET(key, 1, 0040), 0);
	assert_int_equal(NOBODY_GET(key, 1, 0600), EACCES);
	ds.sem_perm.mode = 0604; /* the group's bits, not the others', count for a member */
	assert_int_equal(semctl(id, 0, IPC_SET, ARG_P(&ds)), 0);
	assert_int_equal(NOBODY_GET(key, 1, 0400), EACCES);
}

static int member_of_group(void *arg)
{
	key_t key = *(key_t *)arg;
	gid_t groups[] = {4321, 4322};

	NEED(setgroups(2, groups) == 0);
	NEED(setresgid(CONFORM_NOBODY, CONFORM_NOBODY, CONFORM_NOBODY) == 0);
	NEED(setresuid(CONFORM_NOBODY, CONFORM_NOBODY, CONFORM_NOBODY) == 0);
	int id = semget(key, 1, 0040);
	NEED(id >= 0);
	NEED(ERR(semget(key, 1, 0060)) == EACCES);
	NEED(sem_val(id, 0) == 0);
	NEED(SEMOP(id, {0, 1, 0}) == EACCES);
	return 0;
}

static void supplementary_groups_count(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = sem_free_key();
	int id = sem_get(key, 1, IPC_CREAT | 0640);
	struct semid_ds ds = sem_stat(id);

	ds.sem_perm.gid = 4322;
	assert_int_equal(semctl(id, 0, IPC_SET, ARG_P(&ds)), 0);
	assert_int_equal(child_run(member_of_group, &key), 0);
}

static int owner_of_mode_zero(void *arg)
{
	key_t key = *(key_t *)arg;
	int id = sem_get(key, 1, IPC_CREAT | 0);

	NEED(id >= 0);
	NEED(ERR(semget(key, 1, 0400)) == EACCES);
	NEED(ERR(semget(key, 1, 0600)) == EACCES);
	NEED(ERR(semget(key, 1, IPC_CREAT | 0600)) == EACCES);
	NEED(semget(key, 1, 0) == id);
	NEED(SEMOP(id, {0, 1, 0}) == EACCES);
	NEED(SEMOP(id, {0, 0, 0}) == EACCES);
	NEED(ERR(sem_val(id, 0)) == EACCES);
	NEED(sem_set(id, 0, 1) == EACCES);
	NEED(sem_nsems(id) == -EACCES);
	NEED(sem_remove(id) == 0); /* ownership alone removes */
	return 0;
}

static void an_owner_with_mode_zero_is_refused(void **state)
{
	(void)state;
	key_t key = sem_free_key();

	if (geteuid() == 0)
		assert_int_equal(nobody_run(owner_of_mode_zero, &key), 0);
	else
		assert_int_equal(child_run(owner_of_mode_zero, &key), 0);
}

static void root_is_never_refused(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = sem_free_key();
	int id = sem_get(key, 1, IPC_CREAT | 0);

	assert_int_equal(semget(key, 1, 0777), id);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(sem_val(id, 0), 1);
}

static int creator_then_other_owner(void *arg)
{
	key_t key = *(key_t *)arg;
	int id = sem_get(key, 1, IPC_CREAT | 0600);
	struct semid_ds ds = sem_stat(id);

	ds.sem_perm.uid = 12345;
	NEED(semctl(id, 0, IPC_SET, ARG_P(&ds)) == 0);
	NEED(semget(key, 1, 0600) == id);
	ds = sem_stat(id);
	NEED(ds.sem_perm.uid == 12345 && ds.sem_perm.cuid == CONFORM_NOBODY);
	NEED(SEMOP(id, {0, 1, 0}) == 0);
	NEED(sem_remove(id) == 0);
	return 0;
}

static void the_creator_keeps_the_owners_rights(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = sem_free_key();

	assert_int_equal(nobody_run(creator_then_other_owner, &key), 0);
}

static void keys_have_32_bits(void **state)
{
	(void)state;
	static const uint32_t base[] = {0x80000000u, 0xffffff00u, 0x7fffff00u, 0x00010000u};

	for (size_t i = 0; i < sizeof(base) / sizeof(*base); i++) {
		key_t key = (key_t)(base[i] + 1 + (uint32_t)getpid() % 64);
		if (semget(key, 0, 0) != -1)
			continue; /* somebody else's */
		int id = sem_get(key, 1, IPC_CREAT | IPC_EXCL | 0600);
		assert_true(id >= 0);
		assert_int_equal(semget(key, 1, 0600), id);
		assert_int_equal((key_t)sem_stat(id).sem_perm.__key, key);
	}
}

static void keys_that_differ_in_the_top_bit_are_two_keys(void **state)
{
	(void)state;
	key_t low = sem_free_key();
	key_t high = (key_t)((uint32_t)low | 0x80000000u);

	if (semget(high, 0, 0) != -1)
		skip();
	int a = sem_get(low, 1, IPC_CREAT | 0600);
	int b = sem_get(high, 1, IPC_CREAT | 0600);
	assert_true(a >= 0 && b >= 0);
	assert_int_not_equal(a, b);
}

static void a_segment_and_a_queue_may_have_the_same_key(void **state)
{
	(void)state;
	key_t key = sem_free_key();
	int id = sem_get(key, 1, IPC_CREAT | IPC_EXCL | 0600);

	assert_true(id >= 0);
	if (shmget(key, 0, 0) != -1)
		skip();
	int shm = conform_keep(CONFORM_SHM, shmget(key, 10, IPC_CREAT | IPC_EXCL | 0600));
	assert_true(shm >= 0);
	assert_int_equal(semget(key, 1, 0600), id);
	assert_int_equal(sem_remove(id), 0);
	assert_int_equal(shmget(key, 0, 0600), shm);
}

static void an_id_is_seq_times_32768_plus_index(void **state)
{
	(void)state;
	int ids[8];

	for (int i = 0; i < 8; i++) {
		struct semid_ds ds;
		ids[i] = sem_new(1, 0600);
		assert_true(ids[i] >= 0);
		assert_int_equal(sem_stat(ids[i]).sem_perm.__seq, ids[i] / CONFORM_INDICES);
		assert_int_equal(semctl(ids[i] % CONFORM_INDICES, 0, SEM_STAT, ARG_P(&ds)), ids[i]);
		for (int j = 0; j < i; j++)
			assert_int_not_equal(ids[i] % CONFORM_INDICES, ids[j] % CONFORM_INDICES);
	}
}

/* The id that a namespace with few sets gives after `last` was given: the index goes round in 64. */
static int id_after(int last, int range)
{
	int seq = last / CONFORM_INDICES, index = last % CONFORM_INDICES + 1;

	return index == range ? (seq + 1) * CONFORM_INDICES : seq * CONFORM_INDICES + index;
}

static int indices_go_on(void *arg)
{
	(void)arg;
	child_alone();
	int last = semget(IPC_PRIVATE, 1, 0600);

	NEED(last >= 0);
	for (int i = 0; i < 200; i++) { /* a removed index is not taken again at once */
		NEED(sem_remove(last) == 0);
		int id = semget(IPC_PRIVATE, 1, 0600);
		NEED(id == id_after(last, 64));
		last = id;
	}
	NEED(sem_remove(last) == 0);
	return 0;
}

static void indices_are_given_in_turn_below_64_and_seq_counts_rounds(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(indices_go_on, NULL));
}

static int indices_of_80(void *arg)
{
	int id[80], used[256] = {0};

	(void)arg;
	child_alone();
	for (int i = 0; i < 80; i++) {
		NEED((id[i] = semget(IPC_PRIVATE, 1, 0600)) >= 0);
		NEED(id[i] % CONFORM_INDICES < 120);
		used[id[i] % CONFORM_INDICES] = 1;
	}
	int last = semget(IPC_PRIVATE, 1, 0600), top = 0;
	NEED(last >= 0 && sem_remove(last) == 0);
	for (int i = 0; i < 300; i++) { /* 80 in use: the range is 80 * 3 / 2 */
		int next = id_after(last, 120);
		while (used[next % CONFORM_INDICES])
			next = id_after(next, 120);
		int new = semget(IPC_PRIVATE, 1, 0600);
		NEED(new == next);
		NEED(sem_remove(new) == 0);
		last = new;
		top = new % CONFORM_INDICES > top ? new % CONFORM_INDICES : top;
	}
	NEED(top == 119);
	for (int i = 0; i < 80; i++)
		NEED(sem_remove(id[i]) == 0);
	return 0;
}

static void the_range_of_indices_is_one_and_a_half_times_those_in_use(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(indices_of_80, NULL));
}

static void a_stale_id_is_EINVAL_everywhere(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	static const int cmd[] = {GETVAL, GETPID, GETNCNT,  GETZCNT, GETALL,
				  SETALL, SETVAL, IPC_STAT, IPC_SET, IPC_RMID};
	struct semid_ds ds = sem_stat(id);

	assert_int_equal(sem_remove(id), 0);
	for (size_t i = 0; i < sizeof(cmd) / sizeof(*cmd); i++) {
		union sem_arg arg = cmd[i] == SETVAL ? ARG_VAL(1) : ARG_P(&ds);
		assert_int_equal(ERR(semctl(id, 0, cmd[i], arg)), EINVAL);
	}
	assert_int_equal(SEMOP(id, {0, 1, 0}), EINVAL);
	assert_int_equal(SEMOP(id, {0, 0, 0}), EINVAL);
	assert_int_equal(SEMOP(id, {0, 1, SEM_UNDO}), EINVAL);
}

static void an_id_with_another_seq_is_EINVAL(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(ERR(sem_val(id ^ CONFORM_INDICES, 0)), EINVAL);
	assert_int_equal(SEMOP(id ^ CONFORM_INDICES, {0, 1, 0}), EINVAL);
	assert_int_equal(SEMOP(id ^ CONFORM_INDICES, {0, 1, SEM_UNDO}), EINVAL);
	assert_int_equal(SEMOP(id ^ (1 << 30), {0, 1, 0}), EINVAL);
	assert_int_equal(sem_val(id, 0), 0);
}

static void an_id_is_not_given_again_soon(void **state)
{
	(void)state;
	int first = sem_new(1, 0600);

	assert_int_equal(sem_remove(first), 0);
	for (int i = 0; i < 200; i++) {
		int id = sem_new(1, 0600);
		assert_int_not_equal(id, first);
		assert_int_equal(sem_remove(id), 0);
		assert_true(sem_gone(first));
	}
}

static int next_id_is_taken(void *arg)
{
	(void)arg;
	child_alone();
	child_set_limit("sem_next_id", "100005");
	int id = semget(IPC_PRIVATE, 1, 0600);
	NEED(id == 100005);
	int other = semget(IPC_PRIVATE, 1, 0600); /* only once */
	NEED(other >= 0 && other != 100005 + 1);
	NEED(sem_remove(id) == 0 && sem_remove(other) == 0);
	return 0;
}

static void sem_next_id_chooses_one_id(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(next_id_is_taken, NULL));
}

static void after_removal_the_key_is_free(void **state)
{
	(void)state;
	key_t key = sem_free_key();
	int old = sem_get(key, 1, IPC_CREAT | 0600);

	assert_int_equal(sem_remove(old), 0);
	assert_int_equal(ERR(sem_get(key, 1, 0600)), ENOENT);
	int new = sem_get(key, 2, IPC_CREAT | IPC_EXCL | 0600);
	assert_true(new >= 0);
	assert_int_not_equal(new, old);
	assert_int_equal(sem_nsems(new), 2);
}

static void only_nine_mode_bits_are_kept_and_umask_is_ignored(void **state)
{
	(void)state;
	mode_t old = umask(0777);
	int id = sem_get(sem_free_key(), 1, IPC_CREAT | IPC_EXCL | 0777);
	int odd = sem_get(sem_free_key(), 1, IPC_CREAT | IPC_NOWAIT | 0x7fff0000 | 0523);

	umask(old);
	assert_int_equal(sem_stat(id).sem_perm.mode, 0777);
	assert_int_equal(sem_stat(odd).sem_perm.mode, 0523);
}

static void anybody_may_make_a_set(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	assert_int_equal(NOBODY_GET(IPC_PRIVATE, 1, 0600), 0);
	assert_int_equal(NOBODY_GET(sem_free_key(), 1, IPC_CREAT | 0600), 0);
}

static int race_for_key(void *arg)
{
	return ERR(sem_get(*(key_t *)arg, 1, IPC_CREAT | IPC_EXCL | 0600));
}

static void of_racing_creators_exactly_one_wins(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		key_t key = sem_free_key();
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

static int find_and_post(void *arg)
{
	int id = semget(*(key_t *)arg, 0, 0600);

	NEED(id >= 0);
	return SEMOP(id, {1, 3, 0});
}

static void a_key_joins_unrelated_processes(void **state)
{
	(void)state;
	key_t key = sem_free_key();
	int id = sem_get(key, 2, IPC_CREAT | 0600);

	assert_int_equal(child_run(find_and_post, &key), 0);
	assert_values(id, 0, 3);
}

static void ftok_keys_work(void **state)
{
	(void)state;
	key_t key = ftok("/proc/self/exe", 's');

	assert_int_not_equal(key, -1);
	int id = sem_get(key, 1, IPC_CREAT | 0600);
	assert_true(id >= 0);
	assert_int_equal(semget(key, 1, 0600), id);
	assert_int_equal(semget(ftok("/proc/self/exe", 's'), 0, 0), id);
	assert_int_not_equal(ftok("/proc/self/exe", 't'), key);
}

/* --- limits --- */

static int few_sets(void *arg)
{
	(void)arg;
	child_alone();
	child_set_limit("sem", "250 100 32 3");
	key_t key = 0x5654321;
	int id[3];
	for (int i = 0; i < 3; i++)
		NEED((id[i] = semget(i ? IPC_PRIVATE : key, 1, IPC_CREAT | 0600)) >= 0);
	NEED(ERR(semget(IPC_PRIVATE, 1, 0600)) == ENOSPC);
	NEED(ERR(semget(key + 1, 1, IPC_CREAT | 0600)) == ENOSPC);
	NEED(ERR(semget(key + 1, 0, IPC_CREAT | 0600)) == EINVAL);
	NEED(ERR(semget(key + 1, 1, 0600)) == ENOENT);
	NEED(semget(key, 1, IPC_CREAT | 0600) == id[0]);
	NEED(sem_remove(id[1]) == 0);
	NEED(semget(IPC_PRIVATE, 1, 0600) >= 0);
	return child_leave_limits();
}

static void more_than_SEMMNI_sets_are_ENOSPC(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(few_sets, NULL));
}

static int few_semaphores(void *arg)
{
	(void)arg;
	child_alone();
	child_set_limit("sem", "250 10 32 100");
	int id = semget(IPC_PRIVATE, 7, 0600);
	NEED(id >= 0);
	NEED(ERR(semget(IPC_PRIVATE, 4, 0600)) == ENOSPC);
	NEED(ERR(semget(IPC_PRIVATE, 251, 0600)) == EINVAL);
	NEED(semget(IPC_PRIVATE, 3, 0600) >= 0);
	NEED(ERR(semget(IPC_PRIVATE, 1, 0600)) == ENOSPC);
	NEED(sem_remove(id) == 0);
	NEED(semget(IPC_PRIVATE, 7, 0600) >= 0);
	return child_leave_limits();
}

static void more_than_SEMMNS_semaphores_are_ENOSPC(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(few_semaphores, NULL));
}

static int small_sets(void *arg)
{
	(void)arg;
	child_alone();
	key_t key = 0x5654321;
	int id = semget(key, 20, IPC_CREAT | 0600);
	NEED(id >= 0);
	child_set_limit("sem", "10 1000 32 100");
	NEED(ERR(semget(IPC_PRIVATE, 11, 0600)) == EINVAL);
	NEED(semget(IPC_PRIVATE, 10, 0600) >= 0);
	NEED(ERR(semget(key, 20, 0600)) == EINVAL); /* though it has 20 */
	NEED(semget(key, 10, 0600) == id);
	NEED(SEMOP(id, {19, 1, 0}) == 0);
	return child_leave_limits();
}

static void more_than_SEMMSL_is_EINVAL_even_for_a_larger_old_set(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(small_sets, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(private_makes_a_new_set_each_time),
		CONFORM_TEST(private_ignores_creat_and_excl),
		CONFORM_TEST(a_private_set_is_not_found_by_key_zero),
		CONFORM_TEST(missing_key_without_creat_is_ENOENT),
		CONFORM_TEST(key_creates_once_and_then_finds),
		CONFORM_TEST(creat_excl_of_an_existing_key_is_EEXIST),
		CONFORM_TEST(excl_without_creat_finds),
		CONFORM_TEST(EEXIST_comes_before_EACCES_and_a_too_large_nsems),
		CONFORM_TEST(a_too_large_nsems_comes_before_EACCES),
		CONFORM_TEST(nsems_zero_cannot_be_made),
		CONFORM_TEST(nsems_zero_or_smaller_finds),
		CONFORM_TEST(nsems_above_the_sets_is_EINVAL),
		CONFORM_TEST(a_negative_nsems_or_one_above_SEMMSL_is_EINVAL_before_all_else),
		CONFORM_TEST(SEMMSL_semaphores_can_be_made_and_used),
		CONFORM_TEST(a_new_set_is_all_zero_and_never_used),
		CONFORM_TEST(the_memory_of_a_removed_set_is_not_seen_again),
		CONFORM_TEST(mode_bits_are_checked_at_get),
		CONFORM_TEST(group_bits_count_for_the_sets_group),
		CONFORM_TEST(supplementary_groups_count),
		CONFORM_TEST(an_owner_with_mode_zero_is_refused),
		CONFORM_TEST(root_is_never_refused),
		CONFORM_TEST(the_creator_keeps_the_owners_rights),
		CONFORM_TEST(keys_have_32_bits),
		CONFORM_TEST(keys_that_differ_in_the_top_bit_are_two_keys),
		CONFORM_TEST(a_segment_and_a_queue_may_have_the_same_key),
		CONFORM_TEST(an_id_is_seq_times_32768_plus_index),
		CONFORM_TEST(indices_are_given_in_turn_below_64_and_seq_counts_rounds),
		CONFORM_TEST(the_range_of_indices_is_one_and_a_half_times_those_in_use),
		CONFORM_TEST(a_stale_id_is_EINVAL_everywhere),
		CONFORM_TEST(an_id_with_another_seq_is_EINVAL),
		CONFORM_TEST(an_id_is_not_given_again_soon),
		CONFORM_TEST(sem_next_id_chooses_one_id),
		CONFORM_TEST(after_removal_the_key_is_free),
		CONFORM_TEST(only_nine_mode_bits_are_kept_and_umask_is_ignored),
		CONFORM_TEST(anybody_may_make_a_set),
		CONFORM_TEST(of_racing_creators_exactly_one_wins),
		CONFORM_TEST(a_key_joins_unrelated_processes),
		CONFORM_TEST(ftok_keys_work),
		CONFORM_TEST(more_than_SEMMNI_sets_are_ENOSPC),
		CONFORM_TEST(more_than_SEMMNS_semaphores_are_ENOSPC),
		CONFORM_TEST(more_than_SEMMSL_is_EINVAL_even_for_a_larger_old_set),
	};
	return SEM_RUN(tests);
}
