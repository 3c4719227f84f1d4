/* cmd-check.c - `vee check`: verifies every invariant of a namespace; changes nothing. */
#include "chan/report.h"
#include "cli/cli.h"
#include "msg/msg.h"
#include "sem/sem.h"
#include "shm/shm.h"

#include <getopt.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static int help(void)
{
	printf("Usage: vee check [--ns NAME]\n"
	       "\n"
	       "Verify a namespace: \"NAME: clean\" and exit status 0, or what is wrong with it and 1.\n"
	       "\n"
	       "Options:\n"
	       "  -n, --ns NAME  this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help     show this help\n");
	return CLI_OK;
}

/* Another user's may be closed to us, and then is none of our business; so is one that was removed meanwhile. */
static const char *check_channel(const char *name)
{
	char path[CHAN_PATH_SIZE];

	return chan_path(name, path, sizeof(path)) == 0 && access(path, R_OK) ? NULL :
										chan_check(name);
}

static void print_wrong(const char *ns_name, const char *name, const char *wrong)
{
	char text[NAME_MAX + sizeof(chan_error)];

	snprintf(text, sizeof(text), "channel %s: %s", name, wrong);
	printf("%s: %s\n", folder_name(ns_name), cli_plain(text));
}

/* Says of each what is wrong. */
static bool check_channels(const char *ns_name)
{
	const char *wrong;
	bool ok = true;
	char **names;

	if (chan_list(&names) < 0) {
		printf("%s: channels: %s\n", folder_name(ns_name), chan_error);
		return false;
	}
	for (char **name = names; *name; name++) {
		wrong = check_channel(*name);
		if (!wrong)
			continue;
		print_wrong(ns_name, *name, wrong);
		ok = false;
	}
	chan_list_free(names);
	return ok;
}

static int check(const char *name)
{
	static struct ipc_namespace ns;
	const char *wrong;
	bool ok;

	if (folder_open_existing(name, &ns) < 0)
		return CLI_FAILED;
	wrong = namespace_check(&ns);
	if (!wrong)
		wrong = shm_check(&ns);
	if (!wrong)
		wrong = sem_check(&ns);
	if (!wrong)
		wrong = msg_check(&ns);
	namespace_close(&ns);
	folder_use(name);
	ok = check_channels(name);
	if (wrong || ok)
		printf("%s: %s\n", folder_name(name), wrong ? wrong : "clean");
	return wrong || !ok ? CLI_FAILED : CLI_OK;
}

int cmd_check(int argc, char **argv)
{
	static const struct option options[] = {
		{"ns", required_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *name = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "n:h", options, NULL)) >= 0) {
		switch (option) {
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
	return check(name);
}
