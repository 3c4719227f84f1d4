/* cmd-gc.c - `vee gc`: removes what dead processes left: their traces, segments that only they held, stray files. */
#include "chan/report.h"
#include "cli/cli.h"
#include "shm/shm.h"

#include <errno.h>
#include <getopt.h>

static int help(void)
{
	printf("Usage: vee gc [--ns NAME | --all]\n"
	       "\n"
	       "Remove what dead processes left: their traces, segments that were marked to go and\n"
	       "that only they held, and files of segments and channels that are no more. SEM_UNDO\n"
	       "is done for them.\n"
	       "\n"
	       "Options:\n"
	       "  -n, --ns NAME  in this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -a, --all      in all namespaces\n"
	       "  -h, --help     show this help\n");
	return CLI_OK;
}

static void say_removed(const char *name, unsigned processes, unsigned segments, unsigned files)
{
	if (!processes && !segments && !files) {
		printf("%s: nothing to remove\n", name);
		return;
	}
	printf("%s: removed %u dead process%s, %u segment%s, %u stray file%s\n", name, processes,
	       processes == 1 ? "" : "es", segments, segments == 1 ? "" : "s", files,
	       files == 1 ? "" : "s");
}

/* A namespace that is not there has nothing to remove. */
static int collect(const char *name)
{
	static struct ipc_namespace ns;
	unsigned before, after, processes, files;
	int ret = folder_open(name, &ns);

	if (ret == -ENOENT)
		say_removed(folder_name(name), 0, 0, 0);
	if (ret < 0)
		return ret == -ENOENT ? CLI_OK : CLI_FAILED;
	before = ns.record->ids[IPC_SHM_IDS].in_use;
	processes = proc_sweep(&ns);
	folder_use(name);
	files = shm_collect(&ns) + chan_gc();
	after = ns.record->ids[IPC_SHM_IDS].in_use;
	say_removed(folder_name(name), processes, before > after ? before - after : 0, files);
	namespace_close(&ns);
	return CLI_OK;
}

static int collect_all(void)
{
	int status = CLI_OK, n;
	char **names;

	n = folder_names(&names);
	if (n < 0) {
		folder_error(NULL, n);
		return CLI_FAILED;
	}
	for (int i = 0; i < n; i++)
		if (collect(names[i]) != CLI_OK)
			status = CLI_FAILED;
	folder_names_free(names, n);
	return status;
}

int cmd_gc(int argc, char **argv)
{
	static const struct option options[] = {
		{"ns", required_argument, NULL, 'n'},
		{"all", no_argument, NULL, 'a'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *name = NULL;
	bool all = false;
	int option;

	while ((option = getopt_long(argc, argv, "n:ah", options, NULL)) >= 0) {
		switch (option) {
		case 'n':
			name = optarg;
			break;
		case 'a':
			all = true;
			break;
		case 'h':
			return help();
		default:
			return cli_bad_option();
		}
	}
	if (optind < argc)
		return cli_usage("%s: unexpected argument", argv[optind]);
	if (all && name)
		return cli_usage("--ns %s: --all means this one too", name);
	return all ? collect_all() : collect(name);
}
