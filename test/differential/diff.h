/*
 * diff.h - the differential testers of semaphore sets and of message queues: what their parts share.
 *
 * glossary
 *	mechanism  semaphore sets or message queues: diff-sem and diff-msg are the same program with another mechanism.
 *	object	   a set or a queue.
 *	order	   one operation: which worker does what. Made by plan.c from (seed, number, world).
 *	cell	   what coordinator and worker share: the order, the reply, and the words that both wait on.
 *	worker	   a thread, in a process of its own or beside others, that obeys the orders of one cell.
 *	slot	   a place for an object that the coordinator knows; those in it have labels s0, s1 … as they are made.
 *	proc	   a process that workers live in; its label P0, P1 … is what a trace shows for a pid.
 *	trace	   one line an operation; what is in it may depend on (seed, number) alone.
 */
#ifndef DIFF_H
#define DIFF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/types.h>
#include <time.h>

#define WORKERS_MAX	12
#define SLOTS		5
#define ALL_SLOTS	((1u << SLOTS) - 1)
#define SOPS_MAX	80
#define SEMS_MAX	100
#define SEMS_SHOWN	8
#define KEYS		6
#define NOBODY		65534
#define IPCMNI		32768 /* id = sequence * 32768 + index */
#define NSEC_PER_SEC	1000000000L
#define SHORT_WAIT_NS	300000L
#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

/* --- orders --- */

enum order_kind {
	/* a worker does it */
	ORDER_OP,  /* semop; msgsnd, msgrcv */
	ORDER_GET, /* semget, msgget */
	ORDER_CTL,
	ORDER_SETEUID,	   /* to root or to nobody and back */
	ORDER_RESTART,	   /* SA_RESTART on or off */
	ORDER_FORK_ONCE,   /* a child does one op and ends */
	ORDER_VFORK,	   /* a vforked child ends */
	ORDER_FORK_MORE,   /* an orphaned grandchild becomes a worker */
	ORDER_FORK_MOVE,   /* a child becomes the worker, its parent ends */
	ORDER_TWIN,	   /* a new thread becomes a worker */
	ORDER_EXEC,	   /* the process becomes a new program */
	ORDER_EXIT,	   /* the process ends */
	ORDER_THREAD_EXIT, /* the thread ends, and the process with its last */
	/* the coordinator does it */
	ORDER_SPAWN,
	ORDER_SIGNAL,	 /* a sleeper gets a signal */
	ORDER_SIGNAL_OP, /* ... whose handler does an op */
	ORDER_KILL,
	ORDER_KILL_QUIET, /* ... and no call is made until sleepers that it releases have run */
	ORDER_STOP,	  /* the process is stopped and goes on */
	ORDER_TICK,	  /* the clock goes on, so that later times differ from earlier ones */
	ORDER_LIMIT,	  /* a limit of the namespace is written */
	ORDER_KINDS
};

enum wait_kind {
	WAIT_SEMOP, /* semop(), without a time-out */
	WAIT_NULL,  /* semtimedop() with none */
	WAIT_LONG,
	WAIT_HUGE, /* beyond what 64 bits of nanoseconds hold */
	/* from here on it can't stay asleep */
	WAIT_ZERO,
	WAIT_SHORT,
	WAIT_BAD_NSEC,
	WAIT_NEGATIVE,
	WAIT_KINDS
};

enum exit_kind {
	EXIT_RAW,    /* _exit() */
	EXIT_NORMAL, /* exit() */
	EXIT_KILLED, /* kill(getpid(), SIGKILL) */
	EXIT_KINDS
};

/* What a message's buffer is, for msgsnd and msgrcv. */
enum buffer_kind {
	BUFFER_GOOD,
	BUFFER_NONE, /* an address that nothing is at */
	BUFFER_TYPE, /* the type alone can be accessed */
	BUFFER_PART, /* the type and a few bytes */
	BUFFER_READONLY,
	BUFFER_KINDS
};

struct order {
	enum order_kind kind;
	unsigned worker;
	unsigned other; /* the cell that FORK_MORE and TWIN fill */
	int slot;	/* of the object that it is about; -1: none */
	int id;
	bool bad_pointer; /* of a ctl or a semop */
	enum exit_kind how;
	/* get */
	key_t key;
	int flags; /* of msgsnd and msgrcv, too */
	/* ctl */
	int cmd;
	int value; /* of a limit, too */
	uid_t uid;
	unsigned mode;
	/* semaphores; num: of the semaphore */
	bool undo; /* some has SEM_UNDO */
	enum wait_kind wait;
	unsigned nsops;
	struct sembuf sops[SOPS_MAX];
	int nsems;
	int num;
	unsigned short array[SEMS_MAX];
	/* messages */
	bool receives;
	enum buffer_kind buffer;
	long type;
	size_t size;
	uint32_t text; /* what the text is made from */
	unsigned long qbytes;
	const char *limit; /* its name, of the coordinator's alone */
};

struct reply {
	int rc;
	int error;
	pid_t child;
	int status; /* of the child */
	int handler_rc;
	int handler_error;
	/* semaphores */
	bool early; /* a time-out that came before its time */
	struct semid_ds ds;
	struct seminfo info;
	unsigned short array[SEMS_MAX];
	/* messages */
	long type;
	uint32_t hash; /* of the text */
	bool spilled;  /* bytes beyond the text were written */
	struct msqid_ds queue;
	struct msginfo queues;
};

struct cell {
	_Atomic uint32_t go;   /* orders given */
	_Atomic uint32_t done; /* orders obeyed */
	pid_t pid;
	pid_t tid;
	struct order order;
	struct order handler; /* its op is what the signal handler does, if its kind is SIGNAL_OP */
	struct reply reply;
};

struct page {
	_Atomic uint32_t bell; /* rung by every worker that has obeyed */
	pid_t coordinator;
	bool fifo; /* workers are SCHED_FIFO: those woken together run one after the other */
	struct cell cell[WORKERS_MAX];
};

/* --- cell.c --- */

extern struct page *page;
extern int page_fd;

void page_make(void);
void page_attach(int fd);
void word_wait(_Atomic uint32_t *word, uint32_t value, int64_t timeout_ns);
void word_wake(_Atomic uint32_t *word);
void cell_give(struct cell *cell);
bool cell_is_done(const struct cell *cell);
int64_t now_ns(void);

/* --- worker.c --- */

/* What a new process does, be it forked or a new program, until it ends. */
void worker_main(struct cell *cell) __attribute__((noreturn));

/* --- the coordinator's view of the world --- */

enum worker_state {
	WORKER_DEAD,
	WORKER_IDLE,
	WORKER_ASLEEP
};

struct worker {
	enum worker_state state;
	unsigned proc;
	int slot;      /* where it sleeps */
	bool receives; /* ... in msgrcv */
};

struct slot {
	bool alive;
	int id; /* also after the object's removal; -1: never used */
	unsigned label;
	int nsems;
	unsigned sleepers;
};

struct proc {
	pid_t pid;
	bool nobody;
	bool undo; /* it may hold some */
};

struct world {
	unsigned workers;
	struct worker worker[WORKERS_MAX];
	struct slot slot[SLOTS];
	struct proc *proc;
	unsigned procs;
	bool exact; /* the IPC namespace is the tester's own and was empty: ids and totals can be compared */
	bool users;	/* root: a worker can become another user */
	bool pointers;	/* bad pointers in ops too */
	bool stops;	/* processes are stopped at times */
	bool limits;	/* the namespace's limits are written at times */
	bool ordered;	/* sleepers that are woken together go on in the order of their wake-ups */
	key_t key_base; /* keys of the plan are key_base + 0 … KEYS - 1 */
};

unsigned world_threads(const struct world *world, unsigned proc);
unsigned world_count(const struct world *world, enum worker_state state);

/* --- plan.c --- */

struct dice {
	uint64_t state;
};

struct dice dice_new(uint64_t seed, uint64_t number, uint64_t purpose);
unsigned roll(struct dice *dice, unsigned sides); /* 0 … sides - 1 */
bool one_in(struct dice *dice, unsigned n);

#define PICK(dice, array) ((array)[roll((dice), COUNT_OF(array))])

/* The order depends on the seed, the number and the world only. */
void plan_order(const struct world *world, uint64_t seed, uint64_t number, struct order *ret_order);
bool plan_chance(uint64_t seed, uint64_t number, unsigned one_in);
int find_free_slot(const struct world *world);
void choose_object(struct dice *dice, const struct world *world, struct order *order);
void choose_index(struct dice *dice, const struct world *world, struct order *order);

/* --- await.c --- */

struct patience {
	unsigned tries;
	uint32_t bell;
	int64_t start;
};

extern unsigned long patience_s;

void patience_look(struct patience *patience);
void patience_wait(struct patience *patience, bool yield, const char *what);
void await_cell(unsigned number);
int await_end(pid_t pid);
unsigned await_quietly(const struct world *world);
void begin_sleep(struct world *world, const struct order *order);
void end_sleep(struct world *world, unsigned number);
void collect(struct world *world, unsigned slots, unsigned prompt);
void check_sleepers(const struct world *world);

/* --- act.c --- */

struct tally {
	uint64_t kind[ORDER_KINDS + 1];
	uint64_t slept;
	uint64_t woken;
	uint64_t cascades; /* operations that released two sleepers or more */
	unsigned deepest;  /* most sleepers of one object */
};

extern struct tally tally;

/* Does it, and says its result and which sleepers it has released. */
void act(struct world *world, const struct order *order);
void act_spawn(struct world *world, unsigned number);
void act_end_all(struct world *world); /* async-signal-safe */
bool order_ends_process(const struct order *order);

/* --- main.c --- */

void give_up(const char *why) __attribute__((noreturn));

/* --- trace.c --- */

enum sabotage {
	SABOTAGE_NONE,
	SABOTAGE_RESULT,
	SABOTAGE_VALUE,
	SABOTAGE_PID,
	SABOTAGE_COUNT,
	SABOTAGE_TIME,
	SABOTAGE_WAKE,
	SABOTAGE_ID
};

bool trace_open(const char *path);
void trace_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void trace_flush(void); /* async-signal-safe */
bool trace_set_sabotage(const char *text);
bool trace_sabotaged(enum sabotage what); /* true once, from the operation it is asked for on */
void trace_number(uint64_t number);

const char *error_name(int error);
const char *order_name(enum order_kind kind);
void say_order(const struct world *world, const struct order *order);
void say_reply(const struct world *world, const struct order *order, const struct reply *reply);
void say_result(int rc, int error);
void say_pid(const struct world *world, pid_t pid);
void say_time(time_t time);
void say_slot(const struct slot *slot);
void say_object(const struct world *world, const struct order *order);
void say_id(const struct world *world, int id);
void say_key(const struct world *world, key_t key);
void say_get_flags(int flags);
void epoch_begin(void); /* times from now on are told from those before */

/* --- the mechanism: sem-*.c and diff-sem.c, or msg-*.c and diff-msg.c --- */

extern const char program_name[];
extern const char *const call_names[]; /* of ORDER_OP, ORDER_GET, ORDER_CTL */

/* In a worker. Each returns what the call does, errno too; an op may be done in a signal handler. */
int call_op(const struct order *order, struct reply *reply);
int call_get(const struct order *order);
int call_ctl(const struct order *order, struct reply *reply);
void object_remove(int id); /* async-signal-safe */
int objects_count(void);    /* in the whole namespace; -1: unknown */

void plan_call(struct dice *dice, const struct world *world, struct order *order);
void plan_get(struct dice *dice, const struct world *world, struct order *order);
void plan_brief(struct dice *dice, const struct world *world,
		struct order *order); /* an op that never sleeps */
void plan_kill(struct dice *dice, const struct world *world, struct order *order);
bool order_can_sleep(const struct world *world, const struct order *order);
bool can_stop(const struct world *world, const struct order *order);

/* Returns true when the worker sleeps, false when it has replied. */
bool await_reply_or_sleep(struct world *world, const struct order *order);
/* Sleepers in these slots (bits) that have been released have replied when it returns. */
void await_released(struct world *world, unsigned slots);

void say_call(const struct world *world, const struct order *order);
void say_call_reply(const struct world *world, const struct order *order,
		    const struct reply *reply);
void say_woken_reply(const struct world *world, const struct order *order,
		     const struct reply *reply);
void say_queue(const struct world *world, const struct msqid_ds *ds); /* of messages */
void show_slot(const struct world *world, const struct slot *slot, bool all);

#endif
