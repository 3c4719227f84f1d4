/* test-slab.c - the slab keeps its invariants, and a transaction is all or nothing. */
#include "arena/slab.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct arena arena;
static char path[64];

static int nothing(struct arena *a)
{
	(void)a;
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "/dev/shm/vee-test-slab.%d", getpid());
	return arena_open(&arena, path, 0600, true, nothing);
}

static int tear_down(void **state)
{
	(void)state;
	arena_close(&arena);
	return unlink(path);
}

static struct tx *begin(void)
{
	struct tx *tx;

	assert_int_equal(tx_begin(&arena, &tx), 0);
	return tx;
}

static ref_t alloc(struct tx *tx, uint64_t size)
{
	ref_t ref = 0;

	assert_int_equal(arena_alloc(tx, size, &ref), 0);
	assert_true(ref >= ARENA_HEAP_AT);
	assert_true(arena_size_of(&arena, ref) >= size);
	return ref;
}

static void random_allocs_and_frees_keep_the_invariants(void **state)
{
	enum {
		N = 600,
		ROUNDS = 20000
	};
	static struct {
		ref_t ref;
		uint64_t size;
	} held[N];
	unsigned seed = 7;

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		int i = rand_r(&seed) % N;
		struct tx *tx = begin();

		if (held[i].ref) {
			const unsigned char *at = arena_ptr(&arena, held[i].ref);

			/* Nobody else has been given these bytes. */
			assert_int_equal(at[0], i & 0xff);
			assert_int_equal(at[held[i].size - 1], i & 0xff);
			arena_free(tx, held[i].ref);
			held[i].ref = 0;
		} else {
			unsigned shift = rand_r(&seed) % 16;

			held[i].size = 1 + rand_r(&seed) % (1u << shift);
			held[i].ref = alloc(tx, held[i].size);
			memset(arena_ptr(&arena, held[i].ref), i, held[i].size);
		}
		tx_commit(tx);
		if (round % 500 == 0)
			assert_null(arena_check(&arena));
	}
	for (int i = 0; i < N; i++) {
		struct tx *tx = begin();

		arena_free(tx, held[i].ref);
		tx_commit(tx);
	}
	assert_null(arena_check(&arena));
	/* What stays is at most a page for each class. */
	assert_true(arena.header->heap_used <= ARENA_CLASSES);
}

static void an_abort_takes_everything_back(void **state)
{
	static unsigned char before[2 * ARENA_PAGE];
	struct tx *tx = begin();
	ref_t kept = alloc(tx, 24);

	(void)state;
	tx_commit(tx);
	memcpy(before, arena.base, ARENA_PAGE);
	tx = begin();
	for (uint64_t size = 1; size < 40000; size *= 3)
		memset(arena_ptr(&arena, alloc(tx, size)), 0xee, size);
	arena_free(tx, kept);
	tx_abort(tx);
	assert_memory_equal(before, arena.base, ARENA_PAGE);
	assert_null(arena_check(&arena));
	tx = begin();
	arena_free(tx, kept);
	tx_commit(tx);
}

static void what_can_not_be_met_changes_nothing(void **state)
{
	uint32_t used = arena.header->heap_used;
	struct tx *tx = begin();
	ref_t ref = 0;

	(void)state;
	assert_int_equal(arena_alloc(tx, ARENA_SIZE, &ref), -ENOMEM);
	assert_int_equal(arena_alloc(tx, UINT64_MAX / 2, &ref), -ENOMEM);
	assert_int_equal(ref, 0);
	tx_commit(tx);
	assert_int_equal(arena.header->heap_used, used);
	assert_null(arena_check(&arena));
}

static void runs_that_are_freed_in_any_order_become_one(void **state)
{
	static const int order[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
				       {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	uint32_t used = arena.header->heap_used;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++) {
		struct tx *tx = begin();
		ref_t run[3] = {alloc(tx, 5 * ARENA_PAGE), alloc(tx, 1 * ARENA_PAGE),
				alloc(tx, 3 * ARENA_PAGE)};

		tx_commit(tx);
		for (unsigned k = 0; k < 3; k++) {
			tx = begin();
			arena_free(tx, run[order[i][k]]);
			tx_commit(tx);
			/* It says so if two free runs touch. */
			assert_null(arena_check(&arena));
		}
		assert_int_equal(arena.header->heap_used, used);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_allocs_and_frees_keep_the_invariants),
		cmocka_unit_test(an_abort_takes_everything_back),
		cmocka_unit_test(what_can_not_be_met_changes_nothing),
		cmocka_unit_test(runs_that_are_freed_in_any_order_become_one),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
