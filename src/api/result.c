/* result.c - errno exists from here on. */
#include "api/api.h"

#include <errno.h>

long api_result(long ret)
{
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}
