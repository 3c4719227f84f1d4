/*
 * soak-timer.c - semaphores used by a signal handler every 100 us, on top of the same use.
 *
 *	soak-timer [SECONDS]	3 s, twice: the handler returns; the handler may siglongjmp out
 *
 * Written against <sys/sem.h> alone: it runs on the kernel and, preloaded, on vee. What is proved:
 * in 4 processes with an interval timer each, whose handler operates on the very semaphores that
 * the main line is inside, nothing hangs and nothing is lost or done twice; a sleeper is never
 * resumed after a handler, SA_RESTART or not; an operation that a handler has jumped out of was
 * done or not when the handler began, and is never done afterwards; no sleeper stays in a count.
 *
 * How that can be known in spite of the jumps: each operation of the main line is an array that
 * also moves a mark of its process's own (HELD, HAND), so that GETVAL tells afterwards whether it
 * was done. The main line is a machine of small phases, the phase in memory that outlives a jump;
 * each phase can be entered again. The guarded counter is changed by writing down first what it
 * will be. The handler is never interrupted (its signal is blocked), and jumps at its very end.
 */
#include "soak-sem.h"

#include <setjmp.h>
#include <sys/time.h>

#define PROCESSES      4
#define TOKENS	       2
#define TICK_US	       100
#define WATCHDOG_SPARE 60
#define TICKS_ONE_WAY  1000 /* then back, lest SEMVMX be met */
#define ONE_IN_JUMPS   3

enum {
	MUTEX,			     /* 1: guards `counter` */
	NEVER,			     /* 0: never anything else */
	HELD,			     /* one a process: 1 while it has the mutex */
	HAND = HELD + PROCESSES,     /* one a process: 1 while it has a token in hand */
	BOX = HAND + PROCESSES,	     /* one a process: tokens for it to take */
	TICKS = BOX + PROCESSES,     /* one a process: moved by its handler */
	IN_TICK = TICKS + PROCESSES, /* one a process: 1 while its handler has the mutex */
	TIMER_SEMS = IN_TICK + PROCESSES
};

enum phase {
	LOCK,
	COUNT,	/* with the mutex */
	RECORD, /* with the mutex, and what to record written down */
	UNLOCK,
	TAKE, /* a token */
	GIVE,
	NAP
};

/* One a process, written by it alone, read by the judge when it has ended. */
struct worker {
	enum phase phase;
	uint64_t counter_will_be, sections_will_be;
	uint64_t sections; /* of the main line */
	uint64_t takes, gives, naps;
	uint64_t done, interrupted, late; /* the main line's calls by result, as far as it saw it */
	uint64_t jumps;
	uint64_t ticks, ticks_up, ticks_down;	      /* the handler's */
	uint64_t tick_sections, tick_busy, tick_late; /* the handler's tries at the mutex */
} __attribute__((aligned(64)));

static volatile struct {
	int stop;
	uint64_t counter; /* not atomic: MUTEX guards it */
	struct worker of[PROCESSES];
} * shared;

static volatile struct worker *mine;
static unsigned short me, next;
static short undo_flag;
static bool jumping;
static sigjmp_buf restart;
static volatile sig_atomic_t may_jump;
static volatile sig_atomic_t unsure; /* a handler has jumped: which operation was done? */

/* --- the handler --- */

static void must(struct sembuf *sops, size_t n)
{
	if (semop(id, sops, n) < 0)
		child_wrong("semop %d on %u, which never has to wait: %s", sops->sem_op,
			    sops->sem_num, strerror(errno));
}

static void tick_count(void)
{
	bool up = mine->ticks / TICKS_ONE_WAY % 2 == 0;
	struct sembuf move = {(unsigned short)(TICKS + me), up ? 1 : -1, 0};

	mine->ticks++;
	must(&move, 1);
	if (up)
		mine->ticks_up++;
	else
		mine->ticks_down++;
}

/* The main line may have the mutex, so that no try must be without an end. */
static void tick_section(void)
{
	unsigned short mark = (unsigned short)(IN_TICK + me);
	struct sembuf lock[] = {{MUTEX, -1, undo_flag}, {mark, 1, undo_flag}};
	struct sembuf unlock[] = {{MUTEX, 1, undo_flag}, {mark, -1, undo_flag}};
	struct timespec soon = {0, 20000};
	bool wait = mine->ticks % 16 == 0;

	if (!wait)
		lock[0].sem_flg |= IPC_NOWAIT;
	if (semtimedop(id, lock, 2, wait ? &soon : NULL) == 0) {
		shared->counter++;
		mine->tick_sections++;
		must(unlock, 2);
	} else if (errno != EAGAIN) {
		child_wrong("the handler's lock: %s", strerror(errno));
	} else if (wait) {
		mine->tick_late++;
	} else {
		mine->tick_busy++;
	}
}

static void on_tick(int sig)
{
	int error = errno;

	(void)sig;
	tick_count();
	tick_section();
	errno = error;
	if (jumping && may_jump && mine->ticks % ONE_IN_JUMPS == 0) {
		mine->jumps++;
		unsure = 1;
		siglongjmp(restart, 1);
	}
}

/* --- the main line --- */

static int mark(unsigned short sem)
{
	int n = semctl(id, sem, GETVAL);

	if (n < 0 || n > 1)
		child_wrong("a mark, semaphore %u, is %d: %s", sem, n, strerror(errno));
	return n;
}

/* True if it was done; if not, it was interrupted or too late, and the mark must say so too. */
static bool try(struct sembuf *sops, size_t n, const struct timespec *timeout)
{
	int before = sops[1].sem_op < 0;

	if (semtimedop(id, sops, n, timeout) == 0) {
		if (mark(sops[1].sem_num) == before)
			child_wrong("done, but the mark is as before");
		mine->done++;
		return true;
	}
	if (errno == EINTR)
		mine->interrupted++;
	else if (errno == EAGAIN && timeout)
		mine->late++;
	else
		child_wrong("semop %d on %u: %s", sops->sem_op, sops->sem_num, strerror(errno));
	if (mark(sops[1].sem_num) != before)
		child_wrong("not done (%s), but the mark has changed", strerror(errno));
	return false;
}

static enum phase move(unsigned short from, unsigned short to, enum phase stay, enum phase go_on)
{
	struct sembuf sops[] = {{from, -1, undo_flag}, {to, 1, undo_flag}};

	return try(sops, 2, NULL) ? go_on : stay;
}

/* Back from the mark: never waits. */
static enum phase move_back(unsigned short to, unsigned short from, short flag, enum phase go_on)
{
	struct sembuf sops[] = {{to, 1, flag}, {from, -1, flag}};

	must(sops, 2);
	mine->done++;
	return go_on;
}

/* Now and then, with and without a time-out. No end but these: a time-out, an interruption, a jump. */
static enum phase nap(void)
{
	struct timespec soon = {0, 250000};
	struct sembuf never[] = {{NEVER, -1, 0}, {(unsigned short)(HELD + me), 1, 0}};

	if (mine->sections % 8 > 0)
		return LOCK;
	mine->naps++;
	if (try(never, 2, mine->naps % 2 ? &soon : NULL))
		child_wrong("woken from the nap with success");
	return LOCK;
}

static enum phase compute(void)
{
	mine->counter_will_be = shared->counter + 1;
	mine->sections_will_be = mine->sections + 1;
	return RECORD;
}

static enum phase record(void)
{
	shared->counter = mine->counter_will_be;
	mine->sections = mine->sections_will_be;
	return UNLOCK;
}

static enum phase take(void)
{
	/* Tokens are moved without undo: a process that ends with one in hand would shift it back. */
	struct sembuf sops[] = {{(unsigned short)(BOX + me), -1, 0},
				{(unsigned short)(HAND + me), 1, 0}};
	struct timespec soon = {0, 2000000};

	mine->takes++;
	return try(sops, 2, &soon) ? GIVE : NAP;
}

static enum phase step(enum phase phase)
{
	unsigned short held = (unsigned short)(HELD + me), hand = (unsigned short)(HAND + me);

	switch (phase) {
	case LOCK:
		return move(MUTEX, held, LOCK, COUNT);
	case COUNT:
		return compute();
	case RECORD:
		return record();
	case UNLOCK:
		return move_back(MUTEX, held, undo_flag, TAKE);
	case TAKE:
		return take();
	case GIVE:
		mine->gives++;
		return move_back((unsigned short)(BOX + next), hand, 0, NAP);
	case NAP:
		return nap();
	}
	child_wrong("phase %d", (int)phase);
}

/* After a jump: the mark tells whether the operation that it may have left was done. */
static enum phase find_phase(enum phase phase)
{
	bool held = mark((unsigned short)(HELD + me)), hand = mark((unsigned short)(HAND + me));

	if (held != (phase == COUNT || phase == RECORD) && phase != LOCK && phase != UNLOCK)
		child_wrong("after a jump in phase %d, HELD is %d", (int)phase, held);
	if (hand && phase != TAKE && phase != GIVE)
		child_wrong("after a jump in phase %d, HAND is %d", (int)phase, hand);
	switch (phase) {
	case LOCK:
		return held ? COUNT : LOCK;
	case UNLOCK:
		return held ? UNLOCK : TAKE;
	case TAKE:
		return hand ? GIVE : TAKE;
	case GIVE:
		return hand ? GIVE : NAP;
	default:
		return phase;
	}
}

static void set_timer(suseconds_t us)
{
	struct itimerval interval = {{0, us}, {0, us}};

	setitimer(ITIMER_REAL, &interval, NULL);
}

/* A jump ends here; what comes after is done once more. Without a timer since, all is sure. */
static void run_until_stopped(void)
{
	sigsetjmp(restart, 1);
	may_jump = 1;
	while (!shared->stop) {
		if (unsure) {
			mine->phase = find_phase(mine->phase);
			unsure = 0;
		}
		mine->phase = step(mine->phase);
	}
	may_jump = 0;
}

static void finish(void)
{
	set_timer(0);
	signal(SIGALRM, SIG_IGN);
	if (unsure)
		mine->phase = find_phase(mine->phase);
	while (mine->phase == COUNT || mine->phase == RECORD)
		mine->phase = step(mine->phase);
	/* Whoever used SEM_UNDO leaves the mutex to it. */
	if (mine->phase == UNLOCK && !undo_flag)
		step(UNLOCK);
	_exit(0);
}

static void __attribute__((noreturn)) work(unsigned short which)
{
	struct sigaction action = {.sa_handler = on_tick};

	me = which;
	next = (unsigned short)((which + 1) % PROCESSES);
	mine = &shared->of[which];
	undo_flag = which % 2 ? SEM_UNDO : 0;
	action.sa_flags = which / 2 ? SA_RESTART : 0;
	sigaction(SIGALRM, &action, NULL);
	set_timer(TICK_US);
	run_until_stopped();
	finish();
	_exit(0);
}

/* --- the judge --- */

/* A process sleeps in one operation at a time: what a handler interrupts or leaves is over. */
static void check_sleepers(void)
{
	for (unsigned short i = 0; i < TIMER_SEMS; i++) {
		bool all = i == MUTEX || i == NEVER, one = i >= BOX && i < BOX + PROCESSES;
		int n = ask(i, GETNCNT);

		if (n > (all ? PROCESSES : one ? 1 : 0))
			wrong("%d sleep at semaphore %u", n, i);
	}
}

static void check_worker(unsigned short i, pid_t pid)
{
	const volatile struct worker *w = &shared->of[i];

	if (w->ticks == 0 || w->sections == 0 || w->naps == 0)
		wrong("process %u got nowhere: %llu ticks, %llu sections, %llu naps", i,
		      (unsigned long long)w->ticks, (unsigned long long)w->sections,
		      (unsigned long long)w->naps);
	must_be("HELD", value((unsigned short)(HELD + i)), 0);
	must_be("IN_TICK", value((unsigned short)(IN_TICK + i)), 0);
	must_be("TICKS", value((unsigned short)(TICKS + i)), (long)(w->ticks_up - w->ticks_down));
	must_be("GETPID of HELD", ask((unsigned short)(HELD + i), GETPID), pid);
	must_be("GETPID of TICKS", ask((unsigned short)(TICKS + i), GETPID), pid);
	must_be("the ticks", (long)w->ticks, (long)(w->ticks_up + w->ticks_down));
	must_be("the handler's tries", (long)(w->tick_sections + w->tick_busy + w->tick_late),
		(long)w->ticks);
}

static void check_all(const pid_t *workers)
{
	long sections = 0, tokens = 0;

	nobody_waits("at the end");
	for (unsigned short i = 0; i < PROCESSES; i++) {
		check_worker(i, workers[i]);
		sections += (long)(shared->of[i].sections + shared->of[i].tick_sections);
		tokens += value((unsigned short)(BOX + i)) + value((unsigned short)(HAND + i));
	}
	must_be("the mutex", value(MUTEX), 1);
	must_be("never", value(NEVER), 0);
	must_be("GETPID of never", ask(NEVER, GETPID), judge);
	must_be("the counter", (long)shared->counter, sections);
	must_be("the tokens", tokens, TOKENS);
}

static void report(void)
{
	static const char text[] = "  process %u: %llu ticks, %llu jumps, %llu + %llu sections, "
				   "%llu gives, %llu naps; done %llu, EINTR %llu, EAGAIN %llu\n";

	printf("%s: %s\n", soak_name, scene);
	for (unsigned i = 0; i < PROCESSES; i++) {
		const volatile struct worker *w = &shared->of[i];

		printf(text, i, (unsigned long long)w->ticks, (unsigned long long)w->jumps,
		       (unsigned long long)w->sections, (unsigned long long)w->tick_sections,
		       (unsigned long long)w->gives, (unsigned long long)w->naps,
		       (unsigned long long)w->done, (unsigned long long)w->interrupted,
		       (unsigned long long)w->late);
	}
}

static void run(unsigned seconds)
{
	static const unsigned short values[TIMER_SEMS] = {[MUTEX] = 1, [BOX] = 1, [BOX + 2] = 1};
	uint64_t end = now_ns() + seconds * UINT64_C(1000000000);
	pid_t workers[PROCESSES];

	memset((void *)shared, 0, sizeof(*shared));
	watch(seconds + WATCHDOG_SPARE);
	make_set(TIMER_SEMS, values);
	for (unsigned short i = 0; i < PROCESSES; i++) {
		workers[i] = spawn();
		if (workers[i] == 0)
			work(i);
	}
	while (now_ns() < end) {
		check_sleepers();
		pause_us(5000);
	}
	shared->stop = 1;
	for (unsigned i = 0; i < PROCESSES; i++)
		reap(workers[i]);
	report();
	check_all(workers);
	remove_set();
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 3;

	soak_name = "soak-timer";
	judge = getpid();
	shared = share(sizeof(*shared));
	setvbuf(stdout, NULL, _IOLBF, 0);
	scene = "the handler returns";
	run(seconds);
	scene = "the handler jumps";
	jumping = true;
	run(seconds);
	return 0;
}
