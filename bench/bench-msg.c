/*
 * bench-msg - what messages cost, by the libc names alone
 *
 * The same binary runs on the kernel and, preloaded, on vee; bench/run alternates the two.
 *
 *     bench-msg CASE        prints `CASE ns_per_op`
 *     bench-msg --list      prints the cases
 *
 * A case is a measure (what is done) in surroundings (what else is in the namespace). An operation
 * is one call, but: msg-op-N two calls, a message of N bytes is sent and received; msg-stream-N a
 * message that one process sends and another receives; msg-ping-pong a round trip, two calls on
 * each side; msg-select two calls, of 10,000 messages the one of a certain type, or the one of the
 * lowest, is received and sent again; msg-get-rmid two calls, a new queue and its removal.
 *
 * Every message carries a number, which its receiver checks. Set-up and clean-up stay outside the
 * measured time. Each queue that is made is removed again, on a signal too: a handler only notes
 * it, every loop looks at the note. Child processes end with their parent, whatever ends it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum {
	QUEUES_MIN = 10,
	QUEUES_MAX = 30000, /* below MSGMNI, 32000 */
	PROCS_MAX = 64,
	TEXT_MAX = 8192,
	CROWD = 10000, /* messages that msg-select selects from */
	CROWD_TEXT = 64,
	TURNS = 256, /* between two looks at the clock */
	WARM_UP_NS = 10000000,
	RUN_NS = 100000000,
	PAIR_RUN_NS = 500000000, /* two processes: the scheduler brings them together and apart */
};

/* Types of messages. */
enum {
	A_PART = 1,
	THE_END, /* the last of a run of a stream: its receiver answers */
	HELLO,
};

struct message {
	long type;
	uint64_t number;
	char rest[TEXT_MAX - sizeof(uint64_t)];
};

struct bench {
	int ids[QUEUES_MAX]; /* the first are those that are operated on: there, and back */
	int n_ids;
	key_t first_key; /* the queues have keys from here upwards */
	size_t size;	 /* of texts */
	uint64_t turn;
	long old_limit; /* of msg_qbytes */
	pid_t procs[PROCS_MAX];
	int n_procs;
	int gate[2]; /* a pipe: who reads it goes on when its write end is closed */
	struct message message;
};

struct measure {
	const char *name;
	size_t size;
	int (*turns)(struct bench *b, unsigned n);
	int (*partner)(struct bench *b); /* another process that runs meanwhile, or NULL */
	int (*finish)(struct bench *b);	 /* until the partner has done its part, or NULL */
	bool alone;			 /* measured in the first surroundings only */
	bool crowd;			 /* 10,000 messages are in the queue */
};

struct surroundings {
	const char *suffix;
	int n_queues;
	int n_procs; /* each has sent a message, and idles */
};

static volatile sig_atomic_t stopped_by;

static void note_signal(int signal_number)
{
	stopped_by = signal_number;
}

static int fail(const char *call)
{
	if (!stopped_by)
		fprintf(stderr, "bench-msg: %s: %s\n", call, strerror(errno));
	return -1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- messages --- */

static inline int send_number(struct bench *b, int id, long type, uint64_t number)
{
	b->message.type = type;
	b->message.number = number;
	return msgsnd(id, &b->message, b->size, 0);
}

/* Returns the type, -1 on an error. */
static inline long receive(struct bench *b, int id, long type, uint64_t *ret_number)
{
	ssize_t n = msgrcv(id, &b->message, b->size, type, 0);

	if (n < 0)
		return -1;
	if ((size_t)n != b->size) {
		fprintf(stderr, "bench-msg: msgrcv: %zd bytes, not %zu\n", n, b->size);
		errno = EPROTO;
		return -1;
	}
	*ret_number = b->message.number;
	return b->message.type;
}

static int wrong_number(uint64_t is, uint64_t should)
{
	fprintf(stderr, "bench-msg: message %llu came, not %llu\n", (unsigned long long)is,
		(unsigned long long)should);
	return -1;
}

/* --- measures: one process --- */

static int turns_op(struct bench *b, unsigned n)
{
	uint64_t number;

	for (unsigned i = 0; i < n; i++) {
		if (send_number(b, b->ids[0], A_PART, i) < 0)
			return fail("msgsnd");
		if (receive(b, b->ids[0], 0, &number) < 0)
			return fail("msgrcv");
		if (number != i)
			return wrong_number(number, i);
	}
	return 0;
}

/* The existing keys are asked for in a scattered order, so that no cache of the last one helps. */
static int turns_get(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int which = (int)((b->turn++ * 2654435761u) % (uint64_t)b->n_ids);

		if (msgget(b->first_key + which, 0) != b->ids[which])
			return fail("msgget of an existing key");
	}
	return 0;
}

static int turns_get_rmid(struct bench *b, unsigned n)
{
	(void)b;
	for (unsigned i = 0; i < n; i++) {
		int id = msgget(IPC_PRIVATE, 0600);

		if (id < 0)
			return fail("msgget of a new queue");
		if (msgctl(id, IPC_RMID, NULL) < 0)
			return fail("IPC_RMID");
	}
	return 0;
}

static int turns_stat(struct bench *b, unsigned n)
{
	struct msqid_ds ds;

	for (unsigned i = 0; i < n; i++) {
		ds.msg_qbytes = 0;
		if (msgctl(b->ids[0], IPC_STAT, &ds) < 0)
			return fail("IPC_STAT");
		if (ds.msg_qbytes == 0) {
			fprintf(stderr, "bench-msg: IPC_STAT: msg_qbytes is 0\n");
			return -1;
		}
	}
	return 0;
}

/* --- measures: one message out of many --- */

/* The limit of msg_qbytes, read before it is set; -1 on an error. */
static long swap_limit(long limit)
{
	char old[32] = "", text[32];
	int fd = open("/proc/sys/kernel/msgmnb", O_RDWR | O_CLOEXEC);
	int size = snprintf(text, sizeof(text), "%ld", limit);
	bool done = fd >= 0 && read(fd, old, sizeof(old) - 1) > 0 && lseek(fd, 0, SEEK_SET) == 0 &&
		    write(fd, text, (size_t)size) == size;

	if (fd >= 0)
		close(fd);
	return done ? strtol(old, NULL, 10) : -1;
}

/* Queues that are made from now on can hold the crowd. Not where others would get such queues. */
static int make_room(struct bench *b)
{
	if (unshare(CLONE_NEWIPC) < 0)
		return fail("a new IPC namespace, to raise msgmnb in it");
	b->old_limit = swap_limit((long)CROWD * CROWD_TEXT);
	return b->old_limit < 0 ? fail("/proc/sys/kernel/msgmnb") : 0;
}

static int end_room(struct bench *b)
{
	return swap_limit(b->old_limit) < 0 ? fail("/proc/sys/kernel/msgmnb, cleaning up") : 0;
}

static int gather_crowd(struct bench *b)
{
	for (long type = 1; type <= CROWD; type++)
		if (send_number(b, b->ids[0], type, (uint64_t)type) < 0)
			return fail("msgsnd of the crowd");
	return 0;
}

static int select_one(struct bench *b, long wanted, long type)
{
	uint64_t number;

	if (receive(b, b->ids[0], wanted, &number) < 0)
		return fail("msgrcv of one type");
	if (number != (uint64_t)type || b->message.type != type)
		return wrong_number(number, (uint64_t)type);
	return send_number(b, b->ids[0], type, number) < 0 ? fail("msgsnd") : 0;
}

static int turns_select(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		long type = (long)((b->turn++ * 2654435761u) % CROWD) + 1;

		if (stopped_by || select_one(b, type, type) < 0)
			return -1;
	}
	return 0;
}

/* The lowest is always the last in the queue. */
static int turns_select_lowest(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (stopped_by || select_one(b, -CROWD, 1) < 0)
			return -1;
	return 0;
}

/* --- measures: two processes --- */

static bool is_removed(void)
{
	return errno == EIDRM || errno == EINVAL;
}

static int turns_stream(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (send_number(b, b->ids[0], A_PART, b->turn++) < 0)
			return fail("msgsnd");
	return 0;
}

static int finish_stream(struct bench *b)
{
	uint64_t number;

	if (send_number(b, b->ids[0], THE_END, b->turn) < 0)
		return fail("msgsnd of the end");
	if (receive(b, b->ids[1], 0, &number) < 0)
		return fail("msgrcv of the answer");
	return number == b->turn ? 0 : wrong_number(number, b->turn);
}

/* Until the queue is removed, as the other partner. */
static int partner_stream(struct bench *b)
{
	uint64_t number, expected = 0;
	long type;

	while ((type = receive(b, b->ids[0], 0, &number)) >= 0) {
		if (number != expected) {
			wrong_number(number, expected);
			return 1;
		}
		if (type == A_PART)
			expected++;
		else if (send_number(b, b->ids[1], THE_END, number) < 0)
			break;
	}
	return is_removed() ? 0 : 1;
}

static int turns_ping(struct bench *b, unsigned n)
{
	uint64_t number;

	for (unsigned i = 0; i < n; i++) {
		if (send_number(b, b->ids[0], A_PART, i) < 0)
			return fail("msgsnd");
		if (receive(b, b->ids[1], 0, &number) < 0)
			return fail("msgrcv");
		if (number != i)
			return wrong_number(number, i);
	}
	return 0;
}

static int partner_pong(struct bench *b)
{
	uint64_t number;

	while (receive(b, b->ids[0], 0, &number) >= 0 &&
	       send_number(b, b->ids[1], A_PART, number) == 0)
		;
	return is_removed() ? 0 : 1;
}

static const struct measure measures[] = {
	{"msg-op-64", 64, turns_op, NULL, NULL, false, false},
	{"msg-op-4096", 4096, turns_op, NULL, NULL, false, false},
	{"msg-get", 8, turns_get, NULL, NULL, false, false},
	{"msg-get-rmid", 8, turns_get_rmid, NULL, NULL, false, false},
	{"msg-stat", 8, turns_stat, NULL, NULL, false, false},
	{"msg-stream-64", 64, turns_stream, partner_stream, finish_stream, true, false},
	{"msg-stream-8192", 8192, turns_stream, partner_stream, finish_stream, true, false},
	{"msg-ping-pong", 64, turns_ping, partner_pong, NULL, true, false},
	{"msg-select", CROWD_TEXT, turns_select, NULL, NULL, true, true},
	{"msg-select-lowest", CROWD_TEXT, turns_select_lowest, NULL, NULL, true, true},
};

static const struct surroundings surroundings[] = {
	{"", QUEUES_MIN, 0},
	{"-30000-queues", QUEUES_MAX, 0},
	{"-64-procs", QUEUES_MIN, PROCS_MAX},
};

/* --- queues and processes --- */

/* Keys that nobody else uses: upper bits from the process, lower ones for the queue's number. */
static int make_queues(struct bench *b, int n)
{
	b->first_key = (key_t)(0x40000000u | ((uint32_t)getpid() & 0x3fffu) << 16);
	while (b->n_ids < n && !stopped_by) {
		int id = msgget(b->first_key + b->n_ids, IPC_CREAT | IPC_EXCL | 0600);

		if (id < 0)
			return fail("msgget, making the queues");
		b->ids[b->n_ids++] = id;
	}
	return stopped_by ? -1 : 0;
}

static int remove_queues(struct bench *b)
{
	int r = 0;

	while (b->n_ids > 0)
		if (msgctl(b->ids[--b->n_ids], IPC_RMID, NULL) < 0)
			r = fail("IPC_RMID, cleaning up");
	return r;
}

/* Returns the pid in the parent, 0 in the child. */
static pid_t start_process(struct bench *b)
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

static void wait_at_gate(const struct bench *b)
{
	char byte;

	while (read(b->gate[0], &byte, 1) < 0 && errno == EINTR)
		;
}

/* 0 if each ended by itself and well. */
static int end_processes(struct bench *b, bool kill_them)
{
	int r = 0;

	close(b->gate[1]);
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
		fprintf(stderr, "bench-msg: a process of the case failed\n");
	return r;
}

/* Each sends a message and idles at the gate. */
static int start_idlers(struct bench *b, int n)
{
	uint64_t number;

	for (int i = 0; i < n; i++) {
		pid_t pid = start_process(b);

		if (pid < 0)
			return -1;
		if (pid == 0) {
			if (send_number(b, b->ids[0], HELLO, (uint64_t)i) < 0)
				_exit(1);
			wait_at_gate(b);
			_exit(0);
		}
	}
	for (int i = 0; i < n; i++)
		if (receive(b, b->ids[0], HELLO, &number) < 0)
			return fail("msgrcv, waiting for the processes");
	return 0;
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
	if (m->finish && m->finish(b) < 0)
		return -1;
	*ret_ns_per_op = (double)(now_ns() - start) / (double)n;
	return 0;
}

static int set_up(struct bench *b, const struct measure *m, const struct surroundings *s)
{
	if (make_queues(b, s->n_queues) < 0 || start_idlers(b, s->n_procs) < 0)
		return -1;
	if (m->crowd && gather_crowd(b) < 0)
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
	if (m->crowd && make_room(&b) < 0)
		return -1;
	r = set_up(&b, m, s);
	if (r == 0)
		r = run_turns(&b, m, WARM_UP_NS, &ns);
	if (r == 0)
		r = run_turns(&b, m, m->partner ? PAIR_RUN_NS : RUN_NS, &ns);
	if (remove_queues(&b) < 0 || (m->crowd && end_room(&b) < 0))
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

	for (size_t s = 0; s < ARRAY_SIZE(surroundings); s++) {
		for (size_t m = 0; m < ARRAY_SIZE(measures); m++) {
			if (s > 0 && measures[m].alone)
				continue;
			snprintf(name, sizeof(name), "%s%s", measures[m].name,
				 surroundings[s].suffix);
			if (!wanted)
				puts(name);
			else if (strcmp(wanted, name) == 0)
				return run_measure(name, &measures[m], &surroundings[s]);
		}
	}
	return wanted ? 2 : 0;
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
	bool list = argc == 2 && strcmp(argv[1], "--list") == 0;
	int r = 2;

	catch_signals();
	if (argc == 2)
		r = find_and_run(list ? NULL : argv[1]);
	if (r == 2)
		fprintf(stderr, "usage: bench-msg CASE | --list\n");
	if (r < 0)
		return stopped_by ? 128 + stopped_by : 1;
	return r;
}
