/* semop() and semtimedop() that need not sleep: what they do, who may, which refusal comes first. */
#include "conform-sem.h"

#include <limits.h>
#include <pthread.h>
#include <sys/syscall.h>

static int limit_semopm(void)
{
	struct seminfo info;

	assert_true(semctl(0, 0, IPC_INFO, ARG_P(&info)) >= 0);
	return info.semopm;
}

static int timed(int id, struct sembuf *ops, size_t n, time_t sec, long nsec)
{
	struct timespec timeout = {sec, nsec};

	return ERR(semtimedop(id, ops, n, &timeout));
}

/* semtimedop() with a list of operations. */
#define TIMED(id, sec, nsec, ...) timed(id, OPS(__VA_ARGS__), sec, nsec)

/* --- what operations do --- */

static void a_positive_operation_adds(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);

	assert_int_equal(SEMOP(id, {1, 5, 0}), 0);
	assert_int_equal(SEMOP(id, {1, 2, 0}), 0);
	assert_values(id, 0, 7, 0);
}

static void a_negative_operation_subtracts_down_to_zero(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(sem_set(id, 0, 7), 0);
	assert_int_equal(SEMOP(id, {0, -3, 0}), 0);
	assert_values(id, 4);
	assert_int_equal(SEMOP(id, {0, -4, 0}), 0);
	assert_values(id, 0);
}

static void a_zero_operation_passes_at_zero_and_changes_no_value(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(SEMOP(id, {0, 0, 0}), 0);
	assert_int_equal(SEMOP(id, {0, 0, IPC_NOWAIT}), 0);
	assert_values(id, 0);
}

static void an_operation_that_cannot_go_ahead_is_EAGAIN_with_NOWAIT(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(SEMOP(id, {0, -1, IPC_NOWAIT}), EAGAIN);
	assert_int_equal(sem_set(id, 0, 2), 0);
	assert_int_equal(SEMOP(id, {0, -3, IPC_NOWAIT}), EAGAIN);
	assert_int_equal(SEMOP(id, {0, 0, IPC_NOWAIT}), EAGAIN);
	assert_int_equal(SEMOP(id, {0, INT16_MIN, IPC_NOWAIT}), EAGAIN);
	assert_values(id, 2);
	assert_int_equal(sem_ncnt(id, 0), 0);
	assert_int_equal(sem_zcnt(id, 0), 0);
}

static void a_value_reaches_SEMVMX_and_no_more(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(SEMOP(id, {0, SEMVMX_HERE, 0}), 0);
	assert_int_equal(SEMOP(id, {0, 1, 0}), ERANGE);
	assert_int_equal(SEMOP(id, {0, 1, IPC_NOWAIT}), ERANGE);
	assert_int_equal(SEMOP(id, {0, SEMVMX_HERE, 0}), ERANGE);
	assert_values(id, SEMVMX_HERE);
	assert_int_equal(SEMOP(id, {0, -SEMVMX_HERE, 0}), 0);
	assert_values(id, 0);
}

static void unknown_flags_are_ignored(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	short unknown = (short)~(IPC_NOWAIT | SEM_UNDO);

	assert_int_equal(SEMOP(id, {0, 2, unknown}), 0);
	assert_int_equal(SEMOP(id, {0, -1, unknown}), 0);
	assert_int_equal(SEMOP(id, {0, -2, (short)(unknown | IPC_NOWAIT)}), EAGAIN);
	assert_values(id, 1);
}

/* --- arrays --- */

static void an_array_is_done_as_a_whole(void **state)
{
	(void)state;
	int id = sem_new(4, 0600);

	assert_int_equal(SETALL_TO(id, 5, 0, 3, 1), 0);
	assert_int_equal(SEMOP(id, {0, -5, 0}, {1, 0, 0}, {2, 4, 0}, {3, -1, IPC_NOWAIT}), 0);
	assert_values(id, 0, 0, 7, 0);
}

static void an_array_of_which_one_cannot_go_ahead_changes_nothing(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);

	assert_int_equal(SETALL_TO(id, 5, 5, 5), 0);
	assert_int_equal(SEMOP(id, {0, -5, 0}, {1, 1, 0}, {2, -6, IPC_NOWAIT}), EAGAIN);
	assert_int_equal(SEMOP(id, {0, -5, 0}, {1, 1, 0}, {2, 0, IPC_NOWAIT}), EAGAIN);
	assert_int_equal(SEMOP(id, {0, -5, 0}, {1, 1, 0}, {2, 32763, 0}), ERANGE);
	assert_int_equal(SEMOP(id, {0, -5, 0}, {1, 1, 0}, {3, 1, 0}), EFBIG);
	assert_values(id, 5, 5, 5);
	for (int i = 0; i < 3; i++)
		assert_int_equal(sem_ncnt(id, i) + sem_zcnt(id, i), 0);
}

static void one_semaphore_several_times_is_done_in_order(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(SEMOP(id, {0, 1, 0}, {0, -1, IPC_NOWAIT}), 0);
	assert_int_equal(SEMOP(id, {0, -1, IPC_NOWAIT}, {0, 1, 0}), EAGAIN);
	assert_int_equal(SEMOP(id, {0, 0, IPC_NOWAIT}, {0, 3, 0}, {0, -1, IPC_NOWAIT}), 0);
	assert_values(id, 2);
	assert_int_equal(SEMOP(id, {0, -2, 0}, {0, 0, IPC_NOWAIT}, {0, 1, 0}), 0);
	assert_values(id, 1);
	assert_int_equal(SEMOP(id, {0, 1, 0}, {0, 0, IPC_NOWAIT}), EAGAIN);
	assert_int_equal(SEMOP(id, {0, -1, 0}, {0, -1, IPC_NOWAIT}), EAGAIN);
	assert_values(id, 1);
}

static void a_value_above_SEMVMX_on_the_way_is_ERANGE(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(sem_set(id, 0, SEMVMX_HERE), 0);
	assert_int_equal(SEMOP(id, {0, 1, 0}, {0, -1, 0}), ERANGE);
	assert_int_equal(SEMOP(id, {0, -1, 0}, {0, 1, 0}), 0);
	assert_int_equal(SEMOP(id, {1, SEMVMX_HERE, 0}, {1, 1, 0}, {1, -5, 0}), ERANGE);
	assert_values(id, SEMVMX_HERE, 0);
}

static void of_ERANGE_and_EAGAIN_the_first_in_the_array_is_told(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(SETALL_TO(id, SEMVMX_HERE, 0), 0);
	assert_int_equal(SEMOP(id, {0, 1, 0}, {1, -1, IPC_NOWAIT}), ERANGE);
	assert_int_equal(SEMOP(id, {1, -1, IPC_NOWAIT}, {0, 1, 0}), EAGAIN);
	assert_int_equal(SEMOP(id, {1, 1, 0}, {0, 1, 0}, {1, -9, IPC_NOWAIT}), ERANGE);
	assert_values(id, SEMVMX_HERE, 0);
}

static void SEMOPM_operations_are_done_as_a_whole(void **state)
{
	(void)state;
	int n = limit_semopm();
	int id = sem_new(n, 0600);
	struct sembuf *ops = calloc((size_t)n, sizeof(*ops));

	for (int i = 0; i < n; i++)
		ops[i] = (struct sembuf){(unsigned short)i, 3, 0};
	assert_int_equal(ERR(semop(id, ops, (size_t)n)), 0);
	for (int i = 0; i < n; i++)
		assert_int_equal(sem_val(id, i), 3);
	for (int i = 0; i < n; i++)
		ops[i].sem_op = i == n - 1 ? -4 : -3;
	ops[n - 1].sem_flg = IPC_NOWAIT;
	assert_int_equal(ERR(semop(id, ops, (size_t)n)), EAGAIN);
	for (int i = 0; i < n; i++)
		assert_int_equal(sem_val(id, i), 3);
	for (int i = 0; i < n; i++)
		ops[i] = (struct sembuf){0, (short)(i % 2 ? -3 : 3), IPC_NOWAIT};
	assert_int_equal(ERR(semop(id, ops, (size_t)n)), 0); /* all of them on one */
	assert_int_equal(sem_val(id, 0), n % 2 ? 6 : 3);
	free(ops);
}

static void semaphores_64_apart_are_not_taken_for_one(void **state)
{
	(void)state;
	int id = sem_new(200, 0600);

	assert_int_equal(SEMOP(id, {1, 1, 0}, {65, 2, 0}, {129, 3, 0}, {1, 4, 0}), 0);
	assert_int_equal(sem_val(id, 1), 5);
	assert_int_equal(sem_val(id, 65), 2);
	assert_int_equal(sem_val(id, 129), 3);
	assert_int_equal(SEMOP(id, {1, -5, 0}, {65, -2, 0}, {129, -4, IPC_NOWAIT}), EAGAIN);
	assert_int_equal(sem_val(id, 1), 5);
	assert_int_equal(sem_val(id, 65), 2);
}

static void the_array_may_be_read_only(void **state)
{
	(void)state;
	static struct sembuf model[2] = {{0, 1, SEM_UNDO}, {1, 1, 0}};
	int id = sem_new(2, 0600);
	struct sembuf *ops =
		mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(ops, model, sizeof(model));
	assert_int_equal(mprotect(ops, page_size(), PROT_READ), 0);
	assert_int_equal(ERR(semop(id, ops, 1)), 0);
	assert_int_equal(ERR(semop(id, ops, 2)), 0);
	assert_values(id, 2, 1);
	munmap(ops, page_size());
}

/* --- which refusal --- */

static void no_operations_are_EINVAL(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct sembuf op = {0, 1, 0};

	assert_int_equal(ERR(semop(id, &op, 0)), EINVAL);
	assert_int_equal(ERR(semop(id, NULL, 0)), EINVAL);
	assert_int_equal(ERR(semop(-1, NULL, 0)), EINVAL);
	assert_values(id, 0);
}

static void more_than_SEMOPM_are_E2BIG_before_the_array_is_read(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	size_t n = (size_t)limit_semopm() + 1;
	struct sembuf *ops = calloc(n, sizeof(*ops));

	assert_int_equal(ERR(semop(id, ops, n)), E2BIG);
	assert_int_equal(ERR(semop(id, NULL, n)), E2BIG);
	assert_int_equal(ERR(semop(id, NULL, (size_t)1 << 31)), E2BIG);
	free(ops);
}

static void E2BIG_comes_before_a_bad_id(void **state)
{
	(void)state;
	size_t n = (size_t)limit_semopm() + 1;

	assert_int_equal(ERR(semop(-1, NULL, n)), E2BIG);
	assert_int_equal(ERR(semop(INT32_MAX, NULL, n)), E2BIG);
}

static void the_count_of_operations_is_32_bits_wide(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct sembuf op = {0, 1, 0};

	if (sizeof(size_t) == 4)
		skip();
	assert_int_equal(ERR(semop(id, &op, SIZE_MAX)), E2BIG);
	assert_int_equal(ERR(semop(id, &op, ((size_t)1 << 32) + 1)), 0);
	assert_int_equal(ERR(semop(id, &op, (size_t)1 << 32)), EINVAL);
	assert_values(id, 1);
}

static void a_bad_array_is_EFAULT(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	void *bad = conform_bad_page();

	assert_int_equal(ERR(semop(id, NULL, 1)), EFAULT);
	assert_int_equal(ERR(semop(id, bad, 1)), EFAULT);
	assert_int_equal(ERR(semop(id, bad, 2)), EFAULT);
	assert_int_equal(ERR(semop(id, (void *)-1, 1)), EFAULT);
	assert_int_equal(ERR(semop(id, (void *)1, 1)), EFAULT);
	munmap(bad, page_size());
}

static void an_array_that_ends_in_a_bad_page_is_EFAULT_and_changes_nothing(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	char *two = mmap(NULL, 2 * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	struct sembuf *last = (struct sembuf *)(two + page_size()) - 1;

	assert_int_equal(mprotect(two + page_size(), page_size(), PROT_NONE), 0);
	*last = (struct sembuf){0, 1, 0};
	assert_int_equal(ERR(semop(id, last, 2)), EFAULT);
	assert_values(id, 0);
	assert_int_equal(ERR(semop(id, last, 1)), 0);
	void *split = (char *)last + 2; /* its end lies in the bad page */
	assert_int_equal(ERR(semop(id, split, 1)), EFAULT);
	assert_values(id, 1);
	munmap(two, 2 * page_size());
}

static void an_unaligned_array_works(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	char space[32];
	struct sembuf op = {0, 4, 0};
	void *odd = space + 1 + (uintptr_t)space % 2;

	memcpy(odd, &op, sizeof(op));
	assert_int_equal(ERR(semop(id, odd, 1)), 0);
	assert_values(id, 4);
}

static void EFAULT_comes_before_a_bad_id(void **state)
{
	(void)state;
	int stale = sem_new(1, 0600);

	assert_int_equal(sem_remove(stale), 0);
	assert_int_equal(ERR(semop(-1, NULL, 1)), EFAULT);
	assert_int_equal(ERR(semop(stale, NULL, 1)), EFAULT);
}

static void a_bad_id_is_EINVAL(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(SEMOP(-1, {0, 1, 0}), EINVAL);
	assert_int_equal(SEMOP(INT32_MIN, {0, 1, 0}), EINVAL);
	assert_int_equal(SEMOP(INT32_MAX, {0, 1, 0}), EINVAL);
	assert_int_equal(SEMOP(INT32_MAX, {0, 1, SEM_UNDO}), EINVAL);
	assert_int_equal(SEMOP(-1, {0, 1, SEM_UNDO}), EINVAL);
	assert_int_equal(sem_remove(id), 0);
	assert_int_equal(SEMOP(id, {0, -1, IPC_NOWAIT}), EINVAL); /* EIDRM is for sleepers */
	assert_int_equal(SEMOP(id, {7, 1, 0}), EINVAL);		  /* before EFBIG */
}

static void a_semaphore_beyond_the_set_is_EFBIG(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(SEMOP(id, {2, 1, 0}), EFBIG);
	assert_int_equal(SEMOP(id, {2, 1, SEM_UNDO}), EFBIG);
	assert_int_equal(SEMOP(id, {2, 0, 0}), EFBIG);
	assert_int_equal(SEMOP(id, {65535, -1, IPC_NOWAIT}), EFBIG);
	assert_int_equal(SEMOP(id, {0, 1, 0}, {2, 1, 0}), EFBIG);
	assert_values(id, 0, 0);
}

static void EFBIG_comes_before_EAGAIN_and_ERANGE(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(SETALL_TO(id, 0, SEMVMX_HERE), 0);
	assert_int_equal(SEMOP(id, {0, -1, IPC_NOWAIT}, {2, 1, 0}), EFBIG);
	assert_int_equal(SEMOP(id, {1, 1, 0}, {2, 1, 0}), EFBIG);
	assert_int_equal(SEMOP(id, {0, -1, 0}, {2, 1, 0}), EFBIG); /* and does not sleep */
}

static void EFBIG_comes_before_EACCES(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(2, 0600);

	assert_int_equal(NOBODY_SEMOP(id, {2, 1, 0}), EFBIG);
	assert_int_equal(NOBODY_SEMOP(id, {2, 1, SEM_UNDO}), EFBIG);
}

static void EACCES_comes_before_EAGAIN_and_ERANGE(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(2, 0600);

	assert_int_equal(SETALL_TO(id, 0, SEMVMX_HERE), 0);
	assert_int_equal(NOBODY_SEMOP(id, {0, -1, IPC_NOWAIT}), EACCES);
	assert_int_equal(NOBODY_SEMOP(id, {0, -1, 0}), EACCES);
	assert_int_equal(NOBODY_SEMOP(id, {1, 1, 0}), EACCES);
}

/* --- who may --- */

struct mode_row {
	int mode, zero, alter, both;
};

static void zero_operations_need_read_and_others_write(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	static const struct mode_row row[] = {
		{0600, EACCES, EACCES, EACCES}, {0604, 0, EACCES, EACCES},
		{0602, EACCES, 0, 0},		{0606, 0, 0, 0},
		{0660, EACCES, EACCES, EACCES}, {0601, EACCES, EACCES, EACCES},
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		int id = sem_new(2, row[i].mode);
		int zero = NOBODY_SEMOP(id, {0, 0, 0});
		int two = NOBODY_SEMOP(id, {0, 0, 0}, {1, 0, 0});
		int alter = NOBODY_SEMOP(id, {1, 1, 0});
		int both = NOBODY_SEMOP(id, {0, 0, 0}, {1, 1, 0});
		int undo = NOBODY_SEMOP(id, {0, 0, SEM_UNDO});
		if (zero != row[i].zero || alter != row[i].alter || both != row[i].both)
			print_error("mode %o: zero %d, alter %d, both %d\n", (unsigned)row[i].mode,
				    zero, alter, both);
		assert_int_equal(zero, row[i].zero);
		assert_int_equal(two, row[i].zero);
		assert_int_equal(undo, row[i].zero);
		assert_int_equal(alter, row[i].alter);
		assert_int_equal(both, row[i].both);
	}
}

static int owner_modes(void *arg)
{
	(void)arg;
	int w = sem_new(1, 0200), r = sem_new(1, 0400);

	NEED(SEMOP(w, {0, 0, 0}) == EACCES);
	NEED(SEMOP(w, {0, 1, 0}) == 0);
	NEED(SEMOP(r, {0, 1, 0}) == EACCES);
	NEED(SEMOP(r, {0, 0, 0}) == 0);
	return 0;
}

static void an_owner_needs_his_own_bits(void **state)
{
	(void)state;
	assert_int_equal(geteuid() ? child_run(owner_modes, NULL) : nobody_run(owner_modes, NULL),
			 0);
}

static int post_as_effective_nobody(void *arg)
{
	int id = *(int *)arg;

	NEED(SEMOP(id, {0, 1, 0}) == 0);
	NEED(seteuid(CONFORM_NOBODY) == 0);
	NEED(SEMOP(id, {0, 1, 0}) == EACCES);
	NEED(SEMOP(id, {0, 0, IPC_NOWAIT}) == EACCES);
	NEED(seteuid(0) == 0);
	NEED(SEMOP(id, {0, 1, 0}) == 0);
	NEED(setresuid(CONFORM_NOBODY, CONFORM_NOBODY, CONFORM_NOBODY) == 0);
	NEED(SEMOP(id, {0, 1, 0}) == EACCES);
	return 0;
}

static void the_effective_uid_at_the_call_counts(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0600);

	assert_int_equal(child_run(post_as_effective_nobody, &id), 0);
	assert_values(id, 2);
}

static void a_mode_change_counts_at_once(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0606);
	struct semid_ds ds = sem_stat(id);

	assert_int_equal(NOBODY_SEMOP(id, {0, 1, 0}), 0);
	ds.sem_perm.mode = 0600;
	assert_int_equal(ERR(semctl(id, 0, IPC_SET, ARG_P(&ds))), 0);
	assert_int_equal(NOBODY_SEMOP(id, {0, 1, 0}), EACCES);
	assert_values(id, 1);
}

/* --- what is noted: sempid, sem_otime --- */

static void sempid_is_set_on_each_semaphore_of_the_array_zero_operations_too(void **state)
{
	(void)state;
	int id = sem_new(4, 0600);
	pid_t pid = child_start(call_ops, CALL_OPS(id, {0, 1, 0}, {2, 0, 0}, {0, -1, 0}));

	assert_int_equal(child_wait(pid), 0);
	assert_int_equal(sem_pid(id, 0), pid);
	assert_int_equal(sem_pid(id, 1), 0);
	assert_int_equal(sem_pid(id, 2), pid);
	assert_int_equal(sem_pid(id, 3), 0);
	assert_int_equal(SEMOP(id, {3, 0, 0}), 0);
	assert_int_equal(sem_pid(id, 3), getpid());
	assert_int_equal(sem_pid(id, 0), pid); /* though it is gone */
}

static void a_failed_operation_sets_neither_sempid_nor_otime(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(SEMOP(id, {0, 1, 0}, {1, -1, IPC_NOWAIT}), EAGAIN);
	assert_int_equal(SEMOP(id, {0, SEMVMX_HERE, 0}, {0, 1, 0}), ERANGE);
	assert_int_equal(SEMOP(id, {0, 1, 0}, {2, 1, 0}), EFBIG);
	assert_int_equal(TIMED(id, 0, 1000, {0, 1, 0}, {1, -1, 0}), EAGAIN);
	assert_int_equal(sem_pid(id, 0), 0);
	assert_int_equal(sem_pid(id, 1), 0);
	assert_int_equal(sem_otime(id), 0);
}

static void *thread_post(void *arg)
{
	return (void *)(intptr_t)SEMOP(*(int *)arg, {0, 1, 0});
}

static void sempid_of_a_threads_operation_is_the_process(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pthread_t thread;
	void *rc;

	assert_int_equal(pthread_create(&thread, NULL, thread_post, &id), 0);
	assert_int_equal(pthread_join(thread, &rc), 0);
	assert_ptr_equal(rc, NULL);
	assert_int_equal(sem_pid(id, 0), getpid());
}

static void each_kind_of_operation_sets_otime_and_leaves_ctime(void **state)
{
	(void)state;
	int id[5];

	for (int i = 0; i < 5; i++)
		id[i] = sem_new(2, 0600);
	time_t ctime = sem_ctime(id[0]);
	next_second();
	time_t before = coarse_now();
	assert_int_equal(SEMOP(id[0], {1, 1, 0}), 0);
	assert_int_equal(SEMOP(id[1], {1, 0, 0}), 0);
	assert_int_equal(SEMOP(id[2], {0, 1, 0}, {1, 0, 0}), 0);
	assert_int_equal(SEMOP(id[3], {1, 0, SEM_UNDO}), 0);
	assert_int_equal(SEMOP(id[4], {1, 1, 0}, {1, -1, 0}), 0);
	for (int i = 0; i < 5; i++) {
		assert_between(before, sem_otime(id[i]), time(NULL));
		assert_true(sem_ctime(id[i]) <= ctime + 1 && sem_ctime(id[i]) < before);
	}
}

static void a_second_operation_sets_otime_again(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(SEMOP(id, {1, 1, 0}), 0);
	next_second();
	time_t before = coarse_now();
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0); /* another semaphore of the set */
	assert_true(sem_otime(id) >= before);
	next_second();
	before = coarse_now();
	assert_int_equal(SEMOP(id, {1, -1, 0}), 0);
	assert_true(sem_otime(id) >= before);
	assert_int_equal(SEMOP(id, {1, -9, IPC_NOWAIT}), EAGAIN);
}

/* --- semtimedop() that need not sleep --- */

static void a_null_timeout_is_semop(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(ERR(semtimedop(id, OPS({0, 1, 0}), NULL)), 0);
	assert_int_equal(ERR(semtimedop(id, OPS({0, -2, IPC_NOWAIT}), NULL)), EAGAIN);
	assert_values(id, 1);
}

static void a_zero_timeout_does_what_can_be_done(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(TIMED(id, 0, 0, {0, 1, 0}), 0);
	assert_int_equal(TIMED(id, 0, 0, {0, -2, 0}), EAGAIN);
	assert_int_equal(TIMED(id, 0, 0, {0, 0, 0}), EAGAIN);
	assert_int_equal(TIMED(id, 0, 0, {0, -1, 0}), 0);
	assert_int_equal(TIMED(id, 0, 0, {0, 0, 0}), 0);
	assert_values(id, 0);
}

static void an_impossible_timeout_is_EINVAL_though_nothing_would_sleep(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	static const struct timespec bad[] = {{-1, 0},	       {0, -1},		{0, 1000000000},
					      {1, INT32_MAX},  {INT64_MIN, 0},	{0, LONG_MIN},
					      {-1, 999999999}, {INT64_MAX, -1}, {0, LONG_MAX}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(TIMED(id, bad[i].tv_sec, bad[i].tv_nsec, {0, 1, 0}), EINVAL);
		assert_int_equal(TIMED(id, bad[i].tv_sec, bad[i].tv_nsec, {0, -1, IPC_NOWAIT}),
				 EINVAL);
	}
	assert_int_equal(TIMED(id, 0, 999999999, {0, 1, 0}), 0);
	assert_values(id, 1);
}

static void any_timeout_that_is_long_enough_is_fine(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	static const time_t sec[] = {INT32_MAX, (time_t)1 << 40, INT64_MAX / 1000000000,
				     INT64_MAX / 1000000000 + 1, INT64_MAX};

	for (size_t i = 0; i < sizeof(sec) / sizeof(*sec); i++) {
		assert_int_equal(TIMED(id, sec[i], 999999999, {0, 1, 0}), 0);
		assert_int_equal(TIMED(id, sec[i], 0, {0, -1, 0}), 0);
	}
	assert_values(id, 0);
}

static void a_bad_timeout_pointer_is_EFAULT(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct timespec *bad = conform_bad_page();

	assert_int_equal(ERR(semtimedop(id, OPS({0, 1, 0}), bad)), EFAULT);
	assert_int_equal(ERR(semtimedop(id, OPS({0, 1, 0}), (void *)1)), EFAULT);
	assert_int_equal(ERR(semtimedop(id, OPS({0, 1, 0}), (void *)-8)), EFAULT);
	assert_values(id, 0);
	munmap(bad, page_size());
}

static void a_bad_timeout_pointer_comes_before_all_else(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct timespec *bad = conform_bad_page();
	size_t many = (size_t)limit_semopm() + 1;

	assert_int_equal(ERR(semtimedop(id, NULL, many, bad)), EFAULT);
	assert_int_equal(ERR(semtimedop(id, NULL, 0, bad)), EFAULT);
	assert_int_equal(ERR(semtimedop(-1, OPS({0, 1, 0}), bad)), EFAULT);
	munmap(bad, page_size());
}

static void an_impossible_timeout_comes_after_the_array_and_before_the_set(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	const struct timespec bad = {-1, 0};
	size_t many = (size_t)limit_semopm() + 1;

	assert_int_equal(ERR(semtimedop(id, NULL, many, &bad)), E2BIG);
	assert_int_equal(ERR(semtimedop(id, NULL, 1, &bad)), EFAULT);
	assert_int_equal(ERR(semtimedop(id, OPS({9, 1, 0}), &bad)), EINVAL); /* not EFBIG */
}

static void an_impossible_timeout_comes_before_EACCES(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	const struct timespec bad = {0, 1000000000};
	struct ops_call call = {sem_new(1, 0600), OPS({0, 1, 0}), &bad};

	assert_int_equal(nobody_run(call_ops, &call), EINVAL);
}

static void the_timeout_is_not_written_to(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	static const struct timespec zero; /* in a read-only page */

	assert_int_equal(ERR(semtimedop(id, OPS({0, -1, 0}), &zero)), EAGAIN);
	assert_int_equal(ERR(semtimedop(id, OPS({0, 1, 0}), &zero)), 0);
}

/* --- raw calls; many at once --- */

static void raw_system_calls_work(void **state)
{
	(void)state;
#ifdef SYS_semget
	key_t key = sem_free_key();
	int id = conform_keep(CONFORM_SEM, (int)syscall(SYS_semget, key, 2, IPC_CREAT | 0600));
	struct timespec zero = {0, 0}, bad = {0, -1};
	struct semid_ds ds;

	assert_true(id >= 0);
	assert_int_equal(semget(key, 2, 0), id);
	assert_int_equal(ERR(syscall(SYS_semop, id, OPS({0, 3, 0}))), 0);
	assert_int_equal(sem_val(id, 0), 3);
	assert_int_equal(ERR(syscall(SYS_semop, id, OPS({2, 3, 0}))), EFBIG);
	assert_int_equal(ERR(syscall(SYS_semop, id, NULL, 1)), EFAULT);
	assert_int_equal(ERR(syscall(SYS_semop, id, OPS({0, -4, IPC_NOWAIT}))), EAGAIN);
#ifdef SYS_semtimedop
	assert_int_equal(ERR(syscall(SYS_semtimedop, id, OPS({0, -4, 0}), &zero)), EAGAIN);
	assert_int_equal(ERR(syscall(SYS_semtimedop, id, OPS({0, -3, 0}), &bad)), EINVAL);
	assert_int_equal(ERR(syscall(SYS_semtimedop, id, OPS({0, -3, 0}), NULL)), 0);
#endif
	(void)zero;
	(void)bad;
	assert_int_equal(syscall(SYS_semctl, id, 1, SETVAL, 9), 0);
	assert_int_equal(syscall(SYS_semctl, id, 1, GETVAL), 9);
	assert_int_equal(syscall(SYS_semctl, id, 0, IPC_STAT, &ds), 0);
	assert_int_equal(ds.sem_nsems, 2);
	assert_int_equal(ERR(syscall(SYS_semctl, id, 0, IPC_STAT, NULL)), EFAULT);
	assert_int_equal(syscall(SYS_semctl, id, 0, IPC_RMID), 0);
	assert_int_equal(ERR(syscall(SYS_semget, key, 0, 0)), ENOENT);
#else
	skip();
#endif
}

struct mutex_use {
	int id;
	int rounds;
	short flags;
	volatile long *counter;
};

static int count_under_mutex(void *arg)
{
	struct mutex_use *m = arg;

	for (int i = 0; i < m->rounds; i++) {
		NEED(SEMOP(m->id, {0, -1, m->flags}) == 0);
		*m->counter = *m->counter + 1;
		NEED(SEMOP(m->id, {0, 1, m->flags}) == 0);
	}
	return 0;
}

static void count_in_four(short flags)
{
	struct mutex_use m = {sem_new(1, 0600), 2000, flags, shared_new(sizeof(long))};
	pid_t pid[4];

	assert_int_equal(sem_set(m.id, 0, 1), 0);
	for (int i = 0; i < 4; i++)
		pid[i] = child_start(count_under_mutex, &m);
	for (int i = 0; i < 4; i++)
		assert_int_equal(child_wait(pid[i]), 0);
	assert_int_equal(*m.counter, 4 * 2000);
	assert_values(m.id, 1);
	assert_int_equal(sem_sleepers(m.id), 0);
}

static void a_semaphore_is_a_mutex_among_processes(void **state)
{
	(void)state;
	count_in_four(0);
}

static void a_semaphore_with_UNDO_is_a_mutex_among_processes(void **state)
{
	(void)state;
	count_in_four(SEM_UNDO);
}

static void *count_in_thread(void *arg)
{
	return (void *)(intptr_t)count_under_mutex(arg);
}

static void a_semaphore_is_a_mutex_among_threads(void **state)
{
	(void)state;
	static volatile long counter;
	struct mutex_use m = {sem_new(1, 0600), 1000, 0, &counter};
	pthread_t thread[4];

	counter = 0;
	assert_int_equal(sem_set(m.id, 0, 1), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, count_in_thread, &m), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(counter, 4 * 1000);
	assert_values(m.id, 1);
}

/* --- a smaller limit --- */

static int few_operations(void *arg)
{
	struct sembuf ops[4] = {{0, 1, 0}, {0, 1, 0}, {0, 1, 0}, {0, 1, 0}};

	(void)arg;
	child_alone();
	child_set_limit("sem", "250 32000 3 100");
	int id = semget(IPC_PRIVATE, 1, 0600);
	NEED(ERR(semop(id, ops, 3)) == 0);
	NEED(ERR(semop(id, ops, 4)) == E2BIG);
	NEED(sem_val(id, 0) == 3);
	return child_leave_limits();
}

static void SEMOPM_can_be_lowered(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(few_operations, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(a_positive_operation_adds),
		CONFORM_TEST(a_negative_operation_subtracts_down_to_zero),
		CONFORM_TEST(a_zero_operation_passes_at_zero_and_changes_no_value),
		CONFORM_TEST(an_operation_that_cannot_go_ahead_is_EAGAIN_with_NOWAIT),
		CONFORM_TEST(a_value_reaches_SEMVMX_and_no_more),
		CONFORM_TEST(unknown_flags_are_ignored),
		CONFORM_TEST(an_array_is_done_as_a_whole),
		CONFORM_TEST(an_array_of_which_one_cannot_go_ahead_changes_nothing),
		CONFORM_TEST(one_semaphore_several_times_is_done_in_order),
		CONFORM_TEST(a_value_above_SEMVMX_on_the_way_is_ERANGE),
		CONFORM_TEST(of_ERANGE_and_EAGAIN_the_first_in_the_array_is_told),
		CONFORM_TEST(SEMOPM_operations_are_done_as_a_whole),
		CONFORM_TEST(semaphores_64_apart_are_not_taken_for_one),
		CONFORM_TEST(the_array_may_be_read_only),
		CONFORM_TEST(no_operations_are_EINVAL),
		CONFORM_TEST(more_than_SEMOPM_are_E2BIG_before_the_array_is_read),
		CONFORM_TEST(E2BIG_comes_before_a_bad_id),
		CONFORM_TEST(the_count_of_operations_is_32_bits_wide),
		CONFORM_TEST(a_bad_array_is_EFAULT),
		CONFORM_TEST(an_array_that_ends_in_a_bad_page_is_EFAULT_and_changes_nothing),
		CONFORM_TEST(an_unaligned_array_works),
		CONFORM_TEST(EFAULT_comes_before_a_bad_id),
		CONFORM_TEST(a_bad_id_is_EINVAL),
		CONFORM_TEST(a_semaphore_beyond_the_set_is_EFBIG),
		CONFORM_TEST(EFBIG_comes_before_EAGAIN_and_ERANGE),
		CONFORM_TEST(EFBIG_comes_before_EACCES),
		CONFORM_TEST(EACCES_comes_before_EAGAIN_and_ERANGE),
		CONFORM_TEST(zero_operations_need_read_and_others_write),
		CONFORM_TEST(an_owner_needs_his_own_bits),
		CONFORM_TEST(the_effective_uid_at_the_call_counts),
		CONFORM_TEST(a_mode_change_counts_at_once),
		CONFORM_TEST(sempid_is_set_on_each_semaphore_of_the_array_zero_operations_too),
		CONFORM_TEST(a_failed_operation_sets_neither_sempid_nor_otime),
		CONFORM_TEST(sempid_of_a_threads_operation_is_the_process),
		CONFORM_TEST(each_kind_of_operation_sets_otime_and_leaves_ctime),
		CONFORM_TEST(a_second_operation_sets_otime_again),
		CONFORM_TEST(a_null_timeout_is_semop),
		CONFORM_TEST(a_zero_timeout_does_what_can_be_done),
		CONFORM_TEST(an_impossible_timeout_is_EINVAL_though_nothing_would_sleep),
		CONFORM_TEST(any_timeout_that_is_long_enough_is_fine),
		CONFORM_TEST(a_bad_timeout_pointer_is_EFAULT),
		CONFORM_TEST(a_bad_timeout_pointer_comes_before_all_else),
		CONFORM_TEST(an_impossible_timeout_comes_after_the_array_and_before_the_set),
		CONFORM_TEST(an_impossible_timeout_comes_before_EACCES),
		CONFORM_TEST(the_timeout_is_not_written_to),
		CONFORM_TEST(raw_system_calls_work),
		CONFORM_TEST(a_semaphore_is_a_mutex_among_processes),
		CONFORM_TEST(a_semaphore_with_UNDO_is_a_mutex_among_processes),
		CONFORM_TEST(a_semaphore_is_a_mutex_among_threads),
		CONFORM_TEST(SEMOPM_can_be_lowered),
	};
	return SEM_RUN(tests);
}
