/* proc.c - the process table; see proc.h. */
#include "base/os.h"
#include "ipc/namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SWEEP_TRIES 3u

proc_exit_fn *proc_exit_hooks[3];

struct proc *proc_at(struct ipc_namespace *ns, uint32_t slot)
{
	return (struct proc *)(ns->arena.base + ARENA_PROCS_AT + (size_t)slot * ARENA_PROC_SIZE);
}

uint32_t proc_slot(struct ipc_namespace *ns, const struct proc *proc)
{
	return ((const char *)proc - ns->arena.base - ARENA_PROCS_AT) / ARENA_PROC_SIZE;
}

static uint32_t slots_ready(struct ipc_namespace *ns)
{
	return __atomic_load_n(&ns->arena.header->procs_ready, __ATOMIC_ACQUIRE);
}

/* The mutex's word, of which the kernel writes the bits when the owner dies (<linux/futex.h>). */
#define DOORBELL_WAITERS 0x80000000u
#define DOORBELL_RANG	 0x40000000u
#define DOORBELL_TID	 0x3fffffffu

uint32_t *proc_doorbell_word(const struct proc *proc)
{
	return arena_mutex_word(&proc->doorbell);
}

uint32_t proc_doorbell(const struct proc *proc)
{
	uint32_t value = __atomic_load_n(proc_doorbell_word(proc), __ATOMIC_ACQUIRE);

	return value & DOORBELL_RANG ? 0 : value & DOORBELL_TID;
}

uint32_t proc_doorbell_listen(struct proc *proc)
{
	uint32_t *word = proc_doorbell_word(proc);
	uint32_t value = __atomic_load_n(word, __ATOMIC_ACQUIRE);

	while (value & DOORBELL_TID && !(value & DOORBELL_RANG)) {
		if (value & DOORBELL_WAITERS)
			return value;
		if (__atomic_compare_exchange_n(word, &value, value | DOORBELL_WAITERS, true,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return value | DOORBELL_WAITERS;
	}
	return 0;
}

struct life {
	char state;
	bool exiting; /* its first thread has begun to exit: no memory any more, no zombie yet */
	int threads;
	uint64_t start;
};

#define PF_EXITING 4u

/* /proc/PID/stat, of which the command's name may hold anything. pid 0: this process. */
static int read_life(int pid, struct life *ret_life)
{
	char path[40], text[1024];
	const char *at;
	ssize_t n;

	snprintf(path, sizeof(path), pid ? "/proc/%d/stat" : "/proc/self/stat", pid);
	n = os_read_file(path, text, sizeof(text));
	if (n < 0)
		return n;
	at = strrchr(text, ')');
	if (!at || at[1] != ' ')
		return -ESRCH;
	at += 2;
	ret_life->state = *at;
	for (int field = 3; field < 22; field++) {
		at = strchr(at, ' ');
		if (!at)
			return -ESRCH;
		at++;
		if (field + 1 == 9)
			ret_life->exiting = strtoul(at, NULL, 10) & PF_EXITING;
		if (field + 1 == 20)
			ret_life->threads = atoi(at);
	}
	ret_life->start = strtoull(at, NULL, 10);
	return 0;
}

/* Does the text, lines of /proc/PID/maps, name the inode in its fifth field? */
static bool maps_line_has(const char *line, uint64_t inode)
{
	for (int field = 1; field < 5; field++) {
		line = strchr(line, ' ');
		if (!line)
			return false;
		line++;
	}
	return strtoull(line, NULL, 10) == inode;
}

/* true too if it can't be read */
bool proc_maps_file(int pid, uint64_t inode)
{
	char path[40], text[8192];
	size_t have = 0;
	bool found = false;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	fd = os_open(path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return true;
	for (;;) {
		ssize_t n = os_read(fd, text + have, sizeof(text) - 1 - have);
		char *line = text, *end;

		if (n <= 0) {
			found |= n < 0 && n != -ESRCH;
			break;
		}
		have += n;
		text[have] = '\0';
		while (!found && (end = strchr(line, '\n'))) {
			*end = '\0';
			found = maps_line_has(line, inode);
			line = end + 1;
		}
		have -= line - text;
		memmove(text, line, have);
		if (found || have == sizeof(text) - 1)
			break;
	}
	os_close(fd);
	return found;
}

static uint64_t my_pid_ns(void)
{
	static uint64_t ino;
	struct stat st;

	if (!ino && os_stat("/proc/self/ns/pid", &st) == 0)
		__atomic_store_n(&ino, st.st_ino, __ATOMIC_RELAXED);
	return ino;
}

/*
 * The file is of a thread, which may have gone between open() and read(): it has no threads then. Was it the first of a process of
 * which another thread execs, that one has taken its number: another look tells.
 */
static int read_life_again(int pid, struct life *ret_life)
{
	int ret;

	do
		ret = read_life(pid, ret_life);
	while (ret == 0 && ret_life->threads == 0);
	return ret;
}

/* *ret_main_exited: it lives, but its first thread does not, and /proc/PID/maps shows nothing. */
static bool pid_is_dead(int pid, uint64_t start, bool *ret_main_exited)
{
	struct life life;
	int ret = read_life_again(pid, &life);

	/* Where /proc hides the processes of other users, or no descriptor is left to look there, only kill() tells. */
	if (ret < 0)
		return os_kill(pid, 0) == -ESRCH;
	if (start && life.start != start)
		return true;
	*ret_main_exited = life.exiting || life.state == 'Z';
	return (life.exiting || life.state == 'Z' || life.state == 'X') && life.threads <= 1;
}

bool proc_pid_is_dead(int pid, uint64_t start, uint64_t pid_ns, bool *ret_main_exited)
{
	*ret_main_exited = false;
	return pid_ns == my_pid_ns() && pid_is_dead(pid, start, ret_main_exited);
}

void proc_self(int *ret_pid, uint64_t *ret_start, uint64_t *ret_pid_ns)
{
	struct life life = {.start = 0};

	*ret_pid = os_getpid();
	read_life(0, &life);
	*ret_start = life.start;
	*ret_pid_ns = my_pid_ns();
}

static bool embryo_is_dead(struct ipc_namespace *ns, const struct proc *proc, int pid)
{
	const struct proc *parent;
	uint32_t life;
	bool exited;

	if (pid)
		return pid_is_dead(pid, 0, &exited);
	/* Before the parent knows its child's pid. If it died, the child, if any, enters anew. */
	parent = proc_at(ns, load_acquire(proc->parent));
	life = load_acquire(proc->parent_life);
	return load_acquire(parent->state) != PROC_LIVE ||
	       (life && life != load_acquire(parent->generation) + 1) ||
	       (!proc_doorbell(parent) &&
		pid_is_dead(load_acquire(parent->pid), load_acquire(parent->start), &exited));
}

/* Has the slot something that an exec ends? */
static bool has_leftovers(const struct proc *proc)
{
	return load_acquire(proc->shm_clist) || load_acquire(proc->sleepers) ||
	       load_acquire(proc->removing);
}

bool proc_is_going(const struct proc *proc)
{
	uint32_t state = load_acquire(proc->state);

	return state == PROC_DYING || state == PROC_EXECED;
}

/*
 * A thread that is not the first of its process and execs takes the first one's id before the kernel looks
 * for its robust mutexes: the doorbell stays in the name of a thread that is no more.
 */
static bool rings_in_vain(struct ipc_namespace *ns, const struct proc *proc)
{
	int pid = load_acquire(proc->pid);
	uint32_t tid = proc_doorbell(proc);

	return tid && tid != (uint32_t)pid && load_acquire(proc->pid_ns) == my_pid_ns() &&
	       proc != load_acquire(ns->proc) && os_tgkill(pid, tid, 0) == -ESRCH;
}

/* What was seen of a slot without the lock. */
struct sight {
	uint32_t generation;
	uint32_t state;
	int pid;
	uint64_t start;
};

static struct sight see(const struct proc *proc)
{
	struct sight seen;

	seen.generation = load_acquire(proc->generation);
	seen.state = load_acquire(proc->state);
	seen.pid = load_acquire(proc->pid);
	seen.start = load_acquire(proc->start);
	return seen;
}

static enum proc_state look(struct ipc_namespace *ns, struct proc *proc, const struct sight *seen)
{
	uint32_t state = seen->state;
	int pid = seen->pid;
	uint64_t start = seen->start;
	bool exited = false;

	if (state == PROC_LIVE && proc_doorbell(proc) && !rings_in_vain(ns, proc))
		return state;
	if (state == PROC_FREE || state == PROC_DYING || proc == load_acquire(ns->proc))
		return state;
	if (load_acquire(proc->pid_ns) != my_pid_ns())
		return state;
	if (state == PROC_EMBRYO)
		return embryo_is_dead(ns, proc, pid) ? PROC_DYING : state;
	if (pid_is_dead(pid, start, &exited))
		return PROC_DYING;
	if (state != PROC_LIVE || exited || proc_maps_file(pid, ns->arena.file_ino))
		return state;
	/* Its first thread may have ended in between, and its maps with it, while others live. */
	if (pid_is_dead(pid, start, &exited))
		return PROC_DYING;
	return exited ? state : PROC_EXECED;
}

enum proc_state proc_look(struct ipc_namespace *ns, struct proc *proc)
{
	struct sight seen = see(proc);

	return look(ns, proc, &seen);
}

/*
 * Is what was judged by that sight still so? With proc_lock. Not if the slot has a new owner, or its process has come back from its exec;
 * nor if an embryo's parent has noted its pid since, or the child has made it its own.
 */
static bool holds(const struct proc *proc, const struct sight *seen)
{
	if (proc->generation != seen->generation || proc->state == PROC_FREE)
		return false;
	if (proc->state == PROC_DYING)
		return true;
	if (proc->pid != seen->pid || proc->start != seen->start)
		return false;
	/* Of a process that is dead another one may have said meanwhile that it has exec'ed. */
	return proc->state == seen->state ||
	       (seen->state == PROC_LIVE && proc->state == PROC_EXECED);
}

/* To DYING or EXECED; false if what was seen is no longer so. */
static bool mark(struct ipc_namespace *ns, struct proc *proc, const struct sight *seen,
		 enum proc_state to)
{
	struct tx *tx;
	bool mine;

	if (tx_begin(&ns->arena, &tx) < 0)
		return false;
	tx_lock(tx, &ns->record->proc_lock);
	mine = holds(proc, seen);
	if (mine && proc->state != PROC_DYING)
		tx_set(tx, proc->state, to);
	tx_commit(tx);
	return mine;
}

static void set_free(struct ipc_namespace *ns, struct proc *proc, uint32_t generation)
{
	struct tx *tx;

	if (tx_begin(&ns->arena, &tx) < 0)
		return;
	tx_lock(tx, &ns->record->proc_lock);
	/* While a file of it can't be unlinked, it stays for the next sweep. */
	if (proc->generation == generation && proc_is_going(proc) && !has_leftovers(proc) &&
	    !proc->sem_undo) {
		tx_set(tx, proc->generation, generation + 1);
		tx_set(tx, proc->pid, 0);
		/* Last: who dies before leaves a slot that a sweep looks at, and so takes back what is half-done. */
		tx_set(tx, proc->state, PROC_FREE);
	}
	tx_commit(tx);
}

/*
 * Several may remove the same process at once: each hook takes what it finds until nothing is left,
 * so when any of them is through, all is gone.
 */
static bool remove_proc(struct ipc_namespace *ns, struct proc *proc, const struct sight *seen,
			enum proc_state to)
{
	if (!mark(ns, proc, seen, to))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(proc_exit_hooks); i++)
		if (proc_exit_hooks[i])
			proc_exit_hooks[i](ns, proc);
	set_free(ns, proc, seen->generation);
	return true;
}

/* What a dead remover has left half-done is taken back when its lock is taken; then what was seen no longer holds. */
static bool sweep_slot(struct ipc_namespace *ns, struct proc *proc)
{
	for (unsigned tries = 0; tries < SWEEP_TRIES; tries++) {
		struct sight seen = see(proc);
		enum proc_state now;

		if (seen.state == PROC_FREE ||
		    (seen.state == PROC_LIVE && likely(proc_doorbell(proc)) &&
		     likely(!rings_in_vain(ns, proc))))
			return false;
		now = look(ns, proc, &seen);
		if (now != PROC_DYING &&
		    (now != PROC_EXECED || (seen.state == now && !has_leftovers(proc))))
			return false;
		if (remove_proc(ns, proc, &seen, now))
			return true;
	}
	return false;
}

unsigned proc_sweep(struct ipc_namespace *ns)
{
	uint32_t ready = slots_ready(ns);
	unsigned n = 0;

	for (uint32_t i = 0; i < ready; i++)
		n += sweep_slot(ns, proc_at(ns, i));
	return n;
}

static int slot_new(struct ipc_namespace *ns, struct tx *tx, struct proc **ret_proc)
{
	struct arena_header *header = ns->arena.header;
	struct proc *proc = proc_at(ns, header->procs_ready);
	struct arena_lock pattern;
	int ret;

	if (header->procs_ready == ARENA_PROCS)
		return -ENOSPC;
	ret = arena_commit(&ns->arena, (char *)proc - ns->arena.base, sizeof(*proc));
	if (ret < 0)
		return ret;
	memset(proc, 0, sizeof(*proc));
	arena_lock_init(&pattern);
	memcpy(&proc->doorbell, &pattern.mutex, sizeof(proc->doorbell));
	tx_set(tx, header->procs_ready, header->procs_ready + 1);
	*ret_proc = proc;
	return 0;
}

/* A slot whose doorbell nobody holds any more. The caller holds proc_lock. */
static int slot_find(struct ipc_namespace *ns, struct tx *tx, struct proc **ret_proc)
{
	for (uint32_t i = 0; i < ns->arena.header->procs_ready; i++) {
		struct proc *proc = proc_at(ns, i);

		if (proc->state == PROC_FREE && !proc_doorbell(proc)) {
			*ret_proc = proc;
			return 0;
		}
	}
	return slot_new(ns, tx, ret_proc);
}

/* The doorbell is the calling thread's from now on, unless another thread of the process has it. */
static void ring_for_me(struct proc *proc)
{
	if (pthread_mutex_trylock(&proc->doorbell) == EOWNERDEAD)
		pthread_mutex_consistent(&proc->doorbell);
}

bool proc_doorbell_give(struct ipc_namespace *ns)
{
	struct proc *me = proc_mine(ns);

	/* By the id that the kernel knows: a vfork child has its parent's memory. */
	if (!me || proc_doorbell(me) != (uint32_t)os_gettid())
		return false;
	pthread_mutex_unlock(&me->doorbell);
	return true;
}

void proc_doorbell_take(struct ipc_namespace *ns)
{
	struct proc *me = proc_mine(ns);

	if (me)
		ring_for_me(me);
}

/* What this very process had before it exec'ed, or NULL. Others may free it, and give it away, at any time. */
static struct proc *former_self(struct ipc_namespace *ns, struct sight *ret_seen)
{
	struct life life = {0};
	int pid = os_getpid();

	for (uint32_t i = 0; i < slots_ready(ns); i++) {
		struct proc *proc = proc_at(ns, i);
		struct sight seen = see(proc);

		if (seen.pid != pid || (seen.state != PROC_LIVE && seen.state != PROC_EXECED))
			continue;
		*ret_seen = seen;
		if ((life.start || read_life(0, &life) == 0) &&
		    load_acquire(proc->start) == life.start &&
		    load_acquire(proc->pid_ns) == my_pid_ns())
			return proc;
	}
	return NULL;
}

struct proc *proc_after_exec(struct ipc_namespace *ns)
{
	struct sight seen;
	struct proc *former = former_self(ns, &seen);

	if (former)
		remove_proc(ns, former, &seen, PROC_EXECED);
	return former;
}

/* The slot of a process that has come back from an exec. Its doorbell may be in the name of a thread of before. */
static void doorbell_renew(struct tx *tx, struct proc *proc)
{
	struct arena_lock pattern;

	arena_lock_init(&pattern);
	memcpy(&proc->doorbell, &pattern.mutex, sizeof(proc->doorbell));
	tx_set(tx, proc->generation, proc->generation + 1);
}

/* A new slot, or with `former` that one, from which all that the exec ended has gone. */
static int enter_slot(struct ipc_namespace *ns, struct proc *former, uint64_t start,
		      struct proc **ret_proc)
{
	struct proc *proc = former;
	struct tx *tx;
	int ret = tx_begin(&ns->arena, &tx);

	if (ret < 0)
		return ret;
	tx_lock(tx, &ns->record->proc_lock);
	if (!former || former->state != PROC_EXECED || former->pid != os_getpid())
		ret = slot_find(ns, tx, &proc);
	else
		doorbell_renew(tx, proc);
	if (ret < 0) {
		tx_abort(tx);
		return ret;
	}
	tx_set(tx, proc->pid, os_getpid());
	tx_set(tx, proc->start, start);
	tx_set(tx, proc->pid_ns, my_pid_ns());
	tx_set(tx, proc->state, PROC_LIVE);
	ring_for_me(proc);
	ns->proc_generation = proc->generation;
	tx_commit(tx);
	*ret_proc = proc;
	return 0;
}

static int enter_new(struct ipc_namespace *ns)
{
	struct life life = {0};
	struct proc *proc, *former;
	int ret;

	/* Without these two nobody could tell when the process is dead. */
	ret = my_pid_ns() ? read_life(0, &life) : -ENOENT;
	if (ret < 0)
		return ret == -EACCES || ret == -ENOENT ? -ENOMEM : ret;
	former = proc_after_exec(ns);
	ret = enter_slot(ns, former, life.start, &proc);
	if (ret < 0)
		return ret;
	__atomic_store_n(&ns->proc, proc, __ATOMIC_RELEASE);
	proc_sweep(ns);
	return 0;
}

struct proc *proc_mine(struct ipc_namespace *ns)
{
	struct proc *proc = load_acquire(ns->proc);

	return proc && load_acquire(proc->generation) == ns->proc_generation ? proc : NULL;
}

/* Of this process: one thread enters it. */
static pthread_mutex_t enter_lock = PTHREAD_MUTEX_INITIALIZER;

void proc_fork_reset(void)
{
	enter_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

int proc_enter(struct ipc_namespace *ns, struct proc **ret_proc)
{
	int ret = 0;

	critical_enter();
	if (likely(proc_mine(ns))) {
		/* The thread that held the doorbell may have ended. */
		if (unlikely(!proc_doorbell(ns->proc)))
			ring_for_me(ns->proc);
	} else {
		pthread_mutex_lock(&enter_lock);
		if (!proc_mine(ns))
			ret = enter_new(ns);
		pthread_mutex_unlock(&enter_lock);
	}
	critical_leave();
	if (ret == 0)
		*ret_proc = ns->proc;
	return ret;
}

void proc_leave(struct ipc_namespace *ns)
{
	struct proc *proc = proc_mine(ns);
	struct sight seen;

	if (!proc)
		return;
	critical_enter();
	seen = see(proc);
	/* Who died before this process ends pays first. */
	proc_sweep(ns);
	__atomic_store_n(&ns->proc, NULL, __ATOMIC_RELEASE);
	remove_proc(ns, proc, &seen, PROC_DYING);
	critical_leave();
}

struct proc *proc_fork_prepare(struct ipc_namespace *ns, uint32_t *ret_generation)
{
	struct proc *me = proc_mine(ns), *proc;
	struct tx *tx;
	int ret;

	if (!me || tx_begin(&ns->arena, &tx) < 0)
		return NULL;
	tx_lock(tx, &ns->record->proc_lock);
	ret = slot_find(ns, tx, &proc);
	if (ret < 0) {
		tx_abort(tx);
		return NULL;
	}
	tx_set(tx, proc->pid, 0);
	tx_set(tx, proc->start, 0);
	tx_set(tx, proc->pid_ns, my_pid_ns());
	tx_set(tx, proc->parent, proc_slot(ns, me));
	tx_set(tx, proc->parent_life, me->generation + 1);
	tx_set(tx, proc->state, PROC_EMBRYO);
	*ret_generation = proc->generation;
	tx_commit(tx);
	return proc;
}

void proc_fork_parent(struct ipc_namespace *ns, struct proc *embryo, uint32_t generation, int pid)
{
	struct sight seen = {.generation = generation, .state = PROC_EMBRYO};
	struct tx *tx;

	if (pid < 0) {
		remove_proc(ns, embryo, &seen, PROC_DYING);
		return;
	}
	if (tx_begin(&ns->arena, &tx) < 0)
		return;
	tx_lock(tx, &ns->record->proc_lock);
	if (embryo->generation == generation && embryo->state == PROC_EMBRYO)
		tx_set(tx, embryo->pid, pid);
	tx_commit(tx);
}

bool proc_fork_child(struct ipc_namespace *ns, struct proc *embryo, uint32_t generation)
{
	struct life life = {0};
	struct tx *tx;
	bool mine;

	if (!embryo || read_life(0, &life) < 0 || tx_begin(&ns->arena, &tx) < 0)
		return false;
	tx_lock(tx, &ns->record->proc_lock);
	mine = embryo->state == PROC_EMBRYO && embryo->generation == generation;
	if (mine) {
		tx_set(tx, embryo->pid, os_getpid());
		tx_set(tx, embryo->start, life.start);
		ring_for_me(embryo);
		tx_set(tx, embryo->state, PROC_LIVE);
		ns->proc = embryo;
		ns->proc_generation = generation;
	}
	tx_commit(tx);
	return mine;
}
