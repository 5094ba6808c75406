// SPDX-License-Identifier: Apache-2.0
/* What laws cost, as JSON and as a table; see regret.h. */
#include "tools/regret.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/size.h"
#include "tools/table.h"

static void say_laws(const char *name)
{
	char list[128] = "";
	size_t at = 0;

	for (size_t i = 0; law_at(i) && at < sizeof(list); i++)
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s, ", law_at(i)->name);
	log_err("--policy %s: there are %sand all", name, list);
}

bool regret_add_law(struct regret_laws *laws, const char *name)
{
	const struct law *law = law_find(name);

	if (strcmp(name, "all") == 0) {
		laws->n_laws = 0;
		for (size_t i = 0; law_at(i) && i < REGRET_LAWS_MAX; i++)
			laws->laws[laws->n_laws++] = law_at(i);
		return true;
	}
	if (!law) {
		say_laws(name);
		return false;
	}
	for (size_t i = 0; i < laws->n_laws; i++)
		if (laws->laws[i] == law)
			return true;
	laws->laws[laws->n_laws++] = law;
	return true;
}

bool regret_number(const char *option, const char *text, uint64_t low, uint64_t high,
		   uint64_t *ret_value)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value < low || value > high) {
		log_err("--%s %s: expected a number from %" PRIu64 " to %" PRIu64, option, text,
			low, high);
		return false;
	}
	*ret_value = value;
	return true;
}

json_object *regret_json(const char *scenario, const char *policy, const struct regret *regret)
{
	json_object *o = json_object_new_object(), *states = json_object_new_object();
	uint64_t seconds = regret->time_us / 1000000;
	uint64_t least = regret->ticks ? regret->least_available_bytes : 0;

	if (scenario)
		json_add_str(o, "scenario", scenario);
	json_add_str(o, "policy", policy);
	json_add_u64(o, "ticks", regret->ticks);
	json_add_u64(o, "time_us", regret->time_us);
	json_add_u64(o, "decisions", regret->decisions);
	json_add_u64(o, "taken_bytes", regret->taken_bytes);
	json_add_u64(o, "given_bytes", regret->given_bytes);
	json_add_u64(o, "vain_bytes", regret->vain_bytes);
	json_add_u64(o, "short_byte_seconds", regret->short_byte_s);
	json_add_u64(o, "short_us", regret->short_least_us);
	json_add_u64(o, "refault_byte_seconds", regret->refault_byte_s);
	json_add_u64(o, "stall_us", regret->stall_us);
	json_add_u64(o, "guest_ooms", regret->guest_ooms);
	json_add_u64(o, "host_ooms", regret->host_ooms);
	json_add_u64(o, "idle_bytes", seconds ? regret->idle_byte_s / seconds : 0);
	json_add_u64(o, "swapped_bytes", seconds ? regret->swapped_byte_s / seconds : 0);
	json_add_u64(o, "swap_out_bytes", regret->swap_out_bytes);
	json_add_u64(o, "available_bytes", seconds ? regret->available_byte_s / seconds : 0);
	json_add_u64(o, "least_available_bytes", least);
	json_add_u64(o, "low_ticks", regret->low_ticks);
	json_add_u64(o, "low_ticks_in_a_row", regret->low_run_most);
	for (enum pol_state s = POL_STATE_HIGH; s <= POL_STATE_LOW; s++)
		json_add_u64(states, pol_state_name(s), regret->state_us[s]);
	json_object_object_add(o, "state_us", states);
	return o;
}

/* Byte-seconds and microseconds that a person can read. */
static void set_derived(const struct memctl *ctl, struct table *table, struct libscols_line *row,
			unsigned int column, json_object *o, const char *key)
{
	char text[48], size[SIZE_TEXT_MAX];
	uint64_t value = 0;

	json_get_u64(o, key, &value);
	if (strstr(key, "_us"))
		snprintf(text, sizeof(text), "%" PRIu64 ".%" PRIu64 " s", value / 1000000,
			 value / 100000 % 10);
	else
		snprintf(text, sizeof(text), "%s s",
			 table_size(value, ctl->bytes, size, sizeof(size)));
	table_set(table, row, column, text);
}

static void set_states(struct table *table, struct libscols_line *row, unsigned int column,
		       json_object *o)
{
	json_object *states = json_get_obj(o, "state_us");
	uint64_t total = 0, part;
	char text[64];
	unsigned int per_mille[POL_STATE_LOW + 1] = {0};

	json_get_u64(o, "time_us", &total);
	for (enum pol_state s = POL_STATE_SOFT; s <= POL_STATE_LOW; s++)
		if (total && json_get_u64(states, pol_state_name(s), &part))
			per_mille[s] = (unsigned int)(part * 1000 / total);
	snprintf(text, sizeof(text), "%u.%u/%u.%u/%u.%u", per_mille[POL_STATE_SOFT] / 10,
		 per_mille[POL_STATE_SOFT] % 10, per_mille[POL_STATE_HARD] / 10,
		 per_mille[POL_STATE_HARD] % 10, per_mille[POL_STATE_LOW] / 10,
		 per_mille[POL_STATE_LOW] % 10);
	table_set(table, row, column, text);
}

enum memctl_exit regret_print(const struct memctl *ctl, json_object *list)
{
	enum { SCENARIO, POLICY, SHORT = 2, STALLS = 5, STATES = 14 };
	static const struct table_column columns[] = {
		{"SCENARIO", TABLE_TEXT, "scenario"},
		{"POLICY", TABLE_TEXT, "policy"},
		{"SHORT", TABLE_NUMBER, NULL},
		{"OOM", TABLE_NUMBER, "guest_ooms"},
		{"KILLED", TABLE_NUMBER, "host_ooms"},
		{"STALLS", TABLE_NUMBER, NULL},
		{"IDLE", TABLE_BYTES, "idle_bytes"},
		{"SWAPPED", TABLE_BYTES, "swapped_bytes"},
		{"FREE", TABLE_BYTES, "available_bytes"},
		{"LEAST", TABLE_BYTES, "least_available_bytes"},
		{"ORDERS", TABLE_NUMBER, "decisions"},
		{"TAKEN", TABLE_BYTES, "taken_bytes"},
		{"GIVEN", TABLE_BYTES, "given_bytes"},
		{"VAIN", TABLE_BYTES, "vain_bytes"},
		{"SOFT/HARD/LOW", TABLE_NUMBER, NULL},
		{0},
	};
	json_object *scenario;
	bool simulated = json_object_array_length(list) &&
			 json_object_object_get_ex(json_object_array_get_idx(list, 0), "scenario",
						   &scenario);
	unsigned int skip = simulated ? 0 : 1;
	struct table *table = table_new(columns + skip, ctl->bytes);

	if (!table)
		return MEMCTL_FAILED;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *o = json_object_array_get_idx(list, i);
		struct libscols_line *row = table_row(table, o);

		set_derived(ctl, table, row, SHORT - skip, o, "short_byte_seconds");
		set_derived(ctl, table, row, STALLS - skip, o, "stall_us");
		set_states(table, row, STATES - skip, o);
	}
	table_print(table);
	table_free(table);
	puts("SHORT: memory guests needed and had not, times how long. OOM: kills in guests; "
	     "KILLED: "
	     "guests killed by the host.\n"
	     "IDLE, SWAPPED, FREE: on average; IDLE is host memory behind what is free in guests. "
	     "VAIN: taken and given\n"
	     "back within a minute. SOFT/HARD/LOW: per cent of the time in these states of the "
	     "host.");
	return MEMCTL_OK;
}
