// SPDX-License-Identifier: Apache-2.0
/* The host's snapshot from captured hosts, and what becomes of it when files are absent or lie. */
#include "tests/unit/tree.h"

#include <dirent.h>
#include <malloc.h>

#include "common/cleanup.h"
#include "memd/host.h"
#include "memd/hugepage.h"
#include "memd/ksm.h"
#include "memd/numa.h"

#define KB    1024ULL
#define NODES "sys/devices/system/node/"

static struct pol_host sense(const struct tree *tree)
{
	struct pol_host out = {0};
	struct host *host;

	assert_int_equal(host_open(tree->root, &host), 0);
	assert_int_equal(host_sense(host, &out), 0);
	host_close(host);
	return out;
}

static void two_nodes(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	struct pol_host h = sense(&tree);

	/* less the pool of 64 pages of 2 MiB */
	assert_int_equal(h.memory_bytes, (8151520 - 131072) * KB);
	assert_int_equal(h.free_bytes, 7500392 * KB);
	assert_int_equal(h.available_bytes, 7372792 * KB);
	assert_int_equal(h.swap_bytes, 0);
	assert_int_equal(h.psi_some_us, 0);
	assert_int_equal(h.n_nodes, 2);
	assert_int_equal(h.nodes[0].node, 0);
	assert_int_equal(h.nodes[0].memory_bytes, 4061568 * KB);
	assert_int_equal(h.nodes[1].node, 1);
	assert_int_equal(h.nodes[1].free_bytes, 4064232 * KB);
	assert_true(h.ksm.present);
	assert_int_equal(h.ksm.pages_sharing, 81);
}

static void one_node(void **state)
{
	AUTO_TREE struct tree tree = tree_new("pvm-6.18");
	struct pol_host h = sense(&tree);

	assert_int_equal(h.memory_bytes, 24684092 * KB);
	assert_int_equal(h.n_nodes, 1);
	assert_true(h.ksm.present);
	assert_int_equal(h.ksm.run, 0);
	assert_int_equal(h.ksm.cpu_us, 0);
}

static void swap_and_pressure(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	struct pol_host h;

	tree_set(&tree, "proc/meminfo",
		 "MemTotal: 1000 kB\nMemFree: 400 kB\nMemAvailable: 500 kB\nSwapTotal: 300 kB\n"
		 "SwapFree: 120 kB\n");
	tree_set(&tree, "proc/vmstat", "pswpin 7\npswpout 9\ncow_ksm 3\n");
	tree_set(&tree, "proc/pressure/memory",
		 "some avg10=1.00 avg60=0.00 avg300=0.00 total=123456\n"
		 "full avg10=0.00 avg60=0.00 avg300=0.00 total=789\n");
	h = sense(&tree);
	assert_int_equal(h.swap_bytes, 300 * KB);
	assert_int_equal(h.swap_free_bytes, 120 * KB);
	assert_int_equal(h.swap_in_bytes, 7 * host_page_bytes());
	assert_int_equal(h.swap_out_bytes, 9 * host_page_bytes());
	assert_int_equal(h.psi_some_us, 123456);
	assert_int_equal(h.psi_full_us, 789);
	assert_int_equal(h.ksm.cow_breaks, 3);
}

static void absent_parts(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	struct pol_host h;

	tree_set(&tree, "proc/meminfo", "MemTotal: 1000 kB\nMemFree: 400 kB\n");
	h = sense(&tree);
	assert_int_equal(h.memory_bytes, 1000 * KB);
	assert_int_equal(h.available_bytes, 400 * KB); /* the cautious side */
	assert_false(pol_has(h.swap_bytes));
	assert_false(pol_has(h.swap_in_bytes));
	assert_false(pol_has(h.swap_out_bytes));
	assert_false(pol_has(h.psi_some_us));
	assert_false(pol_has(h.psi_full_us));
	assert_false(h.ksm.present);
	assert_int_equal(h.n_nodes, 1); /* no CONFIG_NUMA: all of it is one node */
	assert_int_equal(h.nodes[0].memory_bytes, 1000 * KB);
	assert_int_equal(h.nodes[0].free_bytes, 400 * KB);
	assert_int_equal(h.nodes[0].cache_bytes, POL_ABSENT);
	tree_set(&tree, "proc/meminfo",
		 "MemTotal: 1000 kB\nMemFree: 400 kB\nActive(file): 120 kB\n"
		 "Inactive(file): 30 kB\n");
	h = sense(&tree);
	assert_int_equal(h.nodes[0].cache_bytes, 150 * KB);
}

static void pools_without_hugetlb_line(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);

	tree_set(
		&tree, "proc/meminfo",
		"MemTotal: 10000 kB\nMemFree: 400 kB\nHugePages_Total: 2\nHugepagesize: 2048 kB\n");
	assert_int_equal(sense(&tree).memory_bytes, (10000 - 4096) * KB);
	/* a pool larger than memory is a lie */
	tree_set(&tree, "proc/meminfo", "MemTotal: 10000 kB\nMemFree: 400 kB\nHugetlb: 20000 kB\n");
	assert_int_equal(sense(&tree).memory_bytes, 10000 * KB);
}

static void no_meminfo(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	struct host *host = NULL;

	assert_int_equal(host_open(tree.root, &host), -ENOENT);
	assert_int_equal(host_open("/nonexistent/root", &host), -ENOENT);
	assert_null(host);
}

static void broken_meminfo(void **state)
{
	static const char *const texts[] = {"",
					    "MemTotal: 5 kB\n",
					    "MemFree: 5 kB\n",
					    "MemTotal: -5 kB\nMemFree: 5 kB\n",
					    "MemTotal: lots\nMemFree: 5 kB\n",
					    "\xff\xff\xff"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		AUTO_TREE struct tree tree = tree_new(NULL);
		struct pol_host h = {.memory_bytes = 42};
		struct host *host;

		tree_set(&tree, "proc/meminfo", texts[i]);
		assert_int_equal(host_open(tree.root, &host), 0);
		assert_int_equal(host_sense(host, &h), -EIO);
		assert_int_equal(h.memory_bytes, 42); /* untouched on failure */
		host_close(host);
	}
}

static void broken_pressure(void **state)
{
	static const char *const texts[] = {
		"",
		"full avg10=0 total=\n",
		"some avg10=0 total=-4\n",
		"some avg10=0\nfull total=x\n",
		"some total=99999999999999999999999999999999999999999999\n",
		"garbage"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		AUTO_TREE struct tree tree = tree_new("npt-6.12");
		struct pol_host h;

		tree_set(&tree, "proc/pressure/memory", texts[i]);
		h = sense(&tree);
		assert_false(pol_has(h.psi_some_us));
		assert_false(pol_has(h.psi_full_us));
	}
}

static void keeps_what_is_not_its_own(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	struct pol_guest guest = {.id = 3};
	struct pol_host h = {.guests = &guest, .n_guests = 1, .ksm.mergeable_any = true};
	struct host *host;

	assert_int_equal(host_open(tree.root, &host), 0);
	assert_int_equal(host_sense(host, &h), 0);
	assert_ptr_equal(h.guests, &guest);
	assert_int_equal(h.n_guests, 1);
	assert_true(h.ksm.mergeable_any);
	host_close(host);
}

static void nodes_come_and_go(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	struct pol_host h = {0};
	struct host *host;

	assert_int_equal(host_open(tree.root, &host), 0);
	assert_int_equal(host_sense(host, &h), 0);
	assert_int_equal(h.n_nodes, 2);
	tree_set(&tree, NODES "node5/meminfo", "Node 5 MemTotal: 12 kB\nNode 5 MemFree: 7 kB\n");
	tree_set(&tree, NODES "has_memory", "0,5\n");
	assert_int_equal(host_sense(host, &h), 0);
	assert_int_equal(h.n_nodes, 2);
	assert_int_equal(h.nodes[1].node, 5);
	assert_int_equal(h.nodes[1].free_bytes, 7 * KB);
	tree_set(&tree, NODES "node5/meminfo", "Node 5 MemTotal: many\n");
	assert_int_equal(host_sense(host, &h), 0);
	assert_false(pol_has(h.nodes[1].memory_bytes)); /* unknown, not none */
	assert_false(pol_has(h.nodes[1].free_bytes));
	tree_set(&tree, NODES "has_memory", "not a list\n");
	assert_int_equal(host_sense(host, &h), 0);
	assert_int_equal(h.n_nodes, 0);
	tree_set(&tree, NODES "has_memory", "0-63\n"); /* more than there is room for */
	assert_int_equal(host_sense(host, &h), 0);
	assert_int_equal(h.n_nodes, POL_NODES_MAX);
	host_close(host);
}

static size_t open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void steady_state_takes_nothing(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	struct pol_host h = {0};
	struct host *host;
	size_t fds, heap;

	assert_int_equal(host_open(tree.root, &host), 0);
	assert_int_equal(host_sense(host, &h), 0);
	fds = open_fds();
	heap = mallinfo2().uordblks;
	for (int i = 0; i < 100; i++)
		assert_int_equal(host_sense(host, &h), 0);
	assert_int_equal(mallinfo2().uordblks, heap);
	assert_int_equal(open_fds(), fds);
	host_close(host);
	assert_true(open_fds() < fds);
}

static void the_machine_itself(void **state)
{
	struct pol_host h = {0};
	struct host *host;

	assert_int_equal(host_open("/", &host), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(host_sense(host, &h), 0);
	assert_true(h.free_bytes <= h.memory_bytes);
	assert_true(h.available_bytes <= h.memory_bytes);
	assert_true(h.n_nodes >= 1);
	host_close(host);
}

static void node_facts(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct nodes n;

	assert_int_equal(nodes_read(rootfd, &n), 0);
	assert_int_equal(n.n_nodes, 2);
	assert_true(n.nodes[0].has_cpu);
	assert_false(n.nodes[1].has_cpu);
	assert_true(n.nodes[1].has_memory);
	assert_int_equal(n.nodes[0].distance[0], 10);
	assert_int_equal(n.nodes[0].distance[1], 20);
	assert_int_equal(n.nodes[1].used_bytes, n.nodes[1].memory_bytes - n.nodes[1].free_bytes);
	assert_true(pol_has(n.balancing));

	/* a node without memory, gaps in the numbers, a broken distance */
	tree_set(&tree, NODES "online", "0,3\n");
	tree_set(&tree, NODES "has_memory", "0\n");
	tree_set(&tree, NODES "node3/distance", "20 x\n");
	assert_int_equal(nodes_read(rootfd, &n), 0);
	assert_int_equal(n.n_nodes, 2);
	assert_int_equal(n.nodes[1].node, 3);
	assert_false(n.nodes[1].has_memory);
	assert_false(pol_has(n.nodes[1].memory_bytes));
	/* Half a row is none. */
	assert_false(pol_has(n.nodes[1].distance[0]));
	assert_int_equal(n.nodes[1].bad, NODES_BAD_DISTANCE);

	tree_set(&tree, NODES "online", "0-19\n");
	assert_int_equal(nodes_read(rootfd, &n), 0);
	assert_int_equal(n.n_nodes, POL_NODES_MAX);
	assert_int_equal(n.n_left_out, 4);
}

static void huge_pages(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct hugepage h;

	assert_int_equal(hugepage_read(rootfd, &h), 0);
	assert_string_equal(h.thp, "always");
	assert_int_equal(h.thp_bytes, 2 << 20);
	assert_int_equal(hugepage_pool_bytes(&h), 128 << 20);
	assert_int_equal(h.n_pools, 6); /* two sizes: host, node 0, node 1 */
	assert_int_equal(h.pools[0].page_bytes, 2 << 20);
	assert_int_equal(h.pools[0].node, HUGEPAGE_ANY_NODE);
	assert_int_equal(h.pools[0].total, 64);
	assert_int_equal(h.pools[0].reserved, 0);
	assert_int_equal(h.pools[2].node, 0);
	assert_int_equal(h.pools[2].total, 64);
	assert_false(pol_has(h.pools[2].reserved));
	assert_int_equal(h.pools[4].node, 1);
	assert_int_equal(h.pools[4].total, 0);

	tree_set(&tree, "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "-1\n");
	tree_set(&tree, "sys/kernel/mm/hugepages/hugepages-what/nr_hugepages", "5\n");
	assert_int_equal(hugepage_read(rootfd, &h), 0);
	assert_int_equal(h.n_pools, 6);
	assert_false(pol_has(h.pools[0].total));
	assert_int_equal(hugepage_pool_bytes(&h), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_nodes),
		cmocka_unit_test(one_node),
		cmocka_unit_test(swap_and_pressure),
		cmocka_unit_test(absent_parts),
		cmocka_unit_test(pools_without_hugetlb_line),
		cmocka_unit_test(no_meminfo),
		cmocka_unit_test(broken_meminfo),
		cmocka_unit_test(broken_pressure),
		cmocka_unit_test(keeps_what_is_not_its_own),
		cmocka_unit_test(nodes_come_and_go),
		cmocka_unit_test(steady_state_takes_nothing),
		cmocka_unit_test(the_machine_itself),
		cmocka_unit_test(node_facts),
		cmocka_unit_test(huge_pages),
	};

	return cmocka_run_group_tests_name("memd_host", tests, NULL, NULL);
}
