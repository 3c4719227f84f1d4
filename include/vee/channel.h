/*
 * vee/channel.h - broadcast channels: one process writes messages, any number of processes read them, over shared memory.
 *
 * A channel is a file with a ring of messages in it. Its name without '/' lies in the namespace that $VEE_DIR and $VEE_NS
 * name (vee(7)); a name with '/' is the path of the file. Who may open the file for reading may read the channel, who may
 * open it for writing may write it: its mode bits decide. One writes at a time; after its close or death another may, and the
 * sequence numbers go on.
 *
 * A message has 0 bytes up to a quarter of the ring, a sequence number (1, 2, 3 …, never skipped) and the time of its writing.
 *
 * Each reader chooses. Lossy: the writer never waits for it; if it falls behind by more than 15/16 of the ring, it goes on
 * at a later message, which says exactly how many were lost before it. Reliable: the writer waits for it.
 *
 * Calls that fail return -1 (or NULL) with errno; vee_channel_error() has the words for a failed create, open or remove.
 * A handle is used by one thread at a time, and by the process that opened it: in a child after fork each call but the
 * close fails with ECHILD. A signal handler without SA_RESTART ends a wait with EINTR.
 * Source: the design's broadcast component (open, release, read, write, poll, mmap). Layout: doc/CHANNEL.md.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vee_channel;

/* --- writing --- */

/* What is 0 has its default. */
struct vee_channel_create_options {
	size_t ring_size; /* bytes, a power of two, 64 KiB to 1 GiB; default 4 MiB. For a new channel. */
	mode_t mode; /* of a new channel's file, past the umask; default 0600. 0640, 0644: others may read. */
	unsigned
		stamp_every; /* read the clock for each message (1, the default), or once for so many in a row, up to 1024 */
	unsigned flags; /* VEE_CHANNEL_NEW, VEE_CHANNEL_OTHERS_RELIABLE */
	int64_t stall_ns; /* drop a reliable reader that holds the writer up for longer; default: as it asked itself */
};
#define VEE_CHANNEL_NEW 1u /* fail with EEXIST if there is a channel of that name */
#define VEE_CHANNEL_OTHERS_RELIABLE \
	2u /* readers of other users may be reliable, and so hold the writer up */

/*
 * Opens a channel as its writer; makes it if there is none. An existing one keeps its ring and its mode; what is in it stays, and
 * readers go on, told by another epoch. options: NULL for the defaults.
 * EACCES EBUSY (another writes it: vee_channel_error() says who) EEXIST EINVAL ELOOP EMFILE ENAMETOOLONG ENFILE ENOENT ENOMEM ENOSPC
 * ENOTDIR;
 * EPROTO: the file is none of vee's channels, or of another version.
 */
struct vee_channel *vee_channel_create(const char *name,
				       const struct vee_channel_create_options *options);

/*
 * Writes a copy of the message. Waits if a reliable reader is a whole ring behind; timedwrite no longer than timeout says, from the
 * call on, by CLOCK_MONOTONIC (NULL: for ever; {0, 0}: not at all). Returns 0, or
 * EAGAIN (time is up) EINTR EINVAL (such a timeout can't be) EMSGSIZE (more than a quarter of the ring) ENOSPC (no memory for the
 * ring) EBADF (opened for reading) EIO (somebody has truncated the file).
 */
int vee_channel_write(struct vee_channel *channel, const void *data, size_t size);
int vee_channel_timedwrite(struct vee_channel *channel, const void *data, size_t size,
			   const struct timespec *timeout);

/*
 * The same in place: room for size bytes in the ring, aligned to 8 (to 64 from 1024 bytes on), that readers see once it is
 * committed, with as many bytes as that says (size, or fewer; else EINVAL, as without a reserve). The next reserve or write without a
 * commit, or an abort, leaves no trace. NULL: as for write.
 */
void *vee_channel_reserve(struct vee_channel *channel, size_t size, const struct timespec *timeout);
int vee_channel_commit(struct vee_channel *channel, size_t size);
void vee_channel_abort(struct vee_channel *channel);

/* --- reading --- */

enum vee_channel_start {
	VEE_CHANNEL_NOW = 0,  /* what is written from now on */
	VEE_CHANNEL_OLDEST,   /* the oldest message that is kept, and on */
	VEE_CHANNEL_LAST,     /* the last message, if there is one, and on */
	VEE_CHANNEL_SEQUENCE, /* options.sequence, and on; it may be the one that comes next */
};

enum vee_channel_policy {
	VEE_CHANNEL_LOSSY = 0, /* the writer never waits */
	VEE_CHANNEL_RELIABLE,
};

/* What befalls a reliable reader that has held the writer up for stall_ns. */
enum vee_channel_stall {
	VEE_CHANNEL_STALL_WAIT = 0,   /* nothing: the writer waits */
	VEE_CHANNEL_STALL_DROP,	      /* it becomes lossy */
	VEE_CHANNEL_STALL_DISCONNECT, /* it is cut off: its reads fail with ESHUTDOWN */
};

struct vee_channel_open_options {
	enum vee_channel_start start;
	uint64_t sequence;
	enum vee_channel_policy policy;
	enum vee_channel_stall stall;
	int64_t stall_ns;
	unsigned flags; /* VEE_CHANNEL_FOLLOW */
};
#define VEE_CHANNEL_FOLLOW 1u /* at the end wait for the next writer, instead of EPIPE */

/*
 * Opens a channel as a reader. options: NULL for a lossy one from now on; for that an end that has come already is none.
 * EACCES EINVAL EIO ELOOP EMFILE ENAMETOOLONG ENFILE ENOENT ENOMEM ENOSPC ENOTDIR EPROTO; EUSERS: 4096 readers of this user are open;
 * EPERM: reliable, and another user writes, without VEE_CHANNEL_OTHERS_RELIABLE;
 * ERANGE: options.sequence is not kept (any more): vee_channel_error() says what is.
 */
struct vee_channel *vee_channel_open(const char *name,
				     const struct vee_channel_open_options *options);

struct vee_channel_message {
	const void *data;
	size_t size;
	uint64_t sequence;
	int64_t time_ns; /* CLOCK_REALTIME of its writing */
	uint64_t lost;	 /* messages that this reader has lost just before this one */
	uint32_t epoch;	 /* of its writer: 1, 2, 3 … */
	uint32_t reserved;
};

/*
 * Copies the next message out; *ret_message (or NULL) says the rest. buf has room for size bytes, of which those behind the message
 * may change too. Waits for one; timedread no longer than timeout says
 * (NULL: for ever; {0, 0}: not at all). Returns its size, or
 * EAGAIN (time is up), EBADF (opened for writing), EINTR, EINVAL (such a timeout can't be);
 * EMSGSIZE: it has more bytes than size; ret_message->size says how many; it stays the next one;
 * EPIPE: the writer has closed the channel, or EOWNERDEAD: has died, and all it wrote was read (again, until there is another writer);
 * ESHUTDOWN: cut off, see VEE_CHANNEL_STALL_DISCONNECT; EIO: somebody has truncated the file, or damaged it.
 */
ssize_t vee_channel_read(struct vee_channel *channel, void *buf, size_t size,
			 struct vee_channel_message *ret_message);
ssize_t vee_channel_timedread(struct vee_channel *channel, void *buf, size_t size,
			      struct vee_channel_message *ret_message,
			      const struct timespec *timeout);

/*
 * The same in place, up to n messages at once: `data` of each points into the ring. Waits for the first only. Returns how
 * many (1 to n), or -1 as read does. They stay until the release, which says how many of them, from the first on, were not safe all the
 * while: 0 if all are sound, else the data of so many may have been overwritten while it was looked at, and is to be thrown
 * away (they count as lost). 0 for a reliable reader. A peek without a release before it begins with the same message.
 * EINVAL: n is 0; or a release without a peek.
 */
int vee_channel_peek(struct vee_channel *channel, struct vee_channel_message *ret_messages,
		     unsigned n, const struct timespec *timeout);
int vee_channel_release(struct vee_channel *channel);

/*
 * A descriptor for poll(2), epoll(7) and their like: readable (level-triggered) while a read would not wait: a message, or the end.
 * Only poll it; it lives as long as the handle, which closes it. After it was readable, read until EAGAIN, or poll again.
 * EACCES EBADF EMFILE ENFILE ENOMEM ENOSPC.
 */
int vee_channel_poll_fd(struct vee_channel *channel);

/* --- both --- */

/*
 * The raw ring: the whole file, mapped read-only for a reader; doc/CHANNEL.md has it byte by byte. Valid until the close.
 */
const void *vee_channel_map(struct vee_channel *channel, size_t *ret_size);

struct vee_channel_stat {
	uint64_t ring_size;	   /* bytes */
	uint64_t message_size_max; /* bytes */
	uint64_t written;	   /* sequence number of the last message; 0: none yet */
	uint64_t oldest;	   /* of the oldest kept; written + 1: none */
	uint64_t bytes;		   /* of all messages ever written */
	int64_t time_ns;	   /* of the last message */
	uint32_t epoch;
	int32_t writer_pid; /* 0: none */
	uint32_t readers;   /* that live */
	uint32_t reliable;  /* of them */
	/* This reader's; 0 for a writer */
	uint64_t next; /* the sequence number that it reads next */
	uint64_t received, lost;
};
int vee_channel_stat(struct vee_channel *channel, struct vee_channel_stat *ret_stat);

/* A writer's close is the end for its readers. NULL is allowed. Returns 0. */
int vee_channel_close(struct vee_channel *channel);

/* Removes the name; who has it open goes on. EACCES EINVAL ELOOP ENAMETOOLONG ENOENT ENOTDIR EPERM EPROTO. */
int vee_channel_remove(const char *name);

/* Why the last create, open or remove of this thread failed, in words. */
const char *vee_channel_error(void);

#ifdef __cplusplus
}
#endif
