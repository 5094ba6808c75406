/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One target's fingerprints: every page of it that is in memory read once (absent and swapped ones
 * are not touched), hashed, and one in `rate` hashes kept. Contents that it is full of are told
 * apart as zero pages are.
 */
#ifndef MEMD_CHUNK_PRINT_H
#define MEMD_CHUNK_PRINT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "memd/chunk_sample.h"

#define CHUNK_GAIN_UNIT 16	   /* of chunk_score.gain, to a page */
#define CHUNK_NONE	UINT32_MAX /* of a target without chunks */

struct chunk_entry {
	uint64_t key;
	uint32_t chunk;
};

struct chunk_print {
	uint64_t id; /* of the target, and what it was then */
	pid_t pid;
	bool whole;
	uint64_t rate;			  /* a power of two */
	uint64_t pages, zeroes, frequent; /* read; of these all zero, and of few contents */
	uint64_t cpu_us;		  /* what that took */
	struct chunk_score *scores;	  /* of its chunks: what these two alone save */
	size_t n;
	struct chunk_entry *entries; /* hashes, and which of its chunks */
	size_t n_entries, capacity;
};

/* How fast to read, and until when. */
struct chunk_pace {
	const atomic_bool *cancel;
	uint32_t share_ppm;
	uint64_t wall_us, cpu_us; /* at the start */
};

/* CPU time of this thread. */
uint64_t chunk_cpu_us(void);

/*
 * Read a target; one that is gone has no pages. 0, -ENOMEM, -ECANCELED. *ret_print for
 * chunk_print_free() in any case.
 */
int chunk_print_read(int rootfd, const struct chunk_target *target, uint64_t rate,
		     const struct chunk_pace *pace, struct chunk_print *ret_print);
void chunk_print_free(struct chunk_print *print);

/* Is it of the target as it is now? */
bool chunk_print_fits(const struct chunk_print *print, const struct chunk_target *target);

/* Keep fewer: one in `rate`, a multiple of what it was. */
void chunk_print_thin(struct chunk_print *print, uint64_t rate);

#endif
