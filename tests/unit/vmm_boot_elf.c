// SPDX-License-Identifier: Apache-2.0
/* Loading ELF kernels, and stock ones where there are any. */
#include "tests/unit/boot_files.h"

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
		cmocka_unit_test(test_elf),
		cmocka_unit_test(test_bad_elf),
		cmocka_unit_test(test_real_kernels),
	};

	log_init("vmm", LOG_LEVEL_INFO);
	return cmocka_run_group_tests_name("vmm_boot_elf", tests, NULL, NULL);
}
