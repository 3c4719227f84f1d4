/*
 * clock.h - the time of day, for each message: CLOCK_REALTIME, without a call for each.
 *
 * What a caller sees: the time as clock_gettime() has it; never less than the time before, unless the clock was set. Of messages that
 * follow each other within BURST_NS (clock.c), and what the copying takes at least, all but the first may be some 20 ns off; some
 * hundred while the clock is being adjusted.
 *
 * How it works: in such a burst the processor's counter is read, in half the time that clock_gettime() takes, and added to a time that
 * was read less than a tenth of a millisecond ago. How fast the counter goes is measured from one such reading to the next;
 * where the clock is being slowed, and what was told is ahead of it, the next times go slower yet. Only where the kernel keeps its own
 * time by that counter; else each time is read.
 */
#pragma once

#include "base/compiler.h"
#include <stdbool.h>

/* A writer's; all zeros to begin with. */
struct chan_clock {
	uint64_t ticks;	   /* of the counter, when the clock was read */
	uint64_t window;   /* as many later it is read again; 0: each time */
	uint64_t until;	   /* ticks, to which the burst lasts if there is another message */
	uint64_t burst;	   /* as many after a message */
	uint64_t byte;	   /* and as many more for each byte that is copied, times 2^32 */
	uint64_t rate;	   /* ns a tick, times 2^32, to count by until it is read again */
	int64_t ns;	   /* what was told when the clock was read */
	int64_t read;	   /* and what it was: the same, or less */
	uint64_t measured; /* as `rate`, of the clock; 0: not known */
	uint64_t quickest; /* ticks that a reading takes, undisturbed */
};

/* By the clock itself. ticks: the counter just now; size and last as of chan_clock_now(). */
int64_t chan_clock_read(struct chan_clock *clock, uint64_t ticks, size_t size, int64_t last);

static inline uint64_t chan_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t ticks;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
#else
	return 0;
#endif
}

static inline void chan_clock_go_on(struct chan_clock *clock, uint64_t now, size_t size)
{
	clock->until = now + clock->burst + (size * clock->byte >> 32);
}

/* By the counter alone; false: that will not do, or would go back. */
static inline bool chan_clock_count(struct chan_clock *clock, uint64_t ticks, size_t size,
				    int64_t last, int64_t *ret_ns)
{
	uint64_t since = ticks - clock->ticks;

	*ret_ns = clock->ns + (int64_t)(since * clock->rate >> 32);
	if (unlikely(since >= clock->window) || unlikely(ticks >= clock->until) ||
	    unlikely(*ret_ns < last))
		return false;
	chan_clock_go_on(clock, ticks, size);
	return true;
}

/* Of a message; so many bytes of it will be copied between this and the next one's. last: what was told last. */
static inline int64_t chan_clock_now(struct chan_clock *clock, size_t size, int64_t last)
{
	uint64_t ticks = chan_ticks();
	int64_t ns;

	return likely(chan_clock_count(clock, ticks, size, last, &ns)) ?
		       ns :
		       chan_clock_read(clock, ticks, size, last);
}
