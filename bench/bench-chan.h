/*
 * bench-chan.h - how a channel's speed is measured, the same for vee and for what it is held against
 *
 * A system (a way to pass messages) writes and reads a lane: one writer, one or more readers, messages of one size. CHAN_LOOPS
 * makes the measuring loops for it, with its calls inlined; bench-chan-run.c starts the processes that run them. A message
 * begins with its phase and its number, and ends with its number; its reader checks all of them.
 */
#pragma once

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define CHAN_INLINE	   static inline __attribute__((always_inline))
#define CHAN_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum {
	CHAN_READERS_MAX = 3,
	CHAN_SIZE_MAX = 65536,
	CHAN_RING = 4 << 20,
	CHAN_WAKES = 800,
	CHAN_PAUSE_NS =
		1000000, /* between two messages to a sleeper, and between two attempts to be heard */
};

/* In the top byte of a message's first word; the rest of it is the number. */
enum chan_phase {
	CHAN_JOIN = 1, /* until each reader has heard one: systems need their time to connect */
	CHAN_WARM,
	CHAN_MEASURED,
	CHAN_END,
};
#define CHAN_PHASE_SHIFT 56
#define CHAN_NUMBER	 ((UINT64_C(1) << CHAN_PHASE_SHIFT) - 1)

/* What the processes of a measurement share. */
struct chan_shared {
	_Atomic unsigned arrived; /* at barriers */
	_Atomic unsigned joined;
	_Atomic unsigned done;
	struct {
		uint64_t messages, lost, ns;
	} reader[CHAN_READERS_MAX];
	uint64_t written, write_ns;
	double half_round_ns, wake_median_us, wake_p99_us;
	double among_ns, alone_ns[2]; /* of a write, with others, and before and after them */
	uint64_t wakes[CHAN_WAKES];
};

struct chan_run {
	struct chan_shared *shared;
	unsigned n_procs; /* that meet at barriers */
	uint64_t warm_ns, measured_ns;
};

struct chan_lane {
	int number; /* 0: there; 1: back */
	int n_readers;
	int reader; /* which of them this process is */
	size_t size;
	bool spin;     /* it is polled, never waited on */
	bool sleepy;   /* its readers are to sleep while there is nothing */
	bool may_lose; /* set by its system */
	const char *dir;
	const char *system;
	void *state; /* its system's */
};

struct chan_system {
	const char *name;
	/* In the parent, before the fork. */
	int (*prepare)(struct chan_lane *l);
	/* In the process that writes, and in those that read. */
	int (*open_writer)(struct chan_lane *l);
	int (*open_reader)(struct chan_lane *l);
	/* The loops; NULL where there is no such case. */
	int (*stream_out)(struct chan_run *r, struct chan_lane *l);
	int (*stream_in)(struct chan_run *r, struct chan_lane *l);
	int (*fan_in)(struct chan_run *r, struct chan_lane *l); /* one of several readers */
	int (*ping)(struct chan_run *r, struct chan_lane *there, struct chan_lane *back);
	int (*pong)(struct chan_run *r, struct chan_lane *there, struct chan_lane *back);
	int (*wake_out)(struct chan_run *r, struct chan_lane *l);
	int (*wake_in)(struct chan_run *r, struct chan_lane *l);
	int (*write_only)(struct chan_run *r, struct chan_lane *l);
	int (*hold_readers)(struct chan_lane *l, int n);	     /* open, and idle */
	int (*hold_channels)(struct chan_lane *l, int first, int n); /* open, and idle */
	int (*alone)(struct chan_run *r, struct chan_lane *l);	     /* no lane: one process */
	bool says_goodbye; /* a process of it ends by exit(), for what its library does then */
	void (*forget)(pid_t pid); /* of a process that was killed: removes what it has left */
};

/* Each program has its own. */
extern const struct chan_system *const chan_systems[];

/* In bench-chan-vee.c. */
extern const struct chan_system vee_system, vee_stamp64_system, vee_lossy_system,
	vee_lossy_stamp64_system, vee_in_place_system;

/* Says why to stderr; -1. */
int chan_fail(const char *call);

CHAN_INLINE uint64_t chan_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

CHAN_INLINE void chan_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

CHAN_INLINE void chan_sleep(uint64_t ns)
{
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u),
			      .tv_nsec = (long)(ns % 1000000000u)};

	nanosleep(&ts, NULL);
}

/* --- messages --- */

/* How a system writes: 0 or -1. How it reads, and how it polls: the size, 0 (only a poll): nothing there, -1. */
typedef int chan_write_fn(struct chan_lane *l, const void *data, size_t size);
typedef ssize_t chan_read_fn(struct chan_lane *l, void *buf, size_t size);

CHAN_INLINE uint64_t *chan_last_word(void *message, size_t size)
{
	return (uint64_t *)((char *)message + size - sizeof(uint64_t));
}

CHAN_INLINE void chan_stamp(void *message, size_t size, enum chan_phase phase, uint64_t number)
{
	*(uint64_t *)message = (uint64_t)phase << CHAN_PHASE_SHIFT | number;
	*chan_last_word(message, size) = number;
}

void *chan_new_message(void);
int chan_wrong(const char *what, uint64_t is, uint64_t should);

/* --- one way --- */

CHAN_INLINE int chan_join_readers(struct chan_run *r, struct chan_lane *l, chan_write_fn *write,
				  void *message)
{
	while (atomic_load(&r->shared->joined) < (unsigned)l->n_readers) {
		chan_stamp(message, l->size, CHAN_JOIN, 0);
		if (write(l, message, l->size) < 0)
			return chan_fail("write");
		chan_sleep(CHAN_PAUSE_NS);
	}
	return 0;
}

CHAN_INLINE int chan_end_readers(struct chan_run *r, struct chan_lane *l, chan_write_fn *write,
				 void *message, uint64_t number)
{
	chan_stamp(message, l->size, CHAN_END, number);
	if (write(l, message, l->size) < 0)
		return chan_fail("write of the end");
	for (;;) {
		chan_sleep(2 * CHAN_PAUSE_NS);
		if (atomic_load(&r->shared->done) >= (unsigned)l->n_readers)
			return 0;
		if (l->may_lose && write(l, message, l->size) < 0)
			return chan_fail("write of the end");
	}
}

/* Writes one phase of so many ns. */
CHAN_INLINE int chan_write_for(struct chan_lane *l, chan_write_fn *write, void *message,
			       enum chan_phase phase, uint64_t ns, uint64_t *number)
{
	unsigned turns = l->size >= CHAN_SIZE_MAX ? 8 : 256;
	size_t size = l->size;
	uint64_t n = *number;

	for (uint64_t start = chan_now(); chan_now() - start < ns;) {
		for (unsigned i = 0; i < turns; i++) {
			chan_stamp(message, size, phase, n++);
			if (write(l, message, size) < 0)
				return chan_fail("write");
		}
	}
	*number = n;
	return 0;
}

CHAN_INLINE int chan_stream_out(struct chan_run *r, struct chan_lane *l, chan_write_fn *write)
{
	void *message = chan_new_message();
	uint64_t number = 0, first, start;

	if (!message || chan_join_readers(r, l, write, message) < 0 ||
	    chan_write_for(l, write, message, CHAN_WARM, r->warm_ns, &number) < 0)
		return -1;
	first = number;
	start = chan_now();
	if (chan_write_for(l, write, message, CHAN_MEASURED, r->measured_ns, &number) < 0)
		return -1;
	r->shared->write_ns = chan_now() - start;
	r->shared->written = number - first;
	return chan_end_readers(r, l, write, message, number);
}

CHAN_INLINE int chan_stream_in(struct chan_run *r, struct chan_lane *l, chan_read_fn *read)
{
	void *message = chan_new_message();
	uint64_t phase = 0, expected = 0, lost = 0, count = 0, start = 0, word, number;
	size_t size = l->size;

	if (!message)
		return -1;
	for (;;) {
		ssize_t n = read(l, message, size);

		if (n < 0)
			return chan_fail("read");
		if ((size_t)n != size)
			return chan_wrong("bytes", (uint64_t)n, size);
		word = *(uint64_t *)message;
		number = word & CHAN_NUMBER;
		if (*chan_last_word(message, size) != number)
			return chan_wrong("last word", *chan_last_word(message, size), number);
		if (__builtin_expect(word >> CHAN_PHASE_SHIFT != phase, 0)) {
			if (!phase)
				atomic_fetch_add(&r->shared->joined, 1);
			phase = word >> CHAN_PHASE_SHIFT;
			if (phase == CHAN_WARM)
				expected = l->may_lose ? number : 0;
			if (phase == CHAN_MEASURED) {
				start = chan_now();
				count = lost = 0;
				if (l->may_lose)
					expected = number;
			}
		}
		if (phase == CHAN_JOIN)
			continue;
		if (__builtin_expect(number != expected, 0)) {
			if (!l->may_lose || number < expected)
				return chan_wrong("number", number, expected);
			lost += number - expected;
		}
		if (phase == CHAN_END)
			break;
		expected = number + 1;
		count++;
	}
	r->shared->reader[l->reader].ns = chan_now() - start;
	r->shared->reader[l->reader].messages = count;
	r->shared->reader[l->reader].lost = lost;
	atomic_fetch_add(&r->shared->done, 1);
	return start ? 0 : chan_wrong("measured messages", 0, 1);
}

/* What a write costs whose readers do not read. */
CHAN_INLINE int chan_write_only(struct chan_run *r, struct chan_lane *l, chan_write_fn *write)
{
	void *message = chan_new_message();
	uint64_t number = 0, first, start;

	if (!message || chan_write_for(l, write, message, CHAN_WARM, r->warm_ns, &number) < 0)
		return -1;
	first = number;
	start = chan_now();
	if (chan_write_for(l, write, message, CHAN_MEASURED, r->measured_ns, &number) < 0)
		return -1;
	r->shared->write_ns = chan_now() - start;
	r->shared->written = number - first;
	return 0;
}

/* --- a round trip, spinning --- */

CHAN_INLINE ssize_t chan_spin(struct chan_lane *l, chan_read_fn *poll, void *message)
{
	ssize_t n;

	while ((n = poll(l, message, l->size)) == 0)
		;
	if (n < 0)
		return chan_fail("poll");
	return (size_t)n == l->size ? n : chan_wrong("bytes", (uint64_t)n, l->size);
}

CHAN_INLINE int chan_ping_for(struct chan_lane *there, struct chan_lane *back, chan_write_fn *write,
			      chan_read_fn *poll, void *message, enum chan_phase phase, uint64_t ns,
			      uint64_t *number)
{
	uint64_t n = *number, word;

	for (uint64_t start = chan_now(); chan_now() - start < ns;) {
		for (unsigned i = 0; i < 64; i++, n++) {
			chan_stamp(message, there->size, phase, n);
			word = *(uint64_t *)message;
			if (write(there, message, there->size) < 0)
				return chan_fail("write");
			do {
				if (chan_spin(back, poll, message) < 0)
					return -1;
			} while (*(uint64_t *)message >> CHAN_PHASE_SHIFT == CHAN_JOIN);
			if (*(uint64_t *)message != word)
				return chan_wrong("answer", *(uint64_t *)message, word);
		}
	}
	*number = n;
	return 0;
}

CHAN_INLINE int chan_ping(struct chan_run *r, struct chan_lane *there, struct chan_lane *back,
			  chan_write_fn *write, chan_read_fn *poll)
{
	void *message = chan_new_message();
	uint64_t number = 0, first, start;
	ssize_t n;

	if (!message)
		return -1;
	do {
		chan_stamp(message, there->size, CHAN_JOIN, 0);
		if (write(there, message, there->size) < 0)
			return chan_fail("write");
		chan_sleep(CHAN_PAUSE_NS);
		n = poll(back, message, back->size);
		if (n < 0)
			return chan_fail("poll");
	} while (n == 0);
	if (chan_ping_for(there, back, write, poll, message, CHAN_WARM, r->warm_ns, &number) < 0)
		return -1;
	first = number;
	start = chan_now();
	if (chan_ping_for(there, back, write, poll, message, CHAN_MEASURED, r->measured_ns,
			  &number) < 0)
		return -1;
	r->shared->half_round_ns = (double)(chan_now() - start) / (double)(number - first) / 2;
	chan_stamp(message, there->size, CHAN_END, number);
	if (write(there, message, there->size) < 0)
		return chan_fail("write of the end");
	while (!atomic_load(&r->shared->done))
		chan_sleep(CHAN_PAUSE_NS);
	return 0;
}

CHAN_INLINE int chan_pong(struct chan_run *r, struct chan_lane *there, struct chan_lane *back,
			  chan_write_fn *write, chan_read_fn *poll)
{
	void *message = chan_new_message();

	if (!message)
		return -1;
	for (;;) {
		if (chan_spin(there, poll, message) < 0)
			return -1;
		if (*(uint64_t *)message >> CHAN_PHASE_SHIFT == CHAN_END)
			break;
		if (write(back, message, back->size) < 0)
			return chan_fail("write");
	}
	atomic_store(&r->shared->done, 1);
	return 0;
}

/* --- one way, to a sleeper --- */

/* The second word of such a message is the time just before its write. */
CHAN_INLINE int chan_wake_out(struct chan_run *r, struct chan_lane *l, chan_write_fn *write)
{
	void *message = chan_new_message();

	if (!message || chan_join_readers(r, l, write, message) < 0)
		return -1;
	for (uint64_t i = 0; i < CHAN_WAKES; i++) {
		chan_sleep(CHAN_PAUSE_NS);
		chan_stamp(message, l->size, CHAN_MEASURED, i);
		((uint64_t *)message)[1] = chan_now();
		if (write(l, message, l->size) < 0)
			return chan_fail("write");
	}
	chan_sleep(CHAN_PAUSE_NS);
	return chan_end_readers(r, l, write, message, CHAN_WAKES);
}

/* Sorts the times. */
void chan_wake_report(struct chan_shared *shared, unsigned n);

CHAN_INLINE int chan_wake_in(struct chan_run *r, struct chan_lane *l, chan_read_fn *read)
{
	void *message = chan_new_message();
	bool joined = false;
	unsigned n = 0;

	if (!message)
		return -1;
	for (;;) {
		ssize_t got = read(l, message, l->size);
		uint64_t now = chan_now(), phase;

		if (got < 0)
			return chan_fail("read");
		phase = *(uint64_t *)message >> CHAN_PHASE_SHIFT;
		if (!joined)
			atomic_fetch_add(&r->shared->joined, 1);
		joined = true;
		if (phase == CHAN_MEASURED && n < CHAN_WAKES)
			r->shared->wakes[n++] = now - ((uint64_t *)message)[1];
		if (phase == CHAN_END)
			break;
	}
	chan_wake_report(r->shared, n);
	atomic_fetch_add(&r->shared->done, 1);
	return n == CHAN_WAKES ? 0 : chan_wrong("messages", n, CHAN_WAKES);
}

/* --- a system's loops, of its id_write, id_read, id_poll --- */

#define CHAN_LANE_LOOP(id, name, call)                                  \
	static int id##_##name(struct chan_run *r, struct chan_lane *l) \
	{                                                               \
		return chan_##name(r, l, id##_##call);                  \
	}

#define CHAN_PAIR_LOOP(id, name)                                            \
	static int id##_##name(struct chan_run *r, struct chan_lane *there, \
			       struct chan_lane *back)                      \
	{                                                                   \
		return chan_##name(r, there, back, id##_write, id##_poll);  \
	}

#define CHAN_STREAM_LOOPS(id) \
	CHAN_LANE_LOOP(id, stream_out, write) CHAN_LANE_LOOP(id, stream_in, read)
#define CHAN_LOOPS(id)	     CHAN_STREAM_LOOPS(id) CHAN_PAIR_LOOP(id, ping) CHAN_PAIR_LOOP(id, pong)
#define CHAN_SLEEP_LOOPS(id) CHAN_LANE_LOOP(id, wake_out, write) CHAN_LANE_LOOP(id, wake_in, read)

#define CHAN_ONE_WAY(id)                                                                           \
	.prepare = id##_prepare, .open_writer = id##_open_writer, .open_reader = id##_open_reader, \
	.stream_out = id##_stream_out, .stream_in = id##_stream_in, .fan_in = id##_stream_in
#define CHAN_SYSTEM(id) CHAN_ONE_WAY(id), .ping = id##_ping, .pong = id##_pong
#define CHAN_SLEEPS(id) .wake_out = id##_wake_out, .wake_in = id##_wake_in
