/* cmd-check.c - `vee check`: verifies every invariant of a namespace; changes nothing. */
#include "cli/cli.h"
#include "msg/msg.h"
#include "sem/sem.h"
#include "shm/shm.h"

#include <getopt.h>

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

static int check(const char *name)
{
	static struct ipc_namespace ns;
	const char *wrong;

	if (folder_open_existing(name, &ns) < 0)
		return CLI_FAILED;
	wrong = namespace_check(&ns);
	if (!wrong)
		wrong = shm_check(&ns);
	if (!wrong)
		wrong = sem_check(&ns);
	if (!wrong)
		wrong = msg_check(&ns);
	printf("%s: %s\n", folder_name(name), wrong ? wrong : "clean");
	namespace_close(&ns);
	return wrong ? CLI_FAILED : CLI_OK;
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
