/*
 * vee/namespace.h - System V shared memory by vee's own names, for programs that link libvee.
 *
 * The calls are those of shmget(2), shmat(2), shmdt(2), shmctl(2): the same parameters, the same
 * results, the same errno. They work on the namespace that $VEE_DIR and $VEE_NS name (vee(7)).
 */
#pragma once

#include <stddef.h>
#include <sys/shm.h>

#ifdef __cplusplus
extern "C" {
#endif

int vee_shmget(key_t key, size_t size, int flag);
void *vee_shmat(int id, const void *address, int flag);
int vee_shmdt(const void *address);
int vee_shmctl(int id, int command, struct shmid_ds *buf);

/* Why the namespace could not be opened, in words; "" if nothing failed. Valid until the next failure. */
const char *vee_namespace_error(void);

/* "MAJOR.MINOR.PATCH" of the library. */
const char *vee_version(void);

#ifdef __cplusplus
}
#endif
