/*
 * bench-shm - what one shared memory operation costs, by the libc names alone
 *
 * The same binary runs on the kernel and, preloaded, on vee; bench/run alternates the two and compares.
 *
 *     bench-shm CASE        prints `CASE ns_per_op`
 *     bench-shm --list      prints the cases
 *
 * Set-up and clean-up stay outside the measured time. Each object that is made is removed again, on a signal too: a
 * handler only notes it, every loop looks at the note. The cost of the look is one load of a line in cache.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum {
	SEGMENT_SIZE_BYTES = 4096,
	SEGMENTS_MAX = 4000, /* below SHMMNI, 4096 */
	WARM_UP_DIVISOR = 16,
};

struct bench {
	int ids[SEGMENTS_MAX];
	int n_ids;
	key_t first_key; /* the segments have keys from here upwards */
};

struct bench_case {
	const char *name;
	int n_segments; /* present before the clock starts */
	uint64_t n_ops;
	int (*op)(struct bench *b, uint64_t turn);
};

static volatile sig_atomic_t stopped_by;

static void note_signal(int signal_number)
{
	stopped_by = signal_number;
}

static int fail(const char *call)
{
	fprintf(stderr, "bench-shm: %s: %s\n", call, strerror(errno));
	return -1;
}

/* The existing keys are asked for in a scattered order, so that no cache of the last one helps. */
static int op_get_existing(struct bench *b, uint64_t turn)
{
	int which = (int)((turn * 2654435761u) % (uint64_t)b->n_ids);

	if (shmget(b->first_key + which, 0, 0) != b->ids[which])
		return fail("shmget of an existing key");
	return 0;
}

static int op_attach_detach(struct bench *b, uint64_t turn)
{
	void *address = shmat(b->ids[0], NULL, 0);

	(void)turn;
	if (address == (void *)-1)
		return fail("shmat");
	if (shmdt(address) < 0)
		return fail("shmdt");
	return 0;
}

static int op_new_remove(struct bench *b, uint64_t turn)
{
	int id = shmget(IPC_PRIVATE, SEGMENT_SIZE_BYTES, 0600);

	(void)b;
	(void)turn;
	if (id < 0)
		return fail("shmget of a new segment");
	if (shmctl(id, IPC_RMID, NULL) < 0)
		return fail("IPC_RMID");
	return 0;
}

static int op_stat(struct bench *b, uint64_t turn)
{
	struct shmid_ds ds;

	(void)turn;
	if (shmctl(b->ids[0], IPC_STAT, &ds) < 0)
		return fail("IPC_STAT");
	if (ds.shm_segsz != SEGMENT_SIZE_BYTES) {
		fprintf(stderr, "bench-shm: IPC_STAT: shm_segsz is %zu, not %d\n", ds.shm_segsz,
			SEGMENT_SIZE_BYTES);
		return -1;
	}
	return 0;
}

static const struct bench_case cases[] = {
	{"shmget-10", 10, 400000, op_get_existing},
	{"shmget-4000", SEGMENTS_MAX, 400000, op_get_existing},
	{"shmat-shmdt", 1, 40000, op_attach_detach},
	{"shmget-rmid", 0, 40000, op_new_remove},
	{"ipc-stat", 1, 400000, op_stat},
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Keys that nobody else uses: the upper bits from the process, the lower ones for the segment's number. */
static int make_segments(struct bench *b, int n)
{
	b->first_key = (key_t)(0x40000000u | ((uint32_t)getpid() & 0x3ffffu) << 12);
	while (b->n_ids < n && !stopped_by) {
		int id = shmget(b->first_key + b->n_ids, SEGMENT_SIZE_BYTES,
				IPC_CREAT | IPC_EXCL | 0600);

		if (id < 0)
			return fail("shmget, making the segments");
		b->ids[b->n_ids++] = id;
	}
	return 0;
}

static int remove_segments(struct bench *b)
{
	int r = 0;

	while (b->n_ids > 0)
		if (shmctl(b->ids[--b->n_ids], IPC_RMID, NULL) < 0)
			r = fail("IPC_RMID, cleaning up");
	return r;
}

static int run_ops(struct bench *b, const struct bench_case *c, uint64_t n)
{
	for (uint64_t turn = 0; turn < n; turn++) {
		if (stopped_by)
			return -1;
		if (c->op(b, turn) < 0)
			return -1;
	}
	return 0;
}

static int run_case(const struct bench_case *c)
{
	static struct bench b;
	uint64_t start, end;
	int r = make_segments(&b, c->n_segments);

	if (r == 0)
		r = run_ops(&b, c, c->n_ops / WARM_UP_DIVISOR);
	start = now_ns();
	if (r == 0)
		r = run_ops(&b, c, c->n_ops);
	end = now_ns();
	if (remove_segments(&b) < 0)
		r = -1;
	if (r == 0)
		printf("%s %.1f\n", c->name, (double)(end - start) / (double)c->n_ops);
	return r;
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
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
			puts(cases[i].name);
		return 0;
	}
	for (size_t i = 0; argc == 2 && i < ARRAY_SIZE(cases); i++) {
		if (strcmp(argv[1], cases[i].name) == 0) {
			catch_signals();
			if (run_case(&cases[i]) == 0)
				return 0;
			return stopped_by ? 128 + stopped_by : 1;
		}
	}
	fprintf(stderr, "usage: bench-shm CASE | --list\n");
	return 2;
}
