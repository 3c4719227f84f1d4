/*
 * sem-trace.c - what a trace says of the calls on semaphore sets.
 */
#include "diff.h"

#include <stdio.h>

#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif

const char *const call_names[] = {"semop", "semget", "semctl"};

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

static void say_ctl(const struct world *world, const struct order *order)
{
	say_object(world, order);
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

void say_call(const struct world *world, const struct order *order)
{
	switch (order->kind) {
	case ORDER_GET:
		say_key(world, order->key);
		trace_say(" n=%d", order->nsems);
		say_get_flags(order->flags);
		break;
	case ORDER_CTL:
		say_ctl(world, order);
		break;
	default:
		say_object(world, order);
		say_sops(order);
	}
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
	say_key(world, perm->__key);
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

static void say_ctl_reply(const struct world *world, const struct order *order,
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

void say_call_reply(const struct world *world, const struct order *order, const struct reply *reply)
{
	if (order->kind == ORDER_CTL)
		say_ctl_reply(world, order, reply);
	else
		trace_say("%d", reply->rc);
}

void say_woken_reply(const struct world *world, const struct order *order,
		     const struct reply *reply)
{
	(void)world, (void)order;
	say_result(reply->rc, reply->error);
}
