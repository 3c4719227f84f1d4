/*
 * guests.h - users who may use a namespace besides its owner.
 *
 * What a caller sees: a guest can open the namespace and make segments in it; what it may do with an object is said by
 * the object's permissions, as ever. Nobody else gets anything. There are two kinds:
 *  - whoever a process that uses the namespace, or that `vee run` has put in it, becomes by setuid() and its like: programs
 *    that the new user executes must find what they had (namespace_admit);
 *  - the system's accounts, in a namespace that root makes by name (namespace_make; see vee(7), TRUST).
 * A guest whose VEE_DIR is not set finds root's namespace by its name (guests_find).
 *
 * How it works: access control lists on the folder of namespaces (search), on the namespace's folder (search), its
 * shm/ (all, and the sticky bit) and its file (read, write). Each is opened below the one before, without following links,
 * and must belong to the caller. Where there are no lists, namespace_admit() opens the folders for search as
 * `vee ns create --mode 0666` does, so that a process which has the file mapped still reaches the segments.
 */
#pragma once

#include "ipc/namespace.h"

#define GUESTS_MAX 400u

struct guests {
	const uint32_t *uids;
	unsigned n; /* at most GUESTS_MAX */
};

/* The folders of the namespace in `dir`, which are there. -EOPNOTSUPP: no lists; -ENOENT, -EPERM … */
int guests_admit_to_folders(const char *dir, const struct guests *guests);
/* One file of it, which belongs to the caller. */
int guests_admit_to_file(const char *path, const struct guests *guests);
/* Root's folder of the namespace, if root has made it and this process may use it. -ENOENT */
int guests_find(const char *name, char *buf, size_t size);
