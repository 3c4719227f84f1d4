/* os.c - the system calls; see os.h. */
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <unistd.h>

struct os_fault os_fault;
unsigned os_memory_epoch;
VEE_TLS struct os_good_page os_good_pages[OS_GOOD_PAGES];

#if defined(__x86_64__)
static inline long raw_call(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long raw_call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "vee needs the system call instruction of this processor in src/base/os.c"
#endif

static bool fault_here(void)
{
	if (os_fault.counting)
		os_fault.calls++;
	return os_fault.countdown && --os_fault.countdown == 0;
}

static inline long call(long nr, long a, long b, long c, long d, long e, long f)
{
	if (unlikely(os_fault.countdown || os_fault.counting) && fault_here())
		return -os_fault.error;
	return raw_call(nr, a, b, c, d, e, f);
}

#define PICK(_0, _1, _2, _3, _4, _5, _6, name, ...) name
#define L(x)					    ((long)(x))
#define C0(nr)					    call(nr, 0, 0, 0, 0, 0, 0)
#define C1(nr, a)				    call(nr, L(a), 0, 0, 0, 0, 0)
#define C2(nr, a, b)				    call(nr, L(a), L(b), 0, 0, 0, 0)
#define C3(nr, a, b, c)				    call(nr, L(a), L(b), L(c), 0, 0, 0)
#define C4(nr, a, b, c, d)			    call(nr, L(a), L(b), L(c), L(d), 0, 0)
#define C5(nr, a, b, c, d, e)			    call(nr, L(a), L(b), L(c), L(d), L(e), 0)
#define C6(nr, a, b, c, d, e, f)		    call(nr, L(a), L(b), L(c), L(d), L(e), L(f))
#define CALL(...)				    PICK(__VA_ARGS__, C6, C5, C4, C3, C2, C1, C0)(__VA_ARGS__)

static void memory_went(void)
{
	__atomic_fetch_add(&os_memory_epoch, 1, __ATOMIC_RELAXED);
}

int os_open(const char *path, int flags, mode_t mode)
{
	return CALL(SYS_openat, AT_FDCWD, path, flags, mode);
}

int os_openat(int dir, const char *path, int flags, mode_t mode)
{
	return CALL(SYS_openat, dir, path, flags, mode);
}

int os_close(int fd)
{
	return CALL(SYS_close, fd);
}

ssize_t os_read(int fd, void *buf, size_t size)
{
	return CALL(SYS_read, fd, buf, size);
}

ssize_t os_write(int fd, const void *buf, size_t size)
{
	return CALL(SYS_write, fd, buf, size);
}

ssize_t os_pread(int fd, void *buf, size_t size, off_t offset)
{
	return CALL(SYS_pread64, fd, buf, size, offset);
}

off_t os_lseek(int fd, off_t offset, int whence)
{
	return CALL(SYS_lseek, fd, offset, whence);
}

int os_fstat(int fd, struct stat *ret_stat)
{
	return CALL(SYS_fstat, fd, ret_stat);
}

int os_stat(const char *path, struct stat *ret_stat)
{
	return CALL(SYS_newfstatat, AT_FDCWD, path, ret_stat, 0);
}

int os_lstat(const char *path, struct stat *ret_stat)
{
	return CALL(SYS_newfstatat, AT_FDCWD, path, ret_stat, AT_SYMLINK_NOFOLLOW);
}

int os_statfs(const char *path, struct statfs *ret_statfs)
{
	return CALL(SYS_statfs, path, ret_statfs);
}

int os_ftruncate(int fd, off_t size)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY}, raised;
	int ret = CALL(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &limit);

	if (ret < 0 || limit.rlim_cur >= (rlim_t)size)
		return CALL(SYS_ftruncate, fd, size);
	if (limit.rlim_max < (rlim_t)size)
		return -EFBIG;
	raised = limit;
	raised.rlim_cur = limit.rlim_max;
	ret = CALL(SYS_prlimit64, 0, RLIMIT_FSIZE, &raised, NULL);
	if (ret == 0)
		ret = CALL(SYS_ftruncate, fd, size);
	CALL(SYS_prlimit64, 0, RLIMIT_FSIZE, &limit, NULL);
	return ret;
}

int os_fallocate(int fd, off_t offset, off_t size)
{
	int ret;

	do
		ret = CALL(SYS_fallocate, fd, 0, offset, size);
	while (ret == -EINTR);
	return ret;
}

int os_punch_hole(int fd, off_t offset, off_t size)
{
	return CALL(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size);
}

int os_dupfd(int fd, int at_least)
{
	return CALL(SYS_fcntl, fd, F_DUPFD_CLOEXEC, at_least);
}

int os_flock(int fd, int operation)
{
	int ret;

	do
		ret = CALL(SYS_flock, fd, operation);
	while (ret == -EINTR);
	return ret;
}

int os_mkdir(const char *path, mode_t mode)
{
	return CALL(SYS_mkdirat, AT_FDCWD, path, mode);
}

int os_mkfifo(const char *path, mode_t mode)
{
	return CALL(SYS_mknodat, AT_FDCWD, path, S_IFIFO | mode, 0);
}

int os_rmdir(const char *path)
{
	return CALL(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

int os_unlinkat(int dir, const char *name)
{
	return CALL(SYS_unlinkat, dir, name, 0);
}

int os_unlink(const char *path)
{
	return CALL(SYS_unlinkat, AT_FDCWD, path, 0);
}

int os_rename(const char *from, const char *to)
{
	return CALL(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int os_link(const char *from, const char *to)
{
	return CALL(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW);
}

int os_chmod(const char *path, mode_t mode)
{
	return CALL(SYS_fchmodat, AT_FDCWD, path, mode);
}

int os_fchmod(int fd, mode_t mode)
{
	return CALL(SYS_fchmod, fd, mode);
}

ssize_t os_fgetxattr(int fd, const char *name, void *buf, size_t size)
{
	return CALL(SYS_fgetxattr, fd, name, buf, size);
}

int os_fsetxattr(int fd, const char *name, const void *value, size_t size)
{
	return CALL(SYS_fsetxattr, fd, name, value, size, 0);
}

int os_chown(const char *path, uid_t uid, gid_t gid)
{
	return CALL(SYS_fchownat, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

ssize_t os_getdents(int fd, void *buf, size_t size)
{
	return CALL(SYS_getdents64, fd, buf, size);
}

ssize_t os_readlink(const char *path, char *buf, size_t size)
{
	return CALL(SYS_readlinkat, AT_FDCWD, path, buf, size);
}

int os_memfd_create(const char *name, unsigned flags)
{
	return CALL(SYS_memfd_create, name, flags);
}

intptr_t os_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
	if (flags & MAP_FIXED)
		memory_went();
	return CALL(SYS_mmap, addr, size, prot, flags, fd, offset);
}

int os_munmap(void *addr, size_t size)
{
	memory_went();
	return CALL(SYS_munmap, addr, size);
}

int os_munlock(void *addr, size_t size)
{
	return CALL(SYS_munlock, addr, size);
}

int os_mprotect(void *addr, size_t size, int prot)
{
	memory_went();
	return CALL(SYS_mprotect, addr, size, prot);
}

int os_madvise(void *addr, size_t size, int advice)
{
	return CALL(SYS_madvise, addr, size, advice);
}

int os_mincore(void *addr, size_t size, unsigned char *vec)
{
	return CALL(SYS_mincore, addr, size, vec);
}

intptr_t os_mremap(void *addr, size_t old_size, size_t size, int flags, void *to)
{
	memory_went();
	return CALL(SYS_mremap, addr, old_size, size, flags, to);
}

/* These can't fail, so no test may make them. */
pid_t os_getpid(void)
{
	return raw_call(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

pid_t os_gettid(void)
{
	return raw_call(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

uid_t os_geteuid(void)
{
	return raw_call(SYS_geteuid, 0, 0, 0, 0, 0, 0);
}

gid_t os_getegid(void)
{
	return raw_call(SYS_getegid, 0, 0, 0, 0, 0, 0);
}

int os_getgroups(int size, gid_t *list)
{
	return CALL(SYS_getgroups, size, list);
}

uint64_t os_capabilities(void)
{
	/* capget(2)'s structures, version 3; musl-gcc has no <linux/capability.h> */
	struct {
		uint32_t version;
		int pid;
	} head = {0x20080522, 0};
	struct {
		uint32_t effective, permitted, inheritable;
	} half[2] = {{0, 0, 0}, {0, 0, 0}};

	if (CALL(SYS_capget, &head, half) < 0)
		return 0;
	return half[0].effective | (uint64_t)half[1].effective << 32;
}

int os_kill(pid_t pid, int sig)
{
	return CALL(SYS_kill, pid, sig);
}

int os_pidfd_open(pid_t pid)
{
	return CALL(SYS_pidfd_open, pid, 0);
}

int os_tgkill(pid_t pid, pid_t tid, int sig)
{
	return CALL(SYS_tgkill, pid, tid, sig);
}

int os_memlock_limit(uint64_t *ret_bytes)
{
	struct rlimit limit;
	int ret = CALL(SYS_prlimit64, 0, RLIMIT_MEMLOCK, NULL, &limit);

	if (ret == 0)
		*ret_bytes = limit.rlim_cur;
	return ret;
}

int os_total_swap(uint64_t *ret_bytes)
{
	struct sysinfo info;
	int ret = CALL(SYS_sysinfo, &info);

	if (ret == 0)
		*ret_bytes = (uint64_t)info.totalswap * info.mem_unit;
	return ret;
}

int os_clock(clockid_t clock, struct timespec *ret_time)
{
	/* libc's goes through the vDSO; nobody wraps it to call us. */
	return clock_gettime(clock, ret_time) ? -errno : 0;
}

int os_tgsigqueueinfo(int sig, siginfo_t *info)
{
	return CALL(SYS_rt_tgsigqueueinfo, os_getpid(), os_gettid(), sig, info);
}

int os_sigprocmask_raw(int how, const uint64_t *set)
{
	return CALL(SYS_rt_sigprocmask, how, set, NULL, sizeof(*set));
}

#if defined(__x86_64__)
/*
 * Where a handler returns to. Unwinders and debuggers know a signal's frame by these very bytes, and look for what
 * describes the byte before, which must be nothing.
 */
#define OS_RESTORER 0x04000000ul /* SA_RESTORER */
void os_sigreturn(void) __attribute__((visibility("hidden")));
__asm__(".pushsection .text\n"
	".balign 16\n"
	"nop\n"
	".globl os_sigreturn\n"
	".hidden os_sigreturn\n"
	".type os_sigreturn, @function\n"
	"os_sigreturn:\n"
	"movq $15, %rax\n"
	"syscall\n"
	".size os_sigreturn, . - os_sigreturn\n"
	".popsection");
#else
#define OS_RESTORER  0ul /* the vDSO has it */
#define os_sigreturn NULL
#endif

int os_sigaction(int sig, const struct os_action *act, struct os_action *ret_old)
{
	struct os_action ours;

	if (act) {
		ours = *act;
		ours.flags |= OS_RESTORER;
		ours.restorer = os_sigreturn;
		act = &ours;
	}
	return CALL(SYS_rt_sigaction, sig, act, ret_old, sizeof(ours.mask));
}

/* <linux/membarrier.h>, which musl has not */
#define MEMBARRIER_GLOBAL_EXPEDITED	     2
#define MEMBARRIER_REGISTER_GLOBAL_EXPEDITED 4

int os_membarrier_register(void)
{
	return CALL(SYS_membarrier, MEMBARRIER_REGISTER_GLOBAL_EXPEDITED, 0, 0);
}

int os_membarrier(void)
{
	return CALL(SYS_membarrier, MEMBARRIER_GLOBAL_EXPEDITED, 0, 0);
}

void os_yield(void)
{
	CALL(SYS_sched_yield);
}

int os_nanosleep_ns(uint64_t ns)
{
	struct timespec time = {ns / 1000000000, ns % 1000000000};

	return CALL(SYS_nanosleep, &time, NULL);
}

int64_t os_seconds(void)
{
	return time(NULL); /* by the vDSO, a load */
}

uint64_t os_monotonic_ns(void)
{
	struct timespec now = {0, 0};

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

unsigned os_processors_online(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? n : 1;
}

unsigned os_processors(void)
{
	unsigned long mask[128] = {0};
	long size = CALL(SYS_sched_getaffinity, 0, sizeof(mask), mask);
	unsigned n = 0;

	for (unsigned i = 0; size > 0 && i < size / sizeof(mask[0]); i++)
		n += __builtin_popcountl(mask[i]);
	return n ? n : 1;
}

/* <linux/futex.h>, which musl-gcc has not */
#define FUTEX_WAKE	       1
#define FUTEX_WAIT_BITSET      9
#define FUTEX_BITSET_MATCH_ANY 0xffffffffu

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){ns / 1000000000, ns % 1000000000};
}

int os_futex_wait(uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
	struct timespec deadline = timespec_of(deadline_ns);

	return CALL(SYS_futex, word, FUTEX_WAIT_BITSET, expected, &deadline, NULL,
		    FUTEX_BITSET_MATCH_ANY);
}

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

int os_futex_waitv(struct os_futex *list, unsigned n, uint64_t deadline_ns)
{
	struct timespec deadline = timespec_of(deadline_ns);
	int ret = CALL(SYS_futex_waitv, list, n, 0, &deadline, CLOCK_MONOTONIC);

	return ret > 0 ? 0 : ret;
}

int os_futex_wake(uint32_t *word, int n)
{
	return CALL(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
}

static int copy_across(long nr, void *mine, const void *theirs, size_t size)
{
	struct iovec local = {mine, size}, remote = {(void *)theirs, size};
	long n = CALL(nr, os_gettid(), &local, 1, &remote, 1,
		      0); /* the first thread may have ended */

	if (n == (long)size)
		return 0;
	return n < 0 && n != -EFAULT ? -ENOSYS : -EFAULT;
}

int os_copy_from(void *to, const void *from, size_t size)
{
	int ret = copy_across(SYS_process_vm_readv, to, from, size);

	if (ret != -ENOSYS)
		return ret;
	memcpy(to, from, size);
	return 0;
}

/*
 * A tenth of the cost of process_vm_writev: getresuid() stores to both ends of what is about to be written
 * whole, and says EFAULT if it can't. Both ends of less than a page are all the pages.
 */
int os_copy_to(void *to, const void *from, size_t size)
{
	uintptr_t last = (uintptr_t)to + size - sizeof(uid_t);
	int ret;

	if (size < sizeof(uid_t) || size > 4096)
		ret = copy_across(SYS_process_vm_writev, (void *)from, to, size);
	else
		ret = CALL(SYS_getresuid, to, last, to) == -EFAULT ? -EFAULT : -ENOSYS;
	if (ret != -ENOSYS)
		return ret;
	memcpy(to, from, size);
	return 0;
}

/*
 * The word around the byte. Where the sandbox forbids the first way: rt_sigprocmask() reads the set before it finds
 * that there is nothing that it could do with it.
 */
static bool word_readable(uintptr_t at)
{
	const void *word = (const void *)(at & ~7ul);
	uint64_t copy;
	int ret = copy_across(SYS_process_vm_readv, &copy, word, sizeof(copy));

	if (ret != -ENOSYS)
		return ret == 0;
	return at >= 4096 && CALL(SYS_rt_sigprocmask, -1, word, NULL, sizeof(copy)) != -EFAULT;
}

/* getresuid() stores a word. */
static bool word_writable(uintptr_t at)
{
	return CALL(SYS_getresuid, at, at, at) != -EFAULT;
}

bool os_probe(const void *at, size_t size, bool write)
{
	unsigned epoch = __atomic_load_n(&os_memory_epoch, __ATOMIC_RELAXED);
	uintptr_t from = (uintptr_t)at, end = from + size;

	if (end < from)
		return false;
	while (from < end) {
		uintptr_t page = from >> 12, next = (page + 1) << 12;

		if (next > end || next < from)
			next = end;
		if (!os_page_is_good(page, write)) {
			/* A store must not reach beyond the end. */
			uintptr_t word = next - from < sizeof(uid_t) ? next - sizeof(uid_t) : from;

			if (write ? !word_writable(word) : !word_readable(from))
				return false;
			os_good_pages[page % OS_GOOD_PAGES] =
				(struct os_good_page){page, epoch, write};
		}
		from = next;
	}
	return true;
}

ssize_t os_read_file(const char *path, char *buf, size_t size)
{
	int fd = os_open(path, O_RDONLY | O_CLOEXEC, 0);
	ssize_t n = 0, got = 0;

	if (fd < 0)
		return fd;
	while ((size_t)got < size - 1) {
		n = os_read(fd, buf + got, size - 1 - got);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			break;
		got += n;
	}
	os_close(fd);
	buf[got] = '\0';
	return n < 0 ? n : got;
}
