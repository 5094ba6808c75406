/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page frames for sharing.c: which ones processes map, collected and sorted, and what the kernel
 * says of each frame (/proc/kpageflags, /proc/kpagecount).
 * Source: Documentation/admin-guide/mm/pagemap.rst, include/uapi/linux/kernel-page-flags.h.
 */
#ifndef MEMD_SHARING_FRAME_H
#define MEMD_SHARING_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One mapping: the frame's number above, who maps it below. */
#define FRAME_OWNER_BITS 24
#define FRAME_OWNERS_MAX (1U << FRAME_OWNER_BITS)
#define FRAME_NUMBER_MAX (1ULL << (64 - FRAME_OWNER_BITS)) /* 64 PiB of 4 KiB pages */

static inline uint64_t frame_number(uint64_t mapping)
{
	return mapping >> FRAME_OWNER_BITS;
}

static inline uint32_t frame_owner(uint64_t mapping)
{
	return (uint32_t)(mapping & (FRAME_OWNERS_MAX - 1));
}

struct frames {
	int flags_fd, count_fd;
	/*
	 * The kernel calls every anonymous page a merged one: Linux 6.12 for one, whose
	 * stable_page_flags() tests either of two bits where it should test both. A merged page is
	 * then told by its dirty flag too, which KSM sets and pages that a fork shares rarely have.
	 */
	bool vague;
	uint64_t *mappings;
	size_t n, room;
};

/* -EPERM: not root; -EOPNOTSUPP: this kernel has no such files; -errno of open(2). */
int frames_open(int rootfd, struct frames *ret_frames);
void frames_close(struct frames *frames);

/* -ENOMEM; -ERANGE: the frame's number or the owner cannot be. */
int frames_add(struct frames *frames, uint64_t frame, uint32_t owner);

/* By frame, then by owner. -ENOMEM. */
int frames_sort(struct frames *frames);

/* Is it the zero page? False when the kernel does not tell. */
bool frames_is_zero(const struct frames *frames, uint64_t frame);

enum frame_kind { FRAME_OTHER, FRAME_MERGED, FRAME_ZERO };

/*
 * One frame of the sorted ones: its n mappings, what it is, and how often it is mapped in all
 * (merged ones only, else 0). Returns 0 to go on; anything else ends frames_each() with it.
 */
typedef int (*frame_fn)(void *ctx, const uint64_t *mappings, size_t n, enum frame_kind kind,
			uint64_t mappers);

/* fn for each frame. -errno of read(2), or what fn says. */
int frames_each(const struct frames *frames, frame_fn fn, void *ctx);

#endif
