/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairs of guests' huge pages, carried out: one guest at a time, by a worker, when
 * policy/repair.h says that it pays. The last ones are kept with before and after for `memctl
 * numa`.
 */
#ifndef MEMD_REPAIR_H
#define MEMD_REPAIR_H

#include <json-c/json.h>
#include <stdint.h>

#include "memd/act.h"
#include "memd/collapse.h"
#include "memd/config.h"
#include "policy/repair.h"

struct repairs;

/* As of this tick. */
struct repairs_host {
	const struct pol_host *host; /* with its guests */
	enum pol_state state;
	uint64_t high_bytes; /* kept available */
};

/* act is borrowed; advise: collapse_advise(), or a test's. -ENOMEM, -errno of eventfd(2) and
 * pthread_create(3). */
int repairs_open(struct act *act, collapse_advise_fn advise, bool possible,
		 struct repairs **ret_repairs);
/* Ends one under way; NULL is fine. */
void repairs_close(struct repairs *repairs);

/* Each tick: who is broken, is it worth it, and what came of the last one. One under way ends soon
 * when the host is short or the configuration says so. NULL is fine. */
void repairs_tick(struct repairs *repairs, const struct config *config,
		  const struct repairs_host *host, uint64_t now_us);

/* The last ones, newest last; NULL: none are made. */
json_object *repairs_json(const struct repairs *repairs);

#endif
