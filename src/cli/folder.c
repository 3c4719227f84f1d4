/* folder.c - the folders of namespaces: open by name, list, measure, remove. */
#include "cli/cli.h"
#include "msg/msg.h"
#include "sem/sem.h"
#include "shm/shm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* What vee makes in the folder of a namespace, besides the file `namespace`. */
static const char *const subfolders[] = {"shm", "chan"};

const char *folder_name(const char *name)
{
	const char *from_env = getenv("VEE_NS");

	if (name)
		return name;
	return from_env && *from_env ? from_env : "default";
}

void folder_use(const char *name)
{
	if (!name || !setenv("VEE_NS", name, 1))
		return;
	cli_error("out of memory");
	exit(CLI_FAILED);
}

void folder_error(const char *name, int error)
{
	if (arena_error[0])
		cli_error("%s", arena_error);
	else
		cli_error("%s: %s", folder_name(name), strerror(-error));
}

void folder_hooks(void)
{
	shm_init();
	sem_init();
	msg_init();
}

int folder_open(const char *name, struct ipc_namespace *ns)
{
	char dir[sizeof(ns->dir)];
	int ret;

	arena_error[0] = '\0';
	ret = namespace_dir(name, dir, sizeof(dir));
	if (!ret) {
		folder_hooks();
		ret = namespace_open(ns, dir, false, 0600);
	}
	if (ret < 0 && ret != -ENOENT)
		folder_error(name, ret);
	return ret;
}

int folder_open_existing(const char *name, struct ipc_namespace *ns)
{
	int ret = folder_open(name, ns);

	if (ret == -ENOENT)
		cli_error("%s: no such namespace", folder_name(name));
	return ret;
}

unsigned folder_processes(struct ipc_namespace *ns)
{
	const struct proc *mine = proc_mine(ns);
	uint32_t n_slots = __atomic_load_n(&ns->arena.header->procs_ready, __ATOMIC_ACQUIRE);
	unsigned n = 0;

	for (uint32_t slot = 0; slot < n_slots; slot++) {
		const struct proc *proc = proc_at(ns, slot);
		uint32_t state;

		if (!proc || proc == mine)
			continue;
		state = __atomic_load_n(&proc->state, __ATOMIC_ACQUIRE);
		n += state == PROC_LIVE || state == PROC_EMBRYO;
	}
	return n;
}

static bool process_maps(const char *pid, const struct stat *file)
{
	char path[300], line[4352];
	bool found = false;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	maps = fopen(path, "re");
	if (!maps)
		return false;
	while (!found && fgets(line, sizeof(line), maps)) {
		unsigned long long inode;
		unsigned major_id, minor_id;

		if (sscanf(line, "%*s %*s %*s %x:%x %llu", &major_id, &minor_id, &inode) == 3)
			found = inode == file->st_ino && major_id == major(file->st_dev) &&
				minor_id == minor(file->st_dev);
	}
	fclose(maps);
	return found;
}

unsigned folder_mapped(const char *dir)
{
	char path[4096];
	struct dirent *entry;
	struct stat file;
	unsigned n = 0;
	DIR *processes;

	snprintf(path, sizeof(path), "%s/namespace", dir);
	if (lstat(path, &file))
		return 0;
	processes = opendir("/proc");
	if (!processes)
		return 0;
	while ((entry = readdir(processes)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			n += process_maps(entry->d_name, &file);
	closedir(processes);
	return n;
}

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* A folder that a link stands for is not ours to walk. */
static DIR *open_folder(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *folder;

	if (fd < 0)
		return NULL;
	folder = fdopendir(fd);
	if (!folder)
		close(fd);
	return folder;
}

/* Of the files in it, and in folders in it. */
static uint64_t files_size(int at, const char *name)
{
	DIR *folder = open_folder(at, name);
	struct dirent *entry;
	uint64_t size = 0;
	struct stat file;

	if (!folder)
		return 0;
	while ((entry = readdir(folder))) {
		if (is_dots(entry->d_name) ||
		    fstatat(dirfd(folder), entry->d_name, &file, AT_SYMLINK_NOFOLLOW))
			continue;
		if (S_ISREG(file.st_mode))
			size += (uint64_t)file.st_blocks * 512;
		else if (S_ISDIR(file.st_mode))
			size += files_size(dirfd(folder), entry->d_name);
	}
	closedir(folder);
	return size;
}

uint64_t folder_size_bytes(const char *dir)
{
	return files_size(AT_FDCWD, dir);
}

static int unlink_in(int at, const char *name)
{
	return unlinkat(at, name, 0) && errno != ENOENT ? -errno : 0;
}

/* With what is in it: files, and folders of files. */
static int remove_subfolder(int at, const char *name, bool files_too)
{
	DIR *folder = open_folder(at, name);
	struct dirent *entry;
	int ret = 0;

	if (!folder)
		return errno == ENOENT ? 0 : -errno;
	while (files_too && !ret && (entry = readdir(folder))) {
		if (is_dots(entry->d_name))
			continue;
		ret = unlink_in(dirfd(folder), entry->d_name);
		if (ret == -EISDIR || ret == -EPERM)
			ret = remove_subfolder(dirfd(folder), entry->d_name, true);
	}
	closedir(folder);
	if (!ret && unlinkat(at, name, AT_REMOVEDIR) && errno != ENOENT)
		ret = -errno;
	return ret;
}

/*
 * The file `namespace` goes last, so that a removal that was cut short can be done again. Where there is none
 * (whoever made the folder was killed), only empty folders go: it may be a stranger's.
 */
static int remove_content(int at)
{
	bool ours = !faccessat(at, "namespace", F_OK, AT_SYMLINK_NOFOLLOW) ||
		    !faccessat(at, "namespace.new", F_OK, AT_SYMLINK_NOFOLLOW);
	int ret = 0;

	for (size_t i = 0; !ret && i < ARRAY_SIZE(subfolders); i++)
		ret = remove_subfolder(at, subfolders[i], ours);
	if (!ret)
		ret = unlink_in(at, "namespace.new");
	if (!ret)
		ret = unlink_in(at, "namespace");
	return ret;
}

int folder_remove(const char *dir)
{
	DIR *folder = open_folder(AT_FDCWD, dir);
	int ret;

	if (!folder)
		return -errno;
	ret = remove_content(dirfd(folder));
	closedir(folder);
	if (!ret && rmdir(dir))
		ret = -errno;
	return ret;
}

static bool is_namespace(const char *base, const char *name)
{
	char path[4096];
	struct stat file;

	if (name[0] == '.' ||
	    snprintf(path, sizeof(path), "%s/%s", base, name) >= (int)sizeof(path))
		return false;
	if (lstat(path, &file) || !S_ISDIR(file.st_mode))
		return false;
	return snprintf(path, sizeof(path), "%s/%s/namespace", base, name) < (int)sizeof(path) &&
	       !lstat(path, &file);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int folder_names(char ***ret_names)
{
	char **names = NULL, **more;
	struct dirent *entry;
	char base[3072];
	int n = 0, ret;
	DIR *folder;

	arena_error[0] = '\0';
	ret = namespace_base(base, sizeof(base));
	if (ret < 0)
		return ret;
	*ret_names = NULL;
	folder = opendir(base);
	if (!folder)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(folder))) {
		if (!is_namespace(base, entry->d_name))
			continue;
		more = realloc(names, (size_t)(n + 1) * sizeof(*names));
		if (!more || !(more[n] = strdup(entry->d_name))) {
			closedir(folder);
			folder_names_free(more ? more : names, n);
			return -ENOMEM;
		}
		names = more;
		n++;
	}
	closedir(folder);
	if (n)
		qsort(names, (size_t)n, sizeof(*names), compare_names);
	*ret_names = names;
	return n;
}

void folder_names_free(char **names, int n_names)
{
	for (int i = 0; i < n_names; i++)
		free(names[i]);
	free(names);
}
