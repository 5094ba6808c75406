// SPDX-License-Identifier: Apache-2.0
/* ksmd: found in /proc, and its nice value, which the undo journal keeps like a file. */
#include "tests/unit/ksmd_child.h"

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/ksmd.h"
#include "common/undo.h"

static void put_stat(const struct tree *tree, int pid, const char *rest)
{
	char path[64], text[128];

	snprintf(path, sizeof(path), "proc/%d/stat", pid);
	snprintf(text, sizeof(text), "%d %s 0 0 0 -1 0 0 0 0 0 7 7 0 0 25 5 1 0 9\n", pid, rest);
	tree_set(tree, path, text);
}

/* Whoever else is called so, and however. */
static void found_by_name_and_parent(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_FD int rootfd = tree_rootfd(&tree);

	assert_int_equal(ksmd_find(rootfd), -ENOENT);
	put_stat(&tree, 5, "(ksmd) S 1");
	put_stat(&tree, 6, "(a) S 2 (ksmd) S 1");
	put_stat(&tree, 7, "(ksmd) S 2 (x) S 1");
	put_stat(&tree, 8, "(kksmd) S 2");
	put_stat(&tree, 9, "(ksmd) S 22");
	put_stat(&tree, 10, "(ksmd");
	tree_set(&tree, "proc/11/stat", "");
	tree_set(&tree, "proc/12/stat", "13 (ksmd) S 2 0");
	assert_int_equal(ksmd_find(rootfd), -ENOENT);
	put_stat(&tree, 37, "(ksmd) S 2");
	assert_int_equal(ksmd_find(rootfd), 37);
	tree_remove(&tree, "proc");
	assert_int_equal(ksmd_find(rootfd), -ENOENT);
}

static int nice_now(void)
{
	return getpriority(PRIO_PROCESS, 0);
}

/* A captured host says that this very test is ksmd: nothing is done to it, not even looked at. */
static void nothing_because_of_a_captured_host(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_FD int rootfd = tree_rootfd(&tree);
	int before = nice_now(), nice = 77;
	char path[PATH_MAX], ours[16];
	struct undo *undo;

	put_stat(&tree, (int)getpid(), "(ksmd) S 2");
	assert_int_equal(ksmd_find(rootfd), getpid());
	assert_int_equal(ksmd_nice(rootfd, &nice), -ENOENT);
	assert_int_equal(nice, 77);
	assert_int_equal(ksmd_set_nice(rootfd, 19), -ENOENT);
	/* Nor by a journal that says that we did. */
	tree_path(&tree, "run", path, sizeof(path));
	assert_int_equal(undo_open(path, "/", &undo), 0);
	snprintf(ours, sizeof(ours), "%d", before);
	assert_int_equal(undo_record(undo, UNDO_KSMD_NICE, "19", ours), 0);
	assert_int_equal(undo_restore(undo, rootfd, NULL, NULL), 0);
	assert_int_equal(undo_count(undo), 0);
	undo_close(undo);
	assert_int_equal(nice_now(), before);
}

static void no_other_path_of_ksmd(void **state)
{
	static const char *const paths[] = {"ksmd",	  "ksmd/",	 "ksmd/nice/",
					    "/ksmd/nice", "ksmd/nice/x", "ksmd/../sys/a",
					    "ksmd/stat",  "ksmd/Nice"};
	AUTO_TREE struct tree tree = tree_new(NULL);
	char path[PATH_MAX], text[64];
	struct undo *undo;

	tree_path(&tree, "run", path, sizeof(path));
	assert_int_equal(undo_open(path, "/", &undo), 0);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_int_equal(undo_record(undo, paths[i], "5", "0"), -EINVAL);
	assert_int_equal(undo_record(undo, UNDO_KSMD_NICE, "5", "0"), 0);
	assert_string_equal(tree_get(&tree, "run/undo", text, sizeof(text)), "ksmd/nice\t5\t0");
	undo_close(undo);
	assert_string_equal(undo_path_text(UNDO_KSMD_NICE, path, sizeof(path)),
			    "ksmd's nice value");
	assert_string_equal(undo_path_text("sys/a", path, sizeof(path)), "/sys/a");
}

/* ---- below, the child is ksmd ---- */

static bool sets_nice(struct tree *tree)
{
	AUTO_FD int rootfd = kfile_open_root("/");
	char self[32];
	int nice = 77;

	KSMD_CHECK(ksmd_nice(rootfd, &nice) == 0 && nice == 5);
	KSMD_CHECK(ksmd_set_nice(rootfd, -1) == 0 && nice_now() == -1);
	KSMD_CHECK(ksmd_nice(rootfd, &nice) == 0 && nice == -1);
	KSMD_CHECK(ksmd_set_nice(rootfd, 19) == 0 && nice_now() == 19);
	/* The kernel takes it for 19. */
	KSMD_CHECK(ksmd_set_nice(rootfd, 20) == -EIO && nice_now() == 19);
	/* A /proc of another pid namespace: its numbers are of others. */
	snprintf(self, sizeof(self), "%d", (int)getpid() + 1);
	KSMD_CHECK(unlink("/proc/self") == 0 && symlink(self, "/proc/self") == 0);
	KSMD_CHECK(ksmd_nice(rootfd, &nice) == -ENOENT);
	KSMD_CHECK(ksmd_set_nice(rootfd, 3) == -ENOENT && nice_now() == 19);
	KSMD_CHECK(unlink("/proc/self") == 0 && ksmd_set_nice(rootfd, 3) == -ENOENT);
	return true;
}

static void nice_is_set_and_read_back(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);

	ksmd_child_run(&tree, sets_nice);
}

static struct undo_report last;

static void keep_report(void *ctx, const struct undo_report *report)
{
	last = *report;
}

/* A journal of one who was killed at nice `now`: what becomes of it. */
static enum undo_result restored_from(int now, const char *original)
{
	AUTO_FD int rootfd = kfile_open_root("/");
	struct undo *undo = NULL;

	last = (struct undo_report){.result = UNDO_UNREADABLE};
	if (undo_open("/run", "/", &undo) < 0 ||
	    undo_record(undo, UNDO_KSMD_NICE, original, "0") < 0 || !ksmd_child_nice(now))
		return UNDO_UNREADABLE;
	undo_close(undo);
	undo_restore_dir(rootfd, "/run", keep_report, NULL);
	return last.result;
}

static bool restores_nice(struct tree *tree)
{
	KSMD_CHECK(restored_from(0, "5") == UNDO_RESTORED && nice_now() == 5);
	KSMD_CHECK(restored_from(0, "-7") == UNDO_RESTORED && nice_now() == -7);
	KSMD_CHECK(restored_from(5, "5") == UNDO_UNNEEDED && nice_now() == 5);
	KSMD_CHECK(restored_from(3, "5") == UNDO_LEFT && nice_now() == 3);
	KSMD_CHECK(restored_from(0, "5x") == UNDO_FAILED && last.error == -EINVAL);
	KSMD_CHECK(nice_now() == 0 && unlink("/run/undo") == 0);
	KSMD_CHECK(restored_from(0, "20") == UNDO_FAILED && nice_now() == 0);
	return true;
}

static void nice_is_restored_by_the_journal(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);

	ksmd_child_run(&tree, restores_nice);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_by_name_and_parent),
		cmocka_unit_test(nothing_because_of_a_captured_host),
		cmocka_unit_test(no_other_path_of_ksmd),
		cmocka_unit_test(nice_is_set_and_read_back),
		cmocka_unit_test(nice_is_restored_by_the_journal),
	};

	return cmocka_run_group_tests_name("common_ksmd", tests, NULL, NULL);
}
