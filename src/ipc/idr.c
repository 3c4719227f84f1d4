/* idr.c - the radix tree; see idr.h. */
#include "ipc/idr.h"

#include <errno.h>
#include <string.h>

static struct idr_node *node_at(struct arena *arena, ref_t ref)
{
	return arena_ptr(arena, ref);
}

/* The slot in the node of `level` (0: leaf) that leads to index. */
static unsigned slot_of(uint32_t index, unsigned level)
{
	return index >> (6 * level) & (IDR_SLOTS - 1);
}

ref_t idr_find(struct arena *arena, const struct idr *idr, uint32_t index)
{
	ref_t ref = __atomic_load_n(&idr->root, __ATOMIC_ACQUIRE);

	if (index >= IDR_MAX)
		return 0;
	for (unsigned level = IDR_LEVELS; level-- > 0 && ref;)
		ref = __atomic_load_n(&node_at(arena, ref)->slot[slot_of(index, level)],
				      __ATOMIC_ACQUIRE); /* IDR_LINK */
	return ref;
}

static int node_new(struct tx *tx, ref_t *slot)
{
	ref_t ref;
	int ret = arena_alloc(tx, sizeof(struct idr_node), &ref);

	if (ret < 0)
		return ret;
	memset(node_at(tx->arena, ref), 0, sizeof(struct idr_node));
	tx_set(tx, *slot, ref); /* IDR_LINK */
	return 0;
}

/* The first free index in [start, end) below the node, or -1. Missing nodes are all free. */
static int find_free(struct arena *arena, ref_t ref, unsigned level, uint32_t base, uint32_t start,
		     uint32_t end)
{
	uint32_t span = 1u << (6 * level);
	const struct idr_node *node = node_at(arena, ref);
	unsigned i = start > base ? (start - base) / span : 0;

	for (; i < IDR_SLOTS && base + i * span < end; i++) {
		uint32_t first = base + i * span;
		int at;

		if (node && node->full >> i & 1)
			continue;
		if (first < start)
			first = start;
		if (level == 0 || !node || !node->slot[i])
			return first < end ? (int)first : -1;
		at = find_free(arena, node->slot[i], level - 1, base + i * span, start, end);
		if (at >= 0)
			return at;
	}
	return -1;
}

static int put(struct tx *tx, struct idr *idr, uint32_t index, ref_t ref)
{
	struct idr_node *path[IDR_LEVELS];
	ref_t *slot = &idr->root;

	for (unsigned level = IDR_LEVELS; level-- > 0;) {
		if (!*slot) {
			int ret = node_new(tx, slot);

			if (ret < 0)
				return ret;
		}
		path[level] = node_at(tx->arena, *slot);
		slot = &path[level]->slot[slot_of(index, level)];
	}
	tx_set(tx, *slot, ref); /* IDR_LINK */
	for (unsigned level = 0; level < IDR_LEVELS; level++) {
		uint64_t bit = 1ull << slot_of(index, level);

		if (level == 0 || path[level - 1]->full == UINT64_MAX)
			tx_set(tx, path[level]->full, path[level]->full | bit);
		if (!(path[level]->used & bit))
			tx_set(tx, path[level]->used, path[level]->used | bit);
	}
	return index;
}

int idr_alloc(struct tx *tx, struct idr *idr, ref_t ref, uint32_t start, uint32_t end)
{
	int index;

	if (end > IDR_MAX)
		end = IDR_MAX;
	index = find_free(tx->arena, idr->root, IDR_LEVELS - 1, 0, start, end);
	return index < 0 ? -ENOSPC : put(tx, idr, index, ref);
}

int idr_alloc_cyclic(struct tx *tx, struct idr *idr, ref_t ref, uint32_t end)
{
	int index = idr->next < end ? idr_alloc(tx, idr, ref, idr->next, end) : -ENOSPC;

	if (index == -ENOSPC)
		index = idr_alloc(tx, idr, ref, 0, end);
	if (index >= 0)
		tx_set(tx, idr->next, (uint32_t)index + 1);
	return index;
}

void idr_remove(struct tx *tx, struct idr *idr, uint32_t index)
{
	struct idr_node *path[IDR_LEVELS];
	ref_t ref = idr->root;

	for (unsigned level = IDR_LEVELS; level-- > 0;) {
		if (!ref)
			return;
		path[level] = node_at(tx->arena, ref);
		ref = path[level]->slot[slot_of(index, level)];
	}
	tx_set(tx, path[0]->slot[slot_of(index, 0)], 0);
	for (unsigned level = 0; level < IDR_LEVELS; level++) {
		uint64_t bit = 1ull << slot_of(index, level);

		tx_set(tx, path[level]->full, path[level]->full & ~bit);
		if (level == 0 || path[level - 1]->used == 0)
			tx_set(tx, path[level]->used, path[level]->used & ~bit);
	}
}

static int next_below(struct arena *arena, ref_t ref, unsigned level, uint32_t base, uint32_t index)
{
	uint32_t span = 1u << (6 * level);
	const struct idr_node *node = node_at(arena, ref);
	unsigned i = index > base ? (index - base) / span : 0;

	while (node && i < IDR_SLOTS) {
		uint64_t left = node->used >> i;
		int at;

		if (!left)
			return -1;
		i += __builtin_ctzll(left);
		if (level == 0)
			return base + i;
		at = next_below(arena, node->slot[i], level - 1, base + i * span, index);
		if (at >= 0)
			return at;
		i++;
	}
	return -1;
}

int idr_next(struct arena *arena, const struct idr *idr, uint32_t index)
{
	return index >= IDR_MAX ? -1 : next_below(arena, idr->root, IDR_LEVELS - 1, 0, index);
}

int idr_last(struct arena *arena, const struct idr *idr)
{
	const struct idr_node *node = node_at(arena, idr->root);
	int index = 0;

	for (unsigned level = IDR_LEVELS; level-- > 0;) {
		unsigned i;

		if (!node || !node->used)
			return -1;
		i = 63 - __builtin_clzll(node->used);
		index |= i << (6 * level);
		node = node_at(arena, node->slot[i]);
	}
	return index;
}

static const char *check_node(struct arena *arena, ref_t ref, unsigned level)
{
	const struct idr_node *node = node_at(arena, ref);

	for (unsigned i = 0; i < IDR_SLOTS; i++) {
		bool used = node->slot[i] != 0, full = used;

		if (used && (node->slot[i] < ARENA_HEAP_AT || node->slot[i] % 8))
			return "an idr slot points nowhere";
		if (used && level > 0) {
			const struct idr_node *below = node_at(arena, node->slot[i]);
			const char *wrong = check_node(arena, node->slot[i], level - 1);

			if (wrong)
				return wrong;
			used = below->used != 0;
			full = below->full == UINT64_MAX;
		}
		if ((node->used >> i & 1) != used || (node->full >> i & 1) != full)
			return "an idr node's bit maps do not tell what is below";
	}
	return NULL;
}

const char *idr_check(struct arena *arena, const struct idr *idr)
{
	return idr->root ? check_node(arena, idr->root, IDR_LEVELS - 1) : NULL;
}
