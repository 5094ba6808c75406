/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Huge pages on the host: the hugetlb pools per page size and node, and the transparent mode.
 * Source: Documentation/admin-guide/mm/{hugetlbpage,transhuge}.rst.
 */
#ifndef MEMD_HUGEPAGE_H
#define MEMD_HUGEPAGE_H

#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

#define HUGEPAGE_POOLS_MAX 64
#define HUGEPAGE_ANY_NODE  UINT32_MAX

/* One pool, in pages of page_bytes. Per node the kernel has no "reserved": POL_ABSENT there. */
struct hugepage_pool {
	uint64_t page_bytes;
	uint32_t node; /* HUGEPAGE_ANY_NODE: the whole host */
	uint64_t total, free, reserved, surplus;
};

struct hugepage {
	size_t n_pools; /* host-wide pools first, by size; then per node */
	struct hugepage_pool pools[HUGEPAGE_POOLS_MAX];
	char thp[16];	     /* "always", "madvise", "never"; "" when not built in */
	char thp_defrag[24]; /* the same of defrag */
	uint64_t thp_bytes;  /* size of a transparent huge page; POL_ABSENT: unknown */
};

/* Absent parts stay empty. Returns 0. */
int hugepage_read(int rootfd, struct hugepage *ret_hugepage);

/* Bytes in all host-wide pools: memory that nothing but hugetlb can use. */
uint64_t hugepage_pool_bytes(const struct hugepage *hugepage);

#endif
