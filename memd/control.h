/* SPDX-License-Identifier: Apache-2.0 */
/* memd's own QMP socket: query-probe, query-status, query-guests, query-report, query-explain,
 * query-plan, query-numa, query-place, reset, quit. */
#ifndef MEMD_CONTROL_H
#define MEMD_CONTROL_H

#include "memd/daemon.h"

/* Listen on the configured socket and serve in the loop. Says itself what is wrong. */
int control_open(struct daemon *daemon);
void control_close(struct daemon *daemon);

#endif
