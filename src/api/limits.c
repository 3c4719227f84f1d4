/* limits.c - the table of limits; see limits.h. */
#include "api/limits.h"
#include "arena/journal.h"

#include <limits.h>
#include <stddef.h>

#define AT(field)                                     \
	offsetof(struct ipc_namespace_record, field), \
		sizeof(((struct ipc_namespace_record *)0)->field)
#define NEXT_ID(i) IPC_##i##_IDS, AT(ids[IPC_##i##_IDS].next_id), INT_MAX

const struct limit limits[N_LIMITS] = {
	[LIMIT_SHMMAX] = {"shmmax", "bytes", IPC_SHM_IDS, AT(shm_ctlmax), UINT64_MAX},
	[LIMIT_SHMALL] = {"shmall", "pages", IPC_SHM_IDS, AT(shm_ctlall), UINT64_MAX},
	[LIMIT_SHMMNI] = {"shmmni", "segments", IPC_SHM_IDS, AT(shm_ctlmni), IPCMNI},
	[LIMIT_SHM_RMID_FORCED] = {"shm_rmid_forced", "", IPC_SHM_IDS, AT(shm_rmid_forced), 1},
	[LIMIT_SEMMSL] = {"semmsl", "semaphores a set", IPC_SEM_IDS, AT(sem_ctls[0]), INT_MAX},
	[LIMIT_SEMMNS] = {"semmns", "semaphores", IPC_SEM_IDS, AT(sem_ctls[1]), INT_MAX},
	[LIMIT_SEMOPM] = {"semopm", "operations a call", IPC_SEM_IDS, AT(sem_ctls[2]), INT_MAX},
	[LIMIT_SEMMNI] = {"semmni", "sets", IPC_SEM_IDS, AT(sem_ctls[3]), IPCMNI},
	[LIMIT_MSGMAX] = {"msgmax", "bytes", IPC_MSG_IDS, AT(msg_ctlmax), INT_MAX},
	[LIMIT_MSGMNB] = {"msgmnb", "bytes", IPC_MSG_IDS, AT(msg_ctlmnb), INT_MAX},
	[LIMIT_MSGMNI] = {"msgmni", "queues", IPC_MSG_IDS, AT(msg_ctlmni), IPCMNI},
	[LIMIT_SHM_NEXT_ID] = {"shm_next_id", "", NEXT_ID(SHM)},
	[LIMIT_SEM_NEXT_ID] = {"sem_next_id", "", NEXT_ID(SEM)},
	[LIMIT_MSG_NEXT_ID] = {"msg_next_id", "", NEXT_ID(MSG)},
};

static void *field_of(struct ipc_namespace *ns, const struct limit *limit)
{
	return (char *)ns->record + limit->at;
}

uint64_t limit_get(struct ipc_namespace *ns, enum limit_id id)
{
	const void *field = field_of(ns, &limits[id]);

	if (limits[id].size == 8)
		return __atomic_load_n((const uint64_t *)field, __ATOMIC_RELAXED);
	return (uint64_t)(int64_t)__atomic_load_n((const int32_t *)field, __ATOMIC_RELAXED);
}

static void set_one(struct ipc_namespace *ns, struct tx *tx, const struct limit_change *change)
{
	void *field = field_of(ns, &limits[change->id]);

	if (limits[change->id].size == 8)
		tx_set(tx, *(uint64_t *)field, change->value);
	else
		tx_set(tx, *(int32_t *)field, (int32_t)change->value);
}

int limits_set(struct ipc_namespace *ns, const struct limit_change *changes, unsigned n)
{
	struct tx *tx;
	int ret = tx_begin(&ns->arena, &tx);

	if (ret < 0)
		return ret;
	for (int which = IPC_SEM_IDS; which <= IPC_SHM_IDS; which++) { /* the lock order */
		bool locked = false;

		for (unsigned i = 0; i < n; i++) {
			if (limits[changes[i].id].which != which)
				continue;
			if (!locked)
				tx_lock(tx, &ipc_ids_of(ns, which)->lock);
			locked = true;
			set_one(ns, tx, &changes[i]);
		}
	}
	tx_commit(tx);
	return 0;
}
