/* copy.c - what is not small, into the ring and out of it; see copy.h. */
#include "chan/copy.h"
#include "base/os.h"

#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#if defined(__x86_64__) || defined(__aarch64__)
#define CAN_STREAM true
#else
#define CAN_STREAM false
#endif

#define LINE  64u
#define AHEAD 512u
/* See copy.h; of 1, 2, 4, 8 and 16 KiB ahead, of 2 to 16 lanes, these were the quickest. */
#define LONG_AHEAD 4096u
#define LANES	   8u
#define LANE	   8192u
#define LANE_AHEAD 2048u
_Static_assert(LANES *LANE == CHAN_COPY_LANES, "what is shorter has none");

/* A lap also ends after so many bytes, more than caches hold. */
#define LAP_MOST (256u << 20)
/* After a change of ways: the rest of this lap and some more, to fill the caches, or clear them. */
#define WARM_LAPS     8u
#define SAMPLES_LEAST 16u /* laps: readers, too, take their time to settle */
/* A trial of which the best of the first laps, without the first two, takes so many times as long ends there. */
#define HOPELESS_LAPS  4u
#define HOPELESS_TIMES 2u
/* The way in use has become so many times slower since the last trial: that was of other times. */
#define DRIFTED_TIMES 2u
/* Laps from one trial to the next; 16 times as many with each loss, so that trials cost next to nothing. */
#define HOLD_LAPS   16u
#define LOSSES_MOST 2u
#define SMOOTH	    8

/* At any address, in one register. */
typedef uint64_t block __attribute__((vector_size(16), aligned(1), may_alias));

static inline void copy_line(char *to, const char *from)
{
	const block *f = (const block *)from;
	block *t = (block *)to, b0 = f[0], b1 = f[1], b2 = f[2], b3 = f[3];

	t[0] = b0;
	t[1] = b1;
	t[2] = b2;
	t[3] = b3;
	compiler_barrier(); /* or it becomes a call of memcpy */
}

void chan_copy_by_lines(void *to, const void *from, size_t size)
{
	const char *f = from, *last = f + size - LINE;
	char *t = to;

	if (size >= CHAN_COPY_LONG) {
		for (; (size_t)(last - f) >= LONG_AHEAD; t += LINE, f += LINE) {
			prefetch_to_l2(f + LONG_AHEAD);
			copy_line(t, f);
		}
	} else {
		for (; (size_t)(last - f) >= AHEAD; t += LINE, f += LINE) {
			__builtin_prefetch(f + AHEAD);
			copy_line(t, f);
		}
	}
	for (; f < last; t += LINE, f += LINE)
		copy_line(t, f);
	copy_line((char *)to + size - LINE, last);
}

#if defined(__x86_64__)
#define WIDE __attribute__((target("avx2")))
#else
#define WIDE
#endif

typedef uint64_t wide_block __attribute__((vector_size(32), aligned(1), may_alias));

static inline WIDE void copy_wide_line(char *to, const char *from)
{
	const wide_block *f = (const wide_block *)from;
	wide_block *t = (wide_block *)to, b0 = f[0], b1 = f[1];

	t[0] = b0;
	t[1] = b1;
	compiler_barrier(); /* as above */
}

WIDE void chan_copy_by_wide_lines(void *to, const void *from, size_t size)
{
	const char *f = from, *last = f + size - LINE;
	char *t = to;

	for (; f < last; t += LINE, f += LINE)
		copy_wide_line(t, f);
	copy_wide_line((char *)to + size - LINE, last);
}

static void copy_block(char *to, const char *from)
{
	for (size_t at = 0; at < LANE; at += LINE) {
		for (unsigned i = 0; i < LANES; i++) {
			if (at + LANE_AHEAD < LANE)
				prefetch_to_l2(from + i * LANE + at + LANE_AHEAD);
			copy_line(to + i * LANE + at, from + i * LANE + at);
		}
	}
}

void chan_copy_by_lanes(void *to, const void *from, size_t size)
{
	size_t at = 0;

	for (; size - at >= LANES * LANE; at += LANES * LANE)
		copy_block((char *)to + at, (const char *)from + at);
	memcpy((char *)to + at, (const char *)from + at, size - at);
}

/* The whole lines of `to`; none of them is read from memory to be written. */
static void stream_lines(char *to, const char *from, size_t size)
{
#if defined(__x86_64__)
	for (; size; to += LINE, from += LINE, size -= LINE) {
		const __m128i *f = (const __m128i *)from;
		__m128i *t = (__m128i *)to;
		__m128i a = _mm_loadu_si128(f), b = _mm_loadu_si128(f + 1);
		__m128i c = _mm_loadu_si128(f + 2), d = _mm_loadu_si128(f + 3);

		_mm_stream_si128(t, a);
		_mm_stream_si128(t + 1, b);
		_mm_stream_si128(t + 2, c);
		_mm_stream_si128(t + 3, d);
	}
	/* These stores are in no order with others, not even a store-release. */
	_mm_sfence();
#elif defined(__aarch64__)
	for (; size; to += LINE, from += LINE, size -= LINE)
		__asm__ volatile("ldp q0, q1, [%1]\n\t"
				 "ldp q2, q3, [%1, #32]\n\t"
				 "stnp q0, q1, [%0]\n\t"
				 "stnp q2, q3, [%0, #32]"
				 :
				 : "r"(to), "r"(from)
				 : "v0", "v1", "v2", "v3", "memory");
	__asm__ volatile("dmb ishst" ::: "memory");
#else
	memcpy(to, from, size);
#endif
}

void chan_copy_streamed(void *ring, const void *message, size_t size)
{
	char *to = ring;
	const char *from = message;
	size_t head = -(uintptr_t)to % LINE, tail, lines;

	head = head < size ? head : size;
	tail = (size - head) % LINE;
	lines = size - head - tail;
	chan_copy_small(to, from, head, false);
	chan_copy_small(to + head + lines, from + head + lines, tail, false);
	stream_lines(to + head, from + head, lines);
}

static void copy(unsigned way, void *to, const void *from, size_t size)
{
	if (way == CHAN_COPY_STREAMED)
		chan_copy_streamed(to, from, size);
	else
		memcpy(to, from, size);
}

/* At the end of a lap: how long it took, in ns, and how many bytes it had. Else 0. */
static uint64_t count_laps(struct chan_copier *copier, const void *to, size_t size,
			   uint64_t *ret_bytes)
{
	uint64_t now, ns = 0;

	if ((uintptr_t)to <= copier->last || copier->bytes >= LAP_MOST) {
		now = os_monotonic_ns();
		ns = now - copier->lap_ns + 1;
		*ret_bytes = copier->bytes;
		copier->lap_ns = now;
		copier->lap++;
		copier->bytes = 0;
	}
	copier->bytes += size;
	copier->last = (uintptr_t)to;
	return ns;
}

static struct chan_copy_class *class_of(struct chan_copier *copier, size_t size)
{
	unsigned at = (63 - __builtin_clzll((uint64_t)size / CHAN_COPY_BIG)) / 2;

	return &copier->classes[at < CHAN_COPY_CLASSES ? at : CHAN_COPY_CLASSES - 1];
}

/*
 * A lap that was interrupted says little: no sample counts for more than twice what is known, and what is known for no
 * more than twice the sample.
 */
static void note(uint32_t *pace, double sample)
{
	double known = *pace;

	if (known == 0)
		known = sample;
	if (known > 2 * sample)
		known = 2 * sample;
	if (sample > 2 * known)
		sample = 2 * known;
	*pace = (uint32_t)(known + (sample - known) / SMOOTH);
}

/* The band between the two is there so that equals don't take turns. */
static bool other_is_better(const struct chan_copy_class *class)
{
	uint32_t cached = class->pace[CHAN_COPY_CACHED];
	uint32_t streamed = class->pace[CHAN_COPY_STREAMED];

	return class->way == CHAN_COPY_CACHED ? streamed < cached - cached / 4 : cached < streamed;
}

static void next_phase(struct chan_copy_class *class, uint32_t lap)
{
	if (!class->trying) {
		class->pace[!class->way] = 0;
	} else if (class->samples && other_is_better(class)) {
		class->way = !class->way;
		class->losses = 0;
	} else if (class->losses < LOSSES_MOST) {
		class->losses++;
	}
	class->trying = !class->trying;
	class->since = lap;
	class->samples = 0;
	class->best = UINT32_MAX;
	class->settled = class->pace[class->way];
}

static bool is_over(const struct chan_copy_class *class, uint32_t age)
{
	if (class->trying && age == HOPELESS_LAPS &&
	    class->best / HOPELESS_TIMES > class->pace[class->way])
		return true;
	if (class->samples < SAMPLES_LEAST)
		return false;
	return class->trying || age >= HOLD_LAPS << 4 * class->losses ||
	       class->pace[class->way] / DRIFTED_TIMES > class->settled;
}

/* With a lap in one way behind it. */
static void end_lap(struct chan_copier *copier, struct chan_copy_class *class, uint64_t ns,
		    uint64_t bytes)
{
	uint32_t age = copier->lap - class->since;
	double sample = (double)ns * 65536 / bytes;

	/* Beyond a second there is nothing to tell apart. */
	sample = sample < 1 ? 1 : sample > 1e9 ? 1e9 : sample;
	if (age > 2 && class->best > sample)
		class->best = (uint32_t)sample;
	if (age > WARM_LAPS) {
		note(&class->pace[class->way ^ class->trying], sample);
		class->samples++;
	}
	if (is_over(class, age))
		next_phase(class, copier->lap);
}

void chan_copy_big(struct chan_copier *copier, void *to, const void *from, size_t size)
{
	struct chan_copy_class *class = class_of(copier, size);
	uint64_t bytes, ns = count_laps(copier, to, size, &bytes);

	if (CAN_STREAM && ns && bytes)
		end_lap(copier, class, ns, bytes);
	copier->way = class->way ^ class->trying;
	copy(copier->way, to, from, size);
}

/*
 * The ring's side is aligned, so its words are whole; what is left goes byte by byte. The other side is the
 * caller's, and the sanitizer may say what it thinks of it.
 */
void chan_copy_racing_in(void *to, const void *from, size_t size)
{
	size_t at = 0;

	for (; size - at >= 8; at += 8) {
		uint64_t word;

		memcpy(&word, (const char *)from + at, 8);
		__atomic_store_n((uint64_t *)((char *)to + at), word, __ATOMIC_RELAXED);
	}
	for (; at < size; at++)
		__atomic_store_n((char *)to + at, ((const char *)from)[at], __ATOMIC_RELAXED);
}

void chan_copy_racing_out(void *to, const void *from, size_t size)
{
	size_t at = 0;

	for (; size - at >= 8; at += 8) {
		uint64_t word = __atomic_load_n((const uint64_t *)((const char *)from + at),
						__ATOMIC_RELAXED);

		memcpy((char *)to + at, &word, 8);
	}
	for (; at < size; at++)
		((char *)to)[at] = __atomic_load_n((const char *)from + at, __ATOMIC_RELAXED);
}
