// SPDX-License-Identifier: Apache-2.0
/*
 * Does the 95 % interval hold what it promises? Memory of many kinds whose truth is known, 200 runs
 * with different seeds over each. Seeds are fixed, so the counts are always the same.
 */
#include "tests/unit/estimate_memory.h"

#include <stdio.h>

#define RUNS  200
#define LEAST 190 /* 95 % of them */
#define PAGES 6000U

/* Fill processes of PAGES pages; numbers from 1 up are free to use. */
typedef void (*maker)(struct memory *memory);

static void unique(struct memory *memory)
{
	uint64_t number = 1;

	for (size_t i = 0; i < 4; i++) {
		uint64_t *pages = memory_add(memory, PAGES);

		for (size_t k = 0; k < PAGES; k++)
			pages[k] = number++;
	}
}

/* The same image in two guests, page for page: whole clusters repeat. */
static void lockstep(struct memory *memory)
{
	for (size_t i = 0; i < 4; i++) {
		uint64_t *pages = memory_add(memory, PAGES);

		for (size_t k = 0; k < PAGES; k++)
			pages[k] = 1 + k + i / 2 * PAGES;
	}
}

static void scattered(struct memory *memory)
{
	lockstep(memory);
	for (size_t i = 0; i < memory->n; i++)
		memory_shuffle(memory->processes[i].pages, PAGES, i + 1);
}

/* Content number c is there about 1/c of the time: a few everywhere, many once. */
static void heavy_tail(struct memory *memory)
{
	uint64_t random = 7, number = 1 << 20;

	memory->max_sharing = 256;
	for (size_t i = 0; i < 4; i++) {
		uint64_t *pages = memory_add(memory, PAGES);

		for (size_t k = 0; k < PAGES; k++) {
			double u = (double)(memory_random(&random) >> 11) * 0x1p-53;
			double c = 1 / (u + 1e-6);

			pages[k] = c < 5000 ? 1 + (uint64_t)c : number++;
		}
	}
	/* of what is there once, half is really there up to six times */
	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < PAGES; k += 3)
			memory->processes[i].pages[k] = (1 << 24) + memory_random(&random) % 3000;
}

static void all_zero(struct memory *memory)
{
	memory->max_sharing = 256;
	for (size_t i = 0; i < 3; i++)
		memory_add(memory, PAGES);
}

static void one_giant(struct memory *memory)
{
	memory->max_sharing = 256;
	for (size_t i = 0; i < 3; i++) {
		uint64_t *pages = memory_add(memory, PAGES);

		for (size_t k = 0; k < PAGES; k++)
			pages[k] = k % 3 ? 4711 : 1 + i * PAGES + k;
	}
}

/* What guests of one distribution look like: zeros, an image in common, their own, repeats inside,
 * and holes. */
static void guests(struct memory *memory)
{
	uint64_t random = 3;

	memory->max_sharing = 256;
	memory->use_zero_pages = true;
	for (size_t i = 0; i < 4; i++) {
		size_t n = PAGES / 2 * (i + 1);
		uint64_t *pages = memory_add(memory, n), own = (i + 1) << 24;

		for (size_t k = 0; k < n; k++) {
			uint64_t part = k / 200 % 10;

			if (part < 3)
				pages[k] = k % 7 ? 0 : own++;
			else if (part < 6)
				pages[k] = (1 << 28) + k;
			else if (part == 6)
				pages[k] = own + memory_random(&random) % 5;
			else if (part == 7)
				pages[k] = ABSENT;
			else
				pages[k] = own++;
		}
	}
}

/* Repeats inside a process, side by side in one cluster or far from each other. */
static void inside_one(struct memory *memory)
{
	uint64_t *pages = memory_add(memory, 2 * PAGES);

	for (size_t k = 0; k < PAGES; k++) {
		pages[k] = 1 + k / 3;
		pages[PAGES + k] = PAGES + 1 + k % 700;
	}
}

/* Every content the same number of times, one above the limit at which the weights are cut. */
static void seventy_times(struct memory *memory)
{
	for (size_t i = 0; i < 4; i++) {
		uint64_t *pages = memory_add(memory, PAGES);

		for (size_t k = 0; k < PAGES; k++)
			pages[k] = 1 + (k * 4 + i) / 70;
		memory_shuffle(pages, PAGES, i + 9);
	}
}

static void one_page(struct memory *memory)
{
	memory_add(memory, 1)[0] = 5;
}

struct cover {
	const char *name;
	maker make;
	double fraction;
	uint64_t max_kept;
	double width; /* most that the half interval may be, of the pages there are, on average */
};

static void cover(const struct cover *c)
{
	AUTO_MEMORY struct memory memory = {0};
	double parts[8] = {0}, zero, truth, width = 0, sum = 0, all = 0;
	int inside = 0, inside_zero = 0, inside_parts = 0;

	c->make(&memory);
	truth = memory_truth(&memory, parts, &zero);
	for (uint64_t seed = 1; seed <= RUNS; seed++) {
		struct estimate e = memory_estimate(&memory, seed, c->fraction, c->max_kept, NULL);
		double pages = 0;

		inside += memory_inside(&e.total.saved, truth);
		inside_zero += memory_inside(&e.total.zero, zero);
		for (size_t i = 0; i < memory.n; i++) {
			inside_parts += memory_inside(&e.parts[i].saved, parts[i]);
			pages += (double)e.parts[i].present_bytes;
		}
		assert_true(fabs(pages - (double)e.total.present_bytes) < 1);
		all = (double)e.total.present_bytes / ESTIMATE_PAGE_BYTES;
		sum += (double)e.total.saved.bytes / ESTIMATE_PAGE_BYTES / RUNS;
		width += (double)(e.total.saved.high_bytes - e.total.saved.low_bytes) / 2 /
			 ESTIMATE_PAGE_BYTES / RUNS / all;
		estimate_free(&e);
	}
	print_message("%-14s %3.0f%% read: total %d, zero %d, parts %.0f of %d inside; mean %.0f, "
		      "truth %.0f "
		      "of %.0f pages, half width %.2f%%\n",
		      c->name, c->fraction * 100, inside, inside_zero,
		      (double)inside_parts / (double)memory.n, RUNS, sum, truth, all, width * 100);
	assert_true(inside >= LEAST);
	assert_true(inside_zero >= LEAST);
	assert_true(inside_parts >= LEAST * (int)memory.n);
	assert_true(width <= c->width);
	/* no bias: the mean of 200 runs is far closer than one of them need be */
	if (c->fraction >= 0.5)
		assert_true(fabs(sum - truth) <= 0.006 * all + 1);
}

#define COVER(name, fraction, max_kept, width)                                  \
	static void cover_##name(void **state)                                  \
	{                                                                       \
		cover(&(struct cover){#name, name, fraction, max_kept, width}); \
	}
COVER(unique, 0.55, 0, 0.01)
COVER(lockstep, 0.55, 0, 0.06)
COVER(scattered, 0.55, 0, 0.03)
COVER(heavy_tail, 0.55, 0, 0.04)
COVER(all_zero, 0.55, 0, 0.01)
COVER(one_giant, 0.55, 0, 0.03)
COVER(guests, 0.55, 0, 0.06)
COVER(inside_one, 0.55, 0, 0.04)
COVER(seventy_times, 0.55, 0, 0.02)
COVER(one_page, 0.55, 0, 1)

/* Every page read: exact, whatever it is. */
static void exact(void **state)
{
	static const maker makers[] = {unique,	  lockstep, scattered,	heavy_tail,    all_zero,
				       one_giant, guests,   inside_one, seventy_times, one_page};

	for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
		AUTO_MEMORY struct memory memory = {0};
		double parts[8], zero, truth;
		struct estimate e;

		makers[i](&memory);
		truth = memory_truth(&memory, parts, &zero);
		e = memory_estimate(&memory, i, 1, 0, NULL);
		assert_true(e.total.saved.low_bytes == e.total.saved.high_bytes);
		assert_true(fabs((double)e.total.saved.bytes - truth * 4096) <= 1);
		assert_true(fabs((double)e.total.zero.bytes - zero * 4096) <= 1);
		for (size_t k = 0; k < memory.n; k++)
			assert_true(fabs((double)e.parts[k].saved.bytes - parts[k] * 4096) <= 1);
		estimate_free(&e);
	}
}

/* Fingerprints of one content in four only. */
static void cover_few_kept(void **state)
{
	cover(&(struct cover){"guests, kept 1/4", guests, 0.55, 5000, 0.12});
	cover(&(struct cover){"lockstep 1/4", lockstep, 0.55, 4000, 0.12});
	cover(&(struct cover){"heavy tail 1/8", heavy_tail, 0.55, 2000, 0.12});
	cover(&(struct cover){"unique, all read", unique, 1, 6000, 0.06});
}

/* Less than half: the bound of the bias is in the interval. */
static void cover_less_read(void **state)
{
	cover(&(struct cover){"guests", guests, 0.4, 0, 0.15});
	cover(&(struct cover){"lockstep", lockstep, 0.4, 0, 0.15});
	cover(&(struct cover){"heavy tail", heavy_tail, 0.4, 0, 0.15});
	cover(&(struct cover){"inside one", inside_one, 0.4, 0, 0.15});
	cover(&(struct cover){"guests", guests, 0.25, 0, 0.3});
	cover(&(struct cover){"scattered", scattered, 0.25, 0, 0.3});
	cover(&(struct cover){"unique", unique, 0.25, 0, 0.3});
	cover(&(struct cover){"seventy", seventy_times, 0.25, 0, 0.3});
	cover(&(struct cover){"lockstep", lockstep, 0.1, 0, 0.7});
	cover(&(struct cover){"heavy tail", heavy_tail, 0.1, 0, 0.7});
	cover(&(struct cover){"giant", one_giant, 0.02, 0, 1});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exact),
		cmocka_unit_test(cover_unique),
		cmocka_unit_test(cover_lockstep),
		cmocka_unit_test(cover_scattered),
		cmocka_unit_test(cover_heavy_tail),
		cmocka_unit_test(cover_all_zero),
		cmocka_unit_test(cover_one_giant),
		cmocka_unit_test(cover_guests),
		cmocka_unit_test(cover_inside_one),
		cmocka_unit_test(cover_seventy_times),
		cmocka_unit_test(cover_one_page),
		cmocka_unit_test(cover_few_kept),
		cmocka_unit_test(cover_less_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
