/* SPDX-License-Identifier: Apache-2.0 */
/* Sampling of guests' chunks on a thread of its own, when it is worth it. */
#ifndef MEMD_CHUNK_WORK_H
#define MEMD_CHUNK_WORK_H

#include "memd/chunk.h"

struct chunk_work;

/* rootfd must outlive it. -ENOMEM, -errno of eventfd(2) and pthread_create(3). */
int chunk_work_open(int rootfd, struct chunk_work **ret_work);
void chunk_work_close(struct chunk_work *work); /* NULL is fine */

/* Readable when samples wait. */
int chunk_work_fd(const struct chunk_work *work);

/*
 * Each tick: begin a pass if a guest is new, which alone is read then, or has grown (a tenth of the
 * time at most); and over all when what is known is old (a hundredth). share_ppm: of a processor,
 * while it runs.
 */
void chunk_work_begin(struct chunk_work *work, const struct guests *guests, uint32_t share_ppm);

/* Take samples and choose by them; room_bytes as for chunk_update(). */
void chunk_work_end(struct chunk_work *work, struct guests *guests, uint64_t room_bytes);

/* CPU time that sampling has taken so far. */
uint64_t chunk_work_cpu_us(const struct chunk_work *work);

#endif
