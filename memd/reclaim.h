/* SPDX-License-Identifier: Apache-2.0 */
/* Reclaim of guests' memory, as the policy orders it: given to the thread, and settled. */
#ifndef MEMD_RECLAIM_H
#define MEMD_RECLAIM_H

#include "memd/act.h"
#include "memd/reclaim_work.h"

/* All orders of a plan. */
void reclaim_act(struct act *act, const struct pol_plan *plan, uint64_t now_us);

/* Of the host's memory, what is taken for a guest: of what it has in swap only what remains taken.
 * POL_ABSENT: not known. */
uint64_t reclaim_taken_bytes(const struct act *act, const struct guest *guest);

/* Results wait. */
void reclaim_act_done(struct act *act);

/* Fills what the policy is told of it. */
void reclaim_snapshot(const struct act *act, uint64_t now_us, struct pol_host *host);

#endif
