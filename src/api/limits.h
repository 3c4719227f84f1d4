/*
 * limits.h - the limits of a namespace: names, ranges, and how to change them.
 *
 * Both `vee limits` and the files of /proc/sys/kernel are made of these. Guard: the lock of the ids that a
 * limit belongs to. A limit is read without: it is one aligned word.
 */
#pragma once

#include "ipc/util.h"

enum limit_id {
	LIMIT_SHMMAX,
	LIMIT_SHMALL,
	LIMIT_SHMMNI,
	LIMIT_SHM_RMID_FORCED,
	LIMIT_SEMMSL, /* the four of /proc/sys/kernel/sem, in its order */
	LIMIT_SEMMNS,
	LIMIT_SEMOPM,
	LIMIT_SEMMNI,
	LIMIT_MSGMAX,
	LIMIT_MSGMNB,
	LIMIT_MSGMNI,
	LIMIT_SHM_NEXT_ID,
	LIMIT_SEM_NEXT_ID,
	LIMIT_MSG_NEXT_ID,
	N_LIMITS
};

struct limit {
	const char *name;
	const char *unit; /* what it counts */
	int which;	  /* IPC_SEM_IDS … */
	uint16_t at;	  /* in struct ipc_namespace_record */
	uint16_t size;	  /* 8: unsigned; 4: an int */
	uint64_t max;	  /* the least is 0 */
};
extern const struct limit limits[N_LIMITS];

/* An int that is negative comes sign-extended. */
uint64_t limit_get(struct ipc_namespace *ns, enum limit_id id);

struct limit_change {
	enum limit_id id;
	uint64_t value; /* the caller has checked the range */
};
/* All of them at once. 0, or -ENOMEM / -ENOSPC with nothing changed. */
int limits_set(struct ipc_namespace *ns, const struct limit_change *changes, unsigned n);
