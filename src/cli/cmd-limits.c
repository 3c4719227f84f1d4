/* cmd-limits.c - `vee limits`: shows or sets the limits of a namespace; no root is needed. */
#include "api/limits.h"
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int help(void)
{
	printf("Usage: vee limits [--ns NAME] [--json] [LIMIT=VALUE]...\n"
	       "\n"
	       "Show the limits of a namespace, or set them for all that is made from now on.\n"
	       "\n"
	       "Limits:\n"
	       "  shmmax           bytes a segment\n"
	       "  shmall           pages in all segments\n"
	       "  shmmni           segments, at most %d\n"
	       "  shm_rmid_forced  1: a segment goes as soon as nobody is attached; 0\n"
	       "  semmsl           semaphores a set\n"
	       "  semmns           semaphores in all sets\n"
	       "  semopm           operations a call\n"
	       "  semmni           sets, at most %d\n"
	       "  msgmax           bytes a message\n"
	       "  msgmnb           bytes in a queue that is made from now on\n"
	       "  msgmni           queues, at most %d\n"
	       "\n"
	       "Options:\n"
	       "  -J, --json       print JSON\n"
	       "  -n, --ns NAME    of this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help       show this help\n",
	       IPCMNI, IPCMNI, IPCMNI);
	return CLI_OK;
}

/* All but the next ids, which are of /proc/sys/kernel alone. */
static const enum limit_id shown[] = {
	LIMIT_SHMMAX, LIMIT_SHMALL, LIMIT_SHMMNI, LIMIT_SHM_RMID_FORCED, LIMIT_SEMMSL, LIMIT_SEMMNS,
	LIMIT_SEMOPM, LIMIT_SEMMNI, LIMIT_MSGMAX, LIMIT_MSGMNB,		 LIMIT_MSGMNI,
};

/* Returns CLI_OK or CLI_USAGE. */
static int parse_change(const char *text, struct limit_change *ret_change)
{
	const char *equals = strchr(text, '=');
	size_t length = equals ? (size_t)(equals - text) : 0;

	if (!equals)
		return cli_usage("%s: LIMIT=VALUE is needed", text);
	for (unsigned i = 0; i < ARRAY_SIZE(shown); i++) {
		const struct limit *limit = &limits[shown[i]];

		if (strlen(limit->name) != length || memcmp(limit->name, text, length))
			continue;
		ret_change->id = shown[i];
		if (cli_number(equals + 1, limit->max, &ret_change->value))
			return CLI_OK;
		return cli_usage("%s: not a number from 0 to %" PRIu64, text, limit->max);
	}
	return cli_usage("%s: no such limit", text);
}

/* A value of /proc/sys/kernel/sem may be negative. */
static void value_text(struct ipc_namespace *ns, enum limit_id id, char *buf, size_t size)
{
	uint64_t value = limit_get(ns, id);

	if (limits[id].size == 8)
		snprintf(buf, size, "%" PRIu64, value);
	else
		snprintf(buf, size, "%" PRId64, (int64_t)value);
}

static void print_limits(struct ipc_namespace *ns, bool json)
{
	static const char *const heads[] = {"LIMIT", "VALUE", "UNIT"};
	struct table table;
	char value[32];

	if (json) { /* by hand: jansson's integers are signed, shmmax is beyond them */
		for (unsigned i = 0; i < ARRAY_SIZE(shown); i++) {
			value_text(ns, shown[i], value, sizeof(value));
			printf("%s\n  \"%s\": %s", i ? "," : "{", limits[shown[i]].name, value);
		}
		puts("\n}");
		return;
	}
	table_init(&table, ARRAY_SIZE(heads), 1 << 1, heads);
	for (unsigned i = 0; i < ARRAY_SIZE(shown); i++) {
		value_text(ns, shown[i], value, sizeof(value));
		table_row(&table);
		table_cell(&table, 0, "%s", limits[shown[i]].name);
		table_cell(&table, 1, "%s", value);
		table_cell(&table, 2, "%s", limits[shown[i]].unit);
	}
	table_print(&table);
}

static int limits_of(const char *name, bool json, const struct limit_change *changes, unsigned n)
{
	static struct ipc_namespace ns;
	int ret = folder_open_existing(name, &ns);

	if (ret < 0)
		return CLI_FAILED;
	if (n)
		ret = limits_set(&ns, changes, n);
	if (ret < 0)
		cli_error("%s: %s", folder_name(name), strerror(-ret));
	else if (!n || json)
		print_limits(&ns, json);
	namespace_close(&ns);
	return ret < 0 ? CLI_FAILED : CLI_OK;
}

int cmd_limits(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'J'},
		{"ns", required_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct limit_change changes[16];
	const char *name = NULL;
	bool json = false;
	unsigned n = 0;
	int option;

	while ((option = getopt_long(argc, argv, "Jn:h", options, NULL)) >= 0) {
		switch (option) {
		case 'J':
			json = true;
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
	if (argc - optind > (int)ARRAY_SIZE(changes))
		return cli_usage("%d values: there are not so many limits", argc - optind);
	for (; optind < argc; optind++)
		if (parse_change(argv[optind], &changes[n++]))
			return CLI_USAGE;
	return limits_of(name, json, changes, n);
}
