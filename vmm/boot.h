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

/*
 * Selectors of the descriptor table that boot_load writes to LAYOUT_GDT, BOOT_GDT_BYTES long. All
 * segments are flat (base 0, limit 4 GiB) and ring 0. CS and DS are those that boot.rst demands.
 */
#define BOOT_CS64      0x10 /* code, long mode */
#define BOOT_DS	       0x18 /* data */
#define BOOT_CS32      0x20 /* code, 32-bit */
#define BOOT_TSS       0x28 /* busy TSS at address 0, limit 0x67; 16 bytes as in long mode */
#define BOOT_GDT_BYTES 0x38

enum boot_mode {
	/*
	 * 64-bit: CR0 PE|PG, CR4 PAE, EFER LME|LMA, CR3 = LAYOUT_PAGE_TABLES (the first 4 GiB
	 * mapped to themselves by 2 MiB pages), CS = BOOT_CS64, others BOOT_DS, IF clear, RSI =
	 * info.
	 */
	BOOT_LONG,
	/* PVH: 32-bit, CR0 PE, CS = BOOT_CS32, others BOOT_DS, TR = BOOT_TSS, IF clear, EBX = info.
	 */
	BOOT_PROTECTED,
};

struct boot_entry {
	enum boot_mode mode;
	uint64_t rip;
	uint64_t info; /* guest address of boot_params or hvm_start_info */
};

/*
 * The kernel and the initrd (NULL: none), kept open, so that a reset loads them again when no path
 * can be opened any more. The paths stay the caller's. -errno is logged with the file's name.
 */
struct boot_files;
int boot_open(const char *kernel, const char *initrd, struct boot_files **ret_files);
void boot_close(struct boot_files *files); /* NULL is fine */

/*
 * Load everything; also called again at each guest reset. append may be NULL. rsdp is the guest
 * address of the ACPI RSDP. Errors are logged with file name and reason: -ENOEXEC (not a kernel we
 * can start), -EFBIG (does not fit into RAM), -E2BIG (command line too long), -EIO. All numbers in
 * the files are untrusted.
 */
int boot_load(struct ram *ram, struct boot_files *files, const char *append, uint64_t rsdp,
	      struct boot_entry *ret_entry);

#endif
