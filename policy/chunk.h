/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which 2 MiB chunks of a guest's memory are merged. A huge page with a few duplicates in it is
 * worth more whole: breaking it costs the guest a large second-level mapping, ksmd the scan of 512
 * pages and 32 KiB of records. So chunks are taken by falling gain until nearly all of what there
 * is to be saved is covered, and never those with hardly any. (SmartMD, Guo et al. 2017, decides
 * by sampled accesses and repetition; here the content decides.)
 */
#ifndef MEMD_POLICY_CHUNK_H
#define MEMD_POLICY_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHUNK_BYTES (2ull << 20)
#define CHUNK_PAGES 512

/* A guest's chunk as sampled; gains in sixteenths of a page. */
struct chunk_score {
	uint16_t gain;	  /* pages that merging all of it would save, x 16 */
	uint16_t present; /* pages in memory */
};

/*
 * Choose among the chunks of one trust domain's guests, n of them one after the other: `on` says
 * which are merged now and is brought up to date. What is on stays on until its gain is clearly
 * below what is chosen. Returns what the chosen ones are expected to save, pages, and in *ret_all
 * (may be NULL) what all of them would.
 */
uint64_t chunk_choose(const struct chunk_score *scores, bool *on, size_t n, uint64_t *ret_all);

/*
 * Join runs of one guest's chunks that are on, by switching on what lies between the closest, until
 * there are at most max_runs (at least 1) of them. Returns their number.
 */
size_t chunk_join(bool *on, size_t n, size_t max_runs);

#endif
