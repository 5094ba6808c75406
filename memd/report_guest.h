/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One guest as JSON, for the documents of report.h. An absent number is null, never 0. Each
 * function returns a new object.
 */
#ifndef MEMD_REPORT_GUEST_H
#define MEMD_REPORT_GUEST_H

#include <json-c/json.h>

#include "memd/daemon.h"

/* All that is known of it, for `memctl guests`. */
json_object *report_guest(const struct daemon *daemon, const struct guest *guest);

/* What it has, where, and what is saved with it, for `memctl report`. */
json_object *report_guest_saved(const struct daemon *daemon, const struct guest *guest);

#endif
