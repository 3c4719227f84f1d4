/*
 * sem-word.pml - the protocol of src/sem/word.h and src/sem/sem.h, for spin.
 *
 * One set's block with two words, its robust lock, the journals, the sleepers, and a clock that lets time pass
 * and kills. Each access to shared memory that another process may see is one step; a process may die between
 * any two. All there is to do is finite, so what should happen in the end is asserted when nothing moves any more.
 *
 * Not in it: barriers (memory is sequentially consistent), a generation that comes round again, waiting for zero,
 * want of memory, the list of free blocks, several threads of a process. A death is seen by whoever looks
 * (no doubts), so "seems to be dead" is "is". What is merged into one step commutes with all that others may do meanwhile.
 *
 * A scenario (-DSCENARIO=..., below) says what each process does. -DBUG_... seeds a bug; `run` knows them all.
 *
 * What is asserted (ghosts, named g_..., change at the moment when an operation takes effect: at the
 * compare-and-swap, or when the transaction stands):
 *  UNITS     a word that is not held back has the value that all operations which took effect add up to; each
 *            took effect just once, and just for those who return success from it, but for those of the dead
 *            that SEM_UNDO or an unnoted hand-off takes back.
 *  DECIDED   who acts on a word has read id, owner, mode, nsems and all of them are the set's at this moment.
 *  TRACE     who begins after a death sees nothing of what is yet to be undone, or taken back.
 *  MUTEX     a semaphore of 1 lets one process in.
 *  INV1      a word is held back while a sleeper names it or somebody has an adjustment for it, or has been served
 *            by its set and took no note.
 *  INV3      no sleeper can go ahead while the lock is free.
 *  FIFO      nobody is served while one who came before him could go.
 *  END       when nothing moves any more, nobody alive waits for what is there, nor for news that never came;
 *            and whoever then looks finds the lock usable and no trace of the dead.
 */

/* --- scenarios --- */

#define END_ 0
/* An array of at most one operation for each word; flags: SEM_UNDO (for word 0), IPC_NOWAIT. */
#define OPS(d0, d1, flags, id) ((d0) + 1 + 3 * ((d1) + 1) + (flags) + 256 * (id))
#define F_UNDO	 16
#define F_NOWAIT 32
#define F_AFTER  64 /* begins after the death of process 0, and must see no trace of it */
#define F_CTL	 128
#define D0(op)	 (((op) & 15) % 3 - 1)
#define D1(op)	 (((op) & 15) / 3 - 1)
#define D(op, k) ((k) == 0 -> D0(op) : D1(op))
#define UNDO(op) (((op) & F_UNDO) != 0)
#define ID(op)	 ((op) >> 8)
#define NAMES(op, k) (D(op, k) != 0)

#define P	  OPS(-1, 0, 0, 1)
#define V	  OPS(1, 0, 0, 1)
#define P_UNDO	  OPS(-1, 0, F_UNDO, 1)
#define V_UNDO	  OPS(1, 0, F_UNDO, 1)
#define P_NOWAIT  OPS(-1, 0, F_NOWAIT, 1)
#define P1	  OPS(0, -1, 0, 1)
#define V1	  OPS(0, 1, 0, 1)
#define MOVE	  OPS(-1, 1, 0, 1)
#define MOVE_BACK OPS(1, -1, 0, 1)
#define V_OF_2	  OPS(1, 0, 0, 2)
#define P_OF_2	  OPS(-1, 0, 0, 2)
#define V1_OF_2	  OPS(0, 1, F_NOWAIT, 2)
#define CTL(kind) (F_CTL + (kind) + 256)
#define C_SET	  1
#define C_RMID	  2
#define C_NEW	  3
#define C_SETVAL  4
#define C_GETALL  5
#define C_LOOK	  6
#define KIND(op)  ((op) & 15)

#include "scenarios.pml"

#if defined(ARRAYS) || defined(REUSE) || defined(GETALL) || defined(TIMES)
#define TWO /* the second word is used */
#endif
#ifndef SEMS
#define SEMS 1 /* semaphores of set 1 */
#endif
#ifndef SEMS_OF_2
#define SEMS_OF_2 1
#endif
#ifndef INIT0
#define INIT0 1
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef EARLY
#define EARLY 1
#endif
#ifndef GIVE_UP
#define GIVE_UP 0
#endif

/* --- shared memory --- */

#define NA (NP + 1) /* the last one looks when all is over */

/* word: semval 2 bits, held, pid 3 bits, generation */
#define VAL(w)	      ((w) & 3)
#define HELD	      4
#define PID(w)	      ((w) >> 3 & 7)
#define GEN_ONE	      64
#define WITH(w, v, p) (((w) & ~63) | ((w) & HELD) | ((p) << 3) | (v))

/* All that is journalled is in mem. */
#define WORD	0
#define word(k) mem[k]
#define B_ID	2
#define B_OWNER 3
#define B_MODE	4
#define B_NSEMS 5
#define B_INC	6
#define B_LIST	7
#define B_EPOCH 8 /* one more with each SETVAL */
#define B_OTIME 9 /* without lock: 2 * incarnation + "there was one" */
#define B_OTIME_LOCKED 10 /* under the lock, by journal: there was one */
#define OTIME_IS_SET ((mem[B_OTIME] & 1) || mem[B_OTIME_LOCKED])
#define Q_STATE 11
#define ADJ	(11 + NA)
#define ADJ_INC (11 + 2 * NA) /* of the set that the adjustment is for */
short mem[11 + 3 * NA];

#define NJ 13
typedef journal_t {
	byte length;
	byte at[NJ];
	short old[NJ];
}
journal_t journal[NA];

byte lock;   /* 0, or 1 + owner; the owner may be dead */
byte holder; /* 0, or 1 + whose journal */

#define Q_IDLE	 0
#define Q_QUEUED 1
#define Q_DONE	 2
#define AWAKE  0
#define ASLEEP 1
#define TOLD   2
#define OK     1
#define EIDRM  2
typedef queue_t {
	byte futex;
	byte status;
	short op;
	byte inc;
	byte epoch; /* of the set when the operation was done */
}
queue_t q[NA];
bool waiting[NA]; /* in the kernel, on its futex word */
bool tick[NA];	  /* its time-out has passed */

/* The pending list: two bits a sleeper (1 + who), the first in the lowest. */
#define AT(l, n)     ((l) >> (2 * (n)) & 3)
#define APPEND(l, x) ((l) == 0 -> (x) : ((l) < 4 -> (l) | (x) << 2 : (l) | (x) << 4))
#define DROP(l, x)                                     \
	(AT(l, 0) == (x) -> (l) >> 2 : (AT(l, 1) == (x) -> (AT(l, 0) | AT(l, 2) << 2) : \
	 (AT(l, 2) == (x) -> ((l) & 15) : (l))))

bool killed[NA], finished[NA];

/* --- ghosts --- */
short g_val[2];
byte g_id, g_owner, g_mode, g_nsems;
bool g_granted[NA];
short g_adj[NA];
bool g_inside[NA];
byte g_returned, g_effects; /* ids of the sets on which an operation has returned success, has taken effect */
byte give_ups; /* how often a sleeper may still give up */
bool changed;  /* time has to pass once more before all is over */

#define CAN_GO(o) (VAL(word(0)) + D0(o) >= 0 && VAL(word(1)) + D1(o) >= 0)
#define QUEUED(j) (mem[Q_STATE + (j)] == Q_QUEUED)
#define OWES(j)	  (mem[ADJ + (j)] != 0 && mem[ADJ_INC + (j)] == mem[B_INC])
#define UNNOTED(j) (mem[Q_STATE + (j)] == Q_DONE && q[j].status == OK && q[j].inc == mem[B_INC])
#define TRACE(j)  (killed[j] && (mem[Q_STATE + (j)] != Q_IDLE || OWES(j)))

/* May a semop without lock go ahead, by what it has read? */
#ifdef BUG_NO_FLAG
#define MAY(w) (VAL(w) + D(op, k) >= 0 && r_id == ID(op) && r_nsems > k)
#else
#define MAY(w) (!(w & HELD) && VAL(w) + D(op, k) >= 0 && r_id == ID(op) && r_nsems > k)
#endif

#if NP > 2
#define NEWS (TRACE(0) || TRACE(1) || TRACE(2))
#else
#define NEWS (TRACE(0) || TRACE(1))
#endif

/* Must word k be held back? Loops over all; the result in `need`. */
inline needed(k)
{
	need = (mem[B_ID] == 0 || mem[B_NSEMS] <= k);
	for (i : 0 .. NP - 1) {
		if
#ifndef BUG_LET_GO_SLEEPER
		:: QUEUED(i) && NAMES(q[i].op, k) -> need = 1
#endif
#ifndef BUG_LET_GO_SERVED
		:: UNNOTED(i) -> need = 1
#endif
#ifndef BUG_LET_GO_UNDO
		:: k == 0 && OWES(i) -> need = 1
#endif
		:: else
		fi
	}
}

/* Only within d_step. */
#define save(a)                                            \
	assert(journal[me].length < NJ);                   \
	journal[me].at[journal[me].length] = a;            \
	journal[me].old[journal[me].length] = mem[a];      \
	journal[me].length++

inline hold(k)
{
	d_step {
		if
		:: !(word(k) & HELD) ->
#ifdef BUG_HOLD_JOURNALLED
			save(WORD + k);
#endif
#ifndef BUG_NO_GENERATION
			word(k) = word(k) + GEN_ONE;
#endif
			word(k) = word(k) | HELD
		:: else
		fi
	}
}

/*
 * Save and store in one step: a death between the two leaves an entry that says what is there already, so
 * playing it back is as if death had come before. With -DFINE they are two.
 */
#if defined(BUG_NOT_JOURNALLED)
#define tx_set(a, v) mem[a] = v
#elif defined(BUG_SAVE_AFTER)
#define tx_set(a, v)                                     \
	d_step { x = mem[a]; mem[a] = v };               \
	d_step {                                         \
		save(a);                                 \
		journal[me].old[journal[me].length - 1] = x; \
		x = 0                                    \
	}
#elif defined(FINE)
#define tx_set(a, v)            \
	d_step { save(a) };     \
	mem[a] = v
#else
#define tx_set(a, v) d_step { save(a); mem[a] = v }
#endif

/* Entry by entry; the owner of the journal is dead, or it is one's own. */
inline play_back(who)
{
	do
	:: journal[who].length > 0 ->
		mem[journal[who].at[journal[who].length - 1]] =
			journal[who].old[journal[who].length - 1];
		d_step {
			journal[who].length--;
			journal[who].at[journal[who].length] = 0;
			journal[who].old[journal[who].length] = 0
		}
	:: else -> break
	od
}

inline take_lock()
{
	atomic {
		(lock == 0 || killed[lock - 1]) ->
		owner_died = (lock != 0);
		lock = me + 1;
		if
		:: !owner_died -> holder = me + 1 /* dead before or after it, the journal is empty */
		:: else
		fi
	}
	if
	:: owner_died ->
#ifndef BUG_NO_RECOVERY
		if
		:: holder != 0 ->
			j = holder - 1;
			play_back(j);
			holder = 0
		:: else
		fi;
#endif
		d_step { holder = me + 1; j = 0; owner_died = 0 }
	:: else
	fi
}

inline let_go(k)
{
	d_step {
		if
		:: word(k) & HELD ->
			needed(k);
			if
			:: need
			:: else -> word(k) = word(k) & ~HELD
			fi;
			i = 0; need = 0
		:: else
		fi
	}
}

/* One sleeper a step: swaps its futex word for TOLD, notes who has to be woken. */
inline tell()
{
	to_tell = served;
	do
	:: to_tell ->
		d_step {
			i = (to_tell & 2 -> 1 : (to_tell & 4 -> 2 : 3));
			to_tell = to_tell & ~(1 << i);
			if
			:: q[i - 1].futex == ASLEEP -> asleep = asleep | 1 << i
			:: else
			fi;
			q[i - 1].futex = TOLD;
			i = 0
		}
	:: else -> break
	od
}

/* What a caller without lock reads of the set, and does not trust before its compare-and-swap. */
inline read_set()
{
	r_id = mem[B_ID];
#ifdef FINE
	r_owner = mem[B_OWNER];
	r_mode = mem[B_MODE];
	d_step {
#else
	d_step {
		r_owner = mem[B_OWNER];
		r_mode = mem[B_MODE];
#endif
		r_nsems = mem[B_NSEMS];
		r_inc = mem[B_INC]
	}
}

/* The moment of truth for what a caller has read, on success of its operation. */
inline decided(o)
{
	assert(g_id == ID(o));		  /* DECIDED */
	assert(r_owner == g_owner && r_mode == g_mode);
	assert(!NAMES(o, 1) || g_nsems == 2)
}

#ifdef BUG_TAKE_BACK_ANY_SET
#define SAME_SET(j) 1
#else
#define SAME_SET(j) (q[j].inc == mem[B_INC])
#endif
#ifdef BUG_TAKE_BACK_AFTER_SETVAL
#define SAME_EPOCH(j) 1
#else
#define SAME_EPOCH(j) (q[j].epoch == mem[B_EPOCH])
#endif

/* Can it be taken back whole? Others may have used what it gave; then it stays done. */
#ifdef BUG_TAKE_BACK_IN_PART
#define FITS(j) 1
#else
#define FITS(j) (WHOLE(j))
#endif
#define WHOLE(j)                                                                                \
	(VAL(word(0)) - D0(q[j].op) >= 0 && VAL(word(0)) - D0(q[j].op) <= 3 &&                  \
	 (!NAMES(q[j].op, 1) || VAL(word(1)) - D1(q[j].op) >= 0 && VAL(word(1)) - D1(q[j].op) <= 3))

#define THEN_AGAIN   0
#define THEN_NEXT    1
#define THEN_SUCCESS 2
#define THEN_SLEEP   3

#define WHY_OPERATE 0
#define WHY_POLL    1
#define WHY_GIVE_UP 2

proctype caller(byte me) provided (!killed[me])
{
	short w, op, x;		 /* word as loaded; current operation; scratch */
	byte pc, i, j, k, n;
	byte r_id, r_owner, r_mode, r_nsems, r_inc;
	byte why, served, to_tell, asleep, victim;
	bool owner_died, need, won, mine;
	byte then;		 /* after unlocking */
	short t0, t1;		 /* ghosts: what this transaction adds to the values … */
	byte revoked;		 /* … whose done operation it takes back … */
	short t_adj;		 /* … and what it adds to its own adjustment */
	bool forget;		 /* … or that it clears all adjustments */
	byte swept;		 /* … or those of this one, plus 1 */

next:
	true; /* a step of its own: an atomic that is jumped to would go on with the one before */
	atomic {
		assert(!g_granted[me]);
		op = PROGRAM;
		pc++;
		why = WHY_OPERATE;
		w = 0; r_id = 0; r_owner = 0; r_mode = 0; r_nsems = 0; r_inc = 0; x = 0; k = 0; i = 0;
		if
		:: op != END_ && !(op & F_CTL) && D0(op) > 0 -> g_inside[me] = 0
		:: else
		fi;
		!(op & F_AFTER) || killed[0];
		if
		:: op == END_ -> goto out
		:: op != END_ && ((op & F_CTL) || UNDO(op) || (NAMES(op, 0) && NAMES(op, 1))) -> goto slow
		:: else
		fi
	}

	/* --- without lock --- */
fast:
#ifdef BUG_READ_FIRST
	read_set();
#endif
	atomic {
		k = (NAMES(op, 0) -> 0 : 1);
		w = word(k); /* WORD_FIRST */
#ifndef SETS
		r_id = mem[B_ID];
		r_owner = mem[B_OWNER];
		r_mode = mem[B_MODE];
		r_nsems = mem[B_NSEMS]
#endif
	}
#if defined(SETS) && !defined(BUG_READ_FIRST)
#ifndef BUG_NO_FLAG
	if
	:: w & HELD -> goto slow
	:: else
	fi;
#endif
	read_set();
#endif
	/* Refused without lock: as the word is still the same, all that was read was so at one moment. */
	atomic {
		if
#ifdef BUG_REFUSE_UNCHECKED
		:: (op & F_NOWAIT) && !(w & HELD) && r_id == ID(op) && r_nsems > k && VAL(w) + D(op, k) < 0 ->
#else
		:: (op & F_NOWAIT) && !(w & HELD) && r_id == ID(op) && r_nsems > k && VAL(w) + D(op, k) < 0 &&
			word(k) == w ->
#endif
			decided(op);
			assert(g_val[k] + D(op, k) < 0);
			assert(!(op & F_AFTER) || !(UNNOTED(0) || OWES(0))); /* TRACE */
			goto next
		:: else
		fi
	}
	atomic {
		won = 0;
		need = 0;
		if
#ifndef BUG_NO_FLAG
		:: (w & HELD) -> need = 1
#endif
		:: VAL(w) + D(op, k) < 0 || r_id != ID(op) || r_nsems <= k -> need = 1
#ifdef BUG_STORE
		:: else -> /* without a look at what is there now */
#else
		:: MAY(w) && word(k) == w ->
#endif
			word(k) = WITH(w, VAL(w) + D(op, k), me + 1); /* WORD_HOLD */
			won = 1;
			decided(op);
			assert(VAL(w) == g_val[k]); /* UNITS */
			g_val[k] = g_val[k] + D(op, k);
			g_effects = g_effects | ID(op);
			assert(!(op & F_AFTER) || !(UNNOTED(0) || OWES(0))); /* TRACE */
			assert(!g_granted[me]);
			g_granted[me] = 1;
			for (i : 0 .. NP - 1) {
				assert(!(QUEUED(i) && NAMES(q[i].op, k))); /* INV1 */
				assert(!(k == 0 && OWES(i)))
			}
			i = 0
#ifndef BUG_STORE
		:: else
#endif
		fi;
		if
		:: need -> need = 0; goto slow
		:: !need && !won -> goto fast
		:: else -> won = 0
		fi
	}
#ifdef OTIME
	do /* sem_otime */
	:: x = mem[B_OTIME];
		d_step {
			if
#ifdef BUG_OTIME_ANY
			:: mem[B_OTIME] == x -> mem[B_OTIME] = x | 1; x = 0; won = 1;
#else
			:: x >> 1 != r_inc -> won = 1
			:: x >> 1 == r_inc && mem[B_OTIME] == x -> mem[B_OTIME] = x | 1; won = 1
#endif
			:: else
			fi
		}
		if
		:: won -> won = 0; break
		:: else
		fi
	od;
#endif
	goto success;

	/* --- under the lock --- */
slow:
	true;
	take_lock();
	atomic {
		t0 = 0; t1 = 0; t_adj = 0; revoked = 0; forget = 0; served = 0; asleep = 0;
		mine = 0; victim = 0; swept = 0; then = THEN_AGAIN; w = 0; k = 0; i = 0; won = 0;
		/* Dead ones that matter: adjustments to whoever operates; to who has time, any trace. */
		for (j : 0 .. NP - 1) {
			if
#ifdef BUG_UNDO_UNSEEN
			:: killed[j] && OWES(j) && why == WHY_POLL -> victim = j + 1
#else
			:: killed[j] && OWES(j) -> victim = j + 1
#endif
#ifndef BUG_SERVED_UNSEEN
			:: killed[j] && UNNOTED(j) -> victim = j + 1
#endif
#ifdef BUG_POLL_SEES_QUEUED
			:: TRACE(j) && why == WHY_POLL && QUEUED(j) -> victim = j + 1
#else
			:: TRACE(j) && why == WHY_POLL -> victim = j + 1
#endif
			:: TRACE(j) && (op & F_CTL) && KIND(op) == C_LOOK -> victim = j + 1
			:: else
			fi
		}
		j = 0;
		if
		:: victim -> goto sweep
		:: !victim && why != WHY_OPERATE -> goto waking
		:: !victim && why == WHY_OPERATE && (op & F_CTL) -> goto control
		:: else
		fi;
#ifndef BUG_ID_UNCHECKED
		if
		:: mem[B_ID] != ID(op) -> assert(g_id != ID(op)); then = THEN_NEXT; goto unlock
		:: mem[B_ID] == ID(op) && NAMES(op, 1) && mem[B_NSEMS] < 2 -> then = THEN_NEXT; goto unlock
		:: else
		fi;
#endif
		r_owner = mem[B_OWNER];
		r_mode = mem[B_MODE];
		decided(op)
	}
#ifndef BUG_NO_HOLD
	atomic {
		if
		:: NAMES(op, 0) -> hold(0)
		:: else
		fi
	}
#ifdef TWO
	atomic {
		if
		:: NAMES(op, 1) -> hold(1)
		:: else
		fi
	}
#endif
#endif
	assert(!(op & F_AFTER) || !(UNNOTED(0) || OWES(0))); /* TRACE */
	if
	:: CAN_GO(op) ->
		atomic {
			if
			:: NAMES(op, 0) -> tx_set(WORD, WITH(word(0), VAL(word(0)) + D0(op), me + 1))
			:: else
			fi
		}
		atomic {
			if
			:: NAMES(op, 1) -> tx_set(WORD + 1, WITH(word(1), VAL(word(1)) + D1(op), me + 1))
			:: else
			fi;
			t0 = D0(op); t1 = D1(op); mine = 1;
			then = THEN_SUCCESS;
			if
			:: UNDO(op) ->
				save(ADJ + me);
				save(ADJ_INC + me);
				mem[ADJ + me] = (OWES(me) -> mem[ADJ + me] : 0) - D0(op);
				mem[ADJ_INC + me] = mem[B_INC];
				t_adj = -D0(op)
			:: else
			fi
		}
		goto update
	:: !CAN_GO(op) && (op & F_NOWAIT) ->
		then = THEN_NEXT;
		goto finish
	:: else ->
		d_step {
			q[me].op = op;
			q[me].inc = mem[B_INC];
			q[me].futex = AWAKE;
			q[me].status = 0;
			then = THEN_SLEEP
		}
		tx_set(B_LIST, APPEND(mem[B_LIST], me + 1));
		tx_set(Q_STATE + me, Q_QUEUED);
		goto finish
	fi;

	/* --- a dead one's traces: as if it had never been, but for what it owes --- */
sweep:
	atomic { j = victim - 1; swept = victim }
	hold(0);
	if
	:: mem[B_NSEMS] > 1 -> hold(1)
	:: else
	fi;
	if
	:: QUEUED(j) ->
		tx_set(B_LIST, DROP(mem[B_LIST], j + 1));
		tx_set(Q_STATE + j, Q_IDLE)
	:: mem[Q_STATE + j] == Q_DONE ->
		mine = WHOLE(j); /* for the ghosts */
		if
		:: q[j].status == OK && SAME_SET(j) && SAME_EPOCH(j) && FITS(j) ->
#ifndef BUG_NO_TAKE_BACK
			if
			:: NAMES(q[j].op, 0) ->
				tx_set(WORD, WITH(word(0), VAL(word(0)) - D0(q[j].op), PID(word(0))))
			:: else
			fi;
			if
			:: NAMES(q[j].op, 1) ->
				tx_set(WORD + 1, WITH(word(1), VAL(word(1)) - D1(q[j].op), PID(word(1))))
			:: else
			fi;
#ifndef BUG_TAKE_BACK_KEEPS_UNDO
			if
			:: UNDO(q[j].op) && OWES(j) -> tx_set(ADJ + j, mem[ADJ + j] + D0(q[j].op))
			:: else
			fi;
#endif
#endif
			skip
		:: else
		fi;
		tx_set(Q_STATE + j, Q_IDLE)
	:: else
	fi;
	d_step { /* ghosts: what is to be taken back, whatever the code above did */
		if
		:: mine && g_granted[j] && journal[me].length > 0 && q[j].status == OK && q[j].inc == mem[B_INC] &&
			q[j].epoch == mem[B_EPOCH] && journal[me].at[journal[me].length - 1] == Q_STATE + j &&
			journal[me].old[journal[me].length - 1] == Q_DONE ->
			revoked = j + 1;
			t0 = -D0(q[j].op);
			t1 = -D1(q[j].op)
		:: else
		fi
	}
	if
	:: OWES(j) ->
		d_step { x = VAL(word(0)) + mem[ADJ + j]; x = (x < 0 -> 0 : x) }
		tx_set(WORD, WITH(word(0), x, me + 1));
		tx_set(ADJ + j, 0);
		x = 0
	:: else
	fi;
	d_step {
		t0 = t0 + (mem[ADJ_INC + j] == mem[B_INC] -> g_adj[j] : 0);
		if
		:: revoked && UNDO(q[j].op) -> t0 = t0 + D0(q[j].op)
		:: else
		fi;
		t0 = (g_val[0] + t0 < 0 -> -g_val[0] : t0);
		j = 0;
		mine = 0;
		victim = 0
	}
	goto update;

control:
	if
	:: KIND(op) == C_LOOK -> then = THEN_NEXT; goto finish
	:: KIND(op) == C_GETALL ->
#ifndef BUG_GETALL_NO_HOLD
		hold(0);
		hold(1);
#endif
		w = VAL(word(0));
		x = VAL(word(1));
		assert(w >= x); /* the other one adds to the first before it adds to the second */
		d_step { w = 0; x = 0; then = THEN_NEXT }
		goto finish
	:: KIND(op) == C_SET && mem[B_ID] == ID(op) ->
#ifndef BUG_SET_NO_HOLD
		hold(0);
#endif
		tx_set(B_OWNER, mem[B_OWNER] + 1);
		tx_set(B_MODE, mem[B_MODE] + 1);
		then = THEN_NEXT;
		goto finish
	:: KIND(op) == C_SETVAL && mem[B_ID] == ID(op) ->
		hold(0);
		tx_set(WORD, WITH(word(0), SETVAL_TO, me + 1));
		tx_set(B_EPOCH, mem[B_EPOCH] + 1);
		d_step {
			for (i : 0 .. NP - 1) {
				if
				:: OWES(i) -> save(ADJ + i); mem[ADJ + i] = 0
				:: else
				fi
			}
			i = 0;
			t0 = SETVAL_TO - g_val[0];
			forget = 1;
			then = THEN_NEXT
		}
		goto update
	:: KIND(op) == C_RMID && mem[B_ID] == ID(op) ->
#ifndef BUG_RMID_NO_HOLD
		hold(0);
		if
		:: mem[B_NSEMS] > 1 -> hold(1)
		:: else
		fi;
#endif
		tx_set(B_ID, 0);
		tx_set(B_INC, mem[B_INC] + 1);
		do
		:: mem[B_LIST] != 0 ->
			j = mem[B_LIST] & 3;
			d_step { q[j - 1].status = EIDRM; served = served | 1 << j }
			d_step {
				save(Q_STATE + j - 1);
				mem[Q_STATE + j - 1] = Q_DONE;
				save(B_LIST);
				mem[B_LIST] = mem[B_LIST] >> 2;
				j = 0
			}
		:: else -> break
		od;
		then = THEN_NEXT;
		goto finish
	:: KIND(op) == C_NEW && mem[B_ID] == 0 ->
#ifdef BUG_NEW_LETS_GO_FIRST
		d_step { word(0) = WITH(word(0), 0, 0) & ~HELD }
#endif
#ifndef BUG_NEW_NO_HOLD
		hold(0);
		hold(1);
#endif
		tx_set(B_ID, 2);
		tx_set(B_OWNER, 8);
		tx_set(B_MODE, 8);
		tx_set(B_NSEMS, SEMS_OF_2);
		tx_set(B_INC, mem[B_INC] + 1);
		tx_set(B_OTIME, mem[B_INC] * 2);
		tx_set(B_OTIME_LOCKED, 0);
		tx_set(WORD, WITH(word(0), 0, 0));
		if
		:: mem[B_NSEMS] > 1 -> tx_set(WORD + 1, WITH(word(1), 0, 0))
		:: else
		fi;
		d_step { t0 = -g_val[0]; t1 = -g_val[1]; forget = 1; then = THEN_NEXT }
		goto finish
	:: else -> then = THEN_NEXT; goto unlock /* -EINVAL, or no block to use */
	fi;

	/* --- do_smart_update --- */
update:
	n = 0;
scan:
	atomic {
#ifdef BUG_LIFO
		n = (mem[B_LIST] == 0 -> 3 : (mem[B_LIST] < 4 -> 0 : (mem[B_LIST] < 16 -> 1 : 2)));
#endif
		j = (n > 2 -> 0 : AT(mem[B_LIST], n));
		won = 0;
		if
		:: j != 0 -> won = CAN_GO(q[j - 1].op)
		:: else
		fi;
#ifdef BUG_NO_CASCADE
		if
		:: served -> j = 0
		:: else
		fi;
#endif
		if
		:: j == 0 -> goto finish
		:: j != 0 && !won -> n++; goto scan
		:: else -> won = 0
		fi
	}
	if
#ifndef SERVE_DEAD
	:: killed[j - 1] -> /* its turn, and it is dead: abort, sweep, start again */
		victim = j;
		play_back(me);
		atomic {
			t0 = 0; t1 = 0; t_adj = 0; revoked = 0; forget = 0; served = 0; mine = 0; swept = 0;
			then = THEN_AGAIN; j = 0; n = 0
		}
		goto sweep
#endif
	:: else ->
		d_step { /* FIFO */
			for (i : 0 .. n) {
				if
				:: i < n -> assert(!CAN_GO(q[AT(mem[B_LIST], i) - 1].op) ||
						   killed[AT(mem[B_LIST], i) - 1])
				:: else
				fi
			}
			i = 0
		}
		atomic {
			if
			:: NAMES(q[j - 1].op, 0) ->
				tx_set(WORD, WITH(word(0), VAL(word(0)) + D0(q[j - 1].op), j))
			:: else
			fi
		}
		atomic {
			if
			:: NAMES(q[j - 1].op, 1) ->
				tx_set(WORD + 1, WITH(word(1), VAL(word(1)) + D1(q[j - 1].op), j))
			:: else
			fi;
			if
			:: UNDO(q[j - 1].op) ->
				save(ADJ + j - 1);
				save(ADJ_INC + j - 1);
				mem[ADJ + j - 1] = (OWES(j - 1) -> mem[ADJ + j - 1] : 0) - D0(q[j - 1].op);
				mem[ADJ_INC + j - 1] = mem[B_INC]
			:: else
			fi
		}
		d_step {
#ifndef BUG_TELL_BEFORE_STATUS
			q[j - 1].status = OK;
#endif
			q[j - 1].epoch = mem[B_EPOCH];
			save(Q_STATE + j - 1);
			mem[Q_STATE + j - 1] = Q_DONE;
			save(B_LIST);
			mem[B_LIST] = DROP(mem[B_LIST], j);
			served = served | 1 << j;
			t0 = t0 + D0(q[j - 1].op);
			t1 = t1 + D1(q[j - 1].op);
			j = 0
		}
#ifdef BUG_TELL_BEFORE_STAND
		tell();
#endif
		goto update
	fi;

finish:
	true;
#ifdef BUG_LET_GO_BEFORE_STAND
	let_go(0);
	let_go(1);
#endif
#ifdef OTIME
	if
#ifdef BUG_OTIME_JOURNALLED
	:: mine -> tx_set(B_OTIME, mem[B_OTIME] | 1)
#else
	:: mine -> tx_set(B_OTIME_LOCKED, 1)
#endif
	:: else
	fi;
#endif
	atomic { /* stand */
		if
		:: journal[me].length > 0 -> changed = 1
		:: else
		fi;
		do
		:: journal[me].length > 0 ->
			journal[me].length--;
			journal[me].at[journal[me].length] = 0;
			journal[me].old[journal[me].length] = 0
		:: else -> break
		od;
		/* ghosts: all of it takes effect */
		g_id = mem[B_ID];
		g_owner = mem[B_OWNER];
		g_mode = mem[B_MODE];
		g_nsems = mem[B_NSEMS];
		g_val[0] = g_val[0] + t0;
		g_val[1] = g_val[1] + t1;
		if
		:: swept -> g_adj[swept - 1] = 0
		:: else
		fi;
		g_adj[me] = g_adj[me] + t_adj;
		if
		:: revoked -> assert(g_granted[revoked - 1]); g_granted[revoked - 1] = 0
		:: else
		fi;
		for (i : 0 .. NP - 1) {
			if
			:: forget || g_id == 0 -> g_adj[i] = 0
			:: else
			fi;
			if
			:: (served >> (i + 1) & 1) && g_id != 0 ->
				assert(!g_granted[i]);
				g_granted[i] = 1;
				g_adj[i] = g_adj[i] - (UNDO(q[i].op) -> D0(q[i].op) : 0)
			:: else
			fi
		}
		if
		:: mine -> assert(!g_granted[me]); g_granted[me] = 1; g_effects = g_effects | ID(op)
		:: else
		fi;
		for (i : 0 .. NP - 1) {
			assert((OWES(i) -> mem[ADJ + i] : 0) == g_adj[i]) /* UNITS */
		}
		assert(g_id == 0 || VAL(word(0)) == g_val[0]);
		assert(g_id == 0 || g_nsems < 2 || VAL(word(1)) == g_val[1]);
		i = 0; t0 = 0; t1 = 0; t_adj = 0; revoked = 0; forget = 0; swept = 0
	}
	let_go(0);
#ifdef TWO
	let_go(1);
#endif
	tell();
#ifdef BUG_TELL_BEFORE_STATUS
	do
	:: served -> d_step {
			for (i : 1 .. NP) {
				if
				:: served >> i & 1 -> q[i - 1].status = OK
				:: else
				fi
			}
			i = 0; served = 0
		}
	:: else -> break
	od;
#endif
unlock:
	true;
	atomic { /* dead between the two, the journal is empty */
		holder = 0;
		for (i : 0 .. NP - 1) {
			/* INV3 */
			assert(!(QUEUED(i) && !killed[i] && CAN_GO(q[i].op)))
		}
		i = 0;
		n = 0;
		j = 0;
		served = 0;
		lock = 0
	}
wake: /* wake_up_q */
	true;
	atomic {
		if
		:: asleep ->
			j = (asleep & 2 -> 1 : (asleep & 4 -> 2 : 3));
			asleep = asleep & ~(1 << j);
#ifndef BUG_NO_WAKE
			waiting[j - 1] = 0;
#endif
			j = 0;
			goto wake
		:: !asleep && then == THEN_AGAIN -> goto slow
		:: !asleep && then == THEN_NEXT -> goto next
		:: !asleep && then == THEN_SUCCESS -> mine = 0; goto success
		:: !asleep && then == THEN_SLEEP -> goto sleep
		fi
	}

	/* --- asleep --- */
sleep:
	if
	:: q[me].futex == TOLD -> goto note
	:: else
	fi;
#ifdef BUG_SLEEP_STORE
	q[me].futex = ASLEEP;
#else
	d_step {
		if
		:: q[me].futex == AWAKE -> q[me].futex = ASLEEP
		:: else
		fi
	}
#endif
	d_step {
		if
		:: q[me].futex == ASLEEP -> waiting[me] = 1
		:: else
		fi
	}
	if
	:: !waiting[me] -> goto sleep
	:: tick[me] ->
		d_step { tick[me] = 0; waiting[me] = 0; why = WHY_POLL }
#ifdef BUG_POLL_WITHOUT_LOCK
		d_step {
			if
			:: mem[Q_STATE + me] == Q_DONE -> won = 1
			:: else
			fi
		}
		if
		:: won -> won = 0; goto note
		:: else
		fi;
#endif
		goto slow
#if GIVE_UP
	:: give_ups > 0 && waiting[me] -> /* a signal, or the end of its timeout */
		d_step { give_ups--; tick[me] = 0; waiting[me] = 0; why = WHY_GIVE_UP }
		goto slow
#endif
	fi;

waking: /* under the lock, for lack of news */
	if
	:: mem[Q_STATE + me] == Q_DONE ->
		mem[Q_STATE + me] = Q_IDLE;
		d_step { holder = 0; lock = 0 }
		goto noted
	:: mem[Q_STATE + me] == Q_QUEUED && why == WHY_POLL ->
		d_step { holder = 0; lock = 0 }
#ifdef BUG_PEEK
		if
		:: mem[Q_STATE + me] == Q_DONE -> /* it seems; so it can't be in the list under the lock */
			take_lock();
			if
			:: QUEUED(me) ->
				d_step {
					t0 = 0; t1 = 0;
					q[me].status = EIDRM;
					save(Q_STATE + me);
					save(B_LIST);
					mem[Q_STATE + me] = Q_DONE;
					mem[B_LIST] = DROP(mem[B_LIST], me + 1);
					journal[me].length = 0;
					q[me].futex = TOLD
				}
			:: else
			fi;
			mem[Q_STATE + me] = Q_IDLE;
			d_step { holder = 0; lock = 0 }
			goto noted
		:: else
		fi;
#endif
		goto sleep
	:: mem[Q_STATE + me] == Q_QUEUED && why == WHY_GIVE_UP ->
		hold(0);
		if
		:: mem[B_NSEMS] > 1 -> hold(1)
		:: else
		fi;
		tx_set(B_LIST, DROP(mem[B_LIST], me + 1));
		tx_set(Q_STATE + me, Q_IDLE);
		d_step { then = THEN_NEXT }
		goto update
	fi;

note:
	atomic {
		assert(mem[Q_STATE + me] == Q_DONE);
		mem[Q_STATE + me] = Q_IDLE
	}
noted:
	assert(q[me].status == OK || q[me].status == EIDRM);
	if
	:: q[me].status == EIDRM -> assert(g_id != ID(op)); goto next
	:: else -> goto success
	fi;

success:
	atomic {
		assert(g_granted[me]); /* UNITS */
		g_granted[me] = 0;
		g_returned = g_returned | ID(op);
		if
		:: D0(op) < 0 -> g_inside[me] = 1
		:: else
		fi;
#ifdef MUTEX
		n = 0;
		for (i : 0 .. NP - 1) {
			n = n + g_inside[i]
		}
		assert(n <= 1); /* MUTEX */
		n = 0; i = 0
#endif
	}
	goto next;

out:
	atomic {
		finished[me] = 1;
		g_inside[me] = 0;
		if
		:: OWES(me) -> changed = 1; killed[me] = 1 /* an exit leaves it to others, at worst */
		:: else
		fi
	}
}

/* Time, death, and the end. */
init
{
	byte kills = KILLS, early = EARLY, i;
	bool need;

	d_step {
		mem[B_ID] = 1;
		mem[B_OWNER] = 1;
		mem[B_MODE] = 1;
		mem[B_NSEMS] = SEMS;
		mem[B_INC] = 1;
		mem[B_OTIME] = 2;
		word(0) = INIT0;
#ifdef BUG_FRESH_WORDS
		word(1) = 0;
#else
		word(1) = (SEMS > 1 -> 0 : HELD);
#endif
		g_id = 1;
		g_owner = 1;
		g_mode = 1;
		g_nsems = SEMS;
		g_val[0] = INIT0;
		changed = 1
	}
	atomic {
		for (i : 0 .. NP - 1) {
			run caller(i)
		}
		i = 0
	}
#if GIVE_UP
	if
	:: give_ups = 0
	:: give_ups = 1
	fi;
#endif
	do
	:: kills > 0 && !killed[0] && !finished[0] && MORTAL(0) ->
		d_step { kills--; killed[0] = 1; g_inside[0] = 0; changed = 1 }
	:: kills > 0 && !killed[1] && !finished[1] && MORTAL(1) ->
		d_step { kills--; killed[1] = 1; g_inside[1] = 0; changed = 1 }
#if NP > 2
	:: kills > 0 && !killed[2] && !finished[2] && MORTAL(2) ->
		d_step { kills--; killed[2] = 1; g_inside[2] = 0; changed = 1 }
#endif
	:: early > 0 && (waiting[0] || waiting[1] || waiting[NP - 1]) ->
		d_step {
			early--;
			for (i : 0 .. NP - 1) {
				tick[i] = waiting[i]
			}
			i = 0
		}
	:: atomic {
		timeout ->
		if
#ifndef NO_POLL
		:: changed ->
			changed = 0;
			for (i : 0 .. NP - 1) {
				tick[i] = waiting[i]
			}
			i = 0
		:: else -> break
#else
		:: else -> break
#endif
		fi
	}
	od;
	atomic { /* END: whoever still waits has seen to it that the dead hold nothing */
		for (i : 0 .. NP - 1) {
			assert(!(QUEUED(i) && !killed[i] && NEWS))
		}
		i = 0;
		kills = 0;
		early = 0;
		run caller(NP) /* C_LOOK */
	}
	finished[NP];
	do
	:: atomic {
		timeout ->
		if
		:: changed ->
			changed = 0;
#ifndef NO_POLL
			for (i : 0 .. NP - 1) {
				tick[i] = waiting[i]
			}
			i = 0
#endif
		:: else -> break
		fi
	}
	od;
	atomic { /* END */
		assert(lock == 0);
		for (i : 0 .. NP - 1) {
			assert(!TRACE(i));
			if
			:: !killed[i] && !finished[i] && !AWAITS_DEATH(i) ->
				assert(QUEUED(i) && waiting[i] && q[i].futex == ASLEEP);
				assert(!CAN_GO(q[i].op));
				assert(mem[B_ID] == ID(q[i].op))
			:: else
			fi
		}
		assert(mem[B_ID] == 0 || VAL(word(0)) == g_val[0]);
		assert(mem[B_ID] == 0 || mem[B_NSEMS] < 2 || VAL(word(1)) == g_val[1]);
#ifdef AT_END
		assert(AT_END);
#endif
#ifdef OTIME
		/* What returned has left its time; and only what was done to this set. */
		assert(!(g_returned & mem[B_ID]) || OTIME_IS_SET);
		assert(mem[B_ID] == 0 || mem[B_OTIME] >> 1 == mem[B_INC]);
		assert(mem[B_ID] == 0 || (g_effects & mem[B_ID]) || !OTIME_IS_SET)
#endif
	}
}
