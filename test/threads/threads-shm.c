/* threads-shm.c - threads of one process share a namespace: run it plain, and under ThreadSanitizer. */
#include "threads.h"

#include "vee/namespace.h"

#include <sys/wait.h>
#include <unistd.h>

enum {
	THREADS = 4,
	ROUNDS = 300
};

static int shared_id;
static bool forking; /* a child in its short life is attached to what its parent is */

static void own_segment(int i)
{
	int id = vee_shmget(IPC_PRIVATE, 4096 * (1 + i % 3), 0600);
	struct shmid_ds ds;
	int *at = vee_shmat(id, NULL, 0);

	MUST(id >= 0 && at != (void *)-1);
	*at = i;
	MUST(vee_shmctl(id, IPC_STAT, &ds) == 0 &&
	     (forking ? ds.shm_nattch >= 1 : ds.shm_nattch == 1));
	MUST(vee_shmctl(id, IPC_RMID, NULL) == 0);
	MUST(vee_shmdt(at) == 0);
	MUST(forking || vee_shmctl(id, IPC_STAT, &ds) == -1);
}

static void *work(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		atomic_int *count = vee_shmat(shared_id, NULL, 0);

		MUST(count != (void *)-1);
		atomic_fetch_add(count, 1);
		MUST(vee_shmget(0x7ead5, 0, 0) == shared_id);
		MUST(vee_shmdt(count) == 0);
		own_segment(i);
	}
	return arg;
}

static void *fork_often(void *arg)
{
	for (int i = 0; i < ROUNDS / 10; i++) {
		pid_t pid = fork();
		int status = -1;

		if (pid == 0) {
			struct shmid_ds ds;

			_exit(vee_shmctl(shared_id, IPC_STAT, &ds) != 0);
		}
		MUST(waitpid(pid, &status, 0) == pid && status == 0);
	}
	return arg;
}

static void run(void *(*last)(void *))
{
	pthread_t thread[THREADS];
	struct shmid_ds ds;
	atomic_int *count;

	forking = last != work;
	shared_id = vee_shmget(0x7ead5, 4096, IPC_CREAT | IPC_EXCL | 0600);
	assert_true(shared_id >= 0);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, i ? work : last, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(atomic_load(&wrong), 0);
	count = vee_shmat(shared_id, NULL, SHM_RDONLY);
	assert_int_equal(*count, (last == work ? THREADS : THREADS - 1) * ROUNDS);
	assert_int_equal(vee_shmctl(shared_id, IPC_STAT, &ds), 0);
	assert_int_equal(ds.shm_nattch, 1);
	assert_int_equal(vee_shmctl(shared_id, IPC_RMID, NULL), 0);
	assert_int_equal(vee_shmdt((void *)count), 0);
}

static void threads_lose_nothing(void **state)
{
	(void)state;
	run(work);
}

static void threads_lose_nothing_while_one_forks(void **state)
{
	(void)state;
	run(fork_often);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_lose_nothing),
		cmocka_unit_test(threads_lose_nothing_while_one_forks),
	};

	alarm(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
