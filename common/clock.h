/* SPDX-License-Identifier: Apache-2.0 */
/* The monotonic clock in microseconds: one place, so that nobody mixes clocks. */
#ifndef MEMD_COMMON_CLOCK_H
#define MEMD_COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

#define USEC_PER_SEC 1000000ULL

/* CLOCK_MONOTONIC, microseconds. */
static inline uint64_t clock_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

#endif
