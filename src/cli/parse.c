/* parse.c - words and numbers, as command lines have them; see cli.h. No number takes a sign, white space or a rest. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_MAX 1e9

static const char *verb_of(const char *full_name)
{
	return strrchr(full_name, ' ') + 1;
}

static int say_which(const char *word, const char *const *verbs, unsigned n)
{
	char list[128] = "";

	for (unsigned i = 0; i < n; i++) {
		strcat(list, i == 0 ? "" : i + 1 < n ? ", " : " or ");
		strcat(list, verb_of(verbs[i]));
	}
	return word ? cli_usage("%s: %s must follow", word, list) :
		      cli_usage("%s must follow", list);
}

int cli_verb(int argc, char **argv, const char *const *verbs, unsigned n, int (*help)(void),
	     int *ret_status)
{
	const char *word = argc > 1 ? argv[1] : NULL;

	if (word && (!strcmp(word, "--help") || !strcmp(word, "-h"))) {
		*ret_status = help();
		return -1;
	}
	for (unsigned i = 0; word && i < n; i++) {
		if (strcmp(word, verb_of(verbs[i])))
			continue;
		cli_name = verbs[i];
		argv[1] = (char *)cli_name;
		return (int)i;
	}
	*ret_status = say_which(word, verbs, n);
	return -1;
}

bool cli_number(const char *text, uint64_t max, uint64_t *ret_number)
{
	unsigned long long number;
	char *end;

	if (*text < '0' || *text > '9') /* strtoull takes a sign and white space */
		return false;
	errno = 0;
	number = strtoull(text, &end, 0);
	if (errno || *end || number > max)
		return false;
	*ret_number = number;
	return true;
}

bool cli_seconds(const char *text, struct timespec *ret_time)
{
	double seconds;
	char *end;

	if ((*text < '0' || *text > '9') && *text != '.')
		return false;
	seconds = strtod(text, &end);
	if (end == text || *end || !(seconds >= 0 && seconds <= SECONDS_MAX))
		return false;
	ret_time->tv_sec = (time_t)seconds;
	ret_time->tv_nsec = (long)((seconds - (double)ret_time->tv_sec) * 1e9);
	return true;
}

bool cli_mode(const char *text, uint32_t *ret_mode)
{
	uint32_t mode = 0;

	if (!*text || strspn(text, "01234567") != strlen(text))
		return false;
	for (; *text && mode <= 0777; text++)
		mode = mode * 8 + (uint32_t)(*text - '0');
	*ret_mode = mode;
	return mode <= 0777;
}

bool cli_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	unsigned long long number;
	unsigned shift = 0;
	const char *unit;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end == 'k' ? 'K' : *end) : NULL;
	if (unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		end += strcmp(end + 1, "iB") ? 1 : 3;
	}
	if (errno || *end || number > UINT64_MAX >> shift)
		return false;
	*ret_bytes = (uint64_t)number << shift;
	return true;
}
