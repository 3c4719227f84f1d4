/*
 * poll.c - a descriptor that can be polled for a queue; see msg.h.
 *
 * It is a FIFO in the namespace's folder, in which a byte lies exactly while the queue has a message: whoever makes the queue
 * not empty puts it there before its stores stand, whoever empties it takes it out after that; both under the queue's lock, and
 * only if somebody has ever asked for a descriptor of this queue; with IPC_RMID a byte is left for good. So a death in
 * between may leave a byte too many, never one too few, and the next receiver that finds nothing takes it out.
 *
 * Opening and writing are non-blocking: nobody waits with the lock held. When nobody has the FIFO open its bytes are gone,
 * and the next descriptor begins with what is true then.
 */
#include "base/os.h"
#include "msg/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static void fifo_path(const struct ipc_namespace *ns, const struct msg_queue *msq, char *buf,
		      size_t size)
{
	snprintf(buf, size, "%s/shm/.msg-%d", ns->dir, msq->q_perm.id);
}

static int fifo_open(const struct ipc_namespace *ns, const struct msg_queue *msq, int flags)
{
	char path[3200];

	fifo_path(ns, msq, path, sizeof(path));
	return os_open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW, 0);
}

/* Leaves no byte, or at least one: a few too many do no harm, while to take them out first might leave none. */
static void set_byte(int fd, bool there)
{
	char bytes[64];

	if (there)
		os_write(fd, "", 1);
	else
		while (os_read(fd, bytes, sizeof(bytes)) > 0)
			;
}

void msg_poll_set(struct ipc_namespace *ns, const struct msg_queue *msq, bool readable)
{
	int fd = fifo_open(ns, msq, O_RDWR);

	if (fd < 0)
		return;
	set_byte(fd, readable);
	os_close(fd);
}

void msg_poll_end(struct ipc_namespace *ns, const struct msg_queue *msq)
{
	char path[3200];

	msg_poll_set(ns, msq, true);
	fifo_path(ns, msq, path, sizeof(path));
	os_unlink(path);
}

/* Whoever may use the queue sets the byte: vee itself decides who may. */
static uint32_t fifo_mode(uint32_t mode)
{
	return 0600 | (mode & 0060 ? 0060 : 0) | (mode & 0006 ? 0006 : 0);
}

static int open_locked(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq)
{
	char path[3200];
	int fd, ret = ipcperms(&msq->q_perm, 0444);

	if (ret < 0)
		return ret;
	fifo_path(ns, msq, path, sizeof(path));
	ret = os_mkfifo(path, 0600);
	if (ret < 0 && ret != -EEXIST)
		return ret;
	if (ret == 0)
		os_chmod(path, fifo_mode(msq->q_perm.mode));
	fd = fifo_open(ns, msq, O_RDWR);
	if (fd < 0)
		return fd;
	tx_set(tx, msq->polled, 1);
	if (msq->q_qnum > 0)
		set_byte(fd, true);
	return fd;
}

int msg_fd(struct ipc_namespace *ns, int id)
{
	struct msg_queue *msq;
	struct tx *tx;
	int ret = msg_lock_swept(ns, id, &tx, &msq);

	if (ret < 0)
		return ret;
	ret = open_locked(ns, tx, msq);
	tx_commit(tx);
	return ret;
}
