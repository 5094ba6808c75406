// SPDX-License-Identifier: Apache-2.0
/* What a host with plenty gives back to guests: late, slowly, and no more than it can bear. */
#include "tests/unit/policy_squeeze.h"

#define RESERVE (256 * MIB)

static void test_plenty_is_given_back_slowly_after_a_time(void **state)
{
	struct scene s;
	unsigned int first = 0, last = 0;

	scene_open(&s, 2);
	s.obey = true;
	squeeze(&s, 1, 1400 * MIB, 800 * MIB);
	squeeze(&s, 2, 1400 * MIB, 800 * MIB);
	s.host.available_bytes = 6 * GIB;
	for (unsigned int t = 1; t <= 60; t++) {
		scene_step(&s);
		for (size_t i = 0; i < s.plan->n_actions; i++) {
			assert_int_equal(s.plan->actions[i].reason, POL_WHY_HOST_PLENTY);
			assert_true(s.plan->actions[i].to - s.plan->actions[i].from <= 64 * MIB);
		}
		if (s.plan->n_actions && !first)
			first = t;
		if (s.plan->n_actions)
			last = t;
	}
	assert_in_range(first, 15, 20);
	assert_in_range(last, 30, 55);
	assert_int_equal(s.guests[0].actual_bytes, 2 * GIB);
	assert_int_equal(s.guests[1].actual_bytes, 2 * GIB);
	scene_close(&s);
}

/* A host whose memory is on its way to others has no plenty, however much is left. */
static void test_nothing_is_given_back_while_memory_falls(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	s.obey = true;
	squeeze(&s, 1, 1400 * MIB, 800 * MIB);
	s.host.available_bytes = 4 * GIB;
	for (unsigned int t = 0; t < 40; t++) {
		scene_step(&s);
		for (size_t i = 0; i < s.plan->n_actions; i++)
			assert_true(s.plan->actions[i].to < s.plan->actions[i].from);
		s.host.available_bytes -= 64 * MIB;
	}
	/* It has come to rest at what is still plenty. */
	scene_run(&s, 40);
	assert_true(s.guests[0].actual_bytes > 1400 * MIB);
	scene_close(&s);
}

/* What is given back and unused may be claimed at any time: no more than the host can bear. */
static void test_giving_back_stops_at_what_the_host_can_bear(void **state)
{
	struct scene s;
	uint64_t given = 0;

	scene_open(&s, 3);
	s.obey = true;
	for (uint64_t id = 1; id <= 3; id++)
		squeeze(&s, id, 1400 * MIB, 800 * MIB);
	s.host.available_bytes = 1600 * MIB;
	scene_run(&s, 200);
	for (int i = 0; i < 3; i++)
		given += s.guests[i].actual_bytes - 1400 * MIB;
	assert_in_range(given, 100 * MIB, 1600 * MIB - s.plan->high_bytes);
	assert_int_equal(s.plan->n_actions, 0);
	scene_close(&s);
}

/* Steps from a host with plenty again until something is given back. */
static unsigned int given_after(struct scene *s)
{
	s->host.available_bytes = 6 * GIB;
	for (unsigned int t = 1; t <= 200; t++) {
		scene_step(s);
		if (s->plan->n_actions && s->plan->actions[0].to > s->plan->actions[0].from)
			return t;
	}
	return 0;
}

/* Given back, and needed again before long: the next time it is thought over twice as long. */
static void test_gifts_in_vain_are_not_repeated_so_soon(void **state)
{
	struct scene s;
	unsigned int first, second, third, last;

	scene_open(&s, 2);
	s.obey = true;
	squeeze(&s, 1, 1400 * MIB, 800 * MIB);
	squeeze(&s, 2, 1400 * MIB, 800 * MIB);
	first = given_after(&s);
	s.host.available_bytes = s.plan->hard_bytes;
	scene_run(&s, 40);
	second = given_after(&s);
	s.host.available_bytes = s.plan->hard_bytes;
	scene_run(&s, 40);
	third = given_after(&s);
	assert_in_range(first, 15, 20);
	assert_in_range(second, first + 10, 3 * first);
	assert_in_range(third, second + 20, 3 * second);
	/* This one lasts. */
	scene_run(&s, 400);
	s.host.available_bytes = s.plan->hard_bytes;
	scene_run(&s, 40);
	last = given_after(&s);
	assert_in_range(last, first + 10, second + 5);
	scene_close(&s);
}

static void test_squeezed_guests_are_put_at_ease_when_the_host_is_well(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	s.obey = true;
	squeeze(&s, 1, 880 * MIB, 280 * MIB);
	s.host.available_bytes = 1250 * MIB;
	/* Not at once: what is given soon after a shortage is missing in the next. */
	scene_run(&s, 25);
	assert_int_equal(s.guests[0].actual_bytes, 880 * MIB);
	scene_run(&s, 60);
	assert_in_range(s.guests[0].actual_bytes, 600 * MIB + 2 * RESERVE,
			600 * MIB + 2 * RESERVE + 16 * MIB);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plenty_is_given_back_slowly_after_a_time),
		cmocka_unit_test(test_nothing_is_given_back_while_memory_falls),
		cmocka_unit_test(test_giving_back_stops_at_what_the_host_can_bear),
		cmocka_unit_test(test_gifts_in_vain_are_not_repeated_so_soon),
		cmocka_unit_test(test_squeezed_guests_are_put_at_ease_when_the_host_is_well),
	};

	return cmocka_run_group_tests_name("policy_plenty", tests, NULL, NULL);
}
