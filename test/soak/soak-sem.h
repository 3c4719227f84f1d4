/*
 * soak-sem.h - what the semaphore soaks share: a set and its numbers.
 */
#pragma once

#include "soak.h"

#include <sys/sem.h>

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

static int id = -1; /* the set, or -1 */
static unsigned short n_sems;

static inline void show_set(void)
{
	for (unsigned short i = 0; id >= 0 && i < n_sems; i++)
		dprintf(2, "  semaphore %u: value %d pid %d ncnt %d zcnt %d\n", i,
			semctl(id, i, GETVAL), semctl(id, i, GETPID), semctl(id, i, GETNCNT),
			semctl(id, i, GETZCNT));
}

static void soak_end_object(void)
{
	show_set();
	if (id >= 0)
		semctl(id, 0, IPC_RMID);
}

static inline void make_set(unsigned short n, const unsigned short *values)
{
	union semun arg = {.array = (unsigned short *)values};

	id = semget(IPC_PRIVATE, n, 0600);
	if (id < 0)
		wrong("semget of %u semaphores", n);
	n_sems = n;
	if (semctl(id, 0, SETALL, arg) < 0)
		wrong("SETALL");
}

static inline void remove_set(void)
{
	struct semid_ds ds;
	union semun arg = {.buf = &ds};
	int was = id;

	id = -1;
	if (semctl(was, 0, IPC_RMID) < 0)
		wrong("IPC_RMID of %d", was);
	if (semctl(was, 0, IPC_STAT, arg) == 0 || errno != EINVAL)
		wrong("set %d is still there", was);
}

static inline int ask(unsigned short sem, int command)
{
	int r = semctl(id, sem, command);

	if (r < 0)
		wrong("semctl command %d of semaphore %u", command, sem);
	return r;
}

static inline int value(unsigned short sem)
{
	return ask(sem, GETVAL);
}

static inline void nobody_waits(const char *when)
{
	for (unsigned short i = 0; i < n_sems; i++)
		if (ask(i, GETNCNT) != 0 || ask(i, GETZCNT) != 0)
			wrong("%s: semaphore %u has ncnt %d, zcnt %d, but nobody is alive", when, i,
			      ask(i, GETNCNT), ask(i, GETZCNT));
}

/* The judge's own operation, which never has to wait. */
static inline void judge_op(unsigned short sem, short op)
{
	struct sembuf sop = {sem, op, IPC_NOWAIT};

	if (semop(id, &sop, 1) < 0)
		wrong("semop %d on semaphore %u", op, sem);
}
