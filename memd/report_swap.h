/* SPDX-License-Identifier: Apache-2.0 */
/* Swap and reclaim as JSON, for the documents of report.h. An absent number is null, never 0. */
#ifndef MEMD_REPORT_SWAP_H
#define MEMD_REPORT_SWAP_H

#include <json-c/json.h>

#include "memd/daemon.h"

/* The host's swap. */
json_object *report_swap(const struct daemon *daemon);

/* What reclaim has done, and what each rung keeps of its promises. */
json_object *report_reclaim(const struct daemon *daemon);

/* The same of one guest: may anything of it be sent to swap, and why not. */
json_object *report_guest_reclaim(const struct guest *guest);

/* A line for people, if there is something to say of it; NULL. */
const char *report_reclaim_note(const struct guest *guest, char *buf, size_t n);

#endif
