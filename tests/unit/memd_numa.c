// SPDX-License-Identifier: Apache-2.0
/* Nodes of captured trees: what the HMAT says, files that make no sense, and what is told of it. */
#include "tests/unit/tree.h"

#include "common/cleanup.h"
#include "memd/host.h"
#include "memd/numa.h"
#include "memd/numa_note.h"

#define NODES  "sys/devices/system/node/"
#define KB_GIB "1048576 kB"

static void set_node(const struct tree *tree, unsigned int node, const char *cpus,
		     const char *total, const char *distance)
{
	char path[96], text[256];

	snprintf(path, sizeof(path), NODES "node%u/cpulist", node);
	tree_set(tree, path, cpus);
	snprintf(path, sizeof(path), NODES "node%u/meminfo", node);
	snprintf(text, sizeof(text), "Node %u MemTotal: %s\nNode %u MemFree: 0 kB\n", node, total,
		 node);
	tree_set(tree, path, text);
	snprintf(path, sizeof(path), NODES "node%u/distance", node);
	tree_set(tree, path, distance);
}

/* Two sockets and memory without processors that hangs on the second. */
static struct tree three_nodes(void)
{
	struct tree tree = tree_new(NULL);

	tree_set(&tree, "proc/meminfo", "MemTotal: 4194304 kB\nMemFree: 1048576 kB\n");
	tree_set(&tree, "sys/devices/system/cpu/online", "0-3\n");
	tree_set(&tree, NODES "online", "0-2\n");
	tree_set(&tree, NODES "has_memory", "0-2\n");
	tree_set(&tree, NODES "has_cpu", "0-1\n");
	set_node(&tree, 0, "0-1\n", KB_GIB, "10 20 20\n");
	set_node(&tree, 1, "2-3\n", KB_GIB, "20 10 20\n");
	set_node(&tree, 2, "\n", KB_GIB, "20 20 10\n");
	return tree;
}

/* level: of access; initiator: the node whose processors are nearest. */
static void set_access(const struct tree *tree, unsigned int node, int level,
		       unsigned int initiator, const char *latency, const char *bandwidth)
{
	char path[128];

	snprintf(path, sizeof(path), NODES "node%u/access%d/initiators/node%u/cpulist", node, level,
		 initiator);
	tree_set(tree, path, "0\n");
	snprintf(path, sizeof(path), NODES "node%u/access%d/initiators/read_latency", node, level);
	tree_set(tree, path, latency);
	snprintf(path, sizeof(path), NODES "node%u/access%d/initiators/read_bandwidth", node,
		 level);
	tree_set(tree, path, bandwidth);
}

static struct nodes look(const struct tree *tree)
{
	AUTO_FD int rootfd = tree_rootfd(tree);
	struct nodes nodes;

	assert_int_equal(nodes_read(rootfd, &nodes), 0);
	return nodes;
}

static void test_access(void **state)
{
	AUTO_TREE struct tree tree = three_nodes();
	struct nodes nodes = look(&tree);

	(void)state;
	assert_int_equal(nodes.nodes[0].access.level, -1);
	assert_int_equal(nodes.nodes[1].distance[2], 20);
	assert_int_equal(nodes.nodes[1].by_access, 0);
	set_access(&tree, 0, 0, 0, "80\n", "20000\n");
	set_access(&tree, 0, 1, 0, "90\n", "19000\n");
	set_access(&tree, 1, 1, 1, "100\n", "19000\n");
	set_access(&tree, 2, 0, 1, "250\n", "5000\n");
	nodes = look(&tree);
	/* Processors alone rather than any device. */
	assert_int_equal(nodes.nodes[0].access.level, 1);
	assert_int_equal(nodes.nodes[0].access.read_latency_ns, 90);
	assert_int_equal(nodes.nodes[0].access.read_bytes_per_s, 19000ULL << 20);
	assert_int_equal(nodes.nodes[0].access.write_latency_ns, POL_ABSENT);
	assert_int_equal(nodes.nodes[2].access.level, 0);
	assert_int_equal(nodes.nodes[2].access.initiators, 2);
	/* 250 ns against 100 ns; from node 0 nothing is told. */
	assert_int_equal(nodes.nodes[1].distance[2], 25);
	assert_int_equal(nodes.nodes[1].by_access, 1U << 2);
	assert_int_equal(nodes.nodes[0].distance[2], 20);
	assert_int_equal(nodes.nodes[0].distance[1], 20);
	assert_int_equal(nodes.nodes[1].distance[1], 10);
	/* A SLIT that tells anything is believed. */
	tree_set(&tree, NODES "node0/distance", "10 21 31\n");
	nodes = look(&tree);
	assert_int_equal(nodes.nodes[1].distance[2], 20);
	assert_int_equal(nodes.nodes[1].by_access, 0);
	/* Where there is none at all, what is told is better than nothing. */
	for (unsigned int i = 0; i < 3; i++) {
		char path[64];

		snprintf(path, sizeof(path), NODES "node%u/distance", i);
		tree_remove(&tree, path);
	}
	/* As near as its own: still another node. And what makes no sense is none. */
	set_access(&tree, 2, 0, 1, "90\n", "many\n");
	nodes = look(&tree);
	assert_int_equal(nodes.nodes[1].distance[2], 11);
	assert_int_equal(nodes.nodes[2].access.read_bytes_per_s, POL_ABSENT);
	set_access(&tree, 2, 0, 1, "0\n", "-5\n");
	nodes = look(&tree);
	assert_int_equal(nodes.nodes[2].access.level, -1);
	assert_int_equal(nodes.nodes[1].distance[2], POL_ABSENT);
	/* Beyond what a distance can be. */
	set_access(&tree, 2, 0, 1, "999999999999\n", "5000\n");
	assert_int_equal(look(&tree).nodes[1].distance[2], 255);
}

/* The snapshot has them, too. */
static void test_access_in_the_snapshot(void **state)
{
	AUTO_TREE struct tree tree = three_nodes();
	struct pol_host host = {0};
	struct host *h;

	(void)state;
	set_access(&tree, 1, 1, 1, "100\n", "19000\n");
	set_access(&tree, 2, 0, 1, "250\n", "5000\n");
	assert_int_equal(host_open(tree.root, &h), 0);
	assert_int_equal(host_sense(h, &host), 0);
	assert_int_equal(host.nodes[1].distance[2], 25);
	assert_int_equal(host.nodes[0].distance[2], 20);
	assert_int_equal(host_node_changes(h), 1);
	/* Processors that go offline are gone in the next tick. */
	assert_int_equal(host.nodes[1].cpus, 2);
	tree_set(&tree, NODES "node1/cpulist", "2\n");
	tree_set(&tree, "sys/devices/system/cpu/online", "0-2\n");
	assert_int_equal(host_sense(h, &host), 0);
	assert_int_equal(host.nodes[1].cpus, 1);
	assert_int_equal(host_node_changes(h), 2);
	assert_int_equal(host_sense(h, &host), 0);
	assert_int_equal(host_node_changes(h), 2);
	host_close(h);
}

/* ---- in words ---- */

static char said[4096];

static void on_said(void *ctx, const char *text)
{
	(void)ctx;
	assert_true(strlen(text) < NODES_NOTE_MAX - 1);
	snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s\n", text);
}

static const char *notes(const struct tree *tree)
{
	struct nodes nodes = look(tree);

	said[0] = '\0';
	nodes_notes(&nodes, on_said, NULL);
	return said;
}

static void test_out_of_the_ordinary(void **state)
{
	AUTO_TREE struct tree tree = three_nodes();

	(void)state;
	assert_string_equal(notes(&tree), "node 2 has no processor online: guests are not moved "
					  "there, their memory may lie there\n");
	set_node(&tree, 2, "2-3\n", KB_GIB, "20 20 10\n");
	assert_string_equal(notes(&tree), "");
	tree_set(&tree, NODES "has_memory", "0,2\n");
	assert_string_equal(notes(&tree),
			    "node 1 has no memory: guests on its processors use other "
			    "nodes'\n");
	tree_set(&tree, NODES "has_memory", "0\n");
	assert_non_null(strstr(notes(&tree), "this host has one node with memory"));
	tree_remove(&tree, NODES);
	assert_string_equal(notes(&tree),
			    "this kernel shows no nodes (no /sys/devices/system/node): "
			    "all memory and all processors count as node 0\n");
}

static void test_files_without_sense(void **state)
{
	static const struct {
		const char *file, *text, *said;
	} bad[] = {
		{"node1/distance", "10 x 20\n", "node1/distance makes no sense: all other nodes"},
		{"node1/distance", "20 10\n", "node1/distance makes no sense"},
		{"node1/distance", "20 11 20\n", "node1/distance makes no sense"},
		{"node1/distance", "20 10 999\n", "node1/distance makes no sense"},
		{"node1/distance", "", "node1/distance makes no sense"},
		{"node1/cpulist", "0-\n", "node1/cpulist makes no sense: its processors"},
		{"node1/meminfo", "Node 1 MemTotal: lots\n",
		 "node1/meminfo makes no sense: its memory"},
		{"node1/meminfo", "Node 1 MemTotal: 1 kB\nNode 1 MemFree: 2 kB\n",
		 "node1/meminfo makes no sense"},
		{"has_memory", "0-2-4\n", "has_memory makes no sense: every node"},
		{"online", "\x01\x02\n", "online makes no sense: all memory counts as node 0"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_TREE struct tree tree = three_nodes();
		char path[96];
		struct nodes nodes;

		set_node(&tree, 2, "2-3\n", KB_GIB, "20 20 10\n");
		snprintf(path, sizeof(path), NODES "%s", bad[i].file);
		tree_set(&tree, path, bad[i].text);
		if (!strstr(notes(&tree), bad[i].said) || strchr(said, '\n')[1])
			fail_msg("%s: '%s' said for '%s'", bad[i].file, said, bad[i].text);
		nodes = look(&tree);
		if (strcmp(bad[i].file, "online") == 0)
			continue;
		/* The other nodes are as they were. */
		assert_int_equal(nodes.n_nodes, 3);
		assert_int_equal(nodes.nodes[0].bad, 0);
		assert_int_equal(nodes.nodes[0].distance[1], 20);
		assert_int_equal(nodes.nodes[0].memory_bytes, 1ULL << 30);
	}
}

static const char *news(const struct nodes *before, const struct tree *tree)
{
	struct nodes now = look(tree);

	said[0] = '\0';
	nodes_compare(before, &now, on_said, NULL);
	return said;
}

static void test_changes(void **state)
{
	AUTO_TREE struct tree tree = three_nodes();
	struct nodes before = look(&tree), without;

	(void)state;
	assert_string_equal(news(&before, &tree), "");
	set_node(&tree, 1, "3\n", KB_GIB, "20 10 20\n");
	assert_string_equal(news(&before, &tree), "node 1: 1 processors are online, 2 were\n");
	set_node(&tree, 1, "\n", KB_GIB, "20 10 20\n");
	assert_string_equal(news(&before, &tree), "node 1: all its processors went offline\n");
	set_node(&tree, 1, "2-3\n", "524288 kB", "20 10 20\n");
	assert_string_equal(news(&before, &tree),
			    "node 1: it has 512 MiB of memory, and had 1 GiB\n");
	set_node(&tree, 1, "2-3\n", "1048000 kB", "20 10 20\n");
	assert_string_equal(news(&before, &tree), "");
	tree_set(&tree, NODES "has_memory", "0,2\n");
	assert_string_equal(news(&before, &tree), "node 1: its memory went offline\n");
	tree_set(&tree, NODES "online", "0,2\n");
	without = look(&tree);
	assert_string_equal(news(&before, &tree), "node 1 went offline\n");
	tree_set(&tree, NODES "online", "0-2\n");
	assert_string_equal(news(&without, &tree), "node 1 came online\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_access_in_the_snapshot),
		cmocka_unit_test(test_out_of_the_ordinary),
		cmocka_unit_test(test_files_without_sense),
		cmocka_unit_test(test_changes),
	};

	return cmocka_run_group_tests_name("memd_numa", tests, NULL, NULL);
}
