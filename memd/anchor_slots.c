// SPDX-License-Identifier: Apache-2.0
/* Slots of copies; see anchor_slots.h. */
#include "memd/anchor_slots.h"

#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/clock.h"

/* In one full scan, begun after the copy, ksmd finds what is merged already; others are under way.
 */
#define SCANS_MOST 3
/* So long a frame is not copied again that was merged with another copy, or not at all. */
#define SOURCE_HOLDS_US (600 * USEC_PER_SEC)

int slots_open(struct slots *slots, size_t n)
{
	*slots = (struct slots){.n = n, .v = calloc(n, sizeof(*slots->v))};
	/* Each slot has two frames at most. */
	if (slots->v && number_set_open(&slots->frames, 2 * n) == 0)
		return 0;
	slots_close(slots);
	return -ENOMEM;
}

void slots_close(struct slots *slots)
{
	free(slots->v);
	number_set_close(&slots->frames);
	*slots = (struct slots){0};
}

size_t slots_take(struct slots *slots, uint64_t source, const struct slots_now *now)
{
	size_t i = slots->free_at;

	while (i < slots->n && slots->v[i].state != SLOT_FREE)
		i++;
	slots->free_at = i;
	if (i == slots->n)
		return SIZE_MAX;
	slots->v[i] = (struct slot){
		.source = source, .since_us = now->us, .scans = now->scans, .state = SLOT_NEW};
	slots->n_new++;
	return i;
}

static void set_state(struct slots *slots, struct slot *one, enum slot_state state)
{
	size_t *counts[] = {NULL, &slots->n_new, &slots->n_held, &slots->n_refused};

	if (counts[one->state])
		--*counts[one->state];
	if (counts[state])
		++*counts[state];
	one->state = state;
}

void slots_let_go(struct slots *slots, size_t slot)
{
	set_state(slots, &slots->v[slot], SLOT_FREE);
	slots->v[slot] = (struct slot){0};
	if (slot < slots->free_at)
		slots->free_at = slot;
}

bool slots_judge(struct slots *slots, size_t slot, enum frame_kind kind, uint64_t others,
		 uint64_t least, const struct slots_now *now)
{
	struct slot *one = &slots->v[slot];

	if (one->state != SLOT_NEW && one->state != SLOT_HELD)
		return true;
	if (kind != FRAME_MERGED && one->state == SLOT_NEW) {
		if (now->scans - one->scans < SCANS_MOST)
			return true;
		one->since_us = now->us;
		set_state(slots, one, SLOT_REFUSED);
		return false;
	}
	/* Somewhat fewer than it takes to be chosen, or guests that come and go would move it. */
	if (kind != FRAME_MERGED || others < least / 2) {
		slots_let_go(slots, slot);
		return false;
	}
	if (one->state == SLOT_NEW) {
		one->since_us = now->us;
		set_state(slots, one, SLOT_HELD);
	}
	one->others = others < UINT32_MAX ? (uint32_t)others : UINT32_MAX;
	if (now->us - one->since_us >= SOURCE_HOLDS_US)
		one->source = 0;
	return true;
}

void slots_forgive(struct slots *slots, const struct slots_now *now)
{
	for (size_t i = 0; i < slots->n; i++)
		if (slots->v[i].state == SLOT_REFUSED &&
		    now->us - slots->v[i].since_us >= SOURCE_HOLDS_US)
			slots_let_go(slots, i);
}
