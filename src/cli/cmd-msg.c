/*
 * cmd-msg.c - `vee msg`: sends, receives and shows messages, for people and scripts.
 *
 * What a caller sees: a text is what is between the quotes, or all of standard input, to the byte; it comes out the same, with a
 * newline behind it only on a terminal. Exit status: 0; 1 it failed; 2 not understood; 3 (CLI_WOULD_WAIT) there was
 * no message, or no room, and it was not to wait, or no longer.
 *
 * How peek works: MSG_COPY, a message after the other, each by its place in the queue. So while somebody receives from
 * it, one that is shown may be gone, and one may be left out.
 */
#include "cli/cli.h"
#include "msg/msg.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif
#ifndef MSG_EXCEPT
#define MSG_EXCEPT 020000
#endif

#define MODE_UNSAID UINT32_MAX

/* What the options of all three verbs say; not each takes all of them. */
struct request {
	const char *ns_name, *text;
	const char *which; /* as it was given */
	int id;		   /* or -1: of key */
	key_t key;
	bool create, json;
	uint32_t mode; /* of a queue that is made */
	int flag;      /* IPC_NOWAIT, MSG_NOERROR, MSG_EXCEPT */
	long type;
	size_t size; /* of the buffer; 0: not said */
	const char *timeout_text;
	struct timespec timeout;
};

struct buffer {
	long type;
	char text[];
};

static int help(void)
{
	printf("Usage: vee msg send (-Q KEY | -q ID) [OPTION]... [TEXT]\n"
	       "       vee msg recv (-Q KEY | -q ID) [OPTION]...\n"
	       "       vee msg peek (-Q KEY | -q ID) [OPTION]...\n"
	       "\n"
	       "Send TEXT, or what is on standard input, as a message; receive one, and write its text\n"
	       "to standard output; show the messages of a queue without taking them.\n"
	       "\n"
	       "Which queue:\n"
	       "  -Q, --key KEY       by key (decimal, 0x... or 0...)\n"
	       "  -q, --id ID         by id\n"
	       "  -c, --create        send, recv: make the queue, and the namespace, if it isn't there\n"
	       "      --mode MODE     with these permissions (default: 0600)\n"
	       "  -n, --ns NAME       in this namespace (default: $VEE_NS, else \"default\")\n"
	       "\n"
	       "Which message:\n"
	       "  -t, --type TYPE     send: its type, at least 1 (default: 1);\n"
	       "                      recv, peek: of this type; 0 (default): of any; -N: of the lowest\n"
	       "                      type up to N (peek: all up to N)\n"
	       "  -x, --except        recv, peek: of any type but TYPE\n"
	       "  -s, --size BYTES    recv: with at most that much text (default: as long as may be)\n"
	       "  -e, --noerror       recv: cut off what is beyond --size\n"
	       "\n"
	       "Other options:\n"
	       "  -w, --nowait        send, recv: don't wait for room, or for a message\n"
	       "  -T, --timeout SECS  send, recv: not longer than this; fractions are fine\n"
	       "  -J, --json          recv, peek: print JSON\n"
	       "  -h, --help          show this help\n"
	       "\n"
	       "Exit status: 0, 1 it failed, 2 the command line was not understood,\n"
	       "3 there was no message, or no room, and it was not to wait (any longer).\n");
	return CLI_OK;
}

/* --- the queue --- */

static const char *reason(const struct request *request, int error)
{
	switch (-error) {
	case EINVAL:
	case ENOENT:
		return "no such queue";
	case EIDRM:
		return "the queue was removed";
	case EACCES:
		return "permission denied";
	case ENOSPC:
		return "there are as many queues as may be (msgmni), or no room in the file system";
	case E2BIG:
		return "the message is longer than --size; --noerror cuts it";
	case EAGAIN:
		return request->timeout_text ? "time is up" : "there is no room";
	case ENOMSG:
		return "no such message";
	default:
		return strerror(-error);
	}
}

/* Says it; returns the exit status. */
static int failed(const struct request *request, int error)
{
	cli_error("%s: %s", request->which, reason(request, error));
	return error == -EAGAIN || error == -ENOMSG ? CLI_WOULD_WAIT : CLI_FAILED;
}

/* As the first IPC call of a program would; root's --ns NAME as its `vee run --ns NAME`. */
static int make_namespace(const char *name, struct ipc_namespace *ns)
{
	char dir[sizeof(ns->dir)];
	int ret;

	ret = namespace_dir(name, dir, sizeof(dir));
	if (!ret && name && accounts_belong_in(name))
		ret = accounts_make_namespace(ns, dir);
	else if (!ret)
		ret = namespace_open(ns, dir, true, 0600);
	if (ret < 0)
		folder_error(name, ret);
	return ret < 0 ? ret : 0;
}

/* Returns the queue's id, or a negative number and has said why. */
static int open_queue(const struct request *request, struct ipc_namespace *ns)
{
	int flag = request->create ? IPC_CREAT | (int)request->mode : 0, ret;

	ret = request->create ? folder_open(request->ns_name, ns) :
				folder_open_existing(request->ns_name, ns);
	if (ret == -ENOENT && request->create)
		ret = make_namespace(request->ns_name, ns);
	if (ret < 0)
		return -1;
	ret = request->id >= 0 ? request->id : msg_get(ns, request->key, flag);
	if (ret >= 0)
		return ret;
	failed(request, ret);
	namespace_close(ns);
	return -1;
}

static const struct timespec *timeout_of(const struct request *request)
{
	return request->timeout_text ? &request->timeout : NULL;
}

static struct buffer *buffer_resized(struct buffer *buffer, size_t size)
{
	buffer = realloc(buffer, sizeof(*buffer) + size + 1);
	if (buffer)
		return buffer;
	cli_error("out of memory");
	exit(CLI_FAILED);
}

/* --- send --- */

/* All of standard input, or max + 1 bytes of it. Returns the number of bytes, or -1 and has said why. */
static ssize_t read_text(struct buffer **buffer, size_t max)
{
	size_t room = 0, at = 0;
	ssize_t n;

	do {
		if (at == room) {
			room = room + room / 2 + 8192;
			room = room < max + 1 ? room : max + 1;
			*buffer = buffer_resized(*buffer, room);
		}
		do
			n = read(STDIN_FILENO, (*buffer)->text + at, room - at);
		while (n < 0 && errno == EINTR);
		if (n < 0) {
			cli_error("standard input: %s", strerror(errno));
			return -1;
		}
		at += (size_t)n;
	} while (n && at <= max);
	return (ssize_t)at;
}

static int send_text(const struct request *request, struct ipc_namespace *ns, int id,
		     const struct buffer *buffer, size_t size)
{
	size_t max = ns->record->msg_ctlmax;
	struct msqid_ds ds;
	int ret;

	if (size > max) {
		cli_error("the text is longer than %zu bytes, the longest message here (vee limits "
			  "msgmax=...)",
			  max);
		return CLI_FAILED;
	}
	/* One that never fits would wait for ever. */
	ret = msg_ctl(ns, id, IPC_STAT, &ds);
	if (ret == 0 && size > ds.msg_qbytes) {
		cli_error("%s: the text is of %zu bytes; the queue holds %lu", request->which, size,
			  (unsigned long)ds.msg_qbytes);
		return CLI_FAILED;
	}
	ret = msg_snd(ns, id, buffer, size, request->flag, timeout_of(request));
	return ret < 0 ? failed(request, ret) : CLI_OK;
}

static int send_message(const struct request *request, struct ipc_namespace *ns, int id)
{
	size_t size = request->text ? strlen(request->text) : 0;
	struct buffer *buffer = buffer_resized(NULL, size);
	int status = CLI_FAILED;
	ssize_t n = (ssize_t)size;

	if (request->text)
		memcpy(buffer->text, request->text, size);
	else
		n = read_text(&buffer, ns->record->msg_ctlmax);
	buffer->type = request->type;
	if (n >= 0)
		status = send_text(request, ns, id, buffer, (size_t)n);
	free(buffer);
	return status;
}

/* --- recv and peek --- */

static json_t *message_json(const struct buffer *buffer, size_t size)
{
	json_t *message = json_pack("{s:I, s:I}", "type", (json_int_t)buffer->type, "bytes",
				    (json_int_t)size);

	json_set_text(message, buffer->text, size);
	return message;
}

static void print_text(const struct buffer *buffer, size_t size)
{
	fwrite(buffer->text, 1, size, stdout);
	if (isatty(STDOUT_FILENO) && (!size || buffer->text[size - 1] != '\n'))
		putchar('\n');
}

/* Room for any message that is in the queue, or that may be sent now. */
static size_t receive_size(const struct request *request, struct ipc_namespace *ns, int id)
{
	size_t size = ns->record->msg_ctlmax;
	struct msqid_ds ds;

	if (request->size)
		return request->size;
	if (msg_ctl(ns, id, IPC_STAT, &ds) == 0 && ds.__msg_cbytes > size)
		size = ds.__msg_cbytes;
	return size;
}

static int receive_message(const struct request *request, struct ipc_namespace *ns, int id)
{
	size_t size = receive_size(request, ns, id);
	struct buffer *buffer = buffer_resized(NULL, size);
	ssize_t n =
		msg_rcv(ns, id, buffer, size, request->type, request->flag, timeout_of(request));

	if (n >= 0 && request->json)
		json_print(message_json(buffer, (size_t)n));
	else if (n >= 0)
		print_text(buffer, (size_t)n);
	free(buffer);
	return n < 0 ? failed(request, (int)n) : CLI_OK;
}

/* A copy of the message at that place. Returns its bytes or a negative errno: -ENOMSG behind the last. */
static ssize_t copy_message(struct ipc_namespace *ns, int id, long place, struct buffer **buffer,
			    size_t *size)
{
	ssize_t n;

	for (;;) {
		if (*buffer) {
			n = msg_rcv(ns, id, *buffer, *size, place, MSG_COPY | IPC_NOWAIT, NULL);
			if (n != -E2BIG || *size >= INT_MAX / 2)
				return n;
		}
		*size = *size ? *size * 2 : 8192;
		*buffer = buffer_resized(*buffer, *size);
	}
}

/* "TYPE<tab>BYTES<tab>TEXT", without what would disturb a terminal or the lines. */
static void print_line(const struct buffer *buffer, size_t size)
{
	printf("%ld\t%zu\t", buffer->type, size);
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)buffer->text[i];

		if (c == '\\')
			fputs("\\\\", stdout);
		else if (c == '\n')
			fputs("\\n", stdout);
		else if (c == '\t')
			fputs("\\t", stdout);
		else if (c < ' ' || c == 0x7f || (c >= 0x80 && c < 0xa0 && isatty(STDOUT_FILENO)))
			printf("\\x%02x", c);
		else
			putchar(c);
	}
	putchar('\n');
}

static bool is_wanted(const struct request *request, int64_t type)
{
	int64_t compared = request->type;
	enum msg_search search = msg_search_of(&compared, request->flag);

	return msg_matches(type, compared, search);
}

static bool queue_is_there(struct ipc_namespace *ns, int id)
{
	struct msqid_ds ds;

	return msg_ctl(ns, id, IPC_STAT, &ds) == 0;
}

static int peek_messages(const struct request *request, struct ipc_namespace *ns, int id)
{
	json_t *list = request->json ? json_array() : NULL;
	struct buffer *buffer = NULL;
	int status = CLI_OK;
	size_t size = 0;
	ssize_t n;

	for (long place = 0;; place++) {
		n = copy_message(ns, id, place, &buffer, &size);
		if (n == -EINVAL && queue_is_there(ns, id)) {
			cli_error(
				"%s: message %ld is longer than msgmax is now, and can't be copied",
				request->which, place + 1);
			status = CLI_FAILED;
			continue;
		}
		if (n < 0)
			break;
		if (!is_wanted(request, buffer->type))
			continue;
		if (list)
			json_array_append_new(list, message_json(buffer, (size_t)n));
		else
			print_line(buffer, (size_t)n);
	}
	free(buffer);
	if (n != -ENOMSG)
		status = failed(request, (int)n);
	if (list)
		json_print(list);
	return status;
}

/* --- the command line --- */

static const struct verb {
	const char *name, *letters;
	int (*call)(const struct request *request, struct ipc_namespace *ns, int id);
} verbs[] = {
	{"send", "QqcmntwTh", send_message},
	{"recv", "QqcmntxsewTJh", receive_message},
	{"peek", "QqntxJh", peek_messages},
};

static bool parse_type(const char *text, long *ret_type)
{
	bool negative = *text == '-';
	uint64_t number;

	if (!cli_number(text + negative, LONG_MAX, &number))
		return false;
	*ret_type = negative ? -(long)number : (long)number;
	return true;
}

/* Returns CLI_OK or CLI_USAGE, after saying why. */
static int take_queue(struct request *request, int option, const char *text)
{
	uint64_t number;

	if (request->which)
		return cli_usage("%s: the queue is %s already", text, request->which);
	request->which = text;
	if (option == 'q') {
		if (!cli_number(text, INT32_MAX, &number))
			return cli_usage("%s: not an id", text);
		request->id = (int)number;
		return CLI_OK;
	}
	if (!cli_number(text, UINT32_MAX, &number) || number == IPC_PRIVATE)
		return cli_usage("%s: not a key", text);
	request->key = (key_t)(uint32_t)number;
	return CLI_OK;
}

static int take_value(struct request *request, int option, const char *text)
{
	uint64_t number;

	switch (option) {
	case 'm':
		return cli_mode(text, &request->mode) ?
			       CLI_OK :
			       cli_usage("--mode %s: not from 0 to 0777", text);
	case 't':
		return parse_type(text, &request->type) ? CLI_OK :
							  cli_usage("%s: not a type", text);
	case 's':
		if (!cli_number(text, INT_MAX, &number) || !number)
			return cli_usage("--size %s: not from 1 to %d", text, INT_MAX);
		request->size = number;
		return CLI_OK;
	default:
		request->timeout_text = text;
		return cli_seconds(text, &request->timeout) ?
			       CLI_OK :
			       cli_usage("--timeout %s: not a number of seconds", text);
	}
}

static int take_option(struct request *request, int option, const char *text)
{
	switch (option) {
	case 'Q':
	case 'q':
		return take_queue(request, option, text);
	case 'n':
		request->ns_name = text;
		break;
	case 'c':
		request->create = true;
		break;
	case 'x':
		request->flag |= MSG_EXCEPT;
		break;
	case 'e':
		request->flag |= MSG_NOERROR;
		break;
	case 'w':
		request->flag |= IPC_NOWAIT;
		break;
	case 'J':
		request->json = true;
		break;
	default:
		return take_value(request, option, text);
	}
	return CLI_OK;
}

/* What the options say together. */
static int check_request(struct request *request, const struct verb *verb)
{
	if (!request->which)
		return cli_usage("which queue? -Q KEY or -q ID");
	if (request->create && request->id >= 0)
		return cli_usage("--create: a queue can't be made by id; -Q KEY");
	if (request->mode != MODE_UNSAID && !request->create)
		return cli_usage("--mode is for --create");
	if (request->mode == MODE_UNSAID)
		request->mode = 0600;
	if (request->flag & IPC_NOWAIT && request->timeout_text)
		return cli_usage("--timeout %s: --nowait does not wait at all",
				 request->timeout_text);
	if (request->flag & MSG_EXCEPT && request->type <= 0)
		return cli_usage("--except: needs a --type of 1 or more");
	if (verb->call == send_message && request->type < 1)
		return cli_usage("--type %ld: that of a message is 1 or more", request->type);
	return CLI_OK;
}

static int run_verb(const struct verb *verb, int argc, char **argv)
{
	static const struct option options[] = {
		{"key", required_argument, NULL, 'Q'},	   {"id", required_argument, NULL, 'q'},
		{"create", no_argument, NULL, 'c'},	   {"mode", required_argument, NULL, 'm'},
		{"ns", required_argument, NULL, 'n'},	   {"type", required_argument, NULL, 't'},
		{"except", no_argument, NULL, 'x'},	   {"size", required_argument, NULL, 's'},
		{"noerror", no_argument, NULL, 'e'},	   {"nowait", no_argument, NULL, 'w'},
		{"timeout", required_argument, NULL, 'T'}, {"json", no_argument, NULL, 'J'},
		{"help", no_argument, NULL, 'h'},	   {0},
	};
	struct request request = {
		.id = -1, .mode = MODE_UNSAID, .type = verb->call == send_message};
	static struct ipc_namespace ns;
	int option, id, status;

	while ((option = getopt_long(argc, argv, "Q:q:cn:t:xs:ewT:Jh", options, NULL)) >= 0) {
		if (option == '?')
			return cli_bad_option();
		if (option == 'h')
			return help();
		if (!strchr(verb->letters, option))
			return cli_usage("%s has no such option", verb->name);
		status = take_option(&request, option, optarg);
		if (status)
			return status;
	}
	if (verb->call == send_message && optind < argc)
		request.text = argv[optind++];
	if (optind < argc)
		return cli_usage("%s: unexpected argument", argv[optind]);
	status = check_request(&request, verb);
	if (status)
		return status;
	id = open_queue(&request, &ns);
	if (id < 0)
		return CLI_FAILED;
	status = verb->call(&request, &ns, id);
	namespace_close(&ns);
	return status;
}

int cmd_msg(int argc, char **argv)
{
	static const char *const names[] = {"vee msg send", "vee msg recv", "vee msg peek"};
	int status, verb = cli_verb(argc, argv, names, ARRAY_SIZE(names), help, &status);

	return verb < 0 ? status : run_verb(&verbs[verb], argc - 1, argv + 1);
}
