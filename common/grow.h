/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that grow as they are filled. */
#ifndef MEMD_COMMON_GROW_H
#define MEMD_COMMON_GROW_H

#include <stddef.h>
#include <stdlib.h>

#define GROW_FIRST 16

/*
 * Room for `want` items (at least one) of `item` bytes each: the array, moved if need be, with
 * *capacity raised, to twice what it was if that is more. NULL: out of memory, and both are as they
 * were.
 */
static inline void *grow(void *array, size_t *capacity, size_t want, size_t item)
{
	size_t more = *capacity ? 2 * *capacity : GROW_FIRST;
	void *bigger;

	if (want <= *capacity)
		return array;
	if (more < want)
		more = want;
	bigger = reallocarray(array, more, item);
	if (bigger)
		*capacity = more;
	return bigger;
}

#endif
