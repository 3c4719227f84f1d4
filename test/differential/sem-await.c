/*
 * sem-await.c - who sleeps in a set, and who has been released.
 *
 * There are two questions, neither of which depends on time:
 *  - Does the worker sleep? GETNCNT and GETZCNT of the set count every sleeper once: it sleeps as soon as their sum is one
 *    more than before. (A sum taken while the worker still runs can count a sleeper twice whose blocking operation changes
 *    meanwhile; a second sum can't.)
 *  - Which sleepers has it released? That is done before the worker's call returns, before waitpid() returns for a dead one:
 *    the sum says how many are left, so as many as are missing will reply, and are waited for.
 */
#include "diff.h"

static unsigned count_one(const struct slot *slot, int num, int cmd)
{
	int n = semctl(slot->id, num, cmd);

	return n < 0 ? 0 : (unsigned)n;
}

static unsigned count_sleepers(const struct slot *slot)
{
	unsigned n = 0;

	for (int i = 0; i < slot->nsems && i < SEMS_SHOWN && slot->alive; i++)
		n += count_one(slot, i, GETNCNT) + count_one(slot, i, GETZCNT);
	return n;
}

/* Returns true when it sleeps, false when it has replied. */
bool await_reply_or_sleep(struct world *world, const struct order *order)
{
	struct slot *slot = &world->slot[order->slot];
	struct patience patience = {0};

	for (;;) {
		patience_look(&patience);
		if (cell_is_done(&page->cell[order->worker]))
			return false;
		if (patience.tries > 0 && count_sleepers(slot) > slot->sleepers &&
		    count_sleepers(slot) > slot->sleepers)
			return true;
		patience_wait(&patience, true, "a worker neither replies nor sleeps");
	}
}

static unsigned count_replies(const struct world *world, int slot)
{
	unsigned n = 0;

	for (unsigned i = 0; i < world->workers; i++)
		n += world->worker[i].state == WORKER_ASLEEP && world->worker[i].slot == slot &&
		     cell_is_done(&page->cell[i]);
	return n;
}

static void await_slot(struct world *world, int at)
{
	struct slot *slot = &world->slot[at];
	unsigned asleep = count_sleepers(slot);
	struct patience patience = {0};

	if (asleep > slot->sleepers)
		give_up("more sleepers are counted than there are");
	while (patience_look(&patience), count_replies(world, at) < slot->sleepers - asleep)
		patience_wait(&patience, false,
			      "a sleeper is no longer counted, but does not reply");
}

void await_released(struct world *world, unsigned slots)
{
	for (int i = 0; i < SLOTS; i++)
		if (slots >> i & 1 && world->slot[i].sleepers > 0)
			await_slot(world, i);
}
