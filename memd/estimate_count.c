// SPDX-License-Identifier: Apache-2.0
/* The estimators; see estimate.h for the statistics and their sources. */
#include "memd/estimate_count.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "memd/estimate.h"

double estimate_root(double x)
{
	return x > 0 ? sqrt(x) : 0;
}

void estimate_wilson(double hits, double n, double *ret_low, double *ret_high)
{
	double z2 = ESTIMATE_Z * ESTIMATE_Z, p, mid, half;

	*ret_low = 0;
	*ret_high = 1;
	if (n <= 0)
		return;
	p = hits / n;
	mid = (p + z2 / (2 * n)) / (1 + z2 / n);
	half = ESTIMATE_Z * estimate_root(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n);
	*ret_low = fmax(0, mid - half);
	*ret_high = fmin(1, mid + half);
}

double estimate_copies(const struct estimate_count *count, double pages)
{
	return count->max_sharing && pages > 0 ? ceil(pages / (double)count->max_sharing) - 1 : 0;
}

static unsigned int group_of(const struct estimate_store *store, uint64_t cluster)
{
	return estimate_cluster_bits(store->seed, cluster) % ESTIMATE_GROUPS;
}

static double scale_of(const struct estimate_tally *tally)
{
	return tally->read > 0 ? tally->present / tally->read : 0;
}

/* Pages of one content by process; only those in `touched` are set. */
struct shares {
	double *pages;
	uint32_t *touched;
	size_t n;
};

/* Sets the shares of the pages from..from+n and returns in how many clusters they are. */
static uint64_t shares_fill(const struct estimate_kept *kept, size_t n, struct shares *shares)
{
	uint64_t clusters = 0;

	shares->n = 0;
	for (size_t i = 0; i < n; i++) {
		size_t process = estimate_process(kept[i].where);

		if (shares->n == 0 || shares->touched[shares->n - 1] != process) {
			shares->touched[shares->n++] = (uint32_t)process;
			shares->pages[process] = 0;
		}
		shares->pages[process] += 1;
		if (i == 0 ||
		    estimate_cluster_of(kept[i].where) != estimate_cluster_of(kept[i - 1].where))
			clusters++;
	}
	return clusters;
}

/* What the count would lose without one of its clusters, `here` pages of which are in `owner`. */
static void influence_add(struct estimate_count *count, const struct shares *shares, double all,
			  uint64_t seen, uint64_t cluster, double here)
{
	size_t owner = estimate_process(cluster << 4);
	double with = estimate_weight(&count->weights, seen) / all;
	double without = all > here ? estimate_weight(&count->weights, seen - 1) / (all - here) : 0;
	double *row = count->influence + group_of(count->store, cluster) * count->n;

	for (size_t i = 0; i < shares->n; i++) {
		size_t process = shares->touched[i];
		double mine = shares->pages[process];
		double change = mine * with - (mine - (process == owner ? here : 0)) * without;

		row[process] -= change * count->fraction * count->store->classes *
				scale_of(&count->tallies[process]);
	}
}

static void content_add(struct estimate_count *count, const struct estimate_kept *kept, size_t n,
			struct shares *shares)
{
	uint64_t seen = shares_fill(kept, n, shares);
	double classes = count->store->classes, f = count->fraction;
	double weight = estimate_weight(&count->weights, seen), all_share = 0;
	double copies = estimate_copies(count, (double)n / f);

	for (size_t i = 0; i < shares->n; i++) {
		struct estimate_tally *tally = &count->tallies[shares->touched[i]];
		double part = shares->pages[shares->touched[i]] / (double)n * classes;
		double share = scale_of(tally) * f * part / classes * weight;

		tally->distinct += part * (weight + copies);
		tally->variance += classes * (classes - 1) * share * share;
		all_share += share;
	}
	count->tallies[count->n].variance += classes * (classes - 1) * all_share * all_share;
	if (f >= 1 || seen > ESTIMATE_SEEN_MAX)
		return;
	for (size_t i = 0, here; i < n; i += here) {
		uint64_t cluster = estimate_cluster_of(kept[i].where);

		for (here = 1; i + here < n; here++)
			if (estimate_cluster_of(kept[i + here].where) != cluster)
				break;
		influence_add(count, shares, (double)n, seen, cluster, (double)here);
	}
}

static int contents_add(struct estimate_count *count)
{
	AUTO_FREE double *pages = estimate_array(count->n, sizeof(*pages));
	AUTO_FREE uint32_t *touched = estimate_array(count->n, sizeof(*touched));
	struct shares shares = {.pages = pages, .touched = touched};
	const struct estimate_store *store = count->store;

	if (!pages || !touched)
		return -ENOMEM;
	for (size_t i = 0, same; i < store->n_kept; i += same) {
		same = estimate_store_same(store, i);
		content_add(count, store->kept + i, same, &shares);
	}
	return 0;
}

static void clusters_read(struct estimate_count *count)
{
	for (size_t i = 0; i < count->store->n_clusters; i++) {
		const struct estimate_cluster *cluster = &count->store->clusters[i];
		struct estimate_tally *tally =
			&count->tallies[estimate_process(cluster->cluster << 4)];

		tally->read += cluster->pages;
		tally->zeros += cluster->zeros;
	}
}

/* Zero pages are one content, kept once or in copies, or not at all. */
static void zero_count(struct estimate_count *count)
{
	double all = 0, keep = 0;

	for (size_t i = 0; i < count->n; i++)
		all += count->tallies[i].zeros * scale_of(&count->tallies[i]);
	if (all > 0 && !count->use_zero_pages)
		keep = fmin(1, (1 + estimate_copies(count, all)) / all);
	for (size_t i = 0; i < count->n; i++)
		count->tallies[i].zero_saved =
			(1 - keep) * count->tallies[i].zeros * scale_of(&count->tallies[i]);
}

/* The pages' own part of the influence, as deviations from the process's mean (ratio estimator). */
static void clusters_influence(struct estimate_count *count)
{
	for (size_t i = 0; i < count->store->n_clusters; i++) {
		const struct estimate_cluster *cluster = &count->store->clusters[i];
		size_t process = estimate_process(cluster->cluster << 4);
		const struct estimate_tally *tally = &count->tallies[process];
		size_t at = group_of(count->store, cluster->cluster) * count->n + process;
		double scale = scale_of(tally), zero_part = 0;

		if (tally->zeros > 0)
			zero_part = tally->zero_saved / (tally->zeros * scale);
		count->influence[at] += scale * (cluster->pages - cluster->zeros * (1 - zero_part) -
						 tally->saved / tally->present * cluster->pages);
		count->zero_influence[at] +=
			scale *
			(cluster->zeros - tally->zeros / tally->read * (double)cluster->pages);
	}
}

/* The sum of squares of the groups about their mean, less what sampling without replacement saves.
 */
static double spread(const struct estimate_count *count, const double *influence, size_t first,
		     size_t n)
{
	double sum = 0, squares = 0, groups = ESTIMATE_GROUPS;

	for (size_t g = 0; g < ESTIMATE_GROUPS; g++) {
		double one = 0;

		for (size_t i = first; i < first + n; i++)
			one += influence[g * count->n + i];
		sum += one;
		squares += one * one;
	}
	return (1 - count->fraction) * fmax(0, squares - sum * sum / groups) * groups /
	       (groups - 1);
}

static void total_add(struct estimate_tally *total, const struct estimate_tally *one)
{
	total->read += one->read;
	total->zeros += one->zeros;
	total->present += one->present;
	total->zero_saved += one->zero_saved;
	total->saved += one->saved;
}

int estimate_count(struct estimate_count *count)
{
	AUTO_FREE double *influence = estimate_array(ESTIMATE_GROUPS * count->n, sizeof(double));
	AUTO_FREE double *zero_influence =
		estimate_array(ESTIMATE_GROUPS * count->n, sizeof(double));
	struct estimate_tally *total = &count->tallies[count->n];
	int r;

	if (!influence || !zero_influence)
		return -ENOMEM;
	count->influence = influence;
	count->zero_influence = zero_influence;
	count->fraction =
		count->clusters ? (double)count->store->n_clusters / (double)count->clusters : 1;
	estimate_weights_make(count->fraction, count->clusters, &count->weights);
	clusters_read(count);
	r = contents_add(count);
	if (r < 0)
		return r;
	zero_count(count);
	for (size_t i = 0; i < count->n; i++) {
		struct estimate_tally *tally = &count->tallies[i];
		double scale = scale_of(tally), f = count->fraction;

		tally->distinct *= scale * f;
		tally->saved =
			scale * (tally->read - tally->zeros) - tally->distinct + tally->zero_saved;
		total_add(total, tally);
		total->distinct += tally->distinct;
	}
	clusters_influence(count);
	for (size_t i = 0; i < count->n; i++) {
		count->tallies[i].variance += spread(count, influence, i, 1);
		count->tallies[i].zero_variance = spread(count, zero_influence, i, 1);
	}
	total->variance += spread(count, influence, 0, count->n);
	total->zero_variance = spread(count, zero_influence, 0, count->n);
	return 0;
}
