/* report.c - sets as text and as copies, for /proc/sysvipc, `vee` and the checks; see sem.h. */
#include "sem/set.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool sem_each(struct ipc_namespace *ns, int *index, struct sem_info_entry *ret_entry)
{
	const struct idr *idr = &ipc_ids_of(ns, IPC_SEM_IDS)->ipcs_idr;

	memset(ret_entry, 0, sizeof(*ret_entry));
	while ((*index = idr_next(&ns->arena, idr, *index + 1)) >= 0) {
		struct sem_array *sma = sem_block(ns, *index);
		struct tx *tx;
		int id = sma ? load_acquire(sma->sem_perm.id) : -1;

		if (sem_lock_swept(ns, id, &tx, &sma) < 0)
			continue;
		sem_fill_ds(sma, &ret_entry->ds);
		ret_entry->id = id;
		tx_commit(tx);
		return true;
	}
	return false;
}

unsigned sem_values(struct ipc_namespace *ns, int id, int *values, int *pids, unsigned max)
{
	struct sem_array *sma;
	struct tx *tx;
	unsigned n;

	if (sem_lock_swept(ns, id, &tx, &sma) < 0)
		return 0;
	n = sma->sem_nsems;
	for (unsigned i = 0; i < n && i < max; i++) {
		uint64_t word = load_acquire(sma->words[i]);

		values[i] = word_semval(word);
		pids[i] = word_sempid(word);
	}
	tx_commit(tx);
	return n;
}

unsigned sem_undoers(struct ipc_namespace *ns, int id, struct sem_undo_entry *entries, unsigned max)
{
	const struct sem_undo *un;
	struct sem_array *sma;
	struct tx *tx;
	unsigned n = 0;

	if (sem_lock_swept(ns, id, &tx, &sma) < 0)
		return 0;
	for (ref_t ref = sma->list_id; ref; ref = un->id_next) {
		const int16_t *semadj;

		un = sem_undo_at(ns, ref);
		semadj = sem_adjustments(sma, un);
		for (unsigned i = 0; semadj && i < sma->sem_nsems; i++) {
			if (!semadj[i])
				continue;
			if (n < max)
				entries[n] = (struct sem_undo_entry){proc_at(ns, un->proc)->pid, i,
								     semadj[i]};
			n++;
		}
	}
	tx_commit(tx);
	return n;
}

unsigned sem_waiters(struct ipc_namespace *ns, int id, struct sem_waiter_entry *entries,
		     unsigned max)
{
	struct sem_array *sma;
	struct tx *tx;
	unsigned n = 0;

	if (sem_lock_swept(ns, id, &tx, &sma) < 0)
		return 0;
	const ref_t lists[] = {sma->pending_alter.first, sma->pending_const.first};

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		const struct sem_queue *q;

		for (ref_t ref = lists[i]; ref; ref = q->sleeper.next, n++) {
			q = sem_queue_at(ns, ref);
			if (n < max)
				entries[n] = (struct sem_waiter_entry){
					q->sleeper.pid, q->sleeper.tid,
					sem_queue_sops(ns, q)[q->blocking], q->nsops,
					q->sleeper.since};
		}
	}
	tx_commit(tx);
	return n;
}

size_t sem_proc_text(struct ipc_namespace *ns, char *buf, size_t size)
{
	struct sem_info_entry e;
	size_t at = snprintf(buf, size,
			     "       key      semid perms      nsems   uid   gid  cuid  cgid      "
			     "otime      ctime\n");

	for (int i = -1; sem_each(ns, &i, &e);) {
		const struct semid_ds *ds = &e.ds;

		at += snprintf(
			at < size ? buf + at : NULL, at < size ? size - at : 0,
			"%10d %10d  %4o %10lu %5u %5u %5u %5u %10llu %10llu\n", ds->sem_perm.__key,
			e.id, ds->sem_perm.mode, (unsigned long)ds->sem_nsems, ds->sem_perm.uid,
			ds->sem_perm.gid, ds->sem_perm.cuid, ds->sem_perm.cgid,
			(unsigned long long)ds->sem_otime, (unsigned long long)ds->sem_ctime);
	}
	return at;
}

static bool lies_in_heap(struct ipc_namespace *ns, ref_t ref)
{
	uint64_t end = ARENA_HEAP_AT + (uint64_t)ns->arena.header->heap_top * ARENA_PAGE;

	return ref >= ARENA_HEAP_AT && ref < end;
}

static bool adjusted_by_any(struct ipc_namespace *ns, const struct sem_array *sma, unsigned num)
{
	for (ref_t ref = sma->list_id; ref; ref = sem_undo_at(ns, ref)->id_next) {
		const int16_t *semadj = sem_adjustments(sma, sem_undo_at(ns, ref));

		if (semadj && semadj[num])
			return true;
	}
	return false;
}

/* Most sleepers and sem_undo that a set can have: beyond, a list is a ring. */
#define LIST_LONGEST (ARENA_PROCS * 64u)

static const char *check_undo(struct ipc_namespace *ns, const struct sem_array *sma)
{
	unsigned n = 0, n_adjusting = 0;
	ref_t prev = 0;

	for (ref_t ref = sma->list_id; ref; n++) {
		const struct sem_undo *un = sem_undo_at(ns, ref);
		const int16_t *semadj;
		unsigned n_semadj = 0;

		if (!lies_in_heap(ns, ref) || n > LIST_LONGEST)
			return "a set's undo list is a ring, or leaves the file";
		if (un->id_prev != prev || sem_array_at(ns, un->set) != sma ||
		    un->incarnation != sma->incarnation)
			return "an undo record does not know its set";
		if (un->proc >= ns->arena.header->procs_ready ||
		    proc_at(ns, un->proc)->state == PROC_FREE)
			return "an undo record belongs to no process";
		semadj = sem_adjustments(sma, un);
		for (unsigned i = 0; semadj && i < sma->sem_nsems; i++)
			n_semadj += semadj[i] != 0;
		if (semadj && n_semadj != un->n_semadj)
			return "n_semadj is not the number of adjustments";
		n_adjusting += n_semadj != 0;
		prev = ref;
		ref = un->id_next;
	}
	return n_adjusting == sma->n_adjusting ? NULL : "n_adjusting is not the number of those";
}

static const char *check_sleeper(struct ipc_namespace *ns, const struct sem_array *sma,
				 const struct sem_queue *q)
{
	const struct sembuf *sops = sem_queue_sops(ns, q);
	const struct sem_undo *un = q->undo ? sem_undo_at(ns, q->undo) : NULL;
	unsigned blocking;

	if (!sleeper_is(&q->sleeper, SLEEPER_QUEUED) ||
	    sem_array_at(ns, q->sleeper.object) != sma ||
	    q->sleeper.incarnation != sma->incarnation)
		return "a sleeper does not know its set";
	if (q->nsops == 0 || q->nsops > q->sops_room || q->blocking >= q->nsops)
		return "a sleeper's operations are not all there";
	for (unsigned i = 0; i < q->nsops; i++) {
		if (sops[i].sem_num >= sma->sem_nsems)
			return "a sleeper waits for a semaphore that is not there";
		if (!(load_acquire(sma->words[sops[i].sem_num]) & SEM_HELD))
			return "a semaphore with a sleeper is not held back";
	}
	if (!sma->update_due &&
	    perform_atomic_semop(sma->words, un ? sem_adjustments(sma, un) : NULL, sops, q->nsops,
				 q->repeats, &blocking) != SEM_MUST_WAIT)
		return "a sleeper could go, and sleeps";
	return NULL;
}

static const char *check_list(struct ipc_namespace *ns, const struct sem_array *sma, ref_t first,
			      ref_t last, unsigned *n_complex)
{
	ref_t prev = 0;
	unsigned n = 0;

	for (ref_t ref = first; ref;) {
		const struct sem_queue *q = sem_queue_at(ns, ref);
		const char *wrong;

		if (!lies_in_heap(ns, ref) || n++ > LIST_LONGEST)
			return "a list of sleepers is a ring, or leaves the file";
		if (q->sleeper.prev != prev)
			return "a list of sleepers is not linked both ways";
		wrong = check_sleeper(ns, sma, q);
		if (wrong)
			return wrong;
		*n_complex += q->nsops > 1;
		prev = ref;
		ref = q->sleeper.next;
	}
	return prev == last ? NULL : "a list of sleepers does not know its last";
}

const char *sem_array_check(struct ipc_namespace *ns, const struct sem_array *sma)
{
	unsigned n_complex = 0;
	const char *wrong = check_undo(ns, sma);

	if (!wrong)
		wrong = check_list(ns, sma, sma->pending_alter.first, sma->pending_alter.last,
				   &n_complex);
	if (!wrong)
		wrong = check_list(ns, sma, sma->pending_const.first, sma->pending_const.last,
				   &n_complex);
	if (!wrong && n_complex != sma->n_complex)
		wrong = "n_complex is not the number of sleepers with several operations";
	for (unsigned i = 0; !wrong && i < sma->sem_nsems; i++)
		if (!(load_acquire(sma->words[i]) & SEM_HELD) && adjusted_by_any(ns, sma, i))
			wrong = "a semaphore with an adjustment is not held back";
	return wrong;
}

/* Free blocks: no set, all words held back. The caller holds the lock of the sem ids. */
static const char *check_free(struct ipc_namespace *ns)
{
	for (unsigned class = 0; class < SEM_BLOCK_CLASSES; class ++) {
		uint32_t room = ((SEM_BLOCK_MIN << class) - sizeof(struct sem_array)) / 8, n = 0;

		for (ref_t ref = ns->record->sem_blocks[class]; ref;) {
			const struct sem_array *sma = sem_array_at(ns, ref);

			if (!lies_in_heap(ns, ref) || n++ > ARENA_PAGES * 16)
				return "a list of free sets is a ring, or leaves the file";
			if (!sma->sem_perm.deleted || sma->size_class != class ||
			    sma->pending_alter.first || sma->pending_const.first || sma->list_id)
				return "a free set is in use";
			for (uint32_t i = 0; i < room; i++)
				if (!(word_get(&sma->words[i]) & SEM_HELD))
					return "a semaphore of no set is not held back";
			ref = sma->next_free;
		}
	}
	return NULL;
}

static const char *check_totals(struct ipc_namespace *ns)
{
	const struct idr *idr = &ipc_ids_of(ns, IPC_SEM_IDS)->ipcs_idr;
	uint64_t total = 0;

	for (int i = -1; (i = idr_next(&ns->arena, idr, i + 1)) >= 0;) {
		const struct sem_array *sma = sem_block(ns, i);

		if (sma->sem_perm.deleted || sma->size_class >= SEM_BLOCK_CLASSES ||
		    sma->sem_nsems == 0 ||
		    sizeof(*sma) + 8ull * sma->sem_nsems > SEM_BLOCK_MIN << sma->size_class)
			return "a set is none, or larger than its memory";
		total += sma->sem_nsems;
	}
	return total == ns->record->used_sems ? NULL : "used_sems is not the sum of the sets";
}

const char *sem_check(struct ipc_namespace *ns)
{
	const struct idr *idr = &ipc_ids_of(ns, IPC_SEM_IDS)->ipcs_idr;
	const char *wrong;
	struct tx *tx;

	if (tx_begin(&ns->arena, &tx) < 0)
		return "no journal can be claimed";
	tx_lock(tx, &ipc_ids_of(ns, IPC_SEM_IDS)->lock);
	wrong = check_totals(ns);
	if (!wrong)
		wrong = check_free(ns);
	tx_commit(tx);
	for (int i = -1; !wrong && (i = idr_next(&ns->arena, idr, i + 1)) >= 0;) {
		struct sem_array *sma = sem_block(ns, i);

		if (!sma || tx_begin(&ns->arena, &tx) < 0)
			continue;
		tx_lock(tx, &sma->lock);
		if (!sma->sem_perm.deleted)
			wrong = sem_array_check(ns, sma);
		tx_commit(tx);
	}
	return wrong;
}
