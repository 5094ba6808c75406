// SPDX-License-Identifier: Apache-2.0
/* Reclaim to swap: when, from whom, how much, and what stops it. */
#include "tests/unit/policy_scene.h"

static const struct pol_action *reclaim_of(const struct scene *s, uint64_t guest)
{
	for (size_t i = 0; i < s->plan->n_actions; i++)
		if (s->plan->actions[i].kind == POL_RECLAIM && s->plan->actions[i].guest == guest)
			return &s->plan->actions[i];
	return NULL;
}

/* All of what is asked is cold; `stays_ppm` of it remains taken. Returns the bytes swapped out. */
static uint64_t obey_reclaim(struct scene *s, uint64_t stays_ppm)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->plan->n_actions; i++) {
		const struct pol_action *a = &s->plan->actions[i];
		struct pol_guest *g = scene_find(s, a->guest);
		uint64_t bytes = a->from - a->to;

		if (a->kind != POL_RECLAIM)
			continue;
		g->resident_bytes -= bytes;
		g->reclaimable_bytes -= bytes;
		g->swapped_bytes += bytes;
		s->host.swap_free_bytes -= bytes;
		s->host.available_bytes += bytes - ppm_of(bytes, stays_ppm);
		sum += bytes;
	}
	return sum;
}

static uint64_t run_reclaim(struct scene *s, unsigned int ticks)
{
	uint64_t sum = 0;

	while (ticks--) {
		scene_step(s);
		sum += obey_reclaim(s, 0);
	}
	return sum;
}

/* Past the guests' first half minute, then short; PREDICTED below high, the state not yet soft. */
static void make_short(struct scene *s, uint64_t available)
{
	scene_run(s, 40);
	s->host.available_bytes = available;
}

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

/* The guest reads back what went: it is left alone, with what it has, and for longer each time. */
static void test_refaults_stop_it(void **state)
{
	struct scene s;
	uint64_t resident;

	scene_open_silent(&s, 2);
	make_short(&s, 500 * MIB);
	run_reclaim(&s, 3);
	assert_true(s.guests[0].swapped_bytes > 0);
	s.host.available_bytes = 500 * MIB;
	for (int t = 0; t < 4; t++) {
		s.guests[0].refault_bytes += 4 * MIB;
		run_reclaim(&s, 1);
	}
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_REFAULTS);
	assert_int_equal(scene_view(&s, 2)->reclaim_off, POL_WHY_NONE);
	resident = s.guests[0].resident_bytes;
	for (int t = 0; t < 25; t++) {
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 1);
		assert_int_equal(s.guests[0].resident_bytes, resident);
	}
	assert_true(s.guests[1].resident_bytes < resident);
	/* What it needed back is nearly a floor after the hold, and as time goes by less so. */
	for (int t = 0; t < 60; t++) {
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 1);
	}
	assert_in_range(scene_view(&s, 1)->resident_floor_bytes, resident * 4 / 5, resident - 1);
	assert_in_range(s.guests[0].resident_bytes, resident * 4 / 5, resident - 1);
	assert_true(s.guests[1].resident_bytes < resident / 2);
	/* That is for memd: the kernel may, rather than kill. */
	assert_int_equal(scene_view(&s, 1)->swap_most_bytes,
			 s.guests[0].memory_bytes - s.guests[0].memory_bytes / 8);
	scene_close(&s);
}

/* The guest's own cgroup waits for memory; and without one the host's tasks do. */
static void test_pressure_stops_it(void **state)
{
	struct scene s;

	scene_open_silent(&s, 2);
	s.guests[0].psi_some_us = 0;
	make_short(&s, 500 * MIB);
	for (int t = 0; t < 10; t++) {
		s.guests[0].psi_some_us += 20 * MSEC;
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 1);
	}
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_PRESSURE);
	assert_int_equal(scene_view(&s, 2)->reclaim_off, POL_WHY_NONE);
	scene_close(&s);

	scene_open_silent(&s, 1);
	s.host.psi_some_us = s.host.reclaim_us = 0;
	scene_run(&s, 40);
	s.host.available_bytes = 500 * MIB;
	/* Waiting that is memd's own reclaim does not count. */
	for (int t = 0; t < 10; t++) {
		s.host.psi_some_us += 100 * MSEC;
		s.host.reclaim_us += 100 * MSEC;
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 1);
	}
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_NONE);
	for (int t = 0; t < 5; t++) {
		s.host.psi_some_us += 100 * MSEC;
		scene_step(&s);
	}
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_PRESSURE);
	/* That was not this guest's doing: however often it comes, it is over when it is over. */
	for (int n = 0; n < 6; n++) {
		s.host.psi_some_us += 1000 * MSEC;
		run_reclaim(&s, 3);
		assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_PRESSURE);
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 6);
		assert_int_not_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_PRESSURE);
	}
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

/* What does not come is not asked for again and again. */
static void test_order_that_brings_nothing_is_not_repeated(void **state)
{
	struct scene s;
	unsigned int orders = 0;

	scene_open_silent(&s, 1);
	make_short(&s, 500 * MIB);
	for (int t = 0; t < 300; t++) {
		scene_step(&s);
		orders += reclaim_of(&s, 1) != NULL;
	}
	assert_in_range(orders, 2, 5); /* 30 s, 60 s, 120 s apart */
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
		cmocka_unit_test(test_half_kept_promises_are_asked_twice),
		cmocka_unit_test(test_floor_is_kept),
		cmocka_unit_test(test_untouchable_guests),
		cmocka_unit_test(test_swap_without_room),
		cmocka_unit_test(test_compressed_swap_has_its_price),
		cmocka_unit_test(test_refaults_stop_it),
		cmocka_unit_test(test_pressure_stops_it),
		cmocka_unit_test(test_nothing_is_swapped_for_merged_pages),
		cmocka_unit_test(test_order_that_brings_nothing_is_not_repeated),
		cmocka_unit_test(test_busy_hands_get_nothing),
		cmocka_unit_test(test_shares_say_from_whom),
		cmocka_unit_test(test_young_guest_is_left_alone),
		cmocka_unit_test(test_want_swaps_what_is_in_use),
	};

	return cmocka_run_group_tests_name("policy_reclaim", tests, NULL, NULL);
}
