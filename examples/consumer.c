/*
 * consumer - takes batches of numbers out of the ring of share.h and prints their sums; waits for them
 *
 *     consumer [HOW-MANY]       so many batches, or for ever
 *     consumer remove           removes the segment and the set
 */
#include "share.h"

#include <string.h>

static struct batch take(int semaphores, struct ring *ring)
{
	struct batch batch;

	change(semaphores, FILLED, -1, 0);
	lock_ring(semaphores);
	batch = ring->batches[ring->first];
	ring->first = (ring->first + 1) % PLACES;
	ring->n_filled--;
	unlock_ring(semaphores);
	change(semaphores, ROOM, +1, 0);
	return batch;
}

static void print_sum(const struct batch *batch)
{
	long sum = 0;

	for (int i = 0; i < batch->n; i++) {
		printf("%s%d", i ? " + " : "", batch->numbers[i]);
		sum += batch->numbers[i];
	}
	printf("%s= %ld\n", batch->n ? " " : "", sum);
	fflush(stdout);
}

static int remove_both(void)
{
	if (shmctl(get_segment(), IPC_RMID, NULL) < 0)
		fail("shmctl");
	if (semctl(get_semaphores(), 0, IPC_RMID) < 0)
		fail("semctl");
	return 0;
}

int main(int argc, char **argv)
{
	long how_many = argc > 1 ? atol(argv[1]) : -1;
	struct ring *ring;
	int semaphores;

	if (argc > 1 && strcmp(argv[1], "remove") == 0)
		return remove_both();
	semaphores = get_semaphores();
	ring = attach_ring(get_segment());
	while (how_many < 0 || how_many-- > 0) {
		struct batch batch = take(semaphores, ring);

		print_sum(&batch);
	}
	return 0;
}
