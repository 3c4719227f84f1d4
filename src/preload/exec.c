/*
 * exec.c - a thread that execs gives the doorbell up first.
 *
 * The kernel marks the robust mutexes of all threads that an exec ends, but for one: a thread that is not the first of
 * its process takes the first one's id before its own are looked for. If that one held the doorbell, the slot would look
 * alive until somebody asks for the thread (proc.c, rings_in_vain). What is kept over exec, and what is not, is in ipc/proc.h.
 */
#include "base/os.h"
#include "preload/calls.h"
#include "preload/real.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#define ARGUMENTS_MAX 4096

bool exec_before(void)
{
	struct ipc_namespace *ns = namespace_opened();

	return ns && proc_doorbell_give(ns);
}

void exec_failed(bool given)
{
	if (given)
		proc_doorbell_take(namespace_opened());
}

/* Looked up when the library is loaded: a child after fork may not wait for the loader's lock. */
#define EXECS(name, parameters, arguments)                                 \
	static __typeof__(name) *real_##name;                              \
	__attribute__((constructor)) static void look_up_##name(void)      \
	{                                                                  \
		real_##name = (__typeof__(name) *)dlsym(RTLD_NEXT, #name); \
	}                                                                  \
	VEE_EXPORT int name parameters                                     \
	{                                                                  \
		bool given = exec_before();                                \
		int ret;                                                   \
                                                                           \
		if (!real_##name)                                          \
			look_up_##name();                                  \
		ret = real_##name arguments;                               \
		exec_failed(given);                                        \
		return ret;                                                \
	}

EXECS(execve, (const char *path, char *const argv[], char *const envp[]), (path, argv, envp))
EXECS(execv, (const char *path, char *const argv[]), (path, argv))
EXECS(execvp, (const char *file, char *const argv[]), (file, argv))
EXECS(execvpe, (const char *file, char *const argv[], char *const envp[]), (file, argv, envp))
EXECS(fexecve, (int fd, char *const argv[], char *const envp[]), (fd, argv, envp))
#ifdef __GLIBC__
EXECS(execveat, (int dir, const char *path, char *const argv[], char *const envp[], int flags),
      (dir, path, argv, envp, flags))
#endif

/* The arguments up to NULL, and for execle the environment behind it. Returns false if they are too many. */
static bool take(char **argv, const char *first, va_list args)
{
	unsigned n = 0;

	argv[n++] = (char *)first;
	while (argv[n - 1]) {
		if (n == ARGUMENTS_MAX)
			return false;
		argv[n++] = va_arg(args, char *);
	}
	return true;
}

#define EXECS_LIST(name, call)                                             \
	VEE_EXPORT int name(const char *path, const char *first, ...)      \
	{                                                                  \
		char *argv[ARGUMENTS_MAX];                                 \
		va_list args;                                              \
		bool fit;                                                  \
                                                                           \
		va_start(args, first);                                     \
		fit = take(argv, first, args);                             \
		va_end(args);                                              \
		return fit ? call(path, argv) : (int)calls_return(-E2BIG); \
	}

EXECS_LIST(execl, execv)
EXECS_LIST(execlp, execvp)

VEE_EXPORT int execle(const char *path, const char *first, ...)
{
	char *argv[ARGUMENTS_MAX], **envp = NULL;
	va_list args;
	bool fit;

	va_start(args, first);
	fit = take(argv, first, args);
	if (fit)
		envp = va_arg(args, char **);
	va_end(args);
	return fit ? execve(path, argv, envp) : (int)calls_return(-E2BIG);
}
