/* SPDX-License-Identifier: Apache-2.0 */
/* Between wire_server.c and wire_request.c only: one request, without the connection it came by. */
#ifndef MEMD_COMMON_WIRE_REQUEST_H
#define MEMD_COMMON_WIRE_REQUEST_H

#include "common/wire.h"

/* The "version" of the greeting and of query-version. */
json_object *wire_version_new(const struct wire_server_options *options);

/*
 * Check request (an object) and run it for a peer with that uid. *negotiated is the connection's
 * state and becomes true by qmp_capabilities. 0: *ret_value is the answer, or left alone for {};
 * <0: err is filled.
 */
int wire_request_run(const struct wire_server_options *options, uid_t uid, bool *negotiated,
		     json_object *request, json_object **ret_value, struct wire_error *err);

#endif
