/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON documents of memd's queries. Field names and meanings are what operators' scripts rely
 * on: additive changes only. Each function returns a new object for the caller to put.
 */
#ifndef MEMD_REPORT_H
#define MEMD_REPORT_H

#include <json-c/json.h>

#include "memd/daemon.h"

json_object *report_status(const struct daemon *daemon);
json_object *report_guests(const struct daemon *daemon);

/* Host, guests and savings: DESIGN's `memctl report --json`. */
json_object *report_report(const struct daemon *daemon);

#endif
