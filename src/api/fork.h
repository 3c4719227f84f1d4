/* fork.h - a process that uses vee forks. */
#pragma once

#include <sys/types.h>

/* Once per process, before its first call: from here on its forks are followed. */
void fork_init(void);
/* Around a fork that runs no handlers of pthread_atfork. */
void fork_before(void);
void fork_after_parent(void);
void fork_after_child(void);
/*
 * What fork returned, to its caller: the child's pid is noted, so that a child that dies before its
 * first instruction is found dead; an embryo without a child goes. Returns pid; keeps errno.
 */
pid_t fork_note_child(pid_t pid);
