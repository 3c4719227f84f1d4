/*
 * shm.h - System V shared memory. The calls, with errors as negative numbers.
 *
 * What a caller sees: shmget(2), shmat(2), shmdt(2), shmctl(2) as the kernel does them.
 *
 * How it works: shmid_kernel is a segment; its file (file1) is `shm/<id>` in the namespace's folder, made sparse at the
 * first attach; pages come on first touch. Each attach maps that file and leaves a shm_file_data in two lists, its
 * segment's and its process's; nattch is the length of the former. A segment that is marked and
 * has no attach left goes: it becomes `deleted`, its file is unlinked outside the lock, then its id is freed; whoever
 * sweeps finishes what a dead remover began.
 *
 * Invariants (shm_check)
 *  1. shm_nattch = number of its shm_file_data; each is in one process's list, of a process that is in the table.
 *  2. No segment with SHM_DEST has shm_nattch 0, unless it is `deleted`.
 *  3. shm_tot and shm_reserved are the sums over all segments.
 *  4. A file exists only if has_file says that it may.
 * Guard: the lock of the shm ids, for everything.
 */
#pragma once

#include "ipc/util.h"
#include <sys/shm.h>

/* What is known of a segment's file. It is MAYBE before anybody tries to make it. */
enum {
	SHM_NO_FILE = 0,
	SHM_MAYBE_FILE,
	SHM_WHOLE_FILE
};

/* record */
struct shmid_kernel {
	struct kern_ipc_perm shm_perm;
	uint64_t shm_segsz;
	uint64_t shm_nattch;
	int64_t shm_atim, shm_dtim, shm_ctim;
	int32_t shm_cprid, shm_lprid;
	ref_t attaches; /* struct shm_file_data, by seg_next */
	uint32_t has_file;
	uint32_t noreserve;
	uint32_t hugetlb;
	uint32_t remover; /* while deleted: process slot + 1 of who unlinks its file */
	uint32_t cached;  /* some process may keep a descriptor of its file: see attach.c */
};
_Static_assert(sizeof(struct shmid_kernel) == 40 + 40 + 8 + 24, "layout");

/* record: one attachment, or one piece of it after a partial munmap */
struct shm_file_data {
	uint64_t address; /* in the process */
	uint64_t size;	  /* bytes, whole pages */
	uint64_t offset;  /* of its first byte in the segment */
	int32_t id;
	ref_t segment;
	uint32_t proc; /* slot */
	uint32_t readonly;
	ref_t seg_next, seg_prev;
	ref_t proc_next, proc_prev;
};
_Static_assert(sizeof(struct shm_file_data) == 56, "layout");

int shm_get(struct ipc_namespace *ns, key_t key, size_t size, int flag);
/* Returns 0 and the address. */
int shm_at(struct ipc_namespace *ns, int id, const void *address, int flag, void **ret_address);
int shm_dt(struct ipc_namespace *ns, const void *address);
/* Returns what shmctl returns. buf as the command wants it; -EFAULT for a bad one. */
int shm_ctl(struct ipc_namespace *ns, int id, int command, void *buf);

/* Has this process attachments that [address, address + size) touches? Cheap. */
bool shm_touches(const void *address, size_t size);
/* The range has been unmapped, or mapped over, by the program: takes its pieces off the books. */
void shm_unmapped(struct ipc_namespace *ns, const void *address, size_t size);

/* The range has another protection now: the kernel counts pieces that differ as attaches of their own. */
void shm_protected(struct ipc_namespace *ns, const void *address, size_t size, int prot);
/* mremap() has moved or shrunk the range. */
void shm_moved(struct ipc_namespace *ns, const void *old, size_t old_size, const void *new,
	       size_t size);

/* The text of /proc/sysvipc/shm; malloc-free: into buf, returns the length that it needs. */
size_t shm_proc_text(struct ipc_namespace *ns, char *buf, size_t size);

/* For `vee`: a copy of what a segment is. */
struct shm_info_entry {
	struct shmid_ds ds;
	int id;
	uint64_t resident_bytes, swapped_bytes;
};
struct shm_attach_entry {
	int pid;
	uint64_t address, size;
	bool readonly;
};
/* The segment at the first used index after *index (start with -1); sets *index to it. false at the end. */
bool shm_each(struct ipc_namespace *ns, int *index, struct shm_info_entry *ret_entry);
/* Its attachments: how many there are; at most `max` are stored. */
unsigned shm_attachers(struct ipc_namespace *ns, int id, struct shm_attach_entry *entries,
		       unsigned max);
/* `vee gc`: unlinks files that belong to no segment; returns how many. */
unsigned shm_collect(struct ipc_namespace *ns);
const char *shm_check(struct ipc_namespace *ns);

void shm_init(void); /* puts the hook for the end of a process in */
/* The end of the process: like proc_leave(), and what it has mapped is no longer on the books. */
void shm_leave(struct ipc_namespace *ns);
/*
 * Around fork; see proc.h. The attachments of the parent are the child's too. The table of
 * attachments is locked from before prepare until unlock in the parent, fork_child in the child.
 */
void shm_table_lock(void);
void shm_fork_prepare(struct ipc_namespace *ns, struct proc *embryo);
void shm_table_unlock(void);
/* embryo: the child's slot carries the attachments already. */
void shm_fork_child(struct ipc_namespace *ns, bool embryo);
