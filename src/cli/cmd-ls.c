/* cmd-ls.c - `vee ls`: the objects of a namespace, and who uses them. */
#include "cli/ls.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <string.h>

static int help(void)
{
	printf("Usage: vee ls [OPTION]...\n"
	       "\n"
	       "List the shared memory segments of a namespace with those who are attached to them,\n"
	       "and its semaphore sets with those who wait, or have SEM_UNDO adjustments.\n"
	       "\n"
	       "Options:\n"
	       "  -m, --shmems      shared memory segments alone\n"
	       "  -s, --semaphores  semaphore sets alone\n"
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

struct wanted {
	bool shm, sem, json;
};

static void print_tables(struct ipc_namespace *ns, const struct wanted *wanted)
{
	bool both = wanted->shm && wanted->sem;

	if (both)
		puts("Shared memory segments");
	if (wanted->shm)
		ls_shm_table(ns);
	if (both)
		puts("\nSemaphore sets");
	if (wanted->sem)
		ls_sem_table(ns);
}

static void print_json(struct ipc_namespace *ns, const struct wanted *wanted)
{
	json_t *list = json_array();

	if (wanted->shm)
		ls_shm_json(ns, list);
	if (wanted->sem)
		ls_sem_json(ns, list);
	json_print(list);
}

static int list(const char *name, const struct wanted *wanted)
{
	static struct ipc_namespace opened;
	int ret = folder_open(name, &opened);
	struct ipc_namespace *ns = ret ? NULL : &opened;

	if (ret < 0 && ret != -ENOENT)
		return CLI_FAILED;
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
		{"json", no_argument, NULL, 'J'},   {"ns", required_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},   {0},
	};
	struct wanted wanted = {false, false, false};
	const char *name = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "msJn:h", options, NULL)) >= 0) {
		switch (option) {
		case 'm':
			wanted.shm = true;
			break;
		case 's':
			wanted.sem = true;
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
	if (!wanted.shm && !wanted.sem)
		wanted.shm = wanted.sem = true;
	return list(name, &wanted);
}
