// SPDX-License-Identifier: Apache-2.0
/* The LRU's generations: what they tell of a cgroup, and texts that tell nothing. */
#include "tests/unit/tree.h"

#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/size.h"
#include "memd/lru_gen.h"

#define LEAST	 (10 * USEC_PER_SEC)
#define PAGES(n) ((uint64_t)(n)*4 * KIB)

/* As 6.12 printed it, of a guest under KVM with 60 MiB in use, after four agings 11 s apart. */
static const char after_four[] = "memcg     1 /\n"
				 " node     0\n"
				 "          0      90000        100        2000 \n"
				 "          1      90000        100        2000 \n"
				 "memcg     3 /g\n"
				 " node     0\n"
				 "          4      33480      49874        3915 \n"
				 "          5      22208         78          13 \n"
				 "          6      11252      15693           0 \n"
				 "          7        376          0           0 \n"
				 "memcg     4 /g/child of it\n"
				 " node     0\n"
				 "          0      40000          5           0 \n"
				 "          1      20000          6           0 \n"
				 "          2        100          7           0 \n";

static void test_in_use(void **state)
{
	struct lru_gen_look look;

	(void)state;
	assert_int_equal(lru_gen_find(after_four, "/g", LEAST, &look), 0);
	/* Generation 5 ended 10.9 s before the last aging, so it and 4 are idle. */
	assert_int_equal(look.hot_bytes, PAGES(15693));
	assert_int_equal(look.window_us, (11252 - 376) * 1000);
	assert_int_equal(look.age_us, 376 * 1000);
	/* Idle for 20 s or more: only what is in 4. */
	assert_int_equal(lru_gen_find(after_four, "/g", 2 * LEAST, &look), 0);
	assert_int_equal(look.hot_bytes, PAGES(78 + 15693));
	assert_int_equal(look.window_us, (22208 - 376) * 1000);
	assert_int_equal(lru_gen_find(after_four, "/g/child of it", LEAST, &look), 0);
	assert_int_equal(look.hot_bytes, PAGES(6 + 7));
}

/* Nobody has aged it for so long, or no such cgroup. */
static void test_nothing_to_tell(void **state)
{
	struct lru_gen_look look;

	(void)state;
	assert_int_equal(lru_gen_find(after_four, "/", LEAST, &look), -EAGAIN);
	assert_int_equal(lru_gen_find(after_four, "/g", 60 * USEC_PER_SEC, &look), -EAGAIN);
	assert_int_equal(lru_gen_find(after_four, "/h", LEAST, &look), -ENOENT);
	assert_int_equal(lru_gen_find(after_four, "/g/child", LEAST, &look), -ENOENT);
	assert_int_equal(lru_gen_find("", "/", LEAST, &look), -ENOENT);
}

/* Two nodes: what is in use on both, and the worse of the ages. One without memory says nothing. */
static void test_nodes(void **state)
{
	static const char text[] = "memcg     3 /g\n"
				   " node     0\n"
				   "  1  30000  100 0 \n"
				   "  2  15000   10 0 \n"
				   "  3   1000    1 0 \n"
				   " node     1\n"
				   "  5  50000  200 0 \n"
				   "  6  40000   20 0 \n"
				   "  7  20000    2 0 \n"
				   " node     2\n"
				   "  0  90000    0 0 \n"
				   "  1  90000    0 0 \n";
	struct lru_gen_look look;

	(void)state;
	assert_int_equal(lru_gen_find(text, "/g", LEAST, &look), 0);
	assert_int_equal(look.hot_bytes, PAGES(10 + 1 + 20 + 2));
	assert_int_equal(look.window_us, 14 * USEC_PER_SEC);
	assert_int_equal(look.age_us, 20 * USEC_PER_SEC);
}

/* Not as documented: refused, whatever it is. */
static void test_odd_texts(void **state)
{
	/* More generations than any kernel has. */
	static const char nine[] = "memcg 3 /g\n node 0\n 0 9 1 1\n 1 9 1 1\n 2 9 1 1\n 3 9 1 1\n"
				   " 4 9 1 1\n 5 9 1 1\n 6 9 1 1\n 7 9 1 1\n 8 9 1 1\n";
	static const char *const odd[] = {
		"memcg 3 /g\n",
		"memcg 3 /g\n node 0\n",
		"memcg 3 /g\n node 0\n words\n",
		"memcg 3 /g\n node 0\n 1 100\n",
		"memcg 3 /g\n node 0\n 1 30000 5 5\n 3 100 5 5\n", /* a number is missing */
		"memcg 3 /g\n node 0\n 1 100 5 5\n 2 30000 5 5\n", /* the younger one is older */
		"memcg 3 /g\n node 0\n 1 30000 18446744073709551615 5\n", /* pages out of this world
									   */
		"memcg 3 /g\n node 0\n 1 18446744073709551615 5 5\n",
		nine,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct lru_gen_look look;

		assert_int_equal(lru_gen_find(odd[i], "/g", LEAST, &look), -EINVAL);
	}
}

/* Cut anywhere, it is refused or tells no more than the whole text does. */
static void test_cut_texts(void **state)
{
	(void)state;
	for (size_t n = 0; n < sizeof(after_four); n++) {
		AUTO_FREE char *text = strndup(after_four, n);
		struct lru_gen_look look;

		if (lru_gen_find(text, "/g", LEAST, &look) == 0)
			assert_true(look.hot_bytes <= PAGES(49874 + 78 + 15693));
	}
}

static void test_why_not(void **state)
{
	AUTO_TREE struct tree tree = tree_new(NULL);
	AUTO_FD int rootfd = tree_rootfd(&tree);

	(void)state;
	assert_contains(lru_gen_why_not(rootfd), "CONFIG_LRU_GEN");
	tree_set(&tree, "sys/kernel/mm/lru_gen/enabled", "0x0000\n");
	assert_contains(lru_gen_why_not(rootfd), "switched off");
	tree_set(&tree, "sys/kernel/mm/lru_gen/enabled", "0x0007\n");
	assert_contains(lru_gen_why_not(rootfd), "debugfs");
	tree_set(&tree, LRU_GEN_FILE, after_four);
	assert_null(lru_gen_why_not(rootfd));
	tree_set(&tree, "sys/kernel/mm/lru_gen/enabled", "on\n");
	assert_contains(lru_gen_why_not(rootfd), "switched off");

	assert_false(lru_gen_sees_kvm(rootfd));
	tree_set(&tree, "proc/sys/kernel/osrelease", "6.1.0-50-cloud-amd64\n");
	assert_false(lru_gen_sees_kvm(rootfd));
	tree_set(&tree, "proc/sys/kernel/osrelease", "6.12.117+deb13-cloud-amd64\n");
	assert_true(lru_gen_sees_kvm(rootfd));
	tree_set(&tree, "proc/sys/kernel/osrelease", "7.0\n");
	assert_true(lru_gen_sees_kvm(rootfd));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_use),	  cmocka_unit_test(test_nothing_to_tell),
		cmocka_unit_test(test_nodes),	  cmocka_unit_test(test_odd_texts),
		cmocka_unit_test(test_cut_texts), cmocka_unit_test(test_why_not),
	};

	return cmocka_run_group_tests_name("memd_lru_gen", tests, NULL, NULL);
}
