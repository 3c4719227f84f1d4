/*
 * fault-sem.c - semaphores while system calls fail, or while the file system is full.
 *
 * What is proved: an operation of which the Nth system call fails gives an error and changes
 * nothing, or is done whole; the namespace is sound, and what failed succeeds without the fault.
 * A sleeper sleeps on, whatever fails. On a full file system the sleepers that could not be
 * served at once are served later.
 */
#include "crash/sets.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>

#define KEY   0x5eed
#define LARGE 600

struct operation {
	const char *name;
	int (*run)(struct ipc_namespace *ns);
	int (*prepare)(struct ipc_namespace *ns);
	void (*helper)(struct ipc_namespace *ns);
	bool sleeper; /* one sleeps on semaphore 0, for 1 */
	bool once;    /* done twice it gives something else */
};

static const struct operation *now_on;
static int fault_error;

static struct ipc_namespace *opened(enum role role)
{
	sem_init();
	stage->pid[role] = os_getpid();
	return actor_opens(true);
}

/* --- operations --- */

static int op(struct ipc_namespace *ns, unsigned short sem, short by, short flag)
{
	struct sembuf sop = {sem, by, flag};

	return sem_timedop(ns, stage->id[0], &sop, 1, NULL);
}

static int get_new(struct ipc_namespace *ns)
{
	return sem_get(ns, KEY + 9, 3, IPC_CREAT | 0600);
}

static int get_large(struct ipc_namespace *ns)
{
	return sem_get(ns, KEY + 8, 32000, IPC_CREAT | 0600);
}

static int get_existing(struct ipc_namespace *ns)
{
	return sem_get(ns, KEY, 4, 0);
}

static int remove_set(struct ipc_namespace *ns)
{
	return sem_ctl(ns, stage->id[0], 0, IPC_RMID, 0);
}

static int add_one(struct ipc_namespace *ns)
{
	return op(ns, 0, 1, 0);
}

static int add_two(struct ipc_namespace *ns)
{
	return op(ns, 0, 2, 0);
}

static int take_with_undo(struct ipc_namespace *ns)
{
	return op(ns, 1, -1, SEM_UNDO);
}

static int owe(struct ipc_namespace *ns)
{
	return op(ns, 2, -1, SEM_UNDO);
}

static int large_array(struct ipc_namespace *ns)
{
	struct sembuf sops[500];

	for (unsigned i = 0; i < ARRAY_SIZE(sops); i++)
		sops[i] = (struct sembuf){i, 1, SEM_UNDO};
	return sem_timedop(ns, stage->id[1], sops, ARRAY_SIZE(sops), NULL);
}

static int time_out(struct ipc_namespace *ns)
{
	const struct timespec short_time = {0, 30000000};
	struct sembuf sops[] = {{0, -1, 0}, {3, 1, SEM_UNDO}};
	int ret = sem_timedop(ns, stage->id[0], sops, 2, &short_time);

	return ret == -EAGAIN ? 0 : ret == 0 ? -EPROTO : ret;
}

static int sleep_until_helped(struct ipc_namespace *ns)
{
	return op(ns, 0, -1, SEM_UNDO);
}

static void post(struct ipc_namespace *ns)
{
	await_asleep(ns, count_on_sets, 1);
	add_one(ns);
}

static int set_value(struct ipc_namespace *ns)
{
	return sem_ctl(ns, stage->id[0], 0, SETVAL, 2);
}

static int set_all(struct ipc_namespace *ns)
{
	static const uint16_t values[] = {3, 3, 0, 3};

	return sem_ctl(ns, stage->id[0], 0, SETALL, (uintptr_t)values);
}

static int set_all_large(struct ipc_namespace *ns)
{
	static uint16_t values[LARGE];

	return sem_ctl(ns, stage->id[1], 0, SETALL, (uintptr_t)values);
}

static int get_all(struct ipc_namespace *ns)
{
	uint16_t values[4] = {9, 9, 9, 9};
	int ret = sem_ctl(ns, stage->id[0], 0, GETALL, (uintptr_t)values);

	if (ret == 0 && (values[0] != 0 || values[1] != 1 || values[2] != 2 || values[3] != 0))
		flaw("GETALL gives %u %u %u %u", values[0], values[1], values[2], values[3]);
	return ret;
}

static int get_all_large(struct ipc_namespace *ns)
{
	uint16_t values[LARGE] = {9};
	int ret = sem_ctl(ns, stage->id[1], 0, GETALL, (uintptr_t)values);

	if (ret == 0 && (values[0] != 0 || values[LARGE - 1] != 0))
		flaw("GETALL gives %u … %u", values[0], values[LARGE - 1]);
	return ret;
}

static int get_value(struct ipc_namespace *ns)
{
	int ret = sem_ctl(ns, stage->id[0], 2, GETVAL, 0);

	if (ret >= 0 && ret != 2)
		flaw("GETVAL gives %d", ret);
	return ret;
}

static int stat_set(struct ipc_namespace *ns)
{
	struct semid_ds ds;

	return sem_ctl(ns, stage->id[0], 0, IPC_STAT, (uintptr_t)&ds);
}

static int set_mode(struct ipc_namespace *ns)
{
	struct semid_ds ds;

	memset(&ds, 0, sizeof(ds));
	ds.sem_perm.uid = geteuid();
	ds.sem_perm.gid = getegid();
	ds.sem_perm.mode = 0640;
	return sem_ctl(ns, stage->id[0], 0, IPC_SET, (uintptr_t)&ds);
}

static int info(struct ipc_namespace *ns)
{
	struct seminfo buf;

	return sem_ctl(ns, 0, 0, SEM_INFO, (uintptr_t)&buf);
}

static const struct operation operations[] = {
	{.name = "semget, new", .run = get_new},
	{.name = "semget, new and large", .run = get_large},
	{.name = "semget, existing", .run = get_existing},
	{.name = "IPC_RMID", .run = remove_set, .once = true},
	{.name = "IPC_RMID with a sleeper", .run = remove_set, .sleeper = true, .once = true},
	{.name = "semop", .run = add_one, .once = true},
	{.name = "semop that serves", .run = add_two, .sleeper = true, .once = true},
	{.name = "the first SEM_UNDO", .run = take_with_undo, .once = true},
	{.name = "a later SEM_UNDO", .run = take_with_undo, .prepare = owe, .once = true},
	{.name = "an array of 500 with SEM_UNDO", .run = large_array, .once = true},
	{.name = "a time-out", .run = time_out},
	{.name = "a time-out among sleepers", .run = time_out, .prepare = owe, .sleeper = true},
	{.name = "a sleeper that is served",
	 .run = sleep_until_helped,
	 .helper = post,
	 .once = true},
	{.name = "SETVAL", .run = set_value},
	{.name = "SETVAL that serves", .run = set_value, .sleeper = true, .once = true},
	{.name = "SETALL", .run = set_all, .prepare = owe},
	{.name = "SETALL that serves", .run = set_all, .sleeper = true, .once = true},
	{.name = "SETALL of a large set", .run = set_all_large},
	{.name = "GETALL", .run = get_all},
	{.name = "GETALL of a large set", .run = get_all_large},
	{.name = "GETVAL", .run = get_value},
	{.name = "IPC_STAT", .run = stat_set},
	{.name = "IPC_SET", .run = set_mode, .sleeper = true},
	{.name = "SEM_INFO", .run = info},
};

static const int errors[] = {ENOSPC, ENOMEM, EINTR, EPERM, EAGAIN, ENOSYS, EACCES, EMFILE};

/* --- the play --- */

static void setter(unsigned arg)
{
	static const uint16_t four[] = {0, 1, 2, 0};
	struct ipc_namespace *ns = opened(SETTER);

	(void)arg;
	stage->id[0] = sem_get(ns, KEY, 4, IPC_CREAT | 0600);
	stage->id[1] = sem_get(ns, KEY + 1, LARGE, IPC_CREAT | 0600);
	if (stage->id[0] < 0 || stage->id[1] < 0 ||
	    sem_ctl(ns, stage->id[0], 0, SETALL, (uintptr_t)four) < 0)
		flaw("no sets");
}

static void sleeper(unsigned arg)
{
	struct ipc_namespace *ns = opened(SLEEPER);

	(void)arg;
	stage->outcome[0] = op(ns, 0, -1, 0);
	for (;;)
		pause();
}

static void helper(unsigned arg)
{
	(void)arg;
	now_on->helper(opened(HELPER));
}

/* Reports the state before and after, and whether the countdown came to its end. */
static void victim(unsigned countdown)
{
	struct ipc_namespace *ns = opened(VICTIM);
	const char *wrong;

	if (now_on->prepare && now_on->prepare(ns) < 0)
		flaw("can't be prepared");
	await_asleep(ns, count_on_sets, now_on->sleeper);
	describe_sets(ns, stage->raw, sizeof(stage->raw));
	stage->all_are_asleep = true;
	os_fault.error = fault_error;
	os_fault.countdown = countdown;
	report->ret = now_on->run(ns);
	report->done = countdown == 0 || os_fault.countdown != 0;
	os_fault.countdown = 0;
	describe_sets(ns, stage->swept, sizeof(stage->swept));
	wrong = check_sets(ns);
	if (wrong)
		flaw("after the fault: %s", wrong);
	if (report->ret < 0 && (!now_on->helper || report->ret != -EINTR)) {
		int again = now_on->run(ns);

		if (again < 0)
			flaw("without the fault: %s (after %s)", strerror(-again),
			     strerror(-report->ret));
	}
	stage->victim_is_dead = true;
	while (now_on->sleeper && stage->outcome[0] == ASLEEP && count_on_sets(ns) == 0)
		await_a_little();
}

static void remover(unsigned arg)
{
	struct ipc_namespace *ns = opened(HELPER);
	struct sem_info_entry entry;
	const char *wrong;

	(void)arg;
	proc_sweep(ns);
	for (int i = -1; sem_each(ns, &i, &entry);) {
		if (sem_waiters(ns, entry.id, NULL, 0) || sem_undoers(ns, entry.id, NULL, 0))
			flaw("the dead wait, or owe");
		sem_ctl(ns, entry.id, 0, IPC_RMID, 0);
	}
	wrong = check_sets(ns);
	if (wrong)
		flaw("with all removed: %s", wrong);
	for (uint32_t i = 0; i < ns->arena.header->procs_ready; i++)
		if (proc_at(ns, i)->state != PROC_FREE)
			flaw("a process is left");
}

static int act(unsigned countdown)
{
	pid_t sleeps = 0, helps = 0;
	int status;

	memset(stage, 0, sizeof(*stage));
	fresh_folder("fault");
	stage->outcome[0] = ASLEEP;
	status = finish(start_actor(setter, 0));
	if (now_on->sleeper)
		sleeps = start_actor(sleeper, 0);
	if (now_on->helper)
		helps = start_actor(helper, 0);
	if (status == 0)
		status = finish(start_actor(victim, countdown));
	/* The victim may not have slept: then nobody is to be helped. */
	if (helps) {
		signal_actor(helps, SIGKILL);
		finish(helps);
	}
	if (sleeps) {
		signal_actor(sleeps, SIGKILL);
		finish(sleeps);
	}
	if (status == 0)
		status = finish(start_actor(remover, 0));
	remove_tree(base);
	return status;
}

static char before[8192], after[8192];

/*
 * Errors that a caller can expect here, besides the one that was injected; EFAULT: of a call that
 * probes memory.
 */
static bool may_return(int ret)
{
	return ret >= 0 || ret == -fault_error || ret == -ENOMEM || ret == -ENOSPC ||
	       ret == -EFAULT;
}

static bool is_as_it_should(void)
{
	if (!may_return(report->ret))
		return false;
	/* Helped or not: what the helper did is not the victim's. */
	if (now_on->helper)
		return true;
	return !strcmp(stage->swept, report->ret < 0 ? before : after);
}

static unsigned try_all(int error)
{
	unsigned countdown = 0, n_wrong = 0;

	fault_error = error;
	do {
		int status = act(++countdown);

		if (status == 0 && !report->flawed && is_as_it_should())
			continue;
		print_error(
			"%s, call %u gives %s: returned %d; status 0x%x; %s\nbefore: %s\nnow: %s",
			now_on->name, countdown, strerrorname_np(error), report->ret, status,
			report->wrong, stage->raw, stage->swept);
		n_wrong++;
		if (status)
			break;
	} while (!report->done);
	if (error == errors[0])
		print_message("  %u calls\n", countdown - 1);
	return n_wrong;
}

static void each_system_call_may_fail(void **state)
{
	unsigned n_wrong = 0;

	now_on = *state;
	fault_error = 0;
	if (act(0) || report->flawed || report->ret < 0)
		fail_msg("%s fails without a fault: %d, %s", now_on->name, report->ret,
			 report->wrong);
	strcpy(before, stage->raw);
	strcpy(after, stage->swept);
	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++)
		n_wrong += try_all(errors[i]);
	assert_int_equal(n_wrong, 0);
}

/* --- a full file system; the actor has mounts of its own --- */

#define HELD_MOST 100000

static struct {
	ref_t ref[HELD_MOST];
	unsigned n;
} held;

static void mount_here(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("vee", base, "tmpfs", 0, "size=6m,mode=700") < 0) {
		report->ret = -errno;
		_exit(77);
	}
}

static bool hold(struct ipc_namespace *ns, uint64_t size)
{
	struct tx *tx;
	int ret;

	if (held.n == HELD_MOST || tx_begin(&ns->arena, &tx) < 0)
		return false;
	ret = arena_alloc(tx, size, &held.ref[held.n]);
	if (ret < 0) {
		tx_abort(tx);
		return false;
	}
	tx_commit(tx);
	held.n++;
	return true;
}

/* Takes all memory that there is, and may be. */
static void fill(struct ipc_namespace *ns)
{
	for (uint64_t size = 256 * ARENA_PAGE; size >= 8; size /= 2)
		while (hold(ns, size))
			;
	if (held.n == HELD_MOST)
		flaw("memory has no end");
}

static void let_go(struct ipc_namespace *ns)
{
	while (held.n > 0) {
		struct tx *tx;

		if (tx_begin(&ns->arena, &tx) < 0)
			return;
		arena_free(tx, held.ref[--held.n]);
		tx_commit(tx);
	}
}

static void must_be_sound(struct ipc_namespace *ns, const char *when)
{
	const char *wrong = check_sets(ns);

	if (wrong)
		flaw("%s: %s", when, wrong);
}

static void must_lack_memory(int ret, const char *what)
{
	if (ret != -ENOMEM && ret != -ENOSPC)
		flaw("%s on a full file system: %d", what, ret);
}

static void calls_on_full(unsigned arg)
{
	char text[2][8192];
	struct ipc_namespace *ns;
	struct proc *proc;

	(void)arg;
	mount_here();
	setter(0);
	ns = &actor_ns;
	must(proc_enter(ns, &proc), "proc_enter");
	fill(ns);
	describe_sets(ns, text[0], sizeof(text[0]));
	must_lack_memory(sem_get(ns, IPC_PRIVATE, 1, 0600), "semget");
	must_lack_memory(sem_get(ns, KEY + 8, 3000, IPC_CREAT | 0600), "semget of a large set");
	must_lack_memory(take_with_undo(ns), "the first SEM_UNDO");
	must_lack_memory(set_all_large(ns), "SETALL of a large set");
	must_lack_memory(time_out(ns), "sleep");
	describe_sets(ns, text[1], sizeof(text[1]));
	if (strcmp(text[0], text[1]))
		flaw("changed: %s", text[1]);
	must_be_sound(ns, "on a full file system");
	/* What needs no memory goes on. */
	must(add_one(ns), "semop");
	must(set_value(ns), "SETVAL");
	must(set_all(ns), "SETALL");
	must(sem_ctl(ns, stage->id[0], 1, GETVAL, 0), "GETVAL");
	must(stat_set(ns), "IPC_STAT");
	must(set_mode(ns), "IPC_SET");
	let_go(ns);
	must(sem_get(ns, KEY + 8, 3000, IPC_CREAT | 0600), "semget of a large set");
	must(take_with_undo(ns), "the first SEM_UNDO");
	must(set_all_large(ns), "SETALL of a large set");
	must(set_value(ns), "SETVAL");
	fill(ns);
	must(remove_set(ns), "IPC_RMID on a full file system");
	proc_leave(ns);
	let_go(ns);
	must_be_sound(ns, "with room again");
}

#define CROWD	 40
#define OPS_EACH 10

static int crowd_outcome[CROWD];

static void *wait_in_crowd(void *arg)
{
	struct sembuf sops[OPS_EACH];

	for (unsigned i = 0; i < OPS_EACH; i++)
		sops[i] = (struct sembuf){i, i == 0 ? -1 : 1, SEM_UNDO};
	*(int *)arg = sem_timedop(&actor_ns, stage->id[1], sops, OPS_EACH, NULL);
	return NULL;
}

static bool is_due(struct ipc_namespace *ns)
{
	struct sem_array *sma = sem_block(ns, stage->id[1]);
	struct tx *tx;
	bool due;

	if (tx_begin(&ns->arena, &tx) < 0)
		return false;
	tx_lock(tx, &sma->lock);
	due = sma->update_due;
	tx_commit(tx);
	return due;
}

/* One SETVAL lets all of them go, and has no journal for it. */
static void crowd_on_full(unsigned keep_full)
{
	pthread_t thread[CROWD];
	struct ipc_namespace *ns;
	uint64_t start;

	mount_here();
	setter(0);
	ns = &actor_ns;
	for (unsigned i = 0; i < CROWD; i++) {
		crowd_outcome[i] = ASLEEP;
		if (pthread_create(&thread[i], NULL, wait_in_crowd, &crowd_outcome[i]))
			flaw("pthread_create");
	}
	await_asleep(ns, count_on_sets, CROWD);
	fill(ns);
	must(sem_ctl(ns, stage->id[1], 0, SETVAL, CROWD), "SETVAL");
	if (!is_due(ns))
		flaw("nothing was left due");
	must_be_sound(ns, "while something is due");
	if (!keep_full)
		let_go(ns);
	start = os_monotonic_ns();
	/* By their own looking around: no other call is made. */
	for (unsigned i = 0; i < CROWD; i++) {
		pthread_join(thread[i], NULL);
		if (crowd_outcome[i])
			flaw("a sleeper gets %d", crowd_outcome[i]);
	}
	stage->served_late_ns = os_monotonic_ns() - start;
	must_be_sound(ns, "with all served");
	if (sem_ctl(ns, stage->id[1], 0, GETVAL, 0) != 0 ||
	    sem_ctl(ns, stage->id[1], OPS_EACH - 1, GETVAL, 0) != CROWD)
		flaw("the values are wrong");
	if (is_due(ns))
		flaw("something is due for ever");
	let_go(ns);
	proc_leave(ns);
	must_be_sound(ns, "at the end");
}

static void run_mounted(void (*actor)(unsigned), unsigned arg)
{
	int status;

	memset(stage, 0, sizeof(*stage));
	fresh_folder("fault");
	status = finish(start_actor(actor, arg));
	remove_tree(base);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("  skipped, no mount: %s\n", strerror(-report->ret));
		skip();
	}
	if (status || report->flawed)
		fail_msg("status 0x%x; %s", status, report->wrong);
}

static void a_full_file_system_gives_an_error_and_changes_nothing(void **state)
{
	(void)state;
	run_mounted(calls_on_full, 0);
}

static void sleepers_that_could_not_be_served_are_served_later(void **state)
{
	(void)state;
	run_mounted(crowd_on_full, 0);
	print_message("  with room again: %.1f ms\n", (double)stage->served_late_ns / 1e6);
	run_mounted(crowd_on_full, 1);
	print_message("  on a full file system: %.1f ms\n", (double)stage->served_late_ns / 1e6);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(operations) + 2] = {
		cmocka_unit_test(a_full_file_system_gives_an_error_and_changes_nothing),
		cmocka_unit_test(sleepers_that_could_not_be_served_are_served_later),
	};

	make_stage();
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++)
		tests[2 + i] = (struct CMUnitTest){operations[i].name, each_system_call_may_fail,
						   NULL, NULL, (void *)&operations[i]};
	return cmocka_run_group_tests_name("fault-sem", tests, NULL, NULL);
}
