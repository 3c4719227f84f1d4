/*
 * chan.h - what the verbs of `vee chan` share.
 *
 * What a caller sees: names are those of vee_channel_open(); --ns NAME is folder_use().
 */
#pragma once

#include "chan/report.h"
#include "cli/cli.h"
#include "vee/channel.h"

int cmd_chan_write(int argc, char **argv);
int cmd_chan_read(int argc, char **argv);
int cmd_chan_ls(int argc, char **argv);
int cmd_chan_stat(int argc, char **argv);
int cmd_chan_top(int argc, char **argv);

/* cmd-chan.c */

/* The one NAME that is left of the command line; NULL, and has said why it isn't (CLI_USAGE). */
const char *cmd_chan_only_name(int argc, char **argv);
/* The value of an option, in nanoseconds. Returns CLI_OK or CLI_USAGE, after saying why. */
int cmd_chan_seconds(const char *option, const char *text, int64_t *ret_ns);
/* The last create, open or remove failed, or a report. Says why; returns CLI_FAILED. */
int cmd_chan_failed(void);

/* How messages lie in a stream of bytes. */
enum format {
	FORMAT_LINES = 0, /* a newline behind each */
	FORMAT_RAW,	  /* nothing between them */
	FORMAT_FRAMED,	  /* its size before each: 4 bytes, the highest first */
	FORMAT_JSON,	  /* an object a line; to read only */
};

/* chan-ls.c: reports, in words. */

/* "1234"; "-": closed; "died". */
const char *report_writer_text(const struct chan_report *report, char *buf, size_t size);
/* Messages that the reader has still to read. */
uint64_t report_lag(const struct chan_report *report, const struct chan_reader_report *reader);
json_t *report_json(const struct chan_report *report);
/* "2026-11-21T16:36:05.123456789+01:00" */
#define TIME_SIZE 48
const char *time_text(int64_t time_ns, char *buf, size_t size);

/* chan-print.c: messages to standard output, through a buffer of its own. */
struct printer {
	enum format format;
	bool sequence, time; /* columns before each, FORMAT_LINES */
	char *buf;
	size_t used;
};
/* Both return 0 or the negative errno of write(2). -EINTR: a signal was caught; what is in the buffer stays there. */
int printer_put(struct printer *printer, const struct vee_channel_message *message,
		const void *data);
int printer_flush(struct printer *printer);

/* chan-wait.c: sleeping until one of several things happens. */

/* From now on SIGINT, SIGTERM and SIGHUP are caught, once each; a wait ends then with -EINTR. */
void wait_catch_signals(void);
/* The one that was caught; 0: none. */
int wait_caught(void);
/* Ends the process by the signal that was caught; if none was, returns status. */
int wait_end(int status);

/*
 * Waits until one of the descriptors (-1: none) is readable, or deadline (wait_now_ns(); INT64_MAX: none). Returns 0;
 * WAIT_OTHER_FD; -ETIMEDOUT; -EINTR: a signal was caught; -EPIPE: `watch_stdout`, and nobody reads standard output any more.
 */
#define WAIT_OTHER_FD 1 /* other_fd is readable, and maybe fd too */
int wait_for(int fd, int other_fd, bool watch_stdout, int64_t deadline);
int64_t wait_now_ns(void);

/*
 * A descriptor that is readable once something has happened to the file, or where it would be: in its folder, or in the
 * nearest one above that is there. Look at the file after this call. -1: this can't be watched; sleep briefly. To be closed.
 */
int wait_watch(const char *path);

/* chan-gate.c: who waits for a channel's file to appear. */

/* From now on its writer knows of us, until we close this descriptor; -1: it can't be told. */
int gate_wait(const char *path);
/* The writer, before it writes: until they have come in, a second at most. */
void gate_let_in(const char *path);
