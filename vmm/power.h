/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a guest ends or restarts itself, and how it is asked to: the ACPI sleep control and reset
 * register, the reset line of the keyboard controller, and the power button behind the generic
 * event device. Sources: ACPI 6.4 sections 4.8.3.6, 4.8.3.7, 5.6.9; the 8042's command 0xfe.
 */
#ifndef MEMD_VMM_POWER_H
#define MEMD_VMM_POWER_H

#include "vmm/bus.h"
#include "vmm/ram.h"

/* What the guest asked for; called with bus_lock held, in a vCPU's thread. */
struct power_events {
	void (*shutdown)(void *ctx);
	void (*reset)(void *ctx);
};

struct power;

/* irq_fd: an eventfd behind LAYOUT_GSI_GED, the caller's. NULL: out of memory. */
struct power *power_new(int irq_fd, const struct power_events *events, void *ctx);
void power_free(struct power *power); /* NULL is fine */
void power_reset(struct power *power);

/*
 * Put code at LAYOUT_RESET that resets by LAYOUT_ACPI_POWER: at each boot. Linux on a
 * hardware-reduced machine without EFI reboots by a jump there and tries no register (reboot_init
 * in arch/x86/kernel/reboot.c). -EFAULT: no RAM there.
 */
int power_write_vector(struct ram *ram);

/* Press the power button: ACPI_GED_POWER_BUTTON in the event register, and its interrupt. */
void power_button(struct power *power);

/* ctx of all: struct power. */
extern const struct bus_ops power_port_ops;   /* LAYOUT_ACPI_POWER and LAYOUT_ACPI_STATUS */
extern const struct bus_ops power_i8042_ops;  /* LAYOUT_I8042 to + 4 */
extern const struct bus_ops power_events_ops; /* LAYOUT_GED_MMIO: 4 bytes, reading clears */

#endif
