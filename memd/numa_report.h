/* SPDX-License-Identifier: Apache-2.0 */
/* The documents about nodes: who lives where, what was moved, and where a new guest would go. */
#ifndef MEMD_NUMA_REPORT_H
#define MEMD_NUMA_REPORT_H

#include <json-c/json.h>

#include "memd/daemon.h"

/* `query-numa`. Reads the nodes' files. The caller puts it. */
json_object *numa_report(struct daemon *daemon);

/* What has changed of the nodes since memd runs, newest last: time and text. */
json_object *numa_report_news(const struct daemon *daemon);

/*
 * `query-place`: {"memory": bytes, "cpus", "domain", "pages": "2M"|"1G", "beside": guest,
 * "name": of the new guest, for its section's domain}. 0, or -errno with err filled: arguments that
 * make no sense.
 */
int numa_report_place(const struct daemon *daemon, json_object *args, json_object **ret_value,
		      struct wire_error *err);

#endif
