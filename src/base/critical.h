/*
 * critical.h - a section of code that no signal handler interrupts, without a system call.
 *
 * What a caller sees: between critical_enter() and critical_leave() no handler of the program
 * runs in this thread; a signal that arrives meanwhile is delivered right after the outermost
 * critical_leave(). Sections nest.
 *
 * How it works: nothing is blocked. The wrapper that preload/signal.c installs around each handler
 * asks critical_defer(); inside a section it keeps the signal for later, blocks all signals
 * for the rest of the section, and returns. So the price of a section without a signal is two
 * thread-local stores and a load.
 *
 * Invariants
 *  1. depth > 0 exactly while the thread is inside a section.
 *  2. At most one signal is kept: keeping it blocks the others.
 *  3. A kept signal is sent again (same siginfo) before the mask of the interrupted code returns.
 *  4. A section that sleeps is woken by a kept signal, whether it came before or in the system call.
 */
#pragma once

#include "base/compiler.h"
#include <signal.h>
#include <stdbool.h>

struct critical {
	unsigned depth;
	bool pending; /* a signal is kept in info; mask is what to go back to */
	siginfo_t info;
	uint64_t mask; /* the kernel's 64-bit signal set, before all were blocked */
	/* The futex word on which the section is about to sleep: a kept signal adds CRITICAL_SIGNAL to it. */
	uint32_t *sleeps_on;
};

#define CRITICAL_SIGNAL 0x80000000u

extern VEE_TLS struct critical critical_here;

void critical_deliver(void);

static inline void critical_enter(void)
{
	critical_here.depth++;
	compiler_barrier();
}

static inline void critical_leave(void)
{
	compiler_barrier();
	if (--critical_here.depth == 0 && unlikely(critical_here.pending))
		critical_deliver();
}

/*
 * Called by a signal handler's wrapper. Returns true if the signal was kept for later, in which
 * case the wrapper must return at once.
 */
bool critical_defer(const siginfo_t *info, void *ucontext);
