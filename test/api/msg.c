/* msg.c - vee_msg*: queues by libvee's own names, and the calls with a timeout, which the kernel has not. */
#include "vee/msg.h"
#include "vee/namespace.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MS	    1000000l
#define BAD_POINTER ((void *)8)
/* A wait may be late on a loaded machine, but not by a multiple. */
#define LATE_MS 2000

struct message {
	long type;
	char text[64];
};

static const struct timespec none = {0, 0}, soon = {0, 150 * MS};

static int new_queue(void)
{
	int id = vee_msgget(IPC_PRIVATE, 0600);

	assert_true(id >= 0);
	return id;
}

static void remove_queue(int id)
{
	assert_int_equal(vee_msgctl(id, IPC_RMID, NULL), 0);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / MS;
}

static void assert_waited(int64_t start, int64_t least)
{
	int64_t took = now_ms() - start;

	assert_in_range(took, least, least + LATE_MS);
}

static void send_text(int id, long type, const char *text)
{
	struct message message = {.type = type};

	strcpy(message.text, text);
	assert_int_equal(vee_msgsnd(id, &message, strlen(text), 0), 0);
}

static void assert_qnum(int id, unsigned qnum)
{
	struct msqid_ds ds;

	assert_int_equal(vee_msgctl(id, IPC_STAT, &ds), 0);
	assert_int_equal(ds.msg_qnum, qnum);
}

/* Room for one message of 10 bytes, which is in it. */
static int full_queue(void)
{
	int id = new_queue();
	struct msqid_ds ds;

	assert_int_equal(vee_msgctl(id, IPC_STAT, &ds), 0);
	ds.msg_qbytes = 10;
	assert_int_equal(vee_msgctl(id, IPC_SET, &ds), 0);
	send_text(id, 5, "0123456789");
	return id;
}

static ssize_t receive_in(int id, long type, int flag, const struct timespec *timeout)
{
	struct message message;

	return vee_msgtimedrcv(id, &message, sizeof(message.text), type, flag, timeout);
}

static int send_in(int id, int flag, const struct timespec *timeout)
{
	struct message message = {.type = 1, .text = "text"};

	return vee_msgtimedsnd(id, &message, 4, flag, timeout);
}

static void the_four_calls_work(void **state)
{
	int id = vee_msgget(0x5105, IPC_CREAT | IPC_EXCL | 0600);
	struct message message;

	(void)state;
	assert_true(id >= 0);
	assert_int_equal(vee_msgget(0x5105, 0), id);
	send_text(id, 3, "three");
	send_text(id, 2, "two");
	assert_qnum(id, 2);
	assert_int_equal(vee_msgrcv(id, &message, sizeof(message.text), -3, 0), 3);
	assert_int_equal(message.type, 2);
	assert_memory_equal(message.text, "two", 3);
	assert_int_equal(vee_msgrcv(id, &message, 2, 0, 0), -1);
	assert_int_equal(errno, E2BIG);
	assert_int_equal(vee_msgrcv(id, &message, 2, 0, MSG_NOERROR), 2);
	remove_queue(id);
	assert_int_equal(vee_msgget(0x5105, 0), -1);
	assert_int_equal(errno, ENOENT);
}

static void what_need_not_wait_does_not(void **state)
{
	int id = new_queue();

	(void)state;
	assert_int_equal(send_in(id, 0, &none), 0);
	assert_int_equal(receive_in(id, 0, 0, &none), 4);
	assert_int_equal(send_in(id, 0, NULL), 0);
	assert_int_equal(receive_in(id, 0, 0, NULL), 4);
	remove_queue(id);
}

static void a_receiver_gives_up_in_time(void **state)
{
	int id = new_queue();
	int64_t start = now_ms();

	(void)state;
	send_text(id, 2, "another");
	assert_int_equal(receive_in(id, 1, 0, &soon), -1);
	assert_int_equal(errno, EAGAIN);
	assert_waited(start, 150);
	assert_qnum(id, 1);
	send_text(id, 1, "late"); /* it stays: nobody waits any more */
	assert_qnum(id, 2);
	remove_queue(id);
}

static void a_sender_gives_up_in_time(void **state)
{
	int id = full_queue();
	int64_t start = now_ms();

	(void)state;
	assert_int_equal(send_in(id, 0, &soon), -1);
	assert_int_equal(errno, EAGAIN);
	assert_waited(start, 150);
	assert_int_equal(receive_in(id, 0, 0, NULL), 10);
	assert_qnum(id, 0); /* what was not sent does not come afterwards */
	remove_queue(id);
}

static void no_time_is_eagain_at_once(void **state)
{
	int id = full_queue();
	int64_t start = now_ms();

	(void)state;
	assert_int_equal(send_in(id, 0, &none), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(receive_in(id, 1, 0, &none), -1);
	assert_int_equal(errno, EAGAIN);
	assert_waited(start, 0);
	remove_queue(id);
}

static void nowait_fails_as_without_a_timeout(void **state)
{
	int id = full_queue();

	(void)state;
	assert_int_equal(send_in(id, IPC_NOWAIT, &soon), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(receive_in(id, 1, IPC_NOWAIT, &soon), -1);
	assert_int_equal(errno, ENOMSG);
	assert_int_equal(receive_in(id, 1, IPC_NOWAIT, &none), -1);
	assert_int_equal(errno, ENOMSG);
	remove_queue(id);
}

static void bad_times_are_refused(void **state)
{
	static const struct timespec bad[] = {{-1, 0}, {0, -1}, {0, 1000000000}};
	int id = full_queue();

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(send_in(id, 0, &bad[i]), -1);
		assert_int_equal(errno, EINVAL);
		assert_int_equal(receive_in(id, 1, 0, &bad[i]), -1);
		assert_int_equal(errno, EINVAL);
	}
	assert_int_equal(send_in(id, 0, BAD_POINTER), -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(receive_in(id, 1, 0, BAD_POINTER), -1);
	assert_int_equal(errno, EFAULT);
	assert_qnum(id, 1);
	remove_queue(id);
}

/* What a second thread does, again and again, while the first waits. */
struct helper {
	pthread_t thread;
	atomic_bool stop;
	int id;
	void (*act)(int id);
};

static void *help(void *arg)
{
	struct helper *helper = arg;

	while (!atomic_load(&helper->stop)) {
		usleep(20000);
		helper->act(helper->id);
	}
	return NULL;
}

static void start_helper(struct helper *helper, int id, void (*act)(int id))
{
	*helper = (struct helper){.id = id, .act = act};
	assert_int_equal(pthread_create(&helper->thread, NULL, help, helper), 0);
}

static void stop_helper(struct helper *helper)
{
	atomic_store(&helper->stop, true);
	pthread_join(helper->thread, NULL);
}

/* Sleepers are told to try again. */
static void touch(int id)
{
	struct msqid_ds ds;

	if (vee_msgctl(id, IPC_STAT, &ds) == 0)
		vee_msgctl(id, IPC_SET, &ds);
}

static void pass_one_through(int id)
{
	struct message message = {.type = 2};

	vee_msgsnd(id, &message, 0, IPC_NOWAIT);
	vee_msgrcv(id, &message, sizeof(message.text), 2, IPC_NOWAIT);
}

static void the_deadline_is_one(void **state)
{
	static void (*const acts[])(int id) = {touch, pass_one_through};

	(void)state;
	for (size_t i = 0; i < sizeof(acts) / sizeof(*acts); i++) {
		int id = full_queue();
		struct helper helper;
		int64_t start;

		start_helper(&helper, id, acts[i]);
		start = now_ms();
		assert_int_equal(receive_in(id, 1, 0, &soon), -1);
		assert_int_equal(errno, EAGAIN);
		assert_waited(start, 150);
		start = now_ms();
		assert_int_equal(send_in(id, 0, &soon), -1);
		assert_int_equal(errno, EAGAIN);
		assert_waited(start, 150);
		stop_helper(&helper);
		remove_queue(id);
	}
}

static void send_one(int id)
{
	struct message message = {.type = 1, .text = "here"};

	vee_msgsnd(id, &message, 4, IPC_NOWAIT);
}

static void a_far_deadline_does_not_overflow(void **state)
{
	static const struct timespec far[] = {
		{INT32_MAX, 0}, {INT64_MAX, 999999999}, {1ll << 40, 0}};
	int id = new_queue();

	(void)state;
	for (size_t i = 0; i < sizeof(far) / sizeof(*far); i++) {
		struct helper helper;

		start_helper(&helper, id, send_one);
		assert_int_equal(receive_in(id, 1, 0, &far[i]), 4);
		stop_helper(&helper);
		while (receive_in(id, 0, IPC_NOWAIT, NULL) >= 0)
			;
	}
	remove_queue(id);
}

static void a_message_comes_in_time_from_another_process(void **state)
{
	static const struct timespec long_enough = {30, 0};
	int id = new_queue(), status;
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		struct message message = {.type = 1, .text = "child"};

		usleep(50000);
		_exit(vee_msgsnd(id, &message, 5, 0) ? 1 : 0);
	}
	assert_int_equal(receive_in(id, 1, 0, &long_enough), 5);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	remove_queue(id);
}

static void room_comes_in_time(void **state)
{
	static const struct timespec long_enough = {30, 0};
	int id = full_queue(), status;
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		usleep(50000);
		_exit(receive_in(id, 5, 0, NULL) == 10 ? 0 : 1);
	}
	assert_int_equal(send_in(id, 0, &long_enough), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_qnum(id, 1);
	remove_queue(id);
}

static void remove_it(int id)
{
	vee_msgctl(id, IPC_RMID, NULL);
}

static void removal_ends_both_waits(void **state)
{
	static const struct timespec long_enough = {30, 0};

	(void)state;
	for (int sends = 0; sends < 2; sends++) {
		int id = full_queue();
		struct helper helper;
		ssize_t ret;

		start_helper(&helper, id, remove_it);
		ret = sends ? send_in(id, 0, &long_enough) : receive_in(id, 1, 0, &long_enough);
		assert_int_equal(ret, -1);
		assert_int_equal(errno, EIDRM);
		stop_helper(&helper);
	}
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void a_handler_ends_the_wait(void **state)
{
	static const struct timespec long_enough = {30, 0};
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	int id = full_queue();

	(void)state;
	sigaction(SIGALRM, &action, NULL);
	for (int sends = 0; sends < 2; sends++) {
		ualarm(50000, 50000); /* again, if the first came too soon */
		assert_int_equal(sends ? send_in(id, 0, &long_enough) :
					 receive_in(id, 1, 0, &long_enough),
				 -1);
		assert_int_equal(errno, EINTR);
		ualarm(0, 0);
	}
	assert_qnum(id, 1);
	remove_queue(id);
}

static bool is_readable(int fd)
{
	struct pollfd one = {fd, POLLIN, 0};

	return poll(&one, 1, 0) == 1;
}

static void a_descriptor_is_readable_while_there_is_a_message(void **state)
{
	struct {
		long type;
		char text[8];
	} message = {1, "hello"};
	int id = vee_msgget(IPC_PRIVATE, 0600), fd = vee_msgfd(id), second;

	(void)state;
	assert_true(fd >= 0);
	assert_false(is_readable(fd));
	for (int i = 0; i < 2; i++)
		assert_int_equal(vee_msgsnd(id, &message, 5, 0), 0);
	assert_true(is_readable(fd));
	second = vee_msgfd(id);
	assert_true(is_readable(second));
	assert_int_equal(vee_msgrcv(id, &message, 8, 0, 0), 5);
	assert_true(is_readable(fd));
	assert_int_equal(vee_msgrcv(id, &message, 8, 0, 0), 5);
	assert_false(is_readable(fd) || is_readable(second));
	remove_queue(id);
	assert_true(is_readable(fd) && is_readable(second));
	assert_int_equal(vee_msgfd(id), -1);
	assert_int_equal(errno, EINVAL);
	close(fd);
	close(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_four_calls_work),
		cmocka_unit_test(what_need_not_wait_does_not),
		cmocka_unit_test(a_receiver_gives_up_in_time),
		cmocka_unit_test(a_sender_gives_up_in_time),
		cmocka_unit_test(no_time_is_eagain_at_once),
		cmocka_unit_test(nowait_fails_as_without_a_timeout),
		cmocka_unit_test(bad_times_are_refused),
		cmocka_unit_test(the_deadline_is_one),
		cmocka_unit_test(a_far_deadline_does_not_overflow),
		cmocka_unit_test(a_message_comes_in_time_from_another_process),
		cmocka_unit_test(room_comes_in_time),
		cmocka_unit_test(removal_ends_both_waits),
		cmocka_unit_test(a_handler_ends_the_wait),
		cmocka_unit_test(a_descriptor_is_readable_while_there_is_a_message),
	};

	return cmocka_run_group_tests_name("libvee: message queues", tests, NULL, NULL);
}
