/* namespace.c - the public vee_* calls of vee/namespace.h */
#include "vee/namespace.h"
#include "api/api.h"
#include "api/fork.h"
#include "api/semun.h"
#include "sem/fast.h"
#include "shm/shm.h"

#include <unistd.h>

int api_open(struct ipc_namespace **ret_ns)
{
	fork_init();
	return api_result(namespace_get(ret_ns));
}

VEE_EXPORT int vee_shmget(key_t key, size_t size, int flag)
{
	struct ipc_namespace *ns;

	return api_open(&ns) < 0 ? -1 : api_result(shm_get(ns, key, size, flag));
}

VEE_EXPORT void *vee_shmat(int id, const void *address, int flag)
{
	struct ipc_namespace *ns;
	void *at;

	if (api_open(&ns) < 0 || api_result(shm_at(ns, id, address, flag, &at)) < 0)
		return (void *)-1;
	return at;
}

VEE_EXPORT int vee_shmdt(const void *address)
{
	struct ipc_namespace *ns;

	return api_open(&ns) < 0 ? -1 : api_result(shm_dt(ns, address));
}

VEE_EXPORT int vee_shmctl(int id, int command, struct shmid_ds *buf)
{
	struct ipc_namespace *ns;

	return api_open(&ns) < 0 ? -1 : api_result(shm_ctl(ns, id, command, buf));
}

VEE_EXPORT int vee_semget(key_t key, int nsems, int flag)
{
	struct ipc_namespace *ns;

	return api_open(&ns) < 0 ? -1 : api_result(sem_get(ns, key, nsems, flag));
}

VEE_EXPORT int vee_semtimedop(int id, struct sembuf *sops, size_t nsops,
			      const struct timespec *timeout)
{
	struct ipc_namespace *ns;

	return api_open(&ns) < 0 ? -1 :
				   api_result(sem_timedop(ns, id, sops, (unsigned)nsops, timeout));
}

VEE_EXPORT int vee_semop(int id, struct sembuf *sops, size_t nsops)
{
	struct ipc_namespace *ns = namespace_at_hand();
	int ret;

	if (likely(ns && nsops == 1 && os_readable(sops, sizeof(*sops))) &&
	    likely(semop_fast(ns, id, sops, &ret)))
		return api_result(ret);
	return vee_semtimedop(id, sops, nsops, NULL);
}

VEE_EXPORT int vee_semctl(int id, int semnum, int command, ...)
{
	struct ipc_namespace *ns;
	va_list args;
	uintptr_t arg;

	va_start(args, command);
	arg = semun_take(command, args);
	va_end(args);
	return api_open(&ns) < 0 ? -1 : api_result(sem_ctl(ns, id, semnum, command, arg));
}

VEE_EXPORT const char *vee_namespace_error(void)
{
	return arena_error;
}

VEE_EXPORT const char *vee_version(void)
{
	return VEE_VERSION;
}
