/*
 * bench-msg - what messages cost, by the libc names alone; see bench.h
 *
 * An operation is one call, but: msg-op-N two calls, a message of N bytes is sent and received;
 * msg-stream-N a message that one process sends and another receives; msg-ping-pong a round trip,
 * two calls on each side; msg-select two calls, of 10,000 messages the one of a certain type, or
 * the one of the lowest, is received and sent again; msg-get-rmid two calls, a new queue and its
 * removal.
 *
 * Every message carries a number, which its receiver checks.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <unistd.h>

enum {
	QUEUES_MIN = 10,
	TEXT_MAX = 8192,
	CROWD = 10000, /* messages that msg-select selects from */
	CROWD_TEXT = 64,
};

/* Types of messages. */
enum {
	A_PART = 1,
	THE_END, /* the last of a run of a stream: its receiver answers */
	HELLO,
};

struct message {
	long type;
	uint64_t number;
	char rest[TEXT_MAX - sizeof(uint64_t)];
};

static struct message message;
static long old_limit; /* of msg_qbytes */

/* --- messages --- */

static inline int send_number(struct bench *b, int id, long type, uint64_t number)
{
	message.type = type;
	message.number = number;
	return msgsnd(id, &message, b->size, 0);
}

/* Returns the type, -1 on an error. */
static inline long receive(struct bench *b, int id, long type, uint64_t *ret_number)
{
	ssize_t n = msgrcv(id, &message, b->size, type, 0);

	if (n < 0)
		return -1;
	if ((size_t)n != b->size) {
		fprintf(stderr, "bench-msg: msgrcv: %zd bytes, not %zu\n", n, b->size);
		errno = EPROTO;
		return -1;
	}
	*ret_number = message.number;
	return message.type;
}

static int wrong_number(uint64_t is, uint64_t should)
{
	fprintf(stderr, "bench-msg: message %llu came, not %llu\n", (unsigned long long)is,
		(unsigned long long)should);
	return -1;
}

/* --- measures: one process --- */

static int turns_op(struct bench *b, unsigned n)
{
	uint64_t number;

	for (unsigned i = 0; i < n; i++) {
		if (send_number(b, b->ids[0], A_PART, i) < 0)
			return fail("msgsnd");
		if (receive(b, b->ids[0], 0, &number) < 0)
			return fail("msgrcv");
		if (number != i)
			return wrong_number(number, i);
	}
	return 0;
}

static int turns_get(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int which = scattered(b);

		if (msgget(b->first_key + which, 0) != b->ids[which])
			return fail("msgget of an existing key");
	}
	return 0;
}

static int turns_get_rmid(struct bench *b, unsigned n)
{
	(void)b;
	for (unsigned i = 0; i < n; i++) {
		int id = msgget(IPC_PRIVATE, 0600);

		if (id < 0)
			return fail("msgget of a new queue");
		if (msgctl(id, IPC_RMID, NULL) < 0)
			return fail("IPC_RMID");
	}
	return 0;
}

static int turns_stat(struct bench *b, unsigned n)
{
	struct msqid_ds ds;

	for (unsigned i = 0; i < n; i++) {
		ds.msg_qbytes = 0;
		if (msgctl(b->ids[0], IPC_STAT, &ds) < 0)
			return fail("IPC_STAT");
		if (ds.msg_qbytes == 0) {
			fprintf(stderr, "bench-msg: IPC_STAT: msg_qbytes is 0\n");
			return -1;
		}
	}
	return 0;
}

/* --- measures: one message out of many --- */

/* The limit of msg_qbytes, read before it is set; -1 on an error. */
static long swap_limit(long limit)
{
	char old[32] = "", text[32];
	int fd = open("/proc/sys/kernel/msgmnb", O_RDWR | O_CLOEXEC);
	int size = snprintf(text, sizeof(text), "%ld", limit);
	bool done = fd >= 0 && read(fd, old, sizeof(old) - 1) > 0 && lseek(fd, 0, SEEK_SET) == 0 &&
		    write(fd, text, (size_t)size) == size;

	if (fd >= 0)
		close(fd);
	return done ? strtol(old, NULL, 10) : -1;
}

/* Queues that are made from now on can hold the crowd. Not where others would get such queues. */
static int make_room(struct bench *b)
{
	(void)b;
	if (unshare(CLONE_NEWIPC) < 0)
		return fail("a new IPC namespace, to raise msgmnb in it");
	old_limit = swap_limit((long)CROWD * CROWD_TEXT);
	return old_limit < 0 ? fail("/proc/sys/kernel/msgmnb") : 0;
}

static int end_room(struct bench *b)
{
	(void)b;
	return swap_limit(old_limit) < 0 ? fail("/proc/sys/kernel/msgmnb, cleaning up") : 0;
}

static int gather_crowd(struct bench *b)
{
	for (long type = 1; type <= CROWD; type++)
		if (send_number(b, b->ids[0], type, (uint64_t)type) < 0)
			return fail("msgsnd of the crowd");
	return 0;
}

static int select_one(struct bench *b, long wanted, long type)
{
	uint64_t number;

	if (receive(b, b->ids[0], wanted, &number) < 0)
		return fail("msgrcv of one type");
	if (number != (uint64_t)type || message.type != type)
		return wrong_number(number, (uint64_t)type);
	return send_number(b, b->ids[0], type, number) < 0 ? fail("msgsnd") : 0;
}

static int turns_select(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		long type = (long)((b->turn++ * 2654435761u) % CROWD) + 1;

		if (stopped_by || select_one(b, type, type) < 0)
			return -1;
	}
	return 0;
}

/* The lowest is always the last in the queue. */
static int turns_select_lowest(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (stopped_by || select_one(b, -CROWD, 1) < 0)
			return -1;
	return 0;
}

/* --- measures: two processes, a queue there and one back --- */

static bool is_removed(void)
{
	return errno == EIDRM || errno == EINVAL;
}

static int turns_stream(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (send_number(b, b->ids[0], A_PART, b->turn++) < 0)
			return fail("msgsnd");
	return 0;
}

static int finish_stream(struct bench *b)
{
	uint64_t number;

	if (send_number(b, b->ids[0], THE_END, b->turn) < 0)
		return fail("msgsnd of the end");
	if (receive(b, b->ids[1], 0, &number) < 0)
		return fail("msgrcv of the answer");
	return number == b->turn ? 0 : wrong_number(number, b->turn);
}

/* Until the queue is removed, as the other partner. */
static int partner_stream(struct bench *b)
{
	uint64_t number, expected = 0;
	long type;

	while ((type = receive(b, b->ids[0], 0, &number)) >= 0) {
		if (number != expected) {
			wrong_number(number, expected);
			return 1;
		}
		if (type == A_PART)
			expected++;
		else if (send_number(b, b->ids[1], THE_END, number) < 0)
			break;
	}
	return is_removed() ? 0 : 1;
}

static int turns_ping(struct bench *b, unsigned n)
{
	uint64_t number;

	for (unsigned i = 0; i < n; i++) {
		if (send_number(b, b->ids[0], A_PART, i) < 0)
			return fail("msgsnd");
		if (receive(b, b->ids[1], 0, &number) < 0)
			return fail("msgrcv");
		if (number != i)
			return wrong_number(number, i);
	}
	return 0;
}

static int partner_pong(struct bench *b)
{
	uint64_t number;

	while (receive(b, b->ids[0], 0, &number) >= 0 &&
	       send_number(b, b->ids[1], A_PART, number) == 0)
		;
	return is_removed() ? 0 : 1;
}

#define STREAM \
	.turns = turns_stream, .partner = partner_stream, .finish = finish_stream, .alone = true
#define SELECT                                                                            \
	.begin = make_room, .prepare = gather_crowd, .end = end_room, .size = CROWD_TEXT, \
	.alone = true

static const struct measure measures[] = {
	{.name = "msg-op-64", .turns = turns_op, .size = 64},
	{.name = "msg-op-4096", .turns = turns_op, .size = 4096},
	{.name = "msg-get", .turns = turns_get, .size = 8},
	{.name = "msg-get-rmid", .turns = turns_get_rmid, .size = 8},
	{.name = "msg-stat", .turns = turns_stat, .size = 8},
	{.name = "msg-stream-64", STREAM, .size = 64},
	{.name = "msg-stream-8192", STREAM, .size = 8192},
	{.name = "msg-ping-pong",
	 .turns = turns_ping,
	 .partner = partner_pong,
	 .size = 64,
	 .alone = true},
	{.name = "msg-select", .turns = turns_select, SELECT},
	{.name = "msg-select-lowest", .turns = turns_select_lowest, SELECT},
};

static const struct surroundings surroundings[] = {
	{"", QUEUES_MIN, 0},
	{"-30000-queues", OBJECTS_MAX, 0},
	{"-64-procs", QUEUES_MIN, PROCS_MAX},
};

/* --- queues --- */

static int make_queue(key_t key)
{
	int id = msgget(key, IPC_CREAT | IPC_EXCL | 0600);

	return id < 0 ? fail("msgget, making the queues") : id;
}

static int remove_queue(int id)
{
	return msgctl(id, IPC_RMID, NULL);
}

static int say_hello(struct bench *b, int who)
{
	return send_number(b, b->ids[0], HELLO, (uint64_t)who);
}

static int hear_hellos(struct bench *b, int n)
{
	uint64_t number;

	for (int i = 0; i < n; i++)
		if (receive(b, b->ids[0], HELLO, &number) < 0)
			return fail("msgrcv, waiting for the processes");
	return 0;
}

int main(int argc, char **argv)
{
	static const struct program program = {
		.name = "bench-msg",
		.measures = measures,
		.n_measures = ARRAY_SIZE(measures),
		.surroundings = surroundings,
		.n_surroundings = ARRAY_SIZE(surroundings),
		.make_one = make_queue,
		.remove_one = remove_queue,
		.say_hello = say_hello,
		.hear_hellos = hear_hellos,
	};

	return bench_main(&program, argc, argv);
}
