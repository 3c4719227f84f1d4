/*
 * soak.h - what the soaks of semaphores and of messages share: child processes, a watchdog, dice.
 *
 * Each soak includes it once and says what its object is: soak_end_object(). The process that runs
 * main() is the judge: it never dies, and only it calls wrong(), which says what is wrong, shows
 * and removes the object and ends the soak; a child reports by text on stderr and exit code 3
 * (child_wrong). No child outlives the judge.
 * What hangs is ended by the alarm: watch() sets it; its handler calls wrong().
 */
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define CHILD_WRONG   3

static const char *soak_name, *scene = "start";
static unsigned seed, seed_of_round, seed_first, round_now, rounds;
static pid_t judge;

/* Shows the object, if there is one, and removes it. */
static void soak_end_object(void);

static inline void __attribute__((noreturn, format(printf, 1, 2))) wrong(const char *format, ...)
{
	va_list args;

	dprintf(2, "%s: round %u, seed %u, %s: ", soak_name, round_now, seed_of_round, scene);
	va_start(args, format);
	vdprintf(2, format, args);
	va_end(args);
	dprintf(2, "; errno %d; the judge is %d\n", errno, judge);
	soak_end_object();
	_exit(1);
}

static inline void __attribute__((noreturn, format(printf, 1, 2)))
child_wrong(const char *format, ...)
{
	va_list args;

	dprintf(2, "%s: round %u, seed %u, %s: process %d: ", soak_name, round_now, seed_of_round,
		scene, getpid());
	va_start(args, format);
	vdprintf(2, format, args);
	va_end(args);
	dprintf(2, "\n");
	_exit(CHILD_WRONG);
}

static inline void on_alarm(int sig)
{
	(void)sig;
	wrong("it hangs");
}

/* Until the next call, no more than so many seconds may pass; 0: for ever. */
static inline void watch(unsigned seconds)
{
	struct sigaction action = {.sa_handler = on_alarm};

	sigaction(SIGALRM, &action, NULL);
	alarm(seconds);
}

/* PROGRAM [ROUNDS [SEED …]] */
static inline void soak_begin(int argc, char **argv, const char *name)
{
	soak_name = name;
	judge = getpid();
	rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 300;
	seed_first = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) :
				(unsigned)time(NULL) ^ (unsigned)judge;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("%s: %u rounds, seed %u\n", name, rounds, seed_first);
}

/* Each round has a seed of its own: `PROGRAM 1 SEED` repeats it. */
static inline bool soak_next_round(unsigned limit_s)
{
	if (round_now == rounds)
		return false;
	round_now++;
	seed = seed_of_round = rounds == 1 ? seed_first : seed_first + round_now * 2654435769u;
	watch(limit_s);
	return true;
}

static inline unsigned dice(unsigned below)
{
	return (unsigned)rand_r(&seed) % below;
}

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline void pause_us(unsigned us)
{
	struct timespec time = {us / 1000000, us % 1000000 * 1000L};

	nanosleep(&time, NULL);
}

/* Awake, so that the instant is a random one and not where a sleep ends. */
static inline void spin_us(unsigned us)
{
	uint64_t end = now_ns() + us * UINT64_C(1000);

	while (now_ns() < end)
		;
}

static inline void *share(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		wrong("mmap");
	return at;
}

static inline void must_be(const char *what, long is, long should)
{
	if (is != should)
		wrong("%s is %ld, not %ld", what, is, should);
}

/* --- processes --- */

/* Returns the pid in the judge, 0 in the child, which has dice of its own. */
static inline pid_t spawn(void)
{
	unsigned child_seed = (unsigned)rand_r(&seed);
	pid_t pid = fork();

	if (pid < 0)
		wrong("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != judge)
			_exit(CHILD_WRONG);
		seed = child_seed;
	}
	return pid;
}

static inline void kill_child(pid_t pid)
{
	if (pid <= 1)
		wrong("there is no child %d to be killed", pid);
	kill(pid, SIGKILL);
}

/* Waits; it must have been killed or have ended with 0. */
static inline void reap(pid_t pid)
{
	int status = 0;

	if (waitpid(pid, &status, 0) != pid)
		wrong("waitpid of %d", pid);
	if (WIFEXITED(status) ? WEXITSTATUS(status) != 0 : WTERMSIG(status) != SIGKILL)
		wrong("process %d ended with status 0x%x", pid, status);
}
