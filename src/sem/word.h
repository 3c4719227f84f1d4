/*
 * word.h - a semaphore: one 64-bit word.
 *
 *	bits  0-14  semval, 0 … SEMVMX
 *	bit   15    held back: only who has the set's lock may change the word
 *	bits 16-37  sempid, of who changed it last
 *	bits 38-63  generation: one more each time when the word is held back
 *
 * A compare-and-swap of a word that is not held back is a whole semop(). The generation makes it
 * fail if, since the word was loaded, anybody had the word held back: so whatever was read of the set in
 * between (its id, owner, mode, length) was true of the set that the word belongs to.
 *
 * Words lie in memory that is never used for anything else; those of a set that is no more are held back.
 */
#pragma once

#include "base/compiler.h"
#include <stdbool.h>

#define SEMVMX	      32767
#define SEM_HELD      (1ull << 15)
#define SEM_PID_SHIFT 16
#define SEM_PID_MASK  0x3fffffull
#define SEM_GEN_SHIFT 38
#define SEM_GEN_ONE   (1ull << SEM_GEN_SHIFT)

/* Under the lock. Atomic, as those who try without it may be at the word still, in vain. */
static inline uint64_t word_get(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline int word_semval(uint64_t word)
{
	return word & SEMVMX;
}

static inline uint32_t word_sempid(uint64_t word)
{
	return word >> SEM_PID_SHIFT & SEM_PID_MASK;
}

/* The same generation and flag, another value and pid. */
static inline uint64_t word_with(uint64_t word, int semval, uint32_t pid)
{
	return (word >> SEM_GEN_SHIFT << SEM_GEN_SHIFT) | (word & SEM_HELD) |
	       (pid & SEM_PID_MASK) << SEM_PID_SHIFT | (uint64_t)semval;
}

/* WORD_HOLD: from here on no compare-and-swap of others succeeds. The caller has the set's lock. */
static inline void word_hold(uint64_t *word)
{
	uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

	while (!(old & SEM_HELD) &&
	       !__atomic_compare_exchange_n(word, &old, (old + SEM_GEN_ONE) | SEM_HELD, true,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		;
}

/* Lets the word go; all that was done under the lock stands already. */
static inline void word_let_go(uint64_t *word)
{
	__atomic_store_n(word, word_get(word) & ~SEM_HELD, __ATOMIC_RELEASE);
}
