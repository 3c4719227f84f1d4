/*
 * plan.c - which operation is next: a function of the seed, the operation's number and the world.
 *
 * Each operation has dice of its own, so that leaving operations out (--only) changes the others as little as can be.
 * The world is what a trace shows anyhow, so two runs whose traces are alike so far get the same next order.
 *
 * The weights keep about half of the workers asleep, several on one set, and the values small: so operations wake
 * each other, in cascades. A set is chosen with a leaning to the first slots for the same reason.
 */
#include "diff.h"

#include <string.h>

/* Commands that <sys/sem.h> keeps to itself in some libcs. */
#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif

#define TICK_EVERY 20000

struct dice {
	uint64_t state;
};

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9fb21c651e98df25u;
	x ^= x >> 29;
	x *= 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

static struct dice dice_new(uint64_t seed, uint64_t number, uint64_t purpose)
{
	return (struct dice){mix(seed * 3 + purpose) + mix(number + 0x51ed270b)};
}

/* 0 … sides - 1 */
static unsigned roll(struct dice *dice, unsigned sides)
{
	dice->state += 0x9e3779b97f4a7c15u;
	return (unsigned)((mix(dice->state) >> 32) * sides >> 32);
}

static bool one_in(struct dice *dice, unsigned n)
{
	return roll(dice, n) == 0;
}

bool plan_chance(uint64_t seed, uint64_t number, unsigned n)
{
	struct dice dice = dice_new(seed, number, 1);

	return one_in(&dice, n);
}

#define PICK(dice, array) ((array)[roll((dice), COUNT_OF(array))])

/* --- the world --- */

unsigned world_count(const struct world *world, enum worker_state state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < world->workers; i++)
		n += world->worker[i].state == state;
	return n;
}

unsigned world_threads(const struct world *world, unsigned proc)
{
	unsigned n = 0;

	for (unsigned i = 0; i < world->workers; i++)
		n += world->worker[i].state != WORKER_DEAD && world->worker[i].proc == proc;
	return n;
}

/* The first worker in that state, from `from` on; -1: none. */
static int find_worker(const struct world *world, enum worker_state state, unsigned from)
{
	for (unsigned i = 0; i < world->workers; i++) {
		unsigned at = (from + i) % world->workers;

		if (world->worker[at].state == state)
			return (int)at;
	}
	return -1;
}

static int find_free_slot(const struct world *world)
{
	for (int i = 0; i < SLOTS; i++)
		if (!world->slot[i].alive && world->slot[i].sleepers == 0)
			return i;
	return -1;
}

/* --- sets --- */

static int sequel_id(int id, int sequences)
{
	return id < 0 ? -1 : (id + sequences * IPCMNI) & INT32_MAX;
}

/* -1, or the next set's of that index; which may be there, in another slot. */
static void choose_odd_id(struct dice *dice, const struct world *world, struct order *order)
{
	bool none = one_in(dice, 3) || !world->exact;

	order->slot = -1;
	order->id = none ? -1 : sequel_id(order->id, 1 + (int)roll(dice, 9));
	for (int i = 0; i < SLOTS; i++)
		if (world->slot[i].alive && world->slot[i].id == order->id)
			order->slot = i;
}

/* A living set, rarely one that is gone or never was. */
static void choose_set(struct dice *dice, const struct world *world, struct order *order)
{
	unsigned at = roll(dice, SLOTS), other = roll(dice, SLOTS);

	if (other < at)
		at = other;
	for (unsigned i = 0; i < SLOTS && !world->slot[at].alive && !one_in(dice, 16); i++)
		at = (at + 1) % SLOTS;
	order->slot = (int)at;
	order->id = world->slot[at].id;
	if (one_in(dice, 200))
		choose_odd_id(dice, world, order);
}

static int choose_semaphore(struct dice *dice, const struct world *world, int slot)
{
	int nsems = slot < 0 ? 4 : world->slot[slot].nsems;
	unsigned few = nsems > SEMS_SHOWN ? SEMS_SHOWN : nsems > 0 ? (unsigned)nsems : 1;
	unsigned at = roll(dice, few), other = roll(dice, few);

	if (one_in(dice, 100))
		return nsems + (int)(one_in(dice, 2) ? 0 : roll(dice, 60000));
	return (int)(other < at ? other : at);
}

static void plan_semget(struct dice *dice, const struct world *world, struct order *order)
{
	static const int sizes[] = {1, 1, 2, 2, 3, 3, 4, 6, 8, 0, 5, SEMS_MAX};
	static const int odd_sizes[] = {-1, 32000, 32001, INT32_MAX};
	static const int modes[] = {0600, 0600, 0600, 0660, 0666, 0644, 0622, 0400, 0200, 0};
	int free_slot = find_free_slot(world);

	order->kind = ORDER_SEMGET;
	order->slot = free_slot;
	order->key = one_in(dice, 5) ? IPC_PRIVATE : world->key_base + (int)roll(dice, KEYS);
	order->nsems = PICK(dice, sizes);
	if (one_in(dice, 40))
		order->nsems = PICK(dice, odd_sizes);
	order->flags = PICK(dice, modes) | (world->users ? 0 : 0600);
	if (!one_in(dice, 5))
		order->flags |= IPC_CREAT;
	if (one_in(dice, 6))
		order->flags |= IPC_EXCL;
	if (free_slot >= 0 && order->nsems != 32000)
		return;
	order->flags &= ~IPC_CREAT;
	if (order->key == IPC_PRIVATE)
		order->key = world->key_base;
}

/* --- semop --- */

static short choose_amount(struct dice *dice)
{
	static const short small[] = {-1, -1, -1, -1, -1, -1, -2, -2, -2, -3, 1,
				      1,  1,  1,  1,  1,  2,  2,  3,  0,  0,  0};
	static const short large[] = {100, -100, 20000, -20000, 32767, -32767, -32768};

	return one_in(dice, 150) ? PICK(dice, large) : PICK(dice, small);
}

static unsigned choose_nsops(struct dice *dice)
{
	static const unsigned few[] = {1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 8};

	if (one_in(dice, 400))
		return 9 + roll(dice, SOPS_MAX - 8);
	return PICK(dice, few);
}

static enum wait_kind choose_wait(struct dice *dice)
{
	static const enum wait_kind lasting[] = {WAIT_SEMOP, WAIT_SEMOP, WAIT_SEMOP,
						 WAIT_NULL,  WAIT_LONG,	 WAIT_LONG};

	if (one_in(dice, 200))
		return WAIT_SHORT;
	if (one_in(dice, 30))
		return WAIT_ZERO;
	if (one_in(dice, 150))
		return WAIT_BAD_NSEC + roll(dice, 2);
	if (one_in(dice, 100))
		return WAIT_HUGE;
	return PICK(dice, lasting);
}

/* Each operation of the array may want or not want a flag, or all of them, or none. */
static short choose_flag(struct dice *dice, unsigned style, short flag)
{
	if (style >= 4)
		return 0;
	return style == 0 || one_in(dice, 2) ? flag : 0;
}

static void never_sleep(struct order *order)
{
	order->wait = WAIT_SEMOP;
	for (unsigned i = 0; i < order->nsops; i++)
		order->sops[i].sem_flg |= IPC_NOWAIT;
}

static void plan_semop(struct dice *dice, const struct world *world, struct order *order)
{
	unsigned undo_style = roll(dice, 8), nowait_style = roll(dice, 16);

	order->kind = ORDER_SEMOP;
	choose_set(dice, world, order);
	order->wait = choose_wait(dice);
	order->nsops = choose_nsops(dice);
	for (unsigned i = 0; i < order->nsops; i++) {
		struct sembuf *sop = &order->sops[i];

		sop->sem_num = (unsigned short)choose_semaphore(dice, world, order->slot);
		sop->sem_op = choose_amount(dice);
		sop->sem_flg = choose_flag(dice, undo_style / 2 * 2, SEM_UNDO);
		sop->sem_flg |= choose_flag(dice, nowait_style, IPC_NOWAIT);
		if (one_in(dice, 500))
			sop->sem_flg |= (short)0x4001;
	}
	if (world_count(world, WORKER_IDLE) <= 1 + roll(dice, 3))
		never_sleep(order);
}

bool order_uses_undo(const struct order *order)
{
	for (unsigned i = 0; i < order->nsops && i < SOPS_MAX; i++)
		if (order->sops[i].sem_flg & SEM_UNDO)
			return true;
	return false;
}

bool order_can_sleep(const struct world *world, const struct order *order)
{
	return order->kind == ORDER_SEMOP && order->wait < WAIT_ZERO && order->slot >= 0 &&
	       world->slot[order->slot].alive;
}

/* --- semctl --- */

static void plan_values(struct dice *dice, const struct world *world, struct order *order)
{
	static const int values[] = {0, 0, 0, 1, 1, 2, 3, 4};
	static const int odd_values[] = {-1, 32767, 32768, 40000, 32766};

	(void)world;
	order->value = one_in(dice, 60) ? PICK(dice, odd_values) : PICK(dice, values);
	for (unsigned i = 0; i < SEMS_MAX; i++)
		order->array[i] = i < SEMS_SHOWN ? (unsigned short)PICK(dice, values) : 0;
	if (one_in(dice, 40))
		order->array[roll(dice, 4)] = (unsigned short)PICK(dice, odd_values);
}

static void plan_semctl(struct dice *dice, const struct world *world, struct order *order, int cmd)
{
	static const unsigned modes[] = {0600, 0600, 0644, 0666, 0, 0400, 0200, 01777, 0160666};

	order->kind = ORDER_SEMCTL;
	choose_set(dice, world, order);
	order->cmd = cmd;
	order->num = choose_semaphore(dice, world, order->slot);
	order->bad_pointer = one_in(dice, 60);
	order->mode = PICK(dice, modes) | (world->users ? 0 : 0600);
	order->uid = world->users && one_in(dice, 3) ? NOBODY : 0;
	if (one_in(dice, 60))
		order->uid = (uid_t)-1;
	plan_values(dice, world, order);
	if ((cmd != SEM_STAT && cmd != SEM_STAT_ANY) || order->slot < 0)
		return;
	if (!world->exact && !world->slot[order->slot].alive)
		order->cmd = IPC_STAT; /* a stranger's set may have that index now */
	if (!one_in(dice, 4) && order->id >= 0)
		order->id %= IPCMNI;
	else if (world->exact && one_in(dice, 3))
		order->id = (int)roll(dice, 80);
}

static void plan_invalid(struct dice *dice, const struct world *world, struct order *order)
{
	static const int commands[] = {-1, 4, 5, 10, 21, 99, 256 + IPC_STAT, INT32_MAX};

	switch (roll(dice, 4)) {
	case 0:
		plan_semop(dice, world, order);
		order->nsops = one_in(dice, 2) ? 0 : 501 + roll(dice, 1000);
		break;
	case 1:
		plan_semop(dice, world, order);
		order->id = one_in(dice, 2) ? -1 : -2 - (int)roll(dice, 100000);
		order->slot = -1;
		break;
	case 2:
		plan_semop(dice, world, order);
		order->bad_pointer = world->pointers;
		break;
	default:
		plan_semctl(dice, world, order, PICK(dice, commands));
	}
}

/* --- processes --- */

static void plan_fork_once(struct dice *dice, const struct world *world, struct order *order)
{
	plan_semop(dice, world, order);
	never_sleep(order);
	order->kind = ORDER_FORK_ONCE;
	order->how = roll(dice, EXIT_KINDS);
}

static void plan_seteuid(const struct world *world, struct order *order)
{
	unsigned proc = world->worker[order->worker].proc;

	/* glibc interrupts the other threads for it. */
	if (!world->users || world_threads(world, proc) != 1)
		return;
	order->kind = ORDER_SETEUID;
	order->uid = world->proc[proc].nobody ? 0 : NOBODY;
}

static void plan_exec(const struct world *world, struct order *order)
{
	unsigned proc = world->worker[order->worker].proc;

	if (!world->proc[proc].nobody || world_threads(world, proc) == 1)
		order->kind = ORDER_EXEC;
}

static void plan_process(struct dice *dice, const struct world *world, struct order *order)
{
	order->how = roll(dice, EXIT_KINDS);
	switch (roll(dice, 16)) {
	case 0:
	case 1:
		order->kind = ORDER_EXIT;
		break;
	case 2:
		plan_exec(world, order);
		break;
	case 3:
	case 4:
		plan_fork_once(dice, world, order);
		break;
	case 5:
		order->kind = ORDER_VFORK;
		break;
	case 6:
		order->kind = ORDER_FORK_MOVE;
		break;
	case 7:
	case 8:
		order->kind = ORDER_THREAD_EXIT;
		break;
	case 9:
	case 10:
		order->kind = ORDER_KILL;
		break;
	case 11:
	case 12:
	case 13:
		plan_seteuid(world, order);
		break;
	default:
		order->kind = ORDER_RESTART;
		order->value = (int)roll(dice, 2);
	}
}

/* How a dead worker comes back. */
static void plan_rebirth(struct dice *dice, const struct world *world, struct order *order)
{
	int parent = find_worker(world, WORKER_IDLE, roll(dice, world->workers));

	order->other = order->worker;
	if (parent < 0 || one_in(dice, 3)) {
		order->kind = ORDER_SPAWN;
		return;
	}
	order->worker = (unsigned)parent;
	order->kind = one_in(dice, 3) ? ORDER_FORK_MORE : ORDER_TWIN;
}

static void plan_kill(struct dice *dice, const struct world *world, struct order *order)
{
	unsigned proc = world->worker[order->worker].proc;

	order->kind = ORDER_KILL;
	if (world->proc[proc].undo && one_in(dice, 150))
		order->kind = ORDER_KILL_QUIET;
}

static void plan_interrupt(struct dice *dice, const struct world *world, struct order *order)
{
	switch (roll(dice, 8)) {
	case 0:
		plan_kill(dice, world, order);
		break;
	case 1:
	case 2:
		plan_semop(dice, world, order);
		never_sleep(order);
		order->kind = ORDER_SIGNAL_OP;
		break;
	case 3:
		order->kind = world->stops ? ORDER_STOP : ORDER_SIGNAL;
		break;
	default:
		order->kind = ORDER_SIGNAL;
	}
}

/* --- what an idle worker does --- */

static void plan_call(struct dice *dice, const struct world *world, struct order *order)
{
	static const int reads[] = {GETVAL, GETVAL, GETPID, GETNCNT, GETNCNT, GETZCNT, GETALL};
	static const int stats[] = {IPC_STAT, IPC_STAT, SEM_STAT, SEM_STAT_ANY};
	unsigned at = roll(dice, 1000);

	if (at < 45)
		plan_semctl(dice, world, order, SETVAL);
	else if (at < 65)
		plan_semctl(dice, world, order, SETALL);
	else if (at < 125)
		plan_semctl(dice, world, order, PICK(dice, reads));
	else if (at < 155)
		plan_semctl(dice, world, order, PICK(dice, stats));
	else if (at < 165)
		plan_semctl(dice, world, order, one_in(dice, 2) ? IPC_INFO : SEM_INFO);
	else if (at < 185)
		plan_semctl(dice, world, order, IPC_SET);
	else if (at < 215)
		plan_semget(dice, world, order);
	else if (at < 225)
		plan_semctl(dice, world, order, IPC_RMID);
	else if (at < 245)
		plan_invalid(dice, world, order);
	else
		plan_semop(dice, world, order);
}

static bool needs_set(struct dice *dice, const struct world *world)
{
	unsigned alive = 0;

	for (unsigned i = 0; i < SLOTS; i++)
		alive += world->slot[i].alive;
	return alive < 2 || (alive < SLOTS && one_in(dice, 50));
}

static void plan_idle(struct dice *dice, const struct world *world, struct order *order)
{
	if (one_in(dice, 60)) {
		plan_process(dice, world, order);
		if (order->kind != ORDER_KINDS)
			return;
	}
	if (!needs_set(dice, world)) {
		plan_call(dice, world, order);
		return;
	}
	plan_semget(dice, world, order);
	if (order->slot >= 0 && order->nsems <= SEMS_MAX)
		order->flags |= IPC_CREAT;
}

void plan_order(const struct world *world, uint64_t seed, uint64_t number, struct order *ret_order)
{
	struct dice dice = dice_new(seed, number, 0);
	struct order *order = ret_order;
	unsigned any = roll(&dice, world->workers);
	int idle;

	memset(order, 0, sizeof(*order));
	order->kind = ORDER_KINDS;
	order->slot = -1;
	order->worker = any;
	if (number % TICK_EVERY == 5000 && (number / TICK_EVERY + seed) % 5 == 0) {
		order->kind = ORDER_TICK;
		return;
	}
	if (world->worker[any].state == WORKER_DEAD) {
		plan_rebirth(&dice, world, order);
		return;
	}
	idle = find_worker(world, WORKER_IDLE, any);
	if (idle < 0 || (world->worker[any].state == WORKER_ASLEEP && one_in(&dice, 24))) {
		order->worker = (unsigned)find_worker(world, WORKER_ASLEEP, any);
		plan_interrupt(&dice, world, order);
		return;
	}
	order->worker = (unsigned)idle;
	plan_idle(&dice, world, order);
}
