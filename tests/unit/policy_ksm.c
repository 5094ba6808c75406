// SPDX-License-Identifier: Apache-2.0
/* KSM: on when it pays, as fast as its share of a core allows, cheap when it does not. */
#include "tests/unit/ksm_scene.h"

/* With nothing measured yet: what was saved up is there to be spent, at a page's usual cost. */
static void test_new_guest_starts_it_at_once(void **state)
{
	struct scene s;

	scene_open_ksm(&s, 1);
	scene_step(&s);
	assert_int_equal(s.plan->n_actions, 2);
	/* The rate before the start. */
	assert_int_equal(s.plan->actions[0].kind, POL_KSM_RATE);
	assert_int_equal(s.plan->actions[0].to2, 10);
	assert_in_range(s.plan->actions[0].to, 20000, 30000);
	assert_int_equal(s.plan->actions[1].kind, POL_KSM_RUN);
	assert_int_equal(s.plan->actions[1].to, 1);
	assert_int_equal(s.plan->actions[1].reason, POL_WHY_KSM_GAIN);
	assert_int_equal(s.plan->actions[1].rung, POL_RUNG_KSM);
	assert_int_equal(s.plan->actions[1].guest, 0);
	/* It is a guess, so it looks again soon. */
	assert_in_range(s.plan->again_us, 1, SEC - 1);
	/* Once: a ksmd that does nothing will not be measured. */
	scene_step(&s);
	assert_false(pol_has(s.plan->again_us));
	scene_close(&s);
}

/* Where the cost of a page will not be known that exactly it starts modestly. */
static void test_first_rate_is_modest_where_pages_are_not_counted(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct scene s;

		scene_open_ksm(&s, 1);
		if (i)
			s.host.ksm.pages_scanned = POL_ABSENT;
		else
			s.host.ksm.cpu_us = POL_ABSENT;
		scene_step(&s);
		assert_int_equal(scene_kind(&s, POL_KSM_RATE)->to, 500);
		assert_false(pol_has(s.plan->again_us));
		scene_close(&s);
	}
}

/* A first rate that is far too high for the machine is put right by the first measurement, and one
 * tick of it is what it costs. */
static void test_first_rate_is_corrected_at_once(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 200, .pages = 1ull << 40};

	scene_open_ksm(&s, 1);
	ksm_scene_run(&s, &d, 12);
	assert_in_range(s.pol->ksm.ns_per_page[0], 199000, 201000);
	assert_in_range(s.host.ksm.pages_to_scan, 16, 9 * 10000 / 200);
	scene_close(&s);
}

/* It looks more often when the scan is about to end that may be the last, and at no other time. */
static void test_last_scan_is_watched(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 5, .pages = 600000};
	unsigned int watched = 0;

	scene_open_ksm(&s, 1);
	s.guests[0].resident_bytes = d.pages * PAGE;
	for (int t = 0; t < 60; t++) {
		uint64_t left = d.left; /* what the policy sees of the scan */

		ksm_scene_run(&s, &d, 1);
		if (t < 3) /* the rate is being measured */
			continue;
		if (pol_has(s.plan->again_us)) {
			watched++;
			assert_in_range(s.plan->again_us, 1, SEC / 2);
			assert_int_equal(s.pol->ksm.scans_since, 2);
			assert_true(left > d.pages / 3);
		}
	}
	assert_true(s.pol->ksm.exhausted);
	assert_in_range(watched, 1, 3);
	scene_close(&s);
}

/* Rates are trimmed now and then; what is set already is not written again. */
static void test_equal_values_are_not_written_again(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 2, .pages = 1ull << 40};
	unsigned int written = 0;

	scene_open_ksm(&s, 1);
	ksm_scene_run(&s, &d, 60);
	for (int t = 0; t < 200; t++) {
		ksm_scene_run(&s, &d, 1);
		written += ksm_scene_count_kind(&s);
		if (ksm_scene_count_kind(&s))
			assert_int_not_equal(s.plan->actions[0].from, s.plan->actions[0].to);
	}
	assert_in_range(written, 0, 30);
	scene_close(&s);
}

static void test_nothing_mergeable_stops_it(void **state)
{
	struct scene s;

	scene_open_ksm(&s, 0);
	s.host.ksm.run = 1;
	scene_step(&s);
	assert_int_equal(s.plan->n_actions, 1);
	assert_int_equal(s.plan->actions[0].kind, POL_KSM_RUN);
	assert_int_equal(s.plan->actions[0].to, 0);
	assert_int_equal(s.plan->actions[0].reason, POL_WHY_KSM_NOTHING);
	scene_run(&s, 100);
	assert_int_equal(s.plan->n_actions, 0);
	scene_close(&s);
}

/* A host where KSM was never on is left as it is; 2 means stopped as well. */
static void test_nothing_mergeable_leaves_a_stopped_one_alone(void **state)
{
	for (uint64_t value = 0; value <= 2; value += 2) {
		struct scene s;

		scene_open_ksm(&s, 0);
		s.host.ksm.run = value;
		for (int t = 0; t < 10; t++) {
			scene_step(&s);
			assert_int_equal(s.plan->n_actions, 0);
		}
		scene_close(&s);
	}
}

static void test_run_is_only_ever_0_or_1(void **state)
{
	struct scene s;

	scene_open_ksm(&s, 1);
	s.host.ksm.run = 2;
	scene_step(&s);
	assert_int_equal(scene_kind(&s, POL_KSM_RUN)->to, 1);
	scene_close(&s);
}

/* On machines a hundred times apart ksmd stays near, and under, its share of a core. */
static void test_cpu_share_holds_on_any_machine(void **state)
{
	static const uint64_t speeds[] = {1, 5, 30, 100};

	for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++) {
		for (int scanned = 0; scanned < 2; scanned++) {
			struct scene s;
			struct ksmd d = {.us_per_page = speeds[i], .pages = 1ull << 40};

			scene_open_ksm(&s, 1);
			if (!scanned)
				s.host.ksm.pages_scanned = POL_ABSENT;
			ksm_scene_run(&s, &d, 60);
			assert_in_range(ksm_scene_mean_us(&s, &d, 60), SEC / 5, SEC * 27 / 100);
			scene_close(&s);
		}
	}
}

static void test_short_host_scans_harder_within_its_share(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 10, .pages = 1ull << 40};
	uint64_t calm, soft, hard;

	scene_open_ksm(&s, 1);
	ksm_scene_run(&s, &d, 60);
	calm = ksm_scene_mean_us(&s, &d, 60);
	s.host.available_bytes = 400 * MIB; /* soft */
	ksm_scene_run(&s, &d, 60);
	soft = ksm_scene_mean_us(&s, &d, 60);
	s.host.available_bytes = 100 * MIB; /* hard: at once, whatever was spent before */
	ksm_scene_run(&s, &d, 2);
	assert_true(ksm_scene_mean_us(&s, &d, 5) > SEC * 3 / 4);
	ksm_scene_run(&s, &d, 60);
	hard = ksm_scene_mean_us(&s, &d, 60);
	assert_true(soft > calm * 3 / 2);
	assert_true(soft <= SEC * 53 / 100);
	/* However long: by then the allowance is spent. */
	assert_true(hard > soft * 3 / 2);
	assert_true(hard <= SEC * 93 / 100);
	scene_close(&s);
}

static void test_share_is_configurable(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 10, .pages = 1ull << 40};

	scene_open_ksm(&s, 1);
	s.config.ksm_cpu_ppm = 50000;
	pol_configure(s.pol, &s.config);
	ksm_scene_run(&s, &d, 60);
	assert_in_range(ksm_scene_mean_us(&s, &d, 60), SEC / 25, SEC * 54 / 1000);
	scene_close(&s);
}

/* Scans that bring nothing end in a cheap patrol, not before the third, and never in run=0. */
static void test_no_gain_ends_in_a_patrol(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 5, .pages = 400000};
	uint64_t scans = 0;

	scene_open_ksm(&s, 1);
	for (int t = 0; t < 400; t++) {
		ksm_scene_run(&s, &d, 1);
		if (!s.pol->ksm.exhausted)
			scans = s.host.ksm.full_scans;
		assert_int_equal(s.host.ksm.run, 1);
	}
	assert_in_range(scans, 3, 4);
	assert_true(s.pol->ksm.exhausted);
	assert_in_range(ksm_scene_mean_us(&s, &d, 60), SEC / 1000, SEC * 4 / 1000);
	scene_close(&s);
}

static void test_gain_keeps_it_going(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 5, .pages = 400000};

	scene_open_ksm(&s, 1);
	s.host.ksm.pages_volatile = 100000;
	for (int t = 0; t < 300; t++) {
		ksm_scene_run(&s, &d, 1);
		s.host.ksm.pages_sharing += 3000; /* 12 MiB a second */
		assert_false(s.pol->ksm.exhausted);
	}
	/* Zero pages count as well. */
	s.host.ksm.zero_pages = s.host.ksm.pages_sharing;
	for (int t = 0; t < 300; t++) {
		ksm_scene_run(&s, &d, 1);
		s.host.ksm.zero_pages += 3000;
	}
	assert_false(s.pol->ksm.exhausted);
	ksm_scene_run(&s, &d, 200);
	assert_true(s.pol->ksm.exhausted);
	scene_close(&s);
}

/* Nor is a scan worth it, whatever the last one brought, when all pages have held still. */
static void test_no_scan_for_what_has_held_still(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 5, .pages = 400000};

	scene_open_ksm(&s, 1);
	s.guests[0].resident_bytes = GIB;
	s.host.ksm.smart_scan = true;
	for (int t = 0; t < 60 && !s.pol->ksm.exhausted; t++) {
		ksm_scene_run(&s, &d, 1);
		s.host.ksm.pages_sharing += 3000;
	}
	assert_true(s.pol->ksm.exhausted);
	assert_in_range(s.host.ksm.full_scans, 3, 4);
	/* Skipping is for the patrol, and while ksmd only learns what is new. */
	ksm_scene_run(&s, &d, 1);
	assert_int_equal(s.smart_scan, 1);
	s.guests[0].resident_bytes += GIB / 2;
	for (int t = 0; t < 30 && (s.pol->ksm.exhausted || s.pol->ksm.scans_since < 2); t++) {
		ksm_scene_run(&s, &d, 1);
		assert_int_equal(s.smart_scan, s.pol->ksm.scans_since < 2);
	}
	assert_false(s.pol->ksm.exhausted);
	assert_int_equal(s.smart_scan, 0);
	scene_close(&s);
}

/* The kernel counts the zero pages that a scan has merged as volatile until the next one. */
static void test_zero_pages_are_no_reason_for_a_scan(void **state)
{
	for (int zero = 0; zero < 2; zero++) {
		struct scene s;
		struct ksmd d = {.us_per_page = 5, .pages = 400000};

		scene_open_ksm(&s, 1);
		s.guests[0].resident_bytes = d.pages * PAGE;
		s.host.ksm.zero_pages = 0;
		for (uint64_t scans = 0; scans < 3; scans = s.host.ksm.full_scans) {
			ksm_scene_run(&s, &d, 1);
			if (scans < 2)
				continue;
			s.host.ksm.pages_volatile += d.used_us / d.us_per_page / 2;
			if (zero)
				s.host.ksm.zero_pages = s.host.ksm.pages_volatile;
			else
				s.host.ksm.pages_sharing = s.host.ksm.pages_volatile;
		}
		assert_true(s.host.ksm.pages_volatile > 100000);
		ksm_scene_run(&s, &d, 2);
		assert_int_equal(s.pol->ksm.exhausted, zero);
		scene_close(&s);
	}
}

/* What is not worth its CPU in good times is when the host is short. */
static void test_price_falls_when_the_host_is_short(void **state)
{
	for (int is_short = 0; is_short < 2; is_short++) {
		struct scene s;
		struct ksmd d = {.us_per_page = 5, .pages = 400000};

		scene_open_ksm(&s, 1);
		s.guests[0].has_balloon = false;
		s.host.ksm.pages_volatile = 100000;
		if (is_short)
			s.host.available_bytes = 300 * MIB;
		for (int t = 0; t < 300; t++) {
			ksm_scene_run(&s, &d, 1);
			s.host.ksm.pages_sharing += d.used_us * 512 / SEC; /* 2 MiB a CPU second */
		}
		assert_int_equal(s.pol->ksm.exhausted, !is_short);
		scene_close(&s);
	}
}

static void test_new_guest_or_growth_starts_a_campaign_again(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 5, .pages = 200000};

	scene_open_ksm(&s, 2);
	s.host.n_guests = 1;
	s.guests[0].resident_bytes = GIB;
	ksm_scene_run(&s, &d, 300);
	assert_true(s.pol->ksm.exhausted);
	s.host.n_guests = 2;
	ksm_scene_run(&s, &d, 1);
	assert_false(s.pol->ksm.exhausted);
	assert_non_null(scene_kind(&s, POL_KSM_RATE));
	assert_int_equal(scene_kind(&s, POL_KSM_RATE)->reason, POL_WHY_KSM_GAIN);
	ksm_scene_run(&s, &d, 300);
	assert_true(s.pol->ksm.exhausted);
	s.guests[0].resident_bytes += 512 * MIB;
	ksm_scene_run(&s, &d, 1);
	assert_false(s.pol->ksm.exhausted);
	scene_close(&s);
}

static void test_it_can_be_absent_or_switched_off(void **state)
{
	struct scene s;

	scene_open_ksm(&s, 1);
	s.host.ksm.present = false;
	scene_run(&s, 5);
	assert_int_equal(s.plan->n_actions, 0);
	s.host.ksm.present = true;
	s.config.ksm_manage = false;
	pol_configure(s.pol, &s.config);
	scene_run(&s, 5);
	assert_int_equal(s.plan->n_actions, 0);
	scene_close(&s);
}

/* Without CPU time or scan counts it still runs, at the modest rate. */
static void test_absent_counters_degrade(void **state)
{
	struct scene s;

	scene_open_ksm(&s, 1);
	s.host.ksm.cpu_us = s.host.ksm.full_scans = s.host.ksm.pages_scanned = POL_ABSENT;
	s.host.ksm.pages_sharing = s.host.ksm.cow_breaks = POL_ABSENT;
	scene_run(&s, 200);
	assert_int_equal(s.host.ksm.run, 1);
	assert_in_range(s.host.ksm.pages_to_scan, 100, 1000);
	assert_int_equal(s.plan->n_actions, 0);
	scene_close(&s);
}

/* A value that will not stick is asked for again, ever more seldom. */
static void test_write_that_does_not_stick_is_not_repeated_every_tick(void **state)
{
	struct scene s;
	unsigned int asked = 0;

	scene_open_ksm(&s, 1);
	for (int t = 0; t < 600; t++) {
		scene_step(&s);
		asked += scene_kind(&s, POL_KSM_RUN) != NULL;
		s.host.ksm.run = 0;
	}
	assert_in_range(asked, 2, 5);
	scene_close(&s);
}

static void test_counters_that_restart_do_no_harm(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 5, .pages = 400000};

	scene_open_ksm(&s, 1);
	ksm_scene_run(&s, &d, 50);
	s.host.ksm.cpu_us = s.host.ksm.full_scans = s.host.ksm.pages_scanned = 0;
	ksm_scene_run(&s, &d, 1);
	assert_int_equal(ksm_scene_count_kind(&s), 0);
	ksm_scene_run(&s, &d, 100);
	assert_int_equal(s.host.ksm.run, 1);
	assert_true(ksm_scene_mean_us(&s, &d, 60) < SEC * 28 / 100);
	scene_close(&s);
}

/* Each total in turn jumps back, by little or to nothing, on campaign and on patrol: that tick
 * decides nothing, and what is measured over the jump moves nothing after it. */
static void test_a_total_that_goes_back_decides_nothing(void **state)
{
	static const size_t totals[] = {
		offsetof(struct pol_ksm, full_scans),	 offsetof(struct pol_ksm, pages_scanned),
		offsetof(struct pol_ksm, pages_skipped), offsetof(struct pol_ksm, cow_breaks),
		offsetof(struct pol_ksm, cpu_us),
	};

	for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++) {
		for (int patrol = 0; patrol < 4; patrol++) {
			struct scene s;
			struct ksmd d = {.us_per_page = 5, .pages = 200000};
			uint64_t *total, seen, ns;
			bool exhausted;

			scene_open_ksm(&s, 1);
			s.host.ksm.pages_skipped = s.host.ksm.cow_breaks = 1000;
			s.host.ksm.full_scans = 1000;
			ksm_scene_run(&s, &d, patrol / 2 ? 200 : 3);
			exhausted = s.pol->ksm.exhausted;
			assert_int_equal(exhausted, patrol / 2);
			ns = s.pol->ksm.ns_per_page[0];
			total = (uint64_t *)((char *)&s.host.ksm + totals[i]);
			memcpy(&seen, (char *)&s.pol->ksm.last + totals[i], sizeof(seen));
			*total = patrol % 2 ? 0 : seen - 1;
			s.host.ksm.pages_sharing += 1000000;
			scene_step(&s);
			assert_int_equal(ksm_scene_count_kind(&s), 0);
			assert_int_equal(s.pol->ksm.exhausted, exhausted);
			scene_step(&s);
			assert_int_equal(s.pol->ksm.exhausted, exhausted);
			assert_int_equal(s.pol->ksm.ns_per_page[0], ns);
			scene_close(&s);
		}
	}
}

/* A total that is told in one tick and not in the next is as odd. */
static void test_a_total_that_comes_and_goes_decides_nothing(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 5, .pages = 200000};

	scene_open_ksm(&s, 1);
	s.host.ksm.zero_pages = 500000;
	ksm_scene_run(&s, &d, 200);
	assert_true(s.pol->ksm.exhausted);
	for (int t = 0; t < 50; t++) {
		s.host.ksm.zero_pages = t % 2 ? 500000 : POL_ABSENT;
		ksm_scene_run(&s, &d, 1);
		assert_int_equal(ksm_scene_count_kind(&s), 0);
		assert_true(s.pol->ksm.exhausted);
	}
	scene_close(&s);
}

/* After a quiet time a campaign may take nearly a core, until what was saved up is spent; over any
 * minute and more that is its share and once what it saved up. */
static void test_allowance_is_saved_up_and_spent(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 5, .pages = 1ull << 40};
	uint64_t first, minute;

	scene_open_ksm(&s, 1);
	ksm_scene_run(&s, &d, 3);
	first = ksm_scene_mean_us(&s, &d, 10);
	assert_in_range(first, SEC * 7 / 10, SEC * 93 / 100);
	minute = 3 * SEC / 2 + 10 * first + 47 * ksm_scene_mean_us(&s, &d, 47);
	assert_in_range(minute, 15 * SEC, 31 * SEC);
	assert_in_range(ksm_scene_mean_us(&s, &d, 300), SEC * 22 / 100, SEC * 26 / 100);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_guest_starts_it_at_once),
		cmocka_unit_test(test_first_rate_is_modest_where_pages_are_not_counted),
		cmocka_unit_test(test_first_rate_is_corrected_at_once),
		cmocka_unit_test(test_last_scan_is_watched),
		cmocka_unit_test(test_equal_values_are_not_written_again),
		cmocka_unit_test(test_nothing_mergeable_stops_it),
		cmocka_unit_test(test_nothing_mergeable_leaves_a_stopped_one_alone),
		cmocka_unit_test(test_run_is_only_ever_0_or_1),
		cmocka_unit_test(test_cpu_share_holds_on_any_machine),
		cmocka_unit_test(test_short_host_scans_harder_within_its_share),
		cmocka_unit_test(test_share_is_configurable),
		cmocka_unit_test(test_no_gain_ends_in_a_patrol),
		cmocka_unit_test(test_gain_keeps_it_going),
		cmocka_unit_test(test_no_scan_for_what_has_held_still),
		cmocka_unit_test(test_zero_pages_are_no_reason_for_a_scan),
		cmocka_unit_test(test_price_falls_when_the_host_is_short),
		cmocka_unit_test(test_new_guest_or_growth_starts_a_campaign_again),
		cmocka_unit_test(test_it_can_be_absent_or_switched_off),
		cmocka_unit_test(test_absent_counters_degrade),
		cmocka_unit_test(test_write_that_does_not_stick_is_not_repeated_every_tick),
		cmocka_unit_test(test_counters_that_restart_do_no_harm),
		cmocka_unit_test(test_a_total_that_goes_back_decides_nothing),
		cmocka_unit_test(test_a_total_that_comes_and_goes_decides_nothing),
		cmocka_unit_test(test_allowance_is_saved_up_and_spent),
	};

	return cmocka_run_group_tests_name("policy_ksm", tests, NULL, NULL);
}
