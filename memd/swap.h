/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's swap, once a tick: its devices, how full they are, how much goes in and out, and what
 * of a byte swapped out remains in memory where swap is compressed memory.
 * Source: proc_swaps(5), Documentation/admin-guide/blockdev/zram.rst (mm_stat), mm/zswap.rst,
 * fs/proc/meminfo.c (Zswap, Zswapped: 5.19+).
 */
#ifndef MEMD_SWAP_H
#define MEMD_SWAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

#define SWAP_DEVICES_MAX 8

struct swap_device {
	char name[64]; /* as /proc/swaps says: "/dev/zram0" */
	uint64_t bytes, used_bytes;
	int64_t priority;
	bool zram;
	/* zram only: what it holds, what that takes of memory, and the most it may take (0: any) */
	uint64_t stored_bytes, taken_bytes, limit_bytes;
};

struct swap_state {
	struct swap_device devices[SWAP_DEVICES_MAX]; /* the next to be filled first */
	size_t n_devices;
	bool zswap;			      /* it is on */
	uint64_t zswapped_bytes, zswap_bytes; /* what it holds, and what that takes; POL_ABSENT */
	uint64_t cost_ppm; /* of a byte swapped out now, what remains taken; POL_ABSENT: no swap */
	uint64_t in_bytes_per_s, out_bytes_per_s; /* of late; POL_ABSENT: not yet known */
};

struct swap;

/* Files below rootfd, which must outlive it. -ENOMEM. */
int swap_open(int rootfd, struct swap **ret_swap);
void swap_close(struct swap *swap); /* NULL is fine */

/* Look at the devices; meminfo: the text of /proc/meminfo. Sets swap_cost_ppm of *host. */
void swap_sense(struct swap *swap, const char *meminfo, struct pol_host *host);

/* The rates, by the totals in *host. */
void swap_follow(struct swap *swap, uint64_t now_us, const struct pol_host *host);

/* As of the last look. */
const struct swap_state *swap_state(const struct swap *swap);

#endif
