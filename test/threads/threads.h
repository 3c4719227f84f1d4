/* threads.h - what the tests of threads share: what all of them may say is wrong, and threads that begin together. */
#pragma once

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define THREADS_MOST 16u
#define UNUSED	     __attribute__((unused))

static atomic_int wrong;

/* cmocka's assertions are for the first thread alone. */
#define MUST(what)                                                                              \
	do {                                                                                    \
		if (!(what)) {                                                                  \
			if (atomic_fetch_add(&wrong, 1) < 5)                                    \
				print_error("line %d: %s: errno %d\n", __LINE__, #what, errno); \
		}                                                                               \
	} while (0)

static struct start {
	void *(*work)(void *);
	void *arg;
	void (*enter)(void);
} starts[THREADS_MOST];
static pthread_barrier_t all_started;

static void *started(void *arg)
{
	const struct start *start = arg;

	start->enter();
	pthread_barrier_wait(&all_started);
	return start->work(start->arg);
}

/*
 * Each with its number. enter() makes a call, so that each has its journal before any ends: that of a thread which has
 * ended goes on by the kernel's word for its end, which ThreadSanitizer does not hear.
 */
static UNUSED void run_together(void *(*const work[])(void *), unsigned n, void (*enter)(void))
{
	pthread_t threads[THREADS_MOST];

	assert_in_range(n, 1, THREADS_MOST);
	pthread_barrier_init(&all_started, NULL, n);
	for (unsigned i = 0; i < n; i++) {
		starts[i] = (struct start){work[i], (void *)(uintptr_t)i, enter};
		assert_int_equal(pthread_create(&threads[i], NULL, started, &starts[i]), 0);
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&all_started);
	assert_int_equal(atomic_load(&wrong), 0);
}
