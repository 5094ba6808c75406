// SPDX-License-Identifier: Apache-2.0
/* What merging costs: guests it does not pay for, and memory that writes could claim back. */
#include "tests/unit/policy_scene.h"

static void open_scene(struct scene *s, size_t n)
{
	scene_open_merging(s, n);
	s->host.ksm.run = 1;
	for (size_t i = 0; i < n; i++) {
		struct pol_guest *g = &s->guests[i];

		g->rmap_bytes = g->memory_bytes / 64; /* all of it scanned */
		g->ksm_bytes = g->merging_bytes = 600 * MIB;
	}
}

/* A second each: a full scan in ten, and what is ordered is done. */
static void run(struct scene *s, unsigned int ticks)
{
	while (ticks--) {
		s->host.ksm.full_scans += s->now_us / SEC % 10 == 0;
		s->host.ksm.cpu_us += 20000;
		scene_step(s);
		for (size_t i = 0; i < s->plan->n_actions; i++) {
			const struct pol_action *a = &s->plan->actions[i];
			struct pol_guest *g = scene_find(s, a->guest);

			if (a->kind != POL_MERGE)
				continue;
			g->merge_on = a->to;
			g->marked_bytes = a->to ? g->memory_bytes : 0;
			g->rmap_bytes = a->to ? g->memory_bytes / 64 : 0;
			g->ksm_bytes = g->merging_bytes = 0;
		}
	}
}

static void test_one_that_does_not_pay_is_switched_off(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	/* 32 MiB of bookkeeping, and a part of ksmd's time. */
	s.guests[1].ksm_bytes = s.guests[1].merging_bytes = 30 * MIB;
	run(&s, 290);
	assert_true(s.guests[1].merge_on);
	run(&s, 20);
	assert_false(s.guests[1].merge_on);
	assert_true(s.guests[0].merge_on);
	assert_int_equal(scene_view(&s, 2)->merge_off, POL_WHY_MERGE_COST);
	assert_int_equal(s.host.ksm.run, 1);

	/* For an hour; the second time for two. */
	run(&s, 3500);
	assert_false(s.guests[1].merge_on);
	for (int t = 0; t < 200 && !s.guests[1].merge_on; t++)
		run(&s, 1);
	assert_true(s.guests[1].merge_on);
	assert_int_equal(scene_kind(&s, POL_MERGE)->reason, POL_WHY_MERGE_AGAIN);
	run(&s, 400);
	assert_false(s.guests[1].merge_on);
	run(&s, 7000);
	assert_false(s.guests[1].merge_on);
	run(&s, 300);
	assert_true(s.guests[1].merge_on);
	/* It pays now. */
	s.guests[1].ksm_bytes = GIB;
	run(&s, 20000);
	assert_true(s.guests[1].merge_on);
	scene_close(&s);
}

static void test_judged_only_after_full_scans(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	s.guests[0].ksm_bytes = s.guests[0].merging_bytes = 0;
	for (int t = 0; t < 1000; t++) {
		s.host.ksm.full_scans = 2;
		scene_step(&s);
		assert_null(scene_kind(&s, POL_MERGE));
	}
	/* Nor what is too small to matter. */
	s.guests[0].rmap_bytes = 3 * MIB;
	run(&s, 1000);
	assert_true(s.guests[0].merge_on);
	scene_close(&s);
}

static void test_growth_is_worth_another_try(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	s.guests[1].ksm_bytes = s.guests[1].merging_bytes = 0;
	s.guests[1].resident_bytes = GIB;
	run(&s, 400);
	assert_false(s.guests[1].merge_on);
	s.guests[1].resident_bytes = GIB + 256 * MIB;
	run(&s, 100);
	assert_false(s.guests[1].merge_on);
	/* Nor is what the host fails to see for a moment. */
	s.guests[1].resident_bytes = POL_ABSENT;
	run(&s, 1);
	assert_false(s.guests[1].merge_on);
	s.guests[1].resident_bytes = GIB + 512 * MIB;
	run(&s, 15);
	assert_true(s.guests[1].merge_on);
	scene_close(&s);
}

/* The last merged pages leave the count when ksmd comes by; what it grows meanwhile is growth. */
static void test_growth_while_the_last_pages_are_unmerged(void **state)
{
	struct scene s;
	struct pol_guest *g;

	open_scene(&s, 2);
	g = &s.guests[1];
	g->ksm_bytes = 0;
	g->merging_bytes = 400 * MIB;
	g->resident_bytes = GIB;
	for (int t = 0; t < 400 && g->merge_on; t++)
		run(&s, 1);
	assert_false(g->merge_on);
	/* What was zero pages comes back as its own: not growth. */
	g->merging_bytes = 400 * MIB;
	run(&s, 1);
	g->merging_bytes = MIB;
	g->resident_bytes = GIB + 399 * MIB;
	run(&s, 1);
	run(&s, 5);
	assert_false(g->merge_on);
	g->resident_bytes = 2 * GIB;
	run(&s, 5);
	assert_false(g->merge_on);
	g->merging_bytes = 0;
	run(&s, 5);
	assert_true(g->merge_on);
	scene_close(&s);
}

/*
 * The CPU counts too: half a core, all the time, for a saving that is worth its bookkeeping. Not
 * what a campaign for others takes.
 */
static void test_cpu_time_counts(void **state)
{
	for (int busy = 0; busy < 3; busy++) {
		struct scene s;

		open_scene(&s, 1);
		s.guests[0].ksm_bytes = s.guests[0].merging_bytes = 300 * MIB;
		for (int t = 0; t < 1000; t++) {
			if (busy == 2 || (busy == 1 && t % 300 < 150))
				s.host.ksm.cpu_us += 500000;
			run(&s, 1);
		}
		assert_int_equal(s.guests[0].merge_on, busy < 2);
		scene_close(&s);
	}
}

/* A first scan of much memory may take longer than a trial: that is no guest's fault. */
static void test_new_memory_is_paid_once(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	s.guests[0].ksm_bytes = s.guests[0].merging_bytes = 300 * MIB;
	s.host.ksm.pages_volatile = 10000000;
	for (int t = 0; t < 1000; t++) {
		s.host.ksm.cpu_us += 500000;
		s.host.ksm.full_scans = (uint64_t)t / 100;
		s.host.ksm.pages_sharing += 10000; /* it goes on bringing something */
		scene_step(&s);
		assert_null(scene_kind(&s, POL_MERGE));
	}
	scene_close(&s);
}

/* As do copies on write: 10,000 a second take a twentieth of a core, 180 s an hour. */
static void test_copies_count(void **state)
{
	for (int busy = 0; busy < 2; busy++) {
		struct scene s;

		open_scene(&s, 1);
		s.guests[0].ksm_bytes = s.guests[0].merging_bytes = 150 * MIB;
		for (int t = 0; t < 600; t++) {
			s.host.ksm.cow_breaks += busy ? 10000 : 0;
			run(&s, 1);
		}
		assert_int_equal(s.guests[0].merge_on, !busy);
		scene_close(&s);
	}
}

/*
 * Copies are counted for all guests together. One whose pages are always rewritten makes another's
 * look too dear as well: only the poorer is given up, and without it the other pays.
 */
static void test_one_is_not_given_up_for_another(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	s.guests[1].ksm_bytes = s.guests[1].merging_bytes = 50 * MIB;
	for (int t = 0; t < 3000; t++) {
		s.host.ksm.cow_breaks += s.guests[1].merge_on ? 40000 : 0;
		run(&s, 1);
		assert_true(s.guests[0].merge_on);
	}
	assert_false(s.guests[1].merge_on);
	scene_close(&s);
}

/* A moment in which nothing is saved, such as a guest's own reboot, is no reason. */
static void test_a_moment_is_no_reason(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	for (int t = 0; t < 2000; t++) {
		s.guests[0].ksm_bytes = t % 400 < 50 ? 0 : 600 * MIB;
		run(&s, 1);
		assert_true(s.guests[0].merge_on);
	}
	scene_close(&s);
}

/* Unmerging brings back pages that were zero, which is not the guest's growing. */
static void test_unmerging_is_no_growth(void **state)
{
	struct scene s;

	open_scene(&s, 2);
	s.guests[1].ksm_bytes = 20 * MIB;
	s.guests[1].merging_bytes = 500 * MIB;
	s.guests[1].resident_bytes = 500 * MIB;
	run(&s, 290);
	for (int t = 0; t < 30; t++)
		scene_step(&s);
	s.guests[1].merge_on = false;
	s.guests[1].merging_bytes = 250 * MIB;
	s.guests[1].resident_bytes = 900 * MIB;
	run(&s, 2);
	s.guests[1].merging_bytes = 0;
	for (int t = 0; t < 1000; t++) {
		run(&s, 1);
		assert_false(s.guests[1].merge_on);
	}
	scene_close(&s);
}

static void test_trial_is_a_setting(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	s.config.ksm_trial_us = 60 * SEC;
	pol_configure(s.pol, &s.config);
	s.guests[0].ksm_bytes = s.guests[0].merging_bytes = 0;
	run(&s, 55);
	assert_true(s.guests[0].merge_on);
	run(&s, 10);
	assert_false(s.guests[0].merge_on);
	run(&s, 700);
	assert_false(s.guests[0].merge_on);
	for (int t = 0; t < 30 && !s.guests[0].merge_on; t++)
		run(&s, 1);
	assert_true(s.guests[0].merge_on);
	scene_close(&s);
}

static void test_unmerging_has_to_fit(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	s.config.balloon_manage = false;
	pol_configure(s.pol, &s.config);
	s.guests[0].ksm_bytes = 10 * MIB;
	s.guests[0].merging_bytes = 200 * MIB;
	s.host.available_bytes = 700 * MIB;
	run(&s, 500);
	assert_true(s.guests[0].merge_on);
	assert_true(scene_view(&s, 1)->merge_refused);
	assert_int_equal(s.host.ksm.run, 1);
	s.host.available_bytes = 2 * GIB;
	run(&s, 20);
	assert_false(s.guests[0].merge_on);
	scene_close(&s);
}

/* ---- what writes could claim back ---- */

static void test_reserve_follows_the_breaks(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	s.host.ksm.pages_sharing = 2 * GIB / PAGE;
	s.host.available_bytes = GIB;
	run(&s, 60);
	assert_int_equal(s.plan->merge.exposure_bytes, 2 * GIB);
	assert_int_equal(s.plan->merge.cow_reserve_bytes, 0);
	assert_int_equal(s.plan->need_bytes, 0);
	/* 200 MiB in a second: for the few seconds that balloons need, more has to be there. */
	s.host.ksm.cow_breaks += 51200;
	run(&s, 1);
	assert_true(s.plan->merge.cow_reserve_bytes >= 600 * MIB);
	assert_true(s.plan->merge.cow_reserve_bytes <= 2 * GIB);
	assert_int_equal(s.plan->need_bytes, 0);
	/* It fades: of a burst in an hour nothing is left. */
	run(&s, 3600);
	assert_int_equal(s.plan->merge.cow_reserve_bytes, 0);
	/* Never more than there is to claim back. */
	s.host.ksm.pages_sharing = 300 * MIB / PAGE;
	s.host.ksm.cow_breaks += 1ull << 30;
	run(&s, 1);
	assert_int_equal(s.plan->merge.cow_reserve_bytes, 300 * MIB);
	scene_close(&s);
}

/* It may never be needed: guests give what they do not miss, and are left at ease. */
static void test_reserve_is_collected_gently(void **state)
{
	struct scene s;
	unsigned int orders = 0;

	open_scene(&s, 2);
	s.obey = true;
	s.host.ksm.pages_sharing = 4 * GIB / PAGE;
	s.host.available_bytes = 3 * GIB / 2;
	run(&s, 60);
	assert_int_equal(s.guests[0].actual_bytes, s.guests[0].memory_bytes);
	for (unsigned int t = 0; t < 60; t++) {
		s.host.ksm.cow_breaks += 102400;
		run(&s, 1);
		for (size_t i = 0; i < s.plan->n_actions; i++) {
			const struct pol_action *a = &s.plan->actions[i];

			if (a->kind != POL_BALLOON || a->to > a->from)
				continue;
			assert_int_equal(a->reason, POL_WHY_COLLECT);
			orders++;
		}
	}
	assert_true(orders > 0);
	for (size_t i = 0; i < 2; i++) {
		const struct pol_view *view = scene_view(&s, i + 1);
		uint64_t reserve = view->floor_bytes - view->working_set_bytes;

		assert_true(s.guests[i].actual_bytes >= view->floor_bytes + reserve - 32 * MIB);
	}
	scene_close(&s);
}

/* What is merged and claimed back is no worse than never merged; but it is not given away. */
static void test_no_gifts_at_the_cliff(void **state)
{
	struct scene s;
	uint64_t taken;

	open_scene(&s, 1);
	s.obey = true;
	s.host.ksm.pages_sharing = 40 * GIB / PAGE;
	s.host.available_bytes = 300 * MIB;
	run(&s, 20);
	taken = s.guests[0].actual_bytes;
	assert_true(taken < s.guests[0].memory_bytes);
	s.host.available_bytes = 4 * GIB - MIB;
	run(&s, 120);
	assert_true(s.plan->merge.cliff);
	assert_false(s.plan->merge.stopped);
	assert_int_equal(s.host.ksm.run, 1);
	assert_int_equal(s.guests[0].actual_bytes, taken);
	/* Half as much again, before it counts as covered. */
	s.host.available_bytes = 6 * GIB - MIB;
	run(&s, 5);
	assert_true(s.plan->merge.cliff);
	s.host.available_bytes = 7 * GIB;
	run(&s, 90);
	assert_false(s.plan->merge.cliff);
	assert_true(s.guests[0].actual_bytes > taken);
	/* Swap would do as well. */
	s.host.available_bytes = 2 * GIB;
	s.host.swap_bytes = s.host.swap_free_bytes = 5 * GIB;
	run(&s, 5);
	assert_false(s.plan->merge.cliff);
	/* Nor does it outlive what it is about. */
	s.host.swap_free_bytes = 0;
	run(&s, 1);
	assert_true(s.pol->merge.cliff);
	s.host.ksm.present = false;
	run(&s, 1);
	assert_false(s.pol->merge.cliff);
	scene_close(&s);
}

/* Little is at stake, or nothing is known: no reason to hold back. */
static void test_no_cliff_without_exposure(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	s.host.ksm.pages_sharing = 60 * MIB / PAGE;
	s.host.ksm.cow_breaks = POL_ABSENT;
	s.host.available_bytes = MIB;
	run(&s, 5);
	assert_int_equal(s.host.ksm.run, 1);
	assert_false(s.plan->merge.cliff);
	s.host.ksm.pages_sharing = POL_ABSENT;
	run(&s, 5);
	assert_int_equal(s.plan->merge.exposure_bytes, 0);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_that_does_not_pay_is_switched_off),
		cmocka_unit_test(test_judged_only_after_full_scans),
		cmocka_unit_test(test_growth_is_worth_another_try),
		cmocka_unit_test(test_growth_while_the_last_pages_are_unmerged),
		cmocka_unit_test(test_cpu_time_counts),
		cmocka_unit_test(test_new_memory_is_paid_once),
		cmocka_unit_test(test_copies_count),
		cmocka_unit_test(test_one_is_not_given_up_for_another),
		cmocka_unit_test(test_a_moment_is_no_reason),
		cmocka_unit_test(test_unmerging_is_no_growth),
		cmocka_unit_test(test_trial_is_a_setting),
		cmocka_unit_test(test_unmerging_has_to_fit),
		cmocka_unit_test(test_reserve_follows_the_breaks),
		cmocka_unit_test(test_reserve_is_collected_gently),
		cmocka_unit_test(test_no_gifts_at_the_cliff),
		cmocka_unit_test(test_no_cliff_without_exposure),
	};

	return cmocka_run_group_tests_name("policy_merge_cost", tests, NULL, NULL);
}
