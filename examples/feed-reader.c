/*
 * feed-reader - reads what feed writes, by one of three policies, until its end or SIGINT
 *
 *     feed-reader latest [-i MILLISECONDS] CHANNEL    the last price of each symbol, now and then: the rest does not matter
 *     feed-reader all [-d MICROSECONDS] CHANNEL       each quote; says where and how many were lost. -d: dawdles over each
 *     feed-reader record [-d MICROSECONDS] CHANNEL    each quote to standard output, none lost: the feed waits, but at most
 *                                                     a second for one that stands still
 */
#include "feed.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <vee/channel.h>

#define SYMBOLS_MOST 1000
#define BATCH	     256

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	stopped = signal;
}

static int usage(void)
{
	fprintf(stderr, "usage: feed-reader latest [-i MILLISECONDS] CHANNEL\n"
			"       feed-reader all [-d MICROSECONDS] CHANNEL\n"
			"       feed-reader record [-d MICROSECONDS] CHANNEL\n");
	return 2;
}

/* After a read that failed: 0 at the end of the feed, or by SIGINT. */
static int end(const char *name)
{
	if (errno == EPIPE || (errno == EINTR && stopped))
		return 0;
	if (errno == EOWNERDEAD)
		warnx("%s: its writer has died", name);
	else
		warn("%s", name);
	return 1;
}

/* Anybody may write anything to a channel. */
static void check_size(const char *name, size_t size)
{
	if (size != sizeof(struct quote))
		errx(1, "%s: a message of %zu bytes: not what feed writes", name, size);
}

/* The next quote. With a time limit, since a signal may come just before the wait. */
static bool next(struct vee_channel *channel, const char *name, struct quote *ret_quote,
		 struct vee_channel_message *ret_message)
{
	static const struct timespec second = {1, 0};
	ssize_t size;

	do
		size = vee_channel_timedread(channel, ret_quote, sizeof(*ret_quote), ret_message,
					     &second);
	while (size < 0 && errno == EAGAIN && !stopped);
	if (size >= 0 || errno == EMSGSIZE)
		check_size(name, ret_message->size);
	return size >= 0 && !stopped;
}

static void nap(long us)
{
	struct timespec time = {us / 1000000, us % 1000000 * 1000};

	if (us)
		nanosleep(&time, NULL);
}

static void print_changed(struct quote *latest, struct quote *shown)
{
	for (unsigned i = 0; i < SYMBOLS_MOST; i++) {
		if (latest[i].update == shown[i].update)
			continue;
		printf("%s %" PRId64 ".%02" PRId64 " (%u updates since)\n", latest[i].symbol,
		       latest[i].price / 100, latest[i].price % 100,
		       latest[i].update - shown[i].update);
		shown[i] = latest[i];
	}
	fflush(stdout);
}

/* Looks at all there is, in place, then sleeps. What may have been overwritten meanwhile is not taken over. */
static int read_latest(struct vee_channel *channel, const char *name, long interval_us)
{
	static struct quote latest[SYMBOLS_MOST], shown[SYMBOLS_MOST], copies[BATCH];
	static struct vee_channel_message batch[BATCH];
	static const struct timespec at_once;
	int n, unsafe, error;

	for (;;) {
		while ((n = vee_channel_peek(channel, batch, BATCH, &at_once)) > 0 && !stopped) {
			for (int i = 0; i < n; i++) {
				check_size(name, batch[i].size);
				memcpy(&copies[i], batch[i].data, sizeof(copies[i]));
			}
			unsafe = vee_channel_release(channel);
			if (unsafe < 0)
				return end(name);
			for (int i = unsafe; i < n; i++)
				latest[copies[i].symbol_number % SYMBOLS_MOST] = copies[i];
		}
		error = errno;
		print_changed(latest, shown);
		errno = error;
		if (stopped)
			return 0;
		if (errno != EAGAIN)
			return end(name);
		nap(interval_us);
	}
}

static int read_all(struct vee_channel *channel, const char *name, long dawdle_us)
{
	struct vee_channel_message message;
	struct vee_channel_stat stat;
	struct quote quote;
	uint64_t first = 0;
	int status;

	while (next(channel, name, &quote, &message)) {
		if (!first)
			first = message.sequence - message.lost;
		if (message.lost)
			printf("lost %" PRIu64 ": %" PRIu64 " to %" PRIu64 "\n", message.lost,
			       message.sequence - message.lost, message.sequence - 1);
		nap(dawdle_us);
	}
	status = stopped ? 0 : end(name);
	vee_channel_stat(channel, &stat);
	printf("read %" PRIu64 ", lost %" PRIu64 ", from %" PRIu64 " on\n", stat.received,
	       stat.lost, first);
	return status;
}

static int record(struct vee_channel *channel, const char *name, long dawdle_us)
{
	struct vee_channel_message message;
	struct quote quote;

	while (next(channel, name, &quote, &message)) {
		if (message.lost)
			warnx("stood still: %" PRIu64 " are lost", message.lost);
		printf("%" PRIu64 " %" PRId64 ".%09" PRId64 " %s %u %" PRId64 "\n",
		       message.sequence, message.time_ns / 1000000000, message.time_ns % 1000000000,
		       quote.symbol, quote.update, quote.price);
		nap(dawdle_us);
	}
	return stopped ? 0 : end(name);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	struct vee_channel_open_options options = {.start = VEE_CHANNEL_OLDEST};
	struct sigaction action = {.sa_handler = stop};
	struct vee_channel *channel;
	long interval_us = 500000, dawdle_us = 0;
	int option, status;

	optind = 2;
	while (argc > 1 && (option = getopt(argc, argv, "d:i:")) != -1) {
		if (option == 'd')
			dawdle_us = atol(optarg);
		else if (option == 'i')
			interval_us = atol(optarg) * 1000;
		else
			return usage();
	}
	if (optind + 1 != argc ||
	    (strcmp(verb, "latest") && strcmp(verb, "all") && strcmp(verb, "record")))
		return usage();
	if (strcmp(verb, "record") == 0) {
		options.policy = VEE_CHANNEL_RELIABLE;
		options.stall = VEE_CHANNEL_STALL_DROP;
		options.stall_ns = 1000000000;
	}
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);

	channel = vee_channel_open(argv[optind], &options);
	if (!channel)
		errx(1, "%s", vee_channel_error());
	if (strcmp(verb, "latest") == 0)
		status = read_latest(channel, argv[optind], interval_us);
	else if (strcmp(verb, "all") == 0)
		status = read_all(channel, argv[optind], dawdle_us);
	else
		status = record(channel, argv[optind], dawdle_us);
	vee_channel_close(channel);
	if (fflush(stdout) != 0)
		err(1, "standard output");
	return status;
}
