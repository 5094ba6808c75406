/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels made in memory, and loading them into real RAM, so that what is not loaded costs none. */
#ifndef MEMD_TESTS_BOOT_FILES_H
#define MEMD_TESTS_BOOT_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/size.h"
#include "vmm/boot.h"
#include "vmm/layout.h"

#define RSDP	     0xe0000UL
#define SETUP_SECTS  3
#define KERNEL_BYTES 10000 /* protected-mode part, not a multiple of 16 or 4096 */
#define BZ_BYTES     ((SETUP_SECTS + 1) * 512 + KERNEL_BYTES)
#define PREF	     (2 * MIB)
#define INIT_BYTES   (3 * MIB)

static char said[4096];

/* ---- files in memory ---- */

struct file {
	int fd;
	char path[32];
};

static inline struct file file_of(const void *data, size_t n)
{
	struct file f = {.fd = memfd_create("boot", MFD_CLOEXEC)};

	assert_true(f.fd >= 0);
	assert_int_equal(write(f.fd, data, n), n);
	snprintf(f.path, sizeof(f.path), "/proc/self/fd/%d", f.fd);
	return f;
}

static inline uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

struct bz {
	uint8_t bytes[BZ_BYTES];
};

static inline struct setup_header *header(struct bz *bz)
{
	return (struct setup_header *)(bz->bytes + 0x1f1);
}

static inline void bz_init(struct bz *bz)
{
	struct setup_header *h;

	memset(bz, 0, sizeof(*bz));
	h = header(bz);
	for (size_t i = 0; i < BZ_BYTES; i++)
		bz->bytes[i] = i < 0x1f1 ? 0xee : pattern(i);
	*h = (struct setup_header){
		.setup_sects = SETUP_SECTS,
		.syssize = (KERNEL_BYTES + 15) / 16,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb,
		.header = 0x53726448,
		.version = 0x20f,
		.loadflags = 0x81,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 2 * MIB,
		.relocatable_kernel = 1,
		.min_alignment = 21,
		.xloadflags = 0x7f,
		.cmdline_size = 2047,
		.pref_address = PREF,
		.init_size = INIT_BYTES,
	};
}

/* ---- running ---- */

static inline struct ram *ram_of(const uint64_t *sizes, size_t n)
{
	struct ram_config configs[RAM_NODES_MAX] = {0};
	struct ram *ram;

	for (size_t i = 0; i < n; i++)
		configs[i] = (struct ram_config){.size_bytes = sizes[i], .pages = RAM_PAGES_SMALL};
	assert_int_equal(ram_new(configs, n, &ram), 0);
	return ram;
}

static inline int load(struct ram *ram, const char *kernel, const char *initrd, const char *append,
		       struct boot_entry *ret_entry)
{
	struct boot_files *files = NULL;
	int saved = dup(2), r;
	FILE *f = tmpfile();
	size_t n;

	dup2(fileno(f), 2);
	r = boot_open(kernel, initrd, &files);
	if (r == 0)
		r = boot_load(ram, files, append, RSDP, ret_entry);
	boot_close(files);
	dup2(saved, 2);
	close(saved);
	rewind(f);
	n = fread(said, 1, sizeof(said) - 1, f);
	said[n] = '\0';
	fclose(f);
	if (r < 0)
		assert_true(n > 0); /* never without a word */
	return r;
}

static inline void assert_said(const char *part)
{
	if (!strstr(said, part))
		fail_msg("no '%s' in: %s", part, said);
}

static inline int load_bz(struct ram *ram, const struct bz *bz, size_t n, const char *initrd,
			  const char *append, struct boot_entry *ret_entry)
{
	struct file f = file_of(bz->bytes, n);
	int r = load(ram, f.path, initrd, append, ret_entry);

	close(f.fd);
	return r;
}

static inline void bz_refused(const struct bz *bz, size_t n, int code, const char *part)
{
	uint64_t size = 16 * MIB;
	struct ram *ram = ram_of(&size, 1);
	struct boot_entry entry = {0};

	assert_int_equal(load_bz(ram, bz, n, NULL, NULL, &entry), code);
	assert_said(part);
	assert_said("/proc/self/fd/");
	ram_free(ram);
}

static inline uint64_t entry_e820(const struct boot_params *zero, unsigned int i, uint64_t *ret_len,
				  uint32_t *ret_type)
{
	struct boot_e820_entry e;

	memcpy(&e, &zero->e820_table[i], sizeof(e));
	*ret_len = e.size;
	*ret_type = e.type;
	return e.addr;
}

#endif
