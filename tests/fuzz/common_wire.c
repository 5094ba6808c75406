// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzz the wire: bytes as a peer sends them, through framing, the checks of a request and the
 * answer. The first byte of an input is the size of the pieces that the rest arrives in. Beyond not
 * crashing it must hold that pieces make no difference, and that whatever we answer is a message
 * that we would take ourselves.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/wire_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What came out of one run, as text. */
struct record {
	char *text;
	size_t len;
	FILE *file;
};

static int echo(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	uint64_t number = 0;
	bool truth = false;

	json_get_u64(args, "u", &number);
	json_get_bool(args, "b", &truth);
	*ret_value = json_object_new_object();
	json_add_u64(*ret_value, "u", number);
	json_add_bool(*ret_value, "b", truth);
	json_add_str(*ret_value, "s", json_get_str(args, "s"));
	json_object_object_add(*ret_value, "any", json_object_get(args));
	return 0;
}

static int refuse(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	return wire_fail(err, -EINVAL, NULL, "no '%s'", json_get_str(args, "s"));
}

static const struct wire_arg echo_args[] = {
	{"s", WIRE_STRING, true}, {"u", WIRE_U64, true},   {"i", WIRE_INT, true},
	{"n", WIRE_NUMBER, true}, {"b", WIRE_BOOL, true},  {"o", WIRE_OBJECT, true},
	{"a", WIRE_ARRAY, true},  {"any", WIRE_ANY, true}, {0}};
static const struct wire_arg refuse_args[] = {{"s", WIRE_STRING, false}, {0}};
static const struct wire_command commands[] = {
	{"echo", echo, echo_args, false}, {"refuse", refuse, refuse_args, true}, {0}};
static const struct wire_server_options options = {
	.path = "", .package = "fuzz", .commands = commands};

static void check(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

/* Send answer, and take it back as the peer would: the same must come out. */
static void check_answer(json_object *answer)
{
	AUTO_JSON json_object *back = NULL;
	struct wire_conn *here, *there;
	int fds[2];

	check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
	here = wire_conn_new(fds[0]);
	there = wire_conn_new(fds[1]);
	check(wire_conn_send(here, answer) == 0, "an answer was not sent");
	check(wire_conn_read(there) > 0, "an answer did not arrive");
	check(wire_conn_next(there, &back) == 1, "an answer is no message");
	check(json_object_equal(answer, back), "an answer changed on its way");
	wire_conn_free(here);
	wire_conn_free(there);
}

static void handle(json_object *request, bool *negotiated, struct record *record)
{
	AUTO_JSON json_object *answer = json_object_new_object();
	json_object *value = NULL, *id;
	struct wire_error err = {0};
	int r = wire_request_run(&options, 1, negotiated, request, &value, &err);

	if (r < 0)
		json_add_str(answer, "error", err.desc);
	else
		json_object_object_add(answer, "return", value);
	if (json_object_object_get_ex(request, "id", &id))
		json_object_object_add(answer, "id", json_object_get(id));
	fprintf(record->file, "%d %s\n", r, json_object_to_json_string(answer));
	/* json-c repeats a number as it was written, so NaN and so on would show here. */
	check_answer(answer);
}

static void run(const uint8_t *data, size_t size, size_t piece, struct record *record)
{
	struct wire_conn *conn;
	bool negotiated = true;
	int fds[2];

	record->file = open_memstream(&record->text, &record->len);
	check(record->file && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "set-up");
	conn = wire_conn_new(fds[0]);
	for (size_t sent = 0; sent < size; sent += piece) {
		size_t n = size - sent < piece ? size - sent : piece;
		json_object *message = NULL;
		int r;

		check(send(fds[1], data + sent, n, MSG_NOSIGNAL) == (ssize_t)n, "send");
		check(wire_conn_read(conn) == (int)n, "read");
		while ((r = wire_conn_next(conn, &message)) != 0) {
			if (r < 0) {
				fprintf(record->file, "%d %s\n", r, wire_conn_why(conn));
				continue;
			}
			handle(message, &negotiated, record);
			json_object_put(message);
			message = NULL;
		}
	}
	fprintf(record->file, "idle %d\n", wire_conn_is_idle(conn));
	fclose(record->file);
	wire_conn_free(conn);
	close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record whole = {0}, pieces = {0};

	if (size < 2 || size > 32768)
		return 0;
	run(data + 1, size - 1, size - 1, &whole);
	run(data + 1, size - 1, data[0] % 32 + 1u, &pieces);
	check(whole.len == pieces.len && !memcmp(whole.text, pieces.text, whole.len),
	      "pieces make a difference");
	free(whole.text);
	free(pieces.text);
	return 0;
}
