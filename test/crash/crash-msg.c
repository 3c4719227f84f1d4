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
#include "crash/play.h"

#include "arena/slab.h"
#include "msg/queue.h"

#define KEY	 0x5eed
#define MESSAGES 20
#define MSGMAX	 65536
#define RECEIVED 1000 /* an outcome: and the letter of the message */

/* What a sleeper does. */
struct plan {
	bool sends, stranger; /* stranger: by the mode for others */
	long type;
	size_t size; /* 0: there is no such sleeper */
	unsigned queue;
};

/* The first queue. */
struct scene {
	struct plan messages[3]; /* the last one is sent `repeat` times more */
	unsigned repeat;
	uint64_t qbytes; /* 0: enough */
};

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

static void make_queues(struct ipc_namespace *ns)
{
	static const struct scene empty;
	const struct scene *scene = now_on->scene ? now_on->scene : &empty;
	char letter = 'a';

	ns->record->msg_ctlmax = MSGMAX;
	ns->record->msg_ctlmnb = 1 << 20;
	for (int i = 0; i < 2; i++) {
		stage->id[i] = msg_get(ns, KEY + i, IPC_CREAT | IPC_EXCL | 0666);
		must(stage->id[i], "msgget");
	}
	for (unsigned i = 0; i < ARRAY_SIZE(scene->messages); i++) {
		const struct plan *plan = &scene->messages[i];
		bool last = i + 1 == ARRAY_SIZE(scene->messages) || !plan[1].size;

		for (unsigned n = last ? scene->repeat + 1 : 1; plan->size && n > 0; n--)
			send(ns, letter++, plan->type, plan->size);
		if (last)
			break;
	}
	if (scene->qbytes)
		set_queue(ns, scene->qbytes, 0666);
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
	struct tx *tx = begin_look(ns, ids);

	if (!tx)
		return;
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
static unsigned count_on_queues(struct ipc_namespace *ns)
{
	struct ipc_ids *ids = ipc_ids_of(ns, IPC_MSG_IDS);
	unsigned n = 0;
	struct tx *tx;

	for (int i = -1; (i = idr_next(&ns->arena, &ids->ipcs_idr, i + 1)) >= 0;) {
		struct msg_queue *msq = msg_record(ns, i);

		if (!msq || tx_begin(&ns->arena, &tx) < 0)
			continue;
		tx_lock(tx, &msq->lock);
		if (!msq->q_perm.deleted)
			n += count_sleepers(ns, msq->q_receivers.first) +
			     count_sleepers(ns, msq->q_senders.first);
		tx_commit(tx);
	}
	return n;
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
	while (!count_on_queues(ns) && !stage->victim_is_dead)
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
	set_queue(ns, now_on->scene->qbytes, 0);
}

static void remove_queue(struct ipc_namespace *ns)
{
	must(msg_ctl(ns, stage->id[0], IPC_RMID, NULL), "IPC_RMID");
}

static void kill_earlier_and_sweep(struct ipc_namespace *ns)
{
	signal_actor(stage->pid[EARLIER], SIGKILL);
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

	await_asleep(ns, count_on_queues, 1);
	if (letter)
		send(ns, letter, 5, 40);
}

static void one_waits(bool sends)
{
	earlier_pid = start_actor(earlier_sleeps, sends);
	finish(start_actor(await_sleep, 0));
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

static void one_has_it_in_hand(void)
{
	one_waits(false);
	stop_earlier();
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
#define QUEUE(...)                     \
	.scene = &(const struct scene) \
	{                              \
		__VA_ARGS__            \
	}
#define FULL QUEUE(.messages = {MESSAGE(1, 300), MESSAGE(2, 100)}, .qbytes = 400)
#define STRANGER(...)                         \
	{                                     \
		.stranger = true, __VA_ARGS__ \
	}

static const struct operation operations[] = {
	{.name = "msgget, a new record", .run = get_new},
	{.name = "msgget, a free record", .run = get_new, .prepare = make_free_record},
	{.name = "msgget, existing", .run = get_existing, .no_steps = true},
	{.name = "msgsnd, a new block", .run = send_small},
	{.name = "msgsnd behind others", .run = send_small, QUEUE(.messages = THREE)},
	{.name = "msgsnd, a kept block", .run = send_small, .prepare = keep_blocks},
	{.name = "msgsnd of 8 KiB", .run = send_8k},
	{.name = "msgsnd of more than is kept", .run = send_huge},
	{.name = "msgsnd to a receiver", .run = send_small, BESIDE(RECEIVER(5, 40))},
	{.name = "msgsnd to a receiver, a kept block",
	 .run = send_small,
	 .prepare = keep_blocks,
	 BESIDE(RECEIVER(5, 40))},
	{.name = "msgsnd to the one with room",
	 .run = send_small,
	 BESIDE(RECEIVER(7, 40), RECEIVER(0, 10), RECEIVER(-6, 64), RECEIVER(0, 64))},
	{.name = "msgrcv of the first", .run = receive_any, QUEUE(.messages = THREE)},
	{.name = "msgrcv of the middle", .run = receive_2, QUEUE(.messages = THREE)},
	{.name = "msgrcv of the last", .run = receive_3, QUEUE(.messages = THREE)},
	{.name = "msgrcv of the lowest",
	 .run = receive_lowest,
	 QUEUE(.messages = {MESSAGE(3, 30), MESSAGE(2, 200), MESSAGE(1, 50)})},
	{.name = "msgrcv of the only one",
	 .run = receive_any,
	 QUEUE(.messages = {MESSAGE(1, 8192)})},
	{.name = "msgrcv of more than is kept",
	 .run = receive_any,
	 QUEUE(.messages = {MESSAGE(1, 50000)})},
	{.name = "msgrcv that makes room for one",
	 .run = receive_any,
	 FULL,
	 BESIDE(SENDER(5, 250))},
	{.name = "msgrcv that makes room for two",
	 .run = receive_any,
	 FULL,
	 BESIDE(SENDER(5, 350), SENDER(5, 100), SENDER(6, 150), SENDER(7, 250))},
	{.name = "a receiver that is served",
	 .run = receive_any,
	 .half = had_it_in_hand,
	 .helper = help_receiver,
	 .in_steps = true},
	{.name = "a sender that is served",
	 .run = send_8k,
	 QUEUE(.messages = {MESSAGE(1, 300)}, .qbytes = 8192),
	 .helper = help_sender,
	 .in_steps = true},
	{.name = "a receiver's time-out", .run = receive_times_out, .in_steps = true},
	{.name = "a sender's time-out", .run = send_times_out, FULL, .in_steps = true},
	{.name = "a time-out behind another",
	 .run = send_times_out,
	 FULL,
	 BESIDE(SENDER(5, 50)),
	 .in_steps = true},
	{.name = "IPC_SET of qbytes", .run = set_qbytes},
	{.name = "IPC_SET of qbytes with sleepers",
	 .run = set_qbytes,
	 FULL,
	 BESIDE(SENDER(5, 50), RECEIVER(5, 40), SENDER(6, 9900), SENDER(5, 8000))},
	{.name = "IPC_SET of mode with sleepers",
	 .run = set_mode,
	 FULL,
	 BESIDE(STRANGER(.type = 5, .size = 40), STRANGER(.sends = true, .type = 7, .size = 100),
		RECEIVER(6, 30), STRANGER(.sends = true, .type = 5, .size = 200))},
	{.name = "IPC_RMID, empty", .run = remove_queue},
	{.name = "IPC_RMID with messages, sleepers and kept blocks",
	 .run = remove_queue,
	 .prepare = keep_blocks,
	 QUEUE(.messages = {MESSAGE(1, 30), MESSAGE(1, 50000), MESSAGE(2, 100)}, .repeat = MESSAGES,
	       .qbytes = 60000),
	 BESIDE(SENDER(2, 20000), RECEIVER(3, 40), SENDER(2, 10000))},
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
	 QUEUE(.messages = THREE),
	 .in_steps = true},
	{.name = "sweep of one with a message for another",
	 .run = kill_earlier_and_sweep,
	 .before = one_has_it_in_hand,
	 BESIDE(RECEIVER(5, 10), RECEIVER(5, 40)),
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

/* --- what the play asks for --- */

static int sleep_by_plan(struct ipc_namespace *ns, unsigned i)
{
	const struct plan *plan = &now_on->sleepers[i];

	if (plan->stranger && geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		flaw("setresuid: %s", strerror(errno));
	return plan->sends ? try_send(ns, plan, 'A' + i, 0, NULL) : try_receive(ns, plan, 0, NULL);
}

static void add_served(struct text *text, int outcome)
{
	if (outcome > RECEIVED)
		add(text, "got %c", outcome - RECEIVED);
	else
		add(text, "sent");
}

static void remove_queues(struct ipc_namespace *ns)
{
	struct msg_info_entry entry;

	for (int i = -1; msg_each(ns, &i, &entry);) {
		if (msg_waiters(ns, entry.id, NULL, 0))
			flaw("the dead wait");
		must(msg_ctl(ns, entry.id, IPC_RMID, NULL), "IPC_RMID");
	}
	/* Who removes a queue frees what others have left. */
	make_free_record(ns);
	if (ns->record->msg_dying)
		flaw("a removed queue is still there");
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

static const struct mechanism queues = {
	.name = "crash-msg",
	.operations = operations,
	.n_operations = ARRAY_SIZE(operations),
	.slice = 20,
	.slice_of_recovery = 8,
	.sweeps_at_once = true,
	.init = msg_init,
	.set_up = make_queues,
	.sleep = sleep_by_plan,
	.count_asleep = count_on_queues,
	.describe = describe_queues,
	.add_served = add_served,
	.check = check_queues,
	.reap = msg_reap,
	.remove_all = remove_queues,
	.bytes_in_use = bytes_in_use,
};

int main(int argc, char **argv)
{
	return play(&queues, argc, argv);
}
