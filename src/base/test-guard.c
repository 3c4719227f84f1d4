/*
 * test-guard.c - guarded memory outlives its file, and nothing else that ends in SIGBUS changes.
 *
 * Each case runs in a child of its own, since what was there before the first guard counts.
 */
#include "base/guard.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	PAGES = 8
};

static size_t page;

/* In a child, which has no assertions of cmocka. */
#define MUST(condition)                                                                         \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			_exit(99);                                                              \
		}                                                                               \
	} while (0)

/* How `body` ends: an exit status, or a signal + 1000. A sanitizer's handlers are out of the way. */
static int ends(void (*body)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct rlimit no_core = {0, 0};

		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGBUS, SIG_DFL);
		alarm(60);
		body();
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int new_file(size_t size)
{
	int fd = syscall(SYS_memfd_create, "vee-test-guard", 1u /* MFD_CLOEXEC */);

	MUST(fd >= 0 && ftruncate(fd, size) == 0);
	return fd;
}

static volatile char *map(int fd, size_t size, int prot)
{
	void *base = mmap(NULL, size, prot, MAP_SHARED, fd, 0);

	MUST(base != MAP_FAILED);
	return base;
}

/* A mapping of PAGES pages of which the file keeps `pages`. */
static volatile char *truncated(size_t pages)
{
	int fd = new_file(PAGES * page);
	volatile char *at = map(fd, PAGES * page, PROT_READ | PROT_WRITE);

	memset((char *)at, 'a', PAGES * page);
	MUST(ftruncate(fd, pages * page) == 0);
	close(fd);
	return at;
}

static struct guard *guard(volatile char *at)
{
	struct guard *new = guard_add((char *)at, PAGES * page, PROT_READ | PROT_WRITE);

	MUST(new && !guard_hit(new));
	return new;
}

/* --- guarded memory --- */

static void use_truncated(void)
{
	volatile char *at = truncated(0);
	struct guard *mine = guard(at);

	MUST(at[3 * page + 5] == 0);
	MUST(guard_hit(mine));
	for (size_t i = 0; i < PAGES * page; i++) {
		at[i] = 'b';
		MUST(at[i] == 'b');
	}
	errno = 0;
	MUST(guard_hit(mine) && errno == 0);
}

static void a_truncated_file_reads_as_zeros_and_takes_stores(void **state)
{
	(void)state;
	assert_int_equal(ends(use_truncated), 0);
}

static void use_half(void)
{
	volatile char *at = truncated(PAGES / 2);
	struct guard *mine = guard(at);

	MUST(at[PAGES / 2 * page - 1] == 'a' && !guard_hit(mine));
	MUST(at[PAGES / 2 * page] == 0 && guard_hit(mine));
	MUST(at[PAGES / 2 * page - 1] == 'a');
}

static void what_the_file_still_has_stays(void **state)
{
	(void)state;
	assert_int_equal(ends(use_half), 0);
}

static void read_only(void)
{
	int fd = new_file(page);
	volatile char *at = map(fd, page, PROT_READ);
	struct guard *mine = guard_add((char *)at, 100, PROT_READ);

	MUST(mine && ftruncate(fd, 0) == 0);
	MUST(at[page - 1] == 0 && guard_hit(mine));
	/* The signal is not for us. */
	signal(SIGSEGV, SIG_DFL);
	at[0] = 1;
}

static void the_zeros_have_the_protection_of_the_mapping(void **state)
{
	(void)state;
	assert_int_equal(ends(read_only), 1000 + SIGSEGV);
}

static void many(void)
{
	enum {
		N = 20000
	};
	static struct guard *guards[N];
	int fd = new_file(N * page);
	volatile char *at = map(fd, N * page, PROT_READ | PROT_WRITE);

	for (int i = 0; i < N; i++)
		MUST((guards[i] = guard_add((char *)at + i * page, page, PROT_READ)));
	MUST(ftruncate(fd, 0) == 0);
	for (int i = 0; i < N; i += 499)
		MUST(at[i * page + 1] == 0);
	for (int i = 0; i < N; i++)
		MUST(guard_hit(guards[i]) == (i % 499 == 0));
	/* They are used again, last in, first out, and unhit. */
	for (int i = 0; i < N; i++)
		guard_remove(guards[i]);
	for (int i = N - 1; i >= 0; i--)
		MUST(guard_add((char *)at, page, PROT_READ) == guards[i] && !guard_hit(guards[i]));
}

static void twenty_thousand_ranges_are_told_apart_and_used_again(void **state)
{
	(void)state;
	assert_int_equal(ends(many), 0);
}

static void child_uses(void)
{
	volatile char *at = truncated(0);
	struct guard *mine = guard(at);
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		MUST(at[0] == 0 && guard_hit(mine));
		_exit(0);
	}
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	/* Each process has its own. */
	MUST(!guard_hit(mine));
}

static void the_child_of_a_fork_is_guarded_too(void **state)
{
	(void)state;
	assert_int_equal(ends(child_uses), 0);
}

static bool stop;

static void *add_and_remove(void *arg)
{
	static char pages[64];

	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		struct guard *several[3];

		for (int i = 0; i < 3; i++)
			MUST((several[i] = guard_add(pages, sizeof(pages), PROT_READ)));
		for (int i = 0; i < 3; i++)
			guard_remove(several[i]);
	}
	return NULL;
}

static void fork_among_threads(void)
{
	pthread_t threads[3];
	volatile char *at = truncated(0);
	int status;

	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		MUST(pthread_create(&threads[i], NULL, add_and_remove, NULL) == 0);
	for (int round = 0; round < 100; round++) {
		pid_t pid = fork();

		if (pid == 0) {
			struct guard *mine = guard(at);

			MUST(at[round % PAGES * page] == 0 && guard_hit(mine));
			guard_remove(mine);
			_exit(0);
		}
		MUST(waitpid(pid, &status, 0) == pid && status == 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
}

static void a_fork_while_threads_add_and_remove_leaves_the_child_whole(void **state)
{
	(void)state;
	assert_int_equal(ends(fork_among_threads), 0);
}

/* --- everything else that ends in SIGBUS --- */

static void use_unguarded(void)
{
	volatile char *other = truncated(0), *at = truncated(0);

	guard(other);
	(void)at[0];
}

static void an_unguarded_mapping_kills_as_ever(void **state)
{
	(void)state;
	assert_int_equal(ends(use_unguarded), 1000 + SIGBUS);
}

static void use_removed(void)
{
	volatile char *at = truncated(0);

	guard_remove(guard(at));
	(void)at[0];
}

static void a_removed_guard_guards_no_longer(void **state)
{
	(void)state;
	assert_int_equal(ends(use_removed), 1000 + SIGBUS);
}

static void ignore_and_use_unguarded(void)
{
	signal(SIGBUS, SIG_IGN);
	use_unguarded();
}

static void who_ignores_the_signal_dies_of_a_fault(void **state)
{
	(void)state;
	assert_int_equal(ends(ignore_and_use_unguarded), 1000 + SIGBUS);
}

static void send(void)
{
	guard(truncated(0));
	kill(getpid(), SIGBUS);
	/* It need not be this thread, or at once. */
	for (;;)
		pause();
}

static void a_sent_signal_kills_as_ever(void **state)
{
	(void)state;
	assert_int_equal(ends(send), 1000 + SIGBUS);
}

static void send_ignored(void)
{
	signal(SIGBUS, SIG_IGN);
	guard(truncated(0));
	raise(SIGBUS);
	raise(SIGBUS);
}

static void a_sent_signal_that_is_ignored_does_nothing(void **state)
{
	(void)state;
	assert_int_equal(ends(send_ignored), 0);
}

static sigjmp_buf back;
static siginfo_t seen;
static int handled;
static sigset_t blocked, blocked_before;

static bool same_set(const sigset_t *a, const sigset_t *b)
{
	for (int sig = 1; sig <= 64; sig++)
		if (sigismember(a, sig) != sigismember(b, sig))
			return false;
	return true;
}

static void program_handler(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	handled++;
	seen = *info;
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	if (info->si_code > 0)
		siglongjmp(back, 1);
}

static void set_handler(int flags)
{
	struct sigaction act;

	memset(&act, 0, sizeof(act));
	act.sa_sigaction = program_handler;
	act.sa_flags = SA_SIGINFO | flags;
	sigaddset(&act.sa_mask, SIGUSR1);
	MUST(sigaction(SIGBUS, &act, NULL) == 0);
	/* What it is like without us. */
	MUST(raise(SIGBUS) == 0 && handled == 1);
	handled = 0;
	blocked_before = blocked;
	memset(&blocked, 0, sizeof(blocked));
	MUST(sigaction(SIGBUS, &act, NULL) == 0);
}

static void handle(void)
{
	volatile char *guarded = truncated(0), *at = truncated(0);
	struct guard *mine;
	sigset_t now;

	set_handler(0);
	mine = guard(guarded);
	MUST(guarded[0] == 0 && guard_hit(mine) && handled == 0);
	if (sigsetjmp(back, 1) == 0)
		(void)at[page + 7];
	MUST(handled == 1 && seen.si_addr == at + page + 7 && seen.si_code == BUS_ADRERR);
	MUST(sigismember(&blocked, SIGUSR1) && same_set(&blocked, &blocked_before));

	MUST(kill(getpid(), SIGBUS) == 0);
	for (int i = 0; i < 10000 && *(volatile int *)&handled < 2; i++)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	MUST(handled == 2 && seen.si_code == SI_USER && seen.si_pid == getpid());
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	MUST(!sigismember(&now, SIGUSR1) && !sigismember(&now, SIGBUS));
	MUST(guarded[page] == 0 && handled == 2);
}

static void the_program_s_earlier_handler_gets_its_faults_and_signals(void **state)
{
	(void)state;
	assert_int_equal(ends(handle), 0);
}

static void plain_handler(int sig)
{
	_exit(sig == SIGBUS ? 7 : 8);
}

static void handle_plainly(void)
{
	signal(SIGBUS, plain_handler);
	use_unguarded();
}

static void a_plain_handler_gets_its_faults(void **state)
{
	(void)state;
	assert_int_equal(ends(handle_plainly), 7);
}

static void handle_once(void)
{
	volatile char *guarded = truncated(0);

	set_handler(SA_RESETHAND | SA_NODEFER);
	guard(guarded);
	MUST(raise(SIGBUS) == 0 && handled == 1);
	MUST(same_set(&blocked, &blocked_before));
	MUST(guarded[0] == 0);
	raise(SIGBUS);
}

static void a_one_shot_handler_gets_one(void **state)
{
	(void)state;
	assert_int_equal(ends(handle_once), 1000 + SIGBUS);
}

static int set_up(void **state)
{
	(void)state;
	page = sysconf(_SC_PAGESIZE);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_truncated_file_reads_as_zeros_and_takes_stores),
		cmocka_unit_test(what_the_file_still_has_stays),
		cmocka_unit_test(the_zeros_have_the_protection_of_the_mapping),
		cmocka_unit_test(twenty_thousand_ranges_are_told_apart_and_used_again),
		cmocka_unit_test(the_child_of_a_fork_is_guarded_too),
		cmocka_unit_test(a_fork_while_threads_add_and_remove_leaves_the_child_whole),
		cmocka_unit_test(an_unguarded_mapping_kills_as_ever),
		cmocka_unit_test(a_removed_guard_guards_no_longer),
		cmocka_unit_test(who_ignores_the_signal_dies_of_a_fault),
		cmocka_unit_test(a_sent_signal_kills_as_ever),
		cmocka_unit_test(a_sent_signal_that_is_ignored_does_nothing),
		cmocka_unit_test(the_program_s_earlier_handler_gets_its_faults_and_signals),
		cmocka_unit_test(a_plain_handler_gets_its_faults),
		cmocka_unit_test(a_one_shot_handler_gets_one),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
