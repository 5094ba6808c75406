// SPDX-License-Identifier: Apache-2.0
/* Pages that equal merged ones are read back from swap, and merged: when, how many, and by whom. */
#include "tests/unit/ksm_scene.h"

/* On patrol, on a host that swaps and is in no want. */
static void open_back(struct scene *s, struct ksmd *d)
{
	ksm_scene_patrol(s, d);
	s->host.swap_bytes = 4 * GIB;
	s->host.swap_free_bytes = 2 * GIB;
	s->host.available_bytes = s->host.free_bytes = s->host.memory_bytes / 4;
	s->host.ksm.back_bytes = 0;
	s->host.ksm.across_nodes = 1;
	s->host.psi_some_us = 0;
	for (size_t i = 0; i < 2; i++) {
		s->guests[i].merge_switch = s->guests[i].merge_on = true;
		s->guests[i].marked_bytes = s->guests[i].memory_bytes;
	}
	ksm_scene_run(s, d, 300);
	assert_true(s->pol->ksm.exhausted);
	assert_true(s->plan->merge.anchor_grows);
}

/* A tick after it was seen. */
static uint64_t allowed(struct scene *s, struct ksmd *d)
{
	ksm_scene_run(s, d, 2);
	return s->plan->merge.back_bytes;
}

static void test_as_much_as_swap_and_memory_bear(void **state)
{
	struct scene s;
	struct ksmd d;

	open_back(&s, &d);
	assert_int_equal(allowed(&s, &d), min_u64(s.host.memory_bytes / 16, GIB / 2));
	s.host.swap_free_bytes = 64 * MIB;
	assert_int_equal(allowed(&s, &d), 16 * MIB);
	s.host.swap_free_bytes = 0;
	assert_int_equal(allowed(&s, &d), 0);
	s.host.swap_free_bytes = POL_ABSENT;
	assert_int_equal(allowed(&s, &d), 0);
	s.host.swap_free_bytes = 64 * MIB;
	s.host.reclaim_busy = true;
	assert_int_equal(allowed(&s, &d), 0);
	scene_close(&s);
}

static void test_in_calm_alone(void **state)
{
	struct scene s;
	struct ksmd d;

	open_back(&s, &d);
	assert_int_not_equal(allowed(&s, &d), 0);
	for (int t = 0; t < 10; t++) {
		s.host.psi_some_us += SEC / 2;
		ksm_scene_run(&s, &d, 1);
	}
	assert_int_equal(s.plan->merge.back_bytes, 0);
	ksm_scene_run(&s, &d, 60);
	assert_int_not_equal(allowed(&s, &d), 0);
	/* Something new: ksmd is on campaign, and on a host that swaps guests come up. */
	s.guests[0].resident_bytes += GIB / 2;
	ksm_scene_run(&s, &d, 2);
	assert_false(s.pol->ksm.exhausted);
	assert_int_equal(s.plan->merge.back_bytes, 0);
	scene_close(&s);
}

static void test_it_is_waited_for_ksmd(void **state)
{
	struct scene s;
	struct ksmd d;
	uint64_t all;

	open_back(&s, &d);
	all = allowed(&s, &d);
	/* Too little for a campaign: the patrol merges it. It counts in the very tick. */
	s.host.ksm.back_bytes += 2 * MIB;
	ksm_scene_run(&s, &d, 1);
	assert_int_equal(s.plan->merge.back_bytes, all - 2 * MIB);
	ksm_scene_run(&s, &d, 20);
	assert_true(s.pol->ksm.exhausted);
	s.host.ksm.full_scans += 2;
	assert_int_equal(allowed(&s, &d), all - 2 * MIB);
	s.host.ksm.full_scans += 1;
	assert_int_equal(allowed(&s, &d), all);
	scene_close(&s);
}

static void test_less_on_a_short_host(void **state)
{
	struct scene s;
	struct ksmd d;

	open_back(&s, &d);
	s.host.available_bytes = s.host.free_bytes = 0;
	ksm_scene_run(&s, &d, 200);
	assert_true(s.pol->ksm.exhausted);
	assert_int_equal(allowed(&s, &d), s.host.memory_bytes / 32);
	scene_close(&s);
}

static uint64_t waiting(struct scene *s)
{
	return ksm_back_bytes(s->pol, &s->host.ksm);
}

static void test_much_of_it_starts_a_campaign(void **state)
{
	struct scene s;
	struct ksmd d;
	bool told = false;

	open_back(&s, &d);
	s.host.available_bytes = s.host.free_bytes = 0;
	ksm_scene_run(&s, &d, 200);
	/* One for all that is read. */
	for (int t = 0; t < 3; t++) {
		s.host.ksm.back_bytes += 50 * MIB;
		ksm_scene_run(&s, &d, 10);
		assert_true(s.pol->ksm.exhausted);
	}
	ksm_scene_run(&s, &d, 5);
	assert_true(s.pol->ksm.exhausted);
	for (int t = 0; t < 3; t++) {
		ksm_scene_run(&s, &d, 1);
		for (size_t i = 0; i < s.plan->n_actions; i++) {
			if (s.plan->actions[i].kind != POL_KSM_RATE)
				continue;
			/* It came in calm: nobody is kept waiting for it. */
			assert_int_equal(s.plan->actions[i].to4, 0);
			told = true;
		}
	}
	assert_true(told);
	assert_false(s.pol->ksm.exhausted);
	assert_int_equal(s.pol->ksm.news, KSM_NEWS_BACK);
	assert_int_equal(s.plan->merge.back_bytes, 0);
	s.host.ksm.pages_sharing += 150 * MIB / PAGE;
	ksm_scene_run(&s, &d, 200);
	assert_true(s.pol->ksm.exhausted);
	assert_int_equal(waiting(&s), 0);
	assert_int_equal(s.pol->ksm.trust_ppm[KSM_NEWS_BACK], PPM);
	scene_close(&s);
}

/* And not much is left waiting for more. */
static void test_very_much_starts_it_at_once(void **state)
{
	struct scene s;
	struct ksmd d;

	open_back(&s, &d);
	s.host.ksm.smart_scan = true;
	s.host.ksm.back_bytes += 180 * MIB;
	ksm_scene_run(&s, &d, 1);
	assert_false(s.pol->ksm.exhausted);
	assert_int_equal(s.pol->ksm.news, KSM_NEWS_BACK);
	/* It is new to ksmd, and nothing else is looked for. */
	for (int t = 0; t < 100 && !s.pol->ksm.exhausted; t++) {
		ksm_scene_run(&s, &d, 1);
		assert_true(s.pol->ksm.smart);
	}
	assert_true(s.pol->ksm.exhausted);
	scene_close(&s);
}

/* What nothing comes of is not believed any more, until the patrol has seen to some. */
static void test_it_is_believed_as_far_as_it_brings(void **state)
{
	struct scene s;
	struct ksmd d;
	uint64_t all, less;

	open_back(&s, &d);
	all = allowed(&s, &d);
	s.host.ksm.back_bytes += 256 * MIB;
	ksm_scene_run(&s, &d, 200);
	assert_true(s.pol->ksm.exhausted);
	assert_int_equal(waiting(&s), 0);
	assert_int_equal(s.pol->ksm.trust_ppm[KSM_NEWS_BACK], PPM / 2);
	less = allowed(&s, &d);
	assert_int_equal(less, all / 2);
	s.host.ksm.back_bytes += MIB;
	ksm_scene_run(&s, &d, 2);
	s.host.ksm.full_scans += 3;
	assert_true(allowed(&s, &d) >= less);
	assert_in_range(s.pol->ksm.trust_ppm[KSM_NEWS_BACK], PPM / 2 + 1, PPM);
	scene_close(&s);
}

/* A memd that begins to hold anew counts from what it had; one that began anew from nothing. */
static void test_a_total_that_falls_is_none(void **state)
{
	struct scene s;
	struct ksmd d;

	open_back(&s, &d);
	s.host.ksm.back_bytes = 2 * MIB;
	ksm_scene_run(&s, &d, 1);
	s.host.ksm.full_scans += 3;
	ksm_scene_run(&s, &d, 1);
	s.host.ksm.back_bytes = MIB;
	ksm_scene_run(&s, &d, 1);
	assert_int_equal(waiting(&s), 0);
	s.host.ksm.back_bytes = 3 * MIB;
	ksm_scene_run(&s, &d, 1);
	assert_int_equal(waiting(&s), 2 * MIB);
	s.host.ksm.back_bytes = POL_ABSENT;
	ksm_scene_run(&s, &d, 1);
	assert_int_equal(waiting(&s), 0);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_much_as_swap_and_memory_bear),
		cmocka_unit_test(test_in_calm_alone),
		cmocka_unit_test(test_it_is_waited_for_ksmd),
		cmocka_unit_test(test_less_on_a_short_host),
		cmocka_unit_test(test_very_much_starts_it_at_once),
		cmocka_unit_test(test_it_is_believed_as_far_as_it_brings),
		cmocka_unit_test(test_much_of_it_starts_a_campaign),
		cmocka_unit_test(test_a_total_that_falls_is_none),
	};

	return cmocka_run_group_tests_name("policy_ksm_back", tests, NULL, NULL);
}
