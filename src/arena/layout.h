/*
 * layout.h - where things lie in a namespace file.
 *
 *	0            header (arena_header)                     1 page
 *	             root: what the floor above keeps there    1 page
 *	             process slots                             ARENA_PROCS   * 128
 *	             journals                                  ARENA_JOURNALS * 4096
 *	             page descriptors                          ARENA_PAGES   * 16
 *	             pages: the heap that slab.c hands out     ARENA_PAGES   * 4096
 *
 * The file is sparse and has this size from the start; what is touched has been committed before.
 * Records refer to each other by ref_t: bytes from the start of the file, 0 for none.
 */
#pragma once

#include "base/compiler.h"
#include <pthread.h>

typedef uint32_t ref_t;

#define ARENA_PAGE	4096u
#define ARENA_PROCS	16384u
#define ARENA_PROC_SIZE 128u
#define ARENA_JOURNALS	8192u
#define ARENA_PAGES	229376u

#define ARENA_ROOT_AT	  ARENA_PAGE
#define ARENA_PROCS_AT	  (ARENA_ROOT_AT + ARENA_PAGE)
#define ARENA_JOURNALS_AT (ARENA_PROCS_AT + ARENA_PROCS * ARENA_PROC_SIZE)
#define ARENA_DESCS_AT	  (ARENA_JOURNALS_AT + ARENA_JOURNALS * ARENA_PAGE)
#define ARENA_HEAP_AT	  (ARENA_DESCS_AT + ARENA_PAGES * 16u)
#define ARENA_SIZE	  ((uint64_t)ARENA_HEAP_AT + (uint64_t)ARENA_PAGES * ARENA_PAGE)

_Static_assert(ARENA_SIZE <= UINT32_MAX, "a ref_t reaches every byte");
_Static_assert(ARENA_HEAP_AT % ARENA_PAGE == 0, "the heap starts on a page");

/*
 * record: a lock in the file. `holder` names the journal of the owner's transaction (its index + 1
 * in the low half, its generation in the high one) from just after the mutex is taken until
 * just before it is released; 0 else. See journal.h, invariant 3.
 */
struct arena_lock {
	pthread_mutex_t mutex; /* 40 bytes, 48 on arm64 */
	uint64_t holder;
	uint8_t pad[64 - 8 - sizeof(pthread_mutex_t)];
};
_Static_assert(sizeof(struct arena_lock) == 64, "layout");

#define ARENA_CLASSES	10u /* 8, 16 … 4096 bytes */
#define ARENA_RUN_LISTS 18u

/* record: the first page of the file. Guards: see arena.h. */
struct arena_header {
	uint64_t magic;
	uint32_t version;
	uint32_t state; /* ARENA_READY once all is initialised */
	uint64_t signature;
	uint64_t size;
	uint64_t created; /* CLOCK_REALTIME, seconds */
	uint64_t boot;	  /* of the machine: a hash of the boot id */

	struct arena_lock recovery_lock; /* guards playing journals back, and claiming them */
	struct arena_lock memory_lock;	 /* guards all below, the descriptors and free pages */

	uint32_t heap_top;	 /* pages handed to the slab so far */
	uint32_t heap_used;	 /* of them, pages in use */
	uint32_t journals_ready; /* journals initialised; under recovery_lock */
	uint32_t procs_ready;	 /* process slots initialised; under the process table's lock */
	ref_t partial[ARENA_CLASSES];  /* class -> page index + 1 of a page with a free object */
	uint32_t run[ARENA_RUN_LISTS]; /* log2 of length -> page index + 1 of the first free run */
};
_Static_assert(sizeof(struct arena_header) == 48 + 128 + 16 + 40 + 72, "layout");

#define ARENA_MAGIC   0x312d6370692d7665ull /* "ev-ipc-1", read as bytes */
#define ARENA_VERSION 2u
#define ARENA_READY   0x79646165u
