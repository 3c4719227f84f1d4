/* ls-shm.c - `vee ls -m`: the segments, and who is attached to them. */
#include "cli/ls.h"
#include "shm/shm.h"

#include <stdlib.h>

static const char *status_text(unsigned mode)
{
	if (mode & SHM_DEST)
		return mode & SHM_LOCKED ? "dest,locked" : "dest";
	return mode & SHM_LOCKED ? "locked" : "";
}

/* Everybody who is attached, in fresh memory; NULL if there is nobody. */
static struct shm_attach_entry *attachers(struct ipc_namespace *ns, int id, unsigned *ret_n)
{
	struct shm_attach_entry *entries = NULL, *more;
	unsigned size = 0, n;

	while ((n = shm_attachers(ns, id, entries, size)) > size) {
		size = n + 8;
		more = realloc(entries, size * sizeof(*entries));
		if (!more) {
			n = 0;
			break;
		}
		entries = more;
	}
	*ret_n = n;
	return entries;
}

static bool is_first_of_pid(const struct shm_attach_entry *entries, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (entries[k].pid == entries[i].pid)
			return false;
	return true;
}

/* "1234(perl) 99(x)": each process once, however often it is attached. */
static char *attached_text(struct ipc_namespace *ns, int id)
{
	struct shm_attach_entry *entries;
	char *text = NULL, name[64];
	size_t length;
	unsigned n;
	FILE *out = open_memstream(&text, &length);

	if (!out)
		return NULL;
	entries = attachers(ns, id, &n);
	for (unsigned i = 0; i < n; i++) {
		if (!is_first_of_pid(entries, i))
			continue;
		pid_command(entries[i].pid, name, sizeof(name));
		fputs(i ? " " : "", out);
		if (entries[i].pid > 0)
			fprintf(out, "%d", entries[i].pid);
		else
			fputc('?', out); /* just forked, not yet known */
		if (*name)
			fprintf(out, "(%s)", name);
	}
	fclose(out);
	free(entries);
	return text;
}

static void add_row(struct table *table, struct ipc_namespace *ns,
		    const struct shm_info_entry *entry)
{
	const struct shmid_ds *ds = &entry->ds;
	char *attached = attached_text(ns, entry->id);
	char buf[16];

	table_row(table);
	table_cell(table, 0, "0x%08x", (unsigned)ds->shm_perm.__key);
	table_cell(table, 1, "%d", entry->id);
	table_cell(table, 2, "%s", ls_user_name(ds->shm_perm.uid, buf, sizeof(buf)));
	table_cell(table, 3, "%o", (unsigned)ds->shm_perm.mode & 0777);
	table_cell(table, 4, "%zu", ds->shm_segsz);
	table_cell(table, 5, "%llu", (unsigned long long)entry->resident_bytes);
	table_cell(table, 6, "%lu", (unsigned long)ds->shm_nattch);
	table_cell(table, 7, "%s", status_text(ds->shm_perm.mode));
	table_cell(table, 8, "%d", (int)ds->shm_cpid);
	table_cell(table, 9, "%s", attached ? attached : "");
	free(attached);
}

void ls_shm_table(struct ipc_namespace *ns)
{
	static const char *const heads[] = {"KEY",	"ID",	  "OWNER",  "PERMS", "BYTES",
					    "RESIDENT", "NATTCH", "STATUS", "CPID",  "ATTACHED"};
	struct shm_info_entry entry;
	struct table table;

	table_init(&table, ARRAY_SIZE(heads), 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8,
		   heads);
	for (int index = -1; ns && shm_each(ns, &index, &entry);)
		add_row(&table, ns, &entry);
	table_print(&table);
}

static json_t *attached_json(struct ipc_namespace *ns, int id)
{
	json_t *list = json_array();
	struct shm_attach_entry *entries;
	char name[64];
	unsigned n;

	entries = attachers(ns, id, &n);
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(
			list,
			json_pack("{s:i, s:s, s:I, s:I, s:b}", "pid", entries[i].pid, "command",
				  pid_command(entries[i].pid, name, sizeof(name)), "address",
				  (json_int_t)entries[i].address, "bytes",
				  (json_int_t)entries[i].size, "readonly", entries[i].readonly));
	free(entries);
	return list;
}

static json_t *segment_json(struct ipc_namespace *ns, const struct shm_info_entry *entry)
{
	const struct shmid_ds *ds = &entry->ds;
	char key[16], perms[16], owner[16];
	json_t *segment;

	snprintf(key, sizeof(key), "0x%08x", (unsigned)ds->shm_perm.__key);
	snprintf(perms, sizeof(perms), "%04o", (unsigned)ds->shm_perm.mode & 0777);
	segment = json_pack(
		"{s:s, s:s, s:i, s:s, s:i, s:i, s:s, s:I, s:I, s:I, s:I}", "kind", "shm", "key",
		key, "id", entry->id, "owner", ls_user_name(ds->shm_perm.uid, owner, sizeof(owner)),
		"uid", (int)ds->shm_perm.uid, "gid", (int)ds->shm_perm.gid, "perms", perms, "bytes",
		(json_int_t)ds->shm_segsz, "resident", (json_int_t)entry->resident_bytes, "swapped",
		(json_int_t)entry->swapped_bytes, "nattch", (json_int_t)ds->shm_nattch);
	json_object_set_new(segment, "dest", json_boolean(ds->shm_perm.mode & SHM_DEST));
	json_object_set_new(segment, "locked", json_boolean(ds->shm_perm.mode & SHM_LOCKED));
	json_object_set_new(segment, "cpid", json_integer(ds->shm_cpid));
	json_object_set_new(segment, "lpid", json_integer(ds->shm_lpid));
	json_object_set_new(segment, "atime", json_integer((json_int_t)ds->shm_atime));
	json_object_set_new(segment, "dtime", json_integer((json_int_t)ds->shm_dtime));
	json_object_set_new(segment, "ctime", json_integer((json_int_t)ds->shm_ctime));
	json_object_set_new(segment, "attached", attached_json(ns, entry->id));
	return segment;
}

void ls_shm_json(struct ipc_namespace *ns, json_t *list)
{
	struct shm_info_entry entry;

	for (int index = -1; ns && shm_each(ns, &index, &entry);)
		json_array_append_new(list, segment_json(ns, &entry));
}
