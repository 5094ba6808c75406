// SPDX-License-Identifier: Apache-2.0
/* Sizes: what is taken, what is refused and why, and how they read when printed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/size.h"

#define UNTOUCHED 0xdeadbeefULL

static void test_parse_good(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
		{"0", 0},
		{"4096", 4096},
		{"4096B", 4096},
		{"512K", 512 * KIB},
		{"512k", 512 * KIB},
		{"256M", 256 * MIB},
		{"256MiB", 256 * MIB},
		{"1G", GIB},
		{"1GiB", GIB},
		{"1.5G", GIB + GIB / 2},
		{"1.50G", GIB + GIB / 2},
		{"0.25M", MIB / 4},
		{"1.0", 1},
		{"2T", 2048 * GIB},
		{"1P", 1ULL << 50},
		{"7E", 7ULL << 60},
		{"9223372036854775807", INT64_MAX},
		{"007", 7},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = UNTOUCHED;

		assert_int_equal(size_parse(cases[i].text, &bytes), 0);
		assert_int_equal(bytes, cases[i].bytes);
	}
}

static void test_parse_bad(void **state)
{
	static const struct {
		const char *text;
		int error;
	} cases[] = {
		{"", -EINVAL},
		{" ", -EINVAL},
		{"-1", -EINVAL},
		{"+1", -EINVAL},
		{"G", -EINVAL},
		{"1X", -EINVAL},
		{"1GB", -EINVAL}, /* decimal or binary? nobody knows */
		{"1 G", -EINVAL},
		{"1G ", -EINVAL},
		{"1Gi", -EINVAL},
		{"1.G", -EINVAL},
		{".5G", -EINVAL},
		{"1..5G", -EINVAL},
		{"1.5", -EINVAL},
		{"0.1G", -EINVAL},
		{"1.0001K", -EINVAL},
		{"0x10", -EINVAL},
		{"1e9", -EINVAL},
		{"nan", -EINVAL},
		{"1K1", -EINVAL},
		{"8E", -ERANGE},
		{"9223372036854775808", -ERANGE},
		{"16E", -ERANGE},
		{"99999999999999999999999", -ERANGE},
		{"99999999999999999999999Z", -EINVAL},
		{"18446744073709551616", -ERANGE},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = UNTOUCHED;
		int r = size_parse(cases[i].text, &bytes);

		if (r != cases[i].error)
			fail_msg("\"%s\": %d, expected %d", cases[i].text, r, cases[i].error);
		assert_int_equal(bytes, UNTOUCHED);
	}
}

static void test_format(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 B"},
		{1, "1 B"},
		{1023, "1023 B"},
		{1024, "1 KiB"},
		{1536, "1.5 KiB"},
		{MIB - 1, "1 MiB"}, /* not "1024 KiB" */
		{512 * MIB, "512 MiB"},
		{GIB + GIB / 2, "1.5 GiB"},
		{99 * GIB + 9 * GIB / 10, "99.9 GiB"},
		{123 * MIB + 600 * KIB, "124 MiB"},
		{UINT64_MAX, "16 EiB"},
	};
	char tiny[4];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(SIZE_TEXT(cases[i].bytes), cases[i].text);

	/* Too small a buffer is cut, never overrun. */
	assert_ptr_equal(size_format(512 * MIB, tiny, sizeof(tiny)), tiny);
	assert_string_equal(tiny, "512");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_good),
		cmocka_unit_test(test_parse_bad),
		cmocka_unit_test(test_format),
	};

	return cmocka_run_group_tests_name("common_size", tests, NULL, NULL);
}
