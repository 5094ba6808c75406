/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One tick of the policy: saturating integer arithmetic, and the numbers that each step rebuilds
 * from the snapshot (struct now_*). Private to policy/.
 *
 * Every byte count is clamped to BYTES_MAX on entry, so that sums and differences of a handful of
 * them cannot overflow; products go through mul_div().
 */
#ifndef MEMD_POLICY_TICK_H
#define MEMD_POLICY_TICK_H

#include "policy/policy.h"

#define KIB	  1024ull
#define MIB	  (1024ull * KIB)
#define GIB	  (1024ull * MIB)
#define MSEC	  1000ull
#define SEC	  1000000ull
#define PAGE	  4096ull
#define BYTES_MAX (1ull << 50)
#define PPM	  1000000ull

/* How far ahead the policy looks at most: a slow balloon needs about this long to matter. */
#define LEAD_MOST_US  (10 * SEC)
#define LEAD_LEAST_US (3 * SEC)
/* A guest whose own use grows slower than this, bytes/s, counts as steady. */
#define GROWTH_LEAST (4 * MIB)
/* Balloons closer to their target than this have arrived. */
#define ARRIVED_BYTES MIB

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* low wins when the bounds cross. */
static inline uint64_t clamp_u64(uint64_t v, uint64_t low, uint64_t high)
{
	return max_u64(low, min_u64(v, high));
}

static inline uint64_t sub_sat(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static inline uint64_t add_sat(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - 1 - b || b == UINT64_MAX ? UINT64_MAX - 1 : a + b;
}

/* a * b / c without overflow on the way, saturating; c = 0 gives 0. */
static inline uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t product;

	if (!c)
		return 0;
	if (!__builtin_mul_overflow(a, b, &product))
		return product / c;
	unsigned __int128 wide = (unsigned __int128)a * b / c;
	return wide > UINT64_MAX - 1 ? UINT64_MAX - 1 : (uint64_t)wide;
}

static inline uint64_t ppm_of(uint64_t bytes, uint64_t ppm)
{
	return mul_div(bytes, ppm, PPM);
}

static inline uint64_t round_up(uint64_t v, uint64_t unit)
{
	return (v + unit - 1) / unit * unit;
}

/* A snapshot's byte count made safe; absent stays absent. */
static inline uint64_t bytes_in(uint64_t v)
{
	return pol_has(v) ? min_u64(v, BYTES_MAX) : POL_ABSENT;
}

/*
 * One step of an exponentially weighted average: `old` moves towards `new` with time constant
 * tau_us; what is left closes at once when it no longer matters, so constant input settles.
 */
static inline uint64_t ewma(uint64_t old, uint64_t new, uint64_t dt_us, uint64_t tau_us)
{
	uint64_t gap = old > new ? old - new : new - old;
	uint64_t part = mul_div(gap, min_u64(dt_us, tau_us), tau_us);

	if (gap < 64 * KIB)
		return new;
	return old > new ? old - part : old + part;
}

/* ---- one tick ---- */

struct marks {
	uint64_t high, soft, hard, low, hysteresis;
	uint64_t goal;	 /* what taking aims at: clear above `high` */
	uint64_t ease;	 /* free memory that guests do not miss is collected up to this */
	uint64_t plenty; /* giving back starts above this; in between nothing moves */
};

struct now_host {
	uint64_t now_us, dt_us; /* dt 0: first tick, or no time passed */
	uint64_t memory, available;
	uint64_t swap_room; /* what guests may be given for which the host has to swap */
	struct marks marks;
	enum pol_state state;
	uint64_t lead_us;   /* how long the balloons need to matter: looked so far ahead */
	uint64_t predicted; /* available then, at the present rate of fall */
	uint64_t need;	    /* to reach the goal */
	uint64_t ready;	    /* so much is to be available for a fall as there was of late, by
			     * swapping what is cold */
	uint64_t ease;	    /* more, if guests have it free and the host holds it; also for what
			     * writes to merged pages may claim back */
	uint64_t coming;    /* from balloons on their way */
	bool starving;	    /* state low, and a guest has next to nothing */
	/* Processor time on each node, ppm of one, by the guests that belong there; see numa.c. */
	uint64_t node_load[POL_PLACE_NODES];
};

struct guest_past;
struct share_claim;

struct now_guest {
	const struct pol_guest *in;
	struct guest_past *past;
	bool usable; /* answers, has a balloon, and its sizes make sense */

	/* sizes, clamped */
	uint64_t memory, actual, min, shares;
	uint64_t held; /* host memory (and swap) behind it; actual when not known */
	bool held_known;
	uint64_t hot; /* of what is resident, in use as the host saw it; POL_ABSENT: not known */

	/* its own numbers, when trusted; measured when `actual` was actual_then */
	enum pol_trust trust;
	bool fresh; /* not seen before */
	uint64_t free, available, actual_then;
	uint64_t grew;	      /* more in use than in the sample before */
	uint64_t actual_late; /* at most; if the balloon moved just then, more likely this */
	uint64_t reserve, floor;

	/* signals of this tick */
	bool distress;	/* new sign that it suffers: give at once, */
	bool grave;	/* and a lot */
	bool urgent;	/* nearly out of memory */
	bool starves;	/* either, and the host sees that it uses what it has */
	bool liar;	/* its numbers have contradicted each other for a while */
	bool young;	/* just started */
	bool held_back; /* nothing is to be taken: recent trouble, gift or start */
	bool freed;	/* so, but it has freed since what it was held back for */

	/* shares */
	uint64_t entitled;

	/* decisions, bytes of the guest's memory */
	uint64_t want, claim, grant; /* wished, covered by its share, given */
	enum pol_reason grant_reason;
	bool from_swap;	  /* part of the grant is memory that the host has to swap for */
	bool comfort;	  /* granted to put it at ease, it could do without */
	bool resplit;	  /* its memory device is stuck: the balloon has to do the rest */
	uint64_t release; /* target to set because the balloon is stuck or moved by itself */
	bool released;
	struct take {
		uint64_t base, most;	  /* taken from this size, at most so much this tick */
		uint64_t bottom;	  /* in all, to this size */
		uint64_t least;		  /* less is not worth an order */
		uint64_t free_most;	  /* of `most`, from free memory */
		uint64_t gain_free, gain; /* host bytes those bring: free only, all */
		uint64_t part_free, part; /* host bytes asked for: on the free rung, in all */
		uint64_t bytes;		  /* result: bytes of the guest's memory */
		enum pol_reason free_rejected;
		bool paced, last; /* has page cache for a turn; and comes after others */
		bool turn;
	} take;
};

#endif
