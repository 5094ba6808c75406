// SPDX-License-Identifier: Apache-2.0
/* The second look; see estimate_look.h. */
#include "memd/estimate_look.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <xxh_x86dispatch.h> /* AVX2 or AVX-512 where there is: half the time or less */
#else
#include <xxhash.h>
#endif

#include "common/cleanup.h"

#define LOOK_PAGES  8192U /* about so many duplicates are read again */
#define OFTEN_PAGES 32U	  /* of a content that is found very often, so many */
#define OFTEN_PART  1000U /* very often: one page in so many */

/* One page to look at again. */
struct glance {
	uint64_t where, content;
	bool changed;
};

/* A content that is looked at again: count->store->kept[first...], and its glances. */
struct chosen {
	size_t first, n;
	size_t glance, n_glances;
	double classes; /* one in so many contents was chosen */
};

struct look {
	const struct estimate_eye *eye;
	struct estimate_count *count;
	struct chosen *chosen;
	size_t n_chosen, room_chosen;
	struct glance *glances;
	size_t n_glances, room_glances;
	unsigned int classes;
	size_t often;
};

uint64_t estimate_fingerprint(const uint8_t *page, uint64_t seed)
{
	return XXH3_64bits_withSeed(page, ESTIMATE_PAGE_BYTES, seed);
}

int estimate_eye_read(const struct estimate_eye *eye, size_t process, const uint64_t *pages,
		      size_t n, uint8_t *buf, bool *ret_there, uint64_t *ret_content)
{
	uint8_t nodes[ESTIMATE_BATCH_PAGES] = {0};
	uint64_t domain = eye->options->domains ? eye->options->domains[process] : 0;
	int r = eye->source->read(eye->source->ctx, process, pages, n, buf, ret_there);

	if (r == 0 && eye->source->nodes)
		r = eye->source->nodes(eye->source->ctx, process, pages, n, nodes);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (!ret_there[i])
			continue;
		ret_content[i] =
			estimate_fingerprint(buf + i * ESTIMATE_PAGE_BYTES, eye->options->seed);
		if (ret_content[i] != eye->zero)
			ret_content[i] ^= (domain << 8 | nodes[i]) * 0x9e3779b97f4a7c15ULL;
	}
	return 0;
}

static int chosen_add(struct look *look, size_t first, size_t n, size_t glances, double classes)
{
	const struct estimate_kept *kept = look->count->store->kept;

	if (look->n_chosen == look->room_chosen || look->n_glances + glances > look->room_glances)
		return -ENOMEM;
	look->chosen[look->n_chosen++] = (struct chosen){.first = first,
							 .n = n,
							 .glance = look->n_glances,
							 .n_glances = glances,
							 .classes = classes};
	for (size_t i = 0; i < glances; i++) {
		/* one of each stretch, at random: memory has patterns */
		size_t from = i * n / glances, to = (i + 1) * n / glances;
		uint64_t bits =
			estimate_cluster_bits(look->eye->options->seed, kept[first + from].where);
		const struct estimate_kept *one = &kept[first + from + bits % (to - from)];

		look->glances[look->n_glances++] =
			(struct glance){.where = one->where, .content = one->content};
	}
	return 0;
}

/* Goes through the contents twice: what there is to choose from, then choosing. */
static int choose(struct look *look, bool count_only)
{
	const struct estimate_store *store = look->count->store;
	size_t pages = 0, contents = 0, often_pages = 0;
	int r = 0;

	for (size_t i = 0, n; i < store->n_kept && r == 0; i += n) {
		n = estimate_store_same(store, i);
		if (n < 2)
			continue;
		if (n > look->often) {
			often_pages += OFTEN_PAGES;
			contents++;
			if (!count_only)
				r = chosen_add(look, i, n, OFTEN_PAGES, 1);
		} else if ((store->kept[i].content >> 32 & (look->classes - 1)) == 0) {
			pages += n;
			contents++;
			if (!count_only)
				r = chosen_add(look, i, n, n, look->classes);
		}
	}
	if (count_only) {
		look->room_chosen = contents;
		look->room_glances = pages + often_pages;
		if (pages > LOOK_PAGES && look->classes < 1U << 20) {
			look->classes *= 2;
			return -EAGAIN;
		}
	}
	return r;
}

struct turn {
	struct glance *glance;
};

static int compare_where(const void *a, const void *b)
{
	uint64_t x = ((const struct turn *)a)->glance->where;
	uint64_t y = ((const struct turn *)b)->glance->where;

	return x < y ? -1 : x > y;
}

/* Read them in the order of where they are, which is fast, whatever order they are needed in. */
static int glance_all(const struct estimate_eye *eye, struct glance *glances, size_t n)
{
	AUTO_FREE struct turn *order = estimate_array(n, sizeof(*order));
	AUTO_FREE uint8_t *buf = estimate_array(ESTIMATE_BATCH_PAGES, ESTIMATE_PAGE_BYTES);
	uint64_t pages[ESTIMATE_BATCH_PAGES], content[ESTIMATE_BATCH_PAGES];
	bool there[ESTIMATE_BATCH_PAGES];

	if (!order || !buf)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		order[i].glance = &glances[i];
	qsort(order, n, sizeof(*order), compare_where);
	for (size_t i = 0, batch; i < n; i += batch) {
		size_t process = estimate_process(order[i].glance->where);
		int r;

		for (batch = 0; i + batch < n && batch < ESTIMATE_BATCH_PAGES; batch++) {
			if (estimate_process(order[i + batch].glance->where) != process)
				break;
			pages[batch] = estimate_page_of(order[i + batch].glance->where);
		}
		r = estimate_eye_read(eye, process, pages, batch, buf, there, content);
		for (size_t k = 0; k < batch; k++)
			order[i + k].glance->changed =
				r < 0 || !there[k] || content[k] != order[i + k].glance->content;
	}
	return 0;
}

/* Sampled pages of a content that stayed, of all and of one process, and their clusters. */
struct stayed {
	double pages;
	uint64_t clusters;
};

static struct stayed stayed_of(const struct look *look, const struct chosen *chosen)
{
	const struct glance *glances = look->glances + chosen->glance;
	struct stayed stayed = {0};
	uint64_t last = UINT64_MAX;

	for (size_t i = 0; i < chosen->n_glances; i++) {
		if (glances[i].changed)
			continue;
		stayed.pages += 1;
		if (estimate_cluster_of(glances[i].where) != last)
			stayed.clusters++;
		last = estimate_cluster_of(glances[i].where);
	}
	stayed.pages *= (double)chosen->n / (double)chosen->n_glances;
	return stayed;
}

/* Take off what a content no longer saves; by process in the order of its pages. */
static void chosen_count(struct look *look, const struct chosen *chosen, double *ret_variance)
{
	struct estimate_count *count = look->count;
	const struct glance *glances = look->glances + chosen->glance;
	struct stayed all = stayed_of(look, chosen);
	bool every = chosen->n_glances == chosen->n;
	double f = count->fraction, classes = chosen->classes * count->store->classes;
	struct stayed before = {.pages = (double)chosen->n};
	double weight_before, weight_after, lost_all = 0;
	uint64_t last = UINT64_MAX;

	if (all.pages >= before.pages)
		return;
	for (size_t i = 0; i < chosen->n; i++) {
		uint64_t where = count->store->kept[chosen->first + i].where;

		before.clusters += estimate_cluster_of(where) != last;
		last = estimate_cluster_of(where);
	}
	weight_before = estimate_weight(&count->weights, before.clusters) / before.pages;
	/* Of a content found very often only the share that stayed is known. */
	weight_after = all.pages > 0 ? estimate_weight(&count->weights,
						       every ? all.clusters : before.clusters) /
					       all.pages
				     : 0;
	for (size_t i = 0; i < chosen->n_glances; i++) {
		struct estimate_tally *tally = &count->tallies[estimate_process(glances[i].where)];
		double pages = (double)chosen->n / (double)chosen->n_glances;
		double lost = pages * (1 - f * weight_before) -
			      (glances[i].changed ? 0 : pages * (1 - f * weight_after));

		lost *= tally->read > 0 ? tally->present / tally->read : 0;
		tally->lost += lost * classes;
		tally->lost_variance += classes * (classes - 1) * lost * lost;
		lost_all += lost;
	}
	if (!every) {
		/* the error of a share seen in a few */
		double share = all.pages / before.pages;

		*ret_variance += before.pages * before.pages / (f * f) * share * (1 - share) /
				 (double)chosen->n_glances;
	}
	*ret_variance += classes * (classes - 1) * lost_all * lost_all;
	count->tallies[count->n].lost += lost_all * classes;
}

static int look_zeros(const struct estimate_eye *eye, struct estimate_count *count)
{
	const struct estimate_store *store = count->store;
	struct estimate_tally *total = &count->tallies[count->n];
	size_t n =
		store->n_zeros_seen < ESTIMATE_ZEROS_MAX ? store->n_zeros_seen : ESTIMATE_ZEROS_MAX;
	AUTO_FREE struct glance *glances = estimate_array(n, sizeof(*glances));
	int r;

	if (!glances)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		glances[i] = (struct glance){.where = store->zeros[i], .content = eye->zero};
	r = glance_all(eye, glances, n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct estimate_tally *tally = &count->tallies[estimate_process(glances[i].where)];

		tally->zero_looked++;
		tally->zero_changed += glances[i].changed;
	}
	for (size_t i = 0; i < count->n; i++) {
		struct estimate_tally *tally = &count->tallies[i];

		if (tally->zero_looked > 0)
			tally->zero_lost =
				tally->zero_saved * tally->zero_changed / tally->zero_looked;
		total->zero_lost += tally->zero_lost;
		total->zero_looked += tally->zero_looked;
		total->zero_changed += tally->zero_changed;
	}
	return 0;
}

int estimate_look(const struct estimate_eye *eye, struct estimate_count *count,
		  uint64_t *ret_looked, uint64_t *ret_changed)
{
	struct look look = {.eye = eye, .count = count, .classes = 1};
	AUTO_FREE struct chosen *chosen = NULL;
	AUTO_FREE struct glance *glances = NULL;
	uint64_t changed = 0;
	int r;

	look.often = count->store->n_kept / OFTEN_PART;
	if (look.often < OFTEN_PAGES * 4)
		look.often = OFTEN_PAGES * 4;
	do
		r = choose(&look, true);
	while (r == -EAGAIN);
	look.chosen = chosen = estimate_array(look.room_chosen, sizeof(*chosen));
	look.glances = glances = estimate_array(look.room_glances, sizeof(*glances));
	if (!chosen || !glances)
		return -ENOMEM;
	r = choose(&look, false);
	if (r == 0)
		r = glance_all(eye, glances, look.n_glances);
	if (r == 0)
		r = look_zeros(eye, count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < look.n_chosen; i++)
		chosen_count(&look, &chosen[i], &count->tallies[count->n].lost_variance);
	for (size_t i = 0; i < look.n_glances; i++)
		changed += glances[i].changed;
	*ret_looked = look.n_glances;
	*ret_changed = changed;
	return 0;
}
