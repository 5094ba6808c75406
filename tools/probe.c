// SPDX-License-Identifier: Apache-2.0
/*
 * memctl probe: what the host offers. It is the first thing asked on a new host, so it works
 * without the daemon too: it then looks itself, with memd's own probe.
 */
#include "memd/probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "tools/memctl.h"
#include "tools/table.h"

static void show(const struct memctl *ctl, json_object *answer)
{
	static const struct table_column columns[] = {
		{"WHAT", TABLE_TEXT, "key"},
		{"HERE", TABLE_TEXT, "value"},
		{"WHY", TABLE_WRAP, "reason"},
		{0},
	};
	json_object *facts = json_get_array(answer, "facts");
	struct table *table = table_new(columns, ctl->bytes);

	if (!table)
		return;
	for (size_t i = 0; facts && i < json_object_array_length(facts); i++) {
		json_object *fact = json_object_array_get_idx(facts, i);
		struct libscols_line *row = table_row(table, fact);
		json_object *value = NULL;

		if (!json_object_object_get_ex(fact, "value", &value) || !value)
			table_set(table, row, 1, "absent");
		if (!json_get_str(fact, "reason"))
			table_set(table, row, 2,
				  json_get_str(fact, "detail") ? json_get_str(fact, "detail") : "");
	}
	table_print(table);
	table_free(table);
}

enum memctl_exit memctl_probe(const struct memctl *ctl, int argc, char **argv)
{
	AUTO_JSON json_object *answer = NULL;
	enum memctl_exit status;
	int r;

	if (!memctl_no_arguments(argc, argv))
		return MEMCTL_USAGE;
	if (memctl_daemon_is_there(ctl)) {
		status = memctl_query(ctl, "query-probe", NULL, &answer);
		if (status != MEMCTL_OK || ctl->json)
			return status;
	} else {
		r = probe_run("/", &answer);
		if (r < 0) {
			log_err("cannot probe this host: %s", strerror(-r));
			return MEMCTL_FAILED;
		}
		if (ctl->json) {
			memctl_print_json(answer);
			return MEMCTL_OK;
		}
	}
	show(ctl, answer);
	return MEMCTL_OK;
}
