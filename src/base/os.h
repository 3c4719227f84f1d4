/*
 * os.h - every system call that vee makes.
 *
 * They go to the kernel directly, not through libc's names, which other preloaded libraries
 * (fakeroot, sandboxes) wrap and from inside which they may call us. None of them is a
 * cancellation point, none touches errno. Each returns a negative errno on failure.
 *
 * A test can make the Nth call fail: os_fault.
 */
#pragma once

#include "base/compiler.h"
#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <time.h>

/* For tests: the call that brings `countdown` from 1 to 0 fails with -error. 0: none fails. */
struct os_fault {
	unsigned countdown;
	int error;
	unsigned calls; /* counted while `counting` */
	bool counting;
};
extern struct os_fault os_fault;

int os_open(const char *path, int flags, mode_t mode);
int os_openat(int dir, const char *path, int flags, mode_t mode);
int os_close(int fd);
ssize_t os_read(int fd, void *buf, size_t size);
ssize_t os_write(int fd, const void *buf, size_t size);
ssize_t os_pread(int fd, void *buf, size_t size, off_t offset);
off_t os_lseek(int fd, off_t offset, int whence);
int os_fstat(int fd, struct stat *ret_stat);
int os_stat(const char *path, struct stat *ret_stat);
int os_lstat(const char *path, struct stat *ret_stat);
int os_statfs(const char *path, struct statfs *ret_statfs);
/* The soft limit of file sizes (`ulimit -f`) does not count: -EFBIG beyond the hard one, never SIGXFSZ. */
int os_ftruncate(int fd, off_t size);
int os_fallocate(int fd, off_t offset, off_t size);
int os_punch_hole(int fd, off_t offset, off_t size);
/* A close-on-exec copy, numbered at_least or higher. */
int os_dupfd(int fd, int at_least);
int os_flock(int fd, int operation);
int os_mkdir(const char *path, mode_t mode);
int os_mkfifo(const char *path, mode_t mode);
int os_rmdir(const char *path);
int os_unlink(const char *path);
int os_unlinkat(int dir, const char *name);
int os_rename(const char *from, const char *to);
int os_link(const char *from, const char *to);
int os_chmod(const char *path, mode_t mode);
int os_fchmod(int fd, mode_t mode);
int os_chown(const char *path, uid_t uid, gid_t gid);
ssize_t os_fgetxattr(int fd, const char *name, void *buf, size_t size);
int os_fsetxattr(int fd, const char *name, const void *value, size_t size);
ssize_t os_getdents(int fd, void *buf, size_t size);
ssize_t os_readlink(const char *path, char *buf, size_t size);
int os_memfd_create(const char *name, unsigned flags);

/* The mapping's address, or a negative errno (never within the last page of the address space). */
intptr_t os_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset);
int os_munmap(void *addr, size_t size);
int os_munlock(void *addr, size_t size);
int os_mprotect(void *addr, size_t size, int prot);
/* musl does not know it. */
#define OS_MADV_POPULATE_WRITE 23
int os_madvise(void *addr, size_t size, int advice);
int os_mincore(void *addr, size_t size, unsigned char *vec);
intptr_t os_mremap(void *addr, size_t old_size, size_t size, int flags, void *to);

pid_t os_getpid(void);
pid_t os_gettid(void);
uid_t os_geteuid(void);
gid_t os_getegid(void);
int os_getgroups(int size, gid_t *list);
/* The effective capability set of the calling thread, as a bit mask. 0 if it can't be read. */
uint64_t os_capabilities(void);
int os_kill(pid_t pid, int sig);
int os_pidfd_open(pid_t pid);
int os_tgkill(pid_t pid, pid_t tid, int sig);
int os_memlock_limit(uint64_t *ret_bytes);
int os_total_swap(uint64_t *ret_bytes);
int os_clock(clockid_t clock, struct timespec *ret_time);
int os_tgsigqueueinfo(int sig, siginfo_t *info);
int os_sigprocmask_raw(int how, const uint64_t *set);
/*
 * The kernel's action, which no wrapper of sigaction() sees or alters. Its restorer is not the caller's business:
 * os_sigaction() gives it one.
 */
typedef void os_handler(int sig, siginfo_t *info, void *context);
#define OS_SIG_DFL ((os_handler *)0)
#define OS_SIG_IGN ((os_handler *)1)
struct os_action {
	os_handler *handler;
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};
int os_sigaction(int sig, const struct os_action *act, struct os_action *ret_old);
/*
 * A full barrier on every processor that runs a thread of a process that has registered. -EPERM, -ENOSYS, -EINVAL: there
 * is none.
 */
int os_membarrier_register(void);
int os_membarrier(void);
/* Lets another thread run here that is ready to. */
void os_yield(void);
int os_nanosleep_ns(uint64_t ns);
/* Seconds since the epoch, as the kernel's coarse clock has them. */
int64_t os_seconds(void);
/* Of CLOCK_MONOTONIC. */
uint64_t os_monotonic_ns(void);
/* Processors that the machine has, wherever the calling thread may run. */
unsigned os_processors_online(void);
/* Processors that the calling thread may run on; 1 if it can't be told. */
unsigned os_processors(void);

/*
 * Sleep on words that other processes share. deadline_ns: of CLOCK_MONOTONIC; there always is one, since a
 * wait without is restarted silently after a signal. Each returns 0 when woken, -EAGAIN if a word
 * differs, -ETIMEDOUT, -EINTR.
 */
int os_futex_wait(uint32_t *word, uint32_t expected, uint64_t deadline_ns);
struct os_futex {
	uint64_t expected;
	uint64_t word; /* its address */
	uint32_t flags, reserved;
};
#define OS_FUTEX_32	  2u
#define OS_FUTEX_WAIT_MAX 128u
/* On several at once; -ENOSYS before Linux 5.16. After a handler with SA_RESTART it goes on. */
int os_futex_waitv(struct os_futex *list, unsigned n, uint64_t deadline_ns);
int os_futex_wake(uint32_t *word, int n);

/*
 * Copies from / to memory that may not be there: -EFAULT instead of a signal. Where the sandbox
 * forbids process_vm_readv, it is an ordinary copy.
 */
int os_copy_from(void *to, const void *from, size_t size);
int os_copy_to(void *to, const void *from, size_t size);

/* Reads a small file whole; returns its length, NUL-terminated in buf. */
ssize_t os_read_file(const char *path, char *buf, size_t size);

/*
 * Can the bytes be read, or written? Keeps the pages that were found good lately, until memory is taken away through
 * this file. Asking for write access may change the bytes: the caller is about to write them all.
 */
#define OS_GOOD_PAGES 16
struct os_good_page {
	uintptr_t page;
	unsigned epoch;
	bool writable;
};
extern unsigned os_memory_epoch;
extern VEE_TLS struct os_good_page os_good_pages[OS_GOOD_PAGES];
bool os_probe(const void *at, size_t size, bool write);

static inline bool os_page_is_good(uintptr_t page, bool write)
{
	const struct os_good_page *good = &os_good_pages[page % OS_GOOD_PAGES];

	return good->page == page &&
	       good->epoch == __atomic_load_n(&os_memory_epoch, __ATOMIC_RELAXED) &&
	       (!write || good->writable);
}

static inline bool os_readable(const void *at, size_t size)
{
	uintptr_t first = (uintptr_t)at >> 12, last = ((uintptr_t)at + size - 1) >> 12;

	return likely(first == last && os_page_is_good(first, false)) || os_probe(at, size, false);
}

static inline bool os_writable(void *at, size_t size)
{
	uintptr_t first = (uintptr_t)at >> 12, last = ((uintptr_t)at + size - 1) >> 12;

	return likely(first == last && os_page_is_good(first, true)) || os_probe(at, size, true);
}
