/*
 * process.c - fork, the end of a process, and changes of its ids.
 *
 * fork: pthread_atfork covers every fork that libc makes, forkpty and daemon too; the wrappers add the
 * child's pid, which only the caller of fork learns. vfork, posix_spawn and exec need nothing: the child has the parent's
 * memory, or none of it. Nor does clone(2) with CLONE_VM; a child that is made by a bare clone is noticed
 * at its first call (namespace_on_unseen_fork).
 */
#include "base/os.h"
#include "preload/calls.h"
#include "preload/real.h"
#include "shm/shm.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pty.h>
#include <stdlib.h>
#include <unistd.h>

/* Of the fork that this thread is making. */
static VEE_TLS struct {
	struct ipc_namespace *ns;
	struct proc *embryo;
	uint32_t generation;
} forking;

static void before_fork(void)
{
	struct ipc_namespace *ns = namespace_opened();

	forking.ns = ns;
	forking.embryo = NULL;
	if (!ns)
		return;
	shm_fork_lock();
	forking.embryo = proc_fork_prepare(ns, &forking.generation);
	shm_fork_prepare(ns, forking.embryo);
}

static void after_fork_parent(void)
{
	if (forking.ns)
		shm_fork_unlock();
}

static void child_starts(bool locked)
{
	struct ipc_namespace *ns;
	bool mine;

	if (!locked)
		critical_enter();
	namespace_fork_child();
	ns = namespace_opened();
	if (ns) {
		mine = proc_fork_child(ns, forking.embryo, forking.generation);
		shm_fork_child(ns, mine);
	}
	critical_leave();
	forking.embryo = NULL;
}

static void after_fork_child(void)
{
	child_starts(forking.ns != NULL);
}

static void unseen_fork(void)
{
	forking.embryo = NULL;
	child_starts(false);
}

static pid_t note_child(pid_t pid)
{
	int error = errno;

	if (pid != 0 && forking.embryo)
		proc_fork_parent(forking.ns, forking.embryo, forking.generation, pid);
	if (pid != 0)
		forking.embryo = NULL;
	errno = error;
	return pid;
}

VEE_EXPORT pid_t fork(void)
{
	return note_child(REAL(fork)());
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
	before_fork();
	pid = real();
	if (pid == 0)
		after_fork_child();
	else
		after_fork_parent();
	return note_child(pid);
}

VEE_EXPORT int forkpty(int *master, char *name, const struct termios *term,
		       const struct winsize *size)
{
	return note_child(REAL(forkpty)(master, name, term, size));
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
	shm_init();
	namespace_on_unseen_fork(unseen_fork);
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

/* The set*id family: the cached credentials are stale, and the new user must reach the files. */
#define SETS_IDS(name, parameters, arguments) \
	VEE_EXPORT int name parameters        \
	{                                     \
		int ret;                      \
                                              \
		namespace_admit();            \
		ret = REAL(name) arguments;   \
		cred_stale();                 \
		return ret;                   \
	}

SETS_IDS(setuid, (uid_t uid), (uid))
SETS_IDS(setgid, (gid_t gid), (gid))
SETS_IDS(seteuid, (uid_t uid), (uid))
SETS_IDS(setegid, (gid_t gid), (gid))
SETS_IDS(setreuid, (uid_t ruid, uid_t euid), (ruid, euid))
SETS_IDS(setregid, (gid_t rgid, gid_t egid), (rgid, egid))
SETS_IDS(setresuid, (uid_t ruid, uid_t euid, uid_t suid), (ruid, euid, suid))
SETS_IDS(setresgid, (gid_t rgid, gid_t egid, gid_t sgid), (rgid, egid, sgid))
SETS_IDS(setgroups, (size_t n, const gid_t *list), (n, list))
SETS_IDS(initgroups, (const char *user, gid_t group), (user, group))
