/*
 * vee/msg.h - System V message queues by vee's own names, and with a timeout, for programs that link libvee.
 *
 * The calls are those of msgget(2), msgsnd(2), msgrcv(2), msgctl(2): the same parameters, the same results, the same errno.
 * They work on the namespace that $VEE_DIR and $VEE_NS name (vee(7)); where that can't be opened, each returns -1
 * with the errno of it, and vee_namespace_error() of <vee/namespace.h> says why. Programs that call msgsnd() and its like on vee
 * (`vee run`, -lvee-sysv) share these queues.
 */
#pragma once

#include <stddef.h>
#include <sys/msg.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The id of the queue of `key`; made with IPC_CREAT, or IPC_PRIVATE as the key. It holds at most MSGMNB (16384) bytes, and as
 * many messages. EACCES EEXIST ENOENT ENOMEM ENOSPC. Source: msgget(2).
 */
int vee_msgget(key_t key, int flag);

/*
 * Sends a message. msgp: a long, its type, 1 or more, and size bytes of text behind it; up to MSGMAX (8192) bytes,
 * or none. Waits for room in the queue, if there is no IPC_NOWAIT; those that wait are served in order. A signal
 * handler ends the wait, SA_RESTART or not. Returns 0. EACCES EAGAIN (IPC_NOWAIT) EFAULT EIDRM EINTR EINVAL ENOMEM ENOSPC (there
 * is no memory left for a message, or a record to wait with, in the namespace). Source: msgsnd(2).
 */
int vee_msgsnd(int id, const void *msgp, size_t size, int flag);
/*
 * Takes a message. msgp: a long and room for size bytes. type 0: the oldest; above 0: the oldest of that type, or with
 * MSG_EXCEPT of any other; below 0: the oldest of the lowest type up to -type. One that is longer than size is left
 * (E2BIG), or with MSG_NOERROR cut. MSG_COPY with IPC_NOWAIT: a copy of the message at place `type`, from 0. Waits for one,
 * if there is no IPC_NOWAIT. Returns the bytes of text, without the long.
 * E2BIG EACCES EFAULT EIDRM EINTR EINVAL ENOMEM ENOMSG (IPC_NOWAIT) ENOSPC. Source: msgrcv(2).
 */
ssize_t vee_msgrcv(int id, void *msgp, size_t size, long type, int flag);

/*
 * The same, but they wait no longer than timeout says, in seconds and nanoseconds from the call on, by the monotonic clock
 * (CLOCK_MONOTONIC, which does not count suspension): one deadline, whatever happens in between. NULL: for ever.
 * {0, 0}: not at all. When it has passed: -1 with EAGAIN, and nothing was sent or taken. IPC_NOWAIT needs no time, and fails as
 * without a timeout: EAGAIN of sending, ENOMSG of receiving. EINVAL too for a negative time or tv_nsec beyond 999,999,999; EFAULT for
 * a timeout that can't be read. Source: none, the kernel has no such calls; the timeout is as that of semtimedop(2).
 */
int vee_msgtimedsnd(int id, const void *msgp, size_t size, int flag,
		    const struct timespec *timeout);
ssize_t vee_msgtimedrcv(int id, void *msgp, size_t size, long type, int flag,
			const struct timespec *timeout);

/*
 * IPC_STAT, MSG_STAT and MSG_STAT_ANY fill in *buf; IPC_SET takes owner, mode and msg_qbytes from it (more than MSGMNB needs
 * CAP_SYS_RESOURCE); IPC_RMID has none; IPC_INFO and MSG_INFO fill in a struct msginfo, and return the highest used index.
 * The STATs by index return the id, the others 0. EACCES EFAULT EINVAL EPERM ENOMEM ENOSPC. Source: msgctl(2).
 */
int vee_msgctl(int id, int command, struct msqid_ds *buf);

/*
 * A descriptor for poll(2) and its like, close-on-exec: readable while the queue has a message, and for good once it is
 * removed. What can be read from it has no meaning: msgrcv with IPC_NOWAIT takes the message, and may find that another was
 * quicker. A message that goes straight to a receiver that sleeps is not seen. The caller closes it.
 * EACCES (read permission) EINVAL EMFILE ENFILE ENOMEM.
 */
int vee_msgfd(int id);

#ifdef __cplusplus
}
#endif
