/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading guests' pages back from swap that equal what the anchor holds: the kernel swapped them
 * before ksmd had come by, or each guest's copy of a merged one. In swap each takes room of its
 * own, in memory ksmd merges it with the page that is held: then it takes none. What a page
 * contains is only known once it is read, so where some are equal those next to them are tried, and
 * elsewhere a few.
 */
#ifndef MEMD_ANCHOR_BACK_H
#define MEMD_ANCHOR_BACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/size.h"
#include "memd/anchor_walk.h"
#include "memd/number_set.h"

/* Of what a guest has in swap, to be worth a look. */
#define BACK_LEAST_BYTES (2 * MIB)

/* A guest that was read through: what it had left in swap then. */
struct back_past {
	uint64_t id, starttime;
	uint64_t swapped_bytes, us; /* us 0: it was not yet */
	uint64_t read_bytes;	    /* that back_take_read() has not told yet */
};

struct back {
	struct walk_at at;
	struct back_past *past; /* sorted by id */
	size_t n;
	uint64_t slow_us; /* reading from this swap took too long then; 0: it did not */
	uint64_t read_bytes, equal_bytes, work_us; /* totals; work_us of the reads alone */
};

void back_close(struct back *back);

/* Something else is held now: all guests are to be read. */
void back_forget(struct back *back);

/* How far to go now; it takes half a second at most. */
struct back_bounds {
	uint64_t most_bytes, now_us;
	const atomic_bool *cancel;
};

/* Is there a guest to be read? */
bool back_is_due(const struct back *back, const struct anchor_guest *guests, size_t n,
		 uint64_t now_us);

/*
 * Read on, of guests (sorted by id) of which some may be, what may be of contents
 * (back_content() of what is held). 0: all were read through; 1: there is more; -ENOMEM.
 */
int back_read(struct back *back, int rootfd, const struct anchor_guest *guests, size_t n,
	      const struct number_set *contents, const struct back_bounds *bounds);

/* Is it no swap to read from, that took so long for so many pages? */
bool back_is_slow(uint64_t pages, uint64_t took_us);

/* What was read of guest id since the last call. */
uint64_t back_take_read(struct back *back, uint64_t id);

/* A page's content as a number, not 0. */
uint64_t back_content(const void *page);

#endif
