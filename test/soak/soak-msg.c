/*
 * soak-msg.c - a message queue whose senders and receivers are killed at any instant.
 *
 *	soak-msg [ROUNDS [SEED]]	300 rounds, a seed from the clock
 *
 * Written against <sys/msg.h> alone: it runs on the kernel and, preloaded, on vee. What is proved, once
 * waitpid() has returned for all: no message is lost, doubled or torn; who slept behind one that was
 * killed goes on; msg_qnum and msg_cbytes say what is there, and return to zero; a queue that
 * is removed takes its sleepers along, and nothing of theirs reaches the queue that comes after it.
 *
 * How the end can be known although the instant is random. Each message has a number of its sender's
 * and a checksum. A sender notes the number before msgsnd (begun) and after it (sent); so of each
 * sender, one number may have been sent or not. A receiver notes a number once msgrcv has returned
 * (got); it receives into shared memory, which it has emptied before. So what a dead receiver had
 * in hand, the judge can see: a message that nobody got, and that is not in the queue, must be
 * there, whole. (A message may be there and in the queue as well, if the receiver died before it
 * was taken out of the queue, since that receiver never got it.) What is in hand half is not received.
 */
#include "soak.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/msg.h>

#define WATCHDOG_SECONDS 60
#define SENDERS		 8
#define RECEIVERS	 8
#define WORKERS		 (SENDERS + RECEIVERS)
#define NUMBERS		 4096 /* of one sender in one round */
#define TYPES		 5
#define TEXT_MAX	 4500 /* more than a page */
#define VICTIM		 1
#define HEIR		 2
#define HEIR_LATE_NS	 UINT64_C(50000000)

struct message {
	long type;
	struct {
		uint32_t sender;
		uint32_t number;
		uint32_t size; /* of all but the type */
		uint32_t sum;  /* of all but itself */
		uint8_t text[TEXT_MAX];
	} body;
};

enum {
	HEAD_SIZE = offsetof(struct message, body.text) - offsetof(struct message, body),
	BODY_MAX = sizeof(struct message) - offsetof(struct message, body)
};

/* Shared by all. */
struct ledger {
	_Atomic uint32_t begun[SENDERS]; /* numbers below this may have been sent */
	_Atomic uint32_t sent[SENDERS];	 /* numbers below this have been */
	_Atomic uint8_t got[SENDERS][NUMBERS];
	_Atomic uint32_t n_got;
	_Atomic uint32_t killing; /* from here on, what a dead receiver gives back may come late */
	_Atomic uint32_t calls;	  /* a sleeper of the hand-over is about to call */
	struct message hand[RECEIVERS];
};

static struct ledger *ledger;
static int id = -1;
static unsigned long queue_bytes; /* msg_qbytes */
static unsigned text_size;	  /* of every message; 0: they differ */

/* Over all rounds. */
static struct {
	uint64_t sent, got, left, in_hand, not_returned;
} sum;

static void soak_end_object(void)
{
	struct msqid_ds ds;

	if (id < 0)
		return;
	if (msgctl(id, IPC_STAT, &ds) == 0)
		dprintf(2, "  queue %d: %lu messages, %lu of %lu bytes, lspid %d, lrpid %d\n", id,
			(unsigned long)ds.msg_qnum, (unsigned long)ds.__msg_cbytes,
			(unsigned long)ds.msg_qbytes, ds.msg_lspid, ds.msg_lrpid);
	msgctl(id, IPC_RMID, NULL);
}

/* --- messages --- */

static uint32_t sum_of(const struct message *message)
{
	uint32_t size = message->body.size - HEAD_SIZE;
	uint32_t sum_now = 2166136261u;

	sum_now = (sum_now ^ message->body.sender) * 16777619u;
	sum_now = (sum_now ^ message->body.number) * 16777619u;
	sum_now = (sum_now ^ message->body.size) * 16777619u;
	sum_now = (sum_now ^ (uint32_t)message->type) * 16777619u;
	for (uint32_t i = 0; i < size; i++)
		sum_now = (sum_now ^ message->body.text[i]) * 16777619u;
	return sum_now;
}

static void fill(struct message *message, unsigned sender, unsigned number)
{
	unsigned most = queue_bytes < 2 * BODY_MAX ? 64 : dice(8) ? 200 : TEXT_MAX;
	unsigned size = text_size ? text_size : dice(most);
	uint8_t byte = (uint8_t)(number * 37 + sender);

	message->type = 1 + (long)dice(TYPES);
	message->body.sender = sender;
	message->body.number = number;
	message->body.size = HEAD_SIZE + size;
	for (unsigned i = 0; i < size; i++)
		message->body.text[i] = byte += 101;
	message->body.sum = sum_of(message);
}

/* NULL, or why it is no message. */
static const char *find_fault(const struct message *message)
{
	if (message->type < 1 || message->type > TYPES)
		return "it has another type";
	if (message->body.size < HEAD_SIZE || message->body.size > BODY_MAX)
		return "it has another size";
	if (message->body.sender >= SENDERS || message->body.number >= NUMBERS)
		return "it has another number";
	return message->body.sum == sum_of(message) ? NULL : "it is torn";
}

/* --- workers --- */

static void __attribute__((noreturn)) send_all(unsigned me)
{
	struct message message;

	for (unsigned number = 0; number < NUMBERS; number++) {
		fill(&message, me, number);
		ledger->begun[me] = number + 1;
		while (msgsnd(id, &message, message.body.size, dice(4) ? 0 : IPC_NOWAIT) < 0) {
			if (errno == EIDRM || errno == EINVAL)
				_exit(0);
			if (errno != EAGAIN)
				child_wrong("msgsnd of %u bytes: %s", message.body.size,
					    strerror(errno));
		}
		ledger->sent[me] = number + 1;
	}
	for (;;)
		pause();
}

/* What a receiver wants next; the first two always go on, so that no sender is stuck for long. */
static long choose_type(unsigned me, int *ret_flags)
{
	*ret_flags = dice(6) ? 0 : IPC_NOWAIT;
	if (me < 2)
		return 0;
	switch (dice(4)) {
	case 0:
		*ret_flags |= MSG_EXCEPT;
		return 1 + (long)dice(TYPES);
	case 1:
		return 1 + (long)dice(TYPES);
	case 2:
		return -1 - (long)dice(TYPES);
	default:
		return 0;
	}
}

/* Nobody has been killed: then what comes of one sender with one type comes in order. */
static void note(const struct message *message, uint32_t (*next)[TYPES], bool in_order)
{
	uint32_t *expected = &next[message->body.sender][message->type - 1];

	if (in_order && message->body.number < *expected)
		child_wrong("message %u of sender %u came after %u", message->body.number,
			    message->body.sender, *expected - 1);
	*expected = message->body.number + 1;
	if (atomic_fetch_add(&ledger->got[message->body.sender][message->body.number], 1) > 0)
		child_wrong("message %u of sender %u came twice", message->body.number,
			    message->body.sender);
	ledger->n_got++;
}

static void __attribute__((noreturn)) receive_all(unsigned me)
{
	struct message *hand = &ledger->hand[me];
	uint32_t next[SENDERS][TYPES] = {0};

	for (;;) {
		int flags;
		long type = choose_type(me, &flags);
		const char *fault;
		ssize_t n;

		hand->type = 0;
		hand->body.size = 0;
		n = msgrcv(id, hand, BODY_MAX, type, flags);
		if (n < 0 && (errno == EIDRM || errno == EINVAL))
			_exit(0);
		if (n < 0 && errno != ENOMSG)
			child_wrong("msgrcv of type %ld: %s", type, strerror(errno));
		if (n < 0)
			continue;
		fault = find_fault(hand);
		if (fault || (size_t)n != hand->body.size)
			child_wrong("a message of %zd bytes: %s", n,
				    fault ? fault : "not its size");
		note(hand, next, !ledger->killing);
	}
}

/* --- the judge's queue --- */

static struct msqid_ds stat_queue(void)
{
	struct msqid_ds ds;

	if (msgctl(id, IPC_STAT, &ds) < 0)
		wrong("IPC_STAT of %d", id);
	return ds;
}

static void make_queue(unsigned long bytes)
{
	struct msqid_ds ds;

	id = msgget(IPC_PRIVATE, 0600);
	if (id < 0)
		wrong("msgget");
	ds = stat_queue();
	if (ds.msg_qnum != 0 || ds.__msg_cbytes != 0 || ds.msg_lspid != 0 || ds.msg_lrpid != 0)
		wrong("a new queue is not empty");
	queue_bytes = bytes;
	ds.msg_qbytes = bytes;
	if (msgctl(id, IPC_SET, &ds) < 0)
		wrong("IPC_SET of msg_qbytes %lu", bytes);
}

/* Nobody else is alive. */
static void begin_scene(const char *name, unsigned long bytes)
{
	scene = name;
	memset(ledger, 0, sizeof(*ledger));
	make_queue(bytes);
}

static void remove_queue(void)
{
	int was = id;

	id = -1;
	if (msgctl(was, IPC_RMID, NULL) < 0)
		wrong("IPC_RMID of %d", was);
	if (msgctl(was, IPC_STAT, &(struct msqid_ds){0}) == 0 || errno != EINVAL)
		wrong("queue %d is still there", was);
}

/* Nobody else is alive: takes out what is there, which must be what IPC_STAT says. */
static unsigned drain(void)
{
	struct msqid_ds ds = stat_queue();
	unsigned long n = 0, bytes = 0;
	struct message message;
	ssize_t size;

	while ((size = msgrcv(id, &message, BODY_MAX, 0, IPC_NOWAIT)) >= 0) {
		const char *fault = find_fault(&message);

		if (fault || (size_t)size != message.body.size)
			wrong("a message of %zd bytes was left: %s", size, fault);
		if (ledger->got[message.body.sender][message.body.number]++ > 0)
			wrong("message %u of sender %u was got, and is in the queue",
			      message.body.number, message.body.sender);
		n++;
		bytes += (unsigned long)size;
	}
	if (errno != ENOMSG)
		wrong("msgrcv");
	must_be("msg_qnum", (long)ds.msg_qnum, (long)n);
	must_be("msg_cbytes", (long)ds.__msg_cbytes, (long)bytes);
	ds = stat_queue();
	must_be("msg_qnum of an empty queue", (long)ds.msg_qnum, 0);
	must_be("msg_cbytes of an empty queue", (long)ds.__msg_cbytes, 0);
	return (unsigned)n;
}

/* --- the storm --- */

static bool is_in_hand(unsigned sender, unsigned number)
{
	for (unsigned i = 0; i < RECEIVERS; i++) {
		const struct message *hand = &ledger->hand[i];

		if (!find_fault(hand) && hand->body.sender == sender && hand->body.number == number)
			return true;
	}
	return false;
}

static void check_sender(unsigned sender)
{
	unsigned sent = ledger->sent[sender], begun = ledger->begun[sender];

	for (unsigned number = 0; number < begun; number++) {
		if (ledger->got[sender][number])
			continue;
		if (is_in_hand(sender, number))
			sum.in_hand++;
		else if (number < sent)
			wrong("message %u of sender %u is lost", number, sender);
		else
			sum.not_returned++;
	}
	for (unsigned number = begun; number < NUMBERS; number++)
		if (ledger->got[sender][number])
			wrong("message %u of sender %u was never sent", number, sender);
	sum.sent += sent;
}

static void check_pid(const char *what, pid_t pid, const pid_t *pids, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (pids[i] == pid)
			return;
	if (pid != 0)
		wrong("%s is %d, none of theirs", what, pid);
}

static void check_storm(const pid_t *workers)
{
	struct msqid_ds ds = stat_queue();

	check_pid("msg_lspid", ds.msg_lspid, workers, SENDERS);
	check_pid("msg_lrpid", ds.msg_lrpid, workers + SENDERS, RECEIVERS);
	sum.got += ledger->n_got;
	sum.left += drain();
	for (unsigned i = 0; i < SENDERS; i++)
		check_sender(i);
}

static void shuffle(unsigned *order, unsigned n)
{
	for (unsigned i = n; i > 1; i--) {
		unsigned other = dice(i), kept = order[i - 1];

		order[i - 1] = order[other];
		order[other] = kept;
	}
}

/* Senders first, receivers first, or mixed: a queue that is empty, or full, or neither. */
static void kill_all(const pid_t *workers)
{
	unsigned order[WORKERS], style = dice(4);

	for (unsigned i = 0; i < WORKERS; i++)
		order[i] = style == 1 ? (i + SENDERS) % WORKERS : i;
	if (style < 2) {
		shuffle(order, SENDERS);
		shuffle(order + SENDERS, RECEIVERS);
	} else {
		shuffle(order, WORKERS);
	}
	ledger->killing = 1;
	for (unsigned i = 0; i < WORKERS; i++) {
		spin_us(dice(120));
		kill_child(workers[order[i]]);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		reap(workers[i]);
}

/* The queue goes under the workers' feet; a new one is there at once, and must not be touched. */
static void storm_removed(const pid_t *workers)
{
	struct msqid_ds ds;

	remove_queue();
	make_queue(queue_bytes);
	kill_all(workers);
	ds = stat_queue();
	if (ds.msg_qnum != 0 || ds.msg_lspid != 0 || ds.msg_lrpid != 0)
		wrong("a queue that nobody knows was used");
}

static void storm(void)
{
	static const unsigned long bytes[] = {100, 400, 3000, 2 * BODY_MAX, 16384};
	bool removed = dice(8) == 0;
	pid_t workers[WORKERS];

	begin_scene(removed ? "storm with removal" : "storm", bytes[dice(ARRAY_SIZE(bytes))]);
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = spawn();
		if (workers[i] == 0 && i < SENDERS)
			send_all(i);
		if (workers[i] == 0)
			receive_all(i - SENDERS);
	}
	spin_us(dice(1000));
	if (removed) {
		storm_removed(workers);
	} else {
		kill_all(workers);
		check_storm(workers);
	}
	remove_queue();
}

/* --- hand-overs: who sleeps is killed while its call is done for it --- */

static pid_t start_sleeper(bool receives, unsigned me)
{
	uint32_t calls = ledger->calls;
	pid_t pid = spawn();

	if (pid == 0) {
		ledger->calls++;
		if (receives)
			receive_all(me);
		send_all(me);
	}
	while (ledger->calls == calls)
		pause_us(20);
	pause_us(dice(2) ? 50 : 500); /* it should sleep now; if not, it is another round's case */
	return pid;
}

static void kill_and(pid_t victim, void (*act)(void))
{
	bool kill_first = dice(2);

	if (kill_first)
		kill_child(victim);
	else
		act();
	spin_us(dice(60));
	if (kill_first)
		act();
	else
		kill_child(victim);
	reap(victim);
}

static void send_one(void)
{
	struct message message;

	fill(&message, 0, 0);
	ledger->begun[0] = 1;
	if (msgsnd(id, &message, message.body.size, IPC_NOWAIT) < 0)
		wrong("msgsnd");
	ledger->sent[0] = 1;
}

static void receive_one(void)
{
	struct message message;

	if (msgrcv(id, &message, BODY_MAX, 0, IPC_NOWAIT) < 0)
		wrong("msgrcv from a full queue");
	if (find_fault(&message) || message.body.sender != 0)
		wrong("another message was there");
	ledger->got[0][0]++;
}

/* The message goes to the victim, or else, at once, to the one behind it. */
static void hand_over_message(void)
{
	pid_t victim, heir = 0;
	bool has_it;

	begin_scene("hand-over of a message", 16384);
	victim = start_sleeper(true, 0);
	if (dice(2))
		heir = start_sleeper(true, 1);
	ledger->killing = 1;
	kill_and(victim, send_one);
	has_it = is_in_hand(0, 0);
	while (heir && !has_it && !ledger->got[0][0])
		pause_us(20);
	if (heir) {
		kill_child(heir);
		reap(heir);
	}
	drain();
	check_sender(0);
	remove_queue();
}

static bool await_sender(uint64_t limit_ns)
{
	uint64_t end = now_ns() + limit_ns;

	while (ledger->sent[VICTIM] == 0 && ledger->sent[HEIR] == 0 && now_ns() < end)
		pause_us(20);
	return ledger->sent[VICTIM] > 0 || ledger->sent[HEIR] > 0;
}

/* It goes on without a call of anybody else. The victim may have sent and not lived to note it: only the queue knows. */
static void await_heir(void)
{
	if (!await_sender(HEIR_LATE_NS) && stat_queue().msg_qnum == 0 &&
	    !await_sender(100 * HEIR_LATE_NS))
		wrong("there is room, but neither the victim nor the one behind it has sent");
}

/* One message fits. The room goes to the victim, or else, at once, to the one behind it. */
static void hand_over_room(void)
{
	pid_t victim, heir;

	text_size = 100;
	begin_scene("hand-over of room", HEAD_SIZE + text_size);
	send_one();
	victim = start_sleeper(false, VICTIM);
	heir = start_sleeper(false, HEIR);
	kill_and(victim, receive_one);
	await_heir();
	kill_child(heir);
	reap(heir);
	must_be("what was sent", drain(), 1);
	for (unsigned i = 0; i <= HEIR; i++)
		check_sender(i);
	text_size = 0;
	remove_queue();
}

int main(int argc, char **argv)
{
	soak_begin(argc, argv, "soak-msg");
	ledger = share(sizeof(*ledger));
	while (soak_next_round(WATCHDOG_SECONDS)) {
		storm();
		if (dice(2))
			hand_over_message();
		else
			hand_over_room();
	}
	printf("soak-msg: %llu sent, %llu got, %llu left in the queues, %llu in the hands of dead "
	       "receivers, %llu not sent in the end\n",
	       (unsigned long long)sum.sent, (unsigned long long)sum.got,
	       (unsigned long long)sum.left, (unsigned long long)sum.in_hand,
	       (unsigned long long)sum.not_returned);
	return 0;
}
