/* wait.c - readers that wait for a message, the writer that waits for room; who wakes whom; see chan.h. */
#include "chan/fast.h"

#include <errno.h>
#include <stdlib.h>

#define SPIN_DEFAULT_US 20
#define SPIN_LEAST_NS	2000u
#define SPIN_GOOD_NS	8000u
#define SPIN_FAILURES	3u
#define SPIN_SKIPS	16u
#define SPIN_LOOKS	128u
#define DISTANCE_NS	100000u
/* Giving the processor away; YIELD_LINES: to be read after a long time of that. */
#define YIELDS		 8u
#define YIELD_CROWDED_NS 2000u
#define YIELD_LONG_NS	 50000u
#define YIELD_LINES	 256u
#define YIELD_SKIPS	 4096u
/* A deadline nearer than the turns of a few others. */
#define YIELD_NEAR_NS 10000000ull
/* A doorbell that rang while its process still ends: another look follows soon. */
#define LOOK_FIRST_NS 200000ull
#define LOOK_LAST_NS  20000000ull
/* Whatever happens, nobody sleeps longer without a look. */
#define LOOK_NS 100000000ull
/* Without membarrier a wake-up may be missed. */
#define UNSURE_NS 1000000ull

bool chan_timeout_is_sound(const struct timespec *timeout)
{
	return !timeout ||
	       (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < 1000000000);
}

uint64_t chan_deadline(const struct timespec *timeout)
{
	if (!timeout)
		return UINT64_MAX;
	if (timeout->tv_sec == 0 && timeout->tv_nsec == 0)
		return 0;
	if (timeout->tv_sec > INT32_MAX)
		return UINT64_MAX;
	return os_monotonic_ns() + timeout->tv_sec * 1000000000ull + timeout->tv_nsec;
}

static uint64_t spin_most_ns(void)
{
	static int64_t most = -1;
	const char *text;

	if (chan_load(most) < 0) {
		text = getenv("VEE_SPIN");
		chan_store(most, os_processors_online() > 1 ?
					 (text ? strtoul(text, NULL, 10) : SPIN_DEFAULT_US) * 1000 :
					 0);
	}
	return chan_load(most);
}

/* Linux before 5.16, and sandboxes: then a death is noticed at the next look. */
static bool no_waitv;

/* --- the reader --- */

static void pause_for(unsigned pauses)
{
	for (unsigned i = 0; i < pauses; i++)
		cpu_relax();
}

/* At longer and longer intervals, without the clock. */
static bool spin_briefly(struct vee_channel *channel)
{
	chan_lag(&channel->lag, channel->pos, channel->lines, &channel->header->floor);
	for (unsigned i = 0; i < SPIN_LOOKS; i++) {
		if (chan_is_there(channel))
			return true;
		pause_for(i / 16);
	}
	return false;
}

/* Until there is something to read, or nobody else wants to run, or they had the processor for long. */
static bool yield_in_turns(struct vee_channel *channel, uint64_t deadline)
{
	struct chan_turns *turns = &channel->turns;

	turns->crowded = false;
	for (unsigned i = 0; i < YIELDS; i++) {
		uint64_t start = os_monotonic_ns(), took;

		if (deadline < start + YIELD_NEAR_NS)
			break;
		os_yield();
		took = os_monotonic_ns() - start;
		turns->crowded = took >= YIELD_CROWDED_NS;
		turns->long_away = took >= YIELD_LONG_NS;
		if (chan_is_there(channel))
			return true;
		if (!turns->crowded || turns->long_away)
			break;
	}
	return false;
}

static void judge_long_turn(struct chan_turns *turns, uint64_t pos)
{
	bool was_of_use = pos - turns->pos >= YIELD_LINES;

	turns->skips = was_of_use ? turns->skips / 2 : 2 * turns->skips + SPIN_SKIPS;
	if (turns->skips > YIELD_SKIPS)
		turns->skips = YIELD_SKIPS;
	turns->skip = was_of_use ? 0 : turns->skips;
}

/*
 * Lets the processor's other threads run, the writer or other readers among them: that spares a sleep and a wake-up, and there is
 * more to read at once. With nobody else there it costs little. Where others used it for long and there was little to read then, they
 * had nothing to do with this: then not again for a while, a longer one each time. Nor with a deadline that their turn may well outlast;
 * and, since a signal that comes meanwhile ends no wait, for one long turn at most.
 */
static bool give_way(struct vee_channel *channel, uint64_t deadline)
{
	struct chan_turns *turns = &channel->turns;
	bool found;

	if (turns->long_away)
		judge_long_turn(turns, channel->pos);
	turns->long_away = false;
	if (turns->skip) {
		turns->skip--;
		turns->crowded = false;
		return false;
	}
	turns->pos = channel->pos;
	found = yield_in_turns(channel, deadline);
	if (!turns->long_away)
		turns->skips /= 2;
	return found;
}

/*
 * Looks at the next message's word for a while, and gives way: first, if others wanted the processor the last time. After a few
 * failures it looks only now and then, to learn whether it pays again: it does if the wait is shorter than a sleep.
 */
static bool spin(struct vee_channel *channel, uint64_t deadline)
{
	struct chan_spin *habit = &channel->spin;
	uint64_t most = spin_most_ns(), start, now, budget = 4 * (habit->usual_ns + SPIN_LEAST_NS);
	bool crowded = channel->turns.crowded;

	if (crowded && give_way(channel, deadline))
		return true;
	if (most && spin_briefly(channel)) {
		habit->failures = 0;
		return true;
	}
	if (!crowded && give_way(channel, deadline))
		return true;
	if (habit->failures >= SPIN_FAILURES) {
		if (++habit->skipped % SPIN_SKIPS)
			return false;
		budget = most;
	}
	if (budget > most)
		budget = most;
	start = now = os_monotonic_ns();
	for (; now - start < budget; now = os_monotonic_ns()) {
		for (unsigned i = 0; i < 8; i++) {
			if (chan_is_there(channel)) {
				habit->usual_ns = (7 * habit->usual_ns + (now - start)) / 8;
				if (now - start < SPIN_GOOD_NS)
					habit->failures = 0;
				return true;
			}
			pause_for(SPIN_LOOKS / 16);
		}
	}
	habit->failures++;
	return false;
}

int chan_end(const struct vee_channel *channel)
{
	const struct chan_header *header = channel->header;
	uint32_t epoch = load_acquire(header->epoch);
	int end = 0;

	if (load_acquire(header->state) == CHAN_CLOSED)
		end = -EPIPE;
	else if (chan_writer_is_dead(channel))
		end = -EOWNERDEAD;
	if (channel->options.flags & VEE_CHANNEL_FOLLOW || epoch == channel->end_seen ||
	    epoch != load_acquire(header->epoch))
		end = 0;
	return end;
}

static void raise_to(uint64_t *field, uint64_t value)
{
	uint64_t old = chan_load(*field);

	while (old < value && !__atomic_compare_exchange_n(field, &old, value, true,
							   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		;
}

bool chan_want(struct vee_channel *channel, bool polls)
{
	struct chan_desk *desk = channel->desks[0].desk;

	/* Too high is wrong only if an own process has lied. */
	if (polls)
		raise_to(&desk->armed, channel->next);
	raise_to(&desk->wanted, channel->next);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !chan_load(channel->header->asymmetric) || os_membarrier() == 0;
}

/*
 * One sleep: until woken, the writer's end, or `until`. *ret_rang: the doorbell has rung, and it is not said yet that the writer is
 * dead.
 */
static int sleep_once(struct vee_channel *channel, uint32_t wake, uint64_t until, bool *ret_rang)
{
	struct chan_header *header = channel->header;
	uint32_t *bell =
		chan_doorbell_word(&header->doorbells[chan_load(header->doorbell) % CHAN_DOORBELLS],
				   header->libc_word);
	uint32_t value = load_acquire(*bell);
	struct os_futex list[2] = {{wake, (uintptr_t)&header->wake, OS_FUTEX_32, 0},
				   {value, (uintptr_t)bell, OS_FUTEX_32, 0}};
	uint64_t soon = os_monotonic_ns() + LOOK_LAST_NS;
	bool held = chan_doorbell_tid(value);
	int ret;

	*ret_rang = false;
	if (no_waitv)
		return os_futex_wait(&header->wake, wake, until < soon ? until : soon);
	/* One alone too: the other call does not go on after a handler with SA_RESTART. */
	ret = os_futex_waitv(list, held ? 2 : 1, until);
	if (ret == -ENOSYS || ret == -EPERM || ret == -EINVAL)
		no_waitv = true;
	if (held && chan_doorbell_tid(load_acquire(*bell)) == 0) {
		/* The kernel has woken one of us. */
		*ret_rang = true;
		os_futex_wake(bell, INT32_MAX);
	}
	return ret;
}

int chan_wait(struct vee_channel *channel, uint64_t deadline)
{
	uint64_t look_ns = LOOK_NS;
	bool rang;

	if (deadline && spin(channel, deadline))
		return 0;
	if (channel->published != channel->pos)
		chan_publish_cursor(channel);
	for (;;) {
		uint32_t wake = load_acquire(channel->header->wake); /* CHAN_WAKE */
		bool sure = deadline == 0 || chan_want(channel, false);
		uint64_t now, until;
		int ret = chan_end(channel);

		if (chan_is_there(channel))
			return 0;
		if (guard_hit(channel->guard))
			return -EIO;
		if (ret < 0)
			return ret;
		if (deadline == 0)
			return -EAGAIN;
		now = os_monotonic_ns();
		if (now >= deadline)
			return -EAGAIN;
		until = now + (sure ? look_ns : UNSURE_NS);
		if (until > deadline)
			until = deadline;
		ret = sleep_once(channel, wake, until, &rang);
		if (chan_is_there(channel))
			return 0;
		if (ret == -EINTR)
			return ret;
		/* It rang, and the writer is not dead yet. */
		if (rang)
			look_ns = LOOK_FIRST_NS;
		else if (look_ns < LOOK_NS)
			look_ns *= 2;
	}
}

void chan_publish_cursor(struct vee_channel *channel)
{
	struct chan_seat *seat = channel->seat;
	uint64_t wait_pos;

	chan_store(seat->next, channel->next);
	chan_store(seat->received, channel->received);
	chan_store(seat->lost, channel->lost);
	/* Whatever was read has been read. */
	__atomic_store_n(&seat->cursor, channel->pos, __ATOMIC_RELEASE);
	/* Behind the cursor: CHAN_ROOM. */
	__atomic_store_n(&seat->turns, seat->turns + 1, __ATOMIC_RELEASE);
	channel->published = channel->pos;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* CHAN_ROOM */
	wait_pos = chan_load(channel->header->wait_pos);
	/* All: who may read the desk may sleep there too. */
	if (wait_pos && channel->pos >= wait_pos)
		os_futex_wake(&seat->turns, INT32_MAX);
}

/* --- the writer --- */

static void keep_doorbell(struct vee_channel *channel)
{
	struct chan_header *header = channel->header;
	struct chan_doorbell *doorbell = &header->doorbells[header->doorbell % CHAN_DOORBELLS];
	uint32_t *word = chan_doorbell_word(doorbell, header->libc_word);

	/* The thread that opened the channel has ended. */
	if (unlikely(!chan_doorbell_tid(load_acquire(*word))))
		channel->doorbell = chan_doorbell_take(doorbell);
}

void chan_wake(struct vee_channel *channel, uint64_t seq)
{
	struct chan_header *header = channel->header;

	keep_doorbell(channel);
	if (chan_load(channel->hall->joined) != channel->joined_seen)
		chan_find_desks(channel);
	__atomic_store_n(&header->wake, header->wake + 1, __ATOMIC_SEQ_CST); /* CHAN_WAKE */
	os_futex_wake(&header->wake, INT32_MAX);
	channel->owed = false;
	for (unsigned i = 0; i < channel->n_desks; i++) {
		struct chan_desk_map *map = &channel->desks[i];

		if (map->owed || chan_load(map->desk->armed) >= seq)
			chan_poll_ring(channel, map, seq);
		channel->owed |= map->owed;
	}
	chan_set_joined(channel);
}

struct blocker {
	const struct chan_desk_map *map;
	struct chan_seat *seat;
	uint32_t turns; /* as it was when it was looked at */
	uint64_t stall_ns;
};

/* How long it may hold the writer up, ns. */
static uint64_t patience(const struct vee_channel *channel, const struct chan_seat *seat)
{
	uint64_t own = UINT64_MAX;

	if (chan_load(seat->stall) != VEE_CHANNEL_STALL_WAIT)
		own = chan_load(seat->stall_ns);
	if (channel->stall_ns > 0 && own > (uint64_t)channel->stall_ns)
		own = channel->stall_ns;
	return own;
}

/* The reliable reader of the desk that is below pos, but not below what is overwritten already. */
static bool find_blocker(const struct vee_channel *channel, const struct chan_desk_map *map,
			 uint64_t pos, uint64_t waited_ns, struct blocker *ret_blocker)
{
	uint32_t used = chan_load(map->desk->seats_used);
	uint64_t floor = channel->header->floor;

	if (!chan_load(map->desk->reliable) || !chan_may_be_reliable(channel->header, map->uid))
		return false;
	if (used > CHAN_SEATS)
		used = CHAN_SEATS;
	for (uint32_t i = 0; i < used; i++) {
		struct chan_seat *seat = chan_seat_at(map->desk, i);
		uint32_t turns = load_acquire(seat->turns);
		uint64_t cursor = load_acquire(seat->cursor);

		if (load_acquire(seat->state) != CHAN_SEAT_RELIABLE || cursor < floor ||
		    cursor >= pos || patience(channel, seat) <= waited_ns)
			continue;
		if (chan_seat_is_dead(map, seat, channel->header->libc_word))
			continue;
		*ret_blocker = (struct blocker){map, seat, turns, patience(channel, seat)};
		return true;
	}
	return false;
}

static bool find_any(struct vee_channel *channel, uint64_t pos, uint64_t waited_ns,
		     struct blocker *ret_blocker)
{
	if (chan_load(channel->hall->joined) != channel->joined_seen ||
	    guard_hit(channel->hall_guard))
		chan_find_desks(channel);
	for (unsigned i = 0; i < channel->n_desks; i++)
		if (find_blocker(channel, &channel->desks[i], pos, waited_ns, ret_blocker))
			return true;
	return false;
}

static int sleep_on(const struct vee_channel *channel, const struct blocker *blocker,
		    uint64_t until)
{
	uint32_t *bell = chan_doorbell_word(&blocker->seat->doorbell, channel->header->libc_word);
	uint32_t value = load_acquire(*bell);
	struct os_futex list[2] = {
		{blocker->turns, (uintptr_t)&blocker->seat->turns, OS_FUTEX_32, 0},
		{value, (uintptr_t)bell, OS_FUTEX_32, 0}};
	uint64_t soon = os_monotonic_ns() + LOOK_FIRST_NS;
	bool held = chan_doorbell_tid(value);

	if (!no_waitv) {
		int ret = os_futex_waitv(list, held ? 2 : 1, held || until < soon ? until : soon);

		if (ret != -ENOSYS && ret != -EPERM && ret != -EINVAL)
			return ret;
		no_waitv = true;
	}
	return os_futex_wait(&blocker->seat->turns, blocker->turns, until < soon ? until : soon);
}

/*
 * A writer that goes on as soon as it may comes right behind the reader, and takes lines from its cache: see lag.h. It lets the
 * reader get ahead a little, who is quick; not one who is slow.
 */
static void keep_distance(struct vee_channel *channel, uint64_t pos, uint64_t deadline)
{
	uint64_t until = os_monotonic_ns() + DISTANCE_NS;
	struct blocker blocker;

	if (until > deadline)
		until = deadline;
	chan_store(channel->header->wait_pos, pos);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* CHAN_ROOM */
	while (os_monotonic_ns() < until && find_any(channel, pos, 0, &blocker))
		for (unsigned i = 0; i < 64 && chan_load(blocker.seat->turns) == blocker.turns; i++)
			cpu_relax();
}

/* Looks for a while before it sleeps: a reader that is at work is about to move. */
static bool spin_for_room(struct vee_channel *channel, uint64_t pos, uint64_t deadline)
{
	uint64_t start = os_monotonic_ns(), most = spin_most_ns();
	struct blocker blocker;

	while (find_any(channel, pos, 0, &blocker)) {
		if (os_monotonic_ns() - start >= most)
			return false;
		for (unsigned i = 0; i < 64 && chan_load(blocker.seat->turns) == blocker.turns; i++)
			cpu_relax();
	}
	keep_distance(channel, pos + channel->lines / 4, deadline);
	return true;
}

int chan_wait_for_room(struct vee_channel *channel, uint64_t pos, uint64_t deadline)
{
	struct chan_header *header = channel->header;
	struct blocker blocker;
	uint64_t start, now;
	int ret = 0;

	keep_doorbell(channel);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* CHAN_JOIN */
	chan_find_desks_of_others(channel);
	if (likely(!find_any(channel, pos, 0, &blocker)))
		return 0;
	chan_store(header->wait_pos, pos);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* CHAN_ROOM */
	/* A writer that gave up and comes again is held up since the first time. */
	if (channel->held_up_at != pos) {
		channel->held_up_at = pos;
		channel->held_up_ns = os_monotonic_ns();
	}
	start = channel->held_up_ns;
	if (deadline && spin_for_room(channel, pos, deadline))
		goto out;
	for (;;) {
		uint64_t until;

		now = os_monotonic_ns();
		if (!find_any(channel, pos, now - start, &blocker))
			break;
		if (now >= deadline) {
			ret = -EAGAIN;
			break;
		}
		until = now + LOOK_NS;
		if (blocker.stall_ns < LOOK_NS * 1000000 && until > start + blocker.stall_ns)
			until = start + blocker.stall_ns;
		ret = sleep_on(channel, &blocker, until < deadline ? until : deadline);
		if (ret == -EINTR)
			break;
		ret = 0;
	}
out:
	/* A reader that gets there says so to one that will come again, too. */
	if (ret == 0)
		chan_store(header->wait_pos, 0);
	return ret;
}
