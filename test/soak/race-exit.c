/*
 * race-exit.c - a process ends while its threads are anywhere inside the calls.
 *
 *	race-exit [ROUNDS]        200 rounds
 *
 * Written against <sys/shm.h> alone: it runs on the kernel and, preloaded, on vee. In each round a child's four
 * threads make, attach, write, detach and remove segments, while main sleeps about 3 ms and returns (or, each
 * fourth round, calls _exit). What is proved: the end neither hangs nor crashes under the threads; once waitpid()
 * has returned (on the kernel: and nobody looks at the dead process, see held-memory.h) nothing is attached, and a
 * segment that was marked is gone; what is left was cut off before its removal, can be removed, and is no more
 * than one a thread.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../held-memory.h"

#define THREADS		 4
#define SIZE		 9000
#define WATCHDOG_SECONDS 100

static unsigned round_now;
static time_t began;
static pid_t pid; /* the child's of this round */

/* The highest index in use; -1 with errno. */
static int last_index(void)
{
	struct shm_info info;

	return shmctl(0, SHM_INFO, (struct shmid_ds *)&info);
}

/* The id at an index, if the child made it: what an earlier run left may bear its pid, too. */
static int segment_of_child(int index, struct shmid_ds *ds)
{
	int id = shmctl(index, SHM_STAT, ds);

	return id >= 0 && ds->shm_cpid == pid && ds->shm_ctime >= began ? id : -1;
}

static void __attribute__((noreturn, format(printf, 1, 2))) wrong(const char *format, ...)
{
	struct shmid_ds ds;
	va_list args;

	fprintf(stderr, "race-exit: round %u: ", round_now);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	for (int index = last_index(); index >= 0; index--) {
		int id = segment_of_child(index, &ds);

		if (id >= 0)
			shmctl(id, IPC_RMID, NULL);
	}
	exit(1);
}

/* A call that fails ends the child with a status of its own; the end of the process is no excuse. */
static void *work(void *unused)
{
	for (;;) {
		int id = shmget(IPC_PRIVATE, SIZE, 0600);
		char *at;

		if (id < 0)
			_exit(3);
		at = shmat(id, NULL, 0);
		if (at == (void *)-1)
			_exit(4);
		memset(at, 'x', SIZE);
		if (at[0] != 'x' || at[SIZE - 1] != 'x')
			_exit(5);
		if (shmdt(at) < 0)
			_exit(6);
		if (shmctl(id, IPC_RMID, NULL) < 0)
			_exit(7);
	}
	return unused;
}

static int child(void)
{
	struct timespec time = {0, 2500000 + round_now * 37 % 20 * 50000L};
	pthread_t thread;

	alarm(WATCHDOG_SECONDS);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread, NULL, work, NULL))
			return 8;
	nanosleep(&time, NULL);
	if (round_now % 4 == 0)
		_exit(0);
	return 0;
}

/* What the process made and could not remove. Others may use the kernel's namespace meanwhile. */
static unsigned remove_left(void)
{
	struct shmid_ds ds;
	unsigned n = 0;
	int last = last_index();

	if (last < 0)
		wrong("SHM_INFO: %s", strerror(errno));
	for (int index = 0; index <= last; index++) {
		unsigned looks = 0;
		int id;

		do {
			id = segment_of_child(index, &ds);
		} while (id >= 0 && ds.shm_nattch != 0 && may_be_held(&looks));
		if (id < 0)
			continue;
		if (ds.shm_nattch != 0)
			wrong("segment %d of the dead: shm_nattch is %lu", id,
			      (unsigned long)ds.shm_nattch);
		if (ds.shm_perm.mode & SHM_DEST)
			wrong("segment %d was removed, nobody is attached, and it is there", id);
		if (shmctl(id, IPC_RMID, NULL) < 0)
			wrong("IPC_RMID of %d: %s", id, strerror(errno));
		n++;
	}
	return n;
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 200, total = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	began = time(NULL);
	for (round_now = 1; round_now <= rounds; round_now++) {
		unsigned left;
		int status;

		alarm(WATCHDOG_SECONDS);
		pid = fork();
		if (pid < 0)
			wrong("fork: %s", strerror(errno));
		if (pid == 0)
			return child();
		if (waitpid(pid, &status, 0) != pid)
			wrong("waitpid: %s", strerror(errno));
		if (status != 0)
			wrong("the child ended with status 0x%x", status);
		left = remove_left();
		if (left > THREADS)
			wrong("%u threads left %u segments", THREADS, left);
		if (remove_left() != 0)
			wrong("a removed segment is still listed");
		total += left;
	}
	printf("race-exit: %u rounds, %u segments cut off before their removal\n", rounds, total);
	return 0;
}
