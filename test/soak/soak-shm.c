/*
 * soak-shm.c - processes that attach, write, fork, exec, detach and are killed at any instant.
 *
 *	soak-shm [ROUNDS [SEED]]        60 rounds; a seed from the clock
 *
 * Written against <sys/shm.h> alone: it runs on the kernel and, preloaded, on vee. What is proved:
 * once waitpid() has returned for all, shm_nattch counts the living, no more, no less, whatever moment
 * they died at; a marked segment goes with its last process; at the end nothing is left.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../held-memory.h"

#define WORKERS		 8
#define SEGMENTS	 3
#define SIZE		 20000
#define WATCHDOG_SECONDS 100

static int id[SEGMENTS];
static unsigned seed, round_now;
static char *self;

static void __attribute__((noreturn, format(printf, 1, 2))) wrong(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "soak-shm: round %u, seed %u: ", round_now, seed);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	for (int i = 0; i < SEGMENTS; i++)
		shmctl(id[i], IPC_RMID, NULL);
	exit(1);
}

static void pause_us(unsigned us)
{
	struct timespec time = {us / 1000000, us % 1000000 * 1000L};

	nanosleep(&time, NULL);
}

static unsigned long nattch(int segment)
{
	struct shmid_ds ds;

	if (shmctl(segment, IPC_STAT, &ds) < 0)
		wrong("IPC_STAT of %d: %s", segment, strerror(errno));
	return ds.shm_nattch;
}

static void *attach(int segment, int flags)
{
	void *at = shmat(segment, NULL, flags);

	/* Not wrong(): it would remove the segments under the others. */
	if (at == (void *)-1)
		_exit(errno == EINVAL || errno == EIDRM ? 0 : 3);
	return at;
}

/* --- what a worker does until it is killed --- */

static void exec_self(int segment, const char *what)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", segment);
	execl(self, self, what, text, (char *)NULL);
	_exit(4);
}

static void one_step(unsigned *dice, void **held, unsigned *n)
{
	int segment = id[rand_r(dice) % SEGMENTS];

	switch (rand_r(dice) % 8) {
	case 0:
	case 1:
	case 2:
		if (*n < 4)
			held[(*n)++] = attach(segment, 0);
		break;
	case 3:
	case 4:
		if (*n > 0)
			shmdt(held[--*n]);
		break;
	case 5:
		for (unsigned i = 0; i < *n; i++)
			((volatile char *)held[i])[rand_r(dice) % SIZE]++;
		break;
	case 6:
		if (fork() == 0) {
			for (int i = rand_r(dice) % 8; i > 0; i--)
				shmdt(attach(segment, SHM_RDONLY));
			_exit(0);
		}
		break;
	default:
		if (rand_r(dice) % 8 == 0)
			exec_self(segment, "--reattach");
	}
}

static void work(unsigned dice)
{
	void *held[4];
	unsigned n = 0;

	for (unsigned steps = rand_r(&dice) % 400; steps > 0; steps--) {
		one_step(&dice, held, &n);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	if (rand_r(&dice) % 2)
		_exit(0);
	pause();
}

/* --- rounds --- */

static void make_segments(void)
{
	for (int i = 0; i < SEGMENTS; i++) {
		id[i] = shmget(IPC_PRIVATE, SIZE, 0600);
		if (id[i] < 0)
			wrong("shmget: %s", strerror(errno));
	}
}

static void remove_segments(void)
{
	for (int i = 0; i < SEGMENTS; i++)
		if (shmctl(id[i], IPC_RMID, NULL) < 0)
			wrong("IPC_RMID: %s", strerror(errno));
}

static void check_status(int status)
{
	if (WIFEXITED(status) ? WEXITSTATUS(status) != 0 : WTERMSIG(status) != SIGKILL)
		wrong("a worker ended with status 0x%x", status);
}

/* All of them, and what they left us to wait for; grandchildren come to us. */
static void reap_all(void)
{
	int status;

	while (wait(&status) > 0)
		check_status(status);
	if (errno != ECHILD)
		wrong("wait: %s", strerror(errno));
}

static void must_be(int segment, unsigned long n, const char *when)
{
	unsigned long is;

	for (unsigned looks = 0; (is = nattch(segment)) != n && may_be_held(&looks);)
		;
	if (is != n)
		wrong("shm_nattch of %d is %lu, not %lu, %s", segment, is, n, when);
}

static void storm(bool marked)
{
	pid_t worker[WORKERS];
	void *mine;
	struct shmid_ds ds;
	int rc;

	make_segments();
	mine = attach(id[0], 0);
	for (int i = 0; i < WORKERS; i++) {
		unsigned dice = rand_r(&seed);

		worker[i] = fork();
		if (worker[i] < 0)
			wrong("fork: %s", strerror(errno));
		if (worker[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			work(dice);
			_exit(0);
		}
	}
	pause_us(rand_r(&seed) % 5000);
	if (marked)
		remove_segments();
	for (int i = 0; i < WORKERS; i++) {
		pause_us(rand_r(&seed) % 1500);
		kill(worker[i], SIGKILL);
	}
	reap_all();
	must_be(id[0], 1, "with all workers gone");
	for (int i = 1; i < SEGMENTS; i++) {
		if (!marked) {
			must_be(id[i], 0, "with all workers gone");
			continue;
		}
		for (unsigned looks = 0;
		     (rc = shmctl(id[i], IPC_STAT, &ds)) == 0 && may_be_held(&looks);)
			;
		if (rc == 0 || (errno != EINVAL && errno != EIDRM))
			wrong("a marked segment outlives its last process (nattch %lu)",
			      (unsigned long)ds.shm_nattch);
	}
	if (shmdt(mine) < 0)
		wrong("shmdt: %s", strerror(errno));
	if (!marked)
		remove_segments();
	for (int i = 0; i < SEGMENTS; i++)
		if (shmctl(id[i], IPC_STAT, &ds) == 0)
			wrong("segment %d is still there", id[i]);
}

/* --- one child that tells what it has done, so that each count is known --- */

static void tell(int fd, char what)
{
	if (write(fd, &what, 1) != 1)
		_exit(5);
}

static void listen_for(int fd, char what)
{
	char got = 0;

	if (read(fd, &got, 1) != 1 || got != what)
		wrong("the child does not say '%c'", what);
}

static void answer(int fd)
{
	char got;

	if (read(fd, &got, 1) != 1)
		_exit(6);
}

/* Attaches twice, detaches once, then execs; after that, with descriptors 3 and 4, goes on. */
static void told_child(int out, int in)
{
	void *at;

	tell(out, 'i'); /* what it has from its parent */
	answer(in);
	at = attach(id[0], 0);
	attach(id[0], SHM_RDONLY);
	tell(out, 'a');
	answer(in);
	shmdt(at);
	tell(out, 'd');
	answer(in);
	dup2(out, 103);
	dup2(in, 104);
	exec_self(id[0], "--told");
}

static void told_after_exec(int segment)
{
	tell(103, 'x');
	answer(104);
	attach(segment, 0);
	tell(103, 'r');
	answer(104);
	_exit(0);
}

static void exact(void)
{
	static const struct {
		char said;
		unsigned long n;
	} step[] = {{'i', 2}, {'a', 4}, {'d', 3}, {'x', 1}, {'r', 2}};
	unsigned last = rand_r(&seed) % 6; /* killed after this one; 5: it ends itself */
	int up[2], down[2], status;
	void *mine;
	pid_t pid;

	make_segments();
	mine = attach(id[0], 0);
	if (pipe(up) < 0 || pipe(down) < 0)
		wrong("pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		told_child(up[1], down[0]);
	for (unsigned i = 0; i < 5; i++) {
		char what[] = "with a child after ' '";

		listen_for(up[0], step[i].said);
		what[sizeof(what) - 3] = step[i].said;
		must_be(id[0], step[i].n, what);
		if (i == last)
			kill(pid, SIGKILL);
		if (i == last || write(down[1], "", 1) != 1)
			break;
	}
	if (waitpid(pid, &status, 0) != pid)
		wrong("waitpid: %s", strerror(errno));
	check_status(status);
	must_be(id[0], 1, "after waitpid");
	for (int i = 0; i < 2; i++) {
		close(up[i]);
		close(down[i]);
	}
	shmdt(mine);
	must_be(id[0], 0, "after shmdt");
	remove_segments();
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 60;
	unsigned first;

	self = "/proc/self/exe";
	if (argc == 3 && !strcmp(argv[1], "--reattach")) {
		attach(atoi(argv[2]), 0);
		pause_us(3000);
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "--told"))
		told_after_exec(atoi(argv[2]));
	first = seed = argc > 2 ? strtoul(argv[2], NULL, 10) : (unsigned)time(NULL) ^ getpid();
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("soak-shm: %u rounds, seed %u\n", rounds, seed);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (round_now = 1; round_now <= rounds; round_now++) {
		unsigned dice = first + round_now * 2654435769u;

		/* Each round has a seed of its own: `soak-shm 1 SEED` repeats it. */
		seed = rounds == 1 ? first : dice;
		alarm(WATCHDOG_SECONDS);
		storm(rand_r(&seed) % 2);
		exact();
	}
	return 0;
}
