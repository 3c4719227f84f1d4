/* threads-chan.c - a channel's writer and readers as threads of one process: run it plain, and under ThreadSanitizer. */
#include "threads.h"

#include "vee/channel.h"

#include <poll.h>
#include <string.h>

enum {
	MESSAGES = 30000,
	LONGEST = 900,
	RING = 64 << 10, /* small: lossy readers are lapped */
};

/* Its size and its bytes follow from its number. */
static size_t make_message(unsigned char *text, uint64_t sequence)
{
	size_t size = sequence * 7919 % LONGEST;

	memset(text, (int)sequence, size);
	return size;
}

static bool is_whole(const void *data, size_t size, uint64_t sequence)
{
	unsigned char text[LONGEST];

	return size == make_message(text, sequence) && memcmp(data, text, size) == 0;
}

static void *write_all(void *arg)
{
	struct vee_channel *channel = arg;
	unsigned char text[LONGEST];

	for (uint64_t i = 1; i <= MESSAGES; i++) {
		size_t size = make_message(text, i);

		if (i % 3) {
			MUST(vee_channel_write(channel, text, size) == 0);
		} else {
			void *at = vee_channel_reserve(channel, LONGEST, NULL);

			MUST(at);
			memcpy(at, text, size);
			MUST(vee_channel_commit(channel, size) == 0);
		}
	}
	/* A writer's close is the end, from whichever thread. */
	vee_channel_close(channel);
	return arg;
}

/* What a reader has had: all of it, in order, but for what it was told is lost. */
struct account {
	uint64_t next, received, lost;
};

static void enter(struct account *account, const struct vee_channel_message *message)
{
	MUST(message->sequence == account->next + message->lost);
	account->lost += message->lost;
	account->next = message->sequence + 1;
	account->received++;
}

static void *read_all(void *arg)
{
	struct account account = {.next = 1};
	struct vee_channel_message message;
	unsigned char text[LONGEST];
	ssize_t size;

	while ((size = vee_channel_read(arg, text, sizeof(text), &message)) >= 0) {
		MUST(is_whole(text, size, message.sequence));
		enter(&account, &message);
	}
	MUST(errno == EPIPE);
	MUST(account.received + account.lost == MESSAGES);
	vee_channel_close(arg);
	return arg;
}

static void *poll_all(void *arg)
{
	static const struct timespec now = {0, 0};
	struct pollfd fd = {.fd = vee_channel_poll_fd(arg), .events = POLLIN};
	struct account account = {.next = 1};
	struct vee_channel_message message;
	unsigned char text[LONGEST];
	ssize_t size;

	MUST(fd.fd >= 0);
	for (;;) {
		MUST(poll(&fd, 1, 20000) == 1);
		while ((size = vee_channel_timedread(arg, text, sizeof(text), &message, &now)) >=
		       0) {
			MUST(is_whole(text, size, message.sequence));
			enter(&account, &message);
		}
		if (errno != EAGAIN)
			break;
	}
	MUST(errno == EPIPE);
	MUST(account.received + account.lost == MESSAGES);
	vee_channel_close(arg);
	return arg;
}

static void one_writes_and_all_read(void **state)
{
	static const struct vee_channel_create_options create = {.ring_size = RING};
	static const struct vee_channel_open_options lossy = {.start = VEE_CHANNEL_OLDEST};
	static const struct vee_channel_open_options reliable = {.start = VEE_CHANNEL_OLDEST,
								 .policy = VEE_CHANNEL_RELIABLE};
	struct vee_channel *channels[5];
	pthread_t threads[5];

	(void)state;
	channels[0] = vee_channel_create("threads", &create);
	channels[1] = vee_channel_open("threads", &reliable);
	channels[2] = vee_channel_open("threads", &lossy);
	channels[3] = vee_channel_open("threads", &lossy);
	channels[4] = vee_channel_open("threads", &reliable);
	for (unsigned i = 0; i < 5; i++)
		assert_non_null(channels[i]);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						i == 0 ? write_all :
						i < 3  ? read_all :
							 poll_all,
						channels[i]),
				 0);
	for (unsigned i = 0; i < 5; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(wrong, 0);
	assert_int_equal(vee_channel_remove("threads"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(one_writes_and_all_read)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
