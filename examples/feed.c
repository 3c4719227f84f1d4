/*
 * feed - writes quotes of a made-up market to a channel, until SIGINT or so many
 *
 *     feed [-n QUOTES] [-r QUOTES-A-SECOND] [-s SYMBOLS] [-b RING-KIB] CHANNEL
 *
 * It does not know who reads, and none of them holds it up, but readers that ask for that: feed-reader record.
 */
#include "feed.h"

#include <err.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <vee/channel.h>

#define SYMBOLS_MOST 1000

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	stopped = signal;
}

static int usage(void)
{
	fprintf(stderr, "usage: feed [-n QUOTES] [-r QUOTES-A-SECOND] [-s SYMBOLS] "
			"[-b RING-KIB] CHANNEL\n");
	return 2;
}

/* A random walk. The quote is made where it will be read. */
static int write_quote(struct vee_channel *channel, struct quote *quote)
{
	struct quote *place;

	quote->update++;
	quote->price += random() % 21 - 10;
	if (quote->price < 1)
		quote->price = 1;
	place = vee_channel_reserve(channel, sizeof(*place), NULL);
	if (!place)
		return -1;
	*place = *quote;
	return vee_channel_commit(channel, sizeof(*place));
}

/* Quote number n is due so long after the first. */
static void keep_pace(const struct timespec *start, uint64_t n, long rate)
{
	uint64_t ns = start->tv_nsec + n % rate * 1000000000ull / rate;
	struct timespec due = {start->tv_sec + n / rate + ns / 1000000000, ns % 1000000000};

	if (n % (rate / 1000 + 1) == 0) /* no more than a thousand naps a second */
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

int main(int argc, char **argv)
{
	static struct quote quotes[SYMBOLS_MOST];
	struct vee_channel_create_options options = {.mode = 0600};
	struct sigaction action = {.sa_handler = stop}; /* no SA_RESTART: a write that waits ends */
	uint64_t most = UINT64_MAX, n = 0;
	long rate = 0, n_symbols = 16;
	struct vee_channel *channel;
	struct timespec start;
	int option;

	while ((option = getopt(argc, argv, "n:r:s:b:")) != -1) {
		if (option == 'n')
			most = strtoull(optarg, NULL, 10);
		else if (option == 'r')
			rate = atol(optarg);
		else if (option == 's')
			n_symbols = atol(optarg);
		else if (option == 'b')
			options.ring_size = strtoull(optarg, NULL, 10) * 1024;
		else
			return usage();
	}
	if (optind + 1 != argc || rate < 0 || n_symbols < 1 || n_symbols > SYMBOLS_MOST)
		return usage();
	for (long i = 0; i < n_symbols; i++) {
		snprintf(quotes[i].symbol, sizeof(quotes[i].symbol), "VEE%ld", i);
		quotes[i].symbol_number = i;
		quotes[i].price = 10000;
	}
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);

	channel = vee_channel_create(argv[optind], &options);
	if (!channel)
		errx(1, "%s", vee_channel_error());
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (; n < most; n++) {
		if (rate)
			keep_pace(&start, n, rate);
		if (stopped)
			break;
		if (write_quote(channel, &quotes[random() % n_symbols]) < 0) {
			if (stopped)
				break;
			err(1, "%s", argv[optind]);
		}
	}
	vee_channel_close(channel);
	fprintf(stderr, "feed: %" PRIu64 " quotes of %ld symbols\n", n, n_symbols);
	return 0;
}
