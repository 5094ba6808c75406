/* SPDX-License-Identifier: Apache-2.0 */
/* One decision of memd's as sentences: for explain, of what was done, and for plan, of what would
 * be. */
#ifndef MEMD_TOOLS_DECISION_H
#define MEMD_TOOLS_DECISION_H

#include <json-c/json.h>
#include <stdbool.h>

#include "tools/memctl.h"

/* planned: it is only thought of, so that nothing was measured. */
void decision_print(const struct memctl *ctl, json_object *decision, bool planned);

#endif
