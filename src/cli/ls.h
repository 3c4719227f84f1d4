/* ls.h - the parts of `vee ls`, one a mechanism. ns NULL: a namespace that is not there, and so has nothing. */
#pragma once

#include "cli/cli.h"

/* The user's name, or in buf the number. */
const char *ls_user_name(uid_t uid, char *buf, size_t size);

void ls_shm_table(struct ipc_namespace *ns);
void ls_sem_table(struct ipc_namespace *ns);
/* Append an object for each. */
void ls_shm_json(struct ipc_namespace *ns, json_t *list);
void ls_sem_json(struct ipc_namespace *ns, json_t *list);
