/*
 * chan.pml - the protocol of src/chan, a broadcast channel, for spin.
 *
 * One writer, perhaps its successor, and one or two readers, each on a processor with a store buffer: what it stores is seen by others
 * later, in any order that fences, release stores and "the same place" leave open (arm64), or, with -DTSO, in order (x86). Loads
 * take place in the order of the program; the acquires and load fences that see to that are seeded as bugs by loading in another order.
 * Each access to memory is one step; a process may die between any two, and what it has stored is seen before its death is.
 *
 * The ring has SECTIONS sections of SECTION lines. A line's first word is W: the word of a message, or the second line of one
 * of two lines, which then imitates what it likes (IMITATION). D is the rest of a line: the sequence number it belongs to.
 * Before the processes start, messages 1 to PRE are in the ring. A scenario (chan-scenarios.pml) says who does what.
 *
 * Not in it: sequence numbers that come round, several desks, poll, peek, the clock but for the looks around of CHAN_LOOK.
 *
 * What is asserted (g_... are ghosts):
 *  DATA      a message that is delivered is, in all of its lines, the one of that sequence number.
 *  PLACE     who goes on elsewhere does so where a message starts, or is going to, later than where it was: so
 *            received + lost is the number of those passed. No records are taken from where there are none.
 *  RELIABLE  a reliable reader is not lapped, but after it was dropped.
 *  HEIR      a new writer goes on behind the last message of the old one, with the next number.
 *  REST      who is told of the end has had all messages.
 *  END       when nothing moves any more, each reader that lives has had all messages and knows of the end, if it cares;
 *            and the writer has got rid of all its messages.
 */

/* --- words --- */

#define PAD   3
#define EPOCH 0
#define WORD_OF(seq, kind) ((seq) << 2 | (kind)) /* kind: lines of the message */
#define TAG(w)	       ((w) >> 2)
#define KIND(w)	       ((w) & 3)
#define IS_MESSAGE(kind) ((kind) % 3 != 0)
#define NO_WORD	       255

#include "chan-scenarios.pml"

#ifndef SECTION
#define SECTION 2
#endif
#ifndef SECTIONS
#define SECTIONS 3
#endif
#define LINES (SECTION * SECTIONS)
#ifndef READERS
#define READERS 1
#endif
#ifndef PRE
#define PRE 0
#endif
#ifndef LINES_OF
#define LINES_OF(seq) 1
#endif
#ifndef IMITATION
#define IMITATION(seq) NO_WORD
#endif
#ifndef START
#define START(r) (PRE + 1)
#endif
#ifndef RELIABLE
#define RELIABLE(r) 0
#endif
#ifndef JOINS /* a reliable reader that comes when all is under way */
#define JOINS(r) 0
#endif
#ifndef FOLLOWS
#define FOLLOWS(r) 0
#endif
#ifndef STOPS /* before this message: it lives on, and reads no more */
#define STOPS(r) 0
#endif
#ifndef LEAVES /* before this message: by its own will */
#define LEAVES(r) 0
#endif
#ifndef CLOSES
#define CLOSES(w) 0
#endif
#ifndef HEIRS
#define HEIRS 0
#endif
#ifndef LAST_OF
#define LAST_OF(w) LAST
#endif
#ifndef ASYMMETRIC
#define ASYMMETRIC(w) 1
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef MORTAL
#define MORTAL(p) 1
#endif
#ifndef MORTAL_READER
#define MORTAL_READER(r) 0
#endif
#ifndef LOOKS
#define LOOKS 0
#endif
#ifndef DEPTH
#define DEPTH 5
#endif

/* --- memory --- */

#define WRITERS 2
#define NP	(WRITERS + READERS)
#define READER(r) (WRITERS + (r))

#define AT(pos)	   ((pos) % LINES)
#define W(pos)	   AT(pos)
#define D(pos)	   (LINES + AT(pos))
#define E_POS	   (2 * LINES) /* + section: position + 1 */
#define E_SEQ	   (E_POS + SECTIONS)
#define FLOOR	   (E_SEQ + SECTIONS)
#define INTENT	   (FLOOR + 1)
#define WAIT_POS   (FLOOR + 2)
#define ENDED	   (FLOOR + 3)
#define EPOCH_NOW  (FLOOR + 4)
#define WAKE	   (FLOOR + 5)
#define DOOR	   (FLOOR + 6)
#define ASYM	   (FLOOR + 7)
#define STATE	   (FLOOR + 8) /* + seat */
#define CURSOR	   (STATE + READERS)
#define TURNS	   (CURSOR + READERS)
#define TOP	   (TURNS + READERS)
byte mem[TOP];
byte wanted; /* only ever changed by compare-and-swap */

#define S_FREE	   0
#define S_RELIABLE 1
#define S_CLOSED   2

typedef buffer_t {
	byte n;
	byte at[DEPTH];
	byte value[DEPTH];
}
buffer_t sb[NP];
#define RELEASE 128 /* in `at`: not before all earlier ones */
#define FENCE_	127 /* nothing passes */

bool killed[NP], gone[NP], finished[NP];
byte waiting[NP];  /* 0; a reader: 1 + on whose doorbell (NO_BELL: none) besides WAKE; a writer: 1 + on which seat */
#define NO_BELL 2

/* --- ghosts --- */
#define POSITIONS 18
byte g_seq_at[POSITIONS]; /* the number of the record that starts there, or will be the next to */
byte g_epoch_at;	  /* where the heir's record stands */
byte g_head, g_last;	  /* behind the last record; the last message published */
byte g_last_of[WRITERS]; /* by whom */
bool g_dropped[READERS + 1];
byte pos_[READERS], next_[READERS];

/* A store of `me`. */
inline store(addr, val)
{
	d_step {
		sb[me].n < DEPTH ->
		sb[me].at[sb[me].n] = addr;
		sb[me].value[sb[me].n] = val;
		sb[me].n++
	}
}

inline store_fence()
{
#ifndef TSO
	d_step {
		sb[me].n < DEPTH ->
		if
		:: sb[me].n > 0 ->
			sb[me].at[sb[me].n] = FENCE_;
			sb[me].n++
		:: else
		fi
	}
#else
	skip
#endif
}

#define EMPTY(p) (sb[p].n == 0)
#define full_fence() EMPTY(me)

#ifndef TSO
#define A(j)	    sb[me].at[j]
#define PLACE(j)    (A(j) & 127)
#define PASSES(j, i) (A(i) != FENCE_ && PLACE(i) != PLACE(j))
#define LOOSE(j)    (sb[me].n > j && A(j) < FENCE_)
#define MAY_1	    (LOOSE(1) && PASSES(1, 0))
#define MAY_2	    (LOOSE(2) && PASSES(2, 0) && PASSES(2, 1))
#define MAY_3	    (LOOSE(3) && PASSES(3, 0) && PASSES(3, 1) && PASSES(3, 2))
#define MAY_4	    (DEPTH > 4 && LOOSE(4) && PASSES(4, 0) && PASSES(4, 1) && PASSES(4, 2) && PASSES(4, 3))
#endif

inline drop_entry(k)
{
	sb[me].n--;
	for (i : k .. DEPTH - 2) {
		sb[me].at[i] = sb[me].at[i + 1];
		sb[me].value[i] = sb[me].value[i + 1]
	}
	sb[me].at[DEPTH - 1] = 0;
	sb[me].value[DEPTH - 1] = 0;
	i = 0
}

inline drain(k)
{
	mem[sb[me].at[k] & 127] = sb[me].value[k];
	drop_entry(k);
	do
	:: sb[me].n > 0 && sb[me].at[0] == FENCE_ -> drop_entry(0)
	:: else -> break
	od;
	i = 0
}

/* The processor of a process, and the kernel that buries it. */
proctype processor(byte me)
{
	byte i;

	do
	:: d_step { sb[me].n > 0 -> drain(0) }
#ifndef TSO
	:: d_step { MAY_1 -> drain(1) }
	:: d_step { MAY_2 -> drain(2) }
	:: d_step { MAY_3 -> drain(3) }
	:: d_step { MAY_4 -> drain(4) }
#endif
	:: atomic {
		killed[me] && EMPTY(me) && !gone[me] ->
		gone[me] = 1;
		/* The kernel wakes one of those who wait on the doorbell. */
		if
		:: me < WRITERS && waiting[READER(0)] == 1 + me -> waiting[READER(0)] = 0
#if READERS > 1
		:: me < WRITERS && waiting[READER(1)] == 1 + me -> waiting[READER(1)] = 0
#endif
		:: me >= WRITERS && waiting[0] && waiting[0] - 1 == me - WRITERS -> waiting[0] = 0
		:: me >= WRITERS && waiting[1] && waiting[1] - 1 == me - WRITERS -> waiting[1] = 0
		:: else
		fi
	}
	od
}

/* --- the writer --- */

inline wake_readers()
{
	store(WAKE, mem[WAKE] + 1);
	atomic { /* a system call: what was stored is seen */
		EMPTY(me);
#ifndef BUG_NO_FUTEX_WAKE
		waiting[READER(0)] = 0;
#if READERS > 1
		waiting[READER(1)] = 0
#endif
#endif
	}
}

#define IN_THE_WAY                                                                                           \
	(mem[STATE + r] == S_RELIABLE && !gone[READER(r)] && mem[CURSOR + r] >= claimed - LINES && \
	 mem[CURSOR + r] < intent)

/* Until no seat is below intent. */
inline scan()
{
	r = 0;
	do
	:: r == READERS -> break
	:: r < READERS ->
		if
		:: d_step { !(IN_THE_WAY) -> r++ }
		:: d_step { IN_THE_WAY -> turns = mem[TURNS + r] };
#ifdef WAIT_POS_AFTER_SCAN
			if
			:: d_step { !(IN_THE_WAY) -> turns = 0 }
			:: IN_THE_WAY ->
				store(WAIT_POS, intent);
				full_fence();
				sleep_for_room()
			fi
#else
			store(WAIT_POS, intent);
#ifndef NO_ROOM_FENCE
			full_fence();
#endif
			if
			:: d_step { !(IN_THE_WAY) -> turns = 0 }
			:: IN_THE_WAY ->
#ifdef BUG_TURNS_LATE
				turns = mem[TURNS + r];
#endif
				sleep_for_room()
			fi
#endif
		fi
	od;
	atomic { r = 0; turns = 0 }
}

inline sleep_for_room()
{
	atomic {
		EMPTY(me);
		if
#ifdef BUG_WAIT_NO_BELL
		:: mem[TURNS + r] == turns -> waiting[me] = 1 + r
#else
		:: mem[TURNS + r] == turns && !gone[READER(r)] -> waiting[me] = 1 + r
#endif
		:: else
		fi;
		turns = 0
	}
	if
	:: waiting[me] == 0
#ifdef GIVES_UP /* and comes again */
	:: atomic { waiting[me] != 0 && gives_up > 0 -> gives_up--; waiting[me] = 0; r = 0 };
		store(INTENT, claimed - LINES);
		goto next
#endif
#ifdef DROPS
	:: atomic { waiting[me] != 0 -> waiting[me] = 0; g_dropped[r] = 1; r++ }
#endif
	fi
}

#define SECTION_OF(pos) ((pos) / SECTION)

/* The record that starts there is to be of that number: is it the first of its section? */
inline note_section(where, number)
{
	if
	:: SECTION_OF(where) >= noted ->
#ifndef BUG_ENTRY_NOT_ZEROED
		store(E_POS + SECTION_OF(where) % SECTIONS, 0);
		store_fence();
#endif
		store(E_SEQ + SECTION_OF(where) % SECTIONS, number);
#ifdef BUG_ENTRY_NO_RELEASE
		store(E_POS + SECTION_OF(where) % SECTIONS, where + 1);
#else
		store(E_POS + SECTION_OF(where) % SECTIONS + RELEASE, where + 1);
#endif
		noted = SECTION_OF(where) + 1
	:: else
	fi
}

/* What an earlier lap has left behind the record must not look like the next one. */
inline clear_next()
{
	if
#ifndef BUG_NO_CLEAR
#ifdef BUG_CLEAR_AFTER_MESSAGES
	:: IS_MESSAGE(kind) && TAG(mem[W(pos + length)]) == seq + 1 -> store(W(pos + length), NO_WORD)
#else
	:: TAG(mem[W(pos + length)]) == seq + IS_MESSAGE(kind) -> store(W(pos + length), NO_WORD)
#endif
#endif
	:: else
	fi
}

/*
 * Stores that follow each other are one step for a writer that does not die: others see them when they leave the store buffer,
 * which may be at any time and in parts all the same.
 */
#if KILLS > 0 && !defined(WRITERS_LIVE)
#define TOGETHER
#else
#define TOGETHER atomic
#endif
/* Its lines, and the one behind it, which clear_next() may write. */
#define ROOM_ENOUGH (pos + length < claimed)

proctype writer(byte me) provided (!killed[me])
{
	byte pos, seq, claimed, kind, length, intent, noted, r, turns, second, i;
#ifdef GIVES_UP
	byte gives_up = 1;
#endif

	if
	:: me == 0 ->
		d_step {
			pos = g_head;
			seq = PRE + 1;
			claimed = mem[FLOOR] + LINES;
			noted = SECTION_OF(pos);
			noted = (mem[E_POS + noted % SECTIONS] > noted * SECTION -> noted + 1 : noted)
		}
	:: else -> /* the heir */
		atomic {
			gone[0] || finished[0] && CLOSES(0);
			/* What lies there changes no more. The newest section's entry, then from word to word. */
			for (i : 0 .. SECTIONS - 1) {
				if
				:: mem[E_POS + i] > pos -> pos = mem[E_POS + i]; seq = mem[E_SEQ + i]
				:: else
				fi
			}
			i = 0;
			assert(pos > 0);
			pos--;
			noted = SECTION_OF(pos) + 1;
#ifndef BUG_NO_WALK
			do
			:: TAG(mem[W(pos)]) == seq && KIND(mem[W(pos)]) == PAD -> pos = (pos / LINES + 1) * LINES
			:: TAG(mem[W(pos)]) == seq && KIND(mem[W(pos)]) == EPOCH -> pos++
			:: TAG(mem[W(pos)]) == seq && IS_MESSAGE(KIND(mem[W(pos)])) ->
				pos = pos + KIND(mem[W(pos)]);
				seq++
			:: else -> break
			od;
#endif
			assert(seq == g_last + 1 && pos == g_head); /* HEIR */
			g_last_of[me] = g_last;
			claimed = mem[FLOOR] + LINES
		}
		store(DOOR, me);
#ifndef BUG_ASYM_AFTER_WAKE
		store(ASYM, ASYMMETRIC(me));
#endif
		store(WAIT_POS, 0);
		store(INTENT, mem[FLOOR]);
#ifndef BUG_EPOCH_LATE
		store(EPOCH_NOW, mem[EPOCH_NOW] + 1);
#endif
#ifdef LAZY /* wakes all at once; its record comes with its first message */
		store_fence();
		wake_readers();
#ifdef BUG_ASYM_AFTER_WAKE
		store(ASYM, ASYMMETRIC(me));
#endif
#else
		atomic { kind = EPOCH; length = 1 }
		goto claim
#endif
	fi;

next:
	atomic {
		if
		:: seq > LAST_OF(me) -> goto done
		:: else
		fi;
		kind = LINES_OF(seq);
		length = kind;
		second = IMITATION(seq);
#ifdef LAZY
		if
		:: me == 1 && g_epoch_at == 0 -> kind = EPOCH; length = 1; goto claim
		:: else
		fi;
#endif
		if
		:: pos % LINES + kind > LINES -> kind = PAD; length = LINES - pos % LINES
		:: else
		fi;
		if
		:: ROOM_ENOUGH -> goto write
		:: else
		fi
	}

claim:
	atomic {
		if
		:: ROOM_ENOUGH -> goto write
		:: else
		fi;
		intent = claimed + SECTION - LINES;
#ifndef BUG_INTENT_LATE
		store(INTENT, intent)
#endif
	}
#ifndef BUG_NO_CLAIM_FENCE
	full_fence();
#endif
	scan();
#ifdef BUG_INTENT_LATE
	store(INTENT, intent);
	full_fence();
#endif
	TOGETHER {
#ifndef BUG_FLOOR_LATE
		store(FLOOR, intent);
#ifndef BUG_NO_FLOOR_FENCE
		store_fence();
#endif
#endif
		d_step { claimed = claimed + SECTION; intent = 0 }
	}
	goto claim;

write:
	TOGETHER {
		note_section(pos, seq);
#ifdef BUG_WORD_FIRST
		store(W(pos), WORD_OF(seq, kind));
#endif
		if
		:: kind == 1 -> store(D(pos), seq)
		:: kind == 2 ->
			store(D(pos), seq);
			store(W(pos + 1), second)
		:: else
		fi;
#ifdef BUG_FLOOR_LATE
		store(FLOOR, claimed - LINES);
		store_fence();
#endif
#ifndef BUG_CLEAR_LATE
		clear_next();
#endif
#ifdef BUG_ENTRY_EARLY
		note_section(pos + length, seq + IS_MESSAGE(kind));
#endif
		atomic { /* it is published */
#ifndef BUG_WORD_FIRST
#ifdef BUG_NO_RELEASE
			store(W(pos), WORD_OF(seq, kind));
#else
			store(W(pos) + RELEASE, WORD_OF(seq, kind));
#endif
#endif
			g_head = pos + length;
			g_seq_at[pos + length] = seq + IS_MESSAGE(kind);
			if
			:: IS_MESSAGE(kind) -> g_last = seq; g_last_of[me] = seq
			:: kind == EPOCH -> g_epoch_at = pos + 1
			:: kind == PAD
			fi
		}
#ifdef BUG_CLEAR_LATE
		clear_next();
#endif
		d_step {
			pos = pos + length;
			seq = seq + IS_MESSAGE(kind);
			length = 0
		}
		if
		:: kind == EPOCH ->
			kind = 0;
#ifndef LAZY
#ifdef BUG_EPOCH_LATE
			store(EPOCH_NOW, mem[EPOCH_NOW] + 1);
#endif
			store_fence();
#ifndef BUG_HEIR_NO_WAKE
			wake_readers();
#endif
#endif
			goto next
		:: kind == PAD -> kind = 0; goto next
		:: else -> kind = 0
		fi
	}
	if
	:: !ASYMMETRIC(me) ->
#ifndef BUG_NO_OWN_FENCE
		full_fence()
#endif
	:: else
	fi;
	atomic {
		if
		:: wanted >= seq - 1
		:: else -> goto next
		fi
	}
	wake_readers();
	goto next;

done:
	if
	:: CLOSES(me) ->
		store(ENDED + RELEASE, mem[EPOCH_NOW]);
		store_fence();
		wake_readers()
	:: else
	fi;
	finished[me] = 1
}

/* --- readers --- */

#define pos  pos_[me - WRITERS]
#define next next_[me - WRITERS]
#define seat (me - WRITERS)

/* The cursor, or the state, has changed: the writer may wait for it. */
inline tell_writer(leaves)
{
#ifndef BUG_NO_TURN
	turn++;
#ifdef BUG_TURN_NO_RELEASE
	store(TURNS + seat, turn);
#else
	store(TURNS + seat + RELEASE, turn);
#endif
#endif
#ifndef BUG_NO_TURN_FENCE
	full_fence();
#endif
	atomic {
		if
#ifndef BUG_NO_ROOM_WAKE
		:: mem[WAIT_POS] != 0 && (leaves || pos >= mem[WAIT_POS]) ->
			if
			:: waiting[0] == 1 + seat -> waiting[0] = 0
			:: waiting[1] == 1 + seat -> waiting[1] = 0
			:: else
			fi
#endif
		:: else
		fi
	}
}

inline publish_cursor()
{
	store(CURSOR + seat + RELEASE, pos);
	tell_writer(0);
	published = pos
}

/* A sound entry of a section from `least` on: into p, s. Which one does not matter. */
#ifdef BUG_ENTRY_NO_RECHECK
#define SAME_ENTRY(k) 1
#else
#define SAME_ENTRY(k) (mem[E_POS + k] == p)
#endif
inline find_entry(least)
{
	do
	:: atomic { mem[E_POS + 0] > least -> p = mem[E_POS + 0] };
		s = mem[E_SEQ + 0];
		if
		:: SAME_ENTRY(0) -> break
		:: else
		fi
	:: atomic { mem[E_POS + 1] > least -> p = mem[E_POS + 1] };
		s = mem[E_SEQ + 1];
		if
		:: SAME_ENTRY(1) -> break
		:: else
		fi
	:: atomic { mem[E_POS + 2] > least -> p = mem[E_POS + 2] };
		s = mem[E_SEQ + 2];
		if
		:: SAME_ENTRY(2) -> break
		:: else
		fi
	od;
	atomic { p--; assert(g_seq_at[p] == s) } /* PLACE */
}

/* Below intent a writer may be about to go on; without a writer, what is there stays there. Into e. */
inline least_to_join()
{
#ifdef NO_END
	e = mem[INTENT]
#else
#if HEIRS
	d = mem[DOOR];
#endif
	over = gone[d] || mem[ENDED] == mem[EPOCH_NOW];
	if
#ifdef BUG_JOIN_BELOW_FLOOR
	:: over -> skip
#else
	:: over -> e = mem[FLOOR]
#endif
	:: !over -> e = mem[INTENT]
	fi;
	atomic { over = 0; d = 0 }
#endif
}

/* Is it the end, and whose? */
inline look_for_end()
{
#if HEIRS
	d = mem[DOOR];
#endif
	atomic {
		over = gone[d];
		if
		:: mem[ENDED] == mem[EPOCH_NOW] -> over = 1; d = mem[ENDED] - 1
		:: else
		fi
	}
}

#ifdef BUG_PAD_UNCHECKED
#define LAPPED_BY(floor) (floor > pos && !(TAG(w) == next && !IS_MESSAGE(KIND(w))))
#else
#define LAPPED_BY(floor) (floor > pos)
#endif

#define MEMBARRIER (EMPTY(0) && EMPTY(1)) /* a fence on all processors */

proctype reader(byte me) provided (!killed[me])
{
	byte w, f, e, d, p, s, turn, published;
	bool sound, armed, reliable, over, asym;

	d_step {
		turn = mem[TURNS + seat];
		published = pos;
		reliable = RELIABLE(me - WRITERS)
	}
	if
	:: JOINS(me - WRITERS) ->
join:
#ifdef BUG_JOIN_SAME_PLACE
		find_entry(mem[FLOOR]);
#else
		if
		:: f == 0 -> f = mem[FLOOR]
		:: else
		fi;
		find_entry(f);
#endif
		d_step {
			pos = p; next = s; p = 0; s = 0;
#ifdef FROM_NOW
			do
			:: TAG(mem[W(pos)]) == next -> pos++; next++
			:: else -> break
			od;
			published = 0
#endif
		}
		store(CURSOR + seat, pos);
		store(STATE + seat, S_RELIABLE);
#ifdef BUG_NO_JOIN_FENCE
		least_to_join();
#endif
#ifdef BUG_JOIN_NO_TURN
		full_fence();
#else
		tell_writer(0);
#endif
#ifndef BUG_NO_JOIN_FENCE
		least_to_join();
#endif
#ifndef BUG_JOIN_BLINDLY
		atomic {
			if
			:: e > pos ->
#ifdef NO_END
				assert(e != f); /* each attempt is another */
#endif
				f = e;
				e = 0
			:: else -> goto joined
			fi
		}
#ifdef BUG_JOIN_NO_TURN
		store(STATE + seat, S_FREE);
#endif
		goto join;
#endif
joined:
		atomic { f = 0; e = 0; published = pos; reliable = 1 }
	:: else
	fi;

again:
	atomic {
		if
		:: STOPS(me - WRITERS) == next -> finished[me] = 1; goto out
		:: LEAVES(me - WRITERS) == next -> goto leave
		:: else
		fi;
		sound = 1;
#if !defined(BUG_EARLY_FLOOR) && !defined(BUG_NO_ACQUIRE)
		w = mem[W(pos)];
		if
		:: TAG(w) == next && IS_MESSAGE(KIND(w))
		:: else -> goto data_read
		fi
#endif
	}
#ifdef BUG_EARLY_FLOOR
	f = mem[FLOOR];
	w = mem[W(pos)];
#endif
#ifdef BUG_NO_ACQUIRE
	d_step { sound = mem[D(pos)] == next };
	w = mem[W(pos)];
#endif
	/* What it says may be anything. */
	if
	:: TAG(w) == next && IS_MESSAGE(KIND(w))
	:: else -> goto data_read
	fi;
#ifdef BUG_CURSOR_EARLY
	if
	:: reliable ->
		pos = pos + KIND(w);
		publish_cursor();
		pos = pos - KIND(w)
	:: else
	fi;
#endif
	atomic {
#ifndef BUG_NO_ACQUIRE
		sound = mem[D(pos)] == next;
#endif
		if
		:: KIND(w) == 2
		:: else -> goto data_read
		fi
	}
	d_step { sound = sound && mem[W(pos + 1)] == IMITATION(next) };
data_read:
#if defined(BUG_NO_FLOOR_CHECK)
	f = 0;
#elif defined(BUG_EARLY_FLOOR)
	skip;
#else
	f = mem[FLOOR];
#endif
	atomic { /* of what it has loaded, and what is its own */
		if
		:: LAPPED_BY(f) ->
			assert(!reliable || g_dropped[me - WRITERS]); /* RELIABLE */
			goto resync
		:: !LAPPED_BY(f) && TAG(w) != next ->
			w = 0; f = 0; sound = 0;
			if
			:: armed -> goto sleep
			:: !armed && reliable && published != pos -> goto publish
			:: else -> goto nothing
			fi
		:: else ->
			armed = 0; over = 0; e = 0; d = 0;
			if
			:: KIND(w) == PAD -> pos = (pos / LINES + 1) * LINES; assert(g_seq_at[pos] == next) /* PLACE */
			:: KIND(w) == EPOCH -> pos++; assert(g_seq_at[pos] == next)
			:: else ->
				assert(sound); /* DATA */
				assert(KIND(w) == LINES_OF(next) && next <= g_last);
				pos = pos + KIND(w);
				next++
			fi;
			w = 0; f = 0; sound = 0;
			if
			:: reliable && published != pos
#ifdef SELDOM
			:: reliable && published != pos -> goto again
#endif
			:: else -> goto again
			fi
		fi
	}
publish:
	publish_cursor();
	goto again;

resync:
	atomic {
		armed = 0; over = 0; e = 0; w = 0; d = 0; sound = 0;
		if
		:: reliable -> reliable = 0; store(STATE + seat, S_FREE)
		:: else
		fi
	}
	find_entry(f);
	d_step {
		assert(s >= next && p > pos); /* PLACE */
		pos = p;
		next = s;
		p = 0; s = 0; f = 0
	}
	goto again;

nothing:
#if defined(BUG_ASYM_EARLY)
	asym = mem[ASYM];
	e = mem[WAKE];
#elif !defined(BUG_WAKE_LATE) && !defined(WAKE_AFTER_WANTED)
	atomic { e = mem[WAKE] }
#endif
#if defined(BUG_WANTED_LATE)
#elif defined(BUG_WANTED_STORE)
	wanted = next;
#else
	wanted = (wanted > next -> wanted : next);
#endif
#ifdef WAKE_AFTER_WANTED
	e = mem[WAKE];
#endif
#if HEIRS
#ifndef BUG_ASYM_EARLY
	asym = mem[ASYM];
#endif
#else
	asym = ASYMMETRIC(0);
#endif
	atomic {
#ifdef BUG_NO_MEMBARRIER
		EMPTY(me);
#else
		EMPTY(me) && (!asym || MEMBARRIER);
#endif
		asym = 0
	}
#ifndef BUG_END_LATE
	look_for_end();
#endif
	armed = 1;
#ifdef BUG_RECHECK_WORD_ONLY
	if
	:: TAG(mem[W(pos)]) == next
	:: else -> goto sleep
	fi;
#endif
	goto again; /* once more */

sleep:
	/* Who finds the writer dead tells the others: the kernel has told one only. */
	atomic {
		armed = 0;
#ifdef BUG_WAKE_LATE
		e = mem[WAKE];
#endif
#ifdef BUG_WANTED_LATE
		wanted = (wanted > next -> wanted : next);
#endif
#ifdef BUG_END_LATE
	}
	look_for_end();
	atomic {
#endif
		if
#ifndef BUG_NOT_PASSED_ON
		:: gone[d] ->
			if
			:: waiting[READER(0)] == 1 + d -> waiting[READER(0)] = 0
			:: else
			fi;
			if
			:: waiting[READER(READERS - 1)] == 1 + d -> waiting[READER(READERS - 1)] = 0
			:: else
			fi
#endif
		:: else
		fi;
		if
		:: over && !FOLLOWS(me - WRITERS) ->
			assert(next > g_last_of[d]); /* REST */
			goto leave
		:: else
		fi
	}
	/* futex_waitv: WAKE, and the doorbell if its owner lives */
	atomic {
		if
#ifdef BUG_FUTEX_BLIND
		:: true -> waiting[me] = 1 + (over -> NO_BELL : d)
#else
		:: over && mem[WAKE] == e -> waiting[me] = 1 + NO_BELL
#ifdef BUG_SLEEP_NO_BELL
		:: !over && mem[WAKE] == e -> waiting[me] = 1 + NO_BELL
#else
		:: !over && mem[WAKE] == e && !gone[d] -> waiting[me] = 1 + d
#endif
		:: else
#endif
		fi;
		e = 0; d = 0; over = 0
	}
	waiting[me] == 0;
	goto again;

leave:
	if
	:: reliable ->
		store(STATE + seat, S_CLOSED);
#ifndef BUG_LEAVE_NO_TURN
		tell_writer(1)
#endif
	:: else
	fi;
	atomic {
		finished[me] = 1;
		armed = 0; over = 0; e = 0; d = 0; sound = 0; turn = 0; published = 0; reliable = 0
	}
out:
	true
}

#undef pos
#undef next
#undef seat

/* --- death, time, and the end --- */

#define MAY_DIE(w) (!killed[w] && MORTAL(w) && !(finished[w] && CLOSES(w)))
#define OVER	   (gone[mem[DOOR]] || mem[ENDED] == mem[EPOCH_NOW])
#define AT_REST(r)                                                                            \
	(killed[READER(r)] || finished[READER(r)] ||                                           \
	 waiting[READER(r)] && next_[r] == g_last + 1 && (pos_[r] == g_head || killed[1]) && \
		 (FOLLOWS(r) || !OVER))

init
{
	byte kills, looks = LOOKS, i, pos, seq, claimed = LINES, kind, length, noted;

	d_step {
		mem[EPOCH_NOW] = 1;
		mem[ASYM] = ASYMMETRIC(0);
		mem[E_POS] = 1;
		mem[E_SEQ] = 1;
		noted = 1;
		g_seq_at[0] = 1;
		for (i : 0 .. LINES - 1) {
			mem[i] = NO_WORD
		}
		seq = 1;
		do
		:: true ->
			for (i : 0 .. READERS - 1) {
				if
				:: START(i) == seq -> next_[i] = seq; pos_[i] = pos
				:: else
				fi
			}
			if
			:: seq > PRE -> break
			:: else
			fi;
			kind = LINES_OF(seq);
			length = kind;
			if
			:: pos % LINES + kind > LINES -> kind = PAD; length = LINES - pos % LINES
			:: else
			fi;
			do
			:: pos + length < claimed -> break
			:: else -> claimed = claimed + SECTION
			od;
			if
			:: SECTION_OF(pos) >= noted ->
				mem[E_POS + SECTION_OF(pos) % SECTIONS] = pos + 1;
				mem[E_SEQ + SECTION_OF(pos) % SECTIONS] = seq;
				noted = SECTION_OF(pos) + 1
			:: else
			fi;
			mem[D(pos)] = seq;
			if
			:: kind == 2 -> mem[W(pos + 1)] = IMITATION(seq)
			:: else
			fi;
			mem[W(pos)] = WORD_OF(seq, kind);
			seq = seq + (kind != PAD);
			pos = pos + length;
			g_seq_at[pos] = seq
		od;
		g_head = pos;
		g_last = PRE;
		g_last_of[0] = PRE;
		mem[FLOOR] = claimed - LINES;
		mem[INTENT] = claimed - LINES;
		if
		:: TAG(mem[W(pos)]) == seq -> mem[W(pos)] = NO_WORD
		:: else
		fi;
		for (i : 0 .. READERS - 1) {
			if
			:: RELIABLE(i) -> mem[CURSOR + i] = pos_[i]; mem[STATE + i] = S_RELIABLE
			:: else
			fi;
			assert(JOINS(i) || pos_[i] >= mem[FLOOR])
		}
		i = 0; pos = 0; seq = 0; claimed = 0; kind = 0; length = 0; noted = 0
	}
	atomic {
		run writer(0);
#if HEIRS
		run writer(1);
#endif
		for (i : 0 .. NP - 1) {
			run processor(i)
		}
		for (i : 0 .. READERS - 1) {
			run reader(READER(i))
		}
		i = 0
	}
	if
	:: kills = 0
#if KILLS > 0
	:: kills = KILLS
#endif
	fi;
	do
	:: d_step { kills > 0 && MAY_DIE(0) -> kills--; killed[0] = 1; waiting[0] = 0 }
	:: d_step { kills > 0 && HEIRS && MAY_DIE(1) -> kills--; killed[1] = 1; waiting[1] = 0 }
	:: d_step { kills > 0 && MORTAL_READER(0) && !killed[READER(0)] && !finished[READER(0)] ->
		kills--; killed[READER(0)] = 1; waiting[READER(0)] = 0 }
#if READERS > 1
	:: d_step { kills > 0 && MORTAL_READER(1) && !killed[READER(1)] && !finished[READER(1)] ->
		kills--; killed[READER(1)] = 1; waiting[READER(1)] = 0 }
#endif
	:: atomic {
		timeout ->
		if
		:: looks > 0 -> looks--; waiting[READER(0)] = 0; waiting[READER(READERS - 1)] = 0
		:: else -> break
		fi
	}
	od;
	atomic { /* END */
		assert(AT_REST(0));
#if READERS > 1
		assert(AT_REST(1));
#endif
		assert(killed[0] || finished[0]);
		assert(!HEIRS || killed[1] || finished[1] || !(gone[0] || finished[0] && CLOSES(0)))
	}
}
