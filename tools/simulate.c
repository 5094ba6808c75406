// SPDX-License-Identifier: Apache-2.0
/* memctl simulate: policies on named, seeded days of a simulated host. Needs no daemon. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "policy/simulate.h"
#include "tools/regret.h"
#include "tools/settings.h"

struct setup {
	const struct sim_scenario *scenario; /* NULL: all */
	struct regret_laws laws;
	struct pol_config config;
	uint64_t seed, guests, hours;
};

static enum memctl_exit list_scenarios(const struct memctl *ctl)
{
	AUTO_JSON json_object *document = json_object_new_object();
	json_object *list = json_object_new_array();

	json_add_i64(document, "schema", 1);
	json_object_object_add(document, "scenarios", list);
	for (size_t i = 0; sim_scenario_at(i); i++) {
		const struct sim_scenario *s = sim_scenario_at(i);
		json_object *one = json_object_new_object();

		json_add_str(one, "name", s->name);
		json_add_str(one, "text", s->text);
		json_add_u64(one, "guests", sim_scenario_guests(s));
		json_add_u64(one, "memory_bytes", s->memory_mib << 20);
		json_object_array_add(list, one);
		if (!ctl->json)
			printf("%-9s %s\n", s->name, s->text);
	}
	if (ctl->json)
		memctl_print_json(document);
	return MEMCTL_OK;
}

static bool read_options(const struct memctl *ctl, struct setup *setup)
{
	const char *scenario = NULL;

	*setup = (struct setup){.seed = 1, .hours = 24};
	pol_config_default(&setup->config);
	for (size_t i = 0; i < ctl->n_options; i++) {
		const char *name = ctl->options[i].name, *value = ctl->options[i].value;
		bool good = true;

		if (strcmp(name, "policy") == 0)
			good = regret_add_law(&setup->laws, value);
		else if (strcmp(name, "set") == 0)
			good = settings_apply(&setup->config, value);
		else if (strcmp(name, "seed") == 0)
			good = regret_number(name, value, 0, UINT64_MAX, &setup->seed);
		else if (strcmp(name, "guests") == 0)
			good = regret_number(name, value, 1, 10000, &setup->guests);
		else if (strcmp(name, "hours") == 0)
			good = regret_number(name, value, 1, 24 * 366, &setup->hours);
		else
			scenario = value;
		if (!good)
			return false;
	}
	if (scenario && strcmp(scenario, "all") != 0) {
		setup->scenario = sim_scenario_find(scenario);
		if (!setup->scenario) {
			log_err("--scenario %s: there is none; `memctl simulate list` lists them",
				scenario);
			return false;
		}
	}
	if (!setup->laws.n_laws)
		regret_add_law(&setup->laws, "all");
	return settings_check(&setup->config);
}

static int run_one(const struct setup *setup, const struct sim_scenario *scenario,
		   json_object *list)
{
	for (size_t k = 0; k < setup->laws.n_laws; k++) {
		const struct law *law = setup->laws.laws[k];
		struct regret regret;
		int r = sim_run(scenario, law, &setup->config, setup->seed, setup->guests,
				setup->hours * 3600, &regret);

		if (r < 0) {
			log_err("%s under %s: %s", scenario->name, law->name, strerror(-r));
			return r;
		}
		json_object_array_add(list, regret_json(scenario->name, law->name, &regret));
	}
	return 0;
}

enum memctl_exit memctl_simulate(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_JSON json_object *document = json_object_new_object();
	json_object *list = json_object_new_array();
	struct setup setup;

	json_add_i64(document, "schema", 1);
	json_object_object_add(document, "policies", list);
	if (argc == 2 && strcmp(argv[1], "list") == 0)
		return list_scenarios(ctl);
	if (argc > 1) {
		log_err("simulate takes options, or `list`; got '%s'", argv[1]);
		return MEMCTL_USAGE;
	}
	if (!read_options(ctl, &setup))
		return MEMCTL_USAGE;
	json_add_u64(document, "seed", setup.seed);
	json_add_u64(document, "time_us", setup.hours * 3600 * 1000000);
	if (setup.scenario) {
		if (run_one(&setup, setup.scenario, list) < 0)
			return MEMCTL_FAILED;
	} else {
		for (size_t i = 0; sim_scenario_at(i); i++)
			if (run_one(&setup, sim_scenario_at(i), list) < 0)
				return MEMCTL_FAILED;
	}
	if (!ctl->json)
		return regret_print(ctl, list);
	memctl_print_json(document);
	return MEMCTL_OK;
}
