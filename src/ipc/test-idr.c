/* test-idr.c - the radix tree against a plain array. */
#include "ipc/idr.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct arena arena;
static struct idr *idr;
static char path[64];
static ref_t model[IDR_MAX];

static int nothing(struct arena *a)
{
	(void)a;
	return 0;
}

static int set_up(void **state)
{
	int ret;

	(void)state;
	snprintf(path, sizeof(path), "/dev/shm/vee-test-idr.%d", getpid());
	ret = arena_open(&arena, path, 0600, true, nothing);
	idr = arena_root(&arena);
	return ret;
}

static int tear_down(void **state)
{
	(void)state;
	arena_close(&arena);
	return unlink(path);
}

static int add(uint32_t end)
{
	/* Any aligned reference into the heap will do: the tree does not follow it. */
	ref_t ref = ARENA_HEAP_AT + 8 * (1 + rand() % 1000);
	struct tx *tx;
	int index;

	assert_int_equal(tx_begin(&arena, &tx), 0);
	index = idr_alloc_cyclic(tx, idr, ref, end);
	tx_commit(tx);
	if (index >= 0) {
		assert_int_equal(model[index], 0);
		model[index] = ref;
	}
	return index;
}

static void take(uint32_t index)
{
	struct tx *tx;

	assert_int_equal(tx_begin(&arena, &tx), 0);
	idr_remove(tx, idr, index);
	tx_commit(tx);
	model[index] = 0;
}

static void compare(void)
{
	int last = -1, next = -1;

	assert_null(idr_check(&arena, idr));
	for (int i = 0; i < (int)IDR_MAX; i++) {
		assert_int_equal(idr_find(&arena, idr, i), model[i]);
		if (!model[i])
			continue;
		next = idr_next(&arena, idr, last + 1);
		assert_int_equal(next, i);
		last = i;
	}
	assert_int_equal(idr_next(&arena, idr, last + 1), -1);
	assert_int_equal(idr_last(&arena, idr), last);
}

static void indices_go_round(void **state)
{
	(void)state;
	for (int i = 0; i < 64; i++)
		assert_int_equal(add(64), i);
	assert_int_equal(add(64), -ENOSPC);
	take(5);
	take(60);
	assert_int_equal(add(64), 5);
	assert_int_equal(add(64), 60);
	for (int i = 0; i < 64; i++)
		take(i);
	compare();
}

static void it_agrees_with_an_array(void **state)
{
	(void)state;
	for (int round = 0; round < 60000; round++) {
		int index = rand() % 3000;

		if (model[index])
			take(index);
		else
			add(3000);
		if (round % 10000 == 0)
			compare();
	}
	for (uint32_t i = 0; i < IDR_MAX; i++)
		if (model[i])
			take(i);
	compare();
}

static void it_holds_every_index(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < IDR_MAX; i++)
		assert_true(add(IDR_MAX) >= 0);
	assert_int_equal(add(IDR_MAX), -ENOSPC);
	compare();
	assert_int_equal(idr_find(&arena, idr, IDR_MAX), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(indices_go_round),
		cmocka_unit_test(it_agrees_with_an_array),
		cmocka_unit_test(it_holds_every_index),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
