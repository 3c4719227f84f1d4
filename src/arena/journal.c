/* journal.c - transactions, and the recovery of those whose owner died; see journal.h. */
#include "arena/journal.h"
#include "base/os.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static VEE_TLS struct tx tx_here;

unsigned arena_crash_countdown;
unsigned arena_crash_steps;

void arena_crash_now(void)
{
	arena_crash_steps++;
	if (--arena_crash_countdown == 0)
		os_kill(os_getpid(), SIGKILL);
}

static struct journal *journal_at(struct arena *arena, uint32_t index)
{
	return (struct journal *)(arena->base + ARENA_JOURNALS_AT + (size_t)index * ARENA_PAGE);
}

static uint32_t journal_index(struct arena *arena, const struct journal *journal)
{
	return ((const char *)journal - arena->base - ARENA_JOURNALS_AT) / ARENA_PAGE;
}

/* A lock that returns something else than success or EOWNERDEAD is damaged beyond use. */
static void lock_or_die(int ret)
{
	static const char text[] =
		"vee: a lock in the namespace file is damaged; see 'vee check'\n";

	if (likely(ret == 0))
		return;
	os_write(2, text, sizeof(text) - 1);
	__builtin_trap();
}

/* Everything under recovery_lock is idempotent, so a dead owner leaves nothing to mend. */
static void recovery_enter(struct arena *arena)
{
	pthread_mutex_t *mutex = &arena->header->recovery_lock.mutex;
	int ret = pthread_mutex_lock(mutex);

	if (ret == EOWNERDEAD)
		ret = pthread_mutex_consistent(mutex);
	lock_or_die(ret);
}

static void recovery_leave(struct arena *arena)
{
	pthread_mutex_unlock(&arena->header->recovery_lock.mutex);
}

/* The caller holds recovery_lock or owns the journal. */
static void play_back(struct arena *arena, struct journal *journal)
{
	uint32_t n = journal->length;

	while (n > 0) {
		const struct journal_entry *entry = &journal->entry[--n];

		memcpy(arena->base + entry->at, &entry->old, entry->size);
		/* JOURNAL_PLAYED: the bytes are back before the entry stops to count. */
		compiler_barrier();
		journal->length = n;
		arena_crash_point();
	}
}

/*
 * The one function that recovers a lock: the caller got it with EOWNERDEAD. It has its own
 * transaction or none; the dead owner's journal is another's.
 */
static void recover(struct arena *arena, struct arena_lock *lock)
{
	uint64_t holder = lock->holder;
	uint32_t index = (uint32_t)holder - 1;

	if (holder && index < ARENA_JOURNALS) {
		struct journal *journal = journal_at(arena, index);

		recovery_enter(arena);
		if (journal->generation == holder >> 32)
			play_back(arena, journal);
		recovery_leave(arena);
	}
	lock->holder = 0;
	compiler_barrier();
	lock_or_die(pthread_mutex_consistent(&lock->mutex));
}

static int journal_new(struct arena *arena, struct journal **ret_journal)
{
	uint32_t index = arena->header->journals_ready;
	struct journal *journal = journal_at(arena, index);
	struct arena_lock pattern;
	int ret;

	if (index >= ARENA_JOURNALS)
		return -ENOSPC;
	ret = arena_commit(arena, (char *)journal - arena->base, ARENA_PAGE);
	if (ret < 0)
		return ret;
	arena_lock_init(&pattern);
	memcpy(&journal->claim, &pattern.mutex, sizeof(journal->claim));
	journal->length = 0;
	pthread_mutex_trylock(&journal->claim); /* it is new: nobody else knows it */
	__atomic_store_n(&arena->header->journals_ready, index + 1, __ATOMIC_RELEASE);
	*ret_journal = journal;
	return 0;
}

/* A journal whose owner is gone, played back; NULL if all are in use. */
static struct journal *journal_reuse(struct arena *arena)
{
	for (uint32_t i = 0; i < arena->header->journals_ready; i++) {
		struct journal *journal = journal_at(arena, i);
		int ret = pthread_mutex_trylock(&journal->claim);

		if (ret == EOWNERDEAD) {
			play_back(arena, journal);
			ret = pthread_mutex_consistent(&journal->claim);
		}
		if (ret == 0)
			return journal;
	}
	return NULL;
}

static int journal_claim(struct arena *arena, struct tx *tx)
{
	struct journal *journal;
	int ret = 0;

	recovery_enter(arena);
	journal = journal_reuse(arena);
	if (!journal)
		ret = journal_new(arena, &journal);
	if (ret == 0) {
		journal->generation++;
		tx->arena = arena;
		tx->journal = journal;
		tx->epoch = arena->epoch;
		tx->holder =
			(uint64_t)journal->generation << 32 | (journal_index(arena, journal) + 1);
	}
	recovery_leave(arena);
	return ret;
}

static inline bool claimed(struct arena *arena)
{
	return tx_here.journal && tx_here.epoch == arena->epoch && tx_here.arena == arena;
}

struct journal *journal_mine(struct arena *arena)
{
	if (!claimed(arena)) {
		int ret;

		critical_enter();
		ret = journal_claim(arena, &tx_here);
		critical_leave();
		if (ret < 0)
			return NULL;
	}
	return tx_here.journal;
}

void journal_forget(void)
{
	tx_here.journal = NULL;
}

void journal_release(struct arena *arena)
{
	if (!claimed(arena))
		return;
	pthread_mutex_unlock(&tx_here.journal->claim);
	tx_here.journal = NULL;
}

int tx_begin(struct arena *arena, struct tx **ret_tx)
{
	struct tx *tx = &tx_here;

	critical_enter();
	if (unlikely(!claimed(arena))) {
		int ret = journal_claim(arena, tx);

		if (ret < 0) {
			critical_leave();
			return ret;
		}
	}
	tx->open = true;
	tx->n_locks = 0;
	*ret_tx = tx;
	return 0;
}

void tx_lock(struct tx *tx, struct arena_lock *lock)
{
	int ret;

	for (unsigned i = 0; i < tx->n_locks; i++)
		if (tx->locks[i] == lock)
			return;
	if (tx->n_locks == TX_LOCKS)
		__builtin_trap();
	ret = pthread_mutex_lock(&lock->mutex);
	if (unlikely(ret == EOWNERDEAD))
		recover(tx->arena, lock);
	else
		lock_or_die(ret);
	lock->holder = tx->holder;
	compiler_barrier();
	tx->locks[tx->n_locks++] = lock;
}

static void tx_close(struct tx *tx)
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

void tx_commit(struct tx *tx)
{
	/* JOURNAL_SAVE: all stores stand before the journal is empty. */
	compiler_barrier();
	tx->journal->length = 0;
	arena_crash_point();
	tx_close(tx);
}

void tx_abort(struct tx *tx)
{
	play_back(tx->arena, tx->journal);
	tx_close(tx);
}

void tx_save(struct tx *tx, void *at, unsigned size)
{
	struct journal *journal = tx->journal;
	uint32_t n = journal->length;
	struct journal_entry *entry = &journal->entry[n];

	if (unlikely(n == JOURNAL_ENTRIES))
		__builtin_trap();
	arena_crash_point();
	entry->at = arena_ref(tx->arena, at);
	entry->size = size;
	memcpy(&entry->old, at, size);
	/* JOURNAL_SAVE: the entry is whole before it counts, and counts before the store. */
	compiler_barrier();
	journal->length = n + 1;
	arena_crash_point();
}

const char *journal_check(struct arena *arena)
{
	for (uint32_t i = 0; i < arena->header->journals_ready; i++) {
		const struct journal *journal = journal_at(arena, i);

		if (journal->length > JOURNAL_ENTRIES)
			return "a journal is longer than it can be";
	}
	return NULL;
}
