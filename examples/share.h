/*
 * share.h - what producer and consumer share: a segment with a ring of batches, guarded by a set of three semaphores
 *
 *     ROOM    free places in the ring      a producer takes one, a consumer gives one back
 *     FILLED  places with a batch in them  the other way round
 *     GUARD   1 if nobody is at the ring   whoever touches it takes it, and gives it back
 *
 * Plain System V IPC; nothing here knows of vee. Keys are ftok() of a path, $SHARE_PATH or else /, so that unrelated
 * programs find the same segment and the same set.
 */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define PLACES	16
#define NUMBERS 64

struct batch {
	int n;
	int numbers[NUMBERS];
};

struct ring {
	unsigned first, n_filled;
	struct batch batches[PLACES];
};

enum {
	GUARD,
	ROOM,
	FILLED,
	N_SEMAPHORES
};

union semun { /* semctl(2) wants the program to define it */
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

static inline int fail(const char *call)
{
	perror(call);
	exit(1);
}

static inline key_t share_key(int project)
{
	const char *path = getenv("SHARE_PATH");
	key_t key = ftok(path ? path : "/", project);

	return key == (key_t)-1 ? fail("ftok") : key;
}

static inline int get_segment(void)
{
	int id = shmget(share_key('m'), sizeof(struct ring), IPC_CREAT | 0600);

	return id < 0 ? fail("shmget") : id;
}

static inline struct ring *attach_ring(int id)
{
	struct ring *ring = shmat(id, NULL, 0);

	if (ring == (struct ring *)-1)
		fail("shmat");
	return ring;
}

/*
 * Whoever makes the set gives it its values. Until then all of them are 0, so that others who find it
 * meanwhile wait.
 */
static inline int get_semaphores(void)
{
	unsigned short values[N_SEMAPHORES] = {[GUARD] = 1, [ROOM] = PLACES, [FILLED] = 0};
	union semun start = {.array = values};
	key_t key = share_key('s');
	int id = semget(key, N_SEMAPHORES, IPC_CREAT | IPC_EXCL | 0600);

	if (id < 0 && errno == EEXIST) {
		id = semget(key, N_SEMAPHORES, 0);
		return id < 0 ? fail("semget") : id;
	}
	if (id < 0)
		fail("semget");
	if (semctl(id, 0, SETALL, start) < 0)
		fail("semctl");
	return id;
}

static inline void change(int id, int semaphore, int by, int flag)
{
	struct sembuf operation = {.sem_num = semaphore, .sem_op = by, .sem_flg = flag};

	while (semop(id, &operation, 1) < 0)
		if (errno != EINTR)
			fail("semop");
}

/* SEM_UNDO: one who is killed at the ring does not leave it locked. */
static inline void lock_ring(int id)
{
	change(id, GUARD, -1, SEM_UNDO);
}

static inline void unlock_ring(int id)
{
	change(id, GUARD, +1, SEM_UNDO);
}
