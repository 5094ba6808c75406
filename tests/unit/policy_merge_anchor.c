// SPDX-License-Identifier: Apache-2.0
/* When merged pages are to be kept in memory. */
#include "tests/unit/merge_scene.h"

/* A host that merges and swaps, a quarter of it available. */
static void open_short(struct scene *s)
{
	merge_scene_open(s, 3);
	s->host.ksm.run = 1;
	s->host.swap_bytes = s->host.swap_free_bytes = 4 * GIB;
	s->host.available_bytes = s->host.free_bytes = s->host.memory_bytes / 4;
}

static uint64_t anchored(struct scene *s)
{
	scene_step(s);
	return s->plan->merge.anchor_bytes;
}

static void test_where_the_kernel_swaps(void **state)
{
	struct scene s;

	open_short(&s);
	assert_int_equal(anchored(&s), s.host.memory_bytes / 16 < 512 * MIB
					       ? s.host.memory_bytes / 16
					       : 512 * MIB);
	assert_true(s.plan->merge.anchor_grows);
	/* While ksmd stands still it is left as it is. */
	s.host.ksm.run = 0;
	assert_int_not_equal(anchored(&s), 0);
	assert_false(s.plan->merge.anchor_grows);
	s.host.ksm.run = 1;
	s.host.ksm.unsorted = true;
	assert_int_not_equal(anchored(&s), 0);
	assert_false(s.plan->merge.anchor_grows);
	s.host.ksm.unsorted = false;
	s.host.ksm.run = 1;
	assert_int_not_equal(anchored(&s), 0);
	assert_true(s.plan->merge.anchor_grows);
	/* When all is unmerged it would be ours alone. */
	s.host.ksm.run = 2;
	assert_int_equal(anchored(&s), 0);
	s.host.ksm.run = 1;
	assert_int_not_equal(anchored(&s), 0);
	s.host.swap_bytes = 0;
	assert_int_equal(anchored(&s), 0);
	s.host.swap_bytes = POL_ABSENT;
	assert_int_equal(anchored(&s), 0);
	scene_close(&s);
}

static void test_only_where_memory_is_used(void **state)
{
	struct scene s;

	open_short(&s);
	s.host.available_bytes = s.host.free_bytes = s.host.memory_bytes / 8 * 5;
	assert_int_equal(anchored(&s), 0);
	s.host.available_bytes = s.host.free_bytes = s.host.memory_bytes / 8 * 3;
	assert_int_not_equal(anchored(&s), 0);
	/* Not to and fro. */
	s.host.available_bytes = s.host.free_bytes = s.host.memory_bytes / 8 * 5;
	assert_int_not_equal(anchored(&s), 0);
	s.host.available_bytes = s.host.free_bytes = s.host.memory_bytes / 8 * 7;
	assert_int_equal(anchored(&s), 0);
	scene_close(&s);
}

/* A page held for one domain would be merged with another's. */
static void test_not_across_domains(void **state)
{
	struct scene s;

	open_short(&s);
	assert_int_not_equal(anchored(&s), 0);
	s.guests[1].domain = 1;
	assert_int_equal(anchored(&s), 0);
	for (int t = 0; t < 100; t++) {
		merge_scene_run(&s, 1);
		assert_int_equal(s.plan->merge.anchor_bytes, 0);
	}
	scene_close(&s);
}

/* Nor is it when one domain's last guest goes and another's first one comes. */
static void test_not_for_another_domain(void **state)
{
	for (int gap = 0; gap < 2; gap++) {
		struct scene s;

		open_short(&s);
		assert_int_not_equal(anchored(&s), 0);
		if (gap) {
			s.host.n_guests = 0;
			assert_int_equal(anchored(&s), 0);
			s.host.n_guests = 3;
		}
		for (size_t i = 0; i < 3; i++) {
			s.guests[i].id += 10;
			s.guests[i].domain = 1;
		}
		if (!gap)
			assert_int_equal(anchored(&s), 0);
		assert_int_not_equal(anchored(&s), 0);
		scene_close(&s);
	}
}

/* With a tree per node a copy is merged with one node's pages only. */
static void test_not_by_nodes(void **state)
{
	struct scene s;

	open_short(&s);
	s.host.ksm.across_nodes = 0;
	s.host.n_nodes = 1;
	assert_int_not_equal(anchored(&s), 0);
	s.host.n_nodes = 2;
	assert_int_equal(anchored(&s), 0);
	scene_close(&s);
}

static void test_is_a_setting(void **state)
{
	struct scene s;

	open_short(&s);
	s.config.ksm_anchor = false;
	pol_configure(s.pol, &s.config);
	assert_int_equal(anchored(&s), 0);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_where_the_kernel_swaps),
		cmocka_unit_test(test_only_where_memory_is_used),
		cmocka_unit_test(test_not_across_domains),
		cmocka_unit_test(test_not_for_another_domain),
		cmocka_unit_test(test_not_by_nodes),
		cmocka_unit_test(test_is_a_setting),
	};

	return cmocka_run_group_tests_name("policy_merge_anchor", tests, NULL, NULL);
}
