// SPDX-License-Identifier: Apache-2.0
/*
 * bzImage by the 64-bit Linux boot protocol (Documentation/arch/x86/boot.rst): the header's checks,
 * the protected-mode part at its preferred address, and the zero page. The kernel unpacks itself.
 */
#include "vmm/boot_impl.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "common/size.h"
#include "vmm/layout.h"

#define HEADER_START  offsetof(struct boot_params, hdr) /* 0x1f1 */
#define HEADER_MAX    (HEADER_START + sizeof(struct setup_header))
#define HEADER_MIN    (HEADER_START + offsetof(struct setup_header, init_size) + 4)
#define HEADER_MAGIC  0x53726448 /* "HdrS" */
#define BOOT_MAGIC    0xaa55
#define VERSION_MIN   0x020c /* xloadflags */
#define SECTOR	      512ULL
#define ENTRY_64      0x200
#define LOADER_OTHER  0xff
#define VIDEO_NORMAL  0xffff
#define CMDLINE_SHORT 255

static int check_header(const struct boot_file *file, const struct setup_header *hdr)
{
	if (hdr->version < VERSION_MIN)
		return boot_refuse(file, -ENOEXEC,
				   "boot protocol %u.%u: 2.12 is needed at least (Linux 3.8)",
				   hdr->version >> 8, hdr->version & 0xff);
	if (!(hdr->loadflags & LOADED_HIGH))
		return boot_refuse(file, -ENOEXEC,
				   "a zImage, which loads below 1 MiB: only bzImage "
				   "can be started");
	if (!(hdr->xloadflags & XLF_KERNEL_64))
		return boot_refuse(file, -ENOEXEC,
				   "a kernel without a 64-bit entry: only x86-64 "
				   "kernels can be started");
	return 0;
}

/* Read and check the header; all its fields are untrusted. */
static int read_header(const struct boot_file *file, struct setup_header *ret_hdr)
{
	uint8_t head[HEADER_MAX] = {0};
	struct setup_header hdr = {0};
	int64_t n = boot_file_read(file, 0, head, sizeof(head));
	uint64_t end;

	if (n < 0)
		return (int)n;
	memcpy(&hdr, head + HEADER_START, sizeof(hdr));
	if ((uint64_t)n < HEADER_MIN || hdr.boot_flag != BOOT_MAGIC || hdr.header != HEADER_MAGIC)
		return boot_refuse(file, -ENOEXEC, "neither a Linux bzImage nor an ELF file");
	/* The second byte of the jump over the header is its length from 0x202 on. */
	end = 0x202 + (hdr.jump >> 8);
	if (hdr.version >= VERSION_MIN && end < HEADER_MIN)
		return boot_refuse(file, -ENOEXEC, "the boot header is cut short");
	if (end < HEADER_MAX)
		memset((uint8_t *)&hdr + (end - HEADER_START), 0, HEADER_MAX - end);
	*ret_hdr = hdr;
	return check_header(file, ret_hdr);
}

int bzimage_load(const struct boot_file *file, struct ram *ram, struct boot_kernel *ret_kernel)
{
	struct boot_params *zero = ram_ptr(ram, LAYOUT_ZERO_PAGE, sizeof(*zero));
	uint64_t low_end = boot_ram_end(ram, 0), offset, len, need, load;
	struct setup_header hdr = {0};
	int r = read_header(file, &hdr);

	if (r < 0)
		return r;
	if (!zero)
		return -EFBIG;
	offset = ((hdr.setup_sects ? hdr.setup_sects : 4) + 1) * SECTOR;
	len = hdr.syssize * 16ULL;
	/* The last unit of 16 bytes need not be full. */
	if (file->size_bytes < offset || len >= file->size_bytes - offset + 16)
		return boot_refuse(
			file, -ENOEXEC,
			"the file is cut short: %zu bytes of %zu that its header promises",
			(size_t)file->size_bytes, (size_t)(offset + len));
	if (len > file->size_bytes - offset)
		len = file->size_bytes - offset;
	if (len <= ENTRY_64)
		return boot_refuse(file, -ENOEXEC, "the header promises a kernel of %zu bytes",
				   (size_t)len);

	/* Also a relocatable kernel runs at its preferred address or above. */
	load = hdr.pref_address;
	need = hdr.init_size > len ? hdr.init_size : len;
	if (load < LAYOUT_KERNEL || load % 4096 || load > LAYOUT_HOLE_START)
		return boot_refuse(file, -ENOEXEC, "cannot be loaded where its header wants: %#zx",
				   (size_t)load);
	if (load > low_end || need > low_end - load)
		return boot_refuse(file, -EFBIG,
				   "needs RAM up to %s to start, the guest has %s there: give it "
				   "more memory",
				   SIZE_TEXT(load + need), SIZE_TEXT(low_end));
	r = boot_file_load(file, offset, ram, load, len);
	if (r < 0)
		return r;
	memset(zero, 0, sizeof(*zero));
	zero->hdr = hdr;
	*ret_kernel = (struct boot_kernel){
		.entry = {.mode = BOOT_LONG, .rip = load + ENTRY_64, .info = LAYOUT_ZERO_PAGE},
		.end = load + need,
		.initrd_end = low_end,
		.initrd_high = hdr.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G,
		.cmdline_max = hdr.cmdline_size ? hdr.cmdline_size : CMDLINE_SHORT,
	};
	if (!ret_kernel->initrd_high && low_end > hdr.initrd_addr_max + 1ULL)
		ret_kernel->initrd_end = hdr.initrd_addr_max + 1ULL;
	return 0;
}

void bzimage_inform(struct ram *ram, const struct boot_facts *facts)
{
	struct boot_params *zero = ram_ptr(ram, LAYOUT_ZERO_PAGE, sizeof(*zero));
	struct boot_range ranges[BOOT_RANGES_MAX];
	unsigned int n = boot_ranges(ram, ranges);

	zero->hdr.type_of_loader = LOADER_OTHER;
	zero->hdr.vid_mode = VIDEO_NORMAL;
	zero->hdr.loadflags &= (uint8_t) ~(CAN_USE_HEAP | QUIET_FLAG | KEEP_SEGMENTS);
	zero->hdr.setup_data = 0;
	zero->hdr.cmd_line_ptr = LAYOUT_CMDLINE;
	zero->hdr.ramdisk_image = (uint32_t)facts->initrd_gpa;
	zero->hdr.ramdisk_size = (uint32_t)facts->initrd_bytes;
	zero->ext_ramdisk_image = (uint32_t)(facts->initrd_gpa >> 32);
	zero->ext_ramdisk_size = (uint32_t)(facts->initrd_bytes >> 32);
	zero->acpi_rsdp_addr = facts->rsdp;
	for (unsigned int i = 0; i < n; i++)
		zero->e820_table[i] = (struct boot_e820_entry){
			.addr = ranges[i].gpa,
			.size = ranges[i].len,
			.type = ranges[i].type,
		};
	zero->e820_entries = (uint8_t)n;
}
