/*
 * fuzz-open.c - any bytes as a namespace file: refused or opened, never a crash, never a hang.
 *
 * The first byte chooses: even, the rest lies over the start of a valid file; odd, the rest is the file.
 * What opens is checked; the checks may say what they like. Bytes beyond the header's page are not
 * for check: processes of one namespace trust each other.
 *
 *	fuzz-open [FILE…]        without libFuzzer: replays the files, or 200 pseudo-random inputs
 */
#include "arena/slab.h"
#include "base/os.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64], path[80];

static int fill(struct arena *arena)
{
	(void)arena;
	return 0;
}

static void remove_folder(void)
{
	unlink(path);
	rmdir(dir);
}

static void make_folder(void)
{
	snprintf(dir, sizeof(dir), "/dev/shm/vee-fuzz.XXXXXX");
	if (!mkdtemp(dir))
		abort();
	snprintf(path, sizeof(path), "%s/namespace", dir);
	atexit(remove_folder);
}

static void write_file(const uint8_t *data, size_t size, bool over)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | (over ? 0 : O_CREAT | O_TRUNC), 0600);

	if (fd < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena arena;
	int ret;

	if (!dir[0])
		make_folder();
	if (size == 0)
		return 0;
	unlink(path);
	if (!(data[0] & 1)) {
		if (arena_open(&arena, path, 0600, true, fill) < 0)
			abort();
		arena_close(&arena);
		/* The locks and lists behind it are state, which only a damaged process writes. */
		if (size > 1 + offsetof(struct arena_header, recovery_lock))
			size = 1 + offsetof(struct arena_header, recovery_lock);
	}
	write_file(data + 1, size - 1, !(data[0] & 1));
	ret = arena_open(&arena, path, 0600, false, fill);
	if (ret == 0) {
		arena_check(&arena);
		arena_close(&arena);
	} else if (ret > 0 || ret < -4095 || !arena_error[0]) {
		abort();
	}
	return 0;
}

#ifndef VEE_LIBFUZZER
static void replay(const char *name)
{
	static uint8_t data[1 << 16];
	FILE *file = fopen(name, "rb");
	size_t size = file ? fread(data, 1, sizeof(data), file) : 0;

	if (!file) {
		perror(name);
		exit(1);
	}
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
}

int main(int argc, char **argv)
{
	uint8_t data[512];
	unsigned seed = 20261121;

	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	for (int i = 0; i < 200 && argc == 1; i++) {
		size_t size = rand_r(&seed) % sizeof(data);

		for (size_t j = 0; j < size; j++)
			data[j] = rand_r(&seed) >> 7;
		LLVMFuzzerTestOneInput(data, size);
	}
	return 0;
}
#endif
