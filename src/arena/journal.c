/* journal.c - transactions, and the recovery of those whose owner died; see journal.h. */
#include "arena/journal.h"
#include "arena/slab.h"
#include "base/os.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

VEE_TLS struct tx tx_here;

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

static struct journal_entry *entry_at(struct arena *arena, struct journal *journal, uint32_t n)
{
	struct journal_entry *more = arena_ptr(arena, journal->more);

	return n < JOURNAL_ENTRIES ? &journal->entry[n] : &more[n - JOURNAL_ENTRIES];
}

/* In one store, as it was: some fields are read without a lock. */
static void put_back(void *at, const struct journal_entry *entry)
{
	switch (entry->size) {
	case 8:
		__atomic_store_n((uint64_t *)at, entry->old, __ATOMIC_RELAXED);
		break;
	case 4:
		__atomic_store_n((uint32_t *)at, (uint32_t)entry->old, __ATOMIC_RELAXED);
		break;
	default:
		memcpy(at, &entry->old, entry->size);
	}
}

/* The caller holds recovery_lock or owns the journal. */
static void play_back(struct arena *arena, struct journal *journal)
{
	uint32_t n = journal->length;

	while (n > 0) {
		const struct journal_entry *entry = entry_at(arena, journal, --n);

		put_back(arena->base + entry->at, entry);
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

int journal_claim(struct arena *arena, struct tx *tx)
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

struct journal *journal_mine(struct arena *arena)
{
	if (!journal_is_mine(arena)) {
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
	if (!journal_is_mine(arena))
		return;
	pthread_mutex_unlock(&tx_here.journal->claim);
	tx_here.journal = NULL;
}

/* A lock is held for less time than it takes to go to sleep: looks a while before. */
#define LOOKS 50

int journal_lock_busy(struct arena_lock *lock)
{
	const uint32_t *word = arena_mutex_word(&lock->mutex);

	for (unsigned i = 0; i < LOOKS; i++) {
		int ret = load_acquire(*word) ? EBUSY : pthread_mutex_trylock(&lock->mutex);

		if (ret != EBUSY)
			return ret;
		/* Seldom: each look takes the line from the one who works under the lock. */
		for (unsigned j = 0; j < 8; j++)
			cpu_relax();
	}
	return pthread_mutex_lock(&lock->mutex);
}

void journal_recover(struct tx *tx, struct arena_lock *lock, int error)
{
	if (error == EOWNERDEAD)
		recover(tx->arena, lock);
	else
		lock_or_die(error);
}

void tx_abort(struct tx *tx)
{
	play_back(tx->arena, tx->journal);
	tx_close(tx);
}

int journal_grow(struct tx *tx, unsigned n)
{
	struct journal *journal = tx->journal;
	uint32_t wanted = journal->length + n + JOURNAL_GROWTH, have;
	ref_t ref, old = journal->more;
	int ret;

	if (tx->n_outgrown == ARRAY_SIZE(tx->outgrown))
		return -ENOMEM;
	wanted = ALIGN_UP(wanted * 2 - JOURNAL_ENTRIES, ARENA_PAGE / sizeof(struct journal_entry));
	ret = arena_alloc(tx, (uint64_t)wanted * sizeof(struct journal_entry), &ref);
	if (ret < 0)
		return ret;
	/* The two entries are in the old memory and in the new, whichever `more` names. */
	tx_save(tx, &journal->more, sizeof(journal->more));
	tx_save(tx, &journal->more_room, sizeof(journal->more_room));
	have = journal->length > JOURNAL_ENTRIES ? journal->length - JOURNAL_ENTRIES : 0;
	if (have)
		memcpy(arena_ptr(tx->arena, ref), arena_ptr(tx->arena, old),
		       have * sizeof(struct journal_entry));
	compiler_barrier();
	journal->more = ref;
	arena_crash_point();
	journal->more_room = wanted;
	if (old)
		tx->outgrown[tx->n_outgrown++] = old;
	return 0;
}

void journal_free_outgrown(struct tx *tx)
{
	while (tx->n_outgrown)
		arena_free(tx, tx->outgrown[--tx->n_outgrown]);
}

struct journal_entry *journal_entry_more(struct tx *tx, uint32_t n)
{
	if (n >= JOURNAL_ENTRIES + tx->journal->more_room)
		__builtin_trap();
	return entry_at(tx->arena, tx->journal, n);
}

const char *journal_check(struct arena *arena)
{
	for (uint32_t i = 0; i < arena->header->journals_ready; i++) {
		const struct journal *journal = journal_at(arena, i);

		if (journal->length > JOURNAL_ENTRIES + journal->more_room)
			return "a journal is longer than it can be";
		if (journal->more && (journal->more < ARENA_HEAP_AT || journal->more % ARENA_PAGE))
			return "a journal's further entries lie nowhere";
	}
	return NULL;
}
