// SPDX-License-Identifier: Apache-2.0
/* Savings per guest and in sum: what is counted, once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/size.h"
#include "memd/guest.h"
#include "memd/savings.h"

static void test_savings(void **state)
{
	struct guest a = {.known = true, .ours = true, .foot_valid = true}, b = {.known = true};
	struct guest *list[] = {&a, &b};
	struct guests guests = {.v = list, .n = 2};
	const struct pol_ksm ksm = {.pages_shared = 10, .pages_sharing = 90, .zero_pages = 50};
	struct savings s;

	(void)state;
	a.memory_bytes = 1000 * MIB;
	a.actual_bytes = 700 * MIB;
	a.foot = (struct footprint){.resident_bytes = 500 * MIB,
				    .swapped_bytes = POL_ABSENT,
				    .ksm_merging_bytes = 50 * 4096,
				    .ksm_zero_bytes = 50 * 4096};
	a.returned_balloon_bytes = 280 * MIB;
	a.returned_reported_bytes = 900 * MIB; /* more than there is left unheld */
	b.memory_bytes = 1000 * MIB;	       /* QEMU; its process cannot be looked at */
	b.actual_bytes = 900 * MIB;
	savings_count(&guests, &ksm, 4096, 0, &s);
	assert_int_equal(a.ksm_bytes, (45 + 50) * 4096);
	assert_int_equal(a.balloon_bytes, 280 * MIB);
	assert_int_equal(a.reported_bytes, 220 * MIB);
	assert_int_equal(b.balloon_bytes, 100 * MIB);
	assert_int_equal(b.ksm_bytes, 0);
	assert_int_equal(s.ksm_bytes, 95 * 4096);
	assert_int_equal(s.ksm_other_bytes, 45 * 4096);
	assert_int_equal(s.total_bytes, 95 * 4096 + 600 * MIB);
	/* What memd maps itself saves nothing. */
	savings_count(&guests, &ksm, 4096, 40 * 4096, &s);
	assert_int_equal(s.ksm_other_bytes, 5 * 4096);
	/* A QEMU balloon whose memory the host still holds saves nothing. */
	b.foot_valid = true;
	b.foot = (struct footprint){.resident_bytes = 980 * MIB, .swapped_bytes = 0};
	savings_count(&guests, &ksm, 4096, 0, &s);
	assert_int_equal(b.balloon_bytes, 20 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_savings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
