// SPDX-License-Identifier: Apache-2.0
/* Counting what a law's decisions cost; see regret.h. */
#include "policy/regret.h"
#include "policy/parts.h"

#define SLOT_US (REGRET_VAIN_US / REGRET_VAIN_SLOTS)

void regret_begin(struct regret *regret)
{
	*regret = (struct regret){.least_available_bytes = UINT64_MAX};
}

/* Brings the slots up to now: what is older than all of them is forgotten. */
static void turn(struct regret_guest *guest, uint64_t now_us)
{
	uint64_t now_slot = now_us / SLOT_US, steps = now_slot - guest->slot_us;

	if (steps > REGRET_VAIN_SLOTS)
		steps = REGRET_VAIN_SLOTS;
	while (steps--) {
		guest->slot = (guest->slot + 1) % REGRET_VAIN_SLOTS;
		guest->taken[guest->slot] = 0;
	}
	guest->slot_us = now_slot;
}

void regret_move(struct regret *regret, struct regret_guest *guest, uint64_t from, uint64_t to,
		 uint64_t now_us)
{
	uint64_t back;

	if (from == to)
		return;
	turn(guest, now_us);
	if (to < from) {
		guest->taken[guest->slot] += from - to;
		regret->taken_bytes += from - to;
		return;
	}
	back = to - from;
	regret->given_bytes += back;
	for (unsigned int i = 0; i < REGRET_VAIN_SLOTS && back; i++) {
		uint64_t *taken =
			&guest->taken[(guest->slot + REGRET_VAIN_SLOTS - i) % REGRET_VAIN_SLOTS];
		uint64_t part = min_u64(*taken, back);

		*taken -= part;
		back -= part;
		regret->vain_bytes += part;
	}
}

void regret_tick(struct regret *regret, enum pol_state state, uint64_t available_bytes,
		 uint64_t orders, uint64_t dt_us)
{
	regret->ticks++;
	regret->time_us += dt_us;
	regret->decisions += orders;
	regret->state_us[state] += dt_us;
	regret->available_byte_s += mul_div(available_bytes, dt_us, SEC);
	regret->least_available_bytes = min_u64(regret->least_available_bytes, available_bytes);
	regret->low_run = state == POL_STATE_LOW ? regret->low_run + 1 : 0;
	regret->low_ticks += state == POL_STATE_LOW;
	regret->low_run_most = max_u64(regret->low_run_most, regret->low_run);
}
