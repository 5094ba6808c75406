// SPDX-License-Identifier: Apache-2.0
/* The QMP server's words: a real QEMU's, what it has by itself, types, garbage and events. */
#include "tests/unit/wire_world.h"

/* Every answer that QEMU gave to good and broken requests is ours too. */
static void test_as_qemu(void **state)
{
	struct wire_conn *peer = peer_connect(path);
	struct transcript t;
	unsigned int n = 0;
	char request[512] = "greeting";

	transcript_open(&t, "envelope");
	while (transcript_next(&t)) {
		AUTO_JSON json_object *theirs = NULL;
		AUTO_JSON json_object *ours = NULL;

		if (t.sent) {
			snprintf(request, sizeof(request), "%s", t.text);
			peer_say(peer, t.text);
			peer_say(peer, "\n");
			continue;
		}
		theirs = json_tokener_parse(t.text);
		assert_non_null(theirs);
		if (json_get_str(theirs, "event"))
			continue; /* what quit does is not the server's */
		ours = peer_hear(peer, pump);
		assert_non_null(ours);
		if (n++ == 0)
			assert_shape(ours, theirs, request);
		else
			assert_json_equal(ours, theirs, request);
	}
	assert_true(n > 30);
	assert_int_equal(n_changes, 1); /* the quit at the end, none of the broken balloons */
	wire_conn_free(peer);
}

static void test_built_in(void **state)
{
	struct wire_conn *peer = join(true);

	expect(peer, "{\"execute\":\"query-version\",\"id\":1}",
	       "{\"return\":{\"qemu\":{\"micro\":3,\"minor\":2,\"major\":1},"
	       "\"package\":\"vmm 1.2.3\"},\"id\":1}");
	expect(peer, "{\"execute\":\"query-commands\"}",
	       "{\"return\":[{\"name\":\"qmp_capabilities\"},{\"name\":\"query-commands\"},"
	       "{\"name\":\"query-version\"},{\"name\":\"query-name\"},{\"name\":\"balloon\"},"
	       "{\"name\":\"qom-get\"},{\"name\":\"quit\"},{\"name\":\"echo\"},"
	       "{\"name\":\"fail\"},{\"name\":\"produce\"},{\"name\":\"send-event\"}]}");
	expect(peer, "{\"execute\":\"fail\",\"id\":[]}",
	       "{\"error\":{\"class\":\"DeviceNotActive\",\"desc\":\"No device\"},\"id\":[]}");
	wire_conn_free(peer);
}

static void test_enable(void **state)
{
	struct wire_conn *peer = join(false);

	expect(peer, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}",
	       "{\"error\":{\"class\":\"GenericError\","
	       "\"desc\":\"Parameter 'enable' does not accept value 'oob'\"}}");
	expect(peer, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]}}",
	       "{\"return\":{}}");
	wire_conn_free(peer);
}

static void test_types(void **state)
{
	static const struct {
		const char *arg, *type; /* type NULL: fits */
	} cases[] = {
		{"\"s\":\"x\"", NULL},
		{"\"s\":1", "'s', expected: string"},
		{"\"u\":18446744073709551615", NULL},
		{"\"u\":-1", "'u', expected: uint64"},
		{"\"u\":1.0", "'u', expected: uint64"},
		{"\"i\":-9223372036854775808", NULL},
		{"\"i\":9223372036854775807", NULL},
		{"\"i\":9223372036854775808", "'i', expected: integer"},
		{"\"n\":1.5", NULL},
		{"\"n\":1", NULL},
		{"\"n\":\"1\"", "'n', expected: number"},
		{"\"b\":true", NULL},
		{"\"b\":1", "'b', expected: boolean"},
		{"\"o\":{}", NULL},
		{"\"o\":[]", "'o', expected: object"},
		{"\"a\":[]", NULL},
		{"\"a\":{}", "'a', expected: array"},
		{"\"any\":null", NULL},
	};
	struct wire_conn *peer = join(true);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char request[256], expected[256];

		snprintf(request, sizeof(request), "{\"execute\":\"echo\",\"arguments\":{%s}}",
			 cases[i].arg);
		if (cases[i].type)
			snprintf(expected, sizeof(expected),
				 "{\"error\":{\"class\":\"GenericError\",\"desc\":"
				 "\"Invalid parameter type for %s\"}}",
				 cases[i].type);
		else
			snprintf(expected, sizeof(expected), "{\"return\":{%s}}", cases[i].arg);
		expect(peer, request, expected);
	}
	expect(peer, "{\"execute\":\"echo\",\"arguments\":{\"s\":\"a\\u0000b\"}}",
	       "{\"error\":{\"class\":\"GenericError\","
	       "\"desc\":\"Parameter 's' must not contain a NUL character\"}}");
	expect(peer, "{\"execute\":\"quit\\u0000x\"}",
	       "{\"error\":{\"class\":\"GenericError\","
	       "\"desc\":\"QMP input member 'execute' must be a string\"}}");
	assert_int_equal(n_changes, 0);
	wire_conn_free(peer);
}

static void test_garbage_is_its_senders(void **state)
{
	struct wire_conn *bad = join(true), *good = join(true);
	AUTO_JSON json_object *answer = NULL;

	peer_say(bad, "garbage\n{\"execute\":");
	answer = peer_hear(bad, pump);
	assert_json(answer, "{\"error\":{\"class\":\"GenericError\","
			    "\"desc\":\"JSON parse error, stray input before '{'\"}}");
	expect(good, "{\"execute\":\"query-name\"}", "{\"return\":{\"name\":\"capture\"}}");
	expect(bad, "\"query-name\"}", "{\"return\":{\"name\":\"capture\"}}");
	wire_conn_free(bad);
	wire_conn_free(good);
}

static void test_answer_too_long(void **state)
{
	struct wire_conn *peer = join(true);

	expect(peer, "{\"execute\":\"produce\",\"arguments\":{\"bytes\":1048576},\"id\":3}",
	       "{\"error\":{\"class\":\"GenericError\",\"desc\":\"The answer is longer than a "
	       "message may be (1048576 bytes)\"},\"id\":3}");
	expect(peer, "{\"execute\":\"query-name\"}", "{\"return\":{\"name\":\"capture\"}}");
	wire_conn_free(peer);
}

static void test_events(void **state)
{
	struct wire_conn *negotiated = join(true), *fresh = join(false);
	json_object *data = json_object_new_object();
	AUTO_JSON json_object *event = NULL;
	struct transcript t;

	json_add_u64(data, "actual", 5);
	wire_server_event(server, "BALLOON_CHANGE", data);
	event = peer_hear(negotiated, pump);
	assert_string_equal(json_get_str(event, "event"), "BALLOON_CHANGE");
	transcript_open(&t, "guest");
	while (transcript_next(&t)) {
		AUTO_JSON json_object *theirs = t.sent ? NULL : json_tokener_parse(t.text);

		if (!t.sent && strstr(t.text, "\"BALLOON_CHANGE\""))
			assert_shape(event, theirs, "BALLOON_CHANGE");
	}
	assert_null(peer_hear(fresh, pump));

	/* An event that a command causes comes before its answer, as QEMU does with STOP. */
	peer_say(negotiated, "{\"execute\":\"send-event\"}");
	for (int i = 0; i < 2; i++) {
		AUTO_JSON json_object *message = peer_hear(negotiated, pump);

		assert_true(i == 0 ? json_get_str(message, "event") != NULL
				   : json_get_obj(message, "return") != NULL);
	}
	wire_conn_free(negotiated);
	wire_conn_free(fresh);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_as_qemu),
		TEST(test_built_in),
		TEST(test_enable),
		TEST(test_types),
		TEST(test_garbage_is_its_senders),
		TEST(test_answer_too_long),
		TEST(test_events),
	};

	return cmocka_run_group_tests_name("common_wire_server", tests, make_directory,
					   remove_directory);
}
