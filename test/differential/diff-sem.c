/*
 * diff-sem.c - what is seen of a semaphore set after an operation; main.c is the program.
 */
#include "diff.h"

#include <errno.h>

const char program_name[] = "diff-sem";

static void show_number(const struct slot *slot, int num, int cmd)
{
	int n = semctl(slot->id, num, cmd);

	if (n >= 0 && trace_sabotaged(SABOTAGE_COUNT))
		n++;
	trace_say(num ? "," : cmd == GETNCNT ? " n=" : " z=");
	say_result(n, errno);
}

static void show_values(const struct slot *slot, int shown)
{
	unsigned short value[SEMS_MAX];

	if (semctl(slot->id, 0, GETALL, value) < 0) {
		trace_say("%s", error_name(errno));
		return;
	}
	for (int i = 0; i < shown; i++)
		trace_say("%s%u", i ? "," : "", value[i] + trace_sabotaged(SABOTAGE_VALUE));
}

void show_slot(const struct world *world, const struct slot *slot, bool all)
{
	int shown = slot->nsems < SEMS_SHOWN ? slot->nsems : SEMS_SHOWN;
	bool counts = all || slot->sleepers > 0;
	struct semid_ds ds;

	trace_say(" | ");
	say_slot(slot);
	trace_say(" v=");
	show_values(slot, shown);
	for (int i = 0; i < shown; i++) {
		trace_say(i ? "," : " p=");
		say_pid(world, semctl(slot->id, i, GETPID));
	}
	for (int i = 0; i < shown && counts; i++)
		show_number(slot, i, GETNCNT);
	for (int i = 0; i < shown && counts; i++)
		show_number(slot, i, GETZCNT);
	if (semctl(slot->id, 0, IPC_STAT, &ds) < 0) {
		trace_say(" %s", error_name(errno));
		return;
	}
	trace_say(" o=");
	say_time(ds.sem_otime);
	trace_say(" c=");
	say_time(ds.sem_ctime);
	trace_say(" m=%o", (unsigned)ds.sem_perm.mode);
}
