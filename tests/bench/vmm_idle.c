// SPDX-License-Identifier: Apache-2.0
/*
 * vmm with a balloon that does nothing: it takes the guest's page lists and returns them, and
 * gives nothing back. How fast its balloon inflates is the guest driver's own limit, with all that
 * stands between the two. Linked as vmm is, with --wrap=pfn_order.
 */
#include "vmm/pfn.h"

size_t __wrap_pfn_order(uint32_t *pfns, size_t n);

size_t __wrap_pfn_order(uint32_t *pfns, size_t n)
{
	return 0;
}
