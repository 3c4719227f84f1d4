/*
 * no-kernel CMD ARGS...: runs CMD with the kernel's System V IPC taken away.
 *
 * What the program sees: each of the 12 calls (shmget shmat shmdt shmctl, semget semop semtimedop
 * semctl, msgget msgsnd msgrcv msgctl) fails with ENOSYS, in it and in all that it starts, for
 * good. So a test that passes under it used nothing of the kernel's. Exit code: CMD's; 125 when the
 * filter cannot be made, 126 CMD cannot run, 127 CMD is not found.
 *
 * How: a seccomp filter. It needs no root (no_new_privs is set, so set-user-ID programs gain
 * nothing under it). 32-bit x86 programs, and the old ipc() call, are refused too.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const refused[] = {
	"shmget",     "shmat",	"shmdt",  "shmctl", "semget", "semop",
	"semtimedop", "semctl", "msgget", "msgsnd", "msgrcv", "msgctl",
};

static int refuse(scmp_filter_ctx ctx, const char *name)
{
	int nr = seccomp_syscall_resolve_name(name);

	if (nr == __NR_SCMP_ERROR)
		return -EINVAL;
	return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), nr, 0);
}

/* 0, or a negative errno and *ret_what, the step that failed. */
static int filter_load(const char **ret_what)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r = 0;

	if (!ctx) {
		*ret_what = "seccomp_init";
		return -ENOMEM;
	}
#if defined(__x86_64__)
	*ret_what = "adding the x86 architecture";
	r = seccomp_arch_add(ctx, SCMP_ARCH_X86);
#elif defined(__aarch64__)
	*ret_what = "adding the arm architecture";
	r = seccomp_arch_add(ctx, SCMP_ARCH_ARM);
#endif
	for (size_t i = 0; r == 0 && i < sizeof(refused) / sizeof(*refused); i++) {
		*ret_what = refused[i];
		r = refuse(ctx, refused[i]);
	}
	if (r == 0) {
		*ret_what = "loading the filter";
		r = seccomp_load(ctx);
	}
	seccomp_release(ctx);
	return r;
}

int main(int argc, char **argv)
{
	const char *what = "";

	if (argc < 2) {
		fprintf(stderr,
			"usage: no-kernel CMD [ARGS...]\n"
			"Runs CMD with the kernel's System V IPC calls failing with ENOSYS.\n");
		return 125;
	}
	int r = filter_load(&what);
	if (r < 0) {
		fprintf(stderr,
			"no-kernel: cannot take System V IPC away: %s: %s. Does this kernel have "
			"CONFIG_SECCOMP_FILTER, and does the sandbox around allow seccomp()?\n",
			what, strerror(-r));
		return 125;
	}
	execvp(argv[1], argv + 1);
	int code = errno == ENOENT ? 127 : 126;
	fprintf(stderr, "no-kernel: cannot run '%s': %s\n", argv[1], strerror(errno));
	return code;
}
