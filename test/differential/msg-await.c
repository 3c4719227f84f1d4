/*
 * msg-await.c - who sleeps at a queue, and who has been released.
 *
 * No call counts the sleepers of a queue, so the coordinator asks /proc. Only one order is under way at a time, and whoever
 * is not concerned waits for its next order. Hence, when each of those concerned (the caller, and all who sleep at the queue)
 * has either replied or is still, nothing will happen any more: those who have replied were released, the others sleep.
 *
 * Still is who sleeps and has not run since the last look, INVARIANT: state S is read first, then the count of runs, and
 * that is as it was. Why a round in which all are still proves it, and not that they took turns:
 * the first to run after the round's begin would have been runnable at its begin already, since nobody else could wake it.
 * So it would have been seen runnable; or it would have run, and be counted, before its state was seen. And nobody may
 * reply during the round, since that one could have woken another that was already looked at.
 */
#include "diff.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FNV_START 2166136261u
#define FNV_PRIME 16777619u

/* How a worker's thread is seen. */
struct eye {
	pid_t tid; /* of which these are */
	int state_fd;
	int runs_fd;
	uint64_t runs; /* at the last look: as many as this number stands for */
};

static struct eye eyes[WORKERS_MAX];

static int open_task(const struct cell *cell, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", cell->pid, cell->tid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void eye_open(struct eye *eye, const struct cell *cell)
{
	if (eye->tid != 0) {
		close(eye->state_fd);
		close(eye->runs_fd);
	}
	eye->tid = cell->tid;
	eye->state_fd = open_task(cell, "stat");
	eye->runs_fd = open_task(cell, "schedstat");
	if (eye->runs_fd < 0)
		eye->runs_fd = open_task(cell, "status"); /* has the context switches */
	if ((eye->state_fd < 0 || eye->runs_fd < 0) && errno != ENOENT && errno != ESRCH)
		give_up("/proc does not tell how a worker is");
}

/* 12 (diff-msg) S 1 … ; 0: the thread is gone */
static char read_state(int fd)
{
	char text[64];
	ssize_t n = pread(fd, text, sizeof(text), 0);
	const char *end = n > 0 ? memrchr(text, ')', (size_t)n) : NULL;

	return end && end + 2 < text + n ? end[2] : 0;
}

static uint64_t read_runs(int fd)
{
	char text[4096];
	ssize_t n = pread(fd, text, sizeof(text), 0);
	uint64_t hash = FNV_START;

	for (ssize_t i = 0; i < n; i++)
		hash = (hash ^ (uint8_t)text[i]) * FNV_PRIME;
	return hash;
}

/* All that is read leaves the worker as it is. */
static bool is_still(unsigned number)
{
	const struct cell *cell = &page->cell[number];
	struct eye *eye = &eyes[number];
	uint64_t before = eye->runs;
	char state;

	if (eye->tid != cell->tid)
		eye_open(eye, cell);
	state = read_state(eye->state_fd);
	if (state == 0) {
		eye_open(eye, cell); /* another thread with the same number */
		state = read_state(eye->state_fd);
	}
	eye->runs = read_runs(eye->runs_fd);
	return state == 'S' && eye->runs == before;
}

/* Those concerned who have not replied, in bits. */
static unsigned find_waiting(const struct world *world, unsigned slots, int caller)
{
	unsigned waiting = 0;

	for (unsigned i = 0; i < world->workers; i++) {
		const struct worker *worker = &world->worker[i];
		bool is = (int)i == caller ||
			  (worker->state == WORKER_ASLEEP && slots >> worker->slot & 1);

		if (is && !cell_is_done(&page->cell[i]))
			waiting |= 1u << i;
	}
	return waiting;
}

static bool are_still(const struct world *world, unsigned slots, int caller)
{
	unsigned waiting = find_waiting(world, slots, caller);
	bool still = true;

	for (unsigned i = 0; i < world->workers; i++)
		if (waiting >> i & 1 && !is_still(i))
			still = false;
	return still && find_waiting(world, slots, caller) == waiting;
}

bool await_reply_or_sleep(struct world *world, const struct order *order)
{
	struct patience patience = {0};
	unsigned slots = 1u << order->slot;
	int caller = (int)order->worker;

	for (;;) {
		patience_look(&patience);
		if (cell_is_done(&page->cell[caller]))
			return false;
		if (patience.tries > 0 &&
		    (are_still(world, slots, caller) || are_still(world, slots, caller)))
			return !cell_is_done(&page->cell[caller]);
		patience_wait(&patience, true, "a worker neither replies nor sleeps");
	}
}

void await_released(struct world *world, unsigned slots)
{
	struct patience patience = {0};

	while (patience_look(&patience), !are_still(world, slots, -1))
		patience_wait(&patience, true, "a sleeper neither replies nor goes on sleeping");
}
