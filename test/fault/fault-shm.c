/*
 * fault-shm.c - system calls that fail, file systems that are full or forbidden, files that are not ours.
 *
 * What is proved: an operation of which the Nth system call fails gives an error or succeeds; the
 * namespace is sound, the same operation without the fault succeeds, and when all is removed nothing
 * is left. A namespace that can't be opened gives a negative errno and a line that says why.
 */
#include "crash/actor.h"

#include <grp.h>
#include <sched.h>
#include <sys/mount.h>

#define KEY  0x5eed
#define SIZE 10000

struct operation {
	const char *name;
	int (*prepare)(struct ipc_namespace *ns);
	int (*run)(struct ipc_namespace *ns);
	bool opens; /* the operation opens the namespace itself */
};

struct attempt {
	const struct operation *operation;
	unsigned countdown;
	int error;
};

static int id = -1;
static void *at;

static int none(struct ipc_namespace *ns)
{
	(void)ns;
	return 0;
}

static int open_namespace(struct ipc_namespace *ns)
{
	return namespace_open(ns, folder, true, 0600);
}

static int enter(struct ipc_namespace *ns)
{
	struct proc *proc;

	return proc_enter(ns, &proc);
}

static int get_key(struct ipc_namespace *ns)
{
	return id = shm_get(ns, KEY, SIZE, IPC_CREAT | 0600);
}

static int get_private(struct ipc_namespace *ns)
{
	return id = shm_get(ns, IPC_PRIVATE, SIZE, 0600);
}

static int attach(struct ipc_namespace *ns)
{
	return shm_at(ns, id, NULL, 0, &at);
}

static int attach_readonly(struct ipc_namespace *ns)
{
	return shm_at(ns, id, NULL, SHM_RDONLY, &at);
}

static int detach(struct ipc_namespace *ns)
{
	return shm_dt(ns, at);
}

static int get_and_attach(struct ipc_namespace *ns)
{
	int ret = get_key(ns);

	return ret < 0 ? ret : attach(ns);
}

static int attach_twice(struct ipc_namespace *ns)
{
	int ret = get_and_attach(ns);

	return ret < 0 ? ret : attach(ns);
}

static int mark(struct ipc_namespace *ns)
{
	return shm_ctl(ns, id, IPC_RMID, NULL);
}

static int get_attach_mark(struct ipc_namespace *ns)
{
	int ret = get_and_attach(ns);

	return ret < 0 ? ret : mark(ns);
}

static int get_with_file(struct ipc_namespace *ns)
{
	int ret = get_and_attach(ns);

	return ret < 0 ? ret : detach(ns);
}

static int set(struct ipc_namespace *ns)
{
	struct shmid_ds ds;

	memset(&ds, 0, sizeof(ds));
	ds.shm_perm.mode = 0640;
	return shm_ctl(ns, id, IPC_SET, &ds);
}

static int stat_segment(struct ipc_namespace *ns)
{
	struct shmid_ds ds;

	return shm_ctl(ns, id, IPC_STAT, &ds);
}

static int info(struct ipc_namespace *ns)
{
	struct shm_info buf;

	return shm_ctl(ns, 0, SHM_INFO, &buf);
}

static int lock_segment(struct ipc_namespace *ns)
{
	return shm_ctl(ns, id, SHM_LOCK, NULL);
}

static const struct operation operations[] = {
	{"namespace_open", none, open_namespace, true},
	{"proc_enter", none, enter, false},
	{"shm_get by key, the first call", none, get_key, false},
	{"shm_get private", enter, get_private, false},
	{"first attach", get_key, attach, false},
	{"first attach, read-only", get_key, attach_readonly, false},
	{"second attach", get_and_attach, attach, false},
	{"third attach", attach_twice, attach, false},
	{"detach", get_and_attach, detach, false},
	{"last detach of a marked segment", get_attach_mark, detach, false},
	{"IPC_RMID, never attached", get_key, mark, false},
	{"IPC_RMID, with a file", get_with_file, mark, false},
	{"IPC_RMID, attached", get_and_attach, mark, false},
	{"IPC_SET", get_with_file, set, false},
	{"IPC_STAT", get_with_file, stat_segment, false},
	{"SHM_INFO", get_with_file, info, false},
	{"SHM_LOCK", get_key, lock_segment, false},
};

static const int errors[] = {ENOSPC, ENOMEM, EMFILE, EINTR, EACCES};

static unsigned open_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static unsigned mapped_segments(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned n = 0;

	while (maps && fgets(line, sizeof(line), maps))
		n += strstr(line, "/ns/shm/") != NULL;
	if (maps)
		fclose(maps);
	return n;
}

static void must_be_sound(struct ipc_namespace *ns, const char *when)
{
	const char *found = namespace_check(ns);

	if (!found)
		found = shm_check(ns);
	if (found)
		flaw("%s: %s", when, found);
}

/* Removes each segment, then what is attached: whatever the operation left of them. */
static void remove_all(struct ipc_namespace *ns)
{
	struct shm_info_entry entry;
	struct shm_attach_entry at_entry[8];
	uint64_t address[8];

	for (int i = -1; shm_each(ns, &i, &entry);) {
		unsigned n = shm_attachers(ns, entry.id, at_entry, ARRAY_SIZE(at_entry));

		for (unsigned j = 0; j < n; j++)
			address[j] = at_entry[j].address;
		shm_ctl(ns, entry.id, IPC_RMID, NULL);
		for (unsigned j = 0; j < n; j++)
			if (shm_dt(ns, (void *)address[j]) < 0)
				flaw("what is attached can't be detached");
	}
}

/* What a second, unhindered run of the operation and the removal of everything must find. */
static void settle(struct ipc_namespace *ns, const struct operation *operation, int ret,
		   unsigned descriptors)
{
	unsigned now;

	/* The kept descriptor of a segment's file may stay, and one that a failed close() left. */
	now = open_descriptors();
	if (now > descriptors + 2)
		flaw("%u descriptors stay open", now - descriptors);
	if (ret < 0) {
		int again = operation->run(ns);

		if (again < 0)
			flaw("without the fault: %s (after %s)", strerror(-again), strerror(-ret));
	}
	must_be_sound(ns, "after the second try");
	remove_all(ns);
	if (mapped_segments())
		flaw("%u mappings of segments stay", mapped_segments());
	must_be_sound(ns, "with all removed");
}

static void actor(const void *arg)
{
	const struct attempt *attempt = arg;
	const struct operation *operation = attempt->operation;
	struct ipc_namespace *ns = &actor_ns;
	unsigned descriptors;
	int ret;

	if (operation->opens)
		shm_init();
	else
		actor_opens(true);
	ret = operation->prepare(ns);
	if (ret < 0)
		flaw("can't be prepared: %s", strerror(-ret));
	descriptors = open_descriptors();
	os_fault.error = attempt->error;
	os_fault.countdown = attempt->countdown;
	ret = operation->run(ns);
	report->done = os_fault.countdown != 0;
	report->ret = ret;
	os_fault.countdown = 0;
	if (ret < -4095)
		flaw("returns %d", ret);
	if (operation->opens && ret < 0) {
		if (!arena_error[0])
			flaw("arena_error is empty after %s", strerror(-ret));
		ret = operation->run(ns);
		if (ret < 0) {
			flaw("without the fault: %s (%s)", strerror(-ret), arena_error);
			return;
		}
	}
	must_be_sound(ns, "after the fault");
	settle(ns, operation, ret, descriptors);
}

static unsigned n_wrong;

/* Also when the process ends without a word. */
static void check_one(const struct attempt *attempt)
{
	const char *name = attempt->operation->name, *error = strerrorname_np(attempt->error);
	int status;

	memset(report, 0, sizeof(*report));
	fresh_folder("fault");
	status = run_actor(actor, attempt);
	if (status == 0)
		status = run_actor(check_namespace, "nobody may be left");
	remove_tree(base);
	if (status || report->flawed) {
		print_error("%s, call %u gives %s: returned %d; status 0x%x; %s\n", name,
			    attempt->countdown, error, report->ret, status, report->wrong);
		n_wrong++;
	}
}

static void each_system_call_may_fail(void **state)
{
	(void)state;
	n_wrong = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
		for (unsigned e = 0; e < ARRAY_SIZE(errors); e++) {
			struct attempt attempt = {&operations[i], 0, errors[e]};

			do {
				attempt.countdown++;
				check_one(&attempt);
			} while (!report->done);
			if (e == 0)
				print_message("  %s: %u calls\n", operations[i].name,
					      attempt.countdown - 1);
		}
	}
	assert_int_equal(n_wrong, 0);
}

/* --- a namespace that can't be opened --- */

static void must_refuse(const char *what)
{
	struct ipc_namespace *ns = &actor_ns;
	unsigned before = open_descriptors();
	int ret = namespace_open(ns, folder, true, 0600);

	if (ret >= 0)
		flaw("%s: opened", what);
	else if (ret < -4095)
		flaw("%s: returns %d", what, ret);
	else if (!arena_error[0])
		flaw("%s: %s, without a line that says why", what, strerror(-ret));
	if (open_descriptors() != before)
		flaw("%s: a descriptor stays open", what);
	report->ret = ret;
}

static void run_refusal(actor_fn *actor_of, const void *arg, const char *what)
{
	int status;

	memset(report, 0, sizeof(*report));
	status = run_actor(actor_of, arg);
	remove_tree(base);
	if (status || report->flawed)
		fail_msg("%s: status 0x%x; %s", what, status, report->wrong);
}

static void make_namespace(const void *arg)
{
	(void)arg;
	actor_opens(true);
}

struct damage {
	const char *name;
	off_t at;
	size_t size;  /* random bytes, from `seed` */
	off_t length; /* -1: as it is */
	unsigned seed;
};

static void open_damaged(const void *arg)
{
	const struct damage *damage = arg;
	unsigned char bytes[8192];
	unsigned seed = damage->seed;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/namespace", folder);
	fd = open(path, O_RDWR | O_CLOEXEC);
	for (size_t i = 0; i < damage->size; i++)
		bytes[i] = rand_r(&seed) >> 7;
	if (pwrite(fd, bytes, damage->size, damage->at) != (ssize_t)damage->size ||
	    (damage->length >= 0 && ftruncate(fd, damage->length) < 0))
		flaw("the file can't be damaged");
	close(fd);
	must_refuse(damage->name);
}

static void a_damaged_file_is_refused(void **state)
{
	static const struct damage damages[] = {
		{"empty", 0, 0, 0, 1},
		{"a part of the header", 0, 0, 20, 1},
		{"the header alone", 0, 0, 4096, 1},
		{"a page short", 0, 0, ARENA_SIZE - 4096, 1},
		{"a byte long", 0, 0, ARENA_SIZE + 1, 1},
		{"another magic", 0, 8, -1, 2},
		{"another version", offsetof(struct arena_header, version), 4, -1, 3},
		{"not ready", offsetof(struct arena_header, state), 4, -1, 4},
		{"another signature", offsetof(struct arena_header, signature), 8, -1, 5},
		{"another size", offsetof(struct arena_header, size), 8, -1, 6},
		{"a heap beyond the file", offsetof(struct arena_header, heap_top), 4, -1, 7},
		{"journals beyond the file", offsetof(struct arena_header, journals_ready), 4, -1,
		 8},
		{"processes beyond the file", offsetof(struct arena_header, procs_ready), 4, -1, 9},
		{"random header", 0, 328, -1, 10},
		{"random bytes, short", 0, 8192, 8192, 11},
		{"random bytes", 0, 8192, -1, 12},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(damages); i++) {
		memset(report, 0, sizeof(*report));
		fresh_folder("fault");
		if (run_actor(make_namespace, NULL))
			fail_msg("no namespace: %s", report->wrong);
		run_refusal(open_damaged, &damages[i], damages[i].name);
	}
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 ||
	    setresuid(65534, 65534, 65534) < 0)
		flaw("can't become nobody");
}

static void open_read_only_folder(const void *arg)
{
	(void)arg;
	if (chmod(base, 0500) < 0)
		flaw("chmod");
	if (geteuid() == 0) {
		if (chown(base, 65534, 65534) < 0)
			flaw("chown");
		become_nobody();
	}
	must_refuse("a folder without write permission");
}

static void open_anothers(const void *arg)
{
	const char *what = arg;

	if (mkdir(folder, 0700) < 0 || chmod(base, 0755) < 0)
		flaw("mkdir");
	if (!strcmp(what, "root's") || !strcmp(what, "nobody's")) {
		uid_t other = 65533;

		if (!strcmp(what, "nobody's") && chown(folder, other, other) < 0)
			flaw("chown");
		become_nobody();
	} else if (chmod(folder, 0777) < 0) {
		flaw("chmod");
	}
	must_refuse(what);
}

static void open_over_file(const void *arg)
{
	int fd = open(folder, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	(void)arg;
	close(fd);
	must_refuse("a file where the folder should be");
}

static void open_over_link(const void *arg)
{
	char elsewhere[80];

	(void)arg;
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", base);
	if (mkdir(elsewhere, 0700) < 0 || symlink(elsewhere, folder) < 0)
		flaw("symlink");
	must_refuse("a link where the folder should be");
}

static void open_over_fifo(const void *arg)
{
	char path[128];

	(void)arg;
	snprintf(path, sizeof(path), "%s/namespace", folder);
	if (mkdir(folder, 0700) < 0 || mkfifo(path, 0600) < 0)
		flaw("mkfifo");
	must_refuse("a fifo where the file should be");
}

static void what_is_in_the_way_is_refused(void **state)
{
	static actor_fn *const ways[] = {open_read_only_folder, open_over_file, open_over_link,
					 open_over_fifo};
	static const char *const others[] = {"anybody's", "root's", "nobody's"};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		fresh_folder("fault");
		run_refusal(ways[i], NULL, "in the way");
	}
	for (unsigned i = 0; i < (geteuid() == 0 ? 3 : 1); i++) {
		fresh_folder("fault");
		run_refusal(open_anothers, others[i], others[i]);
	}
}

static void name_actor(const void *arg)
{
	char dir[3072];
	struct ipc_namespace *ns;
	int ret;

	setenv("VEE_DIR", base, 1);
	setenv("VEE_NS", arg, 1);
	arena_error[0] = '\0';
	ret = namespace_dir(NULL, dir, sizeof(dir));
	if (ret >= 0)
		flaw("'%.40s' is taken for a name: %.200s", (const char *)arg, dir);
	else if (!arena_error[0])
		flaw("'%.40s': %s, without a line that says why", (const char *)arg,
		     strerror(-ret));
	ret = namespace_get(&ns);
	if (ret >= 0)
		flaw("'%.40s' was opened", (const char *)arg);
	if (rmdir(base) < 0)
		flaw("'%.40s': something was made", (const char *)arg);
}

static void a_wrong_name_is_refused(void **state)
{
	static const char *const names[] = {"", ".", "..", "/", "a/b", "../x", "/tmp", ".hidden"};
	char longest[301];

	(void)state;
	memset(longest, 'x', 300);
	longest[300] = '\0';
	for (unsigned i = 0; i <= ARRAY_SIZE(names); i++) {
		const char *name = i < ARRAY_SIZE(names) ? names[i] : longest;

		fresh_folder("fault");
		run_refusal(name_actor, name, name);
	}
}

/* --- a full file system; the actor has mounts of its own --- */

static void mount_here(const char *options, unsigned long flags)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("vee", base, "tmpfs", flags, options) < 0) {
		report->ret = -errno;
		_exit(77);
	}
}

/* Leaves `free_kb` of it. */
static int fill(unsigned free_kb)
{
	struct statfs fs;
	char path[80];
	off_t size;
	int fd;

	snprintf(path, sizeof(path), "%s/ballast", base);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || os_statfs(base, &fs) < 0)
		flaw("can't be filled: %s", strerror(errno));
	size = (off_t)(fs.f_bavail * fs.f_bsize) - free_kb * 1024L;
	/* Behind what is there. */
	if (size > 0 && posix_fallocate(fd, lseek(fd, 0, SEEK_END), size))
		flaw("can't be filled by %ld bytes", (long)size);
	close(fd);
	return 0;
}

static void open_on_full(const void *arg)
{
	unsigned free_kb = *(const unsigned *)arg;
	char path[128];
	int ret;

	mount_here("size=8m,mode=700", 0);
	fill(free_kb);
	shm_init();
	ret = namespace_open(&actor_ns, folder, true, 0600);
	if (ret < 0 && ret != -ENOSPC && ret != -ENOMEM)
		flaw("namespace_open on a full file system: %s", strerror(-ret));
	if (ret < 0 && !arena_error[0])
		flaw("namespace_open on a full file system: no line that says why");
	if (ret < 0) {
		snprintf(path, sizeof(path), "%s/namespace", folder);
		if (access(path, F_OK) == 0)
			flaw("half a namespace is left");
		strcat(path, ".new");
		if (access(path, F_OK) == 0)
			flaw("%s is left", path);
		return;
	}
	/* It just went in: whatever comes now either fits or is an error, never a signal. */
	for (int i = 0; i < 3; i++)
		ret = shm_get(&actor_ns, IPC_PRIVATE, 4096, 0600);
	if (ret < 0 && ret != -ENOSPC && ret != -ENOMEM)
		flaw("shm_get on a full file system: %s", strerror(-ret));
	/* To check takes a journal, for which there may be no room. */
	snprintf(path, sizeof(path), "%s/ballast", base);
	unlink(path);
	must_be_sound(&actor_ns, "on a full file system");
}

static void get_until_full(const void *arg)
{
	struct ipc_namespace *ns;
	int n = 0, ret;

	(void)arg;
	mount_here("size=8m,mode=700", 0);
	ns = actor_opens(true);
	fill(200);
	/* Segments of a page: first their promises fill it. */
	while ((ret = shm_get(ns, IPC_PRIVATE, 4096, 0600)) >= 0 && n < 5000)
		n++;
	if (ret != -ENOSPC && ret != -ENOMEM)
		flaw("shm_get on a full file system: %d after %d", ret, n);
	if (n > 100)
		flaw("%d segments in 200 KiB", n);
	fill(0);
	/* Without a promise: their records do. */
	for (n = 0; (ret = shm_get(ns, KEY + n, 4096, IPC_CREAT | 010000 | 0600)) >= 0 && n < 5000;)
		n++;
	if (ret != -ENOSPC && ret != -ENOMEM)
		flaw("shm_get without reserve on a full file system: %d after %d", ret, n);
	must_be_sound(ns, "on a full file system");
	for (int i = -1, first = 1;; first = 0) {
		struct shm_info_entry entry;
		void *address;

		if (!shm_each(ns, &i, &entry))
			break;
		ret = first ? shm_at(ns, entry.id, NULL, 0, &address) : 0;
		if (ret < 0 && ret != -ENOMEM)
			flaw("shm_at on a full file system: %s", strerror(-ret));
		ret = shm_ctl(ns, entry.id, IPC_RMID, NULL);
		if (ret < 0)
			flaw("IPC_RMID on a full file system: %s", strerror(-ret));
	}
	must_be_sound(ns, "with all removed");
}

static void open_read_only_mount(const void *arg)
{
	(void)arg;
	mount_here("size=8m,mode=700", 0);
	if (mount("vee", base, "tmpfs", MS_REMOUNT | MS_RDONLY, "size=8m,mode=700") < 0)
		flaw("remount: %s", strerror(errno));
	must_refuse("a read-only file system");
}

/* true: skipped */
static bool run_mounted(actor_fn *mounted, const void *arg, const char *what)
{
	int status;

	memset(report, 0, sizeof(*report));
	fresh_folder("fault");
	status = run_actor(mounted, arg);
	remove_tree(base);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("  %s: skipped, no mount: %s\n", what, strerror(-report->ret));
		return true;
	}
	if (status || report->flawed)
		fail_msg("%s: status 0x%x; %s", what, status, report->wrong);
	return false;
}

static void a_full_file_system_gives_an_error_and_no_signal(void **state)
{
	(void)state;
	/* Whatever is missing: a page, the root, the first journal, the heap. */
	for (unsigned kb = 0; kb < 4096; kb += kb < 64 ? 4 : 68)
		if (run_mounted(open_on_full, &kb, "namespace_open on a full file system"))
			skip();
	if (run_mounted(get_until_full, NULL, "shm_get on a full file system"))
		skip();
}

static void a_read_only_file_system_is_refused(void **state)
{
	(void)state;
	if (run_mounted(open_read_only_mount, NULL, "a read-only file system"))
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_damaged_file_is_refused),
		cmocka_unit_test(what_is_in_the_way_is_refused),
		cmocka_unit_test(a_wrong_name_is_refused),
		cmocka_unit_test(a_full_file_system_gives_an_error_and_no_signal),
		cmocka_unit_test(a_read_only_file_system_is_refused),
		cmocka_unit_test(each_system_call_may_fail),
	};

	make_report();
	return cmocka_run_group_tests_name("fault-shm", tests, NULL, NULL);
}
