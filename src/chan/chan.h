/*
 * chan.h - broadcast channels: one process writes messages, many read them. See include/vee/channel.h for what a caller sees, and
 * layout.h for the files.
 *
 * How it works. The writer alone writes the ring, without a lock; a reader polls the word of the message that it reads next, which
 * lies in the first line of the message itself, so that one line goes from processor to processor for a small message. Before
 * the writer writes over something it says so (`floor`), a section ahead; a reader looks at floor after it has copied a message,
 * and throws it away if floor has passed.
 *
 * Ordering
 *  CHAN_PUBLISH  the writer stores the message, then its word (release); a reader loads the word (acquire), then the message.
 *  CHAN_LAP      the writer stores floor, fence, then new data over the old; a reader loads the data, fence, then floor.
 *  CHAN_SLEEP    a reader stores `wanted`, barrier, loads the word again, sleeps; the writer stores the word, barrier, loads wanted. The
 *                writer's barrier is for the compiler only: the reader's is membarrier(2), which is one for the writer's
 *                processor too. A writer that can't register for that has a fence of its own, and says so (`asymmetric`).
 *  CHAN_WAKE     a reader loads `wake` before it stores wanted, and sleeps only if wake is the same still; the writer changes it, then wakes.
 *  CHAN_JOIN     a reliable reader stores its cursor, fence, loads intent, and begins later if intent has passed; the writer
 *                stores intent, fence, looks at all cursors, and stores floor when none is below.
 *  CHAN_SIT      a reader stores its seat, fence, loads who may be reliable, and if it may not adds to joined; the writer stores who may,
 *                loads joined, fence, looks at the seats of desks that may not, and forgets those where nobody sits if it needs their room.
 *  CHAN_ROOM     the writer stores wait_pos, fence, loads the cursors, sleeps on `turns`; a reader stores its cursor, changes turns, fence,
 *                loads wait_pos, wakes.
 *
 * A death. Each writer and reader holds a doorbell; who sleeps, sleeps on that of whom it waits for, too. A dead writer leaves
 * nothing half-done that is seen: what has no word is no message. The next one walks along the words from a section's entry to
 * the end, and goes on there. A dead reader's seat no longer counts.
 *
 * Trust: a reader can write its user's desk, its socket and the hall. Whatever the writer finds there is a hint or is checked, and
 * guard.h survives the truncation of a file.
 */
#pragma once

#include "base/guard.h"
#include "chan/clock.h"
#include "chan/copy.h"
#include "chan/lag.h"
#include "chan/layout.h"

#include "vee/channel.h"

#define CHAN_PATH_SIZE 3328
/* That a writer knows. Each is one word more to look at after each message. */
#define CHAN_DESKS_MAX 256u

/* A desk that is mapped here. */
struct chan_desk_map {
	struct chan_desk *desk;
	struct guard *guard;
	uint32_t uid;
	bool owed; /* somebody polls, and could not be told */
	uint32_t to_spend;
	uint64_t spent_ns;
	uint32_t *silent; /* by seat: the socket where nobody was; NULL: none */
	uint64_t ino;
};

struct vee_channel {
	/* What each call looks at. */
	struct chan_header *header;
	char *ring;
	uint64_t lines; /* a power of two */
	const struct guard *guard;
	uint32_t forks; /* of this process when it was opened */
	bool writer;

	/* The writer's. Side by side, head and seq would be counted up as one vector, which takes longer. */
	bool asymmetric;
	bool announced;		/* its epoch stands in the ring */
	uint64_t head;		/* where the next message starts */
	uint64_t quick;		/* so far goes chan_write_small() */
	uint64_t seq;		/* of the last message */
	uint64_t quick_stamped; /* so far goes chan_write_stamped() */
	uintptr_t lap;		/* where position 0 would be, for the positions up to there */
	uint64_t limit;		/* a message that ends beyond needs chan_make_room() */
	int64_t stamp;		/* the time that was read last */
	uint64_t stamped_until; /* the messages up to this one go without another */
	uint32_t stamp_every;
	uint64_t claimed;      /* may be written: floor is that far */
	uint64_t section_next; /* where the next section begins that has no entry */
	uint32_t ahead;	       /* lines that are sent for so far ahead; 0: none */
	uint64_t paced_ns;     /* when the last section was begun */
	uint64_t
		data_until; /* positions below may have data at the beginnings of their lines, from a lap before */
	size_t reserved; /* bytes, + 1 */
	int64_t stall_ns;
	uint64_t held_up_at, held_up_ns; /* for room at which position it waits, and since when */
	bool others_reliable;
	struct chan_copier copier;
	struct chan_clock clock;

	/* The reader's. */
	uint64_t pos, next;  /* of the message that is read next */
	uint64_t read_quick; /* so far goes chan_read_small() */
	uintptr_t read_lap;  /* where position 0 would be, for the positions up to there */
	uint64_t received, lost;
	uint64_t lost_before; /* the next message */
	int64_t time;	      /* of the last one */
	uint32_t epoch;
	uint32_t end_seen;	      /* an end of this epoch is none for us */
	uint64_t published;	      /* the cursor in the seat */
	uint64_t peeked, peeked_next; /* up to where; 0: not at all */
	int64_t peeked_time;	      /* of the last one */
	struct chan_seat *seat;
	unsigned seat_number;
	struct vee_channel_open_options options;
	int cut_off; /* -ESHUTDOWN */
	struct chan_spin {
		uint32_t usual_ns, failures, skipped;
	} spin;
	struct chan_turns {
		bool crowded;	      /* others want the processor */
		bool long_away;	      /* they had it for long, the last time */
		uint64_t pos;	      /* where that was */
		uint32_t skip, skips; /* chances of giving it away that are let pass */
	} turns;
	struct chan_lag lag;
	struct chan_poll *poll;

	/* Both. */
	uint32_t doorbell;	  /* thread that holds ours; 0: an earlier handle's does, or none */
	uint32_t doorbell_number; /* of a writer's */
	uint64_t ino;
	struct guard *file_guard;
	size_t file_size;
	char *path;

	/* Readers' desks: a reader has one, its own. What a writer looks at after each message comes last of the rest. */
	uint64_t looked_ns;
	int64_t look_left_ns;
	int64_t folder_changed;
	struct guard *hall_guard;
	uint32_t joined_seen; /* hall->joined, when the desks were looked for */
	bool owed;	      /* by the desks' */
	bool crowded; /* there were more desks than room: from now on only those where somebody sits */
	struct chan_hall *hall;
	uint32_t joined; /* as the hall's, or there is something for chan_wake() to do */
	unsigned n_desks;
	const uint64_t
		*wanted; /* the desk's, if there is but one; else what stands for none, or any */
	struct chan_desk_map desks[];
};

/* --- file.c: names, making, opening --- */

extern VEE_TLS char chan_error[512];
__attribute__((format(printf, 1, 2))) void chan_errorf(const char *format, ...);
/* The error's own words, for what has none yet. `what`: a name, a path. */
void chan_error_of(const char *what, int error);

/* The path of the channel's file. -EINVAL -ENAMETOOLONG */
int chan_path(const char *name, char *buf, size_t size);
/* The folder of the desks: of this file, not of another of the same name later. */
int chan_readers_path(const char *path, uint64_t ino, char *buf, size_t size);
/* Maps the file, for a reader or (write) a writer, and checks it. -EPROTO */
int chan_map_file(struct vee_channel *channel, bool write);
/* A handle of that name with nothing in it, and room for so many desks; NULL with *ret_error. */
struct vee_channel *chan_new_handle(const char *name, unsigned desks, int *ret_error);
/* Unmaps and frees all of it. keep_header: a thread's list of robust mutexes leads through that. */
void chan_free_handle(struct vee_channel *channel, bool keep_header);
int chan_create(const char *name, const struct vee_channel_create_options *options,
		struct vee_channel **ret_channel);
int chan_open(const char *name, const struct vee_channel_open_options *options,
	      struct vee_channel **ret_channel);
void chan_close(struct vee_channel *channel);
int chan_remove(const char *name);
int chan_stat(struct vee_channel *channel, struct vee_channel_stat *ret_stat);

/* Forks that this process has seen from inside: a handle with another count is another process's. */
extern uint32_t chan_forks VEE_HIDDEN;

/* --- owner.c: doorbells, and who is dead --- */

struct chan_owner {
	int32_t pid;
	uint64_t start, pid_ns;
	uint32_t image;
};
void chan_owner_self(struct chan_owner *ret_owner);
void chan_doorbell_init(struct chan_doorbell *doorbell);
/* Returns the thread that holds it now: this one; or 0: another does, or this one holds too many. */
uint32_t chan_doorbell_take(struct chan_doorbell *doorbell);
/* A thread of this process holds it, for a handle that another one has closed: its death says as much of the next handle. */
bool chan_doorbell_is_left_here(const struct chan_doorbell *doorbell);
/* false: another thread of this process took it, and holds it to its end: the memory must stay. */
bool chan_doorbell_give(struct chan_doorbell *doorbell, uint32_t tid);
/* Where in a mutex its word lies: not the same in all C libraries. */
uint32_t chan_libc_word(void);
uint32_t *chan_doorbell_word(const struct chan_doorbell *doorbell, uint32_t libc_word);
/* The thread that holds it; 0: none. `value`: the word. */
uint32_t chan_doorbell_tid(uint32_t value);
/* The process is gone, or no longer maps the file. What can't be decided is alive. */
bool chan_owner_is_dead(const struct chan_owner *owner, uint64_t ino);
bool chan_writer_is_dead(const struct vee_channel *channel);

/* --- desk.c --- */

uint32_t chan_random(void);
struct chan_seat *chan_seat_at(const struct chan_desk *desk, uint32_t number);
/* The reader takes a seat at its user's desk, which is made if need be. */
int chan_seat_take(struct vee_channel *channel);
void chan_seat_leave(struct vee_channel *channel);
/* For a writer that waits for this reader: look again. */
void chan_seat_turn(struct chan_seat *seat);
/* Each message looks at `joined`, and goes to chan_wake() if it is another than the hall's: if there is something to find, or owed. */
void chan_set_joined(struct vee_channel *channel);
/* The writer finds desks that are new. */
void chan_find_desks(struct vee_channel *channel);
/* CHAN_JOIN: after intent, before the cursors. */
void chan_find_desks_of_others(struct vee_channel *channel);
/* The folder and its hall, for a file that is about to get its name. */
int chan_make_hall(const char *path, uint64_t ino, uint32_t mode);
int chan_map_hall(struct vee_channel *channel);
void chan_unmap_desks(struct vee_channel *channel);
/* To look only. -EPROTO */
int chan_map_desk(const char *file, uint32_t uid, struct chan_desk_map *ret_map);
void chan_unmap_desk(struct chan_desk_map *map);
/* In the folder of a channel whose file is gone, and that nobody has open, nothing stays. */
void chan_clean(const char *path, uint64_t ino);
/* In a folder of channels, of all that are gone; or of those that had the name `base`. Returns how many. */
unsigned chan_clean_all(const char *folder, const char *base);
bool chan_seat_is_dead(const struct chan_desk_map *map, const struct chan_seat *seat,
		       uint32_t libc_word);
/* Calls for each desk file in the folder that belongs to the user of its name. */
int chan_each_desk(const char *path, uint64_t ino,
		   int (*each)(void *arg, const char *file, uint32_t uid, uint64_t ino), void *arg);

/* A reader of another user could hold the writer up: only with its consent. */
static inline bool chan_may_be_reliable(const struct chan_header *header, uint32_t uid)
{
	return uid == 0 || uid == header->writer_uid || header->others_reliable;
}

/* --- report.c --- */

void chan_count_readers(const struct vee_channel *channel, uint32_t *ret_readers,
			uint32_t *ret_reliable);

/* --- write.c --- */

int chan_begin_writing(struct vee_channel *channel);
/* Until a message of that size fits; takes care of sections and the ring's end. */
int chan_make_room(struct vee_channel *channel, size_t size, const struct timespec *timeout);
int chan_write(struct vee_channel *channel, const void *data, size_t size,
	       const struct timespec *timeout);
intptr_t chan_reserve(struct vee_channel *channel, size_t size, const struct timespec *timeout);
int chan_commit(struct vee_channel *channel, size_t size);
void chan_end_writing(struct vee_channel *channel);

/* --- read.c --- */

struct chan_view {
	const char *data;
	uint32_t size;
	uint64_t after; /* the position behind it */
	int64_t time;
	uint32_t epoch; /* that begins; 0: none */
};
int chan_begin_reading(struct vee_channel *channel);
/* Over what is no message: 0 with a message at channel->pos, 1 none there yet, -errno. */
int chan_look(struct vee_channel *channel, struct chan_view *ret_view);
ssize_t chan_read(struct vee_channel *channel, void *buf, size_t size,
		  struct vee_channel_message *ret_message, const struct timespec *timeout);
int chan_peek(struct vee_channel *channel, struct vee_channel_message *ret_messages, unsigned n,
	      const struct timespec *timeout);
int chan_release(struct vee_channel *channel);
/* The oldest message that is kept. */
bool chan_oldest(const struct vee_channel *channel, struct chan_section *ret_section);

/* --- wait.c --- */

bool chan_timeout_is_sound(const struct timespec *timeout);
/* The deadline of a timeout, CLOCK_MONOTONIC ns; UINT64_MAX for NULL. */
uint64_t chan_deadline(const struct timespec *timeout);
/* CHAN_SLEEP: the reader wants the next message; polls: by a byte. false: the writer may not see it. */
bool chan_want(struct vee_channel *channel, bool polls);
/* The reader, until there is something to look at, or an end. */
int chan_wait(struct vee_channel *channel, uint64_t deadline);
/* The end as it is now: 0, -EPIPE, -EOWNERDEAD. */
int chan_end(const struct vee_channel *channel);
void chan_publish_cursor(struct vee_channel *channel);
/* The writer: readers that wanted message seq. */
void chan_wake(struct vee_channel *channel, uint64_t seq);
/* The writer, until no reliable reader is below pos. */
int chan_wait_for_room(struct vee_channel *channel, uint64_t pos, uint64_t deadline);

/* --- poll.c --- */

int chan_poll_fd(struct vee_channel *channel);
/* The reader has nothing to read (any more): the descriptor is not readable from now on until there is. */
void chan_poll_arm(struct vee_channel *channel);
void chan_poll_close(struct vee_channel *channel);
/* The writer of this epoch has ended: known without a descriptor, where /proc can't be opened. false: look there. */
bool chan_poll_saw_death(const struct vee_channel *channel);
/* The writer: those who poll for seq, or for an earlier one. What can't be done is owed. */
void chan_poll_ring(struct vee_channel *channel, struct chan_desk_map *map, uint64_t seq);
