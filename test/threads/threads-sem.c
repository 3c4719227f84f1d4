/* threads-sem.c - threads of one process on semaphores: run it plain, and under ThreadSanitizer. */
#include "threads.h"

#include "vee/namespace.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	THREADS = 8,
	ROUNDS = 2000,
	CROWD = 300, /* more sleepers than a journal has entries */
	UNITS = 20
};

/* What the semaphores of the set stand for. */
enum {
	MUTEX, /* 1: free */
	OWED,  /* the same, taken with SEM_UNDO */
	TALLY, /* UNITS, moved about among these */
	TALLY_LAST = TALLY + 3,
	SCRATCH, /* anything */
	SEMS
};

static int id;
static int counter, owed_counter;    /* guarded by MUTEX and by OWED */
static atomic_int fleeting[THREADS]; /* ids of sets that come and go */

static int op(int set, unsigned short sem, short by, short flag)
{
	struct sembuf sop = {sem, by, flag};

	return vee_semop(set, &sop, 1);
}

static void make_set(void)
{
	unsigned short values[SEMS] = {[MUTEX] = 1, [OWED] = 1, [TALLY] = UNITS};

	id = vee_semget(0x7ead6, SEMS, IPC_CREAT | IPC_EXCL | 0600);
	assert_true(id >= 0);
	assert_int_equal(vee_semctl(id, 0, SETALL, values), 0);
	counter = owed_counter = 0;
}

static int value(int sem)
{
	return vee_semctl(id, sem, GETVAL);
}

static void *take_mutex(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		MUST(op(id, MUTEX, -1, 0) == 0);
		counter++;
		MUST(op(id, MUTEX, 1, 0) == 0);
	}
	return arg;
}

static void *take_owed(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		MUST(op(id, OWED, -1, SEM_UNDO) == 0);
		owed_counter++;
		MUST(op(id, OWED, 1, SEM_UNDO) == 0);
	}
	return arg;
}

/* Never more than there is, so nobody waits for ever. */
static void *move_units(void *arg)
{
	unsigned seed = (uintptr_t)arg + 1;

	for (int i = 0; i < ROUNDS; i++) {
		unsigned short from = TALLY + rand_r(&seed) % 4, to = TALLY + rand_r(&seed) % 4;
		short flag = rand_r(&seed) % 2 ? SEM_UNDO : 0;
		struct sembuf move[] = {{from, -1, flag}, {to, 1, flag}};
		struct timespec short_time = {0, 200000};

		MUST(vee_semtimedop(id, move, 2, &short_time) == 0 || errno == EAGAIN);
	}
	return arg;
}

static void *control(void *arg)
{
	unsigned seed = (uintptr_t)arg + 100;
	unsigned short values[SEMS];
	struct semid_ds ds;

	for (int i = 0; i < ROUNDS / 4; i++) {
		int sum = 0;

		MUST(vee_semctl(id, 0, GETALL, values) == 0);
		for (int j = TALLY; j <= TALLY_LAST; j++)
			sum += values[j];
		MUST(sum == UNITS);
		MUST(vee_semctl(id, 0, IPC_STAT, &ds) == 0 && ds.sem_nsems == SEMS);
		ds.sem_perm.mode = rand_r(&seed) % 2 ? 0600 : 0640;
		MUST(vee_semctl(id, 0, IPC_SET, &ds) == 0);
		MUST(vee_semctl(id, SCRATCH, SETVAL, rand_r(&seed) % 3) == 0);
		MUST(vee_semctl(id, MUTEX, GETNCNT) >= 0 && vee_semctl(id, OWED, GETZCNT) >= 0);
		MUST(vee_semget(0x7ead6, SEMS, 0) == id);
	}
	return arg;
}

static void *use_scratch(void *arg)
{
	unsigned seed = (uintptr_t)arg + 200;

	for (int i = 0; i < ROUNDS / 4; i++) {
		struct sembuf sop = {SCRATCH, (short)(rand_r(&seed) % 3) - 1, 0};
		struct timespec short_time = {0, 100000};

		MUST(vee_semtimedop(id, &sop, 1, &short_time) == 0 || errno == EAGAIN);
	}
	return arg;
}

static bool gone(void)
{
	return errno == EINVAL || errno == EIDRM;
}

static void *come_and_go(void *arg)
{
	for (int i = 0; i < ROUNDS / 4; i++) {
		int set = vee_semget(IPC_PRIVATE, 1 + i % 30, 0600);

		MUST(set >= 0);
		atomic_store(&fleeting[(uintptr_t)arg % THREADS], set);
		MUST(op(set, 0, 1, i % 3 ? 0 : SEM_UNDO) == 0);
		MUST(vee_semctl(set, 0, IPC_RMID) == 0);
		MUST(op(set, 0, 1, 0) == -1 && gone());
	}
	return arg;
}

/* On sets that may go at any moment. */
static void *visit(void *arg)
{
	unsigned seed = (uintptr_t)arg + 300;

	for (int i = 0; i < ROUNDS; i++) {
		int set = atomic_load(&fleeting[rand_r(&seed) % THREADS]);
		struct sembuf sop = {0, (short)(rand_r(&seed) % 5) - 3,
				     rand_r(&seed) % 4 ? 0 : SEM_UNDO};
		struct timespec short_time = {0, 100000};

		MUST(vee_semtimedop(set, &sop, 1, &short_time) == 0 || gone() || errno == EAGAIN);
		MUST(vee_semctl(set, 0, GETVAL) >= 0 || gone());
	}
	return arg;
}

static void *fork_often(void *arg)
{
	for (int i = 0; i < ROUNDS / 100; i++) {
		int status = -1;
		pid_t pid = fork();

		if (pid == 0)
			_exit(op(id, SCRATCH, 1, IPC_NOWAIT) != 0 || value(OWED) > 1);
		MUST(waitpid(pid, &status, 0) == pid && status == 0);
	}
	return arg;
}

static void enter(void)
{
	MUST(value(MUTEX) >= 0);
}

static void run(void *(*const work[])(void *), unsigned n)
{
	make_set();
	run_together(work, n, enter);
	assert_int_equal(value(MUTEX), 1);
	assert_int_equal(value(OWED), 1);
	for (int i = 0; i < SEMS; i++) {
		assert_int_equal(vee_semctl(id, i, GETNCNT), 0);
		assert_int_equal(vee_semctl(id, i, GETZCNT), 0);
	}
}

static void end(void)
{
	int sum = 0;

	for (int i = TALLY; i <= TALLY_LAST; i++)
		sum += value(i);
	assert_int_equal(sum, UNITS);
	assert_int_equal(vee_semctl(id, 0, IPC_RMID), 0);
}

static void a_semaphore_is_a_mutex(void **state)
{
	void *(*const work[])(void *) = {take_mutex, take_mutex, take_mutex, take_mutex,
					 take_mutex, take_mutex, take_mutex, take_mutex};

	(void)state;
	run(work, 8);
	assert_int_equal(counter, 8 * ROUNDS);
	end();
}

static void with_undo_too(void **state)
{
	void *(*const work[])(void *) = {take_owed,  take_owed,	 take_owed, take_owed,
					 take_mutex, take_mutex, take_owed, take_owed};

	(void)state;
	run(work, 8);
	assert_int_equal(counter, 2 * ROUNDS);
	assert_int_equal(owed_counter, 6 * ROUNDS);
	end();
}

static void all_at_once_lose_nothing(void **state)
{
	void *(*const work[])(void *) = {take_mutex, take_owed,	  move_units,  control,
					 move_units, come_and_go, come_and_go, visit,
					 take_mutex, take_owed,	  use_scratch, visit};

	(void)state;
	run(work, 12);
	assert_int_equal(counter, 2 * ROUNDS);
	assert_int_equal(owed_counter, 2 * ROUNDS);
	end();
}

static void nothing_is_lost_while_one_forks(void **state)
{
	void *(*const work[])(void *) = {take_mutex, take_owed,	  move_units, fork_often,
					 control,    come_and_go, visit,      take_mutex};

	(void)state;
	run(work, 8);
	assert_int_equal(counter, 2 * ROUNDS);
	assert_int_equal(owed_counter, ROUNDS);
	end();
}

static atomic_int went, removed;

static void *wait_in_crowd(void *arg)
{
	struct sembuf sops[] = {{0, -1, 0}, {1, -1, 0}, {0, 1, 0}};

	if (vee_semop(id, sops, 3) == 0)
		atomic_fetch_add(&went, 1);
	else if (errno == EIDRM)
		atomic_fetch_add(&removed, 1);
	else
		MUST(!"semop in the crowd");
	return arg;
}

static void await(int sem, int n)
{
	while (vee_semctl(id, sem, GETNCNT) != n)
		sched_yield();
}

/*
 * One call finds for all of them another obstacle, one serves half of them, one removes the rest.
 */
static void a_crowd_moves_from_one_obstacle_to_the_next(void **state)
{
	pthread_t thread[CROWD];
	pthread_attr_t attr;

	(void)state;
	id = vee_semget(IPC_PRIVATE, 2, 0600);
	assert_true(id >= 0);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&thread[i], &attr, wait_in_crowd, NULL), 0);
	await(0, CROWD);
	assert_int_equal(vee_semctl(id, 0, SETVAL, 1), 0);
	assert_int_equal(vee_semctl(id, 0, GETNCNT), 0);
	assert_int_equal(vee_semctl(id, 1, GETNCNT), CROWD);
	assert_int_equal(op(id, 0, -1, 0), 0);
	await(0, CROWD);
	assert_int_equal(op(id, 0, 1, 0), 0);
	await(1, CROWD);
	assert_int_equal(op(id, 1, CROWD / 2, 0), 0);
	assert_int_equal(vee_semctl(id, 1, GETNCNT), CROWD - CROWD / 2);
	assert_int_equal(vee_semctl(id, 1, GETVAL), 0);
	assert_int_equal(vee_semctl(id, 0, IPC_RMID), 0);
	for (int i = 0; i < CROWD; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(atomic_load(&went), CROWD / 2);
	assert_int_equal(atomic_load(&removed), CROWD - CROWD / 2);
	assert_int_equal(atomic_load(&wrong), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_semaphore_is_a_mutex),
		cmocka_unit_test(with_undo_too),
		cmocka_unit_test(all_at_once_lose_nothing),
		cmocka_unit_test(nothing_is_lost_while_one_forks),
		cmocka_unit_test(a_crowd_moves_from_one_obstacle_to_the_next),
	};

	alarm(200);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
