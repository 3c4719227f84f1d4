/*
 * What the message queue conformance tests share: queues that clean up, messages as strings,
 * sleepers that are known to sleep, and calls to make elsewhere.
 *
 * How a test waits: nothing says how many sleep on a queue, so a sleeper is looked at from outside:
 * it said that it calls, and since then the system shows it asleep, look after look, using no time
 * (on vee it spins before it sleeps). Receivers that sleep have a known order, that of their start.
 * What the kernel leaves open: which of several senders that were woken at once comes first.
 */
#ifndef CONFORM_MSG_H
#define CONFORM_MSG_H

#include "conform-wait.h"

#include <limits.h>

#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif

#define TEXT_MAX    8192  /* MSGMAX, if nobody changed it */
#define QBYTES_HERE 16384 /* MSGMNB, likewise */

#define INDEX(id) ((id) % CONFORM_INDICES)

#define MSG_RUN(tests) CONFORM_RUN_ALONE(tests)

struct message {
	long type;
	char text[TEXT_MAX];
};

/* --- queues --- */

/* msgget() whose result is removed after the test. */
static inline int msg_get(key_t key, int flags)
{
	return conform_keep(CONFORM_MSG, msgget(key, flags));
}

/* A new private queue. */
static inline int msg_new(int mode)
{
	return msg_get(IPC_PRIVATE, mode);
}

/* A key that has no queue now. */
static inline key_t msg_free_key(void)
{
	static unsigned int n;
	key_t key;

	do {
		key = (key_t)(0x564d0000u + (unsigned int)getpid() * 64 + n++);
	} while (key == IPC_PRIVATE || msgget(key, 0) != -1);
	return key;
}

static inline int msg_remove(int id)
{
	return ERR(msgctl(id, IPC_RMID, NULL));
}

static inline struct msqid_ds msg_stat(int id)
{
	struct msqid_ds ds;

	memset(&ds, 0xa5, sizeof(ds));
	if (msgctl(id, IPC_STAT, &ds))
		memset(&ds, 0xff, sizeof(ds));
	return ds;
}

static inline bool msg_gone(int id)
{
	struct msqid_ds ds;

	return msgctl(id, IPC_STAT, &ds) == -1 && errno == EINVAL;
}

static inline unsigned long msg_qnum(int id)
{
	return msg_stat(id).msg_qnum;
}

static inline unsigned long msg_cbytes(int id)
{
	return msg_stat(id).msg_cbytes;
}

/* IPC_SET of qbytes, or of the mode, alone; the errno. */
static inline int msg_set_qbytes(int id, unsigned long qbytes)
{
	struct msqid_ds ds = msg_stat(id);

	ds.msg_qbytes = qbytes;
	return ERR(msgctl(id, IPC_SET, &ds));
}

static inline int msg_set_mode(int id, unsigned short mode)
{
	struct msqid_ds ds = msg_stat(id);

	ds.msg_perm.mode = mode;
	return ERR(msgctl(id, IPC_SET, &ds));
}

/* A new queue that takes so many bytes. */
static inline int msg_new_of(unsigned long qbytes)
{
	int id = msg_new(0600);

	return msg_set_qbytes(id, qbytes) ? -1 : id;
}

#define assert_holds(id, qnum, cbytes)                      \
	do {                                                \
		struct msqid_ds holds = msg_stat(id);       \
		assert_int_equal(holds.msg_qnum, qnum);     \
		assert_int_equal(holds.msg_cbytes, cbytes); \
	} while (0)

/* --- messages: strings without their final 0, or of a size and made up; none of this sleeps --- */

static inline char text_byte(long type, size_t at)
{
	return (char)('A' + ((size_t)type * 7 + at * 31 + at / 256) % 53);
}

static inline void text_fill(char *text, long type, size_t size)
{
	for (size_t i = 0; i < size; i++)
		text[i] = text_byte(type, i);
}

static inline bool text_is_filled(const char *text, long type, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] != text_byte(type, i))
			return false;
	return true;
}

/* The errno of sending it with IPC_NOWAIT. */
static inline int put(int id, long type, const char *text)
{
	struct message m = {.type = type};
	size_t size = strlen(text);

	memcpy(m.text, text, size);
	return ERR(msgsnd(id, &m, size, IPC_NOWAIT));
}

static inline int put_size(int id, long type, size_t size)
{
	struct message m = {.type = type};

	/* One that is too large is refused before it is read. */
	if (size <= sizeof(m.text))
		text_fill(m.text, type, size);
	return ERR(msgsnd(id, &m, size, IPC_NOWAIT));
}

/* What a receive brought. */
struct got {
	int err; /* 0, or errno */
	ssize_t size;
	struct message m; /* all 0xa5 where nothing was written */
};

static inline struct got take(int id, size_t size, long type, int flags)
{
	struct got got;

	memset(&got, 0xa5, sizeof(got));
	got.size = msgrcv(id, &got.m, size, type, flags);
	got.err = got.size == -1 ? errno : 0;
	return got;
}

static inline bool got_is(const struct got *got, long type, const char *text)
{
	if (got->err == 0 && got->m.type == type && got->size == (ssize_t)strlen(text) &&
	    memcmp(got->m.text, text, strlen(text)) == 0)
		return true;
	if (got->err)
		print_error("got %s; want %ld \"%s\"\n", strerror(got->err), type, text);
	else
		print_error("got %ld \"%.*s\"; want %ld \"%s\"\n", got->m.type, (int)got->size,
			    got->m.text, type, text);
	return false;
}

/* With IPC_NOWAIT, for this type: the message, or the errno. */
static inline bool take_is(int id, long asked, long type, const char *text)
{
	struct got got = take(id, TEXT_MAX, asked, IPC_NOWAIT);

	return got_is(&got, type, text);
}

static inline int take_err(int id, long asked)
{
	return take(id, TEXT_MAX, asked, IPC_NOWAIT).err;
}

#define assert_takes(id, asked, type, text) assert_true(take_is(id, asked, type, text))
#define assert_empty(id)                                   \
	do {                                               \
		assert_int_equal(take_err(id, 0), ENOMSG); \
		assert_holds(id, 0, 0);                    \
	} while (0)

/* --- other calls as child functions: the errno becomes the exit code --- */

struct get_call {
	key_t key;
	int flags;
};

static inline int call_get(void *arg)
{
	struct get_call *c = arg;

	return ERR(msg_get(c->key, c->flags));
}

struct ctl_call {
	int id;
	int cmd;
	void *p;
};

static inline int call_ctl(void *arg)
{
	struct ctl_call *c = arg;

	return ERR(msgctl(c->id, c->cmd, c->p));
}

struct move_call {
	int id;
	long type;
	const char *text;
};

static inline int call_put(void *arg)
{
	struct move_call *c = arg;

	return put(c->id, c->type, c->text);
}

static inline int call_take(void *arg)
{
	struct move_call *c = arg;

	return take_err(c->id, c->type);
}

#define CHILD_PUT(id, type, text)  child_run(call_put, &(struct move_call){id, type, text})
#define CHILD_TAKE(id, type)	   child_run(call_take, &(struct move_call){id, type, NULL})
#define NOBODY_PUT(id, type, text) nobody_run(call_put, &(struct move_call){id, type, text})
#define NOBODY_TAKE(id, type)	   nobody_run(call_take, &(struct move_call){id, type, NULL})
#define NOBODY_GET(key, flags)	   nobody_run(call_get, &(struct get_call){key, flags})
#define NOBODY_CTL(id, cmd, p)	   nobody_run(call_ctl, &(struct ctl_call){id, cmd, p})

/* --- who sleeps --- */

/* One look at a thread: its state ('S' asleep, 'T' stopped; 0: it is gone) and its time used. */
static inline char task_look(pid_t pid, pid_t tid, unsigned long *ticks)
{
	char path[64], line[512], state = 0;
	unsigned long user = 0, system = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	FILE *f = fopen(path, "re");
	if (!f)
		return 0;
	char *after = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	fclose(f);
	if (!after || sscanf(after, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &state,
			     &user, &system) != 3)
		return 0;
	*ticks = user + system;
	return state;
}

/* For one that is known to be about to call. */
static inline bool task_sleeps(pid_t pid, pid_t tid)
{
	unsigned long first, ticks;

	if (task_look(pid, tid, &first) != 'S')
		return false;
	for (int i = 0; i < 6; i++) {
		usleep(500);
		if (task_look(pid, tid, &ticks) != 'S' || ticks != first)
			return false;
	}
	return true;
}

/* False if it ends, or does not come to sleep. */
#define AWAIT_ASLEEP(pid) (AWAIT(!child_lives(pid) || task_sleeps(pid, pid)) && child_lives(pid))

/* A child in one call, in memory that it shares with the test. */
struct sleeper {
	int id;
	bool sends;
	bool is_nobody;
	bool catches; /* SIGUSR1, with these flags */
	int handler_flags;
	long type; /* of the message, or asked for */
	size_t size;
	int flags;
	void *at; /* instead of its own buffer */
	pid_t pid;
	_Atomic int calls; /* about to */
	struct message m;  /* to send */
	struct got got;
};

#define SLEEPERS 256

static inline struct sleeper *sleeper_new(int id)
{
	static struct sleeper *all;
	static unsigned int n;

	if (!all)
		all = shared_new(SLEEPERS * sizeof(*all));
	assert_non_null(all);
	struct sleeper *s = &all[n++ % SLEEPERS];
	memset(s, 0, sizeof(*s));
	s->id = id;
	s->size = TEXT_MAX;
	return s;
}

static inline void sleeper_on_signal(int sig)
{
	(void)sig;
}

static inline int sleeper_run(void *arg)
{
	struct sleeper *s = arg;
	struct sigaction sa = {.sa_handler = sleeper_on_signal, .sa_flags = s->handler_flags};

	if (s->is_nobody)
		child_drop();
	if (s->catches)
		NEED(sigaction(SIGUSR1, &sa, NULL) == 0);
	s->m.type = s->type;
	s->calls = 1;
	if (s->sends)
		return ERR(msgsnd(s->id, s->at ? s->at : &s->m, s->size, s->flags));
	if (s->at)
		return ERR(msgrcv(s->id, s->at, s->size, s->type, s->flags));
	s->got = take(s->id, s->size, s->type, s->flags);
	return s->got.err;
}

/* Starts it, not yet known to sleep. */
static inline struct sleeper *sleeper_go(struct sleeper *s)
{
	s->pid = child_start(sleeper_run, s);
	assert_true(s->pid > 0);
	return s;
}

static inline bool sleeper_sleeps(struct sleeper *s)
{
	return AWAIT(s->calls || !child_lives(s->pid)) && AWAIT_ASLEEP(s->pid);
}

/* Starts it and returns when it sleeps in its call. */
static inline struct sleeper *sleeper_start(struct sleeper *s)
{
	sleeper_go(s);
	if (sleeper_sleeps(s))
		return s;
	print_error("%d does not sleep: %d\n", s->pid, child_kill(s->pid));
	fail();
	return NULL;
}

static inline struct sleeper *receiver_new(int id, size_t size, long type, int flags)
{
	struct sleeper *s = sleeper_new(id);

	s->size = size;
	s->type = type;
	s->flags = flags;
	return s;
}

static inline struct sleeper *sender_new(int id, long type, size_t size)
{
	struct sleeper *s = sleeper_new(id);

	s->sends = true;
	s->type = type;
	s->size = size;
	text_fill(s->m.text, type, size);
	return s;
}

/* Children that sleep in msgrcv() and msgsnd(). */
#define RECEIVER_OF(id, size, type, flags) sleeper_start(receiver_new(id, size, type, flags))
#define RECEIVER(id, type)		   RECEIVER_OF(id, TEXT_MAX, type, 0)
#define SENDER(id, type, size)		   sleeper_start(sender_new(id, type, size))

/* How they end. */
static inline bool sleeper_got(struct sleeper *s, long type, const char *text)
{
	return child_wait(s->pid) == s->got.err && got_is(&s->got, type, text);
}

static inline bool sleeper_got_size(struct sleeper *s, long type, size_t size)
{
	return child_wait(s->pid) == 0 && s->got.m.type == type && s->got.size == (ssize_t)size &&
	       text_is_filled(s->got.m.text, type, size);
}

#define assert_got(s, type, text)      assert_true(sleeper_got(s, type, text))
#define assert_got_size(s, type, size) assert_true(sleeper_got_size(s, type, size))
#define assert_ends(s, err)	       assert_int_equal(child_wait((s)->pid), err)
#define assert_sent(s)		       assert_ends(s, 0)
#define assert_killed(s)	       assert_int_equal(child_kill((s)->pid), 1000 + SIGKILL)

/* It sleeps, still or again: a woken one has had its chance. */
#define assert_sleeps(s) assert_true(AWAIT_ASLEEP((s)->pid))

/* --- limits: see conform-wait.h --- */

/* Before a child that set limits ends: none of its queues stays, and no limit. */
static inline int child_leave_limits(void)
{
	struct msginfo info;
	struct msqid_ds ds;
	int last = msgctl(0, MSG_INFO, (struct msqid_ds *)&info);

	for (int i = 0; i <= last; i++) {
		int id = msgctl(i, MSG_STAT, &ds);

		if (id >= 0)
			msgctl(id, IPC_RMID, NULL);
	}
	return !child_restore_limits();
}

#endif
