/* msgctl(): what each command reports and changes, who may, and which refusal comes first. */
#include "conform-msg.h"

#include <linux/capability.h>
#include <sys/syscall.h>

#define CTL(id, cmd, p) ERR(msgctl(id, cmd, (struct msqid_ds *)(p)))

static struct msqid_ds stat_of(int id)
{
	struct msqid_ds ds;

	memset(&ds, 0xa5, sizeof(ds));
	assert_int_equal(msgctl(id, IPC_STAT, &ds), 0);
	return ds;
}

static int info(int cmd, struct msginfo *ret)
{
	memset(ret, 0xa5, sizeof(*ret));
	return msgctl(0, cmd, (struct msqid_ds *)ret);
}

static int make_queue(void *arg)
{
	int *id = arg;

	*id = msg_new(0644);
	return *id < 0;
}

/* --- IPC_STAT --- */

static void stat_of_a_new_queue_has_every_field(void **state)
{
	(void)state;
	key_t key = msg_free_key();
	struct msginfo limits;
	time_t before = coarse_now();
	int id = msg_get(key, IPC_CREAT | 0642);
	time_t after = time(NULL);
	struct msqid_ds ds = stat_of(id);

	assert_true(info(IPC_INFO, &limits) >= 0);
	assert_int_equal(ds.msg_perm.__key, key);
	assert_int_equal(ds.msg_perm.uid, geteuid());
	assert_int_equal(ds.msg_perm.gid, getegid());
	assert_int_equal(ds.msg_perm.cuid, geteuid());
	assert_int_equal(ds.msg_perm.cgid, getegid());
	assert_int_equal(ds.msg_perm.mode, 0642);
	assert_int_equal(ds.msg_perm.__seq, (unsigned short)(id / CONFORM_INDICES));
	assert_int_equal(ds.msg_stime, 0);
	assert_int_equal(ds.msg_rtime, 0);
	assert_between(before, ds.msg_ctime, after);
	assert_int_equal(ds.msg_cbytes, 0);
	assert_int_equal(ds.msg_qnum, 0);
	assert_int_equal(ds.msg_qbytes, limits.msgmnb);
	assert_int_equal(ds.msg_lspid, 0);
	assert_int_equal(ds.msg_lrpid, 0);
}

static void all_else_in_the_struct_is_zero(void **state)
{
	(void)state;
	int id = msg_new(0642);

	assert_int_equal(put(id, 1, "abc"), 0);
	assert_int_equal(put(id, 1, "de"), 0);
	assert_int_equal(take_err(id, 0), 0);
	struct msqid_ds ds = stat_of(id);
	const unsigned char *byte = (const unsigned char *)&ds;
	assert_int_equal(ds.msg_lspid, getpid());
	assert_int_equal(ds.msg_lrpid, getpid());
	ds.msg_perm.__key = 0;
	ds.msg_perm.uid = ds.msg_perm.cuid = 0;
	ds.msg_perm.gid = ds.msg_perm.cgid = 0;
	ds.msg_perm.mode = 0;
	ds.msg_perm.__seq = 0;
	ds.msg_stime = ds.msg_rtime = ds.msg_ctime = 0;
	ds.msg_cbytes = ds.msg_qnum = ds.msg_qbytes = 0;
	ds.msg_lspid = ds.msg_lrpid = 0;
	for (size_t i = 0; i < sizeof(ds); i++)
		assert_int_equal(byte[i], 0);
}

static void stat_writes_the_struct_and_no_more(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct {
		struct msqid_ds ds;
		unsigned char after[64];
	} x;

	memset(&x, 0xa5, sizeof(x));
	assert_int_equal(CTL(id, IPC_STAT, &x.ds), 0);
	for (size_t i = 0; i < sizeof(x.after); i++)
		assert_int_equal(x.after[i], 0xa5);
}

static void info_writes_the_struct_and_no_more(void **state)
{
	(void)state;
	struct {
		struct msginfo info;
		unsigned char after[64];
	} x;

	for (int i = 0; i < 2; i++) {
		memset(&x, 0xa5, sizeof(x));
		assert_int_equal(CTL(0, i ? MSG_INFO : IPC_INFO, &x.info), 0);
		for (size_t j = 0; j < sizeof(x.after); j++)
			assert_int_equal(x.after[j], 0xa5);
		unsigned char *seg_end = (unsigned char *)(&x.info.msgseg + 1);
		while (seg_end < (unsigned char *)(&x.info + 1))
			assert_int_equal(*seg_end++, 0); /* padding */
	}
}

static void stat_of_a_private_queue_has_key_zero(void **state)
{
	(void)state;
	assert_int_equal(stat_of(msg_new(0600)).msg_perm.__key, IPC_PRIVATE);
}

static void stat_names_the_effective_ids_of_the_creator(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int *id = shared_new(sizeof(*id));

	assert_int_equal(nobody_run(make_queue, id), 0);
	struct msqid_ds ds = stat_of(*id);
	assert_int_equal(ds.msg_perm.uid, CONFORM_NOBODY);
	assert_int_equal(ds.msg_perm.gid, CONFORM_NOBODY);
	assert_int_equal(ds.msg_perm.cuid, CONFORM_NOBODY);
	assert_int_equal(ds.msg_perm.cgid, CONFORM_NOBODY);
	munmap(id, sizeof(*id));
}

static void the_pids_of_ended_processes_stay(void **state)
{
	(void)state;
	int id = msg_new(0600);

	pid_t sender = child_start(call_put, &(struct move_call){id, 1, "x"});
	assert_int_equal(child_wait(sender), 0);
	pid_t receiver = child_start(call_take, &(struct move_call){id, 0, NULL});
	assert_int_equal(child_wait(receiver), 0);
	assert_int_equal(stat_of(id).msg_lspid, sender);
	assert_int_equal(stat_of(id).msg_lrpid, receiver);
}

/* --- IPC_SET --- */

static void set_changes_owner_mode_qbytes_and_ctime_alone(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_get(msg_free_key(), IPC_CREAT | 0600);

	assert_int_equal(put(id, 1, "ab"), 0);
	assert_int_equal(put(id, 2, "c"), 0);
	assert_int_equal(take_err(id, 2), 0);
	struct msqid_ds old = stat_of(id), ds;
	next_second();
	memset(&ds, 0x5a, sizeof(ds));
	ds.msg_perm.uid = 1234;
	ds.msg_perm.gid = 4321;
	ds.msg_perm.mode = 0421;
	ds.msg_qbytes = 1000;
	time_t start = coarse_now();
	assert_int_equal(CTL(id, IPC_SET, &ds), 0);
	ds = stat_of(id);
	assert_int_equal(ds.msg_perm.uid, 1234);
	assert_int_equal(ds.msg_perm.gid, 4321);
	assert_int_equal(ds.msg_perm.mode, 0421);
	assert_int_equal(ds.msg_qbytes, 1000);
	assert_between(start, ds.msg_ctime, time(NULL));
	ds.msg_perm.uid = old.msg_perm.uid;
	ds.msg_perm.gid = old.msg_perm.gid;
	ds.msg_perm.mode = old.msg_perm.mode;
	ds.msg_qbytes = old.msg_qbytes;
	ds.msg_ctime = old.msg_ctime;
	assert_memory_equal(&ds, &old, sizeof(ds));
	assert_takes(id, 0, 1, "ab");
}

static void set_to_the_same_sets_ctime(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct msqid_ds ds = stat_of(id);

	next_second();
	assert_int_equal(CTL(id, IPC_SET, &ds), 0);
	assert_true(stat_of(id).msg_ctime > ds.msg_ctime);
}

static void set_keeps_only_nine_mode_bits(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct msqid_ds ds = stat_of(id);

	ds.msg_perm.mode = 07712 & 0xffff;
	assert_int_equal(CTL(id, IPC_SET, &ds), 0);
	assert_int_equal(stat_of(id).msg_perm.mode, 0712);
}

static void set_does_not_write_to_its_struct(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct msqid_ds *ds =
		mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*ds = stat_of(id);
	assert_int_equal(mprotect(ds, page_size(), PROT_READ), 0);
	assert_int_equal(CTL(id, IPC_SET, ds), 0);
	munmap(ds, page_size());
}

static void set_and_remove_by_another_are_EPERM_whatever_the_mode(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	static const int mode[] = {0777, 0600, 0};

	for (size_t i = 0; i < sizeof(mode) / sizeof(*mode); i++) {
		int id = msg_new(mode[i]);
		struct msqid_ds ds = stat_of(id), after;
		assert_int_equal(NOBODY_CTL(id, IPC_SET, &ds), EPERM);
		assert_int_equal(NOBODY_CTL(id, IPC_RMID, NULL), EPERM);
		after = stat_of(id);
		assert_memory_equal(&ds, &after, sizeof(ds));
	}
}

static void set_to_an_invalid_uid_or_gid_is_EINVAL_and_changes_nothing(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct msqid_ds before = stat_of(id), ds = before;

	ds.msg_perm.uid = (uid_t)-1;
	ds.msg_perm.mode = 0666;
	ds.msg_qbytes = 5;
	assert_int_equal(CTL(id, IPC_SET, &ds), EINVAL);
	ds.msg_perm.uid = before.msg_perm.uid;
	ds.msg_perm.gid = (gid_t)-1;
	assert_int_equal(CTL(id, IPC_SET, &ds), EINVAL);
	ds = stat_of(id);
	assert_memory_equal(&ds, &before, sizeof(ds));
}

static void set_by_another_is_EPERM_before_a_bad_uid_is_EINVAL(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0666);
	struct msqid_ds ds = stat_of(id);

	ds.msg_perm.uid = (uid_t)-1;
	assert_int_equal(NOBODY_CTL(id, IPC_SET, &ds), EPERM);
}

static int give_away(void *arg)
{
	int id = msg_new(0600);
	struct msqid_ds ds = msg_stat(id);

	(void)arg;
	ds.msg_perm.uid = 1234;
	ds.msg_perm.gid = 4321;
	NEED(CTL(id, IPC_SET, &ds) == 0);
	ds.msg_perm.mode = 0640;
	NEED(CTL(id, IPC_SET, &ds) == 0);
	NEED(put(id, 1, "x") == 0);
	NEED(msg_remove(id) == 0);
	return 0;
}

static void a_queue_can_be_given_away_and_the_creator_keeps_control(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	assert_int_equal(nobody_run(give_away, NULL), 0);
}

static void a_new_owner_has_control(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0600);
	struct msqid_ds ds = stat_of(id);

	assert_int_equal(NOBODY_PUT(id, 1, "x"), EACCES);
	ds.msg_perm.uid = CONFORM_NOBODY;
	assert_int_equal(CTL(id, IPC_SET, &ds), 0);
	assert_int_equal(NOBODY_PUT(id, 1, "x"), 0);
	assert_int_equal(NOBODY_CTL(id, IPC_SET, &ds), 0);
	assert_int_equal(NOBODY_CTL(id, IPC_RMID, NULL), 0);
	assert_true(msg_gone(id));
}

static void a_new_group_has_no_control(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0660);
	struct msqid_ds ds = stat_of(id);

	ds.msg_perm.gid = CONFORM_NOBODY;
	assert_int_equal(CTL(id, IPC_SET, &ds), 0);
	assert_int_equal(NOBODY_PUT(id, 1, "x"), 0);
	assert_int_equal(NOBODY_CTL(id, IPC_SET, &ds), EPERM);
	assert_int_equal(NOBODY_CTL(id, IPC_RMID, NULL), EPERM);
}

/* --- IPC_SET of qbytes --- */

/* Root may be without it, in a container. */
static bool may_raise_qbytes(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	return syscall(SYS_capget, &head, data) == 0 &&
	       data[CAP_SYS_RESOURCE / 32].effective & 1u << CAP_SYS_RESOURCE % 32;
}

static void qbytes_has_effect_at_once(void **state)
{
	(void)state;
	static const unsigned long value[] = {0, 1, 2, 3, 1000, QBYTES_HERE};
	int id = msg_new(0600);

	for (size_t i = 0; i < sizeof(value) / sizeof(*value); i++) {
		assert_int_equal(msg_set_qbytes(id, value[i]), 0);
		assert_int_equal(stat_of(id).msg_qbytes, value[i]);
		assert_int_equal(put(id, 1, "x"), value[i] < 1 ? EAGAIN : 0);
		assert_int_equal(put(id, 1, "xy"), value[i] < 3 ? EAGAIN : 0);
		while (take_err(id, 0) == 0)
			;
	}
}

/* The kernel hands it on as an int. */
static void of_qbytes_only_the_lower_32_bits_count(void **state)
{
	(void)state;
	static const unsigned long high[] = {1UL << 32, 1UL << 33, 1UL << 63, 0xffffffff00000000UL};
	int id = msg_new(0600);

	for (size_t i = 0; i < sizeof(high) / sizeof(*high); i++) {
		assert_int_equal(msg_set_qbytes(id, high[i] | 5), 0);
		assert_int_equal(stat_of(id).msg_qbytes, 5);
		assert_int_equal(msg_set_qbytes(id, high[i]), 0);
		assert_int_equal(stat_of(id).msg_qbytes, 0);
	}
}

static void qbytes_takes_any_value_from_the_privileged(void **state)
{
	(void)state;
	static const unsigned long value[] = {QBYTES_HERE + 1, 1000000, INT_MAX};
	int id = msg_new(0600);

	if (!may_raise_qbytes())
		skip();
	for (size_t i = 0; i < sizeof(value) / sizeof(*value); i++) {
		assert_int_equal(msg_set_qbytes(id, value[i]), 0);
		assert_true(stat_of(id).msg_qbytes == value[i]);
		assert_int_equal(put(id, 1, "x"), 0);
	}
}

static int set_qbytes_as_owner(void *arg)
{
	struct msginfo limits;
	int id = msg_new(0600);

	(void)arg;
	NEED(info(IPC_INFO, &limits) >= 0);
	unsigned long most = (unsigned long)limits.msgmnb;
	NEED(msg_set_qbytes(id, most) == 0);
	NEED(msg_set_qbytes(id, most + 1) == EPERM);
	NEED(msg_set_qbytes(id, 0x80000000UL) == EPERM); /* unsigned, when it is compared */
	NEED(msg_set_qbytes(id, ULONG_MAX) == EPERM);
	NEED(msg_set_qbytes(id, 0) == 0);
	NEED(msg_set_qbytes(id, most - 1) == 0);
	struct msqid_ds ds = msg_stat(id);
	ds.msg_qbytes = most + 1;
	ds.msg_perm.mode = 0644;
	NEED(CTL(id, IPC_SET, &ds) == EPERM);
	NEED(msg_stat(id).msg_perm.mode == 0600);
	ds.msg_perm.uid = (uid_t)-1;
	NEED(CTL(id, IPC_SET, &ds) == EPERM); /* before EINVAL */
	return 0;
}

static void qbytes_above_MSGMNB_is_EPERM_for_an_owner(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	assert_int_equal(nobody_run(set_qbytes_as_owner, NULL), 0);
}

static int set_after_msgmnb(void *arg)
{
	(void)arg;
	child_alone();
	child_set_limit("msgmnb", "100");
	int id = msgget(IPC_PRIVATE, 0666);
	NEED(id >= 0 && msg_stat(id).msg_qbytes == 100);
	struct msqid_ds ds = msg_stat(id);
	ds.msg_perm.uid = CONFORM_NOBODY;
	NEED(CTL(id, IPC_SET, &ds) == 0);
	ds.msg_qbytes = 101;
	NEED(NOBODY_CTL(id, IPC_SET, &ds) == EPERM);
	child_set_limit("msgmnb", "101");
	NEED(NOBODY_CTL(id, IPC_SET, &ds) == 0);
	child_set_limit("msgmnb", "50");
	NEED(NOBODY_CTL(id, IPC_SET, &ds) == EPERM);
	NEED(put_size(id, 1, 101) == 0); /* it keeps what it has, */
	ds = msg_stat(id);
	NEED(NOBODY_CTL(id, IPC_SET, &ds) == EPERM); /* though its owner can't set it to that */
	ds.msg_qbytes = 50;
	NEED(NOBODY_CTL(id, IPC_SET, &ds) == 0);
	return child_leave_limits();
}

static void MSGMNB_counts_as_it_stands_at_the_call(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	assert_child_or_skip(child_run(set_after_msgmnb, NULL));
}

/* --- IPC_RMID --- */

static void remove_of_a_stale_id_is_EINVAL_for_all(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0600);

	assert_int_equal(msg_remove(id), 0);
	assert_int_equal(msg_remove(id), EINVAL);
	assert_int_equal(NOBODY_CTL(id, IPC_RMID, NULL), EINVAL);
}

static void remove_ignores_its_pointer(void **state)
{
	(void)state;
	assert_int_equal(CTL(msg_new(0600), IPC_RMID, NULL), 0);
	assert_int_equal(CTL(msg_new(0600), IPC_RMID, 1), 0);
	assert_int_equal(CTL(msg_new(0600), IPC_RMID, -1), 0);
}

static void remove_takes_the_messages_along(void **state)
{
	(void)state;
	key_t key = msg_free_key();

	for (int round = 0; round < 100; round++) { /* their memory is free again, too */
		int id = msg_get(key, IPC_CREAT | IPC_EXCL | 0600);
		assert_holds(id, 0, 0);
		for (int i = 0; i < 8; i++)
			assert_int_equal(put_size(id, i + 1, 2048), 0);
		assert_int_equal(put_size(id, 9, 1), EAGAIN);
		assert_int_equal(msg_remove(id), 0);
		assert_int_equal(ERR(msgget(key, 0)), ENOENT);
	}
}

/* --- who may --- */

static void stat_needs_read_and_any_needs_nothing(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	static const struct {
		int mode, read;
	} row[] = {{0600, EACCES}, {0604, 0},	   {0602, EACCES},
		   {0606, 0},	   {0660, EACCES}, {0601, EACCES}};

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		int id = msg_new(row[i].mode);
		struct msqid_ds ds;
		assert_int_equal(NOBODY_CTL(id, IPC_STAT, &ds), row[i].read);
		assert_int_equal(NOBODY_CTL(INDEX(id), MSG_STAT, &ds), row[i].read);
		assert_int_equal(NOBODY_CTL(INDEX(id), MSG_STAT_ANY, &ds), 0);
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
	struct msqid_ds ds;

	become_nobody_with(CAP_IPC_OWNER);
	NEED(put(id, 1, "x") == 0);
	NEED(take_is(id, 0, 1, "x"));
	NEED(CTL(id, IPC_STAT, &ds) == 0);
	NEED(msgctl(INDEX(id), MSG_STAT, &ds) == id);
	NEED(CTL(id, IPC_SET, &ds) == EPERM);
	NEED(msg_remove(id) == EPERM);
	drop_capabilities();
	NEED(put(id, 1, "x") == EACCES);
	NEED(take_err(id, 0) == EACCES);
	NEED(CTL(id, IPC_STAT, &ds) == EACCES);
	return 0;
}

static void CAP_IPC_OWNER_opens_everything_but_set_and_remove(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0);

	assert_child_or_skip(child_run(act_with_ipc_owner, &id));
}

static int act_with_sys_admin(void *arg)
{
	int id = *(int *)arg;
	struct msqid_ds ds = msg_stat(id);

	become_nobody_with(CAP_SYS_ADMIN);
	NEED(put(id, 1, "x") == EACCES);
	NEED(take_err(id, 0) == EACCES);
	NEED(CTL(id, IPC_STAT, &ds) == EACCES);
	ds.msg_perm.mode = 0006;
	ds.msg_qbytes++;
	NEED(CTL(id, IPC_SET, &ds) == EPERM); /* qbytes is another capability's */
	ds.msg_qbytes--;
	NEED(CTL(id, IPC_SET, &ds) == 0);
	NEED(put(id, 1, "x") == 0);
	NEED(msg_remove(id) == 0);
	return 0;
}

static void CAP_SYS_ADMIN_sets_and_removes_and_no_more(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0);

	assert_child_or_skip(child_run(act_with_sys_admin, &id));
}

static int act_with_sys_resource(void *arg)
{
	int *id = arg; /* its own, another's */

	become_nobody_with(CAP_SYS_RESOURCE);
	struct msqid_ds ds = msg_stat(id[0]);
	ds.msg_qbytes += 100;
	NEED(CTL(id[0], IPC_SET, &ds) == 0);
	NEED(msg_stat(id[0]).msg_qbytes == ds.msg_qbytes);
	NEED(CTL(id[1], IPC_SET, &ds) == EPERM);
	NEED(put(id[1], 1, "x") == EACCES);
	drop_capabilities();
	NEED(CTL(id[0], IPC_SET, &ds) == EPERM);
	return 0;
}

static void CAP_SYS_RESOURCE_raises_qbytes_of_ones_own_queue(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id[2] = {msg_new(0600), msg_new(0600)};
	struct msqid_ds ds = stat_of(id[0]);

	ds.msg_perm.uid = CONFORM_NOBODY;
	assert_int_equal(CTL(id[0], IPC_SET, &ds), 0);
	assert_child_or_skip(child_run(act_with_sys_resource, id));
}

static int root_without_capabilities(void *arg)
{
	int id = *(int *)arg;
	struct msqid_ds ds = msg_stat(id);

	drop_capabilities();
	NEED(put(id, 1, "x") == EACCES); /* its own queue, mode 0 */
	NEED(take_err(id, 0) == EACCES);
	ds.msg_qbytes++;
	NEED(CTL(id, IPC_SET, &ds) == EPERM);
	NEED(msg_remove(id) == 0);
	return 0;
}

static void root_without_capabilities_is_bound_by_the_mode(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0);

	assert_int_equal(child_run(root_without_capabilities, &id), 0);
}

/* --- IPC_INFO, MSG_INFO --- */

static void ipc_info_tells_the_limits_and_the_highest_index(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct msginfo limits;

	assert_true(info(IPC_INFO, &limits) >= INDEX(id));
	assert_true(limits.msgmni > 0 && limits.msgmax > 0 && limits.msgmnb > 0);
	assert_int_equal(limits.msgpool, 512000); /* these are constants, whatever the limits */
	assert_int_equal(limits.msgmap, 16384);
	assert_int_equal(limits.msgssz, 16);
	assert_int_equal(limits.msgtql, 16384);
	assert_int_equal(limits.msgseg, 0xffff);
}

static void the_default_limits_are_the_kernels(void **state)
{
	(void)state;
	struct msginfo limits;

	assert_true(info(IPC_INFO, &limits) >= 0);
	if (limits.msgmni != 32000)
		skip(); /* somebody set them */
	assert_int_equal(limits.msgmax, 8192);
	assert_int_equal(limits.msgmnb, 16384);
}

static int info_after_limits(void *arg)
{
	struct msginfo limits;

	(void)arg;
	child_alone();
	child_set_limit("msgmax", "1000");
	child_set_limit("msgmnb", "2000");
	child_set_limit("msgmni", "30");
	NEED(info(IPC_INFO, &limits) >= 0);
	NEED(limits.msgmax == 1000 && limits.msgmnb == 2000 && limits.msgmni == 30);
	NEED(limits.msgpool == 512000 && limits.msgmap == 16384 && limits.msgtql == 16384);
	NEED(info(MSG_INFO, &limits) >= 0);
	NEED(limits.msgmax == 1000 && limits.msgmnb == 2000 && limits.msgmni == 30);
	return child_leave_limits();
}

static void info_tells_limits_as_they_are_set(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(info_after_limits, NULL));
}

static void info_takes_any_id_that_is_not_negative(void **state)
{
	(void)state;
	struct msginfo limits;

	assert_true(msgctl(INT32_MAX, IPC_INFO, (struct msqid_ds *)&limits) >= 0);
	assert_true(msgctl(INT32_MAX, MSG_INFO, (struct msqid_ds *)&limits) >= 0);
	assert_int_equal(CTL(-1, IPC_INFO, &limits), EINVAL);
	assert_int_equal(CTL(-1, MSG_INFO, &limits), EINVAL);
}

static long proc_sys(const char *name)
{
	char path[64];
	long value = -1;

	snprintf(path, sizeof(path), "/proc/sys/kernel/%s", name);
	FILE *f = fopen(path, "re");
	if (f && fscanf(f, "%ld", &value) != 1)
		value = -1;
	if (f)
		fclose(f);
	return value;
}

static void ipc_info_and_proc_sys_agree(void **state)
{
	(void)state;
	struct msginfo limits;

	if (proc_sys("msgmni") < 0)
		skip();
	assert_true(info(IPC_INFO, &limits) >= 0);
	assert_int_equal(limits.msgmax, proc_sys("msgmax"));
	assert_int_equal(limits.msgmnb, proc_sys("msgmnb"));
	assert_int_equal(limits.msgmni, proc_sys("msgmni"));
}

static int count_in_msg_info(void *arg)
{
	struct msginfo a, limits;

	(void)arg;
	child_alone();
	NEED(info(MSG_INFO, &a) == 0);
	NEED(a.msgpool == 0 && a.msgmap == 0 && a.msgtql == 0);
	int x = msgget(IPC_PRIVATE, 0600), y = msgget(IPC_PRIVATE, 0600);
	NEED(x >= 0 && y >= 0);
	int high = INDEX(x) > INDEX(y) ? INDEX(x) : INDEX(y);
	NEED(info(MSG_INFO, &a) == high && a.msgpool == 2 && a.msgmap == 0 && a.msgtql == 0);
	NEED(put_size(x, 1, 100) == 0 && put_size(y, 1, 50) == 0 && put_size(y, 2, 0) == 0);
	NEED(info(MSG_INFO, &a) == high && a.msgpool == 2 && a.msgmap == 3 && a.msgtql == 150);
	NEED(put_size(y, 1, TEXT_MAX + 1) == EINVAL && take_err(x, 7) == ENOMSG);
	NEED(info(MSG_INFO, &a) == high && a.msgmap == 3 && a.msgtql == 150);
	NEED(take(y, 10, 1, MSG_NOERROR).err == 0);
	NEED(info(MSG_INFO, &a) == high && a.msgmap == 2 && a.msgtql == 100);
	NEED(info(IPC_INFO, &limits) == high);
	a.msgpool = limits.msgpool;
	a.msgmap = limits.msgmap;
	a.msgtql = limits.msgtql;
	NEED(memcmp(&a, &limits, sizeof(a)) == 0);
	NEED(msg_remove(x) == 0); /* with its message */
	NEED(info(MSG_INFO, &a) == INDEX(y));
	NEED(a.msgpool == 1 && a.msgmap == 1 && a.msgtql == 0);
	NEED(msg_remove(y) == 0);
	NEED(info(MSG_INFO, &a) == 0 && a.msgpool == 0 && a.msgmap == 0 && a.msgtql == 0);
	return 0;
}

static void msg_info_counts_queues_messages_and_bytes(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(count_in_msg_info, NULL));
}

static void info_needs_no_permission(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	struct msginfo limits;

	msg_new(0);
	assert_int_equal(NOBODY_CTL(0, IPC_INFO, &limits), 0);
	assert_int_equal(NOBODY_CTL(0, MSG_INFO, &limits), 0);
}

/* --- MSG_STAT, MSG_STAT_ANY --- */

static void msg_stat_takes_an_index_or_an_id_and_returns_the_id(void **state)
{
	(void)state;
	static const int cmd[] = {MSG_STAT, MSG_STAT_ANY};
	int id = msg_new(0600);

	assert_int_equal(put(id, 1, "abc"), 0);
	struct msqid_ds want = stat_of(id), ds;
	for (int i = 0; i < 2; i++) {
		memset(&ds, 0xa5, sizeof(ds));
		assert_int_equal(msgctl(INDEX(id), cmd[i], &ds), id);
		assert_memory_equal(&ds, &want, sizeof(ds));
		memset(&ds, 0xa5, sizeof(ds));
		assert_int_equal(msgctl(id, cmd[i], &ds), id);
		assert_memory_equal(&ds, &want, sizeof(ds));
	}
}

static void msg_stat_looks_at_the_index_alone(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct msqid_ds ds;

	assert_int_equal(msgctl(id ^ CONFORM_INDICES, MSG_STAT, &ds), id);
	assert_int_equal(msgctl(INDEX(id) + 1000 * CONFORM_INDICES, MSG_STAT_ANY, &ds), id);
}

static void msg_stat_of_an_unused_index_is_EINVAL(void **state)
{
	(void)state;
	struct msginfo limits;
	struct msqid_ds ds;
	int max = info(MSG_INFO, &limits);

	assert_int_equal(CTL(max + 500, MSG_STAT, &ds), EINVAL);
	assert_int_equal(CTL(max + 500, MSG_STAT_ANY, &ds), EINVAL);
	assert_int_equal(CTL(CONFORM_INDICES - 1, MSG_STAT, &ds), EINVAL);
	assert_int_equal(CTL(-1, MSG_STAT, &ds), EINVAL);
	int id = msg_new(0600);
	assert_int_equal(msg_remove(id), 0);
	assert_int_equal(CTL(INDEX(id), MSG_STAT, &ds), EINVAL);
	assert_int_equal(CTL(INDEX(id), MSG_STAT_ANY, &ds), EINVAL);
}

static void msg_stat_lists_every_queue_up_to_the_highest_index(void **state)
{
	(void)state;
	int ids[5], found = 0;
	struct msginfo limits;
	struct msqid_ds ds;

	for (int i = 0; i < 5; i++)
		ids[i] = msg_new(0600);
	int max = info(MSG_INFO, &limits);
	for (int i = 0; i <= max; i++) {
		int id = msgctl(i, MSG_STAT, &ds);
		for (int j = 0; j < 5; j++)
			found += id == ids[j];
	}
	assert_int_equal(found, 5);
}

/* --- bad pointers, bad commands --- */

static void bad_pointers_are_EFAULT_in_every_command(void **state)
{
	(void)state;
	static const int cmd[] = {IPC_STAT, IPC_SET, MSG_STAT, MSG_STAT_ANY, IPC_INFO, MSG_INFO};
	int id = msg_new(0600);
	void *page = conform_bad_page();
	void *bad[] = {NULL, page, (void *)1, (void *)-1, (void *)-4096};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		for (size_t j = 0; j < sizeof(cmd) / sizeof(*cmd); j++)
			assert_int_equal(CTL(id, cmd[j], bad[i]), EFAULT);
	munmap(page, page_size());
}

static void a_read_only_page_is_EFAULT_for_what_writes_to_it(void **state)
{
	(void)state;
	static const int cmd[] = {IPC_STAT, MSG_STAT, MSG_STAT_ANY, IPC_INFO, MSG_INFO};
	int id = msg_new(0600);
	void *page = conform_read_only_page();

	for (size_t j = 0; j < sizeof(cmd) / sizeof(*cmd); j++)
		assert_int_equal(CTL(id, cmd[j], page), EFAULT);
	munmap(page, page_size());
}

static void a_buffer_that_ends_in_a_bad_page_is_EFAULT(void **state)
{
	(void)state;
	static const int cmd[] = {IPC_STAT, IPC_SET, MSG_STAT, MSG_STAT_ANY, IPC_INFO, MSG_INFO};
	int id = msg_new(0600);
	struct msqid_ds before = stat_of(id);
	char *two = mmap(NULL, 2 * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	char *split = two + page_size() - 8;

	assert_int_equal(mprotect(two + page_size(), page_size(), PROT_NONE), 0);
	for (size_t j = 0; j < sizeof(cmd) / sizeof(*cmd); j++)
		assert_int_equal(CTL(id, cmd[j], split), EFAULT);
	split = two + page_size() - sizeof(struct msqid_ds);
	assert_int_equal(CTL(id, IPC_STAT, split), 0);
	assert_int_equal(CTL(id, IPC_SET, split), 0);
	memcpy(split + 8, &before, sizeof(before) - 8);
	assert_int_equal(CTL(id, IPC_SET, split + 8), EFAULT); /* though all it uses is there */
	split = two + page_size() - sizeof(struct msginfo);
	assert_true(msgctl(0, IPC_INFO, (struct msqid_ds *)split) >= 0);
	assert_true(msgctl(0, MSG_INFO, (struct msqid_ds *)split) >= 0);
	assert_int_equal(CTL(0, MSG_INFO, split + 1), EFAULT); /* though that is padding */
	munmap(two, 2 * page_size());
}

static void reading_says_EINVAL_or_EACCES_before_EFAULT(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0600), stale = msg_new(0600);

	assert_int_equal(msg_remove(stale), 0);
	assert_int_equal(CTL(stale, IPC_STAT, NULL), EINVAL);
	assert_int_equal(NOBODY_CTL(id, IPC_STAT, NULL), EACCES);
	assert_int_equal(NOBODY_CTL(INDEX(id), MSG_STAT, NULL), EACCES);
	assert_int_equal(NOBODY_CTL(INDEX(id), MSG_STAT_ANY, NULL), EFAULT);
	assert_int_equal(CTL(CONFORM_INDICES - 1, MSG_STAT, NULL), EINVAL);
}

static void set_says_EFAULT_before_EINVAL_or_EPERM(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0600), stale = msg_new(0600);
	struct msqid_ds ds = stat_of(stale);

	assert_int_equal(msg_remove(stale), 0);
	assert_int_equal(CTL(stale, IPC_SET, NULL), EFAULT);
	assert_int_equal(NOBODY_CTL(id, IPC_SET, NULL), EFAULT);
	ds.msg_qbytes = ULONG_MAX;
	assert_int_equal(NOBODY_CTL(stale, IPC_SET, &ds), EINVAL); /* before all EPERM */
}

static void a_negative_id_is_EINVAL_before_all_else(void **state)
{
	(void)state;
	static const int cmd[] = {IPC_STAT, IPC_SET,  IPC_RMID,	   IPC_INFO,
				  MSG_INFO, MSG_STAT, MSG_STAT_ANY};

	for (size_t i = 0; i < sizeof(cmd) / sizeof(*cmd); i++) {
		assert_int_equal(CTL(-1, cmd[i], NULL), EINVAL);
		assert_int_equal(CTL(INT32_MIN, cmd[i], NULL), EINVAL);
	}
}

static void an_unknown_command_is_EINVAL(void **state)
{
	(void)state;
	static const int cmd[] = {-1,	 4,	    5,	       10,  14,	     99,	 1000,
				  0x100, INT32_MAX, INT32_MIN, 256, 0x10002, 0x7fff0000, 0x102};
	int id = msg_new(0600);

	for (size_t i = 0; i < sizeof(cmd) / sizeof(*cmd); i++) {
		assert_int_equal(CTL(id, cmd[i], NULL), EINVAL);
		assert_int_equal(CTL(-1, cmd[i], NULL), EINVAL);
	}
	if (geteuid() == 0)
		assert_int_equal(NOBODY_CTL(id, 99, NULL), EINVAL);
	assert_holds(id, 0, 0);
}

/* --- /proc/sysvipc/msg --- */

static void proc_sysvipc_lists_the_queue(void **state)
{
	(void)state;
	FILE *f = fopen("/proc/sysvipc/msg", "re");
	char line[256];
	bool found = false;

	if (!f)
		skip();
	fclose(f);
	int id = msg_get(msg_free_key(), IPC_CREAT | 0641);
	assert_int_equal(put(id, 1, "abc"), 0);
	assert_int_equal(put(id, 1, "de"), 0);
	assert_int_equal(CHILD_TAKE(id, 1), 0);
	struct msqid_ds ds = stat_of(id);
	f = fopen("/proc/sysvipc/msg", "re");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	assert_string_equal(line,
			    "       key      msqid perms      cbytes       qnum lspid lrpid   "
			    "uid   gid  cuid  cgid      stime      rtime      ctime\n");
	while (fgets(line, sizeof(line), f)) {
		char want[256];
		snprintf(
			want, sizeof(want),
			"%10d %10d  %4o  %10lu %10lu %5u %5u %5u %5u %5u %5u %10llu %10llu %10llu\n",
			ds.msg_perm.__key, id, 0641u, 2ul, 1ul, ds.msg_lspid, ds.msg_lrpid,
			ds.msg_perm.uid, ds.msg_perm.gid, ds.msg_perm.cuid, ds.msg_perm.cgid,
			(unsigned long long)ds.msg_stime, (unsigned long long)ds.msg_rtime,
			(unsigned long long)ds.msg_ctime);
		found = found || strcmp(line, want) == 0;
	}
	fclose(f);
	assert_true(found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(stat_of_a_new_queue_has_every_field),
		CONFORM_TEST(all_else_in_the_struct_is_zero),
		CONFORM_TEST(stat_writes_the_struct_and_no_more),
		CONFORM_TEST(info_writes_the_struct_and_no_more),
		CONFORM_TEST(stat_of_a_private_queue_has_key_zero),
		CONFORM_TEST(stat_names_the_effective_ids_of_the_creator),
		CONFORM_TEST(the_pids_of_ended_processes_stay),
		CONFORM_TEST(set_changes_owner_mode_qbytes_and_ctime_alone),
		CONFORM_TEST(set_to_the_same_sets_ctime),
		CONFORM_TEST(set_keeps_only_nine_mode_bits),
		CONFORM_TEST(set_does_not_write_to_its_struct),
		CONFORM_TEST(set_and_remove_by_another_are_EPERM_whatever_the_mode),
		CONFORM_TEST(set_to_an_invalid_uid_or_gid_is_EINVAL_and_changes_nothing),
		CONFORM_TEST(set_by_another_is_EPERM_before_a_bad_uid_is_EINVAL),
		CONFORM_TEST(a_queue_can_be_given_away_and_the_creator_keeps_control),
		CONFORM_TEST(a_new_owner_has_control),
		CONFORM_TEST(a_new_group_has_no_control),
		CONFORM_TEST(qbytes_has_effect_at_once),
		CONFORM_TEST(of_qbytes_only_the_lower_32_bits_count),
		CONFORM_TEST(qbytes_takes_any_value_from_the_privileged),
		CONFORM_TEST(qbytes_above_MSGMNB_is_EPERM_for_an_owner),
		CONFORM_TEST(MSGMNB_counts_as_it_stands_at_the_call),
		CONFORM_TEST(remove_of_a_stale_id_is_EINVAL_for_all),
		CONFORM_TEST(remove_ignores_its_pointer),
		CONFORM_TEST(remove_takes_the_messages_along),
		CONFORM_TEST(stat_needs_read_and_any_needs_nothing),
		CONFORM_TEST(CAP_IPC_OWNER_opens_everything_but_set_and_remove),
		CONFORM_TEST(CAP_SYS_ADMIN_sets_and_removes_and_no_more),
		CONFORM_TEST(CAP_SYS_RESOURCE_raises_qbytes_of_ones_own_queue),
		CONFORM_TEST(root_without_capabilities_is_bound_by_the_mode),
		CONFORM_TEST(ipc_info_tells_the_limits_and_the_highest_index),
		CONFORM_TEST(the_default_limits_are_the_kernels),
		CONFORM_TEST(info_tells_limits_as_they_are_set),
		CONFORM_TEST(info_takes_any_id_that_is_not_negative),
		CONFORM_TEST(ipc_info_and_proc_sys_agree),
		CONFORM_TEST(msg_info_counts_queues_messages_and_bytes),
		CONFORM_TEST(info_needs_no_permission),
		CONFORM_TEST(msg_stat_takes_an_index_or_an_id_and_returns_the_id),
		CONFORM_TEST(msg_stat_looks_at_the_index_alone),
		CONFORM_TEST(msg_stat_of_an_unused_index_is_EINVAL),
		CONFORM_TEST(msg_stat_lists_every_queue_up_to_the_highest_index),
		CONFORM_TEST(bad_pointers_are_EFAULT_in_every_command),
		CONFORM_TEST(a_read_only_page_is_EFAULT_for_what_writes_to_it),
		CONFORM_TEST(a_buffer_that_ends_in_a_bad_page_is_EFAULT),
		CONFORM_TEST(reading_says_EINVAL_or_EACCES_before_EFAULT),
		CONFORM_TEST(set_says_EFAULT_before_EINVAL_or_EPERM),
		CONFORM_TEST(a_negative_id_is_EINVAL_before_all_else),
		CONFORM_TEST(an_unknown_command_is_EINVAL),
		CONFORM_TEST(proc_sysvipc_lists_the_queue),
	};
	return MSG_RUN(tests);
}
