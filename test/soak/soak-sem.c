/*
 * soak-sem.c - semaphores whose users are killed at any instant.
 *
 *	soak-sem [ROUNDS [SEED]]	300 rounds, a seed from the clock
 *
 * Written against <sys/sem.h> alone: it runs on the kernel and, preloaded, on vee. What is proved,
 * once waitpid() has returned for all: SEM_UNDO of the dead has been applied, all of it and once;
 * an array operation was done as a whole or not at all; the dead are in no count; GETPID shows who
 * touched a semaphore last, a dead process by its undo included; a set that is removed takes its
 * sleepers along, and what they held does not reach the set that comes after it.
 *
 * How the end can be known although the instant is random: every operation moves units between
 * semaphores, so their sum is fixed if each is all or nothing; semaphores that are used with
 * SEM_UNDO alone, by processes that only ever borrow (or only ever add), end as they began,
 * since nothing is ever clamped then; and a process's own semaphore shows by its value whether
 * its pid must be there.
 */
#include "soak-sem.h"

#define WATCHDOG_SECONDS 60
#define WORKERS		 6
#define POOL_UNITS	 4

enum {
	MUTEX,			/* 1: borrowed with SEM_UNDO */
	POOL,			/* POOL_UNITS: the same, several at once */
	BUSY,			/* 0: taken by "is 0, add 1" with SEM_UNDO */
	FEED,			/* 0: the judge adds, the workers move units away */
	SPENT,			/* 0: moved there without SEM_UNDO, by all */
	NEVER,			/* 0: never anything else */
	GATE,			/* 1: never anything else */
	EATEN,			/* 0: one a worker; moved there without SEM_UNDO */
	LENT = EATEN + WORKERS, /* 0: one a worker; moved there with SEM_UNDO */
	STORM_SEMS = LENT + WORKERS
};

/* Counts of a worker's operations on its own semaphores: begun and known to be done. */
struct tally {
	unsigned eat_begun, eaten;
	unsigned lend_begun, lent;
	unsigned spend_begun, spent;
};

static struct tally *tallies;
static struct tally *mine;
static unsigned short eaten_sem, lent_sem;

/* 0, or EAGAIN or EINTR; whoever meets a removed set ends well. */
static int try(struct sembuf *sops, size_t n, const struct timespec *timeout)
{
	if (semtimedop(id, sops, n, timeout) == 0)
		return 0;
	if (errno == EIDRM || errno == EINVAL)
		_exit(0);
	if (errno != EAGAIN && errno != EINTR)
		child_wrong("semop of %zu, first %d on %d: %s", n, sops->sem_op, sops->sem_num,
			    strerror(errno));
	return errno;
}

static void step_mutex(void)
{
	struct sembuf lock = {MUTEX, -1, SEM_UNDO}, unlock = {MUTEX, 1, SEM_UNDO};

	if (try(&lock, 1, NULL) == 0) {
		spin_us(dice(4));
		try(&unlock, 1, NULL);
	}
}

static void step_mutex_or_late(void)
{
	struct timespec soon = {0, dice(300) * 1000};
	struct sembuf lock = {MUTEX, -1, SEM_UNDO}, unlock = {MUTEX, 1, SEM_UNDO};

	if (try(&lock, 1, &soon) == 0)
		try(&unlock, 1, NULL);
}

/* The same semaphore twice in one array, the mutex between. */
static void step_pool(void)
{
	short n = (short)(1 + dice(POOL_UNITS - 1));
	struct sembuf take[] = {{POOL, -1, SEM_UNDO}, {MUTEX, -1, SEM_UNDO}, {POOL, -n, SEM_UNDO}};
	struct sembuf give[] = {{MUTEX, 1, SEM_UNDO}, {POOL, (short)(n + 1), SEM_UNDO}};

	if (try(take, 3, NULL) == 0)
		try(give, 2, NULL);
}

static void step_busy(void)
{
	struct sembuf take[] = {{BUSY, 0, 0}, {BUSY, 1, SEM_UNDO}};
	struct sembuf give = {BUSY, -1, SEM_UNDO};

	if (try(take, 2, NULL) == 0)
		try(&give, 1, NULL);
}

static void step_eat(void)
{
	struct sembuf eat[] = {{FEED, -1, 0}, {eaten_sem, 1, 0}};
	struct timespec soon = {0, 200000};

	mine->eat_begun++;
	if (try(eat, 2, &soon) == 0)
		mine->eaten++;
	else
		mine->eat_begun--;
}

static void step_lend(void)
{
	struct sembuf lend[] = {{FEED, -1, SEM_UNDO}, {lent_sem, 1, SEM_UNDO}};
	struct sembuf back[] = {{FEED, 1, SEM_UNDO}, {lent_sem, -1, SEM_UNDO}};
	struct timespec soon = {0, 200000};

	mine->lend_begun++;
	if (try(lend, 2, &soon) != 0) {
		mine->lend_begun--;
		return;
	}
	mine->lent++;
	if (dice(2))
		try(back, 2, NULL);
}

/* Only what has the flag is undone. */
static void step_spend(void)
{
	struct sembuf spend[] = {
		{FEED, -1, 0}, {SPENT, 1, 0}, {BUSY, 0, 0}, {lent_sem, 1, SEM_UNDO}};
	struct timespec soon = {0, 200000};

	mine->spend_begun++;
	if (try(spend, 4, &soon) == 0)
		mine->spent++;
	else
		mine->spend_begun--;
}

/* No sleep and no clock: whoever is killed here is killed inside an operation. */
static void step_hot(void)
{
	struct sembuf own[] = {{lent_sem, 1, SEM_UNDO}, {lent_sem, -1, SEM_UNDO}};
	struct sembuf pool[] = {{POOL, -1, SEM_UNDO | IPC_NOWAIT}, {POOL, 1, SEM_UNDO}};

	mine->lend_begun++;
	for (unsigned turns = 20 + dice(60); turns > 0; turns--) {
		try(&own[0], 1, NULL);
		try(&own[1], 1, NULL);
		if (try(&pool[0], 1, NULL) == 0)
			try(&pool[1], 1, NULL);
	}
	mine->lent++;
}

/* What can't be done in the end leaves no trace of its first half. */
static void step_in_vain(void)
{
	struct timespec soon = {0, dice(200) * 1000};
	struct sembuf lower[] = {{MUTEX, -1, SEM_UNDO}, {eaten_sem, 1, 0}, {NEVER, -1, SEM_UNDO}};
	struct sembuf zero[] = {{lent_sem, 1, 0}, {GATE, 0, 0}};

	if (dice(2) ? try(lower, 3, &soon) == 0 : try(zero, 2, &soon) == 0)
		child_wrong("an operation was done that can't be");
}

static void step_stuck(void)
{
	struct sembuf lower[] = {{POOL, -1, SEM_UNDO}, {NEVER, -1, 0}};
	struct sembuf zero = {GATE, 0, 0};

	if (dice(40) > 0)
		return;
	for (;;)
		if (dice(2) ? try(lower, 2, NULL) == 0 : try(&zero, 1, NULL) == 0)
			child_wrong("an operation was done that can't be");
}

static void __attribute__((noreturn)) work(unsigned short me)
{
	static void (*const steps[])(void) = {
		step_mutex, step_mutex_or_late, step_pool,  step_busy, step_eat, step_lend,
		step_spend, step_in_vain,	step_stuck, step_hot,  step_hot,
	};

	mine = &tallies[me];
	eaten_sem = (unsigned short)(EATEN + me);
	lent_sem = (unsigned short)(LENT + me);
	for (;;)
		for (unsigned which = dice(ARRAY_SIZE(steps)), n = 1 + dice(8); n > 0; n--)
			steps[which]();
}

static void storm_set(void)
{
	static const unsigned short values[STORM_SEMS] = {
		[MUTEX] = 1, [POOL] = POOL_UNITS, [GATE] = 1};

	make_set(STORM_SEMS, values);
}

/* A semaphore that one worker alone uses: its value tells whose pid must be there. */
static void check_own(unsigned short sem, pid_t worker, bool touched, bool perhaps)
{
	int pid = ask(sem, GETPID);

	if (touched ? pid != worker : pid != judge && !(perhaps && pid == worker))
		wrong("semaphore %u: GETPID is %d, its worker is %d, %s", sem, pid, worker,
		      touched ? "which used it" : "which did not use it");
}

static unsigned check_worker(unsigned short i, pid_t worker)
{
	const struct tally *t = &tallies[i];
	unsigned short eaten = (unsigned short)(EATEN + i), lent = (unsigned short)(LENT + i);
	unsigned n = (unsigned)value(eaten);

	if (n < t->eaten || n > t->eat_begun)
		wrong("worker %u has eaten %u, but its semaphore says %u", i, t->eaten, n);
	check_own(eaten, worker, n > 0, false);
	must_be("what was lent, after its undo,", value(lent), 0);
	check_own(lent, worker, t->lent + t->spent > 0, t->lend_begun + t->spend_begun > 0);
	return n;
}

static bool is_one_of(int pid, const pid_t *pids, int n)
{
	for (int i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return pid == judge;
}

/* All workers are dead. */
static void check_storm(const pid_t *workers, unsigned fed)
{
	unsigned eaten = 0, spent = 0, spend_begun = 0;

	nobody_waits("after the storm");
	for (unsigned short i = 0; i < WORKERS; i++) {
		eaten += check_worker(i, workers[i]);
		spent += tallies[i].spent;
		spend_begun += tallies[i].spend_begun;
	}
	must_be("the mutex", value(MUTEX), 1);
	must_be("the pool", value(POOL), POOL_UNITS);
	must_be("the busy mark", value(BUSY), 0);
	must_be("never", value(NEVER), 0);
	must_be("the gate", value(GATE), 1);
	must_be("feed + eaten + spent", value(FEED) + (long)eaten + value(SPENT), fed);
	if ((unsigned)value(SPENT) < spent || (unsigned)value(SPENT) > spend_begun)
		wrong("%u were spent, but the semaphore says %d", spent, value(SPENT));
	must_be("GETPID of never", ask(NEVER, GETPID), judge);
	must_be("GETPID of the gate", ask(GATE, GETPID), judge);
	for (unsigned short i = MUTEX; i <= SPENT; i++)
		if (!is_one_of(ask(i, GETPID), workers, WORKERS))
			wrong("GETPID of %u is %d, none of ours", i, ask(i, GETPID));
}

static unsigned feed_a_while(void)
{
	unsigned fed = 0;

	for (unsigned turns = dice(24); turns > 0; turns--) {
		short n = (short)(1 + dice(5));

		judge_op(FEED, n);
		fed += (unsigned)n;
		if (dice(2))
			pause_us(dice(300));
		else
			spin_us(dice(100));
	}
	return fed;
}

static void kill_all(const pid_t *pids, int n)
{
	int first = (int)dice((unsigned)n);

	for (int i = 0; i < n; i++) {
		spin_us(dice(150));
		kill(pids[(first + i) % n], SIGKILL);
	}
	for (int i = 0; i < n; i++)
		reap(pids[i]);
}

/* The set goes under the workers' feet; a new one is there at once, and must not be touched. */
static void storm_removed(const pid_t *workers)
{
	remove_set();
	storm_set();
	memset(tallies, 0, WORKERS * sizeof(*tallies));
	kill_all(workers, WORKERS);
	memset(tallies, 0, WORKERS * sizeof(*tallies));
	check_storm(workers, 0);
	for (unsigned short i = 0; i < STORM_SEMS; i++)
		must_be("GETPID of an untouched semaphore", ask(i, GETPID), judge);
}

static void storm(void)
{
	bool removed = dice(8) == 0;
	pid_t workers[WORKERS];
	unsigned fed = 0;

	scene = removed ? "storm with removal" : "storm";
	memset(tallies, 0, WORKERS * sizeof(*tallies));
	storm_set();
	for (unsigned short i = 0; i < WORKERS; i++) {
		workers[i] = spawn();
		if (workers[i] == 0)
			work(i);
	}
	fed = feed_a_while();
	if (removed) {
		storm_removed(workers);
	} else {
		kill_all(workers, WORKERS);
		check_storm(workers, fed);
	}
	remove_set();
}

int main(int argc, char **argv)
{
	soak_begin(argc, argv, "soak-sem");
	tallies = share(WORKERS * sizeof(*tallies));
	while (soak_next_round(WATCHDOG_SECONDS))
		storm();
	return 0;
}
