/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A UART as Linux's 8250 driver, boot loaders and kernel early consoles use it: FIFOs,
 * interrupts, loop-back, no baud rates. What the host does not take holds THRE back, so nothing is
 * lost; what the guest does not read stays on the host's side.
 * Source: National Semiconductor PC16550D data sheet (1995), section 8.
 */
#ifndef MEMD_VMM_SERIAL_H
#define MEMD_VMM_SERIAL_H

#include "vmm/bus.h"
#include "vmm/chardev.h"

#define SERIAL_PORTS 8 /* length of its port range */

struct serial;

/*
 * irq_fd: an eventfd behind an edge-triggered pin; it and chardev stay the caller's and must
 * outlive this. NULL: out of memory.
 */
struct serial *serial_new(struct chardev *chardev, int irq_fd);
void serial_free(struct serial *serial); /* NULL is fine */
void serial_reset(struct serial *serial);

extern const struct bus_ops serial_bus_ops; /* ctx: struct serial */

#endif
