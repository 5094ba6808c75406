// SPDX-License-Identifier: Apache-2.0
/* merge_across_nodes set by the policy's word, for which all is unmerged first. */
#include "tests/unit/merge_world.h"

static void test_nodes(void **state)
{
	(void)state;
	merge_order(NULL, POL_KSM_NODES, 0, 0);
	merge_assert_file("merge_across_nodes", "0");
	merge_assert_file("run", "1");
	assert_string_equal(undo_original(w.undo, KSM "merge_across_nodes"), "1");
	assert_int_equal(merge_outcome_of(1), ACCOUNT_DONE);
	assert_int_equal(act_restore(&w.act, NULL), 0);
	merge_assert_file("merge_across_nodes", "1");
}

/* All is unmerged first, by a thread, journalled: then the value. */
static void test_unmerge_first(void **state)
{
	int error;

	(void)state;
	merge_order(NULL, POL_KSM_NODES, 0, 1);
	assert_non_null(w.act.unmerge);
	while (!unmerge_is_done(w.act.unmerge, &error))
		usleep(1000);
	assert_int_equal(error, 0);
	merge_assert_file("run", "2");
	merge_assert_file("merge_across_nodes", "1");
	assert_string_equal(undo_original(w.undo, KSM "run"), "1");
	merge_order(NULL, POL_KSM_NODES, 0, 0);
	assert_null(w.act.unmerge);
	merge_assert_file("merge_across_nodes", "0");
	assert_int_equal(act_restore(&w.act, NULL), 0);
	merge_assert_file("run", "1");
	merge_assert_file("merge_across_nodes", "1");
}

/* Given back without waiting for the kernel: it is unmerged beside the loop, once. */
static void test_unmerge_before_restore(void **state)
{
	struct pol_ksm seen;
	int error;

	(void)state;
	assert_true(merge_may_restore(&w.act));
	tree_set(&w.tree, KSM "pages_shared", "0\n");
	merge_order(NULL, POL_KSM_NODES, 0, 0);
	assert_true(merge_may_restore(&w.act)); /* nothing is merged */
	tree_set(&w.tree, KSM "full_scans", "40\n");
	assert_int_equal(ksm_sense(w.act.ksm, &seen), 0);
	assert_true(seen.present);
	tree_set(&w.tree, KSM "pages_shared", "5\n");
	tree_set(&w.tree, KSM "pages_sharing", "50\n");
	tree_set(&w.tree, "proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 524352 kB\n");
	assert_true(merge_may_restore(&w.act)); /* and here that would not fit */
	tree_set(&w.tree, "proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n");
	assert_false(merge_may_restore(&w.act));
	while (!unmerge_is_done(w.act.unmerge, &error))
		usleep(1000);
	merge_assert_file("run", "2");
	assert_string_equal(undo_original(w.undo, KSM "run"), "1");
	assert_true(merge_may_restore(&w.act));
	assert_null(w.act.unmerge);
	assert_int_equal(act_restore_below(&w.act, KSM_PATH), 0);
	merge_assert_file("merge_across_nodes", "1");
	merge_assert_file("run", "1");
	/* The kernel counts anew, and is believed. */
	tree_set(&w.tree, KSM "full_scans", "0\n");
	assert_int_equal(ksm_sense(w.act.ksm, &seen), 0);
	assert_true(seen.present);
}

static void test_unmerge_fails(void **state)
{
	char path[160];
	int error;

	(void)state;
	tree_path(&w.tree, KSM "run", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/full", path), 0);
	/* It cannot even be read: nothing is begun. */
	merge_order(NULL, POL_KSM_NODES, 0, 1);
	assert_null(w.act.unmerge);
	assert_int_equal(merge_outcome_of(1), ACCOUNT_FAILED);
	assert_contains(w.failed, "merge_across_nodes");
	/* A write that the kernel refuses is told at the next order. */
	assert_int_equal(unmerge_start(w.act.rootfd, KSM "no-such-file", &w.act.unmerge), 0);
	while (!unmerge_is_done(w.act.unmerge, &error))
		usleep(1000);
	assert_int_equal(error, -ENOENT);
	merge_order(NULL, POL_KSM_NODES, 0, 1);
	assert_int_equal(merge_outcome_of(2), ACCOUNT_FAILED);
	assert_null(w.act.unmerge);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MERGE_TEST(test_nodes),
		MERGE_TEST(test_unmerge_first),
		MERGE_TEST(test_unmerge_before_restore),
		MERGE_TEST(test_unmerge_fails),
	};

	return cmocka_run_group_tests_name("memd_merge_nodes", tests, NULL, NULL);
}
