/*
 * cli.h - what the commands of `vee` share.
 *
 * What a caller sees: main.c picks a cmd_NAME() and exits with what it returns. Nothing but `ns create`, root's
 * `run --ns` and `msg --create` makes a namespace: a command on one that is not there says so, or has nothing to show.
 * Values go to stdout, everything else to stderr as "vee CMD: what".
 */
#pragma once

#include "ipc/guests.h"
#include <jansson.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1, /* it went wrong, or what was checked is wrong */
	CLI_USAGE = 2,
	CLI_WOULD_WAIT = 3, /* `vee msg`, `vee chan`: no message, no room, and it was not to wait */
};

int cmd_run(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_msg(int argc, char **argv);
int cmd_chan(int argc, char **argv);
int cmd_ns(int argc, char **argv);
int cmd_limits(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_gc(int argc, char **argv);

/* main.c: "vee rm", for messages; argv[0] too, so that getopt says the same. */
extern const char *cli_name;
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same and where to find help. Returns CLI_USAGE. */
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* After getopt has said what is wrong. Returns CLI_USAGE. */
int cli_bad_option(void);

/*
 * parse.c. The word that must follow a command: the index of its verb, among names such as "vee ns ls", of which it becomes
 * cli_name; -1: *ret_status is the exit status, and all is said.
 */
int cli_verb(int argc, char **argv, const char *const *verbs, unsigned n, int (*help)(void),
	     int *ret_status);

/* Each: false for anything else. */

/* A whole unsigned number, decimal, 0x… or 0…, at most `max`. */
bool cli_number(const char *text, uint64_t max, uint64_t *ret_number);
/* From 0 to 1e9, with or without a fraction. */
bool cli_seconds(const char *text, struct timespec *ret_time);
/* Permissions, octal as of chmod, up to 0777. */
bool cli_mode(const char *text, uint32_t *ret_mode);
/* Bytes, or 64K, 4M, 1GiB … (of 1024). */
bool cli_size(const char *text, uint64_t *ret_bytes);

/* table.c: columns as wide as they need, "" for an empty cell; the last is not padded. */
#define TABLE_COLUMNS 12

struct table {
	unsigned n_columns, n_rows;
	uint32_t right; /* bit i: column i is aligned to the right */
	char *(*rows)[TABLE_COLUMNS];
};

void table_init(struct table *table, unsigned n_columns, uint32_t right, const char *const *heads);
/* A row of empty cells; then each cell by table_cell(). */
void table_row(struct table *table);
void table_cell(struct table *table, unsigned column, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Prints and frees it. */
void table_print(struct table *table);
/* The same, to any stream; without its heads they don't count for the width either. */
void table_write(struct table *table, bool heads, FILE *to);
void table_free(struct table *table);
/* What a terminal would obey becomes '?': names are anybody's. In place; returns text. */
char *cli_plain(char *text);
/* Prints it, indented, and lets go of it. */
void json_print(json_t *json);
/* As "text" if the bytes are UTF-8, else as "base64". */
void json_set_text(json_t *object, const char *bytes, size_t n);
/* As "name"; what is not UTF-8 is there with '?' for each byte that is not ASCII, and whole as "name_base64". */
void json_set_name(json_t *object, const char *name);

/* The command of a process, printable ASCII; "" if there is none. */
const char *pid_command(int pid, char *buf, size_t size);

/* accounts.c: root's named namespaces are the machine's: the system's accounts may use them. */
bool accounts_belong_in(const char *name);
/* namespace_make() for them: /etc/passwd's users up to SYS_UID_MAX, and nobody. */
int accounts_make_namespace(struct ipc_namespace *ns, const char *dir);

/* folder.c: the folders of namespaces. */

/* name, or what stands for none: $VEE_NS, "default". */
const char *folder_name(const char *name);
/* For what asks $VEE_NS itself: it is that from now on. NULL changes nothing. */
void folder_use(const char *name);
/* Before a namespace is opened: what each mechanism does when it finds a process dead. folder_open() does it. */
void folder_hooks(void);
/*
 * Opens the namespace, which must be there. Returns 0; -ENOENT, and has said nothing; another negative errno,
 * and has said why.
 */
int folder_open(const char *name, struct ipc_namespace *ns);
/* The same, but -ENOENT too is said. */
int folder_open_existing(const char *name, struct ipc_namespace *ns);
/* Says why a namespace_*() call failed. */
void folder_error(const char *name, int error);
/* Processes that are in it and alive. */
unsigned folder_processes(struct ipc_namespace *ns);
/* Processes that map its file, found without reading that: for a file that can't be opened. */
unsigned folder_mapped(const char *dir);
uint64_t folder_size_bytes(const char *dir);
/* Removes what vee makes in it, then the folder. -ENOENT, -ENOTDIR; -ENOTEMPTY: it holds something else. */
int folder_remove(const char *dir);
/* The names of all namespaces, sorted. Returns their number or a negative errno. */
int folder_names(char ***ret_names);
void folder_names_free(char **names, int n_names);
