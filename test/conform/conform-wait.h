/*
 * What the conformance tests of calls that sleep share: time, polling, children, limits.
 *
 * How a test waits: it polls for what it waits for, and gives up after a while, never for a fixed
 * time alone.
 */
#ifndef CONFORM_WAIT_H
#define CONFORM_WAIT_H

#include "conform.h"

#include <sched.h>
#include <time.h>

#define CHILD_SKIPS 77 /* exit code of a child that can't do its test here */

/*
 * Group setup: on the kernel, as root, an IPC namespace of the test's own, so that nobody else's
 * objects and limits disturb it. On vee this does nothing.
 */
static inline int conform_setup_alone(void **state)
{
	(void)!unshare(CLONE_NEWIPC);
	return conform_setup(state);
}

#define CONFORM_RUN_ALONE(tests) \
	cmocka_run_group_tests(tests, conform_setup_alone, conform_teardown)

#define assert_between(low, x, high)        \
	do {                                \
		assert_true((low) <= (x));  \
		assert_true((x) <= (high)); \
	} while (0)

/* --- time --- */

static inline int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The time that the kernel stamps with: that of the last tick. */
static inline time_t coarse_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return now.tv_sec;
}

/* Returns when stamps made from now on are later than any made before. */
static inline void next_second(void)
{
	time_t start = coarse_now();

	while (coarse_now() <= start)
		usleep(2000);
}

/* Polls until cond; false after 20 s. */
#define AWAIT(cond)                                            \
	({                                                     \
		int64_t until_ms = now_ms() + 20000;           \
		bool met;                                      \
		while (!(met = (cond)) && now_ms() < until_ms) \
			usleep(300);                           \
		met;                                           \
	})

/* Did the child not end yet? It is left waitable. */
static inline bool child_lives(pid_t pid)
{
	siginfo_t si = {0};

	return waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid == 0;
}

static inline int child_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	return child_wait(pid);
}

/* --- memory that children share --- */

static inline void *shared_new(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* --- limits: in a child, which gets the kernel's IPC objects to itself where that can be --- */

/*
 * In a child: a System V IPC namespace of its own, else skips. On vee the test has one already.
 * What is made in it must not be given to conform_keep(): the id means another set outside.
 */
static inline void child_alone(void)
{
	if (unshare(CLONE_NEWIPC))
		_exit(CHILD_SKIPS);
}

struct child_limit {
	char path[64];
	char old[64];
};

static struct child_limit child_limits[8];
static int child_limits_set;

static inline bool limit_write(const char *path, const char *value)
{
	FILE *f = fopen(path, "we");
	int rc = f ? fputs(value, f) : -1;

	return f && fclose(f) == 0 && rc >= 0;
}

/* In a child: writes one of /proc/sys/kernel, else skips. */
static inline void child_set_limit(const char *name, const char *value)
{
	struct child_limit *limit = &child_limits[child_limits_set];

	NEED(child_limits_set < (int)(sizeof(child_limits) / sizeof(*child_limits)));
	snprintf(limit->path, sizeof(limit->path), "/proc/sys/kernel/%s", name);
	FILE *f = fopen(limit->path, "re");
	if (f && fgets(limit->old, sizeof(limit->old), f) == NULL)
		limit->old[0] = '\0';
	if (f)
		fclose(f);
	if (!limit_write(limit->path, value))
		_exit(CHILD_SKIPS);
	child_limits_set++;
}

/* Where the new namespace is not one, the next test meets the old limits. */
static inline bool child_restore_limits(void)
{
	bool ok = true;

	while (child_limits_set > 0) {
		struct child_limit *limit = &child_limits[--child_limits_set];

		ok = limit_write(limit->path, limit->old) && ok;
	}
	return ok;
}

#define assert_child_or_skip(rc)           \
	do {                               \
		int code = (rc);           \
		if (code == CHILD_SKIPS)   \
			skip();            \
		assert_int_equal(code, 0); \
	} while (0)

#endif
