// SPDX-License-Identifier: Apache-2.0
/* One simulated guest: what it uses, caches and frees, and how it suffers; see simulate.h. */
#include "policy/parts.h"
#include "policy/simulate.h"

#define KILL_PAUSE_US	 (30 * SEC) /* until what was killed in a guest is there again */
#define BOOT_US		 (60 * SEC)
#define TURN_OF_CACHE_US (10 * SEC) /* every page in constant use is used once in this time */
#define OWN_SWAP_PER_S	 (60 * MIB) /* of a guest's disk */

uint64_t sim_guest_free(const struct sim_guest *guest)
{
	return sub_sat(guest->actual, guest->used + guest->cache);
}

/* Linux counts the cache that it could drop, down to a reserve. */
uint64_t sim_guest_available(const struct sim_guest *guest)
{
	return sub_sat(sim_guest_free(guest) + guest->cache * 9 / 10, SIM_KEEP_BYTES);
}

uint64_t sim_guest_held(const struct sim_guest *guest)
{
	return guest->used + guest->cache + guest->touched;
}

/* Free memory comes into use: of it the host holds as much as of all. */
static void use_free(struct sim_guest *guest, uint64_t bytes, uint64_t free)
{
	guest->touched -= min_u64(guest->touched, mul_div(guest->touched, bytes, free));
}

uint64_t sim_guest_yield(struct sim_guest *guest, uint64_t bytes)
{
	uint64_t free = sim_guest_free(guest), got, part;

	got = min_u64(bytes, sub_sat(free, SIM_KEEP_BYTES));
	if (got)
		use_free(guest, got, free);
	part = min_u64(bytes - got, guest->cache * 9 / 10);
	guest->cache -= part;
	return got + part;
}

/* What it has in use goes down to `used`, first what is in its own swap. */
static void release(const struct sim *sim, struct sim_guest *guest, uint64_t used)
{
	guest->own_swapped = min_u64(guest->own_swapped, sub_sat(used, guest->used));
	if (guest->used <= used)
		return;
	if (!sim->reporting)
		guest->touched += guest->used - used;
	guest->used = used;
}

void sim_guest_restart(struct sim *sim, struct sim_guest *guest)
{
	guest->actual = guest->memory;
	guest->has_target = false;
	guest->target = guest->memory;
	guest->used = guest->want = guest->base;
	guest->cache = guest->touched = guest->swapped = 0;
	guest->own_swapped = 0;
	guest->now = guest->stat = (struct sim_counters){0};
	guest->short_since_us = 0;
	guest->restart_us = sim->now_us + BOOT_US;
}

static void kill_inside(struct sim *sim, struct sim_guest *guest)
{
	guest->ooms++;
	guest->now.ooms++;
	sim->regret.guest_ooms++;
	release(sim, guest, min_u64(guest->used + guest->own_swapped, guest->base));
	guest->want = min_u64(guest->want, guest->base);
	guest->restart_us = sim->now_us + KILL_PAUSE_US;
	guest->short_since_us = 0;
}

/* Its driver gives back what the balloon holds rather than let something be killed. */
static uint64_t deflate_on_oom(struct sim *sim, struct sim_guest *guest, uint64_t unmet)
{
	uint64_t back = min_u64(unmet, sub_sat(guest->memory, guest->actual));

	regret_move(&sim->regret, &guest->regret, guest->actual, guest->actual + back, sim->now_us);
	guest->actual += back;
	guest->used += back;
	return unmet - back;
}

uint64_t sim_guest_cold(const struct sim_guest *guest)
{
	return guest->touched + sub_sat(guest->cache, guest->hot) + guest->used / 4;
}

/* Of what it uses, a quarter is not missed in its own swap; the rest it keeps asking for. */
static uint64_t own_painful(const struct sim_guest *guest)
{
	return sub_sat(guest->own_swapped, (guest->used + guest->own_swapped) / 4);
}

/* What is in swap, the host's or its own, and in use. */
static uint64_t painful(const struct sim_guest *guest)
{
	return sub_sat(guest->swapped, sim_guest_cold(guest)) + own_painful(guest);
}

/* Rather than kill it swaps, if it has where; returns what that made room for. */
static uint64_t swap_own(const struct sim *sim, struct sim_guest *guest, uint64_t unmet)
{
	uint64_t out = min_u64(unmet, mul_div(OWN_SWAP_PER_S, sim->step_us, SEC));

	out = min_u64(out, sub_sat(guest->own_swap, guest->own_swapped));
	guest->own_swapped += out;
	guest->now.swap_out += out;
	return out;
}

/* What is missed comes back where there is room; where there is none, for something else. */
static void unswap_own(const struct sim *sim, struct sim_guest *guest)
{
	uint64_t in = min_u64(own_painful(guest), mul_div(OWN_SWAP_PER_S, sim->step_us, SEC));
	uint64_t room;

	if (!in)
		return;
	room = sim_guest_yield(guest,
			       min_u64(in, sub_sat(sim_guest_available(guest), SIM_KEEP_BYTES)));
	guest->used += room;
	guest->own_swapped -= room;
	guest->now.swap_in += in;
	guest->now.swap_out += in - room;
}

/* As in Linux a kill comes when nothing at all was to be had for a while; a trickle is a stall. */
static bool suffer(struct sim *sim, struct sim_guest *guest, uint64_t unmet, uint64_t got)
{
	uint64_t lacks = unmet + painful(guest);

	if (unmet) {
		guest->stalls++;
		guest->now.stalls += 20;
		sim->regret.stall_us += sim->step_us;
		if (guest->deflate_on_oom)
			unmet = deflate_on_oom(sim, guest, unmet);
	}
	sim->regret.short_byte_s += mul_div(lacks, sim->step_us, SEC);
	if (!unmet) {
		guest->short_since_us = 0;
		return lacks > 0;
	}
	if (!guest->short_since_us || (got && sim->bear_us))
		guest->short_since_us = sim->now_us;
	if (sim->now_us - guest->short_since_us >= sim->bear_us)
		kill_inside(sim, guest);
	return true;
}

static void read_files(struct sim *sim, struct sim_guest *guest)
{
	uint64_t lost = sub_sat(guest->hot, guest->cache), free = sim_guest_free(guest), fill;
	uint64_t rate = max_u64(guest->read_per_s, lost ? 32 * MIB : 0);

	sim->regret.refault_byte_s += mul_div(lost, sim->step_us, SEC);
	guest->now.faults += mul_div(lost / PAGE, sim->step_us, TURN_OF_CACHE_US);
	fill = min_u64(mul_div(rate, sim->step_us, SEC), sub_sat(guest->want_cache, guest->cache));
	fill = min_u64(fill, sub_sat(free, 2 * SIM_KEEP_BYTES));
	if (!fill)
		return;
	use_free(guest, fill, free);
	guest->cache += fill;
}

void sim_guest_live(struct sim *sim, struct sim_guest *guest)
{
	uint64_t need = guest->need, got = 0;

	if (guest->restart_us && sim->now_us < guest->restart_us) {
		need = min_u64(need, guest->base);
		/* What it was killed for it still has not. */
		sim->regret.short_byte_s += mul_div(guest->need - need, sim->step_us, SEC);
		sim->short_now = true;
	}
	if (guest->want > need)
		guest->want = need;
	else
		guest->want +=
			min_u64(mul_div(guest->per_s, sim->step_us, SEC), need - guest->want);
	release(sim, guest, guest->want);
	if (guest->used + guest->own_swapped < guest->want) {
		uint64_t lacks = guest->want - guest->used - guest->own_swapped;

		got = sim_guest_yield(guest, lacks);
		guest->used += got;
		got += swap_own(sim, guest, lacks - got);
		if (guest->used + guest->own_swapped >= guest->need) {
			guest->grown++;
			guest->grown_us = sim->now_us;
		}
	}
	unswap_own(sim, guest);
	sim->short_now |=
		suffer(sim, guest, sub_sat(guest->want, guest->used + guest->own_swapped), got);
	read_files(sim, guest);
	guest->least_available = min_u64(guest->least_available, sim_guest_available(guest));
	sim->regret.idle_byte_s +=
		mul_div(sub_sat(guest->touched, guest->swapped), sim->step_us, SEC);
	sim->regret.swapped_byte_s += mul_div(guest->swapped, sim->step_us, SEC);
}
