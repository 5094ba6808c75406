// SPDX-License-Identifier: Apache-2.0
/*
 * Pages that guests of different trust domains are seen to share: merged before memd knew of one of
 * them, and of memory that cannot be switched off. The other side is switched off then.
 */
#include "tests/unit/merge_scene.h"

#define FIRMWARE (768 * KIB)

/*
 * Guests 1 and 3 of one domain, merged, and guest 2 of another, whose firmware stays marked. What
 * guest 1 shares with it is shared while guest 1 is on.
 */
static void follow(struct scene *s, uint64_t shared, unsigned int ticks)
{
	while (ticks--) {
		struct pol_guest *green = scene_find(s, 2);

		merge_scene_run(s, 1);
		if (green && green->marked_bytes == 0)
			green->marked_bytes = FIRMWARE;
		for (size_t i = 0; i < s->host.n_guests; i++)
			s->guests[i].crossed_bytes = 0;
		if (green && s->guests[0].merge_on)
			green->crossed_bytes = s->guests[0].crossed_bytes = shared;
	}
}

static void begin(struct scene *s)
{
	merge_scene_open(s, 3);
	s->guests[1].domain = 1;
	s->guests[1].resident_bytes = GIB;
	s->guests[0].merging_bytes = s->guests[0].ksm_bytes = 100 * MIB;
	s->guests[2].merging_bytes = s->guests[2].ksm_bytes = 100 * MIB;
	s->host.ksm.run = 1;
	follow(s, 0, 20);
	/* Guest 2 is off as far as it can be, and KSM stands still because of it. */
	assert_false(s->guests[1].merge_on);
	assert_true(s->guests[0].merge_on && s->guests[2].merge_on);
	assert_int_equal(s->host.ksm.run, 0);
	assert_int_equal(s->plan->merge.why, POL_WHY_DOMAIN_STUCK);
	assert_int_equal(s->plan->merge.guest, 2);
}

static void test_taken_apart(void **state)
{
	const struct pol_action *order;
	struct scene s;

	begin(&s);
	/* That alone is no reason to lose what is merged. */
	for (int t = 0; t < 100; t++) {
		follow(&s, 0, 1);
		assert_int_equal(merge_scene_count(&s, POL_MERGE), 0);
	}
	follow(&s, 64 * KIB, 11);
	assert_int_equal(merge_scene_count(&s, POL_MERGE), 0);
	follow(&s, 64 * KIB, 1);
	assert_int_equal(merge_scene_count(&s, POL_MERGE), 1);
	order = scene_kind(&s, POL_MERGE);
	assert_int_equal(order->guest, 1);
	assert_int_equal(order->to, 0);
	assert_int_equal(order->reason, POL_WHY_DOMAIN_CROSSED);
	scene_close(&s);
}

/* It stays off, and says why, while KSM stands still; when that is over it is as before. */
static void test_stays_off_until_it_is_safe(void **state)
{
	struct scene s;

	begin(&s);
	follow(&s, 64 * KIB, 20);
	assert_false(s.guests[0].merge_on);
	for (int t = 0; t < 1000; t++) {
		follow(&s, 64 * KIB, 1);
		assert_int_equal(merge_scene_count(&s, POL_MERGE), 0);
		assert_int_equal(scene_view(&s, 1)->merge_off, POL_WHY_DOMAIN_CROSSED);
		assert_int_equal(scene_view(&s, 3)->merge_off, POL_WHY_NONE);
		assert_int_equal(s.host.ksm.run, 0);
	}
	assert_true(s.guests[2].merge_on);
	s.guests[1] = s.guests[2];
	s.host.n_guests = 2;
	follow(&s, 0, 5);
	assert_true(s.guests[0].merge_on && s.guests[1].merge_on);
	assert_int_equal(scene_view(&s, 1)->merge_off, POL_WHY_NONE);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

static void test_only_what_fits(void **state)
{
	struct scene s;

	begin(&s);
	s.host.available_bytes = 640 * MIB + 50 * MIB; /* 640 MiB are wanted free */
	follow(&s, 64 * KIB, 60);
	assert_true(s.guests[0].merge_on);
	assert_true(scene_view(&s, 1)->merge_refused);
	s.host.available_bytes = 640 * MIB + 150 * MIB;
	follow(&s, 64 * KIB, 2);
	assert_false(s.guests[0].merge_on);
	assert_false(scene_view(&s, 1)->merge_refused);
	scene_close(&s);
}

/* What is gone as soon as those that are told off in any case have followed. */
static void test_those_told_off_get_time(void **state)
{
	struct scene s;

	begin(&s);
	for (int round = 0; round < 5; round++) {
		follow(&s, 64 * KIB, 9);
		follow(&s, 0, 3);
	}
	assert_true(s.guests[0].merge_on);
	scene_close(&s);
}

/* A look that is none, or while KSM is at work, tells nothing. */
static void test_not_looked_at(void **state)
{
	struct scene s;

	begin(&s);
	follow(&s, POL_ABSENT, 100);
	assert_true(s.guests[0].merge_on);
	scene_close(&s);

	merge_scene_open(&s, 2);
	follow(&s, 64 * KIB, 100);
	assert_true(s.guests[0].merge_on && s.guests[1].merge_on);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

/* Neither of two can be switched off altogether: there is nothing more to do, nor to be asked. */
static void test_of_two_that_cannot(void **state)
{
	struct scene s;

	begin(&s);
	for (int t = 0; t < 200; t++) {
		follow(&s, 64 * KIB, 1);
		if (s.guests[0].marked_bytes == 0)
			s.guests[0].marked_bytes = FIRMWARE;
		s.guests[0].crossed_bytes = s.guests[1].crossed_bytes = 64 * KIB;
		if (t > 20)
			assert_int_equal(merge_scene_count(&s, POL_MERGE), 0);
	}
	assert_false(s.guests[0].merge_on);
	assert_int_equal(s.host.ksm.run, 0);
	scene_close(&s);
}

/* With a tree per node neither has the turn: both go off, and come back when they lie apart. */
static void test_on_nodes(void **state)
{
	struct scene s;

	merge_scene_open(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].bound_mask = s.guests[1].seen_mask = 2;
	follow(&s, 0, 10);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_NODES);
	assert_int_equal(s.host.ksm.run, 1);
	s.guests[1].seen_mask = 3;
	for (int t = 0; t < 12; t++) {
		assert_true(s.guests[0].merge_on && s.guests[1].merge_on);
		merge_scene_run(&s, 1);
		assert_int_equal(s.host.ksm.run, 0);
		s.guests[0].crossed_bytes = s.guests[1].crossed_bytes = 8 * KIB;
	}
	assert_int_equal(s.plan->merge.mode, POL_MERGE_NODES);
	for (size_t i = 0; i < 2; i++) {
		assert_false(s.guests[i].merge_on);
		assert_int_equal(scene_view(&s, i + 1)->merge_off, POL_WHY_DOMAIN_CROSSED);
		s.guests[i].crossed_bytes = 0;
	}
	merge_scene_run(&s, 10);
	assert_false(s.guests[0].merge_on || s.guests[1].merge_on);
	s.guests[1].seen_mask = 2;
	merge_scene_run(&s, 5);
	assert_true(s.guests[0].merge_on && s.guests[1].merge_on);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken_apart),
		cmocka_unit_test(test_stays_off_until_it_is_safe),
		cmocka_unit_test(test_only_what_fits),
		cmocka_unit_test(test_those_told_off_get_time),
		cmocka_unit_test(test_not_looked_at),
		cmocka_unit_test(test_of_two_that_cannot),
		cmocka_unit_test(test_on_nodes),
	};

	return cmocka_run_group_tests_name("policy_merge_crossed", tests, NULL, NULL);
}
