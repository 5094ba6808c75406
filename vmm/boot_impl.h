/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of boot.c, bzimage.c and elf.c only: what the two kernel formats share. Each format's
 * loader checks its file, puts the kernel into RAM and fills struct boot_kernel; boot.c does the
 * command line and the initrd by it; then the format writes its information page.
 */
#ifndef MEMD_VMM_BOOT_IMPL_H
#define MEMD_VMM_BOOT_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/log.h"
#include "vmm/boot.h"
#include "vmm/ram.h"

struct boot_file {
	const char *path, *what;
	int fd;
	uint64_t size_bytes; /* when it was last loaded */
};

struct boot_kernel {
	struct boot_entry entry;
	uint64_t end;	      /* first guest address behind all that the kernel needs at start */
	uint64_t initrd_end;  /* the initrd ends here or below, in low RAM */
	bool initrd_high;     /* it may also lie above 4 GiB */
	uint64_t cmdline_max; /* bytes without the terminator */
};

/* What the information page tells. */
struct boot_facts {
	uint64_t cmdline_bytes;
	uint64_t initrd_gpa, initrd_bytes; /* 0: none */
	uint64_t rsdp;
};

/* One entry of the memory map; types are the same in e820 and in PVH's. */
enum boot_range_type { BOOT_RANGE_RAM = 1, BOOT_RANGE_RESERVED = 2, BOOT_RANGE_ACPI = 3 };
struct boot_range {
	uint64_t gpa, len;
	enum boot_range_type type;
};
#define BOOT_RANGES_MAX 8

/* ---- boot.c ---- */

/* Contiguous RAM from gpa on: the address behind it, gpa when there is none. */
uint64_t boot_ram_end(const struct ram *ram, uint64_t gpa);
/* Read [offset, offset + len) of the file right into RAM. Logged. */
int boot_file_load(const struct boot_file *file, uint64_t offset, struct ram *ram, uint64_t gpa,
		   uint64_t len);
/* Up to n bytes at offset. Bytes read or -errno, logged. */
int64_t boot_file_read(const struct boot_file *file, uint64_t offset, void *buf, uint64_t n);
/* Log "PATH: why"; its value is code. */
#define boot_refuse(file, code, why, ...) (log_err("%s: " why, (file)->path, ##__VA_ARGS__), (code))
/* The memory map. Returns the number of entries. */
unsigned int boot_ranges(const struct ram *ram, struct boot_range ret_ranges[BOOT_RANGES_MAX]);

/* ---- bzimage.c ---- */

int bzimage_load(const struct boot_file *file, struct ram *ram, struct boot_kernel *ret_kernel);
/* Fill in the zero page that bzimage_load has begun. */
void bzimage_inform(struct ram *ram, const struct boot_facts *facts);

/* ---- elf.c ---- */

int elf_load(const struct boot_file *file, struct ram *ram, struct boot_kernel *ret_kernel);
void elf_inform(struct ram *ram, const struct boot_facts *facts);

#endif
