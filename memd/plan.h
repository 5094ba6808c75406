/* SPDX-License-Identifier: Apache-2.0 */
/* What memd would do now, and what one more guest would cost: the document of query-plan. */
#ifndef MEMD_PLAN_H
#define MEMD_PLAN_H

#include <json-c/json.h>
#include <stdint.h>

#include "common/wire.h"
#include "memd/daemon.h"

/*
 * The plan of a tick at this moment, decided on a copy of the policy, so that nothing changes by
 * it. more_bytes: of a guest that is to come, POL_ABSENT: none. 0: *ret_document is the caller's;
 * else err says why.
 */
int plan_query(const struct daemon *daemon, uint64_t more_bytes, json_object **ret_document,
	       struct wire_error *err);

#endif
