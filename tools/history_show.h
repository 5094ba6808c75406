/* SPDX-License-Identifier: Apache-2.0 */
/* The history as tables on the terminal and as JSON. */
#ifndef MEMD_TOOLS_HISTORY_SHOW_H
#define MEMD_TOOLS_HISTORY_SHOW_H

#include <json-c/json.h>

#include "tools/history.h"
#include "tools/memctl.h"

/* Add "trace" (where, from when to when, notes) and "history" (a row per bucket) to a document. */
void history_json(const struct history *history, const char *path, json_object *doc);

/* Host and guests over time. */
enum memctl_exit history_print(const struct memctl *ctl, const struct history *history,
			       const char *path);

#endif
