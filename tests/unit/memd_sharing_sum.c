// SPDX-License-Identifier: Apache-2.0
/* The arithmetic of sharing: to the byte, whatever the mix of mappers, held against fractions. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "memd/sharing_sum.h"

#define PAGE	4096
#define TARGETS 5
#define OTHERS	TARGETS
#define UNKNOWN (TARGETS + 1)

static struct sharing_sum *sum_new(bool pairs)
{
	struct sharing_sum *sum;

	assert_int_equal(sharing_sum_new(TARGETS, pairs, &sum), 0);
	return sum;
}

static void add(struct sharing_sum *sum, const struct sharing_share *shares, size_t n,
		uint64_t mappers)
{
	assert_int_equal(sharing_sum_add(sum, shares, n, mappers), 0);
}

static void nothing(void **state)
{
	struct sharing_sum *sum = sum_new(false);
	struct sharing_total totals[TARGETS + 2];
	struct sharing_share one = {0, 1};

	add(sum, &one, 1, 1); /* a merged page that nobody shares any more saves nothing */
	assert_int_equal(sharing_sum_close(sum, PAGE, totals), 0);
	for (size_t i = 0; i < TARGETS + 2; i++) {
		assert_int_equal(totals[i].saved_bytes, 0);
		assert_int_equal(totals[i].own_bytes, 0);
		assert_int_equal(totals[i].shared_pages, 0);
	}
	assert_null(sharing_sum_take_pairs(sum));
	sharing_sum_free(sum);
}

static void pair_and_triple(void **state)
{
	struct sharing_sum *sum = sum_new(true);
	struct sharing_total totals[TARGETS + 2];
	const struct sharing_share pair[] = {{0, 1}, {2, 1}}, triple[] = {{0, 2}, {OTHERS, 1}};
	uint64_t *pairs;

	add(sum, pair, 2, 2);
	add(sum, triple, 2, 3);
	add(sum, pair, 2, 4); /* two mappers more that nobody knows */
	assert_int_equal(sharing_sum_close(sum, PAGE, totals), 3);
	/* 1/2 + 2 * 2/3 + 3/4, 1/2 + 3/4, 2/3, 2 * 3/4 of a page; 2730.67 and 5461.33 bytes are
	 * the only ones that are no whole ones */
	assert_int_equal(totals[0].saved_bytes, 2048 + 5461 + 3072);
	assert_int_equal(totals[2].saved_bytes, 2048 + 3072);
	assert_int_equal(totals[OTHERS].saved_bytes, 2731);
	assert_int_equal(totals[UNKNOWN].saved_bytes, 6144);
	assert_int_equal(totals[0].own_bytes, PAGE);
	assert_int_equal(totals[UNKNOWN].own_bytes, PAGE);
	assert_int_equal(totals[0].shared_pages, 4);
	pairs = sharing_sum_take_pairs(sum);
	assert_int_equal(pairs[0 * (TARGETS + 1) + 2], 2);
	assert_int_equal(pairs[0 * (TARGETS + 1) + 0], 1);
	assert_int_equal(pairs[2 * (TARGETS + 1) + 2], 0);
	assert_int_equal(pairs[0 * (TARGETS + 1) + OTHERS], 2);
	assert_int_equal(pairs[2 * (TARGETS + 1) + OTHERS], 1);
	assert_int_equal(pairs[OTHERS * (TARGETS + 1) + OTHERS], 1);
	free(pairs);
	sharing_sum_free(sum);
}

static void refused(void **state)
{
	struct sharing_sum *sum = sum_new(false);
	const struct sharing_share twice[] = {{1, 1}, {1, 1}}, back[] = {{2, 1}, {1, 1}};
	const struct sharing_share far = {OTHERS + 1, 2}, none = {0, 0}, many = {0, 5};

	assert_int_equal(sharing_sum_add(sum, twice, 2, 2), -EINVAL);
	assert_int_equal(sharing_sum_add(sum, back, 2, 2), -EINVAL);
	assert_int_equal(sharing_sum_add(sum, &far, 1, 2), -EINVAL);
	assert_int_equal(sharing_sum_add(sum, &none, 1, 2), -EINVAL);
	assert_int_equal(sharing_sum_add(sum, &many, 1, 4), -EINVAL);
	sharing_sum_free(sum);
}

/* All denominators up to 24 divide it, so that the exact fractions are whole numbers of it. */
#define MANY 5354228880ULL

/* Random pages: everyone is within a byte of the exact fraction, and the sum is exact. */
static void any_mix(void **state)
{
	srand(4);
	for (unsigned int round = 0; round < 200; round++) {
		struct sharing_sum *sum = sum_new(true);
		struct sharing_total totals[TARGETS + 2];
		unsigned __int128 exact[TARGETS + 2] = {0};
		uint64_t mappings = 0, pages = (uint64_t)rand() % 3000, saved = 0, shared = 0;

		for (uint64_t i = 0; i < pages; i++) {
			struct sharing_share shares[TARGETS + 1];
			size_t n = 0;
			uint64_t mappers = 0, unknown = (uint64_t)(rand() % 8 ? 0 : rand() % 5);

			for (uint32_t owner = 0; owner <= OTHERS; owner++) {
				uint32_t times = (uint32_t)(rand() % 2 ? 0 : 1 + rand() % 3);

				if (!times)
					continue;
				shares[n++] = (struct sharing_share){owner, times};
				mappers += times;
			}
			mappers += unknown;
			add(sum, shares, n, mappers);
			if (mappers < 2) {
				pages--;
				i--;
				continue;
			}
			mappings += mappers;
			for (size_t j = 0; j < n; j++)
				exact[shares[j].owner] += (unsigned __int128)shares[j].pages *
							  PAGE * (mappers - 1) * (MANY / mappers);
			exact[UNKNOWN] += (unsigned __int128)unknown * PAGE * (mappers - 1) *
					  (MANY / mappers);
		}
		assert_int_equal(sharing_sum_close(sum, PAGE, totals), pages);
		for (size_t i = 0; i < TARGETS + 2; i++) {
			unsigned __int128 told = (unsigned __int128)totals[i].saved_bytes * MANY;

			assert_true(told + MANY > exact[i] && exact[i] + MANY > told);
			assert_true(totals[i].own_bytes <= totals[i].saved_bytes);
			saved += totals[i].saved_bytes;
			shared += totals[i].shared_pages;
		}
		assert_int_equal(saved, (mappings - pages) * PAGE);
		assert_int_equal(shared, mappings);
		sharing_sum_free(sum);
	}
}

/* More different numbers of mappers than fit the first table; and large ones. */
static void many_rows(void **state)
{
	struct sharing_sum *sum = sum_new(false);
	struct sharing_total totals[TARGETS + 2];
	uint64_t saved = 0, expected = 0;

	for (uint64_t m = 3000; m > 1; m--) {
		const struct sharing_share shares[] = {{1, 1}, {4, (uint32_t)(m - 1)}};

		add(sum, shares, 2, m);
		expected += m - 1;
	}
	add(sum, &(struct sharing_share){3, 1}, 1, 1ULL << 40);
	expected += (1ULL << 40) - 1;
	assert_int_equal(sharing_sum_close(sum, PAGE, totals), 3000);
	for (size_t i = 0; i < TARGETS + 2; i++)
		saved += totals[i].saved_bytes;
	assert_int_equal(saved, expected * PAGE);
	assert_int_equal(totals[3].saved_bytes, PAGE); /* all but 2^-28 byte of it */
	sharing_sum_free(sum);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing),   cmocka_unit_test(pair_and_triple),
		cmocka_unit_test(refused),   cmocka_unit_test(any_mix),
		cmocka_unit_test(many_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
