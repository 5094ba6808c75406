/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A child of a test that is ksmd, as far as its own host shows: its root is a tree whose /proc says
 * so. What is done to ksmd there, by real system calls, is done to the child. Takes root's rights.
 */
#ifndef TESTS_UNIT_KSMD_CHILD_H
#define TESTS_UNIT_KSMD_CHILD_H

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "common/ksmd.h"
#include "tests/unit/tree.h"

#define KSMD_CHILD_CANNOT 77

/* In the child, whose tree is "/". False: the test fails; what failed has been told. */
typedef bool (*ksmd_child_fn)(struct tree *tree);

/* For use in such a function: cmocka's own would go on with the next test in the child. */
#define KSMD_CHECK(condition)                                                               \
	do {                                                                                \
		if (!(condition)) {                                                         \
			fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #condition); \
			return false;                                                       \
		}                                                                           \
	} while (0)

static inline bool ksmd_child_nice(int nice)
{
	return setpriority(PRIO_PROCESS, 0, nice) == 0;
}

static inline void ksmd_child_main(struct tree *tree, ksmd_child_fn fn)
{
	char path[PATH_MAX], text[64];
	int pid = (int)getpid();

	snprintf(path, sizeof(path), "proc/%d/stat", pid);
	snprintf(text, sizeof(text), "%d (ksmd) S 2 0 0 0 -1 0 0 0 0 0 7 7 0 0 25 5 1 0 9\n", pid);
	tree_set(tree, path, text);
	snprintf(text, sizeof(text), "%d", pid);
	tree_path(tree, "proc/self", path, sizeof(path));
	if (symlink(text, path) < 0 || chroot(tree->root) < 0 || chdir("/") < 0 ||
	    !ksmd_child_nice(-1) || !ksmd_child_nice(5) || !ksmd_child_nice(0) ||
	    !ksmd_child_nice(5))
		_exit(KSMD_CHILD_CANNOT);
	tree->root[0] = '\0';
	/* Nothing is done to any other process. */
	_exit(ksmd_find(open("/", O_RDONLY | O_DIRECTORY)) == pid && fn(tree) ? 0 : 1);
}

/* fn in a child at nice 5, as the kernel starts ksmd; the test is skipped where that cannot be. */
static inline void ksmd_child_run(struct tree *tree, ksmd_child_fn fn)
{
	int status;
	pid_t pid;

	/* A captured ksmd's pid may be that of the real one. */
	tree_shell("rm -rf %s/proc/[0-9]* %s/proc/self", tree->root, tree->root);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		ksmd_child_main(tree, fn);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == KSMD_CHILD_CANNOT) {
		print_message("no chroot(2), or no nice value below that of before: not root?\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

#endif
