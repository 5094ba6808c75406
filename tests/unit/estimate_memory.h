/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Made-up memory of processes for memd's estimate: each page is a number, 0 a zero page, and pages
 * with the same number are equal. What merging would save is counted exactly beside it.
 */
#ifndef TESTS_UNIT_ESTIMATE_MEMORY_H
#define TESTS_UNIT_ESTIMATE_MEMORY_H

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "memd/estimate.h"

#define ABSENT UINT64_MAX /* a page that is not there */

struct memory_process {
	uint64_t *pages;
	size_t n;
};

struct memory {
	struct memory_process processes[8];
	size_t n;
	uint64_t max_sharing; /* as KSM's; 0: none */
	bool use_zero_pages;
	/* faults */
	size_t vanish;	       /* this process ... */
	uint64_t vanish_after; /* after so many reads; 0: none does */
	size_t settle_calls;
	void (*at_settle)(struct memory *memory); /* what guests do between the looks */
	double pace_fraction;			  /* what pace() asks for, 0: nothing */
	uint64_t pages_read;
	uint8_t (*node_of)(size_t process, uint64_t page);
};

static inline uint64_t memory_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static inline uint64_t *memory_add(struct memory *memory, size_t pages)
{
	struct memory_process *process = &memory->processes[memory->n++];

	assert_true(memory->n <= 8);
	process->n = pages;
	process->pages = calloc(pages + 1, sizeof(uint64_t));
	assert_non_null(process->pages);
	return process->pages;
}

static inline void memory_free(struct memory *memory)
{
	for (size_t i = 0; i < memory->n; i++)
		free(memory->processes[i].pages);
}
#define AUTO_MEMORY __attribute__((cleanup(memory_free)))

static inline void memory_shuffle(uint64_t *pages, size_t n, uint64_t seed)
{
	for (size_t i = n; i > 1; i--) {
		size_t at = memory_random(&seed) % i;
		uint64_t one = pages[i - 1];

		pages[i - 1] = pages[at];
		pages[at] = one;
	}
}

/* ---- the truth ---- */

struct memory_page {
	uint64_t number;
	size_t process;
};

static inline int memory_compare(const void *a, const void *b)
{
	const struct memory_page *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* Pages that merging everything saves, each process's part in ret_parts[]; zero pages alone. */
static inline double memory_truth(const struct memory *memory, double *ret_parts, double *ret_zero)
{
	struct memory_page *all;
	size_t n = 0;
	double saved = 0;

	*ret_zero = 0;
	for (size_t i = 0; i < memory->n; i++)
		n += memory->processes[i].n;
	all = calloc(n + 1, sizeof(*all));
	assert_non_null(all);
	n = 0;
	for (size_t i = 0; i < memory->n; i++) {
		ret_parts[i] = 0;
		for (size_t k = 0; k < memory->processes[i].n; k++)
			if (memory->processes[i].pages[k] != ABSENT)
				all[n++] = (struct memory_page){memory->processes[i].pages[k], i};
	}
	qsort(all, n, sizeof(*all), memory_compare);
	for (size_t i = 0, same; i < n; i += same) {
		double kept = 1;

		for (same = 1; i + same < n && all[i + same].number == all[i].number; same++)
			;
		if (memory->max_sharing)
			kept = ceil((double)same / (double)memory->max_sharing);
		if (all[i].number == 0 && memory->use_zero_pages)
			kept = 0;
		for (size_t k = i; k < i + same; k++)
			ret_parts[all[k].process] += 1 - kept / (double)same;
		saved += (double)same - kept;
		if (all[i].number == 0)
			*ret_zero = (double)same - kept;
	}
	free(all);
	return saved;
}

/* ---- the source ---- */

static inline int memory_present(void *ctx, size_t process, uint64_t *from,
				 struct estimate_run *runs, size_t max)
{
	struct memory *memory = ctx;
	const struct memory_process *p = &memory->processes[process];
	size_t n = 0;
	uint64_t page = *from, stop = page + 2000;

	if (memory->vanish_after && process == memory->vanish &&
	    memory->pages_read >= memory->vanish_after)
		return -ESRCH;
	while (page < p->n && page < stop && n < max) {
		uint64_t begin;

		while (page < p->n && p->pages[page] == ABSENT)
			page++;
		begin = page;
		while (page < p->n && page < stop && p->pages[page] != ABSENT)
			page++;
		if (page == begin)
			continue;
		runs[n] = (struct estimate_run){.page = begin, .n = page - begin};
		n++;
	}
	*from = page >= p->n ? UINT64_MAX : page;
	return (int)n;
}

static inline int memory_read(void *ctx, size_t process, const uint64_t *pages, size_t n,
			      uint8_t *buf, bool *ret_there)
{
	struct memory *memory = ctx;
	const struct memory_process *p = &memory->processes[process];

	if (memory->vanish_after && process == memory->vanish &&
	    memory->pages_read >= memory->vanish_after)
		return -ESRCH;
	for (size_t i = 0; i < n; i++) {
		uint8_t *page = buf + i * ESTIMATE_PAGE_BYTES;

		assert_true(pages[i] < p->n);
		assert_true(i == 0 || pages[i] > pages[i - 1]);
		ret_there[i] = p->pages[pages[i]] != ABSENT;
		memset(page, 0, ESTIMATE_PAGE_BYTES);
		memcpy(page + 2048, &p->pages[pages[i]], sizeof(uint64_t));
	}
	memory->pages_read += n;
	return 0;
}

static inline int memory_nodes(void *ctx, size_t process, const uint64_t *pages, size_t n,
			       uint8_t *ret_nodes)
{
	struct memory *memory = ctx;

	for (size_t i = 0; i < n; i++)
		ret_nodes[i] = memory->node_of(process, pages[i]);
	return 0;
}

static inline int memory_pace(void *ctx, uint64_t passed, double *fraction)
{
	struct memory *memory = ctx;

	if (memory->pace_fraction > 0)
		*fraction = memory->pace_fraction;
	return 0;
}

static inline int memory_settle(void *ctx)
{
	struct memory *memory = ctx;

	memory->settle_calls++;
	if (memory->at_settle)
		memory->at_settle(memory);
	return 0;
}

/* One run; the caller frees. */
static inline struct estimate memory_estimate(struct memory *memory, uint64_t seed, double fraction,
					      uint64_t max_kept, const uint32_t *domains)
{
	struct estimate_source source = {.ctx = memory,
					 .present = memory_present,
					 .read = memory_read,
					 .nodes = memory->node_of ? memory_nodes : NULL};
	struct estimate_options options = {.seed = seed,
					   .fraction = fraction,
					   .max_sharing = memory->max_sharing,
					   .use_zero_pages = memory->use_zero_pages,
					   .max_kept = max_kept,
					   .domains = domains,
					   .ctx = memory,
					   .pace = memory_pace,
					   .settle = memory->at_settle ? memory_settle : NULL};
	struct estimate estimate;

	memory->pages_read = 0;
	assert_int_equal(estimate_run(&source, memory->n, &options, &estimate), 0);
	return estimate;
}

static inline bool memory_inside(const struct estimate_range *range, double pages)
{
	/* half a page for the rounding of shares */
	return (double)range->low_bytes <= (pages + 0.5) * ESTIMATE_PAGE_BYTES &&
	       (double)range->high_bytes >= (pages - 0.5) * ESTIMATE_PAGE_BYTES;
}

#endif
