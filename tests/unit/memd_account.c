// SPDX-License-Identifier: Apache-2.0
/* The account: gains measured once and for one decision each, the ring, the JSON of explain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "common/wire.h"
#include "memd/account.h"

#define MIB (1ULL << 20)
#define SEC 1000000ULL

static struct account account;
static uint64_t held, taken;

static uint64_t held_now(void *ctx, enum pol_action_kind kind, uint64_t guest)
{
	(void)ctx;
	if (kind == POL_RECLAIM)
		return taken;
	return guest == 7 ? held : POL_ABSENT;
}

static int setup(void **state)
{
	(void)state;
	account_init(&account);
	return 0;
}

static uint64_t take(uint64_t guest, uint64_t baseline, uint64_t now_us,
		     enum account_outcome outcome)
{
	const struct pol_action action = {
		.kind = POL_BALLOON,
		.guest = guest,
		.from = 1024 * MIB,
		.to = 768 * MIB,
		.rung = POL_RUNG_BALLOON_FREE,
		.reason = POL_WHY_HOST_SHORT,
		.gain_bytes = 256 * MIB,
		.working_set_bytes = POL_ABSENT,
		.rejected = 1U << POL_RUNG_KSM,
		.rejected_why = {[POL_RUNG_KSM] = POL_WHY_TOO_SLOW},
	};

	return account_add(&account, &action, "web1", baseline, 1700000000123456, now_us, 1,
			   outcome);
}

static const struct account_entry *entry(uint64_t number)
{
	const struct account_entry *e = &account.ring[number % ACCOUNT_MAX];

	assert_int_equal(e->number, number);
	return e;
}

static void test_measured_later(void **state)
{
	uint64_t n = take(7, 1000 * MIB, 10 * SEC, ACCOUNT_PENDING);

	(void)state;
	held = 800 * MIB;
	account_settle(&account, n, ACCOUNT_DONE, NULL);
	account_measure(&account, 14 * SEC, 0, held_now, NULL);
	assert_true(entry(n)->measured_bytes == POL_ABSENT);
	account_measure(&account, 15 * SEC, 0, held_now, NULL);
	assert_int_equal(entry(n)->measured_bytes, 200 * MIB);
	held = 100 * MIB; /* later changes are not this decision's */
	account_measure(&account, 30 * SEC, 0, held_now, NULL);
	assert_int_equal(entry(n)->measured_bytes, 200 * MIB);
}

/* The next decision on the same guest ends the first one's window: the sum is the truth. */
static void test_no_byte_twice(void **state)
{
	uint64_t a = take(7, 1000 * MIB, 10 * SEC, ACCOUNT_DONE);
	uint64_t b = take(7, 900 * MIB, 11 * SEC, ACCOUNT_DONE);

	(void)state;
	held = 850 * MIB;
	account_measure(&account, 20 * SEC, 0, held_now, NULL);
	assert_int_equal(entry(a)->measured_bytes, 100 * MIB);
	assert_int_equal(entry(b)->measured_bytes, 50 * MIB);
}

static void test_loss_is_no_gain(void **state)
{
	uint64_t n = take(7, 1000 * MIB, 10 * SEC, ACCOUNT_DONE);

	(void)state;
	held = 1200 * MIB;
	account_measure(&account, 20 * SEC, 0, held_now, NULL);
	assert_int_equal(entry(n)->measured_bytes, 0);
}

static void test_nothing_to_measure(void **state)
{
	uint64_t gone = take(8, 1000 * MIB, 10 * SEC, ACCOUNT_DONE);
	uint64_t failed = take(7, 1000 * MIB, 10 * SEC, ACCOUNT_PENDING);
	uint64_t dry = take(7, 1000 * MIB, 10 * SEC, ACCOUNT_DRY_RUN);

	(void)state;
	held = 1;
	account_settle(&account, failed, ACCOUNT_FAILED, "no such device");
	account_measure(&account, 60 * SEC, 0, held_now, NULL);
	assert_true(entry(gone)->measured_bytes == POL_ABSENT);
	assert_true(entry(failed)->measured_bytes == POL_ABSENT);
	assert_string_equal(entry(failed)->error, "no such device");
	assert_true(entry(dry)->measured_bytes == POL_ABSENT);
}

static void test_ksm(void **state)
{
	const struct pol_action rate = {
		.kind = POL_KSM_RATE, .from = 100, .to = 500, .gain_bytes = 10 * MIB};
	const struct pol_action run = {.kind = POL_KSM_RUN, .to = 1, .gain_bytes = 10 * MIB};
	uint64_t a = account_add(&account, &rate, NULL, 5 * MIB, 1, SEC, 1, ACCOUNT_DONE);
	uint64_t b = account_add(&account, &run, NULL, 5 * MIB, 1, SEC, 1, ACCOUNT_DONE);

	(void)state;
	account_measure(&account, 40 * SEC, 9 * MIB, held_now, NULL);
	/* Two parts of one act: measured for the last, not zero for the first. */
	assert_true(entry(a)->measured_bytes == POL_ABSENT);
	assert_int_equal(entry(b)->measured_bytes, 4 * MIB);
}

static void test_ring(void **state)
{
	AUTO_JSON json_object *all = NULL;
	AUTO_JSON json_object *few = NULL;
	uint64_t tick = 0, last = 0;

	(void)state;
	for (unsigned int i = 0; i < 3 * ACCOUNT_MAX; i++)
		last = take(i, POL_ABSENT, i * SEC, ACCOUNT_DONE);
	assert_int_equal(last, 3 * ACCOUNT_MAX);
	account_settle(&account, 1, ACCOUNT_FAILED, "long gone"); /* harmless */
	all = account_json(&account, NULL, SIZE_MAX);
	assert_int_equal(json_object_array_length(all), ACCOUNT_MAX);
	few = account_json(&account, "web1", 3);
	assert_int_equal(json_object_array_length(few), 3);
	assert_true(json_get_u64(json_object_array_get_idx(few, 0), "tick", &tick));
	assert_int_equal(account_last(&account, POL_BALLOON, 3 * ACCOUNT_MAX - 1)->number, last);
	assert_null(account_last(&account, POL_BALLOON, 0));
	assert_null(account_last(&account, POL_KSM_RUN, 0));
}

static void test_json(void **state)
{
	AUTO_JSON json_object *list = NULL;
	AUTO_JSON json_object *none = NULL;
	json_object *one, *rejected;
	uint64_t bytes;

	(void)state;
	take(7, 1000 * MIB, 10 * SEC, ACCOUNT_DONE);
	list = account_json(&account, "web1", 10);
	none = account_json(&account, "web2", 10);
	assert_int_equal(json_object_array_length(none), 0);
	assert_int_equal(json_object_array_length(list), 1);
	one = json_object_array_get_idx(list, 0);
	assert_string_equal(json_get_str(one, "time"), "2023-11-14T22:13:20.123Z");
	assert_string_equal(json_get_str(one, "guest"), "web1");
	assert_string_equal(json_get_str(one, "unit"), "bytes");
	assert_string_equal(json_get_str(one, "reason"), "host-short");
	assert_string_equal(json_get_str(one, "outcome"), "done");
	assert_true(json_get_u64(one, "expected_gain_bytes", &bytes));
	assert_int_equal(bytes, 256 * MIB);
	assert_false(json_get_u64(one, "measured_gain_bytes", &bytes)); /* null */
	assert_true(json_object_object_get_ex(one, "measured_gain_bytes", NULL));
	assert_false(json_get_u64(json_get_obj(one, "inputs"), "working_set_bytes", &bytes));
	rejected = json_get_array(one, "rejected");
	assert_int_equal(json_object_array_length(rejected), 1);
	assert_string_equal(json_get_str(json_object_array_get_idx(rejected, 0), "rung"),
			    pol_rung_name(POL_RUNG_KSM));
	assert_string_equal(json_get_str(json_object_array_get_idx(rejected, 0), "why"),
			    pol_reason_text(POL_WHY_TOO_SLOW));
}

static uint64_t reclaim(uint64_t now_us, uint64_t baseline)
{
	const struct pol_action action = {
		.kind = POL_RECLAIM,
		.guest = 7,
		.from = 1024 * MIB,
		.to = 896 * MIB,
		.rung = POL_RUNG_RECLAIM,
		.reason = POL_WHY_RECLAIM,
		.gain_bytes = 100 * MIB,
	};

	return account_add(&account, &action, "web1", baseline, 1, now_us, 1, ACCOUNT_DONE);
}

/* What a rung brings of its promises, by its latest decisions; forgotten in time. */
static void test_promises_kept(void **state)
{
	uint64_t now_us = 0;

	(void)state;
	assert_int_equal(account_kept_ppm(&account, POL_RUNG_RECLAIM, 0), POL_ABSENT);
	for (int i = 0; i < 3; i++) {
		reclaim(now_us, 500 * MIB);
		taken = 475 * MIB; /* 25 of 100 */
		assert_int_equal(account_kept_ppm(&account, POL_RUNG_RECLAIM, now_us), POL_ABSENT);
		now_us += ACCOUNT_RECLAIM_US;
		account_measure(&account, now_us, 0, held_now, NULL);
	}
	assert_in_range(account_kept_ppm(&account, POL_RUNG_RECLAIM, now_us), 249000, 251000);
	assert_in_range(
		account_kept_ppm(&account, POL_RUNG_RECLAIM, now_us + ACCOUNT_FORGET_US / 2),
		624000, 626000);
	assert_int_equal(
		account_kept_ppm(&account, POL_RUNG_RECLAIM, now_us + 2 * ACCOUNT_FORGET_US),
		1000000);
	assert_int_equal(account_kept_ppm(&account, POL_RUNG_BALLOON_FREE, now_us), POL_ABSENT);
	/* More than promised is as good as all of it. */
	for (int i = 0; i < 40; i++) {
		reclaim(now_us, 500 * MIB);
		taken = 100 * MIB;
		now_us += ACCOUNT_RECLAIM_US;
		account_measure(&account, now_us, 0, held_now, NULL);
	}
	assert_in_range(account_kept_ppm(&account, POL_RUNG_RECLAIM, now_us), 980000, 1000000);
	/* Nothing at all is still something that was measured. */
	for (int i = 0; i < 400; i++) {
		reclaim(now_us, 500 * MIB);
		taken = 600 * MIB;
		now_us += ACCOUNT_RECLAIM_US;
		account_measure(&account, now_us, 0, held_now, NULL);
	}
	assert_in_range(account_kept_ppm(&account, POL_RUNG_RECLAIM, now_us), 1, 1000);
	assert_int_equal(account.ring[(account.next - 1) % ACCOUNT_MAX].measured_bytes, 0);
}

/* A guest's balloon and its reclaim are measured each by its own. */
static void test_reclaim_and_balloon_are_apart(void **state)
{
	uint64_t balloon, order;

	(void)state;
	balloon = take(7, 1000 * MIB, SEC, ACCOUNT_DONE);
	order = reclaim(SEC, 900 * MIB);
	assert_true(entry(balloon)->open && entry(order)->open);
	held = 800 * MIB;
	taken = 840 * MIB;
	account_measure(&account, SEC + ACCOUNT_RECLAIM_US, 0, held_now, NULL);
	assert_int_equal(entry(order)->measured_bytes, 60 * MIB);
	assert_int_equal(entry(balloon)->measured_bytes, 200 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_measured_later, setup),
		cmocka_unit_test_setup(test_no_byte_twice, setup),
		cmocka_unit_test_setup(test_loss_is_no_gain, setup),
		cmocka_unit_test_setup(test_nothing_to_measure, setup),
		cmocka_unit_test_setup(test_ksm, setup),
		cmocka_unit_test_setup(test_ring, setup),
		cmocka_unit_test_setup(test_json, setup),
		cmocka_unit_test_setup(test_promises_kept, setup),
		cmocka_unit_test_setup(test_reclaim_and_balloon_are_apart, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
