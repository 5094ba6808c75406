/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A throw-away copy of a captured host (tests/fixtures/hosts/NAME) that a test may break: files
 * set, removed, made. Tests run from the top of the source tree.
 */
#ifndef TESTS_UNIT_TREE_H
#define TESTS_UNIT_TREE_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TREE_HOSTS "tests/fixtures/hosts/"

struct tree {
	char root[64];
};

static inline void tree_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void tree_shell(const char *fmt, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, fmt);
	assert_true(vsnprintf(command, sizeof(command), fmt, ap) < (int)sizeof(command));
	va_end(ap);
	assert_int_equal(system(command), 0);
}

/* name NULL: an empty root with proc and sys. */
static inline struct tree tree_new(const char *name)
{
	struct tree tree = {.root = "/tmp/memd-tree-XXXXXX"};

	assert_non_null(mkdtemp(tree.root));
	assert_int_equal(chmod(tree.root, 0755), 0);
	if (name)
		tree_shell("cp -a " TREE_HOSTS "%s/. %s/", name, tree.root);
	else
		tree_shell("mkdir -p %s/proc %s/sys", tree.root, tree.root);
	return tree;
}

static inline void tree_free(struct tree *tree)
{
	tree_shell("rm -rf %s", tree->root);
}
#define AUTO_TREE __attribute__((cleanup(tree_free)))

static inline const char *tree_path(const struct tree *tree, const char *path, char *buf, size_t n)
{
	assert_true((size_t)snprintf(buf, n, "%s/%s", tree->root, path) < n);
	return buf;
}

/* Set a file's text, in place when it exists (kept descriptors see it), with its directories. */
static inline void tree_set_bytes(const struct tree *tree, const char *path, const char *text,
				  size_t len)
{
	char full[PATH_MAX], *slash;
	int fd;

	tree_path(tree, path, full, sizeof(full));
	for (slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static inline void tree_set(const struct tree *tree, const char *path, const char *text)
{
	tree_set_bytes(tree, path, text, strlen(text));
}

static inline void tree_remove(const struct tree *tree, const char *path)
{
	tree_shell("rm -r %s/%s", tree->root, path);
}

/* Without its newline. */
static inline const char *tree_get(const struct tree *tree, const char *path, char *buf, size_t n)
{
	char full[PATH_MAX];
	ssize_t len;
	int fd = open(tree_path(tree, path, full, sizeof(full)), O_RDONLY);

	assert_true(fd >= 0);
	len = read(fd, buf, n - 1);
	assert_true(len >= 0);
	close(fd);
	buf[len] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return buf;
}

static inline int tree_rootfd(const struct tree *tree)
{
	int fd = open(tree->root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static inline void tree_assert_contains(const char *text, const char *part, const char *file,
					int line)
{
	if (text && strstr(text, part))
		return;
	print_error("\"%s\" does not contain \"%s\"\n", text ? text : "(null)", part);
	_fail(file, line);
}
#define assert_contains(text, part) tree_assert_contains((text), (part), __FILE__, __LINE__)

#endif
