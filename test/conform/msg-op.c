/* msgsnd() and msgrcv() that need not sleep: what they move, and what they refuse, in which order. */
#include "conform-msg.h"

#include <sys/syscall.h>

#define SND(id, p, size, flags)	      ERR(msgsnd(id, p, size, flags))
#define RCV(id, p, size, type, flags) ERR(msgrcv(id, p, size, type, flags))

static struct msginfo limits_here(void)
{
	struct msginfo info;

	assert_true(msgctl(0, IPC_INFO, (struct msqid_ds *)&info) >= 0);
	return info;
}

/* Two pages, of which the second faults: what lies on their border is cut off. */
static char *half_bad(void)
{
	char *two = mmap(NULL, 2 * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);

	assert_ptr_not_equal(two, MAP_FAILED);
	assert_int_equal(mprotect(two + page_size(), page_size(), PROT_NONE), 0);
	return two;
}

static void half_bad_free(char *two)
{
	munmap(two, 2 * page_size());
}

/* --- what is sent is received --- */

static void a_message_comes_as_it_was_sent(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 42, "hello"), 0);
	assert_holds(id, 1, 5);
	assert_takes(id, 0, 42, "hello");
	assert_empty(id);
}

static void msgsnd_returns_zero_and_msgrcv_the_size_of_the_text(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct message m = {7, "abcdef"};

	assert_int_equal(msgsnd(id, &m, 6, 0), 0);
	assert_int_equal(msgrcv(id, &m, TEXT_MAX, 0, 0), 6);
	assert_int_equal(msgsnd(id, &m, 0, 0), 0);
	assert_int_equal(msgrcv(id, &m, TEXT_MAX, 0, 0), 0);
}

static void a_message_may_have_no_text(void **state)
{
	(void)state;
	int id = msg_new(0600);
	long type = 5;

	assert_int_equal(SND(id, &type, 0, 0), 0);
	assert_int_equal(put(id, 6, ""), 0);
	assert_holds(id, 2, 0);
	type = 0;
	assert_int_equal(msgrcv(id, &type, 0, 0, IPC_NOWAIT), 0);
	assert_int_equal(type, 5);
	assert_takes(id, 0, 6, "");
	assert_empty(id);
}

static void texts_of_any_size_keep_every_byte(void **state)
{
	(void)state;
	static const size_t size[] = {1,    2,	  7,	8,    9,    15,	  16,	17,   31,   32,
				      33,   63,	  64,	65,   127,  128,  129,	255,  256,  257,
				      511,  512,  1000, 1024, 2047, 2048, 4000, 4047, 4048, 4049,
				      4095, 4096, 4097, 5000, 8143, 8144, 8145, 8191, 8192};
	int id = msg_new(0600);

	for (size_t i = 0; i < sizeof(size) / sizeof(*size); i++) {
		assert_int_equal(put_size(id, 3, size[i]), 0);
		assert_holds(id, 1, size[i]);
		struct got got = take(id, TEXT_MAX, 3, IPC_NOWAIT);
		assert_int_equal(got.size, size[i]);
		assert_true(text_is_filled(got.m.text, 3, size[i]));
		assert_empty(id);
	}
}

static void every_byte_value_is_kept(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct message m = {.type = 1};

	for (int i = 0; i < 256; i++)
		m.text[i] = (char)(255 - i);
	assert_int_equal(SND(id, &m, 256, 0), 0);
	struct got got = take(id, 256, 0, IPC_NOWAIT);
	assert_int_equal(got.size, 256);
	assert_memory_equal(got.m.text, m.text, 256);
}

static void nothing_is_written_beyond_the_text(void **state)
{
	(void)state;
	int id = msg_new(0600);

	for (size_t size = 0; size < 40; size++) {
		assert_int_equal(put_size(id, 1, size), 0);
		struct got got = take(id, TEXT_MAX, 0, IPC_NOWAIT);
		assert_int_equal(got.size, size);
		for (size_t i = size; i < size + 64; i++)
			assert_int_equal((unsigned char)got.m.text[i], 0xa5);
	}
}

static void the_senders_buffer_may_change_after_the_call(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct message m = {1, "before"};

	assert_int_equal(SND(id, &m, 6, 0), 0);
	memcpy(m.text, "after.", 6);
	m.type = 2;
	assert_takes(id, 0, 1, "before");
}

static void an_unaligned_buffer_will_do(void **state)
{
	(void)state;
	int id = msg_new(0600);
	char raw[100];
	long type = 0x1122334455667788;

	for (int at = 0; at < 8; at++) {
		memcpy(raw + at, &type, sizeof(type));
		memcpy(raw + at + sizeof(type), "odd", 3);
		assert_int_equal(SND(id, raw + at, 3, 0), 0);
		memset(raw, 0, sizeof(raw));
		assert_int_equal(msgrcv(id, raw + at, 3, type, IPC_NOWAIT), 3);
		assert_memory_equal(raw + at, &type, sizeof(type));
		assert_memory_equal(raw + at + sizeof(type), "odd", 3);
	}
}

static void types_have_64_bits(void **state)
{
	(void)state;
	static const long type[] = {1,
				    INT_MAX,
				    (long)INT_MAX + 1,
				    0xffffffffL,
				    0x100000000L,
				    0x100000001L,
				    0x7fffffff00000001L,
				    LONG_MAX - 1,
				    LONG_MAX};
	size_t n = sizeof(type) / sizeof(*type);
	int id = msg_new(0600);

	for (size_t i = 0; i < n; i++)
		assert_int_equal(put_size(id, type[i], i), 0);
	for (size_t i = n; i-- > 0;) {
		struct got got = take(id, TEXT_MAX, type[i], IPC_NOWAIT);
		assert_int_equal(got.size, i);
		assert_true(got.m.type == type[i]);
		assert_int_equal(take_err(id, type[i]), ENOMSG);
	}
}

static void flags_that_mean_nothing_are_ignored(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct message m = {1, "x"};

	assert_int_equal(SND(id, &m, 1, MSG_NOERROR | MSG_EXCEPT | MSG_COPY | 0x7fff0000), 0);
	assert_int_equal(SND(id, &m, 1, 0777 | IPC_CREAT | IPC_EXCL), 0);
	assert_int_equal(SND(id, &m, 1, INT_MIN | IPC_NOWAIT), 0);
	assert_int_equal(msgrcv(id, &m, 1, 0, 0777 | IPC_CREAT | IPC_EXCL), 1);
	assert_int_equal(msgrcv(id, &m, 1, 0, 0x7fff0000 | IPC_NOWAIT), 1);
	assert_int_equal(msgrcv(id, &m, 1, 0, INT_MIN), 1);
	assert_empty(id);
}

/* --- selection by type --- */

static void type_zero_takes_the_first(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 3, "a"), 0);
	assert_int_equal(put(id, 1, "b"), 0);
	assert_int_equal(put(id, 2, "c"), 0);
	assert_int_equal(put(id, 1, "d"), 0);
	assert_takes(id, 0, 3, "a");
	assert_takes(id, 0, 1, "b");
	assert_takes(id, 0, 2, "c");
	assert_takes(id, 0, 1, "d");
	assert_empty(id);
}

static void a_positive_type_takes_the_first_of_it(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 3, "a"), 0);
	assert_int_equal(put(id, 1, "b"), 0);
	assert_int_equal(put(id, 2, "c"), 0);
	assert_int_equal(put(id, 1, "d"), 0);
	assert_int_equal(put(id, 1, "e"), 0);
	assert_int_equal(take_err(id, 4), ENOMSG);
	assert_takes(id, 1, 1, "b");
	assert_takes(id, 1, 1, "d");
	assert_int_equal(put(id, 1, "f"), 0);
	assert_takes(id, 2, 2, "c");
	assert_takes(id, 1, 1, "e");
	assert_takes(id, 1, 1, "f");
	assert_int_equal(take_err(id, 1), ENOMSG);
	assert_takes(id, 0, 3, "a");
	assert_empty(id);
}

static void a_negative_type_takes_the_first_of_the_lowest(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 5, "a"), 0);
	assert_int_equal(put(id, 3, "b"), 0);
	assert_int_equal(put(id, 4, "c"), 0);
	assert_int_equal(put(id, 3, "d"), 0);
	assert_int_equal(put(id, 2, "e"), 0);
	assert_int_equal(put(id, 2, "f"), 0);
	assert_int_equal(take_err(id, -1), ENOMSG);
	assert_takes(id, -3, 2, "e");
	assert_takes(id, -9, 2, "f");
	assert_int_equal(take_err(id, -2), ENOMSG);
	assert_takes(id, -3, 3, "b"); /* equal counts */
	assert_takes(id, -4, 3, "d");
	assert_int_equal(take_err(id, -3), ENOMSG);
	assert_takes(id, -5, 4, "c");
	assert_int_equal(take_err(id, -4), ENOMSG);
	assert_takes(id, -5, 5, "a");
	assert_empty(id);
}

static void minus_one_takes_type_one_alone(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 2, "a"), 0);
	assert_int_equal(put(id, 1, "b"), 0);
	assert_int_equal(put(id, 1, "c"), 0);
	assert_takes(id, -1, 1, "b");
	assert_takes(id, -1, 1, "c");
	assert_int_equal(take_err(id, -1), ENOMSG);
	assert_takes(id, -2, 2, "a");
}

static void LONG_MIN_takes_the_lowest_of_all(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, LONG_MAX, "max"), 0);
	assert_int_equal(put(id, LONG_MAX - 1, "less"), 0);
	assert_int_equal(put(id, 0x100000000L, "32"), 0);
	assert_takes(id, LONG_MIN, 0x100000000L, "32");
	assert_takes(id, -LONG_MAX, LONG_MAX - 1, "less");
	assert_takes(id, LONG_MIN, LONG_MAX, "max");
	assert_int_equal(take_err(id, LONG_MIN), ENOMSG);
	assert_int_equal(put(id, LONG_MAX, "max"), 0);
	assert_takes(id, -LONG_MAX, LONG_MAX, "max");
}

static void MSG_EXCEPT_takes_the_first_of_another_type(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct message m;

	assert_int_equal(put(id, 1, "a"), 0);
	assert_int_equal(put(id, 1, "b"), 0);
	assert_int_equal(put(id, 3, "c"), 0);
	assert_int_equal(put(id, 2, "d"), 0);
	assert_int_equal(msgrcv(id, &m, 9, 1, MSG_EXCEPT | IPC_NOWAIT), 1);
	assert_true(m.type == 3 && m.text[0] == 'c');
	assert_int_equal(msgrcv(id, &m, 9, 1, MSG_EXCEPT | IPC_NOWAIT), 1);
	assert_true(m.type == 2 && m.text[0] == 'd');
	assert_int_equal(RCV(id, &m, 9, 1, MSG_EXCEPT | IPC_NOWAIT), ENOMSG);
	assert_int_equal(msgrcv(id, &m, 9, 2, MSG_EXCEPT | IPC_NOWAIT), 1);
	assert_true(m.type == 1 && m.text[0] == 'a');
	assert_int_equal(msgrcv(id, &m, 9, LONG_MAX, MSG_EXCEPT), 1);
	assert_true(m.type == 1 && m.text[0] == 'b');
	assert_empty(id);
}

static void MSG_EXCEPT_means_nothing_beside_zero_or_a_negative_type(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct message m;

	assert_int_equal(put(id, 3, "a"), 0);
	assert_int_equal(put(id, 2, "b"), 0);
	assert_int_equal(put(id, 1, "c"), 0);
	assert_int_equal(RCV(id, &m, 9, -0, MSG_EXCEPT | IPC_NOWAIT), 0);
	assert_int_equal(m.type, 3);
	assert_int_equal(RCV(id, &m, 9, -5, MSG_EXCEPT | IPC_NOWAIT), 0);
	assert_int_equal(m.type, 1);
	assert_int_equal(RCV(id, &m, 9, -1, MSG_EXCEPT | IPC_NOWAIT), ENOMSG);
	assert_int_equal(RCV(id, &m, 9, LONG_MIN, MSG_EXCEPT | IPC_NOWAIT), 0);
	assert_int_equal(m.type, 2);
}

/* The rules, said once more: the index that is to be taken; `type` is in the order of sending. */
static int expected(const long *type, int n, long asked, bool except)
{
	int best = -1;

	for (int i = 0; i < n; i++) {
		bool fits = asked == 0	      ? true :
			    asked > 0	      ? (type[i] == asked) != except :
			    type[i] <= -asked ? best < 0 || type[i] < type[best] :
						false;
		if (fits && asked >= 0)
			return i;
		if (fits)
			best = i;
	}
	return best;
}

static void random_queues_are_emptied_by_the_rules(void **state)
{
	(void)state;
	int id = msg_new(0600);
	unsigned int seed = 12345;

	for (int round = 0; round < 60; round++) {
		long type[40];
		int name[40], n = 0, sent = 0;
		for (int step = 0; step < 300; step++) {
			if (n < 40 && rand_r(&seed) % 3) {
				type[n] = rand_r(&seed) % 6 + 1;
				name[n] = sent++;
				struct message m = {type[n], ""};
				memcpy(m.text, &name[n], sizeof(name[n]));
				assert_int_equal(SND(id, &m, sizeof(name[n]), IPC_NOWAIT), 0);
				n++;
				continue;
			}
			long asked = rand_r(&seed) % 17 - 8;
			bool except = rand_r(&seed) % 4 == 0;
			int at = expected(type, n, asked, except && asked > 0);
			struct message m;
			int rc = RCV(id, &m, 8, asked, IPC_NOWAIT | (except ? MSG_EXCEPT : 0));
			assert_int_equal(rc, at < 0 ? ENOMSG : 0);
			if (at < 0)
				continue;
			assert_int_equal(m.type, type[at]);
			assert_memory_equal(m.text, &name[at], sizeof(int));
			memmove(type + at, type + at + 1, (size_t)(n - at - 1) * sizeof(*type));
			memmove(name + at, name + at + 1, (size_t)(n - at - 1) * sizeof(*name));
			n--;
		}
		assert_holds(id, n, n * 4);
		while (n-- > 0)
			assert_int_equal(take_err(id, 0), 0);
		assert_empty(id);
	}
}

/* --- a buffer that is too small --- */

static void E2BIG_leaves_the_message(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 1, "12345"), 0);
	assert_int_equal(put(id, 2, "1"), 0);
	struct msqid_ds before = msg_stat(id);
	struct got got = take(id, 4, 0, IPC_NOWAIT);
	assert_int_equal(got.err, E2BIG);
	assert_int_equal((unsigned char)got.m.text[0], 0xa5);
	assert_int_equal(take(id, 0, 1, 0).err, E2BIG);
	assert_int_equal(take(id, 4, -7, 0).err, E2BIG);
	assert_int_equal(take(id, 4, 2, MSG_EXCEPT).err, E2BIG);
	struct msqid_ds after = msg_stat(id);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(take(id, 4, 2, 0).err, 0); /* another type fits */
	assert_takes(id, 0, 1, "12345");
}

static void a_later_message_that_would_fit_is_not_taken_instead(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 1, "long"), 0);
	assert_int_equal(put(id, 1, "s"), 0);
	assert_int_equal(put(id, 2, "t"), 0);
	assert_int_equal(take(id, 1, 1, IPC_NOWAIT).err, E2BIG);
	assert_int_equal(take(id, 1, 0, IPC_NOWAIT).err, E2BIG);
	assert_int_equal(take(id, 1, -2, IPC_NOWAIT).err, E2BIG);
	assert_holds(id, 3, 6);
}

static void a_buffer_of_the_messages_size_is_enough(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 1, "12345"), 0);
	struct got got = take(id, 5, 0, IPC_NOWAIT);
	assert_true(got_is(&got, 1, "12345"));
}

static void MSG_NOERROR_cuts_off_and_the_rest_is_lost(void **state)
{
	(void)state;
	int id = msg_new(0600);

	for (size_t room = 0; room < 7; room++) {
		assert_int_equal(put(id, 8, "12345"), 0);
		assert_holds(id, 1, 5);
		struct got got = take(id, room, 0, MSG_NOERROR | IPC_NOWAIT);
		size_t size = room < 5 ? room : 5;
		assert_int_equal(got.size, size);
		assert_int_equal(got.m.type, 8);
		assert_memory_equal(got.m.text, "12345", size);
		assert_int_equal((unsigned char)got.m.text[size], 0xa5);
		assert_empty(id);
	}
}

static void MSG_NOERROR_cuts_a_large_message(void **state)
{
	(void)state;
	int id = msg_new(0600);
	static const size_t room[] = {1, 4047, 4048, 4049, 4096, 8000, 8191};

	for (size_t i = 0; i < sizeof(room) / sizeof(*room); i++) {
		assert_int_equal(put_size(id, 2, 8192), 0);
		struct got got = take(id, room[i], 2, MSG_NOERROR);
		assert_int_equal(got.size, room[i]);
		assert_true(text_is_filled(got.m.text, 2, room[i]));
		assert_empty(id);
	}
}

static void any_size_up_to_LONG_MAX_may_be_offered(void **state)
{
	(void)state;
	int id = msg_new(0600);
	static const size_t size[] = {
		TEXT_MAX,     INT_MAX, (size_t)INT_MAX + 1, (size_t)UINT_MAX + 1,
		LONG_MAX - 8, LONG_MAX};

	for (size_t i = 0; i < sizeof(size) / sizeof(*size); i++) {
		struct message m = {0};
		assert_int_equal(put(id, 1, "abc"), 0);
		assert_int_equal(msgrcv(id, &m, size[i], 0, IPC_NOWAIT), 3);
		assert_memory_equal(m.text, "abc", 4);
		assert_int_equal(RCV(id, &m, size[i], 0, IPC_NOWAIT), ENOMSG);
	}
}

/* --- room --- */

static void a_queue_is_full_at_qbytes_bytes(void **state)
{
	(void)state;
	int id = msg_new_of(100);

	assert_int_equal(put_size(id, 1, 60), 0);
	assert_int_equal(put_size(id, 2, 41), EAGAIN);
	assert_int_equal(put_size(id, 2, 40), 0); /* to the byte */
	assert_holds(id, 2, 100);
	assert_int_equal(put_size(id, 3, 1), EAGAIN);
	assert_int_equal(put_size(id, 3, 0), 0); /* no bytes */
	assert_holds(id, 3, 100);
	assert_int_equal(take_err(id, 2), 0);
	assert_int_equal(put_size(id, 4, 41), EAGAIN);
	assert_int_equal(put_size(id, 4, 40), 0);
}

static void a_queue_is_full_at_qbytes_messages(void **state)
{
	(void)state;
	int id = msg_new_of(3);

	for (int i = 0; i < 3; i++)
		assert_int_equal(put(id, i + 1, ""), 0);
	assert_int_equal(put(id, 9, ""), EAGAIN);
	assert_holds(id, 3, 0);
	assert_takes(id, 2, 2, "");
	assert_int_equal(put(id, 9, "123"), 0);
	assert_int_equal(put(id, 9, ""), EAGAIN);
	assert_holds(id, 3, 3);
}

static void a_queue_of_one_byte_takes_one_message(void **state)
{
	(void)state;
	int id = msg_new_of(1);

	assert_int_equal(put(id, 1, "12"), EAGAIN);
	assert_int_equal(put(id, 1, "1"), 0);
	assert_int_equal(put(id, 1, ""), EAGAIN);
	assert_takes(id, 0, 1, "1");
	assert_int_equal(put(id, 2, ""), 0);
	assert_int_equal(put(id, 3, ""), EAGAIN);
	assert_int_equal(put(id, 3, "1"), EAGAIN);
}

static void a_queue_of_no_bytes_takes_nothing(void **state)
{
	(void)state;
	int id = msg_new_of(0);

	assert_int_equal(put(id, 1, ""), EAGAIN);
	assert_int_equal(put(id, 1, "1"), EAGAIN);
	assert_empty(id);
}

static void a_full_queue_of_default_size(void **state)
{
	(void)state;
	int id = msg_new(0600);
	unsigned long qbytes = msg_stat(id).msg_qbytes, n = 0;

	while (put_size(id, 1, 1024) == 0)
		n++;
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(n, qbytes / 1024);
	for (unsigned long i = 0; i < n; i++) {
		struct got got = take(id, 1024, 1, IPC_NOWAIT);
		assert_int_equal(got.size, 1024);
		assert_true(text_is_filled(got.m.text, 1, 1024));
	}
	assert_empty(id);
}

static void as_many_empty_messages_as_qbytes(void **state)
{
	(void)state;
	int id = msg_new(0600);
	unsigned long qbytes = msg_stat(id).msg_qbytes;
	struct {
		long type;
	} m;

	for (unsigned long i = 0; i < qbytes; i++) {
		m.type = (long)i + 1;
		assert_int_equal(SND(id, &m, 0, IPC_NOWAIT), 0);
	}
	assert_int_equal(SND(id, &m, 0, IPC_NOWAIT), EAGAIN);
	assert_holds(id, qbytes, 0);
	assert_int_equal(RCV(id, &m, 0, (long)qbytes, IPC_NOWAIT), 0); /* the last of it */
	assert_int_equal(m.type, qbytes);
	assert_int_equal(RCV(id, &m, 0, -(long)qbytes, IPC_NOWAIT), 0);
	assert_int_equal(m.type, 1);
	for (unsigned long i = 2; i < qbytes; i++) {
		assert_int_equal(RCV(id, &m, 0, 0, IPC_NOWAIT), 0);
		assert_int_equal(m.type, i);
	}
	assert_empty(id);
}

static void a_queue_that_was_made_smaller_than_it_holds_is_full(void **state)
{
	(void)state;
	int id = msg_new(0600);

	for (int i = 0; i < 4; i++)
		assert_int_equal(put_size(id, i + 1, 50), 0);
	assert_int_equal(msg_set_qbytes(id, 100), 0);
	assert_holds(id, 4, 200);
	assert_int_equal(put_size(id, 9, 0), EAGAIN); /* not even what takes no room */
	assert_int_equal(take_err(id, 1), 0);
	assert_int_equal(put_size(id, 9, 0), EAGAIN);
	assert_int_equal(take_err(id, 2), 0);
	assert_int_equal(put_size(id, 9, 1), EAGAIN);
	assert_int_equal(put_size(id, 9, 0), 0);
	assert_holds(id, 3, 100);
}

static void MSGMAX_is_the_largest_text(void **state)
{
	(void)state;
	int id = msg_new(0600);
	size_t max = (size_t)limits_here().msgmax;
	long *m = calloc(1, sizeof(long) + max + 1);

	m[0] = 1;
	assert_int_equal(SND(id, m, max + 1, 0), EINVAL);
	assert_int_equal(SND(id, m, max, 0), 0);
	assert_holds(id, 1, max);
	assert_int_equal(msgrcv(id, m, max + 1, 0, IPC_NOWAIT), max);
	free(m);
}

static int lower_msgmax(void *arg)
{
	(void)arg;
	child_alone();
	int id = msgget(IPC_PRIVATE, 0600);
	NEED(put_size(id, 1, 1000) == 0);
	child_set_limit("msgmax", "999");
	NEED(put_size(id, 1, 1000) == EINVAL);
	NEED(put_size(id, 2, 999) == 0);
	struct got got = take(id, 1000, 1, IPC_NOWAIT); /* the old one can be had */
	NEED(got.size == 1000 && text_is_filled(got.m.text, 1, 1000));
	child_set_limit("msgmax", "0");
	NEED(put_size(id, 3, 1) == EINVAL);
	NEED(put_size(id, 3, 0) == 0);
	return child_leave_limits();
}

static void MSGMAX_counts_as_it_stands_at_the_call(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(lower_msgmax, NULL));
}

static int large_messages(void *arg)
{
	enum {
		LARGE = 300000
	};
	long *m = malloc(sizeof(long) + LARGE);

	(void)arg;
	child_alone();
	child_set_limit("msgmax", "300000");
	child_set_limit("msgmnb", "1000000");
	int id = msgget(IPC_PRIVATE, 0600);
	NEED(msg_stat(id).msg_qbytes == 1000000);
	for (int i = 1; i <= 3; i++) {
		m[0] = i;
		text_fill((char *)(m + 1), i, LARGE);
		NEED(SND(id, m, LARGE, IPC_NOWAIT) == 0);
	}
	NEED(SND(id, m, 100001, IPC_NOWAIT) == EAGAIN);
	NEED(SND(id, m, LARGE + 1, IPC_NOWAIT) == EINVAL);
	NEED(msg_cbytes(id) == 3 * LARGE);
	for (int i = 3; i >= 1; i--) {
		memset(m, 0, sizeof(long) + LARGE);
		NEED(msgrcv(id, m, LARGE, i, IPC_NOWAIT) == LARGE);
		NEED(m[0] == i && text_is_filled((char *)(m + 1), i, LARGE));
	}
	free(m);
	return child_leave_limits();
}

static void larger_limits_allow_larger_messages(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(large_messages, NULL));
}

/* --- refusals of msgsnd --- */

static void a_type_below_one_is_EINVAL(void **state)
{
	(void)state;
	static const long bad[] = {0, -1, LONG_MIN, -0x100000000L, INT_MIN};
	int id = msg_new(0600);

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(put(id, bad[i], "x"), EINVAL);
	assert_empty(id);
}

static void a_size_that_is_negative_or_too_large_is_EINVAL(void **state)
{
	(void)state;
	size_t max = (size_t)limits_here().msgmax;
	const size_t bad[] = {max + 1,
			      INT_MAX,
			      (size_t)INT_MAX + 1,
			      UINT_MAX,
			      (size_t)UINT_MAX + 1,
			      (size_t)UINT_MAX + 2,
			      LONG_MAX,
			      (size_t)LONG_MAX + 1,
			      (size_t)-1,
			      (size_t)-TEXT_MAX};
	int id = msg_new(0600);
	struct message m = {1, "x"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(SND(id, &m, bad[i], 0), EINVAL);
	assert_empty(id);
}

static void a_bad_pointer_to_the_type_is_EFAULT_before_all_else(void **state)
{
	(void)state;
	int id = msg_new(0600);
	void *page = conform_bad_page();
	void *bad[] = {NULL, page, (void *)1, (void *)-1, (void *)-8, (void *)-4096};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(SND(id, bad[i], 1, 0), EFAULT);
		assert_int_equal(SND(id, bad[i], 0, 0), EFAULT);
		assert_int_equal(SND(id, bad[i], (size_t)-1, 0), EFAULT);
		assert_int_equal(SND(-1, bad[i], 1, 0), EFAULT);
		assert_int_equal(SND(id ^ CONFORM_INDICES, bad[i], 1, 0), EFAULT);
	}
	assert_empty(id);
	munmap(page, page_size());
}

static void a_type_cut_off_by_a_bad_page_is_EFAULT(void **state)
{
	(void)state;
	int id = msg_new(0600);
	char *two = half_bad();

	for (size_t cut = 1; cut < sizeof(long); cut++)
		assert_int_equal(SND(id, two + page_size() - cut, 0, 0), EFAULT);
	long *type = (long *)(two + page_size()) - 1;
	*type = 4;
	assert_int_equal(SND(id, type, 0, 0), 0);
	assert_int_equal(SND(id, type, 1, 0), EFAULT);
	assert_takes(id, 0, 4, "");
	assert_empty(id);
	half_bad_free(two);
}

static void a_text_cut_off_by_a_bad_page_is_EFAULT(void **state)
{
	(void)state;
	static const size_t size[] = {1, 2, 8, 9, 100, 4000};
	int id = msg_new(0600);
	char *two = half_bad();

	for (size_t i = 0; i < sizeof(size) / sizeof(*size); i++) {
		long *m = (long *)(two + page_size() - sizeof(long) - size[i]);
		memcpy(m, &(long){3}, sizeof(long));
		text_fill((char *)(m + 1), 3, size[i]);
		assert_int_equal(SND(id, m, size[i] + 1, 0), EFAULT);
		assert_int_equal(SND(id, m, TEXT_MAX, 0), EFAULT);
		assert_empty(id);
		assert_int_equal(SND(id, m, size[i], 0), 0);
		struct got got = take(id, TEXT_MAX, 0, IPC_NOWAIT);
		assert_true(got.size == (ssize_t)size[i]);
		assert_true(text_is_filled(got.m.text, 3, size[i]));
	}
	half_bad_free(two);
}

static void a_refused_send_changes_nothing(void **state)
{
	(void)state;
	int id = msg_new_of(10);
	char *two = half_bad();
	long *m = (long *)(two + page_size()) - 1;
	struct msqid_ds before = msg_stat(id);

	*m = 1;
	next_second();
	assert_int_equal(SND(id, m, 5, 0), EFAULT);
	assert_int_equal(put(id, 0, "x"), EINVAL);
	assert_int_equal(put(id, 1, "12345678901"), EAGAIN);
	struct msqid_ds after = msg_stat(id);
	assert_memory_equal(&before, &after, sizeof(before));
	half_bad_free(two);
}

/* The order: EFAULT of the type; EINVAL of size, id < 0, type; EFAULT of the text; the queue. */
static void EINVAL_of_size_and_type_comes_before_EFAULT_of_the_text(void **state)
{
	(void)state;
	int id = msg_new(0600);
	char *two = half_bad();
	long *m = (long *)(two + page_size()) - 1;

	*m = 0;
	assert_int_equal(SND(id, m, 1, 0), EINVAL);
	*m = 1;
	assert_int_equal(SND(id, m, (size_t)limits_here().msgmax + 1, 0), EINVAL);
	assert_int_equal(SND(-1, m, 1, 0), EINVAL);
	half_bad_free(two);
}

static void EFAULT_of_the_text_comes_before_a_stale_id_and_before_EAGAIN(void **state)
{
	(void)state;
	int id = msg_new_of(0), stale = msg_new(0600);
	char *two = half_bad();
	long *m = (long *)(two + page_size()) - 1;

	*m = 1;
	assert_int_equal(msg_remove(stale), 0);
	assert_int_equal(SND(stale, m, 1, 0), EFAULT);
	assert_int_equal(SND(stale, m, 0, 0), EINVAL);
	assert_int_equal(SND(id, m, 1, IPC_NOWAIT), EFAULT);
	assert_int_equal(SND(id, m, 0, IPC_NOWAIT), EAGAIN);
	half_bad_free(two);
}

static int refused_sends(void *arg)
{
	int id = *(int *)arg;
	char *two = mmap(NULL, 2 * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	long *m = (long *)(two + page_size()) - 1;

	NEED(mprotect(two + page_size(), page_size(), PROT_NONE) == 0);
	*m = 1;
	NEED(SND(id, m, 1, IPC_NOWAIT) == EFAULT);
	NEED(SND(id, m, 0, IPC_NOWAIT) == EACCES); /* not EAGAIN: it is full */
	NEED(SND(id, m, 0, 0) == EACCES);	   /* nor does it sleep */
	NEED(SND(id, NULL, 0, 0) == EFAULT);
	*m = 0;
	NEED(SND(id, m, 0, 0) == EINVAL);
	NEED(put_size(id, 1, TEXT_MAX) == EACCES);
	return 0;
}

static void EACCES_of_msgsnd_comes_before_EAGAIN_and_after_all_else(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0644);

	assert_int_equal(msg_set_qbytes(id, 0), 0);
	assert_int_equal(nobody_run(refused_sends, &id), 0);
}

static void a_negative_id_is_EINVAL(void **state)
{
	(void)state;
	static const int bad[] = {-1, INT_MIN, -CONFORM_INDICES};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(put(bad[i], 1, "x"), EINVAL);
		assert_int_equal(take_err(bad[i], 0), EINVAL);
	}
	assert_int_equal(put(INT_MAX, 1, "x"), EINVAL);
	assert_int_equal(take_err(INT_MAX, 0), EINVAL);
}

/* --- refusals of msgrcv --- */

static void a_negative_size_to_receive_is_EINVAL_and_takes_nothing(void **state)
{
	(void)state;
	static const size_t bad[] = {(size_t)-1, (size_t)LONG_MIN, (size_t)-TEXT_MAX};
	int id = msg_new(0600);
	struct message m;

	assert_int_equal(put(id, 1, "x"), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(RCV(id, &m, bad[i], 0, 0), EINVAL);
		assert_int_equal(RCV(id, &m, bad[i], 0, MSG_NOERROR), EINVAL);
		assert_int_equal(RCV(id, NULL, bad[i], 9, IPC_NOWAIT), EINVAL);
	}
	assert_holds(id, 1, 1);
}

static void no_message_is_ENOMSG_before_EFAULT(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(RCV(id, NULL, 10, 0, IPC_NOWAIT), ENOMSG);
	assert_int_equal(put(id, 1, "x"), 0);
	assert_int_equal(RCV(id, NULL, 10, 2, IPC_NOWAIT), ENOMSG);
	assert_int_equal(RCV(id, NULL, 0, 1, IPC_NOWAIT), E2BIG);
	assert_int_equal(RCV(id ^ CONFORM_INDICES, NULL, 10, 0, IPC_NOWAIT), EINVAL);
	assert_holds(id, 1, 1);
}

static int refused_receives(void *arg)
{
	int id = *(int *)arg;
	struct message m;

	NEED(RCV(id, &m, 10, 0, 0) == EACCES);
	NEED(RCV(id, &m, 0, 0, 0) == EACCES);		/* not E2BIG */
	NEED(RCV(id, &m, 10, 7, IPC_NOWAIT) == EACCES); /* not ENOMSG */
	NEED(RCV(id, NULL, 10, 0, IPC_NOWAIT) == EACCES);
	NEED(RCV(id, &m, (size_t)-1, 0, 0) == EINVAL);
	return 0;
}

static void EACCES_of_msgrcv_comes_before_what_the_queue_holds(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0622);

	assert_int_equal(put(id, 1, "x"), 0);
	assert_int_equal(nobody_run(refused_receives, &id), 0);
	assert_holds(id, 1, 1);
}

static void a_refused_receive_changes_nothing(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 1, "abc"), 0);
	struct msqid_ds before = msg_stat(id);
	next_second();
	assert_int_equal(take_err(id, 2), ENOMSG);
	assert_int_equal(take(id, 2, 0, 0).err, E2BIG);
	assert_int_equal(take(id, (size_t)-1, 0, 0).err, EINVAL);
	struct msqid_ds after = msg_stat(id);
	assert_memory_equal(&before, &after, sizeof(before));
}

/* The message was taken out before it is written: it is lost. */
static void EFAULT_of_msgrcv_loses_the_message(void **state)
{
	(void)state;
	int id = msg_new(0600);
	char *bad = conform_bad_page(), *fixed = conform_read_only_page();
	void *p[] = {NULL, bad, fixed, (void *)1, (void *)-1, (void *)-8};

	for (size_t i = 0; i < sizeof(p) / sizeof(*p); i++) {
		assert_int_equal(put(id, 1, "lost"), 0);
		assert_int_equal(put(id, 2, "kept"), 0);
		assert_int_equal(RCV(id, p[i], 10, 0, IPC_NOWAIT), EFAULT);
		assert_holds(id, 1, 4);
		assert_int_equal(msg_stat(id).msg_lrpid, getpid());
		assert_true(msg_stat(id).msg_rtime != 0);
		assert_takes(id, 0, 2, "kept");
		assert_empty(id);
	}
	munmap(bad, page_size());
	munmap(fixed, page_size());
}

static void a_buffer_cut_off_by_a_bad_page_is_EFAULT_if_the_message_reaches_it(void **state)
{
	(void)state;
	int id = msg_new(0600);
	char *two = half_bad();
	long *m = (long *)(two + page_size() - sizeof(long) - 5);
	long type;

	assert_int_equal(put(id, 6, "12345"), 0);
	assert_int_equal(msgrcv(id, m, TEXT_MAX, 0, IPC_NOWAIT), 5); /* it ends before the page */
	assert_memory_equal(m + 1, "12345", 5);
	assert_int_equal(put(id, 7, "123456"), 0);
	assert_int_equal(RCV(id, m, TEXT_MAX, 0, IPC_NOWAIT), EFAULT);
	memcpy(&type, m, sizeof(type));
	assert_int_equal(type, 7); /* the type is written first */
	assert_int_equal(put(id, 8, "123456"), 0);
	assert_int_equal(msgrcv(id, m, 5, 0, MSG_NOERROR), 5); /* cut off, it fits */
	assert_empty(id);
	m = (long *)(two + page_size()) - 1;
	assert_int_equal(put(id, 9, ""), 0);
	assert_int_equal(msgrcv(id, m, TEXT_MAX, 0, IPC_NOWAIT), 0); /* no text is written */
	assert_int_equal(*m, 9);
	half_bad_free(two);
}

static void a_type_cut_off_at_a_bad_page_is_EFAULT_and_the_message_lost(void **state)
{
	(void)state;
	int id = msg_new(0600);
	char *two = half_bad();

	assert_int_equal(put(id, 6, ""), 0);
	assert_int_equal(RCV(id, two + page_size() - 4, 0, 0, IPC_NOWAIT), EFAULT);
	assert_empty(id);
	half_bad_free(two);
}

/* --- MSG_COPY --- */

#define COPY (MSG_COPY | IPC_NOWAIT)

#define SKIP_WITHOUT_COPY(id)                                          \
	do {                                                           \
		if (take(id, 1, 0, COPY).err == ENOSYS)                \
			skip(); /* CONFIG_CHECKPOINT_RESTORE is off */ \
	} while (0)

#define assert_copies(id, index, type, text)                         \
	do {                                                         \
		struct got copied = take(id, TEXT_MAX, index, COPY); \
		assert_true(got_is(&copied, type, text));            \
	} while (0)

static void MSG_COPY_copies_by_index_and_takes_nothing(void **state)
{
	(void)state;
	int id = msg_new(0600);

	SKIP_WITHOUT_COPY(id);
	assert_int_equal(put(id, 5, "a"), 0);
	assert_int_equal(put(id, 1, "bb"), 0);
	assert_int_equal(put(id, 5, "ccc"), 0);
	struct msqid_ds before = msg_stat(id);
	next_second();
	assert_copies(id, 0, 5, "a");
	assert_copies(id, 1, 1, "bb");
	assert_copies(id, 2, 5, "ccc");
	assert_copies(id, 1, 1, "bb");
	struct msqid_ds after = msg_stat(id);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_takes(id, 0, 5, "a");
	assert_copies(id, 0, 1, "bb"); /* indices count what is there now */
	assert_copies(id, 1, 5, "ccc");
}

static void MSG_COPY_beyond_the_last_is_ENOMSG(void **state)
{
	(void)state;
	static const long bad[] = {2, 3, LONG_MAX, -1, -2, LONG_MIN, 0x100000000L};
	int id = msg_new(0600);

	SKIP_WITHOUT_COPY(id);
	assert_int_equal(take(id, 10, 0, COPY).err, ENOMSG);
	assert_int_equal(put(id, 1, "a"), 0);
	assert_int_equal(put(id, 1, "b"), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(take(id, 10, bad[i], COPY).err, ENOMSG);
	assert_holds(id, 2, 2);
}

static void MSG_COPY_without_NOWAIT_or_with_EXCEPT_is_EINVAL(void **state)
{
	(void)state;
	int id = msg_new(0600);

	SKIP_WITHOUT_COPY(id);
	assert_int_equal(put(id, 1, "a"), 0);
	assert_int_equal(take(id, 10, 0, MSG_COPY).err, EINVAL);
	assert_int_equal(take(id, 10, 0, MSG_COPY | MSG_NOERROR).err, EINVAL);
	assert_int_equal(take(id, 10, 0, COPY | MSG_EXCEPT).err, EINVAL);
	assert_int_equal(take(id, 10, 0, MSG_COPY | MSG_EXCEPT).err, EINVAL);
	assert_int_equal(take(id ^ CONFORM_INDICES, 10, 0, COPY).err, EINVAL);
	assert_int_equal(take(-1, 10, 0, COPY).err, EINVAL);
	assert_int_equal(take(id, (size_t)-1, 0, COPY).err, EINVAL);
	assert_holds(id, 1, 1);
}

static void MSG_COPY_into_too_little_is_E2BIG_and_with_NOERROR_EINVAL(void **state)
{
	(void)state;
	int id = msg_new(0600);

	SKIP_WITHOUT_COPY(id);
	assert_int_equal(put(id, 1, "12345"), 0);
	assert_int_equal(take(id, 4, 0, COPY).err, E2BIG);
	assert_int_equal(take(id, 0, 0, COPY).err, E2BIG);
	struct got got = take(id, 4, 0, COPY | MSG_NOERROR);
	assert_int_equal(got.err, EINVAL); /* a copy is whole or not at all */
	assert_int_equal((unsigned char)got.m.text[0], 0xa5);
	got = take(id, 5, 0, COPY | MSG_NOERROR);
	assert_true(got_is(&got, 1, "12345"));
	assert_holds(id, 1, 5);
}

static void MSG_COPY_of_any_size_is_whole(void **state)
{
	(void)state;
	static const size_t size[] = {0, 1, 100, 4047, 4048, 4049, 5000, 8192};
	int id = msg_new(0600);

	SKIP_WITHOUT_COPY(id);
	for (size_t i = 0; i < sizeof(size) / sizeof(*size); i++) {
		assert_int_equal(put_size(id, 9, size[i]), 0);
		struct got got = take(id, TEXT_MAX, 0, COPY);
		assert_int_equal(got.size, size[i]);
		assert_int_equal(got.m.type, 9);
		assert_true(text_is_filled(got.m.text, 9, size[i]));
		got = take(id, size[i], 0, COPY);
		assert_int_equal(got.size, size[i]);
		assert_int_equal(take_err(id, 9), 0);
	}
}

static void MSG_COPY_to_a_bad_pointer_is_EFAULT_and_loses_nothing(void **state)
{
	(void)state;
	int id = msg_new(0600);
	char *bad = conform_bad_page(), *fixed = conform_read_only_page();
	void *p[] = {NULL, bad, fixed, (void *)1, (void *)-1};

	SKIP_WITHOUT_COPY(id);
	assert_int_equal(put(id, 1, "kept"), 0);
	for (size_t i = 0; i < sizeof(p) / sizeof(*p); i++)
		assert_int_equal(RCV(id, p[i], 10, 0, COPY), EFAULT);
	assert_takes(id, 0, 1, "kept");
	munmap(bad, page_size());
	munmap(fixed, page_size());
}

/* The kernel fills its copy from the buffer first: so what cannot be read is EFAULT before that. */
static void MSG_COPY_to_what_cannot_be_read_is_EFAULT_before_ENOMSG_and_a_stale_id(void **state)
{
	(void)state;
	int id = msg_new(0600);
	char *bad = conform_bad_page(), *fixed = conform_read_only_page();

	SKIP_WITHOUT_COPY(id);
	assert_int_equal(RCV(id, bad, 10, 0, COPY), EFAULT);
	assert_int_equal(RCV(id, bad, 0, 0, COPY), ENOMSG); /* nothing to read */
	assert_int_equal(RCV(id, fixed, 10, 0, COPY), ENOMSG);
	assert_int_equal(RCV(id ^ CONFORM_INDICES, bad, 10, 0, COPY), EFAULT);
	assert_int_equal(RCV(id ^ CONFORM_INDICES, fixed, 10, 0, COPY), EINVAL);
	assert_int_equal(RCV(-1, bad, 10, 0, COPY), EINVAL);
	assert_int_equal(RCV(id, bad, 10, 0, MSG_COPY), EINVAL);
	munmap(bad, page_size());
	munmap(fixed, page_size());
}

static int copy_without_permission(void *arg)
{
	int *id = arg; /* 0622, 0644 */

	NEED(take(id[0], 10, 0, COPY).err == EACCES);
	NEED(take(id[1], 10, 0, COPY).size == 1);
	return 0;
}

static void MSG_COPY_needs_read_permission(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id[2] = {msg_new(0622), msg_new(0644)};

	SKIP_WITHOUT_COPY(id[0]);
	assert_int_equal(put(id[0], 1, "a"), 0);
	assert_int_equal(put(id[1], 1, "a"), 0);
	assert_int_equal(nobody_run(copy_without_permission, id), 0);
}

static int copy_larger_than_msgmax(void *arg)
{
	(void)arg;
	child_alone();
	int id = msgget(IPC_PRIVATE, 0600);
	if (take(id, 1, 0, COPY).err == ENOSYS)
		return CHILD_SKIPS;
	NEED(put_size(id, 1, 1000) == 0);
	child_set_limit("msgmax", "999");
	NEED(take(id, TEXT_MAX, 0, COPY).err == EINVAL);
	NEED(take(id, 999, 0, COPY).err == E2BIG);
	NEED(take(id, 1000, 0, IPC_NOWAIT).size == 1000);
	return child_leave_limits();
}

static void MSG_COPY_of_a_message_larger_than_MSGMAX_is_now_is_EINVAL(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(copy_larger_than_msgmax, NULL));
}

/* --- counts, pids and times --- */

static void sending_sets_lspid_and_stime_alone(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct msqid_ds before = msg_stat(id);

	next_second();
	time_t start = coarse_now();
	pid_t pid = child_start(call_put, &(struct move_call){id, 1, "abc"});
	assert_int_equal(child_wait(pid), 0);
	struct msqid_ds after = msg_stat(id);
	assert_int_equal(after.msg_lspid, pid);
	assert_between(start, after.msg_stime, time(NULL));
	assert_int_equal(after.msg_qnum, 1);
	assert_int_equal(after.msg_cbytes, 3);
	after.msg_lspid = before.msg_lspid;
	after.msg_stime = before.msg_stime;
	after.msg_qnum = after.msg_cbytes = 0;
	assert_memory_equal(&before, &after, sizeof(before));
}

static void receiving_sets_lrpid_and_rtime_alone(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 1, "abc"), 0);
	assert_int_equal(put(id, 1, "de"), 0);
	struct msqid_ds before = msg_stat(id);
	next_second();
	time_t start = coarse_now();
	pid_t pid = child_start(call_take, &(struct move_call){id, 0, NULL});
	assert_int_equal(child_wait(pid), 0);
	struct msqid_ds after = msg_stat(id);
	assert_int_equal(after.msg_lrpid, pid);
	assert_between(start, after.msg_rtime, time(NULL));
	assert_int_equal(after.msg_qnum, 1);
	assert_int_equal(after.msg_cbytes, 2);
	after.msg_lrpid = before.msg_lrpid;
	after.msg_rtime = before.msg_rtime;
	after.msg_qnum = 2;
	after.msg_cbytes = 5;
	assert_memory_equal(&before, &after, sizeof(before));
}

static void each_send_and_receive_sets_its_time_anew(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 1, "a"), 0);
	assert_int_equal(put(id, 1, "b"), 0);
	assert_int_equal(take_err(id, 0), 0);
	struct msqid_ds before = msg_stat(id);
	next_second();
	assert_int_equal(put(id, 1, "c"), 0);
	assert_true(msg_stat(id).msg_stime > before.msg_stime);
	assert_int_equal(msg_stat(id).msg_rtime, before.msg_rtime);
	assert_int_equal(take_err(id, 0), 0);
	assert_true(msg_stat(id).msg_rtime > before.msg_rtime);
	assert_int_equal(msg_stat(id).msg_ctime, before.msg_ctime);
}

static void stat_changes_nothing(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 1, "a"), 0);
	struct msqid_ds before = msg_stat(id);
	next_second();
	struct msqid_ds after = msg_stat(id);
	assert_memory_equal(&before, &after, sizeof(before));
}

/* --- who may --- */

static void sending_needs_write_and_receiving_needs_read(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	static const struct {
		int mode, read, write;
	} row[] = {{0600, EACCES, EACCES}, {0604, 0, EACCES},	   {0602, EACCES, 0},  {0606, 0, 0},
		   {0660, EACCES, EACCES}, {0601, EACCES, EACCES}, {0, EACCES, EACCES}};

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		int id = msg_new(row[i].mode);
		assert_int_equal(put(id, 1, "x"), 0);
		assert_int_equal(NOBODY_PUT(id, 1, "x"), row[i].write);
		assert_int_equal(NOBODY_TAKE(id, 0), row[i].read);
	}
}

static void members_of_the_queues_group_have_its_bits(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0620);
	struct msqid_ds ds = msg_stat(id);

	ds.msg_perm.gid = CONFORM_NOBODY;
	assert_int_equal(ERR(msgctl(id, IPC_SET, &ds)), 0);
	assert_int_equal(NOBODY_PUT(id, 1, "x"), 0);
	assert_int_equal(NOBODY_TAKE(id, 0), EACCES);
	assert_int_equal(msg_set_mode(id, 0606), 0);
	assert_int_equal(NOBODY_PUT(id, 1, "x"), EACCES);
	assert_int_equal(NOBODY_TAKE(id, 0), EACCES);
}

static void a_change_of_mode_counts_at_once(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0606);

	assert_int_equal(NOBODY_PUT(id, 1, "x"), 0);
	assert_int_equal(msg_set_mode(id, 0600), 0);
	assert_int_equal(NOBODY_PUT(id, 1, "x"), EACCES);
	assert_int_equal(NOBODY_TAKE(id, 0), EACCES);
	assert_int_equal(msg_set_mode(id, 0604), 0);
	assert_int_equal(NOBODY_PUT(id, 1, "x"), EACCES);
	assert_int_equal(NOBODY_TAKE(id, 0), 0);
}

/* --- raw calls; many at once --- */

static void raw_system_calls_work(void **state)
{
	(void)state;
#ifdef SYS_msgget
	key_t key = msg_free_key();
	int id = conform_keep(CONFORM_MSG, (int)syscall(SYS_msgget, key, IPC_CREAT | 0600));
	struct message m = {0x100000005L, "raw"};
	struct msqid_ds ds;

	assert_true(id >= 0);
	assert_int_equal(msgget(key, 0), id);
	assert_int_equal(ERR(syscall(SYS_msgget, key, IPC_CREAT | IPC_EXCL)), EEXIST);
	assert_int_equal(ERR(syscall(SYS_msgsnd, id, &m, 3L, 0)), 0);
	assert_int_equal(ERR(syscall(SYS_msgsnd, id, NULL, 3L, 0)), EFAULT);
	assert_int_equal(ERR(syscall(SYS_msgsnd, id, &m, -1L, 0)), EINVAL);
	assert_holds(id, 1, 3);
	memset(&m, 0, sizeof(m));
	assert_int_equal(ERR(syscall(SYS_msgrcv, id, &m, 2L, 0L, 0)), E2BIG);
	assert_int_equal(ERR(syscall(SYS_msgrcv, id, &m, 9L, 5L, IPC_NOWAIT)), ENOMSG);
	assert_int_equal(syscall(SYS_msgrcv, id, &m, 9L, 0x100000005L, IPC_NOWAIT), 3);
	assert_true(m.type == 0x100000005L && memcmp(m.text, "raw", 4) == 0);
	assert_int_equal(syscall(SYS_msgctl, id, IPC_STAT, &ds), 0);
	assert_int_equal(ds.msg_qnum, 0);
	assert_int_equal(ds.msg_lrpid, getpid());
	assert_int_equal(ERR(syscall(SYS_msgctl, id, IPC_STAT, NULL)), EFAULT);
	assert_int_equal(ERR(syscall(SYS_msgctl, id, 99, &ds)), EINVAL);
	assert_int_equal(syscall(SYS_msgctl, INDEX(id), MSG_STAT, &ds), id);
	assert_int_equal(syscall(SYS_msgctl, id, IPC_RMID, NULL), 0);
	assert_int_equal(ERR(syscall(SYS_msgget, key, 0)), ENOENT);
#else
	skip();
#endif
}

static int send_numbers(void *arg)
{
	int id = *(int *)arg;

	for (int i = 0; i < 2000; i++) {
		struct message m = {1 + i % 3, ""};
		memcpy(m.text, &i, sizeof(i));
		NEED(SND(id, &m, sizeof(i) + (size_t)i % 50, 0) == 0);
	}
	return 0;
}

static void a_stream_keeps_its_order(void **state)
{
	(void)state;
	int id = msg_new(0600);
	pid_t pid = child_start(send_numbers, &id);

	for (int i = 0; i < 2000; i++) {
		struct message m;
		int number;
		assert_int_equal(msgrcv(id, &m, TEXT_MAX, 0, 0), 4 + i % 50);
		memcpy(&number, m.text, sizeof(number));
		assert_int_equal(number, i);
		assert_int_equal(m.type, 1 + i % 3);
	}
	assert_int_equal(child_wait(pid), 0);
	assert_empty(id);
}

static void a_stream_through_a_tiny_queue_keeps_its_order(void **state)
{
	(void)state;
	int id = msg_new_of(60);
	pid_t pid = child_start(send_numbers, &id);

	for (int i = 0; i < 2000; i++) {
		struct message m;
		int number;
		assert_int_equal(msgrcv(id, &m, TEXT_MAX, 0, 0), 4 + i % 50);
		memcpy(&number, m.text, sizeof(number));
		assert_int_equal(number, i);
	}
	assert_int_equal(child_wait(pid), 0);
	assert_empty(id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(a_message_comes_as_it_was_sent),
		CONFORM_TEST(msgsnd_returns_zero_and_msgrcv_the_size_of_the_text),
		CONFORM_TEST(a_message_may_have_no_text),
		CONFORM_TEST(texts_of_any_size_keep_every_byte),
		CONFORM_TEST(every_byte_value_is_kept),
		CONFORM_TEST(nothing_is_written_beyond_the_text),
		CONFORM_TEST(the_senders_buffer_may_change_after_the_call),
		CONFORM_TEST(an_unaligned_buffer_will_do),
		CONFORM_TEST(types_have_64_bits),
		CONFORM_TEST(flags_that_mean_nothing_are_ignored),
		CONFORM_TEST(type_zero_takes_the_first),
		CONFORM_TEST(a_positive_type_takes_the_first_of_it),
		CONFORM_TEST(a_negative_type_takes_the_first_of_the_lowest),
		CONFORM_TEST(minus_one_takes_type_one_alone),
		CONFORM_TEST(LONG_MIN_takes_the_lowest_of_all),
		CONFORM_TEST(MSG_EXCEPT_takes_the_first_of_another_type),
		CONFORM_TEST(MSG_EXCEPT_means_nothing_beside_zero_or_a_negative_type),
		CONFORM_TEST(random_queues_are_emptied_by_the_rules),
		CONFORM_TEST(E2BIG_leaves_the_message),
		CONFORM_TEST(a_later_message_that_would_fit_is_not_taken_instead),
		CONFORM_TEST(a_buffer_of_the_messages_size_is_enough),
		CONFORM_TEST(MSG_NOERROR_cuts_off_and_the_rest_is_lost),
		CONFORM_TEST(MSG_NOERROR_cuts_a_large_message),
		CONFORM_TEST(any_size_up_to_LONG_MAX_may_be_offered),
		CONFORM_TEST(a_queue_is_full_at_qbytes_bytes),
		CONFORM_TEST(a_queue_is_full_at_qbytes_messages),
		CONFORM_TEST(a_queue_of_one_byte_takes_one_message),
		CONFORM_TEST(a_queue_of_no_bytes_takes_nothing),
		CONFORM_TEST(a_full_queue_of_default_size),
		CONFORM_TEST(as_many_empty_messages_as_qbytes),
		CONFORM_TEST(a_queue_that_was_made_smaller_than_it_holds_is_full),
		CONFORM_TEST(MSGMAX_is_the_largest_text),
		CONFORM_TEST(MSGMAX_counts_as_it_stands_at_the_call),
		CONFORM_TEST(larger_limits_allow_larger_messages),
		CONFORM_TEST(a_type_below_one_is_EINVAL),
		CONFORM_TEST(a_size_that_is_negative_or_too_large_is_EINVAL),
		CONFORM_TEST(a_bad_pointer_to_the_type_is_EFAULT_before_all_else),
		CONFORM_TEST(a_type_cut_off_by_a_bad_page_is_EFAULT),
		CONFORM_TEST(a_text_cut_off_by_a_bad_page_is_EFAULT),
		CONFORM_TEST(a_refused_send_changes_nothing),
		CONFORM_TEST(EINVAL_of_size_and_type_comes_before_EFAULT_of_the_text),
		CONFORM_TEST(EFAULT_of_the_text_comes_before_a_stale_id_and_before_EAGAIN),
		CONFORM_TEST(EACCES_of_msgsnd_comes_before_EAGAIN_and_after_all_else),
		CONFORM_TEST(a_negative_id_is_EINVAL),
		CONFORM_TEST(a_negative_size_to_receive_is_EINVAL_and_takes_nothing),
		CONFORM_TEST(no_message_is_ENOMSG_before_EFAULT),
		CONFORM_TEST(EACCES_of_msgrcv_comes_before_what_the_queue_holds),
		CONFORM_TEST(a_refused_receive_changes_nothing),
		CONFORM_TEST(EFAULT_of_msgrcv_loses_the_message),
		CONFORM_TEST(a_buffer_cut_off_by_a_bad_page_is_EFAULT_if_the_message_reaches_it),
		CONFORM_TEST(a_type_cut_off_at_a_bad_page_is_EFAULT_and_the_message_lost),
		CONFORM_TEST(MSG_COPY_copies_by_index_and_takes_nothing),
		CONFORM_TEST(MSG_COPY_beyond_the_last_is_ENOMSG),
		CONFORM_TEST(MSG_COPY_without_NOWAIT_or_with_EXCEPT_is_EINVAL),
		CONFORM_TEST(MSG_COPY_into_too_little_is_E2BIG_and_with_NOERROR_EINVAL),
		CONFORM_TEST(MSG_COPY_of_any_size_is_whole),
		CONFORM_TEST(MSG_COPY_to_a_bad_pointer_is_EFAULT_and_loses_nothing),
		CONFORM_TEST(
			MSG_COPY_to_what_cannot_be_read_is_EFAULT_before_ENOMSG_and_a_stale_id),
		CONFORM_TEST(MSG_COPY_needs_read_permission),
		CONFORM_TEST(MSG_COPY_of_a_message_larger_than_MSGMAX_is_now_is_EINVAL),
		CONFORM_TEST(sending_sets_lspid_and_stime_alone),
		CONFORM_TEST(receiving_sets_lrpid_and_rtime_alone),
		CONFORM_TEST(each_send_and_receive_sets_its_time_anew),
		CONFORM_TEST(stat_changes_nothing),
		CONFORM_TEST(sending_needs_write_and_receiving_needs_read),
		CONFORM_TEST(members_of_the_queues_group_have_its_bits),
		CONFORM_TEST(a_change_of_mode_counts_at_once),
		CONFORM_TEST(raw_system_calls_work),
		CONFORM_TEST(a_stream_keeps_its_order),
		CONFORM_TEST(a_stream_through_a_tiny_queue_keeps_its_order),
	};
	return MSG_RUN(tests);
}
