/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places where a rule of the policy can be switched off, to see that a test notices. In a plain
 * build FAULT() is false and costs nothing. With POL_FAULTS (`make MUTANTS=1`, `make mutation`) it
 * is true for the one fault that the environment variable POL_FAULT names.
 *
 * One name for each rule, in one place or, where the rule takes them all, in several.
 */
#ifndef MEMD_POLICY_FAULT_H
#define MEMD_POLICY_FAULT_H

#ifdef POL_FAULTS
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool fault_is(const char *name)
{
	const char *chosen = getenv("POL_FAULT");

	return chosen && strcmp(chosen, name) == 0;
}
/* Each place asks once: some are passed a million times in a test. */
#define FAULT(name)                              \
	({                                       \
		static int is_on = -1;           \
		if (is_on < 0)                   \
			is_on = fault_is(#name); \
		is_on != 0;                      \
	})
#else
#define FAULT(name) false
#endif

#endif
