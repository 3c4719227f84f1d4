/*
 * op.c - semop and semtimedop: at once, under the lock, or asleep; see sem.h.
 *
 * Asleep means: the sem_queue is in the set's list, all signals that come are kept (base/critical.h), so that no handler
 * runs, or jumps, before it is out again. A thread spins a while on its futex word if that has paid lately, then
 * sleeps on it, and on doorbells: of those who owe this set something, and of the sleeper in front, who may
 * be the next to owe. So of all sleepers at least the first hears the death of who holds it up, and serves all.
 */
#include "base/os.h"
#include "sem/fast.h"
#include "sem/set.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* --- asleep --- */

/* Whose death is to be heard: see the head. Called with the set's lock. */
static void choose_doorbells(struct sleep *sleep)
{
	struct ipc_namespace *ns = sleep->ns;
	const struct sem_array *sma = sleep->object;

	sleep->n_listen = 0;
	sleep->look_ns = sma->list_id && !sleep->sleeper->prev ? SLEEP_POLL_NS : SLEEP_LOOK_NS;
	if (sleep->sleeper->prev)
		sleep_listen_to(sleep, sleeper_at(ns, sleep->sleeper->prev)->proc);
	if (sma->n_adjusting == 1 && sma->adjusting) {
		sleep_listen_to(sleep, sem_undo_at(ns, sma->adjusting)->proc);
		return;
	}
	for (ref_t ref = sma->n_adjusting ? sma->list_id : 0; ref;) {
		const struct sem_undo *un = sem_undo_at(ns, ref);

		if (sem_adjustments(sma, un) && un->n_semadj)
			sleep_listen_to(sleep, un->proc);
		ref = un->id_next;
	}
}

static void give_up(struct sleep *sleep, struct tx *tx, int error)
{
	struct sem_queue *q = container_of(sleep->sleeper, struct sem_queue, sleeper);

	unlink_queue(sleep->ns, tx, sleep->object, q, error);
	sem_finish(sleep->ns, tx, sleep->object, sem_queue_sops(sleep->ns, q), q->nsops, NULL);
}

/* The dead have been swept: is there anybody else's? Returns false if some seem to be dead still. */
static bool look_around(struct sleep *sleep)
{
	struct sem_array *sma;
	struct tx *tx;
	bool live;

	if (sem_lock(sleep->ns, sleep->id, &tx, &sma) < 0)
		return true;
	live = sem_all_live(sleep->ns, sma);
	if (sleep_is_queued(sleep))
		choose_doorbells(sleep);
	tx_commit(tx);
	return live;
}

static const struct sleep_ops sleep_ops = {give_up, look_around, NULL};

/* --- under the lock --- */

struct call {
	int id;
	const struct sembuf *sops;
	unsigned nsops;
	struct sem_shape shape;
	uint64_t deadline; /* CLOCK_MONOTONIC, ns; 0: never sleeps */
	bool swept;
	ref_t q;	 /* a record to sleep on, or 0 */
	int cancel_type; /* of the thread, before it got q: since then it is deferred */
	struct sleep *sleep;
};

static void fill_queue(struct ipc_namespace *ns, struct call *call, const struct sem_array *sma,
		       const struct sem_undo *un, unsigned blocking)
{
	struct sem_queue *q = sem_queue_at(ns, call->q);

	sleeper_fill(ns, &q->sleeper, arena_ref(&ns->arena, sma), sma->incarnation);
	q->nsops = call->nsops;
	q->blocking = blocking;
	q->alter = call->shape.alter;
	q->repeats = call->shape.repeats;
	q->undo = call->shape.undo ? arena_ref(&ns->arena, un) : 0;
	memcpy(sem_queue_sops(ns, q), call->sops, call->nsops * sizeof(*call->sops));
}

/* Commits with the sleeper in the list. */
static void enqueue(struct ipc_namespace *ns, struct call *call, struct tx *tx,
		    struct sem_array *sma, const struct sem_undo *un, unsigned blocking)
{
	struct sem_queue *q = sem_queue_at(ns, call->q);

	fill_queue(ns, call, sma, un, blocking);
	sem_queue_append(ns, tx, sma, q);
	*call->sleep = (struct sleep){.ns = ns,
				      .ops = &sleep_ops,
				      .sleeper = &q->sleeper,
				      .lock = &sma->lock,
				      .object_incarnation = &sma->incarnation,
				      .object = sma,
				      .id = call->id,
				      .deadline = call->deadline,
				      .cancel_type = call->cancel_type};
	choose_doorbells(call->sleep);
	sleep_prepare(call->sleep);
	tx_commit(tx);
}

/* Outcomes of a try, besides 0 and errors. */
enum {
	TRY_ASLEEP = 1, /* it is in the list */
	TRY_AGAIN,	/* something had to be made first */
};

static bool take_kept_queue(struct ipc_namespace *ns, struct call *call)
{
	call->q = sem_queue_take_kept(ns, call->nsops, &call->cancel_type);
	return call->q;
}

/* With the lock, and the set found: does it, or queues. Ends the transaction. */
static int try_locked(struct ipc_namespace *ns, struct call *call, struct tx *tx,
		      struct sem_array *sma, struct sem_undo *un)
{
	struct wake_q wake_q = {0, 0};
	unsigned blocking;
	int ret;

	for (unsigned i = 0; i < call->nsops; i++)
		word_hold(&sma->words[call->sops[i].sem_num]);
	ret = perform_atomic_semop(sma->words, un ? sem_adjustments(sma, un) : NULL, call->sops,
				   call->nsops, call->shape.repeats, &blocking);
	if (ret == SEM_MUST_WAIT && call->deadline == 0)
		ret = -EAGAIN;
	if (ret == SEM_MUST_WAIT && (call->q || take_kept_queue(ns, call))) {
		enqueue(ns, call, tx, sma, un, blocking);
		return TRY_ASLEEP;
	}
	if (ret == 0) {
		sem_apply(ns, tx, sma, un, call->sops, call->nsops, *ns->pid);
		set_semotime(tx, sma);
		if (call->shape.alter && sem_has_sleepers(sma))
			ret = do_smart_update(ns, tx, sma, call->sops, call->nsops,
					      call->swept ? UPDATE_SWEPT : 0, &wake_q);
	}
	if (ret == -ESRCH) {
		tx_abort(tx);
		proc_sweep(ns);
		call->swept = true;
		return TRY_AGAIN;
	}
	/*
	 * Words that have needed the lock are left held back: they will need it again. One plain operation
	 * that meets such a word without need lets it go.
	 */
	if (wake_q.first || (call->nsops == 1 && !un))
		sem_finish(ns, tx, sma, call->sops, call->nsops == 1 && !un, &wake_q);
	else
		tx_commit(tx);
	if (ret != SEM_MUST_WAIT)
		return ret;
	ret = sem_queue_take(ns, call->nsops, &call->q, &call->cancel_type);
	return ret < 0 ? ret : TRY_AGAIN;
}

static int check_locked(struct ipc_namespace *ns, struct call *call, struct tx *tx,
			struct sem_array *sma)
{
	if (call->shape.highest >= sma->sem_nsems)
		return -EFBIG;
	if (!ipc_granted_quickly(&sma->sem_perm, call->shape.alter ? 0222 : 0444) &&
	    ipcperms(&sma->sem_perm, call->shape.alter ? 0222 : 0444) < 0)
		return -EACCES;
	if (!call->swept && sma->n_adjusting && unlikely(sem_adjusters_live(ns, sma) < 0))
		return -ESRCH;
	if (!call->swept && unlikely(sem_has_served(sma)) && sem_served_live(ns, sma) < 0)
		return -ESRCH;
	/* A word and four counts an operation. */
	return tx_reserve(tx, 6 * call->nsops + 32);
}

static int try_once(struct ipc_namespace *ns, struct call *call)
{
	struct sem_undo *un = NULL;
	struct sem_array *sma;
	struct tx *tx;
	int ret = sem_lock(ns, call->id, &tx, &sma);

	if (ret < 0)
		return ret;
	if (call->shape.undo) {
		un = lookup_undo(ns, sma);
		if (!un) {
			tx_abort(tx);
			ret = find_alloc_undo(ns, call->id);
			return ret < 0 ? ret : TRY_AGAIN;
		}
	}
	ret = check_locked(ns, call, tx, sma);
	if (ret == 0)
		return try_locked(ns, call, tx, sma, un);
	tx_abort(tx);
	if (ret != -ESRCH)
		return ret;
	proc_sweep(ns);
	call->swept = true;
	return TRY_AGAIN;
}

static int semop_locked(struct ipc_namespace *ns, struct call *call)
{
	struct sleep sleep;
	int ret;

	call->sleep = &sleep;
	critical_enter();
	do
		ret = try_once(ns, call);
	while (ret == TRY_AGAIN);
	if (ret == TRY_ASLEEP) {
		ret = sleep_until_told(&sleep);
		if (!sleep_take_note(&sleep))
			ret = -EINTR;
	}
	if (call->q)
		sleeper_give(ns, call->q, call->cancel_type);
	critical_leave();
	return ret;
}

/*
 * One by one: what memcpy() stores in wide pieces the processor can't hand on to the loads of narrow fields that
 * follow at once.
 */
static void copy_sops(struct sembuf *to, const struct sembuf *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		__builtin_memcpy(&to[i], (const char *)from + i * sizeof(*from), sizeof(*from));
		compiler_barrier();
	}
}

/* The program may change its array meanwhile: works on a copy. */
static int semop_copied(struct ipc_namespace *ns, struct call *call, const struct sembuf *sops)
{
	struct sembuf few[16];
	size_t size = call->nsops * sizeof(*sops);
	intptr_t at = (intptr_t)few;
	int ret;

	if (call->nsops > ARRAY_SIZE(few))
		at = os_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			     0);
	if (at < 0 && at > -4096)
		return -ENOMEM;
	copy_sops((struct sembuf *)at, sops, call->nsops);
	call->sops = (const struct sembuf *)at;
	call->shape = semop_shape(call->sops, call->nsops);
	ret = semop_locked(ns, call);
	if (at != (intptr_t)few)
		os_munmap((void *)at, size);
	return ret;
}

static bool array_readable(const struct sembuf *sops, size_t size)
{
	const char *at = (const char *)sops;

	for (; size > 4096; at += 4096, size -= 4096)
		if (!os_readable(at, 4096))
			return false;
	return os_readable(at, size);
}

int sem_timedop(struct ipc_namespace *ns, int id, const struct sembuf *sops, unsigned nsops,
		const struct timespec *timeout)
{
	struct call call = {.id = id, .nsops = nsops, .deadline = SLEEP_NO_DEADLINE};
	int ret;

	if (timeout && !os_readable(timeout, sizeof(*timeout)))
		return -EFAULT;
	if ((int64_t)nsops > (int)ns->record->sem_ctls[2])
		return -E2BIG;
	if (nsops < 1)
		return -EINVAL;
	if (!array_readable(sops, nsops * sizeof(*sops)))
		return -EFAULT;
	if (id < 0)
		return -EINVAL;
	if (timeout) {
		if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)
			return -EINVAL;
		call.deadline = sleep_deadline(timeout);
	}
	/* Without a time-out the caller has tried it before. */
	if (timeout && nsops == 1 && semop_fast(ns, id, sops, &ret))
		return ret;
	return semop_copied(ns, &call, sops);
}
