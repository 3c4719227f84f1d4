/* queue.h - what the files of this folder share: a queue's life, its lock, its messages, its sleepers. */
#pragma once

#include "msg/msg.h"

static inline struct msg_queue *msg_queue_at(struct ipc_namespace *ns, ref_t ref)
{
	return arena_ptr(&ns->arena, ref);
}

static inline struct msg_msg *msg_at(struct ipc_namespace *ns, ref_t ref)
{
	return arena_ptr(&ns->arena, ref);
}

static inline struct msg_sleeper *msg_sleeper_at(struct ipc_namespace *ns, ref_t ref)
{
	return arena_ptr(&ns->arena, ref);
}

static inline char *msg_text(struct msg_msg *msg)
{
	return (char *)(msg + 1);
}

/* The record that the id's index leads to, of whatever incarnation, or NULL. Never freed memory. */
struct msg_queue *msg_record(struct ipc_namespace *ns, int id);
/* A transaction with the queue's lock, in which the id has been found right; else -EINVAL and no transaction. */
int msg_lock(struct ipc_namespace *ns, int id, struct tx **ret_tx, struct msg_queue **ret_msq);
/* The same, and no message is in the hands of a dead receiver. */
int msg_lock_swept(struct ipc_namespace *ns, int id, struct tx **ret_tx,
		   struct msg_queue **ret_msq);
/* Under both locks: removes it; all sleepers get EIDRM. msg_reap() is to follow. */
void freeque(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, struct wake_q *wake_q);
/* Frees what removed queues have left. No transaction is open. */
void msg_reap(struct ipc_namespace *ns);
/* A receiver with a message in hand will not take it: it goes back, or with its queue if that is removed. */
void msg_let_go(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq,
		struct msg_sleeper *self, struct wake_q *wake_q);
void msg_fill_ds(const struct msg_queue *msq, struct msqid_ds *ds);

/* --- messages.c: all under the queue's lock --- */

/* A block for size bytes of text, in no list; -ENOMEM / -ENOSPC. */
int msg_new(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, int64_t type,
	    uint64_t size, ref_t *ret_ref);
void msg_free(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, ref_t ref);
/* Into q_messages, in its place by number; and out. */
void msg_insert(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, ref_t ref);
void msg_remove(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, ref_t ref);
/* The message that is asked for, or 0. */
ref_t msg_find(struct ipc_namespace *ns, const struct msg_queue *msq, int64_t type,
	       enum msg_search search);

/* --- deliver.c: from one side to the other --- */

enum {
	MSG_SWEPT = 1, /* the dead were swept: whoever sleeps is served */
};
/*
 * Sends a message that is in no list: to a receiver that sleeps for it, or into the queue. pid: the sender's.
 * Returns 0; -ESRCH: a sleeper whose turn it is seems to be dead: the caller aborts, sweeps, begins again, MSG_SWEPT.
 */
int msg_deliver(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, ref_t ref, int pid,
		int flags, struct wake_q *wake_q);
/* There is more room: sends the messages of sleeping senders that fit, in order. 0 or -ESRCH. */
int msg_serve_senders(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, int flags,
		      struct wake_q *wake_q);
/* A message that a receiver had in hand, and will not take: to another, or to its place. */
void msg_put_back(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, ref_t ref,
		  struct wake_q *wake_q);
/* After IPC_SET: receivers that may wait here no longer leave; senders for whom there is room send, or leave. 0 or -ESRCH. */
int msg_changed(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, int flags,
		struct wake_q *wake_q);
/* The journal room for all that one change of a queue may bring about. */
int msg_reserve(struct ipc_namespace *ns, struct tx *tx, const struct msg_queue *msq);
/* What a sleeper gets that has to begin again. Never seen by a caller. */
#define MSG_RETRY (-EALREADY)

/* --- poll.c: with the queue's lock, if msq->polled --- */

/* The queue has a message, or has none any more. */
void msg_poll_set(struct ipc_namespace *ns, const struct msg_queue *msq, bool readable);
/* It is removed. */
void msg_poll_end(struct ipc_namespace *ns, const struct msg_queue *msq);
