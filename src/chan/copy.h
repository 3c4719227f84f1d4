/*
 * copy.h - messages into the ring and out of it.
 *
 * What a caller sees: chan_copy_in() copies into the ring, chan_copy_out() out of it; not a byte beyond is read or stored.
 * The end in the ring is 8-byte aligned, the other one as it likes. The bytes in the ring may change meanwhile, as a lossy ring's
 * do: the copy is then worth nothing, and no race in the eyes of the thread sanitizer. All stores of chan_copy_in() come
 * before any later store-release.
 *
 * How it works: what is small is copied in line, by one, two or four moves that overlap. What is larger goes into the ring by
 * memcpy, up to CHAN_COPY_BIG. From there on there are two ways, memcpy and stores that go past the caches; which is quicker
 * depends on the machine, on the size of the message, on how much of the ring the caches hold, and on whom else they serve. So a
 * chan_copier measures both, for each class of sizes. A single copy by the other way would tell little, since it finds in the
 * caches what the way in use leaves there: to a ring that fits, memcpy is the quickest, but not right after stores that went
 * past. So the other way is put to trial for whole laps of the ring, of which the first are not measured, and less often the
 * more often it has lost.
 *
 * What is measured is how long a lap takes, with all the waiting for readers that it has: they find in memory, not in a cache, what
 * went past the caches. So that way must also be better by a quarter. A trial that goes twice as slowly ends early; one is due at once
 * when the way in use has become twice as slow, as it does when the writer or a reader comes to run elsewhere.
 *
 * Out of the ring, messages from CHAN_COPY_LINES on go line by line, in order, which is quicker than memcpy by an eighth and more. Below
 * CHAN_COPY_LONG two moves a line do, where the processor has such: a core that is shared is short of instructions, and the sooner a
 * reader is done with a line, the less it is in the writer's way. Else each line is sent for some lines ahead.
 *
 * How a reader loads decides how quickly the writer stores to the same lines a lap later; measured on Zen 4, between cores that share a
 * cache. After a single instruction, which memcpy may be from 4 KiB on (rep movsb), these stores took three times as long in most
 * runs. They take longer, too, if the reader loads from pages that it may not write to, as a reader's ring is: its processor
 * seems to ask for them to share, not to have. Sent for into the second-level cache, so far ahead that the loads are not first,
 * that costs less, but not nothing: see CHANNEL.md.
 *
 * What comes from memory, since the writer let it go past the caches, is read in blocks of CHAN_COPY_LANES, at several places of the
 * block at a time: each page that is begun costs a wait, and one at a time leaves half of what the memory could deliver. Between cores
 * that are far from each other this is quicker by a sixth than memcpy, which is the quickest for what is shorter.
 */
#pragma once

#include "base/compiler.h"
#include <stdbool.h>

#if defined(__SANITIZE_THREAD__)
#define CHAN_COPY_RACES 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHAN_COPY_RACES 1
#endif
#endif
#ifndef CHAN_COPY_RACES
#define CHAN_COPY_RACES 0
#endif

#define CHAN_COPY_SMALL	  64u
#define CHAN_COPY_LINES	  512u /* from here on line by line, out of the ring */
#define CHAN_COPY_BIG	  4096u
#define CHAN_COPY_LONG	  16384u
#define CHAN_COPY_LANES	  65536u
#define CHAN_COPY_CLASSES 8u /* from 4, 16, 64, 256 KiB, 1, 4, 16, 64 MiB on */

enum chan_copy_way {
	CHAN_COPY_CACHED = 0,
	CHAN_COPY_STREAMED
};

struct chan_copy_class {
	uint32_t way;	  /* the one in use */
	uint32_t trying;  /* 1: the other one is on trial */
	uint32_t since;	  /* the lap in which that began, or the last trial ended */
	uint32_t samples; /* laps since then, without the first */
	uint32_t losses;  /* trials in a row that changed nothing */
	uint32_t pace[2]; /* of each way, ns per 64 KiB, smoothed; 0: not known */
	uint32_t best;	  /* lap since then */
	uint32_t settled; /* the pace of the way in use, then */
};

/* A writer's; all zeros to begin with. Its owner alone uses it. */
struct chan_copier {
	uintptr_t last;	 /* where the last big message went */
	uint64_t bytes;	 /* in big messages, of this lap */
	uint64_t lap_ns; /* when it began */
	uint32_t lap;
	uint32_t way; /* the last big message's */
	struct chan_copy_class classes[CHAN_COPY_CLASSES];
};

/* size >= CHAN_COPY_BIG */
void chan_copy_big(struct chan_copier *copier, void *to, const void *from, size_t size);
/* In plain moves; size >= 64. */
void chan_copy_by_lines(void *to, const void *from, size_t size);
/* In as wide ones as the processor may have: see chan_copy_can_be_wide(). */
void chan_copy_by_wide_lines(void *to, const void *from, size_t size);
/* At several places at a time, for what comes from memory. */
void chan_copy_by_lanes(void *to, const void *from, size_t size);
/* Past the caches, where the machine can. */
void chan_copy_streamed(void *to, const void *from, size_t size);

/* For the thread sanitizer: the ring's side by atomic accesses. */
void chan_copy_racing_in(void *to, const void *from, size_t size);
void chan_copy_racing_out(void *to, const void *from, size_t size);

/* Sixteen bytes; fresh: loaded by eight. */
static inline __attribute__((always_inline)) void chan_copy_16(char *to, const char *from,
							       bool fresh)
{
	if (!fresh) {
		__builtin_memcpy(to, from, 16);
		return;
	}
#if defined(__SSE2__)
	double __attribute__((vector_size(16))) both;

	__asm__("movsd %1, %0" : "=x"(both) : "m"(*(const char(*)[8])from));
	__asm__("movhpd %1, %0" : "+x"(both) : "m"(*(const char(*)[8])(from + 8)));
	__builtin_memcpy(to, &both, 16);
#else
	uint64_t low, high;

	__builtin_memcpy(&low, from, 8);
	__builtin_memcpy(&high, from + 8, 8);
	/* Else the compiler makes one of the two. */
	__asm__("" : "+r"(low), "+r"(high));
	__builtin_memcpy(to, &low, 8);
	__asm__("" ::: "memory");
	__builtin_memcpy(to + 8, &high, 8);
#endif
}

/*
 * size <= CHAN_COPY_SMALL; fresh: a message on its way into the ring. Who fills it in and sends it has just stored it, field by
 * field: a load that is wider than the store that it meets waits until that has reached the cache, behind all earlier stores to the
 * ring.
 */
static inline __attribute__((always_inline)) void chan_copy_small(void *to, const void *from,
								  size_t size, bool fresh)
{
	char *t = to;
	const char *f = from;

	if (likely(size > 32)) {
		chan_copy_16(t, f, fresh);
		chan_copy_16(t + 16, f + 16, fresh);
		chan_copy_16(t + size - 32, f + size - 32, fresh);
		chan_copy_16(t + size - 16, f + size - 16, fresh);
	} else if (size >= 16) {
		chan_copy_16(t, f, fresh);
		chan_copy_16(t + size - 16, f + size - 16, fresh);
	} else if (size >= 8) {
		__builtin_memcpy(t, f, 8);
		__builtin_memcpy(t + size - 8, f + size - 8, 8);
	} else if (size >= 4) {
		__builtin_memcpy(t, f, 4);
		__builtin_memcpy(t + size - 4, f + size - 4, 4);
	} else if (size >= 2) {
		__builtin_memcpy(t, f, 2);
		__builtin_memcpy(t + size - 2, f + size - 2, 2);
	} else if (size) {
		*t = *f;
	}
}

/* size <= CHAN_COPY_SMALL, and then it calls nothing; with CHAN_COPY_RACES any size. */
static inline void chan_copy_in_small(void *to, const void *from, size_t size)
{
	if (CHAN_COPY_RACES)
		chan_copy_racing_in(to, from, size);
	else
		chan_copy_small(to, from, size, true);
}

static inline void chan_copy_out_small(void *to, const void *from, size_t size)
{
	if (CHAN_COPY_RACES)
		chan_copy_racing_out(to, from, size);
	else
		chan_copy_small(to, from, size, false);
}

static inline void chan_copy_in(struct chan_copier *copier, void *to, const void *from, size_t size)
{
	if (likely(size <= CHAN_COPY_SMALL) || CHAN_COPY_RACES)
		chan_copy_in_small(to, from, size);
	else if (likely(size < CHAN_COPY_BIG))
		__builtin_memcpy(to, from, size);
	else
		chan_copy_big(copier, to, from, size);
}

static inline bool chan_copy_can_be_wide(void)
{
#if defined(__x86_64__)
	return __builtin_cpu_supports("avx2");
#else
	return false;
#endif
}

/* streamed: its writer let big messages go past the caches. */
static inline void chan_copy_out(void *to, const void *from, size_t size, bool streamed)
{
	if (likely(size <= CHAN_COPY_SMALL) || CHAN_COPY_RACES)
		chan_copy_out_small(to, from, size);
	else if (streamed && size >= CHAN_COPY_LANES)
		chan_copy_by_lanes(to, from, size);
	else if (size < CHAN_COPY_LINES || (streamed && size >= CHAN_COPY_BIG))
		__builtin_memcpy(to, from, size);
	else if (size < CHAN_COPY_LONG && chan_copy_can_be_wide())
		chan_copy_by_wide_lines(to, from, size);
	else
		chan_copy_by_lines(to, from, size);
}
