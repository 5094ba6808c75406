// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzz the kernel loader: the input is the kernel file, bzImage or ELF, and half of the time the
 * initrd too. RAM is two regions of separate mappings around a region border, each with a guard
 * page behind, so that a write beside them is a fault. What is loaded must be startable.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log.h"
#include "common/size.h"
#include "vmm/boot.h"
#include "vmm/layout.h"

#define RSDP 0xe0000UL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct boot_files *files[2]; /* without and with an initrd */
	static struct ram *ram;
	static char path[32];
	static int fd = -1;
	struct boot_entry entry = {0};

	if (fd < 0) {
		const struct ram_config configs[2] = {
			{.size_bytes = 8 * MIB, .pages = RAM_PAGES_SMALL},
			{.size_bytes = 24 * MIB, .pages = RAM_PAGES_SMALL},
		};

		log_init("fuzz", (enum log_level)0);
		fd = memfd_create("kernel", MFD_CLOEXEC);
		if (fd < 0 || ram_new(configs, 2, &ram) < 0)
			abort();
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (boot_open(path, NULL, &files[0]) < 0 || boot_open(path, path, &files[1]) < 0)
			abort();
	}
	if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	if (boot_load(ram, files[size % 2], "quiet", RSDP, &entry) == 0) {
		if (entry.info != LAYOUT_ZERO_PAGE || entry.rip < LAYOUT_KERNEL ||
		    !ram_ptr(ram, entry.rip, 1))
			abort();
		if (strcmp(ram_ptr(ram, LAYOUT_CMDLINE, 16), "quiet") != 0)
			abort();
	} else if (entry.rip || entry.info) {
		abort();
	}
	ram_discard_all(ram);
	return 0;
}
