/* What happens to attaches when processes and threads come, change and go, and signals arrive. */
#include "conform-shm.h"

#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

extern char **environ;

static char *attach(int id)
{
	char *p = shmat(id, NULL, 0);

	assert_ptr_not_equal(p, FAILED);
	return p;
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static int attach_only(void *arg)
{
	return ERR_P(shmat(*(int *)arg, NULL, 0));
}

/* --- fork --- */

static void fork_counts_one_more_and_exit_one_less(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id);
	struct held held = {0};

	assert_true(held_start(&held, nothing, NULL));
	assert_int_equal(shm_nattch(id), 2);
	assert_int_equal(held_end(&held), 0);
	assert_int_equal(shm_nattch_left(id, 1), 1);
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(shm_nattch(id), 0);
}

static int detach_and_attach_again(void *arg)
{
	char *p = *(char **)arg;

	NEED(strcmp(p, "from parent") == 0);
	strcpy(p, "from child");
	NEED(shmdt(p) == 0);
	NEED(ERR(shmdt(p)) == EINVAL);
	return 0;
}

static void a_child_inherits_attaches_and_detaches_its_own(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id);
	struct held held = {0};

	strcpy(p, "from parent");
	assert_true(held_start(&held, detach_and_attach_again, &p));
	assert_int_equal(shm_nattch(id), 1);
	assert_string_equal(p, "from child");
	assert_int_equal(held_end(&held), 0);
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(shmdt(p), 0);
}

static void fork_counts_each_of_several_attaches(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p[3] = {attach(id), attach(id), attach(id)};
	struct held held = {0};

	assert_true(held_start(&held, nothing, NULL));
	assert_int_equal(shm_nattch(id), 6);
	assert_int_equal(shmdt(p[0]), 0);
	assert_int_equal(shm_nattch(id), 5);
	assert_int_equal(held_kill(&held), 1000 + SIGKILL);
	assert_int_equal(shm_nattch_left(id, 2), 2);
	assert_int_equal(shmdt(p[1]), 0);
	assert_int_equal(shmdt(p[2]), 0);
}

static int fork_deeper(void *arg)
{
	int depth = *(int *)arg;

	if (depth == 0)
		return 0;
	depth--;
	struct held held = {0};
	NEED(held_start(&held, fork_deeper, &depth));
	return held_kill(&held) == 1000 + SIGKILL ? 0 : 1;
}

static void a_chain_of_forks_leaves_nothing(void **state)
{
	(void)state;
	int id = shm_new(100, 0600), depth = 5;
	char *p = attach(id);

	assert_int_equal(child_run(fork_deeper, &depth), 0);
	assert_int_equal(shm_nattch_left(id, 1), 1);
	assert_int_equal(shmdt(p), 0);
}

/* --- vfork, exec, spawn --- */

static void a_vfork_child_is_not_counted(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id);
	static volatile long seen;
	int status;

	pid_t pid = vfork();
	if (pid == 0) {
		struct shmid_ds ds;
		seen = shmctl(id, IPC_STAT, &ds) ? -1 : (long)ds.shm_nattch;
		_exit(3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 3);
	assert_int_equal(seen, 1);
	assert_int_equal(shm_nattch(id), 1);
	strcpy(p, "still");
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(shm_nattch(id), 0);
}

static void a_vfork_child_that_execs_leaves_the_parents_attach(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id);

	pid_t pid = vfork();
	if (pid == 0) {
		execlp("true", "true", (char *)NULL);
		_exit(127);
	}
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(child_wait(pid), 0);
	assert_int_equal(shm_nattch(id), 1);
	strcpy(p, "still");
	assert_int_equal(shmdt(p), 0);
}

/* Starts "cat" on a pipe in a child that has run fn; returns when the exec has happened. */
struct cat {
	pid_t pid;
	int in;
};

static struct cat cat_start(child_fn *fn, void *arg)
{
	int in[2], done[2];
	char c;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(done, O_CLOEXEC), 0);
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		child_guard();
		NEED(fn(arg) == 0);
		dup2(in[0], 0);
		execlp("cat", "cat", (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(done[1]);
	assert_int_equal(read(done[0], &c, 1), 0); /* closed by the exec */
	close(done[0]);
	return (struct cat){pid, in[1]};
}

static int cat_end(struct cat cat)
{
	close(cat.in);
	return child_wait(cat.pid);
}

static void exec_drops_the_attaches(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	struct cat cat = cat_start(attach_only, &id);

	assert_int_equal(shm_nattch_left(id, 0), 0);
	assert_int_equal(cat_end(cat), 0);
	assert_int_equal(shm_nattch_left(id, 0), 0);
}

static void exec_drops_inherited_attaches_but_not_the_parents(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id);
	struct cat cat = cat_start(nothing, NULL);

	assert_int_equal(shm_nattch_left(id, 1), 1);
	assert_int_equal(cat_end(cat), 0);
	assert_int_equal(shm_nattch_left(id, 1), 1);
	assert_int_equal(shmdt(p), 0);
}

static void exec_of_the_last_attacher_removes_a_removed_segment(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id);

	assert_int_equal(shm_remove(id), 0);
	struct cat cat = cat_start(nothing, NULL);
	assert_int_equal(shmdt(p), 0);
	assert_true(shm_gone_with_it(id));
	assert_int_equal(cat_end(cat), 0);
}

static int failing_exec(void *arg)
{
	int id = *(int *)arg;
	char *p = shmat(id, NULL, 0);

	NEED(p != FAILED);
	NEED(execl("/nonexistent/program", "x", (char *)NULL) == -1 && errno == ENOENT);
	strcpy(p, "still here");
	NEED(shm_nattch(id) == 1);
	NEED(shmdt(p) == 0);
	NEED(shm_nattch(id) == 0);
	return 0;
}

static void a_failed_exec_keeps_the_attaches(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);

	assert_int_equal(child_run(failing_exec, &id), 0);
}

static void posix_spawn_leaves_the_parents_attach(void **state)
{
	(void)state;
	int id = shm_new(100, 0600), in[2];
	char *p = attach(id);
	char *argv[] = {(char *)"cat", NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	assert_int_equal(posix_spawnp(&pid, "cat", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	assert_int_equal(shm_nattch(id), 1);
	close(in[1]);
	assert_int_equal(child_wait(pid), 0);
	assert_int_equal(shm_nattch(id), 1);
	strcpy(p, "still");
	assert_int_equal(shmdt(p), 0);
}

static void system_and_popen_leave_the_parents_attach(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id);

	assert_int_equal(system("true"), 0);
	assert_int_equal(shm_nattch(id), 1);
	FILE *f = popen("cat >/dev/null", "w");
	assert_non_null(f);
	fputs("x\n", f);
	assert_int_equal(pclose(f), 0);
	assert_int_equal(shm_nattch(id), 1);
	strcpy(p, "still");
	assert_int_equal(shmdt(p), 0);
}

/* --- the ways to end --- */

enum {
	BY_SIGNAL = 100
};

static int attach_and_end(void *arg)
{
	int *id = arg; /* id[0], id[1]: the way */

	NEED(shmat(id[0], NULL, 0) != FAILED);
	switch (id[1]) {
	case 0:
		_exit(0);
	case 1:
		exit(0);
	case 2:
		_Exit(0);
	case 3:
		quick_exit(0);
	case 4:
		syscall(SYS_exit_group, 0);
		break;
	case 5:
		pthread_exit(NULL); /* the last thread */
	default:
		kill(getpid(), id[1] - BY_SIGNAL);
		pause();
	}
	return 98;
}

static void every_way_to_end_detaches_before_wait_returns(void **state)
{
	(void)state;
	static const int by_signal[] = {SIGKILL, SIGTERM, SIGSEGV, SIGABRT, SIGPIPE, SIGHUP};

	for (int way = 0; way <= 5; way++) {
		int id[2] = {shm_new(100, 0600), way};
		assert_int_equal(child_run(attach_and_end, id), 0);
		assert_int_equal(shm_nattch_left(id[0], 0), 0);
	}
	for (size_t i = 0; i < sizeof(by_signal) / sizeof(*by_signal); i++) {
		int id[2] = {shm_new(100, 0600), BY_SIGNAL + by_signal[i]};
		assert_int_equal(child_run(attach_and_end, id), 1000 + by_signal[i]);
		assert_int_equal(shm_nattch_left(id[0], 0), 0);
	}
}

static void a_removed_segment_goes_with_its_last_attacher_however_it_ends(void **state)
{
	(void)state;
	for (int way = 0; way < 2; way++) {
		int id = shm_new(100, 0600);
		struct held held = {0};
		assert_true(held_start(&held, attach_only, &id));
		assert_int_equal(shm_remove(id), 0);
		assert_int_equal(shm_nattch(id), 1);
		if (way == 0)
			assert_int_equal(held_kill(&held), 1000 + SIGKILL);
		else
			assert_int_equal(held_end(&held), 0);
		assert_true(shm_gone_with_it(id));
		assert_int_equal(ERR_P(shmat(id, NULL, 0)), EINVAL);
	}
}

static void a_segment_that_is_not_removed_outlives_all_attachers(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	struct held held = {0};

	assert_true(held_start(&held, attach_only, &id));
	assert_int_equal(held_kill(&held), 1000 + SIGKILL);
	assert_int_equal(shm_nattch_left(id, 0), 0);
	char *p = attach(id);
	assert_int_equal(shmdt(p), 0);
}

static int attach_for_ever(void *arg)
{
	for (;;) {
		char *p = shmat(*(int *)arg, NULL, 0);
		NEED(p != FAILED);
		p[0]++;
		NEED(shmdt(p) == 0);
	}
}

static void SIGKILL_at_any_moment_leaves_no_attach(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);

	for (int i = 0; i < 100; i++) {
		pid_t pid = child_start(attach_for_ever, &id);
		usleep((useconds_t)(200 + i * 37));
		kill(pid, SIGKILL);
		assert_int_equal(child_wait(pid), 1000 + SIGKILL);
		assert_int_equal(shm_nattch_left(id, 0), 0);
	}
	assert_int_equal(shm_remove(id), 0);
	assert_true(shm_gone(id));
}

static int make_for_ever(void *arg)
{
	for (;;) {
		int id = shmget(*(key_t *)arg, 100, IPC_CREAT | IPC_EXCL | 0600);
		NEED(id >= 0);
		NEED(shmctl(id, IPC_RMID, NULL) == 0);
	}
}

static void SIGKILL_while_making_and_removing_leaves_all_or_nothing(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		key_t key = shm_free_key();
		pid_t pid = child_start(make_for_ever, &key);
		usleep((useconds_t)(300 + i * 31));
		kill(pid, SIGKILL);
		assert_int_equal(child_wait(pid), 1000 + SIGKILL);
		int id = conform_keep(CONFORM_SHM, shmget(key, 100, 0600));
		if (id < 0)
			assert_int_equal(errno, ENOENT);
		else
			assert_int_equal(shm_remove(id), 0);
		id = shm_get(key, 100, IPC_CREAT | IPC_EXCL | 0600);
		assert_true(id >= 0);
		assert_int_equal(shm_remove(id), 0);
	}
}

/* --- threads --- */

static void *thread_attach(void *arg)
{
	return shmat(*(int *)arg, NULL, 0);
}

static void a_threads_attach_outlives_the_thread(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	pthread_t thread;
	void *p;

	assert_int_equal(pthread_create(&thread, NULL, thread_attach, &id), 0);
	assert_int_equal(pthread_join(thread, &p), 0);
	assert_ptr_not_equal(p, FAILED);
	assert_int_equal(shm_nattch(id), 1);
	strcpy(p, "usable");
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(shm_nattch(id), 0);
}

struct orphan {
	int id, ready, go;
};

static void *outlive_main(void *arg)
{
	struct orphan *o = arg;
	char path[64], text[256];
	char *s = NULL;

	for (int i = 0; i < 5000; i++) { /* until the main thread is a zombie */
		snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", getpid(), getpid());
		FILE *f = fopen(path, "re");
		NEED(f && fgets(text, sizeof(text), f));
		fclose(f);
		s = strrchr(text, ')');
		if (s && s[2] == 'Z')
			break;
		usleep(1000);
	}
	NEED(s && s[2] == 'Z');
	NEED(shm_nattch(o->id) == 1);
	pipe_tell(o->ready);
	pipe_await(o->go);
	void *p = shmat(o->id, NULL, 0);
	NEED(p != FAILED && shm_nattch(o->id) == 2);
	pipe_tell(o->ready);
	pipe_await(o->go);
	return NULL;
}

static int main_thread_ends(void *arg)
{
	struct orphan *o = arg;
	pthread_t thread;

	NEED(shmat(o->id, NULL, 0) != FAILED);
	NEED(pthread_create(&thread, NULL, outlive_main, o) == 0);
	pthread_exit(NULL);
}

static void a_process_whose_main_thread_ended_still_counts(void **state)
{
	(void)state;
	int ready[2], go[2];

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	struct orphan *o =
		mmap(NULL, sizeof(*o), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*o = (struct orphan){shm_new(100, 0600), ready[1], go[0]};
	pid_t pid = child_start(main_thread_ends, o);
	close(ready[1]);
	close(go[0]);
	assert_true(pipe_await(ready[0]));
	assert_int_equal(shm_nattch(o->id), 1);
	pipe_tell(go[1]);
	assert_true(pipe_await(ready[0]));
	assert_int_equal(shm_nattch(o->id), 2);
	pipe_tell(go[1]);
	assert_int_equal(child_wait(pid), 0);
	assert_int_equal(shm_nattch_left(o->id, 0), 0);
	close(ready[0]);
	close(go[1]);
	munmap(o, sizeof(*o));
}

static void *loop_everything(void *arg)
{
	long failed = 0;

	(void)arg;
	for (int i = 0; i < 1000; i++) {
		int id = shm_new(1000, 0600);
		char *p = shmat(id, NULL, 0);
		if (p == FAILED) {
			failed++;
			continue;
		}
		failed += p[0] != 0;
		p[0] = 1;
		failed += shm_nattch(id) != 1;
		failed += i % 2 ? shmdt(p) != 0 : shmctl(id, IPC_RMID, NULL) != 0;
		failed += i % 2 ? shmctl(id, IPC_RMID, NULL) != 0 : shmdt(p) != 0;
		failed += !shm_gone(id);
	}
	return (void *)failed;
}

static void four_threads_make_attach_and_remove(void **state)
{
	(void)state;
	pthread_t thread[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, loop_everything, NULL), 0);
	for (int i = 0; i < 4; i++) {
		void *failed;
		assert_int_equal(pthread_join(thread[i], &failed), 0);
		assert_ptr_equal(failed, NULL);
	}
}

static void *loop_attach(void *arg)
{
	long failed = 0;

	for (int i = 0; i < 1000; i++) {
		char *p = shmat(*(int *)arg, NULL, 0);
		failed += p == FAILED || shmdt(p) != 0;
	}
	return (void *)failed;
}

static void four_threads_attach_one_segment_while_another_forks(void **state)
{
	(void)state;
	int id = shm_new(1000, 0600);
	pthread_t thread[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, loop_attach, &id), 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(child_run(attach_only, &id), 0);
	for (int i = 0; i < 4; i++) {
		void *failed;
		assert_int_equal(pthread_join(thread[i], &failed), 0);
		assert_ptr_equal(failed, NULL);
	}
	assert_int_equal(shm_nattch_left(id, 0), 0);
}

/* --- daemons --- */

struct daemon_call {
	int id, ready, go;
	bool libc;
};

static int become_daemon(void *arg)
{
	struct daemon_call *d = arg;

	NEED(shmat(d->id, NULL, 0) != FAILED);
	if (d->libc) {
		NEED(daemon(0, 0) == 0);
	} else {
		if (fork() > 0)
			_exit(0);
		setsid();
		if (fork() > 0)
			_exit(0);
	}
	alarm(CONFORM_LIMIT_S / 2);
	pid_t self = getpid();
	NEED(write(d->ready, &self, sizeof(self)) == sizeof(self));
	pipe_await(d->go);
	_exit(shm_nattch(d->id) == 1 ? 7 : 8);
}

static void daemon_keeps_one_attach(bool libc)
{
	int ready[2], go[2];
	pid_t self;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	struct daemon_call d = {shm_new(100, 0600), ready[1], go[0], libc};
	pid_t first = child_start(become_daemon, &d);
	assert_int_equal(child_wait(first), 0);
	assert_int_equal(read(ready[0], &self, sizeof(self)), sizeof(self));
	if (!libc) /* the one in between is ours now, too */
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	for (int i = 0; i < 2000 && shm_nattch(d.id) != 1; i++)
		usleep(1000); /* the one in between may still be ending */
	assert_int_equal(shm_nattch(d.id), 1);
	pipe_tell(go[1]);
	assert_int_equal(child_wait(self), 7); /* we are its subreaper */
	assert_int_equal(shm_nattch_left(d.id, 0), 0);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	close(ready[0]);
	close(ready[1]);
	close(go[0]);
	close(go[1]);
}

static void a_double_fork_keeps_one_attach(void **state)
{
	(void)state;
	daemon_keeps_one_attach(false);
}

static void daemon_3_keeps_one_attach(void **state)
{
	(void)state;
	daemon_keeps_one_attach(true);
}

/* --- attaches changed by other calls --- */

static void munmap_of_a_whole_attach_detaches(void **state)
{
	(void)state;
	int id = shm_new(3 * page_size(), 0600);
	char *p = attach(id);

	assert_int_equal(munmap(p, 3 * page_size()), 0);
	assert_int_equal(shm_nattch(id), 0);
	p = attach(id);
	assert_int_equal(shm_remove(id), 0);
	assert_int_equal(munmap(p, 3 * page_size()), 0);
	assert_true(shm_gone(id));
}

static void munmap_of_the_middle_counts_two_pieces(void **state)
{
	(void)state;
	int id = shm_new(3 * page_size(), 0600);
	char *p = attach(id);

	assert_int_equal(munmap(p + page_size(), page_size()), 0);
	assert_int_equal(shm_nattch(id), 2);
	assert_int_equal(munmap(p, page_size()), 0);
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(shm_nattch(id), 0);
}

static void munmap_of_an_end_keeps_one(void **state)
{
	(void)state;
	int id = shm_new(3 * page_size(), 0600);
	char *p = attach(id);

	assert_int_equal(munmap(p, page_size()), 0);
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(munmap(p + 2 * page_size(), page_size()), 0);
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(munmap(p + page_size(), page_size()), 0);
	assert_int_equal(shm_nattch(id), 0);
}

static void mprotect_of_a_part_counts_pieces_until_it_is_undone(void **state)
{
	(void)state;
	int id = shm_new(3 * page_size(), 0600);
	char *p = attach(id);

	assert_int_equal(mprotect(p + page_size(), page_size(), PROT_READ), 0);
	assert_int_equal(shm_nattch(id), 3);
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(shm_nattch(id), 0);
}

static void a_mapping_over_an_attach_detaches(void **state)
{
	(void)state;
	int id = shm_new(2 * page_size(), 0600);
	char *p = attach(id);

	assert_ptr_equal(mmap(p, 2 * page_size(), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 p);
	assert_int_equal(shm_nattch(id), 0);
	assert_int_equal(ERR(shmdt(p)), EINVAL);
	p[0] = 1;
	munmap(p, 2 * page_size());
}

/* --- credentials, descriptors, raw calls --- */

static int drop_while_attached(void *arg)
{
	int *id = arg; /* 0600, 0666 */
	char *p = shmat(id[0], NULL, 0);

	NEED(p != FAILED);
	NEED(setuid(CONFORM_NOBODY) == 0); /* the gid is still root's: mode 0600 gives it nothing */
	p[0] = 1;
	NEED(ERR_P(shmat(id[0], NULL, 0)) == EACCES);
	NEED(ERR_P(shmat(id[0], NULL, SHM_RDONLY)) == EACCES);
	NEED(ERR(shmctl(id[0], IPC_RMID, NULL)) == EPERM);
	char *q = shmat(id[1], NULL, 0);
	NEED(q != FAILED);
	q[0] = 2;
	int own = shm_new(100, 0600);
	NEED(own >= 0);
	char *o = shmat(own, NULL, 0);
	NEED(o != FAILED);
	NEED(shmdt(o) == 0 && shm_remove(own) == 0);
	NEED(shmdt(p) == 0 && shmdt(q) == 0);
	return 0;
}

static void after_setuid_the_new_ids_count_and_attaches_stay(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id[2] = {shm_new(100, 0600), shm_new(100, 0666)};

	assert_int_equal(child_run(drop_while_attached, id), 0);
	assert_int_equal(shm_nattch(id[0]), 0);
	assert_int_equal(shm_nattch(id[1]), 0);
}

static int drop_and_come_back(void *arg)
{
	int id = *(int *)arg;

	NEED(seteuid(CONFORM_NOBODY) == 0);
	NEED(ERR_P(shmat(id, NULL, 0)) == EACCES);
	NEED(seteuid(0) == 0);
	NEED(ERR_P(shmat(id, NULL, 0)) == 0);
	return 0;
}

static void the_effective_uid_at_the_call_counts(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(100, 0600);

	assert_int_equal(child_run(drop_and_come_back, &id), 0);
}

static int close_everything(void *arg)
{
	int old = *(int *)arg;
	struct shmid_ds ds;

	NEED(shmat(old, NULL, 0) != FAILED); /* in use before, too */
	for (int fd = 0; fd < 1024; fd++)
		close(fd);
	int id = shm_new(5000, 0600);
	if (id < 0)
		return 1;
	char *p = shmat(id, NULL, 0);
	if (p == FAILED || p[4999] != 0)
		return 2;
	p[4999] = 1;
	if (shmctl(id, IPC_STAT, &ds) || ds.shm_nattch != 1)
		return 3;
	if (shmctl(old, IPC_STAT, &ds) || ds.shm_nattch != 1)
		return 4;
	if (open("/dev/null", O_RDWR) != 0 || open("/dev/null", O_RDWR) != 1)
		return 5; /* the lowest numbers are the program's */
	void *q = shmat(old, NULL, 0);
	if (q == FAILED || shmdt(q) || shmdt(p) || shmctl(id, IPC_RMID, NULL))
		return 6;
	return 0;
}

static void a_program_that_closes_all_descriptors_goes_on(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);

	assert_int_equal(child_run(close_everything, &id), 0);
	assert_int_equal(shm_nattch(id), 0);
}

static int at_kill_after_closing(void *arg)
{
	NEED(shmat(*(int *)arg, NULL, 0) != FAILED);
	for (int fd = 0; fd < 1024; fd++)
		close(fd);
	kill(getpid(), SIGKILL);
	return 1;
}

static void closing_all_descriptors_keeps_the_attach_until_death(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);

	assert_int_equal(child_run(at_kill_after_closing, &id), 1000 + SIGKILL);
	assert_int_equal(shm_nattch(id), 0);
}

static void raw_system_calls_work(void **state)
{
	(void)state;
#ifdef SYS_shmget
	struct shmid_ds ds;
	key_t key = shm_free_key();
	int id = conform_keep(CONFORM_SHM, (int)syscall(SYS_shmget, key, 100, IPC_CREAT | 0600));

	assert_true(id >= 0);
	assert_int_equal(shmget(key, 100, 0), id);
	char *p = (char *)syscall(SYS_shmat, id, NULL, 0);
	assert_ptr_not_equal(p, FAILED);
	strcpy(p, "raw");
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(syscall(SYS_shmctl, id, IPC_STAT, &ds), 0);
	assert_int_equal(ds.shm_segsz, 100);
	assert_int_equal(ds.shm_nattch, 1);
	assert_int_equal(ERR(syscall(SYS_shmctl, id, IPC_STAT, NULL)), EFAULT);
	char *q = attach(id);
	assert_string_equal(q, "raw");
	assert_int_equal(shmdt(q), 0);
	assert_int_equal(syscall(SYS_shmdt, p), 0);
	assert_int_equal(ERR(syscall(SYS_shmdt, p)), EINVAL);
	assert_int_equal(syscall(SYS_shmctl, id, IPC_RMID, NULL), 0);
	assert_int_equal(ERR(syscall(SYS_shmget, key, 100, 0)), ENOENT);
#else
	skip();
#endif
}

/* --- signals: always in a child, which has the timer to itself --- */

static volatile sig_atomic_t handled, handler_failed;
static volatile int handler_id;
static volatile key_t handler_key;
static sigjmp_buf handler_out;

static void on_timer(int sig)
{
	struct shmid_ds ds;
	int old = errno;

	(void)sig;
	if (shmget(handler_key, 0, 0) != handler_id)
		handler_failed = 1;
	if (shmctl(handler_id, IPC_STAT, &ds) || ds.shm_segsz != 100)
		handler_failed = 1;
	handled++;
	errno = old;
}

static void on_timer_full(int sig)
{
	int old = errno;
	int id = shmget(IPC_PRIVATE, 100, 0600);
	char *p = shmat(id, NULL, 0);

	(void)sig;
	if (id < 0 || p == FAILED || p[0] || shmdt(p) || shmctl(id, IPC_RMID, NULL))
		handler_failed = 1;
	handled++;
	errno = old;
}

static void on_timer_jump(int sig)
{
	on_timer(sig);
	siglongjmp(handler_out, 1);
}

static void timer_start(void (*handler)(int))
{
	struct sigaction sa = {.sa_handler = handler};
	struct itimerval every_ms = {{0, 1000}, {0, 1000}};

	NEED(sigaction(SIGALRM, &sa, NULL) == 0);
	NEED(setitimer(ITIMER_REAL, &every_ms, NULL) == 0);
}

static void timer_stop(void)
{
	NEED(setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL) == 0);
	signal(SIGALRM, SIG_DFL);
	alarm(CONFORM_LIMIT_S / 2);
}

static bool before_deadline(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000 <
	       1000;
}

static int loop_under_timer(void (*handler)(int))
{
	struct timespec start;
	long loops = 0;

	clock_gettime(CLOCK_MONOTONIC, &start);
	timer_start(handler);
	while (before_deadline(&start)) {
		char *p = shmat(handler_id, NULL, 0);
		NEED(p != FAILED);
		NEED(shmget(handler_key, 100, 0600) == handler_id);
		NEED(shmdt(p) == 0);
		loops++;
	}
	timer_stop();
	NEED(loops > 100);
	NEED(handled > 100);
	NEED(!handler_failed);
	NEED(shm_nattch(handler_id) == 0);
	return 0;
}

static int run_handler(void *arg)
{
	(void)arg;
	return loop_under_timer(on_timer);
}

static int run_handler_full(void *arg)
{
	(void)arg;
	return loop_under_timer(on_timer_full);
}

static int run_handler_jump(void *arg)
{
	char *volatile at = arg; /* a fixed address, so that nothing is lost by a jump */
	struct timespec start;
	static volatile long loops;

	clock_gettime(CLOCK_MONOTONIC, &start);
	sigsetjmp(handler_out, 1);
	timer_start(on_timer_jump);
	while (before_deadline(&start)) {
		if (shmat(handler_id, at, 0) == FAILED)
			NEED(errno == EINVAL); /* a jump came between shmat and shmdt */
		shmdt(at);
		loops++;
	}
	timer_stop();
	shmdt(at);
	NEED(loops > 100 && handled > 100 && !handler_failed);
	NEED(shm_nattch(handler_id) == 0);
	int id = shm_new(100, 0600);
	NEED(id >= 0 && shm_remove(id) == 0);
	return 0;
}

static void prepare_handler(void)
{
	handler_key = shm_free_key();
	handler_id = shm_get(handler_key, 100, IPC_CREAT | 0600);
	assert_true(handler_id >= 0);
}

static void a_handler_may_call_shmget_and_shmctl(void **state)
{
	(void)state;
	prepare_handler();
	assert_int_equal(child_run(run_handler, NULL), 0);
}

static void a_handler_may_make_attach_and_remove(void **state)
{
	(void)state;
	prepare_handler();
	assert_int_equal(child_run(run_handler_full, NULL), 0);
}

static void a_handler_may_jump_out(void **state)
{
	(void)state;
	char *at = mmap(NULL, page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(at, page_size());
	prepare_handler();
	assert_int_equal(child_run(run_handler_jump, at), 0);
	assert_int_equal(shm_nattch(handler_id), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(fork_counts_one_more_and_exit_one_less),
		CONFORM_TEST(a_child_inherits_attaches_and_detaches_its_own),
		CONFORM_TEST(fork_counts_each_of_several_attaches),
		CONFORM_TEST(a_chain_of_forks_leaves_nothing),
		CONFORM_TEST(a_vfork_child_is_not_counted),
		CONFORM_TEST(a_vfork_child_that_execs_leaves_the_parents_attach),
		CONFORM_TEST(exec_drops_the_attaches),
		CONFORM_TEST(exec_drops_inherited_attaches_but_not_the_parents),
		CONFORM_TEST(exec_of_the_last_attacher_removes_a_removed_segment),
		CONFORM_TEST(a_failed_exec_keeps_the_attaches),
		CONFORM_TEST(posix_spawn_leaves_the_parents_attach),
		CONFORM_TEST(system_and_popen_leave_the_parents_attach),
		CONFORM_TEST(every_way_to_end_detaches_before_wait_returns),
		CONFORM_TEST(a_removed_segment_goes_with_its_last_attacher_however_it_ends),
		CONFORM_TEST(a_segment_that_is_not_removed_outlives_all_attachers),
		CONFORM_TEST(SIGKILL_at_any_moment_leaves_no_attach),
		CONFORM_TEST(SIGKILL_while_making_and_removing_leaves_all_or_nothing),
		CONFORM_TEST(a_threads_attach_outlives_the_thread),
		CONFORM_TEST(a_process_whose_main_thread_ended_still_counts),
		CONFORM_TEST(four_threads_make_attach_and_remove),
		CONFORM_TEST(four_threads_attach_one_segment_while_another_forks),
		CONFORM_TEST(a_double_fork_keeps_one_attach),
		CONFORM_TEST(daemon_3_keeps_one_attach),
		CONFORM_TEST(munmap_of_a_whole_attach_detaches),
		CONFORM_TEST(munmap_of_the_middle_counts_two_pieces),
		CONFORM_TEST(munmap_of_an_end_keeps_one),
		CONFORM_TEST(mprotect_of_a_part_counts_pieces_until_it_is_undone),
		CONFORM_TEST(a_mapping_over_an_attach_detaches),
		CONFORM_TEST(after_setuid_the_new_ids_count_and_attaches_stay),
		CONFORM_TEST(the_effective_uid_at_the_call_counts),
		CONFORM_TEST(a_program_that_closes_all_descriptors_goes_on),
		CONFORM_TEST(closing_all_descriptors_keeps_the_attach_until_death),
		CONFORM_TEST(raw_system_calls_work),
		CONFORM_TEST(a_handler_may_call_shmget_and_shmctl),
		CONFORM_TEST(a_handler_may_make_attach_and_remove),
		CONFORM_TEST(a_handler_may_jump_out),
	};
	return CONFORM_RUN(tests);
}
