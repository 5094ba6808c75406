/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An entry of /proc/PID/pagemap, 8 bytes a page. Source: Documentation/admin-guide/mm/pagemap.rst.
 */
#ifndef MEMD_PAGEMAP_H
#define MEMD_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGEMAP_PRESENT	  (1ULL << 63)
#define PAGEMAP_SWAPPED	  (1ULL << 62)
#define PAGEMAP_FILE	  (1ULL << 61) /* of a file, or shared memory */
#define PAGEMAP_EXCLUSIVE (1ULL << 56) /* mapped by this process alone, Linux 4.2 */
#define PAGEMAP_FRAME	  ((1ULL << 55) - 1)

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
