// SPDX-License-Identifier: Apache-2.0
/*
 * A QMP server on a unix socket: accepts clients, greets them, hands each request to
 * wire_request.c and sends the answers. It has an epoll of its own, so that the program polls one
 * fd. A client that does not read is not read from either, and is dropped when events pile up.
 */
#include "common/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/wire_listen.h"
#include "common/wire_request.h"

#define CLIENTS_MAX_DEFAULT 16
#define EVENTS_AT_ONCE	    16
/* No further command is taken from a client while this much of our output waits for it. */
#define BACKLOG_PAUSE (64U << 10)

struct client {
	struct client *next;
	struct wire_conn *conn;
	struct ucred peer;
	uint32_t polled; /* what epoll watches for */
	bool negotiated;
	bool eof;  /* the peer sends nothing more: answer what it sent, then close */
	bool dead; /* to be reaped */
};

struct wire_server {
	struct wire_server_options options;
	struct wire_listen listen;
	int epoll_fd;
	int spare_fd; /* given up to accept, and close, a client when there are no fds left */
	struct client *clients; /* oldest first */
	unsigned int n_clients;
	bool processing; /* clients are only marked dead, not freed */
	struct log_limit drops;
};

static void drop(struct wire_server *server, struct client *client, const char *why)
{
	if (client->dead)
		return;
	client->dead = true;
	if (why && log_limit_pass(&server->drops, NULL))
		log_warn("%s: client with pid %d dropped: %s", server->options.path,
			 (int)client->peer.pid, why);
}

static void reap(struct wire_server *server)
{
	struct client **link = &server->clients;

	if (server->processing)
		return;
	while (*link) {
		struct client *client = *link;

		if (!client->dead) {
			link = &client->next;
			continue;
		}
		*link = client->next;
		wire_conn_free(client->conn); /* closing takes it out of the epoll */
		free(client);
		server->n_clients--;
	}
}

/* Poll for output while some waits, for input unless there is too much output or no more input. */
static void update_poll(struct wire_server *server, struct client *client)
{
	const size_t backlog = wire_conn_backlog_bytes(client->conn);
	struct epoll_event event = {.data.ptr = client};

	if (client->dead)
		return;
	if (client->eof && !backlog) {
		drop(server, client, NULL);
		return;
	}
	if (backlog)
		event.events |= EPOLLOUT;
	if (!client->eof && backlog < BACKLOG_PAUSE)
		event.events |= EPOLLIN;
	if (event.events == client->polled)
		return;
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, wire_conn_fd(client->conn), &event) < 0)
		drop(server, client, strerror(errno));
	client->polled = event.events;
}

/* -EMSGSIZE: not sent. Any other failure ends the client. */
static int send_message(struct wire_server *server, struct client *client, json_object *message)
{
	int r;

	if (client->dead)
		return 0;
	r = wire_conn_send(client->conn, message);
	if (r == -EMSGSIZE)
		return r;
	if (r == -ENOBUFS)
		drop(server, client, "it does not read what it is sent");
	else if (r == -EPIPE || r == -ECONNRESET)
		drop(server, client, NULL);
	else if (r < 0)
		drop(server, client, strerror(-r));
	return 0;
}

/* ---- answers ---- */

static json_object *error_new(const struct wire_error *err)
{
	json_object *body = json_object_new_object();

	json_add_str(body, "class", err->class ? err->class : WIRE_GENERIC_ERROR);
	json_add_str(body, "desc", err->desc);
	return body;
}

/* An answer of one member, "return" or "error" (body is taken over), and the request's id. */
static int send_answer(struct wire_server *server, struct client *client, json_object *request,
		       const char *member, json_object *body)
{
	AUTO_JSON json_object *message = json_object_new_object();
	json_object *id;

	json_object_object_add(message, member, body);
	if (request && json_object_object_get_ex(request, "id", &id))
		json_object_object_add(message, "id", json_object_get(id));
	return send_message(server, client, message);
}

/* Answer with value (taken over, NULL is {}) or, when r < 0, with err. */
static void answer(struct wire_server *server, struct client *client, json_object *request, int r,
		   json_object *value, struct wire_error *err)
{
	if (r >= 0)
		r = send_answer(server, client, request, "return",
				value ? value : json_object_new_object());
	else
		json_object_put(value);
	if (r == -EMSGSIZE && !err->desc[0])
		wire_fail(err, r, NULL, "The answer is longer than a message may be (%u bytes)",
			  WIRE_MESSAGE_MAX);
	if (r < 0)
		send_answer(server, client, request, "error", error_new(err));
}

static void send_greeting(struct wire_server *server, struct client *client)
{
	AUTO_JSON json_object *message = json_object_new_object();
	json_object *body = json_object_new_object();

	json_object_object_add(body, "version", wire_version_new(&server->options));
	json_object_object_add(body, "capabilities", json_object_new_array());
	json_object_object_add(message, "QMP", body);
	send_message(server, client, message);
}

/* ---- requests ---- */

/* Answer every whole message that was read, as long as the answers go out. */
static void serve(struct wire_server *server, struct client *client)
{
	while (!client->dead && wire_conn_backlog_bytes(client->conn) < BACKLOG_PAUSE) {
		struct wire_error err = {0};
		AUTO_JSON json_object *request = NULL;
		json_object *value = NULL;
		int r = wire_conn_next(client->conn, &request);

		if (r == 0)
			return;
		if (r < 0)
			wire_fail(&err, r, NULL, "%s", wire_conn_why(client->conn));
		else
			r = wire_request_run(&server->options, client->peer.uid,
					     &client->negotiated, request, &value, &err);
		answer(server, client, request, r, value, &err);
	}
}

/* ---- clients ---- */

/* A connection that never negotiated must not keep others out. */
static void drop_oldest_silent(struct wire_server *server)
{
	for (struct client *client = server->clients; client; client = client->next)
		if (!client->negotiated && !client->dead) {
			drop(server, client, "it never negotiated, and all places are taken");
			server->processing = false;
			reap(server);
			server->processing = true;
			return;
		}
}

static void refuse_client(struct wire_server *server, struct client *client)
{
	struct wire_error err;

	wire_fail(&err, -EBUSY, NULL, "All %u places for clients are taken",
		  server->options.max_clients);
	answer(server, client, NULL, -EBUSY, NULL, &err);
	wire_conn_free(client->conn);
	free(client);
	if (log_limit_pass(&server->drops, NULL))
		log_warn("%s: a client was turned away: all %u places are taken",
			 server->options.path, server->options.max_clients);
}

static void add_client(struct wire_server *server, int fd)
{
	struct client *client = calloc(1, sizeof(*client));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
	socklen_t len = sizeof(client->peer);
	struct client **link;

	if (!client || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &client->peer, &len) < 0)
		goto fail;
	client->conn = wire_conn_new(fd);
	if (!client->conn)
		goto fail;
	if (server->n_clients == server->options.max_clients)
		drop_oldest_silent(server);
	if (server->n_clients == server->options.max_clients) {
		refuse_client(server, client);
		return;
	}
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		wire_conn_free(client->conn);
		free(client);
		return;
	}
	client->polled = event.events;
	for (link = &server->clients; *link; link = &(*link)->next)
		;
	*link = client;
	server->n_clients++;
	send_greeting(server, client);
	return;
fail:
	free(client);
	close(fd);
}

/* Out of fds the connection would stay pending and wake the loop for ever: turn it away. */
static void accept_and_close(struct wire_server *server)
{
	int fd;

	cleanup_fd(&server->spare_fd);
	fd = accept4(server->listen.fd, NULL, NULL, SOCK_CLOEXEC);
	cleanup_fd(&fd);
	server->spare_fd = fcntl(server->epoll_fd, F_DUPFD_CLOEXEC, 0);
	if (log_limit_pass(&server->drops, NULL))
		log_warn("%s: a client was turned away: no file descriptors left",
			 server->options.path);
}

static void accept_clients(struct wire_server *server)
{
	/* As many as there are places: a flood of connections must not hold up the loop. */
	for (unsigned int i = 0; i < server->options.max_clients; i++) {
		int fd = accept4(server->listen.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE))
			accept_and_close(server);
		if (fd < 0)
			return;
		add_client(server, fd);
	}
}

static void handle_client(struct wire_server *server, struct client *client, uint32_t events)
{
	int r;

	if (client->dead)
		return;
	if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
		r = wire_conn_flush(client->conn);
		if (r < 0) {
			drop(server, client, NULL);
			return;
		}
	}
	if ((events & (EPOLLIN | EPOLLHUP)) && !client->eof &&
	    wire_conn_backlog_bytes(client->conn) < BACKLOG_PAUSE) {
		r = wire_conn_read(client->conn);
		if (r == 0)
			client->eof = true;
		else if (r < 0 && r != -EAGAIN)
			drop(server, client, r == -ECONNRESET ? NULL : strerror(-r));
	}
	serve(server, client);
	update_poll(server, client);
}

void wire_server_process(struct wire_server *server)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	bool accepting = false;
	int n = epoll_wait(server->epoll_fd, events, EVENTS_AT_ONCE, 0);

	if (server->processing)
		return;
	server->processing = true;
	for (int i = 0; i < n; i++) {
		if (events[i].data.ptr)
			handle_client(server, events[i].data.ptr, events[i].events);
		else
			accepting = true;
	}
	/* Last, since it may free clients that this round's events point at. */
	if (accepting)
		accept_clients(server);
	server->processing = false;
	reap(server);
}

void wire_server_event(struct wire_server *server, const char *name, json_object *data)
{
	AUTO_JSON json_object *message = json_object_new_object();
	json_object *stamp = json_object_new_object();
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	json_add_i64(stamp, "seconds", now.tv_sec);
	json_add_i64(stamp, "microseconds", now.tv_nsec / 1000);
	json_object_object_add(message, "timestamp", stamp);
	json_add_str(message, "event", name);
	if (data)
		json_object_object_add(message, "data", data);
	for (struct client *client = server->clients; client; client = client->next)
		if (client->negotiated) {
			send_message(server, client, message);
			update_poll(server, client);
		}
	reap(server);
}

void wire_server_drain(struct wire_server *server, uint64_t timeout_us)
{
	const uint64_t end = clock_now_us() + timeout_us;

	for (struct client *client = server->clients; client; client = client->next) {
		struct pollfd pfd = {.fd = wire_conn_fd(client->conn), .events = POLLOUT};

		while (!client->dead && wire_conn_flush(client->conn) == 1) {
			const uint64_t now = clock_now_us();

			if (now >= end || poll(&pfd, 1, (int)((end - now) / 1000) + 1) < 0)
				break;
		}
	}
}

/* ---- life ---- */

int wire_server_new(const struct wire_server_options *options, struct wire_server **ret_server)
{
	struct wire_server *server = calloc(1, sizeof(*server));
	struct epoll_event event = {.events = EPOLLIN};
	int r;

	if (!server)
		return -ENOMEM;
	server->options = *options;
	server->options.path = strdup(options->path);
	if (!options->max_clients)
		server->options.max_clients = CLIENTS_MAX_DEFAULT;
	server->drops = (struct log_limit){.window_us = 10 * USEC_PER_SEC, .burst = 5};
	server->listen.fd = -1;
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r = server->epoll_fd < 0 ? -errno : 0;
	/* Any file serves, but one without a path: a confined process can open none. */
	server->spare_fd = r < 0 ? -1 : fcntl(server->epoll_fd, F_DUPFD_CLOEXEC, 0);
	if (!server->options.path)
		r = -ENOMEM;
	if (r == 0)
		r = wire_listen_open(&server->listen, options->path,
				     options->mode ? options->mode : 0600);
	if (r == 0 && epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->listen.fd, &event) < 0)
		r = -errno;
	if (r < 0) {
		wire_server_free(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

void wire_server_free(struct wire_server *server)
{
	if (!server)
		return;
	for (struct client *client = server->clients; client; client = client->next)
		client->dead = true;
	server->processing = false;
	reap(server);
	if (server->listen.fd >= 0)
		wire_listen_close(&server->listen, server->options.path);
	cleanup_fd(&server->spare_fd);
	cleanup_fd(&server->epoll_fd);
	free((void *)(uintptr_t)server->options.path);
	free(server);
}

int wire_server_fd(const struct wire_server *server)
{
	return server->epoll_fd;
}
