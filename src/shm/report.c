/* report.c - segments as text and as copies, for /proc/sysvipc, `vee` and the checks; see shm.h. */
#include "base/os.h"
#include "shm/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct linux_dirent64 {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

/* Bytes of an open file that are in the page cache; what is allotted beyond that is swapped out. */
static uint64_t cached_bytes(int fd, uint64_t size, uint64_t allotted)
{
	unsigned char seen[4096];
	uint64_t pages = 0, swap = 0;
	intptr_t at;

	if (os_total_swap(&swap) < 0 || swap == 0)
		return allotted;
	at = os_mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (at < 0 && at > -4096)
		return allotted;
	for (uint64_t done = 0; done < size; done += sizeof(seen) * ARENA_PAGE) {
		uint64_t part = size - done < sizeof(seen) * ARENA_PAGE ? size - done :
									  sizeof(seen) * ARENA_PAGE;

		if (os_mincore((void *)(at + done), part, seen) < 0)
			break;
		for (uint64_t i = 0; i < part / ARENA_PAGE; i++)
			pages += seen[i] & 1;
	}
	os_munmap((void *)at, size);
	return pages * ARENA_PAGE < allotted ? pages * ARENA_PAGE : allotted;
}

static void fill_memory(struct ipc_namespace *ns, uint64_t size, struct shm_info_entry *entry)
{
	char path[3200];
	struct stat st;
	int fd;

	shm_path(ns, entry->id, path, sizeof(path));
	fd = os_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
	if (fd < 0)
		return;
	if (os_fstat(fd, &st) == 0) {
		uint64_t allotted = (uint64_t)st.st_blocks * 512;

		entry->resident_bytes = cached_bytes(fd, size, allotted);
		entry->swapped_bytes = allotted - entry->resident_bytes;
	}
	os_close(fd);
}

bool shm_each(struct ipc_namespace *ns, int *index, struct shm_info_entry *ret_entry)
{
	struct ipc_ids *ids = ipc_ids_of(ns, IPC_SHM_IDS);
	struct shmid_kernel *shp = NULL;
	uint64_t size = 0;
	struct tx *tx;

	memset(ret_entry, 0, sizeof(*ret_entry));
	if (tx_begin(&ns->arena, &tx) < 0)
		return false;
	tx_lock(tx, &ids->lock);
	do {
		*index = idr_next(&ns->arena, &ids->ipcs_idr, *index + 1);
		shp = *index < 0 ?
			      NULL :
			      arena_ptr(&ns->arena, idr_find(&ns->arena, &ids->ipcs_idr, *index));
	} while (shp && shp->shm_perm.deleted);
	if (shp) {
		shm_fill_ds(shp, &ret_entry->ds);
		ret_entry->id = shp->shm_perm.id;
		size = shp->has_file ? shm_pages(shp) * ARENA_PAGE : 0;
	}
	tx_commit(tx);
	if (size)
		fill_memory(ns, size, ret_entry);
	return shp != NULL;
}

unsigned shm_attachers(struct ipc_namespace *ns, int id, struct shm_attach_entry *entries,
		       unsigned max)
{
	struct shmid_kernel *shp;
	unsigned n = 0;
	struct tx *tx;

	if (tx_begin(&ns->arena, &tx) < 0)
		return 0;
	tx_lock(tx, &ipc_ids_of(ns, IPC_SHM_IDS)->lock);
	shp = shm_obtain_object_check(ns, id);
	for (ref_t ref = shp ? shp->attaches : 0; ref; n++) {
		const struct shm_file_data *data = arena_ptr(&ns->arena, ref);

		if (n < max)
			entries[n] = (struct shm_attach_entry){proc_at(ns, data->proc)->pid,
							       data->address, data->size,
							       data->readonly};
		ref = data->seg_next;
	}
	tx_commit(tx);
	return n;
}

size_t shm_proc_text(struct ipc_namespace *ns, char *buf, size_t size)
{
	struct shm_info_entry e;
	size_t at;

	proc_sweep(ns);
	at = snprintf(
		buf, size,
		"       key      shmid perms                  size  cpid  lpid nattch   uid   gid  "
		"cuid  cgid      atime      dtime      ctime                   rss          "
		"        swap\n");
	for (int i = -1; shm_each(ns, &i, &e);) {
		const struct shmid_ds *ds = &e.ds;

		at += snprintf(at < size ? buf + at : NULL, at < size ? size - at : 0,
			       "%10d %10d  %4o %21lu %5u %5u  %5lu %5u %5u %5u %5u %10llu %10llu "
			       "%10llu %21lu %21lu\n",
			       ds->shm_perm.__key, e.id, ds->shm_perm.mode,
			       (unsigned long)ds->shm_segsz, ds->shm_cpid, ds->shm_lpid,
			       (unsigned long)ds->shm_nattch, ds->shm_perm.uid, ds->shm_perm.gid,
			       ds->shm_perm.cuid, ds->shm_perm.cgid,
			       (unsigned long long)ds->shm_atime, (unsigned long long)ds->shm_dtime,
			       (unsigned long long)ds->shm_ctime, (unsigned long)e.resident_bytes,
			       (unsigned long)e.swapped_bytes);
	}
	return at;
}

static bool owned(struct ipc_namespace *ns, const char *name)
{
	char *end;
	long id = strtol(name, &end, 10);
	ref_t ref;

	if (*end || end == name || id < 0)
		return false;
	ref = idr_find(&ns->arena, &ipc_ids_of(ns, IPC_SHM_IDS)->ipcs_idr, id % IPCMNI);
	return ref && ((struct kern_ipc_perm *)arena_ptr(&ns->arena, ref))->id == id;
}

static unsigned collect_some(struct ipc_namespace *ns, const char *dents, ssize_t n)
{
	unsigned gone = 0;
	char path[3500];

	for (ssize_t at = 0; at < n;) {
		const struct linux_dirent64 *entry = (const void *)(dents + at);
		struct tx *tx;

		at += entry->d_reclen;
		if (entry->d_name[0] == '.' || tx_begin(&ns->arena, &tx) < 0)
			continue;
		/* Under the lock, so that nobody gets this id and makes the file meanwhile. */
		tx_lock(tx, &ipc_ids_of(ns, IPC_SHM_IDS)->lock);
		snprintf(path, sizeof(path), "%s/shm/%s", ns->dir, entry->d_name);
		if (!owned(ns, entry->d_name) && os_unlink(path) == 0)
			gone++;
		tx_commit(tx);
	}
	return gone;
}

unsigned shm_collect(struct ipc_namespace *ns)
{
	char dents[4096] __attribute__((aligned(8))), path[3200];
	unsigned gone = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/shm", ns->dir);
	fd = os_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	while ((n = os_getdents(fd, dents, sizeof(dents))) > 0)
		gone += collect_some(ns, dents, n);
	os_close(fd);
	return gone;
}

static const char *check_attaches(struct ipc_namespace *ns, const struct shmid_kernel *shp)
{
	uint64_t n = 0;
	ref_t prev = 0;

	for (ref_t ref = shp->attaches; ref; n++) {
		const struct shm_file_data *data = arena_ptr(&ns->arena, ref);

		if (ref < ARENA_HEAP_AT || n > shp->shm_nattch)
			return "a segment's attachments are a ring, or leave the file";
		if (data->seg_prev != prev || data->id != shp->shm_perm.id ||
		    arena_ptr(&ns->arena, data->segment) != shp)
			return "an attachment does not know its segment";
		if (data->proc >= ns->arena.header->procs_ready ||
		    proc_at(ns, data->proc)->state == PROC_FREE)
			return "an attachment belongs to no process";
		prev = ref;
		ref = data->seg_next;
	}
	return n == shp->shm_nattch ? NULL : "shm_nattch is not the number of attachments";
}

static const char *check_locked(struct ipc_namespace *ns)
{
	struct idr *idr = &ipc_ids_of(ns, IPC_SHM_IDS)->ipcs_idr;
	uint64_t total = 0, reserved = 0;

	for (int i = -1; (i = idr_next(&ns->arena, idr, i + 1)) >= 0;) {
		const struct shmid_kernel *shp =
			arena_ptr(&ns->arena, idr_find(&ns->arena, idr, i));
		const char *wrong = check_attaches(ns, shp);

		if (wrong)
			return wrong;
		if (shp->shm_perm.deleted)
			continue;
		if (shp->shm_perm.mode & SHM_DEST && shp->shm_nattch == 0)
			return "a marked segment without attachments is still there";
		total += shm_pages(shp);
		reserved += shp->noreserve ? 0 : shm_pages(shp);
	}
	if (total != ns->record->shm_tot || reserved != ns->record->shm_reserved)
		return "shm_tot is not the sum of the segments";
	return NULL;
}

const char *shm_check(struct ipc_namespace *ns)
{
	const char *wrong;
	struct tx *tx;

	if (tx_begin(&ns->arena, &tx) < 0)
		return "no journal can be claimed";
	tx_lock(tx, &ipc_ids_of(ns, IPC_SHM_IDS)->lock);
	wrong = check_locked(ns);
	tx_commit(tx);
	return wrong;
}
