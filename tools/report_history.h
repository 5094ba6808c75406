/* SPDX-License-Identifier: Apache-2.0 */
/* memctl report --history and --html: the trace instead of, or beside, the daemon's answer. */
#ifndef MEMD_TOOLS_REPORT_HISTORY_H
#define MEMD_TOOLS_REPORT_HISTORY_H

#include "tools/memctl.h"

/* What the options ask for: tables, JSON, a page. Works without the daemon if the trace is there.
 */
enum memctl_exit report_history(const struct memctl *ctl);

#endif
