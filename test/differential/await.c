/*
 * await.c - what has come of an order: found out always in the same way, whatever the speed of anything.
 *
 * Only one order is under way at a time, so there are three questions, none of which depends on time:
 *  - Does the worker sleep? GETNCNT and GETZCNT of the set count every sleeper once: it sleeps as soon as their sum is one
 *    more than before. (A sum taken while the worker still runs can count a sleeper twice whose blocking operation changes
 *    meanwhile; a second sum can't.)
 *  - Which sleepers has it released? That is done before the worker's call returns, before waitpid() returns for a dead one:
 *    the sum says how many are left, so as many as are missing will reply, and are waited for.
 *  - Who else was concerned? Nobody: a sleeper that replies without having been released is found at the next order.
 */
#include "diff.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define YIELDS	     3
#define STEP_NS	     20000L
#define LONG_STEP_NS 50000000L
#define QUIET_NS     (300 * 1000000L)

unsigned long patience_s = 15;

/* --- waiting --- */

struct patience {
	unsigned tries;
	uint32_t bell;
	int64_t start;
};

static void look(struct patience *patience)
{
	patience->bell = atomic_load(&page->bell);
}

/* A worker that is not waited for must not have ended. */
static void check_for_dead(void)
{
	siginfo_t info = {0};

	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
		return;
	trace_say(" DIED code=%d status=%d", info.si_code, info.si_status);
	give_up("a worker died");
}

/* Waits for the bell, since the last look; longer and longer. */
static void wait_more(struct patience *patience, bool yield, const char *what)
{
	int64_t step_ns = yield ? STEP_NS * (1 + patience->tries / 8) : LONG_STEP_NS;

	if (patience->tries++ == 0)
		patience->start = now_ns();
	if (yield && patience->tries <= YIELDS) {
		sched_yield();
		return;
	}
	word_wait(&page->bell, patience->bell, step_ns < LONG_STEP_NS ? step_ns : LONG_STEP_NS);
	if (patience->tries % 64 != 0 && yield)
		return;
	if (patience->tries < 2)
		return;
	check_for_dead();
	if (now_ns() - patience->start > (int64_t)patience_s * NSEC_PER_SEC)
		give_up(what);
}

void await_cell(unsigned number)
{
	struct patience patience = {0};

	while (look(&patience), !cell_is_done(&page->cell[number]))
		wait_more(&patience, false, "a worker does not reply");
}

int await_end(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			give_up("waitpid fails");
	return status;
}

/* --- who sleeps --- */

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

void begin_sleep(struct world *world, const struct order *order)
{
	struct worker *worker = &world->worker[order->worker];
	struct slot *slot = &world->slot[order->slot];

	worker->state = WORKER_ASLEEP;
	worker->slot = order->slot;
	tally.slept++;
	if (++slot->sleepers > tally.deepest)
		tally.deepest = slot->sleepers;
}

void end_sleep(struct world *world, unsigned number)
{
	struct worker *worker = &world->worker[number];

	if (worker->state == WORKER_ASLEEP)
		world->slot[worker->slot].sleepers--;
	worker->state = WORKER_IDLE;
}

/* Returns true when it sleeps, false when it has replied. */
bool await_reply_or_sleep(struct world *world, const struct order *order)
{
	struct slot *slot = &world->slot[order->slot];
	struct patience patience = {0};

	for (;;) {
		look(&patience);
		if (cell_is_done(&page->cell[order->worker]))
			return false;
		if (patience.tries > 0 && count_sleepers(slot) > slot->sleepers &&
		    count_sleepers(slot) > slot->sleepers)
			return true;
		wait_more(&patience, true, "a worker neither replies nor sleeps");
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

static void await_released(struct world *world, int at)
{
	struct slot *slot = &world->slot[at];
	unsigned asleep = count_sleepers(slot);
	struct patience patience = {0};

	if (asleep > slot->sleepers)
		give_up("more sleepers are counted than there are");
	while (look(&patience), count_replies(world, at) < slot->sleepers - asleep)
		wait_more(&patience, false, "a sleeper is no longer counted, but does not reply");
}

static void say_woken(struct world *world, unsigned number, bool late)
{
	const struct cell *cell = &page->cell[number];

	end_sleep(world, number);
	tally.woken++;
	trace_say(" W%u=", number);
	if (trace_sabotaged(SABOTAGE_WAKE))
		trace_say("not ");
	say_result(cell->reply.rc, cell->reply.error);
	if (late)
		trace_say(" late");
}

/* slots: bits of those where somebody may have been released; prompt: bits of workers that must have replied before. */
void collect(struct world *world, unsigned slots, unsigned prompt)
{
	unsigned woken = 0;

	for (int i = 0; i < SLOTS; i++)
		if (slots >> i & 1 && world->slot[i].sleepers > 0)
			await_released(world, i);
	for (unsigned i = 0; i < world->workers; i++) {
		struct worker *worker = &world->worker[i];

		if (worker->state != WORKER_ASLEEP || !(slots >> worker->slot & 1) ||
		    !cell_is_done(&page->cell[i]))
			continue;
		if (woken++ == 0)
			trace_say(" | woken");
		say_woken(world, i, !(prompt >> i & 1));
	}
	tally.cascades += woken > 1;
}

/* Returns the workers that have replied although nobody has called anything since the death. */
unsigned await_quietly(const struct world *world)
{
	int64_t limit = now_ns() + QUIET_NS;
	unsigned asleep = world_count(world, WORKER_ASLEEP), replied = 0, prompt = 0;

	while (replied < asleep && now_ns() < limit) {
		uint32_t bell = atomic_load(&page->bell);

		replied = prompt = 0;
		for (unsigned i = 0; i < world->workers; i++) {
			bool is = world->worker[i].state == WORKER_ASLEEP &&
				  cell_is_done(&page->cell[i]);

			replied += is;
			prompt |= (unsigned)is << i;
		}
		if (replied < asleep)
			word_wait(&page->bell, bell, LONG_STEP_NS);
	}
	return prompt;
}

void check_sleepers(const struct world *world)
{
	for (unsigned i = 0; i < world->workers; i++)
		if (world->worker[i].state == WORKER_ASLEEP && cell_is_done(&page->cell[i])) {
			trace_say("W%u=", i);
			say_result(page->cell[i].reply.rc, page->cell[i].reply.error);
			give_up("a sleeper replied, but nobody had released it");
		}
}
