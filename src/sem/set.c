/*
 * set.c - sets of semaphores: semget, their memory, their end; see sem.h.
 *
 * The blocks of removed sets wait in lists by size, in the root record, for the next set. A new block is
 * made and put there in a transaction of its own: whoever finds its way to a block without a lock, by
 * the id of a set that never was or is no more, always finds a block.
 */
#include "sem/set.h"
#include "base/os.h"

#include <errno.h>
#include <string.h>

static unsigned block_class(unsigned nsems)
{
	uint64_t size = sizeof(struct sem_array) + (uint64_t)nsems * sizeof(uint64_t);
	unsigned class = 0;

	while ((uint64_t)SEM_BLOCK_MIN << class < size)
		class ++;
	return class;
}

struct sem_array *sem_seen[SEM_SEEN];

struct sem_array *sem_block(struct ipc_namespace *ns, int id)
{
	const struct idr *idr = &ipc_ids_of(ns, IPC_SEM_IDS)->ipcs_idr;
	struct sem_array *sma =
		id < 0 ? NULL : sem_array_at(ns, idr_find(&ns->arena, idr, id % IPCMNI));

	if (sma && ns == load_acquire(namespace_own))
		__atomic_store_n(&sem_seen[(unsigned)id % SEM_SEEN], sma, __ATOMIC_RELEASE);
	return sma;
}

void sem_hold_all(struct sem_array *sma)
{
	for (unsigned i = 0; i < sma->sem_nsems; i++)
		word_hold(&sma->words[i]);
}

static int block_new(struct ipc_namespace *ns, unsigned class)
{
	uint32_t size = SEM_BLOCK_MIN << class;
	ref_t *head = &ns->record->sem_blocks[class];
	struct sem_array *sma;
	struct tx *tx;
	ref_t ref;
	int ret = tx_begin(&ns->arena, &tx);

	if (ret < 0)
		return ret;
	tx_lock(tx, &ipc_ids_of(ns, IPC_SEM_IDS)->lock);
	ret = arena_alloc(tx, size, &ref);
	if (ret < 0) {
		tx_abort(tx);
		return ret;
	}
	sma = sem_array_at(ns, ref);
	memset(sma, 0, sizeof(*sma));
	arena_lock_init(&sma->lock);
	sma->sem_perm.deleted = 1;
	sma->sem_perm.id = -1;
	sma->size_class = class;
	for (unsigned i = 0; i < (size - sizeof(*sma)) / sizeof(uint64_t); i++)
		sma->words[i] = SEM_HELD;
	sma->next_free = *head;
	tx_set(tx, *head, ref);
	tx_commit(tx);
	return 0;
}

/* Invariant 1 keeps the words of a free block held back: what is stored to them needs no journal. */
static void clear_words(struct sem_array *sma, unsigned nsems)
{
	for (unsigned i = 0; i < nsems; i++)
		__atomic_store_n(&sma->words[i], word_with(word_get(&sma->words[i]), 0, 0),
				 __ATOMIC_RELAXED);
}

/* -EAGAIN: no block is free, and block_new() has to come first. */
static int newary(struct ipc_namespace *ns, struct tx *tx, const struct ipc_params *params)
{
	struct ipc_namespace_record *record = ns->record;
	unsigned nsems = params->size;
	ref_t *head, ref;
	struct sem_array *sma;
	int ret;

	if (nsems == 0)
		return -EINVAL;
	/* As int, for these limits may be set to less than nothing. */
	if ((int)(record->used_sems + nsems) > (int)record->sem_ctls[1])
		return -ENOSPC;
	head = &record->sem_blocks[block_class(nsems)];
	ref = *head;
	if (!ref)
		return -EAGAIN;
	sma = sem_array_at(ns, ref);
	tx_lock(tx, &sma->lock);
	tx_set(tx, *head, sma->next_free);
	/* Seen by semops without lock, though in vain as long as the words are held back. */
	__atomic_store_n(&sma->sem_perm.key, params->key, __ATOMIC_RELAXED);
	__atomic_store_n(&sma->sem_perm.mode, params->flg & 0777, __ATOMIC_RELAXED);
	__atomic_store_n(&sma->sem_nsems, nsems, __ATOMIC_RELAXED);
	sma->sem_ctime = os_seconds();
	clear_words(sma, nsems);
	tx_set(tx, sma->incarnation, sma->incarnation + 1);
	tx_set(tx, sma->sem_otime, (uint64_t)sma->incarnation << SEM_OTIME_BITS);
	sma->sem_otime_locked = 0;
	ret = ipc_addid(ns, tx, IPC_SEM_IDS, ref, record->sem_ctls[3]);
	if (ret < 0)
		return ret;
	tx_set(tx, record->used_sems, record->used_sems + nsems);
	tx_stand(tx);
	for (unsigned i = 0; i < nsems; i++)
		word_let_go(&sma->words[i]);
	return sma->sem_perm.id;
}

static int sem_more_checks(const struct kern_ipc_perm *perm, const struct ipc_params *params)
{
	const struct sem_array *sma = container_of(perm, struct sem_array, sem_perm);

	return params->size > sma->sem_nsems ? -EINVAL : 0;
}

int sem_get(struct ipc_namespace *ns, key_t key, int nsems, int flag)
{
	static const struct ipc_ops ops = {newary, sem_more_checks};
	struct ipc_params params = {.key = key, .flg = flag, .size = nsems};
	int ret;

	if (nsems < 0 || nsems > (int)ns->record->sem_ctls[0])
		return -EINVAL;
	for (;;) {
		ret = ipcget(ns, IPC_SEM_IDS, &ops, &params);
		if (likely(ret != -EAGAIN))
			return ret;
		ret = block_new(ns, block_class(nsems));
		if (ret < 0)
			return ret;
	}
}

void freeary(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma)
{
	ref_t *head = &ns->record->sem_blocks[sma->size_class];

	sem_hold_all(sma);
	tx_set(tx, ns->record->used_sems, ns->record->used_sems - sma->sem_nsems);
	ipc_rmid(ns, tx, IPC_SEM_IDS, &sma->sem_perm);
	/* The id may be made again, in another block: sem_seen must not lead here then. */
	tx_set(tx, sma->sem_perm.id, -1);
	/* From here on what names this set is stale: sleepers (their status says EIDRM already), undo. */
	tx_set(tx, sma->incarnation, sma->incarnation + 1);
	tx_set(tx, sma->pending_alter.first, 0);
	tx_set(tx, sma->pending_alter.last, 0);
	tx_set(tx, sma->pending_const.first, 0);
	tx_set(tx, sma->pending_const.last, 0);
	tx_set(tx, sma->n_complex, 0);
	tx_set(tx, sma->list_id, 0);
	tx_set(tx, sma->n_adjusting, 0);
	tx_set(tx, sma->update_due, 0);
	tx_set(tx, sma->next_free, *head);
	tx_set(tx, *head, arena_ref(&ns->arena, sma));
}

int sem_lock_due(struct ipc_namespace *ns, int id, struct tx **ret_tx, struct sem_array **ret_sma)
{
	struct wake_q wake_q = {0, 0};

	do_smart_update(ns, *ret_tx, *ret_sma, NULL, 0, UPDATE_SWEPT, &wake_q);
	sem_finish(ns, *ret_tx, *ret_sma, NULL, 0, &wake_q);
	return sem_lock_as_it_is(ns, id, ret_tx, ret_sma);
}

bool sem_all_live(struct ipc_namespace *ns, struct sem_array *sma)
{
	const ref_t lists[] = {sma->pending_alter.first, sma->pending_const.first};

	for (ref_t ref = sma->list_id; ref; ref = sem_undo_at(ns, ref)->id_next)
		if (!sleeper_proc_lives(ns, sem_undo_at(ns, ref)->proc))
			return false;
	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++)
		for (ref_t ref = lists[i]; ref; ref = sleeper_at(ns, ref)->next)
			if (!sleeper_proc_lives(ns, sleeper_at(ns, ref)->proc))
				return false;
	return !sem_has_served(sma) || sem_served_live(ns, sma) == 0;
}

int sem_lock_swept(struct ipc_namespace *ns, int id, struct tx **ret_tx, struct sem_array **ret_sma)
{
	int ret = sem_lock(ns, id, ret_tx, ret_sma);

	if (ret < 0 || likely(sem_all_live(ns, *ret_sma)))
		return ret;
	tx_commit(*ret_tx);
	proc_sweep(ns);
	return sem_lock(ns, id, ret_tx, ret_sma);
}
