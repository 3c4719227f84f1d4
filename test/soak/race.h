/* race.h - processes that look at a set without a pause, for the races of those that come and go meanwhile. */
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	LOOKERS = 2,
	LOOKED_AT = 16 /* semaphores in such a set, at most */
};

/* Whoever owes something to the set is looked for, and whoever sleeps there. */
static inline void look_at(int set)
{
	unsigned short values[LOOKED_AT];
	union {
		int val;
		unsigned short *array;
	} arg = {.array = values};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		semctl(set, 0, GETALL, arg);
		semctl(set, 0, GETNCNT);
	}
}

static inline void start_lookers(int set, pid_t *ret_lookers)
{
	for (int i = 0; i < LOOKERS; i++) {
		ret_lookers[i] = fork();
		if (ret_lookers[i] == 0)
			look_at(set);
	}
}

static inline void stop_lookers(const pid_t *lookers)
{
	for (int i = 0; i < LOOKERS; i++)
		if (lookers[i] > 0) {
			kill(lookers[i], SIGKILL);
			waitpid(lookers[i], NULL, 0);
		}
}
