/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI 6.4 tables of a hardware-reduced machine: RSDP, XSDT, FADT, MADT, DSDT and, with two or more
 * guest nodes, SRAT, SLIT and HMAT. Pure: builds into a buffer that the caller copies to
 * LAYOUT_ACPI.
 */
#ifndef MEMD_VMM_ACPI_H
#define MEMD_VMM_ACPI_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/locality.h"
#include "vmm/ram.h"

/*
 * Events of the generic event device, ACPI0013: bits of the 4-byte register at LAYOUT_GED_MMIO.
 * Reading it gives the pending events and clears them; the guest reads it once for each edge on
 * LAYOUT_GSI_GED.
 */
#define ACPI_GED_POWER_BUTTON 0x2

/*
 * Guest node of a CPU (its number and its APIC id): CPUs are dealt to the nodes in equal runs. With
 * fewer CPUs than nodes some nodes have none.
 */
unsigned int acpi_cpu_node(unsigned int cpu, unsigned int n_cpus, unsigned int n_nodes);

struct acpi_config {
	unsigned int n_cpus;
	const struct ram *ram;		 /* for the memory ranges of the SRAT */
	const struct locality *locality; /* NULL: nodes are 20 apart, and no HMAT */
	unsigned int
		n_virtio; /* LNRO0005 devices: windows and interrupts as in layout.h, in order */
};

/*
 * Build all tables for guest address base (the RSDP is at base). *ret_len bytes of buf are used.
 * -ENOSPC: size is too small; -EINVAL: numbers that cannot be.
 */
int acpi_build(const struct acpi_config *config, uint64_t base, uint8_t *buf, size_t size,
	       size_t *ret_len);

#endif
