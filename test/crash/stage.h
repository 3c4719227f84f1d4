/*
 * stage.h - for tests of semaphores in which processes die: the roles that processes have, and
 * the sets as text.
 *
 * The text names processes by their roles and tells an old time from a new one, so that two runs
 * of a test can be compared. It is made without a sweep, and under each set's lock: whoever asks
 * for it recovers.
 */
#pragma once

#include "crash/actor.h"
#include "sem/set.h"

#include <signal.h>
#include <time.h>

#define SETS	 3
#define SLEEPERS 4
#define OLD_TIME 1000 /* a time before any test */

enum role {
	SETTER, /* makes the sets */
	EARLIER,
	HELPER,
	VICTIM,
	SLEEPER, /* and the next ones */
	ROLES = SLEEPER + SLEEPERS
};

#define ASLEEP 1 /* the outcome of one that has not come back */

/* Shared by all processes of a test; over an exec by its descriptor. */
struct stage {
	struct report report;
	char folder[80];
	int id[SETS];
	pid_t pid[ROLES];
	int outcome[SLEEPERS];
	bool victim_is_ready, all_are_asleep, go, victim_is_dead;
	bool has_journal[SLEEPERS];
	unsigned countdown, steps;
	uint64_t served_late_ns; /* how long a sleeper that was served took to come back */
	char raw[8192], swept[8192];
};

static struct stage *stage;

/* For what comes soon; the actor's alarm ends what doesn't. */
static inline void await_a_little(void)
{
	struct timespec little = {0, 50000};

	nanosleep(&little, NULL);
}

static inline const char *role_of(int pid)
{
	static const char *const names[ROLES] = {"setter",   "earlier",	 "helper",   "victim",
						 "sleeper0", "sleeper1", "sleeper2", "sleeper3"};

	if (pid == 0)
		return "nobody";
	for (unsigned i = 0; i < ROLES; i++)
		if (stage->pid[i] == pid)
			return names[i];
	return "a stranger";
}

struct text {
	char *at;
	size_t size, used;
};

static inline void __attribute__((format(printf, 2, 3)))
add(struct text *text, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	text->used += vsnprintf(text->at + text->used, text->size - text->used, format, args);
	va_end(args);
	if (text->used >= text->size)
		abort();
}

static inline const char *age(int64_t time)
{
	return time == 0 ? "none" : time == OLD_TIME ? "old" : time > 1000000000 ? "new" : "odd";
}

static inline void add_waiters(struct ipc_namespace *ns, struct text *text,
			       const struct sem_array *sma)
{
	const ref_t lists[] = {sma->pending_alter.first, sma->pending_const.first};

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		for (ref_t ref = lists[i]; ref; ref = sleeper_at(ns, ref)->next) {
			const struct sem_queue *q = sem_queue_at(ns, ref);
			const struct sembuf *sop = &sem_queue_sops(ns, q)[q->blocking];

			add(text, " %s(%u,%d of %u)", role_of(q->sleeper.pid), sop->sem_num,
			    sop->sem_op, q->nsops);
		}
	}
}

static inline void add_undo(struct ipc_namespace *ns, struct text *text,
			    const struct sem_array *sma)
{
	for (ref_t ref = sma->list_id; ref; ref = sem_undo_at(ns, ref)->id_next) {
		const struct sem_undo *un = sem_undo_at(ns, ref);
		const int16_t *semadj = sem_adjustments(sma, un);
		int sum = 0, n = 0;

		for (unsigned i = 0; semadj && i < sma->sem_nsems; i++) {
			sum += semadj[i] * (int)(i + 1);
			n += semadj[i] != 0;
		}
		if (n)
			add(text, " %s owes %d,%d", role_of(proc_at(ns, un->proc)->pid), n, sum);
	}
}

/* Those in a row that are alike stand once. */
static inline void add_values(struct text *text, const struct sem_array *sma)
{
	unsigned alike = 1;

	for (unsigned i = 0; i < sma->sem_nsems; i += alike) {
		uint64_t word = load_acquire(sma->words[i]);

		for (alike = 1; i + alike < sma->sem_nsems; alike++) {
			uint64_t other = load_acquire(sma->words[i + alike]);

			if (word_semval(other) != word_semval(word) ||
			    word_sempid(other) != word_sempid(word))
				break;
		}
		add(text, " %d:%s", word_semval(word), role_of(word_sempid(word)));
		if (alike > 1)
			add(text, "*%u", alike);
	}
}

/* All sets, as they are; a dead owner's half-done work is taken back on the way. */
static inline void describe(struct ipc_namespace *ns, char *buf, size_t size)
{
	struct ipc_ids *ids = ipc_ids_of(ns, IPC_SEM_IDS);
	struct text text = {buf, size, 0};
	struct tx *tx;

	if (tx_begin(&ns->arena, &tx) < 0) {
		flaw("tx_begin fails in a check");
		return;
	}
	/* Who died may have held the lock of the process table or of memory alone. */
	tx_lock(tx, &ids->lock);
	tx_lock(tx, &ns->record->proc_lock);
	tx_lock(tx, &ns->arena.header->memory_lock);
	add(&text, "in use %u, semaphores %u, seq %u\n", ids->in_use, ns->record->used_sems,
	    ids->seq);
	tx_commit(tx);
	for (int i = -1; (i = idr_next(&ns->arena, &ids->ipcs_idr, i + 1)) >= 0;) {
		struct sem_array *sma = sem_block(ns, i);

		/* As any call does first: what was left due. */
		if (sma && sem_lock(ns, sma->sem_perm.id, &tx, &sma) == 0)
			tx_commit(tx);
		if (!sma || tx_begin(&ns->arena, &tx) < 0)
			continue;
		tx_lock(tx, &ids->lock);
		tx_lock(tx, &sma->lock);
		if (!sma->sem_perm.deleted) {
			add(&text, "%d key %x mode %o otime %s ctime %s:", sma->sem_perm.id,
			    sma->sem_perm.key, sma->sem_perm.mode, age(sem_otime(sma)),
			    age(sma->sem_ctime));
			add_values(&text, sma);
			add_undo(ns, &text, sma);
			add_waiters(ns, &text, sma);
			add(&text, "\n");
		}
		tx_commit(tx);
	}
}

/* How many sleep, in all sets; the dead count too. */
static inline unsigned count_asleep(struct ipc_namespace *ns)
{
	struct ipc_ids *ids = ipc_ids_of(ns, IPC_SEM_IDS);
	unsigned n = 0;
	struct tx *tx;

	for (int i = -1; (i = idr_next(&ns->arena, &ids->ipcs_idr, i + 1)) >= 0;) {
		struct sem_array *sma = sem_block(ns, i);

		if (!sma || tx_begin(&ns->arena, &tx) < 0)
			continue;
		tx_lock(tx, &sma->lock);
		const ref_t lists[] = {sma->pending_alter.first, sma->pending_const.first};

		for (unsigned j = 0; j < ARRAY_SIZE(lists) && !sma->sem_perm.deleted; j++)
			for (ref_t ref = lists[j]; ref; ref = sleeper_at(ns, ref)->next)
				n++;
		tx_commit(tx);
	}
	return n;
}

static inline void await_asleep(struct ipc_namespace *ns, unsigned n)
{
	while (count_asleep(ns) < n)
		await_a_little();
}

static inline const char *check_all(struct ipc_namespace *ns)
{
	const char *wrong = namespace_check(ns);

	if (!wrong)
		wrong = sem_check(ns);
	return wrong ? wrong : shm_check(ns);
}
