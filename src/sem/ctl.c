/* ctl.c - semctl; see sem.h. */
#include "base/os.h"
#include "sem/set.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif

#define SEMUSZ 20 /* what IPC_INFO says, as the kernel does */

/* Memory for an array of values: of the stack if it is small. */
struct values {
	uint16_t few[256];
	uint16_t *all;
	size_t size;
};

static int values_new(struct values *values, unsigned n)
{
	intptr_t at;

	values->size = n * sizeof(values->all[0]);
	values->all = values->few;
	if (values->size <= sizeof(values->few))
		return 0;
	at = os_mmap(NULL, values->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	if (at < 0 && at > -4096)
		return -ENOMEM;
	values->all = (uint16_t *)at;
	return 0;
}

static void values_free(struct values *values)
{
	if (values->all != values->few)
		os_munmap(values->all, values->size);
}

/* Highest used index, 0 if there is none: what the *_INFO commands return. */
static int highest_index(struct ipc_namespace *ns)
{
	int last = idr_last(&ns->arena, &ipc_ids_of(ns, IPC_SEM_IDS)->ipcs_idr);

	return last < 0 ? 0 : last;
}

static int ctl_info(struct ipc_namespace *ns, int command, void *buf)
{
	const struct ipc_namespace_record *record = ns->record;
	struct seminfo info;
	struct tx *tx;
	int ret = tx_begin(&ns->arena, &tx), highest;

	if (ret < 0)
		return ret;
	tx_lock(tx, &ipc_ids_of(ns, IPC_SEM_IDS)->lock);
	memset(&info, 0, sizeof(info));
	info.semmsl = record->sem_ctls[0];
	info.semmns = info.semmap = info.semmnu = record->sem_ctls[1];
	info.semopm = info.semume = record->sem_ctls[2];
	info.semmni = record->sem_ctls[3];
	info.semvmx = info.semaem = SEMVMX;
	info.semusz = SEMUSZ;
	if (command == SEM_INFO) {
		info.semusz = ipc_ids_of(ns, IPC_SEM_IDS)->in_use;
		info.semaem = record->used_sems;
	}
	highest = highest_index(ns);
	tx_commit(tx);
	ret = os_copy_to(buf, &info, sizeof(info));
	return ret < 0 ? ret : highest;
}

void sem_fill_ds(const struct sem_array *sma, struct semid_ds *ds)
{
	memset(ds, 0, sizeof(*ds));
	kernel_to_ipc_perm(&sma->sem_perm, &ds->sem_perm);
	ds->sem_otime = sem_otime(sma);
	ds->sem_ctime = sma->sem_ctime;
	ds->sem_nsems = sma->sem_nsems;
}

/* The full id of what is at an index, of which SEM_STAT also takes the rest of an id. */
static int id_at(struct ipc_namespace *ns, int index)
{
	const struct sem_array *sma = sem_block(ns, index);

	return sma ? load_acquire(sma->sem_perm.id) : -1;
}

static int ctl_stat(struct ipc_namespace *ns, int id, int command, void *buf)
{
	struct sem_array *sma;
	struct semid_ds ds;
	struct tx *tx;
	int ret;

	if (command != IPC_STAT)
		id = id_at(ns, id);
	ret = sem_lock_swept(ns, id, &tx, &sma);
	if (ret < 0)
		return ret;
	if (command != SEM_STAT_ANY)
		ret = ipcperms(&sma->sem_perm, 0444);
	if (ret == 0)
		sem_fill_ds(sma, &ds);
	tx_commit(tx);
	if (ret == 0)
		ret = os_copy_to(buf, &ds, sizeof(ds));
	return ret < 0 || command == IPC_STAT ? ret : id;
}

static int ctl_getall(struct ipc_namespace *ns, int id, void *array)
{
	struct values values;
	struct sem_array *sma;
	struct tx *tx;
	unsigned n = 0;
	int ret = sem_lock_swept(ns, id, &tx, &sma);

	if (ret < 0)
		return ret;
	ret = ipcperms(&sma->sem_perm, 0444);
	if (ret == 0)
		ret = values_new(&values, n = sma->sem_nsems);
	if (ret < 0) {
		tx_commit(tx);
		return ret;
	}
	sem_hold_all(sma);
	for (unsigned i = 0; i < n; i++)
		values.all[i] = word_semval(word_get(&sma->words[i]));
	sem_finish(ns, tx, sma, NULL, 0, NULL);
	ret = os_copy_to(array, values.all, values.size);
	values_free(&values);
	return ret;
}

static int setall_locked(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
			 const uint16_t *values)
{
	struct wake_q wake_q = {0, 0};
	int ret = tx_reserve(tx, sma->sem_nsems + 32);

	if (ret < 0) {
		tx_abort(tx);
		return ret;
	}
	sem_hold_all(sma);
	for (unsigned i = 0; i < sma->sem_nsems; i++)
		tx_set(tx, sma->words[i], word_with(word_get(&sma->words[i]), values[i], *ns->pid));
	tx_set(tx, sma->undo_epoch, sma->undo_epoch + 1);
	tx_set(tx, sma->set_epoch, sma->set_epoch + 1);
	tx_set(tx, sma->n_adjusting, 0);
	tx_set(tx, sma->sem_ctime, os_seconds());
	if (sem_has_sleepers(sma)) {
		/* Who is served now may owe anew, and writes over what was forgotten: that must not come back. */
		tx_set(tx, sma->update_due, 1);
		tx_stand(tx);
	}
	do_smart_update(ns, tx, sma, NULL, 0, UPDATE_SWEPT, &wake_q);
	sem_finish(ns, tx, sma, NULL, 0, &wake_q);
	return 0;
}

static int setall_values(struct ipc_namespace *ns, int id, const uint16_t *values, unsigned n)
{
	struct sem_array *sma;
	struct tx *tx;

	for (unsigned i = 0; i < n; i++)
		if (values[i] > SEMVMX)
			return -ERANGE;
	/* It may have gone while the values were read. */
	if (sem_lock_swept(ns, id, &tx, &sma) < 0)
		return -EIDRM;
	return setall_locked(ns, tx, sma, values);
}

static int ctl_setall(struct ipc_namespace *ns, int id, const void *array)
{
	struct values values;
	struct sem_array *sma;
	struct tx *tx;
	unsigned n;
	int ret = sem_lock(ns, id, &tx, &sma);

	if (ret < 0)
		return ret;
	n = sma->sem_nsems;
	ret = ipcperms(&sma->sem_perm, 0222);
	tx_commit(tx);
	if (ret == 0)
		ret = values_new(&values, n);
	if (ret < 0)
		return ret;
	ret = os_copy_from(values.all, array, values.size);
	if (ret == 0)
		ret = setall_values(ns, id, values.all, n);
	values_free(&values);
	return ret;
}

static int setval_locked(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
			 unsigned num, int value)
{
	struct wake_q wake_q = {0, 0};
	struct sembuf sop = {num, 0, 0};
	int ret = sem_forget_adjustments(ns, tx, sma, num);

	if (ret < 0) {
		tx_abort(tx);
		return ret;
	}
	word_hold(&sma->words[num]);
	tx_set(tx, sma->words[num], word_with(word_get(&sma->words[num]), value, *ns->pid));
	tx_set(tx, sma->set_epoch, sma->set_epoch + 1);
	tx_set(tx, sma->sem_ctime, os_seconds());
	do_smart_update(ns, tx, sma, NULL, 0, UPDATE_SWEPT, &wake_q);
	sem_finish(ns, tx, sma, &sop, 1, &wake_q);
	return 0;
}

static int ctl_setval(struct ipc_namespace *ns, int id, int num, int value)
{
	struct sem_array *sma;
	struct tx *tx;
	int ret;

	if (value < 0 || value > SEMVMX)
		return -ERANGE;
	ret = sem_lock_swept(ns, id, &tx, &sma);
	if (ret < 0)
		return ret;
	if (num < 0 || (unsigned)num >= sma->sem_nsems)
		ret = -EINVAL;
	else
		ret = ipcperms(&sma->sem_perm, 0222);
	if (ret == 0)
		return setval_locked(ns, tx, sma, num, value);
	tx_commit(tx);
	return ret;
}

/* How many sleep on semaphore num, in an operation that waits for zero, or for more. */
static int count_semcnt(struct ipc_namespace *ns, const struct sem_array *sma, unsigned num,
			bool zero)
{
	const ref_t lists[] = {sma->pending_alter.first, sma->pending_const.first};
	int n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		const struct sem_queue *q;

		for (ref_t ref = lists[i]; ref; ref = q->sleeper.next) {
			const struct sembuf *sop;

			q = sem_queue_at(ns, ref);
			sop = &sem_queue_sops(ns, q)[q->blocking];
			n += sop->sem_num == num && (sop->sem_op == 0) == zero;
		}
	}
	return n;
}

static int get_locked(struct ipc_namespace *ns, const struct sem_array *sma, unsigned num,
		      int command)
{
	uint64_t word = load_acquire(sma->words[num]);

	switch (command) {
	case GETVAL:
		return word_semval(word);
	case GETPID:
		return word_sempid(word);
	default:
		return count_semcnt(ns, sma, num, command == GETZCNT);
	}
}

static int ctl_get(struct ipc_namespace *ns, int id, int num, int command)
{
	struct sem_array *sma;
	struct tx *tx;
	int ret = sem_lock_swept(ns, id, &tx, &sma);

	if (ret < 0)
		return ret;
	ret = ipcperms(&sma->sem_perm, 0444);
	if (ret == 0 && (num < 0 || (unsigned)num >= sma->sem_nsems))
		ret = -EINVAL;
	if (ret == 0)
		ret = get_locked(ns, sma, num, command);
	tx_commit(tx);
	return ret;
}

static void set_locked(struct tx *tx, struct sem_array *sma, const struct kern_ipc_perm *perm)
{
	sem_hold_all(sma);
	tx_set(tx, sma->sem_perm.uid, perm->uid);
	tx_set(tx, sma->sem_perm.gid, perm->gid);
	tx_set(tx, sma->sem_perm.mode, perm->mode);
	tx_set(tx, sma->sem_ctime, os_seconds());
}

/* IPC_SET and IPC_RMID: for the owner, the creator, the privileged. */
static int ctl_down(struct ipc_namespace *ns, int id, int command, void *buf)
{
	struct wake_q wake_q = {0, 0};
	struct kern_ipc_perm *found, perm;
	struct sem_array *sma;
	struct semid_ds in;
	struct tx *tx;
	int ret = command == IPC_SET ? os_copy_from(&in, buf, sizeof(in)) : 0;

	if (ret == 0)
		ret = tx_begin(&ns->arena, &tx);
	if (ret < 0)
		return ret;
	tx_lock(tx, &ipc_ids_of(ns, IPC_SEM_IDS)->lock);
	found = ipc_obtain_object_check(ns, IPC_SEM_IDS, id);
	ret = found ? ipc_owner(found) : -EINVAL;
	if (ret == 0 && command == IPC_SET) {
		perm = *found;
		ret = ipc_update_perm(&in.sem_perm, &perm);
	}
	if (ret < 0) {
		tx_commit(tx);
		return ret;
	}
	sma = container_of(found, struct sem_array, sem_perm);
	tx_lock(tx, &sma->lock);
	if (command == IPC_SET) {
		set_locked(tx, sma, &perm);
	} else {
		sem_tell_removed(ns, sma, &wake_q);
		freeary(ns, tx, sma);
	}
	sem_finish(ns, tx, sma, NULL, 0, &wake_q);
	return 0;
}

int sem_ctl(struct ipc_namespace *ns, int id, int num, int command, uintptr_t arg)
{
	if (id < 0)
		return -EINVAL;
	switch (command) {
	case IPC_INFO:
	case SEM_INFO:
		return ctl_info(ns, command, (void *)arg);
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		return ctl_stat(ns, id, command, (void *)arg);
	case GETALL:
		return ctl_getall(ns, id, (void *)arg);
	case GETVAL:
	case GETPID:
	case GETNCNT:
	case GETZCNT:
		return ctl_get(ns, id, num, command);
	case SETALL:
		return ctl_setall(ns, id, (const void *)arg);
	case SETVAL:
		return ctl_setval(ns, id, num, (int)arg);
	case IPC_SET:
	case IPC_RMID:
		return ctl_down(ns, id, command, (void *)arg);
	default:
		return -EINVAL;
	}
}
