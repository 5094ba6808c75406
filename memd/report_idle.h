/* SPDX-License-Identifier: Apache-2.0 */
/* Memory in use as the host's kernel sees it, for `memctl status` and `guests`. */
#ifndef MEMD_REPORT_IDLE_H
#define MEMD_REPORT_IDLE_H

#include <json-c/json.h>

#include "memd/daemon.h"

json_object *report_idle(const struct daemon *daemon);
json_object *report_guest_idle(const struct guest *guest, uint64_t now_us);

#endif
