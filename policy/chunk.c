// SPDX-License-Identifier: Apache-2.0
/*
 * The choice of chunks. Gains are small integers, so a histogram of them finds the threshold in
 * one pass and without sorting.
 */
#include "policy/chunk.h"

#include "policy/parts.h"

#define UNIT	   16 /* of gains, to a page */
#define GAINS	   (CHUNK_PAGES * UNIT + 1)
#define COVER_PPM  900000      /* of what merging everything would save */
#define LEAST_GAIN (16 * UNIT) /* 64 KiB: what KSM's records of the chunk take, twice */

static uint64_t gain_in(const struct chunk_score *score)
{
	return min_u64(score->gain, GAINS - 1);
}

/* The gain from which on chunks are worth it. */
static uint64_t threshold(const struct chunk_score *scores, size_t n, uint64_t *ret_all)
{
	uint32_t count[GAINS] = {0};
	uint64_t all = 0, covered = 0, gain;

	for (size_t i = 0; i < n; i++) {
		count[gain_in(&scores[i])]++;
		all += gain_in(&scores[i]);
	}
	for (gain = GAINS - 1; gain > LEAST_GAIN; gain--) {
		covered += gain * count[gain];
		if (covered >= ppm_of(all, COVER_PPM))
			break;
	}
	*ret_all = all / UNIT;
	return gain;
}

uint64_t chunk_choose(const struct chunk_score *scores, bool *on, size_t n, uint64_t *ret_all)
{
	uint64_t all, from = threshold(scores, n, &all), chosen = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t gain = gain_in(&scores[i]);

		if (gain >= from)
			on[i] = true;
		else if (gain < max_u64(from / 2, LEAST_GAIN / 2))
			on[i] = false;
		chosen += on[i] ? gain : 0;
	}
	if (ret_all)
		*ret_all = all;
	return chosen / UNIT;
}

static size_t count_runs(const bool *on, size_t n)
{
	size_t runs = 0;

	for (size_t i = 0; i < n; i++)
		runs += on[i] && (i == 0 || !on[i - 1]);
	return runs;
}

/* Fill the gaps of at most `most` chunks between two runs. */
static void fill_gaps(bool *on, size_t n, size_t most)
{
	size_t end = SIZE_MAX; /* behind the last chunk that is on */

	for (size_t i = 0; i < n; i++) {
		if (!on[i])
			continue;
		if (end != SIZE_MAX && i - end <= most)
			for (size_t k = end; k < i; k++)
				on[k] = true;
		end = i + 1;
	}
}

size_t chunk_join(bool *on, size_t n, size_t max_runs)
{
	size_t runs = count_runs(on, n);

	for (size_t most = 1; runs > max_u64(max_runs, 1); most *= 2) {
		fill_gaps(on, n, most);
		runs = count_runs(on, n);
	}
	return runs;
}
