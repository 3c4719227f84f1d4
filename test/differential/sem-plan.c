/*
 * sem-plan.c - the calls on semaphore sets that are drawn.
 */
#include "diff.h"

/* Commands that <sys/sem.h> keeps to itself in some libcs. */
#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif

static int choose_semaphore(struct dice *dice, const struct world *world, int slot)
{
	int nsems = slot < 0 ? 4 : world->slot[slot].nsems;
	unsigned few = nsems > SEMS_SHOWN ? SEMS_SHOWN : nsems > 0 ? (unsigned)nsems : 1;
	unsigned at = roll(dice, few), other = roll(dice, few);

	if (one_in(dice, 100))
		return nsems + (int)(one_in(dice, 2) ? 0 : roll(dice, 60000));
	return (int)(other < at ? other : at);
}

void plan_get(struct dice *dice, const struct world *world, struct order *order)
{
	static const int sizes[] = {1, 1, 2, 2, 3, 3, 4, 6, 8, 0, 5, SEMS_MAX};
	static const int odd_sizes[] = {-1, 32000, 32001, INT32_MAX};
	static const int modes[] = {0600, 0600, 0600, 0660, 0666, 0644, 0622, 0400, 0200, 0};
	int free_slot = find_free_slot(world);

	order->kind = ORDER_GET;
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

static bool uses_undo(const struct order *order)
{
	for (unsigned i = 0; i < order->nsops && i < SOPS_MAX; i++)
		if (order->sops[i].sem_flg & SEM_UNDO)
			return true;
	return false;
}

static void plan_semop(struct dice *dice, const struct world *world, struct order *order)
{
	unsigned undo_style = roll(dice, 8), nowait_style = roll(dice, 16);

	order->kind = ORDER_OP;
	choose_object(dice, world, order);
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
	order->undo = uses_undo(order);
	if (world_count(world, WORKER_IDLE) <= 1 + roll(dice, 3))
		never_sleep(order);
}

void plan_brief(struct dice *dice, const struct world *world, struct order *order)
{
	plan_semop(dice, world, order);
	never_sleep(order);
}

bool order_can_sleep(const struct world *world, const struct order *order)
{
	return order->kind == ORDER_OP && order->wait < WAIT_ZERO && order->slot >= 0 &&
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

	order->kind = ORDER_CTL;
	choose_object(dice, world, order);
	order->cmd = cmd;
	order->num = choose_semaphore(dice, world, order->slot);
	order->bad_pointer = one_in(dice, 60);
	order->mode = PICK(dice, modes) | (world->users ? 0 : 0600);
	order->uid = world->users && one_in(dice, 3) ? NOBODY : 0;
	if (one_in(dice, 60))
		order->uid = (uid_t)-1;
	plan_values(dice, world, order);
	if (cmd == SEM_STAT || cmd == SEM_STAT_ANY)
		choose_index(dice, world, order);
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

/* --- the rest --- */

void plan_kill(struct dice *dice, const struct world *world, struct order *order)
{
	unsigned proc = world->worker[order->worker].proc;

	order->kind = ORDER_KILL;
	if (world->proc[proc].undo && one_in(dice, 150))
		order->kind = ORDER_KILL_QUIET;
}

bool can_stop(const struct world *world, const struct order *order)
{
	(void)world, (void)order;
	return true;
}

void plan_call(struct dice *dice, const struct world *world, struct order *order)
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
		plan_get(dice, world, order);
	else if (at < 225)
		plan_semctl(dice, world, order, IPC_RMID);
	else if (at < 245)
		plan_invalid(dice, world, order);
	else
		plan_semop(dice, world, order);
}
