/*
 * act.c - the coordinator does an order and says its result; then await.c finds out who has been released by it.
 *
 * Only one order is under way at a time. A process that ends is waited for by waitpid(), a call by its reply, or by the
 * proof that it sleeps.
 */
#include "diff.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct tally tally;

/* --- processes --- */

static unsigned add_proc(struct world *world, pid_t pid, bool nobody)
{
	world->proc[world->procs] = (struct proc){.pid = pid, .nobody = nobody};
	return world->procs++;
}

static void join_proc(struct world *world, unsigned number, unsigned proc)
{
	world->worker[number].state = WORKER_IDLE;
	world->worker[number].proc = proc;
}

/* All its workers but one, if `but` is one, are gone. */
static void bury(struct world *world, unsigned proc, int but)
{
	for (unsigned i = 0; i < world->workers; i++) {
		if (world->worker[i].state == WORKER_DEAD || world->worker[i].proc != proc ||
		    (int)i == but)
			continue;
		end_sleep(world, i);
		world->worker[i].state = WORKER_DEAD;
	}
}

static void say_status(int status)
{
	if (WIFEXITED(status))
		trace_say(" exit=%d", WEXITSTATUS(status));
	else
		trace_say(" signal=%d", WTERMSIG(status));
}

void act_spawn(struct world *world, unsigned number)
{
	struct cell *cell = &page->cell[number];
	pid_t pid;

	atomic_fetch_add(&cell->go, 1);
	pid = fork();
	if (pid == 0)
		worker_main(cell);
	if (pid < 0)
		give_up("fork fails");
	await_cell(number);
	join_proc(world, number, add_proc(world, pid, false));
}

/* Never everybody's. */
static void end_proc(const struct proc *proc)
{
	if (proc->pid > 1)
		kill(proc->pid, SIGKILL);
}

void act_end_all(struct world *world)
{
	for (unsigned i = 0; i < world->workers; i++)
		if (world->worker[i].state != WORKER_DEAD)
			end_proc(&world->proc[world->worker[i].proc]);
	for (int i = 0; i < SLOTS; i++)
		if (world->slot[i].alive)
			object_remove(world->slot[i].id);
}

/* --- orders that change processes; each says its result --- */

static void issue(const struct order *order)
{
	struct cell *cell = &page->cell[order->worker];

	cell->order = *order;
	cell_give(cell);
}

static void act_exit(struct world *world, const struct order *order)
{
	unsigned proc = world->worker[order->worker].proc;

	issue(order);
	say_status(await_end(world->proc[proc].pid));
	bury(world, proc, -1);
}

static void act_thread_exit(struct world *world, const struct order *order)
{
	unsigned proc = world->worker[order->worker].proc;

	issue(order);
	await_cell(order->worker);
	world->worker[order->worker].state = WORKER_DEAD;
	if (world_threads(world, proc) == 0)
		say_status(await_end(world->proc[proc].pid));
}

static void act_fork_move(struct world *world, const struct order *order)
{
	unsigned proc = world->worker[order->worker].proc;

	issue(order);
	say_status(await_end(world->proc[proc].pid));
	bury(world, proc, -1);
	await_cell(order->worker);
	join_proc(world, order->worker,
		  add_proc(world, page->cell[order->worker].pid, world->proc[proc].nobody));
}

/* A worker makes another one, in its own process or a new one. */
static void act_make_other(struct world *world, const struct order *order)
{
	struct cell *other = &page->cell[order->other];
	unsigned proc = world->worker[order->worker].proc;

	atomic_fetch_add(&other->go, 1);
	issue(order);
	await_cell(order->worker);
	await_cell(order->other);
	if (order->kind == ORDER_FORK_MORE)
		proc = add_proc(world, other->pid, world->proc[proc].nobody);
	join_proc(world, order->other, proc);
	say_reply(world, order, &page->cell[order->worker].reply);
}

static void act_exec(struct world *world, const struct order *order)
{
	unsigned proc = world->worker[order->worker].proc;

	issue(order);
	await_cell(order->worker);
	if (page->cell[order->worker].reply.rc == 0)
		bury(world, proc, (int)order->worker);
	world->proc[proc].nobody = false;
	say_reply(world, order, &page->cell[order->worker].reply);
}

static void act_fork_once(struct world *world, const struct order *order)
{
	const struct reply *reply = &page->cell[order->worker].reply;

	issue(order);
	await_cell(order->worker);
	say_reply(world, order, reply);
	if (order->kind == ORDER_FORK_ONCE) {
		add_proc(world, reply->child,
			 world->proc[world->worker[order->worker].proc].nobody);
		trace_say(" child=");
		say_result(reply->handler_rc, reply->handler_error);
	}
	say_status(reply->status);
}

/* A process can be killed in any state. */
static void act_kill(struct world *world, const struct order *order)
{
	unsigned proc = world->worker[order->worker].proc;

	end_proc(&world->proc[proc]);
	say_status(await_end(world->proc[proc].pid));
	bury(world, proc, -1);
}

/* All its sleepers have left their queues when it has stopped; when it goes on, semop replies, msgsnd and msgrcv call again. */
static void act_stop(struct world *world, const struct order *order)
{
	pid_t pid = world->proc[world->worker[order->worker].proc].pid;
	siginfo_t info;

	if (pid <= 1)
		give_up("a process without a pid");
	kill(pid, SIGSTOP);
	waitid(P_PID, (id_t)pid, &info, WSTOPPED);
	kill(pid, SIGCONT);
	waitid(P_PID, (id_t)pid, &info, WCONTINUED);
	trace_say("stopped");
}

static void act_limit(const struct order *order)
{
	char path[64], text[16];
	int fd, error = 0, size = snprintf(text, sizeof(text), "%d", order->value);

	snprintf(path, sizeof(path), "/proc/sys/kernel/%s", order->limit);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)size) < 0)
		error = errno;
	if (fd >= 0)
		close(fd);
	say_result(error ? -1 : 0, error);
}

/* --- orders about objects --- */

static void act_signal(struct world *world, const struct order *order)
{
	struct worker *worker = &world->worker[order->worker];
	struct cell *cell = &page->cell[order->worker];

	cell->handler = *order;
	syscall(SYS_tgkill, world->proc[worker->proc].pid, cell->tid, SIGUSR1);
	await_cell(order->worker);
	say_result(cell->reply.rc, cell->reply.error);
	if (order->kind == ORDER_SIGNAL_OP) {
		trace_say(" handler=");
		say_result(cell->reply.handler_rc, cell->reply.handler_error);
	}
	end_sleep(world, order->worker);
}

static const struct slot *find_slot(const struct world *world, int id)
{
	for (int i = 0; i < SLOTS; i++)
		if (world->slot[i].alive && world->slot[i].id == id)
			return &world->slot[i];
	return NULL;
}

static void note_new_object(struct world *world, const struct order *order, int id)
{
	static unsigned labels;
	struct slot *slot = &world->slot[order->slot];

	if (find_slot(world, id))
		return;
	if (order->slot < 0 || order->nsems < 1 || order->nsems > SEMS_MAX) {
		object_remove(id);
		give_up("an object came to be that should not have");
	}
	*slot = (struct slot){.alive = true, .id = id, .label = labels++, .nsems = order->nsems};
}

static void note_effect(struct world *world, const struct order *order, const struct reply *reply)
{
	struct proc *proc = &world->proc[world->worker[order->worker].proc];

	if (reply->rc < 0)
		return;
	if (order->kind == ORDER_GET)
		note_new_object(world, order, reply->rc);
	if (order->kind == ORDER_SETEUID)
		proc->nobody = order->uid != 0;
	if (order->kind == ORDER_OP && order->undo)
		proc->undo = true;
	if (order->kind == ORDER_CTL && order->cmd == IPC_RMID && order->slot >= 0)
		world->slot[order->slot].alive = false;
}

static void act_call(struct world *world, const struct order *order)
{
	const struct reply *reply = &page->cell[order->worker].reply;

	issue(order);
	if (order_can_sleep(world, order) && await_reply_or_sleep(world, order)) {
		begin_sleep(world, order);
		if (order->undo)
			world->proc[world->worker[order->worker].proc].undo = true;
		trace_say("sleeps");
		return;
	}
	await_cell(order->worker);
	note_effect(world, order, reply);
	say_reply(world, order, reply);
}

static void act_tick(void)
{
	time_t then = time(NULL) + 2;
	struct timespec step = {0, 10000000};

	while (time(NULL) < then)
		nanosleep(&step, NULL);
	epoch_begin();
	trace_say("tock");
}

/* --- any order --- */

bool order_ends_process(const struct order *order)
{
	switch (order->kind) {
	case ORDER_EXIT:
	case ORDER_THREAD_EXIT:
	case ORDER_FORK_MOVE:
	case ORDER_EXEC:
	case ORDER_KILL:
	case ORDER_KILL_QUIET:
		return true;
	default:
		return false;
	}
}

static void act_kind(struct world *world, const struct order *order)
{
	switch (order->kind) {
	case ORDER_EXIT:
		act_exit(world, order);
		break;
	case ORDER_THREAD_EXIT:
		act_thread_exit(world, order);
		break;
	case ORDER_FORK_MOVE:
		act_fork_move(world, order);
		break;
	case ORDER_FORK_MORE:
	case ORDER_TWIN:
		act_make_other(world, order);
		break;
	case ORDER_EXEC:
		act_exec(world, order);
		break;
	case ORDER_FORK_ONCE:
	case ORDER_VFORK:
		act_fork_once(world, order);
		break;
	case ORDER_SPAWN:
		act_spawn(world, order->worker);
		break;
	case ORDER_KILL:
	case ORDER_KILL_QUIET:
		act_kill(world, order);
		break;
	case ORDER_STOP:
		act_stop(world, order);
		break;
	case ORDER_SIGNAL:
	case ORDER_SIGNAL_OP:
		act_signal(world, order);
		break;
	case ORDER_TICK:
		act_tick();
		break;
	case ORDER_LIMIT:
		act_limit(order);
		break;
	case ORDER_KINDS:
		break;
	default:
		act_call(world, order);
	}
}

void act(struct world *world, const struct order *order)
{
	unsigned slots = order->slot < 0 ? 0 : 1u << order->slot, prompt = ~0u;

	check_sleepers(world);
	tally.kind[order->kind]++;
	act_kind(world, order);
	if (order_ends_process(order) || order->kind == ORDER_FORK_ONCE ||
	    order->kind == ORDER_STOP)
		slots = ALL_SLOTS;
	if (order->kind == ORDER_KILL_QUIET)
		prompt = await_quietly(world);
	collect(world, slots, prompt);
}
