/* cmd-rm.c - `vee rm`: removes objects by id or key. */
#include "cli/cli.h"
#include "shm/shm.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static int help(void)
{
	printf("Usage: vee rm -m ID... | -M KEY... | --all [--ns NAME]\n"
	       "\n"
	       "Remove shared memory segments. One that is attached goes when it no longer is.\n"
	       "\n"
	       "Options:\n"
	       "  -m, --shmem-id ID...    by id\n"
	       "  -M, --shmem-key KEY...  by key (decimal, 0x... or 0...)\n"
	       "  -a, --all               all of the namespace\n"
	       "  -n, --ns NAME           of this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help              show this help\n");
	return CLI_OK;
}

struct target {
	int kind; /* 'm' or 'M' */
	const char *text;
};

/* Returns the segment's id or a negative errno: -ERANGE for a text that is neither id nor key. */
static int find_segment(struct ipc_namespace *ns, const struct target *target)
{
	uint64_t number;

	if (!cli_number(target->text, target->kind == 'm' ? INT32_MAX : UINT32_MAX, &number))
		return -ERANGE;
	if (target->kind == 'M' && number == IPC_PRIVATE)
		return -ERANGE;
	if (!ns)
		return -ENOENT;
	return target->kind == 'm' ? (int)number : shm_get(ns, (key_t)(uint32_t)number, 0, 0);
}

static const char *reason(int error)
{
	switch (-error) {
	case EINVAL:
	case EIDRM:
	case ENOENT:
		return "no such segment";
	case EPERM:
	case EACCES:
		return "permission denied: it is another user's";
	default:
		return strerror(-error);
	}
}

static bool remove_target(struct ipc_namespace *ns, const struct target *target)
{
	int ret = find_segment(ns, target);

	if (ret == -ERANGE) {
		cli_error("%s: not %s", target->text, target->kind == 'm' ? "an id" : "a key");
		return false;
	}
	if (ret >= 0)
		ret = shm_ctl(ns, ret, IPC_RMID, NULL);
	if (ret < 0)
		cli_error("%s: %s", target->text, reason(ret));
	return ret >= 0;
}

static bool remove_all(struct ipc_namespace *ns)
{
	struct shm_info_entry entry;
	bool ok = true;
	int ret;

	for (int index = -1; shm_each(ns, &index, &entry);) {
		if (entry.ds.shm_perm.mode & SHM_DEST)
			continue;
		ret = shm_ctl(ns, entry.id, IPC_RMID, NULL);
		if (ret == -EINVAL || ret == -EIDRM) /* somebody was faster */
			continue;
		if (ret < 0) {
			cli_error("%d: %s", entry.id, reason(ret));
			ok = false;
		}
	}
	return ok;
}

static int remove_segments(const char *name, const struct target *targets, unsigned n, bool all)
{
	static struct ipc_namespace opened;
	int ret = folder_open(name, &opened);
	struct ipc_namespace *ns = ret ? NULL : &opened;
	bool ok = true;

	if (ret < 0 && ret != -ENOENT)
		return CLI_FAILED;
	if (ns)
		proc_sweep(ns);
	for (unsigned i = 0; i < n; i++)
		ok &= remove_target(ns, &targets[i]);
	if (all && ns)
		ok &= remove_all(ns);
	if (ns)
		namespace_close(ns);
	return ok ? CLI_OK : CLI_FAILED;
}

int cmd_rm(int argc, char **argv)
{
	static const struct option options[] = {
		{"shmem-id", required_argument, NULL, 'm'},
		{"shmem-key", required_argument, NULL, 'M'},
		{"all", no_argument, NULL, 'a'},
		{"ns", required_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct target *targets = calloc((size_t)argc, sizeof(*targets));
	const char *name = NULL;
	int option, kind = 0, status;
	bool all = false;
	unsigned n = 0;

	if (!targets) {
		cli_error("out of memory");
		return CLI_FAILED;
	}
	/* "-": words come in their place, as option 1, so that -m 1 2 -M 3 can be told apart */
	while ((option = getopt_long(argc, argv, "-m:M:an:h", options, NULL)) >= 0) {
		switch (option) {
		case 'm':
		case 'M':
			kind = option;
			targets[n++] = (struct target){kind, optarg};
			break;
		case 1:
			if (!kind) {
				status = cli_usage(
					"%s: -m for an id or -M for a key must come before",
					optarg);
				goto out;
			}
			targets[n++] = (struct target){kind, optarg};
			break;
		case 'a':
			all = true;
			break;
		case 'n':
			name = optarg;
			break;
		case 'h':
			status = help();
			goto out;
		default:
			status = cli_bad_option();
			goto out;
		}
	}
	if (optind < argc)
		status = cli_usage("%s: unexpected argument", argv[optind]);
	else if (!n && !all)
		status = cli_usage("nothing to remove: -m ID, -M KEY or --all");
	else if (n && all)
		status = cli_usage("%s: --all removes this too", targets[0].text);
	else
		status = remove_segments(name, targets, n, all);
out:
	free(targets);
	return status;
}
