/*
 * vee/namespace.h - System V shared memory and semaphores by vee's own names, for programs that link libvee.
 *
 * The calls are those of shmget(2), shmat(2), shmdt(2), shmctl(2), semget(2), semop(2), semctl(2): the same
 * parameters, the same results, the same errno. They work on the namespace that $VEE_DIR and $VEE_NS name
 * (vee(7)); where that can't be opened, each returns -1 with the errno of it, and vee_namespace_error() says why.
 */
#pragma once

#include <stddef.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

int vee_shmget(key_t key, size_t size, int flag);
void *vee_shmat(int id, const void *address, int flag);
int vee_shmdt(const void *address);
int vee_shmctl(int id, int command, struct shmid_ds *buf);

/*
 * The id of the set of `key`, of at least nsems semaphores; made with IPC_CREAT, or IPC_PRIVATE as the key, with
 * values of 0. Up to SEMMSL (32000) semaphores. EACCES EEXIST EINVAL ENOENT ENOMEM ENOSPC. Source: semget(2).
 */
int vee_semget(key_t key, int nsems, int flag);
/*
 * All nsops operations at once, or none; waits until they can be done, if none of those that can't has IPC_NOWAIT.
 * timeout: how long at most, in seconds and nanoseconds from the call, by the monotonic clock; NULL: for ever.
 * Up to SEMOPM (500) operations. A signal handler ends the wait, SA_RESTART or not. Returns 0.
 * EAGAIN (IPC_NOWAIT, or time is up) EINTR EIDRM E2BIG EACCES EFAULT EFBIG EINVAL ENOMEM ENOSPC ERANGE.
 * With SEM_UNDO the end of the process takes the operation back. Source: semop(2).
 */
int vee_semop(int id, struct sembuf *sops, size_t nsops);
int vee_semtimedop(int id, struct sembuf *sops, size_t nsops, const struct timespec *timeout);
/*
 * SETVAL takes an int as its fourth argument; GETALL and SETALL an unsigned short *, as many as the set has
 * semaphores; IPC_STAT, IPC_SET, SEM_STAT and SEM_STAT_ANY a struct semid_ds *; IPC_INFO and SEM_INFO a
 * struct seminfo *; or a union semun of these. IPC_RMID, GETVAL, GETPID, GETNCNT and GETZCNT have none.
 * EACCES EFAULT EIDRM EINVAL ENOMEM EPERM ERANGE. Source: semctl(2).
 */
int vee_semctl(int id, int semnum, int command, ...);

/* Why the namespace could not be opened, in words; "" if nothing failed. Valid until the next failure. */
const char *vee_namespace_error(void);

/* "MAJOR.MINOR.PATCH" of the library. */
const char *vee_version(void);

#ifdef __cplusplus
}
#endif
