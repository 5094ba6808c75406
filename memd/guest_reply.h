/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What monitors answer, taken apart. Every number and string here comes from a process that a
 * guest may have taken over: types and ranges are checked before anything is kept.
 */
#ifndef MEMD_GUEST_REPLY_H
#define MEMD_GUEST_REPLY_H

#include <json-c/json.h>
#include <stddef.h>

#include "memd/guest.h"
#include "memd/guest_qmp.h"

/* No guest memory is larger than this: greater numbers are refused as nonsense. */
#define GUEST_BYTES_MAX (1ULL << 50)

/* The greeting. 0, or -EPROTO when it is none. */
int guest_reply_greeting(struct guest *guest, json_object *message);

/* {"return": value} of a request; value may be of any type, or NULL. */
void guest_reply_value(struct guest *guest, enum guest_request_kind kind, json_object *value,
		       uint64_t now_us);

/* {"error": ...} of a request. */
void guest_reply_error(struct guest *guest, enum guest_request_kind kind, const char *class,
		       const char *desc);

void guest_reply_event(struct guest *guest, json_object *message);

#endif
