/*
 * attach.c - shmat and shmdt; see shm.h.
 *
 * This process's attachments stand in a table in its own memory as well, sorted by address: what shmdt
 * and a raw munmap look up. `here.lock` guards it; order: here.lock < ids lock.
 *
 * A program that attaches the same segment again and again (twice in a row is the sign) gets the
 * descriptor of its file kept: opening by path is a third of the cost of an attach. It is out of the low numbers,
 * close-on-exec, checked before each use, at most one per process, and given up for another segment.
 */
#include "shm/attach.h"
#include "base/acl.h"
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef SHM_EXEC
#define SHM_EXEC 0100000
#endif

#define LOW_DESCRIPTORS 200

struct attachment {
	uintptr_t address;
	uintptr_t size;
	uintptr_t offset; /* in the segment */
	int id;
	int prot;
	uint32_t serial; /* of the shmat: its pieces have it in common */
	ref_t record;
	ref_t child; /* the child's record, between fork_prepare and fork */
};

static struct {
	pthread_mutex_t lock;
	struct attachment *table;
	unsigned n, room;
	uint32_t serial;
	struct {
		int id, last_id, fd;
		dev_t dev;
		ino_t ino;
	} kept;
} here = {.lock = PTHREAD_MUTEX_INITIALIZER, .kept = {-1, -1, -1, 0, 0}};

/* Index of the first attachment that ends after address. */
static unsigned find(uintptr_t address)
{
	unsigned low = 0, high = here.n;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (here.table[middle].address + here.table[middle].size <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int make_room(void)
{
	size_t size = here.room * sizeof(struct attachment);
	size_t wanted = size ? 2 * size : 4096;
	intptr_t at;

	if (here.n < here.room)
		return 0;
	at = size ? os_mremap(here.table, ALIGN_UP(size, 4096ul), wanted, MREMAP_MAYMOVE, NULL) :
		    os_mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0);
	if (at < 0 && at > -4096)
		return -ENOMEM;
	here.table = (struct attachment *)at;
	here.room = wanted / sizeof(struct attachment);
	return 0;
}

static void insert(struct attachment new)
{
	unsigned i = find(new.address);

	memmove(&here.table[i + 1], &here.table[i], (here.n - i) * sizeof(new));
	here.table[i] = new;
	__atomic_store_n(&here.n, here.n + 1, __ATOMIC_RELEASE);
}

static void take_out(unsigned i)
{
	memmove(&here.table[i], &here.table[i + 1], (here.n - i - 1) * sizeof(here.table[0]));
	__atomic_store_n(&here.n, here.n - 1, __ATOMIC_RELEASE);
}

void shm_table_lock(void)
{
	critical_enter();
	pthread_mutex_lock(&here.lock);
}

void shm_table_unlock(void)
{
	pthread_mutex_unlock(&here.lock);
	critical_leave();
}

/* --- the records in the namespace file: all called with the lock of the shm ids --- */

static struct shm_file_data *data_at(struct ipc_namespace *ns, ref_t ref)
{
	return arena_ptr(&ns->arena, ref);
}

static int data_add(struct ipc_namespace *ns, struct tx *tx, struct shmid_kernel *shp,
		    struct proc *proc, const struct shm_file_data *like, ref_t *ret_ref)
{
	struct shm_file_data *data;
	ref_t ref;
	int ret = arena_alloc(tx, sizeof(*data), &ref);

	if (ret < 0)
		return ret;
	data = data_at(ns, ref);
	*data = *like;
	data->id = shp->shm_perm.id;
	data->segment = arena_ref(&ns->arena, shp);
	data->proc = proc_slot(ns, proc);
	data->seg_prev = data->proc_prev = 0;
	data->seg_next = shp->attaches;
	data->proc_next = proc->shm_clist;
	if (data->seg_next)
		tx_set(tx, data_at(ns, data->seg_next)->seg_prev, ref);
	if (data->proc_next)
		tx_set(tx, data_at(ns, data->proc_next)->proc_prev, ref);
	tx_set(tx, shp->attaches, ref);
	tx_set(tx, proc->shm_clist, ref);
	tx_set(tx, shp->shm_nattch, shp->shm_nattch + 1);
	*ret_ref = ref;
	return 0;
}

/* Off both lists; the segment goes if it was marked and this was the last. */
static void data_remove(struct ipc_namespace *ns, struct tx *tx, ref_t ref, struct proc *remover)
{
	struct shm_file_data *data = data_at(ns, ref);
	struct shmid_kernel *shp = arena_ptr(&ns->arena, data->segment);
	struct proc *proc = proc_at(ns, data->proc);

	if (data->seg_prev)
		tx_set(tx, data_at(ns, data->seg_prev)->seg_next, data->seg_next);
	else
		tx_set(tx, shp->attaches, data->seg_next);
	if (data->seg_next)
		tx_set(tx, data_at(ns, data->seg_next)->seg_prev, data->seg_prev);
	if (data->proc_prev)
		tx_set(tx, data_at(ns, data->proc_prev)->proc_next, data->proc_next);
	else
		tx_set(tx, proc->shm_clist, data->proc_next);
	if (data->proc_next)
		tx_set(tx, data_at(ns, data->proc_next)->proc_prev, data->proc_prev);
	arena_free(tx, ref);
	tx_set(tx, shp->shm_nattch, shp->shm_nattch - 1);
	tx_set(tx, shp->shm_dtim, shm_now());
	tx_set(tx, shp->shm_lprid, remover->pid);
	if (shp->shm_nattch == 0 && (shp->shm_perm.mode & SHM_DEST || ns->record->shm_rmid_forced))
		shm_destroy(ns, tx, shp, remover);
}

static int begin(struct ipc_namespace *ns, struct tx **ret_tx)
{
	int ret = tx_begin(&ns->arena, ret_tx);

	if (ret == 0)
		tx_lock(*ret_tx, &ipc_ids_of(ns, IPC_SHM_IDS)->lock);
	return ret;
}

static void detach_record(struct ipc_namespace *ns, ref_t ref)
{
	struct proc *proc = proc_mine(ns);
	struct tx *tx;

	/* After proc_leave() there is no record any more. */
	if (!ref || !proc || begin(ns, &tx) < 0)
		return;
	data_remove(ns, tx, ref, proc);
	shm_commit(ns, tx);
}

/* --- shmat --- */

struct wanted {
	uintptr_t address;
	int flags;
	int prot;
	int access; /* of the segment's mode bits */
	bool readonly, fixed, replace;
};

static int parse(const void *address, int flag, struct wanted *ret_wanted)
{
	struct wanted w = {.address = (uintptr_t)address, .prot = PROT_READ, .access = 0444};
	uintptr_t lba = getpagesize();

	if (w.address) {
		if (w.address % lba) {
			if (!(flag & SHM_RND))
				return -EINVAL;
			w.address -= w.address % lba;
			if (!w.address && flag & SHM_REMAP)
				return -EINVAL;
		}
		w.fixed = true;
	} else if (flag & SHM_REMAP) {
		return -EINVAL;
	}
	w.replace = flag & SHM_REMAP;
	w.readonly = flag & SHM_RDONLY;
	if (!w.readonly) {
		w.prot |= PROT_WRITE;
		w.access |= 0222;
	}
	if (flag & SHM_EXEC) {
		w.prot |= PROT_EXEC;
		w.access |= 0111;
	}
	*ret_wanted = w;
	return 0;
}

/* The descriptor that is kept of this segment, if it is still ours. */
static int kept_descriptor(int id, bool readonly)
{
	struct stat st;

	if (here.kept.fd < 0 || here.kept.id != id || readonly)
		return -1;
	if (os_fstat(here.kept.fd, &st) == 0 && st.st_ino == here.kept.ino &&
	    st.st_dev == here.kept.dev)
		return here.kept.fd;
	here.kept.fd = -1; /* the program closed it; the number may be another's now */
	return -1;
}

static void give_up_kept(void)
{
	if (kept_descriptor(here.kept.id, false) >= 0)
		os_close(here.kept.fd);
	here.kept.fd = -1;
}

/* Keeps a copy of fd if the segment is attached for the second time in a row. */
static void maybe_keep(struct shmid_kernel *shp, int id, int fd, bool readonly)
{
	struct stat st;
	int copy;

	if (readonly || here.kept.last_id != id) {
		here.kept.last_id = id;
		return;
	}
	give_up_kept();
	if (os_fstat(fd, &st) < 0)
		return;
	copy = os_dupfd(fd, LOW_DESCRIPTORS);
	if (copy < 0)
		return;
	here.kept.fd = copy;
	here.kept.id = id;
	here.kept.dev = st.st_dev;
	here.kept.ino = st.st_ino;
	/* The attach that this call is about keeps the record alive. */
	__atomic_store_n(&shp->cached, 1, __ATOMIC_RELEASE);
}

/* Owner and creator have the owner's rights, whoever of those who may attach is the first to do so. */
static void give_to_owner(int fd, const char *path, const struct kern_ipc_perm *perm)
{
	const uint32_t uids[] = {perm->uid, perm->cuid};
	uint32_t me = cred_euid();

	if (perm->uid == me && perm->cuid == me)
		return;
	if (me == 0)
		os_chown(path, perm->uid, perm->gid);
	else
		os_chown(path, me, perm->gid);
	acl_grant(fd, uids, ARRAY_SIZE(uids), 06);
}

/* file1 at its first use: as large as the segment's pages, open to whom the segment's mode lets in. */
static int make_file(struct ipc_namespace *ns, struct shmid_kernel *shp, const char *path)
{
	const struct kern_ipc_perm *perm = &shp->shm_perm;
	uint32_t mode = shm_file_mode(ns, perm);
	struct stat st;
	int fd, ret;

	fd = os_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd == -EACCES) /* another's, who was faster: fs.protected_regular */
		fd = os_open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	ret = os_ftruncate(fd, shm_pages(shp) * ARENA_PAGE);
	if (ret == 0)
		ret = os_fstat(fd, &st);
	if (ret == 0 && (st.st_mode & 0777) != mode && st.st_uid == cred_euid())
		os_fchmod(fd, mode);
	if (ret == 0 && st.st_uid == cred_euid())
		give_to_owner(fd, path, perm);
	if (ret < 0) {
		os_close(fd);
		return ret;
	}
	/* Whoever sees it set finds the file whole; a second maker does the same again. */
	__atomic_store_n(&shp->has_file, SHM_WHOLE_FILE, __ATOMIC_RELEASE);
	return fd;
}

/*
 * A descriptor of the segment's file. The caller's record keeps the segment. *ret_close: whether
 * it is the caller's to close.
 */
static int open_file(struct ipc_namespace *ns, struct shmid_kernel *shp, int id, bool readonly,
		     bool *ret_close)
{
	char path[3200];
	int fd = kept_descriptor(id, readonly);

	*ret_close = false;
	if (fd >= 0)
		return fd;
	*ret_close = true;
	shm_path(ns, id, path, sizeof(path));
	fd = -ENOENT;
	if (__atomic_load_n(&shp->has_file, __ATOMIC_ACQUIRE) == SHM_WHOLE_FILE)
		fd = os_open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW, 0);
	if (fd == -ENOENT) {
		fd = make_file(ns, shp, path);
		if (fd >= 0 && readonly) {
			os_close(fd);
			fd = os_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
		}
	}
	if (fd >= 0)
		maybe_keep(shp, id, fd, readonly);
	return fd;
}

static intptr_t map_file(struct ipc_namespace *ns, struct shmid_kernel *shp, int id,
			 const struct wanted *w)
{
	uint64_t size = shm_pages(shp) * ARENA_PAGE;
	int flags = MAP_SHARED;
	bool ours;
	intptr_t at;
	int fd;

	if (w->fixed && w->address + shp->shm_segsz < w->address)
		return -EINVAL;
	fd = open_file(ns, shp, id, w->readonly, &ours);
	if (fd < 0)
		return fd == -EMFILE || fd == -ENFILE || fd == -ENOSPC ? -ENOMEM : fd;
	if (w->fixed)
		flags |= w->replace ? MAP_FIXED : MAP_FIXED_NOREPLACE;
	at = os_mmap((void *)w->address, size, w->prot, flags, fd, 0);
	if (at == -EBADF) { /* another thread closed what it does not know */
		here.kept.fd = -1;
		fd = open_file(ns, shp, id, w->readonly, &ours);
		at = fd < 0 ? fd : os_mmap((void *)w->address, size, w->prot, flags, fd, 0);
	}
	if (ours && fd >= 0)
		os_close(fd);
	if (at == -EEXIST)
		return -EINVAL;
	/* A kernel before 4.17 takes the address as a hint. */
	if (w->fixed && (at >= 0 || at <= -4096) && (uintptr_t)at != w->address) {
		os_munmap((void *)at, size);
		return -EINVAL;
	}
	return at;
}

/* The permission check and the record; nattch counts from here on. *before: times and pid until now. */
static int attach_record(struct ipc_namespace *ns, struct proc *proc, int id,
			 const struct wanted *w, ref_t *ret_ref, struct shmid_kernel *before)
{
	struct shm_file_data like = {.readonly = w->readonly};
	struct shmid_kernel *shp;
	struct tx *tx;
	int ret = begin(ns, &tx);

	if (ret < 0)
		return ret;
	shp = shm_obtain_object_check(ns, id);
	ret = shp ? ipcperms(&shp->shm_perm, w->access) : -EINVAL;
	if (ret == 0) {
		like.size = shm_pages(shp) * ARENA_PAGE;
		ret = data_add(ns, tx, shp, proc, &like, ret_ref);
	}
	if (ret < 0) {
		tx_abort(tx);
		return ret == -ENOSPC ? -ENOMEM : ret;
	}
	before->shm_atim = shp->shm_atim;
	before->shm_dtim = shp->shm_dtim;
	before->shm_lprid = shp->shm_lprid;
	tx_set(tx, shp->shm_atim, shm_now());
	tx_set(tx, shp->shm_lprid, proc->pid);
	if (shp->has_file == SHM_NO_FILE)
		tx_set(tx, shp->has_file, SHM_MAYBE_FILE);
	tx_commit(tx);
	return 0;
}

/* The mapping failed: nothing has happened. */
static void take_back(struct ipc_namespace *ns, ref_t ref, const struct shmid_kernel *before)
{
	struct proc *proc = proc_mine(ns);
	struct shmid_kernel *shp;
	struct tx *tx;

	if (!proc || begin(ns, &tx) < 0)
		return;
	shp = arena_ptr(&ns->arena, data_at(ns, ref)->segment);
	data_remove(ns, tx, ref, proc);
	tx_set(tx, shp->shm_atim, before->shm_atim);
	tx_set(tx, shp->shm_dtim, before->shm_dtim);
	tx_set(tx, shp->shm_lprid, before->shm_lprid);
	shm_commit(ns, tx);
}

/* A segment that only the dead hold is gone: they are looked for when it is marked. */
static void sweep_marked(struct ipc_namespace *ns, int id)
{
	const struct shmid_kernel *shp = shm_obtain_object_check(ns, id);

	if (shp && __atomic_load_n(&shp->shm_perm.mode, __ATOMIC_RELAXED) & SHM_DEST)
		proc_sweep(ns);
}

static void forget_range(struct ipc_namespace *ns, uintptr_t from, uintptr_t to);

static int attach_locked(struct ipc_namespace *ns, struct proc *proc, int id,
			 const struct wanted *w, void **ret_address)
{
	struct attachment new = {.id = id, .prot = w->prot, .serial = ++here.serial};
	struct shmid_kernel before = {0};
	struct shm_file_data *data;
	intptr_t at;
	int ret = make_room();

	if (ret == 0)
		ret = attach_record(ns, proc, id, w, &new.record, &before);
	if (ret < 0)
		return ret;
	data = data_at(ns, new.record);
	at = map_file(ns, arena_ptr(&ns->arena, data->segment), id, w);
	if (at < 0 && at > -4096) {
		take_back(ns, new.record, &before);
		return at;
	}
	new.address = at;
	new.size = data->size;
	/* Only this process writes these two. */
	__atomic_store_n(&data->address, new.address, __ATOMIC_RELEASE);
	if (w->replace) {
		forget_range(ns, new.address, new.address + new.size);
		ret = make_room();
	}
	insert(new);
	*ret_address = (void *)at;
	return 0;
}

int shm_at(struct ipc_namespace *ns, int id, const void *address, int flag, void **ret_address)
{
	struct proc *proc;
	struct wanted w;
	int ret;

	if (id < 0)
		return -EINVAL;
	ret = parse(address, flag, &w);
	if (ret < 0)
		return ret;
	sweep_marked(ns, id);
	shm_table_lock();
	/* Within, since the end of the process takes its slot away under the same lock. */
	ret = proc_enter(ns, &proc);
	if (ret == 0)
		ret = attach_locked(ns, proc, id, &w, ret_address);
	shm_table_unlock();
	return ret;
}

/* --- shmdt, munmap --- */

int shm_dt(struct ipc_namespace *ns, const void *address)
{
	uintptr_t at = (uintptr_t)address;
	bool found = false;
	int id = -1, ret = 0;

	if (at % getpagesize())
		return -EINVAL;
	shm_table_lock();
	for (unsigned i = find(at); i < here.n;) {
		struct attachment a = here.table[i];

		if (a.address - a.offset != at || (found && a.id != id)) {
			if (found || a.address - at > UINTPTR_MAX / 2)
				break;
			i++;
			continue;
		}
		found = true;
		id = a.id;
		ret = os_munmap((void *)a.address, a.size);
		if (ret < 0)
			break;
		take_out(i);
		detach_record(ns, a.record);
	}
	shm_table_unlock();
	return found ? ret : -EINVAL;
}

bool shm_touches(const void *address, size_t size)
{
	uintptr_t at = (uintptr_t)address;
	bool touches;
	unsigned i;

	if (!__atomic_load_n(&here.n, __ATOMIC_ACQUIRE))
		return false;
	shm_table_lock();
	i = find(at);
	touches = i < here.n && here.table[i].address < at + size;
	shm_table_unlock();
	return touches;
}

static void set_piece(struct ipc_namespace *ns, unsigned i, uintptr_t from, uintptr_t to)
{
	struct attachment *a = &here.table[i];

	a->offset += from - a->address;
	a->address = from;
	a->size = to - from;
	if (a->record && proc_mine(ns)) {
		struct shm_file_data *data = data_at(ns, a->record);

		__atomic_store_n(&data->address, a->address, __ATOMIC_RELAXED);
		__atomic_store_n(&data->size, a->size, __ATOMIC_RELAXED);
		__atomic_store_n(&data->offset, a->offset, __ATOMIC_RELAXED);
	}
}

/* A hole in the middle of an attach leaves two, as the kernel counts them: the one behind it. */
static void add_piece(struct ipc_namespace *ns, const struct attachment *whole, uintptr_t from)
{
	struct attachment rest = *whole;
	struct proc *proc = proc_mine(ns);
	struct shm_file_data like;
	struct tx *tx;

	rest.address = from;
	rest.offset = whole->offset + (from - whole->address);
	rest.size = whole->address + whole->size - from;
	rest.record = 0;
	if (make_room() < 0)
		return;
	if (whole->record && proc && begin(ns, &tx) == 0) {
		like = *data_at(ns, whole->record);
		like.address = rest.address;
		like.size = rest.size;
		like.offset = rest.offset;
		if (data_add(ns, tx, arena_ptr(&ns->arena, like.segment), proc, &like,
			     &rest.record) < 0)
			tx_abort(tx);
		else
			tx_commit(tx);
	}
	insert(rest);
}

static void forget_range(struct ipc_namespace *ns, uintptr_t from, uintptr_t to)
{
	for (unsigned i = find(from); i < here.n && here.table[i].address < to;) {
		struct attachment a = here.table[i];
		uintptr_t end = a.address + a.size;

		if (a.address < from) {
			set_piece(ns, i, a.address, from);
			if (end > to)
				add_piece(ns, &a, to);
			i++;
		} else if (end > to) {
			set_piece(ns, i, to, end);
			i++;
		} else {
			take_out(i);
			detach_record(ns, a.record);
		}
	}
}

/* Makes a boundary between two pieces at `at`, if it lies within one. */
static void cut(struct ipc_namespace *ns, uintptr_t at)
{
	unsigned i = find(at);
	struct attachment a;

	if (i == here.n || here.table[i].address >= at)
		return;
	a = here.table[i];
	set_piece(ns, i, a.address, at);
	add_piece(ns, &a, at);
}

/* Neighbours that are alike are one mapping to the kernel. */
static void join(struct ipc_namespace *ns, unsigned i)
{
	struct attachment *a = &here.table[i], b;

	if (i + 1 >= here.n)
		return;
	b = a[1];
	if (a->serial != b.serial || a->prot != b.prot || a->address + a->size != b.address ||
	    a->offset + a->size != b.offset)
		return;
	take_out(i + 1);
	set_piece(ns, i, a->address, b.address + b.size);
	detach_record(ns, b.record);
}

void shm_protected(struct ipc_namespace *ns, const void *address, size_t size, int prot)
{
	uintptr_t from = (uintptr_t)address;
	uintptr_t to = from + ALIGN_UP(size, (uintptr_t)getpagesize());
	unsigned first;

	shm_table_lock();
	first = find(from);
	for (unsigned i = first; i < here.n && here.table[i].address < to; i++) {
		if (here.table[i].prot == prot)
			continue;
		cut(ns, from);
		cut(ns, to);
		i = find(here.table[i].address < from ? from : here.table[i].address);
		here.table[i].prot = prot;
	}
	for (unsigned i = find(to) + 1; i-- > (first ? first - 1 : 0);)
		join(ns, i);
	shm_table_unlock();
}

void shm_moved(struct ipc_namespace *ns, const void *old, size_t old_size, const void *new,
	       size_t size)
{
	uintptr_t from = (uintptr_t)old, to = from + ALIGN_UP(old_size, (uintptr_t)getpagesize());

	shm_table_lock();
	if (size < old_size)
		forget_range(ns, from + ALIGN_UP(size, (uintptr_t)getpagesize()), to);
	if (new != old && size)
		forget_range(ns, (uintptr_t) new, (uintptr_t) new + size);
	for (unsigned i; (i = find(from)) < here.n && here.table[i].address < to && new != old;) {
		struct attachment a;

		cut(ns, from);
		cut(ns, to);
		i = find(from);
		a = here.table[i];
		take_out(i);
		a.address += (uintptr_t) new - from;
		if (a.record && proc_mine(ns))
			__atomic_store_n(&data_at(ns, a.record)->address, a.address,
					 __ATOMIC_RELAXED);
		insert(a);
	}
	shm_table_unlock();
}

void shm_unmapped(struct ipc_namespace *ns, const void *address, size_t size)
{
	uintptr_t page = getpagesize();

	shm_table_lock();
	forget_range(ns, (uintptr_t)address, (uintptr_t)address + ALIGN_UP(size, page));
	shm_table_unlock();
}

/* --- the end of a process, and its forks --- */

/*
 * The segments that go with the process are hidden in its own name, so that the next who sweeps
 * finishes if this one dies: the slot stays PROC_DYING until all is done.
 */
static void exit_shm(struct ipc_namespace *ns, struct proc *proc)
{
	struct tx *tx;
	bool more = true;

	while (more) {
		if (begin(ns, &tx) < 0)
			return;
		more = proc_is_going(proc) && proc->shm_clist;
		if (more)
			data_remove(ns, tx, proc->shm_clist, proc);
		tx_commit(tx);
	}
	shm_unlink_removed(ns, proc_slot(ns, proc));
}

void shm_leave(struct ipc_namespace *ns)
{
	shm_table_lock();
	for (unsigned i = 0; i < here.n; i++)
		here.table[i].record = 0;
	proc_leave(ns);
	shm_table_unlock();
}

void shm_init(void)
{
	proc_exit_hooks[IPC_SHM_IDS] = exit_shm;
}

void shm_fork_prepare(struct ipc_namespace *ns, struct proc *embryo)
{
	struct tx *tx;

	for (unsigned i = 0; i < here.n; i++) {
		struct attachment *a = &here.table[i];
		struct shmid_kernel *shp;
		struct shm_file_data like;

		a->child = 0;
		if (!embryo || !a->record || begin(ns, &tx) < 0)
			continue;
		like = *data_at(ns, a->record);
		shp = arena_ptr(&ns->arena, like.segment);
		if (data_add(ns, tx, shp, embryo, &like, &a->child) < 0) {
			tx_abort(tx);
			continue;
		}
		/* As in the kernel, where the child's mappings are opened by the parent. */
		tx_set(tx, shp->shm_atim, shm_now());
		tx_set(tx, shp->shm_lprid, ns->proc->pid);
		tx_commit(tx);
	}
}

/* Without an embryo: enters what is still there of what the parent had. */
static void attach_anew(struct ipc_namespace *ns)
{
	struct proc *proc;
	struct tx *tx;

	if (!here.n || proc_enter(ns, &proc) < 0)
		return;
	for (unsigned i = 0; i < here.n; i++) {
		struct attachment *a = &here.table[i];
		struct shm_file_data like = {
			.address = a->address, .size = a->size, .offset = a->offset};
		struct shmid_kernel *shp;

		a->record = 0;
		if (begin(ns, &tx) < 0)
			continue;
		shp = shm_obtain_object_check(ns, a->id);
		if (!shp || data_add(ns, tx, shp, proc, &like, &a->record) < 0)
			tx_abort(tx);
		else
			tx_commit(tx);
	}
}

void shm_fork_child(struct ipc_namespace *ns, bool embryo)
{
	here.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	for (unsigned i = 0; i < here.n; i++)
		here.table[i].record = embryo ? here.table[i].child : 0;
	if (!embryo)
		attach_anew(ns);
}
