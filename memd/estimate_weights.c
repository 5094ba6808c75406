// SPDX-License-Identifier: Apache-2.0
/*
 * Weights of contents by how often they were seen; see estimate_weights.h.
 *
 * A content in m clusters is seen in J ~ Bin(m, f) of them. With t = (1 - f) / f the mean of
 * 1 - (-t)^J is 1 for every m. From f = 1/2 on t^J does not grow and this is it. Below, its tail is
 * cut by chance: 1 - (-t)^J P(L >= J) with L ~ Bin(trials, q), the smoothed Good-Toulmin estimator.
 * Which trials and q is decided here by the worst m, exactly, instead of by an asymptotic rule.
 * Source: Orlitsky, Suresh, Wu, PNAS 113 (2016); Efron, Thisted, Biometrika 63 (1976).
 */
#include "memd/estimate_weights.h"

#include <math.h>
#include <stddef.h>

#include "memd/estimate.h"

#define TRIALS_MAX 24U
#define Q_FIRST	   0.4
#define Q_STEP	   0.1
#define Q_COUNT	   5
#define SMALL_M	   32U /* every m up to here, and steps of a fifth above */

static void plain(double t, struct estimate_weights *out)
{
	double power = 1;

	out->bias = 0;
	for (size_t j = 0; j <= ESTIMATE_SEEN_MAX; j++, power *= -t)
		out->seen[j] = 1 - power;
}

static void smoothed(double t, unsigned int trials, double q, struct estimate_weights *out)
{
	double term[TRIALS_MAX + 1], tail = 0;

	term[0] = pow(1 - q, trials);
	for (unsigned int i = 0; i < trials; i++)
		term[i + 1] = term[i] * (trials - i) / (i + 1) * q / (1 - q);
	for (size_t j = 0; j <= ESTIMATE_SEEN_MAX; j++)
		out->seen[j] = 1;
	for (unsigned int j = trials; j > 0; j--) {
		tail += term[j];
		out->seen[j] -= pow(t, j) * (j % 2 ? -tail : tail);
	}
	out->seen[0] = 0;
}

/* The mean of the weight of a content in m clusters, and of its square. */
static void moments(const struct estimate_weights *weights, double f, double m, double *ret_mean,
		    double *ret_square)
{
	double p = pow(1 - f, m), mean = 0, square = 0, rest = 1;

	for (unsigned int j = 0; j <= ESTIMATE_SEEN_MAX && j <= m; j++) {
		mean += p * weights->seen[j];
		square += p * weights->seen[j] * weights->seen[j];
		rest -= p;
		p *= (m - j) / (j + 1) * f / (1 - f);
	}
	*ret_mean = mean + fmax(0, rest);
	*ret_square = square + fmax(0, rest);
}

/*
 * The largest bias a page, and the largest variance a page with it; not on to the end once the sum
 * of both is no better than `best`.
 */
static double worst(struct estimate_weights *weights, double f, double pages, double best)
{
	double variance = 0, sum = 0;

	weights->bias = 0;
	for (double m = 1; m * f <= 2 * ESTIMATE_SEEN_MAX && sum < best;
	     m = m < SMALL_M ? m + 1 : ceil(m * 1.2)) {
		double mean, square;

		moments(weights, f, m, &mean, &square);
		weights->bias = fmax(weights->bias, fabs(mean - 1) / m);
		variance = fmax(variance, (square - mean * mean) / m);
		sum = weights->bias + 2 * sqrt(variance * ESTIMATE_CLUSTER_PAGES / fmax(pages, 1));
	}
	return sum;
}

void estimate_weights_make(double fraction, uint64_t clusters, struct estimate_weights *ret_weights)
{
	double t = (1 - fraction) / fraction, best = INFINITY;
	double pages = (double)clusters * ESTIMATE_CLUSTER_PAGES;

	/* By chance a little less may have been read than the half that was asked for. */
	if (fraction >= 0.495) {
		plain(fmin(1, t), ret_weights);
		return;
	}
	for (unsigned int trials = 0; trials <= TRIALS_MAX; trials++)
		for (unsigned int i = 0; i < (trials ? Q_COUNT : 1); i++) {
			struct estimate_weights one;
			double sum;

			smoothed(t, trials, Q_FIRST + Q_STEP * i, &one);
			sum = worst(&one, fraction, pages, best);
			if (sum < best) {
				best = sum;
				*ret_weights = one;
			}
		}
}
