// SPDX-License-Identifier: Apache-2.0
/*
 * Each guest is asked, and its process looked at, every tick; but of more than GUESTS_ASKED_CALM
 * each only every so many ticks. Those that something is going on with, or that could be in need
 * before their turn comes, are asked every tick all the same. On a calm host these are few. On one
 * that is not they may be all: then no more than GUESTS_ASKED_MOST are asked in a tick, first those
 * in need, then those whose turn it is, then those whose balloon moves.
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
/* Left to those whose turn it is, whoever else there is. */
#define TURNS_LEAST (GUESTS_ASKED_MOST / 2)

/* How much its answer matters now. */
enum rank { RANK_ANY, RANK_MOVING, RANK_NEED };

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

static enum rank rank_of(const struct guest *guest, uint64_t now_us)
{
	if (guest->late || guest->facts_due || guest->release || guest->merge_open ||
	    guest->ticks < LIVELY_TICKS || now_us - guest->ready_us < LIVELY_US ||
	    could_need(guest))
		return RANK_NEED;
	if ((guest->target_sent_us && now_us - guest->target_sent_us < LIVELY_US) ||
	    guest->mem_size_bytes != guest->mem_requested_bytes)
		return RANK_MOVING;
	return RANK_ANY;
}

/* Up to `most` of a rank that are not asked yet, beginning where the last tick ended. */
static size_t ask_rank(struct guests *guests, uint64_t now_us, enum rank rank, size_t most)
{
	size_t asked = 0;

	for (size_t i = 0; i < guests->n && asked < most; i++) {
		size_t at = (guests->turn_at[rank] + i) % guests->n;
		struct guest *guest = guests->v[at];

		if (!guest->rests || rank_of(guest, now_us) != rank)
			continue;
		guest->rests = false;
		guest->looked_at = true;
		if (++asked == most)
			guests->turn_at[rank] = at + 1;
	}
	return asked;
}

/* The next ones in turn, up to `most`. Each turn brings a look: what the host sees of a guest is
 * what it is reclaimed by. */
static size_t ask_turns(struct guests *guests, size_t turns, size_t most)
{
	size_t due = (guests->n + turns - 1) / turns, asked = 0, i;

	for (i = 0; i < due && asked < most; i++) {
		struct guest *guest = guests->v[(guests->turn_at[RANK_ANY] + i) % guests->n];

		if (!guest->rests)
			continue;
		guest->rests = false;
		guest->looked_at = true;
		asked++;
	}
	guests->turn_at[RANK_ANY] = (guests->turn_at[RANK_ANY] + i) % guests->n;
	return asked;
}

static void turns_pressed(struct guests *guests, size_t turns, uint64_t now_us)
{
	size_t left = GUESTS_ASKED_MOST;

	for (size_t i = 0; i < guests->n; i++) {
		guests->v[i]->rests = true;
		guests->v[i]->looked_at = false;
	}
	left -= ask_rank(guests, now_us, RANK_NEED, GUESTS_ASKED_MOST - TURNS_LEAST);
	left -= ask_turns(guests, turns, left);
	left -= ask_rank(guests, now_us, RANK_NEED, left);
	ask_rank(guests, now_us, RANK_MOVING, left);
}

static void turns_calm(struct guests *guests, size_t turns, uint64_t now_us)
{
	for (size_t i = 0; i < guests->n; i++) {
		struct guest *guest = guests->v[i];
		bool always = turns <= 1 || rank_of(guest, now_us) != RANK_ANY;
		bool turn = (i + guests->polls) % turns == 0;

		guest->rests = !always && !turn;
		/* The place spreads them: all were found at the same time. */
		guest->looked_at = always || (turn && (guest->ticks + i / turns) % LOOK_EVERY == 0);
	}
}

void guest_turns(struct guests *guests, uint64_t now_us)
{
	size_t turns = guests->n / GUESTS_ASKED_CALM + (guests->n % GUESTS_ASKED_CALM != 0);

	if (guests->n == 0)
		return;
	while (turns > 1 && turns * guests->config->tick_us > TURNS_US)
		turns--;
	guests->polls++;
	if (guests->calm || turns <= 1)
		turns_calm(guests, turns, now_us);
	else
		turns_pressed(guests, turns, now_us);
}
