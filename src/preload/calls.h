/* calls.h - what the files of this floor share. */
#pragma once

#include "ipc/namespace.h"

/* The namespace, for a call that is about to be made; 0, or -1 with errno set. Says why, once. */
int calls_open(struct ipc_namespace **ret_ns);
/* -1 and errno for a negative number, else the number. */
long calls_return(long ret);
/* The process is about to end: leaves the namespace. Not in a child that shares our memory. */
void process_leaves(void);

/* Around an exec: see exec.c. */
bool exec_before(void);
void exec_failed(bool given);
