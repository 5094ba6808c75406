// SPDX-License-Identifier: Apache-2.0
/* Counting merged pages by how many map them; see sharing_sum.h. */
#include "memd/sharing_sum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/grow.h"

/* Pages that are mapped `mappers` times, and who has how many of those mappings. */
struct row {
	uint64_t mappers;
	uint64_t *mappings; /* by owner, the unknown included */
};

/* What of an owner's saving is less than a byte, in units of 2^-64. */
struct remainder {
	uint64_t fraction;
	size_t owner;
};

struct sharing_sum {
	size_t targets, owners;
	uint64_t pages;
	uint64_t *own; /* by owner: mappings beyond the first of each page */
	uint64_t *pairs;
	struct remainder *left; /* by owner, for closing */
	struct row *rows;	/* sorted by mappers */
	size_t n_rows, rows_room;
	struct row *last; /* found last: neighbours are often alike */
};

int sharing_sum_new(size_t targets, bool pairs, struct sharing_sum **ret_sum)
{
	struct sharing_sum *sum = calloc(1, sizeof(*sum));

	if (!sum)
		return -ENOMEM;
	sum->targets = targets;
	sum->owners = targets + 2;
	sum->own = calloc(sum->owners, sizeof(*sum->own));
	sum->left = calloc(sum->owners, sizeof(*sum->left));
	if (pairs)
		sum->pairs = calloc((targets + 1) * (targets + 1), sizeof(*sum->pairs));
	if (!sum->own || !sum->left || (pairs && !sum->pairs)) {
		sharing_sum_free(sum);
		return -ENOMEM;
	}
	*ret_sum = sum;
	return 0;
}

void sharing_sum_free(struct sharing_sum *sum)
{
	if (!sum)
		return;
	for (size_t i = 0; i < sum->n_rows; i++)
		free(sum->rows[i].mappings);
	free(sum->rows);
	free(sum->own);
	free(sum->left);
	free(sum->pairs);
	free(sum);
}

/* Where the row of that many mappers is, or belongs. */
static size_t row_place(const struct sharing_sum *sum, uint64_t mappers)
{
	size_t low = 0, high = sum->n_rows;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (sum->rows[mid].mappers < mappers)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct row *row_get(struct sharing_sum *sum, uint64_t mappers)
{
	size_t at;
	uint64_t *mappings;
	struct row *rows;

	if (sum->last && sum->last->mappers == mappers)
		return sum->last;
	at = row_place(sum, mappers);
	if (at < sum->n_rows && sum->rows[at].mappers == mappers)
		return sum->last = &sum->rows[at];
	rows = grow(sum->rows, &sum->rows_room, sum->n_rows + 1, sizeof(*rows));
	if (!rows)
		return NULL;
	sum->rows = rows;
	sum->last = NULL;
	mappings = calloc(sum->owners, sizeof(*mappings));
	if (!mappings)
		return NULL;
	memmove(&sum->rows[at + 1], &sum->rows[at], (sum->n_rows - at) * sizeof(*sum->rows));
	sum->rows[at] = (struct row){.mappers = mappers, .mappings = mappings};
	sum->n_rows++;
	return sum->last = &sum->rows[at];
}

/* Once for each pair of targets that map the page, and for each target with somebody else. */
static void add_pairs(struct sharing_sum *sum, const struct sharing_share *shares, size_t n,
		      uint64_t unknown)
{
	size_t width = sum->targets + 1, targets = n;
	uint64_t else_pages = unknown;

	if (n && shares[n - 1].owner == sum->targets) {
		targets--;
		else_pages += shares[n - 1].pages;
	}
	for (size_t i = 0; i < targets; i++) {
		uint64_t *row = &sum->pairs[shares[i].owner * width];

		row[shares[i].owner] += shares[i].pages - 1;
		for (size_t j = i + 1; j < targets; j++)
			row[shares[j].owner]++;
		row[sum->targets] += else_pages > 0;
	}
	if (else_pages)
		sum->pairs[width * width - 1] += else_pages - 1;
}

int sharing_sum_add(struct sharing_sum *sum, const struct sharing_share *shares, size_t n,
		    uint64_t mappers)
{
	uint64_t unknown = mappers;
	struct row *row;

	for (size_t i = 0; i < n; i++) {
		if (shares[i].owner > sum->targets || !shares[i].pages ||
		    shares[i].pages > unknown || (i && shares[i].owner <= shares[i - 1].owner))
			return -EINVAL;
		unknown -= shares[i].pages;
	}
	if (mappers < 2)
		return 0;
	row = row_get(sum, mappers);
	if (!row)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		row->mappings[shares[i].owner] += shares[i].pages;
		sum->own[shares[i].owner] += shares[i].pages - 1;
	}
	if (unknown) {
		row->mappings[sum->owners - 1] += unknown;
		sum->own[sum->owners - 1] += unknown - 1;
	}
	sum->pages++;
	if (sum->pairs)
		add_pairs(sum, shares, n, unknown);
	return 0;
}

/*
 * An owner's exact saving is the sum over rows of mappings * page_bytes * (mappers - 1) / mappers:
 * the whole bytes, and the fractions in units of 2^-64 byte. The fractions are cut off at that
 * unit once per row, so that they are short by less than 2^-32 byte whatever the rows.
 */
static uint64_t whole_bytes(const struct sharing_sum *sum, size_t owner, uint64_t page_bytes,
			    uint64_t *ret_fraction)
{
	unsigned __int128 fractions = 0;
	uint64_t whole = 0;

	for (size_t i = 0; i < sum->n_rows; i++) {
		uint64_t mappers = sum->rows[i].mappers;
		unsigned __int128 times = (unsigned __int128)sum->rows[i].mappings[owner] *
					  page_bytes * (mappers - 1);

		whole += (uint64_t)(times / mappers);
		fractions += ((unsigned __int128)(uint64_t)(times % mappers) << 64) / mappers;
	}
	*ret_fraction = (uint64_t)fractions;
	return whole + (uint64_t)(fractions >> 64);
}

/* The largest first; of equals the first owner's. */
static int by_remainder(const void *a, const void *b)
{
	const struct remainder *x = a, *y = b;

	if (x->fraction != y->fraction)
		return x->fraction > y->fraction ? -1 : 1;
	return x->owner < y->owner ? -1 : x->owner > y->owner;
}

uint64_t sharing_sum_close(const struct sharing_sum *sum, uint64_t page_bytes,
			   struct sharing_total *ret_totals)
{
	uint64_t mappings = 0, given = 0, missing;

	for (size_t i = 0; i < sum->owners; i++) {
		struct sharing_total *total = &ret_totals[i];
		uint64_t fraction;

		total->shared_pages = 0;
		for (size_t j = 0; j < sum->n_rows; j++)
			total->shared_pages += sum->rows[j].mappings[i];
		total->own_bytes = sum->own[i] * page_bytes;
		total->saved_bytes = whole_bytes(sum, i, page_bytes, &fraction);
		mappings += total->shared_pages;
		given += total->saved_bytes;
		sum->left[i] = (struct remainder){fraction, i};
	}
	/* Less than one byte each: as many owners as bytes at most. */
	missing = (mappings - sum->pages) * page_bytes - given;
	qsort(sum->left, sum->owners, sizeof(*sum->left), by_remainder);
	for (size_t i = 0; i < sum->owners && missing; i++, missing--)
		ret_totals[sum->left[i].owner].saved_bytes++;
	return sum->pages;
}

uint64_t *sharing_sum_take_pairs(struct sharing_sum *sum)
{
	return TAKE_PTR(sum->pairs);
}
