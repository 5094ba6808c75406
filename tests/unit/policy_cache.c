// SPDX-License-Identifier: Apache-2.0
/* When a balloon goes for a guest's page cache: what others map is left while there is swap, and
 * where the kernel swaps by itself what is one guest's alone goes first, at a pace. */
#include "tests/unit/policy_scene.h"

/* What others map, too, frees nothing when one lets go of it; swapping leaves it alone. */
static void test_merged_cache_is_left_to_swap(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	for (int i = 0; i < 2; i++)
		s.guests[i].reclaimable_bytes = s.guests[i].resident_bytes;
	scene_cache_merged(&s.guests[0], s.guests[0].stat_available_bytes - 64 * MIB);
	scene_cache_merged(&s.guests[1], s.guests[1].stat_available_bytes / 4);
	s.host.swap_bytes = s.host.swap_free_bytes = 4 * GIB;
	s.host.available_bytes = 560 * MIB;
	scene_run(&s, 13);
	assert_int_equal(s.guests[0].target_bytes, POL_ABSENT);
	assert_true(s.guests[1].target_bytes < 2 * GIB);
	/* Without swap it has to give all the same. */
	s.host.swap_free_bytes = 0;
	scene_run(&s, 5);
	assert_true(s.guests[0].target_bytes < 2 * GIB);
	scene_close(&s);
}

/* No guest would bear being swapped, or nothing comes of it: then merged cache has to do. */
static void test_merged_cache_when_swapping_has_ended(void **state)
{
	static const uint64_t refaults[] = {256 * MIB, 0};

	for (size_t i = 0; i < 2; i++) {
		struct scene s;
		bool took = false;

		scene_open(&s, 1);
		scene_cache_merged(&s.guests[0], s.guests[0].stat_available_bytes - 64 * MIB);
		s.guests[0].reclaimable_bytes = s.guests[0].resident_bytes;
		s.host.swap_bytes = s.host.swap_free_bytes = 4 * GIB;
		scene_run(&s, 60);
		for (int t = 0; t < 140; t++) {
			s.host.available_bytes = t < 60 ? 500 * MIB : 100 * MIB;
			s.guests[0].refault_bytes += refaults[i];
			scene_run(&s, 1);
			took |= scene_action(&s, 1) != NULL;
			assert_true(!took || t >= 60);
		}
		assert_true(took);
		scene_close(&s);
	}
}

/* Merged or not: swapping is the kernel's own matter there, while there is room: when there is
 * little, or it has swapped nothing for half a minute of the host at its end, cache has to do. */
static void test_cache_is_left_where_the_kernel_swaps(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct scene s;

		scene_open(&s, 1);
		scene_cache_merged(&s.guests[0], 0);
		s.guests[0].reclaimable_bytes = s.guests[0].resident_bytes;
		s.guests[0].reclaim_blind = true;
		s.host.swap_bytes = s.host.swap_free_bytes = 4 * GIB;
		scene_run(&s, 60);
		s.host.swap_free_bytes -= 64 * MIB;
		s.host.available_bytes = 40 * MIB;
		scene_run(&s, 80);
		assert_int_equal(s.guests[0].target_bytes, POL_ABSENT);
		s.host.swap_free_bytes = i ? 256 * MIB : s.host.swap_bytes;
		scene_run(&s, i ? 5 : 28);
		if (!i) {
			assert_true(s.guests[0].target_bytes >= 2 * GIB);
			scene_run(&s, 4);
		}
		assert_true(s.guests[0].target_bytes < 2 * GIB);
		scene_close(&s);
	}
}

/* n guests with cache of which so much is merged, on a short host where the kernel swaps and so
 * much swap of 4 GiB is free. */
static void open_kernels(struct scene *s, size_t n, uint64_t merged, uint64_t swap_free)
{
	scene_open(s, n);
	s->obey = true;
	for (size_t i = 0; i < n; i++) {
		scene_cache_merged(&s->guests[i], merged);
		s->guests[i].reclaimable_bytes = s->guests[i].resident_bytes;
		s->guests[i].reclaim_blind = true;
	}
	s->host.swap_bytes = 4 * GIB;
	s->host.swap_free_bytes = swap_free;
	scene_run(s, 130);
}

/* Host and swap stay as they are however much is taken; returns guests' bytes taken, *ret_most: by
 * one order. */
static uint64_t run_short_most(struct scene *s, unsigned int seconds, uint64_t available,
			       uint64_t *ret_most)
{
	uint64_t taken = 0;

	*ret_most = 0;
	for (unsigned int t = 0; t < seconds; t++) {
		s->host.available_bytes = available;
		scene_step(s);
		for (size_t i = 0; i < s->plan->n_actions; i++) {
			const struct pol_action *a = &s->plan->actions[i];

			if (a->kind != POL_BALLOON || a->to >= a->from)
				continue;
			taken += a->from - a->to;
			*ret_most = max_u64(*ret_most, a->from - a->to);
		}
	}
	return taken;
}

static uint64_t run_short(struct scene *s, unsigned int seconds)
{
	uint64_t most;

	return run_short_most(s, seconds, 300 * MIB, &most);
}

/* 8 GiB in 512 s, four times that when swap is scarce, by orders of two seconds; what was not taken
 * for so long may be made up for. */
static void test_cache_is_taken_at_a_pace_before_swap_is_full(void **state)
{
	static const struct {
		uint64_t swap_free, pace;
	} cases[] = {
		{3 * GIB + 64 * MIB, 0},
		{3 * GIB - 64 * MIB, 16 * MIB},
		{GIB / 2, 64 * MIB},
		{100 * MIB, GIB},
	};

	for (size_t i = 0; i < 4; i++) {
		struct scene s;
		uint64_t taken, most, pace = cases[i].pace;

		open_kernels(&s, 8, 0, cases[i].swap_free);
		taken = run_short_most(&s, 20, 300 * MIB, &most);
		assert_true(taken >= (i == 3 ? 4 * GIB : 18 * pace));
		assert_true(taken <= 24 * pace);
		assert_true(most <= 2 * pace);
		scene_close(&s);
	}
}

/* Each in its turn, whoever is first in the list. */
static void test_all_have_their_turn(void **state)
{
	struct scene s;
	uint64_t least = UINT64_MAX, most = 0;

	open_kernels(&s, 5, 0, 3 * GIB / 2);
	run_short(&s, 40);
	for (size_t i = 0; i < 5; i++) {
		least = min_u64(least, s.guests[i].actual_bytes);
		most = max_u64(most, s.guests[i].actual_bytes);
	}
	assert_true(most < 2 * GIB);
	assert_true(most - least <= 32 * MIB);
	scene_close(&s);
}

/* Free memory has no pace, whether the host holds it or not: it is what lies before the cache. */
static void test_free_memory_has_no_pace(void **state)
{
	for (int held = 0; held < 2; held++) {
		struct scene s;
		uint64_t taken;

		open_kernels(&s, 4, 0, 3 * GIB / 2);
		for (size_t i = 0; i < 4; i++) {
			s.guests[i].stat_free_bytes = 232 * MIB;
			s.guests[i].stat_cache_bytes -= 216 * MIB;
			if (!held)
				s.guests[i].resident_bytes -= 232 * MIB;
		}
		/* What was filled by turns stays; nothing was. */
		taken = run_short(&s, 20);
		assert_true(taken >= 4 * 200 * MIB + 18 * 16 * MIB);
		assert_true(taken <= 4 * 232 * MIB + 24 * 16 * MIB);
		scene_close(&s);
	}
}

/* Those whose memory is seen do not wait for others' turns. */
static void test_seen_guests_give_at_once(void **state)
{
	struct scene s;

	open_kernels(&s, 5, 0, 3 * GIB / 2);
	s.guests[4].reclaim_blind = false;
	run_short(&s, 5);
	assert_true(s.guests[4].actual_bytes < 2 * GIB - 800 * MIB);
	for (size_t i = 0; i < 4; i++)
		assert_true(s.guests[i].actual_bytes > 2 * GIB - 128 * MIB);
	scene_close(&s);
}

/* A new guest's cache may be like others', and merged soon, unless KSM has no part in it. */
static void test_new_guests_may_yet_be_merged(void **state)
{
	struct scene s;

	open_kernels(&s, 2, 0, 3 * GIB / 2);
	s.guests[0].id = 3;
	s.guests[1].id = 4;
	s.guests[1].mergeable = false;
	run_short(&s, 100);
	assert_int_equal(s.guests[0].actual_bytes, 2 * GIB);
	assert_true(s.guests[1].actual_bytes < 2 * GIB);
	run_short(&s, 40);
	assert_true(s.guests[0].actual_bytes < 2 * GIB);
	scene_close(&s);
}

/* A daemon that has just started knows nothing of swap yet. */
static void test_nothing_is_taken_at_first_sight(void **state)
{
	struct scene s;
	uint64_t most;

	open_kernels(&s, 4, 0, 3 * GIB + 64 * MIB);
	pol_free(s.pol);
	s.pol = pol_new(&s.config, SCENE_MAX);
	for (size_t i = 0; i < 4; i++)
		s.guests[i].target_bytes = POL_ABSENT;
	assert_int_equal(run_short_most(&s, 20, 60 * MIB, &most), 0);
	scene_close(&s);
}

/* Nor of a guest that has not been looked into: it is not one that cannot be swapped. In want it
 * has to do all the same. */
static void test_cache_is_left_until_the_guest_is_known(void **state)
{
	struct scene s;

	(void)state;
	for (int i = 0; i < 3; i++) {
		open_kernels(&s, 2, 0, 3 * GIB / 2);
		s.guests[0].reclaimable_bytes = POL_ABSENT;
		if (i == 1) {
			s.host.swap_free_bytes = 100 * MIB;
		} else if (i == 2) {
			s.guests[1].actual_bytes = s.guests[1].target_bytes = GIB;
			s.guests[1].stat_total_bytes = GIB - 40 * MIB;
			s.guests[1].stat_cache_bytes = s.guests[1].stat_free_bytes = 8 * MIB;
			s.guests[1].stat_available_bytes = 8 * MIB;
		}
		for (int t = 0; t < 20; t++) {
			uint64_t most;

			run_short_most(&s, 1, i == 2 ? 20 * MIB : 300 * MIB, &most);
		}
		if (i) {
			assert_true(s.guests[0].actual_bytes < 2 * GIB - 200 * MIB);
		} else {
			assert_int_equal(s.guests[0].actual_bytes, 2 * GIB);
			s.guests[0].reclaimable_bytes = s.guests[0].resident_bytes;
			run_short(&s, 20);
			assert_true(s.guests[0].actual_bytes < 2 * GIB);
		}
		scene_close(&s);
	}
}

/* What the host holds of one guest alone and does not use is cache, however much is merged. */
static void test_private_cache_is_told_from_merged(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct scene s;

		open_kernels(&s, 2, 0, 3 * GIB / 2);
		/* More is merged than there is cache; half of what is held is swapped out. */
		for (int g = 0; g < 2; g++) {
			scene_cache_merged(&s.guests[g],
					   s.guests[g].stat_available_bytes + 100 * MIB);
			s.guests[g].resident_bytes = s.guests[g].ksm_bytes + 40 * MIB;
			s.guests[g].swapped_bytes = (g == i ? 1400 : 400) * MIB;
		}
		run_short(&s, 40);
		assert_true(s.guests[i].actual_bytes < 2 * GIB);
		assert_int_equal(s.guests[1 - i].actual_bytes, 2 * GIB);
		scene_close(&s);
	}
}

/* Half of it merged: after all that is not; next to all of it: not at all while there is swap. */
static void test_merged_cache_comes_last(void **state)
{
	struct scene s;
	const struct pol_guest *g = s.guests;

	open_kernels(&s, 3, 0, 3 * GIB / 2);
	scene_cache_merged(&s.guests[0], s.guests[0].stat_available_bytes - 400 * MIB);
	scene_cache_merged(&s.guests[1], s.guests[1].stat_available_bytes - 56 * MIB);
	run_short(&s, 90);
	assert_int_equal(g[0].actual_bytes, 2 * GIB);
	assert_int_equal(g[1].actual_bytes, 2 * GIB);
	assert_true(g[2].actual_bytes < GIB);
	scene_close(&s);

	open_kernels(&s, 3, 0, GIB / 2);
	scene_cache_merged(&s.guests[0], s.guests[0].stat_available_bytes - 400 * MIB);
	scene_cache_merged(&s.guests[1], s.guests[1].stat_available_bytes - 56 * MIB);
	run_short(&s, 8);
	assert_int_equal(g[0].actual_bytes, 2 * GIB);
	assert_true(g[2].actual_bytes < 2 * GIB);
	run_short(&s, 60);
	assert_true(g[0].actual_bytes < 2 * GIB);
	assert_int_equal(g[1].actual_bytes, 2 * GIB);
	s.host.swap_free_bytes = 100 * MIB;
	run_short(&s, 5);
	assert_true(g[1].actual_bytes < 2 * GIB);
	scene_close(&s);
}

/* Another's want does not wait for its turn. */
static void test_want_has_no_pace(void **state)
{
	uint64_t taken[2];

	for (int i = 0; i < 2; i++) {
		struct scene s;

		open_kernels(&s, 8, 0, GIB / 2);
		s.guests[0].actual_bytes = s.guests[0].target_bytes = GIB;
		s.guests[0].stat_total_bytes = GIB - 40 * MIB;
		s.guests[0].stat_cache_bytes = s.guests[0].stat_free_bytes = 8 * MIB;
		s.guests[0].stat_available_bytes = i ? 8 * MIB : 500 * MIB;
		taken[i] = 0;
		for (int t = 0; t < 10; t++) {
			uint64_t most;

			taken[i] += run_short_most(&s, 1, 20 * MIB, &most);
		}
		scene_close(&s);
	}
	assert_true(taken[1] > 2 * taken[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merged_cache_is_left_to_swap),
		cmocka_unit_test(test_merged_cache_when_swapping_has_ended),
		cmocka_unit_test(test_cache_is_left_where_the_kernel_swaps),
		cmocka_unit_test(test_cache_is_taken_at_a_pace_before_swap_is_full),
		cmocka_unit_test(test_all_have_their_turn),
		cmocka_unit_test(test_free_memory_has_no_pace),
		cmocka_unit_test(test_seen_guests_give_at_once),
		cmocka_unit_test(test_new_guests_may_yet_be_merged),
		cmocka_unit_test(test_nothing_is_taken_at_first_sight),
		cmocka_unit_test(test_cache_is_left_until_the_guest_is_known),
		cmocka_unit_test(test_private_cache_is_told_from_merged),
		cmocka_unit_test(test_merged_cache_comes_last),
		cmocka_unit_test(test_want_has_no_pace),
	};

	return cmocka_run_group_tests_name("policy_cache", tests, NULL, NULL);
}
