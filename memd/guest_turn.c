// SPDX-License-Identifier: Apache-2.0
/*
 * Each guest is asked, and its process looked at, every tick; but of more than GUESTS_ASKED_CALM
 * each only every so many ticks. Those that something is going on with, or that could be in need
 * before their turn comes, are asked every tick all the same. On a calm host these are few. On one
 * that is not they may be all: then no more than GUESTS_ASKED_MOST are asked in a tick, first those
 * in need, then those whose turn it is, then those near their floor, then those whose balloon
 * moves.
 */
#include "memd/guest_turn.h"

#include "common/cleanup.h"
#include "common/clock.h"

/* Set up or given a target so lately: asked each tick. */
#define LIVELY_US    (10 * USEC_PER_SEC)
#define LIVELY_TICKS 10
/* Each guest's turn comes within this time: long ticks leave no room for turns. */
#define TURNS_US (5 * USEC_PER_SEC)
/* Its process is looked at every so many times that it is asked; on a host that is short each time,
 * but only every so many times as a whole. */
#define LOOK_EVERY 4

/* How much its answer matters now. */
enum rank { RANK_ANY, RANK_MOVING, RANK_NEAR, RANK_NEED };
_Static_assert(RANK_NEED + 1 == ARRAY_SIZE(((struct guests *)0)->turn_at), "a place for each");

/* Of those that have less than promised: it suffers, or nobody knows whether it does. */
static bool is_in_need(const struct guest *guest)
{
	return !pol_has(guest->view.working_set_bytes) || guest->view.trouble;
}

/*
 * And: it is not clear above its floor. The reserve in that lasts a guest about three seconds,
 * twice of it lasts until its turn.
 */
static bool is_near_floor(const struct guest *guest)
{
	const struct pol_view *view = &guest->view;
	uint64_t reserve = view->floor_bytes > view->working_set_bytes
				   ? view->floor_bytes - view->working_set_bytes
				   : 0;

	return guest->actual_bytes < view->floor_bytes + reserve;
}

static enum rank rank_of(const struct guest *guest, uint64_t now_us)
{
	bool less = guest->has_view && pol_has(guest->actual_bytes) &&
		    guest->actual_bytes < guest->memory_bytes;

	if (guest->late || guest->facts_due || guest->release || guest->merge_open ||
	    guest->ticks < LIVELY_TICKS || now_us - guest->ready_us < LIVELY_US ||
	    (less && is_in_need(guest)))
		return RANK_NEED;
	if (less && is_near_floor(guest))
		return RANK_NEAR;
	if ((guest->target_sent_us && now_us - guest->target_sent_us < LIVELY_US) ||
	    guest->mem_size_bytes != guest->mem_requested_bytes)
		return RANK_MOVING;
	return RANK_ANY;
}

/* Each brings a look: what the host sees of a guest is what it is reclaimed by. */
static void ask(struct guests *guests, size_t at)
{
	struct guest *guest = guests->v[at];
	/* The place spreads them: all were found at the same time. */
	bool whole = (guest->ticks + at) % LOOK_EVERY == 0;

	guest->rests = false;
	guest->looked_at = whole ? GUEST_LOOK_WHOLE : GUEST_LOOK_BRIEF;
}

/* Up to `most` of a rank that are not asked yet, beginning where the last tick ended. */
static size_t ask_rank(struct guests *guests, uint64_t now_us, enum rank rank, size_t most)
{
	size_t asked = 0;

	for (size_t i = 0; i < guests->n && asked < most; i++) {
		size_t at = (guests->turn_at[rank] + i) % guests->n;

		if (!guests->v[at]->rests || rank_of(guests->v[at], now_us) != rank)
			continue;
		ask(guests, at);
		if (++asked == most)
			guests->turn_at[rank] = at + 1;
	}
	return asked;
}

/* The next ones in turn, up to `most`. */
static size_t ask_turns(struct guests *guests, size_t turns, size_t most)
{
	size_t due = (guests->n + turns - 1) / turns, asked = 0, i;

	for (i = 0; i < due && asked < most; i++) {
		size_t at = (guests->turn_at[RANK_ANY] + i) % guests->n;

		if (!guests->v[at]->rests)
			continue;
		ask(guests, at);
		asked++;
	}
	guests->turn_at[RANK_ANY] = (guests->turn_at[RANK_ANY] + i) % guests->n;
	return asked;
}

/* How many can be asked in a tick: of longer ones there are fewer. */
static size_t most_of(const struct guests *guests)
{
	uint64_t tick_us = guests->config->tick_us;

	return tick_us > USEC_PER_SEC ? GUESTS_ASKED_MOST * tick_us / USEC_PER_SEC
				      : GUESTS_ASKED_MOST;
}

static void turns_pressed(struct guests *guests, size_t turns, uint64_t now_us)
{
	/* Half is left to those whose turn it is, whoever else there is. */
	size_t left = most_of(guests), most = left - left / 2;

	for (size_t i = 0; i < guests->n; i++) {
		guests->v[i]->rests = true;
		guests->v[i]->looked_at = GUEST_LOOK_NOT;
	}
	left -= ask_rank(guests, now_us, RANK_NEED, most);
	left -= ask_turns(guests, turns, left);
	left -= ask_rank(guests, now_us, RANK_NEED, left);
	left -= ask_rank(guests, now_us, RANK_NEAR, left);
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
		guest->looked_at = GUEST_LOOK_NOT;
		if (always || (turn && (guest->ticks + i / turns) % LOOK_EVERY == 0))
			guest->looked_at = GUEST_LOOK_WHOLE;
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
