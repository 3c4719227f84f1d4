/*
 * common.h - what the tests of channels share: names, messages whose content follows from their number, children.
 *
 * The tests know include/vee/channel.h and libvee.so, and nothing of what lies in them. A test that fails in a child says so on
 * stderr, and the child's status is not 0: cmocka's assertions are for the first thread of the parent, CHECK() is for all.
 */
#pragma once

#include "vee/channel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define UNUSED	   __attribute__((unused))
#define KIB	   (1024ul)
#define MIB	   (1024 * KIB)
#define MS	   1000000l
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define RING_LEAST (64 * KIB)
/* Nothing takes longer, whatever else the machine does. */
#define PATIENCE_MS 20000
#define FOREIGN_UID 12345

static const struct timespec none = {0, 0}, soon = {0, 100 * MS}, long_time = {20, 0};

static pid_t test_thread;

#define CHECK(condition)                                                                         \
	do {                                                                                     \
		if (!(condition)) {                                                              \
			fprintf(stderr, "%s:%d: process %d: not so: %s (errno: %s)\n", __FILE__, \
				__LINE__, (int)getpid(), #condition, strerror(errno));           \
			if (gettid() == test_thread)                                             \
				fail();                                                          \
			_exit(1);                                                                \
		}                                                                                \
	} while (0)

#define assert_fails(call, error)                    \
	do {                                         \
		errno = 0;                           \
		assert_true((intptr_t)(call) == -1); \
		assert_int_equal(errno, error);      \
	} while (0)

#define assert_null_and(call, error)            \
	do {                                    \
		errno = 0;                      \
		assert_null(call);              \
		assert_int_equal(errno, error); \
	} while (0)

static UNUSED int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static UNUSED int64_t now_ms(void)
{
	return clock_ns(CLOCK_MONOTONIC) / MS;
}

static UNUSED void sleep_ms(long ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * MS};

	nanosleep(&time, NULL);
}

/* --- names: each test has a channel of its own --- */

static char folder[64]; /* for paths; other users may pass through */
static char channel_name[80], channel_path[256];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static UNUSED void remove_tree(const char *path)
{
	nftw(path, remove_one, 20, FTW_DEPTH | FTW_PHYS);
}

static UNUSED int new_name(void **state)
{
	static unsigned n;

	(void)state;
	snprintf(channel_name, sizeof(channel_name), "channel-%u", ++n);
	snprintf(channel_path, sizeof(channel_path), "%s/path-%u", folder, n);
	return 0;
}

static UNUSED int make_folder(void **state)
{
	(void)state;
	strcpy(folder, "/dev/shm/vee-test-channel.XXXXXX");
	if (!mkdtemp(folder) || chmod(folder, 0755) < 0)
		return -1;
	if (!getenv("VEE_DIR"))
		setenv("VEE_DIR", folder, 1);
	signal(SIGPIPE, SIG_IGN);
	test_thread = gettid();
	alarm(100);
	return 0;
}

static UNUSED int remove_folder(void **state)
{
	(void)state;
	remove_tree(folder);
	return 0;
}

/*
 * cmocka catches SIGBUS, and so takes it from libvee, which turns it into EIO: here is what libvee has installed. A child of a test
 * dies of it, in place of running the rest of the tests.
 */
static struct sigaction sigbus_of_libvee;

static UNUSED void restore_sigbus(void)
{
	CHECK(sigaction(SIGBUS, &sigbus_of_libvee, NULL) == 0);
}

/* The first argument: which tests, as a pattern. */
static UNUSED void prepare(int argc, char **argv)
{
	char path[] = "/dev/shm/vee-test-channel-first";

	vee_channel_close(vee_channel_create(path, NULL));
	vee_channel_remove(path);
	sigaction(SIGBUS, NULL, &sigbus_of_libvee);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
}

#define TEST(name) cmocka_unit_test_setup(name, new_name)

/* --- handles --- */

static UNUSED struct vee_channel *new_writer(size_t ring_size)
{
	struct vee_channel_create_options options = {.ring_size = ring_size};
	struct vee_channel *writer = vee_channel_create(channel_name, &options);

	CHECK(writer);
	return writer;
}

static UNUSED struct vee_channel *new_reader(enum vee_channel_start start)
{
	struct vee_channel_open_options options = {.start = start};
	struct vee_channel *reader = vee_channel_open(channel_name, &options);

	CHECK(reader);
	return reader;
}

static UNUSED struct vee_channel *new_reliable(void)
{
	struct vee_channel_open_options options = {.start = VEE_CHANNEL_OLDEST,
						   .policy = VEE_CHANNEL_RELIABLE};
	struct vee_channel *reader = vee_channel_open(channel_name, &options);

	CHECK(reader);
	return reader;
}

static UNUSED struct vee_channel_stat stat_of(struct vee_channel *channel)
{
	struct vee_channel_stat stat;

	CHECK(vee_channel_stat(channel, &stat) == 0);
	return stat;
}

/* --- messages: what is in one follows from its number --- */

static UNUSED uint64_t hash(uint64_t n)
{
	n = (n ^ n >> 31) * 0x7fb5d329728ea185ull;
	n = (n ^ n >> 27) * 0x81dadef4bc2dd44dull;
	return n ^ n >> 33;
}

static UNUSED void fill_message(void *buf, size_t size, uint64_t number)
{
	uint64_t word = 0;
	char *at = buf;

	for (size_t i = 0; i < size; i += 8) {
		word = hash(number + (i << 32));
		memcpy(at + i, &word, size - i < 8 ? size - i : 8);
	}
}

static UNUSED bool is_message(const void *buf, size_t size, uint64_t number)
{
	const char *at = buf;
	uint64_t word;

	for (size_t i = 0; i < size; i += 8) {
		word = hash(number + (i << 32));
		if (memcmp(at + i, &word, size - i < 8 ? size - i : 8))
			return false;
	}
	return true;
}

/* The first thread's. */
static char buf[256 * KIB];

/* What the message of that number has in it if nobody says how many bytes. */
static UNUSED size_t size_of(uint64_t number, size_t most)
{
	return hash(~number) % (most + 1);
}

static UNUSED void write_one(struct vee_channel *writer, size_t size, uint64_t number)
{
	CHECK(size <= sizeof(buf));
	fill_message(buf, size, number);
	CHECK(vee_channel_write(writer, buf, size) == 0);
}

static UNUSED void write_many(struct vee_channel *writer, unsigned n, size_t size)
{
	uint64_t number = stat_of(writer).written;

	for (unsigned i = 0; i < n; i++)
		write_one(writer, size, ++number);
}

/* Without waiting. */
static UNUSED struct vee_channel_message read_one(struct vee_channel *reader)
{
	struct vee_channel_message message = {.data = NULL};
	ssize_t n = vee_channel_timedread(reader, buf, sizeof(buf), &message, &none);

	CHECK(n >= 0);
	CHECK((size_t)n == message.size && message.data == buf);
	return message;
}

/* One that write_many() has written. */
static UNUSED struct vee_channel_message read_sound(struct vee_channel *reader)
{
	struct vee_channel_message message = read_one(reader);

	CHECK(is_message(message.data, message.size, message.sequence));
	return message;
}

static UNUSED int read_error(struct vee_channel *reader, const struct timespec *timeout)
{
	errno = 0;
	return vee_channel_timedread(reader, buf, sizeof(buf), NULL, timeout) < 0 ? errno : 0;
}

static UNUSED int write_error(struct vee_channel *writer, size_t size,
			      const struct timespec *timeout)
{
	CHECK(size <= sizeof(buf));
	fill_message(buf, size, stat_of(writer).written + 1);
	errno = 0;
	return vee_channel_timedwrite(writer, buf, size, timeout) < 0 ? errno : 0;
}

/* Until the writer would wait; how many. */
static UNUSED unsigned fill_ring(struct vee_channel *writer, size_t size)
{
	unsigned n = 0;
	int error;

	while ((error = write_error(writer, size, &none)) == 0)
		n++;
	CHECK(error == EAGAIN);
	return n;
}

static UNUSED bool is_readable(int fd, int timeout_ms)
{
	struct pollfd one = {fd, POLLIN, 0};
	int n = poll(&one, 1, timeout_ms);

	CHECK(n >= 0 && !(one.revents & ~POLLIN));
	return n == 1;
}

/* --- children --- */

struct child {
	pid_t pid;
	int to, from;
};

/* A child says a letter, and waits for one. */
static int child_in, child_out;

static UNUSED void say(void)
{
	CHECK(write(child_out, "x", 1) == 1);
}

static UNUSED void await_parent(void)
{
	char letter;

	if (read(child_in, &letter, 1) != 1)
		_exit(3);
}

static UNUSED struct child start(void (*run)(void))
{
	int to[2], from[2];
	struct child child;
	pid_t parent = getpid();

	CHECK(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
	fflush(NULL);
	child.pid = fork();
	CHECK(child.pid >= 0);
	if (child.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(3);
		restore_sigbus();
		signal(SIGSEGV, SIG_DFL);
		close(to[1]);
		close(from[0]);
		child_in = to[0];
		child_out = from[1];
		run();
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	child.to = to[1];
	child.from = from[0];
	return child;
}

static UNUSED void await(const struct child *child)
{
	struct pollfd one = {child->from, POLLIN, 0};
	char letter;

	assert_int_equal(poll(&one, 1, PATIENCE_MS), 1);
	assert_int_equal(read(child->from, &letter, 1), 1);
}

static UNUSED void tell(const struct child *child)
{
	assert_int_equal(write(child->to, "x", 1), 1);
}

static UNUSED void send_signal(pid_t pid, int sig)
{
	CHECK(pid > 0);
	CHECK(kill(pid, sig) == 0);
}

static int end_of(struct child *child)
{
	int status = -1;
	pid_t pid = child->pid;

	close(child->to);
	close(child->from);
	for (int64_t end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(1))
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
	send_signal(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -1;
}

static UNUSED void assert_good(struct child *child)
{
	assert_int_equal(end_of(child), 0);
}

static UNUSED void kill_child(struct child *child)
{
	send_signal(child->pid, SIGKILL);
	assert_int_equal(end_of(child), SIGKILL);
}

/* The thread, or the process's first one, sleeps in the kernel. */
static UNUSED void await_asleep(pid_t pid)
{
	unsigned in_a_row = 0;
	char path[64], text[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	for (int64_t end = now_ms() + PATIENCE_MS; in_a_row < 4; sleep_ms(3)) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, text, sizeof(text) - 1);

		close(fd);
		CHECK(n > 0 && now_ms() < end);
		text[n] = '\0';
		in_a_row = strrchr(text, ')')[2] == 'S' ? in_a_row + 1 : 0;
	}
}

/* --- writers in children --- */

/* One message of 100 bytes for each letter from the parent. */
static UNUSED void writer_child(void)
{
	struct vee_channel *writer = new_writer(0);

	for (;;) {
		say();
		await_parent();
		write_many(writer, 1, 100);
	}
}

/* Closes the channel at the first letter, and stays. */
static UNUSED void closing_child(void)
{
	struct vee_channel *writer = new_writer(0);

	say();
	await_parent();
	vee_channel_close(writer);
	say();
	await_parent();
}

static UNUSED void write_by(const struct child *child)
{
	tell(child);
	await(child);
}

/* --- files --- */

static UNUSED unsigned count_lines(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned n = 0;
	int c;

	CHECK(file);
	while ((c = getc(file)) != EOF)
		n += c == '\n';
	fclose(file);
	return n;
}

static UNUSED unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}
