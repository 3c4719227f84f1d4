/*
 * undo.c - SEM_UNDO: what a process owes to the sets, and its end; see sem.h.
 *
 * A sem_undo is in its process's list_proc, the newest first, and in its set's list_id. Nobody walks a set's list to
 * clear it: SETALL starts a new undo_epoch, IPC_RMID a new incarnation, and what is of an older one counts for nothing.
 */
#include "base/os.h"
#include "sem/set.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

/*
 * Of this process: which sem_undo it has for a set. An entry is right if block and incarnation are, for as long as
 * the process has its slot: both are looked at under the set's lock, without which no sem_undo of it goes.
 */
#define CACHED 64
static struct {
	_Atomic uint64_t set; /* incarnation in the high half, ref_t of the block */
	_Atomic ref_t un;
} cache[CACHED];

static uint64_t cache_key(struct ipc_namespace *ns, const struct sem_array *sma)
{
	return (uint64_t)sma->incarnation << 32 | arena_ref(&ns->arena, sma);
}

static unsigned cache_slot(uint64_t key)
{
	return key / SEM_BLOCK_MIN % CACHED;
}

static void cache_forget(void)
{
	for (unsigned i = 0; i < CACHED; i++)
		cache[i].set = 0;
}

static bool is_stale(struct ipc_namespace *ns, const struct sem_undo *un)
{
	return load_acquire(sem_array_at(ns, un->set)->incarnation) != un->incarnation;
}

void sem_adjust(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma, struct sem_undo *un,
		unsigned num, int by)
{
	int16_t adjustment;

	if (un->undo_epoch != sma->undo_epoch) {
		/* While the epoch is old none of it counts, so it needs no journal. */
		memset(un->semadj, 0, sma->sem_nsems * sizeof(un->semadj[0]));
		un->n_semadj = 0;
		tx_set(tx, un->undo_epoch, sma->undo_epoch);
	}
	adjustment = un->semadj[num] + by;
	if (un->semadj[num] == 0 && adjustment != 0) {
		tx_set(tx, un->n_semadj, un->n_semadj + 1);
		if (un->n_semadj == 1) {
			ref_t only = sma->n_adjusting == 0 ? arena_ref(&ns->arena, un) : 0;

			tx_set(tx, sma->n_adjusting, sma->n_adjusting + 1);
			if (sma->adjusting != only)
				tx_set(tx, sma->adjusting, only);
		}
	} else if (un->semadj[num] != 0 && adjustment == 0) {
		tx_set(tx, un->n_semadj, un->n_semadj - 1);
		if (un->n_semadj == 0) {
			tx_set(tx, sma->n_adjusting, sma->n_adjusting - 1);
			if (sma->n_adjusting > 0 && sma->adjusting)
				tx_set(tx, sma->adjusting, 0);
		}
	}
	tx_set(tx, un->semadj[num], adjustment);
}

int sem_forget_adjustments(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
			   unsigned num)
{
	int ret = tx_reserve(tx, 6 * sma->n_adjusting);

	if (ret < 0)
		return ret;
	for (ref_t ref = sma->list_id; ref && sma->n_adjusting;) {
		struct sem_undo *un = sem_undo_at(ns, ref);
		const int16_t *semadj = sem_adjustments(sma, un);

		if (semadj && semadj[num])
			sem_adjust(ns, tx, sma, un, num, -semadj[num]);
		ref = un->id_next;
	}
	return 0;
}

struct sem_undo *lookup_undo(struct ipc_namespace *ns, struct sem_array *sma)
{
	uint64_t key = cache_key(ns, sma);
	unsigned i = cache_slot(key);
	const struct proc *me = proc_mine(ns);

	/* Under the set's lock: a process that leaves takes its slot away before it frees these. */
	if (!me)
		return NULL;
	if (likely(cache[i].set == key)) {
		ref_t ref = cache[i].un;

		if (cache[i].set == key)
			return sem_undo_at(ns, ref);
	}
	for (ref_t ref = sma->list_id; ref; ref = sem_undo_at(ns, ref)->id_next) {
		if (sem_undo_at(ns, ref)->proc != proc_slot(ns, me))
			continue;
		cache[i].set = 0;
		cache[i].un = ref;
		cache[i].set = key;
		return sem_undo_at(ns, ref);
	}
	return NULL;
}

static void list_proc_remove(struct ipc_namespace *ns, struct tx *tx, struct proc *proc,
			     struct sem_undo *un)
{
	if (un->proc_prev)
		tx_set(tx, sem_undo_at(ns, un->proc_prev)->proc_next, un->proc_next);
	else
		tx_set(tx, proc->sem_undo, un->proc_next);
	if (un->proc_next)
		tx_set(tx, sem_undo_at(ns, un->proc_next)->proc_prev, un->proc_prev);
}

static void list_id_remove(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
			   struct sem_undo *un)
{
	if (un->id_prev)
		tx_set(tx, sem_undo_at(ns, un->id_prev)->id_next, un->id_next);
	else
		tx_set(tx, sma->list_id, un->id_next);
	if (un->id_next)
		tx_set(tx, sem_undo_at(ns, un->id_next)->id_prev, un->id_prev);
	if (sem_adjustments(sma, un) && un->n_semadj) {
		tx_set(tx, sma->n_adjusting, sma->n_adjusting - 1);
		tx_set(tx, sma->adjusting, 0);
	}
}

/* Those of removed sets, a few at a time: the list does not grow with the sets that a process has seen. */
static void drop_stale(struct ipc_namespace *ns, struct tx *tx, struct proc *proc)
{
	unsigned left = 4;
	ref_t next;

	for (ref_t ref = proc->sem_undo; ref && left > 0; ref = next) {
		struct sem_undo *un = sem_undo_at(ns, ref);

		next = un->proc_next;
		if (!is_stale(ns, un))
			continue;
		list_proc_remove(ns, tx, proc, un);
		arena_free(tx, ref);
		left--;
	}
}

static void undo_link(struct ipc_namespace *ns, struct tx *tx, struct proc *proc,
		      struct sem_array *sma, ref_t ref)
{
	struct sem_undo *un = sem_undo_at(ns, ref);

	memset(un, 0, sizeof(*un) + sma->sem_nsems * sizeof(un->semadj[0]));
	un->set = arena_ref(&ns->arena, sma);
	un->incarnation = sma->incarnation;
	un->proc = proc_slot(ns, proc);
	un->undo_epoch = sma->undo_epoch;
	un->proc_next = proc->sem_undo;
	un->id_next = sma->list_id;
	if (un->proc_next)
		tx_set(tx, sem_undo_at(ns, un->proc_next)->proc_prev, ref);
	if (un->id_next)
		tx_set(tx, sem_undo_at(ns, un->id_next)->id_prev, ref);
	tx_set(tx, proc->sem_undo, ref);
	tx_set(tx, sma->list_id, ref);
}

int find_alloc_undo(struct ipc_namespace *ns, int id)
{
	struct kern_ipc_perm *perm;
	struct sem_array *sma;
	struct proc *proc;
	struct tx *tx;
	ref_t ref;
	int ret = proc_enter(ns, &proc);

	if (ret == 0)
		ret = tx_begin(&ns->arena, &tx);
	if (ret < 0)
		return ret;
	tx_lock(tx, &ipc_ids_of(ns, IPC_SEM_IDS)->lock);
	perm = ipc_obtain_object_check(ns, IPC_SEM_IDS, id);
	if (!perm || proc_mine(ns) != proc) {
		tx_commit(tx);
		return -EINVAL;
	}
	sma = container_of(perm, struct sem_array, sem_perm);
	tx_lock(tx, &sma->lock);
	if (!lookup_undo(ns, sma)) {
		ret = arena_alloc(tx, sizeof(struct sem_undo) + 2ull * sma->sem_nsems, &ref);
		if (ret == 0) {
			drop_stale(ns, tx, proc);
			undo_link(ns, tx, proc, sma, ref);
		}
	}
	if (ret < 0)
		tx_abort(tx);
	else
		tx_commit(tx);
	return ret;
}

/* Applies what the process owes to the set. */
static void pay(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
		const struct sem_undo *un, uint32_t pid, struct wake_q *wake_q)
{
	const int16_t *semadj = sem_adjustments(sma, un);

	for (unsigned i = 0; semadj && un->n_semadj && i < sma->sem_nsems; i++) {
		uint64_t *word = &sma->words[i], was;

		if (!semadj[i])
			continue;
		word_hold(word);
		was = word_get(word);
		tx_set(tx, *word,
		       word_with(was, semval_adjusted(word_semval(was), semadj[i]), pid));
	}
	do_smart_update(ns, tx, sma, NULL, 0, UPDATE_OTIME | UPDATE_SWEPT, wake_q);
}

/* The first sem_undo of a process that is no more, or this process's. Returns false if it has none. */
static bool drop_undo(struct ipc_namespace *ns, struct proc *proc)
{
	struct sem_array *sma = NULL;
	struct wake_q wake_q = {0, 0};
	struct sem_undo *un;
	struct tx *tx;
	ref_t ref;
	int ret = 0;

	if (tx_begin(&ns->arena, &tx) < 0)
		return false;
	tx_lock(tx, &ipc_ids_of(ns, IPC_SEM_IDS)->lock);
	ref = load_acquire(proc->state) == PROC_DYING || proc == proc_mine(ns) ? proc->sem_undo : 0;
	if (!ref) {
		tx_commit(tx);
		return false;
	}
	un = sem_undo_at(ns, ref);
	if (!is_stale(ns, un)) {
		sma = sem_array_at(ns, un->set);
		tx_lock(tx, &sma->lock);
		ret = tx_reserve(tx, un->n_semadj + 32);
	}
	if (ret < 0) {
		tx_abort(tx);
		return false;
	}
	list_proc_remove(ns, tx, proc, un);
	if (sma) {
		list_id_remove(ns, tx, sma, un);
		pay(ns, tx, sma, un, proc->pid, &wake_q);
	}
	arena_free(tx, ref);
	if (sma)
		sem_finish(ns, tx, sma, NULL, 0, &wake_q);
	else
		tx_commit(tx);
	return true;
}

void sem_unshare(struct ipc_namespace *ns)
{
	struct proc *me = proc_mine(ns);

	cache_forget();
	proc_sweep(ns);
	while (me && drop_undo(ns, me))
		;
}

static void exit_sem(struct ipc_namespace *ns, struct proc *proc)
{
	/* First the sleepers: what is paid would else be given to them. */
	if (sleeper_drop_all(ns, proc))
		while (drop_undo(ns, proc))
			;
}

void sem_init(void)
{
	sleeper_cancel[IPC_SEM_IDS] = sem_queue_cancel;
	proc_exit_hooks[IPC_SEM_IDS] = exit_sem;
}

void sem_fork_child(void)
{
	cache_forget();
}
