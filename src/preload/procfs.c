/*
 * procfs.c - /proc/sysvipc/shm, sem and msg, and the limits under /proc/sys/kernel, as this namespace has them.
 *
 * Opening one gives a descriptor of a text made at that moment, in the kernel's format. The limits can be
 * written to too: sysctl.h. Nothing can be written to the lists (EACCES).
 */
#include "base/os.h"
#include "preload/calls.h"
#include "preload/real.h"
#include "preload/sysctl.h"
#include "msg/msg.h"
#include "sem/sem.h"
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

#define SYSVIPC	   "/proc/sysvipc/"
#define SYS_KERNEL "/proc/sys/kernel/"

typedef size_t text_fn(struct ipc_namespace *ns, char *buf, size_t size);

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
static ssize_t write_list(struct ipc_namespace *ns, int fd, text_fn *text)
{
	size_t size = 65536, need;
	intptr_t at;
	ssize_t ret;

	for (;;) {
		at = os_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			     0);
		if (at < 0 && at > -4096)
			return at;
		need = text(ns, (char *)at, size);
		if (need < size)
			break;
		os_munmap((void *)at, size);
		size = ALIGN_UP(need + need / 4, 65536ul);
	}
	ret = write_all(fd, (char *)at, need);
	os_munmap((void *)at, size);
	return ret;
}

static ssize_t write_limits(struct ipc_namespace *ns, int fd, const struct sysctl_file *file)
{
	char text[128];

	return write_all(fd, text, sysctl_text(ns, file, text, sizeof(text)));
}

/* The limits that the path names, or NULL. */
static const struct sysctl_file *limit_file(const char *path)
{
	if (strncmp(path, SYS_KERNEL, strlen(SYS_KERNEL)) != 0)
		return NULL;
	path += strlen(SYS_KERNEL);
	return sysctl_named(path, strlen(path));
}

static text_fn *list_text(const char *path)
{
	if (!strcmp(path, SYSVIPC "shm"))
		return shm_proc_text;
	if (!strcmp(path, SYSVIPC "sem"))
		return sem_proc_text;
	return strcmp(path, SYSVIPC "msg") ? NULL : msg_proc_text;
}

static bool ours(const char *path)
{
	if (likely(!path || strncmp(path, "/proc/sys", 9) != 0))
		return false;
	return limit_file(path) || list_text(path);
}

static ssize_t fill(int fd, const char *path, const struct sysctl_file *file)
{
	struct ipc_namespace *ns;

	if (calls_open(&ns) < 0)
		return -errno;
	return file ? write_limits(ns, fd, file) : write_list(ns, fd, list_text(path));
}

/* What open(2) says before it opens. */
static int refusal(const struct sysctl_file *file, int flags)
{
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return -EEXIST;
	if (flags & O_DIRECTORY)
		return -ENOTDIR;
	return !file && (flags & O_ACCMODE) != O_RDONLY ? -EACCES : 0;
}

/* A descriptor of the text; -1 with errno. */
static int open_ours(const char *path, int flags)
{
	bool for_writing = (flags & O_ACCMODE) != O_RDONLY;
	const struct sysctl_file *file = limit_file(path);
	char name[64];
	ssize_t ret = refusal(file, flags);
	int fd;

	if (ret < 0)
		return calls_return(ret);
	snprintf(name, sizeof(name), "%s%s", file ? SYSCTL_MEMFD : "vee-sysvipc-",
		 strrchr(path, '/') + 1);
	fd = os_memfd_create(name, MFD_ALLOW_SEALING | (flags & O_CLOEXEC ? MFD_CLOEXEC : 0));
	if (fd < 0)
		return calls_return(fd);
	ret = fill(fd, path, file);
	if (ret >= 0)
		ret = sysctl_seal(fd, for_writing);
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
	bool mine = ours(path);

	TAKE_MODE(flags)
	return unlikely(mine) ? open_ours(path, flags) : REAL(open)(path, flags, mode);
}

VEE_EXPORT int openat(int dir, const char *path, int flags, ...)
{
	bool mine = ours(path);

	TAKE_MODE(flags)
	return unlikely(mine) ? open_ours(path, flags) : REAL(openat)(dir, path, flags, mode);
}

static int stream_flags(const char *how)
{
	int flags = how[0] == 'r' && !strchr(how, '+') ? O_RDONLY : O_RDWR;

	if (how[0] != 'r')
		flags |= strchr(how, 'x') ? O_CREAT | O_EXCL : O_CREAT;
	return flags | (strchr(how, 'e') ? O_CLOEXEC : 0);
}

VEE_EXPORT int creat(const char *path, mode_t mode)
{
	const int flags = O_CREAT | O_WRONLY | O_TRUNC;

	return unlikely(ours(path)) ? open_ours(path, flags) : REAL(creat)(path, mode);
}

VEE_EXPORT FILE *fopen(const char *path, const char *how)
{
	bool mine = ours(path);
	FILE *stream;
	int fd, flags;

	if (likely(!mine))
		return REAL(fopen)(path, how);
	flags = stream_flags(how);
	fd = open_ours(path, flags);
	if (fd < 0)
		return NULL;
	stream = flags & O_ACCMODE ? sysctl_stream(fd, how) : fdopen(fd, how);
	if (!stream)
		os_close(fd);
	return stream;
}

/* Only what is read: the stream stays libc's own, and writing to it ends in EPERM. */
static FILE *reopen_ours(const char *path, const char *how, FILE *stream)
{
	int fd = open_ours(path, stream_flags(how));
	char again[40];

	if (fd < 0) {
		int error = errno;

		fclose(stream); /* as freopen does when it fails */
		errno = error;
		return NULL;
	}
	snprintf(again, sizeof(again), "/proc/self/fd/%d", fd);
	stream = REAL(freopen)(again, how, stream);
	os_close(fd);
	return stream;
}

VEE_EXPORT FILE *freopen(const char *path, const char *how, FILE *stream)
{
	return unlikely(ours(path)) ? reopen_ours(path, how, stream) :
				      REAL(freopen)(path, how, stream);
}

#ifdef __GLIBC__
VEE_EXPORT int creat64(const char *path, mode_t mode)
{
	return ours(path) ? creat(path, mode) : REAL(creat64)(path, mode);
}

VEE_EXPORT FILE *freopen64(const char *path, const char *how, FILE *stream)
{
	return ours(path) ? freopen(path, how, stream) : REAL(freopen64)(path, how, stream);
}

VEE_EXPORT int open64(const char *path, int flags, ...)
{
	bool mine = ours(path);

	TAKE_MODE(flags)
	return unlikely(mine) ? open_ours(path, flags) : REAL(open64)(path, flags, mode);
}

VEE_EXPORT int openat64(int dir, const char *path, int flags, ...)
{
	bool mine = ours(path);

	TAKE_MODE(flags)
	return unlikely(mine) ? open_ours(path, flags) : REAL(openat64)(dir, path, flags, mode);
}

VEE_EXPORT FILE *fopen64(const char *path, const char *how)
{
	return ours(path) ? fopen(path, how) : REAL(fopen64)(path, how);
}

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);

/* What open() becomes in a program built with _FORTIFY_SOURCE. */
VEE_EXPORT int __open_2(const char *path, int flags)
{
	bool mine = ours(path);

	return unlikely(mine) ? open_ours(path, flags) : REAL(__open_2)(path, flags);
}

VEE_EXPORT int __open64_2(const char *path, int flags)
{
	bool mine = ours(path);

	return unlikely(mine) ? open_ours(path, flags) : REAL(__open64_2)(path, flags);
}

VEE_EXPORT int __openat_2(int dir, const char *path, int flags)
{
	return unlikely(ours(path)) ? open_ours(path, flags) : REAL(__openat_2)(dir, path, flags);
}

VEE_EXPORT int __openat64_2(int dir, const char *path, int flags)
{
	return unlikely(ours(path)) ? open_ours(path, flags) : REAL(__openat64_2)(dir, path, flags);
}
#endif
