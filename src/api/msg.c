/* msg.c - the public vee_* calls of vee/msg.h. */
#include "vee/msg.h"
#include "api/api.h"
#include "msg/msg.h"

VEE_EXPORT int vee_msgget(key_t key, int flag)
{
	struct ipc_namespace *ns;

	return api_open(&ns) < 0 ? -1 : (int)api_result(msg_get(ns, key, flag));
}

VEE_EXPORT int vee_msgtimedsnd(int id, const void *msgp, size_t size, int flag,
			       const struct timespec *timeout)
{
	struct ipc_namespace *ns;

	if (api_open(&ns) < 0)
		return -1;
	return (int)api_result(msg_snd(ns, id, msgp, size, flag, timeout));
}

VEE_EXPORT int vee_msgsnd(int id, const void *msgp, size_t size, int flag)
{
	return vee_msgtimedsnd(id, msgp, size, flag, NULL);
}

VEE_EXPORT ssize_t vee_msgtimedrcv(int id, void *msgp, size_t size, long type, int flag,
				   const struct timespec *timeout)
{
	struct ipc_namespace *ns;

	if (api_open(&ns) < 0)
		return -1;
	return api_result(msg_rcv(ns, id, msgp, size, type, flag, timeout));
}

VEE_EXPORT ssize_t vee_msgrcv(int id, void *msgp, size_t size, long type, int flag)
{
	return vee_msgtimedrcv(id, msgp, size, type, flag, NULL);
}

VEE_EXPORT int vee_msgctl(int id, int command, struct msqid_ds *buf)
{
	struct ipc_namespace *ns;

	return api_open(&ns) < 0 ? -1 : (int)api_result(msg_ctl(ns, id, command, buf));
}

VEE_EXPORT int vee_msgfd(int id)
{
	struct ipc_namespace *ns;

	return api_open(&ns) < 0 ? -1 : (int)api_result(msg_fd(ns, id));
}
