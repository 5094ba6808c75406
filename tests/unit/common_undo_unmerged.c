// SPDX-License-Identifier: Apache-2.0
/* The undo journal where what KSM has merged must be unmerged to restore its files. */
#include "tests/unit/undo_tree.h"

#include "common/undo_journal.h"

/* What the kernel refuses while pages are merged: a plain file does not, but shows the way. */
static struct tree merged_tree(void)
{
	struct tree tree = ksm_tree();
	struct undo *undo = undo_in(&tree);

	tree_set(&tree, KSM "run", "1\n");
	tree_set(&tree, KSM "merge_across_nodes", "0\n");
	tree_set(&tree, KSM "pages_shared", "5\n");
	tree_set(&tree, KSM "pages_sharing", "50\n");
	tree_set(&tree, "proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n");
	assert_int_equal(undo_record(undo, KSM "run", "0", "1"), 0);
	assert_int_equal(undo_record(undo, KSM "merge_across_nodes", "1", "0"), 0);
	undo_close(undo);
	return tree;
}

static void unmerges_for_merge_across_nodes(void **state)
{
	AUTO_TREE struct tree tree = merged_tree();

	/* run is "2" by then, and goes last: with ksmd at work there would be merged pages again */
	assert_int_equal(restore(&tree), 0);
	assert_string_equal(log_text, "restored merge_across_nodes was 0\nrestored run was 2\n");
	assert_file(&tree, KSM "merge_across_nodes", "1");
	assert_file(&tree, KSM "run", "0");
}

static void survives_a_kill_while_unmerging(void **state)
{
	AUTO_TREE struct tree tree = merged_tree();
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct undo *undo = undo_in(&tree);

	assert_true(undo_must_unmerge(undo, rootfd));
	assert_int_equal(undo_unmerge(undo, rootfd), 0);
	undo_close(undo);
	assert_file(&tree, KSM "run", "2");
	tree_set(&tree, KSM "pages_shared", "0\n");
	assert_int_equal(restore(&tree), 0);
	assert_file(&tree, KSM "merge_across_nodes", "1");
	assert_file(&tree, KSM "run", "0");
	/* A kernel that is interrupted in it, or fails, stops KSM, and with what is merged. */
	undo = undo_in(&tree);
	tree_set(&tree, KSM "run", "1\n");
	assert_int_equal(undo_record_unmerge(undo, rootfd), 0);
	undo_close(undo);
	tree_set(&tree, KSM "run", "0\n");
	assert_int_equal(restore(&tree), 0);
	assert_file(&tree, KSM "run", "1");
}

/* Who had KSM off by run=2. */
static void unmerges_for_run_as_it_was(void **state)
{
	AUTO_TREE struct tree tree = ksm_tree();
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct undo *undo = undo_in(&tree);

	tree_set(&tree, KSM "run", "1\n");
	tree_set(&tree, KSM "pages_shared", "5\n");
	tree_set(&tree, KSM "pages_sharing", "50\n");
	tree_set(&tree, "proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n");
	assert_int_equal(undo_record(undo, KSM "run", "2", "1"), 0);
	assert_true(undo_must_unmerge(undo, rootfd));
	/* Not by the way: then KSM is off all the same, */
	assert_int_equal(undo_restore_below(undo, rootfd, "sys/kernel/mm/ksm", log_report, NULL),
			 1);
	assert_file(&tree, KSM "run", "0");
	/* nor where it does not fit, and zero pages count. */
	assert_int_equal(undo_record(undo, KSM "run", "0", "1"), 0);
	tree_set(&tree, KSM "run", "1\n");
	tree_set(&tree, KSM "pages_shared", "0\n");
	tree_set(&tree, KSM "pages_sharing", "0\n");
	tree_set(&tree, KSM "ksm_zero_pages", "50\n");
	tree_set(&tree, "proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 524352 kB\n");
	assert_int_equal(undo_restore(undo, rootfd, log_report, NULL), 1);
	assert_file(&tree, KSM "run", "0");
	/* What somebody else has switched on meanwhile stays on. */
	assert_string_equal(undo_get(undo, 0).ours, "0");
	tree_set(&tree, KSM "run", "1\n");
	assert_false(undo_must_unmerge(undo, rootfd));
	tree_set(&tree, KSM "run", "0\n");
	/* The next memd, or memctl reset. */
	tree_set(&tree, "proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n");
	undo_close(undo);
	undo = undo_in(&tree);
	assert_true(undo_must_unmerge(undo, rootfd));
	log_text[0] = '\0';
	assert_int_equal(undo_restore(undo, rootfd, log_report, NULL), 0);
	assert_string_equal(log_text, "restored run was 2\n");
	assert_file(&tree, KSM "run", "2");
	assert_int_equal(undo_count(undo), 0);
	undo_close(undo);
}

static void unmerges_only_what_is_ours_and_fits(void **state)
{
	AUTO_TREE struct tree tree = merged_tree();
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct undo *undo = undo_in(&tree);

	tree_set(&tree, "proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 524352 kB\n");
	assert_false(undo_must_unmerge(undo, rootfd));
	tree_set(&tree, "proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n");
	tree_set(&tree, KSM "merge_across_nodes", "1\n");
	assert_false(undo_must_unmerge(undo, rootfd));
	tree_set(&tree, KSM "merge_across_nodes", "7\n");
	assert_false(undo_must_unmerge(undo, rootfd));
	undo_close(undo);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unmerges_for_merge_across_nodes),
		cmocka_unit_test(survives_a_kill_while_unmerging),
		cmocka_unit_test(unmerges_for_run_as_it_was),
		cmocka_unit_test(unmerges_only_what_is_ours_and_fits),
	};

	return cmocka_run_group_tests_name("common_undo_unmerged", tests, NULL, NULL);
}
