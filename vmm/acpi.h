/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI 6.4 tables of a hardware-reduced machine: RSDP, XSDT, FADT, MADT, DSDT and, with two or more
 * guest nodes, SRAT and SLIT. Pure: builds into a buffer that the caller copies to LAYOUT_ACPI.
 */
#ifndef MEMD_VMM_ACPI_H
#define MEMD_VMM_ACPI_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/ram.h"

struct acpi_config {
	unsigned int n_cpus;
	/* guest node of each CPU: CPUs are dealt to the nodes in equal runs */
	const struct ram *ram; /* for the memory ranges of the SRAT */
	unsigned int
		n_virtio; /* LNRO0005 devices: windows and interrupts as in layout.h, in order */
};

/*
 * Build all tables for guest address base (the RSDP is at base). *ret_len bytes of buf are used.
 * -ENOSPC: size is too small.
 */
int acpi_build(const struct acpi_config *config, uint64_t base, uint8_t *buf, size_t size,
	       size_t *ret_len);

#endif
