// SPDX-License-Identifier: Apache-2.0
/* Distances of guest nodes from what a host tells of its own, and from hosts that tell little. */
#include "tests/unit/tree.h"

#include "common/kfile.h"
#include "vmm/locality.h"

#define NODES "sys/devices/system/node"

static struct tree tree;
static int root;

static int setup(void **state)
{
	tree = tree_new(NULL);
	tree_shell("mkdir -p %s/" NODES "/node0 %s/" NODES "/node2", tree.root, tree.root);
	tree_shell("echo 0,2 > %s/" NODES "/online", tree.root);
	tree_shell("echo 10 17 > %s/" NODES "/node0/distance", tree.root);
	tree_shell("echo 28 10 > %s/" NODES "/node2/distance", tree.root);
	root = kfile_open_root(tree.root);
	return root < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	close(root);
	tree_free(&tree);
	return 0;
}

static void read_nodes(uint64_t first, uint64_t second, struct locality *l)
{
	const struct ram_config configs[2] = {{.host_nodes = {first}}, {.host_nodes = {second}}};

	locality_read(root, configs, 2, l);
	assert_int_equal(l->n_nodes, 2);
	assert_int_equal(l->distance[0][0], 10);
	assert_int_equal(l->distance[1][1], 10);
}

static void test_distances(void **state)
{
	struct locality l;

	/* Nodes 0 and 2: the second number in each file, for node 1 is not there. */
	read_nodes(1, 4, &l);
	assert_int_equal(l.distance[0][1], 17);
	assert_int_equal(l.distance[1][0], 28);
	assert_int_equal(l.latency_ns[0][0], 100);
	assert_int_equal(l.latency_ns[0][1], 170);
	assert_int_equal(l.latency_ns[1][0], 280);
	assert_int_equal(l.bandwidth_mb_s[0][0], 20000);
	assert_int_equal(l.bandwidth_mb_s[0][1], 20000 * 10 / 17);
	/* On one host node, not bound, and bound to what is not there. */
	read_nodes(1, 1, &l);
	assert_int_equal(l.distance[0][1], 20);
	read_nodes(0, 4, &l);
	assert_int_equal(l.distance[0][1], 20);
	read_nodes(1, 2, &l);
	assert_int_equal(l.distance[0][1], 20);
}

static void test_measured(void **state)
{
	struct locality l;

	tree_shell("mkdir -p %s/" NODES "/node0/access0/initiators/node0", tree.root);
	tree_shell("echo 0-3 > %s/" NODES "/node0/access0/initiators/node0/cpulist", tree.root);
	tree_shell("echo 80 > %s/" NODES "/node0/access0/initiators/read_latency", tree.root);
	tree_shell("echo 51200 > %s/" NODES "/node0/access0/initiators/read_bandwidth", tree.root);
	read_nodes(1, 4, &l);
	assert_int_equal(l.latency_ns[0][0], 80);
	assert_int_equal(l.latency_ns[0][1], 80 * 17 / 10);
	assert_int_equal(l.latency_ns[1][1], 100);
	assert_int_equal(l.bandwidth_mb_s[0][0], 51200);
	assert_int_equal(l.bandwidth_mb_s[0][1], 51200 * 10 / 17);
}

static void test_nonsense(void **state)
{
	struct locality l;

	tree_shell("echo 10 5 > %s/" NODES "/node0/distance", tree.root);
	tree_shell("echo 70000 10 > %s/" NODES "/node2/distance", tree.root);
	read_nodes(1, 4, &l);
	assert_int_equal(l.distance[0][1], 11);
	assert_int_equal(l.distance[1][0], 254);
	tree_shell("echo 10 > %s/" NODES "/node0/distance", tree.root);
	tree_shell("echo nodes > %s/" NODES "/node2/distance", tree.root);
	read_nodes(1, 4, &l);
	assert_int_equal(l.distance[0][1], 20);
	assert_int_equal(l.distance[1][0], 20);
	tree_shell("rm -r %s/sys", tree.root);
	read_nodes(1, 4, &l);
	assert_int_equal(l.distance[0][1], 20);
	assert_int_equal(l.latency_ns[1][0], 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_distances, setup, teardown),
		cmocka_unit_test_setup_teardown(test_measured, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
	};

	return cmocka_run_group_tests_name("vmm_locality", tests, NULL, NULL);
}
