/* owner.c - doorbells of writers and readers, and who is dead; see chan.h. */
#include "arena/arena.h"
#include "base/os.h"
#include "chan/fast.h"
#include "ipc/proc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

/* The mutex's word, of which the kernel writes the bits when the owner dies (<linux/futex.h>). */
#define DOORBELL_WAITERS 0x80000000u
#define DOORBELL_RANG	 0x40000000u
#define DOORBELL_TID	 0x3fffffffu

void chan_owner_self(struct chan_owner *ret_owner)
{
	proc_self(&ret_owner->pid, &ret_owner->start, &ret_owner->pid_ns);
	memcpy(&ret_owner->image, (const void *)getauxval(AT_RANDOM), sizeof(ret_owner->image));
}

void chan_doorbell_init(struct chan_doorbell *doorbell)
{
	struct arena_lock pattern;

	arena_lock_init(&pattern);
	memset(doorbell, 0, sizeof(*doorbell));
	memcpy(&doorbell->mutex, &pattern.mutex, sizeof(doorbell->mutex));
}

/* Of a dead thread's robust mutexes the kernel looks at 2,048; the program has its own. Without a doorbell a death is seen at the next look. */
#define DOORBELLS_MOST 1024u

static VEE_TLS uint32_t held;

uint32_t chan_doorbell_take(struct chan_doorbell *doorbell)
{
	int error = held < DOORBELLS_MOST ? pthread_mutex_trylock(&doorbell->mutex) : EAGAIN;

	if (error == EOWNERDEAD)
		error = pthread_mutex_consistent(&doorbell->mutex);
	if (error)
		return 0;
	held++;
	/* Who listens may have no right to write: the kernel is told beforehand that somebody does. */
	__atomic_fetch_or(arena_mutex_word(&doorbell->mutex), DOORBELL_WAITERS, __ATOMIC_ACQ_REL);
	return os_gettid();
}

bool chan_doorbell_give(struct chan_doorbell *doorbell, uint32_t tid)
{
	uint32_t holder = chan_doorbell_tid(load_acquire(*arena_mutex_word(&doorbell->mutex)));

	if (holder == tid && tid == (uint32_t)os_gettid()) {
		pthread_mutex_unlock(&doorbell->mutex);
		held--;
		return true;
	}
	return holder != tid;
}

bool chan_doorbell_is_left_here(const struct chan_doorbell *doorbell)
{
	uint32_t holder = chan_doorbell_tid(
		load_acquire(*arena_mutex_word((pthread_mutex_t *)&doorbell->mutex)));
	struct stat st;
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/task/%u", holder);
	return holder && os_stat(path, &st) == 0;
}

uint32_t chan_libc_word(void)
{
	struct arena_lock pattern;

	return (char *)arena_mutex_word(&pattern.mutex) - (char *)&pattern.mutex;
}

uint32_t *chan_doorbell_word(const struct chan_doorbell *doorbell, uint32_t libc_word)
{
	return (uint32_t *)((char *)doorbell + libc_word % sizeof(*doorbell) / 4 * 4);
}

uint32_t chan_doorbell_tid(uint32_t value)
{
	return value & DOORBELL_RANG ? 0 : value & DOORBELL_TID;
}

/* A start of 0 is not known: without a descriptor /proc does not tell even one's own. */
static bool is_same(const struct chan_owner *a, const struct chan_owner *b)
{
	return a->pid == b->pid && (a->start == b->start || !a->start || !b->start) &&
	       a->pid_ns == b->pid_ns && a->image == b->image;
}

static bool is_dead(const struct chan_owner *owner, const struct chan_owner *self, uint64_t ino)
{
	bool exited;

	if (proc_pid_is_dead(owner->pid, owner->start, owner->pid_ns, &exited))
		return true;
	if (owner->pid_ns != self->pid_ns)
		return false;
	/* This process, before an exec. */
	if (owner->pid == self->pid)
		return true;
	return !exited && !proc_maps_file(owner->pid, ino);
}

/* Who walks along the seats meets the same one again and again. */
#define ALIVE_FOR_NS 100000u

bool chan_owner_is_dead(const struct chan_owner *owner, uint64_t ino)
{
	static VEE_TLS struct chan_owner alive;
	static VEE_TLS uint64_t alive_ino, alive_ns;
	struct chan_owner self;

	if (is_same(owner, &alive) && alive_ino == ino &&
	    os_monotonic_ns() - alive_ns < ALIVE_FOR_NS)
		return false;
	chan_owner_self(&self);
	if (!is_same(owner, &self) && is_dead(owner, &self, ino))
		return true;
	alive = *owner;
	alive_ino = ino;
	alive_ns = os_monotonic_ns();
	return false;
}

bool chan_writer_is_dead(const struct vee_channel *channel)
{
	const struct chan_header *header = channel->header;
	uint32_t number = chan_load(header->doorbell) % CHAN_DOORBELLS;
	const uint32_t *word = chan_doorbell_word(&header->doorbells[number], header->libc_word);
	struct chan_owner owner;

	if (chan_doorbell_tid(load_acquire(*word)))
		return false;
	if (chan_poll_saw_death(channel))
		return true;
	owner = (struct chan_owner){chan_load(header->pid), chan_load(header->start),
				    chan_load(header->pid_ns), chan_load(header->image)};
	return chan_owner_is_dead(&owner, channel->ino);
}
