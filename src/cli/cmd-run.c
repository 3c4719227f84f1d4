/*
 * cmd-run.c - `vee run`: a program on vee.
 *
 * What a caller sees: the program runs with libvee-sysv.so preloaded, in a namespace that is there already or
 * comes to be at its first IPC call. Exit status: the program's, 128 + the signal that killed it; 126 not
 * executable, 127 not found, 1 and 2 of vee itself.
 *
 * How it works: plain `vee run` becomes the program by exec. With --private it stays, as the parent, to report and
 * remove what is left; meanwhile ^C and ^\ are for the program alone, SIGTERM and SIGHUP are passed on.
 */
#include "cli/cli.h"
#include "shm/shm.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
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

#define LIBRARY "libvee-sysv.so"

static int help(void)
{
	printf("Usage: vee run [--ns NAME | --private] [--] COMMAND [ARGUMENT]...\n"
	       "\n"
	       "Run a program with its System V IPC on vee.\n"
	       "\n"
	       "Options:\n"
	       "  -n, --ns NAME  in this namespace (default: $VEE_NS, else \"default\")\n"
	       "  -p, --private  in a namespace of its own, which is removed at the end;\n"
	       "                 what the program left in it is reported\n"
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
	ret = namespace_base(base, sizeof(base));
	if (!ret)
		ret = namespace_dir(name, ret_dir, sizeof(base));
	if (ret < 0) {
		folder_error(name, ret);
		return ret;
	}
	if (setenv("VEE_DIR", base, 1) || setenv("VEE_NS", folder_name(name), 1)) {
		cli_error("%s", strerror(errno));
		return -errno;
	}
	return set_preload();
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

/* The program itself is gone, and with it its name; we know it. */
static const char *creator(int pid, pid_t program, const char *program_name, char *buf, size_t size)
{
	const char *slash = strrchr(program_name, '/');

	if (pid == program)
		return slash ? slash + 1 : program_name;
	return pid_command(pid, buf, size);
}

static void report_leaks(struct ipc_namespace *ns, pid_t program, const char *program_name)
{
	struct shm_info_entry entry;
	unsigned n = 0;

	for (int index = -1; shm_each(ns, &index, &entry);) {
		int pid = (int)entry.ds.shm_cpid;
		const char *name;
		char buf[64];

		if (entry.ds.shm_perm.mode & SHM_DEST) /* it goes with its last attach */
			continue;
		name = creator(pid, program, program_name, buf, sizeof(buf));
		fprintf(stderr,
			"vee: segment %d: key 0x%08x, %zu bytes, made by %d%s%s%s, %lu attached\n",
			entry.id, (unsigned)entry.ds.shm_perm.__key, entry.ds.shm_segsz, pid,
			*name ? " (" : "", name, *name ? ")" : "",
			(unsigned long)entry.ds.shm_nattch);
		n++;
	}
	if (n)
		fprintf(stderr, "vee: %u segment%s left behind\n", n, n == 1 ? "" : "s");
}

/* Returns 0 or a negative errno, after saying why. */
static int clean_up(const char *name, const char *dir, pid_t program, const char *program_name)
{
	static struct ipc_namespace ns;
	int ret = folder_open(name, &ns);
	unsigned n_alive;

	if (!ret) {
		proc_sweep(&ns);
		report_leaks(&ns, program, program_name);
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
	if (clean_up(name, dir, pid, argv[0]) < 0 && !status)
		status = CLI_FAILED;
	return status;
}

int cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{"ns", required_argument, NULL, 'n'},
		{"private", no_argument, NULL, 'p'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *name = NULL;
	bool private = false;
	char dir[3072];
	int option;

	while ((option = getopt_long(argc, argv, "+n:ph", options, NULL)) >= 0) {
		switch (option) {
		case 'n':
			name = optarg;
			break;
		case 'p':
			private
			= true;
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
	return execute(argv + optind);
}
