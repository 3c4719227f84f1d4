/*
 * chan-wait.c - how `vee chan` sleeps: until a channel appears, standard input has something, a signal comes, or whoever
 * reads standard output has gone.
 *
 * How it works: poll(2) on all of that. A signal handler writes to an eventfd, so that a signal just before poll is seen too. The second signal
 * of a kind kills at once.
 */
#include "cli/chan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const int caught_ones[] = {SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t caught;
static int caught_fd = -1;

static void catch_one(int number)
{
	int saved = errno;

	caught = number;
	eventfd_write(caught_fd, 1); /* if that fails it is full, and so readable */
	errno = saved;
}

void wait_catch_signals(void)
{
	struct sigaction action = {.sa_handler = catch_one, .sa_flags = (int)SA_RESETHAND}, old;

	caught_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (caught_fd < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(caught_ones); i++)
		/* nohup, and shells for what is in the background, have it ignored */
		if (!sigaction(caught_ones[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(caught_ones[i], &action, NULL);
}

int wait_caught(void)
{
	return caught;
}

int wait_end(int status)
{
	if (!caught)
		return status;
	signal(caught, SIG_DFL);
	raise(caught);
	return CLI_FAILED;
}

int64_t wait_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool stdout_is_pipe(void)
{
	static int known = -1;
	struct stat st;

	if (known < 0)
		known = !fstat(STDOUT_FILENO, &st) &&
			(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
	return known;
}

/* For poll: rounded up, so as not to wake just before. */
static int milliseconds_until(int64_t deadline)
{
	int64_t left;

	if (deadline == INT64_MAX)
		return -1;
	left = deadline - wait_now_ns();
	if (left <= 0)
		return 0;
	left = (left + 999999) / 1000000;
	return left < INT_MAX ? (int)left : INT_MAX;
}

int wait_for(int fd, int other_fd, bool watch_stdout, int64_t deadline)
{
	struct pollfd fds[] = {
		{.fd = caught_fd, .events = POLLIN},
		{.fd = fd, .events = POLLIN},
		{.fd = other_fd, .events = POLLIN},
		{.fd = watch_stdout && stdout_is_pipe() ? STDOUT_FILENO : -1},
	};
	int n;

	do {
		if (caught)
			return -EINTR;
		n = poll(fds, ARRAY_SIZE(fds), milliseconds_until(deadline));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ETIMEDOUT;
	if (fds[0].revents)
		return -EINTR;
	if (fds[3].revents)
		return -EPIPE;
	return fds[2].revents ? WAIT_OTHER_FD : 0;
}

/* Cuts "a/b/c" to "a/b", "c" to ".", "/c" to "/". false: there is nothing above. */
static bool go_up(char *path)
{
	char *slash;
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		path[--n] = '\0';
	if (!strcmp(path, "/") || !strcmp(path, "."))
		return false;
	slash = strrchr(path, '/');
	if (!slash)
		strcpy(path, ".");
	else
		slash[slash == path] = '\0';
	return true;
}

/* The file itself, if it is there, or the nearest folder above. Returns the watch, or -1; path is cut to what is watched. */
static int watch_nearest(int fd, char *path)
{
	uint32_t mask = IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;
	int watch;

	for (;;) {
		watch = inotify_add_watch(fd, path, mask);
		if (watch >= 0 || (errno != ENOENT && errno != ENOTDIR) || !go_up(path))
			return watch;
		mask |= IN_CREATE | IN_MOVED_TO;
	}
}

int wait_watch(const char *path)
{
	char nearest[PATH_MAX];
	int fd, watch = -1, last;

	if (strlen(path) >= sizeof(nearest))
		return -1;
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0)
		return -1;
	do { /* until none that lies farther down has come meanwhile */
		strcpy(nearest, path);
		last = watch;
		watch = watch_nearest(fd, nearest);
		if (watch < 0) {
			close(fd);
			return -1;
		}
	} while (watch != last);
	return fd;
}
