/* slab.c - objects and runs of pages inside the namespace file; see slab.h. */
#include "arena/slab.h"

#include <errno.h>

#define CHUNK_PAGES   64u
#define LARGEST_CLASS 2048u

static struct page_desc *desc_at(struct arena *arena, uint32_t page)
{
	return (struct page_desc *)(arena->base + ARENA_DESCS_AT) + page;
}

static ref_t page_ref(uint32_t page)
{
	return ARENA_HEAP_AT + page * ARENA_PAGE;
}

static uint32_t class_size(unsigned class)
{
	return 8u << class;
}

static unsigned class_of(uint64_t size)
{
	return size <= 8 ? 0 : 64 - __builtin_clzll((size - 1) >> 3);
}

static unsigned run_list(uint32_t n_pages)
{
	return 31 - __builtin_clz(n_pages);
}

/* The two kinds of list: of free runs and of slab pages with a free object. */
static void list_add(struct tx *tx, uint32_t *head, uint32_t page)
{
	struct page_desc *desc = desc_at(tx->arena, page);

	tx_set(tx, desc->next, *head);
	tx_set(tx, desc->prev, 0);
	if (*head)
		tx_set(tx, desc_at(tx->arena, *head - 1)->prev, page + 1);
	tx_set(tx, *head, page + 1);
}

static void list_remove(struct tx *tx, uint32_t *head, uint32_t page)
{
	struct page_desc *desc = desc_at(tx->arena, page);

	if (desc->prev)
		tx_set(tx, desc_at(tx->arena, desc->prev - 1)->next, desc->next);
	else
		tx_set(tx, *head, desc->next);
	if (desc->next)
		tx_set(tx, desc_at(tx->arena, desc->next - 1)->prev, desc->prev);
}

static void set_state(struct tx *tx, uint32_t page, uint8_t state, uint32_t count)
{
	struct page_desc *desc = desc_at(tx->arena, page);

	tx_set(tx, desc->state, state);
	tx_set(tx, desc->count, count);
}

static void run_insert(struct tx *tx, uint32_t page, uint32_t n)
{
	if (n > 1)
		set_state(tx, page + n - 1, PAGE_FREE_LAST, n);
	set_state(tx, page, PAGE_FREE, n);
	list_add(tx, &tx->arena->header->run[run_list(n)], page);
}

static void run_remove(struct tx *tx, uint32_t page)
{
	uint32_t n = desc_at(tx->arena, page)->count;

	list_remove(tx, &tx->arena->header->run[run_list(n)], page);
}

/* Adds n pages to the free ones, merged with free neighbours. */
static void run_free(struct tx *tx, uint32_t page, uint32_t n)
{
	struct arena *arena = tx->arena;

	if (page > 0) {
		const struct page_desc *before = desc_at(arena, page - 1);

		if (before->state == PAGE_FREE || before->state == PAGE_FREE_LAST) {
			uint32_t more = before->count;

			set_state(tx, page, PAGE_FREE_MORE, 0);
			set_state(tx, page - 1, PAGE_FREE_MORE, more);
			page -= more;
			n += more;
			tx_set(tx, desc_at(arena, page)->count, more);
			run_remove(tx, page);
		}
	}
	if (page + n < arena->header->heap_top) {
		struct page_desc *after = desc_at(arena, page + n);

		if (after->state == PAGE_FREE) {
			uint32_t more = after->count;

			run_remove(tx, page + n);
			set_state(tx, page + n, PAGE_FREE_MORE, 0);
			n += more;
		}
	}
	run_insert(tx, page, n);
}

/* Commits n more pages (or more) at the end of the heap and adds them to the free ones. */
static int grow(struct tx *tx, uint32_t n)
{
	struct arena *arena = tx->arena;
	uint32_t top = arena->header->heap_top;
	int ret;

	n = ALIGN_UP(n, CHUNK_PAGES);
	if (n > ARENA_PAGES - top)
		return -ENOMEM;
	ret = arena_commit(arena, ARENA_DESCS_AT + top * sizeof(struct page_desc),
			   n * sizeof(struct page_desc));
	if (ret == 0)
		ret = arena_commit(arena, page_ref(top), (uint64_t)n * ARENA_PAGE);
	if (ret < 0)
		return ret;
	tx_set(tx, arena->header->heap_top, top + n);
	run_free(tx, top, n);
	return 0;
}

static uint32_t run_find(struct arena *arena, uint32_t n)
{
	for (unsigned i = run_list(n); i < ARENA_RUN_LISTS; i++) {
		uint32_t at = arena->header->run[i];

		while (at && desc_at(arena, at - 1)->count < n)
			at = desc_at(arena, at - 1)->next;
		if (at)
			return at;
	}
	return 0;
}

static int run_alloc(struct tx *tx, uint32_t n, uint32_t *ret_page)
{
	struct arena *arena = tx->arena;
	uint32_t at = run_find(arena, n), page, have;

	if (!at) {
		int ret = grow(tx, n);

		if (ret < 0)
			return ret;
		at = run_find(arena, n);
	}
	page = at - 1;
	have = desc_at(arena, page)->count;
	run_remove(tx, page);
	if (have > n)
		run_insert(tx, page + n, have - n);
	set_state(tx, page, PAGE_RUN, n);
	if (n > 1)
		set_state(tx, page + n - 1, PAGE_RUN_MORE, n);
	tx_set(tx, arena->header->heap_used, arena->header->heap_used + n);
	*ret_page = page;
	return 0;
}

/* Free objects are named by index + 1; the name of the next lies in the object's first bytes. */
static uint32_t *object_at(struct arena *arena, uint32_t page, unsigned class, uint32_t index)
{
	return (uint32_t *)(arena->base + page_ref(page) + (size_t)index * class_size(class));
}

static int slab_new(struct tx *tx, unsigned class)
{
	struct arena *arena = tx->arena;
	uint32_t n = ARENA_PAGE / class_size(class), page;
	struct page_desc *desc;
	int ret;

	ret = run_alloc(tx, 1, &page);
	if (ret < 0)
		return ret;
	desc = desc_at(arena, page);
	/* The page was free: what lies in it needs no journal. */
	for (uint32_t i = 0; i < n; i++)
		*object_at(arena, page, class, i) = i + 1 < n ? i + 2 : 0;
	tx_set(tx, desc->class, (uint8_t) class);
	tx_set(tx, desc->n_used, 0);
	set_state(tx, page, PAGE_SLAB, 1);
	list_add(tx, &arena->header->partial[class], page);
	return 0;
}

static int slab_alloc(struct tx *tx, unsigned class, ref_t *ret_ref)
{
	struct arena *arena = tx->arena;
	struct page_desc *desc;
	uint32_t page, index, *object;

	if (!arena->header->partial[class]) {
		int ret = slab_new(tx, class);

		if (ret < 0)
			return ret;
	}
	page = arena->header->partial[class] - 1;
	desc = desc_at(arena, page);
	index = desc->count - 1;
	object = object_at(arena, page, class, index);
	tx_set(tx, desc->count, *object);
	tx_set(tx, desc->n_used, desc->n_used + 1);
	if (desc->count == 0)
		list_remove(tx, &arena->header->partial[class], page);
	/* The caller fills the object in without journal; taken back, it must link again. */
	tx_save(tx, object, sizeof(*object));
	*ret_ref = arena_ref(arena, object);
	return 0;
}

static void slab_free(struct tx *tx, uint32_t page, ref_t ref)
{
	struct arena *arena = tx->arena;
	struct page_desc *desc = desc_at(arena, page);
	unsigned class = desc->class;
	uint32_t *head = &arena->header->partial[class];
	uint32_t index = (ref - page_ref(page)) / class_size(class);
	uint32_t *object = object_at(arena, page, class, index);

	tx_set(tx, *object, desc->count);
	if (desc->count == 0)
		list_add(tx, head, page);
	tx_set(tx, desc->count, index + 1);
	tx_set(tx, desc->n_used, desc->n_used - 1);
	/* An empty page goes back, but for the last one of its class. */
	if (desc->n_used == 0 && (desc->next || desc->prev)) {
		list_remove(tx, head, page);
		tx_set(tx, arena->header->heap_used, arena->header->heap_used - 1);
		run_free(tx, page, 1);
	}
}

int arena_alloc(struct tx *tx, uint64_t size, ref_t *ret_ref)
{
	uint64_t n = (size + ARENA_PAGE - 1) / ARENA_PAGE;
	uint32_t page;
	int ret;

	if (unlikely(tx->freed))
		__builtin_trap(); /* invariant 1 of journal.h */
	tx_lock(tx, &tx->arena->header->memory_lock);
	if (size <= LARGEST_CLASS)
		return slab_alloc(tx, class_of(size), ret_ref);
	if (n > ARENA_PAGES)
		return -ENOMEM;
	ret = run_alloc(tx, n, &page);
	if (ret == 0)
		*ret_ref = page_ref(page);
	return ret;
}

void arena_free(struct tx *tx, ref_t ref)
{
	struct arena *arena = tx->arena;
	uint32_t page = (ref - ARENA_HEAP_AT) / ARENA_PAGE;
	struct page_desc *desc;

	if (!ref)
		return;
	tx->freed = true;
	tx_lock(tx, &arena->header->memory_lock);
	desc = desc_at(arena, page);
	if (desc->state == PAGE_SLAB) {
		slab_free(tx, page, ref);
	} else {
		uint32_t n = desc->count;

		tx_set(tx, arena->header->heap_used, arena->header->heap_used - n);
		run_free(tx, page, n);
	}
}

uint64_t arena_size_of(struct arena *arena, ref_t ref)
{
	const struct page_desc *desc = desc_at(arena, (ref - ARENA_HEAP_AT) / ARENA_PAGE);

	return desc->state == PAGE_SLAB ? class_size(desc->class) :
					  (uint64_t)desc->count * ARENA_PAGE;
}

static const char *check_slab_page(struct arena *arena, uint32_t page)
{
	const struct page_desc *desc = desc_at(arena, page);
	uint32_t n, free = 0, at = desc->count;

	if (desc->class >= ARENA_CLASSES)
		return "a slab page has no such class";
	n = ARENA_PAGE / class_size(desc->class);
	while (at) {
		if (at > n || ++free > n)
			return "a slab page's free list leaves its page";
		at = *object_at(arena, page, desc->class, at - 1);
	}
	if (free + desc->n_used != n)
		return "a slab page's free and used objects do not add up";
	return NULL;
}

static const char *check_list(struct arena *arena, uint32_t at, uint8_t state, unsigned key,
			      uint32_t *n_listed)
{
	uint32_t prev = 0;

	for (; at; prev = at, at = desc_at(arena, at - 1)->next) {
		const struct page_desc *desc;

		if (at > arena->header->heap_top || ++*n_listed > arena->header->heap_top)
			return "a list of pages leaves the heap, or is a ring";
		desc = desc_at(arena, at - 1);
		if (desc->state != state || desc->prev != prev)
			return "a list of pages is not linked as its pages say";
		if (state == PAGE_SLAB ? desc->class != key || desc->count == 0 :
					 desc->count == 0 || run_list(desc->count) != key)
			return "a page is in the wrong list";
	}
	return NULL;
}

static const char *check_pages(struct arena *arena, uint32_t *ret_listed)
{
	const struct arena_header *header = arena->header;
	uint32_t used = 0, listed = 0, step;
	bool was_free = false;

	for (uint32_t page = 0; page < header->heap_top; page += step) {
		const struct page_desc *desc = desc_at(arena, page);
		const char *wrong;

		step = 1;
		if (desc->state == PAGE_SLAB) {
			wrong = check_slab_page(arena, page);
			if (wrong)
				return wrong;
			listed += desc->count != 0;
			used++;
		} else if (desc->state == PAGE_RUN || desc->state == PAGE_FREE) {
			step = desc->count;
			if (step == 0 || step > header->heap_top - page)
				return "a run of pages leaves the heap";
			if (desc->state == PAGE_RUN)
				used += step;
			else
				listed++;
		} else {
			return "a page is neither used nor free";
		}
		if (desc->state == PAGE_FREE && was_free)
			return "two free runs of pages touch";
		if (desc->state == PAGE_FREE && step > 1) {
			const struct page_desc *last = desc_at(arena, page + step - 1);

			if (last->state != PAGE_FREE_LAST || last->count != step)
				return "a free run's last page does not know its first";
		}
		was_free = desc->state == PAGE_FREE;
	}
	if (used != header->heap_used)
		return "the pages in use are not as many as counted";
	*ret_listed = listed;
	return NULL;
}

const char *slab_check(struct arena *arena)
{
	const struct arena_header *header = arena->header;
	uint32_t should = 0, listed = 0;
	const char *wrong = check_pages(arena, &should);

	for (unsigned i = 0; !wrong && i < ARENA_CLASSES; i++)
		wrong = check_list(arena, header->partial[i], PAGE_SLAB, i, &listed);
	for (unsigned i = 0; !wrong && i < ARENA_RUN_LISTS; i++)
		wrong = check_list(arena, header->run[i], PAGE_FREE, i, &listed);
	if (!wrong && should != listed)
		wrong = "a page with room is in no list";
	return wrong;
}
