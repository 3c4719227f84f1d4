/* semctl(): what each command reports and changes, who may, and which refusal comes first. */
#include "conform-sem.h"

#include <linux/capability.h>
#include <sys/syscall.h>

#define CTL(id, n, cmd, p) ERR(semctl(id, n, cmd, ARG_P(p)))
#define INDEX(id)	   ((id) % CONFORM_INDICES)
#define SEMS(...)	   ((unsigned short[]){__VA_ARGS__})

static struct semid_ds stat_of(int id)
{
	struct semid_ds ds;

	memset(&ds, 0xa5, sizeof(ds));
	assert_int_equal(semctl(id, 0, IPC_STAT, ARG_P(&ds)), 0);
	return ds;
}

static int make_set(void *arg)
{
	int *id = arg;

	*id = sem_new(1, 0644);
	return *id < 0;
}

/* --- IPC_STAT --- */

static void stat_of_a_new_set_has_every_field(void **state)
{
	(void)state;
	key_t key = sem_free_key();
	time_t before = coarse_now();
	int id = sem_get(key, 12, IPC_CREAT | 0642);
	time_t after = time(NULL);
	struct semid_ds ds = stat_of(id);

	assert_int_equal(ds.sem_perm.__key, key);
	assert_int_equal(ds.sem_perm.uid, geteuid());
	assert_int_equal(ds.sem_perm.gid, getegid());
	assert_int_equal(ds.sem_perm.cuid, geteuid());
	assert_int_equal(ds.sem_perm.cgid, getegid());
	assert_int_equal(ds.sem_perm.mode, 0642);
	assert_int_equal(ds.sem_perm.__seq, (unsigned short)(id / CONFORM_INDICES));
	assert_int_equal(ds.sem_nsems, 12);
	assert_int_equal(ds.sem_otime, 0);
	assert_between(before, ds.sem_ctime, after);
}

static void all_else_in_the_struct_is_zero(void **state)
{
	(void)state;
	struct semid_ds ds = stat_of(sem_new(12, 0642));
	const unsigned char *byte = (const unsigned char *)&ds;

	ds.sem_perm.__key = 0;
	ds.sem_perm.uid = ds.sem_perm.cuid = 0;
	ds.sem_perm.gid = ds.sem_perm.cgid = 0;
	ds.sem_perm.mode = 0;
	ds.sem_perm.__seq = 0;
	ds.sem_nsems = 0;
	ds.sem_otime = ds.sem_ctime = 0;
	for (size_t i = 0; i < sizeof(ds); i++)
		assert_int_equal(byte[i], 0);
}

static void stat_writes_the_struct_and_no_more(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct {
		struct semid_ds ds;
		unsigned char after[64];
	} x;

	memset(&x, 0xa5, sizeof(x));
	assert_int_equal(CTL(id, 0, IPC_STAT, &x.ds), 0);
	for (size_t i = 0; i < sizeof(x.after); i++)
		assert_int_equal(x.after[i], 0xa5);
}

static void stat_of_a_private_set_has_key_zero(void **state)
{
	(void)state;
	assert_int_equal(stat_of(sem_new(1, 0600)).sem_perm.__key, IPC_PRIVATE);
}

static void stat_names_the_effective_ids_of_the_creator(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int *id = shared_new(sizeof(*id));

	assert_int_equal(nobody_run(make_set, id), 0);
	struct semid_ds ds = stat_of(*id);
	assert_int_equal(ds.sem_perm.uid, CONFORM_NOBODY);
	assert_int_equal(ds.sem_perm.gid, CONFORM_NOBODY);
	assert_int_equal(ds.sem_perm.cuid, CONFORM_NOBODY);
	assert_int_equal(ds.sem_perm.cgid, CONFORM_NOBODY);
	munmap(id, sizeof(*id));
}

static void stat_ignores_its_semnum(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct semid_ds ds;

	assert_int_equal(CTL(id, -1, IPC_STAT, &ds), 0);
	assert_int_equal(CTL(id, 99, IPC_STAT, &ds), 0);
}

static void reading_changes_no_time_and_no_pid(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	unsigned short values[2];
	struct semid_ds before = stat_of(id);

	next_second();
	for (int cmd = GETPID; cmd <= GETZCNT; cmd++)
		assert_int_equal(CTL(id, 0, cmd, values), 0);
	struct semid_ds after = stat_of(id);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(sem_pid(id, 0), 0);
}

/* --- IPC_SET --- */

static void set_changes_owner_mode_and_ctime_alone(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_get(sem_free_key(), 3, IPC_CREAT | 0600);
	assert_int_equal(SEMOP(id, {1, 4, 0}), 0);
	struct semid_ds old = stat_of(id), ds;

	next_second();
	memset(&ds, 0x5a, sizeof(ds));
	ds.sem_perm.uid = 1234;
	ds.sem_perm.gid = 4321;
	ds.sem_perm.mode = 0421;
	assert_int_equal(CTL(id, 0, IPC_SET, &ds), 0);
	ds = stat_of(id);
	assert_int_equal(ds.sem_perm.uid, 1234);
	assert_int_equal(ds.sem_perm.gid, 4321);
	assert_int_equal(ds.sem_perm.mode, 0421);
	assert_true(ds.sem_ctime > old.sem_ctime);
	ds.sem_perm.uid = old.sem_perm.uid;
	ds.sem_perm.gid = old.sem_perm.gid;
	ds.sem_perm.mode = old.sem_perm.mode;
	ds.sem_ctime = old.sem_ctime;
	assert_memory_equal(&ds, &old, sizeof(ds));
	assert_values(id, 0, 4, 0);
	assert_int_equal(sem_pid(id, 0), 0);
}

static void set_to_the_same_sets_ctime(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct semid_ds ds = stat_of(id);

	next_second();
	assert_int_equal(CTL(id, 0, IPC_SET, &ds), 0);
	assert_true(stat_of(id).sem_ctime > ds.sem_ctime);
}

static void set_keeps_only_nine_mode_bits(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct semid_ds ds = stat_of(id);

	ds.sem_perm.mode = 07712 & 0xffff;
	assert_int_equal(CTL(id, 0, IPC_SET, &ds), 0);
	assert_int_equal(stat_of(id).sem_perm.mode, 0712);
}

static void set_ignores_its_semnum(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct semid_ds ds = stat_of(id);

	ds.sem_perm.mode = 0640;
	assert_int_equal(CTL(id, -5, IPC_SET, &ds), 0);
	assert_int_equal(stat_of(id).sem_perm.mode, 0640);
}

static void set_and_remove_by_another_are_EPERM_whatever_the_mode(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	static const int mode[] = {0777, 0600, 0};

	for (size_t i = 0; i < sizeof(mode) / sizeof(*mode); i++) {
		int id = sem_new(1, mode[i]);
		struct semid_ds ds = stat_of(id);
		assert_int_equal(NOBODY_CTL(id, 0, IPC_SET, ARG_P(&ds)), EPERM);
		assert_int_equal(NOBODY_CTL(id, 0, IPC_RMID, ARG_P(NULL)), EPERM);
		assert_int_equal(sem_val(id, 0), 0);
	}
}

static void set_to_an_invalid_uid_or_gid_is_EINVAL_and_changes_nothing(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct semid_ds before = stat_of(id), ds = before;

	ds.sem_perm.uid = (uid_t)-1;
	ds.sem_perm.mode = 0666;
	assert_int_equal(CTL(id, 0, IPC_SET, &ds), EINVAL);
	ds.sem_perm.uid = before.sem_perm.uid;
	ds.sem_perm.gid = (gid_t)-1;
	assert_int_equal(CTL(id, 0, IPC_SET, &ds), EINVAL);
	ds = stat_of(id);
	assert_memory_equal(&ds, &before, sizeof(ds));
}

static void set_by_another_is_EPERM_before_a_bad_uid_is_EINVAL(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0666);
	struct semid_ds ds = stat_of(id);

	ds.sem_perm.uid = (uid_t)-1;
	assert_int_equal(NOBODY_CTL(id, 0, IPC_SET, ARG_P(&ds)), EPERM);
}

static int give_away(void *arg)
{
	int id = sem_new(1, 0600);
	struct semid_ds ds = sem_stat(id);

	(void)arg;
	ds.sem_perm.uid = 1234;
	ds.sem_perm.gid = 4321;
	NEED(CTL(id, 0, IPC_SET, &ds) == 0);
	ds.sem_perm.mode = 0640;
	NEED(CTL(id, 0, IPC_SET, &ds) == 0);
	NEED(sem_set(id, 0, 3) == 0);
	NEED(sem_remove(id) == 0);
	return 0;
}

static void a_set_can_be_given_away_and_the_creator_keeps_control(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	assert_int_equal(nobody_run(give_away, NULL), 0);
}

static void a_new_owner_has_control(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0600);
	struct semid_ds ds = stat_of(id);

	assert_int_equal(NOBODY_SEMOP(id, {0, 1, 0}), EACCES);
	ds.sem_perm.uid = CONFORM_NOBODY;
	assert_int_equal(CTL(id, 0, IPC_SET, &ds), 0);
	assert_int_equal(NOBODY_SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(NOBODY_CTL(id, 0, IPC_SET, ARG_P(&ds)), 0);
	assert_int_equal(NOBODY_CTL(id, 0, IPC_RMID, ARG_P(NULL)), 0);
	assert_true(sem_gone(id));
}

static void a_new_group_has_no_control(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0660);
	struct semid_ds ds = stat_of(id);

	ds.sem_perm.gid = CONFORM_NOBODY;
	assert_int_equal(CTL(id, 0, IPC_SET, &ds), 0);
	assert_int_equal(NOBODY_SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(NOBODY_CTL(id, 0, IPC_SET, ARG_P(&ds)), EPERM);
	assert_int_equal(NOBODY_CTL(id, 0, IPC_RMID, ARG_P(NULL)), EPERM);
}

/* --- IPC_RMID --- */

static void remove_of_a_stale_id_is_EINVAL_for_all(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0600);

	assert_int_equal(sem_remove(id), 0);
	assert_int_equal(sem_remove(id), EINVAL);
	assert_int_equal(NOBODY_CTL(id, 0, IPC_RMID, ARG_P(NULL)), EINVAL);
}

static void remove_ignores_its_semnum_and_its_pointer(void **state)
{
	(void)state;
	assert_int_equal(CTL(sem_new(1, 0600), 0, IPC_RMID, 1), 0);
	assert_int_equal(CTL(sem_new(1, 0600), -1, IPC_RMID, -1), 0);
	assert_int_equal(CTL(sem_new(1, 0600), 7, IPC_RMID, NULL), 0);
}

static void remove_with_an_operation_in_hand_of_another_process(void **state)
{
	(void)state;
	key_t key = sem_free_key();
	int id = sem_get(key, 1, IPC_CREAT | 0600);
	struct held held = {0};

	HOLD(&held, id, {0, 1, SEM_UNDO});
	assert_int_equal(sem_remove(id), 0);
	assert_true(sem_gone(id));
	int new = sem_get(key, 1, IPC_CREAT | IPC_EXCL | 0600);
	assert_true(new >= 0);
	assert_int_equal(sem_set(new, 0, 5), 0);
	assert_int_equal(held_let_go(&held), 0);
	assert_values(new, 5);
}

/* --- GETVAL, GETPID, GETNCNT, GETZCNT --- */

static void get_commands_return_the_number(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);

	assert_int_equal(SEMOP(id, {1, 12345, 0}), 0);
	assert_int_equal(semctl(id, 1, GETVAL), 12345);
	assert_int_equal(semctl(id, 1, GETPID), getpid());
	assert_int_equal(semctl(id, 1, GETNCNT), 0);
	assert_int_equal(semctl(id, 1, GETZCNT), 0);
	assert_int_equal(semctl(id, 2, GETVAL), 0);
	assert_int_equal(semctl(id, 2, GETPID), 0);
}

static void get_commands_take_no_fourth_argument_or_any(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(sem_set(id, 0, 7), 0);
	assert_int_equal(semctl(id, 0, GETVAL), 7);
	assert_int_equal(semctl(id, 0, GETVAL, 0), 7);
	assert_int_equal(semctl(id, 0, GETVAL, (void *)-1), 7);
	assert_int_equal(semctl(id, 0, GETVAL, ARG_P(1)), 7);
	assert_int_equal(semctl(id, 0, IPC_RMID), 0);
}

static void a_semnum_out_of_range_is_EINVAL(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	static const int cmd[] = {GETVAL, GETPID, GETNCNT, GETZCNT, SETVAL};
	static const int bad[] = {-1, 2, INT32_MIN, INT32_MAX, 65536};

	for (size_t i = 0; i < sizeof(cmd) / sizeof(*cmd); i++)
		for (size_t j = 0; j < sizeof(bad) / sizeof(*bad); j++)
			assert_int_equal(ERR(semctl(id, bad[j], cmd[i], ARG_VAL(1))), EINVAL);
	assert_values(id, 0, 0);
}

/* --- GETALL, SETALL --- */

static void getall_fills_one_short_a_semaphore_and_no_more(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);
	unsigned short got[5] = {9, 9, 9, 9, 9};

	assert_int_equal(SEMOP(id, {0, 1, 0}, {1, SEMVMX_HERE, 0}), 0);
	assert_int_equal(semctl(id, 0, GETALL, ARG_P(got)), 0);
	assert_memory_equal(got, SEMS(1, SEMVMX_HERE, 0, 9, 9), sizeof(got));
}

static void setall_sets_all_values(void **state)
{
	(void)state;
	int id = sem_new(4, 0600);

	assert_int_equal(semctl(id, 0, SETALL, ARG_P(SEMS(3, 0, SEMVMX_HERE, 1))), 0);
	assert_values(id, 3, 0, SEMVMX_HERE, 1);
}

static void getall_and_setall_ignore_their_semnum(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	unsigned short got[2];

	assert_int_equal(CTL(id, -1, SETALL, SEMS(1, 2)), 0);
	assert_int_equal(CTL(id, 99, GETALL, got), 0);
	assert_memory_equal(got, SEMS(1, 2), sizeof(got));
}

static void large_sets_are_set_and_got_as_a_whole(void **state)
{
	(void)state;
	int n = sem_many(5000), id = sem_new(n, 0600);
	unsigned short *in = calloc((size_t)n, 2), *out = calloc((size_t)n, 2);

	for (int i = 0; i < n; i++)
		in[i] = (unsigned short)(i * 7 % 32768);
	assert_int_equal(CTL(id, 0, SETALL, in), 0);
	assert_int_equal(CTL(id, 0, GETALL, out), 0);
	assert_memory_equal(in, out, (size_t)n * 2);
	in[0] = 1;
	in[n - 1] = 32768;
	assert_int_equal(CTL(id, 0, SETALL, in), ERANGE);
	assert_int_equal(sem_val(id, 0), 0);
	free(in);
	free(out);
}

static void setall_of_one_value_above_SEMVMX_is_ERANGE_and_changes_nothing(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);
	struct semid_ds before, after;

	assert_int_equal(CHILD_SEMOP(id, {0, 5, 0}, {1, 5, 0}, {2, 5, 0}), 0);
	int pid = sem_pid(id, 0);
	before = stat_of(id);
	next_second();
	assert_int_equal(CTL(id, 0, SETALL, SEMS(1, 1, 32768)), ERANGE);
	assert_int_equal(CTL(id, 0, SETALL, SEMS(65535, 1, 1)), ERANGE);
	assert_values(id, 5, 5, 5);
	for (int i = 0; i < 3; i++)
		assert_int_equal(sem_pid(id, i), pid);
	after = stat_of(id);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void setall_sets_sempid_of_all_and_ctime_but_not_otime(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);
	struct semid_ds before = stat_of(id);
	unsigned short same[3] = {0, 0, 0};
	struct ctl_call call = {id, 0, SETALL, ARG_P(same)};

	next_second();
	pid_t pid = child_start(call_ctl, &call);
	assert_int_equal(child_wait(pid), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(sem_pid(id, i), pid);
	assert_true(stat_of(id).sem_ctime > before.sem_ctime);
	assert_int_equal(stat_of(id).sem_otime, 0);
}

/* --- SETVAL --- */

static void setval_sets_one_value(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);

	assert_int_equal(semctl(id, 1, SETVAL, ARG_VAL(SEMVMX_HERE)), 0);
	assert_values(id, 0, SEMVMX_HERE, 0);
	assert_int_equal(semctl(id, 1, SETVAL, ARG_VAL(0)), 0);
	assert_values(id, 0, 0, 0);
}

static void setval_takes_an_int_instead_of_the_union(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(semctl(id, 0, SETVAL, 4711), 0);
	assert_values(id, 4711);
	assert_int_equal(ERR(semctl(id, 0, SETVAL, -1)), ERANGE);
}

static void setval_looks_at_the_int_of_the_union_alone(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	union sem_arg arg;

	memset(&arg, 0xff, sizeof(arg));
	arg.val = 12;
	assert_int_equal(semctl(id, 0, SETVAL, arg), 0);
	assert_values(id, 12);
}

static void setval_out_of_range_is_ERANGE_and_changes_nothing(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	static const int bad[] = {-1, SEMVMX_HERE + 1, 65536, INT32_MAX, INT32_MIN};

	assert_int_equal(CHILD_SEMOP(id, {0, 3, 0}), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(sem_set(id, 0, bad[i]), ERANGE);
	assert_values(id, 3);
	assert_int_not_equal(sem_pid(id, 0), getpid());
}

static void setval_sets_one_sempid_and_ctime_but_not_otime(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);
	struct semid_ds before = stat_of(id);
	struct ctl_call call = {id, 1, SETVAL, ARG_VAL(0)};

	next_second();
	pid_t pid = child_start(call_ctl, &call);
	assert_int_equal(child_wait(pid), 0);
	assert_int_equal(sem_pid(id, 0), 0);
	assert_int_equal(sem_pid(id, 1), pid);
	assert_int_equal(sem_pid(id, 2), 0);
	assert_true(stat_of(id).sem_ctime > before.sem_ctime);
	assert_int_equal(stat_of(id).sem_otime, 0);
}

static void ERANGE_of_setval_comes_before_all_but_a_negative_id(void **state)
{
	(void)state;
	int id = sem_new(1, 0600), stale = sem_new(1, 0600);

	assert_int_equal(sem_remove(stale), 0);
	assert_int_equal(sem_set(-1, 0, -1), EINVAL);
	assert_int_equal(sem_set(stale, 0, -1), ERANGE);
	assert_int_equal(sem_set(id, 7, -1), ERANGE);
	if (geteuid() == 0)
		assert_int_equal(NOBODY_CTL(id, 0, SETVAL, ARG_VAL(-1)), ERANGE);
}

static void setval_says_EINVAL_for_the_semnum_before_EACCES(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0600);

	assert_int_equal(NOBODY_CTL(id, 1, SETVAL, ARG_VAL(1)), EINVAL);
	assert_int_equal(NOBODY_CTL(id, -1, SETVAL, ARG_VAL(1)), EINVAL);
	assert_int_equal(NOBODY_CTL(id, 0, SETVAL, ARG_VAL(1)), EACCES);
}

static void get_commands_say_EACCES_before_EINVAL_for_the_semnum(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0600);

	for (int cmd = GETPID; cmd <= GETZCNT; cmd++)
		if (cmd != GETALL)
			assert_int_equal(NOBODY_CTL(id, 1, cmd, ARG_P(NULL)), EACCES);
}

/* --- who may --- */

static void reading_needs_read_and_setting_needs_write(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	static const int reads[] = {GETVAL, GETPID, GETNCNT, GETZCNT, GETALL, IPC_STAT};
	static const struct {
		int mode, read, write;
	} row[] = {{0600, EACCES, EACCES}, {0604, 0, EACCES},	   {0602, EACCES, 0},
		   {0606, 0, 0},	   {0660, EACCES, EACCES}, {0601, EACCES, EACCES}};

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		int id = sem_new(1, row[i].mode);
		struct semid_ds ds;
		for (size_t j = 0; j < sizeof(reads) / sizeof(*reads); j++)
			assert_int_equal(NOBODY_CTL(id, 0, reads[j], ARG_P(&ds)), row[i].read);
		assert_int_equal(NOBODY_CTL(id, 0, SETVAL, ARG_VAL(1)), row[i].write);
		assert_int_equal(NOBODY_CTL(id, 0, SETALL, ARG_P(SEMS(2))), row[i].write);
		assert_int_equal(NOBODY_CTL(INDEX(id), 0, SEM_STAT, ARG_P(&ds)), row[i].read);
		assert_int_equal(NOBODY_CTL(INDEX(id), 0, SEM_STAT_ANY, ARG_P(&ds)), 0);
	}
}

/* In a child: becomes nobody, with one capability. */
static void become_nobody_with(int cap)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{0}, {0}};

	NEED(prctl(PR_SET_KEEPCAPS, 1) == 0);
	NEED(setgroups(0, NULL) == 0);
	NEED(setresgid(CONFORM_NOBODY, CONFORM_NOBODY, CONFORM_NOBODY) == 0);
	NEED(setresuid(CONFORM_NOBODY, CONFORM_NOBODY, CONFORM_NOBODY) == 0);
	data[cap / 32].permitted = data[cap / 32].effective = 1u << cap % 32;
	if (syscall(SYS_capset, &head, data))
		_exit(CHILD_SKIPS);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void drop_capabilities(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{0}, {0}};

	NEED(syscall(SYS_capset, &head, data) == 0);
}

static int act_with_ipc_owner(void *arg)
{
	int id = *(int *)arg;
	struct semid_ds ds;

	become_nobody_with(CAP_IPC_OWNER);
	NEED(SEMOP(id, {0, 1, 0}) == 0);
	NEED(SEMOP(id, {0, -1, 0}, {0, 0, 0}) == 0);
	NEED(sem_set(id, 0, 5) == 0);
	NEED(sem_val(id, 0) == 5);
	NEED(semctl(id, 0, IPC_STAT, ARG_P(&ds)) == 0);
	NEED(CTL(id, 0, IPC_SET, &ds) == EPERM);
	NEED(sem_remove(id) == EPERM);
	drop_capabilities();
	NEED(SEMOP(id, {0, 1, 0}) == EACCES);
	NEED(ERR(sem_val(id, 0)) == EACCES);
	return 0;
}

static void CAP_IPC_OWNER_opens_everything_but_set_and_remove(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0);

	assert_child_or_skip(child_run(act_with_ipc_owner, &id));
}

static int act_with_sys_admin(void *arg)
{
	int id = *(int *)arg;
	struct semid_ds ds = {0};

	become_nobody_with(CAP_SYS_ADMIN);
	NEED(SEMOP(id, {0, 1, 0}) == EACCES);
	NEED(ERR(sem_val(id, 0)) == EACCES);
	ds.sem_perm.mode = 0006;
	NEED(CTL(id, 0, IPC_SET, &ds) == 0);
	NEED(sem_val(id, 0) == 0);
	NEED(sem_remove(id) == 0);
	return 0;
}

static void CAP_SYS_ADMIN_sets_and_removes_and_no_more(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0);

	assert_child_or_skip(child_run(act_with_sys_admin, &id));
}

static int root_without_capabilities(void *arg)
{
	int id = *(int *)arg;

	drop_capabilities();
	NEED(SEMOP(id, {0, 1, 0}) == EACCES); /* its own set, mode 0 */
	NEED(ERR(sem_val(id, 0)) == EACCES);
	NEED(sem_remove(id) == 0);
	return 0;
}

static void root_without_capabilities_is_bound_by_the_mode(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0);

	assert_int_equal(child_run(root_without_capabilities, &id), 0);
}

/* --- IPC_INFO, SEM_INFO --- */

static void ipc_info_tells_the_limits_and_the_highest_index(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct seminfo info;

	memset(&info, 0xa5, sizeof(info));
	int rc = semctl(0, 0, IPC_INFO, ARG_P(&info));
	assert_true(rc >= INDEX(id));
	assert_true(info.semmni > 0 && info.semmsl > 0 && info.semopm > 0);
	assert_int_equal(info.semmap, info.semmns);
	assert_int_equal(info.semmnu, info.semmns);
	assert_int_equal(info.semume, 500);
	assert_int_equal(info.semusz, 20);
	assert_int_equal(info.semvmx, 32767);
	assert_int_equal(info.semaem, 32767);
}

static void the_default_limits_are_the_kernels(void **state)
{
	(void)state;
	struct seminfo info;

	assert_true(semctl(0, 0, IPC_INFO, ARG_P(&info)) >= 0);
	if (info.semmsl != 32000)
		skip(); /* somebody set them */
	assert_int_equal(info.semmns, 1024000000);
	assert_int_equal(info.semopm, 500);
	assert_int_equal(info.semmni, 32000);
}

static void info_ignores_semnum_and_takes_any_id_that_is_not_negative(void **state)
{
	(void)state;
	struct seminfo info;

	assert_true(semctl(INT32_MAX, -1, IPC_INFO, ARG_P(&info)) >= 0);
	assert_true(semctl(INT32_MAX, 99, SEM_INFO, ARG_P(&info)) >= 0);
	assert_int_equal(CTL(-1, 0, IPC_INFO, &info), EINVAL);
	assert_int_equal(CTL(-1, 0, SEM_INFO, &info), EINVAL);
}

static void ipc_info_and_proc_sys_agree(void **state)
{
	(void)state;
	FILE *f = fopen("/proc/sys/kernel/sem", "re");
	struct seminfo info;
	int msl, mns, opm, mni;

	if (!f)
		skip();
	assert_int_equal(fscanf(f, "%d %d %d %d", &msl, &mns, &opm, &mni), 4);
	fclose(f);
	assert_true(semctl(0, 0, IPC_INFO, ARG_P(&info)) >= 0);
	assert_int_equal(info.semmsl, msl);
	assert_int_equal(info.semmns, mns);
	assert_int_equal(info.semopm, opm);
	assert_int_equal(info.semmni, mni);
}

static int count_in_sem_info(void *arg)
{
	struct seminfo a, b, limits;

	(void)arg;
	child_alone();
	int rc = semctl(0, 0, SEM_INFO, ARG_P(&a));
	NEED(rc >= 0 && a.semusz == 0 && a.semaem == 0 && rc == 0);
	int x = semget(IPC_PRIVATE, 3, 0600), y = semget(IPC_PRIVATE, 70, 0600);
	NEED(x >= 0 && y >= 0);
	int high = INDEX(x) > INDEX(y) ? INDEX(x) : INDEX(y);
	NEED(semctl(0, 0, SEM_INFO, ARG_P(&b)) == high);
	NEED(b.semusz == 2 && b.semaem == 73);
	NEED(semctl(0, 0, IPC_INFO, ARG_P(&limits)) == high);
	b.semusz = limits.semusz;
	b.semaem = limits.semaem;
	NEED(memcmp(&b, &limits, sizeof(b)) == 0);
	NEED(sem_remove(INDEX(x) == high ? x : y) == 0);
	NEED(semctl(0, 0, SEM_INFO, ARG_P(&b)) == INDEX(INDEX(x) == high ? y : x));
	NEED(b.semusz == 1);
	NEED(sem_remove(INDEX(x) == high ? y : x) == 0);
	NEED(semctl(0, 0, SEM_INFO, ARG_P(&b)) == 0);
	NEED(b.semusz == 0 && b.semaem == 0);
	return 0;
}

static void sem_info_counts_sets_and_semaphores(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(count_in_sem_info, NULL));
}

static void info_needs_no_permission(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	struct seminfo info;

	sem_new(1, 0);
	assert_int_equal(NOBODY_CTL(0, 0, IPC_INFO, ARG_P(&info)), 0);
	assert_int_equal(NOBODY_CTL(0, 0, SEM_INFO, ARG_P(&info)), 0);
}

/* --- SEM_STAT, SEM_STAT_ANY --- */

static void sem_stat_takes_an_index_or_an_id_and_returns_the_id(void **state)
{
	(void)state;
	static const int cmd[] = {SEM_STAT, SEM_STAT_ANY};
	int id = sem_new(3, 0600);
	struct semid_ds want = stat_of(id), ds;

	for (int i = 0; i < 2; i++) {
		memset(&ds, 0xa5, sizeof(ds));
		assert_int_equal(semctl(INDEX(id), 0, cmd[i], ARG_P(&ds)), id);
		assert_memory_equal(&ds, &want, sizeof(ds));
		memset(&ds, 0xa5, sizeof(ds));
		assert_int_equal(semctl(id, -7, cmd[i], ARG_P(&ds)), id); /* semnum is ignored */
		assert_memory_equal(&ds, &want, sizeof(ds));
	}
}

static void sem_stat_looks_at_the_index_alone(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct semid_ds ds;

	assert_int_equal(semctl(id ^ CONFORM_INDICES, 0, SEM_STAT, ARG_P(&ds)), id);
	assert_int_equal(semctl(INDEX(id) + 1000 * CONFORM_INDICES, 0, SEM_STAT_ANY, ARG_P(&ds)),
			 id);
}

static void sem_stat_of_an_unused_index_is_EINVAL(void **state)
{
	(void)state;
	struct seminfo info;
	struct semid_ds ds;
	int max = semctl(0, 0, SEM_INFO, ARG_P(&info));

	assert_int_equal(CTL(max + 500, 0, SEM_STAT, &ds), EINVAL);
	assert_int_equal(CTL(max + 500, 0, SEM_STAT_ANY, &ds), EINVAL);
	assert_int_equal(CTL(CONFORM_INDICES - 1, 0, SEM_STAT, &ds), EINVAL);
	assert_int_equal(CTL(-1, 0, SEM_STAT, &ds), EINVAL);
}

static void sem_stat_lists_every_set_up_to_the_highest_index(void **state)
{
	(void)state;
	int ids[5], found = 0;
	struct seminfo info;
	struct semid_ds ds;

	for (int i = 0; i < 5; i++)
		ids[i] = sem_new(1, 0600);
	int max = semctl(0, 0, SEM_INFO, ARG_P(&info));
	for (int i = 0; i <= max; i++) {
		int id = semctl(i, 0, SEM_STAT, ARG_P(&ds));
		for (int j = 0; j < 5; j++)
			found += id == ids[j];
	}
	assert_int_equal(found, 5);
}

/* --- bad pointers, bad commands --- */

static void bad_pointers_are_EFAULT_in_every_command(void **state)
{
	(void)state;
	static const int cmd[] = {IPC_STAT, IPC_SET,	  GETALL,   SETALL,
				  SEM_STAT, SEM_STAT_ANY, IPC_INFO, SEM_INFO};
	int id = sem_new(2, 0600);
	void *page = conform_bad_page();
	void *bad[] = {NULL, page, (void *)1, (void *)-1, (void *)-4096};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		for (size_t j = 0; j < sizeof(cmd) / sizeof(*cmd); j++)
			assert_int_equal(CTL(id, 0, cmd[j], bad[i]), EFAULT);
	munmap(page, page_size());
}

static void a_read_only_page_is_EFAULT_for_what_writes_to_it(void **state)
{
	(void)state;
	static const int cmd[] = {IPC_STAT, GETALL, SEM_STAT, SEM_STAT_ANY, IPC_INFO, SEM_INFO};
	int id = sem_new(2, 0600);
	void *page = conform_read_only_page();

	for (size_t j = 0; j < sizeof(cmd) / sizeof(*cmd); j++)
		assert_int_equal(CTL(id, 0, cmd[j], page), EFAULT);
	assert_int_equal(CTL(id, 0, SETALL, page), 0);
	munmap(page, page_size());
}

static void a_buffer_that_ends_in_a_bad_page_is_EFAULT(void **state)
{
	(void)state;
	static const int cmd[] = {IPC_STAT, IPC_SET,  GETALL,	SETALL,
				  SEM_STAT, IPC_INFO, SEM_INFO, SEM_STAT_ANY};
	int id = sem_new(2, 0600);
	char *two = mmap(NULL, 2 * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	char *split = two + page_size() - 2;

	assert_int_equal(mprotect(two + page_size(), page_size(), PROT_NONE), 0);
	memset(split, 0, 2);
	assert_int_equal(SEMOP(id, {0, 5, 0}), 0);
	for (size_t j = 0; j < sizeof(cmd) / sizeof(*cmd); j++)
		assert_int_equal(CTL(id, 0, cmd[j], split), EFAULT);
	assert_values(id, 5, 0);
	split = two + page_size() - 4; /* just long enough for two values */
	assert_int_equal(CTL(id, 0, GETALL, split), 0);
	assert_int_equal(CTL(id, 0, SETALL, split), 0);
	split = two + page_size() - sizeof(struct semid_ds);
	assert_int_equal(CTL(id, 0, IPC_STAT, split), 0);
	assert_int_equal(CTL(id, 0, IPC_SET, split), 0);
	assert_int_equal(CTL(id, 0, IPC_SET, split + 8), EFAULT); /* though all it uses is there */
	munmap(two, 2 * page_size());
}

static void reading_says_EINVAL_or_EACCES_before_EFAULT(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	static const int cmd[] = {IPC_STAT, GETALL, SETALL};
	int id = sem_new(1, 0600), stale = sem_new(1, 0600);

	assert_int_equal(sem_remove(stale), 0);
	for (size_t j = 0; j < sizeof(cmd) / sizeof(*cmd); j++) {
		assert_int_equal(CTL(stale, 0, cmd[j], NULL), EINVAL);
		assert_int_equal(NOBODY_CTL(id, 0, cmd[j], ARG_P(NULL)), EACCES);
	}
	assert_int_equal(NOBODY_CTL(INDEX(id), 0, SEM_STAT, ARG_P(NULL)), EACCES);
	assert_int_equal(CTL(CONFORM_INDICES - 1, 0, SEM_STAT, NULL), EINVAL);
}

static void set_says_EFAULT_before_EINVAL_or_EPERM(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0600), stale = sem_new(1, 0600);

	assert_int_equal(sem_remove(stale), 0);
	assert_int_equal(CTL(stale, 0, IPC_SET, NULL), EFAULT);
	assert_int_equal(NOBODY_CTL(id, 0, IPC_SET, ARG_P(NULL)), EFAULT);
}

static void setall_says_EFAULT_before_ERANGE(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	char *two = mmap(NULL, 2 * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);

	assert_int_equal(mprotect(two + page_size(), page_size(), PROT_NONE), 0);
	memset(two + page_size() - 2, 0xff, 2);
	assert_int_equal(CTL(id, 0, SETALL, two + page_size() - 2), EFAULT);
	munmap(two, 2 * page_size());
}

static void a_negative_id_is_EINVAL_before_all_else(void **state)
{
	(void)state;
	static const int cmd[] = {IPC_STAT, IPC_SET, IPC_RMID, IPC_INFO, SEM_INFO, SEM_STAT,
				  GETALL,   SETALL,  SETVAL,   GETVAL,	 GETPID,   SEM_STAT_ANY};

	for (size_t i = 0; i < sizeof(cmd) / sizeof(*cmd); i++) {
		assert_int_equal(CTL(-1, 0, cmd[i], NULL), EINVAL);
		assert_int_equal(CTL(INT32_MIN, 0, cmd[i], NULL), EINVAL);
	}
}

static void an_unknown_command_is_EINVAL(void **state)
{
	(void)state;
	static const int cmd[] = {-1,	 4,	    5,	       10,  21,	     99,	1000,
				  0x100, INT32_MAX, INT32_MIN, 256, 0x10002, 0x7fff0000};
	int id = sem_new(1, 0600);

	for (size_t i = 0; i < sizeof(cmd) / sizeof(*cmd); i++) {
		assert_int_equal(CTL(id, 0, cmd[i], NULL), EINVAL);
		assert_int_equal(CTL(-1, 0, cmd[i], NULL), EINVAL);
	}
	if (geteuid() == 0)
		assert_int_equal(NOBODY_CTL(id, 0, 99, ARG_P(NULL)), EINVAL);
	assert_int_equal(sem_val(id, 0), 0);
}

/* --- /proc/sysvipc/sem --- */

static void proc_sysvipc_lists_the_set(void **state)
{
	(void)state;
	FILE *f = fopen("/proc/sysvipc/sem", "re");
	char line[256];
	bool found = false;

	if (!f)
		skip();
	fclose(f);
	int id = sem_get(sem_free_key(), 7, IPC_CREAT | 0641);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	struct semid_ds ds = stat_of(id);
	f = fopen("/proc/sysvipc/sem", "re");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	assert_string_equal(line, "       key      semid perms      nsems   uid   gid  cuid  cgid "
				  "     otime      ctime\n");
	while (fgets(line, sizeof(line), f)) {
		char want[256];
		snprintf(want, sizeof(want), "%10d %10d  %4o %10lu %5u %5u %5u %5u %10llu %10llu\n",
			 ds.sem_perm.__key, id, 0641u, 7ul, ds.sem_perm.uid, ds.sem_perm.gid,
			 ds.sem_perm.cuid, ds.sem_perm.cgid, (unsigned long long)ds.sem_otime,
			 (unsigned long long)ds.sem_ctime);
		found = found || strcmp(line, want) == 0;
	}
	fclose(f);
	assert_true(found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(stat_of_a_new_set_has_every_field),
		CONFORM_TEST(all_else_in_the_struct_is_zero),
		CONFORM_TEST(stat_writes_the_struct_and_no_more),
		CONFORM_TEST(stat_of_a_private_set_has_key_zero),
		CONFORM_TEST(stat_names_the_effective_ids_of_the_creator),
		CONFORM_TEST(stat_ignores_its_semnum),
		CONFORM_TEST(reading_changes_no_time_and_no_pid),
		CONFORM_TEST(set_changes_owner_mode_and_ctime_alone),
		CONFORM_TEST(set_to_the_same_sets_ctime),
		CONFORM_TEST(set_keeps_only_nine_mode_bits),
		CONFORM_TEST(set_ignores_its_semnum),
		CONFORM_TEST(set_and_remove_by_another_are_EPERM_whatever_the_mode),
		CONFORM_TEST(set_to_an_invalid_uid_or_gid_is_EINVAL_and_changes_nothing),
		CONFORM_TEST(set_by_another_is_EPERM_before_a_bad_uid_is_EINVAL),
		CONFORM_TEST(a_set_can_be_given_away_and_the_creator_keeps_control),
		CONFORM_TEST(a_new_owner_has_control),
		CONFORM_TEST(a_new_group_has_no_control),
		CONFORM_TEST(remove_of_a_stale_id_is_EINVAL_for_all),
		CONFORM_TEST(remove_ignores_its_semnum_and_its_pointer),
		CONFORM_TEST(remove_with_an_operation_in_hand_of_another_process),
		CONFORM_TEST(get_commands_return_the_number),
		CONFORM_TEST(get_commands_take_no_fourth_argument_or_any),
		CONFORM_TEST(a_semnum_out_of_range_is_EINVAL),
		CONFORM_TEST(getall_fills_one_short_a_semaphore_and_no_more),
		CONFORM_TEST(setall_sets_all_values),
		CONFORM_TEST(getall_and_setall_ignore_their_semnum),
		CONFORM_TEST(large_sets_are_set_and_got_as_a_whole),
		CONFORM_TEST(setall_of_one_value_above_SEMVMX_is_ERANGE_and_changes_nothing),
		CONFORM_TEST(setall_sets_sempid_of_all_and_ctime_but_not_otime),
		CONFORM_TEST(setval_sets_one_value),
		CONFORM_TEST(setval_takes_an_int_instead_of_the_union),
		CONFORM_TEST(setval_looks_at_the_int_of_the_union_alone),
		CONFORM_TEST(setval_out_of_range_is_ERANGE_and_changes_nothing),
		CONFORM_TEST(setval_sets_one_sempid_and_ctime_but_not_otime),
		CONFORM_TEST(ERANGE_of_setval_comes_before_all_but_a_negative_id),
		CONFORM_TEST(setval_says_EINVAL_for_the_semnum_before_EACCES),
		CONFORM_TEST(get_commands_say_EACCES_before_EINVAL_for_the_semnum),
		CONFORM_TEST(reading_needs_read_and_setting_needs_write),
		CONFORM_TEST(CAP_IPC_OWNER_opens_everything_but_set_and_remove),
		CONFORM_TEST(CAP_SYS_ADMIN_sets_and_removes_and_no_more),
		CONFORM_TEST(root_without_capabilities_is_bound_by_the_mode),
		CONFORM_TEST(ipc_info_tells_the_limits_and_the_highest_index),
		CONFORM_TEST(the_default_limits_are_the_kernels),
		CONFORM_TEST(info_ignores_semnum_and_takes_any_id_that_is_not_negative),
		CONFORM_TEST(ipc_info_and_proc_sys_agree),
		CONFORM_TEST(sem_info_counts_sets_and_semaphores),
		CONFORM_TEST(info_needs_no_permission),
		CONFORM_TEST(sem_stat_takes_an_index_or_an_id_and_returns_the_id),
		CONFORM_TEST(sem_stat_looks_at_the_index_alone),
		CONFORM_TEST(sem_stat_of_an_unused_index_is_EINVAL),
		CONFORM_TEST(sem_stat_lists_every_set_up_to_the_highest_index),
		CONFORM_TEST(bad_pointers_are_EFAULT_in_every_command),
		CONFORM_TEST(a_read_only_page_is_EFAULT_for_what_writes_to_it),
		CONFORM_TEST(a_buffer_that_ends_in_a_bad_page_is_EFAULT),
		CONFORM_TEST(reading_says_EINVAL_or_EACCES_before_EFAULT),
		CONFORM_TEST(set_says_EFAULT_before_EINVAL_or_EPERM),
		CONFORM_TEST(setall_says_EFAULT_before_ERANGE),
		CONFORM_TEST(a_negative_id_is_EINVAL_before_all_else),
		CONFORM_TEST(an_unknown_command_is_EINVAL),
		CONFORM_TEST(proc_sysvipc_lists_the_set),
	};
	return SEM_RUN(tests);
}
