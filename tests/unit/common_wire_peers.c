// SPDX-License-Identifier: Apache-2.0
/* The QMP server's clients: who may do what, how many there may be, and those that misbehave. */
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "common/wire_request.h"
#include "tests/unit/wire_world.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_half_close),	  TEST(test_slow_reader),
		TEST(test_max_clients),	  TEST(test_changes_need_rights),
		TEST(test_peer_is_known), TEST(test_no_descriptors),
		TEST(test_drain),
	};

	return cmocka_run_group_tests_name("common_wire_peers", tests, make_directory,
					   remove_directory);
}
