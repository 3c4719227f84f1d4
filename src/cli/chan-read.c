/* chan-read.c - `vee chan read`: its command line; chan-reader.c does it. */
#include "cli/chan-reader.h"

#include <getopt.h>
#include <string.h>

static int help(void)
{
	printf("Usage: vee chan read NAME [OPTION]...\n"
	       "\n"
	       "Write the messages of a channel to standard output, until its writer closes it. Wait\n"
	       "for the channel if it isn't there, and for a writer. Read from now on; but of a writer\n"
	       "that was started later than this command, all that it writes.\n"
	       "\n"
	       "Which messages:\n"
	       "      --from WHERE        now, last, oldest (that is kept), or a sequence number;\n"
	       "                          what nobody writes any more is read to its end then\n"
	       "  -n, --count N           end after N messages\n"
	       "  -T, --timeout SECS      end if there is no message for so long; 0: read what is there\n"
	       "  -f, --follow            at its end, wait for the next writer\n"
	       "      --no-wait           fail if there is no such channel\n"
	       "\n"
	       "As what:\n"
	       "      --lines             a newline behind each (default)\n"
	       "      --raw               nothing behind them\n"
	       "      --framed            before each its size, 4 bytes, the highest first\n"
	       "  -J, --json              an object a line\n"
	       "      --sequence          lines: the sequence number and a tab before each\n"
	       "      --time              lines: the time of its writing and a tab before each\n"
	       "\n"
	       "If it can't keep up (messages are lost, and a count is given at the end):\n"
	       "      --reliable          lose none: the writer waits\n"
	       "      --on-stall WHAT     if it has waited for --stall SECS: drop (be as without\n"
	       "                          --reliable from then on), disconnect; wait (default)\n"
	       "      --stall SECS\n"
	       "      --lost              give the count in any case: \"lost: N of M\"\n"
	       "\n"
	       "      --ns NAME           in this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help              show this help\n"
	       "\n"
	       "Exit status: 0, 1 it failed or the writer died, 2 the command line was not understood,\n"
	       "3 time was up.\n");
	return CLI_OK;
}

enum {
	OPTION_LINES = 1000, /* as enum format */
	OPTION_RAW,
	OPTION_FRAMED,
	OPTION_JSON,
	OPTION_SEQUENCE,
	OPTION_TIME,
	OPTION_RELIABLE,
	OPTION_ON_STALL,
	OPTION_STALL,
	OPTION_FROM,
	OPTION_LOST,
	OPTION_NO_WAIT,
	OPTION_NS,
};

static int take_from(struct reader *reader, const char *text)
{
	static const char *const words[] = {
		[VEE_CHANNEL_NOW] = "now",
		[VEE_CHANNEL_OLDEST] = "oldest",
		[VEE_CHANNEL_LAST] = "last",
	};

	reader->from_said = true;
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(text, words[i])) {
			reader->options.start = (enum vee_channel_start)i;
			return CLI_OK;
		}
	reader->options.start = VEE_CHANNEL_SEQUENCE;
	if (!cli_number(text, UINT64_MAX, &reader->options.sequence) || !reader->options.sequence)
		return cli_usage("--from %s: not now, last, oldest or a sequence number", text);
	return CLI_OK;
}

static int take_on_stall(struct reader *reader, const char *text)
{
	static const char *const words[] = {
		[VEE_CHANNEL_STALL_WAIT] = "wait",
		[VEE_CHANNEL_STALL_DROP] = "drop",
		[VEE_CHANNEL_STALL_DISCONNECT] = "disconnect",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(text, words[i])) {
			reader->options.stall = (enum vee_channel_stall)i;
			reader->on_stall = text;
			return CLI_OK;
		}
	return cli_usage("--on-stall %s: not wait, drop or disconnect", text);
}

static int take_value(struct reader *reader, int option, const char *text)
{
	switch (option) {
	case OPTION_FROM:
		return take_from(reader, text);
	case OPTION_ON_STALL:
		return take_on_stall(reader, text);
	case OPTION_STALL:
		return cmd_chan_seconds("stall", text, &reader->options.stall_ns);
	case OPTION_NS:
		folder_use(text);
		return CLI_OK;
	case 'T':
		return cmd_chan_seconds("timeout", text, &reader->timeout_ns);
	default:
		if (!cli_number(text, UINT64_MAX, &reader->count) || !reader->count)
			return cli_usage("--count %s: not a number from 1 on", text);
		return CLI_OK;
	}
}

static int take_option(struct reader *reader, int option, const char *text)
{
	switch (option) {
	case OPTION_LINES:
	case OPTION_RAW:
	case OPTION_FRAMED:
	case OPTION_JSON:
		reader->printer.format = (enum format)(option - OPTION_LINES);
		break;
	case OPTION_SEQUENCE:
		reader->printer.sequence = true;
		break;
	case OPTION_TIME:
		reader->printer.time = true;
		break;
	case OPTION_RELIABLE:
		reader->options.policy = VEE_CHANNEL_RELIABLE;
		break;
	case OPTION_LOST:
		reader->tell_lost = true;
		break;
	case OPTION_NO_WAIT:
		reader->no_wait = true;
		break;
	case 'f':
		reader->options.flags |= VEE_CHANNEL_FOLLOW;
		break;
	default:
		return take_value(reader, option, text);
	}
	return CLI_OK;
}

/* What the options say together. */
static int check_request(const struct reader *reader)
{
	const struct vee_channel_open_options *options = &reader->options;

	if (reader->printer.format != FORMAT_LINES &&
	    (reader->printer.sequence || reader->printer.time))
		return cli_usage("--%s is for --lines%s",
				 reader->printer.sequence ? "sequence" : "time",
				 reader->printer.format == FORMAT_JSON ? "; --json has it" : "");
	if (reader->on_stall && options->policy != VEE_CHANNEL_RELIABLE)
		return cli_usage("--on-stall %s: the writer does not wait without --reliable",
				 reader->on_stall);
	if (options->stall && !options->stall_ns)
		return cli_usage("--on-stall %s: after how long? --stall SECS", reader->on_stall);
	if (options->stall_ns && !options->stall)
		return cli_usage("--stall: and then? --on-stall drop or disconnect");
	return CLI_OK;
}

int cmd_chan_read(int argc, char **argv)
{
	static const struct option options[] = {
		{"lines", no_argument, NULL, OPTION_LINES},
		{"raw", no_argument, NULL, OPTION_RAW},
		{"framed", no_argument, NULL, OPTION_FRAMED},
		{"json", no_argument, NULL, OPTION_JSON},
		{"sequence", no_argument, NULL, OPTION_SEQUENCE},
		{"time", no_argument, NULL, OPTION_TIME},
		{"from", required_argument, NULL, OPTION_FROM},
		{"reliable", no_argument, NULL, OPTION_RELIABLE},
		{"on-stall", required_argument, NULL, OPTION_ON_STALL},
		{"stall", required_argument, NULL, OPTION_STALL},
		{"count", required_argument, NULL, 'n'},
		{"timeout", required_argument, NULL, 'T'},
		{"follow", no_argument, NULL, 'f'},
		{"lost", no_argument, NULL, OPTION_LOST},
		{"no-wait", no_argument, NULL, OPTION_NO_WAIT},
		{"ns", required_argument, NULL, OPTION_NS},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct reader reader = {.timeout_ns = -1};
	int option, status;

	while ((option = getopt_long(argc, argv, "n:T:fJh", options, NULL)) >= 0) {
		if (option == '?')
			return cli_bad_option();
		if (option == 'h')
			return help();
		status = take_option(&reader, option == 'J' ? OPTION_JSON : option, optarg);
		if (status)
			return status;
	}
	reader.name = cmd_chan_only_name(argc, argv);
	if (!reader.name)
		return CLI_USAGE;
	status = check_request(&reader);
	return status ? status : reader_run(&reader);
}
