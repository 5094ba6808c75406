/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What would have been: a recorded history under another law. The recorded snapshots say what
 * guests did; where their balloons would have stood is worked out, and from that what they would
 * have had available, what the host would have had to hold, and what the law would have seen.
 *
 * Two models of each guest go along, one with the recorded sizes and one with the law's, and only
 * their difference is applied to what was recorded: a law that asks for the same sees the same. A
 * trace does not tell what a guest would have done with more memory (it is assumed to leave it
 * free) nor how it would have got on with less than it needed (it is assumed to go on needing it).
 */
#ifndef MEMD_POLICY_REPLAY_H
#define MEMD_POLICY_REPLAY_H

#include "policy/law.h"
#include "policy/regret.h"

struct replay;

/*
 * law NULL: the sizes as recorded, for what really happened. min_ppm: a minimum for guests that
 * have none configured, of what they were promised; 0: none. NULL: out of memory.
 */
struct replay *replay_new(const struct law *law, const struct pol_config *config, size_t max_guests,
			  uint32_t min_ppm);
void replay_free(struct replay *replay); /* NULL is fine */

void replay_configure(struct replay *replay, const struct pol_config *config);

/* The record begins anew (memd was started): sizes are the recorded ones again, and the law forgets
 * what it knew. What was counted stays. -ENOMEM. */
int replay_restart(struct replay *replay);

/* The next recorded tick, with as many balloon orders then. 0, or -errno of the law. */
int replay_tick(struct replay *replay, const struct pol_host *recorded, uint64_t recorded_orders,
		uint64_t now_us);

const struct regret *replay_regret(const struct replay *replay);
/* What the law saw and did in the last tick; NULL before the first, plan NULL without a law. */
const struct pol_host *replay_host(const struct replay *replay);
const struct pol_plan *replay_plan(const struct replay *replay);

#endif
