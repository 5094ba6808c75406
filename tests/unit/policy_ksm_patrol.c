// SPDX-License-Identifier: Apache-2.0
/* KSM's patrol: what it costs, and what it sees that is worth a campaign. */
#include "tests/unit/ksm_scene.h"

/* On patrol a page may cost next to nothing, less than CPU time is counted in: the patrol is then
 * as quick as it is cheap, not as what was measured on campaign allows. */
static void test_patrol_of_cheap_pages_goes_on_quickly(void **state)
{
	struct scene s;
	struct ksmd d;
	uint64_t before, cpu_us;

	ksm_scene_patrol(&s, &d);
	d.us_per_page = 1;
	cpu_us = s.host.ksm.cpu_us;
	for (int t = 0; t < 200; t++) {
		ksm_scene_run(&s, &d, 1);
		s.host.ksm.cpu_us = cpu_us; /* never a whole tick */
	}
	before = s.host.ksm.pages_scanned;
	ksm_scene_run(&s, &d, 50);
	assert_in_range(s.host.ksm.pages_scanned - before, 50 * 2000, 50 * 20000);
	scene_close(&s);
}

/* What a patrol finds is worth more on a short host: it goes round more often. */
static void test_patrol_hurries_on_a_short_host(void **state)
{
	struct scene s;
	struct ksmd d;
	uint64_t calm, soft, hard;

	ksm_scene_patrol(&s, &d);
	calm = ksm_duty(s.pol, true);
	assert_int_equal(calm, 3000);
	s.pol->tick.state = POL_STATE_SOFT;
	soft = ksm_duty(s.pol, true);
	s.pol->tick.state = POL_STATE_HARD;
	hard = ksm_duty(s.pol, true);
	assert_int_equal(soft, 8 * calm);
	assert_int_equal(hard, 32 * calm);
	/* But never more than its share. */
	s.config.ksm_cpu_ppm = 20000;
	pol_configure(s.pol, &s.config);
	assert_int_equal(ksm_duty(s.pol, true), 80000);
	scene_close(&s);
}

/* While guests fill their memory, on a host with plenty, ksmd takes half of its share; once they
 * have stopped, all that was saved up, at once. */
static void test_rush_is_waited_for(void **state)
{
	struct scene s;
	struct ksmd d;

	ksm_scene_patrol(&s, &d);
	s.guests[1].resident_bytes += 128 * MIB;
	ksm_scene_run(&s, &d, 1);
	assert_false(s.pol->ksm.exhausted);
	for (int t = 0; t < 3; t++) {
		s.guests[1].resident_bytes += 128 * MIB;
		ksm_scene_run(&s, &d, 1);
		assert_true(pol_has(s.plan->again_us) && s.plan->again_us < SEC);
	}
	assert_in_range(d.used_us, SEC / 20, SEC / 4);
	s.now_us -= SEC - s.plan->again_us; /* it is looked at so soon */
	ksm_scene_run(&s, &d, 2);
	assert_in_range(d.used_us, SEC / 2, SEC);
	scene_close(&s);
}

/* On a host that is short nothing is waited for: it would be swapped meanwhile. */
static void test_rush_on_a_short_host_is_not(void **state)
{
	struct scene s;
	struct ksmd d;
	uint64_t share;

	ksm_scene_patrol(&s, &d);
	s.guests[1].resident_bytes += 128 * MIB;
	ksm_scene_run(&s, &d, 1);
	s.guests[1].resident_bytes += 128 * MIB;
	ksm_scene_run(&s, &d, 1);
	assert_true(ksm_rush_left_us(s.pol));
	share = s.config.ksm_cpu_ppm;
	assert_int_equal(ksm_duty(s.pol, false), share / 2);
	s.pol->tick.state = POL_STATE_SOFT;
	assert_int_equal(ksm_rush_left_us(s.pol), 0);
	assert_in_range(ksm_duty(s.pol, false), 3 * share, 900000);
	s.pol->tick.state = POL_STATE_HIGH;
	s.pol->host.is_short = true;
	assert_in_range(ksm_duty(s.pol, false), 3 * share, 900000);
	scene_close(&s);
}

/* Growth that merging is likely to pay for starts a campaign, a trifle does not. */
static void test_growth_counts_by_what_it_promises(void **state)
{
	struct scene s;
	struct ksmd d;

	ksm_scene_patrol(&s, &d);
	s.guests[1].resident_bytes += 8 * MIB;
	ksm_scene_run(&s, &d, 20);
	assert_true(s.pol->ksm.exhausted);
	s.guests[1].resident_bytes += 96 * MIB;
	ksm_scene_run(&s, &d, 2);
	assert_false(s.pol->ksm.exhausted);
	scene_close(&s);
}

/* On a host of 900 GiB a guest of 2 GiB does not make ksmd look at everything; once enough of them
 * have come it does. */
static void test_a_small_guest_is_not_worth_a_large_hosts_scan(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 5, .pages = 1000000};

	scene_open_ksm(&s, 16);
	s.host.memory_bytes = 1024 * GIB;
	s.host.free_bytes = s.host.available_bytes = 500 * GIB;
	for (int i = 0; i < 9; i++)
		s.guests[i].memory_bytes = s.guests[i].actual_bytes = s.guests[i].resident_bytes =
			100 * GIB;
	s.host.n_guests = 9;
	ksm_scene_run(&s, &d, 5);
	s.host.ksm.pages_sharing = 300 * GIB / PAGE;
	ksm_scene_run(&s, &d, 300);
	assert_true(s.pol->ksm.exhausted);
	for (int i = 9; i < 16; i++) {
		s.host.n_guests++;
		ksm_scene_run(&s, &d, 2);
	}
	assert_true(s.pol->ksm.exhausted);
	s.guests[15].memory_bytes = s.guests[15].actual_bytes = s.guests[15].resident_bytes =
		64 * GIB;
	ksm_scene_run(&s, &d, 2);
	assert_false(s.pol->ksm.exhausted);
	scene_close(&s);
}

/* What a scan is worth does not hang on how slow the machine is, as an emulated one is. */
static void test_a_slow_core_scans_for_the_same_growth(void **state)
{
	for (uint64_t us = 10; us <= 200; us += 190) {
		struct scene s;
		struct ksmd d = {.us_per_page = us, .pages = GIB / PAGE};

		scene_open_ksm(&s, 2);
		s.guests[0].resident_bytes = s.guests[1].resident_bytes = GIB / 2;
		ksm_scene_run(&s, &d, 5);
		s.host.ksm.pages_sharing = GIB / 2 / PAGE;
		for (int t = 0; t < 5000 && !s.pol->ksm.exhausted; t++)
			ksm_scene_run(&s, &d, 1);
		assert_true(s.pol->ksm.exhausted);
		s.guests[1].resident_bytes += 128 * MIB;
		ksm_scene_run(&s, &d, 2);
		assert_false(s.pol->ksm.exhausted);
		scene_close(&s);
	}
}

/* On a hard pressed host what new guests take up is new long before it is a part of all. */
static void test_new_guests_are_scanned_as_they_grow(void **state)
{
	for (int pressed = 0; pressed < 2; pressed++) {
		struct scene s;
		struct ksmd d;

		ksm_scene_patrol(&s, &d);
		if (pressed)
			s.host.available_bytes = s.host.free_bytes = 0;
		s.guests[2] = s.guests[1];
		s.guests[2].id = 100;
		s.guests[2].resident_bytes = 16 * MIB;
		s.host.n_guests = 3;
		ksm_scene_run(&s, &d, 2);
		assert_false(s.pol->ksm.exhausted);
		d.left = 0; /* no scan of its own ends meanwhile */
		s.host.ksm.full_scans++;
		ksm_scene_run(&s, &d, 1);
		assert_false(s.pol->ksm.exhausted);
		assert_true(s.pol->ksm.scans_since >= 1);
		/* Less than a thirty-second part of the 2 GiB that there are. */
		s.guests[2].resident_bytes += 40 * MIB;
		d.left = 0;
		ksm_scene_run(&s, &d, 1);
		assert_int_equal(s.pol->ksm.scans_since == 0, pressed);
		/* Once they have been there for a while they are as all are. */
		ksm_scene_run(&s, &d, 300);
		assert_true(s.pol->ksm.exhausted);
		assert_int_equal(s.pol->ksm.young, 0);
		scene_close(&s);
	}
}

/* Writes that take merged pages apart: a few are the patrol's business, many a campaign's; and when
 * campaigns bring none of them back they are taken for what they are, hot pages. */
static void test_lost_pages_start_a_campaign_while_they_come_back(void **state)
{
	struct scene s;
	struct ksmd d;
	unsigned int campaigns = 0;
	uint64_t lost = 0, scans;
	bool was = true;

	ksm_scene_patrol(&s, &d);
	s.host.ksm.cow_breaks += 1000;
	ksm_scene_run(&s, &d, 20);
	assert_true(s.pol->ksm.exhausted);
	s.host.ksm.cow_breaks += 30000;
	ksm_scene_run(&s, &d, 2);
	assert_false(s.pol->ksm.exhausted);
	assert_int_equal(s.pol->ksm.news, KSM_NEWS_LOST);
	ksm_scene_run(&s, &d, 60);
	assert_true(s.pol->ksm.exhausted);

	/* 50 pages a second that never come back: each campaign finds them gone for good */
	for (int t = 0; t < 7200; t++) {
		s.host.ksm.cow_breaks += 50;
		lost += 50;
		scans = s.host.ksm.full_scans;
		ksm_scene_run(&s, &d, 1);
		if (s.host.ksm.full_scans != scans) { /* the scan has noticed */
			s.host.ksm.pages_sharing -= min_u64(s.host.ksm.pages_sharing, lost);
			lost = 0;
		}
		campaigns += was && !s.pol->ksm.exhausted;
		was = s.pol->ksm.exhausted;
	}
	assert_in_range(campaigns, 1, 12);
	/* and that sign is believed less than at first */
	assert_true(s.pol->ksm.trust_ppm[KSM_NEWS_LOST] < 450000);
	scene_close(&s);
}

/* The patrol merges much in the part that it sees: the rest is likely to have as much. */
static void test_patrol_that_finds_much_calls_a_campaign(void **state)
{
	struct scene s;
	struct ksmd d;
	int t;

	ksm_scene_patrol(&s, &d);
	for (t = 0; t < 1000 && s.pol->ksm.exhausted; t++) {
		s.host.ksm.pages_sharing += d.used_us / d.us_per_page / 10; /* one in ten */
		ksm_scene_run(&s, &d, 1);
	}
	assert_in_range(t, 200, 900);
	assert_int_equal(s.pol->ksm.news, KSM_NEWS_FOUND);
	scene_close(&s);
}

/* On campaign and on patrol, 6.1 is driven as well: no pages_scanned, no zero pages. */
static void test_an_old_kernel_is_driven_as_well(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 5, .pages = 2 * GIB / PAGE};

	scene_open_ksm(&s, 2);
	s.host.ksm.pages_scanned = s.host.ksm.pages_skipped = POL_ABSENT;
	ksm_scene_run(&s, &d, 3);
	assert_in_range(ksm_scene_mean_us(&s, &d, 5), SEC / 2, SEC);
	ksm_scene_run(&s, &d, 200);
	assert_true(s.pol->ksm.exhausted);
	assert_in_range(ksm_scene_mean_us(&s, &d, 100), SEC / 1000, SEC * 5 / 1000);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patrol_of_cheap_pages_goes_on_quickly),
		cmocka_unit_test(test_patrol_hurries_on_a_short_host),
		cmocka_unit_test(test_rush_is_waited_for),
		cmocka_unit_test(test_rush_on_a_short_host_is_not),
		cmocka_unit_test(test_growth_counts_by_what_it_promises),
		cmocka_unit_test(test_a_small_guest_is_not_worth_a_large_hosts_scan),
		cmocka_unit_test(test_a_slow_core_scans_for_the_same_growth),
		cmocka_unit_test(test_new_guests_are_scanned_as_they_grow),
		cmocka_unit_test(test_lost_pages_start_a_campaign_while_they_come_back),
		cmocka_unit_test(test_patrol_that_finds_much_calls_a_campaign),
		cmocka_unit_test(test_an_old_kernel_is_driven_as_well),
	};

	return cmocka_run_group_tests_name("policy_ksm_patrol", tests, NULL, NULL);
}
