/*
 * lag.h - a reader that lags behind a busy writer on purpose.
 *
 * What a caller sees: chan_lag() is called whenever the reader has caught up with the writer. Mostly it does nothing; under a writer at
 * full speed it lets some time pass, so that there is a good part of the ring to read at once.
 *
 * Why: a line that was just written lies in the cache of the writer's processor. To fetch it from there costs more than from the
 * cache that both share, to where it goes by and by; and a reader that looks for the next one takes that line from the writer, which
 * needs it back. Two that run close to each other take turns at this, and are several times slower than two that keep a distance.
 *
 * How it works. How many lines a reader gets by without a lag is measured all the time. If they are many and it catches up again and
 * again, it tries a lag: longer and longer, until the writer is three eighths of the ring ahead. If that is not faster by a quarter, it
 * is left, and tried again after a while, a longer one each time. One that brings next to nothing ends at once: somebody waits for
 * an answer. A lag that has proved good is measured against none now and then.
 */
#pragma once

#include "base/compiler.h"
#include <stdbool.h>

/* A reader's; all zeros to begin with. */
struct chan_lag {
	uint64_t pos;	   /* where it caught up last */
	uint64_t since_ns; /* the window of measuring */
	uint64_t since_pos;
	uint64_t pause_ns;    /* 0: no lag */
	uint64_t kept_ns;     /* the pause that has proved good */
	uint64_t baseline;    /* lines in a ms, without a lag */
	uint32_t times;	      /* caught up, in this window */
	uint32_t ramp;	      /* steps until the pause is long enough */
	bool far;	      /* the last lag ended with the writer far ahead */
	uint32_t hold, holds; /* windows until the next try */
	uint32_t kept_for;    /* windows */
};

/* The reader has caught up at pos, in a ring of so many lines; floor is the writer's. */
void chan_lag(struct chan_lag *lag, uint64_t pos, uint64_t lines, const uint64_t *floor);
