/*
 * race-exec.c - a process that comes back from an exec while others look at the set that it owes to
 *
 *     race-exec [EXECS]        150; by the libc names alone
 *
 * Who looks finds a process that owes something and has exec'ed, or is about to. It must not take it for dead, though its first thread
 * is, when another one execs: what it owes stays owed. And it must not take the program after the exec, which has just come back, for
 * the one before: its sleep ends at its time-out, and never by EINTR.
 */
#include "race.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>

enum {
	WORKERS = 3,
	NAP = WORKERS, /* semaphores: one that each worker owes to, and this one */
	SEMS,
	NAP_NS = 300000,
};

struct job {
	int id, worker, done, execs;
};

static void *exec_again(void *arg)
{
	const struct job *job = arg;
	char text[4][16];

	snprintf(text[0], sizeof(text[0]), "%d", job->id);
	snprintf(text[1], sizeof(text[1]), "%d", job->worker);
	snprintf(text[2], sizeof(text[2]), "%d", job->done);
	snprintf(text[3], sizeof(text[3]), "%d", job->execs);
	execl("/proc/self/exe", "race-exec", text[0], text[1], text[2], text[3], NULL);
	perror("race-exec: execl");
	_exit(1);
}

/* The program after an exec. It execs again by its first thread, or by another one. */
static int work(struct job *job)
{
	struct sembuf nap = {NAP, -1, 0}, owed = {(unsigned short)job->worker, 1, SEM_UNDO};
	struct timespec time = {0, NAP_NS};
	pthread_t thread;
	int value;

	if (semtimedop(job->id, &nap, 1, &time) == 0 || errno != EAGAIN) {
		fprintf(stderr, "race-exec: after %d execs a nap ended with: %s\n", job->done,
			strerror(errno));
		return 1;
	}
	if (semop(job->id, &owed, 1) < 0)
		perror("race-exec: semop with SEM_UNDO");
	value = semctl(job->id, job->worker, GETVAL);
	if (value != ++job->done) {
		fprintf(stderr, "race-exec: %d is owed, not %d\n", value, job->done);
		return 1;
	}
	if (job->done == job->execs)
		return 0;
	if (job->done % 2 || pthread_create(&thread, NULL, exec_again, job))
		exec_again(job);
	for (;;)
		pause();
}

static pid_t start(struct job job)
{
	pid_t pid = fork();

	if (pid == 0)
		exec_again(&job);
	return pid;
}

int main(int argc, char **argv)
{
	struct job job = {.execs = argc > 1 ? atoi(argv[argc - 1]) : 150};
	pid_t worker[WORKERS], looker[LOOKERS];
	int status, failed = 0;

	if (argc > 4) {
		job = (struct job){atoi(argv[1]), atoi(argv[2]), atoi(argv[3]), job.execs};
		return work(&job);
	}
	job.id = semget(IPC_PRIVATE, SEMS, 0600);
	if (job.id < 0) {
		perror("race-exec: semget");
		return 1;
	}
	for (; job.worker < WORKERS; job.worker++)
		worker[job.worker] = start(job);
	start_lookers(job.id, looker);
	for (int i = 0; i < WORKERS; i++)
		failed |= worker[i] < 0 || waitpid(worker[i], &status, 0) < 0 || status != 0;
	stop_lookers(looker);
	for (int i = 0; i < WORKERS; i++)
		if (semctl(job.id, i, GETVAL) != 0) {
			fprintf(stderr, "race-exec: %d is not paid\n", semctl(job.id, i, GETVAL));
			failed = 1;
		}
	if (semctl(job.id, 0, IPC_RMID) < 0)
		failed = 1;
	return failed;
}
