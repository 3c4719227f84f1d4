/* report.h - what is to be said of channels, without taking part in them. */
#pragma once

#include "chan/chan.h"

struct chan_reader_report {
	int32_t pid, tid; /* of the thread that opened it */
	uint32_t uid;
	bool reliable;
	uint32_t stall; /* enum vee_channel_stall */
	int64_t stall_ns;
	int64_t since; /* seconds since the epoch */
	uint64_t next; /* sequence number; up to an eighth of the ring old */
	uint64_t received, lost;
};

struct chan_report {
	char *name;		      /* in the namespace; or the path; malloc'ed */
	uint64_t ring_size, allotted; /* bytes; of the file: what it takes in memory */
	uint32_t uid, mode;
	uint32_t epoch;
	int32_t writer_pid;	   /* the last one */
	bool writer_lives, closed; /* neither: it has died */
	uint64_t written, oldest;  /* sequence numbers: of the last message, of the oldest kept */
	uint64_t bytes;		   /* ever written */
	int64_t time_ns;	   /* of the last message; 0: none */
	unsigned n_readers;	   /* that live */
	struct chan_reader_report *readers; /* malloc'ed; chan_report_free() */
};

/* -ENOENT, -EACCES, -EPROTO …: the words are in chan_error. */
int chan_report(const char *name, struct chan_report *ret_report);
void chan_report_free(struct chan_report *report);

/*
 * The names of the namespace's channels, sorted: malloc'ed, each too; the list ends with NULL. It makes no namespace.
 * -ENOMEM, -EACCES: the words are in chan_error. A namespace that is not there has none.
 */
int chan_list(char ***ret_names);
void chan_list_free(char **names);

/* Every invariant of the channel's files that can be looked at from outside. NULL or what is wrong. */
const char *chan_check(const char *name);
/* Frees what dead readers and channels that are gone have left; returns how many things. */
unsigned chan_gc(void);
