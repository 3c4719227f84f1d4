/* channel-ends.c - one writer at a time, its close and its death, waits and what ends them, descriptors to poll. */
#include "common.h"

#include <sched.h>

/* --- one writes --- */

static void two_may_not_write_at_once(void **state)
{
	struct vee_channel *writer = new_writer(0);
	char pid[20];

	(void)state;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	assert_null_and(vee_channel_create(channel_name, NULL), EBUSY);
	assert_non_null(strstr(vee_channel_error(), pid));
	vee_channel_close(writer);
}

static void the_words_say_which_process_writes(void **state)
{
	struct child writer = start(writer_child);
	char pid[20];

	(void)state;
	await(&writer);
	snprintf(pid, sizeof(pid), "%d", (int)writer.pid);
	for (unsigned i = 0; i < 20; i++) {
		assert_null_and(vee_channel_create(channel_name, NULL), EBUSY);
		assert_non_null(strstr(vee_channel_error(), pid));
	}
	kill_child(&writer);
}

static void after_a_close_another_may_write(void **state)
{
	struct vee_channel *reader = NULL;

	(void)state;
	for (unsigned i = 1; i <= 30; i++) {
		struct vee_channel *writer = new_writer(RING_LEAST);
		struct vee_channel_message message;

		if (!reader)
			reader = new_reader(0);
		assert_int_equal(stat_of(writer).epoch, i);
		write_many(writer, 1, 100);
		message = read_sound(reader);
		assert_int_equal(message.sequence, i);
		assert_int_equal(message.epoch, i);
		assert_int_equal(message.lost, 0);
		assert_int_equal(stat_of(writer).bytes, i * 100);
		vee_channel_close(writer);
		assert_int_equal(read_error(reader, &none), EPIPE);
	}
	vee_channel_close(reader);
}

static void after_a_kill_another_may_write(void **state)
{
	struct vee_channel *reader = NULL;
	uint64_t number = 0;

	(void)state;
	for (unsigned i = 1; i <= 10; i++) {
		struct child writer = start(writer_child);
		struct vee_channel_message message;

		await(&writer);
		if (!reader)
			reader = new_reader(0);
		for (unsigned j = 0; j < i; j++) {
			write_by(&writer);
			message = read_sound(reader);
			assert_int_equal(message.sequence, ++number);
			assert_int_equal(message.epoch, i);
		}
		kill_child(&writer);
		assert_int_equal(stat_of(reader).writer_pid, 0);
	}
	vee_channel_close(reader);
}

/* Whatever it was at. */
static void flooding_child(void)
{
	struct vee_channel *writer = new_writer(RING_LEAST);
	uint64_t number = stat_of(writer).written;

	say();
	for (;;) {
		number++;
		write_one(writer, size_of(number, 1000), number);
	}
}

static void a_writer_killed_at_work_leaves_a_sound_channel(void **state)
{
	struct vee_channel *reader = NULL;
	struct vee_channel_message message;
	uint64_t next = 1;

	(void)state;
	for (unsigned i = 0; i < 60; i++) {
		struct child writer = start(flooding_child);
		int error;

		await(&writer);
		if (!reader)
			reader = new_reader(VEE_CHANNEL_OLDEST);
		usleep(hash(i) % 3000);
		kill_child(&writer);
		while ((error = read_error(reader, &none)) == 0)
			;
		assert_int_equal(error, EOWNERDEAD);
		next = stat_of(reader).next;
	}
	for (struct vee_channel *writer = new_writer(0); writer; writer = NULL) {
		assert_int_equal(stat_of(writer).written, next - 1);
		write_one(writer, 100, next);
		message = read_sound(reader);
		assert_int_equal(message.sequence, next);
		assert_int_equal(message.lost, 0);
		vee_channel_close(reader);
		reader = new_reader(VEE_CHANNEL_OLDEST);
		for (next = stat_of(reader).next; next < stat_of(reader).written; next++) {
			message = read_sound(reader);
			assert_int_equal(message.sequence, next);
			assert_int_equal(message.size, size_of(next, 1000));
		}
		vee_channel_close(writer);
	}
	vee_channel_close(reader);
}

/* --- the end --- */

/* Reads until there is an end, and says which. */
static int end_after_all(struct vee_channel *reader)
{
	int error;

	do
		error = read_error(reader, &long_time);
	while (error == 0);
	return error;
}

static void a_close_is_seen_when_all_is_read(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);
	struct vee_channel_message message;

	(void)state;
	write_many(writer, 3, 100);
	vee_channel_close(writer);
	for (unsigned i = 1; i <= 3; i++)
		assert_int_equal(read_sound(reader).sequence, i);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(read_error(reader, NULL), EPIPE);
		assert_int_equal(read_error(reader, &none), EPIPE);
		assert_fails(vee_channel_peek(reader, &message, 1, NULL), EPIPE);
	}
	writer = new_writer(0);
	assert_int_equal(read_error(reader, &none), EAGAIN);
	write_many(writer, 1, 100);
	assert_int_equal(read_sound(reader).sequence, 4);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_death_is_seen_when_all_is_read(void **state)
{
	struct child writer = start(writer_child);
	struct vee_channel *reader;

	(void)state;
	await(&writer);
	reader = new_reader(0);
	write_by(&writer);
	write_by(&writer);
	kill_child(&writer);
	assert_int_equal(read_sound(reader).sequence, 1);
	assert_int_equal(read_sound(reader).sequence, 2);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(read_error(reader, NULL), EOWNERDEAD);
		assert_int_equal(read_error(reader, &none), EOWNERDEAD);
	}
	vee_channel_close(reader);
}

/* A reader in a child, that waits for the end in `expected_end`. */
static int expected_end;

static void reader_until_the_end(void)
{
	struct vee_channel *reader = new_reader(0);

	say();
	CHECK(end_after_all(reader) == expected_end);
	vee_channel_close(reader);
}

static void poller_until_the_end(void)
{
	struct vee_channel *reader = new_reader(0);
	int fd = vee_channel_poll_fd(reader), error = EAGAIN;

	CHECK(fd >= 0);
	say();
	for (; error == EAGAIN; error = read_error(reader, &none))
		CHECK(is_readable(fd, PATIENCE_MS));
	CHECK(error == expected_end);
	CHECK(is_readable(fd, 0));
	vee_channel_close(reader);
}

static void follower(void)
{
	struct vee_channel_open_options options = {.flags = VEE_CHANNEL_FOLLOW};
	struct vee_channel *reader = vee_channel_open(channel_name, &options);

	CHECK(reader);
	for (;;) {
		say();
		CHECK(read_error(reader, &long_time) == 0);
	}
}

static void end_while_waiting(void (*reader_child)(void), bool by_kill)
{
	struct child writer = start(by_kill ? writer_child : closing_child), readers[3];

	await(&writer);
	expected_end = by_kill ? EOWNERDEAD : EPIPE;
	for (unsigned i = 0; i < COUNT(readers); i++) {
		readers[i] = start(reader_child);
		await(&readers[i]);
	}
	for (unsigned i = 0; i < COUNT(readers); i++)
		await_asleep(readers[i].pid);
	if (!by_kill)
		write_by(&writer);
	kill_child(&writer);
	for (unsigned i = 0; i < COUNT(readers); i++)
		assert_good(&readers[i]);
}

static void a_close_wakes_waiting_readers(void **state)
{
	(void)state;
	end_while_waiting(reader_until_the_end, false);
}

static void a_death_wakes_waiting_readers(void **state)
{
	(void)state;
	end_while_waiting(reader_until_the_end, true);
}

static void a_close_wakes_polling_readers(void **state)
{
	(void)state;
	end_while_waiting(poller_until_the_end, false);
}

static void a_death_wakes_polling_readers(void **state)
{
	(void)state;
	end_while_waiting(poller_until_the_end, true);
}

/* With no read in between, a death is noticed by who sleeps within this time, whatever else there is. */
static void a_death_is_noticed_soon(void **state)
{
	struct child writer = start(writer_child);
	struct vee_channel *reader;
	int64_t begin;

	(void)state;
	await(&writer);
	reader = new_reader(0);
	begin = now_ms();
	send_signal(writer.pid, SIGKILL);
	assert_int_equal(read_error(reader, &long_time), EOWNERDEAD);
	assert_true(now_ms() - begin < 2000);
	end_of(&writer);
	vee_channel_close(reader);
}

/* A writer that ends, in whatever way, is no longer one. */
static void exiting_child(void)
{
	struct vee_channel *writer = new_writer(0);

	write_many(writer, 1, 100);
	say();
	await_parent();
	exit(0);
}

static void an_exit_without_a_close_is_a_death(void **state)
{
	struct child writer = start(exiting_child);
	struct vee_channel *reader;

	(void)state;
	await(&writer);
	reader = new_reader(VEE_CHANNEL_OLDEST);
	tell(&writer);
	assert_int_equal(end_after_all(reader), EOWNERDEAD);
	end_of(&writer);
	vee_channel_close(reader);
}

static void execing_child(void)
{
	new_writer(0);
	say();
	await_parent();
	execl("/bin/sleep", "sleep", "60", NULL);
	_exit(1);
}

static void an_exec_is_a_death(void **state)
{
	struct child writer = start(execing_child);
	struct vee_channel *reader;

	(void)state;
	await(&writer);
	reader = new_reader(0);
	tell(&writer);
	assert_int_equal(read_error(reader, &long_time), EOWNERDEAD);
	vee_channel_close(new_writer(0));
	vee_channel_close(reader);
	kill_child(&writer);
}

/* The program starts itself anew, as one does for an update, with its channel open as a writer and a reliable reader. */
static void restarting_program(void)
{
	new_writer(RING_LEAST);
	for (unsigned i = 0; i < 3; i++)
		new_reliable();
	execl("/proc/self/exe", "again", "again", channel_name, NULL);
	_exit(1);
}

static int again(const char *name)
{
	struct vee_channel *writer, *reader;

	strcpy(channel_name, name);
	writer = new_writer(RING_LEAST);
	reader = new_reader(0);
	CHECK(stat_of(writer).epoch == 2 && stat_of(writer).readers == 1 &&
	      stat_of(writer).reliable == 0);
	for (unsigned i = 0; i < 1000; i++)
		CHECK(write_error(writer, 500, &none) == 0);
	CHECK(read_error(reader, &none) == 0);
	vee_channel_close(reader);
	vee_channel_close(writer);
	return 0;
}

static void after_an_exec_the_program_may_open_its_channels_again(void **state)
{
	struct child child = start(restarting_program);

	(void)state;
	assert_good(&child);
}

static void a_follower_goes_on_with_the_next_writer(void **state)
{
	struct child writer = start(closing_child), reader;

	(void)state;
	await(&writer);
	reader = start(follower);
	await(&reader);
	await_asleep(reader.pid);
	write_by(&writer);
	for (unsigned i = 0; i < 3; i++) {
		struct child next = start(writer_child);

		await(&next);
		await_asleep(reader.pid);
		write_by(&next);
		await(&reader);
		await_asleep(reader.pid);
		kill_child(&next);
		await_asleep(reader.pid);
	}
	kill_child(&writer);
	kill_child(&reader);
}

static void a_follower_has_no_end(void **state)
{
	struct vee_channel_open_options options = {.flags = VEE_CHANNEL_FOLLOW};
	struct vee_channel *writer = new_writer(0),
			   *reader = vee_channel_open(channel_name, &options);
	int fd = vee_channel_poll_fd(reader);

	(void)state;
	vee_channel_close(writer);
	assert_int_equal(read_error(reader, &none), EAGAIN);
	assert_int_equal(read_error(reader, &soon), EAGAIN);
	assert_false(is_readable(fd, 0));
	writer = new_writer(0);
	write_many(writer, 1, 10);
	assert_true(is_readable(fd, PATIENCE_MS));
	assert_int_equal(read_sound(reader).epoch, 2);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_dead_writer_is_no_end_for_a_polling_follower(void **state)
{
	struct vee_channel_open_options options = {.flags = VEE_CHANNEL_FOLLOW};
	struct child writer = start(writer_child);
	struct vee_channel *reader;
	int fd;

	(void)state;
	await(&writer);
	reader = vee_channel_open(channel_name, &options);
	fd = vee_channel_poll_fd(reader);
	kill_child(&writer);
	assert_int_equal(read_error(reader, &none), EAGAIN);
	assert_false(is_readable(fd, 0));
	writer = start(writer_child);
	await(&writer);
	write_by(&writer);
	assert_true(is_readable(fd, PATIENCE_MS));
	assert_int_equal(read_sound(reader).sequence, 1);
	assert_false(is_readable(fd, 0));
	vee_channel_close(reader);
	kill_child(&writer);
}

static void now_on_a_closed_channel_waits_for_the_next_writer(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader, *late;
	int fd;

	(void)state;
	write_many(writer, 5, 10);
	vee_channel_close(writer);
	reader = new_reader(VEE_CHANNEL_NOW);
	fd = vee_channel_poll_fd(reader);
	assert_int_equal(read_error(reader, &none), EAGAIN);
	assert_int_equal(read_error(reader, &soon), EAGAIN);
	assert_false(is_readable(fd, 0));
	late = new_reader(VEE_CHANNEL_OLDEST);
	for (unsigned i = 0; i < 5; i++)
		read_sound(late);
	assert_int_equal(read_error(late, &none), EPIPE);
	writer = new_writer(0);
	write_many(writer, 1, 10);
	assert_true(is_readable(fd, PATIENCE_MS));
	assert_int_equal(read_sound(reader).sequence, 6);
	vee_channel_close(writer);
	assert_int_equal(read_error(reader, &none), EPIPE);
	vee_channel_close(reader);
	vee_channel_close(late);
}

static void now_after_a_death_waits_for_the_next_writer(void **state)
{
	struct child writer = start(writer_child);
	struct vee_channel *reader;
	int fd;

	(void)state;
	await(&writer);
	write_by(&writer);
	kill_child(&writer);
	reader = new_reader(VEE_CHANNEL_NOW);
	fd = vee_channel_poll_fd(reader);
	assert_int_equal(read_error(reader, &soon), EAGAIN);
	assert_false(is_readable(fd, 0));
	writer = start(writer_child);
	await(&writer);
	write_by(&writer);
	assert_true(is_readable(fd, PATIENCE_MS));
	assert_int_equal(read_sound(reader).sequence, 2);
	kill_child(&writer);
	assert_int_equal(read_error(reader, &long_time), EOWNERDEAD);
	vee_channel_close(reader);
}

/* --- waits --- */

static void a_reader_gives_up_at_once_or_in_time(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);
	struct vee_channel_message message;
	int64_t begin = now_ms();

	(void)state;
	assert_int_equal(read_error(reader, &none), EAGAIN);
	assert_fails(vee_channel_peek(reader, &message, 1, &none), EAGAIN);
	begin = now_ms();
	assert_int_equal(read_error(reader, &soon), EAGAIN);
	assert_in_range(now_ms() - begin, 100, 5000);
	begin = now_ms();
	assert_fails(vee_channel_peek(reader, &message, 1, &soon), EAGAIN);
	assert_in_range(now_ms() - begin, 100, 5000);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

enum {
	HOGS = 3,
	TRIES = 15
};

static void hog(void)
{
	say();
	for (;;)
		;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Each a reader that does not know yet that those who want its processor have nothing to write. */
static int64_t usual_lateness(const struct timespec *timeout)
{
	int64_t late[TRIES];

	for (unsigned i = 0; i < TRIES; i++) {
		struct vee_channel *reader = new_reader(0);
		int64_t start;

		sleep_ms(2);
		start = clock_ns(CLOCK_MONOTONIC);
		assert_int_equal(read_error(reader, timeout), EAGAIN);
		late[i] = clock_ns(CLOCK_MONOTONIC) - start - timeout->tv_nsec;
		vee_channel_close(reader);
	}
	qsort(late, TRIES, sizeof(late[0]), by_value);
	return late[TRIES / 2];
}

static void where_others_are_busy_a_reader_gives_up_in_time(void **state)
{
	const struct timespec at_once = {0, 10000};
	struct vee_channel *writer = new_writer(0);
	struct child hogs[HOGS];
	cpu_set_t all, one;

	(void)state;
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	for (unsigned i = 0; i < HOGS; i++) {
		hogs[i] = start(hog);
		await(&hogs[i]);
	}
	assert_true(usual_lateness(&at_once) < 10 * MS);
	for (unsigned i = 0; i < HOGS; i++)
		kill_child(&hogs[i]);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	vee_channel_close(writer);
}

static void a_far_deadline_does_not_overflow(void **state)
{
	struct timespec far = {INT64_MAX, 999999999};
	struct child writer = start(writer_child);
	struct vee_channel *reader;

	(void)state;
	await(&writer);
	reader = new_reader(0);
	tell(&writer);
	assert_int_equal(read_error(reader, &far), 0);
	await(&writer);
	vee_channel_close(reader);
	kill_child(&writer);
}

static void times_that_cannot_be_are_refused(void **state)
{
	static const struct timespec times[] = {
		{-1, 0}, {-1000000000, 0}, {INT64_MIN, 0}, {0, -1}, {0, 1000000000}};
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reliable();
	struct vee_channel_message message;

	(void)state;
	for (unsigned i = 0; i < COUNT(times); i++) {
		assert_int_equal(read_error(reader, &times[i]), EINVAL);
		assert_fails(vee_channel_peek(reader, &message, 1, &times[i]), EINVAL);
	}
	fill_ring(writer, 500);
	for (unsigned i = 0; i < COUNT(times); i++) {
		assert_int_equal(write_error(writer, 500, &times[i]), EINVAL);
		assert_null_and(vee_channel_reserve(writer, 500, &times[i]), EINVAL);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_message_wakes_all_who_wait(void **state)
{
	struct child writer = start(writer_child), readers[5];

	(void)state;
	await(&writer);
	for (unsigned i = 0; i < COUNT(readers); i++) {
		readers[i] = start(follower);
		await(&readers[i]);
	}
	for (unsigned round = 0; round < 20; round++) {
		if (round % 4 == 0)
			for (unsigned i = 0; i < COUNT(readers); i++)
				await_asleep(readers[i].pid);
		write_by(&writer);
		for (unsigned i = 0; i < COUNT(readers); i++)
			await(&readers[i]);
	}
	for (unsigned i = 0; i < COUNT(readers); i++)
		kill_child(&readers[i]);
	kill_child(&writer);
}

static void on_signal(int sig)
{
	(void)sig;
}

static void handle(int flags)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};

	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
}

static void interrupted_reader(void)
{
	struct vee_channel *reader = new_reader(0);
	struct vee_channel_message message;

	handle(0);
	say();
	CHECK(read_error(reader, &long_time) == EINTR);
	say();
	CHECK(read_error(reader, NULL) == EINTR);
	say();
	CHECK(vee_channel_peek(reader, &message, 1, NULL) == -1 && errno == EINTR);
	say();
	CHECK(read_error(reader, NULL) == 0);
}

static void a_handler_ends_a_read(void **state)
{
	struct child writer = start(writer_child), reader;

	(void)state;
	await(&writer);
	reader = start(interrupted_reader);
	for (unsigned i = 0; i < 3; i++) {
		await(&reader);
		await_asleep(reader.pid);
		send_signal(reader.pid, SIGUSR1);
	}
	await(&reader);
	write_by(&writer);
	assert_good(&reader);
	kill_child(&writer);
}

static void restarting_reader(void)
{
	struct vee_channel *reader = new_reader(0);

	handle(SA_RESTART);
	say();
	CHECK(read_error(reader, &long_time) == 0);
	say();
	CHECK(read_error(reader, NULL) == 0);
}

static void restarts_with(struct child *writer)
{
	struct child reader = start(restarting_reader);

	for (unsigned i = 0; i < 2; i++) {
		await(&reader);
		for (unsigned j = 0; j < 5; j++) {
			await_asleep(reader.pid);
			send_signal(reader.pid, SIGUSR1);
		}
		await_asleep(reader.pid);
		write_by(writer);
	}
	assert_good(&reader);
	kill_child(writer);
}

static void with_sa_restart_it_goes_on(void **state)
{
	struct child writer = start(writer_child);

	(void)state;
	await(&writer);
	restarts_with(&writer);
}

static void *open_writer(void *arg)
{
	(void)arg;
	return new_writer(0);
}

/* Opened by a thread that has ended since. */
static void orphaned_writer_child(void)
{
	struct vee_channel *writer;
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, open_writer, NULL) == 0);
	CHECK(pthread_join(thread, (void **)&writer) == 0);
	for (;;) {
		say();
		await_parent();
		write_many(writer, 1, 100);
	}
}

static void with_sa_restart_it_goes_on_though_the_opening_thread_has_ended(void **state)
{
	struct child writer = start(orphaned_writer_child);

	(void)state;
	await(&writer);
	restarts_with(&writer);
}

static void interrupted_writer(void)
{
	struct vee_channel *writer = new_writer(RING_LEAST);

	handle(0);
	say();
	await_parent();
	fill_ring(writer, 500);
	say();
	CHECK(write_error(writer, 500, &long_time) == EINTR);
	say();
	CHECK(write_error(writer, 500, NULL) == EINTR);
	say();
	CHECK(write_error(writer, 500, NULL) == 0);
}

static void a_handler_ends_a_write(void **state)
{
	struct child writer = start(interrupted_writer);
	struct vee_channel *reader;

	(void)state;
	await(&writer);
	reader = new_reliable();
	tell(&writer);
	for (unsigned i = 0; i < 2; i++) {
		await(&writer);
		await_asleep(writer.pid);
		send_signal(writer.pid, SIGUSR1);
	}
	await(&writer);
	await_asleep(writer.pid);
	for (unsigned i = 0; i < 100; i++)
		read_error(reader, &none);
	assert_good(&writer);
	assert_int_equal(stat_of(reader).lost, 0);
	vee_channel_close(reader);
}

/* --- the wrong end, the wrong process --- */

static void the_wrong_end_is_ebadf(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);
	struct vee_channel_message message;

	(void)state;
	assert_fails(vee_channel_write(reader, "x", 1), EBADF);
	assert_fails(vee_channel_timedwrite(reader, "x", 1, &none), EBADF);
	assert_null_and(vee_channel_reserve(reader, 1, NULL), EBADF);
	assert_fails(vee_channel_commit(reader, 1), EBADF);
	assert_int_equal(read_error(writer, NULL), EBADF);
	assert_int_equal(read_error(writer, &none), EBADF);
	assert_fails(vee_channel_peek(writer, &message, 1, NULL), EBADF);
	assert_fails(vee_channel_release(writer), EBADF);
	assert_fails(vee_channel_poll_fd(writer), EBADF);
	write_many(writer, 1, 10);
	read_sound(reader);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static struct vee_channel *inherited_writer, *inherited_reader;

static void child_that_inherits(void)
{
	struct vee_channel_message message;
	struct vee_channel_stat stat;
	size_t size;

	for (unsigned i = 0; i < 2; i++) {
		CHECK(vee_channel_write(inherited_writer, "x", 1) == -1 && errno == ECHILD);
		CHECK(!vee_channel_reserve(inherited_writer, 1, NULL) && errno == ECHILD);
		CHECK(vee_channel_commit(inherited_writer, 1) == -1 && errno == ECHILD);
		vee_channel_abort(inherited_writer);
		CHECK(read_error(inherited_reader, &none) == ECHILD);
		CHECK(vee_channel_peek(inherited_reader, &message, 1, NULL) == -1 &&
		      errno == ECHILD);
		CHECK(vee_channel_release(inherited_reader) == -1 && errno == ECHILD);
		CHECK(vee_channel_poll_fd(inherited_reader) == -1 && errno == ECHILD);
		CHECK(vee_channel_stat(inherited_reader, &stat) == -1 && errno == ECHILD);
		CHECK(vee_channel_stat(inherited_writer, &stat) == -1 && errno == ECHILD);
		CHECK(!vee_channel_map(inherited_reader, &size) && errno == ECHILD);
	}
	CHECK(vee_channel_close(inherited_writer) == 0);
	CHECK(vee_channel_close(inherited_reader) == 0);
	/* It may open its own. */
	inherited_reader = new_reader(VEE_CHANNEL_OLDEST);
	read_sound(inherited_reader);
	vee_channel_close(inherited_reader);
}

static void in_a_child_nothing_but_the_close_works(void **state)
{
	struct child child;

	(void)state;
	inherited_writer = new_writer(0);
	inherited_reader = new_reader(0);
	vee_channel_poll_fd(inherited_reader);
	write_many(inherited_writer, 1, 10);
	read_sound(inherited_reader);
	child = start(child_that_inherits);
	assert_good(&child);
	write_many(inherited_writer, 1, 10);
	assert_true(is_readable(vee_channel_poll_fd(inherited_reader), PATIENCE_MS));
	assert_int_equal(read_sound(inherited_reader).sequence, 2);
	assert_false(is_readable(vee_channel_poll_fd(inherited_reader), 0));
	vee_channel_close(inherited_reader);
	vee_channel_close(inherited_writer);
}

static void reserving_child(void)
{
	CHECK(vee_channel_commit(inherited_writer, 10) == -1 && errno == ECHILD);
	CHECK(vee_channel_release(inherited_reader) == -1 && errno == ECHILD);
}

static void in_a_child_nothing_that_was_begun_is_ended(void **state)
{
	struct vee_channel_message message;
	struct child child;

	(void)state;
	inherited_writer = new_writer(0);
	inherited_reader = new_reader(0);
	write_many(inherited_writer, 1, 10);
	assert_int_equal(vee_channel_peek(inherited_reader, &message, 1, NULL), 1);
	fill_message(vee_channel_reserve(inherited_writer, 10, NULL), 10, 2);
	child = start(reserving_child);
	assert_good(&child);
	assert_int_equal(vee_channel_commit(inherited_writer, 10), 0);
	assert_int_equal(vee_channel_release(inherited_reader), 0);
	assert_int_equal(read_sound(inherited_reader).sequence, 2);
	vee_channel_close(inherited_reader);
	vee_channel_close(inherited_writer);
}

static void waiting_child(void)
{
	say();
	await_parent();
}

/* Its copies of our mappings say nothing of us. */
static void a_writer_is_dead_though_its_child_lives(void **state)
{
	struct child writer = start(orphaned_writer_child), holder;
	struct vee_channel *reader, *next;

	(void)state;
	await(&writer);
	reader = new_reader(0);
	kill_child(&writer);
	assert_int_equal(read_error(reader, NULL), EOWNERDEAD);
	next = new_writer(0);
	holder = start(waiting_child);
	await(&holder);
	vee_channel_close(next);
	next = new_writer(0);
	assert_int_equal(stat_of(next).epoch, 3);
	kill_child(&holder);
	vee_channel_close(next);
	vee_channel_close(reader);
}

/* --- descriptors --- */

static void a_descriptor_is_readable_while_there_is_a_message(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);
	int fd;

	(void)state;
	write_many(writer, 2, 10);
	fd = vee_channel_poll_fd(reader);
	assert_true(fd >= 0);
	assert_int_equal(vee_channel_poll_fd(reader), fd);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	for (unsigned i = 0; i < 500; i++) {
		assert_true(is_readable(fd, 0) && is_readable(fd, 0));
		read_sound(reader);
		assert_true(is_readable(fd, 0));
		read_sound(reader);
		/* At once, without a read that finds nothing. */
		assert_false(is_readable(fd, 0));
		if (i % 2)
			assert_int_equal(read_error(reader, &none), EAGAIN);
		assert_false(is_readable(fd, 0));
		write_many(writer, 2, i);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_descriptor_becomes_readable_on_a_write_close_and_death(void **state)
{
	struct child writer = start(writer_child);
	struct vee_channel *reader, *next;
	int fd;

	(void)state;
	await(&writer);
	reader = new_reader(0);
	fd = vee_channel_poll_fd(reader);
	for (unsigned i = 1; i < 20; i++) {
		assert_false(is_readable(fd, 0));
		tell(&writer);
		assert_true(is_readable(fd, PATIENCE_MS));
		assert_int_equal(read_sound(reader).sequence, i);
		await(&writer);
	}
	assert_false(is_readable(fd, 0));
	kill_child(&writer);
	assert_true(is_readable(fd, PATIENCE_MS));
	assert_int_equal(read_error(reader, &none), EOWNERDEAD);
	assert_true(is_readable(fd, 0));
	next = new_writer(0);
	write_many(next, 1, 10);
	assert_true(is_readable(fd, PATIENCE_MS));
	assert_int_equal(read_sound(reader).sequence, 20);
	assert_int_equal(read_error(reader, &none), EAGAIN);
	assert_false(is_readable(fd, 0));
	vee_channel_close(next);
	assert_true(is_readable(fd, PATIENCE_MS));
	assert_int_equal(read_error(reader, &none), EPIPE);
	assert_true(is_readable(fd, 0));
	vee_channel_close(reader);
}

static void flood_slowly(void)
{
	struct vee_channel *writer = new_writer(0);

	say();
	await_parent();
	for (unsigned i = 0; i < 20000; i++) {
		write_many(writer, 1, 10);
		for (unsigned j = hash(i) % 4000; j; j--)
			__asm__ volatile("");
	}
	vee_channel_close(writer);
}

/* The message between a read that finds nothing and the poll is not missed. */
static void no_message_is_missed_by_who_polls(void **state)
{
	struct child writer = start(flood_slowly);
	struct vee_channel *reader;
	uint64_t next = 1;
	int fd, error;

	(void)state;
	await(&writer);
	reader = new_reader(0);
	fd = vee_channel_poll_fd(reader);
	tell(&writer);
	do {
		assert_true(is_readable(fd, PATIENCE_MS));
		while ((error = read_error(reader, &none)) == 0)
			next++;
	} while (error == EAGAIN);
	assert_int_equal(error, EPIPE);
	assert_int_equal(next + stat_of(reader).lost, 20001);
	assert_good(&writer);
	vee_channel_close(reader);
}

static void epoll_tells_of_two_readers_apart(void **state)
{
	struct vee_channel *writer = new_writer(0), *readers[2];
	int epoll = epoll_create1(EPOLL_CLOEXEC), fds[2];
	struct epoll_event event;

	(void)state;
	for (int i = 0; i < 2; i++) {
		readers[i] = new_reader(0);
		fds[i] = vee_channel_poll_fd(readers[i]);
		event = (struct epoll_event){.events = EPOLLIN, .data.u32 = i};
		assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event), 0);
	}
	for (unsigned round = 0; round < 100; round++) {
		struct epoll_event events[3];

		assert_int_equal(epoll_wait(epoll, events, 3, 0), 0);
		write_many(writer, 1, 10);
		assert_int_equal(epoll_wait(epoll, events, 3, PATIENCE_MS), 2);
		read_sound(readers[round % 2]);
		assert_int_equal(epoll_wait(epoll, events, 3, 0), 1);
		assert_int_equal(events[0].data.u32, 1 - round % 2);
		write_many(writer, 1, 10);
		assert_int_equal(epoll_wait(epoll, events, 3, PATIENCE_MS), 2);
		while (read_error(readers[0], &none) == 0)
			;
		while (read_error(readers[1], &none) == 0)
			;
	}
	close(epoll);
	vee_channel_close(readers[0]);
	vee_channel_close(readers[1]);
	vee_channel_close(writer);
}

static void a_peek_and_a_release_move_the_descriptor_too(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);
	struct vee_channel_message messages[4];
	int fd = vee_channel_poll_fd(reader);

	(void)state;
	for (unsigned round = 0; round < 100; round++) {
		write_many(writer, 5, 10);
		assert_true(is_readable(fd, PATIENCE_MS));
		assert_int_equal(vee_channel_peek(reader, messages, 4, &none), 4);
		assert_true(is_readable(fd, 0));
		assert_int_equal(vee_channel_release(reader), 0);
		assert_true(is_readable(fd, 0));
		assert_int_equal(vee_channel_peek(reader, messages, 4, &none), 1);
		assert_int_equal(vee_channel_release(reader), 0);
		assert_false(is_readable(fd, 0));
		if (round % 2)
			assert_fails(vee_channel_peek(reader, messages, 4, &none), EAGAIN);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void a_polling_reader_that_is_lapped_is_readable(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);
	int fd = vee_channel_poll_fd(reader);

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		write_many(writer, 1000, 500);
		assert_true(is_readable(fd, 0));
		assert_true(read_sound(reader).lost > 0);
		assert_true(is_readable(fd, 0));
		while (read_error(reader, &none) == 0)
			;
		assert_false(is_readable(fd, 0));
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* A read may also just wait, with a descriptor open. */
static void a_reader_with_a_descriptor_may_wait_in_a_read(void **state)
{
	struct child writer = start(writer_child);
	struct vee_channel *reader;

	(void)state;
	await(&writer);
	reader = new_reader(0);
	assert_true(vee_channel_poll_fd(reader) >= 0);
	for (unsigned i = 0; i < 10; i++) {
		tell(&writer);
		assert_int_equal(read_error(reader, &long_time), 0);
		await(&writer);
	}
	assert_false(is_readable(vee_channel_poll_fd(reader), 0));
	vee_channel_close(reader);
	kill_child(&writer);
}

static void a_close_closes_the_descriptor(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);
	unsigned fds = count_fds();

	(void)state;
	write_many(writer, 1, 10);
	assert_true(vee_channel_poll_fd(reader) >= 0);
	assert_true(count_fds() > fds);
	vee_channel_close(reader);
	assert_int_equal(count_fds(), fds);
	vee_channel_close(writer);
}

/* Of a limit of 64. */
static void leave_descriptors(unsigned n_left, int *fds)
{
	unsigned n = 0;

	while ((fds[n] = dup(child_in)) >= 0)
		n++;
	CHECK(n >= n_left);
	while (n_left--)
		CHECK(close(fds[--n]) == 0);
	fds[n] = -1;
}

static void close_all(const int *fds)
{
	for (; *fds >= 0; fds++)
		close(*fds);
}

static void limit_descriptors(void)
{
	struct rlimit limit = {64, 64};

	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* Without any of the three it would not tell of all that it is for. */
static void poll_with_few_descriptors(void)
{
	struct vee_channel *reader = new_reader(0);
	int fds[65], fd;

	limit_descriptors();
	for (unsigned n_left = 0; n_left < 3; n_left++) {
		leave_descriptors(n_left, fds);
		CHECK(vee_channel_poll_fd(reader) == -1 && errno == EMFILE);
		close_all(fds);
	}
	leave_descriptors(3, fds);
	fd = vee_channel_poll_fd(reader);
	CHECK(fd >= 0 && !is_readable(fd, 0));
	say();
	CHECK(is_readable(fd, PATIENCE_MS));
	for (unsigned i = 0; i < 3; i++) {
		CHECK(read_error(reader, &none) == EOWNERDEAD);
		CHECK(is_readable(fd, 0));
	}
}

static void a_descriptor_tells_of_all_or_is_refused(void **state)
{
	struct child writer = start(writer_child), reader;

	(void)state;
	await(&writer);
	reader = start(poll_with_few_descriptors);
	await(&reader);
	/* It is a zombie meanwhile. */
	send_signal(writer.pid, SIGKILL);
	assert_good(&reader);
	end_of(&writer);
}

static void *make_writer(void *arg)
{
	(void)arg;
	return new_writer(0);
}

static void read_without_descriptors(void)
{
	struct vee_channel *writer, *reader;
	pthread_t thread;
	void *made;
	int fds[65];

	/* Nobody holds the doorbell. */
	CHECK(pthread_create(&thread, NULL, make_writer, NULL) == 0);
	CHECK(pthread_join(thread, &made) == 0);
	writer = made;
	reader = new_reader(0);
	CHECK(read_error(reader, &none) == EAGAIN);
	sleep_ms(1);
	limit_descriptors();
	leave_descriptors(0, fds);
	CHECK(read_error(reader, &none) == EAGAIN);
	close_all(fds);
	CHECK(read_error(reader, &none) == EAGAIN);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

static void without_descriptors_nobody_is_taken_for_dead(void **state)
{
	struct child child = start(read_without_descriptors);

	(void)state;
	assert_good(&child);
}

static void wait_without_descriptors(void)
{
	struct vee_channel *reader = new_reader(0);
	int fds[65];

	limit_descriptors();
	leave_descriptors(0, fds);
	say();
	CHECK(read_error(reader, &long_time) == EOWNERDEAD);
}

static void without_descriptors_a_death_ends_a_wait(void **state)
{
	struct child writer = start(writer_child), reader;

	(void)state;
	await(&writer);
	reader = start(wait_without_descriptors);
	await(&reader);
	await_asleep(reader.pid);
	kill_child(&writer);
	assert_good(&reader);
}

static void poll_until_the_end_without_descriptors(void)
{
	struct vee_channel *reader = vee_channel_open(channel_path, NULL);
	int fds[65], fd = vee_channel_poll_fd(reader);

	CHECK(fd >= 0);
	limit_descriptors();
	leave_descriptors(0, fds);
	CHECK(!is_readable(fd, 0));
	say();
	CHECK(is_readable(fd, PATIENCE_MS));
	for (unsigned i = 0; i < 3; i++) {
		CHECK(read_error(reader, &none) == EPIPE);
		CHECK(is_readable(fd, 0));
	}
}

/* A Unix socket without a name: what libvee sends by. */
static bool is_sender(int fd)
{
	struct sockaddr_un name;
	socklen_t size = sizeof(name);

	return getsockname(fd, (struct sockaddr *)&name, &size) == 0 &&
	       name.sun_family == AF_UNIX && size == sizeof(sa_family_t);
}

/* A message a letter, the first ones without a descriptor to send by. */
static void write_without_descriptors_at_first(void)
{
	struct vee_channel *writer = new_writer(0);
	int fds[65];

	/* The parent's. */
	for (int i = 3; i < 64; i++)
		if (is_sender(i))
			close(i);
	limit_descriptors();
	leave_descriptors(0, fds);
	for (unsigned i = 0; i < 3; i++) {
		say();
		await_parent();
		write_many(writer, 1, 10);
	}
	close_all(fds);
	for (;;) {
		say();
		await_parent();
		write_many(writer, 1, 10);
	}
}

static void who_polls_is_told_as_soon_as_the_writer_can(void **state)
{
	struct child writer = start(write_without_descriptors_at_first);
	struct vee_channel *readers[2];
	int fds[2];

	(void)state;
	await(&writer);
	for (unsigned i = 0; i < 2; i++) {
		readers[i] = new_reader(0);
		fds[i] = vee_channel_poll_fd(readers[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		write_by(&writer);
	for (unsigned i = 0; i < 2; i++)
		assert_false(is_readable(fds[i], 0));
	for (unsigned i = 4; i < 10; i++) {
		write_by(&writer);
		for (unsigned j = 0; j < 2; j++) {
			assert_true(is_readable(fds[j], PATIENCE_MS));
			while (read_error(readers[j], &none) == 0)
				;
			assert_int_equal(stat_of(readers[j]).received, i);
			assert_false(is_readable(fds[j], 0));
		}
	}
	for (unsigned i = 0; i < 2; i++)
		vee_channel_close(readers[i]);
	kill_child(&writer);
}

#define POLLERS 600

/* More bytes than the buffer of one socket has room for. */
static void many_who_poll_are_told_at_once(void **state)
{
	static struct vee_channel *readers[POLLERS];
	struct vee_channel *writer = new_writer(0);
	struct rlimit limit, more;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	more = (struct rlimit){limit.rlim_max, limit.rlim_max};
	if (limit.rlim_max < 4 * POLLERS)
		skip();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &more), 0);
	for (unsigned i = 0; i < POLLERS; i++) {
		readers[i] = new_reader(0);
		assert_true(vee_channel_poll_fd(readers[i]) >= 0);
	}
	for (unsigned round = 1; round <= 3; round++) {
		write_many(writer, 1, 10);
		for (unsigned i = 0; i < POLLERS; i++)
			assert_true(is_readable(vee_channel_poll_fd(readers[i]), 0));
		for (unsigned i = 0; i < POLLERS; i++) {
			assert_int_equal(read_sound(readers[i]).sequence, round);
			assert_false(is_readable(vee_channel_poll_fd(readers[i]), 0));
		}
	}
	for (unsigned i = 0; i < POLLERS; i++)
		vee_channel_close(readers[i]);
	vee_channel_close(writer);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* The address of a socket has 108 bytes. */
static void to_show_what_there_is_takes_no_descriptor(void **state)
{
	struct vee_channel *writer;
	struct child reader;

	(void)state;
	snprintf(channel_path, sizeof(channel_path), "%s/%0120d", folder, 0);
	assert_int_equal(mkdir(channel_path, 0700), 0);
	strcat(channel_path, "/long");
	writer = vee_channel_create(channel_path, NULL);
	assert_non_null(writer);
	reader = start(poll_until_the_end_without_descriptors);
	await(&reader);
	vee_channel_close(writer);
	assert_good(&reader);
	vee_channel_remove(channel_path);
}

/* A TCP connection; [1] is what the other end reads. */
static void connect_pair(int *ret_fds)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);
	int listening = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(bind(listening, (struct sockaddr *)&address, size) == 0);
	CHECK(listen(listening, 1) == 0);
	CHECK(getsockname(listening, (struct sockaddr *)&address, &size) == 0);
	ret_fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(connect(ret_fds[0], (struct sockaddr *)&address, size) == 0);
	ret_fds[1] = accept(listening, NULL, NULL);
	CHECK(ret_fds[1] >= 0);
	close(listening);
}

/* Some programs close all descriptors that they do not know. Then other files have those numbers. */
static void no_byte_goes_where_a_descriptor_of_ours_was(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0);
	int fd = vee_channel_poll_fd(reader), pair[2], replaced = -1;

	(void)state;
	write_many(writer, 1, 10);
	read_one(reader);
	connect_pair(pair);
	for (int i = 3; i < 64; i++)
		if (is_sender(i)) {
			assert_int_equal(replaced, -1);
			replaced = dup2(pair[0], i);
		}
	for (unsigned i = 2; i < 5; i++) {
		write_many(writer, 1, 10);
		assert_true(is_readable(fd, PATIENCE_MS));
		assert_int_equal(read_one(reader).sequence, i);
	}
	assert_false(is_readable(pair[1], 0));
	close(pair[0]);
	close(pair[1]);
	close(replaced);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(two_may_not_write_at_once),
		TEST(the_words_say_which_process_writes),
		TEST(after_a_close_another_may_write),
		TEST(after_a_kill_another_may_write),
		TEST(a_writer_killed_at_work_leaves_a_sound_channel),
		TEST(a_close_is_seen_when_all_is_read),
		TEST(a_death_is_seen_when_all_is_read),
		TEST(a_close_wakes_waiting_readers),
		TEST(a_death_wakes_waiting_readers),
		TEST(a_close_wakes_polling_readers),
		TEST(a_death_wakes_polling_readers),
		TEST(a_death_is_noticed_soon),
		TEST(an_exit_without_a_close_is_a_death),
		TEST(an_exec_is_a_death),
		TEST(after_an_exec_the_program_may_open_its_channels_again),
		TEST(a_follower_goes_on_with_the_next_writer),
		TEST(a_follower_has_no_end),
		TEST(a_dead_writer_is_no_end_for_a_polling_follower),
		TEST(now_on_a_closed_channel_waits_for_the_next_writer),
		TEST(now_after_a_death_waits_for_the_next_writer),
		TEST(a_reader_gives_up_at_once_or_in_time),
		TEST(where_others_are_busy_a_reader_gives_up_in_time),
		TEST(a_far_deadline_does_not_overflow),
		TEST(times_that_cannot_be_are_refused),
		TEST(a_message_wakes_all_who_wait),
		TEST(a_handler_ends_a_read),
		TEST(with_sa_restart_it_goes_on),
		TEST(with_sa_restart_it_goes_on_though_the_opening_thread_has_ended),
		TEST(a_handler_ends_a_write),
		TEST(the_wrong_end_is_ebadf),
		TEST(in_a_child_nothing_but_the_close_works),
		TEST(in_a_child_nothing_that_was_begun_is_ended),
		TEST(a_writer_is_dead_though_its_child_lives),
		TEST(a_descriptor_is_readable_while_there_is_a_message),
		TEST(a_descriptor_becomes_readable_on_a_write_close_and_death),
		TEST(no_message_is_missed_by_who_polls),
		TEST(epoll_tells_of_two_readers_apart),
		TEST(a_peek_and_a_release_move_the_descriptor_too),
		TEST(a_polling_reader_that_is_lapped_is_readable),
		TEST(a_reader_with_a_descriptor_may_wait_in_a_read),
		TEST(a_close_closes_the_descriptor),
		TEST(a_descriptor_tells_of_all_or_is_refused),
		TEST(without_descriptors_nobody_is_taken_for_dead),
		TEST(without_descriptors_a_death_ends_a_wait),
		TEST(who_polls_is_told_as_soon_as_the_writer_can),
		TEST(many_who_poll_are_told_at_once),
		TEST(to_show_what_there_is_takes_no_descriptor),
		TEST(no_byte_goes_where_a_descriptor_of_ours_was),
	};

	if (argc > 2 && !strcmp(argv[1], "again"))
		return again(argv[2]);
	prepare(argc, argv);
	return cmocka_run_group_tests_name("channels: ends", tests, make_folder, remove_folder);
}
