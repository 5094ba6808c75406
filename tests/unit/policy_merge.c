// SPDX-License-Identifier: Apache-2.0
/*
 * Where KSM may merge: trust domains take turns, and a guest is unmerged only when it fits.
 */
#include "tests/unit/merge_scene.h"

static void test_one_domain_is_left_as_it_is(void **state)
{
	struct scene s;

	merge_scene_open(&s, 3);
	for (int t = 0; t < 100; t++) {
		merge_scene_run(&s, 1);
		assert_int_equal(merge_scene_count(&s, POL_MERGE), 0);
		assert_int_equal(merge_scene_count(&s, POL_KSM_NODES), 0);
	}
	assert_int_equal(s.host.ksm.run, 1);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_COMMON);
	assert_false(s.plan->merge.stopped);
	scene_close(&s);
}

/* The first look finds KSM at work on two domains: it is stopped before anything else. */
static void test_stopped_at_once_then_sorted(void **state)
{
	struct scene s;

	merge_scene_open(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].memory_bytes = s.guests[1].actual_bytes = GIB; /* expected to bring less */
	s.guests[1].resident_bytes = GIB;
	s.host.ksm.run = 1;
	scene_step(&s);
	assert_int_equal(s.plan->actions[0].kind, POL_KSM_RUN);
	assert_int_equal(s.plan->actions[0].to, 0);
	assert_int_equal(s.plan->actions[0].reason, POL_WHY_DOMAIN_UNSORTED);
	assert_int_equal(s.plan->actions[1].kind, POL_MERGE);
	assert_int_equal(s.plan->actions[1].guest, 2);
	assert_int_equal(s.plan->actions[1].to, 0);
	assert_int_equal(s.plan->actions[1].reason, POL_WHY_DOMAIN_OTHER);
	assert_true(s.plan->merge.stopped);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_TURNS);
	merge_scene_follow(&s);
	/* Told off, but the kernel has not been looked at yet. */
	merge_scene_run(&s, 1);
	assert_int_equal(s.host.ksm.run, 0);
	merge_scene_run(&s, 2);
	assert_int_equal(s.host.ksm.run, 1);
	assert_false(s.plan->merge.stopped);
	assert_true(s.plan->merge.has_domain);
	assert_int_equal(s.plan->merge.domain, 0);
	assert_int_equal(scene_view(&s, 2)->merge_off, POL_WHY_DOMAIN_OTHER);
	assert_int_equal(scene_view(&s, 1)->merge_off, POL_WHY_NONE);
	scene_close(&s);
}

static void test_unmerging_that_does_not_fit_is_refused(void **state)
{
	struct scene s;

	merge_scene_open(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].resident_bytes = GIB;
	s.guests[1].merging_bytes = 512 * MIB;
	s.host.available_bytes = 900 * MIB; /* of which 640 MiB are wanted free */
	s.host.ksm.run = 1;
	merge_scene_run(&s, 30);
	assert_true(s.guests[1].merge_on);
	assert_int_equal(s.host.ksm.run, 0);
	assert_true(s.plan->merge.stopped);
	assert_int_equal(s.plan->merge.why, POL_WHY_NOT_FIT);
	assert_int_equal(s.plan->merge.guest, 2);
	assert_true(scene_view(&s, 2)->merge_refused);
	/* Room comes. */
	s.host.available_bytes = 1300 * MIB;
	merge_scene_run(&s, 20);
	assert_false(s.guests[1].merge_on);
	assert_int_equal(s.host.ksm.run, 1);
	assert_false(scene_view(&s, 2)->merge_refused);
	scene_close(&s);
}

/* Two that fit one by one, but not both. */
static void test_room_is_used_once(void **state)
{
	struct scene s;

	merge_scene_open(&s, 3);
	s.guests[1].domain = s.guests[2].domain = 1;
	s.guests[1].resident_bytes = s.guests[2].resident_bytes = 256 * MIB;
	s.guests[1].merging_bytes = s.guests[2].merging_bytes = 400 * MIB;
	s.host.available_bytes = 640 * MIB + 500 * MIB;
	scene_step(&s);
	assert_int_equal(merge_scene_count(&s, POL_MERGE), 1);
	scene_close(&s);
}

static void test_one_that_cannot_be_switched_off(void **state)
{
	struct scene s;

	merge_scene_open(&s, 2);
	merge_scene_run(&s, 5);
	assert_int_equal(s.host.ksm.run, 1);
	s.guests[0].merging_bytes = GIB;
	s.guests[1].domain = 1;
	s.guests[0].domain = 2;
	s.guests[1].merge_switch = false;
	/* One of them has the turn from the start: it is the one that leaves no choice. */
	merge_scene_run(&s, 10);
	assert_int_equal(s.host.ksm.run, 1);
	assert_int_equal(s.plan->merge.domain, 1);
	assert_false(s.guests[0].merge_on);
	/* Neither of two can. */
	s.guests[0].merge_switch = false;
	s.guests[0].merge_on = true;
	merge_scene_run(&s, 10);
	assert_int_equal(s.host.ksm.run, 0);
	assert_int_equal(s.plan->merge.why, POL_WHY_DOMAIN_STUCK);
	assert_int_equal(s.plan->merge.guest, 1);
	scene_close(&s);
}

/* A guest whose monitor hangs is asked when it answers again; until then KSM stands still. */
static unsigned int active(const struct scene *s)
{
	assert_true(s->plan->merge.has_domain);
	return s->plan->merge.domain;
}

/* As QEMU's: switched off, its firmware stays marked. Guests listed in `marked` are like that. */
static void run_with_firmware(struct scene *s, unsigned int marked, unsigned int ticks)
{
	while (ticks--) {
		merge_scene_run(s, 1);
		for (size_t i = 0; i < s->host.n_guests; i++)
			if (marked & 1u << i && s->guests[i].marked_bytes == 0)
				s->guests[i].marked_bytes = 768 * KIB;
	}
}

/* One whose firmware stays marked has the turn for good; with two of different domains KSM stands
 * still, one of them is named, and they are not switched to and fro. */
static void test_firmware_that_stays_marked(void **state)
{
	for (unsigned int marked = 1; marked < 4; marked++) {
		unsigned int orders = 0;
		struct scene s;

		merge_scene_open(&s, 2);
		s.guests[0].domain = 1;
		s.guests[1].domain = 2;
		run_with_firmware(&s, marked, 60);
		assert_int_equal(s.host.ksm.run == 1, marked != 3);
		if (marked == 3) {
			assert_true(s.plan->merge.stopped);
			assert_int_equal(s.plan->merge.why, POL_WHY_DOMAIN_STUCK);
			assert_true(s.plan->merge.guest && s.plan->merge.guest != active(&s));
		} else {
			assert_int_equal(s.plan->merge.domain, marked);
			assert_true(s.guests[marked - 1].merge_on);
		}
		/* That it stays marked is learned when it is off: at the next turn. */
		run_with_firmware(&s, marked, 700);
		for (int t = 0; t < 2000; t++) {
			run_with_firmware(&s, marked, 1);
			orders += merge_scene_count(&s, POL_MERGE);
		}
		assert_int_equal(orders, 0);
		assert_int_equal(s.host.ksm.run == 1, marked != 3);
		scene_close(&s);
	}
}

static void test_one_that_does_not_answer(void **state)
{
	struct scene s;

	merge_scene_open(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].resident_bytes = GIB;
	s.guests[1].answering = false;
	s.host.ksm.run = 1;
	for (int t = 0; t < 30; t++) {
		merge_scene_run(&s, 1);
		assert_int_equal(merge_scene_count(&s, POL_MERGE), 0);
		assert_int_equal(s.host.ksm.run, 0);
	}
	assert_int_equal(s.plan->merge.why, POL_WHY_DOMAIN_STUCK);
	s.guests[1].answering = true;
	merge_scene_run(&s, 5);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

static void test_unsorted_guest_stops_it(void **state)
{
	struct scene s;

	merge_scene_open(&s, 1);
	merge_scene_run(&s, 5);
	assert_int_equal(s.host.ksm.run, 1);
	s.host.ksm.unsorted = true;
	merge_scene_run(&s, 1);
	assert_int_equal(s.host.ksm.run, 0);
	s.host.ksm.unsorted = false;
	merge_scene_run(&s, 1);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

/* The turn goes to who brings clearly more, not before it has lasted, and not back and forth. */
static void test_turns_by_gain_with_hysteresis(void **state)
{
	struct scene s;
	unsigned int turns = 0, now;

	merge_scene_open(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].resident_bytes = 2 * GIB - MIB;
	merge_scene_run(&s, 5);
	assert_int_equal(active(&s), 0);
	/* Domain 0 saves next to nothing; what 1 would is not known and expected to be more. */
	s.guests[0].ksm_bytes = s.guests[0].merging_bytes = 2 * MIB;
	merge_scene_run(&s, 500);
	assert_int_equal(active(&s), 0);
	merge_scene_run(&s, 200);
	assert_int_equal(active(&s), 1);
	assert_false(s.guests[0].merge_on);
	assert_true(s.guests[1].merge_on);
	/* It does bring more; and a little less than twice as much is no reason to go back. */
	s.guests[1].ksm_bytes = s.guests[1].merging_bytes = 300 * MIB;
	for (now = 1; turns < 3000; turns++) {
		merge_scene_run(&s, 1);
		now += active(&s) != 1;
	}
	assert_int_equal(now, 1);
	scene_close(&s);
}

/* A turn ends only when what it has merged can be unmerged. */
static void test_no_turn_that_does_not_fit(void **state)
{
	struct scene s;

	merge_scene_open(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].resident_bytes = 2 * GIB - MIB;
	merge_scene_run(&s, 5);
	s.guests[0].ksm_bytes = 2 * MIB;
	s.guests[0].merging_bytes = GIB;
	s.host.available_bytes = GIB;
	merge_scene_run(&s, 1500);
	assert_int_equal(active(&s), 0);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

static void test_a_domain_that_leaves_frees_the_turn(void **state)
{
	struct scene s;

	merge_scene_open(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].resident_bytes = GIB;
	merge_scene_run(&s, 10);
	assert_int_equal(active(&s), 0);
	s.guests[0] = s.guests[1];
	s.host.n_guests = 1;
	merge_scene_run(&s, 5);
	assert_true(s.guests[0].merge_on);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_COMMON);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

static void test_ksm_of_others_is_left_alone(void **state)
{
	struct scene s;

	merge_scene_open(&s, 2);
	s.guests[1].domain = 1;
	s.config.ksm_manage = false;
	pol_configure(s.pol, &s.config);
	s.host.ksm.run = 1;
	scene_run(&s, 10);
	assert_int_equal(s.plan->n_actions, 0);
	scene_close(&s);
}

/* KSM keeps watch only; then more of a guest becomes mergeable: it is at it again. */
static void test_more_of_a_guest_is_new(void **state)
{
	struct scene s;

	merge_scene_open(&s, 1);
	s.guests[0].memory_bytes = 64 * MIB; /* what the scene marks of it */
	merge_scene_run(&s, 5);
	for (int t = 0; t < 60; t++) {
		s.host.ksm.full_scans++;
		s.host.ksm.cpu_us += 100000;
		merge_scene_run(&s, 1);
	}
	assert_true(s.pol->ksm.exhausted);
	s.guests[0].memory_bytes = 72 * MIB; /* a little more is no news */
	merge_scene_run(&s, 3);
	assert_true(s.pol->ksm.exhausted);
	s.guests[0].memory_bytes = 256 * MIB;
	merge_scene_run(&s, 3);
	assert_false(s.pol->ksm.exhausted);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_domain_is_left_as_it_is),
		cmocka_unit_test(test_stopped_at_once_then_sorted),
		cmocka_unit_test(test_unmerging_that_does_not_fit_is_refused),
		cmocka_unit_test(test_room_is_used_once),
		cmocka_unit_test(test_one_that_cannot_be_switched_off),
		cmocka_unit_test(test_firmware_that_stays_marked),
		cmocka_unit_test(test_one_that_does_not_answer),
		cmocka_unit_test(test_unsorted_guest_stops_it),
		cmocka_unit_test(test_turns_by_gain_with_hysteresis),
		cmocka_unit_test(test_no_turn_that_does_not_fit),
		cmocka_unit_test(test_a_domain_that_leaves_frees_the_turn),
		cmocka_unit_test(test_ksm_of_others_is_left_alone),
		cmocka_unit_test(test_more_of_a_guest_is_new),
	};

	return cmocka_run_group_tests_name("policy_merge", tests, NULL, NULL);
}
