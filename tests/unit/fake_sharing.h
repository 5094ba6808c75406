/* SPDX-License-Identifier: Apache-2.0 */
/* What a look at shared pages found, made up. */
#ifndef MEMD_TESTS_FAKE_SHARING_H
#define MEMD_TESTS_FAKE_SHARING_H

#include <stdlib.h>

#include "memd/sharing.h"

/* n guests of which each two share so many pages; the matrix is triangular, as sharing.c has it. */
static inline struct sharing *fake_sharing(size_t n, uint64_t pages)
{
	struct sharing *sharing = calloc(1, sizeof(*sharing));

	sharing->n = n;
	sharing->page_bytes = 4096;
	sharing->pairs = calloc((n + 1) * (n + 1), sizeof(uint64_t));
	for (size_t i = 0; i < (n + 1) * (n + 1); i++)
		sharing->pairs[i] = pages;
	return sharing;
}

#endif
