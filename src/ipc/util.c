/* util.c - ids, keys and the *get calls; see util.h. */
#include "ipc/util.h"

#include <errno.h>
#include <string.h>

/*
 * The index of keys: open addressing with linear probing. A slot is 0 (never used), KEY_GONE,
 * or key << 32 | the object's id + KEY_ID. When three quarters are not 0 any more, a table of the size that the
 * living keys need takes its place. Its new page run needs no journal until the header points to it.
 */
#define KEY_GONE      1ull
#define KEY_ID	      2u
#define KEY_SLOTS_MIN 512u
#define MIN_CYCLE     64u

static uint32_t key_hash(int32_t key, uint32_t slots)
{
	return ((uint32_t)key * 2654435769u) >> (__builtin_clz(slots) + 1);
}

static uint64_t key_word(int32_t key, int id)
{
	return (uint64_t)(uint32_t)key << 32 | ((uint32_t)id + KEY_ID);
}

static bool word_live(uint64_t word)
{
	return (uint32_t)word > KEY_GONE;
}

static int word_id(uint64_t word)
{
	return (int)((uint32_t)word - KEY_ID);
}

static uint64_t *key_find(struct ipc_namespace *ns, struct ipc_ids *ids, int32_t key)
{
	uint64_t *table = arena_ptr(&ns->arena, ids->key_table);

	if (!table)
		return NULL;
	for (uint32_t i = key_hash(key, ids->key_slots); table[i];
	     i = (i + 1) & (ids->key_slots - 1))
		if (word_live(table[i]) && (int32_t)(table[i] >> 32) == key)
			return &table[i];
	return NULL;
}

static void key_put_raw(uint64_t *table, uint32_t slots, uint64_t word)
{
	uint32_t i = key_hash(word >> 32, slots);

	while (table[i])
		i = (i + 1) & (slots - 1);
	table[i] = word;
}

static int key_rebuild(struct ipc_namespace *ns, struct tx *tx, struct ipc_ids *ids)
{
	const uint64_t *old = arena_ptr(&ns->arena, ids->key_table);
	uint32_t slots = KEY_SLOTS_MIN, live = 0;
	uint64_t *table;
	ref_t ref;
	int ret;

	for (uint32_t i = 0; i < ids->key_slots; i++)
		live += word_live(old[i]);
	while (slots < 2 * (live + 1))
		slots *= 2;
	ret = arena_alloc(tx, slots * sizeof(*table), &ref);
	if (ret < 0)
		return ret;
	table = arena_ptr(&ns->arena, ref);
	memset(table, 0, slots * sizeof(*table));
	for (uint32_t i = 0; i < ids->key_slots; i++)
		if (word_live(old[i]))
			key_put_raw(table, slots, old[i]);
	arena_free(tx, ids->key_table);
	tx_set(tx, ids->key_table, ref);
	tx_set(tx, ids->key_slots, slots);
	tx_set(tx, ids->key_filled, live);
	return 0;
}

static int key_add(struct ipc_namespace *ns, struct tx *tx, struct ipc_ids *ids, int32_t key,
		   int id)
{
	uint64_t *table;
	uint32_t i;

	if (4 * (ids->key_filled + 1) > 3 * ids->key_slots) {
		int ret = key_rebuild(ns, tx, ids);

		if (ret < 0)
			return ret;
	}
	table = arena_ptr(&ns->arena, ids->key_table);
	i = key_hash(key, ids->key_slots);
	while (word_live(table[i]))
		i = (i + 1) & (ids->key_slots - 1);
	if (!table[i])
		tx_set(tx, ids->key_filled, ids->key_filled + 1);
	tx_set(tx, table[i], key_word(key, id));
	return 0;
}

static void key_remove(struct ipc_namespace *ns, struct tx *tx, struct ipc_ids *ids, int32_t key)
{
	uint64_t *slot = key_find(ns, ids, key);

	if (slot)
		tx_set(tx, *slot, KEY_GONE);
}

struct kern_ipc_perm *ipc_findkey(struct ipc_namespace *ns, int which, int32_t key)
{
	struct ipc_ids *ids = ipc_ids_of(ns, which);
	const uint64_t *slot = key_find(ns, ids, key);

	return slot ? ipc_obtain_object_idr(ns, which, word_id(*slot)) : NULL;
}

/* next_id, if set, asks for that very id; else cyclic, with seq one more at each wrap. */
static int alloc_index(struct tx *tx, struct ipc_ids *ids, struct kern_ipc_perm *perm, ref_t ref)
{
	uint32_t end;
	int index;

	if (ids->next_id >= 0) {
		index = idr_alloc(tx, &ids->ipcs_idr, ref, ids->next_id % IPCMNI, IPCMNI);
		if (index >= 0) {
			perm->seq = ids->next_id / IPCMNI;
			tx_set(tx, ids->next_id, -1);
		}
		return index;
	}
	end = ids->in_use * 3 / 2;
	if (end < MIN_CYCLE)
		end = MIN_CYCLE;
	index = idr_alloc_cyclic(tx, &ids->ipcs_idr, ref, end);
	if (index < 0)
		return index;
	if (index <= ids->last_idx)
		tx_set(tx, ids->seq, (ids->seq + 1) % IPC_SEQ_MAX);
	tx_set(tx, ids->last_idx, index);
	perm->seq = ids->seq;
	return index;
}

int ipc_addid(struct ipc_namespace *ns, struct tx *tx, int which, ref_t ref, uint32_t limit)
{
	struct ipc_ids *ids = ipc_ids_of(ns, which);
	struct kern_ipc_perm *perm = arena_ptr(&ns->arena, ref);
	int index;

	if (limit > IPCMNI)
		limit = IPCMNI;
	if (ids->in_use >= limit)
		return -ENOSPC;
	tx_set(tx, perm->deleted, 0);
	perm->pad = 0;
	/* Atomic: a semop without lock may look at them, in vain. */
	__atomic_store_n(&perm->uid, cred_euid(), __ATOMIC_RELAXED);
	__atomic_store_n(&perm->cuid, cred_euid(), __ATOMIC_RELAXED);
	__atomic_store_n(&perm->gid, cred_egid(), __ATOMIC_RELAXED);
	__atomic_store_n(&perm->cgid, cred_egid(), __ATOMIC_RELAXED);
	index = alloc_index(tx, ids, perm, ref);
	if (index < 0)
		return index;
	__atomic_store_n(&perm->id, perm->seq * IPCMNI + index, __ATOMIC_RELAXED);
	if (perm->key != IPC_PRIVATE) {
		int ret = key_add(ns, tx, ids, perm->key, perm->id);

		if (ret < 0)
			return ret;
	}
	tx_set(tx, ids->in_use, ids->in_use + 1);
	return index;
}

void ipc_set_key_private(struct ipc_namespace *ns, struct tx *tx, int which,
			 struct kern_ipc_perm *perm)
{
	if (perm->key == IPC_PRIVATE)
		return;
	key_remove(ns, tx, ipc_ids_of(ns, which), perm->key);
	tx_set(tx, perm->key, IPC_PRIVATE);
}

void ipc_hide(struct ipc_namespace *ns, struct tx *tx, int which, struct kern_ipc_perm *perm)
{
	struct ipc_ids *ids = ipc_ids_of(ns, which);

	ipc_set_key_private(ns, tx, which, perm);
	tx_set(tx, perm->deleted, 1);
	tx_set(tx, ids->in_use, ids->in_use - 1);
}

void ipc_rmid(struct ipc_namespace *ns, struct tx *tx, int which, struct kern_ipc_perm *perm)
{
	if (!perm->deleted)
		ipc_hide(ns, tx, which, perm);
	idr_remove(tx, &ipc_ids_of(ns, which)->ipcs_idr, perm->id % IPCMNI);
}

struct kern_ipc_perm *ipc_obtain_object_idr(struct ipc_namespace *ns, int which, int id)
{
	ref_t ref;

	if (id < 0)
		return NULL;
	ref = idr_find(&ns->arena, &ipc_ids_of(ns, which)->ipcs_idr, id % IPCMNI);
	if (ref) {
		struct kern_ipc_perm *perm = arena_ptr(&ns->arena, ref);

		return perm->deleted ? NULL : perm;
	}
	return NULL;
}

struct kern_ipc_perm *ipc_obtain_object_check(struct ipc_namespace *ns, int which, int id)
{
	struct kern_ipc_perm *perm = ipc_obtain_object_idr(ns, which, id);

	return perm && perm->id == id ? perm : NULL;
}

static int ipcget_public(struct ipc_namespace *ns, struct tx *tx, int which,
			 const struct ipc_ops *ops, const struct ipc_params *params)
{
	const uint64_t *slot = key_find(ns, ipc_ids_of(ns, which), params->key);
	const struct kern_ipc_perm *perm;
	int ret;

	if (!slot)
		return params->flg & IPC_CREAT ? ops->getnew(ns, tx, params) : -ENOENT;
	if (params->flg & IPC_CREAT && params->flg & IPC_EXCL)
		return -EEXIST;
	/* Whoever asks for no size and no permission is told without a look at the object. */
	if (params->size == 0 && !(params->flg & 0777))
		return word_id(*slot);
	perm = ipc_obtain_object_idr(ns, which, word_id(*slot));
	ret = ops->more_checks ? ops->more_checks(perm, params) : 0;
	if (ret == 0)
		ret = ipcperms(perm, params->flg);
	return ret < 0 ? ret : perm->id;
}

int ipcget(struct ipc_namespace *ns, int which, const struct ipc_ops *ops,
	   const struct ipc_params *params)
{
	bool private = params->key == IPC_PRIVATE;
	struct tx *tx;
	int ret;

	ret = tx_begin(&ns->arena, &tx);
	if (ret < 0)
		return ret;
	tx_lock(tx, &ipc_ids_of(ns, which)->lock);
	ret = private ? ops->getnew(ns, tx, params) : ipcget_public(ns, tx, which, ops, params);
	if (ret < 0)
		tx_abort(tx);
	else
		tx_commit(tx);
	return ret;
}

const char *ipc_ids_check(struct ipc_namespace *ns, int which)
{
	struct ipc_ids *ids = ipc_ids_of(ns, which);
	const uint64_t *table = arena_ptr(&ns->arena, ids->key_table);
	const char *wrong = idr_check(&ns->arena, &ids->ipcs_idr);
	uint32_t live = 0, keys = 0;

	if (wrong)
		return wrong;
	for (int i = -1; (i = idr_next(&ns->arena, &ids->ipcs_idr, i + 1)) >= 0;) {
		const struct kern_ipc_perm *perm =
			arena_ptr(&ns->arena, idr_find(&ns->arena, &ids->ipcs_idr, i));

		if (perm->id % IPCMNI != i || perm->id / IPCMNI != (int)perm->seq)
			return "an object's id does not tell where it is";
		live += !perm->deleted;
		if (perm->deleted || perm->key == IPC_PRIVATE)
			continue;
		keys++;
		if (ipc_findkey(ns, which, perm->key) != perm)
			return "a key leads to another object";
	}
	for (uint32_t i = 0; i < ids->key_slots; i++)
		keys -= word_live(table[i]);
	if (keys)
		return "the index of keys has more or less than the objects";
	return live == ids->in_use ? NULL : "in_use is not the number of objects";
}
