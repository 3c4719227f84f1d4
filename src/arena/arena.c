/* arena.c - create, open and map a namespace file; see arena.h. */
#include "arena/arena.h"
#include "arena/journal.h"
#include "arena/slab.h"
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>

char arena_error[512];

void arena_errorf(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(arena_error, sizeof(arena_error), format, args);
	va_end(args);
}

static uint64_t hash(uint64_t h, const void *data, size_t size)
{
	const unsigned char *byte = data;

	while (size--)
		h = (h ^ *byte++) * 0x100000001b3ull;
	return h;
}

static uint64_t layout_signature(void)
{
	static const uint32_t sizes[] = {
		sizeof(pthread_mutex_t),
		sizeof(struct arena_lock),
		sizeof(struct arena_header),
		sizeof(struct journal),
		sizeof(struct page_desc),
		offsetof(struct arena_header, memory_lock),
		offsetof(struct arena_header, partial),
		offsetof(struct journal, entry),
		ARENA_PROCS_AT,
		ARENA_JOURNALS_AT,
		ARENA_DESCS_AT,
		ARENA_HEAP_AT,
		ARENA_PAGES,
#ifdef __GLIBC__
		1,
#else
		2,
#endif
		__BYTE_ORDER__,
	};

	return hash(0xcbf29ce484222325ull, sizes, sizeof(sizes));
}

/* Tells this boot of the machine from others; 0 if it can't be told. */
static uint64_t boot_hash(void)
{
	char id[64];

	if (os_read_file("/proc/sys/kernel/random/boot_id", id, sizeof(id)) <= 0)
		return 0;
	return hash(0xcbf29ce484222325ull, id, strlen(id));
}

static bool from_another_boot(const struct arena_header *header)
{
	uint64_t now = boot_hash();

	return header->boot && now && header->boot != now;
}

void arena_lock_init(struct arena_lock *lock)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&lock->mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	lock->holder = 0;
}

/* Commits through a descriptor, for kernels before 5.14. */
static int commit_by_file(struct arena *arena, uint64_t at, uint64_t size)
{
	int fd, ret;

	fd = os_open(arena->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	ret = os_fallocate(fd, at, size);
	os_close(fd);
	return ret;
}

int arena_commit(struct arena *arena, uint64_t at, uint64_t size)
{
	uint64_t from = at & ~(uint64_t)(ARENA_PAGE - 1);
	uint64_t to = ALIGN_UP(at + size, (uint64_t)ARENA_PAGE);
	int ret = os_madvise(arena->base + from, to - from, OS_MADV_POPULATE_WRITE);

	if (ret == -EINVAL)
		ret = commit_by_file(arena, from, to - from);
	return ret == -EFAULT ? -ENOSPC : ret;
}

/*
 * Maps without touching: a process that has asked to have all its memory locked must not have
 * this sparse gigabyte filled in.
 */
static int map(struct arena *arena, int fd)
{
	intptr_t base = os_mmap(NULL, ARENA_SIZE, PROT_NONE, MAP_SHARED, fd, 0);
	int ret;

	if (base < 0 && base > -4096)
		return base == -EAGAIN ? -ENOMEM : base; /* RLIMIT_MEMLOCK after mlockall() */
	os_munlock((void *)base, ARENA_SIZE);
	ret = os_mprotect((void *)base, ARENA_SIZE, PROT_READ | PROT_WRITE);
	if (ret < 0) {
		os_munmap((void *)base, ARENA_SIZE);
		return ret;
	}
	os_madvise((void *)base, ARENA_SIZE, MADV_DONTDUMP);
	arena->base = (char *)base;
	arena->header = (struct arena_header *)base;
	return 0;
}

static int check_header(const char *path, const struct arena_header *header)
{
	if (header->magic != ARENA_MAGIC || header->state != ARENA_READY) {
		arena_errorf("%s: not a vee namespace, or damaged; remove it with 'vee ns rm'",
			     path);
		return -EUCLEAN;
	}
	if (header->version != ARENA_VERSION) {
		arena_errorf("%s: made by another version of vee (format %u, this is %u); "
			     "end its programs and remove it with 'vee ns rm'",
			     path, header->version, ARENA_VERSION);
		return -EPROTO;
	}
	if (header->signature != layout_signature() || header->size != ARENA_SIZE) {
		arena_errorf("%s: made by a vee of another layout (another C library or processor)",
			     path);
		return -EPROTO;
	}
	if (header->heap_top > ARENA_PAGES || header->heap_used > header->heap_top ||
	    header->journals_ready > ARENA_JOURNALS || header->procs_ready > ARENA_PROCS) {
		arena_errorf("%s: damaged; remove it with 'vee ns rm'", path);
		return -EUCLEAN;
	}
	return 0;
}

/* Returns 1 for a sound file that an earlier boot of the machine left. */
static int open_existing(struct arena *arena, int fd)
{
	struct arena_header header;
	struct stat st;
	ssize_t n;
	int ret;

	ret = os_fstat(fd, &st);
	if (ret < 0)
		return ret;
	if (!S_ISREG(st.st_mode)) {
		arena_errorf("%s: not a regular file", arena->path);
		return -EUCLEAN;
	}
	n = os_pread(fd, &header, sizeof(header), 0);
	if (n < 0)
		return n;
	if (n != (ssize_t)sizeof(header))
		memset(&header, 0, sizeof(header));
	ret = check_header(arena->path, &header);
	if (ret < 0)
		return ret;
	if ((uint64_t)st.st_size != ARENA_SIZE) {
		arena_errorf("%s: %lld bytes long, not %llu: damaged; remove it with 'vee ns rm'",
			     arena->path, (long long)st.st_size, (unsigned long long)ARENA_SIZE);
		return -EUCLEAN;
	}
	if (from_another_boot(&header))
		return 1;
	arena->file_dev = st.st_dev;
	arena->file_ino = st.st_ino;
	return map(arena, fd);
}

static int fill_new(struct arena *arena, int (*init)(struct arena *arena))
{
	struct arena_header *header = arena->header;
	struct timespec now;
	int ret;

	os_clock(CLOCK_REALTIME, &now);
	header->version = ARENA_VERSION;
	header->signature = layout_signature();
	header->size = ARENA_SIZE;
	header->created = now.tv_sec;
	header->boot = boot_hash();
	arena_lock_init(&header->recovery_lock);
	arena_lock_init(&header->memory_lock);
	ret = init(arena);
	journal_release(arena);
	if (ret < 0)
		return ret;
	header->state = ARENA_READY;
	__atomic_store_n(&header->magic, ARENA_MAGIC, __ATOMIC_RELEASE);
	return 0;
}

/* The caller holds the folder's flock. */
static int create(struct arena *arena, uint32_t mode, int (*init)(struct arena *arena))
{
	char name[sizeof(arena->path) + 8];
	struct stat st;
	int fd, ret;

	snprintf(name, sizeof(name), "%s.new", arena->path);
	os_unlink(name);
	fd = os_open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return fd;
	ret = os_fchmod(fd, mode);
	if (ret == 0)
		ret = os_ftruncate(fd, ARENA_SIZE);
	if (ret == 0)
		ret = os_fallocate(fd, 0, ARENA_PROCS_AT);
	if (ret == 0)
		ret = os_fstat(fd, &st);
	if (ret == 0)
		ret = map(arena, fd);
	os_close(fd);
	if (ret == 0) {
		arena->file_dev = st.st_dev;
		arena->file_ino = st.st_ino;
		ret = fill_new(arena, init);
		if (ret == 0)
			ret = os_rename(name, arena->path);
		if (ret < 0)
			arena_close(arena);
	}
	if (ret < 0)
		os_unlink(name);
	return ret;
}

static int open_locked(struct arena *arena, uint32_t mode, int (*init)(struct arena *arena))
{
	int fd, ret;

	fd = os_open(arena->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
	if (fd == -ENOENT)
		return create(arena, mode, init);
	if (fd < 0)
		return fd;
	ret = open_existing(arena, fd);
	os_close(fd);
	/* As in the kernel, no object outlives a reboot; the segments' files are rubbish for gc. */
	if (ret == 1)
		ret = create(arena, mode, init);
	return ret;
}

static int open_or_create(struct arena *arena, uint32_t mode, int (*init)(struct arena *arena))
{
	char folder[sizeof(arena->path)];
	char *slash;
	int dir, ret;

	snprintf(folder, sizeof(folder), "%s", arena->path);
	slash = strrchr(folder, '/');
	if (slash)
		*slash = '\0';
	dir = os_open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (dir < 0)
		return dir;
	ret = os_flock(dir, LOCK_EX);
	if (ret == 0)
		ret = open_locked(arena, mode, init);
	os_close(dir);
	return ret;
}

int arena_open(struct arena *arena, const char *path, uint32_t mode, bool can_create,
	       int (*init)(struct arena *arena))
{
	int fd, ret;

	arena_error[0] = '\0';
	arena->epoch++;
	arena->base = NULL;
	if ((size_t)snprintf(arena->path, sizeof(arena->path), "%s", path) >= sizeof(arena->path))
		return -ENAMETOOLONG;
	fd = os_open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
	if (fd >= 0) {
		ret = open_existing(arena, fd);
		os_close(fd);
	} else {
		ret = fd;
	}
	if ((ret == -ENOENT || ret == 1) && can_create)
		ret = open_or_create(arena, mode, init);
	if (ret == 1)
		ret = -ENOENT;
	if (ret < 0 && !arena_error[0])
		arena_errorf("%s: %s", path, strerror(-ret));
	return ret;
}

void arena_close(struct arena *arena)
{
	if (!arena->base)
		return;
	journal_release(arena);
	os_munmap(arena->base, ARENA_SIZE);
	arena->base = NULL;
	arena->header = NULL;
}

const char *arena_check(struct arena *arena)
{
	struct tx *tx;
	const char *wrong;

	if (check_header(arena->path, arena->header) < 0)
		return arena_error;
	if (tx_begin(arena, &tx) < 0)
		return "no journal can be claimed";
	tx_lock(tx, &arena->header->memory_lock);
	wrong = slab_check(arena);
	tx_commit(tx);
	return wrong ? wrong : journal_check(arena);
}
