/*
 * crash-sem.c - semaphores: each operation is killed at each of its journal steps.
 *
 *	crash-sem        a slice: some 25 steps of each operation
 *	crash-sem all    every step; `make crash`
 *	crash-sem all 'sweep after *'    of the tests of that name
 *
 * What is proved: afterwards another process finds the namespace sound; values, pids, counts,
 * times, undo and sleepers are those of before or those of after; each sleeper comes back exactly
 * if it was served; and when all are dead, nothing is left. The one who recovers may be killed at
 * each of its steps too.
 */
#include "crash/play.h"
#include "crash/sets.h"

#define KEY  0x5eed
#define WIDE 60	 /* operations in an array that needs journal memory for itself */
#define MOST 500 /* operations in an array */

/* What a sleeper does: `first`, if it does something, at once; then it sleeps on `sops`. */
struct plan {
	unsigned n, set;
	struct sembuf first;
	struct sembuf sops[3]; /* n > 3: sops[0] on as many semaphores from its own on */
};

struct scene {
	unsigned large; /* semaphores of the third set; without a scene there is none */
};

/* --- the sets --- */

static void age_set(struct ipc_namespace *ns, int id)
{
	struct sem_array *sma;
	struct tx *tx;

	must(sem_lock(ns, id, &tx, &sma), "sem_lock");
	tx_set(tx, sma->sem_otime, (uint64_t)sma->incarnation << SEM_OTIME_BITS | OLD_TIME);
	tx_set(tx, sma->sem_ctime, OLD_TIME);
	tx_commit(tx);
}

static void make_set(struct ipc_namespace *ns, unsigned i, unsigned n, const uint16_t *values)
{
	stage->id[i] = sem_get(ns, KEY + i, n, IPC_CREAT | IPC_EXCL | 0600);
	must(stage->id[i], "semget");
	must(sem_ctl(ns, stage->id[i], 0, SETALL, (uintptr_t)values), "SETALL");
	age_set(ns, stage->id[i]);
}

static void make_sets(struct ipc_namespace *ns)
{
	static const uint16_t four[] = {0, 1, 2, 0}, two[] = {1, 0};
	unsigned large = now_on->scene ? now_on->scene->large : 0;
	uint16_t many[1000];

	make_set(ns, 0, 4, four);
	make_set(ns, 1, 2, two);
	for (unsigned i = 0; i < large; i++)
		many[i] = 1;
	if (large)
		make_set(ns, 2, large, many);
}

/* --- operations --- */

static void ops(struct ipc_namespace *ns, unsigned set, const struct sembuf *sops, unsigned n)
{
	must(sem_timedop(ns, stage->id[set], sops, n, NULL), "semop");
}

#define OPS(ns, set, ...)                                    \
	do {                                                 \
		const struct sembuf sops_[] = {__VA_ARGS__}; \
		ops((ns), (set), sops_, ARRAY_SIZE(sops_));  \
	} while (0)

static void wide_ops(struct ipc_namespace *ns, unsigned n, short op, short flag)
{
	struct sembuf sops[MOST];

	for (unsigned i = 0; i < n; i++)
		sops[i] = (struct sembuf){i, op, flag};
	ops(ns, 2, sops, n);
}

static void get_new(struct ipc_namespace *ns)
{
	must(sem_get(ns, KEY + 9, 40, IPC_CREAT | IPC_EXCL | 0600), "semget");
}

static void get_free_block(struct ipc_namespace *ns)
{
	must(sem_get(ns, KEY + 9, 3, IPC_CREAT | 0640), "semget");
}

static void free_block(struct ipc_namespace *ns)
{
	int id = sem_get(ns, IPC_PRIVATE, 3, 0600);

	must(sem_ctl(ns, id, 0, IPC_RMID, 0), "IPC_RMID");
}

static void get_private(struct ipc_namespace *ns)
{
	must(sem_get(ns, IPC_PRIVATE, 1, 0600), "semget");
}

static void get_existing(struct ipc_namespace *ns)
{
	must(sem_get(ns, KEY, 4, IPC_CREAT | 0600), "semget");
}

static void remove_set(struct ipc_namespace *ns)
{
	must(sem_ctl(ns, stage->id[0], 0, IPC_RMID, 0), "IPC_RMID");
}

/* A sem_undo without adjustments, which the kernel makes too, and whose end sets sem_otime too. */
static void owe_nothing(struct ipc_namespace *ns)
{
	const struct sembuf sop = {1, -9, SEM_UNDO | IPC_NOWAIT};

	if (sem_timedop(ns, stage->id[now_on->scene ? 2 : 0], &sop, 1, NULL) != -EAGAIN)
		flaw("semop of too much is not EAGAIN");
}

static void add_one(struct ipc_namespace *ns)
{
	OPS(ns, 0, {0, 1, 0});
}

static void add_two(struct ipc_namespace *ns)
{
	OPS(ns, 0, {0, 2, 0});
}

static void take_with_undo(struct ipc_namespace *ns)
{
	OPS(ns, 0, {1, -1, SEM_UNDO});
}

static void owe(struct ipc_namespace *ns)
{
	OPS(ns, 0, {2, -1, SEM_UNDO});
}

static void owe_two_sets(struct ipc_namespace *ns)
{
	owe(ns);
	OPS(ns, 0, {1, -1, SEM_UNDO});
	OPS(ns, 1, {0, -1, SEM_UNDO}, {1, 3, SEM_UNDO});
}

static void owe_more(struct ipc_namespace *ns)
{
	OPS(ns, 0, {1, 1, SEM_UNDO}, {3, 1, SEM_UNDO});
}

static void owe_no_more(struct ipc_namespace *ns)
{
	OPS(ns, 0, {2, 1, SEM_UNDO});
}

static void array(struct ipc_namespace *ns)
{
	OPS(ns, 0, {0, 1, 0}, {1, -1, 0}, {2, -2, 0}, {0, 1, 0}, {3, 0, 0});
}

static void array_with_undo(struct ipc_namespace *ns)
{
	OPS(ns, 0, {0, 1, SEM_UNDO}, {1, -1, SEM_UNDO}, {2, -2, 0}, {0, 1, SEM_UNDO},
	    {3, 5, SEM_UNDO});
}

static void wait_for_zero(struct ipc_namespace *ns)
{
	OPS(ns, 0, {0, 0, 0});
}

static void take_last(struct ipc_namespace *ns)
{
	OPS(ns, 0, {1, -1, 0});
}

static void set_value(struct ipc_namespace *ns)
{
	must(sem_ctl(ns, stage->id[0], 0, SETVAL, 2), "SETVAL");
}

static void set_value_owed(struct ipc_namespace *ns)
{
	must(sem_ctl(ns, stage->id[0], 2, SETVAL, 7), "SETVAL");
}

static void set_all(struct ipc_namespace *ns)
{
	static const uint16_t values[] = {3, 3, 0, 3};

	must(sem_ctl(ns, stage->id[0], 0, SETALL, (uintptr_t)values), "SETALL");
}

static void set_all_large(struct ipc_namespace *ns)
{
	uint16_t values[1000];

	for (unsigned i = 0; i < ARRAY_SIZE(values); i++)
		values[i] = 3;
	must(sem_ctl(ns, stage->id[2], 0, SETALL, (uintptr_t)values), "SETALL");
}

static void get_all(struct ipc_namespace *ns)
{
	uint16_t values[4];

	must(sem_ctl(ns, stage->id[0], 0, GETALL, (uintptr_t)values), "GETALL");
}

static void set_mode(struct ipc_namespace *ns)
{
	struct semid_ds ds;

	memset(&ds, 0, sizeof(ds));
	ds.sem_perm.uid = geteuid();
	ds.sem_perm.gid = getegid();
	ds.sem_perm.mode = 0640;
	must(sem_ctl(ns, stage->id[0], 0, IPC_SET, (uintptr_t)&ds), "IPC_SET");
}

static void stat_set(struct ipc_namespace *ns)
{
	struct semid_ds ds;

	must(sem_ctl(ns, stage->id[0], 0, IPC_STAT, (uintptr_t)&ds), "IPC_STAT");
}

/* Sleeps until `error`. */
static void sleeps(struct ipc_namespace *ns, const struct sembuf *sops, unsigned n, int error)
{
	const struct timespec short_time = {0, 2000000};
	int ret = sem_timedop(ns, stage->id[0], sops, n, error == -EAGAIN ? &short_time : NULL);

	if (ret != error)
		flaw("semop returns %d, not %d", ret, error);
}

static void time_out(struct ipc_namespace *ns)
{
	sleeps(ns, &(struct sembuf){0, -1, 0}, 1, -EAGAIN);
}

static void time_out_array(struct ipc_namespace *ns)
{
	struct sembuf sops[20];

	for (unsigned i = 0; i < ARRAY_SIZE(sops); i++)
		sops[i] = (struct sembuf){i % 4, i == 17 ? -1 : 0, SEM_UNDO};
	sops[1].sem_op = -1;
	sops[2].sem_op = -2;
	sleeps(ns, sops, ARRAY_SIZE(sops), -EAGAIN);
}

/* As preload/signal.c has it. */
static void keep_signal(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	critical_defer(info, context);
}

/* Signals come until one meets the sleeper. */
static void interrupted(struct ipc_namespace *ns)
{
	struct sigaction action = {.sa_sigaction = keep_signal, .sa_flags = SA_SIGINFO};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec often = {{0, 2000000}, {0, 2000000}};
	timer_t timer;

	sigaction(SIGUSR1, &action, NULL);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
	    timer_settime(timer, 0, &often, NULL) < 0)
		flaw("timer: %s", strerror(errno));
	sleeps(ns, &(struct sembuf){0, -1, SEM_UNDO}, 1, -EINTR);
	timer_delete(timer);
}

static void sleep_until_helped(struct ipc_namespace *ns)
{
	OPS(ns, 0, {0, -1, 0}, {3, 1, 0});
}

static void sleep_until_helped_with_undo(struct ipc_namespace *ns)
{
	OPS(ns, 0, {0, -1, SEM_UNDO});
}

/* Serves the victim when it sleeps, or whoever is there when it is dead. */
static void post(struct ipc_namespace *ns)
{
	while (!count_on_sets(ns) && !stage->victim_is_dead)
		await_a_little();
	add_one(ns);
}

static void unshare_undo(struct ipc_namespace *ns)
{
	sem_unshare(ns);
}

/* What a dead process was given has come back for the next call, whichever it is. */
static void see_one(struct ipc_namespace *ns)
{
	if (sem_ctl(ns, stage->id[0], 0, GETVAL, 0) != 1)
		flaw("GETVAL does not see what the dead was given");
}

static void take_one(struct ipc_namespace *ns)
{
	OPS(ns, 0, {0, -1, IPC_NOWAIT});
}

static void large_array(struct ipc_namespace *ns)
{
	wide_ops(ns, MOST, 1, 0);
}

static void large_array_with_undo(struct ipc_namespace *ns)
{
	wide_ops(ns, MOST, -1, SEM_UNDO);
}

static void wide_array(struct ipc_namespace *ns)
{
	wide_ops(ns, WIDE, 1, 0);
}

static void owe_to_removed_sets(struct ipc_namespace *ns)
{
	for (unsigned i = 0; i < 6; i++) {
		struct sembuf sop = {0, 1, SEM_UNDO};
		int id = sem_get(ns, IPC_PRIVATE, 10 * (i + 1), 0600);

		must(sem_timedop(ns, id, &sop, 1, NULL), "semop");
		must(sem_ctl(ns, id, 0, IPC_RMID, 0), "IPC_RMID");
	}
}

/* The same process goes on in after_exec(). */
static void exec(struct ipc_namespace *ns)
{
	char fd[12];

	(void)ns;
	arena_crash_countdown = 0;
	snprintf(fd, sizeof(fd), "%d", stage_fd);
	execl("/proc/self/exe", "crash-sem", "--after-exec", fd, NULL);
	flaw("exec: %s", strerror(errno));
}

/* --- who died before --- */

static void earlier_owes(unsigned arg)
{
	struct ipc_namespace *ns = opened(EARLIER);

	(void)arg;
	owe_two_sets(ns);
	raise(SIGKILL);
}

static void one_died_owing(void)
{
	finish(start_actor(earlier_owes, 0));
}

static void earlier_sleeps(unsigned owes)
{
	struct ipc_namespace *ns = opened(EARLIER);

	if (owes)
		OPS(ns, 0, {0, -1, 0}, {3, 2, SEM_UNDO});
	else
		OPS(ns, 0, {0, -1, 0});
	pause();
}

static void await_sleep(unsigned arg)
{
	struct ipc_namespace *ns = opened(HELPER);

	await_asleep(ns, count_on_sets, 1);
	if (arg)
		add_one(ns);
}

static void one_died_asleep(void)
{
	earlier_pid = start_actor(earlier_sleeps, 1);
	finish(start_actor(await_sleep, 0));
	kill_earlier();
}

static void dies_served(unsigned owes)
{
	earlier_pid = start_actor(earlier_sleeps, owes);
	finish(start_actor(await_sleep, 0));
	stop_earlier();
	finish(start_actor(await_sleep, 1));
	kill_earlier();
}

static void one_died_served(void)
{
	dies_served(1);
}

/* Nothing else in the set names it. */
static void one_died_served_owing_nothing(void)
{
	dies_served(0);
}

static void sweeper(unsigned arg)
{
	(void)arg;
	proc_sweep(opened(HELPER));
}

static void one_died_asleep_and_was_swept(void)
{
	one_died_asleep();
	finish(start_actor(sweeper, 0));
}

#define U SEM_UNDO
#define SLEEPS(...)                         \
	{                                   \
		1, 0, {0, 0, 0},            \
		{                           \
			{                   \
				__VA_ARGS__ \
			}                   \
		}                           \
	}

#define LARGE(n) .scene = &(const struct scene){n}, .takes_long = true

static const struct operation operations[] = {
	{.name = "semget by key, a new block", .run = get_new},
	{.name = "semget by key, a free block", .run = get_free_block, .prepare = free_block},
	{.name = "semget private", .run = get_private},
	{.name = "semget, existing", .run = get_existing, .no_steps = true},
	{.name = "IPC_RMID", .run = remove_set},
	{.name = "IPC_RMID with sleepers and undo",
	 .run = remove_set,
	 .prepare = owe_two_sets,
	 BESIDE(SLEEPS(0, -1, 0), SLEEPS(3, -1, U), {2, 0, {2, -1, U}, {{1, 0, 0}, {0, -1, U}}})},
	{.name = "semop beside a sleeper", .run = add_one, BESIDE(SLEEPS(0, -2, 0))},
	{.name = "semop with SEM_UNDO, the first", .run = take_with_undo, .half = owe_nothing},
	{.name = "semop with SEM_UNDO, a later one", .run = take_with_undo, .prepare = owe},
	{.name = "semop with SEM_UNDO that takes one back", .run = owe_no_more, .prepare = owe},
	{.name = "array", .run = array, .prepare = get_ready},
	{.name = "array beside sleepers", .run = array, BESIDE(SLEEPS(0, -5, 0), SLEEPS(3, -1, U))},
	{.name = "array with SEM_UNDO", .run = array_with_undo, .half = owe_nothing},
	{.name = "array with SEM_UNDO, a later one", .run = array_with_undo, .prepare = owe_more},
	{.name = "wait for zero beside a sleeper", .run = wait_for_zero, BESIDE(SLEEPS(0, -1, 0))},
	{.name = "serves one", .run = add_one, BESIDE(SLEEPS(0, -1, 0))},
	{.name = "serves one with SEM_UNDO", .run = add_one, BESIDE(SLEEPS(0, -1, U))},
	{.name = "serves several",
	 .run = add_two,
	 BESIDE(SLEEPS(0, -1, U), SLEEPS(0, -5, 0), SLEEPS(0, -1, 0), SLEEPS(0, -1, U))},
	{.name = "serves a cascade",
	 .run = add_one,
	 BESIDE({2, 0, {0, 0, 0}, {{3, -1, U}, {1, -1, U}}},
		{2, 0, {0, 0, 0}, {{0, -1, 0}, {3, 2, 0}}}, SLEEPS(1, 0, 0),
		{2, 0, {2, -1, U}, {{3, -1, 0}, {0, 7, U}}})},
	{.name = "serves those that wait for zero",
	 .run = take_last,
	 BESIDE(SLEEPS(1, 0, 0), {2, 0, {0, 0, 0}, {{1, 0, 0}, {2, 1, U}}}, SLEEPS(2, -3, 0))},
	{.name = "serves wide arrays",
	 .run = wide_array,
	 BESIDE({WIDE, 2, {0, 0, 0}, {{0, -2, U}}}, {WIDE, 2, {0, 0, 0}, {{10, -2, 0}}}),
	 LARGE(100)},
	{.name = "SETVAL with sleepers and undo",
	 .run = set_value,
	 .prepare = owe_two_sets,
	 BESIDE(SLEEPS(0, -1, U), SLEEPS(0, -1, 0), SLEEPS(3, -1, 0))},
	{.name = "SETVAL of what is owed",
	 .run = set_value_owed,
	 .prepare = owe_two_sets,
	 BESIDE({1, 0, {2, -1, U}, {{2, -5, U}}}, SLEEPS(2, -5, U))},
	{.name = "SETALL", .run = set_all},
	{.name = "SETALL with sleepers and undo",
	 .run = set_all,
	 .prepare = owe,
	 BESIDE({1, 0, {1, -1, U}, {{0, -1, U}}}, SLEEPS(2, 0, 0), SLEEPS(3, -4, U),
		SLEEPS(3, -1, 0))},
	{.name = "SETALL of a large set", .run = set_all_large, LARGE(600)},
	{.name = "SETALL of a large set with sleepers",
	 .run = set_all_large,
	 BESIDE({WIDE, 2, {70, -1, U}, {{1, -3, U}}}, {WIDE, 2, {0, 0, 0}, {{30, -2, U}}}),
	 LARGE(300)},
	{.name = "GETALL beside sleepers",
	 .run = get_all,
	 BESIDE(SLEEPS(0, -1, 0)),
	 .no_steps = true},
	{.name = "IPC_SET with sleepers and undo",
	 .run = set_mode,
	 .prepare = owe,
	 BESIDE(SLEEPS(0, -1, 0))},
	{.name = "IPC_STAT", .run = stat_set, .prepare = owe, .no_steps = true},
	{.name = "a time-out", .run = time_out, .in_steps = true},
	{.name = "a time-out among sleepers",
	 .run = time_out,
	 BESIDE(SLEEPS(0, -1, 0), SLEEPS(0, -2, U)),
	 .in_steps = true},
	{.name = "a time-out of an array", .run = time_out_array, .in_steps = true},
	{.name = "a time-out with a record that another left",
	 .run = time_out,
	 .before = one_died_asleep_and_was_swept,
	 .in_steps = true},
	{.name = "an interruption", .run = interrupted, .in_steps = true},
	{.name = "a sleeper that is served",
	 .run = sleep_until_helped,
	 .helper = post,
	 .in_steps = true},
	{.name = "a sleeper that is served, with SEM_UNDO",
	 .run = sleep_until_helped_with_undo,
	 .helper = post,
	 .in_steps = true},
	{.name = "leave", .run = leave, .prepare = owe_two_sets, .in_steps = true},
	{.name = "leave with sleepers",
	 .run = leave,
	 .prepare = owe_two_sets,
	 BESIDE(SLEEPS(1, -1, U), SLEEPS(2, -2, 0), {1, 1, {0, 0, 0}, {{0, -1, 0}}}),
	 .in_steps = true},
	{.name = "unshare(CLONE_SYSVSEM)",
	 .run = unshare_undo,
	 .prepare = owe_two_sets,
	 .in_steps = true},
	{.name = "sweep of one who owed", .run = sweep, .before = one_died_owing, .in_steps = true},
	{.name = "sweep of one who slept",
	 .run = sweep,
	 .before = one_died_asleep,
	 .in_steps = true},
	{.name = "sweep of one who was served",
	 .run = sweep,
	 .before = one_died_served,
	 .in_steps = true},
	{.name = "GETVAL after one was served",
	 .run = see_one,
	 .before = one_died_served_owing_nothing,
	 .in_steps = true},
	{.name = "semop after one was served",
	 .run = take_one,
	 .before = one_died_served_owing_nothing,
	 .in_steps = true},
	{.name = "proc_enter over one who owed",
	 .run = get_ready,
	 .before = one_died_owing,
	 .in_steps = true},
	{.name = "exec", .run = exec, .prepare = owe_two_sets, .in_steps = true},
	{.name = "an array of 500", .run = large_array, LARGE(MOST)},
	{.name = "an array of 500 with SEM_UNDO",
	 .run = large_array_with_undo,
	 .half = owe_nothing,
	 LARGE(MOST)},
	{.name = "the first SEM_UNDO after sets that went",
	 .run = take_with_undo,
	 .prepare = owe_to_removed_sets,
	 .half = owe_nothing},
};

/* --- what the play asks for --- */

static int sleep_by_plan(struct ipc_namespace *ns, unsigned i)
{
	const struct plan *plan = &now_on->sleepers[i];
	struct sembuf sops[WIDE];

	memcpy(sops, plan->sops, sizeof(plan->sops));
	for (unsigned j = 0; j < plan->n && plan->n > ARRAY_SIZE(plan->sops); j++) {
		sops[j] = plan->sops[0];
		sops[j].sem_num += j;
	}
	if (plan->first.sem_op)
		ops(ns, plan->set, &plan->first, 1);
	return sem_timedop(ns, stage->id[plan->set], sops, plan->n, NULL);
}

static void add_served(struct text *text, int outcome)
{
	(void)outcome;
	add(text, "served");
}

static void remove_sets(struct ipc_namespace *ns)
{
	struct sem_info_entry entry;

	for (int i = -1; sem_each(ns, &i, &entry);) {
		if (sem_waiters(ns, entry.id, NULL, 0) || sem_undoers(ns, entry.id, NULL, 0))
			flaw("the dead wait, or owe");
		must(sem_ctl(ns, entry.id, 0, IPC_RMID, 0), "IPC_RMID");
	}
}

static const struct mechanism semaphores = {
	.name = "crash-sem",
	.operations = operations,
	.n_operations = ARRAY_SIZE(operations),
	.slice = 25,
	.slice_of_recovery = 20,
	.init = sem_init,
	.set_up = make_sets,
	.sleep = sleep_by_plan,
	.count_asleep = count_on_sets,
	.describe = describe_sets,
	.add_served = add_served,
	.check = check_sets,
	.remove_all = remove_sets,
};

static void after_exec(int fd)
{
	struct ipc_namespace *ns;

	mechanism = &semaphores;
	map_stage(fd);
	strcpy(folder, stage->folder);
	ns = opened(VICTIM);
	arena_crash_countdown = stage->countdown;
	proc_after_exec(ns);
	get_ready(ns);
	OPS(ns, 0, {3, 1, SEM_UNDO});
	stage->steps = arena_crash_steps;
	arena_crash_countdown = 0;
	report->done = true;
	raise(SIGKILL);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--after-exec"))
		after_exec(atoi(argv[2]));
	return play(&semaphores, argc, argv);
}
