/*
 * sleeper.h - threads that sleep until another process has done for them what they wait for.
 *
 * What a caller sees: a mechanism queues a sleeper under its object's lock and waits with sleep_until_told(). Whoever
 * makes it possible does the sleeper's operation for it, takes it out of the list, tells it after its transaction stands,
 * and wakes it after the unlock. Signals, time-outs, cancellation, deaths on either side: see below.
 *
 * How it works. The record lies in the file, with a futex word of its own. A thread looks at that word for a while, if that
 * has paid lately; else it yields the processor once, if it is the first of the list. Then it sleeps on the word, always with
 * a time-out, and on doorbells (proc.h): of the processes whose death may let it go, as its mechanism names them. It sleeps in
 * a critical section: a signal is kept, ends the sleep (EINTR), and its handler runs when the sleeper is out of the list; so
 * it may do what it likes, jump too.
 *
 * A process that has slept keeps its records for the next time, in a pool. They are in the list of their process from the first
 * use on, so that all are found when it is gone; then they go to the list of free ones in the root record.
 *
 * Invariants
 *  1. A sleeper is QUEUED exactly if it is in a list of its object, and `incarnation` is the object's.
 *  2. DONE: out of the list, status is valid, its thread has not taken note yet. If that dies first, its mechanism takes back
 *     what was done (sleeper_cancel).
 *  3. The memory of a record is only ever that of a record of its kind; each owner has a serial of its own, so that
 *     a thread whose process has been cleaned up behind it can't touch the next owner's.
 *  4. Nobody sleeps longer than SLEEP_LOOK_NS without looking whether what it waits for has come.
 *
 * Guards: proc_lock for the list of a process and the free ones; the object's lock for the rest of a record that is QUEUED or
 * DONE; its process for one that is IDLE; futex by atomic operations.
 *
 * Ordering: QUEUE_TELL. status is stored before the futex word says SLEEPER_TOLD; the sleeper loads the futex word before status.
 */
#pragma once

#include "base/os.h"
#include "ipc/namespace.h"

/* The low half of `state`; the high half is the owner's serial. */
enum {
	SLEEPER_IDLE = 0,
	SLEEPER_QUEUED,
	SLEEPER_DONE,
};

/* Values of futex; CRITICAL_SIGNAL may be added. */
enum {
	SLEEPER_AWAKE = 0,
	SLEEPER_ASLEEP = 1,
	SLEEPER_TOLD = 2,
};

#define SLEEPER_SIZE 128u

/* record: the first part of each kind's own */
struct sleeper {
	uint64_t state;
	uint32_t futex;
	int32_t status; /* what the call returns */
	ref_t next, prev;
	ref_t proc_next, proc_prev;
	ref_t object;
	uint32_t incarnation; /* of the object */
	uint32_t kind;	      /* IPC_SEM_IDS, IPC_MSG_IDS */
	uint32_t proc;	      /* slot */
	int32_t pid, tid;
	ref_t told_next; /* while being told */
	uint32_t pad;
	int64_t since; /* seconds since the epoch */
};
_Static_assert(sizeof(struct sleeper) == 72, "layout");

/* record: the oldest first; guarded by its object's lock */
struct sleeper_list {
	ref_t first, last;
};
_Static_assert(sizeof(struct sleeper_list) == 8, "layout");

static inline struct sleeper *sleeper_at(struct ipc_namespace *ns, ref_t ref)
{
	return arena_ptr(&ns->arena, ref);
}

static inline bool sleeper_is(const struct sleeper *sleeper, uint32_t state)
{
	return (uint32_t)load_acquire(sleeper->state) == state;
}

static inline void sleeper_set_state(struct tx *tx, struct sleeper *sleeper, uint32_t state)
{
	tx_set(tx, sleeper->state, sleeper->state >> 32 << 32 | state);
}

/* QUEUED, at the end of the list. */
void sleeper_append(struct ipc_namespace *ns, struct tx *tx, struct sleeper_list *list,
		    struct sleeper *sleeper);
/* To the end of the list. */
void sleeper_move_last(struct ipc_namespace *ns, struct tx *tx, struct sleeper_list *list,
		       struct sleeper *sleeper);
/* Out of the list, and DONE with this status. */
void sleeper_unlink(struct ipc_namespace *ns, struct tx *tx, struct sleeper_list *list,
		    struct sleeper *sleeper, int status);
/* Is it plain, without a system call, that the process of the slot lives? */
bool sleeper_proc_lives(struct ipc_namespace *ns, uint32_t slot);

/* --- telling --- */

/* The sleepers of a transaction that have been served: the design's wake_q. */
struct wake_q {
	ref_t first, last;
};
void wake_q_add(struct ipc_namespace *ns, struct wake_q *wake_q, struct sleeper *sleeper);
/* The transaction stands: tells them, unlocks, wakes those that sleep. */
void wake_up_q(struct ipc_namespace *ns, struct tx *tx, struct wake_q *wake_q);

/* --- sleeping --- */

#define SLEEP_NO_DEADLINE UINT64_MAX
#define SLEEP_LISTEN_MAX  16
/* Without a doorbell to wait on, a sleeper looks around this often; else five times less often. */
#define SLEEP_POLL_NS 20000000ull
#define SLEEP_LOOK_NS (5 * SLEEP_POLL_NS)

struct sleep;
struct sleep_ops {
	/* Out of the list with this error; called with the object's lock, commits. */
	void (*give_up)(struct sleep *sleep, struct tx *tx, int error);
	/* After a doorbell, or a while, and a sweep: names the doorbells anew. false: some seem to be dead still. */
	bool (*look_around)(struct sleep *sleep);
	/* The thread is cancelled: takes back what was done for it, if anything; called without lock. May be NULL. */
	void (*refuse)(struct sleep *sleep);
};

struct sleep {
	struct ipc_namespace *ns;
	const struct sleep_ops *ops;
	struct sleeper *sleeper;
	struct arena_lock *lock;	    /* of the object */
	const uint32_t *object_incarnation; /* its current one */
	void *object;
	int id;
	uint32_t serial;
	uint64_t deadline; /* CLOCK_MONOTONIC, ns */
	uint64_t look_ns;  /* the longest sleep without a look around */
	int cancel_type;   /* the thread's own, while it waits */
	unsigned n_listen;
	uint32_t listen[SLEEP_LISTEN_MAX]; /* slots of processes */
};

/* The deadline of a relative timeout; 0 for one that has passed already. */
uint64_t sleep_deadline(const struct timespec *timeout);

/*
 * A record for this process, IDLE. -ENOMEM, -ENOSPC; -EINTR if the process is about to end. No transaction is open. From here
 * to sleeper_give() cancellation is deferred; *ret_cancel_type was the thread's.
 */
int sleeper_take(struct ipc_namespace *ns, uint32_t kind, ref_t *ret_ref, int *ret_cancel_type);
/* The same if the process has kept one, else 0. May be called with locks held. */
ref_t sleeper_take_kept(struct ipc_namespace *ns, uint32_t kind, int *ret_cancel_type);
void sleeper_give(struct ipc_namespace *ns, ref_t ref, int cancel_type);

/* Fills in the common part of an IDLE record; the state comes with sleeper_append(). */
void sleeper_fill(struct ipc_namespace *ns, struct sleeper *sleeper, ref_t object,
		  uint32_t incarnation);
/* With the object's lock: the doorbells begin anew; and one more of them. */
void sleep_listen_to(struct sleep *sleep, uint32_t slot);
/* With the object's lock, QUEUED: what the signal handlers must know. The transaction is committed after it. */
void sleep_prepare(struct sleep *sleep);
/* Is it in the list still? With the object's lock. */
bool sleep_is_queued(const struct sleep *sleep);
/*
 * Sleeps. Returns the status that somebody told, or -EINTR, or -EAGAIN at the deadline; then the sleeper is out of
 * the list. The record is DONE or IDLE: sleep_take_note().
 */
int sleep_until_told(struct sleep *sleep);
/* What was done is the thread's from here on: nobody takes it back. false: the process is being cleaned up. */
bool sleep_take_note(struct sleep *sleep);

/* --- the end of a process --- */

/*
 * By kind: what a sleeper that is no more was to its object. Called with the object's lock to be taken; adds to wake_q. The
 * sleeper is QUEUED, DONE or IDLE: only with that lock it is known which. Returns false if there was no memory for it: nothing
 * has changed.
 */
typedef bool sleeper_cancel_fn(struct ipc_namespace *ns, struct tx *tx, struct sleeper *sleeper,
			       bool interrupt, struct wake_q *wake_q);
extern sleeper_cancel_fn *sleeper_cancel[3];
/*
 * Frees the records of a process that is no more, with what they were to their objects. false: it runs still, and
 * does it itself.
 */
bool sleeper_drop_all(struct ipc_namespace *ns, struct proc *proc);
/* In a child after fork. */
void sleeper_fork_child(void);
