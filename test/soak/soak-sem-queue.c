/*
 * soak-sem-queue.c - who waits behind a process that is killed, and who takes over.
 *
 *	soak-sem-queue [ROUNDS [SEED [LIMIT_US]]]	300 rounds, a seed from the clock, 100000 us
 *
 * Written against <sys/sem.h> alone: it runs on the kernel and, preloaded, on vee. What is proved:
 * GETNCNT and GETZCNT count the living that sleep, array operations at their first obstacle, and
 * are right as soon as waitpid() has returned for a dead one; the SIGKILL of a SEM_UNDO holder, and
 * of sleepers at the same instant, lets those behind it run, one after the other, though no living
 * process makes a call; a sleeper that dies while its operation is done for it has done it or not,
 * and what it gave back by SEM_UNDO goes to the next.
 *
 * At the end: the time from the SIGKILL of a SEM_UNDO holder until the process behind it runs; the
 * median must not be above LIMIT_US. By default that is lax: this test runs beside others.
 */
#include "soak-sem.h"

#define WATCHDOG_SECONDS 60
#define SAMPLES		 100
#define SLEEPERS	 6

enum {
	LOCK, /* 1: held with SEM_UNDO */
	BAR,  /* 0: never anything else */
	POST, /* 1: never anything else */
	SIDE, /* 0: a part of some arrays */
	QUEUE_SEMS
};

/* Where a sleeper counts while the lock is held, and whether it goes on once it is free. */
struct kind {
	struct sembuf sops[3];
	size_t n_sops;
	unsigned short sem;
	bool for_zero, gets_lock;
};

static const struct kind kinds[] = {
	{{{LOCK, -1, SEM_UNDO}}, 1, LOCK, false, true},
	{{{BAR, 0, 0}, {LOCK, -1, SEM_UNDO}}, 2, LOCK, false, true},
	{{{SIDE, 1, SEM_UNDO}, {LOCK, -1, SEM_UNDO}, {SIDE, -1, SEM_UNDO}}, 3, LOCK, false, true},
	{{{POST, 0, 0}}, 1, POST, true, false},
	{{{BAR, -1, SEM_UNDO}}, 1, BAR, false, false},
	{{{SIDE, 2, SEM_UNDO}, {BAR, -1, 0}, {LOCK, -1, 0}}, 3, BAR, false, false},
	{{{SIDE, 0, 0}, {POST, 0, 0}, {LOCK, -1, SEM_UNDO}}, 3, POST, true, false},
	{{{LOCK, -1, SEM_UNDO}, {POST, 0, 0}}, 2, LOCK, false, false},
};

struct sleeper {
	pid_t pid;
	const struct kind *kind;
	bool alive;
};

/* Shared: written by the children. */
static volatile struct {
	int holds;  /* the holder has the lock */
	pid_t last; /* who had the lock last, of those who lived to say so */
	int runs;   /* a sleeper runs, in the other scenes */
	uint64_t ran_ns;
} * told;

static void __attribute__((noreturn)) hold(void)
{
	struct sembuf lock = {LOCK, -1, SEM_UNDO};

	if (semop(id, &lock, 1) < 0)
		child_wrong("the lock: %s", strerror(errno));
	told->holds = 1;
	for (;;)
		pause();
}

static void __attribute__((noreturn)) sleep_in_queue(const struct kind *kind)
{
	struct sembuf unlock = {LOCK, 1, SEM_UNDO};

	if (semop(id, (struct sembuf *)kind->sops, kind->n_sops) < 0)
		child_wrong("semop of kind %d: %s", (int)(kind - kinds), strerror(errno));
	if (!kind->gets_lock)
		child_wrong("kind %d was done", (int)(kind - kinds));
	told->last = getpid();
	switch (dice(3)) {
	case 0:
		if (semop(id, &unlock, 1) < 0)
			child_wrong("unlock: %s", strerror(errno));
		break;
	case 1:
		raise(SIGKILL);
	}
	_exit(0);
}

static int count_alive(const struct sleeper *s, unsigned short sem, bool for_zero)
{
	int n = 0;

	for (int i = 0; i < SLEEPERS; i++)
		if (s[i].alive && s[i].kind->sem == sem && s[i].kind->for_zero == for_zero)
			n++;
	return n;
}

/* True when each count is what it will be once all sleep; it is never more. */
static bool counts_are(const struct sleeper *s)
{
	bool all = true;

	for (unsigned short sem = 0; sem < QUEUE_SEMS; sem++) {
		for (int for_zero = 0; for_zero < 2; for_zero++) {
			int is = ask(sem, for_zero ? GETZCNT : GETNCNT);
			int should = count_alive(s, sem, for_zero);

			if (is > should)
				wrong("%s of %u is %d with %d alive to wait there",
				      for_zero ? "GETZCNT" : "GETNCNT", sem, is, should);
			all = all && is == should;
		}
	}
	return all;
}

static void kill_sleeper(struct sleeper *s)
{
	s->alive = false;
	kill(s->pid, SIGKILL);
	reap(s->pid);
}

static void fill_queue(struct sleeper *s)
{
	for (int i = 0; i < SLEEPERS; i++) {
		s[i].kind = &kinds[dice(ARRAY_SIZE(kinds))];
		s[i].alive = true;
		s[i].pid = spawn();
		if (s[i].pid == 0)
			sleep_in_queue(s[i].kind);
	}
}

/* Some die on their way to sleep, some when all are asleep. */
static void thin_queue(struct sleeper *s, pid_t holder)
{
	for (int i = 0; i < SLEEPERS; i++) {
		if (dice(3) > 0)
			continue;
		spin_us(dice(400));
		kill_sleeper(&s[i]);
		counts_are(s);
	}
	while (!counts_are(s))
		pause_us(50);
	for (int i = 0; i < SLEEPERS; i++) {
		if (!s[i].alive || dice(5) > 0)
			continue;
		kill_sleeper(&s[i]);
		if (!counts_are(s))
			wrong("a count is too small after the death of another");
	}
	must_be("the held lock", value(LOCK), 0);
	must_be("GETPID of the held lock", ask(LOCK, GETPID), holder);
	must_be("GETPID of the post", ask(POST, GETPID), judge);
	must_be("GETPID of side", ask(SIDE, GETPID), judge);
}

/* The holder and, sometimes, one sleeper die at once; the others go on by themselves. */
static pid_t free_queue(struct sleeper *s, pid_t holder)
{
	struct sleeper *victim = dice(2) ? &s[dice(SLEEPERS)] : NULL;
	bool victim_first = dice(2);

	if (victim && !victim->alive)
		victim = NULL;
	if (victim && victim_first) {
		kill(victim->pid, SIGKILL);
		spin_us(dice(60));
	}
	kill(holder, SIGKILL);
	if (victim && !victim_first) {
		spin_us(dice(60));
		kill(victim->pid, SIGKILL);
	}
	reap(holder);
	for (int i = 0; i < SLEEPERS; i++) {
		if (s[i].alive && (s[i].kind->gets_lock || &s[i] == victim)) {
			reap(s[i].pid);
			s[i].alive = false;
		}
	}
	return victim ? victim->pid : 0;
}

static void queue(void)
{
	static const unsigned short values[QUEUE_SEMS] = {[LOCK] = 1, [POST] = 1};
	struct sleeper s[SLEEPERS];
	pid_t holder, victim;
	int pid;

	scene = "queue";
	told->holds = told->last = 0;
	make_set(QUEUE_SEMS, values);
	holder = spawn();
	if (holder == 0)
		hold();
	while (!told->holds)
		pause_us(20);
	fill_queue(s);
	thin_queue(s, holder);
	victim = free_queue(s, holder);
	must_be("the lock, which nobody has,", value(LOCK), 1);
	pid = ask(LOCK, GETPID);
	if (pid != (told->last ? told->last : holder) && pid != victim)
		wrong("GETPID of the lock is %d: last was %d, the holder %d, the victim %d", pid,
		      told->last, holder, victim);
	for (int i = 0; i < SLEEPERS; i++)
		if (s[i].alive)
			kill_sleeper(&s[i]);
	nobody_waits("after the queue");
	must_be("the lock", value(LOCK), 1);
	must_be("the bar", value(BAR), 0);
	must_be("the post", value(POST), 1);
	must_be("side", value(SIDE), 0);
	remove_set();
}

/* --- the hand-over: a sleeper is killed while its operation is done for it --- */

static pid_t start_sleeper(struct sembuf *sops, size_t n, int asleep)
{
	pid_t pid = spawn();

	if (pid == 0) {
		if (semop(id, sops, n) < 0)
			child_wrong("semop: %s", strerror(errno));
		told->ran_ns = now_ns();
		told->runs = getpid();
		for (;;)
			pause();
	}
	while (ask(sops->sem_num, sops->sem_op ? GETNCNT : GETZCNT) < asleep)
		pause_us(20);
	return pid;
}

static void let_go_and_kill(unsigned short sem, short op, pid_t pid)
{
	bool kill_first = dice(2);

	if (dice(2))
		pause_us(100); /* let it sleep deeply */
	if (kill_first)
		kill(pid, SIGKILL);
	else
		judge_op(sem, op);
	spin_us(dice(80));
	if (kill_first)
		judge_op(sem, op);
	else
		kill(pid, SIGKILL);
	reap(pid);
}

/* The unit that was given to a process that died goes to the one behind it. */
static void pass_on_undone(void)
{
	struct sembuf lock = {LOCK, -1, SEM_UNDO};
	bool with_heir = dice(2);
	pid_t victim = start_sleeper(&lock, 1, 1), heir = 0;
	int pid;

	if (with_heir)
		heir = start_sleeper(&lock, 1, 2);
	let_go_and_kill(LOCK, 1, victim);
	if (with_heir) {
		while (told->runs != heir)
			pause_us(20);
		must_be("the lock that the heir has", value(LOCK), 0);
		must_be("GETPID", ask(LOCK, GETPID), heir);
		nobody_waits("with the heir served");
		kill(heir, SIGKILL);
		reap(heir);
		must_be("GETPID", ask(LOCK, GETPID), heir);
	}
	must_be("the lock", value(LOCK), 1);
	pid = ask(LOCK, GETPID);
	if (!with_heir && pid != judge && pid != victim)
		wrong("GETPID is %d, not the victim %d", pid, victim);
}

/* Without undo, the array shows whether it was done; if not, the next must be served. */
static void pass_on_moved(void)
{
	struct sembuf move[] = {{LOCK, -1, 0}, {SIDE, 1, 0}};
	struct sembuf lock = {LOCK, -1, SEM_UNDO};
	pid_t victim = start_sleeper(move, 2, 1);
	pid_t heir = start_sleeper(&lock, 1, 2);
	bool moved;

	let_go_and_kill(LOCK, 1, victim);
	moved = value(SIDE) == 1;
	if (!moved) {
		must_be("side", value(SIDE), 0);
		must_be("GETPID of side", ask(SIDE, GETPID), judge);
		while (told->runs != heir)
			pause_us(20);
	} else {
		must_be("GETPID of side", ask(SIDE, GETPID), victim);
		must_be("GETPID of the lock", ask(LOCK, GETPID), victim);
	}
	must_be("the lock", value(LOCK), 0);
	must_be("GETNCNT of the lock", ask(LOCK, GETNCNT), moved);
	kill(heir, SIGKILL);
	reap(heir);
	must_be("the lock", value(LOCK), moved ? 0 : 1);
}

/* A process that waits for zero, too. */
static void pass_on_zero(void)
{
	struct sembuf move[] = {{POST, 0, 0}, {SIDE, 1, 0}};
	pid_t victim = start_sleeper(move, 2, 1);
	int moved;

	let_go_and_kill(POST, -1, victim);
	moved = value(SIDE);
	if (moved > 1)
		wrong("side is %d", moved);
	must_be("GETPID of side", ask(SIDE, GETPID), moved ? victim : judge);
	must_be("GETPID of the post", ask(POST, GETPID), moved ? victim : judge);
	must_be("the post", value(POST), 0);
}

static void pass_on(void)
{
	static const unsigned short values[QUEUE_SEMS] = {[POST] = 1};
	static const struct {
		const char *name;
		void (*run)(void);
	} scenes[] = {{"hand-over with undo", pass_on_undone},
		      {"hand-over of a move", pass_on_moved},
		      {"hand-over at zero", pass_on_zero}};
	unsigned which = dice(ARRAY_SIZE(scenes));

	scene = scenes[which].name;
	told->runs = 0;
	make_set(QUEUE_SEMS, values);
	scenes[which].run();
	nobody_waits("after the hand-over");
	remove_set();
}

/* --- how long a death takes to be noticed --- */

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The judge makes no IPC call from the kill on until the sleeper has run. */
static uint64_t one_latency_ns(void)
{
	static const unsigned short values[QUEUE_SEMS] = {[LOCK] = 1};
	struct sembuf lock = {LOCK, -1, SEM_UNDO};
	pid_t holder, sleeper;
	uint64_t start;

	told->holds = told->runs = 0;
	make_set(QUEUE_SEMS, values);
	holder = spawn();
	if (holder == 0)
		hold();
	while (!told->holds)
		pause_us(20);
	sleeper = start_sleeper(&lock, 1, 1);
	pause_us(2000); /* past all spinning */
	start = now_ns();
	kill(holder, SIGKILL);
	while (!told->runs)
		pause_us(100);
	must_be("who runs", told->runs, sleeper);
	reap(holder);
	kill(sleeper, SIGKILL);
	reap(sleeper);
	remove_set();
	return told->ran_ns - start;
}

static void latency(unsigned limit_us)
{
	uint64_t ns[SAMPLES], median;

	scene = "latency";
	watch(WATCHDOG_SECONDS);
	for (int i = 0; i < SAMPLES; i++)
		ns[i] = one_latency_ns();
	qsort(ns, SAMPLES, sizeof(ns[0]), by_size);
	median = (ns[SAMPLES / 2 - 1] + ns[SAMPLES / 2]) / 2;
	printf("%s: behind a killed SEM_UNDO holder, a sleeper runs after %.0f us "
	       "(median of %d; least %.0f, most %.0f)\n",
	       soak_name, (double)median / 1e3, SAMPLES, (double)ns[0] / 1e3,
	       (double)ns[SAMPLES - 1] / 1e3);
	if (median > limit_us * UINT64_C(1000))
		wrong("that is above %u us", limit_us);
}

int main(int argc, char **argv)
{
	unsigned limit_us = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 100000;

	soak_begin(argc, argv, "soak-sem-queue");
	told = share(sizeof(*told));
	while (soak_next_round(WATCHDOG_SECONDS)) {
		queue();
		pass_on();
	}
	latency(limit_us);
	return 0;
}
