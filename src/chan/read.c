/* read.c - the reader: where it starts, what it does when it was lapped, messages in place; see chan.h. */
#include "chan/fast.h"

#include <errno.h>
#include <string.h>

#define SEARCHES_MOST 10000u

/* --- sections --- */

/* A sound entry, of a place that is not overwritten. */
static bool load_section(const struct vee_channel *channel, unsigned i,
			 struct chan_section *ret_section)
{
	const struct chan_section *section = &channel->header->sections[i];
	uint64_t pos = load_acquire(section->pos), floor;

	ret_section->pos = pos - 1;
	ret_section->seq = chan_load(section->seq);
	ret_section->time = chan_load(section->time);
	ret_section->epoch = chan_load(section->epoch);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	floor = chan_load(channel->header->floor);
	return pos && chan_load(section->pos) == pos && pos <= CHAN_POS_MOST && floor <= pos - 1 &&
	       pos - 1 - floor <= channel->lines;
}

/* The oldest section from `least` on; newest: the newest. */
static bool find_section(const struct vee_channel *channel, uint64_t least, bool newest,
			 struct chan_section *ret_section)
{
	struct chan_section section;
	bool found = false;

	for (unsigned i = 0; i < CHAN_SECTIONS; i++) {
		if (!load_section(channel, i, &section) || section.pos < least)
			continue;
		if (found && (section.pos < ret_section->pos) == newest)
			continue;
		*ret_section = section;
		found = true;
	}
	return found;
}

bool chan_oldest(const struct vee_channel *channel, struct chan_section *ret_section)
{
	return find_section(channel, 0, false, ret_section);
}

static void go_to(struct vee_channel *channel, const struct chan_section *section)
{
	channel->pos = section->pos;
	channel->next = section->seq;
	channel->time = section->time;
	channel->epoch = section->epoch;
}

/* --- over what is no message --- */

/*
 * Nobody finds a place while the writer is quick enough to overwrite all that one looks at. If it does not move, the file is
 * damaged.
 */
struct search {
	uint64_t floor;
	unsigned tries;
};

static bool may_search_on(const struct vee_channel *channel, struct search *search)
{
	uint64_t floor = chan_load(channel->header->floor);

	if (floor != search->floor)
		*search = (struct search){floor, 0};
	return search->tries++ < SEARCHES_MOST;
}

/*
 * The writer was faster by a whole ring. With a quarter of it in front, so that this does not come again at once. At a writer's
 * speed a section may be gone before one gets there.
 */
static int resync(struct vee_channel *channel)
{
	uint64_t expected = channel->next;
	struct chan_section section;
	struct search search = {0, 0};

	if (channel->seat->state == CHAN_SEAT_RELIABLE) {
		if (channel->options.stall == VEE_CHANNEL_STALL_DISCONNECT) {
			channel->cut_off = -ESHUTDOWN;
			return -ESHUTDOWN;
		}
		chan_store(channel->seat->state, CHAN_SEAT_LOSSY);
	}
	do {
		uint64_t floor = chan_load(channel->header->floor);

		if (guard_hit(channel->guard) || !may_search_on(channel, &search))
			return -EIO;
		if (!find_section(channel, floor + channel->lines / 4, false, &section) &&
		    !find_section(channel, floor, true, &section))
			continue;
		go_to(channel, &section);
	} while (chan_lapped(channel, channel->pos) || channel->next < expected);
	channel->lost += channel->next - expected;
	channel->lost_before += channel->next - expected;
	channel->published = channel->pos;
	return 0;
}

int chan_look(struct vee_channel *channel, struct chan_view *ret_view)
{
	for (uint64_t n = 0; n <= channel->lines;) {
		enum chan_record record =
			chan_record_at(channel, channel->pos, channel->next, ret_view);

		if (chan_lapped(channel, channel->pos)) {
			int ret = resync(channel);

			if (ret < 0)
				return ret;
			continue;
		}
		if (record == CHAN_MESSAGE)
			return 0;
		if (record == CHAN_NOTHING)
			return 1;
		if (record == CHAN_DAMAGED)
			break;
		if (ret_view->epoch)
			channel->epoch = ret_view->epoch;
		channel->pos = ret_view->after;
		n++;
	}
	return -EIO;
}

static int refuse(const struct vee_channel *channel)
{
	if (channel->writer)
		return -EBADF;
	if (channel->forks != chan_forks)
		return -ECHILD;
	return channel->cut_off ? channel->cut_off : -EIO;
}

/* A message at channel->pos, after a wait if need be. */
static int next_message(struct vee_channel *channel, uint64_t deadline, struct chan_view *ret_view)
{
	int ret;

	channel->read_quick = 0;
	if (!chan_is_ours(channel, false) || channel->cut_off)
		return refuse(channel);
	while ((ret = chan_look(channel, ret_view)) == 1) {
		if (channel->poll)
			chan_poll_arm(channel);
		ret = chan_wait(channel, deadline);
		if (ret < 0)
			break;
	}
	return ret < 0 && guard_hit(channel->guard) ? -EIO : ret;
}

static void fill(const struct vee_channel *channel, const struct chan_view *view, uint64_t seq,
		 int64_t time, struct vee_channel_message *ret_message)
{
	*ret_message = (struct vee_channel_message){.data = view->data,
						    .size = view->size,
						    .sequence = seq,
						    .time_ns = time,
						    .epoch = channel->epoch};
}

ssize_t chan_read(struct vee_channel *channel, void *buf, size_t size,
		  struct vee_channel_message *ret_message, const struct timespec *timeout)
{
	uint64_t deadline = chan_deadline(timeout);
	struct vee_channel_message message;
	struct chan_view view, after;
	int ret;

	if (!chan_timeout_is_sound(timeout))
		return -EINVAL;
	channel->peeked = 0;
	do {
		ret = next_message(channel, deadline, &view);
		if (ret < 0)
			return ret;
		if (view.time)
			channel->time = view.time;
		fill(channel, &view, channel->next, channel->time, &message);
		message.data = buf;
		message.lost = channel->lost_before;
		if (view.size <= size)
			chan_copy_out(buf, view.data, view.size,
				      chan_load(channel->header->streamed));
	} while (chan_lapped(channel, channel->pos));
	if (ret_message)
		*ret_message = message;
	if (view.size > size)
		return -EMSGSIZE;
	channel->lost_before = 0;
	channel->received++;
	chan_advance(channel, view.after, channel->next + 1);
	if (channel->poll && chan_look(channel, &after) == 1)
		chan_poll_arm(channel);
	return guard_hit(channel->guard) ? -EIO : (ssize_t)view.size;
}

/* --- in place --- */

/* The messages from channel->pos on, as many as are there, without moving. */
static int view_batch(struct vee_channel *channel, struct vee_channel_message *ret_messages,
		      unsigned n)
{
	uint64_t pos = channel->pos, seq = channel->next;
	int64_t time = channel->time;
	struct chan_view view;
	unsigned i = 0;

	while (i < n) {
		enum chan_record record = chan_record_at(channel, pos, seq, &view);

		/* A new epoch is for the next batch. */
		if (record == CHAN_NO_MESSAGE && !view.epoch) {
			pos = view.after;
			continue;
		}
		if (record != CHAN_MESSAGE || chan_lapped(channel, pos))
			break;
		if (view.time)
			time = view.time;
		fill(channel, &view, seq, time, &ret_messages[i++]);
		pos = view.after;
		seq++;
	}
	channel->peeked = pos;
	channel->peeked_next = seq;
	channel->peeked_time = time;
	return i;
}

int chan_peek(struct vee_channel *channel, struct vee_channel_message *ret_messages, unsigned n,
	      const struct timespec *timeout)
{
	uint64_t deadline = chan_deadline(timeout);
	struct chan_view view;
	int ret;

	if (n == 0 || !chan_timeout_is_sound(timeout))
		return -EINVAL;
	if (n > INT32_MAX)
		n = INT32_MAX;
	do {
		channel->peeked = 0;
		ret = next_message(channel, deadline, &view);
		if (ret < 0)
			return ret;
		ret = view_batch(channel, ret_messages, n);
	} while (ret == 0);
	ret_messages[0].lost = channel->lost_before;
	return guard_hit(channel->guard) ? -EIO : ret;
}

/* How many of the batch, from the first on, floor has passed by now. */
static int count_lapped(struct vee_channel *channel)
{
	uint64_t floor = chan_load(channel->header->floor);
	struct chan_section section;
	uint64_t unsound = channel->peeked_next - channel->next;

	/* Exact only at the beginnings of sections: what lies between counts as lost. */
	if (find_section(channel, floor, false, &section) && section.seq < channel->peeked_next &&
	    section.seq > channel->next)
		unsound = section.seq - channel->next;
	return unsound;
}

int chan_release(struct vee_channel *channel)
{
	struct chan_view view;
	int unsound = 0;

	if (!chan_is_ours(channel, false))
		return refuse(channel);
	if (!channel->peeked)
		return -EINVAL;
	if (chan_lapped(channel, channel->pos))
		unsound = count_lapped(channel);
	channel->received += channel->peeked_next - channel->next - unsound;
	channel->lost += unsound;
	channel->lost_before = 0;
	channel->time = channel->peeked_time;
	chan_advance(channel, channel->peeked, channel->peeked_next);
	channel->peeked = 0;
	if (channel->poll && chan_look(channel, &view) == 1)
		chan_poll_arm(channel);
	return unsound;
}

/* --- where it starts --- */

/* Over messages, to that of sequence number seq, or to the end of all; *ret_last: the last before. */
static int walk_to(struct vee_channel *channel, uint64_t seq, struct chan_section *ret_last)
{
	struct chan_view view;

	while (channel->next < seq) {
		int ret = chan_look(channel, &view);

		if (ret)
			return ret < 0 ? ret : 0;
		*ret_last = (struct chan_section){channel->pos, channel->next, channel->time,
						  channel->epoch};
		if (chan_lapped(channel, channel->pos))
			continue;
		if (view.time)
			channel->time = view.time;
		channel->pos = view.after;
		channel->next++;
	}
	return 0;
}

static bool newest_before(struct vee_channel *channel, uint64_t seq)
{
	struct chan_section section, best = {.seq = 0};

	for (unsigned i = 0; i < CHAN_SECTIONS; i++)
		if (load_section(channel, i, &section) && section.seq <= seq &&
		    (section.seq > best.seq || (section.seq == best.seq && section.pos > best.pos)))
			best = section;
	if (best.seq)
		go_to(channel, &best);
	return best.seq;
}

/*
 * While a writer waits for room, what lies below intent is no place for another reliable reader. Without a writer it is: the next one
 * looks at all cursors after it has begun, CHAN_JOIN.
 */
static uint64_t least_to_join(const struct vee_channel *channel)
{
	if (channel->options.policy != VEE_CHANNEL_RELIABLE)
		return 0;
	/* Its last steps are to be seen: it may have passed us by before it ended. */
	if (load_acquire(channel->header->state) == CHAN_CLOSED || chan_writer_is_dead(channel))
		return load_acquire(channel->header->floor);
	return chan_load(channel->header->intent);
}

static int gone(struct vee_channel *channel)
{
	struct chan_section section = {.seq = 0};
	uint64_t last = chan_load(channel->header->seq);

	find_section(channel, least_to_join(channel), false, &section);
	if (section.seq > last)
		chan_errorf(
			"%s: message %llu is not there: none is kept, the next one will be %llu",
			channel->path, (unsigned long long)channel->options.sequence,
			(unsigned long long)last + 1);
	else
		chan_errorf(
			"%s: message %llu is not there: %llu to %llu are kept, the next one will be "
			"%llu",
			channel->path, (unsigned long long)channel->options.sequence,
			(unsigned long long)section.seq, (unsigned long long)last,
			(unsigned long long)last + 1);
	return -ERANGE;
}

static int find_start(struct vee_channel *channel)
{
	enum vee_channel_start start = channel->options.start;
	uint64_t want = channel->options.sequence;
	struct chan_section section, last = {.seq = 0};
	int ret;

	switch (start) {
	case VEE_CHANNEL_OLDEST:
		if (!find_section(channel, least_to_join(channel), false, &section))
			return -EAGAIN;
		go_to(channel, &section);
		return 0;
	case VEE_CHANNEL_SEQUENCE:
		if (!newest_before(channel, want))
			return gone(channel);
		ret = walk_to(channel, want, &last);
		if (ret < 0)
			return ret;
		/* Lapped on the way there: it may be the oldest that is kept, by now. */
		if (channel->next > want)
			return -EAGAIN;
		return channel->next == want && channel->pos >= least_to_join(channel) ?
			       0 :
			       gone(channel);
	default:
		/* What is written meanwhile is after now. */
		want = load_acquire(channel->header->seq) + 1;
		/* The newest entry may be that of the message that comes next: behind the last one. */
		if ((start != VEE_CHANNEL_LAST || !newest_before(channel, want - 1)) &&
		    !newest_before(channel, want))
			return -EAGAIN;
		ret = walk_to(channel, want, &last);
		if (ret == 0 && start == VEE_CHANNEL_LAST && last.seq)
			go_to(channel, &last);
		return ret;
	}
}

/* CHAN_JOIN: from here on the writer waits for us, if it is not past us already. */
static bool join(struct vee_channel *channel)
{
	struct chan_seat *seat = channel->seat;

	chan_store(seat->next, channel->next);
	__atomic_store_n(&seat->cursor, channel->pos, __ATOMIC_RELEASE);
	channel->published = channel->pos;
	if (channel->options.policy != VEE_CHANNEL_RELIABLE) {
		__atomic_store_n(&seat->state, CHAN_SEAT_LOSSY, __ATOMIC_RELEASE);
		return true;
	}
	__atomic_store_n(&seat->state, CHAN_SEAT_RELIABLE, __ATOMIC_RELEASE);
	__atomic_fetch_add(&channel->desks[0].desk->reliable, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return least_to_join(channel) <= channel->pos;
}

int chan_begin_reading(struct vee_channel *channel)
{
	struct search search = {0, 0};
	int ret;

	do {
		if (!may_search_on(channel, &search)) {
			chan_errorf("%s: damaged; remove it with 'vee chan rm'", channel->path);
			return -EPROTO;
		}
		/* A writer at full speed may overwrite a section while one looks for a place in it. */
		chan_store(channel->seat->state, CHAN_SEAT_LOSSY);
		ret = find_start(channel);
		if (guard_hit(channel->guard))
			return -EIO;
		if (ret == 0 && join(channel))
			break;
		/* A writer that waits for us where we are not any more. */
		chan_seat_turn(channel->seat);
	} while (ret == -EAGAIN || ret == 0);
	channel->lost = channel->lost_before = 0;
	if (channel->options.start == VEE_CHANNEL_NOW && chan_end(channel) < 0)
		channel->end_seen = chan_load(channel->header->epoch);
	return ret;
}
