/* channel-promises.c - what the header and the pages promise in passing, and other tests don't ask. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vee/channel.h>

static const struct timespec at_once = {0, 0};

/* The first message of a section is about to be written, and the section has its entry. */
static void test_last_is_the_last_while_one_is_reserved(void **state)
{
	struct vee_channel_create_options small = {.ring_size = 65536};
	struct vee_channel_open_options last = {.start = VEE_CHANNEL_LAST};
	struct vee_channel *writer = vee_channel_create("last", &small);

	(void)state;
	assert_non_null(writer);
	for (uint64_t i = 1; i <= 200; i++) {
		struct vee_channel_message message = {.sequence = 0};
		struct vee_channel *reader;
		char byte;

		assert_int_equal(vee_channel_write(writer, "x", 1), 0);
		assert_non_null(vee_channel_reserve(writer, 1, &at_once));
		reader = vee_channel_open("last", &last);
		assert_non_null(reader);
		assert_int_equal(vee_channel_timedread(reader, &byte, 1, &message, &at_once), 1);
		assert_int_equal(message.sequence, i);
		vee_channel_close(reader);
	}
	vee_channel_close(writer);
	vee_channel_remove("last");
}

static int fails_with(long ret, int error)
{
	return ret == -1 && errno == error;
}

static int all_are_refused(struct vee_channel *writer, struct vee_channel *reader)
{
	struct vee_channel_message message;
	struct vee_channel_stat stat;
	size_t size;
	char byte;

	return fails_with(vee_channel_write(writer, "x", 1), ECHILD) &&
	       !vee_channel_reserve(writer, 1, &at_once) && errno == ECHILD &&
	       fails_with(vee_channel_commit(writer, 1), ECHILD) &&
	       fails_with(vee_channel_stat(writer, &stat), ECHILD) &&
	       fails_with(vee_channel_read(reader, &byte, 1, &message), ECHILD) &&
	       fails_with(vee_channel_peek(reader, &message, 1, &at_once), ECHILD) &&
	       fails_with(vee_channel_release(reader), ECHILD) &&
	       fails_with(vee_channel_poll_fd(reader), ECHILD) &&
	       fails_with(vee_channel_stat(reader, &stat), ECHILD) &&
	       !vee_channel_map(reader, &size) && errno == ECHILD &&
	       vee_channel_close(reader) == 0 && vee_channel_close(writer) == 0;
}

static void test_a_child_has_no_use_of_its_parents_handles(void **state)
{
	struct vee_channel *writer = vee_channel_create("child", NULL);
	struct vee_channel *reader = vee_channel_open("child", NULL);
	char byte = 0;
	int status;
	pid_t pid;

	(void)state;
	assert_non_null(writer);
	assert_non_null(reader);
	pid = fork();
	if (pid == 0)
		_exit(!all_are_refused(writer, reader));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* And its close took nothing away. */
	assert_int_equal(vee_channel_write(writer, "x", 1), 0);
	assert_int_equal(vee_channel_timedread(reader, &byte, 1, NULL, &at_once), 1);
	vee_channel_close(reader);
	vee_channel_close(writer);
	vee_channel_remove("child");
}

static void test_a_timeout_that_cannot_be_is_einval(void **state)
{
	static const struct timespec wrong[] = {{-1, 0}, {0, -1}, {0, 1000000000}};
	struct vee_channel *writer = vee_channel_create("timeout", NULL);
	struct vee_channel *reader = vee_channel_open("timeout", NULL);
	struct vee_channel_message message;
	char byte;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_true(fails_with(vee_channel_timedread(reader, &byte, 1, NULL, &wrong[i]),
				       EINVAL));
		assert_true(fails_with(vee_channel_peek(reader, &message, 1, &wrong[i]), EINVAL));
	}
	assert_true(fails_with(vee_channel_peek(reader, &message, 0, NULL), EINVAL));
	assert_true(fails_with(vee_channel_release(reader), EINVAL));
	assert_true(fails_with(vee_channel_commit(writer, 0), EINVAL));
	vee_channel_close(reader);
	vee_channel_close(writer);
	vee_channel_remove("timeout");
}

/* For a reader from now on the end that was there before is none. */
static void test_an_end_before_now_is_none(void **state)
{
	struct vee_channel *reader;
	char byte;

	(void)state;
	vee_channel_close(vee_channel_create("ended", NULL));
	reader = vee_channel_open("ended", NULL);
	assert_non_null(reader);
	assert_true(fails_with(vee_channel_timedread(reader, &byte, 1, NULL, &at_once), EAGAIN));
	vee_channel_close(vee_channel_create("ended", NULL));
	assert_true(fails_with(vee_channel_timedread(reader, &byte, 1, NULL, &at_once), EPIPE));
	vee_channel_close(reader);
	vee_channel_remove("ended");
}

/* A channel's maker puts a link to somebody's folder in the place of the desks. */
static void test_removal_follows_no_link(void **state)
{
	char folder[] = "/tmp/vee-promises.XXXXXX", name[64], desks[128], other[64], file[96];
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(name, sizeof(name), "%s/feed", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	snprintf(file, sizeof(file), "%s/hall", other);
	assert_int_equal(mkdir(other, 0700), 0);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	vee_channel_close(vee_channel_create(name, NULL));
	assert_int_equal(stat(name, &st), 0);
	snprintf(desks, sizeof(desks), "%s/.feed.%llu.readers", folder,
		 (unsigned long long)st.st_ino);
	snprintf(name, sizeof(name), "%s/away", folder);
	assert_int_equal(rename(desks, name), 0);
	assert_int_equal(symlink(other, desks), 0);
	snprintf(name, sizeof(name), "%s/feed", folder);
	assert_int_equal(vee_channel_remove(name), 0);
	assert_int_equal(access(file, F_OK), 0);
	snprintf(name, sizeof(name), "rm -r %s", folder);
	assert_int_equal(system(name), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_is_the_last_while_one_is_reserved),
		cmocka_unit_test(test_a_child_has_no_use_of_its_parents_handles),
		cmocka_unit_test(test_a_timeout_that_cannot_be_is_einval),
		cmocka_unit_test(test_an_end_before_now_is_none),
		cmocka_unit_test(test_removal_follows_no_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
