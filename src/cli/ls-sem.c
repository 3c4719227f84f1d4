/* ls-sem.c - `vee ls -s`: the semaphore sets, their values, who owes them something, who waits. */
#include "cli/ls.h"
#include "sem/sem.h"

#include <stdlib.h>

#define VALUES_SHOWN 16u /* in the table; JSON has all */

/* What the three lists of a set are copied into; each may change while it is asked for. */
struct set_view {
	const struct sem_info_entry *entry;
	int *values, *pids;
	struct sem_undo_entry *undoers;
	struct sem_waiter_entry *waiters;
	unsigned n_values, n_undoers, n_waiters;
};

static void look_at(struct ipc_namespace *ns, const struct sem_info_entry *entry,
		    struct set_view *view)
{
	unsigned size = entry->ds.sem_nsems, n;

	*view = (struct set_view){.entry = entry};
	view->values = ls_grown(NULL, size, sizeof(*view->values));
	view->pids = ls_grown(NULL, size, sizeof(*view->pids));
	n = sem_values(ns, entry->id, view->values, view->pids, size);
	view->n_values = n < size ? n : size;
	for (size = 0; (n = sem_undoers(ns, entry->id, view->undoers, size)) > size;) {
		size = n + 8;
		view->undoers = ls_grown(view->undoers, size, sizeof(*view->undoers));
	}
	view->n_undoers = n;
	for (size = 0; (n = sem_waiters(ns, entry->id, view->waiters, size)) > size;) {
		size = n + 8;
		view->waiters = ls_grown(view->waiters, size, sizeof(*view->waiters));
	}
	view->n_waiters = n;
}

static void look_away(struct set_view *view)
{
	free(view->values);
	free(view->pids);
	free(view->undoers);
	free(view->waiters);
}

/* "1 0 5", or the first of them and how many more there are. */
static const char *values_text(const struct set_view *view, char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < view->n_values && i < VALUES_SHOWN; i++)
		at += (size_t)snprintf(buf + at, size - at, "%s%d", i ? " " : "", view->values[i]);
	if (view->n_values > VALUES_SHOWN)
		snprintf(buf + at, size - at, " and %u more", view->n_values - VALUES_SHOWN);
	return buf;
}

static void add_set(struct table *table, const struct set_view *view)
{
	const struct semid_ds *ds = &view->entry->ds;
	char buf[256];

	table_row(table);
	table_cell(table, 0, "0x%08x", (unsigned)ds->sem_perm.__key);
	table_cell(table, 1, "%d", view->entry->id);
	table_cell(table, 2, "%s", ls_user_name(ds->sem_perm.uid, buf, sizeof(buf)));
	table_cell(table, 3, "%o", (unsigned)ds->sem_perm.mode & 0777);
	table_cell(table, 4, "%lu", (unsigned long)ds->sem_nsems);
	table_cell(table, 5, "%s", ls_time(ds->sem_otime, buf, sizeof(buf)));
	table_cell(table, 6, "%s", ls_time(ds->sem_ctime, buf, sizeof(buf)));
	table_cell(table, 7, "%s", values_text(view, buf, sizeof(buf)));
}

static void add_undoers(struct table *table, const struct set_view *view)
{
	char buf[64];

	for (unsigned i = 0; i < view->n_undoers; i++) {
		const struct sem_undo_entry *undo = &view->undoers[i];

		table_row(table);
		table_cell(table, 0, "%d", view->entry->id);
		table_cell(table, 1, "%d", undo->pid);
		table_cell(table, 2, "%s", pid_command(undo->pid, buf, sizeof(buf)));
		table_cell(table, 3, "%u", undo->semnum);
		table_cell(table, 4, "%+d", undo->semadj);
	}
}

/* "sem 2 -1", "sem 0 zero"; "of 3" if it is one of an array of 3. */
static const char *operation_text(const struct sem_waiter_entry *waiter, char *buf, size_t size)
{
	char what[16] = "zero", of[16] = "";

	if (waiter->sop.sem_op)
		snprintf(what, sizeof(what), "%+d", waiter->sop.sem_op);
	if (waiter->nsops > 1)
		snprintf(of, sizeof(of), " of %u", waiter->nsops);
	snprintf(buf, size, "sem %u %s%s", waiter->sop.sem_num, what, of);
	return buf;
}

static void add_waiters(struct table *table, const struct set_view *view)
{
	char buf[64];

	for (unsigned i = 0; i < view->n_waiters; i++) {
		const struct sem_waiter_entry *waiter = &view->waiters[i];

		table_row(table);
		table_cell(table, 0, "%d", view->entry->id);
		table_cell(table, 1, "%d", waiter->pid);
		table_cell(table, 2, "%d", waiter->tid);
		table_cell(table, 3, "%s", pid_command(waiter->pid, buf, sizeof(buf)));
		table_cell(table, 4, "%s", operation_text(waiter, buf, sizeof(buf)));
		table_cell(table, 5, "%s", ls_time(waiter->since, buf, sizeof(buf)));
	}
}

void ls_sem_table(struct ipc_namespace *ns)
{
	static const char *const heads[] = {"KEY",   "ID",    "OWNER", "PERMS",
					    "NSEMS", "OTIME", "CTIME", "VALUES"};
	static const char *const undo_heads[] = {"ID", "PID", "UNDO BY", "SEM", "ADJUSTMENT"};
	static const char *const wait_heads[] = {"ID",	    "PID",	 "TID",
						 "WAITING", "OPERATION", "SINCE"};
	struct table sets, undoers, waiters;
	struct sem_info_entry entry;
	struct set_view view;

	table_init(&sets, ARRAY_SIZE(heads), 1 << 1 | 1 << 3 | 1 << 4, heads);
	table_init(&undoers, ARRAY_SIZE(undo_heads), 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4, undo_heads);
	table_init(&waiters, ARRAY_SIZE(wait_heads), 1 << 0 | 1 << 1 | 1 << 2, wait_heads);
	for (int index = -1; ns && sem_each(ns, &index, &entry);) {
		look_at(ns, &entry, &view);
		add_set(&sets, &view);
		add_undoers(&undoers, &view);
		add_waiters(&waiters, &view);
		look_away(&view);
	}
	table_print(&sets);
	ls_print_below(&undoers);
	ls_print_below(&waiters);
}

static json_t *ints_json(const int *numbers, unsigned n)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, json_integer(numbers[i]));
	return list;
}

static json_t *undo_json(const struct set_view *view)
{
	json_t *list = json_array();
	char name[64];

	for (unsigned i = 0; i < view->n_undoers; i++) {
		const struct sem_undo_entry *undo = &view->undoers[i];

		json_array_append_new(list,
				      json_pack("{s:i, s:s, s:i, s:i}", "pid", undo->pid, "command",
						pid_command(undo->pid, name, sizeof(name)), "sem",
						(int)undo->semnum, "adjustment", undo->semadj));
	}
	return list;
}

static json_t *waiting_json(const struct set_view *view)
{
	json_t *list = json_array();
	char name[64];

	for (unsigned i = 0; i < view->n_waiters; i++) {
		const struct sem_waiter_entry *waiter = &view->waiters[i];

		json_array_append_new(
			list, json_pack("{s:i, s:i, s:s, s:i, s:i, s:i, s:I}", "pid", waiter->pid,
					"tid", waiter->tid, "command",
					pid_command(waiter->pid, name, sizeof(name)), "sem",
					waiter->sop.sem_num, "op", waiter->sop.sem_op, "nsops",
					(int)waiter->nsops, "since", (json_int_t)waiter->since));
	}
	return list;
}

static json_t *set_json(const struct set_view *view)
{
	const struct semid_ds *ds = &view->entry->ds;
	char key[16], perms[16], owner[16];
	json_t *set;

	snprintf(key, sizeof(key), "0x%08x", (unsigned)ds->sem_perm.__key);
	snprintf(perms, sizeof(perms), "%04o", (unsigned)ds->sem_perm.mode & 0777);
	set = json_pack("{s:s, s:s, s:i, s:s, s:i, s:i, s:s, s:I, s:I, s:I}", "kind", "sem", "key",
			key, "id", view->entry->id, "owner",
			ls_user_name(ds->sem_perm.uid, owner, sizeof(owner)), "uid",
			(int)ds->sem_perm.uid, "gid", (int)ds->sem_perm.gid, "perms", perms,
			"nsems", (json_int_t)ds->sem_nsems, "otime", (json_int_t)ds->sem_otime,
			"ctime", (json_int_t)ds->sem_ctime);
	json_object_set_new(set, "values", ints_json(view->values, view->n_values));
	json_object_set_new(set, "pids", ints_json(view->pids, view->n_values));
	json_object_set_new(set, "undo", undo_json(view));
	json_object_set_new(set, "waiting", waiting_json(view));
	return set;
}

void ls_sem_json(struct ipc_namespace *ns, json_t *list)
{
	struct sem_info_entry entry;
	struct set_view view;

	for (int index = -1; ns && sem_each(ns, &index, &entry);) {
		look_at(ns, &entry, &view);
		json_array_append_new(list, set_json(&view));
		look_away(&view);
	}
}
