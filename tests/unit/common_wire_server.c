// SPDX-License-Identifier: Apache-2.0
/* The QMP server: a real QEMU's words, who may do what, and clients that misbehave. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/wire_request.h"
#include "tests/unit/qmp_peer.h"

static char directory[] = "/tmp/memd-wire-XXXXXX";
static char path[64];
static struct wire_server *server;
static unsigned int n_changes;

static int query_name(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	*ret_value = json_object_new_object();
	json_add_str(*ret_value, "name", "capture");
	return 0;
}

static int change(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	n_changes++;
	return 0;
}

static int echo(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	*ret_value = json_object_get(args);
	return 0;
}

static int refuse(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	return wire_fail(err, -ENODEV, WIRE_DEVICE_NOT_ACTIVE, "No %s", "device");
}

/* An answer of as many bytes as asked for. */
static int produce(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	uint64_t bytes = 0;
	char *text;

	json_get_u64(args, "bytes", &bytes);
	text = malloc(bytes + 1);
	memset(text, 'x', bytes);
	text[bytes] = '\0';
	*ret_value = json_object_new_string(text);
	free(text);
	return 0;
}

static int send_event(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	wire_server_event(server, "FROM_WITHIN", NULL);
	return 0;
}

static const struct wire_arg balloon_args[] = {{"value", WIRE_INT, false}, {0}};
static const struct wire_arg get_args[] = {
	{"path", WIRE_STRING, false}, {"property", WIRE_STRING, false}, {0}};
static const struct wire_arg produce_args[] = {{"bytes", WIRE_U64, false}, {0}};
static const struct wire_arg echo_args[] = {
	{"s", WIRE_STRING, true}, {"u", WIRE_U64, true},   {"i", WIRE_INT, true},
	{"n", WIRE_NUMBER, true}, {"b", WIRE_BOOL, true},  {"o", WIRE_OBJECT, true},
	{"a", WIRE_ARRAY, true},  {"any", WIRE_ANY, true}, {0}};

static const struct wire_command commands[] = {
	{"query-name", query_name, NULL, false},
	{"balloon", change, balloon_args, true},
	{"qom-get", echo, get_args, false},
	{"quit", change, NULL, true},
	{"echo", echo, echo_args, false},
	{"fail", refuse, NULL, false},
	{"produce", produce, produce_args, false},
	{"send-event", send_event, NULL, false},
	{0},
};

static struct wire_server_options options = {
	.path = path,
	.package = "vmm 1.2.3",
	.major = 1,
	.minor = 2,
	.micro = 3,
	.commands = commands,
	.max_clients = 4,
};

static void pump(void)
{
	wire_server_process(server);
}

static int setup(void **state)
{
	n_changes = 0;
	assert_int_equal(wire_server_new(&options, &server), 0);
	return 0;
}

static int teardown(void **state)
{
	wire_server_free(server);
	server = NULL;
	return 0;
}

/* A connection that has been greeted, and negotiated if asked for. */
static struct wire_conn *join(bool negotiate)
{
	struct wire_conn *peer = peer_connect(path);
	AUTO_JSON json_object *greeting = peer_hear(peer, pump);

	assert_json(greeting, "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":3,\"minor\":2,"
			      "\"major\":1},\"package\":\"vmm 1.2.3\"},\"capabilities\":[]}}");
	if (negotiate) {
		AUTO_JSON json_object *answer = NULL;

		peer_say(peer, "{\"execute\":\"qmp_capabilities\"}");
		answer = peer_hear(peer, pump);
		assert_json(answer, "{\"return\":{}}");
	}
	return peer;
}

static void expect(struct wire_conn *peer, const char *request, const char *expected)
{
	AUTO_JSON json_object *answer = NULL;

	peer_say(peer, request);
	answer = peer_hear(peer, pump);
	assert_json(answer, expected);
}

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

/* Commands sent before the peer shut down its side are all answered, then the place is free. */
static void test_half_close(void **state)
{
	struct wire_conn *peer = join(true);

	peer_say(peer, "{\"execute\":\"query-name\"}{\"execute\":\"produce\","
		       "\"arguments\":{\"bytes\":900000}}{\"execute\":\"query-name\",\"id\":1}");
	shutdown(wire_conn_fd(peer), SHUT_WR);
	for (int i = 0; i < 3; i++) {
		json_object *answer = NULL;

		for (int tries = 0; !answer && tries < 10; tries++)
			answer = peer_hear(peer, pump);
		assert_true(json_object_object_get_ex(answer, "return", NULL));
		json_object_put(answer);
	}
	assert_true(peer_is_closed(peer, pump));
	wire_conn_free(peer);
}

/* Someone who asks and never reads is not served further, and keeps nobody else waiting. */
static void test_slow_reader(void **state)
{
	static const char request[] = "{\"execute\":\"produce\",\"arguments\":{\"bytes\":60000}}";
	struct wire_conn *slow = join(true), *other = join(true);
	struct pollfd pfd = {.fd = wire_server_fd(server), .events = POLLIN};
	unsigned int asked = 0, answered = 0;

	fcntl(wire_conn_fd(slow), F_SETFL, O_NONBLOCK);
	for (int rounds = 0; rounds < 20000; rounds++) {
		if (send(wire_conn_fd(slow), request, sizeof(request) - 1, MSG_NOSIGNAL) !=
		    sizeof(request) - 1)
			break;
		asked++;
		pump();
	}
	assert_true(asked > 100);
	/* It stopped being read from: nothing is left to do, however full its socket is. */
	for (int i = 0; i < 8; i++)
		pump();
	assert_int_equal(poll(&pfd, 1, 0), 0);
	expect(other, "{\"execute\":\"query-name\"}", "{\"return\":{\"name\":\"capture\"}}");

	/* It reads after all: every answer is there. */
	for (int idle = 0; idle < 3;) {
		AUTO_JSON json_object *answer = peer_hear(slow, pump);

		idle = answer ? 0 : idle + 1;
		answered += answer != NULL;
	}
	assert_int_equal(answered, asked);

	/* It stops reading again while events pile up: it is dropped, the other is not. */
	for (int i = 0; i < 100; i++) {
		AUTO_JSON json_object *event = NULL;
		json_object *data = json_object_new_object();
		static char text[100001];

		memset(text, 'z', sizeof(text) - 1);
		json_add_str(data, "x", text);
		wire_server_event(server, "LARGE", data);
		event = peer_hear(other, pump);
		assert_string_equal(json_get_str(event, "event"), "LARGE");
	}
	for (;;) {
		int r = wire_conn_read(slow);
		json_object *message;

		if (r == 0 || r == -ECONNRESET)
			break;
		if (r == -EAGAIN)
			fail_msg("the slow reader was not dropped");
		while (wire_conn_next(slow, &message) == 1)
			json_object_put(message);
	}
	expect(other, "{\"execute\":\"query-name\"}", "{\"return\":{\"name\":\"capture\"}}");
	wire_conn_free(slow);
	wire_conn_free(other);
}

static void test_max_clients(void **state)
{
	struct wire_conn *peers[4], *refused, *silent;
	AUTO_JSON json_object *answer = NULL;

	for (int i = 0; i < 4; i++)
		peers[i] = join(true);
	refused = peer_connect(path);
	answer = peer_hear(refused, pump);
	assert_json(answer, "{\"error\":{\"class\":\"GenericError\","
			    "\"desc\":\"All 4 places for clients are taken\"}}");
	assert_true(peer_is_closed(refused, pump));
	wire_conn_free(refused);
	expect(peers[3], "{\"execute\":\"query-name\"}", "{\"return\":{\"name\":\"capture\"}}");

	/* A place that is given up is free again. */
	wire_conn_free(peers[0]);
	pump();
	silent = join(false);
	/* One that never negotiated makes way. */
	peers[0] = join(true);
	assert_true(peer_is_closed(silent, pump));
	wire_conn_free(silent);
	for (int i = 0; i < 4; i++)
		wire_conn_free(peers[i]);
}

/* Run command as if from uid, without a socket. */
static int run_as(uid_t uid, const char *command, struct wire_error *err)
{
	AUTO_JSON json_object *request = wire_command_new(command, NULL, 1);
	json_object *value = NULL;
	bool negotiated = true;
	int r = wire_request_run(&options, uid, &negotiated, request, &value, err);

	json_object_put(value);
	return r;
}

static void test_changes_need_rights(void **state)
{
	struct wire_error err;
	char desc[128];

	assert_int_equal(run_as(geteuid(), "quit", &err), 0);
	assert_int_equal(run_as(0, "quit", &err), 0);
	assert_int_equal(n_changes, 2);
	assert_int_equal(run_as(geteuid() + 1, "query-name", &err), 0);
	assert_int_equal(run_as(geteuid() + 1, "quit", &err), -EPERM);
	snprintf(desc, sizeof(desc),
		 "Command 'quit' makes changes: it is for root and uid %u, not uid %u",
		 (unsigned int)geteuid(), (unsigned int)geteuid() + 1);
	assert_string_equal(err.desc, desc);
	assert_int_equal(n_changes, 2);
}

/* The same with a real peer: the kernel tells who it is. */
static void test_peer_is_known(void **state)
{
	struct wire_client *client;
	struct wire_error err;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(chmod(directory, 0755), 0);
	pid = fork();
	if (pid == 0) {
		if (setuid(65534) < 0 || wire_client_open(path, 2000000, &client) < 0)
			_exit(1);
		if (wire_client_call(client, "query-name", NULL, NULL, &err) != 0)
			_exit(2);
		if (wire_client_call(client, "quit", NULL, NULL, &err) != -EREMOTEIO)
			_exit(3);
		_exit(strstr(err.desc, "not uid 65534") ? 0 : 4);
	}
	while (waitpid(pid, &status, WNOHANG) == 0) {
		struct pollfd pfd = {.fd = wire_server_fd(server), .events = POLLIN};

		poll(&pfd, 1, 10);
		pump();
	}
	assert_int_equal(status, 0);
	assert_int_equal(n_changes, 0);
}

/* Out of descriptors: the connection is turned away instead of waking the loop for ever. */
static void test_no_descriptors(void **state)
{
	struct pollfd pfd = {.fd = wire_server_fd(server), .events = POLLIN};
	struct wire_conn *peer = peer_connect(path);
	struct rlimit old, low;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = (struct rlimit){.rlim_cur = (rlim_t)fd, .rlim_max = old.rlim_max};
	close(fd);
	/* All numbers below the limit are taken now. */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	pump();
	assert_int_equal(poll(&pfd, 1, 0), 0);
	assert_true(peer_is_closed(peer, pump));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	wire_conn_free(peer);
	wire_conn_free(join(true));
}

static void test_drain(void **state)
{
	struct wire_conn *peer = join(true);
	const uint64_t start = clock_now_us();

	peer_say(peer, "{\"execute\":\"produce\",\"arguments\":{\"bytes\":1000000}}");
	pump();
	/* Nobody reads, so it gives up after that time and no later. */
	wire_server_drain(server, 50000);
	assert_in_range(clock_now_us() - start, 40000, 5000000);
	wire_conn_free(peer);
}

static int remove_directory(void **state)
{
	return rmdir(directory);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_as_qemu),
		TEST(test_built_in),
		TEST(test_enable),
		TEST(test_types),
		TEST(test_garbage_is_its_senders),
		TEST(test_answer_too_long),
		TEST(test_events),
		TEST(test_half_close),
		TEST(test_slow_reader),
		TEST(test_max_clients),
		TEST(test_changes_need_rights),
		TEST(test_peer_is_known),
		TEST(test_no_descriptors),
		TEST(test_drain),
	};

	if (!mkdtemp(directory))
		return 1;
	snprintf(path, sizeof(path), "%s/sock", directory);
	log_init("test", LOG_LEVEL_ERR);
	return cmocka_run_group_tests_name("common_wire_server", tests, NULL, remove_directory);
}
