/*
 * bench-chan-zmq - ZeroMQ over ipc://: PUSH and PULL for one reader, PUB and SUB for several; water marks of 64 MiB, 1,000 to 100,000
 * messages. The publisher waits for its subscribers (ZMQ_XPUB_NODROP), as PUSH does.
 */
#include "bench-chan.h"

#include <zmq.h>

enum {
	IN_FLIGHT = 64 << 20,
};

struct zmq_lane {
	char where[160];
	void *in, *out;
};

static int zmq_prepare(struct chan_lane *l)
{
	struct zmq_lane *z = calloc(1, sizeof(*z));

	l->state = z;
	if (!z)
		return chan_fail("calloc");
	snprintf(z->where, sizeof(z->where), "ipc://%s/lane%d", l->dir, l->number);
	l->may_lose = l->n_readers > 1;
	return 0;
}

static void *new_socket(const struct chan_lane *l, int type)
{
	static void *context; /* one a process, made after the fork */
	int mark = IN_FLIGHT / (int)l->size, yes = 1;
	void *s;

	if (!context)
		context = zmq_ctx_new();
	s = context ? zmq_socket(context, type) : NULL;
	if (!s)
		return NULL;
	mark = mark < 1000 ? 1000 : mark > 100000 ? 100000 : mark;
	zmq_setsockopt(s, ZMQ_SNDHWM, &mark, sizeof(mark));
	zmq_setsockopt(s, ZMQ_RCVHWM, &mark, sizeof(mark));
	if (type == ZMQ_PUB)
		zmq_setsockopt(s, ZMQ_XPUB_NODROP, &yes, sizeof(yes));
	if (type == ZMQ_SUB)
		zmq_setsockopt(s, ZMQ_SUBSCRIBE, "", 0);
	return s;
}

static int zmq_open_writer(struct chan_lane *l)
{
	struct zmq_lane *z = l->state;

	z->out = new_socket(l, l->n_readers > 1 ? ZMQ_PUB : ZMQ_PUSH);
	return z->out && zmq_bind(z->out, z->where) == 0 ? 0 : chan_fail("zmq_bind");
}

static int zmq_open_reader(struct chan_lane *l)
{
	struct zmq_lane *z = l->state;

	z->in = new_socket(l, l->n_readers > 1 ? ZMQ_SUB : ZMQ_PULL);
	return z->in && zmq_connect(z->in, z->where) == 0 ? 0 : chan_fail("zmq_connect");
}

static inline int zmq_write(struct chan_lane *l, const void *data, size_t size)
{
	const struct zmq_lane *z = l->state;

	return zmq_send(z->out, data, size, 0) < 0 ? -1 : 0;
}

static inline ssize_t zmq_read(struct chan_lane *l, void *buf, size_t size)
{
	const struct zmq_lane *z = l->state;

	return zmq_recv(z->in, buf, size, 0);
}

CHAN_STREAM_LOOPS(zmq)
CHAN_SLEEP_LOOPS(zmq)

/* No round trip spinning: where there are two cores, who spins keeps the library's own threads from running. */
static const struct chan_system zmq_system = {
	.name = "zmq",
	CHAN_ONE_WAY(zmq),
	CHAN_SLEEPS(zmq),
};

const struct chan_system *const chan_systems[] = {&zmq_system, NULL};
