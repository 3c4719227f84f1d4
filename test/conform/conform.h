/*
 * What the conformance tests share, whatever mechanism they test.
 *
 * A conformance test is written against <sys/shm.h>, <sys/sem.h>, <sys/msg.h> alone and runs twice:
 * on the kernel, which is the oracle, and on vee. It proves what a program can see, nothing else.
 *
 * What a test observes:
 *  - conform_keep() remembers an id in memory that children share, so the group teardown, or the
 *    alarm when a test hangs, removes what any process of the test made, even after a failure.
 *  - A child never outlives the test binary for long: it dies with its parent, or by its own alarm.
 *  - A child never calls cmocka: it uses NEED() and reports by its exit code.
 */
#ifndef CONFORM_H
#define CONFORM_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * A child that did not start is -1, and so is SLEEP()'s that does not sleep: for root, kill(-1, SIGKILL) ends
 * the machine.
 */
static inline int kill_one(pid_t pid, int sig)
{
	if (pid > 0)
		return kill(pid, sig);
	errno = ESRCH;
	return -1;
}
#define kill kill_one

#define CONFORM_NOBODY	 65534
#define CONFORM_LIMIT_S	 60
#define CONFORM_INDICES	 32768 /* id = seq * 32768 + index */
#define CONFORM_KEPT_MAX 16384

enum conform_kind {
	CONFORM_SHM = 1,
	CONFORM_SEM,
	CONFORM_MSG
};

struct conform_kept {
	_Atomic uint32_t count;
	_Atomic int64_t entry[CONFORM_KEPT_MAX]; /* kind << 32 | id; 0: empty */
};

static struct conform_kept *conform_kept;

/* The errno of a call that returns -1 when it fails; 0 when it succeeded. */
#define ERR(call) ((call) == -1 ? errno : 0)

/* The same for a call that returns (void *)-1, such as shmat(). */
#define ERR_P(call) ((call) == (void *)-1 ? errno : 0)

/* In a child: what must hold. Prints and ends the child with code 99. */
#define NEED(cond)                                                                          \
	do {                                                                                \
		if (!(cond)) {                                                              \
			dprintf(2, "%s:%d: child: not true: %s (errno %d: %s)\n", __FILE__, \
				__LINE__, #cond, errno, strerror(errno));                   \
			_exit(99);                                                          \
		}                                                                           \
	} while (0)

#define SKIP_UNLESS_ROOT()          \
	do {                        \
		if (geteuid() != 0) \
			skip();     \
	} while (0)

/* Remembers an id for removal and returns it; -1 passes through with errno unchanged. */
static inline int conform_keep(enum conform_kind kind, int id)
{
	if (id < 0)
		return id;
	uint32_t n = atomic_fetch_add(&conform_kept->count, 1);
	atomic_store(&conform_kept->entry[n % CONFORM_KEPT_MAX], (int64_t)kind << 32 | id);
	return id;
}

/* Removes everything that is remembered. Safe in a signal handler; most ids are gone already. */
static inline void conform_remove_all(void)
{
	uint32_t n = atomic_exchange(&conform_kept->count, 0);

	for (uint32_t i = 0; i < n && i < CONFORM_KEPT_MAX; i++) {
		int64_t entry = atomic_exchange(&conform_kept->entry[i], 0);
		int id = (int)(entry & INT32_MAX);

		switch (entry >> 32) {
		case CONFORM_SHM:
			shmctl(id, IPC_RMID, NULL);
			break;
		case CONFORM_SEM:
			semctl(id, 0, IPC_RMID);
			break;
		case CONFORM_MSG:
			msgctl(id, IPC_RMID, NULL);
			break;
		}
	}
}

static inline void conform_on_alarm(int sig)
{
	static const char text[] = "conform: the test hangs; giving up\n";

	(void)sig;
	(void)!write(2, text, sizeof(text) - 1);
	conform_remove_all();
	_exit(124);
}

/* Group setup: the table of ids, the alarm, and orphans that come back to us for waitpid(). */
static inline int conform_setup(void **state)
{
	(void)state;
	conform_kept = mmap(NULL, sizeof(*conform_kept), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (conform_kept == MAP_FAILED)
		return -1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGALRM, conform_on_alarm);
	alarm(CONFORM_LIMIT_S);
	return 0;
}

static inline int conform_teardown(void **state)
{
	(void)state;
	conform_remove_all();
	alarm(0);
	return 0;
}

/* Test teardown: what one test made is gone before the next starts. */
static inline int conform_test_teardown(void **state)
{
	(void)state;
	conform_remove_all();
	return 0;
}

#define CONFORM_TEST(f)	   cmocka_unit_test_teardown(f, conform_test_teardown)
#define CONFORM_RUN(tests) cmocka_run_group_tests(tests, conform_setup, conform_teardown)

/* A page that faults at any access, and one that faults at a write. */
static inline void *conform_bad_page(void)
{
	void *p = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static inline void *conform_read_only_page(void)
{
	void *p = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static inline size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* --- children --- */

typedef int child_fn(void *arg);

/* Every child starts with this: default signals (cmocka catches some), an end in any case. */
static inline void child_guard(void)
{
	static const int caught[] = {SIGALRM, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};

	for (size_t i = 0; i < sizeof(caught) / sizeof(*caught); i++)
		signal(caught[i], SIG_DFL);
	alarm(CONFORM_LIMIT_S / 2);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* Gives up root for good: uid, gid and groups. */
static inline void child_drop(void)
{
	NEED(setgroups(0, NULL) == 0);
	NEED(setresgid(CONFORM_NOBODY, CONFORM_NOBODY, CONFORM_NOBODY) == 0);
	NEED(setresuid(CONFORM_NOBODY, CONFORM_NOBODY, CONFORM_NOBODY) == 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of credentials clears it */
}

static inline pid_t child_start(child_fn *fn, void *arg)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		child_guard();
		_exit(fn(arg));
	}
	return pid;
}

/* The exit code, or 1000 + the signal that ended it, or -1. */
static inline int child_wait(pid_t pid)
{
	int status;
	pid_t got;

	do {
		got = waitpid(pid, &status, 0);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline int child_run(child_fn *fn, void *arg)
{
	return child_wait(child_start(fn, arg));
}

/* Runs fn in a child that is uid and gid 65534. */
static inline int nobody_run(child_fn *fn, void *arg)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		child_guard();
		child_drop();
		_exit(fn(arg));
	}
	return child_wait(pid);
}

/* Waits for one byte; false at end of file. */
static inline bool pipe_await(int fd)
{
	char c;
	ssize_t n;

	do {
		n = read(fd, &c, 1);
	} while (n < 0 && errno == EINTR);
	return n == 1;
}

static inline void pipe_tell(int fd)
{
	(void)!write(fd, "", 1);
}

/* A child that has run fn and then waits until it is ended, or killed. */
struct held {
	pid_t pid;
	int go;
};

static inline bool held_start(struct held *held, child_fn *fn, void *arg)
{
	int ready[2], go[2];

	if (pipe(ready) || pipe(go))
		return false;
	fflush(NULL);
	held->pid = fork();
	if (held->pid == 0) {
		child_guard();
		close(ready[0]);
		close(go[1]);
		int rc = fn(arg);
		if (rc)
			_exit(rc);
		pipe_tell(ready[1]);
		pipe_await(go[0]);
		_exit(0);
	}
	close(ready[1]);
	close(go[0]);
	held->go = go[1];
	bool ok = pipe_await(ready[0]);
	close(ready[0]);
	return ok;
}

/* Lets it _exit(0) and returns what child_wait() does. */
static inline int held_end(struct held *held)
{
	close(held->go);
	return child_wait(held->pid);
}

static inline int held_kill(struct held *held)
{
	kill(held->pid, SIGKILL);
	close(held->go);
	return child_wait(held->pid);
}

#endif
