/*
 * guard.h - a file that somebody truncates does not kill those who have it mapped.
 *
 * What a caller sees: once a mapping is guarded, an access to a page that its file no longer has (or that a full file
 * system or a broken disk can't give) finds a page of zeros instead of SIGBUS. The page is private to the process: what
 * is stored there, nobody else sees. guard_hit() tells from then on; what was read since may be zeros, so a caller
 * asks after it has read, and before it believes. Where the page stood, the mapping stays torn off its file, even if that
 * grows again.
 *
 * A system call that is handed such memory fails with EFAULT as ever, and does not hit the guard.
 *
 * How it works: the first guard_add() installs a handler of SIGBUS, straight in the kernel. What is not an access to
 * guarded memory goes to the action that was there before, with the signal mask and the one-shot rule that it asked for; if
 * that was the default, the default is restored and the signal sent again, so the process ends as it would have.
 *
 * What it can't do:
 *  - A program that installs a handler of SIGBUS later replaces ours; it may call the one that it found.
 *  - A thread that has SIGBUS blocked dies of a fault: the kernel asks no handler. critical_defer() blocks it, for the rest
 *    of the section in which a signal was kept.
 *  - Two threads that touch the same lost page at once may each get it, the second one erasing the first one's stores.
 *
 * Invariants
 *  1. There is no lock: a handler, and the child of a fork at any moment, find the table whole. (A child may find one
 *     guard lost that another thread was taking or giving back.)
 *  2. Guards are never freed, only used again. A guard's `turn` is odd while its range changes; a handler passes it by, since
 *     nobody may touch memory whose guard is just coming or going.
 */
#pragma once

#include "base/compiler.h"
#include <stdbool.h>

struct guard {
	uintptr_t start, end; /* whole pages; 0, 0: not in use */
	uint32_t turn;
	int prot;
	uint32_t hit;
	uint32_t number;
	uint32_t next_free; /* its number + 1 */
};

/*
 * Guards the mapping of `size` bytes at `base`, a page's first byte, which was made with `prot`. NULL: no memory, or
 * the kernel takes no handler. Any thread may call it, also one that has forked off.
 */
struct guard *guard_add(void *base, size_t size, int prot);

/* Hit, as if a page had been found missing: for who learns in another way that the file was truncated. */
void guard_mark(struct guard *guard);

/* Before the memory is unmapped, and after the last access to it. NULL does nothing. */
void guard_remove(struct guard *guard);

/*
 * Has a page been found missing since guard_add(), by any thread? No: whatever the caller has read before was the file's.
 */
static inline bool guard_hit(const struct guard *guard)
{
	/* GUARD_HIT: a handler may have run at any access above, and in another thread before it. */
#if defined(__aarch64__)
	__asm__ volatile("dmb ishld" ::: "memory");
#else
	compiler_barrier();
#endif
	return __atomic_load_n(&guard->hit, __ATOMIC_RELAXED);
}
