/* perm.c - permissions by the caller's effective ids; see perm.h. */
#include "ipc/perm.h"
#include "base/os.h"

#include <errno.h>
#include <limits.h>

struct cred cred_cache = {.changes = 1};

void cred_stale(void)
{
	__atomic_fetch_add(&cred_cache.changes, 1, __ATOMIC_SEQ_CST);
}

static void cred_read(void)
{
	gid_t groups[CRED_GROUPS];
	uint32_t changes = __atomic_load_n(&cred_cache.changes, __ATOMIC_SEQ_CST);
	int n;

	__atomic_store_n(&cred_cache.euid, os_geteuid(), __ATOMIC_SEQ_CST);
	__atomic_store_n(&cred_cache.egid, os_getegid(), __ATOMIC_SEQ_CST);
	n = os_getgroups(CRED_GROUPS, groups);
	for (int i = 0; i < n; i++)
		__atomic_store_n(&cred_cache.groups[i], groups[i], __ATOMIC_RELAXED);
	__atomic_store_n(&cred_cache.n_groups, n < 0 ? -1 : n, __ATOMIC_SEQ_CST);
	__atomic_store_n(&cred_cache.read, changes, __ATOMIC_SEQ_CST);
}

static inline void cred_get(void)
{
	if (unlikely(!cred_is_fresh()))
		cred_read();
}

uint32_t cred_euid(void)
{
	cred_get();
	return __atomic_load_n(&cred_cache.euid, __ATOMIC_RELAXED);
}

uint32_t cred_egid(void)
{
	cred_get();
	return __atomic_load_n(&cred_cache.egid, __ATOMIC_RELAXED);
}

bool cred_in_group(uint32_t gid)
{
	gid_t many[65536 / 16];
	int n;

	if (gid == cred_egid())
		return true;
	n = load_acquire(cred_cache.n_groups);
	for (int i = 0; i < n; i++)
		if (__atomic_load_n(&cred_cache.groups[i], __ATOMIC_RELAXED) == gid)
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

int cred_groups(uint32_t *groups, int max)
{
	int n;

	cred_get();
	n = load_acquire(cred_cache.n_groups);
	for (int i = 0; i < n && i < max; i++)
		groups[i] = __atomic_load_n(&cred_cache.groups[i], __ATOMIC_RELAXED);
	return n < 0 ? INT_MAX : n;
}

static bool is_among(uint32_t gid, uint32_t egid, const uint32_t *groups, unsigned n_groups)
{
	for (unsigned i = 0; i < n_groups; i++)
		if (groups[i] == gid)
			return true;
	return gid == egid;
}

bool ipc_granted_to(const struct kern_ipc_perm *perm, int flag, uint32_t euid, uint32_t egid,
		    const uint32_t *groups, unsigned n_groups)
{
	uint32_t wanted = (flag >> 6 | flag >> 3 | flag) & 7, mode = perm->mode;

	if (euid == perm->cuid || euid == perm->uid)
		mode >>= 6;
	else if (is_among(perm->cgid, egid, groups, n_groups) ||
		 is_among(perm->gid, egid, groups, n_groups))
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
