/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the undo journal: KSM's files on a captured tree, a journal beside them, and what
 * restoring tells. */
#ifndef MEMD_TESTS_UNDO_TREE_H
#define MEMD_TESTS_UNDO_TREE_H

#include "tests/unit/tree.h"

#include "common/cleanup.h"
#include "common/undo.h"

#define KSM "sys/kernel/mm/ksm/"

static char log_text[8192];

static inline void log_report(void *ctx, const struct undo_report *r)
{
	size_t len = strlen(log_text);
	const char *name = r->path ? strrchr(r->path, '/') + 1 : "-";

	snprintf(log_text + len, sizeof(log_text) - len, "%s %s%s%s\n", undo_result_name(r->result),
		 name, r->current ? " was " : "", r->current ? r->current : "");
	if (r->result == UNDO_UNREADABLE)
		assert_true(r->line > 0);
	if (r->result == UNDO_FAILED)
		assert_true(r->error < 0);
}

static inline struct tree ksm_tree(void)
{
	struct tree tree = tree_new(NULL);

	tree_set(&tree, KSM "run", "0\n");
	tree_set(&tree, KSM "pages_to_scan", "100\n");
	tree_set(&tree, KSM "sleep_millisecs", "20\n");
	tree_set(&tree, KSM "advisor_mode", "none [scan-time]\n");
	return tree;
}

static inline struct undo *undo_in(const struct tree *tree)
{
	char path[PATH_MAX];
	struct undo *undo;

	assert_int_equal(undo_open(tree_path(tree, "run", path, sizeof(path)), "/", &undo), 0);
	return undo;
}

static inline int restore(const struct tree *tree)
{
	AUTO_FD int rootfd = tree_rootfd(tree);
	char path[PATH_MAX];

	log_text[0] = '\0';
	return undo_restore_dir(rootfd, tree_path(tree, "run", path, sizeof(path)), log_report,
				NULL);
}

static inline void assert_file(const struct tree *tree, const char *path, const char *text)
{
	char buf[256];

	assert_string_equal(tree_get(tree, path, buf, sizeof(buf)), text);
}

#endif
