// SPDX-License-Identifier: Apache-2.0
/* Whom memory is taken from and how, and balloons that do not do as they are told. */
#include "tests/unit/policy_scene.h"

#define FLOOR (856 * MIB) /* of scene_guest(): 600 used, 256 reserve */

/* Steps until something is taken; how much. */
static uint64_t until_taken(struct scene *s)
{
	for (int t = 0; t < 30; t++) {
		scene_step(s);
		if (scene_taken(s))
			return scene_taken(s);
	}
	fail_msg("nothing was taken");
	return 0;
}

static void test_nothing_moves_when_there_is_plenty(void **state)
{
	struct scene s;

	scene_open(&s, 4);
	for (int t = 0; t < 120; t++) {
		scene_step(&s);
		assert_int_equal(s.plan->n_actions, 0);
	}
	scene_close(&s);
}

static void test_short_host_takes_down_to_floor_and_no_further(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	s.obey = true;
	scene_settle(&s);
	for (int t = 0; t < 60; t++) {
		s.host.available_bytes = 50 * MIB; /* whatever is freed is used up at once */
		scene_step(&s);
		for (size_t i = 0; i < s.plan->n_actions; i++)
			assert_true(s.plan->actions[i].to >= s.plan->actions[i].floor_bytes);
	}
	for (uint64_t id = 1; id <= 2; id++)
		assert_in_range(s.guests[id - 1].actual_bytes, FLOOR, FLOOR + 8 * MIB);
	scene_close(&s);
}

/* Guests on the hugetlb pool give to the pool alone: in need, the other one gives. */
static void test_pool_guest_brings_nothing(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	s.obey = true;
	s.guests[0].pool = true;
	scene_settle(&s);
	for (int t = 0; t < 20; t++) {
		s.host.available_bytes = 50 * MIB;
		scene_step(&s);
		for (size_t i = 0; i < s.plan->n_actions; i++)
			assert_int_equal(s.plan->actions[i].guest, s.guests[1].id);
	}
	assert_true(s.guests[1].actual_bytes < s.guests[0].actual_bytes);
	scene_close(&s);
}

static void test_no_more_than_a_step_a_tick(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	s.obey = true;
	scene_settle(&s);
	s.host.available_bytes = 50 * MIB;
	scene_step(&s);
	assert_int_equal(scene_taken(&s), s.config.step_bytes);
	scene_close(&s);
}

static void test_action_says_why(void **state)
{
	struct scene s;
	const struct pol_action *a;

	scene_open(&s, 2);
	scene_settle(&s);
	s.host.available_bytes = 300 * MIB;
	scene_step(&s);
	a = scene_action(&s, 1);
	assert_non_null(a);
	assert_int_equal(a->reason, POL_WHY_HOST_SHORT);
	assert_int_equal(a->rung, POL_RUNG_BALLOON_FREE);
	assert_int_equal(a->state, POL_STATE_SOFT);
	assert_int_equal(a->from, 2 * GIB);
	assert_true(a->to < a->from);
	assert_int_equal(a->available_bytes, 300 * MIB);
	assert_int_equal(a->need_bytes, s.plan->need_bytes);
	assert_int_equal(a->floor_bytes, FLOOR);
	assert_int_equal(a->working_set_bytes, 600 * MIB);
	assert_true(a->entitled_bytes > FLOOR && a->cost_us > 0 && a->gain_bytes > 0);
	assert_true(a->rejected & (1u << POL_RUNG_KSM));
	assert_int_equal(a->rejected_why[POL_RUNG_KSM], POL_WHY_TOO_SLOW);
	assert_int_equal(a->rejected_why[POL_RUNG_REPORTING], POL_WHY_NOT_OFFERED);
	scene_close(&s);
}

/* Free memory the host holds comes before anybody's page cache. */
static void test_free_memory_before_cache(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	s.guests[0].stat_free_bytes = 40 * MIB; /* and 1408 MiB of cache */
	s.guests[0].stat_cache_bytes = 1408 * MIB;
	s.host.available_bytes = 560 * MIB;
	scene_run(&s, 13);
	assert_int_equal(s.guests[0].target_bytes, POL_ABSENT);
	assert_true(s.guests[1].target_bytes < 2 * GIB);
	scene_close(&s);
}

static void test_cache_behind_unheld_free_memory_is_reached(void **state)
{
	struct scene s;
	bool told = false;

	scene_open(&s, 1);
	s.guests[0].resident_bytes = GIB;
	scene_settle(&s);
	for (int t = 0; t < 40; t++) {
		const struct pol_action *a;

		s.host.available_bytes = 300 * MIB;
		scene_step(&s);
		a = scene_action(&s, 1);
		if (a && a->to < a->from) {
			told |= a->rung == POL_RUNG_BALLOON_CACHE &&
				a->rejected_why[POL_RUNG_BALLOON_FREE] == POL_WHY_NOT_HELD;
			/* free goes first, then cache */
			uint64_t took = s.guests[0].actual_bytes - a->to;
			uint64_t free = min_u64(took, s.guests[0].stat_free_bytes);
			s.guests[0].stat_free_bytes -= free;
			s.guests[0].stat_cache_bytes -= took - free;
			s.guests[0].resident_bytes -= took - free;
			s.guests[0].stat_available_bytes -= took;
			s.guests[0].actual_bytes = a->to;
		}
	}
	assert_true(told);
	assert_in_range(s.guests[0].actual_bytes, FLOOR, FLOOR + 8 * MIB);
	scene_close(&s);
}

static void test_idle_memory_is_taxed(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	/* The same size and shares; the second uses nearly all of its. */
	s.guests[1].stat_available_bytes = 600 * MIB;
	s.guests[1].stat_free_bytes = 500 * MIB;
	s.guests[1].stat_cache_bytes = 100 * MIB;
	s.guests[0].memory_bytes = s.guests[1].memory_bytes = 4 * GIB;
	s.host.available_bytes = 560 * MIB;
	until_taken(&s);
	assert_non_null(scene_action(&s, 1));
	assert_null(scene_action(&s, 2));
	assert_true(scene_view(&s, 2)->entitled_bytes > scene_view(&s, 1)->entitled_bytes);
	scene_close(&s);
}

static void test_shares_count(void **state)
{
	struct scene s;
	uint64_t first, second;

	scene_open(&s, 2);
	s.guests[0].shares = 500;
	s.host.available_bytes = 400 * MIB;
	s.obey = true;
	scene_run(&s, 15);
	first = s.guests[0].actual_bytes;
	second = s.guests[1].actual_bytes;
	assert_true(first < second);
	scene_close(&s);
}

/* What is on its way counts: a slow balloon is not asked for the same bytes again and again. */
static void test_in_flight_is_not_piled_upon(void **state)
{
	struct scene s;
	uint64_t first;

	scene_open(&s, 3);
	s.host.available_bytes = 600 * MIB;
	first = until_taken(&s);
	for (int t = 0; t < 4; t++) {
		for (int i = 0; i < 3; i++)
			if (pol_has(s.guests[i].target_bytes)) {
				s.guests[i].actual_bytes -= 20 * MIB;
				s.guests[i].stat_available_bytes -= 20 * MIB;
				s.guests[i].stat_free_bytes -= 20 * MIB;
				s.guests[i].resident_bytes -= 20 * MIB;
				s.host.available_bytes += 20 * MIB;
			}
		scene_step(&s);
		first += scene_taken(&s);
	}
	/* At ease would be 680 MiB more; all orders together stay near that. */
	assert_in_range(first, 200 * MIB, 700 * MIB);
	for (int i = 0; i < 3; i++)
		if (pol_has(s.guests[i].target_bytes))
			assert_true(s.guests[i].target_bytes + s.config.step_bytes >=
				    s.guests[i].actual_bytes);
	scene_close(&s);
}

static void test_guests_left_alone(void **state)
{
	struct scene s;

	scene_open(&s, 5);
	scene_settle(&s);
	s.guests[0].answering = false;
	s.guests[1].has_balloon = false;
	s.guests[2].memory_bytes = 0;
	s.guests[3].actual_bytes = POL_ABSENT;
	s.host.available_bytes = 100 * MIB;
	scene_step(&s);
	for (uint64_t id = 1; id <= 4; id++) {
		assert_null(scene_action(&s, id));
		assert_int_equal(scene_view(&s, id)->entitled_bytes, POL_ABSENT);
	}
	assert_non_null(scene_action(&s, 5));
	scene_close(&s);
}

static void test_balloons_can_be_switched_off(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	s.config.balloon_manage = false;
	pol_configure(s.pol, &s.config);
	s.host.available_bytes = 100 * MIB;
	scene_settle(&s);
	assert_int_equal(s.plan->n_actions, 0);
	scene_close(&s);
}

static void test_young_guests_are_spared(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	s.obey = true;
	s.host.n_guests = 1;
	scene_settle(&s);
	s.host.n_guests = 2;
	s.host.available_bytes = 500 * MIB;
	for (int t = 0; t < 9; t++) {
		scene_step(&s);
		assert_null(scene_action(&s, 2));
	}
	assert_true(s.guests[0].target_bytes < 2 * GIB);
	scene_close(&s);
}

static void test_adoption_does_not_jump(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	s.guests[0].actual_bytes = GIB;
	s.guests[0].stat_age_us = POL_ABSENT;
	s.host.available_bytes = 7 * GIB;
	for (int t = 0; t < 60; t++) {
		scene_step(&s);
		assert_int_equal(s.plan->n_actions, 0);
		assert_int_equal(scene_view(&s, 1)->target_bytes, GIB);
	}
	/* A balloon still on its way from before is followed, not fought. */
	s.guests[0].actual_bytes = 1200 * MIB;
	scene_step(&s);
	assert_int_equal(s.plan->n_actions, 0);
	assert_int_equal(scene_view(&s, 1)->target_bytes, 1200 * MIB);
	scene_close(&s);
}

static void test_growing_guest_is_not_taken_from(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	s.host.available_bytes = 1400 * MIB;
	scene_settle(&s);
	for (int t = 0; t < 4; t++) {
		s.guests[0].stat_available_bytes -= 60 * MIB;
		s.guests[0].stat_free_bytes -= 60 * MIB;
		s.host.available_bytes = 700 * MIB - (uint64_t)t * 30 * MIB;
		scene_step(&s);
		assert_true(!scene_action(&s, 1) || scene_action(&s, 1)->to >= 2 * GIB);
	}
	assert_true(s.guests[1].target_bytes < 2 * GIB);
	scene_close(&s);
}

/* Before anybody is short: what guests have free, do not miss and the host holds. */
static void test_idle_free_memory_is_collected_early(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	s.obey = true;
	s.host.available_bytes = 900 * MIB;
	scene_run(&s, 60);
	assert_int_equal(s.plan->need_bytes, 0);
	assert_in_range(s.host.available_bytes, 1200 * MIB, 1400 * MIB);
	for (int i = 0; i < 2; i++)
		assert_true(s.guests[i].actual_bytes >= 600 * MIB + 3 * 256 * MIB);
	scene_close(&s);
}

static void short_host(struct scene *s, size_t n)
{
	scene_open(s, n);
	s->host.available_bytes = 600 * MIB;
	until_taken(s);
	assert_non_null(scene_action(s, 1));
}

static void test_stuck_balloon_is_released_and_made_up_for(void **state)
{
	struct scene s;
	uint64_t ticks = 0;

	short_host(&s, 2);
	s.guests[1].target_bytes = POL_ABSENT;
	/* Nobody moves; the first is told, the second's order got lost. */
	while (!scene_view(&s, 1)->stuck && ticks++ < 10)
		scene_step(&s);
	assert_int_equal(ticks, 5);
	assert_int_equal(scene_action(&s, 1)->reason, POL_WHY_RELEASE);
	assert_int_equal(scene_action(&s, 1)->to, 2 * GIB);
	assert_int_equal(scene_view(&s, 1)->target_bytes, 2 * GIB);
	scene_close(&s);
}

static void test_stuck_balloon_does_not_hold_up_the_others(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	for (int t = 0; t < 40; t++) {
		s.host.available_bytes = 600 * MIB;
		scene_step(&s);
		if (scene_action(&s, 2))
			scene_obey(&s, scene_action(&s, 2)); /* the first never moves */
	}
	assert_true(scene_view(&s, 1)->stuck);
	assert_int_equal(s.guests[0].actual_bytes, 2 * GIB);
	assert_in_range(s.guests[1].actual_bytes, FLOOR, FLOOR + 16 * MIB);
	scene_close(&s);
}

static void test_stuck_balloon_is_retried_later_and_ever_later(void **state)
{
	struct scene s;
	uint64_t tries[8] = {0};
	unsigned int n = 0;
	uint64_t first_us;

	short_host(&s, 1);
	first_us = s.now_us;
	for (int t = 0; t < 400 && n < 4; t++) {
		s.guests[0].cpu_us += 1000; /* it lives */
		scene_step(&s);
		if (scene_action(&s, 1) && scene_action(&s, 1)->to < 2 * GIB)
			tries[n++] = s.now_us;
	}
	assert_true(n >= 3);
	assert_true(tries[0] - first_us >= 30 * SEC);
	assert_true(tries[1] - tries[0] >= 60 * SEC);
	assert_true(tries[2] - tries[1] >= 120 * SEC);
	scene_close(&s);
}

static void test_nothing_is_retried_where_nothing_stirs(void **state)
{
	struct scene s;

	short_host(&s, 1);
	scene_run(&s, 10);
	for (int t = 0; t < 4000; t++) {
		scene_step(&s);
		assert_int_equal(s.plan->n_actions, 0);
	}
	assert_true(scene_view(&s, 1)->stuck);
	scene_close(&s);
}

static void test_slow_progress_is_progress(void **state)
{
	struct scene s;

	short_host(&s, 1);
	for (int t = 0; t < 60; t++) {
		if (t % 4 == 3 && s.guests[0].actual_bytes > s.guests[0].target_bytes)
			s.guests[0].actual_bytes -= 2 * MIB;
		scene_step(&s);
		assert_false(scene_view(&s, 1)->stuck);
	}
	scene_close(&s);
}

static void test_lost_order_is_not_taken_back(void **state)
{
	struct scene s;

	short_host(&s, 1);
	for (int t = 0; t < 10; t++) {
		s.guests[0].target_bytes = POL_ABSENT;
		scene_step(&s);
		assert_int_equal(s.plan->n_actions, 0);
	}
	assert_true(scene_view(&s, 1)->stuck);
	scene_close(&s);
}

/* It was squeezed, needs some of that back, and its balloon does not move: `told` of it or not. */
static void until_owed(struct scene *s, bool told)
{
	scene_open(s, 2);
	s->guests[0].actual_bytes = s->guests[0].resident_bytes = GIB;
	s->guests[0].stat_total_bytes = GIB - 40 * MIB;
	s->guests[0].stat_free_bytes = s->guests[0].stat_available_bytes = 560 * MIB;
	s->guests[0].stat_cache_bytes = 0;
	s->host.available_bytes = 900 * MIB; /* nothing is given back for plenty */
	scene_run(s, 30);
	assert_int_equal(s->guests[0].target_bytes, POL_ABSENT);
	s->guests[0].stat_free_bytes = s->guests[0].stat_available_bytes = 20 * MIB;
	for (int t = 0; t < 20 && !scene_view(s, 1)->stuck; t++) {
		if (!told)
			s->guests[0].target_bytes = POL_ABSENT;
		scene_step(s);
	}
	if (!told)
		s->guests[0].target_bytes = POL_ABSENT;
	assert_true(scene_view(s, 1)->stuck);
	assert_true(scene_view(s, 1)->target_bytes > GIB + 32 * MIB);
}

/* What never came is asked for again, later and ever later, from what it has. */
static void test_what_was_not_given_is_given_again(void **state)
{
	(void)state;
	for (int told = 0; told < 2; told++) {
		struct scene s;
		uint64_t tries[4] = {0};
		unsigned int n = 0;

		until_owed(&s, told);
		for (int t = 0; t < 400 && n < 3; t++) {
			s.guests[0].cpu_us += 1000; /* it lives */
			scene_step(&s);
			if (!told)
				s.guests[0].target_bytes = POL_ABSENT;
			if (!scene_action(&s, 1))
				continue;
			assert_int_equal(scene_action(&s, 1)->reason, POL_WHY_GUEST_NEEDS);
			assert_int_equal(scene_action(&s, 1)->from, GIB);
			assert_true(scene_action(&s, 1)->to > GIB + 32 * MIB);
			tries[n++] = s.now_us;
		}
		assert_int_equal(n, 3);
		assert_true(tries[1] - tries[0] >= 60 * SEC);
		assert_true(tries[2] - tries[1] >= 120 * SEC);
		scene_close(&s);
	}
}

/* An offer that is not needed any more does not stand for ever. */
static void test_what_was_not_given_is_taken_back(void **state)
{
	struct scene s;
	const struct pol_action *a = NULL;

	(void)state;
	until_owed(&s, true);
	s.guests[0].stat_free_bytes = s.guests[0].stat_available_bytes = 560 * MIB;
	for (int t = 0; t < 60 && !a; t++) {
		s.guests[0].cpu_us += 1000;
		scene_step(&s);
		a = scene_action(&s, 1);
	}
	assert_non_null(a);
	assert_int_equal(a->reason, POL_WHY_RELEASE);
	assert_int_equal(a->to, GIB);
	assert_false(scene_view(&s, 1)->stuck);
	scene_close(&s);
}

/* In distress it does not wait for an order that was lost. */
static void test_lost_order_is_repeated_in_distress(void **state)
{
	struct scene s;

	(void)state;
	until_owed(&s, false);
	s.guests[0].stat_oom_kills++;
	scene_step(&s);
	assert_non_null(scene_action(&s, 1));
	assert_int_equal(scene_action(&s, 1)->reason, POL_WHY_TROUBLE);
	assert_int_equal(scene_action(&s, 1)->from, GIB);
	assert_false(scene_view(&s, 1)->stuck);
	scene_close(&s);
}

/* It is nearly out of memory as it was before, but others' reserves would not reach it. */
static void test_what_cannot_be_given_is_not_taken_from_others(void **state)
{
	struct scene s;
	uint64_t floor;

	(void)state;
	until_owed(&s, true);
	assert_true(s.pol->now[0].urgent);
	floor = scene_view(&s, 2)->floor_bytes;
	s.host.available_bytes = 60 * MIB;
	scene_step(&s);
	assert_int_equal(s.plan->state, POL_STATE_LOW);
	assert_true(scene_view(&s, 1)->stuck);
	assert_int_equal(scene_view(&s, 2)->floor_bytes, floor);
	scene_close(&s);
}

/* When it needs that no more, it can be taken from like any other. */
static void test_balloon_stuck_on_the_way_up_is_taken_from(void **state)
{
	struct scene s;

	(void)state;
	until_owed(&s, true);
	s.guests[0].stat_free_bytes = s.guests[0].stat_available_bytes = 900 * MIB;
	/* Before it is time for another try. */
	for (int t = 0; t < 24 && !scene_action(&s, 1); t++)
		scene_step(&s);
	assert_non_null(scene_action(&s, 1));
	assert_true(scene_action(&s, 1)->to < GIB);
	assert_false(scene_view(&s, 1)->stuck);
	scene_close(&s);
}

static void test_target_set_by_someone_else_is_respected(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	scene_settle(&s);
	s.guests[0].target_bytes = 1500 * MIB;
	scene_step(&s);
	assert_int_equal(scene_view(&s, 1)->target_bytes, 1500 * MIB);
	assert_int_equal(s.plan->n_actions, 0);
	scene_close(&s);
}

static void test_silent_guest_keeps_its_clock(void **state)
{
	struct scene s;

	short_host(&s, 1);
	s.guests[0].answering = false;
	scene_run(&s, 60);
	s.guests[0].answering = true;
	scene_step(&s);
	assert_false(scene_view(&s, 1)->stuck);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_moves_when_there_is_plenty),
		cmocka_unit_test(test_short_host_takes_down_to_floor_and_no_further),
		cmocka_unit_test(test_pool_guest_brings_nothing),
		cmocka_unit_test(test_no_more_than_a_step_a_tick),
		cmocka_unit_test(test_action_says_why),
		cmocka_unit_test(test_free_memory_before_cache),
		cmocka_unit_test(test_cache_behind_unheld_free_memory_is_reached),
		cmocka_unit_test(test_idle_memory_is_taxed),
		cmocka_unit_test(test_shares_count),
		cmocka_unit_test(test_in_flight_is_not_piled_upon),
		cmocka_unit_test(test_guests_left_alone),
		cmocka_unit_test(test_balloons_can_be_switched_off),
		cmocka_unit_test(test_young_guests_are_spared),
		cmocka_unit_test(test_adoption_does_not_jump),
		cmocka_unit_test(test_growing_guest_is_not_taken_from),
		cmocka_unit_test(test_idle_free_memory_is_collected_early),
		cmocka_unit_test(test_stuck_balloon_is_released_and_made_up_for),
		cmocka_unit_test(test_stuck_balloon_does_not_hold_up_the_others),
		cmocka_unit_test(test_stuck_balloon_is_retried_later_and_ever_later),
		cmocka_unit_test(test_what_was_not_given_is_given_again),
		cmocka_unit_test(test_what_was_not_given_is_taken_back),
		cmocka_unit_test(test_lost_order_is_repeated_in_distress),
		cmocka_unit_test(test_what_cannot_be_given_is_not_taken_from_others),
		cmocka_unit_test(test_balloon_stuck_on_the_way_up_is_taken_from),
		cmocka_unit_test(test_nothing_is_retried_where_nothing_stirs),
		cmocka_unit_test(test_slow_progress_is_progress),
		cmocka_unit_test(test_lost_order_is_not_taken_back),
		cmocka_unit_test(test_target_set_by_someone_else_is_respected),
		cmocka_unit_test(test_silent_guest_keeps_its_clock),
	};

	return cmocka_run_group_tests_name("policy_balloon", tests, NULL, NULL);
}
