/* SPDX-License-Identifier: Apache-2.0 */
/* A recorded trace under the policy that made it, and under others. */
#ifndef MEMD_TOOLS_REPLAY_H
#define MEMD_TOOLS_REPLAY_H

#include "tools/regret.h"

#define REPLAY_SETS_MAX 32

struct replay_options {
	const char *path;
	struct regret_laws laws;
	const char *sets[REPLAY_SETS_MAX]; /* KEY=VALUE */
	size_t n_sets;
	uint64_t min_percent; /* a minimum for guests that have none configured, 0: none */
};

/*
 * Reads the trace, and PATH.1 before it when there is one; what cannot be read ends it with a note.
 * Decides every tick anew as memd would, and runs the laws. 0: *ret_document is the caller's;
 * -errno of opening PATH; -EINVAL: a setting makes no sense (said); -ENODATA: not one tick;
 * -ENOMEM.
 */
int replay_trace(const struct replay_options *options, json_object **ret_document);

#endif
