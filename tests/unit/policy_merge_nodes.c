// SPDX-License-Identifier: Apache-2.0
/* Trust domains on NUMA nodes of their own, each of which KSM keeps a tree for. */
#include "tests/unit/merge_scene.h"

static void test_apart_on_nodes(void **state)
{
	struct scene s;

	merge_scene_open(&s, 4);
	for (size_t i = 0; i < 4; i++) {
		s.guests[i].domain = i / 2;
		s.guests[i].bound_mask = s.guests[i].seen_mask = 1ull << i / 2;
	}
	scene_step(&s);
	assert_int_equal(merge_scene_count(&s, POL_MERGE), 0);
	assert_non_null(scene_kind(&s, POL_KSM_NODES));
	assert_int_equal(scene_kind(&s, POL_KSM_NODES)->to, 0);
	assert_int_equal(scene_kind(&s, POL_KSM_NODES)->to2, 0);
	merge_scene_follow(&s);
	merge_scene_run(&s, 3);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_NODES);
	assert_int_equal(s.host.ksm.run, 1);
	for (size_t i = 0; i < 4; i++)
		assert_true(s.guests[i].merge_on);

	/* Memory of one that comes to lie on the other's node ends that. */
	s.guests[3].bound_mask = 3;
	merge_scene_run(&s, 1);
	assert_int_equal(s.host.ksm.run, 0);
	merge_scene_run(&s, 5);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_TURNS);
	assert_int_equal(s.host.ksm.run, 1);
	assert_int_equal(s.guests[0].merge_on + s.guests[3].merge_on, 1);
	/* And back. */
	s.guests[3].bound_mask = 2;
	merge_scene_run(&s, 20);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_NODES);
	for (size_t i = 0; i < 4; i++)
		assert_true(s.guests[i].merge_on);
	scene_close(&s);
}

/* What is merged already has to be unmerged before the kernel takes a tree per node. */
static void test_nodes_with_pages_merged(void **state)
{
	for (int fits = 0; fits < 2; fits++) {
		struct scene s;

		merge_scene_open(&s, 2);
		s.guests[1].domain = 1;
		s.guests[1].bound_mask = s.guests[1].seen_mask = 2;
		s.host.ksm.run = 1;
		s.host.ksm.pages_shared = 1000;
		s.host.ksm.pages_sharing = (fits ? 2 : 4) * GIB / PAGE;
		scene_step(&s);
		assert_int_equal(s.host.ksm.run, 0);
		if (fits) {
			assert_int_equal(scene_kind(&s, POL_KSM_NODES)->to2, 1);
			merge_scene_follow(&s);
			assert_int_equal(s.host.ksm.run, 2);
			merge_scene_run(&s, 5);
			assert_int_equal(s.plan->merge.mode, POL_MERGE_NODES);
			assert_int_equal(s.host.ksm.across_nodes, 0);
			assert_int_equal(s.host.ksm.run, 1);
		} else {
			assert_null(scene_kind(&s, POL_KSM_NODES));
			assert_int_equal(s.plan->merge.mode, POL_MERGE_TURNS);
		}
		scene_close(&s);
	}
}

/*
 * Pages that were merged across lie on the other's node until they are unmerged. Those that lie
 * there for another reason end in turns, after a while of waiting for memd to look.
 */
static void test_pages_on_the_other_s_node(void **state)
{
	for (int stay = 0; stay < 2; stay++) {
		struct scene s;

		merge_scene_open(&s, 2);
		s.guests[1].domain = 1;
		s.guests[1].bound_mask = 2;
		s.guests[1].seen_mask = 3;
		s.host.ksm.run = 1;
		s.host.ksm.pages_shared = s.host.ksm.pages_sharing = 1000;
		for (int t = 0; t < 30; t++) {
			merge_scene_run(&s, 1);
			assert_int_not_equal(s.host.ksm.run, 1);
		}
		assert_int_equal(s.host.ksm.across_nodes, 0);
		if (!stay)
			s.guests[1].seen_mask = 2;
		merge_scene_run(&s, 1);
		assert_int_equal(s.host.ksm.run == 1, !stay);
		merge_scene_run(&s, 200);
		assert_int_equal(s.plan->merge.mode, stay ? POL_MERGE_TURNS : POL_MERGE_NODES);
		assert_int_equal(s.host.ksm.run, 1);
		scene_close(&s);
	}
}

static void test_no_tree_per_node_without_numa(void **state)
{
	struct scene s;

	merge_scene_open(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].bound_mask = s.guests[1].seen_mask = 2;
	s.host.ksm.across_nodes = POL_ABSENT;
	merge_scene_run(&s, 10);
	assert_int_equal(s.plan->merge.mode, POL_MERGE_TURNS);
	assert_int_equal(s.guests[0].merge_on + s.guests[1].merge_on, 1);
	scene_close(&s);
}

/* A write that has no effect is not waited for for ever. */
static void test_nodes_refused_means_turns(void **state)
{
	struct scene s;

	merge_scene_open(&s, 2);
	s.guests[1].domain = 1;
	s.guests[1].bound_mask = 2;
	for (int t = 0; t < 30; t++) {
		merge_scene_run(&s, 1);
		s.host.ksm.across_nodes = 1;
	}
	assert_int_equal(s.plan->merge.mode, POL_MERGE_TURNS);
	assert_int_equal(s.guests[0].merge_on + s.guests[1].merge_on, 1);
	assert_int_equal(s.host.ksm.run, 1);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_apart_on_nodes),
		cmocka_unit_test(test_nodes_with_pages_merged),
		cmocka_unit_test(test_pages_on_the_other_s_node),
		cmocka_unit_test(test_no_tree_per_node_without_numa),
		cmocka_unit_test(test_nodes_refused_means_turns),
	};

	return cmocka_run_group_tests_name("policy_merge_nodes", tests, NULL, NULL);
}
