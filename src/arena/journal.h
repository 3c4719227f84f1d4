/*
 * journal.h - transactions on a namespace file: all or nothing, whoever dies.
 *
 * What a caller sees: tx_begin() starts a transaction of this thread, tx_lock() adds a lock to it,
 * tx_set() stores to shared memory, tx_commit() makes all stores stand, tx_abort() takes
 * them all back; both release every lock. A process that is killed anywhere in between leaves
 * the file as it was at tx_begin(). No system call that can block, and no return, stands
 * between tx_begin() and its commit or abort. Signal handlers of the program don't run meanwhile.
 *
 * How it works: each thread claims a journal for life by a robust mutex. Before a store, the old
 * bytes go into the journal; commit sets its length to 0. A lock whose owner died (EOWNERDEAD)
 * names that owner's journal, and whoever comes first plays it back, newest entry first, for all the locks
 * that the dead one held, before it goes on.
 *
 * Invariants
 *  1. Every store to a field that a lock guards is preceded by an entry with its old bytes. Memory that
 *     was allotted in this transaction is exempt: tx_abort() frees it. So a transaction never allots after it has
 *     freed: it might get what must be there again if it is taken back (tx->freed).
 *  2. A lock taken in a transaction is held to its end. So whatever an entry covers has been seen
 *     by nobody else when it is played back.
 *  3. lock->holder is set before the first entry and cleared after the commit. So a lock with a dead
 *     owner and no holder guards sound state; one with a holder {journal, generation} guards
 *     sound state once that journal, if still of that generation, has been played back.
 *  4. Playing back changes nothing when done twice; recovery_lock makes it once at a time.
 *  5. A journal gets a new generation when a new thread claims it, after it was played back.
 *  6. Entries beyond JOURNAL_ENTRIES lie in memory of the heap, `more`, which a journal keeps once it has
 *     it. When it grows the entries are copied, and the old memory is kept to the end of the transaction: played back
 *     past the growth, it is read again.
 *
 * Ordering: a process dies between two instructions, and all its stores before that
 * instruction become visible, in no matter what order, before the kernel marks its
 * mutexes. So within a transaction only the compiler has to be kept from reordering
 * (JOURNAL_SAVE); between processes the mutex orders.
 */
#pragma once

#include "arena/arena.h"
#include "base/critical.h"

#include <errno.h>

#define JOURNAL_ENTRIES 250u
#define TX_LOCKS	4u

/* record: one old value */
struct journal_entry {
	uint32_t at;   /* from the start of the file */
	uint32_t size; /* 1 … 8 bytes */
	uint64_t old;
};
_Static_assert(sizeof(struct journal_entry) == 16, "layout");

/* record: only its owner writes it, or who holds recovery_lock when the owner is dead */
struct journal {
	pthread_mutex_t claim; /* robust; held by the owning thread as long as it lives */
	uint32_t generation;
	uint32_t length;    /* entries that count */
	ref_t more;	    /* the entries from JOURNAL_ENTRIES on, or 0 */
	uint32_t more_room; /* how many fit there */
	uint8_t pad[96 - 16 - sizeof(pthread_mutex_t)];
	struct journal_entry entry[JOURNAL_ENTRIES];
};
_Static_assert(sizeof(struct journal) <= ARENA_PAGE, "a journal fits its page");
_Static_assert(sizeof(struct journal) == 96 + 16 * JOURNAL_ENTRIES, "layout");

struct tx {
	struct arena *arena;
	struct journal *journal;
	unsigned n_locks;
	bool open;
	bool freed;
	unsigned n_outgrown;
	ref_t outgrown
		[4]; /* memory for further entries that it has grown out of: freed at the end */
	struct arena_lock *locks[TX_LOCKS];
	uint64_t holder;
	uint64_t epoch; /* of the process when the journal was claimed: a fork makes it stale */
};

/*
 * Starts a transaction of the calling thread. At most one is open per thread.
 * Returns 0, or -ENOMEM if the file system can't hold one more journal, -ENOSPC if ARENA_JOURNALS
 * threads are alive.
 */
static inline int tx_begin(struct arena *arena, struct tx **ret_tx);

/* Takes a lock, in the order ids < process table < object < memory; recovers it if its owner died. */
static inline void tx_lock(struct tx *tx, struct arena_lock *lock);
static inline void tx_commit(struct tx *tx);
void tx_abort(struct tx *tx);
/*
 * The first half of tx_commit(): all stores stand, the locks are held on. For what may be seen
 * without a lock, and so must not be taken back; tx_commit() follows.
 */
static inline void tx_stand(struct tx *tx);

/*
 * Makes room for n more stores; without it a transaction has JOURNAL_ENTRIES. May take memory_lock.
 * Returns 0, or -ENOMEM / -ENOSPC with nothing changed.
 */
static inline int tx_reserve(struct tx *tx, unsigned n);

#define tx_set(tx, field, value)                                     \
	do {                                                         \
		__typeof__(field) *tx_at_ = &(field);                \
		tx_save((tx), tx_at_, sizeof(*tx_at_));              \
		__atomic_store_n(tx_at_, (value), __ATOMIC_RELEASE); \
		arena_crash_point();                                 \
	} while (0)

/* In a child after fork: what the parent's thread claimed is not the child's. */
void journal_forget(void);
/* Gives this thread's journal back, before the file is unmapped. */
void journal_release(struct arena *arena);
/* The journal that this thread has claimed, or NULL. */
struct journal *journal_mine(struct arena *arena);
/* What is wrong with the journals, or NULL. The caller holds recovery_lock. */
const char *journal_check(struct arena *arena);

/* For tests: SIGKILL to oneself when the countdown comes to 0. One step before and after each store. */
extern unsigned arena_crash_countdown;
extern unsigned arena_crash_steps;
void arena_crash_now(void);

static inline void arena_crash_point(void)
{
	compiler_barrier();
	if (unlikely(arena_crash_countdown))
		arena_crash_now();
}

/* --- the above in line, as far as it is made in each call --- */

extern VEE_TLS struct tx tx_here;

/* The entry in place n, which is beyond the journal's page. */
struct journal_entry *journal_entry_more(struct tx *tx, uint32_t n);
int journal_claim(struct arena *arena, struct tx *tx);
int journal_grow(struct tx *tx, unsigned n);
void journal_free_outgrown(struct tx *tx);
/* Waits for a lock that another has. */
int journal_lock_busy(struct arena_lock *lock);
/* A lock was got with an error: recovers it, if its owner died. */
void journal_recover(struct tx *tx, struct arena_lock *lock, int error);

/* What allotting and freeing the memory for more entries needs itself. */
#define JOURNAL_GROWTH 96u

static inline bool journal_is_mine(const struct arena *arena)
{
	return tx_here.journal && tx_here.epoch == arena->epoch && tx_here.arena == arena;
}

static inline int tx_begin(struct arena *arena, struct tx **ret_tx)
{
	struct tx *tx = &tx_here;

	critical_enter();
	if (unlikely(!journal_is_mine(arena))) {
		int ret = journal_claim(arena, tx);

		if (ret < 0) {
			critical_leave();
			return ret;
		}
	}
	tx->open = true;
	tx->freed = false;
	tx->n_outgrown = 0;
	tx->n_locks = 0;
	*ret_tx = tx;
	return 0;
}

static inline void tx_lock(struct tx *tx, struct arena_lock *lock)
{
	int ret;

	for (unsigned i = 0; i < tx->n_locks; i++)
		if (tx->locks[i] == lock)
			return;
	if (unlikely(tx->n_locks == TX_LOCKS))
		__builtin_trap();
	ret = pthread_mutex_trylock(&lock->mutex);
	if (unlikely(ret == EBUSY))
		ret = journal_lock_busy(lock);
	if (unlikely(ret))
		journal_recover(tx, lock, ret);
	lock->holder = tx->holder;
	compiler_barrier();
	tx->locks[tx->n_locks++] = lock;
}

static inline void tx_close(struct tx *tx)
{
	tx->open = false;
	while (tx->n_locks > 0) {
		struct arena_lock *lock = tx->locks[--tx->n_locks];

		lock->holder = 0;
		compiler_barrier();
		pthread_mutex_unlock(&lock->mutex);
	}
	critical_leave();
}

static inline void tx_stand(struct tx *tx)
{
	if (unlikely(tx->n_outgrown))
		journal_free_outgrown(tx);
	/* JOURNAL_SAVE: all stores stand before the journal is empty. */
	compiler_barrier();
	tx->journal->length = 0;
	tx->freed = false;
	arena_crash_point();
}

static inline void tx_commit(struct tx *tx)
{
	if (tx->journal->length)
		tx_stand(tx);
	tx_close(tx);
}

static inline int tx_reserve(struct tx *tx, unsigned n)
{
	const struct journal *journal = tx->journal;

	if (likely(journal->length + n + JOURNAL_GROWTH <= JOURNAL_ENTRIES + journal->more_room))
		return 0;
	return journal_grow(tx, n);
}

/* Saves old bytes before a store to them. */
static inline void tx_save(struct tx *tx, const void *at, unsigned size)
{
	struct journal *journal = tx->journal;
	uint32_t n = journal->length;
	struct journal_entry *entry = &journal->entry[n];

	if (unlikely(n >= JOURNAL_ENTRIES))
		entry = journal_entry_more(tx, n);
	arena_crash_point();
	entry->at = arena_ref(tx->arena, at);
	entry->size = size;
	/* A word that others may try at, in vain, is read as such. */
	if (size == sizeof(entry->old))
		entry->old = __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
	else
		__builtin_memcpy(&entry->old, at, size);
	/* JOURNAL_SAVE: the entry is whole before it counts, and counts before the store. */
	compiler_barrier();
	journal->length = n + 1;
	arena_crash_point();
}
