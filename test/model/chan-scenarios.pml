/* chan-scenarios.pml - who does what: messages 1 to PRE are in the ring; the writer adds those up to LAST. See chan.pml. */

#if defined(LAPPED) /* a lossy reader at the oldest message, while the writer overwrites it */
#define PRE 4
#define START(r) 1
#define LAST 8

#elif defined(LAPPED2) /* two of them, at two places */
#define READERS 2
#define PRE 4
#define START(r) (1 + 2 * (r))
#define LAST 6

#elif defined(IMITATE) /* second lines that look like words: of the message to come; of the end of the ring */
#define PRE 3
#define START(r) 2
#define LAST 6
#define LINES_OF(seq) ((seq) == 4 || (seq) == 6 -> 1 : 2)
#define IMITATION(seq) ((seq) == 1 -> WORD_OF(5, 1) : ((seq) == 5 -> WORD_OF(2, PAD) : WORD_OF(7, 2)))

#elif defined(PADS) /* a message does not fit before the ring's end */
#define PRE 4
#define START(r) 3
#define LAST 7
#define LINES_OF(seq) ((seq) == 6 -> 2 : 1)
#define IMITATION(seq) WORD_OF(8, 1)

#elif defined(SLEEP2) /* two readers wait for what comes */
#define READERS 2
#define PRE 1
#define START(r) (2 - (r))
#define LAST 3

#elif defined(ENTRIES) /* a section's entry changes while the reader looks at it */
#define PRE 3
#define START(r) 2
#define LAST 7
#define LINES_OF(seq) 2

#elif defined(SLEEP_LAPPED) /* a reader is lapped between its first look and its sleep */
#define PRE 3
#define LAST 7
#define LINES_OF(seq) 2

#elif defined(CLOSE) /* the end of the writer */
#define READERS 2
#define FOLLOWS(r) (r)
#define PRE 1
#define START(r) (2 - (r))
#define LAST 2
#define CLOSES(w) 1

#elif defined(ROOM) /* the writer waits for a reliable reader */
#define SELDOM
#define RELIABLE(r) 1
#define PRE 4
#define START(r) 1
#define LAST 7

#elif defined(ROOM_PADS)
#define RELIABLE(r) 1
#define PRE 4
#define START(r) 3
#define LAST 8
#define LINES_OF(seq) ((seq) == 6 -> 2 : 1)
#define IMITATION(seq) WORD_OF(8, 1)

#elif defined(ROOM2) /* for two */
#define READERS 2
#define RELIABLE(r) 1
#define PRE 5
#define START(r) (1 + (r))
#define LAST 6

#elif defined(ROOM_DEATH) /* one of two may die, one is lossy */
#define READERS 2
#define RELIABLE(r) ((r) == 0)
#define MORTAL(w) 0
#define WRITERS_LIVE
#define MORTAL_READER(r) ((r) == 0)
#define KILLS 1
#define PRE 5
#define START(r) (1 + 4 * (r))
#define LAST 6

#elif defined(ROOM_LEAVE) /* it leaves */
#define RELIABLE(r) 1
#define LEAVES(r) 2
#define PRE 4
#define START(r) 1
#define LAST 6

#elif defined(ROOM_DROP) /* it may be dropped */
#define RELIABLE(r) 1
#define DROPS
#define PRE 4
#define START(r) 1
#define LAST 7

#elif defined(ROOM_STOP) /* one that stops is dropped, another goes on */
#define READERS 2
#define RELIABLE(r) 1
#define DROPS
#define STOPS(r) ((r) == 0 -> 2 : 0)
#define PRE 4
#define START(r) (1 + 3 * (r))
#define LAST 6

#elif defined(JOIN) /* one becomes reliable meanwhile */
#define JOINS(r) 1
#define NO_END
#define PRE 4
#define LAST 8

#elif defined(JOIN_NOW) /* at the end, where there is nothing to read */
#define JOINS(r) 1
#define FROM_NOW
#define NO_END
#define PRE 4
#define LAST 8

#elif defined(JOIN_CLOSE) /* while the writer closes */
#define JOINS(r) 1
#define CLOSES(w) 1
#define PRE 4
#define LAST 7

#elif defined(JOIN_DEATH) /* while it dies */
#define JOINS(r) 1
#define KILLS 1
#define PRE 5
#define LAST 6

#elif defined(JOIN_HEIR) /* while one writer closes, and another comes */
#define JOINS(r) 1
#define FOLLOWS(r) 1
#define HEIRS 1
#define CLOSES(w) ((w) == 0)
#define PRE 5
#define LAST 6
#define LAST_OF(w) (5 + 2 * (w))

#elif defined(JOIN_GIVE_UP) /* while the writer gives up waiting, and comes again */
#define JOINS(r) 1
#define GIVES_UP
#define NO_END
#define PRE 4
#define LAST 7

#elif defined(HEIR) /* the writer dies, another goes on */
#define HEIRS 1
#define KILLS 1
#define MORTAL(w) ((w) == 0)
#define FOLLOWS(r) 1
#define PRE 3
#define START(r) 3
#define LAST 5
#define LAST_OF(w) (4 + (w))
#define LINES_OF(seq) ((seq) < 5 -> 2 : 1)
#define IMITATION(seq) WORD_OF(4, 1)

#elif defined(HEIR2) /* one goes with its writer, one waits for the next */
#define HEIRS 1
#define KILLS 1
#define MORTAL(w) ((w) == 0)
#define READERS 2
#define FOLLOWS(r) (r)
#define PRE 1
#define START(r) 2
#define LAST 1

#elif defined(HEIR_ROOM) /* the reliable reader of a writer that dies */
#define HEIRS 1
#define KILLS 1
#define MORTAL(w) ((w) == 0)
#define RELIABLE(r) 1
#define FOLLOWS(r) 1
#define PRE 4
#define START(r) 1
#define LAST 6
#define LAST_OF(w) 6

#elif defined(HEIR_CLOSE) /* the first writer closes, or dies */
#define HEIRS 1
#define KILLS 1
#define MORTAL(w) ((w) == 0)
#define FOLLOWS(r) 0
#define PRE 1
#define START(r) 2
#define LAST 2
#define LAST_OF(w) (2 + (w))
#define CLOSES(w) 1

#elif defined(HEIR_DIES) /* the heir too */
#define HEIRS 1
#define KILLS 2
#define FOLLOWS(r) 0
#define PRE 1
#define START(r) 2
#define LAST 2
#define LAST_OF(w) (2 + (w))

#elif defined(MODES) /* writers without and with membarrier */
#define HEIRS 1
#define KILLS 1
#define MORTAL(w) ((w) == 0)
#define FOLLOWS(r) 1
#define PRE 0
#define LAST 0
#define LAST_OF(w) (w)
#define ASYMMETRIC(w) (w)

#elif defined(DEATH2) /* two readers, to one of whom the kernel tells the writer's death */
#define READERS 2
#define KILLS 1
#define PRE 1
#define START(r) 2
#define LAST 2

#elif defined(BOTH_DIE) /* the writer, and the reader that the kernel tells of it */
#define READERS 2
#define KILLS 2
#define MORTAL_READER(r) ((r) == 0)
#define PRE 1
#define START(r) 2
#define LAST 2
#ifndef NO_LOOKS
#define LOOKS 1
#endif

#else
#error "no such scenario"
#endif

#ifdef SYMMETRIC
#define ASYMMETRIC(w) 0
#endif
