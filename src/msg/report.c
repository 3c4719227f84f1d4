/* report.c - queues as text and as copies, for /proc/sysvipc, `vee` and the checks; see msg.h. */
#include "msg/queue.h"

#include <stdio.h>
#include <string.h>

bool msg_each(struct ipc_namespace *ns, int *index, struct msg_info_entry *ret_entry)
{
	const struct idr *idr = &ipc_ids_of(ns, IPC_MSG_IDS)->ipcs_idr;

	memset(ret_entry, 0, sizeof(*ret_entry));
	while ((*index = idr_next(&ns->arena, idr, *index + 1)) >= 0) {
		struct msg_queue *msq = msg_record(ns, *index);
		int id = msq ? load_acquire(msq->q_perm.id) : -1;
		struct tx *tx;

		if (msg_lock_swept(ns, id, &tx, &msq) < 0)
			continue;
		msg_fill_ds(msq, &ret_entry->ds);
		ret_entry->id = id;
		tx_commit(tx);
		return true;
	}
	return false;
}

unsigned msg_messages(struct ipc_namespace *ns, int id, struct msg_entry *entries, unsigned max)
{
	struct msg_queue *msq;
	unsigned n = 0;
	struct tx *tx;

	if (msg_lock_swept(ns, id, &tx, &msq) < 0)
		return 0;
	for (ref_t ref = msq->messages; ref; n++) {
		const struct msg_msg *msg = msg_at(ns, ref);

		if (n < max)
			entries[n] = (struct msg_entry){msg->m_type, msg->m_ts};
		ref = msg->next;
	}
	tx_commit(tx);
	return n;
}

static struct msg_waiter_entry waiter_of(const struct msg_sleeper *self)
{
	bool less = self->search == SEARCH_LESSEQUAL;

	return (struct msg_waiter_entry){
		.pid = self->sleeper.pid,
		.tid = self->sleeper.tid,
		.sends = self->search == 0,
		.type = less ? -self->type : self->type,
		.except = self->search == SEARCH_NOTEQUAL,
		.size = self->maxsize,
		.since = self->sleeper.since,
	};
}

unsigned msg_waiters(struct ipc_namespace *ns, int id, struct msg_waiter_entry *entries,
		     unsigned max)
{
	struct msg_queue *msq;
	unsigned n = 0;
	struct tx *tx;

	proc_sweep(ns);
	if (msg_lock(ns, id, &tx, &msq) < 0)
		return 0;
	const ref_t lists[] = {msq->q_receivers.first, msq->q_senders.first};

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++)
		for (ref_t ref = lists[i]; ref; ref = sleeper_at(ns, ref)->next, n++)
			if (n < max)
				entries[n] = waiter_of(msg_sleeper_at(ns, ref));
	tx_commit(tx);
	return n;
}

size_t msg_proc_text(struct ipc_namespace *ns, char *buf, size_t size)
{
	struct msg_info_entry e;
	size_t at =
		snprintf(buf, size,
			 "       key      msqid perms      cbytes       qnum lspid lrpid   uid   "
			 "gid  cuid  cgid      stime      rtime      ctime\n");

	for (int i = -1; msg_each(ns, &i, &e);) {
		const struct msqid_ds *ds = &e.ds;

		at += snprintf(at < size ? buf + at : NULL, at < size ? size - at : 0,
			       "%10d %10d  %4o  %10lu %10lu %5u %5u %5u %5u %5u %5u %10llu %10llu "
			       "%10llu\n",
			       ds->msg_perm.__key, e.id, ds->msg_perm.mode,
			       (unsigned long)ds->__msg_cbytes, (unsigned long)ds->msg_qnum,
			       ds->msg_lspid, ds->msg_lrpid, ds->msg_perm.uid, ds->msg_perm.gid,
			       ds->msg_perm.cuid, ds->msg_perm.cgid,
			       (unsigned long long)ds->msg_stime, (unsigned long long)ds->msg_rtime,
			       (unsigned long long)ds->msg_ctime);
	}
	return at;
}

/* Most sleepers and messages that there can be: beyond, a list is a ring. */
#define LIST_LONGEST (1u << 25)

static bool lies_in_heap(struct ipc_namespace *ns, ref_t ref)
{
	uint64_t end = ARENA_HEAP_AT + (uint64_t)ns->arena.header->heap_top * ARENA_PAGE;

	return ref >= ARENA_HEAP_AT && ref < end;
}

static const char *check_messages(struct ipc_namespace *ns, const struct msg_queue *msq)
{
	uint64_t n = 0, bytes = 0, number = 0;
	ref_t prev = 0;

	for (ref_t ref = msq->messages; ref; n++) {
		const struct msg_msg *msg = msg_at(ns, ref);

		if (!lies_in_heap(ns, ref) || n > LIST_LONGEST)
			return "a list of messages is a ring, or leaves the file";
		if (msg->prev != prev || (n && msg->number <= number))
			return "messages are not linked both ways, or not in order";
		if (msg->number >= msq->next_number || msg->m_type < 1)
			return "a message was never sent";
		number = msg->number;
		bytes += msg->m_ts;
		prev = ref;
		ref = msg->next;
	}
	if (prev != msq->messages_last || n != msq->q_qnum || bytes != msq->q_cbytes)
		return "q_qnum or q_cbytes is not what the messages are";
	return NULL;
}

static const char *check_sleepers(struct ipc_namespace *ns, const struct msg_queue *msq,
				  const struct sleeper_list *list, bool sends)
{
	ref_t prev = 0;
	unsigned n = 0;

	for (ref_t ref = list->first; ref;) {
		const struct msg_sleeper *self = msg_sleeper_at(ns, ref);

		if (!lies_in_heap(ns, ref) || n++ > LIST_LONGEST)
			return "a list of sleepers is a ring, or leaves the file";
		if (self->sleeper.prev != prev || !sleeper_is(&self->sleeper, SLEEPER_QUEUED) ||
		    self->sleeper.incarnation != msq->incarnation ||
		    msg_queue_at(ns, self->sleeper.object) != msq || (self->search == 0) != sends)
			return "a sleeper does not know its queue";
		if (sends ? !self->msg || msg_at(ns, self->msg)->m_ts != self->maxsize :
			    self->msg || msg_find(ns, msq, self->type, self->search))
			return "a sleeper has no message, or sleeps beside one";
		if (sends && msg_fits(msq->q_cbytes, msq->q_qnum, msq->q_qbytes, self->maxsize))
			return "a sender sleeps, and there is room";
		prev = ref;
		ref = self->sleeper.next;
	}
	return prev == list->last ? NULL : "a list of sleepers does not know its last";
}

static const char *msg_queue_check(struct ipc_namespace *ns, const struct msg_queue *msq)
{
	const char *wrong = check_messages(ns, msq);
	uint32_t kept = 0;

	if (!wrong)
		wrong = check_sleepers(ns, msq, &msq->q_receivers, false);
	if (!wrong)
		wrong = check_sleepers(ns, msq, &msq->q_senders, true);
	for (unsigned class = 0; !wrong && class < MSG_CLASSES; class ++)
		for (ref_t ref = msq->kept[class]; ref && kept <= MSG_KEPT_BYTES;
		     ref = msg_at(ns, ref)->next)
			kept += MSG_BLOCK_MIN << class;
	if (!wrong && kept != msq->kept_bytes)
		wrong = "kept_bytes is not what the queue keeps";
	return wrong;
}

const char *msg_check(struct ipc_namespace *ns)
{
	const struct idr *idr = &ipc_ids_of(ns, IPC_MSG_IDS)->ipcs_idr;
	const char *wrong = NULL;
	struct tx *tx;

	for (int i = -1; !wrong && (i = idr_next(&ns->arena, idr, i + 1)) >= 0;) {
		struct msg_queue *msq = msg_record(ns, i);

		if (!msq || tx_begin(&ns->arena, &tx) < 0)
			continue;
		tx_lock(tx, &msq->lock);
		if (!msq->q_perm.deleted)
			wrong = msg_queue_check(ns, msq);
		tx_commit(tx);
	}
	return wrong;
}
