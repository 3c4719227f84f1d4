/*
 * main.c - the command `vee`: finds the subcommand and calls it.
 *
 * Exit status: 0 right, 1 wrong, 2 not understood, 3 of `vee msg` and `vee chan` alone; `vee run` has that of the program, see cmd-run.c.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#ifndef VEE_VERSION
#define VEE_VERSION "0.1.0"
#endif

const char *cli_name = "vee";

static const struct command {
	const char *name;
	const char *full_name;
	int (*call)(int argc, char **argv);
	const char *what;
} commands[] = {
	{"run", "vee run", cmd_run, "run a program on vee"},
	{"ls", "vee ls", cmd_ls, "list objects, and who uses or waits for them"},
	{"rm", "vee rm", cmd_rm, "remove objects"},
	{"msg", "vee msg", cmd_msg, "send, receive and show messages"},
	{"chan", "vee chan", cmd_chan, "write, read, list and remove broadcast channels"},
	{"ns", "vee ns", cmd_ns, "list, create and remove namespaces"},
	{"limits", "vee limits", cmd_limits, "show or set a namespace's limits"},
	{"check", "vee check", cmd_check, "verify a namespace"},
	{"gc", "vee gc", cmd_gc, "remove what dead processes left"},
};

static void say(const char *format, va_list args)
{
	char *text;

	if (vasprintf(&text, format, args) < 0)
		return;
	fprintf(stderr, "%s: %s\n", cli_name, cli_plain(text));
	free(text);
}

void cli_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

int cli_bad_option(void)
{
	fprintf(stderr, "Try '%s --help'.\n", cli_name);
	return CLI_USAGE;
}

int cli_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	return cli_bad_option();
}

static int help(void)
{
	printf("Usage: vee COMMAND [OPTION]...\n"
	       "\n"
	       "System V IPC in user space.\n"
	       "\n"
	       "Commands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-8s %s\n", commands[i].name, commands[i].what);
	printf("\n"
	       "Options:\n"
	       "  -h, --help     show this help\n"
	       "  -V, --version  show the version\n"
	       "\n"
	       "'vee COMMAND --help' says more of each; so do vee(1) and vee(7).\n");
	return CLI_OK;
}

static int dispatch(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;

	if (!word)
		return cli_usage("no command given");
	if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help"))
		return help();
	if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
		puts("vee " VEE_VERSION);
		return CLI_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(word, commands[i].name))
			continue;
		cli_name = commands[i].full_name;
		argv[1] = (char *)cli_name;
		return commands[i].call(argc - 1, argv + 1);
	}
	return cli_usage("%s: no such %s", word, *word == '-' ? "option" : "command");
}

int main(int argc, char **argv)
{
	int status = dispatch(argc, argv);

	if (fflush(stdout) || ferror(stdout)) {
		cli_error("standard output: %s", strerror(errno));
		return status ? status : CLI_FAILED;
	}
	return status;
}
