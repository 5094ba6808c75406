/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that do not do as guests should: silent, stuck, or not to be believed. For query-status.
 */
#ifndef MEMD_MISFIT_H
#define MEMD_MISFIT_H

#include <json-c/json.h>
#include <stdint.h>

#include "memd/guest.h"

/* After each tick: remembers when its numbers were not trusted, and why. */
void misfit_follow(struct guest *guest, uint64_t now_us);

/* The "misfits" array: {"guest", "why"} for each, an empty one when all is well. The caller puts
 * it. */
json_object *misfits_json(const struct guests *guests, uint64_t now_us);

#endif
