/* queue.c - queues: msgget, a queue's end, the end of a process; see msg.h. */
#include "msg/queue.h"
#include "base/os.h"

#include <errno.h>
#include <string.h>

/* Messages freed in one transaction. */
#define REAP_BATCH 8

/*
 * Of this process: by id, where a queue's record was found last. A record is one for ever, and the id in it is
 * looked at anyway.
 */
#define SEEN 64
static struct msg_queue *seen[SEEN];

struct msg_queue *msg_record(struct ipc_namespace *ns, int id)
{
	const struct idr *idr = &ipc_ids_of(ns, IPC_MSG_IDS)->ipcs_idr;
	struct msg_queue *msq =
		id < 0 ? NULL : msg_queue_at(ns, idr_find(&ns->arena, idr, id % IPCMNI));

	if (msq && ns == load_acquire(namespace_own))
		__atomic_store_n(&seen[(unsigned)id % SEEN], msq, __ATOMIC_RELEASE);
	return msq;
}

/* By the whole id. */
static struct msg_queue *find_record(struct ipc_namespace *ns, int id)
{
	struct msg_queue *msq = load_acquire(seen[(unsigned)id % SEEN]);

	if (likely(msq && load_acquire(msq->q_perm.id) == id && ns == load_acquire(namespace_own)))
		return msq;
	return msg_record(ns, id);
}

/* In a transaction of its own: whoever comes to it without a lock, by an id that is stale, finds a record. */
static int record_new(struct ipc_namespace *ns)
{
	struct ipc_namespace_record *record = ns->record;
	struct msg_queue *msq;
	struct tx *tx;
	ref_t ref;
	int ret = tx_begin(&ns->arena, &tx);

	if (ret < 0)
		return ret;
	tx_lock(tx, &ipc_ids_of(ns, IPC_MSG_IDS)->lock);
	ret = arena_alloc(tx, sizeof(*msq), &ref);
	if (ret < 0) {
		tx_abort(tx);
		return ret;
	}
	msq = msg_queue_at(ns, ref);
	memset(msq, 0, sizeof(*msq));
	arena_lock_init(&msq->lock);
	msq->q_perm.deleted = 1;
	msq->q_perm.id = -1;
	msq->next_free = record->msg_queues;
	tx_set(tx, record->msg_queues, ref);
	tx_commit(tx);
	return 0;
}

/* -EAGAIN: no record is free, and record_new() has to come first. */
static int newque(struct ipc_namespace *ns, struct tx *tx, const struct ipc_params *params)
{
	struct ipc_namespace_record *record = ns->record;
	struct msg_queue *msq;
	ref_t ref = record->msg_queues;
	int ret;

	if (!ref)
		return -EAGAIN;
	msq = msg_queue_at(ns, ref);
	tx_lock(tx, &msq->lock);
	tx_set(tx, record->msg_queues, msq->next_free);
	msq->q_perm.key = params->key;
	msq->q_perm.mode = params->flg & 0777;
	msq->q_stime = msq->q_rtime = 0;
	msq->q_ctime = os_seconds();
	msq->q_lspid = msq->q_lrpid = 0;
	msq->polled = 0;
	msq->q_qbytes = record->msg_ctlmnb;
	msq->next_number = 0;
	tx_set(tx, msq->incarnation, msq->incarnation + 1);
	ret = ipc_addid(ns, tx, IPC_MSG_IDS, ref, record->msg_ctlmni);
	return ret < 0 ? ret : msq->q_perm.id;
}

int msg_get(struct ipc_namespace *ns, key_t key, int flag)
{
	static const struct ipc_ops ops = {newque, NULL};
	struct ipc_params params = {.key = key, .flg = flag};
	int ret;

	if (unlikely(load_acquire(ns->record->msg_dying)) &&
	    (key == IPC_PRIVATE || flag & IPC_CREAT))
		msg_reap(ns);
	while ((ret = ipcget(ns, IPC_MSG_IDS, &ops, &params)) == -EAGAIN) {
		ret = record_new(ns);
		if (ret < 0)
			return ret;
	}
	return ret;
}

/* Their messages are the queue's to free: as soon as they are told, the records may be used for something else. */
static void take_messages(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq)
{
	for (ref_t ref = msq->q_senders.first; ref; ref = sleeper_at(ns, ref)->next) {
		struct msg_sleeper *sender = msg_sleeper_at(ns, ref);

		msg_at(ns, sender->msg)->next =
			msq->messages; /* it was in no list: without journal */
		tx_set(tx, msq->messages, sender->msg);
		tx_set(tx, sender->msg, 0);
	}
}

void freeque(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, struct wake_q *wake_q)
{
	const ref_t lists[] = {msq->q_receivers.first, msq->q_senders.first};

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++)
		for (ref_t ref = lists[i]; ref; ref = sleeper_at(ns, ref)->next)
			wake_q_add(ns, wake_q, sleeper_at(ns, ref));
	take_messages(ns, tx, msq);
	if (msq->polled)
		msg_poll_end(ns, msq);
	ipc_rmid(ns, tx, IPC_MSG_IDS, &msq->q_perm);
	/* The id may be made again, in another record: `seen` must not lead here then. */
	tx_set(tx, msq->q_perm.id, -1);
	/* From here on what names this queue is stale: sleepers, whose status says EIDRM already. */
	tx_set(tx, msq->incarnation, msq->incarnation + 1);
	tx_set(tx, msq->messages_last, 0);
	tx_set(tx, msq->q_receivers.first, 0);
	tx_set(tx, msq->q_receivers.last, 0);
	tx_set(tx, msq->q_senders.first, 0);
	tx_set(tx, msq->q_senders.last, 0);
	tx_set(tx, msq->q_cbytes, 0);
	tx_set(tx, msq->q_qnum, 0);
	tx_set(tx, msq->next_free, ns->record->msg_dying);
	tx_set(tx, ns->record->msg_dying, arena_ref(&ns->arena, msq));
}

/* The memory that a removed queue still has: messages, and what it has kept. 0: none. */
static ref_t next_leftover(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq)
{
	ref_t ref = msq->messages;

	if (ref) {
		tx_set(tx, msq->messages, msg_at(ns, ref)->next);
		return ref;
	}
	for (unsigned class = 0; class < MSG_CLASSES; class ++) {
		ref = msq->kept[class];
		if (!ref)
			continue;
		tx_set(tx, msq->kept[class], msg_at(ns, ref)->next);
		return ref;
	}
	return 0;
}

/* All is freed: the record may be used again. *link leads to it in the list of dying ones. */
static void retire(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, ref_t *link)
{
	struct ipc_namespace_record *record = ns->record;

	tx_set(tx, msq->kept_bytes, 0);
	tx_set(tx, *link, msq->next_free);
	tx_set(tx, msq->next_free, record->msg_queues);
	tx_set(tx, record->msg_queues, arena_ref(&ns->arena, msq));
}

/* One of the dying that has anything to free, or can be retired; its lock is in the transaction. NULL: none. */
static struct msg_queue *next_dying(struct ipc_namespace *ns, struct tx *tx, ref_t **ret_link)
{
	ref_t *link = &ns->record->msg_dying;

	while (*link) {
		struct msg_queue *msq = msg_queue_at(ns, *link);
		bool kept = false;

		for (unsigned class = 0; class < MSG_CLASSES; class ++)
			kept |= load_acquire(msq->kept[class]) != 0;
		/* A message in somebody's hands is still to come. */
		if (load_acquire(msq->messages) || kept || load_acquire(msq->n_in_hand) == 0) {
			tx_lock(tx, &msq->lock);
			*ret_link = link;
			return msq;
		}
		link = &msq->next_free;
	}
	return NULL;
}

static bool reap_some(struct ipc_namespace *ns)
{
	struct msg_queue *msq;
	ref_t *link, ref = 0;
	struct tx *tx;

	if (tx_begin(&ns->arena, &tx) < 0)
		return false;
	tx_lock(tx, &ipc_ids_of(ns, IPC_MSG_IDS)->lock);
	msq = next_dying(ns, tx, &link);
	for (unsigned i = 0; msq && i < REAP_BATCH; i++) {
		ref = next_leftover(ns, tx, msq);
		if (!ref)
			break;
		arena_free(tx, ref);
	}
	if (msq && !ref && msq->n_in_hand == 0)
		retire(ns, tx, msq, link);
	tx_commit(tx);
	return msq;
}

void msg_reap(struct ipc_namespace *ns)
{
	while (load_acquire(ns->record->msg_dying) && reap_some(ns))
		;
}

int msg_lock(struct ipc_namespace *ns, int id, struct tx **ret_tx, struct msg_queue **ret_msq)
{
	struct msg_queue *msq = find_record(ns, id);
	int ret = msq ? tx_begin(&ns->arena, ret_tx) : -EINVAL;

	if (ret < 0)
		return ret;
	tx_lock(*ret_tx, &msq->lock);
	if (unlikely(msq->q_perm.deleted || msq->q_perm.id != id)) {
		tx_commit(*ret_tx);
		return -EINVAL;
	}
	*ret_msq = msq;
	return 0;
}

int msg_lock_swept(struct ipc_namespace *ns, int id, struct tx **ret_tx, struct msg_queue **ret_msq)
{
	int ret = msg_lock(ns, id, ret_tx, ret_msq);

	if (ret < 0 || (*ret_msq)->n_in_hand == 0)
		return ret;
	tx_commit(*ret_tx);
	proc_sweep(ns);
	return msg_lock(ns, id, ret_tx, ret_msq);
}

void msg_fill_ds(const struct msg_queue *msq, struct msqid_ds *ds)
{
	memset(ds, 0, sizeof(*ds));
	kernel_to_ipc_perm(&msq->q_perm, &ds->msg_perm);
	ds->msg_stime = msq->q_stime;
	ds->msg_rtime = msq->q_rtime;
	ds->msg_ctime = msq->q_ctime;
	ds->__msg_cbytes = msq->q_cbytes;
	ds->msg_qnum = msq->q_qnum;
	ds->msg_qbytes = msq->q_qbytes;
	ds->msg_lspid = msq->q_lspid;
	ds->msg_lrpid = msq->q_lrpid;
}

/* --- the end of a process --- */

/* A sleeper that is QUEUED, of a queue that is there. */
static void leave(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq,
		  struct msg_sleeper *self)
{
	bool sends = self->search == 0;

	sleeper_unlink(ns, tx, sends ? &msq->q_senders : &msq->q_receivers, &self->sleeper, -EINTR);
	if (sends && self->msg) {
		msg_free(ns, tx, msq, self->msg);
		tx_set(tx, self->msg, 0);
	}
}

void msg_let_go(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq,
		struct msg_sleeper *self, struct wake_q *wake_q)
{
	if (self->sleeper.incarnation == msq->incarnation) {
		msg_put_back(ns, tx, msq, self->msg, wake_q);
	} else {
		tx_set(tx, msq->n_in_hand, msq->n_in_hand - 1);
		msg_free(ns, tx, msq, self->msg);
	}
	tx_set(tx, self->msg, 0);
	tx_set(tx, self->sleeper.status, -EINTR);
}

static bool cancel(struct ipc_namespace *ns, struct tx *tx, struct sleeper *sleeper, bool interrupt,
		   struct wake_q *wake_q)
{
	struct msg_sleeper *self = container_of(sleeper, struct msg_sleeper, sleeper);
	struct msg_queue *msq = msg_queue_at(ns, sleeper->object);

	(void)interrupt;
	tx_lock(tx, &msq->lock);
	if (sleeper_is(sleeper, SLEEPER_IDLE))
		return true;
	if (msg_reserve(ns, tx, msq) < 0)
		return false;
	if (sleeper_is(sleeper, SLEEPER_QUEUED) && sleeper->incarnation == msq->incarnation)
		leave(ns, tx, msq, self);
	else if (sleeper_is(sleeper, SLEEPER_DONE) && self->search && self->msg)
		msg_let_go(ns, tx, msq, self, wake_q);
	return true;
}

static void exit_msg(struct ipc_namespace *ns, struct proc *proc)
{
	sleeper_drop_all(ns, proc);
}

void msg_init(void)
{
	sleeper_cancel[IPC_MSG_IDS] = cancel;
	proc_exit_hooks[IPC_MSG_IDS] = exit_msg;
}
