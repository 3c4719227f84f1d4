/*
 * procfs.c - /proc/sysvipc/shm and the limits under /proc/sys/kernel, as this namespace has them.
 *
 * Opening one for reading gives a descriptor of a text made at that moment, in the kernel's format.
 * Writing the limits through /proc is not possible (EACCES): `vee limits` does that.
 */
#include "base/os.h"
#include "preload/calls.h"
#include "preload/real.h"
#include "shm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef O_TMPFILE
#define O_TMPFILE 020200000
#endif

static ssize_t write_all(int fd, const char *text, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = os_write(fd, text + at, size - at);

		if (n < 0 && n != -EINTR)
			return n;
		at += n > 0 ? n : 0;
	}
	return os_lseek(fd, 0, SEEK_SET);
}

/* The text's length may grow between asking and writing. */
static ssize_t write_segments(struct ipc_namespace *ns, int fd)
{
	size_t size = 65536, need;
	intptr_t at;
	ssize_t ret;

	for (;;) {
		at = os_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			     0);
		if (at < 0 && at > -4096)
			return at;
		need = shm_proc_text(ns, (char *)at, size);
		if (need < size)
			break;
		os_munmap((void *)at, size);
		size = ALIGN_UP(need + need / 4, 65536ul);
	}
	ret = write_all(fd, (char *)at, need);
	os_munmap((void *)at, size);
	return ret;
}

static ssize_t write_limit(struct ipc_namespace *ns, int fd, const char *name)
{
	const struct ipc_namespace_record *record = ns->record;
	char text[32];

	if (!strcmp(name, "shmmax"))
		snprintf(text, sizeof(text), "%llu\n", (unsigned long long)record->shm_ctlmax);
	else if (!strcmp(name, "shmall"))
		snprintf(text, sizeof(text), "%llu\n", (unsigned long long)record->shm_ctlall);
	else if (!strcmp(name, "shmmni"))
		snprintf(text, sizeof(text), "%u\n", record->shm_ctlmni);
	else if (!strcmp(name, "shm_rmid_forced"))
		snprintf(text, sizeof(text), "%u\n", record->shm_rmid_forced);
	else
		snprintf(text, sizeof(text), "%d\n", record->ids[IPC_SHM_IDS].next_id);
	return write_all(fd, text, strlen(text));
}

/* The part of path behind the last '/' if it is one of ours, else NULL. */
static const char *ours(const char *path)
{
	static const char *const limits[] = {"shmmax", "shmall", "shmmni", "shm_rmid_forced",
					     "shm_next_id"};

	if (likely(!path || strncmp(path, "/proc/sys", 9) != 0))
		return NULL;
	if (!strcmp(path, "/proc/sysvipc/shm"))
		return path + 14;
	if (strncmp(path, "/proc/sys/kernel/", 17) != 0)
		return NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(limits); i++)
		if (!strcmp(path + 17, limits[i]))
			return path + 17;
	return NULL;
}

/* A descriptor of the text; -1 with errno. */
static int open_ours(const char *name, int flags)
{
	struct ipc_namespace *ns;
	ssize_t ret;
	int fd;

	if ((flags & O_ACCMODE) != O_RDONLY) {
		errno = EACCES;
		return -1;
	}
	if (calls_open(&ns) < 0)
		return -1;
	fd = os_memfd_create(name, flags & O_CLOEXEC ? MFD_CLOEXEC : 0);
	if (fd < 0)
		return calls_return(fd);
	ret = strcmp(name, "shm") ? write_limit(ns, fd, name) : write_segments(ns, fd);
	if (ret < 0) {
		os_close(fd);
		return calls_return(ret);
	}
	return fd;
}

static bool has_mode(int flags)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
}

#define TAKE_MODE(flags)                     \
	mode_t mode = 0;                     \
	if (has_mode(flags)) {               \
		va_list args;                \
		va_start(args, flags);       \
		mode = va_arg(args, mode_t); \
		va_end(args);                \
	}

VEE_EXPORT int open(const char *path, int flags, ...)
{
	const char *name = ours(path);

	TAKE_MODE(flags)
	return unlikely(name) ? open_ours(name, flags) : REAL(open)(path, flags, mode);
}

VEE_EXPORT int openat(int dir, const char *path, int flags, ...)
{
	const char *name = ours(path);

	TAKE_MODE(flags)
	return unlikely(name) ? open_ours(name, flags) : REAL(openat)(dir, path, flags, mode);
}

VEE_EXPORT FILE *fopen(const char *path, const char *how)
{
	const char *name = ours(path);
	int fd;

	if (likely(!name))
		return REAL(fopen)(path, how);
	fd = open_ours(name, how[0] == 'r' && !strchr(how, '+') ? O_RDONLY : O_RDWR);
	return fd < 0 ? NULL : fdopen(fd, how);
}

#ifdef __GLIBC__
VEE_EXPORT int open64(const char *path, int flags, ...)
{
	const char *name = ours(path);

	TAKE_MODE(flags)
	return unlikely(name) ? open_ours(name, flags) : REAL(open64)(path, flags, mode);
}

VEE_EXPORT int openat64(int dir, const char *path, int flags, ...)
{
	const char *name = ours(path);

	TAKE_MODE(flags)
	return unlikely(name) ? open_ours(name, flags) : REAL(openat64)(dir, path, flags, mode);
}

VEE_EXPORT FILE *fopen64(const char *path, const char *how)
{
	return ours(path) ? fopen(path, how) : REAL(fopen64)(path, how);
}

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);

/* What open() becomes in a program built with _FORTIFY_SOURCE. */
VEE_EXPORT int __open_2(const char *path, int flags)
{
	const char *name = ours(path);

	return unlikely(name) ? open_ours(name, flags) : REAL(__open_2)(path, flags);
}

VEE_EXPORT int __open64_2(const char *path, int flags)
{
	const char *name = ours(path);

	return unlikely(name) ? open_ours(name, flags) : REAL(__open64_2)(path, flags);
}
#endif
