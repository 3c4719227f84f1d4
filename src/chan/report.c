/* report.c - what is to be said of channels; see report.h. */
#include "chan/report.h"
#include "arena/arena.h"
#include "base/os.h"
#include "chan/fast.h"
#include "ipc/namespace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* --- readers --- */

struct walk {
	const struct chan_header *header;
	int (*each)(void *arg, const struct chan_seat *seat, uint32_t uid);
	void *arg;
};

/* The seats of those who live. */
static int walk_desk(void *arg, const char *file, uint32_t uid, uint64_t ino)
{
	struct walk *walk = arg;
	struct chan_desk_map map;
	int ret = chan_map_desk(file, uid, &map);

	(void)ino;
	if (ret < 0)
		return 0;
	for (uint32_t i = 0; ret == 0 && i < chan_load(map.desk->seats_used) && i < CHAN_SEATS;
	     i++) {
		const struct chan_seat *seat = chan_seat_at(map.desk, i);
		uint32_t state = load_acquire(seat->state);

		if ((state == CHAN_SEAT_LOSSY || state == CHAN_SEAT_RELIABLE) &&
		    !chan_seat_is_dead(&map, seat, walk->header->libc_word))
			ret = walk->each(walk->arg, seat, uid);
	}
	chan_unmap_desk(&map);
	return ret;
}

static int each_seat(const struct vee_channel *channel,
		     int (*each)(void *arg, const struct chan_seat *seat, uint32_t uid), void *arg)
{
	struct walk walk = {channel->header, each, arg};

	return chan_each_desk(channel->path, channel->ino, walk_desk, &walk);
}

static int count(void *arg, const struct chan_seat *seat, uint32_t uid)
{
	uint32_t *counts = arg;

	(void)uid;
	counts[0]++;
	counts[1] += chan_load(seat->state) == CHAN_SEAT_RELIABLE;
	return 0;
}

void chan_count_readers(const struct vee_channel *channel, uint32_t *ret_readers,
			uint32_t *ret_reliable)
{
	uint32_t counts[2] = {0, 0};

	each_seat(channel, count, counts);
	*ret_readers = counts[0];
	*ret_reliable = counts[1];
}

static int add_reader(void *arg, const struct chan_seat *seat, uint32_t uid)
{
	struct chan_report *report = arg;
	struct chan_reader_report *more =
		realloc(report->readers, (report->n_readers + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	report->readers = more;
	more[report->n_readers++] = (struct chan_reader_report){
		.pid = chan_load(seat->pid),
		.tid = chan_load(seat->tid),
		.uid = uid,
		.reliable = chan_load(seat->state) == CHAN_SEAT_RELIABLE,
		.stall = chan_load(seat->stall),
		.stall_ns = chan_load(seat->stall_ns),
		.since = chan_load(seat->since),
		.next = chan_load(seat->next),
		.received = chan_load(seat->received),
		.lost = chan_load(seat->lost),
	};
	return 0;
}

/* --- a channel --- */

static void fill(const struct vee_channel *channel, struct chan_report *report)
{
	const struct chan_header *header = channel->header;
	struct chan_section section = {.seq = 0};

	report->ring_size = header->ring_size;
	report->epoch = chan_load(header->epoch);
	report->closed = load_acquire(header->state) == CHAN_CLOSED;
	report->writer_pid = chan_load(header->pid);
	report->writer_lives = !report->closed && !chan_writer_is_dead(channel);
	report->written = chan_load(header->seq);
	report->bytes = chan_load(header->bytes);
	report->time_ns = report->written ? chan_load(header->time) : 0;
	report->oldest = chan_oldest(channel, &section) ? section.seq : report->written + 1;
}

static int open_to_look(const char *name, struct vee_channel **ret_channel)
{
	int ret;

	*ret_channel = chan_new_handle(name, 0, &ret);
	if (!*ret_channel)
		return ret;
	ret = chan_map_file(*ret_channel, false);
	if (ret < 0) {
		chan_error_of(name, ret);
		chan_free_handle(*ret_channel, false);
	}
	return ret;
}

int chan_report(const char *name, struct chan_report *ret_report)
{
	struct vee_channel *channel;
	struct stat st;
	int ret;

	memset(ret_report, 0, sizeof(*ret_report));
	ret = open_to_look(name, &channel);
	if (ret < 0)
		return ret;
	ret = os_stat(channel->path, &st);
	if (ret == 0 && !(ret_report->name = strdup(name)))
		ret = -ENOMEM;
	if (ret == 0) {
		ret_report->uid = st.st_uid;
		ret_report->mode = st.st_mode & 07777;
		ret_report->allotted = st.st_blocks * 512ull;
		fill(channel, ret_report);
		ret = each_seat(channel, add_reader, ret_report);
	}
	if (ret == 0 && guard_hit(channel->guard)) {
		chan_errorf("%s: somebody has truncated it", channel->path);
		ret = -EIO;
	}
	if (ret < 0) {
		chan_error_of(channel->path, ret);
		chan_report_free(ret_report);
	}
	chan_free_handle(channel, false);
	return ret;
}

void chan_report_free(struct chan_report *report)
{
	free(report->name);
	free(report->readers);
	report->name = NULL;
	report->readers = NULL;
	report->n_readers = 0;
}

/* --- all of them --- */

static int folder_of_channels(char *buf, size_t size)
{
	int ret = namespace_dir(NULL, buf, size - 8);

	if (ret < 0)
		chan_errorf("%s", arena_error);
	else
		strcat(buf, "/chan");
	return ret;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(char ***names, unsigned *n, const char *name)
{
	char **more = realloc(*names, (*n + 2) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	*names = more;
	more[*n + 1] = NULL;
	more[*n] = strdup(name);
	return more[(*n)++] ? 0 : -ENOMEM;
}

int chan_list(char ***ret_names)
{
	char folder[CHAN_PATH_SIZE];
	struct dirent *entry;
	char **names = calloc(1, sizeof(*names));
	unsigned n = 0;
	DIR *dir;
	int ret;

	chan_error[0] = '\0';
	ret = names ? folder_of_channels(folder, sizeof(folder)) : -ENOMEM;
	dir = ret < 0 ? NULL : opendir(folder);
	if (ret == 0 && !dir && errno != ENOENT) {
		ret = -errno;
		chan_errorf("%s: %s", folder, strerror(errno));
	}
	while (ret == 0 && dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			ret = add_name(&names, &n, entry->d_name);
	if (dir)
		closedir(dir);
	if (ret < 0) {
		chan_error_of("the channels", ret);
		chan_list_free(names);
		return ret;
	}
	qsort(names, n, sizeof(*names), by_name);
	*ret_names = names;
	return 0;
}

void chan_list_free(char **names)
{
	for (char **name = names; name && *name; name++)
		free(*name);
	free(names);
}

/* --- checks --- */

static const char *check_sections(const struct vee_channel *channel)
{
	const struct chan_header *header = channel->header;
	uint64_t step = channel->lines / CHAN_SECTIONS;

	for (unsigned i = 0; i < CHAN_SECTIONS; i++) {
		uint64_t pos = load_acquire(header->sections[i].pos);
		uint64_t seq = chan_load(header->sections[i].seq);

		if (!pos || chan_load(header->floor) > pos - 1)
			continue;
		if (seq == 0 || seq > chan_load(header->seq) + 1)
			return "a section begins with a message that was never written";
		/* It may begin behind a long message, or a pad, that covers it, in the next lap too. */
		if ((pos - 1) / step < i ||
		    ((pos - 1) / step - i) % CHAN_SECTIONS > CHAN_SECTIONS / 2)
			return "a section's first message does not lie in it, nor soon after";
	}
	return NULL;
}

/* From the oldest kept to the end, each word in its place. A writer at work may overtake: then what was looked at is gone. */
static const char *check_words(const struct vee_channel *channel)
{
	struct chan_section section;
	struct chan_view view;
	uint64_t pos, seq;

	if (!chan_oldest(channel, &section))
		return NULL;
	pos = section.pos;
	seq = section.seq;
	for (uint64_t n = 0; n <= 2 * channel->lines; n++) {
		enum chan_record record = chan_record_at(channel, pos, seq, &view);

		if (chan_lapped(channel, pos))
			return NULL;
		if (record == CHAN_NOTHING)
			return seq > chan_load(channel->header->seq) ? NULL :
								       "a message is missing";
		if (record == CHAN_DAMAGED)
			return "a message is longer than the ring";
		pos = view.after;
		seq += record == CHAN_MESSAGE;
	}
	return "there are more records than the ring has lines";
}

const char *chan_check(const char *name)
{
	struct vee_channel *channel;
	const char *wrong;

	if (open_to_look(name, &channel) < 0)
		return chan_error;
	if (chan_load(channel->header->floor) > chan_load(channel->header->intent))
		wrong = "floor is above intent";
	else
		wrong = check_sections(channel);
	if (!wrong)
		wrong = check_words(channel);
	chan_free_handle(channel, false);
	return wrong;
}

unsigned chan_gc(void)
{
	char folder[CHAN_PATH_SIZE];

	return folder_of_channels(folder, sizeof(folder)) < 0 ? 0 : chan_clean_all(folder, NULL);
}
