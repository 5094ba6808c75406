/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose broken huge pages are made whole again, and when: what merging or the balloon has taken
 * apart stays small pages, and each miss of the guest's TLB then walks longer, through both levels
 * of page tables. Beside pol_step(), over its snapshot; the memory of a guest is the caller's.
 */
#ifndef MEMD_POLICY_REPAIR_H
#define MEMD_POLICY_REPAIR_H

#include "policy/policy.h"

/* Why huge pages of a guest stay as they are. */
enum pol_repair_why {
	POL_REPAIR_NOW, /* they do not: it is this guest's turn */
	/* Of the host: */
	POL_REPAIR_OFF,	    /* switched off */
	POL_REPAIR_NO_HUGE, /* no transparent huge pages, or a kernel without MADV_COLLAPSE */
	POL_REPAIR_SHORT,   /* the host is short of memory */
	POL_REPAIR_PIECES,  /* the host has hardly a free huge page */
	/* Of the guest: */
	POL_REPAIR_OWN,	    /* vmm does it by itself */
	POL_REPAIR_POOL,    /* it has huge pages of the pools, which never break */
	POL_REPAIR_MANAGE,  /* manage=no in its section */
	POL_REPAIR_UNKNOWN, /* not looked at yet */
	POL_REPAIR_WHOLE,   /* next to nothing is broken */
	POL_REPAIR_SHARED,  /* merging holds what is broken, and pays */
	POL_REPAIR_MOVING,  /* its balloon or its memory is on the way */
	POL_REPAIR_IDLE,    /* it hardly runs: there is nothing to gain */
	POL_REPAIR_COST,    /* copying costs more than it brings */
	POL_REPAIR_REST,    /* done of late */
	POL_REPAIR_TURN,    /* another guest's are being repaired */
	POL_REPAIR_COUNT
};
/* One sentence in an operator's words, static. */
const char *pol_repair_text(enum pol_repair_why why);

struct pol_repair_host {
	bool on, possible, busy;
	enum pol_state state;
	uint64_t now_us;
	uint64_t spare_bytes;	  /* available above what the host keeps */
	uint64_t free_huge_bytes; /* free in blocks that make a huge page; POL_ABSENT: not told */
	uint64_t bytes_per_s;
};

struct pol_repair_past {
	uint64_t guest;		/* whose; another one's is forgotten */
	uint64_t cpu_us, at_us; /* its CPU time then; at_us 0: not known */
	uint64_t cpu_ppm;	/* of one processor that it takes */
	uint64_t rest_us, backoff_us;
	uint64_t actual, calm_us; /* its size, and since when it is that */
	enum pol_repair_why why;
};

/* How it is with one guest; ours: it is under vmm. What is broken is in *ret_bytes, what a repair
 * is expected to spare it, and to cost, in *ret_gain_us and *ret_cost_us (0: not worked out). */
enum pol_repair_why pol_repair_judge(const struct pol_repair_host *host,
				     const struct pol_guest *guest, bool ours, bool managed,
				     struct pol_repair_past *past, uint64_t *ret_bytes,
				     uint64_t *ret_gain_us, uint64_t *ret_cost_us);

/* What came of one: so much of what was asked for is huge now. Little: the next one waits longer.
 */
void pol_repair_tell(struct pol_repair_past *past, uint64_t asked_bytes, uint64_t got_bytes,
		     uint64_t now_us);

#endif
