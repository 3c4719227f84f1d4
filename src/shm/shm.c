/* shm.c - segments: shmget, shmctl, and their end; see shm.h. */
#include "base/os.h"
#include "shm/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef SHM_NORESERVE
#define SHM_NORESERVE 010000
#endif
#ifndef SHM_HUGE_SHIFT
#define SHM_HUGE_SHIFT 26
#define SHM_HUGE_MASK  0x3f
#endif
#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 4U
#endif

#define SHM_DEST_BIT   01000u
#define SHM_LOCKED_BIT 02000u

int64_t shm_now(void)
{
	struct timespec now = {0, 0};

	os_clock(CLOCK_REALTIME_COARSE, &now);
	return now.tv_sec;
}

uint64_t shm_pages(const struct shmid_kernel *shp)
{
	return shp->shm_segsz / ARENA_PAGE + (shp->shm_segsz % ARENA_PAGE != 0);
}

void shm_path(struct ipc_namespace *ns, int id, char *buf, size_t size)
{
	snprintf(buf, size, "%s/shm/%d", ns->dir, id);
}

struct shmid_kernel *shm_obtain_object_check(struct ipc_namespace *ns, int id)
{
	struct kern_ipc_perm *perm = ipc_obtain_object_check(ns, IPC_SHM_IDS, id);

	return perm ? container_of(perm, struct shmid_kernel, shm_perm) : NULL;
}

static struct shmid_kernel *segment_at(struct ipc_namespace *ns, int index)
{
	return arena_ptr(&ns->arena,
			 idr_find(&ns->arena, &ipc_ids_of(ns, IPC_SHM_IDS)->ipcs_idr, index));
}

static struct shmid_kernel *next_segment(struct ipc_namespace *ns, int *index)
{
	struct shmid_kernel *shp;

	do {
		*index = idr_next(&ns->arena, &ipc_ids_of(ns, IPC_SHM_IDS)->ipcs_idr, *index + 1);
		if (*index < 0)
			return NULL;
		shp = segment_at(ns, *index);
	} while (shp->shm_perm.deleted);
	return shp;
}

/* Bytes of the file that are in memory or swapped out. */
static uint64_t allotted_bytes(struct ipc_namespace *ns, int id)
{
	char path[3200];
	struct stat st;

	shm_path(ns, id, path, sizeof(path));
	return os_stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/*
 * Can the file system give what has been promised and `pages` more? First with what is promised and not
 * allotted taken as all of shm_reserved; only if that is too much, file by file.
 */
static int reserve(struct ipc_namespace *ns, uint64_t pages)
{
	struct ipc_namespace_record *record = ns->record;
	struct shmid_kernel *shp;
	struct statfs fs;
	uint64_t wanted = pages * ARENA_PAGE, free;
	int ret = os_statfs(ns->dir, &fs);

	if (ret < 0)
		return -ENOMEM;
	if (fs.f_blocks == 0) /* a tmpfs without limit */
		return 0;
	free = (uint64_t)fs.f_bavail * fs.f_bsize;
	if (wanted > free)
		return -ENOMEM;
	if (record->shm_reserved <= (free - wanted) / ARENA_PAGE)
		return 0;
	for (int i = -1; (shp = next_segment(ns, &i));) {
		uint64_t promised = shp->noreserve ? 0 : shm_pages(shp) * ARENA_PAGE;
		uint64_t has = promised && shp->has_file ? allotted_bytes(ns, shp->shm_perm.id) : 0;

		if (promised > has)
			wanted += promised - has;
		if (wanted > free)
			return -ENOMEM;
	}
	return 0;
}

static bool huge_allowed(void)
{
	char text[32];

	return cred_capable(VEE_CAP_IPC_LOCK) ||
	       (os_read_file("/proc/sys/vm/hugetlb_shm_group", text, sizeof(text)) > 0 &&
		cred_in_group(strtoul(text, NULL, 10)));
}

/*
 * Huge pages belong to hugetlbfs, of which vee has none: such a segment is made of ordinary pages.
 * But where the kernel would refuse, because it has none configured or not enough, so does vee: ask it.
 */
static int probe_huge(uint64_t size, int flag)
{
	unsigned log = flag >> SHM_HUGE_SHIFT & SHM_HUGE_MASK;
	uint64_t huge = 1ull << (log ? log : 21);
	intptr_t at;
	int fd, ret;

	fd = os_memfd_create("vee-huge", MFD_CLOEXEC | MFD_HUGETLB | log << SHM_HUGE_SHIFT);
	if (fd < 0)
		return fd == -ENODEV || fd == -ENOENT ? -EINVAL : fd;
	size = ALIGN_UP(size, huge);
	ret = huge_allowed() ? os_ftruncate(fd, size) : -EPERM;
	if (ret == 0) {
		at = os_mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
		ret = at < 0 && at > -4096 ? at : 0;
		if (ret == 0)
			os_munmap((void *)at, size);
	}
	os_close(fd);
	return ret;
}

static int newseg(struct ipc_namespace *ns, struct tx *tx, const struct ipc_params *params)
{
	struct ipc_namespace_record *record = ns->record;
	uint64_t size = params->size, pages = size / ARENA_PAGE + (size % ARENA_PAGE != 0);
	struct shmid_kernel *shp;
	ref_t ref;
	int ret;

	if (size < 1 || size > record->shm_ctlmax)
		return -EINVAL;
	if (record->shm_tot + pages < record->shm_tot ||
	    record->shm_tot + pages > record->shm_ctlall)
		return -ENOSPC;
	ret = params->flg & SHM_HUGETLB ? probe_huge(size, params->flg) : 0;
	if (ret == 0 && size > INT64_MAX)
		ret = -EINVAL;
	if (ret == 0 && !(params->flg & SHM_NORESERVE))
		ret = reserve(ns, pages);
	if (ret == 0)
		ret = arena_alloc(tx, sizeof(*shp), &ref);
	if (ret < 0)
		return ret;
	shp = arena_ptr(&ns->arena, ref);
	memset(shp, 0, sizeof(*shp));
	shp->shm_perm.key = params->key;
	shp->shm_perm.mode = params->flg & 0777;
	shp->shm_segsz = size;
	shp->shm_ctim = shm_now();
	shp->shm_cprid = os_getpid();
	shp->noreserve = (params->flg & SHM_NORESERVE) != 0;
	shp->hugetlb = (params->flg & SHM_HUGETLB) != 0;
	ret = ipc_addid(ns, tx, IPC_SHM_IDS, ref, record->shm_ctlmni);
	if (ret < 0)
		return ret;
	tx_set(tx, record->shm_tot, record->shm_tot + pages);
	if (!shp->noreserve)
		tx_set(tx, record->shm_reserved, record->shm_reserved + pages);
	return shp->shm_perm.id;
}

static int shm_more_checks(const struct kern_ipc_perm *perm, const struct ipc_params *params)
{
	const struct shmid_kernel *shp = container_of(perm, struct shmid_kernel, shm_perm);

	return shp->shm_segsz < params->size ? -EINVAL : 0;
}

int shm_get(struct ipc_namespace *ns, key_t key, size_t size, int flag)
{
	static const struct ipc_ops ops = {newseg, shm_more_checks};
	struct ipc_params params = {.key = key, .flg = flag, .size = size};
	struct proc *proc;
	int ret = 0;

	/* An existing key is looked up without a place in the process table. */
	if (unlikely(!proc_mine(ns)) && (key == IPC_PRIVATE || flag & IPC_CREAT)) {
		shm_table_lock();
		ret = proc_enter(ns, &proc);
		shm_table_unlock();
	}
	return ret < 0 ? ret : ipcget(ns, IPC_SHM_IDS, &ops, &params);
}

static void free_segment(struct ipc_namespace *ns, struct tx *tx, struct shmid_kernel *shp)
{
	ipc_rmid(ns, tx, IPC_SHM_IDS, &shp->shm_perm);
	arena_free(tx, arena_ref(&ns->arena, shp));
}

void shm_destroy(struct ipc_namespace *ns, struct tx *tx, struct shmid_kernel *shp,
		 struct proc *remover)
{
	struct ipc_namespace_record *record = ns->record;
	uint64_t pages = shm_pages(shp);

	tx_set(tx, record->shm_tot, record->shm_tot - pages);
	if (!shp->noreserve)
		tx_set(tx, record->shm_reserved, record->shm_reserved - pages);
	if (!shp->has_file) {
		free_segment(ns, tx, shp);
		return;
	}
	ipc_hide(ns, tx, IPC_SHM_IDS, &shp->shm_perm);
	tx_set(tx, shp->remover, proc_slot(ns, remover) + 1);
	tx_set(tx, remover->removing, remover->removing + 1);
}

static void drop_pages(const char *path, uint64_t pages)
{
	int fd = os_open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);

	if (fd < 0)
		return;
	os_punch_hole(fd, 0, pages * ARENA_PAGE);
	os_close(fd);
}

static int unlink_file(struct ipc_namespace *ns, int id, uint64_t pages, bool kept)
{
	char path[3200];
	int ret;

	shm_path(ns, id, path, sizeof(path));
	/* A descriptor that someone keeps must not keep the memory too. */
	if (kept)
		drop_pages(path, pages);
	ret = os_unlink(path);
	/* Another user's file, which that user or root must unlink: only the memory can go. */
	if (ret == -EPERM || ret == -EACCES)
		drop_pages(path, pages);
	return ret == -ENOENT ? 0 : ret;
}

/* A segment that `slot` has hidden, from index on. Called with the lock of the shm ids. */
static struct shmid_kernel *hidden_by(struct ipc_namespace *ns, uint32_t slot, int *index)
{
	struct idr *idr = &ipc_ids_of(ns, IPC_SHM_IDS)->ipcs_idr;

	while ((*index = idr_next(&ns->arena, idr, *index)) >= 0) {
		struct shmid_kernel *shp = segment_at(ns, *index);

		if (shp->shm_perm.deleted && shp->remover == slot + 1)
			return shp;
		++*index;
	}
	return NULL;
}

void shm_unlink_removed(struct ipc_namespace *ns, uint32_t slot)
{
	struct proc *proc = proc_at(ns, slot);
	struct shmid_kernel *shp;
	struct tx *tx;
	int index = 0;

	while (load_acquire(proc->removing)) {
		uint64_t pages = 0;
		bool kept = false, all = index == 0;
		int id = -1;

		if (tx_begin(&ns->arena, &tx) < 0)
			return;
		tx_lock(tx, &ipc_ids_of(ns, IPC_SHM_IDS)->lock);
		shp = hidden_by(ns, slot, &index);
		if (shp) {
			id = shp->shm_perm.id;
			pages = shm_pages(shp);
			kept = shp->cached;
		} else if (all) {
			tx_set(tx, proc->removing, 0);
		}
		tx_commit(tx);
		/* Another thread may have hidden one of a lower index meanwhile. */
		if (id < 0) {
			if (all)
				return;
			index = 0;
			continue;
		}
		/* The id is not free: nobody makes a file of this name, and the record stays. */
		if (unlink_file(ns, id, pages, kept) < 0)
			return; /* the next removal, or the next sweep after our end, tries again */
		if (tx_begin(&ns->arena, &tx) < 0)
			return;
		tx_lock(tx, &ipc_ids_of(ns, IPC_SHM_IDS)->lock);
		if (segment_at(ns, index) == shp && shp->shm_perm.id == id &&
		    shp->shm_perm.deleted && shp->remover == slot + 1) {
			free_segment(ns, tx, shp);
			tx_set(tx, proc->removing, proc->removing - 1);
		}
		tx_commit(tx);
	}
}

void shm_commit(struct ipc_namespace *ns, struct tx *tx)
{
	struct proc *me = load_acquire(ns->proc);

	tx_commit(tx);
	if (unlikely(me && load_acquire(me->removing)))
		shm_unlink_removed(ns, proc_slot(ns, me));
}

void shm_fill_ds(const struct shmid_kernel *shp, struct shmid_ds *ds)
{
	memset(ds, 0, sizeof(*ds));
	kernel_to_ipc_perm(&shp->shm_perm, &ds->shm_perm);
	ds->shm_segsz = shp->shm_segsz;
	ds->shm_atime = shp->shm_atim;
	ds->shm_dtime = shp->shm_dtim;
	ds->shm_ctime = shp->shm_ctim;
	ds->shm_cpid = shp->shm_cprid;
	ds->shm_lpid = shp->shm_lprid;
	ds->shm_nattch = shp->shm_nattch;
}

static int begin(struct ipc_namespace *ns, struct tx **ret_tx)
{
	int ret = tx_begin(&ns->arena, ret_tx);

	if (ret == 0)
		tx_lock(*ret_tx, &ipc_ids_of(ns, IPC_SHM_IDS)->lock);
	return ret;
}

/* Highest used index, 0 if there is none: what the *_INFO commands return. */
static int highest_index(struct ipc_namespace *ns)
{
	int last = idr_last(&ns->arena, &ipc_ids_of(ns, IPC_SHM_IDS)->ipcs_idr);

	return last < 0 ? 0 : last;
}

static int ctl_ipc_info(struct ipc_namespace *ns, void *buf)
{
	struct ipc_namespace_record *record = ns->record;
	struct shminfo info;
	struct tx *tx;
	int ret = begin(ns, &tx), highest;

	if (ret < 0)
		return ret;
	memset(&info, 0, sizeof(info));
	info.shmmax = record->shm_ctlmax;
	info.shmmin = 1;
	info.shmmni = info.shmseg = record->shm_ctlmni;
	info.shmall = record->shm_ctlall;
	highest = highest_index(ns);
	tx_commit(tx);
	ret = os_copy_to(buf, &info, sizeof(info));
	return ret < 0 ? ret : highest;
}

static int ctl_shm_info(struct ipc_namespace *ns, void *buf)
{
	struct shm_info_entry entry;
	struct shm_info info;
	struct tx *tx;
	int ret, highest;

	memset(&info, 0, sizeof(info));
	for (int i = -1; shm_each(ns, &i, &entry);) {
		info.shm_rss += entry.resident_bytes / ARENA_PAGE;
		info.shm_swp += entry.swapped_bytes / ARENA_PAGE;
	}
	ret = begin(ns, &tx);
	if (ret < 0)
		return ret;
	info.used_ids = ipc_ids_of(ns, IPC_SHM_IDS)->in_use;
	info.shm_tot = ns->record->shm_tot;
	highest = highest_index(ns);
	tx_commit(tx);
	ret = os_copy_to(buf, &info, sizeof(info));
	return ret < 0 ? ret : highest;
}

static int ctl_stat(struct ipc_namespace *ns, int id, int command, void *buf)
{
	struct shmid_kernel *shp;
	struct shmid_ds ds;
	struct tx *tx;
	int ret = begin(ns, &tx);

	if (ret < 0)
		return ret;
	if (command == IPC_STAT) {
		shp = shm_obtain_object_check(ns, id);
	} else {
		struct kern_ipc_perm *perm = ipc_obtain_object_idr(ns, IPC_SHM_IDS, id);

		shp = perm ? container_of(perm, struct shmid_kernel, shm_perm) : NULL;
	}
	if (!shp)
		ret = -EINVAL;
	else if (command != SHM_STAT_ANY)
		ret = ipcperms(&shp->shm_perm, 0444);
	if (ret == 0) {
		shm_fill_ds(shp, &ds);
		ret = command == IPC_STAT ? 0 : shp->shm_perm.id;
	}
	tx_commit(tx);
	if (ret >= 0 && os_copy_to(buf, &ds, sizeof(ds)) < 0)
		return -EFAULT;
	return ret;
}

uint32_t shm_file_mode(const struct ipc_namespace *ns, const struct kern_ipc_perm *perm)
{
	return 0600 | (perm->mode & 0066) | (ns->record->mode & 0066);
}

static int set_locked(struct ipc_namespace *ns, struct tx *tx, struct shmid_kernel *shp,
		      const struct shmid_ds *in)
{
	struct kern_ipc_perm perm = shp->shm_perm;
	char path[3200];
	int ret = ipc_update_perm(&in->shm_perm, &perm);

	if (ret < 0)
		return ret;
	if (shp->has_file && (perm.uid != shp->shm_perm.uid || perm.mode != shp->shm_perm.mode)) {
		shm_path(ns, perm.id, path, sizeof(path));
		os_chmod(path, shm_file_mode(ns, &perm));
		os_chown(path, perm.uid, perm.gid);
	}
	tx_set(tx, shp->shm_perm.uid, perm.uid);
	tx_set(tx, shp->shm_perm.gid, perm.gid);
	tx_set(tx, shp->shm_perm.mode, perm.mode);
	tx_set(tx, shp->shm_ctim, shm_now());
	return 0;
}

static void rmid_locked(struct ipc_namespace *ns, struct tx *tx, struct shmid_kernel *shp,
			struct proc *me)
{
	if (shp->shm_nattch == 0) {
		shm_destroy(ns, tx, shp, me);
		return;
	}
	ipc_set_key_private(ns, tx, IPC_SHM_IDS, &shp->shm_perm);
	tx_set(tx, shp->shm_perm.mode, shp->shm_perm.mode | SHM_DEST_BIT);
}

/* IPC_SET and IPC_RMID: for the owner, the creator, the privileged. */
static int down_locked(struct ipc_namespace *ns, int id, int command, const struct shmid_ds *in)
{
	struct shmid_kernel *shp;
	struct proc *proc;
	struct tx *tx;
	int ret = proc_enter(ns, &proc);

	if (ret == 0)
		ret = begin(ns, &tx);
	if (ret < 0)
		return ret;
	shp = shm_obtain_object_check(ns, id);
	ret = shp ? ipc_owner(&shp->shm_perm) : -EINVAL;
	if (ret == 0 && command == IPC_SET)
		ret = set_locked(ns, tx, shp, in);
	else if (ret == 0)
		rmid_locked(ns, tx, shp, proc);
	shm_commit(ns, tx);
	return ret;
}

static int ctl_down(struct ipc_namespace *ns, int id, int command, void *buf)
{
	struct shmid_ds in;
	int ret = command == IPC_SET ? os_copy_from(&in, buf, sizeof(in)) : 0;

	if (ret < 0)
		return ret;
	/* The process may end in another thread: its slot stays while we use it. */
	shm_table_lock();
	ret = down_locked(ns, id, command, &in);
	shm_table_unlock();
	return ret;
}

static int lock_allowed(const struct shmid_kernel *shp, int command)
{
	uint32_t euid = cred_euid();
	uint64_t limit = 0;

	if (cred_capable(VEE_CAP_IPC_LOCK))
		return 0;
	if (euid != shp->shm_perm.uid && euid != shp->shm_perm.cuid)
		return -EPERM;
	if (command == SHM_UNLOCK || os_memlock_limit(&limit) < 0)
		return 0;
	if (limit == 0)
		return -EPERM;
	return shm_pages(shp) * ARENA_PAGE > limit ? -ENOMEM : 0;
}

static int ctl_lock(struct ipc_namespace *ns, int id, int command)
{
	struct shmid_kernel *shp;
	struct tx *tx;
	int ret = begin(ns, &tx);

	if (ret < 0)
		return ret;
	shp = shm_obtain_object_check(ns, id);
	ret = shp ? lock_allowed(shp, command) : -EINVAL;
	if (ret == 0 && !shp->hugetlb) {
		uint32_t mode = shp->shm_perm.mode & ~SHM_LOCKED_BIT;

		tx_set(tx, shp->shm_perm.mode, command == SHM_LOCK ? mode | SHM_LOCKED_BIT : mode);
	}
	tx_commit(tx);
	return ret;
}

int shm_ctl(struct ipc_namespace *ns, int id, int command, void *buf)
{
	if (command < 0 || id < 0)
		return -EINVAL;
	/* Every command shows or acts on nattch, or counts segments that only the dead had attached. */
	proc_sweep(ns);
	switch (command) {
	case IPC_INFO:
		return ctl_ipc_info(ns, buf);
	case SHM_INFO:
		return ctl_shm_info(ns, buf);
	case SHM_STAT:
	case SHM_STAT_ANY:
	case IPC_STAT:
		return ctl_stat(ns, id, command, buf);
	case IPC_RMID:
	case IPC_SET:
		return ctl_down(ns, id, command, buf);
	case SHM_LOCK:
	case SHM_UNLOCK:
		return ctl_lock(ns, id, command);
	default:
		return -EINVAL;
	}
}
