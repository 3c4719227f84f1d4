/*
 * bench-chan - the kernel's ways to pass messages; a bare ring; memcpy. And vee: bench-chan-vee.c
 *
 * Each in its best usual configuration. pipe: 1 MiB, one read a message. seqpacket: AF_UNIX, a send buffer of 4 MiB where that is
 * allowed. mq: POSIX, as many messages as are allowed. Several readers have one of these each, all of which are written to.
 *
 * bare: what a ring of 4 MiB costs without anything that vee promises. A message of 56 B has a line with its flag in it; a larger
 * one a header and data in consecutive lines. All messages of a run have one size. A reader publishes its position
 * every eighth of the ring, and nothing else keeps the writer from overwriting. Nobody sleeps.
 *
 * memcpy: 64 KiB at a time into a buffer of 4 MiB, round and round, and memcpy-out: out of it.
 */
#include "bench-chan.h"

#include <fcntl.h>
#include <mqueue.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* --- pipe, seqpacket, mq: a descriptor per reader --- */

enum {
	MQ_MESSAGES = 4096,
};

struct kernel_lane {
	int in[CHAN_READERS_MAX], out[CHAN_READERS_MAX];
	int n, reader;
};

static struct kernel_lane *new_kernel_lane(struct chan_lane *l)
{
	struct kernel_lane *k = calloc(1, sizeof(*k));

	l->state = k;
	if (k)
		k->n = l->n_readers;
	return k;
}

static int kernel_open_writer(struct chan_lane *l)
{
	(void)l;
	return 0;
}

static int kernel_open_reader(struct chan_lane *l)
{
	struct kernel_lane *k = l->state;

	k->reader = l->reader > 0 ? l->reader : 0;
	return 0;
}

static int pipe_prepare(struct chan_lane *l)
{
	struct kernel_lane *k = new_kernel_lane(l);
	int ends[2];

	for (int i = 0; k && i < k->n; i++) {
		if (pipe2(ends, O_CLOEXEC | (l->spin ? O_NONBLOCK : 0)) < 0)
			return chan_fail("pipe2");
		(void)fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
		k->in[i] = ends[0];
		k->out[i] = ends[1];
	}
	return k ? 0 : chan_fail("calloc");
}

static inline int pipe_write(struct chan_lane *l, const void *data, size_t size)
{
	const struct kernel_lane *k = l->state;

	for (int i = 0; i < k->n; i++)
		if (write(k->out[i], data, size) != (ssize_t)size)
			return -1;
	return 0;
}

static inline ssize_t pipe_read(struct chan_lane *l, void *buf, size_t size)
{
	const struct kernel_lane *k = l->state;
	size_t have = 0;

	while (have < size) {
		ssize_t n = read(k->in[k->reader], (char *)buf + have, size - have);

		if (n <= 0)
			return -1;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

/* A pipe's message of 64 B comes whole. */
static inline ssize_t pipe_poll(struct chan_lane *l, void *buf, size_t size)
{
	const struct kernel_lane *k = l->state;
	ssize_t n = read(k->in[k->reader], buf, size);

	return n < 0 && errno == EAGAIN ? 0 : n == 0 ? -1 : n;
}

static int seqpacket_prepare(struct chan_lane *l)
{
	struct kernel_lane *k = new_kernel_lane(l);
	int ends[2], room = 4 << 20;

	for (int i = 0; k && i < k->n; i++) {
		if (socketpair(AF_UNIX,
			       SOCK_SEQPACKET | SOCK_CLOEXEC | (l->spin ? SOCK_NONBLOCK : 0), 0,
			       ends) < 0)
			return chan_fail("socketpair");
		if (setsockopt(ends[1], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
			(void)setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
		k->in[i] = ends[0];
		k->out[i] = ends[1];
	}
	return k ? 0 : chan_fail("calloc");
}

static inline int seqpacket_write(struct chan_lane *l, const void *data, size_t size)
{
	const struct kernel_lane *k = l->state;

	for (int i = 0; i < k->n; i++)
		if (send(k->out[i], data, size, MSG_NOSIGNAL) != (ssize_t)size)
			return -1;
	return 0;
}

static inline ssize_t seqpacket_read(struct chan_lane *l, void *buf, size_t size)
{
	const struct kernel_lane *k = l->state;
	ssize_t n = recv(k->in[k->reader], buf, size, 0);

	return n == 0 ? -1 : n;
}

static inline ssize_t seqpacket_poll(struct chan_lane *l, void *buf, size_t size)
{
	ssize_t n = seqpacket_read(l, buf, size);

	return n < 0 && errno == EAGAIN ? 0 : n;
}

static void set_mq_limit(const char *path, long limit)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	dprintf(fd, "%ld", limit);
	close(fd);
}

/* Larger limits where root may have them: in an IPC namespace of our own, so that nobody else gets them. */
static void raise_mq_limits(void)
{
	static bool raised;
	struct rlimit limit;

	if (!raised && unshare(CLONE_NEWIPC) == 0) {
		set_mq_limit("/proc/sys/fs/mqueue/msg_max", MQ_MESSAGES);
		set_mq_limit("/proc/sys/fs/mqueue/msgsize_max", CHAN_SIZE_MAX);
	}
	if (getrlimit(RLIMIT_MSGQUEUE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_MSGQUEUE, &limit);
	}
	raised = true;
}

/* Returns the queue, which has no name any more, or -1. */
static int new_mq(const struct chan_lane *l, long n_messages)
{
	struct mq_attr attr = {.mq_maxmsg = n_messages, .mq_msgsize = (long)l->size};
	char name[64];
	mqd_t q;

	snprintf(name, sizeof(name), "/vee-bench-chan-%d", (int)getpid());
	q = mq_open(name, O_CREAT | O_EXCL | O_RDWR | (l->spin ? O_NONBLOCK : 0), 0600, &attr);
	if (q >= 0)
		mq_unlink(name);
	return (int)q;
}

static int mq_prepare(struct chan_lane *l)
{
	struct kernel_lane *k = new_kernel_lane(l);

	raise_mq_limits();
	for (int i = 0; k && i < k->n; i++) {
		/* Several share what a user may have. */
		long n = k->n > 1 ? MQ_MESSAGES / 4 : MQ_MESSAGES;

		while ((k->in[i] = new_mq(l, n)) < 0 && n > 1)
			n = n > 10 && n / 2 < 10 ? 10 : n / 2;
		if (k->in[i] < 0)
			return chan_fail("mq_open (see /proc/sys/fs/mqueue)");
		k->out[i] = k->in[i];
	}
	return k ? 0 : chan_fail("calloc");
}

static inline int mq_write(struct chan_lane *l, const void *data, size_t size)
{
	const struct kernel_lane *k = l->state;

	for (int i = 0; i < k->n; i++)
		if (mq_send((mqd_t)k->out[i], data, size, 0) < 0)
			return -1;
	return 0;
}

static inline ssize_t mq_read(struct chan_lane *l, void *buf, size_t size)
{
	const struct kernel_lane *k = l->state;

	return mq_receive((mqd_t)k->in[k->reader], buf, size, NULL);
}

static inline ssize_t mq_poll(struct chan_lane *l, void *buf, size_t size)
{
	ssize_t n = mq_read(l, buf, size);

	return n < 0 && errno == EAGAIN ? 0 : n;
}

#define pipe_open_writer      kernel_open_writer
#define pipe_open_reader      kernel_open_reader
#define seqpacket_open_writer kernel_open_writer
#define seqpacket_open_reader kernel_open_reader
#define mq_open_writer	      kernel_open_writer
#define mq_open_reader	      kernel_open_reader

CHAN_LOOPS(pipe)
CHAN_SLEEP_LOOPS(pipe)
CHAN_LOOPS(seqpacket)
CHAN_SLEEP_LOOPS(seqpacket)
CHAN_LOOPS(mq)
CHAN_SLEEP_LOOPS(mq)

static const struct chan_system pipe_system = {.name = "pipe",
					       CHAN_SYSTEM(pipe),
					       CHAN_SLEEPS(pipe)};
static const struct chan_system seqpacket_system = {.name = "seqpacket",
						    CHAN_SYSTEM(seqpacket),
						    CHAN_SLEEPS(seqpacket)};
static const struct chan_system mq_system = {.name = "mq", CHAN_SYSTEM(mq), CHAN_SLEEPS(mq)};

/* --- bare --- */

enum {
	LINE = 64,
	SMALL = 56,
	N_LINES = CHAN_RING / LINE,
	EIGHTH = CHAN_RING / 8,
	HEADER = 16,
	LEAD = 3 << 19,
	PAUSES_MAX = 8192,
	YIELD_AFTER = 50, /* failed attempts to read, of one of several readers */
};

struct bare_shared {
	struct {
		_Alignas(128) _Atomic uint64_t position; /* all before it is read */
	} reader[CHAN_READERS_MAX];
	_Alignas(4096) unsigned char ring[CHAN_RING];
};

/* Positions are bytes ever written; a flag is the position behind its message. */
struct bare_lane {
	struct bare_shared *shared;
	uint64_t position, published, seen, caught_up;
	unsigned pauses;
	int n_readers, reader;
	size_t stride; /* of large messages */
};

static int bare_prepare(struct chan_lane *l)
{
	struct bare_lane *b = calloc(1, sizeof(*b));

	l->state = b;
	if (!b)
		return chan_fail("calloc");
	b->shared = mmap(NULL, sizeof(*b->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b->shared == MAP_FAILED)
		return chan_fail("mmap");
	memset(b->shared->ring, 0, CHAN_RING);
	b->n_readers = l->n_readers;
	b->stride = (HEADER + l->size + LINE - 1) / LINE * LINE;
	return 0;
}

static int bare_open_writer(struct chan_lane *l)
{
	(void)l;
	return 0;
}

static int bare_open_reader(struct chan_lane *l)
{
	struct bare_lane *b = l->state;

	b->reader = l->reader > 0 ? l->reader : 0;
	return 0;
}

static __attribute__((noinline)) void bare_wait_for_room(struct bare_lane *b, uint64_t end)
{
	for (unsigned tries = 0;; tries++) {
		b->seen = UINT64_MAX;
		for (int i = 0; i < b->n_readers; i++) {
			uint64_t at = atomic_load_explicit(&b->shared->reader[i].position,
							   memory_order_acquire);

			b->seen = at < b->seen ? at : b->seen;
		}
		if (end - b->seen <= CHAN_RING)
			return;
		for (int i = 0; i < 64; i++)
			chan_pause();
		if (b->n_readers > 1)
			sched_yield();
	}
}

static inline void bare_publish(struct bare_lane *b)
{
	if (b->position - b->published >= EIGHTH) {
		b->published = b->position;
		atomic_store_explicit(&b->shared->reader[b->reader].position, b->position,
				      memory_order_release);
	}
}

/*
 * Who reads right behind the writer takes each line from under its hands, at the price of a transfer between cores; who lets it have a
 * lead larger than its cache reads from the shared one. So who finds nothing soon again stays away for longer and longer.
 */
static __attribute__((noinline)) void bare_wait(struct bare_lane *b, unsigned tries)
{
	if (tries == 1) {
		if (b->position - b->caught_up < LEAD)
			b->pauses = b->pauses * 2 < PAUSES_MAX ? b->pauses * 2 + 1 : PAUSES_MAX;
		else if (b->position - b->caught_up > 2 * LEAD)
			b->pauses /= 2;
		b->caught_up = b->position;
	}
	for (unsigned i = 0; i < (tries == 1 ? b->pauses : 1); i++)
		chan_pause();
	if (b->n_readers > 1 && tries > YIELD_AFTER)
		sched_yield();
}

/* Where the message at a position lies: a large one that would not fit at the end is at the start. */
static inline uint64_t bare_place(const struct bare_lane *b, uint64_t position)
{
	return CHAN_RING - position % CHAN_RING < b->stride ?
		       (position / CHAN_RING + 1) * CHAN_RING :
		       position;
}

static inline int bare_write(struct chan_lane *l, const void *data, size_t size)
{
	struct bare_lane *b = l->state;
	uint64_t at = size == SMALL ? b->position : bare_place(b, b->position);
	uint64_t end = at + (size == SMALL ? (uint64_t)LINE : b->stride);
	unsigned char *to = b->shared->ring + at % CHAN_RING;

	if (__builtin_expect(end - b->seen > CHAN_RING, 0))
		bare_wait_for_room(b, end);
	if (size == SMALL) {
		memcpy(to, data, SMALL);
		atomic_store_explicit((_Atomic uint64_t *)(to + SMALL), end, memory_order_release);
	} else {
		memcpy(to + HEADER, data, size);
		((uint64_t *)to)[1] = size;
		atomic_store_explicit((_Atomic uint64_t *)to, end, memory_order_release);
	}
	b->position = end;
	return 0;
}

static inline ssize_t bare_poll(struct chan_lane *l, void *buf, size_t size)
{
	struct bare_lane *b = l->state;
	uint64_t at = size == SMALL ? b->position : bare_place(b, b->position);
	uint64_t end = at + (size == SMALL ? (uint64_t)LINE : b->stride);
	unsigned char *from = b->shared->ring + at % CHAN_RING;
	_Atomic uint64_t *flag = (_Atomic uint64_t *)(from + (size == SMALL ? SMALL : 0));

	if (atomic_load_explicit(flag, memory_order_acquire) != end)
		return 0;
	if (size == SMALL) {
		memcpy(buf, from, SMALL);
	} else {
		size = ((uint64_t *)from)[1];
		memcpy(buf, from + HEADER, size);
	}
	b->position = end;
	bare_publish(b);
	return (ssize_t)size;
}

static inline ssize_t bare_read(struct chan_lane *l, void *buf, size_t size)
{
	ssize_t n;

	for (unsigned tries = 1; (n = bare_poll(l, buf, size)) == 0; tries++)
		bare_wait(l->state, tries);
	return n;
}

CHAN_LOOPS(bare)

static const struct chan_system bare_system = {.name = "bare", CHAN_SYSTEM(bare)};

/* --- memcpy --- */

static int copy_round(struct chan_run *r, struct chan_lane *l, bool out)
{
	unsigned char *piece = chan_new_message(), *ring;
	uint64_t start, n = 0, spent;

	ring = mmap(NULL, CHAN_RING, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!piece || ring == MAP_FAILED)
		return chan_fail("memory");
	memset(ring, 1, CHAN_RING);
	for (int warm = 1; warm >= 0; warm--) {
		start = chan_now();
		n = 0;
		do {
			for (size_t at = 0; at < CHAN_RING; at += l->size, n++) {
				if (!out)
					chan_stamp(piece, l->size, CHAN_MEASURED, n);
				memcpy(out ? piece : ring + at, out ? ring + at : piece, l->size);
				__asm__ volatile("" ::"r"(piece), "r"(ring) : "memory");
			}
			spent = chan_now() - start;
		} while (spent < (warm ? r->warm_ns : r->measured_ns));
	}
	r->shared->reader[0].messages = n;
	r->shared->reader[0].ns = spent;
	return 0;
}

static int copy_in(struct chan_run *r, struct chan_lane *l)
{
	return copy_round(r, l, false);
}

static int copy_out(struct chan_run *r, struct chan_lane *l)
{
	return copy_round(r, l, true);
}

static const struct chan_system memcpy_system = {.name = "memcpy", .alone = copy_in};
static const struct chan_system memcpy_out_system = {.name = "memcpy-out", .alone = copy_out};

/* --- all of them --- */

const struct chan_system *const chan_systems[] = {
	&vee_system,	      &vee_stamp64_system, &vee_lossy_system,  &vee_lossy_stamp64_system,
	&vee_in_place_system, &bare_system,	   &pipe_system,       &seqpacket_system,
	&mq_system,	      &memcpy_system,	   &memcpy_out_system, NULL,
};
