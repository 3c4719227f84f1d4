/*
 * arena.h - a namespace file, mapped: format, creation, opening.
 *
 * What a caller sees: arena_open() maps the namespace file of a folder and makes it if it is
 * not there; two processes that race get the same file. A file of another version, of another
 * layout, of a wrong size or not whole is refused, unmapped, with a line that says why.
 *
 * How it works: a new file is made without a name, filled in, and linked under its name; whoever comes
 * second finds the name taken, and opens that. No descriptor stays open.
 *
 * Invariants
 *  1. A file with the name has been initialised whole.
 *  2. header->signature covers the sizes and offsets of all records and the C library whose mutexes
 *     the file holds: equal signatures, equal layout.
 *  3. Nothing is touched that arena_commit() has not committed before: no SIGBUS on a full file system.
 */
#pragma once

#include "arena/layout.h"
#include <stdbool.h>

struct arena {
	char *base;
	struct arena_header *header;
	char path[4096]; /* of the file */
	uint64_t file_dev, file_ino;
	uint64_t epoch; /* one more in each child after fork */
};

/* Why the last arena_open() of this process failed, in words; "" if it did not. */
extern char arena_error[512];
void arena_errorf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Maps the file `path`, making it with `mode` if it is not there.
 * `init` fills the root page of a new file; it may use arena_alloc().
 * Errors: -EACCES, -EROFS, -ENOSPC, -ENOMEM, -EMFILE … of the system; -EPROTO another version
 * or layout; -EUCLEAN not a namespace file, or damaged. arena_error says more.
 */
int arena_open(struct arena *arena, const char *path, uint32_t mode, bool create,
	       int (*init)(struct arena *arena));
void arena_close(struct arena *arena);

/* Makes sure that the bytes can be touched. Returns 0, -ENOMEM or -ENOSPC. */
int arena_commit(struct arena *arena, uint64_t at, uint64_t size);

void arena_lock_init(struct arena_lock *lock);

/* The word of a mutex that has the owner's kernel thread id, and bits of <linux/futex.h> above it. */
static inline uint32_t *arena_mutex_word(const pthread_mutex_t *mutex)
{
#ifdef __GLIBC__
	return (uint32_t *)&mutex->__data.__lock;
#else
	return (uint32_t *)mutex + 1; /* musl: type, lock, … */
#endif
}

static inline void *arena_ptr(const struct arena *arena, ref_t ref)
{
	return ref ? arena->base + ref : NULL;
}

static inline ref_t arena_ref(const struct arena *arena, const void *ptr)
{
	return ptr ? (ref_t)((const char *)ptr - arena->base) : 0;
}

/* The root record of the floor above; at most ARENA_PAGE bytes. */
static inline void *arena_root(const struct arena *arena)
{
	return arena->base + ARENA_ROOT_AT;
}

/*
 * Verifies every invariant of the arena: header, journals, slab. Returns NULL, or what is wrong.
 * Takes the memory lock; changes nothing.
 */
const char *arena_check(struct arena *arena);
