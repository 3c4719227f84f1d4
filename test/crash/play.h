/*
 * play.h - what is played with each operation on semaphores or on queues: the victim is killed at
 * each of its journal steps, and afterwards all is as before or as after.
 *
 * In one act the setter makes the objects, the sleepers of the operation go to sleep, and the
 * victim runs it until it is killed, or to its end. Then somebody may look; the checker sweeps,
 * waits for those who were served, and looks; and when all are dead the remover removes all, and
 * finds that nothing is left. What was seen, and the memory that is in use at last, is compared
 * with an act in which the victim did nothing, one in which it did `half`, and one in which it
 * came to its end.
 *
 * A test has its operations, a struct mechanism and struct plan, what a sleeper does; struct
 * scene is its own too. Its main() calls play().
 */
#pragma once

#include "crash/stage.h"

struct plan;
struct scene;

struct operation {
	const char *name;
	void (*run)(struct ipc_namespace *ns);
	void (*prepare)(struct ipc_namespace *ns);
	void (*half)(struct ipc_namespace *ns); /* a third state that is right: prepare, and this */
	void (*before)(void);			/* by the test: who dies earlier, or is stopped */
	void (*helper)(struct ipc_namespace *ns);
	const struct plan *sleepers; /* by BESIDE() */
	unsigned n_sleepers;
	const struct scene *scene; /* what the setter makes besides; may be NULL */
	bool in_steps;		   /* more than one transaction that others may see */
	bool no_steps;		   /* it may do without the journal */
	bool takes_long;	   /* those who recover are not killed */
};

#define BESIDE(...)                                             \
	.sleepers = (const struct plan[SLEEPERS]){__VA_ARGS__}, \
	.n_sleepers = sizeof((const struct plan[]){__VA_ARGS__}) / sizeof(struct plan)

struct mechanism {
	const char *name; /* the test's */
	const struct operation *operations;
	unsigned n_operations;
	unsigned slice; /* so many steps of each operation are tried, if not every one */
	unsigned slice_of_recovery; /* and of each recovery */
	bool sweeps_at_once;	    /* in some acts nobody looks before the checker sweeps */

	void (*init)(void);
	void (*set_up)(struct ipc_namespace *ns);
	int (*sleep)(struct ipc_namespace *ns, unsigned i); /* the outcome of sleeper i */
	unsigned (*count_asleep)(struct ipc_namespace *ns);
	void (*describe)(struct ipc_namespace *ns, char *buf, size_t size);
	void (*add_served)(struct text *text, int outcome); /* of a sleeper that came back */
	const char *(*check)(struct ipc_namespace *ns);
	void (*reap)(struct ipc_namespace *ns); /* what a sweep leaves; may be NULL */
	void (*remove_all)(struct ipc_namespace *ns);
	/* Exactly that of before or of after; NULL: pages of the heap, of which fewer do no harm. */
	uint32_t (*bytes_in_use)(struct ipc_namespace *ns);
};

static const struct mechanism *mechanism;
static const struct operation *now_on;
static int stage_fd; /* for who finds the stage again over an exec */
static uint64_t latest_ns;
static pid_t earlier_pid; /* one that is stopped, and dies at last after the victim */

static struct ipc_namespace *opened(enum role role)
{
	mechanism->init();
	stage->pid[role] = os_getpid();
	return actor_opens(true);
}

/* --- operations on any mechanism --- */

static void leave(struct ipc_namespace *ns)
{
	proc_leave(ns);
}

static void sweep(struct ipc_namespace *ns)
{
	proc_sweep(ns);
}

static void get_ready(struct ipc_namespace *ns)
{
	struct proc *proc;

	must(proc_enter(ns, &proc), "proc_enter");
}

/* --- who died before --- */

static void kill_earlier(void)
{
	if (!earlier_pid)
		return;
	signal_actor(earlier_pid, SIGKILL);
	finish(earlier_pid);
	earlier_pid = 0;
}

/* So that it can't take note of what is done for it. */
static void stop_earlier(void)
{
	if (!stop_actor(earlier_pid))
		abort();
}

/* --- actors --- */

static void setter(unsigned arg)
{
	(void)arg;
	mechanism->set_up(opened(SETTER));
}

static void sleeper(unsigned i)
{
	struct ipc_namespace *ns = opened(SLEEPER + i);

	/* They get their journals in the other order than their slots in the table. */
	while (i + 1 < now_on->n_sleepers && !stage->has_journal[i + 1])
		await_a_little();
	mechanism->count_asleep(ns);
	stage->has_journal[i] = true;
	while (!stage->victim_is_ready)
		await_a_little();
	await_asleep(ns, mechanism->count_asleep, i);
	stage->outcome[i] = mechanism->sleep(ns, i);
	for (;;)
		pause();
}

/* Not as HELPER, which others are later: its pid stays in what it has done. */
static void helper(unsigned arg)
{
	(void)arg;
	now_on->helper(opened(EARLIER));
}

enum run {
	BEFORE,
	HALF,
	WHOLE
};

static void victim(unsigned run)
{
	struct ipc_namespace *ns = opened(VICTIM);

	/* So that the first dead one's journal, which the next process gets, is not always the victim's. */
	for (unsigned i = 0; i < now_on->n_sleepers; i++)
		while (!stage->has_journal[i])
			await_a_little();
	if (now_on->prepare)
		now_on->prepare(ns);
	stage->victim_is_ready = true;
	await_asleep(ns, mechanism->count_asleep, now_on->n_sleepers);
	stage->all_are_asleep = true;
	while (!stage->go)
		await_a_little();
	if (run == HALF && now_on->half)
		now_on->half(ns);
	if (run == WHOLE) {
		arena_crash_countdown = stage->countdown;
		now_on->run(ns);
		stage->steps = arena_crash_steps;
		arena_crash_countdown = 0;
	}
	report->done = true;
	raise(SIGKILL);
}

static bool all_settled(struct ipc_namespace *ns)
{
	unsigned asleep = 0;

	for (unsigned i = 0; i < now_on->n_sleepers; i++)
		asleep += stage->outcome[i] == ASLEEP;
	return asleep == mechanism->count_asleep(ns);
}

/* Those who have been served come back, though no living process makes a call for them. */
static void await_served(struct ipc_namespace *ns)
{
	uint64_t start = os_monotonic_ns();

	while (!all_settled(ns)) {
		await_a_little();
		if (os_monotonic_ns() - start > 5000000000ull) {
			flaw("a sleeper that was served does not come back");
			break;
		}
	}
	stage->served_late_ns = os_monotonic_ns() - start;
}

static void looker(unsigned arg)
{
	(void)arg;
	mechanism->describe(opened(HELPER), stage->raw, sizeof(stage->raw));
}

static void add_outcome(struct text *text, unsigned i)
{
	int outcome = stage->outcome[i];

	add(text, "sleeper%u: ", i);
	if (outcome == ASLEEP)
		add(text, "asleep");
	else if (outcome < 0)
		add(text, "%s", strerror(-outcome));
	else
		mechanism->add_served(text, outcome);
	add(text, "\n");
}

static void checker(unsigned arg)
{
	struct ipc_namespace *ns = opened(HELPER);
	struct text text = {stage->swept, sizeof(stage->swept), 0};
	const char *wrong;

	(void)arg;
	proc_sweep(ns);
	await_served(ns);
	mechanism->describe(ns, stage->swept, sizeof(stage->swept));
	text.used = strlen(stage->swept);
	for (unsigned i = 0; i < now_on->n_sleepers; i++)
		add_outcome(&text, i);
	wrong = mechanism->check(ns);
	if (wrong)
		flaw("check: %s", wrong);
}

/* When all are dead. */
static void remover(unsigned arg)
{
	struct ipc_namespace *ns = opened(HELPER);
	const char *wrong;

	(void)arg;
	proc_sweep(ns);
	if (mechanism->count_asleep(ns))
		flaw("the dead sleep");
	for (uint32_t i = 0; i < ns->arena.header->procs_ready; i++)
		if (proc_at(ns, i)->sleepers || proc_at(ns, i)->sem_undo)
			flaw("a sweep has left something of a process");
	/* One who died while he swept may have made a slot look free. */
	proc_sweep(ns);
	mechanism->remove_all(ns);
	wrong = mechanism->check(ns);
	if (wrong)
		flaw("check, with all removed: %s", wrong);
	for (uint32_t i = 0; i < ns->arena.header->procs_ready; i++)
		if (proc_at(ns, i)->state != PROC_FREE)
			flaw("a process is left");
	report->swept_heap =
		mechanism->bytes_in_use ? mechanism->bytes_in_use(ns) : ns->arena.header->heap_used;
}

/* Recovers, and is killed at its step `step`. */
static void recoverer(unsigned step)
{
	struct ipc_namespace *ns = opened(HELPER);

	arena_crash_countdown = step;
	proc_sweep(ns);
	if (mechanism->reap)
		mechanism->reap(ns);
	/* What no sweep had to touch is recovered by who needs it. */
	mechanism->describe(ns, stage->raw, sizeof(stage->raw));
	arena_crash_countdown = 0;
	report->done = true;
}

/* --- an act --- */

static void must_be_sound(unsigned n, const char *when)
{
	if (report->flawed)
		fail_msg("%s, killed at step %u, %s: %s", now_on->name, n, when, report->wrong);
}

static void must_end(pid_t pid, unsigned n, const char *what)
{
	int status = finish(pid);

	if (status)
		fail_msg("%s, killed at step %u: %s ended with status 0x%x: %s", now_on->name, n,
			 what, status, report->wrong);
	must_be_sound(n, what);
}

static pid_t asleep[SLEEPERS], helps;

/* What a test that failed has left. */
static void clear_stage(void)
{
	for (unsigned i = 0; i < SLEEPERS; i++) {
		if (asleep[i]) {
			signal_actor(asleep[i], SIGKILL);
			finish(asleep[i]);
		}
		asleep[i] = 0;
	}
	kill_earlier();
	if (base[0])
		remove_tree(base);
}

/*
 * Every other time the sleepers are stopped while the victim acts and until somebody has looked,
 * so that none of them sweeps before.
 */
static bool sleepers_stop(void)
{
	return stage->countdown % 2 == 0;
}

static int victim_acts(enum run run)
{
	pid_t pid = start_actor(victim, run);
	siginfo_t info = {.si_pid = 0};

	while (!stage->all_are_asleep && info.si_pid == 0) {
		await_a_little();
		waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT);
	}
	for (unsigned i = 0; i < now_on->n_sleepers && sleepers_stop(); i++)
		if (!stop_actor(asleep[i]))
			fail_msg("%s: a sleeper ended", now_on->name);
	stage->go = true;
	return finish(pid);
}

/* Up to the death of the victim. */
static void act(unsigned countdown, enum run run)
{
	int status;

	clear_stage();
	memset(stage, 0, sizeof(*stage));
	fresh_folder("crash");
	strcpy(stage->folder, folder);
	stage->countdown = countdown;
	for (unsigned i = 0; i < SLEEPERS; i++)
		stage->outcome[i] = ASLEEP;
	must_end(start_actor(setter, 0), countdown, "the setter");
	if (now_on->before)
		now_on->before();
	for (unsigned i = 0; i < now_on->n_sleepers; i++)
		asleep[i] = start_actor(sleeper, i);
	helps = now_on->helper ? start_actor(helper, 0) : 0;
	status = victim_acts(run);
	kill_earlier();
	stage->victim_is_dead = true;
	if (!killed(status))
		fail_msg("%s, step %u: the victim ended with status 0x%x: %s", now_on->name,
			 countdown, status, report->wrong);
	must_be_sound(countdown, "itself");
	if (helps)
		must_end(helps, countdown, "the helper");
}

struct outcome {
	char raw[8192], swept[8192];
	uint32_t heap;
	bool done;
	unsigned steps;
};

static void kill_sleepers(unsigned most, unsigned n)
{
	for (unsigned i = 0; i < most && i < now_on->n_sleepers; i++) {
		if (!asleep[i])
			continue;
		signal_actor(asleep[i], SIGKILL);
		if (!killed(finish(asleep[i])))
			fail_msg("%s, %u: a sleeper ended by itself", now_on->name, n);
		asleep[i] = 0;
	}
}

/* look: somebody looks before anybody sweeps. Whoever looks has recovered all. */
static void check(unsigned n, bool look, struct outcome *ret_outcome)
{
	if (look)
		must_end(start_actor(looker, 0), n, "who looks");
	for (unsigned i = 0; i < now_on->n_sleepers; i++)
		signal_actor(asleep[i], SIGCONT);
	must_end(start_actor(checker, 0), n, "the checker");
	kill_sleepers(SLEEPERS, n);
	must_end(start_actor(remover, 0), n, "the remover");
	memcpy(ret_outcome->raw, stage->raw, sizeof(stage->raw));
	memcpy(ret_outcome->swept, stage->swept, sizeof(stage->swept));
	ret_outcome->heap = report->swept_heap;
	ret_outcome->done = report->done;
	ret_outcome->steps = stage->steps;
	if (stage->served_late_ns > latest_ns)
		latest_ns = stage->served_late_ns;
	remove_tree(base);
}

/* --- acts compared --- */

static struct outcome before, half, after, now;

static bool is_of(const struct outcome *of, bool swept)
{
	return swept || now_on->in_steps || !sleepers_stop() || !strcmp(now.raw, of->raw);
}

static bool heap_is_of(const struct outcome *of)
{
	return mechanism->bytes_in_use ? now.heap == of->heap : now.heap <= of->heap;
}

/* was_swept: somebody has swept before anybody looked. */
static void one_or_other(unsigned n, bool was_swept)
{
	bool swept = !strcmp(now.swept, before.swept) || !strcmp(now.swept, after.swept) ||
		     !strcmp(now.swept, half.swept);

	if (!swept ||
	    !(is_of(&before, was_swept) || is_of(&half, was_swept) || is_of(&after, was_swept))) {
		print_message("before: %snow: %s", swept ? before.raw : before.swept,
			      swept ? now.raw : now.swept);
		print_message("after: %s", swept ? after.raw : after.swept);
		fail_msg("%s, killed at step %u: half done, as seen %s a sweep", now_on->name, n,
			 swept ? "before" : "after");
	}
	if (!heap_is_of(&before) && !heap_is_of(&half) && !heap_is_of(&after))
		fail_msg("%s, killed at step %u: %u %s in use, not %u nor %u", now_on->name, n,
			 now.heap, mechanism->bytes_in_use ? "bytes" : "pages", before.heap,
			 after.heap);
}

static void before_and_after(void)
{
	act(0, BEFORE);
	check(0, true, &before);
	act(0, HALF);
	check(0, true, &half);
	act(UINT32_MAX - 1, WHOLE);
	check(0, true, &after);
	if (!after.done)
		fail_msg("%s: it does not end", now_on->name);
	if (after.steps == 0 && !now_on->no_steps)
		fail_msg("%s: no steps", now_on->name);
}

/* --- tests --- */

static bool every;

static unsigned stride(unsigned steps, unsigned n)
{
	return every || steps < n ? 1 : steps / n;
}

/* The first who comes may be one who sweeps. */
static bool looks_first(unsigned n, unsigned tried)
{
	return !mechanism->sweeps_at_once || tried % 4 == 3 || (!now_on->in_steps && n % 4 != 1);
}

static void killed_at_each_step_it_is_whole_or_not_at_all(void **state)
{
	unsigned tried = 0;

	now_on = *state;
	latest_ns = 0;
	before_and_after();
	for (unsigned n = 1; n <= after.steps; n += stride(after.steps, mechanism->slice)) {
		bool look = looks_first(n, tried++);

		act(n, WHOLE);
		check(n, look, &now);
		one_or_other(n, !look);
	}
	print_message("  %u of %u steps; who was served was back after %.1f ms at most\n", tried,
		      after.steps, (double)latest_ns / 1e6);
}

static void must_recover(unsigned n, unsigned step)
{
	int status = finish(start_actor(recoverer, step));

	if (!killed(status) && status)
		fail_msg("%s, %u: the recoverer, step %u, ended with 0x%x: %s", now_on->name, n,
			 step, status, report->wrong);
}

static void recovery_killed_at_each_step_is_finished_by_the_next(void **state)
{
	unsigned tried = 0;

	now_on = *state;
	before_and_after();
	for (unsigned n = 1; n <= after.steps; n += stride(after.steps, 3)) {
		act(n, WHOLE);
		report->done = false;
		for (unsigned step = 1; !report->done;
		     step += stride(60, mechanism->slice_of_recovery), tried++)
			must_recover(n, step);
		check(n, false, &now);
		one_or_other(n, true);
	}
	print_message("  %u recoverers\n", tried);
}

/*
 * So many sleepers are dead when the sweeper is killed, and then all. The next one gets the journal of the
 * sweeper, and plays it back at once, or that of a sleeper, and meets what the sweeper has left.
 */
static unsigned kill_sweepers(unsigned dead)
{
	for (unsigned step = 1;; step += stride(100, mechanism->slice)) {
		int status;

		act(UINT32_MAX - 1, WHOLE);
		report->done = false;
		kill_sleepers(dead, step);
		status = finish(start_actor(recoverer, step));
		if (!killed(status) && status)
			fail_msg("%s: the sweeper, step %u, ended with 0x%x: %s", now_on->name,
				 step, status, report->wrong);
		kill_sleepers(SLEEPERS, step);
		must_end(start_actor(remover, 0), step, "the remover");
		remove_tree(base);
		if (report->done)
			return step - 1;
	}
}

static void a_sweep_killed_at_each_step_is_finished_by_the_next(void **state)
{
	now_on = *state;
	for (unsigned dead = 0; dead <= now_on->n_sleepers; dead++)
		print_message("  %u dead sleepers: %u steps\n", dead, kill_sweepers(dead));
}

#define OPERATIONS_MAX 100

static struct CMUnitTest tests[3 * OPERATIONS_MAX];
static char names[3 * OPERATIONS_MAX][80];
static size_t n_tests;

static void add_test(const char *of_what, const struct operation *operation,
		     CMUnitTestFunction function)
{
	snprintf(names[n_tests], sizeof(names[0]), "%s%s", of_what, operation->name);
	tests[n_tests] =
		(struct CMUnitTest){names[n_tests], function, NULL, NULL, (void *)operation};
	n_tests++;
}

/* What main() does, and returns. */
static int play(const struct mechanism *of, int argc, char **argv)
{
	mechanism = of;
	every = argc > 1 && !strcmp(argv[1], "all");
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	stage_fd = make_stage();
	if (of->n_operations > OPERATIONS_MAX)
		abort();
	for (unsigned i = 0; i < of->n_operations; i++) {
		const struct operation *operation = &of->operations[i];

		add_test("", operation, killed_at_each_step_it_is_whole_or_not_at_all);
		if (operation->takes_long || operation->no_steps)
			continue;
		add_test("recovery of ", operation,
			 recovery_killed_at_each_step_is_finished_by_the_next);
		if (!operation->n_sleepers && !operation->prepare)
			continue;
		add_test("sweep after ", operation,
			 a_sweep_killed_at_each_step_is_finished_by_the_next);
	}
	return _cmocka_run_group_tests(of->name, tests, n_tests, NULL, NULL);
}
