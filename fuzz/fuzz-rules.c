/*
 * fuzz-rules.c - any array of semaphore operations on any values: the rules say what the oracle
 * says.
 *
 * The input is the number of operations, these (number, operation, flags), then values and
 * adjustments, which count as 0 where the input ends.
 *
 *	fuzz-rules [FILE…]       without libFuzzer: replays the files, or 20000 pseudo-random inputs
 */
#include "sem/test-rules.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at, *end;
};

static unsigned take(struct input *input, unsigned bytes)
{
	unsigned value = 0;

	for (unsigned i = 0; i < bytes && input->at < input->end; i++)
		value |= (unsigned)*input->at++ << 8 * i;
	return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const short flags[] = {0, IPC_NOWAIT, SEM_UNDO, SEM_UNDO | IPC_NOWAIT};
	struct input input = {data, data + size};
	struct sembuf sops[ORACLE_OPS];
	uint64_t words[ORACLE_SEMS];
	int16_t semadj[ORACLE_SEMS];
	unsigned n = 1 + take(&input, 1) % ORACLE_OPS;
	bool owes = take(&input, 1) & 1;

	for (unsigned i = 0; i < n; i++) {
		sops[i].sem_num = take(&input, 1) % ORACLE_SEMS;
		sops[i].sem_op = (int16_t)take(&input, 2);
		sops[i].sem_flg = flags[take(&input, 1) % 4];
	}
	for (unsigned i = 0; i < ORACLE_SEMS; i++) {
		words[i] = word_with((uint64_t)i << SEM_GEN_SHIFT, take(&input, 2) & SEMVMX, i);
		semadj[i] = (int16_t)take(&input, 2);
	}
	if (!oracle_agrees(words, owes ? semadj : NULL, sops, n))
		abort();
	return 0;
}

#ifndef VEE_LIBFUZZER
static void replay(const char *name)
{
	static uint8_t data[1 << 12];
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
	for (int i = 0; i < 20000 && argc == 1; i++) {
		size_t size = rand_r(&seed) % sizeof(data);

		for (size_t j = 0; j < size; j++)
			data[j] = rand_r(&seed) >> 7;
		/* Few operations, so that some arrays go ahead. */
		if (i % 2 && size)
			data[0] %= 4;
		LLVMFuzzerTestOneInput(data, size);
	}
	return 0;
}
#endif
