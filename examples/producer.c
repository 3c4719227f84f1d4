/*
 * producer - puts batches of numbers into the ring of share.h, for `consumer` to add up
 *
 *     producer NUMBER...        one batch
 *     producer                  one batch for each line of standard input
 */
#include "share.h"

#include <string.h>

static void put(int semaphores, struct ring *ring, const struct batch *batch)
{
	change(semaphores, ROOM, -1, 0);
	lock_ring(semaphores);
	ring->batches[(ring->first + ring->n_filled++) % PLACES] = *batch;
	unlock_ring(semaphores);
	change(semaphores, FILLED, +1, 0);
}

static void add(struct batch *batch, const char *number)
{
	if (batch->n < NUMBERS)
		batch->numbers[batch->n++] = atoi(number);
}

int main(int argc, char **argv)
{
	int semaphores = get_semaphores();
	struct ring *ring = attach_ring(get_segment());
	struct batch batch = {0};
	char line[1024];

	for (int i = 1; i < argc; i++)
		add(&batch, argv[i]);
	if (batch.n)
		put(semaphores, ring, &batch);
	while (argc == 1 && fgets(line, sizeof(line), stdin)) {
		batch.n = 0;
		for (char *word = strtok(line, " \t\n"); word; word = strtok(NULL, " \t\n"))
			add(&batch, word);
		put(semaphores, ring, &batch);
	}
	return 0;
}
