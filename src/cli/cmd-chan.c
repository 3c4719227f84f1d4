/*
 * cmd-chan.c - `vee chan`: broadcast channels, for people and scripts; finds the verb and calls it. `rm` is here.
 *
 * Exit status: as of all commands; 3 (CLI_WOULD_WAIT) if time was up. A signal that ended `write`, `read` or `top` ends the process
 * too, but for a SIGINT of `top`, whose end it is.
 */
#include "cli/chan.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static int help(void)
{
	printf("Usage: vee chan write NAME [OPTION]...\n"
	       "       vee chan read NAME [OPTION]...\n"
	       "       vee chan ls | stat NAME | top [OPTION]...\n"
	       "       vee chan rm NAME... | --all\n"
	       "\n"
	       "Broadcast channels: one process writes messages, any number read all of them.\n"
	       "\n"
	       "  write  writes what comes on standard input, a message a line\n"
	       "  read   writes what is read to standard output, a line a message\n"
	       "  ls     lists channels\n"
	       "  stat   shows a channel and who reads it\n"
	       "  top    shows what goes through them, again and again\n"
	       "  rm     removes channels\n"
	       "\n"
	       "A NAME without '/' is one of the namespace's (--ns NAME; default: $VEE_NS, else\n"
	       "\"default\"); with '/' it is the path of a file. 'vee chan write --help' and so on\n"
	       "say more of each.\n");
	return CLI_OK;
}

const char *cmd_chan_only_name(int argc, char **argv)
{
	if (optind < argc - 1)
		cli_usage("%s: unexpected argument", argv[optind + 1]);
	else if (optind == argc)
		cli_usage("which channel? NAME");
	else
		return argv[optind];
	return NULL;
}

int cmd_chan_seconds(const char *option, const char *text, int64_t *ret_ns)
{
	struct timespec time;

	if (!cli_seconds(text, &time))
		return cli_usage("--%s %s: not a number of seconds", option, text);
	*ret_ns = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
	return CLI_OK;
}

int cmd_chan_failed(void)
{
	cli_error("%s", vee_channel_error());
	return CLI_FAILED;
}

/* --- rm --- */

static int rm_help(void)
{
	printf("Usage: vee chan rm NAME... [--ns NAME]\n"
	       "       vee chan rm --all [--ns NAME]\n"
	       "\n"
	       "Remove channels, and what they keep. Who has one open goes on with it.\n"
	       "\n"
	       "Options:\n"
	       "  -a, --all      all channels of the namespace\n"
	       "      --ns NAME  of this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help     show this help\n");
	return CLI_OK;
}

static int remove_all(void)
{
	int status = CLI_OK;
	char **names;

	if (chan_list(&names) < 0)
		return cmd_chan_failed();
	for (char **name = names; *name; name++)
		if (vee_channel_remove(*name) && errno != ENOENT)
			status = cmd_chan_failed();
	chan_list_free(names);
	return status;
}

static int cmd_chan_rm(int argc, char **argv)
{
	static const struct option options[] = {
		{"all", no_argument, NULL, 'a'},
		{"ns", required_argument, NULL, 'N'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int option, status = CLI_OK;
	bool all = false;

	while ((option = getopt_long(argc, argv, "ah", options, NULL)) >= 0) {
		switch (option) {
		case 'a':
			all = true;
			break;
		case 'N':
			folder_use(optarg);
			break;
		case 'h':
			return rm_help();
		default:
			return cli_bad_option();
		}
	}
	if (all && optind < argc)
		return cli_usage("%s: --all removes this too", argv[optind]);
	if (all)
		return remove_all();
	if (optind == argc)
		return cli_usage("nothing to remove: NAME... or --all");
	for (; optind < argc; optind++)
		if (vee_channel_remove(argv[optind]))
			status = cmd_chan_failed();
	return status;
}

int cmd_chan(int argc, char **argv)
{
	static const char *const verbs[] = {"vee chan write", "vee chan read", "vee chan ls",
					    "vee chan stat",  "vee chan top",  "vee chan rm"};
	static int (*const calls[])(int argc, char **argv) = {cmd_chan_write, cmd_chan_read,
							      cmd_chan_ls,    cmd_chan_stat,
							      cmd_chan_top,   cmd_chan_rm};
	int status, verb = cli_verb(argc, argv, verbs, ARRAY_SIZE(verbs), help, &status);

	return verb < 0 ? status : calls[verb](argc - 1, argv + 1);
}
