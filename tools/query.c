// SPDX-License-Identifier: Apache-2.0
/* The way from memctl to memd and back; see memctl.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "tools/memctl.h"

/* memd answers from memory; more than this means that it is stopped or stuck. */
#define QUERY_TIMEOUT_US (10 * USEC_PER_SEC)

/* Where it would be nice to know what memd knows, and goes without. */
#define ASK_TIMEOUT_US (2 * USEC_PER_SEC)

static const char *connect_advice(int error)
{
	switch (error) {
	case ENOENT:
		return "memd is not running here, or listens elsewhere (--socket)";
	case ECONNREFUSED:
		return "memd has died; start it again, or `memctl reset` to restore the host";
	case EACCES:
	case EPERM:
		return "not allowed; run as root";
	case ETIMEDOUT:
		return "memd does not answer in time";
	case EPROTO:
		return "that is not a QMP socket";
	case EINVAL:
		return "that is no path of a socket";
	case ENAMETOOLONG:
		return "a socket's path has at most 107 bytes";
	default:
		return strerror(error);
	}
}

enum memctl_exit memctl_connect(const struct memctl *ctl, struct wire_client **ret_client)
{
	int r = wire_client_open(ctl->socket, QUERY_TIMEOUT_US, ret_client);

	if (r == 0)
		return MEMCTL_OK;
	log_err("%s: %s", *ctl->socket ? ctl->socket : "''", connect_advice(-r));
	return MEMCTL_UNREACHABLE;
}

bool memctl_daemon_is_there(const struct memctl *ctl)
{
	struct wire_client *client = NULL;

	if (access(ctl->socket, F_OK) < 0 || wire_client_open(ctl->socket, 2000000, &client) < 0)
		return false;
	wire_client_close(client);
	return true;
}

void memctl_print_json(json_object *document)
{
	puts(json_object_to_json_string_ext(document, JSON_C_TO_STRING_PRETTY |
							      JSON_C_TO_STRING_SPACED |
							      JSON_C_TO_STRING_NOSLASHESCAPE));
}

enum memctl_exit memctl_call(const struct memctl *ctl, const char *command, json_object *args,
			     json_object **ret_answer)
{
	struct wire_client *client = NULL;
	struct wire_error err = {0};
	enum memctl_exit status = memctl_connect(ctl, &client);
	int r;

	if (status != MEMCTL_OK) {
		json_object_put(args);
		return status;
	}
	r = wire_client_call(client, command, args, ret_answer, &err);
	wire_client_close(client);
	if (r == -EREMOTEIO) {
		log_err("memd: %s", err.desc);
		return MEMCTL_FAILED;
	}
	if (r < 0) {
		log_err("%s: %s: %s", ctl->socket, command, connect_advice(-r));
		return MEMCTL_UNREACHABLE;
	}
	return MEMCTL_OK;
}

enum memctl_exit memctl_query(const struct memctl *ctl, const char *command, json_object *args,
			      json_object **ret_answer)
{
	AUTO_JSON json_object *answer = NULL;
	enum memctl_exit status = memctl_call(ctl, command, args, &answer);

	if (!answer)
		return status;
	if (ctl->json)
		memctl_print_json(answer);
	else
		*ret_answer = TAKE_PTR(answer);
	return MEMCTL_OK;
}

int memctl_ask(const struct memctl *ctl, const char *command, json_object **ret_answer)
{
	struct wire_client *client = NULL;
	int r;

	if (access(ctl->socket, F_OK) < 0)
		return -ENOENT;
	r = wire_client_open(ctl->socket, ASK_TIMEOUT_US, &client);
	if (r == 0)
		r = wire_client_call(client, command, NULL, ret_answer, NULL);
	wire_client_close(client);
	if (r < 0)
		log_warn("%s: %s: %s; going on without memd", ctl->socket, command,
			 connect_advice(-r));
	return r;
}

bool memctl_no_arguments(int argc, char **argv)
{
	if (argc == 1)
		return true;
	log_err("%s takes no argument, got '%s'", argv[0], argv[1]);
	return false;
}
