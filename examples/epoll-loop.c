/*
 * epoll-loop - one loop over several channels, a timer, standard input and signals
 *
 *     epoll-loop [-t SECONDS] CHANNEL...
 *
 * Each message is printed: the channel's name, a tab, its text. After each burst of messages, a while later (-t, default 1),
 * there is a line of totals for each channel; the timer does not run while nothing happens, so an idle loop takes no time at all. "q" on standard
 * input or SIGINT ends it, and so does the end of all channels.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <vee/channel.h>

#define CHANNELS_MOST 64
#define AT_ONCE	      256 /* messages of one channel, before the others have their turn */

enum {
	TIMER = CHANNELS_MOST,
	INPUT,
	SIGNALS
};

static struct source {
	const char *name;
	struct vee_channel *channel;
	uint64_t messages, bytes, lost;
} sources[CHANNELS_MOST];
static int n_sources, n_open;
static int loop, timer;
static time_t timer_s = 1;
static bool timer_runs;

static void add(int fd, uint32_t what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};

	if (fd < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) < 0)
		err(1, "epoll");
}

static void start_timer(void)
{
	struct itimerspec once = {.it_value.tv_sec = timer_s};

	if (!timer_runs && timerfd_settime(timer, 0, &once, NULL) < 0)
		err(1, "timerfd_settime");
	timer_runs = true;
}

static void print_totals(void)
{
	uint64_t ring_times;

	if (read(timer, &ring_times, sizeof(ring_times)) < 0)
		return;
	timer_runs = false;
	for (int i = 0; i < n_sources; i++)
		printf("%s: %" PRIu64 " messages, %" PRIu64 " bytes, %" PRIu64 " lost\n",
		       sources[i].name, sources[i].messages, sources[i].bytes, sources[i].lost);
}

static void take(struct source *source, const struct vee_channel_message *message)
{
	source->messages++;
	source->bytes += message->size;
	source->lost += message->lost;
	printf("%s\t%.*s\n", source->name, (int)message->size, (const char *)message->data);
}

static void close_source(struct source *source)
{
	vee_channel_close(source->channel); /* and the descriptor, which so leaves the loop */
	source->channel = NULL;
	n_open--;
}

/* Not all that is there, perhaps: then the descriptor stays readable. */
static void read_source(struct source *source)
{
	static const struct timespec at_once;
	static char buf[1 << 20];
	struct vee_channel_message message;

	for (int i = 0; i < AT_ONCE; i++) {
		if (vee_channel_timedread(source->channel, buf, sizeof(buf), &message, &at_once) <
		    0) {
			if (errno == EAGAIN)
				return;
			if (errno == EPIPE)
				printf("%s: closed\n", source->name);
			else
				warn("%s", source->name);
			close_source(source);
			return;
		}
		take(source, &message);
		start_timer();
	}
}

/* false: it is to end. At the end of the input the loop goes on without. */
static bool read_input(void)
{
	char line[256];
	ssize_t n = read(STDIN_FILENO, line, sizeof(line));

	if (n <= 0)
		epoll_ctl(loop, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
	return n <= 0 || line[0] != 'q';
}

static void open_all(char **names)
{
	for (; *names; names++, n_sources++, n_open++) {
		struct source *source = &sources[n_sources];

		source->name = *names;
		source->channel = vee_channel_open(*names, NULL);
		if (!source->channel)
			errx(1, "%s", vee_channel_error());
		add(vee_channel_poll_fd(source->channel), n_sources);
	}
}

static void open_others(void)
{
	struct epoll_event input = {.events = EPOLLIN, .data.u32 = INPUT};
	sigset_t signals;

	timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	add(timer, TIMER);
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	add(signalfd(-1, &signals, SFD_CLOEXEC), SIGNALS);
	/* A plain file can't be waited for. */
	if (epoll_ctl(loop, EPOLL_CTL_ADD, STDIN_FILENO, &input) < 0 && errno != EPERM &&
	    errno != EBADF)
		err(1, "standard input");
}

static int usage(void)
{
	fprintf(stderr, "usage: epoll-loop [-t SECONDS] CHANNEL...      (up to %d)\n",
		CHANNELS_MOST);
	return 2;
}

int main(int argc, char **argv)
{
	struct epoll_event events[16];
	bool go_on = true;
	int option;

	while ((option = getopt(argc, argv, "t:")) != -1) {
		if (option != 't')
			return usage();
		timer_s = atol(optarg);
	}
	if (optind == argc || argc - optind > CHANNELS_MOST || timer_s < 1)
		return usage();
	loop = epoll_create1(EPOLL_CLOEXEC);
	open_all(argv + optind);
	open_others();
	while (go_on && n_open) {
		int n;

		fflush(stdout);
		n = epoll_wait(loop, events, 16, -1);
		if (n < 0 && errno != EINTR)
			err(1, "epoll_wait");
		for (int i = 0; i < n; i++) {
			uint32_t what = events[i].data.u32;

			if (what == SIGNALS)
				go_on = false;
			else if (what == INPUT)
				go_on &= read_input();
			else if (what == TIMER)
				print_totals();
			else if (sources[what].channel)
				read_source(&sources[what]);
		}
	}
	for (int i = 0; i < n_sources; i++)
		vee_channel_close(sources[i].channel);
	close(loop);
	return 0;
}
