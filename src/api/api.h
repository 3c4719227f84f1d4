/* api.h - what the files of the vee_* calls share. */
#pragma once

#include "ipc/namespace.h"

/* The namespace, for a call that is about to be made; 0, or -1 with errno set. */
int api_open(struct ipc_namespace **ret_ns);
/* -1 and errno for a negative number, else the number. */
long api_result(long ret);
