/*
 * util.h - what the three mechanisms do alike: find by key or id, make, remove.
 *
 * All of it is called with ids->lock in the transaction, but for ipcget(), which takes it.
 */
#pragma once

#include "ipc/namespace.h"

#define IPCMNI	    32768
#define IPC_SEQ_MAX 65536u

struct ipc_params {
	int32_t key;
	int flg;
	uint64_t size; /* shm: bytes, sem: semaphores */
};

struct ipc_ops {
	/* Makes a new object. Returns its id. */
	int (*getnew)(struct ipc_namespace *ns, struct tx *tx, const struct ipc_params *params);
	/* Is the existing object large enough? 0 or -EINVAL. */
	int (*more_checks)(const struct kern_ipc_perm *perm, const struct ipc_params *params);
};

/* semget, msgget, shmget: returns the id or a negative errno. */
int ipcget(struct ipc_namespace *ns, int which, const struct ipc_ops *ops,
	   const struct ipc_params *params);

/* Gives `ref` (its kern_ipc_perm, filled in but for id and seq) an id below `limit`: index, or -ENOSPC/-ENOMEM. */
int ipc_addid(struct ipc_namespace *ns, struct tx *tx, int which, ref_t ref, uint32_t limit);
/* No longer an object to anybody, though its id is not free yet. */
void ipc_hide(struct ipc_namespace *ns, struct tx *tx, int which, struct kern_ipc_perm *perm);
/* Takes the object out of the table. */
void ipc_rmid(struct ipc_namespace *ns, struct tx *tx, int which, struct kern_ipc_perm *perm);
/* Hides the key: IPC_PRIVATE from now on. */
void ipc_set_key_private(struct ipc_namespace *ns, struct tx *tx, int which,
			 struct kern_ipc_perm *perm);

/* By index part of the id alone; NULL with -EINVAL. */
struct kern_ipc_perm *ipc_obtain_object_idr(struct ipc_namespace *ns, int which, int id);
/* Also the sequence number must be right. */
struct kern_ipc_perm *ipc_obtain_object_check(struct ipc_namespace *ns, int which, int id);
struct kern_ipc_perm *ipc_findkey(struct ipc_namespace *ns, int which, int32_t key);
const char *ipc_ids_check(struct ipc_namespace *ns, int which);

static inline struct ipc_ids *ipc_ids_of(struct ipc_namespace *ns, int which)
{
	return &ns->record->ids[which];
}
