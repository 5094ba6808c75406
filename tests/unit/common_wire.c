// SPDX-License-Identifier: Apache-2.0
/* One QMP connection: framing of good and hostile input, bounds, output and its limits. */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "common/wire.h"

struct pair {
	struct wire_conn *conn;
	int peer; /* blocking */
};

static int setup(void **state)
{
	static struct pair pair;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	pair.conn = wire_conn_new(fds[0]);
	pair.peer = fds[1];
	assert_non_null(pair.conn);
	*state = &pair;
	return 0;
}

static int teardown(void **state)
{
	struct pair *pair = *state;

	wire_conn_free(pair->conn);
	cleanup_fd(&pair->peer);
	return 0;
}

static void say_bytes(struct pair *pair, const void *bytes, size_t n)
{
	assert_int_equal(send(pair->peer, bytes, n, MSG_NOSIGNAL), n);
	assert_int_equal(wire_conn_read(pair->conn), n);
}

static void say(struct pair *pair, const char *text)
{
	say_bytes(pair, text, strlen(text));
}

static void expect_message(struct pair *pair, const char *text)
{
	AUTO_JSON json_object *message = NULL;

	assert_int_equal(wire_conn_next(pair->conn, &message), 1);
	assert_string_equal(json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN), text);
}

static void expect_error(struct pair *pair, int error)
{
	json_object *message = NULL;

	assert_int_equal(wire_conn_next(pair->conn, &message), error);
	assert_null(message);
	assert_true(strlen(wire_conn_why(pair->conn)) > 0);
}

static void expect_nothing(struct pair *pair)
{
	json_object *message = NULL;

	assert_int_equal(wire_conn_next(pair->conn, &message), 0);
	assert_null(message);
}

static void test_separators(void **state)
{
	struct pair *pair = *state;

	say(pair, "{\"a\":1}\n{\"a\":2}\r\n{\"a\":3}{\"a\":4} \t\r\n\n {\n\"a\"\r\n:\t5\n}\n");
	for (int i = 1; i <= 5; i++) {
		char text[16];

		snprintf(text, sizeof(text), "{\"a\":%d}", i);
		expect_message(pair, text);
	}
	expect_nothing(pair);
	assert_true(wire_conn_is_idle(pair->conn));
}

static void test_byte_by_byte(void **state)
{
	static const char text[] = "{\"a\":[{\"b\":\"x\\\"}]{\"},\"\\\\\"],\"c\":{}}";
	struct pair *pair = *state;

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i + 1 < sizeof(text) - 1; i++) {
			say_bytes(pair, text + i, 1);
			expect_nothing(pair);
			assert_false(wire_conn_is_idle(pair->conn));
		}
		say_bytes(pair, text + sizeof(text) - 2, 1);
		expect_message(pair, text);
		assert_true(wire_conn_is_idle(pair->conn));
	}
}

static void test_garbage(void **state)
{
	static const char *const lines[] = {
		"hello\n",
		"[1,2]\n",
		"\"text\"\n",
		"12 {\"skipped\":1}\n",
		"}\n",
		"GET / HTTP/1.1\r\n",
		"{\"a\" {\"b\":1}}\n",
		"{\"a\":[1}\n",
		"{\"a\":1]\n",
		"{\"a\":\"unterminated\n",
		"{\"a\":\x01}\n",
		"{\"a\":\"\t\"}\n",
		"{,}\n",
		"{\"a\":1,}\n",
		"{\"a\"}\n",
		"{\"a\":nul}\n",
		"{\"a\":NaN}\n",
		"{\"a\":01}\n",
		"{\"a\":1/**/}\n",
		"{\"a\":\"\xc3(\"}\n",		  /* not UTF-8 */
		"{\"a\":\"\xed\xa0\"}\n",	  /* cut */
		"{\"a\":\"\xed\xa0\x80\"}\n",	  /* a surrogate */
		"{\"a\":\"\xc0\x80\"}\n",	  /* overlong */
		"{\"a\":\"\xf4\x90\x80\x80\"}\n", /* above U+10FFFF */
		"{'a':nan}\n",
		"{\"a\":-Infinity}\n",
		"{\"a\":\"\\x\"}\n",
		"{\"a\":\"\\u12g4\"}\n",
	};
	struct pair *pair = *state;

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		say(pair, lines[i]);
		say(pair, "{\"next\":1}\n");
		expect_error(pair, -EBADMSG);
		expect_message(pair, "{\"next\":1}");
		expect_nothing(pair);
		assert_true(wire_conn_is_idle(pair->conn));
	}
	say_bytes(pair, "{\"a\":\"\0\"}\n{\"b\":2}", 18);
	expect_error(pair, -EBADMSG);
	expect_message(pair, "{\"b\":2}");
}

/* Garbage is dropped as it comes, with one error for all of a line. */
static void test_garbage_in_pieces(void **state)
{
	struct pair *pair = *state;

	say(pair, "garbage");
	expect_error(pair, -EBADMSG);
	expect_nothing(pair);
	assert_false(wire_conn_is_idle(pair->conn));
	say(pair, " more {\"a\":1}");
	expect_nothing(pair);
	say(pair, " end\n{\"b\":1}");
	expect_message(pair, "{\"b\":1}");
	assert_true(wire_conn_is_idle(pair->conn));
}

/* An object with a flaw within takes nothing else with it: old qmp-shell sends no newlines. */
static void test_flaw_within(void **state)
{
	struct pair *pair = *state;

	say(pair, "{\"a\":}{\"b\":1}");
	expect_error(pair, -EBADMSG);
	expect_message(pair, "{\"b\":1}");
}

/* QEMU's clients send 0xff to get a parser out of whatever it is in. */
static void test_reset_byte(void **state)
{
	struct pair *pair = *state;

	say(pair, "{\"a\":{\"half\xff{\"b\":1}");
	expect_error(pair, -EBADMSG);
	expect_message(pair, "{\"b\":1}");
	expect_nothing(pair);
}

static void test_single_quotes(void **state)
{
	struct pair *pair = *state;

	say(pair, "{'a': 'it\"s }', \"b\": \"don't {\"}");
	expect_message(pair, "{\"a\":\"it\\\"s }\",\"b\":\"don't {\"}");
}

static void test_utf8(void **state)
{
	static const char text[] = "{\"a\":\"\u00e9 \u20ac \U0001f600 \U0010ffff\"}";
	struct pair *pair = *state;

	say(pair, text);
	expect_message(pair, text);
}

static void test_numbers_are_exact(void **state)
{
	static const char text[] = "{\"a\":18446744073709551615,\"b\":9223372036854775808,"
				   "\"c\":-9223372036854775808,\"d\":9007199254740993}";
	struct pair *pair = *state;

	say(pair, text);
	expect_message(pair, text);
}

/* A 10 MB line is refused once and never held in memory. */
static void test_huge_line(void **state)
{
	static char chunk[64 << 10];
	struct pair *pair = *state;
	size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
	unsigned int errors = 0;

	memset(chunk, 'x', sizeof(chunk));
	say(pair, "{\"a\":\"");
	for (size_t sent = 0; sent < 10000000; sent += sizeof(chunk)) {
		json_object *message = NULL;
		int r;

		say_bytes(pair, chunk, sizeof(chunk));
		while ((r = wire_conn_next(pair->conn, &message)) != 0) {
			assert_int_equal(r, -EMSGSIZE);
			errors++;
		}
		assert_in_range(mallinfo2().uordblks + mallinfo2().hblkhd, 0,
				before + 3 * WIRE_MESSAGE_MAX);
	}
	assert_int_equal(errors, 1);
	say(pair, "\"}\n{\"b\":1}\n");
	expect_message(pair, "{\"b\":1}");
	assert_in_range(mallinfo2().uordblks + mallinfo2().hblkhd, 0, before + (256 << 10));
}

/* The longest message that fits does, and one byte more does not. */
static void test_longest(void **state)
{
	struct pair *pair = *state;

	for (size_t len = WIRE_MESSAGE_MAX; len <= WIRE_MESSAGE_MAX + 1; len++) {
		AUTO_FREE char *text = malloc(len + 2);
		json_object *message = NULL;
		int r = 0;

		strcpy(text, "{\"a\":\"");
		memset(text + 6, 'x', len - 8);
		strcpy(text + len - 2, "\"}\n");
		for (size_t sent = 0; sent < len + 1; sent += 50000) {
			size_t n = len + 1 - sent < 50000 ? len + 1 - sent : 50000;
			int got;

			say_bytes(pair, text + sent, n);
			got = wire_conn_next(pair->conn, &message);
			r = got ? got : r;
		}
		assert_int_equal(r, len <= WIRE_MESSAGE_MAX ? 1 : -EMSGSIZE);
		json_object_put(message);
		expect_nothing(pair);
		assert_true(wire_conn_is_idle(pair->conn));
	}
}

static void test_depth(void **state)
{
	struct pair *pair = *state;
	char text[512] = "{\"a\":";
	json_object *message = NULL;

	/* 63 arrays in one object fit, a 64th does not. */
	memset(text + 5, '[', 63);
	memset(text + 68, ']', 63);
	strcpy(text + 131, "}\n");
	say(pair, text);
	assert_int_equal(wire_conn_next(pair->conn, &message), 1);
	json_object_put(message);

	strcpy(text, "{\"a\":");
	memset(text + 5, '[', 64);
	memset(text + 69, ']', 64);
	strcpy(text + 133, "}\n{\"b\":1}");
	say(pair, text);
	expect_error(pair, -EMSGSIZE);
	expect_message(pair, "{\"b\":1}");
}

/* Many small containers would cost json-c far more memory than they have bytes. */
static void test_containers(void **state)
{
	static char text[60000] = "{\"a\":[";
	struct pair *pair = *state;
	size_t len = 6;

	for (int i = 0; i < 17000; i++, len += 3)
		strcpy(text + len, "{},");
	strcpy(text + len, "{}]}\n");
	say_bytes(pair, text, len + 5);
	expect_error(pair, -EMSGSIZE);
	expect_nothing(pair);
	assert_true(wire_conn_is_idle(pair->conn));
}

static void test_read_bounds(void **state)
{
	static char chunk[64 << 10];
	struct pair *pair = *state;
	int r = 0;

	/* Nobody takes messages: reading stops instead of growing. */
	memset(chunk, ' ', sizeof(chunk));
	for (int i = 0; i < 64 && r != -ENOBUFS; i++) {
		assert_int_equal(send(pair->peer, chunk, sizeof(chunk), 0), sizeof(chunk));
		r = wire_conn_read(pair->conn);
	}
	assert_int_equal(r, -ENOBUFS);
}

static void test_read_ends(void **state)
{
	struct pair *pair = *state;

	assert_int_equal(wire_conn_read(pair->conn), -EAGAIN);
	say(pair, "{\"a\":1");
	cleanup_fd(&pair->peer);
	pair->peer = -1;
	expect_nothing(pair);
	assert_int_equal(wire_conn_read(pair->conn), 0);
	assert_false(wire_conn_is_idle(pair->conn));
}

static void test_send(void **state)
{
	static const char expected[] = "{\"path\":\"/a/b\",\"n\":18446744073709551615}\r\n";
	AUTO_JSON json_object *message = json_object_new_object();
	struct pair *pair = *state;
	char got[128] = "";

	json_add_str(message, "path", "/a/b");
	json_object_object_add(message, "n", json_object_new_uint64(UINT64_MAX));
	assert_int_equal(wire_conn_send(pair->conn, message), 0);
	assert_int_equal(recv(pair->peer, got, sizeof(got), 0), sizeof(expected) - 1);
	assert_string_equal(got, expected);
	assert_false(wire_conn_has_backlog(pair->conn));
}

static json_object *message_of(size_t bytes)
{
	json_object *message = json_object_new_object();
	char *text = malloc(bytes + 1);

	memset(text, 'y', bytes);
	text[bytes] = '\0';
	json_add_str(message, "x", text);
	free(text);
	return message;
}

static void test_backlog(void **state)
{
	AUTO_JSON json_object *message = message_of(100000);
	AUTO_JSON json_object *too_long = message_of(WIRE_MESSAGE_MAX);
	static char sink[1 << 20];
	struct pair *pair = *state;
	size_t sent = 0, got = 0;
	int r;

	assert_int_equal(wire_conn_send(pair->conn, too_long), -EMSGSIZE);
	while ((r = wire_conn_send(pair->conn, message)) == 0) {
		sent += 100000 + 10;
		assert_in_range(wire_conn_backlog_bytes(pair->conn), 0, WIRE_BACKLOG_MAX);
	}
	assert_int_equal(r, -ENOBUFS);
	assert_in_range(sent, WIRE_BACKLOG_MAX - 200000, WIRE_BACKLOG_MAX + (8 << 20));
	assert_true(wire_conn_has_backlog(pair->conn));

	/* Everything that was taken arrives, nothing of what was refused. */
	do {
		ssize_t n;

		r = wire_conn_flush(pair->conn);
		assert_true(r >= 0);
		while ((n = recv(pair->peer, sink, sizeof(sink), MSG_DONTWAIT)) > 0)
			got += (size_t)n;
	} while (r == 1);
	assert_int_equal(got, sent);
	assert_false(wire_conn_has_backlog(pair->conn));
}

/* A peer that is gone is an error, not a SIGPIPE. */
static void test_send_to_nobody(void **state)
{
	AUTO_JSON json_object *message = message_of(10);
	struct pair *pair = *state;

	cleanup_fd(&pair->peer);
	pair->peer = -1;
	assert_int_equal(wire_conn_send(pair->conn, message), -EPIPE);
}

static void test_json_reading(void **state)
{
	AUTO_JSON json_object *obj =
		json_tokener_parse("{\"u\":18446744073709551615,\"neg\":-1,\"f\":1.0,\"s\":\"x\","
				   "\"nul\":\"a\\u0000b\","
				   "\"b\":true,\"o\":{},\"a\":[],\"null\":null}");
	uint64_t u = 7;
	bool b = false;

	assert_non_null(obj);
	assert_true(json_get_u64(obj, "u", &u));
	assert_int_equal(u, UINT64_MAX);
	u = 7;
	assert_false(json_get_u64(obj, "neg", &u));
	assert_false(json_get_u64(obj, "f", &u));
	assert_false(json_get_u64(obj, "s", &u));
	assert_false(json_get_u64(obj, "null", &u));
	assert_false(json_get_u64(obj, "absent", &u));
	assert_false(json_get_u64(NULL, "u", &u));
	assert_int_equal(u, 7);
	assert_true(json_get_bool(obj, "b", &b));
	assert_true(b);
	assert_false(json_get_bool(obj, "u", &b));
	assert_string_equal(json_get_str(obj, "s"), "x");
	assert_null(json_get_str(obj, "nul"));
	assert_null(json_get_str(obj, "u"));
	assert_non_null(json_get_obj(obj, "o"));
	assert_null(json_get_obj(obj, "a"));
	assert_non_null(json_get_array(obj, "a"));
	assert_null(json_get_array(json_get_array(obj, "a"), "a"));
}

static void test_json_building(void **state)
{
	json_object *args = json_object_new_object();
	AUTO_JSON json_object *command = NULL;
	struct wire_error err;

	json_add_u64(args, "absent", UINT64_MAX);
	json_add_u64(args, "most", UINT64_MAX - 1);
	json_add_i64(args, "i", -3);
	json_add_str(args, "none", NULL);
	json_add_bool(args, "b", true);
	command = wire_command_new("do", args, 5);
	assert_string_equal(json_object_to_json_string_ext(command, JSON_C_TO_STRING_PLAIN),
			    "{\"execute\":\"do\",\"arguments\":{\"absent\":null,"
			    "\"most\":18446744073709551614,\"i\":-3,\"none\":null,\"b\":true},"
			    "\"id\":5}");

	assert_int_equal(wire_fail(&err, -ENOENT, NULL, "no %s", "x"), -ENOENT);
	assert_string_equal(err.class, WIRE_GENERIC_ERROR);
	assert_string_equal(err.desc, "no x");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_separators),
		TEST(test_byte_by_byte),
		TEST(test_garbage),
		TEST(test_garbage_in_pieces),
		TEST(test_flaw_within),
		TEST(test_reset_byte),
		TEST(test_utf8),
		TEST(test_single_quotes),
		TEST(test_numbers_are_exact),
		TEST(test_huge_line),
		TEST(test_longest),
		TEST(test_depth),
		TEST(test_containers),
		TEST(test_read_bounds),
		TEST(test_read_ends),
		TEST(test_send),
		TEST(test_backlog),
		TEST(test_send_to_nobody),
		TEST(test_json_reading),
		TEST(test_json_building),
	};

	return cmocka_run_group_tests_name("common_wire", tests, NULL, NULL);
}
