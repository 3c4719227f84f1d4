/* perm.c - permissions by the caller's effective ids; see perm.h. */
#include "ipc/perm.h"
#include "base/os.h"

#include <errno.h>
#include <stdatomic.h>

#define CRED_GROUPS 256

/*
 * The cache. `stale` is set by whoever changes an id and cleared before the ids are read: a
 * change that comes during the reading makes it stale again. Two threads that read at the same time
 * store the same values.
 */
static struct {
	atomic_bool fresh;
	_Atomic uint32_t euid, egid;
	atomic_int n_groups; /* -1: too many to keep, ask the system */
	_Atomic uint32_t groups[CRED_GROUPS];
} cred;

void cred_stale(void)
{
	atomic_store(&cred.fresh, false);
}

static void cred_read(void)
{
	gid_t groups[CRED_GROUPS];
	int n;

	atomic_store(&cred.fresh, true);
	atomic_store(&cred.euid, os_geteuid());
	atomic_store(&cred.egid, os_getegid());
	n = os_getgroups(CRED_GROUPS, groups);
	for (int i = 0; i < n; i++)
		atomic_store_explicit(&cred.groups[i], groups[i], memory_order_relaxed);
	atomic_store(&cred.n_groups, n < 0 ? -1 : n);
}

static inline void cred_get(void)
{
	if (unlikely(!atomic_load_explicit(&cred.fresh, memory_order_acquire)))
		cred_read();
}

uint32_t cred_euid(void)
{
	cred_get();
	return atomic_load_explicit(&cred.euid, memory_order_relaxed);
}

uint32_t cred_egid(void)
{
	cred_get();
	return atomic_load_explicit(&cred.egid, memory_order_relaxed);
}

bool cred_in_group(uint32_t gid)
{
	gid_t many[65536 / 16];
	int n;

	if (gid == cred_egid())
		return true;
	n = atomic_load(&cred.n_groups);
	for (int i = 0; i < n; i++)
		if (atomic_load_explicit(&cred.groups[i], memory_order_relaxed) == gid)
			return true;
	if (n >= 0)
		return false;
	n = os_getgroups(ARRAY_SIZE(many), many);
	for (int i = 0; i < n; i++)
		if (many[i] == gid)
			return true;
	return false;
}

bool cred_capable(int cap)
{
	return os_capabilities() >> cap & 1;
}

bool ipc_granted(const struct kern_ipc_perm *perm, int flag)
{
	uint32_t wanted = (flag >> 6 | flag >> 3 | flag) & 7;
	uint32_t mode = load_acquire(perm->mode);
	uint32_t euid = cred_euid();

	if (euid == load_acquire(perm->cuid) || euid == load_acquire(perm->uid))
		mode >>= 6;
	else if (cred_in_group(load_acquire(perm->cgid)) || cred_in_group(load_acquire(perm->gid)))
		mode >>= 3;
	return (wanted & ~mode) == 0;
}

int ipcperms(const struct kern_ipc_perm *perm, int flag)
{
	if (likely(ipc_granted(perm, flag)))
		return 0;
	cred_read();
	if (ipc_granted(perm, flag) || cred_capable(VEE_CAP_IPC_OWNER))
		return 0;
	return -EACCES;
}

int ipc_owner(const struct kern_ipc_perm *perm)
{
	uint32_t euid = cred_euid();

	if (euid == perm->cuid || euid == perm->uid)
		return 0;
	cred_read();
	euid = cred_euid();
	if (euid == perm->cuid || euid == perm->uid || cred_capable(VEE_CAP_SYS_ADMIN))
		return 0;
	return -EPERM;
}

int ipc_update_perm(const struct ipc_perm *in, struct kern_ipc_perm *out)
{
	if (in->uid == (uid_t)-1 || in->gid == (gid_t)-1)
		return -EINVAL;
	out->uid = in->uid;
	out->gid = in->gid;
	out->mode = (out->mode & ~0777u) | (in->mode & 0777u);
	return 0;
}

void kernel_to_ipc_perm(const struct kern_ipc_perm *in, struct ipc_perm *out)
{
	out->__key = in->key;
	out->uid = in->uid;
	out->gid = in->gid;
	out->cuid = in->cuid;
	out->cgid = in->cgid;
	out->mode = in->mode;
	out->__seq = in->seq;
}
