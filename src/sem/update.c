/*
 * update.c - from a change to those who waited for it; see sem.h.
 *
 * Both pending lists are in order of arrival. The kernel keeps simple operations (one semaphore) apart from
 * complex ones, in lists of each semaphore; the order that a program can see is the same: simple ones on different semaphores
 * don't touch each other, and once there is a complex one, all stand in one line. Of those that wait for
 * zero, the simple ones are served before the complex ones.
 */
#include "base/os.h"
#include "sem/set.h"

#include <errno.h>

int sem_adjusters_live(struct ipc_namespace *ns, const struct sem_array *sma)
{
	if (sma->n_adjusting == 0)
		return 0;
	if (sma->n_adjusting == 1 && sma->adjusting)
		return sleeper_proc_lives(ns, sem_undo_at(ns, sma->adjusting)->proc) ? 0 : -ESRCH;
	for (ref_t ref = sma->list_id; ref;) {
		const struct sem_undo *un = sem_undo_at(ns, ref);

		if (sem_adjustments(sma, un) && un->n_semadj && !sleeper_proc_lives(ns, un->proc))
			return -ESRCH;
		ref = un->id_next;
	}
	return 0;
}

void sem_apply(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma, struct sem_undo *un,
	       const struct sembuf *sops, unsigned nsops, uint32_t pid)
{
	for (unsigned i = 0; i < nsops; i++) {
		uint64_t *word = &sma->words[sops[i].sem_num], was = word_get(word);

		tx_set(tx, *word, word_with(was, word_semval(was) + sops[i].sem_op, pid));
		if (sops[i].sem_flg & SEM_UNDO && sops[i].sem_op)
			sem_adjust(ns, tx, sma, un, sops[i].sem_num, -sops[i].sem_op);
	}
}

/* What all operations of q together add to the semaphore of the i-th; 0 too if an earlier one names it. */
static int total_of(const struct sembuf *sops, unsigned nsops, unsigned i)
{
	int total = 0;

	for (unsigned j = 0; j < nsops; j++) {
		if (sops[j].sem_num != sops[i].sem_num)
			continue;
		if (j < i)
			return 0;
		total += sops[j].sem_op;
	}
	return total;
}

/* All of it or nothing: others may have taken what it gave, or a value may have been set since. */
static bool can_take_back(struct ipc_namespace *ns, const struct sem_array *sma,
			  const struct sem_queue *q)
{
	const struct sembuf *sops = sem_queue_sops(ns, q);

	if (q->set_epoch != sma->set_epoch)
		return false;
	for (unsigned i = 0; i < q->nsops; i++) {
		int value = word_semval(word_get(&sma->words[sops[i].sem_num])) -
			    total_of(sops, q->nsops, i);

		if (value != semval_adjusted(value, 0))
			return false;
	}
	return true;
}

void sem_take_back(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
		   struct sem_queue *q)
{
	const struct sembuf *sops = sem_queue_sops(ns, q);
	const uint32_t *before = sem_queue_sempids(ns, q);

	if (!can_take_back(ns, sma, q))
		return;
	for (unsigned i = 0; i < q->nsops; i++) {
		uint64_t *word = &sma->words[sops[i].sem_num], was = word_get(word);
		uint32_t pid = word_sempid(was);

		if (pid == ((uint32_t)q->sleeper.pid & SEM_PID_MASK))
			pid = before[i];
		tx_set(tx, *word,
		       word_with(was, word_semval(was) - total_of(sops, q->nsops, i), pid));
		if (sops[i].sem_flg & SEM_UNDO && sops[i].sem_op)
			sem_adjust(ns, tx, sma, sem_undo_at(ns, q->undo), sops[i].sem_num,
				   sops[i].sem_op);
	}
}

static struct sleeper_list *list_of(struct sem_array *sma, const struct sem_queue *q)
{
	return q->alter ? &sma->pending_alter : &sma->pending_const;
}

void sem_queue_append(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
		      struct sem_queue *q)
{
	sleeper_append(ns, tx, list_of(sma, q), &q->sleeper);
	if (q->nsops > 1)
		tx_set(tx, sma->n_complex, sma->n_complex + 1);
}

void unlink_queue(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
		  struct sem_queue *q, int status)
{
	sleeper_unlink(ns, tx, list_of(sma, q), &q->sleeper, status);
	if (q->nsops > 1)
		tx_set(tx, sma->n_complex, sma->n_complex - 1);
}

void sem_tell_removed(struct ipc_namespace *ns, const struct sem_array *sma, struct wake_q *wake_q)
{
	const ref_t lists[] = {sma->pending_const.first, sma->pending_alter.first};

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++)
		for (ref_t ref = lists[i]; ref; ref = sleeper_at(ns, ref)->next)
			wake_q_add(ns, wake_q, sleeper_at(ns, ref));
}

/* --- those who have been served --- */

/* Is it one for whom this set did something, of which it has not taken note? */
static bool is_unnoted(struct ipc_namespace *ns, const struct sem_array *sma, ref_t ref)
{
	const struct sem_queue *q = sem_queue_at(ns, ref);

	return sleeper_is(&q->sleeper, SLEEPER_DONE) &&
	       sem_array_at(ns, load_acquire(q->sleeper.object)) == sma &&
	       load_acquire(q->sleeper.incarnation) == sma->incarnation;
}

/* Place i of all in `served` and `served_more`, or NULL. */
static ref_t *served_place(struct ipc_namespace *ns, struct sem_array *sma, unsigned i)
{
	struct sem_served *more = arena_ptr(&ns->arena, sma->served_more);

	if (i < ARRAY_SIZE(sma->served))
		return &sma->served[i];
	for (i -= ARRAY_SIZE(sma->served); more && i >= SEM_SERVED; i -= SEM_SERVED)
		more = arena_ptr(&ns->arena, more->next);
	return more ? &more->q[i] : NULL;
}

/* The next that is, from place *at on; *at is behind it then. 0: there is none. */
static ref_t next_unnoted(struct ipc_namespace *ns, struct sem_array *sma, unsigned *at)
{
	ref_t *place;

	while ((place = served_place(ns, sma, (*at)++))) {
		if (*place && is_unnoted(ns, sma, *place))
			return *place;
		/* Whoever has taken note comes back only by being served again: no journal. */
		if (*place)
			*place = 0;
	}
	return 0;
}

int sem_served_live(struct ipc_namespace *ns, struct sem_array *sma)
{
	unsigned at = 0;
	ref_t ref;

	while ((ref = next_unnoted(ns, sma, &at)))
		if (!sleeper_proc_lives(ns, load_acquire(sleeper_at(ns, ref)->proc)))
			return -ESRCH;
	return 0;
}

static int served_add(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma, ref_t q)
{
	struct sem_served *more;
	ref_t *place, ref;
	int ret;

	for (unsigned i = 0; (place = served_place(ns, sma, i)); i++) {
		if (*place && is_unnoted(ns, sma, *place))
			continue;
		tx_set(tx, *place, q);
		return 0;
	}
	ret = arena_alloc(tx, sizeof(*more), &ref);
	if (ret < 0)
		return ret;
	more = arena_ptr(&ns->arena, ref);
	*more = (struct sem_served){.next = sma->served_more, .q = {q}};
	tx_set(tx, sma->served_more, ref);
	return 0;
}

/* The journal room that serving a sleeper takes: per operation, and besides. */
#define SERVE_ENTRIES(nsops) (6 * (nsops) + 48)

/* Returns true if the sleeper leaves the list: *ret_error 0 or what it gets. */
static bool try(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma, struct sem_queue *q,
		int *ret_error)
{
	struct sem_undo *un = q->undo ? sem_undo_at(ns, q->undo) : NULL;
	unsigned blocking;
	int ret = perform_atomic_semop(sma->words, un ? sem_adjustments(sma, un) : NULL,
				       sem_queue_sops(ns, q), q->nsops, q->repeats, &blocking);

	if (ret == SEM_MUST_WAIT) {
		if (q->blocking != blocking && tx_reserve(tx, 1) == 0)
			tx_set(tx, q->blocking, blocking);
		else if (q->blocking != blocking && !sma->update_due)
			tx_set(tx, sma->update_due, 1);
		return false;
	}
	*ret_error = ret;
	return true;
}

/* What serving needs besides the set; `served`: somebody's operation was done. */
struct update {
	struct ipc_namespace *ns;
	struct tx *tx;
	struct sem_array *sma;
	struct wake_q *wake_q;
	int flags;
	bool served;
};

/* Does the operation of q, unless it failed, and takes it out. -ESRCH, -ENOMEM: nothing is changed. */
static int serve(struct update *up, struct sem_queue *q, int error)
{
	struct ipc_namespace *ns = up->ns;
	struct sem_array *sma = up->sma;
	const struct sembuf *sops = sem_queue_sops(ns, q);

	if (!(up->flags & UPDATE_SWEPT) && unlikely(!sleeper_proc_lives(ns, q->sleeper.proc)))
		return -ESRCH;
	if (tx_reserve(up->tx, SERVE_ENTRIES(q->nsops)) < 0 ||
	    (error == 0 && served_add(ns, up->tx, sma, arena_ref(&ns->arena, q)) < 0)) {
		tx_set(up->tx, sma->update_due, 1);
		return -ENOMEM;
	}
	if (error == 0) {
		uint32_t *before = sem_queue_sempids(ns, q);

		/* Only read once the state is DONE, so they need no journal. */
		q->set_epoch = sma->set_epoch;
		for (unsigned i = 0; i < q->nsops; i++)
			before[i] = word_sempid(word_get(&sma->words[sops[i].sem_num]));
		sem_apply(ns, up->tx, sma, q->undo ? sem_undo_at(ns, q->undo) : NULL, sops,
			  q->nsops, q->sleeper.pid);
	}
	unlink_queue(ns, up->tx, sma, q, error);
	wake_q_add(ns, up->wake_q, &q->sleeper);
	return 0;
}

/* Serves those in pending_const that can go: complex ones, or simple ones. */
static int serve_const(struct update *up, bool complex)
{
	ref_t next;
	int error, ret;

	for (ref_t ref = up->sma->pending_const.first; ref; ref = next) {
		struct sem_queue *q = sem_queue_at(up->ns, ref);

		next = q->sleeper.next;
		if ((q->nsops > 1) != complex || !try(up->ns, up->tx, up->sma, q, &error))
			continue;
		ret = serve(up, q, error);
		if (ret < 0)
			return ret;
		up->served |= error == 0;
	}
	return 0;
}

/* After operations: if any of their semaphores (NULL: any at all) is zero, serves those that wait for it. */
static int do_smart_wakeup_zero(struct update *up, const struct sembuf *sops, unsigned nsops)
{
	const struct sem_array *sma = up->sma;
	unsigned n = sops ? nsops : sma->sem_nsems;
	bool zero = false;
	int ret;

	if (!sma->pending_const.first)
		return 0;
	for (unsigned i = 0; i < n && !zero; i++)
		zero = word_semval(load_acquire(sma->words[sops ? sops[i].sem_num : i])) == 0;
	if (!zero)
		return 0;
	ret = serve_const(up, false);
	return ret == 0 ? serve_const(up, true) : ret;
}

/* Serves the first of pending_alter that can go; *ret_again if its success may let others go. */
static int update_queue(struct update *up, bool *ret_again)
{
	ref_t next;
	int error, ret;

	*ret_again = false;
	for (ref_t ref = up->sma->pending_alter.first; ref; ref = next) {
		struct sem_queue *q = sem_queue_at(up->ns, ref);

		next = q->sleeper.next;
		if (!try(up->ns, up->tx, up->sma, q, &error))
			continue;
		ret = serve(up, q, error);
		if (ret < 0)
			return ret;
		if (error == 0) {
			up->served = true;
			*ret_again = true;
			return do_smart_wakeup_zero(up, sem_queue_sops(up->ns, q), q->nsops);
		}
	}
	return 0;
}

/*
 * May one that wants to decrement go now? Among simple sleepers alone: they fail on a zero, and have failed
 * on any larger value before.
 */
static bool any_increased(const struct sem_array *sma, const struct sembuf *sops, unsigned nsops)
{
	for (unsigned i = 0; i < nsops; i++)
		if (sops[i].sem_op > 0 && word_semval(word_get(&sma->words[sops[i].sem_num])) > 0)
			return true;
	return false;
}

int do_smart_update(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
		    const struct sembuf *sops, unsigned nsops, int flags, struct wake_q *wake_q)
{
	struct update up = {ns, tx, sma, wake_q, flags, false};
	bool again = true, simple;
	int ret;

	if (unlikely(sma->update_due)) {
		tx_set(tx, sma->update_due, 0);
		sops = NULL;
	}
	simple = sops && sma->n_complex == 0;
	ret = do_smart_wakeup_zero(&up, sops, nsops);
	while (again && ret == 0 && sma->pending_alter.first &&
	       (!simple || any_increased(sma, sops, nsops)))
		ret = update_queue(&up, &again);
	if (ret == -ESRCH)
		return ret;
	if (up.served || flags & UPDATE_OTIME)
		set_semotime(tx, sma);
	return 0;
}

static bool names(struct ipc_namespace *ns, ref_t list, unsigned num)
{
	for (ref_t ref = list; ref;) {
		const struct sem_queue *q = sem_queue_at(ns, ref);
		const struct sembuf *sops = sem_queue_sops(ns, q);

		for (unsigned i = 0; i < q->nsops; i++)
			if (sops[i].sem_num == num)
				return true;
		ref = q->sleeper.next;
	}
	return false;
}

static bool adjusted(struct ipc_namespace *ns, const struct sem_array *sma, unsigned num)
{
	if (sma->n_adjusting == 0)
		return false;
	if (sma->n_adjusting == 1 && sma->adjusting)
		return sem_undo_at(ns, sma->adjusting)->semadj[num] != 0;
	for (ref_t ref = sma->list_id; ref;) {
		const struct sem_undo *un = sem_undo_at(ns, ref);
		const int16_t *semadj = sem_adjustments(sma, un);

		if (semadj && semadj[num])
			return true;
		ref = un->id_next;
	}
	return false;
}

/* Invariant 1, for one word. */
static void settle(struct ipc_namespace *ns, struct sem_array *sma, unsigned num)
{
	uint64_t *word = &sma->words[num];

	if (__atomic_load_n(word, __ATOMIC_RELAXED) & SEM_HELD && !adjusted(ns, sma, num) &&
	    !names(ns, sma->pending_alter.first, num) && !names(ns, sma->pending_const.first, num))
		word_let_go(word);
}

static void settle_words(struct ipc_namespace *ns, struct sem_array *sma, const struct sembuf *sops,
			 unsigned nsops)
{
	unsigned at = 0;

	if (sma->sem_perm.deleted || (sem_has_served(sma) && next_unnoted(ns, sma, &at)))
		return;
	/* For all words it is not worth the time to ask each who needs it: one by one they are let go when they are met. */
	if (!sops && (sma->pending_alter.first || sma->pending_const.first || sma->n_adjusting > 1))
		return;
	if (sops)
		for (unsigned i = 0; i < nsops; i++)
			settle(ns, sma, sops[i].sem_num);
	else
		for (unsigned i = 0; i < sma->sem_nsems; i++)
			settle(ns, sma, i);
}

void sem_finish(struct ipc_namespace *ns, struct tx *tx, struct sem_array *sma,
		const struct sembuf *sops, unsigned nsops, struct wake_q *wake_q)
{
	tx_stand(tx);
	settle_words(ns, sma, sops, nsops);
	if (wake_q)
		wake_up_q(ns, tx, wake_q);
	else
		tx_commit(tx);
}
