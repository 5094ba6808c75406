// SPDX-License-Identifier: Apache-2.0
/* What query-status says of guests that do not do as they should, and that it says no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/size.h"
#include "common/wire.h"
#include "memd/misfit.h"

static struct {
	struct config config;
	struct guests guests;
	struct guest guest;
	struct guest *v[1];
	uint64_t now_us;
} w;

/* One that does well, and has for a while. */
static int setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	w.now_us = 1000 * USEC_PER_SEC;
	w.v[0] = &w.guest;
	w.guests = (struct guests){.config = &w.config, .v = w.v, .n = 1};
	w.guest = (struct guest){
		.all = &w.guests,
		.name = "web1",
		.listed = true,
		.known = true,
		.phase = GUEST_READY,
		.ready_us = USEC_PER_SEC,
		.balloon_path = "/machine/peripheral/b0",
		.balloon_active = true,
		.driver_seen = true,
		.memory_bytes = GIB,
		.has_view = true,
		.view = {.stats_trusted = true, .trust = POL_TRUST_OK},
	};
	return 0;
}

/* The sentence, "": none. */
static const char *told(void)
{
	static char text[300];
	json_object *list = misfits_json(&w.guests, w.now_us), *one;

	text[0] = '\0';
	assert_in_range(json_object_array_length(list), 0, 1);
	if (json_object_array_length(list) == 1) {
		one = json_object_array_get_idx(list, 0);
		assert_string_equal(json_get_str(one, "guest"), "web1");
		snprintf(text, sizeof(text), "%s", json_get_str(one, "why"));
	}
	json_object_put(list);
	return text;
}

static void test_nothing_wrong(void **state)
{
	(void)state;
	misfit_follow(&w.guest, w.now_us);
	assert_string_equal(told(), "");
	w.guest.view.trouble = true; /* is no fault of its own */
	assert_string_equal(told(), "");
}

static void test_silent(void **state)
{
	(void)state;
	w.guest.late = true;
	snprintf(w.guest.note, sizeof(w.guest.note), "does not answer within 1000 ms");
	assert_non_null(strstr(told(), "does not answer within 1000 ms"));
	w.guest.listed = false; /* nobody's socket: it is not there at all */
	assert_string_equal(told(), "");
}

static void test_stuck(void **state)
{
	(void)state;
	w.guest.view.stuck = true;
	assert_non_null(strstr(told(), "balloon does not follow"));
	w.guest.view.stuck = false;
	w.guest.view.device_stuck = true;
	assert_non_null(strstr(told(), "memory device does not follow"));
}

static void doubt(enum pol_trust trust)
{
	w.guest.view.trust = trust;
	w.guest.view.stats_trusted = trust == POL_TRUST_OK;
	misfit_follow(&w.guest, w.now_us);
}

static void test_numbers(void **state)
{
	(void)state;
	doubt(POL_TRUST_LIES);
	assert_non_null(strstr(told(), "contradict"));
	doubt(POL_TRUST_ABSENT);
	assert_non_null(strstr(told(), "no usable numbers"));
	/* Good again: told of for a while, so that numbers that come and go are seen to. */
	doubt(POL_TRUST_OK);
	assert_non_null(strstr(told(), "no usable numbers"));
	w.now_us += 31 * USEC_PER_SEC;
	assert_string_equal(told(), "");
}

static void test_numbers_that_do_not_matter(void **state)
{
	(void)state;
	/* Not ballooned, so not by its numbers. */
	w.guest.driver_seen = false;
	doubt(POL_TRUST_ABSENT);
	assert_string_equal(told(), "");
	/* Just set up: it has had no time to send any. */
	w.guest.driver_seen = true;
	w.guest.doubt_us = 0;
	w.guest.ready_us = w.now_us - 5 * USEC_PER_SEC;
	doubt(POL_TRUST_ABSENT);
	assert_string_equal(told(), "");
}

/* Rejected before the driver counted as seen: told of all the same. */
static void test_rejected(void **state)
{
	(void)state;
	w.guest.driver_seen = false;
	w.guest.stats_rejected = true;
	assert_non_null(strstr(told(), "contradict what the host knows"));
	w.guest.balloon_path[0] = '\0';
	assert_string_equal(told(), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nothing_wrong, setup),
		cmocka_unit_test_setup(test_silent, setup),
		cmocka_unit_test_setup(test_stuck, setup),
		cmocka_unit_test_setup(test_numbers, setup),
		cmocka_unit_test_setup(test_numbers_that_do_not_matter, setup),
		cmocka_unit_test_setup(test_rejected, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
