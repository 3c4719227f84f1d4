/* rules.c - selection and room; see rules.h. */
#include "msg/rules.h"

enum msg_search msg_search_of(int64_t *type, int flags)
{
	if (flags & MSG_COPY)
		return SEARCH_NUMBER;
	if (*type == 0)
		return SEARCH_ANY;
	if (*type < 0) {
		*type = *type == INT64_MIN ? INT64_MAX : -*type;
		return SEARCH_LESSEQUAL;
	}
	return flags & MSG_EXCEPT ? SEARCH_NOTEQUAL : SEARCH_EQUAL;
}

bool msg_matches(int64_t is, int64_t type, enum msg_search search)
{
	switch (search) {
	case SEARCH_EQUAL:
		return is == type;
	case SEARCH_NOTEQUAL:
		return is != type;
	case SEARCH_LESSEQUAL:
		return is <= type;
	default:
		return true;
	}
}

bool msg_fits(uint64_t cbytes, uint64_t qnum, uint64_t qbytes, uint64_t size)
{
	return cbytes + size <= qbytes && qnum + 1 <= qbytes;
}
