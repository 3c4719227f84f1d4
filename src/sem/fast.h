/*
 * fast.h - one semaphore operation with no lock and no system call: a compare-and-swap of its word; see sem.h, word.h.
 *
 * In line, for the callers of semop() themselves: what is left of a call is a dozen loads, the swap and a look at the clock.
 */
#pragma once

#include "base/os.h"
#include "sem/sem.h"

#include <errno.h>

/*
 * Of this process: by id, where a set's block was found last. A block is a block for ever, and the id in it is looked at
 * anyway, so an entry may be of a set that is no more.
 */
#define SEM_SEEN 64
extern struct sem_array *sem_seen[SEM_SEEN];
/* The block that the id's index leads to, of whatever incarnation, or NULL. Never freed memory. Notes it there. */
struct sem_array *sem_block(struct ipc_namespace *ns, int id);

static inline struct sem_array *sem_find_block(struct ipc_namespace *ns, int id)
{
	struct sem_array *sma = load_acquire(sem_seen[(unsigned)id % SEM_SEEN]);

	if (likely(sma && load_acquire(sma->sem_perm.id) == id && ns == namespace_own))
		return sma;
	return sem_block(ns, id);
}

/* sem_otime, in its place, if the second is another. Of another incarnation it is no longer what it was, and stays. */
static inline void sem_fast_otime(struct sem_array *sma, uint64_t otime)
{
	uint64_t now = os_seconds();

	if (unlikely((otime & SEM_OTIME_MASK) != now))
		__atomic_compare_exchange_n(&sma->sem_otime, &otime,
					    (otime & ~SEM_OTIME_MASK) | now, false,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Returns true with the result, 0 or -EAGAIN, if it could be told; else nothing has been done. */
static inline bool semop_fast(struct ipc_namespace *ns, int id, const struct sembuf *user_sop,
			      int *ret_result)
{
	struct sembuf sop;
	struct sem_array *sma;
	uint64_t *word, was, otime;
	int value;

	/* Once: it may lie anywhere, and another thread may change it. */
	__builtin_memcpy(&sop, user_sop, sizeof(sop));
	if (sop.sem_flg & SEM_UNDO)
		return false;
	sma = sem_find_block(ns, id);
	/* The length may be of another set than the id, but is never beyond the block. */
	if (unlikely(!sma || sop.sem_num >= load_acquire(sma->sem_nsems)))
		return false;
	word = &sma->words[sop.sem_num];
	was = __atomic_load_n(word, __ATOMIC_ACQUIRE); /* WORD_FIRST */
	if (unlikely(was & SEM_HELD || load_acquire(sma->sem_perm.id) != id ||
		     sop.sem_num >= load_acquire(sma->sem_nsems) ||
		     !ipc_granted_quickly(&sma->sem_perm, sop.sem_op ? 0222 : 0444)))
		return false;
	otime = load_acquire(sma->sem_otime);
	value = word_semval(was) + sop.sem_op;
	if (unlikely(value < 0 || value > SEMVMX || (sop.sem_op == 0 && value != 0))) {
		/* As the word is still the same, all this was so at one moment. */
		*ret_result = -EAGAIN;
		return value <= SEMVMX && sop.sem_flg & IPC_NOWAIT &&
		       __atomic_load_n(word, __ATOMIC_ACQUIRE) == was;
	}
	if (unlikely(!__atomic_compare_exchange_n(word, &was, word_with(was, value, *ns->pid),
						  false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)))
		return false;
	sem_fast_otime(sma, otime);
	*ret_result = 0;
	return true;
}
