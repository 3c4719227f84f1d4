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
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LET_IN_NS 1000000000
#define LOOK_NS	  2000000

/* The same for all who wait for the file, with a '@' for the 0 that the address has in front. */
static void address_text(const char *path, char *buf, size_t size)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */

	for (; *path; path++)
		hash = (hash ^ (uint8_t)*path) * 1099511628211u;
	snprintf(buf, size, "@vee-chan-waits/%016" PRIx64 "/", hash);
}

int gate_wait(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size_t n;

	if (fd < 0)
		return -1;
	address_text(path, address.sun_path, sizeof(address.sun_path));
	n = strlen(address.sun_path);
	n += (size_t)snprintf(address.sun_path + n, sizeof(address.sun_path) - n, "%d", getpid());
	address.sun_path[0] = '\0';
	if (!bind(fd, (struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + n))
		return fd;
	close(fd);
	return -1;
}

static bool somebody_waits(const char *path)
{
	FILE *list = fopen("/proc/net/unix", "re");
	char address[sizeof(((struct sockaddr_un *)0)->sun_path)], *line = NULL;
	bool found = false;
	size_t size = 0;

	if (!list)
		return false;
	address_text(path, address, sizeof(address));
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

	while (somebody_waits(path) && wait_now_ns() < deadline && !wait_caught())
		nanosleep(&nap, NULL);
}
