// SPDX-License-Identifier: Apache-2.0
/* See huge_look.h. */
#include "memd/huge_look.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "memd/pagemap.h"

/* include/uapi/linux/fs.h, 6.7 */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t inverted, mask, anyof_mask, return_mask;
};
#define SCAN_HUGE  (1ULL << 6)
#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)

static bool frames_lie_together(int pagemap, uint64_t start)
{
	uint64_t entries[PAGEMAP_HUGE_PAGES];

	return pread(pagemap, entries, sizeof(entries),
		     (off_t)(start / 4096 * sizeof(entries[0]))) == sizeof(entries) &&
	       pagemap_is_huge(entries);
}

bool huge_look_is_huge(struct huge_look *look, uint64_t start)
{
	struct scan_region region = {0};
	struct scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = start + HUGE_UNIT_BYTES,
		.vec = (uint64_t)(uintptr_t)&region,
		.vec_len = 1,
		.mask = SCAN_HUGE,
		.return_mask = SCAN_HUGE,
	};
	int n = look->old ? 0 : ioctl(look->pagemap, SCAN_IOCTL, &arg);

	if (n < 0 && (errno == ENOTTY || errno == EINVAL))
		look->old = true;
	if (look->old)
		return frames_lie_together(look->pagemap, start);
	return n == 1 && region.start == start && region.end == start + HUGE_UNIT_BYTES;
}
