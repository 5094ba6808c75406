/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An entry of /proc/PID/pagemap, 8 bytes a page, and its ioctl PAGEMAP_SCAN.
 * Source: Documentation/admin-guide/mm/pagemap.rst, include/uapi/linux/fs.h.
 */
#ifndef MEMD_PAGEMAP_H
#define MEMD_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define PAGEMAP_PRESENT	  (1ULL << 63)
#define PAGEMAP_SWAPPED	  (1ULL << 62)
#define PAGEMAP_FILE	  (1ULL << 61) /* of a file, or shared memory */
#define PAGEMAP_EXCLUSIVE (1ULL << 56) /* mapped by this process alone, Linux 4.2 */
#define PAGEMAP_FRAME	  ((1ULL << 55) - 1)

/* Linux 6.7; older headers do not have it. */
struct pagemap_scan_region {
	uint64_t start, end, categories;
};
struct pagemap_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN_IOCTL   _IOWR('f', 16, struct pagemap_scan)
#define PAGEMAP_SCAN_FILE    (1ULL << 2)
#define PAGEMAP_SCAN_PRESENT (1ULL << 3)
#define PAGEMAP_SCAN_PFNZERO (1ULL << 5)
#define PAGEMAP_SCAN_HUGE    (1ULL << 6)

#define PAGEMAP_HUGE_PAGES 512 /* of 4 KiB in a huge one */

/*
 * Do the entries of 2 MiB, aligned, tell of a huge page: all there, in frames that follow each
 * other? Frames are told to CAP_SYS_ADMIN only; to others all are 0, and none is huge.
 */
static inline bool pagemap_is_huge(const uint64_t *entries)
{
	uint64_t first = entries[0] & PAGEMAP_FRAME;

	if (!first || first % PAGEMAP_HUGE_PAGES)
		return false;
	for (size_t i = 0; i < PAGEMAP_HUGE_PAGES; i++)
		if (!(entries[i] & PAGEMAP_PRESENT) || (entries[i] & PAGEMAP_FRAME) != first + i)
			return false;
	return true;
}

#endif
