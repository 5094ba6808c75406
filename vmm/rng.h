/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-rng (virtio 1.2 section 5.4): random bytes of the host's kernel for the guest. */
#ifndef MEMD_VMM_RNG_H
#define MEMD_VMM_RNG_H

#include "vmm/virtio.h"

/* NULL: out of memory. */
struct virtio_device *rng_new(struct ram *ram);

#endif
