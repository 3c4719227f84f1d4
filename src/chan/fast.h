/*
 * fast.h - a message written, or read, without a system call and without a lock; see chan.h for the ordering pairs by name.
 *
 * Everything that is rare (a section begins, the ring ends, a reader sleeps, was lapped, has nothing to read) is left to
 * write.c, read.c and wait.c.
 */
#pragma once

#include "base/os.h"
#include "chan/chan.h"

#include <errno.h>

/* Another process's words, which may change at any time. */
#define chan_load(field)	 __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define chan_store(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)

static inline char *chan_at(const struct vee_channel *channel, uint64_t pos)
{
	return channel->ring + (pos & (channel->lines - 1)) * CHAN_LINE;
}

static inline uint64_t *chan_word_at(const struct vee_channel *channel, uint64_t pos)
{
	return (uint64_t *)chan_at(channel, pos);
}

static inline bool chan_is_ours(const struct vee_channel *channel, bool writer)
{
	return likely(channel->writer == writer && channel->forks == chan_forks &&
		      !guard_hit(channel->guard));
}

/* --- the writer --- */

/* Does the next message take the time anew? */
static inline bool chan_stamp_is_due(const struct vee_channel *channel)
{
	return channel->seq >= channel->stamped_until;
}

static inline void chan_set_stamp(struct vee_channel *channel, int64_t now)
{
	channel->stamp = now;
	channel->stamped_until = channel->seq + channel->stamp_every;
	chan_store(channel->header->time, now);
}

/* CHAN_SLEEP: the message is published before it is asked who sleeps. */
static inline void chan_before_sleepers(const struct vee_channel *channel)
{
	if (likely(channel->asymmetric))
		compiler_barrier();
	else
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* May anybody be asleep until there is the message that was published last? As far as can be said by two looks. */
static inline bool chan_may_be_wanted(const struct vee_channel *channel)
{
	return unlikely(chan_load(channel->hall->joined) != channel->joined) ||
	       unlikely(chan_load(*channel->wanted) >= channel->seq);
}

/* Is anybody? Then chan_wake(). */
static inline bool chan_is_wanted(const struct vee_channel *channel)
{
	if (chan_load(channel->hall->joined) != channel->joined)
		return true;
	for (unsigned i = 0; i < channel->n_desks; i++)
		if (chan_load(channel->desks[i].desk->wanted) >= channel->seq)
			return true;
	return false;
}

/*
 * Invariant 1: what an earlier lap has left at pos, as the word, must not look like message seq. Only data can, and data lies at the
 * beginning of a line only within longer messages.
 */
static inline void chan_no_false_word(struct vee_channel *channel, uint64_t pos, uint64_t *word,
				      uint64_t seq)
{
	if (pos < channel->data_until && unlikely(chan_word_is(chan_load(*word), seq)))
		chan_store(*word, chan_word_not(seq));
}

/* The lines up to pos may have data at their beginnings, until the next lap has overwritten them. */
static inline void chan_note_data(struct vee_channel *channel, uint64_t pos)
{
	if (channel->data_until < pos + channel->lines)
		channel->data_until = pos + channel->lines;
}

/* The message of channel->seq + 1 is in the ring, at `at`, and takes so many lines; behind it lies `next`. */
static inline __attribute__((always_inline)) void chan_publish(struct vee_channel *channel,
							       char *at, char *next, uint64_t lines,
							       uint32_t flags, size_t size)
{
	uint64_t head = channel->head + lines, seq;
	struct chan_header *header;

	if (lines > 1)
		chan_note_data(channel, head);
	seq = channel->seq + 1;
	chan_no_false_word(channel, head, (uint64_t *)next, seq + 1);
	__atomic_store_n((uint64_t *)at, chan_word(seq, flags, size),
			 __ATOMIC_RELEASE); /* CHAN_PUBLISH */
	channel->head = head;
	channel->seq = seq;
	header = channel->header;
	chan_store(header->seq, seq);
	chan_store(header->bytes, header->bytes + size);
}

/*
 * A message of any size. false: there is more to do. What is not small has a time in front, if only the last one's again: copying to
 * where it lies then is up to a third quicker than to 8 bytes behind the beginning of a line.
 */
static inline bool chan_write_quickly(struct vee_channel *channel, const void *data, size_t size)
{
	bool due = chan_stamp_is_due(channel), stamped = due || size > CHAN_COPY_SMALL;
	uint32_t prefix = chan_prefix(size, stamped);
	uint64_t lines = chan_lines(size + prefix);
	char *at = chan_at(channel, channel->head);

	if (unlikely(!chan_is_ours(channel, true)) || unlikely(size > CHAN_SIZE_MASK) ||
	    unlikely(channel->head + lines > channel->limit) || unlikely(channel->reserved))
		return false;
	if (unlikely(channel->ahead))
		prefetch_to_write(at + (lines + channel->ahead) * CHAN_LINE);
	if (due)
		chan_set_stamp(channel, chan_clock_now(&channel->clock, size, channel->stamp));
	chan_copy_in(&channel->copier, at + prefix, data, size);
	/* A reader looks at this line all the time: so it is taken from there but once. */
	if (stamped)
		*(int64_t *)(at + 8) = channel->stamp;
	if (unlikely(channel->header->streamed != channel->copier.way))
		chan_store(channel->header->streamed, channel->copier.way);
	chan_publish(channel, at, chan_at(channel, channel->head + lines), lines,
		     stamped ? CHAN_STAMPED : 0, size);
	chan_before_sleepers(channel);
	return true;
}

/*
 * So far goes chan_write_small(), without a time, without a fence, without a look at the guard; and so far chan_write_stamped(), for
 * what has a time. Neither to the ring's end. Whatever lowers `limit`, or is for the next write to see, sets both to 0.
 */
static inline void chan_set_quick(struct vee_channel *channel)
{
	uint64_t lap = channel->head & ~(channel->lines - 1), quick = lap + channel->lines - 1;

	channel->quick = channel->quick_stamped = 0;
	if (!channel->asymmetric || channel->ahead || channel->reserved ||
	    guard_hit(channel->guard))
		return;
	channel->lap = (uintptr_t)channel->ring - lap * CHAN_LINE;
	if (quick > channel->limit)
		quick = channel->limit;
	channel->quick_stamped = quick;
	if (chan_stamp_is_due(channel))
		return;
	if (quick > channel->head + (channel->stamped_until - channel->seq))
		quick = channel->head + (channel->stamped_until - channel->seq);
	channel->quick = quick;
}

/*
 * The same for what is no longer than CHAN_COPY_SMALL, of so many lines, in as few instructions and, since they wait in a short
 * queue for lines that are elsewhere, as few stores as can be: it calls nothing, or its caller would have to save registers. The
 * `quick` of a reader's handle is 0.
 */
static inline __attribute__((always_inline)) bool chan_write_small(struct vee_channel *channel,
								   const void *data, size_t size,
								   uint64_t lines)
{
	char *at = (char *)(channel->lap + channel->head * CHAN_LINE);

	if (unlikely(channel->head + lines > channel->quick) ||
	    unlikely(channel->forks != chan_forks))
		return false;
	chan_copy_in_small(at + 8, data, size);
	/* What was loaded above is loaded again, not kept in a register that would have to be saved. */
	compiler_barrier();
	chan_publish(channel, at, at + lines * CHAN_LINE, lines, 0, size);
	compiler_barrier(); /* CHAN_SLEEP */
	return true;
}

/* The same for what is shorter than CHAN_COPY_BIG, with a time: if none is due, or the counter tells it. */
static inline __attribute__((always_inline)) bool chan_write_stamped(struct vee_channel *channel,
								     const void *data, size_t size)
{
	uint64_t prefix = chan_prefix(size, true), lines = chan_lines(size + prefix);
	char *at = (char *)(channel->lap + channel->head * CHAN_LINE);

	if (unlikely(channel->head + lines > channel->quick_stamped) ||
	    unlikely(channel->forks != chan_forks) || unlikely(guard_hit(channel->guard)))
		return false;
	if (chan_stamp_is_due(channel)) {
		int64_t now;

		if (unlikely(!chan_clock_count(&channel->clock, chan_ticks(), size, channel->stamp,
					       &now)))
			return false;
		chan_set_stamp(channel, now);
	}
	chan_copy_in(&channel->copier, at + prefix, data, size);
	/* What is looked at all the time comes last, as in chan_write_quickly(). */
	*(int64_t *)(at + 8) = channel->stamp;
	compiler_barrier();
	chan_publish(channel, at, at + lines * CHAN_LINE, lines, CHAN_STAMPED, size);
	compiler_barrier(); /* CHAN_SLEEP */
	return true;
}

/* --- the reader --- */

/* Has the writer begun to overwrite what starts at pos? CHAN_LAP: what was loaded from there was loaded before. */
static inline bool chan_lapped(const struct vee_channel *channel, uint64_t pos)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return chan_load(channel->header->floor) > pos;
}

/* Is there anything to read, or to be told? */
static inline bool chan_is_there(const struct vee_channel *channel)
{
	uint64_t word = load_acquire(*chan_word_at(channel, channel->pos)); /* CHAN_PUBLISH */

	return chan_word_is(word, channel->next) || chan_lapped(channel, channel->pos);
}

/* What the word of position pos says lies in the ring. false: that can't be. */
static inline bool chan_view(const struct vee_channel *channel, uint64_t pos, uint64_t word,
			     struct chan_view *ret_view)
{
	const char *at = chan_at(channel, pos);
	bool stamped = word & CHAN_STAMPED;
	uint32_t size = chan_size(word), prefix = chan_prefix(size, stamped);
	uint64_t lines = chan_lines((uint64_t)prefix + size);

	ret_view->data = at + prefix;
	ret_view->size = size;
	ret_view->after = pos + lines;
	ret_view->time = stamped ? *(const int64_t *)(at + 8) : 0;
	return (pos & (channel->lines - 1)) + lines <= channel->lines;
}

/* What lies at a position, if the message of that sequence number is the next one. */
enum chan_record {
	CHAN_NOTHING, /* it is not there yet, or what was there is overwritten */
	CHAN_MESSAGE,
	CHAN_NO_MESSAGE, /* a pad, or a new writer's epoch: go on at view.after */
	CHAN_DAMAGED,
};

/*
 * A pad leads to the ring's first line, where none can be. So who follows the records of a damaged ring comes to an end, if he takes
 * no more of them that are no messages than the ring has lines.
 */
static inline enum chan_record chan_record_at(const struct vee_channel *channel, uint64_t pos,
					      uint64_t seq, struct chan_view *ret_view)
{
	uint64_t word = load_acquire(*chan_word_at(channel, pos)); /* CHAN_PUBLISH */

	ret_view->epoch = 0;
	if (!chan_word_is(word, seq))
		return CHAN_NOTHING;
	if (word & CHAN_PAD) {
		ret_view->after = (pos | (channel->lines - 1)) + 1;
		return pos & (channel->lines - 1) ? CHAN_NO_MESSAGE : CHAN_DAMAGED;
	}
	if (!chan_view(channel, pos, word, ret_view))
		return CHAN_DAMAGED;
	if (!(word & CHAN_EPOCH))
		return CHAN_MESSAGE;
	ret_view->epoch = chan_load(*(uint32_t *)(chan_at(channel, pos) + 8));
	return CHAN_NO_MESSAGE;
}

/* The writer may be waiting for room; and who looks on likes to know. */
static inline void chan_advance(struct vee_channel *channel, uint64_t pos, uint64_t next)
{
	uint64_t wait_pos = chan_load(channel->header->wait_pos);

	channel->pos = pos;
	channel->next = next;
	if (unlikely(pos - channel->published >= channel->lines / 8) ||
	    unlikely(wait_pos > channel->published && pos >= wait_pos))
		chan_publish_cursor(channel);
}

/* Copies the next message out. Returns its size, or -EAGAIN: there is more to do, and nothing has changed. */
static inline __attribute__((always_inline)) ssize_t chan_read_quickly(
	struct vee_channel *channel, void *buf, size_t size,
	struct vee_channel_message *ret_message)
{
	struct chan_view view;
	uint64_t word;

	if (unlikely(channel->writer) || unlikely(channel->forks != chan_forks) ||
	    unlikely(channel->peeked) || unlikely(channel->poll != NULL))
		return -EAGAIN;
	word = load_acquire(*chan_word_at(channel, channel->pos)); /* CHAN_PUBLISH */
	if (!chan_word_is(word, channel->next) || unlikely(word & (CHAN_PAD | CHAN_EPOCH)) ||
	    unlikely(!chan_view(channel, channel->pos, word, &view)) || unlikely(view.size > size))
		return -EAGAIN;
	chan_copy_out(buf, view.data, view.size, chan_load(channel->header->streamed));
	/* GUARD_HIT: what was copied may be zeros from now on. */
	if (unlikely(chan_lapped(channel, channel->pos)) || unlikely(guard_hit(channel->guard)))
		return -EAGAIN;
	if (view.time)
		channel->time = view.time;
	if (ret_message)
		*ret_message = (struct vee_channel_message){buf,
							    view.size,
							    channel->next,
							    channel->time,
							    channel->lost_before,
							    channel->epoch,
							    0};
	channel->lost_before = 0;
	channel->received++;
	chan_advance(channel, view.after, channel->next + 1);
	return view.size;
}

/*
 * So far go chan_read_small() and chan_read_medium(): not to the ring's end, nor to where the position has to be published. Whatever is
 * for the next read to see sets `read_quick` to 0.
 */
static inline void chan_set_read_quick(struct vee_channel *channel)
{
	uint64_t lap = channel->pos & ~(channel->lines - 1), quick = lap + channel->lines - 1;

	channel->read_quick = 0;
	if (channel->peeked || channel->poll || channel->lost_before)
		return;
	if (quick > channel->published + channel->lines / 8)
		quick = channel->published + channel->lines / 8;
	channel->read_quick = quick;
	channel->read_lap = (uintptr_t)channel->ring - lap * CHAN_LINE;
}

/* The message up to `after` is copied out: is it whole, and is there nothing to do but to go on? */
static inline __attribute__((always_inline)) bool chan_read_on(struct vee_channel *channel,
							       uint64_t after, bool stamped,
							       int64_t time)
{
	uint64_t wait_pos;

	/* GUARD_HIT */
	if (unlikely(chan_lapped(channel, channel->pos)) || unlikely(guard_hit(channel->guard)))
		return false;
	wait_pos = chan_load(channel->header->wait_pos);
	if (unlikely(wait_pos > channel->published) && unlikely(after >= wait_pos))
		return false;
	if (stamped)
		channel->time = time;
	channel->received++;
	channel->pos = after;
	channel->next++;
	return true;
}

/* What is left of the word at the next message's place without the tag; if another one's is there, a large number. */
static inline uint64_t chan_rest_of_word(const struct vee_channel *channel, const char *at)
{
	return load_acquire(*(const uint64_t *)at) ^ channel->next << 32; /* CHAN_PUBLISH */
}

/*
 * The same for what is no longer than CHAN_COPY_SMALL, for who wants the bytes alone: a leaf of few instructions, as
 * chan_write_small() is. A writer's handle has a `read_quick` of 0.
 */
static inline __attribute__((always_inline)) ssize_t chan_read_small(struct vee_channel *channel,
								     void *buf, size_t size)
{
	uint64_t pos = channel->pos, rest, stamped, length, lines;
	const char *at = (const char *)(channel->read_lap + pos * CHAN_LINE);
	uint32_t prefix;

	if (unlikely(pos >= channel->read_quick) || unlikely(channel->forks != chan_forks))
		return -EAGAIN;
	rest = chan_rest_of_word(channel, at);
	stamped = rest & CHAN_STAMPED;
	length = rest ^ stamped; /* with another flag it is large, too */
	prefix = 8 + (uint32_t)stamped / (CHAN_STAMPED / 8);
	lines = chan_lines(length + prefix);
	if (unlikely(length > CHAN_COPY_SMALL) || unlikely(length > size) ||
	    unlikely(lines > channel->read_quick - pos))
		return -EAGAIN;
	chan_copy_out_small(buf, at + prefix, length);
	return likely(chan_read_on(channel, pos + lines, stamped, *(const int64_t *)(at + 8))) ?
		       (ssize_t)length :
		       -EAGAIN;
}

/* The same for what has a time, of any size: what is larger has one always. */
static inline __attribute__((always_inline)) ssize_t chan_read_medium(struct vee_channel *channel,
								      void *buf, size_t size)
{
	uint64_t pos = channel->pos, length, lines;
	const char *at = (const char *)(channel->read_lap + pos * CHAN_LINE);
	uint32_t prefix;

	if (unlikely(pos >= channel->read_quick) || unlikely(channel->forks != chan_forks))
		return -EAGAIN;
	length = chan_rest_of_word(channel, at) ^ CHAN_STAMPED; /* without it, a large number */
	prefix = chan_prefix(length, true);
	lines = chan_lines(length + prefix);
	if (unlikely(length > size) || unlikely(length > CHAN_SIZE_MASK) ||
	    unlikely(lines > channel->read_quick - pos))
		return -EAGAIN;
	chan_copy_out(buf, at + prefix, length, chan_load(channel->header->streamed));
	return likely(chan_read_on(channel, pos + lines, true, *(const int64_t *)(at + 8))) ?
		       (ssize_t)length :
		       -EAGAIN;
}
