/*
 * test-rules.c - perform_atomic_semop() against an oracle: all short arrays, and many long ones at
 * the limits.
 */
#include "sem/test-rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void show(const uint64_t *words, const int16_t *semadj, const struct sembuf *sops,
		 unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		print_error("{%u, %d, 0x%x} on %d, owed %d\n", sops[i].sem_num, sops[i].sem_op,
			    sops[i].sem_flg, word_semval(words[sops[i].sem_num]),
			    semadj ? semadj[sops[i].sem_num] : 0);
}

static void must_agree(const uint64_t *words, const int16_t *semadj, const struct sembuf *sops,
		       unsigned n)
{
	if (oracle_agrees(words, semadj, sops, n))
		return;
	show(words, semadj, sops, n);
	fail_msg("the oracle says otherwise");
}

/* The which-th of all operations on two semaphores with small numbers. */
#define SMALL 40
static struct sembuf small_op(unsigned which)
{
	static const short flags[] = {0, IPC_NOWAIT, SEM_UNDO, SEM_UNDO | IPC_NOWAIT};

	return (struct sembuf){which % 2, (short)(which / 2 % 5) - 2, flags[which / 10]};
}

static void all_arrays_of_three(const uint64_t *words)
{
	struct sembuf sops[3];

	for (unsigned i = 0; i < SMALL * SMALL * SMALL; i++) {
		sops[0] = small_op(i % SMALL);
		sops[1] = small_op(i / SMALL % SMALL);
		sops[2] = small_op(i / SMALL / SMALL);
		must_agree(words, NULL, sops, 3);
	}
}

static void short_arrays_do_what_semop_says(void **state)
{
	uint64_t words[ORACLE_SEMS] = {0};

	(void)state;
	for (unsigned i = 0; i < 9; i++) {
		words[0] = word_with(SEM_HELD, i % 3, 77);
		words[1] = word_with(SEM_GEN_ONE, i / 3, 0);
		all_arrays_of_three(words);
	}
}

static unsigned seed = 20261121;

static unsigned dice(unsigned below)
{
	return (unsigned)rand_r(&seed) / 7 % below;
}

/* Near 0 and the limits more often than elsewhere. */
static int number(int least, int most)
{
	switch (dice(4)) {
	case 0:
		return least + (int)dice(3);
	case 1:
		return most - (int)dice(3);
	case 2:
		return (int)dice(5) - (least < 0 ? 2 : 0);
	default:
		return least + (int)dice(most - least + 1);
	}
}

static void long_arrays_at_the_limits_do_too(void **state)
{
	static const short flags[] = {0, IPC_NOWAIT, SEM_UNDO, SEM_UNDO | IPC_NOWAIT};
	struct sembuf sops[ORACLE_OPS];
	uint64_t words[ORACLE_SEMS];
	int16_t semadj[ORACLE_SEMS];

	(void)state;
	for (unsigned round = 0; round < 200000; round++) {
		unsigned n = 1 + dice(round % 8 ? 6 : ORACLE_OPS), sems = 1 + dice(ORACLE_SEMS);

		for (unsigned i = 0; i < ORACLE_SEMS; i++) {
			words[i] =
				word_with(dice(2) ? SEM_HELD : 0, number(0, 32767), dice(1 << 22));
			semadj[i] = number(-32768, 32767);
		}
		for (unsigned i = 0; i < n; i++)
			sops[i] =
				(struct sembuf){dice(sems), number(-32768, 32767), flags[dice(4)]};
		must_agree(words, dice(4) ? semadj : NULL, sops, n);
	}
}

static void an_adjustment_is_clamped(void **state)
{
	(void)state;
	assert_int_equal(semval_adjusted(0, -1), 0);
	assert_int_equal(semval_adjusted(5, -5), 0);
	assert_int_equal(semval_adjusted(5, 3), 8);
	assert_int_equal(semval_adjusted(32767, 1), 32767);
	assert_int_equal(semval_adjusted(32767, 32767), 32767);
	assert_int_equal(semval_adjusted(32767, -32768), 0);
}

static void a_word_keeps_what_is_put_in(void **state)
{
	uint64_t word = word_with(5 * SEM_GEN_ONE | SEM_HELD, 32767, SEM_PID_MASK);

	(void)state;
	assert_int_equal(word_semval(word), 32767);
	assert_int_equal(word_sempid(word), SEM_PID_MASK);
	assert_true(word & SEM_HELD);
	assert_true(word >> SEM_GEN_SHIFT == 5);
	word_hold(&word);
	assert_true(word >> SEM_GEN_SHIFT == 5);
	word_let_go(&word);
	word_hold(&word);
	assert_true(word >> SEM_GEN_SHIFT == 6);
	assert_int_equal(word_semval(word), 32767);
	/* The generation wraps without touching the rest. */
	word = word_with(~0ull & ~SEM_HELD, 3, 4);
	word_hold(&word);
	assert_true(word >> SEM_GEN_SHIFT == 0);
	assert_int_equal(word_semval(word), 3);
	assert_int_equal(word_sempid(word), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_arrays_do_what_semop_says),
		cmocka_unit_test(long_arrays_at_the_limits_do_too),
		cmocka_unit_test(an_adjustment_is_clamped),
		cmocka_unit_test(a_word_keeps_what_is_put_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
