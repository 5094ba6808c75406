/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What KSM would save if it merged everything it can, from a part of the pages, with a 95 %
 * interval.
 *
 * The statistics. Memory is cut into clusters of 16 pages; each is read with probability f, decided
 * by a hash of where it is, so that any f can be thinned to a smaller one afterwards. A content
 * that lies in m clusters is then seen in J ~ Bin(m, f) of them, and with t = (1 - f) / f the mean
 * of w(J) = 1 - (-t)^J is exactly 1 for every m >= 1. So the sum of w over the contents seen is an
 * unbiased count of all contents there are, and pages less contents is what merging saves. From
 * f = 1/2 on no content weighs more than 2, so nothing is assumed of how often contents repeat.
 * Below that w is smoothed, which makes it biased, but by no more than a bound that holds for any
 * memory and is in the interval; see estimate_weights.c.
 * Source: I. J. Good, G. H. Toulmin, Biometrika 43 (1956); L. A. Goodman, Ann. Math. Statist. 20
 * (1949). The variance is the delete-one jackknife over clusters, which by Efron and Stein, Ann.
 * Statist. 9 (1981), is too large rather than too small. Zero pages: E. B. Wilson, JASA 22 (1927).
 *
 * No I/O of its own and no clock: pages come from a struct estimate_source, time is the caller's.
 */
#ifndef MEMD_ESTIMATE_H
#define MEMD_ESTIMATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ESTIMATE_PAGE_BYTES    4096U
#define ESTIMATE_CLUSTER_PAGES 16U
#define ESTIMATE_BATCH_PAGES   256U
#define ESTIMATE_PROCESSES_MAX 4096U

/* Pages by number (address / 4096), n of them from page on. */
struct estimate_run {
	uint64_t page, n;
};

/* Where pages come from. Functions return 0 or a count, or -errno: the process is then left out. */
struct estimate_source {
	void *ctx;
	/*
	 * The next present, private, anonymous pages from page *from on, in order and without
	 * overlap; *from moves behind what was looked at. Returns the number of runs, which may be
	 * 0 before the end; at the end *from is UINT64_MAX.
	 */
	int (*present)(void *ctx, size_t process, uint64_t *from, struct estimate_run *runs,
		       size_t max);
	/* Whole pages, ascending, into buf; ret_there[i] is false for one that is not there. */
	int (*read)(void *ctx, size_t process, const uint64_t *pages, size_t n, uint8_t *buf,
		    bool *ret_there);
	/* The NUMA nodes they are on. NULL: pages on different nodes may be merged. */
	int (*nodes)(void *ctx, size_t process, const uint64_t *pages, size_t n,
		     uint8_t *ret_nodes);
};

struct estimate_options {
	uint64_t seed;
	double fraction;	 /* of the clusters to read, above 0, to 1 */
	uint64_t max_sharing;	 /* KSM's max_page_sharing; 0: no limit */
	bool use_zero_pages;	 /* KSM's use_zero_pages: not even one zero page is kept */
	uint64_t max_kept;	 /* pages whose fingerprints are kept (32 bytes each); 0: 8 Mi */
	const uint32_t *domains; /* per process: different ones never merge; NULL: all one */

	void *ctx; /* of these: */
	/*
	 * Called again and again with the pages passed over so far, for pacing and progress; NULL:
	 * no need. May lower *fraction when there is no time to read that much. -errno ends all.
	 */
	int (*pace)(void *ctx, uint64_t passed_pages, double *fraction);
	/* Wait until pages may be looked at for the second time. NULL: there is no second look. */
	int (*settle)(void *ctx);
};

/* An estimate and the ends of its 95 % interval. */
struct estimate_range {
	uint64_t bytes, low_bytes, high_bytes;
};

struct estimate_part {
	int error;		/* why this process is left out, or 0 */
	uint64_t present_bytes; /* exact, as seen on the way */
	uint64_t read_bytes;
	struct estimate_range saved; /* all duplicates and zero pages as they were read */
	/* Of it, what had not changed at the second look: what KSM would save. The interval allows
	 * for KSM's own ways too. */
	struct estimate_range stable;
	struct estimate_range zero; /* of saved: zero pages */
};

struct estimate {
	struct estimate_part total;
	struct estimate_part *parts; /* one per process */
	size_t n;
	double fraction;       /* of the clusters that was read in the end */
	bool looked_twice;     /* stable is known; else it is the same as saved */
	uint64_t looked_pages; /* read for the second time */
};

/*
 * One run over n processes. 0; -EINVAL: options make no sense or too many processes; -ENOMEM; what
 * pace() or settle() returned. On success the caller frees with estimate_free().
 */
int estimate_run(const struct estimate_source *source, size_t n,
		 const struct estimate_options *options, struct estimate *ret_estimate);
void estimate_free(struct estimate *estimate);

/* calloc(3), but of no elements it is memory too. */
void *estimate_array(size_t n, size_t size);

#endif
