/* test-clock.c - stamps follow a clock that is being adjusted, and never go back: with a clock and a counter of our own. */
#include "base/os.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* Time goes on while somebody looks at it; the clock at another speed than the counter, and with some jitter. */
static double passed_ns, clock_ns, speed;

static void pass(double ns)
{
	passed_ns += ns;
	clock_ns += ns * speed;
}

static uint64_t our_ticks(void)
{
	pass(8);
	return (uint64_t)(passed_ns * 2.6);
}

static int our_gettime(clockid_t id, struct timespec *ret_now)
{
	(void)id;
	pass(8 + rand() % 5);
	*ret_now =
		(struct timespec){(time_t)(clock_ns / 1e9), (long)((int64_t)clock_ns % 1000000000)};
	pass(8 + rand() % 5);
	return 0;
}

static ssize_t our_read_file(const char *path, char *buf, size_t size)
{
	(void)path;
	assert_true(size > 4);
	strcpy(buf, "tsc\n");
	return 4;
}

#define __builtin_ia32_rdtsc our_ticks
#define clock_gettime	     our_gettime
#define os_read_file	     our_read_file
#include "chan/clock.c"

/* A message each 30 ns or so; the clock is slower and quicker by turns, and now and then there is a pause. Stamps are nearer than that. */
static void busy_for(unsigned ms, double slew, double pause_ns, double most_ns)
{
	struct chan_clock clock = {.ticks = 0};
	double paused_ns = 0;
	int64_t last = 0;

	/* Another processor's counter is not so easily another one. */
#if !defined(__x86_64__)
	skip();
#endif
	passed_ns = 0;
	clock_ns = 1e12;
	while (passed_ns < ms * 1e6) {
		int64_t now;

		speed = 1 + ((uint64_t)(passed_ns / 2e7) % 2 ? -slew : slew);
		now = chan_clock_now(&clock, 64);
		assert_true(now >= last);
		assert_true(now - clock_ns < most_ns && clock_ns - now < most_ns);
		last = now;
		pass(rand() % 20);
		if (pause_ns > 0 && passed_ns - paused_ns > 3e6) {
			pass(pause_ns);
			paused_ns = passed_ns;
		}
	}
}

static void stamps_are_near_a_clock_that_goes_on(void **state)
{
	(void)state;
	busy_for(60, 0, 0, 60);
	busy_for(60, 0, 1e6, 60);
}

static void stamps_follow_a_clock_that_is_adjusted(void **state)
{
	(void)state;
	busy_for(120, 1e-5, 0, 60);
	busy_for(120, 5e-4, 0, 1000);
	busy_for(120, 5e-4, 1e6, 1000);
	busy_for(120, 5e-3, 0, 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stamps_are_near_a_clock_that_goes_on),
		cmocka_unit_test(stamps_follow_a_clock_that_is_adjusted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
