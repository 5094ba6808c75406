/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merging by 2 MiB chunks, of guests whose monitor can do that (vmm: `__memd-merge`). A guest so
 * treated has all of its chunks off until they have been sampled (chunk_sample.h), and then those
 * on that pay (policy/chunk.h). Whether it may be merged at all is the policy's word as ever.
 */
#ifndef MEMD_CHUNK_H
#define MEMD_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memd/chunk_sample.h"
#include "memd/guest.h"

/* Runs of chunks that are on, of one guest: each costs the host a mapping or two. */
#define CHUNK_RUNS_MAX 2000

struct guest_chunks {
	struct chunk_region regions[CHUNK_REGIONS_MAX];
	size_t n_regions;
	size_t n;     /* chunks of all regions */
	bool *on;     /* which are to be merged, as far as the guest may be */
	bool asking;  /* for the regions */
	bool ready;   /* they are known */
	bool failed;  /* the guest is merged as a whole */
	bool allowed; /* it may be merged */
	bool dirty;   /* `on` has changed since it was told */
	bool sampled;
	uint64_t asked_gpa;	 /* regions from there on, while asking */
	uint64_t sampled_bytes;	 /* resident then */
	uint64_t expected_bytes; /* what the chosen chunks save */
	uint64_t all_bytes;	 /* and what all of them would */
};

/* Is it treated by chunks? */
static inline bool chunk_is_used(const struct guest *guest)
{
	return guest->chunks && guest->chunks->ready;
}

/* Each tick: begins with guests that can be treated so, tells them what has changed. */
void chunk_poll(struct guests *guests);

/* The answer to __memd-query-merge; value NULL: refused. */
void chunk_take_runs(struct guest *guest, json_object *value);

/* The ranges for __memd-merge: what is chosen is on, if `allowed`. */
json_object *chunk_ranges(const struct guest_chunks *chunks, bool allowed);

void chunk_forget(struct guest *guest);

enum chunk_due {
	CHUNK_DUE_NONE,
	CHUNK_DUE_GROWN, /* some guest has grown since it was sampled */
	CHUNK_DUE_NEW	 /* some guest has not been sampled: nothing of it is merged */
};

/*
 * What all guests are to be sampled for, those without chunks as wholes; targets has room for all.
 * Those that are due are to be read again. Returns how many.
 */
size_t chunk_targets(const struct guests *guests, struct chunk_target *targets,
		     enum chunk_due *ret_due);

/*
 * Choose anew from samples of those targets. room_bytes: what unmerging may take; chunks that would
 * have to be unmerged beyond it stay. 0 or -ENOMEM.
 */
int chunk_update(struct guests *guests, const struct chunk_target *targets, size_t n,
		 const struct chunk_samples *samples, uint64_t room_bytes);

#endif
