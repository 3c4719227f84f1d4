/*
 * main.c - random System V operations by several processes, and a canonical trace of all that came of them.
 *
 *	diff-sem --seed S --ops N [OPTION]...		semaphore sets
 *	diff-msg --seed S --ops N [OPTION]...		message queues
 *
 * Written against <sys/sem.h> and <sys/msg.h> alone. The same seed gives the same trace, byte by byte, on the kernel and on
 * whatever claims to behave as the kernel does: `run`, beside this file, compares them. How that can be, although operations
 * sleep, is told in await.c; what is drawn, in plan.c; what a line means, in trace.c.
 *
 * Exit status: 0 the trace is complete, 2 wrong usage or no resources, 4 something happened that can't be
 * (the last line of the trace says what).
 */
#include "diff.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WATCHDOG_S	30
#define WATCHDOG_OPS	512
#define ALL_SHOWN_EVERY 128

struct options {
	uint64_t seed;
	uint64_t ops;
	const char *only; /* operations that are done: "3,7-9" */
	bool *done;	  /* the same, by number; NULL: all */
	bool verbose;
	bool stats;
	bool fifo;
};

static struct world world = {.workers = 8, .key_base = 0x5e000000};

/* --- ends --- */

static void stop(int sig)
{
	act_end_all(&world);
	trace_flush();
	_exit(sig ? 128 + sig : 4);
}

void give_up(const char *why)
{
	trace_say(" GIVES UP: %s\n", why);
	dprintf(2, "%s: %s\n", program_name, why);
	stop(0);
	abort();
}

static void on_alarm(int sig)
{
	(void)sig;
	signal(SIGALRM, SIG_DFL);
	alarm(5);
	give_up("it hangs");
}

static void set_signals(void)
{
	static const int fatal[] = {SIGTERM, SIGINT, SIGHUP, SIGSEGV, SIGBUS, SIGABRT};

	for (unsigned i = 0; i < COUNT_OF(fatal); i++) {
		struct sigaction action = {.sa_handler = stop, .sa_flags = (int)SA_RESETHAND};

		sigaction(fatal[i], &action, NULL);
	}
	signal(SIGALRM, on_alarm);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/* --- what is seen of an object after an operation --- */

/* A process has been killed since all was looked at. */
static bool unseen_kill;

static bool kills(const struct order *order)
{
	return order->kind == ORDER_KILL || order->kind == ORDER_KILL_QUIET ||
	       ((order->kind == ORDER_EXIT || order->kind == ORDER_FORK_MOVE ||
		 order->kind == ORDER_FORK_ONCE) &&
		order->how == EXIT_KILLED);
}

static void show_slots(const struct order *order, bool all)
{
	for (int i = 0; i < SLOTS; i++) {
		const struct slot *slot = &world.slot[i];

		if (slot->alive && (all || i == order->slot))
			show_slot(&world, slot, all);
	}
	if (all)
		unseen_kill = false;
}

/* Not after every operation: a look may set right what the next operation would have met. */
static void show(const struct options *options, uint64_t number, const struct order *order)
{
	bool ends = order_ends_process(order);
	bool all = options->verbose || ends || order->kind == ORDER_TICK ||
		   number % ALL_SHOWN_EVERY == 0;

	unseen_kill |= kills(order);
	if (options->verbose || !plan_chance(options->seed, number, ends ? 3 : 8))
		show_slots(order, all);
}

/* Of two kills between which nobody looks, vee does not know which was the first. */
static void look_before_a_kill(const struct order *order)
{
	if (unseen_kill && kills(order))
		show_slots(order, true);
}

/* --- the run --- */

static void begin(const struct options *options)
{
	int objects = objects_count();

	if (world.exact && objects != 0) {
		fprintf(stderr, "%s: --exact needs an IPC namespace without objects: %s\n",
			program_name, objects < 0 ? strerror(errno) : "there are some");
		exit(2);
	}
	if (!world.exact)
		world.key_base += getpid() % 4096 * KEYS;
	for (int i = 0; i < SLOTS; i++)
		world.slot[i].id = -1;
	world.proc = calloc(options->ops * 2 + world.workers + 1, sizeof(*world.proc));
	if (!world.proc) {
		fprintf(stderr, "%s: no memory for %llu operations\n", program_name,
			(unsigned long long)options->ops);
		exit(2);
	}
	page_make();
	page->fifo = options->fifo;
	epoch_begin();
	set_signals();
	alarm(WATCHDOG_S);
	for (unsigned i = 0; i < world.workers; i++)
		act_spawn(&world, i);
}

static void operate(const struct options *options, uint64_t number)
{
	struct order order;

	trace_number(number);
	plan_order(&world, options->seed, number, &order);
	trace_say("%llu ", (unsigned long long)number);
	say_order(&world, &order);
	look_before_a_kill(&order);
	trace_say(" -> ");
	act(&world, &order);
	show(options, number, &order);
	trace_say("\n");
	if (options->verbose)
		trace_flush();
}

static void print_stats(const struct options *options)
{
	fprintf(stderr, "seed %llu:", (unsigned long long)options->seed);
	for (enum order_kind i = 0; i < ORDER_KINDS; i++)
		fprintf(stderr, " %s %llu", order_name(i), (unsigned long long)tally.kind[i]);
	fprintf(stderr, "; slept %llu, woken %llu, two or more at once %llu, deepest queue %u\n",
		(unsigned long long)tally.slept, (unsigned long long)tally.woken,
		(unsigned long long)tally.cascades, tally.deepest);
}

static void run(const struct options *options)
{
	begin(options);
	for (uint64_t i = 1; i <= options->ops; i++) {
		if (i % WATCHDOG_OPS == 0)
			alarm(WATCHDOG_S);
		if (!options->done || options->done[i])
			operate(options, i);
	}
	alarm(WATCHDOG_S);
	act_end_all(&world);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	trace_say("end\n");
	trace_flush();
	if (options->stats)
		print_stats(options);
}

/* --- options --- */

static void usage(void)
{
	fprintf(stderr,
		"Usage: %s --seed S --ops N [OPTION]...\n"
		"  --out FILE      the trace (default: standard output)\n"
		"  --workers N     2 to %d (default: 8)\n"
		"  --exact         the IPC namespace is new: compare ids and totals too\n"
		"  --users         workers become user %d at times; needs root\n"
		"  --pointers      bad pointers in operations too, not in *ctl alone\n"
		"  --stops         processes are stopped and go on\n"
		"  --limits        limits are written at times, in /proc/sys/kernel: for an IPC namespace of one's own\n"
		"  --ordered       sleepers that are woken together go on in that order: have more of them\n"
		"  --fifo          ... by SCHED_FIFO, which needs a right, and one processor\n"
		"  --only LIST     do these operations only, for example 3,7-9\n"
		"  --verbose       show all objects after every operation\n"
		"  --sabotage W@N  spoil the trace at operation N or soon after it; W: result, value,\n"
		"                  pid, count, time, wake, id\n"
		"  --cpu N         run on this processor alone (default: the present one)\n"
		"  --spread        run on all processors\n"
		"  --patience S    give up on a reply after so many seconds (default: 15)\n"
		"  --stats         say at the end what was done\n",
		program_name, WORKERS_MAX, NOBODY);
	exit(2);
}

static bool parse_only(struct options *options)
{
	const char *at = options->only;
	char *end;

	options->done = calloc(options->ops + 1, sizeof(*options->done));
	if (!options->done)
		return false;
	while (*at) {
		uint64_t first = strtoull(at, &end, 10), last = first;

		if (end == at)
			return false;
		if (*end == '-')
			last = strtoull(end + 1, &end, 10);
		for (uint64_t i = first; i <= last && i <= options->ops; i++)
			options->done[i] = true;
		at = end + (*end == ',');
	}
	return true;
}

static void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		fprintf(stderr, "%s: can't run on processor %d: %s\n", program_name, cpu,
			strerror(errno));
}

enum option_id {
	OPTION_SEED = 1,
	OPTION_OPS,
	OPTION_OUT,
	OPTION_WORKERS,
	OPTION_ONLY,
	OPTION_SABOTAGE,
	OPTION_CPU,
	OPTION_PATIENCE,
	OPTION_SPREAD,
	OPTION_EXACT,
	OPTION_USERS,
	OPTION_POINTERS,
	OPTION_STOPS,
	OPTION_LIMITS,
	OPTION_ORDERED,
	OPTION_FIFO,
	OPTION_VERBOSE,
	OPTION_STATS
};

static bool set_flag(struct options *options, int option)
{
	switch (option) {
	case OPTION_EXACT:
		return world.exact = true;
	case OPTION_USERS:
		return world.users = true;
	case OPTION_POINTERS:
		return world.pointers = true;
	case OPTION_STOPS:
		return world.stops = true;
	case OPTION_LIMITS:
		return world.limits = true;
	case OPTION_ORDERED:
		return world.ordered = true;
	case OPTION_FIFO:
		return options->fifo = true;
	case OPTION_VERBOSE:
		return options->verbose = true;
	case OPTION_STATS:
		return options->stats = true;
	default:
		return false;
	}
}

static bool set_option(struct options *options, int option, int *cpu)
{
	switch (option) {
	case OPTION_SEED:
		options->seed = strtoull(optarg, NULL, 0);
		return true;
	case OPTION_OPS:
		options->ops = strtoull(optarg, NULL, 0);
		return true;
	case OPTION_OUT:
		return trace_open(optarg);
	case OPTION_WORKERS:
		world.workers = (unsigned)strtoul(optarg, NULL, 0);
		return world.workers >= 2 && world.workers <= WORKERS_MAX;
	case OPTION_ONLY:
		options->only = optarg;
		return true;
	case OPTION_SABOTAGE:
		return trace_set_sabotage(optarg);
	case OPTION_PATIENCE:
		patience_s = strtoul(optarg, NULL, 0);
		return patience_s > 0;
	case OPTION_CPU:
		*cpu = (int)strtol(optarg, NULL, 0);
		return true;
	case OPTION_SPREAD:
		*cpu = -1;
		return true;
	default:
		return set_flag(options, option);
	}
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"seed", required_argument, NULL, OPTION_SEED},
		{"ops", required_argument, NULL, OPTION_OPS},
		{"out", required_argument, NULL, OPTION_OUT},
		{"workers", required_argument, NULL, OPTION_WORKERS},
		{"only", required_argument, NULL, OPTION_ONLY},
		{"sabotage", required_argument, NULL, OPTION_SABOTAGE},
		{"patience", required_argument, NULL, OPTION_PATIENCE},
		{"cpu", required_argument, NULL, OPTION_CPU},
		{"spread", no_argument, NULL, OPTION_SPREAD},
		{"exact", no_argument, NULL, OPTION_EXACT},
		{"users", no_argument, NULL, OPTION_USERS},
		{"pointers", no_argument, NULL, OPTION_POINTERS},
		{"stops", no_argument, NULL, OPTION_STOPS},
		{"limits", no_argument, NULL, OPTION_LIMITS},
		{"ordered", no_argument, NULL, OPTION_ORDERED},
		{"fifo", no_argument, NULL, OPTION_FIFO},
		{"verbose", no_argument, NULL, OPTION_VERBOSE},
		{"stats", no_argument, NULL, OPTION_STATS},
		{NULL, 0, NULL, 0}};
	struct options options = {.seed = 1, .ops = 1000};
	int option, cpu = sched_getcpu();

	if (argc == 4 && !strcmp(argv[1], "--worker")) {
		page_attach(atoi(argv[2]));
		worker_main(&page->cell[atoi(argv[3])]);
	}
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) > 0)
		if (!set_option(&options, option, &cpu))
			usage();
	if (option == '?' || optind < argc || (options.only && !parse_only(&options)))
		usage();
	pin(cpu);
	run(&options);
	return 0;
}
