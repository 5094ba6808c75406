// SPDX-License-Identifier: Apache-2.0
/* What guests say from outside: names that are harmless, statistics that are believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/size.h"
#include "common/wire.h"
#include "memd/guest.h"
#include "memd/guest_reply.h"
#include "memd/guest_stats.h"

static void test_names(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"web1", "web1"},
		{"a\x1b[31mb\n", "a?[31mb?"},
		{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
		{"\xc3", "?"},
		{"\xff\xfe", "??"},
		{"", ""},
	};
	char buf[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		guest_name_clean(cases[i].in, buf, sizeof(buf));
		assert_string_equal(buf, cases[i].out);
	}
	guest_name_clean("0123456789abcdefXYZ", buf, sizeof(buf));
	assert_string_equal(buf, "0123456789abcde");
	guest_name_clean("0123456789abcd\xc3\xbc", buf, sizeof(buf)); /* never half a character */
	assert_string_equal(buf, "0123456789abcd");
}

static int read_stats(const char *text, struct guest_stats *stats)
{
	AUTO_JSON json_object *value = json_tokener_parse(text);
	char why[128] = "";
	int r = guest_stats_read(value, 512 * MIB, stats, why, sizeof(why));

	if (r == -ERANGE)
		assert_true(strlen(why) > 10);
	return r;
}

static void test_stats_read(void **state)
{
	static const char *const lies[] = {
		"{\"stats\":{\"stat-total-memory\":536870913},\"last-update\":1}",
		"{\"stats\":{\"stat-total-memory\":100,\"stat-free-memory\":101},\"last-update\":"
		"1}",
		"{\"stats\":{\"stat-available-memory\":536870913},\"last-update\":1}",
		"{\"stats\":{\"stat-total-memory\":100,\"stat-disk-caches\":101},\"last-update\":"
		"1}",
	};
	static const char *const shapes[] = {
		"null",
		"[]",
		"7",
		"{}",
		"{\"stats\":[],\"last-update\":1}",
		"{\"stats\":{}}",
		"{\"stats\":{},\"last-update\":-1}",
		"{\"stats\":{},\"last-update\":\"x\"}",
	};
	struct guest_stats s;

	(void)state;
	assert_int_equal(read_stats("{\"stats\":{\"stat-total-memory\":18446744073709551615,"
				    "\"stat-free-memory\":-5,\"stat-disk-caches\":\"many\","
				    "\"stat-swap-in\":4096,\"stat-oom-kills\":2},"
				    "\"last-update\":9}",
				    &s),
			 0);
	assert_true(s.total_bytes == POL_ABSENT);
	assert_true(s.free_bytes == POL_ABSENT);
	assert_true(s.cache_bytes == POL_ABSENT);
	assert_int_equal(s.swap_in_bytes, 4096);
	assert_int_equal(s.oom_kills, 2);
	assert_int_equal(s.last_update_s, 9);
	assert_true(s.async_scan_bytes == POL_ABSENT);
	assert_int_equal(read_stats("{\"stats\":{\"stat-async-scans\":700,\"stat-direct-scans\":50,"
				    "\"stat-async-reclaims\":600,\"stat-direct-reclaims\":40},"
				    "\"last-update\":9}",
				    &s),
			 0);
	assert_int_equal(s.async_scan_bytes, 700);
	assert_int_equal(s.direct_scan_bytes, 50);
	assert_int_equal(s.async_reclaim_bytes, 600);
	assert_int_equal(s.direct_reclaim_bytes, 40);
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++)
		assert_int_equal(read_stats(lies[i], &s), -ERANGE);
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
		assert_int_equal(read_stats(shapes[i], &s), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_stats_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
