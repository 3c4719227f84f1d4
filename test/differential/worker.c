/*
 * worker.c - what a worker does: it waits for an order, obeys, replies, rings the bell.
 *
 * A worker knows nothing of the plan. Every way in which a process can come to be, change or end is an order here, since
 * each moves or drops SEM_UNDO in its own way. A worker dies with the coordinator: new processes wait until it
 * is their parent, and ask for a signal at its death.
 */
#include "diff.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ADOPT_LIMIT_S 10
#define STACK_SIZE    (128 * 1024)

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
};

static __thread struct cell *my_cell;

/* --- calls --- */

static struct timespec *fill_timeout(enum wait_kind wait, struct timespec *time)
{
	switch (wait) {
	case WAIT_LONG:
		*time = (struct timespec){1000, 1};
		return time;
	case WAIT_HUGE:
		*time = (struct timespec){INT64_MAX / 2, NSEC_PER_SEC - 1};
		return time;
	case WAIT_ZERO:
		*time = (struct timespec){0, 0};
		return time;
	case WAIT_SHORT:
		*time = (struct timespec){0, SHORT_WAIT_NS};
		return time;
	case WAIT_BAD_NSEC:
		*time = (struct timespec){0, NSEC_PER_SEC};
		return time;
	case WAIT_NEGATIVE:
		*time = (struct timespec){-1, 0};
		return time;
	default:
		return NULL;
	}
}

/* Returns what the call does, errno too. */
static int do_semop(const struct order *order, bool *ret_early)
{
	struct sembuf sops[SOPS_MAX];
	struct timespec time;
	int64_t start = 0;
	int rc, error;

	memcpy(sops, order->sops, sizeof(sops));
	if (order->bad_pointer)
		return semop(order->id, (struct sembuf *)8, order->nsops);
	if (order->wait == WAIT_SEMOP)
		return semop(order->id, sops, order->nsops);
	if (order->wait == WAIT_SHORT)
		start = now_ns();
	rc = semtimedop(order->id, sops, order->nsops, fill_timeout(order->wait, &time));
	if (order->wait == WAIT_SHORT && rc < 0 && errno == EAGAIN) {
		error = errno;
		*ret_early = now_ns() - start < SHORT_WAIT_NS;
		errno = error;
	}
	return rc;
}

static int do_semctl(const struct order *order, struct reply *reply)
{
	union semun arg;

	switch (order->cmd) {
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		arg.buf = &reply->ds;
		break;
	case IPC_SET:
		memset(&reply->ds, 0, sizeof(reply->ds));
		reply->ds.sem_perm.uid = order->uid;
		reply->ds.sem_perm.gid = order->uid;
		reply->ds.sem_perm.mode = order->mode;
		arg.buf = &reply->ds;
		break;
	case IPC_INFO:
	case SEM_INFO:
		arg.info = &reply->info;
		break;
	case GETALL:
		arg.array = reply->array;
		break;
	case SETALL:
		memcpy(reply->array, order->array, sizeof(reply->array));
		arg.array = reply->array;
		break;
	case SETVAL:
		arg.val = order->value;
		break;
	default:
		return semctl(order->id, order->num, order->cmd);
	}
	if (order->bad_pointer)
		arg.buf = (struct semid_ds *)8;
	return semctl(order->id, order->num, order->cmd, arg);
}

/* --- signals --- */

static void on_signal(int sig)
{
	int error = errno;
	bool early;

	(void)sig;
	if (my_cell && my_cell->handler.kind == ORDER_SIGNAL_OP) {
		my_cell->handler.kind = ORDER_SIGNAL;
		my_cell->reply.handler_rc = do_semop(&my_cell->handler, &early);
		my_cell->reply.handler_error = errno;
	}
	errno = error;
}

static int set_handler(bool restart)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = restart ? SA_RESTART : 0};

	return sigaction(SIGUSR1, &action, NULL);
}

/* --- processes --- */

static void worker_obey(struct cell *cell) __attribute__((noreturn));

static void end(enum exit_kind how)
{
	switch (how) {
	case EXIT_NORMAL:
		exit(0);
	case EXIT_KILLED:
		kill(getpid(), SIGKILL);
		pause();
		break;
	default:
		_exit(0);
	}
}

static void reply_now(struct cell *cell)
{
	atomic_store(&cell->done, atomic_load(&cell->go));
	atomic_fetch_add(&page->bell, 1);
	word_wake(&page->bell);
}

/* Only a child of the coordinator can ask to die with it. */
static void await_adoption(void)
{
	int64_t limit = now_ns() + ADOPT_LIMIT_S * NSEC_PER_SEC;

	while (getppid() != page->coordinator) {
		if (now_ns() > limit)
			_exit(98);
		sched_yield();
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != page->coordinator)
		_exit(98);
}

static void worker_begin(struct cell *cell)
{
	my_cell = cell;
	await_adoption();
	cell->pid = getpid();
	cell->tid = (pid_t)syscall(SYS_gettid);
	cell->reply.rc = 0;
	reply_now(cell);
}

static int reap(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}

static int fork_once(const struct order *order, struct reply *reply)
{
	pid_t pid = fork();
	bool early;

	if (pid == 0) {
		reply->handler_rc = do_semop(order, &early);
		reply->handler_error = errno;
		end(order->how);
	}
	if (pid < 0)
		return -1;
	reply->child = pid;
	reply->status = reap(pid);
	return 0;
}

static int fork_quickly(struct reply *reply)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return -1;
	reply->status = reap(pid);
	return 0;
}

static int fork_more(struct cell *other, struct reply *reply)
{
	pid_t pid = fork();

	if (pid == 0) {
		pid = fork();
		if (pid != 0)
			_exit(pid < 0);
		worker_begin(other);
		worker_obey(other);
	}
	if (pid < 0)
		return -1;
	reply->status = reap(pid);
	return 0;
}

/* The child goes on as this worker. */
static int fork_move(const struct order *order, struct cell *cell)
{
	pid_t pid = fork();

	if (pid > 0)
		end(order->how);
	if (pid == 0) {
		worker_begin(cell);
		worker_obey(cell);
	}
	return pid;
}

static void *twin_main(void *arg)
{
	struct cell *cell = arg;

	my_cell = cell;
	cell->pid = getpid();
	cell->tid = (pid_t)syscall(SYS_gettid);
	cell->reply.rc = 0;
	reply_now(cell);
	worker_obey(cell);
}

static int make_twin(struct cell *other)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	errno = pthread_create(&thread, &attr, twin_main, other);
	pthread_attr_destroy(&attr);
	return errno ? -1 : 0;
}

static int become_program(const struct cell *cell)
{
	char fd[16], number[16];

	if (getuid() == 0 && seteuid(0) < 0) /* or LD_PRELOAD would be dropped */
		return -1;
	snprintf(fd, sizeof(fd), "%d", page_fd);
	snprintf(number, sizeof(number), "%d", (int)(cell - page->cell));
	/* Not /proc/self: that has no exe once the main thread is gone. */
	return execl("/proc/thread-self/exe", "diff-sem", "--worker", fd, number, (char *)NULL);
}

void worker_main(struct cell *cell)
{
	set_handler(false);
	worker_begin(cell);
	worker_obey(cell);
}

static int become_user(uid_t uid)
{
	int rc = seteuid(uid);

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* the change has cleared it */
	return rc;
}

/* --- obeying --- */

static int obey(struct cell *cell)
{
	struct order *order = &cell->order;
	struct reply *reply = &cell->reply;

	switch (order->kind) {
	case ORDER_SEMOP:
		return do_semop(order, &reply->early);
	case ORDER_SEMGET:
		return semget(order->key, order->nsems, order->flags);
	case ORDER_SEMCTL:
		return do_semctl(order, reply);
	case ORDER_SETEUID:
		return become_user(order->uid);
	case ORDER_RESTART:
		return set_handler(order->value);
	case ORDER_FORK_ONCE:
		return fork_once(order, reply);
	case ORDER_VFORK:
		return fork_quickly(reply);
	case ORDER_FORK_MORE:
		return fork_more(&page->cell[order->other], reply);
	case ORDER_FORK_MOVE:
		return fork_move(order, cell);
	case ORDER_TWIN:
		return make_twin(&page->cell[order->other]);
	case ORDER_EXEC:
		return become_program(cell);
	case ORDER_EXIT:
		end(order->how);
		break;
	default:
		break;
	}
	errno = ENOSYS;
	return -1;
}

static void worker_obey(struct cell *cell)
{
	for (;;) {
		uint32_t done = atomic_load(&cell->done);

		if (atomic_load(&cell->go) == done) {
			word_wait(&cell->go, done, -1);
			continue;
		}
		if (cell->order.kind == ORDER_THREAD_EXIT) {
			reply_now(cell);
			pthread_exit(NULL);
		}
		errno = 0;
		cell->reply.early = false;
		cell->reply.rc = obey(cell);
		cell->reply.error = cell->reply.rc < 0 ? errno : 0;
		reply_now(cell);
	}
}
