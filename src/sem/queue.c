/* queue.c - the sem_queue records: room for operations, and what becomes of a dead one's; see sem.h, ipc/sleeper.h. */
#include "sem/set.h"

#include <errno.h>

#define ROOM_LEAST 8u

/* It is IDLE, and this process's: nobody else looks at it. */
static int make_room(struct ipc_namespace *ns, struct sem_queue *q, unsigned nsops)
{
	unsigned room = ALIGN_UP(nsops < ROOM_LEAST ? ROOM_LEAST : nsops, 2u);
	struct tx *tx;
	ref_t ref;
	int ret;

	if (q->sops_room >= nsops)
		return 0;
	ret = tx_begin(&ns->arena, &tx);
	if (ret < 0)
		return ret;
	ret = arena_alloc(tx, room * (sizeof(struct sembuf) + sizeof(uint32_t)), &ref);
	if (ret < 0) {
		tx_abort(tx);
		return ret;
	}
	arena_free(tx, q->sops);
	tx_set(tx, q->sops, ref);
	tx_set(tx, q->sops_room, room);
	tx_commit(tx);
	return 0;
}

ref_t sem_queue_take_kept(struct ipc_namespace *ns, unsigned nsops, int *ret_cancel_type)
{
	ref_t ref = sleeper_take_kept(ns, IPC_SEM_IDS, ret_cancel_type);

	if (ref && sem_queue_at(ns, ref)->sops_room < nsops) {
		sleeper_give(ns, ref, *ret_cancel_type);
		ref = 0;
	}
	return ref;
}

int sem_queue_take(struct ipc_namespace *ns, unsigned nsops, ref_t *ret_q, int *ret_cancel_type)
{
	int ret = sleeper_take(ns, IPC_SEM_IDS, ret_q, ret_cancel_type);

	if (ret == 0)
		ret = make_room(ns, sem_queue_at(ns, *ret_q), nsops);
	if (ret < 0 && *ret_q) {
		sleeper_give(ns, *ret_q, *ret_cancel_type);
		*ret_q = 0;
	}
	return ret;
}

bool sem_queue_cancel(struct ipc_namespace *ns, struct tx *tx, struct sleeper *sleeper,
		      bool interrupt, struct wake_q *wake_q)
{
	struct sem_queue *q = container_of(sleeper, struct sem_queue, sleeper);
	struct sem_array *sma = sem_array_at(ns, sleeper->object);
	const struct sembuf *sops = sem_queue_sops(ns, q);

	tx_lock(tx, &sma->lock);
	if (sma->incarnation != sleeper->incarnation || sleeper_is(sleeper, SLEEPER_IDLE))
		return true;
	if (tx_reserve(tx, 6 * q->nsops + 32) < 0)
		return false;
	if (sleeper_is(sleeper, SLEEPER_QUEUED)) {
		unlink_queue(ns, tx, sma, q, -EINTR);
	} else if (!interrupt && sleeper_is(sleeper, SLEEPER_DONE) && sleeper->status == 0) {
		for (unsigned i = 0; i < q->nsops; i++)
			word_hold(&sma->words[sops[i].sem_num]);
		sem_take_back(ns, tx, sma, q);
		do_smart_update(ns, tx, sma, NULL, 0, UPDATE_SWEPT, wake_q);
	}
	/* With interrupt, what was done for it stands: its thread is there to take note, if it comes to it. */
	return true;
}
