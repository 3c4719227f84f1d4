/* lag.c - see lag.h. */
#include "chan/lag.h"
#include "base/os.h"

#define WINDOW_NS    500000u
#define WINDOW_TIMES 16u
/* Without a lag: fewer lines in a ms are no trouble. */
#define BUSY_LINES 4000u
/* Doubled so many times: 512 us at most. */
#define FIRST_NS 1000u
#define STEPS	 9u
#define MOST_NS	 (FIRST_NS << STEPS)
/* The lines of a burst that is an answer. */
#define ANSWER	   3u
#define LAG_TIMES  6u
#define HOLDS_MOST 2048u
/* Windows until a good lag is measured against none. */
#define KEEP 256u

static void begin_window(struct chan_lag *lag, uint64_t pos, uint64_t now)
{
	lag->since_ns = now;
	lag->since_pos = pos;
	lag->times = 0;
}

static void give_up(struct chan_lag *lag)
{
	lag->pause_ns = lag->kept_ns = 0;
	if (lag->holds < HOLDS_MOST)
		lag->holds = 2 * lag->holds + 1;
	lag->hold = lag->holds;
}

static uint64_t lines_in_a_ms(const struct chan_lag *lag, uint64_t pos, uint64_t now)
{
	return (pos - lag->since_pos) * 1000000 / (now - lag->since_ns + 1);
}

static void without_lag(struct chan_lag *lag, uint64_t pos, uint64_t now)
{
	if (now - lag->since_ns < WINDOW_NS)
		return;
	lag->baseline = lines_in_a_ms(lag, pos, now);
	if (lag->times >= WINDOW_TIMES && lag->baseline >= BUSY_LINES) {
		if (lag->kept_ns || lag->hold == 0) {
			lag->pause_ns = lag->kept_ns ? lag->kept_ns : FIRST_NS;
			lag->ramp = lag->kept_ns ? 0 : STEPS;
		} else {
			lag->hold--;
		}
	} else {
		lag->kept_ns = 0;
	}
	begin_window(lag, pos, now);
}

static void with_lag(struct chan_lag *lag, uint64_t pos, uint64_t burst, uint64_t now)
{
	if (burst < ANSWER) {
		give_up(lag);
		begin_window(lag, pos, now);
		return;
	}
	if (!lag->far && lag->pause_ns < MOST_NS)
		lag->pause_ns *= 2;
	if (lag->ramp && !lag->far) {
		lag->ramp--;
		begin_window(lag, pos, now);
		return;
	}
	lag->ramp = 0;
	if (lag->times < LAG_TIMES || now - lag->since_ns < WINDOW_NS)
		return;
	if (lines_in_a_ms(lag, pos, now) < lag->baseline + lag->baseline / 4) {
		give_up(lag);
	} else {
		lag->holds = 0;
		lag->kept_ns = lag->pause_ns;
		if (++lag->kept_for % KEEP == 0)
			lag->pause_ns = 0;
	}
	begin_window(lag, pos, now);
}

void chan_lag(struct chan_lag *lag, uint64_t pos, uint64_t lines, const uint64_t *floor)
{
	uint64_t now = os_monotonic_ns(), burst = pos - lag->pos, until;
	/* The writer is about a ring ahead of what it has given up: by up to a section less, of which there are many. */
	uint64_t far = pos - lines + lines / 16 + lines / 8 * 3;

	lag->pos = pos;
	lag->times++;
	if (lag->pause_ns)
		with_lag(lag, pos, burst, now);
	else
		without_lag(lag, pos, now);
	lag->far = false;
	for (until = now + lag->pause_ns; now < until && !lag->far; now = os_monotonic_ns()) {
		for (unsigned i = 0; i < 8; i++)
			cpu_relax();
		lag->far = pos >= lines && __atomic_load_n(floor, __ATOMIC_RELAXED) >= far;
	}
}
