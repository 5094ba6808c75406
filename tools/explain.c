// SPDX-License-Identifier: Apache-2.0
/* memctl explain: the last decisions as sentences, newest last. */
#include <stdio.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "tools/decision.h"
#include "tools/memctl.h"

enum memctl_exit memctl_explain(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_JSON json_object *args = json_object_new_object();
	AUTO_JSON json_object *answer = NULL;
	json_object *decisions;
	enum memctl_exit status;

	if (argc > 2) {
		log_err("explain takes one guest, got also '%s'", argv[2]);
		return MEMCTL_USAGE;
	}
	if (argc == 2)
		json_add_str(args, "guest", argv[1]);
	if (ctl->limit)
		json_add_u64(args, "limit", ctl->limit);
	status = memctl_query(ctl, "query-explain", TAKE_PTR(args), &answer);
	if (!answer)
		return status;
	decisions = json_get_array(answer, "decisions");
	if (!decisions || json_object_array_length(decisions) == 0)
		puts("No decisions yet: memd has seen no reason to change anything.");
	for (size_t i = 0; decisions && i < json_object_array_length(decisions); i++)
		decision_print(ctl, json_object_array_get_idx(decisions, i), false);
	return MEMCTL_OK;
}
