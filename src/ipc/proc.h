/*
 * proc.h - the process table: who uses the namespace, and who is dead.
 *
 * What a caller sees: proc_enter() makes sure that the process is in the table; proc_sweep() removes the
 * dead and passes each to the mechanisms' `exit` hooks, after which no trace is left. After waitpid() has
 * returned for a process, a sweep finds it dead.
 *
 * How it works. Three signs:
 *   doorbell  a robust mutex in the slot that a thread of the process holds. Held: alive, with no system call.
 *             Not held, or its owner died: the thread ended, the process exec'ed, or it is dead.
 *   /proc/PID/stat    no such process, a zombie, or one of another start time: dead.
 *   /proc/PID/maps    it does not map the namespace file: it exec'ed; what its memory held is gone.
 * What can't be decided counts as alive.
 *
 * exec: the slot becomes PROC_EXECED and the mechanisms drop what belonged to the memory. What is kept over exec
 * (SEM_UNDO) stays until the process ends, or enters the table again and so gets its slot back.
 *
 * fork: the parent makes a slot for the child beforehand (an embryo, with the attachments of
 * the parent), so that they count from the moment when fork() returns to anybody. The child makes it its own;
 * the parent notes the child's pid, so that a child that dies before its first instruction is found dead.
 *
 * Guard: ipc_namespace.proc_lock for state, pid, start and list links; the mechanisms' own lists by
 * their own locks (proc->shm_clist by the lock of the shm ids).
 */
#pragma once

#include "arena/slab.h"

enum proc_state {
	PROC_FREE = 0,
	PROC_EMBRYO, /* made by a parent that is about to fork, or just did */
	PROC_LIVE,
	PROC_DYING,  /* its traces are being removed */
	PROC_EXECED, /* alive, but it has not come back since its exec */
};

/* record: one per process, in the slots of layout.h */
struct proc {
	pthread_mutex_t doorbell; /* taken by the process; tried by others */
	uint32_t state;
	int32_t pid;	 /* in its own pid namespace; embryo: 0 until the parent knows */
	uint64_t start;	 /* its start time, clock ticks since boot; embryo: 0 */
	uint64_t pid_ns; /* inode of its pid namespace */
	uint32_t parent; /* embryo: slot of the parent */
	uint32_t generation;
	ref_t shm_clist;      /* its attachments: struct shm_file_data; lock of the shm ids */
	ref_t sem_undo;	      /* list_proc of its struct sem_undo; lock of the sem ids */
	uint32_t removing;    /* a segment of which it unlinks the file: see shm.h */
	ref_t sleepers;	      /* its struct sleeper; proc_lock */
	uint32_t parent_life; /* embryo: the parent's generation + 1 */
	uint8_t pad[ARENA_PROC_SIZE - 52 - sizeof(pthread_mutex_t)];
};
_Static_assert(sizeof(struct proc) == ARENA_PROC_SIZE, "layout");

struct ipc_namespace;

/*
 * What a mechanism does when a process is gone, or has left: drops what it held. PROC_EXECED: only what
 * does not outlive an exec. It goes on only while proc->state is PROC_DYING or PROC_EXECED.
 */
typedef void proc_exit_fn(struct ipc_namespace *ns, struct proc *proc);
extern proc_exit_fn *proc_exit_hooks[3];

/*
 * Who owns a robust mutex, without touching it: the kernel thread id, or 0 if it is free or its owner
 * died. A try-lock instead would make the next one who looks believe that the owner is alive.
 */
uint32_t proc_doorbell(const struct proc *proc);
/*
 * To be woken when the owner of the doorbell dies: wait on proc_doorbell_word() for as long as it has the value that is
 * returned. 0: nobody holds it. The kernel wakes one of those who listen.
 */
uint32_t proc_doorbell_listen(struct proc *proc);
uint32_t *proc_doorbell_word(const struct proc *proc);
/* Around an exec: the calling thread lets the doorbell go if it holds it. Returns whether it did. */
bool proc_doorbell_give(struct ipc_namespace *ns);
void proc_doorbell_take(struct ipc_namespace *ns);

/* Is what the process held to be dropped? */
bool proc_is_going(const struct proc *proc);

/* The slot of this process, which it enters at first. -ENOMEM, -ENOSPC. Any thread. */
int proc_enter(struct ipc_namespace *ns, struct proc **ret_proc);
/*
 * At the opening of the namespace: what this process held before an exec, and does not keep over it, goes. From now on
 * /proc/PID/maps no longer tells others. Returns the slot, which is PROC_EXECED or free, or NULL.
 */
struct proc *proc_after_exec(struct ipc_namespace *ns);
/* This process's slot if it has one. */
struct proc *proc_mine(struct ipc_namespace *ns);
/* A normal exit: drops all that the process holds. */
void proc_leave(struct ipc_namespace *ns);
/* Removes the dead. Returns how many. */
unsigned proc_sweep(struct ipc_namespace *ns);
/* What proc_sweep() would make of the slot: PROC_DYING, PROC_EXECED, or as it is. The caller holds no lock. */
enum proc_state proc_look(struct ipc_namespace *ns, struct proc *proc);

/*
 * Of any process: it is gone, or about to be. false too if it is of another pid namespace, or can't be looked at; *ret_main_exited: its
 * first thread has ended, others not.
 */
bool proc_pid_is_dead(int pid, uint64_t start, uint64_t pid_ns, bool *ret_main_exited);
/* Does it map the file of that inode? true too if it can't be told. */
bool proc_maps_file(int pid, uint64_t inode);
/* What proc_pid_is_dead() asks for, of this process. */
void proc_self(int *ret_pid, uint64_t *ret_start, uint64_t *ret_pid_ns);

struct proc *proc_at(struct ipc_namespace *ns, uint32_t slot);
uint32_t proc_slot(struct ipc_namespace *ns, const struct proc *proc);

/* In a child after fork, first of all: the parent's threads are not here. */
void proc_fork_reset(void);
/* Around fork, in this order; see above. */
struct proc *proc_fork_prepare(struct ipc_namespace *ns, uint32_t *ret_generation);
/* pid < 0: there was no fork. */
void proc_fork_parent(struct ipc_namespace *ns, struct proc *embryo, uint32_t generation, int pid);
/* true: the embryo is this process's slot now. false: it has none yet. */
bool proc_fork_child(struct ipc_namespace *ns, struct proc *embryo, uint32_t generation);
