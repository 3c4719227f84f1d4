/*
 * stage.h - for tests of sleepers, in which processes die: the roles that processes have, what
 * they share, and text.
 *
 * Objects are described in text (crash/sets.h), so that two runs of a test can be compared: it
 * names processes by their roles and tells an old time from a new one.
 */
#pragma once

#include "crash/actor.h"
#include "ipc/sleeper.h"

#include <signal.h>
#include <time.h>

#define OBJECTS	 3
#define SLEEPERS 4
#define OLD_TIME 1000 /* a time before any test */

enum role {
	SETTER, /* makes the sets, or queues */
	EARLIER,
	HELPER,
	VICTIM,
	SLEEPER, /* and the next ones */
	ROLES = SLEEPER + SLEEPERS
};

#define ASLEEP 1 /* the outcome of one that has not come back */

/* Shared by all processes of a test; over an exec by its descriptor. */
struct stage {
	struct report report;
	char folder[80];
	int id[OBJECTS];
	pid_t pid[ROLES];
	int outcome[SLEEPERS];
	bool victim_is_ready, all_are_asleep, go, victim_is_dead;
	bool has_journal[SLEEPERS];
	unsigned countdown, steps;
	uint64_t served_late_ns; /* how long a sleeper that was served took to come back */
	char raw[8192], swept[8192];
};

static struct stage *stage;

static inline void map_stage(int fd)
{
	stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (stage == MAP_FAILED)
		abort();
	report = &stage->report;
}

/* Returns its descriptor. */
static inline int make_stage(void)
{
	int fd = memfd_create("stage", 0);

	if (fd < 0 || ftruncate(fd, sizeof(*stage)) < 0)
		abort();
	map_stage(fd);
	return fd;
}

static inline pid_t start_actor(void (*actor)(unsigned), unsigned arg)
{
	pid_t pid = fork_actor();

	if (pid == 0) {
		actor(arg);
		_exit(0);
	}
	return pid;
}

/* Never a group of processes, nor all of them. */
static inline void signal_actor(pid_t pid, int sig)
{
	if (pid <= 1)
		abort();
	kill(pid, sig);
}

/* false: it has ended. */
static inline bool stop_actor(pid_t pid)
{
	int status;

	signal_actor(pid, SIGSTOP);
	return waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status);
}

/* For what comes soon; the actor's alarm ends what doesn't. */
static inline void await_a_little(void)
{
	struct timespec little = {0, 50000};

	nanosleep(&little, NULL);
}

static inline void await_asleep(struct ipc_namespace *ns,
				unsigned (*count)(struct ipc_namespace *ns), unsigned n)
{
	while (count(ns) < n)
		await_a_little();
}

static inline const char *role_of(int pid)
{
	static const char *const names[ROLES] = {"setter",   "earlier",	 "helper",   "victim",
						 "sleeper0", "sleeper1", "sleeper2", "sleeper3"};

	if (pid == 0)
		return "nobody";
	for (unsigned i = 0; i < ROLES; i++)
		if (stage->pid[i] == pid)
			return names[i];
	return "a stranger";
}

struct text {
	char *at;
	size_t size, used;
};

static inline void __attribute__((format(printf, 2, 3)))
add(struct text *text, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	text->used += vsnprintf(text->at + text->used, text->size - text->used, format, args);
	va_end(args);
	if (text->used >= text->size)
		abort();
}

static inline const char *age(int64_t time)
{
	return time == 0 ? "none" : time == OLD_TIME ? "old" : time > 1000000000 ? "new" : "odd";
}

/* How many sleep, from this one on. */
static inline unsigned count_sleepers(struct ipc_namespace *ns, ref_t first)
{
	unsigned n = 0;

	for (ref_t ref = first; ref; ref = sleeper_at(ns, ref)->next)
		n++;
	return n;
}
