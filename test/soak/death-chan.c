/*
 * death-chan.c - how soon a death is noticed: measured, and printed.
 *
 *	death-chan [TIMES]	200 times
 *
 * SIGKILL of the slowest reliable reader: the time from kill(2) until the write that waited for it returns. SIGKILL of the
 * writer: the time from kill(2) until a read that waited returns EOWNERDEAD. A median of more than 20 ms is a failure: then
 * only looks now and then tell of a death.
 */
#include "soak.h"

#include "vee/channel.h"

#include <stdatomic.h>

#define WATCHDOG_SECONDS 10
#define WRONG_NS	 UINT64_C(20000000)

static struct ledger {
	_Atomic uint32_t ready, blocked;
	_Atomic uint64_t end_ns;
} * ledger;

static char name[256];

static void soak_end_object(void)
{
	dprintf(2, "  ready %u, blocked %u\n", ledger->ready, ledger->blocked);
	if (getenv("SOAK_STOP"))
		pause();
	vee_channel_remove(name);
}

static int by_size(const void *a, const void *b)
{
	uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

	return (one > other) - (one < other);
}

static void show(const char *what, uint64_t *times, unsigned n)
{
	qsort(times, n, sizeof(*times), by_size);
	printf("death-chan: %s: median %llu us, least %llu, 9 of 10 below %llu, worst %llu; %u times\n",
	       what, (unsigned long long)times[n / 2] / 1000, (unsigned long long)times[0] / 1000,
	       (unsigned long long)times[n * 9 / 10] / 1000,
	       (unsigned long long)times[n - 1] / 1000, n);
	if (times[n / 2] > WRONG_NS)
		wrong("%s: only a look now and then tells", what);
}

static struct vee_channel *create(void)
{
	struct vee_channel_create_options options = {.ring_size = 65536};
	struct vee_channel *channel = vee_channel_create(name, &options);

	if (!channel)
		child_wrong("create: %s", vee_channel_error());
	return channel;
}

static struct vee_channel *open_reader(enum vee_channel_policy policy)
{
	struct vee_channel_open_options options = {.start = VEE_CHANNEL_OLDEST, .policy = policy};
	struct vee_channel *channel;

	while (!(channel = vee_channel_open(name, &options)))
		if (errno != ENOENT)
			child_wrong("open: %s", vee_channel_error());
	return channel;
}

static void __attribute__((noreturn)) write_until_free(void)
{
	struct vee_channel *channel = create();
	struct timespec at_once = {0, 0};
	char buf[1000] = {0};

	while (!ledger->ready)
		pause_us(100);
	while (vee_channel_timedwrite(channel, buf, sizeof(buf), &at_once) == 0)
		;
	ledger->blocked = 1;
	if (errno != EAGAIN || vee_channel_write(channel, buf, sizeof(buf)) < 0)
		child_wrong("write: %s", strerror(errno));
	ledger->end_ns = now_ns();
	vee_channel_close(channel);
	_exit(0);
}

static void __attribute__((noreturn)) read_until_dead(void)
{
	struct vee_channel *channel = open_reader(VEE_CHANNEL_LOSSY);
	char buf[16];

	ledger->ready = 1;
	while (vee_channel_read(channel, buf, sizeof(buf), NULL) >= 0)
		;
	if (errno != EOWNERDEAD)
		child_wrong("read: %s", strerror(errno));
	ledger->end_ns = now_ns();
	vee_channel_close(channel);
	_exit(0);
}

/* From the kill of the one to what the other notes. */
static uint64_t kill_and_measure(pid_t victim, pid_t other)
{
	uint64_t since;

	pause_us(500 + dice(3000)); /* asleep by now */
	since = now_ns();
	kill_child(victim);
	reap(other);
	reap(victim);
	return ledger->end_ns - since;
}

static uint64_t death_of_reader(void)
{
	pid_t writer = spawn(), reader;

	if (writer == 0)
		write_until_free();
	reader = spawn();
	if (reader == 0) {
		open_reader(VEE_CHANNEL_RELIABLE);
		ledger->ready = 1;
		for (;;)
			pause();
	}
	while (!ledger->blocked)
		pause_us(100);
	return kill_and_measure(reader, writer);
}

static uint64_t death_of_writer(void)
{
	pid_t writer = spawn(), reader;

	if (writer == 0) {
		create();
		ledger->blocked = 1;
		for (;;)
			pause();
	}
	reader = spawn();
	if (reader == 0)
		read_until_dead();
	/* The death of one that has not begun is none: readers wait for the first writer. */
	while (!ledger->ready || !ledger->blocked)
		pause_us(100);
	return kill_and_measure(writer, reader);
}

static void measure(const char *what, uint64_t (*once)(void))
{
	uint64_t *times = calloc(rounds, sizeof(*times));

	scene = what;
	for (unsigned i = 0; i < rounds; i++) {
		memset(ledger, 0, sizeof(*ledger));
		watch(WATCHDOG_SECONDS);
		times[i] = once();
		if (vee_channel_remove(name) < 0)
			wrong("remove: %s", vee_channel_error());
	}
	show(what, times, rounds);
	free(times);
}

int main(int argc, char **argv)
{
	char *arguments[] = {argv[0], "200", NULL};

	soak_begin(argc > 1 ? argc : 2, argc > 1 ? argv : arguments, "death-chan");
	seed = seed_of_round = seed_first;
	ledger = share(sizeof(*ledger));
	snprintf(name, sizeof(name), "%.200s/death-chan.%d",
		 getenv("VEE_DIR") ? getenv("VEE_DIR") : "/dev/shm", judge);
	measure("death of the slowest reliable reader", death_of_reader);
	measure("death of the writer", death_of_writer);
	return 0;
}
