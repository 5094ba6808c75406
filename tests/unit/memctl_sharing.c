// SPDX-License-Identifier: Apache-2.0
/* Whom memctl sharing looks at: from the command line, from memd's answer, from /proc. */
#include "tests/unit/tree.h"

#include "common/cleanup.h"
#include "common/log.h"
#include "tools/sharing_guests.h"

#define AUTO_LIST AUTO(sharing_list_free)

static void from_text(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_FD int rootfd = tree_rootfd(&tree);
	AUTO_LIST struct sharing_list list = {0};

	tree_set_bytes(&tree, "proc/12/cmdline", "qemu\0-name\0guest=db1,debug-threads=on\0", 38);
	tree_set_bytes(&tree, "proc/13/cmdline", "vmm\0--name\0web1\0--qmp\0x\0", 24);
	tree_set_bytes(&tree, "proc/14/cmdline", "vmm\0--name=web\x1b[2\0", 19);
	tree_set_bytes(&tree, "proc/15/cmdline", "vmm\0-name\0", 10);
	tree_set(&tree, "proc/15/comm", "vmm main\n");
	assert_true(sharing_list_parse(rootfd, "11=a=b,12,13,14,15,16", &list));
	assert_int_equal(list.n, 6);
	assert_int_equal(list.v[0].pid, 11);
	assert_string_equal(list.v[0].name, "a=b");
	assert_string_equal(list.v[1].name, "db1");
	assert_string_equal(list.v[2].name, "web1");
	assert_string_equal(list.v[3].name, "web?[2"); /* nothing that a terminal would obey */
	assert_string_equal(list.v[4].name, "vmm main");
	assert_string_equal(list.v[5].name, "16");
}

static void from_bad_text(void **state)
{
	static const char *const bad[] = {"",	",",	 "x",		"1x", "0",   "-1",
					  "1=", "1,2,1", "99999999999", " 1", "1,=a"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_LIST struct sharing_list list = {0};

		assert_false(sharing_list_parse(AT_FDCWD, bad[i], &list));
	}
}

static void from_memd(void **state)
{
	AUTO_LIST struct sharing_list list = {0};
	AUTO_JSON json_object *answer = json_tokener_parse(
		"{\"guests\":[{\"name\":\"web1\",\"pid\":7},{\"name\":\"lost\",\"pid\":null},"
		"{\"name\":\"odd\",\"pid\":-3},{\"pid\":9},{\"name\":\"big\",\"pid\":4294967296}]"
		"}");

	assert_int_equal(sharing_list_from(answer, &list), 0);
	assert_int_equal(list.n, 2);
	assert_string_equal(list.v[0].name, "web1");
	assert_int_equal(list.v[0].pid, 7);
	assert_int_equal(list.v[1].pid, 9);
}

static void from_proc(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	AUTO_LIST struct sharing_list list = {0};
	bool found[3] = {false};

	/* three of its QEMU processes use KVM, one is TCG's */
	assert_int_equal(sharing_list_discover(rootfd, &list), 0);
	assert_int_equal(list.n, 3);
	for (size_t i = 0; i < list.n; i++) {
		assert_in_range(list.v[i].pid, 217, 219);
		found[list.v[i].pid - 217] = true;
		assert_true(list.v[i].name[0]);
	}
	assert_true(found[0] && found[1] && found[2]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_text),
		cmocka_unit_test(from_bad_text),
		cmocka_unit_test(from_memd),
		cmocka_unit_test(from_proc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
