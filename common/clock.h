/* SPDX-License-Identifier: Apache-2.0 */
/* The monotonic clock in microseconds: one place, so that nobody mixes clocks. */
#ifndef MEMD_COMMON_CLOCK_H
#define MEMD_COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

#define USEC_PER_SEC 1000000ULL

static inline uint64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

/* CLOCK_MONOTONIC, microseconds. */
static inline uint64_t clock_now_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

/* The processor's time that this thread has had, microseconds. */
static inline uint64_t clock_thread_us(void)
{
	return clock_us(CLOCK_THREAD_CPUTIME_ID);
}

#endif
