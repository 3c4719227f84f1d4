/*
 * test-rules.h - an oracle for rules.h, for its tests: the operations one after the other on
 * copies, as semop(2) says.
 */
#pragma once

#include "sem/rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>

#define ORACLE_SEMS 100 /* more than 64, so that numbers fall together in semop_shape() */
#define ORACLE_OPS  64

struct oracle {
	int value[ORACLE_SEMS];
	int owed[ORACLE_SEMS];
	unsigned blocking;
};

/* One operation; returns 0, or what perform_atomic_semop() says. */
static inline int oracle_step(struct oracle *o, struct sembuf sop)
{
	int wanted = o->value[sop.sem_num] + sop.sem_op, owed = o->owed[sop.sem_num] - sop.sem_op;
	bool waits = sop.sem_op == 0 ? o->value[sop.sem_num] != 0 : wanted < 0;

	if (waits)
		return sop.sem_flg & IPC_NOWAIT ? -EAGAIN : SEM_MUST_WAIT;
	if (wanted > 32767)
		return -ERANGE;
	if (sop.sem_flg & SEM_UNDO) {
		if (owed < -32768 || owed > 32767)
			return -ERANGE;
		o->owed[sop.sem_num] = owed;
	}
	o->value[sop.sem_num] = wanted;
	return 0;
}

static inline int oracle_run(struct oracle *o, const struct sembuf *sops, unsigned n)
{
	for (o->blocking = 0; o->blocking < n; o->blocking++) {
		int ret = oracle_step(o, sops[o->blocking]);

		if (ret)
			return ret;
	}
	return 0;
}

/* Is one named again after it was changed? */
static inline bool oracle_repeats(const struct sembuf *sops, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < i; j++)
			if (sops[j].sem_num == sops[i].sem_num && sops[j].sem_op)
				return true;
	return false;
}

static inline bool oracle_agrees_on_shape(const struct sembuf *sops, unsigned n)
{
	struct sem_shape shape = semop_shape(sops, n);
	bool alter = false, undo = false;
	unsigned highest = 0;

	for (unsigned i = 0; i < n; i++) {
		alter |= sops[i].sem_op != 0;
		undo |= (sops[i].sem_flg & SEM_UNDO) != 0;
		if (sops[i].sem_num > highest)
			highest = sops[i].sem_num;
	}
	return shape.alter == alter && shape.undo == undo && shape.highest == highest &&
	       (shape.repeats || !oracle_repeats(sops, n));
}

/* Both on the same: false if they differ, or if anything was stored. semadj may be NULL. */
static inline bool oracle_agrees(const uint64_t *words, const int16_t *semadj,
				 const struct sembuf *sops, unsigned n)
{
	uint64_t kept[ORACLE_SEMS];
	struct oracle o;
	unsigned blocking = ~0u;
	bool repeats = semop_shape(sops, n).repeats;
	int ret, should;

	for (unsigned i = 0; i < ORACLE_SEMS; i++) {
		o.value[i] = words[i] & 0x7fff;
		o.owed[i] = semadj ? semadj[i] : 0;
	}
	memcpy(kept, words, sizeof(kept));
	should = oracle_run(&o, sops, n);
	ret = perform_atomic_semop(words, semadj, sops, n, repeats, &blocking);
	return ret == should && (ret == 0 || blocking == o.blocking) &&
	       !memcmp(kept, words, sizeof(kept)) && oracle_agrees_on_shape(sops, n);
}
