/* memory.c - munmap and mmap over an attached segment: the attach, or a piece of it, is gone. */
#include "preload/calls.h"
#include "base/os.h"
#include "shm/shm.h"

#include <errno.h>
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

VEE_EXPORT void *mmap64(void *address, size_t size, int prot, int flags, int fd, off_t offset)
	__attribute__((alias("mmap")));
