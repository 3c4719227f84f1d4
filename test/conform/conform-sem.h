/*
 * What the semaphore conformance tests share: sets that clean up, operations written as lists,
 * sleepers that are known to sleep, and calls to make elsewhere.
 *
 * How a test waits: sleeper_start() returns when the child is in the set's queue (GETNCNT, GETZCNT),
 * so sets that a test starts sleepers on must be quiet meanwhile. Nothing waits for a fixed time.
 */
#ifndef CONFORM_SEM_H
#define CONFORM_SEM_H

#include "conform-wait.h"

#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif

#define SEMVMX_HERE 32767

union sem_arg {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
	void *p;
};

#define ARG_VAL(v) ((union sem_arg){.p = (void *)(intptr_t)(v)})
#define ARG_P(x)   ((union sem_arg){.p = (void *)(x)})

/* A list of operations as two arguments: the array and its length. */
#define OPS(...)                          \
	((struct sembuf[]){__VA_ARGS__}), \
		(sizeof((struct sembuf[]){__VA_ARGS__}) / sizeof(struct sembuf))

/* The errno of semop() with these operations: SEMOP(id, {0, -1, 0}, {1, 1, SEM_UNDO}). */
#define SEMOP(id, ...) ERR(sem_do(id, OPS(__VA_ARGS__)))

#define SEM_RUN(tests) CONFORM_RUN_ALONE(tests)

/* --- sets --- */

/* semget() whose result is removed after the test. */
static inline int sem_get(key_t key, int nsems, int flags)
{
	return conform_keep(CONFORM_SEM, semget(key, nsems, flags));
}

/* A new private set. */
static inline int sem_new(int nsems, int mode)
{
	return sem_get(IPC_PRIVATE, nsems, mode);
}

/* How many semaphores a set may have here, `most` at most. */
static inline int sem_many(int most)
{
	struct seminfo info;

	return semctl(0, 0, IPC_INFO, ARG_P(&info)) >= 0 && info.semmsl < most ? info.semmsl : most;
}

/* A key that has no set now. */
static inline key_t sem_free_key(void)
{
	static unsigned int n;
	key_t key;

	do {
		key = (key_t)(0x56530000u + (unsigned int)getpid() * 64 + n++);
	} while (key == IPC_PRIVATE || semget(key, 0, 0) != -1);
	return key;
}

static inline int sem_remove(int id)
{
	return ERR(semctl(id, 0, IPC_RMID));
}

static inline bool sem_gone(int id)
{
	return semctl(id, 0, GETVAL) == -1 && errno == EINVAL;
}

static inline int sem_val(int id, int n)
{
	return semctl(id, n, GETVAL);
}

static inline int sem_pid(int id, int n)
{
	return semctl(id, n, GETPID);
}

static inline int sem_ncnt(int id, int n)
{
	return semctl(id, n, GETNCNT);
}

static inline int sem_zcnt(int id, int n)
{
	return semctl(id, n, GETZCNT);
}

/* SETVAL; the errno. */
static inline int sem_set(int id, int n, int val)
{
	return ERR(semctl(id, n, SETVAL, ARG_VAL(val)));
}

/* SETALL of up to 16 values; the errno. */
#define SETALL_TO(id, ...) ERR(semctl(id, 0, SETALL, ARG_P(((unsigned short[16]){__VA_ARGS__}))))

static inline int sem_do(int id, struct sembuf *ops, size_t n)
{
	return semop(id, ops, n);
}

static inline long sem_nsems(int id)
{
	struct semid_ds ds;

	return semctl(id, 0, IPC_STAT, ARG_P(&ds)) ? -(long)errno : (long)ds.sem_nsems;
}

static inline struct semid_ds sem_stat(int id)
{
	struct semid_ds ds;

	memset(&ds, 0xa5, sizeof(ds));
	if (semctl(id, 0, IPC_STAT, ARG_P(&ds)))
		memset(&ds, 0xff, sizeof(ds));
	return ds;
}

static inline time_t sem_otime(int id)
{
	return sem_stat(id).sem_otime;
}

static inline time_t sem_ctime(int id)
{
	return sem_stat(id).sem_ctime;
}

/* The values that differ from those expected are printed; true when none does. */
static inline bool sem_values_are(int id, size_t n, const unsigned short *want)
{
	unsigned short got[64];
	bool same = true;

	memset(got, 0xa5, sizeof(got));
	if (semctl(id, 0, GETALL, ARG_P(got))) {
		print_error("GETALL: %s\n", strerror(errno));
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		if (got[i] != want[i])
			print_error("semaphore %zu: %u, want %u\n", i, got[i], want[i]);
		same = same && got[i] == want[i];
	}
	return same;
}

/* assert_values(id, 1, 0, 5): the set's first values. */
#define assert_values(id, ...)                                                        \
	assert_true(sem_values_are(                                                   \
		id, sizeof((unsigned short[]){__VA_ARGS__}) / sizeof(unsigned short), \
		(unsigned short[]){__VA_ARGS__}))

/* --- operations in other processes --- */

struct ops_call {
	int id;
	struct sembuf *ops;
	size_t n;
	const struct timespec *timeout;
};

static inline int call_ops(void *arg)
{
	struct ops_call *c = arg;

	return ERR(semtimedop(c->id, c->ops, c->n, c->timeout));
}

#define CALL_OPS(id, ...) (&(struct ops_call){id, OPS(__VA_ARGS__), NULL})

/* The errno in a child, in a child that is nobody; a child that did it and stays (asserts). */
#define CHILD_SEMOP(id, ...)  child_run(call_ops, CALL_OPS(id, __VA_ARGS__))
#define NOBODY_SEMOP(id, ...) nobody_run(call_ops, CALL_OPS(id, __VA_ARGS__))
#define HOLD(held, id, ...)   assert_true(held_start(held, call_ops, CALL_OPS(id, __VA_ARGS__)))

/* held_end() that works although children forked since hold the pipe's end, too. */
static inline int held_let_go(struct held *held)
{
	pipe_tell(held->go);
	return held_end(held);
}

/* How many sleep on the set now, by the counts of all its semaphores; -1: it is gone. */
static inline int sem_sleepers(int id)
{
	long nsems = sem_nsems(id);
	int sum = 0;

	for (int i = 0; i < nsems; i++) {
		int n = sem_ncnt(id, i), z = sem_zcnt(id, i);
		if (n < 0 || z < 0)
			return -1;
		sum += n + z;
	}
	return nsems < 0 ? -1 : sum;
}

static inline pid_t sleeper_start(struct ops_call *call)
{
	int before = sem_sleepers(call->id);
	pid_t pid = child_start(call_ops, call);

	if (!AWAIT(sem_sleepers(call->id) == before + 1)) {
		print_error("sleeper %d does not sleep\n", pid);
		kill(pid, SIGKILL);
		child_wait(pid);
		return -1;
	}
	return pid;
}

/* Starts a child that sleeps in these operations; its exit code will be its errno. */
#define SLEEP(id, ...) sleeper_start(CALL_OPS(id, __VA_ARGS__))

/* --- other calls as child functions: the errno becomes the exit code --- */

struct get_call {
	key_t key;
	int nsems;
	int flags;
};

static inline int call_get(void *arg)
{
	struct get_call *c = arg;

	return ERR(sem_get(c->key, c->nsems, c->flags));
}

struct ctl_call {
	int id;
	int n;
	int cmd;
	union sem_arg arg;
};

static inline int call_ctl(void *arg)
{
	struct ctl_call *c = arg;

	return ERR(semctl(c->id, c->n, c->cmd, c->arg));
}

#define NOBODY_GET(k, n, f)    nobody_run(call_get, &(struct get_call){k, n, f})
#define NOBODY_CTL(i, n, c, a) nobody_run(call_ctl, &(struct ctl_call){i, n, c, a})

/* --- limits: see conform-wait.h --- */

/* Before a child that set limits ends: none of its sets stays, and no limit. */
static inline int child_leave_limits(void)
{
	struct seminfo info;
	struct semid_ds ds;
	int last = semctl(0, 0, SEM_INFO, &info);

	for (int i = 0; i <= last; i++) {
		int id = semctl(i, 0, SEM_STAT, &ds);

		if (id >= 0)
			semctl(id, 0, IPC_RMID);
	}
	return !child_restore_limits();
}

#endif
