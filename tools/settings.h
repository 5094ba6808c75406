/* SPDX-License-Identifier: Apache-2.0 */
/* --set KEY=VALUE: the policy's configuration by the names of memd.conf's section [policy]. */
#ifndef MEMD_TOOLS_SETTINGS_H
#define MEMD_TOOLS_SETTINGS_H

#include <stdbool.h>

#include "policy/policy.h"

/* false: no such key or value; said. */
bool settings_apply(struct pol_config *config, const char *assignment);

/* Do the values make sense together? false: no; said. */
bool settings_check(const struct pol_config *config);

#endif
