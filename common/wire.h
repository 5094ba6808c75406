/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QMP on a stream socket: framing (a stream of JSON objects; each one we send ends in "\r\n", as
 * QEMU's do), the message shapes of the protocol, a server for vmm and memd, and a blocking client
 * for memctl and tests. memd's own client is asynchronous and builds on wire_conn.
 * Source: QEMU docs/interop/qmp-spec.
 */
#ifndef MEMD_COMMON_WIRE_H
#define MEMD_COMMON_WIRE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"

static inline void cleanup_json(json_object **o)
{
	json_object_put(*o);
}
#define AUTO_JSON AUTO(cleanup_json)

/* Longest message either side takes; longer ones are refused and skipped. */
#define WIRE_MESSAGE_MAX (1U << 20)
/* A peer that lets this much of our output pile up is dropped. */
#define WIRE_BACKLOG_MAX (4U << 20)

/* ---- one connection ---- */

struct wire_conn;

/* Take over a connected socket (made non-blocking). NULL: out of memory, fd is still the caller's.
 */
struct wire_conn *wire_conn_new(int fd);
void wire_conn_free(struct wire_conn *conn); /* closes; NULL is fine */
int wire_conn_fd(const struct wire_conn *conn);

/* Read what is there. >0: bytes read; 0: the peer has closed; -EAGAIN: nothing now; other -errno.
 */
int wire_conn_read(struct wire_conn *conn);

/*
 * Next message out of what was read. 1: *ret_message is an object for the caller to put; 0: none
 * complete yet; -EBADMSG: not JSON or not an object (skipped to the next line);
 * -EMSGSIZE: longer than WIRE_MESSAGE_MAX, or nested or split beyond reason (skipped to the next
 * line). After an error, call again. A complete object with a flaw within is skipped alone. The
 * byte 0xff drops what is half-read, as in QEMU.
 */
int wire_conn_next(struct wire_conn *conn, json_object **ret_message);

/* What the last error of wire_conn_next() was about, in QEMU's manner. */
const char *wire_conn_why(const struct wire_conn *conn);

/*
 * Queue and try to send. The message stays the caller's. 0; -EMSGSIZE: above WIRE_MESSAGE_MAX;
 * -ENOBUFS: backlog full; -errno: broken.
 */
int wire_conn_send(struct wire_conn *conn, json_object *message);

/*
 * Queue {"execute": command, "arguments": args, "id": id} without sending: several go out by one
 * wire_conn_flush(). args is JSON, NULL: none. Nothing is allocated once the connection has had as
 * much queued before. Errors as of wire_conn_send().
 */
int wire_conn_queue_command(struct wire_conn *conn, const char *command, const char *args,
			    uint64_t id);

/* Send what is queued. 0: all out; 1: some left, wait for EPOLLOUT; -errno: broken. */
int wire_conn_flush(struct wire_conn *conn);
bool wire_conn_has_backlog(const struct wire_conn *conn);
size_t wire_conn_backlog_bytes(const struct wire_conn *conn);

/* Is the connection on a message boundary, nothing half-read? (For tests and drop messages.) */
bool wire_conn_is_idle(const struct wire_conn *conn);

/* ---- messages ---- */

/* QEMU's error classes (qapi/error.json). */
#define WIRE_GENERIC_ERROR     "GenericError"
#define WIRE_COMMAND_NOT_FOUND "CommandNotFound"
#define WIRE_DEVICE_NOT_ACTIVE "DeviceNotActive"
#define WIRE_DEVICE_NOT_FOUND  "DeviceNotFound"
#define WIRE_KVM_MISSING_CAP   "KVMMissingCap"

struct wire_error {
	const char *class; /* one of the above; NULL is GenericError */
	char desc[512];
};

/* Fill err (NULL is fine); class NULL is GenericError. */
void wire_error_set(struct wire_error *err, const char *class, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Fill err and return code, so that a command can `return wire_fail(err, -EINVAL, NULL, "...")`.
 * A macro, so that compilers and analysers see which code comes back.
 */
static inline int wire_code(int code)
{
	return code;
}
#define wire_fail(err, code, class, ...) \
	(wire_error_set((err), (class), __VA_ARGS__), wire_code(code))

/* {"execute": command, "arguments": arguments, "id": id}. Takes over arguments (may be NULL). */
json_object *wire_command_new(const char *command, json_object *arguments, uint64_t id);

/* JSON building: add under key and return obj; a value that is UINT64_MAX ("absent") becomes null.
 */
void json_add_u64(json_object *obj, const char *key, uint64_t value);
void json_add_i64(json_object *obj, const char *key, int64_t value);
void json_add_str(json_object *obj, const char *key, const char *value); /* NULL becomes null */
void json_add_bool(json_object *obj, const char *key, bool value);

/*
 * JSON reading from peers that may lie: true when obj is an object, key is there and of that type.
 * *ret is untouched otherwise. u64 refuses negative numbers, str refuses a NUL within. What is
 * returned is borrowed from obj.
 */
bool json_get_u64(json_object *obj, const char *key, uint64_t *ret_value);
bool json_get_bool(json_object *obj, const char *key, bool *ret_value);
const char *json_get_str(json_object *obj, const char *key); /* NULL: not there */
json_object *json_get_obj(json_object *obj, const char *key);
json_object *json_get_array(json_object *obj, const char *key);

/* ---- server ---- */

enum wire_type {
	WIRE_STRING,
	WIRE_U64,
	WIRE_INT,
	WIRE_NUMBER,
	WIRE_BOOL,
	WIRE_OBJECT,
	WIRE_ARRAY,
	WIRE_ANY
};

struct wire_arg {
	const char *name; /* NULL ends the list */
	enum wire_type type;
	bool optional;
};

/*
 * Run one command. args has been checked against the table: right types, required ones there,
 * none unknown; it is always an object. 0: *ret_value (left NULL means {}) is the answer, taken
 * over by the server; <0: err is filled.
 */
typedef int (*wire_command_fn)(void *ctx, json_object *args, json_object **ret_value,
			       struct wire_error *err);

struct wire_command {
	const char *name; /* NULL ends the table */
	wire_command_fn run;
	const struct wire_arg *args; /* NULL: takes none */
	bool changes; /* changes something: refused to peers that are neither root nor our uid */
};

struct wire_server;

struct wire_server_options {
	const char *path;    /* of the socket */
	const char *package; /* greeting's version.package: "vmm 0.1.0" */
	unsigned int major, minor, micro;
	mode_t mode; /* of the socket file, 0600 when 0 */
	const struct wire_command
		*commands;	  /* qmp_capabilities, query-commands, query-version are built in */
	void *ctx;		  /* passed to each command */
	unsigned int max_clients; /* 16 when 0 */
};

/*
 * Listen. A socket file left by a dead process is replaced; one that still answers is -EADDRINUSE,
 * a file that is no socket -EEXIST, a path too long for a socket address -ENAMETOOLONG (nothing is
 * logged: see wire_server_why()). The server never blocks: poll wire_server_fd() for input, then
 * call wire_server_process(). A client that stalls or sends garbage affects itself only.
 */
int wire_server_new(const struct wire_server_options *options, struct wire_server **ret_server);
void wire_server_free(
	struct wire_server *server); /* closes all, unlinks the socket; NULL is fine */
int wire_server_fd(const struct wire_server *server);

/* What an error of wire_server_new() means and what to do, for "socket PATH: %s". */
const char *wire_server_why(int error);

void wire_server_process(struct wire_server *server);

/* {"event": name, "data": data, "timestamp": ...} to every negotiated client. Takes over data (or
 * NULL). */
void wire_server_event(struct wire_server *server, const char *name, json_object *data);

/* Try to send what is queued before the process ends (waits up to timeout_us). */
void wire_server_drain(struct wire_server *server, uint64_t timeout_us);

/* ---- blocking client ---- */

struct wire_client;

/*
 * Connect, read the greeting, negotiate. -errno of connect(2); -ETIMEDOUT; -EPROTO: not QMP;
 * -EBUSY: the server has its most clients already. timeout_us holds for each later call too.
 */
int wire_client_open(const char *path, uint64_t timeout_us, struct wire_client **ret_client);
void wire_client_close(struct wire_client *client); /* NULL is fine */

/*
 * One command. Takes over args (may be NULL). 0: *ret_value is the "return" (caller puts it; pass
 * NULL to drop it). -EREMOTEIO: the peer refused, err says why. -ETIMEDOUT, -EPIPE, -EPROTO.
 */
int wire_client_call(struct wire_client *client, const char *command, json_object *args,
		     json_object **ret_value, struct wire_error *err);

/* Calls from now on may take so long. */
void wire_client_set_timeout(struct wire_client *client, uint64_t timeout_us);

/* Wait for the named event (NULL: any) until timeout_us from now; events seen while calling are
 * kept. */
int wire_client_wait_event(struct wire_client *client, const char *name, uint64_t timeout_us,
			   json_object **ret_event);

#endif
