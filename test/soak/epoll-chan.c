/*
 * epoll-chan.c - a reader that sleeps never misses a wake-up.
 *
 *	epoll-chan [MESSAGES [SEED]]	300000 messages, a seed from the clock
 *
 * One process writes, at once, after a yield, or after up to some hundred us; another one reads all there is, and sleeps: half of the
 * messages in epoll_wait(2), for ever, the other half in vee_channel_read(). Both, in turns, with a second reader that sleeps too, of
 * the same desk. The writer notes when each write has returned.
 *
 * In epoll_wait a wake-up is missed if the process is asleep while a message is there, and that for a second: a thread
 * watches. In vee_channel_read() the library looks again after 100 ms, whatever happens; so its call of the kernel is watched from the
 * inside (it is linked with --wrap): that a wait ends by its time although the write of the next message had returned before that
 * time, that is a wake-up missed, however busy the machine.
 *
 * Then idleness: 3 seconds of it cost less than 10 ms of processor time and, in epoll_wait, not one switch.
 */
#include "soak.h"

#include "base/os.h"
#include "vee/channel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define WATCHDOG_SECONDS 60
#define TIMES		 (1u << 20)
#define MISSED_NS	 UINT64_C(1000000000)
#define IDLE_NS		 UINT64_C(3000000000)
#define IDLE_CPU_NS	 UINT64_C(10000000)
#define REPORT_NS	 UINT64_C(15000000000)
#define READERS		 2
#define BUCKETS		 24

/* Shared by all. */
static struct ledger {
	_Atomic uint64_t sent; /* these writes have returned */
	_Atomic uint64_t
		idle; /* the writer says nothing after so many until all are asleep, and then for a while */
	_Atomic uint64_t done[TIMES]; /* when, by number */
	struct {
		_Atomic uint64_t next, sleeps; /* odd: in epoll_wait */
		_Atomic uint64_t waits, retries, missed;
		_Atomic uint64_t slept[BUCKETS]; /* by how late it was, powers of two of us */
		_Atomic uint64_t worst_ns;
		_Atomic uint32_t is_idle;
	} readers[READERS];
} * ledger;

static char name[256];
static unsigned me;
static bool by_epoll;
static uint64_t messages;

static void soak_end_object(void)
{
	if (ledger)
		dprintf(2, "  sent %llu; the readers are at %llu and %llu\n",
			(unsigned long long)ledger->sent,
			(unsigned long long)ledger->readers[0].next,
			(unsigned long long)ledger->readers[1].next);
	if (getenv("SOAK_STOP"))
		pause();
	if (name[0])
		vee_channel_remove(name);
}

/* --- the library's sleeps --- */

int __real_os_futex_waitv(struct os_futex *list, unsigned n, uint64_t until);
int __real_os_futex_wait(uint32_t *word, uint32_t expected, uint64_t until);

/* A reader's sleep has ended by its time: had the next message been written before, and everybody been woken? */
static void look_for_missed(int ret, uint64_t until)
{
	uint64_t next = ledger->readers[me].next;

	ledger->readers[me].waits++;
	if (ret != -ETIMEDOUT)
		return;
	ledger->readers[me].retries++;
	if (ledger->sent < next || ledger->sent >= next + TIMES ||
	    ledger->done[next % TIMES] >= until)
		return;
	ledger->readers[me].missed++;
	dprintf(2,
		"epoll-chan: message %llu: its write returned %llu us before the wait ended by its time\n",
		(unsigned long long)next,
		(unsigned long long)(until - ledger->done[next % TIMES]) / 1000);
}

int __wrap_os_futex_waitv(struct os_futex *list, unsigned n, uint64_t until)
{
	int ret = __real_os_futex_waitv(list, n, until);

	look_for_missed(ret, until);
	return ret;
}

int __wrap_os_futex_wait(uint32_t *word, uint32_t expected, uint64_t until)
{
	int ret = __real_os_futex_wait(word, expected, until);

	look_for_missed(ret, until);
	return ret;
}

/* --- the writer --- */

static void take_a_break(uint64_t seq)
{
	static unsigned burst, manner;

	if (burst == 0) {
		burst = 1 + dice(3000);
		manner = dice(8);
	}
	burst--;
	switch (manner) {
	case 0:
		if (seq % 8 == 0)
			pause_us(dice(300));
		break;
	case 1:
		spin_us(dice(dice(4) ? 5 : 60));
		break;
	case 2:
		if (dice(4) == 0)
			sched_yield();
		break;
	case 3: /* about as long as a reader looks before it sleeps */
		if (dice(3) == 0)
			spin_us(15 + dice(20));
		break;
	default: /* bursts */
		if (dice(200) == 0)
			spin_us(dice(400));
	}
}

static void write_one(struct vee_channel *channel, uint64_t seq)
{
	uint64_t numbers[2] = {seq, now_ns()};

	if (vee_channel_write(channel, numbers, sizeof(numbers)) < 0)
		child_wrong("write: %s", strerror(errno));
	ledger->done[seq % TIMES] = now_ns();
	ledger->sent = seq;
}

static void __attribute__((noreturn)) run_writer(void)
{
	struct vee_channel *channel = vee_channel_create(name, NULL);

	me = READERS; /* its sleeps are no reader's */
	if (!channel)
		child_wrong("create: %s", vee_channel_error());
	while (!ledger->readers[0].next || !ledger->readers[1].next)
		pause_us(100);
	for (uint64_t seq = 1; seq <= messages; seq++) {
		if (seq == ledger->idle)
			while (!ledger->readers[0].is_idle || !ledger->readers[1].is_idle)
				pause_us(1000);
		if (seq == ledger->idle)
			pause_us(IDLE_NS / 1000);
		write_one(channel, seq);
		take_a_break(seq);
	}
	/* Nobody is to hear of the end before it slept for the last one. */
	while (ledger->readers[0].next <= messages || ledger->readers[1].next <= messages)
		pause_us(1000);
	vee_channel_close(channel);
	_exit(0);
}

/* --- the readers --- */

static void *watch_sleep(void *unused)
{
	uint64_t seen = 0, since = 0;

	for (;;) {
		uint64_t sleeps = ledger->readers[me].sleeps;
		bool there = ledger->sent >= ledger->readers[me].next;

		if (sleeps % 2 == 0 || !there || sleeps != seen) {
			seen = sleeps;
			since = now_ns();
		} else if (now_ns() - since > MISSED_NS) {
			child_wrong("reader %u sleeps in epoll_wait, and message %llu is there", me,
				    (unsigned long long)ledger->readers[me].next);
		}
		pause_us(50000);
	}
	return unused;
}

static struct rusage usage(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage;
}

static uint64_t cpu_ns(const struct rusage *usage)
{
	return (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * UINT64_C(1000000000) +
	       (usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * UINT64_C(1000);
}

static void check_idle(const struct rusage *before, uint64_t slept_ns)
{
	struct rusage after = usage();
	uint64_t cpu = cpu_ns(&after) - cpu_ns(before);
	long switches = after.ru_nvcsw - before->ru_nvcsw;

	printf("epoll-chan: %llu ms idle %s: %llu us of processor time, %ld switches\n",
	       (unsigned long long)slept_ns / 1000000,
	       by_epoll ? "in epoll_wait" : "in vee_channel_read", (unsigned long long)cpu / 1000,
	       switches);
	if (slept_ns < IDLE_NS / 2)
		child_wrong("it was not idle");
	if (cpu > IDLE_CPU_NS)
		child_wrong("idle, it took %llu us of processor time",
			    (unsigned long long)cpu / 1000);
	/* The library looks again each 100 ms; and two to get there. */
	if (switches > (by_epoll ? 4 : (long)(slept_ns / 100000000) + 10))
		child_wrong("idle, it was woken %ld times", switches);
}

static void note_late(uint64_t late_ns)
{
	unsigned bucket = 0;

	while (bucket < BUCKETS - 1 && late_ns >> bucket >= 1000)
		bucket++;
	ledger->readers[me].slept[bucket]++;
	if (late_ns > ledger->readers[me].worst_ns)
		ledger->readers[me].worst_ns = late_ns;
}

/* One message, if need be after a sleep. */
static void take(struct vee_channel *channel, int epoll)
{
	static const struct timespec at_once = {0, 0};
	struct vee_channel_message message;
	uint64_t numbers[2], waits = ledger->readers[me].waits;
	ssize_t n = vee_channel_timedread(channel, numbers, sizeof(numbers), &message,
					  by_epoll ? &at_once : NULL);

	if (n < 0 && errno == EAGAIN && by_epoll) {
		struct epoll_event event;

		ledger->readers[me].sleeps++;
		while (epoll_wait(epoll, &event, 1, -1) != 1)
			if (errno != EINTR)
				child_wrong("epoll_wait: %s", strerror(errno));
		ledger->readers[me].sleeps++;
		n = vee_channel_timedread(channel, numbers, sizeof(numbers), &message, &at_once);
		waits = UINT64_MAX;
		if (n < 0 && errno == EAGAIN) /* woken for nothing: allowed, and rare */
			return;
	}
	if (n != sizeof(numbers) || numbers[0] != message.sequence)
		child_wrong("read at %llu: %zd, %s", (unsigned long long)ledger->readers[me].next,
			    n, strerror(errno));
	if (message.sequence != ledger->readers[me].next + message.lost)
		child_wrong("message %llu with %llu lost, after %llu",
			    (unsigned long long)message.sequence, (unsigned long long)message.lost,
			    (unsigned long long)ledger->readers[me].next - 1);
	ledger->readers[me].next = message.sequence + 1;
	if (waits != ledger->readers[me].waits)
		note_late(now_ns() - numbers[1]);
}

static void __attribute__((noreturn)) run_reader(void)
{
	struct vee_channel *channel;
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(0);
	pthread_t thread;

	while (!(channel = vee_channel_open(name, NULL)))
		if (errno != ENOENT)
			child_wrong("open: %s", vee_channel_error());
	if (by_epoll && epoll_ctl(epoll, EPOLL_CTL_ADD, vee_channel_poll_fd(channel), &event) < 0)
		child_wrong("poll_fd: %s", strerror(errno));
	if (by_epoll && pthread_create(&thread, NULL, watch_sleep, NULL))
		child_wrong("pthread_create");
	ledger->readers[me].next = 1;
	while (ledger->readers[me].next <= messages) {
		struct rusage before;
		uint64_t since;

		if (ledger->readers[me].next != ledger->idle) {
			take(channel, epoll);
			continue;
		}
		before = usage();
		since = now_ns();
		ledger->readers[me].is_idle = 1;
		while (ledger->readers[me].next == ledger->idle)
			take(channel, epoll);
		check_idle(&before, now_ns() - since);
	}
	if (ledger->readers[me].missed)
		child_wrong("%llu wake-ups were missed",
			    (unsigned long long)ledger->readers[me].missed);
	vee_channel_close(channel);
	_exit(0);
}

/* --- the judge --- */

static void show_lateness(void)
{
	printf("epoll-chan: %s: messages that a reader slept for, by the time from before the write to after the read:\n ",
	       by_epoll ? "in epoll_wait" : "in vee_channel_read");
	for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
		uint64_t n = ledger->readers[0].slept[bucket] + ledger->readers[1].slept[bucket];

		if (n)
			printf(" <%u us: %llu", 1u << bucket, (unsigned long long)n);
	}
	printf("; the worst %llu us; %llu waits ended by their time, none of them late\n",
	       (unsigned long long)(ledger->readers[0].worst_ns > ledger->readers[1].worst_ns ?
					    ledger->readers[0].worst_ns :
					    ledger->readers[1].worst_ns) /
		       1000,
	       (unsigned long long)(ledger->readers[0].retries + ledger->readers[1].retries));
}

static void await_all(pid_t *children)
{
	uint64_t reported = now_ns(), moved = now_ns(), last = 0;
	unsigned left = READERS + 1;

	while (left) {
		pid_t pid;
		int status;

		for (unsigned i = 0; i <= READERS; i++) {
			pid = children[i] ? waitpid(children[i], &status, WNOHANG) : 0;
			if (pid <= 0)
				continue;
			children[i] = 0;
			left--;
			if (status)
				wrong("process %d ended with status 0x%x", pid, status);
		}
		pause_us(10000);
		if (ledger->sent != last)
			moved = now_ns();
		last = ledger->sent;
		if (now_ns() - moved < UINT64_C(10000000000))
			watch(WATCHDOG_SECONDS);
		if (now_ns() - reported < REPORT_NS)
			continue;
		reported = now_ns();
		printf("epoll-chan: %s: %llu of %llu messages\n",
		       by_epoll ? "in epoll_wait" : "in vee_channel_read", (unsigned long long)last,
		       (unsigned long long)messages);
	}
}

static void play(bool epoll, uint64_t n)
{
	pid_t children[READERS + 1];

	by_epoll = epoll;
	messages = n;
	scene = epoll ? "in epoll_wait" : "in vee_channel_read";
	memset(ledger, 0, sizeof(*ledger));
	ledger->idle = messages / 2;
	watch(WATCHDOG_SECONDS);
	for (me = 0; me <= READERS; me++) {
		children[me] = spawn();
		if (children[me] == 0 && me < READERS)
			run_reader();
		if (children[me] == 0)
			run_writer();
	}
	await_all(children);
	show_lateness();
	if (vee_channel_remove(name) < 0)
		wrong("remove: %s", vee_channel_error());
}

int main(int argc, char **argv)
{
	uint64_t all = argc > 1 ? strtoull(argv[1], NULL, 10) : 300000;

	soak_name = "epoll-chan";
	judge = getpid();
	seed = seed_of_round = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) :
					  (unsigned)time(NULL) ^ (unsigned)judge;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("epoll-chan: %llu messages, seed %u\n", (unsigned long long)all, seed);
	ledger = share(sizeof(*ledger));
	snprintf(name, sizeof(name), "%.200s/epoll-chan.%d",
		 getenv("VEE_DIR") ? getenv("VEE_DIR") : "/dev/shm", judge);
	play(true, all / 2);
	play(false, all / 2);
	return 0;
}
