/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a law's decisions cost, in figures that can be compared between laws: kept by the simulator
 * and by the replay of a recorded trace. Sums over guests and time are byte-seconds.
 */
#ifndef MEMD_POLICY_REGRET_H
#define MEMD_POLICY_REGRET_H

#include "policy/policy.h"

struct regret {
	uint64_t ticks, time_us;
	uint64_t decisions;		   /* balloon orders */
	uint64_t taken_bytes, given_bytes; /* what balloons really moved */
	uint64_t vain_bytes; /* taken and given back within REGRET_VAIN_US to the same guest */

	/* guests */
	uint64_t short_byte_s;	 /* memory a guest had to have and had not, or only in host swap */
	uint64_t short_least_us; /* time in which at least one guest was short */
	uint64_t refault_byte_s; /* page cache in constant use that was not there */
	uint64_t stall_us;	 /* of all guests: an allocation could not be met */
	uint64_t guest_ooms;	 /* kills inside guests */
	uint64_t host_ooms;	 /* guests killed by the host, with its swap full */

	/* host */
	uint64_t idle_byte_s;	   /* host memory behind pages that are free in the guest */
	uint64_t swapped_byte_s;   /* guests' memory in the host's swap */
	uint64_t swap_out_bytes;   /* written to it */
	uint64_t available_byte_s; /* host memory available */
	uint64_t least_available_bytes;
	uint64_t state_us[POL_STATE_LOW + 1]; /* by memd's thresholds, whatever the law */
	uint64_t low_ticks, low_run_most;     /* ticks `low`, and the most in a row */
	uint64_t low_run;
};

#define REGRET_VAIN_US	  60000000ull
#define REGRET_VAIN_SLOTS 12

/* What was taken from one guest of late, by slots of five seconds. */
struct regret_guest {
	uint64_t slot_us;
	unsigned int slot;
	uint64_t taken[REGRET_VAIN_SLOTS];
};

void regret_begin(struct regret *regret);

/* A guest's size changed. */
void regret_move(struct regret *regret, struct regret_guest *guest, uint64_t from, uint64_t to,
		 uint64_t now_us);

/* One tick of dt_us in which the host was in `state`, with a plan of so many balloon orders. */
void regret_tick(struct regret *regret, enum pol_state state, uint64_t available_bytes,
		 uint64_t orders, uint64_t dt_us);

#endif
