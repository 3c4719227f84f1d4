/*
 * crash-msg.c - message queues: each operation is killed at each of its journal steps.
 *
 *	crash-msg        a slice: some steps of each operation
 *	crash-msg all    every step
 *	crash-msg all 'sweep after *'    of the tests of that name
 *
 * What is proved: afterwards another process finds the namespace sound; the queues, their messages
 * in order, counts, pids, times and sleepers are those of before or those of after; each sleeper
 * comes back exactly if it was served; and when all are dead and all queues are removed, no
 * memory is left. The one who recovers may be killed at each of its steps too.
 */
#include "crash/stage.h"

#include "arena/slab.h"
#include "msg/queue.h"

#define KEY	 0x5eed
#define MESSAGES 20
#define MSGMAX	 65536
#define RECEIVED 1000 /* an outcome: and the letter of the message */
#define SLICE	 20

/* What a sleeper does. */
struct plan {
	bool sends, stranger; /* stranger: by the mode for others */
	long type;
	size_t size; /* 0: there is no such sleeper */
	unsigned queue;
};

struct operation {
	const char *name;
	void (*run)(struct ipc_namespace *ns);
	void (*prepare)(struct ipc_namespace *ns);
	void (*half)(struct ipc_namespace *ns); /* a third state that is right: prepare, and this */
	void (*before)(void);			/* by the test: who dies earlier, or is stopped */
	void (*helper)(struct ipc_namespace *ns);
	struct plan sleepers[SLEEPERS];
	struct plan messages[3]; /* of the first queue; the last one is sent `repeat` times more */
	unsigned repeat;
	uint64_t qbytes; /* 0: enough */
	bool in_steps;	 /* more than one transaction that others may see */
	bool no_steps;	 /* it may do without the journal */
};

static const struct operation *now_on;
static uint64_t latest_ns;
static pid_t earlier_pid; /* one that is stopped, and dies at last after the victim */

static void must(int64_t ret, const char *what)
{
	if (ret < 0)
		flaw("%s: %s", what, strerror(-ret));
}

static struct ipc_namespace *opened(enum role role)
{
	msg_init();
	stage->pid[role] = os_getpid();
	return actor_opens(true);
}

static pid_t start_actor(void (*actor)(unsigned), unsigned arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(ACTOR_SECONDS);
		actor(arg);
		_exit(0);
	}
	if (pid < 0)
		abort();
	return pid;
}

static int finish(pid_t pid)
{
	int status = 0;

	if (waitpid(pid, &status, 0) != pid)
		abort();
	return status;
}

/* --- the queues --- */

struct letter {
	long type;
	char text[MSGMAX];
};

static int try_send(struct ipc_namespace *ns, const struct plan *plan, char letter, int flag,
		    const struct timespec *timeout)
{
	static struct letter out;

	out.type = plan->type;
	memset(out.text, letter, plan->size);
	return msg_snd(ns, stage->id[plan->queue], &out, plan->size, flag, timeout);
}

/* Returns RECEIVED and the letter, or an error. */
static int try_receive(struct ipc_namespace *ns, const struct plan *plan, int flag,
		       const struct timespec *timeout)
{
	static struct letter in;
	ssize_t ret =
		msg_rcv(ns, stage->id[plan->queue], &in, plan->size, plan->type, flag, timeout);

	for (ssize_t i = 1; i < ret; i++)
		if (in.text[i] != in.text[0])
			flaw("a message came garbled");
	return ret < 0 ? (int)ret : RECEIVED + in.text[0];
}

static void send(struct ipc_namespace *ns, char letter, long type, size_t size)
{
	must(try_send(ns, &(struct plan){.type = type, .size = size}, letter, 0, NULL), "msgsnd");
}

static void receive(struct ipc_namespace *ns, long type)
{
	must(try_receive(ns, &(struct plan){.type = type, .size = MSGMAX}, 0, NULL), "msgrcv");
}

static void set_queue(struct ipc_namespace *ns, uint64_t qbytes, int mode)
{
	struct msqid_ds ds;

	memset(&ds, 0, sizeof(ds));
	ds.msg_perm.uid = geteuid();
	ds.msg_perm.gid = getegid();
	ds.msg_perm.mode = mode;
	ds.msg_qbytes = qbytes;
	must(msg_ctl(ns, stage->id[0], IPC_SET, &ds), "IPC_SET");
}

static void age_queue(struct ipc_namespace *ns, int id)
{
	struct msg_queue *msq;
	struct tx *tx;

	must(msg_lock(ns, id, &tx, &msq), "msg_lock");
	tx_set(tx, msq->q_stime, OLD_TIME);
	tx_set(tx, msq->q_rtime, OLD_TIME);
	tx_set(tx, msq->q_ctime, OLD_TIME);
	tx_commit(tx);
}

static void setter(unsigned arg)
{
	struct ipc_namespace *ns = opened(SETTER);
	char letter = 'a';

	(void)arg;
	ns->record->msg_ctlmax = MSGMAX;
	ns->record->msg_ctlmnb = 1 << 20;
	for (int i = 0; i < 2; i++) {
		stage->id[i] = msg_get(ns, KEY + i, IPC_CREAT | IPC_EXCL | 0666);
		must(stage->id[i], "msgget");
	}
	for (unsigned i = 0; i < ARRAY_SIZE(now_on->messages); i++) {
		const struct plan *plan = &now_on->messages[i];
		bool last = i + 1 == ARRAY_SIZE(now_on->messages) || !plan[1].size;

		for (unsigned n = last ? now_on->repeat + 1 : 1; plan->size && n > 0; n--)
			send(ns, letter++, plan->type, plan->size);
		if (last)
			break;
	}
	if (now_on->qbytes)
		set_queue(ns, now_on->qbytes, 0666);
	for (int i = 0; i < 2; i++)
		age_queue(ns, stage->id[i]);
}

/* --- the queues as text --- */

static void add_message(struct ipc_namespace *ns, struct text *text, ref_t ref)
{
	struct msg_msg *msg = msg_at(ns, ref);
	const char *at = msg_text(msg);

	for (uint32_t i = 1; i < msg->m_ts; i++)
		if (at[i] != at[0])
			flaw("a message is garbled");
	add(text, " %c(%ld,%u)", at[0], (long)msg->m_type, msg->m_ts);
}

static void add_queue(struct ipc_namespace *ns, struct text *text, const struct msg_queue *msq)
{
	add(text,
	    "%d key %x mode %o qbytes %lu: %lu messages, %lu bytes, in hand %u, times %s %s %s",
	    msq->q_perm.id, msq->q_perm.key, msq->q_perm.mode, msq->q_qbytes, msq->q_qnum,
	    msq->q_cbytes, msq->n_in_hand, age(msq->q_stime), age(msq->q_rtime), age(msq->q_ctime));
	add(text, ", lspid %s, lrpid %s:", role_of(msq->q_lspid), role_of(msq->q_lrpid));
	for (ref_t ref = msq->messages; ref; ref = msg_at(ns, ref)->next)
		add_message(ns, text, ref);
	add(text, " receivers");
	for (ref_t ref = msq->q_receivers.first; ref; ref = sleeper_at(ns, ref)->next)
		add(text, " %s(%ld)", role_of(sleeper_at(ns, ref)->pid),
		    (long)msg_sleeper_at(ns, ref)->type);
	add(text, " senders");
	for (ref_t ref = msq->q_senders.first; ref; ref = sleeper_at(ns, ref)->next) {
		add(text, " %s", role_of(sleeper_at(ns, ref)->pid));
		add_message(ns, text, msg_sleeper_at(ns, ref)->msg);
	}
	add(text, "\n");
}

/* All queues, as they are; a dead owner's half-done work is taken back on the way. */
static void describe_queues(struct ipc_namespace *ns, char *buf, size_t size)
{
	struct ipc_ids *ids = ipc_ids_of(ns, IPC_MSG_IDS);
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
	add(&text, "in use %u, seq %u\n", ids->in_use, ids->seq);
	tx_commit(tx);
	for (int i = -1; (i = idr_next(&ns->arena, &ids->ipcs_idr, i + 1)) >= 0;) {
		struct msg_queue *msq = msg_record(ns, i);

		if (!msq || tx_begin(&ns->arena, &tx) < 0)
			continue;
		tx_lock(tx, &ids->lock);
		tx_lock(tx, &msq->lock);
		if (!msq->q_perm.deleted)
			add_queue(ns, &text, msq);
		tx_commit(tx);
	}
}

/* How many sleep, in all queues; the dead count too. */
static unsigned count_waiting(struct ipc_namespace *ns)
{
	struct ipc_ids *ids = ipc_ids_of(ns, IPC_MSG_IDS);
	unsigned n = 0;
	struct tx *tx;

	for (int i = -1; (i = idr_next(&ns->arena, &ids->ipcs_idr, i + 1)) >= 0;) {
		struct msg_queue *msq = msg_record(ns, i);

		if (!msq || tx_begin(&ns->arena, &tx) < 0)
			continue;
		tx_lock(tx, &msq->lock);
		const ref_t lists[] = {msq->q_receivers.first, msq->q_senders.first};

		for (unsigned j = 0; j < ARRAY_SIZE(lists) && !msq->q_perm.deleted; j++)
			for (ref_t ref = lists[j]; ref; ref = sleeper_at(ns, ref)->next)
				n++;
		tx_commit(tx);
	}
	return n;
}

static void await_waiting(struct ipc_namespace *ns, unsigned n)
{
	while (count_waiting(ns) < n)
		await_a_little();
}

static const char *check_queues(struct ipc_namespace *ns)
{
	const char *wrong = namespace_check(ns); /* with slab_check() */

	return wrong ? wrong : msg_check(ns);
}

/* --- operations --- */

static void get_new(struct ipc_namespace *ns)
{
	must(msg_get(ns, KEY + 9, IPC_CREAT | IPC_EXCL | 0600), "msgget");
}

static void get_existing(struct ipc_namespace *ns)
{
	must(msg_get(ns, KEY, IPC_CREAT | 0600), "msgget");
}

static void make_free_record(struct ipc_namespace *ns)
{
	must(msg_ctl(ns, msg_get(ns, IPC_PRIVATE, 0600), IPC_RMID, NULL), "IPC_RMID");
}

static void send_small(struct ipc_namespace *ns)
{
	send(ns, 'V', 5, 40);
}

static void send_8k(struct ipc_namespace *ns)
{
	send(ns, 'V', 5, 8192);
}

static void send_huge(struct ipc_namespace *ns)
{
	send(ns, 'V', 5, 50000);
}

/* Blocks of some sizes, of the queue of which the victim may need one. */
static void keep_blocks(struct ipc_namespace *ns)
{
	for (int i = 0; i < 6; i++)
		send(ns, 'k', 9, 40 << i);
	for (int i = 0; i < 6; i++)
		receive(ns, 9);
	age_queue(ns, stage->id[0]);
}

static void receive_any(struct ipc_namespace *ns)
{
	receive(ns, 0);
}

static void receive_2(struct ipc_namespace *ns)
{
	receive(ns, 2);
}

static void receive_3(struct ipc_namespace *ns)
{
	receive(ns, 3);
}

static void receive_lowest(struct ipc_namespace *ns)
{
	receive(ns, -2);
}

static void time_out(struct ipc_namespace *ns, bool sends)
{
	static const struct plan plan = {.type = 5, .size = 60};
	const struct timespec short_time = {0, 2000000};
	int ret = sends ? try_send(ns, &plan, 'V', 0, &short_time) :
			  try_receive(ns, &plan, 0, &short_time);

	if (ret != -EAGAIN)
		flaw("a time-out returns %d", ret);
}

static void send_times_out(struct ipc_namespace *ns)
{
	time_out(ns, true);
}

static void receive_times_out(struct ipc_namespace *ns)
{
	time_out(ns, false);
}

static void await_victim(struct ipc_namespace *ns)
{
	while (!count_waiting(ns) && !stage->victim_is_dead)
		await_a_little();
}

static void help_receiver(struct ipc_namespace *ns)
{
	await_victim(ns);
	send(ns, 'H', 5, 40);
}

static void help_sender(struct ipc_namespace *ns)
{
	await_victim(ns);
	receive(ns, 1);
}

/* One that was handed a message and dies: it goes back, but q_lrpid and q_rtime stay. */
static void had_it_in_hand(struct ipc_namespace *ns)
{
	struct msg_queue *msq;
	struct tx *tx;

	must(msg_lock(ns, stage->id[0], &tx, &msq), "msg_lock");
	tx_set(tx, msq->q_lrpid, (int)os_getpid());
	tx_set(tx, msq->q_rtime, os_seconds());
	tx_commit(tx);
}

static void set_qbytes(struct ipc_namespace *ns)
{
	set_queue(ns, 10000, 0640);
}

static void set_mode(struct ipc_namespace *ns)
{
	set_queue(ns, now_on->qbytes, 0);
}

static void remove_queue(struct ipc_namespace *ns)
{
	must(msg_ctl(ns, stage->id[0], IPC_RMID, NULL), "IPC_RMID");
}

static void leave(struct ipc_namespace *ns)
{
	proc_leave(ns);
}

static void sweep(struct ipc_namespace *ns)
{
	proc_sweep(ns);
}

static void get_ready(struct ipc_namespace *ns)
{
	struct proc *proc;

	must(proc_enter(ns, &proc), "proc_enter");
}

static void kill_earlier_and_sweep(struct ipc_namespace *ns)
{
	kill(stage->pid[EARLIER], SIGKILL);
	for (int i = 0; i < 40; i++)
		await_a_little();
	proc_sweep(ns);
}

/* --- who died before --- */

static void earlier_sleeps(unsigned sends)
{
	struct ipc_namespace *ns = opened(EARLIER);

	if (sends)
		send(ns, 'E', 5, 100);
	else
		receive(ns, 5);
	pause();
}

static void await_sleep(unsigned letter)
{
	struct ipc_namespace *ns = opened(HELPER);

	await_waiting(ns, 1);
	if (letter)
		send(ns, letter, 5, 40);
}

static void one_waits(bool sends)
{
	earlier_pid = start_actor(earlier_sleeps, sends);
	finish(start_actor(await_sleep, 0));
}

static void kill_earlier(void)
{
	if (!earlier_pid)
		return;
	kill(earlier_pid, SIGKILL);
	finish(earlier_pid);
	earlier_pid = 0;
}

static void one_died_sending(void)
{
	one_waits(true);
	kill_earlier();
}

static void one_died_receiving(void)
{
	one_waits(false);
	kill_earlier();
}

/* Stopped, so that it can't take what is handed to it. */
static void one_has_it_in_hand(void)
{
	int status;

	one_waits(false);
	kill(earlier_pid, SIGSTOP);
	if (waitpid(earlier_pid, &status, WUNTRACED) != earlier_pid || !WIFSTOPPED(status))
		abort();
	finish(start_actor(await_sleep, 'X'));
}

static void one_died_with_it_in_hand(void)
{
	one_has_it_in_hand();
	kill_earlier();
}

#define RECEIVER(type_, size_)                   \
	{                                        \
		.type = (type_), .size = (size_) \
	}
#define SENDER(type_, size_)                                    \
	{                                                       \
		.sends = true, .type = (type_), .size = (size_) \
	}
#define MESSAGE RECEIVER
#define THREE                                                   \
	{                                                       \
		MESSAGE(1, 30), MESSAGE(2, 200), MESSAGE(3, 50) \
	}
#define FULL .messages = {MESSAGE(1, 300), MESSAGE(2, 100)}, .qbytes = 400
#define STRANGER(...)                         \
	{                                     \
		.stranger = true, __VA_ARGS__ \
	}

static const struct operation operations[] = {
	{.name = "msgget, a new record", .run = get_new},
	{.name = "msgget, a free record", .run = get_new, .prepare = make_free_record},
	{.name = "msgget, existing", .run = get_existing, .no_steps = true},
	{.name = "msgsnd, a new block", .run = send_small},
	{.name = "msgsnd behind others", .run = send_small, .messages = THREE},
	{.name = "msgsnd, a kept block", .run = send_small, .prepare = keep_blocks},
	{.name = "msgsnd of 8 KiB", .run = send_8k},
	{.name = "msgsnd of more than is kept", .run = send_huge},
	{.name = "msgsnd to a receiver", .run = send_small, .sleepers = {RECEIVER(5, 40)}},
	{.name = "msgsnd to a receiver, a kept block",
	 .run = send_small,
	 .prepare = keep_blocks,
	 .sleepers = {RECEIVER(5, 40)}},
	{.name = "msgsnd to the one with room",
	 .run = send_small,
	 .sleepers = {RECEIVER(7, 40), RECEIVER(0, 10), RECEIVER(-6, 64), RECEIVER(0, 64)}},
	{.name = "msgrcv of the first", .run = receive_any, .messages = THREE},
	{.name = "msgrcv of the middle", .run = receive_2, .messages = THREE},
	{.name = "msgrcv of the last", .run = receive_3, .messages = THREE},
	{.name = "msgrcv of the lowest",
	 .run = receive_lowest,
	 .messages = {MESSAGE(3, 30), MESSAGE(2, 200), MESSAGE(1, 50)}},
	{.name = "msgrcv of the only one", .run = receive_any, .messages = {MESSAGE(1, 8192)}},
	{.name = "msgrcv of more than is kept",
	 .run = receive_any,
	 .messages = {MESSAGE(1, 50000)}},
	{.name = "msgrcv that makes room for one",
	 .run = receive_any,
	 FULL,
	 .sleepers = {SENDER(5, 250)}},
	{.name = "msgrcv that makes room for two",
	 .run = receive_any,
	 FULL,
	 .sleepers = {SENDER(5, 350), SENDER(5, 100), SENDER(6, 150), SENDER(7, 250)}},
	{.name = "a receiver that is served",
	 .run = receive_any,
	 .half = had_it_in_hand,
	 .helper = help_receiver,
	 .in_steps = true},
	{.name = "a sender that is served",
	 .run = send_8k,
	 .messages = {MESSAGE(1, 300)},
	 .qbytes = 8192,
	 .helper = help_sender,
	 .in_steps = true},
	{.name = "a receiver's time-out", .run = receive_times_out, .in_steps = true},
	{.name = "a sender's time-out", .run = send_times_out, FULL, .in_steps = true},
	{.name = "a time-out behind another",
	 .run = send_times_out,
	 FULL,
	 .sleepers = {SENDER(5, 50)},
	 .in_steps = true},
	{.name = "IPC_SET of qbytes", .run = set_qbytes},
	{.name = "IPC_SET of qbytes with sleepers",
	 .run = set_qbytes,
	 FULL,
	 .sleepers = {SENDER(5, 50), RECEIVER(5, 40), SENDER(6, 9900), SENDER(5, 8000)}},
	{.name = "IPC_SET of mode with sleepers",
	 .run = set_mode,
	 FULL,
	 .sleepers = {STRANGER(.type = 5, .size = 40),
		      STRANGER(.sends = true, .type = 7, .size = 100), RECEIVER(6, 30),
		      STRANGER(.sends = true, .type = 5, .size = 200)}},
	{.name = "IPC_RMID, empty", .run = remove_queue},
	{.name = "IPC_RMID with messages, sleepers and kept blocks",
	 .run = remove_queue,
	 .prepare = keep_blocks,
	 .messages = {MESSAGE(1, 30), MESSAGE(1, 50000), MESSAGE(2, 100)},
	 .repeat = MESSAGES,
	 .qbytes = 60000,
	 .sleepers = {SENDER(2, 20000), RECEIVER(3, 40), SENDER(2, 10000)}},
	{.name = "IPC_RMID with a message in hand",
	 .run = remove_queue,
	 .before = one_has_it_in_hand,
	 .in_steps = true},
	{.name = "leave", .run = leave, .prepare = get_ready, .in_steps = true},
	{.name = "sweep of a receiver",
	 .run = sweep,
	 .before = one_died_receiving,
	 .in_steps = true},
	{.name = "sweep of a sender",
	 .run = sweep,
	 .before = one_died_sending,
	 FULL,
	 .in_steps = true},
	{.name = "sweep of one with a message in hand",
	 .run = sweep,
	 .before = one_died_with_it_in_hand,
	 .messages = THREE,
	 .in_steps = true},
	{.name = "sweep of one with a message for another",
	 .run = kill_earlier_and_sweep,
	 .before = one_has_it_in_hand,
	 .sleepers = {RECEIVER(5, 10), RECEIVER(5, 40)},
	 .in_steps = true},
	{.name = "msgsnd to one that died",
	 .run = send_small,
	 .before = one_died_receiving,
	 .in_steps = true},
	{.name = "msgsnd after one that died with one in hand",
	 .run = send_small,
	 .before = one_died_with_it_in_hand,
	 .in_steps = true},
	{.name = "msgrcv of what one died with",
	 .run = receive_any,
	 .before = one_died_with_it_in_hand,
	 .in_steps = true},
	{.name = "msgrcv that makes room for one that died",
	 .run = receive_any,
	 .before = one_died_sending,
	 FULL,
	 .in_steps = true},
};

/* --- the play --- */

static unsigned n_sleepers(const struct operation *operation)
{
	unsigned n = 0;

	while (n < SLEEPERS && operation->sleepers[n].size)
		n++;
	return n;
}

static void sleeper(unsigned i)
{
	const struct plan *plan = &now_on->sleepers[i];
	struct ipc_namespace *ns = opened(SLEEPER + i);

	/* They get their journals in the other order than their slots in the table. */
	while (i + 1 < n_sleepers(now_on) && !stage->has_journal[i + 1])
		await_a_little();
	count_waiting(ns);
	stage->has_journal[i] = true;
	while (!stage->victim_is_ready)
		await_a_little();
	await_waiting(ns, i);
	if (plan->stranger && geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		flaw("setresuid: %s", strerror(errno));
	stage->outcome[i] =
		plan->sends ? try_send(ns, plan, 'A' + i, 0, NULL) : try_receive(ns, plan, 0, NULL);
	for (;;)
		pause();
}

static void helper(unsigned arg)
{
	(void)arg;
	now_on->helper(opened(EARLIER));
}

enum run {
	BEFORE,
	HALF,
	WHOLE
};

static void victim(unsigned run)
{
	struct ipc_namespace *ns = opened(VICTIM);

	/* So that the first dead one's journal, which the next process gets, is not always the victim's. */
	for (unsigned i = 0; i < n_sleepers(now_on); i++)
		while (!stage->has_journal[i])
			await_a_little();
	if (now_on->prepare)
		now_on->prepare(ns);
	stage->victim_is_ready = true;
	await_waiting(ns, n_sleepers(now_on));
	stage->all_are_asleep = true;
	while (!stage->go)
		await_a_little();
	if (run == HALF && now_on->half)
		now_on->half(ns);
	if (run == WHOLE) {
		arena_crash_countdown = stage->countdown;
		now_on->run(ns);
		stage->steps = arena_crash_steps;
		arena_crash_countdown = 0;
	}
	report->done = true;
	raise(SIGKILL);
}

static bool all_settled(struct ipc_namespace *ns)
{
	unsigned asleep = 0;

	for (unsigned i = 0; i < n_sleepers(now_on); i++)
		asleep += stage->outcome[i] == ASLEEP;
	return asleep == count_waiting(ns);
}

/* Those who have been served come back, though no living process makes a call for them. */
static void await_served(struct ipc_namespace *ns)
{
	uint64_t start = os_monotonic_ns();

	while (!all_settled(ns)) {
		await_a_little();
		if (os_monotonic_ns() - start > 5000000000ull) {
			flaw("a sleeper that was served does not come back");
			break;
		}
	}
	stage->served_late_ns = os_monotonic_ns() - start;
}

static void looker(unsigned arg)
{
	(void)arg;
	describe_queues(opened(HELPER), stage->raw, sizeof(stage->raw));
}

static void add_outcome(struct text *text, unsigned i)
{
	int outcome = stage->outcome[i];

	if (outcome > RECEIVED)
		add(text, "sleeper%u: got %c\n", i, outcome - RECEIVED);
	else
		add(text, "sleeper%u: %s\n", i,
		    outcome == ASLEEP ? "asleep" :
		    outcome	      ? strerror(-outcome) :
					"sent");
}

static void checker(unsigned arg)
{
	struct ipc_namespace *ns = opened(HELPER);
	struct text text = {stage->swept, sizeof(stage->swept), 0};
	const char *wrong;

	(void)arg;
	proc_sweep(ns);
	await_served(ns);
	describe_queues(ns, stage->swept, sizeof(stage->swept));
	text.used = strlen(stage->swept);
	for (unsigned i = 0; i < n_sleepers(now_on); i++)
		add_outcome(&text, i);
	wrong = check_queues(ns);
	if (wrong)
		flaw("check: %s", wrong);
}

/*
 * Bytes of the heap that are allotted, but for what is kept for the next one: journals that
 * have grown, records of sleepers and of queues. Nobody else runs.
 */
static uint32_t bytes_in_use(struct ipc_namespace *ns)
{
	const char *base_at = ns->arena.base;
	const struct page_desc *desc = (const void *)(base_at + ARENA_DESCS_AT);
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < ns->arena.header->heap_top; i++) {
		if (desc[i].state == PAGE_SLAB)
			bytes += desc[i].n_used * (8u << desc[i].class);
		else if (desc[i].state == PAGE_RUN)
			bytes += (uint64_t)desc[i].count * ARENA_PAGE;
	}
	for (uint32_t i = 0; i < ns->arena.header->journals_ready; i++) {
		const struct journal *journal =
			(const void *)(base_at + ARENA_JOURNALS_AT + i * ARENA_PAGE);

		if (journal->more)
			bytes -= arena_size_of(&ns->arena, journal->more);
	}
	for (ref_t ref = ns->record->sleepers[IPC_MSG_IDS]; ref;
	     ref = sleeper_at(ns, ref)->proc_next)
		bytes -= SLEEPER_SIZE;
	for (ref_t ref = ns->record->msg_queues; ref; ref = msg_queue_at(ns, ref)->next_free)
		bytes -= arena_size_of(&ns->arena, ref);
	return bytes;
}

/* When all are dead. */
static void remover(unsigned arg)
{
	struct ipc_namespace *ns = opened(HELPER);
	struct msg_info_entry entry;
	const char *wrong;

	(void)arg;
	proc_sweep(ns);
	if (count_waiting(ns))
		flaw("the dead sleep");
	for (uint32_t i = 0; i < ns->arena.header->procs_ready; i++)
		if (proc_at(ns, i)->sleepers)
			flaw("a sweep has left something of a process");
	/* One who died while he swept may have made a slot look free. */
	proc_sweep(ns);
	for (int i = -1; msg_each(ns, &i, &entry);) {
		if (msg_waiters(ns, entry.id, NULL, 0))
			flaw("the dead wait");
		must(msg_ctl(ns, entry.id, IPC_RMID, NULL), "IPC_RMID");
	}
	/* Who removes a queue frees what others have left. */
	make_free_record(ns);
	if (ns->record->msg_dying)
		flaw("a removed queue is still there");
	wrong = check_queues(ns);
	if (wrong)
		flaw("check, with all removed: %s", wrong);
	for (uint32_t i = 0; i < ns->arena.header->procs_ready; i++)
		if (proc_at(ns, i)->state != PROC_FREE)
			flaw("a process is left");
	report->swept_heap = bytes_in_use(ns);
}

static void must_be_sound(unsigned n, const char *when)
{
	if (report->flawed)
		fail_msg("%s, killed at step %u, %s: %s", now_on->name, n, when, report->wrong);
}

static void must_end(pid_t pid, unsigned n, const char *what)
{
	int status = finish(pid);

	if (status)
		fail_msg("%s, killed at step %u: %s ended with status 0x%x: %s", now_on->name, n,
			 what, status, report->wrong);
	must_be_sound(n, what);
}

static pid_t asleep[SLEEPERS], helps;

/* What a test that failed has left. */
static void clear_stage(void)
{
	for (unsigned i = 0; i < SLEEPERS; i++) {
		if (asleep[i]) {
			kill(asleep[i], SIGKILL);
			finish(asleep[i]);
		}
		asleep[i] = 0;
	}
	kill_earlier();
	if (base[0])
		remove_tree(base);
}

/*
 * Every other time the sleepers are stopped while the victim acts and until somebody has looked,
 * so that none of them sweeps before.
 */
static bool sleepers_stop(void)
{
	return stage->countdown % 2 == 0;
}

static void stop_sleepers(void)
{
	int status;

	for (unsigned i = 0; i < n_sleepers(now_on) && sleepers_stop(); i++) {
		kill(asleep[i], SIGSTOP);
		if (waitpid(asleep[i], &status, WUNTRACED) != asleep[i] || !WIFSTOPPED(status))
			fail_msg("%s: a sleeper ended", now_on->name);
	}
}

static int victim_acts(enum run run)
{
	pid_t pid = start_actor(victim, run);
	siginfo_t info = {.si_pid = 0};

	while (!stage->all_are_asleep && info.si_pid == 0) {
		await_a_little();
		waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT);
	}
	stop_sleepers();
	stage->go = true;
	return finish(pid);
}

/* Up to the death of the victim. */
static void act(unsigned countdown, enum run run)
{
	clear_stage();
	memset(stage, 0, sizeof(*stage));
	fresh_folder("crash");
	strcpy(stage->folder, folder);
	stage->countdown = countdown;
	for (unsigned i = 0; i < SLEEPERS; i++)
		stage->outcome[i] = ASLEEP;
	must_end(start_actor(setter, 0), countdown, "the setter");
	if (now_on->before)
		now_on->before();
	for (unsigned i = 0; i < n_sleepers(now_on); i++)
		asleep[i] = start_actor(sleeper, i);
	helps = now_on->helper ? start_actor(helper, 0) : 0;
	int status = victim_acts(run);

	kill_earlier();
	stage->victim_is_dead = true;
	if (!killed(status))
		fail_msg("%s, step %u: the victim ended with status 0x%x: %s", now_on->name,
			 countdown, status, report->wrong);
	must_be_sound(countdown, "itself");
	if (helps)
		must_end(helps, countdown, "the helper");
}

struct outcome {
	char raw[8192], swept[8192];
	uint32_t heap;
	bool done;
	unsigned steps;
};

static void kill_sleepers(unsigned most, unsigned n)
{
	for (unsigned i = 0; i < most && i < n_sleepers(now_on); i++) {
		if (!asleep[i])
			continue;
		kill(asleep[i], SIGKILL);
		if (!killed(finish(asleep[i])))
			fail_msg("%s, %u: a sleeper ended by itself", now_on->name, n);
		asleep[i] = 0;
	}
}

/* look: somebody looks before anybody sweeps. Whoever looks has recovered all. */
static void check(unsigned n, bool look, struct outcome *ret_outcome)
{
	if (look)
		must_end(start_actor(looker, 0), n, "who looks");
	for (unsigned i = 0; i < n_sleepers(now_on); i++)
		kill(asleep[i], SIGCONT);
	must_end(start_actor(checker, 0), n, "the checker");
	kill_sleepers(SLEEPERS, n);
	must_end(start_actor(remover, 0), n, "the remover");
	memcpy(ret_outcome->raw, stage->raw, sizeof(stage->raw));
	memcpy(ret_outcome->swept, stage->swept, sizeof(stage->swept));
	ret_outcome->heap = report->swept_heap;
	ret_outcome->done = report->done;
	ret_outcome->steps = stage->steps;
	if (stage->served_late_ns > latest_ns)
		latest_ns = stage->served_late_ns;
	remove_tree(base);
}

static struct outcome before, half, after, now;

static bool is_of(const struct outcome *of, bool swept)
{
	return swept || now_on->in_steps || !sleepers_stop() || !strcmp(now.raw, of->raw);
}

/* was_swept: somebody has swept before anybody looked. */
static void one_or_other(unsigned n, bool was_swept)
{
	bool swept = !strcmp(now.swept, before.swept) || !strcmp(now.swept, after.swept) ||
		     !strcmp(now.swept, half.swept);

	if (!swept ||
	    !(is_of(&before, was_swept) || is_of(&half, was_swept) || is_of(&after, was_swept))) {
		print_message("before: %snow: %s", swept ? before.raw : before.swept,
			      swept ? now.raw : now.swept);
		print_message("after: %s", swept ? after.raw : after.swept);
		fail_msg("%s, killed at step %u: half done, as seen %s a sweep", now_on->name, n,
			 swept ? "before" : "after");
	}
	if (now.heap != before.heap && now.heap != after.heap && now.heap != half.heap)
		fail_msg("%s, killed at step %u: %u bytes in use, not %u nor %u", now_on->name, n,
			 now.heap, before.heap, after.heap);
}

static void before_and_after(void)
{
	act(0, BEFORE);
	check(0, true, &before);
	act(0, HALF);
	check(0, true, &half);
	act(UINT32_MAX - 1, WHOLE);
	check(0, true, &after);
	if (!after.done)
		fail_msg("%s: it does not end", now_on->name);
	if (after.steps == 0 && !now_on->no_steps)
		fail_msg("%s: no steps", now_on->name);
}

static bool every;

static unsigned stride(unsigned steps, unsigned n)
{
	return every || steps < n ? 1 : steps / n;
}

static void killed_at_each_step_it_is_whole_or_not_at_all(void **state)
{
	unsigned tried = 0;

	now_on = *state;
	latest_ns = 0;
	before_and_after();
	for (unsigned n = 1; n <= after.steps; n += stride(after.steps, SLICE), tried++) {
		/* The first who comes may be one who sweeps. */
		bool look = tried % 4 == 3 || (!now_on->in_steps && n % 4 != 1);

		act(n, WHOLE);
		check(n, look, &now);
		one_or_other(n, !look);
	}
	print_message("  %u of %u steps; who was served was back after %.1f ms at most\n", tried,
		      after.steps, (double)latest_ns / 1e6);
}

/* Recovers, and is killed at its step `step`. */
static void recoverer(unsigned step)
{
	struct ipc_namespace *ns = opened(HELPER);

	arena_crash_countdown = step;
	proc_sweep(ns);
	msg_reap(ns);
	/* What no sweep had to touch is recovered by who needs it. */
	describe_queues(ns, stage->raw, sizeof(stage->raw));
	arena_crash_countdown = 0;
	report->done = true;
}

static void recovery_killed_at_each_step_is_finished_by_the_next(void **state)
{
	unsigned tried = 0;

	now_on = *state;
	before_and_after();
	for (unsigned n = 1; n <= after.steps; n += stride(after.steps, 3)) {
		act(n, WHOLE);
		report->done = false;
		for (unsigned step = 1; !report->done; step += stride(60, 8), tried++) {
			int status = finish(start_actor(recoverer, step));

			if (!killed(status) && status)
				fail_msg("%s, %u: the recoverer, step %u, ended with 0x%x: %s",
					 now_on->name, n, step, status, report->wrong);
		}
		check(n, false, &now);
		one_or_other(n, true);
	}
	print_message("  %u recoverers\n", tried);
}

/*
 * So many sleepers are dead when the sweeper is killed, and then all. The next one gets the journal of the
 * sweeper, and plays it back at once, or that of a sleeper, and meets what the sweeper has left.
 */
static unsigned kill_sweepers(unsigned dead)
{
	for (unsigned step = 1;; step += stride(100, SLICE)) {
		int status;

		act(UINT32_MAX - 1, WHOLE);
		report->done = false;
		kill_sleepers(dead, step);
		status = finish(start_actor(recoverer, step));
		if (!killed(status) && status)
			fail_msg("%s: the sweeper, step %u, ended with 0x%x: %s", now_on->name,
				 step, status, report->wrong);
		kill_sleepers(SLEEPERS, step);
		must_end(start_actor(remover, 0), step, "the remover");
		remove_tree(base);
		if (report->done)
			return step - 1;
	}
}

static void a_sweep_killed_at_each_step_is_finished_by_the_next(void **state)
{
	now_on = *state;
	for (unsigned dead = 0; dead <= n_sleepers(now_on); dead++)
		print_message("  %u dead sleepers: %u steps\n", dead, kill_sweepers(dead));
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[3 * ARRAY_SIZE(operations)];
	char names[2 * ARRAY_SIZE(operations)][80];
	size_t n = 0;

	every = argc > 1 && !strcmp(argv[1], "all");
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (stage == MAP_FAILED)
		abort();
	report = &stage->report;
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
		const struct operation *operation = &operations[i];

		tests[n++] = (struct CMUnitTest){operation->name,
						 killed_at_each_step_it_is_whole_or_not_at_all,
						 NULL, NULL, (void *)operation};
		if (operation->no_steps)
			continue;
		snprintf(names[2 * i], sizeof(names[0]), "recovery of %s", operation->name);
		tests[n++] = (struct CMUnitTest){
			names[2 * i], recovery_killed_at_each_step_is_finished_by_the_next, NULL,
			NULL, (void *)operation};
		if (!operation->sleepers[0].size && !operation->prepare)
			continue;
		snprintf(names[2 * i + 1], sizeof(names[0]), "sweep after %s", operation->name);
		tests[n++] = (struct CMUnitTest){
			names[2 * i + 1], a_sweep_killed_at_each_step_is_finished_by_the_next, NULL,
			NULL, (void *)operation};
	}
	return _cmocka_run_group_tests("crash-msg", tests, n, NULL, NULL);
}
