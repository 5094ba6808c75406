/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose turn it is. To ask a guest and to read its process costs some 40 us, of which a thousand
 * are too many each second; and where host and guest have plenty, numbers some seconds old are as
 * good.
 */
#ifndef MEMD_GUEST_TURN_H
#define MEMD_GUEST_TURN_H

#include <stdint.h>

#include "memd/guest.h"

/* Fills `rests` and `looked_at` of all guests for this tick. */
void guest_turns(struct guests *guests, uint64_t now_us);

#endif
