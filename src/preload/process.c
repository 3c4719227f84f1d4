/* process.c - fork, the end of a process, and changes of its ids; what they mean is in api/fork.c. */
#include "base/os.h"
#include "api/fork.h"
#include "preload/calls.h"
#include "preload/real.h"
#include "sem/sem.h"
#include "shm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pty.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

VEE_EXPORT pid_t fork(void)
{
	return fork_note_child(REAL(fork)());
}

/* As fork, without the handlers of pthread_atfork: ours are called here. */
VEE_EXPORT pid_t _Fork(void)
{
	pid_t pid;
	pid_t (*real)(void) = (pid_t(*)(void))dlsym(RTLD_NEXT, "_Fork");

	if (!real) {
		errno = ENOSYS;
		return -1;
	}
	fork_before();
	pid = real();
	if (pid == 0)
		fork_after_child();
	else
		fork_after_parent();
	return fork_note_child(pid);
}

VEE_EXPORT int forkpty(int *master, char *name, const struct termios *term,
		       const struct winsize *size)
{
	return fork_note_child(REAL(forkpty)(master, name, term, size));
}

static int null_for_all(void)
{
	struct stat st;
	int fd = os_open("/dev/null", O_RDWR, 0);

	if (fd < 0)
		return (int)calls_return(fd);
	if (os_fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode)) {
		os_close(fd);
		return (int)calls_return(-ENODEV);
	}
	for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
		dup2(fd, i);
	if (fd > STDERR_FILENO)
		os_close(fd);
	return 0;
}

/* libc's own forks without telling us the child's pid, and ends at once: see proc_fork_parent(). */
VEE_EXPORT int daemon(int nochdir, int noclose)
{
	pid_t pid = fork();

	if (pid < 0)
		return -1;
	if (pid > 0)
		_exit(0);
	if (setsid() < 0)
		return -1;
	if (!nochdir)
		(void)!chdir("/");
	return noclose ? 0 : null_for_all();
}

void process_leaves(void)
{
	struct ipc_namespace *ns = namespace_opened();
	struct proc *me = ns ? proc_mine(ns) : NULL;

	/* A vfork child runs in its parent's memory. */
	if (me && me->pid == os_getpid())
		shm_leave(ns);
}

VEE_EXPORT __attribute__((noreturn)) void _exit(int status)
{
	process_leaves();
	REAL(_exit)(status);
	__builtin_unreachable();
}

VEE_EXPORT __attribute__((noreturn)) void _Exit(int status)
{
	_exit(status);
}

__attribute__((destructor)) static void ends(void)
{
	process_leaves();
}

__attribute__((constructor)) static void starts(void)
{
	fork_init();
}

/* Threads share what the process owes, and one may sleep with SEM_UNDO: then it is paid when the last has ended. */
static bool has_threads(void)
{
	struct stat st;

	return os_stat("/proc/self/task", &st) == 0 && st.st_nlink > 3;
}

VEE_EXPORT int unshare(int flags)
{
	struct ipc_namespace *ns = namespace_opened();
	int ret = REAL(unshare)(flags);

	if (ret == 0 && flags & CLONE_SYSVSEM && ns && !has_threads())
		sem_unshare(ns);
	return ret;
}

/*
 * The set*id family: the cached credentials are stale, and the users that are named must reach the files. A change of
 * groups alone needs none of that: the files are still the user's own.
 */
#define SETS_IDS(name, parameters, arguments, n_users, ...)                \
	VEE_EXPORT int name parameters                                     \
	{                                                                  \
		int ret;                                                   \
                                                                           \
		namespace_admit((const uint32_t[]){__VA_ARGS__}, n_users); \
		ret = REAL(name) arguments;                                \
		cred_stale();                                              \
		return ret;                                                \
	}

SETS_IDS(setuid, (uid_t uid), (uid), 1, uid)
SETS_IDS(setgid, (gid_t gid), (gid), 0, 0)
SETS_IDS(seteuid, (uid_t uid), (uid), 1, uid)
SETS_IDS(setegid, (gid_t gid), (gid), 0, 0)
SETS_IDS(setreuid, (uid_t ruid, uid_t euid), (ruid, euid), 2, ruid, euid)
SETS_IDS(setregid, (gid_t rgid, gid_t egid), (rgid, egid), 0, 0)
SETS_IDS(setresuid, (uid_t ruid, uid_t euid, uid_t suid), (ruid, euid, suid), 3, ruid, euid, suid)
SETS_IDS(setresgid, (gid_t rgid, gid_t egid, gid_t sgid), (rgid, egid, sgid), 0, 0)
SETS_IDS(setfsuid, (uid_t uid), (uid), 1, uid)
SETS_IDS(setgroups, (size_t n, const gid_t *list), (n, list), 0, 0)
SETS_IDS(initgroups, (const char *user, gid_t group), (user, group), 0, 0)
