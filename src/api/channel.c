/* channel.c - the public calls of vee/channel.h. */
#include "api/api.h"
#include "chan/fast.h"

#include <errno.h>
#include <pthread.h>

static void in_child(void)
{
	chan_forks++;
}

static void init(void)
{
	pthread_atfork(NULL, NULL, in_child);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

VEE_EXPORT struct vee_channel *vee_channel_create(const char *name,
						  const struct vee_channel_create_options *options)
{
	struct vee_channel *channel;

	pthread_once(&once, init);
	return api_result(chan_create(name, options, &channel)) < 0 ? NULL : channel;
}

VEE_EXPORT struct vee_channel *vee_channel_open(const char *name,
						const struct vee_channel_open_options *options)
{
	struct vee_channel *channel;

	pthread_once(&once, init);
	return api_result(chan_open(name, options, &channel)) < 0 ? NULL : channel;
}

static __attribute__((noinline)) int wake(struct vee_channel *channel)
{
	if (chan_is_wanted(channel))
		chan_wake(channel, channel->seq);
	return 0;
}

/* What takes time. */
static __attribute__((noinline)) int write_more(struct vee_channel *channel, const void *data,
						size_t size, const struct timespec *timeout)
{
	int ret = 0;

	if (unlikely(!chan_write_quickly(channel, data, size)))
		ret = (int)api_result(chan_write(channel, data, size, timeout));
	else if (unlikely(chan_may_be_wanted(channel)))
		wake(channel);
	/* Without a look at what went wrong, nothing goes quickly any more. */
	if (ret < 0)
		channel->quick = channel->quick_stamped = 0;
	else if (size < CHAN_COPY_BIG)
		chan_set_quick(channel);
	return ret;
}

/* What has a time, and is not long. */
static __attribute__((noinline)) int write_stamped(struct vee_channel *channel, const void *data,
						   size_t size, const struct timespec *timeout)
{
	if (unlikely(size >= CHAN_COPY_BIG) || unlikely(!chan_write_stamped(channel, data, size)))
		return write_more(channel, data, size, timeout);
	if (size <= CHAN_COPY_SMALL && channel->stamp_every > 1)
		chan_set_quick(channel);
	return unlikely(chan_may_be_wanted(channel)) ? wake(channel) : 0;
}

/* What it calls, it calls last: see chan_write_small(). */
static inline __attribute__((always_inline)) int write_timed(struct vee_channel *channel,
							     const void *data, size_t size,
							     const struct timespec *timeout)
{
	bool written = false;

	if (likely(size <= CHAN_LINE - 8))
		written = chan_write_small(channel, data, size, 1);
	else if (size <= CHAN_COPY_SMALL)
		written = chan_write_small(channel, data, size, 2);
	if (unlikely(!written))
		return write_stamped(channel, data, size, timeout);
	return unlikely(chan_may_be_wanted(channel)) ? wake(channel) : 0;
}

VEE_EXPORT int vee_channel_write(struct vee_channel *channel, const void *data, size_t size)
{
	return write_timed(channel, data, size, NULL);
}

VEE_EXPORT int vee_channel_timedwrite(struct vee_channel *channel, const void *data, size_t size,
				      const struct timespec *timeout)
{
	return write_timed(channel, data, size, timeout);
}

VEE_EXPORT void *vee_channel_reserve(struct vee_channel *channel, size_t size,
				     const struct timespec *timeout)
{
	intptr_t at = chan_reserve(channel, size, timeout);

	if (at < 0 && at > -4096) {
		errno = (int)-at;
		return NULL;
	}
	return (void *)at;
}

VEE_EXPORT int vee_channel_commit(struct vee_channel *channel, size_t size)
{
	return (int)api_result(chan_commit(channel, size));
}

VEE_EXPORT void vee_channel_abort(struct vee_channel *channel)
{
	channel->reserved = 0;
}

static __attribute__((noinline)) ssize_t read_more(struct vee_channel *channel, void *buf,
						   size_t size,
						   struct vee_channel_message *ret_message,
						   const struct timespec *timeout)
{
	ssize_t n = chan_read_quickly(channel, buf, size, ret_message);

	if (unlikely(n < 0))
		n = api_result(chan_read(channel, buf, size, ret_message, timeout));
	if (!ret_message && n >= 0)
		chan_set_read_quick(channel);
	return n;
}

static __attribute__((noinline)) ssize_t read_medium(struct vee_channel *channel, void *buf,
						     size_t size, const struct timespec *timeout)
{
	ssize_t n = chan_read_medium(channel, buf, size);

	return likely(n >= 0) ? n : read_more(channel, buf, size, NULL, timeout);
}

static inline __attribute__((always_inline)) ssize_t read_timed(
	struct vee_channel *channel, void *buf, size_t size,
	struct vee_channel_message *ret_message, const struct timespec *timeout)
{
	ssize_t n;

	if (unlikely(ret_message))
		return read_more(channel, buf, size, ret_message, timeout);
	n = chan_read_small(channel, buf, size);
	return likely(n >= 0) ? n : read_medium(channel, buf, size, timeout);
}

VEE_EXPORT ssize_t vee_channel_timedread(struct vee_channel *channel, void *buf, size_t size,
					 struct vee_channel_message *ret_message,
					 const struct timespec *timeout)
{
	return read_timed(channel, buf, size, ret_message, timeout);
}

VEE_EXPORT ssize_t vee_channel_read(struct vee_channel *channel, void *buf, size_t size,
				    struct vee_channel_message *ret_message)
{
	return read_timed(channel, buf, size, ret_message, NULL);
}

VEE_EXPORT int vee_channel_peek(struct vee_channel *channel,
				struct vee_channel_message *ret_messages, unsigned n,
				const struct timespec *timeout)
{
	return (int)api_result(chan_peek(channel, ret_messages, n, timeout));
}

VEE_EXPORT int vee_channel_release(struct vee_channel *channel)
{
	return (int)api_result(chan_release(channel));
}

VEE_EXPORT int vee_channel_poll_fd(struct vee_channel *channel)
{
	return (int)api_result(chan_poll_fd(channel));
}

VEE_EXPORT const void *vee_channel_map(struct vee_channel *channel, size_t *ret_size)
{
	if (channel->forks != chan_forks) {
		errno = ECHILD;
		return NULL;
	}
	*ret_size = channel->file_size;
	return channel->header;
}

VEE_EXPORT int vee_channel_stat(struct vee_channel *channel, struct vee_channel_stat *ret_stat)
{
	return (int)api_result(chan_stat(channel, ret_stat));
}

VEE_EXPORT int vee_channel_close(struct vee_channel *channel)
{
	if (channel)
		chan_close(channel);
	return 0;
}

VEE_EXPORT int vee_channel_remove(const char *name)
{
	return (int)api_result(chan_remove(name));
}

VEE_EXPORT const char *vee_channel_error(void)
{
	return chan_error;
}
