/* namespace.c - where namespaces lie, opening one, and this process's own; see namespace.h. */
#include "ipc/namespace.h"
#include "base/os.h"
#include "ipc/guests.h"
#include "ipc/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME_LONGEST 64
#define DEFAULT_NAME "default"

static int absolute(const char *path, char *buf, size_t size)
{
	char here[2048] = "";

	if (path[0] != '/' && !getcwd(here, sizeof(here)))
		return -errno;
	if ((size_t)snprintf(buf, size, "%s%s%s", here, here[0] ? "/" : "", path) >= size)
		return -ENAMETOOLONG;
	return 0;
}

int namespace_base(char *buf, size_t size)
{
	const char *dir = getenv("VEE_DIR"), *runtime = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	if (dir && *dir)
		return absolute(dir, buf, size);
	if (os_stat("/dev/shm", &st) == 0 || !runtime || !*runtime)
		snprintf(buf, size, "/dev/shm/vee-%u", os_geteuid());
	else if ((size_t)snprintf(buf, size, "%s/vee", runtime) >= size)
		return -ENAMETOOLONG;
	return 0;
}

/* A guest who says where, or who has a namespace of that name, means that one. */
static void maybe_roots(const char *name, char *buf, size_t size)
{
	const char *dir = getenv("VEE_DIR");
	char roots[512];
	struct stat st;

	if (os_geteuid() == 0 || (dir && *dir) || !strcmp(name, DEFAULT_NAME))
		return;
	if (os_lstat(buf, &st) == -ENOENT && guests_find(name, roots, sizeof(roots)) == 0)
		snprintf(buf, size, "%s", roots);
}

int namespace_dir(const char *name, char *buf, size_t size)
{
	size_t length;
	int ret;

	if (!name)
		name = getenv("VEE_NS");
	if (!name)
		name = DEFAULT_NAME;
	length = strlen(name);
	if (length == 0 || length > NAME_LONGEST || name[0] == '.' || strchr(name, '/')) {
		arena_errorf("'%.80s' can't be the name of a namespace ($VEE_NS): 1 to %d "
			     "characters, no '/', no '.' in front",
			     name, NAME_LONGEST);
		return -EINVAL;
	}
	ret = namespace_base(buf, size);
	if (ret < 0)
		return ret;
	if (strlen(buf) + 1 + length >= size)
		return -ENAMETOOLONG;
	strcat(strcat(buf, "/"), name);
	maybe_roots(name, buf, size);
	return 0;
}

/* A folder that others could have put there, or could change, is none of ours. */
static int check_folder(const char *path)
{
	struct stat st;
	uint32_t me = os_geteuid();
	bool shared;
	int ret = os_lstat(path, &st);

	if (ret < 0)
		return ret;
	if (!S_ISDIR(st.st_mode)) {
		arena_errorf("%s: not a folder; remove it or set VEE_DIR to another place", path);
		return -ENOTDIR;
	}
	/* `vee ns create --mode` marks what its owner shares by the sticky bit. */
	shared = getenv("VEE_DIR") && st.st_mode & S_ISVTX;
	if (st.st_uid != me && st.st_uid != 0 && !shared) {
		arena_errorf(
			"%s: belongs to user %u, not to you (%u); remove it, or set VEE_DIR to a "
			"folder of your own",
			path, st.st_uid, me);
		return -EACCES;
	}
	if (st.st_mode & 022 && !(st.st_mode & S_ISVTX)) {
		arena_errorf("%s: others may write it (mode %04o); 'chmod go-w' it", path,
			     st.st_mode & 07777);
		return -EACCES;
	}
	return 0;
}

/* Lets others in, and never keeps anybody out who was let in before. */
static int open_folder(const char *path, uint32_t bits)
{
	struct stat st;
	int ret = os_stat(path, &st);

	if (ret < 0 || (st.st_mode & bits) == bits)
		return ret;
	return os_chmod(path, (st.st_mode & 07777) | bits);
}

static int make_folder(const char *path, uint32_t mode)
{
	int ret = os_mkdir(path, 0700);

	if (ret == 0)
		os_chmod(path, 0700); /* whatever the umask is */
	if (ret == -EEXIST || (ret < 0 && check_folder(path) == 0))
		ret = 0;
	if (ret == 0)
		ret = check_folder(path);
	else if (!arena_error[0])
		arena_errorf("%s: can't be made: %s", path, strerror(-ret));
	if (ret == 0 && mode != 0700)
		ret = open_folder(path, mode);
	return ret;
}

static int make_folders(const char *dir, uint32_t mode)
{
	uint32_t folder = mode & 0066 ? 01711 : 0700;
	char path[3200];
	char *slash;
	int ret;

	snprintf(path, sizeof(path), "%s", dir);
	slash = strrchr(path, '/');
	*slash = '\0';
	ret = *path ? make_folder(path, folder) : 0;
	*slash = '/';
	if (ret == 0)
		ret = make_folder(path, folder);
	if (ret < 0)
		return ret;
	strcat(path, "/shm");
	return make_folder(path, mode & 0066 ? 01733 : 0700);
}

/* What a failed creation leaves. A folder that is in use is not empty, and stays. */
static void remove_empty(const char *dir)
{
	char path[3200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/namespace", dir);
	if (os_lstat(path, &st) != -ENOENT)
		return;
	snprintf(path, sizeof(path), "%s/shm", dir);
	os_rmdir(path);
	os_rmdir(dir);
}

static uint32_t new_mode;
static const struct guests *new_guests; /* or NULL */

/* The file has not got its name yet: whoever finds it can open it. */
static void let_guests_in(const struct arena *arena)
{
	char path[sizeof(arena->path) + 8];

	snprintf(path, sizeof(path), "%s.new", arena->path);
	guests_admit_to_file(path, new_guests);
}

static int fill_root(struct arena *arena)
{
	struct ipc_namespace_record *record = arena_root(arena);

	for (int i = 0; i < 3; i++) {
		arena_lock_init(&record->ids[i].lock);
		record->ids[i].next_id = -1;
		record->ids[i].last_idx = -1;
	}
	arena_lock_init(&record->proc_lock);
	record->shm_ctlmax = SHM_MAX_DEFAULT;
	record->shm_ctlall = SHM_MAX_DEFAULT;
	record->shm_ctlmni = SHMMNI_DEFAULT;
	record->sem_ctls[0] = 32000;
	record->sem_ctls[1] = 1024000000;
	record->sem_ctls[2] = 500;
	record->sem_ctls[3] = 32000;
	record->msg_ctlmax = 8192;
	record->msg_ctlmnb = 16384;
	record->msg_ctlmni = 32000;
	record->mode = new_mode;
	if (new_guests)
		let_guests_in(arena);
	return 0;
}

int namespace_open(struct ipc_namespace *ns, const char *dir, bool create, uint32_t mode)
{
	char path[3200];
	int ret;

	arena_error[0] = '\0';
	if ((size_t)snprintf(ns->dir, sizeof(ns->dir), "%s", dir) >= sizeof(ns->dir))
		return -ENAMETOOLONG;
	ret = create ? make_folders(dir, mode) : check_folder(dir);
	if (ret < 0) {
		if (!arena_error[0])
			arena_errorf("%s: %s", dir, strerror(-ret));
		return ret;
	}
	snprintf(path, sizeof(path), "%s/namespace", dir);
	new_mode = mode;
	ret = arena_open(&ns->arena, path, mode, create, fill_root);
	if (ret < 0) {
		if (create)
			remove_empty(dir);
		return ret;
	}
	ns->record = arena_root(&ns->arena);
	ns->proc = NULL;
	ns->own_pid = os_getpid();
	ns->pid = &ns->own_pid;
	return 0;
}

int namespace_make(struct ipc_namespace *ns, const char *dir, const struct guests *guests)
{
	int refused, ret;

	arena_error[0] = '\0';
	ret = make_folders(dir, 0600);
	if (ret < 0)
		return ret;
	refused = guests_admit_to_folders(dir, guests);
	new_guests = refused < 0 ? NULL : guests;
	ret = namespace_open(ns, dir, true, 0600);
	new_guests = NULL;
	return ret < 0 ? ret : refused < 0 ? NAMESPACE_NO_GUESTS : 0;
}

void namespace_close(struct ipc_namespace *ns)
{
	if (ns->proc) {
		struct proc *proc = ns->proc;

		proc_leave(ns);
		pthread_mutex_unlock(&proc->doorbell);
	}
	arena_close(&ns->arena);
}

/*
 * This process's namespace. `opened` is set when all else is. The page `alive` holds the pid; it is wiped in a
 * child that was forked without our knowing, which then starts as proc_fork_child would.
 */
static struct ipc_namespace here;
struct ipc_namespace *namespace_own;
static bool opened;
static pthread_mutex_t here_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t *alive;

static void watch_forks(void)
{
	intptr_t page =
		os_mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static uint32_t always;

	alive = &always;
	if (!(page < 0 && page > -4096) && os_madvise((void *)page, 4096, MADV_WIPEONFORK) == 0)
		alive = (uint32_t *)page;
	*alive = os_getpid();
	here.pid = alive;
}

static int open_here(void)
{
	char dir[3072];
	int ret = 0;

	critical_enter();
	pthread_mutex_lock(&here_lock);
	if (!opened) {
		ret = namespace_dir(NULL, dir, sizeof(dir));
		if (ret == 0)
			ret = namespace_open(&here, dir, true, 0600);
		if (ret == 0) {
			proc_after_exec(&here);
			watch_forks();
			__atomic_store_n(&namespace_own, &here, __ATOMIC_RELEASE);
			__atomic_store_n(&opened, true, __ATOMIC_RELEASE);
		}
	}
	pthread_mutex_unlock(&here_lock);
	critical_leave();
	return ret;
}

static void (*unseen_fork)(void);

void namespace_on_unseen_fork(void (*hook)(void))
{
	unseen_fork = hook;
}

int namespace_get(struct ipc_namespace **ret_ns)
{
	if (unlikely(!__atomic_load_n(&opened, __ATOMIC_ACQUIRE))) {
		int ret = open_here();

		if (ret < 0)
			return ret;
	}
	if (unlikely(!*alive) && unseen_fork)
		unseen_fork();
	*ret_ns = &here;
	return 0;
}

struct ipc_namespace *namespace_opened(void)
{
	return __atomic_load_n(&opened, __ATOMIC_ACQUIRE) ? &here : NULL;
}

void namespace_fork_child(void)
{
	here_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	proc_fork_reset();
	if (!opened)
		return;
	*alive = os_getpid();
	here.arena.epoch++;
	here.proc = NULL;
	journal_forget();
}

static const char *check_ids(struct ipc_namespace *ns)
{
	struct tx *tx;

	for (int i = 0; i < 3; i++) {
		const char *wrong;

		if (tx_begin(&ns->arena, &tx) < 0)
			return "no journal can be claimed";
		tx_lock(tx, &ipc_ids_of(ns, i)->lock);
		wrong = ipc_ids_check(ns, i);
		tx_commit(tx);
		if (wrong)
			return wrong;
	}
	return NULL;
}

const char *namespace_check(struct ipc_namespace *ns)
{
	const char *wrong = arena_check(&ns->arena);

	return wrong ? wrong : check_ids(ns);
}
