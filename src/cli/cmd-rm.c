/* cmd-rm.c - `vee rm`: removes objects by id or key. */
#include "cli/cli.h"
#include "sem/sem.h"
#include "shm/shm.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static int help(void)
{
	printf("Usage: vee rm [-m ID...] [-M KEY...] [-s ID...] [-S KEY...] [--ns NAME]\n"
	       "       vee rm --all [--ns NAME]\n"
	       "\n"
	       "Remove shared memory segments and semaphore sets. A segment that is attached goes\n"
	       "when it no longer is; who waits on a set is told that it is no more (EIDRM).\n"
	       "\n"
	       "Options:\n"
	       "  -m, --shmem-id ID...        segments by id\n"
	       "  -M, --shmem-key KEY...      segments by key (decimal, 0x... or 0...)\n"
	       "  -s, --semaphore-id ID...    sets by id\n"
	       "  -S, --semaphore-key KEY...  sets by key\n"
	       "  -a, --all                   all of the namespace\n"
	       "  -n, --ns NAME               of this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help                  show this help\n");
	return CLI_OK;
}

struct target {
	int kind; /* 'm', 'M', 's' or 'S' */
	const char *text;
};

static bool by_id(const struct target *target)
{
	return target->kind == 'm' || target->kind == 's';
}

static bool is_set(const struct target *target)
{
	return target->kind == 's' || target->kind == 'S';
}

/* Returns the object's id or a negative errno: -ERANGE for a text that is neither id nor key. */
static int find_target(struct ipc_namespace *ns, const struct target *target)
{
	uint64_t number;
	key_t key;

	if (!cli_number(target->text, by_id(target) ? INT32_MAX : UINT32_MAX, &number))
		return -ERANGE;
	if (!by_id(target) && number == IPC_PRIVATE)
		return -ERANGE;
	if (!ns)
		return -ENOENT;
	if (by_id(target))
		return (int)number;
	key = (key_t)(uint32_t)number;
	return is_set(target) ? sem_get(ns, key, 0, 0) : shm_get(ns, key, 0, 0);
}

static const char *reason(int error, bool set)
{
	switch (-error) {
	case EINVAL:
	case EIDRM:
	case ENOENT:
		return set ? "no such semaphore set" : "no such segment";
	case EPERM:
	case EACCES:
		return "permission denied: it is another user's";
	default:
		return strerror(-error);
	}
}

static int remove_id(struct ipc_namespace *ns, int id, bool set)
{
	return set ? sem_ctl(ns, id, 0, IPC_RMID, 0) : shm_ctl(ns, id, IPC_RMID, NULL);
}

static bool remove_target(struct ipc_namespace *ns, const struct target *target)
{
	int ret = find_target(ns, target);

	if (ret == -ERANGE) {
		cli_error("%s: not %s", target->text, by_id(target) ? "an id" : "a key");
		return false;
	}
	if (ret >= 0)
		ret = remove_id(ns, ret, is_set(target));
	if (ret < 0)
		cli_error("%s: %s", target->text, reason(ret, is_set(target)));
	return ret >= 0;
}

/* For --all. */
static bool remove_found(struct ipc_namespace *ns, int id, bool set)
{
	int ret = remove_id(ns, id, set);

	if (ret >= 0 || ret == -EINVAL || ret == -EIDRM) /* somebody was faster */
		return true;
	cli_error("%d: %s", id, reason(ret, set));
	return false;
}

static bool remove_all(struct ipc_namespace *ns)
{
	struct shm_info_entry segment;
	struct sem_info_entry set;
	bool ok = true;

	for (int index = -1; shm_each(ns, &index, &segment);)
		if (!(segment.ds.shm_perm.mode & SHM_DEST))
			ok &= remove_found(ns, segment.id, false);
	for (int index = -1; sem_each(ns, &index, &set);)
		ok &= remove_found(ns, set.id, true);
	return ok;
}

static int remove_objects(const char *name, const struct target *targets, unsigned n, bool all)
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
		{"semaphore-id", required_argument, NULL, 's'},
		{"semaphore-key", required_argument, NULL, 'S'},
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
	while ((option = getopt_long(argc, argv, "-m:M:s:S:an:h", options, NULL)) >= 0) {
		switch (option) {
		case 'm':
		case 'M':
		case 's':
		case 'S':
			kind = option;
			targets[n++] = (struct target){kind, optarg};
			break;
		case 1:
			if (!kind) {
				status = cli_usage(
					"%s: -m or -s for an id, -M or -S for a key must come before",
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
		status = cli_usage("nothing to remove: -m ID, -M KEY, -s ID, -S KEY or --all");
	else if (n && all)
		status = cli_usage("%s: --all removes this too", targets[0].text);
	else
		status = remove_objects(name, targets, n, all);
out:
	free(targets);
	return status;
}
