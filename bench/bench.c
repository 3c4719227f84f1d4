/*
 * bench.c - objects, processes and cases of the programs that measure a mechanism
 */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	TURNS = 256, /* between two looks at the clock; even, for measures that alternate */
	WARM_UP_NS = 10000000,
	RUN_NS = 100000000,
	PAIR_RUN_NS = 500000000, /* two processes: the scheduler brings them together and apart */
};

volatile sig_atomic_t stopped_by;

static const struct program *program;

static void note_signal(int signal_number)
{
	stopped_by = signal_number;
}

static void catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = note_signal};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaction(numbers[i], &action, NULL);
}

int fail(const char *call)
{
	if (!stopped_by || errno != EINTR)
		fprintf(stderr, "%s: %s: %s\n", program->name, call, strerror(errno));
	return -1;
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- objects --- */

/* Keys that nobody else uses: upper bits from the process, lower ones for the object's number. */
int make_objects(struct bench *b, int n)
{
	b->first_key = (key_t)(0x40000000u | ((uint32_t)getpid() & 0x3fffu) << 16);
	while (b->n_ids < n && !stopped_by) {
		int id = program->make_one(b->first_key + b->n_ids);

		if (id < 0)
			return -1;
		b->ids[b->n_ids++] = id;
	}
	return stopped_by ? -1 : 0;
}

int remove_objects(struct bench *b)
{
	int r = 0;

	while (b->n_ids > 0)
		if (program->remove_one(b->ids[--b->n_ids]) < 0)
			r = fail("IPC_RMID, cleaning up");
	return r;
}

/* --- processes --- */

pid_t start_process(struct bench *b)
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

void wait_at_gate(const struct bench *b)
{
	char byte;

	while (read(b->gate[0], &byte, 1) < 0 && errno == EINTR)
		;
}

void open_gate(struct bench *b)
{
	if (b->gate[1] >= 0)
		close(b->gate[1]);
	b->gate[1] = -1;
}

int end_processes(struct bench *b, bool kill_them)
{
	int r = 0;

	open_gate(b);
	while (b->n_procs > 0) {
		pid_t pid = b->procs[b->n_procs - 1];
		int status = 1;

		if (kill_them && pid > 1)
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
		fprintf(stderr, "%s: a process of the case failed\n", program->name);
	return r;
}

/* Each says hello and idles at the gate. */
static int start_idlers(struct bench *b, int n)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = start_process(b);

		if (pid < 0)
			return -1;
		if (pid == 0) {
			if (program->say_hello(b, i) < 0)
				_exit(1);
			wait_at_gate(b);
			_exit(0);
		}
	}
	return n > 0 ? program->hear_hellos(b, n) : 0;
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
	if (m->finish) {
		if (m->finish(b) < 0)
			return -1;
		spent = now_ns() - start;
	}
	*ret_ns_per_op = (double)spent / (double)n;
	return 0;
}

static int set_up(struct bench *b, const struct measure *m, const struct surroundings *s)
{
	if (make_objects(b, s->n_objects) < 0 || start_idlers(b, s->n_procs) < 0)
		return -1;
	if (m->prepare && m->prepare(b) < 0)
		return -1;
	return start_partner(b, m);
}

static int run_measure(const char *name, const struct measure *m, const struct surroundings *s)
{
	static struct bench b;
	double ns = 0;
	int r;

	if (pipe(b.gate) < 0)
		return fail("pipe");
	b.size = m->size;
	if (m->begin && m->begin(&b) < 0)
		return -1;
	r = set_up(&b, m, s);
	if (r == 0)
		r = run_turns(&b, m, WARM_UP_NS, &ns);
	if (r == 0)
		r = run_turns(&b, m, m->partner ? PAIR_RUN_NS : RUN_NS, &ns);
	if (remove_objects(&b) < 0 || (m->end && m->end(&b) < 0))
		r = -1;
	if (end_processes(&b, r < 0) < 0)
		r = -1;
	if (r == 0)
		printf("%s %.1f\n", name, ns);
	return r;
}

/* Runs the case of this name, or prints the names of all if it is NULL. 2: no such case. */
static int find_and_run(const char *wanted)
{
	char name[64];

	for (size_t i = 0; i < program->n_surroundings; i++) {
		const struct surroundings *s = &program->surroundings[i];

		for (size_t j = 0; j < program->n_measures; j++) {
			const struct measure *m = &program->measures[j];

			if (i > 0 && m->alone)
				continue;
			snprintf(name, sizeof(name), "%s%s", m->name, s->suffix);
			if (!wanted)
				puts(name);
			else if (strcmp(wanted, name) == 0)
				return run_measure(name, m, s);
		}
	}
	if (program->other_cases)
		return program->other_cases(wanted);
	return wanted ? 2 : 0;
}

int bench_main(const struct program *of, int argc, char **argv)
{
	bool list = argc == 2 && strcmp(argv[1], "--list") == 0;
	int r = 2;

	program = of;
	catch_signals();
	if (argc == 2)
		r = find_and_run(list ? NULL : argv[1]);
	if (r == 2)
		fprintf(stderr, "usage: %s CASE | --list\n", program->name);
	if (r < 0)
		return stopped_by ? 128 + stopped_by : 1;
	return r;
}
