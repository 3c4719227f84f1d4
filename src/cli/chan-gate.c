/*
 * chan-gate.c - readers that wait for a channel to appear, and its writer, who lets them in before it writes.
 *
 * What a caller sees: `vee chan read` that was there before `vee chan write` misses nothing, however fast the ring goes around.
 *
 * How it works: who waits has a socket with an abstract address that says what for. Nothing is sent to it; the kernel lists it
 * in /proc/net/unix until it is closed, which its owner does once it has a seat, and the kernel when its owner dies. The writer
 * looks until none is listed, but no longer than LET_IN_NS: it may be anybody's.
 */
#include "cli/chan.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LET_IN_NS 1000000000
#define LOOK_NS	  2000000

#define REAL_SIZE (PATH_MAX + CHAN_PATH_SIZE)
#define TEXT_SIZE sizeof(((struct sockaddr_un *)0)->sun_path)

/* The path by its real folders, as far as they are there; those that are yet to be made will be no links. */
static void real_path(const char *path, char *ret_real)
{
	char above[CHAN_PATH_SIZE], *end = ret_real;
	size_t n;

	snprintf(above, sizeof(above), "%s", path);
	do
		*strrchr(above, '/') = '\0';
	while (*above && !realpath(above, ret_real));
	if (*above && strcmp(ret_real, "/"))
		end += strlen(ret_real);
	for (path += strlen(above); *path; path += n) {
		path += strspn(path, "/");
		n = strcspn(path, "/");
		if (n != 1 || *path != '.')
			end += sprintf(end, "/%.*s", (int)n, path);
	}
}

/* The same for all who wait for the file, with a '@' for the 0 that the address has in front. */
static void address_text(const char *path, char *buf)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */
	char real[REAL_SIZE];

	real_path(path, real);
	for (const char *at = real; *at; at++)
		hash = (hash ^ (uint8_t)*at) * 1099511628211u;
	snprintf(buf, TEXT_SIZE, "@vee-chan-waits/%016" PRIx64 "/", hash);
}

int gate_wait(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size_t n;

	if (fd < 0)
		return -1;
	address_text(path, address.sun_path);
	n = strlen(address.sun_path);
	n += (size_t)snprintf(address.sun_path + n, TEXT_SIZE - n, "%d", getpid());
	address.sun_path[0] = '\0';
	if (!bind(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + n))
		return fd;
	close(fd);
	return -1;
}

static bool somebody_waits(const char *address)
{
	FILE *list = fopen("/proc/net/unix", "re");
	char *line = NULL;
	bool found = false;
	size_t size = 0;

	if (!list)
		return false;
	while (!found && getline(&line, &size, list) > 0)
		found = strstr(line, address);
	free(line);
	fclose(list);
	return found;
}

void gate_let_in(const char *path)
{
	const struct timespec nap = {.tv_nsec = LOOK_NS};
	int64_t deadline = wait_now_ns() + LET_IN_NS;
	char address[TEXT_SIZE];

	address_text(path, address);
	while (somebody_waits(address) && wait_now_ns() < deadline && !wait_caught())
		nanosleep(&nap, NULL);
}
