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
#include "crash/stage.h"

#define KEY   0x5eed
#define WIDE  60  /* operations in an array that needs journal memory for itself */
#define MOST  500 /* operations in an array */
#define SLICE 25

/* What a sleeper does: `first`, if it does something, at once; then it sleeps on `sops`. */
struct plan {
	unsigned n, set;
	struct sembuf first;
	struct sembuf sops[3]; /* n > 3: sops[0] on as many semaphores from its own on */
};

struct operation {
	const char *name;
	void (*run)(struct ipc_namespace *ns);
	void (*prepare)(struct ipc_namespace *ns);
	void (*half)(struct ipc_namespace *ns); /* a third state that is right: prepare, and this */
	void (*before)(void);			/* by the test: who died earlier */
	void (*helper)(struct ipc_namespace *ns);
	struct plan sleepers[SLEEPERS];
	unsigned large; /* semaphores of the third set; 0: there is none */
	bool in_steps;	/* more than one transaction that others may see */
	bool no_steps;	/* it may do without the journal */
};

static int stage_fd;
static const struct operation *now_on;
static uint64_t latest_ns;

static void must(int ret, const char *what)
{
	if (ret < 0)
		flaw("%s: %s", what, strerror(-ret));
}

static struct ipc_namespace *opened(enum role role)
{
	sem_init();
	stage->pid[role] = os_getpid();
	return actor_opens(true);
}

static pid_t start_actor(void (*actor)(unsigned), unsigned arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(ACTOR_SECONDS);
		actor(arg);
		_exit(0);
	}
	if (pid < 0)
		abort();
	return pid;
}

static int finish(pid_t pid)
{
	int status = 0;

	if (waitpid(pid, &status, 0) != pid)
		abort();
	return status;
}

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

static void setter(unsigned large)
{
	static const uint16_t four[] = {0, 1, 2, 0}, two[] = {1, 0};
	struct ipc_namespace *ns = opened(SETTER);
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

	if (sem_timedop(ns, stage->id[now_on->large ? 2 : 0], &sop, 1, NULL) != -EAGAIN)
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
	while (!count_asleep(ns) && !stage->victim_is_dead)
		await_a_little();
	add_one(ns);
}

static void leave(struct ipc_namespace *ns)
{
	proc_leave(ns);
}

static void unshare_undo(struct ipc_namespace *ns)
{
	sem_unshare(ns);
}

static void sweep(struct ipc_namespace *ns)
{
	proc_sweep(ns);
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

static void get_ready(struct ipc_namespace *ns)
{
	struct proc *proc;

	must(proc_enter(ns, &proc), "proc_enter");
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

/* The same process goes on in main(). */
static void exec(struct ipc_namespace *ns)
{
	char fd[12];

	(void)ns;
	arena_crash_countdown = 0;
	snprintf(fd, sizeof(fd), "%d", stage_fd);
	execl("/proc/self/exe", "crash-sem", "--after-exec", fd, NULL);
	flaw("exec: %s", strerror(errno));
}

static void after_exec(int fd)
{
	struct ipc_namespace *ns;

	stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (stage == MAP_FAILED)
		abort();
	report = &stage->report;
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

	await_asleep(ns, 1);
	if (arg)
		add_one(ns);
}

static void one_died_asleep(void)
{
	pid_t pid = start_actor(earlier_sleeps, 1);

	finish(start_actor(await_sleep, 0));
	kill(pid, SIGKILL);
	finish(pid);
}

/* Stopped, so that it can't take note of what is done for it. */
static void dies_served(unsigned owes)
{
	pid_t pid = start_actor(earlier_sleeps, owes);
	int status;

	finish(start_actor(await_sleep, 0));
	kill(pid, SIGSTOP);
	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		abort();
	finish(start_actor(await_sleep, 1));
	kill(pid, SIGKILL);
	finish(pid);
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

static const struct operation operations[] = {
	{.name = "semget by key, a new block", .run = get_new},
	{.name = "semget by key, a free block", .run = get_free_block, .prepare = free_block},
	{.name = "semget private", .run = get_private},
	{.name = "semget, existing", .run = get_existing, .no_steps = true},
	{.name = "IPC_RMID", .run = remove_set},
	{.name = "IPC_RMID with sleepers and undo",
	 .run = remove_set,
	 .prepare = owe_two_sets,
	 .sleepers = {SLEEPS(0, -1, 0),
		      SLEEPS(3, -1, U),
		      {2, 0, {2, -1, U}, {{1, 0, 0}, {0, -1, U}}}}},
	{.name = "semop beside a sleeper", .run = add_one, .sleepers = {SLEEPS(0, -2, 0)}},
	{.name = "semop with SEM_UNDO, the first", .run = take_with_undo, .half = owe_nothing},
	{.name = "semop with SEM_UNDO, a later one", .run = take_with_undo, .prepare = owe},
	{.name = "semop with SEM_UNDO that takes one back", .run = owe_no_more, .prepare = owe},
	{.name = "array", .run = array, .prepare = get_ready},
	{.name = "array beside sleepers",
	 .run = array,
	 .sleepers = {SLEEPS(0, -5, 0), SLEEPS(3, -1, U)}},
	{.name = "array with SEM_UNDO", .run = array_with_undo, .half = owe_nothing},
	{.name = "array with SEM_UNDO, a later one", .run = array_with_undo, .prepare = owe_more},
	{.name = "wait for zero beside a sleeper",
	 .run = wait_for_zero,
	 .sleepers = {SLEEPS(0, -1, 0)}},
	{.name = "serves one", .run = add_one, .sleepers = {SLEEPS(0, -1, 0)}},
	{.name = "serves one with SEM_UNDO", .run = add_one, .sleepers = {SLEEPS(0, -1, U)}},
	{.name = "serves several",
	 .run = add_two,
	 .sleepers = {SLEEPS(0, -1, U), SLEEPS(0, -5, 0), SLEEPS(0, -1, 0), SLEEPS(0, -1, U)}},
	{.name = "serves a cascade",
	 .run = add_one,
	 .sleepers = {{2, 0, {0, 0, 0}, {{3, -1, U}, {1, -1, U}}},
		      {2, 0, {0, 0, 0}, {{0, -1, 0}, {3, 2, 0}}},
		      SLEEPS(1, 0, 0),
		      {2, 0, {2, -1, U}, {{3, -1, 0}, {0, 7, U}}}}},
	{.name = "serves those that wait for zero",
	 .run = take_last,
	 .sleepers = {SLEEPS(1, 0, 0),
		      {2, 0, {0, 0, 0}, {{1, 0, 0}, {2, 1, U}}},
		      SLEEPS(2, -3, 0)}},
	{.name = "serves wide arrays",
	 .run = wide_array,
	 .sleepers = {{WIDE, 2, {0, 0, 0}, {{0, -2, U}}}, {WIDE, 2, {0, 0, 0}, {{10, -2, 0}}}},
	 .large = 100},
	{.name = "SETVAL with sleepers and undo",
	 .run = set_value,
	 .prepare = owe_two_sets,
	 .sleepers = {SLEEPS(0, -1, U), SLEEPS(0, -1, 0), SLEEPS(3, -1, 0)}},
	{.name = "SETVAL of what is owed",
	 .run = set_value_owed,
	 .prepare = owe_two_sets,
	 .sleepers = {{1, 0, {2, -1, U}, {{2, -5, U}}}, SLEEPS(2, -5, U)}},
	{.name = "SETALL", .run = set_all},
	{.name = "SETALL with sleepers and undo",
	 .run = set_all,
	 .prepare = owe,
	 .sleepers = {{1, 0, {1, -1, U}, {{0, -1, U}}},
		      SLEEPS(2, 0, 0),
		      SLEEPS(3, -4, U),
		      SLEEPS(3, -1, 0)}},
	{.name = "SETALL of a large set", .run = set_all_large, .large = 600},
	{.name = "SETALL of a large set with sleepers",
	 .run = set_all_large,
	 .sleepers = {{WIDE, 2, {70, -1, U}, {{1, -3, U}}}, {WIDE, 2, {0, 0, 0}, {{30, -2, U}}}},
	 .large = 300},
	{.name = "GETALL beside sleepers",
	 .run = get_all,
	 .sleepers = {SLEEPS(0, -1, 0)},
	 .no_steps = true},
	{.name = "IPC_SET with sleepers and undo",
	 .run = set_mode,
	 .prepare = owe,
	 .sleepers = {SLEEPS(0, -1, 0)}},
	{.name = "IPC_STAT", .run = stat_set, .prepare = owe, .no_steps = true},
	{.name = "a time-out", .run = time_out, .in_steps = true},
	{.name = "a time-out among sleepers",
	 .run = time_out,
	 .sleepers = {SLEEPS(0, -1, 0), SLEEPS(0, -2, U)},
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
	 .sleepers = {SLEEPS(1, -1, U), SLEEPS(2, -2, 0), {1, 1, {0, 0, 0}, {{0, -1, 0}}}},
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
	{.name = "an array of 500", .run = large_array, .large = MOST},
	{.name = "an array of 500 with SEM_UNDO",
	 .run = large_array_with_undo,
	 .half = owe_nothing,
	 .large = MOST},
	{.name = "the first SEM_UNDO after sets that went",
	 .run = take_with_undo,
	 .prepare = owe_to_removed_sets,
	 .half = owe_nothing},
};

/* --- the play --- */

static unsigned n_sleepers(const struct operation *operation)
{
	unsigned n = 0;

	while (n < SLEEPERS && operation->sleepers[n].n)
		n++;
	return n;
}

static void sleeper(unsigned i)
{
	const struct plan *plan = &now_on->sleepers[i];
	struct ipc_namespace *ns = opened(SLEEPER + i);
	struct sembuf sops[WIDE];

	memcpy(sops, plan->sops, sizeof(plan->sops));
	for (unsigned j = 0; j < plan->n && plan->n > ARRAY_SIZE(plan->sops); j++) {
		sops[j] = plan->sops[0];
		sops[j].sem_num += j;
	}
	/* They get their journals in the other order than their slots in the table. */
	while (i + 1 < n_sleepers(now_on) && !stage->has_journal[i + 1])
		await_a_little();
	count_asleep(ns);
	stage->has_journal[i] = true;
	while (!stage->victim_is_ready)
		await_a_little();
	await_asleep(ns, i);
	if (plan->first.sem_op)
		ops(ns, plan->set, &plan->first, 1);
	stage->outcome[i] = sem_timedop(ns, stage->id[plan->set], sops, plan->n, NULL);
	for (;;)
		pause();
}

static void helper(unsigned arg)
{
	(void)arg;
	now_on->helper(opened(HELPER));
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
	for (unsigned i = 0; i < n_sleepers(now_on); i++)
		while (!stage->has_journal[i])
			await_a_little();
	if (now_on->prepare)
		now_on->prepare(ns);
	stage->victim_is_ready = true;
	await_asleep(ns, n_sleepers(now_on));
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

	for (unsigned i = 0; i < n_sleepers(now_on); i++)
		asleep += stage->outcome[i] == ASLEEP;
	return asleep == count_asleep(ns);
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
	describe(opened(HELPER), stage->raw, sizeof(stage->raw));
}

static void checker(unsigned arg)
{
	struct ipc_namespace *ns = opened(HELPER);
	struct text text = {stage->swept, sizeof(stage->swept), 0};
	const char *wrong;

	(void)arg;
	proc_sweep(ns);
	await_served(ns);
	describe(ns, stage->swept, sizeof(stage->swept));
	text.used = strlen(stage->swept);
	for (unsigned i = 0; i < n_sleepers(now_on); i++)
		add(&text, "sleeper%u: %s\n", i,
		    stage->outcome[i] == ASLEEP ? "asleep" :
		    stage->outcome[i]		? strerror(-stage->outcome[i]) :
						  "served");
	wrong = check_all(ns);
	if (wrong)
		flaw("check: %s", wrong);
}

/* When all are dead. */
static void remover(unsigned arg)
{
	struct ipc_namespace *ns = opened(HELPER);
	struct sem_info_entry entry;
	const char *wrong;

	(void)arg;
	proc_sweep(ns);
	if (count_asleep(ns))
		flaw("the dead sleep");
	for (uint32_t i = 0; i < ns->arena.header->procs_ready; i++)
		if (proc_at(ns, i)->sleepers || proc_at(ns, i)->sem_undo)
			flaw("a sweep has left something of a process");
	/* One who died while he swept may have made a slot look free. */
	proc_sweep(ns);
	for (int i = -1; sem_each(ns, &i, &entry);) {
		if (sem_waiters(ns, entry.id, NULL, 0) || sem_undoers(ns, entry.id, NULL, 0))
			flaw("the dead wait, or owe");
		must(sem_ctl(ns, entry.id, 0, IPC_RMID, 0), "IPC_RMID");
	}
	wrong = check_all(ns);
	if (wrong)
		flaw("check, with all removed: %s", wrong);
	for (uint32_t i = 0; i < ns->arena.header->procs_ready; i++)
		if (proc_at(ns, i)->state != PROC_FREE)
			flaw("a process is left");
	report->swept_heap = ns->arena.header->heap_used;
}

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
			kill(asleep[i], SIGKILL);
			finish(asleep[i]);
		}
		asleep[i] = 0;
	}
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

static void stop_sleepers(void)
{
	int status;

	for (unsigned i = 0; i < n_sleepers(now_on) && sleepers_stop(); i++) {
		kill(asleep[i], SIGSTOP);
		if (waitpid(asleep[i], &status, WUNTRACED) != asleep[i] || !WIFSTOPPED(status))
			fail_msg("%s: a sleeper ended", now_on->name);
	}
}

static int victim_acts(enum run run)
{
	pid_t pid = start_actor(victim, run);
	siginfo_t info = {.si_pid = 0};

	while (!stage->all_are_asleep && info.si_pid == 0) {
		await_a_little();
		waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT);
	}
	stop_sleepers();
	stage->go = true;
	return finish(pid);
}

/* Up to the death of the victim. */
static void act(unsigned countdown, enum run run)
{
	clear_stage();
	memset(stage, 0, sizeof(*stage));
	fresh_folder("crash");
	strcpy(stage->folder, folder);
	stage->countdown = countdown;
	for (unsigned i = 0; i < SLEEPERS; i++)
		stage->outcome[i] = ASLEEP;
	must_end(start_actor(setter, now_on->large), countdown, "the setter");
	if (now_on->before)
		now_on->before();
	for (unsigned i = 0; i < n_sleepers(now_on); i++)
		asleep[i] = start_actor(sleeper, i);
	helps = now_on->helper ? start_actor(helper, 0) : 0;
	int status = victim_acts(run);

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
	for (unsigned i = 0; i < most && i < n_sleepers(now_on); i++) {
		if (!asleep[i])
			continue;
		kill(asleep[i], SIGKILL);
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
	for (unsigned i = 0; i < n_sleepers(now_on); i++)
		kill(asleep[i], SIGCONT);
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

static struct outcome before, half, after, now;

static bool is_of(const struct outcome *of, bool swept)
{
	return swept || now_on->in_steps || !sleepers_stop() || !strcmp(now.raw, of->raw);
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
	if (now.heap > before.heap && now.heap > after.heap && now.heap > half.heap)
		fail_msg("%s, killed at step %u: %u pages in use, not %u nor %u", now_on->name, n,
			 now.heap, before.heap, after.heap);
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

static bool every;

static unsigned stride(unsigned steps, unsigned n)
{
	return every || steps < n ? 1 : steps / n;
}

static void killed_at_each_step_it_is_whole_or_not_at_all(void **state)
{
	unsigned tried = 0;

	now_on = *state;
	latest_ns = 0;
	before_and_after();
	for (unsigned n = 1; n <= after.steps; n += stride(after.steps, SLICE), tried++) {
		act(n, WHOLE);
		check(n, true, &now);
		one_or_other(n, false);
	}
	print_message("  %u of %u steps; who was served was back after %.1f ms at most\n", tried,
		      after.steps, (double)latest_ns / 1e6);
}

/* Recovers, and is killed at its step `step`. */
static void recoverer(unsigned step)
{
	struct ipc_namespace *ns = opened(HELPER);

	arena_crash_countdown = step;
	proc_sweep(ns);
	/* What no sweep had to touch is recovered by who needs it. */
	describe(ns, stage->raw, sizeof(stage->raw));
	arena_crash_countdown = 0;
	report->done = true;
}

static void recovery_killed_at_each_step_is_finished_by_the_next(void **state)
{
	unsigned tried = 0;

	now_on = *state;
	before_and_after();
	for (unsigned n = 1; n <= after.steps; n += stride(after.steps, 3)) {
		act(n, WHOLE);
		report->done = false;
		for (unsigned step = 1; !report->done; step += stride(60, 20), tried++) {
			int status = finish(start_actor(recoverer, step));

			if (!killed(status) && status)
				fail_msg("%s, %u: the recoverer, step %u, ended with 0x%x: %s",
					 now_on->name, n, step, status, report->wrong);
		}
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
	for (unsigned step = 1;; step += stride(100, SLICE)) {
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
	for (unsigned dead = 0; dead <= n_sleepers(now_on); dead++)
		print_message("  %u dead sleepers: %u steps\n", dead, kill_sweepers(dead));
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[3 * ARRAY_SIZE(operations)];
	char names[2 * ARRAY_SIZE(operations)][80];
	size_t n = 0;

	if (argc == 3 && !strcmp(argv[1], "--after-exec"))
		after_exec(atoi(argv[2]));
	every = argc > 1 && !strcmp(argv[1], "all");
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	stage_fd = memfd_create("stage", 0);
	if (stage_fd < 0 || ftruncate(stage_fd, sizeof(*stage)) < 0)
		abort();
	stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED, stage_fd, 0);
	if (stage == MAP_FAILED)
		abort();
	report = &stage->report;
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
		const struct operation *operation = &operations[i];

		tests[n++] = (struct CMUnitTest){operation->name,
						 killed_at_each_step_it_is_whole_or_not_at_all,
						 NULL, NULL, (void *)operation};
		if (operation->large || operation->no_steps)
			continue;
		snprintf(names[2 * i], sizeof(names[0]), "recovery of %s", operation->name);
		tests[n++] = (struct CMUnitTest){
			names[2 * i], recovery_killed_at_each_step_is_finished_by_the_next, NULL,
			NULL, (void *)operation};
		if (!operation->sleepers[0].n && !operation->prepare)
			continue;
		snprintf(names[2 * i + 1], sizeof(names[0]), "sweep after %s", operation->name);
		tests[n++] = (struct CMUnitTest){
			names[2 * i + 1], a_sweep_killed_at_each_step_is_finished_by_the_next, NULL,
			NULL, (void *)operation};
	}
	return _cmocka_run_group_tests("crash-sem", tests, n, NULL, NULL);
}
