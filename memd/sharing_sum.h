/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of sharing.c, without any file: merged pages in, each owner's part out. Whole
 * numbers only: mappings are counted per number of mappers, so nothing is rounded before the end.
 */
#ifndef MEMD_SHARING_SUM_H
#define MEMD_SHARING_SUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Owners 0 to targets - 1 are the targets; then come the others together, then the unknown. */
struct sharing_sum;

/* A page's mappings by one owner. */
struct sharing_share {
	uint32_t owner; /* at most the others' */
	uint32_t pages; /* how often it maps the page, at least once */
};

/* pairs: count pairs of targets too, (targets + 1)^2 numbers. -ENOMEM. */
int sharing_sum_new(size_t targets, bool pairs, struct sharing_sum **ret_sum);
void sharing_sum_free(struct sharing_sum *sum); /* NULL is fine */

/*
 * One merged page: each owner's mappings of it, sorted by owner, each owner once. mappers is how
 * many there are in all; what the shares do not account for is unknown's. Fewer than two
 * save nothing and are not counted. -EINVAL: mappers is less than the shares; -ENOMEM.
 */
int sharing_sum_add(struct sharing_sum *sum, const struct sharing_share *shares, size_t n,
		    uint64_t mappers);

struct sharing_total {
	uint64_t saved_bytes, own_bytes; /* own_bytes of it within the owner itself */
	uint64_t shared_pages;		 /* mappings */
};

/*
 * Close the sum: targets + 2 totals, and the sum of their saved_bytes is exactly
 * (mappings - pages) * page_bytes: each is the exact fraction rounded down, or up where the
 * remainder is largest. Returns the number of pages.
 */
uint64_t sharing_sum_close(const struct sharing_sum *sum, uint64_t page_bytes,
			   struct sharing_total *ret_totals);

/* Hand over the matrix of pairs, row by row, for free(3); NULL: not asked for. */
uint64_t *sharing_sum_take_pairs(struct sharing_sum *sum);

#endif
