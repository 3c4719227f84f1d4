/* cmd-ls.c - `vee ls`: the objects of a namespace, and who uses them. */
#include "cli/ls.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int help(void)
{
	printf("Usage: vee ls [OPTION]...\n"
	       "\n"
	       "List the shared memory segments of a namespace with those who are attached to them,\n"
	       "its semaphore sets with those who wait, or have SEM_UNDO adjustments, its message\n"
	       "queues with the types of their messages and those who wait to send or receive, and its\n"
	       "channels ('vee chan stat' shows who reads one).\n"
	       "\n"
	       "Options:\n"
	       "  -m, --shmems      shared memory segments alone\n"
	       "  -s, --semaphores  semaphore sets alone\n"
	       "  -q, --queues      message queues alone\n"
	       "  -c, --channels    broadcast channels alone\n"
	       "  -J, --json        print JSON\n"
	       "  -n, --ns NAME     of this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help        show this help\n");
	return CLI_OK;
}

const char *ls_user_name(uid_t uid, char *buf, size_t size)
{
	static struct passwd *user;
	static uid_t last;

	if (!user || last != uid) { /* most objects of a namespace are one user's */
		user = getpwuid(uid);
		last = uid;
	}
	snprintf(buf, size, "%u", (unsigned)uid);
	return user ? user->pw_name : buf;
}

const char *ls_time(int64_t seconds, char *buf, size_t size)
{
	time_t time = seconds;
	struct tm tm;

	if (!seconds || !localtime_r(&time, &tm) || !strftime(buf, size, "%F %T", &tm))
		snprintf(buf, size, "-");
	return buf;
}

void *ls_grown(void *memory, unsigned n, size_t size)
{
	memory = realloc(memory, (n ? n : 1) * size);
	if (memory)
		return memory;
	cli_error("out of memory");
	exit(CLI_FAILED);
}

void ls_print_below(struct table *table)
{
	if (table->n_rows > 1) {
		putchar('\n');
		table_print(table);
	} else {
		table_free(table);
	}
}

struct wanted {
	bool shm, sem, msg, chan, json;
};

/* With a title each, if there is more than one kind. */
static void print_tables(struct ipc_namespace *ns, const struct wanted *wanted)
{
	const struct {
		bool wanted;
		const char *title;
		void (*print)(struct ipc_namespace *ns);
	} parts[] = {
		{wanted->shm, "Shared memory segments", ls_shm_table},
		{wanted->sem, "Semaphore sets", ls_sem_table},
		{wanted->msg, "Message queues", ls_msg_table},
		{wanted->chan, "Broadcast channels", ls_chan_table},
	};
	bool titles = wanted->shm + wanted->sem + wanted->msg + wanted->chan > 1, first = true;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (!parts[i].wanted)
			continue;
		if (titles)
			printf("%s%s\n", first ? "" : "\n", parts[i].title);
		parts[i].print(ns);
		first = false;
	}
}

static void print_json(struct ipc_namespace *ns, const struct wanted *wanted)
{
	json_t *list = json_array();

	if (wanted->shm)
		ls_shm_json(ns, list);
	if (wanted->sem)
		ls_sem_json(ns, list);
	if (wanted->msg)
		ls_msg_json(ns, list);
	if (wanted->chan)
		ls_chan_json(ns, list);
	json_print(list);
}

static int list(const char *name, const struct wanted *wanted)
{
	static struct ipc_namespace opened;
	int ret = folder_open(name, &opened);
	struct ipc_namespace *ns = ret ? NULL : &opened;

	if (ret < 0 && ret != -ENOENT)
		return CLI_FAILED;
	folder_use(name);
	if (ns)
		proc_sweep(ns);
	if (wanted->json)
		print_json(ns, wanted);
	else
		print_tables(ns, wanted);
	if (ns)
		namespace_close(ns);
	return CLI_OK;
}

int cmd_ls(int argc, char **argv)
{
	static const struct option options[] = {
		{"shmems", no_argument, NULL, 'm'}, {"semaphores", no_argument, NULL, 's'},
		{"queues", no_argument, NULL, 'q'}, {"channels", no_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'J'},   {"ns", required_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},   {0},
	};
	struct wanted wanted = {0};
	const char *name = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "msqcJn:h", options, NULL)) >= 0) {
		switch (option) {
		case 'm':
			wanted.shm = true;
			break;
		case 's':
			wanted.sem = true;
			break;
		case 'q':
			wanted.msg = true;
			break;
		case 'c':
			wanted.chan = true;
			break;
		case 'J':
			wanted.json = true;
			break;
		case 'n':
			name = optarg;
			break;
		case 'h':
			return help();
		default:
			return cli_bad_option();
		}
	}
	if (optind < argc)
		return cli_usage("%s: unexpected argument", argv[optind]);
	if (!wanted.shm && !wanted.sem && !wanted.msg && !wanted.chan)
		wanted.shm = wanted.sem = wanted.msg = wanted.chan = true;
	return list(name, &wanted);
}
