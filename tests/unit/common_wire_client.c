// SPDX-License-Identifier: Apache-2.0
/* The blocking client against a scripted peer: deadlines, late answers, events, lies. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "tests/unit/qmp_peer.h"

#define GREETING "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":0}},\"capabilities\":[]}}\n"
#define READY	 "{\"return\":{},\"id\":1}\n"
#define STRANGE	 "{\"error\":{\"class\":\"Strange\",\"desc\":\"odd\"}}\n{\"event\":\"B\"}\n"

static char path[] = "/tmp/memd-client-XXXXXX";

/*
 * The peer's part: each text is sent after one more message was received ("" waits for a message
 * and says nothing); the first comes at once.
 */
struct script {
	const char *texts[8]; /* NULL ends */
	bool closes;	      /* at the end; else stays until the client goes */
	int listen_fd;
	pthread_t thread;
};

static void *play(void *arg)
{
	struct script *script = arg;
	int fd = accept(script->listen_fd, NULL, NULL);
	struct wire_conn *conn;

	if (fd < 0)
		return NULL;
	conn = wire_conn_new(fd);
	for (int i = 0; i < 8 && script->texts[i]; i++) {
		json_object *message = NULL;

		for (int r = 0; i && r == 0 && !message; r = wire_conn_next(conn, &message))
			if (wire_conn_read(conn) == -EAGAIN)
				usleep(1000);
		json_object_put(message);
		if (script->texts[i][0])
			peer_say(conn, script->texts[i]);
	}
	while (!script->closes && wire_conn_read(conn) == -EAGAIN)
		usleep(1000);
	wire_conn_free(conn);
	return NULL;
}

static void start(struct script *script)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	script->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(script->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(script->listen_fd, 1), 0);
	assert_int_equal(pthread_create(&script->thread, NULL, play, script), 0);
}

static void finish(struct script *script)
{
	assert_int_equal(pthread_join(script->thread, NULL), 0);
	close(script->listen_fd);
}

static struct wire_client *open_client(uint64_t timeout_us)
{
	struct wire_client *client = NULL;

	assert_int_equal(wire_client_open(path, timeout_us, &client), 0);
	return client;
}

static void test_call(void **state)
{
	struct script script = {
		.texts = {
			GREETING, READY,
			"{\"event\":\"A\",\"timestamp\":{}}\r\n{\"return\":{\"x\":1},\"id\":2}\r\n",
			"{\"error\":{\"class\":\"DeviceNotActive\",\"desc\":\"No b\"},\"id\":3}\n",
			STRANGE}};
	AUTO_JSON json_object *value = NULL;
	AUTO_JSON json_object *event = NULL;
	AUTO_JSON json_object *other = NULL;
	struct wire_client *client;
	struct wire_error err;

	start(&script);
	client = open_client(20000000);
	assert_int_equal(wire_client_call(client, "x", json_object_new_object(), &value, &err), 0);
	assert_json(value, "{\"x\":1}");
	assert_int_equal(wire_client_call(client, "y", NULL, NULL, &err), -EREMOTEIO);
	assert_string_equal(err.class, WIRE_DEVICE_NOT_ACTIVE);
	assert_string_equal(err.desc, "No b");
	/* Without an id: the peer could not read the request. */
	assert_int_equal(wire_client_call(client, "z", NULL, NULL, NULL), -EREMOTEIO);

	/* B is waited for and A, older, is still there afterwards. */
	assert_int_equal(wire_client_wait_event(client, "B", 2000000, &event), 0);
	assert_string_equal(json_get_str(event, "event"), "B");
	assert_int_equal(wire_client_wait_event(client, NULL, 0, &other), 0);
	assert_string_equal(json_get_str(other, "event"), "A");
	assert_int_equal(wire_client_wait_event(client, NULL, 1000, &other), -ETIMEDOUT);
	wire_client_close(client);
	finish(&script);
}

/* An answer that comes after its call gave up is not taken for the next call's. */
static void test_late_answer(void **state)
{
	struct script script = {.texts = {GREETING, READY, "",
					  "{\"return\":\"late\",\"id\":2}\n"
					  "{\"return\":\"right\",\"id\":3}\n"}};
	AUTO_JSON json_object *value = NULL;
	struct wire_client *client;
	struct wire_error err;
	uint64_t start_us;

	start(&script);
	client = open_client(2000000);
	start_us = clock_now_us();
	assert_int_equal(wire_client_call(client, "slow", NULL, NULL, &err), -ETIMEDOUT);
	assert_in_range(clock_now_us() - start_us, 1900000, 20000000);
	assert_int_equal(wire_client_call(client, "next", NULL, &value, &err), 0);
	assert_string_equal(json_object_get_string(value), "right");
	wire_client_close(client);
	finish(&script);
}

static void test_open_fails(void **state)
{
	static const struct {
		struct script script;
		int error;
	} cases[] = {
		{{.texts = {"SSH-2.0-OpenSSH\r\n"}}, -EPROTO},
		{{.texts = {"{\"hello\":1}\n"}}, -EPROTO},
		{{.texts = {"{\"error\":{\"class\":\"GenericError\",\"desc\":\"full\"}}\n"}},
		 -EBUSY},
		{{.texts = {""}}, -ETIMEDOUT},
		{{.texts = {GREETING, ""}}, -ETIMEDOUT},
		{{.texts = {GREETING, "{\"error\":{\"class\":\"x\",\"desc\":\"no\"},\"id\":1}\n"}},
		 -EPROTO},
		{{.texts = {GREETING, "{\"id\":1}\n"}}, -EPROTO},
	};
	struct wire_client *client = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const uint64_t timeout_us = cases[i].error == -ETIMEDOUT ? 100000 : 20000000;
		struct script script = cases[i].script;

		start(&script);
		assert_int_equal(wire_client_open(path, timeout_us, &client), cases[i].error);
		finish(&script);
	}
	unlink(path);
	assert_int_equal(wire_client_open(path, 100000, &client), -ENOENT);
	assert_int_equal(wire_client_open("", 100000, &client), -EINVAL);
	assert_null(client);
}

static void test_peer_goes(void **state)
{
	struct script script = {.texts = {GREETING, READY, "{\"return\":"}, .closes = true};
	struct wire_client *client;
	struct wire_error err;

	start(&script);
	client = open_client(2000000);
	assert_int_equal(wire_client_call(client, "half", NULL, NULL, &err), -EPIPE);
	assert_int_equal(wire_client_call(client, "gone", NULL, NULL, &err), -EPIPE);
	wire_client_close(client);
	finish(&script);
}

static void test_open_closed(void **state)
{
	struct script script = {.texts = {GREETING}, .closes = true};
	struct wire_client *client = NULL;

	start(&script);
	assert_int_equal(wire_client_open(path, 2000000, &client), -EPIPE);
	finish(&script);
	assert_null(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_call),	    cmocka_unit_test(test_late_answer),
		cmocka_unit_test(test_open_fails),  cmocka_unit_test(test_peer_goes),
		cmocka_unit_test(test_open_closed),
	};
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);
	return cmocka_run_group_tests_name("common_wire_client", tests, NULL, NULL);
}
