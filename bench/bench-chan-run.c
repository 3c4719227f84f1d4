/*
 * bench-chan-run.c - the processes of a measurement: started, watched, ended; and main() of each bench-chan program
 *
 *     bench-chan SYSTEM CASE [MS]     measures for MS milliseconds (300); prints `SYSTEM CASE name=value …`
 *     bench-chan --list               prints the systems, and the cases
 *
 * before= and after= are the ns of a raw round trip of one cache line between the two cores that are used, just before and just
 * after the measurement: hosts that move virtual cores about make that 90 or 450. step= is the ns of an addition, on the slower of
 * the two, before or after: where a neighbour computes on the same core it is nearly twice as much.
 * among_ns=, alone_before= and alone_after= are what a write costs while many others have opened something, and before and after that.
 *
 * Whatever ends this process ends its children; whatever lets it clean up (the end, an error, a signal, 60 s) has it
 * remove the folder that it works in, below $VEE_BENCH_DIR or /dev/shm. All else that systems make has no name.
 */
#include "bench-chan.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum {
	PROCS_MAX = 64,
	LIMIT_S = 60,
	PROBE_BATCHES = 21,
	PROBE_ROUNDS = 1000,
	PROBE_STEPS = 50000,
	PER_HOLDER =
		400, /* handles; there are 1,024 descriptors where nobody has raised the limit */
};

enum kind {
	STREAM,
	FAN,
	PING,
	WAKE,
	WRITE_ONLY,
};

struct bench_case {
	const char *name;
	enum kind kind;
	size_t size;
	int n_readers;
	int held_readers, held_channels;
};

static const struct bench_case cases[] = {
	{"stream-56", STREAM, 56, 1, 0, 0},
	{"stream-64", STREAM, 64, 1, 0, 0},
	{"stream-1024", STREAM, 1024, 1, 0, 0},
	{"stream-65536", STREAM, 65536, 1, 0, 0},
	{"fan-64", FAN, 64, 3, 0, 0},
	{"ping-64", PING, 64, 1, 0, 0},
	{"wake-64", WAKE, 64, 1, 0, 0},
	{"write-1000-readers", WRITE_ONLY, 64, 0, 1000, 0},
	{"write-10000-channels", WRITE_ONLY, 64, 0, 0, 10000},
};

struct bench {
	const struct chan_system *system;
	const struct bench_case *c;
	struct chan_run run;
	struct chan_lane lanes[2];
	char dir[96];
	pid_t procs[PROCS_MAX];
	int n_procs;
	int cpus[2]; /* -1: there are not two */
	bool pinned;
};

static volatile sig_atomic_t stopped_by;

static void note_signal(int signal_number)
{
	stopped_by = signal_number;
}

int chan_fail(const char *call)
{
	if (!stopped_by)
		fprintf(stderr, "bench-chan: %s: %s\n", call, strerror(errno));
	return -1;
}

int chan_wrong(const char *what, uint64_t is, uint64_t should)
{
	fprintf(stderr, "bench-chan: %s: %llu, not %llu\n", what, (unsigned long long)is,
		(unsigned long long)should);
	return -1;
}

void *chan_new_message(void)
{
	void *message = NULL;

	if (posix_memalign(&message, 4096, CHAN_SIZE_MAX)) {
		fprintf(stderr, "bench-chan: no memory\n");
		return NULL;
	}
	memset(message, 0x5a, CHAN_SIZE_MAX);
	return message;
}

static int compare_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void chan_wake_report(struct chan_shared *shared, unsigned n)
{
	if (n == 0)
		return;
	qsort(shared->wakes, n, sizeof(shared->wakes[0]), compare_ns);
	shared->wake_median_us = (double)shared->wakes[n / 2] / 1e3;
	shared->wake_p99_us = (double)shared->wakes[n * 99 / 100] / 1e3;
}

/* --- cores --- */

static void find_cpus(struct bench *b)
{
	cpu_set_t set;
	int n = 0;

	b->cpus[0] = b->cpus[1] = -1;
	if (sched_getaffinity(0, sizeof(set), &set) < 0 || CPU_COUNT(&set) < 2)
		return;
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &set))
			b->cpus[n++] = i;
}

static void pin(const struct bench *b, int which)
{
	cpu_set_t set;

	if (b->cpus[which] < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(b->cpus[which], &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* --- processes --- */

/* Returns the pid in the parent, 0 in the child. */
static pid_t start_process(struct bench *b)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM};
	pid_t parent = getpid(), pid;

	if (b->n_procs == PROCS_MAX || (pid = fork()) < 0)
		return chan_fail("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		for (size_t i = 0; i < CHAN_ARRAY_SIZE(numbers); i++)
			signal(numbers[i], SIG_DFL);
		signal(SIGPIPE, SIG_IGN);
		b->n_procs = 0;
		return 0;
	}
	b->procs[b->n_procs++] = pid;
	return pid;
}

static void end_processes(struct bench *b)
{
	while (b->n_procs > 0) {
		pid_t pid = b->procs[b->n_procs - 1];

		if (pid > 1)
			kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		if (b->system->forget)
			b->system->forget(pid);
		b->n_procs--;
	}
}

/* 0 when the last of n processes has ended well, -1 as soon as one has not, or on a signal. */
static int await_processes(struct bench *b, int n)
{
	while (n > 0) {
		int status;
		pid_t pid = waitpid(-1, &status, 0);

		if (stopped_by)
			return -1;
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0)
			return chan_fail("waitpid");
		for (int i = 0; i < b->n_procs; i++)
			if (b->procs[i] == pid)
				b->procs[i] = b->procs[--b->n_procs];
		if (status != 0) {
			if (b->system->forget)
				b->system->forget(pid);
			if (WIFSIGNALED(status))
				fprintf(stderr, "bench-chan: signal %d ended a process\n",
					WTERMSIG(status));
			return -1;
		}
		n--;
	}
	return 0;
}

/* All the processes of the measurement meet, the n-th time. Many that look often would be a load. */
static void meet(struct chan_run *r, unsigned n)
{
	atomic_fetch_add(&r->shared->arrived, 1);
	for (uint64_t ns = 100000; atomic_load(&r->shared->arrived) < r->n_procs * n;
	     chan_sleep(ns))
		if (ns < 50000000)
			ns *= 2;
}

/* --- the raw round trip of a line, and the cores' speed --- */

struct probe {
	_Alignas(128) _Atomic uint64_t line;
	_Alignas(128) uint64_t ns[PROBE_BATCHES];
	uint64_t steps_ns[2][PROBE_BATCHES];
};

struct probed {
	double line_ns, step_ns;
};

static void probe_steps(uint64_t *ret_ns)
{
	for (unsigned batch = 0; batch < PROBE_BATCHES; batch++) {
		uint64_t start = chan_now(), x = 0;

		for (unsigned i = 0; i < PROBE_STEPS; i++) {
			x++;
			__asm__ volatile("" : "+r"(x));
		}
		ret_ns[batch] = chan_now() - start;
	}
	qsort(ret_ns, PROBE_BATCHES, sizeof(ret_ns[0]), compare_ns);
}

static void probe_answer(struct probe *p)
{
	for (uint64_t i = 0; i < PROBE_BATCHES * PROBE_ROUNDS; i++) {
		while (atomic_load_explicit(&p->line, memory_order_acquire) != 2 * i + 1)
			;
		atomic_store_explicit(&p->line, 2 * i + 2, memory_order_release);
	}
}

static void probe_ask(struct probe *p)
{
	uint64_t i = 0;

	for (unsigned batch = 0; batch < PROBE_BATCHES; batch++) {
		uint64_t start = chan_now();

		for (unsigned turn = 0; turn < PROBE_ROUNDS; turn++, i++) {
			atomic_store_explicit(&p->line, 2 * i + 1, memory_order_release);
			while (atomic_load_explicit(&p->line, memory_order_acquire) != 2 * i + 2)
				;
		}
		p->ns[batch] = chan_now() - start;
	}
	qsort(p->ns, PROBE_BATCHES, sizeof(p->ns[0]), compare_ns);
}

static int probe(struct bench *b, struct probed *ret_probed)
{
	struct probe *p =
		mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t steps_ns;
	int r;

	*ret_probed = (struct probed){0, 0};
	if (b->cpus[1] < 0)
		return 0;
	if (p == MAP_FAILED)
		return chan_fail("mmap");
	for (int which = 0; which < 2; which++) {
		pid_t pid = start_process(b);

		if (pid < 0)
			return -1;
		if (pid == 0) {
			pin(b, which);
			if (which)
				probe_answer(p);
			else
				probe_ask(p);
			probe_steps(p->steps_ns[which]);
			_exit(0);
		}
	}
	r = await_processes(b, 2);
	ret_probed->line_ns = (double)p->ns[PROBE_BATCHES / 2] / PROBE_ROUNDS;
	steps_ns = p->steps_ns[0][PROBE_BATCHES / 2];
	if (steps_ns < p->steps_ns[1][PROBE_BATCHES / 2])
		steps_ns = p->steps_ns[1][PROBE_BATCHES / 2];
	ret_probed->step_ns = (double)steps_ns / PROBE_STEPS;
	munmap(p, sizeof(*p));
	return r;
}

/* --- the cases --- */

static bool supported(const struct chan_system *s, const struct bench_case *c)
{
	switch (c->kind) {
	case STREAM:
		return s->alone ? c->size == CHAN_SIZE_MAX : s->stream_in != NULL;
	case FAN:
		return s->fan_in != NULL;
	case PING:
		return s->ping != NULL;
	case WAKE:
		return s->wake_in != NULL;
	case WRITE_ONLY:
		return s->write_only != NULL;
	}
	return false;
}

/* The first process is the writer, or the one that asks. */
static int run_process(struct bench *b, int which)
{
	const struct chan_system *s = b->system;
	struct chan_lane *there = &b->lanes[0], *back = &b->lanes[1];
	struct chan_run *r = &b->run;
	int opened = 0;

	if (b->pinned)
		pin(b, which);
	if (s->alone)
		return s->alone(r, there);
	there->reader = which - 1;
	if (which == 0)
		opened = s->open_writer(there);
	else if (b->c->kind == PING)
		opened = s->open_writer(back);
	if (opened < 0)
		return -1;
	meet(r, 1);
	if (which > 0)
		opened = s->open_reader(there);
	else if (b->c->kind == PING)
		opened = s->open_reader(back);
	if (opened < 0)
		return -1;
	meet(r, 2);
	switch (b->c->kind) {
	case STREAM:
		return which ? s->stream_in(r, there) : s->stream_out(r, there);
	case FAN:
		return which ? s->fan_in(r, there) : s->stream_out(r, there);
	case PING:
		return which ? s->pong(r, there, back) : s->ping(r, there, back);
	case WAKE:
		return which ? s->wake_in(r, there) : s->wake_out(r, there);
	case WRITE_ONLY:
		break;
	}
	return -1;
}

static int run_procs(struct bench *b)
{
	int n = b->system->alone ? 1 : 1 + b->c->n_readers;

	b->run.n_procs = (unsigned)n;
	b->pinned = b->c->kind != FAN;
	for (int which = 0; which < n; which++) {
		pid_t pid = start_process(b);

		if (pid < 0)
			return -1;
		if (pid == 0) {
			int r = run_process(b, which);

			if (b->system->says_goodbye)
				exit(r < 0);
			_exit(r < 0);
		}
	}
	return await_processes(b, n);
}

/* Opens what is not used; it stays open until the process ends. */
static int hold(struct bench *b, int n_readers, int first_channel, int n_channels)
{
	struct chan_lane *l = &b->lanes[0];

	if (n_readers > 0 && b->system->hold_readers(l, n_readers) < 0)
		return -1;
	return n_channels > 0 ? b->system->hold_channels(l, first_channel, n_channels) : 0;
}

/* Before the others, with them, and after them. */
static int write_thrice(struct bench *b, int gone)
{
	struct chan_shared *s = b->run.shared;
	double ns[3];
	char byte;

	pin(b, 0);
	if (b->system->open_writer(&b->lanes[0]) < 0)
		return -1;
	meet(&b->run, 1);
	meet(&b->run, 2);
	for (unsigned i = 0; i < 3; i++) {
		if (b->system->write_only(&b->run, &b->lanes[0]) < 0)
			return -1;
		ns[i] = (double)s->write_ns / (double)s->written;
		if (i == 2)
			break;
		meet(&b->run, 3 + 2 * i);
		if (i == 0)
			meet(&b->run, 4);
		/* The end of the file: the last of them has none of its memory any more. */
		else if (read(gone, &byte, 1) < 0)
			return chan_fail("read");
	}
	s->alone_ns[0] = ns[0];
	s->alone_ns[1] = ns[2];
	s->among_ns = ns[1];
	return 0;
}

/* What a write costs beside one idle reader, and while others, PER_HOLDER each, have opened what they do not use, too. */
static int run_held(struct bench *b)
{
	const struct bench_case *c = b->c;
	int held = c->held_readers + c->held_channels, n = 2 + (held + PER_HOLDER - 1) / PER_HOLDER;
	struct rlimit limit;
	int gone[2];

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (pipe2(gone, O_CLOEXEC) < 0)
		return chan_fail("pipe2");
	b->run.n_procs = (unsigned)n;
	for (int which = 0; which < n; which++) {
		int first = (which - 2) * PER_HOLDER, part = held - first;
		pid_t pid = start_process(b);

		if (pid < 0)
			return -1;
		if (pid > 0)
			continue;
		if (which < 2)
			close(gone[1]);
		if (which == 0)
			_exit(write_thrice(b, gone[0]) < 0);
		part = part < PER_HOLDER ? part : PER_HOLDER;
		meet(&b->run, 1);
		if (which == 1 && hold(b, 1, 0, 0) < 0)
			_exit(1);
		meet(&b->run, 2);
		meet(&b->run, 3);
		if (which > 1 &&
		    hold(b, c->held_readers ? part : 0, first, c->held_channels ? part : 0) < 0)
			_exit(1);
		meet(&b->run, 4);
		meet(&b->run, 5);
		/* The one reader stays until its parent ends. */
		while (which == 1)
			pause();
		_exit(0);
	}
	close(gone[0]);
	close(gone[1]);
	return await_processes(b, n - 1);
}

static void report(const struct bench *b, const struct probed *before, const struct probed *after)
{
	const struct chan_shared *s = b->run.shared;
	const struct bench_case *c = b->c;
	double rate = 0, lost = 0;

	printf("%s %s before=%.1f after=%.1f step=%.3f", b->system->name, c->name, before->line_ns,
	       after->line_ns, before->step_ns > after->step_ns ? before->step_ns : after->step_ns);
	if (c->kind == STREAM || c->kind == FAN) {
		for (int i = 0; i < c->n_readers; i++) {
			rate += (double)s->reader[i].messages / (double)s->reader[i].ns * 1e9;
			lost += (double)s->reader[i].lost;
		}
		printf(" messages_per_s=%.6g bytes_per_s=%.6g lost=%.0f written=%llu",
		       rate / c->n_readers, rate / c->n_readers * (double)c->size,
		       lost / c->n_readers, (unsigned long long)s->written);
	}
	if (c->kind == WRITE_ONLY)
		printf(" among_ns=%.2f alone_before=%.2f alone_after=%.2f", s->among_ns,
		       s->alone_ns[0], s->alone_ns[1]);
	else if (s->written)
		printf(" write_ns=%.2f", (double)s->write_ns / (double)s->written);
	if (c->kind == PING)
		printf(" half_ns=%.2f", s->half_round_ns);
	if (c->kind == WAKE)
		printf(" median_us=%.3f p99_us=%.3f", s->wake_median_us, s->wake_p99_us);
	putchar('\n');
}

static int make_lanes(struct bench *b)
{
	for (int i = 0; i < 2; i++) {
		b->lanes[i] = (struct chan_lane){
			.number = i,
			.n_readers = b->c->n_readers,
			.size = b->c->size,
			.spin = b->c->kind == PING,
			.sleepy = b->c->kind == WAKE || b->c->kind == FAN,
			.dir = b->dir,
			.system = b->system->name,
		};
		if (i == 1 && b->c->kind != PING)
			continue;
		if (b->system->prepare && b->system->prepare(&b->lanes[i]) < 0)
			return -1;
	}
	return 0;
}

static int measure(struct bench *b, struct probed *ret_before, struct probed *ret_after)
{
	if (make_lanes(b) < 0 || probe(b, ret_before) < 0)
		return -1;
	if ((b->c->kind == WRITE_ONLY ? run_held(b) : run_procs(b)) < 0)
		return -1;
	return probe(b, ret_after);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

static int run_case(struct bench *b)
{
	const char *above = getenv("VEE_BENCH_DIR");
	struct probed before, after;
	int r;

	b->run.shared = mmap(NULL, sizeof(*b->run.shared), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b->run.shared == MAP_FAILED)
		return chan_fail("mmap");
	find_cpus(b);
	snprintf(b->dir, sizeof(b->dir), "%s/bench-chan.XXXXXX", above ? above : "/dev/shm");
	if (!mkdtemp(b->dir))
		return chan_fail(b->dir);
	r = measure(b, &before, &after);
	end_processes(b);
	nftw(b->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	if (r == 0)
		report(b, &before, &after);
	else if (stopped_by == SIGALRM)
		fprintf(stderr, "bench-chan: no end after %d s\n", LIMIT_S);
	return r;
}

static void catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM};
	struct sigaction action = {.sa_handler = note_signal};

	for (size_t i = 0; i < CHAN_ARRAY_SIZE(numbers); i++)
		sigaction(numbers[i], &action, NULL);
}

static int list_all(void)
{
	for (size_t i = 0; chan_systems[i]; i++) {
		printf("%s:", chan_systems[i]->name);
		for (size_t k = 0; k < CHAN_ARRAY_SIZE(cases); k++)
			if (supported(chan_systems[i], &cases[k]))
				printf(" %s", cases[k].name);
		putchar('\n');
	}
	return 0;
}

static int find_case(struct bench *b, const char *system, const char *name)
{
	for (size_t i = 0; chan_systems[i]; i++)
		if (strcmp(chan_systems[i]->name, system) == 0)
			b->system = chan_systems[i];
	for (size_t i = 0; i < CHAN_ARRAY_SIZE(cases); i++)
		if (strcmp(cases[i].name, name) == 0)
			b->c = &cases[i];
	return b->system && b->c && supported(b->system, b->c) ? 0 : -1;
}

int main(int argc, char **argv)
{
	static struct bench b;
	long ms = argc > 3 ? strtol(argv[3], NULL, 10) : 300;

	if (argc == 2 && strcmp(argv[1], "--list") == 0)
		return list_all();
	if (argc < 3 || argc > 4 || ms < 1 || find_case(&b, argv[1], argv[2]) < 0) {
		fprintf(stderr, "usage: bench-chan SYSTEM CASE [MS] | --list\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	catch_signals();
	alarm(LIMIT_S);
	b.run.measured_ns = (uint64_t)ms * 1000000;
	b.run.warm_ns = b.run.measured_ns / 5;
	if (run_case(&b) < 0)
		return stopped_by ? 128 + stopped_by : 1;
	return 0;
}
