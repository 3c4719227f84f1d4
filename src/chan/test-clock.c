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
/* The thread is held for up to so long, one time in fifty: at its first reading, and once it knows how fast the counter goes. */
static unsigned held_ns;

static void pass(double ns)
{
	passed_ns += ns;
	clock_ns += ns * speed;
}

static void may_be_held(void)
{
	if (held_ns && (passed_ns == 8 || (passed_ns > 5e5 && rand() % 50 == 0)))
		pass(1 + rand() % held_ns);
}

static uint64_t our_ticks(void)
{
	may_be_held();
	pass(8);
	return (uint64_t)(passed_ns * 2.6);
}

static int our_gettime(clockid_t id, struct timespec *ret_now)
{
	(void)id;
	may_be_held();
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
	double paused_ns = 0, before_ns;
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
		before_ns = clock_ns;
		now = chan_clock_now(&clock, 64, last);
		assert_true(now >= last);
		assert_true(now - clock_ns < most_ns && before_ns - now < most_ns);
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

static void stamps_of_a_thread_that_is_held_anywhere_are_no_further_off(void **state)
{
	(void)state;
	for (held_ns = 10; held_ns <= 1000000; held_ns *= 10) {
		busy_for(60, 0, 0, 60);
		busy_for(60, 5e-4, 1e6, 1000);
	}
}

static int hold_no_more(void **state)
{
	(void)state;
	held_ns = 0;
	return 0;
}

/* It goes back with the clock, then on; forth too. */
static void stamps_follow_a_clock_that_is_set(void **state)
{
	struct chan_clock clock = {.ticks = 0};
	int64_t last = 0, now;

	(void)state;
#if !defined(__x86_64__)
	skip();
#endif
	passed_ns = 0;
	clock_ns = 1e12;
	speed = 1;
	for (unsigned set = 0; set < 40; set++) {
		for (double until_ns = passed_ns + 1e6; passed_ns < until_ns; last = now) {
			now = chan_clock_now(&clock, 64, last);
			assert_true(now >= last || passed_ns < until_ns - 8e5);
			/* Within a window of the counter. */
			if (passed_ns > until_ns - 8e5)
				assert_true(now - clock_ns < 60 && clock_ns - now < 60);
			pass(rand() % 20);
		}
		clock_ns += set % 2 ? 1e9 : -5e8;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stamps_are_near_a_clock_that_goes_on),
		cmocka_unit_test(stamps_follow_a_clock_that_is_adjusted),
		cmocka_unit_test_teardown(
			stamps_of_a_thread_that_is_held_anywhere_are_no_further_off, hold_no_more),
		cmocka_unit_test(stamps_follow_a_clock_that_is_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
