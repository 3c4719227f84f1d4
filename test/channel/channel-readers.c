/* channel-readers.c - lossy readers that are lapped, reliable ones that are waited for, messages in place. */
#include "common.h"

/* --- lossy --- */

static void a_lapped_reader_says_how_many_it_lost(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
	struct vee_channel_message message;
	uint64_t received = 0, lost = 0;

	(void)state;
	for (uint64_t number = 1; number <= 10000; number++)
		write_one(writer, size_of(number, 500), number);
	for (; lost + received < 10000; received++) {
		message = read_sound(reader);
		assert_int_equal(message.size, size_of(message.sequence, 500));
		lost += message.lost;
		assert_int_equal(message.sequence, lost + received + 1);
		assert_true(received == 0 || message.lost == 0);
	}
	assert_true(lost > 9000 && received > 100);
	assert_int_equal(read_error(reader, &none), EAGAIN);
	assert_int_equal(stat_of(reader).lost, lost);
	assert_int_equal(stat_of(reader).received, received);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* A message of 48 bytes takes one line of 64. */
static void fifteen_sixteenths_of_the_ring_behind_loses_nothing(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);

	(void)state;
	write_many(writer, 1, 48);
	for (unsigned phase = 0; phase < 130; phase++) {
		while (read_error(reader, &none) == 0)
			;
		write_many(writer, RING_LEAST / 64 * 15 / 16, 48);
		for (unsigned i = 0; i < RING_LEAST / 64 * 15 / 16; i++)
			assert_int_equal(read_one(reader).lost, 0);
		write_many(writer, 1, 48);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void the_lost_are_said_once_and_again_after_emsgsize(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
	struct vee_channel_message message, same;

	(void)state;
	write_many(writer, 5000, 48);
	assert_fails(vee_channel_read(reader, buf, 5, &message), EMSGSIZE);
	assert_true(message.lost > 3000);
	assert_int_equal(vee_channel_read(reader, buf, sizeof(buf), &same), 48);
	assert_int_equal(same.lost, message.lost);
	assert_int_equal(same.sequence, message.sequence);
	assert_int_equal(read_sound(reader).lost, 0);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

#define FLOOD 1000000

static void flood_all_sizes(void)
{
	struct vee_channel *writer = new_writer(RING_LEAST);

	say();
	await_parent();
	for (uint64_t number = 1; number <= FLOOD; number++)
		write_one(writer, size_of(number, 700), number);
	vee_channel_close(writer);
}

static void flood_for_ever(void)
{
	struct vee_channel *writer = new_writer(RING_LEAST);

	say();
	for (uint64_t number = 1;; number++)
		write_one(writer, size_of(number, 700), number);
}

static void check_flooded(const struct vee_channel_message *message)
{
	CHECK(message->size == size_of(message->sequence, 700));
	CHECK(is_message(message->data, message->size, message->sequence));
}

/* Reads to the end; the slow one sleeps now and then. */
static void read_flood(bool slow)
{
	struct vee_channel *reader = new_reader(VEE_CHANNEL_OLDEST);
	struct vee_channel_message message;
	uint64_t received = 0, lost = 0;

	say();
	while (vee_channel_timedread(reader, buf, sizeof(buf), &message, &long_time) >= 0) {
		check_flooded(&message);
		lost += message.lost;
		CHECK(message.sequence == ++received + lost);
		if (slow && received % 64 == 0)
			sleep_ms(1);
	}
	CHECK(errno == EPIPE);
	CHECK(received + lost == FLOOD);
	CHECK(received > 100 && (!slow || lost > 0));
	CHECK(stat_of(reader).received == received && stat_of(reader).lost == lost);
	vee_channel_close(reader);
}

static void fast_reader(void)
{
	read_flood(false);
}

static void slow_reader(void)
{
	read_flood(true);
}

/* In place: what the release says is thrown away; the rest must be whole, and was checked before the release. */
static void peeking_reader(void)
{
	struct vee_channel *reader = new_reader(VEE_CHANNEL_OLDEST);
	struct vee_channel_message messages[50];
	uint64_t received = 0, lost = 0, next = 1;
	bool sound[50];
	int n;

	say();
	while ((n = vee_channel_peek(reader, messages, 50, &long_time)) > 0) {
		int unsound;

		for (int i = 0; i < n; i++) {
			CHECK(i == 0 || messages[i].lost == 0);
			next += messages[i].lost;
			CHECK(messages[i].sequence == next++);
			sound[i] = messages[i].size == size_of(messages[i].sequence, 700) &&
				   is_message(messages[i].data, messages[i].size,
					      messages[i].sequence);
		}
		if (next % 16 == 0)
			sleep_ms(1);
		unsound = vee_channel_release(reader);
		CHECK(unsound >= 0 && unsound <= n);
		for (int i = unsound; i < n; i++)
			CHECK(sound[i]);
		lost += messages[0].lost + unsound;
		received += n - unsound;
	}
	CHECK(n == -1 && errno == EPIPE);
	CHECK(received + lost == FLOOD);
	CHECK(stat_of(reader).received == received && stat_of(reader).lost == lost);
	vee_channel_close(reader);
}

/* All three are there before it begins. */
static void flood(void (*writes)(void), void (*const readers[3])(void))
{
	struct child writer = start(writes), children[3];

	await(&writer);
	for (unsigned i = 0; i < 3; i++)
		children[i] = start(readers[i]);
	for (unsigned i = 0; i < 3; i++)
		await(&children[i]);
	tell(&writer);
	for (unsigned i = 0; i < 3; i++)
		assert_good(&children[i]);
	assert_good(&writer);
}

static void no_torn_message_is_ever_read_at_full_speed(void **state)
{
	void (*const readers[])(void) = {fast_reader, slow_reader, peeking_reader};

	(void)state;
	flood(flood_all_sizes, readers);
}

/* --- small ones, of which nothing is asked but the bytes --- */

/* 8 to 100 bytes, with and without a time in front; its number is the first word. */
static size_t small_size(uint64_t number)
{
	return 8 + hash(number) % (number % 16 ? 41 : 93);
}

static void write_small(struct vee_channel *writer, uint64_t number)
{
	fill_message(buf, small_size(number), number);
	memcpy(buf, &number, 8);
	CHECK(vee_channel_write(writer, buf, small_size(number)) == 0);
}

/* Returns its number. */
static uint64_t check_small(const char *at, size_t size)
{
	char whole[128];
	uint64_t number;

	memcpy(&number, at, 8);
	fill_message(whole, size, number);
	memcpy(whole, &number, 8);
	CHECK(size == small_size(number) && memcmp(whole, at, size) == 0);
	return number;
}

static struct vee_channel *new_small_writer(void)
{
	struct vee_channel_create_options options = {.ring_size = RING_LEAST, .stamp_every = 7};
	struct vee_channel *writer = vee_channel_create(channel_name, &options);

	CHECK(writer);
	return writer;
}

static void flood_small(void)
{
	struct vee_channel *writer = new_small_writer();

	say();
	await_parent();
	for (uint64_t number = 1; number <= FLOOD; number++)
		write_small(writer, number);
	vee_channel_close(writer);
}

/* Mostly the bytes alone; what is said of the others must fit. */
static void read_small(struct vee_channel *reader, bool slow)
{
	struct vee_channel_message message;
	uint64_t received = 0, number = 0, before = 0;
	ssize_t n;

	say();
	for (;; before = number) {
		bool asks = received % 37 == 5, peeks = received % 1009 == 7;

		if (peeks) {
			n = vee_channel_peek(reader, &message, 1, &long_time);
			if (n < 0)
				break;
			memcpy(buf, message.data, message.size);
			if (vee_channel_release(reader) > 0)
				continue;
			n = (ssize_t)message.size;
		} else {
			n = vee_channel_timedread(reader, buf, sizeof(buf), asks ? &message : NULL,
						  &long_time);
			if (n < 0)
				break;
		}
		received++;
		number = check_small(buf, (size_t)n);
		CHECK(number > before);
		if (asks || peeks)
			CHECK(message.sequence == number && message.size == (size_t)n);
		if (asks) {
			struct vee_channel_stat stat = stat_of(reader);

			CHECK(message.sequence == before + 1 + message.lost);
			CHECK(stat.received == received && stat.received + stat.lost == number);
		}
		if (slow && received % 64 == 0)
			sleep_ms(1);
	}
	CHECK(errno == EPIPE);
	CHECK(stat_of(reader).received == received);
	CHECK(received + stat_of(reader).lost == FLOOD);
	vee_channel_close(reader);
}

static void fast_small_reader(void)
{
	read_small(new_reader(VEE_CHANNEL_OLDEST), false);
}

static void slow_small_reader(void)
{
	read_small(new_reader(VEE_CHANNEL_OLDEST), true);
}

static void reliable_small_reader(void)
{
	struct vee_channel *reader = new_reliable();

	read_small(reader, false);
}

static void the_bytes_alone_are_as_sound_at_full_speed(void **state)
{
	void (*const readers[])(void) = {fast_small_reader, slow_small_reader,
					 reliable_small_reader};

	(void)state;
	flood(flood_small, readers);
}

static void read_next_small(struct vee_channel *reader, uint64_t number)
{
	ssize_t n = vee_channel_timedread(reader, buf, sizeof(buf), NULL, &none);

	CHECK(n >= 0 && check_small(buf, (size_t)n) == number);
}

/* A peek, a poll descriptor, a buffer that is too small, a new writer, a fork, between two of them. */
static void the_bytes_alone_go_with_all_else(void **state)
{
	struct vee_channel *writer = new_small_writer(), *reader = new_reader(0);
	struct vee_channel_message message;
	struct pollfd poll_fd = {.events = POLLIN};
	uint64_t number = 1;

	(void)state;
	for (uint64_t i = 1; i <= 5000; i++)
		for (uint64_t k = 0; k < 300 && number < i * 10; k++, number++) {
			write_small(writer, number);
			switch (number % 11) {
			case 3:
				CHECK(vee_channel_peek(reader, &message, 1, &none) == 1);
				CHECK(message.sequence == number);
				if (number % 2) {
					CHECK(vee_channel_release(reader) == 0);
					continue;
				}
				break;
			case 5:
				assert_fails(vee_channel_read(reader, buf, 7, NULL), EMSGSIZE);
				break;
			case 7:
				assert_int_equal(read_error(reader, &none), 0);
				continue;
			}
			read_next_small(reader, number);
			assert_fails(vee_channel_release(reader), EINVAL);
			if (number % 3)
				assert_int_equal(read_error(reader, &none), EAGAIN);
		}
	vee_channel_close(writer);
	assert_int_equal(read_error(reader, &none), EPIPE);
	writer = new_small_writer();
	write_small(writer, number);
	read_next_small(reader, number++);
	write_small(writer, number);
	CHECK(vee_channel_timedread(reader, buf, sizeof(buf), &message, &none) > 0);
	assert_int_equal(message.sequence, number++);
	assert_int_equal(message.epoch, 2);
	for (unsigned i = 0; i < 3; i++) {
		write_small(writer, number);
		read_next_small(reader, number++);
	}
	poll_fd.fd = vee_channel_poll_fd(reader);
	assert_true(poll_fd.fd >= 0);
	for (unsigned i = 0; i < 3; i++) {
		write_small(writer, number);
		assert_int_equal(poll(&poll_fd, 1, 1000), 1);
		read_next_small(reader, number++);
		assert_int_equal(poll(&poll_fd, 1, 0), 0);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* Joins and leaves while the writer is at full speed: each start is sound. */
static void a_start_is_sound_at_full_speed(void **state)
{
	struct child writer = start(flood_for_ever);

	(void)state;
	await(&writer);
	for (unsigned n = 0; n < 1000; n++) {
		struct vee_channel *reader = new_reader(n % 3);
		struct vee_channel_message message;
		uint64_t next = 0;

		for (unsigned i = 0; i < 20; i++) {
			assert_true(vee_channel_timedread(reader, buf, sizeof(buf), &message,
							  &long_time) >= 0);
			check_flooded(&message);
			assert_true(next == 0 || message.sequence == next + message.lost);
			next = message.sequence + 1;
		}
		vee_channel_close(reader);
	}
	kill_child(&writer);
}

/* --- reliable --- */

static void reliable_flood_reader(void)
{
	struct vee_channel *reader = new_reliable();
	struct vee_channel_message message;

	say();
	for (uint64_t number = 1; number <= FLOOD / 4; number++) {
		CHECK(vee_channel_timedread(reader, buf, sizeof(buf), &message, &long_time) >= 0);
		check_flooded(&message);
		CHECK(message.sequence == number && message.lost == 0);
		if (hash(number) % 2048 == 0)
			sleep_ms(1);
	}
	vee_channel_close(reader);
}

static void reliable_peeking_reader(void)
{
	struct vee_channel_message messages[20];
	struct vee_channel *reader = new_reliable();
	uint64_t next = 1;

	say();
	while (next <= FLOOD / 4) {
		int n = vee_channel_peek(reader, messages, 20, &long_time);

		CHECK(n > 0);
		for (int i = 0; i < n; i++) {
			check_flooded(&messages[i]);
			CHECK(messages[i].sequence == next++ && messages[i].lost == 0);
		}
		CHECK(vee_channel_release(reader) == 0);
	}
	vee_channel_close(reader);
}

/* They leave when they have a quarter, and the writer goes on without them. */
static void a_reliable_reader_loses_nothing(void **state)
{
	void (*const readers[])(void) = {reliable_flood_reader, reliable_peeking_reader,
					 reliable_flood_reader};

	(void)state;
	flood(flood_all_sizes, readers);
}

static void a_writer_gives_up_at_once_or_in_time(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reliable();
	uint64_t written;
	int64_t begin;

	(void)state;
	written = fill_ring(writer, 500);
	assert_in_range(written, 100, 128);
	begin = now_ms();
	assert_int_equal(write_error(writer, 500, &soon), EAGAIN);
	assert_true(now_ms() - begin >= 100);
	assert_null_and(vee_channel_reserve(writer, 500, &none), EAGAIN);
	begin = now_ms();
	assert_null_and(vee_channel_reserve(writer, 500, &soon), EAGAIN);
	assert_true(now_ms() - begin >= 100);
	assert_int_equal(stat_of(writer).written, written);
	for (uint64_t number = 1; number <= written; number++)
		assert_int_equal(read_sound(reader).sequence, number);
	assert_int_equal(read_error(reader, &none), EAGAIN);
	assert_true(fill_ring(writer, 500) >= 100);
	assert_int_equal(read_sound(reader).lost, 0);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_lossy_reader_holds_nobody_up(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(write_error(writer, 500, &none), 0);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* A child that reads nothing, then, at each letter, 1,000 messages or until it would wait. */
static void lazy_reliable_reader(void)
{
	struct vee_channel *reader = new_reliable();
	uint64_t next = 1;

	for (;;) {
		say();
		await_parent();
		for (unsigned i = 0; i < 1000 && read_error(reader, &none) == 0; i++)
			next++;
		CHECK(stat_of(reader).next == next && stat_of(reader).lost == 0);
	}
}

struct waiting_write {
	struct vee_channel *writer;
	pthread_t thread;
	int error;
};

static void *write_waiting(void *arg)
{
	struct waiting_write *write = arg;

	char text[500];
	int ret;

	fill_message(text, sizeof(text), stat_of(write->writer).written + 1);
	ret = vee_channel_timedwrite(write->writer, text, sizeof(text), &long_time);
	write->error = ret < 0 ? errno : 0;
	return NULL;
}

/* A write that waits in another thread, in the kernel. */
static void start_waiting(struct waiting_write *write, struct vee_channel *writer)
{
	*write = (struct waiting_write){.writer = writer, .error = -1};
	assert_int_equal(pthread_create(&write->thread, NULL, write_waiting, write), 0);
	sleep_ms(50);
}

static void assert_written(struct waiting_write *write)
{
	pthread_join(write->thread, NULL);
	assert_int_equal(write->error, 0);
}

static void a_waiting_writer_goes_on_when_the_reader_reads(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST);
	struct child reader = start(lazy_reliable_reader);
	struct waiting_write write;

	(void)state;
	await(&reader);
	for (unsigned i = 0; i < 5; i++) {
		fill_ring(writer, 500);
		start_waiting(&write, writer);
		assert_true(write.error == -1);
		tell(&reader);
		assert_written(&write);
		await(&reader);
	}
	kill_child(&reader);
	vee_channel_close(writer);
}

static void a_waiting_writer_goes_on_when_the_reader_is_killed(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST);
	struct child reader = start(lazy_reliable_reader);
	struct waiting_write write;

	(void)state;
	await(&reader);
	fill_ring(writer, 500);
	send_signal(reader.pid, SIGSTOP);
	start_waiting(&write, writer);
	assert_true(write.error == -1);
	kill_child(&reader);
	assert_written(&write);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(write_error(writer, 500, &none), 0);
	assert_int_equal(stat_of(writer).reliable, 0);
	vee_channel_close(writer);
}

static void a_waiting_writer_goes_on_when_the_reader_closes(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reliable();
	struct waiting_write write;

	(void)state;
	fill_ring(writer, 500);
	start_waiting(&write, writer);
	assert_true(write.error == -1);
	vee_channel_close(reader);
	assert_written(&write);
	vee_channel_close(writer);
}

/* It is not the last of them. */
static void the_slowest_reader_counts(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *first = new_reliable(),
			   *second = new_reliable();

	(void)state;
	assert_int_equal(stat_of(writer).reliable, 2);
	fill_ring(writer, 500);
	while (read_error(first, &none) == 0)
		;
	assert_int_equal(write_error(writer, 500, &none), EAGAIN);
	vee_channel_close(first);
	assert_int_equal(write_error(writer, 500, &none), EAGAIN);
	vee_channel_close(second);
	assert_int_equal(write_error(writer, 500, &none), 0);
	vee_channel_close(writer);
}

static void what_is_peeked_is_not_overwritten_for_a_reliable_reader(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reliable();
	struct vee_channel_message messages[10];

	(void)state;
	write_many(writer, 10, 500);
	assert_int_equal(vee_channel_peek(reader, messages, 10, &none), 10);
	fill_ring(writer, 500);
	for (unsigned i = 0; i < 10; i++)
		assert_true(is_message(messages[i].data, 500, i + 1));
	assert_int_equal(vee_channel_release(reader), 0);
	while (read_error(reader, &none) == 0)
		;
	assert_int_equal(stat_of(reader).lost, 0);
	assert_int_equal(stat_of(reader).received, stat_of(writer).written);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_late_reliable_reader_loses_nothing_from_its_start_on(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader;
	struct vee_channel_message message;
	uint64_t next;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		write_many(writer, 300 + i, 500);
		reader = new_reliable();
		next = stat_of(reader).next;
		fill_ring(writer, 500);
		for (message = read_sound(reader); message.sequence < stat_of(writer).written;
		     message = read_sound(reader)) {
			assert_int_equal(message.sequence, next++);
			assert_int_equal(message.lost, 0);
		}
		vee_channel_close(reader);
	}
	vee_channel_close(writer);
}

/* --- stalls --- */

static struct vee_channel *stalling_reader(enum vee_channel_stall stall, int64_t stall_ns)
{
	struct vee_channel_open_options options = {
		.policy = VEE_CHANNEL_RELIABLE, .stall = stall, .stall_ns = stall_ns};

	return vee_channel_open(channel_name, &options);
}

static void a_stalled_reader_is_waited_for(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST),
			   *reader = stalling_reader(VEE_CHANNEL_STALL_WAIT, 1);

	(void)state;
	fill_ring(writer, 500);
	assert_int_equal(write_error(writer, 500, &soon), EAGAIN);
	while (read_error(reader, &none) == 0)
		;
	assert_int_equal(stat_of(reader).lost, 0);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_stalled_reader_that_wants_it_becomes_lossy(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST),
			   *reader = stalling_reader(VEE_CHANNEL_STALL_DROP, 150 * MS);
	uint64_t written = fill_ring(writer, 500);
	struct vee_channel_message message;
	int64_t begin = now_ms();

	(void)state;
	assert_int_equal(write_error(writer, 500, &long_time), 0);
	assert_in_range(now_ms() - begin, 150, 5000);
	begin = now_ms();
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(write_error(writer, 500, &none), 0);
	written += 1001;
	message = read_sound(reader);
	assert_true(message.lost > 900 && message.sequence == message.lost + 1);
	while (message.sequence < written)
		message = read_sound(reader);
	assert_int_equal(stat_of(reader).lost + stat_of(reader).received, written);
	assert_int_equal(stat_of(writer).reliable, 0);
	assert_int_equal(stat_of(writer).readers, 1);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_stalled_reader_that_wants_it_is_cut_off(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST),
			   *reader = stalling_reader(VEE_CHANNEL_STALL_DISCONNECT, 50 * MS);
	struct vee_channel_message message;
	int fd = vee_channel_poll_fd(reader);

	(void)state;
	fill_ring(writer, 500);
	assert_int_equal(write_error(writer, 500, &long_time), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(is_readable(fd, 0));
		assert_int_equal(read_error(reader, NULL), ESHUTDOWN);
		assert_fails(vee_channel_peek(reader, &message, 1, NULL), ESHUTDOWN);
	}
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(write_error(writer, 500, &none), 0);
	assert_int_equal(read_error(reader, &none), ESHUTDOWN);
	vee_channel_close(reader);
	/* Another may begin. */
	reader = new_reliable();
	assert_int_equal(read_error(reader, &none), 0);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* One that reads, slowly, does not hold the writer up for as long at once. */
static void a_slow_reader_is_not_a_stalled_one(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST),
			   *reader = stalling_reader(VEE_CHANNEL_STALL_DISCONNECT, 5000 * MS);
	struct waiting_write write;

	(void)state;
	fill_ring(writer, 500);
	for (unsigned i = 0; i < 10; i++) {
		start_waiting(&write, writer);
		for (unsigned j = 0; j < 20; j++)
			read_error(reader, &none);
		assert_written(&write);
		fill_ring(writer, 500);
	}
	assert_int_equal(read_error(reader, &none), 0);
	assert_int_equal(stat_of(reader).lost, 0);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_writer_may_lose_patience_first(void **state)
{
	struct vee_channel_create_options options = {.ring_size = RING_LEAST, .stall_ns = 100 * MS};
	struct vee_channel *writer = vee_channel_create(channel_name, &options),
			   *reader = stalling_reader(VEE_CHANNEL_STALL_WAIT, 0);
	int64_t begin = now_ms();

	(void)state;
	fill_ring(writer, 500);
	assert_int_equal(write_error(writer, 500, NULL), 0);
	assert_in_range(now_ms() - begin, 100, 5000);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(write_error(writer, 500, &none), 0);
	assert_true(read_sound(reader).lost > 0);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* A writer that never waits, but comes again, is held up all the same. */
static void a_stall_is_noticed_by_a_writer_that_never_waits(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST),
			   *reader = stalling_reader(VEE_CHANNEL_STALL_DROP, 100 * MS);
	int64_t begin = now_ms();
	int error = EAGAIN;

	(void)state;
	fill_ring(writer, 500);
	while (error == EAGAIN && now_ms() - begin < 5000) {
		sleep_ms(10);
		error = write_error(writer, 500, &none);
	}
	assert_int_equal(error, 0);
	assert_in_range(now_ms() - begin, 100, 5000);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* --- in place --- */

static void a_peek_shows_what_is_there_up_to_so_many(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
	struct vee_channel_message messages[200];
	uint64_t next = 1;

	(void)state;
	assert_fails(vee_channel_peek(reader, messages, 5, &none), EAGAIN);
	assert_fails(vee_channel_peek(reader, messages, 0, &none), EINVAL);
	for (unsigned round = 1; round < 400; round++) {
		unsigned n = hash(round) % 30 + 1, most = hash(n) % 30 + 1;
		int got;

		for (unsigned i = 0; i < n; i++)
			write_one(writer, size_of(stat_of(writer).written + 1, 300),
				  stat_of(writer).written + 1);
		do {
			got = vee_channel_peek(reader, messages, most, &none);
			assert_in_range(got, 1, most);
			for (int i = 0; i < got; i++, next++) {
				assert_int_equal(messages[i].sequence, next);
				assert_int_equal(messages[i].size, size_of(next, 300));
				assert_int_equal(messages[i].lost, 0);
				assert_int_equal(messages[i].epoch, 1);
				assert_true(is_message(messages[i].data, messages[i].size, next));
			}
			assert_int_equal(vee_channel_release(reader), 0);
		} while (next <= stat_of(writer).written);
		assert_fails(vee_channel_peek(reader, messages, 5, &none), EAGAIN);
	}
	assert_int_equal(stat_of(reader).received, next - 1);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void without_a_release_a_peek_shows_the_same(void **state)
{
	struct vee_channel_create_options options = {.stamp_every = 4};
	struct vee_channel *writer = vee_channel_create(channel_name, &options),
			   *reader = new_reader(0);
	struct vee_channel_message first[12], second[12];

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		write_many(writer, 1, 100);
		sleep_ms(1);
	}
	read_sound(reader);
	memset(first, 0, sizeof(first));
	memset(second, 0, sizeof(second));
	assert_int_equal(vee_channel_peek(reader, first, 12, &none), 9);
	assert_int_equal(vee_channel_peek(reader, second, 3, &none), 3);
	assert_memory_equal(first, second, 3 * sizeof(first[0]));
	assert_int_equal(vee_channel_peek(reader, second, 12, &none), 9);
	assert_memory_equal(first, second, sizeof(first));
	/* A read takes the first of them. */
	second[0] = read_sound(reader);
	assert_int_equal(second[0].sequence, 2);
	assert_int_equal(second[0].time_ns, first[0].time_ns);
	assert_fails(vee_channel_release(reader), EINVAL);
	assert_int_equal(vee_channel_peek(reader, second, 12, &none), 8);
	assert_memory_equal(second, first + 1, 8 * sizeof(first[0]));
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_release_without_a_peek_is_refused(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);
	struct vee_channel_message message;

	(void)state;
	assert_fails(vee_channel_release(reader), EINVAL);
	write_many(writer, 2, 10);
	assert_int_equal(vee_channel_peek(reader, &message, 1, NULL), 1);
	assert_int_equal(vee_channel_release(reader), 0);
	assert_fails(vee_channel_release(reader), EINVAL);
	assert_int_equal(read_sound(reader).sequence, 2);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* From so many messages further on, in steps. */
static void a_release_says_how_many_were_overwritten(void **state)
{
	bool some = false, all = false, none_at_all = false;

	(void)state;
	for (unsigned more = 0; more < 160; more += 3) {
		struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
		struct vee_channel_message messages[60];
		int unsound;

		write_many(writer, 60, 500);
		assert_int_equal(vee_channel_peek(reader, messages, 60, &none), 60);
		write_many(writer, more, 500);
		unsound = vee_channel_release(reader);
		assert_in_range(unsound, 0, 60);
		for (int i = unsound; i < 60; i++)
			assert_true(is_message(messages[i].data, 500, messages[i].sequence));
		none_at_all |= unsound == 0;
		some |= unsound > 0 && unsound < 60;
		all |= unsound == 60;
		assert_int_equal(stat_of(reader).lost, unsound);
		assert_int_equal(stat_of(reader).received, 60 - unsound);
		while (read_error(reader, &none) == 0)
			;
		assert_int_equal(stat_of(reader).lost + stat_of(reader).received,
				 stat_of(writer).written);
		vee_channel_close(reader);
		vee_channel_close(writer);
		vee_channel_remove(channel_name);
	}
	assert_true(none_at_all && some && all);
}

static void a_lapped_peek_begins_with_the_lost(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
	struct vee_channel_message messages[10];

	(void)state;
	write_many(writer, 1000, 500);
	assert_int_equal(vee_channel_peek(reader, messages, 10, &none), 10);
	assert_true(messages[0].lost > 800);
	assert_int_equal(messages[0].sequence, messages[0].lost + 1);
	assert_int_equal(messages[1].lost, 0);
	assert_int_equal(vee_channel_release(reader), 0);
	assert_int_equal(read_sound(reader).lost, 0);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_peek_waits_for_the_first_only(void **state)
{
	struct child writer = start(writer_child);
	struct vee_channel_message messages[10];
	struct vee_channel *reader;
	int64_t begin = now_ms();

	(void)state;
	await(&writer);
	reader = new_reader(0);
	assert_fails(vee_channel_peek(reader, messages, 10, &soon), EAGAIN);
	assert_true(now_ms() - begin >= 100);
	tell(&writer);
	assert_int_equal(vee_channel_peek(reader, messages, 10, NULL), 1);
	assert_true(is_message(messages[0].data, 100, 1));
	await(&writer);
	write_by(&writer);
	assert_int_equal(vee_channel_peek(reader, messages, 10, NULL), 2);
	assert_int_equal(vee_channel_release(reader), 0);
	vee_channel_close(reader);
	kill_child(&writer);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_lapped_reader_says_how_many_it_lost),
		TEST(fifteen_sixteenths_of_the_ring_behind_loses_nothing),
		TEST(the_lost_are_said_once_and_again_after_emsgsize),
		TEST(no_torn_message_is_ever_read_at_full_speed),
		TEST(the_bytes_alone_are_as_sound_at_full_speed),
		TEST(the_bytes_alone_go_with_all_else),
		TEST(a_start_is_sound_at_full_speed),
		TEST(a_reliable_reader_loses_nothing),
		TEST(a_writer_gives_up_at_once_or_in_time),
		TEST(a_lossy_reader_holds_nobody_up),
		TEST(a_waiting_writer_goes_on_when_the_reader_reads),
		TEST(a_waiting_writer_goes_on_when_the_reader_is_killed),
		TEST(a_waiting_writer_goes_on_when_the_reader_closes),
		TEST(the_slowest_reader_counts),
		TEST(what_is_peeked_is_not_overwritten_for_a_reliable_reader),
		TEST(a_late_reliable_reader_loses_nothing_from_its_start_on),
		TEST(a_stalled_reader_is_waited_for),
		TEST(a_stalled_reader_that_wants_it_becomes_lossy),
		TEST(a_stalled_reader_that_wants_it_is_cut_off),
		TEST(a_slow_reader_is_not_a_stalled_one),
		TEST(a_writer_may_lose_patience_first),
		TEST(a_stall_is_noticed_by_a_writer_that_never_waits),
		TEST(a_peek_shows_what_is_there_up_to_so_many),
		TEST(without_a_release_a_peek_shows_the_same),
		TEST(a_release_without_a_peek_is_refused),
		TEST(a_release_says_how_many_were_overwritten),
		TEST(a_lapped_peek_begins_with_the_lost),
		TEST(a_peek_waits_for_the_first_only),
	};

	prepare(argc, argv);
	return cmocka_run_group_tests_name("channels: readers", tests, make_folder, remove_folder);
}
