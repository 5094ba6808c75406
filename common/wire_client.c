// SPDX-License-Identifier: Apache-2.0
/*
 * A blocking QMP client with a deadline on everything, for memctl and tests. Events that arrive
 * while an answer is awaited are kept, up to a number; late answers to calls that timed out are
 * recognised by their id and dropped.
 */
#include "common/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "common/clock.h"

#define EVENTS_KEPT_MAX 256

struct wire_client {
	struct wire_conn *conn;
	uint64_t timeout_us;
	uint64_t last_id;
	json_object *events; /* array of events not yet asked for */
};

static uint64_t deadline_in(uint64_t timeout_us)
{
	uint64_t now = clock_now_us();

	return timeout_us > UINT64_MAX - now ? UINT64_MAX : now + timeout_us;
}

/* Wait for the socket. 0; -ETIMEDOUT; -errno. */
static int wait_for(struct wire_client *client, short events, uint64_t deadline)
{
	struct pollfd pfd = {.fd = wire_conn_fd(client->conn), .events = events};

	for (;;) {
		const uint64_t now = clock_now_us();
		const uint64_t left = now < deadline ? deadline - now : 0;
		const uint64_t left_ms = left / 1000 + (left % 1000 != 0);
		int r = poll(&pfd, 1, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);

		if (r > 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r == 0 && clock_now_us() >= deadline)
			return -ETIMEDOUT;
	}
}

/* The next message, whatever it is. */
static int receive(struct wire_client *client, uint64_t deadline, json_object **ret_message)
{
	for (;;) {
		int r = wire_conn_next(client->conn, ret_message);

		if (r > 0)
			return 0;
		if (r < 0)
			return r == -ENOMEM ? r : -EPROTO;
		r = wire_conn_read(client->conn);
		if (r == 0 || r == -ECONNRESET)
			return -EPIPE;
		if (r == -EAGAIN)
			r = wait_for(client, POLLIN, deadline);
		if (r < 0)
			return r;
	}
}

static int send_all(struct wire_client *client, json_object *message, uint64_t deadline)
{
	int r = wire_conn_send(client->conn, message);

	while (r == 0 && wire_conn_flush(client->conn) == 1)
		r = wait_for(client, POLLOUT, deadline);
	return r == -ECONNRESET ? -EPIPE : r;
}

static void keep_event(struct wire_client *client, json_object *event)
{
	if (json_object_array_length(client->events) >= EVENTS_KEPT_MAX)
		json_object_array_del_idx(client->events, 0, 1);
	json_object_array_add(client->events, json_object_get(event));
}

static int connect_to(const char *path, uint64_t timeout_us, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	AUTO_FD int fd = -1;
	/* The kernel waits that long for a place in the listener's queue. */
	struct timeval patience = {.tv_sec = (time_t)(timeout_us / USEC_PER_SEC),
				   .tv_usec = (suseconds_t)(timeout_us % USEC_PER_SEC)};

	if (!path[0])
		return -EINVAL;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (timeout_us < UINT32_MAX * USEC_PER_SEC)
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int negotiate(struct wire_client *client)
{
	AUTO_JSON json_object *greeting = NULL;
	struct wire_error err;
	int r = receive(client, deadline_in(client->timeout_us), &greeting);

	if (r < 0)
		return r == -EPIPE ? -EPROTO : r;
	if (json_get_obj(greeting, "error"))
		return -EBUSY;
	if (!json_get_obj(greeting, "QMP"))
		return -EPROTO;
	r = wire_client_call(client, "qmp_capabilities", NULL, NULL, &err);
	return r == -EREMOTEIO ? -EPROTO : r;
}

int wire_client_open(const char *path, uint64_t timeout_us, struct wire_client **ret_client)
{
	struct wire_client *client;
	int fd = -1, r;

	r = connect_to(path, timeout_us, &fd);
	if (r < 0)
		return r;
	client = calloc(1, sizeof(*client));
	if (client) {
		client->timeout_us = timeout_us;
		client->events = json_object_new_array();
		client->conn = wire_conn_new(fd);
	}
	if (!client || !client->events || !client->conn) {
		if (!client || !client->conn)
			close(fd);
		wire_client_close(client);
		return -ENOMEM;
	}
	r = negotiate(client);
	if (r < 0) {
		wire_client_close(client);
		return r;
	}
	*ret_client = client;
	return 0;
}

void wire_client_set_timeout(struct wire_client *client, uint64_t timeout_us)
{
	client->timeout_us = timeout_us;
}

void wire_client_close(struct wire_client *client)
{
	if (!client)
		return;
	wire_conn_free(client->conn);
	json_object_put(client->events);
	free(client);
}

/* The peer's words into err; the class is one of our static texts. */
static int take_error(json_object *body, struct wire_error *err)
{
	static const char *const classes[] = {WIRE_GENERIC_ERROR, WIRE_COMMAND_NOT_FOUND,
					      WIRE_DEVICE_NOT_ACTIVE, WIRE_DEVICE_NOT_FOUND,
					      WIRE_KVM_MISSING_CAP};
	const char *class = json_get_str(body, "class");
	const char *desc = json_get_str(body, "desc");
	const char *known = NULL;

	for (size_t i = 0; class && i < ARRAY_SIZE(classes); i++)
		if (!strcmp(class, classes[i]))
			known = classes[i];
	return wire_fail(err, -EREMOTEIO, known, "%s", desc ? desc : "(no reason given)");
}

int wire_client_call(struct wire_client *client, const char *command, json_object *args,
		     json_object **ret_value, struct wire_error *err)
{
	AUTO_JSON json_object *request = wire_command_new(command, args, ++client->last_id);
	const uint64_t deadline = deadline_in(client->timeout_us);
	int r = send_all(client, request, deadline);

	while (r == 0) {
		AUTO_JSON json_object *message = NULL;
		json_object *value, *error;
		uint64_t id;

		r = receive(client, deadline, &message);
		if (r < 0)
			break;
		if (json_get_str(message, "event")) {
			keep_event(client, message);
			continue;
		}
		error = json_get_obj(message, "error");
		/* An error without an id: the peer could not even read what we sent. */
		if (json_get_u64(message, "id", &id) ? id != client->last_id : !error)
			continue;
		if (error)
			return take_error(error, err);
		if (!json_object_object_get_ex(message, "return", &value))
			return -EPROTO;
		if (ret_value)
			*ret_value = json_object_get(value);
		return 0;
	}
	return r;
}

static bool event_is(json_object *event, const char *name)
{
	const char *its = json_get_str(event, "event");

	return its && (!name || !strcmp(its, name));
}

int wire_client_wait_event(struct wire_client *client, const char *name, uint64_t timeout_us,
			   json_object **ret_event)
{
	const uint64_t deadline = deadline_in(timeout_us);

	for (size_t i = 0; i < json_object_array_length(client->events); i++) {
		json_object *event = json_object_array_get_idx(client->events, i);

		if (!event_is(event, name))
			continue;
		json_object_get(event);
		json_object_array_del_idx(client->events, i, 1);
		*ret_event = event;
		return 0;
	}
	for (;;) {
		AUTO_JSON json_object *message = NULL;
		int r = receive(client, deadline, &message);

		if (r < 0)
			return r;
		if (event_is(message, name)) {
			*ret_event = TAKE_PTR(message);
			return 0;
		}
		if (event_is(message, NULL))
			keep_event(client, message);
	}
}
