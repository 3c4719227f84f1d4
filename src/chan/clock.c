/* clock.c - see clock.h. */
#include "chan/clock.h"
#include "base/os.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#define WINDOW_NS 100000ull
/* Readings closer together say little of the rate; further apart they may have a suspension between them. */
#define LEAST_NS 80000ll
#define MOST_NS	 1000000000ll
/* Beyond what a clock that is being adjusted differs by. */
#define STEP_NS 100000ll
#define SMOOTH	8
/* A tick that takes longer says too little: arm64 may count 24 millions of them a second. */
#define TICK_MOST_NS 2ull
/* Who looks at the clock between two messages mostly takes longer. */
#define BURST_NS 64ull
/* No copy is quicker. */
#define BYTES_A_NS 32ull

/* Does the kernel believe in the counter? It may have found that processors disagree. */
static bool is_usable(void)
{
	static int8_t usable = -1;
	int8_t found = __atomic_load_n(&usable, __ATOMIC_RELAXED);
	char name[64] = "";

	if (found >= 0)
		return found;
	os_read_file("/sys/devices/system/clocksource/clocksource0/current_clocksource", name,
		     sizeof(name));
	name[strcspn(name, "\n")] = '\0';
	found = !strcmp(name, "tsc") || !strcmp(name, "kvm-clock") ||
		!strcmp(name, "hyperv_clocksource_tsc_page") || !strcmp(name, "arch_sys_counter");
	__atomic_store_n(&usable, found, __ATOMIC_RELAXED);
	return found;
}

/* From the reading before to this one: `gone` by the clock, which was not raised to what was told. */
static void measure(struct chan_clock *clock, uint64_t ticks, int64_t gone)
{
	int64_t rate, known = (int64_t)clock->measured;

	clock->window = 0;
	if (gone < LEAST_NS || gone > MOST_NS || ticks <= clock->ticks)
		return;
	rate = (int64_t)(((uint64_t)gone << 32) / (ticks - clock->ticks));
	/* The clock was set meanwhile, or the counter. */
	if (rate == 0 || (known && (rate > known + known / 1024 || rate < known - known / 1024))) {
		clock->measured = 0;
		return;
	}
	if ((uint64_t)rate > TICK_MOST_NS << 32)
		return;
	clock->measured = (uint64_t)(known ? known + (rate - known) / SMOOTH : rate);
	clock->window = (WINDOW_NS << 32) / clock->measured;
	clock->burst = (BURST_NS << 32) / clock->measured;
	clock->byte = (UINT64_MAX / BYTES_A_NS) / clock->measured;
}

int64_t chan_clock_read(struct chan_clock *clock, uint64_t ticks, size_t size, int64_t last)
{
	struct timespec now = {0, 0};
	uint64_t took;
	int64_t read, ns;
	bool anew;

	clock_gettime(CLOCK_REALTIME, &now);
	ns = read = now.tv_sec * 1000000000ll + now.tv_nsec;
	if (ns < last && last - ns < STEP_NS)
		ns = last;
	if (!is_usable())
		return ns;
	/* Too early to measure by. */
	if (read >= clock->read && read - clock->read < LEAST_NS) {
		chan_clock_go_on(clock, ticks + clock->quickest, size);
		return ns;
	}
	took = chan_ticks() - ticks;
	chan_clock_go_on(clock, ticks + took, size);
	/* The thread was held between the readings of the two: now, or at the last one that was so much slower. */
	anew = took < clock->quickest / 3 * 2 || clock->quickest == 0;
	if (anew || took < clock->quickest)
		clock->quickest = took;
	if (took > clock->quickest + clock->quickest / 2) {
		clock->quickest += clock->quickest / 64 + 1;
		return ns;
	}
	ticks += took * 5 / 8; /* about when it was */
	if (anew)
		clock->measured = clock->window = 0;
	else
		measure(clock, ticks, read - clock->read);
	/* Of what it is ahead, it loses half until the next one. */
	clock->rate = clock->measured - clock->measured / (2 * WINDOW_NS) * (uint64_t)(ns - read);
	clock->ticks = ticks;
	clock->read = read;
	clock->ns = ns;
	return ns;
}
