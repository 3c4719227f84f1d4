/* parse.c - numbers, as command lines have them; see cli.h. None takes a sign, white space or a rest. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_MAX 1e9

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
