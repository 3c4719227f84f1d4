/*
 * rules.h - which message a receiver takes. Pure: types in, yes or no out. As testmsg() and convert_mode() of the design.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/msg.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif
#ifndef MSG_EXCEPT
#define MSG_EXCEPT 020000
#endif

enum msg_search {
	SEARCH_ANY = 1,	  /* the oldest */
	SEARCH_EQUAL,	  /* the oldest of this type */
	SEARCH_NOTEQUAL,  /* the oldest of another type */
	SEARCH_LESSEQUAL, /* the oldest of the lowest type that is at most this */
	SEARCH_NUMBER,	  /* by its place in the queue, from 0 */
};

/* What msgrcv()'s type and flags ask for; *type becomes what is compared with. */
enum msg_search msg_search_of(int64_t *type, int flags);
/* Does a message of type `is` satisfy the search, as far as it alone can tell? */
bool msg_matches(int64_t is, int64_t type, enum msg_search search);
/* Is there room in a queue for a message of size bytes more? */
bool msg_fits(uint64_t cbytes, uint64_t qnum, uint64_t qbytes, uint64_t size);
