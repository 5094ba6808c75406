// SPDX-License-Identifier: Apache-2.0
/* Where a new guest goes: on one node, over several, or after another has moved. */
#include <errno.h>

#include "tests/unit/policy_nodes.h"

static struct pol_place place(const struct scene *s, struct pol_place_want want)
{
	struct pol_place out;

	assert_int_equal(pol_place(&s->config, &s->host, &want, &out), 0);
	return out;
}

static void test_place_in_one_node(void **state)
{
	struct scene s;
	struct pol_place p;

	open_scene(&s, 1);
	s.host.nodes[1].free_bytes = 5 * GIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 4 * GIB, .cpus = 4});
	assert_int_equal(p.why, POL_PLACE_OK);
	assert_int_equal(p.nodes, 1);
	assert_int_equal(p.bytes[0], 4 * GIB);
	assert_int_equal(p.move_guest, 0);
	assert_false(p.crowded);
	/* The reserve of node 0 stays: 4 % of 8 GiB. */
	s.host.nodes[0].free_bytes = 4 * GIB + 300 * MIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 4 * GIB, .cpus = 4});
	assert_int_equal(p.nodes, 2);
	/* More processors than either has: still one node, and it is told. */
	p = place(&s, (struct pol_place_want){.memory_bytes = 4 * GIB, .cpus = 6});
	assert_int_equal(p.nodes, 2);
	assert_true(p.crowded);
	/* A node without processors comes last. */
	s.host.nodes[1].cpus = 0;
	s.host.nodes[0].free_bytes = 5 * GIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 4 * GIB, .cpus = 1});
	assert_int_equal(p.nodes, 1);
	scene_close(&s);
}

static void test_place_beside_friends(void **state)
{
	struct scene s;
	struct pol_place p;

	open_scene(&s, 2);
	set_place(&s.guests[1], 1, 1);
	s.guests[1].domain = 7;
	s.host.ksm.across_nodes = 1;
	p = place(&s,
		  (struct pol_place_want){.memory_bytes = GIB, .has_domain = true, .domain = 7});
	assert_int_equal(p.nodes, 2);
	p = place(&s, (struct pol_place_want){.memory_bytes = GIB, .partner = 1});
	assert_int_equal(p.nodes, 1);
	p = place(&s, (struct pol_place_want){.memory_bytes = GIB, .partner = 2});
	assert_int_equal(p.nodes, 2);
	/* Kept apart by nodes: not where another domain is. */
	s.host.ksm.across_nodes = 0;
	p = place(&s, (struct pol_place_want){
			      .memory_bytes = 7 * GIB, .has_domain = true, .domain = 7});
	assert_int_equal(p.nodes, 0);
	assert_int_equal(p.why, POL_PLACE_DOMAIN);
	p = place(&s,
		  (struct pol_place_want){.memory_bytes = GIB, .has_domain = true, .domain = 8});
	assert_int_equal(p.why, POL_PLACE_DOMAIN);
	scene_close(&s);
}

/* Four nodes in a ring: the fewest, and of those the nearest. */
static void test_place_over_several(void **state)
{
	struct scene s;
	struct pol_place p;

	open_scene(&s, 0);
	s.host.n_nodes = 4;
	for (uint32_t i = 0; i < 4; i++) {
		s.host.nodes[i] = (struct pol_node){
			.node = i, .memory_bytes = 8 * GIB, .free_bytes = 4 * GIB, .cpus = 4};
		for (uint32_t k = 0; k < 4; k++)
			s.host.nodes[i].distance[k] = i == k ? 10 : (i + k) % 2 ? 30 : 21;
	}
	s.host.nodes[1].free_bytes = 5 * GIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 6 * GIB, .cpus = 8});
	assert_int_equal(p.nodes, 1u << 1 | 1u << 3); /* near each other, and 1 is the roomiest */
	assert_int_equal(p.bytes[1], 3 * GIB);	      /* in equal parts, */
	assert_int_equal(p.bytes[3], 3 * GIB);
	s.host.nodes[3].free_bytes = 2 * GIB; /* as far as there is room above the reserve */
	s.host.nodes[0].free_bytes = s.host.nodes[2].free_bytes = GIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 6 * GIB + 4096, .cpus = 8});
	assert_int_equal(p.nodes, 1u << 1 | 1u << 3);
	assert_int_equal(p.bytes[3], numa_room(&s.config, &s.host.nodes[3]) / (2 * MIB) * 2 * MIB);
	assert_int_equal(p.bytes[1], 6 * GIB + 4096 - p.bytes[3]);
	s.host.nodes[0].free_bytes = s.host.nodes[2].free_bytes = 4 * GIB;
	s.host.nodes[3].free_bytes = 4 * GIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 14 * GIB, .cpus = 8});
	assert_int_equal(__builtin_popcount(p.nodes), 4);
	p = place(&s, (struct pol_place_want){.memory_bytes = 40 * GIB, .cpus = 8});
	assert_int_equal(p.why, POL_PLACE_NO_MEMORY);
	assert_int_equal(p.nodes, 0);
	assert_int_equal(p.missing_bytes, 40 * GIB - p.room_bytes);
	scene_close(&s);
}

/* What would have to move: the smallest guest that makes the room, to where there is some. */
static void test_place_by_moving(void **state)
{
	struct scene s;
	struct pol_place p;

	open_scene(&s, 3);
	set_place(&s.guests[1], 0, 0);
	s.guests[1].node_bytes[0] = GIB;
	s.host.nodes[0].free_bytes = 3 * GIB;
	s.host.nodes[1].free_bytes = 2 * GIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 3 * GIB, .cpus = 2});
	assert_int_equal(p.nodes, 3); /* meanwhile: over both */
	assert_int_equal(p.move_guest, 2);
	assert_int_equal(p.move_bytes, GIB);
	assert_int_equal(p.move_from, 0);
	assert_int_equal(p.move_to, 1);
	s.guests[1].numa_bar = POL_NUMA_BOUND;
	p = place(&s, (struct pol_place_want){.memory_bytes = 3 * GIB, .cpus = 2});
	assert_int_equal(p.move_guest, 0); /* the others have 2 GiB: more than there is room for */
	scene_close(&s);
}

static void test_place_on_pools(void **state)
{
	struct scene s;
	struct pol_place p;
	struct pol_place_want want = {
		.memory_bytes = 3 * GIB + 1, .cpus = 1, .pages = POL_PLACE_1G};

	open_scene(&s, 1);
	for (int i = 0; i < 2; i++)
		s.host.nodes[i].pool_2m_bytes = s.host.nodes[i].pool_1g_bytes = POL_ABSENT;
	p = place(&s, want);
	assert_int_equal(p.why, POL_PLACE_NO_POOL);
	s.host.nodes[1].pool_1g_bytes = 4 * GIB;
	s.host.nodes[1].free_bytes = 0; /* no matter: the pool is apart */
	p = place(&s, want);
	assert_int_equal(p.nodes, 2);
	assert_int_equal(p.bytes[1], 4 * GIB); /* whole pages */
	s.host.nodes[1].pool_1g_bytes = 3 * GIB;
	p = place(&s, want);
	assert_int_equal(p.why, POL_PLACE_NO_POOL);
	assert_int_equal(p.missing_bytes, GIB);
	scene_close(&s);
}

static void test_place_refuses(void **state)
{
	struct scene s;
	struct pol_place out;
	struct pol_place_want want = {.cpus = 1};

	open_scene(&s, 0);
	assert_int_equal(pol_place(&s.config, &s.host, &want, &out), -EINVAL);
	want.memory_bytes = GIB;
	s.host.nodes[0].cpus = s.host.nodes[1].cpus = 0;
	assert_int_equal(place(&s, want).why, POL_PLACE_NO_CPU);
	s.host.n_nodes = 0;
	assert_int_equal(pol_place(&s.config, &s.host, &want, &out), -EINVAL);
	scene_close(&s);
	for (int w = 0; w <= POL_PLACE_COUNT; w++)
		assert_true(strlen(pol_place_text((enum pol_place_why)w)) > 5);
	for (int w = 0; w <= POL_NUMA_COUNT; w++) {
		assert_true(strlen(pol_numa_text((enum pol_numa_why)w)) > 5);
		assert_true(strlen(pol_numa_name((enum pol_numa_why)w)) > 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_place_in_one_node),
		cmocka_unit_test(test_place_beside_friends),
		cmocka_unit_test(test_place_over_several),
		cmocka_unit_test(test_place_by_moving),
		cmocka_unit_test(test_place_on_pools),
		cmocka_unit_test(test_place_refuses),
	};

	return cmocka_run_group_tests_name("policy_place", tests, NULL, NULL);
}
