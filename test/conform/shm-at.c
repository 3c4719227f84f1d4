/* shmat() and shmdt(): where a segment lands, what may be done there, and how it comes off. */
#include "conform-shm.h"

#define AT(id, addr, flags) ERR_P(shmat(id, addr, flags))

static char *attach(int id, int flags)
{
	char *p = shmat(id, NULL, flags);

	assert_ptr_not_equal(p, FAILED);
	return p;
}

/* An address range of n pages that was free a moment ago. */
static char *free_range(size_t pages)
{
	char *p = mmap(NULL, pages * page_size(), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	munmap(p, pages * page_size());
	return p;
}

struct poke {
	volatile char *at;
};

static int poke_write(void *arg)
{
	struct poke *k = arg;

	*k->at = 1;
	return 0;
}

static int poke_read(void *arg)
{
	struct poke *k = arg;

	return *k->at;
}

#define WRITE_TO(p)  child_run(poke_write, &(struct poke){p})
#define READ_FROM(p) child_run(poke_read, &(struct poke){p})

static void a_new_segment_is_all_zero(void **state)
{
	(void)state;
	size_t size = 5 * page_size();
	char *p = attach(shm_new(size, 0600), 0);

	for (size_t i = 0; i < size; i++)
		assert_int_equal(p[i], 0);
	assert_int_equal(shmdt(p), 0);
}

static void a_null_address_lands_page_aligned(void **state)
{
	(void)state;
	char *p = attach(shm_new(100, 0600), 0);

	assert_int_equal((uintptr_t)p % page_size(), 0);
	assert_int_equal(shmdt(p), 0);
}

static void data_stays_while_nobody_is_attached(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id, 0);

	strcpy(p, "kept");
	assert_int_equal(shmdt(p), 0);
	p = attach(id, SHM_RDONLY);
	assert_string_equal(p, "kept");
	assert_int_equal(shmdt(p), 0);
}

static void a_given_address_is_used(void **state)
{
	(void)state;
	int id = shm_new(2 * page_size(), 0600);
	char *want = free_range(2);

	assert_ptr_equal(shmat(id, want, 0), want);
	want[page_size()] = 1;
	assert_int_equal(shmdt(want), 0);
}

static void an_unaligned_address_is_EINVAL(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = free_range(2);

	assert_int_equal(AT(id, p + 1, 0), EINVAL);
	assert_int_equal(AT(id, p + page_size() - 1, 0), EINVAL);
	assert_int_equal(AT(id, p + 1, SHM_REMAP), EINVAL);
	assert_int_equal(AT(id, (void *)1, 0), EINVAL);
	assert_int_equal(shm_nattch(id), 0);
}

static void rnd_rounds_down(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = free_range(1);

	assert_ptr_equal(shmat(id, p + 1, SHM_RND), p);
	assert_int_equal(shmdt(p), 0);
	assert_ptr_equal(shmat(id, p + SHMLBA - 1, SHM_RND), p);
	assert_int_equal(shmdt(p), 0);
	assert_ptr_equal(shmat(id, p, SHM_RND), p);
	assert_int_equal(shmdt(p), 0);
}

static void rnd_to_page_zero_with_remap_is_EINVAL(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);

	assert_int_equal(AT(id, (void *)100, SHM_RND | SHM_REMAP), EINVAL);
	assert_int_equal(shm_nattch(id), 0);
}

static void an_occupied_address_is_EINVAL(void **state)
{
	(void)state;
	int id = shm_new(2 * page_size(), 0600);
	char *p = mmap(NULL, 4 * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	strcpy(p + page_size(), "mine");
	assert_int_equal(AT(id, p, 0), EINVAL);
	assert_int_equal(AT(id, p + page_size(), 0), EINVAL);
	assert_int_equal(AT(id, p + 100, SHM_RND), EINVAL);
	munmap(p, page_size()); /* the first page is free, the second is not */
	assert_int_equal(AT(id, p, 0), EINVAL);
	assert_string_equal(p + page_size(), "mine");
	assert_int_equal(shm_nattch(id), 0);
	munmap(p + page_size(), 3 * page_size());
}

static void an_attached_address_is_occupied(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id, 0);

	assert_int_equal(AT(id, p, 0), EINVAL);
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(shmdt(p), 0);
}

static void remap_replaces_what_is_there(void **state)
{
	(void)state;
	int id = shm_new(2 * page_size(), 0600);
	char *p = mmap(NULL, 4 * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	memset(p, 'x', 4 * page_size());
	assert_ptr_equal(shmat(id, p + page_size(), SHM_REMAP), p + page_size());
	assert_int_equal(p[page_size() - 1], 'x');
	assert_int_equal(p[page_size()], 0);
	assert_int_equal(p[3 * page_size() - 1], 0);
	assert_int_equal(p[3 * page_size()], 'x');
	assert_int_equal(shmdt(p + page_size()), 0);
	assert_int_equal(READ_FROM(p + page_size()), 1000 + SIGSEGV);
	assert_int_equal(READ_FROM(p), 'x');
	munmap(p, 4 * page_size());
}

static void remap_over_another_attach_detaches_that(void **state)
{
	(void)state;
	int a = shm_new(100, 0600);
	int b = shm_new(100, 0600);
	char *p = attach(a, 0);

	strcpy(p, "a");
	assert_ptr_equal(shmat(b, p, SHM_REMAP), p);
	assert_int_equal(p[0], 0);
	assert_int_equal(shm_nattch(a), 0);
	assert_int_equal(shm_nattch(b), 1);
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(shm_nattch(b), 0);
}

static void remap_without_an_address_is_EINVAL(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);

	assert_int_equal(AT(id, NULL, SHM_REMAP), EINVAL);
	assert_int_equal(shm_nattch(id), 0);
}

static void remap_onto_a_free_address_attaches(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = free_range(1);

	assert_ptr_equal(shmat(id, p, SHM_REMAP), p);
	assert_int_equal(shmdt(p), 0);
}

static void an_address_beyond_user_space_is_ENOMEM_or_EINVAL_if_it_wraps(void **state)
{
	(void)state;
	int small = shm_new(100, 0600);
	int large = shm_new(2 * page_size(), 0600);
	void *top = (void *)(UINTPTR_MAX - page_size() + 1);

	assert_int_equal(AT(small, (void *)((uintptr_t)1 << 63), 0), ENOMEM);
	assert_int_equal(AT(small, top, 0), ENOMEM);
	assert_int_equal(AT(large, top, 0), EINVAL);
	assert_int_equal(shm_nattch(small), 0);
	assert_int_equal(shm_nattch(large), 0);
}

static void rdonly_is_really_read_only(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *rw = attach(id, 0);
	char *ro = attach(id, SHM_RDONLY);

	rw[3] = 42;
	assert_int_equal(ro[3], 42);
	assert_int_equal(WRITE_TO(rw), 0);
	assert_int_equal(WRITE_TO(ro), 1000 + SIGSEGV);
	assert_int_equal(shmdt(ro), 0);
	assert_int_equal(shmdt(rw), 0);
}

static void rdonly_cannot_be_made_writable_later(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *ro = attach(id, SHM_RDONLY);

	assert_int_equal(ERR(mprotect(ro, page_size(), PROT_READ | PROT_WRITE)), EACCES);
	assert_int_equal(ERR(mprotect(ro, page_size(), PROT_NONE)), 0);
	assert_int_equal(ERR(mprotect(ro, page_size(), PROT_READ)), 0);
	assert_int_equal(shmdt(ro), 0);
}

static void rdwr_can_be_protected_and_opened_again(void **state)
{
	(void)state;
	char *p = attach(shm_new(100, 0600), 0);

	assert_int_equal(ERR(mprotect(p, page_size(), PROT_READ)), 0);
	assert_int_equal(WRITE_TO(p), 1000 + SIGSEGV);
	assert_int_equal(ERR(mprotect(p, page_size(), PROT_READ | PROT_WRITE)), 0);
	p[0] = 1;
	assert_int_equal(shmdt(p), 0);
}

#if defined(__x86_64__) || defined(__aarch64__)
static int run_code(void *arg)
{
	int (*fn)(void) = (int (*)(void))(uintptr_t)arg;

	return fn();
}

static void write_code(char *p)
{
#ifdef __x86_64__
	static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42,%eax; ret */
#else
	static const uint32_t code[] = {0x52800540, 0xd65f03c0}; /* mov w0,#42; ret */
#endif
	memcpy(p, code, sizeof(code));
	__builtin___clear_cache(p, p + sizeof(code));
}

static void exec_allows_running_code(void **state)
{
	(void)state;
	int id = shm_new(100, 0700);
	char *plain = attach(id, 0);
	char *exec = attach(id, SHM_EXEC);

	write_code(plain);
	assert_int_equal(child_run(run_code, exec), 42);
	assert_int_equal(child_run(run_code, plain), 1000 + SIGSEGV);
	assert_int_equal(shmdt(exec), 0);
	exec = attach(id, SHM_EXEC | SHM_RDONLY);
	assert_int_equal(child_run(run_code, exec), 42);
	assert_int_equal(WRITE_TO(exec), 1000 + SIGSEGV);
	assert_int_equal(shmdt(exec), 0);
	assert_int_equal(shmdt(plain), 0);
}
#endif

static void the_same_segment_twice_is_two_attaches(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *a = attach(id, 0);
	char *b = attach(id, 0);

	assert_ptr_not_equal(a, b);
	assert_int_equal(shm_nattch(id), 2);
	strcpy(a, "both");
	assert_string_equal(b, "both");
	assert_int_equal(shmdt(a), 0);
	assert_int_equal(shm_nattch(id), 1);
	assert_string_equal(b, "both");
	assert_int_equal(shmdt(b), 0);
	assert_int_equal(shm_nattch(id), 0);
}

static void the_rest_of_the_last_page_is_zero_usable_and_shared(void **state)
{
	(void)state;
	int id = shm_new(page_size() + 1, 0600);
	char *a = attach(id, 0);
	char *b = attach(id, 0);

	for (size_t i = 0; i < 2 * page_size(); i++)
		assert_int_equal(a[i], 0);
	a[2 * page_size() - 1] = 9;
	assert_int_equal(b[2 * page_size() - 1], 9);
	assert_int_equal(shmdt(a), 0);
	assert_int_equal(shmdt(b), 0);
	a = attach(id, 0);
	assert_int_equal(a[2 * page_size() - 1], 9);
	assert_int_equal(shmdt(a), 0);
}

static void a_one_byte_segment_is_a_page(void **state)
{
	(void)state;
	int id = shm_new(1, 0600);
	char *p = attach(id, 0);

	p[page_size() - 1] = 1;
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(READ_FROM(p), 1000 + SIGSEGV);
}

static void a_bad_id_is_EINVAL(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);

	assert_int_equal(AT(-1, NULL, 0), EINVAL);
	assert_int_equal(AT(INT32_MIN, NULL, 0), EINVAL);
	assert_int_equal(AT(INT32_MAX, NULL, 0), EINVAL);
	assert_int_equal(AT(id ^ CONFORM_INDICES, NULL, 0), EINVAL); /* right index, wrong seq */
}

static void an_index_is_no_id(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);

	for (int i = 0; i < 50 && id < CONFORM_INDICES; i++) {
		shm_remove(id);
		id = shm_new(100, 0600);
	}
	if (id < CONFORM_INDICES)
		skip();
	assert_int_equal(AT(id % CONFORM_INDICES, NULL, 0), EINVAL);
}

static void unknown_flags_are_ignored(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *p = attach(id, 0777 | IPC_CREAT | 0x10000000);

	p[0] = 1;
	assert_int_equal(shmdt(p), 0);
}

static void modes_decide_who_attaches(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	static const struct {
		int mode, flags, want;
	} row[] = {
		{0600, 0, EACCES},
		{0600, SHM_RDONLY, EACCES},
		{0604, 0, EACCES},
		{0604, SHM_RDONLY, 0},
		{0606, 0, 0},
		{0606, SHM_RDONLY, 0},
		{0602, 0, EACCES},
		{0602, SHM_RDONLY, EACCES},
		{0660, 0, EACCES},
		{0604, SHM_EXEC, EACCES},
		{0606, SHM_EXEC, EACCES},
		{0607, SHM_EXEC, 0},
		{0604, SHM_RDONLY | SHM_EXEC, EACCES},
		{0605, SHM_RDONLY | SHM_EXEC, 0},
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		int id = shm_new(100, row[i].mode);
		int got = NOBODY_AT(id, row[i].flags);
		if (got != row[i].want)
			print_error("mode %o flags %o: got %d, want %d\n", (unsigned)row[i].mode,
				    (unsigned)row[i].flags, got, row[i].want);
		assert_int_equal(got, row[i].want);
	}
}

static int owner_modes(void *arg)
{
	(void)arg;
	int w = shm_new(100, 0200), r = shm_new(100, 0400);

	NEED(AT(w, NULL, 0) == EACCES);
	NEED(AT(w, NULL, SHM_RDONLY) == EACCES);
	NEED(AT(r, NULL, 0) == EACCES);
	NEED(AT(r, NULL, SHM_RDONLY) == 0);
	return 0;
}

static void an_owner_needs_his_own_bits(void **state)
{
	(void)state;
	assert_int_equal(geteuid() ? child_run(owner_modes, NULL) : nobody_run(owner_modes, NULL),
			 0);
}

static void EINVAL_comes_before_EACCES(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(100, 0600);
	struct at_call c = {id, (char *)free_range(1) + 1, 0};

	assert_int_equal(nobody_run(call_at, &c), EINVAL); /* unaligned */
	c.addr = NULL;
	c.flags = SHM_REMAP;
	assert_int_equal(nobody_run(call_at, &c), EINVAL); /* no address */
}

static void EACCES_comes_before_an_occupied_address(void **state)
{
	(void)state;
	SKIP_UNLESS_ROOT();
	int id = shm_new(100, 0600);
	void *page = conform_bad_page();
	struct at_call c = {id, page, 0};

	assert_int_equal(nobody_run(call_at, &c), EACCES);
	munmap(page, page_size());
}

static void a_removed_segment_can_be_attached_by_id_while_attached(void **state)
{
	(void)state;
	int id = shm_new(100, 0600);
	char *a = attach(id, 0);

	strcpy(a, "alive");
	assert_int_equal(shm_remove(id), 0);
	char *b = attach(id, 0);
	assert_string_equal(b, "alive");
	assert_int_equal(shm_nattch(id), 2);
	assert_int_equal(shmdt(a), 0);
	assert_string_equal(b, "alive");
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(shmdt(b), 0);
	assert_true(shm_gone(id));
	assert_int_equal(AT(id, NULL, 0), EINVAL);
}

static void detaching_what_is_not_attached_is_EINVAL(void **state)
{
	(void)state;
	char *p = attach(shm_new(2 * page_size(), 0600), 0);
	char *anon = mmap(NULL, page_size(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int local;

	assert_int_equal(ERR(shmdt(p + 1)), EINVAL);
	assert_int_equal(ERR(shmdt(p + page_size())), EINVAL); /* inside, aligned */
	assert_int_equal(ERR(shmdt(p - page_size())), EINVAL);
	assert_int_equal(ERR(shmdt(NULL)), EINVAL);
	assert_int_equal(ERR(shmdt(FAILED)), EINVAL);
	assert_int_equal(ERR(shmdt(&local)), EINVAL);
	assert_int_equal(ERR(shmdt(anon)), EINVAL);
	assert_int_equal(READ_FROM(anon), 0); /* and it is still there */
	p[0] = 1;
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(ERR(shmdt(p)), EINVAL);
	munmap(anon, page_size());
}

static void detached_memory_is_gone(void **state)
{
	(void)state;
	char *p = attach(shm_new(3 * page_size(), 0600), 0);

	assert_int_equal(shmdt(p), 0);
	assert_int_equal(READ_FROM(p), 1000 + SIGSEGV);
	assert_int_equal(READ_FROM(p + 2 * page_size()), 1000 + SIGSEGV);
}

static void detach_takes_only_the_attach_of_that_address(void **state)
{
	(void)state;
	int id = shm_new(page_size(), 0600);
	char *p = free_range(2);

	assert_ptr_equal(shmat(id, p, 0), p); /* two attaches side by side */
	assert_ptr_equal(shmat(id, p + page_size(), 0), p + page_size());
	assert_int_equal(shm_nattch(id), 2);
	assert_int_equal(shmdt(p), 0);
	p[page_size()] = 5;
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(shmdt(p + page_size()), 0);
	assert_int_equal(shm_nattch(id), 0);
}

static void after_the_tail_is_unmapped_detach_takes_the_rest(void **state)
{
	(void)state;
	int id = shm_new(4 * page_size(), 0600);
	char *p = attach(id, 0);

	assert_int_equal(munmap(p + 2 * page_size(), 2 * page_size()), 0);
	assert_int_equal(shm_nattch(id), 1);
	p[0] = 1;
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(shm_nattch(id), 0);
	assert_int_equal(READ_FROM(p), 1000 + SIGSEGV);
}

static void after_the_head_is_unmapped_the_first_address_detaches(void **state)
{
	(void)state;
	int id = shm_new(4 * page_size(), 0600);
	char *p = attach(id, 0);

	assert_int_equal(munmap(p, page_size()), 0);
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(ERR(shmdt(p + page_size())), EINVAL); /* the rest's own start is none */
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(shm_nattch(id), 0);
	assert_int_equal(READ_FROM(p + 2 * page_size()), 1000 + SIGSEGV);
}

static void after_the_middle_is_unmapped_detach_takes_both_pieces(void **state)
{
	(void)state;
	int id = shm_new(4 * page_size(), 0600);
	char *p = attach(id, 0);

	assert_int_equal(munmap(p + page_size(), page_size()), 0);
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(shm_nattch(id), 0);
	assert_int_equal(READ_FROM(p), 1000 + SIGSEGV);
	assert_int_equal(READ_FROM(p + 2 * page_size()), 1000 + SIGSEGV);
}

static void after_all_is_unmapped_detach_is_EINVAL(void **state)
{
	(void)state;
	int id = shm_new(2 * page_size(), 0600);
	char *p = attach(id, 0);

	assert_int_equal(munmap(p, 2 * page_size()), 0);
	assert_int_equal(shm_nattch(id), 0);
	assert_int_equal(ERR(shmdt(p)), EINVAL);
}

static void detach_spares_what_was_mapped_into_a_hole(void **state)
{
	(void)state;
	int id = shm_new(3 * page_size(), 0600);
	char *p = attach(id, 0);
	char *hole = p + page_size();

	assert_ptr_equal(mmap(hole, page_size(), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 hole);
	*hole = 77;
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(*hole, 77);
	assert_int_equal(READ_FROM(p), 1000 + SIGSEGV);
	assert_int_equal(READ_FROM(p + 2 * page_size()), 1000 + SIGSEGV);
	assert_int_equal(shm_nattch(id), 0);
	munmap(hole, page_size());
}

static void a_moved_attach_detaches_at_its_new_address(void **state)
{
	(void)state;
	int id = shm_new(page_size(), 0600);
	char *p = attach(id, 0);
	char *to = free_range(1);

	strcpy(p, "moved");
	assert_ptr_equal(mremap(p, page_size(), page_size(), MREMAP_MAYMOVE | MREMAP_FIXED, to),
			 to);
	assert_string_equal(to, "moved");
	assert_int_equal(shm_nattch(id), 1);
	assert_int_equal(ERR(shmdt(p)), EINVAL);
	assert_int_equal(shmdt(to), 0);
	assert_int_equal(shm_nattch(id), 0);
}

static void hundreds_of_attaches_in_one_process(void **state)
{
	(void)state;
	enum {
		N = 500
	};
	int id = shm_new(100, 0600);
	char *p[N];

	for (int i = 0; i < N; i++)
		p[i] = attach(id, i % 2 ? SHM_RDONLY : 0);
	p[0][1] = 33;
	assert_int_equal(p[N - 1][1], 33);
	assert_int_equal(shm_nattch(id), N);
	for (int i = 0; i < N; i++)
		assert_int_equal(shmdt(p[i]), 0);
	assert_int_equal(shm_nattch(id), 0);
}

static void an_attach_shows_in_proc_maps(void **state)
{
	(void)state;
	char *p = attach(shm_new(100, 0600), 0);
	char line[512], want[40];
	bool found = false;
	FILE *f = fopen("/proc/self/maps", "re");

	assert_non_null(f);
	snprintf(want, sizeof(want), "%lx-%lx rw-s", (unsigned long)p,
		 (unsigned long)(p + page_size()));
	while (fgets(line, sizeof(line), f))
		found |= strncmp(line, want, strlen(want)) == 0;
	fclose(f);
	assert_true(found);
	assert_int_equal(shmdt(p), 0);
}

static void errno_is_untouched_by_success(void **state)
{
	(void)state;
	errno = 4711;
	int id = shm_new(100, 0600);
	assert_int_equal(errno, 4711);
	char *p = shmat(id, NULL, 0);
	assert_int_equal(errno, 4711);
	assert_int_equal(shmdt(p), 0);
	assert_int_equal(errno, 4711);
	assert_int_equal(shmctl(id, IPC_RMID, NULL), 0);
	assert_int_equal(errno, 4711);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONFORM_TEST(a_new_segment_is_all_zero),
		CONFORM_TEST(a_null_address_lands_page_aligned),
		CONFORM_TEST(data_stays_while_nobody_is_attached),
		CONFORM_TEST(a_given_address_is_used),
		CONFORM_TEST(an_unaligned_address_is_EINVAL),
		CONFORM_TEST(rnd_rounds_down),
		CONFORM_TEST(rnd_to_page_zero_with_remap_is_EINVAL),
		CONFORM_TEST(an_occupied_address_is_EINVAL),
		CONFORM_TEST(an_attached_address_is_occupied),
		CONFORM_TEST(remap_replaces_what_is_there),
		CONFORM_TEST(remap_over_another_attach_detaches_that),
		CONFORM_TEST(remap_without_an_address_is_EINVAL),
		CONFORM_TEST(remap_onto_a_free_address_attaches),
		CONFORM_TEST(an_address_beyond_user_space_is_ENOMEM_or_EINVAL_if_it_wraps),
		CONFORM_TEST(rdonly_is_really_read_only),
		CONFORM_TEST(rdonly_cannot_be_made_writable_later),
		CONFORM_TEST(rdwr_can_be_protected_and_opened_again),
		CONFORM_TEST(exec_allows_running_code),
		CONFORM_TEST(the_same_segment_twice_is_two_attaches),
		CONFORM_TEST(the_rest_of_the_last_page_is_zero_usable_and_shared),
		CONFORM_TEST(a_one_byte_segment_is_a_page),
		CONFORM_TEST(a_bad_id_is_EINVAL),
		CONFORM_TEST(an_index_is_no_id),
		CONFORM_TEST(unknown_flags_are_ignored),
		CONFORM_TEST(modes_decide_who_attaches),
		CONFORM_TEST(an_owner_needs_his_own_bits),
		CONFORM_TEST(EINVAL_comes_before_EACCES),
		CONFORM_TEST(EACCES_comes_before_an_occupied_address),
		CONFORM_TEST(a_removed_segment_can_be_attached_by_id_while_attached),
		CONFORM_TEST(detaching_what_is_not_attached_is_EINVAL),
		CONFORM_TEST(detached_memory_is_gone),
		CONFORM_TEST(detach_takes_only_the_attach_of_that_address),
		CONFORM_TEST(after_the_tail_is_unmapped_detach_takes_the_rest),
		CONFORM_TEST(after_the_head_is_unmapped_the_first_address_detaches),
		CONFORM_TEST(after_the_middle_is_unmapped_detach_takes_both_pieces),
		CONFORM_TEST(after_all_is_unmapped_detach_is_EINVAL),
		CONFORM_TEST(detach_spares_what_was_mapped_into_a_hole),
		CONFORM_TEST(a_moved_attach_detaches_at_its_new_address),
		CONFORM_TEST(hundreds_of_attaches_in_one_process),
		CONFORM_TEST(an_attach_shows_in_proc_maps),
		CONFORM_TEST(errno_is_untouched_by_success),
	};
	return CONFORM_RUN(tests);
}
