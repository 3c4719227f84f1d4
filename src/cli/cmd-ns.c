/* cmd-ns.c - `vee ns`: lists, creates and removes namespaces. */
#include "api/limits.h"
#include "chan/report.h"
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int help(void)
{
	printf("Usage: vee ns ls [--json]\n"
	       "       vee ns create NAME [OPTION]...\n"
	       "       vee ns rm [--force] NAME...\n"
	       "\n"
	       "List, create and remove namespaces. A program that needs one which is not there makes it,\n"
	       "for its user alone; `create` is for anything else.\n"
	       "\n"
	       "Options of ls:\n"
	       "  -J, --json         print JSON\n"
	       "\n"
	       "Options of create:\n"
	       "      --mode MODE    0600 (default), 0660 or 0666: who else may use it;\n"
	       "                     without it, what root makes lets the system's accounts in\n"
	       "      --group GROUP  give it to this group\n"
	       "      --shmmni N     at most N segments\n"
	       "      --shmmax N     at most N bytes a segment\n"
	       "      --shmall N     at most N pages in all segments\n"
	       "\n"
	       "Options of rm:\n"
	       "  -f, --force        even while processes are in it\n"
	       "\n"
	       "  -h, --help         show this help\n");
	return CLI_OK;
}

struct summary {
	unsigned segments, sets, queues, processes, mode;
	uint64_t size_bytes;
	bool sound; /* else only size_bytes is known */
};

static void summarise(const char *name, struct summary *ret_summary)
{
	static struct ipc_namespace ns;
	char dir[3072];

	*ret_summary = (struct summary){0};
	if (!namespace_dir(name, dir, sizeof(dir)))
		ret_summary->size_bytes = folder_size_bytes(dir);
	if (folder_open(name, &ns))
		return;
	proc_sweep(&ns);
	ret_summary->segments = ns.record->ids[IPC_SHM_IDS].in_use;
	ret_summary->sets = ns.record->ids[IPC_SEM_IDS].in_use;
	ret_summary->queues = ns.record->ids[IPC_MSG_IDS].in_use;
	ret_summary->processes = folder_processes(&ns);
	ret_summary->mode = ns.record->mode;
	ret_summary->size_bytes = folder_size_bytes(dir);
	ret_summary->sound = true;
	namespace_close(&ns);
}

static void add_row(struct table *table, const char *name, const struct summary *summary)
{
	table_row(table);
	table_cell(table, 0, "%s", name);
	if (summary->sound) {
		table_cell(table, 1, "%u", summary->segments);
		table_cell(table, 2, "%u", summary->sets);
		table_cell(table, 3, "%u", summary->queues);
		table_cell(table, 4, "%u", summary->processes);
		table_cell(table, 5, "%04o", summary->mode);
	} else {
		for (unsigned i = 1; i <= 5; i++)
			table_cell(table, i, "?");
	}
	table_cell(table, 6, "%llu", (unsigned long long)summary->size_bytes);
}

static json_t *summary_json(const char *name, const struct summary *summary)
{
	json_t *object = json_pack("{s:s, s:b}", "name", name, "usable", summary->sound);
	char mode[16];

	if (summary->sound) {
		snprintf(mode, sizeof(mode), "%04o", summary->mode);
		json_object_set_new(object, "segments", json_integer(summary->segments));
		json_object_set_new(object, "sets", json_integer(summary->sets));
		json_object_set_new(object, "queues", json_integer(summary->queues));
		json_object_set_new(object, "processes", json_integer(summary->processes));
		json_object_set_new(object, "mode", json_string(mode));
	}
	json_object_set_new(object, "size", json_integer((json_int_t)summary->size_bytes));
	return object;
}

static int list(bool json)
{
	static const char *const heads[] = {"NAME",	 "SEGMENTS", "SETS", "QUEUES",
					    "PROCESSES", "MODE",     "SIZE"};
	int n, status = CLI_OK;
	struct summary summary;
	struct table table;
	json_t *array;
	char **names;

	n = folder_names(&names);
	if (n < 0) {
		folder_error(NULL, n);
		return CLI_FAILED;
	}
	array = json_array();
	table_init(&table, ARRAY_SIZE(heads), 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6, heads);
	for (int i = 0; i < n; i++) {
		summarise(names[i], &summary);
		if (!summary.sound)
			status = CLI_FAILED;
		add_row(&table, names[i], &summary);
		json_array_append_new(array, summary_json(names[i], &summary));
	}
	folder_names_free(names, n);
	if (json) {
		json_print(array);
		table_free(&table);
	} else {
		table_print(&table);
		json_decref(array);
	}
	return status;
}

static int ns_ls(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'J'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool json = false;
	int option;

	while ((option = getopt_long(argc, argv, "Jh", options, NULL)) >= 0) {
		switch (option) {
		case 'J':
			json = true;
			break;
		case 'h':
			return help();
		default:
			return cli_bad_option();
		}
	}
	if (optind < argc)
		return cli_usage("%s: unexpected argument", argv[optind]);
	return list(json);
}

/* What --shmmni and its like said; those not said are NOT_SAID. */
#define NOT_SAID UINT64_MAX

struct wishes {
	bool by_default; /* neither a mode nor a group */
	uint32_t mode;
	gid_t group;
	uint64_t shmmni, shmmax, shmall;
};

static int set_limits(struct ipc_namespace *ns, const struct wishes *wishes)
{
	const uint64_t values[] = {wishes->shmmni, wishes->shmmax, wishes->shmall};
	static const enum limit_id ids[] = {LIMIT_SHMMNI, LIMIT_SHMMAX, LIMIT_SHMALL};
	struct limit_change changes[ARRAY_SIZE(ids)];
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++)
		if (values[i] != NOT_SAID)
			changes[n++] = (struct limit_change){ids[i], values[i]};
	return n ? limits_set(ns, changes, n) : 0;
}

/* The folders pass their group on to the files that are made in them later. */
static int set_group(const char *dir, gid_t group)
{
	static const struct {
		const char *below;
		bool folder;
	} paths[] = {{"", true}, {"/shm", true}, {"/namespace", false}};
	char path[4096];
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		snprintf(path, sizeof(path), "%s%s", dir, paths[i].below);
		if (lchown(path, (uid_t)-1, group))
			return -errno;
		if (paths[i].folder &&
		    (lstat(path, &st) || chmod(path, (st.st_mode & 07777) | S_ISGID)))
			return -errno;
	}
	return 0;
}

static int create(const char *name, const struct wishes *wishes)
{
	static struct ipc_namespace ns;
	char dir[3072];
	int ret;

	arena_error[0] = '\0';
	ret = namespace_dir(name, dir, sizeof(dir));
	if (ret < 0) {
		folder_error(name, ret);
		return CLI_FAILED;
	}
	ret = folder_open(name, &ns);
	if (!ret) {
		namespace_close(&ns);
		cli_error("%s: it exists", name);
	}
	if (ret != -ENOENT)
		return CLI_FAILED;
	arena_error[0] = '\0';
	ret = wishes->by_default && accounts_belong_in(name) ?
		      accounts_make_namespace(&ns, dir) :
		      namespace_open(&ns, dir, true, wishes->mode);
	if (ret < 0) {
		folder_error(name, ret);
		return CLI_FAILED;
	}
	ret = set_limits(&ns, wishes);
	namespace_close(&ns);
	if (!ret && wishes->group != (gid_t)-1)
		ret = set_group(dir, wishes->group);
	if (ret < 0) {
		cli_error("%s: %s", name, strerror(-ret));
		folder_remove(dir); /* all of it or nothing */
		return CLI_FAILED;
	}
	return CLI_OK;
}

static bool parse_mode(const char *text, uint32_t *ret_mode)
{
	static const char *const modes[] = {"600", "660", "666"};
	static const uint32_t values[] = {0600, 0660, 0666};

	text += *text == '0';
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strcmp(text, modes[i])) {
			*ret_mode = values[i];
			return true;
		}
	return false;
}

static bool parse_group(const char *text, gid_t *ret_group)
{
	struct group *group = getgrnam(text);
	uint64_t number;

	if (group) {
		*ret_group = group->gr_gid;
		return true;
	}
	if (!cli_number(text, UINT32_MAX - 1, &number))
		return false;
	*ret_group = (gid_t)number;
	return true;
}

static int ns_create(int argc, char **argv)
{
	static const struct option options[] = {
		{"mode", required_argument, NULL, 'm'},
		{"group", required_argument, NULL, 'g'},
		{"shmmni", required_argument, NULL, 1000},
		{"shmmax", required_argument, NULL, 1001},
		{"shmall", required_argument, NULL, 1002},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct wishes wishes = {true, 0600, (gid_t)-1, NOT_SAID, NOT_SAID, NOT_SAID};
	bool mode_said = false;
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		switch (option) {
		case 'm':
			mode_said = true;
			if (!parse_mode(optarg, &wishes.mode))
				return cli_usage("--mode %s: it must be 0600, 0660 or 0666",
						 optarg);
			break;
		case 'g':
			if (!parse_group(optarg, &wishes.group))
				return cli_usage("--group %s: no such group", optarg);
			break;
		case 1000:
			if (!cli_number(optarg, IPCMNI, &wishes.shmmni))
				return cli_usage("--shmmni %s: not a number from 0 to %d", optarg,
						 IPCMNI);
			break;
		case 1001:
			if (!cli_number(optarg, UINT64_MAX - 1, &wishes.shmmax))
				return cli_usage("--shmmax %s: not a number of bytes", optarg);
			break;
		case 1002:
			if (!cli_number(optarg, UINT64_MAX - 1, &wishes.shmall))
				return cli_usage("--shmall %s: not a number of pages", optarg);
			break;
		case 'h':
			return help();
		default:
			return cli_bad_option();
		}
	}
	wishes.by_default = !mode_said && wishes.group == (gid_t)-1;
	if (argc - optind != 1)
		return cli_usage("one NAME is needed, not %d", argc - optind);
	return create(argv[optind], &wishes);
}

/* Processes that use it; of a file that can't be opened, those that map it. */
static unsigned users_of(const char *dir)
{
	static struct ipc_namespace ns;
	unsigned n;

	arena_error[0] = '\0';
	if (namespace_open(&ns, dir, false, 0600) < 0)
		return folder_mapped(dir);
	proc_sweep(&ns);
	n = folder_processes(&ns);
	namespace_close(&ns);
	return n;
}

/* Who writes or reads a channel may not be in the namespace otherwise. */
static unsigned users_of_channels(const char *name)
{
	struct chan_report report;
	unsigned n = 0;
	char **names;

	folder_use(name);
	if (chan_list(&names) < 0)
		return 0;
	for (char **channel = names; *channel; channel++) {
		if (chan_report(*channel, &report) < 0)
			continue;
		n += report.writer_lives + report.n_readers;
		chan_report_free(&report);
	}
	chan_list_free(names);
	return n;
}

static bool remove_namespace(const char *name, bool force)
{
	char dir[3072];
	unsigned n;
	int ret;

	arena_error[0] = '\0';
	ret = namespace_dir(name, dir, sizeof(dir));
	if (ret < 0) {
		folder_error(name, ret);
		return false;
	}
	n = force ? 0 : users_of(dir);
	if (!force && !n)
		n = users_of_channels(name);
	if (n) {
		cli_error("%s: %u process%s in it; --force removes it all the same", name, n,
			  n == 1 ? " is" : "es are");
		return false;
	}
	ret = folder_remove(dir);
	if (ret == -ENOENT || ret == -ENOTDIR || ret == -ELOOP)
		cli_error("%s: no such namespace", name);
	else if (ret == -ENOTEMPTY || ret == -EISDIR)
		cli_error("%s: %s holds files that vee did not make; it is left", name, dir);
	else if (ret < 0)
		cli_error("%s: %s", name, strerror(-ret));
	return !ret;
}

static int ns_rm(int argc, char **argv)
{
	static const struct option options[] = {
		{"force", no_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool force = false, ok = true;
	int option;

	while ((option = getopt_long(argc, argv, "fh", options, NULL)) >= 0) {
		switch (option) {
		case 'f':
			force = true;
			break;
		case 'h':
			return help();
		default:
			return cli_bad_option();
		}
	}
	if (optind == argc)
		return cli_usage("no NAME given");
	folder_hooks();
	for (; optind < argc; optind++)
		ok &= remove_namespace(argv[optind], force);
	return ok ? CLI_OK : CLI_FAILED;
}

int cmd_ns(int argc, char **argv)
{
	static const char *const verbs[] = {"vee ns ls", "vee ns create", "vee ns rm"};
	static int (*const calls[])(int argc, char **argv) = {ns_ls, ns_create, ns_rm};
	int status, verb = cli_verb(argc, argv, verbs, ARRAY_SIZE(verbs), help, &status);

	return verb < 0 ? status : calls[verb](argc - 1, argv + 1);
}
