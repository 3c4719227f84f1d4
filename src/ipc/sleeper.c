/* sleeper.c - sleeping, telling, waking, and what becomes of a dead sleeper; see sleeper.h. */
#include "ipc/sleeper.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define POOL		64
#define SPIN_DEFAULT_US 20
#define SPIN_LEAST_NS	1000u
#define SPIN_GOOD_NS	8000u
#define SPIN_FAILURES	3
#define SPIN_SKIPS	16
#define YIELD_LONG_NS	50000u
#define YIELD_SKIPS	4096u
#define LOOK_FIRST_NS	200000ull
/* Told sleepers whose wake-up is kept until after the unlock; further ones are woken before it. */
#define WAKES_KEPT 32

/* --- lists --- */

bool sleeper_proc_lives(struct ipc_namespace *ns, uint32_t slot)
{
	const struct proc *proc = proc_at(ns, slot);

	return proc == load_acquire(ns->proc) ||
	       (load_acquire(proc->state) == PROC_LIVE && proc_doorbell(proc));
}

void sleeper_append(struct ipc_namespace *ns, struct tx *tx, struct sleeper_list *list,
		    struct sleeper *sleeper)
{
	ref_t ref = arena_ref(&ns->arena, sleeper);

	tx_set(tx, sleeper->prev, list->last);
	tx_set(tx, sleeper->next, 0);
	if (list->last)
		tx_set(tx, sleeper_at(ns, list->last)->next, ref);
	else
		tx_set(tx, list->first, ref);
	tx_set(tx, list->last, ref);
	sleeper_set_state(tx, sleeper, SLEEPER_QUEUED);
}

static void take_out(struct ipc_namespace *ns, struct tx *tx, struct sleeper_list *list,
		     struct sleeper *sleeper)
{
	if (sleeper->prev)
		tx_set(tx, sleeper_at(ns, sleeper->prev)->next, sleeper->next);
	else
		tx_set(tx, list->first, sleeper->next);
	if (sleeper->next)
		tx_set(tx, sleeper_at(ns, sleeper->next)->prev, sleeper->prev);
	else
		tx_set(tx, list->last, sleeper->prev);
}

void sleeper_move_last(struct ipc_namespace *ns, struct tx *tx, struct sleeper_list *list,
		       struct sleeper *sleeper)
{
	if (!sleeper->next)
		return;
	take_out(ns, tx, list, sleeper);
	sleeper_append(ns, tx, list, sleeper);
}

void sleeper_unlink(struct ipc_namespace *ns, struct tx *tx, struct sleeper_list *list,
		    struct sleeper *sleeper, int status)
{
	take_out(ns, tx, list, sleeper);
	tx_set(tx, sleeper->status, status);
	sleeper_set_state(tx, sleeper, SLEEPER_DONE);
}

/* --- telling --- */

void wake_q_add(struct ipc_namespace *ns, struct wake_q *wake_q, struct sleeper *sleeper)
{
	ref_t ref = arena_ref(&ns->arena, sleeper);

	sleeper->told_next = 0;
	if (wake_q->last)
		sleeper_at(ns, wake_q->last)->told_next = ref;
	else
		wake_q->first = ref;
	wake_q->last = ref;
}

void wake_up_q(struct ipc_namespace *ns, struct tx *tx, struct wake_q *wake_q)
{
	uint32_t *asleep[WAKES_KEPT];
	unsigned n = 0;

	for (ref_t ref = wake_q->first; ref;) {
		struct sleeper *sleeper = sleeper_at(ns, ref);
		uint32_t *futex = &sleeper->futex;

		/* QUEUE_TELL: from the exchange on the thread may put the record to another use. */
		ref = sleeper->told_next;
		if (!(__atomic_exchange_n(futex, SLEEPER_TOLD, __ATOMIC_ACQ_REL) & SLEEPER_ASLEEP))
			continue;
		if (n < WAKES_KEPT)
			asleep[n++] = futex;
		else
			os_futex_wake(futex, 1);
	}
	tx_commit(tx);
	for (unsigned i = 0; i < n; i++)
		os_futex_wake(asleep[i], 1);
}

/* --- records --- */

static _Atomic ref_t pool[3][POOL];

void sleeper_fork_child(void)
{
	memset(pool, 0, sizeof(pool));
}

static void pool_put(uint32_t kind, ref_t ref)
{
	for (unsigned i = 0; i < POOL; i++) {
		ref_t none = 0;

		if (!pool[kind][i] && atomic_compare_exchange_strong(&pool[kind][i], &none, ref))
			return;
	}
	/* With no room for it in the pool it stays the process's, unused, to its end. */
}

static ref_t pool_get(uint32_t kind)
{
	for (unsigned i = 0; i < POOL; i++) {
		ref_t ref = pool[kind][i] ? atomic_exchange(&pool[kind][i], 0) : 0;

		if (ref)
			return ref;
	}
	return 0;
}

/* A record for this process: a free one, or a new one. Called with proc_lock. */
static int record_new(struct ipc_namespace *ns, struct tx *tx, struct proc *proc, uint32_t kind,
		      ref_t *ret_ref)
{
	ref_t *head = &ns->record->sleepers[kind], ref = *head;
	struct sleeper *sleeper;

	if (ref) {
		sleeper = sleeper_at(ns, ref);
		tx_set(tx, *head, sleeper->proc_next);
	} else {
		int ret = arena_alloc(tx, SLEEPER_SIZE, &ref);

		if (ret < 0)
			return ret;
		sleeper = sleeper_at(ns, ref);
		memset(sleeper, 0, SLEEPER_SIZE);
		sleeper->kind = kind;
	}
	tx_set(tx, sleeper->proc, proc_slot(ns, proc));
	tx_set(tx, sleeper->proc_prev, 0);
	tx_set(tx, sleeper->proc_next, proc->sleepers);
	if (proc->sleepers)
		tx_set(tx, sleeper_at(ns, proc->sleepers)->proc_prev, ref);
	tx_set(tx, proc->sleepers, ref);
	*ret_ref = ref;
	return 0;
}

static int take_new(struct ipc_namespace *ns, struct proc *proc, uint32_t kind, ref_t *ret_ref)
{
	struct tx *tx;
	int ret = tx_begin(&ns->arena, &tx);

	if (ret < 0)
		return ret;
	tx_lock(tx, &ns->record->proc_lock);
	/* Without its slot the process is about to end. */
	ret = proc_mine(ns) == proc ? record_new(ns, tx, proc, kind, ret_ref) : -EINTR;
	if (ret < 0)
		tx_abort(tx);
	else
		tx_commit(tx);
	return ret;
}

ref_t sleeper_take_kept(struct ipc_namespace *ns, uint32_t kind, int *ret_cancel_type)
{
	const struct proc *me = proc_mine(ns);
	ref_t ref = me && proc_doorbell(me) ? pool_get(kind) : 0;

	if (ref)
		pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, ret_cancel_type);
	return ref;
}

int sleeper_take(struct ipc_namespace *ns, uint32_t kind, ref_t *ret_ref, int *ret_cancel_type)
{
	struct proc *proc;
	int ret;

	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, ret_cancel_type);
	ret = proc_enter(ns, &proc);
	if (ret == 0) {
		*ret_ref = pool_get(kind);
		if (!*ret_ref)
			ret = take_new(ns, proc, kind, ret_ref);
	}
	if (ret < 0)
		pthread_setcanceltype(*ret_cancel_type, NULL);
	return ret;
}

void sleeper_give(struct ipc_namespace *ns, ref_t ref, int cancel_type)
{
	pool_put(sleeper_at(ns, ref)->kind, ref);
	pthread_setcanceltype(cancel_type, NULL);
}

/* The system is asked once a thread, and again in a child after fork. */
static int my_tid(struct ipc_namespace *ns)
{
	static VEE_TLS struct {
		uint32_t pid;
		int tid;
	} known;

	if (unlikely(known.pid != *ns->pid)) {
		known.tid = os_gettid();
		known.pid = *ns->pid;
	}
	return known.tid;
}

void sleeper_fill(struct ipc_namespace *ns, struct sleeper *sleeper, ref_t object,
		  uint32_t incarnation)
{
	sleeper->futex = SLEEPER_AWAKE;
	sleeper->status = -EIDRM; /* what it is if the object goes */
	/* Another object, for which it was DONE, may look whether it still is. */
	__atomic_store_n(&sleeper->object, object, __ATOMIC_RELAXED);
	__atomic_store_n(&sleeper->incarnation, incarnation, __ATOMIC_RELAXED);
	sleeper->pid = *ns->pid;
	sleeper->tid = my_tid(ns);
	sleeper->since = os_seconds();
}

/* --- sleeping --- */

uint64_t sleep_deadline(const struct timespec *timeout)
{
	if (timeout->tv_sec == 0 && timeout->tv_nsec == 0)
		return 0;
	if (timeout->tv_sec > INT32_MAX)
		return SLEEP_NO_DEADLINE;
	return os_monotonic_ns() + timeout->tv_sec * 1000000000ull + timeout->tv_nsec;
}

static uint64_t spin_most_ns(void)
{
	static int64_t most = -1;
	const char *text;

	if (__atomic_load_n(&most, __ATOMIC_RELAXED) >= 0)
		return most;
	text = getenv("VEE_SPIN");
	__atomic_store_n(
		&most,
		os_processors() > 1 ? (text ? strtoul(text, NULL, 10) : SPIN_DEFAULT_US) * 1000 : 0,
		__ATOMIC_RELAXED);
	return most;
}

/*
 * Lets the processor's other threads run once, and is spared a sleep and a wake-up if the one that tells is among them.
 * With nobody else there it costs little. With one who uses up his whole turn it costs much: then not again for a while.
 */
static void give_way(void)
{
	static VEE_TLS struct {
		uint32_t skip, pause;
	} habit;
	uint64_t start;

	if (habit.skip) {
		habit.skip--;
		return;
	}
	start = os_monotonic_ns();
	os_yield();
	if (os_monotonic_ns() - start < YIELD_LONG_NS) {
		habit.pause /= 2;
		return;
	}
	habit.pause = 2 * habit.pause + SPIN_SKIPS;
	if (habit.pause > YIELD_SKIPS)
		habit.pause = YIELD_SKIPS;
	habit.skip = habit.pause;
}

/*
 * Looks at the futex word for a while: four times as long as it took lately. After a few failures the first of the sleepers gives way instead, and
 * looks only now and then, but as long as can be, to learn whether it pays again. It does if the wait is shorter than a sleep.
 */
static void spin(const uint32_t *futex, bool first)
{
	static VEE_TLS struct {
		uint32_t usual_ns, failures, skipped;
	} habit;
	uint64_t most = spin_most_ns(), start, now, budget = 4 * (habit.usual_ns + SPIN_LEAST_NS);

	if (habit.failures >= SPIN_FAILURES) {
		if (first)
			give_way();
		if (load_acquire(*futex) != SLEEPER_AWAKE || ++habit.skipped % SPIN_SKIPS)
			return;
		budget = most;
	}
	if (budget > most)
		budget = most;
	start = now = os_monotonic_ns();
	while (now - start < budget) {
		for (unsigned i = 0; i < 32; i++) {
			if (load_acquire(*futex) != SLEEPER_AWAKE) {
				habit.usual_ns = (7 * habit.usual_ns + (now - start)) / 8;
				if (now - start < SPIN_GOOD_NS)
					habit.failures = 0;
				return;
			}
			cpu_relax();
		}
		now = os_monotonic_ns();
	}
	habit.failures++;
}

void sleep_listen_to(struct sleep *sleep, uint32_t slot)
{
	struct ipc_namespace *ns = sleep->ns;

	if (sleep->n_listen == SLEEP_LISTEN_MAX || proc_at(ns, slot) == load_acquire(ns->proc))
		return;
	for (unsigned i = 0; i < sleep->n_listen; i++)
		if (sleep->listen[i] == slot)
			return;
	sleep->listen[sleep->n_listen++] = slot;
}

void sleep_prepare(struct sleep *sleep)
{
	sleep->serial = sleep->sleeper->state >> 32;
	critical_here.sleeps_on = &sleep->sleeper->futex;
}

static bool told(const struct sleep *sleep)
{
	return load_acquire(sleep->sleeper->futex) & SLEEPER_TOLD; /* QUEUE_TELL */
}

/* When to look around at the latest, and the doorbells as the kernel wants them. */
static uint64_t gather(struct sleep *sleep, struct os_futex *list, unsigned *n, bool no_waitv)
{
	uint64_t look_ns = sleep->look_ns;

	for (unsigned i = 0; i < sleep->n_listen; i++) {
		struct proc *proc = proc_at(sleep->ns, sleep->listen[i]);
		uint32_t value = no_waitv ? 0 : proc_doorbell_listen(proc);

		if (value)
			list[(*n)++] = (struct os_futex){value, (uintptr_t)proc_doorbell_word(proc),
							 OS_FUTEX_32, 0};
		else if (look_ns > SLEEP_POLL_NS)
			look_ns = SLEEP_POLL_NS;
	}
	return look_ns;
}

/* One wait in the kernel: until told, a doorbell, a signal, the deadline, or for long enough. -EINTR for a signal. */
static int wait(struct sleep *sleep)
{
	static bool no_waitv;
	struct os_futex list[1 + SLEEP_LISTEN_MAX];
	uint32_t *futex = &sleep->sleeper->futex, expected = SLEEPER_AWAKE;
	uint64_t until;
	unsigned n = 1;
	int ret;

	if (!__atomic_compare_exchange_n(futex, &expected, SLEEPER_ASLEEP, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return expected & CRITICAL_SIGNAL ? -EINTR : 0;
	list[0] = (struct os_futex){SLEEPER_ASLEEP, (uintptr_t)futex, OS_FUTEX_32, 0};
	until = os_monotonic_ns() + gather(sleep, list, &n, no_waitv);
	if (until > sleep->deadline)
		until = sleep->deadline;
	pthread_setcanceltype(sleep->cancel_type, NULL);
	if (n > 1)
		ret = os_futex_waitv(list, n, until);
	else
		ret = os_futex_wait(futex, SLEEPER_ASLEEP, until);
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
	if (n > 1 && (ret == -ENOSYS || ret == -EPERM || ret == -EINVAL))
		no_waitv = true;
	/* A signal may have added its bit, a waker may have told. */
	__atomic_fetch_and(futex, ~(uint32_t)SLEEPER_ASLEEP, __ATOMIC_ACQ_REL);
	return ret == -EINTR || load_acquire(*futex) & CRITICAL_SIGNAL ? -EINTR : 0;
}

bool sleep_is_queued(const struct sleep *sleep)
{
	uint64_t state = load_acquire(sleep->sleeper->state);

	return state >> 32 == sleep->serial && (uint32_t)state == SLEEPER_QUEUED &&
	       sleep->sleeper->incarnation == load_acquire(*sleep->object_incarnation);
}

bool sleep_take_note(struct sleep *sleep)
{
	uint64_t state = load_acquire(sleep->sleeper->state);

	return state >> 32 == sleep->serial &&
	       __atomic_compare_exchange_n(&sleep->sleeper->state, &state,
					   (uint64_t)sleep->serial << 32 | SLEEPER_IDLE, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* A transaction with the lock of the object's memory, whatever object that is by now. */
static struct tx *lock_object(const struct sleep *sleep)
{
	struct tx *tx;

	while (tx_begin(&sleep->ns->arena, &tx) < 0)
		os_nanosleep_ns(SLEEP_POLL_NS); /* it had a journal when it began */
	tx_lock(tx, sleep->lock);
	return tx;
}

/* Out of the list with `error`, unless it is out already. */
static int give_up(struct sleep *sleep, int error)
{
	struct tx *tx = lock_object(sleep);

	if (sleep_is_queued(sleep))
		sleep->ops->give_up(sleep, tx, error);
	else
		tx_commit(tx);
	return sleep->sleeper->status;
}

/* What was seen without the lock may have been taken back since. */
static bool is_out(const struct sleep *sleep)
{
	struct tx *tx;
	bool out;

	if (sleep_is_queued(sleep))
		return false;
	tx = lock_object(sleep);
	out = !sleep_is_queued(sleep);
	tx_commit(tx);
	return out;
}

/* A death that was heard may not be complete: then another look follows soon. */
static void look_around(struct sleep *sleep)
{
	uint64_t soon = sleep->look_ns < SLEEP_POLL_NS ? 2 * sleep->look_ns : LOOK_FIRST_NS;

	proc_sweep(sleep->ns);
	if (!sleep->ops->look_around(sleep) && soon < sleep->look_ns)
		sleep->look_ns = soon;
}

static int until_told(struct sleep *sleep)
{
	if (!critical_here.pending)
		spin(&sleep->sleeper->futex, !load_acquire(sleep->sleeper->prev));
	while (!told(sleep)) {
		int ret;

		if (critical_here.pending)
			return give_up(sleep, -EINTR);
		ret = wait(sleep);
		if (told(sleep))
			break;
		if (ret == -EINTR)
			return give_up(sleep, -EINTR);
		if (os_monotonic_ns() >= sleep->deadline)
			return give_up(sleep, -EAGAIN);
		look_around(sleep);
		/* Done by one who died before telling, or removed by one. */
		if (is_out(sleep))
			break;
	}
	return sleep->sleeper->status;
}

/* A thread that lets itself be cancelled anywhere, was, in wait(). */
static void cancelled(void *arg)
{
	struct sleep *sleep = arg;

	give_up(sleep, -EINTR);
	if (sleep->ops->refuse)
		sleep->ops->refuse(sleep);
	if (sleep_take_note(sleep))
		sleeper_give(sleep->ns, arena_ref(&sleep->ns->arena, sleep->sleeper),
			     PTHREAD_CANCEL_DEFERRED);
	critical_here.sleeps_on = NULL;
	critical_leave();
}

int sleep_until_told(struct sleep *sleep)
{
	int ret;

	pthread_cleanup_push(cancelled, sleep);
	ret = until_told(sleep);
	pthread_cleanup_pop(0);
	critical_here.sleeps_on = NULL;
	return ret;
}

/* --- the end of a process --- */

sleeper_cancel_fn *sleeper_cancel[3];

static void list_remove(struct ipc_namespace *ns, struct tx *tx, struct proc *proc,
			struct sleeper *sleeper)
{
	if (sleeper->proc_prev)
		tx_set(tx, sleeper_at(ns, sleeper->proc_prev)->proc_next, sleeper->proc_next);
	else
		tx_set(tx, proc->sleepers, sleeper->proc_next);
	if (sleeper->proc_next)
		tx_set(tx, sleeper_at(ns, sleeper->proc_next)->proc_prev, sleeper->proc_prev);
}

/* To the free ones, with a new serial: what a thread of the old owner may still do to its state fails. */
static void free_record(struct ipc_namespace *ns, struct tx *tx, struct proc *proc,
			struct sleeper *sleeper)
{
	ref_t *head = &ns->record->sleepers[sleeper->kind];

	list_remove(ns, tx, proc, sleeper);
	tx_set(tx, sleeper->state, ((sleeper->state >> 32) + 1) << 32 | SLEEPER_IDLE);
	tx_set(tx, sleeper->proc_next, *head);
	tx_set(tx, *head, arena_ref(&ns->arena, sleeper));
}

/* The first record, or the first in use. */
static ref_t first(struct ipc_namespace *ns, const struct proc *proc, bool in_use)
{
	ref_t ref = proc->sleepers;

	while (in_use && ref && sleeper_is(sleeper_at(ns, ref), SLEEPER_IDLE))
		ref = sleeper_at(ns, ref)->proc_next;
	return ref;
}

/*
 * One record of a process that is going: `ref`, else the first. interrupt: the process still runs; a thread's sleep
 * ends, and the record stays its. Returns false if there is none.
 */
static bool drop(struct ipc_namespace *ns, struct proc *proc, ref_t ref, bool interrupt)
{
	struct wake_q wake_q = {0, 0};
	struct sleeper *sleeper;
	struct tx *tx;

	if (tx_begin(&ns->arena, &tx) < 0)
		return false;
	/* Without the lock the list may be what one who died while he swept has left of it. */
	tx_lock(tx, &ns->record->proc_lock);
	if (!ref)
		ref = proc_is_going(proc) ? first(ns, proc, interrupt) : 0;
	sleeper = ref ? sleeper_at(ns, ref) : NULL;
	/* IDLE too: it may be half-done by a dead one, and is taken back with the object's lock. */
	if (!sleeper || (sleeper->object &&
			 !sleeper_cancel[sleeper->kind](ns, tx, sleeper, interrupt, &wake_q))) {
		tx_abort(tx);
		return false;
	}
	if (interrupt)
		sleeper_set_state(tx, sleeper, SLEEPER_IDLE);
	else
		free_record(ns, tx, proc, sleeper);
	tx_stand(tx);
	wake_up_q(ns, tx, &wake_q);
	return true;
}

bool sleeper_drop_all(struct ipc_namespace *ns, struct proc *proc)
{
	ref_t ref;

	if (load_acquire(proc->state) != PROC_DYING || !proc_doorbell(proc)) {
		while (drop(ns, proc, 0, false))
			;
		return true;
	}
	/*
	 * A process that is about to end, but still runs: it does this itself. Other threads of it may have their hands
	 * on the records that they sleep on; these go when it has ended.
	 */
	if (proc->pid != (int)*ns->pid)
		return false;
	while (drop(ns, proc, 0, true))
		;
	for (uint32_t kind = 0; kind < ARRAY_SIZE(pool); kind++)
		while ((ref = pool_get(kind)))
			drop(ns, proc, ref, false);
	return true;
}
