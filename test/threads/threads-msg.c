/* threads-msg.c - threads of one process on message queues: run it plain, and under ThreadSanitizer. */
#include "threads.h"

#include "vee/msg.h"
#include "vee/namespace.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	THREADS = 8,
	ROUNDS = 2000,
	LONGEST = 600,
	NARROW = 1000, /* bytes of a queue in which senders sleep */
	TYPES = 4,     /* of which each has a sender and a receiver */
	SCRATCH	       /* anything, with short waits */
};

static int id;
static atomic_int fleeting[THREADS]; /* ids of queues that come and go */
static _Atomic uint64_t sent_sum, got_sum;

struct letter {
	long type;
	unsigned n; /* of this sender, from 0 */
	unsigned char text[LONGEST];
};

#define SIZE(bytes) (sizeof(unsigned) + (bytes))

static const struct timespec short_time = {0, 200000};

static size_t write_letter(struct letter *letter, long type, unsigned n, unsigned *seed)
{
	size_t bytes = rand_r(seed) % LONGEST;

	letter->type = type;
	letter->n = n;
	memset(letter->text, n + type, bytes);
	return SIZE(bytes);
}

static bool is_whole(const struct letter *letter, ssize_t size)
{
	for (size_t i = 0; SIZE(i) < (size_t)size; i++)
		if (letter->text[i] != (unsigned char)(letter->n + letter->type))
			return false;
	return true;
}

static long type_of(void *arg)
{
	return 1 + (uintptr_t)arg % TYPES;
}

static void *send_in_order(void *arg)
{
	unsigned seed = (uintptr_t)arg + 1;
	struct letter letter;

	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t size = write_letter(&letter, type_of(arg), i, &seed);

		MUST(vee_msgsnd(id, &letter, size, 0) == 0);
	}
	return arg;
}

static void *receive_in_order(void *arg)
{
	struct letter letter;

	for (unsigned i = 0; i < ROUNDS; i++) {
		ssize_t size = vee_msgrcv(id, &letter, SIZE(LONGEST), type_of(arg), 0);

		MUST(size >= (ssize_t)SIZE(0));
		MUST(letter.type == type_of(arg) && letter.n == i && is_whole(&letter, size));
	}
	return arg;
}

static void *send_any(void *arg)
{
	unsigned seed = (uintptr_t)arg + 100;
	struct letter letter;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned n = rand_r(&seed) % 1000;
		size_t size = write_letter(&letter, 1 + i % TYPES, n, &seed);

		MUST(vee_msgsnd(id, &letter, size, 0) == 0);
		atomic_fetch_add(&sent_sum, n + 1);
	}
	return arg;
}

static void *receive_any(void *arg)
{
	static const long wanted[] = {0, 0, -TYPES, 0};
	unsigned seed = (uintptr_t)arg + 200;
	struct letter letter;

	for (unsigned i = 0; i < ROUNDS; i++) {
		ssize_t size = vee_msgrcv(id, &letter, SIZE(LONGEST), wanted[rand_r(&seed) % 4], 0);

		MUST(size >= (ssize_t)SIZE(0) && is_whole(&letter, size));
		atomic_fetch_add(&got_sum, letter.n + 1);
	}
	return arg;
}

static void *control(void *arg)
{
	unsigned seed = (uintptr_t)arg + 300;
	struct msqid_ds ds;

	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		MUST(vee_msgctl(id, IPC_STAT, &ds) == 0);
		MUST((ds.msg_qnum == 0) == (ds.__msg_cbytes == 0));
		ds.msg_perm.mode = rand_r(&seed) % 2 ? 0600 : 0640;
		ds.msg_qbytes = NARROW + rand_r(&seed) % 3000;
		MUST(vee_msgctl(id, IPC_SET, &ds) == 0);
		MUST(vee_msgget(0x7ead7, 0) == id);
	}
	return arg;
}

static void *use_scratch(void *arg)
{
	unsigned seed = (uintptr_t)arg + 400;
	struct letter letter;

	for (unsigned i = 0; i < ROUNDS / 2; i++) {
		size_t size = write_letter(&letter, SCRATCH, i, &seed);
		ssize_t got;

		MUST(vee_msgtimedsnd(id, &letter, size, 0, &short_time) == 0 || errno == EAGAIN);
		got = vee_msgtimedrcv(id, &letter, SIZE(LONGEST), SCRATCH, 0, &short_time);
		MUST(got >= 0 ? is_whole(&letter, got) : errno == EAGAIN);
	}
	return arg;
}

static bool gone(void)
{
	return errno == EINVAL || errno == EIDRM;
}

static void *come_and_go(void *arg)
{
	unsigned seed = (uintptr_t)arg + 500;
	struct letter letter = {.type = 1};

	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		int queue = vee_msgget(IPC_PRIVATE, 0600);

		MUST(queue >= 0);
		for (unsigned n = 0; n < i % 20; n++) {
			size_t size = write_letter(&letter, 1, n, &seed);

			MUST(vee_msgsnd(queue, &letter, size, IPC_NOWAIT) == 0 || errno == EAGAIN);
		}
		atomic_store(&fleeting[(uintptr_t)arg % THREADS], queue);
		MUST(vee_msgsnd(queue, &letter, SIZE(0), IPC_NOWAIT) == 0 || errno == EAGAIN);
		MUST(vee_msgctl(queue, IPC_RMID, NULL) == 0);
		MUST(vee_msgsnd(queue, &letter, SIZE(0), 0) == -1 && gone());
	}
	return arg;
}

/* On queues that may go at any moment. */
static void *visit(void *arg)
{
	unsigned seed = (uintptr_t)arg + 600;
	struct letter letter;

	for (unsigned i = 0; i < ROUNDS; i++) {
		int queue = atomic_load(&fleeting[rand_r(&seed) % THREADS]);
		size_t size = write_letter(&letter, 1, i, &seed);

		if (rand_r(&seed) % 2) {
			MUST(vee_msgtimedsnd(queue, &letter, size, 0, &short_time) == 0 || gone() ||
			     errno == EAGAIN);
		} else {
			ssize_t got =
				vee_msgtimedrcv(queue, &letter, SIZE(LONGEST), 0, 0, &short_time);

			MUST(got >= 0 ? is_whole(&letter, got) : gone() || errno == EAGAIN);
		}
	}
	return arg;
}

static void *fork_often(void *arg)
{
	for (int i = 0; i < ROUNDS / 100; i++) {
		int status = -1;
		pid_t pid = fork();

		if (pid == 0) {
			struct msqid_ds ds;

			_exit(vee_msgctl(id, IPC_STAT, &ds) != 0);
		}
		MUST(waitpid(pid, &status, 0) == pid && status == 0);
	}
	return arg;
}

static void enter(void)
{
	struct msqid_ds ds;

	MUST(vee_msgctl(id, IPC_STAT, &ds) == 0);
}

static void make_queue(void)
{
	struct msqid_ds ds;

	id = vee_msgget(0x7ead7, IPC_CREAT | IPC_EXCL | 0600);
	assert_true(id >= 0);
	assert_int_equal(vee_msgctl(id, IPC_STAT, &ds), 0);
	ds.msg_qbytes = NARROW;
	assert_int_equal(vee_msgctl(id, IPC_SET, &ds), 0);
	for (int i = 0; i < THREADS; i++)
		atomic_store(&fleeting[i], -1);
}

/* The number of a thread says which type it is for; what it sends is SCRATCH at most, which may be left. */
static void run(void *(*const work[])(void *), unsigned n)
{
	struct letter letter;
	struct msqid_ds ds;

	make_queue();
	run_together(work, n, enter);
	while (vee_msgrcv(id, &letter, SIZE(LONGEST), SCRATCH, IPC_NOWAIT) >= 0)
		;
	assert_int_equal(vee_msgctl(id, IPC_STAT, &ds), 0);
	assert_int_equal(ds.msg_qnum, 0);
	assert_int_equal(ds.__msg_cbytes, 0);
	assert_int_equal(vee_msgctl(id, IPC_RMID, NULL), 0);
}

static void each_type_keeps_its_order(void **state)
{
	void *(*const work[])(void *) = {send_in_order,	   send_in_order,    send_in_order,
					 send_in_order,	   receive_in_order, receive_in_order,
					 receive_in_order, receive_in_order};

	(void)state;
	run(work, 8);
}

static void any_to_any_lose_nothing(void **state)
{
	void *(*const work[])(void *) = {send_any,    send_any,	   send_any,	send_any,
					 receive_any, receive_any, receive_any, receive_any};

	(void)state;
	run(work, 8);
	assert_int_equal(atomic_load(&sent_sum), atomic_load(&got_sum));
}

static void all_at_once_lose_nothing(void **state)
{
	/* By number: the types 1, 2, 3; and 4 of the last lines. */
	void *(*const work[])(void *) = {
		send_in_order,	  send_in_order,    send_in_order, control,    receive_in_order,
		receive_in_order, receive_in_order, come_and_go,   visit,      use_scratch,
		come_and_go,	  send_in_order,    visit,	   fork_often, use_scratch,
		receive_in_order,
	};

	(void)state;
	run(work, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_type_keeps_its_order),
		cmocka_unit_test(any_to_any_lose_nothing),
		cmocka_unit_test(all_at_once_lose_nothing),
	};

	alarm(200);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
