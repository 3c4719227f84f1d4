/*
 * bench-chan-nng - nng over ipc://: a pair for one reader, pub and sub for several; buffers as large as it allows, 8192 messages.
 * A publisher of nng does not wait: what its subscribers lose is not counted.
 */
#include "bench-chan.h"

#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>

enum {
	BUFFER = 8192,
	IN_FLIGHT = 64 << 20,
};

struct nng_lane {
	char where[160];
	nng_socket in, out;
};

static int nng_prepare(struct chan_lane *l)
{
	struct nng_lane *g = calloc(1, sizeof(*g));

	l->state = g;
	if (!g)
		return chan_fail("calloc");
	snprintf(g->where, sizeof(g->where), "ipc://%s/lane%d", l->dir, l->number);
	l->may_lose = l->n_readers > 1;
	return 0;
}

static int nng_said(const char *call, int error)
{
	if (error)
		fprintf(stderr, "bench-chan: %s: %s\n", call, nng_strerror(error));
	return error ? -1 : 0;
}

static void set_buffers(const struct chan_lane *l, nng_socket s)
{
	int n = (int)(IN_FLIGHT / l->size);

	n = n > BUFFER ? BUFFER : n;
	nng_socket_set_int(s, NNG_OPT_SENDBUF, n);
	nng_socket_set_int(s, NNG_OPT_RECVBUF, n);
	nng_socket_set_size(s, NNG_OPT_RECVMAXSZ, 0);
}

static int nng_open_writer(struct chan_lane *l)
{
	struct nng_lane *g = l->state;
	int error = l->n_readers > 1 ? nng_pub0_open(&g->out) : nng_pair0_open(&g->out);

	if (error)
		return nng_said("open", error);
	set_buffers(l, g->out);
	return nng_said("nng_listen", nng_listen(g->out, g->where, NULL, 0));
}

static int nng_open_reader(struct chan_lane *l)
{
	struct nng_lane *g = l->state;
	bool many = l->n_readers > 1;
	int error = many ? nng_sub0_open(&g->in) : nng_pair0_open(&g->in);

	if (error)
		return nng_said("open", error);
	set_buffers(l, g->in);
	if (many)
		error = nng_socket_set(g->in, NNG_OPT_SUB_SUBSCRIBE, "", 0);
	return nng_said("nng_dial", error ? error : nng_dial(g->in, g->where, NULL, 0));
}

static inline int nng_write(struct chan_lane *l, const void *data, size_t size)
{
	const struct nng_lane *g = l->state;

	return nng_said("nng_send", nng_send(g->out, (void *)(uintptr_t)data, size, 0));
}

static inline ssize_t nng_read(struct chan_lane *l, void *buf, size_t size)
{
	const struct nng_lane *g = l->state;
	int error = nng_recv(g->in, buf, &size, 0);

	return error ? nng_said("nng_recv", error) : (ssize_t)size;
}

CHAN_STREAM_LOOPS(nng)
CHAN_SLEEP_LOOPS(nng)

/* No round trip spinning: where there are two cores, who spins keeps the library's own threads from running. */
static const struct chan_system nng_system = {
	.name = "nng",
	CHAN_ONE_WAY(nng),
	CHAN_SLEEPS(nng),
};

const struct chan_system *const chan_systems[] = {&nng_system, NULL};
