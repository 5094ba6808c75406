/* SPDX-License-Identifier: Apache-2.0 */
/* Pools of huge pages and repairs on the control socket. */
#ifndef MEMD_HUGE_REPORT_H
#define MEMD_HUGE_REPORT_H

#include "memd/daemon.h"

/* `want-pool`: a guest asks for pages of a pool before it starts, see pool.h. */
int huge_report_want(struct daemon *daemon, json_object *args, json_object **ret_value,
		     struct wire_error *err);

/* Adds "huge_pages" (pools, who waits) and "repairs" to the document of query-numa. */
void huge_report(struct daemon *daemon, json_object *doc);

#endif
