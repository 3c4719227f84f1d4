/*
 * crash-shm.c - death as an input: each operation is killed at each of its journal steps.
 *
 * What is proved: afterwards another process finds the namespace sound, the operation has happened
 * whole or not at all, and no file is left that belongs to no segment.
 */
#include "crash/actor.h"

#define KEY  0x5eed
#define SIZE 10000

struct operation {
	const char *name;
	void (*earlier)(struct ipc_namespace *ns); /* by a process that is killed before */
	void (*prepare)(struct ipc_namespace *ns);
	void (*run)(struct ipc_namespace *ns);
	bool in_steps; /* more than one transaction that others may see */
};

struct attempt {
	const struct operation *operation;
	unsigned countdown; /* 0: not killed in it */
	bool run;
};

static int id, other_id;
static void *at;
static ref_t held[6];

static int made(struct ipc_namespace *ns, key_t key)
{
	int ret = shm_get(ns, key, SIZE, IPC_CREAT | 0600);

	must(ret, "shm_get");
	return ret;
}

static void *attached(struct ipc_namespace *ns, int segment)
{
	void *address = NULL;

	must(shm_at(ns, segment, NULL, 0, &address), "shm_at");
	if (address)
		memset(address, 1, SIZE);
	return address;
}

static void enter(struct ipc_namespace *ns)
{
	struct proc *proc;

	must(proc_enter(ns, &proc), "proc_enter");
}

static void enter_with_another_segment(struct ipc_namespace *ns)
{
	other_id = made(ns, KEY + 1);
}

static void segment(struct ipc_namespace *ns)
{
	other_id = made(ns, KEY + 1);
	id = made(ns, KEY);
}

static void attached_segment(struct ipc_namespace *ns)
{
	segment(ns);
	at = attached(ns, id);
}

static void segment_with_file(struct ipc_namespace *ns)
{
	attached_segment(ns);
	must(shm_dt(ns, at), "shm_dt");
}

static void marked_segment(struct ipc_namespace *ns)
{
	attached_segment(ns);
	must(shm_ctl(ns, id, IPC_RMID, NULL), "IPC_RMID");
}

static void several_attached(struct ipc_namespace *ns)
{
	marked_segment(ns);
	attached(ns, id);
	attached(ns, other_id);
	attached(ns, made(ns, IPC_PRIVATE));
}

static void get_key(struct ipc_namespace *ns)
{
	must(shm_get(ns, KEY, SIZE, IPC_CREAT | IPC_EXCL | 0600), "shm_get");
}

static void get_private(struct ipc_namespace *ns)
{
	must(shm_get(ns, IPC_PRIVATE, SIZE, 0600), "shm_get");
}

static void attach(struct ipc_namespace *ns)
{
	must(shm_at(ns, id, NULL, 0, &at), "shm_at");
}

static void detach(struct ipc_namespace *ns)
{
	must(shm_dt(ns, at), "shm_dt");
}

static void set(struct ipc_namespace *ns)
{
	struct shmid_ds ds;

	memset(&ds, 0, sizeof(ds));
	ds.shm_perm.uid = geteuid();
	ds.shm_perm.gid = getegid();
	ds.shm_perm.mode = 0640;
	must(shm_ctl(ns, id, IPC_SET, &ds), "IPC_SET");
}

static void remove_segment(struct ipc_namespace *ns)
{
	must(shm_ctl(ns, id, IPC_RMID, NULL), "IPC_RMID");
}

static void lock_segment(struct ipc_namespace *ns)
{
	must(shm_ctl(ns, id, SHM_LOCK, NULL), "SHM_LOCK");
}

static void sweep(struct ipc_namespace *ns)
{
	proc_sweep(ns);
}

static const uint32_t sizes[] = {8, 100, 2048, 5000, 4096, 3 * 4096};

static void hold_memory(struct ipc_namespace *ns)
{
	struct tx *tx;

	enter(ns);
	must(tx_begin(&ns->arena, &tx), "tx_begin");
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		must(arena_alloc(tx, sizes[i], &held[i]), "arena_alloc");
	tx_commit(tx);
}

/* Takes more than the heap has, then frees every other: never the other way round. */
static void use_memory(struct ipc_namespace *ns)
{
	struct tx *tx;
	ref_t ref;

	must(tx_begin(&ns->arena, &tx), "tx_begin");
	must(arena_alloc(tx, 16, &ref), "arena_alloc");
	must(arena_alloc(tx, 1, &ref), "arena_alloc");
	must(arena_alloc(tx, 70 * ARENA_PAGE, &ref), "arena_alloc");
	must(arena_alloc(tx, 2 * ARENA_PAGE, &ref), "arena_alloc");
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i += 2)
		arena_free(tx, held[i]);
	tx_commit(tx);
}

static void free_memory(struct ipc_namespace *ns)
{
	struct tx *tx;

	must(tx_begin(&ns->arena, &tx), "tx_begin");
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		arena_free(tx, held[i]);
	tx_commit(tx);
}

static const struct operation operations[] = {
	{"shm_get by key", NULL, enter_with_another_segment, get_key, false},
	{"shm_get by key, the first", NULL, enter, get_key, false},
	{"shm_get private", NULL, enter, get_private, false},
	{"first attach", NULL, segment, attach, false},
	{"second attach", NULL, attached_segment, attach, false},
	{"detach", NULL, attached_segment, detach, false},
	{"last detach of a marked segment", NULL, marked_segment, detach, false},
	{"IPC_SET", NULL, segment_with_file, set, false},
	{"IPC_RMID, never attached", NULL, segment, remove_segment, false},
	{"IPC_RMID, with a file", NULL, segment_with_file, remove_segment, false},
	{"IPC_RMID, attached", NULL, attached_segment, remove_segment, false},
	{"SHM_LOCK", NULL, segment, lock_segment, false},
	{"proc_enter", NULL, NULL, enter, false},
	{"proc_enter over a dead one", several_attached, NULL, enter, true},
	{"sweep of a dead process", several_attached, NULL, sweep, true},
	{"leave", NULL, several_attached, shm_leave, true},
	{"alloc and free with growth", NULL, hold_memory, use_memory, false},
	{"free of all sizes", NULL, hold_memory, free_memory, false},
};

static void earlier_actor(const void *arg)
{
	const struct operation *operation = arg;
	struct ipc_namespace *ns = actor_opens(true);

	operation->earlier(ns);
	raise(SIGKILL);
}

static void actor(const void *arg)
{
	const struct attempt *attempt = arg;
	struct ipc_namespace *ns = actor_opens(true);

	if (attempt->operation->prepare)
		attempt->operation->prepare(ns);
	if (attempt->run) {
		arena_crash_countdown = attempt->countdown;
		attempt->operation->run(ns);
		arena_crash_countdown = 0;
	}
	report->done = true;
	raise(SIGKILL);
}

static void must_be_sound(const struct operation *operation, unsigned n, const char *when)
{
	if (report->flawed)
		fail_msg("%s, killed at step %u, %s: %s", operation->name, n, when, report->wrong);
}

static void act(const struct operation *operation, unsigned countdown, bool run)
{
	struct attempt attempt = {operation, countdown, run};
	int status;

	memset(report, 0, sizeof(*report));
	fresh_folder("crash");
	if (operation->earlier && !killed(run_actor(earlier_actor, operation)))
		fail_msg("%s: the earlier process failed: %s", operation->name, report->wrong);
	status = run_actor(actor, &attempt);
	if (!killed(status))
		fail_msg("%s, step %u: the actor ended with status 0x%x: %s", operation->name,
			 countdown, status, report->wrong);
	must_be_sound(operation, countdown, "itself");
}

static struct report check(const struct operation *operation, unsigned n)
{
	int status = run_actor(check_namespace, NULL);

	if (status)
		fail_msg("%s, killed at step %u: the checker ended with status 0x%x: %s",
			 operation->name, n, status, report->wrong);
	must_be_sound(operation, n, "afterwards");
	remove_tree(base);
	return *report;
}

static bool same(const struct summary *a, const struct summary *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static void print_summary(const char *what, const struct summary *s)
{
	print_message("  %s: segments %u in_use %u seq %u next %u last %d procs %u tot %lu "
		      "reserved %lu hash %lx\n",
		      what, s->segments, s->in_use, s->seq, s->next, s->last_idx, s->procs,
		      (unsigned long)s->shm_tot, (unsigned long)s->shm_reserved,
		      (unsigned long)s->hash);
}

static void one_or_other(const struct operation *operation, unsigned n, const char *when,
			 const struct summary *is, const struct summary *before,
			 const struct summary *after)
{
	if (same(is, before) || same(is, after))
		return;
	print_summary("before", before);
	print_summary("now   ", is);
	print_summary("after ", after);
	fail_msg("%s, killed at step %u: half done, as seen %s a sweep", operation->name, n, when);
}

static void kill_everywhere(const struct operation *operation)
{
	struct report before, after, now;
	unsigned n = 0;

	act(operation, 0, false);
	before = check(operation, 0);
	act(operation, 0, true);
	after = check(operation, 0);
	do {
		n++;
		act(operation, n, true);
		now = check(operation, n);
		if (!operation->in_steps)
			one_or_other(operation, n, "before", &now.raw, &before.raw, &after.raw);
		one_or_other(operation, n, "after", &now.swept, &before.swept, &after.swept);
		if (now.swept_heap != before.swept_heap && now.swept_heap != after.swept_heap)
			fail_msg("%s, killed at step %u: %u pages in use, not %u nor %u",
				 operation->name, n, now.swept_heap, before.swept_heap,
				 after.swept_heap);
	} while (!now.done);
	print_message("  %s: %u steps\n", operation->name, n - 1);
	/* shm_get and the like take at least the lock's commit. */
	assert_true(n > 1);
}

static void each_operation_killed_at_each_step_is_whole_or_not_at_all(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++)
		kill_everywhere(&operations[i]);
}

/* Recovers, and is killed at its step *arg. */
static void recoverer(const void *arg)
{
	struct ipc_namespace *ns = actor_opens(false);

	arena_crash_countdown = *(const unsigned *)arg;
	summarise(ns);
	proc_sweep(ns);
	arena_crash_countdown = 0;
	report->done = true;
}

static void kill_recoverers(const struct operation *operation)
{
	struct report before, after, now;
	bool done = false;

	act(operation, 0, false);
	before = check(operation, 0);
	act(operation, 0, true);
	after = check(operation, 0);
	for (unsigned n = 1; !done; n += 3) {
		act(operation, n, true);
		done = report->done;
		report->done = false;
		for (unsigned step = 1; !report->done; step++) {
			int status = run_actor(recoverer, &step);

			if (!killed(status) && status)
				fail_msg("%s, %u: the recoverer, step %u, ended with 0x%x",
					 operation->name, n, step, status);
		}
		now = check(operation, n);
		one_or_other(operation, n, "after", &now.swept, &before.swept, &after.swept);
	}
}

static void recovery_killed_at_each_step_is_finished_by_the_next(void **state)
{
	static const unsigned of[] = {0, 6, 9, 14, 16};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(of); i++)
		kill_recoverers(&operations[of[i]]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_operation_killed_at_each_step_is_whole_or_not_at_all),
		cmocka_unit_test(recovery_killed_at_each_step_is_finished_by_the_next),
	};

	make_report();
	return cmocka_run_group_tests_name("crash-shm", tests, NULL, NULL);
}
