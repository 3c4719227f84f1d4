/*
 * procwrite.c - the names by which programs write to a limit under /proc/sys/kernel; see sysctl.h.
 *
 * A process that never had such a descriptor pays a load for each write(): `armed` is set when it opens one, or
 * has inherited one as 0 … 9, where shells put what `exec 3>file` or `program >file` opened.
 *
 * stdio writes by libc's own name, past our write(). So a stream of ours is a cookie stream; and where descriptor 1
 * becomes such a file, as in `echo 100 >file` of a shell whose echo is built in, stdout is one as long as it is.
 */
#include "base/os.h"
#include "preload/calls.h"
#include "preload/real.h"
#include "preload/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <stdio_ext.h>
#endif

#ifndef F_ADD_SEALS
#define F_ADD_SEALS   1033
#define F_GET_SEALS   1034
#define F_SEAL_SEAL   1
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW   4
#define F_SEAL_WRITE  8
#endif

/* Seldom used all together: a cheap first look. */
#define SEALS_WRITABLE (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define SEALS_READONLY F_SEAL_WRITE

static bool armed;

static __typeof__(write) *real_write(void)
{
	return REAL(write);
}

static __typeof__(writev) *real_writev(void)
{
	return REAL(writev);
}

static __typeof__(dup2) *real_dup2(void)
{
	return REAL(dup2);
}

static __typeof__(dup3) *real_dup3(void)
{
	return REAL(dup3);
}

int sysctl_seal(int fd, bool for_writing)
{
	if (fcntl(fd, F_ADD_SEALS, for_writing ? SEALS_WRITABLE : SEALS_READONLY) < 0)
		return -errno;
	if (for_writing)
		__atomic_store_n(&armed, true, __ATOMIC_RELAXED);
	return 0;
}

/* The file that writing to fd sets, or NULL. Keeps errno. */
static const struct sysctl_file *file_of(int fd)
{
	static const char head[] = "/memfd:" SYSCTL_MEMFD, tail[] = " (deleted)";
	char path[40], name[80];
	int error = errno, seals = fcntl(fd, F_GET_SEALS);
	ssize_t length;

	errno = error;
	if (likely(seals != SEALS_WRITABLE))
		return NULL;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = os_readlink(path, name, sizeof(name));
	if (length < (ssize_t)(sizeof(head) + sizeof(tail) - 2) ||
	    memcmp(name, head, sizeof(head) - 1) != 0)
		return NULL;
	length -= sizeof(head) - 1 + sizeof(tail) - 1;
	return sysctl_named(name + sizeof(head) - 1, length);
}

/* As in the kernel, a write that does not start at offset 0 is taken, and does nothing. */
static ssize_t write_file(const struct sysctl_file *file, int fd, const void *buf, size_t size)
{
	off_t at = os_lseek(fd, 0, SEEK_CUR);
	struct ipc_namespace *ns;
	ssize_t ret = size;

	if (at == 0) {
		if (calls_open(&ns) < 0)
			return -1;
		ret = sysctl_set(ns, file, buf, size);
	}
	if (ret > 0)
		os_lseek(fd, ret, SEEK_CUR);
	return calls_return(ret);
}

VEE_EXPORT ssize_t write(int fd, const void *buf, size_t size)
{
	if (unlikely(__atomic_load_n(&armed, __ATOMIC_RELAXED))) {
		const struct sysctl_file *file = file_of(fd);

		if (file)
			return write_file(file, fd, buf, size);
	}
	return real_write()(fd, buf, size);
}

/* Each piece is a write of its own, as the kernel does it for these files. */
static ssize_t write_pieces(const struct sysctl_file *file, int fd, const struct iovec *pieces,
			    int n)
{
	ssize_t sum = 0, ret;

	for (int i = 0; i < n; i++) {
		ret = write_file(file, fd, pieces[i].iov_base, pieces[i].iov_len);
		if (ret < 0)
			return sum ? sum : ret;
		sum += ret;
		if ((size_t)ret < pieces[i].iov_len)
			break;
	}
	return sum;
}

VEE_EXPORT ssize_t writev(int fd, const struct iovec *pieces, int n)
{
	if (unlikely(__atomic_load_n(&armed, __ATOMIC_RELAXED))) {
		const struct sysctl_file *file = file_of(fd);

		if (file)
			return write_pieces(file, fd, pieces, n);
	}
	return real_writev()(fd, pieces, n);
}

/* --- streams --- */

static ssize_t cookie_read(void *cookie, char *buf, size_t size)
{
	return calls_return(os_read((intptr_t)cookie, buf, size));
}

/* A stream goes on after a short write, and says 0 for a failed one. */
static ssize_t cookie_write(void *cookie, const char *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write((intptr_t)cookie, buf + done, size - done);

		if (n <= 0)
			break;
		done += n;
	}
	return done;
}

static int cookie_seek(void *cookie, off64_t *offset, int whence)
{
	off_t at = os_lseek((intptr_t)cookie, *offset, whence);

	if (at < 0)
		return calls_return(at);
	*offset = at;
	return 0;
}

static int cookie_close(void *cookie)
{
	return calls_return(os_close((intptr_t)cookie));
}

FILE *sysctl_stream(int fd, const char *how)
{
	static const cookie_io_functions_t functions = {cookie_read, cookie_write, cookie_seek,
							cookie_close};
	FILE *stream = fopencookie((void *)(intptr_t)fd, how, functions);

#ifdef __GLIBC__
	if (stream)
		stream->_fileno = fd; /* for fileno(), which a cookie stream has none for */
#endif
	return stream;
}

VEE_EXPORT FILE *fdopen(int fd, const char *how)
{
	if (unlikely(__atomic_load_n(&armed, __ATOMIC_RELAXED)) && file_of(fd))
		return sysctl_stream(fd, how);
	return REAL(fdopen)(fd, how);
}

/* --- stdout --- */

/* Of whom `armed` and stdout are: a vfork child shares both with its parent, and changes neither. */
static pid_t self;

static void forked(void)
{
	self = os_getpid();
}

#ifdef __GLIBC__
static FILE *ours, *usual; /* usual: what stdout was before it was ours, else NULL */

/* What is in the buffer goes where descriptor 1 leads now. */
static void stdout_before(void)
{
	if (usual)
		fflush(ours);
}

static void stdout_after(void)
{
	int error = errno;

	if (usual) {
		if (stdout == ours)
			stdout = usual;
		usual = NULL;
	}
	if (file_of(STDOUT_FILENO)) {
		if (!ours)
			ours = sysctl_stream(STDOUT_FILENO, "w");
		if (ours) {
			__fpurge(ours);
			clearerr(ours);
			usual = stdout;
			stdout = ours;
		}
	}
	errno = error;
}
#else
/* stdout can't be changed: a stream that was there before is told EPERM. */
static void stdout_before(void)
{
}

static void stdout_after(void)
{
}
#endif

static bool moves_stdout(int from, int to)
{
	return unlikely(__atomic_load_n(&armed, __ATOMIC_RELAXED)) && to == STDOUT_FILENO &&
	       from != to && self == os_getpid();
}

VEE_EXPORT int dup2(int from, int to)
{
	bool moves = moves_stdout(from, to);
	int ret;

	if (moves)
		stdout_before();
	ret = real_dup2()(from, to);
	if (moves)
		stdout_after();
	return ret;
}

VEE_EXPORT int dup3(int from, int to, int flags)
{
	bool moves = moves_stdout(from, to);
	int ret;

	if (moves)
		stdout_before();
	ret = real_dup3()(from, to, flags);
	if (moves)
		stdout_after();
	return ret;
}

/* The names are looked up here, as a signal handler that calls write() must not be the first to do it. */
__attribute__((constructor)) static void starts(void)
{
	real_write();
	real_writev();
	real_dup2();
	real_dup3();
	forked();
	pthread_atfork(NULL, NULL, forked);
	for (int fd = 0; fd < 10; fd++)
		if (file_of(fd))
			armed = true;
	if (armed)
		stdout_after();
}
