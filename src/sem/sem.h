/*
 * sem.h - System V semaphore sets. The calls, with errors as negative numbers.
 *
 * What a caller sees: semget(2), semop(2), semtimedop(2), semctl(2) as the kernel does them.
 *
 * How it works. A set is a block: a sem_array and its words (word.h). A single operation that can go ahead,
 * without SEM_UNDO, on a word that is not held back, is one compare-and-swap. All else is done under the
 * set's lock, by journal, on words that are held back meanwhile:
 *
 *	hold back the words (not journalled) · decide · store · do_smart_update: the operations of
 *	sleepers that can go now, in queue order · stand · let go of a word that need not be held back ·
 *	tell the sleepers · unlock · wake those that sleep
 *
 * A sleeper is a sem_queue in its set's pending list; who makes room for it does its operation for it.
 *
 * Invariants (sem_array_check)
 *  1. A word is held back if a sleeper of its set names it, if any sem_undo has an adjustment for it, or if its set is
 *     no more. (And without need, since the last one who worked on it under the lock.)
 *  2. A word changes either by compare-and-swap while it is not held back, or under the lock while it is.
 *  3. No sleeper of a set can go ahead while the lock is free, unless update_due.
 *  4. A sem_queue is QUEUED exactly if it is in a pending list of the set that it names and `incarnation` is the set's.
 *  5. n_adjusting is the number of sem_undo of the set with an adjustment; adjusts(un) counts them.
 *  6. Memory of a block is only ever a block of its size, memory of a sem_queue only ever one.
 *  7. A sem_queue that is DONE with status 0 is among the `served` of its set. While there is one, no word is let go.
 *
 * Guards: the lock of the sem ids for the free lists, a process's list of undo, making and freeing;
 * sem_array.lock for a set's fields, its words while held back, its queues, its sem_undo and list_id. The
 * fields that a semop without lock reads (id, owner, mode, sem_nsems) change only while all words are held back.
 *
 * Ordering pairs
 *  WORD_HOLD   compare-and-swap of a word | word_hold: whoever comes second sees the first.
 *  WORD_FIRST  a semop without lock loads the word before it reads anything of the set | who changes those fields
 *              has held the words back before, and lets go after.
 *  QUEUE_TELL  status is stored before the futex word says SLEEPER_TOLD | the sleeper loads the futex word before status.
 *
 * A death. Of a sleeper: whoever is about to do its operation looks at its process first. After its operation was done
 * for it, but before it took note (SLEEPER_DONE): the operation is taken back; until then the set's `served` names it,
 * and its words are held back, so that everybody looks at its process. Of one with adjustments: the words are held
 * back, so that everybody passes by the lock, where the processes of all adjustments are looked at. Of the waker, before
 * it woke anybody: a sleeper never sleeps longer than SLEEP_LOOK_NS without a look.
 */
#pragma once

#include "ipc/sleeper.h"
#include "ipc/util.h"
#include "sem/rules.h"

/* record: a set; its words follow. Cache lines: what a semop without lock reads; the lock; the rest. */
struct sem_array {
	struct kern_ipc_perm sem_perm; /* deleted: the block is free */
	uint32_t sem_nsems;
	uint32_t
		incarnation; /* one more with each set that uses the block, and when it is removed */
	uint64_t sem_otime;  /* without lock: incarnation in the high 24 bits, seconds */
	int64_t sem_ctime;

	struct arena_lock lock;

	struct sleeper_list pending_alter; /* struct sem_queue */
	struct sleeper_list pending_const; /* those that change nothing */
	ref_t list_id;			   /* struct sem_undo */
	uint32_t n_adjusting;		   /* of them, those with adjustments */
	ref_t adjusting;		   /* one of these, if there is just one */
	uint32_t undo_epoch;		   /* a sem_undo of another epoch has no adjustments */
	uint32_t update_due; /* do_smart_update was left unfinished for want of memory */
	uint32_t n_complex;  /* sleepers with several operations */
	uint32_t size_class; /* the block is SEM_BLOCK_MIN << size_class bytes */
	ref_t next_free;
	/*
	 * Sleepers for whom something was done, and who may not have taken note. One that has, or that is another set's
	 * by now, is struck out when somebody comes across it.
	 */
	ref_t served[1];
	ref_t served_more; /* struct sem_served; belongs to the block for good */
	uint32_t
		set_epoch; /* one more with each SETVAL and SETALL: what was done before is not taken back */
	uint32_t sem_otime_locked; /* seconds; the later of the two is the set's */
	uint64_t words[];
};
_Static_assert(sizeof(struct sem_array) == 192, "layout");

/* record */
#define SEM_SERVED 15u
struct sem_served {
	ref_t next;
	ref_t q[SEM_SERVED];
};
_Static_assert(sizeof(struct sem_served) == 64, "layout");

/* sem_otime holds the incarnation above these bits: of another one, a late store of it fails. */
#define SEM_OTIME_BITS 40
#define SEM_OTIME_MASK ((1ull << SEM_OTIME_BITS) - 1)

#define SEM_BLOCK_MIN	  256u
#define SEM_BLOCK_CLASSES 12u

/* record: a sleeper. While IDLE its process writes it; else guarded by the set's lock. */
struct sem_queue {
	struct sleeper sleeper;
	uint32_t nsops;
	uint32_t blocking; /* index of the operation that waits */
	uint16_t alter, repeats;
	ref_t undo; /* struct sem_undo or 0 */
	uint32_t sops_room;
	ref_t sops;	    /* sops_room struct sembuf, then as many uint32_t: see below */
	uint32_t set_epoch; /* of the set when it was served */
	uint32_t pad;
};
_Static_assert(sizeof(struct sem_queue) == 72 + 32, "layout");
_Static_assert(sizeof(struct sem_queue) <= SLEEPER_SIZE, "it is a sleeper");

/*
 * sops: the operations, and behind them, from when they were done, the sempid that each found: for
 * taking them back. sops_room is even.
 */

/* record: what a process owes to a set */
struct sem_undo {
	ref_t proc_next, proc_prev; /* list_proc; lock of the sem ids */
	ref_t id_next, id_prev;	    /* list_id; lock of the set */
	ref_t set;
	uint32_t incarnation; /* of the set; differs: the set is no more */
	uint32_t proc;	      /* slot */
	uint32_t undo_epoch;
	uint32_t n_semadj; /* that are not 0, if the epoch is the set's */
	uint32_t pad;
	int16_t semadj[];
};
_Static_assert(sizeof(struct sem_undo) == 40, "layout");

int sem_get(struct ipc_namespace *ns, key_t key, int nsems, int flag);
/* timeout NULL: none. As in the kernel nsops has 32 bits, whatever <sys/sem.h> says. Reads sops and timeout from the caller's memory: -EFAULT for a bad one. */
int sem_timedop(struct ipc_namespace *ns, int id, const struct sembuf *sops, unsigned nsops,
		const struct timespec *timeout);
/* Returns what semctl returns. arg: an int for SETVAL, else a pointer, as the command wants it. */
int sem_ctl(struct ipc_namespace *ns, int id, int semnum, int command, uintptr_t arg);

/* The text of /proc/sysvipc/sem, into buf; returns the length that it needs. */
size_t sem_proc_text(struct ipc_namespace *ns, char *buf, size_t size);

/* For `vee`: copies of what a set is. */
struct sem_info_entry {
	struct semid_ds ds;
	int id;
};
/* The set at the first used index after *index (start with -1); sets *index to it. false at the end. */
bool sem_each(struct ipc_namespace *ns, int *index, struct sem_info_entry *ret_entry);
/* Values and pids of a set's semaphores: how many there are; at most max are stored. */
unsigned sem_values(struct ipc_namespace *ns, int id, int *values, int *pids, unsigned max);
struct sem_undo_entry {
	int pid;
	unsigned semnum;
	int semadj;
};
/* Who owes what: how many adjustments there are; at most max are stored. */
unsigned sem_undoers(struct ipc_namespace *ns, int id, struct sem_undo_entry *entries,
		     unsigned max);
struct sem_waiter_entry {
	int pid, tid;
	struct sembuf sop; /* the operation that waits */
	unsigned nsops;	   /* of its array */
	int64_t since;
};
unsigned sem_waiters(struct ipc_namespace *ns, int id, struct sem_waiter_entry *entries,
		     unsigned max);
const char *sem_check(struct ipc_namespace *ns);

/* As unshare(CLONE_SYSVSEM): what the process owes is paid at once. */
void sem_unshare(struct ipc_namespace *ns);
void sem_init(void); /* puts the hook for the end of a process in */
/* In a child after fork: the parent's sleepers and undo are not the child's. */
void sem_fork_child(void);
