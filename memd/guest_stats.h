/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest says of its own memory, through its balloon. Untrusted, like all that monitors say.
 */
#ifndef MEMD_GUEST_STATS_H
#define MEMD_GUEST_STATS_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#include "memd/guest.h"

/*
 * The value of guest-stats: {"stats": {...}, "last-update": N}. Fields that are missing, negative,
 * 2^64-1 or no number are POL_ABSENT. 0; -EINVAL: not that shape at all; -ERANGE: the numbers
 * contradict memory_bytes or each other, why says how (then believe none).
 */
int guest_stats_read(json_object *value, uint64_t memory_bytes, struct guest_stats *ret_stats,
		     char *why, size_t n);

/* The answer to a question for them: kept if it makes sense, else the guest is told of. */
void guest_stats_take(struct guest *guest, json_object *value, uint64_t now_us);

#endif
