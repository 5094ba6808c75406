// SPDX-License-Identifier: Apache-2.0
/*
 * The sum of sharing.c beside the kernel's count. Be R the records the kernel has, of pages_shared
 * merged pages: it counts R - pages_shared as pages_sharing. The sum is the mappings less the
 * merged pages they map. Taking one from the other, process by process, gives the terms. Source:
 * mm/ksm.c stable_tree_append(), remove_rmap_item_from_tree().
 */
#include "memd/sharing.h"

static uint64_t known(uint64_t value)
{
	return pol_has(value) ? value : 0;
}

static int64_t less(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b);
}

static int64_t moved(uint64_t before, uint64_t after)
{
	return pol_has(before) && pol_has(after) ? less(after, before) : 0;
}

static void check_part(const struct sharing_part *part, struct sharing_check *check)
{
	check->lone_mapped |= !pol_has(part->single_pages);
	check->gone -= (int64_t)known(part->record_pages);
	check->lone -= (int64_t)known(part->single_pages);
}

/* Records against mappings. */
static void check_target(const struct sharing_part *part, struct sharing_check *check)
{
	uint64_t records = known(part->record_pages);
	uint64_t mapped = part->shared_pages + known(part->single_pages);

	if (records > mapped)
		check->stale += records - mapped;
	else
		check->unrecorded += mapped - records;
	check_part(part, check);
}

static void check_zero(const struct sharing *sharing, struct sharing_check *check)
{
	uint64_t sum = known(sharing->others.zero_pages);

	for (size_t i = 0; i < sharing->n; i++)
		sum += known(sharing->parts[i].zero_pages);
	check->zero_known = pol_has(sharing->after.zero_pages);
	if (check->zero_known)
		check->zero_difference = less(sharing->after.zero_pages, sum);
	check->zero_moved = moved(sharing->before.zero_pages, sharing->after.zero_pages);
}

void sharing_check(const struct sharing *sharing, struct sharing_check *ret_check)
{
	const struct sharing_kernel *kernel = &sharing->after;
	struct sharing_check check = {0};

	check_zero(sharing, &check);
	check.known = pol_has(kernel->pages_sharing) && pol_has(kernel->pages_shared);
	if (check.known) {
		check.difference =
			less(kernel->pages_sharing, sharing->saved_bytes / sharing->page_bytes);
		check.moved = moved(sharing->before.pages_sharing, kernel->pages_sharing);
		check.exact = check.difference == 0;
		check.unknown = sharing->unknown_pages;
		check.gone = (int64_t)(kernel->pages_sharing + kernel->pages_shared);
		check.lone = less(kernel->pages_shared, sharing->distinct_pages);
		for (size_t i = 0; i < sharing->n; i++)
			check_target(&sharing->parts[i], &check);
		check_part(&sharing->others, &check);
		check.stale += sharing->others_stale_pages;
		check.unrecorded += sharing->others_unrecorded_pages;
	}
	*ret_check = check;
}
