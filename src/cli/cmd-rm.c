/* cmd-rm.c - `vee rm`: removes objects by id or key. */
#include "cli/cli.h"
#include "msg/msg.h"
#include "sem/sem.h"
#include "shm/shm.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static int help(void)
{
	printf("Usage: vee rm [-m ID...] [-M KEY...] [-s ID...] [-S KEY...] [-q ID...] [-Q KEY...]\n"
	       "              [--ns NAME]\n"
	       "       vee rm --all [--ns NAME]\n"
	       "\n"
	       "Remove shared memory segments, semaphore sets and message queues. A segment that is\n"
	       "attached goes when it no longer is; a queue goes with its messages; who waits on a set\n"
	       "or a queue is told that it is no more (EIDRM).\n"
	       "\n"
	       "Options:\n"
	       "  -m, --shmem-id ID...        segments by id\n"
	       "  -M, --shmem-key KEY...      segments by key (decimal, 0x... or 0...)\n"
	       "  -s, --semaphore-id ID...    sets by id\n"
	       "  -S, --semaphore-key KEY...  sets by key\n"
	       "  -q, --queue-id ID...        queues by id\n"
	       "  -Q, --queue-key KEY...      queues by key\n"
	       "  -a, --all                   all of the namespace\n"
	       "  -n, --ns NAME               of this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -h, --help                  show this help\n");
	return CLI_OK;
}

static int find_segment(struct ipc_namespace *ns, key_t key)
{
	return shm_get(ns, key, 0, 0);
}

static int remove_segment(struct ipc_namespace *ns, int id)
{
	return shm_ctl(ns, id, IPC_RMID, NULL);
}

static int find_set(struct ipc_namespace *ns, key_t key)
{
	return sem_get(ns, key, 0, 0);
}

static int remove_set(struct ipc_namespace *ns, int id)
{
	return sem_ctl(ns, id, 0, IPC_RMID, 0);
}

static int find_queue(struct ipc_namespace *ns, key_t key)
{
	return msg_get(ns, key, 0);
}

static int remove_queue(struct ipc_namespace *ns, int id)
{
	return msg_ctl(ns, id, IPC_RMID, NULL);
}

static const struct kind {
	char by_id, by_key; /* options */
	const char *missing;
	int (*find)(struct ipc_namespace *ns, key_t key);
	int (*remove)(struct ipc_namespace *ns, int id);
} kinds[] = {
	{'m', 'M', "no such segment", find_segment, remove_segment},
	{'s', 'S', "no such semaphore set", find_set, remove_set},
	{'q', 'Q', "no such queue", find_queue, remove_queue},
};

struct target {
	const struct kind *kind;
	bool by_key;
	const char *text;
};

/* What an option says of the words that follow it; their text is still to come. */
static struct target target_of(int option)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (option == kinds[i].by_id || option == kinds[i].by_key)
			return (struct target){&kinds[i], option == kinds[i].by_key, NULL};
	return (struct target){0};
}

/* Returns the object's id or a negative errno: -ERANGE for a text that is neither id nor key. */
static int find_target(struct ipc_namespace *ns, const struct target *target)
{
	uint64_t number;

	if (!cli_number(target->text, target->by_key ? UINT32_MAX : INT32_MAX, &number))
		return -ERANGE;
	if (target->by_key && number == IPC_PRIVATE)
		return -ERANGE;
	if (!ns)
		return -ENOENT;
	return target->by_key ? target->kind->find(ns, (key_t)(uint32_t)number) : (int)number;
}

static const char *reason(int error, const struct kind *kind)
{
	switch (-error) {
	case EINVAL:
	case EIDRM:
	case ENOENT:
		return kind->missing;
	case EPERM:
	case EACCES:
		return "permission denied: it is another user's";
	default:
		return strerror(-error);
	}
}

static bool remove_target(struct ipc_namespace *ns, const struct target *target)
{
	int ret = find_target(ns, target);

	if (ret == -ERANGE) {
		cli_error("%s: not %s", target->text, target->by_key ? "a key" : "an id");
		return false;
	}
	if (ret >= 0)
		ret = target->kind->remove(ns, ret);
	if (ret < 0)
		cli_error("%s: %s", target->text, reason(ret, target->kind));
	return ret >= 0;
}

/* For --all. */
static bool remove_found(struct ipc_namespace *ns, int id, const struct kind *kind)
{
	int ret = kind->remove(ns, id);

	if (ret >= 0 || ret == -EINVAL || ret == -EIDRM) /* somebody was faster */
		return true;
	cli_error("%d: %s", id, reason(ret, kind));
	return false;
}

static bool remove_all(struct ipc_namespace *ns)
{
	struct shm_info_entry segment;
	struct sem_info_entry set;
	struct msg_info_entry queue;
	bool ok = true;

	for (int index = -1; shm_each(ns, &index, &segment);)
		if (!(segment.ds.shm_perm.mode & SHM_DEST))
			ok &= remove_found(ns, segment.id, &kinds[0]);
	for (int index = -1; sem_each(ns, &index, &set);)
		ok &= remove_found(ns, set.id, &kinds[1]);
	for (int index = -1; msg_each(ns, &index, &queue);)
		ok &= remove_found(ns, queue.id, &kinds[2]);
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
		{"queue-id", required_argument, NULL, 'q'},
		{"queue-key", required_argument, NULL, 'Q'},
		{"all", no_argument, NULL, 'a'},
		{"ns", required_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct target *targets = calloc((size_t)argc, sizeof(*targets));
	struct target last = {0};
	const char *name = NULL;
	int option, status;
	bool all = false;
	unsigned n = 0;

	if (!targets) {
		cli_error("out of memory");
		return CLI_FAILED;
	}
	/* "-": words come in their place, as option 1, so that -m 1 2 -M 3 can be told apart */
	while ((option = getopt_long(argc, argv, "-m:M:s:S:q:Q:an:h", options, NULL)) >= 0) {
		switch (option) {
		case 'm':
		case 'M':
		case 's':
		case 'S':
		case 'q':
		case 'Q':
			last = target_of(option);
			last.text = optarg;
			targets[n++] = last;
			break;
		case 1:
			if (!last.kind) {
				status = cli_usage("%s: -m, -s or -q for an id, -M, -S or -Q for a "
						   "key must come before",
						   optarg);
				goto out;
			}
			last.text = optarg;
			targets[n++] = last;
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
		status = cli_usage(
			"nothing to remove: -m ID, -M KEY, -s ID, -S KEY, -q ID, -Q KEY or --all");
	else if (n && all)
		status = cli_usage("%s: --all removes this too", targets[0].text);
	else
		status = remove_objects(name, targets, n, all);
out:
	free(targets);
	return status;
}
