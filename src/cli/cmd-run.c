/*
 * cmd-run.c - `vee run`: a program on vee.
 *
 * What a caller sees: the program runs with libvee-sysv.so preloaded, in a namespace that is there already or
 * comes to be at its first IPC call. Exit status: the program's, 128 + the signal that killed it; 126 not
 * executable, 127 not found, 1 and 2 of vee itself.
 *
 * How it works: plain `vee run` becomes the program by exec; root's `vee run --ns` makes the namespace before. With --private it stays, as the parent, to report and
 * remove what is left; meanwhile ^C and ^\ are for the program alone, SIGTERM and SIGHUP are passed on.
 */
#include "cli/cli.h"
#include "msg/msg.h"
#include "sem/sem.h"
#include "shm/shm.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef VEE_LIBDIR_BELOW
#define VEE_LIBDIR_BELOW "/../lib"
#endif
#ifndef VEE_LIBDIR
#define VEE_LIBDIR "/usr/local/lib"
#endif

#define LIBRARY	      "libvee-sysv.so"
#define PIDS_REPORTED 64u /* semaphores of a set that are looked at for a pid */

static int help(void)
{
	printf("Usage: vee run [--ns NAME | --private] [--] COMMAND [ARGUMENT]...\n"
	       "\n"
	       "Run a program with its System V IPC on vee.\n"
	       "\n"
	       "Options:\n"
	       "  -n, --ns NAME  in this namespace (default: $VEE_NS, else \"default\"); what\n"
	       "                 root makes so lets the system's accounts in, see vee(7)\n"
	       "  -p, --private  in a namespace of its own, which is removed at the end;\n"
	       "                 what the program left in it is reported\n"
	       "  -v, --verbose  say if they can't be let in\n"
	       "  -h, --help     show this help\n"
	       "\n"
	       "Exit status: that of COMMAND, 128 + N if signal N killed it;\n"
	       "126 it can't be executed, 127 it is not found, 1 or 2 vee failed.\n");
	return CLI_OK;
}

static bool library_at(const char *folder, const char *below, char *ret_path)
{
	char path[PATH_MAX + 64];

	if (snprintf(path, sizeof(path), "%s%s/" LIBRARY, folder, below) >= PATH_MAX)
		return false;
	return !access(path, R_OK) && realpath(path, ret_path);
}

/* Beside the command in the build folder, else where the installation has put it. */
static bool find_library(char *ret_path)
{
	static const char *const below[] = {"", VEE_LIBDIR_BELOW, "/../lib", "/../lib/vee"};
	char exe[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	if (length > 0) {
		exe[length] = '\0';
		slash = strrchr(exe, '/');
		if (slash)
			*slash = '\0';
		for (size_t i = 0; i < ARRAY_SIZE(below); i++)
			if (library_at(exe, below[i], ret_path))
				return true;
	}
	return library_at(VEE_LIBDIR, "", ret_path) || library_at(VEE_LIBDIR, "/vee", ret_path);
}

static bool is_preloaded(const char *preload, const char *library)
{
	size_t length = strlen(library);

	for (const char *at = preload; (at = strstr(at, library)); at += length)
		if ((at == preload || strchr(": ", at[-1])) &&
		    (!at[length] || strchr(": ", at[length])))
			return true;
	return false;
}

static int set_preload(void)
{
	const char *found = getenv("LD_PRELOAD");
	char library[PATH_MAX];
	char *value;
	int ret;

	if (!find_library(library)) {
		cli_error(LIBRARY " is neither beside this command nor in " VEE_LIBDIR);
		return -ENOENT;
	}
	if (strpbrk(library, ": ")) {
		cli_error("%s: LD_PRELOAD can't hold a path with a colon or a space", library);
		return -EINVAL;
	}
	if (!found || !*found)
		return setenv("LD_PRELOAD", library, 1) ? -errno : 0;
	if (is_preloaded(found, library))
		return 0;
	if (asprintf(&value, "%s:%s", library, found) < 0)
		return -ENOMEM;
	ret = setenv("LD_PRELOAD", value, 1) ? -errno : 0;
	free(value);
	return ret;
}

/* ret_dir: the namespace's folder, of 3072 bytes */
static int set_environment(const char *name, char *ret_dir)
{
	char base[3072];
	int ret;

	arena_error[0] = '\0';
	ret = namespace_dir(name, ret_dir, sizeof(base));
	if (ret < 0) {
		folder_error(name, ret);
		return ret;
	}
	snprintf(base, sizeof(base), "%.*s", (int)(strrchr(ret_dir, '/') - ret_dir), ret_dir);
	if (setenv("VEE_DIR", base, 1) || setenv("VEE_NS", folder_name(name), 1)) {
		cli_error("%s", strerror(errno));
		return -errno;
	}
	return set_preload();
}

/* What root names is there before the program is, and lets the system's accounts in: it may start as one of them. */
static int make_named(const char *name, const char *dir, bool verbose)
{
	static struct ipc_namespace ns;
	char path[3200];
	int ret;

	snprintf(path, sizeof(path), "%s/namespace", dir);
	if (!accounts_belong_in(name) || !access(path, F_OK))
		return 0;
	ret = accounts_make_namespace(&ns, dir);
	if (ret < 0) {
		folder_error(name, ret);
		return ret;
	}
	namespace_close(&ns);
	if (ret == NAMESPACE_NO_GUESTS && verbose)
		cli_error("%s: there are no access control lists here: it is for root alone", dir);
	return 0;
}

/* Returns the exit status if it fails. */
static int execute(char **argv)
{
	execvp(argv[0], argv);
	cli_error("%s: %s", argv[0], errno == ENOENT ? "command not found" : strerror(errno));
	return errno == ENOENT ? 127 : 126;
}

static volatile sig_atomic_t child_pid;

static void pass_on(int sig)
{
	int error = errno;

	if (child_pid > 0)
		kill(child_pid, sig);
	errno = error;
}

static const int passed_signals[] = {SIGTERM, SIGHUP};
static const int ignored_signals[] = {SIGINT, SIGQUIT};

struct signals {
	sigset_t mask, passed;
	struct sigaction passed_before[2], ignored_before[2];
};

/* SIGTERM and SIGHUP are left blocked. */
static void signals_take(struct signals *signals)
{
	struct sigaction pass = {.sa_handler = pass_on}, ignore = {.sa_handler = SIG_IGN};

	sigemptyset(&signals->passed);
	for (int i = 0; i < 2; i++)
		sigaddset(&signals->passed, passed_signals[i]);
	sigprocmask(SIG_BLOCK, &signals->passed, &signals->mask);
	for (int i = 0; i < 2; i++) {
		sigaction(passed_signals[i], NULL, &signals->passed_before[i]);
		if (signals->passed_before[i].sa_handler != SIG_IGN) /* nohup stays nohup */
			sigaction(passed_signals[i], &pass, NULL);
		sigaction(ignored_signals[i], &ignore, &signals->ignored_before[i]);
	}
}

static void signals_give_back(const struct signals *signals)
{
	for (int i = 0; i < 2; i++) {
		sigaction(passed_signals[i], &signals->passed_before[i], NULL);
		sigaction(ignored_signals[i], &signals->ignored_before[i], NULL);
	}
	sigprocmask(SIG_SETMASK, &signals->mask, NULL);
}

/* Waits for the child, with signals passed on to it but never to a pid that is no longer its. */
static int wait_for(pid_t pid, const struct signals *signals)
{
	siginfo_t info;
	int status = 0;

	child_pid = pid;
	sigprocmask(SIG_UNBLOCK, &signals->passed, NULL);
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) && errno == EINTR)
		;
	sigprocmask(SIG_BLOCK, &signals->passed, NULL);
	child_pid = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Whose end is reported. */
struct program {
	pid_t pid;
	const char *name;
};

/* The program itself is gone, and with it its name; we know it. */
static const char *command_of(const struct program *program, int pid, char *buf, size_t size)
{
	const char *slash = strrchr(program->name, '/');

	if (pid == program->pid)
		return slash ? slash + 1 : program->name;
	return pid_command(pid, buf, size);
}

static void print_pid(const struct program *program, int pid)
{
	char buf[64];
	const char *name = command_of(program, pid, buf, sizeof(buf));

	fprintf(stderr, "%d%s%s%s", pid, *name ? " (" : "", name, *name ? ")" : "");
}

static unsigned report_segments(struct ipc_namespace *ns, const struct program *program)
{
	struct shm_info_entry entry;
	unsigned n = 0;

	for (int index = -1; shm_each(ns, &index, &entry);) {
		if (entry.ds.shm_perm.mode & SHM_DEST) /* it goes with its last attach */
			continue;
		fprintf(stderr, "vee: segment %d: key 0x%08x, %zu bytes, made by ", entry.id,
			(unsigned)entry.ds.shm_perm.__key, entry.ds.shm_segsz);
		print_pid(program, (int)entry.ds.shm_cpid);
		fprintf(stderr, ", %lu attached\n", (unsigned long)entry.ds.shm_nattch);
		n++;
	}
	return n;
}

/* Each of pids that is not 0, once. */
static void print_pids(const struct program *program, const int *pids, unsigned n)
{
	const char *before = ", last operated on by ";

	for (unsigned i = 0; i < n; i++) {
		bool seen = !pids[i];

		for (unsigned k = 0; k < i; k++)
			seen |= pids[k] == pids[i];
		if (seen)
			continue;
		fputs(before, stderr);
		print_pid(program, pids[i]);
		before = ", ";
	}
}

static void print_owner(uid_t uid)
{
	const struct passwd *user = getpwuid(uid);

	if (user)
		fprintf(stderr, ", owner %s", user->pw_name);
	else
		fprintf(stderr, ", owner %u", (unsigned)uid);
}

/* A set does not know who made it; each semaphore knows who changed it last. */
static unsigned report_sets(struct ipc_namespace *ns, const struct program *program)
{
	struct sem_info_entry entry;
	unsigned n = 0, n_pids;

	for (int index = -1; sem_each(ns, &index, &entry); n++) {
		int values[PIDS_REPORTED], pids[PIDS_REPORTED];

		fprintf(stderr, "vee: semaphore set %d: key 0x%08x", entry.id,
			(unsigned)entry.ds.sem_perm.__key);
		print_owner(entry.ds.sem_perm.uid);
		fprintf(stderr, ", %lu semaphore%s", (unsigned long)entry.ds.sem_nsems,
			entry.ds.sem_nsems == 1 ? "" : "s");
		n_pids = sem_values(ns, entry.id, values, pids, PIDS_REPORTED);
		print_pids(program, pids, n_pids < PIDS_REPORTED ? n_pids : PIDS_REPORTED);
		fputc('\n', stderr);
	}
	return n;
}

/* Nor does a queue; it knows who sent and who received last. */
static unsigned report_queues(struct ipc_namespace *ns, const struct program *program)
{
	struct msg_info_entry entry;
	unsigned n = 0;

	for (int index = -1; msg_each(ns, &index, &entry); n++) {
		const int pids[] = {entry.ds.msg_lspid, entry.ds.msg_lrpid};

		fprintf(stderr, "vee: queue %d: key 0x%08x", entry.id,
			(unsigned)entry.ds.msg_perm.__key);
		print_owner(entry.ds.msg_perm.uid);
		fprintf(stderr, ", %lu message%s of %lu bytes", (unsigned long)entry.ds.msg_qnum,
			entry.ds.msg_qnum == 1 ? "" : "s", (unsigned long)entry.ds.__msg_cbytes);
		print_pids(program, pids, ARRAY_SIZE(pids));
		fputc('\n', stderr);
	}
	return n;
}

/* "vee: 1 segment, 2 semaphore sets and 1 queue left behind" */
static void report_leaks(struct ipc_namespace *ns, const struct program *program)
{
	static const char *const what[] = {"segment", "semaphore set", "queue"};
	unsigned n[ARRAY_SIZE(what)], n_kinds = 0, said = 0;

	n[0] = report_segments(ns, program);
	n[1] = report_sets(ns, program);
	n[2] = report_queues(ns, program);
	for (size_t i = 0; i < ARRAY_SIZE(what); i++)
		n_kinds += n[i] > 0;
	for (size_t i = 0; i < ARRAY_SIZE(what); i++) {
		if (!n[i])
			continue;
		if (said++ == 0)
			fputs("vee: ", stderr);
		else
			fputs(said == n_kinds ? " and " : ", ", stderr);
		fprintf(stderr, "%u %s%s", n[i], what[i], n[i] == 1 ? "" : "s");
	}
	if (said)
		fputs(" left behind\n", stderr);
}

/* Returns 0 or a negative errno, after saying why. */
static int clean_up(const char *name, const char *dir, const struct program *program)
{
	static struct ipc_namespace ns;
	int ret = folder_open(name, &ns);
	unsigned n_alive;

	if (!ret) {
		proc_sweep(&ns);
		report_leaks(&ns, program);
		n_alive = folder_processes(&ns);
		if (n_alive)
			cli_error("%u process%s of it still run%s, without a namespace now",
				  n_alive, n_alive == 1 ? "" : "es", n_alive == 1 ? "s" : "");
		namespace_close(&ns);
	}
	for (int tries = 0; tries < 3; tries++) { /* whoever still runs may make a file meanwhile */
		ret = folder_remove(dir);
		if (ret != -ENOTEMPTY)
			break;
	}
	if (ret == -ENOENT)
		return 0;
	if (ret < 0)
		cli_error("%s: %s", dir, strerror(-ret));
	return ret;
}

static int run_private(char **argv)
{
	struct signals signals;
	char name[64], dir[3072];
	uint32_t random = 0;
	int status;
	pid_t pid;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint32_t)(uintptr_t)&signals;
	snprintf(name, sizeof(name), "private-%d-%08" PRIx32, (int)getpid(), random);
	if (set_environment(name, dir) < 0)
		return CLI_FAILED;
	signals_take(&signals);
	pid = fork();
	if (pid < 0) {
		cli_error("fork: %s", strerror(errno));
		return CLI_FAILED;
	}
	if (!pid) {
		signals_give_back(&signals);
		_exit(execute(argv));
	}
	status = wait_for(pid, &signals);
	if (clean_up(name, dir, &(struct program){pid, argv[0]}) < 0 && !status)
		status = CLI_FAILED;
	return status;
}

int cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{"ns", required_argument, NULL, 'n'},
		{"private", no_argument, NULL, 'p'},
		{"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *name = NULL;
	bool private = false, verbose = false;
	char dir[3072];
	int option;

	while ((option = getopt_long(argc, argv, "+n:pvh", options, NULL)) >= 0) {
		switch (option) {
		case 'n':
			name = optarg;
			break;
		case 'p':
			private
			= true;
			break;
		case 'v':
			verbose = true;
			break;
		case 'h':
			return help();
		default:
			return cli_bad_option();
		}
	}
	if (name && private)
		return cli_usage("--ns %s: --private makes a namespace of its own", name);
	if (optind == argc)
		return cli_usage("no command to run");
	if (private)
		return run_private(argv + optind);
	if (set_environment(name, dir) < 0)
		return CLI_FAILED;
	if (name && make_named(name, dir, verbose) < 0)
		return CLI_FAILED;
	return execute(argv + optind);
}
