/*
 * poll.c - a descriptor that is readable while a reader has something to read.
 *
 * It is an epoll(7) instance with a datagram socket of the reader's own, in the folder of the desks, and a pidfd of the writer. While the reader
 * knows that there is nothing to read, the socket is empty and the reader is armed: its seat and its desk say for which message
 * it waits. The writer that publishes that sends a byte. While there is something to read, the reader asks of the socket
 * whether it can be written to as well, which it always can: that takes neither a path nor a descriptor, and can't fail.
 * So nothing is sent to who does not wait, and the writer keeps no descriptor of its readers.
 *
 * A writer that can't send, since it has no descriptor for it or has spent what it may on another user's desk, owes that desk
 * a byte: each message after that comes by here, until it is sent.
 *
 * Everybody may send to the socket: what it says is only that a look pays.
 */
#include "base/os.h"
#include "chan/fast.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Whoever floods the socket keeps the reader awake, but does not hold it. */
#define DRAIN_MOST 64u

/* To ring in vain takes a microsecond or two, to look at so many seats too. */
#define SPEND_NS    10000u
#define SPEND_SEATS 64u

struct chan_poll {
	int epoll, socket, pidfd;
	uint32_t pidfd_epoch, dead_epoch;
	bool shown; /* there is something to read */
	char path[CHAN_PATH_SIZE + 32];
};

static int socket_path(const struct vee_channel *channel, uint32_t uid, unsigned seat,
		       uint32_t number, char *buf, size_t size)
{
	char folder[CHAN_PATH_SIZE];
	int ret = chan_readers_path(channel->path, channel->ino, folder, sizeof(folder));

	if (ret == 0 &&
	    (size_t)snprintf(buf, size, "%s/poll-%u-%u-%08x", folder, uid, seat, number) >= size)
		ret = -ENAMETOOLONG;
	return ret;
}

/* The address of a path that may be longer than an address can be: then by a descriptor of its folder, *ret_dir. */
static int address_of(char *path, struct sockaddr_un *ret_address, int *ret_dir)
{
	char *slash = strrchr(path, '/');

	*ret_dir = -1;
	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) < sizeof(ret_address->sun_path)) {
		strcpy(ret_address->sun_path, path);
		return 0;
	}
	*slash = '\0';
	*ret_dir = os_open(path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	*slash = '/';
	if (*ret_dir < 0)
		return *ret_dir;
	snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "/proc/self/fd/%d%s",
		 *ret_dir, slash);
	return 0;
}

static int send_byte(int fd, char *path)
{
	struct sockaddr_un address;
	int dir, ret = address_of(path, &address, &dir);

	if (ret == 0 && sendto(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&address,
			       sizeof(address)) < 0)
		ret = -errno;
	if (dir >= 0)
		os_close(dir);
	return ret;
}

static int bind_to(int fd, char *path)
{
	struct sockaddr_un address;
	int dir, ret = address_of(path, &address, &dir);

	if (ret == 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		ret = -errno;
	if (dir >= 0)
		os_close(dir);
	/* Who writes the channel may be another user. */
	return ret < 0 ? ret : os_chmod(path, 0622);
}

static int watch(struct chan_poll *poll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(poll->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int open_all(struct vee_channel *channel, struct chan_poll *poll)
{
	uint32_t uid = channel->desks[0].uid;
	int ret = socket_path(channel, uid, channel->seat_number, channel->seat->socket, poll->path,
			      sizeof(poll->path));

	if (ret < 0)
		return ret;
	/* A reader's that was killed here. */
	os_unlink(poll->path);
	chan_store(channel->seat->socket, chan_random());
	socket_path(channel, uid, channel->seat_number, channel->seat->socket, poll->path,
		    sizeof(poll->path));
	poll->epoll = epoll_create1(EPOLL_CLOEXEC);
	poll->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (poll->epoll < 0 || poll->socket < 0)
		return -errno;
	ret = bind_to(poll->socket, poll->path);
	return ret < 0 ? ret : watch(poll, poll->socket);
}

/*
 * The death of this epoch's writer makes the descriptor readable. -EMFILE, -ENFILE, -ENOMEM, -ENOSPC: it will not. A kernel without
 * pidfds and a writer that is just ending are no error.
 */
static int watch_writer(struct vee_channel *channel, struct chan_poll *poll)
{
	const struct chan_header *header = channel->header;
	uint32_t epoch = load_acquire(header->epoch);
	struct chan_owner self;
	int ret;

	if (poll->pidfd >= 0 && poll->pidfd_epoch == epoch)
		return 0;
	if (poll->pidfd >= 0)
		os_close(poll->pidfd);
	poll->pidfd = -1;
	chan_owner_self(&self);
	if (load_acquire(header->state) != CHAN_WRITTEN || chan_load(header->pid_ns) != self.pid_ns)
		return 0;
	poll->pidfd = os_pidfd_open(chan_load(header->pid));
	poll->pidfd_epoch = epoch;
	ret = poll->pidfd < 0 ? poll->pidfd : watch(poll, poll->pidfd);
	return ret == -EMFILE || ret == -ENFILE || ret == -ENOMEM || ret == -ENOSPC ? ret : 0;
}

/* A process that was given the writer's id before the pidfd was made says as much: the writer has ended. */
bool chan_poll_saw_death(const struct vee_channel *channel)
{
	struct chan_poll *own = channel->poll;
	struct pollfd one = {own ? own->pidfd : -1, POLLIN, 0};
	uint32_t epoch = load_acquire(channel->header->epoch);

	if (!own)
		return false;
	if (one.fd >= 0 && own->pidfd_epoch == epoch && poll(&one, 1, 0) == 1 &&
	    one.revents & POLLIN)
		own->dead_epoch = epoch;
	return epoch && own->dead_epoch == epoch;
}

/* A dead writer's is readable for good: out of the set, if that end is none for this reader, or was told. */
static void forget_writer(struct chan_poll *poll)
{
	if (poll->pidfd >= 0)
		os_close(poll->pidfd);
	poll->pidfd = -1;
}

static void show(struct chan_poll *poll, bool something)
{
	struct epoll_event event = {.events = something ? EPOLLIN | EPOLLOUT : EPOLLIN,
				    .data.fd = poll->socket};

	if (poll->shown != something)
		epoll_ctl(poll->epoll, EPOLL_CTL_MOD, poll->socket, &event);
	poll->shown = something;
}

static void drain(struct chan_poll *poll)
{
	char bytes[16];

	for (unsigned i = 0; i < DRAIN_MOST; i++)
		if (os_read(poll->socket, bytes, sizeof(bytes)) <= 0)
			break;
}

static bool has_something(const struct vee_channel *channel)
{
	return chan_is_there(channel) || chan_end(channel) < 0 || guard_hit(channel->guard);
}

void chan_poll_arm(struct vee_channel *channel)
{
	struct chan_poll *poll = channel->poll;

	if (channel->published != channel->pos)
		chan_publish_cursor(channel);
	show(poll, false);
	drain(poll);
	if (chan_writer_is_dead(channel))
		forget_writer(poll);
	else
		watch_writer(channel, poll); /* if it fails, the next time may do it */
	chan_store(channel->seat->armed, channel->next);
	chan_want(channel, true); /* CHAN_SLEEP */
	if (!has_something(channel))
		return;
	chan_store(channel->seat->armed, 0);
	show(poll, true);
}

int chan_poll_fd(struct vee_channel *channel)
{
	struct chan_poll *poll;
	int ret;

	if (channel->writer)
		return -EBADF;
	if (channel->forks != chan_forks)
		return -ECHILD;
	if (channel->poll)
		return channel->poll->epoll;
	poll = malloc(sizeof(*poll));
	if (!poll)
		return -ENOMEM;
	*poll = (struct chan_poll){.epoll = -1, .socket = -1, .pidfd = -1};
	channel->poll = poll;
	channel->read_quick = 0;
	ret = open_all(channel, poll);
	if (ret == 0)
		ret = watch_writer(channel, poll);
	if (ret < 0) {
		chan_poll_close(channel);
		return ret;
	}
	chan_poll_arm(channel);
	return poll->epoll;
}

void chan_poll_close(struct vee_channel *channel)
{
	struct chan_poll *poll = channel->poll;

	if (!poll)
		return;
	forget_writer(poll);
	if (poll->epoll >= 0)
		os_close(poll->epoll);
	if (poll->socket >= 0) {
		os_close(poll->socket);
		if (channel->forks == chan_forks)
			os_unlink(poll->path);
	}
	free(poll);
	channel->poll = NULL;
}

/*
 * One socket for all channels of the process. The program may have closed it, along with all that it did not know, and have another
 * file of that number, even a socket: nothing is to be sent there.
 */
static int sender(void)
{
	static uint64_t kept; /* inode << 32 | descriptor + 1 */
	uint64_t now = load_acquire(kept);
	int fd = (int)(uint32_t)now - 1;
	struct stat st;

	if (fd >= 0 && os_fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    (uint32_t)st.st_ino == now >> 32)
		return fd;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || os_fstat(fd, &st) < 0)
		return fd < 0 ? -errno : -EBADF;
	if (__atomic_compare_exchange_n(&kept, &now, (uint64_t)st.st_ino << 32 | (uint32_t)(fd + 1),
					false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return fd;
	os_close(fd);
	return (int)(uint32_t)now - 1;
}

/* What lies unread in all the sockets that it was sent to counts: a few hundred bytes of memory for a byte. */
static bool is_full(int fd)
{
	int most, queued;
	socklen_t size = sizeof(most);

	return getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &most, &size) == 0 &&
	       ioctl(fd, TIOCOUTQ, &queued) == 0 && queued >= most;
}

static int send_by_another(char *path)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret;

	if (fd < 0)
		return -errno;
	ret = send_byte(fd, path);
	os_close(fd);
	return ret;
}

static int ring(char *path)
{
	int fd = sender(), ret = fd < 0 ? fd : send_byte(fd, path);

	return ret == -EAGAIN && is_full(fd) ? send_by_another(path) : ret;
}

/*
 * What a desk of others costs in vain, where all may be lies: as much at once as it has seats, and then so much in a row. A desk of
 * honest readers costs next to nothing: a dead one is rung for once, and to have looked for one who is there is not in vain.
 */
static bool may_spend(struct chan_desk_map *map, uint32_t cost)
{
	uint64_t more = (os_monotonic_ns() - map->spent_ns) / SPEND_NS;

	if (map->uid == os_geteuid())
		return true;
	map->spent_ns += more * SPEND_NS;
	map->to_spend = more > CHAN_SEATS - map->to_spend ? CHAN_SEATS : map->to_spend + more;
	if (map->to_spend < cost)
		return false;
	map->to_spend -= cost;
	return true;
}

static void give_back(struct chan_desk_map *map, uint32_t cost)
{
	map->to_spend = cost > CHAN_SEATS - map->to_spend ? CHAN_SEATS : map->to_spend + cost;
}

enum ringing {
	RUNG,
	IN_VAIN,  /* nobody is there */
	NOT_RUNG, /* that is known, or it can't be */
	LATER,	  /* there is nothing to do it with */
};

static enum ringing ring_seat(struct vee_channel *channel, struct chan_desk_map *map,
			      uint32_t number)
{
	uint32_t socket = chan_load(chan_seat_at(map->desk, number)->socket);
	char path[CHAN_PATH_SIZE + 48];

	if (map->silent && map->silent[number] == socket)
		return NOT_RUNG;
	if (socket_path(channel, map->uid, number, socket, path, sizeof(path)) < 0)
		return NOT_RUNG;
	switch (ring(path)) {
	case 0:
	case -EAGAIN: /* it has as much as it takes, and is readable */
		return RUNG;
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -ENOBUFS:
		return LATER;
	case -ENOENT:
	case -ECONNREFUSED:
		if (!map->silent)
			map->silent = calloc(CHAN_SEATS, sizeof(*map->silent));
		if (map->silent)
			map->silent[number] = socket;
		return IN_VAIN;
	default:
		return NOT_RUNG;
	}
}

void chan_poll_ring(struct vee_channel *channel, struct chan_desk_map *map, uint64_t seq)
{
	uint32_t used = chan_load(map->desk->seats_used), cost;
	bool found = false;

	if (used > CHAN_SEATS)
		used = CHAN_SEATS;
	cost = used / SPEND_SEATS;
	map->owed = !may_spend(map, cost);
	for (uint32_t i = 0; i < used && !map->owed; i++) {
		uint64_t armed = chan_load(chan_seat_at(map->desk, i)->armed);
		enum ringing ringing;

		if (!armed || armed > seq)
			continue;
		ringing = ring_seat(channel, map, i);
		found |= ringing == RUNG || ringing == LATER;
		map->owed = ringing == LATER || (ringing == IN_VAIN && !may_spend(map, 1));
	}
	if (found)
		give_back(map, cost);
}
