/*
 * bench-sem - what one semaphore operation costs, by the libc names alone; see bench.h
 *
 *     bench-sem CASE        prints `CASE ns_per_op [procs=N sum=N least=N most=N]`
 *
 * An operation is one call, but: sem-get-rmid two calls, a new set and its removal; sem-ping-pong a
 * round trip, two calls on each side; sem-mutex-N a lock and an unlock by one of N processes, with
 * no think time; sum, least and most: how often all, and one process, were served.
 */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <time.h>
#include <unistd.h>

enum {
	N_SEMS = 4, /* in each set */
	CONTEST_NS = 500000000,
	CACHE_LINE = 64,
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

static int turns_get(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int which = scattered(b);

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
			return fail("semop");
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
	{.name = "sem-op", .turns = turns_op},
	{.name = "sem-op-undo", .turns = turns_op_undo},
	{.name = "sem-op-array-4", .turns = turns_op_array},
	{.name = "sem-get", .turns = turns_get},
	{.name = "sem-get-rmid", .turns = turns_get_rmid},
	{.name = "sem-setval", .turns = turns_setval},
	{.name = "sem-getval", .turns = turns_getval},
	{.name = "sem-stat", .turns = turns_stat},
	{.name = "sem-ping-pong", .turns = turns_ping, .partner = partner_pong, .alone = true},
};

static const struct surroundings surroundings[] = {
	{"", 10, 0},
	{"-30000-sets", OBJECTS_MAX, 0},
	{"-64-procs", 10, PROCS_MAX},
};

static const int contests[] = {2, 8, PROCS_MAX};

/* --- sets --- */

static int make_set(key_t key)
{
	int id = semget(key, N_SEMS, IPC_CREAT | IPC_EXCL | 0600);

	return id < 0 ? fail("semget, making the sets") : id;
}

static int remove_set(int id)
{
	return semctl(id, 0, IPC_RMID);
}

static int say_hello(struct bench *b, int who)
{
	struct sembuf op = {N_SEMS - 1, 1, 0};

	(void)who;
	return semop(b->ids[0], &op, 1);
}

static int hear_hellos(struct bench *b, int n)
{
	struct sembuf all = {N_SEMS - 1, (short)-n, 0};

	return semop(b->ids[0], &all, 1) < 0 ? fail("semop, waiting for the processes") : 0;
}

/* --- contests --- */

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
	r = make_objects(&b, 1);
	if (r == 0)
		r = hold_contest(&b, c, n, &start_ns);
	if (end_processes(&b, r < 0) < 0)
		r = -1;
	if (remove_objects(&b) < 0)
		r = -1;
	if (r == 0)
		r = report_contest(name, c, n, start_ns);
	return r;
}

static int find_contest(const char *wanted)
{
	char name[64];

	for (size_t i = 0; i < ARRAY_SIZE(contests); i++) {
		snprintf(name, sizeof(name), "sem-mutex-%d", contests[i]);
		if (!wanted)
			puts(name);
		else if (strcmp(wanted, name) == 0)
			return run_contest(name, contests[i]);
	}
	return wanted ? 2 : 0;
}

int main(int argc, char **argv)
{
	static const struct program program = {
		.name = "bench-sem",
		.measures = measures,
		.n_measures = ARRAY_SIZE(measures),
		.surroundings = surroundings,
		.n_surroundings = ARRAY_SIZE(surroundings),
		.other_cases = find_contest,
		.make_one = make_set,
		.remove_one = remove_set,
		.say_hello = say_hello,
		.hear_hellos = hear_hellos,
	};

	return bench_main(&program, argc, argv);
}
