// SPDX-License-Identifier: Apache-2.0
/* --set KEY=VALUE; see settings.h. */
#include "tools/settings.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "memd/config.h"

bool settings_apply(struct pol_config *config, const char *assignment)
{
	const char *equals = strchr(assignment, '=');
	char name[64], why[512];

	if (!equals || equals == assignment || (size_t)(equals - assignment) >= sizeof(name)) {
		log_err("--set %s: expected KEY=VALUE with a key of [policy] in memd.conf",
			assignment);
		return false;
	}
	snprintf(name, sizeof(name), "%.*s", (int)(equals - assignment), assignment);
	if (config_set_policy(config, name, equals + 1, why, sizeof(why)) == 0)
		return true;
	/* A value is quoted, a key stands for itself. */
	if (strncmp(why, "is no key", 9) == 0)
		log_err("--set %s: '%s' %s", assignment, name, why);
	else
		log_err("--set %s: '%s' %s", assignment, equals + 1, why);
	return false;
}

bool settings_check(const struct pol_config *config)
{
	const char *why = NULL;

	if (pol_config_check(config, &why) == 0)
		return true;
	log_err("--set: %s", why ? why : "the values make no sense together");
	return false;
}
