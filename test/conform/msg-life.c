/* Sleepers that are killed, interrupted, or lose their queue; forks, threads, handlers, and more. */
#include "conform-msg.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>

/* A queue of so many bytes, full with one message of this type. */
static int full_queue(unsigned long qbytes, long type)
{
	int id = msg_new_of(qbytes);

	assert_int_equal(put_size(id, type, qbytes), 0);
	return id;
}

/* --- sleepers that are killed --- */

static void a_killed_receiver_leaves_no_trace(void **state)
{
	(void)state;
	static const long type[] = {0, 7, -9};
	int id = msg_new(0600);

	for (int i = 0; i < 30; i++) {
		assert_killed(RECEIVER(id, type[i % 3]));
		assert_int_equal(put(id, 7, "kept"), 0);
		assert_holds(id, 1, 4);
		assert_int_equal(msg_stat(id).msg_lrpid, i ? getpid() : 0);
		assert_takes(id, 0, 7, "kept");
	}
	assert_empty(id);
}

static void a_killed_sender_leaves_no_trace(void **state)
{
	(void)state;
	for (int i = 0; i < 30; i++) {
		int id = full_queue(10, 1);
		assert_killed(SENDER(id, 2, 5));
		assert_holds(id, 1, 10);
		assert_int_equal(take_err(id, 0), 0);
		assert_int_equal(msg_stat(id).msg_lspid, getpid());
		assert_empty(id);
		assert_int_equal(put_size(id, 3, 10), 0);
		assert_int_equal(msg_remove(id), 0);
	}
}

static void sleepers_end_by_any_signal_and_leave_no_trace(void **state)
{
	(void)state;
	static const int sig[] = {SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGUSR1, SIGSEGV, SIGABRT};
	int id = full_queue(10, 1);

	for (size_t i = 0; i < sizeof(sig) / sizeof(*sig); i++) {
		struct sleeper *r = RECEIVER(id, 2), *s = SENDER(id, 3, 1);
		kill(r->pid, sig[i]);
		kill(s->pid, sig[i]);
		assert_ends(r, 1000 + sig[i]);
		assert_ends(s, 1000 + sig[i]);
		assert_holds(id, 1, 10);
	}
	assert_int_equal(take_err(id, 1), 0);
	assert_empty(id);
	assert_int_equal(put(id, 2, "kept"), 0);
	assert_takes(id, 0, 2, "kept");
}

static void the_others_keep_their_turn_when_receivers_are_killed(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *s[5];

	for (int i = 0; i < 5; i++)
		s[i] = RECEIVER(id, 0);
	assert_killed(s[0]); /* the first, the last, one between */
	assert_killed(s[4]);
	assert_killed(s[2]);
	assert_int_equal(put(id, 1, "a"), 0);
	assert_int_equal(msg_stat(id).msg_lrpid, s[1]->pid);
	assert_int_equal(put(id, 2, "b"), 0);
	assert_int_equal(msg_stat(id).msg_lrpid, s[3]->pid);
	assert_int_equal(put(id, 3, "c"), 0);
	assert_holds(id, 1, 1);
	assert_got(s[1], 1, "a");
	assert_got(s[3], 2, "b");
}

static void the_other_senders_get_through_when_some_are_killed(void **state)
{
	(void)state;
	int id = full_queue(10, 1);
	struct sleeper *s[5];

	for (int i = 0; i < 5; i++)
		s[i] = SENDER(id, 2 + i, 5);
	assert_killed(s[0]);
	assert_killed(s[4]);
	assert_killed(s[2]);
	assert_int_equal(take_err(id, 1), 0);
	assert_sent(s[1]);
	assert_sent(s[3]);
	assert_holds(id, 2, 10);
	assert_int_equal(take_err(id, 3), 0);
	assert_int_equal(take_err(id, 5), 0);
	assert_empty(id);
}

static void a_message_sent_after_the_wait_for_a_killed_receiver_is_not_lost(void **state)
{
	(void)state;
	int id = msg_new(0600);

	for (int i = 0; i < 30; i++) {
		struct sleeper *dead = RECEIVER(id, 0), *alive = RECEIVER(id, 0);
		assert_killed(dead);
		assert_int_equal(put(id, 1, "x"), 0);
		assert_got(alive, 1, "x");
		assert_empty(id);
	}
}

static void room_made_after_the_wait_for_a_killed_sender_is_not_lost(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		int id = full_queue(10, 1);
		struct sleeper *dead = SENDER(id, 2, 10), *alive = SENDER(id, 3, 10);
		assert_killed(dead);
		assert_int_equal(take_err(id, 1), 0);
		assert_sent(alive);
		assert_int_equal(take_err(id, 3), 0);
		assert_empty(id);
	}
}

static void many_sleepers_killed_at_once_leave_no_trace(void **state)
{
	(void)state;
	enum {
		N = 40
	};
	int id = full_queue(100, 1);
	struct sleeper *s[N];

	for (int i = 0; i < N; i++)
		s[i] = sleeper_go(i % 2 ? sender_new(id, 2, 50) : receiver_new(id, 10, 2, 0));
	for (int i = 0; i < N; i++)
		assert_true(sleeper_sleeps(s[i]));
	for (int i = 0; i < N; i++)
		kill(s[i]->pid, SIGKILL);
	for (int i = 0; i < N; i++)
		assert_ends(s[i], 1000 + SIGKILL);
	assert_holds(id, 1, 100);
	assert_int_equal(take_err(id, 0), 0);
	assert_empty(id);
	assert_int_equal(put(id, 2, "kept"), 0);
	assert_holds(id, 1, 4);
}

static int send_and_receive_for_ever(void *arg)
{
	int id = *(int *)arg;

	for (long i = 0;; i++) {
		NEED(put_size(id, 1 + i % 5, (size_t)(i * 37 % 300)) == 0);
		NEED(put_size(id, 6, (size_t)(i * 11 % 5000)) == 0);
		NEED(take(id, TEXT_MAX, 6, 0).err == 0);
		NEED(take(id, TEXT_MAX, -5, 0).err == 0);
	}
}

static void SIGKILL_at_any_moment_leaves_a_working_queue(void **state)
{
	(void)state;
	int id = msg_new(0600);

	for (int i = 0; i < 150; i++) {
		pid_t pid = child_start(send_and_receive_for_ever, &id);
		usleep((useconds_t)(300 + i * 19));
		assert_int_equal(child_kill(pid), 1000 + SIGKILL);
		unsigned long bytes = 0, n = 0;
		struct msqid_ds ds = msg_stat(id);
		struct got got;
		while ((got = take(id, TEXT_MAX, 0, IPC_NOWAIT)).err == 0) {
			assert_true(text_is_filled(got.m.text, got.m.type, (size_t)got.size));
			bytes += (size_t)got.size;
			n++;
		}
		assert_true(n <= 2);
		assert_int_equal(ds.msg_qnum, n);
		assert_int_equal(ds.msg_cbytes, bytes);
		assert_int_equal(put(id, 1, "x"), 0);
		assert_takes(id, 0, 1, "x");
		assert_empty(id);
	}
}

static int send_numbers_for_ever(void *arg)
{
	int id = *(int *)arg;

	for (long i = 1;; i++)
		NEED(ERR(msgsnd(id, &i, 0, 0)) == 0);
}

static void what_a_killed_sender_sent_has_no_gap(void **state)
{
	(void)state;
	for (int round = 0; round < 50; round++) {
		int id = msg_new_of(round % 2 ? 5 : 1000);
		pid_t pid = child_start(send_numbers_for_ever, &id);
		long next = 1, type;
		for (int i = 0; i < round * 5; i++) {
			assert_int_equal(msgrcv(id, &type, 0, 0, 0), 0);
			assert_int_equal(type, next++);
		}
		assert_int_equal(child_kill(pid), 1000 + SIGKILL);
		while (msgrcv(id, &type, 0, 0, IPC_NOWAIT) == 0)
			assert_int_equal(type, next++);
		assert_int_equal(errno, ENOMSG);
		assert_empty(id);
		assert_int_equal(msg_remove(id), 0);
	}
}

struct noted {
	int id;
	_Atomic long sum, n;
};

static int receive_for_ever(void *arg)
{
	struct noted *noted = arg;
	long type;

	for (;;) {
		NEED(msgrcv(noted->id, &type, 0, 0, 0) == 0);
		noted->sum += type;
		noted->n++;
	}
}

/* What a receiver has in hand when it is killed may be lost; no other, and none comes twice. */
static void killed_receivers_lose_at_most_what_they_had_in_hand(void **state)
{
	(void)state;
	struct noted *noted = shared_new(sizeof(*noted));

	noted->id = msg_new(0600);
	for (int round = 0; round < 60; round++) {
		pid_t pid = child_start(receive_for_ever, noted);
		noted->sum = noted->n = 0;
		long sent = 0, left = 0, type;
		for (long i = 1; i <= 20 + round; i++, sent++)
			assert_int_equal(ERR(msgsnd(noted->id, &i, 0, IPC_NOWAIT)), 0);
		usleep((useconds_t)(round * 10));
		assert_int_equal(child_kill(pid), 1000 + SIGKILL);
		while (msgrcv(noted->id, &type, 0, 0, IPC_NOWAIT) == 0)
			left++;
		assert_between(sent - 1, noted->n + left, sent);
		assert_empty(noted->id);
	}
	munmap(noted, sizeof(*noted));
}

static int make_for_ever(void *arg)
{
	key_t key = *(key_t *)arg;

	for (;;) {
		int id = msgget(key, IPC_CREAT | IPC_EXCL | 0600);
		NEED(id >= 0);
		NEED(put(id, 1, "x") == 0);
		NEED(msgctl(id, IPC_RMID, NULL) == 0);
	}
}

static void SIGKILL_while_making_and_removing_leaves_all_or_nothing(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		key_t key = msg_free_key();
		pid_t pid = child_start(make_for_ever, &key);
		usleep((useconds_t)(300 + i * 31));
		assert_int_equal(child_kill(pid), 1000 + SIGKILL);
		int id = msg_get(key, 0600);
		if (id < 0) {
			assert_int_equal(errno, ENOENT);
		} else {
			unsigned long n = msg_qnum(id);
			assert_holds(id, n, n);
			assert_true(n <= 1);
			assert_int_equal(take_err(id, 0), n ? 0 : ENOMSG);
			assert_int_equal(msg_remove(id), 0);
		}
		id = msg_get(key, IPC_CREAT | IPC_EXCL | 0600);
		assert_true(id >= 0);
		assert_empty(id);
		assert_int_equal(msg_remove(id), 0);
	}
}

/* --- signals: always in a child, which has its handlers to itself --- */

static volatile sig_atomic_t handled, handler_failed;
static volatile int handler_id;
static sigjmp_buf handler_out;

static void on_signal(int sig)
{
	(void)sig;
	handled++;
}

/* In a child: installs the handler, and starts counting anew. */
static void catch_signal(int sig, void (*handler)(int), int flags)
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = flags};

	handled = handler_failed = 0;
	NEED(sigaction(sig, &sa, NULL) == 0);
}

/* One that has a handler for SIGUSR1. */
static struct sleeper *handler_start(struct sleeper *s, int flags)
{
	s->catches = true;
	s->handler_flags = flags;
	return sleeper_start(s);
}

static void a_handler_interrupts_a_receiver_whatever_SA_RESTART_says(void **state)
{
	(void)state;
	int id = msg_new(0600);

	for (int i = 0; i < 6; i++) {
		struct sleeper *s =
			handler_start(receiver_new(id, 10, i % 3 - 1, 0), i / 3 ? SA_RESTART : 0);
		kill(s->pid, SIGUSR1);
		assert_ends(s, EINTR);
		assert_int_equal((unsigned char)s->got.m.text[0], 0xa5);
		assert_int_equal(put(id, 1, "x"), 0);
		assert_holds(id, 1, 1);
		assert_takes(id, 0, 1, "x");
	}
}

static void a_handler_interrupts_a_sender_whatever_SA_RESTART_says(void **state)
{
	(void)state;
	for (int i = 0; i < 6; i++) {
		int id = full_queue(10, 1);
		struct sleeper *s = handler_start(sender_new(id, 2, 5), i % 2 ? SA_RESTART : 0);
		kill(s->pid, SIGUSR1);
		assert_ends(s, EINTR);
		assert_holds(id, 1, 10);
		assert_int_equal(take_err(id, 0), 0);
		assert_empty(id);
		assert_int_equal(msg_stat(id).msg_lspid, getpid());
	}
}

static void an_interrupted_receiver_is_passed_over(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *first = handler_start(receiver_new(id, 10, 0, 0), SA_RESTART),
		       *second = RECEIVER(id, 0);

	kill(first->pid, SIGUSR1);
	assert_ends(first, EINTR);
	assert_int_equal(put(id, 1, "x"), 0);
	assert_got(second, 1, "x");
}

static void an_interrupted_sender_is_passed_over(void **state)
{
	(void)state;
	int id = full_queue(10, 1);
	struct sleeper *first = handler_start(sender_new(id, 2, 10), SA_RESTART),
		       *second = SENDER(id, 3, 10);

	kill(first->pid, SIGUSR1);
	assert_ends(first, EINTR);
	assert_int_equal(take_err(id, 1), 0);
	assert_sent(second);
	assert_int_equal(take_err(id, 3), 0);
	assert_empty(id);
}

static int sleep_with_ignored(void *arg)
{
	sigset_t set;

	signal(SIGUSR1, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	NEED(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	return sleeper_run(arg);
}

static void a_signal_that_is_ignored_or_blocked_does_not_interrupt(void **state)
{
	(void)state;
	int id = full_queue(10, 1);
	struct sleeper *s[2] = {receiver_new(id, 10, 2, 0), sender_new(id, 2, 5)};

	for (int j = 0; j < 2; j++) {
		s[j]->pid = child_start(sleep_with_ignored, s[j]);
		assert_true(sleeper_sleeps(s[j]));
		for (int i = 0; i < 20; i++) {
			kill(s[j]->pid, SIGUSR1);  /* ignored */
			kill(s[j]->pid, SIGUSR2);  /* blocked */
			kill(s[j]->pid, SIGCHLD);  /* ignored by default */
			kill(s[j]->pid, SIGWINCH); /* so, too */
			kill(s[j]->pid, SIGCONT);  /* it is not stopped */
		}
		assert_sleeps(s[j]);
	}
	assert_int_equal(take_err(id, 1), 0);
	assert_sent(s[1]);
	assert_got_size(s[0], 2, 5);
	assert_holds(id, 0, 0);
}

static void a_signal_while_it_need_not_sleep_interrupts_nothing(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sigaction sa = {.sa_handler = on_signal}, old;

	assert_int_equal(sigaction(SIGUSR1, &sa, &old), 0);
	handled = 0;
	raise(SIGUSR1);
	assert_int_equal(put(id, 1, "x"), 0);
	raise(SIGUSR1);
	assert_int_equal(take(id, 10, 0, 0).err, 0);
	assert_int_equal(handled, 2);
	assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
}

static void stop(struct sleeper *s)
{
	int status;

	kill(s->pid, SIGSTOP);
	assert_int_equal(waitpid(s->pid, &status, WUNTRACED), s->pid);
	assert_true(WIFSTOPPED(status));
}

/* Unlike semop(), these calls go on after a stop: no handler ran. */
static void a_sleeper_that_is_stopped_and_continued_sleeps_on(void **state)
{
	(void)state;
	int id = full_queue(10, 1);
	struct sleeper *r = RECEIVER(id, 2), *s = SENDER(id, 3, 5);

	for (int i = 0; i < 5; i++) {
		stop(r);
		stop(s);
		kill(r->pid, SIGCONT);
		kill(s->pid, SIGCONT);
		assert_sleeps(r);
		assert_sleeps(s);
	}
	assert_int_equal(take_err(id, 1), 0);
	assert_sent(s);
	assert_int_equal(put(id, 2, "x"), 0);
	assert_got(r, 2, "x");
	assert_holds(id, 1, 5);
}

static void what_comes_for_a_stopped_sleeper_is_there_when_it_continues(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++) {
		int id = full_queue(10, 1);
		struct sleeper *r = RECEIVER(id, 2), *s = SENDER(id, 3, 5);
		stop(r);
		stop(s);
		assert_int_equal(take_err(id, 1), 0);
		assert_int_equal(put(id, 2, "x"), 0);
		assert_true(child_lives(r->pid) && child_lives(s->pid));
		kill(r->pid, SIGCONT);
		kill(s->pid, SIGCONT);
		assert_got(r, 2, "x");
		assert_sent(s);
		assert_holds(id, 1, 5);
		assert_int_equal(msg_remove(id), 0);
	}
}

static void a_stopped_receiver_and_another_get_one_each(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++) {
		int id = msg_new(0600);
		struct sleeper *a = RECEIVER(id, 0), *b = RECEIVER(id, 0);
		stop(a);
		assert_int_equal(put(id, 1, "x"), 0);
		assert_int_equal(put(id, 2, "x"), 0);
		kill(a->pid, SIGCONT);
		assert_int_equal(child_wait(a->pid), 0);
		assert_int_equal(child_wait(b->pid), 0);
		assert_int_equal(a->got.m.type + b->got.m.type, 3);
		assert_empty(id);
	}
}

/* The kernel calls anew, so to it the id is stale by then; who slept through it gets EIDRM. */
static void a_queue_removed_under_a_stopped_sleeper_is_EIDRM_or_EINVAL(void **state)
{
	(void)state;
	int id = full_queue(10, 1);
	struct sleeper *s[2] = {RECEIVER(id, 2), SENDER(id, 3, 5)};

	stop(s[0]);
	stop(s[1]);
	assert_int_equal(msg_remove(id), 0);
	for (int i = 0; i < 2; i++) {
		kill(s[i]->pid, SIGCONT);
		int rc = child_wait(s[i]->pid);
		assert_true(rc == EINVAL || rc == EIDRM);
	}
}

static int sleep_and_catch_SIGCONT(void *arg)
{
	catch_signal(SIGCONT, on_signal, SA_RESTART);
	int rc = sleeper_run(arg);
	NEED(handled == 1);
	return rc;
}

static void a_handler_for_SIGCONT_interrupts_stopped_or_not(void **state)
{
	(void)state;
	int id = full_queue(10, 1);

	for (int i = 0; i < 4; i++) {
		struct sleeper *s = i % 2 ? receiver_new(id, 10, 2, 0) : sender_new(id, 2, 5);
		s->pid = child_start(sleep_and_catch_SIGCONT, s);
		assert_true(sleeper_sleeps(s));
		if (i / 2)
			stop(s);
		kill(s->pid, SIGCONT);
		assert_ends(s, EINTR);
		assert_holds(id, 1, 10);
	}
}

struct signalled {
	int id;
	_Atomic int step;
};

static void on_signal_send(int sig)
{
	int old = errno;

	(void)sig;
	if (put(handler_id, 5, "from the handler") || msg_qnum(handler_id) != 1)
		handler_failed = 1;
	handled++;
	errno = old;
}

static int receive_and_send_in_handler(void *arg)
{
	struct signalled *g = arg;

	handler_id = g->id;
	catch_signal(SIGUSR1, on_signal_send, SA_RESTART);
	g->step = 1;
	NEED(take(g->id, TEXT_MAX, 0, 0).err == EINTR);
	NEED(handled == 1 && !handler_failed);
	NEED(take_is(g->id, 0, 5, "from the handler")); /* the call was over before it ran */
	return 0;
}

static void a_handler_may_send_to_what_it_interrupted_and_it_is_EINTR_still(void **state)
{
	(void)state;
	struct signalled *g = shared_new(sizeof(*g));

	g->id = msg_new(0600);
	pid_t pid = child_start(receive_and_send_in_handler, g);
	assert_true(AWAIT(g->step == 1) && AWAIT_ASLEEP(pid));
	kill(pid, SIGUSR1);
	assert_int_equal(child_wait(pid), 0);
	assert_empty(g->id);
	munmap(g, sizeof(*g));
}

static void on_signal_take(int sig)
{
	int old = errno;

	(void)sig;
	if (take_err(handler_id, 1) || take_err(handler_id, 0) != ENOMSG)
		handler_failed = 1;
	handled++;
	errno = old;
}

static int send_and_take_in_handler(void *arg)
{
	struct signalled *g = arg;
	struct message m = {2, ""};

	handler_id = g->id;
	catch_signal(SIGUSR1, on_signal_take, SA_RESTART);
	g->step = 1;
	NEED(ERR(msgsnd(g->id, &m, 5, 0)) == EINTR);
	NEED(handled == 1 && !handler_failed);
	return 0;
}

static void a_handler_may_make_room_where_it_interrupted_and_it_is_EINTR_still(void **state)
{
	(void)state;
	struct signalled *g = shared_new(sizeof(*g));

	g->id = full_queue(10, 1);
	pid_t pid = child_start(send_and_take_in_handler, g);
	assert_true(AWAIT(g->step == 1) && AWAIT_ASLEEP(pid));
	kill(pid, SIGUSR1);
	assert_int_equal(child_wait(pid), 0);
	assert_empty(g->id);
	munmap(g, sizeof(*g));
}

static void on_signal_jump(int sig)
{
	(void)sig;
	siglongjmp(handler_out, 1);
}

static int sleep_and_jump_out(void *arg)
{
	struct signalled *g = arg;
	static struct message m;

	catch_signal(SIGUSR1, on_signal_jump, 0);
	for (volatile int i = 0; i < 6; i++) {
		if (sigsetjmp(handler_out, 1) == 0) {
			m.type = 2;
			g->step = i + 1;
			if (i % 2)
				msgsnd(g->id, &m, 5, 0);
			else
				msgrcv(g->id, &m, 5, 2, 0);
			NEED(!"the call returned");
		}
		NEED(msg_qnum(g->id) == 1 && msg_cbytes(g->id) == 10);
	}
	NEED(take_err(g->id, 1) == 0);
	NEED(put(g->id, 2, "x") == 0);
	NEED(take_is(g->id, 0, 2, "x"));
	return 0;
}

static void a_handler_may_jump_out_of_a_sleeping_call(void **state)
{
	(void)state;
	struct signalled *g = shared_new(sizeof(*g));

	g->id = full_queue(10, 1);
	pid_t pid = child_start(sleep_and_jump_out, g);
	for (int i = 0; i < 6; i++) {
		assert_true(AWAIT(g->step == i + 1) && AWAIT_ASLEEP(pid));
		kill(pid, SIGUSR1);
	}
	assert_int_equal(child_wait(pid), 0);
	assert_empty(g->id);
	munmap(g, sizeof(*g));
}

static struct signalled *handler_step;

static void on_signal_sleep(int sig)
{
	struct message m;
	int old = errno;

	(void)sig;
	handler_step->step = 2;
	if (msgrcv(handler_id, &m, 10, 2, 0) != 1 || m.text[0] != 'h')
		handler_failed = 1;
	handled++;
	errno = old;
}

static int sleep_and_sleep_in_handler(void *arg)
{
	struct signalled *g = handler_step = arg;

	handler_id = g->id;
	catch_signal(SIGUSR1, on_signal_sleep, 0);
	g->step = 1;
	NEED(take(g->id, 10, 1, 0).err == EINTR);
	NEED(handled == 1 && !handler_failed);
	return 0;
}

static void a_handler_may_sleep_in_the_same_queue(void **state)
{
	(void)state;
	struct signalled *g = shared_new(sizeof(*g));

	g->id = msg_new(0600);
	pid_t pid = child_start(sleep_and_sleep_in_handler, g);
	assert_true(AWAIT(g->step == 1) && AWAIT_ASLEEP(pid));
	kill(pid, SIGUSR1);
	assert_true(AWAIT(g->step == 2) && AWAIT_ASLEEP(pid));
	assert_int_equal(put(g->id, 1, "r"), 0);
	assert_holds(g->id, 1, 1); /* the receive that was interrupted is over */
	assert_int_equal(put(g->id, 2, "h"), 0);
	assert_int_equal(child_wait(pid), 0);
	assert_holds(g->id, 1, 1);
	munmap(g, sizeof(*g));
}

static void timer_start(void (*handler)(int))
{
	struct itimerval every_ms = {{0, 1000}, {0, 1000}};

	catch_signal(SIGALRM, handler, SA_RESTART);
	NEED(setitimer(ITIMER_REAL, &every_ms, NULL) == 0);
}

static void timer_stop(void)
{
	NEED(setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL) == 0);
	signal(SIGALRM, SIG_DFL);
	alarm(CONFORM_LIMIT_S / 2);
}

static void on_timer(int sig)
{
	int old = errno;

	(void)sig;
	if (put(handler_id, 9, "timer") || put_size(handler_id, 8, 100) || take_err(handler_id, 8))
		handler_failed = 1;
	if (handled % 4 && !take_is(handler_id, 9, 9, "timer"))
		handler_failed = 1;
	handled++;
	errno = old;
}

static int work_under_timer(void *arg)
{
	int64_t until = now_ms() + 500;
	int loops = 0;

	handler_id = *(int *)arg;
	timer_start(on_timer);
	while (now_ms() < until) {
		NEED(put_size(handler_id, 1, (size_t)loops % 500) == 0);
		NEED(put(handler_id, 2, "two") == 0);
		struct got got = take(handler_id, TEXT_MAX, 1, 0);
		NEED(got.size == loops % 500 && text_is_filled(got.m.text, 1, (size_t)got.size));
		NEED(take_is(handler_id, -2, 2, "two"));
		loops++;
	}
	timer_stop();
	NEED(loops > 10 && handled > 10 && !handler_failed);
	NEED(msg_qnum(handler_id) == ((unsigned)handled + 3) / 4);
	return 0;
}

static void a_handler_that_uses_the_queue_at_any_moment_loses_nothing(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(child_run(work_under_timer, &id), 0);
	unsigned long n = msg_qnum(id);
	assert_true(n > 2);
	assert_holds(id, n, n * 5);
	while (n--)
		assert_takes(id, 0, 9, "timer");
	assert_empty(id);
}

enum {
	NUMBERS = 4000
};

static int receive_interrupted(void *arg)
{
	int id = *(int *)arg, interrupted = 0;
	long type;

	timer_start(on_signal);
	for (long i = 1; i <= NUMBERS; i++) {
		int rc;
		do {
			rc = ERR(msgrcv(id, &type, 0, 0, 0));
			interrupted += rc == EINTR;
		} while (rc == EINTR);
		NEED(rc == 0 && type == i);
	}
	timer_stop();
	NEED(interrupted <= handled);
	return 0;
}

static void what_an_interrupted_receiver_did_not_get_is_there_still(void **state)
{
	(void)state;
	int id = msg_new_of(100);
	pid_t pid = child_start(receive_interrupted, &id);

	for (long i = 1; i <= NUMBERS; i++) {
		assert_int_equal(ERR(msgsnd(id, &i, 0, 0)), 0);
		if (i % 20 == 0)
			usleep(400); /* so that it sleeps now and then */
	}
	assert_int_equal(child_wait(pid), 0);
	assert_empty(id);
}

static int send_interrupted(void *arg)
{
	int id = *(int *)arg;

	timer_start(on_signal);
	for (long i = 1; i <= NUMBERS; i++) {
		int rc;
		do {
			rc = ERR(msgsnd(id, &i, 0, 0));
		} while (rc == EINTR);
		NEED(rc == 0);
	}
	timer_stop();
	return 0;
}

static void what_an_interrupted_sender_sends_again_comes_once(void **state)
{
	(void)state;
	int id = msg_new_of(10);
	pid_t pid = child_start(send_interrupted, &id);
	long type;

	for (long i = 1; i <= NUMBERS; i++) {
		assert_int_equal(ERR(msgrcv(id, &type, 0, 0, 0)), 0);
		assert_int_equal(type, i);
		if (i % 20 == 0)
			usleep(400);
	}
	assert_int_equal(child_wait(pid), 0);
	assert_empty(id);
}

/* A jump hides what the call returned; the buffer tells. */
static int receive_and_jump(void *arg)
{
	static volatile long type, next;
	int id = *(int *)arg;
	sigset_t set;

	type = 0;
	next = 1;
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	if (sigsetjmp(handler_out, 1) == 0)
		timer_start(on_signal_jump);
	while (next <= NUMBERS) {
		if (type) {
			NEED(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
			NEED(type == next);
			next++;
			type = 0;
			NEED(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
			continue;
		}
		int rc = ERR(msgrcv(id, (void *)&type, 0, 0, 0));
		NEED(rc == 0 || rc == EINTR);
		NEED((rc == 0) == (type != 0));
	}
	timer_stop();
	return 0;
}

static void a_jump_out_of_msgrcv_at_any_moment_takes_all_or_nothing(void **state)
{
	(void)state;
	int id = msg_new_of(100);
	pid_t pid = child_start(receive_and_jump, &id);

	for (long i = 1; i <= NUMBERS; i++) {
		assert_int_equal(ERR(msgsnd(id, &i, 0, 0)), 0);
		if (i % 20 == 0)
			usleep(400);
	}
	assert_int_equal(child_wait(pid), 0);
	assert_empty(id);
}

struct tried {
	int id;
	_Atomic int sure[NUMBERS + 1];
};

static int send_and_jump(void *arg)
{
	struct tried *t = arg;
	static volatile long next;
	long type;

	next = 1;
	if (sigsetjmp(handler_out, 1) == 0)
		timer_start(on_signal_jump);
	while (next <= NUMBERS) {
		type = next++; /* each is tried once */
		int rc = ERR(msgsnd(t->id, &type, 0, 0));
		if (rc == 0)
			t->sure[type] = 1;
		NEED(rc == 0 || rc == EINTR);
	}
	timer_stop();
	return 0;
}

static void a_jump_out_of_msgsnd_at_any_moment_sends_once_or_not(void **state)
{
	(void)state;
	struct tried *t = shared_new(sizeof(*t));
	static int seen[NUMBERS + 1];
	long last = 0, type;

	t->id = msg_new_of(10);
	pid_t pid = child_start(send_and_jump, t);
	do {
		int rc = ERR(msgrcv(t->id, &type, 0, 0, IPC_NOWAIT));
		if (rc == ENOMSG) {
			usleep(100);
			continue;
		}
		assert_int_equal(rc, 0);
		assert_true(type > last);
		seen[last = type] = 1;
	} while (child_lives(pid) || msg_qnum(t->id));
	assert_int_equal(child_wait(pid), 0);
	for (int i = 1; i <= NUMBERS; i++)
		assert_true(seen[i] >= t->sure[i]);
	assert_empty(t->id);
	munmap(t, sizeof(*t));
}

/* --- removal --- */

static void removal_wakes_every_sleeper_with_EIDRM(void **state)
{
	(void)state;
	int id = full_queue(10, 1);
	struct sleeper *s[] = {RECEIVER(id, 2),	   SENDER(id, 3, 5),
			       RECEIVER(id, 9),	   RECEIVER_OF(id, 5, 1, MSG_EXCEPT),
			       SENDER(id, 3, 100), RECEIVER_OF(id, 0, 7, MSG_NOERROR)};

	assert_int_equal(msg_remove(id), 0);
	for (size_t i = 0; i < sizeof(s) / sizeof(*s); i++)
		assert_ends(s[i], EIDRM);
	assert_true(msg_gone(id));
	assert_int_equal(put(id, 1, "x"), EINVAL);
}

static void removal_while_a_hundred_sleep(void **state)
{
	(void)state;
	enum {
		N = 100
	};
	int id = full_queue(10, 1);
	struct sleeper *s[N];

	for (int i = 0; i < N; i++)
		s[i] = sleeper_go(i % 2 ? receiver_new(id, 10, 2, 0) : sender_new(id, 2, 5));
	for (int i = 0; i < N; i++)
		assert_true(sleeper_sleeps(s[i]));
	assert_int_equal(msg_remove(id), 0);
	for (int i = 0; i < N; i++)
		assert_ends(s[i], EIDRM);
}

static void a_handler_and_removal_at_once_are_EINTR_or_EIDRM(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++) {
		int id = full_queue(10, 1);
		struct sleeper *r = handler_start(receiver_new(id, 10, 2, 0), 0),
			       *s = handler_start(sender_new(id, 2, 5), 0);
		kill(r->pid, SIGUSR1);
		kill(s->pid, SIGUSR1);
		assert_int_equal(msg_remove(id), 0);
		int a = child_wait(r->pid), b = child_wait(s->pid);
		assert_true((a == EINTR || a == EIDRM) && (b == EINTR || b == EIDRM));
	}
}

static void the_key_can_be_made_anew_before_the_sleepers_have_left(void **state)
{
	(void)state;
	key_t key = msg_free_key();

	for (int i = 0; i < 30; i++) {
		int old = msg_get(key, IPC_CREAT | IPC_EXCL | 0600);
		struct sleeper *s = RECEIVER(old, 0);
		assert_int_equal(msg_remove(old), 0);
		assert_int_equal(ERR(msgget(key, 0)), ENOENT);
		int new = msg_get(key, IPC_CREAT | IPC_EXCL | 0600);
		assert_true(new >= 0 && new != old);
		assert_int_equal(put(new, 1, "x"), 0);
		assert_ends(s, EIDRM);
		assert_takes(new, 0, 1, "x");
		assert_int_equal(msg_remove(new), 0);
	}
}

static int remove_queue(void *arg)
{
	return msg_remove(*(int *)arg);
}

static void another_process_removes_under_sleepers(void **state)
{
	(void)state;
	int id = full_queue(10, 1);
	struct sleeper *r = RECEIVER(id, 2), *s = SENDER(id, 2, 5);

	assert_int_equal(child_run(remove_queue, &id), 0);
	assert_ends(r, EIDRM);
	assert_ends(s, EIDRM);
}

static void of_racing_removers_exactly_one_wins(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		int id = msg_new(0600), won = 0, lost = 0;
		pid_t pid[4];
		assert_int_equal(put(id, 1, "x"), 0);
		for (int i = 0; i < 4; i++)
			pid[i] = child_start(remove_queue, &id);
		for (int i = 0; i < 4; i++) {
			int rc = child_wait(pid[i]);
			won += rc == 0;
			lost += rc == EINVAL || rc == EIDRM;
		}
		assert_int_equal(won, 1);
		assert_int_equal(lost, 3);
	}
}

static int use_until_removed(void *arg)
{
	int id = *(int *)arg, rc;
	struct message m = {1, ""};

	do {
		rc = ERR(msgsnd(id, &m, 30, 0));
		if (rc == 0)
			rc = ERR(msgrcv(id, &m, 30, 0, 0));
	} while (rc == 0);
	return rc;
}

static void removal_while_others_work_ends_each_with_EINVAL_or_EIDRM(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		int id = msg_new_of(round % 2 ? 40 : 1000);
		pid_t pid[3];
		for (int i = 0; i < 3; i++)
			pid[i] = child_start(use_until_removed, &id);
		assert_true(AWAIT(msg_stat(id).msg_rtime != 0));
		usleep((useconds_t)(round * 100));
		assert_int_equal(msg_remove(id), 0);
		for (int i = 0; i < 3; i++) {
			int rc = child_wait(pid[i]);
			assert_true(rc == EINVAL || rc == EIDRM);
		}
	}
}

/* --- fork, exec, threads --- */

struct sleeping_thread {
	int id;
	int way;
	_Atomic int go;
	_Atomic pid_t tid;
	struct got got;
	int rc; /* of sending */
	pthread_t thread;
};

/* For memory that only one process sees, or more: a thread of the caller, or of its child. */
static struct sleeping_thread *thread_new(int id)
{
	struct sleeping_thread *t = shared_new(sizeof(*t));

	assert_non_null(t);
	t->id = id;
	t->got.err = -1;
	t->rc = -1;
	return t;
}

static void *receive_in_thread(void *arg)
{
	struct sleeping_thread *t = arg;

	t->tid = (pid_t)syscall(SYS_gettid);
	t->got = take(t->id, TEXT_MAX, 0, 0);
	return NULL;
}

static bool thread_sleeps(struct sleeping_thread *t, pid_t pid)
{
	return AWAIT(t->tid && task_sleeps(pid, t->tid));
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void a_fork_while_a_thread_sleeps_does_not_copy_the_sleeper(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeping_thread *t = thread_new(id);
	struct held held = {0};

	assert_int_equal(pthread_create(&t->thread, NULL, receive_in_thread, t), 0);
	assert_true(thread_sleeps(t, getpid()));
	assert_true(held_start(&held, nothing, NULL));
	assert_int_equal(held_kill(&held), 1000 + SIGKILL);
	assert_true(held_start(&held, nothing, NULL));
	assert_int_equal(put(id, 1, "x"), 0);
	assert_int_equal(put(id, 1, "y"), 0);
	assert_holds(id, 1, 1);
	assert_int_equal(pthread_join(t->thread, NULL), 0);
	assert_true(got_is(&t->got, 1, "x"));
	assert_int_equal(held_kill(&held), 1000 + SIGKILL);
	munmap(t, sizeof(*t));
}

static int end_while_a_thread_sleeps(void *arg)
{
	struct sleeping_thread *t = arg;

	NEED(pthread_create(&t->thread, NULL, receive_in_thread, t) == 0);
	NEED(thread_sleeps(t, getpid()));
	switch (t->way) {
	case 0:
		_exit(0);
	case 1:
		exit(0);
	case 2:
		execlp("true", "true", (char *)NULL);
		break;
	case 3:
		kill(getpid(), SIGKILL);
		pause();
	}
	return 98;
}

static void an_end_or_exec_takes_its_sleeping_threads_along(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct sleeping_thread *t = thread_new(msg_new(0600));
		t->way = way;
		int rc = child_run(end_while_a_thread_sleeps, t);
		assert_int_equal(rc, way == 3 ? 1000 + SIGKILL : 0);
		assert_int_equal(put(t->id, 1, "kept"), 0);
		assert_holds(t->id, 1, 4);
		assert_int_equal(msg_stat(t->id).msg_lrpid, 0);
		munmap(t, sizeof(*t));
	}
}

struct execed {
	struct sleeping_thread *t;
	int in;
};

static int exec_while_a_thread_sleeps(void *arg)
{
	struct execed *e = arg;

	NEED(pthread_create(&e->t->thread, NULL, receive_in_thread, e->t) == 0);
	NEED(thread_sleeps(e->t, getpid()));
	dup2(e->in, 0);
	dup2(open("/dev/null", O_WRONLY), 1);
	execlp("head", "head", "-n", "1", (char *)NULL);
	return 127;
}

static bool process_is_named(pid_t pid, const char *want)
{
	char path[64], name[32] = "";

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	bool same = fgets(name, sizeof(name), f) && strcmp(name, want) == 0;
	fclose(f);
	return same;
}

static void after_exec_of_another_program_the_sleeping_thread_is_gone(void **state)
{
	(void)state;
	int in[2];

	assert_int_equal(pipe(in), 0);
	struct execed e = {thread_new(msg_new(0600)), in[0]};
	pid_t pid = child_start(exec_while_a_thread_sleeps, &e);
	assert_true(AWAIT(process_is_named(pid, "head\n")));
	assert_int_equal(put(e.t->id, 1, "kept"), 0);
	assert_holds(e.t->id, 1, 4);
	(void)!write(in[1], "\n", 1);
	assert_int_equal(child_wait(pid), 0);
	close(in[0]);
	close(in[1]);
	munmap(e.t, sizeof(*e.t));
}

static int main_thread_ends(void *arg)
{
	struct sleeping_thread *t = arg;

	NEED(pthread_create(&t->thread, NULL, receive_in_thread, t) == 0);
	pthread_exit(NULL);
}

static void a_sleeping_thread_outlives_the_main_thread(void **state)
{
	(void)state;
	int id = msg_new(0600);

	for (int i = 0; i < 2; i++) {
		struct sleeping_thread *t = thread_new(id);
		pid_t pid = child_start(main_thread_ends, t);
		assert_true(AWAIT(t->tid && task_sleeps(pid, t->tid)));
		if (i == 0) {
			assert_int_equal(put(id, 1, "x"), 0);
			assert_int_equal(child_wait(pid), 0);
			assert_true(got_is(&t->got, 1, "x"));
		} else {
			assert_int_equal(child_kill(pid), 1000 + SIGKILL);
			assert_int_equal(put(id, 1, "x"), 0);
			assert_takes(id, 0, 1, "x");
		}
		assert_empty(id);
		munmap(t, sizeof(*t));
	}
}

static int signal_one_thread(void *arg)
{
	int id = *(int *)arg;
	struct sleeping_thread *t[2] = {thread_new(id), thread_new(id)};

	catch_signal(SIGUSR1, on_signal, SA_RESTART);
	for (int i = 0; i < 2; i++) {
		NEED(pthread_create(&t[i]->thread, NULL, receive_in_thread, t[i]) == 0);
		NEED(thread_sleeps(t[i], getpid()));
	}
	NEED(pthread_kill(t[0]->thread, SIGUSR1) == 0);
	NEED(pthread_join(t[0]->thread, NULL) == 0);
	NEED(t[0]->got.err == EINTR);
	NEED(put(id, 1, "x") == 0);
	NEED(pthread_join(t[1]->thread, NULL) == 0);
	NEED(got_is(&t[1]->got, 1, "x"));
	NEED(msg_qnum(id) == 0);
	return 0;
}

static void a_signal_interrupts_its_thread_alone(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(child_run(signal_one_thread, &id), 0);
}

/* --- cancellation: msgsnd() and msgrcv() are cancellation points, the others are not --- */

static void *sleep_cancellable(void *arg)
{
	struct sleeping_thread *t = arg;
	struct message m = {2, ""};

	if (t->way & 1)
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	t->tid = (pid_t)syscall(SYS_gettid);
	if (t->way & 2)
		msgsnd(t->id, &m, 5, 0);
	else
		msgrcv(t->id, &m, 5, 2, 0);
	return NULL;
}

static int cancel_sleeping_thread(void *arg)
{
	int id = *(int *)arg;

	for (int way = 0; way < 4; way++) {
		struct sleeping_thread *t = thread_new(id);
		void *rc;
		t->way = way;
		NEED(pthread_create(&t->thread, NULL, sleep_cancellable, t) == 0);
		NEED(thread_sleeps(t, getpid()));
		NEED(pthread_cancel(t->thread) == 0);
		NEED(pthread_join(t->thread, &rc) == 0);
		NEED(rc == PTHREAD_CANCELED);
		NEED(msg_qnum(id) == 1 && msg_cbytes(id) == 10);
	}
	NEED(take_err(id, 1) == 0 && msg_qnum(id) == 0);
	NEED(put(id, 2, "x") == 0 && msg_qnum(id) == 1);
	NEED(take_is(id, 0, 2, "x"));
	return 0;
}

static void a_cancel_ends_a_sleep(void **state)
{
	(void)state;
	int id = full_queue(10, 1);

	assert_int_equal(child_run(cancel_sleeping_thread, &id), 0);
	assert_empty(id);
}

/* A cancel is pending when it calls, although it need not sleep. */
static void *call_when_cancelled(void *arg)
{
	struct sleeping_thread *t = arg;
	struct msqid_ds ds;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	t->tid = (pid_t)syscall(SYS_gettid);
	while (!t->go)
		usleep(100);
	if (t->way == 2) { /* with cancellation off these work, */
		t->rc = put(t->id, 2, "y");
		t->got = take(t->id, TEXT_MAX, 1, IPC_NOWAIT);
	}
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	if (t->way == 2) { /* and with it on, these */
		if (msg_new(0600) < 0 || msgctl(t->id, IPC_STAT, &ds))
			t->rc = -1;
		t->go = 2;
		pthread_testcancel();
	}
	if (t->way == 0)
		t->rc = put(t->id, 2, "z");
	if (t->way == 1)
		t->got = take(t->id, TEXT_MAX, 1, IPC_NOWAIT);
	return NULL;
}

static int cancel_before_the_call(void *arg)
{
	int id = *(int *)arg;

	for (int way = 0; way < 3; way++) {
		struct sleeping_thread *t = thread_new(id);
		void *rc;
		t->way = way;
		NEED(pthread_create(&t->thread, NULL, call_when_cancelled, t) == 0);
		NEED(AWAIT(t->tid));
		NEED(pthread_cancel(t->thread) == 0);
		t->go = 1;
		NEED(pthread_join(t->thread, &rc) == 0);
		NEED(rc == PTHREAD_CANCELED);
		if (way < 2) {
			NEED(t->rc == -1 && t->got.err == -1);
			NEED(msg_qnum(id) == 1 && msg_cbytes(id) == 1);
		} else {
			NEED(t->rc == 0 && got_is(&t->got, 1, "x") && t->go == 2);
			NEED(take_is(id, 0, 2, "y"));
		}
	}
	return 0;
}

static void a_pending_cancel_acts_before_anything_is_moved(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(put(id, 1, "x"), 0);
	assert_int_equal(child_run(cancel_before_the_call, &id), 0);
	assert_empty(id);
}

static void *sleep_uncancellable(void *arg)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	return receive_in_thread(arg);
}

static int cancel_in_vain(void *arg)
{
	struct sleeping_thread *t = thread_new(*(int *)arg);
	void *rc;

	NEED(pthread_create(&t->thread, NULL, sleep_uncancellable, t) == 0);
	NEED(thread_sleeps(t, getpid()));
	NEED(pthread_cancel(t->thread) == 0);
	NEED(thread_sleeps(t, getpid()));
	NEED(put(t->id, 1, "x") == 0);
	NEED(pthread_join(t->thread, &rc) == 0);
	NEED(rc == NULL && got_is(&t->got, 1, "x"));
	return 0;
}

static void a_cancel_that_is_disabled_does_not_end_a_sleep(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(child_run(cancel_in_vain, &id), 0);
	assert_empty(id);
}

/* --- threads at work --- */

static void *thread_work(void *arg)
{
	long failed = 0;

	(void)arg;
	for (int i = 0; i < 1000; i++) {
		int id = msg_new(0600);
		failed += id < 0;
		failed += put(id, 2, "two") != 0;
		failed += put(id, 1, "one") != 0;
		failed += !take_is(id, -2, 1, "one");
		failed += msg_qnum(id) != 1;
		failed += msg_remove(id) != 0;
		failed += !msg_gone(id);
	}
	return (void *)failed;
}

static void four_threads_make_use_and_remove(void **state)
{
	(void)state;
	pthread_t thread[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, thread_work, NULL), 0);
	for (int i = 0; i < 4; i++) {
		void *failed;
		assert_int_equal(pthread_join(thread[i], &failed), 0);
		assert_ptr_equal(failed, NULL);
	}
}

static void *thread_pass_on(void *arg)
{
	long failed = 0;
	struct message m;

	for (int i = 0; i < 1000; i++) {
		failed += msgrcv(*(int *)arg, &m, 10, 0, 0) != 5;
		failed += msgsnd(*(int *)arg, &m, 5, 0) != 0;
	}
	return (void *)failed;
}

static int pass_on_once(void *arg)
{
	struct message m;

	NEED(msgrcv(*(int *)arg, &m, 10, 0, 0) == 5);
	NEED(msgsnd(*(int *)arg, &m, 5, 0) == 0);
	return 0;
}

static void threads_use_one_queue_while_another_forks(void **state)
{
	(void)state;
	int id = msg_new(0600);
	pthread_t thread[3];

	assert_int_equal(put(id, 1, "token"), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, thread_pass_on, &id), 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(child_run(pass_on_once, &id), 0);
	for (int i = 0; i < 3; i++) {
		void *failed;
		assert_int_equal(pthread_join(thread[i], &failed), 0);
		assert_ptr_equal(failed, NULL);
	}
	assert_takes(id, 0, 1, "token");
	assert_empty(id);
}

static void a_vfork_child_may_wake_a_sleeper(void **state)
{
	(void)state;
	static struct message m = {1, "vfork"};
	int id = msg_new(0600);
	struct sleeper *s = RECEIVER(id, 0);

	pid_t pid = vfork();
	if (pid == 0)
		_exit(msgsnd(id, &m, 5, 0) ? 1 : 0);
	assert_int_equal(child_wait(pid), 0);
	assert_got(s, 1,
		   "vfork"); /* whose pid lspid is, POSIX leaves open: it has its parent's memory */
}

/* --- descriptors, credentials, lives --- */

static int close_everything(void *arg)
{
	int old = *(int *)arg;

	NEED(put(old, 1, "before") == 0); /* in use before, too */
	for (int fd = 0; fd < 1024; fd++)
		close(fd);
	int id = msg_new(0600);
	if (id < 0 || put(id, 1, "x") || take_err(id, 0))
		return 1;
	if (put(old, 2, "after"))
		return 2;
	if (msg_remove(id))
		return 3;
	if (open("/dev/null", O_RDWR) != 0 || open("/dev/null", O_RDWR) != 1)
		return 4; /* the lowest numbers are the program's */
	return 0;
}

static void a_program_that_closes_all_descriptors_goes_on(void **state)
{
	(void)state;
	int id = msg_new(0600);

	assert_int_equal(child_run(close_everything, &id), 0);
	assert_takes(id, 0, 1, "before");
	assert_takes(id, 0, 2, "after");
	assert_empty(id);
}

static int close_and_sleep(void *arg)
{
	for (int fd = 0; fd < 1024; fd++)
		close(fd);
	return sleeper_run(arg);
}

static void a_program_that_closed_all_descriptors_sleeps_and_dies_like_others(void **state)
{
	(void)state;
	int id = msg_new(0600);
	struct sleeper *s[2] = {receiver_new(id, 10, 0, 0), receiver_new(id, 10, 0, 0)};

	for (int i = 0; i < 2; i++) {
		s[i]->pid = child_start(close_and_sleep, s[i]);
		assert_true(sleeper_sleeps(s[i]));
	}
	assert_killed(s[0]);
	assert_int_equal(put(id, 1, "x"), 0);
	assert_got(s[1], 1, "x");
	assert_empty(id);
}

static int lose_rights_then_sleep(void *arg)
{
	struct signalled *g = arg; /* two of them: 0600, 0666 */

	NEED(put(g[0].id, 1, "x") == 0);
	NEED(setuid(CONFORM_NOBODY) == 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	NEED(put(g[0].id, 1, "y") == EACCES);
	NEED(take_err(g[0].id, 0) == EACCES);
	NEED(msg_remove(g[0].id) == EPERM);
	g[1].step = 1;
	NEED(take(g[1].id, 10, 0, 0).err == 0);
	int own = msg_new(0600);
	NEED(own >= 0 && put(own, 1, "x") == 0 && take_is(own, 0, 1, "x"));
	NEED(msg_remove(own) == 0);
	return 0;
}

static void after_setuid_the_new_ids_count_and_sleeping_works(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	struct signalled *g = shared_new(2 * sizeof(*g));

	g[0].id = msg_new(0600);
	g[1].id = msg_new(0666);
	pid_t pid = child_start(lose_rights_then_sleep, g);
	assert_true(AWAIT(g[1].step == 1) && AWAIT_ASLEEP(pid));
	assert_int_equal(put(g[1].id, 1, "go"), 0);
	assert_int_equal(child_wait(pid), 0);
	assert_takes(g[0].id, 0, 1, "x");
	assert_empty(g[1].id);
	munmap(g, 2 * sizeof(*g));
}

static int send_and_die(void *arg)
{
	int id = *(int *)arg;

	NEED(put(id, 1, "one") == 0);
	NEED(put_size(id, 2, TEXT_MAX) == 0);
	kill(getpid(), SIGKILL);
	return 98;
}

static void messages_outlive_their_sender(void **state)
{
	(void)state;
	int id = msg_new(0600);

	for (int i = 0; i < 10; i++) {
		assert_int_equal(child_run(send_and_die, &id), 1000 + SIGKILL);
		assert_holds(id, 2, 3 + TEXT_MAX);
		assert_takes(id, 1, 1, "one");
		struct got got = take(id, TEXT_MAX, 2, IPC_NOWAIT);
		assert_true(got.size == TEXT_MAX && text_is_filled(got.m.text, 2, TEXT_MAX));
	}
	assert_empty(id);
}

static void a_queue_outlives_its_creator(void **state)
{
	(void)state;
	key_t key = msg_free_key();

	assert_int_equal(child_run(call_get, &(struct get_call){key, IPC_CREAT | 0600}), 0);
	int id = msgget(key, 0600);
	assert_true(id >= 0);
	assert_int_equal(CHILD_PUT(id, 2, "by one"), 0);
	assert_int_equal(CHILD_PUT(id, 1, "by another"), 0);
	assert_takes(id, 2, 2, "by one");
	assert_int_equal(CHILD_TAKE(id, 1), 0);
	assert_empty(id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(a_killed_receiver_leaves_no_trace),
		CONFORM_TEST(a_killed_sender_leaves_no_trace),
		CONFORM_TEST(sleepers_end_by_any_signal_and_leave_no_trace),
		CONFORM_TEST(the_others_keep_their_turn_when_receivers_are_killed),
		CONFORM_TEST(the_other_senders_get_through_when_some_are_killed),
		CONFORM_TEST(a_message_sent_after_the_wait_for_a_killed_receiver_is_not_lost),
		CONFORM_TEST(room_made_after_the_wait_for_a_killed_sender_is_not_lost),
		CONFORM_TEST(many_sleepers_killed_at_once_leave_no_trace),
		CONFORM_TEST(SIGKILL_at_any_moment_leaves_a_working_queue),
		CONFORM_TEST(what_a_killed_sender_sent_has_no_gap),
		CONFORM_TEST(killed_receivers_lose_at_most_what_they_had_in_hand),
		CONFORM_TEST(SIGKILL_while_making_and_removing_leaves_all_or_nothing),
		CONFORM_TEST(a_handler_interrupts_a_receiver_whatever_SA_RESTART_says),
		CONFORM_TEST(a_handler_interrupts_a_sender_whatever_SA_RESTART_says),
		CONFORM_TEST(an_interrupted_receiver_is_passed_over),
		CONFORM_TEST(an_interrupted_sender_is_passed_over),
		CONFORM_TEST(a_signal_that_is_ignored_or_blocked_does_not_interrupt),
		CONFORM_TEST(a_signal_while_it_need_not_sleep_interrupts_nothing),
		CONFORM_TEST(a_sleeper_that_is_stopped_and_continued_sleeps_on),
		CONFORM_TEST(what_comes_for_a_stopped_sleeper_is_there_when_it_continues),
		CONFORM_TEST(a_stopped_receiver_and_another_get_one_each),
		CONFORM_TEST(a_queue_removed_under_a_stopped_sleeper_is_EIDRM_or_EINVAL),
		CONFORM_TEST(a_handler_for_SIGCONT_interrupts_stopped_or_not),
		CONFORM_TEST(a_handler_may_send_to_what_it_interrupted_and_it_is_EINTR_still),
		CONFORM_TEST(a_handler_may_make_room_where_it_interrupted_and_it_is_EINTR_still),
		CONFORM_TEST(a_handler_may_jump_out_of_a_sleeping_call),
		CONFORM_TEST(a_handler_may_sleep_in_the_same_queue),
		CONFORM_TEST(a_handler_that_uses_the_queue_at_any_moment_loses_nothing),
		CONFORM_TEST(what_an_interrupted_receiver_did_not_get_is_there_still),
		CONFORM_TEST(what_an_interrupted_sender_sends_again_comes_once),
		CONFORM_TEST(a_jump_out_of_msgrcv_at_any_moment_takes_all_or_nothing),
		CONFORM_TEST(a_jump_out_of_msgsnd_at_any_moment_sends_once_or_not),
		CONFORM_TEST(removal_wakes_every_sleeper_with_EIDRM),
		CONFORM_TEST(removal_while_a_hundred_sleep),
		CONFORM_TEST(a_handler_and_removal_at_once_are_EINTR_or_EIDRM),
		CONFORM_TEST(the_key_can_be_made_anew_before_the_sleepers_have_left),
		CONFORM_TEST(another_process_removes_under_sleepers),
		CONFORM_TEST(of_racing_removers_exactly_one_wins),
		CONFORM_TEST(removal_while_others_work_ends_each_with_EINVAL_or_EIDRM),
		CONFORM_TEST(a_fork_while_a_thread_sleeps_does_not_copy_the_sleeper),
		CONFORM_TEST(an_end_or_exec_takes_its_sleeping_threads_along),
		CONFORM_TEST(after_exec_of_another_program_the_sleeping_thread_is_gone),
		CONFORM_TEST(a_sleeping_thread_outlives_the_main_thread),
		CONFORM_TEST(a_signal_interrupts_its_thread_alone),
		CONFORM_TEST(a_cancel_ends_a_sleep),
		CONFORM_TEST(a_pending_cancel_acts_before_anything_is_moved),
		CONFORM_TEST(a_cancel_that_is_disabled_does_not_end_a_sleep),
		CONFORM_TEST(four_threads_make_use_and_remove),
		CONFORM_TEST(threads_use_one_queue_while_another_forks),
		CONFORM_TEST(a_vfork_child_may_wake_a_sleeper),
		CONFORM_TEST(a_program_that_closes_all_descriptors_goes_on),
		CONFORM_TEST(a_program_that_closed_all_descriptors_sleeps_and_dies_like_others),
		CONFORM_TEST(after_setuid_the_new_ids_count_and_sleeping_works),
		CONFORM_TEST(messages_outlive_their_sender),
		CONFORM_TEST(a_queue_outlives_its_creator),
	};
	return MSG_RUN(tests);
}
