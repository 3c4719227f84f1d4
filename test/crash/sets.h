/*
 * sets.h - for tests of semaphores in which processes die: the sets as text.
 *
 * The text is made without a sweep, and under each set's lock: whoever asks for it recovers.
 */
#pragma once

#include "crash/stage.h"
#include "sem/set.h"

static inline void add_waiters(struct ipc_namespace *ns, struct text *text,
			       const struct sem_array *sma)
{
	const ref_t lists[] = {sma->pending_alter.first, sma->pending_const.first};

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		for (ref_t ref = lists[i]; ref; ref = sleeper_at(ns, ref)->next) {
			const struct sem_queue *q = sem_queue_at(ns, ref);
			const struct sembuf *sop = &sem_queue_sops(ns, q)[q->blocking];

			add(text, " %s(%u,%d of %u)", role_of(q->sleeper.pid), sop->sem_num,
			    sop->sem_op, q->nsops);
		}
	}
}

static inline void add_undo(struct ipc_namespace *ns, struct text *text,
			    const struct sem_array *sma)
{
	for (ref_t ref = sma->list_id; ref; ref = sem_undo_at(ns, ref)->id_next) {
		const struct sem_undo *un = sem_undo_at(ns, ref);
		const int16_t *semadj = sem_adjustments(sma, un);
		int sum = 0, n = 0;

		for (unsigned i = 0; semadj && i < sma->sem_nsems; i++) {
			sum += semadj[i] * (int)(i + 1);
			n += semadj[i] != 0;
		}
		if (n)
			add(text, " %s owes %d,%d", role_of(proc_at(ns, un->proc)->pid), n, sum);
	}
}

/* Those in a row that are alike stand once. */
static inline void add_values(struct text *text, const struct sem_array *sma)
{
	unsigned alike = 1;

	for (unsigned i = 0; i < sma->sem_nsems; i += alike) {
		uint64_t word = load_acquire(sma->words[i]);

		for (alike = 1; i + alike < sma->sem_nsems; alike++) {
			uint64_t other = load_acquire(sma->words[i + alike]);

			if (word_semval(other) != word_semval(word) ||
			    word_sempid(other) != word_sempid(word))
				break;
		}
		add(text, " %d:%s", word_semval(word), role_of(word_sempid(word)));
		if (alike > 1)
			add(text, "*%u", alike);
	}
}

/* All sets, as they are; a dead owner's half-done work is taken back on the way. */
static inline void describe_sets(struct ipc_namespace *ns, char *buf, size_t size)
{
	struct ipc_ids *ids = ipc_ids_of(ns, IPC_SEM_IDS);
	struct text text = {buf, size, 0};
	struct tx *tx = begin_look(ns, ids);

	if (!tx)
		return;
	add(&text, "in use %u, semaphores %u, seq %u\n", ids->in_use, ns->record->used_sems,
	    ids->seq);
	tx_commit(tx);
	for (int i = -1; (i = idr_next(&ns->arena, &ids->ipcs_idr, i + 1)) >= 0;) {
		struct sem_array *sma = sem_block(ns, i);

		/* As any call does first: what was left due. */
		if (sma && sem_lock(ns, sma->sem_perm.id, &tx, &sma) == 0)
			tx_commit(tx);
		if (!sma || tx_begin(&ns->arena, &tx) < 0)
			continue;
		tx_lock(tx, &ids->lock);
		tx_lock(tx, &sma->lock);
		if (!sma->sem_perm.deleted) {
			add(&text, "%d key %x mode %o otime %s ctime %s:", sma->sem_perm.id,
			    sma->sem_perm.key, sma->sem_perm.mode, age(sem_otime(sma)),
			    age(sma->sem_ctime));
			add_values(&text, sma);
			add_undo(ns, &text, sma);
			add_waiters(ns, &text, sma);
			add(&text, "\n");
		}
		tx_commit(tx);
	}
}

/* How many sleep, in all sets; the dead count too. */
static inline unsigned count_on_sets(struct ipc_namespace *ns)
{
	struct ipc_ids *ids = ipc_ids_of(ns, IPC_SEM_IDS);
	unsigned n = 0;
	struct tx *tx;

	for (int i = -1; (i = idr_next(&ns->arena, &ids->ipcs_idr, i + 1)) >= 0;) {
		struct sem_array *sma = sem_block(ns, i);

		if (!sma || tx_begin(&ns->arena, &tx) < 0)
			continue;
		tx_lock(tx, &sma->lock);
		if (!sma->sem_perm.deleted)
			n += count_sleepers(ns, sma->pending_alter.first) +
			     count_sleepers(ns, sma->pending_const.first);
		tx_commit(tx);
	}
	return n;
}

static inline const char *check_sets(struct ipc_namespace *ns)
{
	const char *wrong = namespace_check(ns);

	if (!wrong)
		wrong = sem_check(ns);
	return wrong ? wrong : shm_check(ns);
}
