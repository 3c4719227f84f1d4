/*
 * chan-top.c - `vee chan top`: what goes through the channels of a namespace, again and again.
 *
 * How it works: two looks at all channels, an interval apart, and what lies between. A channel or a reader that was not there at the
 * first look counts from 0.
 */
#include "cli/chan.h"
#include "cli/ls.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

struct look {
	int64_t time_ns;
	unsigned n;
	struct chan_report *reports;
};

/* A second. */
struct rate {
	double messages, bytes, lost;
	uint64_t lag; /* of the slowest reader */
};

struct top {
	const char *name; /* NULL: all channels */
	int64_t interval_ns;
	uint64_t count; /* of intervals; 0: no end */
	bool json;
	bool screen; /* draw over what was there */
};

static int help(void)
{
	printf("Usage: vee chan top [NAME] [OPTION]...\n"
	       "\n"
	       "Show what goes through the channels of a namespace, or through one, a second: messages,\n"
	       "megabytes, messages that readers lost; how many read, and how many messages the slowest\n"
	       "of them has still to read. 'q' or Ctrl-C ends it.\n"
	       "\n"
	       "Options:\n"
	       "  -d, --delay SECS  between two looks (default: 1)\n"
	       "  -n, --count N     end after N of them\n"
	       "  -J, --json        print JSON, an object a line\n"
	       "      --ns NAME     of this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help        show this help\n");
	return CLI_OK;
}

/* --- looks --- */

static void look_away(struct look *look)
{
	for (unsigned i = 0; i < look->n; i++)
		chan_report_free(&look->reports[i]);
	free(look->reports);
	*look = (struct look){0};
}

/* Those that can't be looked at are left out; `vee chan ls` says why. */
static void look_at(struct look *look, char *const *names)
{
	unsigned n = 0;

	while (names[n])
		n++;
	look->reports = ls_grown(NULL, n + 1, sizeof(*look->reports));
	for (unsigned i = 0; i < n; i++)
		if (!chan_report(names[i], &look->reports[look->n]))
			look->n++;
}

/* Returns CLI_OK or CLI_FAILED, after saying why. */
static int look_around(const struct top *top, struct look *ret_look)
{
	char *one[] = {(char *)top->name, NULL}, **names = one;

	*ret_look = (struct look){.time_ns = wait_now_ns()};
	if (!top->name && chan_list(&names) < 0)
		return cmd_chan_failed();
	look_at(ret_look, names);
	if (!top->name)
		chan_list_free(names);
	return CLI_OK;
}

static const struct chan_report *find_report(const struct look *look, const char *name)
{
	for (unsigned i = 0; i < look->n; i++)
		if (!strcmp(look->reports[i].name, name))
			return &look->reports[i];
	return NULL;
}

static uint64_t lost_before(const struct chan_report *report,
			    const struct chan_reader_report *reader)
{
	for (unsigned i = 0; report && i < report->n_readers; i++) {
		const struct chan_reader_report *was = &report->readers[i];

		if (was->tid == reader->tid && was->since == reader->since &&
		    was->lost <= reader->lost)
			return was->lost;
	}
	return 0;
}

/* was: NULL, or of a channel that had the same name: then it may have had more of everything. */
static struct rate rate_of(const struct chan_report *was, const struct chan_report *is,
			   int64_t interval_ns)
{
	double seconds = (double)interval_ns / 1e9;
	uint64_t messages = is->written, bytes = is->bytes, lost = 0;
	struct rate rate = {0};

	if (was && was->written <= is->written && was->bytes <= is->bytes) {
		messages -= was->written;
		bytes -= was->bytes;
	}
	for (unsigned i = 0; i < is->n_readers; i++) {
		const struct chan_reader_report *reader = &is->readers[i];

		lost += reader->lost - lost_before(was, reader);
		if (report_lag(is, reader) > rate.lag)
			rate.lag = report_lag(is, reader);
	}
	rate.messages = (double)messages / seconds;
	rate.bytes = (double)bytes / seconds;
	rate.lost = (double)lost / seconds;
	return rate;
}

/* --- output --- */

static void print_json_line(json_t *object)
{
	json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(object);
}

static void print_json(const struct look *was, const struct look *is)
{
	struct timespec now;
	char time[TIME_SIZE];
	json_t *list = json_array();

	clock_gettime(CLOCK_REALTIME, &now);
	time_text((int64_t)now.tv_sec * 1000000000 + now.tv_nsec, time, sizeof(time));
	for (unsigned i = 0; i < is->n; i++) {
		const struct chan_report *report = &is->reports[i];
		struct rate rate =
			rate_of(find_report(was, report->name), report, is->time_ns - was->time_ns);

		json_t *object = json_object(), *numbers;

		json_set_name(object, report->name);
		numbers = json_pack("{s:I, s:f, s:f, s:f, s:I, s:I, s:i}", "messages",
				    (json_int_t)report->written, "messages_per_second",
				    rate.messages, "bytes_per_second", rate.bytes,
				    "lost_per_second", rate.lost, "readers",
				    (json_int_t)report->n_readers, "lag_most", (json_int_t)rate.lag,
				    "writer", report->writer_lives ? report->writer_pid : 0);
		json_object_update(object, numbers);
		json_decref(numbers);
		json_array_append_new(list, object);
	}
	print_json_line(json_pack("{s:s, s:f, s:o}", "time", time, "interval",
				  (double)(is->time_ns - was->time_ns) / 1e9, "channels", list));
}

/* NULL: an empty cell. */
static void add_rate(struct table *table, const struct chan_report *report, const struct rate *rate)
{
	char buf[32];

	table_row(table);
	table_cell(table, 0, "%s", report->name);
	table_cell(table, 1, "%s", report_writer_text(report, buf, sizeof(buf)));
	table_cell(table, 2, "%" PRIu64, report->written);
	table_cell(table, 5, "%u", report->n_readers);
	for (unsigned i = 3; !rate && i <= 7; i++)
		if (i != 5)
			table_cell(table, i, "-");
	if (!rate)
		return;
	table_cell(table, 3, "%.0f", rate->messages);
	table_cell(table, 4, "%.2f", rate->bytes / 1e6);
	table_cell(table, 6, "%" PRIu64, rate->lag);
	table_cell(table, 7, "%.0f", rate->lost);
}

/* was NULL: the first look, which has no rates yet. */
static void write_table(const struct look *was, const struct look *is, FILE *to)
{
	static const char *const heads[] = {"NAME", "WRITER",  "MESSAGES", "MSG/S",
					    "MB/S", "READERS", "LAG",	   "LOST/S"};
	struct table table;
	struct rate rate;

	table_init(&table, ARRAY_SIZE(heads), 0xff << 1, heads);
	for (unsigned i = 0; i < is->n; i++) {
		const struct chan_report *report = &is->reports[i];

		if (was)
			rate = rate_of(find_report(was, report->name), report,
				       is->time_ns - was->time_ns);
		add_rate(&table, report, was ? &rate : NULL);
	}
	table_write(&table, true, to);
}

/* From the first line of the terminal on, no more than it has. */
static void draw(const struct look *was, const struct look *is)
{
	struct winsize window = {0};
	char *text = NULL, *line, *rest;
	unsigned rows, columns, row = 1;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return;
	write_table(was, is, to);
	fclose(to);
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &window);
	rows = window.ws_row ? window.ws_row : 24;
	columns = window.ws_col ? window.ws_col : 80;
	fputs("\033[H", stdout);
	for (rest = text; row < rows && (line = strsep(&rest, "\n")) && *line; row++)
		printf("%.*s\033[K\n", (int)columns, line);
	fputs("\033[J", stdout);
	free(text);
}

static void print_look(const struct top *top, const struct look *was, const struct look *is)
{
	static bool again;

	if (top->json) {
		print_json(was, is);
	} else if (top->screen) {
		draw(was, is);
	} else {
		if (again)
			putchar('\n');
		write_table(was, is, stdout);
		again = true;
	}
	fflush(stdout);
}

/* --- keys --- */

static struct termios keys_before;
static bool keys_taken;

/* From now on a key is there to be read at once, and is not shown. */
static void take_keys(void)
{
	struct termios keys;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &keys_before))
		return;
	/* a shell's background job would be stopped */
	if (tcgetpgrp(STDIN_FILENO) != getpgrp())
		return;
	keys = keys_before;
	keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	keys_taken = !tcsetattr(STDIN_FILENO, TCSANOW, &keys);
}

static void give_keys_back(void)
{
	if (keys_taken)
		tcsetattr(STDIN_FILENO, TCSANOW, &keys_before);
	keys_taken = false;
}

/* Until the deadline. false: it is to end. */
static bool sleep_until(int64_t deadline)
{
	char key;
	int ret;

	for (;;) {
		ret = wait_for(keys_taken ? STDIN_FILENO : -1, -1, true, deadline);
		if (ret == -ETIMEDOUT)
			return true;
		if (ret < 0 || read(STDIN_FILENO, &key, 1) != 1 || key == 'q')
			return false;
	}
}

/* --- the command --- */

static int watch_channels(const struct top *top)
{
	struct look was, is;
	int status = look_around(top, &was);

	if (!status && top->screen)
		print_look(top, NULL, &was);
	for (uint64_t n = 0; !status && (!top->count || n < top->count); n++) {
		if (!sleep_until(was.time_ns + top->interval_ns))
			break;
		status = look_around(top, &is);
		if (status)
			break;
		print_look(top, &was, &is);
		look_away(&was);
		was = is;
		if (ferror(stdout))
			break;
	}
	look_away(&was);
	return status;
}

static int run(struct top *top)
{
	struct chan_report report;
	int status;

	if (top->name) {
		if (chan_report(top->name, &report) < 0)
			return cmd_chan_failed();
		chan_report_free(&report);
	}
	top->screen = !top->json && isatty(STDOUT_FILENO);
	wait_catch_signals();
	if (top->screen)
		take_keys();
	status = watch_channels(top);
	give_keys_back();
	/* Ctrl-C is how one ends it. */
	return wait_caught() == SIGINT ? CLI_OK : wait_end(status);
}

int cmd_chan_top(int argc, char **argv)
{
	static const struct option options[] = {
		{"delay", required_argument, NULL, 'd'}, {"count", required_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'J'},	 {"ns", required_argument, NULL, 'N'},
		{"help", no_argument, NULL, 'h'},	 {0},
	};
	struct top top = {.interval_ns = 1000000000};
	int option, status;

	while ((option = getopt_long(argc, argv, "d:n:Jh", options, NULL)) >= 0) {
		switch (option) {
		case 'd':
			status = cmd_chan_seconds("delay", optarg, &top.interval_ns);
			if (status)
				return status;
			if (top.interval_ns < 10000000)
				return cli_usage("--delay %s: at least 0.01 seconds", optarg);
			break;
		case 'n':
			if (!cli_number(optarg, UINT64_MAX, &top.count) || !top.count)
				return cli_usage("--count %s: not a number from 1 on", optarg);
			break;
		case 'J':
			top.json = true;
			break;
		case 'N':
			folder_use(optarg);
			break;
		case 'h':
			return help();
		default:
			return cli_bad_option();
		}
	}
	if (optind < argc)
		top.name = argv[optind++];
	if (optind < argc)
		return cli_usage("%s: unexpected argument", argv[optind]);
	return run(&top);
}
