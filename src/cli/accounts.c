/* accounts.c - the system's accounts, which root's named namespaces let in; see cli.h. */
#include "cli/cli.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYS_UID_MAX_DEFAULT 999

/* As useradd(8) has it. */
static uint64_t sys_uid_max(void)
{
	FILE *file = fopen("/etc/login.defs", "re");
	uint64_t max = SYS_UID_MAX_DEFAULT;
	char line[256], number[32];

	if (!file)
		return max;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, " SYS_UID_MAX %31s", number) == 1 &&
		    !cli_number(number, UINT32_MAX - 1, &max))
			max = SYS_UID_MAX_DEFAULT;
	fclose(file);
	return max;
}

static void add(uint32_t *uids, unsigned *n, uint32_t uid)
{
	for (unsigned i = 0; i < *n; i++)
		if (uids[i] == uid)
			return;
	if (*n < GUESTS_MAX)
		uids[(*n)++] = uid;
}

/* Of the file alone: directory services have people. */
static struct guests system_accounts(uint32_t *uids)
{
	FILE *file = fopen("/etc/passwd", "re");
	uint64_t max = sys_uid_max();
	const struct passwd *user;
	unsigned n = 0;

	if (!file)
		return (struct guests){uids, 0};
	while ((user = fgetpwent(file)))
		if (user->pw_uid && (user->pw_uid <= max || !strcmp(user->pw_name, "nobody")))
			add(uids, &n, user->pw_uid);
	fclose(file);
	return (struct guests){uids, n};
}

bool accounts_belong_in(const char *name)
{
	return geteuid() == 0 && strcmp(name, "default") != 0;
}

int accounts_make_namespace(struct ipc_namespace *ns, const char *dir)
{
	uint32_t uids[GUESTS_MAX];
	struct guests guests = system_accounts(uids);

	return guests.n ? namespace_make(ns, dir, &guests) : namespace_open(ns, dir, true, 0600);
}
