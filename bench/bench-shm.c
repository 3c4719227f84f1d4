/*
 * bench-shm - what one shared memory operation costs, by the libc names alone; see bench.h
 *
 * The cost of the look at the note of a signal is one load of a line in cache.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

enum {
	SEGMENT_SIZE_BYTES = 4096,
	SEGMENTS_MAX = 4000, /* below SHMMNI, 4096 */
	WARM_UP_DIVISOR = 16,
};

struct bench_case {
	const char *name;
	int n_segments; /* present before the clock starts */
	uint64_t n_ops;
	int (*op)(struct bench *b, uint64_t turn);
};

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

static int make_segment(key_t key)
{
	int id = shmget(key, SEGMENT_SIZE_BYTES, IPC_CREAT | IPC_EXCL | 0600);

	return id < 0 ? fail("shmget, making the segments") : id;
}

static int remove_segment(int id)
{
	return shmctl(id, IPC_RMID, NULL);
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
	int r = make_objects(&b, c->n_segments);

	if (r == 0)
		r = run_ops(&b, c, c->n_ops / WARM_UP_DIVISOR);
	start = now_ns();
	if (r == 0)
		r = run_ops(&b, c, c->n_ops);
	end = now_ns();
	if (remove_objects(&b) < 0)
		r = -1;
	if (r == 0)
		printf("%s %.1f\n", c->name, (double)(end - start) / (double)c->n_ops);
	return r;
}

static int find_case(const char *wanted)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!wanted)
			puts(cases[i].name);
		else if (strcmp(wanted, cases[i].name) == 0)
			return run_case(&cases[i]);
	}
	return wanted ? 2 : 0;
}

int main(int argc, char **argv)
{
	static const struct program program = {
		.name = "bench-shm",
		.other_cases = find_case,
		.make_one = make_segment,
		.remove_one = remove_segment,
	};

	return bench_main(&program, argc, argv);
}
