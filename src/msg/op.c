/* op.c - msgsnd and msgrcv; see msg.h. */
#include "msg/queue.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

/* Outcomes of a try, besides results and errors. */
enum {
	TRY_ASLEEP = -1000000, /* it is in the list */
	TRY_AGAIN,	       /* something had to be made first, or another has to be seen to */
};

struct call {
	struct ipc_namespace *ns;
	int id;
	bool sends;
	int flag;
	int64_t type; /* receiver: what is compared with */
	enum msg_search search;
	void *msgp;
	size_t size;
	uint64_t deadline; /* CLOCK_MONOTONIC, ns; 0: never sleeps */
	bool swept;
	ref_t sleeper; /* a record to sleep on, or 0 */
	int cancel_type;
	struct sleep *sleep;
};

static char *text_of(void *msgp)
{
	return (char *)msgp + sizeof(long);
}

/* --- sleeping --- */

static void give_up(struct sleep *sleep, struct tx *tx, int error)
{
	struct msg_sleeper *self = container_of(sleep->sleeper, struct msg_sleeper, sleeper);
	struct msg_queue *msq = sleep->object;
	bool sends = self->search == 0;

	sleeper_unlink(sleep->ns, tx, sends ? &msq->q_senders : &msq->q_receivers, sleep->sleeper,
		       error);
	if (sends) {
		msg_free(sleep->ns, tx, msq, self->msg);
		tx_set(tx, self->msg, 0);
	}
	tx_commit(tx);
}

/* proc_sweep() has put back what the dead had in hand, and so told this sleeper if it is for it. */
static bool look_around(struct sleep *sleep)
{
	const struct msg_queue *msq = sleep->object;

	sleep->look_ns = load_acquire(msq->n_in_hand) ? SLEEP_POLL_NS : SLEEP_LOOK_NS;
	return true;
}

/* A receiver with a message in hand. */
static void refuse(struct sleep *sleep)
{
	struct msg_sleeper *self = container_of(sleep->sleeper, struct msg_sleeper, sleeper);
	struct wake_q wake_q = {0, 0};
	struct tx *tx;

again:
	while (tx_begin(&sleep->ns->arena, &tx) < 0)
		os_nanosleep_ns(SLEEP_POLL_NS); /* it had a journal when it began */
	tx_lock(tx, sleep->lock);
	/* The message may go to no end of receivers, each of which it is too large for. */
	if (msg_reserve(sleep->ns, tx, sleep->object) < 0) {
		tx_abort(tx);
		os_nanosleep_ns(SLEEP_POLL_NS);
		goto again;
	}
	if (self->search && self->msg && self->sleeper.state >> 32 == sleep->serial)
		msg_let_go(sleep->ns, tx, sleep->object, self, &wake_q);
	tx_stand(tx);
	wake_up_q(sleep->ns, tx, &wake_q);
}

static const struct sleep_ops sleep_ops = {give_up, look_around, refuse};

static void note_who(struct msg_sleeper *self)
{
	int n = cred_groups(self->groups, MSG_GROUPS);

	self->euid = cred_euid();
	self->egid = cred_egid();
	self->n_groups = n > MSG_GROUPS ? MSG_GROUPS + 1 : n;
	self->capable = cred_capable(VEE_CAP_IPC_OWNER);
}

/* Commits with the sleeper in the list. msg: the sender's. */
static int enqueue(struct call *call, struct tx *tx, struct msg_queue *msq, ref_t msg)
{
	struct ipc_namespace *ns = call->ns;
	struct msg_sleeper *self = msg_sleeper_at(ns, call->sleeper);

	sleeper_fill(ns, &self->sleeper, arena_ref(&ns->arena, msq), msq->incarnation);
	self->type = call->type;
	self->maxsize = call->size;
	self->search = call->sends ? 0 : call->search;
	if (!call->sends && call->flag & MSG_NOERROR)
		self->maxsize = INT_MAX;
	note_who(self);
	tx_set(tx, self->msg, msg);
	sleeper_append(ns, tx, call->sends ? &msq->q_senders : &msq->q_receivers, &self->sleeper);
	*call->sleep = (struct sleep){.ns = ns,
				      .ops = &sleep_ops,
				      .sleeper = &self->sleeper,
				      .lock = &msq->lock,
				      .object_incarnation = &msq->incarnation,
				      .object = msq,
				      .id = call->id,
				      .deadline = call->deadline,
				      .look_ns = msq->n_in_hand ? SLEEP_POLL_NS : SLEEP_LOOK_NS,
				      /* Both calls are cancellation points. */
				      .cancel_type = PTHREAD_CANCEL_ASYNCHRONOUS};
	sleep_prepare(call->sleep);
	tx_commit(tx);
	return TRY_ASLEEP;
}

/* Under the lock: is there a record to sleep on? If not, it is to be made without the lock. */
static bool has_sleeper(struct call *call)
{
	if (!call->sleeper)
		call->sleeper = sleeper_take_kept(call->ns, IPC_MSG_IDS, &call->cancel_type);
	return call->sleeper;
}

static int make_sleeper(struct call *call)
{
	int ret = sleeper_take(call->ns, IPC_MSG_IDS, &call->sleeper, &call->cancel_type);

	return ret < 0 ? ret : TRY_AGAIN;
}

/* --- the locked part --- */

/* -ESRCH: somebody seems to be dead. Ends the transaction. */
static int sweep(struct call *call, struct tx *tx)
{
	tx_abort(tx);
	proc_sweep(call->ns);
	call->swept = true;
	return TRY_AGAIN;
}

static int send_locked(struct call *call, struct tx *tx, struct msg_queue *msq)
{
	struct ipc_namespace *ns = call->ns;
	bool fits = msg_fits(msq->q_cbytes, msq->q_qnum, msq->q_qbytes, call->size);
	struct wake_q wake_q = {0, 0};
	ref_t ref;
	int ret;

	if (!fits && (call->flag & IPC_NOWAIT || call->deadline == 0)) {
		tx_commit(tx);
		return -EAGAIN;
	}
	if (!fits && !has_sleeper(call)) {
		tx_abort(tx);
		return make_sleeper(call);
	}
	ret = msg_new(ns, tx, msq, call->type, call->size, &ref);
	if (ret < 0) {
		tx_abort(tx);
		return ret;
	}
	memcpy(msg_text(msg_at(ns, ref)), text_of(call->msgp), call->size);
	if (!fits)
		return enqueue(call, tx, msq, ref);
	ret = msg_deliver(ns, tx, msq, ref, *ns->pid, call->swept ? MSG_SWEPT : 0, &wake_q);
	if (ret == -ESRCH)
		return sweep(call, tx);
	tx_stand(tx);
	wake_up_q(ns, tx, &wake_q);
	return 0;
}

/* To the program: -EFAULT consumes the message too, as in the kernel. */
static ssize_t copy_out(const struct call *call, struct msg_msg *msg)
{
	size_t size = msg->m_ts < call->size ? msg->m_ts : call->size;
	long type = msg->m_type;

	if (!os_writable(call->msgp, sizeof(long)))
		return -EFAULT;
	memcpy(call->msgp, &type, sizeof(type));
	if (size && !os_writable(text_of(call->msgp), size))
		return -EFAULT;
	memcpy(text_of(call->msgp), msg_text(msg), size);
	return size;
}

static size_t copy_room(const struct call *call)
{
	uint32_t most = call->ns->record->msg_ctlmax;

	return call->size < most ? call->size : most;
}

static ssize_t take_locked(struct call *call, struct tx *tx, struct msg_queue *msq, ref_t ref)
{
	struct ipc_namespace *ns = call->ns;
	struct msg_msg *msg = msg_at(ns, ref);
	struct wake_q wake_q = {0, 0};
	int64_t now = os_seconds();
	ssize_t ret;

	if (call->size < msg->m_ts && !(call->flag & MSG_NOERROR)) {
		tx_commit(tx);
		return -E2BIG;
	}
	if (call->flag & MSG_COPY) {
		/* A copy is whole, or none; the kernel makes room for what may be sent now. */
		ret = msg->m_ts > copy_room(call) ? -EINVAL : copy_out(call, msg);
		tx_commit(tx);
		return ret;
	}
	ret = copy_out(call, msg);
	msg_remove(ns, tx, msq, ref);
	if (msq->q_rtime != now)
		tx_set(tx, msq->q_rtime, now);
	if (msq->q_lrpid != (int)*ns->pid)
		tx_set(tx, msq->q_lrpid, (int)*ns->pid);
	if (msq->q_senders.first &&
	    msg_serve_senders(ns, tx, msq, call->swept ? MSG_SWEPT : 0, &wake_q) < 0)
		return sweep(call, tx);
	msg_free(ns, tx, msq, ref);
	tx_stand(tx);
	/* Only now: of one who dies here a byte too many is left, never one too few. */
	if (unlikely(msq->polled && msq->q_qnum == 0))
		msg_poll_set(ns, msq, false);
	wake_up_q(ns, tx, &wake_q);
	return ret;
}

static ssize_t receive_locked(struct call *call, struct tx *tx, struct msg_queue *msq)
{
	ref_t ref = msg_find(call->ns, msq, call->type, call->search);

	if (ref)
		return take_locked(call, tx, msq, ref);
	/* It may be in the hands of a dead one. */
	if (msq->n_in_hand && !call->swept)
		return sweep(call, tx);
	if (unlikely(msq->polled && msq->q_qnum == 0))
		msg_poll_set(call->ns, msq, false);
	if (call->flag & IPC_NOWAIT || call->deadline == 0) {
		tx_commit(tx);
		return call->deadline == 0 && !(call->flag & IPC_NOWAIT) ? -EAGAIN : -ENOMSG;
	}
	if (has_sleeper(call))
		return enqueue(call, tx, msq, 0);
	tx_abort(tx);
	return make_sleeper(call);
}

static ssize_t try_once(struct call *call)
{
	struct ipc_namespace *ns = call->ns;
	int access = call->sends ? 0222 : 0444;
	struct msg_queue *msq;
	struct tx *tx;
	int ret = msg_lock(ns, call->id, &tx, &msq);

	if (ret < 0)
		return ret;
	if (!ipc_granted_quickly(&msq->q_perm, access))
		ret = ipcperms(&msq->q_perm, access);
	if (ret == 0 && (msq->q_receivers.first || msq->q_senders.first))
		ret = msg_reserve(ns, tx, msq);
	if (ret < 0) {
		tx_abort(tx);
		return ret;
	}
	return call->sends ? send_locked(call, tx, msq) : receive_locked(call, tx, msq);
}

/* A receiver that was handed a message: copies it out, and takes note, all or nothing. */
static ssize_t take_in_hand(struct call *call)
{
	struct ipc_namespace *ns = call->ns;
	struct msg_sleeper *self = msg_sleeper_at(ns, call->sleeper);
	struct msg_queue *msq = call->sleep->object;
	ssize_t ret = -EINTR;
	bool removed;
	struct tx *tx;

	while (tx_begin(&ns->arena, &tx) < 0)
		os_nanosleep_ns(SLEEP_POLL_NS); /* it had a journal when it began */
	tx_lock(tx, &msq->lock);
	/* If it is not there any more, the process is about to end, and has put it back. */
	if (sleeper_is(&self->sleeper, SLEEPER_DONE) && self->msg &&
	    self->sleeper.state >> 32 == call->sleep->serial) {
		ret = copy_out(call, msg_at(ns, self->msg));
		tx_set(tx, msq->n_in_hand, msq->n_in_hand - 1);
		sleeper_set_state(tx, &self->sleeper, SLEEPER_IDLE);
		msg_free(ns, tx, msq, self->msg);
		tx_set(tx, self->msg, 0);
	}
	removed = self->sleeper.incarnation != msq->incarnation;
	tx_commit(tx);
	if (removed)
		msg_reap(ns);
	return ret;
}

static ssize_t sleep_and_see(struct call *call)
{
	ssize_t ret = sleep_until_told(call->sleep);

	if (ret == 0 && !call->sends)
		return take_in_hand(call);
	if (!sleep_take_note(call->sleep))
		return -EINTR;
	return ret == MSG_RETRY ? TRY_AGAIN : ret;
}

static ssize_t make_call(struct call *call)
{
	struct sleep sleep;
	ssize_t ret;

	call->sleep = &sleep;
	critical_enter();
	do {
		ret = try_once(call);
		if (ret == TRY_ASLEEP)
			ret = sleep_and_see(call);
	} while (ret == TRY_AGAIN);
	if (call->sleeper)
		sleeper_give(call->ns, call->sleeper, call->cancel_type);
	critical_leave();
	return ret;
}

static int set_deadline(struct call *call, const struct timespec *timeout)
{
	call->deadline = SLEEP_NO_DEADLINE;
	if (!timeout)
		return 0;
	if (!os_readable(timeout, sizeof(*timeout)))
		return -EFAULT;
	if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)
		return -EINVAL;
	call->deadline = sleep_deadline(timeout);
	return 0;
}

static bool all_readable(const char *at, size_t size)
{
	for (; size > 4096; at += 4096, size -= 4096)
		if (!os_readable(at, 4096))
			return false;
	return size == 0 || os_readable(at, size);
}

int msg_snd(struct ipc_namespace *ns, int id, const void *msgp, size_t size, int flag,
	    const struct timespec *timeout)
{
	struct call call;
	long type;
	int ret;

	pthread_testcancel();
	if (!os_readable(msgp, sizeof(long)))
		return -EFAULT;
	if (size > ns->record->msg_ctlmax || id < 0)
		return -EINVAL;
	memcpy(&type, msgp, sizeof(type)); /* it may lie anywhere */
	call.type = type;
	if (type < 1)
		return -EINVAL;
	if (!all_readable((const char *)msgp + sizeof(long), size))
		return -EFAULT;
	ret = set_deadline(&call, timeout);
	if (ret < 0)
		return ret;
	call.ns = ns;
	call.id = id;
	call.sends = true;
	call.flag = flag;
	call.msgp = (void *)msgp;
	call.size = size;
	call.swept = false;
	call.sleeper = 0;
	return make_call(&call);
}

ssize_t msg_rcv(struct ipc_namespace *ns, int id, void *msgp, size_t size, long type, int flag,
		const struct timespec *timeout)
{
	struct call call;
	int ret;

	pthread_testcancel();
	if (id < 0 || (ssize_t)size < 0)
		return -EINVAL;
	if (flag & MSG_COPY && (flag & MSG_EXCEPT || !(flag & IPC_NOWAIT)))
		return -EINVAL;
	call.ns = ns;
	call.size = size;
	/* The kernel reads the buffer for it. */
	if (flag & MSG_COPY && !all_readable(msgp, copy_room(&call)))
		return -EFAULT;
	ret = set_deadline(&call, timeout);
	if (ret < 0)
		return ret;
	call.id = id;
	call.sends = false;
	call.flag = flag;
	call.type = type;
	call.search = msg_search_of(&call.type, flag);
	call.msgp = msgp;
	call.swept = false;
	call.sleeper = 0;
	return make_call(&call);
}
