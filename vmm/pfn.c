// SPDX-License-Identifier: Apache-2.0
/*
 * Ordering and merging of page frame numbers. Lists that already go up or down, which is what
 * Linux's balloon driver mostly sends, are recognised and need no sort.
 */
#include "vmm/pfn.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void reverse(uint32_t *pfns, size_t n)
{
	for (size_t i = 0, j = n; i + 1 < j; i++) {
		uint32_t other = pfns[--j];

		pfns[j] = pfns[i];
		pfns[i] = other;
	}
}

size_t pfn_order(uint32_t *pfns, size_t n)
{
	bool up = true, down = true;
	size_t kept = 0;

	for (size_t i = 1; i < n; i++) {
		up &= pfns[i - 1] <= pfns[i];
		down &= pfns[i - 1] >= pfns[i];
	}
	if (!up && down)
		reverse(pfns, n);
	else if (!up)
		qsort(pfns, n, sizeof(*pfns), compare);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || pfns[kept - 1] != pfns[i])
			pfns[kept++] = pfns[i];
	return kept;
}

bool pfn_next_run(const uint32_t *pfns, size_t n, size_t *at, struct pfn_run *ret_run)
{
	size_t i = *at;

	if (i >= n)
		return false;
	while (i + 1 < n && pfns[i + 1] == pfns[i] + 1)
		i++;
	*ret_run = (struct pfn_run){.first = pfns[*at], .count = i + 1 - *at};
	*at = i + 1;
	return true;
}
