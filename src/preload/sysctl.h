/*
 * sysctl.h - the limits under /proc/sys/kernel: their text, and what writing one does.
 *
 * What a program sees: reading gives the namespace's values in the kernel's format. Writing sets them at once,
 * with the kernel's rules for the text and its errno; no root is needed, as with `vee limits`.
 *
 * How writing works. open() gives a memfd that holds the text and is sealed against writing. write(), writev(), a
 * stream of fopen() or fdopen(), and stdout know such a descriptor by its seals and its name, wherever it was dup'ed to
 * or inherited from, and set the limit instead. Whoever writes past these names (sendfile, pwrite, a system call of
 * its own, a statically linked program) gets the kernel's EPERM: nothing is ever lost in silence.
 */
#pragma once

#include "api/limits.h"
#include <stdio.h>

struct sysctl_file {
	const char *name; /* in /proc/sys/kernel */
	enum limit_id first;
	unsigned n; /* how many limits, from the first on */
};

/* The file of that name, or NULL. */
const struct sysctl_file *sysctl_named(const char *name, size_t length);
/* Its text now; returns the length. */
size_t sysctl_text(struct ipc_namespace *ns, const struct sysctl_file *file, char *buf,
		   size_t size);
/*
 * What write(2) does at offset 0: the bytes taken, or -EINVAL, -ERANGE (semmni), -EFAULT. Of several values
 * those before a wrong one are set.
 */
ssize_t sysctl_set(struct ipc_namespace *ns, const struct sysctl_file *file, const char *text,
		   size_t size);

/* procwrite.c: makes a new memfd that holds the text one that sets the limits when it is written to. */
int sysctl_seal(int fd, bool for_writing);
#define SYSCTL_MEMFD "vee-sysctl-"
/* A stream on such a descriptor; NULL with errno. */
FILE *sysctl_stream(int fd, const char *how);
