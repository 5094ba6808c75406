// SPDX-License-Identifier: Apache-2.0
/*
 * What simulated guests want, as a function of time and seed alone: a law that lets them down does
 * not get an easier day for it.
 */
#include "policy/parts.h"
#include "policy/simulate.h"

#define MINUTE	 (60 * SEC)
#define TURN_US	 (120 * SEC) /* SIM_SURGE: of one guest */
#define OPENS_AT 9	     /* of 24 */
#define SHUTS_AT 17

/* splitmix64 */
static uint64_t any(struct sim_guest *guest)
{
	uint64_t z = guest->rng += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint64_t between(struct sim_guest *guest, uint64_t low, uint64_t high)
{
	return low + any(guest) % (high - low + 1);
}

/* A percentage of its memory from low to high. */
static uint64_t percent(struct sim_guest *guest, uint64_t low, uint64_t high)
{
	return mul_div(guest->memory, between(guest, 10 * low, 10 * high), 1000);
}

static void want(struct sim_guest *guest, uint64_t need, uint64_t mib_per_s)
{
	/* What its own kernel keeps cannot be used by anybody. */
	guest->need = min_u64(need, sub_sat(guest->memory, 2 * SIM_KEEP_BYTES));
	guest->per_s = mib_per_s * MIB;
}

static void desktop(const struct sim *sim, struct sim_guest *guest)
{
	uint64_t hour = sim->day_us / 24, day = (sim->now_us - sim->start_us) % sim->day_us;
	uint64_t opens = OPENS_AT * hour, shuts = SHUTS_AT * hour, wait;

	if (day < opens || day >= shuts) {
		want(guest, percent(guest, 10, 14), 50);
		wait = day < opens ? opens - day : sim->day_us - day + opens;
		/* Not everybody on the minute, but nearly. */
		guest->next_us = sim->now_us + wait + between(guest, 0, hour / 4);
		return;
	}
	want(guest, percent(guest, 30, 65), between(guest, 40, 150));
	guest->next_us = sim->now_us + between(guest, hour / 12, hour / 2);
	guest->next_us = min_u64(guest->next_us, sim->now_us + shuts - day + 1);
}

static void leak(const struct sim *sim, struct sim_guest *guest)
{
	uint64_t span = between(guest, sim->day_us / 8, sim->day_us / 3);
	uint64_t top = mul_div(guest->memory, 80, 100);

	/* The service restarts, then leaks again. */
	guest->want = min_u64(guest->want, guest->base);
	guest->need = top;
	guest->per_s = mul_div(top - guest->base, SEC, span);
	guest->next_us = sim->now_us + span;
}

static void surge(const struct sim *sim, struct sim_guest *guest)
{
	uint64_t n = sim->n_guests, index = (uint64_t)(guest - sim->guests);
	uint64_t since = sim->now_us - sim->start_us, turn = since / TURN_US;

	if (turn % n == index)
		want(guest, mul_div(guest->memory, 88, 100), between(guest, 100, 200));
	else
		want(guest, guest->base, 100);
	guest->next_us = sim->start_us + (turn + 1) * TURN_US;
}

static void script(const struct sim *sim, struct sim_guest *guest)
{
	while (guest->phase < SIM_STEPS && guest->steps[guest->phase].at_us &&
	       guest->steps[guest->phase].at_us <= sim->now_us) {
		guest->need = guest->steps[guest->phase].need_bytes;
		guest->per_s = guest->steps[guest->phase].per_s;
		guest->phase++;
	}
}

void sim_work(const struct sim *sim, struct sim_guest *guest)
{
	bool busy;

	if (guest->work == SIM_SCRIPT) {
		script(sim, guest);
		return;
	}
	if (sim->now_us < guest->next_us)
		return;
	busy = guest->phase++ % 2;
	switch (guest->work) {
	case SIM_IDLE:
		want(guest, percent(guest, 11, 16), 20);
		guest->next_us = sim->now_us + between(guest, 5 * MINUTE, 20 * MINUTE);
		break;
	case SIM_STEADY:
		want(guest, percent(guest, 45, 58), 20);
		guest->next_us = sim->now_us + between(guest, MINUTE, 5 * MINUTE);
		break;
	case SIM_DATABASE:
		if (busy)
			want(guest, percent(guest, 60, 88), between(guest, 50, 200));
		else
			want(guest, percent(guest, 25, 33), 50);
		guest->next_us = sim->now_us + (busy ? between(guest, MINUTE, 10 * MINUTE)
						     : between(guest, 5 * MINUTE, 40 * MINUTE));
		break;
	case SIM_CACHE:
		want(guest, percent(guest, 15, 24), 20);
		guest->next_us = sim->now_us + between(guest, 2 * MINUTE, 10 * MINUTE);
		break;
	case SIM_LEAKING:
		leak(sim, guest);
		break;
	case SIM_DESKTOP:
		desktop(sim, guest);
		break;
	case SIM_BATCH:
		if (busy)
			want(guest, percent(guest, 65, 85), between(guest, 80, 250));
		else
			want(guest, percent(guest, 10, 15), 50);
		guest->next_us = sim->now_us + (busy ? between(guest, 3 * MINUTE, 10 * MINUTE)
						     : between(guest, 20 * MINUTE, 60 * MINUTE));
		break;
	case SIM_SURGE:
		surge(sim, guest);
		break;
	case SIM_SCRIPT:
	case SIM_WORKS:
		break;
	}
}

void sim_work_begin(const struct sim *sim, struct sim_guest *guest)
{
	uint64_t memory = guest->memory;

	(void)sim;
	if (guest->work == SIM_SCRIPT)
		return;
	guest->base = guest->work == SIM_STEADY	    ? mul_div(memory, 45, 100)
		      : guest->work == SIM_DATABASE ? mul_div(memory, 25, 100)
						    : mul_div(memory, 12, 100);
	guest->used = guest->want = guest->need = guest->base;
	guest->cache = percent(guest, 4, 8);
	guest->want_cache = guest->cache + percent(guest, 8, 18);
	guest->read_per_s = between(guest, MIB / 4, 2 * MIB);
	/* Of what is free now it has used a little before. */
	guest->touched = percent(guest, 1, 4);
	if (guest->work == SIM_CACHE) {
		guest->want_cache = memory;
		guest->hot = percent(guest, 18, 30);
		guest->read_per_s = between(guest, 10, 40) * MIB;
	} else if (guest->work == SIM_DATABASE || guest->work == SIM_BATCH) {
		guest->hot = percent(guest, 3, 6);
		guest->want_cache = percent(guest, 30, 50);
		guest->read_per_s = between(guest, 2, 20) * MIB;
	}
	if (guest->work == SIM_DATABASE || guest->work == SIM_BATCH)
		guest->next_us = sim->now_us + between(guest, 0, 30 * MINUTE);
}
