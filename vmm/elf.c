// SPDX-License-Identifier: Apache-2.0
/*
 * ELF vmlinux (or any other x86-64 kernel) with the PVH note: segments to their physical addresses,
 * the entry point out of the note, and hvm_start_info.
 * Source: xen/include/public/arch-x86/hvm/start_info.h, public/elfnote.h, docs/misc/pvh.pandoc.
 */
#include "vmm/boot_impl.h"

#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "common/size.h"
#include "vmm/layout.h"

#define NOTE_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
#define SEGMENTS_MAX	  64
#define NOTES_MAX	  1024
#define START_MAGIC	  0x336ec578
#define START_VERSION	  1 /* with the memory map */

struct start_info {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules_gpa, cmdline_gpa, rsdp_gpa;
	uint64_t map_gpa; /* since version 1 */
	uint32_t map_entries, reserved;
};
struct start_module {
	uint64_t gpa, size_bytes, cmdline_gpa, reserved;
};
struct start_range {
	uint64_t gpa, size_bytes;
	uint32_t type, reserved;
};

/* All that lies in the information page. */
struct start_page {
	struct start_info info;
	struct start_module initrd;
	struct start_range map[BOOT_RANGES_MAX];
};
_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info version 1");
_Static_assert(sizeof(struct start_module) == 32, "hvm_modlist_entry");
_Static_assert(sizeof(struct start_range) == 24, "hvm_memmap_table_entry");

static int check_header(const struct boot_file *file, const Elf64_Ehdr *ehdr)
{
	if (ehdr->e_ident[EI_CLASS] != ELFCLASS64 || ehdr->e_ident[EI_DATA] != ELFDATA2LSB ||
	    ehdr->e_machine != EM_X86_64)
		return boot_refuse(file, -ENOEXEC, "an ELF file, but not for x86-64");
	if (ehdr->e_phentsize != sizeof(Elf64_Phdr) || ehdr->e_phnum == 0 ||
	    ehdr->e_phnum > SEGMENTS_MAX)
		return boot_refuse(file, -ENOEXEC, "%u ELF segments: wanted 1 to %d", ehdr->e_phnum,
				   SEGMENTS_MAX);
	return 0;
}

/* Header and segment table. Returns the number of segments. */
static int read_segments(const struct boot_file *file, Elf64_Phdr ret_segments[SEGMENTS_MAX])
{
	Elf64_Ehdr ehdr = {0};
	int64_t want, n = boot_file_read(file, 0, &ehdr, sizeof(ehdr));
	int r;

	if (n < 0)
		return (int)n;
	if (n < (int64_t)sizeof(ehdr))
		return boot_refuse(file, -ENOEXEC, "the ELF header is cut short");
	r = check_header(file, &ehdr);
	if (r < 0)
		return r;
	want = (int64_t)(ehdr.e_phnum * sizeof(Elf64_Phdr));
	n = ehdr.e_phoff > file->size_bytes
		    ? 0
		    : boot_file_read(file, ehdr.e_phoff, ret_segments, (uint64_t)want);
	if (n < 0)
		return (int)n;
	if (n < want)
		return boot_refuse(file, -ENOEXEC,
				   "the ELF segment table lies outside of the file");
	return ehdr.e_phnum;
}

static uint64_t align4(uint64_t n)
{
	return (n + 3) & ~3ULL;
}

/* Look for the entry point in one PT_NOTE segment. 1: found; 0: not here; -errno. */
static int find_entry(const struct boot_file *file, const Elf64_Phdr *segment, uint64_t *ret_entry)
{
	uint64_t at = segment->p_offset, end = at + segment->p_filesz;

	if (end < at || end > file->size_bytes)
		return boot_refuse(file, -ENOEXEC, "an ELF note lies outside of the file");
	for (unsigned int i = 0; i < NOTES_MAX && at + sizeof(Elf64_Nhdr) <= end; i++) {
		struct {
			Elf64_Nhdr nhdr;
			char name[4];
			uint32_t desc[2];
		} note = {0};
		int64_t n = boot_file_read(file, at, &note, sizeof(note));

		if (n < 0)
			return (int)n;
		if (note.nhdr.n_type == NOTE_PHYS32_ENTRY && note.nhdr.n_namesz == 4 &&
		    memcmp(note.name, "Xen", 4) == 0 &&
		    (note.nhdr.n_descsz == 4 || note.nhdr.n_descsz == 8) &&
		    at + sizeof(note.nhdr) + 4 + note.nhdr.n_descsz <= end) {
			*ret_entry = note.desc[0];
			if (note.nhdr.n_descsz == 8)
				*ret_entry |= (uint64_t)note.desc[1] << 32;
			return 1;
		}
		/* Each is at most 4 GiB: three of them do not wrap. */
		at += sizeof(note.nhdr) + align4(note.nhdr.n_namesz) + align4(note.nhdr.n_descsz);
	}
	return 0;
}

static int load_segment(const struct boot_file *file, struct ram *ram, const Elf64_Phdr *segment,
			uint64_t low_end)
{
	uint64_t gpa = segment->p_paddr, len = segment->p_filesz, rest = segment->p_memsz - len;
	int r;

	if (len > segment->p_memsz || segment->p_offset > file->size_bytes ||
	    len > file->size_bytes - segment->p_offset)
		return boot_refuse(file, -ENOEXEC, "an ELF segment lies outside of the file");
	if (gpa < LAYOUT_KERNEL)
		return boot_refuse(file, -ENOEXEC, "an ELF segment loads below 1 MiB, at %#zx",
				   (size_t)gpa);
	if (gpa > low_end || segment->p_memsz > low_end - gpa)
		return boot_refuse(file, -EFBIG,
				   "an ELF segment of %s loads at %#zx, the guest's RAM ends at %s",
				   SIZE_TEXT(segment->p_memsz), (size_t)gpa, SIZE_TEXT(low_end));
	r = boot_file_load(file, segment->p_offset, ram, gpa, len);
	for (gpa += len; r == 0 && rest;) {
		uint64_t room = ram_room(ram, gpa), n = room < rest ? room : rest;

		memset(ram_ptr(ram, gpa, n), 0, n);
		gpa += n;
		rest -= n;
	}
	return r;
}

int elf_load(const struct boot_file *file, struct ram *ram, struct boot_kernel *ret_kernel)
{
	uint64_t low_end = boot_ram_end(ram, 0), entry = 0, end = 0;
	Elf64_Phdr segments[SEGMENTS_MAX] = {0};
	int n = read_segments(file, segments), r = 0;
	bool has_entry = false;

	if (n < 0)
		return n;
	for (int i = 0; i < n && r == 0; i++)
		if (segments[i].p_type == PT_NOTE)
			r = find_entry(file, &segments[i], &entry);
	if (r < 0)
		return r;
	if (r == 0)
		return boot_refuse(file, -ENOEXEC,
				   "an ELF file without the PVH entry note: build the kernel with "
				   "CONFIG_PVH=y, or give its bzImage");
	for (int i = 0; i < n; i++) {
		const Elf64_Phdr *segment = &segments[i];

		if (segment->p_type != PT_LOAD || segment->p_memsz == 0)
			continue;
		r = load_segment(file, ram, segment, low_end);
		if (r < 0)
			return r;
		has_entry = has_entry || (entry >= segment->p_paddr &&
					  entry - segment->p_paddr < segment->p_filesz);
		if (end < segment->p_paddr + segment->p_memsz)
			end = segment->p_paddr + segment->p_memsz;
	}
	if (!has_entry)
		return boot_refuse(file, -ENOEXEC, "the PVH entry %#zx lies in no ELF segment",
				   (size_t)entry);
	*ret_kernel = (struct boot_kernel){
		.entry = {.mode = BOOT_PROTECTED, .rip = entry, .info = LAYOUT_ZERO_PAGE},
		.end = end,
		.initrd_end = low_end, /* Linux takes 32 bits of the module's address */
		.cmdline_max = LAYOUT_CMDLINE_MAX - 1,
	};
	return 0;
}

void elf_inform(struct ram *ram, const struct boot_facts *facts)
{
	const uint64_t page = LAYOUT_ZERO_PAGE;
	struct start_page start = {
		.info =
			{
				.magic = START_MAGIC,
				.version = START_VERSION,
				.n_modules = facts->initrd_bytes ? 1 : 0,
				.modules_gpa = page + offsetof(struct start_page, initrd),
				.cmdline_gpa = LAYOUT_CMDLINE,
				.rsdp_gpa = facts->rsdp,
				.map_gpa = page + offsetof(struct start_page, map),
			},
		.initrd = {.gpa = facts->initrd_gpa, .size_bytes = facts->initrd_bytes},
	};
	struct boot_range ranges[BOOT_RANGES_MAX];

	start.info.map_entries = boot_ranges(ram, ranges);
	for (unsigned int i = 0; i < start.info.map_entries; i++)
		start.map[i] = (struct start_range){
			.gpa = ranges[i].gpa,
			.size_bytes = ranges[i].len,
			.type = ranges[i].type,
		};
	(void)ram_write(ram, page, &start, sizeof(start));
}
