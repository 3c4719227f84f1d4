/* sysctl.c - the text of the limits, by the rules of the kernel's proc_dointvec and its like; see sysctl.h. */
#include "preload/sysctl.h"
#include "base/os.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX   4095u /* the kernel looks at no more of a write */
#define NUMBER_MAX 20u	 /* nor at a longer number */

static const struct sysctl_file files[] = {
	{"sem", LIMIT_SEMMSL, 4},
	{"shmmax", LIMIT_SHMMAX, 1},
	{"shmall", LIMIT_SHMALL, 1},
	{"shmmni", LIMIT_SHMMNI, 1},
	{"shm_rmid_forced", LIMIT_SHM_RMID_FORCED, 1},
	{"shm_next_id", LIMIT_SHM_NEXT_ID, 1},
	{"sem_next_id", LIMIT_SEM_NEXT_ID, 1},
	{"msg_next_id", LIMIT_MSG_NEXT_ID, 1},
	{"msgmax", LIMIT_MSGMAX, 1},
	{"msgmnb", LIMIT_MSGMNB, 1},
	{"msgmni", LIMIT_MSGMNI, 1},
};

const struct sysctl_file *sysctl_named(const char *name, size_t length)
{
	for (unsigned i = 0; i < ARRAY_SIZE(files); i++)
		if (strlen(files[i].name) == length && !memcmp(files[i].name, name, length))
			return &files[i];
	return NULL;
}

size_t sysctl_text(struct ipc_namespace *ns, const struct sysctl_file *file, char *buf, size_t size)
{
	size_t at = 0;

	for (unsigned i = 0; i < file->n; i++) {
		enum limit_id id = file->first + i;
		uint64_t value = limit_get(ns, id);
		char end = i + 1 < file->n ? '\t' : '\n';

		if (limits[id].size == 8)
			at += snprintf(buf + at, size - at, "%" PRIu64 "%c", value, end);
		else
			at += snprintf(buf + at, size - at, "%" PRId64 "%c", (int64_t)value, end);
	}
	return at;
}

static size_t skip_spaces(const char *text, size_t size)
{
	size_t at = 0;

	while (at < size && (text[at] == ' ' || (text[at] >= '\t' && text[at] <= '\r')))
		at++;
	return at;
}

/* A number as C writes it, then white space or the end. Returns its length or -EINVAL. */
static ssize_t take_number(const char *text, size_t size, bool *ret_negative, uint64_t *ret_value)
{
	char copy[NUMBER_MAX + 2] = "";
	size_t length = size < NUMBER_MAX + 1 ? size : NUMBER_MAX + 1;
	char *at = copy, *end;

	memcpy(copy, text, length);
	*ret_negative = *at == '-' && size > 1;
	at += *ret_negative;
	if (*at < '0' || *at > '9')
		return -EINVAL;
	errno = 0;
	*ret_value = strtoull(at, &end, 0);
	length = end - copy;
	if (errno || length > NUMBER_MAX)
		return -EINVAL;
	if (length < size && (!*end || !strchr(" \t\n", *end)))
		return -EINVAL;
	return length;
}

/* The three of `sem` besides semmni take any int; a range error of semmni is ERANGE. */
static int check_range(enum limit_id id, bool negative, uint64_t *value)
{
	const struct limit *limit = &limits[id];
	bool any = id == LIMIT_SEMMSL || id == LIMIT_SEMMNS || id == LIMIT_SEMOPM;
	bool is_int = *value <= INT_MAX || (negative && *value == (uint64_t)INT_MAX + 1);

	if (limit->size == 8)
		return negative ? -EINVAL : 0;
	if (!is_int)
		return -EINVAL;
	if (negative)
		*value = -*value;
	if (!any && *value > limit->max)
		return id == LIMIT_SEMMNI ? -ERANGE : -EINVAL;
	return 0;
}

/* Returns the length taken, or a negative errno; *ret_n values are good, whatever is returned. */
static ssize_t parse(const struct sysctl_file *file, const char *text, size_t size,
		     struct limit_change *changes, unsigned *ret_n)
{
	size_t at = 0;

	*ret_n = 0;
	while (*ret_n < file->n) {
		struct limit_change *change = &changes[*ret_n];
		bool negative;
		ssize_t ret;

		at += skip_spaces(text + at, size - at);
		if (at == size)
			break;
		ret = take_number(text + at, size - at, &negative, &change->value);
		if (ret < 0)
			return ret;
		change->id = file->first + *ret_n;
		at += ret;
		ret = check_range(change->id, negative, &change->value);
		if (ret < 0)
			return ret;
		(*ret_n)++;
	}
	at += skip_spaces(text + at, size - at);
	return *ret_n ? (ssize_t)at : -EINVAL;
}

ssize_t sysctl_set(struct ipc_namespace *ns, const struct sysctl_file *file, const char *text,
		   size_t size)
{
	struct limit_change changes[4];
	char copy[TEXT_MAX];
	size_t seen = size < TEXT_MAX ? size : TEXT_MAX;
	int error = errno, set = 0;
	unsigned n;
	ssize_t ret;

	if (size == 0)
		return 0;
	if (os_copy_from(copy, text, seen) < 0)
		return -EFAULT;
	ret = parse(file, copy, seen, changes, &n);
	if (n)
		set = limits_set(ns, changes, n);
	errno = error;
	if (set < 0)
		return set;
	/* What lies beyond TEXT_MAX counts as read. */
	return ret < 0 ? ret : ret + (ssize_t)(size - seen);
}
