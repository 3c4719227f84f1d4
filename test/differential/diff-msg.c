/*
 * diff-msg.c - what is seen of a message queue after an operation; main.c is the program.
 */
#include "diff.h"

#include <errno.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

#define MESSAGES_SHOWN 8

const char program_name[] = "diff-msg";

static void show_messages(const struct slot *slot)
{
	struct order order = {.id = slot->id,
			      .receives = true,
			      .size = 64,
			      .flags = MSG_COPY | IPC_NOWAIT | MSG_NOERROR};
	struct reply reply;

	trace_say(" [");
	for (order.type = 0; order.type < MESSAGES_SHOWN; order.type++) {
		int n = call_op(&order, &reply);

		if (n < 0) {
			if (errno != ENOMSG)
				trace_say("%s", error_name(errno));
			break;
		}
		trace_say("%st%ld:%d#%x", order.type ? " " : "", reply.type, n, reply.hash);
	}
	trace_say("]");
}

void show_slot(const struct world *world, const struct slot *slot, bool all)
{
	struct msqid_ds ds;

	trace_say(" | ");
	say_slot(slot);
	if (msgctl(slot->id, IPC_STAT, &ds) < 0) {
		trace_say(" %s", error_name(errno));
		return;
	}
	say_queue(world, &ds);
	if (all)
		show_messages(slot);
}
