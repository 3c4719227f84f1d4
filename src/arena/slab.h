/*
 * slab.h - memory inside a namespace file.
 *
 * What a caller sees: arena_alloc() of 8 bytes up to many pages, arena_free(). Both belong to the
 * caller's transaction: an abort, or a death, undoes them. A request that can't be met returns
 * an error and changes nothing. Memory comes with any contents.
 *
 * How it works: sizes up to half a page are rounded up to a power of two and cut from a page of their class; a
 * page descriptor keeps the free objects of its page as a list of 16-bit indices that lies in the
 * objects themselves. Larger sizes are runs of pages, kept in lists by the log2 of their length and
 * merged with their neighbours when freed (the last page of a free run points back to its
 * first). Pages that nobody has used yet are committed in chunks of 64.
 *
 * Invariants (slab_check)
 *  1. A slab page has n_used + length of its free list = objects of its class in a page.
 *  2. It is in its class's partial list exactly if it has a free object.
 *  3. A free run is in the list of its log2; its first and last page agree; no two free runs touch.
 *  4. heap_used counts the pages that are in no free run.
 * Guard: memory_lock, for everything.
 */
#pragma once

#include "arena/journal.h"

enum page_state {
	PAGE_NEVER = 0,
	PAGE_SLAB,
	PAGE_RUN,	/* first page of a run in use; n pages */
	PAGE_RUN_MORE,	/* a later page of it */
	PAGE_FREE,	/* first page of a free run; n pages */
	PAGE_FREE_LAST, /* last page of a free run of more than one; n pages */
	PAGE_FREE_MORE,
};

/* record: one per page of the heap */
struct page_desc {
	uint8_t state; /* enum page_state */
	uint8_t class;
	uint16_t n_used; /* slab: objects in use */
	uint32_t count;	 /* slab: index + 1 of the first free object; run: its pages */
	uint32_t next;	 /* in its list: page index + 1 */
	uint32_t prev;
};
_Static_assert(sizeof(struct page_desc) == 16, "layout");

/* Returns 0 and a reference, or -ENOMEM / -ENOSPC. Takes memory_lock into the transaction. */
int arena_alloc(struct tx *tx, uint64_t size, ref_t *ret_ref);
void arena_free(struct tx *tx, ref_t ref);
/* The bytes that the object takes. */
uint64_t arena_size_of(struct arena *arena, ref_t ref);
const char *slab_check(struct arena *arena);
