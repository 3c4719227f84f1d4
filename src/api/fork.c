/*
 * fork.c - the child of a fork has its parent's attachments, from the moment when fork returns, and
 * none of its adjustments and sleepers.
 *
 * pthread_atfork covers every fork that libc makes, those inside forkpty and daemon too. Only the caller of fork
 * learns the child's pid: fork_note_child(). vfork, posix_spawn and exec need nothing: the child has the
 * parent's memory, or none of it. Nor does clone(2) with CLONE_VM; a child made by a bare clone is noticed
 * at its first call (namespace_on_unseen_fork).
 */
#include "api/fork.h"
#include "msg/msg.h"
#include "sem/sem.h"
#include "shm/shm.h"

#include <errno.h>
#include <pthread.h>

/* Of the fork that this thread is making. */
static VEE_TLS struct {
	struct ipc_namespace *ns;
	struct proc *embryo;
	uint32_t generation;
} forking;

void fork_before(void)
{
	struct ipc_namespace *ns = namespace_opened();

	forking.ns = ns;
	forking.embryo = NULL;
	if (!ns)
		return;
	shm_table_lock();
	forking.embryo = proc_fork_prepare(ns, &forking.generation);
	shm_fork_prepare(ns, forking.embryo);
}

void fork_after_parent(void)
{
	if (forking.ns)
		shm_table_unlock();
}

static void child_starts(bool locked)
{
	struct ipc_namespace *ns;
	bool mine;

	if (!locked)
		critical_enter();
	namespace_fork_child();
	sem_fork_child();
	sleeper_fork_child();
	ns = namespace_opened();
	if (ns) {
		mine = proc_fork_child(ns, forking.embryo, forking.generation);
		shm_fork_child(ns, mine);
	}
	critical_leave();
	forking.embryo = NULL;
}

void fork_after_child(void)
{
	child_starts(forking.ns != NULL);
}

static void unseen_fork(void)
{
	forking.embryo = NULL;
	child_starts(false);
}

pid_t fork_note_child(pid_t pid)
{
	int error = errno;

	if (pid != 0 && forking.embryo)
		proc_fork_parent(forking.ns, forking.embryo, forking.generation, pid);
	if (pid != 0)
		forking.embryo = NULL;
	errno = error;
	return pid;
}

static void init(void)
{
	shm_init();
	sem_init();
	msg_init();
	namespace_on_unseen_fork(unseen_fork);
	pthread_atfork(fork_before, fork_after_parent, fork_after_child);
}

void fork_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, init);
}
