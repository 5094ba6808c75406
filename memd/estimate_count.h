/* SPDX-License-Identifier: Apache-2.0 */
/* From the pages that were read to what all pages would save, in pages, with the variance. */
#ifndef MEMD_ESTIMATE_COUNT_H
#define MEMD_ESTIMATE_COUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memd/estimate_store.h"
#include "memd/estimate_weights.h"

/*
 * Half widths in standard deviations: of 98 % of a normal distribution. The stated 95 % have to
 * hold for what is not normal too (few contents that weigh much), and for a variance that is an
 * estimate.
 */
#define ESTIMATE_Z 2.33

/* What is known of one process, or of all, before and after counting. Pages. */
struct estimate_tally {
	double present;	    /* in: all there are */
	double read, zeros; /* of these read, and zero among them */
	double distinct;    /* contents but zero, its share of each */
	double zero_saved;
	double saved;		    /* with the zero pages */
	double variance;	    /* of saved, by what was not read */
	double zero_variance;	    /* of the number of zero pages */
	double lost, lost_variance; /* second look: duplicates that had changed, but zero pages */
	double zero_lost;	    /* and zero pages */
	double zero_looked, zero_changed;
};

struct estimate_count {
	const struct estimate_store *store; /* sorted */
	size_t n;
	struct estimate_tally *tallies; /* n of them, and one for the total behind them */
	uint64_t clusters;		/* all there are */
	uint64_t max_sharing;
	bool use_zero_pages;
	double fraction; /* of the clusters read, as it came out */
	struct estimate_weights weights;
	double *influence; /* [ESTIMATE_GROUPS][n]: of groups of clusters on saved */
	double *zero_influence;
};

/* Fill the tallies; present is set by the caller. -ENOMEM. */
int estimate_count(struct estimate_count *count);

/* Copies beyond the first that max_page_sharing makes KSM keep of a content seen so often. */
double estimate_copies(const struct estimate_count *count, double pages);

/*
 * Wilson's interval for a share of which `hits` of `n` were seen (n may be an effective number, not
 * whole).
 */
void estimate_wilson(double hits, double n, double *ret_low, double *ret_high);

double estimate_root(double x); /* square root, 0 of what rounding made negative */

#endif
