/*
 * deepbind.c - dlopen with RTLD_DEEPBIND would bind the extension to libc's names, past ours.
 *
 * The wrapper takes the flag away. It finds "where the caller is" lost for $ORIGIN and RPATH searches, as
 * every dlopen wrapper does; so it steps in only where the flag is set.
 */
#include "preload/calls.h"
#include "preload/real.h"

#ifndef RTLD_DEEPBIND
#define RTLD_DEEPBIND 0
#endif

VEE_EXPORT void *dlopen(const char *path, int flags)
{
	void *(*real)(const char *, int) = REAL(dlopen);

	return real(path, flags & ~RTLD_DEEPBIND);
}
