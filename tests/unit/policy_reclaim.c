// SPDX-License-Identifier: Apache-2.0
/* Reclaim to swap: when, from whom, and how much. */
#include "tests/unit/reclaim_scene.h"

static void test_host_with_plenty_reclaims_nothing(void **state)
{
	struct scene s;

	scene_open_silent(&s, 3);
	assert_int_equal(run_reclaim(&s, 120), 0);
	scene_close(&s);
}

static void test_short_host_reclaims_until_it_is_well(void **state)
{
	struct scene s;
	const struct pol_action *a;

	scene_open_silent(&s, 2);
	make_short(&s, 500 * MIB);
	scene_step(&s);
	a = reclaim_of(&s, 1);
	assert_non_null(a);
	assert_int_equal(a->from, 2 * GIB);
	assert_true(a->to < a->from && a->to >= a->floor_bytes);
	assert_int_equal(a->gain_bytes, a->from - a->to);
	assert_true(a->cost_us > 0);
	assert_int_equal(a->rung, POL_RUNG_RECLAIM);
	assert_int_equal(a->to2, 0);
	assert_int_equal(a->reason, POL_WHY_RECLAIM);
	assert_int_equal(a->rejected_why[POL_RUNG_BALLOON_FREE], POL_WHY_NO_BALLOON);
	obey_reclaim(&s, 0);
	run_reclaim(&s, 60);
	assert_true(s.host.available_bytes >= s.plan->high_bytes);
	assert_int_equal(run_reclaim(&s, 60), 0);
	scene_close(&s);
}

/* A guest that does not answer is seen by the host all the same. */
static void test_silent_guest_is_reclaimed(void **state)
{
	struct scene s;

	scene_open_silent(&s, 1);
	s.guests[0].has_balloon = true;
	s.guests[0].answering = false;
	make_short(&s, 500 * MIB);
	assert_true(run_reclaim(&s, 10) > 0);
	scene_close(&s);
}

static void test_balloons_that_bring_enough_come_first(void **state)
{
	struct scene s;

	scene_open_silent(&s, 3);
	s.obey = true;
	s.guests[2].has_balloon = true;
	s.guests[2].stat_age_us = 0;
	s.host.available_bytes = 560 * MIB;
	assert_int_equal(run_reclaim(&s, 70), 0);
	assert_true(s.guests[2].actual_bytes < 2 * GIB);
	scene_close(&s);
}

/* Cache that others map, too, is left to the guest, and that is told. */
static void test_merged_cache_is_left_and_told(void **state)
{
	const struct pol_action *a = NULL;
	struct scene s;

	scene_open_silent(&s, 1);
	s.guests[0].has_balloon = true;
	s.guests[0].stat_age_us = 0;
	scene_cache_merged(&s.guests[0], s.guests[0].stat_available_bytes - 64 * MIB);
	make_short(&s, 500 * MIB);
	for (int t = 0; t < 5 && !a; t++) {
		scene_step(&s);
		a = reclaim_of(&s, 1);
	}
	assert_non_null(a);
	assert_int_equal(a->rejected_why[POL_RUNG_BALLOON_CACHE], POL_WHY_CACHE_MERGED);
	assert_int_equal(s.guests[0].target_bytes, POL_ABSENT);
	scene_close(&s);
}

/* A balloon that has kept nothing of its promises counts for nothing. */
static void test_broken_promises_lose_priority(void **state)
{
	struct scene s;

	scene_open_silent(&s, 2);
	s.guests[1].has_balloon = true;
	s.guests[1].stat_age_us = 0;
	s.host.rung_ppm[POL_RUNG_BALLOON_FREE] = s.host.rung_ppm[POL_RUNG_BALLOON_CACHE] = 50000;
	make_short(&s, 560 * MIB);
	assert_true(run_reclaim(&s, 10) > 0);
	scene_close(&s);

	scene_open_silent(&s, 1);
	s.host.rung_ppm[POL_RUNG_RECLAIM] = 100000;
	make_short(&s, 500 * MIB);
	assert_int_equal(run_reclaim(&s, 10), 0);
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_GAIN_LOW);
	/* In want, little is better than nothing. */
	s.host.available_bytes = 50 * MIB;
	assert_true(run_reclaim(&s, 3) > 0);
	scene_close(&s);
}

/* Where nobody sees what is idle the kernel's lists know better, unless it is asked for. */
static void test_blind_reclaim_is_left_to_the_kernel(void **state)
{
	for (int i = 0; i < 3; i++) {
		struct scene s;

		scene_open_silent(&s, 2);
		s.guests[0].reclaim_blind = s.guests[1].reclaim_blind = true;
		s.config.reclaim_blind = i == 1;
		pol_configure(s.pol, &s.config);
		for (int g = 0; i == 2 && g < 2; g++) {
			s.guests[g].hot_bytes = GIB;
			s.guests[g].hot_us = 60 * SEC;
			s.guests[g].hot_age_us = SEC;
		}
		make_short(&s, 300 * MIB);
		if (i) {
			assert_true(run_reclaim(&s, 10) > 0);
		} else {
			assert_int_equal(run_reclaim(&s, 10), 0);
			assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_BLIND);
		}
		scene_close(&s);
	}
}

/* What was kept of promises is asked for in turn: half as much promised, so twice as much asked. */
static void test_half_kept_promises_are_asked_twice(void **state)
{
	uint64_t bytes[2];

	for (int i = 0; i < 2; i++) {
		struct scene s;
		const struct pol_action *a = NULL;

		scene_open_silent(&s, SCENE_MAX);
		s.host.rung_ppm[POL_RUNG_RECLAIM] = i ? PPM / 2 : POL_ABSENT;
		s.host.available_bytes = 636 * MIB;
		for (int t = 0; t < 40 && !a; t++) {
			scene_step(&s);
			a = reclaim_of(&s, 1);
		}
		assert_non_null(a);
		bytes[i] = a->from - a->to;
		assert_int_equal(a->gain_bytes, bytes[i]);
		scene_close(&s);
	}
	assert_in_range(bytes[1], bytes[0] * 2 - MIB, bytes[0] * 2 + MIB);
}

static void test_floor_is_kept(void **state)
{
	struct scene s;

	scene_open_silent(&s, 2);
	s.guests[0].min_bytes = 1500 * MIB;
	make_short(&s, 50 * MIB);
	for (int t = 0; t < 200; t++) {
		s.host.available_bytes = 50 * MIB;
		s.host.swap_free_bytes = 4 * GIB;
		run_reclaim(&s, 1);
	}
	assert_in_range(s.guests[0].resident_bytes, 1500 * MIB, 1501 * MIB);
	assert_in_range(s.guests[1].resident_bytes, 256 * MIB, 257 * MIB);
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_AT_FLOOR);
	assert_int_equal(scene_view(&s, 1)->resident_floor_bytes, 1500 * MIB);
	assert_int_equal(scene_view(&s, 1)->swap_most_bytes, s.guests[0].memory_bytes - 1500 * MIB);
	assert_int_equal(scene_view(&s, 2)->swap_most_bytes,
			 s.guests[1].memory_bytes - s.guests[1].memory_bytes / 8);
	scene_close(&s);
}

/* Guests on whom it may not lay hands: nothing to swap out, of the pool, old traces. */
static void test_untouchable_guests(void **state)
{
	struct scene s;

	scene_open_silent(&s, 4);
	s.guests[0].reclaimable_bytes = 0;
	s.guests[1].reclaimable_bytes = POL_ABSENT;
	s.guests[2].pool = true;
	s.guests[3].resident_bytes = POL_ABSENT;
	make_short(&s, 50 * MIB);
	assert_int_equal(run_reclaim(&s, 20), 0);
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_NOT_OFFERED);
	scene_close(&s);

	scene_open_silent(&s, 1);
	s.config.reclaim_manage = false;
	pol_configure(s.pol, &s.config);
	make_short(&s, 50 * MIB);
	assert_int_equal(run_reclaim(&s, 20), 0);
	scene_close(&s);
}

static void test_swap_without_room(void **state)
{
	struct scene s;

	scene_open_silent(&s, 1);
	s.host.swap_bytes = s.host.swap_free_bytes = 0;
	make_short(&s, 50 * MIB);
	assert_int_equal(run_reclaim(&s, 20), 0);
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_SWAP_FULL);
	/* A fifth stays free, a twentieth when in want. */
	s.host.swap_bytes = GIB;
	s.host.swap_free_bytes = ppm_of(GIB, 300000);
	s.host.available_bytes = 500 * MIB;
	for (int t = 0; t < 60; t++) {
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 1);
		assert_true(s.host.swap_free_bytes >= ppm_of(GIB, 200000));
	}
	assert_true(s.host.swap_free_bytes < ppm_of(GIB, 210000));
	scene_close(&s);
}

/* On zram, what is swapped out remains in part: more of it must go, and little of that is not
 * worth it. */
static void test_compressed_swap_has_its_price(void **state)
{
	struct scene s;
	const struct pol_action *a;

	scene_open_silent(&s, 1);
	s.host.swap_cost_ppm = 400000;
	make_short(&s, 500 * MIB);
	scene_step(&s);
	a = reclaim_of(&s, 1);
	assert_non_null(a);
	assert_int_equal(a->gain_bytes, ppm_of(a->from - a->to, 600000));
	scene_close(&s);

	scene_open_silent(&s, 1);
	s.host.swap_cost_ppm = 850000;
	make_short(&s, 500 * MIB);
	assert_int_equal(run_reclaim(&s, 20), 0);
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_SWAP_COSTS);
	scene_close(&s);
}

/*
 * A host with enough, whose memory has just fallen faster than a balloon could give it: what is
 * cold is swapped out for the next time, by and by, up to what is collected in good times.
 */
static void test_cold_memory_goes_ahead_of_a_fall(void **state)
{
	struct scene s;
	struct marks m;
	uint64_t sum = 0;

	scene_open_silent(&s, 2);
	host_state_marks(&s.config, s.host.memory_bytes, &m);
	s.host.available_bytes = 2400 * MIB;
	assert_int_equal(run_reclaim(&s, 60), 0);
	for (int t = 0; t < 5; t++) {
		s.host.available_bytes -= 280 * MIB;
		scene_step(&s);
	}
	/* Until that is no fall that goes on. */
	for (int t = 0; t < 20; t++) {
		s.host.available_bytes = m.goal + 64 * MIB;
		scene_step(&s);
	}
	assert_int_equal(s.plan->need_bytes, 0);
	for (int t = 0; t < 90; t++) {
		sum += run_reclaim(&s, 1);
		if (reclaim_of(&s, 1))
			assert_int_equal(reclaim_of(&s, 1)->reason, POL_WHY_RECLAIM_AHEAD);
	}
	assert_true(sum > 0);
	assert_in_range(s.host.available_bytes, m.goal + 128 * MIB, m.ease + m.hysteresis);
	run_reclaim(&s, 1200);
	assert_int_equal(run_reclaim(&s, 300), 0);
	scene_close(&s);
}

/* What writes to merged pages could claim back is collected by balloons, and covered by swap. */
static void test_nothing_is_swapped_for_merged_pages(void **state)
{
	struct scene s;

	(void)state;
	scene_open_merging(&s, 2);
	s.host.swap_bytes = s.host.swap_free_bytes = 4 * GIB;
	for (int i = 0; i < 2; i++)
		s.guests[i].reclaimable_bytes = s.guests[i].resident_bytes;
	s.host.ksm.pages_sharing = 40 * GIB / PAGE;
	s.host.ksm.cow_breaks = 0;
	scene_run(&s, 40);
	for (int t = 0; t < 60; t++) {
		s.host.ksm.cow_breaks += 1000000;
		assert_int_equal(run_reclaim(&s, 1), 0);
	}
	assert_true(s.plan->merge.cow_reserve_bytes > 0);
	scene_close(&s);
}

/* One order at a time, and none while the hands are full. */
static void test_busy_hands_get_nothing(void **state)
{
	struct scene s;

	scene_open_silent(&s, 1);
	make_short(&s, 500 * MIB);
	s.host.reclaim_busy = true;
	assert_int_equal(run_reclaim(&s, 10), 0);
	s.host.reclaim_busy = false;
	scene_step(&s);
	assert_non_null(reclaim_of(&s, 1));
	scene_step(&s); /* not obeyed yet */
	assert_null(reclaim_of(&s, 1));
	scene_close(&s);
}

/* Guests of few shares have enough of it: the others keep all. */
static void test_shares_say_from_whom(void **state)
{
	struct scene s;

	scene_open_silent(&s, SCENE_MAX);
	for (int i = 0; i < SCENE_MAX / 2; i++)
		s.guests[i].shares = 4000;
	s.host.available_bytes = 600 * MIB;
	assert_true(run_reclaim(&s, 60) > 0);
	for (int i = 0; i < SCENE_MAX; i++)
		if (i < SCENE_MAX / 2)
			assert_int_equal(s.guests[i].resident_bytes, 2 * GIB);
		else
			assert_true(s.guests[i].resident_bytes < 2 * GIB);
	scene_close(&s);
}

static void test_young_guest_is_left_alone(void **state)
{
	struct scene s;

	scene_open_silent(&s, 2);
	s.host.n_guests = 1;
	make_short(&s, 500 * MIB);
	s.host.n_guests = 2;
	s.host.swap_bytes = s.host.swap_free_bytes = 64 * GIB;
	for (int t = 0; t < 25; t++) {
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 1);
		assert_int_equal(s.guests[1].resident_bytes, 2 * GIB);
	}
	assert_true(s.guests[0].resident_bytes < 2 * GIB);
	scene_close(&s);
}

/* One that had its OOM killer run: at first whatever the host lacks, then for as long as trouble
 * holds, unless the host is hard pressed. */
static void test_guest_after_trouble_is_left_alone(void **state)
{
	static const struct {
		uint64_t available;
		unsigned int ticks;
	} cases[] = {{60 * MIB, 10}, {400 * MIB, 120}};

	for (size_t i = 0; i < 2; i++) {
		struct scene s;

		scene_open_silent(&s, 2);
		s.guests[0].has_balloon = true;
		s.guests[0].stat_age_us = 0;
		make_short(&s, cases[i].available);
		s.guests[0].stat_oom_kills++;
		for (unsigned int t = 0; t < cases[i].ticks; t++) {
			s.host.available_bytes = cases[i].available;
			s.host.swap_bytes = s.host.swap_free_bytes = 64 * GIB;
			run_reclaim(&s, 1);
			assert_int_equal(s.guests[0].resident_bytes, 2 * GIB);
		}
		assert_true(s.guests[1].resident_bytes < 2 * GIB);
		scene_close(&s);
	}
}

/* Most of what is resident may be locked, merged or shared. */
static void test_no_more_is_asked_than_can_be_swapped(void **state)
{
	const struct pol_action *a;
	struct scene s;

	scene_open_silent(&s, 1);
	s.guests[0].reclaimable_bytes = 8 * MIB;
	make_short(&s, 60 * MIB);
	scene_step(&s);
	a = reclaim_of(&s, 1);
	assert_non_null(a);
	assert_in_range(a->from - a->to, 7 * MIB, 8 * MIB);
	scene_close(&s);
}

/* Balloons that bring a part of it in time are waited for, unless the host is hard pressed. */
static void test_balloons_are_waited_for(void **state)
{
	for (int pressed = 0; pressed < 2; pressed++) {
		unsigned int ticks = 1;
		struct scene s;

		scene_open_silent(&s, 2);
		s.guests[0].has_balloon = true;
		s.guests[0].stat_age_us = 0;
		s.guests[0].stat_free_bytes = s.guests[0].stat_available_bytes = 320 * MIB;
		s.guests[0].stat_cache_bytes = 0;
		make_short(&s, pressed ? 60 * MIB : 440 * MIB);
		while (!run_reclaim(&s, 1) && ticks < 10)
			ticks++;
		if (pressed)
			assert_int_equal(ticks, 1);
		else
			assert_in_range(ticks, 4, 6);
		scene_close(&s);
	}
}

/* In want, memory goes whether cold or not, and by larger orders. */
static void test_want_swaps_what_is_in_use(void **state)
{
	struct scene s;
	const struct pol_action *a;

	scene_open_silent(&s, 1);
	make_short(&s, 100 * MIB);
	scene_step(&s);
	a = reclaim_of(&s, 1);
	assert_non_null(a);
	assert_int_equal(a->rung, POL_RUNG_SWAP);
	assert_int_equal(a->to2, 1);
	assert_int_equal(a->rejected_why[POL_RUNG_RECLAIM], POL_WHY_TOO_SLOW);
	assert_true(a->from - a->to >= 100 * MIB);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host_with_plenty_reclaims_nothing),
		cmocka_unit_test(test_short_host_reclaims_until_it_is_well),
		cmocka_unit_test(test_silent_guest_is_reclaimed),
		cmocka_unit_test(test_balloons_that_bring_enough_come_first),
		cmocka_unit_test(test_merged_cache_is_left_and_told),
		cmocka_unit_test(test_broken_promises_lose_priority),
		cmocka_unit_test(test_blind_reclaim_is_left_to_the_kernel),
		cmocka_unit_test(test_half_kept_promises_are_asked_twice),
		cmocka_unit_test(test_floor_is_kept),
		cmocka_unit_test(test_untouchable_guests),
		cmocka_unit_test(test_swap_without_room),
		cmocka_unit_test(test_compressed_swap_has_its_price),
		cmocka_unit_test(test_cold_memory_goes_ahead_of_a_fall),
		cmocka_unit_test(test_nothing_is_swapped_for_merged_pages),
		cmocka_unit_test(test_busy_hands_get_nothing),
		cmocka_unit_test(test_shares_say_from_whom),
		cmocka_unit_test(test_young_guest_is_left_alone),
		cmocka_unit_test(test_guest_after_trouble_is_left_alone),
		cmocka_unit_test(test_no_more_is_asked_than_can_be_swapped),
		cmocka_unit_test(test_balloons_are_waited_for),
		cmocka_unit_test(test_want_swaps_what_is_in_use),
	};

	return cmocka_run_group_tests_name("policy_reclaim", tests, NULL, NULL);
}
