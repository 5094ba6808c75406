/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A QMP server with commands to try it by, on a socket in a directory of its own, which is made and
 * removed as the group's setup and teardown.
 */
#ifndef MEMD_TESTS_WIRE_WORLD_H
#define MEMD_TESTS_WIRE_WORLD_H

#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "tests/unit/qmp_peer.h"

static char directory[] = "/tmp/memd-wire-XXXXXX";
static char path[64];
static struct wire_server *server;
static unsigned int n_changes;

static inline int query_name(void *ctx, json_object *args, json_object **ret_value,
			     struct wire_error *err)
{
	*ret_value = json_object_new_object();
	json_add_str(*ret_value, "name", "capture");
	return 0;
}

static inline int change(void *ctx, json_object *args, json_object **ret_value,
			 struct wire_error *err)
{
	n_changes++;
	return 0;
}

static inline int echo(void *ctx, json_object *args, json_object **ret_value,
		       struct wire_error *err)
{
	*ret_value = json_object_get(args);
	return 0;
}

static inline int refuse(void *ctx, json_object *args, json_object **ret_value,
			 struct wire_error *err)
{
	return wire_fail(err, -ENODEV, WIRE_DEVICE_NOT_ACTIVE, "No %s", "device");
}

/* An answer of as many bytes as asked for. */
static inline int produce(void *ctx, json_object *args, json_object **ret_value,
			  struct wire_error *err)
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

static inline int send_event(void *ctx, json_object *args, json_object **ret_value,
			     struct wire_error *err)
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

static inline void pump(void)
{
	wire_server_process(server);
}

static inline int setup(void **state)
{
	n_changes = 0;
	assert_int_equal(wire_server_new(&options, &server), 0);
	return 0;
}

static inline int teardown(void **state)
{
	wire_server_free(server);
	server = NULL;
	return 0;
}

/* A connection that has been greeted, and negotiated if asked for. */
static inline struct wire_conn *join(bool negotiate)
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

static inline void expect(struct wire_conn *peer, const char *request, const char *expected)
{
	AUTO_JSON json_object *answer = NULL;

	peer_say(peer, request);
	answer = peer_hear(peer, pump);
	assert_json(answer, expected);
}

static inline int make_directory(void **state)
{
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/sock", directory);
	log_init("test", LOG_LEVEL_ERR);
	return 0;
}

static inline int remove_directory(void **state)
{
	return rmdir(directory);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
