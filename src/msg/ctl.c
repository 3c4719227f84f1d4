/* ctl.c - msgctl; see msg.h. */
#include "base/os.h"
#include "msg/queue.h"

#include <errno.h>
#include <string.h>

#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif

/* What IPC_INFO says as the kernel does, whatever the limits are. */
#define INFO_POOL 512000
#define INFO_MAP  16384
#define INFO_TQL  16384
#define INFO_SSZ  16
#define INFO_SEG  0xffff

/* Highest used index, 0 if there is none: what the *_INFO commands return. */
static int highest_index(struct ipc_namespace *ns)
{
	int last = idr_last(&ns->arena, &ipc_ids_of(ns, IPC_MSG_IDS)->ipcs_idr);

	return last < 0 ? 0 : last;
}

static void add_totals(struct ipc_namespace *ns, struct msginfo *info)
{
	struct msg_info_entry entry;
	uint64_t messages = 0, bytes = 0;

	for (int i = -1; msg_each(ns, &i, &entry);) {
		messages += entry.ds.msg_qnum;
		bytes += entry.ds.__msg_cbytes;
	}
	info->msgmap = messages;
	info->msgtql = bytes;
}

static int ctl_info(struct ipc_namespace *ns, int command, void *buf)
{
	const struct ipc_namespace_record *record = ns->record;
	struct msginfo info;
	struct tx *tx;
	int ret = tx_begin(&ns->arena, &tx), highest;

	if (ret < 0)
		return ret;
	tx_lock(tx, &ipc_ids_of(ns, IPC_MSG_IDS)->lock);
	memset(&info, 0, sizeof(info));
	info.msgmni = record->msg_ctlmni;
	info.msgmax = record->msg_ctlmax;
	info.msgmnb = record->msg_ctlmnb;
	info.msgssz = INFO_SSZ;
	info.msgseg = INFO_SEG;
	info.msgpool = command == MSG_INFO ? (int)ipc_ids_of(ns, IPC_MSG_IDS)->in_use : INFO_POOL;
	info.msgmap = INFO_MAP;
	info.msgtql = INFO_TQL;
	highest = highest_index(ns);
	tx_commit(tx);
	if (command == MSG_INFO)
		add_totals(ns, &info);
	ret = os_copy_to(buf, &info, sizeof(info));
	return ret < 0 ? ret : highest;
}

static int ctl_stat(struct ipc_namespace *ns, int id, int command, void *buf)
{
	struct msg_queue *msq;
	struct msqid_ds ds;
	struct tx *tx;
	int ret;

	if (command != IPC_STAT) {
		msq = msg_record(ns, id);
		id = msq ? load_acquire(msq->q_perm.id) : -1;
	}
	ret = msg_lock_swept(ns, id, &tx, &msq);
	if (ret < 0)
		return ret;
	if (command != MSG_STAT_ANY)
		ret = ipcperms(&msq->q_perm, 0444);
	if (ret == 0)
		msg_fill_ds(msq, &ds);
	tx_commit(tx);
	if (ret == 0)
		ret = os_copy_to(buf, &ds, sizeof(ds));
	return ret < 0 || command == IPC_STAT ? ret : id;
}

static int set_locked(struct ipc_namespace *ns, struct tx *tx, struct msg_queue *msq,
		      const struct msqid_ds *in, int flags, struct wake_q *wake_q)
{
	struct kern_ipc_perm perm = msq->q_perm;
	int qbytes = (int)in->msg_qbytes; /* the kernel's too is an int on its way */
	int ret;

	if ((uint32_t)qbytes > ns->record->msg_ctlmnb && !cred_capable(VEE_CAP_SYS_RESOURCE))
		return -EPERM;
	ret = ipc_update_perm(&in->msg_perm, &perm);
	if (ret < 0)
		return ret;
	tx_set(tx, msq->q_perm.uid, perm.uid);
	tx_set(tx, msq->q_perm.gid, perm.gid);
	tx_set(tx, msq->q_perm.mode, perm.mode);
	tx_set(tx, msq->q_qbytes, (uint64_t)(int64_t)qbytes);
	tx_set(tx, msq->q_ctime, os_seconds());
	return msg_changed(ns, tx, msq, flags, wake_q);
}

/* -ESRCH as msg_deliver(). Ends the transaction. */
static int down_locked(struct ipc_namespace *ns, struct tx *tx, int id, int command,
		       const struct msqid_ds *in, int flags)
{
	struct kern_ipc_perm *perm = ipc_obtain_object_check(ns, IPC_MSG_IDS, id);
	struct wake_q wake_q = {0, 0};
	int ret = perm ? ipc_owner(perm) : -EINVAL;
	struct msg_queue *msq;

	if (ret < 0) {
		tx_abort(tx);
		return ret;
	}
	msq = container_of(perm, struct msg_queue, q_perm);
	tx_lock(tx, &msq->lock);
	ret = msg_reserve(ns, tx, msq);
	if (ret == 0 && command == IPC_SET)
		ret = set_locked(ns, tx, msq, in, flags, &wake_q);
	else if (ret == 0)
		freeque(ns, tx, msq, &wake_q);
	if (ret < 0) {
		tx_abort(tx);
		return ret;
	}
	tx_stand(tx);
	wake_up_q(ns, tx, &wake_q);
	return 0;
}

/* IPC_SET and IPC_RMID: for the owner, the creator, the privileged. */
static int ctl_down(struct ipc_namespace *ns, int id, int command, void *buf)
{
	struct msqid_ds in;
	struct tx *tx;
	int flags = 0, ret = command == IPC_SET ? os_copy_from(&in, buf, sizeof(in)) : 0;

	while (ret == 0) {
		ret = tx_begin(&ns->arena, &tx);
		if (ret < 0)
			return ret;
		tx_lock(tx, &ipc_ids_of(ns, IPC_MSG_IDS)->lock);
		ret = down_locked(ns, tx, id, command, &in, flags);
		if (ret != -ESRCH)
			break;
		proc_sweep(ns);
		flags = MSG_SWEPT;
		ret = 0;
	}
	if (ret == 0 && command == IPC_RMID)
		msg_reap(ns);
	return ret;
}

int msg_ctl(struct ipc_namespace *ns, int id, int command, void *buf)
{
	if (id < 0 || command < 0)
		return -EINVAL;
	switch (command) {
	case IPC_INFO:
	case MSG_INFO:
		return ctl_info(ns, command, buf);
	case IPC_STAT:
	case MSG_STAT:
	case MSG_STAT_ANY:
		return ctl_stat(ns, id, command, buf);
	case IPC_SET:
	case IPC_RMID:
		return ctl_down(ns, id, command, buf);
	default:
		return -EINVAL;
	}
}
