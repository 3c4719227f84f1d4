/* write.c - the writer: sections, the ring's end, messages in place; see chan.h. */
#include "chan/fast.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* Of a line, while it is written. */
#define FAR_NS	  24u
#define FAR_AHEAD 16u

/* The first lap takes memory as it goes. */
#define POPULATE_LINES ((1u << 20) / CHAN_LINE)

static uint64_t section_lines(const struct vee_channel *channel)
{
	return channel->lines / CHAN_SECTIONS;
}

static bool is_truncated(const struct vee_channel *channel)
{
	struct stat st;

	return os_stat(channel->path, &st) == 0 && st.st_ino == channel->ino &&
	       (uint64_t)st.st_size < channel->file_size;
}

/* The first lap: so that no touch of the memory fails. */
static int populate(const struct vee_channel *channel, uint64_t from, uint64_t lines)
{
	int ret = os_madvise(chan_at(channel, from), lines * CHAN_LINE, OS_MADV_POPULATE_WRITE);

	/* Linux before 5.14 does not know it; what fails then is caught by the guard. */
	if (ret == -EINVAL)
		return 0;
	if (ret != -EFAULT && ret != -ENOMEM)
		return ret;
	if (!is_truncated(channel))
		return -ENOSPC;
	guard_mark(channel->file_guard); /* for good */
	return -EIO;
}

/*
 * A store that misses the caches holds up all those behind it, and there is room for those of a few messages only. Where
 * a line comes from far away it is sent for beforehand; where it is near, that costs more than it brings.
 */
static void pace(struct vee_channel *channel)
{
	uint64_t now = os_monotonic_ns();

	channel->ahead = now - channel->paced_ns > FAR_NS * section_lines(channel) ? FAR_AHEAD : 0;
	channel->paced_ns = now;
}

/* What lies a ring before the claimed section is given up. */
static int claim(struct vee_channel *channel, uint64_t deadline)
{
	struct chan_header *header = channel->header;
	uint64_t step = section_lines(channel), upto;
	int ret;

	if (channel->claimed < channel->lines && step > POPULATE_LINES)
		step = POPULATE_LINES;
	upto = channel->claimed + step;
	if (upto > channel->lines) {
		uint64_t floor = upto - channel->lines;

		chan_store(header->intent, floor);
		ret = chan_wait_for_room(channel, floor, deadline); /* CHAN_JOIN */
		if (ret < 0) {
			chan_store(header->intent, header->floor);
			return ret;
		}
		chan_store(header->floor, floor);
		/* Stores that go past the caches are in no order even with earlier ones: a release is not enough. */
		__atomic_thread_fence(__ATOMIC_SEQ_CST); /* CHAN_LAP */
	} else {
		ret = populate(channel, channel->claimed, step);
		if (ret < 0)
			return ret;
	}
	channel->claimed = upto;
	pace(channel);
	return 0;
}

/* A message is about to start at head: it is the first of all sections that have begun. */
static void note_sections(struct vee_channel *channel)
{
	struct chan_header *header = channel->header;
	uint64_t step = section_lines(channel);

	for (; channel->section_next <= channel->head; channel->section_next += step) {
		struct chan_section *section =
			&header->sections[channel->section_next / step % CHAN_SECTIONS];

		chan_store(section->pos, 0);
		__atomic_thread_fence(__ATOMIC_RELEASE);
		chan_store(section->seq, channel->seq + 1);
		chan_store(section->time, channel->stamp);
		chan_store(section->epoch, header->epoch);
		__atomic_store_n(&section->pos, channel->head + 1, __ATOMIC_RELEASE);
	}
}

static void set_limit(struct vee_channel *channel)
{
	uint64_t end = (channel->head & ~(channel->lines - 1)) + channel->lines;

	/* The line behind a message is written too, if it must be. */
	channel->limit = channel->claimed - 1;
	if (channel->limit > channel->section_next)
		channel->limit = channel->section_next;
	if (channel->limit > end)
		channel->limit = end;
}

/* A record that is no message: the next one's tag, so that a reader finds it in its place. */
static void put_record(struct vee_channel *channel, uint32_t flag, uint32_t value, uint64_t lines)
{
	uint64_t seq = channel->seq + 1;
	char *at = chan_at(channel, channel->head);

	if (lines > 1)
		chan_note_data(channel, channel->head + lines);
	chan_no_false_word(channel, channel->head + lines,
			   chan_word_at(channel, channel->head + lines), seq);
	chan_store(*(uint32_t *)(at + 8), value);
	__atomic_store_n((uint64_t *)at, chan_word(seq, flag, sizeof(value)),
			 __ATOMIC_RELEASE); /* CHAN_PUBLISH */
	channel->head += lines;
}

static int room_for(struct vee_channel *channel, uint64_t lines, uint64_t deadline)
{
	uint64_t at = channel->head & (channel->lines - 1), pad = 0;

	if (at + lines > channel->lines)
		pad = channel->lines - at;
	while (channel->head + pad + lines + 1 > channel->claimed) {
		int ret = claim(channel, deadline);

		if (ret < 0)
			return ret;
	}
	note_sections(channel);
	if (pad) {
		put_record(channel, CHAN_PAD, pad, pad);
		note_sections(channel);
	}
	return 0;
}

/* Readers learn of a new writer in its place among the messages: before its first. */
static int announce(struct vee_channel *channel, uint64_t deadline)
{
	int ret = channel->announced ? 0 : room_for(channel, 1, deadline);

	if (ret < 0 || channel->announced)
		return ret;
	put_record(channel, CHAN_EPOCH, channel->header->epoch, 1);
	channel->announced = true;
	return 0;
}

/* Of a message with a time. */
static uint64_t lines_of(size_t size)
{
	return chan_lines(chan_prefix(size, true) + size);
}

int chan_make_room(struct vee_channel *channel, size_t size, const struct timespec *timeout)
{
	uint64_t lines = lines_of(size), deadline = chan_deadline(timeout);
	int ret;

	if (size > channel->lines * CHAN_LINE / 4)
		return -EMSGSIZE;
	if (!chan_timeout_is_sound(timeout))
		return -EINVAL;
	ret = announce(channel, deadline);
	if (ret == 0)
		ret = room_for(channel, lines, deadline);
	channel->limit = channel->quick = channel->quick_stamped = 0;
	if (ret == 0)
		set_limit(channel);
	/* This one may be longer than what is left of its section. */
	if (ret == 0 && channel->limit < channel->head + lines)
		channel->limit = channel->head + lines;
	return ret < 0 && guard_hit(channel->guard) ? -EIO : ret;
}

static int refuse(const struct vee_channel *channel)
{
	if (!channel->writer)
		return -EBADF;
	return channel->forks != chan_forks ? -ECHILD : -EIO;
}

/* A message, whole or in place: what was reserved before is none. */
static int begin_message(struct vee_channel *channel, size_t size)
{
	if (!chan_is_ours(channel, true))
		return refuse(channel);
	channel->reserved = 0;
	return size > CHAN_SIZE_MASK ? -EMSGSIZE : 0;
}

int chan_write(struct vee_channel *channel, const void *data, size_t size,
	       const struct timespec *timeout)
{
	int ret = begin_message(channel, size);

	if (ret == 0)
		ret = chan_make_room(channel, size, timeout);
	if (ret < 0)
		return ret;
	if (!chan_write_quickly(channel, data, size) || guard_hit(channel->guard))
		return -EIO;
	/* It may have taken a line less than there is room for: the next section begins where it does all the same. */
	set_limit(channel);
	if (chan_is_wanted(channel))
		chan_wake(channel, channel->seq);
	return 0;
}

intptr_t chan_reserve(struct vee_channel *channel, size_t size, const struct timespec *timeout)
{
	int ret = begin_message(channel, size);

	if (ret == 0 && channel->head + lines_of(size) > channel->limit) {
		ret = chan_make_room(channel, size, timeout);
		/* Less may be committed, or nothing: the next section begins where it does all the same. */
		if (ret == 0)
			set_limit(channel);
	}
	if (ret < 0)
		return ret;
	/* Whatever the caller stores there. */
	chan_note_data(channel, channel->head + lines_of(size));
	channel->reserved = size + 1;
	channel->quick = channel->quick_stamped = 0;
	return (intptr_t)(chan_at(channel, channel->head) + chan_prefix(size, true));
}

int chan_commit(struct vee_channel *channel, size_t size)
{
	uint32_t prefix = chan_prefix(size, true), reserved;
	uint64_t lines;
	char *at;

	if (!chan_is_ours(channel, true))
		return refuse(channel);
	if (!channel->reserved || size > channel->reserved - 1)
		return -EINVAL;
	reserved = chan_prefix(channel->reserved - 1, true);
	channel->reserved = 0;
	if (chan_stamp_is_due(channel))
		chan_set_stamp(channel, chan_clock_now(&channel->clock, 0, channel->stamp));
	at = chan_at(channel, channel->head);
	/* What was reserved was to begin at a line; so few bytes do not. */
	if (unlikely(prefix != reserved))
		memmove(at + prefix, at + reserved, size);
	*(int64_t *)(at + 8) = channel->stamp;
	lines = lines_of(size);
	chan_publish(channel, at, chan_at(channel, channel->head + lines), lines, CHAN_STAMPED,
		     size);
	chan_before_sleepers(channel);
	if (chan_is_wanted(channel))
		chan_wake(channel, channel->seq);
	return guard_hit(channel->guard) ? -EIO : 0;
}

/* --- a writer's beginning and end --- */

/* Where the newest section's first message starts; the dead one may have left one of the entries half-done. */
static struct chan_section newest(const struct chan_header *header)
{
	struct chan_section found = {.pos = 0};

	for (unsigned i = 0; i < CHAN_SECTIONS; i++)
		if (header->sections[i].pos > found.pos)
			found = header->sections[i];
	return found;
}

/* Within a ring of what is kept? */
static bool is_end(const struct vee_channel *channel)
{
	uint64_t floor = channel->header->floor;

	return floor % section_lines(channel) == 0 && channel->head >= floor &&
	       channel->head - floor <= channel->lines;
}

/* From a section's first message to the end of all. */
static int walk(struct vee_channel *channel)
{
	struct chan_header *header = channel->header;
	struct chan_section section = newest(header);
	struct chan_view view;

	if (!section.pos || section.pos > CHAN_POS_MOST)
		return -EPROTO;
	channel->head = section.pos - 1;
	channel->seq = section.seq - 1;
	channel->section_next =
		(channel->head / section_lines(channel) + 1) * section_lines(channel);
	for (uint64_t n = 0; n <= 2 * channel->lines; n++) {
		switch (chan_record_at(channel, channel->head, channel->seq + 1, &view)) {
		case CHAN_NOTHING:
			return is_end(channel) ? 0 : -EPROTO;
		case CHAN_DAMAGED:
			return -EPROTO;
		case CHAN_MESSAGE:
			/* The one that was published last may not have been counted. */
			if (++channel->seq > header->seq)
				chan_store(header->bytes, header->bytes + view.size);
			break;
		case CHAN_NO_MESSAGE:
			break;
		}
		channel->head = view.after;
	}
	return -EPROTO;
}

static void register_membarrier(struct vee_channel *channel)
{
	channel->asymmetric = os_membarrier_register() == 0;
	chan_store(channel->header->asymmetric, channel->asymmetric);
}

int chan_begin_writing(struct vee_channel *channel)
{
	struct chan_header *header = channel->header;
	struct chan_owner self;
	int ret = walk(channel);

	if (ret < 0)
		return ret;
	chan_owner_self(&self);
	chan_store(header->pid, self.pid);
	chan_store(header->start, self.start);
	chan_store(header->pid_ns, self.pid_ns);
	chan_store(header->image, self.image);
	chan_store(header->writer_uid, os_geteuid());
	chan_store(header->others_reliable, channel->others_reliable);
	chan_store(header->wait_pos, 0);
	chan_store(header->intent, header->floor);
	register_membarrier(channel);
	chan_store(header->seq, channel->seq);
	/* Nobody knows what the one before has written, or only reserved. */
	if (header->epoch)
		chan_note_data(channel, channel->head + channel->lines / 2);
	channel->claimed = header->floor ?
				   header->floor + channel->lines :
				   channel->head / section_lines(channel) * section_lines(channel);
	channel->stamp = chan_clock_read(&channel->clock, chan_ticks(), 0, 0);
	chan_store(header->epoch, header->epoch + 1);
	__atomic_store_n(&header->state, CHAN_WRITTEN, __ATOMIC_RELEASE);
	/* Who sleeps looks at the new writer's doorbell from now on. */
	chan_wake(channel, channel->seq + 1);
	return 0;
}

void chan_end_writing(struct vee_channel *channel)
{
	struct chan_header *header = channel->header;

	if (guard_hit(channel->guard))
		return;
	__atomic_store_n(&header->state, CHAN_CLOSED, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	chan_wake(channel, channel->seq + 1);
}
