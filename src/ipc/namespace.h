/*
 * namespace.h - ipc_namespace: the root record of a namespace file, and this process's handle of it.
 *
 * Where it lies: $VEE_DIR, else /dev/shm/vee-<euid>, else $XDG_RUNTIME_DIR/vee; in it a folder per namespace
 * ($VEE_NS, else "default") with the file `namespace` and the folder shm/ of the segments' files. A folder that belongs
 * to another user, or that others may write, is refused. Who else may use it: ipc/guests.h.
 *
 * Guards: each ids by its own lock, the limits of a mechanism and shm_tot too; proc_lock for
 * the process table. Lock order: ids[SEM] ids[MSG] ids[SHM] < proc_lock < object < memory.
 */
#pragma once

#include "ipc/idr.h"
#include "ipc/perm.h"
#include "ipc/proc.h"

#define IPC_SEM_IDS 0
#define IPC_MSG_IDS 1
#define IPC_SHM_IDS 2

/* record: guarded by `lock` */
struct ipc_ids {
	struct arena_lock lock;
	uint32_t in_use;
	uint32_t seq;
	int32_t next_id;
	int32_t last_idx;
	struct idr ipcs_idr;
	ref_t key_table; /* open addressing: uint64_t {key, id}; see util.c */
	uint32_t key_slots;
	uint32_t key_filled; /* slots that are or were used */
	uint32_t pad[7];
};
_Static_assert(sizeof(struct ipc_ids) == 128, "layout");

/* record: the root page */
struct ipc_namespace_record {
	struct ipc_ids ids[3];
	struct arena_lock proc_lock;
	uint64_t shm_ctlmax, shm_ctlall; /* bytes, pages */
	uint32_t shm_ctlmni;
	uint32_t shm_rmid_forced;
	uint64_t shm_tot;      /* pages of all segments */
	uint64_t shm_reserved; /* of them, pages that were promised (no SHM_NORESERVE) */
	uint32_t sem_ctls[4];  /* SEMMSL SEMMNS SEMOPM SEMMNI */
	uint32_t msg_ctlmax, msg_ctlmnb, msg_ctlmni;
	uint32_t mode; /* of the namespace's files: 0600, or what `vee ns create --mode` said */
	uint32_t unused;
	uint32_t used_sems;
	ref_t sem_blocks
		[12]; /* free ones, by size class: memory of sets is only ever that of sets */
	uint32_t pad;
	ref_t msg_queues; /* free ones */
	ref_t msg_dying; /* removed ones whose messages are still to be freed; lock of the msg ids */
	ref_t sleepers[3]; /* free ones, by kind; proc_lock */
};
_Static_assert(sizeof(struct ipc_namespace_record) ==
		       384 + 64 + 16 + 8 + 16 + 16 + 12 + 4 + 8 + 48 + 4 + 20,
	       "layout");
_Static_assert(sizeof(struct ipc_namespace_record) <= ARENA_PAGE, "the root is a page");

struct ipc_namespace {
	struct arena arena;
	struct ipc_namespace_record *record;
	char dir[3072];	   /* the namespace's folder */
	struct proc *proc; /* this process's slot */
	uint32_t proc_generation;
	uint32_t own_pid;
	const uint32_t *pid; /* of this process; 0 there in a child whose fork we have not seen */
};

#define SHMMNI_DEFAULT	4096u
#define SHM_MAX_DEFAULT (UINT64_MAX - (1ull << 24))

/* The folder of namespaces, by the rules above, absolute. Returns 0 or a negative errno (arena_error). */
int namespace_base(char *buf, size_t size);
/*
 * The folder of a namespace; name NULL: $VEE_NS or "default". -EINVAL for a name that can't be one. Root's, if this
 * user is a guest there, has none of that name and sets no VEE_DIR.
 */
int namespace_dir(const char *name, char *buf, size_t size);

/*
 * Opens the namespace in folder `dir`. With create, folders and file are made if they are not there; mode is that of
 * the file (0600: this user alone; 0660, 0666: others too).
 */
int namespace_open(struct ipc_namespace *ns, const char *dir, bool create, uint32_t mode);
/* The same, to make one with mode 0600 that lets guests in too. Returns NAMESPACE_NO_GUESTS if that can't be. */
#define NAMESPACE_NO_GUESTS 1
struct guests;
int namespace_make(struct ipc_namespace *ns, const char *dir, const struct guests *guests);
void namespace_close(struct ipc_namespace *ns);

/* This process's namespace, opened at the first call. Returns 0 or a negative errno. */
int namespace_get(struct ipc_namespace **ret_ns);
/*
 * The same, in line: NULL if it is not open yet, or in a child whose fork we have not seen; then
 * namespace_get() is to be asked.
 */
extern struct ipc_namespace *namespace_own;
static inline struct ipc_namespace *namespace_at_hand(void)
{
	struct ipc_namespace *ns = load_acquire(namespace_own);

	return likely(ns && *ns->pid) ? ns : NULL;
}

/* The same if it is open already, else NULL; makes no system call. */
struct ipc_namespace *namespace_opened(void);
/*
 * Before the process takes one of these n users for one of its ids (UINT32_MAX: for none): what that user executes
 * later must reach the namespace too. See ipc/guests.h.
 */
void namespace_admit(const uint32_t *uids, unsigned n);

/* Every invariant: arena, idr, ids, process table. NULL or what is wrong. */
const char *namespace_check(struct ipc_namespace *ns);

/* In a child after fork: what belonged to the parent's threads and process is not the child's. */
void namespace_fork_child(void);
/* What to do in a child that was forked behind libc's back, at its first call. */
void namespace_on_unseen_fork(void (*hook)(void));
