/* msgget(): what makes a queue, what finds one, and which refusal comes first. */
#include "conform-msg.h"

#include <sys/stat.h>

static void private_makes_a_new_queue_each_time(void **state)
{
	(void)state;
	int a = msg_new(0600);
	int b = msg_new(0600);

	assert_true(a >= 0 && b >= 0);
	assert_int_not_equal(a, b);
}

static void private_ignores_creat_and_excl(void **state)
{
	(void)state;
	int a = msg_get(IPC_PRIVATE, IPC_CREAT | 0600);
	int b = msg_get(IPC_PRIVATE, IPC_CREAT | IPC_EXCL | 0600);
	int c = msg_get(IPC_PRIVATE, IPC_EXCL | 0600);
	int d = msg_get(IPC_PRIVATE, 0);

	assert_true(a >= 0 && b >= 0 && c >= 0 && d >= 0);
	assert_true(a != b && b != c && a != c && d != a && d != b && d != c);
}

static void a_private_queue_is_not_found_by_key_zero(void **state)
{
	(void)state;
	int a = msg_new(0600);

	assert_int_not_equal(msg_get(0, 0600), a);
}

static void missing_key_without_creat_is_ENOENT(void **state)
{
	(void)state;
	key_t key = msg_free_key();

	assert_int_equal(ERR(msg_get(key, 0600)), ENOENT);
	assert_int_equal(ERR(msg_get(key, IPC_EXCL | 0600)), ENOENT);
	assert_int_equal(ERR(msg_get(key, 0)), ENOENT);
	assert_int_equal(ERR(msg_get(key, IPC_NOWAIT)), ENOENT);
}

static void key_creates_once_and_then_finds(void **state)
{
	(void)state;
	key_t key = msg_free_key();
	int id = msg_get(key, IPC_CREAT | 0600);

	assert_true(id >= 0);
	assert_int_equal(msgget(key, IPC_CREAT | 0600), id);
	assert_int_equal(msgget(key, 0600), id);
	assert_int_equal(msgget(key, 0), id);
}

static void creat_excl_of_an_existing_key_is_EEXIST(void **state)
{
	(void)state;
	key_t key = msg_free_key();

	assert_true(msg_get(key, IPC_CREAT | IPC_EXCL | 0600) >= 0);
	assert_int_equal(ERR(msg_get(key, IPC_CREAT | IPC_EXCL | 0600)), EEXIST);
	assert_int_equal(ERR(msg_get(key, IPC_CREAT | IPC_EXCL)), EEXIST);
}

static void excl_without_creat_finds(void **state)
{
	(void)state;
	key_t key = msg_free_key();
	int id = msg_get(key, IPC_CREAT | 0600);

	assert_int_equal(msgget(key, IPC_EXCL | 0600), id);
}

static void EEXIST_comes_before_EACCES(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = msg_free_key();

	assert_true(msg_get(key, IPC_CREAT | 0) >= 0);
	assert_int_equal(NOBODY_GET(key, 0600), EACCES);
	assert_int_equal(NOBODY_GET(key, IPC_CREAT | 0600), EACCES);
	assert_int_equal(NOBODY_GET(key, IPC_EXCL | 0600), EACCES);
	assert_int_equal(NOBODY_GET(key, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
	assert_int_equal(NOBODY_GET(key, IPC_CREAT | IPC_EXCL), EEXIST);
	assert_int_equal(NOBODY_GET(key, 0), 0);
}

static void flags_that_mean_nothing_are_ignored(void **state)
{
	(void)state;
	key_t key = msg_free_key();
	int id = msg_get(key, IPC_CREAT | IPC_NOWAIT | MSG_NOERROR | 0x7fff0000 | 0600);

	assert_true(id >= 0);
	assert_int_equal(msgget(key, IPC_NOWAIT | MSG_EXCEPT | MSG_COPY | 0x7fff0000 | 0600), id);
	assert_int_equal(msgget(key, INT_MIN | 0600), id);
}

static void a_new_queue_is_empty_and_never_used(void **state)
{
	(void)state;
	struct msginfo info;
	time_t before = coarse_now();
	int id = msg_new(0600);
	time_t after = time(NULL);
	struct msqid_ds ds = msg_stat(id);

	assert_true(msgctl(0, IPC_INFO, (struct msqid_ds *)&info) >= 0);
	assert_int_equal(ds.msg_qnum, 0);
	assert_int_equal(ds.msg_cbytes, 0);
	assert_int_equal(ds.msg_qbytes, info.msgmnb);
	assert_int_equal(ds.msg_lspid, 0);
	assert_int_equal(ds.msg_lrpid, 0);
	assert_int_equal(ds.msg_stime, 0);
	assert_int_equal(ds.msg_rtime, 0);
	assert_between(before, ds.msg_ctime, after);
	assert_int_equal(take_err(id, 0), ENOMSG);
}

static void finding_changes_nothing(void **state)
{
	(void)state;
	key_t key = msg_free_key();
	int id = msg_get(key, IPC_CREAT | 0600);

	assert_int_equal(put(id, 1, "x"), 0);
	struct msqid_ds before = msg_stat(id);
	next_second();
	assert_int_equal(msgget(key, IPC_CREAT | 0644), id);
	struct msqid_ds after = msg_stat(id);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void the_messages_of_a_removed_queue_are_not_seen_again(void **state)
{
	(void)state;
	key_t key = msg_free_key();

	for (int round = 0; round < 20; round++) {
		int id = msg_get(key, IPC_CREAT | IPC_EXCL | 0600);
		assert_true(id >= 0);
		struct msqid_ds ds = msg_stat(id);
		assert_true(ds.msg_qnum == 0 && ds.msg_cbytes == 0 && ds.msg_stime == 0);
		assert_true(ds.msg_rtime == 0 && ds.msg_lspid == 0 && ds.msg_lrpid == 0);
		assert_int_equal(take_err(id, 0), ENOMSG);
		assert_int_equal(put(id, 1, "old"), 0);
		assert_int_equal(put(id, 2, "old"), 0);
		assert_takes(id, 2, 2, "old");
		assert_int_equal(msg_remove(id), 0);
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
		key_t key = msg_free_key();
		assert_true(msg_get(key, IPC_CREAT | row[i].mode) >= 0);
		int got = NOBODY_GET(key, row[i].asked);
		if (got != row[i].want)
			print_error("mode %o asked %o: got %d, want %d\n", (unsigned)row[i].mode,
				    (unsigned)row[i].asked, got, row[i].want);
		assert_int_equal(got, row[i].want);
	}
}

static void group_bits_count_for_the_queues_group(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = msg_free_key();
	int id = msg_get(key, IPC_CREAT | 0640);
	struct msqid_ds ds = msg_stat(id);

	ds.msg_perm.gid = CONFORM_NOBODY;
	assert_int_equal(ERR(msgctl(id, IPC_SET, &ds)), 0);
	assert_int_equal(NOBODY_GET(key, 0400), 0);
	assert_int_equal(NOBODY_GET(key, 0040), 0);
	assert_int_equal(NOBODY_GET(key, 0600), EACCES);
	ds.msg_perm.mode = 0604; /* the group's bits, not the others', count for a member */
	assert_int_equal(ERR(msgctl(id, IPC_SET, &ds)), 0);
	assert_int_equal(NOBODY_GET(key, 0400), EACCES);
}

static int member_of_group(void *arg)
{
	key_t key = *(key_t *)arg;
	gid_t groups[] = {4321, 4322};

	NEED(setgroups(2, groups) == 0);
	NEED(setresgid(CONFORM_NOBODY, CONFORM_NOBODY, CONFORM_NOBODY) == 0);
	NEED(setresuid(CONFORM_NOBODY, CONFORM_NOBODY, CONFORM_NOBODY) == 0);
	int id = msgget(key, 0040);
	NEED(id >= 0);
	NEED(ERR(msgget(key, 0060)) == EACCES);
	NEED(put(id, 1, "x") == EACCES);
	NEED(take_is(id, 0, 9, "for the group"));
	return 0;
}

static void supplementary_groups_count(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = msg_free_key();
	int id = msg_get(key, IPC_CREAT | 0640);
	struct msqid_ds ds = msg_stat(id);

	ds.msg_perm.gid = 4322;
	assert_int_equal(ERR(msgctl(id, IPC_SET, &ds)), 0);
	assert_int_equal(put(id, 9, "for the group"), 0);
	assert_int_equal(child_run(member_of_group, &key), 0);
}

static int owner_of_mode_zero(void *arg)
{
	key_t key = *(key_t *)arg;
	int id = msg_get(key, IPC_CREAT | 0);
	struct msqid_ds ds;

	NEED(id >= 0);
	NEED(ERR(msgget(key, 0400)) == EACCES);
	NEED(ERR(msgget(key, 0600)) == EACCES);
	NEED(ERR(msgget(key, IPC_CREAT | 0600)) == EACCES);
	NEED(msgget(key, 0) == id);
	NEED(put(id, 1, "x") == EACCES);
	NEED(take_err(id, 0) == EACCES);
	NEED(ERR(msgctl(id, IPC_STAT, &ds)) == EACCES);
	memset(&ds, 0, sizeof(ds));
	ds.msg_perm.uid = geteuid();
	ds.msg_perm.gid = getegid();
	NEED(ERR(msgctl(id, IPC_SET, &ds)) == 0); /* ownership alone sets and removes */
	NEED(msg_remove(id) == 0);
	return 0;
}

static void an_owner_with_mode_zero_is_refused(void **state)
{
	(void)state;
	key_t key = msg_free_key();

	if (geteuid() == 0)
		assert_int_equal(nobody_run(owner_of_mode_zero, &key), 0);
	else
		assert_int_equal(child_run(owner_of_mode_zero, &key), 0);
}

static void root_is_never_refused(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = msg_free_key();
	int id = msg_get(key, IPC_CREAT | 0);

	assert_int_equal(msgget(key, 0777), id);
	assert_int_equal(put(id, 1, "x"), 0);
	assert_takes(id, 0, 1, "x");
}

static int creator_then_other_owner(void *arg)
{
	key_t key = *(key_t *)arg;
	int id = msg_get(key, IPC_CREAT | 0600);
	struct msqid_ds ds = msg_stat(id);

	ds.msg_perm.uid = 12345;
	NEED(msgctl(id, IPC_SET, &ds) == 0);
	NEED(msgget(key, 0600) == id);
	ds = msg_stat(id);
	NEED(ds.msg_perm.uid == 12345 && ds.msg_perm.cuid == CONFORM_NOBODY);
	NEED(put(id, 1, "x") == 0);
	NEED(msg_remove(id) == 0);
	return 0;
}

static void the_creator_keeps_the_owners_rights(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = msg_free_key();

	assert_int_equal(nobody_run(creator_then_other_owner, &key), 0);
}

static void keys_have_32_bits(void **state)
{
	(void)state;
	static const uint32_t base[] = {0x80000000u, 0xffffff00u, 0x7fffff00u, 0x00010000u};

	for (size_t i = 0; i < sizeof(base) / sizeof(*base); i++) {
		key_t key = (key_t)(base[i] + 1 + (uint32_t)getpid() % 64);
		if (msgget(key, 0) != -1)
			continue; /* somebody else's */
		int id = msg_get(key, IPC_CREAT | IPC_EXCL | 0600);
		assert_true(id >= 0);
		assert_int_equal(msgget(key, 0600), id);
		assert_int_equal((key_t)msg_stat(id).msg_perm.__key, key);
	}
}

static void keys_that_differ_in_the_top_bit_are_two_keys(void **state)
{
	(void)state;
	key_t low = msg_free_key();
	key_t high = (key_t)((uint32_t)low | 0x80000000u);

	if (msgget(high, 0) != -1)
		skip();
	int a = msg_get(low, IPC_CREAT | 0600);
	int b = msg_get(high, IPC_CREAT | 0600);
	assert_true(a >= 0 && b >= 0);
	assert_int_not_equal(a, b);
}

static void a_segment_and_a_set_may_have_the_same_key(void **state)
{
	(void)state;
	key_t key = msg_free_key();
	int id = msg_get(key, IPC_CREAT | IPC_EXCL | 0600);

	assert_true(id >= 0);
	if (shmget(key, 0, 0) != -1 || semget(key, 0, 0) != -1)
		skip();
	int shm = conform_keep(CONFORM_SHM, shmget(key, 10, IPC_CREAT | IPC_EXCL | 0600));
	int sem = conform_keep(CONFORM_SEM, semget(key, 1, IPC_CREAT | IPC_EXCL | 0600));
	assert_true(shm >= 0 && sem >= 0);
	assert_int_equal(msgget(key, 0600), id);
	assert_int_equal(msg_remove(id), 0);
	assert_int_equal(shmget(key, 0, 0600), shm);
	assert_int_equal(semget(key, 0, 0600), sem);
}

static void an_id_is_seq_times_32768_plus_index(void **state)
{
	(void)state;
	int ids[8];

	for (int i = 0; i < 8; i++) {
		struct msqid_ds ds;
		ids[i] = msg_new(0600);
		assert_true(ids[i] >= 0);
		assert_int_equal(msg_stat(ids[i]).msg_perm.__seq, ids[i] / CONFORM_INDICES);
		assert_int_equal(msgctl(INDEX(ids[i]), MSG_STAT, &ds), ids[i]);
		for (int j = 0; j < i; j++)
			assert_int_not_equal(INDEX(ids[i]), INDEX(ids[j]));
	}
}

/* The id that a namespace with few queues gives after `last`: the index goes round in `range`. */
static int id_after(int last, int range)
{
	int seq = last / CONFORM_INDICES, index = INDEX(last) + 1;

	return index == range ? (seq + 1) * CONFORM_INDICES : seq * CONFORM_INDICES + index;
}

static int indices_go_on(void *arg)
{
	(void)arg;
	child_alone();
	int last = msgget(IPC_PRIVATE, 0600);

	NEED(last >= 0);
	for (int i = 0; i < 200; i++) { /* a removed index is not taken again at once */
		NEED(msg_remove(last) == 0);
		int id = msgget(IPC_PRIVATE, 0600);
		NEED(id == id_after(last, 64));
		last = id;
	}
	NEED(msg_remove(last) == 0);
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
		NEED((id[i] = msgget(IPC_PRIVATE, 0600)) >= 0);
		NEED(INDEX(id[i]) < 120);
		used[INDEX(id[i])] = 1;
	}
	int last = msgget(IPC_PRIVATE, 0600), top = 0;
	NEED(last >= 0 && msg_remove(last) == 0);
	for (int i = 0; i < 300; i++) { /* 80 in use: the range is 80 * 3 / 2 */
		int next = id_after(last, 120);
		while (used[INDEX(next)])
			next = id_after(next, 120);
		int new = msgget(IPC_PRIVATE, 0600);
		NEED(new == next);
		NEED(msg_remove(new) == 0);
		last = new;
		top = INDEX(new) > top ? INDEX(new) : top;
	}
	NEED(top == 119);
	for (int i = 0; i < 80; i++)
		NEED(msg_remove(id[i]) == 0);
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
	int id = msg_new(0600);
	struct msqid_ds ds = msg_stat(id);

	assert_int_equal(msg_remove(id), 0);
	assert_int_equal(ERR(msgctl(id, IPC_STAT, &ds)), EINVAL);
	assert_int_equal(ERR(msgctl(id, IPC_SET, &ds)), EINVAL);
	assert_int_equal(ERR(msgctl(id, IPC_RMID, NULL)), EINVAL);
	assert_int_equal(put(id, 1, "x"), EINVAL);
	assert_int_equal(take_err(id, 0), EINVAL);
	assert_int_equal(take(id, 10, -5, 0).err, EINVAL); /* nor does it sleep */
	assert_int_equal(take(id, 10, 0, MSG_NOERROR).err, EINVAL);
}

static void an_id_with_another_seq_is_EINVAL(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct msqid_ds ds;

	assert_int_equal(put(id ^ CONFORM_INDICES, 1, "x"), EINVAL);
	assert_int_equal(put(id ^ (1 << 30), 1, "x"), EINVAL);
	assert_int_equal(take_err(id ^ CONFORM_INDICES, 0), EINVAL);
	assert_int_equal(ERR(msgctl(id ^ CONFORM_INDICES, IPC_STAT, &ds)), EINVAL);
	assert_int_equal(msg_remove(id ^ CONFORM_INDICES), EINVAL);
	assert_holds(id, 0, 0);
}

static void an_id_is_not_given_again_soon(void **state)
{
	(void)state;
	int first = msg_new(0600);

	assert_int_equal(msg_remove(first), 0);
	for (int i = 0; i < 200; i++) {
		int id = msg_new(0600);
		assert_int_not_equal(id, first);
		assert_int_equal(msg_remove(id), 0);
		assert_true(msg_gone(first));
	}
}

static int next_id_is_taken(void *arg)
{
	(void)arg;
	child_alone();
	child_set_limit("msg_next_id", "100005");
	int id = msgget(IPC_PRIVATE, 0600);
	NEED(id == 100005);
	NEED(put(id, 1, "x") == 0 && take_is(id, 0, 1, "x"));
	int other = msgget(IPC_PRIVATE, 0600); /* only once */
	NEED(other >= 0 && other != 100005 + 1);
	NEED(msg_remove(id) == 0 && msg_remove(other) == 0);
	FILE *f = fopen("/proc/sys/kernel/msg_next_id", "re");
	int now;
	NEED(f && fscanf(f, "%d", &now) == 1 && now == -1);
	fclose(f);
	return 0;
}

static void msg_next_id_chooses_one_id(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(next_id_is_taken, NULL));
}

static int next_id_in_use(void *arg)
{
	(void)arg;
	child_alone();
	child_set_limit("msg_next_id", "7");
	int a = msgget(IPC_PRIVATE, 0600);
	child_set_limit("msg_next_id", "7");
	int b = msgget(IPC_PRIVATE, 0600);
	NEED(a == 7);
	NEED(b >= 0 && b != a && INDEX(b) > 7); /* the next index that is free */
	NEED(b / CONFORM_INDICES == 0);
	NEED(msg_remove(a) == 0 && msg_remove(b) == 0);
	return 0;
}

static void msg_next_id_in_use_gives_the_next_free_index(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(next_id_in_use, NULL));
}

static void after_removal_the_key_is_free(void **state)
{
	(void)state;
	key_t key = msg_free_key();
	int old = msg_get(key, IPC_CREAT | 0600);

	assert_int_equal(msg_remove(old), 0);
	assert_int_equal(ERR(msg_get(key, 0600)), ENOENT);
	int new = msg_get(key, IPC_CREAT | IPC_EXCL | 0600);
	assert_true(new >= 0);
	assert_int_not_equal(new, old);
}

static void only_nine_mode_bits_are_kept_and_umask_is_ignored(void **state)
{
	(void)state;
	mode_t old = umask(0777);
	int id = msg_get(msg_free_key(), IPC_CREAT | IPC_EXCL | 0777);
	int odd = msg_get(msg_free_key(), IPC_CREAT | IPC_NOWAIT | 0x7fff0000 | 0523);

	umask(old);
	assert_int_equal(msg_stat(id).msg_perm.mode, 0777);
	assert_int_equal(msg_stat(odd).msg_perm.mode, 0523);
}

static void anybody_may_make_a_queue(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	assert_int_equal(NOBODY_GET(IPC_PRIVATE, 0600), 0);
	assert_int_equal(NOBODY_GET(msg_free_key(), IPC_CREAT | 0600), 0);
}

static int race_for_key(void *arg)
{
	return ERR(msg_get(*(key_t *)arg, IPC_CREAT | IPC_EXCL | 0600));
}

static void of_racing_creators_exactly_one_wins(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		key_t key = msg_free_key();
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

static int race_to_one_queue(void *arg)
{
	int id = msg_get(*(key_t *)arg, IPC_CREAT | 0600);

	NEED(id >= 0);
	return put(id, 1, "here");
}

static void racing_creators_without_excl_meet_in_one_queue(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		key_t key = msg_free_key();
		pid_t pid[4];
		for (int i = 0; i < 4; i++)
			pid[i] = child_start(race_to_one_queue, &key);
		for (int i = 0; i < 4; i++)
			assert_int_equal(child_wait(pid[i]), 0);
		int id = msgget(key, 0);
		assert_holds(id, 4, 16);
	}
}

static int find_and_send(void *arg)
{
	int id = msgget(*(key_t *)arg, 0600);

	NEED(id >= 0);
	return put(id, 3, "found");
}

static void a_key_joins_unrelated_processes(void **state)
{
	(void)state;
	key_t key = msg_free_key();
	int id = msg_get(key, IPC_CREAT | 0600);

	assert_int_equal(child_run(find_and_send, &key), 0);
	assert_takes(id, 0, 3, "found");
}

static void ftok_keys_work(void **state)
{
	(void)state;
	key_t key = ftok("/proc/self/exe", 'q');

	assert_int_not_equal(key, -1);
	int id = msg_get(key, IPC_CREAT | 0600);
	assert_true(id >= 0);
	assert_int_equal(msgget(key, 0600), id);
	assert_int_equal(msgget(ftok("/proc/self/exe", 'q'), 0), id);
	assert_int_not_equal(ftok("/proc/self/exe", 'r'), key);
}

static int find_many(void *arg)
{
	enum {
		N = 300
	};
	int id[N];

	(void)arg;
	for (int i = 0; i < N; i++)
		NEED((id[i] = msg_get(0x7a000000 + i, IPC_CREAT | IPC_EXCL | 0600)) >= 0);
	for (int i = 0; i < N; i++)
		NEED(put(id[i], i + 1, "mine") == 0);
	for (int i = N - 1; i >= 0; i--)
		NEED(msgget(0x7a000000 + i, 0) == id[i] && take_is(id[i], 0, i + 1, "mine"));
	for (int i = 0; i < N; i++)
		NEED(msg_remove(id[i]) == 0);
	return 0;
}

static void hundreds_of_queues_do_not_mix(void **state)
{
	(void)state;
	assert_int_equal(child_run(find_many, NULL), 0);
}

/* --- limits --- */

static int few_queues(void *arg)
{
	(void)arg;
	child_alone();
	child_set_limit("msgmni", "3");
	key_t key = 0x5654321;
	int id[3];
	for (int i = 0; i < 3; i++)
		NEED((id[i] = msgget(i ? IPC_PRIVATE : key, IPC_CREAT | 0600)) >= 0);
	NEED(ERR(msgget(IPC_PRIVATE, 0600)) == ENOSPC);
	NEED(ERR(msgget(key + 1, IPC_CREAT | 0600)) == ENOSPC);
	NEED(ERR(msgget(key + 1, 0600)) == ENOENT);
	NEED(ERR(msgget(key, IPC_CREAT | IPC_EXCL | 0600)) == EEXIST);
	NEED(msgget(key, IPC_CREAT | 0600) == id[0]);
	NEED(msg_remove(id[1]) == 0);
	id[1] = msgget(IPC_PRIVATE, 0600);
	NEED(id[1] >= 0);
	NEED(ERR(msgget(IPC_PRIVATE, 0600)) == ENOSPC);
	return child_leave_limits();
}

static void more_than_MSGMNI_queues_are_ENOSPC(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(few_queues, NULL));
}

static int fewer_than_there_are(void *arg)
{
	(void)arg;
	child_alone();
	int id[3];
	for (int i = 0; i < 3; i++)
		NEED((id[i] = msgget(IPC_PRIVATE, 0600)) >= 0);
	child_set_limit("msgmni", "1");
	for (int i = 0; i < 3; i++)
		NEED(put(id[i], 1, "x") == 0 && take_is(id[i], 0, 1, "x"));
	NEED(msg_remove(id[0]) == 0 && msg_remove(id[2]) == 0);
	NEED(ERR(msgget(IPC_PRIVATE, 0600)) == ENOSPC); /* there is one still */
	NEED(msg_remove(id[1]) == 0);
	NEED(msgget(IPC_PRIVATE, 0600) >= 0);
	return child_leave_limits();
}

static void a_lower_MSGMNI_takes_no_queue_away(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(fewer_than_there_are, NULL));
}

static int no_queues(void *arg)
{
	(void)arg;
	child_alone();
	child_set_limit("msgmni", "0");
	NEED(ERR(msgget(IPC_PRIVATE, 0600)) == ENOSPC);
	return child_leave_limits();
}

static void MSGMNI_may_be_zero(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(no_queues, NULL));
}

static int qbytes_of_new(void *arg)
{
	(void)arg;
	child_alone();
	int old = msgget(IPC_PRIVATE, 0600);
	unsigned long before = msg_stat(old).msg_qbytes;
	child_set_limit("msgmnb", "777");
	int new = msgget(IPC_PRIVATE, 0600);
	NEED(msg_stat(old).msg_qbytes == before);
	NEED(msg_stat(new).msg_qbytes == 777);
	NEED(put_size(new, 1, 778) == EAGAIN);
	NEED(put_size(new, 1, 777) == 0);
	NEED(put_size(old, 1, 778) == 0);
	return child_leave_limits();
}

static void MSGMNB_counts_for_queues_made_from_then_on(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(qbytes_of_new, NULL));
}

static int write_odd_limits(void *arg)
{
	static const char *const refused[] = {"-1", "32769", "x", "99999999999"};

	(void)arg;
	child_alone();
	child_set_limit("msgmni", "100");
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		NEED(!limit_write("/proc/sys/kernel/msgmni", refused[i]));
		NEED(errno == EINVAL);
	}
	NEED(limit_write("/proc/sys/kernel/msgmni", "32768"));
	child_set_limit("msgmax", "100");
	NEED(!limit_write("/proc/sys/kernel/msgmax", "-1") && errno == EINVAL);
	NEED(!limit_write("/proc/sys/kernel/msgmax", "2147483648") && errno == EINVAL);
	NEED(limit_write("/proc/sys/kernel/msgmax", "2147483647"));
	child_set_limit("msgmnb", "100");
	NEED(!limit_write("/proc/sys/kernel/msgmnb", "-1") && errno == EINVAL);
	NEED(!limit_write("/proc/sys/kernel/msgmnb", "2147483648") && errno == EINVAL);
	NEED(limit_write("/proc/sys/kernel/msgmnb", "2147483647"));
	int id = msgget(IPC_PRIVATE, 0600);
	NEED(msg_stat(id).msg_qbytes == 2147483647);
	return child_leave_limits();
}

static void limits_have_a_range(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(write_odd_limits, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(private_makes_a_new_queue_each_time),
		CONFORM_TEST(private_ignores_creat_and_excl),
		CONFORM_TEST(a_private_queue_is_not_found_by_key_zero),
		CONFORM_TEST(missing_key_without_creat_is_ENOENT),
		CONFORM_TEST(key_creates_once_and_then_finds),
		CONFORM_TEST(creat_excl_of_an_existing_key_is_EEXIST),
		CONFORM_TEST(excl_without_creat_finds),
		CONFORM_TEST(EEXIST_comes_before_EACCES),
		CONFORM_TEST(flags_that_mean_nothing_are_ignored),
		CONFORM_TEST(a_new_queue_is_empty_and_never_used),
		CONFORM_TEST(finding_changes_nothing),
		CONFORM_TEST(the_messages_of_a_removed_queue_are_not_seen_again),
		CONFORM_TEST(mode_bits_are_checked_at_get),
		CONFORM_TEST(group_bits_count_for_the_queues_group),
		CONFORM_TEST(supplementary_groups_count),
		CONFORM_TEST(an_owner_with_mode_zero_is_refused),
		CONFORM_TEST(root_is_never_refused),
		CONFORM_TEST(the_creator_keeps_the_owners_rights),
		CONFORM_TEST(keys_have_32_bits),
		CONFORM_TEST(keys_that_differ_in_the_top_bit_are_two_keys),
		CONFORM_TEST(a_segment_and_a_set_may_have_the_same_key),
		CONFORM_TEST(an_id_is_seq_times_32768_plus_index),
		CONFORM_TEST(indices_are_given_in_turn_below_64_and_seq_counts_rounds),
		CONFORM_TEST(the_range_of_indices_is_one_and_a_half_times_those_in_use),
		CONFORM_TEST(a_stale_id_is_EINVAL_everywhere),
		CONFORM_TEST(an_id_with_another_seq_is_EINVAL),
		CONFORM_TEST(an_id_is_not_given_again_soon),
		CONFORM_TEST(msg_next_id_chooses_one_id),
		CONFORM_TEST(msg_next_id_in_use_gives_the_next_free_index),
		CONFORM_TEST(after_removal_the_key_is_free),
		CONFORM_TEST(only_nine_mode_bits_are_kept_and_umask_is_ignored),
		CONFORM_TEST(anybody_may_make_a_queue),
		CONFORM_TEST(of_racing_creators_exactly_one_wins),
		CONFORM_TEST(racing_creators_without_excl_meet_in_one_queue),
		CONFORM_TEST(a_key_joins_unrelated_processes),
		CONFORM_TEST(ftok_keys_work),
		CONFORM_TEST(hundreds_of_queues_do_not_mix),
		CONFORM_TEST(more_than_MSGMNI_queues_are_ENOSPC),
		CONFORM_TEST(a_lower_MSGMNI_takes_no_queue_away),
		CONFORM_TEST(MSGMNI_may_be_zero),
		CONFORM_TEST(MSGMNB_counts_for_queues_made_from_then_on),
		CONFORM_TEST(limits_have_a_range),
	};
	return MSG_RUN(tests);
}
