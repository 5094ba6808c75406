/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-console (virtio 1.2 section 5.3): one port, hvc0 in a Linux guest, over a chardev. */
#ifndef MEMD_VMM_CONSOLE_H
#define MEMD_VMM_CONSOLE_H

#include "vmm/chardev.h"
#include "vmm/virtio.h"

/* The chardev stays the caller's and must outlive the device. NULL: out of memory. */
struct virtio_device *console_new(struct ram *ram, struct chardev *chardev);

#endif
