/* chan-ls.c - `vee chan ls` and `vee chan stat`: channels, who writes and who reads them; the same for `vee ls -c`. */
#include "cli/chan.h"
#include "cli/ls.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- in words --- */

const char *report_writer_text(const struct chan_report *report, char *buf, size_t size)
{
	if (report->writer_lives)
		snprintf(buf, size, "%d", report->writer_pid);
	else
		snprintf(buf, size, "%s", report->closed ? "-" : "died");
	return buf;
}

uint64_t report_lag(const struct chan_report *report, const struct chan_reader_report *reader)
{
	return report->written >= reader->next ? report->written + 1 - reader->next : 0;
}

static uint64_t kept(const struct chan_report *report)
{
	return report->written >= report->oldest ? report->written + 1 - report->oldest : 0;
}

static const char *policy_text(const struct chan_reader_report *reader)
{
	return reader->reliable ? "reliable" : "lossy";
}

static const char *stall_text(const struct chan_reader_report *reader)
{
	static const char *const texts[] = {"wait", "drop", "disconnect"};

	return reader->stall < ARRAY_SIZE(texts) ? texts[reader->stall] : "?";
}

/* "64K", "4M", "12G": whole numbers alone, the larger unit where it fits. */
static const char *size_text(uint64_t bytes, char *buf, size_t size)
{
	static const char units[] = "\0KMGT";
	unsigned i = 0;

	for (; units[i + 1] && bytes && bytes % 1024 == 0; i++)
		bytes /= 1024;
	snprintf(buf, size, "%" PRIu64 "%.1s", bytes, units + i);
	return buf;
}

/* How long ago: "12s", "5m", "7h", "3d"; "-": never. */
static const char *age_text(int64_t time_ns, char *buf, size_t size)
{
	int64_t age = time(NULL) - time_ns / 1000000000;

	if (!time_ns)
		snprintf(buf, size, "-");
	else if (age < 100)
		snprintf(buf, size, "%ds", age > 0 ? (int)age : 0);
	else if (age < 100 * 60)
		snprintf(buf, size, "%dm", (int)(age / 60));
	else if (age < 48 * 3600)
		snprintf(buf, size, "%dh", (int)(age / 3600));
	else
		snprintf(buf, size, "%" PRId64 "d", age / (24 * 3600));
	return buf;
}

/* --- JSON --- */

static json_t *reader_json(const struct chan_report *report,
			   const struct chan_reader_report *reader)
{
	char user[16], command[64];
	json_t *object =
		json_pack("{s:i, s:i, s:s, s:I, s:s, s:s, s:s}", "pid", reader->pid, "tid",
			  reader->tid, "user", ls_user_name(reader->uid, user, sizeof(user)), "uid",
			  (json_int_t)reader->uid, "command",
			  pid_command(reader->pid, command, sizeof(command)), "policy",
			  policy_text(reader), "stall", stall_text(reader));

	json_object_set_new(object, "stall_seconds", json_real((double)reader->stall_ns / 1e9));
	json_object_set_new(object, "lag", json_integer((json_int_t)report_lag(report, reader)));
	json_object_set_new(object, "next", json_integer((json_int_t)reader->next));
	json_object_set_new(object, "received", json_integer((json_int_t)reader->received));
	json_object_set_new(object, "lost", json_integer((json_int_t)reader->lost));
	json_object_set_new(object, "since", json_integer(reader->since));
	return object;
}

static json_t *writer_json(const struct chan_report *report)
{
	const char *state = report->writer_lives ? "writes" : report->closed ? "closed" : "died";
	char command[64] = "";

	if (report->writer_lives)
		pid_command(report->writer_pid, command, sizeof(command));
	return json_pack("{s:s, s:i, s:s}", "state", state, "pid", report->writer_pid, "command",
			 command);
}

static json_t *named_json(const char *name)
{
	json_t *object = json_pack("{s:s}", "kind", "chan");

	json_set_name(object, name);
	return object;
}

json_t *report_json(const struct chan_report *report)
{
	char perms[16], owner[16], last[TIME_SIZE];
	json_t *object, *readers = json_array();

	snprintf(perms, sizeof(perms), "%04o", report->mode & 0777);
	object = named_json(report->name);
	json_object_set_new(object, "owner",
			    json_string(ls_user_name(report->uid, owner, sizeof(owner))));
	json_object_set_new(object, "uid", json_integer((json_int_t)report->uid));
	json_object_set_new(object, "perms", json_string(perms));
	json_object_set_new(object, "ring", json_integer((json_int_t)report->ring_size));
	json_object_set_new(object, "allotted", json_integer((json_int_t)report->allotted));
	json_object_set_new(object, "epoch", json_integer((json_int_t)report->epoch));
	json_object_set_new(object, "writer", writer_json(report));
	json_object_set_new(object, "messages", json_integer((json_int_t)report->written));
	json_object_set_new(object, "oldest", json_integer((json_int_t)report->oldest));
	json_object_set_new(object, "kept", json_integer((json_int_t)kept(report)));
	json_object_set_new(object, "bytes", json_integer((json_int_t)report->bytes));
	json_object_set_new(object, "last",
			    report->time_ns ?
				    json_string(time_text(report->time_ns, last, sizeof(last))) :
				    json_null());
	for (unsigned i = 0; i < report->n_readers; i++)
		json_array_append_new(readers, reader_json(report, &report->readers[i]));
	json_object_set_new(object, "readers", readers);
	return object;
}

/* --- ls --- */

static const char *const ls_heads[] = {"NAME",	  "OWNER",    "PERMS", "RING",	"WRITER",
				       "READERS", "MESSAGES", "KEPT",  "BYTES", "LAST"};

static void add_channel(struct table *table, const char *name, const struct chan_report *report)
{
	char buf[64];

	table_row(table);
	table_cell(table, 0, "%s", name);
	for (unsigned i = 1; !report && i < ARRAY_SIZE(ls_heads); i++)
		table_cell(table, i, "?");
	if (!report)
		return;
	table_cell(table, 1, "%s", ls_user_name(report->uid, buf, sizeof(buf)));
	table_cell(table, 2, "%o", report->mode & 0777);
	table_cell(table, 3, "%s", size_text(report->ring_size, buf, sizeof(buf)));
	table_cell(table, 4, "%s", report_writer_text(report, buf, sizeof(buf)));
	table_cell(table, 5, "%u", report->n_readers);
	table_cell(table, 6, "%" PRIu64, report->written);
	table_cell(table, 7, "%" PRIu64, kept(report));
	table_cell(table, 8, "%" PRIu64, report->bytes);
	table_cell(table, 9, "%s", age_text(report->time_ns, buf, sizeof(buf)));
}

/* One that can't be looked at has question marks, in JSON its name alone. */
static bool add_by_name(struct table *table, json_t *list, const char *name)
{
	struct chan_report report;
	int ret = chan_report(name, &report);
	json_t *object;

	if (ret == -ENOENT) /* removed meanwhile */
		return true;
	if (ret < 0)
		cmd_chan_failed();
	if (list) {
		object = ret < 0 ? named_json(name) : report_json(&report);
		json_array_append_new(list, object);
	} else {
		add_channel(table, name, ret < 0 ? NULL : &report);
	}
	if (ret == 0)
		chan_report_free(&report);
	return ret == 0;
}

/* To the table or, if there is one, the list. */
static int list_channels(struct table *table, json_t *list)
{
	int status = CLI_OK;
	char **names;

	if (chan_list(&names) < 0)
		return cmd_chan_failed();
	for (char **name = names; *name; name++)
		if (!add_by_name(table, list, *name))
			status = CLI_FAILED;
	chan_list_free(names);
	return status;
}

static int print_table(bool heads)
{
	struct table table;
	int status;

	table_init(&table, ARRAY_SIZE(ls_heads), 1 << 2 | 1 << 3 | 0x1f << 5, ls_heads);
	status = list_channels(&table, NULL);
	table_write(&table, heads, stdout);
	return status;
}

void ls_chan_table(struct ipc_namespace *ns)
{
	(void)ns;
	print_table(true);
}

void ls_chan_json(struct ipc_namespace *ns, json_t *list)
{
	(void)ns;
	list_channels(NULL, list);
}

static int ls_help(void)
{
	printf("Usage: vee chan ls [OPTION]...\n"
	       "\n"
	       "List the channels of a namespace: name, owner, permissions, size of the ring, who\n"
	       "writes (its pid; \"-\": nobody; \"died\"), how many read, messages ever written, how\n"
	       "many of them are kept, bytes ever written, and how long ago the last message was.\n"
	       "\n"
	       "Options:\n"
	       "  -J, --json        print JSON, with all readers\n"
	       "      --noheadings  without the line of heads\n"
	       "      --ns NAME     of this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help        show this help\n");
	return CLI_OK;
}

int cmd_chan_ls(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'J'},
		{"noheadings", no_argument, NULL, 'H'},
		{"ns", required_argument, NULL, 'N'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool json = false, heads = true;
	int option, status;
	json_t *list;

	while ((option = getopt_long(argc, argv, "Jh", options, NULL)) >= 0) {
		switch (option) {
		case 'J':
			json = true;
			break;
		case 'H':
			heads = false;
			break;
		case 'N':
			folder_use(optarg);
			break;
		case 'h':
			return ls_help();
		default:
			return cli_bad_option();
		}
	}
	if (optind < argc)
		return cli_usage("%s: unexpected argument; vee chan stat shows one channel",
				 argv[optind]);
	if (!json)
		return print_table(heads);
	list = json_array();
	status = list_channels(NULL, list);
	json_print(list);
	return status;
}

/* --- stat --- */

static void print_writer(const struct chan_report *report)
{
	char command[64];

	printf("Writer:    ");
	if (report->writer_lives)
		printf("%d %s", report->writer_pid,
		       pid_command(report->writer_pid, command, sizeof(command)));
	else if (!report->epoch)
		printf("none yet");
	else
		printf("%s (it was %d)", report->closed ? "closed" : "died", report->writer_pid);
	printf(", epoch %" PRIu32 "\n", report->epoch);
}

static void print_channel(const struct chan_report *report)
{
	char buf[64], name[CHAN_PATH_SIZE], path[CHAN_PATH_SIZE];

	snprintf(name, sizeof(name), "%s", report->name);
	printf("Channel:   %s\n", cli_plain(name));
	if (!chan_path(report->name, path, sizeof(path)))
		printf("File:      %s\n", cli_plain(path));
	printf("Owner:     %s\n", ls_user_name(report->uid, buf, sizeof(buf)));
	printf("Perms:     %04o\n", report->mode & 0777);
	printf("Ring:      %s", size_text(report->ring_size, buf, sizeof(buf)));
	printf(", %s in memory\n", size_text(report->allotted, buf, sizeof(buf)));
	print_writer(report);
	printf("Messages:  %" PRIu64, report->written);
	if (kept(report))
		printf(", kept %" PRIu64 " to %" PRIu64, report->oldest, report->written);
	printf("\nBytes:     %" PRIu64 "\n", report->bytes);
	printf("Last:      %s", ls_time(report->time_ns / 1000000000, buf, sizeof(buf)));
	if (report->time_ns)
		printf(", %s ago", age_text(report->time_ns, buf, sizeof(buf)));
	printf("\nReaders:   %u\n", report->n_readers);
}

static void add_reader(struct table *table, const struct chan_report *report,
		       const struct chan_reader_report *reader)
{
	char buf[64];

	table_row(table);
	table_cell(table, 0, "%d", reader->pid);
	table_cell(table, 1, "%s", ls_user_name(reader->uid, buf, sizeof(buf)));
	table_cell(table, 2, "%s", pid_command(reader->pid, buf, sizeof(buf)));
	table_cell(table, 3, "%s", policy_text(reader));
	if (reader->reliable && reader->stall)
		table_cell(table, 3, "reliable, %s after %gs", stall_text(reader),
			   (double)reader->stall_ns / 1e9);
	table_cell(table, 4, "%" PRIu64, report_lag(report, reader));
	table_cell(table, 5, "%" PRIu64, reader->received);
	table_cell(table, 6, "%" PRIu64, reader->lost);
	table_cell(table, 7, "%s", ls_time(reader->since, buf, sizeof(buf)));
}

static void print_readers(const struct chan_report *report)
{
	static const char *const heads[] = {"PID", "USER",     "COMMAND", "POLICY",
					    "LAG", "RECEIVED", "LOST",	  "SINCE"};
	struct table table;

	table_init(&table, ARRAY_SIZE(heads), 1 << 0 | 7 << 4, heads);
	for (unsigned i = 0; i < report->n_readers; i++)
		add_reader(&table, report, &report->readers[i]);
	ls_print_below(&table);
}

static int stat_help(void)
{
	printf("Usage: vee chan stat NAME [OPTION]...\n"
	       "\n"
	       "Show a channel, and a line for each reader: how many messages it has still to read\n"
	       "(LAG; it says so now and then only, each eighth of the ring and before it sleeps), how\n"
	       "many it has received and lost.\n"
	       "\n"
	       "Options:\n"
	       "  -J, --json     print JSON\n"
	       "      --ns NAME  of this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help     show this help\n");
	return CLI_OK;
}

static int print_stat(const char *name, bool json)
{
	struct chan_report report;

	if (chan_report(name, &report) < 0)
		return cmd_chan_failed();
	if (json) {
		json_print(report_json(&report));
	} else {
		print_channel(&report);
		print_readers(&report);
	}
	chan_report_free(&report);
	return CLI_OK;
}

int cmd_chan_stat(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'J'},
		{"ns", required_argument, NULL, 'N'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool json = false;
	const char *name;
	int option;

	while ((option = getopt_long(argc, argv, "Jh", options, NULL)) >= 0) {
		switch (option) {
		case 'J':
			json = true;
			break;
		case 'N':
			folder_use(optarg);
			break;
		case 'h':
			return stat_help();
		default:
			return cli_bad_option();
		}
	}
	name = cmd_chan_only_name(argc, argv);
	return name ? print_stat(name, json) : CLI_USAGE;
}
