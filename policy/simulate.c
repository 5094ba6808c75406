// SPDX-License-Identifier: Apache-2.0
/* The simulated host: its clock, balloons, swap, and what a law gets to see; see simulate.h. */
#include <errno.h>
#include <stdlib.h>

#include "policy/parts.h"
#include "policy/simulate.h"

#define SWAP_IN_PER_S  (40 * MIB)
#define SWAP_IN_ABOVE  (64 * MIB) /* available memory below which nothing comes back */
#define GRAB_EVERY_US  (60 * SEC) /* SIM_HOSTILE */
#define STATS_APART_US (300 * MSEC)
#define BOOT_OVERHEAD  (20 * MIB) /* of a guest's memory that its MemTotal does not show */

int sim_open(struct sim *sim, const struct law *law, const struct pol_config *config,
	     size_t max_guests)
{
	*sim = (struct sim){
		.memory = 8 * GIB,
		.own = 500 * MIB,
		.swap = 4 * GIB,
		.balloons_per_s = 120 * MIB,
		.stats_every_us = SEC,
		.bear_us = 2 * SEC,
		.step_us = 100 * MSEC,
		.day_us = 24 * 3600 * SEC,
		.max_guests = max_guests,
		.start_us = 1000 * SEC,
		.now_us = 1000 * SEC,
		.law = law,
		.config = *config,
	};
	regret_begin(&sim->regret);
	sim->guests = calloc(max_guests ? max_guests : 1, sizeof(*sim->guests));
	sim->in = calloc(max_guests ? max_guests : 1, sizeof(*sim->in));
	sim->law_state = law->open(config, max_guests);
	if (!sim->guests || !sim->in || !sim->law_state) {
		sim_close(sim);
		return -ENOMEM;
	}
	return 0;
}

void sim_close(struct sim *sim)
{
	if (sim->law)
		sim->law->close(sim->law_state);
	free(sim->guests);
	free(sim->in);
	*sim = (struct sim){0};
}

struct sim_guest *sim_add(struct sim *sim, enum sim_work work, enum sim_flaw flaw,
			  uint64_t memory_bytes, uint64_t seed)
{
	struct sim_guest *guest;

	if (sim->n_guests == sim->max_guests)
		return NULL;
	guest = &sim->guests[sim->n_guests++];
	*guest = (struct sim_guest){
		.work = work,
		.flaw = flaw,
		.memory = memory_bytes,
		.min = POL_ABSENT,
		.shares = 1000,
		.inflate_per_s = 60 * MIB,
		.deflate_per_s = 370 * MIB,
		.rng = seed,
		.actual = memory_bytes,
		.target = memory_bytes,
		.least_available = UINT64_MAX,
	};
	sim_work_begin(sim, guest);
	return guest;
}

/* ---- the host's memory ---- */

static uint64_t resident(const struct sim_guest *guest)
{
	return sub_sat(sim_guest_held(guest), guest->swapped);
}

static uint64_t in_use(const struct sim *sim)
{
	uint64_t sum = sim->own;

	for (size_t i = 0; i < sim->n_guests; i++)
		sum += resident(&sim->guests[i]);
	return sum;
}

uint64_t sim_host_available(const struct sim *sim)
{
	return sub_sat(sim->memory, in_use(sim));
}

static uint64_t swapped(const struct sim *sim)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < sim->n_guests; i++)
		sum += sim->guests[i].swapped;
	return sum;
}

/* Cold memory first, then a part of everybody's. */
static void swap_out(struct sim *sim, uint64_t bytes)
{
	for (int pass = 0; pass < 2 && bytes; pass++) {
		uint64_t all = 0, rest = bytes;

		for (size_t i = 0; i < sim->n_guests; i++) {
			const struct sim_guest *g = &sim->guests[i];

			all += pass ? resident(g) : sub_sat(sim_guest_cold(g), g->swapped);
		}
		for (size_t i = 0; i < sim->n_guests && all; i++) {
			struct sim_guest *g = &sim->guests[i];
			uint64_t has = pass ? resident(g) : sub_sat(sim_guest_cold(g), g->swapped);
			uint64_t part = min_u64(mul_div(min_u64(bytes, all), has, all) + 1, has);

			part = min_u64(part, rest);
			g->swapped += part;
			rest -= part;
		}
		sim->regret.swap_out_bytes += bytes - rest;
		bytes = rest;
	}
}

/* What guests use comes back when they use it. */
static void swap_in(struct sim *sim, uint64_t available)
{
	uint64_t most = min_u64(mul_div(SWAP_IN_PER_S, sim->step_us, SEC),
				sub_sat(available, SWAP_IN_ABOVE)),
		 wanted = 0;

	for (size_t i = 0; i < sim->n_guests; i++)
		wanted += sub_sat(sim->guests[i].swapped, sim_guest_cold(&sim->guests[i]));
	for (size_t i = 0; i < sim->n_guests && wanted; i++) {
		struct sim_guest *g = &sim->guests[i];
		uint64_t pain = sub_sat(g->swapped, sim_guest_cold(g));

		g->swapped -= min_u64(pain, mul_div(most, pain, wanted) + 1);
	}
}

/* The kernel's choice: the largest. */
static void kill_largest(struct sim *sim)
{
	struct sim_guest *largest = NULL;

	for (size_t i = 0; i < sim->n_guests; i++)
		if (!largest || resident(&sim->guests[i]) > resident(largest))
			largest = &sim->guests[i];
	if (!largest)
		return;
	sim->regret.host_ooms++;
	sim_guest_restart(sim, largest);
}

static void host_memory(struct sim *sim)
{
	uint64_t used, room;

	for (size_t i = 0; i < sim->n_guests; i++)
		sim->guests[i].swapped =
			min_u64(sim->guests[i].swapped, sim_guest_held(&sim->guests[i]));
	used = in_use(sim);
	if (used <= sim->memory) {
		swap_in(sim, sim->memory - used);
		return;
	}
	room = sub_sat(sim->swap, swapped(sim));
	swap_out(sim, min_u64(used - sim->memory, room));
	if (used - sim->memory > room)
		kill_largest(sim);
}

/* ---- balloons ---- */

static void resize(struct sim *sim, struct sim_guest *guest, uint64_t actual)
{
	regret_move(&sim->regret, &guest->regret, guest->actual, actual, sim->now_us);
	guest->actual = actual;
}

static bool has_driver(const struct sim_guest *guest)
{
	return guest->flaw != SIM_STUCK && guest->flaw != SIM_NO_DRIVER;
}

/* What it takes is cold: as much of it is in swap as of all that is cold, and is gone from there.
 */
static void inflate(struct sim *sim, struct sim_guest *guest, uint64_t bytes)
{
	uint64_t cold = sim_guest_cold(guest), held = sim_guest_held(guest);

	bytes = sim_guest_yield(guest, bytes);
	held = min_u64(held - sim_guest_held(guest), cold);
	guest->swapped -= min_u64(guest->swapped, mul_div(guest->swapped, held, cold));
	resize(sim, guest, guest->actual - bytes);
}

static void move_balloons(struct sim *sim)
{
	uint64_t busy = 0, each;

	for (size_t i = 0; i < sim->n_guests; i++)
		busy += sim->guests[i].target < sim->guests[i].actual;
	each = busy ? sim->balloons_per_s / busy : 0;
	for (size_t i = 0; i < sim->n_guests; i++) {
		struct sim_guest *g = &sim->guests[i];
		uint64_t most;

		if (!has_driver(g))
			continue;
		if (g->target < g->actual) {
			most = mul_div(min_u64(each, g->inflate_per_s), sim->step_us, SEC);
			inflate(sim, g, min_u64(g->actual - g->target, most));
		} else if (g->target > g->actual) {
			most = mul_div(g->deflate_per_s, sim->step_us, SEC);
			resize(sim, g, g->actual + min_u64(g->target - g->actual, most));
		}
		if (g->flaw == SIM_HOSTILE && sim->now_us % GRAB_EVERY_US < sim->step_us)
			g->actual = g->memory;
	}
}

/* ---- what a law sees ---- */

/* Each guest at its own moment between two ticks. */
static void send_numbers(const struct sim *sim, struct sim_guest *g)
{
	uint64_t late = (uint64_t)(g - sim->guests) * STATS_APART_US;

	if ((sim->now_us - sim->start_us + late) % sim->stats_every_us >= sim->step_us)
		return;
	g->stat_at_us = sim->now_us;
	g->stat_total = sub_sat(g->actual, BOOT_OVERHEAD);
	g->stat_free = sim_guest_free(g);
	g->stat_available = sim_guest_available(g);
	g->stat_cache = g->cache;
	g->stat = g->now;
}

/* memd dates numbers by when it first sees them: hypervisors tell whole seconds of their own. */
static uint64_t age_of(const struct sim *sim, struct sim_guest *g)
{
	if (!g->stat_at_us)
		return POL_ABSENT;
	if (g->stat_at_us > g->stat_seen_us)
		g->stat_seen_us = sim->now_us;
	return sim->now_us - g->stat_seen_us;
}

/* Numbers of guests that do not mean well. */
static void distort(const struct sim *sim, const struct sim_guest *g, struct pol_guest *in)
{
	uint64_t second = sim->now_us / SEC;

	switch (g->flaw) {
	case SIM_LIAR:
		in->stat_free_bytes = in->stat_available_bytes = MIB;
		in->stat_oom_kills = second;
		break;
	case SIM_HOSTILE:
		in->stat_free_bytes = second % 2 ? 0 : 1ull << 63;
		in->stat_available_bytes = second % 3 ? UINT64_MAX - second : 0;
		in->stat_oom_kills = second % 5 * 1000;
		in->stat_age_us = second % 7 ? 0 : UINT64_MAX - 1;
		break;
	case SIM_NO_DRIVER:
	case SIM_SILENT:
		in->has_balloon = g->flaw != SIM_NO_DRIVER;
		in->stat_total_bytes = in->stat_free_bytes = in->stat_available_bytes =
			in->stat_cache_bytes = in->stat_age_us = POL_ABSENT;
		in->stat_swap_in_bytes = in->stat_swap_out_bytes = in->stat_major_faults =
			in->stat_oom_kills = in->stat_alloc_stalls = in->stat_scanned_bytes =
				in->stat_reclaimed_bytes = POL_ABSENT;
		break;
	default:
		break;
	}
}

static void show(struct sim *sim)
{
	for (size_t i = 0; i < sim->n_guests; i++) {
		struct sim_guest *g = &sim->guests[i];

		sim->in[i] = (struct pol_guest){
			.id = i + 1,
			.memory_bytes = g->memory,
			.min_bytes = g->min,
			.shares = g->shares,
			.answering = true,
			.has_balloon = true,
			.deflate_on_oom = g->deflate_on_oom,
			.reporting = sim->reporting,
			.mergeable = true,
			.actual_bytes = g->actual,
			.target_bytes = g->has_target ? g->target : POL_ABSENT,
			.resident_bytes = resident(g),
			.swapped_bytes = g->swapped,
			.cpu_us = sim->now_us / 100,
			.stat_total_bytes = g->stat_total,
			.stat_free_bytes = g->stat_free,
			.stat_available_bytes = g->stat_available,
			.stat_cache_bytes = g->stat_cache,
			.stat_swap_in_bytes = g->stat.swap_in,
			.stat_swap_out_bytes = g->stat.swap_out,
			.stat_major_faults = g->stat.faults,
			.stat_oom_kills = g->stat.ooms,
			.stat_alloc_stalls = g->stat.stalls,
			.stat_age_us = age_of(sim, g),
		};
		distort(sim, g, &sim->in[i]);
	}
	sim->host = (struct pol_host){
		.memory_bytes = sim->memory,
		.available_bytes = sim_host_available(sim),
		.free_bytes = sim_host_available(sim),
		.swap_bytes = sim->swap,
		.swap_free_bytes = sub_sat(sim->swap, swapped(sim)),
		.swap_out_bytes = sim->regret.swap_out_bytes,
		.psi_some_us = POL_ABSENT,
		.psi_full_us = POL_ABSENT,
		.guests = sim->in,
		.n_guests = sim->n_guests,
	};
}

static uint64_t obey(struct sim *sim)
{
	uint64_t orders = 0;

	for (size_t k = 0; k < sim->plan->n_actions; k++) {
		const struct pol_action *a = &sim->plan->actions[k];

		if (a->kind != POL_BALLOON || !a->guest || a->guest > sim->n_guests)
			continue;
		sim->guests[a->guest - 1].target = a->to;
		sim->guests[a->guest - 1].has_target = true;
		orders++;
	}
	return orders;
}

static void step(struct sim *sim)
{
	sim->now_us += sim->step_us;
	sim->short_now = false;
	for (size_t i = 0; i < sim->n_guests; i++) {
		sim_work(sim, &sim->guests[i]);
		sim_guest_live(sim, &sim->guests[i]);
	}
	move_balloons(sim);
	host_memory(sim);
	for (size_t i = 0; i < sim->n_guests; i++)
		send_numbers(sim, &sim->guests[i]);
	sim->regret.least_available_bytes =
		min_u64(sim->regret.least_available_bytes, sim_host_available(sim));
	if (sim->short_now)
		sim->regret.short_least_us += sim->step_us;
}

int sim_tick(struct sim *sim)
{
	struct marks marks;
	int r;

	for (uint64_t us = 0; us < SEC; us += sim->step_us)
		step(sim);
	show(sim);
	r = sim->law->step(sim->law_state, &sim->host, sim->now_us, &sim->plan);
	if (r < 0)
		return r;
	host_state_marks(&sim->config, sim->memory, &marks);
	sim->state = host_state_next(&marks, sim->state, sim->host.available_bytes);
	regret_tick(&sim->regret, sim->state, sim->host.available_bytes, obey(sim), SEC);
	return 0;
}
