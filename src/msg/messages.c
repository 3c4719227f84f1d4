/* messages.c - blocks for messages, and the list of a queue; see msg.h. */
#include "msg/queue.h"

#include <errno.h>

static unsigned block_class(uint64_t size)
{
	unsigned class = 0;

	while (class < MSG_CLASSES &&
	       (uint64_t)MSG_BLOCK_MIN << class < sizeof(struct msg_msg) + size)
		class ++;
	return class;
}

int msg_new(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, int64_t type,
	    uint64_t size, ref_t *ret_ref)
{
	unsigned class = block_class(size);
	ref_t ref = class < MSG_CLASSES ? msq->kept[class] : 0;
	struct msg_msg *msg;

	if (ref) {
		msg = msg_at(ns, ref);
		tx_set(tx, msq->kept[class], msg->next);
		tx_set(tx, msq->kept_bytes, msq->kept_bytes - (MSG_BLOCK_MIN << class));
		tx_save(tx, &msg->next, sizeof(msg->next)); /* its link, if it is taken back */
	} else {
		uint64_t bytes = class < MSG_CLASSES ? (uint64_t)MSG_BLOCK_MIN << class :
						       sizeof(*msg) + size;
		int ret = arena_alloc(tx, bytes, &ref);

		if (ret < 0)
			return ret;
		msg = msg_at(ns, ref);
	}
	msg->m_type = type;
	msg->m_ts = size;
	msg->class = class;
	*ret_ref = ref;
	return 0;
}

void msg_free(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, ref_t ref)
{
	struct msg_msg *msg = msg_at(ns, ref);
	uint32_t bytes = MSG_BLOCK_MIN << msg->class;

	if (msg->class >= MSG_CLASSES || msq->kept_bytes + bytes > MSG_KEPT_BYTES) {
		arena_free(tx, ref);
		return;
	}
	tx_set(tx, msg->next, msq->kept[msg->class]);
	tx_set(tx, msq->kept[msg->class], ref);
	tx_set(tx, msq->kept_bytes, msq->kept_bytes + bytes);
}

void msg_insert(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, ref_t ref)
{
	struct msg_msg *msg = msg_at(ns, ref);
	ref_t prev = msq->messages_last, next = 0;

	/* Nearly always at the end: only what a dead receiver had in hand is older than others. */
	while (prev && msg_at(ns, prev)->number > msg->number) {
		next = prev;
		prev = msg_at(ns, prev)->prev;
	}
	/* It was in no list: without journal. */
	msg->prev = prev;
	msg->next = next;
	if (prev)
		tx_set(tx, msg_at(ns, prev)->next, ref);
	else
		tx_set(tx, msq->messages, ref);
	if (next)
		tx_set(tx, msg_at(ns, next)->prev, ref);
	else
		tx_set(tx, msq->messages_last, ref);
	tx_set(tx, msq->q_qnum, msq->q_qnum + 1);
	tx_set(tx, msq->q_cbytes, msq->q_cbytes + msg->m_ts);
	if (unlikely(msq->polled && msq->q_qnum == 1))
		msg_poll_set(ns, msq, true);
}

void msg_remove(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq, ref_t ref)
{
	const struct msg_msg *msg = msg_at(ns, ref);

	if (msg->prev)
		tx_set(tx, msg_at(ns, msg->prev)->next, msg->next);
	else
		tx_set(tx, msq->messages, msg->next);
	if (msg->next)
		tx_set(tx, msg_at(ns, msg->next)->prev, msg->prev);
	else
		tx_set(tx, msq->messages_last, msg->prev);
	tx_set(tx, msq->q_qnum, msq->q_qnum - 1);
	tx_set(tx, msq->q_cbytes, msq->q_cbytes - msg->m_ts);
}

/* By place. */
static ref_t find_number(struct ipc_namespace *ns, const struct msg_queue *msq, int64_t number)
{
	ref_t ref = number < 0 ? 0 : msq->messages;

	while (ref && number-- > 0)
		ref = msg_at(ns, ref)->next;
	return ref;
}

/* The oldest of the lowest type that is at most `type`. */
static ref_t find_lowest(struct ipc_namespace *ns, const struct msg_queue *msq, int64_t type)
{
	ref_t found = 0;

	for (ref_t ref = msq->messages; ref; ref = msg_at(ns, ref)->next) {
		int64_t is = msg_at(ns, ref)->m_type;

		if (is > type)
			continue;
		found = ref;
		if (is == 1)
			break;
		type = is - 1;
	}
	return found;
}

ref_t msg_find(struct ipc_namespace *ns, const struct msg_queue *msq, int64_t type,
	       enum msg_search search)
{
	ref_t ref = msq->messages;

	if (search == SEARCH_NUMBER)
		return find_number(ns, msq, type);
	if (search == SEARCH_LESSEQUAL)
		return find_lowest(ns, msq, type);
	while (ref && !msg_matches(msg_at(ns, ref)->m_type, type, search))
		ref = msg_at(ns, ref)->next;
	return ref;
}
