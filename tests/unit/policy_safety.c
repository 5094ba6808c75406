// SPDX-License-Identifier: Apache-2.0
/* Rules that are there for guests that have bad luck, and for clocks and words that are wrong. */
#include "tests/unit/policy_squeeze.h"

#define RESERVE (256 * MIB) /* of a guest of 2 GiB */
#define NEED	(500 * MIB) /* available: below `high`, but still in state high */

/* A clock that goes back stands still: no second is counted twice, and no time is huge. */
static void test_clock_that_goes_back(void **state)
{
	struct scene s;
	uint64_t before;

	(void)state;
	scene_open(&s, 2);
	scene_settle(&s);
	before = s.now_us;
	s.now_us -= 100 * SEC;
	scene_step(&s);
	assert_int_equal(s.pol->tick.now_us, before);
	assert_int_equal(s.pol->tick.dt_us, 0);
	assert_int_equal(s.plan->n_actions, 0);
	s.now_us = before;
	scene_step(&s);
	assert_int_equal(s.pol->tick.dt_us, SEC);
	scene_close(&s);
}

/* What balloons return meanwhile hides how fast the others take memory up: it is added back. */
static void test_fall_behind_a_balloon(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s, 2);
	s.host.available_bytes = 500 * MIB;
	scene_run(&s, 15);
	assert_true(s.guests[0].target_bytes < s.guests[0].actual_bytes);
	for (int t = 0; t < 4; t++) {
		squeeze(&s, 1, s.guests[0].actual_bytes - 40 * MIB, 1000 * MIB);
		s.guests[0].stat_age_us = 2 * SEC;
		scene_step(&s);
	}
	/* 40 MiB/s came, and what is available has not risen: somebody takes as much. */
	assert_in_range(s.plan->fall_bytes_per_s, 20 * MIB, 45 * MIB);
	scene_close(&s);
}

/* A guest whose size is changed by someone else: its target follows, and it is left alone. */
static void test_moved_by_someone_else(void **state)
{
	struct scene s;
	const struct pol_action *a;
	uint64_t moved;

	(void)state;
	scene_open(&s, 1);
	s.obey = true;
	s.host.available_bytes = NEED;
	scene_settle(&s);
	assert_true(s.guests[0].actual_bytes < 1800 * MIB);
	moved = s.guests[0].actual_bytes + 200 * MIB;
	squeeze(&s, 1, moved, 1000 * MIB);
	s.host.available_bytes = NEED;
	scene_step(&s);
	a = scene_action(&s, 1);
	assert_non_null(a);
	assert_int_equal(a->reason, POL_WHY_RELEASE);
	assert_int_equal(a->to, moved);
	assert_true(a->from < a->to);
	for (int t = 0; t < 28; t++) {
		s.host.available_bytes = NEED;
		scene_step(&s);
		assert_null(scene_action(&s, 1));
	}
	for (int t = 0; t < 5; t++) {
		s.host.available_bytes = NEED;
		scene_step(&s);
	}
	assert_true(s.guests[0].actual_bytes < moved);
	scene_close(&s);
}

/* A guest that was restarted is starting what it is there for: nothing is taken for a while. */
static void test_restarted_guest_is_young(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s, 1);
	s.guests[0].stat_major_faults = 1000;
	scene_settle(&s);
	s.guests[0].stat_major_faults = 5;
	s.host.available_bytes = NEED;
	for (int t = 0; t < 10; t++) {
		s.guests[0].stat_cache_bytes++;
		scene_step(&s);
		assert_null(scene_action(&s, 1));
	}
	scene_run(&s, 5);
	assert_true(s.guests[0].target_bytes < 2 * GIB);
	scene_close(&s);
}

/* It took all of its balloon back at once, for want of memory: that holds as long as any trouble.
 */
static void test_emptied_balloon_is_trouble(void **state)
{
	for (int oom = 0; oom < 2; oom++) {
		struct scene s;

		scene_open(&s, 1);
		s.obey = true;
		s.guests[0].deflate_on_oom = oom;
		scene_settle(&s);
		for (int i = 0; i < 20; i++) {
			s.host.available_bytes = NEED;
			scene_step(&s);
		}
		assert_true(s.guests[0].actual_bytes < 2 * GIB - 64 * MIB);
		s.guests[0].actual_bytes = 2 * GIB;
		scene_step(&s);
		assert_int_equal(s.pol->past[0].hold_us - s.now_us,
				 oom ? s.config.trouble_hold_us : 30 * SEC);
		scene_close(&s);
	}
}

/* To send no numbers is neither to be rich nor to be poor: such a guest uses all it has. */
static void test_silence_is_not_taxed(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s, 3);
	for (uint64_t id = 1; id <= 3; id++)
		squeeze(&s, id, GIB, 300 * MIB);
	s.guests[1].stat_age_us = POL_ABSENT;
	s.host.available_bytes = 100 * MIB;
	scene_run(&s, 3);
	assert_int_equal(scene_view(&s, 2)->trust, POL_TRUST_ABSENT);
	assert_true(scene_view(&s, 2)->entitled_bytes > scene_view(&s, 1)->entitled_bytes);
	scene_close(&s);
}

/* More than its share is lent to a guest that is seen to use what it has, not to one that says so.
 * What others leave of their shares is there in both cases. */
static void test_lent_not_on_its_word(void **state)
{
	static const uint64_t resident[] = {1900 * MIB, 900 * MIB};
	struct scene s;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		const struct pol_action *a;
		uint64_t left = 0;

		scene_open(&s, 5);
		for (uint64_t id = 2; id <= 5; id++)
			squeeze(&s, id, 400 * MIB, 200 * MIB);
		squeeze(&s, 1, 1900 * MIB, 300 * MIB);
		s.host.available_bytes = 200 * MIB;
		scene_run(&s, 3);
		squeeze(&s, 1, s.guests[0].actual_bytes, 10 * MIB);
		s.guests[0].resident_bytes = resident[i];
		scene_step(&s);
		assert_int_equal(s.plan->state, POL_STATE_HARD);
		for (uint64_t id = 2; id <= 5; id++)
			left += sub_sat(scene_view(&s, id)->entitled_bytes, 400 * MIB);
		assert_true(left > 8 * MIB);
		a = scene_action(&s, 1);
		if (i == 0)
			assert_true(a && a->to > a->from);
		else
			assert_true(!a || a->to <= max_u64(a->entitled_bytes, a->from));
		scene_close(&s);
	}
}

/* Who is in trouble comes first in the plan, whatever its number. */
static void test_trouble_comes_first(void **state)
{
	struct scene s;
	const struct pol_action *first = NULL;

	(void)state;
	scene_open(&s, 3);
	for (uint64_t id = 1; id <= 3; id++)
		squeeze(&s, id, GIB, 600 * MIB);
	s.host.available_bytes = 3 * GIB;
	scene_run(&s, 12);
	squeeze(&s, 1, s.guests[0].actual_bytes, 50 * MIB);
	s.guests[2].stat_oom_kills++;
	scene_step(&s);
	for (size_t i = 0; i < s.plan->n_actions && !first; i++)
		if (s.plan->actions[i].kind == POL_BALLOON)
			first = &s.plan->actions[i];
	assert_non_null(first);
	assert_int_equal(first->guest, 3);
	assert_int_equal(first->reason, POL_WHY_TROUBLE);
	assert_non_null(scene_action(&s, 1));
	assert_int_equal(scene_action(&s, 1)->reason, POL_WHY_GUEST_NEEDS);
	scene_close(&s);
}

/* A guest is given to before it is down to half of its reserve, and not only when the host is well
 * again. */
static void test_given_below_three_quarters_of_the_reserve(void **state)
{
	struct scene s;

	(void)state;
	for (uint64_t eighths = 5; eighths <= 7; eighths += 2) {
		scene_open(&s, 1);
		squeeze(&s, 1, GIB, RESERVE * eighths / 8);
		s.host.available_bytes = 900 * MIB;
		scene_run(&s, 3);
		assert_int_equal(s.guests[0].target_bytes != POL_ABSENT, eighths < 6);
		scene_close(&s);
	}
}

/* On a host with 300 MiB left: one guest that is below its reserve, one that has next to nothing.
 */
static void open_needy(struct scene *s, bool urgent)
{
	scene_open(s, 2);
	for (uint64_t id = 1; id <= 2; id++)
		squeeze(s, id, GIB, 400 * MIB);
	s->host.available_bytes = 2 * GIB;
	scene_run(s, 12);
	squeeze(s, 1, s->guests[0].actual_bytes, 150 * MIB);
	if (urgent)
		squeeze(s, 2, s->guests[1].actual_bytes, 10 * MIB);
	s->host.available_bytes = 300 * MIB;
	scene_step(s);
}

static uint64_t given(const struct scene *s, uint64_t id)
{
	const struct pol_action *a = scene_action(s, id);

	return a ? sub_sat(a->to, a->from) : 0;
}

/* What is given to a guest in need leaves the host what it needs itself. */
static void test_grants_leave_the_host_something(void **state)
{
	struct scene s;

	(void)state;
	open_needy(&s, false);
	assert_in_range(given(&s, 1), 16 * MIB, 300 * MIB - s.plan->hard_bytes);
	scene_close(&s);
}

/* Of what is there the guest with next to nothing gets all, whatever its number. */
static void test_urgent_need_comes_first(void **state)
{
	struct scene s;

	(void)state;
	open_needy(&s, true);
	assert_in_range(given(&s, 2), 300 * MIB - s.plan->low_bytes, 300 * MIB);
	scene_close(&s);
}

/* Who was given memory, and uses it, is not taken from right after. */
static void test_gifts_are_left_for_a_while(void **state)
{
	struct scene s;
	uint64_t size;

	(void)state;
	scene_open(&s, 1);
	squeeze(&s, 1, GIB, 400 * MIB);
	s.host.available_bytes = 3 * GIB;
	scene_run(&s, 12);
	s.obey = true;
	squeeze(&s, 1, GIB, 100 * MIB);
	scene_step(&s);
	assert_true(given(&s, 1) > 100 * MIB);
	size = s.guests[0].actual_bytes;
	squeeze(&s, 1, size, RESERVE + 80 * MIB); /* it uses nearly all of that */
	for (int t = 0; t < 45; t++) {
		s.host.available_bytes = NEED;
		s.guests[0].stat_cache_bytes ^= 4096;
		scene_step(&s);
		assert_true(s.guests[0].actual_bytes >= size);
	}
	for (int t = 0; t < 60; t++) {
		s.host.available_bytes = NEED;
		s.guests[0].stat_cache_bytes ^= 4096;
		scene_step(&s);
	}
	assert_true(s.guests[0].actual_bytes < size);
	scene_close(&s);
}

/* Quiet does not let ksmd save up more than a minute's share of a core. */
static void test_ksm_allowance_is_a_minute(void **state)
{
	struct scene s;

	(void)state;
	scene_open_ksm(&s, 2);
	s.host.ksm.cpu_us = 0;
	scene_run(&s, 600);
	assert_int_equal(s.pol->ksm.left_us, 60 * SEC * s.config.ksm_cpu_ppm / PPM);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock_that_goes_back),
		cmocka_unit_test(test_fall_behind_a_balloon),
		cmocka_unit_test(test_moved_by_someone_else),
		cmocka_unit_test(test_restarted_guest_is_young),
		cmocka_unit_test(test_emptied_balloon_is_trouble),
		cmocka_unit_test(test_silence_is_not_taxed),
		cmocka_unit_test(test_lent_not_on_its_word),
		cmocka_unit_test(test_trouble_comes_first),
		cmocka_unit_test(test_given_below_three_quarters_of_the_reserve),
		cmocka_unit_test(test_grants_leave_the_host_something),
		cmocka_unit_test(test_urgent_need_comes_first),
		cmocka_unit_test(test_gifts_are_left_for_a_while),
		cmocka_unit_test(test_ksm_allowance_is_a_minute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
