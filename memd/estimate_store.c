// SPDX-License-Identifier: Apache-2.0
/* Fingerprints of sampled pages; see estimate_store.h. */
#include "memd/estimate_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/grow.h"
#include "memd/estimate.h"

#define MAX_KEPT_ANY (8U << 20)
#define RADIX_BITS   11
#define RADIX_PASSES 3

void *estimate_array(size_t n, size_t size)
{
	return calloc(n + 1, size);
}

/* The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static uint64_t next_random(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15ULL;
	return mix(*state);
}

uint64_t estimate_cluster_bits(uint64_t seed, uint64_t cluster)
{
	return mix(mix(seed + 0x9e3779b97f4a7c15ULL) ^ (cluster * 0x9e3779b97f4a7c15ULL));
}

static bool wanted(uint64_t seed, uint64_t cluster, double fraction)
{
	return (double)(estimate_cluster_bits(seed, cluster) >> 11) * 0x1p-53 < fraction;
}

bool estimate_store_wants(const struct estimate_store *store, uint64_t cluster)
{
	return wanted(store->seed, cluster, store->fraction);
}

void estimate_store_init(struct estimate_store *store, uint64_t seed, double fraction,
			 size_t max_kept)
{
	*store = (struct estimate_store){.seed = seed,
					 .fraction = fraction,
					 .classes = 1,
					 .max_kept = max_kept ? max_kept : MAX_KEPT_ANY,
					 .random = mix(~seed)};
}

void estimate_store_free(struct estimate_store *store)
{
	free(store->kept);
	free(store->clusters);
	*store = (struct estimate_store){0};
}

/* Keep a zero page's place with the probability that all seen so far have (reservoir sampling). */
static void zero_seen(struct estimate_store *store, uint64_t where)
{
	uint64_t at = store->n_zeros_seen++;

	if (at >= ESTIMATE_ZEROS_MAX)
		at = next_random(&store->random) % store->n_zeros_seen;
	if (at < ESTIMATE_ZEROS_MAX)
		store->zeros[at] = where;
}

static bool in_class(uint64_t content, unsigned int classes)
{
	return (content & (classes - 1)) == 0;
}

static void more_classes(struct estimate_store *store)
{
	size_t n = 0;

	store->classes *= 2;
	for (size_t i = 0; i < store->n_kept; i++)
		if (in_class(store->kept[i].content, store->classes))
			store->kept[n++] = store->kept[i];
	store->n_kept = n;
}

int estimate_store_add(struct estimate_store *store, uint64_t where, uint64_t content, bool zero)
{
	uint64_t cluster = estimate_cluster_of(where);
	struct estimate_cluster *clusters, *last;
	struct estimate_kept *kept;

	clusters = grow(store->clusters, &store->room_clusters, store->n_clusters + 1,
			sizeof(*clusters));
	if (!clusters)
		return -ENOMEM;
	store->clusters = clusters;
	if (!store->n_clusters || store->clusters[store->n_clusters - 1].cluster != cluster)
		store->clusters[store->n_clusters++] =
			(struct estimate_cluster){.cluster = cluster};
	last = &store->clusters[store->n_clusters - 1];
	last->pages++;
	if (zero) {
		last->zeros++;
		zero_seen(store, where);
		return 0;
	}
	if (!in_class(content, store->classes))
		return 0;
	while (store->n_kept >= store->max_kept && store->classes < 1U << 30)
		more_classes(store);
	if (!in_class(content, store->classes))
		return 0;
	kept = grow(store->kept, &store->room_kept, store->n_kept + 1, sizeof(*kept));
	if (!kept)
		return -ENOMEM;
	store->kept = kept;
	store->kept[store->n_kept++] = (struct estimate_kept){.content = content, .where = where};
	return 0;
}

/* Keep what `process` is not in and `fraction` wants. */
static void filter(struct estimate_store *store, double fraction, size_t process)
{
	size_t n = 0, seen = store->n_zeros_seen < ESTIMATE_ZEROS_MAX ? store->n_zeros_seen
								      : ESTIMATE_ZEROS_MAX;

#define STAYS(where)                           \
	(estimate_process(where) != process && \
	 wanted(store->seed, estimate_cluster_of(where), fraction))
	for (size_t i = 0; i < store->n_kept; i++)
		if (STAYS(store->kept[i].where))
			store->kept[n++] = store->kept[i];
	store->n_kept = n;
	n = 0;
	for (size_t i = 0; i < store->n_clusters; i++)
		if (STAYS(store->clusters[i].cluster << 4))
			store->clusters[n++] = store->clusters[i];
	store->n_clusters = n;
	n = 0;
	for (size_t i = 0; i < seen; i++)
		if (STAYS(store->zeros[i]))
			store->zeros[n++] = store->zeros[i];
#undef STAYS
	/* What is left of a full reservoir still stands for all that were seen. */
	if (seen)
		store->n_zeros_seen = store->n_zeros_seen * n / seen;
	if (n < ESTIMATE_ZEROS_MAX)
		store->n_zeros_seen = n;
}

void estimate_store_thin(struct estimate_store *store, double fraction)
{
	if (fraction >= store->fraction)
		return;
	filter(store, fraction, SIZE_MAX);
	store->fraction = fraction;
}

void estimate_store_drop(struct estimate_store *store, size_t process)
{
	filter(store, store->fraction, process);
}

/* One stable pass by some bits of the content. */
static void radix_pass(const struct estimate_kept *from, struct estimate_kept *to, size_t n,
		       int shift)
{
	size_t start[1U << RADIX_BITS] = {0}, sum = 0;

	for (size_t i = 0; i < n; i++)
		start[from[i].content >> shift & ((1U << RADIX_BITS) - 1)]++;
	for (size_t i = 0; i < 1U << RADIX_BITS; i++) {
		size_t count = start[i];

		start[i] = sum;
		sum += count;
	}
	for (size_t i = 0; i < n; i++)
		to[start[from[i].content >> shift & ((1U << RADIX_BITS) - 1)]++] = from[i];
}

int estimate_store_sort(struct estimate_store *store)
{
	struct estimate_kept *from = store->kept, *to;

	if (store->n_kept < 2)
		return 0;
	to = reallocarray(NULL, store->n_kept, sizeof(*to));
	if (!to)
		return -ENOMEM;
	/* The top 33 bits tell almost all contents apart, */
	for (int i = 0; i < RADIX_PASSES; i++) {
		struct estimate_kept *old = from;

		radix_pass(from, to, store->n_kept, 64 - RADIX_BITS * (RADIX_PASSES - i));
		from = to;
		to = old;
	}
	free(to);
	store->kept = from;
	store->room_kept = store->n_kept;
	/* and insertion does the rest; it is stable too. */
	for (size_t i = 1; i < store->n_kept; i++) {
		struct estimate_kept one = from[i];
		size_t at = i;

		for (; at > 0 && from[at - 1].content > one.content; at--)
			from[at] = from[at - 1];
		from[at] = one;
	}
	return 0;
}

size_t estimate_store_same(const struct estimate_store *store, size_t first)
{
	size_t n = 1;

	while (first + n < store->n_kept &&
	       store->kept[first + n].content == store->kept[first].content)
		n++;
	return n;
}
