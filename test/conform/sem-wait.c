/* Sleeping in semop(): who goes on when, in which order, what the counts say, and time-outs. */
#include "conform-sem.h"

#include <pthread.h>

/* What holds when a sleeper's operation was done: it returns 0. */
#define assert_done(pid)   assert_int_equal(child_wait(pid), 0)
#define assert_sleeps(pid) assert_true(child_lives(pid))

/* Counts of those that wait for a larger value, and for zero, a pair a semaphore. */
#define assert_counts(id, ...) \
	assert_true(           \
		counts_are(id, sizeof((int[]){__VA_ARGS__}) / sizeof(int), (int[]){__VA_ARGS__}))

static bool counts_are(int id, size_t n, const int *want)
{
	bool same = true;

	for (size_t i = 0; i < n; i++) {
		int semnum = (int)i / 2;
		int got = i % 2 ? sem_zcnt(id, semnum) : sem_ncnt(id, semnum);
		if (got != want[i])
			print_error("semaphore %d: %s %d, want %d\n", semnum,
				    i % 2 ? "GETZCNT" : "GETNCNT", got, want[i]);
		same = same && got == want[i];
	}
	return same;
}

/* --- one sleeper --- */

static void a_sleeper_goes_on_when_the_value_suffices(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	pid_t pid = SLEEP(id, {0, -2, 0});

	assert_counts(id, 1, 0, 0, 0);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_values(id, 1, 0);
	assert_counts(id, 1, 0, 0, 0);
	assert_int_equal(SEMOP(id, {1, 5, 0}), 0); /* not its semaphore */
	assert_counts(id, 1, 0, 0, 0);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(pid);
	assert_values(id, 0, 5);
}

static void a_sleepers_operation_is_done_before_the_wakers_call_returns(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	for (int i = 0; i < 50; i++) {
		pid_t pid = SLEEP(id, {0, -1, 0});
		assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
		assert_values(id, 0);
		assert_int_equal(sem_sleepers(id), 0);
		assert_int_equal(sem_pid(id, 0), pid);
		assert_done(pid);
	}
}

static void a_wait_for_zero_goes_on_at_zero(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(sem_set(id, 0, 2), 0);
	pid_t pid = SLEEP(id, {0, 0, 0});
	assert_counts(id, 0, 1);
	assert_int_equal(SEMOP(id, {0, -1, 0}), 0);
	assert_int_equal(SEMOP(id, {0, 3, 0}), 0);
	assert_counts(id, 0, 1);
	assert_int_equal(SEMOP(id, {0, -4, 0}), 0);
	assert_counts(id, 0, 0);
	assert_int_equal(sem_pid(id, 0), pid);
	assert_done(pid);
	assert_values(id, 0);
}

static void an_array_goes_on_when_all_of_it_can(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);

	assert_int_equal(SETALL_TO(id, 0, 0, 1), 0);
	pid_t pid = SLEEP(id, {0, -1, 0}, {1, -2, 0}, {2, 0, 0});
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(SEMOP(id, {1, 2, 0}), 0);
	assert_sleeps(pid);
	assert_values(id, 1, 2, 1); /* nothing is taken in part */
	assert_int_equal(SEMOP(id, {2, -1, 0}), 0);
	assert_values(id, 0, 0, 0);
	assert_done(pid);
}

static void one_call_may_give_all_that_an_array_needs(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);
	pid_t pid = SLEEP(id, {0, -1, 0}, {1, -2, 0}, {2, -3, 0});

	assert_int_equal(SEMOP(id, {2, 3, 0}, {1, 2, 0}, {0, 1, 0}), 0);
	assert_values(id, 0, 0, 0);
	assert_done(pid);
}

static void the_array_is_read_once(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	struct sembuf *ops = shared_new(page_size());
	struct ops_call call = {id, ops, 1, NULL};

	ops[0] = (struct sembuf){0, -1, 0};
	pid_t pid = sleeper_start(&call);
	ops[0] = (struct sembuf){1, 7, 0};
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(pid);
	assert_values(id, 0, 0);
	munmap(ops, page_size());
}

static void NOWAIT_counts_on_the_operation_that_blocks(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	pid_t pid = SLEEP(id, {0, -1, 0}, {1, -1, IPC_NOWAIT});
	assert_int_equal(SEMOP(id, {1, -1, IPC_NOWAIT}, {0, -1, 0}), EAGAIN);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(child_wait(pid), EAGAIN); /* woken, and now the other blocks */
	assert_values(id, 1, 0);
	assert_counts(id, 0, 0, 0, 0);
}

static void a_sleeper_that_comes_to_ERANGE_is_woken_with_it(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(sem_set(id, 1, SEMVMX_HERE), 0);
	pid_t pid = SLEEP(id, {0, -1, 0}, {1, 1, 0});
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(child_wait(pid), ERANGE);
	assert_values(id, 1, SEMVMX_HERE);
	assert_int_equal(sem_pid(id, 0), getpid());
}

static void a_sleeper_is_woken_with_ERANGE_though_its_blocking_operation_still_blocks(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	pid_t pid = SLEEP(id, {1, 1, 0}, {0, -1, 0});

	assert_int_equal(SEMOP(id, {1, SEMVMX_HERE, 0}), 0);
	assert_int_equal(child_wait(pid), ERANGE);
	assert_values(id, 0, SEMVMX_HERE);
	assert_counts(id, 0, 0, 0, 0);
}

static void the_next_goes_on_when_one_is_woken_with_an_error(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(sem_set(id, 1, SEMVMX_HERE), 0);
	pid_t a = SLEEP(id, {0, -1, 0}, {1, 1, 0}), b = SLEEP(id, {0, -1, 0});
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(child_wait(a), ERANGE);
	assert_done(b);
	assert_values(id, 0, SEMVMX_HERE);
}

/* --- order --- */

static void sleepers_go_on_first_in_first_out(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t pid[5];

	for (int i = 0; i < 5; i++)
		pid[i] = SLEEP(id, {0, -1, 0});
	for (int i = 0; i < 5; i++) {
		assert_counts(id, 5 - i, 0);
		assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
		assert_int_equal(sem_pid(id, 0), pid[i]);
		assert_done(pid[i]);
	}
}

static void of_several_that_go_at_once_the_last_is_last(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t pid[4];

	for (int i = 0; i < 4; i++)
		pid[i] = SLEEP(id, {0, -1, 0});
	assert_int_equal(SEMOP(id, {0, 3, 0}), 0);
	assert_int_equal(sem_pid(id, 0), pid[2]);
	for (int i = 0; i < 3; i++)
		assert_done(pid[i]);
	assert_sleeps(pid[3]);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(pid[3]);
}

static void a_small_operation_overtakes_a_large_one(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t large = SLEEP(id, {0, -3, 0}), small = SLEEP(id, {0, -1, 0});

	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(small);
	assert_sleeps(large);
	assert_int_equal(SEMOP(id, {0, 2, 0}), 0);
	assert_int_equal(SEMOP(id, {0, -2, IPC_NOWAIT}), 0); /* nor do sleepers stop a new call */
	assert_sleeps(large);
	assert_int_equal(SEMOP(id, {0, 3, 0}), 0);
	assert_done(large);
	assert_values(id, 0);
}

static void a_large_operation_that_came_first_goes_first(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t large = SLEEP(id, {0, -3, 0}), small = SLEEP(id, {0, -1, 0});

	assert_int_equal(SEMOP(id, {0, 3, 0}), 0);
	assert_done(large);
	assert_sleeps(small);
	assert_values(id, 0);
	assert_int_equal(child_kill(small), 1000 + SIGKILL);
}

static void what_a_large_one_leaves_goes_to_the_next_in_turn(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t a = SLEEP(id, {0, -4, 0}), b = SLEEP(id, {0, -2, 0}), c = SLEEP(id, {0, -3, 0}),
	      d = SLEEP(id, {0, -1, 0});

	assert_int_equal(SEMOP(id, {0, 3, 0}), 0); /* a can't; b and d take it all; c can't */
	assert_done(b);
	assert_done(d);
	assert_sleeps(a);
	assert_sleeps(c);
	assert_values(id, 0);
	assert_int_equal(SEMOP(id, {0, 7, 0}), 0);
	assert_done(a);
	assert_done(c);
	assert_values(id, 0);
}

static void arrays_and_single_operations_share_one_order(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(sem_set(id, 1, 1), 0);
	pid_t one = SLEEP(id, {0, -1, 0}), array = SLEEP(id, {0, -1, 0}, {1, -1, 0}),
	      three = SLEEP(id, {0, -1, 0});
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(one);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(array);
	assert_sleeps(three);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(three);
	assert_values(id, 0, 0);
}

static void single_operations_pass_an_array_that_cannot_go(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	pid_t array = SLEEP(id, {0, -1, 0}, {1, -1, 0}), one = SLEEP(id, {0, -1, 0}),
	      other = SLEEP(id, {1, -1, 0});

	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(one);
	assert_int_equal(SEMOP(id, {1, 1, 0}), 0);
	assert_done(other);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(SEMOP(id, {1, 1, 0}), 0);
	assert_done(array);
	assert_values(id, 0, 0);
}

static void the_order_outlasts_an_array_that_gives_up(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	pid_t a = SLEEP(id, {0, -1, 0}), b = SLEEP(id, {0, -1, 0}),
	      array = SLEEP(id, {0, -1, 0}, {1, -1, 0}), c = SLEEP(id, {0, -1, 0}),
	      other = SLEEP(id, {1, -1, 0});

	assert_int_equal(child_kill(array), 1000 + SIGKILL);
	pid_t d = SLEEP(id, {0, -1, 0}), in_turn[] = {a, b, c, d};
	for (int i = 0; i < 4; i++) {
		assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
		assert_int_equal(sem_pid(id, 0), in_turn[i]);
		assert_done(in_turn[i]);
	}
	assert_sleeps(other);
	assert_int_equal(SEMOP(id, {1, 1, 0}), 0);
	assert_done(other);
}

static void a_woken_array_wakes_the_next(void **state)
{
	(void)state;
	int id = sem_new(4, 0600);
	pid_t third = SLEEP(id, {2, -1, 0}), second = SLEEP(id, {1, -1, 0}, {2, 1, 0}),
	      first = SLEEP(id, {0, -1, 0}, {1, 1, 0}), fourth = SLEEP(id, {1, -5, 0});

	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_values(id, 0, 0, 0);
	assert_int_equal(sem_pid(id, 0), first);
	assert_int_equal(sem_pid(id, 1), second);
	assert_int_equal(sem_pid(id, 2), third);
	assert_done(first);
	assert_done(second);
	assert_done(third);
	assert_sleeps(fourth);
	assert_int_equal(child_kill(fourth), 1000 + SIGKILL);
}

static void a_long_chain_of_wakings_is_done_in_one_call(void **state)
{
	(void)state;
	enum {
		N = 12
	};
	int id = sem_new(N + 1, 0600);
	pid_t pid[N];

	for (int i = N - 1; i >= 0; i--) /* the last of the chain sleeps first */
		pid[i] = SLEEP(id, {(unsigned short)i, -1, 0}, {(unsigned short)(i + 1), 1, 0});
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(sem_val(id, N), 1);
	assert_int_equal(sem_sleepers(id), 0);
	for (int i = 0; i < N; i++)
		assert_done(pid[i]);
}

static void what_a_woken_array_gives_goes_to_who_slept_first(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	pid_t before = SLEEP(id, {1, -1, 0}), giver = SLEEP(id, {0, -1, 0}, {1, 1, 0}),
	      after = SLEEP(id, {1, -1, 0});

	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(giver);
	assert_done(before);
	assert_sleeps(after);
	assert_int_equal(child_kill(after), 1000 + SIGKILL);
}

static void a_chain_looks_at_the_oldest_first_at_each_step(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);
	pid_t old = SLEEP(id, {1, -1, 0}, {2, -1, 0}),
	      giver = SLEEP(id, {0, -1, 0}, {1, 1, 0}, {2, 1, 0}), new = SLEEP(id, {2, -1, 0});

	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(giver);
	assert_done(old);
	assert_sleeps(new);
	assert_int_equal(child_kill(new), 1000 + SIGKILL);
}

static void a_hundred_sleepers_all_go(void **state)
{
	(void)state;
	enum {
		N = 100
	};
	int id = sem_new(1, 0600);
	struct ops_call *call = CALL_OPS(id, {0, -1, 0});
	pid_t pid[N];

	for (int i = 0; i < N; i++)
		pid[i] = child_start(call_ops, call);
	assert_true(AWAIT(sem_ncnt(id, 0) == N));
	assert_int_equal(SEMOP(id, {0, N, 0}), 0);
	assert_counts(id, 0, 0);
	assert_values(id, 0);
	for (int i = 0; i < N; i++)
		assert_done(pid[i]);
}

/* --- waits for zero beside others --- */

static void all_that_wait_for_zero_go_at_once(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t pid[3];

	assert_int_equal(sem_set(id, 0, 1), 0);
	for (int i = 0; i < 3; i++)
		pid[i] = SLEEP(id, {0, 0, 0});
	assert_counts(id, 0, 3);
	assert_int_equal(SEMOP(id, {0, -1, 0}), 0);
	assert_counts(id, 0, 0);
	assert_int_equal(sem_pid(id, 0), pid[2]);
	for (int i = 0; i < 3; i++)
		assert_done(pid[i]);
}

static void at_zero_waits_for_zero_go_before_those_that_alter_it(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(sem_set(id, 0, 1), 0);
	pid_t alter = SLEEP(id, {0, 0, 0}, {0, 1, 0}), zero = SLEEP(id, {0, 0, 0});
	assert_int_equal(SEMOP(id, {0, -1, 0}), 0);
	assert_done(zero); /* although `alter` came first, and would have raised it again */
	assert_done(alter);
	assert_values(id, 1);
	assert_int_equal(sem_pid(id, 0), alter);
}

static void a_wait_for_zero_sees_the_zero_that_a_woken_one_leaves(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(sem_set(id, 0, 1), 0);
	pid_t zero = SLEEP(id, {0, 0, 0}), taker = SLEEP(id, {0, -2, 0});
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(taker);
	assert_done(zero);
	assert_values(id, 0);
}

static void a_wait_for_zero_sees_a_zero_between_two_woken_ones(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(sem_set(id, 0, 1), 0);
	pid_t down = SLEEP(id, {0, -1, 0}, {1, -1, 0}), up = SLEEP(id, {0, 5, 0}, {1, -1, 0}),
	      zero = SLEEP(id, {0, 0, 0});
	assert_int_equal(SEMOP(id, {1, 2, 0}), 0);
	assert_done(down);
	assert_done(up);
	assert_values(id, 5, 0);
	assert_done(zero);
}

static void a_zero_inside_one_array_is_seen_by_nobody(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);

	assert_int_equal(sem_set(id, 0, 1), 0);
	pid_t zero = SLEEP(id, {0, 0, 0});
	assert_int_equal(SEMOP(id, {0, -1, 0}, {0, 1, 0}), 0);
	assert_sleeps(zero);
	assert_counts(id, 0, 1);
	assert_int_equal(child_kill(zero), 1000 + SIGKILL);
}

static void a_value_inside_one_array_is_seen_by_nobody(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t taker = SLEEP(id, {0, -1, 0});

	assert_int_equal(SEMOP(id, {0, 1, 0}, {0, -1, 0}), 0);
	assert_sleeps(taker);
	assert_counts(id, 1, 0);
	assert_int_equal(child_kill(taker), 1000 + SIGKILL);
}

static void an_array_of_waits_for_zero_needs_all_at_once(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(SETALL_TO(id, 1, 1), 0);
	pid_t pid = SLEEP(id, {0, 0, 0}, {1, 0, 0});
	assert_int_equal(SEMOP(id, {0, -1, 0}), 0);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_int_equal(SEMOP(id, {1, -1, 0}), 0);
	assert_sleeps(pid);
	assert_int_equal(SEMOP(id, {0, -1, 0}), 0);
	assert_done(pid);
}

static void a_barrier_of_zero_lets_all_through(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t pid[4];

	assert_int_equal(sem_set(id, 0, 4), 0);
	for (int i = 0; i < 3; i++)
		pid[i] = child_start(call_ops, CALL_OPS(id, {0, -1, 0}));
	for (int i = 0; i < 3; i++)
		assert_done(pid[i]);
	pid[3] = SLEEP(id, {0, 0, 0});
	assert_int_equal(SEMOP(id, {0, -1, 0}), 0);
	assert_done(pid[3]);
}

/* --- the counts --- */

static void an_array_is_counted_at_its_first_operation_that_blocks(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);

	assert_int_equal(sem_set(id, 2, 1), 0);
	pid_t pid = SLEEP(id, {0, -1, 0}, {2, 0, 0}, {1, -1, 0});
	assert_counts(id, 1, 0, 0, 0, 0, 0);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_counts(id, 0, 0, 0, 0, 0, 1);
	assert_int_equal(SEMOP(id, {2, -1, 0}), 0);
	assert_counts(id, 0, 0, 1, 0, 0, 0);
	assert_int_equal(SEMOP(id, {1, 1, 0}), 0);
	assert_done(pid);
	assert_counts(id, 0, 0, 0, 0, 0, 0);
}

static void an_array_that_alters_is_counted_anew_when_a_value_falls(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(sem_set(id, 0, 1), 0);
	pid_t pid = SLEEP(id, {0, -1, 0}, {1, -1, 0});
	assert_counts(id, 0, 0, 1, 0);
	assert_int_equal(SEMOP(id, {0, -1, 0}), 0);
	assert_counts(id, 1, 0, 0, 0);
	assert_int_equal(sem_set(id, 0, 1), 0);
	assert_counts(id, 0, 0, 1, 0);
	assert_int_equal(sem_set(id, 0, 0), 0);
	assert_counts(id, 1, 0, 0, 0);
	assert_int_equal(child_kill(pid), 1000 + SIGKILL);
}

static void an_array_of_waits_for_zero_is_counted_anew_when_a_value_comes_to_zero(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(sem_set(id, 1, 1), 0);
	pid_t pid = SLEEP(id, {0, 0, 0}, {1, 0, 0});
	assert_counts(id, 0, 0, 0, 1);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_counts(id, 0, 0, 0, 1); /* although the first of it blocks now */
	assert_int_equal(SEMOP(id, {1, -1, 0}), 0);
	assert_counts(id, 0, 1, 0, 0);
	assert_int_equal(SEMOP(id, {1, 1, 0}), 0);
	assert_counts(id, 0, 1, 0, 0);
	assert_int_equal(SEMOP(id, {0, -1, 0}), 0);
	assert_counts(id, 0, 0, 0, 1);
	assert_int_equal(child_kill(pid), 1000 + SIGKILL);
}

static void one_semaphore_twice_in_an_array_counts_once(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t a = SLEEP(id, {0, 1, 0}, {0, -2, 0}), b = SLEEP(id, {0, 1, 0}, {0, 0, 0});

	assert_counts(id, 1, 1);
	assert_values(id, 0);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(a);
	assert_values(id, 0);
	assert_counts(id, 0, 1);
	assert_int_equal(child_kill(b), 1000 + SIGKILL);
}

static void *thread_take(void *arg)
{
	return (void *)(intptr_t)SEMOP(*(int *)arg, {0, -1, 0});
}

static void each_thread_that_sleeps_counts(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pthread_t thread[3];
	void *rc;

	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, thread_take, &id), 0);
	assert_true(AWAIT(sem_ncnt(id, 0) == 3));
	assert_int_equal(SEMOP(id, {0, 3, 0}), 0);
	assert_counts(id, 0, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(thread[i], &rc), 0);
		assert_ptr_equal(rc, NULL);
	}
	assert_int_equal(sem_pid(id, 0), getpid());
}

/* --- SETVAL, SETALL, IPC_SET and sleepers --- */

static void setval_wakes_in_turn(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t a = SLEEP(id, {0, -1, 0}), b = SLEEP(id, {0, -1, 0}), c = SLEEP(id, {0, -1, 0});

	assert_int_equal(sem_set(id, 0, 2), 0);
	assert_values(id, 0);
	assert_int_equal(sem_pid(id, 0), b);
	assert_done(a);
	assert_done(b);
	assert_sleeps(c);
	assert_int_equal(child_kill(c), 1000 + SIGKILL);
}

static void setval_to_zero_wakes_waits_for_zero(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);

	assert_int_equal(SETALL_TO(id, 3, 3), 0);
	pid_t zero = SLEEP(id, {0, 0, 0}), other = SLEEP(id, {1, 0, 0});
	assert_int_equal(sem_set(id, 0, 1), 0);
	assert_counts(id, 0, 1, 0, 1);
	assert_int_equal(sem_set(id, 0, 0), 0);
	assert_counts(id, 0, 0, 0, 1);
	assert_done(zero);
	assert_int_equal(sem_pid(id, 0), zero);
	assert_int_equal(child_kill(other), 1000 + SIGKILL);
}

static void setall_wakes_arrays_and_single_operations(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);

	assert_int_equal(SETALL_TO(id, 0, 0, 1), 0);
	pid_t array = SLEEP(id, {0, -1, 0}, {1, -1, 0}), one = SLEEP(id, {0, -1, 0}),
	      zero = SLEEP(id, {2, 0, 0});
	assert_int_equal(SETALL_TO(id, 2, 1, 0), 0);
	assert_done(array);
	assert_done(one);
	assert_done(zero);
	assert_values(id, 0, 0, 0);
	assert_int_equal(sem_pid(id, 0), one);
	assert_int_equal(sem_pid(id, 1), array);
	assert_int_equal(sem_pid(id, 2), zero);
}

static void setting_sets_otime_only_if_a_sleeper_goes_on(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	pid_t a = SLEEP(id, {0, -2, 0});

	assert_int_equal(sem_set(id, 0, 1), 0);
	assert_int_equal(SETALL_TO(id, 1, 1), 0);
	assert_int_equal(sem_otime(id), 0);
	assert_int_equal(sem_set(id, 0, 2), 0);
	assert_done(a);
	assert_true(sem_otime(id) >= sem_stat(id).sem_ctime - 1 && sem_otime(id) > 0);
	int other = sem_new(2, 0600);
	pid_t b = SLEEP(other, {0, -1, 0}, {1, -1, 0});
	assert_int_equal(SETALL_TO(other, 1, 1), 0);
	assert_done(b);
	assert_true(sem_otime(other) > 0);
}

static void a_mode_change_neither_wakes_nor_refuses_a_sleeper(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = sem_new(1, 0606);
	struct semid_ds ds = sem_stat(id);

	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		child_guard();
		child_drop();
		_exit(SEMOP(id, {0, -1, 0}));
	}
	assert_true(AWAIT(sem_ncnt(id, 0) == 1));
	ds.sem_perm.mode = 0600;
	assert_int_equal(ERR(semctl(id, 0, IPC_SET, ARG_P(&ds))), 0);
	assert_counts(id, 1, 0);
	assert_sleeps(pid);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(pid);
	assert_values(id, 0);
}

/* --- times and pids --- */

static void an_operation_done_for_a_sleeper_sets_otime_then(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	pid_t pid = SLEEP(id, {0, -1, 0});

	assert_int_equal(sem_otime(id), 0); /* going to sleep is no operation */
	next_second();
	time_t before = coarse_now();
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(pid);
	assert_between(before, sem_otime(id), time(NULL));
}

static void a_sleeper_sets_sempid_only_when_it_goes_on(void **state)
{
	(void)state;
	int id = sem_new(3, 0600);
	pid_t pid = SLEEP(id, {0, -1, 0}, {1, 0, 0}, {2, 1, 0});

	for (int i = 0; i < 3; i++)
		assert_int_equal(sem_pid(id, i), 0);
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(sem_pid(id, i), pid);
	assert_done(pid);
}

/* --- time-outs --- */

static void after_the_timeout_it_is_EAGAIN_and_nothing_is_left(void **state)
{
	(void)state;
	int id = sem_new(2, 0600);
	struct timespec timeout = {0, 60000000};
	int64_t start = now_ms();

	assert_int_equal(ERR(semtimedop(id, OPS({0, -1, 0}), &timeout)), EAGAIN);
	assert_true(now_ms() - start >= 59);
	assert_int_equal(ERR(semtimedop(id, OPS({0, 1, 0}, {1, -1, 0}), &timeout)), EAGAIN);
	assert_int_equal(sem_set(id, 0, 1), 0);
	assert_int_equal(ERR(semtimedop(id, OPS({0, 0, 0}), &timeout)), EAGAIN);
	assert_true(now_ms() - start >= 178);
	assert_true(now_ms() - start < 20000);
	assert_int_equal(timeout.tv_nsec, 60000000);
	assert_values(id, 1, 0);
	assert_counts(id, 0, 0, 0, 0);
	assert_int_equal(sem_otime(id), 0);
	assert_int_equal(SEMOP(id, {0, 2, 0}), 0);
	assert_values(id, 3, 0);
}

static void a_timed_sleeper_goes_on_before_its_time(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	static const time_t sec[] = {25,
				     INT32_MAX,
				     (time_t)1 << 40,
				     INT64_MAX / 1000000000,
				     INT64_MAX / 1000000000 + 1,
				     INT64_MAX};

	for (size_t i = 0; i < sizeof(sec) / sizeof(*sec); i++) {
		struct timespec timeout = {sec[i], 999999999};
		struct ops_call call = {id, OPS({0, -1, 0}), &timeout};
		pid_t pid = sleeper_start(&call);
		assert_true(pid > 0);
		assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
		assert_done(pid);
	}
	assert_values(id, 0);
}

static void the_deadline_stays_while_the_set_is_in_use(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct timespec timeout = {0, 200000000};
	struct ops_call call = {id, OPS({0, -5, 0}), &timeout};
	pid_t pid = child_start(call_ops, &call);
	int64_t start = now_ms();

	while (child_lives(pid) && now_ms() - start < 15000) {
		assert_int_equal(SEMOP(id, {0, 4, 0}), 0);
		assert_int_equal(SEMOP(id, {0, -4, 0}), 0);
	}
	assert_int_equal(child_wait(pid), EAGAIN);
}

static void the_timed_out_is_passed_over(void **state)
{
	(void)state;
	int id = sem_new(1, 0600);
	struct timespec timeout = {0, 300000000};
	struct ops_call call = {id, OPS({0, -1, 0}), &timeout};
	pid_t first = child_start(call_ops, &call);
	pid_t second = child_start(call_ops, CALL_OPS(id, {0, -1, 0}));

	assert_int_equal(child_wait(first), EAGAIN);
	assert_true(AWAIT(sem_ncnt(id, 0) == 1));
	assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
	assert_done(second);
	assert_values(id, 0);
}

/* A waker and timed sleepers race: each unit is either taken or left, never both or neither. */
static int take_or_time_out(void *arg)
{
	int *id = arg, taken = 0;
	struct timespec timeout = {0, 200000};

	for (int i = 0; i < 200; i++) {
		int rc = ERR(semtimedop(*id, OPS({0, -1, 0}), &timeout));
		NEED(rc == 0 || rc == EAGAIN);
		taken += rc == 0;
	}
	return SEMOP(*id, {1, (short)taken, 0});
}

static void no_unit_is_lost_when_a_timeout_and_a_waker_race(void **state)
{
	(void)state;
	int id = sem_new(2, 0600), given = 0;
	pid_t a = child_start(take_or_time_out, &id), b = child_start(take_or_time_out, &id);

	while ((child_lives(a) || child_lives(b)) && given < 30000) {
		assert_int_equal(SEMOP(id, {0, 1, 0}), 0);
		given++;
		usleep(150);
	}
	assert_done(a);
	assert_done(b);
	assert_int_equal(sem_val(id, 0) + sem_val(id, 1), given);
}

/* --- several at work --- */

struct pair {
	int id, rounds;
};

static int pong(void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < p->rounds; i++) {
		NEED(SEMOP(p->id, {0, -1, 0}) == 0);
		NEED(SEMOP(p->id, {1, 1, 0}) == 0);
	}
	return 0;
}

static void two_processes_take_turns(void **state)
{
	(void)state;
	struct pair p = {sem_new(2, 0600), 2000};
	pid_t pid = child_start(pong, &p);

	for (int i = 0; i < p.rounds; i++) {
		assert_int_equal(SEMOP(p.id, {0, 1, 0}), 0);
		assert_int_equal(SEMOP(p.id, {1, -1, 0}), 0);
	}
	assert_done(pid);
	assert_values(p.id, 0, 0);
}

struct philosopher {
	int id;
	unsigned short seat;
};

static int eat(void *arg)
{
	struct philosopher *p = arg;
	unsigned short left = p->seat, right = (unsigned short)((p->seat + 1) % 5);

	for (int i = 0; i < 300; i++) {
		NEED(SEMOP(p->id, {left, -1, SEM_UNDO}, {right, -1, SEM_UNDO}) == 0);
		NEED(sem_val(p->id, left) == 0 && sem_val(p->id, right) == 0);
		NEED(SEMOP(p->id, {left, 1, SEM_UNDO}, {right, 1, SEM_UNDO}) == 0);
	}
	return 0;
}

static void philosophers_with_arrays_do_not_deadlock(void **state)
{
	(void)state;
	int id = sem_new(5, 0600);
	pid_t pid[5];

	assert_int_equal(SETALL_TO(id, 1, 1, 1, 1, 1), 0);
	for (unsigned short i = 0; i < 5; i++)
		pid[i] = child_start(eat, &(struct philosopher){id, i});
	for (int i = 0; i < 5; i++)
		assert_done(pid[i]);
	assert_values(id, 1, 1, 1, 1, 1);
	assert_int_equal(sem_sleepers(id), 0);
}

static int produce(void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < p->rounds; i++)
		NEED(SEMOP(p->id, {0, -1, 0}, {1, 1, 0}) == 0);
	return 0;
}

static int consume(void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < p->rounds; i++)
		NEED(SEMOP(p->id, {1, -1, 0}, {0, 1, 0}) == 0);
	return 0;
}

static void producers_and_consumers_balance(void **state)
{
	(void)state;
	struct pair p = {sem_new(2, 0600), 500};
	pid_t pid[6];

	assert_int_equal(SETALL_TO(p.id, 4, 0), 0);
	for (int i = 0; i < 6; i++)
		pid[i] = child_start(i % 2 ? produce : consume, &p);
	for (int i = 0; i < 6; i++)
		assert_done(pid[i]);
	assert_values(p.id, 4, 0);
	assert_int_equal(sem_sleepers(p.id), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(a_sleeper_goes_on_when_the_value_suffices),
		CONFORM_TEST(a_sleepers_operation_is_done_before_the_wakers_call_returns),
		CONFORM_TEST(a_wait_for_zero_goes_on_at_zero),
		CONFORM_TEST(an_array_goes_on_when_all_of_it_can),
		CONFORM_TEST(one_call_may_give_all_that_an_array_needs),
		CONFORM_TEST(the_array_is_read_once),
		CONFORM_TEST(NOWAIT_counts_on_the_operation_that_blocks),
		CONFORM_TEST(a_sleeper_that_comes_to_ERANGE_is_woken_with_it),
		CONFORM_TEST(
			a_sleeper_is_woken_with_ERANGE_though_its_blocking_operation_still_blocks),
		CONFORM_TEST(the_next_goes_on_when_one_is_woken_with_an_error),
		CONFORM_TEST(sleepers_go_on_first_in_first_out),
		CONFORM_TEST(of_several_that_go_at_once_the_last_is_last),
		CONFORM_TEST(a_small_operation_overtakes_a_large_one),
		CONFORM_TEST(a_large_operation_that_came_first_goes_first),
		CONFORM_TEST(what_a_large_one_leaves_goes_to_the_next_in_turn),
		CONFORM_TEST(arrays_and_single_operations_share_one_order),
		CONFORM_TEST(single_operations_pass_an_array_that_cannot_go),
		CONFORM_TEST(the_order_outlasts_an_array_that_gives_up),
		CONFORM_TEST(a_woken_array_wakes_the_next),
		CONFORM_TEST(a_long_chain_of_wakings_is_done_in_one_call),
		CONFORM_TEST(what_a_woken_array_gives_goes_to_who_slept_first),
		CONFORM_TEST(a_chain_looks_at_the_oldest_first_at_each_step),
		CONFORM_TEST(a_hundred_sleepers_all_go),
		CONFORM_TEST(all_that_wait_for_zero_go_at_once),
		CONFORM_TEST(at_zero_waits_for_zero_go_before_those_that_alter_it),
		CONFORM_TEST(a_wait_for_zero_sees_the_zero_that_a_woken_one_leaves),
		CONFORM_TEST(a_wait_for_zero_sees_a_zero_between_two_woken_ones),
		CONFORM_TEST(a_zero_inside_one_array_is_seen_by_nobody),
		CONFORM_TEST(a_value_inside_one_array_is_seen_by_nobody),
		CONFORM_TEST(an_array_of_waits_for_zero_needs_all_at_once),
		CONFORM_TEST(a_barrier_of_zero_lets_all_through),
		CONFORM_TEST(an_array_is_counted_at_its_first_operation_that_blocks),
		CONFORM_TEST(an_array_that_alters_is_counted_anew_when_a_value_falls),
		CONFORM_TEST(an_array_of_waits_for_zero_is_counted_anew_when_a_value_comes_to_zero),
		CONFORM_TEST(one_semaphore_twice_in_an_array_counts_once),
		CONFORM_TEST(each_thread_that_sleeps_counts),
		CONFORM_TEST(setval_wakes_in_turn),
		CONFORM_TEST(setval_to_zero_wakes_waits_for_zero),
		CONFORM_TEST(setall_wakes_arrays_and_single_operations),
		CONFORM_TEST(setting_sets_otime_only_if_a_sleeper_goes_on),
		CONFORM_TEST(a_mode_change_neither_wakes_nor_refuses_a_sleeper),
		CONFORM_TEST(an_operation_done_for_a_sleeper_sets_otime_then),
		CONFORM_TEST(a_sleeper_sets_sempid_only_when_it_goes_on),
		CONFORM_TEST(after_the_timeout_it_is_EAGAIN_and_nothing_is_left),
		CONFORM_TEST(a_timed_sleeper_goes_on_before_its_time),
		CONFORM_TEST(the_deadline_stays_while_the_set_is_in_use),
		CONFORM_TEST(the_timed_out_is_passed_over),
		CONFORM_TEST(no_unit_is_lost_when_a_timeout_and_a_waker_race),
		CONFORM_TEST(two_processes_take_turns),
		CONFORM_TEST(philosophers_with_arrays_do_not_deadlock),
		CONFORM_TEST(producers_and_consumers_balance),
	};
	return SEM_RUN(tests);
}
