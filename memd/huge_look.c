// SPDX-License-Identifier: Apache-2.0
/* See huge_look.h. */
#include "memd/huge_look.h"

#include <errno.h>
#include <unistd.h>

#include "memd/pagemap.h"

static bool frames_lie_together(int pagemap, uint64_t start)
{
	uint64_t entries[PAGEMAP_HUGE_PAGES];

	return pread(pagemap, entries, sizeof(entries),
		     (off_t)(start / 4096 * sizeof(entries[0]))) == sizeof(entries) &&
	       pagemap_is_huge(entries);
}

bool huge_look_is_huge(struct huge_look *look, uint64_t start)
{
	struct pagemap_scan_region region = {0};
	struct pagemap_scan arg = {
		.size = sizeof(arg),
		.start = start,
		.end = start + HUGE_UNIT_BYTES,
		.vec = (uint64_t)(uintptr_t)&region,
		.vec_len = 1,
		.category_mask = PAGEMAP_SCAN_HUGE,
		.return_mask = PAGEMAP_SCAN_HUGE,
	};
	int n = look->old ? 0 : ioctl(look->pagemap, PAGEMAP_SCAN_IOCTL, &arg);

	if (n < 0 && (errno == ENOTTY || errno == EINVAL))
		look->old = true;
	if (look->old)
		return frames_lie_together(look->pagemap, start);
	return n == 1 && region.start == start && region.end == start + HUGE_UNIT_BYTES;
}
