/*
 * chan-write.c - `vee chan write`: standard input, cut into messages.
 *
 * What a caller sees: a message is written as soon as all of it was read. At the end of the input, at a signal and at
 * an error the channel is closed, which is the end for its readers; what was written stays to be read.
 */
#include "cli/chan.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RAW_MOST	 (64u << 10)
#define INPUT_LEAST	 (256u << 10)
#define STAMP_EVERY_MOST 1024u
#define SLICE_NS	 1000000000ll /* a wait for readers looks up for signals after that */

struct input {
	char *data;
	size_t start, end, room; /* what was read and not used yet: from start to end */
	bool over;
};

struct writer {
	const char *name;
	enum format format;
	struct vee_channel_create_options options;
	int64_t timeout_ns; /* for one message; -1: none */
	struct vee_channel *channel;
	size_t message_most;
	uint64_t n_messages;
	struct input input;
};

static int help(void)
{
	printf("Usage: vee chan write NAME [OPTION]...\n"
	       "\n"
	       "Write what comes on standard input to a channel, each line as a message without its\n"
	       "newline; make the channel if it isn't there. At the end of the input it is closed, and\n"
	       "its readers end. What is written is kept until the ring goes around.\n"
	       "\n"
	       "Messages:\n"
	       "      --lines          a message a line (default)\n"
	       "      --raw            as much as a read(2) gives, up to 64 KiB\n"
	       "      --framed         before each its size, 4 bytes, the highest first\n"
	       "\n"
	       "Of a channel that is made:\n"
	       "      --size SIZE      of its ring: 64K to 1G, a power of two (default: 4M); a message\n"
	       "                       may have a quarter of it\n"
	       "      --mode MODE      permissions (default: 0600); 0644: everybody may read\n"
	       "      --new            fail if there is a channel of that name\n"
	       "\n"
	       "Other options:\n"
	       "      --stall SECS     drop a reliable reader that holds us up for longer\n"
	       "      --others-reliable  let other users' readers be reliable, and hold us up\n"
	       "  -T, --timeout SECS   for room for a message, don't wait longer\n"
	       "      --stamp-every N  read the clock once for N messages in a row, up to 1024\n"
	       "      --ns NAME        in this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help           show this help\n"
	       "\n"
	       "Exit status: 0, 1 it failed, 2 the command line was not understood, 3 time was up.\n");
	return CLI_OK;
}

/* --- messages --- */

static int line_too_long(const struct writer *writer)
{
	cli_error("%s: line %" PRIu64
		  " is longer than %zu bytes, a quarter of the ring; write to a new "
		  "channel with a larger one (--size), or with --raw",
		  writer->name, writer->n_messages + 1, writer->message_most);
	return CLI_FAILED;
}

static int message_too_long(const struct writer *writer, size_t size)
{
	cli_error("%s: message %" PRIu64 " of %zu bytes is longer than %zu, a quarter of the ring; "
		  "write to a new channel with a larger one (--size)",
		  writer->name, writer->n_messages + 1, size, writer->message_most);
	return CLI_FAILED;
}

/* Why a message could not be written. */
static int write_failed(const struct writer *writer)
{
	switch (errno) {
	case EAGAIN:
		cli_error(
			"%s: time is up: a reliable reader is a whole ring behind; 'vee chan stat "
			"%s' shows which",
			writer->name, writer->name);
		return CLI_WOULD_WAIT;
	case ENOSPC:
		cli_error("%s: no room for the ring in the file system", writer->name);
		return CLI_FAILED;
	case EIO:
		cli_error("%s: somebody has truncated the channel's file", writer->name);
		return CLI_FAILED;
	default:
		cli_error("%s: %s", writer->name, strerror(errno));
		return CLI_FAILED;
	}
}

/* In slices: a signal may come just before a wait, and would not end it. The first one does not wait. */
static int write_message(struct writer *writer, const char *data, size_t size)
{
	int64_t left = writer->timeout_ns < 0 ? INT64_MAX : writer->timeout_ns, slice = 0;
	struct timespec time = {0};

	while (vee_channel_timedwrite(writer->channel, data, size, &time)) {
		if (wait_caught())
			return CLI_FAILED;
		if (errno == EINTR)
			continue;
		left -= slice;
		if (errno != EAGAIN || left == 0)
			return write_failed(writer);
		slice = left < SLICE_NS ? left : SLICE_NS;
		time.tv_sec = slice / 1000000000;
		time.tv_nsec = slice % 1000000000;
	}
	writer->n_messages++;
	return CLI_OK;
}

/* --- standard input --- */

/* Room for another `more` bytes behind the end; false, and has said why. */
static bool make_room(struct input *input, size_t more)
{
	size_t used = input->end - input->start, room = input->room;
	char *data;

	if (input->room - input->end >= more)
		return true;
	if (input->start) {
		memmove(input->data, input->data + input->start, used);
		input->start = 0;
		input->end = used;
	}
	while (room - used < more)
		room = room ? room * 2 : INPUT_LEAST;
	if (room == input->room)
		return true;
	data = realloc(input->data, room);
	if (!data) {
		cli_error("out of memory");
		return false;
	}
	input->data = data;
	input->room = room;
	return true;
}

/* Reads up to `most` bytes more. Returns CLI_OK, also at the end of the input (`over`). */
static int read_more(struct input *input, size_t most)
{
	ssize_t n;
	int ret;

	if (!make_room(input, most))
		return CLI_FAILED;
	for (;;) {
		ret = wait_for(STDIN_FILENO, -1, false, INT64_MAX);
		if (ret == -EINTR)
			return CLI_FAILED;
		n = read(STDIN_FILENO, input->data + input->end, most);
		if (n >= 0)
			break;
		if (errno == EINTR || errno == EAGAIN)
			continue;
		cli_error("standard input: %s", strerror(errno));
		return CLI_FAILED;
	}
	input->end += (size_t)n;
	input->over = n == 0;
	return CLI_OK;
}

/* Reads on until there are n bytes, or the end. */
static int read_up_to(struct input *input, size_t n)
{
	int status = CLI_OK;

	while (!status && !input->over && input->end - input->start < n) {
		size_t missing = n - (input->end - input->start);

		status = read_more(input, missing > INPUT_LEAST / 2 ? missing : INPUT_LEAST / 2);
	}
	return status;
}

static int write_lines(struct writer *writer)
{
	struct input *input = &writer->input;
	size_t seen = 0; /* bytes of this line that have no newline */
	int status = read_more(input, INPUT_LEAST / 2);

	while (!status) {
		char *line = input->data + input->start, *newline = NULL;
		size_t n = input->end - input->start;

		if (n > seen)
			newline = memchr(line + seen, '\n', n - seen);
		seen = newline ? (size_t)(newline - line) : n;
		if (seen > writer->message_most)
			return line_too_long(writer);
		if (newline || (input->over && seen)) {
			status = write_message(writer, line, seen);
			input->start += newline ? seen + 1 : seen;
			seen = 0;
		} else if (input->over) {
			break;
		} else {
			status = read_more(input, INPUT_LEAST / 2);
		}
	}
	return status;
}

static int write_raw(struct writer *writer)
{
	struct input *input = &writer->input;
	size_t most = writer->message_most < RAW_MOST ? writer->message_most : RAW_MOST;
	int status;

	for (;;) {
		input->start = input->end = 0;
		status = read_more(input, most);
		if (status || input->over)
			return status;
		status = write_message(writer, input->data, input->end);
		if (status)
			return status;
	}
}

static int cut_short(const struct writer *writer, const char *what, size_t got, size_t wanted)
{
	cli_error("standard input ends in the middle of the %s of message %" PRIu64
		  ": %zu of %zu bytes",
		  what, writer->n_messages + 1, got, wanted);
	return CLI_FAILED;
}

static int write_framed(struct writer *writer)
{
	struct input *input = &writer->input;
	int status;

	for (;;) {
		const uint8_t *head;
		size_t size;

		status = read_up_to(input, 4);
		if (status || input->end == input->start)
			return status;
		if (input->end - input->start < 4)
			return cut_short(writer, "size", input->end - input->start, 4);
		head = (const uint8_t *)input->data + input->start;
		size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 |
		       head[3];
		if (size > writer->message_most)
			return message_too_long(writer, size);
		input->start += 4;
		status = read_up_to(input, size);
		if (!status && input->end - input->start < size)
			return cut_short(writer, "data", input->end - input->start, size);
		if (!status)
			status = write_message(writer, input->data + input->start, size);
		if (status)
			return status;
		input->start += size;
	}
}

static int write_all(struct writer *writer)
{
	static int (*const by_format[])(struct writer * writer) = {[FORMAT_LINES] = write_lines,
								   [FORMAT_RAW] = write_raw,
								   [FORMAT_FRAMED] = write_framed};
	struct vee_channel_stat stat;
	int status;

	writer->channel = vee_channel_create(writer->name, &writer->options);
	if (!writer->channel)
		return cmd_chan_failed();
	if (!vee_channel_stat(writer->channel, &stat)) {
		writer->message_most = stat.message_size_max;
		if (writer->options.ring_size && writer->options.ring_size != stat.ring_size)
			cli_error("%s: is there, and keeps its ring of %" PRIu64
				  " bytes; --size is for a new channel",
				  writer->name, stat.ring_size);
	}
	wait_catch_signals();
	gate_let_in(writer->channel->path);
	status = by_format[writer->format](writer);
	vee_channel_close(writer->channel);
	free(writer->input.data);
	return wait_end(status);
}

/* --- the command line --- */

enum {
	OPTION_LINES = 1000,
	OPTION_RAW,
	OPTION_FRAMED,
	OPTION_STAMP,
	OPTION_STALL,
	OPTION_OTHERS,
};

static int take_size(struct writer *writer, const char *text)
{
	uint64_t size;

	if (!cli_size(text, &size) || size < CHAN_RING_LEAST || size > CHAN_RING_MOST ||
	    size & (size - 1))
		return cli_usage("--size %s: not a power of two from 64K to 1G", text);
	writer->options.ring_size = size;
	return CLI_OK;
}

static int take_stall(struct writer *writer, const char *text)
{
	int status = cmd_chan_seconds("stall", text, &writer->options.stall_ns);

	if (!status && !writer->options.stall_ns)
		return cli_usage("--stall %s: must be more than 0", text);
	return status;
}

static int take_option(struct writer *writer, int option, const char *text)
{
	uint64_t number;
	uint32_t mode;

	switch (option) {
	case OPTION_LINES:
	case OPTION_RAW:
	case OPTION_FRAMED:
		writer->format = (enum format)(option - OPTION_LINES);
		return CLI_OK;
	case 's':
		return take_size(writer, text);
	case 'm':
		if (!cli_mode(text, &mode) || !mode)
			return cli_usage("--mode %s: not from 1 to 0777", text);
		writer->options.mode = mode;
		return CLI_OK;
	case 'w':
		writer->options.flags |= VEE_CHANNEL_NEW;
		return CLI_OK;
	case OPTION_OTHERS:
		writer->options.flags |= VEE_CHANNEL_OTHERS_RELIABLE;
		return CLI_OK;
	case OPTION_STAMP:
		if (!cli_number(text, STAMP_EVERY_MOST, &number) || !number)
			return cli_usage("--stamp-every %s: not from 1 to %u", text,
					 STAMP_EVERY_MOST);
		writer->options.stamp_every = (unsigned)number;
		return CLI_OK;
	case OPTION_STALL:
		return take_stall(writer, text);
	case 'T':
		return cmd_chan_seconds("timeout", text, &writer->timeout_ns);
	default:
		folder_use(text);
		return CLI_OK;
	}
}

int cmd_chan_write(int argc, char **argv)
{
	static const struct option options[] = {
		{"lines", no_argument, NULL, OPTION_LINES},
		{"raw", no_argument, NULL, OPTION_RAW},
		{"framed", no_argument, NULL, OPTION_FRAMED},
		{"size", required_argument, NULL, 's'},
		{"mode", required_argument, NULL, 'm'},
		{"new", no_argument, NULL, 'w'},
		{"stamp-every", required_argument, NULL, OPTION_STAMP},
		{"stall", required_argument, NULL, OPTION_STALL},
		{"others-reliable", no_argument, NULL, OPTION_OTHERS},
		{"timeout", required_argument, NULL, 'T'},
		{"ns", required_argument, NULL, 'N'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct writer writer = {.timeout_ns = -1};
	int option, status;

	while ((option = getopt_long(argc, argv, "T:h", options, NULL)) >= 0) {
		if (option == '?')
			return cli_bad_option();
		if (option == 'h')
			return help();
		status = take_option(&writer, option, optarg);
		if (status)
			return status;
	}
	writer.name = cmd_chan_only_name(argc, argv);
	return writer.name ? write_all(&writer) : CLI_USAGE;
}
