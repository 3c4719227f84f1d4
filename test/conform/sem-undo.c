/* SEM_UNDO: what is undone, when a process ends in whatever way, what clears it, and its limits. */
#include "conform-sem.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>

#define U SEM_UNDO

/* Runs these operations in a child that then ends; the child's pid. */
#define IN_CHILD(id, ...) run_and_end(CALL_OPS(id, __VA_ARGS__))

static pid_t run_and_end(struct ops_call *call)
{
	pid_t pid = child_start(call_ops, call);

	assert_int_equal(child_wait(pid), 0);
	return pid;
}

/* --- what is undone --- */

static void at_the_end_of_a_process_its_operations_are_undone(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);
	struct held held = {0};

	assert_int_equal(SETALL_TO(id, 5, 5, 5), 0);
	HOLD(&held, id, {0, -3, U}, {1, 2, U});
	assert_values(id, 2, 7, 5);
	assert_int_equal(held_let_go(&held), 0);
	assert_values(id, 5, 5, 5);
}

static void only_operations_with_the_flag_are_undone(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	IN_CHILD(id, {0, 1, U}, {0, 10, 0}, {1, 3, 0}, {1, 4, U});
	assert_values(id, 10, 3);
}

static int several_calls(void *arg)
{
	int id = *(int *)arg;

	NEED(SEMOP(id, {0, 5, U}) == 0);
	NEED(SEMOP(id, {0, -2, U}) == 0);
	NEED(SEMOP(id, {0, 1, 0}) == 0);
	NEED(SEMOP(id, {0, -1, U}, {1, 3, U}) == 0);
	NEED(SEMOP(id, {1, -3, U}) == 0);
	NEED(sem_val(id, 0) == 3 && sem_val(id, 1) == 0);
	return 0;
}

static void operations_of_several_calls_add_up(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(child_run(several_calls, &id), 0);
	assert_values(id, 1, 0);
}

static int use_sets(void *arg)
{
	int *id = arg;

	for (int i = 0; i < 40; i++) {
		NEED(SEMOP(id[i], {1, (short)(i + 1), U}) == 0);
		NEED(SEMOP(id[i], {0, -1, U}) == 0);
	}
	return 0;
}

static void a_process_may_have_undo_in_many_sets(void **state)
{
	(void)state;
	int id[40];
	struct held held = {0};

	for (int i = 0; i < 40; i++) {
		id[i] = sem_new(2, 0600);
		assert_int_equal(sem_set(id[i], 0, 1), 0);
	}
	assert_true(held_start(&held, use_sets, id));
	for (int i = 0; i < 40; i++)
		assert_values(id[i], 0, (unsigned short)(i + 1));
	assert_int_equal(sem_remove(id[7]), 0); /* some go meanwhile */
	assert_int_equal(sem_remove(id[39]), 0);
	assert_int_equal(held_kill(&held), 1000 + SIGKILL);
	for (int i = 0; i < 39; i++)
		if (i != 7)
			assert_values(id[i], 1, 0);
}

static void several_processes_have_each_their_own(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct held held[3] = {{0}, {0}, {0}};

	HOLD(&held[0], id, {0, 1, U});
	HOLD(&held[1], id, {0, 10, U});
	HOLD(&held[2], id, {0, 100, U});
	assert_int_equal(held_kill(&held[1]), 1000 + SIGKILL);
	assert_values(id, 101);
	assert_int_equal(held_let_go(&held[2]), 0);
	assert_values(id, 1);
	assert_int_equal(held_let_go(&held[0]), 0);
	assert_values(id, 0);
}

static void the_last_semaphore_of_a_large_set_is_undone(void **state)
{
	(void)state;
	unsigned short last = (unsigned short)(sem_many(5000) - 1), half = last / 2;
	int id = sem_new(last + 1, 0600);

	assert_true(id >= 0);
	IN_CHILD(id, {last, 7, U}, {0, 3, U}, {half, 1, U}, {half + 1, 1, 0});
	assert_int_equal(sem_val(id, last), 0);
	assert_int_equal(sem_val(id, 0), 0);
	assert_int_equal(sem_val(id, half), 0);
	assert_int_equal(sem_val(id, half + 1), 1);
}

static int failing_calls(void *arg)
{
	int id = *(int *)arg;
	struct timespec timeout = {0, 1000000};

	NEED(SEMOP(id, {0, 3, U}, {1, -1, IPC_NOWAIT}) == EAGAIN);
	NEED(SEMOP(id, {0, 3, U}, {1, SEMVMX_HERE, U}, {1, 1, 0}) == ERANGE);
	NEED(SEMOP(id, {0, 3, U}, {9, 1, 0}) == EFBIG);
	NEED(ERR(semtimedop(id, OPS({0, 3, U}, {1, -1, U}), &timeout)) == EAGAIN);
	return 0;
}

static void a_failed_operation_is_not_undone(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(sem_set(id, 0, 10), 0);
	assert_int_equal(child_run(failing_calls, &id), 0);
	assert_values(id, 10, 0);
}

static void what_is_undone_can_not_be_told_from_what_others_did(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct held held = {0};

	HOLD(&held, id, {0, 5, U});
	assert_int_equal(SEMOP(id, {0, 2, 0}), 0);
	assert_int_equal(SEMOP(id, {0, -4, 0}), 0);
	assert_values(id, 3);
	assert_int_equal(held_let_go(&held), 0);
	assert_values(id, 0); /* 3 - 5: no lower than 0 */
}

static void undo_stops_at_zero_and_at_SEMVMX(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	struct held held = {0};

	assert_int_equal(SETALL_TO(id, 0, 9), 0);
	HOLD(&held, id, {0, 100, U}, {1, -9, U});
	assert_int_equal(SEMOP(id, {0, -99, 0}, {1, SEMVMX_HERE - 5, 0}), 0);
	assert_int_equal(held_kill(&held), 1000 + SIGKILL);
	assert_values(id, 0, SEMVMX_HERE);
}

static void a_death_that_nobody_saw_comes_before_an_end(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct held dead = {0}, ending = {0};

	assert_int_equal(sem_set(id, 0, 10), 0);
	HOLD(&dead, id, {0, 12, U});
	HOLD(&ending, id, {0, -5, U});
	assert_int_equal(SEMOP(id, {0, -15, 0}), 0);
	pid_t pid = ending.pid;
	assert_int_equal(held_kill(&dead), 1000 + SIGKILL);
	assert_int_equal(held_let_go(&ending), 0);
	assert_values(id, 5); /* 2 - 12: no lower than 0; + 5 */
	assert_int_equal(semctl(id, 0, GETPID), pid);
}

/* --- what is noted --- */

static void undo_sets_sempid_of_what_it_changes_and_otime(void **state)
{
	(void)state;
	int id = sem_new(4, 0600);
	struct held held = {0};

	HOLD(&held, id, {1, 3, U}, {2, 3, 0}, {3, 1, U}, {3, -1, U});
	assert_int_equal(SEMOP(id, {1, 1, 0}, {2, 1, 0}, {3, 1, 0}), 0);
	struct semid_ds before = sem_stat(id);
	next_second();
	time_t start = coarse_now();
	assert_int_equal(held_let_go(&held), 0);
	assert_values(id, 0, 1, 4, 1);
	assert_int_equal(sem_pid(id, 0), 0);
	assert_int_equal(sem_pid(id, 1), held.pid);
	assert_int_equal(sem_pid(id, 2), getpid());
	assert_int_equal(sem_pid(id, 3), getpid()); /* its operations cancel out */
	assert_between(start, sem_otime(id), time(NULL));
	assert_int_equal(sem_ctime(id), before.sem_ctime);
}

static void an_end_with_nothing_to_undo_sets_otime_only(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct held held = {0};

	HOLD(&held, id, {0, 1, U}, {0, -1, U});
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	next_second();
	time_t start = coarse_now();
	assert_int_equal(held_let_go(&held), 0);
	assert_true(sem_otime(id) >= start);
	assert_int_equal(sem_pid(id, 0), getpid());
}

static void an_end_without_the_flag_sets_nothing(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct held held = {0};

	HOLD(&held, id, {0, 1, 0});
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	struct semid_ds before = sem_stat(id);
	next_second();
	assert_int_equal(held_let_go(&held), 0);
	struct semid_ds after = sem_stat(id);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(sem_pid(id, 0), getpid());
}

static void an_end_after_a_failed_call_with_the_flag_sets_otime_too(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(CHILD_SEMOP(id, {0, 1, U}, {0, -2, IPC_NOWAIT}), EAGAIN);
	assert_true(sem_otime(id) > 0); /* its list has the set, though nothing was done */
	assert_int_equal(sem_pid(id, 0), 0);
}

/* --- who is woken --- */

static void undo_wakes_sleepers(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	struct held held = {0};

	assert_int_equal(sem_set(id, 0, 1), 0);
	HOLD(&held, id, {0, -1, U}, {1, 1, U});
	pid_t taker = SLEEP(id, {0, -1, 0}), zero = SLEEP(id, {1, 0, 0});
	assert_int_equal(held_let_go(&held), 0);
	assert_int_equal(sem_sleepers(id), 0);
	assert_int_equal(sem_pid(id, 0), taker);
	assert_int_equal(sem_pid(id, 1), zero);
	assert_int_equal(child_wait(taker), 0);
	assert_int_equal(child_wait(zero), 0);
	assert_values(id, 0, 0);
}

static void a_kill_wakes_sleepers_though_nobody_makes_a_call(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	for (int i = 0; i < 20; i++) {
		struct held held = {0};
		assert_int_equal(sem_set(id, 0, 1), 0);
		HOLD(&held, id, {0, -1, U});
		pid_t pid = i % 2 ? SLEEP(id, {0, -1, 0}) : SLEEP(id, {0, -1, 0}, {1, 1, 0});
		kill(held.pid, SIGKILL);
		assert_int_equal(child_wait(pid), 0); /* before the killed one is waited for */
		assert_int_equal(held_end(&held), 1000 + SIGKILL);
		assert_values(id, 0);
	}
}

static void a_kill_wakes_a_chain_of_holders(void **state)
{
	(void)state;
	enum {
		N = 6
	};
	int id = sem_new(1, 0600);
	pid_t pid[N];
	struct held held = {0};

	assert_int_equal(sem_set(id, 0, 1), 0);
	HOLD(&held, id, {0, -1, U});
	for (int i = 0; i < N; i++) /* each ends as soon as it has it, which wakes the next */
		pid[i] = SLEEP(id, {0, -1, U});
	assert_int_equal(held_kill(&held), 1000 + SIGKILL);
	for (int i = 0; i < N; i++)
		assert_int_equal(child_wait(pid[i]), 0);
	assert_values(id, 1);
	assert_int_equal(sem_sleepers(id), 0);
	assert_int_equal(sem_pid(id, 0), pid[N - 1]);
}

static void undo_is_applied_as_a_whole_before_anybody_goes_on(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);
	struct held held = {0};

	assert_int_equal(SETALL_TO(id, 1, 1, 1), 0);
	HOLD(&held, id, {0, -1, U}, {1, -1, U}, {2, -1, U});
	pid_t first = SLEEP(id, {0, -1, 0}, {2, -1, 0}), second = SLEEP(id, {0, -1, 0});
	assert_int_equal(held_kill(&held), 1000 + SIGKILL);
	assert_int_equal(child_wait(first), 0);
	assert_true(child_lives(second));
	assert_values(id, 0, 1, 0);
	assert_int_equal(child_kill(second), 1000 + SIGKILL);
}

static void a_sleeper_that_is_killed_has_nothing_to_undo(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	pid_t pid = SLEEP(id, {1, 1, U}, {0, -1, U});

	assert_int_equal(child_kill(pid), 1000 + SIGKILL);
	assert_values(id, 0, 0);
	assert_int_equal(sem_sleepers(id), 0);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_values(id, 1, 0);
}

static int take_then_sleep(void *arg)
{
	int id = *(int *)arg;

	NEED(SEMOP(id, {0, -1, U}) == 0);
	return SEMOP(id, {1, -1, U});
}

static void a_sleeper_that_is_killed_gives_back_what_it_had(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(sem_set(id, 0, 1), 0);
	pid_t pid = child_start(take_then_sleep, &id);
	assert_true(AWAIT(sem_ncnt(id, 1) == 1));
	assert_values(id, 0, 0);
	assert_int_equal(child_kill(pid), 1000 + SIGKILL);
	assert_values(id, 1, 0);
	assert_int_equal(sem_ncnt(id, 1), 0);
}

static int sleep_then_stay(void *arg)
{
	int *fd = arg; /* id, a pipe to tell, a pipe to await */

	NEED(SEMOP(fd[0], {0, -1, U}) == 0);
	pipe_tell(fd[1]);
	pipe_await(fd[2]);
	return 0;
}

static void what_was_done_for_a_sleeper_is_undone_at_its_end(void **state)
{
	(void)state;
	int id = sem_new(1, 0600), told[2], go[2];

	assert_int_equal(pipe(told), 0);
	assert_int_equal(pipe(go), 0);
	int arg[3] = {id, told[1], go[0]};
	pid_t pid = child_start(sleep_then_stay, arg);
	assert_true(AWAIT(sem_ncnt(id, 0) == 1));
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_true(pipe_await(told[0]));
	assert_values(id, 0);
	assert_int_equal(child_kill(pid), 1000 + SIGKILL);
	assert_values(id, 1);
	for (int i = 0; i < 2; i++) {
		close(told[i]);
		close(go[i]);
	}
}

static void what_was_done_for_a_sleeper_that_dies_at_once_is_undone(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	for (int i = 0; i < 100; i++) {
		pid_t pid = SLEEP(id, {0, -1, U});
		assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
		kill(pid, SIGKILL); /* before or after it returned, nobody knows */
		child_wait(pid);
		assert_values(id, 1);
		assert_int_equal(sem_set(id, 0, 0), 0);
	}
}

/* --- what clears it --- */

static void setval_clears_everybodys_undo_of_that_semaphore(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	struct held a = {0}, b = {0};

	HOLD(&a, id, {0, 1, U}, {1, 1, U});
	HOLD(&b, id, {0, 2, U}, {1, 2, U});
	assert_int_equal(sem_set(id, 0, 3), 0); /* to the value that it has */
	assert_int_equal(held_let_go(&a), 0);
	assert_int_equal(held_kill(&b), 1000 + SIGKILL);
	assert_values(id, 3, 0);
	assert_int_equal(sem_pid(id, 0), getpid());
}

static void setall_clears_everybodys_undo(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	struct held a = {0}, b = {0};

	HOLD(&a, id, {0, 1, U}, {1, 1, U});
	HOLD(&b, id, {0, 2, U}, {1, 2, U});
	assert_int_equal(SETALL_TO(id, 7, 3), 0);
	assert_int_equal(held_kill(&a), 1000 + SIGKILL);
	assert_int_equal(held_let_go(&b), 0);
	assert_values(id, 7, 3);
}

static void a_failed_setval_or_setall_clears_nothing(void **state)
{
	(void)state;
	int id = sem_new(2, 0604);
	struct held held = {0};

	HOLD(&held, id, {0, 1, U}, {1, 1, U});
	assert_int_equal(sem_set(id, 0, -1), ERANGE);
	assert_int_equal(sem_set(id, 2, 1), EINVAL);
	assert_int_equal(SETALL_TO(id, 1, 40000), ERANGE);
	assert_int_equal(ERR(semctl(id, 0, SETALL, ARG_P(NULL))), EFAULT);
	if (geteuid() == 0)
		assert_int_equal(NOBODY_CTL(id, 0, SETVAL, ARG_VAL(0)), EACCES);
	assert_int_equal(held_let_go(&held), 0);
	assert_values(id, 0, 0);
}

static int set_own(void *arg)
{
	int id = *(int *)arg;

	NEED(SEMOP(id, {0, 5, U}, {1, 5, U}) == 0);
	NEED(sem_set(id, 0, 4) == 0);
	NEED(SEMOP(id, {0, 2, U}) == 0); /* counts from here */
	return 0;
}

static void a_process_clears_its_own_by_setval(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(child_run(set_own, &id), 0);
	assert_values(id, 4, 0);
}

static void ipc_set_clears_nothing(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct held held = {0};

	HOLD(&held, id, {0, 5, U});
	struct semid_ds ds = sem_stat(id);
	ds.sem_perm.mode = 0;
	assert_int_equal(ERR(semctl(id, 0, IPC_SET, ARG_P(&ds))), 0);
	assert_int_equal(held_let_go(&held), 0);
	ds.sem_perm.mode = 0600;
	assert_int_equal(ERR(semctl(id, 0, IPC_SET, ARG_P(&ds))), 0);
	assert_values(id, 0);
}

static int remove_and_remake(void *arg)
{
	key_t key = *(key_t *)arg;
	int old = sem_get(key, 2, IPC_CREAT | 0600);

	NEED(SEMOP(old, {0, 5, U}, {1, 5, U}) == 0);
	NEED(sem_remove(old) == 0);
	int new = sem_get(key, 1, IPC_CREAT | IPC_EXCL | 0600);
	NEED(new >= 0);
	NEED(SEMOP(new, {0, 9, 0}) == 0);
	NEED(SEMOP(new, {0, 3, U}) == 0);
	return 0;
}

static void removal_drops_undo_and_a_new_set_starts_without(void **state)
{
	(void)state;
	key_t key = sem_free_key();

	assert_int_equal(child_run(remove_and_remake, &key), 0);
	int id = semget(key, 1, 0600);
	assert_values(id, 9);
}

static int drop_rights(void *arg)
{
	int id = *(int *)arg;

	NEED(SEMOP(id, {0, 5, U}) == 0);
	NEED(setresuid(CONFORM_NOBODY, CONFORM_NOBODY, CONFORM_NOBODY) == 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	NEED(SEMOP(id, {0, 1, 0}) == EACCES);
	return 0;
}

static void undo_needs_no_permission_at_the_end(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0600);
	struct held held = {0};

	assert_int_equal(child_run(drop_rights, &id), 0);
	assert_values(id, 0);
	assert_true(held_start(&held, drop_rights, &id));
	assert_values(id, 5);
	assert_int_equal(held_kill(&held), 1000 + SIGKILL);
	assert_values(id, 0);
}

/* --- limits --- */

static int up_to_the_limit(void *arg)
{
	int id = *(int *)arg;

	NEED(SEMOP(id, {0, SEMVMX_HERE, U}) == 0); /* to take away at the end: 32767 */
	NEED(SEMOP(id, {0, -SEMVMX_HERE, 0}) == 0);
	NEED(SEMOP(id, {0, 1, U}) == 0); /* 32768 */
	NEED(SEMOP(id, {0, 1, U}) == ERANGE);
	NEED(SEMOP(id, {0, 1, U | IPC_NOWAIT}) == ERANGE);
	NEED(SEMOP(id, {1, 1, 0}, {0, 1, U}) == ERANGE);
	NEED(sem_val(id, 0) == 1 && sem_val(id, 1) == 0);
	NEED(SEMOP(id, {0, 1, 0}) == 0);
	NEED(SEMOP(id, {0, -1, U}) == 0); /* 32767 */
	NEED(SEMOP(id, {0, 1, U}) == 0);
	return 0;
}

static void more_than_32768_to_take_away_is_ERANGE(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(child_run(up_to_the_limit, &id), 0);
	assert_values(id, 0, 0);
}

static int down_to_the_limit(void *arg)
{
	int id = *(int *)arg;

	NEED(sem_set(id, 0, SEMVMX_HERE) == 0);
	NEED(SEMOP(id, {0, -SEMVMX_HERE, U}) == 0); /* to give back at the end: 32767 */
	NEED(SEMOP(id, {0, 2, 0}) == 0);
	NEED(SEMOP(id, {0, -1, U}) == ERANGE);
	NEED(SEMOP(id, {0, -3, U | IPC_NOWAIT}) == EAGAIN); /* blocking is seen first */
	NEED(SEMOP(id, {0, 0, U | IPC_NOWAIT}) == EAGAIN);
	NEED(SEMOP(id, {1, 1, 0}, {0, -1, U}) == ERANGE);
	NEED(sem_val(id, 0) == 2 && sem_val(id, 1) == 0);
	return 0;
}

static void more_than_32767_to_give_back_is_ERANGE(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(child_run(down_to_the_limit, &id), 0);
	assert_values(id, SEMVMX_HERE, 0);
}

static int sleep_beyond_the_limit(void *arg)
{
	int id = *(int *)arg;

	NEED(sem_set(id, 0, SEMVMX_HERE) == 0);
	NEED(SEMOP(id, {0, -SEMVMX_HERE, U}) == 0);
	NEED(SEMOP(id, {0, -1, U}) == ERANGE); /* after it was woken */
	return 0;
}

static void a_sleeper_whose_undo_would_be_too_much_is_woken_with_ERANGE(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t pid = child_start(sleep_beyond_the_limit, &id);

	assert_true(AWAIT(sem_ncnt(id, 0) == 1));
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(child_wait(pid), 0);
	assert_values(id, SEMVMX_HERE); /* 1 + 32767, no higher */
}

static int twice_in_one_array(void *arg)
{
	int id = *(int *)arg;

	NEED(sem_set(id, 0, 20000) == 0);
	NEED(SEMOP(id, {0, -20000, U}, {0, 20000, 0}, {0, -20000, U}) == ERANGE);
	NEED(sem_val(id, 0) == 20000);
	NEED(SEMOP(id, {0, -20000, U}, {0, 20000, 0}, {0, -12767, U}) == 0);
	NEED(sem_val(id, 0) == 7233);
	NEED(SEMOP(id, {0, -1, U}) == ERANGE);
	NEED(SEMOP(id, {0, 1, U}, {0, -1, U}) == 0);
	NEED(SEMOP(id, {0, -1, U}, {0, 1, U}) == ERANGE);
	NEED(sem_set(id, 0, 5) == 0);
	NEED(SEMOP(id, {0, -1, U}, {0, -2, U}, {0, 7, 0}) == 0);
	return 0;
}

static void undo_counts_along_an_array_and_back_when_it_fails(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(child_run(twice_in_one_array, &id), 0);
	assert_values(id, 5 - 3 + 7 + 3);
}

/* --- fork, exec, vfork --- */

static int fork_and_end_child_first(void *arg)
{
	int id = *(int *)arg;

	NEED(SEMOP(id, {0, 5, U}) == 0);
	pid_t pid = fork();
	if (pid == 0)
		_exit(sem_val(id, 0) != 5);
	NEED(child_wait(pid) == 0);
	NEED(sem_val(id, 0) == 5);
	return 0;
}

static void a_child_inherits_no_undo(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(child_run(fork_and_end_child_first, &id), 0);
	assert_values(id, 0);
}

static int fork_with_own_undo(void *arg)
{
	int id = *(int *)arg;

	NEED(SEMOP(id, {0, 5, U}) == 0);
	NEED(child_wait(child_start(call_ops, CALL_OPS(id, {0, 2, U}))) == 0);
	NEED(sem_val(id, 0) == 5);
	NEED(child_wait(child_start(call_ops, CALL_OPS(id, {0, -2, U}, {1, 1, 0}))) == 0);
	NEED(sem_val(id, 0) == 5);
	return 0;
}

static void a_child_has_its_own_undo(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(child_run(fork_with_own_undo, &id), 0);
	assert_values(id, 0, 1);
}

struct daemon_call {
	int id, ready, go;
};

static int leave_child_behind(void *arg)
{
	struct daemon_call *d = arg;

	NEED(SEMOP(d->id, {0, 5, U}) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		alarm(CONFORM_LIMIT_S / 2);
		pid = getpid();
		NEED(SEMOP(d->id, {1, 7, U}) == 0);
		NEED(write(d->ready, &pid, sizeof(pid)) == sizeof(pid));
		pipe_await(d->go);
		_exit(0);
	}
	return 0;
}

static void a_parent_that_ends_first_undoes_its_own_alone(void **state)
{
	(void)state;
	int id = sem_new(2, 0600), ready[2], go[2];
	pid_t left;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	struct daemon_call d = {id, ready[1], go[0]};
	assert_int_equal(child_run(leave_child_behind, &d), 0);
	assert_int_equal(read(ready[0], &left, sizeof(left)), sizeof(left));
	assert_values(id, 0, 7);
	pipe_tell(go[1]);
	assert_int_equal(child_wait(left), 0); /* we are its subreaper */
	assert_values(id, 0, 0);
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
}

/* Starts "head -n 1" on a pipe in a child that has done the operations; returns after the exec. */
struct head {
	pid_t pid;
	int in;
};

static struct head head_start(struct ops_call *call)
{
	int in[2], done[2];
	char c;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(done, O_CLOEXEC), 0);
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		child_guard();
		NEED(call_ops(call) == 0);
		dup2(in[0], 0);
		dup2(open("/dev/null", O_WRONLY), 1);
		execlp("head", "head", "-n", "1", (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(done[1]);
	assert_int_equal(read(done[0], &c, 1), 0); /* closed by the exec */
	close(done[0]);
	return (struct head){pid, in[1]};
}

/* Lets it read a line, which ends it unless a signal does. */
static int head_end(struct head head)
{
	signal(SIGPIPE, SIG_IGN);
	(void)!write(head.in, "\n", 1);
	signal(SIGPIPE, SIG_DFL);
	close(head.in);
	return child_wait(head.pid);
}

static void undo_is_kept_over_exec_until_the_new_program_ends(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(sem_set(id, 1, 1), 0);
	for (int i = 0; i < 2; i++) {
		struct head head = head_start(CALL_OPS(id, {0, 5, U}, {1, -1, U}));
		assert_values(id, 5, 0);
		pid_t sleeper = SLEEP(id, {1, -1, 0});
		if (i)
			kill(head.pid, SIGKILL);
		assert_int_equal(head_end(head), i ? 1000 + SIGKILL : 0);
		assert_int_equal(child_wait(sleeper), 0);
		assert_values(id, 0, 0);
		assert_int_equal(sem_pid(id, 0), head.pid);
		assert_int_equal(sem_set(id, 1, 1), 0);
	}
}

static void setval_clears_the_undo_of_a_process_that_execed(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct head head = head_start(CALL_OPS(id, {0, 5, U}));

	assert_int_equal(sem_set(id, 0, 6), 0);
	assert_int_equal(head_end(head), 0);
	assert_values(id, 6);
}

static int failing_exec(void *arg)
{
	int id = *(int *)arg;

	NEED(SEMOP(id, {0, 5, U}) == 0);
	NEED(execl("/nonexistent/program", "x", (char *)NULL) == -1 && errno == ENOENT);
	NEED(sem_val(id, 0) == 5);
	NEED(SEMOP(id, {0, 1, U}) == 0);
	return 0;
}

static void a_failed_exec_changes_nothing(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(child_run(failing_exec, &id), 0);
	assert_values(id, 0);
}

/* What this program does instead of its tests when it was started by exec_self(). */
static int after_exec(char **argv)
{
	int id = atoi(argv[2]);

	NEED(sem_val(id, 0) == 5);
	NEED(SEMOP(id, {0, -2, U}) == 0);
	NEED(SEMOP(id, {1, 4, U}) == 0);
	NEED(sem_pid(id, 0) == getpid());
	if (strcmp(argv[1], "after-exec-limit") == 0)
		NEED(SEMOP(id, {0, 32767, U}) == ERANGE);
	if (strcmp(argv[1], "after-exec-again") == 0) {
		NEED(SEMOP(id, {0, 2, U}) == 0);
		execl("/proc/self/exe", "conform", "after-exec", argv[2], (char *)NULL);
		_exit(127);
	}
	return 0;
}

struct exec_call {
	int id;
	const char *mode;
};

static int exec_self(void *arg)
{
	struct exec_call *c = arg;
	char text[16];

	NEED(SEMOP(c->id, {0, 5, U}) == 0);
	snprintf(text, sizeof(text), "%d", c->id);
	execl("/proc/self/exe", "conform", c->mode, text, (char *)NULL);
	return 127;
}

static void the_program_after_exec_goes_on_with_the_same_undo(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(child_run(exec_self, &(struct exec_call){id, "after-exec"}), 0);
	assert_values(id, 0, 0);
}

static void undo_is_kept_over_two_execs(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(child_run(exec_self, &(struct exec_call){id, "after-exec-again"}), 0);
	assert_values(id, 0, 0);
}

static void the_limit_of_undo_counts_over_exec(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(child_run(exec_self, &(struct exec_call){id, "after-exec-limit"}), 0);
	assert_values(id, 0, 0);
}

static int unshare_the_list(void *arg)
{
	int id = *(int *)arg;

	NEED(SEMOP(id, {0, 5, U}) == 0);
	if (unshare(CLONE_SYSVSEM))
		_exit(CHILD_SKIPS);
	NEED(sem_val(id, 0) == 0);
	NEED(SEMOP(id, {0, 3, U}) == 0);
	return 0;
}

static void unshare_of_the_undo_list_undoes_at_once(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_child_or_skip(child_run(unshare_the_list, &id));
	assert_values(id, 0);
}

/* --- threads --- */

static void *thread_undo(void *arg)
{
	return (void *)(intptr_t)SEMOP(*(int *)arg, {0, 1, U});
}

static void in_thread(int id)
{
	pthread_t thread;
	void *rc;

	NEED(pthread_create(&thread, NULL, thread_undo, &id) == 0);
	NEED(pthread_join(thread, &rc) == 0);
	NEED(rc == NULL);
}

static int undo_in_threads(void *arg)
{
	int id = *(int *)arg;

	in_thread(id);
	NEED(sem_val(id, 0) == 1); /* the thread is gone, its operation stays */
	in_thread(id);
	NEED(SEMOP(id, {0, 1, U}) == 0);
	NEED(sem_val(id, 0) == 3);
	return 0;
}

static void undo_belongs_to_the_process_not_to_its_thread(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct held held = {0};

	assert_int_equal(child_run(undo_in_threads, &id), 0);
	assert_values(id, 0);
	assert_true(held_start(&held, undo_in_threads, &id));
	assert_values(id, 3);
	assert_int_equal(held_kill(&held), 1000 + SIGKILL);
	assert_values(id, 0);
}

static void *thread_release(void *arg)
{
	return (void *)(intptr_t)SEMOP(*(int *)arg, {0, 1, U});
}

static int take_here_release_there(void *arg)
{
	int id = *(int *)arg;
	pthread_t thread;

	NEED(SEMOP(id, {0, -1, U}) == 0);
	NEED(pthread_create(&thread, NULL, thread_release, &id) == 0);
	NEED(pthread_join(thread, NULL) == 0);
	NEED(sem_val(id, 0) == 1);
	return 0;
}

static void what_one_thread_takes_another_may_release(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(sem_set(id, 0, 1), 0);
	assert_int_equal(child_run(take_here_release_there, &id), 0);
	assert_values(id, 1);
}

struct outlive {
	int id, ready, go;
};

static bool main_thread_is_zombie(void)
{
	char path[64], text[256];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", getpid(), getpid());
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	char *line = fgets(text, sizeof(text), f), *end = line ? strrchr(line, ')') : NULL;
	fclose(f);
	return end && end[2] == 'Z';
}

static void *outlive_main(void *arg)
{
	struct outlive *o = arg;

	NEED(AWAIT(main_thread_is_zombie()));
	NEED(sem_val(o->id, 0) == 5);
	NEED(SEMOP(o->id, {0, 1, U}) == 0);
	pipe_tell(o->ready);
	pipe_await(o->go);
	return NULL;
}

static int main_thread_ends(void *arg)
{
	struct outlive *o = arg;
	pthread_t thread;

	NEED(SEMOP(o->id, {0, 5, U}) == 0);
	NEED(pthread_create(&thread, NULL, outlive_main, o) == 0);
	pthread_exit(NULL);
}

static void undo_waits_for_the_last_thread(void **state)
{
	(void)state;
	int ready[2], go[2];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe(ready), 0);
		assert_int_equal(pipe(go), 0);
		struct outlive o = {sem_new(1, 0600), ready[1], go[0]};
		pid_t pid = child_start(main_thread_ends, &o);
		close(ready[1]);
		close(go[0]);
		assert_true(pipe_await(ready[0]));
		assert_values(o.id, 6);
		if (i)
			kill(pid, SIGKILL);
		else
			pipe_tell(go[1]);
		assert_int_equal(child_wait(pid), i ? 1000 + SIGKILL : 0);
		close(go[1]);
		assert_values(o.id, 0);
		close(ready[0]);
	}
}

/* --- the ways to end --- */

enum {
	BY_SIGNAL = 100
};

static void *end_all(void *arg)
{
	exit(*(int *)arg);
}

static int take_and_end(void *arg)
{
	int *id = arg, zero = 0; /* id[0], id[1]: the way */
	pthread_t thread;

	NEED(SEMOP(id[0], {0, -1, U}) == 0);
	switch (id[1]) {
	case 0:
		_exit(0);
	case 1:
		exit(0);
	case 2:
		_Exit(0);
	case 3:
		quick_exit(0);
	case 4:
		syscall(SYS_exit_group, 0);
		break;
	case 5:
		pthread_exit(NULL); /* the last thread */
	case 6:
		pthread_create(&thread, NULL, end_all, &zero); /* another thread's exit() */
		for (;;)
			pause();
	case 7:
		execlp("true", "true", (char *)NULL);
		break;
	case 8:
		return 0;
	default:
		kill(getpid(), id[1] - BY_SIGNAL);
		for (;;)
			pause();
	}
	return 98;
}

static void every_way_to_end_undoes_before_wait_returns(void **state)
{
	(void)state;
	static const int by_signal[] = {SIGKILL, SIGTERM, SIGSEGV, SIGABRT, SIGPIPE,
					SIGHUP,	 SIGALRM, SIGQUIT, SIGBUS};

	for (int way = 0; way <= 8; way++) {
		int id[2] = {sem_new(1, 0600), way};
		assert_int_equal(sem_set(id[0], 0, 1), 0);
		assert_int_equal(child_run(take_and_end, id), 0);
		assert_values(id[0], 1);
	}
	for (size_t i = 0; i < sizeof(by_signal) / sizeof(*by_signal); i++) {
		int id[2] = {sem_new(1, 0600), BY_SIGNAL + by_signal[i]};
		assert_int_equal(sem_set(id[0], 0, 1), 0);
		assert_int_equal(child_run(take_and_end, id), 1000 + by_signal[i]);
		assert_values(id[0], 1);
	}
}

static void a_zombies_operations_are_undone_already(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	siginfo_t si = {0};
	pid_t pid = child_start(call_ops, CALL_OPS(id, {0, 5, U}));

	assert_int_equal(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
	assert_values(id, 0);
	assert_int_equal(sem_pid(id, 0), pid);
	assert_int_equal(child_wait(pid), 0);
	assert_values(id, 0);
}

static int use_for_ever(void *arg)
{
	int id = *(int *)arg;

	for (;;) {
		NEED(SEMOP(id, {0, -1, U}) == 0);
		NEED(SEMOP(id, {1, 1, U}, {2, -1, U}) == 0);
		NEED(SEMOP(id, {0, 1, U}) == 0);
		NEED(SEMOP(id, {1, -1, U}, {2, 1, U}) == 0);
	}
}

static void SIGKILL_at_any_moment_undoes_everything(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);

	assert_int_equal(SETALL_TO(id, 1, 0, 1), 0);
	for (int i = 0; i < 200; i++) {
		pid_t pid = child_start(use_for_ever, &id);
		usleep((useconds_t)(200 + i * 17));
		assert_int_equal(child_kill(pid), 1000 + SIGKILL);
		assert_values(id, 1, 0, 1);
	}
}

static void SIGKILL_of_one_among_three_harms_nobody(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);
	pid_t pid[3];

	assert_int_equal(SETALL_TO(id, 1, 0, 1), 0);
	for (int i = 0; i < 3; i++)
		pid[i] = child_start(use_for_ever, &id);
	for (int i = 0; i < 150; i++) {
		usleep((useconds_t)(100 + i * 17));
		assert_int_equal(child_kill(pid[i % 3]), 1000 + SIGKILL);
		pid[i % 3] = child_start(use_for_ever, &id);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(child_kill(pid[i]), 1000 + SIGKILL);
	assert_values(id, 1, 0, 1);
	assert_int_equal(sem_sleepers(id), 0);
}

int main(int argc, char **argv)
{
	if (argc == 3)
		return after_exec(argv);
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(at_the_end_of_a_process_its_operations_are_undone),
		CONFORM_TEST(only_operations_with_the_flag_are_undone),
		CONFORM_TEST(operations_of_several_calls_add_up),
		CONFORM_TEST(a_process_may_have_undo_in_many_sets),
		CONFORM_TEST(several_processes_have_each_their_own),
		CONFORM_TEST(the_last_semaphore_of_a_large_set_is_undone),
		CONFORM_TEST(a_failed_operation_is_not_undone),
		CONFORM_TEST(what_is_undone_can_not_be_told_from_what_others_did),
		CONFORM_TEST(undo_stops_at_zero_and_at_SEMVMX),
		CONFORM_TEST(a_death_that_nobody_saw_comes_before_an_end),
		CONFORM_TEST(undo_sets_sempid_of_what_it_changes_and_otime),
		CONFORM_TEST(an_end_with_nothing_to_undo_sets_otime_only),
		CONFORM_TEST(an_end_without_the_flag_sets_nothing),
		CONFORM_TEST(an_end_after_a_failed_call_with_the_flag_sets_otime_too),
		CONFORM_TEST(undo_wakes_sleepers),
		CONFORM_TEST(a_kill_wakes_sleepers_though_nobody_makes_a_call),
		CONFORM_TEST(a_kill_wakes_a_chain_of_holders),
		CONFORM_TEST(undo_is_applied_as_a_whole_before_anybody_goes_on),
		CONFORM_TEST(a_sleeper_that_is_killed_has_nothing_to_undo),
		CONFORM_TEST(a_sleeper_that_is_killed_gives_back_what_it_had),
		CONFORM_TEST(what_was_done_for_a_sleeper_is_undone_at_its_end),
		CONFORM_TEST(what_was_done_for_a_sleeper_that_dies_at_once_is_undone),
		CONFORM_TEST(setval_clears_everybodys_undo_of_that_semaphore),
		CONFORM_TEST(setall_clears_everybodys_undo),
		CONFORM_TEST(a_failed_setval_or_setall_clears_nothing),
		CONFORM_TEST(a_process_clears_its_own_by_setval),
		CONFORM_TEST(ipc_set_clears_nothing),
		CONFORM_TEST(removal_drops_undo_and_a_new_set_starts_without),
		CONFORM_TEST(undo_needs_no_permission_at_the_end),
		CONFORM_TEST(more_than_32768_to_take_away_is_ERANGE),
		CONFORM_TEST(more_than_32767_to_give_back_is_ERANGE),
		CONFORM_TEST(a_sleeper_whose_undo_would_be_too_much_is_woken_with_ERANGE),
		CONFORM_TEST(undo_counts_along_an_array_and_back_when_it_fails),
		CONFORM_TEST(a_child_inherits_no_undo),
		CONFORM_TEST(a_child_has_its_own_undo),
		CONFORM_TEST(a_parent_that_ends_first_undoes_its_own_alone),
		CONFORM_TEST(undo_is_kept_over_exec_until_the_new_program_ends),
		CONFORM_TEST(setval_clears_the_undo_of_a_process_that_execed),
		CONFORM_TEST(a_failed_exec_changes_nothing),
		CONFORM_TEST(the_program_after_exec_goes_on_with_the_same_undo),
		CONFORM_TEST(undo_is_kept_over_two_execs),
		CONFORM_TEST(the_limit_of_undo_counts_over_exec),
		CONFORM_TEST(unshare_of_the_undo_list_undoes_at_once),
		CONFORM_TEST(undo_belongs_to_the_process_not_to_its_thread),
		CONFORM_TEST(what_one_thread_takes_another_may_release),
		CONFORM_TEST(undo_waits_for_the_last_thread),
		CONFORM_TEST(every_way_to_end_undoes_before_wait_returns),
		CONFORM_TEST(a_zombies_operations_are_undone_already),
		CONFORM_TEST(SIGKILL_at_any_moment_undoes_everything),
		CONFORM_TEST(SIGKILL_of_one_among_three_harms_nobody),
	};
	return SEM_RUN(tests);
}
