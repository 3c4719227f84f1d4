/*
 * hostile-chan.c - what a reader of a channel can do to its writer, and to honest readers.
 *
 *	hostile-chan [SECONDS [SEED]]	2 seconds a scene, a seed from the clock
 *
 * Two processes of a user that the channel's mode lets in do all they can, at full speed: they open each file of the channel for
 * writing, fill what they can map with garbage (their desk, the hall), truncate it and let it grow, lie about their cursors and
 * about what they wait for, flood the sockets, hold flocks, sleep on everybody's futexes, make files of others' names, sit and stall.
 * Meanwhile the writer and honest readers of its own user and of a third one go on without an error; each counts exactly; who
 * sleeps is woken. With the writer's own user (root is needed for the other ones) it is less: nobody dies, nobody is told lies by
 * a message, and who has not the same desk goes on. At last the ring itself is truncated: each call returns EIO.
 */
#include "../soak/soak.h"

#include "chan/report.h"
#include "vee/channel.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define WATCHDOG_SECONDS 60
#define RING		 65536u
#define SIZE_MAX_HERE	 700u
#define HOSTILES	 2u
#define LATE_NS		 UINT64_C(90000000)
#define PATIENCE_NS	 UINT64_C(3000000000)
#define EACH		 200u /* messages, then all readers are waited for */
#define TRUNCATIONS	 24u

#define USER_WRITER  61001u
#define USER_HOSTILE 61002u
#define USER_THIRD   61003u

enum who {
	OWN_RELIABLE = 0,
	OWN_LOSSY,
	THIRD_BLOCKING,
	THIRD_EPOLL,
	THIRD_RELIABLE, /* where the writer lets it be */
	READERS,
};
static const char *const names[] = {"own, reliable", "own, lossy", "third, blocking",
				    "third, epoll", "third, reliable"};

static struct ledger {
	_Atomic uint64_t sent, last, began_ns, took_ns, worst_write_ns, cpu_us, tricks, foreign;
	_Atomic uint32_t over;
	struct {
		_Atomic uint64_t next, received, lost, missed, opens, slept, late, worst_ns;
		_Atomic uint32_t gone; /* it may not be there any more */
	} readers[READERS];
} * ledger;

static char folder[64], name[80], desks[160];
static unsigned user_writer, user_hostile, user_third;
static bool same_user, others_reliable, any_hostile;
static uint64_t scene_ns;

static void soak_end_object(void)
{
	char command[128];

	for (unsigned i = 0; ledger && i < READERS; i++)
		dprintf(2, "  %s: next %llu, %llu received, %llu lost, %llu missed, %llu opens\n",
			names[i], (unsigned long long)ledger->readers[i].next,
			(unsigned long long)ledger->readers[i].received,
			(unsigned long long)ledger->readers[i].lost,
			(unsigned long long)ledger->readers[i].missed,
			(unsigned long long)ledger->readers[i].opens);
	if (ledger)
		dprintf(2, "  sent %llu\n", (unsigned long long)ledger->sent);
	if (getenv("SOAK_STOP"))
		pause();
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	if (folder[0] && system(command) != 0)
		dprintf(2, "  %s stays\n", folder);
}

/* --- messages: number, time, and bytes that follow from the number --- */

struct message {
	uint64_t seq, time_ns;
	uint8_t rest[SIZE_MAX_HERE - 16];
};

static size_t message_size(uint64_t seq)
{
	return 16 + seq * 2654435761u % (SIZE_MAX_HERE - 16);
}

static void fill(struct message *message, uint64_t seq)
{
	size_t size = message_size(seq) - 16;

	message->seq = seq;
	for (size_t i = 0; i < size; i++)
		message->rest[i] = (uint8_t)(seq * 31 + i * 7);
	message->time_ns = now_ns();
}

static void check(unsigned who, const struct message *message, ssize_t n, uint64_t seq)
{
	if ((size_t)n != message_size(seq) || message->seq != seq)
		child_wrong("%s: message %llu is %zd bytes of number %llu", names[who],
			    (unsigned long long)seq, n, (unsigned long long)message->seq);
	for (size_t i = 0; i < (size_t)n - 16; i++)
		if (message->rest[i] != (uint8_t)(seq * 31 + i * 7))
			child_wrong("%s: message %llu is torn at byte %zu", names[who],
				    (unsigned long long)seq, i + 16);
}

/* --- honest ones --- */

static void become(unsigned user)
{
	if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(user, user, user) < 0 ||
			       setresuid(user, user, user) < 0))
		child_wrong("it can't become user %u", user);
	/* That was forgotten with the user. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != judge)
		_exit(CHILD_WRONG);
	umask(0);
}

static struct vee_channel *create(void)
{
	struct vee_channel_create_options options = {
		.ring_size = RING,
		.mode = 0644,
		.flags = others_reliable ? VEE_CHANNEL_OTHERS_RELIABLE : 0,
		.stall_ns = others_reliable || same_user ? 5000000 : 0};
	struct vee_channel *channel = vee_channel_create(name, &options);

	if (!channel)
		child_wrong("create: %s", vee_channel_error());
	return channel;
}

/* All that are still there have read all: else somebody sleeps who should not. */
static void await_readers(uint64_t sent)
{
	uint64_t since = now_ns();

	for (unsigned i = 0; i < READERS; i++)
		while (ledger->readers[i].next <= sent && !ledger->readers[i].gone) {
			if (now_ns() - since > PATIENCE_NS)
				child_wrong("%s: it sleeps at %llu, and %llu are sent", names[i],
					    (unsigned long long)ledger->readers[i].next,
					    (unsigned long long)sent);
			pause_us(100);
		}
}

static void __attribute__((noreturn)) run_writer(void)
{
	struct vee_channel *channel;
	struct message message;
	uint64_t seq = 0, since, took;
	struct rusage usage;

	become(user_writer);
	channel = create();
	for (unsigned i = 0; i < READERS; i++)
		while (!ledger->readers[i].opens && !ledger->readers[i].gone)
			pause_us(100);
	ledger->began_ns = now_ns();
	while (now_ns() - ledger->began_ns < scene_ns) {
		fill(&message, ++seq);
		since = now_ns();
		if (vee_channel_write(channel, &message, message_size(seq)) < 0)
			child_wrong("write: %s", strerror(errno));
		took = now_ns() - since;
		ledger->took_ns += took;
		if (took > ledger->worst_write_ns)
			ledger->worst_write_ns = took;
		ledger->sent = seq;
		if (seq % EACH == 0)
			await_readers(seq);
		if (seq % EACH == 0 || seq % EACH > EACH - 5)
			pause_us(1000); /* they sleep */
		else if (dice(8) == 0)
			sched_yield();
	}
	getrusage(RUSAGE_SELF, &usage);
	ledger->cpu_us = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * UINT64_C(1000000) +
			 usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
	ledger->last = seq;
	await_readers(seq);
	if (vee_channel_close(channel) < 0)
		child_wrong("close");
	ledger->over = 1;
	_exit(0);
}

/* A reader of the hostile's own desk may fail; but not anyhow. */
static void may_fail(unsigned who, const char *call)
{
	int error = errno;

	if (!same_user || who > OWN_LOSSY ||
	    (error != EIO && error != EUSERS && error != EACCES && error != ESHUTDOWN))
		child_wrong("%s: %s at %llu: %s: %s", names[who], call,
			    (unsigned long long)ledger->readers[who].next, strerror(error),
			    vee_channel_error());
	ledger->readers[who].gone = 1;
	_exit(0);
}

static struct vee_channel *open_reader(unsigned who)
{
	bool reliable = who == OWN_RELIABLE || (who == THIRD_RELIABLE && others_reliable);
	struct vee_channel_open_options options = {.start = VEE_CHANNEL_SEQUENCE,
						   .sequence = ledger->readers[who].next,
						   .policy = reliable ? VEE_CHANNEL_RELIABLE :
									VEE_CHANNEL_LOSSY};
	struct vee_channel *channel;
	struct vee_channel_stat stat;

	while (!(channel = vee_channel_open(name, &options))) {
		if (errno == ERANGE && options.start == VEE_CHANNEL_SEQUENCE)
			options.start = VEE_CHANNEL_OLDEST;
		else if (errno == ENOENT && ledger->sent == 0)
			pause_us(100);
		else
			may_fail(who, "open");
	}
	if (vee_channel_stat(channel, &stat) < 0)
		may_fail(who, "stat");
	ledger->readers[who].missed += stat.next - ledger->readers[who].next;
	ledger->readers[who].next = stat.next;
	ledger->readers[who].opens++;
	return channel;
}

static int make_epoll(unsigned who, struct vee_channel *channel)
{
	struct epoll_event event = {.events = EPOLLIN};
	int fd = vee_channel_poll_fd(channel), epoll = epoll_create1(0);

	if (fd < 0)
		may_fail(who, "poll_fd");
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		child_wrong("epoll: %s", strerror(errno));
	return epoll;
}

static void __attribute__((noreturn)) run_reader(unsigned who)
{
	static const struct timespec at_once = {0, 0};
	uint64_t until;
	struct vee_channel *channel;
	int epoll = -1;

	become(who >= THIRD_BLOCKING ? user_third : user_writer);
	ledger->readers[who].next = 1;
	/* The hostile ones come first. */
	for (unsigned i = 0;
	     i < 1000 && any_hostile && who >= THIRD_BLOCKING && ledger->tricks < 60; i++)
		pause_us(1000);
reopen:
	channel = open_reader(who);
	if (who == THIRD_EPOLL)
		epoll = make_epoll(who, channel);
	until = ledger->readers[who].next + 300 + dice(1000);
	for (;;) {
		struct vee_channel_message info;
		struct message message;
		uint64_t asked = now_ns(), late;
		ssize_t n = vee_channel_timedread(channel, &message, sizeof(message), &info,
						  who == THIRD_EPOLL ? &at_once : NULL);

		if (n < 0 && errno == EAGAIN && who == THIRD_EPOLL) {
			struct epoll_event event;

			if (epoll_wait(epoll, &event, 1, -1) < 0)
				child_wrong("epoll_wait: %s", strerror(errno));
			continue;
		}
		if (n < 0 && errno == EPIPE)
			break;
		if (n < 0)
			may_fail(who, "read");
		check(who, &message, n, info.sequence);
		if (info.sequence != ledger->readers[who].next + info.lost)
			child_wrong("%s: message %llu with %llu lost after %llu", names[who],
				    (unsigned long long)info.sequence,
				    (unsigned long long)info.lost,
				    (unsigned long long)ledger->readers[who].next - 1);
		/* Where another user may hold the writer up, it drops who does, which a busy machine may do too. */
		if (info.lost && who == OWN_RELIABLE && !same_user && !others_reliable)
			child_wrong("%s: %llu lost before %llu", names[who],
				    (unsigned long long)info.lost,
				    (unsigned long long)info.sequence);
		ledger->readers[who].received++;
		ledger->readers[who].lost += info.lost;
		/* It slept, and not behind: how late is it? */
		late = now_ns() - message.time_ns;
		if (asked < message.time_ns) {
			ledger->readers[who].slept++;
			ledger->readers[who].late += late > LATE_NS;
			if (late > ledger->readers[who].worst_ns)
				ledger->readers[who].worst_ns = late;
		}
		ledger->readers[who].next = info.sequence + 1;
		if (who >= THIRD_BLOCKING && info.sequence > until) {
			vee_channel_close(channel);
			if (epoll >= 0)
				close(epoll);
			pause_us(dice(8000));
			goto reopen;
		}
	}
	vee_channel_close(channel);
	_exit(0);
}

/* --- the hostile one --- */

static struct victim {
	char path[300];
	bool foreign; /* of another user */
} victims[256];
static unsigned n_victims;

static void look_for_victims(void)
{
	const char *folders[] = {folder, desks};
	struct dirent *entry;
	struct stat st;

	n_victims = 0;
	for (unsigned i = 0; i < 2; i++) {
		DIR *dir = opendir(folders[i]);

		while (dir && (entry = readdir(dir)) && n_victims < ARRAY_SIZE(victims)) {
			struct victim *victim = &victims[n_victims];

			if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
				continue;
			snprintf(victim->path, sizeof(victim->path), "%.40s/%s", folders[i],
				 entry->d_name);
			snprintf(victim->path, sizeof(victim->path), "%s/%.100s", folders[i],
				 entry->d_name);
			if (lstat(victim->path, &st) < 0 || S_ISDIR(st.st_mode))
				continue;
			/* The ring comes last, in a scene of its own. */
			if (same_user && !strcmp(victim->path, name))
				continue;
			victim->foreign = st.st_uid != geteuid() && S_ISREG(st.st_mode) &&
					  strcmp(entry->d_name, "hall");
			n_victims++;
		}
		if (dir)
			closedir(dir);
	}
}

static uint64_t any_value(void)
{
	switch (dice(6)) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX;
	case 2:
		return INT64_MAX;
	case 3:
		return dice(5);
	case 4:
		return ledger->sent + dice(100);
	default:
		return (uint64_t)rand_r(&seed) << 33 ^ (uint64_t)rand_r(&seed);
	}
}

static void spoil(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return;
	if (fstat(fd, &st) < 0 || st.st_size < 4096) {
		if (ftruncate(fd, 4096) < 0 || fstat(fd, &st) < 0) {
			close(fd);
			return;
		}
	}
	/* Not by a mapping, that the other one may truncate meanwhile. */
	for (unsigned i = 0; i < 200; i++) {
		uint64_t value = any_value();
		off_t place = (off_t)dice(2) ? dice(512) * 8 :
					       (off_t)(dice((unsigned)st.st_size / 8) * 8);

		if (pwrite(fd, &value, 8, place) != 8)
			break;
	}
	close(fd);
}

static void resize(const char *path)
{
	static const off_t sizes[] = {
		0, 0, 1, 4096, 5000, 1 << 20, CHAN_SEATS_AT + CHAN_SEATS * CHAN_SEAT_SIZE, 1 << 24};
	off_t size = sizes[dice(ARRAY_SIZE(sizes))];

	if (truncate(path, size) < 0)
		return;
	if (dice(2))
		pause_us(dice(300));
	/* And back, as if nothing had been. */
	if (dice(2) && truncate(path, strstr(path, "/hall") ? 4096 : sizes[6]) < 0)
		return;
}

static void hold(const char *path)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

	if (fd < 0)
		return;
	flock(fd, LOCK_EX | LOCK_NB);
	fcntl(fd, F_OFD_SETLK, &lock);
	pause_us(dice(3000));
	close(fd);
}

static void flood(void)
{
	static char big[50000];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	for (unsigned i = 0; i < n_victims; i++) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};

		if (!strstr(victims[i].path, "/poll-") ||
		    strlen(victims[i].path) >= sizeof(address.sun_path))
			continue;
		strcpy(address.sun_path, victims[i].path);
		for (unsigned n = 0; n < 500; n++)
			sendto(fd, big, dice(3) ? 1 : dice(sizeof(big)), MSG_NOSIGNAL,
			       (struct sockaddr *)&address, sizeof(address));
	}
	close(fd);
}

/* Names that others may want. */
static void squat(void)
{
	const unsigned users[] = {user_third, user_writer, user_hostile};
	char path[300];
	int fd;

	for (unsigned i = 0; i < 20; i++) {
		unsigned user = users[dice(3)], what = dice(6);

		if (what < 2)
			snprintf(path, sizeof(path), "%s/%u.%u", desks, user, dice(70));
		else if (what < 4)
			snprintf(path, sizeof(path), "%s/%u", desks, user);
		else
			snprintf(path, sizeof(path), "%s/poll-%u-%u", desks, user, dice(12));
		switch (dice(5)) {
		case 0:
			mkdir(path, 0755);
			break;
		case 1:
			mkfifo(path, 0666);
			break;
		case 2:
			if (symlink("/dev/zero", path) < 0)
				break;
			break;
		default:
			fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
			if (fd >= 0 &&
			    ftruncate(fd, CHAN_SEATS_AT + CHAN_SEATS * CHAN_SEAT_SIZE) == 0 &&
			    dice(2))
				spoil(path);
			if (fd >= 0)
				close(fd);
		}
	}
}

/* All words of its desk that somebody looks at. */
static void lie(void)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "%s/%u", desks, user_hostile);
	fd = open(path, O_RDWR | O_NOFOLLOW);
	if (fd < 0)
		return;
	for (unsigned n = 0; n < 300; n++) {
		struct chan_desk desk;
		struct chan_seat seat;
		unsigned number = dice(2) ? dice(8) : dice(CHAN_SEATS);
		off_t place = CHAN_SEATS_AT + (off_t)number * CHAN_SEAT_SIZE;

		if (pread(fd, &desk, sizeof(desk), 0) != sizeof(desk) ||
		    pread(fd, &seat, sizeof(seat), place) != sizeof(seat))
			break;
		desk.wanted = any_value();
		desk.armed = any_value();
		desk.reliable = (uint32_t)any_value();
		desk.seats_used = dice(2) ? CHAN_SEATS : (uint32_t)any_value();
		seat.state = dice(3) ? CHAN_SEAT_RELIABLE : (uint32_t)any_value();
		seat.pid = dice(2) ? getpid() : (int)any_value();
		seat.start = any_value();
		seat.pid_ns = any_value();
		seat.stall = dice(6);
		seat.stall_ns = (int64_t)any_value();
		seat.cursor = any_value();
		seat.next = any_value();
		seat.armed = any_value();
		seat.turns = (uint32_t)any_value();
		if (!same_user && dice(2))
			memset(&seat.doorbell, (int)any_value(), sizeof(seat.doorbell));
		if (pwrite(fd, &desk, sizeof(desk), 0) != sizeof(desk) ||
		    pwrite(fd, &seat, sizeof(seat), place) != sizeof(seat))
			break;
	}
	close(fd);
}

/* Who sleeps there first is woken first. */
static void steal(void)
{
	struct timespec timeout = {0, 2000000};
	size_t size = CHAN_SEATS_AT + 64 * CHAN_SEAT_SIZE;
	const struct chan_header *header;
	unsigned i = dice(n_victims);
	int fd;
	char *at;

	fd = open(victims[i].path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	at = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (at != MAP_FAILED && !strcmp(victims[i].path, name)) {
		header = (const void *)at;
		syscall(SYS_futex, &header->wake, FUTEX_WAIT, header->wake, &timeout, NULL, 0);
	} else if (at != MAP_FAILED && strstr(victims[i].path, "readers/6")) {
		const struct chan_seat *seat =
			(const void *)(at + CHAN_SEATS_AT + dice(4) * CHAN_SEAT_SIZE);

		for (unsigned n = 0; victims[i].foreign && n < 10; n++)
			syscall(SYS_futex, &seat->turns, FUTEX_WAIT, seat->turns, &timeout, NULL,
				0);
	}
	if (at != MAP_FAILED)
		munmap(at, size);
	if (fd >= 0)
		close(fd);
}

/* As a reader, that asks for what it may not, sits and stalls; or ends anyhow. */
static void sit(void)
{
	static struct vee_channel *seats[16];
	unsigned i = dice(ARRAY_SIZE(seats));
	struct vee_channel_open_options options = {.start = dice(3),
						   .policy = dice(2),
						   .stall = dice(3),
						   .stall_ns = (int64_t)dice(1000000000),
						   .flags = dice(2)};

	if (seats[i]) {
		if (dice(3) == 0) {
			vee_channel_close(seats[i]);
			seats[i] = NULL;
		} else if (dice(2)) {
			vee_channel_poll_fd(seats[i]);
		} else {
			char buf[SIZE_MAX_HERE];
			struct timespec at_once = {0, 0};

			vee_channel_timedread(seats[i], buf, sizeof(buf), NULL, &at_once);
		}
		return;
	}
	seats[i] = vee_channel_open(name, &options);
	if (seats[i] && options.policy && !same_user && !others_reliable)
		child_wrong("another user is a reliable reader");
}

static void try_foreign(const struct victim *victim)
{
	int fd = open(victim->path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);

	if (fd >= 0 || truncate(victim->path, 0) == 0 || unlink(victim->path) == 0 ||
	    chmod(victim->path, 0666) == 0)
		child_wrong("another user may write %s", victim->path);
	ledger->foreign++;
}

static void __attribute__((noreturn)) run_hostile(void)
{
	struct stat st;

	become(user_hostile);
	setpriority(PRIO_PROCESS, 0, 10);
	signal(SIGALRM, SIG_DFL);
	while (stat(name, &st) < 0)
		pause_us(100);
	snprintf(desks, sizeof(desks), "%.64s/.c.%llu.readers", folder,
		 (unsigned long long)st.st_ino);
	for (; !ledger->over; ledger->tricks++) {
		const struct victim *victim;

		alarm(2); /* it may hang in what it has done to itself */
		look_for_victims();
		if (!n_victims)
			continue;
		victim = &victims[dice(n_victims)];
		if (victim->foreign) {
			if (dice(2) && !same_user)
				try_foreign(victim);
			else
				hold(victim->path);
			continue;
		}
		switch (dice(9)) {
		case 0:
			/* Its own user's mutexes it may not touch: the C library follows what they point to. */
			if (!same_user || strstr(victim->path, "/hall"))
				spoil(victim->path);
			break;
		case 1:
			resize(victim->path);
			break;
		case 2:
			hold(dice(2) ? victim->path : desks);
			break;
		case 3:
			flood();
			break;
		case 4:
			squat();
			break;
		case 5:
		case 6:
			lie();
			break;
		case 7:
			steal();
			break;
		default:
			sit();
		}
	}
	_exit(0);
}

/* --- the judge --- */

static void check_counts(void)
{
	for (unsigned i = 0; i < READERS; i++) {
		uint64_t all = ledger->readers[i].received + ledger->readers[i].lost +
			       ledger->readers[i].missed;

		if (!ledger->readers[i].gone && all != ledger->last)
			wrong("%s: %llu received, lost or missed, and %llu sent", names[i],
			      (unsigned long long)all, (unsigned long long)ledger->last);
		if (ledger->readers[i].late * 100 > ledger->readers[i].slept)
			wrong("%s: of %llu sleeps %llu were woken late, the worst %llu us",
			      names[i], (unsigned long long)ledger->readers[i].slept,
			      (unsigned long long)ledger->readers[i].late,
			      (unsigned long long)ledger->readers[i].worst_ns / 1000);
	}
}

static void show(void)
{
	uint64_t n = ledger->last + !ledger->last;

	printf("hostile-chan: %s: %llu sent, %llu us a write, the worst %llu us, %llu us of the "
	       "processor; %llu tricks, %llu refused\n",
	       scene, (unsigned long long)ledger->last,
	       (unsigned long long)(ledger->took_ns / 1000 / n),
	       (unsigned long long)ledger->worst_write_ns / 1000,
	       (unsigned long long)(ledger->cpu_us / n), (unsigned long long)ledger->tricks,
	       (unsigned long long)ledger->foreign);
	for (unsigned i = 0; i < READERS; i++)
		printf("  %-16s %7llu received, %6llu lost, %5llu missed, %3llu opens; woken %llu times, "
		       "the worst after %llu us%s\n",
		       names[i], (unsigned long long)ledger->readers[i].received,
		       (unsigned long long)ledger->readers[i].lost,
		       (unsigned long long)ledger->readers[i].missed,
		       (unsigned long long)ledger->readers[i].opens,
		       (unsigned long long)ledger->readers[i].slept,
		       (unsigned long long)ledger->readers[i].worst_ns / 1000,
		       ledger->readers[i].gone ? "; gone" : "");
}

static void empty_folder(void)
{
	char command[160];

	/* What others have put there is no concern of the channel's. */
	snprintf(command, sizeof(command), "rm -rf %s/.c.* %s/c", folder, folder);
	if (system(command) != 0)
		wrong("%s", command);
}

static void play(const char *what, unsigned hostile, unsigned n, bool reliable)
{
	pid_t writer, readers[READERS], hostiles[HOSTILES];
	int status, left = 1 + READERS;

	scene = what;
	user_hostile = hostile;
	any_hostile = n;
	same_user = n && hostile == user_writer;
	others_reliable = reliable;
	memset(ledger, 0, sizeof(*ledger));
	watch(WATCHDOG_SECONDS + (unsigned)(scene_ns / 1000000000));
	writer = spawn();
	if (writer == 0)
		run_writer();
	for (unsigned i = 0; i < READERS; i++) {
		readers[i] = spawn();
		if (readers[i] == 0)
			run_reader(i);
	}
	for (unsigned i = 0; i < n; i++) {
		hostiles[i] = spawn();
		if (hostiles[i] == 0)
			run_hostile();
	}
	while (left) {
		pid_t pid = waitpid(-1, &status, 0);
		unsigned i = 0;

		while (i < n && hostiles[i] != pid)
			i++;
		if (i == n) {
			if (pid < 0 || status)
				wrong("process %d ended with status 0x%x", pid, status);
			left--;
			continue;
		}
		/* Its own garbage may be its end. */
		if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_WRONG)
			wrong("process %d ended with status 0x%x", pid, status);
		hostiles[i] = 0;
		if (ledger->over)
			continue;
		hostiles[i] = spawn();
		if (hostiles[i] == 0)
			run_hostile();
	}
	for (unsigned i = 0; i < n; i++) {
		if (!hostiles[i])
			continue;
		kill_child(hostiles[i]);
		reap(hostiles[i]);
	}
	show();
	check_counts();
	empty_folder();
}

/* --- the ring is truncated --- */

static void __attribute__((noreturn)) write_until_truncated(void)
{
	struct vee_channel *channel;
	struct message message;

	become(user_writer);
	channel = create();
	for (uint64_t seq = 1;; seq++) {
		fill(&message, seq);
		if (vee_channel_write(channel, &message, message_size(seq)) < 0)
			break;
		ledger->sent = seq;
		if (ledger->over == 2 && seq % 64 == 0)
			pause_us(50);
	}
	if (errno != EIO)
		child_wrong("write: %s", strerror(errno));
	if (vee_channel_write(channel, &message, 16) == 0 || errno != EIO)
		child_wrong("another write: %s", strerror(errno));
	vee_channel_close(channel);
	_exit(0);
}

static void __attribute__((noreturn)) read_until_truncated(unsigned who, bool header_too)
{
	struct vee_channel_open_options options = {
		.policy = who == OWN_RELIABLE ? VEE_CHANNEL_RELIABLE : VEE_CHANNEL_LOSSY};
	struct vee_channel *channel;
	uint64_t next = 0;
	struct epoll_event event;
	int epoll = -1;

	become(who >= THIRD_BLOCKING ? user_third : user_writer);
	while (!ledger->sent)
		pause_us(50);
	channel = vee_channel_open(name, &options);
	if (!channel)
		child_wrong("open: %s", vee_channel_error());
	if (who == THIRD_EPOLL)
		epoll = make_epoll(who, channel);
	ledger->readers[who].opens++;
	for (;;) {
		static const struct timespec at_once = {0, 0};
		struct vee_channel_message info;
		struct message message;
		ssize_t n = vee_channel_timedread(channel, &message, sizeof(message), &info,
						  epoll >= 0 ? &at_once : NULL);

		if (n < 0 && errno == EAGAIN && epoll >= 0 && epoll_wait(epoll, &event, 1, -1) >= 0)
			continue;
		if (n < 0)
			break;
		check(who, &message, n, info.sequence);
		if (next && info.sequence != next + info.lost)
			child_wrong("%s: message %llu with %llu lost after %llu", names[who],
				    (unsigned long long)info.sequence,
				    (unsigned long long)info.lost, (unsigned long long)next - 1);
		next = info.sequence + 1;
	}
	/* If its header is there, a reader may hear first that the writer has left. */
	if (errno != EIO && (header_too || (errno != EOWNERDEAD && errno != EPIPE)))
		child_wrong("%s: read: %s", names[who], strerror(errno));
	vee_channel_close(channel);
	_exit(0);
}

static void truncate_ring(void)
{
	static const off_t sizes[] = {0, 0, 100, 4096, 4096 + RING / 2};

	scene = "the ring truncated";
	same_user = true;
	others_reliable = false;
	for (round_now = 1; round_now <= TRUNCATIONS; round_now++) {
		off_t size = sizes[dice(ARRAY_SIZE(sizes))];
		pid_t children[READERS];

		memset(ledger, 0, sizeof(*ledger));
		ledger->over = dice(2) ? 2 : 0;
		watch(WATCHDOG_SECONDS);
		for (unsigned i = 0; i < READERS; i++) {
			children[i] = spawn();
			if (children[i] == 0 && i == THIRD_RELIABLE)
				write_until_truncated();
			if (children[i] == 0)
				read_until_truncated(i, size < 4096);
		}
		for (unsigned i = 0; i < THIRD_RELIABLE; i++)
			while (!ledger->readers[i].opens) {
				int status;

				/* One that can't begin says why. */
				if (waitpid(children[i], &status, WNOHANG) != 0)
					wrong("%s ended", names[i]);
				pause_us(100);
			}
		pause_us(dice(3000));
		if (truncate(name, size) < 0)
			wrong("truncate");
		for (unsigned i = 0; i < READERS; i++)
			reap(children[i]);
		empty_folder();
	}
	printf("hostile-chan: %u truncations: all have said EIO\n", TRUNCATIONS);
}

int main(int argc, char **argv)
{
	unsigned long seconds = argc > 1 ? strtoul(argv[1], NULL, 10) : 2;
	bool root = geteuid() == 0;

	soak_name = "hostile-chan";
	judge = getpid();
	seed = seed_of_round = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) :
					  (unsigned)time(NULL) ^ (unsigned)judge;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("hostile-chan: %lu seconds a scene, seed %u\n", seconds, seed);
	scene_ns = seconds * UINT64_C(1000000000);
	ledger = share(sizeof(*ledger));
	user_writer = root ? USER_WRITER : geteuid();
	user_third = root ? USER_THIRD : geteuid();
	snprintf(folder, sizeof(folder), "/dev/shm/hostile-chan.XXXXXX");
	if (!mkdtemp(folder) || chmod(folder, 0755) < 0 ||
	    (root && chown(folder, user_writer, user_writer) < 0))
		wrong("%s", folder);
	snprintf(name, sizeof(name), "%s/c", folder);
	play("nobody hostile", user_writer, 0, root);
	if (root) {
		play("another user", USER_HOSTILE, HOSTILES, false);
		play("another user, who may be reliable", USER_HOSTILE, HOSTILES, true);
	}
	if (root)
		play("the writer's own user", user_writer, HOSTILES, false);
	truncate_ring();
	empty_folder();
	rmdir(folder);
	if (!root)
		printf("hostile-chan: root is needed for hostile users\n");
	return 0;
}
