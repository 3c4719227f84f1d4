/* What the shared-memory conformance tests share: segments that clean up, and calls to make
 * elsewhere. */
#ifndef CONFORM_SHM_H
#define CONFORM_SHM_H

#include "../held-memory.h"
#include "conform.h"

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif
#ifndef SHM_DEST
#define SHM_DEST 01000
#endif
#ifndef SHM_LOCKED
#define SHM_LOCKED 02000
#endif

#define FAILED ((void *)-1)

/* shmget() whose result is removed after the test. */
static inline int shm_get(key_t key, size_t size, int flags)
{
	return conform_keep(CONFORM_SHM, shmget(key, size, flags));
}

/* A new private segment. */
static inline int shm_new(size_t size, int mode)
{
	return shm_get(IPC_PRIVATE, size, mode);
}

/* A key that has no segment now. */
static inline key_t shm_free_key(void)
{
	static unsigned int n;
	key_t key;

	do {
		key = (key_t)(0x56450000u + (unsigned int)getpid() * 64 + n++);
	} while (key == IPC_PRIVATE || shmget(key, 0, 0) != -1);
	return key;
}

static inline int shm_remove(int id)
{
	return ERR(shmctl(id, IPC_RMID, NULL));
}

/* shm_nattch, or -errno. */
static inline long shm_nattch(int id)
{
	struct shmid_ds ds;

	return shmctl(id, IPC_STAT, &ds) ? -(long)errno : (long)ds.shm_nattch;
}

static inline bool shm_gone(int id)
{
	return shm_nattch(id) == -EINVAL;
}

/* The same after an address space has ended that had it attached; n is what must become of it. */
static inline long shm_nattch_left(int id, long n)
{
	long is;

	for (unsigned looks = 0; (is = shm_nattch(id)) != n && may_be_held(&looks);)
		;
	return is;
}

static inline bool shm_gone_with_it(int id)
{
	return shm_nattch_left(id, -EINVAL) == -EINVAL;
}

/* --- calls as child functions: the errno becomes the exit code --- */

struct get_call {
	key_t key;
	size_t size;
	int flags;
};

static inline int call_get(void *arg)
{
	struct get_call *c = arg;

	return ERR(shm_get(c->key, c->size, c->flags));
}

struct at_call {
	int id;
	const void *addr;
	int flags;
};

static inline int call_at(void *arg)
{
	struct at_call *c = arg;

	return ERR_P(shmat(c->id, c->addr, c->flags));
}

struct ctl_call {
	int id;
	int cmd;
	void *buf;
};

static inline int call_ctl(void *arg)
{
	struct ctl_call *c = arg;

	return ERR(shmctl(c->id, c->cmd, c->buf));
}

#define NOBODY_GET(k, s, f) nobody_run(call_get, &(struct get_call){k, s, f})
#define NOBODY_AT(i, f)	    nobody_run(call_at, &(struct at_call){i, NULL, f})
#define NOBODY_CTL(i, c, b) nobody_run(call_ctl, &(struct ctl_call){i, c, b})

#endif
