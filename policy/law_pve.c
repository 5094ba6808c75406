// SPDX-License-Identifier: Apache-2.0
/*
 * Proxmox VE's auto-ballooning: compute_alg1 of PVE/AutoBalloon.pm, as pvestatd calls it about
 * every 10 s with at most 100 MiB a guest and 80 % of the host's memory as the goal. Only guests
 * with a configured minimum and shares other than 0 take part.
 */
#include "policy/law.h"
#include "policy/parts.h"

#define EVERY_US     (10 * SEC)
#define GOAL_PERCENT 80 /* ballooning-target */
#define MOST_CHANGE  ((int64_t)(100 * MIB))
#define DEAD_ZONE    ((int64_t)(10 * MIB))
#define SHARES_USUAL 1000
#define ROUNDS_MOST  1000 /* it ends by itself; nothing here rests on that */

struct pve_guest {
	uint64_t id;
	bool takes_part, has_free; /* idlist, idlist2 */
	bool done;		   /* done_hash */
	bool moved;		   /* in $res, with */
	int64_t to;
	int64_t balloon, balloon_min, maxmem;
	uint64_t shares;
};

struct pve {
	struct law_peer peer;
	bool began;
	uint64_t next_us;
};

enum list { LIST_PRESSED, LIST_FREE, LIST_ALL }; /* idlist1, idlist2, idlist */

static void look_at(struct pve_guest *guest, const struct pol_guest *in)
{
	uint64_t free = in->stat_free_bytes;

	*guest = (struct pve_guest){.id = in->id};
	if (!in->answering || !in->has_balloon || !pol_has(in->actual_bytes) || !in->actual_bytes ||
	    !pol_has(in->memory_bytes) || !pol_has(in->min_bytes) || !in->min_bytes || !in->shares)
		return;
	guest->takes_part = true;
	guest->balloon = (int64_t)min_u64(in->actual_bytes, BYTES_MAX);
	guest->balloon_min = (int64_t)min_u64(in->min_bytes, BYTES_MAX);
	guest->maxmem = (int64_t)min_u64(in->memory_bytes, BYTES_MAX);
	guest->shares = pol_has(in->shares) ? min_u64(in->shares, UINT32_MAX) : SHARES_USUAL;
	guest->has_free =
		pol_has(free) && free > in->min_bytes / 4 && guest->balloon >= guest->balloon_min;
}

static bool is_in(const struct pve_guest *guest, enum list list)
{
	return guest->takes_part && !guest->done &&
	       (list == LIST_ALL || guest->has_free == (list == LIST_FREE));
}

/*
 * One guest's move towards what its shares make of alloc_new; what was decided changes by the
 * returned bytes. *ret_clamped: its bounds keep it from that.
 */
static int64_t move_one(struct pve_guest *guest, int64_t bytes, int64_t desired, bool *ret_clamped)
{
	int64_t before = guest->moved ? guest->to : guest->balloon, to;

	if (desired > guest->maxmem) {
		desired = guest->maxmem;
		*ret_clamped = true;
	} else if (desired < guest->balloon_min) {
		desired = guest->balloon_min;
		*ret_clamped = true;
	}
	if (bytes > 0 && desired > guest->balloon) {
		to = guest->balloon + MOST_CHANGE;
		to = to > desired ? desired : to;
	} else if (desired < guest->balloon) {
		to = guest->balloon - MOST_CHANGE;
		to = to > desired ? to : desired;
	} else {
		guest->done = true;
		return 0;
	}
	guest->moved = true;
	guest->to = to;
	return to - before;
}

/* change_func: spreads `bytes` (negative: takes) over a list; returns what is left. */
static int64_t change(struct pve *pve, size_t n, enum list list, int64_t bytes)
{
	int64_t rest = bytes;
	bool repeat = true, progress = true;

	for (size_t i = 0; i < n; i++)
		((struct pve_guest *)law_row(&pve->peer, i))->done = false;
	for (unsigned int round = 0; rest && repeat && progress && round < ROUNDS_MOST; round++) {
		int64_t alloc = rest, changes = 0;
		uint64_t shares = 0;

		repeat = progress = false;
		for (size_t i = 0; i < n; i++) {
			const struct pve_guest *guest = law_row(&pve->peer, i);

			if (!is_in(guest, list))
				continue;
			alloc += (guest->moved ? guest->to : guest->balloon) - guest->balloon_min;
			shares += guest->shares;
		}
		if (!shares)
			break;
		for (size_t i = 0; i < n; i++) {
			struct pve_guest *guest = law_row(&pve->peer, i);
			int64_t moved;

			if (!is_in(guest, list))
				continue;
			moved = move_one(guest, bytes,
					 guest->balloon_min +
						 (int64_t)((__int128)alloc * guest->shares /
							   (__int128)shares),
					 &repeat);
			changes += moved;
			if (moved)
				repeat = progress = true;
		}
		rest -= changes;
	}
	return rest;
}

static void decide(struct pve *pve, const struct pol_host *host)
{
	uint64_t memory = host->memory_bytes;
	int64_t goal = (int64_t)mul_div(memory, GOAL_PERCENT, 100) -
		       (int64_t)(memory - law_host_free(host));
	size_t n = law_guests(&pve->peer, host);
	int64_t rest;

	for (size_t i = 0; i < n; i++)
		look_at(law_row(&pve->peer, i), &host->guests[i]);
	if (goal > DEAD_ZONE) {
		rest = change(pve, n, LIST_PRESSED, goal);
		if (rest >= goal)
			change(pve, n, LIST_ALL, rest);
	} else if (goal < -DEAD_ZONE) {
		rest = change(pve, n, LIST_FREE, goal);
		if (rest <= goal)
			change(pve, n, LIST_ALL, rest);
	}
	for (size_t i = 0; i < n; i++) {
		const struct pve_guest *guest = law_row(&pve->peer, i);

		if (guest->moved && guest->to != guest->balloon)
			law_order(&pve->peer, host, i, (uint64_t)guest->to);
	}
}

static void *pve_open(const struct pol_config *config, size_t max_guests)
{
	return law_peer_new(sizeof(struct pve), sizeof(struct pve_guest), config, max_guests);
}

static int pve_step(void *state, const struct pol_host *host, uint64_t now_us,
		    const struct pol_plan **ret_plan)
{
	struct pve *pve = state;
	int r = law_peer_begin(&pve->peer, host);

	if (r < 0)
		return r;
	if (!pve->began || now_us >= pve->next_us) {
		pve->began = true;
		pve->next_us = now_us + EVERY_US;
		decide(pve, host);
	}
	*ret_plan = &pve->peer.plan;
	return 0;
}

const struct law law_pve = {
	.name = "pve",
	.text = "Proxmox VE's auto-ballooning",
	.open = pve_open,
	.close = law_peer_free,
	.configure = law_peer_configure,
	.step = pve_step,
};
