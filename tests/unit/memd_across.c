// SPDX-License-Identifier: Apache-2.0
/* What merging across nodes saves and how far it is, looked at on trees whose page tables are
 * known; and the nodes of frames. */
#include "tests/unit/sharing_tree.h"

#include <poll.h>

#include "common/cleanup.h"
#include "memd/across.h"
#include "memd/frame_node.h"

/* Frames 0 to 1999 are node 0's but for a small zone of node 1 in them, from 2000 on node 1's. */
static const char zoneinfo[] =
	"Node 0, zone      DMA\n  per-node stats\n      nr_inactive_anon 5\n  pages free     10\n"
	"        spanned  1900\n        present  1900\n  start_pfn:           1\n"
	"Node 0, zone   Normal\n  pages free     0\n        spanned  0\n        present  0\n\n"
	"Node 0, zone    DMA32\n  pages free 3\n        spanned  100\n  start_pfn: 1900\n"
	"Node 1, zone   Normal\n  pages free 3\n        spanned  9000\n  start_pfn:           "
	"2000\n"
	"Node 1, zone  Movable\n  pages free 3\n        spanned  10\n  start_pfn:           500\n";

static void test_frames(void **state)
{
	struct tree tree = tree_new(NULL);
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct frame_nodes nodes;

	(void)state;
	assert_int_equal(frame_nodes_read(rootfd, &nodes), -ENOENT);
	tree_set(&tree, "proc/zoneinfo", "spanned x\nstart_pfn:\nNode\n");
	assert_int_equal(frame_nodes_read(rootfd, &nodes), -EIO);
	tree_set(&tree, "proc/zoneinfo", zoneinfo);
	assert_int_equal(frame_nodes_read(rootfd, &nodes), 0);
	assert_int_equal(nodes.n, 4);
	assert_int_equal(frame_node(&nodes, 1), 0);
	assert_int_equal(frame_node(&nodes, 1899), 0);
	assert_int_equal(frame_node(&nodes, 1999), 0);
	assert_int_equal(frame_node(&nodes, 2000), 1);
	assert_int_equal(frame_node(&nodes, 505), 1); /* the smaller zone */
	assert_int_equal(frame_node(&nodes, 0), UINT32_MAX);
	assert_int_equal(frame_node(&nodes, 11000), UINT32_MAX);
	tree_free(&tree);
}

static struct across_result look_at(int rootfd, const struct across_look *how,
				    across_estimate_fn estimate, const struct across_guest *guests,
				    size_t n)
{
	struct pollfd pollfd = {.events = POLLIN};
	struct across_result result;
	struct across *across;

	assert_int_equal(across_open(rootfd, estimate, &across), 0);
	assert_int_equal(across_take(across, &result), -EAGAIN);
	assert_int_equal(across_start(across, how, guests, n), 0);
	pollfd.fd = across_fd(across);
	assert_int_equal(poll(&pollfd, 1, 5000), 1);
	assert_int_equal(across_start(across, how, guests, n), -EBUSY); /* not taken yet */
	assert_int_equal(across_take(across, &result), 0);
	across_close(across);
	return result;
}

static struct across_result look(const struct tree *tree, const struct across_guest *guests,
				 size_t n)
{
	const struct across_look how = {.across = true, .distance = {{10, 21}, {31, 10}}};
	AUTO_FD int rootfd = tree_rootfd(tree);

	return look_at(rootfd, &how, NULL, guests, n);
}

/*
 * Three guests, the first two at home on node 0, the third on node 1. Frames 1000 and 1001 are on
 * node 0, 2000 on node 1: 1000 in all three, 1001 in the first two, 2000 twice in the first and
 * once in the third.
 */
static struct tree three(void)
{
	struct tree tree = tree_new(NULL);

	for (pid_t pid = 101; pid <= 103; pid++) {
		tree_process(&tree, pid, 64, 4, "rd wr mg");
		tree_ksm_stat(&tree, pid, 4, 0);
		tree_map(&tree, pid, 0, FRAME_PRESENT | 1000);
	}
	tree_map(&tree, 101, 1, FRAME_PRESENT | 1001);
	tree_map(&tree, 102, 1, FRAME_PRESENT | 1001);
	tree_map(&tree, 101, 2, FRAME_PRESENT | 2000);
	tree_map(&tree, 101, 3, FRAME_PRESENT | 2000);
	tree_map(&tree, 103, 3, FRAME_PRESENT | 2000);
	tree_frame(&tree, 1000, FRAME_KSM | FRAME_ANON, 3);
	tree_frame(&tree, 1001, FRAME_KSM | FRAME_ANON, 2);
	tree_frame(&tree, 2000, FRAME_KSM | FRAME_ANON, 3);
	tree_kernel(&tree, 3, 5, 0);
	tree_set(&tree, "proc/zoneinfo", zoneinfo);
	return tree;
}

static void test_merged(void **state)
{
	const struct across_guest guests[] = {{.id = 1, .pid = 101, .home = 1, .cpu_node = -1},
					      {.id = 2, .pid = 102, .home = 1, .cpu_node = -1},
					      {.id = 3, .pid = 103, .home = 2, .cpu_node = -1}};
	struct tree tree = three();
	struct across_result result = look(&tree, guests, 3);

	(void)state;
	assert_int_equal(result.error, 0);
	assert_true(result.across);
	/* A copy more of 1000, and one more of 2000. */
	assert_int_equal(result.gain_bytes, 2 * 4096);
	assert_int_equal(result.n, 3);
	/* Two pages at 21, and one at 31. */
	assert_int_equal(result.far[0].id, 1);
	assert_int_equal(result.far[0].far_bytes, 22 * 4096 / 10);
	assert_int_equal(result.far[1].far_bytes, 0);
	assert_int_equal(result.far[2].far_bytes, 21 * 4096 / 10);
	free(result.far);
	tree_free(&tree);
}

/* At home on both, it is nowhere far; of no known home, it counts for nothing. */
static void test_homes(void **state)
{
	const struct across_guest guests[] = {{.id = 1, .pid = 101, .home = 3, .cpu_node = -1},
					      {.id = 2, .pid = 102, .home = 0, .cpu_node = -1},
					      {.id = 3, .pid = 103, .home = 2, .cpu_node = -1}};
	struct tree tree = three();
	struct across_result result = look(&tree, guests, 3);

	(void)state;
	assert_int_equal(result.gain_bytes, 0);
	assert_int_equal(result.far[0].far_bytes, 0);
	assert_int_equal(result.far[1].far_bytes, 0);
	assert_int_equal(result.far[2].far_bytes, 21 * 4096 / 10);
	free(result.far);
	tree_free(&tree);
}

/* What lies nearer to the vCPUs than the memory at home makes up for what lies farther. */
static void test_cpus_elsewhere(void **state)
{
	const struct across_guest guests[] = {{.id = 1, .pid = 101, .home = 1, .cpu_node = 1},
					      {.id = 2, .pid = 102, .home = 1, .cpu_node = 0},
					      {.id = 3, .pid = 103, .home = 2, .cpu_node = 0}};
	struct tree tree = three();
	struct across_result result = look(&tree, guests, 3);

	(void)state;
	assert_int_equal(result.gain_bytes, 2 * 4096);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(result.far[i].far_bytes, 0);
	free(result.far);
	tree_free(&tree);
}

static void test_cannot_look(void **state)
{
	const struct across_guest guests[] = {{.id = 1, .pid = 101, .home = 1, .cpu_node = -1}};
	struct tree tree = three();
	struct across_result result;
	char path[160];

	(void)state;
	tree_path(&tree, "proc/zoneinfo", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	result = look(&tree, guests, 1);
	assert_int_equal(result.error, -ENOENT);
	free(result.far);
	tree_free(&tree);
}

/* ---- while pages are merged within nodes: contents compared ---- */

#define MIB (1ULL << 20)

static unsigned int runs;
static int estimate_error;

/* Within nodes 100 MiB are saved, without regard to them 160. */
static int estimate(const struct estimate_source *source, size_t n,
		    const struct estimate_options *options, struct estimate *ret_estimate)
{
	bool apart = source->nodes != NULL;

	runs |= apart ? 1 : 2;
	assert_int_equal(n, 2);
	assert_int_equal(options->max_sharing, 256);
	assert_true(options->use_zero_pages);
	if (estimate_error)
		return estimate_error;
	*ret_estimate = (struct estimate){.n = n};
	ret_estimate->parts = calloc(n, sizeof(*ret_estimate->parts));
	ret_estimate->total.saved.bytes = (apart ? 100 : 160) * MIB;
	ret_estimate->parts[0].saved.bytes = (apart ? 60 : 80) * MIB;
	ret_estimate->parts[1].saved.bytes = (apart ? 40 : 80) * MIB;
	return 0;
}

static void test_contents(void **state)
{
	const struct across_guest guests[] = {
		{.id = 1, .pid = getpid(), .home = 1, .cpu_node = -1},
		{.id = 2, .pid = getpid(), .home = 2, .cpu_node = -1}};
	const struct across_look how = {.max_sharing = 256,
					.use_zero_pages = true,
					.shared = 100,
					.sharing = 200, /* three map each */
					.distance = {{10, 20}, {30, 10}}};
	AUTO_FD int rootfd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct across_result result = look_at(rootfd, &how, estimate, guests, 2);

	(void)state;
	assert_int_equal(result.error, 0);
	assert_int_equal(runs, 3);
	assert_false(result.across);
	assert_int_equal(result.gain_bytes, 60 * MIB);
	/* Three times the 20 MiB that it saves more, once as far again; and of the other at most
	 * what is saved of it at all, twice as far. */
	assert_int_equal(result.far[0].far_bytes, 60 * MIB);
	assert_int_equal(result.far[1].far_bytes, 2 * 80 * MIB);
	free(result.far);
	estimate_error = -ENOMEM;
	result = look_at(rootfd, &how, estimate, guests, 2);
	assert_int_equal(result.error, -ENOMEM);
	free(result.far);
}

/* The real one, on this very process, and the real zones. */
static void test_this_machine(void **state)
{
	const struct across_guest guests[] = {{.id = 1, .pid = getpid(), .home = 1, .cpu_node = 0}};
	const struct across_look how = {.across = false};
	AUTO_FD int rootfd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct frame_nodes nodes;
	struct across_result result = look_at(rootfd, &how, NULL, guests, 1);

	(void)state;
	assert_int_equal(result.error, 0);
	assert_int_equal(result.gain_bytes, 0);
	free(result.far);
	if (frame_nodes_read(rootfd, &nodes) < 0)
		skip(); /* not root */
	assert_true(nodes.n > 0);
	assert_int_not_equal(frame_node(&nodes, nodes.zones[0].first), UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),	     cmocka_unit_test(test_merged),
		cmocka_unit_test(test_homes),	     cmocka_unit_test(test_cpus_elsewhere),
		cmocka_unit_test(test_cannot_look),  cmocka_unit_test(test_contents),
		cmocka_unit_test(test_this_machine),
	};

	return cmocka_run_group_tests_name("memd_across", tests, NULL, NULL);
}
