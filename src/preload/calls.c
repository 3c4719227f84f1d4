/* calls.c - the System V names, and syscall(2) with their numbers. */
#include "preload/calls.h"
#include "api/semun.h"
#include "base/os.h"
#include "preload/real.h"
#include "msg/msg.h"
#include "sem/fast.h"
#include "shm/shm.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

long calls_return(long ret)
{
	if (likely(ret >= 0 || ret < -4095))
		return ret;
	errno = -ret;
	return -1;
}

static void say_why(void)
{
	static bool said;
	char line[600] = "vee: ";

	if (__atomic_exchange_n(&said, true, __ATOMIC_RELAXED) || !arena_error[0])
		return;
	strcat(strcat(line, arena_error), "\n");
	os_write(STDERR_FILENO, line, strlen(line));
}

int calls_open(struct ipc_namespace **ret_ns)
{
	int ret = namespace_get(ret_ns);

	if (likely(ret == 0))
		return 0;
	say_why();
	errno = -ret;
	return -1;
}

VEE_EXPORT int shmget(key_t key, size_t size, int flag)
{
	struct ipc_namespace *ns;

	if (calls_open(&ns) < 0)
		return -1;
	return calls_return(shm_get(ns, key, size, flag));
}

VEE_EXPORT void *shmat(int id, const void *address, int flag)
{
	struct ipc_namespace *ns;
	void *at;

	if (calls_open(&ns) < 0 || calls_return(shm_at(ns, id, address, flag, &at)) < 0)
		return (void *)-1;
	return at;
}

VEE_EXPORT int shmdt(const void *address)
{
	struct ipc_namespace *ns;

	if (calls_open(&ns) < 0)
		return -1;
	return calls_return(shm_dt(ns, address));
}

VEE_EXPORT int shmctl(int id, int command, struct shmid_ds *buf)
{
	struct ipc_namespace *ns;

	if (calls_open(&ns) < 0)
		return -1;
	return calls_return(shm_ctl(ns, id, command, buf));
}

VEE_EXPORT int semget(key_t key, int nsems, int flag)
{
	struct ipc_namespace *ns;

	if (calls_open(&ns) < 0)
		return -1;
	return calls_return(sem_get(ns, key, nsems, flag));
}

/* The count of operations is an unsigned int to the kernel, whatever libc says. */
VEE_EXPORT int semtimedop(int id, struct sembuf *sops, size_t nsops, const struct timespec *timeout)
{
	struct ipc_namespace *ns;

	if (calls_open(&ns) < 0)
		return -1;
	return calls_return(sem_timedop(ns, id, sops, (unsigned)nsops, timeout));
}

VEE_EXPORT int semop(int id, struct sembuf *sops, size_t nsops)
{
	struct ipc_namespace *ns = namespace_at_hand();
	int ret;

	if (unlikely(!ns) && calls_open(&ns) < 0)
		return -1;
	if (likely(nsops == 1 && os_readable(sops, sizeof(*sops))) &&
	    semop_fast(ns, id, sops, &ret))
		return likely(ret == 0) ? 0 : calls_return(ret);
	return calls_return(sem_timedop(ns, id, sops, nsops, NULL));
}

static int control_set(int id, int semnum, int command, uintptr_t arg)
{
	struct ipc_namespace *ns;

	if (calls_open(&ns) < 0)
		return -1;
	return calls_return(sem_ctl(ns, id, semnum, command, arg));
}

VEE_EXPORT int semctl(int id, int semnum, int command, ...)
{
	va_list args;
	uintptr_t arg;

	va_start(args, command);
	arg = semun_take(command, args);
	va_end(args);
	return control_set(id, semnum, command, arg);
}

VEE_EXPORT int msgget(key_t key, int flag)
{
	struct ipc_namespace *ns;

	if (calls_open(&ns) < 0)
		return -1;
	return calls_return(msg_get(ns, key, flag));
}

VEE_EXPORT int msgsnd(int id, const void *msgp, size_t size, int flag)
{
	struct ipc_namespace *ns;

	if (calls_open(&ns) < 0)
		return -1;
	return calls_return(msg_snd(ns, id, msgp, size, flag, NULL));
}

VEE_EXPORT ssize_t msgrcv(int id, void *msgp, size_t size, long type, int flag)
{
	struct ipc_namespace *ns;

	if (calls_open(&ns) < 0)
		return -1;
	return calls_return(msg_rcv(ns, id, msgp, size, type, flag, NULL));
}

VEE_EXPORT int msgctl(int id, int command, struct msqid_ds *buf)
{
	struct ipc_namespace *ns;

	if (calls_open(&ns) < 0)
		return -1;
	return calls_return(msg_ctl(ns, id, command, buf));
}

/* The numbers that change who the process is. */
static bool changes_ids(long number)
{
	switch (number) {
	case SYS_setuid:
	case SYS_setgid:
	case SYS_setreuid:
	case SYS_setregid:
	case SYS_setresuid:
	case SYS_setresgid:
	case SYS_setgroups:
	case SYS_setfsuid:
	case SYS_setfsgid:
	case SYS_capset:
		return true;
	default:
		return false;
	}
}

static void admit_users(long number, const long *a)
{
	const uint32_t users[] = {a[0], a[1], a[2]};

	if (number == SYS_setuid || number == SYS_setfsuid)
		namespace_admit(users, 1);
	else if (number == SYS_setreuid)
		namespace_admit(users, 2);
	else if (number == SYS_setresuid)
		namespace_admit(users, 3);
}

VEE_EXPORT long syscall(long number, ...)
{
	long a[6], ret;
	va_list args;

	va_start(args, number);
	for (unsigned i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	switch (number) {
	case SYS_shmget:
		return shmget(a[0], a[1], a[2]);
	case SYS_shmat:
		return (long)shmat(a[0], (const void *)a[1], a[2]);
	case SYS_shmdt:
		return shmdt((const void *)a[0]);
	case SYS_shmctl:
		return shmctl(a[0], a[1], (struct shmid_ds *)a[2]);
	case SYS_semget:
		return semget(a[0], a[1], a[2]);
	case SYS_semop:
		return semop(a[0], (struct sembuf *)a[1], a[2]);
	case SYS_semtimedop:
		return semtimedop(a[0], (struct sembuf *)a[1], a[2], (const struct timespec *)a[3]);
	case SYS_semctl:
		return control_set(a[0], a[1], a[2], a[3]);
	case SYS_msgget:
		return msgget(a[0], a[1]);
	case SYS_msgsnd:
		return msgsnd(a[0], (const void *)a[1], a[2], a[3]);
	case SYS_msgrcv:
		return msgrcv(a[0], (void *)a[1], a[2], a[3], a[4]);
	case SYS_msgctl:
		return msgctl(a[0], a[1], (struct msqid_ds *)a[2]);
	case SYS_munmap:
		return munmap((void *)a[0], a[1]);
	case SYS_exit_group:
		process_leaves();
		break;
	case SYS_unshare:
		return unshare(a[0]);
	case SYS_execve:
		return execve((const char *)a[0], (char **)a[1], (char **)a[2]);
	default:
		break;
	}
	admit_users(number, a);
	ret = REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (unlikely(changes_ids(number)))
		cred_stale();
	return ret;
}
