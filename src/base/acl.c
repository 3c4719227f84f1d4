/* acl.c - see acl.h. */
#include "base/acl.h"
#include "base/os.h"

#include <errno.h>
#include <string.h>
#include <sys/file.h>

/* As in <linux/posix_acl_xattr.h>, which musl-gcc has not; little-endian, as the processors that os.c knows. */
#define LIST_NAME    "system.posix_acl_access"
#define LIST_VERSION 2
#define NO_ID	     UINT32_MAX /* of an entry whose tag says it all */

enum tag {
	OWNER = 0x01,
	USER = 0x02,
	GROUP = 0x04,
	MASK = 0x10,
	OTHER = 0x20,
};

struct entry {
	uint16_t tag, perm;
	uint32_t id;
};

struct list {
	uint32_t version;
	struct entry entry[ACL_ENTRIES_MAX];
	unsigned n; /* not part of the attribute */
};

static void from_mode(struct list *list, uint32_t mode)
{
	list->version = LIST_VERSION;
	list->n = 3;
	list->entry[0] = (struct entry){OWNER, mode >> 6 & 7, NO_ID};
	list->entry[1] = (struct entry){GROUP, mode >> 3 & 7, NO_ID};
	list->entry[2] = (struct entry){OTHER, mode & 7, NO_ID};
}

static int read_list(int fd, const struct stat *st, struct list *ret_list)
{
	ssize_t size = os_fgetxattr(fd, LIST_NAME, ret_list,
				    sizeof(ret_list->version) + sizeof(ret_list->entry));

	if (size == -ENODATA) {
		from_mode(ret_list, st->st_mode);
		return 0;
	}
	if (size < 0)
		return size;
	ret_list->n = (size - sizeof(ret_list->version)) / sizeof(struct entry);
	return ret_list->version == LIST_VERSION && ret_list->n >= 3 ? 0 : -EOPNOTSUPP;
}

static int insert(struct list *list, unsigned at, struct entry new)
{
	if (list->n == ACL_ENTRIES_MAX)
		return -ERANGE;
	memmove(&list->entry[at + 1], &list->entry[at], (list->n - at) * sizeof(new));
	list->entry[at] = new;
	list->n++;
	return 1;
}

/* Whoever this tag is for gets perm. Tags and then ids are in ascending order. Returns 1 if that changed anything. */
static int add(struct list *list, struct entry new)
{
	struct entry *entry;
	unsigned i = 0;

	while (i < list->n && (list->entry[i].tag < new.tag ||
			       (list->entry[i].tag == new.tag && list->entry[i].id < new.id)))
		i++;
	entry = &list->entry[i];
	if (i == list->n || entry->tag != new.tag || entry->id != new.id)
		return insert(list, i, new);
	if ((entry->perm & new.perm) == new.perm)
		return 0;
	entry->perm |= new.perm;
	return 1;
}

/*
 * Nobody but the owner and the others has more than the mask has. A new one starts with what the group has; one that
 * must be raised (chmod has lowered it) gives nobody back what it had taken.
 */
static int add_mask(struct list *list, uint32_t perm)
{
	struct entry *mask = &list->entry[list->n - 2];

	if (list->n == 3)
		return insert(list, 2, (struct entry){MASK, perm | list->entry[1].perm, NO_ID});
	if (mask->tag != MASK || (mask->perm & perm) == perm)
		return mask->tag != MASK ? -EOPNOTSUPP : 0;
	for (struct entry *entry = list->entry; entry < mask; entry++)
		if (entry->tag != OWNER)
			entry->perm &= mask->perm;
	mask->perm |= perm;
	return 1;
}

/* Returns 1 if the list is another now. */
static int add_users(struct list *list, const uint32_t *uids, unsigned n, uint32_t perm)
{
	int changed = add_mask(list, perm);

	for (unsigned i = 0; i < n && changed >= 0; i++) {
		int ret = add(list, (struct entry){USER, perm, uids[i]});

		changed = ret < 0 ? ret : changed | ret;
	}
	return changed;
}

static int grant_locked(int fd, const uint32_t *uids, unsigned n, uint32_t perm)
{
	struct list list;
	struct stat st;
	int ret = os_fstat(fd, &st);

	if (ret < 0)
		return ret;
	ret = read_list(fd, &st, &list);
	if (ret < 0)
		return ret;
	/* For everybody already: no list is needed. */
	if (list.n == 3 && (st.st_mode & st.st_mode >> 3 & perm) == perm)
		return 0;
	ret = add_users(&list, uids, n, perm);
	if (ret <= 0)
		return ret;
	return os_fsetxattr(fd, LIST_NAME, &list,
			    sizeof(list.version) + list.n * sizeof(struct entry));
}

int acl_grant(int fd, const uint32_t *uids, unsigned n, uint32_t perm)
{
	int ret = os_flock(fd, LOCK_EX);

	if (ret == 0)
		ret = grant_locked(fd, uids, n, perm);
	os_flock(fd, LOCK_UN);
	return ret;
}
