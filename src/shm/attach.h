/* attach.h - what shm.c and attach.c share: a segment's attachments and its end. */
#pragma once

#include "shm/shm.h"

struct shmid_kernel *shm_obtain_object_check(struct ipc_namespace *ns, int id);
int64_t shm_now(void);
/* The mode of a segment's file: vee itself decides who may attach; this lets those in who may. */
uint32_t shm_file_mode(const struct ipc_namespace *ns, const struct kern_ipc_perm *perm);
void shm_fill_ds(const struct shmid_kernel *shp, struct shmid_ds *ds);
uint64_t shm_pages(const struct shmid_kernel *shp);
void shm_path(struct ipc_namespace *ns, int id, char *buf, size_t size);

/*
 * No attach is left and it is marked: frees the segment, or hides it until its file is unlinked,
 * in which case shm_unlink_removed() of `remover` must follow the commit. Called with the lock of the shm ids.
 */
void shm_destroy(struct ipc_namespace *ns, struct tx *tx, struct shmid_kernel *shp,
		 struct proc *remover);
/* Unlinks the files of all segments that `slot` has hidden, and frees their ids. */
void shm_unlink_removed(struct ipc_namespace *ns, uint32_t slot);
/* The commit of a transaction that may have destroyed, with what has to follow it. */
void shm_commit(struct ipc_namespace *ns, struct tx *tx);
