/*
 * desk.c - where readers sit: a file a user, with a seat a reader; see layout.h.
 *
 * Guard: the desk's `claim`, for taking a seat. Not a lock of the file, which whoever may read it could hold.
 */
#include "base/os.h"
#include "chan/fast.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define DESK_SIZE  (CHAN_SEATS_AT + CHAN_SEATS * CHAN_SEAT_SIZE)
#define DESK_TRIES 64u
#define HEX	   "0123456789abcdef"
/* A user's desks that a writer looks at: one, but for races. */
#define DESKS_A_USER 8u
/* A desk with more dead readers than that is not asked whether others live. */
#define DEAD_MOST 64u
/* Whoever may read may say that a desk is new, and fill the folder: looks take an eighth of the time, and so much at once. */
#define LOOK_SHARE   8
#define LOOK_MOST_NS 4000000ll
/* Two changes of a folder so close together may have the same time. */
#define FOLDER_TICK_NS 20000000ll

struct chan_seat *chan_seat_at(const struct chan_desk *desk, uint32_t number)
{
	return (struct chan_seat *)((char *)desk + CHAN_SEATS_AT + number * CHAN_SEAT_SIZE);
}

bool chan_seat_is_dead(const struct chan_desk_map *map, const struct chan_seat *seat,
		       uint32_t libc_word)
{
	struct chan_owner owner;

	if (chan_doorbell_tid(load_acquire(*chan_doorbell_word(&seat->doorbell, libc_word))))
		return false;
	owner = (struct chan_owner){chan_load(seat->pid), chan_load(seat->start),
				    chan_load(seat->pid_ns), chan_load(seat->image)};
	return chan_owner_is_dead(&owner, map->ino);
}

/* What nobody can guess. */
uint32_t chan_random(void)
{
	uint32_t value = 0;

	if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != sizeof(value))
		value = (uint32_t)os_monotonic_ns() * 2654435761u ^ (uint32_t)os_gettid();
	return value;
}

/* --- files --- */

int chan_each_desk(const char *path, uint64_t ino,
		   int (*each)(void *arg, const char *file, uint32_t uid, uint64_t ino), void *arg)
{
	char folder[CHAN_PATH_SIZE], file[CHAN_PATH_SIZE + 32];
	struct dirent *entry;
	int ret = chan_readers_path(path, ino, folder, sizeof(folder));
	DIR *dir = ret < 0 ? NULL : opendir(folder);

	if (!dir)
		return ret < 0 ? ret : errno == ENOENT ? 0 : -errno;
	while (ret == 0 && (entry = readdir(dir))) {
		char *end;
		unsigned long uid = strtoul(entry->d_name, &end, 10);
		struct stat st;

		/* "UID", or "UID.RANDOM" */
		if (end == entry->d_name || uid > UINT32_MAX ||
		    (*end && (*end != '.' || strspn(end + 1, HEX) != strlen(end + 1) ||
			      strlen(end + 1) != 8)))
			continue;
		snprintf(file, sizeof(file), "%s/%.20s", folder, entry->d_name);
		/* What somebody else has put there is none. */
		if (os_lstat(file, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == uid &&
		    st.st_size == DESK_SIZE)
			ret = each(arg, file, uid, st.st_ino);
	}
	closedir(dir);
	return ret;
}

void chan_unmap_desk(struct chan_desk_map *map)
{
	if (!map->desk)
		return;
	guard_remove(map->guard);
	os_munmap(map->desk, DESK_SIZE);
	free(map->silent);
	map->silent = NULL;
	map->desk = NULL;
}

static int map_desk(const char *file, int flags, uint32_t uid, struct chan_desk_map *ret_map,
		    int *ret_fd)
{
	int prot = flags == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ;
	int fd = os_open(file, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
	struct stat st;
	intptr_t at;

	if (fd < 0)
		return fd;
	if (os_fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != uid ||
	    st.st_size != DESK_SIZE) {
		os_close(fd);
		return -EPROTO;
	}
	at = os_mmap(NULL, DESK_SIZE, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (at < 0 && at > -4096) {
		os_close(fd);
		return at;
	}
	*ret_map = (struct chan_desk_map){
		.desk = (struct chan_desk *)at, .uid = uid, .ino = st.st_ino};
	ret_map->guard = guard_add((void *)at, DESK_SIZE, prot);
	if (!ret_map->guard) {
		chan_unmap_desk(ret_map);
		os_close(fd);
		return -ENOMEM;
	}
	if (ret_fd)
		*ret_fd = fd;
	else
		os_close(fd);
	return 0;
}

int chan_map_desk(const char *file, uint32_t uid, struct chan_desk_map *ret_map)
{
	return map_desk(file, O_RDONLY, uid, ret_map, NULL);
}

/* Whoever sees the name sees it whole. */
static int make_desk(const char *file)
{
	char made[CHAN_PATH_SIZE + 64];
	struct chan_desk desk = {.magic = CHAN_MAGIC, .version = CHAN_VERSION};
	int fd, ret;

	chan_doorbell_init(&desk.claim);
	snprintf(made, sizeof(made), "%s.%d.new", file, os_gettid());
	os_unlink(made);
	fd = os_open(made, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return fd;
	ret = os_ftruncate(fd, DESK_SIZE);
	if (ret == 0)
		ret = os_fallocate(fd, 0, CHAN_PAGE);
	if (ret == 0 && os_write(fd, &desk, sizeof(desk)) != sizeof(desk))
		ret = -ENOSPC;
	if (ret == 0)
		ret = os_fchmod(fd, 0644); /* the writer may be another user */
	os_close(fd);
	if (ret == 0)
		ret = os_link(made, file);
	os_unlink(made);
	return ret;
}

/*
 * That there is a new desk: who has made it may have died before it said so. And of a user who may not be reliable, each reader: it may
 * be the first to sit there again after the writer has forgotten the desk.
 */
static void say_joined(struct vee_channel *channel)
{
	struct chan_desk *desk = channel->desks[0].desk;

	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* CHAN_SIT */
	if (load_acquire(desk->announced) &&
	    chan_may_be_reliable(channel->header, channel->desks[0].uid))
		return;
	__atomic_fetch_add(&channel->hall->joined, 1, __ATOMIC_SEQ_CST);
	os_membarrier();
	__atomic_store_n(&desk->announced, 1, __ATOMIC_RELEASE);
}

struct search {
	struct vee_channel *channel;
	uint32_t uid;
	int *ret_fd;
};

/* 1: it is ours, and mapped. 0: it is not there, or is none of ours. */
static int take_if_own(void *arg, const char *file, uint32_t uid, uint64_t ino)
{
	struct search *search = arg;
	int ret;

	(void)ino;
	if (uid != search->uid)
		return 0;
	ret = map_desk(file, O_RDWR, uid, &search->channel->desks[0], search->ret_fd);
	/* Another name would not help. */
	if (ret == -ENOMEM || ret == -EMFILE || ret == -ENFILE)
		return ret;
	return ret == 0;
}

/* In a folder where all can write somebody else may have taken our name: then another one, that nobody can guess. */
static int own_desk(struct vee_channel *channel, int *ret_fd)
{
	char folder[CHAN_PATH_SIZE], file[CHAN_PATH_SIZE + 32];
	struct search search = {channel, os_geteuid(), ret_fd};
	int ret = chan_readers_path(channel->path, channel->ino, folder, sizeof(folder));

	if (ret < 0)
		return ret;
	snprintf(file, sizeof(file), "%s/%u", folder, search.uid);
	ret = take_if_own(&search, file, search.uid, 0);
	if (ret == 0)
		ret = chan_each_desk(channel->path, channel->ino, take_if_own, &search);
	for (unsigned i = 0; ret == 0 && i < DESK_TRIES; i++) {
		ret = make_desk(file);
		if (ret == 0 || ret == -EEXIST)
			ret = take_if_own(&search, file, search.uid, 0);
		snprintf(file, sizeof(file), "%s/%u.%08x", folder, search.uid, chan_random());
	}
	if (ret > 0) {
		channel->n_desks = 1;
		return 0;
	}
	if (ret == 0)
		ret = -EACCES;
	chan_errorf("%s: no place for a reader of this user: %s", folder, strerror(-ret));
	return ret;
}

int chan_make_hall(const char *path, uint64_t ino, uint32_t mode)
{
	char folder[CHAN_PATH_SIZE], file[CHAN_PATH_SIZE + 16];
	int ret = chan_readers_path(path, ino, folder, sizeof(folder)), fd;

	if (ret == 0)
		ret = os_mkdir(folder, 0700);
	if (ret < 0)
		return ret;
	snprintf(file, sizeof(file), "%s/hall", folder);
	fd = os_open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	ret = os_fallocate(fd, 0, CHAN_PAGE);
	if (ret == 0)
		ret = os_fchmod(fd, 0600 | (mode & 0040 ? 0060 : 0) | (mode & 0004 ? 0006 : 0));
	os_close(fd);
	/* Our own desk is there before anybody else can tell lies. */
	snprintf(file, sizeof(file), "%s/%u", folder, os_geteuid());
	if (ret == 0)
		ret = make_desk(file);
	if (ret == 0)
		ret = os_chmod(folder,
			       0700 | (mode & 0040 ? 01070 : 0) | (mode & 0004 ? 01007 : 0));
	return ret;
}

int chan_map_hall(struct vee_channel *channel)
{
	char folder[CHAN_PATH_SIZE], file[CHAN_PATH_SIZE + 8];
	int ret = chan_readers_path(channel->path, channel->ino, folder, sizeof(folder)), fd;
	intptr_t at;

	if (ret < 0)
		return ret;
	snprintf(file, sizeof(file), "%s/hall", folder);
	fd = os_open(file, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
	if (fd < 0) {
		chan_errorf("%s: %s", file, strerror(-fd));
		return fd;
	}
	at = os_mmap(NULL, CHAN_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	os_close(fd);
	if (at < 0 && at > -4096)
		return at;
	channel->hall = (struct chan_hall *)at;
	channel->hall_guard = guard_add((void *)at, CHAN_PAGE, PROT_READ | PROT_WRITE);
	return channel->hall_guard ? 0 : -ENOMEM;
}

void chan_unmap_desks(struct vee_channel *channel)
{
	for (unsigned i = 0; i < channel->n_desks; i++)
		chan_unmap_desk(&channel->desks[i]);
	channel->n_desks = 0;
	if (channel->hall) {
		guard_remove(channel->hall_guard);
		os_munmap(channel->hall, CHAN_PAGE);
		channel->hall = NULL;
	}
}

/* Does a reader sit there that lives? true too if it has looked at so many that are dead. */
static bool is_sat_at(const struct chan_desk_map *map, uint32_t libc_word, unsigned dead_most)
{
	unsigned dead = 0;

	for (uint32_t i = 0; i < chan_load(map->desk->seats_used) && i < CHAN_SEATS; i++) {
		const struct chan_seat *seat = chan_seat_at(map->desk, i);
		uint32_t state = load_acquire(seat->state);

		if (state != CHAN_SEAT_LOSSY && state != CHAN_SEAT_RELIABLE)
			continue;
		if (dead == dead_most || !chan_seat_is_dead(map, seat, libc_word))
			return true;
		dead++;
	}
	return false;
}

static int has_live_seat(void *arg, const char *file, uint32_t uid, uint64_t ino)
{
	struct chan_desk_map map;
	bool live;

	(void)ino;
	if (map_desk(file, O_RDONLY, uid, &map, NULL) < 0)
		return 0;
	live = is_sat_at(&map, *(uint32_t *)arg, CHAN_SEATS);
	chan_unmap_desk(&map);
	return live;
}

/* What vee has put there: the hall, desks, sockets, and what was to become a desk. */
static bool is_ours(const char *name)
{
	return !strcmp(name, "hall") || !strncmp(name, "poll-", 5) ||
	       (name[0] >= '0' && name[0] <= '9');
}

/* ".NAME.NUMBER.END": the length of the name; 0: it is none. */
static size_t parse_entry(const char *entry, const char *end, uint64_t *ret_number)
{
	const char *dot = entry + strlen(entry) - strlen(end);

	if (entry[0] != '.' || dot <= entry || strcmp(dot, end))
		return 0;
	while (dot > entry + 1 && *--dot != '.')
		;
	*ret_number = strtoull(dot + 1, NULL, 10);
	return dot - entry - 1;
}

/* Of a file that is being made, and has no name yet. What one has left that died over it, goes. */
static bool is_being_made(const char *path, uint64_t ino)
{
	const char *base = strrchr(path, '/') + 1;
	char folder[CHAN_PATH_SIZE], file[CHAN_PATH_SIZE + 300];
	bool found = false;
	struct dirent *entry;
	struct stat st;
	uint64_t tid;
	DIR *dir;

	snprintf(folder, sizeof(folder), "%.*s", (int)(base - path), path);
	dir = opendir(folder);
	while (dir && (entry = readdir(dir))) {
		size_t length = parse_entry(entry->d_name, ".new", &tid);

		if (length != strlen(base) || strncmp(entry->d_name + 1, base, length))
			continue;
		snprintf(file, sizeof(file), "%s%s", folder, entry->d_name);
		if (tid > 0 && tid <= INT32_MAX && os_kill(tid, 0) == -ESRCH)
			os_unlink(file);
		else
			found |= os_lstat(file, &st) == 0 && st.st_ino == ino;
	}
	if (dir)
		closedir(dir);
	return found;
}

void chan_clean(const char *path, uint64_t ino)
{
	char folder[CHAN_PATH_SIZE];
	uint32_t libc_word = chan_libc_word();
	struct dirent *entry;
	struct stat st;
	int fd;
	DIR *dir;

	if (chan_readers_path(path, ino, folder, sizeof(folder)) < 0 ||
	    (os_lstat(path, &st) == 0 && st.st_ino == ino) || is_being_made(path, ino) ||
	    (os_lstat(path, &st) == 0 && st.st_ino == ino) || /* made just now */
	    chan_each_desk(path, ino, has_live_seat, &libc_word))
		return;
	/* Its maker may be hostile: no link leads to a folder of ours. */
	fd = os_open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	dir = fdopendir(fd);
	if (!dir)
		os_close(fd);
	while (dir && (entry = readdir(dir)))
		if (is_ours(entry->d_name))
			os_unlinkat(fd, entry->d_name);
	if (dir)
		closedir(dir);
	os_rmdir(folder);
}

unsigned chan_clean_all(const char *folder, const char *base)
{
	char path[CHAN_PATH_SIZE + 300];
	struct dirent *entry;
	struct stat st;
	unsigned n = 0;
	uint64_t ino;
	DIR *dir = opendir(folder);

	while (dir && (entry = readdir(dir))) {
		size_t length = parse_entry(entry->d_name, ".readers", &ino);

		if (!length ||
		    (base && (length != strlen(base) || strncmp(entry->d_name + 1, base, length))))
			continue;
		snprintf(path, sizeof(path), "%s/%.*s", folder, (int)length, entry->d_name + 1);
		chan_clean(path, ino);
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		n += os_lstat(path, &st) == -ENOENT;
	}
	if (dir)
		closedir(dir);
	return n;
}

/* --- the writer --- */

/* One whose readers the writer waits for stays: whoever comes back to it need not be heard. */
static bool may_forget(const struct vee_channel *channel, const struct chan_desk_map *map)
{
	if (chan_may_be_reliable(channel->header, map->uid))
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* CHAN_SIT */
	return !is_sat_at(map, channel->header->libc_word, DEAD_MOST);
}

static bool forget_desks(struct vee_channel *channel)
{
	unsigned n = channel->n_desks;

	for (unsigned i = channel->n_desks; i-- > 0;)
		if (may_forget(channel, &channel->desks[i])) {
			chan_unmap_desk(&channel->desks[i]);
			channel->desks[i] = channel->desks[--channel->n_desks];
		}
	return channel->n_desks < n;
}

static bool is_known(const struct vee_channel *channel, uint64_t ino)
{
	for (unsigned i = 0; i < channel->n_desks; i++)
		if (channel->desks[i].ino == ino)
			return true;
	return false;
}

static int add_desk(void *arg, const char *file, uint32_t uid, uint64_t ino)
{
	struct vee_channel *channel = arg;
	struct chan_desk_map map;
	unsigned of_user = 0;

	for (unsigned i = 0; i < channel->n_desks; i++)
		of_user += channel->desks[i].uid == uid;
	if (of_user == DESKS_A_USER || is_known(channel, ino) ||
	    map_desk(file, O_RDONLY, uid, &map, NULL) < 0)
		return 0;
	if (is_known(channel, map.ino) || (channel->crowded && may_forget(channel, &map))) {
		chan_unmap_desk(&map);
		return 0;
	}
	if (channel->n_desks == CHAN_DESKS_MAX) {
		chan_unmap_desk(&map);
		return 1;
	}
	/* Messages may have been written since somebody there has armed itself. */
	map.owed = channel->owed = true;
	channel->desks[channel->n_desks++] = map;
	return 0;
}

void chan_set_joined(struct vee_channel *channel)
{
	channel->joined = channel->owed ? ~chan_load(channel->hall->joined) : channel->joined_seen;
}

static const uint64_t no_message = 0, any_message = UINT64_MAX;

static void look_for_desks(struct vee_channel *channel, uint64_t now)
{
	/* In place of a hall that was truncated there is a page of zeros: nobody says there any more what is new. */
	channel->joined_seen =
		guard_hit(channel->hall_guard) ? UINT32_MAX : load_acquire(channel->hall->joined);
	if (chan_each_desk(channel->path, channel->ino, add_desk, channel) > 0) {
		channel->crowded = true;
		if (forget_desks(channel))
			chan_each_desk(channel->path, channel->ino, add_desk, channel);
	}
	channel->wanted = &any_message;
	if (channel->n_desks < 2)
		channel->wanted = channel->n_desks ? &channel->desks[0].desk->wanted : &no_message;
	chan_set_joined(channel);
	channel->look_left_ns -= (int64_t)(os_monotonic_ns() - now);
}

void chan_find_desks(struct vee_channel *channel)
{
	uint64_t now = os_monotonic_ns();

	channel->look_left_ns += (int64_t)(now - channel->looked_ns) / LOOK_SHARE;
	if (channel->look_left_ns > LOOK_MOST_NS)
		channel->look_left_ns = LOOK_MOST_NS;
	channel->looked_ns = now;
	if (channel->look_left_ns > 0)
		look_for_desks(channel, now);
}

/* Those who may write the hall can silence it: then the folder's time tells. */
void chan_find_desks_of_others(struct vee_channel *channel)
{
	char folder[CHAN_PATH_SIZE];
	struct stat st;
	int64_t changed;

	if (!(channel->header->mode & 0044) ||
	    chan_readers_path(channel->path, channel->ino, folder, sizeof(folder)) < 0 ||
	    os_stat(folder, &st) < 0)
		return;
	changed = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
	if (changed == channel->folder_changed &&
	    chan_clock_read(&channel->clock, chan_ticks(), 0, 0) - changed > FOLDER_TICK_NS)
		return;
	channel->folder_changed = changed;
	/* That a reliable reader of another user is seen is worth what it takes. */
	if (channel->others_reliable)
		look_for_desks(channel, os_monotonic_ns());
	else
		chan_find_desks(channel);
}

/* --- the reader --- */

static uint32_t libc_word(const struct vee_channel *channel)
{
	return channel->header->libc_word;
}

static bool is_held(const struct vee_channel *channel, const struct chan_seat *seat)
{
	return chan_doorbell_tid(
		load_acquire(*chan_doorbell_word(&seat->doorbell, libc_word(channel))));
}

static bool is_free(struct vee_channel *channel, struct chan_seat *seat)
{
	return seat->state == CHAN_SEAT_FREE ||
	       chan_seat_is_dead(&channel->desks[0], seat, libc_word(channel)) ||
	       (seat->state == CHAN_SEAT_CLOSED &&
		(!is_held(channel, seat) || chan_doorbell_is_left_here(&seat->doorbell)));
}

static void fill_seat(struct vee_channel *channel, struct chan_seat *seat)
{
	struct chan_owner self;
	struct timespec now = {0, 0};
	uint32_t generation = seat->generation + 1, turns = seat->turns + 1;
	uint32_t socket = seat->socket;

	chan_store(seat->state, CHAN_SEAT_FREE);
	memset((char *)seat + sizeof(seat->doorbell), 0, sizeof(*seat) - sizeof(seat->doorbell));
	chan_owner_self(&self);
	seat->generation = generation;
	seat->turns = turns;
	seat->socket = socket;
	seat->pid = self.pid;
	seat->start = self.start;
	seat->pid_ns = self.pid_ns;
	seat->image = self.image;
	seat->stall = channel->options.stall;
	seat->stall_ns = channel->options.stall_ns;
	clock_gettime(CLOCK_REALTIME, &now);
	seat->since = now.tv_sec;
	seat->tid = os_gettid();
	if (!is_held(channel, seat)) {
		chan_doorbell_init(&seat->doorbell);
		channel->doorbell = chan_doorbell_take(&seat->doorbell);
	}
	__atomic_store_n(&seat->state, CHAN_SEAT_LOSSY, __ATOMIC_RELEASE);
}

/* Who sees only that this process lives, and maps the desk, does not know that it was another program then. */
static void leave_seats_of_before_exec(struct vee_channel *channel)
{
	struct chan_desk *desk = channel->desks[0].desk;
	struct chan_owner self;

	chan_owner_self(&self);
	for (uint32_t i = 0; i < desk->seats_used && i < CHAN_SEATS; i++) {
		struct chan_seat *seat = chan_seat_at(desk, i);

		if (seat->pid == self.pid && seat->image != self.image &&
		    seat->state != CHAN_SEAT_FREE &&
		    chan_seat_is_dead(&channel->desks[0], seat, libc_word(channel)))
			__atomic_store_n(&seat->state, CHAN_SEAT_FREE, __ATOMIC_RELEASE);
	}
}

/* Its page is there before it is touched. */
static int find_seat(struct vee_channel *channel, int fd)
{
	struct chan_desk *desk = channel->desks[0].desk;

	for (uint32_t i = 0; i < CHAN_SEATS; i++) {
		struct chan_seat *seat = chan_seat_at(desk, i);

		if (i >= desk->seats_ready) {
			int ret = os_fallocate(fd, CHAN_SEATS_AT + i * CHAN_SEAT_SIZE, CHAN_PAGE);

			if (ret < 0)
				return ret;
			desk->seats_ready = i + CHAN_PAGE / CHAN_SEAT_SIZE;
		}
		if (!is_free(channel, seat))
			continue;
		fill_seat(channel, seat);
		channel->seat = seat;
		channel->seat_number = i;
		if (desk->seats_used <= i)
			__atomic_store_n(&desk->seats_used, i + 1, __ATOMIC_RELEASE);
		return 0;
	}
	chan_errorf("%s: %u readers of this user have it open already", channel->path, CHAN_SEATS);
	return -EUSERS;
}

int chan_seat_take(struct vee_channel *channel)
{
	pthread_mutex_t *claim;
	int fd, ret = own_desk(channel, &fd);

	if (ret < 0)
		return ret;
	claim = &channel->desks[0].desk->claim.mutex;
	if (pthread_mutex_lock(claim) == EOWNERDEAD)
		pthread_mutex_consistent(claim);
	leave_seats_of_before_exec(channel);
	ret = find_seat(channel, fd);
	if (ret == 0)
		say_joined(channel);
	pthread_mutex_unlock(claim);
	os_close(fd);
	return ret;
}

void chan_seat_turn(struct chan_seat *seat)
{
	__atomic_fetch_add(&seat->turns, 1, __ATOMIC_SEQ_CST);
	os_futex_wake(&seat->turns, INT32_MAX);
}

void chan_seat_leave(struct vee_channel *channel)
{
	struct chan_seat *seat = channel->seat;

	if (!seat)
		return;
	chan_store(seat->armed, 0);
	__atomic_store_n(&seat->state, CHAN_SEAT_CLOSED, __ATOMIC_RELEASE);
	chan_seat_turn(seat);
}
