/* scenarios.pml - who does what: NP processes, each its PROGRAM; the process NP looks when all is over. */

#define PROG1(a)	  (pc == 0 -> (a) : END_)
#define PROG2(a, b)	  (pc == 0 -> (a) : (pc == 1 -> (b) : END_))
#define PROG3(a, b, c)	  (pc == 0 -> (a) : (pc == 1 -> (b) : (pc == 2 -> (c) : END_)))
#define BY2(p0, p1)	  (me == 0 -> p0 : (me == 1 -> p1 : PROG1(CTL(C_LOOK))))
#define BY3(p0, p1, p2)	  (me == 0 -> p0 : (me == 1 -> p1 : (me == 2 -> p2 : PROG1(CTL(C_LOOK)))))
#define MORTAL(j)	  1

#if defined(MUTEX3) /* a mutex without SEM_UNDO */
#define NP 3
#define MUTEX
#define EARLY 0
#define PROGRAM BY3(PROG2(P, V), PROG2(P, V), PROG2(P, V))

#elif defined(MUTEX_UNDO) /* a mutex; who dies in it gives it back */
#define NP 3
#define MUTEX
#define PROGRAM BY3(PROG2(P_UNDO, V_UNDO), PROG2(P_UNDO, V_UNDO), PROG2(P_UNDO, V_UNDO))
#define AT_END (g_val[0] == 1)

#elif defined(MUTEX_MIXED) /* with and without SEM_UNDO, with and without lock */
#define NP 3
#define MUTEX
#define PROGRAM BY3(PROG2(P_UNDO, V_UNDO), PROG2(P, V), PROG2(P, V))

#elif defined(HANDOFF) /* two wait, a third makes room for one; they may give up */
#define NP 3
#define INIT0 0
#define GIVE_UP 1
#define PROGRAM BY3(PROG1(P), PROG1(P_UNDO), PROG1(V))

#elif defined(HANDOFF2) /* two wait, a third makes room for both */
#define NP 3
#define INIT0 0
#define PROGRAM BY3(PROG1(P), PROG1(P_UNDO), PROG2(V, V))

#elif defined(RECOVERY) /* two die: who recovers, who waits, who sweeps */
#define NP 3
#define INIT0 0
#define KILLS 2
#define EARLY 0
#define PROGRAM BY3(PROG1(V_UNDO), PROG1(P), PROG1(V))

#elif defined(ARRAYS) /* arrays over two semaphores; one sleeper's lets the other go */
#define NP 3
#define SEMS 2
#define INIT0 0
#define PROGRAM BY3(PROG2(MOVE_BACK, MOVE), PROG1(P), PROG1(V1))

#elif defined(SETTING) /* IPC_SET against callers without lock */
#define NP 3
#define SETS
#define FINE
#define PROGRAM BY3(PROG2(P, V), PROG1(CTL(C_SET)), PROG1(P_NOWAIT))

#elif defined(REUSE) /* IPC_RMID, and the block is another set's, with one more semaphore */
#define NP 3
#define SETS
#define SEMS_OF_2 2
#define INIT0 0
#define PROGRAM BY3(PROG2(V, P_NOWAIT), PROG2(CTL(C_RMID), CTL(C_NEW)), PROG2(V_OF_2, V1_OF_2))

#elif defined(REMOVAL) /* the same, with a sleeper */
#define NP 3
#define INIT0 0
#define PROGRAM BY3(PROG1(P_UNDO), PROG3(V, CTL(C_RMID), CTL(C_NEW)), PROG1(V_OF_2))

#elif defined(SETVAL) /* SETVAL while one sleeps, or has been served */
#define NP 3
#define INIT0 0
#define SETVAL_TO 0
#define PROGRAM BY3(PROG1(P_UNDO), PROG1(V), PROG1(CTL(C_SETVAL)))

#elif defined(GETALL)
#define NP 2
#define SEMS 2
#define INIT0 0
#define PROGRAM BY2(PROG3(V, V1, V), PROG1(CTL(C_GETALL)))

#elif defined(TIMES) /* sem_otime */
#define NP 3
#define SETS
#define OTIME
#define SEMS 2
#define INIT0 0
#define PROGRAM BY3(PROG1(V), PROG1(V_UNDO), PROG1(V1))

#elif defined(TIMES_REUSE)
#define NP 2
#define SETS
#define OTIME
#define PROGRAM BY2(PROG1(V), PROG2(CTL(C_RMID), CTL(C_NEW)))

#elif defined(AFTER_DEATH) /* who begins after a death */
#define NP 2
#define INIT0 0
#define PROGRAM BY2(PROG1(V_UNDO), PROG1(P_NOWAIT + F_AFTER))

#elif defined(AFTER_SERVED) /* who begins after the death of one who was served */
#define NP 3
#define INIT0 0
#define PROGRAM BY3(PROG1(P), PROG1(V), PROG1(P_NOWAIT + F_AFTER))
#define AWAITS_DEATH(i) ((i) == 2 && !killed[0])

#elif defined(NO_DEATH) /* nobody dies, time stands still: every wake-up has to come */
#define NP 3
#define MUTEX
#define KILLS 0
#define EARLY 0
#define NO_POLL
#define PROGRAM BY3(PROG2(P, V), PROG2(P, V), PROG2(P, V))
#define AT_END (g_val[0] == 1 && finished[0] && finished[1] && finished[2])

#else
#error "no such scenario"
#endif

#ifndef AWAITS_DEATH
#define AWAITS_DEATH(i) 0
#endif
#ifndef SETVAL_TO
#define SETVAL_TO 0
#endif
