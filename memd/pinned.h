/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests whose memory KSM cannot merge although it is marked mergeable, told from what their
 * process has open: devices that pin memory, and encrypted memory.
 */
#ifndef MEMD_PINNED_H
#define MEMD_PINNED_H

#include <sys/types.h>

/*
 * Why, in an operator's words (static text); NULL: nothing of the kind is open, or it cannot be
 * seen. A page with a reference beyond its mappings is never merged (mm/ksm.c write_protect_page),
 * and an encrypted page is never the same as another.
 * Source: drivers/vfio, drivers/vhost/vdpa.c, virt/kvm/guest_memfd.c, drivers/crypto/ccp/sev-dev.c.
 */
const char *pinned_reason(int rootfd, pid_t pid);

#endif
