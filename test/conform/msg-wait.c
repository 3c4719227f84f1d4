/* Sleeping in msgsnd() and msgrcv(): who goes on when, with what, and what the queue says then. */
#include "conform-msg.h"

#include <pthread.h>
#include <sys/syscall.h>

/* --- one receiver --- */

static void a_receiver_sleeps_until_a_message_comes(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *s = RECEIVER(id, 0);

	assert_holds(id, 0, 0);
	assert_int_equal(put(id, 5, "hello"), 0);
	assert_got(s, 5, "hello");
	assert_empty(id);
}

static void a_hand_over_is_done_before_the_senders_call_returns(void **state)
{
	(void)state;
	int id = msg_new(0600);

	for (int i = 0; i < 50; i++) {
		struct sleeper *s = RECEIVER(id, 0);
		assert_int_equal(put(id, i + 1, "mine"), 0);
		assert_int_equal(take_err(id, 0), ENOMSG); /* it was never there */
		struct msqid_ds ds = msg_stat(id);
		assert_true(ds.msg_qnum == 0 && ds.msg_cbytes == 0);
		assert_int_equal(ds.msg_lspid, getpid());
		assert_int_equal(ds.msg_lrpid, s->pid);
		assert_got(s, i + 1, "mine");
	}
}

static void a_hand_over_sets_both_times_and_not_ctime(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct msqid_ds before = msg_stat(id);
	struct sleeper *s = RECEIVER(id, 0);

	assert_int_equal(msg_stat(id).msg_rtime, 0); /* nor does sleeping */
	assert_int_equal(msg_stat(id).msg_lrpid, 0);
	next_second();
	time_t start = coarse_now();
	assert_int_equal(put(id, 1, "x"), 0);
	struct msqid_ds after = msg_stat(id);
	assert_between(start, after.msg_stime, time(NULL));
	assert_between(start, after.msg_rtime, time(NULL));
	assert_int_equal(after.msg_ctime, before.msg_ctime);
	assert_got(s, 1, "x");
	next_second();
	assert_int_equal(msg_stat(id).msg_rtime, after.msg_rtime);
}

static void a_message_that_does_not_suit_is_queued(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *s = RECEIVER(id, 5);

	assert_int_equal(put(id, 4, "four"), 0);
	assert_int_equal(put(id, 6, "six"), 0);
	assert_int_equal(put(id, 0x100000005L, "large"), 0);
	assert_holds(id, 3, 12);
	assert_int_equal(msg_stat(id).msg_lrpid, 0);
	assert_sleeps(s);
	assert_int_equal(put(id, 5, "five"), 0);
	assert_holds(id, 3, 12);
	assert_got(s, 5, "five");
	assert_takes(id, 0, 4, "four");
	assert_takes(id, 0, 6, "six");
	assert_takes(id, 0, 0x100000005L, "large");
}

static void a_negative_type_waits_for_one_that_is_low_enough(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *s = RECEIVER(id, -3);

	assert_int_equal(put(id, 4, "4"), 0);
	assert_sleeps(s);
	assert_int_equal(put(id, 3, "3"), 0); /* it takes this, not waiting for a lower one */
	assert_got(s, 3, "3");
	s = RECEIVER(id, -3);
	assert_int_equal(put(id, 1, "1"), 0);
	assert_got(s, 1, "1");
	assert_takes(id, 0, 4, "4");
	s = RECEIVER(id, LONG_MIN);
	assert_int_equal(put(id, LONG_MAX, "max"), 0);
	assert_got(s, LONG_MAX, "max");
	s = RECEIVER(id, -1);
	assert_int_equal(put(id, 2, "2"), 0);
	assert_sleeps(s);
	assert_int_equal(put(id, 1, "1"), 0);
	assert_got(s, 1, "1");
}

static void MSG_EXCEPT_waits_for_another_type(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *s = RECEIVER_OF(id, 10, 2, MSG_EXCEPT);

	assert_int_equal(put(id, 2, "2"), 0);
	assert_sleeps(s);
	assert_int_equal(put(id, 3, "3"), 0);
	assert_got(s, 3, "3");
	assert_takes(id, 0, 2, "2");
	s = RECEIVER_OF(id, 10, -2, MSG_EXCEPT); /* here it means nothing */
	assert_int_equal(put(id, 3, "3"), 0);
	assert_sleeps(s);
	assert_int_equal(put(id, 1, "1"), 0);
	assert_got(s, 1, "1");
}

static void what_lies_in_the_queue_is_taken_without_sleeping(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 9, "9"), 0);
	assert_int_equal(put(id, 2, "2"), 0);
	struct got got = take(id, TEXT_MAX, -5, 0);
	assert_true(got_is(&got, 2, "2"));
	got = take(id, TEXT_MAX, 0, 0);
	assert_true(got_is(&got, 9, "9"));
}

static void a_large_message_is_handed_over_whole(void **state)
{
	(void)state;
	static const size_t size[] = {0, 1, 4047, 4048, 4049, 8191, 8192};
	int id = msg_new(0600);

	for (size_t i = 0; i < sizeof(size) / sizeof(*size); i++) {
		struct sleeper *s = RECEIVER_OF(id, size[i], 0, 0);
		assert_int_equal(put_size(id, 3, size[i]), 0);
		assert_holds(id, 0, 0);
		assert_got_size(s, 3, size[i]);
	}
}

static void an_empty_message_ends_a_sleep(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *s = RECEIVER_OF(id, 0, 0, 0);

	assert_int_equal(put(id, 7, ""), 0);
	assert_got(s, 7, "");
	assert_empty(id);
}

static void MSG_NOERROR_cuts_off_what_is_handed_over(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *s = RECEIVER_OF(id, 3, 0, MSG_NOERROR);

	assert_int_equal(put(id, 7, "12345"), 0);
	assert_got(s, 7, "123");
	assert_int_equal((unsigned char)s->got.m.text[3], 0xa5);
	s = RECEIVER_OF(id, 0, 0, MSG_NOERROR);
	assert_int_equal(put_size(id, 7, 8192), 0);
	assert_got(s, 7, "");
	assert_empty(id);
}

static void EFAULT_of_a_woken_receiver_loses_the_message(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *s = receiver_new(id, 10, 0, 0);

	s->at = conform_bad_page();
	sleeper_start(s);
	assert_int_equal(put(id, 1, "lost"), 0); /* to the sender all is well */
	assert_holds(id, 0, 0);
	assert_int_equal(msg_stat(id).msg_lrpid, s->pid);
	assert_ends(s, EFAULT);
	assert_empty(id);
	munmap(s->at, page_size());
}

/* --- several receivers --- */

static void receivers_go_first_in_first_out(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *s[5];

	for (int i = 0; i < 5; i++)
		s[i] = RECEIVER(id, 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(put(id, i + 1, "next"), 0);
		assert_int_equal(msg_stat(id).msg_lrpid, s[i]->pid);
	}
	assert_holds(id, 0, 0);
	for (int i = 0; i < 5; i++)
		assert_got(s[i], i + 1, "next");
}

static void the_first_that_suits_gets_it(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *five = RECEIVER(id, 5), *low = RECEIVER(id, -3),
		       *other = RECEIVER_OF(id, 10, 4, MSG_EXCEPT), *any = RECEIVER(id, 0),
		       *five_too = RECEIVER(id, 5), *four = RECEIVER(id, 4);

	assert_int_equal(put(id, 4, "a"), 0); /* not five, not low, not other */
	assert_got(any, 4, "a");
	assert_int_equal(put(id, 5, "b"), 0);
	assert_got(five, 5, "b");
	assert_int_equal(put(id, 5, "c"), 0); /* other came before five_too */
	assert_got(other, 5, "c");
	assert_int_equal(put(id, 3, "d"), 0);
	assert_got(low, 3, "d");
	assert_int_equal(put(id, 3, "e"), 0); /* nobody wants it now */
	assert_holds(id, 1, 1);
	assert_int_equal(put(id, 4, "f"), 0);
	assert_got(four, 4, "f");
	assert_int_equal(put(id, 5, "g"), 0);
	assert_got(five_too, 5, "g");
	assert_takes(id, 0, 3, "e");
}

static void those_of_one_type_go_in_turn_past_those_of_another(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *s[8];

	for (int i = 0; i < 8; i++)
		s[i] = RECEIVER(id, i % 2 + 1);
	for (int i = 1; i < 8; i += 2) {
		assert_int_equal(put(id, 2, "two"), 0);
		assert_int_equal(msg_stat(id).msg_lrpid, s[i]->pid);
		assert_got(s[i], 2, "two");
	}
	for (int i = 0; i < 8; i += 2) {
		assert_int_equal(put(id, 1, "one"), 0);
		assert_got(s[i], 1, "one");
	}
}

static void a_receiver_that_is_too_small_gets_E2BIG_and_the_message_goes_on(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *small = RECEIVER_OF(id, 4, 0, 0), *large = RECEIVER_OF(id, 5, 0, 0);

	assert_int_equal(put(id, 1, "12345"), 0);
	assert_int_equal(msg_stat(id).msg_lrpid, large->pid);
	assert_ends(small, E2BIG);
	assert_int_equal((unsigned char)small->got.m.text[0], 0xa5);
	assert_got(large, 1, "12345");
	assert_empty(id);
}

static void all_that_are_too_small_get_E2BIG_and_then_it_is_queued(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *a = RECEIVER_OF(id, 4, 0, 0), *b = RECEIVER_OF(id, 0, 1, 0),
		       *other = RECEIVER_OF(id, 0, 2, 0), *c = RECEIVER_OF(id, 3, -8, 0);

	assert_int_equal(put(id, 1, "12345"), 0);
	assert_holds(id, 1, 5);
	assert_int_equal(msg_stat(id).msg_lrpid, 0);
	assert_int_equal(msg_stat(id).msg_rtime, 0);
	assert_int_equal(msg_stat(id).msg_lspid, getpid());
	assert_ends(a, E2BIG);
	assert_ends(b, E2BIG);
	assert_ends(c, E2BIG);
	assert_sleeps(other); /* it was not for it */
	assert_takes(id, 0, 1, "12345");
	assert_int_equal(put(id, 2, ""), 0);
	assert_got(other, 2, "");
}

static void one_that_is_too_small_but_not_in_turn_sleeps_on(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *large = RECEIVER(id, 0), *small = RECEIVER_OF(id, 1, 0, 0);

	assert_int_equal(put(id, 1, "12345"), 0);
	assert_got(large, 1, "12345");
	assert_sleeps(small);
	assert_int_equal(put(id, 1, "1"), 0);
	assert_got(small, 1, "1");
}

static void MSG_NOERROR_in_turn_takes_what_is_too_large(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *cut = RECEIVER_OF(id, 1, 0, MSG_NOERROR), *large = RECEIVER(id, 0);

	assert_int_equal(put(id, 1, "12345"), 0);
	assert_got(cut, 1, "1");
	assert_sleeps(large);
	assert_killed(large);
}

static void a_hundred_receivers_get_one_each(void **state)
{
	(void)state;
	enum {
		N = 100
	};
	int id = msg_new(0600), got[N + 1] = {0};
	struct sleeper *s[N];

	for (int i = 0; i < N; i++)
		s[i] = sleeper_go(receiver_new(id, 10, 0, 0));
	for (int i = 0; i < N; i++)
		assert_true(sleeper_sleeps(s[i]));
	for (int i = 0; i < N; i++)
		assert_int_equal(put(id, i + 1, "one"), 0);
	assert_holds(id, 0, 0);
	for (int i = 0; i < N; i++) {
		assert_int_equal(child_wait(s[i]->pid), 0);
		assert_between(1, s[i]->got.m.type, N);
		got[s[i]->got.m.type]++;
	}
	for (int i = 1; i <= N; i++)
		assert_int_equal(got[i], 1);
}

/* Not known to sleep: whether they do or not, each gets one. */
static void receivers_that_race_with_the_sender_get_one_each(void **state)
{
	(void)state;
	for (int round = 0; round < 30; round++) {
		int id = msg_new(0600);
		struct sleeper *s[4];
		long sum = 0;
		for (int i = 0; i < 4; i++)
			s[i] = sleeper_go(receiver_new(id, 10, 0, 0));
		for (int i = 0; i < 4; i++)
			assert_int_equal(put(id, 1L << i, "one"), 0);
		for (int i = 0; i < 4; i++) {
			assert_int_equal(child_wait(s[i]->pid), 0);
			sum += s[i]->got.m.type;
		}
		assert_int_equal(sum, 15);
		assert_empty(id);
	}
}

/* --- threads as receivers --- */

struct sleeping_thread {
	int id;
	long type;
	struct got got;
	_Atomic pid_t tid;
};

static void *receive_in_thread(void *arg)
{
	struct sleeping_thread *t = arg;

	t->tid = (pid_t)syscall(SYS_gettid);
	t->got = take(t->id, TEXT_MAX, t->type, 0);
	return NULL;
}

static void lrpid_is_the_thread_that_slept_but_the_process_of_one_that_did_not(void **state)
{
	(void)state;
	struct sleeping_thread *t = shared_new(sizeof(*t));
	pthread_t thread;

	t->id = msg_new(0600);
	assert_int_equal(pthread_create(&thread, NULL, receive_in_thread, t), 0);
	assert_true(AWAIT(t->tid && task_sleeps(getpid(), t->tid)));
	assert_int_equal(put(t->id, 1, "x"), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(got_is(&t->got, 1, "x"));
	assert_int_equal(msg_stat(t->id).msg_lspid, getpid());
	assert_int_not_equal(t->tid, getpid());
	assert_int_equal(msg_stat(t->id).msg_lrpid, t->tid);
	assert_int_equal(put(t->id, 1, "y"), 0);
	assert_int_equal(pthread_create(&thread, NULL, receive_in_thread, t), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(got_is(&t->got, 1, "y"));
	assert_int_equal(msg_stat(t->id).msg_lrpid, getpid());
	munmap(t, sizeof(*t));
}

static void threads_of_one_process_go_in_turn(void **state)
{
	(void)state;
	struct sleeping_thread *t = shared_new(4 * sizeof(*t));
	int id = msg_new(0600);
	pthread_t thread[4];

	for (int i = 0; i < 4; i++) {
		t[i].id = id;
		assert_int_equal(pthread_create(&thread[i], NULL, receive_in_thread, &t[i]), 0);
		assert_true(AWAIT(t[i].tid && task_sleeps(getpid(), t[i].tid)));
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(put(id, i + 1, "x"), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_true(got_is(&t[i].got, i + 1, "x"));
	}
	munmap(t, 4 * sizeof(*t));
}

/* --- one sender --- */

static void a_sender_sleeps_until_there_is_room(void **state)
{
	(void)state;
	int id = msg_new_of(100);

	assert_int_equal(put_size(id, 1, 100), 0);
	struct sleeper *s = SENDER(id, 2, 50);
	assert_holds(id, 1, 100);
	assert_int_equal(msg_stat(id).msg_lspid, getpid());
	assert_int_equal(take_err(id, 0), 0);
	assert_sent(s);
	assert_holds(id, 1, 50);
	struct got got = take(id, TEXT_MAX, 2, IPC_NOWAIT);
	assert_true(got.size == 50 && text_is_filled(got.m.text, 2, 50));
}

static void a_sender_sleeps_until_there_are_fewer_messages(void **state)
{
	(void)state;
	int id = msg_new_of(2);

	assert_int_equal(put(id, 1, ""), 0);
	assert_int_equal(put(id, 2, ""), 0);
	struct sleeper *s = SENDER(id, 3, 0);
	assert_takes(id, 2, 2, "");
	assert_sent(s);
	assert_takes(id, 0, 1, "");
	assert_takes(id, 0, 3, "");
}

static void the_senders_pid_and_time_are_set_when_it_gets_through(void **state)
{
	(void)state;
	int id = msg_new_of(10);

	assert_int_equal(put_size(id, 1, 10), 0);
	struct msqid_ds before = msg_stat(id);
	struct sleeper *s = SENDER(id, 2, 5);
	next_second();
	struct msqid_ds meanwhile = msg_stat(id);
	assert_memory_equal(&before, &meanwhile, sizeof(before));
	assert_int_equal(take_err(id, 0), 0);
	assert_sent(s);
	struct msqid_ds after = msg_stat(id);
	assert_int_equal(after.msg_lspid, s->pid);
	assert_true(after.msg_stime > before.msg_stime);
	assert_int_equal(after.msg_ctime, before.msg_ctime);
}

static void too_little_room_leaves_a_sender_asleep(void **state)
{
	(void)state;
	int id = msg_new_of(100);

	for (int i = 0; i < 10; i++)
		assert_int_equal(put_size(id, i + 1, 10), 0);
	struct sleeper *s = SENDER(id, 20, 35);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(take_err(id, 0), 0);
		assert_sleeps(s);
		assert_holds(id, 9 - i, 90 - 10 * i);
	}
	assert_int_equal(take_err(id, 0), 0);
	assert_sent(s);
	assert_holds(id, 7, 95);
}

static void a_senders_text_is_read_when_it_calls(void **state)
{
	(void)state;
	int id = msg_new_of(10);

	assert_int_equal(put_size(id, 1, 10), 0);
	struct sleeper *s = SENDER(id, 2, 10);
	memset(s->m.text, 'X', 10); /* it shares its buffer with us */
	s->m.type = 77;
	assert_int_equal(take_err(id, 0), 0);
	assert_sent(s);
	struct got got = take(id, TEXT_MAX, 0, IPC_NOWAIT);
	assert_true(got.size == 10 && got.m.type == 2 && text_is_filled(got.m.text, 2, 10));
}

static void a_message_that_can_never_fit_sleeps(void **state)
{
	(void)state;
	int id = msg_new_of(10);
	struct sleeper *s = SENDER(id, 2, 11);

	assert_int_equal(put_size(id, 1, 10), 0); /* it hinders nobody */
	assert_int_equal(take_err(id, 0), 0);
	assert_sleeps(s);
	assert_int_equal(msg_set_qbytes(id, 11), 0);
	assert_sent(s);
	assert_holds(id, 1, 11);
}

static void what_takes_nothing_wakes_no_sender(void **state)
{
	(void)state;
	int id = msg_new_of(10);

	assert_int_equal(put_size(id, 1, 10), 0);
	struct sleeper *s = SENDER(id, 2, 1);
	assert_int_equal(take(id, 9, 0, 0).err, E2BIG);
	assert_int_equal(take_err(id, 5), ENOMSG);
	int copied = take(id, 10, 0, MSG_COPY | IPC_NOWAIT).err;
	assert_true(copied == 0 || copied == ENOSYS);
	assert_sleeps(s);
	assert_int_equal(ERR(msgrcv(id, NULL, 10, 0, 0)), EFAULT); /* this takes it, and loses it */
	assert_sent(s);
	assert_holds(id, 1, 1);
}

static void one_that_cuts_off_frees_the_whole_message(void **state)
{
	(void)state;
	int id = msg_new_of(10);

	assert_int_equal(put_size(id, 1, 10), 0);
	struct sleeper *s = SENDER(id, 2, 10);
	assert_int_equal(take(id, 1, 0, MSG_NOERROR).size, 1);
	assert_sent(s);
	assert_holds(id, 1, 10);
}

/* --- several senders: which of those that fit goes first is open --- */

static void a_small_message_overtakes_a_large_one(void **state)
{
	(void)state;
	int id = msg_new_of(100);

	assert_int_equal(put_size(id, 1, 60), 0);
	assert_int_equal(put_size(id, 2, 40), 0);
	struct sleeper *large = SENDER(id, 3, 80), *small = SENDER(id, 4, 30);
	assert_int_equal(take_err(id, 2), 0);
	assert_sent(small);
	assert_sleeps(large);
	assert_holds(id, 2, 90);
	assert_int_equal(take_err(id, 1), 0); /* 30 are left, 80 don't fit */
	assert_sleeps(large);
	assert_int_equal(take_err(id, 4), 0);
	assert_sent(large);
	assert_holds(id, 1, 80);
}

static void a_new_message_that_fits_overtakes_sleepers(void **state)
{
	(void)state;
	int id = msg_new_of(100);

	assert_int_equal(put_size(id, 1, 60), 0);
	struct sleeper *large = SENDER(id, 2, 50);
	assert_int_equal(put_size(id, 3, 30), 0);
	assert_int_equal(put_size(id, 4, 0), 0);
	assert_int_equal(put_size(id, 5, 11), EAGAIN);
	assert_sleeps(large);
	assert_int_equal(take_err(id, 1), 0);
	assert_sent(large);
	assert_holds(id, 3, 80);
}

static void all_go_that_fit_together(void **state)
{
	(void)state;
	int id = msg_new_of(100);

	assert_int_equal(put_size(id, 1, 100), 0);
	struct sleeper *a = SENDER(id, 2, 30), *b = SENDER(id, 3, 40), *c = SENDER(id, 4, 30);
	assert_int_equal(take_err(id, 0), 0);
	assert_sent(a);
	assert_sent(b);
	assert_sent(c);
	assert_holds(id, 3, 100);
}

static int first_ended(struct sleeper **s, int n)
{
	for (int i = 0; i < n; i++)
		if (s[i] && !child_lives(s[i]->pid))
			return i;
	return -1;
}

static void of_equal_senders_one_goes_for_each_that_is_taken(void **state)
{
	(void)state;
	enum {
		N = 5
	};
	int id = msg_new_of(10);
	struct sleeper *s[N];
	long sum = 0;

	assert_int_equal(put_size(id, 1000, 10), 0);
	for (int i = 0; i < N; i++)
		s[i] = SENDER(id, 1L << i, 10);
	for (int round = 0; round < N; round++) {
		struct got got = take(id, TEXT_MAX, 0, IPC_NOWAIT);
		assert_int_equal(got.size, 10);
		sum += got.m.type;
		assert_true(AWAIT(first_ended(s, N) >= 0));
		int gone = first_ended(s, N);
		assert_sent(s[gone]);
		assert_int_equal(msg_stat(id).msg_lspid, s[gone]->pid);
		s[gone] = NULL;
		assert_holds(id, 1, 10);
		for (int i = 0; i < N; i++)
			if (s[i])
				assert_sleeps(s[i]);
	}
	assert_int_equal(sum + take(id, TEXT_MAX, 0, IPC_NOWAIT).m.type, 1000 + 31);
	assert_empty(id);
}

static void of_three_that_fit_alone_two_fit_together(void **state)
{
	(void)state;
	int id = msg_new_of(100);
	struct sleeper *s[3];

	assert_int_equal(put_size(id, 1, 20), 0);
	assert_int_equal(put_size(id, 2, 80), 0);
	for (int i = 0; i < 3; i++)
		s[i] = SENDER(id, 10 + i, 35);
	assert_int_equal(take_err(id, 2), 0);
	for (int i = 0; i < 2; i++) {
		assert_true(AWAIT(first_ended(s, 3) >= 0));
		int gone = first_ended(s, 3);
		assert_sent(s[gone]);
		s[gone] = NULL;
	}
	assert_holds(id, 3, 90);
	for (int i = 0; i < 3; i++) {
		if (!s[i])
			continue;
		assert_sleeps(s[i]);
		assert_int_equal(take_err(id, 1), 0); /* 30 are free */
		assert_sleeps(s[i]);
		assert_int_equal(take_err(id, -99), 0);
		assert_sent(s[i]);
	}
	assert_holds(id, 2, 70);
}

static void those_that_do_not_fit_keep_on_waiting_while_others_go(void **state)
{
	(void)state;
	int id = msg_new_of(100);
	struct sleeper *large = NULL;

	assert_int_equal(put_size(id, 1, 50), 0);
	assert_int_equal(put_size(id, 2, 50), 0);
	large = SENDER(id, 3, 100);
	for (int i = 0; i < 5; i++) { /* the queue is never empty: it starves */
		struct sleeper *small = SENDER(id, 10 + i, 50);
		assert_int_equal(take_err(id, 0), 0);
		assert_sent(small);
		assert_sleeps(large);
		assert_holds(id, 2, 100);
	}
	assert_int_equal(take_err(id, 0), 0);
	assert_int_equal(take_err(id, 0), 0);
	assert_sent(large);
}

static void a_hundred_senders_all_get_through(void **state)
{
	(void)state;
	enum {
		N = 100
	};
	int id = msg_new_of(25), got[N + 1] = {0};
	struct sleeper *s[N];

	for (int i = 0; i < N; i++) {
		s[i] = sender_new(id, i + 1, 10);
		sleeper_go(s[i]);
	}
	for (int i = 0; i < N; i++) {
		struct got one = take(id, 10, 0, 0);
		assert_int_equal(one.size, 10);
		assert_between(1, one.m.type, N);
		assert_true(text_is_filled(one.m.text, one.m.type, 10));
		got[one.m.type]++;
	}
	for (int i = 0; i < N; i++) {
		assert_sent(s[i]);
		assert_int_equal(got[i + 1], 1);
	}
	assert_empty(id);
}

/* --- senders and receivers that sleep both --- */

static void a_receiver_that_sleeps_makes_no_room(void **state)
{
	(void)state;
	int id = msg_new_of(10);

	assert_int_equal(put_size(id, 1, 10), 0);
	struct sleeper *receiver = RECEIVER(id, 2);
	assert_int_equal(put(id, 2, ""), 0); /* this would fit, so it is handed over */
	assert_got(receiver, 2, "");
	receiver = RECEIVER(id, 2);
	assert_int_equal(put(id, 2, "x"), EAGAIN); /* this would not */
	struct sleeper *sender = SENDER(id, 2, 5);
	assert_sleeps(receiver);
	assert_int_equal(take_err(id, 1), 0);
	assert_sent(sender);
	assert_got_size(receiver, 2, 5);
	assert_holds(id, 0, 0);
	assert_int_equal(msg_stat(id).msg_lspid, sender->pid);
	assert_int_equal(msg_stat(id).msg_lrpid, receiver->pid);
}

static void a_queue_without_room_hands_nothing_over(void **state)
{
	(void)state;
	int id = msg_new_of(0);
	struct sleeper *receiver = RECEIVER(id, 0);

	assert_int_equal(put(id, 1, ""), EAGAIN);
	struct sleeper *sender = SENDER(id, 1, 0);
	assert_sleeps(receiver);
	assert_int_equal(msg_set_qbytes(id, 1), 0);
	assert_sent(sender);
	assert_got(receiver, 1, "");
	assert_holds(id, 0, 0);
}

static void a_hand_over_takes_no_room(void **state)
{
	(void)state;
	int id = msg_new_of(10);
	struct sleeper *s[4];

	for (int i = 0; i < 4; i++)
		s[i] = RECEIVER(id, 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(put_size(id, i + 1, 10), 0); /* at once, though each fills it */
	for (int i = 0; i < 4; i++)
		assert_got_size(s[i], i + 1, 10);
	assert_empty(id);
}

static void a_woken_sender_may_leave_the_message_to_another_process(void **state)
{
	(void)state;
	int id = msg_new_of(10);

	for (int i = 0; i < 20; i++) { /* it ends before it is received */
		assert_int_equal(put_size(id, 1, 10), 0);
		struct sleeper *s = SENDER(id, 2, 10);
		assert_int_equal(CHILD_TAKE(id, 1), 0);
		assert_sent(s);
		assert_int_equal(CHILD_TAKE(id, 2), 0);
		assert_empty(id);
	}
}

/* --- IPC_SET and sleepers --- */

static void more_qbytes_wake_the_senders_that_fit(void **state)
{
	(void)state;
	int id = msg_new_of(10);

	assert_int_equal(put_size(id, 1, 10), 0);
	struct sleeper *large = SENDER(id, 2, 100), *small = SENDER(id, 3, 5);
	assert_int_equal(msg_set_qbytes(id, 14), 0);
	assert_sleeps(small);
	assert_int_equal(msg_set_qbytes(id, 15), 0);
	assert_sent(small);
	assert_sleeps(large);
	assert_int_equal(msg_set_qbytes(id, 115), 0);
	assert_sent(large);
	assert_holds(id, 3, 115);
}

static void fewer_qbytes_leave_senders_asleep_and_count_for_them(void **state)
{
	(void)state;
	int id = msg_new_of(20);

	assert_int_equal(put_size(id, 1, 10), 0);
	assert_int_equal(put_size(id, 2, 10), 0);
	struct sleeper *s = SENDER(id, 3, 10);
	assert_int_equal(msg_set_qbytes(id, 15), 0);
	assert_sleeps(s);
	assert_int_equal(take_err(id, 1), 0); /* 10 + 10 > 15 */
	assert_sleeps(s);
	assert_int_equal(take_err(id, 2), 0);
	assert_sent(s);
}

static void set_leaves_a_receiver_asleep(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *any = RECEIVER(id, 0), *five = RECEIVER(id, 5);

	for (int i = 0; i < 20; i++)
		assert_int_equal(msg_set_qbytes(id, 100 + (unsigned long)i), 0);
	assert_sleeps(any);
	assert_sleeps(five);
	assert_int_equal(put(id, 4, "four"), 0);
	assert_got(any, 4, "four");
	assert_int_equal(put(id, 5, "five"), 0);
	assert_got(five, 5, "five");
	assert_empty(id);
}

/* After IPC_SET the receivers look again, and may come to another order: but none is forgotten. */
static void after_set_every_receiver_still_gets_one(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *s[4];
	long sum = 0;

	for (int i = 0; i < 4; i++)
		s[i] = RECEIVER(id, 0);
	assert_int_equal(msg_set_qbytes(id, 100), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(put(id, 1L << i, "x"), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(child_wait(s[i]->pid), 0);
		sum += s[i]->got.m.type;
	}
	assert_int_equal(sum, 15);
	assert_empty(id);
}

static struct sleeper *nobody_start(struct sleeper *s)
{
	s->is_nobody = true;
	return sleeper_start(s);
}

static void a_receiver_that_may_no_longer_read_gets_EACCES_at_once(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0606);
	struct sleeper *theirs = nobody_start(receiver_new(id, 10, 0, 0)), *ours = RECEIVER(id, 0);

	assert_int_equal(msg_set_mode(id, 0604), 0); /* it may read still */
	assert_sleeps(theirs);
	assert_int_equal(msg_set_mode(id, 0602), 0);
	assert_ends(theirs, EACCES);
	assert_sleeps(ours);
	assert_int_equal(put(id, 1, "ours"), 0);
	assert_got(ours, 1, "ours");
}

static void a_sender_that_may_no_longer_write_gets_EACCES_when_there_is_room(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0606);

	assert_int_equal(msg_set_qbytes(id, 10), 0);
	assert_int_equal(put_size(id, 1, 10), 0);
	struct sleeper *theirs = nobody_start(sender_new(id, 2, 5)), *ours = SENDER(id, 3, 5);
	assert_int_equal(msg_set_mode(id, 0604), 0);
	assert_sleeps(theirs); /* nobody asked it, since it does not fit */
	assert_int_equal(take_err(id, 0), 0);
	assert_ends(theirs, EACCES);
	assert_sent(ours);
	assert_holds(id, 1, 5);
}

static void a_sender_that_was_refused_and_allowed_again_never_knew(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0606);

	assert_int_equal(msg_set_qbytes(id, 10), 0);
	assert_int_equal(put_size(id, 1, 10), 0);
	struct sleeper *s = nobody_start(sender_new(id, 2, 5));
	assert_int_equal(msg_set_mode(id, 0600), 0);
	assert_int_equal(msg_set_mode(id, 0606), 0);
	assert_int_equal(take_err(id, 0), 0);
	assert_sent(s);
}

static void more_room_and_less_permission_in_one_set_is_EACCES(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = msg_new(0606);

	assert_int_equal(msg_set_qbytes(id, 10), 0);
	assert_int_equal(put_size(id, 1, 10), 0);
	struct sleeper *s = nobody_start(sender_new(id, 2, 5));
	struct msqid_ds ds = msg_stat(id);
	ds.msg_qbytes = 100;
	ds.msg_perm.mode = 0600;
	assert_int_equal(ERR(msgctl(id, IPC_SET, &ds)), 0);
	assert_ends(s, EACCES);
	assert_holds(id, 1, 10);
}

/* --- limits at run time --- */

static int lower_limits_under_a_sender(void *arg)
{
	struct sleeper *s = arg;

	child_alone();
	s->id = msgget(IPC_PRIVATE, 0600);
	NEED(msg_set_qbytes(s->id, 100) == 0);
	NEED(put_size(s->id, 1, 100) == 0);
	pid_t pid = child_start(sleeper_run, s);
	NEED(AWAIT(s->calls) && AWAIT_ASLEEP(pid));
	child_set_limit("msgmax", "10");
	child_set_limit("msgmnb", "10");
	NEED(take_err(s->id, 1) == 0);
	NEED(child_wait(pid) == 0); /* it was checked when it called */
	struct got got = take(s->id, TEXT_MAX, 2, IPC_NOWAIT);
	NEED(got.size == 50 && text_is_filled(got.m.text, 2, 50));
	return child_leave_limits();
}

static void limits_that_fall_do_not_concern_a_sleeping_sender(void **state)
{
	(void)state;
	assert_child_or_skip(child_run(lower_limits_under_a_sender, sender_new(-1, 2, 50)));
}

/* --- traffic --- */

static int answer(void *arg)
{
	int id = *(int *)arg;

	for (int i = 0; i < 1000; i++) {
		struct message m;
		NEED(msgrcv(id, &m, sizeof(m.text), 1, 0) == 4);
		m.type = 2;
		NEED(msgsnd(id, &m, 4, 0) == 0);
	}
	return 0;
}

static void questions_and_answers_through_one_queue(void **state)
{
	(void)state;
	int id = msg_new(0600);
	pid_t pid = child_start(answer, &id);

	for (int i = 0; i < 1000; i++) {
		struct message m = {1, ""};
		memcpy(m.text, &i, sizeof(i));
		assert_int_equal(msgsnd(id, &m, 4, 0), 0);
		memset(&m, 0, sizeof(m));
		assert_int_equal(msgrcv(id, &m, sizeof(m.text), 2, 0), 4);
		assert_memory_equal(m.text, &i, sizeof(i));
	}
	assert_int_equal(child_wait(pid), 0);
	assert_empty(id);
}

enum {
	SENDERS = 4,
	RECEIVERS = 4,
	EACH = 500
};

struct traffic {
	int id;
	int sender;
	_Atomic int next; /* which sender one is */
	_Atomic int seen[SENDERS][EACH];
};

struct numbered {
	long type;
	int sender, number;
	char rest[64];
};

static size_t rest_size(int number)
{
	return (size_t)(number * 13 % 64);
}

static int send_numbered(void *arg)
{
	struct traffic *t = arg;
	int sender = t->next++;

	for (int i = 0; i < EACH; i++) {
		struct numbered m = {1 + (i + sender) % 3, sender, i, ""};
		memset(m.rest, i, sizeof(m.rest));
		NEED(msgsnd(t->id, &m, 8 + rest_size(i), 0) == 0);
	}
	return 0;
}

/* Types 1..3 carry numbers, 4 is the end. Of each sender and type the numbers must rise. */
static int receive_numbered(void *arg)
{
	struct traffic *t = arg;
	int last[SENDERS][5];

	memset(last, -1, sizeof(last));
	for (;;) {
		struct numbered m;
		ssize_t size = msgrcv(t->id, &m, sizeof(m) - sizeof(long), -4, 0);
		NEED(size >= 8);
		if (m.type == 4)
			return 0;
		NEED(m.sender >= 0 && m.sender < SENDERS && m.number >= 0 && m.number < EACH);
		NEED(size == 8 + (ssize_t)rest_size(m.number));
		for (size_t i = 0; i < rest_size(m.number); i++)
			NEED(m.rest[i] == (char)m.number);
		NEED(m.number > last[m.sender][m.type]);
		last[m.sender][m.type] = m.number;
		t->seen[m.sender][m.number]++;
	}
}

static void many_senders_and_receivers(unsigned long qbytes)
{
	struct traffic *t = shared_new(sizeof(*t));
	pid_t pid[SENDERS], receiver[RECEIVERS];

	t->id = msg_new_of(qbytes);
	for (int i = 0; i < RECEIVERS; i++)
		receiver[i] = child_start(receive_numbered, t);
	for (int i = 0; i < SENDERS; i++)
		pid[i] = child_start(send_numbered, t);
	for (int i = 0; i < SENDERS; i++)
		assert_int_equal(child_wait(pid[i]), 0);
	for (int i = 0; i < RECEIVERS; i++) {
		struct numbered end = {4, 0, 0, ""};
		assert_int_equal(msgsnd(t->id, &end, 8, 0), 0);
	}
	for (int i = 0; i < RECEIVERS; i++)
		assert_int_equal(child_wait(receiver[i]), 0);
	for (int i = 0; i < SENDERS; i++)
		for (int j = 0; j < EACH; j++)
			assert_int_equal(t->seen[i][j], 1);
	assert_empty(t->id);
	munmap(t, sizeof(*t));
}

static void many_senders_and_receivers_lose_and_double_nothing(void **state)
{
	(void)state;
	many_senders_and_receivers(QBYTES_HERE);
}

static void nor_do_they_through_a_queue_that_is_always_full(void **state)
{
	(void)state;
	many_senders_and_receivers(100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(a_receiver_sleeps_until_a_message_comes),
		CONFORM_TEST(a_hand_over_is_done_before_the_senders_call_returns),
		CONFORM_TEST(a_hand_over_sets_both_times_and_not_ctime),
		CONFORM_TEST(a_message_that_does_not_suit_is_queued),
		CONFORM_TEST(a_negative_type_waits_for_one_that_is_low_enough),
		CONFORM_TEST(MSG_EXCEPT_waits_for_another_type),
		CONFORM_TEST(what_lies_in_the_queue_is_taken_without_sleeping),
		CONFORM_TEST(a_large_message_is_handed_over_whole),
		CONFORM_TEST(an_empty_message_ends_a_sleep),
		CONFORM_TEST(MSG_NOERROR_cuts_off_what_is_handed_over),
		CONFORM_TEST(EFAULT_of_a_woken_receiver_loses_the_message),
		CONFORM_TEST(receivers_go_first_in_first_out),
		CONFORM_TEST(the_first_that_suits_gets_it),
		CONFORM_TEST(those_of_one_type_go_in_turn_past_those_of_another),
		CONFORM_TEST(a_receiver_that_is_too_small_gets_E2BIG_and_the_message_goes_on),
		CONFORM_TEST(all_that_are_too_small_get_E2BIG_and_then_it_is_queued),
		CONFORM_TEST(one_that_is_too_small_but_not_in_turn_sleeps_on),
		CONFORM_TEST(MSG_NOERROR_in_turn_takes_what_is_too_large),
		CONFORM_TEST(a_hundred_receivers_get_one_each),
		CONFORM_TEST(receivers_that_race_with_the_sender_get_one_each),
		CONFORM_TEST(lrpid_is_the_thread_that_slept_but_the_process_of_one_that_did_not),
		CONFORM_TEST(threads_of_one_process_go_in_turn),
		CONFORM_TEST(a_sender_sleeps_until_there_is_room),
		CONFORM_TEST(a_sender_sleeps_until_there_are_fewer_messages),
		CONFORM_TEST(the_senders_pid_and_time_are_set_when_it_gets_through),
		CONFORM_TEST(too_little_room_leaves_a_sender_asleep),
		CONFORM_TEST(a_senders_text_is_read_when_it_calls),
		CONFORM_TEST(a_message_that_can_never_fit_sleeps),
		CONFORM_TEST(what_takes_nothing_wakes_no_sender),
		CONFORM_TEST(one_that_cuts_off_frees_the_whole_message),
		CONFORM_TEST(a_small_message_overtakes_a_large_one),
		CONFORM_TEST(a_new_message_that_fits_overtakes_sleepers),
		CONFORM_TEST(all_go_that_fit_together),
		CONFORM_TEST(of_equal_senders_one_goes_for_each_that_is_taken),
		CONFORM_TEST(of_three_that_fit_alone_two_fit_together),
		CONFORM_TEST(those_that_do_not_fit_keep_on_waiting_while_others_go),
		CONFORM_TEST(a_hundred_senders_all_get_through),
		CONFORM_TEST(a_receiver_that_sleeps_makes_no_room),
		CONFORM_TEST(a_queue_without_room_hands_nothing_over),
		CONFORM_TEST(a_hand_over_takes_no_room),
		CONFORM_TEST(a_woken_sender_may_leave_the_message_to_another_process),
		CONFORM_TEST(more_qbytes_wake_the_senders_that_fit),
		CONFORM_TEST(fewer_qbytes_leave_senders_asleep_and_count_for_them),
		CONFORM_TEST(set_leaves_a_receiver_asleep),
		CONFORM_TEST(after_set_every_receiver_still_gets_one),
		CONFORM_TEST(a_receiver_that_may_no_longer_read_gets_EACCES_at_once),
		CONFORM_TEST(a_sender_that_may_no_longer_write_gets_EACCES_when_there_is_room),
		CONFORM_TEST(a_sender_that_was_refused_and_allowed_again_never_knew),
		CONFORM_TEST(more_room_and_less_permission_in_one_set_is_EACCES),
		CONFORM_TEST(limits_that_fall_do_not_concern_a_sleeping_sender),
		CONFORM_TEST(questions_and_answers_through_one_queue),
		CONFORM_TEST(many_senders_and_receivers_lose_and_double_nothing),
		CONFORM_TEST(nor_do_they_through_a_queue_that_is_always_full),
	};
	return MSG_RUN(tests);
}
