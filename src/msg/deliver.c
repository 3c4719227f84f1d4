/* deliver.c - sleeping receivers and senders get what they wait for; see msg.h. */
#include "msg/queue.h"

#include <errno.h>

/* For one sleeper that is served, its message's way included. */
#define SERVE_ENTRIES 40u

int msg_reserve(struct ipc_namespace *ns, struct tx *tx, const struct msg_queue *msq)
{
	const ref_t lists[] = {msq->q_receivers.first, msq->q_senders.first};
	unsigned n = 2;

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++)
		for (ref_t ref = lists[i]; ref; ref = sleeper_at(ns, ref)->next)
			n++;
	return tx_reserve(tx, n * SERVE_ENTRIES);
}

static void set_time(struct tx *tx, int64_t *time)
{
	int64_t now = os_seconds();

	if (*time != now)
		tx_set(tx, *time, now);
}

/* Takes a receiver out of the list, with a message or an error. */
static void hand_over(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq,
		      struct msg_sleeper *receiver, ref_t msg, int status, struct wake_q *wake_q)
{
	sleeper_unlink(ns, tx, &msq->q_receivers, &receiver->sleeper, status);
	tx_set(tx, receiver->msg, msg);
	if (msg)
		tx_set(tx, msq->n_in_hand, msq->n_in_hand + 1);
	wake_q_add(ns, wake_q, &receiver->sleeper);
}

/* To the first receiver that sleeps for such a message and has room for it: 1. None: 0. -ESRCH as msg_deliver(). */
static int pipelined_send(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, ref_t ref,
			  int flags, struct wake_q *wake_q)
{
	const struct msg_msg *msg = msg_at(ns, ref);
	ref_t next;

	for (ref_t at = msq->q_receivers.first; at; at = next) {
		struct msg_sleeper *receiver = msg_sleeper_at(ns, at);

		next = receiver->sleeper.next;
		if (!msg_matches(msg->m_type, receiver->type, receiver->search))
			continue;
		if (!(flags & MSG_SWEPT) && !sleeper_proc_lives(ns, receiver->sleeper.proc))
			return -ESRCH;
		if (receiver->maxsize < msg->m_ts) {
			hand_over(ns, tx, msq, receiver, 0, -E2BIG, wake_q);
			continue;
		}
		hand_over(ns, tx, msq, receiver, ref, 0, wake_q);
		/* As in the kernel: of one that slept it is the thread's. */
		if (msq->q_lrpid != receiver->sleeper.tid)
			tx_set(tx, msq->q_lrpid, receiver->sleeper.tid);
		set_time(tx, &msq->q_rtime);
		return 1;
	}
	return 0;
}

int msg_deliver(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, ref_t ref, int pid,
		int flags, struct wake_q *wake_q)
{
	int ret = 0;

	/* It is in no list yet: without journal. */
	msg_at(ns, ref)->number = msq->next_number;
	tx_set(tx, msq->next_number, msq->next_number + 1);
	if (msq->q_lspid != pid)
		tx_set(tx, msq->q_lspid, pid);
	set_time(tx, &msq->q_stime);
	if (msq->q_receivers.first)
		ret = pipelined_send(ns, tx, msq, ref, flags, wake_q);
	if (ret == 0)
		msg_insert(ns, tx, msq, ref);
	return ret < 0 ? ret : 0;
}

/* May it still? 0; -EACCES; MSG_RETRY: only it can tell. */
static int still_allowed(const struct msg_queue *msq, const struct msg_sleeper *self)
{
	int access = self->search ? 0444 : 0222;

	if (self->capable)
		return 0;
	if (self->n_groups > MSG_GROUPS)
		return MSG_RETRY;
	return ipc_granted_to(&msq->q_perm, access, self->euid, self->egid, self->groups,
			      self->n_groups) ?
		       0 :
		       -EACCES;
}

/* One who may not wait here any more. */
static void expunge(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq,
		    struct msg_sleeper *self, int reason, struct wake_q *wake_q)
{
	sleeper_unlink(ns, tx, self->search ? &msq->q_receivers : &msq->q_senders, &self->sleeper,
		       reason);
	if (self->msg) {
		msg_free(ns, tx, msq, self->msg);
		tx_set(tx, self->msg, 0);
	}
	wake_q_add(ns, wake_q, &self->sleeper);
}

/* One that fitted when it was woken, as the kernel would say. -ESRCH as msg_deliver(). */
static int serve_sender(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq,
			struct msg_sleeper *sender, int flags, struct wake_q *wake_q)
{
	ref_t msg = sender->msg;
	int ret;

	if (!(flags & MSG_SWEPT) && !sleeper_proc_lives(ns, sender->sleeper.proc))
		return -ESRCH;
	ret = still_allowed(msq, sender);
	if (ret < 0) {
		expunge(ns, tx, msq, sender, ret, wake_q);
		return 0;
	}
	if (!msg_fits(msq->q_cbytes, msq->q_qnum, msq->q_qbytes, sender->maxsize)) {
		sleeper_move_last(ns, tx, &msq->q_senders, &sender->sleeper);
		return 0;
	}
	tx_set(tx, sender->msg, 0);
	ret = msg_deliver(ns, tx, msq, msg, sender->sleeper.pid, flags, wake_q);
	if (ret < 0)
		return ret;
	sleeper_unlink(ns, tx, &msq->q_senders, &sender->sleeper, 0);
	wake_q_add(ns, wake_q, &sender->sleeper);
	return 0;
}

/*
 * In the kernel's order: those that fit, each by itself, stay in front and are tried one after the other; those that
 * don't go behind them; one that finds its room taken, to the end.
 */
int msg_serve_senders(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, int flags,
		      struct wake_q *wake_q)
{
	uint64_t cbytes = msq->q_cbytes, qnum = msq->q_qnum;
	ref_t last = msq->q_senders.last, next, at = msq->q_senders.first;
	unsigned n = 0;

	for (bool more = at; more; at = next) {
		struct msg_sleeper *sender = msg_sleeper_at(ns, at);

		next = sender->sleeper.next;
		more = at != last;
		if (msg_fits(cbytes, qnum, msq->q_qbytes, sender->maxsize))
			n++;
		else
			sleeper_move_last(ns, tx, &msq->q_senders, &sender->sleeper);
	}
	for (at = msq->q_senders.first; n > 0; n--, at = next) {
		struct msg_sleeper *sender = msg_sleeper_at(ns, at);
		int ret;

		next = sender->sleeper.next;
		ret = serve_sender(ns, tx, msq, sender, flags, wake_q);
		if (ret < 0)
			return ret;
	}
	return 0;
}

void msg_put_back(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, ref_t ref,
		  struct wake_q *wake_q)
{
	tx_set(tx, msq->n_in_hand, msq->n_in_hand - 1);
	if (pipelined_send(ns, tx, msq, ref, MSG_SWEPT, wake_q) == 0)
		msg_insert(ns, tx, msq, ref);
}

int msg_changed(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, int flags,
		struct wake_q *wake_q)
{
	ref_t next;

	for (ref_t at = msq->q_receivers.first; at; at = next) {
		struct msg_sleeper *receiver = msg_sleeper_at(ns, at);
		int ret = still_allowed(msq, receiver);

		next = receiver->sleeper.next;
		if (ret < 0)
			expunge(ns, tx, msq, receiver, ret, wake_q);
	}
	return msg_serve_senders(ns, tx, msq, flags, wake_q);
}
