/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What merging each 2 MiB chunk of guests' memory would save, by fingerprints: every page that is
 * in memory is read once (chunk_print.h) and hashed, and one in `rate` hashes is kept. A kept hash
 * stands for its content everywhere, so however often that content occurs is counted exactly;
 * sampling by place would see a pair only with the square of the rate. What was kept of a guest
 * serves until it is to be read again, so that a new guest costs no reading of the others. About
 * 1.5 us of CPU time a page, once; ksmd takes several on each of its passes.
 */
#ifndef MEMD_CHUNK_SAMPLE_H
#define MEMD_CHUNK_SAMPLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "policy/chunk.h"

struct chunk_region {
	uint64_t gpa, bytes; /* gpa a multiple of CHUNK_BYTES */
	uint64_t address;    /* in its process */
};

#define CHUNK_REGIONS_MAX 16

struct chunk_target {
	uint64_t id;
	pid_t pid;
	uint32_t domain; /* contents of different ones are never compared */
	struct chunk_region regions[CHUNK_REGIONS_MAX];
	size_t n_regions;
	/* It is not merged by chunks, but its content counts: large private anonymous mappings. */
	bool whole;
	uint64_t whole_bytes; /* larger mappings than this are no guest RAM of its */
	bool again;	      /* read it even if it is known */
};

/* What is known of targets: kept from one sampling to the next. */
struct chunk_prints;

struct chunk_prints *chunk_prints_new(void); /* NULL: no memory */
void chunk_prints_free(struct chunk_prints *prints);

/* The regions' chunks one after the other; the last of a region may be cut short. 0: whole. */
size_t chunk_count(const struct chunk_target *target);

struct chunk_samples {
	int error;	   /* 0; -ENOMEM; -ECANCELED */
	uint64_t pages;	   /* read this time */
	uint64_t zeroes;   /* of these nothing but zeroes */
	uint64_t frequent; /* of contents that their guest is full of */
	uint64_t rate;	   /* one in so many hashes was kept */
	uint64_t cpu_us, wall_us;
	uint64_t all_cpu_us;	    /* what reading all targets took, whenever that was */
	struct chunk_score *scores; /* of all targets' chunks, in their order */
	size_t n;
};

/*
 * Sample. It takes at most share_ppm of a processor's time. A target that is gone has no pages.
 * Targets that prints know are read only if they say `again`; after an error nothing is known.
 * Result for chunk_samples_free() in any case.
 */
void chunk_sample(int rootfd, const struct chunk_target *targets, size_t n, uint32_t share_ppm,
		  const atomic_bool *cancel, struct chunk_prints *prints,
		  struct chunk_samples *ret_samples);
void chunk_samples_free(struct chunk_samples *samples);

#endif
