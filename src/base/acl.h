/*
 * acl.h - POSIX access control lists: users who may use a file or folder besides those that its mode lets in.
 *
 * What a caller sees: rights are only ever added. The mode's group bits then show the most that anyone on the list
 * has, as with setfacl(1); whoever is in the file's group gets no more than before.
 *
 * How it works: the list is the extended attribute system.posix_acl_access, sorted as the kernel wants it. It is read,
 * changed and written under the file's flock, so two that add to it at the same time both succeed.
 */
#pragma once

#include <stdint.h>

/* Entries of a list; a longer one is left alone (-ERANGE). */
#define ACL_ENTRIES_MAX 500

/*
 * Gives each of n users at least the rights `perm` (4 read, 2 write, 1 search or execute) to what fd has open.
 * -EOPNOTSUPP where the file system has no lists; -EPERM to who does not own the file.
 */
int acl_grant(int fd, const uint32_t *uids, unsigned n, uint32_t perm);
