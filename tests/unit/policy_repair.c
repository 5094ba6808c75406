// SPDX-License-Identifier: Apache-2.0
/* Whose broken huge pages are made whole: what stands against it, and what it must bring. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "policy/repair.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define SEC 1000000ull

static struct {
	struct pol_repair_host host;
	struct pol_guest guest;
	struct pol_repair_past past;
	bool ours, managed;
	uint64_t bytes, gain_us, cost_us;
} w;

/* 2 GiB, of which 1.5 are broken, under QEMU, taking half of a processor. */
static int setup(void **state)
{
	memset(&w, 0, sizeof(w));
	w.managed = true;
	w.host = (struct pol_repair_host){.on = true,
					  .possible = true,
					  .state = POL_STATE_HIGH,
					  .now_us = 1000 * SEC,
					  .spare_bytes = 4 * GIB,
					  .free_huge_bytes = 4 * GIB,
					  .bytes_per_s = 64 * MIB};
	w.guest = (struct pol_guest){.id = 7,
				     .memory_bytes = 2 * GIB,
				     .actual_bytes = 2 * GIB,
				     .target_bytes = POL_ABSENT,
				     .resident_bytes = 2 * GIB,
				     .merging_bytes = 0,
				     .huge_bytes = GIB / 2};
	w.guest.node_bytes[0] = w.guest.node_bytes[1] = GIB;
	return 0;
}

static enum pol_repair_why run(unsigned int ticks, uint64_t cpu_us)
{
	enum pol_repair_why why = POL_REPAIR_UNKNOWN;

	while (ticks--) {
		w.host.now_us += SEC;
		w.guest.cpu_us += cpu_us;
		why = pol_repair_judge(&w.host, &w.guest, w.ours, w.managed, &w.past, &w.bytes,
				       &w.gain_us, &w.cost_us);
		assert_int_equal(why, w.past.why);
		if (why != POL_REPAIR_NOW && why != POL_REPAIR_COST && why != POL_REPAIR_REST &&
		    why != POL_REPAIR_TURN)
			assert_true(!w.bytes && !w.gain_us && !w.cost_us);
	}
	return why;
}

static void test_busy_and_broken(void **state)
{
	assert_int_equal(run(5, SEC / 2), POL_REPAIR_MOVING);
	assert_int_equal(run(6, SEC / 2), POL_REPAIR_NOW);
	assert_int_equal(w.bytes, GIB + GIB / 2);
	/* 0.3 s of processor a second by then, over 600 s, three quarters of a tenth of it. */
	assert_in_range(w.gain_us, 10 * SEC, 23 * SEC);
	assert_in_range(w.cost_us, SEC, 2 * SEC);
	w.host.busy = true;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_TURN);
}

static void test_what_stands_against_it(void **state)
{
	assert_int_equal(run(20, SEC / 2), POL_REPAIR_NOW);
	w.host.on = false;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_OFF);
	w.host.on = true;
	w.host.possible = false;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_NO_HUGE);
	w.host.possible = true;
	w.host.state = POL_STATE_SOFT;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_SHORT);
	w.host.state = POL_STATE_HIGH;
	w.host.spare_bytes = MIB;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_SHORT);
	w.host.spare_bytes = GIB;
	w.host.free_huge_bytes = 8 * MIB;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_PIECES);
	w.host.free_huge_bytes = GIB / 4;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_NOW);
	assert_int_equal(w.bytes, GIB / 4);
	w.host.free_huge_bytes = POL_ABSENT;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_NOW);
	assert_int_equal(w.bytes, GIB);
	w.ours = true;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_OWN);
	w.guest.pool = true;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_POOL);
	w.guest.pool = w.ours = w.managed = false;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_MANAGE);
	w.managed = true;
	w.guest.numa_moving = true;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_MOVING);
	w.guest.numa_moving = false;
	w.guest.target_bytes = GIB;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_MOVING);
	/* It is as near as it comes to what is no whole number of pages. */
	w.guest.target_bytes = w.guest.actual_bytes - 1234567 % MIB;
	assert_int_not_equal(run(1, SEC / 2), POL_REPAIR_MOVING);
	w.guest.target_bytes = POL_ABSENT;
	w.guest.huge_bytes = POL_ABSENT;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_UNKNOWN);
	w.guest.huge_bytes = 2 * GIB - 20 * MIB;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_WHOLE);
}

/* Merged pages hold it apart while merging is on; the kernel counts them longer. */
static void test_merging(void **state)
{
	w.guest.merge_on = true;
	w.guest.merging_bytes = GIB / 4;
	assert_int_equal(run(20, SEC / 2), POL_REPAIR_SHARED);
	w.guest.merging_bytes = 16 * MIB;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_NOW);
	assert_int_equal(w.bytes, GIB + GIB / 2 - 16 * MIB);
	w.guest.merge_on = false;
	w.guest.merging_bytes = GIB / 4;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_NOW);
	assert_int_equal(w.bytes, GIB + GIB / 2);
}

static void test_price(void **state)
{
	assert_int_equal(run(20, 5000), POL_REPAIR_IDLE);
	/* 2 % of a processor: 12 s in ten minutes, of which a repair spares less than it costs. */
	assert_int_equal(run(60, 20000), POL_REPAIR_COST);
	assert_true(w.gain_us / 2 < w.cost_us);
	assert_int_equal(run(60, 200000), POL_REPAIR_NOW);
	assert_true(w.gain_us / 2 >= w.cost_us);
}

/* A minute behind each; where little came of it ever longer, up to an hour. */
static void test_rest(void **state)
{
	uint64_t last = 0;

	assert_int_equal(run(20, SEC / 2), POL_REPAIR_NOW);
	pol_repair_tell(&w.past, GIB, GIB, w.host.now_us);
	assert_int_equal(run(59, SEC / 2), POL_REPAIR_REST);
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_NOW);
	for (unsigned int i = 0; i < 8; i++) {
		pol_repair_tell(&w.past, GIB, MIB, w.host.now_us);
		assert_true(w.past.backoff_us >= last && w.past.backoff_us <= 3600 * SEC);
		last = w.past.backoff_us;
	}
	assert_int_equal(last, 3600 * SEC);
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_REST);
	/* A new life of the guest, or another guest there, knows nothing of that. */
	w.guest.id++;
	assert_int_equal(run(1, SEC / 2), POL_REPAIR_MOVING);
	assert_int_equal(run(20, SEC / 2), POL_REPAIR_NOW);
	/* Its balloon moves. */
	w.guest.actual_bytes -= GIB;
	assert_int_equal(run(9, SEC / 2), POL_REPAIR_MOVING);
	assert_int_equal(run(2, SEC / 2), POL_REPAIR_NOW);
}

static void test_texts(void **state)
{
	for (enum pol_repair_why why = POL_REPAIR_NOW; why < POL_REPAIR_COUNT; why++)
		assert_true(strlen(pol_repair_text(why)) > 10);
	assert_string_equal(pol_repair_text(POL_REPAIR_COUNT), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_busy_and_broken, setup),
		cmocka_unit_test_setup(test_what_stands_against_it, setup),
		cmocka_unit_test_setup(test_merging, setup),
		cmocka_unit_test_setup(test_price, setup),
		cmocka_unit_test_setup(test_rest, setup),
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
