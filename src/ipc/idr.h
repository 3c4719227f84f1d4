/*
 * idr.h - a radix tree from a small integer to a reference, in the namespace file.
 *
 * What a caller sees: the idr of the design. idr_find() takes no lock; everything else
 * is called with the lock of the tree's owner held, in its transaction.
 *
 * How it works: nodes of 64 slots; two bit maps per node say below which slots something is free and something
 * is there, so the next free index, the next used one and the highest one are each a walk down.
 *
 * Invariants
 *  1. A node, once linked, is never freed: a reader without a lock always reads a node.
 *  2. full bit i: no free index below slot i. used bit i: something below slot i.
 * Ordering: IDR_LINK. A slot is stored with release after what it refers to has been filled in, and read
 * with acquire.
 */
#pragma once

#include "arena/slab.h"

#define IDR_SLOTS  64u
#define IDR_LEVELS 3u
#define IDR_MAX	   (1u << 15)

/* record: guarded by the lock of the idr's owner, slots readable without */
struct idr_node {
	uint64_t full;
	uint64_t used;
	ref_t slot[IDR_SLOTS];
};
_Static_assert(sizeof(struct idr_node) == 16 + 4 * IDR_SLOTS, "layout");

/* record: the same */
struct idr {
	ref_t root;
	uint32_t next; /* where the cyclic search goes on */
};
_Static_assert(sizeof(struct idr) == 8, "layout");

/* The reference at index, or 0. */
ref_t idr_find(struct arena *arena, const struct idr *idr, uint32_t index);

/*
 * Stores ref at the first free index at or after the cursor and below `end`, else at the first from 0.
 * Returns the index, -ENOSPC, or -ENOMEM.
 */
int idr_alloc_cyclic(struct tx *tx, struct idr *idr, ref_t ref, uint32_t end);
/* At the first free index at or after `start`, below `end`. */
int idr_alloc(struct tx *tx, struct idr *idr, ref_t ref, uint32_t start, uint32_t end);
void idr_remove(struct tx *tx, struct idr *idr, uint32_t index);

/* The first used index at or after `index`, or -1. */
int idr_next(struct arena *arena, const struct idr *idr, uint32_t index);
/* The highest used index, or -1. */
int idr_last(struct arena *arena, const struct idr *idr);
const char *idr_check(struct arena *arena, const struct idr *idr);
