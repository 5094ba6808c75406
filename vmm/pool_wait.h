/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before guest RAM is mapped: where the host's pools have too few huge pages for it, memd is asked
 * for more, over its control socket as in advice.h, and waited for. vmm takes pool pages as a whole
 * or not at all, so what does not come is a guest that does not start, never one that dies later.
 */
#ifndef MEMD_VMM_POOL_WAIT_H
#define MEMD_VMM_POOL_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/options.h"

struct pool_wait {
	const struct options *options;
	uint64_t until_us;
	bool alone; /* nobody can help */
	bool asked; /* memd knows of us */
};

/* The time runs from here. */
void pool_wait_begin(struct pool_wait *wait, const struct options *options);

/* Until the pools have enough, or the time is over, or memd refuses or does not answer, which a
 * line in the log says. Whether there is enough ram_new() finds out. */
void pool_wait_for(struct pool_wait *wait);

/* After ram_new() came out short: pages were taken away meanwhile, and there is time left. */
bool pool_wait_again(const struct pool_wait *wait);

/* The guest has its pages, or will never have them: memd need not keep any for it. */
void pool_wait_end(const struct pool_wait *wait);

#endif
