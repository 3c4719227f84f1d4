/*
 * await.c - waiting for what comes of an order. Nothing that is found out depends on the speed of anything.
 *
 * Only one order is under way at a time. Whether its worker sleeps, and whom it has released, each mechanism finds out
 * in its own way: sem-await.c, msg-await.c. Who else was concerned? Nobody: a sleeper that replies without having been
 * released is found at the next order.
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

void patience_look(struct patience *patience)
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
void patience_wait(struct patience *patience, bool yield, const char *what)
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

	while (patience_look(&patience), !cell_is_done(&page->cell[number]))
		patience_wait(&patience, false, "a worker does not reply");
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

void begin_sleep(struct world *world, const struct order *order)
{
	struct worker *worker = &world->worker[order->worker];
	struct slot *slot = &world->slot[order->slot];

	worker->state = WORKER_ASLEEP;
	worker->slot = order->slot;
	worker->receives = order->receives;
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

static void say_woken(struct world *world, unsigned number, bool late)
{
	const struct cell *cell = &page->cell[number];

	end_sleep(world, number);
	tally.woken++;
	trace_say(" W%u=", number);
	if (trace_sabotaged(SABOTAGE_WAKE))
		trace_say("not ");
	say_woken_reply(world, &cell->order, &cell->reply);
	if (late)
		trace_say(" late");
}

/* slots: bits of those where somebody may have been released; prompt: bits of workers that must have replied before. */
void collect(struct world *world, unsigned slots, unsigned prompt)
{
	unsigned woken = 0;

	await_released(world, slots);
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
