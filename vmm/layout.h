/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest physical address map and interrupt numbers: what boot, acpi, the bus and the devices
 * agree on. RAM runs from 0 to LAYOUT_HOLE_START and goes on at LAYOUT_HIGH_START.
 */
#ifndef MEMD_VMM_LAYOUT_H
#define MEMD_VMM_LAYOUT_H

/* Below 1 MiB. */
#define LAYOUT_ZERO_PAGE   0x7000UL /* struct boot_params, or hvm_start_info */
#define LAYOUT_GDT	   0x500UL
#define LAYOUT_PAGE_TABLES 0x9000UL /* PML4, PDPT, 4 page directories: 6 pages */
#define LAYOUT_CMDLINE	   0x20000UL
#define LAYOUT_CMDLINE_MAX 0x10000UL
#define LAYOUT_LOW_RAM_END 0x9fc00UL /* e820: RAM below, reserved up to 1 MiB */
#define LAYOUT_ACPI	   0xe0000UL /* RSDP first: found by scanning too */
#define LAYOUT_ACPI_END	   0x100000UL
#define LAYOUT_RESET	   0xffff0UL  /* real-mode reset vector: the last 16 bytes of it are code */
#define LAYOUT_KERNEL	   0x100000UL /* lowest load address */

/* The 32-bit hole: nothing but devices. */
#define LAYOUT_HOLE_START    0xc0000000UL
#define LAYOUT_VIRTIO_MMIO   0xd0000000UL /* one 4 KiB window per device */
#define LAYOUT_VIRTIO_STRIDE 0x1000UL
#define LAYOUT_GED_MMIO	     0xd1000000UL /* event selector of the generic event device, 4 bytes */
#define LAYOUT_IOAPIC	     0xfec00000UL
#define LAYOUT_LAPIC	     0xfee00000UL
#define LAYOUT_IDENTITY_MAP  0xfffbc000UL /* KVM_SET_IDENTITY_MAP_ADDR: one page */
#define LAYOUT_TSS	     0xfffbd000UL /* KVM_SET_TSS_ADDR: three pages */
#define LAYOUT_HIGH_START    0x100000000UL

/* Ports. */
#define LAYOUT_COM1	   0x3f8
#define LAYOUT_I8042	   0x60	 /* 0x60 and 0x64 */
#define LAYOUT_ACPI_POWER  0x600 /* one byte: sleep control and reset register */
#define LAYOUT_ACPI_STATUS 0x601 /* one byte: sleep status */

/* IOAPIC pins. */
#define LAYOUT_GSI_COM1	  4
#define LAYOUT_GSI_VIRTIO 5 /* first; one each, edge */
#define LAYOUT_GSI_GED	  23
#define LAYOUT_VIRTIO_MAX (LAYOUT_GSI_GED - LAYOUT_GSI_VIRTIO)

/* Values of LAYOUT_ACPI_POWER (ACPI 6.4 4.8.3.7: SLP_TYP in bits 2-4, SLP_EN is bit 5). */
#define LAYOUT_POWER_RESET 0x01
#define LAYOUT_POWER_S5	   ((5 << 2) | (1 << 5))

#endif
