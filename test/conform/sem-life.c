/* Sleepers that are killed, interrupted, or lose their set; forks, threads, handlers, descriptors. */
#include "conform-sem.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>

/* --- sleepers that are killed --- */

static void a_killed_sleeper_leaves_no_trace(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(sem_set(id, 1, 1), 0);
	for (int i = 0; i < 30; i++) {
		pid_t pid = i % 3 == 0 ? SLEEP(id, {0, -1, 0}) :
			    i % 3 == 1 ? SLEEP(id, {1, 0, 0}) :
					 SLEEP(id, {1, -1, 0}, {0, -1, SEM_UNDO});
		assert_int_equal(child_kill(pid), 1000 + SIGKILL);
		assert_int_equal(sem_sleepers(id), 0);
		assert_values(id, 0, 1);
		assert_int_equal(sem_pid(id, 0), 0);
	}
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_values(id, 1, 1);
}

static void sleepers_end_by_any_signal_and_leave_no_trace(void **state)
{
	(void)state;
	static const int sig[] = {SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGUSR1, SIGSEGV, SIGABRT};
	int id = sem_new(1, 0600);

	for (size_t i = 0; i < sizeof(sig) / sizeof(*sig); i++) {
		pid_t pid = SLEEP(id, {0, -1, 0});
		kill(pid, sig[i]);
		assert_int_equal(child_wait(pid), 1000 + sig[i]);
		assert_int_equal(sem_ncnt(id, 0), 0);
	}
}

static void the_others_keep_their_turn_when_one_is_killed(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t pid[5];

	for (int i = 0; i < 5; i++)
		pid[i] = SLEEP(id, {0, -1, 0});
	assert_int_equal(child_kill(pid[0]), 1000 + SIGKILL); /* the first, the last, one between */
	assert_int_equal(child_kill(pid[4]), 1000 + SIGKILL);
	assert_int_equal(child_kill(pid[2]), 1000 + SIGKILL);
	assert_int_equal(sem_ncnt(id, 0), 2);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(child_wait(pid[1]), 0);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(child_wait(pid[3]), 0);
	assert_values(id, 0);
}

static void a_unit_given_after_the_wait_for_a_killed_sleeper_is_not_lost(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	for (int i = 0; i < 50; i++) {
		pid_t dead = SLEEP(id, {0, -1, 0}), alive = SLEEP(id, {0, -1, 0});
		assert_int_equal(child_kill(dead), 1000 + SIGKILL);
		assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
		assert_int_equal(child_wait(alive), 0);
		assert_values(id, 0);
	}
}

static void many_sleepers_killed_at_once_leave_no_trace(void **state)
{
	(void)state;
	enum {
		N = 40
	};
	int id = sem_new(2, 0600);
	pid_t pid[N];

	for (int i = 0; i < N; i++)
		pid[i] = i % 2 ? child_start(call_ops, CALL_OPS(id, {0, -1, 0})) :
				 child_start(call_ops, CALL_OPS(id, {1, 1, 0}, {0, -1, SEM_UNDO}));
	assert_true(AWAIT(sem_ncnt(id, 0) == N));
	for (int i = 0; i < N; i++)
		kill(pid[i], SIGKILL);
	for (int i = 0; i < N; i++)
		assert_int_equal(child_wait(pid[i]), 1000 + SIGKILL);
	assert_int_equal(sem_sleepers(id), 0);
	assert_int_equal(SEMOP(id, {0, 3, 0}), 0);
	assert_values(id, 3, 0);
}

static int post_and_take_for_ever(void *arg)
{
	int id = *(int *)arg;

	for (;;) {
		NEED(SEMOP(id, {0, 1, SEM_UNDO}) == 0);
		NEED(SEMOP(id, {0, -1, SEM_UNDO}) == 0);
		NEED(SEMOP(id, {1, 0, 0}) == 0);
		NEED(SEMOP(id, {1, 1, SEM_UNDO}, {1, -1, SEM_UNDO}) == 0);
		NEED(sem_set(id, 2, 3) == 0);
	}
}

static void SIGKILL_at_any_moment_leaves_a_working_set(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);

	for (int i = 0; i < 150; i++) {
		pid_t pid = child_start(post_and_take_for_ever, &id);
		usleep((useconds_t)(300 + i * 19));
		assert_int_equal(child_kill(pid), 1000 + SIGKILL);
		assert_values(id, 0, 0);
		assert_int_equal(sem_sleepers(id), 0);
		assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
		assert_int_equal(SEMOP(id, {0, -1, 0}), 0);
	}
}

static int make_for_ever(void *arg)
{
	key_t key = *(key_t *)arg;

	for (;;) {
		int id = semget(key, 3, IPC_CREAT | IPC_EXCL | 0600);
		NEED(id >= 0);
		NEED(SEMOP(id, {0, 1, SEM_UNDO}) == 0);
		NEED(semctl(id, 0, IPC_RMID) == 0);
	}
}

static void SIGKILL_while_making_and_removing_leaves_all_or_nothing(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		key_t key = sem_free_key();
		pid_t pid = child_start(make_for_ever, &key);
		usleep((useconds_t)(300 + i * 31));
		assert_int_equal(child_kill(pid), 1000 + SIGKILL);
		int id = sem_get(key, 3, 0600);
		if (id < 0) {
			assert_int_equal(errno, ENOENT);
		} else {
			assert_values(id, 0, 0, 0);
			assert_int_equal(sem_remove(id), 0);
		}
		id = sem_get(key, 3, IPC_CREAT | IPC_EXCL | 0600);
		assert_true(id >= 0);
		assert_int_equal(sem_remove(id), 0);
	}
}

/* --- signals: always in a child, which has its handlers to itself --- */

struct interrupted {
	struct ops_call *call;
	int flags; /* of sigaction */
};

static volatile sig_atomic_t handled, handler_failed;
static volatile int handler_id;
static sigjmp_buf handler_out;

static void on_signal(int sig)
{
	(void)sig;
	handled++;
}

/* In a child: installs the handler, and starts counting anew. */
static void catch_signal(int sig, void (*handler)(int), int flags)
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = flags};

	handled = handler_failed = 0;
	NEED(sigaction(sig, &sa, NULL) == 0);
}

static int sleep_with_handler(void *arg)
{
	struct interrupted *in = arg;

	catch_signal(SIGUSR1, on_signal, in->flags);
	int rc = call_ops(in->call);
	NEED(handled == (rc == EINTR));
	return rc;
}

/* A child that sleeps with a handler for SIGUSR1. */
static pid_t handler_start(struct ops_call *call, int flags)
{
	struct interrupted in = {call, flags};
	int before = sem_sleepers(call->id);
	pid_t pid = child_start(sleep_with_handler, &in);

	assert_true(AWAIT(sem_sleepers(call->id) == before + 1));
	return pid;
}

static void a_handler_interrupts_a_sleeper_whatever_SA_RESTART_says(void **state)
{
	(void)state;
	struct timespec timeout = {25, 0};

	for (int i = 0; i < 12; i++) {
		int id = sem_new(2, 0600);
		struct ops_call *call = i % 3 == 0 ? CALL_OPS(id, {0, -1, 0}) :
					i % 3 == 1 ? CALL_OPS(id, {1, 0, 0}) :
						     CALL_OPS(id, {1, -1, SEM_UNDO}, {0, -1, 0});
		assert_int_equal(sem_set(id, 1, 1), 0);
		if (i >= 6)
			call->timeout = &timeout;
		pid_t pid = handler_start(call, i / 3 % 2 ? SA_RESTART : 0);
		kill(pid, SIGUSR1);
		assert_int_equal(child_wait(pid), EINTR);
		assert_int_equal(sem_sleepers(id), 0);
		if (i % 3 != 2) /* undo sets it, though there is nothing to undo */
			assert_int_equal(sem_otime(id), 0);
		assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
		assert_values(id, 1, 1);
	}
}

static void an_interrupted_sleeper_is_passed_over(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t first = handler_start(CALL_OPS(id, {0, -1, 0}), SA_RESTART);
	pid_t second = SLEEP(id, {0, -1, 0});

	kill(first, SIGUSR1);
	assert_int_equal(child_wait(first), EINTR);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(child_wait(second), 0);
	assert_values(id, 0);
}

static int sleep_with_ignored(void *arg)
{
	sigset_t set;

	signal(SIGUSR1, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	NEED(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	return call_ops(arg);
}

static void a_signal_that_is_ignored_or_blocked_does_not_interrupt(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t pid = child_start(sleep_with_ignored, CALL_OPS(id, {0, -1, 0}));

	assert_true(AWAIT(sem_ncnt(id, 0) == 1));
	for (int i = 0; i < 20; i++) {
		kill(pid, SIGUSR1);  /* ignored */
		kill(pid, SIGUSR2);  /* blocked */
		kill(pid, SIGCHLD);  /* ignored by default */
		kill(pid, SIGWINCH); /* so, too */
		kill(pid, SIGCONT);  /* it is not stopped */
		usleep(500);
		assert_int_equal(sem_ncnt(id, 0), 1);
	}
	assert_true(child_lives(pid));
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(child_wait(pid), 0);
	assert_values(id, 0);
}

static void a_signal_while_it_need_not_sleep_interrupts_nothing(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct sigaction sa = {.sa_handler = on_signal}, old;

	assert_int_equal(sigaction(SIGUSR1, &sa, &old), 0);
	handled = 0;
	raise(SIGUSR1);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	raise(SIGUSR1);
	assert_int_equal(SEMOP(id, {0, -1, 0}), 0);
	assert_int_equal(handled, 2);
	assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
}

/* After a stop and SIGCONT a sleeper may go on or give up, but the unit is in one place. */
static void a_sleeper_that_is_stopped_and_continued_loses_no_unit(void **state)
{
	(void)state;
	int status;

	for (int i = 0; i < 10; i++) {
		int id = sem_new(1, 0600);
		pid_t pid = SLEEP(id, {0, -1, 0});
		kill(pid, SIGSTOP);
		assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
		assert_true(WIFSTOPPED(status));
		assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
		kill(pid, SIGCONT);
		int rc = child_wait(pid);
		assert_true(rc == EINTR || rc == 0);
		assert_int_equal(sem_val(id, 0), rc == EINTR);
		assert_int_equal(sem_sleepers(id), 0);
	}
}

static void on_signal_post(int sig)
{
	struct sembuf op = {0, 1, 0};
	int old = errno;

	(void)sig;
	if (semop(handler_id, &op, 1) || semctl(handler_id, 0, GETNCNT) != 0)
		handler_failed = 1;
	handled++;
	errno = old;
}

static int sleep_and_post_in_handler(void *arg)
{
	int id = *(int *)arg;

	handler_id = id;
	catch_signal(SIGUSR1, on_signal_post, SA_RESTART);
	NEED(SEMOP(id, {0, -1, 0}) == EINTR);
	NEED(handled == 1 && !handler_failed);
	NEED(sem_val(id, 0) == 1); /* the call was over before the handler ran */
	return 0;
}

static void a_handler_may_post_to_what_it_interrupted_and_it_is_EINTR_still(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t pid = child_start(sleep_and_post_in_handler, &id);

	assert_true(AWAIT(sem_ncnt(id, 0) == 1));
	kill(pid, SIGUSR1);
	assert_int_equal(child_wait(pid), 0);
	assert_values(id, 1);
}

static void on_signal_jump(int sig)
{
	(void)sig;
	siglongjmp(handler_out, 1);
}

static int sleep_and_jump_out(void *arg)
{
	int id = *(int *)arg;

	catch_signal(SIGUSR1, on_signal_jump, 0);
	for (volatile int i = 0; i < 3; i++) {
		if (sigsetjmp(handler_out, 1) == 0) {
			SEMOP(id, {1, 1, SEM_UNDO}, {0, -1, SEM_UNDO});
			NEED(!"semop returned");
		}
		NEED(sem_sleepers(id) == 0);
		NEED(SEMOP(id, {2, 1, 0}) == 0);
	}
	NEED(SEMOP(id, {0, 1, 0}) == 0);
	NEED(SEMOP(id, {0, -1, 0}) == 0);
	return 0;
}

static void a_handler_may_jump_out_of_a_sleeping_call(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);
	pid_t pid = child_start(sleep_and_jump_out, &id);

	for (int i = 0; i < 3; i++) {
		assert_true(AWAIT(sem_val(id, 2) == i && sem_ncnt(id, 0) == 1));
		kill(pid, SIGUSR1);
	}
	assert_int_equal(child_wait(pid), 0);
	assert_values(id, 0, 0, 3);
	assert_int_equal(sem_sleepers(id), 0);
}

static void on_signal_sleep(int sig)
{
	struct sembuf op = {1, -1, 0};
	int old = errno;

	(void)sig;
	if (semop(handler_id, &op, 1))
		handler_failed = 1;
	handled++;
	errno = old;
}

static int sleep_and_sleep_in_handler(void *arg)
{
	int id = *(int *)arg;

	handler_id = id;
	catch_signal(SIGUSR1, on_signal_sleep, 0);
	NEED(SEMOP(id, {0, -1, 0}) == EINTR);
	NEED(handled == 1 && !handler_failed);
	return 0;
}

static void a_handler_may_sleep_in_the_same_set(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	pid_t pid = child_start(sleep_and_sleep_in_handler, &id);

	assert_true(AWAIT(sem_ncnt(id, 0) == 1));
	kill(pid, SIGUSR1);
	assert_true(AWAIT(sem_ncnt(id, 1) == 1));
	assert_int_equal(sem_ncnt(id, 0), 0);
	assert_int_equal(SEMOP(id, {1, 1, 0}), 0);
	assert_int_equal(child_wait(pid), 0);
}

static void timer_start(void (*handler)(int))
{
	struct itimerval every_ms = {{0, 1000}, {0, 1000}};

	catch_signal(SIGALRM, handler, SA_RESTART);
	NEED(setitimer(ITIMER_REAL, &every_ms, NULL) == 0);
}

static void timer_stop(void)
{
	NEED(setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL) == 0);
	signal(SIGALRM, SIG_DFL);
	alarm(CONFORM_LIMIT_S / 2);
}

static void on_timer(int sig)
{
	struct sembuf post = {0, 1, 0}, undo[2] = {{1, 2, SEM_UNDO}, {1, -1, SEM_UNDO}};
	int old = errno;

	(void)sig;
	if (semop(handler_id, &post, 1) || semop(handler_id, undo, 2))
		handler_failed = 1;
	handled++;
	errno = old;
}

static int work_under_timer(void *arg)
{
	int64_t until = now_ms() + 700;
	int loops = 0;

	handler_id = *(int *)arg;
	timer_start(on_timer);
	while (now_ms() < until) {
		NEED(SEMOP(handler_id, {2, 1, SEM_UNDO}) == 0);
		NEED(SEMOP(handler_id, {3, 1, SEM_UNDO}, {2, -1, SEM_UNDO}) == 0);
		NEED(SEMOP(handler_id, {3, -1, SEM_UNDO}) == 0);
		loops++;
	}
	timer_stop();
	NEED(loops > 10 && handled > 10 && !handler_failed);
	NEED(sem_val(handler_id, 0) == handled);
	NEED(sem_val(handler_id, 1) == handled);
	NEED(sem_val(handler_id, 2) == 0 && sem_val(handler_id, 3) == 0);
	return 0;
}

static void a_handler_that_uses_the_set_at_any_moment_loses_nothing(void **state)
{
	(void)state;
	int id = sem_new(4, 0600);

	assert_int_equal(child_run(work_under_timer, &id), 0);
	assert_true(sem_val(id, 0) > 10);
	assert_int_equal(sem_val(id, 1), 0);
	assert_int_equal(sem_sleepers(id), 0);
}

static void on_timer_jump(int sig)
{
	on_timer(sig);
	siglongjmp(handler_out, 1);
}

static int work_and_jump(void *arg)
{
	static volatile int64_t until;
	static volatile int loops;

	handler_id = *(int *)arg;
	until = now_ms() + 700;
	if (sigsetjmp(handler_out, 1) == 0)
		timer_start(on_timer_jump);
	while (now_ms() < until) {
		NEED(SEMOP(handler_id, {2, 1, SEM_UNDO}, {2, -1, SEM_UNDO}) == 0);
		NEED(SEMOP(handler_id, {3, 1, 0}, {3, -1, IPC_NOWAIT}) == 0);
		loops++;
	}
	timer_stop();
	NEED(loops > 10 && handled > 10 && !handler_failed);
	NEED(sem_val(handler_id, 0) == handled && sem_val(handler_id, 1) == handled);
	NEED(sem_val(handler_id, 2) == 0 && sem_val(handler_id, 3) == 0);
	return 0;
}

static void a_handler_that_jumps_out_at_any_moment_leaves_all_or_nothing(void **state)
{
	(void)state;
	int id = sem_new(4, 0600);

	assert_int_equal(child_run(work_and_jump, &id), 0);
	assert_int_equal(sem_val(id, 1), 0);
	assert_int_equal(sem_val(id, 3), 0);
	assert_int_equal(sem_sleepers(id), 0);
}

/* --- removal --- */

static void removal_wakes_every_sleeper_with_EIDRM(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	struct timespec timeout = {25, 0};
	struct ops_call timed = {id, OPS({0, -1, 0}), &timeout};

	assert_int_equal(sem_set(id, 1, 1), 0);
	pid_t pid[] = {SLEEP(id, {0, -1, 0}), SLEEP(id, {1, 0, 0}), sleeper_start(&timed),
		       SLEEP(id, {1, -1, SEM_UNDO}, {0, -1, SEM_UNDO}),
		       SLEEP(id, {0, 0, 0}, {1, 0, 0})};
	assert_int_equal(sem_remove(id), 0);
	for (size_t i = 0; i < sizeof(pid) / sizeof(*pid); i++)
		assert_int_equal(child_wait(pid[i]), EIDRM);
	assert_true(sem_gone(id));
	assert_int_equal(SEMOP(id, {0, -1, 0}), EINVAL);
}

static void removal_while_a_hundred_sleep(void **state)
{
	(void)state;
	enum {
		N = 100
	};
	int id = sem_new(1, 0600);
	pid_t pid[N];

	for (int i = 0; i < N; i++)
		pid[i] = child_start(call_ops, CALL_OPS(id, {0, -1, 0}));
	assert_true(AWAIT(sem_ncnt(id, 0) == N));
	assert_int_equal(sem_remove(id), 0);
	for (int i = 0; i < N; i++)
		assert_int_equal(child_wait(pid[i]), EIDRM);
}

static void the_key_can_be_made_anew_before_the_sleepers_have_left(void **state)
{
	(void)state;
	key_t key = sem_free_key();

	for (int i = 0; i < 30; i++) {
		int old = sem_get(key, 1, IPC_CREAT | IPC_EXCL | 0600);
		pid_t pid = SLEEP(old, {0, -1, 0});
		assert_int_equal(sem_remove(old), 0);
		assert_int_equal(ERR(semget(key, 0, 0)), ENOENT);
		int new = sem_get(key, 1, IPC_CREAT | IPC_EXCL | 0600);
		assert_true(new >= 0 && new != old);
		assert_int_equal(sem_ncnt(new, 0), 0);
		assert_int_equal(SEMOP(new, {0, 1, 0}), 0);
		assert_int_equal(child_wait(pid), EIDRM);
		assert_values(new, 1);
		assert_int_equal(sem_remove(new), 0);
	}
}

static int remove_set(void *arg)
{
	return sem_remove(*(int *)arg);
}

static void another_process_removes_under_a_sleeper(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t pid = SLEEP(id, {0, -1, 0});

	assert_int_equal(child_run(remove_set, &id), 0);
	assert_int_equal(child_wait(pid), EIDRM);
}

static int race_to_remove(void *arg)
{
	return sem_remove(*(int *)arg);
}

static void of_racing_removers_exactly_one_wins(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		int id = sem_new(1, 0600), won = 0, lost = 0;
		pid_t pid[4];
		for (int i = 0; i < 4; i++)
			pid[i] = child_start(race_to_remove, &id);
		for (int i = 0; i < 4; i++) {
			int rc = child_wait(pid[i]);
			won += rc == 0;
			lost += rc == EINVAL || rc == EIDRM;
		}
		assert_int_equal(won, 1);
		assert_int_equal(lost, 3);
	}
}

static int use_until_removed(void *arg)
{
	int id = *(int *)arg, rc;

	do {
		rc = SEMOP(id, {0, 1, SEM_UNDO});
		if (rc == 0)
			rc = SEMOP(id, {0, -1, SEM_UNDO}, {1, 0, 0});
		if (rc == 0)
			rc = SEMOP(id, {1, 1, 0}, {1, -1, 0});
	} while (rc == 0);
	return rc;
}

static void removal_while_others_work_ends_each_with_EINVAL_or_EIDRM(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		int id = sem_new(2, 0600);
		pid_t pid[3];
		for (int i = 0; i < 3; i++)
			pid[i] = child_start(use_until_removed, &id);
		assert_true(AWAIT(sem_otime(id) != 0));
		usleep((useconds_t)(round * 100));
		assert_int_equal(sem_remove(id), 0);
		for (int i = 0; i < 3; i++) {
			int rc = child_wait(pid[i]);
			assert_true(rc == EINVAL || rc == EIDRM);
		}
	}
}

/* --- fork, exec, threads --- */

static void *thread_take(void *arg)
{
	return (void *)(intptr_t)SEMOP(*(int *)arg, {0, -1, 0});
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void a_fork_while_a_thread_sleeps_does_not_copy_the_sleeper(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pthread_t thread;
	struct held held = {0};
	void *rc;

	assert_int_equal(pthread_create(&thread, NULL, thread_take, &id), 0);
	assert_true(AWAIT(sem_ncnt(id, 0) == 1));
	assert_true(held_start(&held, nothing, NULL));
	assert_int_equal(sem_ncnt(id, 0), 1);
	assert_int_equal(held_kill(&held), 1000 + SIGKILL);
	assert_int_equal(sem_ncnt(id, 0), 1);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(pthread_join(thread, &rc), 0);
	assert_ptr_equal(rc, NULL);
	assert_values(id, 0);
}

struct ending {
	int id;
	int way;
};

static int end_while_a_thread_sleeps(void *arg)
{
	struct ending *e = arg;
	pthread_t thread;

	NEED(pthread_create(&thread, NULL, thread_take, &e->id) == 0);
	NEED(AWAIT(sem_ncnt(e->id, 0) == 1));
	switch (e->way) {
	case 0:
		_exit(0);
	case 1:
		exit(0);
	case 2:
		execlp("true", "true", (char *)NULL);
		break;
	case 3:
		kill(getpid(), SIGKILL);
		pause();
	}
	return 98;
}

static void an_end_or_exec_takes_its_sleeping_threads_along(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct ending e = {sem_new(1, 0600), way};
		int rc = child_run(end_while_a_thread_sleeps, &e);
		assert_int_equal(rc, way == 3 ? 1000 + SIGKILL : 0);
		assert_int_equal(sem_ncnt(e.id, 0), 0);
		assert_int_equal(SEMOP(e.id, {0, 1, 0}), 0);
		assert_values(e.id, 1);
	}
}

static int exec_while_a_thread_sleeps(void *arg)
{
	int *a = arg; /* id, a pipe to read from */
	pthread_t thread;

	NEED(pthread_create(&thread, NULL, thread_take, &a[0]) == 0);
	NEED(AWAIT(sem_ncnt(a[0], 0) == 1));
	dup2(a[1], 0);
	dup2(open("/dev/null", O_WRONLY), 1);
	execlp("head", "head", "-n", "1", (char *)NULL);
	return 127;
}

static void after_exec_of_another_program_the_sleeping_thread_is_gone(void **state)
{
	(void)state;
	int in[2];

	assert_int_equal(pipe(in), 0);
	int arg[2] = {sem_new(1, 0600), in[0]};
	pid_t pid = child_start(exec_while_a_thread_sleeps, arg);
	/* It sleeps, then execs: so the count comes to 1, perhaps unseen, and then to 0 for good. */
	char path[64], name[32] = "";
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	for (int i = 0; i < 20000 && strcmp(name, "head\n"); i++) {
		FILE *f = fopen(path, "re");
		assert_non_null(f);
		if (!fgets(name, sizeof(name), f))
			name[0] = 0;
		fclose(f);
		usleep(500);
	}
	assert_string_equal(name, "head\n");
	assert_int_equal(sem_ncnt(arg[0], 0), 0);
	assert_int_equal(SEMOP(arg[0], {0, 1, 0}), 0);
	assert_values(arg[0], 1);
	(void)!write(in[1], "\n", 1);
	assert_int_equal(child_wait(pid), 0);
	close(in[0]);
	close(in[1]);
}

static void *main_is_gone(void *arg)
{
	int *fd = arg;

	return (void *)(intptr_t)SEMOP(fd[0], {0, -1, 0}, {1, 1, 0});
}

static int main_thread_ends(void *arg)
{
	pthread_t thread;

	NEED(pthread_create(&thread, NULL, main_is_gone, arg) == 0);
	pthread_exit(NULL);
}

static void a_sleeping_thread_outlives_the_main_thread(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	for (int i = 0; i < 2; i++) {
		pid_t pid = child_start(main_thread_ends, &id);
		assert_true(AWAIT(sem_ncnt(id, 0) == 1));
		if (i == 0) {
			assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
			assert_int_equal(sem_pid(id, 0), pid);
			assert_int_equal(child_wait(pid), 0);
		} else {
			assert_int_equal(child_kill(pid), 1000 + SIGKILL);
		}
		assert_int_equal(sem_ncnt(id, 0), 0);
		assert_values(id, 0, 1);
	}
}

struct sleeping_thread {
	int id, rc;
	_Atomic int tid;
};

static void *sleep_in_thread(void *arg)
{
	struct sleeping_thread *t = arg;

	t->tid = (int)syscall(SYS_gettid);
	t->rc = SEMOP(t->id, {0, -1, 0});
	return NULL;
}

static int signal_one_thread(void *arg)
{
	struct sleeping_thread a = {*(int *)arg, -1, 0}, b = a;
	pthread_t thread[2];

	catch_signal(SIGUSR1, on_signal, SA_RESTART);
	NEED(pthread_create(&thread[0], NULL, sleep_in_thread, &a) == 0);
	NEED(AWAIT(sem_ncnt(a.id, 0) == 1));
	NEED(pthread_create(&thread[1], NULL, sleep_in_thread, &b) == 0);
	NEED(AWAIT(sem_ncnt(a.id, 0) == 2));
	NEED(pthread_kill(thread[0], SIGUSR1) == 0);
	NEED(pthread_join(thread[0], NULL) == 0);
	NEED(a.rc == EINTR && sem_ncnt(a.id, 0) == 1);
	NEED(SEMOP(a.id, {0, 1, 0}) == 0);
	NEED(pthread_join(thread[1], NULL) == 0);
	NEED(b.rc == 0 && sem_val(a.id, 0) == 0);
	return 0;
}

static void a_signal_interrupts_its_thread_alone(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(child_run(signal_one_thread, &id), 0);
}

static void *sleep_cancellable(void *arg)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	SEMOP(*(int *)arg, {0, -1, 0});
	return NULL;
}

static int cancel_sleeping_thread(void *arg)
{
	int id = *(int *)arg;
	pthread_t thread;
	void *rc;

	NEED(pthread_create(&thread, NULL, sleep_cancellable, &id) == 0);
	NEED(AWAIT(sem_ncnt(id, 0) == 1));
	NEED(pthread_cancel(thread) == 0);
	NEED(pthread_join(thread, &rc) == 0);
	NEED(rc == PTHREAD_CANCELED);
	NEED(sem_ncnt(id, 0) == 0);
	NEED(SEMOP(id, {0, 1, 0}) == 0 && sem_val(id, 0) == 1);
	NEED(SEMOP(id, {0, -1, 0}) == 0);
	return 0;
}

static void an_asynchronous_cancel_ends_a_sleep(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(child_run(cancel_sleeping_thread, &id), 0);
	assert_values(id, 0);
}

static void *thread_work(void *arg)
{
	long failed = 0;

	(void)arg;
	for (int i = 0; i < 1000; i++) {
		int id = sem_new(2, 0600);
		failed += id < 0;
		failed += SEMOP(id, {0, 2, 0}) != 0;
		failed += SEMOP(id, {0, -1, SEM_UNDO}, {1, 1, 0}) != 0;
		failed += sem_val(id, 0) != 1 || sem_val(id, 1) != 1;
		failed += sem_remove(id) != 0;
		failed += !sem_gone(id);
	}
	return (void *)failed;
}

static void four_threads_make_use_and_remove(void **state)
{
	(void)state;
	pthread_t thread[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, thread_work, NULL), 0);
	for (int i = 0; i < 4; i++) {
		void *failed;
		assert_int_equal(pthread_join(thread[i], &failed), 0);
		assert_ptr_equal(failed, NULL);
	}
}

static void *thread_cycle(void *arg)
{
	long failed = 0;

	for (int i = 0; i < 1000; i++) {
		failed += SEMOP(*(int *)arg, {0, -1, SEM_UNDO}) != 0;
		failed += SEMOP(*(int *)arg, {0, 1, SEM_UNDO}) != 0;
	}
	return (void *)failed;
}

static void threads_use_one_set_while_another_forks(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pthread_t thread[3];

	assert_int_equal(sem_set(id, 0, 1), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, thread_cycle, &id), 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(CHILD_SEMOP(id, {0, -1, SEM_UNDO}), 0);
	for (int i = 0; i < 3; i++) {
		void *failed;
		assert_int_equal(pthread_join(thread[i], &failed), 0);
		assert_ptr_equal(failed, NULL);
	}
	assert_values(id, 1);
}

static void a_vfork_child_may_wake_a_sleeper(void **state)
{
	(void)state;
	static struct sembuf op = {0, 1, 0};
	int id = sem_new(1, 0600);
	pid_t sleeper = SLEEP(id, {0, -1, 0});

	pid_t pid = vfork();
	if (pid == 0)
		_exit(semop(id, &op, 1) ? 1 : 0);
	assert_int_equal(child_wait(pid), 0);
	assert_int_equal(child_wait(sleeper), 0);
	assert_int_equal(sem_pid(id, 0), sleeper);
}

/* --- descriptors, credentials --- */

static int close_everything(void *arg)
{
	int old = *(int *)arg;

	NEED(SEMOP(old, {0, 1, SEM_UNDO}) == 0); /* in use before, too */
	for (int fd = 0; fd < 1024; fd++)
		close(fd);
	int id = sem_new(1, 0600);
	if (id < 0 || SEMOP(id, {0, 1, SEM_UNDO}) || SEMOP(id, {0, -1, SEM_UNDO}))
		return 1;
	if (SEMOP(old, {0, 1, SEM_UNDO}) || sem_val(old, 0) != 2)
		return 2;
	if (sem_remove(id))
		return 3;
	if (open("/dev/null", O_RDWR) != 0 || open("/dev/null", O_RDWR) != 1)
		return 4; /* the lowest numbers are the program's */
	return 0;
}

static void a_program_that_closes_all_descriptors_goes_on_and_is_undone(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(child_run(close_everything, &id), 0);
	assert_values(id, 0);
}

static int die_after_closing(void *arg)
{
	NEED(SEMOP(*(int *)arg, {0, 1, SEM_UNDO}) == 0);
	for (int fd = 0; fd < 1024; fd++)
		close(fd);
	kill(getpid(), SIGKILL);
	return 1;
}

static void a_program_that_closed_all_descriptors_is_undone_when_killed(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(child_run(die_after_closing, &id), 1000 + SIGKILL);
	assert_values(id, 0);
}

static int lose_rights_then_sleep(void *arg)
{
	int *id = arg; /* 0600, 0666 */

	NEED(SEMOP(id[0], {0, 1, 0}) == 0);
	NEED(setuid(CONFORM_NOBODY) == 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	NEED(SEMOP(id[0], {0, -1, 0}) == EACCES);
	NEED(sem_remove(id[0]) == EPERM);
	NEED(SEMOP(id[1], {0, -1, 0}) == 0);
	int own = sem_new(1, 0600);
	NEED(own >= 0 && SEMOP(own, {0, 1, SEM_UNDO}) == 0);
	NEED(sem_remove(own) == 0);
	return 0;
}

static void after_setuid_the_new_ids_count_and_sleeping_works(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id[2] = {sem_new(1, 0600), sem_new(1, 0666)};
	pid_t pid = child_start(lose_rights_then_sleep, id);

	assert_true(AWAIT(sem_ncnt(id[1], 0) == 1));
	assert_int_equal(SEMOP(id[1], {0, 1, 0}), 0);
	assert_int_equal(child_wait(pid), 0);
	assert_values(id[0], 1);
}

static void a_set_outlives_its_creator(void **state)
{
	(void)state;
	key_t key = sem_free_key();

	assert_int_equal(child_run(call_get, &(struct get_call){key, 3, IPC_CREAT | 0600}), 0);
	int id = semget(key, 3, 0600);
	assert_true(id >= 0);
	assert_int_equal(SEMOP(id, {2, 5, 0}), 0);
	assert_int_equal(CHILD_SEMOP(id, {2, -2, 0}), 0);
	assert_values(id, 0, 0, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(a_killed_sleeper_leaves_no_trace),
		CONFORM_TEST(sleepers_end_by_any_signal_and_leave_no_trace),
		CONFORM_TEST(the_others_keep_their_turn_when_one_is_killed),
		CONFORM_TEST(a_unit_given_after_the_wait_for_a_killed_sleeper_is_not_lost),
		CONFORM_TEST(many_sleepers_killed_at_once_leave_no_trace),
		CONFORM_TEST(SIGKILL_at_any_moment_leaves_a_working_set),
		CONFORM_TEST(SIGKILL_while_making_and_removing_leaves_all_or_nothing),
		CONFORM_TEST(a_handler_interrupts_a_sleeper_whatever_SA_RESTART_says),
		CONFORM_TEST(an_interrupted_sleeper_is_passed_over),
		CONFORM_TEST(a_signal_that_is_ignored_or_blocked_does_not_interrupt),
		CONFORM_TEST(a_signal_while_it_need_not_sleep_interrupts_nothing),
		CONFORM_TEST(a_sleeper_that_is_stopped_and_continued_loses_no_unit),
		CONFORM_TEST(a_handler_may_post_to_what_it_interrupted_and_it_is_EINTR_still),
		CONFORM_TEST(a_handler_may_jump_out_of_a_sleeping_call),
		CONFORM_TEST(a_handler_may_sleep_in_the_same_set),
		CONFORM_TEST(a_handler_that_uses_the_set_at_any_moment_loses_nothing),
		CONFORM_TEST(a_handler_that_jumps_out_at_any_moment_leaves_all_or_nothing),
		CONFORM_TEST(removal_wakes_every_sleeper_with_EIDRM),
		CONFORM_TEST(removal_while_a_hundred_sleep),
		CONFORM_TEST(the_key_can_be_made_anew_before_the_sleepers_have_left),
		CONFORM_TEST(another_process_removes_under_a_sleeper),
		CONFORM_TEST(of_racing_removers_exactly_one_wins),
		CONFORM_TEST(removal_while_others_work_ends_each_with_EINVAL_or_EIDRM),
		CONFORM_TEST(a_fork_while_a_thread_sleeps_does_not_copy_the_sleeper),
		CONFORM_TEST(an_end_or_exec_takes_its_sleeping_threads_along),
		CONFORM_TEST(after_exec_of_another_program_the_sleeping_thread_is_gone),
		CONFORM_TEST(a_sleeping_thread_outlives_the_main_thread),
		CONFORM_TEST(a_signal_interrupts_its_thread_alone),
		CONFORM_TEST(an_asynchronous_cancel_ends_a_sleep),
		CONFORM_TEST(four_threads_make_use_and_remove),
		CONFORM_TEST(threads_use_one_set_while_another_forks),
		CONFORM_TEST(a_vfork_child_may_wake_a_sleeper),
		CONFORM_TEST(a_program_that_closes_all_descriptors_goes_on_and_is_undone),
		CONFORM_TEST(a_program_that_closed_all_descriptors_is_undone_when_killed),
		CONFORM_TEST(after_setuid_the_new_ids_count_and_sleeping_works),
		CONFORM_TEST(a_set_outlives_its_creator),
	};
	return SEM_RUN(tests);
}
