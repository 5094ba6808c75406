// SPDX-License-Identifier: Apache-2.0
/* The page's matrix: guests that can be looked at, trust domains, and why there is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/wire.h"
#include "tests/unit/tree.h"
#include "tools/html.h"
#include "tools/html_sharing.h"

static int scan(const char *root, const char *answer_text, struct html_sharing **ret, char *why)
{
	AUTO_JSON json_object *answer = answer_text ? json_tokener_parse(answer_text) : NULL;
	AUTO_FD int rootfd = kfile_open_root(root);

	assert_true(rootfd >= 0);
	return html_sharing_scan(rootfd, answer, ret, why, HTML_WHY_MAX);
}

static void test_nobody(void **state)
{
	struct html_sharing *sharing = NULL;
	char why[HTML_WHY_MAX];

	(void)state;
	assert_int_equal(scan("/", NULL, &sharing, why), -ENODATA);
	assert_string_equal(why, "there is no guest to look at");
	assert_int_equal(scan("/", "{\"guests\":[]}", &sharing, why), -ENODATA);
	assert_int_equal(scan("/", "{\"guests\":[{\"name\":\"x\",\"pid\":null}]}", &sharing, why),
			 -ENODATA);
	assert_null(sharing);
}

/* A host without /proc/kpageflags. */
static void test_no_frames(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	struct html_sharing *sharing = NULL;
	char why[HTML_WHY_MAX] = "";

	(void)state;
	assert_true(scan(tree.root, "{\"guests\":[{\"name\":\"x\",\"pid\":1}]}", &sharing, why) <
		    0);
	assert_true(strlen(why) > 10);
	assert_null(sharing);
}

/* This very process under three names: nothing is merged, but all of it can be looked at. */
static void test_matrix(void **state)
{
	struct html_sharing *sharing = NULL;
	const struct html_matrix *matrix;
	char text[512], why[HTML_WHY_MAX];
	int r;

	(void)state;
	snprintf(text, sizeof(text),
		 "{\"guests\":[{\"name\":\"a\",\"pid\":%d,\"domain\":\"red\"},"
		 "{\"name\":\"gone\",\"pid\":null,\"domain\":\"red\"},"
		 "{\"name\":\"b\",\"pid\":%d,\"domain\":null},{\"name\":\"c\",\"pid\":%d,"
		 "\"domain\":\"red\"}]}",
		 (int)getpid(), (int)getppid(), 1);
	r = scan("/", text, &sharing, why);
	if (r == -EPERM || r == -EOPNOTSUPP || r == -EACCES) {
		print_message("no page frames here: %s\n", why);
		skip();
	}
	assert_int_equal(r, 0);
	matrix = html_sharing_matrix(sharing);
	assert_int_equal(matrix->n, 3);
	assert_string_equal(matrix->names[1], "b");
	for (size_t i = 0; i < 9; i++) {
		assert_int_equal(matrix->bytes[i], 0);
		/* Between b, which has no domain, and the red ones. */
		assert_int_equal(matrix->alarm[i], (i / 3 == 1) != (i % 3 == 1));
	}
	html_sharing_free(sharing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_no_frames),
		cmocka_unit_test(test_matrix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
