// SPDX-License-Identifier: Apache-2.0
/*
 * Loading kernels: small bzImages and ELF files made here, what lands where in guest RAM, and that
 * each broken number is refused with a reason. RAM is real, so that what is not loaded costs none.
 */
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

static struct file file_of(const void *data, size_t n)
{
	struct file f = {.fd = memfd_create("boot", MFD_CLOEXEC)};

	assert_true(f.fd >= 0);
	assert_int_equal(write(f.fd, data, n), n);
	snprintf(f.path, sizeof(f.path), "/proc/self/fd/%d", f.fd);
	return f;
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

struct bz {
	uint8_t bytes[BZ_BYTES];
};

static struct setup_header *header(struct bz *bz)
{
	return (struct setup_header *)(bz->bytes + 0x1f1);
}

static void bz_init(struct bz *bz)
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

static struct ram *ram_of(const uint64_t *sizes, size_t n)
{
	struct ram_config configs[RAM_NODES_MAX] = {0};
	struct ram *ram;

	for (size_t i = 0; i < n; i++)
		configs[i] = (struct ram_config){.size_bytes = sizes[i], .pages = RAM_PAGES_SMALL};
	assert_int_equal(ram_new(configs, n, &ram), 0);
	return ram;
}

static int load(struct ram *ram, const char *kernel, const char *initrd, const char *append,
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

static void assert_said(const char *part)
{
	if (!strstr(said, part))
		fail_msg("no '%s' in: %s", part, said);
}

static int load_bz(struct ram *ram, const struct bz *bz, size_t n, const char *initrd,
		   const char *append, struct boot_entry *ret_entry)
{
	struct file f = file_of(bz->bytes, n);
	int r = load(ram, f.path, initrd, append, ret_entry);

	close(f.fd);
	return r;
}

static void bz_refused(const struct bz *bz, size_t n, int code, const char *part)
{
	uint64_t size = 16 * MIB;
	struct ram *ram = ram_of(&size, 1);
	struct boot_entry entry = {0};

	assert_int_equal(load_bz(ram, bz, n, NULL, NULL, &entry), code);
	assert_said(part);
	assert_said("/proc/self/fd/");
	ram_free(ram);
}

static uint64_t entry_e820(const struct boot_params *zero, unsigned int i, uint64_t *ret_len,
			   uint32_t *ret_type)
{
	struct boot_e820_entry e;

	memcpy(&e, &zero->e820_table[i], sizeof(e));
	*ret_len = e.size;
	*ret_type = e.type;
	return e.addr;
}

/* ---- bzImage ---- */

static void test_bzimage(void **state)
{
	uint64_t sizes[] = {16 * MIB}, len;
	struct ram *ram = ram_of(sizes, 1);
	static const struct {
		uint64_t gpa, len;
		uint32_t type;
	} map[] = {{0, 0x9fc00, 1},
		   {0x9fc00, 0xe0000 - 0x9fc00, 2},
		   {0xe0000, 0x20000, 3},
		   {MIB, 15 * MIB, 1}};
	const struct boot_params *zero;
	struct boot_entry entry = {0};
	const uint64_t *table;
	uint8_t *kernel;
	uint32_t type;
	struct bz bz;

	bz_init(&bz);
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, NULL, "console=ttyS0", &entry), 0);
	assert_string_equal(said, "");
	assert_int_equal(entry.mode, BOOT_LONG);
	assert_int_equal(entry.rip, PREF + 0x200);
	assert_int_equal(entry.info, LAYOUT_ZERO_PAGE);

	kernel = ram_ptr(ram, PREF, KERNEL_BYTES + 1);
	assert_memory_equal(kernel, bz.bytes + (SETUP_SECTS + 1) * 512, KERNEL_BYTES);
	assert_int_equal(kernel[KERNEL_BYTES], 0);

	zero = ram_ptr(ram, LAYOUT_ZERO_PAGE, sizeof(*zero));
	assert_int_equal(zero->hdr.header, 0x53726448);
	assert_int_equal(zero->hdr.pref_address, PREF);
	assert_int_equal(zero->hdr.type_of_loader, 0xff);
	assert_int_equal(zero->hdr.loadflags, 1);
	assert_int_equal(zero->hdr.cmd_line_ptr, LAYOUT_CMDLINE);
	assert_int_equal(zero->hdr.ramdisk_size, 0);
	assert_int_equal(zero->acpi_rsdp_addr, RSDP);
	assert_int_equal(zero->screen_info.orig_x, 0); /* not what the file has before 0x1f1 */
	assert_string_equal(ram_ptr(ram, LAYOUT_CMDLINE, 100), "console=ttyS0");
	assert_int_equal(zero->e820_entries, ARRAY_SIZE(map));
	for (unsigned int i = 0; i < ARRAY_SIZE(map); i++) {
		assert_int_equal(entry_e820(zero, i, &len, &type), map[i].gpa);
		assert_int_equal(len, map[i].len);
		assert_int_equal(type, map[i].type);
	}

	table = ram_ptr(ram, LAYOUT_PAGE_TABLES, 6 * 4096);
	assert_int_equal(table[0], (LAYOUT_PAGE_TABLES + 0x1000) | 3);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(table[512 + i], (LAYOUT_PAGE_TABLES + 0x2000 + i * 0x1000) | 3);
	for (uint64_t i = 0; i < 2048; i++)
		assert_int_equal(table[1024 + i], i << 21 | 0x83);
	assert_int_equal(*(uint64_t *)ram_ptr(ram, LAYOUT_GDT, 8), 0);
	assert_int_equal(*(uint64_t *)ram_ptr(ram, LAYOUT_GDT + BOOT_CS64, 8), 0xaf9b000000ffff);
	assert_int_equal(*(uint64_t *)ram_ptr(ram, LAYOUT_GDT + BOOT_DS, 8), 0xcf93000000ffff);
	ram_free(ram);
}

/* Nothing of a shorter header that the file has as code may reach the zero page. */
static void test_short_header(void **state)
{
	uint64_t size = 16 * MIB;
	struct ram *ram = ram_of(&size, 1);
	const struct boot_params *zero;
	struct boot_entry entry = {0};
	struct bz bz;

	bz_init(&bz);
	header(&bz)->jump = 0x62eb; /* up to init_size, no further */
	header(&bz)->handover_offset = 0x12345678;
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, NULL, NULL, &entry), 0);
	zero = ram_ptr(ram, LAYOUT_ZERO_PAGE, sizeof(*zero));
	assert_int_equal(zero->hdr.init_size, INIT_BYTES);
	assert_int_equal(zero->hdr.handover_offset, 0);
	assert_string_equal(ram_ptr(ram, LAYOUT_CMDLINE, 1), "");
	ram_free(ram);
}

static void test_bzimage_nodes(void **state)
{
	/* The kernel lies across three nodes, and the map is whole. */
	uint64_t sizes[] = {2 * MIB, 2 * MIB, 2 * MIB, 4096 * MIB}, len;
	struct ram *ram = ram_of(sizes, 4);
	const struct boot_params *zero;
	struct boot_entry entry = {0};
	uint32_t type;
	struct bz bz;
	uint8_t back[KERNEL_BYTES];

	bz_init(&bz);
	header(&bz)->pref_address = 4 * MIB - 4096;
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, NULL, NULL, &entry), 0);
	assert_int_equal(ram_read(ram, 4 * MIB - 4096, back, sizeof(back)), 0);
	assert_memory_equal(back, bz.bytes + (SETUP_SECTS + 1) * 512, KERNEL_BYTES);
	zero = ram_ptr(ram, LAYOUT_ZERO_PAGE, sizeof(*zero));
	assert_int_equal(zero->e820_entries, 5);
	assert_int_equal(entry_e820(zero, 3, &len, &type), MIB);
	assert_int_equal(len, LAYOUT_HOLE_START - MIB);
	assert_int_equal(entry_e820(zero, 4, &len, &type), LAYOUT_HIGH_START);
	assert_int_equal(len, GIB + 6 * MIB);
	ram_free(ram);
}

static void test_initrd(void **state)
{
	static uint8_t data[1234567];
	uint64_t size = 16 * MIB, high[] = {3 * GIB, 64 * MIB}, gpa;
	struct ram *ram = ram_of(&size, 1);
	const struct boot_params *zero;
	struct boot_entry entry = {0};
	struct file f;
	struct bz bz;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i + 3);
	f = file_of(data, sizeof(data));
	bz_init(&bz);
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, f.path, NULL, &entry), 0);
	zero = ram_ptr(ram, LAYOUT_ZERO_PAGE, sizeof(*zero));
	gpa = zero->hdr.ramdisk_image;
	/* as high as it goes, on a page */
	assert_int_equal(gpa, (16 * MIB - sizeof(data)) & ~4095ULL);
	assert_int_equal(zero->hdr.ramdisk_size, sizeof(data));
	assert_memory_equal(ram_ptr(ram, gpa, sizeof(data)), data, sizeof(data));

	/* An old kernel says how high it may lie. */
	header(&bz)->xloadflags = 1;
	header(&bz)->initrd_addr_max = 8 * MIB - 1;
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, f.path, NULL, &entry), 0);
	assert_int_equal(zero->hdr.ramdisk_image, (8 * MIB - sizeof(data)) & ~4095ULL);
	/* Not into the kernel */
	header(&bz)->initrd_addr_max = 6 * MIB - 1;
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, f.path, NULL, &entry), -EFBIG);
	assert_said("does not fit");
	assert_said("ends at 5 MiB");
	ram_free(ram);

	/* No room below: above 4 GiB when the kernel can. */
	ram = ram_of(high, 2);
	header(&bz)->init_size = 3 * GIB - PREF - MIB;
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, f.path, NULL, &entry), -EFBIG);
	header(&bz)->xloadflags = 3;
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, f.path, NULL, &entry), 0);
	zero = ram_ptr(ram, LAYOUT_ZERO_PAGE, sizeof(*zero));
	gpa = zero->hdr.ramdisk_image | (uint64_t)zero->ext_ramdisk_image << 32;
	assert_int_equal(gpa, (4 * GIB + 64 * MIB - sizeof(data)) & ~4095ULL);
	assert_memory_equal(ram_ptr(ram, gpa, sizeof(data)), data, sizeof(data));
	ram_free(ram);
	close(f.fd);
}

static void test_files(void **state)
{
	uint64_t size = 16 * MIB;
	struct ram *ram = ram_of(&size, 1);
	struct file empty = file_of("", 0);
	struct boot_entry entry = {0};
	struct bz bz;

	assert_int_equal(load(ram, "/nonexistent/vmlinuz", NULL, NULL, &entry), -ENOENT);
	assert_said("kernel /nonexistent/vmlinuz: No such file");
	assert_int_equal(load(ram, "/proc/self", NULL, NULL, &entry), -EINVAL);
	assert_said("not a regular file");
	assert_int_equal(load(ram, empty.path, NULL, NULL, &entry), -ENOEXEC);
	assert_said("empty");
	bz_init(&bz);
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, "/nonexistent/i", NULL, &entry), -ENOENT);
	assert_said("initrd /nonexistent/i: No such file");
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, empty.path, NULL, &entry), -ENOEXEC);
	assert_said("initrd");
	close(empty.fd);
	ram_free(ram);
}

static void test_cmdline(void **state)
{
	uint64_t size = 16 * MIB;
	struct ram *ram = ram_of(&size, 1);
	struct boot_entry entry = {0};
	char *line = calloc(1, 70000);
	struct bz bz;

	bz_init(&bz);
	memset(line, 'a', 2047);
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, NULL, line, &entry), 0);
	assert_string_equal(ram_ptr(ram, LAYOUT_CMDLINE, 3000), line);
	line[2047] = 'a';
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, NULL, line, &entry), -E2BIG);
	assert_said("2048 bytes");
	assert_said("at most 2047");
	/* Whatever the kernel claims, ours ends where the layout says. */
	header(&bz)->cmdline_size = UINT32_MAX;
	memset(line, 'a', LAYOUT_CMDLINE_MAX);
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, NULL, line, &entry), -E2BIG);
	line[LAYOUT_CMDLINE_MAX - 1] = '\0';
	assert_int_equal(load_bz(ram, &bz, BZ_BYTES, NULL, line, &entry), 0);
	free(line);
	ram_free(ram);
}

static void test_bad_headers(void **state)
{
	struct bz bz;

	bz_init(&bz);
	header(&bz)->header = 0;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "neither a Linux bzImage nor an ELF");
	bz_init(&bz);
	header(&bz)->boot_flag = 0;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "neither");
	bz_init(&bz);
	bz_refused(&bz, 3, -ENOEXEC, "neither");
	bz_refused(&bz, 0x220, -ENOEXEC, "neither");
	header(&bz)->version = 0x20b;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "boot protocol 2.11");
	bz_init(&bz);
	header(&bz)->loadflags = 0;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "zImage");
	bz_init(&bz);
	header(&bz)->xloadflags = 0;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "64-bit entry");
	bz_init(&bz);
	header(&bz)->jump = 0x20eb;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "cut short");
}

static void test_bad_numbers(void **state)
{
	struct bz bz;

	bz_init(&bz);
	bz_refused(&bz, BZ_BYTES - 20, -ENOEXEC, "cut short");
	header(&bz)->setup_sects = 200;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "cut short");
	bz_init(&bz);
	header(&bz)->syssize = UINT32_MAX;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "cut short");
	header(&bz)->syssize = 0;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "0 bytes");
	bz_init(&bz);
	header(&bz)->pref_address = 0;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "cannot be loaded");
	header(&bz)->pref_address = PREF + 1;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "cannot be loaded");
	header(&bz)->pref_address = UINT64_MAX - 4095;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "cannot be loaded");
	header(&bz)->pref_address = 16 * MIB;
	bz_refused(&bz, BZ_BYTES, -EFBIG, "give it more memory");
	header(&bz)->pref_address = 32 * MIB;
	bz_refused(&bz, BZ_BYTES, -EFBIG, "give it more memory");
	header(&bz)->pref_address = PREF;
	header(&bz)->init_size = UINT32_MAX;
	bz_refused(&bz, BZ_BYTES, -EFBIG, "the guest has 16 MiB");
	header(&bz)->init_size = 14 * MIB + 1;
	bz_refused(&bz, BZ_BYTES, -EFBIG, "give it more memory");
	/* setup_sects 0 means 4: 9488 bytes are left behind them, not 11536 */
	bz_init(&bz);
	header(&bz)->setup_sects = 0;
	header(&bz)->syssize = 596;
	bz_refused(&bz, BZ_BYTES, -ENOEXEC, "cut short");
}

/* ---- ELF ---- */

struct elf {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr[3];
	struct {
		Elf64_Nhdr nhdr;
		char name[8];
		uint32_t desc[2];
	} other;
	struct {
		Elf64_Nhdr nhdr;
		char name[4];
		uint32_t desc[2];
	} pvh;
	uint8_t text[5000];
};

static void elf_init(struct elf *e)
{
	memset(e, 0, sizeof(*e));
	memcpy(e->ehdr.e_ident, ELFMAG, SELFMAG);
	e->ehdr.e_ident[EI_CLASS] = ELFCLASS64;
	e->ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
	e->ehdr.e_type = ET_EXEC;
	e->ehdr.e_machine = EM_X86_64;
	e->ehdr.e_phoff = offsetof(struct elf, phdr);
	e->ehdr.e_phentsize = sizeof(Elf64_Phdr);
	e->ehdr.e_phnum = 3;
	e->phdr[0] = (Elf64_Phdr){.p_type = PT_LOAD,
				  .p_offset = offsetof(struct elf, text),
				  .p_vaddr = 0xffffffff80200000,
				  .p_paddr = 2 * MIB,
				  .p_filesz = sizeof(e->text),
				  .p_memsz = 20000};
	e->phdr[1] = (Elf64_Phdr){.p_type = PT_NOTE,
				  .p_offset = offsetof(struct elf, other),
				  .p_filesz = sizeof(e->other) + sizeof(e->pvh)};
	e->phdr[2] = (Elf64_Phdr){.p_type = PT_LOAD, .p_paddr = 1}; /* nothing to load */
	e->other.nhdr = (Elf64_Nhdr){.n_namesz = 6, .n_descsz = 5, .n_type = 18};
	memcpy(e->other.name, "Linux", 6);
	e->pvh.nhdr = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 8, .n_type = 18};
	memcpy(e->pvh.name, "Xen", 4);
	e->pvh.desc[0] = 2 * MIB + 0x123;
	for (size_t i = 0; i < sizeof(e->text); i++)
		e->text[i] = pattern(i);
}

static int load_elf(struct ram *ram, const struct elf *e, size_t n, const char *initrd,
		    struct boot_entry *ret_entry)
{
	struct file f = file_of(e, n);
	int r = load(ram, f.path, initrd, "root=/dev/vda", ret_entry);

	close(f.fd);
	return r;
}

static void test_elf(void **state)
{
	uint64_t size = 16 * MIB;
	struct ram *ram = ram_of(&size, 1);
	struct file initrd = file_of("initrd!", 7);
	struct boot_entry entry = {0};
	struct elf e;
	uint8_t *p = ram_ptr(ram, 2 * MIB, 20001);
	const uint32_t *info;
	const uint64_t *module;

	elf_init(&e);
	memset(p, 0xcc, 20001); /* what a guest before a reset left */
	assert_int_equal(load_elf(ram, &e, sizeof(e), initrd.path, &entry), 0);
	assert_string_equal(said, "");
	assert_int_equal(entry.mode, BOOT_PROTECTED);
	assert_int_equal(entry.rip, 2 * MIB + 0x123);
	assert_memory_equal(p, e.text, sizeof(e.text));
	for (size_t i = sizeof(e.text); i < 20000; i++)
		assert_int_equal(p[i], 0);
	assert_int_equal(p[20000], 0xcc);

	info = ram_ptr(ram, entry.info, 4096);
	assert_int_equal(info[0], 0x336ec578);
	assert_int_equal(info[1], 1);
	assert_int_equal(info[3], 1);
	module = ram_ptr(ram, *(const uint64_t *)(info + 4), 32);
	assert_int_equal(module[0], 16 * MIB - 4096);
	assert_int_equal(module[1], 7);
	assert_memory_equal(ram_ptr(ram, module[0], 7), "initrd!", 7);
	assert_string_equal(ram_ptr(ram, *(const uint64_t *)(info + 6), 100), "root=/dev/vda");
	assert_int_equal(*(const uint64_t *)(info + 8), RSDP);
	assert_int_equal(info[12], 4);
	/* 24 bytes each: the last is RAM from 1 MiB on */
	assert_int_equal(((const uint64_t *)ram_ptr(ram, *(const uint64_t *)(info + 10), 96))[9],
			 MIB);

	e.ehdr.e_phnum = 2; /* the note may have 4 bytes, and the initrd may be missing */
	e.pvh.nhdr.n_descsz = 4;
	e.pvh.desc[1] = 0xdeadbeef;
	assert_int_equal(load_elf(ram, &e, sizeof(e), NULL, &entry), 0);
	assert_int_equal(entry.rip, 2 * MIB + 0x123);
	assert_int_equal(info[3], 0);
	close(initrd.fd);
	ram_free(ram);
}

static void elf_refused(const struct elf *e, size_t n, int code, const char *part)
{
	uint64_t size = 16 * MIB;
	struct ram *ram = ram_of(&size, 1);
	struct boot_entry entry = {0};

	assert_int_equal(load_elf(ram, e, n, NULL, &entry), code);
	assert_said(part);
	ram_free(ram);
}

static void test_bad_elf(void **state)
{
	struct elf e;

	elf_init(&e);
	elf_refused(&e, 10, -ENOEXEC, "cut short");
	elf_refused(&e, 100, -ENOEXEC, "segment table");
	elf_refused(&e, offsetof(struct elf, text) + sizeof(e.text) - 1, -ENOEXEC,
		    "outside of the file");
	e.ehdr.e_ident[EI_CLASS] = ELFCLASS32;
	elf_refused(&e, sizeof(e), -ENOEXEC, "not for x86-64");
	elf_init(&e);
	e.ehdr.e_machine = EM_AARCH64;
	elf_refused(&e, sizeof(e), -ENOEXEC, "not for x86-64");
	elf_init(&e);
	e.ehdr.e_phnum = 0xffff;
	elf_refused(&e, sizeof(e), -ENOEXEC, "65535 ELF segments");
	elf_init(&e);
	e.ehdr.e_phoff = UINT64_MAX;
	elf_refused(&e, sizeof(e), -ENOEXEC, "segment table");
	elf_init(&e);
	e.pvh.nhdr.n_type = 17;
	elf_refused(&e, sizeof(e), -ENOEXEC, "CONFIG_PVH=y");
	elf_init(&e);
	e.phdr[1].p_filesz -= 4; /* the note is cut off */
	elf_refused(&e, sizeof(e), -ENOEXEC, "CONFIG_PVH=y");
	elf_init(&e);
	e.phdr[1].p_filesz = UINT64_MAX;
	elf_refused(&e, sizeof(e), -ENOEXEC, "note lies outside");
	elf_init(&e);
	e.other.nhdr.n_namesz = UINT32_MAX;
	elf_refused(&e, sizeof(e), -ENOEXEC, "CONFIG_PVH=y");
	elf_init(&e);
	e.pvh.desc[0] = 0x1000;
	elf_refused(&e, sizeof(e), -ENOEXEC, "lies in no ELF segment");
	elf_init(&e);
	e.pvh.desc[1] = 1; /* above 4 GiB */
	elf_refused(&e, sizeof(e), -ENOEXEC, "lies in no ELF segment");
	elf_init(&e);
	e.phdr[0].p_paddr = 0x7000;
	elf_refused(&e, sizeof(e), -ENOEXEC, "below 1 MiB");
	elf_init(&e);
	e.phdr[0].p_paddr = 16 * MIB - 8192;
	elf_refused(&e, sizeof(e), -EFBIG, "the guest's RAM ends at 16 MiB");
	elf_init(&e);
	e.phdr[0].p_paddr = UINT64_MAX;
	elf_refused(&e, sizeof(e), -EFBIG, "the guest's RAM ends");
	elf_init(&e);
	e.phdr[0].p_memsz = UINT64_MAX;
	elf_refused(&e, sizeof(e), -EFBIG, "the guest's RAM ends");
	elf_init(&e);
	e.phdr[0].p_memsz = 100; /* less than what the file has */
	elf_refused(&e, sizeof(e), -ENOEXEC, "outside of the file");
}

/* Stock kernels of the lab or of this machine, when there are any. */
static void test_real_kernels(void **state)
{
	uint64_t sizes[] = {256 * MIB};
	glob_t found = {0};

	(void)glob("/boot/vmlinuz-*", 0, NULL, &found);
	(void)glob("build/lab/*/*/vmlinuz*", GLOB_APPEND, NULL, &found);
	if (found.gl_pathc == 0)
		skip();
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct ram *ram = ram_of(sizes, 1);
		struct boot_entry entry = {0};

		if (load(ram, found.gl_pathv[i], NULL, "console=ttyS0", &entry) != 0)
			fail_msg("%s", said);
		assert_int_equal(entry.mode, BOOT_LONG);
		assert_true(entry.rip >= LAYOUT_KERNEL + 0x200);
		ram_free(ram);
	}
	globfree(&found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bzimage),	      cmocka_unit_test(test_short_header),
		cmocka_unit_test(test_bzimage_nodes), cmocka_unit_test(test_initrd),
		cmocka_unit_test(test_files),	      cmocka_unit_test(test_cmdline),
		cmocka_unit_test(test_bad_headers),   cmocka_unit_test(test_bad_numbers),
		cmocka_unit_test(test_elf),	      cmocka_unit_test(test_bad_elf),
		cmocka_unit_test(test_real_kernels),
	};

	log_init("vmm", LOG_LEVEL_INFO);
	return cmocka_run_group_tests_name("vmm_boot", tests, NULL, NULL);
}
