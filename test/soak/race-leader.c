/*
 * race-leader.c - a process whose first thread ends while others look at the set that it owes to
 *
 *     race-leader [ROUNDS]        400; by the libc names alone
 *
 * In each round a child's thread owes something to the set and ends; another one sleeps in semtimedop; main ends by
 * pthread_exit. The process lives on, so the sleep ends at its time-out, never by EINTR, and what is owed stays owed
 * until then.
 */
#include "race.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <time.h>

enum {
	OWED,
	NAP,
	SEMS,
	NAP_NS = 3000000,
};

static int set;

static void *owe(void *unused)
{
	struct sembuf owed = {OWED, 1, SEM_UNDO};

	if (semop(set, &owed, 1) < 0)
		_exit(2);
	while (semctl(set, NAP, GETNCNT) == 0)
		;
	return unused;
}

static void *sleep_there(void *unused)
{
	struct sembuf nap = {NAP, -1, 0};
	struct timespec time = {0, NAP_NS};

	while (semctl(set, OWED, GETVAL) == 0)
		;
	if (semtimedop(set, &nap, 1, &time) == 0 || errno != EAGAIN) {
		fprintf(stderr, "race-leader: a nap ended with: %s\n", strerror(errno));
		_exit(3);
	}
	if (semctl(set, OWED, GETVAL) != 1)
		_exit(4);
	_exit(0);
	return unused;
}

static void child(unsigned round)
{
	pthread_t owes, sleeps;
	volatile unsigned n = round * 37 % 400;

	if (pthread_create(&owes, NULL, owe, NULL) ||
	    pthread_create(&sleeps, NULL, sleep_there, NULL))
		_exit(5);
	pthread_join(owes, NULL);
	while (n > 0)
		n--;
	pthread_exit(NULL);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 400, status, failed = 0;
	pid_t looker[LOOKERS];

	set = semget(IPC_PRIVATE, SEMS, 0600);
	if (set < 0) {
		perror("race-leader: semget");
		return 1;
	}
	start_lookers(set, looker);
	for (int i = 0; i < rounds && !failed; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			alarm(60);
			child(i);
		}
		failed = pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0;
		if (failed)
			fprintf(stderr, "race-leader: round %d: status 0x%x\n", i, status);
		else if (semctl(set, OWED, GETVAL) != 0) {
			fprintf(stderr, "race-leader: round %d: not paid\n", i);
			failed = 1;
		}
	}
	stop_lookers(looker);
	if (semctl(set, 0, IPC_RMID) < 0)
		failed = 1;
	return failed;
}
