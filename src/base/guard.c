/*
 * guard.c - zeros in place of SIGBUS; see guard.h.
 *
 * Guards have numbers from 0. They lie in blocks, each twice as large as the one before, which are mapped when they
 * are first needed. Those that were given back form a stack, whose head carries a count against ABA.
 */
#include "base/guard.h"
#include "base/os.h"

#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define FIRST_BLOCK 64u
#define BLOCKS	    20u /* more than a process can have mappings */

static struct guard *blocks[BLOCKS];
static uint32_t made;	     /* guards 0 ... made - 1 have been in use */
static uint64_t free_guards; /* a count << 32 | the first one's number + 1 */

static int installed_in; /* the process */
static uintptr_t page_size;
/* The action that was there before; `handler` may be taken by SA_RESETHAND. */
static struct os_action earlier;

/* --- the table --- */

static unsigned block_of(uint32_t number)
{
	return 31 - __builtin_clz(number / FIRST_BLOCK + 1);
}

static uint32_t block_size(unsigned block)
{
	return FIRST_BLOCK << block;
}

static uint32_t block_first(unsigned block)
{
	return block_size(block) - FIRST_BLOCK;
}

static struct guard *guard_at(uint32_t number)
{
	unsigned block = block_of(number);

	return load_acquire(blocks[block]) + (number - block_first(block));
}

static bool have_block(unsigned block)
{
	struct guard *none = NULL;
	size_t size = block_size(block) * sizeof(struct guard);
	intptr_t at;

	if (load_acquire(blocks[block]))
		return true;
	at = os_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at < 0)
		return false;
	if (!__atomic_compare_exchange_n(&blocks[block], &none, (struct guard *)at, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		os_munmap((void *)at, size);
	return true;
}

static struct guard *guard_new(void)
{
	uint32_t number = load_acquire(made);
	struct guard *guard;

	do
		if (block_of(number) >= BLOCKS || !have_block(block_of(number)))
			return NULL;
	while (!__atomic_compare_exchange_n(&made, &number, number + 1, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE));
	guard = guard_at(number);
	guard->number = number;
	return guard;
}

static struct guard *guard_take(void)
{
	uint64_t head = load_acquire(free_guards), next;
	struct guard *guard;

	do {
		if ((uint32_t)head == 0)
			return guard_new();
		guard = guard_at((uint32_t)head - 1);
		next = ((head >> 32) + 1) << 32 |
		       __atomic_load_n(&guard->next_free, __ATOMIC_RELAXED);
	} while (!__atomic_compare_exchange_n(&free_guards, &head, next, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	return guard;
}

static void guard_give(struct guard *guard)
{
	uint64_t head = load_acquire(free_guards), next;

	do {
		__atomic_store_n(&guard->next_free, (uint32_t)head, __ATOMIC_RELAXED);
		next = ((head >> 32) + 1) << 32 | (guard->number + 1);
	} while (!__atomic_compare_exchange_n(&free_guards, &head, next, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
}

/* GUARD_TURN: whoever sees a value stored here sees the odd turn too, or a later one. */
static void guard_set(struct guard *guard, uintptr_t start, uintptr_t end, int prot)
{
	uint32_t turn = __atomic_load_n(&guard->turn, __ATOMIC_RELAXED);

	__atomic_store_n(&guard->turn, turn + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&guard->start, start, __ATOMIC_RELEASE);
	__atomic_store_n(&guard->end, end, __ATOMIC_RELEASE);
	__atomic_store_n(&guard->prot, prot, __ATOMIC_RELEASE);
	__atomic_store_n(&guard->turn, turn + 2, __ATOMIC_RELEASE);
}

struct range {
	uintptr_t start, end;
	int prot;
};

static bool guard_covers(const struct guard *guard, uintptr_t at, struct range *ret_range)
{
	uint32_t turn = load_acquire(guard->turn);
	struct range range = {load_acquire(guard->start), load_acquire(guard->end),
			      load_acquire(guard->prot)};

	/* GUARD_TURN */
	if (turn % 2 || __atomic_load_n(&guard->turn, __ATOMIC_RELAXED) != turn)
		return false;
	*ret_range = range;
	return at >= range.start && at < range.end;
}

static struct guard *guard_find(uintptr_t at, struct range *ret_range)
{
	uint32_t n = load_acquire(made);

	for (unsigned block = 0; block < BLOCKS && block_first(block) < n; block++) {
		struct guard *first = load_acquire(blocks[block]);
		uint32_t left = n - block_first(block);

		for (uint32_t i = 0; i < block_size(block) && i < left; i++)
			if (guard_covers(&first[i], at, ret_range))
				return &first[i];
	}
	return NULL;
}

/* --- the handler: system calls and loads only --- */

static bool put_zeros(uintptr_t from, uintptr_t end, int prot)
{
	return os_mmap((void *)from, end - from, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		       0) >= 0;
}

static bool guarded(uintptr_t at)
{
	struct range range;
	struct guard *guard = guard_find(at, &range);
	uintptr_t page = at & ~(page_size - 1);

	if (!guard)
		return false;
	guard_mark(guard); /* GUARD_HIT: no other thread reads the zeros before. */
	/* Where single pages can't be had (too many mappings, huge pages), all of it. */
	return put_zeros(page, page + page_size, range.prot) ||
	       put_zeros(range.start, range.end, range.prot);
}

static os_handler *earlier_handler(void)
{
	if (__atomic_load_n(&earlier.flags, __ATOMIC_RELAXED) & SA_RESETHAND)
		return __atomic_exchange_n(&earlier.handler, OS_SIG_DFL, __ATOMIC_ACQ_REL);
	return load_acquire(earlier.handler);
}

static void end_by_default(siginfo_t *info)
{
	const struct os_action by_default = {.handler = OS_SIG_DFL};

	os_sigaction(SIGBUS, &by_default, NULL);
	/* It is blocked in here: it comes on return, at the instruction that faulted. If not, that faults again. */
	os_tgsigqueueinfo(SIGBUS, info);
}

static void pass_on(int sig, siginfo_t *info, void *context)
{
	os_handler *handler = earlier_handler();
	/* "Action optional" comes by itself, as a sent signal does. */
	bool fault = info->si_code > 0 && info->si_code != BUS_MCEERR_AO;
	uint64_t mask;

	/* The kernel lets nobody ignore a fault. */
	if (handler == OS_SIG_DFL || (handler == OS_SIG_IGN && fault)) {
		end_by_default(info);
		return;
	}
	if (handler == OS_SIG_IGN)
		return;
	memcpy(&mask, &((ucontext_t *)context)->uc_sigmask, sizeof(mask));
	mask |= __atomic_load_n(&earlier.mask, __ATOMIC_RELAXED);
	if (!(__atomic_load_n(&earlier.flags, __ATOMIC_RELAXED) & SA_NODEFER))
		mask |= 1ull << (SIGBUS - 1);
	os_sigprocmask_raw(SIG_SETMASK, &mask);
	/* A plain handler gets three arguments from the kernel too. */
	handler(sig, info, context);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (info->si_code != BUS_ADRERR || !guarded((uintptr_t)info->si_addr))
		pass_on(sig, info, context);
}

/*
 * Two threads may do it at once: they store the same. So may the child of a fork in the middle of it; and any child looks for itself, for
 * fork copies the handlers first and the memory later.
 */
static bool install(void)
{
	struct os_action ours = {.handler = on_sigbus, .mask = ~0ull}, old;
	int self = os_getpid();

	if (likely(load_acquire(installed_in) == self))
		return true;
	__atomic_store_n(&page_size, (uintptr_t)sysconf(_SC_PAGESIZE), __ATOMIC_RELAXED);
	if (os_sigaction(SIGBUS, NULL, &old) < 0)
		return false;
	if (old.handler != on_sigbus) {
		__atomic_store_n(&earlier.flags, old.flags, __ATOMIC_RELAXED);
		__atomic_store_n(&earlier.mask, old.mask, __ATOMIC_RELAXED);
		__atomic_store_n(&earlier.handler, old.handler, __ATOMIC_RELEASE);
		/* Who ignores a sent signal wants no system call interrupted by it. */
		ours.flags = SA_SIGINFO | SA_ONSTACK | (old.flags & SA_RESTART) |
			     (old.handler == OS_SIG_IGN ? SA_RESTART : 0);
		if (os_sigaction(SIGBUS, &ours, NULL) < 0)
			return false;
	}
	__atomic_store_n(&installed_in, self, __ATOMIC_RELEASE);
	return true;
}

struct guard *guard_add(void *base, size_t size, int prot)
{
	struct guard *guard;
	uintptr_t start = (uintptr_t)base;

	if (!install())
		return NULL;
	guard = guard_take();
	if (!guard)
		return NULL;
	__atomic_store_n(&guard->hit, 0, __ATOMIC_RELAXED);
	guard_set(guard, start, ALIGN_UP(start + size, page_size), prot);
	return guard;
}

void guard_mark(struct guard *guard)
{
	__atomic_store_n(&guard->hit, 1, __ATOMIC_SEQ_CST);
}

void guard_remove(struct guard *guard)
{
	if (!guard)
		return;
	guard_set(guard, 0, 0, 0);
	guard_give(guard);
}
