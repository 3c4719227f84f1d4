/*
 * held-memory.h - an address space that is held by who looks at it
 *
 * The kernel detaches when the last user of an address space lets go, and whoever reads /proc/PID/stat or
 * /proc/PID/maps at that moment (ps, a monitor, another test) is one of them: for as long as that takes,
 * what a process had attached stays so after its waitpid() has returned, or its exec. vee counts by process
 * and knows no such moment: there the first look decides.
 *
 *	for (unsigned looks = 0; nattch(id) != n && may_be_held(&looks);)
 *		;
 */
#ifndef TEST_HELD_MEMORY_H
#define TEST_HELD_MEMORY_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HELD_LOOKS_MAX 10000 /* of 1 ms each: who holds it longer than that does more than look */

/* Pauses and is true if the memory of what has ended may still be held: then look again. */
static inline bool may_be_held(unsigned *looks)
{
	const char *preloaded = getenv("LD_PRELOAD");

	if ((preloaded && strstr(preloaded, "libvee")) || *looks == HELD_LOOKS_MAX)
		return false;
	(*looks)++;
	nanosleep(&(struct timespec){0, 1000000}, NULL);
	return true;
}

#endif
