/* SPDX-License-Identifier: Apache-2.0 */
/* What is seen of a guest's memory that goes to the host's swap, and comes back. */
#ifndef MEMD_GUEST_SWAP_H
#define MEMD_GUEST_SWAP_H

#include "memd/guest.h"
#include "memd/guest_cgroup.h"
#include "memd/guest_limit.h"

struct guest_swap {
	struct guest_cgroup cgroup;
	struct guest_limits *limits; /* that memd has set in it; NULL: none */
	bool seen;		     /* the totals below are of pid */
	pid_t pid;
	uint64_t major_faults, cgroup_bytes, resident_bytes, swapped_bytes;
	uint64_t ours_bytes;	/* read back by memd since: no sign that the guest misses it */
	uint64_t refault_bytes; /* total of this memd's time, at least */
};

/* After the tick's footprint was read. */
void guest_swap_look(struct guest *guest, uint64_t now_us);
void guest_swap_forget(struct guest *guest);

/* Fills what the policy is told of it. */
void guest_swap_snapshot(const struct guest *guest, struct pol_guest *p);

/*
 * May so much of it be read back from swap: is it ours to move, of one piece for KSM, and do its
 * cgroup (as far as it is in swap) and those above have twice as much left?
 */
bool guest_swap_may_read(const struct guest *guest, uint64_t bytes);

/* Why none of its memory is to be swapped out, static text; NULL: it may be. */
const char *guest_swap_why_not(const struct guest *guest);

#endif
