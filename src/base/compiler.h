/* compiler.h - the few words that the compiler lacks. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define ALIGN_UP(x, a) (((x) + (a)-1) & ~((__typeof__(x))(a)-1))

/* A field that others may store to meanwhile; tx_set() is the other half. */
#define load_acquire(field) __atomic_load_n(&(field), __ATOMIC_ACQUIRE)

#define VEE_EXPORT __attribute__((visibility("default")))
/* On what is declared extern: it is in this library, and is not looked for in others. */
#define VEE_HIDDEN __attribute__((visibility("hidden")))

/* The compiler may not move memory accesses across it; the processor may. */
#define compiler_barrier() __atomic_signal_fence(__ATOMIC_SEQ_CST)

/* Thread-local words that a signal handler may touch: no lazy allocation at first use. */
#define VEE_TLS _Thread_local __attribute__((tls_model("initial-exec")))

/* A line that is about to be stored to comes to this processor. */
#if defined(__x86_64__)
#define prefetch_to_write(at) __asm__ volatile("prefetchw %0" : : "m"(*(const char *)(at)))
#else
#define prefetch_to_write(at) __builtin_prefetch(at, 1)
#endif

/* One that will be loaded comes as far as the second-level cache. */
#define prefetch_to_l2(at) __builtin_prefetch(at, 0, 2)

/* In a loop that waits for another processor. */
#if defined(__x86_64__)
#define cpu_relax() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define cpu_relax() __asm__ volatile("yield")
#else
#define cpu_relax() compiler_barrier()
#endif
