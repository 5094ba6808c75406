// SPDX-License-Identifier: Apache-2.0
/* memd's estimate: the second look, trust domains and nodes, less time than thought, what vanishes.
 */
#include "tests/unit/estimate_memory.h"

#include "memd/estimate_count.h"

#define PAGES 4000U

/* Two guests with the same image, and pages of their own behind it. */
static void two_guests(struct memory *memory)
{
	for (size_t i = 0; i < 2; i++) {
		uint64_t *pages = memory_add(memory, PAGES);

		for (size_t k = 0; k < PAGES; k++)
			pages[k] = k < PAGES / 2 ? 1 + k : (i + 1) << 20 | k;
	}
}

static double pages_of(uint64_t bytes)
{
	return (double)bytes / ESTIMATE_PAGE_BYTES;
}

/* ---- the second look ---- */

/* One page in ten of the first guest's image is written to. */
static void write_tenth(struct memory *memory)
{
	for (size_t k = 0; k < PAGES / 2; k += 10)
		memory->processes[0].pages[k] |= 1ULL << 40;
}

static void changed_is_not_stable(void **state)
{
	AUTO_MEMORY struct memory memory = {.at_settle = write_tenth};
	struct estimate e;

	two_guests(&memory);
	e = memory_estimate(&memory, 1, 1, 0, NULL);
	assert_int_equal(memory.settle_calls, 1);
	assert_true(e.looked_twice);
	assert_int_equal(e.looked_pages, PAGES);
	assert_int_equal(e.total.saved.bytes, (uint64_t)PAGES / 2 * ESTIMATE_PAGE_BYTES);
	assert_int_equal(e.total.stable.bytes, (uint64_t)PAGES / 2 * 9 / 10 * ESTIMATE_PAGE_BYTES);
	assert_true(e.total.stable.low_bytes <= e.total.stable.bytes);
	assert_true(e.total.stable.high_bytes >= e.total.stable.bytes);
	/* each loses its half of the pages that are not shared any more */
	assert_int_equal(e.parts[0].stable.bytes, e.parts[1].stable.bytes);
	estimate_free(&e);
}

/* Seeded runs over memory that changes between the looks: the truth is that of the end, for what
 * was written became unique. */
static void stable_is_covered(void **state)
{
	int inside = 0;

	for (uint64_t seed = 1; seed <= 200; seed++) {
		AUTO_MEMORY struct memory memory = {.at_settle = write_tenth, .max_sharing = 256};
		double parts[8], zero;
		struct estimate e;

		two_guests(&memory);
		memory_add(&memory, PAGES / 4); /* zero pages */
		e = memory_estimate(&memory, seed, 0.55, 0, NULL);
		inside += memory_inside(&e.total.stable, memory_truth(&memory, parts, &zero));
		estimate_free(&e);
	}
	assert_true(inside >= 186);
}

/* All zero pages of one guest are used in between. */
static void use_zeros(struct memory *memory)
{
	for (size_t k = 0; k < memory->processes[1].n; k++)
		memory->processes[1].pages[k] = 1 + k;
}

static void zero_pages_change_too(void **state)
{
	AUTO_MEMORY struct memory memory = {.at_settle = use_zeros, .use_zero_pages = true};
	struct estimate e;

	memory_add(&memory, PAGES);
	memory_add(&memory, PAGES);
	e = memory_estimate(&memory, 1, 1, 0, NULL);
	assert_int_equal(e.total.zero.bytes, 2ULL * PAGES * ESTIMATE_PAGE_BYTES);
	assert_int_equal(e.parts[0].stable.bytes, (uint64_t)PAGES * ESTIMATE_PAGE_BYTES);
	assert_int_equal(e.parts[1].stable.bytes, 0);
	estimate_free(&e);
}

static void giant_changes(struct memory *memory)
{
	for (size_t i = 0; i < memory->n; i++)
		for (size_t k = 0; k < PAGES / 2; k++)
			if (k % 4 == 0)
				memory->processes[i].pages[k] = (i + 1) << 30 | k;
}

/* One content on half of all pages, a quarter of which are written to: only a few are looked at. */
static void often_found_is_sampled(void **state)
{
	AUTO_MEMORY struct memory memory = {.at_settle = giant_changes};
	struct estimate e;
	double truth, parts[8], zero;

	two_guests(&memory);
	for (size_t i = 0; i < 2; i++)
		for (size_t k = 0; k < PAGES / 2; k++)
			memory.processes[i].pages[k] = 4711;
	e = memory_estimate(&memory, 5, 1, 0, NULL);
	truth = memory_truth(&memory, parts, &zero);
	assert_true(e.looked_pages < 200);
	assert_true(memory_inside(&e.total.stable, truth));
	assert_true(fabs(pages_of(e.total.stable.bytes) - truth) < PAGES / 4.0);
	estimate_free(&e);
}

/* ---- what may be merged with what ---- */

static void domains_stay_apart(void **state)
{
	static const uint32_t apart[] = {1, 2}, together[] = {3, 3};
	AUTO_MEMORY struct memory memory = {0};
	struct estimate e;

	two_guests(&memory);
	e = memory_estimate(&memory, 1, 1, 0, apart);
	assert_int_equal(e.total.saved.bytes, 0);
	estimate_free(&e);
	e = memory_estimate(&memory, 1, 1, 0, together);
	assert_int_equal(e.total.saved.bytes, (uint64_t)PAGES / 2 * ESTIMATE_PAGE_BYTES);
	estimate_free(&e);
}

static uint8_t node_of(size_t process, uint64_t page)
{
	return process == 1 && page >= PAGES / 4;
}

static void nodes_stay_apart(void **state)
{
	AUTO_MEMORY struct memory memory = {.node_of = node_of};
	struct estimate e;

	two_guests(&memory);
	e = memory_estimate(&memory, 1, 1, 0, NULL);
	assert_int_equal(e.total.saved.bytes, (uint64_t)PAGES / 4 * ESTIMATE_PAGE_BYTES);
	estimate_free(&e);
}

/* ---- time and faults ---- */

static void thinned_on_the_way(void **state)
{
	AUTO_MEMORY struct memory memory = {.pace_fraction = 0.6};
	double parts[8], zero, truth;
	struct estimate e;

	two_guests(&memory);
	truth = memory_truth(&memory, parts, &zero);
	/* the first look at the clock comes late, what was read too much is forgotten */
	e = memory_estimate(&memory, 3, 1, 0, NULL);
	assert_true(e.fraction > 0.5 && e.fraction < 0.7);
	assert_true(e.total.read_bytes < e.total.present_bytes * 7 / 10);
	assert_true(memory_inside(&e.total.saved, truth));
	estimate_free(&e);
	/* the same sample as had it been asked for */
	memory.pace_fraction = 0;
	{
		struct estimate same = memory_estimate(&memory, 3, 0.6, 0, NULL);

		memory.pace_fraction = 0.6;
		e = memory_estimate(&memory, 3, 1, 0, NULL);
		assert_int_equal(same.total.read_bytes, e.total.read_bytes);
		assert_int_equal(same.total.saved.bytes, e.total.saved.bytes);
		estimate_free(&same);
	}
	estimate_free(&e);
}

static void same_seed_same_answer(void **state)
{
	AUTO_MEMORY struct memory memory = {0};
	struct estimate one, two, other;

	two_guests(&memory);
	one = memory_estimate(&memory, 9, 0.55, 0, NULL);
	two = memory_estimate(&memory, 9, 0.55, 0, NULL);
	other = memory_estimate(&memory, 10, 0.55, 0, NULL);
	assert_memory_equal(&one.total.saved, &two.total.saved, sizeof(one.total.saved));
	assert_int_equal(one.total.read_bytes, two.total.read_bytes);
	assert_true(one.total.saved.bytes != other.total.saved.bytes);
	estimate_free(&one);
	estimate_free(&two);
	estimate_free(&other);
}

/* Its pages count for nobody, and the others' are as if it had never been there. */
static void vanishing_process(void **state)
{
	for (uint64_t after = 1; after < 3 * PAGES; after += 500) {
		AUTO_MEMORY struct memory memory = {.vanish = 1, .vanish_after = after};
		struct estimate e;
		uint64_t *third;

		two_guests(&memory);
		third = memory_add(&memory, PAGES);
		memcpy(third, memory.processes[0].pages, PAGES * sizeof(*third));
		e = memory_estimate(&memory, 1, 1, 0, NULL);
		if (e.parts[1].error == 0) { /* it was read by then */
			assert_true(after > PAGES);
			assert_int_equal(e.total.present_bytes, 3ULL * PAGES * 4096);
		} else {
			assert_int_equal(e.parts[1].error, -ESRCH);
			assert_int_equal(e.parts[1].present_bytes, 0);
			assert_int_equal(e.parts[1].saved.bytes, 0);
			assert_int_equal(e.total.saved.bytes, (uint64_t)PAGES * 4096);
			assert_int_equal(e.total.present_bytes, 2ULL * PAGES * 4096);
		}
		estimate_free(&e);
	}
}

static uint64_t gone[8];

static int present_then_gone(void *ctx, size_t process, uint64_t *from, struct estimate_run *runs,
			     size_t max)
{
	struct memory *memory = ctx;
	int n = memory_present(ctx, process, from, runs, max);

	/* between being seen and being read every seventh page goes */
	for (int i = 0; i < n; i++)
		for (uint64_t k = runs[i].page; k < runs[i].page + runs[i].n; k++)
			if (k % 7 == 0) {
				memory->processes[process].pages[k] = ABSENT;
				gone[process]++;
			}
	return n;
}

static void pages_that_go(void **state)
{
	AUTO_MEMORY struct memory memory = {0};
	struct estimate_source source = {
		.ctx = &memory, .present = present_then_gone, .read = memory_read};
	struct estimate_options options = {.seed = 1, .fraction = 1};
	double parts[8], zero, truth;
	struct estimate e;

	two_guests(&memory);
	assert_int_equal(estimate_run(&source, 2, &options, &e), 0);
	truth = memory_truth(&memory, parts, &zero);
	assert_int_equal(e.parts[0].present_bytes, (PAGES - gone[0]) * 4096);
	assert_true(fabs(pages_of(e.total.saved.bytes) - truth) < 0.01);
	estimate_free(&e);
}

static int no_memory(void *ctx, size_t process, uint64_t *from, struct estimate_run *runs,
		     size_t max)
{
	return -ENOMEM;
}

static void refused(void **state)
{
	struct estimate_source source = {.present = no_memory};
	struct estimate_options options = {.fraction = 0.5};
	struct estimate e = {.n = 42};

	assert_int_equal(estimate_run(&source, 1, &options, &e), -ENOMEM);
	options.fraction = 0;
	assert_int_equal(estimate_run(&source, 1, &options, &e), -EINVAL);
	options.fraction = 1.5;
	assert_int_equal(estimate_run(&source, 1, &options, &e), -EINVAL);
	options.fraction = NAN;
	assert_int_equal(estimate_run(&source, 1, &options, &e), -EINVAL);
	assert_int_equal(e.n, 42);
}

static void nothing_to_look_at(void **state)
{
	AUTO_MEMORY struct memory memory = {0};
	struct estimate e = memory_estimate(&memory, 1, 0.5, 0, NULL);

	assert_int_equal(e.total.saved.high_bytes, 0);
	estimate_free(&e);
	memory_add(&memory, 0);
	memory_add(&memory, 3);
	for (size_t k = 0; k < 3; k++)
		memory.processes[1].pages[k] = ABSENT;
	e = memory_estimate(&memory, 1, 0.5, 0, NULL);
	assert_int_equal(e.total.present_bytes, 0);
	assert_int_equal(e.total.saved.high_bytes, 0);
	estimate_free(&e);
}

/* ---- the formulas ---- */

static double mean_weight(const struct estimate_weights *weights, double f, unsigned int m)
{
	double mean = 0;

	for (unsigned int j = 0; j <= m; j++)
		mean += exp(lgamma(m + 1) - lgamma(j + 1) - lgamma(m - j + 1) + j * log(f) +
			    (m - j) * log1p(-f)) *
			estimate_weight(weights, j);
	return mean;
}

/* From one half on the binomial mean is 1 for every number of clusters; below it is off by no more
 * than is said. */
static void weights_are_unbiased(void **state)
{
	static const double fractions[] = {0.01, 0.1,  0.2, 0.3,  0.4, 0.45,
					   0.5,	 0.51, 0.6, 0.75, 0.99};

	for (size_t i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++) {
		struct estimate_weights weights;
		double f = fractions[i];

		estimate_weights_make(f, 1 << 17, &weights);
		assert_true(f < 0.5 ? weights.bias >= 0 && weights.bias < 1 : weights.bias == 0);
		assert_true(weights.seen[0] == 0);
		for (unsigned int m = 1; m <= 500; m += m < 64 ? 1 : 17)
			assert_true(fabs(mean_weight(&weights, f, m) - 1) <=
				    (weights.bias * 1.05 + (f < 0.5 ? 1e-6 : 1e-3)) * m);
	}
}

/* All read: each content counts once. */
static void weights_of_all(void **state)
{
	struct estimate_weights weights;

	estimate_weights_make(1, 1000, &weights);
	for (unsigned int j = 1; j < 100; j++)
		assert_true(estimate_weight(&weights, j) == 1);
}

static void wilson(void **state)
{
	double low, high;

	/* Brown, Cai, DasGupta, Statistical Science 16 (2001): 0 of n is 0 to z^2 / (n + z^2) */
	estimate_wilson(0, 100, &low, &high);
	assert_true(low < 1e-12 && fabs(high - 0.0515) < 0.0001);
	estimate_wilson(50, 100, &low, &high);
	assert_true(fabs(low - 0.3865) < 0.0001 && fabs(high - 0.6135) < 0.0001);
	estimate_wilson(100, 100, &low, &high);
	assert_true(high > 1 - 1e-12 && fabs(low - 0.9485) < 0.0001);
	estimate_wilson(0, 0, &low, &high);
	assert_true(low == 0 && high == 1);
}

/* max_page_sharing: one more copy is kept for every so many. */
static void copies_are_kept(void **state)
{
	AUTO_MEMORY struct memory memory = {.max_sharing = 256};
	struct estimate e;
	uint64_t *pages = memory_add(&memory, 1000);

	for (size_t k = 0; k < 1000; k++)
		pages[k] = 5;
	e = memory_estimate(&memory, 1, 1, 0, NULL);
	assert_int_equal(e.total.saved.bytes, 996ULL * 4096);
	estimate_free(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changed_is_not_stable),
		cmocka_unit_test(stable_is_covered),
		cmocka_unit_test(zero_pages_change_too),
		cmocka_unit_test(often_found_is_sampled),
		cmocka_unit_test(domains_stay_apart),
		cmocka_unit_test(nodes_stay_apart),
		cmocka_unit_test(thinned_on_the_way),
		cmocka_unit_test(same_seed_same_answer),
		cmocka_unit_test(vanishing_process),
		cmocka_unit_test(pages_that_go),
		cmocka_unit_test(refused),
		cmocka_unit_test(nothing_to_look_at),
		cmocka_unit_test(weights_are_unbiased),
		cmocka_unit_test(weights_of_all),
		cmocka_unit_test(wilson),
		cmocka_unit_test(copies_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
