/*
 * trace.c - the canonical trace: everything that the kernel and vee must agree on, nothing else.
 *
 *	12 W3 semop s0 [0-1u 2+1] -> sleeps | s0 …         operation 12, by worker 3
 *	13 W1 semop s0 [0+1] -> 0 | woken W3=0 | s0 …
 *
 * Ids are shown as labels in the order of creation, pids as labels of processes, times by epoch: `0` never, `now` in
 * this epoch, `-1` in the one before. Epochs are two seconds apart, so a clock that is off by one does no harm.
 * The buffer is written by write() alone, so that a signal handler can save what there is.
 */
#include "diff.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EPOCHS_MAX 4096

static char buffer[1 << 16];
static size_t used;
static int trace_fd = 1;
static time_t epoch_start[EPOCHS_MAX];
static unsigned epochs;
static enum sabotage sabotage;
static uint64_t sabotage_from, number_now;

bool trace_open(const char *path)
{
	trace_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	return trace_fd >= 0;
}

void trace_flush(void)
{
	size_t at = 0;

	while (at < used) {
		ssize_t n = write(trace_fd, buffer + at, used - at);

		if (n <= 0 && errno != EINTR)
			_exit(2);
		at += n > 0 ? (size_t)n : 0;
	}
	used = 0;
}

void trace_say(const char *format, ...)
{
	va_list args;
	int n;

	if (used > sizeof(buffer) - 1024)
		trace_flush();
	va_start(args, format);
	n = vsnprintf(buffer + used, sizeof(buffer) - used, format, args);
	va_end(args);
	used += (size_t)n;
}

void trace_number(uint64_t number)
{
	number_now = number;
}

/* --- sabotage: the comparison must see it --- */

bool trace_set_sabotage(const char *text)
{
	static const char *const names[] = {"none",  "result", "value", "pid",
					    "count", "time",   "wake",	"id"};
	const char *at = strchr(text, '@');

	if (!at)
		return false;
	for (unsigned i = 1; i < COUNT_OF(names); i++)
		if (!strncmp(names[i], text, strlen(names[i]))) {
			sabotage = (enum sabotage)i;
			sabotage_from = strtoull(at + 1, NULL, 10);
			return true;
		}
	return false;
}

bool trace_sabotaged(enum sabotage what)
{
	if (sabotage != what || number_now < sabotage_from)
		return false;
	sabotage = SABOTAGE_NONE;
	return true;
}

/* --- times --- */

void epoch_begin(void)
{
	if (epochs < EPOCHS_MAX)
		epoch_start[epochs++] = time(NULL);
}

void say_time(time_t then)
{
	if (trace_sabotaged(SABOTAGE_TIME))
		then = then ? 0 : time(NULL);
	if (then == 0) {
		trace_say("0");
		return;
	}
	for (unsigned i = epochs; i-- > 0;) {
		time_t end = i + 1 < epochs ? epoch_start[i + 1] : time(NULL) + 2;

		if (then < epoch_start[i] - 1)
			continue;
		if (then >= end)
			break;
		trace_say(i + 1 == epochs ? "now" : "-%u", epochs - 1 - i);
		return;
	}
	trace_say("?%+lld", (long long)(then - time(NULL)));
}

/* --- names --- */

const char *error_name(int error)
{
	static const struct {
		int error;
		const char *name;
	} names[] = {
		{E2BIG, "E2BIG"},   {EACCES, "EACCES"}, {EAGAIN, "EAGAIN"}, {EEXIST, "EEXIST"},
		{EFAULT, "EFAULT"}, {EFBIG, "EFBIG"},	{EIDRM, "EIDRM"},   {EINTR, "EINTR"},
		{EINVAL, "EINVAL"}, {ENOENT, "ENOENT"}, {ENOMEM, "ENOMEM"}, {ENOSPC, "ENOSPC"},
		{ENOMSG, "ENOMSG"}, {ENOSYS, "ENOSYS"}, {EPERM, "EPERM"},   {ERANGE, "ERANGE"}};
	static char other[24];

	for (unsigned i = 0; i < COUNT_OF(names); i++)
		if (names[i].error == error)
			return names[i].name;
	snprintf(other, sizeof(other), "errno%d", error);
	return other;
}

void say_result(int rc, int error)
{
	if (rc < 0)
		trace_say("%s", error_name(error));
	else
		trace_say("%d", rc);
}

/* The kernel shows the thread, not the process, that a message was handed to in its sleep. */
static bool say_thread(const struct world *world, pid_t tid)
{
	for (unsigned i = 0; i < world->workers; i++)
		if (world->worker[i].state != WORKER_DEAD && page->cell[i].tid == tid) {
			trace_say("W%u's", i);
			return true;
		}
	return false;
}

void say_pid(const struct world *world, pid_t pid)
{
	unsigned at = world->procs;

	if (trace_sabotaged(SABOTAGE_PID))
		pid = pid ? 0 : -1;
	while (at > 0 && world->proc[at - 1].pid != pid)
		at--;
	if (pid == 0)
		trace_say("-");
	else if (at > 0)
		trace_say("P%u", at - 1);
	else if (!say_thread(world, pid))
		trace_say("pid?");
}

void say_slot(const struct slot *slot)
{
	if (slot->id < 0)
		trace_say("none");
	else
		trace_say("s%u%s", slot->label, slot->alive ? "" : "!");
}

/* What an id that a call returned stands for. */
void say_id(const struct world *world, int id)
{
	if (trace_sabotaged(SABOTAGE_ID))
		id ^= 1;
	if (world->exact)
		trace_say("#%d:", id);
	for (unsigned i = 0; i < SLOTS; i++)
		if (world->slot[i].id == id && world->slot[i].id >= 0) {
			say_slot(&world->slot[i]);
			return;
		}
	trace_say("other");
}

/* --- orders --- */

void say_object(const struct world *world, const struct order *order)
{
	const struct slot *slot = order->slot < 0 ? NULL : &world->slot[order->slot];

	if (!slot)
		trace_say(order->id < 0 ? " id<0" : " id?");
	else if (slot->id == order->id)
		trace_say(" "), say_slot(slot);
	else
		trace_say(" index of "), say_slot(slot);
	if (world->exact)
		trace_say("#%d", order->id);
}

const char *order_name(enum order_kind kind)
{
	static const char *const names[] = {
		"seteuid",    "restart", "fork-once",	"vfork", "fork-more", "fork-move", "twin",
		"exec",	      "exit",	 "thread-exit", "spawn", "signal",    "signal-op", "kill",
		"kill-quiet", "stop",	 "tick",	"limit", "nothing"};

	return kind < ORDER_SETEUID ? call_names[kind] : names[kind - ORDER_SETEUID];
}

void say_key(const struct world *world, key_t key)
{
	if (key == IPC_PRIVATE)
		trace_say(" private");
	else
		trace_say(" k%d", key - world->key_base);
}

void say_get_flags(int flags)
{
	trace_say(" %o%s%s", flags & 0777, flags & IPC_CREAT ? "+creat" : "",
		  flags & IPC_EXCL ? "+excl" : "");
}

void say_order(const struct world *world, const struct order *order)
{
	static const char *const ends[] = {"_exit", "exit", "kill"};

	trace_say("W%u ", order->worker);
	trace_say("%s", order_name(order->kind));
	if (order->kind < ORDER_SETEUID || order->kind == ORDER_FORK_ONCE ||
	    order->kind == ORDER_SIGNAL_OP)
		say_call(world, order);
	if (order->kind == ORDER_FORK_ONCE)
		trace_say(",%s", ends[order->how]);
	if (order->kind == ORDER_EXIT || order->kind == ORDER_FORK_MOVE)
		trace_say(" %s", ends[order->how]);
	if (order->kind == ORDER_FORK_MORE || order->kind == ORDER_TWIN)
		trace_say(" W%u", order->other);
	if (order->kind == ORDER_SETEUID)
		trace_say(" %d", (int)order->uid);
	if (order->kind == ORDER_LIMIT)
		trace_say(" %s=%d", order->limit, order->value);
}

/* --- replies --- */

void say_reply(const struct world *world, const struct order *order, const struct reply *reply)
{
	int rc = reply->rc, error = reply->error;

	if (trace_sabotaged(SABOTAGE_RESULT)) {
		rc = rc < 0 ? 0 : -1;
		error = EAGAIN;
	}
	if (rc < 0 || rc != reply->rc)
		say_result(rc, error);
	else if (order->kind == ORDER_GET)
		say_id(world, rc);
	else
		say_call_reply(world, order, reply);
	if (reply->early)
		trace_say(" EARLY");
	if (reply->spilled)
		trace_say(" SPILLED");
}
