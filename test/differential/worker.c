/*
 * worker.c - what a worker does: it waits for an order, obeys, replies, rings the bell.
 *
 * A worker knows nothing of the plan. Every way in which a process can come to be, change or end is an order here, since
 * each moves or drops in its own way what a mechanism keeps for a process. A worker dies with the coordinator: new processes wait until it
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

static __thread struct cell *my_cell;

/* --- signals --- */

static void on_signal(int sig)
{
	int error = errno;

	(void)sig;
	if (my_cell && my_cell->handler.kind == ORDER_SIGNAL_OP) {
		my_cell->handler.kind = ORDER_SIGNAL;
		my_cell->reply.handler_rc = call_op(&my_cell->handler, &my_cell->reply);
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

	if (pid == 0) {
		reply->handler_rc = call_op(order, reply);
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
	return execl("/proc/thread-self/exe", program_name, "--worker", fd, number, (char *)NULL);
}

/* Inherited by threads and children, kept over exec. */
static void follow_order(void)
{
	struct sched_param param = {.sched_priority = 1};

	if (page->fifo && sched_setscheduler(0, SCHED_FIFO, &param) < 0)
		_exit(97);
}

void worker_main(struct cell *cell)
{
	follow_order();
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
	case ORDER_OP:
		return call_op(order, reply);
	case ORDER_GET:
		return call_get(order);
	case ORDER_CTL:
		return call_ctl(order, reply);
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
		cell->reply.early = cell->reply.spilled = false;
		cell->reply.rc = obey(cell);
		cell->reply.error = cell->reply.rc < 0 ? errno : 0;
		reply_now(cell);
	}
}
