// SPDX-License-Identifier: Apache-2.0
/* KSM: when ksmd is not to stand back behind guests, and that this is said once. */
#include "tests/unit/ksm_scene.h"

/* Orders of a rate in so many ticks; the last of them is *ret_last. */
static unsigned int rates_in(struct scene *s, unsigned int ticks, struct pol_action *ret_last)
{
	unsigned int n = 0;

	while (ticks--) {
		const struct pol_action *rate;

		scene_step(s);
		rate = scene_kind(s, POL_KSM_RATE);
		if (rate) {
			*ret_last = *rate;
			n++;
		}
	}
	return n;
}

/* On a host that is short the campaign for a guest that starts must not stand back; said once when
 * that begins and ends, though the rate stays. */
static void test_campaign_of_a_short_host_is_urgent(void **state)
{
	struct scene s;
	struct pol_action last = {0};

	scene_open_ksm(&s, 1);
	s.guests[0].has_balloon = false;
	/* What a page costs is not known: the rate is the same in good times and bad. */
	s.host.ksm.cpu_us = s.host.ksm.pages_scanned = POL_ABSENT;
	scene_run(&s, 200);
	for (int i = 0; i < 3; i++) {
		uint64_t pages = s.host.ksm.pages_to_scan;

		assert_int_equal(s.urgent, 0);
		s.guests[0].id++;
		s.host.available_bytes = 300 * MIB;
		scene_step(&s);
		assert_int_equal(s.urgent, 1);
		assert_int_equal(scene_kind(&s, POL_KSM_RATE)->reason, POL_WHY_KSM_PRESSURE);
		assert_int_equal(s.host.ksm.pages_to_scan, pages);
		assert_int_equal(rates_in(&s, 45, &last), 0);
		s.host.available_bytes = 4 * GIB;
		assert_int_equal(rates_in(&s, 60, &last), 1);
		assert_int_equal(last.to4, 0);
		assert_int_equal(last.reason, POL_WHY_KSM_GAIN);
	}
	scene_close(&s);
}

/* Once what is new has been merged, by three scans, ksmd stands back, though it goes on; when more
 * is new it does not for three again. */
static void test_urgent_are_the_scans_that_merge_what_is_new(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 5, .pages = 200000};
	uint64_t was = 1;
	int changes = 0;

	scene_open_ksm(&s, 1);
	s.guests[0].has_balloon = false;
	s.host.available_bytes = 300 * MIB;
	s.guests[0].resident_bytes /= 2;
	ksm_scene_run(&s, &d, 1);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(s.urgent, 1);
		for (int t = 0; t < 45; t++) {
			ksm_scene_run(&s, &d, 1);
			s.host.ksm.pages_sharing += 5000;
			s.host.ksm.pages_volatile = 100000;
			changes += s.urgent != was;
			was = s.urgent;
			assert_int_equal(s.urgent, s.pol->ksm.scans_since < 3);
		}
		assert_false(s.pol->ksm.exhausted);
		assert_int_equal(changes, 2 * round + 1);
		s.guests[0].id++;
		ksm_scene_run(&s, &d, 1);
	}
	scene_close(&s);
}

/* What writes took apart, or old guests took up, can wait, however short the host is. */
static void test_other_news_is_not_urgent(void **state)
{
	for (int grown = 0; grown < 2; grown++) {
		struct scene s;
		struct ksmd d;

		ksm_scene_patrol(&s, &d);
		s.host.available_bytes = s.host.free_bytes = 0;
		if (grown)
			s.guests[1].resident_bytes += 512 * MIB;
		else
			s.host.ksm.cow_breaks += 100000;
		ksm_scene_run(&s, &d, 2);
		assert_false(s.pol->ksm.exhausted);
		assert_int_equal(s.urgent, 0);
		scene_close(&s);
	}
}

/* The patrol is in no hurry, however short the host is. */
static void test_patrol_is_never_urgent(void **state)
{
	struct scene s;
	struct ksmd d = {.us_per_page = 5, .pages = 200000};

	scene_open_ksm(&s, 1);
	s.guests[0].has_balloon = false;
	s.host.available_bytes = 300 * MIB;
	ksm_scene_run(&s, &d, 1);
	assert_int_equal(s.urgent, 1);
	ksm_scene_run(&s, &d, 300);
	assert_true(s.pol->ksm.exhausted);
	assert_int_equal(s.urgent, 0);
	scene_close(&s);
}

/* Stopped, ksmd is no longer urgent, so that is said again with its next start. */
static void test_urgency_ends_with_a_stop(void **state)
{
	struct scene s;
	struct pol_action last = {0};

	scene_open_ksm(&s, 1);
	s.guests[0].has_balloon = false;
	s.host.available_bytes = 300 * MIB;
	scene_run(&s, 20);
	assert_int_equal(s.urgent, 1);
	s.host.ksm.mergeable_any = false;
	scene_step(&s);
	assert_int_equal(s.host.ksm.run, 0);
	s.host.ksm.mergeable_any = true;
	assert_int_equal(rates_in(&s, 1, &last), 1);
	assert_int_equal(last.to4, 1);
	/* And that it is not, where it is not. */
	s.host.ksm.mergeable_any = false;
	scene_step(&s);
	s.host.available_bytes = 4 * GIB;
	s.host.ksm.mergeable_any = true;
	assert_int_equal(rates_in(&s, 1, &last), 1);
	assert_int_equal(last.to4, last.reason == POL_WHY_KSM_PRESSURE);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_campaign_of_a_short_host_is_urgent),
		cmocka_unit_test(test_urgent_are_the_scans_that_merge_what_is_new),
		cmocka_unit_test(test_other_news_is_not_urgent),
		cmocka_unit_test(test_patrol_is_never_urgent),
		cmocka_unit_test(test_urgency_ends_with_a_stop),
	};

	return cmocka_run_group_tests_name("policy_ksm_urgent", tests, NULL, NULL);
}
