/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What estimate keeps of the pages it read: fingerprints and where they were, by clusters. It can
 * be thinned at any time, by clusters (less time to read) and by contents (less memory to keep).
 */
#ifndef MEMD_ESTIMATE_STORE_H
#define MEMD_ESTIMATE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ESTIMATE_GROUPS	   256U	 /* clusters are dealt into so many for the variance */
#define ESTIMATE_ZEROS_MAX 4096U /* zero pages remembered for the second look */

/* A page: process in the top 16 bits, page number below. */
static inline uint64_t estimate_where(size_t process, uint64_t page)
{
	return (uint64_t)process << 48 | page;
}

static inline size_t estimate_process(uint64_t where)
{
	return (size_t)(where >> 48);
}

static inline uint64_t estimate_page_of(uint64_t where)
{
	return where & ((1ULL << 48) - 1);
}

static inline uint64_t estimate_cluster_of(uint64_t where)
{
	return where >> 4;
}

struct estimate_kept {
	uint64_t content; /* fingerprint, never of a zero page */
	uint64_t where;
};

struct estimate_cluster {
	uint64_t cluster;
	uint16_t pages, zeros;
};

struct estimate_store {
	uint64_t seed;
	double fraction;      /* of the clusters that are in it */
	unsigned int classes; /* one content in so many is kept, a power of two */
	size_t max_kept;
	struct estimate_kept *kept;
	size_t n_kept, room_kept;
	struct estimate_cluster *clusters;
	size_t n_clusters, room_clusters;
	uint64_t zeros[ESTIMATE_ZEROS_MAX]; /* a random part of the zero pages: where */
	uint64_t n_zeros_seen;
	uint64_t random;
};

void estimate_store_init(struct estimate_store *store, uint64_t seed, double fraction,
			 size_t max_kept);
void estimate_store_free(struct estimate_store *store);

/* 64 well mixed bits that only the seed and the cluster decide. */
uint64_t estimate_cluster_bits(uint64_t seed, uint64_t cluster);

/* Is this cluster among those to read? Once false it stays so when the fraction falls. */
bool estimate_store_wants(const struct estimate_store *store, uint64_t cluster);

/*
 * A page that was read, in ascending order of where. Keeps one content in `classes`, twice as many
 * classes whenever max_kept is reached. -ENOMEM.
 */
int estimate_store_add(struct estimate_store *store, uint64_t where, uint64_t content, bool zero);

/* Drop the clusters that a smaller fraction does not want. */
void estimate_store_thin(struct estimate_store *store, double fraction);

/* Forget a process that has vanished. */
void estimate_store_drop(struct estimate_store *store, size_t process);

/* Order by content, within one by where. -ENOMEM. */
int estimate_store_sort(struct estimate_store *store);

/* The number of pages with the content of the one at `first`, the store being sorted. */
size_t estimate_store_same(const struct estimate_store *store, size_t first);

#endif
