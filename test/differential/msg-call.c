/*
 * msg-call.c - the calls on message queues, as a worker makes them.
 *
 * A text is made from a number; of a text that was received, a hash is shown. A buffer is bigger than the call is told, and
 * filled: what the call has no right to write shows.
 */
#include "diff.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Commands that <sys/msg.h> keeps to itself in some libcs. */
#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif

#define TEXT_MAX  20000 /* no plan sets msgmax higher */
#define MARGIN	  64
#define FILL	  0xa5
#define PART	  5
#define OLD_TYPE  7
#define FNV_START 2166136261u
#define FNV_PRIME 16777619u

struct message {
	long type;
	unsigned char text[TEXT_MAX + MARGIN];
};

static char *odd_pages; /* read and write, none, read only, none */
static size_t page_size;

static __attribute__((constructor)) void make_odd_pages(void)
{
	page_size = (size_t)sysconf(_SC_PAGESIZE);
	odd_pages = mmap(NULL, 4 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	if (odd_pages == MAP_FAILED)
		_exit(2);
	*(long *)(odd_pages + 2 * page_size) = OLD_TYPE;
	mprotect(odd_pages + page_size, page_size, PROT_NONE);
	mprotect(odd_pages + 2 * page_size, page_size, PROT_READ);
	mprotect(odd_pages + 3 * page_size, page_size, PROT_NONE);
}

/* What is read of it is the same in every process. */
static void *odd_buffer(const struct order *order)
{
	size_t size = sizeof(long) + (order->buffer == BUFFER_PART ? PART : 0);
	char *at = odd_pages + page_size - size;

	if (order->buffer == BUFFER_NONE)
		return (void *)8;
	if (order->buffer == BUFFER_READONLY)
		return odd_pages + 2 * page_size;
	memcpy(at, &order->type, sizeof(order->type));
	memset(at + sizeof(long), FILL, size - sizeof(long));
	return at;
}

/* --- texts --- */

static size_t text_room(const struct order *order)
{
	return order->size < TEXT_MAX ? order->size : TEXT_MAX;
}

static void make_text(unsigned char *text, size_t size, uint32_t from)
{
	uint32_t state = from | 1;

	for (size_t i = 0; i < size; i++) {
		state = state * 1664525u + 1013904223u;
		text[i] = (unsigned char)(state >> 24);
	}
}

static uint32_t hash_text(const unsigned char *text, size_t size)
{
	uint32_t hash = FNV_START;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ text[i]) * FNV_PRIME;
	return hash;
}

static bool is_filled(const unsigned char *from, const unsigned char *to)
{
	while (from < to)
		if (*from++ != FILL)
			return false;
	return true;
}

/* --- calls --- */

static int call_send(const struct order *order)
{
	struct message message = {.type = order->type};

	if (order->buffer != BUFFER_GOOD)
		return msgsnd(order->id, odd_buffer(order), order->size, order->flags);
	make_text(message.text, text_room(order), order->text);
	return msgsnd(order->id, &message, order->size, order->flags);
}

static int call_receive(const struct order *order, struct reply *reply)
{
	struct message message;
	const unsigned char *end = message.text + text_room(order) + MARGIN;
	ssize_t n;
	int error;

	reply->hash = 0;
	reply->type = 0;
	if (order->buffer != BUFFER_GOOD)
		return (int)msgrcv(order->id, odd_buffer(order), order->size, order->type,
				   order->flags);
	memset(&message, FILL, offsetof(struct message, text) + text_room(order) + MARGIN);
	n = msgrcv(order->id, &message, order->size, order->type, order->flags);
	error = errno;
	if (n < 0) {
		reply->spilled = !is_filled((unsigned char *)&message, end);
	} else {
		reply->type = message.type;
		reply->hash = hash_text(message.text, (size_t)n);
		reply->spilled = !is_filled(message.text + n, end);
	}
	errno = error;
	return (int)n;
}

int call_op(const struct order *order, struct reply *reply)
{
	return order->receives ? call_receive(order, reply) : call_send(order);
}

int call_get(const struct order *order)
{
	return msgget(order->key, order->flags);
}

int call_ctl(const struct order *order, struct reply *reply)
{
	void *arg = &reply->queue;

	memset(&reply->queue, 0, sizeof(reply->queue));
	if (order->cmd == IPC_SET) {
		reply->queue.msg_perm.uid = order->uid;
		reply->queue.msg_perm.gid = order->uid;
		reply->queue.msg_perm.mode = (unsigned short)order->mode;
		reply->queue.msg_qbytes = order->qbytes;
	}
	if (order->cmd == IPC_INFO || order->cmd == MSG_INFO)
		arg = &reply->queues;
	if (order->bad_pointer)
		arg = (void *)8;
	return msgctl(order->id, order->cmd, arg);
}

void object_remove(int id)
{
	msgctl(id, IPC_RMID, NULL);
}

int objects_count(void)
{
	struct msginfo info;

	return msgctl(0, MSG_INFO, (struct msqid_ds *)&info) < 0 ? -1 : info.msgpool;
}
