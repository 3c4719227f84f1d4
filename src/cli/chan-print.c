/*
 * chan-print.c - messages on their way to standard output, in one of the formats of `vee chan read`.
 *
 * How it works: a buffer, which goes out when it is full or its owner has nothing to add; a message that is longer goes
 * out straight from where it lies. Not stdio: what a pipe does not take any more is no error to be reported at the end.
 */
#include "cli/chan.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE (128u << 10)
#define LOOK_MS	    100 /* a signal may come just before a wait */

/* Most messages of a second share it. */
const char *time_text(int64_t time_ns, char *buf, size_t size)
{
	static char date[32], zone[16];
	static time_t date_of;
	time_t seconds = time_ns / 1000000000;
	struct tm tm;

	if (!*date || seconds != date_of) {
		date_of = seconds;
		if (!localtime_r(&seconds, &tm))
			memset(&tm, 0, sizeof(tm));
		strftime(date, sizeof(date), "%FT%T", &tm);
		strftime(zone, sizeof(zone), "%z", &tm); /* +hhmm */
		if (strlen(zone) == 5) {
			memmove(zone + 4, zone + 3, 3);
			zone[3] = ':';
		}
	}
	snprintf(buf, size, "%s.%09d%s", date, (int)(time_ns % 1000000000), zone);
	return buf;
}

/* After a signal (-EINTR) what there is room for goes out, and nobody is waited for who doesn't read. */
static int write_out(const char *data, size_t n, size_t *ret_written)
{
	struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
	size_t at = 0;
	int error = 0;

	while (at < n && !error) {
		size_t most = n - at;
		ssize_t ret;

		if (wait_caught()) {
			if (poll(&out, 1, 0) == 0)
				break;
			most = most < PIPE_BUF ? most : PIPE_BUF;
		}
		ret = write(STDOUT_FILENO, data + at, most);
		if (ret >= 0)
			at += (size_t)ret;
		else if (errno == EAGAIN)
			poll(&out, 1, LOOK_MS);
		else if (errno != EINTR)
			error = errno;
	}
	*ret_written = at;
	return error ? -error : at < n ? -EINTR : 0;
}

int printer_flush(struct printer *printer)
{
	size_t written;
	int ret;

	if (!printer->used)
		return 0;
	ret = write_out(printer->buf, printer->used, &written);
	printer->used -= written;
	memmove(printer->buf, printer->buf + written, printer->used);
	return ret;
}

static int put(struct printer *printer, const void *data, size_t n)
{
	size_t written;
	int ret;

	if (!printer->buf && !(printer->buf = malloc(BUFFER_SIZE)))
		return -ENOMEM;
	if (printer->used + n > BUFFER_SIZE) {
		ret = printer_flush(printer);
		if (ret < 0)
			return ret;
	}
	if (n > BUFFER_SIZE)
		return write_out(data, n, &written);
	memcpy(printer->buf + printer->used, data, n);
	printer->used += n;
	return 0;
}

static int print_line(struct printer *printer, const struct vee_channel_message *message,
		      const void *data)
{
	char text[64 + TIME_SIZE], time[TIME_SIZE];
	int n = 0, ret = 0;

	if (printer->sequence)
		n = snprintf(text, sizeof(text), "%" PRIu64 "\t", message->sequence);
	if (printer->time)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%s\t",
			      time_text(message->time_ns, time, sizeof(time)));
	if (n)
		ret = put(printer, text, (size_t)n);
	if (!ret)
		ret = put(printer, data, message->size);
	return ret ? ret : put(printer, "\n", 1);
}

static int print_framed(struct printer *printer, const struct vee_channel_message *message,
			const void *data)
{
	size_t n = message->size;
	uint8_t head[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
	int ret = put(printer, head, sizeof(head));

	return ret ? ret : put(printer, data, n);
}

static int print_json(struct printer *printer, const struct vee_channel_message *message,
		      const void *data)
{
	char time[TIME_SIZE], *text;
	json_t *object =
		json_pack("{s:I, s:s, s:I, s:I, s:I}", "sequence", (json_int_t)message->sequence,
			  "time", time_text(message->time_ns, time, sizeof(time)), "epoch",
			  (json_int_t)message->epoch, "lost", (json_int_t)message->lost, "bytes",
			  (json_int_t)message->size);
	int ret = -ENOMEM;

	json_set_text(object, data, message->size);
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	if (text)
		ret = put(printer, text, strlen(text));
	free(text);
	return ret ? ret : put(printer, "\n", 1);
}

int printer_put(struct printer *printer, const struct vee_channel_message *message,
		const void *data)
{
	switch (printer->format) {
	case FORMAT_RAW:
		return put(printer, data, message->size);
	case FORMAT_FRAMED:
		return print_framed(printer, message, data);
	case FORMAT_JSON:
		return print_json(printer, message, data);
	default:
		return print_line(printer, message, data);
	}
}
