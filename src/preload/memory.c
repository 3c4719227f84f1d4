/* memory.c - munmap, mmap, mprotect, mremap of an attached segment, or of a piece of it. */
#include "base/os.h"
#include "preload/calls.h"
#include "shm/shm.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>

VEE_EXPORT int munmap(void *address, size_t size)
{
	int ret = os_munmap(address, size);

	if (ret == 0 && unlikely(shm_touches(address, size)))
		shm_unmapped(namespace_opened(), address, size);
	return calls_return(ret);
}

VEE_EXPORT void *mmap(void *address, size_t size, int prot, int flags, int fd, off_t offset)
{
	intptr_t at = os_mmap(address, size, prot, flags, fd, offset);

	if (at < 0 && at > -4096) {
		errno = -at;
		return MAP_FAILED;
	}
	if (flags & MAP_FIXED && unlikely(shm_touches((void *)at, size)))
		shm_unmapped(namespace_opened(), (void *)at, size);
	return (void *)at;
}

#ifdef __GLIBC__
VEE_EXPORT void *mmap64(void *address, size_t size, int prot, int flags, int fd, off_t offset)
	__attribute__((alias("mmap")));
#endif

VEE_EXPORT int mprotect(void *address, size_t size, int prot)
{
	int ret = os_mprotect(address, size, prot);

	if (ret == 0 && unlikely(shm_touches(address, size)))
		shm_protected(namespace_opened(), address, size, prot);
	return calls_return(ret);
}

VEE_EXPORT void *mremap(void *old, size_t old_size, size_t size, int flags, ...)
{
	void *to = NULL;
	intptr_t at;

	if (flags & MREMAP_FIXED) {
		va_list args;

		va_start(args, flags);
		to = va_arg(args, void *);
		va_end(args);
	}
	at = os_mremap(old, old_size, size, flags, to);
	if (at < 0 && at > -4096) {
		errno = -at;
		return MAP_FAILED;
	}
	if (unlikely(shm_touches(old, old_size)) && old_size)
		shm_moved(namespace_opened(), old, old_size, (void *)at, size);
	return (void *)at;
}
