/*
 * bench.h - what the programs share that measure a mechanism by the libc names alone
 *
 * The same binary runs on the kernel and, preloaded, on vee; bench/run alternates the two.
 *
 *     PROGRAM CASE        prints `CASE ns_per_op`
 *     PROGRAM --list      prints the cases
 *
 * A case is a measure (what is done) in surroundings (what else is in the namespace). Each measure
 * is its own loop, so that no indirect call is measured along with an operation of a few
 * nanoseconds.
 *
 * Set-up and clean-up stay outside the measured time. Each object that is made is removed again, on
 * a signal too: a handler only notes it, every loop looks at the note. Child processes end with
 * their parent, whatever ends it.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum {
	OBJECTS_MAX = 30000, /* below SEMMNI and MSGMNI, 32000 */
	PROCS_MAX = 64,
};

struct bench {
	int ids[OBJECTS_MAX]; /* the first are those that are operated on */
	int n_ids;
	key_t first_key; /* the objects have keys from here upwards */
	size_t size;	 /* as the measure has it */
	uint64_t turn;
	pid_t procs[PROCS_MAX];
	int n_procs;
	int gate[2]; /* a pipe: who reads it goes on when its write end is closed */
};

/* All but name and turns may be NULL. */
struct measure {
	const char *name;
	int (*turns)(struct bench *b, unsigned n);
	int (*partner)(struct bench *b); /* another process that runs meanwhile */
	int (*finish)(struct bench *b);	 /* until the partner has done its part */
	int (*begin)(struct bench *b);	 /* before there are objects */
	int (*prepare)(struct bench *b); /* when there are */
	int (*end)(struct bench *b);	 /* of what began, when they are removed */
	size_t size;
	bool alone; /* measured in the first surroundings only */
};

struct surroundings {
	const char *suffix;
	int n_objects;
	int n_procs; /* each has said hello, and idles */
};

struct program {
	const char *name;
	const struct measure *measures;
	size_t n_measures;
	const struct surroundings *surroundings;
	size_t n_surroundings;
	int (*other_cases)(const char *wanted); /* as find_and_run(); may be NULL */
	int (*make_one)(key_t key);		/* returns its id */
	int (*remove_one)(int id);
	int (*say_hello)(struct bench *b, int who); /* by an operation on the first object */
	int (*hear_hellos)(struct bench *b, int n);
};

extern volatile sig_atomic_t stopped_by;

/* What main() does, and returns. */
int bench_main(const struct program *of, int argc, char **argv);

/* Says which call failed, but where a signal ended it; returns -1. */
int fail(const char *call);
uint64_t now_ns(void);

/* The existing objects in a scattered order, so that no cache of the last one helps. */
static inline int scattered(struct bench *b)
{
	return (int)((b->turn++ * 2654435761u) % (uint64_t)b->n_ids);
}

int make_objects(struct bench *b, int n);
int remove_objects(struct bench *b);

/* Returns the pid in the parent, 0 in the child. */
pid_t start_process(struct bench *b);
void wait_at_gate(const struct bench *b);
void open_gate(struct bench *b);
/* 0 if each ended by itself and well. */
int end_processes(struct bench *b, bool kill_them);
