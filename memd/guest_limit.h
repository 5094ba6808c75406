/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest's own cgroup promises and allows it: memory.low is the policy's floor, and swap what
 * the policy, or the guest's section, lets be swapped out of it. v1 has no floors, and one limit
 * for memory and swap together. Source: Documentation/admin-guide/cgroup-v2.rst,
 * cgroup-v1/memory.rst.
 */
#ifndef MEMD_GUEST_LIMIT_H
#define MEMD_GUEST_LIMIT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "memd/cgroup_file.h"

struct act;
struct guest;

enum guest_limit_kind { GUEST_LIMIT_LOW, GUEST_LIMIT_SWAP, GUEST_LIMITS };

struct guest_limit {
	uint64_t bytes;	 /* as memd has set it, POL_ABSENT: it has not */
	uint64_t before; /* as it was, POL_ABSENT: no limit */
	bool seen;	 /* `before` holds */
	uint64_t tried_us;
	const char *why_not; /* static text, NULL: it is set, or will be */
};

struct guest_limits {
	char path[MEMCG_PATH_MAX]; /* of the cgroup that they are in */
	bool v2;
	struct guest_limit of[GUEST_LIMITS];
};

/*
 * Set them as the last plan wants them, on a change by more than a sixteenth and 16 MiB, and not
 * more often than every ten seconds. Nobody's tighter limit is loosened, and one that somebody else
 * changes is left to them. The value before each is journalled.
 */
void guest_limits_follow(struct act *act, struct guest *guest, uint64_t now_us);

/* As they were before memd. The guest's cgroup may be gone. */
void guest_limits_leave(struct act *act, struct guest *guest);

/* Why memd sets none of this guest's: one clause in buf, NULL: it does. */
const char *guest_limits_why_not(const struct guest *guest, char *buf, size_t n);

#endif
