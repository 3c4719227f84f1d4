/* guests.c - see guests.h. */
#include "ipc/guests.h"
#include "base/acl.h"
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ROOTS_FOLDER   "/dev/shm/vee-0"
#define VEE_CAP_SETUID 7

enum right {
	SEARCH = 1,
	READ_WRITE = 6,
	ALL = 7,
};

struct door {
	const struct guests *guests;
	bool bits_too; /* where there are no lists, by mode bits, for everybody */
	int ret;       /* the first error */
};

static void note(struct door *door, int ret)
{
	if (ret < 0 && !door->ret)
		door->ret = ret;
}

/* What is not the caller's is none of its business. */
static void let_in(struct door *door, int fd, enum right right, uint32_t bits)
{
	struct stat st;
	int ret = os_fstat(fd, &st);

	if (ret < 0 || st.st_uid != os_geteuid())
		return note(door, ret);
	if (right == ALL && !(st.st_mode & S_ISVTX))
		os_fchmod(fd, (st.st_mode & 07777) | S_ISVTX);
	ret = acl_grant(fd, door->guests->uids, door->guests->n, right);
	if (ret == -EOPNOTSUPP && door->bits_too && (st.st_mode & bits) != bits)
		os_fchmod(fd, (st.st_mode & 07777) | bits);
	note(door, ret);
}

static int open_at(int at, const char *name, int flags)
{
	return os_openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags, 0);
}

static void let_in_at(struct door *door, int at, const char *name, enum right right)
{
	int fd = open_at(at, name, right == ALL ? O_DIRECTORY : 0);

	if (fd < 0)
		return note(door, fd);
	let_in(door, fd, right, right == ALL ? 01733 : 0);
	os_close(fd);
}

/* The folder of namespaces and the namespace's. Returns a descriptor of this. */
static int let_in_above(struct door *door, const char *dir)
{
	const char *slash = strrchr(dir, '/');
	int above, fd, length = slash == dir ? 1 : slash - dir;
	char base[3072];

	snprintf(base, sizeof(base), "%.*s", length, dir);
	above = open_at(AT_FDCWD, base, O_DIRECTORY);
	if (above < 0)
		return above;
	fd = open_at(above, slash + 1, O_DIRECTORY);
	if (fd >= 0) {
		let_in(door, above, SEARCH, 0011);
		let_in(door, fd, SEARCH, 01711);
	}
	os_close(above);
	return fd;
}

static int let_in_all(const char *dir, struct door *door, bool file_too)
{
	int fd = let_in_above(door, dir);

	if (fd < 0)
		return fd;
	let_in_at(door, fd, "shm", ALL);
	if (file_too)
		let_in_at(door, fd, "namespace", READ_WRITE);
	os_close(fd);
	return door->ret;
}

int guests_admit_to_folders(const char *dir, const struct guests *guests)
{
	struct door door = {guests, false, 0};

	return let_in_all(dir, &door, false);
}

int guests_admit_to_file(const char *path, const struct guests *guests)
{
	struct door door = {guests, false, 0};

	let_in_at(&door, AT_FDCWD, path, READ_WRITE);
	return door.ret;
}

/* --- a process that becomes another user --- */

#define REMEMBERED 16u

/* Of this process and its parents, so that a server which changes to and fro pays once. */
static uint32_t admitted[REMEMBERED];
static unsigned n_admitted;

static bool is_admitted(uint32_t uid)
{
	for (unsigned i = 0; i < REMEMBERED; i++)
		if (__atomic_load_n(&admitted[i], __ATOMIC_RELAXED) == uid)
			return true;
	return false;
}

static void remember(uint32_t uid)
{
	unsigned i = __atomic_fetch_add(&n_admitted, 1, __ATOMIC_RELAXED);

	__atomic_store_n(&admitted[i % REMEMBERED], uid, __ATOMIC_RELAXED);
}

/*
 * Makes the namespace, but does not keep it open: this may be a child of vfork, in its parent's memory. Who opens it
 * later could not make it any more.
 */
static int make(const char *dir)
{
	size_t size = ALIGN_UP(sizeof(struct ipc_namespace), (size_t)4096);
	intptr_t at =
		os_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret;

	if (at < 0 && at > -4096)
		return at;
	ret = namespace_open((struct ipc_namespace *)at, dir, true, 0600);
	if (ret == 0)
		namespace_close((struct ipc_namespace *)at);
	os_munmap((void *)at, size);
	return ret;
}

static void admit(const struct guests *guests)
{
	const struct ipc_namespace *ns = namespace_opened();
	char dir[3072];
	int ret;

	if (ns)
		snprintf(dir, sizeof(dir), "%s", ns->dir);
	/* Whom `vee run` has put in a namespace uses it, though it has not made a call yet. */
	else if (!getenv("VEE_NS") || namespace_dir(NULL, dir, sizeof(dir)) < 0)
		return;
	ret = let_in_all(dir, &(struct door){guests, true, 0}, true);
	if (ret == -ENOENT && !ns && make(dir) == 0)
		let_in_all(dir, &(struct door){guests, true, 0}, true);
	for (unsigned i = 0; i < guests->n; i++)
		remember(guests->uids[i]);
}

void namespace_admit(const uint32_t *uids, unsigned n)
{
	uint32_t new[3], me = os_geteuid();
	struct guests guests = {new, 0};

	for (unsigned i = 0; i < n && guests.n < ARRAY_SIZE(new); i++)
		if (uids[i] && uids[i] != UINT32_MAX && uids[i] != me && !is_admitted(uids[i]))
			new[guests.n++] = uids[i];
	/* Who is not privileged can become only what it was before. */
	if (!guests.n || !cred_capable(VEE_CAP_SETUID))
		return;
	critical_enter();
	admit(&guests);
	critical_leave();
}

/* --- a guest looks for its host --- */

static bool is_roots_folder(const char *path)
{
	struct stat st;

	return os_lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == 0 &&
	       (!(st.st_mode & 022) || st.st_mode & S_ISVTX);
}

int guests_find(const char *name, char *buf, size_t size)
{
	char file[512];
	struct stat st;
	int fd, ret;

	if ((size_t)snprintf(buf, size, ROOTS_FOLDER "/%s", name) >= size)
		return -ENOENT;
	if (!is_roots_folder(ROOTS_FOLDER) || !is_roots_folder(buf))
		return -ENOENT;
	snprintf(file, sizeof(file), "%s/namespace", buf);
	fd = os_open(file, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
	if (fd < 0)
		return -ENOENT;
	ret = os_fstat(fd, &st);
	os_close(fd);
	return ret == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 ? 0 : -ENOENT;
}
