// SPDX-License-Identifier: Apache-2.0
/* Loading bzImages: what lands where in guest RAM, and that each broken number is refused with a
 * reason. */
#include "tests/unit/boot_files.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bzimage),	      cmocka_unit_test(test_short_header),
		cmocka_unit_test(test_bzimage_nodes), cmocka_unit_test(test_initrd),
		cmocka_unit_test(test_files),	      cmocka_unit_test(test_cmdline),
		cmocka_unit_test(test_bad_headers),   cmocka_unit_test(test_bad_numbers),
	};

	log_init("vmm", LOG_LEVEL_INFO);
	return cmocka_run_group_tests_name("vmm_boot", tests, NULL, NULL);
}
