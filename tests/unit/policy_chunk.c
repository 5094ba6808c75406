// SPDX-License-Identifier: Apache-2.0
/* Which chunks are merged: most of the saving, few chunks, no flapping, not too many runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "policy/chunk.h"

#define N 1000

static struct chunk_score pages(unsigned int n)
{
	return (struct chunk_score){.gain = (uint16_t)(16 * n), .present = CHUNK_PAGES};
}

static size_t count(const bool *on, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += on[i];
	return sum;
}

static void test_dense_ones_are_taken(void **state)
{
	struct chunk_score scores[N];
	bool on[N] = {false};
	uint64_t all;

	(void)state;
	/* A tenth is full of duplicates, the rest has five pages of 512 each. */
	for (size_t i = 0; i < N; i++)
		scores[i] = pages(i % 10 == 0 ? 400 : 5);
	assert_int_equal(chunk_choose(scores, on, N, &all), 100 * 400);
	assert_int_equal(all, 100 * 400 + 900 * 5);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(on[i], i % 10 == 0);
}

/* Duplicates spread evenly: there is no choice but all. */
static void test_even_ones_are_all_taken(void **state)
{
	struct chunk_score scores[N];
	bool on[N] = {false};

	(void)state;
	for (size_t i = 0; i < N; i++)
		scores[i] = pages(50);
	chunk_choose(scores, on, N, NULL);
	assert_int_equal(count(on, N), N);
	/* But not when it is hardly anything. */
	memset(on, 0, sizeof(on));
	for (size_t i = 0; i < N; i++)
		scores[i] = pages(7);
	assert_int_equal(chunk_choose(scores, on, N, NULL), 0);
	assert_int_equal(count(on, N), 0);
}

static void test_nothing_there(void **state)
{
	struct chunk_score scores[N] = {{0}};
	bool on[N] = {false};
	uint64_t all = 1;

	(void)state;
	assert_int_equal(chunk_choose(scores, on, N, &all), 0);
	assert_int_equal(all, 0);
	assert_int_equal(count(on, N), 0);
	assert_int_equal(chunk_choose(NULL, NULL, 0, NULL), 0);
	/* What was merged and is no more is let go. */
	memset(on, 1, sizeof(on));
	chunk_choose(scores, on, N, NULL);
	assert_int_equal(count(on, N), 0);
}

/* Whatever the distribution: nine tenths of all that lies in chunks that matter. */
static void test_most_of_the_saving_is_covered(void **state)
{
	(void)state;
	srand(7);
	for (int round = 0; round < 500; round++) {
		struct chunk_score scores[N];
		bool on[N] = {false};
		uint64_t all = 0, small = 0, chosen, told;
		unsigned int shape = 1 + (unsigned int)rand() % 6;

		for (size_t i = 0; i < N; i++) {
			double x = (double)rand() / RAND_MAX, y = 1;

			for (unsigned int k = 0; k < shape; k++)
				y *= x;
			scores[i] = pages((unsigned int)(512 * y));
			all += scores[i].gain / 16;
			small += scores[i].gain < 16 * 16 ? scores[i].gain / 16 : 0;
		}
		chosen = chunk_choose(scores, on, N, &told);
		assert_int_equal(told, all);
		assert_true(chosen * 100 >= (all - small) * 89);
		for (size_t i = 0; i < N; i++)
			if (on[i])
				assert_true(scores[i].gain >= 8 * 16);
	}
}

/* Samples differ a little each time: what is chosen does not. */
static void test_noise_moves_little(void **state)
{
	struct chunk_score scores[N];
	bool on[N] = {false}, before[N];
	size_t moved = 0;

	(void)state;
	srand(3);
	for (int round = 0; round < 100; round++) {
		for (size_t i = 0; i < N; i++)
			scores[i] = pages((unsigned int)(i / 2 * 9 / 10 + (size_t)rand() % 40));
		memcpy(before, on, sizeof(on));
		chunk_choose(scores, on, N, NULL);
		for (size_t i = 0; i < N && round > 2; i++)
			moved += on[i] != before[i];
	}
	assert_true(moved < 40);
}

static void test_runs_are_joined(void **state)
{
	bool on[N];

	(void)state;
	for (size_t i = 0; i < N; i++)
		on[i] = i % 2 == 0;
	assert_int_equal(chunk_join(on, N, N), N / 2); /* nothing to do */
	assert_int_equal(count(on, N), N / 2);
	assert_int_equal(chunk_join(on, N, 10), 1);
	assert_int_equal(count(on, N), N - 1);
	/* The closest first. */
	memset(on, 0, sizeof(on));
	on[10] = on[12] = on[14] = on[500] = on[990] = true;
	assert_int_equal(chunk_join(on, N, 3), 3);
	assert_true(on[11] && on[13] && !on[15] && !on[499]);
	assert_int_equal(count(on, N), 7);
	assert_int_equal(chunk_join(on, N, 0), 1);
	memset(on, 0, sizeof(on));
	assert_int_equal(chunk_join(on, N, 1), 0);
	assert_int_equal(chunk_join(on, 0, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dense_ones_are_taken),
		cmocka_unit_test(test_even_ones_are_all_taken),
		cmocka_unit_test(test_nothing_there),
		cmocka_unit_test(test_most_of_the_saving_is_covered),
		cmocka_unit_test(test_noise_moves_little),
		cmocka_unit_test(test_runs_are_joined),
	};

	return cmocka_run_group_tests_name("policy_chunk", tests, NULL, NULL);
}
