// SPDX-License-Identifier: Apache-2.0
/*
 * Named days on a dense host, for comparing laws. Promised memory is 1.5 to 2.5 times the host's;
 * every guest has a configured minimum of a quarter of what it was promised, because Proxmox and
 * squeezed do nothing without one.
 */
#include <errno.h>
#include <string.h>

#include "policy/parts.h"
#include "policy/simulate.h"

#define STEP_US (500 * MSEC) /* a day in seconds of ours */

static const struct sim_scenario scenarios[] = {
	{"idle",
	 "nearly everybody idle, a few at work",
	 10240,
	 800,
	 4096,
	 60,
	 240,
	 {{SIM_IDLE, SIM_SOUND, 16, 1280}, {SIM_STEADY, SIM_SOUND, 4, 1280}}},
	{"steady",
	 "constant work that just fits",
	 14336,
	 800,
	 4096,
	 60,
	 240,
	 {{SIM_STEADY, SIM_SOUND, 14, 1280}, {SIM_IDLE, SIM_SOUND, 6, 1280}}},
	{"office",
	 "desktops: all of them log in at nine",
	 16384,
	 800,
	 4096,
	 60,
	 240,
	 {{SIM_DESKTOP, SIM_SOUND, 20, 1280}}},
	{"database",
	 "bursts that take most of a guest for minutes",
	 12288,
	 800,
	 4096,
	 60,
	 240,
	 {{SIM_DATABASE, SIM_SOUND, 8, 2048}, {SIM_IDLE, SIM_SOUND, 12, 1024}}},
	{"cache",
	 "readers of files who fill all they have",
	 12288,
	 800,
	 4096,
	 60,
	 240,
	 {{SIM_CACHE, SIM_SOUND, 6, 2048},
	  {SIM_STEADY, SIM_SOUND, 8, 1024},
	  {SIM_IDLE, SIM_SOUND, 6, 1024}}},
	{"leak",
	 "services that grow for hours and restart",
	 12288,
	 800,
	 4096,
	 60,
	 240,
	 {{SIM_LEAKING, SIM_SOUND, 8, 1536}, {SIM_IDLE, SIM_SOUND, 12, 1024}}},
	{"batch",
	 "compile farms: most of a guest now and then",
	 10240,
	 800,
	 4096,
	 60,
	 240,
	 {{SIM_BATCH, SIM_SOUND, 12, 1536}, {SIM_IDLE, SIM_SOUND, 8, 1024}}},
	{"surge",
	 "one idle guest after another demands all it was promised",
	 8192,
	 800,
	 4096,
	 60,
	 240,
	 {{SIM_SURGE, SIM_SOUND, 12, 1536}}},
	{"stuck",
	 "balloons that do not move, among databases",
	 14336,
	 800,
	 4096,
	 60,
	 240,
	 {{SIM_STEADY, SIM_STUCK, 4, 1280},
	  {SIM_DATABASE, SIM_SOUND, 6, 1536},
	  {SIM_IDLE, SIM_SOUND, 10, 1280}}},
	{"liars",
	 "guests that lie, say nothing or have no driver, and still fit",
	 16384,
	 800,
	 4096,
	 60,
	 240,
	 {{SIM_STEADY, SIM_LIAR, 3, 1280},
	  {SIM_STEADY, SIM_SILENT, 2, 1280},
	  {SIM_STEADY, SIM_NO_DRIVER, 2, 1280},
	  {SIM_DATABASE, SIM_SOUND, 6, 1536},
	  {SIM_IDLE, SIM_SOUND, 7, 1280}}},
	{"hostile",
	 "numbers out of this world and grabbed memory, among compile jobs",
	 13312,
	 800,
	 4096,
	 60,
	 240,
	 {{SIM_IDLE, SIM_HOSTILE, 4, 1280},
	  {SIM_BATCH, SIM_SOUND, 6, 1536},
	  {SIM_IDLE, SIM_SOUND, 10, 1280}}},
	{"full",
	 "a bit of everything, twice as much as there is",
	 16384,
	 800,
	 4096,
	 60,
	 240,
	 {{SIM_DATABASE, SIM_SOUND, 4, 1536},
	  {SIM_BATCH, SIM_SOUND, 4, 1536},
	  {SIM_CACHE, SIM_SOUND, 4, 1536},
	  {SIM_STEADY, SIM_SOUND, 4, 1280},
	  {SIM_DESKTOP, SIM_SOUND, 4, 1280},
	  {SIM_IDLE, SIM_SOUND, 4, 1280}}},
};

const struct sim_scenario *sim_scenario_at(size_t i)
{
	return i < sizeof(scenarios) / sizeof(scenarios[0]) ? &scenarios[i] : NULL;
}

const struct sim_scenario *sim_scenario_find(const char *name)
{
	for (size_t i = 0; sim_scenario_at(i); i++)
		if (strcmp(scenarios[i].name, name) == 0)
			return &scenarios[i];
	return NULL;
}

size_t sim_scenario_guests(const struct sim_scenario *scenario)
{
	size_t n = 0;

	for (size_t k = 0; k < SIM_GROUPS; k++)
		n += scenario->groups[k].n;
	return n;
}

/* Guest i of n, by the groups' proportions. */
static struct sim_guest *add_guest(struct sim *sim, const struct sim_scenario *scenario, size_t i,
				   size_t n, uint64_t seed)
{
	size_t place = i * sim_scenario_guests(scenario) / n, k = 0;
	struct sim_guest *guest;

	while (k + 1 < SIM_GROUPS && place >= scenario->groups[k].n)
		place -= scenario->groups[k++].n;
	guest = sim_add(sim, scenario->groups[k].work, scenario->groups[k].flaw,
			scenario->groups[k].memory_mib * MIB,
			(seed + 1) * 0x9e3779b97f4a7c15ull + i * 0xd1342543de82ef95ull);
	if (!guest)
		return NULL;
	guest->min = guest->memory / 4;
	guest->own_swap = guest->memory / 4;
	guest->inflate_per_s = scenario->inflate_mib_per_s * MIB;
	return guest;
}

int sim_run(const struct sim_scenario *scenario, const struct law *law,
	    const struct pol_config *config, uint64_t seed, size_t n_guests, uint64_t seconds,
	    struct regret *ret_regret)
{
	size_t usual = sim_scenario_guests(scenario), n = n_guests ? n_guests : usual;
	struct pol_config quiet = *config;
	struct sim sim;
	int r;

	quiet.ksm_manage = false;
	r = sim_open(&sim, law, &quiet, n);
	if (r < 0)
		return r;
	sim.memory = mul_div(scenario->memory_mib * MIB, n, usual);
	sim.own = scenario->own_mib * MIB;
	sim.own = mul_div(sim.own, n, usual);
	sim.swap = mul_div(scenario->swap_mib * MIB, n, usual);
	sim.balloons_per_s = mul_div(scenario->balloons_mib_per_s * MIB, n, usual);
	sim.step_us = STEP_US;
	sim.day_us = min_u64(seconds * SEC, sim.day_us);
	for (size_t i = 0; i < n && r == 0; i++)
		if (!add_guest(&sim, scenario, i, n, seed))
			r = -ENOMEM;
	for (uint64_t s = 0; s < seconds && r == 0; s++)
		r = sim_tick(&sim);
	if (r == 0)
		*ret_regret = sim.regret;
	sim_close(&sim);
	return r;
}
