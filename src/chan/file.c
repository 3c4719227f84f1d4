/* file.c - a channel's name, its file, and the handle; see chan.h. */
#include "arena/arena.h"
#include "base/os.h"
#include "chan/fast.h"
#include "ipc/namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_DEFAULT (4u << 20)
#define STAMPS_MOST  1024u

VEE_TLS char chan_error[512];
uint32_t chan_forks;

void chan_errorf(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(chan_error, sizeof(chan_error), format, args);
	va_end(args);
}

void chan_error_of(const char *what, int error)
{
	if (!chan_error[0])
		chan_errorf("%s: %s", what, strerror(-error));
}

/* --- names --- */

static int absolute_path(const char *name, char *buf, size_t size)
{
	char here[PATH_MAX] = "";

	if (name[0] != '/' && !getcwd(here, sizeof(here)))
		return -errno;
	if ((size_t)snprintf(buf, size, "%s%s%s", here, here[0] ? "/" : "", name) < size)
		return 0;
	chan_errorf("'%.80s ...': the path is too long", name);
	return -ENAMETOOLONG;
}

int chan_path(const char *name, char *buf, size_t size)
{
	const char *last = strrchr(name, '/');
	size_t length;
	int ret;

	last = last ? last + 1 : name;
	length = strlen(last);
	if (length == 0 || last[0] == '.' || length > NAME_MAX - 64) {
		chan_errorf(
			"'%.80s' can't be the name of a channel: 1 to %d characters, no '.' in front",
			name, NAME_MAX - 64);
		return length > NAME_MAX - 64 ? -ENAMETOOLONG : -EINVAL;
	}
	if (last != name)
		return absolute_path(name, buf, size - 64);
	ret = namespace_dir(NULL, buf, size - 64);
	if (ret < 0) {
		chan_errorf("%s", arena_error);
		return ret;
	}
	if (strlen(buf) + length + 8 > size - 64) {
		chan_errorf("%s: the path is too long", buf);
		return -ENAMETOOLONG;
	}
	strcat(strcat(buf, "/chan/"), name);
	return 0;
}

int chan_readers_path(const char *path, uint64_t ino, char *buf, size_t size)
{
	const char *base = strrchr(path, '/') + 1;
	int n = snprintf(buf, size, "%.*s.%s.%llu.readers", (int)(base - path), path, base,
			 (unsigned long long)ino);

	return (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* In the namespace the folder of channels is made with the namespace. */
static int make_parent(const char *name, const char *path)
{
	char folder[CHAN_PATH_SIZE];
	struct ipc_namespace *ns;
	struct stat st;
	int ret;

	if (strchr(name, '/'))
		return 0;
	snprintf(folder, sizeof(folder), "%s", path);
	*strrchr(folder, '/') = '\0';
	if (os_stat(folder, &st) == 0)
		return 0;
	ret = namespace_get(&ns);
	if (ret < 0) {
		chan_errorf("%s", arena_error);
		return ret;
	}
	ret = os_mkdir(folder, 0700);
	if (ret == 0)
		os_chmod(folder, ns->record->mode & 0066 ? 01777 : 0700);
	return ret == -EEXIST ? 0 : ret;
}

/* --- the file --- */

static uint64_t signature(void)
{
	return (uint64_t)sizeof(struct chan_header) << 48 | (uint64_t)CHAN_SECTIONS << 40 |
	       (uint64_t)CHAN_DOORBELLS << 32 | (uint64_t)sizeof(pthread_mutex_t) << 16 |
	       (uint64_t)chan_libc_word() << 8 | CHAN_LINE;
}

static const char *wrong_with(const struct chan_header *header, const struct stat *st)
{
	uint64_t size = header->ring_size;

	if (header->magic != CHAN_MAGIC)
		return "none of vee's channels, or damaged";
	if (header->version != CHAN_VERSION)
		return "made by another version of vee; remove it with 'vee chan rm'";
	if (header->signature != signature())
		return "made by a vee of another layout (another C library or processor)";
	if (size < CHAN_RING_LEAST || size > CHAN_RING_MOST || size & (size - 1) ||
	    (uint64_t)st->st_size != CHAN_RING_AT + size)
		return "damaged: it has another length than it says; remove it with 'vee chan rm'";
	return NULL;
}

static int open_file(const char *path, int flags, struct stat *ret_stat)
{
	int fd = os_open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0), ret;

	/* A folder, a socket. */
	if (fd == -EISDIR || fd == -ENXIO) {
		chan_errorf("%s: none of vee's channels", path);
		return -EPROTO;
	}
	if (fd < 0) {
		chan_errorf("%s: %s", path, strerror(-fd));
		return fd;
	}
	ret = os_fstat(fd, ret_stat);
	if (ret == 0 && !S_ISREG(ret_stat->st_mode))
		ret = -EPROTO;
	if (ret == 0 && ret_stat->st_size < CHAN_RING_AT)
		ret = -EPROTO;
	if (ret < 0) {
		chan_errorf("%s: none of vee's channels", path);
		os_close(fd);
		return ret;
	}
	return fd;
}

int chan_map_file(struct vee_channel *channel, bool write)
{
	int prot = write ? PROT_READ | PROT_WRITE : PROT_READ;
	struct stat st;
	int fd = open_file(channel->path, write ? O_RDWR : O_RDONLY, &st);
	const char *wrong;
	intptr_t at;

	if (fd < 0)
		return fd;
	at = os_mmap(NULL, st.st_size, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);
	os_close(fd);
	if (at < 0 && at > -4096) {
		chan_errorf("%s: %s", channel->path, strerror(-at));
		return at;
	}
	channel->header = (struct chan_header *)at;
	channel->file_size = st.st_size;
	channel->ino = st.st_ino;
	channel->file_guard = guard_add((void *)at, st.st_size, prot);
	channel->guard = channel->file_guard;
	if (!channel->guard)
		return -ENOMEM;
	wrong = wrong_with(channel->header, &st);
	if (wrong) {
		chan_errorf("%s: %s", channel->path, wrong);
		return -EPROTO;
	}
	channel->ring = (char *)at + CHAN_RING_AT;
	channel->lines = channel->header->ring_size / CHAN_LINE;
	return 0;
}

static int fill_new(int fd, uint64_t ring_size, uint32_t mode, bool others_reliable)
{
	int ret = os_ftruncate(fd, CHAN_RING_AT + ring_size);
	struct chan_header *header;
	intptr_t at;

	if (ret == 0)
		ret = os_fallocate(fd, 0, CHAN_RING_AT);
	if (ret < 0)
		return ret;
	at = os_mmap(NULL, CHAN_RING_AT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at < 0 && at > -4096)
		return at;
	header = (struct chan_header *)at;
	header->version = CHAN_VERSION;
	header->libc_word = chan_libc_word();
	header->ring_size = ring_size;
	header->signature = signature();
	header->uid = header->writer_uid = os_geteuid();
	header->others_reliable = others_reliable;
	header->mode = mode;
	header->sections[0] = (struct chan_section){.pos = 1, .seq = 1, .epoch = 1};
	for (unsigned i = 0; i < CHAN_DOORBELLS; i++)
		chan_doorbell_init(&header->doorbells[i]);
	chan_doorbell_init(&header->claim);
	header->magic = CHAN_MAGIC;
	os_munmap(header, CHAN_RING_AT);
	return os_fchmod(fd, mode);
}

/* Whoever sees the name sees it whole. -EEXIST: another was quicker. */
static int make_file(const char *path, uint64_t ring_size, uint32_t mode, bool others_reliable)
{
	char made[CHAN_PATH_SIZE + 32];
	const char *base = strrchr(path, '/') + 1;
	struct stat st = {.st_ino = 0};
	int fd, ret;

	snprintf(made, sizeof(made), "%.*s.%s.%d.new", (int)(base - path), path, base, os_gettid());
	os_unlink(made);
	fd = os_open(made, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		chan_errorf("%s: can't be made: %s", path, strerror(-fd));
		return fd;
	}
	ret = fill_new(fd, ring_size, mode, others_reliable);
	if (ret == 0)
		ret = os_fstat(fd, &st);
	os_close(fd);
	if (ret == 0)
		ret = chan_make_hall(path, st.st_ino, mode);
	if (ret == 0)
		ret = os_link(made, path);
	os_unlink(made);
	if (ret < 0)
		chan_clean(path, st.st_ino);
	if (ret < 0 && ret != -EEXIST)
		chan_errorf("%s: can't be made: %s", path, strerror(-ret));
	return ret;
}

/* --- the writer's handle --- */

static void say_who_writes(const struct vee_channel *channel)
{
	int pid = chan_load(channel->header->pid);
	char path[40], comm[32] = "?";

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (os_read_file(path, comm, sizeof(comm)) > 0)
		comm[strcspn(comm, "\n")] = '\0';
	chan_errorf("%s: is written by process %d (%s): one writes at a time", channel->path, pid,
		    comm);
}

/* A thread of a writer that has closed it may hold its doorbell to its own end: then another one. */
static int take_doorbell_locked(struct vee_channel *channel)
{
	struct chan_header *header = channel->header;

	if (load_acquire(header->state) == CHAN_WRITTEN && !chan_writer_is_dead(channel)) {
		say_who_writes(channel);
		return -EBUSY;
	}
	for (uint32_t i = 0; i < CHAN_DOORBELLS; i++) {
		struct chan_doorbell *doorbell =
			&header->doorbells[(header->doorbell + i) % CHAN_DOORBELLS];

		channel->doorbell = chan_doorbell_take(doorbell);
		if (!channel->doorbell &&
		    chan_doorbell_tid(
			    load_acquire(*chan_doorbell_word(doorbell, header->libc_word))) &&
		    !chan_doorbell_is_left_here(doorbell))
			continue;
		channel->doorbell_number = (header->doorbell + i) % CHAN_DOORBELLS;
		chan_store(header->doorbell, channel->doorbell_number);
		return 0;
	}
	say_who_writes(channel);
	return -EBUSY;
}

/* Two may want to write what nobody does. */
static int take_doorbell(struct vee_channel *channel)
{
	pthread_mutex_t *lock = &channel->header->claim.mutex;
	int ret;

	if (pthread_mutex_lock(lock) == EOWNERDEAD)
		pthread_mutex_consistent(lock);
	ret = take_doorbell_locked(channel);
	if (ret == 0)
		ret = chan_begin_writing(channel);
	pthread_mutex_unlock(lock);
	return ret;
}

static int check_options(const struct vee_channel_create_options *options, uint64_t *ret_size)
{
	uint64_t size = options->ring_size ? options->ring_size : RING_DEFAULT;

	*ret_size = size;
	if (size < CHAN_RING_LEAST || size > CHAN_RING_MOST || size & (size - 1)) {
		chan_errorf("a ring of %llu bytes: it is to be a power of two, %u to %u",
			    (unsigned long long)size, CHAN_RING_LEAST, CHAN_RING_MOST);
		return -EINVAL;
	}
	if (options->mode & ~0777u ||
	    options->flags & ~(VEE_CHANNEL_NEW | VEE_CHANNEL_OTHERS_RELIABLE) ||
	    options->stamp_every > STAMPS_MOST || options->stall_ns < 0) {
		chan_errorf(
			"mode %04o, flags %#x, stamp_every %u (at most %u) or stall_ns %lld: invalid",
			options->mode, options->flags, options->stamp_every, STAMPS_MOST,
			(long long)options->stall_ns);
		return -EINVAL;
	}
	return 0;
}

static int open_or_make(struct vee_channel *channel,
			const struct vee_channel_create_options *options, uint64_t ring_size)
{
	uint32_t mode = options->mode ? options->mode : 0600;
	int ret;

	do {
		ret = options->flags & VEE_CHANNEL_NEW ? -ENOENT : chan_map_file(channel, true);
		if (ret != -ENOENT)
			return ret;
		ret = make_file(channel->path, ring_size, mode, channel->others_reliable);
		if (ret == -EEXIST && options->flags & VEE_CHANNEL_NEW)
			chan_errorf("%s: is there already", channel->path);
		else if (ret == 0)
			ret = chan_map_file(channel, true);
	} while (ret == -EEXIST && !(options->flags & VEE_CHANNEL_NEW));
	return ret;
}

static bool give_doorbell(struct vee_channel *channel)
{
	if (channel->forks != chan_forks || !channel->doorbell)
		return true;
	/* Truncated: who holds it is not known any more, and the thread's list of robust mutexes may lead through it. */
	if (guard_hit(channel->writer ? channel->guard : channel->desks[0].guard))
		return false;
	if (channel->writer)
		return chan_doorbell_give(&channel->header->doorbells[channel->doorbell_number],
					  channel->doorbell);
	return chan_doorbell_give(&channel->seat->doorbell, channel->doorbell);
}

void chan_free_handle(struct vee_channel *channel, bool keep_header)
{
	chan_unmap_desks(channel);
	if (channel->header && keep_header) {
		guard_add(channel->header, CHAN_RING_AT, PROT_READ | PROT_WRITE);
		guard_remove(channel->file_guard);
		os_munmap((char *)channel->header + CHAN_RING_AT,
			  channel->file_size - CHAN_RING_AT);
	} else if (channel->header) {
		guard_remove(channel->file_guard);
		os_munmap(channel->header, channel->file_size);
	}
	free(channel->path);
	free(channel);
}

struct vee_channel *chan_new_handle(const char *name, unsigned desks, int *ret_error)
{
	struct vee_channel *channel =
		calloc(1, sizeof(*channel) + desks * sizeof(channel->desks[0]));
	char path[CHAN_PATH_SIZE];

	chan_error[0] = '\0';
	*ret_error = channel ? chan_path(name, path, sizeof(path)) : -ENOMEM;
	if (*ret_error == 0) {
		channel->path = strdup(path);
		*ret_error = channel->path ? 0 : -ENOMEM;
	}
	if (*ret_error < 0) {
		chan_error_of(name, *ret_error);
		free(channel);
		return NULL;
	}
	channel->forks = chan_forks;
	return channel;
}

int chan_create(const char *name, const struct vee_channel_create_options *options,
		struct vee_channel **ret_channel)
{
	static const struct vee_channel_create_options defaults;
	struct vee_channel *channel;
	uint64_t ring_size;
	int ret;

	if (!options)
		options = &defaults;
	channel = chan_new_handle(name, CHAN_DESKS_MAX, &ret);
	if (!channel)
		return ret;
	channel->writer = true;
	channel->stamp_every = options->stamp_every ? options->stamp_every : 1;
	channel->stall_ns = options->stall_ns;
	channel->others_reliable = options->flags & VEE_CHANNEL_OTHERS_RELIABLE;
	ret = check_options(options, &ring_size);
	if (ret == 0)
		ret = make_parent(name, channel->path);
	if (ret == 0)
		ret = open_or_make(channel, options, ring_size);
	if (ret == 0)
		ret = chan_map_hall(channel);
	if (ret == 0) {
		chan_find_desks(channel);
		ret = take_doorbell(channel);
	}
	if (ret < 0) {
		if (ret == -EPROTO && !chan_error[0])
			chan_errorf("%s: damaged; remove it with 'vee chan rm'", channel->path);
		chan_error_of(channel->path, ret);
		chan_free_handle(channel, !give_doorbell(channel));
		return ret;
	}
	*ret_channel = channel;
	return 0;
}

/* --- the reader's handle --- */

int chan_open(const char *name, const struct vee_channel_open_options *options,
	      struct vee_channel **ret_channel)
{
	struct vee_channel *channel;
	int ret;

	channel = chan_new_handle(name, 1, &ret);
	if (!channel)
		return ret;
	if (options)
		channel->options = *options;
	if (channel->options.start > VEE_CHANNEL_SEQUENCE ||
	    channel->options.policy > VEE_CHANNEL_RELIABLE ||
	    channel->options.stall > VEE_CHANNEL_STALL_DISCONNECT ||
	    channel->options.stall_ns < 0 || channel->options.flags & ~VEE_CHANNEL_FOLLOW) {
		chan_errorf("start %d, policy %d, stall %d, stall_ns %lld or flags %#x: invalid",
			    channel->options.start, channel->options.policy, channel->options.stall,
			    (long long)channel->options.stall_ns, channel->options.flags);
		ret = -EINVAL;
	}
	if (ret == 0)
		ret = chan_map_file(channel, false);
	if (ret == 0 && channel->options.policy == VEE_CHANNEL_RELIABLE &&
	    !chan_may_be_reliable(channel->header, os_geteuid())) {
		chan_errorf("%s: its writer, user %u, lets no other users' readers be reliable",
			    channel->path, channel->header->writer_uid);
		ret = -EPERM;
	}
	if (ret == 0)
		ret = chan_map_hall(channel);
	if (ret == 0)
		ret = chan_seat_take(channel);
	if (ret == 0)
		ret = chan_begin_reading(channel);
	if (ret < 0) {
		chan_error_of(channel->path, ret);
		chan_close(channel);
		return ret;
	}
	*ret_channel = channel;
	return 0;
}

void chan_close(struct vee_channel *channel)
{
	bool ours = channel->forks == chan_forks, given;

	chan_poll_close(channel);
	if (ours && channel->writer)
		chan_end_writing(channel);
	else if (ours)
		chan_seat_leave(channel);
	given = give_doorbell(channel);
	/* The desk's memory stays, for the thread that holds the seat's doorbell. */
	if (!given && !channel->writer)
		channel->n_desks = 0;
	if (ours && channel->ino)
		chan_clean(channel->path, channel->ino);
	chan_free_handle(channel, !given && channel->writer);
}

/* --- what there is --- */

int chan_stat(struct vee_channel *channel, struct vee_channel_stat *ret_stat)
{
	const struct chan_header *header = channel->header;
	struct chan_section section = {.seq = 0};

	if (channel->forks != chan_forks)
		return -ECHILD;
	*ret_stat = (struct vee_channel_stat){
		.ring_size = header->ring_size,
		.message_size_max = header->ring_size / 4,
		.written = chan_load(header->seq),
		.bytes = chan_load(header->bytes),
		.time_ns = chan_load(header->time),
		.epoch = chan_load(header->epoch),
		.next = channel->next,
		.received = channel->received,
		.lost = channel->lost,
	};
	chan_count_readers(channel, &ret_stat->readers, &ret_stat->reliable);
	ret_stat->oldest = chan_oldest(channel, &section) ? section.seq : ret_stat->written + 1;
	if (chan_load(header->state) == CHAN_WRITTEN && !chan_writer_is_dead(channel))
		ret_stat->writer_pid = chan_load(header->pid);
	return guard_hit(channel->guard) ? -EIO : 0;
}

int chan_remove(const char *name)
{
	char path[CHAN_PATH_SIZE], *base;
	uint64_t magic = 0;
	struct stat st;
	int ret, fd;

	chan_error[0] = '\0';
	ret = chan_path(name, path, sizeof(path));
	if (ret < 0) {
		chan_error_of(name, ret);
		return ret;
	}
	/* One that can't be read may be removed all the same. */
	fd = open_file(path, O_RDONLY, &st);
	if (fd < 0 && (fd != -EACCES || os_lstat(path, &st) < 0))
		return fd;
	if (fd >= 0) {
		os_pread(fd, &magic, sizeof(magic), 0);
		os_close(fd);
	}
	/* A damaged one, or of another version, too; but not what merely has that name. */
	if (fd >= 0 && magic != CHAN_MAGIC) {
		chan_errorf("%s: none of vee's channels", path);
		return -EPROTO;
	}
	ret = os_unlink(path);
	if (ret < 0) {
		chan_errorf("%s: can't be removed: %s", path, strerror(-ret));
		return ret;
	}
	/* Of earlier ones too, and of those who died while they made one. */
	base = strrchr(path, '/');
	*base = '\0';
	chan_clean_all(base == path ? "/" : path, base + 1);
	return 0;
}
