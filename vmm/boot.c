// SPDX-License-Identifier: Apache-2.0
/*
 * Loading a guest: picks the format, reads kernel and initrd straight into guest RAM, and writes
 * what both formats share: command line, descriptor table, page tables, memory map.
 */
#include "vmm/boot.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/size.h"
#include "vmm/boot_impl.h"
#include "vmm/layout.h"

#define PAGE	      4096ULL
#define HUGE_PAGE     (2 * MIB)
#define PTE_TABLE     0x3ULL  /* present, writable */
#define PTE_HUGE_PAGE 0x83ULL /* and maps 2 MiB */

/* ---- files ---- */

struct boot_files {
	struct boot_file kernel, initrd; /* fd -1: none */
};

static int open_file(const char *path, const char *what, struct boot_file *ret_file)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = -errno;

		log_err("%s %s: %s", what, path, strerror(errno));
		return r;
	}
	if (!S_ISREG(st.st_mode)) {
		log_err("%s %s: not a regular file", what, path);
		return -EINVAL;
	}
	*ret_file = (struct boot_file){.path = path, .what = what, .fd = TAKE_FD(fd)};
	return 0;
}

int boot_open(const char *kernel, const char *initrd, struct boot_files **ret_files)
{
	struct boot_files *files = calloc(1, sizeof(*files));
	int r;

	if (!files)
		return -ENOMEM;
	files->kernel.fd = files->initrd.fd = -1;
	r = open_file(kernel, "kernel", &files->kernel);
	if (r == 0 && initrd)
		r = open_file(initrd, "initrd", &files->initrd);
	if (r < 0) {
		boot_close(files);
		return r;
	}
	*ret_files = files;
	return 0;
}

void boot_close(struct boot_files *files)
{
	if (!files)
		return;
	cleanup_fd(&files->kernel.fd);
	cleanup_fd(&files->initrd.fd);
	free(files);
}

/* As large as it is now: it may have been written to since the last reset. */
static int measure_file(struct boot_file *file)
{
	struct stat st;

	if (fstat(file->fd, &st) < 0) {
		int r = -errno;

		log_err("%s %s: %s", file->what, file->path, strerror(errno));
		return r;
	}
	if (st.st_size == 0) {
		log_err("%s %s: the file is empty", file->what, file->path);
		return -ENOEXEC;
	}
	file->size_bytes = (uint64_t)st.st_size;
	return 0;
}

int64_t boot_file_read(const struct boot_file *file, uint64_t offset, void *buf, uint64_t n)
{
	uint64_t done = 0;

	while (done < n) {
		ssize_t r =
			pread(file->fd, (uint8_t *)buf + done, n - done, (off_t)(offset + done));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0) {
			r = -errno;
			return boot_refuse(file, (int)r, "reading: %s", strerror((int)-r));
		}
		if (r == 0)
			break;
		done += (uint64_t)r;
	}
	return (int64_t)done;
}

int boot_file_load(const struct boot_file *file, uint64_t offset, struct ram *ram, uint64_t gpa,
		   uint64_t len)
{
	/* Region by region: host addresses are contiguous only within one. */
	while (len) {
		uint64_t room = ram_room(ram, gpa), n = room < len ? room : len;
		int64_t r;

		if (n == 0)
			return boot_refuse(file, -EFBIG, "does not fit into guest RAM");
		r = boot_file_read(file, offset, ram_ptr(ram, gpa, n), n);
		if (r < 0)
			return (int)r;
		if ((uint64_t)r < n)
			return boot_refuse(file, -EIO, "the file became shorter while it was read");
		gpa += n;
		offset += n;
		len -= n;
	}
	return 0;
}

/* ---- memory ---- */

uint64_t boot_ram_end(const struct ram *ram, uint64_t gpa)
{
	uint64_t room;

	while ((room = ram_room(ram, gpa)) > 0)
		gpa += room;
	return gpa;
}

unsigned int boot_ranges(const struct ram *ram, struct boot_range ret_ranges[BOOT_RANGES_MAX])
{
	const struct boot_range low[] = {
		{0, LAYOUT_LOW_RAM_END, BOOT_RANGE_RAM},
		{LAYOUT_LOW_RAM_END, LAYOUT_ACPI - LAYOUT_LOW_RAM_END, BOOT_RANGE_RESERVED},
		{LAYOUT_ACPI, LAYOUT_ACPI_END - LAYOUT_ACPI, BOOT_RANGE_ACPI},
		{LAYOUT_KERNEL, boot_ram_end(ram, LAYOUT_KERNEL) - LAYOUT_KERNEL, BOOT_RANGE_RAM},
	};
	uint64_t high = boot_ram_end(ram, LAYOUT_HIGH_START) - LAYOUT_HIGH_START;
	unsigned int n = ARRAY_SIZE(low);

	memcpy(ret_ranges, low, sizeof(low));
	if (high)
		ret_ranges[n++] = (struct boot_range){LAYOUT_HIGH_START, high, BOOT_RANGE_RAM};
	return n;
}

/* ---- what both formats need ---- */

static int load_cmdline(struct ram *ram, const char *append, uint64_t max, uint64_t *ret_len)
{
	uint64_t len = strlen(append);

	if (max > LAYOUT_CMDLINE_MAX - 1)
		max = LAYOUT_CMDLINE_MAX - 1;
	if (len > max) {
		log_err("--append: the command line has %zu bytes, this kernel takes at most %zu",
			(size_t)len, (size_t)max);
		return -E2BIG;
	}
	*ret_len = len;
	return ram_write(ram, LAYOUT_CMDLINE, append, len + 1);
}

/* As high as the kernel allows: low memory is what kernels are short of, and KASLR moves about. */
static int load_initrd(struct ram *ram, struct boot_file *file, const struct boot_kernel *kernel,
		       struct boot_facts *facts)
{
	uint64_t end = kernel->initrd_end, size, gpa;
	int r = measure_file(file);

	if (r < 0)
		return r;
	size = file->size_bytes;
	if (size > end || (end - size) / PAGE * PAGE < kernel->end) {
		end = boot_ram_end(ram, LAYOUT_HIGH_START);
		if (!kernel->initrd_high || size > end - LAYOUT_HIGH_START)
			return boot_refuse(
				file, -EFBIG,
				"the initrd has %s and does not fit into guest RAM above "
				"the kernel, which ends at %s: give the guest more memory",
				SIZE_TEXT(size), SIZE_TEXT(kernel->end));
	}
	gpa = (end - size) / PAGE * PAGE;
	r = boot_file_load(file, 0, ram, gpa, size);
	if (r < 0)
		return r;
	facts->initrd_gpa = gpa;
	facts->initrd_bytes = size;
	return 0;
}

static int load_gdt(struct ram *ram)
{
	/* Intel SDM volume 3, 3.4.5: type, S, P and for code L or D; limits in 4 KiB units. */
	static const uint64_t gdt[BOOT_GDT_BYTES / 8] = {
		[BOOT_CS64 / 8] = 0x00af9b000000ffff,
		[BOOT_DS / 8] = 0x00cf93000000ffff,
		[BOOT_CS32 / 8] = 0x00cf9b000000ffff,
		[BOOT_TSS / 8] = 0x00008b0000000067,
	};

	return ram_write(ram, LAYOUT_GDT, gdt, sizeof(gdt));
}

/* The first 4 GiB mapped to themselves: PML4, PDPT, four page directories, one page each. */
static int load_page_tables(struct ram *ram)
{
	uint64_t *table = ram_ptr(ram, LAYOUT_PAGE_TABLES, 6 * PAGE);

	if (!table)
		return -EFBIG;
	memset(table, 0, 2 * PAGE);
	table[0] = (LAYOUT_PAGE_TABLES + PAGE) | PTE_TABLE;
	for (uint64_t i = 0; i < 4; i++)
		table[512 + i] = (LAYOUT_PAGE_TABLES + (2 + i) * PAGE) | PTE_TABLE;
	for (uint64_t i = 0; i < 2048; i++)
		table[1024 + i] = i * HUGE_PAGE | PTE_HUGE_PAGE;
	return 0;
}

int boot_load(struct ram *ram, struct boot_files *files, const char *append, uint64_t rsdp,
	      struct boot_entry *ret_entry)
{
	struct boot_facts facts = {.rsdp = rsdp};
	struct boot_file *file = &files->kernel;
	struct boot_kernel loaded;
	char magic[SELFMAG] = "";
	bool is_elf;
	int r = measure_file(file);

	if (r < 0)
		return r;
	if (ram_room(ram, 0) <= LAYOUT_KERNEL)
		return boot_refuse(file, -EFBIG, "the guest has no RAM at 1 MiB to load it to");
	r = (int)boot_file_read(file, 0, magic, sizeof(magic));
	if (r < 0)
		return r;
	is_elf = memcmp(magic, ELFMAG, SELFMAG) == 0;
	r = is_elf ? elf_load(file, ram, &loaded) : bzimage_load(file, ram, &loaded);
	if (r < 0)
		return r;
	r = load_cmdline(ram, append ? append : "", loaded.cmdline_max, &facts.cmdline_bytes);
	if (r == 0 && files->initrd.fd >= 0)
		r = load_initrd(ram, &files->initrd, &loaded, &facts);
	if (r == 0)
		r = load_gdt(ram);
	if (r == 0)
		r = load_page_tables(ram);
	if (r < 0)
		return r;
	if (is_elf)
		elf_inform(ram, &facts);
	else
		bzimage_inform(ram, &facts);
	*ret_entry = loaded.entry;
	return 0;
}
