/* test-copy.c - a copy is the same bytes, and nothing beyond; whichever way it goes. */
#include "chan/copy.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum {
	SMALL_MOST = 300,
	BIG_MOST = 3 << 20,
	AROUND = 128 /* bytes before and after that must stay */
};

static unsigned char *from_room, *to_room;
static unsigned seed = 11;

/* Ends at a page that nobody may touch. */
static unsigned char *room(size_t size)
{
	unsigned char *base = mmap(NULL, size + 65536, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(base != MAP_FAILED);
	assert_int_equal(mprotect(base + size, 65536, PROT_NONE), 0);
	return base;
}

static int set_up(void **state)
{
	(void)state;
	from_room = room(BIG_MOST + 65536);
	to_room = room(BIG_MOST + 65536);
	for (size_t i = 0; i < BIG_MOST + 65536; i++)
		from_room[i] = rand_r(&seed) >> 7;
	return 0;
}

static void expect(const unsigned char *to, const unsigned char *from, size_t size)
{
	assert_int_equal(memcmp(to, from, size), 0);
	for (int i = 0; i < AROUND; i++) {
		assert_int_equal(to[i - AROUND], 0xa5);
		assert_int_equal(to[size + i], 0xa5);
	}
}

static void in(struct chan_copier *copier, unsigned char *to, const unsigned char *from,
	       size_t size)
{
	memset(to - AROUND, 0xa5, size + 2 * AROUND);
	chan_copy_in(copier, to, from, size);
	expect(to, from, size);
}

static void out(unsigned char *to, const unsigned char *from, size_t size)
{
	for (int streamed = 0; streamed < 2; streamed++) {
		memset(to - AROUND, 0xa5, size + 2 * AROUND);
		chan_copy_out(to, from, size, streamed);
		expect(to, from, size);
	}
}

static void small_ones_of_all_sizes_and_alignments(void **state)
{
	struct chan_copier copier = {0};

	(void)state;
	for (size_t size = 0; size <= SMALL_MOST; size++)
		for (size_t align = 0; align < 64; align++)
			for (size_t line = 0; line < 64; line += 8) {
				in(&copier, to_room + 256 + line, from_room + align, size);
				out(to_room + 256 + align, from_room + line, size);
			}
}

static void streamed(unsigned char *to, const unsigned char *from, size_t size)
{
	memset(to - AROUND, 0xa5, size + 2 * AROUND);
	chan_copy_streamed(to, from, size);
	expect(to, from, size);
}

static void big_ones_of_random_sizes_either_way(void **state)
{
	struct chan_copier copier = {0};

	(void)state;
	for (int round = 0; round < 512; round++) {
		size_t most = CHAN_COPY_BIG << rand_r(&seed) % 9;
		size_t size = CHAN_COPY_BIG + rand_r(&seed) % most;
		size_t line = rand_r(&seed) % 8 * 8;

		in(&copier, to_room + 256 + line, from_room + round % 64, size);
		streamed(to_room + 256 + line, from_room + round % 64 + 1, size);
		out(to_room + 256 + round % 64, from_room + line, size);
	}
}

static void by_lines(void (*copy)(void *, const void *, size_t), unsigned char *to,
		     const unsigned char *from, size_t size)
{
	memset(to - AROUND, 0xa5, size + 2 * AROUND);
	copy(to, from, size);
	expect(to, from, size);
}

/* Whichever of the two this processor's readers use. */
static void lines_of_both_widths(void **state)
{
	(void)state;
	for (size_t size = 64; size <= 20000; size += size < 700 || size > 19900 ? 1 : 97)
		for (size_t align = 0; align < 64; align += size < 700 ? 1 : 13) {
			unsigned char *to = to_room + 256 + align;
			const unsigned char *from = from_room + size % 8 * 8;

			by_lines(chan_copy_by_lines, to, from, size);
			if (chan_copy_can_be_wide())
				by_lines(chan_copy_by_wide_lines, to, from, size);
		}
}

static void streamed_ones_of_all_sizes_and_alignments(void **state)
{
	(void)state;
	for (size_t size = 0; size <= SMALL_MOST; size++)
		for (size_t align = 0; align < 64; align++)
			streamed(to_room + 256 + size % 8 * 8, from_room + align, size);
}

static void each_way_is_tried(void **state)
{
	enum {
		SIZE = 5000,
		LAP = 10
	};
	struct chan_copier copier = {0};
	unsigned n[2] = {0, 0};

	(void)state;
	for (int round = 0; round < 3000; round++) {
		in(&copier, to_room + 256 + round % LAP * SIZE, from_room + round, SIZE);
		n[copier.way]++;
	}
#if !CHAN_COPY_RACES && (defined(__x86_64__) || defined(__aarch64__))
	assert_int_equal(copier.lap, 3000 / LAP - 1);
	/* How long the trial takes depends on how it goes. */
	assert_true(n[CHAN_COPY_CACHED] > 0 && n[CHAN_COPY_STREAMED] > 0);
	assert_int_equal(copier.classes[1].samples, 0);
#endif
}

static void nothing_beyond_the_last_page_is_touched(void **state)
{
	struct chan_copier copier = {0};
	unsigned char *from_end = from_room + BIG_MOST + 65536,
		      *to_end = to_room + BIG_MOST + 65536;

	(void)state;
	for (size_t size = 0; size <= 3 * CHAN_COPY_LANES;
	     size += size < SMALL_MOST || size % 64 == 63 || size % 64 == 0 ? 1 : 31) {
		size_t whole = ALIGN_UP(size, 8);

		chan_copy_in(&copier, to_end - whole, from_end - size, size);
		assert_int_equal(memcmp(to_end - whole, from_end - size, size), 0);
		for (int streamed = 0; streamed < 2; streamed++) {
			memset(to_end - size, 0, size);
			chan_copy_out(to_end - size, from_end - whole, size, streamed);
			assert_int_equal(memcmp(to_end - size, from_end - whole, size), 0);
		}
	}
}

static const size_t race_sizes[] = {1, 8, 24, 56, 64, 100, 4095, 4096, 10001};

static void *overwrite(void *ring)
{
	struct chan_copier copier = {0};

	for (int round = 0; round < 2000; round++)
		chan_copy_in(&copier, ring, from_room, race_sizes[round % ARRAY_SIZE(race_sizes)]);
	return NULL;
}

/* It is the thread sanitizer that would say something here. */
static void a_reader_may_be_overtaken(void **state)
{
	static _Alignas(64) unsigned char ring[10240];
	static unsigned char copy[10240];
	pthread_t writer;

	(void)state;
	assert_int_equal(pthread_create(&writer, NULL, overwrite, ring), 0);
	for (int round = 0; round < 2000; round++)
		chan_copy_out(copy, ring, race_sizes[round % ARRAY_SIZE(race_sizes)], false);
	assert_int_equal(pthread_join(writer, NULL), 0);
	chan_copy_out(copy, ring, 10001, false);
	assert_int_equal(memcmp(copy, from_room, 10001), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_ones_of_all_sizes_and_alignments),
		cmocka_unit_test(streamed_ones_of_all_sizes_and_alignments),
		cmocka_unit_test(lines_of_both_widths),
		cmocka_unit_test(big_ones_of_random_sizes_either_way),
		cmocka_unit_test(each_way_is_tried),
		cmocka_unit_test(nothing_beyond_the_last_page_is_touched),
		cmocka_unit_test(a_reader_may_be_overtaken),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
