/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What anchor.c holds: slots of a page each, free, or with a copy that ksmd is to merge with the
 * frame that it was copied from, or merged. And which frames are held so, or about to be.
 */
#ifndef MEMD_ANCHOR_SLOTS_H
#define MEMD_ANCHOR_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memd/number_set.h"
#include "memd/sharing_frame.h"

/* SLOT_REFUSED: without a page; ksmd came by and did not merge what was copied from the source. */
enum slot_state { SLOT_FREE, SLOT_NEW, SLOT_HELD, SLOT_REFUSED };

struct slot {
	uint64_t source; /* frame that it was copied from; 0: that does not matter any more */
	uint64_t since_us;
	uint64_t scans;	 /* full ones of ksmd then */
	uint32_t others; /* mappings of its page beside it, when last looked at */
	enum slot_state state;
};

struct slots {
	struct slot *v;
	size_t n, n_new, n_held, n_refused;
	size_t free_at;		  /* none is free before */
	struct number_set frames; /* those that need no copy */
};

/* n below FRAME_OWNERS_MAX. -ENOMEM. */
int slots_open(struct slots *slots, size_t n);
void slots_close(struct slots *slots);

struct slots_now {
	uint64_t us, scans;
};

/* A free one is to hold a copy of that frame; SIZE_MAX: none is free. */
size_t slots_take(struct slots *slots, uint64_t source, const struct slots_now *now);
void slots_let_go(struct slots *slots, size_t slot);

/*
 * What its page is now, and how often it is mapped by others. False: it is not worth holding, and
 * its page is to be dropped: written to, unmerged, shared by too few, or not merged when ksmd has
 * come by.
 */
bool slots_judge(struct slots *slots, size_t slot, enum frame_kind kind, uint64_t others,
		 uint64_t least, const struct slots_now *now);

/* Those refused long ago are free again. */
void slots_forgive(struct slots *slots, const struct slots_now *now);

#endif
