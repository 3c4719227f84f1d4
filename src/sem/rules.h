/*
 * rules.h - what an array of semaphore operations does to an array of semaphores.
 *
 * Pure: values and operations in, an outcome out. No lock, no shared memory, nothing stored. As
 * perform_atomic_semop() of the design: all operations go ahead, or none does, and the first in the
 * array that can't decides why.
 */
#pragma once

#include "sem/word.h"
#include <sys/sem.h>

/* Outcome of an operation that has to wait; errors are negative, 0 means that all can go ahead. */
#define SEM_MUST_WAIT 1

/* What can be told from an array of operations alone. */
struct sem_shape {
	unsigned highest; /* semaphore number */
	bool alter;	  /* changes a value: needs write permission */
	bool undo;	  /* has SEM_UNDO */
	bool repeats;	  /* may name a semaphore again after it changed it */
};
struct sem_shape semop_shape(const struct sembuf *sops, unsigned nsops);

/*
 * words: the semaphores, by number; semadj: the caller's adjustments, by number, or NULL for zeros.
 * Returns 0, SEM_MUST_WAIT, -EAGAIN (it would wait, and has IPC_NOWAIT) or -ERANGE.
 * *ret_blocking: unless 0 is returned, the index of the operation that decided.
 */
int perform_atomic_semop(const uint64_t *words, const int16_t *semadj, const struct sembuf *sops,
			 unsigned nsops, bool repeats, unsigned *ret_blocking);

/* A value after an adjustment at the end of a process: clamped to 0 … SEMVMX. */
int semval_adjusted(int semval, int adjustment);
