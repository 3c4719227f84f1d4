/*
 * msg-trace.c - what a trace says of the calls on message queues.
 *
 *	12 W3 op s0 snd t2 20b -> sleeps | s0 …			a message of type 2 with 20 bytes
 *	13 W1 op s0 rcv t0 64b -> 8 t1 #1c2f0d5e | woken W3=0 | s0 …
 *
 * Of a text a hash is shown; of a queue how many messages (n) and bytes (b) of how many (q) it holds, and who has sent and
 * received last, and when; at times the messages themselves.
 */
#include "diff.h"

#include <errno.h>
#include <stdio.h>

#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif
#ifndef MSG_COPY
#define MSG_COPY 040000
#endif
#ifndef MSG_EXCEPT
#define MSG_EXCEPT 020000
#endif

const char *const call_names[] = {"op", "msgget", "msgctl"};

static const char *command_name(int cmd)
{
	static const struct {
		int cmd;
		const char *name;
	} names[] = {{IPC_RMID, "RMID"},     {IPC_SET, "SET"},	     {IPC_STAT, "STAT"},
		     {IPC_INFO, "IPC_INFO"}, {MSG_STAT, "MSG_STAT"}, {MSG_INFO, "MSG_INFO"},
		     {MSG_STAT_ANY, "ANY"}};
	static char other[24];

	for (unsigned i = 0; i < COUNT_OF(names); i++)
		if (names[i].cmd == cmd)
			return names[i].name;
	snprintf(other, sizeof(other), "cmd%d", cmd);
	return other;
}

/* --- orders --- */

static void say_op(const struct order *order)
{
	static const char *const buffers[] = {"", ",none", ",type", ",part", ",readonly"};
	int known = IPC_NOWAIT | MSG_NOERROR | MSG_EXCEPT | MSG_COPY;

	trace_say(" %s t%ld %zdb", order->receives ? "rcv" : "snd", order->type,
		  (ssize_t)order->size);
	trace_say("%s%s%s%s%s", order->flags & IPC_NOWAIT ? "+nowait" : "",
		  order->flags & MSG_NOERROR ? "+noerror" : "",
		  order->flags & MSG_EXCEPT ? "+except" : "",
		  order->flags & MSG_COPY ? "+copy" : "", order->flags & ~known ? "+?" : "");
	trace_say("%s", buffers[order->buffer]);
}

static void say_ctl(const struct order *order)
{
	trace_say(" %s", command_name(order->cmd));
	if (order->bad_pointer)
		trace_say(",badptr");
	if (order->cmd == IPC_SET)
		trace_say("=uid%d,mode%o,q%ld", (int)order->uid, order->mode, (long)order->qbytes);
}

void say_call(const struct world *world, const struct order *order)
{
	if (order->kind == ORDER_GET) {
		say_key(world, order->key);
		say_get_flags(order->flags);
		return;
	}
	say_object(world, order);
	if (order->kind == ORDER_CTL)
		say_ctl(order);
	else
		say_op(order);
}

/* --- replies --- */

void say_queue(const struct world *world, const struct msqid_ds *ds)
{
	trace_say(" n=%lu b=%lu q=%ld s=",
		  (unsigned long)ds->msg_qnum + trace_sabotaged(SABOTAGE_COUNT),
		  (unsigned long)ds->__msg_cbytes, (long)ds->msg_qbytes);
	say_pid(world, ds->msg_lspid);
	trace_say(" r=");
	say_pid(world, ds->msg_lrpid);
	trace_say(" t=");
	say_time(ds->msg_stime);
	trace_say(",");
	say_time(ds->msg_rtime);
	trace_say(",");
	say_time(ds->msg_ctime);
	trace_say(" m=%o", (unsigned)ds->msg_perm.mode);
}

static void say_stat(const struct world *world, const struct msqid_ds *ds)
{
	const struct ipc_perm *perm = &ds->msg_perm;

	trace_say(" uid=%d,%d/%d,%d", (int)perm->uid, (int)perm->gid, (int)perm->cuid,
		  (int)perm->cgid);
	say_queue(world, ds);
	say_key(world, perm->__key);
	if (world->exact)
		trace_say(" seq=%d", (int)perm->__seq);
}

static void say_info(const struct world *world, int cmd, const struct msginfo *info)
{
	trace_say(" max=%d mnb=%d mni=%d ssz=%d seg=%u", info->msgmax, info->msgmnb, info->msgmni,
		  info->msgssz, info->msgseg);
	if (cmd == IPC_INFO || world->exact)
		trace_say(" pool=%d map=%d tql=%d", info->msgpool, info->msgmap, info->msgtql);
}

static void say_ctl_reply(const struct world *world, const struct order *order,
			  const struct reply *reply)
{
	switch (order->cmd) {
	case MSG_STAT:
	case MSG_STAT_ANY:
		say_id(world, reply->rc);
		say_stat(world, &reply->queue);
		return;
	case IPC_STAT:
		trace_say("%d", reply->rc);
		say_stat(world, &reply->queue);
		return;
	case IPC_INFO:
	case MSG_INFO:
		if (world->exact)
			trace_say("%d", reply->rc);
		say_info(world, order->cmd, &reply->queues);
		return;
	default:
		trace_say("%d", reply->rc);
	}
}

static void say_message(const struct reply *reply)
{
	trace_say(" t%ld #%x", reply->type,
		  reply->hash ^ (uint32_t)trace_sabotaged(SABOTAGE_VALUE));
}

void say_call_reply(const struct world *world, const struct order *order, const struct reply *reply)
{
	if (order->kind == ORDER_CTL) {
		say_ctl_reply(world, order, reply);
		return;
	}
	trace_say("%d", reply->rc);
	if (order->kind == ORDER_OP && order->receives)
		say_message(reply);
}

void say_woken_reply(const struct world *world, const struct order *order,
		     const struct reply *reply)
{
	(void)world;
	say_result(reply->rc, reply->error);
	if (reply->rc >= 0 && order->receives)
		say_message(reply);
	if (reply->spilled)
		trace_say(" SPILLED");
}
