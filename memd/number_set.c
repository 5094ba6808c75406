// SPDX-License-Identifier: Apache-2.0
/* A hash set with open addressing; see number_set.h. */
#include "memd/number_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int number_set_open(struct number_set *set, size_t most)
{
	size_t room = 1;

	while (room < 2 * most)
		room *= 2;
	*set = (struct number_set){.v = calloc(room, sizeof(*set->v)), .room = room};
	return set->v ? 0 : -ENOMEM;
}

void number_set_close(struct number_set *set)
{
	free(set->v);
	*set = (struct number_set){0};
}

static size_t place_of(const struct number_set *set, uint64_t number)
{
	size_t at = (size_t)(number * 0x9e3779b97f4a7c15ULL >> 20) & (set->room - 1);

	while (set->v[at] && set->v[at] != number)
		at = (at + 1) & (set->room - 1);
	return at;
}

void number_set_add(struct number_set *set, uint64_t number)
{
	set->v[place_of(set, number)] = number;
}

bool number_set_has(const struct number_set *set, uint64_t number)
{
	return number && set->v[place_of(set, number)] == number;
}

void number_set_clear(struct number_set *set)
{
	memset(set->v, 0, set->room * sizeof(*set->v));
}
