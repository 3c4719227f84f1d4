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

#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif

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
	} names[] = {{E2BIG, "E2BIG"},	 {EACCES, "EACCES"}, {EAGAIN, "EAGAIN"}, {EEXIST, "EEXIST"},
		     {EFAULT, "EFAULT"}, {EFBIG, "EFBIG"},   {EIDRM, "EIDRM"},	 {EINTR, "EINTR"},
		     {EINVAL, "EINVAL"}, {ENOENT, "ENOENT"}, {ENOMEM, "ENOMEM"}, {ENOSPC, "ENOSPC"},
		     {ENOSYS, "ENOSYS"}, {EPERM, "EPERM"},   {ERANGE, "ERANGE"}};
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
	else
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
static void say_id(const struct world *world, int id)
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

static const char *command_name(int cmd)
{
	static const struct {
		int cmd;
		const char *name;
	} names[] = {{IPC_RMID, "RMID"},     {IPC_SET, "SET"},	   {IPC_STAT, "STAT"},
		     {IPC_INFO, "IPC_INFO"}, {GETPID, "GETPID"},   {GETVAL, "GETVAL"},
		     {GETALL, "GETALL"},     {GETNCNT, "GETNCNT"}, {GETZCNT, "GETZCNT"},
		     {SETVAL, "SETVAL"},     {SETALL, "SETALL"},   {SEM_STAT, "SEM_STAT"},
		     {SEM_INFO, "SEM_INFO"}, {SEM_STAT_ANY, "ANY"}};
	static char other[24];

	for (unsigned i = 0; i < COUNT_OF(names); i++)
		if (names[i].cmd == cmd)
			return names[i].name;
	snprintf(other, sizeof(other), "cmd%d", cmd);
	return other;
}

/* --- orders --- */

static void say_set(const struct world *world, const struct order *order)
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

static void say_sops(const struct order *order)
{
	static const char *const waits[] = {"",	     ",null",  ",long",	   ",huge",
					    ",zero", ",short", ",badnsec", ",negative"};

	trace_say(" [");
	for (unsigned i = 0; i < order->nsops && i < SOPS_MAX; i++) {
		const struct sembuf *sop = &order->sops[i];

		trace_say("%s%u%+d%s%s%s", i ? " " : "", sop->sem_num, sop->sem_op,
			  sop->sem_flg & SEM_UNDO ? "u" : "", sop->sem_flg & IPC_NOWAIT ? "n" : "",
			  sop->sem_flg & ~(SEM_UNDO | IPC_NOWAIT) ? "?" : "");
	}
	trace_say("]%s", waits[order->wait]);
	if (order->nsops == 0 || order->nsops > SOPS_MAX)
		trace_say(",nsops=%u", order->nsops);
	if (order->bad_pointer)
		trace_say(",badptr");
}

static void say_semctl(const struct world *world, const struct order *order)
{
	trace_say("semctl");
	say_set(world, order);
	trace_say(" %d %s", order->num, command_name(order->cmd));
	if (order->bad_pointer)
		trace_say(",badptr");
	switch (order->cmd) {
	case SETVAL:
		trace_say("=%d", order->value);
		break;
	case IPC_SET:
		trace_say("=uid%d,mode%o", (int)order->uid, order->mode);
		break;
	case SETALL:
		for (unsigned i = 0; i < SEMS_SHOWN; i++)
			trace_say("%c%u", i ? ',' : '=', order->array[i]);
	}
}

static void say_semget(const struct world *world, const struct order *order)
{
	if (order->key == IPC_PRIVATE)
		trace_say("semget private");
	else
		trace_say("semget k%d", order->key - world->key_base);
	trace_say(" n=%d %o%s%s", order->nsems, order->flags & 0777,
		  order->flags & IPC_CREAT ? "+creat" : "", order->flags & IPC_EXCL ? "+excl" : "");
}

void say_order(const struct world *world, const struct order *order)
{
	static const char *const names[] = {
		"semop",       "semget",    "semctl",	 "seteuid",   "restart", "fork-once",
		"vfork",       "fork-more", "fork-move", "twin",      "exec",	 "exit",
		"thread-exit", "spawn",	    "signal",	 "signal-op", "kill",	 "kill-quiet",
		"stop",	       "tick",	    "nothing"};
	static const char *const ends[] = {"_exit", "exit", "kill"};

	trace_say("W%u ", order->worker);
	switch (order->kind) {
	case ORDER_SEMGET:
		say_semget(world, order);
		return;
	case ORDER_SEMCTL:
		say_semctl(world, order);
		return;
	case ORDER_SEMOP:
	case ORDER_FORK_ONCE:
	case ORDER_SIGNAL_OP:
		trace_say("%s", names[order->kind]);
		say_set(world, order);
		say_sops(order);
		if (order->kind == ORDER_FORK_ONCE)
			trace_say(",%s", ends[order->how]);
		return;
	default:
		trace_say("%s", names[order->kind]);
	}
	if (order->kind == ORDER_EXIT || order->kind == ORDER_FORK_MOVE)
		trace_say(" %s", ends[order->how]);
	if (order->kind == ORDER_FORK_MORE || order->kind == ORDER_TWIN)
		trace_say(" W%u", order->other);
	if (order->kind == ORDER_SETEUID)
		trace_say(" %d", (int)order->uid);
}

/* --- replies --- */

static void say_stat(const struct world *world, const struct semid_ds *ds)
{
	const struct ipc_perm *perm = &ds->sem_perm;

	trace_say(" uid=%d,%d/%d,%d mode=%o nsems=%lu o=", (int)perm->uid, (int)perm->gid,
		  (int)perm->cuid, (int)perm->cgid, (unsigned)perm->mode,
		  (unsigned long)ds->sem_nsems);
	say_time(ds->sem_otime);
	trace_say(" c=");
	say_time(ds->sem_ctime);
	if (perm->__key == IPC_PRIVATE)
		trace_say(" private");
	else
		trace_say(" k%d", perm->__key - world->key_base);
	if (world->exact)
		trace_say(" seq=%d", (int)perm->__seq);
}

static void say_info(const struct world *world, int cmd, const struct seminfo *info)
{
	trace_say(" map=%d mni=%d mns=%d mnu=%d msl=%d opm=%d ume=%d vmx=%d", info->semmap,
		  info->semmni, info->semmns, info->semmnu, info->semmsl, info->semopm,
		  info->semume, info->semvmx);
	if (cmd == IPC_INFO || world->exact)
		trace_say(" usz=%d aem=%d", info->semusz, info->semaem);
}

static void say_values(const struct world *world, const struct order *order,
		       const struct reply *reply)
{
	int n = order->slot < 0 ? 1 : world->slot[order->slot].nsems;

	for (int i = 0; i < n && i < SEMS_SHOWN; i++)
		trace_say("%c%u", i ? ',' : ' ', reply->array[i]);
}

static void say_semctl_reply(const struct world *world, const struct order *order,
			     const struct reply *reply)
{
	switch (order->cmd) {
	case GETPID:
		say_pid(world, reply->rc);
		return;
	case SEM_STAT:
	case SEM_STAT_ANY:
		say_id(world, reply->rc);
		say_stat(world, &reply->ds);
		return;
	case IPC_STAT:
		trace_say("%d", reply->rc);
		say_stat(world, &reply->ds);
		return;
	case IPC_INFO:
	case SEM_INFO:
		if (world->exact)
			trace_say("%d", reply->rc);
		say_info(world, order->cmd, &reply->info);
		return;
	case GETALL:
		trace_say("%d", reply->rc);
		say_values(world, order, reply);
		return;
	default:
		trace_say("%d", reply->rc);
	}
}

void say_reply(const struct world *world, const struct order *order, const struct reply *reply)
{
	int rc = reply->rc, error = reply->error;

	if (trace_sabotaged(SABOTAGE_RESULT)) {
		rc = rc < 0 ? 0 : -1;
		error = EAGAIN;
	}
	if (rc < 0 || rc != reply->rc)
		say_result(rc, error);
	else if (order->kind == ORDER_SEMCTL)
		say_semctl_reply(world, order, reply);
	else if (order->kind == ORDER_SEMGET)
		say_id(world, rc);
	else
		trace_say("%d", rc);
	if (reply->early)
		trace_say(" EARLY");
}
