/* chan-reader.h - `vee chan read`, once its options are known; see chan-reader.c. */
#pragma once

#include "cli/chan.h"

struct reader {
	/* What was asked for. */
	const char *name;
	struct printer printer;
	struct vee_channel_open_options options;
	bool from_said, no_wait, tell_lost;
	const char *on_stall; /* as it was given */
	uint64_t count;	      /* to read; 0: all */
	int64_t timeout_ns;   /* from one message to the next; -1: none */

	struct vee_channel *channel;
	char *buf;
	size_t size;
	uint64_t received, lost;

	uint32_t epoch_least; /* messages of earlier ones are passed over */
	bool from_first; /* the next message is to be the first one of a channel that came while we waited */
	bool fresh; /* a message was read since `deadline` was set */
	int64_t deadline;
	int watch;   /* wait_watch() of the channel's file; -1: none yet */
	bool doubts; /* whether the name is still that of this file */
};

/* Reads the channel to its end; returns the exit status. */
int reader_run(struct reader *reader);
