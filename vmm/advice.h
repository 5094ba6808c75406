/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host-nodes=auto: memd is asked where the guest's memory should lie, over its control socket
 * (MEMD_SOCKET, or /run/memd/memd.sock). It knows the host's other guests; vmm does not.
 */
#ifndef MEMD_VMM_ADVICE_H
#define MEMD_VMM_ADVICE_H

#include "vmm/options.h"

/* Where memd listens. */
const char *advice_socket(void);

/*
 * Give the memory that has ask_nodes host nodes and a policy: `preferred` for one node,
 * `interleave` for several, unless one was given. The devices' memory that asks gets what the
 * guest's has. Where memd does not answer, or nothing fits, it stays unbound, with a warning that
 * says why: a guest that starts in the wrong place is better than one that does not.
 */
void advice_take(struct options *options);

#endif
