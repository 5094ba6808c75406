/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's monitor for tests of memd: behind a real socket, in the same thread. It greets, and the
 * test answers each command by a function of its own.
 */
#ifndef MEMD_TESTS_UNIT_MONITOR_H
#define MEMD_TESTS_UNIT_MONITOR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "common/wire.h"

#define MONITOR_GREETING                                                                     \
	"{\"QMP\":{\"version\":{\"qemu\":{\"major\":7,\"minor\":2,\"micro\":1},\"package\":" \
	"\"%s\"},\"capabilities\":[]}}\r\n"

struct monitor {
	int listener; /* -1: none */
	struct wire_conn *conn;
	const char *package; /* "vmm 0.1.0", or as QEMU is packaged */
	bool silent;	     /* neither greets nor reads */
};

typedef void (*monitor_answer_fn)(json_object *message);

static inline void monitor_open(struct monitor *m, const char *dir, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	assert_true((size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", dir,
				     name) < sizeof(address.sun_path));
	m->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(m->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(m->listener, 4), 0);
}

/* The socket's file stays. */
static inline void monitor_close(struct monitor *m)
{
	wire_conn_free(m->conn);
	m->conn = NULL;
	if (m->listener >= 0)
		close(m->listener);
	m->listener = -1;
}

static inline void monitor_tell(struct monitor *m, const char *text)
{
	assert_true(send(wire_conn_fd(m->conn), text, strlen(text), MSG_NOSIGNAL) > 0);
}

static inline void monitor_turn(struct monitor *m, monitor_answer_fn answer)
{
	json_object *message = NULL;

	if (!m->conn && m->listener >= 0) {
		int fd = accept(m->listener, NULL, NULL);
		char text[256];

		if (fd < 0)
			return;
		m->conn = wire_conn_new(fd);
		snprintf(text, sizeof(text), MONITOR_GREETING, m->package);
		if (!m->silent)
			monitor_tell(m, text);
	}
	if (!m->conn || m->silent)
		return;
	while (wire_conn_read(m->conn) > 0)
		;
	while (wire_conn_next(m->conn, &message) == 1) {
		answer(message);
		json_object_put(message);
	}
}

/* Both sides work until nothing moves any more. */
static inline void monitor_settle(struct monitor *m, sd_event *event, monitor_answer_fn answer)
{
	for (unsigned int idle = 0; idle < 3;) {
		monitor_turn(m, answer);
		idle = sd_event_run(event, 1000) > 0 ? 0 : idle + 1;
	}
}

#endif
