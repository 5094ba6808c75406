/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A maximum that the configuration sets below what a guest was started with (max= of its section).
 * The policy sees a guest of that size: what the guest has above it counts as taken already, out of
 * what it has free and then of its cache. Where it uses more than its maximum nothing it says fits
 * that picture, and its balloon takes nothing more.
 */
#ifndef MEMD_GUEST_MAX_H
#define MEMD_GUEST_MAX_H

#include <stdbool.h>
#include <stdint.h>

struct guest;
struct pol_guest;

/* p as the guest is; its memory_bytes, memory device, size and statistics become those of its
 * maximum. No larger than the guest: nothing changes. */
void guest_max_apply(uint64_t max_bytes, struct pol_guest *p);

/* The size to ask the guest for by an order to bring it to so much: one to its maximum takes
 * nothing from a guest that has more. */
uint64_t guest_max_target(const struct guest *guest, uint64_t to);

/* Does it use more than its configured maximum, by its own numbers? */
bool guest_max_exceeded(const struct guest *guest);

#endif
