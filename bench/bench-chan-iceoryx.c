/*
 * bench-chan-iceoryx - iceoryx 2, by its C binding; its daemon, iox-roudi, runs already
 *
 * The publisher waits for its subscribers. One reader of a stream polls, as is usual there; readers that are to sleep use a wait set.
 */
#include "bench-chan.h"

#include <iceoryx_binding_c/api.h>

enum {
	QUEUE = 256,
	QUEUE_LARGE = 64, /* the daemon has 200 chunks for messages of 64 KiB */
};

struct iox_lane {
	char name[32];
	iox_pub_storage_t pub_room;
	iox_sub_storage_t sub_room;
	iox_ws_storage_t set_room;
	iox_pub_t pub;
	iox_sub_t sub;
	iox_ws_t set;
};

static int iox_prepare(struct chan_lane *l)
{
	struct iox_lane *x = calloc(1, sizeof(*x));

	l->state = x;
	if (!x)
		return chan_fail("calloc");
	snprintf(x->name, sizeof(x->name), "lane%d-%d", l->number, (int)getpid());
	return 0;
}

static void name_process(char name[64], pid_t pid)
{
	snprintf(name, 64, "vee-bench-chan-%d", (int)pid);
}

/* Its library has a socket and a lock file per process, in /tmp. */
static void iox_forget(pid_t pid)
{
	char name[64], path[80];

	name_process(name, pid);
	snprintf(path, sizeof(path), "/tmp/%s", name);
	unlink(path);
	snprintf(path, sizeof(path), "/tmp/%s.lock", name);
	unlink(path);
}

/* One a process, made after the fork. */
static void begin(void)
{
	static bool begun;
	char name[64];

	if (begun)
		return;
	begun = true;
	name_process(name, getpid());
	iox_set_loglevel(Iceoryx_LogLevel_Error);
	iox_runtime_init(name);
}

static int iox_open_writer(struct chan_lane *l)
{
	struct iox_lane *x = l->state;
	iox_pub_options_t options;

	begin();
	iox_pub_options_init(&options);
	options.subscriberTooSlowPolicy = ConsumerTooSlowPolicy_WAIT_FOR_CONSUMER;
	x->pub = iox_pub_init(&x->pub_room, "vee-bench", x->name, "message", &options);
	return x->pub ? 0 : chan_fail("iox_pub_init");
}

static int iox_open_reader(struct chan_lane *l)
{
	struct iox_lane *x = l->state;
	iox_sub_options_t options;

	begin();
	iox_sub_options_init(&options);
	options.queueCapacity = l->size >= CHAN_SIZE_MAX ? QUEUE_LARGE : QUEUE;
	options.queueFullPolicy = QueueFullPolicy_BLOCK_PRODUCER;
	x->sub = iox_sub_init(&x->sub_room, "vee-bench", x->name, "message", &options);
	if (!x->sub)
		return chan_fail("iox_sub_init");
	if (!l->sleepy)
		return 0;
	x->set = iox_ws_init(&x->set_room);
	if (iox_ws_attach_subscriber_state(x->set, x->sub, SubscriberState_HAS_DATA, 1, NULL) !=
	    WaitSetResult_SUCCESS)
		return chan_fail("iox_ws_attach_subscriber_state");
	return 0;
}

static inline int iox_write(struct chan_lane *l, const void *data, size_t size)
{
	const struct iox_lane *x = l->state;
	enum iox_AllocationResult r;
	void *chunk;

	while ((r = iox_pub_loan_chunk(x->pub, &chunk, (uint32_t)size)) !=
	       AllocationResult_SUCCESS) {
		if (r != AllocationResult_RUNNING_OUT_OF_CHUNKS)
			return -1;
		sched_yield();
	}
	memcpy(chunk, data, size);
	iox_pub_publish_chunk(x->pub, chunk);
	return 0;
}

static inline ssize_t iox_poll(struct chan_lane *l, void *buf, size_t size)
{
	const struct iox_lane *x = l->state;
	const void *chunk;
	enum iox_ChunkReceiveResult r = iox_sub_take_chunk(x->sub, &chunk);

	if (r == ChunkReceiveResult_NO_CHUNK_AVAILABLE)
		return 0;
	if (r != ChunkReceiveResult_SUCCESS)
		return -1;
	memcpy(buf, chunk, size);
	iox_sub_release_chunk(x->sub, chunk);
	return (ssize_t)size;
}

static inline ssize_t iox_read(struct chan_lane *l, void *buf, size_t size)
{
	const struct iox_lane *x = l->state;
	iox_notification_info_t info;
	uint64_t missed;
	ssize_t n;

	while ((n = iox_poll(l, buf, size)) == 0) {
		if (x->set)
			(void)iox_ws_wait(x->set, &info, 1, &missed);
		else
			chan_pause();
	}
	return n;
}

CHAN_LOOPS(iox)
CHAN_SLEEP_LOOPS(iox)

static const struct chan_system iceoryx_system = {
	.name = "iceoryx",
	CHAN_SYSTEM(iox),
	CHAN_SLEEPS(iox),
	.says_goodbye = true,
	.forget = iox_forget,
};

const struct chan_system *const chan_systems[] = {&iceoryx_system, NULL};
