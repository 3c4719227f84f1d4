/* cmd-limits.c - `vee limits`: shows or sets the limits of a namespace, no root needed. */
#include "arena/journal.h"
#include "cli/cli.h"
#include "shm/shm.h"

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
	       "\n"
	       "Options:\n"
	       "  -J, --json       print JSON\n"
	       "  -n, --ns NAME    of this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help       show this help\n",
	       IPCMNI);
	return CLI_OK;
}

enum limit_name {
	SHMMAX,
	SHMALL,
	SHMMNI,
	SHM_RMID_FORCED,
	N_LIMITS
};

static const struct {
	const char *name, *unit;
	uint64_t max;
} limits[N_LIMITS] = {
	[SHMMAX] = {"shmmax", "bytes", UINT64_MAX},
	[SHMALL] = {"shmall", "pages", UINT64_MAX},
	[SHMMNI] = {"shmmni", "segments", IPCMNI},
	[SHM_RMID_FORCED] = {"shm_rmid_forced", "", 1},
};

struct change {
	enum limit_name which;
	uint64_t value;
};

/* Returns CLI_OK or CLI_USAGE. */
static int parse_change(const char *text, struct change *ret_change)
{
	const char *equals = strchr(text, '=');
	size_t length = equals ? (size_t)(equals - text) : 0;

	if (!equals)
		return cli_usage("%s: LIMIT=VALUE is needed", text);
	for (unsigned i = 0; i < N_LIMITS; i++) {
		if (strlen(limits[i].name) != length || memcmp(limits[i].name, text, length))
			continue;
		ret_change->which = i;
		if (cli_number(equals + 1, limits[i].max, &ret_change->value))
			return CLI_OK;
		return cli_usage("%s: not a number from 0 to %" PRIu64, text, limits[i].max);
	}
	return cli_usage("%s: no such limit", text);
}

static int set_limits(struct ipc_namespace *ns, const struct change *changes, unsigned n)
{
	struct ipc_namespace_record *record = ns->record;
	struct tx *tx;
	int ret = tx_begin(&ns->arena, &tx);

	if (ret < 0)
		return ret;
	tx_lock(tx, &ipc_ids_of(ns, IPC_SHM_IDS)->lock);
	for (unsigned i = 0; i < n; i++) {
		switch (changes[i].which) {
		case SHMMAX:
			tx_set(tx, record->shm_ctlmax, changes[i].value);
			break;
		case SHMALL:
			tx_set(tx, record->shm_ctlall, changes[i].value);
			break;
		case SHMMNI:
			tx_set(tx, record->shm_ctlmni, (uint32_t)changes[i].value);
			break;
		case SHM_RMID_FORCED:
			tx_set(tx, record->shm_rmid_forced, (uint32_t)changes[i].value);
			break;
		case N_LIMITS:
			break;
		}
	}
	tx_commit(tx);
	return 0;
}

static void print_limits(const struct ipc_namespace_record *record, bool json)
{
	static const char *const heads[] = {"LIMIT", "VALUE", "UNIT"};
	const uint64_t values[N_LIMITS] = {record->shm_ctlmax, record->shm_ctlall,
					   record->shm_ctlmni, record->shm_rmid_forced};
	struct table table;

	if (json) { /* by hand: jansson's integers are signed, shmmax is beyond them */
		for (unsigned i = 0; i < N_LIMITS; i++)
			printf("%s\n  \"%s\": %" PRIu64, i ? "," : "{", limits[i].name, values[i]);
		puts("\n}");
		return;
	}
	table_init(&table, ARRAY_SIZE(heads), 1 << 1, heads);
	for (unsigned i = 0; i < N_LIMITS; i++) {
		table_row(&table);
		table_cell(&table, 0, "%s", limits[i].name);
		table_cell(&table, 1, "%" PRIu64, values[i]);
		table_cell(&table, 2, "%s", limits[i].unit);
	}
	table_print(&table);
}

static int limits_of(const char *name, bool json, const struct change *changes, unsigned n)
{
	static struct ipc_namespace ns;
	int ret = folder_open_existing(name, &ns);

	if (ret < 0)
		return CLI_FAILED;
	if (n)
		ret = set_limits(&ns, changes, n);
	if (ret < 0)
		cli_error("%s: %s", folder_name(name), strerror(-ret));
	else if (!n || json)
		print_limits(ns.record, json);
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
	struct change changes[16];
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
