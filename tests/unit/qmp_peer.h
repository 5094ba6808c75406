/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of QMP servers in the same thread: a peer that sends raw text and takes messages, and
 * the transcripts of real monitors in tests/fixtures/qmp ("-> " sent, "<- " answered). Tests run
 * in the root of the source tree.
 */
#ifndef MEMD_TESTS_UNIT_QMP_PEER_H
#define MEMD_TESTS_UNIT_QMP_PEER_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <cmocka.h>

#include "common/wire.h"

/* Called while we wait: lets the server work. */
typedef void (*peer_pump_fn)(void);

static inline struct wire_conn *peer_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return wire_conn_new(fd);
}

static inline void peer_say(struct wire_conn *peer, const char *text)
{
	size_t len = strlen(text);

	assert_int_equal(send(wire_conn_fd(peer), text, len, MSG_NOSIGNAL), len);
}

/* The next message, or NULL when none comes. */
static inline json_object *peer_hear(struct wire_conn *peer, peer_pump_fn pump)
{
	json_object *message = NULL;

	for (int i = 0; i < 8; i++) {
		int r = wire_conn_next(peer, &message);

		assert_true(r >= 0);
		if (r > 0)
			return message;
		pump();
		wire_conn_read(peer);
	}
	return NULL;
}

/* Has the server closed the connection? */
static inline bool peer_is_closed(struct wire_conn *peer, peer_pump_fn pump)
{
	for (int i = 0; i < 8; i++) {
		int r = wire_conn_read(peer);

		if (r == 0 || r == -ECONNRESET)
			return true;
		pump();
	}
	return false;
}

/* Equal as JSON; shows both when not. */
static inline void assert_json_equal(json_object *got, json_object *expected, const char *what)
{
	if (!json_object_equal(got, expected))
		fail_msg("%s\n  got      %s\n  expected %s", what, json_object_to_json_string(got),
			 json_object_to_json_string(expected));
}

static inline void assert_json(json_object *got, const char *expected)
{
	AUTO_JSON json_object *parsed = json_tokener_parse(expected);

	assert_json_equal(got, parsed, "not as expected:");
}

/*
 * Does ours have every member that theirs has, of the same type, all the way down? Arrays are
 * compared by their first elements. Numbers, strings and so on may differ in value.
 */
static inline void assert_shape(json_object *ours, json_object *theirs, const char *what)
{
	if (json_object_get_type(ours) != json_object_get_type(theirs))
		fail_msg("%s\n  ours   %s\n  theirs %s", what, json_object_to_json_string(ours),
			 json_object_to_json_string(theirs));
	if (json_object_is_type(theirs, json_type_object)) {
		json_object_object_foreach (theirs, key, value) {
			json_object *its;

			if (!json_object_object_get_ex(ours, key, &its))
				fail_msg("%s: no '%s' in %s", what, key,
					 json_object_to_json_string(ours));
			assert_shape(its, value, what);
		}
	}
	if (json_object_is_type(theirs, json_type_array) && json_object_array_length(theirs) &&
	    json_object_array_length(ours))
		assert_shape(json_object_array_get_idx(ours, 0),
			     json_object_array_get_idx(theirs, 0), what);
}

/* ---- transcripts ---- */

struct transcript {
	FILE *file;
	char line[16384];
	bool sent; /* line is a request, else an answer */
	char *text;
};

static inline void transcript_open(struct transcript *t, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "tests/fixtures/qmp/%s.txt", name);
	t->file = fopen(path, "r");
	if (!t->file)
		fail_msg("%s: %s (tests run in the root of the source tree)", path,
			 strerror(errno));
}

static inline bool transcript_next(struct transcript *t)
{
	if (!fgets(t->line, sizeof(t->line), t->file)) {
		fclose(t->file);
		return false;
	}
	t->line[strcspn(t->line, "\n")] = '\0';
	t->sent = !strncmp(t->line, "-> ", 3);
	t->text = t->line + 3;
	return true;
}

#endif
