/*
 * plan.c - which operation is next: a function of the seed, the operation's number and the world.
 *
 * Each operation has dice of its own, so that leaving operations out (--only) changes the others as little as can be.
 * The world is what a trace shows anyhow, so two runs whose traces are alike so far get the same next order.
 *
 * The weights keep about half of the workers asleep, several on one object, and the values small: so operations wake
 * each other, in cascades. An object is chosen with a leaning to the first slots for the same reason.
 */
#include "diff.h"

#include <string.h>

#define TICK_EVERY 20000

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9fb21c651e98df25u;
	x ^= x >> 29;
	x *= 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

struct dice dice_new(uint64_t seed, uint64_t number, uint64_t purpose)
{
	return (struct dice){mix(seed * 3 + purpose) + mix(number + 0x51ed270b)};
}

unsigned roll(struct dice *dice, unsigned sides)
{
	dice->state += 0x9e3779b97f4a7c15u;
	return (unsigned)((mix(dice->state) >> 32) * sides >> 32);
}

bool one_in(struct dice *dice, unsigned n)
{
	return roll(dice, n) == 0;
}

bool plan_chance(uint64_t seed, uint64_t number, unsigned n)
{
	struct dice dice = dice_new(seed, number, 1);

	return one_in(&dice, n);
}

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

int find_free_slot(const struct world *world)
{
	for (int i = 0; i < SLOTS; i++)
		if (!world->slot[i].alive && world->slot[i].sleepers == 0)
			return i;
	return -1;
}

/* --- objects --- */

static int sequel_id(int id, int sequences)
{
	return id < 0 ? -1 : (id + sequences * IPCMNI) & INT32_MAX;
}

/* Where the living object of that id is; otherwise as given. */
static int find_id(const struct world *world, int id, int otherwise)
{
	for (int i = 0; i < SLOTS; i++)
		if (world->slot[i].alive && world->slot[i].id == id)
			return i;
	return otherwise;
}

/* -1, or the next object's of that index; which may be there, in another slot. */
static void choose_odd_id(struct dice *dice, const struct world *world, struct order *order)
{
	bool none = one_in(dice, 3) || !world->exact;

	order->id = none ? -1 : sequel_id(order->id, 1 + (int)roll(dice, 9));
	order->slot = find_id(world, order->id, -1);
}

/* A living one, rarely one that is gone or never was. With *_next_id, what is gone may have been made again elsewhere. */
void choose_object(struct dice *dice, const struct world *world, struct order *order)
{
	unsigned at = roll(dice, SLOTS), other = roll(dice, SLOTS);

	if (other < at)
		at = other;
	for (unsigned i = 0; i < SLOTS && !world->slot[at].alive && !one_in(dice, 16); i++)
		at = (at + 1) % SLOTS;
	order->id = world->slot[at].id;
	order->slot = find_id(world, order->id, (int)at);
	if (one_in(dice, 200))
		choose_odd_id(dice, world, order);
}

/* Of the object that is chosen, for a *_STAT; nearly always. */
void choose_index(struct dice *dice, const struct world *world, struct order *order)
{
	if (order->slot < 0)
		return;
	if (!world->exact && !world->slot[order->slot].alive)
		order->cmd = IPC_STAT; /* a stranger's may have that index now */
	if (!one_in(dice, 4) && order->id >= 0)
		order->id %= IPCMNI;
	else if (world->exact && one_in(dice, 3))
		order->id = (int)roll(dice, 80);
}

/* --- processes --- */

static void plan_fork_once(struct dice *dice, const struct world *world, struct order *order)
{
	plan_brief(dice, world, order);
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

static void plan_interrupt(struct dice *dice, const struct world *world, struct order *order)
{
	switch (roll(dice, 8)) {
	case 0:
		plan_kill(dice, world, order);
		break;
	case 1:
	case 2:
		plan_brief(dice, world, order);
		order->kind = ORDER_SIGNAL_OP;
		break;
	case 3:
		order->kind = world->stops && can_stop(world, order) ? ORDER_STOP : ORDER_SIGNAL;
		break;
	default:
		order->kind = ORDER_SIGNAL;
	}
}

/* --- what an idle worker does --- */

static bool needs_object(struct dice *dice, const struct world *world)
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
	if (!needs_object(dice, world)) {
		plan_call(dice, world, order);
		return;
	}
	plan_get(dice, world, order);
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
