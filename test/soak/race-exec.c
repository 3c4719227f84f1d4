/*
 * race-exec.c - a process that comes back from an exec while others look at the set that it owes to
 *
 *     race-exec [EXECS]        150; by the libc names alone
 *
 * Who looks finds that a process which owes something has exec'ed, and drops what its memory held. That must not befall the
 * program after the exec, which has just come back: its sleep ends at its time-out, and never by EINTR.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	WORKERS = 3,
	LOOKERS = 2,
	OWED_EVERY = 3, /* execs */
	NAP_NS = 300000,
};

static void exec_again(const char *id, int left)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", left);
	execl("/proc/self/exe", "race-exec", id, number, NULL);
	perror("race-exec: execl");
	_exit(1);
}

static int work(const char *id_text, int left)
{
	struct sembuf nothing = {1, 0, IPC_NOWAIT}, nap = {0, -1, 0}, owed = {2, 1, SEM_UNDO};
	struct timespec time = {0, NAP_NS};
	int id = atoi(id_text);

	if (semop(id, &nothing, 1) < 0)
		perror("race-exec: semop");
	if (semtimedop(id, &nap, 1, &time) == 0 || errno != EAGAIN) {
		fprintf(stderr, "race-exec: %d execs before the last one a nap ended with: %s\n",
			left, strerror(errno));
		return 1;
	}
	if (left % OWED_EVERY == 0 && semop(id, &owed, 1) < 0)
		perror("race-exec: semop with SEM_UNDO");
	if (left > 0)
		exec_again(id_text, left - 1);
	return 0;
}

static void look(int id)
{
	unsigned short values[3];
	union {
		int val;
		unsigned short *array;
	} arg = {.array = values};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		semctl(id, 0, GETALL, arg);
		semctl(id, 0, GETNCNT);
	}
}

int main(int argc, char **argv)
{
	int execs = argc > 1 ? atoi(argv[argc - 1]) : 150, id, status, failed = 0;
	pid_t worker[WORKERS], looker[LOOKERS];
	char text[16];

	if (argc > 2)
		return work(argv[1], execs);
	id = semget(IPC_PRIVATE, 3, 0600);
	if (id < 0) {
		perror("race-exec: semget");
		return 1;
	}
	snprintf(text, sizeof(text), "%d", id);
	for (int i = 0; i < WORKERS; i++) {
		worker[i] = fork();
		if (worker[i] == 0)
			exec_again(text, execs);
	}
	for (int i = 0; i < LOOKERS; i++) {
		looker[i] = fork();
		if (looker[i] == 0)
			look(id);
	}
	for (int i = 0; i < WORKERS; i++)
		failed |= worker[i] < 0 || waitpid(worker[i], &status, 0) < 0 || status != 0;
	for (int i = 0; i < LOOKERS; i++)
		if (looker[i] > 0) {
			kill(looker[i], SIGKILL);
			waitpid(looker[i], &status, 0);
		}
	if (semctl(id, 2, GETVAL) != 0) {
		fprintf(stderr, "race-exec: what was owed is not paid: %d\n",
			semctl(id, 2, GETVAL));
		failed = 1;
	}
	if (semctl(id, 0, IPC_RMID) < 0)
		failed = 1;
	return failed;
}
