/*
 * race-fork.c - a parent that is gone as soon as it has forked, while others look
 *
 *     race-fork [ROUNDS]        400; by the libc names alone
 *
 * The parent has attached a segment that is marked for removal, and forks: by fork and _exit, or by daemon(). From the
 * fork on the child holds the segment, so it stays; and what the child comes to owe stays owed until it ends.
 */
#include "race.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>

enum {
	OWED,
	NAP,
	SEMS
};

static int set;

/* The child, whose parent is gone or about to go. */
static int hold(int segment, const char *at)
{
	struct sembuf ops[2] = {{OWED, 1, SEM_UNDO}, {NAP, -1, 0}};
	struct timespec time = {0, 300000};
	struct shmid_ds ds;

	if (shmctl(segment, IPC_STAT, &ds) < 0)
		return 'g';
	if (ds.shm_nattch < 1)
		return 'n';
	if (strcmp(at, "here") != 0)
		return 'c';
	if (semop(set, ops, 1) < 0)
		return 'o';
	if (semtimedop(set, &ops[1], 1, &time) == 0 || errno != EAGAIN)
		return 'e';
	if (semctl(set, OWED, GETVAL) != 1)
		return 'v';
	if (shmctl(segment, IPC_STAT, &ds) < 0)
		return 'G';
	if (ds.shm_nattch < 1)
		return 'N';
	return 'y';
}

static void parent(int round, int fd)
{
	int segment = shmget(IPC_PRIVATE, 4096, 0600);
	char *at = shmat(segment, NULL, 0), result;

	if (at == (void *)-1 || shmctl(segment, IPC_RMID, NULL) < 0)
		_exit(2);
	strcpy(at, "here");
	/* Who looks comes first: the child starts late. */
	(void)!nice(19);
	if (round % 2) {
		if (daemon(1, 1) < 0)
			_exit(3);
	} else {
		pid_t pid = fork();

		if (pid != 0)
			_exit(pid < 0);
	}
	result = hold(segment, at);
	if (write(fd, &result, 1) != 1)
		_exit(4);
	_exit(0);
}

static int round_of(int round)
{
	int fd[2], status;
	char result = '-';
	pid_t pid;

	if (pipe(fd) < 0)
		return 1;
	pid = fork();
	if (pid == 0) {
		close(fd[0]);
		parent(round, fd[1]);
	}
	close(fd[1]);
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
		return 1;
	if (read(fd[0], &result, 1) < 0)
		result = '!';
	while (read(fd[0], &status, 1) > 0)
		;
	close(fd[0]);
	if (result == 'y')
		return 0;
	fprintf(stderr, "race-fork: round %d: %c\n", round, result);
	return 1;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 400, status, failed = 0;
	pid_t looker[LOOKERS];

	alarm(100);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	set = semget(IPC_PRIVATE, SEMS, 0600);
	if (set < 0) {
		perror("race-fork: semget");
		return 1;
	}
	start_lookers(set, looker);
	for (int i = 0; i < rounds && failed < 10; i++) {
		failed += round_of(i);
		while (semctl(set, OWED, GETVAL) != 0)
			waitpid(-1, &status, WNOHANG);
	}
	stop_lookers(looker);
	if (semctl(set, 0, IPC_RMID) < 0)
		failed = 1;
	return failed;
}
