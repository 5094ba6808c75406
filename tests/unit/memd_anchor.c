// SPDX-License-Identifier: Apache-2.0
/* What is held of merged pages, and what is let go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/clock.h"
#include "memd/anchor_slots.h"

#define LEAST 8

/* A second, and a scan, for each number. */
static const struct slots_now *at(uint64_t n)
{
	static struct slots_now now;

	now = (struct slots_now){.us = n * USEC_PER_SEC, .scans = n};
	return &now;
}

static size_t take(struct slots *slots, uint64_t frame)
{
	size_t slot = slots_take(slots, frame, at(1));

	assert_int_not_equal(slot, SIZE_MAX);
	return slot;
}

static void test_a_copy_waits_for_ksmd(void **state)
{
	struct slots slots;
	size_t slot;

	(void)state;
	assert_int_equal(slots_open(&slots, 4), 0);
	slot = take(&slots, 100);
	assert_int_equal(slots.n_new, 1);
	assert_true(slots_judge(&slots, slot, FRAME_OTHER, 0, LEAST, at(2)));
	assert_true(slots_judge(&slots, slot, FRAME_MERGED, 9, LEAST, at(3)));
	assert_int_equal(slots.n_new, 0);
	assert_int_equal(slots.n_held, 1);
	assert_int_equal(slots.v[slot].others, 9);
	slots_close(&slots);
}

/* Not for ever; and it is not tried again at once. */
static void test_what_ksmd_refuses_is_left_for_a_while(void **state)
{
	struct slots slots;
	size_t slot;

	(void)state;
	assert_int_equal(slots_open(&slots, 1), 0);
	slot = take(&slots, 101);
	assert_true(slots_judge(&slots, slot, FRAME_OTHER, 0, LEAST, at(3)));
	assert_false(slots_judge(&slots, slot, FRAME_OTHER, 0, LEAST, at(4)));
	assert_int_equal(slots.n_new, 0);
	assert_int_equal(slots.n_refused, 1);
	assert_int_equal(slots.v[slot].source, 101);
	slots_forgive(&slots, at(100));
	assert_int_equal(slots_take(&slots, 102, at(100)), SIZE_MAX);
	slots_forgive(&slots, at(700));
	assert_int_equal(slots.n_refused, 0);
	assert_int_equal(take(&slots, 102), slot);
	slots_close(&slots);
}

static void test_what_is_not_shared_is_let_go(void **state)
{
	struct slots slots;
	size_t slot;

	(void)state;
	assert_int_equal(slots_open(&slots, 4), 0);
	slot = take(&slots, 100);
	assert_true(slots_judge(&slots, slot, FRAME_MERGED, LEAST, LEAST, at(2)));
	assert_true(slots_judge(&slots, slot, FRAME_MERGED, LEAST / 2, LEAST, at(3)));
	assert_false(slots_judge(&slots, slot, FRAME_MERGED, LEAST / 2 - 1, LEAST, at(4)));
	assert_int_equal(slots.n_held, 0);
	/* Unmerged, by run=2 for one: at once. */
	slot = take(&slots, 100);
	assert_true(slots_judge(&slots, slot, FRAME_MERGED, LEAST, LEAST, at(5)));
	assert_false(slots_judge(&slots, slot, FRAME_OTHER, 0, LEAST, at(6)));
	/* One that is free stays free. */
	assert_true(slots_judge(&slots, slot, FRAME_OTHER, 0, LEAST, at(7)));
	assert_int_equal(slots.n_held + slots.n_new + slots.n_refused, 0);
	slots_close(&slots);
}

static void test_no_more_than_there_are(void **state)
{
	struct slots slots;

	(void)state;
	assert_int_equal(slots_open(&slots, 3), 0);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(take(&slots, 100 + i), i);
	assert_int_equal(slots_take(&slots, 200, at(1)), SIZE_MAX);
	slots_let_go(&slots, 1);
	assert_int_equal(take(&slots, 201), 1);
	assert_int_equal(slots_take(&slots, 202, at(1)), SIZE_MAX);
	slots_close(&slots);
}

static void test_frames_are_known(void **state)
{
	struct slots slots;

	(void)state;
	assert_int_equal(slots_open(&slots, 1000), 0);
	for (uint64_t i = 1; i <= 2000; i++)
		number_set_add(&slots.frames, i * 512);
	for (uint64_t i = 1; i <= 2000; i++) {
		assert_true(number_set_has(&slots.frames, i * 512));
		assert_false(number_set_has(&slots.frames, i * 512 + 1));
	}
	number_set_clear(&slots.frames);
	assert_false(number_set_has(&slots.frames, 512));
	slots_close(&slots);
}

/* What it was copied from may be another page by and by. */
static void test_a_source_holds_for_a_while(void **state)
{
	struct slots slots;
	size_t slot;

	(void)state;
	assert_int_equal(slots_open(&slots, 4), 0);
	slot = take(&slots, 100);
	assert_true(slots_judge(&slots, slot, FRAME_MERGED, LEAST, LEAST, at(2)));
	assert_int_equal(slots.v[slot].source, 100);
	assert_true(slots_judge(&slots, slot, FRAME_MERGED, LEAST, LEAST, at(700)));
	assert_int_equal(slots.v[slot].source, 0);
	slots_close(&slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_copy_waits_for_ksmd),
		cmocka_unit_test(test_what_ksmd_refuses_is_left_for_a_while),
		cmocka_unit_test(test_what_is_not_shared_is_let_go),
		cmocka_unit_test(test_no_more_than_there_are),
		cmocka_unit_test(test_frames_are_known),
		cmocka_unit_test(test_a_source_holds_for_a_while),
	};

	return cmocka_run_group_tests_name("memd_anchor", tests, NULL, NULL);
}
