/* real.h - what the name means to the next library in line: another preloaded one, or libc. */
#pragma once

#include <dlfcn.h>

#define REAL(name)                                                                 \
	({                                                                         \
		static __typeof__(name) *real_;                                    \
		__typeof__(name) *at_ = __atomic_load_n(&real_, __ATOMIC_RELAXED); \
		if (!at_) {                                                        \
			at_ = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);         \
			__atomic_store_n(&real_, at_, __ATOMIC_RELAXED);           \
		}                                                                  \
		at_;                                                               \
	})
