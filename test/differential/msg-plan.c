/*
 * msg-plan.c - the calls on message queues that are drawn.
 *
 * Small msg_qbytes make senders sleep, selective receivers sleep beside messages that they don't want. The kernel wakes
 * all senders that fit, each by itself, after a receive, and everybody after IPC_SET: they go on by themselves, in whatever order the
 * scheduler likes. Where the order is not kept (world.ordered), no plan lets two race: only one sender sleeps
 * at a queue, and IPC_SET is for queues with one sleeper at most.
 */
#include "diff.h"

#include <limits.h>

/* Names that <sys/msg.h> keeps to itself in some libcs. */
#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif
#ifndef MSG_COPY
#define MSG_COPY 040000
#endif
#ifndef MSG_EXCEPT
#define MSG_EXCEPT 020000
#endif

#define BEYOND_INT (1LL << 32)

static unsigned count_sleepers(const struct world *world, int slot, bool receive)
{
	unsigned n = 0;

	for (unsigned i = 0; i < world->workers; i++)
		n += world->worker[i].state == WORKER_ASLEEP && world->worker[i].slot == slot &&
		     world->worker[i].receives == receive;
	return n;
}

/* --- limits --- */

static void plan_limit(struct dice *dice, const struct world *world, struct order *order)
{
	static const int most[] = {8192, 8192, 8192, 20000, 4100, 100, 10, 0};
	static const int bytes[] = {16384, 16384, 200, 200, 100, 65536, 10, 0};
	static const int queues[] = {32000, 32000, 4, 3, 1};

	(void)world;
	order->kind = ORDER_LIMIT;
	order->slot = -1;
	switch (roll(dice, 8)) {
	case 0:
	case 1:
	case 2:
		order->limit = "msgmax";
		order->value = PICK(dice, most);
		break;
	case 3:
	case 4:
	case 5:
		order->limit = "msgmnb";
		order->value = PICK(dice, bytes);
		break;
	case 6:
		order->limit = "msgmni";
		order->value = PICK(dice, queues);
		break;
	default:
		order->limit = "msg_next_id";
		order->value = (int)roll(dice, 40) + (int)roll(dice, 5) * IPCMNI;
	}
}

/* --- msgget --- */

void plan_get(struct dice *dice, const struct world *world, struct order *order)
{
	static const int modes[] = {0600, 0600, 0600, 0660, 0666, 0644, 0622, 0400, 0200, 0};
	int free_slot = find_free_slot(world);

	if (world->limits && one_in(dice, 12)) { /* or msgmni would never go up again */
		plan_limit(dice, world, order);
		return;
	}
	order->kind = ORDER_GET;
	order->slot = free_slot;
	order->nsems = 1;
	order->key = one_in(dice, 5) ? IPC_PRIVATE : world->key_base + (int)roll(dice, KEYS);
	order->flags = PICK(dice, modes) | (world->users ? 0 : 0600);
	if (!one_in(dice, 5))
		order->flags |= IPC_CREAT;
	if (one_in(dice, 6))
		order->flags |= IPC_EXCL;
	if (free_slot >= 0)
		return;
	order->flags &= ~IPC_CREAT;
	if (order->key == IPC_PRIVATE)
		order->key = world->key_base;
}

/* --- msgsnd and msgrcv --- */

static void plan_send(struct dice *dice, struct order *order)
{
	static const long types[] = {1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6};
	static const long odd_types[] = {
		0,	 -1,	     LONG_MIN,	     LONG_MAX,		LONG_MAX - 1,
		INT_MAX, BEYOND_INT, BEYOND_INT + 1, BEYOND_INT * 3 + 2};
	static const size_t sizes[] = {0, 0, 1, 2, 3, 5, 8, 8, 13, 20, 20, 40};
	static const size_t large[] = {64,   100,  200,	 1000, 4047, 4048,
				       4049, 4056, 4096, 8000, 8191, 8192};
	static const size_t too_large[] = {8193,    16384,    20001,	65536,
					   INT_MAX, LONG_MAX, SIZE_MAX, (size_t)LONG_MIN};

	order->type = one_in(dice, 60) ? PICK(dice, odd_types) : PICK(dice, types);
	order->size = one_in(dice, 25) ? PICK(dice, large) : PICK(dice, sizes);
	if (one_in(dice, 80))
		order->size = PICK(dice, too_large);
	order->text = roll(dice, INT_MAX);
	if (one_in(dice, 100))
		order->flags |= MSG_NOERROR | MSG_EXCEPT | MSG_COPY;
}

static long choose_wanted(struct dice *dice)
{
	static const long odd_types[] = {LONG_MIN,   LONG_MIN + 1,   LONG_MAX,	  INT_MIN,
					 BEYOND_INT, BEYOND_INT + 1, -BEYOND_INT, -BEYOND_INT - 1};
	unsigned at = roll(dice, 100);

	if (at < 2)
		return PICK(dice, odd_types);
	if (at < 40)
		return 0;
	if (at < 72)
		return 1 + (long)roll(dice, 5);
	return -1 - (long)roll(dice, 5);
}

/* MSG_COPY: the type is the message's place in the queue. */
static void plan_copy(struct dice *dice, struct order *order)
{
	order->flags |= MSG_COPY;
	order->type = (long)roll(dice, 8) - 1;
	if (!one_in(dice, 12))
		order->flags |= IPC_NOWAIT;
	if (!one_in(dice, 12))
		order->flags &= ~MSG_EXCEPT;
}

static void plan_receive(struct dice *dice, struct order *order)
{
	static const size_t sizes[] = {64, 64, 64, 9000, 9000, 9000, 20000, 40, 20, 10, 4, 1, 0};
	static const size_t odd_sizes[] = {8191,     8193,     65536,		INT_MAX,
					   LONG_MAX, SIZE_MAX, (size_t)LONG_MIN};

	order->receives = true;
	order->type = choose_wanted(dice);
	order->size = one_in(dice, 60) ? PICK(dice, odd_sizes) : PICK(dice, sizes);
	if (one_in(dice, 4))
		order->flags |= MSG_NOERROR;
	if (one_in(dice, 8))
		order->flags |= MSG_EXCEPT;
	if (one_in(dice, 25))
		plan_copy(dice, order);
}

/* All of those that would be wrong for some reason, too. */
static void plan_op(struct dice *dice, const struct world *world, struct order *order)
{
	order->kind = ORDER_OP;
	choose_object(dice, world, order);
	order->flags = one_in(dice, 6) ? IPC_NOWAIT : 0;
	if (one_in(dice, 200))
		order->flags |= 0100777; /* means nothing */
	if (one_in(dice, 2))
		plan_send(dice, order);
	else
		plan_receive(dice, order);
	if (world->pointers && one_in(dice, 80))
		order->buffer = 1 + roll(dice, BUFFER_KINDS - 1);
	if (world_count(world, WORKER_IDLE) <= 1 + roll(dice, 3))
		order->flags |= IPC_NOWAIT;
	if (!world->ordered && !order->receives && count_sleepers(world, order->slot, false) > 0)
		order->flags |= IPC_NOWAIT;
}

void plan_brief(struct dice *dice, const struct world *world, struct order *order)
{
	plan_op(dice, world, order);
	order->flags |= IPC_NOWAIT;
}

bool order_can_sleep(const struct world *world, const struct order *order)
{
	return order->kind == ORDER_OP && !(order->flags & IPC_NOWAIT) && order->slot >= 0 &&
	       world->slot[order->slot].alive;
}

/* --- msgctl --- */

static void plan_ctl(struct dice *dice, const struct world *world, struct order *order, int cmd)
{
	static const unsigned modes[] = {0600, 0600, 0644, 0666,  0666,
					 0,    0400, 0200, 01777, 0160666};
	static const unsigned long bytes[] = {0,  1,   10,  20,	 20,   40,   40,   60,
					      60, 100, 100, 200, 1000, 8192, 16384};
	static const unsigned long odd_bytes[] = {16385, 65536, INT_MAX, LONG_MAX, ULONG_MAX};

	order->kind = ORDER_CTL;
	choose_object(dice, world, order);
	order->cmd = cmd;
	order->bad_pointer = one_in(dice, 60);
	order->mode = PICK(dice, modes) | (world->users ? 0 : 0600);
	order->uid = world->users && one_in(dice, 3) ? NOBODY : 0;
	if (one_in(dice, 60))
		order->uid = (uid_t)-1;
	order->qbytes = PICK(dice, bytes);
	if (world->users && one_in(dice, 20))
		order->qbytes = PICK(dice, odd_bytes);
	if (cmd == MSG_STAT || cmd == MSG_STAT_ANY)
		choose_index(dice, world, order);
	if (cmd == IPC_SET && !world->ordered && order->slot >= 0 &&
	    world->slot[order->slot].sleepers > 1)
		order->cmd = IPC_STAT;
}

static void plan_invalid(struct dice *dice, const struct world *world, struct order *order)
{
	static const int commands[] = {-1, 4, 10, 14, 99, 256 + IPC_STAT, INT32_MAX};

	if (one_in(dice, 2)) {
		plan_ctl(dice, world, order, PICK(dice, commands));
		return;
	}
	plan_op(dice, world, order);
	order->id = one_in(dice, 2) ? -1 : -2 - (int)roll(dice, 100000);
	order->slot = -1;
}

/* --- the rest --- */

void plan_kill(struct dice *dice, const struct world *world, struct order *order)
{
	(void)dice, (void)world;
	order->kind = ORDER_KILL;
}

/* Those of one process that sleep at one queue call again in no order that is kept. */
bool can_stop(const struct world *world, const struct order *order)
{
	unsigned proc = world->worker[order->worker].proc, asleep = 0;

	for (unsigned i = 0; i < world->workers; i++)
		asleep += world->worker[i].state == WORKER_ASLEEP && world->worker[i].proc == proc;
	return asleep < 2;
}

void plan_call(struct dice *dice, const struct world *world, struct order *order)
{
	static const int stats[] = {IPC_STAT, IPC_STAT, MSG_STAT, MSG_STAT_ANY};
	unsigned at = roll(dice, 1000);

	if (at < 40)
		plan_ctl(dice, world, order, PICK(dice, stats));
	else if (at < 55)
		plan_ctl(dice, world, order, one_in(dice, 3) ? IPC_INFO : MSG_INFO);
	else if (at < 110)
		plan_ctl(dice, world, order, IPC_SET);
	else if (at < 140)
		plan_get(dice, world, order);
	else if (at < 150)
		plan_ctl(dice, world, order, IPC_RMID);
	else if (at < 170)
		plan_invalid(dice, world, order);
	else
		plan_op(dice, world, order);
}
