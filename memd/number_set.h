/* SPDX-License-Identifier: Apache-2.0 */
/* A set of numbers other than 0, with room for as many as are said first. */
#ifndef MEMD_NUMBER_SET_H
#define MEMD_NUMBER_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct number_set {
	uint64_t *v; /* 0: empty; at least half of them are */
	size_t room; /* a power of two */
};

/* -ENOMEM. */
int number_set_open(struct number_set *set, size_t most);
void number_set_close(struct number_set *set);

/* Numbers other than 0; no more of them than there is room for. */
void number_set_add(struct number_set *set, uint64_t number);
bool number_set_has(const struct number_set *set, uint64_t number);
void number_set_clear(struct number_set *set);

#endif
