/* ls.h - the parts of `vee ls`, one a mechanism. ns NULL: a namespace that is not there, and so has nothing. */
#pragma once

#include "cli/cli.h"

/* The user's name, or in buf the number. */
const char *ls_user_name(uid_t uid, char *buf, size_t size);
/* "2026-11-21 16:36:05"; "-" for 0, never. */
const char *ls_time(int64_t seconds, char *buf, size_t size);
/* realloc() for n of them, or the end of the program. */
void *ls_grown(void *memory, unsigned n, size_t size);
/* Prints a table below another, if it has a row besides its heads; frees it. */
void ls_print_below(struct table *table);

void ls_shm_table(struct ipc_namespace *ns);
void ls_sem_table(struct ipc_namespace *ns);
void ls_msg_table(struct ipc_namespace *ns);
void ls_chan_table(struct ipc_namespace *ns); /* of that which $VEE_NS names */
/* Append an object for each. */
void ls_shm_json(struct ipc_namespace *ns, json_t *list);
void ls_sem_json(struct ipc_namespace *ns, json_t *list);
void ls_msg_json(struct ipc_namespace *ns, json_t *list);
void ls_chan_json(struct ipc_namespace *ns, json_t *list);
