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
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__x86_64__)
#define cpu_relax() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define cpu_relax() __asm__ volatile("yield")
#else
#define cpu_relax() compiler_barrier()
#endif

#define NO_DEADLINE	UINT64_MAX
#define SPIN_DEFAULT_US 20
#define SPIN_LEAST_NS	1000u
#define SPIN_GOOD_NS	8000u
#define SPIN_FAILURES	3
#define SPIN_SKIPS	16
#define LISTEN_MAX	16
#define LOOK_FIRST_NS	200000ull

/* --- asleep --- */

struct sleep {
	struct ipc_namespace *ns;
	struct sem_queue *q;
	struct sem_array *sma;
	uint32_t serial; /* the high half of q->state while it is ours */
	uint64_t deadline;
	uint64_t look_ns; /* the longest sleep without a look around */
	int cancel_type;  /* the thread's own, while it waits */
	unsigned n_listen;
	uint32_t listen[LISTEN_MAX]; /* slots of processes */
};

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
 * Looks at the futex word for a while: four times as long as it took lately. After a few failures only now and
 * then, but as long as can be, to learn whether it pays again. It does if the wait is shorter than a sleep.
 */
static void spin(const uint32_t *futex)
{
	static VEE_TLS struct {
		uint32_t usual_ns, failures, skipped;
	} habit;
	uint64_t most = spin_most_ns(), start, now, budget = 4 * (habit.usual_ns + SPIN_LEAST_NS);

	if (habit.failures >= SPIN_FAILURES) {
		if (++habit.skipped % SPIN_SKIPS)
			return;
		budget = most;
	}
	if (budget > most)
		budget = most;
	start = now = os_monotonic_ns();
	while (now - start < budget) {
		for (unsigned i = 0; i < 32; i++) {
			if (load_acquire(*futex) != SEM_AWAKE) {
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

static void listen_to(struct ipc_namespace *ns, struct sleep *sleep, uint32_t slot)
{
	if (sleep->n_listen == LISTEN_MAX || proc_at(ns, slot) == load_acquire(ns->proc))
		return;
	for (unsigned i = 0; i < sleep->n_listen; i++)
		if (sleep->listen[i] == slot)
			return;
	sleep->listen[sleep->n_listen++] = slot;
}

/* Whose death is to be heard: see the head. Called with the set's lock. */
static void choose_doorbells(struct ipc_namespace *ns, struct sleep *sleep)
{
	struct sem_array *sma = sleep->sma;

	sleep->n_listen = 0;
	sleep->look_ns = 5 * SEM_POLL_NS;
	if (sma->list_id && !sleep->q->prev)
		sleep->look_ns = SEM_POLL_NS;
	if (sleep->q->prev)
		listen_to(ns, sleep, sem_queue_at(ns, sleep->q->prev)->proc);
	if (sma->n_adjusting == 1 && sma->adjusting) {
		listen_to(ns, sleep, sem_undo_at(ns, sma->adjusting)->proc);
		return;
	}
	for (ref_t ref = sma->n_adjusting ? sma->list_id : 0; ref;) {
		const struct sem_undo *un = sem_undo_at(ns, ref);

		if (sem_adjustments(sma, un) && un->n_semadj)
			listen_to(ns, sleep, un->proc);
		ref = un->id_next;
	}
}

static bool told(const struct sem_queue *q)
{
	return load_acquire(q->futex) & SEM_TOLD; /* QUEUE_TELL */
}

/* One wait in the kernel: until told, a doorbell, a signal or the deadline. Returns -EINTR for a signal. */
static int wait(struct ipc_namespace *ns, struct sleep *sleep)
{
	static bool no_waitv;
	struct os_futex list[1 + LISTEN_MAX];
	uint32_t *futex = &sleep->q->futex, expected = SEM_AWAKE;
	uint64_t until = os_monotonic_ns() + sleep->look_ns;
	unsigned n = 1;
	int ret;

	if (!__atomic_compare_exchange_n(futex, &expected, SEM_ASLEEP, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return expected & CRITICAL_SIGNAL ? -EINTR : 0;
	list[0] = (struct os_futex){SEM_ASLEEP, (uintptr_t)futex, OS_FUTEX_32, 0};
	for (unsigned i = 0; i < sleep->n_listen; i++) {
		struct proc *proc = proc_at(ns, sleep->listen[i]);
		uint32_t value = proc_doorbell_listen(proc);

		if (value)
			list[n++] = (struct os_futex){value, (uintptr_t)proc_doorbell_word(proc),
						      OS_FUTEX_32, 0};
		else if (until > os_monotonic_ns() + SEM_POLL_NS)
			until = os_monotonic_ns() + SEM_POLL_NS;
	}
	if (n > 1 && no_waitv && sleep->look_ns > SEM_POLL_NS)
		until -= sleep->look_ns - SEM_POLL_NS;
	if (until > sleep->deadline)
		until = sleep->deadline;
	pthread_setcanceltype(sleep->cancel_type, NULL);
	if (n > 1 && !no_waitv) {
		ret = os_futex_waitv(list, n, until);
		if (ret == -ENOSYS || ret == -EPERM || ret == -EINVAL) {
			no_waitv = true;
			ret = 0;
		}
	} else {
		ret = os_futex_wait(futex, SEM_ASLEEP, until);
	}
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
	/* A signal may have added its bit, a waker may have told. */
	__atomic_fetch_and(futex, ~(uint32_t)SEM_ASLEEP, __ATOMIC_ACQ_REL);
	return ret == -EINTR || load_acquire(*futex) & CRITICAL_SIGNAL ? -EINTR : 0;
}

/* Is the record still ours? It is not when the process is on its way out and another thread has cleaned up. */
static bool is_ours(const struct sleep *sleep)
{
	return load_acquire(sleep->q->state) >> 32 == sleep->serial;
}

static bool still_queued(const struct sleep *sleep)
{
	return is_ours(sleep) && sem_queue_is(sleep->q, SEM_Q_QUEUED) &&
	       sleep->q->incarnation == load_acquire(sleep->sma->incarnation);
}

/* Takes note: from here on nobody takes back what was done. Returns what semop returns. */
static int take_note(struct sleep *sleep)
{
	struct sem_queue *q = sleep->q;
	uint64_t mine = (uint64_t)sleep->serial << 32, state = load_acquire(q->state);
	int status = q->status;

	if (state >> 32 != sleep->serial ||
	    !__atomic_compare_exchange_n(&q->state, &state, mine | SEM_Q_IDLE, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return -EINTR;
	sem_queue_give(arena_ref(&sleep->ns->arena, q));
	return status;
}

/* A transaction with the lock of the set's block, whatever set that is by now. */
static int lock_block(struct ipc_namespace *ns, const struct sleep *sleep, struct tx **ret_tx)
{
	int ret = tx_begin(&ns->arena, ret_tx);

	if (ret == 0)
		tx_lock(*ret_tx, &sleep->sma->lock);
	return ret;
}

/* Goes out of the list with `error`, unless the operation was done in the meantime. */
static int give_up(struct ipc_namespace *ns, struct sleep *sleep, int error)
{
	struct sem_queue *q = sleep->q;
	struct tx *tx;

	while (lock_block(ns, sleep, &tx) < 0)
		os_nanosleep_ns(SEM_POLL_NS); /* it had a journal when it began */
	if (still_queued(sleep)) {
		unlink_queue(ns, tx, sleep->sma, q);
		tx_set(tx, q->status, error);
		sem_finish(ns, tx, sleep->sma, sem_queue_sops(ns, q), q->nsops, NULL);
	} else {
		tx_commit(tx);
	}
	return take_note(sleep);
}

/* What was seen without the lock may have been taken back since. */
static bool is_out(struct ipc_namespace *ns, const struct sleep *sleep)
{
	struct tx *tx;
	bool out;

	if (lock_block(ns, sleep, &tx) < 0)
		return false;
	out = !still_queued(sleep);
	tx_commit(tx);
	return out;
}

/*
 * After a doorbell, or a while: are there dead whose end would let this sleeper go? A death that was heard may
 * not be complete: then another look follows soon.
 */
static void look_around(struct ipc_namespace *ns, int id, struct sleep *sleep)
{
	uint64_t soon = sleep->look_ns < SEM_POLL_NS ? 2 * sleep->look_ns : LOOK_FIRST_NS;
	struct sem_array *sma;
	struct tx *tx;
	bool live;

	proc_sweep(ns);
	if (sem_lock(ns, id, &tx, &sma) < 0)
		return;
	live = sem_all_live(ns, sma);
	if (still_queued(sleep))
		choose_doorbells(ns, sleep);
	tx_commit(tx);
	if (!live && soon < sleep->look_ns)
		sleep->look_ns = soon;
}

static int sleep_until_told(struct ipc_namespace *ns, int id, struct sleep *sleep)
{
	struct sem_queue *q = sleep->q;

	if (!critical_here.pending)
		spin(&q->futex);
	while (!told(q)) {
		int ret;

		if (critical_here.pending)
			return give_up(ns, sleep, -EINTR);
		ret = wait(ns, sleep);
		if (told(q))
			break;
		if (ret == -EINTR)
			return give_up(ns, sleep, -EINTR);
		if (os_monotonic_ns() >= sleep->deadline)
			return give_up(ns, sleep, -EAGAIN);
		look_around(ns, id, sleep);
		/* Done by one who died before telling, or removed by one. */
		if (!still_queued(sleep) && is_out(ns, sleep))
			break;
	}
	return take_note(sleep);
}

/* A thread that lets itself be cancelled anywhere, was, in wait(). */
static void cancelled(void *arg)
{
	struct sleep *sleep = arg;

	give_up(sleep->ns, sleep, -EINTR);
	critical_here.sleeps_on = NULL;
	critical_leave();
}

static int sleep_cancellable(struct ipc_namespace *ns, int id, struct sleep *sleep)
{
	int ret;

	pthread_cleanup_push(cancelled, sleep);
	ret = sleep_until_told(ns, id, sleep);
	pthread_cleanup_pop(0);
	critical_here.sleeps_on = NULL;
	return ret;
}

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

static void fill_queue(struct ipc_namespace *ns, struct call *call, const struct sem_array *sma,
		       const struct sem_undo *un, unsigned blocking)
{
	struct sem_queue *q = sem_queue_at(ns, call->q);

	q->futex = SEM_AWAKE;
	q->status = -EIDRM; /* what it is if the set goes */
	/* Another set, for which it was DONE, may look whether it still is. */
	__atomic_store_n(&q->set, arena_ref(&ns->arena, sma), __ATOMIC_RELAXED);
	__atomic_store_n(&q->incarnation, sma->incarnation, __ATOMIC_RELAXED);
	q->pid = *ns->pid;
	q->tid = my_tid(ns);
	q->nsops = call->nsops;
	q->blocking = blocking;
	q->alter = call->shape.alter;
	q->repeats = call->shape.repeats;
	q->undo = call->shape.undo ? arena_ref(&ns->arena, un) : 0;
	q->since = os_seconds();
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
				      .q = q,
				      .sma = sma,
				      .serial = q->state >> 32,
				      .deadline = call->deadline,
				      .cancel_type = call->cancel_type};
	choose_doorbells(ns, call->sleep);
	critical_here.sleeps_on = &q->futex;
	tx_commit(tx);
}

/* Outcomes of a try, besides 0 and errors. */
enum {
	TRY_ASLEEP = 1, /* it is in the list */
	TRY_AGAIN,	/* something had to be made first */
};

/* With the set's lock held: a record that the process has kept from earlier sleeps, if it has one. */
static bool take_kept_queue(struct ipc_namespace *ns, struct call *call)
{
	call->q = sem_queue_take_kept(ns, call->nsops);
	if (call->q)
		pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &call->cancel_type);
	return call->q;
}

static int get_queue(struct ipc_namespace *ns, struct call *call)
{
	int ret;

	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &call->cancel_type);
	ret = sem_queue_take(ns, call->nsops, &call->q);
	if (ret < 0)
		pthread_setcanceltype(call->cancel_type, NULL);
	return ret < 0 ? ret : TRY_AGAIN;
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
	return get_queue(ns, call);
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
	if (ret == TRY_ASLEEP)
		ret = sleep_cancellable(ns, call->id, call->sleep);
	else if (call->q)
		sem_queue_give(call->q);
	critical_leave();
	if (call->q)
		pthread_setcanceltype(call->cancel_type, NULL);
	return ret;
}

static uint64_t deadline_of(const struct timespec *timeout)
{
	uint64_t now;

	if (timeout->tv_sec == 0 && timeout->tv_nsec == 0)
		return 0;
	if (timeout->tv_sec > INT32_MAX)
		return NO_DEADLINE;
	now = os_monotonic_ns();
	return now + timeout->tv_sec * 1000000000ull + timeout->tv_nsec;
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
	memcpy((void *)at, sops, size);
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
	struct call call = {.id = id, .nsops = nsops, .deadline = NO_DEADLINE};
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
		call.deadline = deadline_of(timeout);
	}
	if (nsops == 1 && semop_fast(ns, id, sops, &ret))
		return ret;
	return semop_copied(ns, &call, sops);
}
