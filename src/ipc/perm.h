/*
 * perm.h - kern_ipc_perm, the first member of every object, and who may do what with it.
 *
 * The caller's ids are cached in the process; the set*id family makes the cache stale
 * (cred_stale). A refusal is never given on the word of the cache alone.
 */
#pragma once

#include "base/compiler.h"
#include <stdbool.h>
#include <sys/ipc.h>

/* record: guarded by the lock of the object's ipc_ids */
struct kern_ipc_perm {
	int32_t id;
	int32_t key;
	uint32_t uid, gid;   /* owner */
	uint32_t cuid, cgid; /* creator */
	uint32_t mode;	     /* access bits, and the mechanism's own flags above them */
	uint32_t seq;
	uint32_t deleted; /* no longer an object to anybody */
	uint32_t pad;
};
_Static_assert(sizeof(struct kern_ipc_perm) == 40, "layout");

enum {
	VEE_CAP_IPC_LOCK = 14,
	VEE_CAP_IPC_OWNER = 15,
	VEE_CAP_SYS_ADMIN = 21,
	VEE_CAP_SYS_RESOURCE = 24,
};

/*
 * The cache is good while `read` is `changes`: whoever changes an id adds one to the latter, whoever reads the
 * ids notes it as it was before. Two threads that read at the same time store the same values.
 */
#define CRED_GROUPS 256
struct cred {
	uint32_t changes, read;
	uint32_t euid, egid;
	int n_groups; /* -1: too many to keep, ask the system */
	uint32_t groups[CRED_GROUPS];
};
extern struct cred cred_cache;

static inline bool cred_is_fresh(void)
{
	return likely(load_acquire(cred_cache.read) == load_acquire(cred_cache.changes));
}

/* May the caller have the access that the low nine bits of flag ask for? 0 or -EACCES. */
int ipcperms(const struct kern_ipc_perm *perm, int flag);
/* The same on the word of the cache alone: false may be wrong. Needs no lock. */
bool ipc_granted(const struct kern_ipc_perm *perm, int flag);
static inline bool ipc_granted_quickly(const struct kern_ipc_perm *perm, int flag)
{
	uint32_t euid = load_acquire(cred_cache.euid);

	if (cred_is_fresh() &&
	    likely((euid == load_acquire(perm->cuid) || euid == load_acquire(perm->uid))))
		return ((flag & 0700) & ~load_acquire(perm->mode)) == 0;
	return ipc_granted(perm, flag);
}
/* The caller's supplementary groups: how many; at most max are stored. */
int cred_groups(uint32_t *groups, int max);
/* What ipcperms() would say of somebody else. */
bool ipc_granted_to(const struct kern_ipc_perm *perm, int flag, uint32_t euid, uint32_t egid,
		    const uint32_t *groups, unsigned n_groups);
/* May the caller change or remove the object? 0 or -EPERM. */
int ipc_owner(const struct kern_ipc_perm *perm);
bool cred_capable(int cap);
bool cred_in_group(uint32_t gid);
void cred_stale(void);
uint32_t cred_euid(void);
uint32_t cred_egid(void);

/* IPC_SET's part of it: owner and mode. -EINVAL for an id that is none. The caller tx_save()s before. */
int ipc_update_perm(const struct ipc_perm *in, struct kern_ipc_perm *out);
void kernel_to_ipc_perm(const struct kern_ipc_perm *in, struct ipc_perm *out);
