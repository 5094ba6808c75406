// SPDX-License-Identifier: Apache-2.0
/* Whom memory is given to, how much, in what order, and who pays for it. */
#include "tests/unit/policy_rules.h"
#include "tests/unit/policy_squeeze.h"

#define RESERVE (256 * MIB)

static void open_squeezed(struct scene *s, size_t n, uint64_t host_available)
{
	scene_open(s, n);
	for (size_t i = 0; i < n; i++)
		squeeze(s, i + 1, GIB, 400 * MIB);
	s->host.available_bytes = host_available;
	scene_run(s, 20);
}

static const struct pol_action *oom(struct scene *s, uint64_t id)
{
	scene_find(s, id)->stat_oom_kills++;
	scene_step(s);
	return scene_action(s, id);
}

static void test_trouble_gives_four_steps_at_once(void **state)
{
	struct scene s;
	const struct pol_action *a;

	open_squeezed(&s, 1, 2 * GIB);
	a = oom(&s, 1);
	assert_non_null(a);
	assert_int_equal(a->reason, POL_WHY_TROUBLE);
	assert_int_equal(a->to, min_u64(GIB + 4 * s.config.step_bytes, 2 * GIB));
	assert_int_equal(a->gain_bytes, 0);
	assert_true(scene_view(&s, 1)->trouble);
	scene_close(&s);
}

/* Missing its page cache is no cause for all that. */
static void test_refaults_give_one_step(void **state)
{
	struct scene s;
	const struct pol_action *a;

	open_squeezed(&s, 1, 2 * GIB);
	squeeze(&s, 1, GIB, 250 * MIB);
	s.guests[0].stat_major_faults += 5000;
	scene_step(&s);
	a = scene_action(&s, 1);
	assert_non_null(a);
	assert_int_equal(a->reason, POL_WHY_TROUBLE);
	assert_int_equal(a->to, a->from + s.config.step_bytes);
	scene_close(&s);
}

/* Whatever the state, as long as the host has any. */
static void test_trouble_is_served_in_every_state(void **state)
{
	static const uint64_t available[] = {1200, 500, 300, 150, 90};

	for (size_t i = 0; i < sizeof(available) / sizeof(available[0]); i++) {
		struct scene s;
		const struct pol_action *a;

		open_squeezed(&s, 1, available[i] * MIB);
		a = oom(&s, 1);
		assert_non_null(a);
		assert_int_equal(a->reason, POL_WHY_TROUBLE);
		assert_true(a->to > GIB);
		assert_true(a->to - a->from <= available[i] * MIB);
		scene_close(&s);
	}
}

static void test_nothing_is_taken_for_a_time_after_trouble(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	s.obey = true;
	s.host.available_bytes = 1300 * MIB;
	scene_settle(&s);
	oom(&s, 1);
	s.host.available_bytes = 600 * MIB;
	for (uint64_t t = 0; t + 2 * SEC < s.config.trouble_hold_us; t += SEC) {
		scene_step(&s);
		assert_null(scene_action(&s, 1));
	}
	scene_run(&s, 5);
	assert_true(s.guests[0].actual_bytes < 2 * GIB);
	scene_close(&s);
}

/* A host in need is not hostage to a hold: what is beyond twice the reserve can be had. */
static void test_hold_leaves_twice_the_reserve_when_the_host_is_in_need(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	s.obey = true;
	s.host.available_bytes = 1300 * MIB;
	scene_settle(&s);
	oom(&s, 1);
	for (int t = 0; t < 60; t++) {
		s.host.available_bytes = 200 * MIB;
		scene_step(&s);
	}
	assert_in_range(s.guests[0].actual_bytes, 600 * MIB + 2 * RESERVE,
			600 * MIB + 2 * RESERVE + 16 * MIB);
	scene_close(&s);
}

static void test_guest_below_its_reserve_is_given(void **state)
{
	struct scene s;
	const struct pol_action *a;

	open_squeezed(&s, 1, 2 * GIB);
	squeeze(&s, 1, s.guests[0].actual_bytes, 150 * MIB);
	scene_step(&s);
	a = scene_action(&s, 1);
	assert_non_null(a);
	assert_int_equal(a->reason, POL_WHY_GUEST_NEEDS);
	/* Twice its reserve, and more because it grows. */
	assert_true(a->to >= GIB + 2 * RESERVE - 150 * MIB);
	scene_close(&s);
}

/* The faster it grows, the earlier and the more. */
static void test_growing_guest_is_given_early(void **state)
{
	struct scene s;
	uint64_t slow;

	open_squeezed(&s, 1, 2 * GIB);
	squeeze(&s, 1, GIB, 380 * MIB);
	scene_step(&s);
	assert_null(scene_action(&s, 1));
	squeeze(&s, 1, GIB, 280 * MIB);
	scene_step(&s);
	assert_non_null(scene_action(&s, 1));
	slow = scene_action(&s, 1)->to;
	scene_close(&s);

	open_squeezed(&s, 1, 2 * GIB);
	squeeze(&s, 1, GIB, 200 * MIB);
	scene_step(&s);
	assert_non_null(scene_action(&s, 1));
	assert_true(scene_action(&s, 1)->to > slow);
	scene_close(&s);
}

static void test_what_is_on_its_way_is_not_given_twice(void **state)
{
	struct scene s;
	uint64_t target;

	open_squeezed(&s, 1, 2 * GIB);
	squeeze(&s, 1, GIB, 150 * MIB);
	scene_step(&s);
	target = s.guests[0].target_bytes;
	assert_true(target > GIB);
	scene_run(&s, 4);
	assert_int_equal(s.guests[0].target_bytes, target);
	scene_close(&s);
}

static void test_grants_stay_below_what_is_free(void **state)
{
	struct scene s;
	uint64_t given = 0;

	scene_open(&s, 6);
	for (uint64_t id = 1; id <= 6; id++)
		squeeze(&s, id, GIB, 560 * MIB);
	s.host.available_bytes = 900 * MIB;
	for (int t = 0; t < 20; t++) {
		scene_step(&s);
		assert_int_equal(s.plan->n_actions, 0);
	}
	for (uint64_t id = 1; id <= 6; id++)
		scene_find(&s, id)->stat_oom_kills++;
	scene_step(&s);
	for (size_t i = 0; i < s.plan->n_actions; i++)
		given += sub_sat(s.plan->actions[i].to, s.plan->actions[i].from);
	assert_in_range(given, 800 * MIB, 900 * MIB);
	/* and the next tick does not spend the same bytes again */
	for (uint64_t id = 1; id <= 6; id++)
		scene_find(&s, id)->stat_oom_kills++;
	scene_step(&s);
	for (size_t i = 0; i < s.plan->n_actions; i++)
		given += sub_sat(s.plan->actions[i].to, s.plan->actions[i].from);
	assert_true(given <= 900 * MIB);
	scene_close(&s);
}

/* Two phases: what a needy guest is entitled to is taken from idle ones, taking first. */
static void test_others_pay_for_a_guest_in_need(void **state)
{
	struct scene s;
	size_t give = SIZE_MAX, last_take = 0;

	scene_open(&s, 3);
	squeeze(&s, 1, GIB, 400 * MIB);
	/* At ease, so nothing is collected, but above their floors. */
	squeeze(&s, 2, 1150 * MIB, 550 * MIB);
	squeeze(&s, 3, 1150 * MIB, 550 * MIB);
	s.host.available_bytes = 850 * MIB;
	scene_run(&s, 20);
	assert_int_equal(s.plan->n_actions, 0);
	squeeze(&s, 1, GIB, 120 * MIB);
	scene_step(&s);
	assert_int_equal(s.plan->n_actions, 3);
	for (size_t i = 0; i < s.plan->n_actions; i++) {
		const struct pol_action *a = &s.plan->actions[i];

		if (a->to > a->from) {
			assert_int_equal(a->guest, 1);
			give = i;
		} else {
			assert_int_equal(a->reason, POL_WHY_FOR_OTHER);
			assert_int_equal(a->other, 1);
			last_take = i;
		}
	}
	assert_true(give != SIZE_MAX);
	assert_true(give > last_take);
	scene_close(&s);
}

/* Claims of need are honoured up to the share once others would have to pay. */
static void test_false_need_gains_no_more_than_the_share(void **state)
{
	struct scene s;

	scene_open(&s, 4);
	s.obey = true;
	for (int i = 0; i < 4; i++)
		squeeze(&s, (uint64_t)i + 1, 1200 * MIB, 500 * MIB);
	s.host.available_bytes = 300 * MIB;
	scene_run(&s, 15);
	for (int t = 0; t < 60; t++) {
		const struct pol_action *a;

		s.host.available_bytes = 180 * MIB;
		s.guests[0].stat_available_bytes = s.guests[0].stat_free_bytes = MIB;
		s.guests[0].stat_oom_kills++;
		scene_step(&s);
		assert_true(s.plan->state >= POL_STATE_HARD);
		a = scene_action(&s, 1);
		if (a && a->to > a->from)
			assert_true(a->to <= a->entitled_bytes);
	}
	scene_close(&s);
}

/* Numbers that promise more than there is: once bitten, ever longer shy. */
static void test_what_was_needed_back_is_not_taken_again_soon(void **state)
{
	struct scene s;
	unsigned int taken = 0;

	scene_open(&s, 1);
	s.obey = true;
	s.host.available_bytes = 500 * MIB;
	for (int t = 0; t < 300; t++) {
		struct pol_guest *g = &s.guests[0];
		/* Below 1700 MiB it has next to nothing, whatever it said before. */
		uint64_t available = g->actual_bytes < 1700 * MIB ? 60 * MIB : 1000 * MIB;

		g->stat_available_bytes = available;
		g->stat_free_bytes = g->stat_cache_bytes = available / 2;
		g->resident_bytes = g->actual_bytes;
		s.host.available_bytes = 410 * MIB;
		scene_step(&s);
		taken += scene_taken(&s) > 0;
	}
	assert_in_range(taken, 1, 20);
	scene_close(&s);
}

/*
 * A guest that needed back what was taken, suffered, and has freed it all since: a host in need
 * takes it soon, though the hold after trouble lasts ten minutes.
 */
static void test_what_was_needed_back_and_freed_is_taken(void **state)
{
	struct scene s;
	uint64_t sore;

	scene_open(&s, 1);
	s.obey = true;
	s.host.available_bytes = 500 * MIB;
	do
		scene_step(&s);
	while (!scene_taken(&s));
	/* It needs it back at once, and has trouble. */
	sore = s.guests[0].actual_bytes;
	squeeze(&s, 1, sore, 20 * MIB);
	s.host.available_bytes = 600 * MIB;
	s.guests[0].stat_alloc_stalls += 500;
	scene_step(&s);
	assert_non_null(scene_action(&s, 1));
	assert_true(scene_action(&s, 1)->to > scene_action(&s, 1)->from);
	assert_true(scene_view(&s, 1)->trouble);
	/* Then it has no more use for it. */
	squeeze(&s, 1, s.guests[0].actual_bytes, 1500 * MIB);
	for (unsigned int t = 0; t < 120; t++) {
		s.host.available_bytes = 410 * MIB;
		scene_step(&s);
	}
	assert_true(s.guests[0].actual_bytes < sore - 256 * MIB);
	scene_close(&s);
}

/* A guest that would be killed for lack of memory on a hard pressed host; the others hold less than
 * their share. `resident`: what the host sees of it. */
static const struct pol_action *lend(struct scene *s, uint64_t resident, bool others_want)
{
	struct pol_guest *g;

	scene_open(s, 5);
	for (uint64_t id = 2; id <= 5; id++)
		squeeze(s, id, 500 * MIB, others_want ? 20 * MIB : 300 * MIB);
	squeeze(s, 1, 1900 * MIB, 300 * MIB);
	s->host.available_bytes = 150 * MIB;
	scene_run(s, 3);
	g = scene_find(s, 1);
	squeeze(s, 1, g->actual_bytes, 10 * MIB);
	g->resident_bytes = resident;
	scene_step(s);
	return scene_action(s, 1);
}

static void test_what_others_leave_of_their_shares_is_lent(void **state)
{
	struct scene s;
	const struct pol_action *a = lend(&s, 1900 * MIB, false);

	assert_int_equal(s.plan->state, POL_STATE_HARD);
	assert_non_null(a);
	assert_int_equal(a->reason, POL_WHY_GUEST_NEEDS);
	assert_true(a->to > a->from && a->to > a->entitled_bytes);
	scene_close(&s);

	/* Not on its word alone: the host does not see it use what it has. */
	a = lend(&s, 900 * MIB, false);
	assert_true(!a || a->to <= max_u64(a->entitled_bytes, a->from));
	scene_close(&s);

	/* Not what others want themselves. */
	a = lend(&s, 1900 * MIB, true);
	assert_true(!a || a->to <= max_u64(a->entitled_bytes, a->from));
	scene_close(&s);
}

/* Everything is in use, and a guest would kill for lack of its share: the host swaps for it. Not on
 * its word alone, and never more than a step beyond what is there; of swap that is memory itself
 * only what comes free by it. */
static void test_host_swaps_before_a_guest_kills(void **state)
{
	for (int k = 0; k < 4; k++) {
		bool swap = k != 1, uses = k != 2;
		uint64_t cost_ppm = k == 3 ? 900000 : 0;
		const struct pol_action *a;
		struct scene s;

		scene_open(&s, 4);
		for (uint64_t id = 1; id <= 4; id++)
			squeeze(&s, id, 1200 * MIB, 260 * MIB);
		s.host.available_bytes = 30 * MIB;
		s.host.swap_cost_ppm = cost_ppm;
		s.host.swap_bytes = 4 * GIB;
		s.host.swap_free_bytes = swap ? 3 * GIB : 0;
		scene_run(&s, 20);
		squeeze(&s, 1, 1200 * MIB, 5 * MIB);
		scene_find(&s, 1)->stat_alloc_stalls += 500;
		scene_find(&s, 1)->resident_bytes = (uses ? 1200 : 900) * MIB;
		scene_step(&s);
		a = scene_action(&s, 1);
		if (swap && uses) {
			assert_non_null(a);
			assert_int_equal(a->reason, POL_WHY_TROUBLE);
			assert_int_equal(a->rung, POL_RUNG_SWAP);
			assert_in_range(a->to - a->from, cost_ppm ? 20 * MIB : 30 * MIB,
					30 * MIB + ppm_of(s.config.step_bytes, PPM - cost_ppm));
			assert_true(rules_shares(s.plan));
		} else {
			assert_true(!a || a->to - a->from <= 30 * MIB);
		}
		scene_close(&s);
	}
}

/*
 * In state low, with a guest that has next to nothing, others make do with half of their reserve,
 * and one whose trouble is past with all of it. Without that guest nobody goes below the reserve.
 */
static void test_reserves_are_halved_for_a_starving_guest(void **state)
{
	for (int starving = 0; starving < 2; starving++) {
		struct scene s;
		uint64_t least;

		scene_open(&s, 3);
		s.obey = true;
		squeeze(&s, 1, 1200 * MIB, RESERVE);
		squeeze(&s, 2, 1200 * MIB, 300 * MIB);
		squeeze(&s, 3, 1400 * MIB, 700 * MIB);
		s.host.available_bytes = 700 * MIB;
		scene_settle(&s);
		scene_find(&s, 3)->stat_oom_kills++;
		scene_step(&s);
		squeeze(&s, 3, scene_find(&s, 3)->actual_bytes, 700 * MIB);
		for (int t = 0; t < 20; t++) {
			s.host.available_bytes = 60 * MIB;
			squeeze(&s, 1, scene_find(&s, 1)->actual_bytes, starving ? MIB : RESERVE);
			scene_step(&s);
			assert_int_equal(s.plan->state, POL_STATE_LOW);
		}
		least = min_u64(scene_find(&s, 2)->stat_available_bytes, RESERVE);
		if (starving)
			assert_in_range(least, RESERVE / 2, RESERVE / 2 + 16 * MIB);
		else
			assert_int_equal(least, RESERVE);
		least = scene_find(&s, 3)->stat_available_bytes;
		if (starving)
			assert_in_range(least, RESERVE, RESERVE + 16 * MIB);
		else
			assert_in_range(least, 2 * RESERVE, 2 * RESERVE + 16 * MIB);
		scene_close(&s);
	}
}

/* Of their reserves others give what the starving guest lacks and what takes the host out of `low`,
 * not all that the host would like to have. */
static void test_reserves_are_asked_for_what_is_lacking(void **state)
{
	struct scene s;
	uint64_t taken = 0;

	scene_open(&s, 6);
	s.obey = true;
	squeeze(&s, 1, 2 * GIB - 64 * MIB, RESERVE);
	for (uint64_t id = 2; id <= 6; id++)
		squeeze(&s, id, 1200 * MIB, RESERVE);
	s.host.available_bytes = 100 * MIB;
	scene_run(&s, 30);
	assert_int_equal(s.plan->state, POL_STATE_LOW);
	squeeze(&s, 1, 2 * GIB - 64 * MIB, 20 * MIB);
	for (int t = 0; t < 5; t++) {
		scene_step(&s);
		taken += scene_taken(&s);
	}
	assert_int_equal(s.guests[0].actual_bytes, 2 * GIB);
	/* They have 640 MiB between them. */
	assert_in_range(taken, 64 * MIB, 320 * MIB);
	scene_close(&s);
}

static void test_stuck_on_the_way_up_keeps_its_offer(void **state)
{
	struct scene s;
	uint64_t target;

	open_squeezed(&s, 1, 2 * GIB);
	oom(&s, 1);
	target = s.guests[0].target_bytes;
	scene_run(&s, 10);
	assert_true(scene_view(&s, 1)->stuck);
	assert_int_equal(s.guests[0].target_bytes, target);
	scene_close(&s);
}

/* What one is about to take is not there for another, whether the first one's monitor answers in
 * time or not. */
static void test_nothing_is_granted_twice(void **state)
{
	for (int late = 0; late < 2; late++) {
		const struct pol_action *a;
		uint64_t first;
		struct scene s;

		(void)state;
		open_squeezed(&s, 2, 500 * MIB);
		a = oom(&s, 1);
		assert_non_null(a);
		first = a->to - a->from;
		assert_true(first > 300 * MIB);
		s.guests[0].answering = !late;
		a = oom(&s, 2);
		assert_true(!a || a->to - a->from <= 500 * MIB - first);
		/* But not for ever. */
		scene_run(&s, 40);
		a = oom(&s, 2);
		assert_true(!late || (a && a->to - a->from > 300 * MIB));
		scene_close(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_granted_twice),
		cmocka_unit_test(test_trouble_gives_four_steps_at_once),
		cmocka_unit_test(test_refaults_give_one_step),
		cmocka_unit_test(test_trouble_is_served_in_every_state),
		cmocka_unit_test(test_nothing_is_taken_for_a_time_after_trouble),
		cmocka_unit_test(test_hold_leaves_twice_the_reserve_when_the_host_is_in_need),
		cmocka_unit_test(test_guest_below_its_reserve_is_given),
		cmocka_unit_test(test_growing_guest_is_given_early),
		cmocka_unit_test(test_what_is_on_its_way_is_not_given_twice),
		cmocka_unit_test(test_grants_stay_below_what_is_free),
		cmocka_unit_test(test_others_pay_for_a_guest_in_need),
		cmocka_unit_test(test_false_need_gains_no_more_than_the_share),
		cmocka_unit_test(test_what_was_needed_back_is_not_taken_again_soon),
		cmocka_unit_test(test_what_was_needed_back_and_freed_is_taken),
		cmocka_unit_test(test_what_others_leave_of_their_shares_is_lent),
		cmocka_unit_test(test_host_swaps_before_a_guest_kills),
		cmocka_unit_test(test_reserves_are_halved_for_a_starving_guest),
		cmocka_unit_test(test_reserves_are_asked_for_what_is_lacking),
		cmocka_unit_test(test_stuck_on_the_way_up_keeps_its_offer),
	};

	return cmocka_run_group_tests_name("policy_give", tests, NULL, NULL);
}
