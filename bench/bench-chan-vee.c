/*
 * bench-chan-vee - vee's channel, by include/vee/channel.h alone
 *
 * vee: a reliable reader, the time of each message is read. vee-stamp64: the clock is read for every 64th. vee-lossy,
 * vee-lossy-stamp64: lossy readers. vee-in-place: reserve and commit, peek and release; its reader copies out, as the others do.
 */
#include "bench-chan.h"

#include <vee/channel.h>

enum {
	PEEK = 64, /* messages at once */
};

static const struct vee_variant {
	const char *name;
	enum vee_channel_policy policy;
	unsigned stamp_every;
} variants[] = {
	{"vee", VEE_CHANNEL_RELIABLE, 1},	   {"vee-stamp64", VEE_CHANNEL_RELIABLE, 64},
	{"vee-lossy", VEE_CHANNEL_LOSSY, 1},	   {"vee-lossy-stamp64", VEE_CHANNEL_LOSSY, 64},
	{"vee-in-place", VEE_CHANNEL_RELIABLE, 1},
};

struct vee_lane {
	const struct vee_variant *variant;
	char name[32];
	struct vee_channel *out, *in;
	struct vee_channel_message messages[PEEK];
	unsigned n_peeked, n_taken;
};

static const struct timespec no_time = {0, 0};

static int vee_prepare(struct chan_lane *l)
{
	struct vee_lane *v = calloc(1, sizeof(*v));

	l->state = v;
	if (!v)
		return chan_fail("calloc");
	for (size_t i = 0; i < CHAN_ARRAY_SIZE(variants); i++)
		if (strcmp(variants[i].name, l->system) == 0)
			v->variant = &variants[i];
	l->may_lose = v->variant->policy == VEE_CHANNEL_LOSSY;
	snprintf(v->name, sizeof(v->name), "lane%d", l->number);
	/* Names in a namespace of our own, which goes with the folder. */
	unsetenv("VEE_NS");
	return setenv("VEE_DIR", l->dir, 1) < 0 ? chan_fail("setenv") : 0;
}

static int vee_error(const char *call, const char *name)
{
	fprintf(stderr, "bench-chan: %s %s: %s: %s\n", call, name, strerror(errno),
		vee_channel_error());
	return -1;
}

static int vee_open_writer(struct chan_lane *l)
{
	struct vee_lane *v = l->state;
	struct vee_channel_create_options options = {
		.ring_size = CHAN_RING,
		.stamp_every = v->variant->stamp_every,
		.flags = VEE_CHANNEL_NEW,
	};

	v->out = vee_channel_create(v->name, &options);
	return v->out ? 0 : vee_error("vee_channel_create", v->name);
}

static int vee_open_reader(struct chan_lane *l)
{
	struct vee_lane *v = l->state;
	struct vee_channel_open_options options = {.policy = v->variant->policy};

	v->in = vee_channel_open(v->name, &options);
	return v->in ? 0 : vee_error("vee_channel_open", v->name);
}

static inline int vee_write(struct chan_lane *l, const void *data, size_t size)
{
	const struct vee_lane *v = l->state;

	return vee_channel_write(v->out, data, size);
}

static inline ssize_t vee_read(struct chan_lane *l, void *buf, size_t size)
{
	const struct vee_lane *v = l->state;

	return vee_channel_read(v->in, buf, size, NULL);
}

static inline ssize_t vee_poll(struct chan_lane *l, void *buf, size_t size)
{
	const struct vee_lane *v = l->state;
	ssize_t n = vee_channel_timedread(v->in, buf, size, NULL, &no_time);

	return n < 0 && errno == EAGAIN ? 0 : n;
}

CHAN_LOOPS(vee)
CHAN_SLEEP_LOOPS(vee)

static int vee_write_only(struct chan_run *r, struct chan_lane *l)
{
	return chan_write_only(r, l, vee_write);
}

/* Lossy ones, as the variant says: nobody waits for them. */
static int vee_hold_readers(struct chan_lane *l, int n)
{
	for (int i = 0; i < n; i++)
		if (vee_open_reader(l) < 0)
			return -1;
	return 0;
}

static int vee_hold_channels(struct chan_lane *l, int first, int n)
{
	struct vee_channel_create_options options = {.ring_size = 65536, .flags = VEE_CHANNEL_NEW};
	char name[32];

	(void)l;
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "idle%d", first + i);
		if (!vee_channel_create(name, &options))
			return vee_error("vee_channel_create", name);
	}
	return 0;
}

/* --- in place --- */

#define in_place_prepare     vee_prepare
#define in_place_open_writer vee_open_writer
#define in_place_open_reader vee_open_reader

static inline int in_place_write(struct chan_lane *l, const void *data, size_t size)
{
	const struct vee_lane *v = l->state;
	void *room = vee_channel_reserve(v->out, size, NULL);

	if (!room)
		return -1;
	memcpy(room, data, size);
	return vee_channel_commit(v->out, size);
}

/* The timeout NULL: for ever. */
static inline ssize_t in_place_take(struct chan_lane *l, void *buf, const struct timespec *timeout)
{
	struct vee_lane *v = l->state;
	const struct vee_channel_message *m;

	if (v->n_taken == v->n_peeked) {
		int n;

		if (v->n_peeked && vee_channel_release(v->in) != 0)
			return -1;
		v->n_peeked = v->n_taken = 0;
		n = vee_channel_peek(v->in, v->messages, PEEK, timeout);
		if (n < 0)
			return timeout && errno == EAGAIN ? 0 : -1;
		v->n_peeked = (unsigned)n;
	}
	m = &v->messages[v->n_taken++];
	memcpy(buf, m->data, m->size);
	return (ssize_t)m->size;
}

static inline ssize_t in_place_read(struct chan_lane *l, void *buf, size_t size)
{
	(void)size;
	return in_place_take(l, buf, NULL);
}

static inline ssize_t in_place_poll(struct chan_lane *l, void *buf, size_t size)
{
	(void)size;
	return in_place_take(l, buf, &no_time);
}

CHAN_LOOPS(in_place)

#define IDLE                                                            \
	.write_only = vee_write_only, .hold_readers = vee_hold_readers, \
	.hold_channels = vee_hold_channels

const struct chan_system vee_system = {.name = "vee", CHAN_SYSTEM(vee), CHAN_SLEEPS(vee)};
const struct chan_system vee_stamp64_system = {.name = "vee-stamp64",
					       CHAN_SYSTEM(vee),
					       CHAN_SLEEPS(vee)};
const struct chan_system vee_lossy_system = {.name = "vee-lossy",
					     CHAN_SYSTEM(vee),
					     CHAN_SLEEPS(vee),
					     IDLE};
const struct chan_system vee_lossy_stamp64_system = {.name = "vee-lossy-stamp64",
						     CHAN_SYSTEM(vee),
						     CHAN_SLEEPS(vee),
						     IDLE};
const struct chan_system vee_in_place_system = {.name = "vee-in-place", CHAN_SYSTEM(in_place)};
