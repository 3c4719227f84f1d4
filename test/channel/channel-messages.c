/* channel-messages.c - what is written is read: sizes, numbers, times, messages in place, where a reader starts. */
#include "common.h"

#include <stdatomic.h>

/* --- sizes --- */

static void each_size_arrives_whole(void **state)
{
	static const size_t sizes[] = {0,  1,  7,  8,  9,  15,	16,  17,   31,	 32,   33,
				       39, 40, 41, 47, 48, 49,	55,  56,   57,	 63,   64,
				       65, 71, 72, 73, 79, 111, 112, 4095, 4096, 4097, 16000};
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
	uint64_t number = 0;

	(void)state;
	for (unsigned round = 0; round < 50; round++)
		for (unsigned i = 0; i < COUNT(sizes); i++) {
			struct vee_channel_message message;

			write_one(writer, sizes[i], ++number);
			message = read_sound(reader);
			assert_int_equal(message.size, sizes[i]);
			assert_int_equal(message.sequence, number);
			assert_int_equal(message.lost, 0);
		}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void every_size_arrives_whole_at_every_place(void **state)
{
	static char text[64 * KIB];
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
	size_t most = stat_of(writer).message_size_max;

	(void)state;
	fill_message(text, sizeof(text), 1);
	for (size_t size = 0; size <= most; size++) {
		const char *from = text + size % 1000;

		assert_int_equal(vee_channel_write(writer, from, size), 0);
		buf[size] = '#';
		assert_int_equal(vee_channel_read(reader, buf, sizeof(buf), NULL), size);
		assert_memory_equal(buf, from, size);
		assert_int_equal(buf[size], '#');
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* Two readers, at different distances behind the writer. */
static void messages_of_all_sizes_lie_side_by_side(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *near = new_reader(0),
			   *far = new_reader(0);
	uint64_t next_near = 1, next_far = 1;

	(void)state;
	for (uint64_t number = 1; number <= 40000; number++) {
		write_one(writer, size_of(number, 900), number);
		if (hash(number) % 16 == 0 || number - next_near == 50)
			for (; next_near <= number; next_near++)
				assert_int_equal(read_sound(near).size, size_of(next_near, 900));
		for (; next_far + 40 <= number; next_far++)
			assert_int_equal(read_sound(far).sequence, next_far);
	}
	assert_int_equal(stat_of(near).lost, 0);
	assert_int_equal(stat_of(far).lost, 0);
	vee_channel_close(near);
	vee_channel_close(far);
	vee_channel_close(writer);
}

static void a_quarter_of_the_ring_is_the_most(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
	size_t most = RING_LEAST / 4;

	(void)state;
	assert_int_equal(stat_of(writer).message_size_max, most);
	for (unsigned i = 0; i < 40; i++) {
		write_many(writer, 1, most);
		assert_int_equal(read_sound(reader).size, most);
		write_many(writer, 1, i * 16);
		read_sound(reader);
	}
	assert_int_equal(write_error(writer, most + 1, NULL), EMSGSIZE);
	assert_null_and(vee_channel_reserve(writer, most + 1, NULL), EMSGSIZE);
	assert_null_and(vee_channel_reserve(writer, SIZE_MAX, NULL), EMSGSIZE);
	assert_fails(vee_channel_write(writer, "", SIZE_MAX), EMSGSIZE);
	assert_fails(vee_channel_write(writer, "", 1ul << 32), EMSGSIZE);
	assert_non_null(vee_channel_reserve(writer, most, NULL));
	assert_int_equal(vee_channel_commit(writer, most), 0);
	assert_int_equal(read_one(reader).sequence, 81);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_reader_that_is_lapped_by_the_longest_goes_on(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
	uint64_t sum = 0;

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		struct vee_channel_message message;

		write_many(writer, 1 + i % 9, RING_LEAST / 4 - i * 8);
		message = read_sound(reader);
		sum += message.lost + 1;
		assert_int_equal(message.sequence, sum);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void what_does_not_fit_the_buffer_stays(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);
	struct vee_channel_message message = {.size = 0};

	(void)state;
	write_many(writer, 2, 100);
	for (unsigned i = 0; i < 3; i++) {
		assert_fails(vee_channel_read(reader, buf, 99, &message), EMSGSIZE);
		assert_int_equal(message.size, 100);
		assert_int_equal(message.sequence, 1);
		assert_fails(vee_channel_read(reader, NULL, 0, NULL), EMSGSIZE);
	}
	assert_int_equal(stat_of(reader).received, 0);
	assert_int_equal(vee_channel_read(reader, buf, 100, &message), 100);
	assert_true(is_message(buf, 100, 1));
	assert_int_equal(message.sequence, 1);
	assert_int_equal(read_sound(reader).sequence, 2);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void no_bytes_need_no_buffer(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);
	struct vee_channel_message message = {.size = 7};

	(void)state;
	for (unsigned i = 0; i < 2000; i++) {
		assert_int_equal(vee_channel_write(writer, NULL, 0), 0);
		assert_int_equal(vee_channel_read(reader, NULL, 0, &message), 0);
		assert_int_equal(message.size, 0);
		assert_int_equal(message.sequence, i + 1);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* --- numbers and times --- */

static void numbers_count_from_1_and_none_is_skipped(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);

	(void)state;
	assert_int_equal(stat_of(writer).written, 0);
	for (uint64_t number = 1; number <= 5000; number++) {
		write_one(writer, size_of(number, 3000), number);
		/* What fails takes no number. */
		assert_int_equal(write_error(writer, RING_LEAST, &none), EMSGSIZE);
		assert_int_equal(read_sound(reader).sequence, number);
		assert_int_equal(stat_of(writer).written, number);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void times_are_those_of_the_writing(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
	int64_t last = 0;

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		int64_t before = clock_ns(CLOCK_REALTIME), after;
		struct vee_channel_message message;

		write_many(writer, 1, i % 200);
		after = clock_ns(CLOCK_REALTIME);
		message = read_sound(reader);
		/* What the counter told may be some ns ahead of the clock, and is not taken back. */
		assert_in_range(message.time_ns, before, after + 100);
		assert_true(message.time_ns >= last);
		last = message.time_ns;
		assert_int_equal(stat_of(reader).time_ns, last);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_reserved_message_has_the_time_of_its_commit(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);
	int64_t reserved;

	(void)state;
	assert_non_null(vee_channel_reserve(writer, 8, NULL));
	sleep_ms(5);
	reserved = clock_ns(CLOCK_REALTIME);
	assert_int_equal(vee_channel_commit(writer, 8), 0);
	assert_true(read_one(reader).time_ns >= reserved);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static struct vee_channel *stamping_writer(unsigned every)
{
	struct vee_channel_create_options options = {.stamp_every = every};

	return vee_channel_create(channel_name, &options);
}

static void messages_in_a_row_share_a_time_if_asked(void **state)
{
	struct vee_channel *writer = stamping_writer(4), *reader = new_reader(0);
	int64_t start = clock_ns(CLOCK_REALTIME), times[12];

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		write_many(writer, 1, 40 + i);
		sleep_ms(1);
	}
	for (unsigned i = 0; i < 12; i++)
		times[i] = read_sound(reader).time_ns;
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(times[i], times[i / 4 * 4]);
		assert_true(times[i] >= start && times[i] <= clock_ns(CLOCK_REALTIME));
	}
	assert_true(times[4] > times[3] && times[8] > times[7]);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* The reader never saw the message that had the stamp in it. */
static void a_late_reader_knows_the_time_too(void **state)
{
	struct vee_channel *writer = stamping_writer(1024), *reader;
	struct vee_channel_open_options options = {.start = VEE_CHANNEL_SEQUENCE, .sequence = 700};
	int64_t before = clock_ns(CLOCK_REALTIME), after;

	(void)state;
	write_many(writer, 1, 40);
	after = clock_ns(CLOCK_REALTIME);
	write_many(writer, 999, 40);
	reader = vee_channel_open(channel_name, &options);
	assert_in_range(read_sound(reader).time_ns, before, after);
	vee_channel_close(reader);
	reader = new_reader(VEE_CHANNEL_LAST);
	assert_in_range(read_sound(reader).time_ns, before, after);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* --- in place --- */

static void what_is_reserved_is_seen_when_it_is_committed(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);

	(void)state;
	for (uint64_t number = 1; number <= 3000; number++) {
		size_t size = size_of(number, 1500);
		void *at = vee_channel_reserve(writer, size, &none);

		assert_non_null(at);
		assert_int_equal((uintptr_t)at % 8, 0);
		fill_message(at, size, number);
		assert_int_equal(read_error(reader, &none), EAGAIN);
		assert_int_equal(vee_channel_commit(writer, size), 0);
		assert_int_equal(read_sound(reader).size, size);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void less_may_be_committed(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);

	(void)state;
	for (uint64_t number = 1; number <= 3000; number++) {
		size_t size = size_of(number, number % 2 ? 1500 : 6000);
		size_t reserved = number % 2 ? 2000 : 6000;
		void *at = vee_channel_reserve(writer, reserved, NULL);

		assert_int_equal((uintptr_t)at % (reserved < 1024 ? 8 : 64), 0);
		fill_message(at, reserved, number);
		assert_int_equal(vee_channel_commit(writer, size), 0);
		assert_int_equal(read_sound(reader).size, size);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* What its maker has put where the next message will be: all that a word of the ring could be. */
static void forge(uint64_t *at, unsigned n, uint64_t number)
{
	for (unsigned i = 0; i < n; i++)
		at[i] = number << 32 | (i % 3 ? 0x40000000 : 0) | i % 64;
}

static void what_is_left_behind_a_shorter_message_is_none(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);

	(void)state;
	for (uint64_t number = 1; number <= 2000; number += 2) {
		forge(vee_channel_reserve(writer, 800, NULL), 100, number + 1);
		assert_int_equal(vee_channel_commit(writer, number % 600), 0);
		read_one(reader);
		assert_int_equal(read_error(reader, &none), EAGAIN);
		forge(vee_channel_reserve(writer, 800, NULL), 100, number + 2);
		vee_channel_abort(writer);
		write_one(writer, 20, number + 1);
		assert_int_equal(read_sound(reader).size, 20);
		assert_int_equal(read_error(reader, &none), EAGAIN);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void what_is_aborted_leaves_no_trace(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);

	(void)state;
	for (uint64_t number = 1; number <= 3000; number++) {
		fill_message(vee_channel_reserve(writer, 1000, NULL), 1000, 5);
		vee_channel_abort(writer);
		assert_fails(vee_channel_commit(writer, 10), EINVAL);
		write_one(writer, 24, number);
		assert_int_equal(read_sound(reader).sequence, number);
		assert_int_equal(read_error(reader, &none), EAGAIN);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_write_or_another_reserve_ends_the_first(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);

	(void)state;
	fill_message(vee_channel_reserve(writer, 1000, NULL), 1000, 5);
	write_many(writer, 1, 24);
	assert_fails(vee_channel_commit(writer, 24), EINVAL);
	assert_int_equal(read_sound(reader).size, 24);
	fill_message(vee_channel_reserve(writer, 1000, NULL), 1000, 5);
	fill_message(vee_channel_reserve(writer, 30, NULL), 30, 2);
	assert_fails(vee_channel_commit(writer, 31), EINVAL);
	assert_int_equal(vee_channel_commit(writer, 30), 0);
	assert_int_equal(read_sound(reader).size, 30);
	/* So does one that fails. */
	assert_non_null(vee_channel_reserve(writer, 30, NULL));
	assert_int_equal(write_error(writer, RING_LEAST, NULL), EMSGSIZE);
	assert_fails(vee_channel_commit(writer, 30), EINVAL);
	assert_non_null(vee_channel_reserve(writer, 30, NULL));
	assert_null(vee_channel_reserve(writer, RING_LEAST, NULL));
	assert_fails(vee_channel_commit(writer, 30), EINVAL);
	assert_int_equal(read_error(reader, &none), EAGAIN);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* What is reserved in vain reaches over sections: they begin where they are all the same. */
static void what_is_reserved_in_vain_costs_no_kept_message(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST);
	unsigned least = UINT32_MAX;

	(void)state;
	for (unsigned i = 0; i < 6000; i++) {
		struct vee_channel_stat stat = stat_of(writer);

		if (i > 2000 && stat.written + 1 - stat.oldest < least)
			least = stat.written + 1 - stat.oldest;
		if (i % 300 == 0) {
			assert_non_null(vee_channel_reserve(writer, RING_LEAST / 4, &none));
			if (i % 600)
				vee_channel_abort(writer);
			else
				assert_int_equal(vee_channel_commit(writer, 40), 0);
		} else {
			write_one(writer, 40, i);
		}
	}
	/* All but the quarter that was claimed, as much where that did not fit before the ring's end. */
	assert_true(least >= RING_LEAST / 64 / 2);
	vee_channel_close(writer);
}

static void no_more_than_reserved_is_committed_and_only_once(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);

	(void)state;
	assert_fails(vee_channel_commit(writer, 0), EINVAL);
	assert_non_null(vee_channel_reserve(writer, 100, NULL));
	assert_fails(vee_channel_commit(writer, 101), EINVAL);
	assert_int_equal(vee_channel_commit(writer, 100), 0);
	assert_fails(vee_channel_commit(writer, 100), EINVAL);
	assert_int_equal(read_one(reader).size, 100);
	assert_non_null(vee_channel_reserve(writer, 0, NULL));
	assert_int_equal(vee_channel_commit(writer, 0), 0);
	assert_int_equal(read_one(reader).size, 0);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_close_without_a_commit_leaves_no_trace(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);

	(void)state;
	forge(vee_channel_reserve(writer, 8000, NULL), 1000, 2);
	vee_channel_close(writer);
	assert_int_equal(read_error(reader, &none), EPIPE);
	writer = new_writer(0);
	for (unsigned i = 1; i < 20; i++) {
		assert_int_equal(read_error(reader, &none), EAGAIN);
		write_many(writer, 1, i * 10);
		assert_int_equal(read_sound(reader).size, i * 10);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* --- starts --- */

static void now_is_what_is_written_from_now_on(void **state)
{
	struct vee_channel *writer = new_writer(0), *first = vee_channel_open(channel_name, NULL),
			   *second;

	(void)state;
	write_many(writer, 3, 10);
	second = new_reader(VEE_CHANNEL_NOW);
	assert_int_equal(stat_of(second).next, 4);
	assert_int_equal(read_error(second, &none), EAGAIN);
	write_many(writer, 1, 10);
	assert_int_equal(read_sound(second).sequence, 4);
	for (unsigned i = 1; i <= 4; i++)
		assert_int_equal(read_sound(first).sequence, i);
	vee_channel_close(first);
	vee_channel_close(second);
	vee_channel_close(writer);
}

static void oldest_is_all_that_is_kept(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader;
	struct vee_channel_stat stat;

	(void)state;
	write_many(writer, 20, 1000);
	reader = new_reader(VEE_CHANNEL_OLDEST);
	for (unsigned i = 1; i <= 20; i++)
		assert_int_equal(read_sound(reader).sequence, i);
	vee_channel_close(reader);
	for (unsigned round = 0; round < 50; round++) {
		write_many(writer, 7 + round, 1000);
		stat = stat_of(writer);
		reader = new_reader(VEE_CHANNEL_OLDEST);
		/* About 60 are in the ring. */
		if (stat.written > 100)
			assert_in_range(stat.written - stat.oldest, 50, 64);
		for (uint64_t number = stat.oldest; number <= stat.written; number++) {
			struct vee_channel_message message = read_sound(reader);

			assert_int_equal(message.sequence, number);
			assert_int_equal(message.lost, 0);
		}
		assert_int_equal(read_error(reader, &none), EAGAIN);
		vee_channel_close(reader);
	}
	vee_channel_close(writer);
}

static void last_is_the_last_one_or_what_comes(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(VEE_CHANNEL_LAST);

	(void)state;
	assert_int_equal(read_error(reader, &none), EAGAIN);
	write_many(writer, 1, 10);
	assert_int_equal(read_sound(reader).sequence, 1);
	vee_channel_close(reader);
	for (uint64_t number = 2; number < 400; number++) {
		write_one(writer, size_of(number, 4000), number);
		reader = new_reader(VEE_CHANNEL_LAST);
		assert_int_equal(read_sound(reader).sequence, number);
		assert_int_equal(read_error(reader, &none), EAGAIN);
		vee_channel_close(reader);
	}
	vee_channel_close(writer);
	reader = new_reader(VEE_CHANNEL_LAST);
	assert_int_equal(read_sound(reader).sequence, 399);
	assert_int_equal(read_error(reader, &none), EPIPE);
	vee_channel_close(reader);
}

static struct vee_channel *open_at(uint64_t sequence)
{
	struct vee_channel_open_options options = {.start = VEE_CHANNEL_SEQUENCE,
						   .sequence = sequence};

	return vee_channel_open(channel_name, &options);
}

static void a_sequence_number_that_is_kept_is_found(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST);
	struct vee_channel_stat stat;

	(void)state;
	for (unsigned round = 0; round < 5; round++) {
		write_many(writer, 130 + round, 300);
		stat = stat_of(writer);
		for (uint64_t number = stat.oldest; number <= stat.written; number++) {
			struct vee_channel *reader = open_at(number);

			assert_non_null(reader);
			assert_int_equal(read_sound(reader).sequence, number);
			vee_channel_close(reader);
		}
	}
	vee_channel_close(writer);
}

enum {
	LATE_RING = 16 << 20,
	LATE_LINES = LATE_RING / 64 / 16, /* of a section */
};

struct late {
	struct vee_channel *reader;
	uint64_t sequence;
	atomic_bool begun;
};

static void *open_late(void *arg)
{
	struct late *late = arg;

	atomic_store(&late->begun, true);
	late->reader = open_at(late->sequence);
	return NULL;
}

/* Returns how many lines were written until there was no room. */
static uint64_t write_while_there_is_room(struct vee_channel *writer, size_t size)
{
	uint64_t lines = 0;

	for (; vee_channel_reserve(writer, size, &none); lines += size / 64 + 1)
		assert_int_equal(vee_channel_commit(writer, size), 0);
	assert_int_equal(errno, EAGAIN);
	return lines;
}

/*
 * It is the first of its section, and a reliable reader keeps it. Who wants it begins a section before, with many messages to step over,
 * which the writer overwrites meanwhile, at another time in each round.
 */
static void a_number_that_becomes_the_oldest_on_the_way_to_it_is_found(void **state)
{
	struct vee_channel_open_options options = {.policy = VEE_CHANNEL_RELIABLE};
	struct vee_channel *writer = new_writer(LATE_RING), *holder;
	uint64_t lines = 1; /* its epoch's */

	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		struct late late = {.sequence = 0};
		uint64_t until = (lines / LATE_LINES + 2) * LATE_LINES;
		pthread_t thread;
		int64_t start;

		for (; lines < until; lines++)
			assert_int_equal(vee_channel_write(writer, "", 1), 0);
		late.sequence = stat_of(writer).written + 1;
		holder = vee_channel_open(channel_name, &options);
		assert_non_null(holder);
		assert_int_equal(pthread_create(&thread, NULL, open_late, &late), 0);
		while (!atomic_load(&late.begun))
			;
		start = clock_ns(CLOCK_MONOTONIC);
		while (clock_ns(CLOCK_MONOTONIC) < start + round * 25000)
			;
		lines += write_while_there_is_room(writer, (LATE_LINES - 1) * 64);
		lines += write_while_there_is_room(writer, 1);
		pthread_join(thread, NULL);
		assert_non_null(late.reader);
		assert_int_equal(stat_of(late.reader).next, late.sequence);
		vee_channel_close(late.reader);
		vee_channel_close(holder);
	}
	vee_channel_close(writer);
}

static void the_number_that_comes_next_is_waited_for(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = open_at(1);

	(void)state;
	assert_non_null(reader);
	assert_int_equal(read_error(reader, &none), EAGAIN);
	write_many(writer, 10, 30);
	assert_int_equal(read_sound(reader).sequence, 1);
	vee_channel_close(reader);
	reader = open_at(11);
	assert_int_equal(read_error(reader, &none), EAGAIN);
	write_many(writer, 1, 30);
	assert_int_equal(read_sound(reader).sequence, 11);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_number_that_is_not_kept_is_refused_in_words(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST);
	struct vee_channel_stat stat;
	char kept[100];

	(void)state;
	assert_null_and(open_at(2), ERANGE);
	assert_non_null(strstr(vee_channel_error(), "none is kept"));
	write_many(writer, 500, 500);
	stat = stat_of(writer);
	assert_true(stat.oldest > 300);
	snprintf(kept, sizeof(kept), "%d to %d", (int)stat.oldest, (int)stat.written);
	assert_null_and(open_at(stat.oldest - 1), ERANGE);
	assert_non_null(strstr(vee_channel_error(), kept));
	assert_null_and(open_at(stat.written + 2), ERANGE);
	assert_non_null(strstr(vee_channel_error(), kept));
	assert_null_and(open_at(0), ERANGE);
	assert_null_and(open_at(1), ERANGE);
	assert_null_and(open_at(UINT64_MAX), ERANGE);
	/* The same low half. */
	assert_null_and(open_at(stat.written + (1ull << 32)), ERANGE);
	vee_channel_close(writer);
}

/* --- what is said of it --- */

static void stat_counts(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader;
	struct vee_channel_stat stat = stat_of(writer);

	(void)state;
	assert_int_equal(stat.ring_size, RING_LEAST);
	assert_int_equal(stat.written, 0);
	assert_int_equal(stat.oldest, 1);
	assert_int_equal(stat.bytes, 0);
	assert_int_equal(stat.epoch, 1);
	assert_int_equal(stat.writer_pid, getpid());
	assert_int_equal(stat.readers, 0);
	reader = new_reader(0);
	write_many(writer, 10, 33);
	read_one(reader);
	stat = stat_of(reader);
	assert_int_equal(stat.written, 10);
	assert_int_equal(stat.bytes, 330);
	assert_int_equal(stat.next, 2);
	assert_int_equal(stat.received, 1);
	assert_int_equal(stat.lost, 0);
	assert_int_equal(stat.readers, 1);
	assert_int_equal(stat.reliable, 0);
	assert_int_equal(stat_of(writer).received, 0);
	vee_channel_close(writer);
	assert_int_equal(stat_of(reader).writer_pid, 0);
	vee_channel_close(reader);
}

static void the_raw_map_is_the_file(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
	size_t size = 0;
	const void *map = vee_channel_map(reader, &size);

	(void)state;
	assert_true(size > RING_LEAST);
	assert_memory_equal(map, "v-chan-1", 8);
	assert_int_equal(vee_channel_write(writer, "a string to be found", 20), 0);
	assert_non_null(memmem(map, size, "a string to be found", 20));
	map = vee_channel_map(writer, &size);
	assert_memory_equal(map, "v-chan-1", 8);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_reader_may_not_store_into_the_map(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
	size_t size;
	const void *map = vee_channel_map(reader, &size);
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "0123", 4), 4);
	assert_fails(read(fds[0], (void *)map, 4), EFAULT);
	close(fds[0]);
	close(fds[1]);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(each_size_arrives_whole),
		TEST(every_size_arrives_whole_at_every_place),
		TEST(messages_of_all_sizes_lie_side_by_side),
		TEST(a_quarter_of_the_ring_is_the_most),
		TEST(a_reader_that_is_lapped_by_the_longest_goes_on),
		TEST(what_does_not_fit_the_buffer_stays),
		TEST(no_bytes_need_no_buffer),
		TEST(numbers_count_from_1_and_none_is_skipped),
		TEST(times_are_those_of_the_writing),
		TEST(a_reserved_message_has_the_time_of_its_commit),
		TEST(messages_in_a_row_share_a_time_if_asked),
		TEST(a_late_reader_knows_the_time_too),
		TEST(what_is_reserved_is_seen_when_it_is_committed),
		TEST(less_may_be_committed),
		TEST(what_is_left_behind_a_shorter_message_is_none),
		TEST(what_is_aborted_leaves_no_trace),
		TEST(a_write_or_another_reserve_ends_the_first),
		TEST(what_is_reserved_in_vain_costs_no_kept_message),
		TEST(no_more_than_reserved_is_committed_and_only_once),
		TEST(a_close_without_a_commit_leaves_no_trace),
		TEST(now_is_what_is_written_from_now_on),
		TEST(oldest_is_all_that_is_kept),
		TEST(last_is_the_last_one_or_what_comes),
		TEST(a_sequence_number_that_is_kept_is_found),
		TEST(a_number_that_becomes_the_oldest_on_the_way_to_it_is_found),
		TEST(the_number_that_comes_next_is_waited_for),
		TEST(a_number_that_is_not_kept_is_refused_in_words),
		TEST(stat_counts),
		TEST(the_raw_map_is_the_file),
		TEST(a_reader_may_not_store_into_the_map),
	};

	prepare(argc, argv);
	return cmocka_run_group_tests_name("channels: messages", tests, make_folder, remove_folder);
}
