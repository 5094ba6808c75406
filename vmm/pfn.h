/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page frame numbers as a balloon driver sends them, one by one in any order, turned into few long
 * runs: a run costs one madvise(2), whose price is mostly the TLB flush. Pure.
 */
#ifndef MEMD_VMM_PFN_H
#define MEMD_VMM_PFN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PFN_SHIFT 12 /* virtio 1.2 5.5.6: always 4 KiB, whatever the page size of the guest */
#define PFN_BYTES (1ULL << PFN_SHIFT)

/*
 * Put n numbers into ascending order without duplicates; returns how many are left. Ascending and
 * descending input (a freshly booted buddy allocator hands out pages downwards) takes one pass.
 */
size_t pfn_order(uint32_t *pfns, size_t n);

struct pfn_run {
	uint32_t first;
	size_t count;
};

/* The run that starts at pfns[*at] of ordered numbers; moves *at behind it. False at the end. */
bool pfn_next_run(const uint32_t *pfns, size_t n, size_t *at, struct pfn_run *ret_run);

#endif
