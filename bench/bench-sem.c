/*
 * bench-sem - what one semaphore operation costs, by the libc names alone
 *
 * The same binary runs on the kernel and, preloaded, on vee; bench/run alternates the two.
 *
 *     bench-sem CASE        prints `CASE ns_per_op [procs=N sum=N least=N most=N]`
 *     bench-sem --list      prints the cases
 *
 * A case is a measure (what is done) in surroundings (what else is in the namespace). An operation
 * is one call, but: sem-get-rmid two calls, a new set and its removal; sem-ping-pong a round trip,
 * two calls on each side; sem-mutex-N a lock and an unlock by one of N processes, with no think
 * time; sum, least and most: how often all, and one process, were served.
 * Each measure is its own loop, so that no indirect call is measured along with an operation of a
 * few nanoseconds.
 *
 * Set-up and clean-up stay outside the measured time. Each object that is made is removed again, on
 * a signal too: a handler only notes it, every loop looks at the note. Child processes end with
 * their parent, whatever ends it.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum {
	N_SEMS = 4,	  /* in each set */
	SETS_MAX = 30000, /* below SEMMNI, 32000 */
	PROCS_MAX = 64,
	TURNS = 256, /* between two looks at the clock; even, so that each +1 meets its -1 */
	WARM_UP_NS = 10000000,
	RUN_NS = 100000000,
	PAIR_RUN_NS = 500000000, /* two processes: the scheduler brings them together and apart */
	CONTEST_NS = 500000000,
	CACHE_LINE = 64,
};

struct bench {
	int ids[SETS_MAX]; /* the first is the one that is operated on */
	int n_ids;
	key_t first_key; /* the sets have keys from here upwards */
	uint64_t turn;
	pid_t procs[PROCS_MAX];
	int n_procs;
	int gate[2]; /* a pipe: who reads it goes on when its write end is closed */
};

struct measure {
	const char *name;
	int (*turns)(struct bench *b, unsigned n);
	int (*partner)(struct bench *b); /* another process that runs meanwhile, or NULL */
	bool alone;			 /* measured in the first surroundings only */
};

struct surroundings {
	const char *suffix;
	int n_sets;
	int n_procs; /* each has done an operation, and idles */
};

/* Shared by the processes of sem-mutex-N. */
struct contest {
	volatile uint64_t counter; /* not atomic: the semaphore alone guards it */
	volatile int stop __attribute__((aligned(CACHE_LINE)));
	struct {
		uint64_t served;
		uint64_t end_ns;
	} __attribute__((aligned(CACHE_LINE))) of[PROCS_MAX];
};

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

static volatile sig_atomic_t stopped_by;

static void note_signal(int signal_number)
{
	stopped_by = signal_number;
}

static int fail(const char *call)
{
	fprintf(stderr, "bench-sem: %s: %s\n", call, strerror(errno));
	return -1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- measures --- */

static int up_and_down(int id, short flags, unsigned n_ops, unsigned n)
{
	struct sembuf up[N_SEMS], down[N_SEMS];

	for (unsigned short i = 0; i < n_ops; i++) {
		up[i] = (struct sembuf){i, 1, flags};
		down[i] = (struct sembuf){i, -1, flags};
	}
	for (unsigned i = 0; i < n; i += 2)
		if (semop(id, up, n_ops) < 0 || semop(id, down, n_ops) < 0)
			return fail("semop");
	return 0;
}

static int turns_op(struct bench *b, unsigned n)
{
	return up_and_down(b->ids[0], 0, 1, n);
}

static int turns_op_undo(struct bench *b, unsigned n)
{
	return up_and_down(b->ids[0], SEM_UNDO, 1, n);
}

static int turns_op_array(struct bench *b, unsigned n)
{
	return up_and_down(b->ids[0], 0, N_SEMS, n);
}

/* The existing keys are asked for in a scattered order, so that no cache of the last one helps. */
static int turns_get(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int which = (int)((b->turn++ * 2654435761u) % (uint64_t)b->n_ids);

		if (semget(b->first_key + which, 0, 0) != b->ids[which])
			return fail("semget of an existing key");
	}
	return 0;
}

static int turns_get_rmid(struct bench *b, unsigned n)
{
	(void)b;
	for (unsigned i = 0; i < n; i++) {
		int id = semget(IPC_PRIVATE, 1, 0600);

		if (id < 0)
			return fail("semget of a new set");
		if (semctl(id, 0, IPC_RMID) < 0)
			return fail("IPC_RMID");
	}
	return 0;
}

static int turns_setval(struct bench *b, unsigned n)
{
	union semun arg;

	for (unsigned i = 0; i < n; i++) {
		arg.val = (int)(i % 2);
		if (semctl(b->ids[0], 0, SETVAL, arg) < 0)
			return fail("SETVAL");
	}
	return 0;
}

static int turns_getval(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (semctl(b->ids[0], 0, GETVAL) != 0)
			return fail("GETVAL of a semaphore that is 0");
	return 0;
}

static int turns_stat(struct bench *b, unsigned n)
{
	struct semid_ds ds;
	union semun arg = {.buf = &ds};

	for (unsigned i = 0; i < n; i++) {
		ds.sem_nsems = 0;
		if (semctl(b->ids[0], 0, IPC_STAT, arg) < 0)
			return fail("IPC_STAT");
		if (ds.sem_nsems != N_SEMS) {
			fprintf(stderr, "bench-sem: IPC_STAT: sem_nsems is %lu, not %d\n",
				(unsigned long)ds.sem_nsems, N_SEMS);
			return -1;
		}
	}
	return 0;
}

static int turns_ping(struct bench *b, unsigned n)
{
	struct sembuf ping = {0, 1, 0}, pong = {1, -1, 0};

	for (unsigned i = 0; i < n; i++)
		if (semop(b->ids[0], &ping, 1) < 0 || semop(b->ids[0], &pong, 1) < 0)
			return stopped_by ? -1 : fail("semop");
	return 0;
}

/* Until the set is removed. */
static int partner_pong(struct bench *b)
{
	struct sembuf ping = {0, -1, 0}, pong = {1, 1, 0};

	while (semop(b->ids[0], &ping, 1) == 0 && semop(b->ids[0], &pong, 1) == 0)
		;
	return errno == EIDRM || errno == EINVAL ? 0 : 1;
}

static const struct measure measures[] = {
	{"sem-op", turns_op, NULL, false},
	{"sem-op-undo", turns_op_undo, NULL, false},
	{"sem-op-array-4", turns_op_array, NULL, false},
	{"sem-get", turns_get, NULL, false},
	{"sem-get-rmid", turns_get_rmid, NULL, false},
	{"sem-setval", turns_setval, NULL, false},
	{"sem-getval", turns_getval, NULL, false},
	{"sem-stat", turns_stat, NULL, false},
	{"sem-ping-pong", turns_ping, partner_pong, true},
};

static const struct surroundings surroundings[] = {
	{"", 10, 0},
	{"-30000-sets", SETS_MAX, 0},
	{"-64-procs", 10, PROCS_MAX},
};

static const int contests[] = {2, 8, PROCS_MAX};

/* --- sets and processes --- */

/* Keys that nobody else uses: upper bits from the process, lower ones for the set's number. */
static int make_sets(struct bench *b, int n)
{
	b->first_key = (key_t)(0x40000000u | ((uint32_t)getpid() & 0x3fffu) << 16);
	while (b->n_ids < n && !stopped_by) {
		int id = semget(b->first_key + b->n_ids, N_SEMS, IPC_CREAT | IPC_EXCL | 0600);

		if (id < 0)
			return fail("semget, making the sets");
		b->ids[b->n_ids++] = id;
	}
	return stopped_by ? -1 : 0;
}

static int remove_sets(struct bench *b)
{
	int r = 0;

	while (b->n_ids > 0)
		if (semctl(b->ids[--b->n_ids], 0, IPC_RMID) < 0)
			r = fail("IPC_RMID, cleaning up");
	return r;
}

/* Returns the pid in the parent, 0 in the child. */
static pid_t start_process(struct bench *b)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		return fail("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		close(b->gate[1]);
		return 0;
	}
	b->procs[b->n_procs++] = pid;
	return pid;
}

static void wait_at_gate(const struct bench *b)
{
	char byte;

	while (read(b->gate[0], &byte, 1) < 0 && errno == EINTR)
		;
}

static void open_gate(struct bench *b)
{
	if (b->gate[1] >= 0)
		close(b->gate[1]);
	b->gate[1] = -1;
}

/* 0 if each ended by itself and well. */
static int end_processes(struct bench *b, bool kill_them)
{
	int r = 0;

	open_gate(b);
	while (b->n_procs > 0) {
		pid_t pid = b->procs[b->n_procs - 1];
		int status = 1;

		if (kill_them)
			kill(pid, SIGKILL);
		if (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
			kill_them = true; /* told to stop: the rest needs not end well */
			continue;
		}
		if (status != 0)
			r = -1;
		b->n_procs--;
	}
	close(b->gate[0]);
	if (r < 0 && !kill_them)
		fprintf(stderr, "bench-sem: a process of the case failed\n");
	return r;
}

/* Each does an operation, says so, and idles at the gate. */
static int start_idlers(struct bench *b, int n)
{
	struct sembuf op = {N_SEMS - 1, 1, 0};
	struct sembuf all = {N_SEMS - 1, (short)-n, 0};

	for (int i = 0; i < n; i++) {
		pid_t pid = start_process(b);

		if (pid < 0)
			return -1;
		if (pid == 0) {
			if (semop(b->ids[0], &op, 1) < 0)
				_exit(1);
			wait_at_gate(b);
			_exit(0);
		}
	}
	if (n > 0 && semop(b->ids[0], &all, 1) < 0)
		return stopped_by ? -1 : fail("semop, waiting for the processes");
	return 0;
}

static int start_partner(struct bench *b, const struct measure *m)
{
	pid_t pid = m->partner ? start_process(b) : 1;

	if (pid == 0)
		_exit(m->partner(b));
	return pid < 0 ? -1 : 0;
}

/* --- cases --- */

static int run_turns(struct bench *b, const struct measure *m, uint64_t at_least_ns,
		     double *ret_ns_per_op)
{
	uint64_t start = now_ns(), spent, n = 0;

	do {
		if (stopped_by || m->turns(b, TURNS) < 0)
			return -1;
		n += TURNS;
		spent = now_ns() - start;
	} while (spent < at_least_ns);
	*ret_ns_per_op = (double)spent / (double)n;
	return 0;
}

static int run_measure(const char *name, const struct measure *m, const struct surroundings *s)
{
	static struct bench b;
	double ns = 0;
	int r;

	if (pipe(b.gate) < 0)
		return fail("pipe");
	r = make_sets(&b, s->n_sets);
	if (r == 0)
		r = start_idlers(&b, s->n_procs);
	if (r == 0)
		r = start_partner(&b, m);
	if (r == 0)
		r = run_turns(&b, m, WARM_UP_NS, &ns);
	if (r == 0)
		r = run_turns(&b, m, m->partner ? PAIR_RUN_NS : RUN_NS, &ns);
	if (remove_sets(&b) < 0)
		r = -1;
	if (end_processes(&b, r < 0) < 0)
		r = -1;
	if (r == 0)
		printf("%s %.1f\n", name, ns);
	return r;
}

static int compete(struct bench *b, struct contest *c, int me)
{
	struct sembuf lock = {0, -1, 0}, unlock = {0, 1, 0};
	uint64_t served = 0;

	wait_at_gate(b);
	while (!c->stop) {
		if (semop(b->ids[0], &lock, 1) < 0)
			return 1;
		c->counter++;
		if (semop(b->ids[0], &unlock, 1) < 0)
			return 1;
		served++;
	}
	c->of[me].served = served;
	c->of[me].end_ns = now_ns();
	return 0;
}

static int hold_contest(struct bench *b, struct contest *c, int n, uint64_t *ret_start_ns)
{
	struct timespec duration = {0, CONTEST_NS};
	struct sembuf unlock = {0, 1, 0};

	for (int i = 0; i < n; i++) {
		pid_t pid = start_process(b);

		if (pid < 0)
			return -1;
		if (pid == 0)
			_exit(compete(b, c, i));
	}
	if (semop(b->ids[0], &unlock, 1) < 0)
		return fail("semop");
	*ret_start_ns = now_ns();
	open_gate(b);
	nanosleep(&duration, NULL);
	c->stop = 1;
	return stopped_by ? -1 : 0;
}

static int report_contest(const char *name, const struct contest *c, int n, uint64_t start_ns)
{
	uint64_t sum = 0, least = UINT64_MAX, most = 0, end_ns = start_ns;

	for (int i = 0; i < n; i++) {
		uint64_t served = c->of[i].served;

		sum += served;
		least = served < least ? served : least;
		most = served > most ? served : most;
		end_ns = c->of[i].end_ns > end_ns ? c->of[i].end_ns : end_ns;
	}
	if (c->counter != sum || sum == 0) {
		fprintf(stderr,
			"bench-sem: %s: the counter is %llu after %llu turns: lost updates\n", name,
			(unsigned long long)c->counter, (unsigned long long)sum);
		return -1;
	}
	printf("%s %.1f procs=%d sum=%llu least=%llu most=%llu\n", name,
	       (double)(end_ns - start_ns) / (double)sum, n, (unsigned long long)sum,
	       (unsigned long long)least, (unsigned long long)most);
	return 0;
}

static int run_contest(const char *name, int n)
{
	static struct bench b;
	struct contest *c =
		mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t start_ns = 0;
	int r;

	if (c == MAP_FAILED || pipe(b.gate) < 0)
		return fail("mmap or pipe");
	r = make_sets(&b, 1);
	if (r == 0)
		r = hold_contest(&b, c, n, &start_ns);
	if (end_processes(&b, r < 0) < 0)
		r = -1;
	if (remove_sets(&b) < 0)
		r = -1;
	if (r == 0)
		r = report_contest(name, c, n, start_ns);
	return r;
}

/* Runs the case of this name, or prints the names of all if it is NULL. 2: no such case. */
static int find_and_run(const char *wanted)
{
	char name[64];

	for (size_t s = 0; s < ARRAY_SIZE(surroundings); s++) {
		for (size_t m = 0; m < ARRAY_SIZE(measures); m++) {
			if (s > 0 && measures[m].alone)
				continue;
			snprintf(name, sizeof(name), "%s%s", measures[m].name,
				 surroundings[s].suffix);
			if (!wanted)
				puts(name);
			else if (strcmp(wanted, name) == 0)
				return run_measure(name, &measures[m], &surroundings[s]);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(contests); i++) {
		snprintf(name, sizeof(name), "sem-mutex-%d", contests[i]);
		if (!wanted)
			puts(name);
		else if (strcmp(wanted, name) == 0)
			return run_contest(name, contests[i]);
	}
	return wanted ? 2 : 0;
}

static void catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = note_signal};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaction(numbers[i], &action, NULL);
}

int main(int argc, char **argv)
{
	bool list = argc == 2 && strcmp(argv[1], "--list") == 0;
	int r = 2;

	catch_signals();
	if (argc == 2)
		r = find_and_run(list ? NULL : argv[1]);
	if (r == 2)
		fprintf(stderr, "usage: bench-sem CASE | --list\n");
	if (r < 0)
		return stopped_by ? 128 + stopped_by : 1;
	return r;
}
