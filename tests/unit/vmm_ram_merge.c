// SPDX-License-Identifier: Apache-2.0
/* Merging by ranges on real memory: what the kernel marks, the runs told, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/size.h"
#include "vmm/layout.h"
#include "vmm/ram.h"

#define CHUNK RAM_MERGE_CHUNK

static char why[RAM_WHY_MAX];

static struct ram *new_ram(uint64_t bytes, bool merge)
{
	struct ram_config config = {.size_bytes = bytes, .pages = RAM_PAGES_THP, .merge = merge};
	struct ram *ram;

	assert_int_equal(ram_new(&config, 1, &ram), 0);
	return ram;
}

static int change(struct ram *ram, uint64_t gpa, uint64_t len, bool merge)
{
	struct ram_merge_range range = {gpa, len, merge};

	why[0] = '\0';
	return ram_merge_ranges(ram, &range, 1, why);
}

/* Mergeable as the kernel sees it: 'm' or '-' per chunk of the first n. */
static void read_marks(struct ram *ram, size_t n, char *buf)
{
	AUTO_FILE FILE *f = fopen("/proc/self/smaps", "r");
	uintptr_t base = (uintptr_t)ram_ptr(ram, 0, 1);
	uint64_t from = 0, to = 0;
	char line[512];

	memset(buf, '?', n);
	buf[n] = '\0';
	while (fgets(line, sizeof(line), f)) {
		uint64_t a, b;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &a, &b) == 2) {
			from = a;
			to = b;
		}
		if (strncmp(line, "VmFlags:", 8) != 0)
			continue;
		for (size_t i = 0; i < n; i++)
			if (base + i * CHUNK >= from && base + i * CHUNK < to)
				buf[i] = strstr(line, " mg ") ? 'm' : '-';
	}
}

static void assert_marks(struct ram *ram, const char *wanted)
{
	char marks[65], told[65];
	struct ram_merge_range run;
	uint64_t gpa = 0;

	read_marks(ram, strlen(wanted), marks);
	assert_string_equal(marks, wanted);
	for (; ram_merge_run(ram, gpa, &run); gpa = run.gpa + run.len)
		for (uint64_t at = run.gpa; at < run.gpa + run.len; at += CHUNK)
			told[at / CHUNK] = run.merge ? 'm' : '-';
	assert_int_equal(gpa, ram_size_bytes(ram));
	told[strlen(wanted)] = '\0';
	assert_string_equal(told, wanted);
}

static int need_ksm(void **state)
{
	AUTO_FD int root = kfile_open_root("/");
	uint64_t v;

	return kfile_read_u64(root, "sys/kernel/mm/ksm/run", &v) < 0 ? -1 : 0;
}

static void test_ranges(void **state)
{
	struct ram *ram = new_ram(16 * MIB, true);
	struct ram_merge_range two[] = {{0, 16 * MIB, true}, {4 * MIB, 2 * MIB, false}};

	assert_marks(ram, "mmmmmmmm");
	assert_int_equal(change(ram, 2 * MIB, 4 * MIB, false), 0);
	assert_marks(ram, "m--mmmmm");
	assert_int_equal(change(ram, 4 * MIB, 2 * MIB, true), 0);
	assert_marks(ram, "m-mmmmmm");
	assert_int_equal(change(ram, 14 * MIB, 2 * MIB, false), 0);
	assert_marks(ram, "m-mmmmm-");
	assert_true(ram_merge(ram, 0));
	/* The later range wins. */
	assert_int_equal(ram_merge_ranges(ram, two, 2, why), 0);
	assert_marks(ram, "mm-mmmmm");
	/* The whole node, as QEMU has it. */
	assert_int_equal(ram_set_merge(ram, 0, false), 0);
	assert_marks(ram, "--------");
	assert_false(ram_merge(ram, 0));
	assert_int_equal(change(ram, 6 * MIB, 2 * MIB, true), 0);
	assert_marks(ram, "---m----");
	assert_true(ram_merge(ram, 0));
	assert_int_equal(ram_set_merge(ram, 0, true), 0);
	assert_marks(ram, "mmmmmmmm");
	assert_int_equal(ram_merge_ranges(ram, NULL, 0, why), 0);
	ram_free(ram);
}

static void test_refused(void **state)
{
	struct ram *ram = new_ram(16 * MIB, true);
	struct ram_merge_range good_then_bad[] = {{0, 2 * MIB, false}, {MIB, 2 * MIB, false}};

	assert_int_equal(change(ram, MIB, 2 * MIB, false), -EINVAL);
	assert_non_null(strstr(why, "multiple of 2 MiB"));
	assert_int_equal(change(ram, 0, MIB, false), -EINVAL);
	assert_int_equal(change(ram, 0, 0, false), -EINVAL);
	assert_int_equal(change(ram, 16 * MIB, 2 * MIB, false), -EFAULT);
	assert_int_equal(change(ram, 14 * MIB, 4 * MIB, false), -EFAULT);
	assert_int_equal(change(ram, 0, UINT64_MAX & ~(CHUNK - 1), false), -EFAULT);
	assert_int_equal(change(ram, UINT64_MAX & ~(CHUNK - 1), CHUNK, false), -EFAULT);
	assert_int_equal(ram_merge_ranges(ram, good_then_bad, 2, why), -EINVAL);
	assert_marks(ram, "mmmmmmmm");
	ram_free(ram);
}

static void test_odd_end_and_hole(void **state)
{
	struct ram_merge_range run;
	struct ram *ram = new_ram(5 * MIB, true);

	assert_int_equal(change(ram, 4 * MIB, MIB, false), 0);
	assert_true(ram_merge_run(ram, 4 * MIB, &run));
	assert_int_equal(run.len, MIB);
	assert_false(run.merge);
	ram_free(ram);

	ram = new_ram(4 * GIB, true);
	assert_int_equal(change(ram, LAYOUT_HOLE_START - CHUNK, 2 * CHUNK, false), -EFAULT);
	assert_int_equal(change(ram, LAYOUT_HOLE_START - CHUNK, CHUNK, false), 0);
	assert_true(ram_merge_run(ram, LAYOUT_HOLE_START, &run));
	assert_int_equal(run.gpa, LAYOUT_HIGH_START);
	assert_int_equal(run.len, GIB);
	assert_true(run.merge);
	assert_false(ram_merge_run(ram, LAYOUT_HIGH_START + GIB, &run));
	ram_free(ram);
}

/* Every second chunk of very much RAM: more mappings than the kernel would give. */
static void test_too_many_pieces(void **state)
{
	AUTO_FD int root = kfile_open_root("/");
	uint64_t max = 65530, n;
	struct ram_merge_range *ranges, run;
	struct ram *ram;

	(void)kfile_read_u64(root, "proc/sys/vm/max_map_count", &max);
	if (max > 1000000)
		skip();
	n = max / 8 + 8;
	ram = new_ram(2 * n * CHUNK + 8 * GIB, true);
	ranges = calloc(n, sizeof(*ranges));
	for (uint64_t i = 0; i < n; i++)
		ranges[i] =
			(struct ram_merge_range){LAYOUT_HIGH_START + 2 * i * CHUNK, CHUNK, false};
	assert_int_equal(ram_merge_ranges(ram, ranges, n, why), -E2BIG);
	assert_non_null(strstr(why, "vm.max_map_count"));
	assert_true(ram_merge_run(ram, LAYOUT_HIGH_START, &run));
	assert_true(run.merge && run.len > CHUNK);
	/* A few fewer are fine, and fewer pieces than there are always are. */
	assert_int_equal(ram_merge_ranges(ram, ranges, n - 32, why), 0);
	assert_int_equal(change(ram, LAYOUT_HIGH_START, n * CHUNK, true), 0);
	free(ranges);
	ram_free(ram);
}

static void test_buffer(void **state)
{
	/* A buffer is small pages of the caller's. */
	void *buffer = aligned_alloc(CHUNK, 2 * CHUNK);
	struct ram *ram;

	assert_int_equal(ram_new_buffer(buffer, 0, 2 * CHUNK, &ram), 0);
	assert_int_equal(change(ram, 0, CHUNK, true), 0);
	assert_true(ram_merge(ram, 0));
	assert_int_equal(change(ram, 0, CHUNK, false), 0);
	ram_free(ram);
	free(buffer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_ranges, need_ksm),
		cmocka_unit_test_setup(test_refused, need_ksm),
		cmocka_unit_test_setup(test_odd_end_and_hole, need_ksm),
		cmocka_unit_test_setup(test_too_many_pieces, need_ksm),
		cmocka_unit_test_setup(test_buffer, need_ksm),
	};

	return cmocka_run_group_tests_name("vmm_ram_merge", tests, NULL, NULL);
}
