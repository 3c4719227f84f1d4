/* ls-msg.c - `vee ls -q`: the message queues, what types of messages are in them, who waits. */
#include "cli/ls.h"
#include "msg/msg.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TYPES_SHOWN 16u /* of a queue, in the table; JSON has all */

struct type_count {
	int64_t type;
	uint64_t messages, bytes;
};

/* A queue may change while its messages and its waiters are asked for. */
struct queue_view {
	const struct msg_info_entry *entry;
	struct type_count *types; /* the lowest first */
	struct msg_waiter_entry *waiters;
	unsigned n_types, n_waiters;
};

static int compare_types(const void *a, const void *b)
{
	const struct msg_entry *x = a, *y = b;

	return x->type < y->type ? -1 : x->type > y->type;
}

static void count_types(struct queue_view *view, struct msg_entry *messages, unsigned n)
{
	qsort(messages, n, sizeof(*messages), compare_types);
	view->types = ls_grown(NULL, n, sizeof(*view->types));
	for (unsigned i = 0; i < n; i++) {
		struct type_count *last = view->types + view->n_types;

		if (!i || last[-1].type != messages[i].type) {
			*last++ = (struct type_count){.type = messages[i].type};
			view->n_types++;
		}
		last[-1].messages++;
		last[-1].bytes += messages[i].size;
	}
}

static void look_at(struct ipc_namespace *ns, const struct msg_info_entry *entry,
		    struct queue_view *view)
{
	struct msg_entry *messages = NULL;
	unsigned size, n;

	*view = (struct queue_view){.entry = entry};
	for (size = 0; (n = msg_messages(ns, entry->id, messages, size)) > size;) {
		size = n + 8;
		messages = ls_grown(messages, size, sizeof(*messages));
	}
	if (n)
		count_types(view, messages, n);
	free(messages);
	for (size = 0; (n = msg_waiters(ns, entry->id, view->waiters, size)) > size;) {
		size = n + 8;
		view->waiters = ls_grown(view->waiters, size, sizeof(*view->waiters));
	}
	view->n_waiters = n;
}

static void look_away(struct queue_view *view)
{
	free(view->types);
	free(view->waiters);
}

static void add_queue(struct table *table, const struct queue_view *view)
{
	const struct msqid_ds *ds = &view->entry->ds;
	char buf[64];

	table_row(table);
	table_cell(table, 0, "0x%08x", (unsigned)ds->msg_perm.__key);
	table_cell(table, 1, "%d", view->entry->id);
	table_cell(table, 2, "%s", ls_user_name(ds->msg_perm.uid, buf, sizeof(buf)));
	table_cell(table, 3, "%o", (unsigned)ds->msg_perm.mode & 0777);
	table_cell(table, 4, "%lu", (unsigned long)ds->__msg_cbytes);
	table_cell(table, 5, "%lu", (unsigned long)ds->msg_qnum);
	table_cell(table, 6, "%lu", (unsigned long)ds->msg_qbytes);
	table_cell(table, 7, "%d", (int)ds->msg_lspid);
	table_cell(table, 8, "%d", (int)ds->msg_lrpid);
	table_cell(table, 9, "%s", ls_time(ds->msg_stime, buf, sizeof(buf)));
	table_cell(table, 10, "%s", ls_time(ds->msg_rtime, buf, sizeof(buf)));
	table_cell(table, 11, "%s", ls_time(ds->msg_ctime, buf, sizeof(buf)));
}

/* The rest of the types, if there are too many, are one row. */
static void add_types(struct table *table, const struct queue_view *view)
{
	struct type_count rest = {0};

	for (unsigned i = 0; i < view->n_types; i++) {
		const struct type_count *type = &view->types[i];

		if (i >= TYPES_SHOWN) {
			rest.messages += type->messages;
			rest.bytes += type->bytes;
			continue;
		}
		table_row(table);
		table_cell(table, 0, "%d", view->entry->id);
		table_cell(table, 1, "%" PRId64, type->type);
		table_cell(table, 2, "%" PRIu64, type->messages);
		table_cell(table, 3, "%" PRIu64, type->bytes);
	}
	if (view->n_types <= TYPES_SHOWN)
		return;
	table_row(table);
	table_cell(table, 0, "%d", view->entry->id);
	table_cell(table, 1, "%u more", view->n_types - TYPES_SHOWN);
	table_cell(table, 2, "%" PRIu64, rest.messages);
	table_cell(table, 3, "%" PRIu64, rest.bytes);
}

/* "receive any", "receive type 5", "receive type <= 5", "receive all but 5", "send type 5, 80 bytes" */
static const char *wish_text(const struct msg_waiter_entry *waiter, char *buf, size_t size)
{
	if (waiter->sends)
		snprintf(buf, size, "send type %" PRId64 ", %" PRIu64 " bytes", waiter->type,
			 waiter->size);
	else if (!waiter->type)
		snprintf(buf, size, "receive any");
	else if (waiter->type < 0)
		snprintf(buf, size, "receive type <= %" PRIu64, -(uint64_t)waiter->type);
	else
		snprintf(buf, size, "receive %s %" PRId64, waiter->except ? "all but" : "type",
			 waiter->type);
	return buf;
}

static void add_waiters(struct table *table, const struct queue_view *view)
{
	char buf[64];

	for (unsigned i = 0; i < view->n_waiters; i++) {
		const struct msg_waiter_entry *waiter = &view->waiters[i];

		table_row(table);
		table_cell(table, 0, "%d", view->entry->id);
		table_cell(table, 1, "%d", waiter->pid);
		table_cell(table, 2, "%d", waiter->tid);
		table_cell(table, 3, "%s", pid_command(waiter->pid, buf, sizeof(buf)));
		table_cell(table, 4, "%s", wish_text(waiter, buf, sizeof(buf)));
		table_cell(table, 5, "%s", ls_time(waiter->since, buf, sizeof(buf)));
	}
}

void ls_msg_table(struct ipc_namespace *ns)
{
	static const char *const heads[] = {"KEY",   "ID",	 "OWNER",  "PERMS",
					    "BYTES", "MESSAGES", "QBYTES", "LSPID",
					    "LRPID", "STIME",	 "RTIME",  "CTIME"};
	static const char *const type_heads[] = {"ID", "TYPE", "MESSAGES", "BYTES"};
	static const char *const wait_heads[] = {"ID", "PID", "TID", "WAITING", "TO", "SINCE"};
	struct table queues, types, waiters;
	struct msg_info_entry entry;
	struct queue_view view;

	table_init(&queues, ARRAY_SIZE(heads), 1 << 1 | 0x3f << 3, heads);
	table_init(&types, ARRAY_SIZE(type_heads), 0xf, type_heads);
	table_init(&waiters, ARRAY_SIZE(wait_heads), 1 << 0 | 1 << 1 | 1 << 2, wait_heads);
	for (int index = -1; ns && msg_each(ns, &index, &entry);) {
		look_at(ns, &entry, &view);
		add_queue(&queues, &view);
		add_types(&types, &view);
		add_waiters(&waiters, &view);
		look_away(&view);
	}
	table_print(&queues);
	ls_print_below(&types);
	ls_print_below(&waiters);
}

static json_t *types_json(const struct queue_view *view)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < view->n_types; i++) {
		const struct type_count *type = &view->types[i];

		json_array_append_new(list,
				      json_pack("{s:I, s:I, s:I}", "type", (json_int_t)type->type,
						"messages", (json_int_t)type->messages, "bytes",
						(json_int_t)type->bytes));
	}
	return list;
}

static json_t *waiting_json(const struct queue_view *view)
{
	json_t *list = json_array();
	char name[64];

	for (unsigned i = 0; i < view->n_waiters; i++) {
		const struct msg_waiter_entry *waiter = &view->waiters[i];

		json_array_append_new(list,
				      json_pack("{s:i, s:i, s:s, s:s, s:I, s:b, s:I, s:I}", "pid",
						waiter->pid, "tid", waiter->tid, "command",
						pid_command(waiter->pid, name, sizeof(name)), "to",
						waiter->sends ? "send" : "receive", "type",
						(json_int_t)waiter->type, "except", waiter->except,
						"bytes", (json_int_t)waiter->size, "since",
						(json_int_t)waiter->since));
	}
	return list;
}

static json_t *queue_json(const struct queue_view *view)
{
	const struct msqid_ds *ds = &view->entry->ds;
	char key[16], perms[16], owner[16];
	json_t *queue;

	snprintf(key, sizeof(key), "0x%08x", (unsigned)ds->msg_perm.__key);
	snprintf(perms, sizeof(perms), "%04o", (unsigned)ds->msg_perm.mode & 0777);
	queue = json_pack("{s:s, s:s, s:i, s:s, s:i, s:i, s:s, s:I, s:I, s:I}", "kind", "msg",
			  "key", key, "id", view->entry->id, "owner",
			  ls_user_name(ds->msg_perm.uid, owner, sizeof(owner)), "uid",
			  (int)ds->msg_perm.uid, "gid", (int)ds->msg_perm.gid, "perms", perms,
			  "bytes", (json_int_t)ds->__msg_cbytes, "messages",
			  (json_int_t)ds->msg_qnum, "qbytes", (json_int_t)ds->msg_qbytes);
	json_object_set_new(queue, "lspid", json_integer(ds->msg_lspid));
	json_object_set_new(queue, "lrpid", json_integer(ds->msg_lrpid));
	json_object_set_new(queue, "stime", json_integer((json_int_t)ds->msg_stime));
	json_object_set_new(queue, "rtime", json_integer((json_int_t)ds->msg_rtime));
	json_object_set_new(queue, "ctime", json_integer((json_int_t)ds->msg_ctime));
	json_object_set_new(queue, "types", types_json(view));
	json_object_set_new(queue, "waiting", waiting_json(view));
	return queue;
}

void ls_msg_json(struct ipc_namespace *ns, json_t *list)
{
	struct msg_info_entry entry;
	struct queue_view view;

	for (int index = -1; ns && msg_each(ns, &index, &entry);) {
		look_at(ns, &entry, &view);
		json_array_append_new(list, queue_json(&view));
		look_away(&view);
	}
}
