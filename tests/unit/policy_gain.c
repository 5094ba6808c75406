// SPDX-License-Identifier: Apache-2.0
/* What a balloon's byte frees on the host: nothing of what is not held there, or reported, or
 * merged with others' memory. */
#include "tests/unit/policy_scene.h"

/* Free memory that was never touched, or was reported, brings the host nothing. */
static void test_unheld_free_memory_is_left_alone(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	s.guests[0].resident_bytes = GIB; /* used and cache, nothing of the free */
	s.host.available_bytes = 560 * MIB;
	scene_run(&s, 13);
	assert_int_equal(s.guests[0].target_bytes, POL_ABSENT);
	assert_true(s.guests[1].target_bytes < 2 * GIB);
	scene_close(&s);
}

/* A hypervisor's own memory is not its guest's; and a guest that says it reports may not do so. */
static void test_reported_memory_is_left_to_reporting(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	for (int i = 0; i < 2; i++)
		s.guests[i].reporting = true;
	s.guests[0].resident_bytes = GIB + 200 * MIB;
	s.host.available_bytes = 560 * MIB;
	scene_run(&s, 13);
	assert_int_equal(s.guests[0].target_bytes, POL_ABSENT);
	assert_true(s.guests[1].target_bytes < 2 * GIB);
	scene_close(&s);
}

/* However little is free: what is held beyond is QEMU's own, not all of what is free. */
static void test_little_free_is_not_taken_for_held(void **state)
{
	struct scene s;
	bool took[2] = {false, false};

	scene_open(&s, 2);
	for (int i = 0; i < 2; i++) {
		struct pol_guest *g = &s.guests[i];

		g->reporting = true;
		g->reclaimable_bytes = g->resident_bytes =
			g->actual_bytes - 80 * MIB + (i ? 80 : 60) * MIB;
		scene_cache_merged(g, g->stat_available_bytes - 80 * MIB);
		g->stat_free_bytes = 80 * MIB;
	}
	s.host.swap_bytes = s.host.swap_free_bytes = 4 * GIB;
	s.host.available_bytes = 400 * MIB;
	for (int t = 0; t < 60; t++) {
		scene_run(&s, 1);
		for (int i = 0; i < 2; i++)
			took[i] |= scene_action(&s, i + 1) != NULL;
	}
	assert_true(!took[0] && took[1]);
	scene_close(&s);
}

/* A program comes every ten seconds: what it had, taken, the next one would push cache out for. */
static void test_free_between_programs_is_not_taken(void **state)
{
	struct scene s;
	bool took = false;

	scene_open(&s, 1);
	s.guests[0].reclaimable_bytes = s.guests[0].resident_bytes;
	s.host.swap_bytes = s.host.swap_free_bytes = 4 * GIB;
	scene_cache_merged(&s.guests[0], s.guests[0].stat_available_bytes - 264 * MIB);
	for (int t = 0; t < 120; t++) {
		uint64_t free = t < 60 && t % 10 == 0 ? 16 * MIB : 216 * MIB;

		s.guests[0].stat_available_bytes += free - s.guests[0].stat_free_bytes;
		s.guests[0].stat_free_bytes = free;
		s.host.available_bytes = t < 20 ? 4 * GIB : 560 * MIB;
		scene_run(&s, 1);
		took |= scene_action(&s, 1) != NULL;
		/* For at least 20 s after the last of them, at t = 50. */
		assert_true(!took || t >= 70);
	}
	assert_true(took);
	scene_close(&s);
}

/* What a new guest has free goes as soon as it reports. */
static void test_a_new_guest_is_given_time_to_report(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	s.guests[0].reporting = true;
	s.guests[0].stat_available_bytes = s.guests[0].stat_free_bytes; /* no cache */
	s.host.available_bytes = 60 * MIB;
	scene_run(&s, 8);
	assert_int_equal(s.guests[0].target_bytes, POL_ABSENT);
	scene_run(&s, 4);
	assert_true(s.guests[0].target_bytes < 2 * GIB);
	scene_close(&s);
}

/* So much is promised as others do not map. */
static void test_gain_leaves_out_what_is_merged(void **state)
{
	struct scene s;
	bool told = false;

	scene_open(&s, 2);
	scene_cache_merged(&s.guests[0], (s.guests[0].stat_available_bytes - 16 * MIB) / 2);
	scene_cache_merged(&s.guests[1], 0);
	s.host.available_bytes = 300 * MIB;
	for (int t = 0; t < 13; t++) {
		scene_step(&s);
		for (size_t i = 0; i < s.plan->n_actions; i++) {
			const struct pol_action *a = &s.plan->actions[i];
			uint64_t taken = a->from - a->to;

			if (a->kind != POL_BALLOON)
				continue;
			assert_int_equal(a->gain_bytes, a->guest == 1 ? taken / 2 : taken);
			told |= a->guest == 1;
		}
	}
	assert_true(told);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unheld_free_memory_is_left_alone),
		cmocka_unit_test(test_reported_memory_is_left_to_reporting),
		cmocka_unit_test(test_little_free_is_not_taken_for_held),
		cmocka_unit_test(test_free_between_programs_is_not_taken),
		cmocka_unit_test(test_a_new_guest_is_given_time_to_report),
		cmocka_unit_test(test_gain_leaves_out_what_is_merged),
	};

	return cmocka_run_group_tests_name("policy_gain", tests, NULL, NULL);
}
