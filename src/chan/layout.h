/*
 * layout.h - a channel's files, byte by byte, and the pure rules of the ring. doc/CHANNEL.md has it in pictures.
 *
 * DIR/NAME, the ring file, is written by the writer alone; readers map it read-only:
 *
 *	0                      chan_header    1 page: identity, the writer, positions, sections
 *	CHAN_RING_AT           ring           ring_size bytes, in lines of 64
 *
 * DIR/.NAME.INO.readers/UID, a desk (INO: the ring file's inode), is written by the readers of one user, and mapped read-only by a writer of another:
 *
 *	0                      chan_desk      1 page
 *	CHAN_SEATS_AT          seats          CHAN_SEATS * 256, one a reader
 *
 * DIR/.NAME.INO.readers/hall: a page that any reader may write. It has hints only.
 *
 * Positions count lines, from 0 and without end: an endless array, of which the ring keeps the last part; position p
 * lies in line p modulo the number of lines. A message takes whole lines in a row:
 *
 *	chan_word    8 bytes    tag (the sequence number's low half), flags, size
 *	time         8 bytes    if CHAN_STAMPED: CLOCK_REALTIME, ns
 *	data                    from the next line on, if it is CHAN_ALIGN_FROM or more
 *
 * and never wraps: where it does not fit before the end of the ring, a word with CHAN_PAD (of the same sequence number) says that
 * it starts at the ring's first line. CHAN_EPOCH: a new writer begins; its line has the epoch in place of a message.
 *
 * The ring has CHAN_SECTIONS sections. Each has an entry that says which message is the first to start at or after its first line.
 *
 * Invariants
 *  1. The word of position p has the tag of the message that starts there exactly from its publishing on, until
 *     `floor` has passed p. Before, whatever lies there has another tag: the writer sees to it when it publishes the message before.
 *  2. All positions from `floor` up to the last message hold what was written there. What is below `floor` may be anything.
 *  3. Between floor and the end of the last message are at most as many lines as the ring has. floor only grows; so does intent, but
 *     for a writer that waits for room no longer: then it is floor again.
 *  4. intent >= floor; no reliable reader whose cursor is at or above floor is below intent, once floor is set to intent.
 */
#pragma once

#include "base/compiler.h"
#include <pthread.h>
#include <stdbool.h>

#define CHAN_MAGIC   0x312d6e6168632d76ull /* "v-chan-1", read as bytes */
#define CHAN_VERSION 2u
#define CHAN_PAGE    4096u
#define CHAN_LINE    64u
#define CHAN_RING_AT CHAN_PAGE

#define CHAN_SECTIONS	16u
#define CHAN_RING_LEAST (64u << 10)
#define CHAN_RING_MOST	(1u << 30)
#define CHAN_DOORBELLS	8u

#define CHAN_SEATS     4096u
#define CHAN_SEAT_SIZE 256u
#define CHAN_SEATS_AT  CHAN_PAGE

/* --- words --- */

#define CHAN_PAD       0x80000000u
#define CHAN_STAMPED   0x40000000u
#define CHAN_EPOCH     0x20000000u
#define CHAN_SIZE_MASK 0x1fffffffu
/* Of positions, in lines: so much is never written. Who follows what others have put there need not fear that a sum wraps. */
#define CHAN_POS_MOST (UINT64_MAX / 4)

static inline uint64_t chan_word(uint64_t seq, uint32_t flags, uint32_t size)
{
	return seq << 32 | flags | size;
}

static inline bool chan_word_is(uint64_t word, uint64_t seq)
{
	return (uint32_t)(word >> 32) == (uint32_t)seq;
}

/* Says nothing at the place of message seq. */
static inline uint64_t chan_word_not(uint64_t seq)
{
	return ~seq << 32;
}

static inline uint32_t chan_size(uint64_t word)
{
	return (uint32_t)word & CHAN_SIZE_MASK;
}

/* Data of so many bytes or more begins at a line: to there, and from there, it is copied quicker. */
#define CHAN_ALIGN_FROM 1024u

/* Bytes before the data. */
static inline uint32_t chan_prefix(size_t size, bool stamped)
{
	if (unlikely(size >= CHAN_ALIGN_FROM))
		return CHAN_LINE;
	return stamped ? 16 : 8;
}

static inline uint64_t chan_lines(uint64_t prefix_and_size)
{
	return (prefix_and_size + CHAN_LINE - 1) / CHAN_LINE;
}

/* --- the ring file --- */

/* record: from which message on one can read. pos is stored last, and is 0 meanwhile; seq counts from 1. */
struct chan_section {
	uint64_t pos; /* + 1 */
	uint64_t seq;
	int64_t time; /* of the message before */
	uint64_t epoch;
};
_Static_assert(sizeof(struct chan_section) == 32, "layout");

/* record: says that its owner lives, without a system call, for as long as the thread does that holds it. */
struct chan_doorbell {
	pthread_mutex_t
		mutex; /* robust; the word has FUTEX_WAITERS from the start, so the kernel always wakes one */
	uint8_t pad[64 - sizeof(pthread_mutex_t)];
};
_Static_assert(sizeof(struct chan_doorbell) == 64, "layout");

enum chan_state {
	CHAN_CLOSED = 0, /* nobody writes, by its own will */
	CHAN_WRITTEN,	 /* somebody does, or has died */
};

/* record: written by the writer alone */
struct chan_header {
	/* Line 0: never changes. */
	uint64_t magic;
	uint32_t version;
	uint32_t
		libc_word; /* where in a pthread_mutex_t its word lies: not the same in all C libraries */
	uint64_t ring_size;
	uint64_t signature;
	uint32_t uid; /* the maker's */
	uint32_t mode;
	uint8_t pad0[24];

	/* Line 1: the writer. */
	uint32_t state;
	uint32_t epoch;
	int32_t pid;
	uint32_t doorbell; /* which it holds */
	uint64_t start;	   /* its start time, clock ticks since boot */
	uint64_t pid_ns;
	uint32_t asymmetric; /* it has registered for membarrier; else it fences itself */
	uint32_t writer_uid;
	uint32_t others_reliable; /* readers of other users may be, too */
	uint32_t image;		  /* random, of the program it runs: an exec is a death too */
	uint8_t pad1[16];

	/* Line 2: what each read looks at; changes 16 times a lap. */
	uint64_t floor;
	uint64_t intent;
	uint64_t
		wait_pos; /* the writer waits, or will again, until all reliable readers are there; 0: no */
	uint32_t streamed; /* CHAN_COPY_BIG and more went past the writer's caches: a hint */
	uint8_t pad3[36];

	/* Line 3: on which readers sleep; grows with each wake-up. */
	uint32_t wake;
	uint8_t pad4[60];

	/* Line 4: changes with each message. Statistics, and where a reader starts; no message is read by it. */
	uint64_t seq; /* of the last message */
	uint64_t bytes;
	int64_t time;
	uint8_t pad5[40];

	struct chan_section sections[CHAN_SECTIONS];
	struct chan_doorbell doorbells[CHAN_DOORBELLS];
	struct chan_doorbell claim; /* who begins to write, and nobody else then */
};
_Static_assert(sizeof(struct chan_header) == 5 * 64 + 512 + 512 + 64, "layout");

/* --- desks --- */

/* record: the desk of one user's readers */
struct chan_desk {
	uint64_t magic;
	uint32_t version;
	uint32_t seats_ready;
	uint32_t announced; /* the writer was told of it */
	uint8_t pad0[44];

	/* Line 1: what the writer looks at after each message. */
	uint64_t
		wanted; /* some reader sleeps, or slept, until there is this message: the highest of all */
	uint8_t pad1[56];

	/* Line 2 */
	uint64_t armed;	     /* the same of those that poll */
	uint32_t reliable;   /* how often a reader has become reliable; 0: none ever */
	uint32_t seats_used; /* all that are in use have a lower number */
	uint8_t pad2[48];

	struct chan_doorbell claim; /* who takes a seat, and nobody else then */
};
_Static_assert(sizeof(struct chan_desk) == 256, "layout");

enum chan_seat_state {
	CHAN_SEAT_FREE = 0,
	CHAN_SEAT_LOSSY,
	CHAN_SEAT_RELIABLE,
	CHAN_SEAT_CLOSED, /* free as soon as its doorbell is */
};

/* record: one reader; written by it alone */
struct chan_seat {
	struct chan_doorbell doorbell;

	/* Line 1 */
	uint32_t state;
	int32_t pid;
	uint64_t start;
	uint64_t pid_ns;
	uint32_t tid;
	uint32_t stall;
	int64_t stall_ns;
	int64_t since; /* seconds since the epoch */
	uint32_t generation;
	uint32_t image;
	uint64_t pad2;

	/* Line 2: what the reader publishes every so often. */
	uint64_t cursor; /* position of the next message to read */
	uint64_t next;	 /* its sequence number */
	uint64_t received, lost;
	uint64_t
		armed; /* it polls, and wants a byte in its socket once there is this message; 0: none */
	uint32_t turns; /* grows with each change of cursor; the writer sleeps on it */
	uint32_t
		socket; /* in its name, of this reader's or of the one before: what nobody can guess */
	uint8_t pad3[16];

	uint8_t pad4[64];
};
_Static_assert(sizeof(struct chan_seat) == CHAN_SEAT_SIZE, "layout");

/* record: hints */
struct chan_hall {
	uint32_t
		joined; /* grows with each desk that is made, and with each reader of a user who may not be reliable */
	uint32_t pad[15];
};
_Static_assert(sizeof(struct chan_hall) == 64, "layout");
