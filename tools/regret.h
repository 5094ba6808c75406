/* SPDX-License-Identifier: Apache-2.0 */
/* What laws cost, as JSON and as a table: for `memctl replay` and `memctl simulate`. */
#ifndef MEMD_TOOLS_REGRET_H
#define MEMD_TOOLS_REGRET_H

#include "policy/law.h"
#include "policy/regret.h"
#include "tools/memctl.h"

#define REGRET_LAWS_MAX 8

/* The laws that --policy named, in that order, all of them for "all"; n_laws 0: none was named. */
struct regret_laws {
	const struct law *laws[REGRET_LAWS_MAX];
	size_t n_laws;
};

/* Adds one by name. false: there is none of that name, or it was named before; said. */
bool regret_add_law(struct regret_laws *laws, const char *name);

/* The figures of one law; `scenario` NULL: of a trace. */
json_object *regret_json(const char *scenario, const char *policy, const struct regret *regret);

/* A list of regret_json() as a table, with what the columns mean. */
enum memctl_exit regret_print(const struct memctl *ctl, json_object *list);

/* A number as text from low to high. false: it is none; said with the option's name. */
bool regret_number(const char *option, const char *text, uint64_t low, uint64_t high,
		   uint64_t *ret_value);

#endif
