/*
 * sem-call.c - the calls on semaphore sets, as a worker makes them.
 */
#include "diff.h"

#include <errno.h>
#include <string.h>

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
};

static struct timespec *fill_timeout(enum wait_kind wait, struct timespec *time)
{
	switch (wait) {
	case WAIT_LONG:
		*time = (struct timespec){1000, 1};
		return time;
	case WAIT_HUGE:
		*time = (struct timespec){INT64_MAX / 2, NSEC_PER_SEC - 1};
		return time;
	case WAIT_ZERO:
		*time = (struct timespec){0, 0};
		return time;
	case WAIT_SHORT:
		*time = (struct timespec){0, SHORT_WAIT_NS};
		return time;
	case WAIT_BAD_NSEC:
		*time = (struct timespec){0, NSEC_PER_SEC};
		return time;
	case WAIT_NEGATIVE:
		*time = (struct timespec){-1, 0};
		return time;
	default:
		return NULL;
	}
}

/* It fails at once, but how soon that is depends on the machine. */
static bool has_nowait(const struct order *order)
{
	for (unsigned i = 0; i < order->nsops; i++)
		if (order->sops[i].sem_flg & IPC_NOWAIT)
			return true;
	return false;
}

int call_op(const struct order *order, struct reply *reply)
{
	struct sembuf sops[SOPS_MAX];
	struct timespec time;
	int64_t start = 0;
	int rc, error;

	memcpy(sops, order->sops, sizeof(sops));
	if (order->bad_pointer)
		return semop(order->id, (struct sembuf *)8, order->nsops);
	if (order->wait == WAIT_SEMOP)
		return semop(order->id, sops, order->nsops);
	if (order->wait == WAIT_SHORT)
		start = now_ns();
	rc = semtimedop(order->id, sops, order->nsops, fill_timeout(order->wait, &time));
	if (order->wait == WAIT_SHORT && rc < 0 && errno == EAGAIN && !has_nowait(order)) {
		error = errno;
		reply->early = now_ns() - start < SHORT_WAIT_NS;
		errno = error;
	}
	return rc;
}

int call_ctl(const struct order *order, struct reply *reply)
{
	union semun arg;

	switch (order->cmd) {
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		arg.buf = &reply->ds;
		break;
	case IPC_SET:
		memset(&reply->ds, 0, sizeof(reply->ds));
		reply->ds.sem_perm.uid = order->uid;
		reply->ds.sem_perm.gid = order->uid;
		reply->ds.sem_perm.mode = order->mode;
		arg.buf = &reply->ds;
		break;
	case IPC_INFO:
	case SEM_INFO:
		arg.info = &reply->info;
		break;
	case GETALL:
		arg.array = reply->array;
		break;
	case SETALL:
		memcpy(reply->array, order->array, sizeof(reply->array));
		arg.array = reply->array;
		break;
	case SETVAL:
		arg.val = order->value;
		break;
	default:
		return semctl(order->id, order->num, order->cmd);
	}
	if (order->bad_pointer)
		arg.buf = (struct semid_ds *)8;
	return semctl(order->id, order->num, order->cmd, arg);
}

int call_get(const struct order *order)
{
	return semget(order->key, order->nsems, order->flags);
}

void object_remove(int id)
{
	semctl(id, 0, IPC_RMID);
}

int objects_count(void)
{
	struct seminfo info;
	union semun arg = {.info = &info};

	return semctl(0, 0, SEM_INFO, arg) < 0 ? -1 : info.semusz;
}
