// SPDX-License-Identifier: Apache-2.0
/* The table of configuration keys, and what is done key by key: defaults, printing, setting. */
#include "memd/config_key.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/size.h"
#include "policy/pool.h"

static const struct config_word level_words[] = {
	{"err", LOG_LEVEL_ERR},
	{"warn", LOG_LEVEL_WARN},
	{"info", LOG_LEVEL_INFO},
	{"debug", LOG_LEVEL_DEBUG},
	{0},
};
static const struct config_word stop_words[] = {
	{"keep", CONFIG_STOP_KEEP},
	{"deflate", CONFIG_STOP_DEFLATE},
	{0},
};

static const struct config_word idle_words[] = {
	{"auto", CONFIG_IDLE_AUTO},
	{"mglru", CONFIG_IDLE_MGLRU},
	{"off", CONFIG_IDLE_OFF},
	{0},
};

static const struct config_word unit_words[] = {
	{"chunk", CONFIG_MERGE_CHUNK},
	{"guest", CONFIG_MERGE_GUEST},
	{0},
};

static const struct config_word across_words[] = {
	{"auto", POL_ACROSS_AUTO},
	{"yes", POL_ACROSS_YES},
	{"no", POL_ACROSS_NO},
	{"keep", POL_ACROSS_KEEP},
	{0},
};

static const struct config_word pool_words[] = {
	{"off", POL_POOL_OFF},
	{"watch", POL_POOL_WATCH},
	{"manage", POL_POOL_MANAGE},
	{0},
};

static const struct config_word cgroup_words[] = {
	{"off", CONFIG_CGROUPS_OFF},
	{"auto", CONFIG_CGROUPS_AUTO},
	{0},
};

#define AT(member)  offsetof(struct config, member)
#define POL(member) offsetof(struct config, policy.member)
#define ALL	    1000000 /* 100 % in ppm */
#define HOUR	    (3600 * USEC_PER_SEC)

static const struct config_key keys[] = {
	{"memd", "tick", CONFIG_DURATION, AT(tick_us), 100000, 10 * USEC_PER_SEC, NULL, "1s"},
	{"memd", "runtime-dir", CONFIG_PATH, AT(runtime_dir), 0, 0, NULL, "/run/memd"},
	{"memd", "state-dir", CONFIG_PATH, AT(state_dir), 0, 0, NULL, "/var/lib/memd"},
	{"memd", "socket", CONFIG_PATH, AT(socket), 0, 0, NULL, NULL},
	{"memd", "guests", CONFIG_GLOBS, AT(guest_globs), 0, 0, NULL, NULL},
	{"memd", "guest-timeout", CONFIG_DURATION, AT(guest_timeout_us), 10000, 60 * USEC_PER_SEC,
	 NULL, "2s"},
	{"memd", "log-level", CONFIG_WORD, AT(log_level), 0, 0, level_words, "info"},
	{"memd", "trace", CONFIG_PATH_OFF, AT(trace), 0, 0, NULL, NULL},
	{"memd", "trace-size", CONFIG_SIZE, AT(trace_bytes), MIB, 1024 * GIB, NULL, "64M"},
	{"memd", "on-stop", CONFIG_WORD, AT(on_stop), 0, 0, stop_words, "keep"},
	{"memd", "merge-unit", CONFIG_WORD, AT(merge_unit), 0, 0, unit_words, "guest"},
	{"memd", "huge-pages", CONFIG_WORD, AT(huge_pages), 0, 0, pool_words, "watch"},
	{"memd", "huge-repair", CONFIG_SWITCH, AT(huge_repair), 0, 0, NULL, "on"},
	{"memd", "huge-rate", CONFIG_SIZE, AT(huge_bytes_per_s), MIB, 0, NULL, "64M"},
	{"memd", "guest-cgroups", CONFIG_WORD, AT(guest_cgroups), 0, 0, cgroup_words, "off"},
	{"memd", "cgroup-limits", CONFIG_SWITCH, AT(cgroup_limits), 0, 0, NULL, "on"},
	{"memd", "idle-tracking", CONFIG_WORD, AT(idle_tracking), 0, 0, idle_words, "auto"},
	{"policy", "high", CONFIG_PERCENT, POL(high_ppm), 0, ALL, NULL, NULL},
	{"policy", "soft", CONFIG_PERCENT, POL(soft_ppm), 0, ALL, NULL, NULL},
	{"policy", "hard", CONFIG_PERCENT, POL(hard_ppm), 0, ALL, NULL, NULL},
	{"policy", "low", CONFIG_PERCENT, POL(low_ppm), 0, ALL, NULL, NULL},
	{"policy", "high-min", CONFIG_SIZE, POL(high_min_bytes), 0, 0, NULL, NULL},
	{"policy", "high-max", CONFIG_SIZE, POL(high_max_bytes), 0, 0, NULL, NULL},
	{"policy", "hysteresis", CONFIG_PERCENT, POL(hysteresis_ppm), 0, ALL, NULL, NULL},
	{"policy", "guest-reserve", CONFIG_PERCENT, POL(guest_reserve_ppm), 0, ALL, NULL, NULL},
	{"policy", "guest-reserve-min", CONFIG_SIZE, POL(guest_reserve_bytes), 0, 0, NULL, NULL},
	{"policy", "guest-reserve-max", CONFIG_SIZE, POL(guest_reserve_max_bytes), 0, 0, NULL,
	 NULL},
	{"policy", "guest-min", CONFIG_SIZE, POL(guest_min_bytes), 0, 0, NULL, NULL},
	{"policy", "step", CONFIG_SIZE, POL(step_bytes), MIB, 0, NULL, NULL},
	{"policy", "stats-max-age", CONFIG_DURATION, POL(stats_max_age_us), USEC_PER_SEC, HOUR,
	 NULL, NULL},
	{"policy", "trouble-hold", CONFIG_DURATION, POL(trouble_hold_us), 0, 24 * HOUR, NULL, NULL},
	{"policy", "stuck-after", CONFIG_DURATION, POL(stuck_after_us), USEC_PER_SEC, HOUR, NULL,
	 NULL},
	{"policy", "idle-tax", CONFIG_PERCENT, POL(idle_tax_ppm), 0, ALL, NULL, NULL},
	{"policy", "ksm-cpu", CONFIG_PERCENT, POL(ksm_cpu_ppm), 0, ALL, NULL, NULL},
	{"policy", "ksm-trial", CONFIG_DURATION, POL(ksm_trial_us), 10 * USEC_PER_SEC, 24 * HOUR,
	 NULL, NULL},
	{"policy", "ksm", CONFIG_SWITCH, POL(ksm_manage), 0, 0, NULL, NULL},
	{"policy", "ksm-anchor", CONFIG_SWITCH, POL(ksm_anchor), 0, 0, NULL, NULL},
	{"policy", "huge-split", CONFIG_SWITCH, POL(huge_split), 0, 0, NULL, NULL},
	{"policy", "balloon", CONFIG_SWITCH, POL(balloon_manage), 0, 0, NULL, NULL},
	{"policy", "reclaim", CONFIG_SWITCH, POL(reclaim_manage), 0, 0, NULL, NULL},
	{"policy", "reclaim-blind", CONFIG_SWITCH, POL(reclaim_blind), 0, 0, NULL, NULL},
	{"policy", "numa", CONFIG_SWITCH, POL(numa_manage), 0, 0, NULL, NULL},
	{"policy", "numa-rate", CONFIG_SIZE, POL(numa_bytes_per_s), MIB, 0, NULL, NULL},
	{"policy", "node-reserve", CONFIG_PERCENT, POL(node_reserve_ppm), 0, ALL, NULL, NULL},
	{"policy", "merge-across-nodes", CONFIG_WORD, POL(merge_across), 0, 0, across_words, NULL},
};
_Static_assert(ARRAY_SIZE(keys) <= CONFIG_KEYS_MAX, "struct config has too few origins");

#define GUEST(member) offsetof(struct config_guest, member)

static const struct config_key guest_keys[] = {
	{"guest", "shares", CONFIG_NUMBER, GUEST(shares), 1, 1000000, NULL, "1000"},
	{"guest", "min", CONFIG_SIZE, GUEST(min_bytes), 0, 0, NULL, NULL},
	{"guest", "max", CONFIG_SIZE, GUEST(max_bytes), MIB, 0, NULL, NULL},
	{"guest", "domain", CONFIG_LABEL, GUEST(domain), 0, 0, NULL, ""},
	{"guest", "swap-max", CONFIG_SIZE, GUEST(swap_max_bytes), 0, 0, NULL, NULL},
	{"guest", "nodes", CONFIG_LABEL, GUEST(nodes), 0, 0, NULL, ""},
	{"guest", "manage", CONFIG_SWITCH, GUEST(manage), 0, 0, NULL, "yes"},
};
/* ---- one of them ---- */

static const struct config_key *find_key(const struct config_key *table, size_t n,
					 const char *section, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(table[i].section, section) == 0 && strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

const struct config_key *config_key_find(const char *section, const char *name)
{
	const struct config_key *key = find_key(keys, ARRAY_SIZE(keys), section, name);

	return key ? key : find_key(guest_keys, ARRAY_SIZE(guest_keys), section, name);
}

char **config_key_origin(struct config *config, const struct config_key *key)
{
	return key >= keys && key < keys + ARRAY_SIZE(keys) ? &config->origin[key - keys] : NULL;
}

int config_set_policy(struct pol_config *policy, const char *name, const char *value, char *why,
		      size_t n)
{
	const struct config_key *key = config_key_find("policy", name);
	size_t at = 0;

	if (key)
		return config_value_parse(key->type, key->words, key->min, key->max, value,
					  (char *)policy + key->offset - AT(policy), why, n);
	at += (size_t)snprintf(why, n, "is no key of [policy]; there are");
	for (size_t i = 0; i < ARRAY_SIZE(keys) && at < n; i++)
		if (strcmp(keys[i].section, "policy") == 0)
			at += (size_t)snprintf(why + at, n - at, " %s", keys[i].name);
	return -EINVAL;
}

/* ---- all of them ---- */

void config_key_defaults(struct config *config)
{
	char why[128];

	pol_config_default(&config->policy);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].initial)
			config_value_parse(keys[i].type, keys[i].words, 0, 0, keys[i].initial,
					   (char *)config + keys[i].offset, why, sizeof(why));
}

void config_print(const struct config *config, FILE *out)
{
	const char *section = "";
	char buf[CONFIG_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(section, keys[i].section) != 0)
			fprintf(out, "%s[%s]\n", *section ? "\n" : "", keys[i].section);
		section = keys[i].section;
		config_value_format(keys[i].type, keys[i].words,
				    (const char *)config + keys[i].offset, buf, sizeof(buf));
		fprintf(out, "%s=%s\t# %s\n", keys[i].name, buf,
			config->origin[i] ? config->origin[i] : "default");
	}
	for (size_t g = 0; g < config->n_guests; g++) {
		fprintf(out, "\n[guest %s]\n", config->guests[g].name);
		for (size_t i = 0; i < ARRAY_SIZE(guest_keys); i++) {
			config_value_format(guest_keys[i].type, NULL,
					    (const char *)&config->guests[g] + guest_keys[i].offset,
					    buf, sizeof(buf));
			fprintf(out, "%s=%s\n", guest_keys[i].name, buf);
		}
	}
}

bool config_key_info(size_t i, const char **ret_section, const char **ret_name, char *buf, size_t n)
{
	const struct config_source nowhere = {.usr_dir = "/nonexistent", .etc_dir = "/nonexistent"};
	const struct config_key *key;
	struct config *config = NULL;

	if (i >= ARRAY_SIZE(keys) + ARRAY_SIZE(guest_keys))
		return false;
	key = i < ARRAY_SIZE(keys) ? &keys[i] : &guest_keys[i - ARRAY_SIZE(keys)];
	*ret_section = i < ARRAY_SIZE(keys) ? key->section : "guest NAME";
	*ret_name = key->name;
	snprintf(buf, n, "%s", key->initial ? key->initial : "");
	if (i < ARRAY_SIZE(keys) && config_load(&nowhere, NULL, NULL, &config) == 0) {
		config_value_format(key->type, key->words, (const char *)config + key->offset, buf,
				    n);
		config_free(config);
	}
	return true;
}
