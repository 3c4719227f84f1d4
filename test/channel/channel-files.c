/* channel-files.c - names, the file and who may open it, what others do to it, and many of everything. */
#include "common.h"

static struct vee_channel *create_path(size_t ring_size, mode_t mode)
{
	struct vee_channel_create_options options = {.ring_size = ring_size, .mode = mode};

	return vee_channel_create(channel_path, &options);
}

static struct vee_channel *open_path(void)
{
	return vee_channel_open(channel_path, NULL);
}

static void put_file(const char *text)
{
	int fd = open(channel_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* --- names --- */

static void names_that_cannot_be_are_refused_in_words(void **state)
{
	static const char *const names[] = {"", ".", "..", ".hidden", "a/", "/", "/tmp/.x", "a/.."};

	(void)state;
	for (unsigned i = 0; i < COUNT(names); i++) {
		assert_null_and(vee_channel_create(names[i], NULL), EINVAL);
		assert_true(strlen(vee_channel_error()) > 10);
		assert_null_and(vee_channel_open(names[i], NULL), EINVAL);
		assert_fails(vee_channel_remove(names[i]), EINVAL);
		assert_true(strlen(vee_channel_error()) > 10);
	}
}

static void names_that_are_too_long_are_refused_in_words(void **state)
{
	char name[5000];

	(void)state;
	memset(name, 'x', 300);
	name[300] = '\0';
	assert_null_and(vee_channel_create(name, NULL), ENAMETOOLONG);
	assert_true(strlen(vee_channel_error()) > 10);
	assert_null_and(vee_channel_open(name, NULL), ENAMETOOLONG);
	assert_fails(vee_channel_remove(name), ENAMETOOLONG);
	for (unsigned i = 0; i < 4998; i += 2)
		memcpy(name + i, "/x", 3);
	assert_null_and(vee_channel_create(name, NULL), ENAMETOOLONG);
	assert_true(strlen(vee_channel_error()) > 10);
	assert_null_and(vee_channel_open(name, NULL), ENAMETOOLONG);
	assert_true(strlen(vee_channel_error()) > 10);
	assert_fails(vee_channel_remove(name), ENAMETOOLONG);
	assert_true(strlen(vee_channel_error()) > 10);
}

static void a_failure_in_a_folder_that_is_gone_has_words(void **state)
{
	char path[100];

	(void)state;
	snprintf(path, sizeof(path), "%s/gone", folder);
	assert_int_equal(mkdir(path, 0700) || chdir(path) || rmdir(path), 0);
	assert_null_and(vee_channel_create("./a", NULL), ENOENT);
	assert_true(strlen(vee_channel_error()) > 10);
	assert_null_and(vee_channel_open("./a", NULL), ENOENT);
	assert_true(strlen(vee_channel_error()) > 10);
	assert_fails(vee_channel_remove("./a"), ENOENT);
	assert_true(strlen(vee_channel_error()) > 10);
	assert_int_equal(chdir("/"), 0);
}

static void a_name_of_any_letters_is_good(void **state)
{
	static const char *const names[] = {"a", "with space", "x.y.z", "\xc3\xa4\n\t%s", "-", "~"};
	char longest[192];

	(void)state;
	memset(longest, 'y', 191);
	longest[191] = '\0';
	for (unsigned i = 0; i <= COUNT(names); i++) {
		const char *name = i < COUNT(names) ? names[i] : longest;
		struct vee_channel *writer = vee_channel_create(name, NULL),
				   *reader = vee_channel_open(name, NULL);

		assert_true(writer && reader);
		assert_true(vee_channel_poll_fd(reader) >= 0);
		write_many(writer, 1, 10);
		assert_true(is_readable(vee_channel_poll_fd(reader), PATIENCE_MS));
		read_sound(reader);
		vee_channel_close(reader);
		vee_channel_close(writer);
		assert_int_equal(vee_channel_remove(name), 0);
	}
}

static void a_name_without_a_slash_lies_in_the_namespace(void **state)
{
	struct vee_channel *writer = new_writer(0);
	char path[200];

	(void)state;
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(access(channel_name, F_OK), -1);
	snprintf(path, sizeof(path), "./%s", channel_name);
	assert_null_and(vee_channel_open(path, NULL), ENOENT);
	snprintf(path, sizeof(path), "%s/default/chan/%s", getenv("VEE_DIR"), channel_name);
	assert_int_equal(access(path, F_OK), 0);
	assert_null_and(vee_channel_create(path, NULL), EBUSY);
	assert_int_equal(setenv("VEE_NS", "another", 1), 0);
	assert_null_and(vee_channel_open(channel_name, NULL), ENOENT);
	unsetenv("VEE_NS");
	assert_int_equal(chdir("/"), 0);
	vee_channel_close(writer);
}

/* A long way down, beyond what the address of a socket can hold. */
static void a_path_may_lead_far_and_be_relative(void **state)
{
	char path[700], *end = path + sprintf(path, "%s/far", folder);
	struct vee_channel *writer, *reader;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(mkdir(path, 0700), 0);
		*end++ = '/';
		memset(end, 'a' + i, 100);
		end += 100;
		*end = '\0';
	}
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chdir(path), 0);
	strcat(path, "/channel");
	writer = vee_channel_create("./channel", NULL);
	assert_int_equal(chdir("/"), 0);
	reader = vee_channel_open(path, NULL);
	assert_true(writer && reader);
	for (unsigned i = 0; i < 3; i++) {
		int fd = vee_channel_poll_fd(reader);

		assert_true(fd >= 0);
		assert_false(is_readable(fd, 0));
		write_many(writer, 1, 10);
		assert_true(is_readable(fd, PATIENCE_MS));
		read_sound(reader);
	}
	vee_channel_close(reader);
	vee_channel_close(writer);
	assert_int_equal(vee_channel_remove(path), 0);
	*strrchr(path, '/') = '\0';
	assert_int_equal(rmdir(path), 0); /* nothing is left */
}

static void what_is_not_there_is_enoent(void **state)
{
	(void)state;
	assert_null_and(vee_channel_open("not-there", NULL), ENOENT);
	assert_true(strlen(vee_channel_error()) > 10);
	assert_null_and(vee_channel_open("/not/there", NULL), ENOENT);
	assert_null_and(vee_channel_create("/not/there", NULL), ENOENT);
	assert_fails(vee_channel_remove("not-there"), ENOENT);
	assert_fails(vee_channel_remove("/not/there"), ENOENT);
}

static void no_link_is_followed(void **state)
{
	char target[300];
	struct vee_channel *writer;
	struct stat st;

	(void)state;
	writer = create_path(0, 0);
	snprintf(target, sizeof(target), "%s.link", channel_path);
	assert_int_equal(symlink(channel_path, target), 0);
	assert_null(vee_channel_open(target, NULL));
	assert_int_equal(errno, ELOOP);
	vee_channel_close(writer);
	assert_null(vee_channel_create(target, NULL));
	assert_int_equal(errno, ELOOP);
	assert_fails(vee_channel_remove(target), ELOOP);
	unlink(target);
	/* Nor is a file made at its end. */
	vee_channel_remove(channel_path);
	assert_int_equal(symlink(channel_path, target), 0);
	assert_null(vee_channel_create(target, NULL));
	assert_int_equal(stat(channel_path, &st), -1);
	unlink(target);
}

static void options_that_cannot_be_are_refused(void **state)
{
	static const struct vee_channel_create_options bad[] = {
		{.ring_size = 1},	 {.ring_size = 32 * KIB},
		{.ring_size = 65 * KIB}, {.ring_size = 1ul << 40},
		{.mode = 010000},	 {.mode = 04700},
		{.stamp_every = 1025},	 {.flags = 4},
		{.stall_ns = -1},	 {.ring_size = SIZE_MAX},
	};
	static const struct vee_channel_open_options worse[] = {
		{.start = 4}, {.policy = 2}, {.stall = 3}, {.stall_ns = -1}, {.flags = 2},
	};
	struct vee_channel *writer;

	(void)state;
	for (unsigned i = 0; i < COUNT(bad); i++) {
		assert_null_and(vee_channel_create(channel_name, &bad[i]), EINVAL);
		assert_true(strlen(vee_channel_error()) > 10);
	}
	assert_null_and(vee_channel_open(channel_name, NULL), ENOENT);
	writer = new_writer(0);
	for (unsigned i = 0; i < COUNT(worse); i++) {
		assert_null_and(vee_channel_open(channel_name, &worse[i]), EINVAL);
		assert_true(strlen(vee_channel_error()) > 10);
	}
	vee_channel_close(writer);
}

static void new_means_new(void **state)
{
	struct vee_channel_create_options options = {.flags = VEE_CHANNEL_NEW};
	struct vee_channel *writer = vee_channel_create(channel_name, &options);

	(void)state;
	assert_non_null(writer);
	assert_null_and(vee_channel_create(channel_name, &options), EEXIST);
	vee_channel_close(writer);
	assert_null_and(vee_channel_create(channel_name, &options), EEXIST);
	assert_true(strlen(vee_channel_error()) > 10);
	assert_int_equal(vee_channel_remove(channel_name), 0);
	writer = vee_channel_create(channel_name, &options);
	assert_non_null(writer);
	vee_channel_close(writer);
}

static void an_existing_channel_keeps_its_ring_and_mode(void **state)
{
	struct vee_channel *writer = create_path(RING_LEAST, 0640);
	struct stat st;

	(void)state;
	vee_channel_close(writer);
	writer = create_path(MIB, 0600);
	assert_int_equal(stat_of(writer).ring_size, RING_LEAST);
	assert_int_equal(stat(channel_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	vee_channel_close(writer);
}

static void what_is_in_a_channel_stays(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader;

	(void)state;
	write_many(writer, 300, 100);
	vee_channel_close(writer);
	writer = new_writer(0);
	reader = new_reader(VEE_CHANNEL_OLDEST);
	assert_int_equal(stat_of(reader).next, 1);
	write_many(writer, 10, 100);
	for (unsigned i = 1; i <= 310; i++)
		assert_int_equal(read_sound(reader).epoch, i <= 300 ? 1 : 2);
	vee_channel_close(reader);
	vee_channel_close(writer);
}

/* --- what is no channel --- */

static void assert_no_channel(int error)
{
	assert_null_and(vee_channel_open(channel_path, NULL), error);
	assert_true(strlen(vee_channel_error()) > 10);
	assert_null_and(vee_channel_create(channel_path, NULL), error);
	assert_true(strlen(vee_channel_error()) > 10);
}

static void other_files_are_no_channels(void **state)
{
	(void)state;
	put_file("");
	assert_no_channel(EPROTO);
	put_file("none");
	assert_no_channel(EPROTO);
	assert_int_equal(truncate(channel_path, MIB), 0);
	assert_no_channel(EPROTO);
	unlink(channel_path);
	assert_int_equal(mkfifo(channel_path, 0600), 0);
	assert_no_channel(EPROTO);
	unlink(channel_path);
	assert_int_equal(mkdir(channel_path, 0700), 0);
	assert_no_channel(EPROTO);
	rmdir(channel_path);
}

static void what_is_no_channel_is_not_removed(void **state)
{
	struct stat st;

	(void)state;
	put_file("none");
	assert_fails(vee_channel_remove(channel_path), EPROTO);
	assert_int_equal(stat(channel_path, &st), 0);
	assert_int_equal(truncate(channel_path, MIB), 0);
	assert_fails(vee_channel_remove(channel_path), EPROTO);
	assert_int_equal(stat(channel_path, &st), 0);
	unlink(channel_path);
}

static void a_damaged_channel_is_refused(void **state)
{
	struct vee_channel *writer = create_path(RING_LEAST, 0);
	char header[4096];
	int fd = open(channel_path, O_RDWR | O_CLOEXEC);
	struct stat st;

	(void)state;
	write_many(writer, 10, 100);
	vee_channel_close(writer);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pread(fd, header, sizeof(header), 0), sizeof(header));
	/* Every byte of what never changes. */
	for (unsigned i = 0; i < 32; i++) {
		char other = ~header[i];

		assert_int_equal(pwrite(fd, &other, 1, i), 1);
		if (i < 12 || i >= 16)
			assert_no_channel(EPROTO);
		assert_int_equal(pwrite(fd, header + i, 1, i), 1);
	}
	for (off_t length = 0; length < st.st_size; length += 4096) {
		assert_int_equal(ftruncate(fd, length), 0);
		assert_no_channel(EPROTO);
		assert_int_equal(ftruncate(fd, st.st_size), 0);
		assert_int_equal(pwrite(fd, header, sizeof(header), 0), sizeof(header));
	}
	assert_int_equal(ftruncate(fd, st.st_size + 1), 0);
	assert_no_channel(EPROTO);
	assert_int_equal(ftruncate(fd, st.st_size), 0);
	close(fd);
	writer = create_path(0, 0);
	assert_non_null(writer);
	vee_channel_close(writer);
	assert_int_equal(vee_channel_remove(channel_path), 0);
}

/* --- any bytes in a channel's file --- */

enum {
	DAMAGES = 1500,
	DOORBELLS_AT = 832, /* and the claim: whoever writes waits for their owners */
	RING_AT = 4096,
};

/* A few words of it, half of them of the header, are others: random ones, small ones, or such as stand elsewhere in it. */
static void damage(char *file, size_t size, unsigned *seed)
{
	for (unsigned n = 1 + rand_r(seed) % 24; n > 0; n--) {
		size_t limit = rand_r(seed) % 2 ? DOORBELLS_AT : size;
		size_t at = rand_r(seed) % (limit / 8) * 8, from = rand_r(seed) % (size / 8) * 8;
		uint64_t word =
			(uint64_t)rand_r(seed) << 33 ^ (uint64_t)rand_r(seed) << 11 ^ rand_r(seed);

		if (at >= DOORBELLS_AT && at < RING_AT)
			continue;
		switch (rand_r(seed) % 4) {
		case 0:
			word %= 200;
			break;
		case 1:
			memcpy(&word, file + from, 8);
			break;
		case 2: /* a record that is no message, of a number that may come */
			word = (uint64_t)(1 + rand_r(seed) % 400) << 32 |
			       (rand_r(seed) % 2 ? 0x80000004u : 0x20000004u);
			break;
		}
		memcpy(file + at, &word, 8);
	}
}

static void look_at_it(unsigned *seed)
{
	static const enum vee_channel_start starts[] = {VEE_CHANNEL_NOW, VEE_CHANNEL_OLDEST,
							VEE_CHANNEL_LAST, VEE_CHANNEL_SEQUENCE};
	struct vee_channel_open_options options = {.start = starts[rand_r(seed) % 4],
						   .sequence = rand_r(seed) % 400,
						   .policy = rand_r(seed) % 2};
	struct vee_channel *reader = vee_channel_open(channel_path, &options), *writer;
	struct vee_channel_message messages[4];
	struct vee_channel_stat stat;

	if (reader) {
		for (unsigned i = 0; i < 2000; i++)
			if (rand_r(seed) % 2 ? vee_channel_timedread(reader, buf, sizeof(buf),
								     messages, &none) < 0 :
					       vee_channel_peek(reader, messages, 4, &none) < 0 ||
						       vee_channel_release(reader) < 0)
				break;
		vee_channel_stat(reader, &stat);
		vee_channel_close(reader);
	}
	writer = vee_channel_create(channel_path, NULL);
	if (!writer)
		return;
	for (unsigned i = 0; i < 300; i++)
		if (vee_channel_timedwrite(writer, buf, rand_r(seed) % 3000, &none) < 0)
			break;
	vee_channel_close(writer);
}

static void damage_again_and_again(void)
{
	static char pristine[RING_AT + RING_LEAST], file[sizeof(pristine)];
	int fd = open(channel_path, O_RDWR | O_CLOEXEC);
	unsigned seed = 2611;

	CHECK(fd >= 0);
	CHECK(pread(fd, pristine, sizeof(pristine), 0) == sizeof(pristine));
	for (unsigned i = 0; i < DAMAGES; i++) {
		alarm(20);
		memcpy(file, pristine, sizeof(file));
		damage(file, sizeof(file), &seed);
		CHECK(pwrite(fd, file, sizeof(file), 0) == sizeof(file));
		look_at_it(&seed);
	}
	CHECK(pwrite(fd, pristine, sizeof(pristine), 0) == sizeof(pristine));
	close(fd);
}

static void a_damaged_channel_hangs_and_crashes_nobody(void **state)
{
	struct vee_channel *writer = create_path(RING_LEAST, 0);
	struct child child;

	(void)state;
	for (unsigned i = 0; i < 300; i++)
		write_many(writer, 1, i * 37 % 900);
	vee_channel_close(writer);
	child = start(damage_again_and_again);
	assert_good(&child);
	assert_int_equal(vee_channel_remove(channel_path), 0);
}

/* Places so far out that sums wrap: a message that is longer than the ring, a section that never comes. See CHANNEL.md for what lies where. */
static void places_that_cannot_be_mislead_nobody(void **state)
{
	const uint64_t lines = RING_LEAST / 64, pos = UINT64_MAX - lines / 8;
	struct vee_channel *writer = create_path(RING_LEAST, 0), *reader = open_path();
	int fd = open(channel_path, O_RDWR | O_CLOEXEC);
	static char buf[2 * RING_LEAST];
	uint64_t *words;

	(void)state;
	write_many(writer, 1, 5);
	read_sound(reader);
	words = mmap(NULL, RING_AT + RING_LEAST, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(words, MAP_FAILED);
	memset(words + 320 / 8, 0, 512);
	words[320 / 8] = pos + 1;
	words[328 / 8] = 100;
	words[RING_AT / 8 + pos % lines * 8] = 100ull << 32 | 0x40000000 | 10;
	words[RING_AT / 8 + (pos + 1) % lines * 8] = 101ull << 32 | 0x40000000 | sizeof(buf);
	words[128 / 8] = pos;
	for (unsigned i = 0; i < 3; i++)
		assert_fails(vee_channel_timedread(reader, buf, sizeof(buf), NULL, &none), EIO);
	vee_channel_close(reader);
	vee_channel_close(writer);
	alarm(20);
	assert_null_and(create_path(0, 0), EPROTO);
	alarm(0);
	munmap(words, RING_AT + RING_LEAST);
	close(fd);
	unlink(channel_path);
}

/* --- truncated while it is open --- */

static void truncated_to(off_t length)
{
	struct vee_channel *writer = create_path(RING_LEAST, 0), *reader = open_path(),
			   *peeker = open_path();
	struct vee_channel_message messages[4];
	struct vee_channel_stat stat;
	int error = 0;

	restore_sigbus();
	write_many(writer, 10, 1000);
	read_sound(reader);
	assert_int_equal(vee_channel_peek(peeker, messages, 4, NULL), 4);
	assert_int_equal(truncate(channel_path, length), 0);
	for (unsigned i = 0; i < 200 && error == 0; i++) {
		char text[1000] = "";

		error = vee_channel_write(writer, text, sizeof(text)) < 0 ? errno : 0;
	}
	assert_int_equal(error, EIO);
	assert_fails(vee_channel_write(writer, "", 0), EIO);
	assert_null_and(vee_channel_reserve(writer, 10, NULL), EIO);
	assert_fails(vee_channel_stat(writer, &stat), EIO);
	do
		error = read_error(reader, &soon);
	while (error == 0);
	assert_int_equal(error, EIO);
	assert_int_equal(read_error(reader, NULL), EIO);
	assert_fails(vee_channel_peek(reader, messages, 4, NULL), EIO);
	/* What points there is zeros at worst. */
	for (unsigned i = 0; i < 4; i++)
		is_message(messages[i].data, messages[i].size, i);
	vee_channel_release(peeker);
	vee_channel_close(peeker);
	vee_channel_close(reader);
	vee_channel_close(writer);
	unlink(channel_path);
}

/* Of 1,024 with one time, the small ones do not look at the file; but not after a write that failed. */
static void small_messages_to_a_cut_channel_are_eio(void **state)
{
	struct vee_channel_create_options options = {.stamp_every = 1024};
	struct vee_channel *writer = vee_channel_create(channel_path, &options);
	char text[2000] = "";
	int error = 0;

	(void)state;
	restore_sigbus();
	/* Fast enough for a writer that trusts its caches. */
	for (unsigned i = 0; i < 300400; i++)
		assert_int_equal(vee_channel_write(writer, text, 24), 0);
	assert_int_equal(truncate(channel_path, 0), 0);
	for (unsigned i = 0; i < 200 && error == 0; i++)
		error = vee_channel_write(writer, text, sizeof(text)) < 0 ? errno : 0;
	assert_int_equal(error, EIO);
	for (unsigned i = 0; i < 2000; i++)
		assert_fails(vee_channel_write(writer, text, 24), EIO);
	vee_channel_close(writer);
	unlink(channel_path);
}

static void a_channel_cut_to_nothing_is_eio(void **state)
{
	(void)state;
	truncated_to(0);
}

static void a_channel_cut_to_its_header_is_eio(void **state)
{
	(void)state;
	truncated_to(4096);
}

static void a_channel_cut_in_the_ring_is_eio(void **state)
{
	(void)state;
	truncated_to(8192);
}

/* The part that is gone was never written: there the memory is got beforehand. */
static void a_channel_cut_ahead_of_the_writer_is_eio(void **state)
{
	struct vee_channel *writer = create_path(MIB, 0);
	int error = 0;

	(void)state;
	restore_sigbus();
	assert_int_equal(truncate(channel_path, 512 * KIB), 0);
	for (unsigned i = 0; i < 200 && error == 0; i++)
		error = write_error(writer, 10000, &none);
	assert_int_equal(error, EIO);
	vee_channel_close(writer);
	unlink(channel_path);
}

static void waiting_for_nothing(void)
{
	const struct timespec two_seconds = {2, 0};
	struct vee_channel *reader = open_path();

	say();
	CHECK(read_error(reader, &two_seconds) == EIO);
	vee_channel_close(reader);
}

static void a_waiting_reader_notices_a_cut(void **state)
{
	struct vee_channel *writer = create_path(0, 0);
	struct child reader = start(waiting_for_nothing);

	(void)state;
	restore_sigbus();
	await(&reader);
	await_asleep(reader.pid);
	assert_int_equal(truncate(channel_path, 0), 0);
	assert_good(&reader);
	vee_channel_close(writer);
	unlink(channel_path);
}

/* The same thread has doorbells of other channels. */
static void a_cut_channel_harms_no_other(void **state)
{
	(void)state;
	restore_sigbus();
	for (unsigned i = 0; i < 30; i++) {
		struct vee_channel *all[6];
		char name[40];

		for (unsigned j = 0; j < 6; j += 2) {
			snprintf(name, sizeof(name), "/dev/shm%s/cut-%u", strrchr(folder, '/'), j);
			all[j] = vee_channel_create(name, NULL);
			all[j + 1] = vee_channel_open(name, NULL);
			assert_true(all[j] && all[j + 1]);
		}
		snprintf(name, sizeof(name), "/dev/shm%s/cut-2", strrchr(folder, '/'));
		assert_int_equal(truncate(name, 0), 0);
		if (i % 2)
			assert_fails(vee_channel_write(all[2], "", 0), EIO);
		for (unsigned j = 0; j < 6; j++)
			vee_channel_close(all[(i + j) % 6]);
		unlink(name);
	}
}

/* --- removed while it is open --- */

static void a_removed_channel_goes_on_for_who_has_it(void **state)
{
	struct vee_channel *writer = new_writer(0), *reader = new_reader(0), *other_writer,
			   *other_reader;
	int fd = vee_channel_poll_fd(reader);

	(void)state;
	write_many(writer, 1, 10);
	assert_int_equal(vee_channel_remove(channel_name), 0);
	assert_null_and(vee_channel_open(channel_name, NULL), ENOENT);
	other_writer = new_writer(0);
	other_reader = new_reader(VEE_CHANNEL_OLDEST);
	assert_int_equal(stat_of(other_writer).epoch, 1);
	assert_int_equal(read_error(other_reader, &none), EAGAIN);
	assert_int_equal(read_sound(reader).sequence, 1);
	for (unsigned i = 2; i < 100; i++) {
		assert_false(is_readable(fd, 0));
		write_many(writer, 1, 10);
		assert_true(is_readable(fd, PATIENCE_MS));
		assert_int_equal(read_sound(reader).sequence, i);
	}
	assert_int_equal(read_error(other_reader, &none), EAGAIN);
	write_many(other_writer, 1, 10);
	assert_int_equal(read_sound(other_reader).sequence, 1);
	assert_int_equal(read_error(reader, &none), EAGAIN);
	assert_int_equal(stat_of(writer).readers, 1);
	assert_int_equal(stat_of(other_writer).readers, 1);
	vee_channel_close(writer);
	assert_int_equal(read_error(reader, &none), EPIPE);
	assert_int_equal(read_error(other_reader, &none), EAGAIN);
	vee_channel_close(reader);
	vee_channel_close(other_reader);
	vee_channel_close(other_writer);
}

static void a_removed_channel_leaves_nothing(void **state)
{
	char path[300];
	struct vee_channel *writer, *reader;

	(void)state;
	snprintf(path, sizeof(path), "%s/only", folder);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(channel_path, sizeof(channel_path), "%s/only/channel", folder);
	for (unsigned i = 0; i < 3; i++) {
		writer = create_path(0, 0644);
		reader = open_path();
		vee_channel_poll_fd(reader);
		if (i == 0)
			assert_int_equal(vee_channel_remove(channel_path), 0);
		vee_channel_close(reader);
		if (i == 1)
			assert_int_equal(vee_channel_remove(channel_path), 0);
		vee_channel_close(writer);
		if (i == 2)
			assert_int_equal(vee_channel_remove(channel_path), 0);
		assert_int_equal(rmdir(path), 0);
		assert_int_equal(mkdir(path, 0755), 0);
	}
}

/* --- other users --- */

static int expected_error;

static void become(uid_t uid)
{
	CHECK(setgroups(0, NULL) == 0 && setgid(uid) == 0 && setuid(uid) == 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void become_foreign(void)
{
	become(FOREIGN_UID);
}

static void skip_unless_root(void)
{
	if (geteuid() != 0)
		skip();
}

static void foreign_reader(void)
{
	struct vee_channel *reader;
	struct vee_channel_message messages[4];
	int fd;

	become_foreign();
	reader = open_path();
	CHECK(reader);
	say();
	CHECK(read_error(reader, &long_time) == 0);
	fd = vee_channel_poll_fd(reader);
	CHECK(fd >= 0 && !is_readable(fd, 0));
	say();
	CHECK(is_readable(fd, PATIENCE_MS));
	CHECK(vee_channel_peek(reader, messages, 4, &none) == 1);
	CHECK(is_message(messages[0].data, 100, 2) && vee_channel_release(reader) == 0);
	CHECK(read_error(reader, &none) == EAGAIN && !is_readable(fd, 0));
	say();
	CHECK(is_readable(fd, PATIENCE_MS));
	CHECK(read_error(reader, &none) == expected_error);
	vee_channel_close(reader);
	reader = open_path();
	CHECK(reader);
	say();
	await_parent();
}

static void path_writer(void)
{
	struct vee_channel *writer = create_path(0, 0644);

	CHECK(writer);
	for (;;) {
		say();
		await_parent();
		write_many(writer, 1, 100);
	}
}

static void another_user_may_read_sleep_and_poll(void **state)
{
	struct child writer, reader;

	(void)state;
	skip_unless_root();
	expected_error = EOWNERDEAD;
	writer = start(path_writer);
	await(&writer);
	reader = start(foreign_reader);
	for (unsigned i = 0; i < 2; i++) {
		await(&reader);
		await_asleep(reader.pid);
		write_by(&writer);
	}
	await(&reader);
	await_asleep(reader.pid);
	kill_child(&writer);
	await(&reader);
	kill_child(&reader);
}

static void readers_of_two_users_do_not_disturb_each_other(void **state)
{
	struct vee_channel *writer, *own;
	struct child reader;

	(void)state;
	skip_unless_root();
	expected_error = EPIPE;
	writer = create_path(0, 0644);
	own = open_path();
	reader = start(foreign_reader);
	for (unsigned i = 1; i <= 2; i++) {
		await(&reader);
		assert_int_equal(stat_of(writer).readers, 2);
		write_many(writer, 1, 100);
		assert_int_equal(read_sound(own).sequence, i);
	}
	await(&reader);
	vee_channel_close(writer);
	await(&reader);
	vee_channel_close(own);
	kill_child(&reader);
}

static void intruder(void)
{
	struct vee_channel_open_options reliable = {.policy = VEE_CHANNEL_RELIABLE};

	become_foreign();
	CHECK(open(channel_path, O_RDWR) < 0 && errno == EACCES);
	CHECK(!vee_channel_create(channel_path, NULL) && errno == EACCES);
	CHECK(strlen(vee_channel_error()) > 10);
	CHECK(vee_channel_remove(channel_path) < 0 && errno == EACCES);
	CHECK(!vee_channel_open(channel_path, &reliable) && errno == EPERM);
	CHECK(strlen(vee_channel_error()) > 10);
}

static void another_user_may_not_write_nor_hold_up(void **state)
{
	struct vee_channel *writer;
	struct child child;

	(void)state;
	skip_unless_root();
	writer = create_path(0, 0644);
	child = start(intruder);
	assert_good(&child);
	write_many(writer, 1, 10);
	vee_channel_close(writer);
}

static void shut_out(void)
{
	become_foreign();
	CHECK(!open_path() && errno == EACCES);
	CHECK(strlen(vee_channel_error()) > 10);
}

static void the_mode_says_who_may_read(void **state)
{
	static const mode_t modes[] = {0600, 0640};

	(void)state;
	skip_unless_root();
	for (unsigned i = 0; i < COUNT(modes); i++) {
		struct vee_channel *writer;
		struct child child;
		mode_t mask = umask(077);
		struct stat st;

		writer = create_path(0, modes[i]);
		umask(mask);
		assert_int_equal(stat(channel_path, &st), 0);
		assert_int_equal(st.st_mode & 07777, modes[i]);
		child = start(shut_out);
		assert_good(&child);
		vee_channel_close(writer);
		vee_channel_remove(channel_path);
	}
}

static void group_reader(void)
{
	gid_t group = getgid();

	CHECK(setgroups(1, &group) == 0 && setgid(FOREIGN_UID) == 0 && setuid(FOREIGN_UID) == 0);
	expected_error = EPIPE;
	CHECK(read_error(open_path(), &none) == EAGAIN);
}

static void the_group_may_read_by_0640(void **state)
{
	struct vee_channel *writer;
	struct child child;

	(void)state;
	skip_unless_root();
	writer = create_path(0, 0640);
	child = start(group_reader);
	assert_good(&child);
	vee_channel_close(writer);
}

static void foreign_reliable(void)
{
	struct vee_channel_open_options reliable = {.policy = VEE_CHANNEL_RELIABLE};
	struct vee_channel *reader;

	become_foreign();
	reader = vee_channel_open(channel_path, &reliable);
	CHECK(reader);
	say();
	await_parent();
	while (read_error(reader, &none) == 0)
		;
	CHECK(stat_of(reader).lost == 0);
	say();
	await_parent();
}

static void another_user_may_be_reliable_if_the_writer_says_so(void **state)
{
	struct vee_channel_create_options options = {
		.ring_size = RING_LEAST, .mode = 0644, .flags = VEE_CHANNEL_OTHERS_RELIABLE};
	struct vee_channel *writer;
	struct child reader;

	(void)state;
	skip_unless_root();
	writer = vee_channel_create(channel_path, &options);
	reader = start(foreign_reliable);
	await(&reader);
	assert_int_equal(stat_of(writer).reliable, 1);
	assert_in_range(fill_ring(writer, 500), 100, 128);
	tell(&reader);
	assert_int_equal(write_error(writer, 500, &long_time), 0);
	await(&reader);
	fill_ring(writer, 500);
	kill_child(&reader);
	assert_int_equal(write_error(writer, 500, &long_time), 0);
	vee_channel_close(writer);
}

static uid_t next_uid;

static void polling_user(void)
{
	struct vee_channel *reader;
	int fd;

	become(next_uid);
	reader = open_path();
	CHECK(reader);
	fd = vee_channel_poll_fd(reader);
	CHECK(fd >= 0 && !is_readable(fd, 0));
	say();
	CHECK(is_readable(fd, PATIENCE_MS));
	CHECK(read_error(reader, &none) == 0);
	say();
	vee_channel_close(reader);
}

static void all_who_poll_are_told_whatever_user_they_are_of(void **state)
{
	struct vee_channel *writer;
	struct child users[40];

	(void)state;
	skip_unless_root();
	writer = create_path(RING_LEAST, 0644);
	for (unsigned i = 0; i < COUNT(users); i++) {
		next_uid = FOREIGN_UID + i;
		users[i] = start(polling_user);
		await(&users[i]);
	}
	write_many(writer, 1, 10);
	for (unsigned i = 0; i < COUNT(users); i++) {
		await(&users[i]);
		assert_good(&users[i]);
	}
	vee_channel_close(writer);
}

#define PASSING 300

/* More than the writer has room for; some stay until they are killed. */
static void passing_users(void)
{
	CHECK(setgroups(0, NULL) == 0);
	for (unsigned i = 0; i < PASSING; i++) {
		struct vee_channel *reader;

		CHECK(seteuid(FOREIGN_UID + i) == 0);
		reader = open_path();
		CHECK(reader);
		say();
		await_parent();
		if (i % 8)
			vee_channel_close(reader);
		CHECK(seteuid(0) == 0);
	}
	say();
	await_parent();
}

static bool has_said(const struct child *child)
{
	struct pollfd one = {child->from, POLLIN, 0};

	return poll(&one, 1, 0) == 1;
}

/*
 * The first one comes again, and one that was never there. To look into a full folder takes a while, and may take an eighth of the
 * time only: so they may be found with a later message.
 */
static void users_that_are_gone_take_no_room(void **state)
{
	struct vee_channel *writer;
	struct child passing, users[2];
	int64_t end;

	(void)state;
	skip_unless_root();
	writer = create_path(RING_LEAST, 0644);
	passing = start(passing_users);
	for (unsigned i = 0; i < PASSING; i++) {
		await(&passing);
		write_many(writer, 1, 10);
		tell(&passing);
	}
	await(&passing);
	kill_child(&passing);
	for (unsigned i = 0; i < 2; i++) {
		next_uid = FOREIGN_UID + i * PASSING;
		users[i] = start(polling_user);
		await(&users[i]);
	}
	end = now_ms() + PATIENCE_MS / 2;
	while (now_ms() < end && (!has_said(&users[0]) || !has_said(&users[1]))) {
		write_many(writer, 1, 10);
		sleep_ms(10);
	}
	for (unsigned i = 0; i < 2; i++) {
		await(&users[i]);
		assert_good(&users[i]);
	}
	vee_channel_close(writer);
}

/* One of as many as a user can have polls; a message at each letter. */
static void one_of_a_crowd(void)
{
	struct vee_channel *reader = NULL;
	int fd;

	become_foreign();
	for (unsigned i = 0; i < 4096; i++) {
		reader = open_path();
		CHECK(reader);
	}
	fd = vee_channel_poll_fd(reader);
	for (;;) {
		say();
		CHECK(is_readable(fd, PATIENCE_MS));
		while (read_error(reader, &none) == 0)
			;
		CHECK(!is_readable(fd, 0));
	}
}

static void the_one_who_polls_in_a_crowd_of_another_user_is_told(void **state)
{
	struct vee_channel *writer;
	struct child reader;

	(void)state;
	skip_unless_root();
	writer = create_path(RING_LEAST, 0644);
	reader = start(one_of_a_crowd);
	for (unsigned i = 0; i < 500; i++) {
		await(&reader);
		write_many(writer, 1, 10);
	}
	await(&reader);
	kill_child(&reader);
	vee_channel_close(writer);
}

/* --- no memory --- */

static void fill_small_fs(void)
{
	struct vee_channel *writer, *reader;
	char path[128], filler[128], text[4096] = "";
	unsigned written = 0;
	int fd, error;

	snprintf(path, sizeof(path), "%s/small", folder);
	snprintf(filler, sizeof(filler), "%s/small/filler", folder);
	snprintf(channel_path, sizeof(channel_path), "%s/small/channel", folder);
	CHECK(mkdir(path, 0700) == 0 && mount("none", path, "tmpfs", 0, "size=4m") == 0);
	fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && posix_fallocate(fd, 0, 2 * MIB) == 0);
	writer = create_path(8 * MIB, 0);
	reader = open_path();
	CHECK(writer && reader);
	while ((error = write_error(writer, 5000, &none)) == 0)
		written++;
	CHECK(error == ENOSPC);
	CHECK(written > 100 && stat_of(writer).written == written);
	CHECK(!vee_channel_reserve(writer, 5000, &none) && errno == ENOSPC);
	/* Full to the last page: nothing more can be made, and all that is there is read. */
	while (write(fd, text, sizeof(text)) > 0)
		;
	snprintf(channel_path, sizeof(channel_path), "%s/small/another", folder);
	CHECK(!create_path(0, 0) && errno == ENOSPC);
	CHECK(strlen(vee_channel_error()) > 10);
	snprintf(channel_path, sizeof(channel_path), "%s/small/channel", folder);
	for (unsigned i = 1; i <= written; i++)
		CHECK(read_sound(reader).sequence == i);
	CHECK(read_error(reader, &none) == EAGAIN);
	CHECK(write_error(writer, 5000, &none) == ENOSPC);
	close(fd);
	CHECK(unlink(filler) == 0);
	CHECK(write_error(writer, 5000, &none) == 0);
	CHECK(read_sound(reader).sequence == written + 1);
	snprintf(channel_path, sizeof(channel_path), "%s/small/another", folder);
	writer = create_path(RING_LEAST, 0);
	CHECK(writer);
	CHECK(umount2(path, MNT_DETACH) == 0);
}

static void a_full_file_system_is_enospc_and_no_more(void **state)
{
	struct child child;

	(void)state;
	skip_unless_root();
	child = start(fill_small_fs);
	assert_good(&child);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static size_t mapped_bytes(void)
{
	FILE *statm = fopen("/proc/self/statm", "re");
	size_t pages;

	CHECK(statm && fscanf(statm, "%zu", &pages) == 1);
	fclose(statm);
	return pages * sysconf(_SC_PAGESIZE);
}

static unsigned n_found;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path, (void)st, (void)type, (void)ftw;
	n_found++;
	return 0;
}

static unsigned count_files(void)
{
	n_found = 0;
	CHECK(nftw(folder, count_one, 20, FTW_PHYS) == 0);
	return n_found;
}

/* A little more each time, until it is enough. */
static void open_with_little_memory(void)
{
	unsigned n_files = count_files(), n_failed = 0;
	struct vee_channel *reader = NULL;
	struct rlimit limit;

	CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
	for (size_t more = 0; !reader && more < 4 * MIB; more += 32 * KIB) {
		int error;

		limit.rlim_cur = mapped_bytes() + more;
		CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
		reader = open_path();
		error = errno;
		limit.rlim_cur = limit.rlim_max;
		CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
		if (reader)
			break;
		n_failed++;
		CHECK(error == ENOMEM && strlen(vee_channel_error()) > 10);
		CHECK(count_files() == n_files);
	}
	CHECK(reader && n_failed > 10);
}

static void too_little_memory_is_enomem_and_leaves_nothing(void **state)
{
	struct vee_channel *writer;
	struct child child;

	(void)state;
	if (SANITIZED)
		skip();
	writer = create_path(RING_LEAST, 0);
	child = start(open_with_little_memory);
	assert_good(&child);
	vee_channel_close(writer);
	vee_channel_remove(channel_path);
}

static void a_large_ring_takes_memory_as_it_is_written(void **state)
{
	struct vee_channel *writer = create_path(1024 * MIB, 0), *reader;
	struct stat st;

	(void)state;
	if (!writer && (errno == ENOMEM || errno == ENOSPC))
		skip();
	assert_non_null(writer);
	reader = open_path();
	assert_int_equal(stat(channel_path, &st), 0);
	assert_true(st.st_blocks * 512ul <= 32 * KIB);
	write_many(writer, 1, 100);
	assert_int_equal(stat(channel_path, &st), 0);
	assert_true(st.st_blocks * 512ul <= 4 * MIB);
	write_many(writer, 100, 200 * KIB);
	assert_int_equal(stat(channel_path, &st), 0);
	assert_true(st.st_blocks * 512ul <= 32 * MIB);
	for (unsigned i = 1; i <= 101; i++)
		assert_int_equal(read_sound(reader).sequence, i);
	vee_channel_close(reader);
	vee_channel_close(writer);
	vee_channel_remove(channel_path);
}

/* --- many --- */

#define MANY 1000

static void a_thousand_readers_of_one_process_get_each_message(void **state)
{
	static struct vee_channel *readers[MANY];
	struct vee_channel *writer = new_writer(RING_LEAST);

	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		readers[i] = new_reader(0);
	assert_int_equal(stat_of(writer).readers, MANY);
	for (unsigned i = 1; i <= 3; i++) {
		write_many(writer, 1, 100);
		for (unsigned j = 0; j < MANY; j++)
			assert_int_equal(read_sound(readers[j]).sequence, i);
	}
	for (unsigned i = 0; i < MANY; i++)
		vee_channel_close(readers[i]);
	assert_int_equal(stat_of(writer).readers, 0);
	vee_channel_close(writer);
}

static void *wait_for_a_message(void *arg)
{
	struct vee_channel *reader = new_reader(0);
	char text[100];

	(void)arg;
	say();
	CHECK(vee_channel_timedread(reader, text, sizeof(text), NULL, &long_time) == sizeof(text));
	CHECK(is_message(text, sizeof(text), 1));
	vee_channel_close(reader);
	return NULL;
}

#define PROCESSES 10

static void many_waiting_threads(void)
{
	pthread_t threads[MANY / PROCESSES];
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * KIB);
	for (unsigned i = 0; i < COUNT(threads); i++)
		CHECK((errno = pthread_create(&threads[i], &attr, wait_for_a_message, NULL)) == 0);
	for (unsigned i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
}

static void a_thousand_waiting_readers_are_woken_by_one_message(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST);
	struct child children[PROCESSES];

	(void)state;
	for (unsigned i = 0; i < PROCESSES; i++)
		children[i] = start(many_waiting_threads);
	for (unsigned i = 0; i < PROCESSES; i++)
		for (unsigned j = 0; j < MANY / PROCESSES; j++)
			await(&children[i]);
	sleep_ms(100);
	write_many(writer, 1, 100);
	for (unsigned i = 0; i < PROCESSES; i++)
		assert_good(&children[i]);
	vee_channel_close(writer);
}

static void too_many_readers_are_eusers(void **state)
{
	static struct vee_channel *readers[4096];
	struct vee_channel *writer = new_writer(RING_LEAST);

	(void)state;
	for (unsigned i = 0; i < COUNT(readers); i++)
		readers[i] = new_reader(0);
	assert_null_and(vee_channel_open(channel_name, NULL), EUSERS);
	assert_true(strlen(vee_channel_error()) > 10);
	vee_channel_close(readers[1234]);
	readers[1234] = new_reader(0);
	write_many(writer, 1, 100);
	for (unsigned i = 0; i < COUNT(readers); i++) {
		assert_int_equal(read_sound(readers[i]).sequence, 1);
		vee_channel_close(readers[i]);
	}
	vee_channel_close(writer);
}

#define CHANNELS 10000

static void write_ten_thousand(void)
{
	static struct vee_channel *writers[CHANNELS];
	struct vee_channel_create_options options = {.ring_size = RING_LEAST};
	struct rlimit limit = {1024, 1024};
	unsigned maps = count_lines("/proc/self/maps");
	char name[32];

	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	for (unsigned i = 0; i < CHANNELS; i++) {
		snprintf(name, sizeof(name), "many-%u", i);
		writers[i] = vee_channel_create(name, &options);
		CHECK(writers[i]);
		CHECK(vee_channel_write(writers[i], &i, sizeof(i)) == 0);
	}
	for (unsigned i = 0; i < CHANNELS; i++) {
		snprintf(name, sizeof(name), "many-%u", i);
		if (i % 50 == 0) {
			struct vee_channel_open_options last = {.start = VEE_CHANNEL_LAST};
			struct vee_channel *reader = vee_channel_open(name, &last);
			unsigned number;

			CHECK(reader);
			CHECK(vee_channel_timedread(reader, &number, sizeof(number), NULL, &none) ==
			      sizeof(number));
			CHECK(number == i);
			vee_channel_close(reader);
		}
		CHECK(vee_channel_close(writers[i]) == 0);
	}
	CHECK(count_lines("/proc/self/maps") < maps + 100);
}

static void ten_thousand_channels_are_written_by_one_process(void **state)
{
	struct child child = start(write_ten_thousand);

	(void)state;
	assert_good(&child);
}

/* The kernel looks at 2,048 of a dead thread's mutexes, and no more. */
static void open_too_much(void)
{
	struct vee_channel_create_options options = {.ring_size = RING_LEAST};
	char name[32];

	for (unsigned i = 0; i < 2600; i++) {
		snprintf(name, sizeof(name), "dead-%u", i);
		CHECK(vee_channel_create(name, &options));
	}
	for (unsigned i = 0; i < 2600; i++)
		new_reliable();
	say();
	await_parent();
}

static void a_death_with_thousands_of_handles_is_seen_by_all(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader;
	struct child child = start(open_too_much);
	char name[32];

	(void)state;
	await(&child);
	kill_child(&child);
	assert_int_equal(stat_of(writer).readers, 0);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(vee_channel_timedwrite(writer, buf, 500, &soon), 0);
	vee_channel_close(writer);
	for (unsigned i = 0; i < 2600; i += 20) {
		snprintf(name, sizeof(name), "dead-%u", i);
		reader = vee_channel_open(name, NULL);
		assert_non_null(reader);
		assert_int_equal(stat_of(reader).writer_pid, 0);
		vee_channel_close(reader);
		reader = vee_channel_create(name, NULL);
		assert_non_null(reader);
		vee_channel_close(reader);
	}
}

static void opening_and_closing_leaves_nothing(void **state)
{
	struct vee_channel_open_options options = {.policy = VEE_CHANNEL_RELIABLE};
	unsigned maps = 0, fds = 0;

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0),
				   *reliable = vee_channel_open(channel_name, &options);
		struct vee_channel_message message;

		assert_true(vee_channel_poll_fd(reader) >= 0);
		write_many(writer, 3, 100);
		read_one(reader);
		assert_int_equal(vee_channel_peek(reader, &message, 1, NULL), 1);
		assert_null(vee_channel_create(channel_name, NULL));
		assert_null(vee_channel_open("not-there", NULL));
		if (i % 2)
			vee_channel_close(writer);
		vee_channel_close(reader);
		vee_channel_close(reliable);
		if (i % 2 == 0)
			vee_channel_close(writer);
		if (i == 20) {
			maps = count_lines("/proc/self/maps");
			fds = count_fds();
		}
	}
	assert_in_range(count_lines("/proc/self/maps"), 1, maps + 3);
	assert_int_equal(count_fds(), fds);
}

/* --- threads --- */

static void *close_it(void *arg)
{
	vee_channel_close(arg);
	return NULL;
}

static void close_in_a_thread(struct vee_channel *channel)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, close_it, channel), 0);
	pthread_join(thread, NULL);
}

static void another_thread_may_close(void **state)
{
	struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);

	(void)state;
	write_many(writer, 1, 100);
	close_in_a_thread(writer);
	read_sound(reader);
	assert_int_equal(read_error(reader, &none), EPIPE);
	writer = new_writer(0);
	write_many(writer, 1, 100);
	close_in_a_thread(reader);
	assert_int_equal(stat_of(writer).readers, 0);
	reader = new_reliable();
	close_in_a_thread(reader);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(write_error(writer, 500, &none), 0);
	vee_channel_close(writer);
}

/* The opener lives on. */
static void another_thread_may_close_again_and_again(void **state)
{
	unsigned maps = 0;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct vee_channel *writer = new_writer(RING_LEAST), *reader = new_reader(0);

		write_many(writer, 1, 100);
		assert_int_equal(read_sound(reader).sequence, i + 1);
		close_in_a_thread(writer);
		close_in_a_thread(reader);
		if (i == 20)
			maps = count_lines("/proc/self/maps");
	}
	assert_in_range(count_lines("/proc/self/maps"), 1, maps + 20);
}

static void *open_reader(void *arg)
{
	(void)arg;
	return new_reader(0);
}

static void *open_reliable(void *arg)
{
	(void)arg;
	return new_reliable();
}

static void *open_writer(void *arg)
{
	(void)arg;
	return new_writer(RING_LEAST);
}

static void *in_a_thread_that_ends(void *(*open)(void *))
{
	pthread_t thread;
	void *channel;

	CHECK(pthread_create(&thread, NULL, open, NULL) == 0);
	pthread_join(thread, &channel);
	return channel;
}

static void a_handle_outlives_the_thread_that_opened_it(void **state)
{
	struct vee_channel *writer, *reader, *reliable;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		writer = in_a_thread_that_ends(open_writer);
		reader = in_a_thread_that_ends(open_reader);
		reliable = in_a_thread_that_ends(open_reliable);
		assert_null_and(vee_channel_create(channel_name, NULL), EBUSY);
		assert_int_equal(read_error(reader, &none), EAGAIN);
		assert_int_equal(stat_of(reader).writer_pid, getpid());
		assert_int_equal(stat_of(writer).readers, 2);
		fill_ring(writer, 500);
		assert_int_equal(read_error(reader, &none), 0);
		assert_int_equal(read_error(reliable, &none), 0);
		vee_channel_close(reliable);
		for (unsigned j = 0; j < 300; j++)
			assert_int_equal(write_error(writer, 500, &none), 0);
		vee_channel_close(writer);
		vee_channel_close(reader);
		vee_channel_remove(channel_name);
	}
}

static void writer_of_an_ended_thread(void)
{
	struct vee_channel *writer = in_a_thread_that_ends(open_writer);

	say();
	await_parent();
	write_many(writer, 1, 100);
	say();
	await_parent();
}

static void reliable_of_an_ended_thread(void)
{
	struct vee_channel *reader = in_a_thread_that_ends(open_reliable);

	say();
	await_parent();
	read_error(reader, &none);
}

static void a_process_whose_opening_thread_has_ended_is_not_dead(void **state)
{
	struct child writer = start(writer_of_an_ended_thread), reader;
	struct vee_channel *own;

	(void)state;
	await(&writer);
	own = new_reader(0);
	assert_null_and(vee_channel_create(channel_name, NULL), EBUSY);
	assert_int_equal(read_error(own, &soon), EAGAIN);
	write_by(&writer);
	assert_int_equal(read_error(own, &none), 0);
	send_signal(writer.pid, SIGKILL);
	assert_int_equal(read_error(own, &long_time), EOWNERDEAD);
	end_of(&writer);
	vee_channel_close(own);
	own = new_writer(0);
	reader = start(reliable_of_an_ended_thread);
	await(&reader);
	fill_ring(own, 500);
	assert_int_equal(write_error(own, 500, &soon), EAGAIN);
	assert_int_equal(stat_of(own).reliable, 1);
	kill_child(&reader);
	assert_int_equal(write_error(own, 500, &long_time), 0);
	vee_channel_close(own);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(names_that_cannot_be_are_refused_in_words),
		TEST(names_that_are_too_long_are_refused_in_words),
		TEST(a_failure_in_a_folder_that_is_gone_has_words),
		TEST(a_name_of_any_letters_is_good),
		TEST(a_name_without_a_slash_lies_in_the_namespace),
		TEST(a_path_may_lead_far_and_be_relative),
		TEST(what_is_not_there_is_enoent),
		TEST(no_link_is_followed),
		TEST(options_that_cannot_be_are_refused),
		TEST(new_means_new),
		TEST(an_existing_channel_keeps_its_ring_and_mode),
		TEST(what_is_in_a_channel_stays),
		TEST(other_files_are_no_channels),
		TEST(what_is_no_channel_is_not_removed),
		TEST(a_damaged_channel_is_refused),
		TEST(a_damaged_channel_hangs_and_crashes_nobody),
		TEST(places_that_cannot_be_mislead_nobody),
		TEST(small_messages_to_a_cut_channel_are_eio),
		TEST(a_channel_cut_to_nothing_is_eio),
		TEST(a_channel_cut_to_its_header_is_eio),
		TEST(a_channel_cut_in_the_ring_is_eio),
		TEST(a_channel_cut_ahead_of_the_writer_is_eio),
		TEST(a_waiting_reader_notices_a_cut),
		TEST(a_cut_channel_harms_no_other),
		TEST(a_removed_channel_goes_on_for_who_has_it),
		TEST(a_removed_channel_leaves_nothing),
		TEST(another_user_may_read_sleep_and_poll),
		TEST(readers_of_two_users_do_not_disturb_each_other),
		TEST(another_user_may_not_write_nor_hold_up),
		TEST(the_mode_says_who_may_read),
		TEST(the_group_may_read_by_0640),
		TEST(another_user_may_be_reliable_if_the_writer_says_so),
		TEST(all_who_poll_are_told_whatever_user_they_are_of),
		TEST(users_that_are_gone_take_no_room),
		TEST(the_one_who_polls_in_a_crowd_of_another_user_is_told),
		TEST(a_full_file_system_is_enospc_and_no_more),
		TEST(too_little_memory_is_enomem_and_leaves_nothing),
		TEST(a_large_ring_takes_memory_as_it_is_written),
		TEST(a_thousand_readers_of_one_process_get_each_message),
		TEST(a_thousand_waiting_readers_are_woken_by_one_message),
		TEST(too_many_readers_are_eusers),
		TEST(ten_thousand_channels_are_written_by_one_process),
		TEST(a_death_with_thousands_of_handles_is_seen_by_all),
		TEST(opening_and_closing_leaves_nothing),
		TEST(another_thread_may_close),
		TEST(another_thread_may_close_again_and_again),
		TEST(a_handle_outlives_the_thread_that_opened_it),
		TEST(a_process_whose_opening_thread_has_ended_is_not_dead),
	};

	prepare(argc, argv);
	return cmocka_run_group_tests_name("channels: files", tests, make_folder, remove_folder);
}
