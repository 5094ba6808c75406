// SPDX-License-Identifier: Apache-2.0
/* The JSON documents: every promised key, sums that add up, absent numbers as null. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/size.h"
#include "memd/probe.h"
#include "memd/report.h"
#include "tests/unit/tree.h"

static struct daemon d;
static struct daemon_options options;
static struct config config;
static struct tree tree;
static struct guest guest[2];
static struct guest *list[2] = {&guest[0], &guest[1]};

static int setup(void **state)
{
	(void)state;
	tree = tree_new("npt-6.12");
	options = (struct daemon_options){.sysroot = tree.root, .dry_run = true};
	memset(guest, 0, sizeof(guest));
	d = (struct daemon){.options = &options, .config = &config, .state = POL_STATE_SOFT};
	config.policy.ksm_manage = config.policy.balloon_manage = true;
	assert_int_equal(host_open(tree.root, &d.host), 0);
	assert_int_equal(host_sense(d.host, &d.snapshot), 0);
	assert_int_equal(probe_run(tree.root, &d.probe), 0);
	d.act = (struct act){.rootfd = host_rootfd(d.host), .ksm = host_ksm(d.host)};
	d.guests = (struct guests){.v = list, .n = 2, .config = &config};
	guest[0] = (struct guest){
		.all = &d.guests,
		.id = 1,
		.name = "web1",
		.path = "/run/memd/guests/web1.qmp",
		.phase = GUEST_READY,
		.listed = true,
		.known = true,
		.ours = true,
		.running = true,
		.pid = 217,
		.memory_bytes = 1024 * MIB,
		.actual_bytes = 768 * MIB,
		.target_bytes = 768 * MIB,
		.balloon_path = "/machine/peripheral/balloon0",
		.balloon_active = true,
		.driver_seen = true,
		.merge_asked = true,
		.mapped_bytes = {25 * MIB, 75 * MIB, POL_ABSENT},
		.returned_balloon_bytes = 256 * MIB,
		.returned_reported_bytes = 10 * MIB,
		.foot_valid = true,
		.foot = {.resident_bytes = 600 * MIB,
			 .swapped_bytes = 0,
			 .ksm_merging_bytes = POL_ABSENT,
			 .ksm_zero_bytes = POL_ABSENT},
		.survey = {.full = true, .mergeable = true, .node_bytes = {500 * MIB, 100 * MIB}},
	};
	/* The second one has accepted a connection and said nothing yet. */
	guest[1] = (struct guest){
		.all = &d.guests,
		.id = 2,
		.name = "mute",
		.listed = true,
		.memory_bytes = POL_ABSENT,
		.actual_bytes = POL_ABSENT,
		.target_bytes = POL_ABSENT,
		.mapped_bytes = {POL_ABSENT, POL_ABSENT, POL_ABSENT},
		.note = "does not greet",
	};
	savings_count(&d.guests, &d.snapshot.ksm, host_page_bytes(), 0, &d.savings);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	host_close(d.host);
	json_object_put(d.probe);
	tree_free(&tree);
	return 0;
}

static void assert_keys(json_object *obj, const char *const *keys)
{
	assert_true(json_object_is_type(obj, json_type_object));
	for (; *keys; keys++)
		if (!json_object_object_get_ex(obj, *keys, NULL))
			fail_msg("no key \"%s\" in %s", *keys, json_object_to_json_string(obj));
}
#define KEYS(...) ((const char *const[]){__VA_ARGS__, NULL})

static uint64_t number(json_object *obj, const char *key)
{
	uint64_t value = POL_ABSENT;

	if (!json_get_u64(obj, key, &value))
		fail_msg("no number \"%s\"", key);
	return value;
}

static void test_report(void **state)
{
	AUTO_JSON json_object *doc = report_report(&d);
	json_object *host = json_get_obj(doc, "host"), *savings = json_get_obj(doc, "savings");
	json_object *one = json_object_array_get_idx(json_get_array(doc, "guests"), 0);

	(void)state;
	assert_keys(doc, KEYS("schema", "host", "guests", "savings"));
	assert_int_equal(number(doc, "schema"), 1);
	assert_keys(host,
		    KEYS("memory_bytes", "available_bytes", "swap_used_bytes", "state",
			 "second_level_paging", "nodes", "ksm", "swap_bytes", "huge_page_bytes"));
	assert_string_equal(json_get_str(host, "state"), "soft");
	assert_string_equal(json_get_str(host, "second_level_paging"), "npt");
	assert_true(json_object_array_length(json_get_array(host, "nodes")) == 2);
	assert_keys(json_object_array_get_idx(json_get_array(host, "nodes"), 0),
		    KEYS("node", "memory_bytes", "free_bytes"));
	assert_keys(json_get_obj(host, "ksm"), KEYS("saved_bytes", "cpu_seconds"));
	/* A guest that has told nothing is not in the report: there is nothing to report. */
	assert_int_equal(json_object_array_length(json_get_array(doc, "guests")), 1);
	assert_keys(one, KEYS("name", "pid", "hypervisor", "memory_bytes", "actual_bytes",
			      "resident_bytes", "swapped_bytes", "saved_bytes", "nodes",
			      "mergeable", "mergeable_reason", "ksm_bytes", "balloon_bytes",
			      "reported_bytes", "target_bytes", "floor_bytes", "working_set_bytes",
			      "shares", "answering", "state_note", "ksm_merging_bytes"));
	assert_string_equal(json_get_str(one, "hypervisor"), "vmm");
	assert_int_equal(number(json_get_obj(one, "nodes"), "0"), 500 * MIB);
	assert_int_equal(number(json_get_obj(one, "nodes"), "1"), 100 * MIB);
	assert_int_equal(number(one, "mapped_4k_bytes"), 25 * MIB);
	assert_int_equal(number(one, "mapped_2m_bytes"), 75 * MIB);
	assert_int_equal(number(one, "large_pages_ppm"), 750000);
	assert_true(json_object_object_get(one, "mapped_1g_bytes") == NULL);
	assert_int_equal(number(one, "balloon_bytes"), 256 * MIB);
	assert_int_equal(number(one, "reported_bytes"), 10 * MIB);
	assert_int_equal(number(savings, "total_bytes"), number(savings, "ksm_bytes") +
								 number(savings, "balloon_bytes") +
								 number(savings, "reported_bytes"));
	assert_int_equal(number(savings, "total_bytes"), number(one, "saved_bytes"));
	assert_int_equal(number(json_get_obj(host, "ksm"), "saved_bytes"),
			 number(savings, "ksm_bytes") + number(savings, "ksm_other_bytes"));
	/* Not known is null, never 0. */
	assert_true(json_object_object_get(one, "ksm_merging_bytes") == NULL);
	assert_true(json_object_object_get(one, "working_set_bytes") == NULL);
}

static void test_guests(void **state)
{
	AUTO_JSON json_object *doc = report_guests(&d);
	json_object *all = json_get_array(doc, "guests"), *mute, *notes;

	(void)state;
	assert_int_equal(json_object_array_length(all), 2);
	assert_keys(json_object_array_get_idx(all, 0),
		    KEYS("name", "id", "pid", "hypervisor", "socket", "answering", "memory_bytes",
			 "actual_bytes", "target_bytes", "resident_bytes", "swapped_bytes",
			 "saved_bytes", "floor_bytes", "working_set_bytes", "entitled_bytes",
			 "shares", "has_balloon", "deflate_on_oom", "reporting", "mergeable",
			 "mergeable_reason", "stats", "notes"));
	mute = json_object_array_get_idx(all, 1);
	assert_true(json_object_object_get(mute, "memory_bytes") == NULL);
	assert_true(json_object_object_get(mute, "pid") == NULL);
	assert_true(json_object_object_get(mute, "large_pages_ppm") == NULL);
	notes = json_get_array(mute, "notes");
	assert_string_equal(json_object_get_string(json_object_array_get_idx(notes, 0)),
			    "does not greet");
}

static void test_status(void **state)
{
	AUTO_JSON json_object *doc = NULL;
	json_object *errors;

	(void)state;
	config.policy.ksm_manage = false;
	for (unsigned int i = 0; i < 40; i++)
		daemon_error(&d, "fault %u", i / 2); /* each twice: kept once */
	doc = report_status(&d);
	assert_keys(doc,
		    KEYS("schema", "version", "mode", "uptime_us", "tick", "state", "need_bytes",
			 "guests", "ksm", "standing_aside", "errors", "changes", "trace"));
	assert_string_equal(json_get_str(doc, "mode"), "dry-run");
	assert_keys(json_get_obj(doc, "tick"), KEYS("count", "last_us", "max_us"));
	assert_int_equal(number(json_get_obj(doc, "guests"), "total"), 2);
	assert_int_equal(number(json_get_obj(doc, "guests"), "answering"), 1);
	assert_int_equal(number(json_get_obj(doc, "guests"), "ballooned"), 1);
	assert_keys(json_get_obj(doc, "ksm"), KEYS("run", "pages_to_scan", "managed", "original"));
	assert_string_equal(
		json_get_str(json_object_array_get_idx(json_get_array(doc, "standing_aside"), 0),
			     "why"),
		"ksm=off in the configuration");
	errors = json_get_array(doc, "errors");
	assert_int_equal(json_object_array_length(errors), DAEMON_ERRORS_MAX);
	assert_string_equal(
		json_object_get_string(json_object_array_get_idx(errors, DAEMON_ERRORS_MAX - 1)),
		"fault 19");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_report, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
