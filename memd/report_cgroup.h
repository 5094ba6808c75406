/* SPDX-License-Identifier: Apache-2.0 */
/* Guests' cgroups as JSON, for the documents of report.h. An absent number is null, never 0. */
#ifndef MEMD_REPORT_CGROUP_H
#define MEMD_REPORT_CGROUP_H

#include <json-c/json.h>

#include "memd/daemon.h"

/* Whose it is, whether memd has made it and why not, and what it sets in it. Reads no file. */
json_object *report_guest_cgroup(const struct daemon *daemon, const struct guest *guest);

/* A line for people, if there is something to say of it; NULL. */
const char *report_cgroup_note(const struct guest *guest, char *buf, size_t n);

/* Memory charged to the guest's own cgroup by node, {"0": bytes}; NULL: not known. Reads a file. */
json_object *report_cgroup_nodes(const struct guest *guest);

#endif
