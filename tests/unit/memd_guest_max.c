// SPDX-License-Identifier: Apache-2.0
/* A guest that was started with more than max= says: what the policy sees of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "memd/config.h"
#include "memd/guest.h"
#include "memd/guest_max.h"
#include "policy/policy.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

/* 8 GiB, of which 2 are free, 3 cache and 3 in use; Linux keeps 100 MiB for itself. */
static struct pol_guest guest(void)
{
	return (struct pol_guest){
		.memory_bytes = 8 * GIB,
		.actual_bytes = 8 * GIB,
		.target_bytes = POL_ABSENT,
		.stat_total_bytes = 8 * GIB - 100 * MIB,
		.stat_free_bytes = 2 * GIB,
		.stat_available_bytes = 5 * GIB,
		.stat_cache_bytes = 3 * GIB,
		.stat_age_us = 0,
	};
}

static void test_above_is_taken_already(void **state)
{
	struct pol_guest g = guest(), was = g;

	guest_max_apply(POL_ABSENT, &g);
	guest_max_apply(8 * GIB, &g);
	guest_max_apply(9 * GIB, &g);
	assert_memory_equal(&g, &was, sizeof(g));

	guest_max_apply(4 * GIB, &g);
	assert_int_equal(g.memory_bytes, 4 * GIB);
	assert_int_equal(g.actual_bytes, 4 * GIB);
	assert_int_equal(g.target_bytes, POL_ABSENT);
	assert_int_equal(g.stat_total_bytes, 4 * GIB);
	assert_int_equal(g.stat_available_bytes, GIB);
	assert_int_equal(g.stat_free_bytes, 0); /* all of it goes first, and then 2 GiB of cache */
	assert_int_equal(g.stat_cache_bytes, GIB);
	assert_int_equal(g.stat_age_us, 0);

	/* Once its balloon has it, only the total is more than it may have. */
	g = guest();
	g.actual_bytes = g.target_bytes = 3 * GIB;
	g.stat_free_bytes = g.stat_cache_bytes = 0;
	g.stat_available_bytes = 50 * MIB;
	guest_max_apply(4 * GIB, &g);
	assert_int_equal(g.stat_total_bytes, 4 * GIB);
	assert_int_equal(g.actual_bytes, 3 * GIB);
	assert_int_equal(g.target_bytes, 3 * GIB);
	assert_int_equal(g.stat_available_bytes, 50 * MIB);
	assert_int_equal(g.stat_age_us, 0);
}

/* It uses more: it is not one of that size, and nothing is known of it as such. */
static void test_in_use_beyond(void **state)
{
	struct pol_guest g = guest();

	guest_max_apply(2 * GIB, &g);
	assert_int_equal(g.memory_bytes, 2 * GIB);
	assert_int_equal(g.stat_age_us, POL_ABSENT);

	/* Without a number for what is available, what is free counts. */
	g = guest();
	g.stat_available_bytes = POL_ABSENT;
	guest_max_apply(5 * GIB, &g);
	assert_int_equal(g.stat_age_us, POL_ABSENT);
	g = guest();
	g.stat_available_bytes = g.stat_cache_bytes = POL_ABSENT;
	guest_max_apply(7 * GIB, &g);
	assert_int_equal(g.stat_age_us, 0);
	assert_int_equal(g.stat_free_bytes, GIB);
	assert_int_equal(g.stat_available_bytes, POL_ABSENT);
	assert_int_equal(g.stat_cache_bytes, POL_ABSENT);
}

/* 2 GiB and a device of 6 that has all of them: the device is cut first, in its blocks. */
static void test_device(void **state)
{
	struct pol_guest g = guest();

	g.mem_max_bytes = g.mem_size_bytes = g.mem_requested_bytes = 6 * GIB;
	g.mem_block_bytes = 512 * MIB;
	guest_max_apply(5 * GIB + 100 * MIB, &g);
	assert_int_equal(g.memory_bytes, 5 * GIB);
	assert_int_equal(g.actual_bytes, 5 * GIB);
	assert_int_equal(g.mem_max_bytes, 3 * GIB);
	assert_int_equal(g.mem_size_bytes, 3 * GIB);
	assert_int_equal(g.mem_requested_bytes, 3 * GIB);
	guest_max_apply(GIB, &g);
	assert_int_equal(g.mem_max_bytes, 0);
	assert_int_equal(g.memory_bytes, GIB);
}

/* An order to its maximum, as after it took memory back by itself, takes nothing from it. */
static void test_orders(void **state)
{
	static struct config_guest section = {.name = "web", .max_bytes = 4 * GIB};
	static struct config config = {.guests = &section, .n_guests = 1};
	static struct guests all = {.config = &config};
	static struct guest web = {.all = &all, .name = "web", .actual_bytes = 6 * GIB};

	assert_int_equal(guest_max_target(&web, 4 * GIB), 6 * GIB);
	assert_int_equal(guest_max_target(&web, 4 * GIB - 1), 4 * GIB - 1);
	web.actual_bytes = 3 * GIB;
	assert_int_equal(guest_max_target(&web, 4 * GIB), 4 * GIB);
	web.actual_bytes = 6 * GIB;
	assert_false(guest_max_exceeded(&web));
	web.stats_seen_us = 1;
	web.stats.available_bytes = 2 * GIB;
	assert_false(guest_max_exceeded(&web));
	web.stats.available_bytes--;
	assert_true(guest_max_exceeded(&web));
	config.n_guests = 0;
	assert_int_equal(guest_max_target(&web, 4 * GIB), 4 * GIB);
	assert_false(guest_max_exceeded(&web));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_above_is_taken_already),
		cmocka_unit_test(test_in_use_beyond),
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_orders),
	};

	return cmocka_run_group_tests_name("memd_guest_max", tests, NULL, NULL);
}
