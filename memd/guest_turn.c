// SPDX-License-Identifier: Apache-2.0
/*
 * Each guest is asked, and its process looked at, every tick; but of more than GUESTS_ASKED_CALM
 * on a calm host each only every so many ticks. Those that something is going on with, or that
 * could be in need before their turn comes, are asked every tick all the same.
 */
#include "memd/guest_turn.h"

#include "common/clock.h"

/* Set up or given a target so lately: asked each tick. */
#define LIVELY_US    (10 * USEC_PER_SEC)
#define LIVELY_TICKS 10
/* Each guest's turn comes within this time: long ticks leave no room for turns. */
#define TURNS_US (5 * USEC_PER_SEC)
/* Its process is looked at every so many times that it is asked. */
#define LOOK_EVERY 4

/*
 * It has less than promised, and is not clear above its floor: the reserve in that lasts a guest
 * about three seconds, twice of it lasts until its turn.
 */
static bool could_need(const struct guest *guest)
{
	const struct pol_view *view = &guest->view;
	uint64_t reserve;

	if (!guest->has_view || !pol_has(guest->actual_bytes) ||
	    guest->actual_bytes >= guest->memory_bytes)
		return false;
	if (!pol_has(view->working_set_bytes))
		return true;
	reserve = view->floor_bytes > view->working_set_bytes
			  ? view->floor_bytes - view->working_set_bytes
			  : 0;
	return view->trouble || guest->actual_bytes < view->floor_bytes + reserve;
}

static bool is_lively(const struct guest *guest, uint64_t now_us)
{
	return guest->late || guest->facts_due || guest->release || guest->merge_open ||
	       guest->ticks < LIVELY_TICKS || now_us - guest->ready_us < LIVELY_US ||
	       (guest->target_sent_us && now_us - guest->target_sent_us < LIVELY_US) ||
	       guest->mem_size_bytes != guest->mem_requested_bytes || could_need(guest);
}

void guest_turns(struct guests *guests, uint64_t now_us)
{
	size_t turns = guests->n / GUESTS_ASKED_CALM + (guests->n % GUESTS_ASKED_CALM != 0);

	if (turns == 0)
		return;
	while (turns > 1 && turns * guests->config->tick_us > TURNS_US)
		turns--;
	guests->polls++;
	for (size_t i = 0; i < guests->n; i++) {
		struct guest *guest = guests->v[i];
		bool always = !guests->calm || turns <= 1 || is_lively(guest, now_us);
		bool turn = (i + guests->polls) % turns == 0;

		guest->rests = !always && !turn;
		/* The place spreads them: all were found at the same time. */
		guest->looked_at = always || (turn && (guest->ticks + i / turns) % LOOK_EVERY == 0);
	}
}
