/* SPDX-License-Identifier: Apache-2.0 */
/* Huge pages in memctl numa: pools, guests that wait for their pages, and repairs. */
#ifndef MEMD_TOOLS_NUMA_HUGE_H
#define MEMD_TOOLS_NUMA_HUGE_H

#include "tools/memctl.h"

/* Prints what there is to say of query-numa's answer. */
enum memctl_exit numa_print_huge(const struct memctl *ctl, json_object *answer);

#endif
