/*
 * msg.h - System V message queues. The calls, with errors as negative numbers.
 *
 * What a caller sees: msgget(2), msgsnd(2), msgrcv(2), msgctl(2) as the kernel does them, and both with a deadline.
 *
 * How it works. A queue is a msg_queue record, its messages a list in order of arrival, each a block of memory of the namespace.
 * All is done under the queue's lock, by journal. A receiver that finds nothing, or a sender that finds no room, sleeps
 * (ipc/sleeper.h). A message for which a receiver sleeps is handed to it without being queued; a sender that sleeps has its
 * message made already, and whoever makes room sends it.
 *
 * Text is copied from and to the program's memory under the lock, after it has been found good: so that a process which is killed
 * has received a message, or left it in the queue.
 *
 * Memory: a queue keeps the blocks of received messages for the next ones, up to MSG_KEPT_BYTES; they go with the queue.
 *
 * Invariants (msg_queue_check)
 *  1. q_qnum and q_cbytes are the number and the sizes of the messages in q_messages, which are in order of `number`.
 *  2. No message in q_messages matches a sleeping receiver; no sleeping sender's message fits.
 *  3. n_in_hand is the number of receivers of this queue that are DONE with a message.
 *  4. Memory of a msg_queue is only ever one.
 *
 * Guards: the lock of the msg ids for making, removing, the lists of free and dying ones; msg_queue.lock for the
 * rest. What ipcget() reads (owner, mode) changes with both held.
 *
 * A death. Of a sleeping receiver: whoever is about to hand it a message looks at its process first. Of one that has been
 * handed a message and has not copied it out: the message goes back to its place. Of a sleeping sender: its message
 * goes with it. Of one whose message was sent for it: it was sent. Of the remover, before all messages were freed: the next
 * who makes or removes a queue goes on (msg_dying).
 */
#pragma once

#include "ipc/sleeper.h"
#include "ipc/util.h"
#include "msg/rules.h"
#include <sys/msg.h>

#define MSG_CLASSES    9u /* blocks of 64 << class bytes */
#define MSG_BLOCK_MIN  64u
#define MSG_KEPT_BYTES 65536u

/* record: its text follows */
struct msg_msg {
	ref_t next, prev;
	int64_t m_type;
	uint32_t m_ts;	 /* bytes of text */
	uint32_t class;	 /* of its block; MSG_CLASSES: allotted as large as it is */
	uint64_t number; /* of its queue, in order of arrival */
};
_Static_assert(sizeof(struct msg_msg) == 32, "layout");

/* record. Cache lines: what seldom changes; the lock; what each send and receive changes; the rest. */
struct msg_queue {
	struct kern_ipc_perm q_perm; /* deleted: free, or dying */
	uint32_t
		incarnation; /* one more with each queue that uses the record, and when it is removed */
	uint32_t polled;     /* somebody has asked for a descriptor: poll.c */
	int32_t q_lspid, q_lrpid;
	ref_t next_free; /* in the list of free ones, or of dying ones */
	uint32_t pad;

	struct arena_lock lock;

	ref_t messages, messages_last; /* q_messages: struct msg_msg */
	struct sleeper_list q_receivers, q_senders;
	uint64_t next_number;
	uint64_t q_cbytes, q_qnum, q_qbytes;
	uint32_t n_in_hand;
	uint32_t kept_bytes;

	int64_t q_stime, q_rtime, q_ctime;
	ref_t kept[MSG_CLASSES];
	uint32_t pad2;
};
_Static_assert(sizeof(struct msg_queue) == 256, "layout");

#define MSG_GROUPS 5

/* record: a sleeping receiver or sender */
struct msg_sleeper {
	struct sleeper sleeper;
	int64_t type;	  /* receiver: what is compared with; sender: of its message */
	uint64_t maxsize; /* receiver: what fits its buffer; sender: of its message */
	uint32_t search;  /* receiver: enum msg_search; sender: 0 */
	ref_t msg;	  /* receiver: what it was handed; sender: its message */
	/* Who it is, for whoever changes the queue's mode or owner while it sleeps. */
	uint32_t euid, egid;
	uint16_t capable;  /* CAP_IPC_OWNER */
	uint16_t n_groups; /* more than MSG_GROUPS: only it can tell */
	uint32_t groups[MSG_GROUPS];
};
_Static_assert(sizeof(struct msg_sleeper) == 128, "layout");
_Static_assert(sizeof(struct msg_sleeper) <= SLEEPER_SIZE, "it is a sleeper");

int msg_get(struct ipc_namespace *ns, key_t key, int flag);
/*
 * msgp: a long, the type, and size bytes of text, in the caller's memory: -EFAULT for a bad one. timeout NULL: none;
 * -EAGAIN when it has passed.
 */
int msg_snd(struct ipc_namespace *ns, int id, const void *msgp, size_t size, int flag,
	    const struct timespec *timeout);
/* Returns the bytes of text received. */
ssize_t msg_rcv(struct ipc_namespace *ns, int id, void *msgp, size_t size, long type, int flag,
		const struct timespec *timeout);
/*
 * A descriptor, close-on-exec, that is readable while the queue has a message, and after it is removed. What is read
 * from it has no meaning; the caller closes it. -EACCES without read permission, -EINVAL, -EMFILE ….
 */
int msg_fd(struct ipc_namespace *ns, int id);
/* Returns what msgctl returns. */
int msg_ctl(struct ipc_namespace *ns, int id, int command, void *buf);

/* The text of /proc/sysvipc/msg, into buf; returns the length that it needs. */
size_t msg_proc_text(struct ipc_namespace *ns, char *buf, size_t size);

/* For `vee`: copies of what a queue is. */
struct msg_info_entry {
	struct msqid_ds ds;
	int id;
};
/* The queue at the first used index after *index (start with -1); sets *index to it. false at the end. */
bool msg_each(struct ipc_namespace *ns, int *index, struct msg_info_entry *ret_entry);
struct msg_entry {
	int64_t type;
	uint32_t size;
};
/* The messages of a queue, the oldest first: how many there are; at most max are stored. */
unsigned msg_messages(struct ipc_namespace *ns, int id, struct msg_entry *entries, unsigned max);
struct msg_waiter_entry {
	int pid, tid;
	bool sends;
	int64_t type;  /* sender: of its message; receiver: as it gave it */
	bool except;   /* receiver: any type but that one */
	uint64_t size; /* sender: of its message; receiver: of its buffer */
	int64_t since;
};
unsigned msg_waiters(struct ipc_namespace *ns, int id, struct msg_waiter_entry *entries,
		     unsigned max);
const char *msg_check(struct ipc_namespace *ns);
void msg_init(void); /* puts the hooks for the end of a process in */
