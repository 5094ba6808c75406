/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to the policy that must change nothing: what it would do now, what could still be taken
 * from whom, and what would become of the host if one more guest came. All are asked of a copy.
 */
#ifndef MEMD_POLICY_OUTLOOK_H
#define MEMD_POLICY_OUTLOOK_H

#include "policy/policy.h"

/* One that remembers what `pol` does, for steps that are not to count; pol_free() it. NULL: out of
 * memory. */
struct pol *pol_copy(const struct pol *pol);

/* Why nothing is taken from a guest, or not all down to its floor. */
enum pol_keep {
	POL_KEEP_NONE,	  /* more could be taken, if the host were in need */
	POL_KEEP_ALONE,	  /* it is not ballooned: no balloon, no answer, or not wanted */
	POL_KEEP_TROUBLE, /* it shows trouble now */
	POL_KEEP_STUCK,
	POL_KEEP_DOUBT, /* its numbers cannot be trusted */
	POL_KEEP_YOUNG, /* just started, or just seen */
	POL_KEEP_HELD,	/* it was in trouble or was given something lately */
	POL_KEEP_FLOOR, /* it is near its floor */
	POL_KEEP_CACHE, /* it could give page cache, which is left to it */
	POL_KEEP_COUNT
};
/* One sentence in an operator's words, static. */
const char *pol_keep_text(enum pol_keep keep);

struct pol_spare {
	enum pol_keep keep;
	uint64_t guest_bytes; /* of its size, down to its floor, after the last plan */
	uint64_t host_bytes;  /* what the host would gain by that */
	/* Besides, what of its memory could be swapped out, and what the host would gain by that;
	 * all guests together no more than pol_swap_room(). */
	uint64_t swap_bytes, swap_gain_bytes;
};

/* After pol_step(): of the guest at that place in plan->views. */
void pol_spare(const struct pol *pol, size_t place, struct pol_spare *ret_spare);

/* After pol_step(): bytes that may go to swap; *ret_cost_us: the time that a GiB of it takes. */
uint64_t pol_swap_room(const struct pol *pol, uint64_t *ret_us_per_gib);

struct pol_outlook {
	bool fits;		   /* in the end the host has what it wants free */
	enum pol_state worst, end; /* state on the way, and in the end */
	uint64_t least_bytes;	   /* available: the least on the way, and in the end */
	uint64_t end_bytes;
	uint64_t missing_bytes; /* in the end: of what it wants free, and of what was to come */
	uint64_t seconds;	/* until nothing was ordered any more */
	uint64_t swapped_bytes, swap_us; /* went to swap, and the time that this took */
};

/*
 * What becomes of host and guests when `more` bytes are taken up and stay in use: a new guest that
 * uses all it is promised, and whose balloon brings nothing. The others go on as they are, balloons
 * move as fast as they were seen to, what is swapped out is not missed, and brings as much of what
 * it promises as it did of late; merging brings nothing. pol is a copy, and host->guests are
 * `guests`: both are worked on, so that each guest's actual_bytes is what it has in the end, and
 * its swapped_bytes what of it is in swap. 0, or what pol_step() says.
 */
int pol_outlook(struct pol *pol, struct pol_host *host, struct pol_guest *guests, uint64_t now_us,
		uint64_t more, struct pol_outlook *ret_outlook);

#endif
