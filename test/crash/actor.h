/*
 * actor.h - for tests in which processes die: each actor is a fresh child of a test that never opens vee.
 *
 * An actor opens the namespace in `folder`, does one thing and ends or is killed; what it has found stands
 * in *report, which is shared with the test. check_namespace() is such an actor too.
 */
#pragma once

#include "base/os.h"
#include "ipc/namespace.h"
#include "ipc/util.h"
#include "shm/shm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ACTOR_SECONDS 20

/* What of a namespace anybody can see, but for times and pids. */
struct summary {
	uint64_t hash; /* of all segments: id, key, mode, owner, size, nattch */
	uint64_t shm_tot, shm_reserved;
	uint32_t segments, in_use, seq, next, procs;
	int32_t last_idx;
};

struct report {
	bool done; /* the operation came to its end */
	bool flawed;
	int ret;
	uint32_t raw_heap, swept_heap; /* pages in use */
	struct summary raw, swept;     /* before and after a sweep */
	char wrong[512];
};

typedef void actor_fn(const void *arg);

static struct report *report;
static char base[64], folder[80];
static struct ipc_namespace actor_ns;

static inline void fresh_folder(const char *what)
{
	snprintf(base, sizeof(base), "/dev/shm/vee-%s.XXXXXX", what);
	if (!mkdtemp(base))
		fail_msg("mkdtemp %s: %s", base, strerror(errno));
	snprintf(folder, sizeof(folder), "%s/ns", base);
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static inline void remove_tree(const char *path)
{
	nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void make_report(void)
{
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (report == MAP_FAILED)
		abort();
}

static inline void __attribute__((format(printf, 1, 2))) flaw(const char *format, ...)
{
	va_list args;

	if (report->flawed)
		return;
	report->flawed = true;
	va_start(args, format);
	vsnprintf(report->wrong, sizeof(report->wrong), format, args);
	va_end(args);
}

static inline void must(int64_t ret, const char *what)
{
	if (ret < 0)
		flaw("%s: %s", what, strerror((int)-ret));
}

/* As fork(); the child does not outlive the test, nor its time. */
static inline pid_t fork_actor(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		abort();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(ACTOR_SECONDS);
	}
	return pid;
}

/* Returns its wait status. */
static inline int finish(pid_t pid)
{
	int status = 0;

	if (waitpid(pid, &status, 0) != pid)
		abort();
	return status;
}

/* Runs the actor to its end; returns its wait status. */
static inline int run_actor(actor_fn *actor, const void *arg)
{
	pid_t pid = fork_actor();

	if (pid == 0) {
		actor(arg);
		_exit(0);
	}
	return finish(pid);
}

static inline bool killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static inline struct ipc_namespace *actor_opens(bool create)
{
	int ret;

	shm_init();
	ret = namespace_open(&actor_ns, folder, create, 0600);
	if (ret < 0) {
		flaw("namespace_open: %s (%s)", strerror(-ret), arena_error);
		_exit(9);
	}
	return &actor_ns;
}

static inline uint64_t mix(uint64_t h, uint64_t word)
{
	return (h ^ word) * 0x9e3779b97f4a7c15ull + 0x7f4a7c15;
}

/* For a look at all objects of a mechanism. NULL: a flaw. */
static inline struct tx *begin_look(struct ipc_namespace *ns, struct ipc_ids *ids)
{
	struct tx *tx;

	if (tx_begin(&ns->arena, &tx) < 0) {
		flaw("tx_begin fails in a check");
		return NULL;
	}
	/* Who died may have held the lock of the process table or of memory alone. */
	tx_lock(tx, &ids->lock);
	tx_lock(tx, &ns->record->proc_lock);
	tx_lock(tx, &ns->arena.header->memory_lock);
	return tx;
}

static inline struct summary summarise(struct ipc_namespace *ns)
{
	struct ipc_ids *ids = ipc_ids_of(ns, IPC_SHM_IDS);
	struct tx *tx = begin_look(ns, ids);
	struct summary s;

	memset(&s, 0, sizeof(s));
	if (!tx)
		return s;
	for (int i = -1; (i = idr_next(&ns->arena, &ids->ipcs_idr, i + 1)) >= 0;) {
		const struct shmid_kernel *shp =
			arena_ptr(&ns->arena, idr_find(&ns->arena, &ids->ipcs_idr, i));
		const struct kern_ipc_perm *perm = &shp->shm_perm;

		if (perm->deleted)
			continue;
		s.segments++;
		s.hash = mix(mix(mix(s.hash, perm->id), perm->key), perm->mode);
		s.hash = mix(mix(mix(s.hash, perm->uid), shp->shm_segsz), shp->shm_nattch);
	}
	s.in_use = ids->in_use;
	s.seq = ids->seq;
	s.next = ids->ipcs_idr.next;
	s.last_idx = ids->last_idx;
	s.shm_tot = ns->record->shm_tot;
	s.shm_reserved = ns->record->shm_reserved;
	for (uint32_t i = 0; i < ns->arena.header->procs_ready; i++)
		s.procs += proc_at(ns, i)->state != PROC_FREE;
	tx_commit(tx);
	return s;
}

/* Files in shm/ of which no segment knows. */
static inline void check_files(struct ipc_namespace *ns)
{
	char path[128];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/shm", folder);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		const struct shmid_kernel *shp;
		int id = atoi(entry->d_name);
		ref_t ref;

		if (entry->d_name[0] == '.')
			continue;
		ref = idr_find(&ns->arena, &ipc_ids_of(ns, IPC_SHM_IDS)->ipcs_idr, id % IPCMNI);
		shp = arena_ptr(&ns->arena, ref);
		if (!shp || shp->shm_perm.id != id)
			flaw("the file shm/%s belongs to no segment", entry->d_name);
		else if (!shp->has_file)
			flaw("the segment %d does not know of its file", id);
	}
	if (dir)
		closedir(dir);
}

/* An actor: sweeps and checks; no process is left when `arg` is not NULL. */
static inline void check_namespace(const void *arg)
{
	struct ipc_namespace *ns = actor_opens(false);
	const char *wrong;

	report->raw = summarise(ns);
	report->raw_heap = ns->arena.header->heap_used;
	proc_sweep(ns);
	report->swept = summarise(ns);
	report->swept_heap = ns->arena.header->heap_used;
	wrong = namespace_check(ns);
	if (!wrong)
		wrong = shm_check(ns);
	if (wrong)
		flaw("check: %s", wrong);
	check_files(ns);
	if (arg && (report->swept.procs || report->swept.segments))
		flaw("left behind: %u processes, %u segments", report->swept.procs,
		     report->swept.segments);
}
