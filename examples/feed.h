/* feed.h - what feed and feed-reader share: a quote of a made-up market, a message of the channel. */
#pragma once

#include <stdint.h>

struct quote {
	char symbol[8];
	uint32_t symbol_number;
	uint32_t update; /* of this symbol: 1, 2, 3 … */
	int64_t price;	 /* in cents */
};
