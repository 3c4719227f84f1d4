/*
 * chan-reader.c - `vee chan read`: from the channel to standard output.
 *
 * What a caller sees: like cat of a FIFO. It waits for the channel, and for somebody who writes it; it ends when that one does.
 *
 *   the channel                   from, if nothing is said    at its end
 *   is not there                  the oldest message          0; 1 if the writer has died
 *   is there, somebody writes     now, or, if that one was    the same
 *                                 started after us, its first
 *   is there, nobody writes       now; waits for a writer     the same, of that writer
 *
 * So a reader that was started before a writer misses nothing of it, be it that its start took longer. With --from
 * oldest, last or a number, a channel that nobody writes is read to its end. With --follow no end is one. Whoever waits for a
 * writer and finds that the channel was removed goes on with the next one of that name, from its oldest message.
 *
 * How it works: reads until there is nothing, lets the output go, then sleeps on the channel's descriptor and on its file.
 */
#include "cli/chan-reader.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAP_NS	  100000000 /* between two looks at what can't be watched */
#define BUF_LEAST (64u << 10)
#define ELDER_S	  1 /* who was started longer ago may have been a shell, which has become us now */
#define TAKES_MS  100 /* to begin or end writing */

/* In the place of an exit status: it is not over. */
#define GO_ON (-1)

/* --- waiting --- */

/* Who read our output has gone: so do we, as by the signal. */
static int output_failed(int error)
{
	if (error == -EPIPE)
		raise(SIGPIPE);
	else if (error != -EINTR)
		cli_error("standard output: %s", strerror(-error));
	return CLI_FAILED;
}

static int64_t deadline_of(struct reader *reader)
{
	if (reader->timeout_ns >= 0 && reader->fresh)
		reader->deadline = wait_now_ns() + reader->timeout_ns;
	reader->fresh = false;
	return reader->deadline;
}

/* There is nothing to read: lets the output go, and sleeps, until something happens to the file too. */
static int sleep_on(struct reader *reader, int fd, bool nap)
{
	int64_t deadline = deadline_of(reader), until = deadline;
	int ret = printer_flush(&reader->printer);

	if (ret)
		return output_failed(ret);
	if (nap && wait_now_ns() + NAP_NS < deadline)
		until = wait_now_ns() + NAP_NS;
	ret = wait_for(fd, reader->watch, true, until);
	if (ret == 0 || ret == WAIT_OTHER_FD || (ret == -ETIMEDOUT && until != deadline)) {
		reader->doubts |= ret != 0;
		return GO_ON;
	}
	if (ret != -ETIMEDOUT)
		return output_failed(ret);
	cli_error("%s: time is up", reader->name);
	return CLI_WOULD_WAIT;
}

/* --- the channel's file --- */

static void unwatch(struct reader *reader)
{
	if (reader->watch >= 0)
		close(reader->watch);
	reader->watch = -1;
}

/* Anew: what happened before does not count. To be called before one looks. */
static void watch(struct reader *reader)
{
	char path[CHAN_PATH_SIZE];

	unwatch(reader);
	if (!chan_path(reader->name, path, sizeof(path)))
		reader->watch = wait_watch(path);
}

/* Returns 0 or an errno. */
static int try_open(struct reader *reader)
{
	reader->channel = vee_channel_open(reader->name, &reader->options);
	return reader->channel ? 0 : errno;
}

/* Until it is there, or the deadline. Returns 0, an errno or, in *ret_status, an exit status. */
static int await_channel(struct reader *reader, int *ret_status)
{
	char path[CHAN_PATH_SIZE];
	int error = ENOENT, gate = -1;

	if (!chan_path(reader->name, path, sizeof(path)))
		gate = gate_wait(path);
	while (error == ENOENT && *ret_status == GO_ON) {
		watch(reader);
		error = try_open(reader);
		if (error == ENOENT)
			*ret_status = sleep_on(reader, -1, reader->watch < 0);
	}
	if (gate >= 0)
		close(gate);
	return error;
}

/* When we were started, in clock ticks since boot, as the start of a writer is given. */
static uint64_t own_start(void)
{
	uint64_t a_second = (uint64_t)sysconf(_SC_CLK_TCK), recent;
	struct chan_owner self;
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	recent = (uint64_t)(now.tv_sec - ELDER_S) * a_second;
	chan_owner_self(&self);
	return self.start > recent ? self.start : recent;
}

/* The epoch of a writer that was started after us; 0: it was not. */
static uint32_t younger_epoch(const struct reader *reader)
{
	const struct chan_header *header = reader->channel->header;
	const struct timespec nap = {.tv_nsec = 1000000};
	uint64_t ours = own_start();
	struct chan_owner owner;

	for (unsigned i = 0; i < TAKES_MS; i++) {
		owner.pid = __atomic_load_n(&header->pid, __ATOMIC_RELAXED);
		owner.start = __atomic_load_n(&header->start, __ATOMIC_RELAXED);
		owner.pid_ns = __atomic_load_n(&header->pid_ns, __ATOMIC_RELAXED);
		/* In one tick, which is 10 ms, numbers tell who came first. */
		if (owner.start < ours || (owner.start == ours && owner.pid < getpid()))
			return 0;
		/* Who has closed it but maps it is about to begin: that epoch is of the one before. */
		if (load_acquire(header->state) == CHAN_WRITTEN ||
		    chan_owner_is_dead(&owner, reader->channel->ino))
			return load_acquire(header->epoch);
		nanosleep(&nap, NULL);
	}
	return 0;
}

/* It is open from now on. If its writer was started after us, all it has written is for us too. */
static int open_earlier(struct reader *reader)
{
	uint32_t epoch = younger_epoch(reader);

	if (!epoch)
		return 0;
	vee_channel_close(reader->channel);
	reader->epoch_least = epoch;
	reader->from_first = epoch == 1;
	reader->options.start = VEE_CHANNEL_OLDEST;
	return try_open(reader);
}

/* Opens the channel as soon as it is there. Returns GO_ON or an exit status. */
static int open_channel(struct reader *reader)
{
	int status = GO_ON, error = try_open(reader);

	if (!error && !reader->from_said)
		error = open_earlier(reader);
	if (error == ENOENT && !reader->no_wait) {
		if (!reader->from_said)
			reader->options.start = VEE_CHANNEL_OLDEST;
		reader->from_first = reader->options.start == VEE_CHANNEL_OLDEST;
		error = await_channel(reader, &status);
	}
	unwatch(reader);
	reader->doubts = true;
	return error && status == GO_ON ? cmd_chan_failed() : status;
}

static bool name_is_anothers(const struct reader *reader)
{
	struct stat st;

	return stat(reader->channel->path, &st) || st.st_ino != reader->channel->ino;
}

/* Nobody writes it, and all of it was read. */
static bool is_over(const struct reader *reader)
{
	struct vee_channel_stat stat;

	return !vee_channel_stat(reader->channel, &stat) && !stat.writer_pid &&
	       stat.written < stat.next;
}

static int open_another(struct reader *reader)
{
	vee_channel_close(reader->channel);
	reader->no_wait = false;
	reader->from_said = true;
	reader->from_first = true;
	reader->epoch_least = 0;
	reader->options.start = VEE_CHANNEL_OLDEST;
	return open_channel(reader);
}

/*
 * Until there is something to read, an end, or reason to doubt that this is still the channel of that name. If it is not, nobody
 * new will write it; who does is read to the end.
 */
static int sleep_on_channel(struct reader *reader)
{
	bool removed = false;
	int fd;

	if (reader->doubts) {
		watch(reader);
		removed = name_is_anothers(reader);
		if (removed && is_over(reader))
			return open_another(reader);
		reader->doubts = removed;
	}
	fd = vee_channel_poll_fd(reader->channel);
	if (fd >= 0)
		return sleep_on(reader, fd, removed || reader->watch < 0);
	cli_error("%s: can't wait for it: %s", reader->name, strerror(errno));
	return CLI_FAILED;
}

/* --- messages --- */

static void say_died(const struct reader *reader)
{
	struct chan_report report;

	if (name_is_anothers(reader) || chan_report(reader->name, &report) < 0) {
		cli_error("%s: its writer died", reader->name);
		return;
	}
	cli_error("%s: its writer (pid %d) died", reader->name, report.writer_pid);
	chan_report_free(&report);
}

static int make_room(struct reader *reader, size_t size)
{
	char *buf = realloc(reader->buf, size);

	if (!buf) {
		cli_error("out of memory");
		return CLI_FAILED;
	}
	reader->buf = buf;
	reader->size = size;
	return GO_ON;
}

/* A read failed. Returns GO_ON or an exit status. */
static int no_message(struct reader *reader, int error, size_t size)
{
	switch (error) {
	case EINTR:
		return GO_ON;
	case EAGAIN:
		return sleep_on_channel(reader);
	case EMSGSIZE:
		return make_room(reader, size + size / 2);
	case EPIPE:
		return CLI_OK;
	case EOWNERDEAD:
		say_died(reader);
		return CLI_FAILED;
	case ESHUTDOWN:
		cli_error("%s: cut off: it held the writer up for too long", reader->name);
		return CLI_FAILED;
	case EIO:
		cli_error("%s: somebody has truncated or damaged the channel's file", reader->name);
		return CLI_FAILED;
	default:
		cli_error("%s: %s", reader->name, strerror(error));
		return CLI_FAILED;
	}
}

static int read_message(struct reader *reader)
{
	static const struct timespec at_once;
	struct vee_channel_message message = {.size = 0};
	ssize_t n = vee_channel_timedread(reader->channel, reader->buf, reader->size, &message,
					  &at_once);
	int ret;

	if (n < 0)
		return no_message(reader, errno, message.size);
	if (message.epoch < reader->epoch_least)
		return GO_ON;
	if (reader->from_first && message.lost < message.sequence - 1)
		message.lost = message.sequence - 1; /* the writer did not wait for us */
	reader->from_first = false;
	reader->fresh = true;
	reader->received++;
	reader->lost += message.lost;
	ret = printer_put(&reader->printer, &message, reader->buf);
	if (ret)
		return output_failed(ret);
	return reader->received == reader->count ? CLI_OK : GO_ON;
}

static void tell_lost(const struct reader *reader)
{
	uint64_t all = reader->received + reader->lost;

	if (reader->tell_lost)
		fprintf(stderr, "lost: %" PRIu64 " of %" PRIu64 "\n", reader->lost, all);
	else if (reader->lost)
		cli_error("%s: %" PRIu64 " of %" PRIu64 " messages were lost%s", reader->name,
			  reader->lost, all,
			  reader->options.policy == VEE_CHANNEL_RELIABLE ?
				  ": it held the writer up for too long" :
				  "; with --reliable the writer waits");
}

int reader_run(struct reader *reader)
{
	int status, ret;

	wait_catch_signals();
	reader->deadline = INT64_MAX;
	reader->fresh = true;
	reader->watch = -1;
	status = make_room(reader, BUF_LEAST);
	if (status == GO_ON)
		status = open_channel(reader);
	while (status == GO_ON && !wait_caught())
		status = read_message(reader);
	ret = printer_flush(&reader->printer);
	if (ret)
		status = output_failed(ret);
	if (reader->channel)
		tell_lost(reader);
	vee_channel_close(reader->channel);
	unwatch(reader);
	free(reader->printer.buf);
	free(reader->buf);
	return wait_end(status == GO_ON ? CLI_FAILED : status);
}
