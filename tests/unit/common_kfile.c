// SPDX-License-Identifier: Apache-2.0
/* Kernel files: a captured tree in a temporary directory, and the live /proc. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/kfile.h"

#define UNTOUCHED 0xdeadbeefULL

static char directory[] = "/tmp/memd-kfile-XXXXXX";
static int root;

/* The file "f" with that content. */
static void put(const char *text, size_t n)
{
	AUTO_FD int fd = openat(root, "f", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
}

static void put_text(const char *text)
{
	put(text, strlen(text));
}

static void test_read(void **state)
{
	char buf[5];

	put_text("abcd");
	assert_int_equal(kfile_read(root, "f", buf, sizeof(buf)), 4);
	assert_string_equal(buf, "abcd");
	put_text("abcde");
	assert_int_equal(kfile_read(root, "f", buf, sizeof(buf)), -E2BIG);
	assert_string_equal(buf, "abcd");
	put_text("");
	assert_int_equal(kfile_read(root, "f", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
	assert_int_equal(kfile_read(root, "none", buf, sizeof(buf)), -ENOENT);
	assert_string_equal(buf, "");
	assert_int_equal(kfile_read(root, ".", buf, sizeof(buf)), -EISDIR);
	assert_int_equal(kfile_read(root, "f", buf, 0), -EINVAL);
}

/* An absolute path would read the live system in the place of the captured one. */
static void test_stays_below_root(void **state)
{
	uint64_t value = UNTOUCHED;
	char buf[64];

	assert_int_equal(kfile_read(root, "/proc/version", buf, sizeof(buf)), -EINVAL);
	assert_int_equal(kfile_read_u64(root, "/proc/sys/vm/swappiness", &value), -EINVAL);
	assert_int_equal(kfile_write(root, "/dev/null", "x"), -EINVAL);
	assert_int_equal(kfile_read(root, "", buf, sizeof(buf)), -EINVAL);
	assert_int_equal(value, UNTOUCHED);
}

static void test_read_all(void **state)
{
	static char big[1000001];
	size_t n = sizeof(big), len = 0;
	AUTO_FREE char *text = NULL;

	memset(big, 'b', n);
	put(big, n);
	assert_int_equal(kfile_read_all(root, "f", &text, &len), 0);
	assert_int_equal(len, n);
	assert_memory_equal(text, big, n);
	assert_int_equal(text[n], '\0');
	free(TAKE_PTR(text));

	/* A length that just fills the buffer. */
	put(big, 4095);
	assert_int_equal(kfile_read_all(root, "f", &text, NULL), 0);
	assert_int_equal(strlen(text), 4095);
	free(TAKE_PTR(text));
	assert_int_equal(kfile_read_all(root, "none", &text, &len), -ENOENT);
	assert_null(text);
}

static void test_live(void **state)
{
	AUTO_FD int live = kfile_open_root("/");
	AUTO_FREE char *text = NULL;
	uint64_t total = 0;

	assert_true(live >= 0);
	assert_int_equal(kfile_read_all(live, "proc/meminfo", &text, NULL), 0);
	assert_int_equal(kfile_field_u64(text, "MemTotal", &total), 0);
	assert_in_range(total, 64ULL << 20, 1ULL << 50);
	assert_int_equal(kfile_open_root("/nonexistent"), -ENOENT);
	assert_int_equal(kfile_open_root("/proc/version"), -ENOTDIR);
}

static void test_u64(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint64_t value;
	} cases[] = {
		{"0\n", 0, 0},
		{"18446744073709551615\n", 0, UINT64_MAX},
		{"  42 \n", 0, 42},
		{"18446744073709551616\n", -EINVAL, UNTOUCHED},
		{"-1\n", -EINVAL, UNTOUCHED},
		{"+1\n", -EINVAL, UNTOUCHED},
		{"1 2\n", -EINVAL, UNTOUCHED},
		{"1kB\n", -EINVAL, UNTOUCHED},
		{"0x10\n", -EINVAL, UNTOUCHED},
		{"max\n", -EINVAL, UNTOUCHED},
		{"\n", -EINVAL, UNTOUCHED},
		{"", -EINVAL, UNTOUCHED},
		{"1                                                                     ", -EINVAL,
		 UNTOUCHED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t value = UNTOUCHED;

		put_text(cases[i].text);
		assert_int_equal(kfile_read_u64(root, "f", &value), cases[i].result);
		assert_int_equal(value, cases[i].value);
	}
	put("1\0002", 3);
	assert_int_equal(kfile_read_u64(root, "f", &(uint64_t){0}), -EINVAL);
}

static void test_choice(void **state)
{
	static const struct {
		const char *text;
		int result;
		const char *word;
	} cases[] = {
		{"always [madvise] never\n", 0, "madvise"},
		{"[none] scan-time\n", 0, "none"},
		{"single\n", 0, "single"},
		{"two words\n", -EINVAL, "before"},
		{"open [bracket\n", -EINVAL, "before"},
		{"[] x\n", -EINVAL, "before"},
		{"\n", -EINVAL, "before"},
		{"[sixteen-is-longer]\n", -E2BIG, "before"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char buf[16] = "before";

		put_text(cases[i].text);
		assert_int_equal(kfile_read_choice(root, "f", buf, sizeof(buf)), cases[i].result);
		assert_string_equal(buf, cases[i].word);
	}
}

static void test_write(void **state)
{
	char buf[32];

	put_text("a longer value than the new one");
	assert_int_equal(kfile_write(root, "f", "new"), 0);
	kfile_read(root, "f", buf, sizeof(buf));
	assert_string_equal(buf, "new");
	assert_int_equal(kfile_write_u64(root, "f", UINT64_MAX), 0);
	kfile_read(root, "f", buf, sizeof(buf));
	assert_string_equal(buf, "18446744073709551615");
	/* Never creates: a knob that is not there is not there. */
	assert_int_equal(kfile_write(root, "none", "1"), -ENOENT);
	assert_int_equal(faccessat(root, "none", F_OK, 0), -1);
}

static void test_field(void **state)
{
	static const char text[] = "MemTotal:       16384 kB\n"
				   "MemTotalX:      1 kB\n"
				   "HugePages_Total:       7\n"
				   "pgfault 123\n"
				   "pgfault_x 5\n"
				   "profit -42\n"
				   "Uid:\t0\t1\t2\t3\n"
				   "empty:\n"
				   "huge: 18446744073709551615 kB\n"
				   "odd: 5 MB\n"
				   "last 9";
	static const struct {
		const char *key;
		int result;
		uint64_t value;
	} cases[] = {
		{"MemTotal", 0, 16384 * 1024},
		{"HugePages_Total", 0, 7},
		{"pgfault", 0, 123},
		{"pgfault_x", 0, 5},
		{"last", 0, 9},
		{"Mem", -ENOENT, UNTOUCHED},
		{"otal", -ENOENT, UNTOUCHED},
		{"none", -ENOENT, UNTOUCHED},
		{"profit", -EINVAL, UNTOUCHED},
		{"Uid", -EINVAL, UNTOUCHED},
		{"empty", -EINVAL, UNTOUCHED},
		{"huge", -EINVAL, UNTOUCHED},
		{"odd", -EINVAL, UNTOUCHED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t value = UNTOUCHED;

		assert_int_equal(kfile_field_u64(text, cases[i].key, &value), cases[i].result);
		assert_int_equal(value, cases[i].value);
	}
	assert_int_equal(kfile_field_u64("", "x", &(uint64_t){0}), -ENOENT);
}

static void test_list(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint64_t word0, word1;
	} cases[] = {
		{"0\n", 0, 1, 0},
		{"0-1,3\n", 0, 0xb, 0},
		{"3,0-1", 0, 0xb, 0},
		{"62-65\n", 0, 3ULL << 62, 3},
		{"0-127\n", 0, UINT64_MAX, UINT64_MAX},
		{"\n", 0, 0, 0},
		{"", 0, 0, 0},
		{"128\n", -ERANGE, UNTOUCHED, UNTOUCHED},
		{"0-18446744073709551615\n", -ERANGE, UNTOUCHED, UNTOUCHED},
		{"99999999999999999999\n", -ERANGE, UNTOUCHED, UNTOUCHED},
		{"1-\n", -EINVAL, UNTOUCHED, UNTOUCHED},
		{"-1\n", -EINVAL, UNTOUCHED, UNTOUCHED},
		{"3-1\n", -EINVAL, UNTOUCHED, UNTOUCHED},
		{"1,\n", -EINVAL, UNTOUCHED, UNTOUCHED},
		{",1\n", -EINVAL, UNTOUCHED, UNTOUCHED},
		{"1 2\n", -EINVAL, UNTOUCHED, UNTOUCHED},
		{"all\n", -EINVAL, UNTOUCHED, UNTOUCHED},
	};
	char buf[64], tiny[6];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t words[2] = {UNTOUCHED, UNTOUCHED};

		assert_int_equal(kfile_list_parse(cases[i].text, words, 128), cases[i].result);
		assert_int_equal(words[0], cases[i].word0);
		assert_int_equal(words[1], cases[i].word1);
	}
	assert_string_equal(
		kfile_list_format((uint64_t[]){0xb | 1ULL << 63, 3}, 128, buf, sizeof(buf)),
		"0-1,3,63-65");
	assert_string_equal(kfile_list_format((uint64_t[]){0, 0}, 128, buf, sizeof(buf)), "");
	/* Too small: whole items only. */
	assert_string_equal(kfile_list_format((uint64_t[]){0xb, 1}, 128, tiny, sizeof(tiny)),
			    "0-1,3");
}

static int make_tree(void **state)
{
	if (!mkdtemp(directory))
		return -1;
	root = kfile_open_root(directory);
	return root < 0 ? -1 : 0;
}

static int remove_tree(void **state)
{
	unlinkat(root, "f", 0);
	close(root);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),	 cmocka_unit_test(test_stays_below_root),
		cmocka_unit_test(test_read_all), cmocka_unit_test(test_live),
		cmocka_unit_test(test_u64),	 cmocka_unit_test(test_choice),
		cmocka_unit_test(test_write),	 cmocka_unit_test(test_field),
		cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests_name("common_kfile", tests, make_tree, remove_tree);
}
