/* shmctl(): what each command reports and changes, who may, and which refusal comes first. */
#include "conform-shm.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>

#define CTL(id, cmd, buf) ERR(shmctl(id, cmd, (struct shmid_ds *)(buf)))
#define INDEX(id)	  ((id) % CONFORM_INDICES)

static struct shmid_ds stat_of(int id)
{
	struct shmid_ds ds;

	memset(&ds, 0xa5, sizeof(ds));
	assert_int_equal(shmctl(id, IPC_STAT, &ds), 0);
	return ds;
}

static char *attach(int id)
{
	char *p = shmat(id, NULL, 0);

	assert_ptr_not_equal(p, FAILED);
	return p;
}

#define assert_between(low, x, high)        \
	do {                                \
		assert_true((low) <= (x));  \
		assert_true((x) <= (high)); \
	} while (0)

/* --- IPC_STAT --- */

static void stat_of_a_new_segment_has_every_field(void **state)
{
	(void)state;
	key_t key = shm_free_key();
	time_t before = time(NULL);
	int id = shm_get(key, 12345, IPC_CREAT | 0642);
	time_t after = time(NULL);
	struct shmid_ds ds = stat_of(id);

	assert_int_equal(ds.shm_perm.__key, key);
	assert_int_equal(ds.shm_perm.uid, geteuid());
	assert_int_equal(ds.shm_perm.gid, getegid());
	assert_int_equal(ds.shm_perm.cuid, geteuid());
	assert_int_equal(ds.shm_perm.cgid, getegid());
	assert_int_equal(ds.shm_perm.mode, 0642);
	assert_int_equal(ds.shm_perm.__seq, id / CONFORM_INDICES);
	assert_int_equal(ds.shm_segsz, 12345);
	assert_int_equal(ds.shm_cpid, getpid());
	assert_int_equal(ds.shm_lpid, 0);
	assert_int_equal(ds.shm_nattch, 0);
	assert_int_equal(ds.shm_atime, 0);
	assert_int_equal(ds.shm_dtime, 0);
	assert_between(before, ds.shm_ctime, after);
}

static void stat_of_a_private_segment_has_key_zero(void **state)
{
	(void)state;
	struct shmid_ds ds = stat_of(shm_new(1, 0600));

	assert_int_equal(ds.shm_perm.__key, IPC_PRIVATE);
	assert_int_equal(ds.shm_segsz, 1);
}

static int make_segment(void *arg)
{
	int *id = arg;

	*id = shm_new(100, 0644);
	return *id < 0;
}

static void stat_names_the_effective_ids_of_the_creator(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int *id =
		mmap(NULL, sizeof(*id), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_int_equal(nobody_run(make_segment, id), 0);
	struct shmid_ds ds = stat_of(*id);
	assert_int_equal(ds.shm_perm.uid, CONFORM_NOBODY);
	assert_int_equal(ds.shm_perm.gid, CONFORM_NOBODY);
	assert_int_equal(ds.shm_perm.cuid, CONFORM_NOBODY);
	assert_int_equal(ds.shm_perm.cgid, CONFORM_NOBODY);
	assert_int_not_equal(ds.shm_cpid, getpid());
	munmap(id, sizeof(*id));
}

static int attach_only(void *arg)
{
	return ERR_P(shmat(*(int *)arg, NULL, 0));
}

static int attach_and_detach(void *arg)
{
	void *p = shmat(*(int *)arg, NULL, 0);

	NEED(p != FAILED);
	return ERR(shmdt(p));
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void attach_sets_atime_and_lpid(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	time_t before = time(NULL);
	struct held held = {0};

	assert_true(held_start(&held, attach_only, &id));
	struct shmid_ds ds = stat_of(id);
	assert_between(before, ds.shm_atime, time(NULL));
	assert_int_equal(ds.shm_dtime, 0);
	assert_int_equal(ds.shm_lpid, held.pid);
	assert_int_equal(ds.shm_cpid, getpid());
	assert_int_equal(ds.shm_nattch, 1);
	assert_int_equal(held_end(&held), 0);
}

static void detach_sets_dtime_and_lpid(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	time_t before = time(NULL);
	char *p = attach(id);

	assert_int_equal(stat_of(id).shm_dtime, 0);
	assert_int_equal(shmdt(p), 0);
	assert_between(before, stat_of(id).shm_dtime, time(NULL));
	assert_int_equal(stat_of(id).shm_lpid, getpid());
	pid_t pid = child_start(attach_and_detach, &id);
	assert_int_equal(child_wait(pid), 0);
	assert_int_equal(stat_of(id).shm_lpid, pid);
}

static void exit_while_attached_sets_dtime_and_lpid(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	time_t before = time(NULL);
	pid_t pid = child_start(attach_only, &id);

	assert_int_equal(child_wait(pid), 0);
	assert_between(before, stat_of(id).shm_dtime, time(NULL));
	assert_int_equal(stat_of(id).shm_lpid, pid);
	assert_int_equal(stat_of(id).shm_nattch, 0);
}

static void SIGKILL_while_attached_sets_dtime_and_lpid(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	time_t before = time(NULL);
	struct held held = {0};

	assert_true(held_start(&held, attach_only, &id));
	assert_int_equal(held_kill(&held), 1000 + SIGKILL);
	assert_between(before, stat_of(id).shm_dtime, time(NULL));
	assert_int_equal(stat_of(id).shm_lpid, held.pid);
}

static void fork_with_an_attach_sets_lpid_to_the_parent_then_exit_to_the_child(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id);
	struct held held = {0};

	assert_int_equal(child_run(attach_and_detach, &id), 0);
	assert_int_not_equal(stat_of(id).shm_lpid, getpid());
	assert_true(held_start(&held, nothing, NULL));
	assert_int_equal(stat_of(id).shm_lpid, getpid());
	assert_int_equal(held_end(&held), 0);
	assert_int_equal(stat_of(id).shm_lpid, held.pid);
	assert_int_equal(shmdt(p), 0);
}

static void attach_and_detach_leave_ctime(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	time_t ctime = stat_of(id).shm_ctime;

	usleep(1100000);
	shmdt(attach(id));
	assert_int_equal(stat_of(id).shm_ctime, ctime);
	assert_true(stat_of(id).shm_atime > ctime);
	assert_true(stat_of(id).shm_dtime > ctime);
}

static void a_failed_attach_changes_nothing(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	void *page = conform_bad_page();

	assert_int_equal(ERR_P(shmat(id, page, 0)), EINVAL);
	assert_int_equal(stat_of(id).shm_atime, 0);
	assert_int_equal(stat_of(id).shm_lpid, 0);
	assert_int_equal(stat_of(id).shm_nattch, 0);
	munmap(page, page_size());
}

static void stat_needs_read_permission(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	struct shmid_ds ds;

	assert_int_equal(NOBODY_CTL(shm_new(100, 0600), IPC_STAT, &ds), EACCES);
	assert_int_equal(NOBODY_CTL(shm_new(100, 0602), IPC_STAT, &ds), EACCES);
	assert_int_equal(NOBODY_CTL(shm_new(100, 0604), IPC_STAT, &ds), 0);
	int id = shm_new(100, 0600);
	assert_int_equal(NOBODY_CTL(INDEX(id), SHM_STAT, &ds), EACCES);
}

/* --- IPC_SET --- */

static void set_changes_owner_mode_and_ctime_alone(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	key_t key = shm_free_key();
	int id = shm_get(key, 100, IPC_CREAT | 0600);
	struct shmid_ds old = stat_of(id), in, now;

	memset(&in, 0x5a, sizeof(in));
	in.shm_perm.uid = 111;
	in.shm_perm.gid = 222;
	in.shm_perm.mode = 0751;
	usleep(1100000);
	time_t before = time(NULL);
	assert_int_equal(CTL(id, IPC_SET, &in), 0);
	now = stat_of(id);
	assert_int_equal(now.shm_perm.uid, 111);
	assert_int_equal(now.shm_perm.gid, 222);
	assert_int_equal(now.shm_perm.mode, 0751);
	assert_between(before, now.shm_ctime, time(NULL));
	assert_int_equal(now.shm_perm.cuid, old.shm_perm.cuid);
	assert_int_equal(now.shm_perm.cgid, old.shm_perm.cgid);
	assert_int_equal(now.shm_perm.__key, key);
	assert_int_equal(now.shm_perm.__seq, old.shm_perm.__seq);
	assert_int_equal(now.shm_segsz, 100);
	assert_int_equal(now.shm_cpid, old.shm_cpid);
	assert_int_equal(now.shm_lpid, 0);
	assert_int_equal(now.shm_atime, 0);
	assert_int_equal(now.shm_dtime, 0);
}

static void set_keeps_only_nine_mode_bits(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	struct shmid_ds ds = stat_of(id);

	ds.shm_perm.mode = 0xffff;
	assert_int_equal(CTL(id, IPC_SET, &ds), 0);
	assert_int_equal(stat_of(id).shm_perm.mode, 0777);
	ds.shm_perm.mode = SHM_DEST | SHM_LOCKED | 0640;
	assert_int_equal(CTL(id, IPC_SET, &ds), 0);
	assert_int_equal(stat_of(id).shm_perm.mode, 0640);
}

static void set_by_another_is_EPERM_whatever_the_mode(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(100, 0666);
	struct shmid_ds ds = stat_of(id);

	assert_int_equal(NOBODY_CTL(id, IPC_SET, &ds), EPERM);
}

static void set_to_an_invalid_uid_or_gid_is_EINVAL_and_changes_nothing(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	struct shmid_ds ds = stat_of(id);

	ds.shm_perm.mode = 0644;
	ds.shm_perm.uid = (uid_t)-1;
	assert_int_equal(CTL(id, IPC_SET, &ds), EINVAL);
	ds.shm_perm.uid = geteuid();
	ds.shm_perm.gid = (gid_t)-1;
	assert_int_equal(CTL(id, IPC_SET, &ds), EINVAL);
	assert_int_equal(stat_of(id).shm_perm.mode, 0600);
	assert_int_equal(stat_of(id).shm_perm.uid, geteuid());
	assert_int_equal(stat_of(id).shm_perm.gid, getegid());
}

static void set_by_another_is_EPERM_before_a_bad_uid_is_EINVAL(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(100, 0666);
	struct shmid_ds ds = stat_of(id);

	ds.shm_perm.uid = (uid_t)-1;
	assert_int_equal(NOBODY_CTL(id, IPC_SET, &ds), EPERM);
}

static int give_away(void *arg)
{
	(void)arg;
	int id = shm_new(100, 0600);
	struct shmid_ds ds;

	NEED(shmctl(id, IPC_STAT, &ds) == 0);
	ds.shm_perm.uid = 4242; /* needs no privilege */
	ds.shm_perm.gid = 4343;
	NEED(shmctl(id, IPC_SET, &ds) == 0);
	NEED(shmctl(id, IPC_STAT, &ds) == 0);
	NEED(ds.shm_perm.uid == 4242 && ds.shm_perm.gid == 4343);
	ds.shm_perm.mode = 0;
	NEED(shmctl(id, IPC_SET, &ds) == 0); /* still the creator */
	NEED(shm_nattch(id) == -EACCES);
	NEED(shm_remove(id) == 0);
	return 0;
}

static void a_segment_can_be_given_away_and_the_creator_keeps_control(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	assert_int_equal(nobody_run(give_away, NULL), 0);
}

static void a_new_owner_has_control(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(100, 0600);
	struct shmid_ds ds = stat_of(id);

	assert_int_equal(NOBODY_AT(id, 0), EACCES);
	ds.shm_perm.uid = CONFORM_NOBODY;
	assert_int_equal(CTL(id, IPC_SET, &ds), 0);
	assert_int_equal(NOBODY_AT(id, 0), 0);
	assert_int_equal(NOBODY_CTL(id, IPC_SET, &ds), 0);
	assert_int_equal(NOBODY_CTL(id, IPC_RMID, NULL), 0);
	assert_true(shm_gone_with_it(id));
}

static void a_mode_change_leaves_attaches_alone(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id);
	struct shmid_ds ds = stat_of(id);

	ds.shm_perm.mode = 0;
	assert_int_equal(CTL(id, IPC_SET, &ds), 0);
	p[0] = 1;
	assert_int_equal(shmdt(p), 0);
}

/* --- IPC_RMID --- */

static void remove_by_another_is_EPERM_whatever_the_mode(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(100, 0777);

	assert_int_equal(NOBODY_CTL(id, IPC_RMID, NULL), EPERM);
	assert_int_equal(shm_nattch(id), 0);
}

static void remove_of_a_stale_id_is_EINVAL_for_all(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(100, 0600);

	assert_int_equal(shm_remove(id), 0);
	assert_int_equal(shm_remove(id), EINVAL);
	assert_int_equal(NOBODY_CTL(id, IPC_RMID, NULL), EINVAL);
}

static void remove_ignores_its_pointer(void **state)
{
	(void)state;
	assert_int_equal(CTL(shm_new(100, 0600), IPC_RMID, 1), 0);
}

static void a_removed_attached_segment_shows_DEST_and_loses_its_key(void **state)
{
	(void)state;
	key_t key = shm_free_key();
	int id = shm_get(key, 100, IPC_CREAT | 0600);
	char *p = attach(id);
	struct shmid_ds before = stat_of(id);

	assert_int_equal(shm_remove(id), 0);
	struct shmid_ds ds = stat_of(id);
	assert_int_equal(ds.shm_perm.mode, SHM_DEST | 0600);
	assert_int_equal(ds.shm_perm.__key, IPC_PRIVATE);
	assert_int_equal(ds.shm_nattch, 1);
	assert_int_equal(ds.shm_segsz, 100);
	assert_int_equal(ds.shm_ctime, before.shm_ctime);
	assert_int_equal(ERR(shmget(key, 0, 0)), ENOENT);
	assert_int_equal(shmdt(p), 0);
	assert_true(shm_gone(id));
}

static void the_key_can_be_made_anew_while_the_old_is_attached(void **state)
{
	(void)state;
	key_t key = shm_free_key();
	int old = shm_get(key, 100, IPC_CREAT | 0600);
	char *p = attach(old);

	strcpy(p, "old");
	assert_int_equal(shm_remove(old), 0);
	int new = shm_get(key, 200, IPC_CREAT | IPC_EXCL | 0600);
	assert_true(new >= 0 && new != old);
	char *q = attach(new);
	assert_int_equal(q[0], 0);
	assert_string_equal(p, "old");
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(shmget(key, 0, 0), new);
	assert_int_equal(shmdt(q), 0);
}

static void removing_twice_while_attached_is_fine(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id);

	assert_int_equal(shm_remove(id), 0);
	assert_int_equal(shm_remove(id), 0);
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(shm_remove(id), EINVAL);
}

static void set_works_on_a_removed_attached_segment_and_keeps_DEST(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id);

	assert_int_equal(shm_remove(id), 0);
	struct shmid_ds ds = stat_of(id);
	ds.shm_perm.mode = 0644;
	assert_int_equal(CTL(id, IPC_SET, &ds), 0);
	assert_int_equal(stat_of(id).shm_perm.mode, SHM_DEST | 0644);
	assert_int_equal(shmdt(p), 0);
	assert_true(shm_gone(id));
}

/* --- IPC_INFO, SHM_INFO --- */

static void ipc_info_tells_the_limits_and_the_highest_index(void **state)
{
	(void)state;
	int ids[4], highest = 0;
	struct shminfo info;

	for (int i = 0; i < 4; i++) {
		ids[i] = shm_new(100, 0600);
		if (INDEX(ids[i]) > highest)
			highest = INDEX(ids[i]);
	}
	memset(&info, 0xa5, sizeof(info));
	int rc = shmctl(0, IPC_INFO, (struct shmid_ds *)&info);
	assert_true(rc >= highest);
	assert_int_equal(info.shmmin, 1);
	assert_true(info.shmmni >= 4);
	assert_int_equal(info.shmseg, info.shmmni);
	assert_true(info.shmmax >= 100);
	assert_true(info.shmall >= 1);
	assert_int_equal(shmctl(INT32_MAX, IPC_INFO, (struct shmid_ds *)&info), rc); /* any id */
}

static unsigned long proc_number(const char *path)
{
	unsigned long n = 0;
	FILE *f = fopen(path, "re");

	if (!f)
		return 0;
	if (fscanf(f, "%lu", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

static void ipc_info_and_proc_sys_agree(void **state)
{
	(void)state;
	struct shminfo info;

	if (access("/proc/sys/kernel/shmmni", R_OK))
		skip();
	assert_true(shmctl(0, IPC_INFO, (struct shmid_ds *)&info) >= 0);
	assert_true(info.shmmax == proc_number("/proc/sys/kernel/shmmax"));
	assert_true(info.shmall == proc_number("/proc/sys/kernel/shmall"));
	assert_true(info.shmmni == proc_number("/proc/sys/kernel/shmmni"));
}

static struct shm_info info_now(void)
{
	struct shm_info info;

	memset(&info, 0xa5, sizeof(info));
	assert_true(shmctl(0, SHM_INFO, (struct shmid_ds *)&info) >= 0);
	return info;
}

enum {
	TRIES = 50
}; /* others may use the namespace at the same time: see the exact step once */

static void shm_info_counts_ids_and_total_pages(void **state)
{
	(void)state;
	bool seen = false;

	for (int i = 0; i < TRIES && !seen; i++) {
		struct shm_info a = info_now();
		int id = shm_new(3 * page_size() + 1, 0600);
		struct shm_info b = info_now();
		int rc = shmctl(0, SHM_INFO, (struct shmid_ds *)&b);
		assert_true(rc >= INDEX(id));
		assert_int_equal(shm_remove(id), 0);
		struct shm_info c = info_now();
		seen = b.used_ids == a.used_ids + 1 && c.used_ids == a.used_ids &&
		       b.shm_tot == a.shm_tot + 4 && c.shm_tot == a.shm_tot;
	}
	assert_true(seen);
}

static void shm_info_counts_touched_pages_alone(void **state)
{
	(void)state;
	bool seen = false;

	for (int i = 0; i < TRIES && !seen; i++) {
		struct shm_info a = info_now();
		int id = shm_new(10 * page_size(), 0600);
		char *p = attach(id);
		struct shm_info b = info_now();
		for (int k = 0; k < 7; k++)
			p[(size_t)k * page_size()] = 1;
		struct shm_info c = info_now();
		assert_int_equal(shmdt(p), 0);
		struct shm_info d = info_now();
		assert_int_equal(shm_remove(id), 0);
		struct shm_info e = info_now();
		seen = b.shm_rss == a.shm_rss && c.shm_rss == a.shm_rss + 7 &&
		       d.shm_rss == c.shm_rss && e.shm_rss == a.shm_rss;
	}
	assert_true(seen);
}

static void shm_info_counts_a_page_that_was_only_read(void **state)
{
	(void)state;
	bool seen = false;

	for (int i = 0; i < TRIES && !seen; i++) {
		char *p = attach(shm_new(4 * page_size(), 0600));
		struct shm_info a = info_now();
		volatile char c = *(volatile char *)p;
		struct shm_info b = info_now();
		(void)c;
		assert_int_equal(shmdt(p), 0);
		seen = b.shm_rss == a.shm_rss + 1;
	}
	assert_true(seen);
}

static void shm_info_still_counts_a_removed_attached_segment(void **state)
{
	(void)state;
	bool seen = false;

	for (int i = 0; i < TRIES && !seen; i++) {
		int id = shm_new(2 * page_size(), 0600);
		char *p = attach(id);
		p[0] = 1;
		struct shm_info a = info_now();
		assert_int_equal(shm_remove(id), 0);
		struct shm_info b = info_now();
		assert_int_equal(shmdt(p), 0);
		struct shm_info c = info_now();
		seen = b.used_ids == a.used_ids && b.shm_tot == a.shm_tot &&
		       b.shm_rss == a.shm_rss && c.used_ids == a.used_ids - 1 &&
		       c.shm_tot == a.shm_tot - 2 && c.shm_rss == a.shm_rss - 1;
	}
	assert_true(seen);
}

static void info_needs_no_permission(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	struct shminfo limits;
	struct shm_info info;

	shm_new(100, 0);
	assert_int_equal(NOBODY_CTL(0, IPC_INFO, (void *)&limits), 0);
	assert_int_equal(NOBODY_CTL(0, SHM_INFO, (void *)&info), 0);
}

/* --- SHM_STAT, SHM_STAT_ANY --- */

static void shm_stat_takes_an_index_or_an_id_and_returns_the_id(void **state)
{
	(void)state;
	int id = shm_new(777, 0640);
	struct shmid_ds ds;

	memset(&ds, 0xa5, sizeof(ds));
	assert_int_equal(shmctl(INDEX(id), SHM_STAT, &ds), id);
	assert_int_equal(ds.shm_segsz, 777);
	assert_int_equal(ds.shm_perm.mode, 0640);
	assert_int_equal(shmctl(id, SHM_STAT, &ds), id);
	assert_int_equal(shmctl(INDEX(id), SHM_STAT_ANY, &ds), id);
	assert_int_equal(shmctl(id, SHM_STAT_ANY, &ds), id);
}

static void shm_stat_looks_at_the_index_alone(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	struct shmid_ds ds;

	assert_int_equal(shmctl(id ^ CONFORM_INDICES, SHM_STAT, &ds), id); /* a wrong seq */
	assert_int_equal(shmctl(id ^ CONFORM_INDICES, SHM_STAT_ANY, &ds), id);
	assert_int_equal(CTL(id ^ CONFORM_INDICES, IPC_STAT, &ds), EINVAL);
}

static void shm_stat_of_an_unused_index_is_EINVAL(void **state)
{
	(void)state;
	struct shmid_ds ds;

	assert_int_equal(CTL(CONFORM_INDICES - 1, SHM_STAT, &ds), EINVAL);
	assert_int_equal(CTL(CONFORM_INDICES - 1, SHM_STAT_ANY, &ds), EINVAL);
}

static void shm_stat_lists_every_segment_up_to_the_highest_index(void **state)
{
	(void)state;
	int ids[20], found = 0;
	struct shmid_ds ds;
	struct shm_info info;

	for (int i = 0; i < 20; i++)
		ids[i] = shm_new(100, 0600);
	int max = shmctl(0, SHM_INFO, (struct shmid_ds *)&info);
	for (int index = 0; index <= max; index++) {
		int id = shmctl(index, SHM_STAT, &ds);
		for (int i = 0; i < 20; i++)
			found += id == ids[i];
	}
	assert_int_equal(found, 20);
}

static void shm_stat_shows_a_removed_attached_segment(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id);
	struct shmid_ds ds;

	assert_int_equal(shm_remove(id), 0);
	assert_int_equal(shmctl(INDEX(id), SHM_STAT, &ds), id);
	assert_int_equal(ds.shm_perm.mode, SHM_DEST | 0600);
	assert_int_equal(shmdt(p), 0);
}

static void stat_any_needs_no_permission(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(100, 0);
	struct shmid_ds ds;

	assert_int_equal(NOBODY_CTL(INDEX(id), SHM_STAT, &ds), EACCES);
	assert_int_equal(NOBODY_CTL(INDEX(id), SHM_STAT_ANY, &ds), 0);
	assert_int_equal(NOBODY_CTL(id, SHM_STAT_ANY, &ds), 0);
}

/* --- bad pointers, ids, commands --- */

static void bad_pointers_are_EFAULT_in_every_command(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *none = conform_bad_page(), *ro = conform_read_only_page();
	void *bad[] = {NULL, (void *)1, none, (void *)(UINTPTR_MAX - 4095), (void *)-1L};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(CTL(id, IPC_STAT, bad[i]), EFAULT);
		assert_int_equal(CTL(id, IPC_SET, bad[i]), EFAULT);
		assert_int_equal(CTL(INDEX(id), SHM_STAT, bad[i]), EFAULT);
		assert_int_equal(CTL(INDEX(id), SHM_STAT_ANY, bad[i]), EFAULT);
		assert_int_equal(CTL(0, IPC_INFO, bad[i]), EFAULT);
		assert_int_equal(CTL(0, SHM_INFO, bad[i]), EFAULT);
	}
	assert_int_equal(CTL(id, IPC_STAT, ro), EFAULT);
	assert_int_equal(CTL(INDEX(id), SHM_STAT, ro), EFAULT);
	assert_int_equal(CTL(0, IPC_INFO, ro), EFAULT);
	assert_int_equal(CTL(0, SHM_INFO, ro), EFAULT);
	munmap(none, page_size());
	munmap(ro, page_size());
}

static void a_struct_that_ends_in_a_bad_page_is_EFAULT(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *two = mmap(NULL, 2 * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	char *split = two + page_size() - 16;

	assert_int_equal(mprotect(two + page_size(), page_size(), PROT_NONE), 0);
	assert_int_equal(CTL(id, IPC_STAT, split), EFAULT);
	assert_int_equal(CTL(id, IPC_SET, split), EFAULT);
	assert_int_equal(CTL(id, SHM_STAT, split), EFAULT);
	assert_int_equal(CTL(0, IPC_INFO, split), EFAULT);
	assert_int_equal(CTL(0, SHM_INFO, split), EFAULT);
	munmap(two, 2 * page_size());
}

static void stat_says_EINVAL_or_EACCES_before_EFAULT(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(100, 0600), gone = shm_new(100, 0600);
	void *bad = conform_bad_page();

	assert_int_equal(shm_remove(gone), 0);
	assert_int_equal(CTL(gone, IPC_STAT, bad), EINVAL);
	assert_int_equal(CTL(CONFORM_INDICES - 1, SHM_STAT, bad), EINVAL);
	assert_int_equal(NOBODY_CTL(id, IPC_STAT, bad), EACCES);
	assert_int_equal(NOBODY_CTL(INDEX(id), SHM_STAT, bad), EACCES);
	assert_int_equal(NOBODY_CTL(INDEX(id), SHM_STAT_ANY, bad), EFAULT);
	munmap(bad, page_size());
}

static void set_says_EFAULT_before_EINVAL_or_EPERM(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(100, 0600), gone = shm_new(100, 0600);
	void *bad = conform_bad_page();

	assert_int_equal(shm_remove(gone), 0);
	assert_int_equal(CTL(gone, IPC_SET, bad), EFAULT);
	assert_int_equal(CTL(gone, IPC_SET, NULL), EFAULT);
	assert_int_equal(NOBODY_CTL(id, IPC_SET, bad), EFAULT);
	munmap(bad, page_size());
}

static void a_negative_id_is_EINVAL_before_all_else(void **state)
{
	(void)state;
	static const int cmd[] = {IPC_STAT, IPC_SET,	  IPC_RMID, IPC_INFO,	SHM_INFO,
				  SHM_STAT, SHM_STAT_ANY, SHM_LOCK, SHM_UNLOCK, 9999};
	struct shmid_ds ds = {0};

	for (size_t i = 0; i < sizeof(cmd) / sizeof(*cmd); i++) {
		assert_int_equal(CTL(-1, cmd[i], &ds), EINVAL);
		assert_int_equal(CTL(INT32_MIN, cmd[i], &ds), EINVAL);
		assert_int_equal(CTL(-1, cmd[i], NULL), EINVAL);
		assert_int_equal(CTL(-1, cmd[i], 1), EINVAL);
	}
}

static void an_unknown_command_is_EINVAL(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	struct shmid_ds ds;
	static const int cmd[] = {-1, INT32_MIN, INT32_MAX, 4, 5, 9, 10, 16, 17, 18, 20, 1000};

	for (size_t i = 0; i < sizeof(cmd) / sizeof(*cmd); i++) {
		assert_int_equal(CTL(id, cmd[i], &ds), EINVAL);
		assert_int_equal(CTL(id, cmd[i], NULL), EINVAL);
	}
}

/* --- SHM_LOCK, SHM_UNLOCK --- */

static void lock_sets_LOCKED_and_unlock_clears_it(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	time_t ctime = stat_of(id).shm_ctime;

	assert_int_equal(CTL(id, SHM_LOCK, NULL), 0);
	assert_int_equal(stat_of(id).shm_perm.mode, SHM_LOCKED | 0600);
	assert_int_equal(CTL(id, SHM_LOCK, 1), 0); /* twice, and with any pointer */
	assert_int_equal(stat_of(id).shm_perm.mode, SHM_LOCKED | 0600);
	struct shmid_ds ds = stat_of(id);
	ds.shm_perm.mode = 0640;
	assert_int_equal(CTL(id, IPC_SET, &ds), 0); /* IPC_SET keeps the flag */
	assert_int_equal(stat_of(id).shm_perm.mode, SHM_LOCKED | 0640);
	assert_int_equal(CTL(id, SHM_UNLOCK, NULL), 0);
	assert_int_equal(stat_of(id).shm_perm.mode, 0640);
	assert_int_equal(CTL(id, SHM_UNLOCK, NULL), 0);
	assert_between(ctime, stat_of(id).shm_ctime, time(NULL));
}

static void a_locked_segment_works_and_is_removed(void **state)
{
	(void)state;
	int id = shm_new(3 * page_size(), 0600);

	assert_int_equal(CTL(id, SHM_LOCK, NULL), 0);
	char *p = attach(id);
	p[2 * page_size()] = 1;
	assert_int_equal(CTL(id, IPC_RMID, NULL), 0);
	assert_int_equal(stat_of(id).shm_perm.mode, SHM_DEST | SHM_LOCKED | 0600);
	assert_int_equal(shmdt(p), 0);
	assert_true(shm_gone(id));
}

static void lock_by_another_is_EPERM(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(100, 0666);

	assert_int_equal(NOBODY_CTL(id, SHM_LOCK, NULL), EPERM);
	assert_int_equal(NOBODY_CTL(id, SHM_UNLOCK, NULL), EPERM);
	assert_int_equal(shm_remove(id), 0);
	assert_int_equal(NOBODY_CTL(id, SHM_LOCK, NULL), EINVAL);
}

static int set_memlock(rlim_t bytes)
{
	return setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){bytes, bytes});
}

static int lock_own(void *arg)
{
	(void)arg;
	int id = shm_new(1 << 20, 0600);

	NEED(id >= 0);
	NEED(set_memlock(64 << 10) == 0);
	NEED(CTL(id, SHM_LOCK, NULL) == ENOMEM); /* more than allowed */
	NEED(shm_nattch(id) == 0);
	int small = shm_new(4096, 0600);
	NEED(CTL(small, SHM_LOCK, NULL) == 0);
	NEED(set_memlock(0) == 0);
	NEED(CTL(small, SHM_UNLOCK, NULL) == 0); /* always allowed to the owner */
	NEED(CTL(small, SHM_LOCK, NULL) == EPERM);
	NEED(shm_remove(id) == 0 && shm_remove(small) == 0);
	return 0;
}

static void an_owner_locks_within_RLIMIT_MEMLOCK(void **state)
{
	(void)state;
	if (geteuid() == 0)
		assert_int_equal(nobody_run(lock_own, NULL), 0);
	else
		assert_int_equal(child_run(lock_own, NULL), 0);
}

static int lock_without_limit(void *arg)
{
	NEED(set_memlock(0) == 0);
	return CTL(*(int *)arg, SHM_LOCK, NULL);
}

static void root_locks_without_RLIMIT_MEMLOCK(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(1 << 20, 0600);

	assert_int_equal(child_run(lock_without_limit, &id), 0);
	assert_int_equal(stat_of(id).shm_perm.mode, SHM_LOCKED | 0600);
}

static void proc_sysvipc_lists_the_segment(void **state)
{
	(void)state;
	int id = shm_new(4321, 0640);
	char *p = attach(id), line[512];
	bool found = false;
	FILE *f = fopen("/proc/sysvipc/shm", "re");

	if (!f)
		skip();
	while (fgets(line, sizeof(line), f)) {
		long key, got, mode, size, cpid, lpid, nattch;
		if (sscanf(line, "%ld %ld %lo %ld %ld %ld %ld", &key, &got, &mode, &size, &cpid,
			   &lpid, &nattch) != 7 ||
		    got != id)
			continue;
		found = key == 0 && mode == 0640 && size == 4321 && cpid == getpid() &&
			lpid == getpid() && nattch == 1;
	}
	fclose(f);
	assert_true(found);
	assert_int_equal(shmdt(p), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(stat_of_a_new_segment_has_every_field),
		CONFORM_TEST(stat_of_a_private_segment_has_key_zero),
		CONFORM_TEST(stat_names_the_effective_ids_of_the_creator),
		CONFORM_TEST(attach_sets_atime_and_lpid),
		CONFORM_TEST(detach_sets_dtime_and_lpid),
		CONFORM_TEST(exit_while_attached_sets_dtime_and_lpid),
		CONFORM_TEST(SIGKILL_while_attached_sets_dtime_and_lpid),
		CONFORM_TEST(fork_with_an_attach_sets_lpid_to_the_parent_then_exit_to_the_child),
		CONFORM_TEST(attach_and_detach_leave_ctime),
		CONFORM_TEST(a_failed_attach_changes_nothing),
		CONFORM_TEST(stat_needs_read_permission),
		CONFORM_TEST(set_changes_owner_mode_and_ctime_alone),
		CONFORM_TEST(set_keeps_only_nine_mode_bits),
		CONFORM_TEST(set_by_another_is_EPERM_whatever_the_mode),
		CONFORM_TEST(set_to_an_invalid_uid_or_gid_is_EINVAL_and_changes_nothing),
		CONFORM_TEST(set_by_another_is_EPERM_before_a_bad_uid_is_EINVAL),
		CONFORM_TEST(a_segment_can_be_given_away_and_the_creator_keeps_control),
		CONFORM_TEST(a_new_owner_has_control),
		CONFORM_TEST(a_mode_change_leaves_attaches_alone),
		CONFORM_TEST(remove_by_another_is_EPERM_whatever_the_mode),
		CONFORM_TEST(remove_of_a_stale_id_is_EINVAL_for_all),
		CONFORM_TEST(remove_ignores_its_pointer),
		CONFORM_TEST(a_removed_attached_segment_shows_DEST_and_loses_its_key),
		CONFORM_TEST(the_key_can_be_made_anew_while_the_old_is_attached),
		CONFORM_TEST(removing_twice_while_attached_is_fine),
		CONFORM_TEST(set_works_on_a_removed_attached_segment_and_keeps_DEST),
		CONFORM_TEST(ipc_info_tells_the_limits_and_the_highest_index),
		CONFORM_TEST(ipc_info_and_proc_sys_agree),
		CONFORM_TEST(shm_info_counts_ids_and_total_pages),
		CONFORM_TEST(shm_info_counts_touched_pages_alone),
		CONFORM_TEST(shm_info_counts_a_page_that_was_only_read),
		CONFORM_TEST(shm_info_still_counts_a_removed_attached_segment),
		CONFORM_TEST(info_needs_no_permission),
		CONFORM_TEST(shm_stat_takes_an_index_or_an_id_and_returns_the_id),
		CONFORM_TEST(shm_stat_looks_at_the_index_alone),
		CONFORM_TEST(shm_stat_of_an_unused_index_is_EINVAL),
		CONFORM_TEST(shm_stat_lists_every_segment_up_to_the_highest_index),
		CONFORM_TEST(shm_stat_shows_a_removed_attached_segment),
		CONFORM_TEST(stat_any_needs_no_permission),
		CONFORM_TEST(bad_pointers_are_EFAULT_in_every_command),
		CONFORM_TEST(a_struct_that_ends_in_a_bad_page_is_EFAULT),
		CONFORM_TEST(stat_says_EINVAL_or_EACCES_before_EFAULT),
		CONFORM_TEST(set_says_EFAULT_before_EINVAL_or_EPERM),
		CONFORM_TEST(a_negative_id_is_EINVAL_before_all_else),
		CONFORM_TEST(an_unknown_command_is_EINVAL),
		CONFORM_TEST(lock_sets_LOCKED_and_unlock_clears_it),
		CONFORM_TEST(a_locked_segment_works_and_is_removed),
		CONFORM_TEST(lock_by_another_is_EPERM),
		CONFORM_TEST(an_owner_locks_within_RLIMIT_MEMLOCK),
		CONFORM_TEST(root_locks_without_RLIMIT_MEMLOCK),
		CONFORM_TEST(proc_sysvipc_lists_the_segment),
	};
	return CONFORM_RUN(tests);
}
