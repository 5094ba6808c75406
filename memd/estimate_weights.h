/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much a content counts that was seen in so many of the clusters read, so that the sum over
 * those seen is the number of all contents there are.
 */
#ifndef MEMD_ESTIMATE_WEIGHTS_H
#define MEMD_ESTIMATE_WEIGHTS_H

#include <stdint.h>

#define ESTIMATE_SEEN_MAX 64U /* seen more often than this: the weight is 1 */

struct estimate_weights {
	double seen[ESTIMATE_SEEN_MAX + 1];
	/*
	 * The sum is off by no more than this for each page there is, whatever the memory holds: 0
	 * from a fraction of one half on.
	 */
	double bias;
};

/*
 * For clusters read with probability `fraction`, above 0, of `clusters` that hold about that many
 * times ESTIMATE_CLUSTER_PAGES pages. Below one half the weights are those with the smallest sum of
 * the largest bias and of two standard deviations at worst. About 3 ms.
 */
void estimate_weights_make(double fraction, uint64_t clusters,
			   struct estimate_weights *ret_weights);

static inline double estimate_weight(const struct estimate_weights *weights, uint64_t seen)
{
	return seen <= ESTIMATE_SEEN_MAX ? weights->seen[seen] : 1;
}

#endif
