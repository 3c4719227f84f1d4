/*
 * soak-chan.c - a channel whose writer and readers are killed at any instant.
 *
 *	soak-chan [SECONDS [SEED]]	10 seconds, a seed from the clock
 *
 * One writer and nine readers, each of its own kind, all killed and started again at random, one by one and several at once, also
 * while they open, take over or close. What is proved: no message is torn, doubled, or out of order; for each reader, what it
 * received and what it was told that it lost is all that was sent, exactly; a reliable reader loses nothing while it lives; who is told
 * that nothing is there has read all that a writer had written before; a round ends, so nobody sleeps for good; the
 * channel's files are sound then, and nothing is left once it is removed.
 *
 * How a message is known. Its size and each byte follow from its number and its writer's epoch: one that a dead writer
 * has begun and the next one has written anew is another. A reader says after each message how far it is, in a record that is
 * replaced as a whole, so that a kill loses nothing; its next life goes on there. If that message is not kept any more, it
 * starts with the oldest, and counts what it has missed.
 */
#include "soak.h"

#include "chan/report.h"
#include "vee/channel.h"

#include <dirent.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#define WATCHDOG_SECONDS 60
#define BATCH		 16
#define ROUND_LEAST_NS	 UINT64_C(500000000)
#define ROUND_DICE_MS	 2500u
#define REPORT_NS	 UINT64_C(15000000000)
#define CLOCK_STEP_NS	 INT64_C(60000000000)

enum how {
	HOW_READ = 0,
	HOW_PEEK,
	HOW_POLL,
	HOW_EPOLL, /* waits in epoll, reads or peeks until EAGAIN */
};

struct kind {
	const char *name;
	enum vee_channel_policy policy;
	enum vee_channel_stall stall;
	bool slow, follow;
	enum how how;
};

static const struct kind kinds[] = {
	{"lossy", VEE_CHANNEL_LOSSY, 0, false, false, HOW_READ},
	{"lossy, slow", VEE_CHANNEL_LOSSY, 0, true, false, HOW_READ},
	{"lossy, in place", VEE_CHANNEL_LOSSY, 0, false, false, HOW_PEEK},
	{"lossy, polling", VEE_CHANNEL_LOSSY, 0, false, false, HOW_POLL},
	{"lossy, epoll", VEE_CHANNEL_LOSSY, 0, false, false, HOW_EPOLL},
	{"follow", VEE_CHANNEL_LOSSY, 0, false, true, HOW_READ},
	{"reliable", VEE_CHANNEL_RELIABLE, VEE_CHANNEL_STALL_WAIT, false, false, HOW_READ},
	{"reliable, slow, in place", VEE_CHANNEL_RELIABLE, VEE_CHANNEL_STALL_WAIT, true, false,
	 HOW_PEEK},
	{"reliable, dropped", VEE_CHANNEL_RELIABLE, VEE_CHANNEL_STALL_DROP, true, true, HOW_EPOLL},
};
#define READERS ARRAY_SIZE(kinds)
#define WRITER	READERS /* the last of the children */

struct record {
	uint64_t next; /* all below is accounted for */
	uint64_t received, lost, missed;
	uint32_t epoch;
};

struct reader {
	struct record records[2];
	_Atomic uint32_t which;
	_Atomic uint32_t done;
	_Atomic uint32_t absent; /* in this round */
	_Atomic uint64_t lives, ends, unsound;
};

/* Shared by all. */
static struct ledger {
	_Atomic uint64_t begun; /* numbers up to this may have been sent */
	_Atomic uint64_t sent;	/* numbers up to this have been */
	_Atomic uint32_t stop;	/* the writer is to close the channel, and to end */
	_Atomic uint64_t last;	/* + 1: it has closed it after this one */
	struct reader readers[READERS];
} * ledger;

static char folder[64], name[80];
static size_t ring_size;
static uint64_t round_salt;
static int64_t round_time;
static unsigned round_pace; /* between two kills, us at most */
static pid_t children[READERS + 1];

/* Over all rounds. */
static struct {
	uint64_t sent, kills, writers, received[READERS], lost[READERS], missed[READERS];
} sum;

static void empty_folder(void)
{
	char command[128];

	if (!folder[0])
		return;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	if (system(command) != 0)
		dprintf(2, "  %s stays\n", folder);
}

static void soak_end_object(void)
{
	struct chan_report report;

	for (unsigned i = 0; i < READERS; i++) {
		const struct reader *reader = &ledger->readers[i];
		const struct record *record = &reader->records[reader->which];

		dprintf(2,
			"  %s (%d): next %llu, %llu received, %llu lost, %llu missed, epoch %u, %llu lives%s\n",
			kinds[i].name, children[i], (unsigned long long)record->next,
			(unsigned long long)record->received, (unsigned long long)record->lost,
			(unsigned long long)record->missed, record->epoch,
			(unsigned long long)reader->lives, reader->done ? ", done" : "");
	}
	dprintf(2, "  sent %llu, begun %llu, last %lld, stop %u; the writer is %d; ring %zu\n",
		(unsigned long long)ledger->sent, (unsigned long long)ledger->begun,
		(long long)ledger->last - 1, ledger->stop, children[WRITER], ring_size);
	if (chan_report(name, &report) == 0)
		dprintf(2, "  written %llu, oldest %llu, epoch %u, writer %d %s\n",
			(unsigned long long)report.written, (unsigned long long)report.oldest,
			report.epoch, report.writer_pid,
			report.closed	    ? "has closed it" :
			report.writer_lives ? "lives" :
					      "is dead");
	if (getenv("SOAK_STOP")) {
		dprintf(2, "  waiting for a debugger\n");
		pause();
	}
	empty_folder();
}

/* --- messages --- */

static uint64_t mix(uint64_t value)
{
	value ^= value >> 33;
	value *= UINT64_C(0xff51afd7ed558ccd);
	value ^= value >> 29;
	value *= UINT64_C(0xc4ceb9fe1a85ec53);
	return value ^ value >> 32;
}

static uint64_t message_base(uint64_t seq, uint32_t epoch)
{
	uint64_t base = mix(round_salt ^ mix(seq * 0x10001 + epoch));

	if (base % 4 == 0)
		base = (seq + (base >> 8) % 512) % (UINT64_C(1) << 32) * 4 | base << 34;
	return base;
}

static size_t message_size(uint64_t seq, uint32_t epoch)
{
	uint64_t base = mix(message_base(seq, epoch) + 1);
	size_t most = ring_size / 4 - 16;

	switch (base % 32) {
	case 0:
		return (base >> 8) % (most + 1);
	case 1:
		return most - (base >> 8) % 70;
	case 2:
	case 3:
	case 4:
		return (base >> 8) % 5000 % most;
	case 5:
	case 6:
	case 7:
		return 0;
	default:
		return (base >> 8) % 200;
	}
}

/* Some messages are made of words as they are before messages of the next lap (doc/CHANNEL.md): none may be taken for one. */
static uint64_t message_word(uint64_t base, size_t i)
{
	uint64_t word = base + i * UINT64_C(0x9e3779b97f4a7c15);

	return base % 4 ? word :
			  (base / 4 + i / 64 / (1 + (base >> 34) % 16)) << 32 | (word & 0x6000003f);
}

static void fill(void *at, size_t size, uint64_t base)
{
	char *to = at;
	uint64_t word;
	size_t i;

	for (i = 0; i + 8 <= size; i += 8) {
		word = message_word(base, i);
		memcpy(to + i, &word, 8);
	}
	word = message_word(base, i);
	memcpy(to + i, &word, size - i);
}

/* The first byte that is wrong; `size` if none. */
static size_t find_torn(const void *at, size_t size, uint64_t base)
{
	const char *from = at;
	uint64_t word;
	size_t i;

	for (i = 0; i + 8 <= size; i += 8) {
		word = message_word(base, i);
		if (memcmp(from + i, &word, 8))
			return i;
	}
	word = message_word(base, i);
	return memcmp(from + i, &word, size - i) ? i : size;
}

static int64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* --- the writer --- */

static struct vee_channel *take_over(void)
{
	static const unsigned stamps[] = {0, 1, 16, 1024};
	struct vee_channel_create_options options = {.ring_size = ring_size,
						     .stamp_every = stamps[dice(4)]};
	struct vee_channel *channel;

	/* The one before may not be dead yet. */
	while (!(channel = vee_channel_create(name, &options))) {
		if (errno != EBUSY)
			child_wrong("create: %s: %s", strerror(errno), vee_channel_error());
		pause_us(100);
	}
	return channel;
}

static void write_copy(struct vee_channel *channel, const void *data, size_t size)
{
	struct timespec timeout = {0, dice(2) ? 0 : dice(300000)};
	int ret = -1;

	if (dice(4) == 0)
		while ((ret = vee_channel_timedwrite(channel, data, size, &timeout)) < 0 &&
		       errno == EAGAIN && dice(50))
			;
	if (ret < 0 && vee_channel_write(channel, data, size) < 0)
		child_wrong("write of %zu bytes: %s", size, strerror(errno));
}

static void write_in_place(struct vee_channel *channel, uint64_t seq, size_t size, uint64_t base)
{
	size_t most = ring_size / 4 - 16, more = size + dice(2000), junk = dice(most);
	void *at;

	if (more > most)
		more = most;
	/* What is not committed leaves no trace. */
	if (dice(4) == 0) {
		at = vee_channel_reserve(channel, junk, NULL);
		if (!at)
			child_wrong("reserve: %s", strerror(errno));
		fill(at, junk, (seq + dice(4)) * 4);
		if (dice(2))
			vee_channel_abort(channel);
	}
	at = vee_channel_reserve(channel, more, NULL);
	if (!at)
		child_wrong("reserve of %zu bytes: %s", more, strerror(errno));
	fill(at, more, dice(2) ? (seq + dice(4)) * 4 : base);
	fill(at, size, base);
	if (vee_channel_commit(channel, size) < 0)
		child_wrong("commit of %zu bytes: %s", size, strerror(errno));
}

static void take_a_break(void)
{
	if (dice(40))
		return;
	switch (dice(12)) {
	case 0:
		pause_us(dice(2000));
		return;
	case 1:
		spin_us(dice(100));
		return;
	default:
		sched_yield();
	}
}

static void write_one(struct vee_channel *channel, uint64_t seq, uint32_t epoch, void *buf)
{
	uint64_t base = message_base(seq, epoch);
	size_t size = message_size(seq, epoch);

	ledger->begun = seq;
	if (dice(4) == 0) {
		write_in_place(channel, seq, size, base);
	} else {
		fill(buf, size, base);
		write_copy(channel, buf, size);
	}
	ledger->sent = seq;
}

static struct vee_channel_stat stat_of(struct vee_channel *channel)
{
	struct vee_channel_stat stat;

	if (vee_channel_stat(channel, &stat) < 0)
		child_wrong("stat: %s", strerror(errno));
	return stat;
}

static void __attribute__((noreturn)) run_writer(void)
{
	struct vee_channel *channel = take_over();
	struct vee_channel_stat stat = stat_of(channel);
	void *buf = malloc(ring_size);
	uint64_t seq = stat.written, left = dice(3) ? UINT64_MAX : dice(3000);

	if (stat.written < ledger->sent || stat.written > ledger->begun)
		child_wrong("%llu were written, of which %llu were sent, and %llu begun",
			    (unsigned long long)stat.written, (unsigned long long)ledger->sent,
			    (unsigned long long)ledger->begun);
	if (stat.writer_pid != getpid())
		child_wrong("stat: the writer is %d", stat.writer_pid);
	ledger->sent = seq;
	for (; left && !ledger->stop; left--) {
		write_one(channel, ++seq, stat.epoch, buf);
		take_a_break();
	}
	stat = stat_of(channel);
	if (stat.written != seq)
		child_wrong("%llu were written, stat says %llu", (unsigned long long)seq,
			    (unsigned long long)stat.written);
	vee_channel_close(channel);
	if (ledger->stop)
		ledger->last = seq + 1;
	_exit(0);
}

/* --- readers --- */

struct life {
	const struct kind *kind;
	struct reader *reader;
	struct record at;
	struct vee_channel *channel;
	uint64_t received, lost; /* in this life */
	bool dropped;		 /* a reliable one may have been */
	char *buf;
};

static void note(struct life *life)
{
	struct reader *reader = life->reader;
	uint32_t other = !reader->which;

	reader->records[other] = life->at;
	reader->which = other;
}

static void check_message(struct life *life, const struct vee_channel_message *message)
{
	uint64_t base = message_base(message->sequence, message->epoch);
	size_t torn;

	if (message->sequence != life->at.next + message->lost)
		child_wrong("%s: message %llu, with %llu lost, where %llu was to come",
			    life->kind->name, (unsigned long long)message->sequence,
			    (unsigned long long)message->lost, (unsigned long long)life->at.next);
	if (message->lost && !life->dropped && life->kind->policy == VEE_CHANNEL_RELIABLE)
		child_wrong("%s: %llu were lost before %llu", life->kind->name,
			    (unsigned long long)message->lost,
			    (unsigned long long)message->sequence);
	if (message->epoch < life->at.epoch || message->epoch == 0)
		child_wrong("%s: message %llu: epoch %u after %u", life->kind->name,
			    (unsigned long long)message->sequence, message->epoch, life->at.epoch);
	if (message->size != message_size(message->sequence, message->epoch))
		child_wrong("%s: message %llu of epoch %u: %zu bytes, not %zu", life->kind->name,
			    (unsigned long long)message->sequence, message->epoch, message->size,
			    message_size(message->sequence, message->epoch));
	torn = find_torn(message->data, message->size, base);
	if (torn != message->size)
		child_wrong("%s: message %llu of epoch %u is torn at byte %zu of %zu",
			    life->kind->name, (unsigned long long)message->sequence, message->epoch,
			    torn, message->size);
	if (message->time_ns < round_time - CLOCK_STEP_NS ||
	    message->time_ns > clock_ns() + CLOCK_STEP_NS)
		child_wrong("%s: message %llu is of the time %lld", life->kind->name,
			    (unsigned long long)message->sequence, (long long)message->time_ns);
}

static void take(struct life *life, uint64_t received, uint64_t lost, uint32_t epoch)
{
	life->received += received;
	life->lost += lost;
	life->at.received += received;
	life->at.lost += lost;
	life->at.next += received + lost;
	life->at.epoch = epoch;
	note(life);
}

/* The ways to look for the next: the return is that of the call. */

static int read_copy(struct life *life, const struct timespec *timeout)
{
	struct vee_channel_message message;
	size_t room = dice(8) ? ring_size : 100;
	ssize_t n = vee_channel_timedread(life->channel, life->buf, room, &message, timeout);

	if (n < 0 && errno == EMSGSIZE) {
		if (message.size <= room)
			child_wrong("%s: EMSGSIZE for %zu bytes in %zu", life->kind->name,
				    message.size, room);
		n = vee_channel_timedread(life->channel, life->buf, ring_size, &message, timeout);
		/* A lossy one may have lost it meanwhile, and all that came after. */
	}
	if (n < 0)
		return -1;
	if ((size_t)n != message.size || message.data != life->buf)
		child_wrong("%s: read returned %zd for %zu bytes", life->kind->name, n,
			    message.size);
	check_message(life, &message);
	take(life, 1, message.lost, message.epoch);
	return 0;
}

/* What is looked at may be overwritten: only what the release calls sound must be. */
static int read_in_place(struct life *life, const struct timespec *timeout)
{
	struct vee_channel_message messages[BATCH];
	uint64_t bases[BATCH];
	size_t torn[BATCH];
	unsigned most = 1 + dice(BATCH);
	int n = vee_channel_peek(life->channel, messages, most, timeout), unsound;

	if (n < 0)
		return -1;
	if (n < 1 || n > (int)most)
		child_wrong("%s: peek of %u returned %d", life->kind->name, most, n);
	for (int i = 0; i < n; i++) {
		bases[i] = message_base(messages[i].sequence, messages[i].epoch);
		torn[i] = find_torn(messages[i].data, messages[i].size, bases[i]);
	}
	if (life->kind->slow && dice(20) == 0)
		pause_us(dice(1500));
	if (dice(30) == 0) { /* nothing released: the same, if it is not lost */
		struct vee_channel_message again;

		if (vee_channel_peek(life->channel, &again, 1, timeout) != 1)
			return -1;
		if (again.sequence < messages[0].sequence)
			child_wrong("%s: another peek went back", life->kind->name);
		return 0;
	}
	unsound = vee_channel_release(life->channel);
	if (unsound < 0 || unsound > n)
		child_wrong("%s: release of %d returned %d: %s", life->kind->name, n, unsound,
			    strerror(errno));
	if (unsound && life->kind->policy == VEE_CHANNEL_RELIABLE && !life->dropped)
		child_wrong("%s: %d of %d were overwritten", life->kind->name, unsound, n);
	for (int i = 0; i < n; i++) {
		if (i && (messages[i].lost ||
			  messages[i].sequence != messages[0].sequence + (unsigned)i))
			child_wrong("%s: peek: message %llu with %llu lost is the %dth from %llu",
				    life->kind->name, (unsigned long long)messages[i].sequence,
				    (unsigned long long)messages[i].lost, i,
				    (unsigned long long)messages[0].sequence);
		if (i >= unsound && torn[i] != messages[i].size)
			child_wrong("%s: message %llu of epoch %u is torn at byte %zu of %zu, in "
				    "place, %d of %d, %d unsound",
				    life->kind->name, (unsigned long long)messages[i].sequence,
				    messages[i].epoch, torn[i], messages[i].size, i, n, unsound);
	}
	life->reader->unsound += (unsigned)unsound;
	/* Numbers, sizes and epochs are right even of those that were overwritten. */
	for (int i = 0; i < n; i++) {
		struct vee_channel_message message = messages[i];

		if (i == 0)
			message.lost = messages[0].lost;
		fill(life->buf, message.size, bases[i]);
		message.data = life->buf;
		check_message(life, &message);
		take(life, i >= unsound, message.lost + (i < unsound), message.epoch);
	}
	return 0;
}

static int read_next(struct life *life, const struct timespec *timeout)
{
	bool in_place = life->kind->how == HOW_PEEK || (life->kind->how != HOW_READ && dice(2));

	return in_place ? read_in_place(life, timeout) : read_copy(life, timeout);
}

static bool is_through(const struct life *life)
{
	return ledger->last && life->at.next == ledger->last;
}

/* Sums of this life, as the library counts them. */
static void check_life(struct life *life)
{
	struct vee_channel_stat stat = stat_of(life->channel);

	if (stat.received != life->received || stat.lost < life->lost ||
	    stat.next != life->at.next + (stat.lost - life->lost))
		child_wrong(
			"%s: stat: next %llu, %llu received, %llu lost; and not %llu, %llu, %llu",
			life->kind->name, (unsigned long long)stat.next,
			(unsigned long long)stat.received, (unsigned long long)stat.lost,
			(unsigned long long)life->at.next, (unsigned long long)life->received,
			(unsigned long long)life->lost);
}

static void __attribute__((noreturn)) end_life(struct life *life)
{
	check_life(life);
	vee_channel_close(life->channel);
	if (is_through(life))
		life->reader->done = 1;
	_exit(0);
}

static void open_reader(struct life *life)
{
	static const int64_t stalls[] = {100000, 1000000, 5000000};
	struct vee_channel_open_options options = {
		.start = VEE_CHANNEL_SEQUENCE,
		.sequence = life->at.next,
		.policy = life->kind->policy,
		.stall = life->kind->stall,
		.stall_ns = life->kind->stall == VEE_CHANNEL_STALL_DROP ? stalls[dice(3)] : 0,
		.flags = life->kind->follow ? VEE_CHANNEL_FOLLOW : 0};
	uint64_t next;

again:
	life->dropped = options.stall == VEE_CHANNEL_STALL_DROP;
	while (!(life->channel = vee_channel_open(name, &options))) {
		if (errno == ERANGE && options.start == VEE_CHANNEL_SEQUENCE)
			options.start = VEE_CHANNEL_OLDEST;
		else if (errno == ENOENT) /* the first writer has not made it yet */
			pause_us(200);
		else
			child_wrong("%s: open at %llu: %s: %s", life->kind->name,
				    (unsigned long long)life->at.next, strerror(errno),
				    vee_channel_error());
	}
	next = stat_of(life->channel).next;
	if (options.start == VEE_CHANNEL_SEQUENCE)
		return;
	/* A writer that waited for room, and so let no other wait for it below, waits no longer. */
	if (next <= life->at.next && options.policy == VEE_CHANNEL_RELIABLE) {
		vee_channel_close(life->channel);
		options.start = VEE_CHANNEL_SEQUENCE;
		goto again;
	}
	if (next <= life->at.next)
		child_wrong("%s: %llu was out of range, and the oldest is %llu", life->kind->name,
			    (unsigned long long)life->at.next, (unsigned long long)next);
	life->at.missed += next - life->at.next;
	life->at.next = next;
	note(life);
}

/*
 * Who hears of an end, or that there is nothing, has read all that had been sent when it asked. What it lost last, it is told with
 * the next message; if none comes any more, by vee_channel_stat().
 */
static void must_be_all(struct life *life, uint64_t sent, const char *why)
{
	uint64_t next = life->at.next;

	if (next <= sent || ledger->last)
		next = stat_of(life->channel).next;
	if (next <= sent)
		child_wrong("%s: %s before message %llu, and %llu have been sent", life->kind->name,
			    why, (unsigned long long)next, (unsigned long long)sent);
	if (next == ledger->last && next > life->at.next)
		take(life, 0, next - life->at.next, life->at.epoch);
}

static void await(struct life *life, int epoll)
{
	struct epoll_event event;
	uint64_t sent = ledger->sent;
	int n = epoll_wait(epoll, &event, 1, 0);

	if (n == 0) {
		must_be_all(life, sent, "not readable");
		/* A FOLLOW reader is not told of the end of the round. */
		n = epoll_wait(epoll, &event, 1, life->kind->follow ? 500 : -1);
	}
	if (n < 0)
		child_wrong("epoll_wait: %s", strerror(errno));
}

static int make_epoll(struct life *life)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(0), fd = vee_channel_poll_fd(life->channel);

	if (fd < 0)
		child_wrong("%s: poll_fd: %s", life->kind->name, strerror(errno));
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		child_wrong("epoll: %s", strerror(errno));
	return epoll;
}

static void __attribute__((noreturn)) run_reader(unsigned me)
{
	static const struct timespec at_once = {0, 0}, half_a_second = {0, 500000000};
	struct reader *reader = &ledger->readers[me];
	struct life life = {.kind = &kinds[me],
			    .reader = reader,
			    .at = reader->records[reader->which],
			    .buf = malloc(ring_size)};
	bool waits = life.kind->how == HOW_READ || life.kind->how == HOW_PEEK;
	const struct timespec *timeout = !waits		   ? &at_once :
					 life.kind->follow ? &half_a_second :
							     NULL;
	uint64_t left = dice(4) ? UINT64_MAX : dice(5000);
	int epoll = -1;

	reader->lives++;
	open_reader(&life);
	if (life.kind->how == HOW_EPOLL)
		epoll = make_epoll(&life);
	while (!is_through(&life) && left--) {
		uint64_t sent = ledger->sent;
		int ret = read_next(&life, timeout);

		if (ret == 0) {
			if (life.kind->slow && dice(200) == 0)
				pause_us(dice(3000));
			continue;
		}
		if (errno == EAGAIN && timeout) {
			must_be_all(&life, sent, "EAGAIN");
			if (is_through(&life) || waits)
				continue;
			if (life.kind->how == HOW_EPOLL)
				await(&life, epoll);
			else if (dice(20) == 0)
				pause_us(dice(300));
		} else if ((errno == EPIPE || errno == EOWNERDEAD) && !life.kind->follow) {
			must_be_all(&life, sent, errno == EPIPE ? "EPIPE" : "EOWNERDEAD");
			reader->ends++;
			pause_us(dice(400));
		} else {
			child_wrong("%s: at %llu: %s", life.kind->name,
				    (unsigned long long)life.at.next, strerror(errno));
		}
	}
	end_life(&life);
}

/* --- the judge --- */

static void start(unsigned i)
{
	children[i] = spawn();
	if (children[i])
		return;
	if (i == WRITER)
		run_writer();
	run_reader(i);
}

static void end(unsigned i)
{
	if (!children[i])
		return;
	kill_child(children[i]);
	sum.kills++;
}

static void bury(unsigned i)
{
	if (children[i])
		reap(children[i]);
	children[i] = 0;
}

/* Who has ended by itself starts anew; no child is to report anything wrong. */
static void look_after(bool restart)
{
	for (unsigned i = 0; i <= READERS; i++) {
		int status;
		pid_t pid = children[i] ? waitpid(children[i], &status, WNOHANG) : 0;

		if (pid > 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 0) &&
		    !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
			wrong("process %d ended with status 0x%x", pid, status);
		if (pid > 0)
			children[i] = 0;
		if (!children[i] && restart && (i == WRITER || !ledger->readers[i].done))
			start(i);
	}
}

static void kill_some(void)
{
	bool chosen[READERS + 1] = {false};
	unsigned n = dice(4) ? 1 : 1 + dice(READERS);

	if (dice(8) == 0)
		chosen[WRITER] = true;
	for (unsigned i = 0; i < n; i++)
		chosen[dice(READERS + 1)] = true;
	for (unsigned i = 0; i <= READERS; i++) {
		if (!chosen[i])
			continue;
		end(i);
		if (n > 1 && dice(2))
			spin_us(dice(50));
	}
	/* The next one may begin before the last has quite ended. */
	for (unsigned i = 0; i <= READERS; i++) {
		pid_t was = children[i];

		if (!chosen[i] || !was)
			continue;
		if (dice(2)) {
			start(i);
			reap(was);
		} else {
			bury(i);
		}
	}
}

/* While it opens, takes over, begins. */
static void kill_early(void)
{
	unsigned i = dice(3) ? dice(READERS) : WRITER;

	if (i < READERS && ledger->readers[i].done)
		return;
	end(i);
	if (dice(2))
		bury(i);
	else if (children[i])
		reap(children[i]);
	for (unsigned again = 1 + dice(4); again; again--) {
		start(i);
		spin_us(dice(dice(2) ? 100 : 1500));
		end(i);
		bury(i);
	}
}

static void storm(void)
{
	uint64_t until = now_ns() + ROUND_LEAST_NS + dice(ROUND_DICE_MS) * UINT64_C(1000000);

	/* Readers may come before there is a channel; in some rounds the first writer dies while it makes it. */
	look_after(true);
	if (dice(2) == 0) {
		spin_us(dice(600));
		end(WRITER);
		bury(WRITER);
	}
	while (now_ns() < until) {
		pause_us(dice(round_pace));
		if (dice(4))
			kill_some();
		else
			kill_early();
		if (dice(3))
			look_after(true);
	}
}

static void finish(void)
{
	bool all;

	look_after(true);
	ledger->stop = 1;
	do {
		all = ledger->last;
		pause_us(1000);
		look_after(false);
		/* A writer that was told to end before it began has said so too. */
		if (!children[WRITER] && !ledger->last)
			start(WRITER);
		for (unsigned i = 0; i < READERS; i++) {
			const struct reader *reader = &ledger->readers[i];

			if (!children[i] && !reader->done)
				start(i);
			all &= reader->done && !children[i];
		}
	} while (!all || children[WRITER]);
}

static void check_sums(void)
{
	uint64_t sent = ledger->last - 1;

	for (unsigned i = 0; i < READERS; i++) {
		const struct reader *reader = &ledger->readers[i];
		const struct record *record = &reader->records[reader->which];

		if (reader->absent)
			continue;
		if (record->received + record->lost + record->missed != sent ||
		    record->next != sent + 1)
			wrong("%s: %llu received, %llu lost, %llu missed, and %llu sent",
			      kinds[i].name, (unsigned long long)record->received,
			      (unsigned long long)record->lost, (unsigned long long)record->missed,
			      (unsigned long long)sent);
		sum.received[i] += record->received;
		sum.lost[i] += record->lost;
		sum.missed[i] += record->missed;
	}
	sum.sent += sent;
}

static void check_files(void)
{
	struct chan_report report;
	const char *fault = chan_check(name);
	struct dirent *entry;
	DIR *dir;

	if (fault)
		wrong("chan_check: %s", fault);
	if (chan_report(name, &report) < 0)
		wrong("chan_report: %s", chan_error);
	if (report.n_readers || !report.closed || report.written != ledger->last - 1)
		wrong("%u readers, %s, %llu written of %llu", report.n_readers,
		      report.closed ? "closed" : "not closed", (unsigned long long)report.written,
		      (unsigned long long)ledger->last - 1);
	sum.writers += report.epoch;
	chan_report_free(&report);
	if (vee_channel_remove(name) < 0)
		wrong("remove: %s", vee_channel_error());
	dir = opendir(folder);
	while (dir && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			wrong("%s is left", entry->d_name);
	if (!dir || closedir(dir) < 0)
		wrong("%s", folder);
}

static void run_round(void)
{
	static const unsigned paces[] = {500, 3000, 10000, 40000, 200000};
	static const size_t sizes[] = {65536, 65536, 131072, 262144, 1048576};

	memset(ledger, 0, sizeof(*ledger));
	for (unsigned i = 0; i < READERS; i++)
		ledger->readers[i].records[0].next = 1;
	/* Reliable ones set the pace of all: not in each round. */
	if (dice(3) == 0)
		for (unsigned i = 0; i < READERS; i++)
			if (kinds[i].policy == VEE_CHANNEL_RELIABLE && dice(4))
				ledger->readers[i].absent = ledger->readers[i].done = 1;
	round_pace = paces[dice(ARRAY_SIZE(paces))];
	ring_size = sizes[dice(ARRAY_SIZE(sizes))];
	round_salt = mix(seed);
	round_time = clock_ns();
	scene = "storm";
	storm();
	scene = "end of the storm";
	finish();
	scene = "after the storm";
	check_sums();
	check_files();
}

static void report(uint64_t since)
{
	printf("soak-chan: %llu s, %u rounds: %llu sent by %llu writers, %llu killed\n",
	       (unsigned long long)((now_ns() - since) / 1000000000), round_now,
	       (unsigned long long)sum.sent, (unsigned long long)sum.writers,
	       (unsigned long long)sum.kills);
}

int main(int argc, char **argv)
{
	uint64_t begun, reported, limit;

	soak_name = "soak-chan";
	judge = getpid();
	limit = argc > 1 ? strtoul(argv[1], NULL, 10) : 10;
	seed_first = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) :
				(unsigned)time(NULL) ^ (unsigned)judge;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("soak-chan: %llu seconds, seed %u\n", (unsigned long long)limit, seed_first);
	ledger = share(sizeof(*ledger));
	snprintf(folder, sizeof(folder), "/dev/shm/soak-chan.XXXXXX");
	if (!mkdtemp(folder))
		wrong("%s", folder);
	snprintf(name, sizeof(name), "%s/c", folder);
	begun = reported = now_ns();
	while (now_ns() - begun < limit * UINT64_C(1000000000)) {
		round_now++;
		seed = seed_of_round = seed_first + (round_now - 1) * 2654435769u;
		watch(WATCHDOG_SECONDS);
		run_round();
		if (now_ns() - reported >= REPORT_NS) {
			report(begun);
			reported = now_ns();
		}
	}
	report(begun);
	for (unsigned i = 0; i < READERS; i++)
		printf("  %-26s %10llu received, %10llu lost, %10llu missed between two lives\n",
		       kinds[i].name, (unsigned long long)sum.received[i],
		       (unsigned long long)sum.lost[i], (unsigned long long)sum.missed[i]);
	empty_folder();
	return 0;
}
