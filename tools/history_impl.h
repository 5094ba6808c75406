/* SPDX-License-Identifier: Apache-2.0 */
/* Between history.c and history_read.c only. */
#ifndef MEMD_TOOLS_HISTORY_IMPL_H
#define MEMD_TOOLS_HISTORY_IMPL_H

#include "tools/history.h"

/* Empty buckets from first_us to last_us. -ENOMEM. */
int history_new(uint64_t first_us, uint64_t last_us, uint64_t bucket_us,
		struct history **ret_history);

/* A number for each bucket, all 0. NULL: out of memory. */
unsigned __int128 *history_row_new(const struct history *history);

/* The shortest round length, a whole number of unit_us, that needs at most buckets_max buckets. */
uint64_t history_fit_us(uint64_t first_us, uint64_t last_us, size_t buckets_max, uint64_t unit_us);

/* One tick's number; POL_ABSENT is none. */
void history_range_add(struct history_range *range, uint64_t value);

/* What `from` saw, later than what `to` saw. */
void history_bucket_add(struct history_bucket *to, const struct history_bucket *from);

/* Guests by what they saved, most first. */
void history_sort(struct history *history);

#endif
