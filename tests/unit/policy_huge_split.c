// SPDX-License-Identifier: Apache-2.0
/* When guests' huge pages are better split. */
#include "tests/unit/policy_scene.h"

static bool is_split(uint64_t available, uint64_t swapped, bool on)
{
	struct scene s;
	bool split;

	scene_open(&s, 1);
	s.config.huge_split = on;
	pol_configure(s.pol, &s.config);
	s.host.swap_bytes = 4 * GIB;
	s.host.swap_free_bytes = GIB; /* others' is no reason */
	s.guests[0].swapped_bytes = swapped;
	s.host.available_bytes = available;
	scene_step(&s);
	split = s.plan->split_huge;
	scene_close(&s);
	return split;
}

static void test_in_want_while_the_kernel_swaps(void **state)
{
	/* Of 8 GiB. */
	assert_true(is_split(40 * MIB, GIB, true));
	assert_false(is_split(40 * MIB, GIB, false));
	assert_false(is_split(40 * MIB, 500 * MIB, true));
	assert_true(is_split(40 * MIB, 512 * MIB, true));
	/* What is in swap may be left of another time. */
	assert_false(is_split(4 * GIB, GIB, true));
	assert_false(is_split(400 * MIB, GIB, true));
}

static void test_with_little_swap(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	s.host.swap_bytes = s.host.swap_free_bytes = 0;
	s.host.available_bytes = 40 * MIB;
	scene_step(&s);
	assert_false(s.plan->split_huge);
	s.host.swap_bytes = s.host.swap_free_bytes = POL_ABSENT;
	s.guests[0].swapped_bytes = POL_ABSENT;
	scene_step(&s);
	assert_false(s.plan->split_huge);
	/* A little of it: a quarter. */
	s.host.swap_bytes = GIB;
	s.host.swap_free_bytes = 0;
	s.guests[0].swapped_bytes = 250 * MIB;
	scene_step(&s);
	assert_false(s.plan->split_huge);
	s.guests[0].swapped_bytes = 256 * MIB;
	scene_step(&s);
	assert_true(s.plan->split_huge);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_want_while_the_kernel_swaps),
		cmocka_unit_test(test_with_little_swap),
	};

	return cmocka_run_group_tests_name("policy_huge_split", tests, NULL, NULL);
}
