/* set.h - what the files of this folder share: a set's life, its lock, its queues, its undo. */
#pragma once

#include "sem/fast.h"

static inline struct sem_array *sem_array_at(struct ipc_namespace *ns, ref_t ref)
{
	return arena_ptr(&ns->arena, ref);
}

static inline struct sem_queue *sem_queue_at(struct ipc_namespace *ns, ref_t ref)
{
	return arena_ptr(&ns->arena, ref);
}

static inline struct sem_undo *sem_undo_at(struct ipc_namespace *ns, ref_t ref)
{
	return arena_ptr(&ns->arena, ref);
}

static inline struct sembuf *sem_queue_sops(struct ipc_namespace *ns, const struct sem_queue *q)
{
	return arena_ptr(&ns->arena, q->sops);
}

static inline uint32_t *sem_queue_sempids(struct ipc_namespace *ns, const struct sem_queue *q)
{
	return (uint32_t *)(sem_queue_sops(ns, q) + q->sops_room);
}

/* --- set.c: making, finding, removing --- */

/*
 * A transaction that holds the set's lock, in which the id has been found right. -EINVAL if there is no such set;
 * then, and on any other error, no transaction is open. _swept: and no process that died before the call has left
 * a trace in it.
 */
static inline int sem_lock(struct ipc_namespace *ns, int id, struct tx **ret_tx,
			   struct sem_array **ret_sma);
int sem_lock_swept(struct ipc_namespace *ns, int id, struct tx **ret_tx,
		   struct sem_array **ret_sma);
static inline int sem_lock_as_it_is(struct ipc_namespace *ns, int id, struct tx **ret_tx,
				    struct sem_array **ret_sma)
{
	struct sem_array *sma = sem_find_block(ns, id);
	int ret = sma ? tx_begin(&ns->arena, ret_tx) : -EINVAL;

	if (ret < 0)
		return ret;
	tx_lock(*ret_tx, &sma->lock);
	if (unlikely(sma->sem_perm.deleted || sma->sem_perm.id != id)) {
		tx_commit(*ret_tx);
		return -EINVAL;
	}
	*ret_sma = sma;
	return 0;
}

/* Nobody sees the set before what is due is done, or there is still no memory for it. */
int sem_lock_due(struct ipc_namespace *ns, int id, struct tx **ret_tx, struct sem_array **ret_sma);

static inline int sem_lock(struct ipc_namespace *ns, int id, struct tx **ret_tx,
			   struct sem_array **ret_sma)
{
	int ret = sem_lock_as_it_is(ns, id, ret_tx, ret_sma);

	if (likely(ret < 0 || !(*ret_sma)->update_due))
		return ret;
	return sem_lock_due(ns, id, ret_tx, ret_sma);
}

/* Under the set's lock: removes it; every sleeper gets EIDRM. The lock of the sem ids is in the transaction too. */
void freeary(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma);

/* No process that owes the set something, or sleeps on it, seems to be dead. */
bool sem_all_live(struct ipc_namespace *ns, struct sem_array *sma);

/*
 * The time of the last operation; and a new one, under the lock. They are two fields, as what is journalled must not
 * change without the lock.
 */
static inline int64_t sem_otime(const struct sem_array *sma)
{
	int64_t otime = load_acquire(sma->sem_otime) & SEM_OTIME_MASK;

	return otime > sma->sem_otime_locked ? otime : sma->sem_otime_locked;
}

static inline void set_semotime(struct tx *tx, struct sem_array *sma)
{
	uint32_t now = os_seconds();

	if (unlikely(sma->sem_otime_locked != now))
		tx_set(tx, sma->sem_otime_locked, now);
}

static inline bool sem_has_sleepers(const struct sem_array *sma)
{
	return sma->pending_alter.first || sma->pending_const.first || sma->update_due;
}

/* Is anybody in `served`? false may not be wrong. */
static inline bool sem_has_served(const struct sem_array *sma)
{
	return sma->served[0] || sma->served_more;
}

/* What IPC_STAT shows. */
void sem_fill_ds(const struct sem_array *sma, struct semid_ds *ds);
/* The invariants of sem.h for one set, whose lock the caller holds: NULL, or what is wrong. */
const char *sem_array_check(struct ipc_namespace *ns, const struct sem_array *sma);

/* Holds all words of the set back. */
void sem_hold_all(struct sem_array *sma);

/* --- update.c: from a change to those who waited for it --- */

/* Applies operations that perform_atomic_semop() has allowed; un may be NULL. */
void sem_apply(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma, struct sem_undo *un,
	       const struct sembuf *sops, unsigned nsops, uint32_t pid);
enum {
	UPDATE_OTIME = 1, /* sem_otime changes even if nobody is served */
	UPDATE_SWEPT = 2, /* the dead were swept: any sleeper is served */
};
/*
 * The operations of all sleepers that can go now, until none can. sops, nsops: those that have just
 * been done; NULL: any semaphore may have got any value. Returns 0, or -ESRCH if a sleeper whose turn it is
 * seems to be dead: the caller aborts, sweeps, and starts again with UPDATE_SWEPT.
 */
int do_smart_update(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
		    const struct sembuf *sops, unsigned nsops, int flags, struct wake_q *wake_q);
/*
 * Commits: stands, lets go of the words in `sops` (NULL: all) that need not be held back, tells the served sleepers,
 * unlocks, wakes.
 */
void sem_finish(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
		const struct sembuf *sops, unsigned nsops, struct wake_q *wake_q);
/* Before freeary(): all sleepers are to be told. */
void sem_tell_removed(struct ipc_namespace *ns, const struct sem_array *sma, struct wake_q *wake_q);
/* Takes a sleeper out of its set's list; it is DONE then. */
void unlink_queue(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
		  struct sem_queue *q, int status);
/* Takes back what was done for a sleeper that never took note of it. */
void sem_take_back(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
		   struct sem_queue *q);
void sem_queue_append(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
		      struct sem_queue *q);
/* -ESRCH if a process that owes this set something seems to be dead. */
int sem_adjusters_live(struct ipc_namespace *ns, const struct sem_array *sma);
/* -ESRCH if a process for which this set did something, but which has not taken note yet, seems to be dead. */
int sem_served_live(struct ipc_namespace *ns, struct sem_array *sma);
/* --- undo.c --- */

/* The adjustments of un that count, or NULL. */
static inline const int16_t *sem_adjustments(const struct sem_array *sma, const struct sem_undo *un)
{
	return un->undo_epoch == sma->undo_epoch ? un->semadj : NULL;
}
/* Changes one adjustment, and the counts. */
void sem_adjust(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma, struct sem_undo *un,
		unsigned num, int by);
/* Nobody owes anything for semaphore num any more. -ENOMEM changes nothing. */
int sem_forget_adjustments(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
			   unsigned num);
/* This process's sem_undo for the set, under the set's lock; NULL if it is to be made first. */
struct sem_undo *lookup_undo(struct ipc_namespace *ns, struct sem_array *sma);
/* Makes it. No transaction is open. 0, -EINVAL (no such set), -ENOMEM. */
int find_alloc_undo(struct ipc_namespace *ns, int id);

/* --- queue.c: the sem_queue of this process --- */

/* sleeper_take() and sleeper_take_kept(), with room for nsops. */
int sem_queue_take(struct ipc_namespace *ns, unsigned nsops, ref_t *ret_q, int *ret_cancel_type);
ref_t sem_queue_take_kept(struct ipc_namespace *ns, unsigned nsops, int *ret_cancel_type);
/* What a sleeper that is no more was to its set: a sleeper_cancel_fn. */
bool sem_queue_cancel(struct ipc_namespace *ns, struct tx *tx, struct sleeper *sleeper,
		      bool interrupt, struct wake_q *wake_q);
