/* rules.c - the rules of semop(); see rules.h. */
#include "sem/rules.h"

#include <errno.h>
#include <sys/ipc.h>

#define SEMAEM SEMVMX

struct sem_shape semop_shape(const struct sembuf *sops, unsigned nsops)
{
	uint64_t changed =
		0; /* by number modulo 64: two numbers may fall together, no repeat is missed */
	unsigned highest = 0, flags = 0, repeats = 0;

	for (unsigned i = 0; i < nsops; i++) {
		unsigned num = sops[i].sem_num;

		highest = num > highest ? num : highest;
		flags |= (unsigned short)sops[i].sem_flg;
		repeats |= changed >> num % 64 & 1;
		changed |= (uint64_t)(sops[i].sem_op != 0) << num % 64;
	}
	return (struct sem_shape){highest, changed != 0, (flags & SEM_UNDO) != 0, repeats};
}

/* What the operations before `i` add to the semaphore of `i`, and with SEM_UNDO to its adjustment. */
static int earlier(const struct sembuf *sops, unsigned i, int *ret_undo)
{
	int sum = 0;

	for (unsigned j = 0; j < i; j++) {
		if (sops[j].sem_num != sops[i].sem_num)
			continue;
		sum += sops[j].sem_op;
		if (sops[j].sem_flg & SEM_UNDO)
			*ret_undo -= sops[j].sem_op;
	}
	return sum;
}

int perform_atomic_semop(const uint64_t *words, const int16_t *semadj, const struct sembuf *sops,
			 unsigned nsops, bool repeats, unsigned *ret_blocking)
{
	for (unsigned i = 0; i < nsops; i++) {
		const struct sembuf *sop = &sops[i];
		int undo = semadj ? semadj[sop->sem_num] : 0;
		int value = word_semval(__atomic_load_n(&words[sop->sem_num], __ATOMIC_RELAXED));

		if (repeats)
			value += earlier(sops, i, &undo);
		*ret_blocking = i;
		if ((sop->sem_op == 0 && value != 0) || value + sop->sem_op < 0)
			return sop->sem_flg & IPC_NOWAIT ? -EAGAIN : SEM_MUST_WAIT;
		if (value + sop->sem_op > SEMVMX)
			return -ERANGE;
		undo -= sop->sem_op;
		if (sop->sem_flg & SEM_UNDO && (undo < -SEMAEM - 1 || undo > SEMAEM))
			return -ERANGE;
	}
	return 0;
}

int semval_adjusted(int semval, int adjustment)
{
	int value = semval + adjustment;

	return value < 0 ? 0 : value > SEMVMX ? SEMVMX : value;
}
