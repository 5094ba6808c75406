/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading a guest: bzImage by the 64-bit Linux boot protocol (Documentation/arch/x86/boot.rst), or
 * an ELF vmlinux with the PVH note (xen/include/public/arch-x86/hvm/start_info.h). Writes kernel,
 * initrd, command line, zero page or start_info and e820 into RAM; says how the first CPU starts.
 */
#ifndef MEMD_VMM_BOOT_H
#define MEMD_VMM_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/ram.h"

enum boot_mode {
	BOOT_LONG, /* 64-bit, paging on with the identity map at LAYOUT_PAGE_TABLES, RSI = info */
	BOOT_PROTECTED, /* 32-bit flat, paging off, EBX = info (PVH) */
};

struct boot_entry {
	enum boot_mode mode;
	uint64_t rip;
	uint64_t info; /* guest address of boot_params or hvm_start_info */
};

/*
 * Load everything; also called again at each guest reset. append may be NULL. rsdp is the guest
 * address of the ACPI RSDP. Errors are logged with file name and reason: -ENOENT..., -ENOEXEC (not
 * a kernel we can start), -EFBIG (does not fit into RAM), -E2BIG (command line too long).
 */
int boot_load(struct ram *ram, const char *kernel, const char *initrd, const char *append,
	      uint64_t rsdp, struct boot_entry *ret_entry);

#endif
