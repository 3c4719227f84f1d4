/*
 * queue.c - the sem_queue records: where a process gets one, and what becomes of a dead one's; see sem.h.
 *
 * A process that has slept keeps its record for the next time, in `pool`. Records are in the list of their process
 * from the first use on, whoever sleeps on them, so that all are found when it is gone; then they go to the list in the
 * root record.
 */
#include "base/os.h"
#include "sem/set.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#define POOL	   64
#define ROOM_LEAST 8u

static _Atomic ref_t pool[POOL];

void sem_queue_forget(void)
{
	for (unsigned i = 0; i < POOL; i++)
		pool[i] = 0;
}

/* A record for this process: a free one, or a new one. Its state says IDLE. */
static int queue_new(struct ipc_namespace *ns, struct tx *tx, struct proc *proc, ref_t *ret_ref)
{
	struct ipc_namespace_record *record = ns->record;
	struct sem_queue *q;
	ref_t ref = record->sem_queues;

	if (ref) {
		tx_set(tx, record->sem_queues, sem_queue_at(ns, ref)->proc_next);
		q = sem_queue_at(ns, ref);
	} else {
		int ret = arena_alloc(tx, sizeof(*q), &ref);

		if (ret < 0)
			return ret;
		q = sem_queue_at(ns, ref);
		memset(q, 0, sizeof(*q));
	}
	tx_set(tx, q->proc, proc_slot(ns, proc));
	tx_set(tx, q->proc_prev, 0);
	tx_set(tx, q->proc_next, proc->sem_queues);
	if (proc->sem_queues)
		tx_set(tx, sem_queue_at(ns, proc->sem_queues)->proc_prev, ref);
	tx_set(tx, proc->sem_queues, ref);
	*ret_ref = ref;
	return 0;
}

static int make_room(struct tx *tx, struct sem_queue *q, unsigned nsops)
{
	unsigned room = ALIGN_UP(nsops < ROOM_LEAST ? ROOM_LEAST : nsops, 2u);
	ref_t ref;
	int ret;

	if (q->sops_room >= nsops)
		return 0;
	ret = arena_alloc(tx, room * (sizeof(struct sembuf) + sizeof(uint32_t)), &ref);
	if (ret < 0)
		return ret;
	arena_free(tx, q->sops);
	tx_set(tx, q->sops, ref);
	tx_set(tx, q->sops_room, room);
	return 0;
}

static ref_t pool_take(void)
{
	for (unsigned i = 0; i < POOL; i++)
		if (pool[i]) {
			ref_t ref = atomic_exchange(&pool[i], 0);

			if (ref)
				return ref;
		}
	return 0;
}

ref_t sem_queue_take_kept(struct ipc_namespace *ns, unsigned nsops)
{
	const struct proc *me = proc_mine(ns);
	ref_t ref = me && proc_doorbell(me) ? pool_take() : 0;

	if (ref && sem_queue_at(ns, ref)->sops_room < nsops) {
		sem_queue_give(ref);
		ref = 0;
	}
	return ref;
}

int sem_queue_take(struct ipc_namespace *ns, unsigned nsops, ref_t *ret_q)
{
	struct proc *proc;
	struct tx *tx;
	ref_t ref, kept;
	int ret = proc_enter(ns, &proc);

	if (ret < 0)
		return ret;
	ref = pool_take();
	if (ref && sem_queue_at(ns, ref)->sops_room >= nsops) {
		*ret_q = ref;
		return 0;
	}
	kept = ref;
	ret = tx_begin(&ns->arena, &tx);
	if (ret < 0) {
		sem_queue_give(kept);
		return ret;
	}
	tx_lock(tx, &ipc_ids_of(ns, IPC_SEM_IDS)->lock);
	if (proc_mine(ns) != proc) {
		ret = -EINTR; /* the process is about to end */
		kept = 0;
	}
	if (ret == 0 && !ref)
		ret = queue_new(ns, tx, proc, &ref);
	if (ret == 0)
		ret = make_room(tx, sem_queue_at(ns, ref), nsops);
	if (ret < 0) {
		tx_abort(tx);
		sem_queue_give(kept);
		return ret;
	}
	tx_commit(tx);
	*ret_q = ref;
	return 0;
}

/* With no room for it in the pool it stays the process's, unused, to its end. */
void sem_queue_give(ref_t ref)
{
	for (unsigned i = 0; i < POOL && ref; i++) {
		ref_t none = 0;

		if (!pool[i] && atomic_compare_exchange_strong(&pool[i], &none, ref))
			return;
	}
}

static void list_remove(struct ipc_namespace *ns, struct tx *tx, struct proc *proc,
			struct sem_queue *q)
{
	if (q->proc_prev)
		tx_set(tx, sem_queue_at(ns, q->proc_prev)->proc_next, q->proc_next);
	else
		tx_set(tx, proc->sem_queues, q->proc_next);
	if (q->proc_next)
		tx_set(tx, sem_queue_at(ns, q->proc_next)->proc_prev, q->proc_prev);
}

/* What the sleeper was to its set. Returns the set, whose lock is in the transaction then, or NULL. */
static struct sem_array *cancel(struct ipc_namespace *ns, struct tx *tx, struct sem_queue *q,
				struct wake_q *wake_q)
{
	struct sem_array *sma;
	const struct sembuf *sops = sem_queue_sops(ns, q);

	if (sem_queue_is(q, SEM_Q_IDLE))
		return NULL;
	sma = sem_array_at(ns, q->set);
	tx_lock(tx, &sma->lock);
	if (sem_queue_is(q, SEM_Q_IDLE) || sma->incarnation != q->incarnation)
		return sma;
	if (sem_queue_is(q, SEM_Q_QUEUED)) {
		unlink_queue(ns, tx, sma, q);
	} else if (q->status == 0) {
		for (unsigned i = 0; i < q->nsops; i++)
			word_hold(&sma->words[sops[i].sem_num]);
		sem_take_back(ns, tx, sma, q);
	}
	do_smart_update(ns, tx, sma, NULL, 0, UPDATE_SWEPT, wake_q);
	return sma;
}

/* `ref`, or with 0 the first of a process. Returns false if there is none. */
static bool drop(struct ipc_namespace *ns, struct proc *proc, ref_t ref)
{
	struct ipc_namespace_record *record = ns->record;
	struct wake_q wake_q = {0, 0};
	struct sem_array *sma;
	struct sem_queue *q;
	struct tx *tx;

	if (tx_begin(&ns->arena, &tx) < 0)
		return false;
	/* Without the lock the list may be what one who died while he swept has left of it. */
	tx_lock(tx, &ipc_ids_of(ns, IPC_SEM_IDS)->lock);
	if (!ref)
		ref = proc->sem_queues;
	q = ref && proc_is_going(proc) ? sem_queue_at(ns, ref) : NULL;
	/* Before the lock of memory, which tx_reserve() may take. */
	if (q && !sem_queue_is(q, SEM_Q_IDLE))
		tx_lock(tx, &sem_array_at(ns, q->set)->lock);
	if (!q || tx_reserve(tx, 6 * q->nsops + 32) < 0) {
		tx_abort(tx);
		return false;
	}
	sma = cancel(ns, tx, q, &wake_q);
	list_remove(ns, tx, proc, q);
	/* A new owner: what a thread of the old one may still do to its state fails. */
	tx_set(tx, q->state, ((q->state >> 32) + 1) << 32 | SEM_Q_IDLE);
	tx_set(tx, q->proc_next, record->sem_queues);
	tx_set(tx, record->sem_queues, ref);
	if (sma)
		sem_finish(ns, tx, sma, NULL, 0, &wake_q);
	else
		tx_commit(tx);
	return true;
}

static ref_t first_in_use(struct ipc_namespace *ns, const struct proc *proc)
{
	ref_t ref = proc->sem_queues;

	while (ref && sem_queue_is(sem_queue_at(ns, ref), SEM_Q_IDLE))
		ref = sem_queue_at(ns, ref)->proc_next;
	return ref;
}

/* Ends the sleep of one thread of this process, which is about to end. Returns false if none sleeps. */
static bool interrupt_one(struct ipc_namespace *ns, struct proc *proc)
{
	struct sem_array *sma;
	struct sem_queue *q;
	struct tx *tx;
	ref_t ref;

	if (tx_begin(&ns->arena, &tx) < 0)
		return false;
	tx_lock(tx, &ipc_ids_of(ns, IPC_SEM_IDS)->lock);
	ref = first_in_use(ns, proc);
	if (!ref) {
		tx_commit(tx);
		return false;
	}
	q = sem_queue_at(ns, ref);
	sma = sem_array_at(ns, q->set);
	tx_lock(tx, &sma->lock);
	if (sem_queue_is(q, SEM_Q_QUEUED) && sma->incarnation == q->incarnation) {
		unlink_queue(ns, tx, sma, q);
		tx_set(tx, q->status, -EINTR);
	}
	/* What was done for it stands: its thread is there to take note, if it comes to it. */
	tx_set(tx, q->state, q->state >> 32 << 32 | SEM_Q_IDLE);
	sem_finish(ns, tx, sma, NULL, 0, NULL);
	return true;
}

bool sem_queue_drop_all(struct ipc_namespace *ns, struct proc *proc)
{
	ref_t ref;

	if (load_acquire(proc->state) != PROC_DYING || !proc_doorbell(proc)) {
		while (drop(ns, proc, 0))
			;
		return true;
	}
	/*
	 * A process that is about to end, but still runs: it does this itself. Other threads of it may have their hands
	 * on the records that they sleep on; these go when it has ended.
	 */
	if (proc->pid != (int)*ns->pid)
		return false;
	while (interrupt_one(ns, proc))
		;
	while ((ref = pool_take()))
		drop(ns, proc, ref);
	return true;
}
