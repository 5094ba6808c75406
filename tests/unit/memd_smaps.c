// SPDX-License-Identifier: Apache-2.0
/* Lines of smaps: headers and flags as kernels write them, and what only looks like them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "memd/smaps.h"

static void headers(void **state)
{
	struct smaps_mapping m;

	(void)state;
	assert_int_equal(
		smaps_header("55d000000000-55d000001000 r-xp 00000000 08:01 99 /bin/x", &m), 1);
	assert_int_equal(m.start, 0x55d000000000);
	assert_int_equal(m.end, 0x55d000001000);
	assert_true(m.readable && m.exec && m.file);
	assert_false(m.writable || m.shared);
	assert_string_equal(m.name, "/bin/x");

	assert_int_equal(
		smaps_header("7f00-8000 rw-s 00000000 00:01 7    /memfd:ram (deleted)", &m), 1);
	assert_true(m.readable && m.writable && m.shared && m.file);
	assert_false(m.exec);
	assert_string_equal(m.name, "/memfd:ram (deleted)");

	assert_int_equal(smaps_header("7f00-8000 ---p 00000000 00:00 0 ", &m), 1);
	assert_false(m.readable || m.writable || m.exec || m.shared || m.file);
	assert_string_equal(m.name, "");
	/* without the blank at its end, and with the newline that getline(3) leaves */
	assert_int_equal(smaps_header("7f00-8000 rw-p 00000000 00:00 0", &m), 1);
	assert_string_equal(m.name, "");
	assert_int_equal(smaps_header("7f00-8000 rw-p 00000000 00:00 0 \n", &m), 1);
	assert_string_equal(m.name, "");
	/* of no size, and major numbers and offsets in hexadecimal */
	assert_int_equal(smaps_header("7f00-7f00 rw-p ffe00000 fd:1c 18", &m), 1);
	assert_int_equal(m.start, m.end);
}

static void names(void **state)
{
	static const char *const these[] = {
		"[heap]",
		"[stack]",
		"[anon:guest ram of vm 7]",
		"/var/lib/my images/disk 1.img",
		"/dev/shm/a b (deleted)",
		"/with\\012newline 1000-2000 rw-p 00000000 00:00 0",
		"7f00-8000 rw-p 00000000 00:00 0",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(these); i++) {
		struct smaps_mapping m;
		char line[256];

		snprintf(line, sizeof(line), "400000-401000 rw-p 00000000 08:01 5 %26s%s", "",
			 these[i]);
		assert_int_equal(smaps_header(line, &m), 1);
		assert_int_equal(m.start, 0x400000);
		assert_string_equal(m.name, these[i]);
	}
}

static void huge_numbers(void **state)
{
	struct smaps_mapping m;

	(void)state;
	assert_int_equal(smaps_header("0-ffffffffffffffff rw-p 00000000 00:00 0", &m), 1);
	assert_int_equal(m.start, 0);
	assert_int_equal(m.end, UINT64_MAX);
	assert_int_equal(smaps_header("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  "
				      "[vsyscall]",
				      &m),
			 1);
	assert_int_equal(m.start, 0xffffffffff600000);
	/* more than 64 bits is no address */
	assert_int_equal(smaps_header("0-10000000000000000 rw-p 00000000 00:00 0", &m), -EINVAL);
	assert_int_equal(
		smaps_header("10000000000000000-10000000000001000 rw-p 00000000 00:00 0", &m),
		-EINVAL);
	/* an inode beyond 64 bits is still one */
	assert_int_equal(
		smaps_header("1000-2000 rw-p 00000000 00:00 99999999999999999999999 /x", &m), 1);
	assert_true(m.file);
	assert_string_equal(m.name, "/x");
}

static void garbage(void **state)
{
	static const char *const lines[] = {
		"",
		" ",
		"\n",
		"garbage",
		"what?",
		"-",
		"7f00",
		"7f00-",
		"7f00-8000",
		"7f00-8000 ",
		"7f00-8000 rw-p",
		"7f00-8000 rw-p 00000000 00:00",
		"7f00-8000 rw-p 00000000 00:00 x",
		"7f00-8000 rw-p 00000000 0000 0",
		"7f00-8000 rw-p xyz 00:00 0",
		"7f00-8000 rw 00000000 00:00 0",
		"7f00-8000 rw-pp 00000000 00:00 0",
		"8000-7f00 rw-p 00000000 00:00 0", /* ends before it begins */
		"7f00 8000 rw-p 00000000 00:00 0",
		"/bin/x 7f00-8000 rw-p 00000000 00:00 0",
	};
	const struct smaps_mapping before = {.start = 1, .end = 2, .name = "as it was"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct smaps_mapping m = before;

		if (smaps_header(lines[i], &m) != -EINVAL)
			fail_msg("taken for a header: %s", lines[i]);
		assert_memory_equal(&m, &before, sizeof(m));
	}
}

static void keys(void **state)
{
	struct smaps_mapping m;
	unsigned int flags = 77;

	(void)state;
	assert_int_equal(smaps_header("AnonHugePages:      0 kB", &m), 0);
	assert_int_equal(smaps_header("VmFlags: rd wr", &m), 0);
	/* what could be hexadecimal is a key */
	assert_int_equal(smaps_header("ABCD-BCDE rw-p 00000000 00:00 0", &m), 0);
	assert_false(smaps_flags("Size:      4 kB", &flags));
	assert_false(smaps_flags("VmFlag: mg", &flags));
	assert_false(smaps_flags(" VmFlags: mg", &flags));
	assert_false(smaps_flags("", &flags));
	assert_int_equal(flags, 77);
}

static void flags(void **state)
{
	static const struct {
		const char *line;
		unsigned int flags;
	} these[] = {
		{"VmFlags:", 0},
		{"VmFlags: ", 0},
		{"VmFlags: \n", 0},
		{"VmFlags: rd wr mr mw me ac sd ", 0},
		{"VmFlags: rd wr mr mw me ac mg ", SMAPS_MERGEABLE},
		{"VmFlags: rd wr mr mw me ac mg\n", SMAPS_MERGEABLE},
		{"VmFlags: mg", SMAPS_MERGEABLE},
		{"VmFlags:mg ht", SMAPS_MERGEABLE | SMAPS_HUGETLB},
		{"VmFlags: rd wr sh mr mw me ms io pf de dd",
		 SMAPS_SHARED | SMAPS_IO | SMAPS_PFN | SMAPS_FIXED},
		{"VmFlags: rd mm  ht", SMAPS_MIXED | SMAPS_HUGETLB},
		/* whole words of two letters alone: what came later may be longer */
		{"VmFlags: mgx xmg m g Mg ioht", 0},
		{"VmFlags: mg mg mg", SMAPS_MERGEABLE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(these); i++) {
		unsigned int got = 1U << 31;

		if (!smaps_flags(these[i].line, &got) || got != these[i].flags)
			fail_msg("%s: %#x, not %#x", these[i].line, got, these[i].flags);
	}
}

/* All that this kernel says of this process. */
static void live(void **state)
{
	AUTO_FREE char *text = NULL;
	AUTO_FD int rootfd = kfile_open_root("/");
	unsigned int mappings = 0, flagged = 0;
	uint64_t end = 0;
	bool here = false;
	char *save = NULL;

	(void)state;
	assert_int_equal(kfile_read_all(rootfd, "proc/self/smaps", &text, NULL), 0);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct smaps_mapping m;
		unsigned int bits;
		int r = smaps_header(line, &m);

		if (r < 0)
			fail_msg("not understood: %s", line);
		flagged += smaps_flags(line, &bits);
		if (!r)
			continue;
		assert_true(m.start >= end && m.end > m.start);
		end = m.end;
		mappings++;
		here |= m.exec && m.file && (uintptr_t)live - m.start < m.end - m.start;
	}
	assert_true(here);
	assert_true(mappings > 10);
	assert_int_equal(flagged, mappings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers), cmocka_unit_test(names), cmocka_unit_test(huge_numbers),
		cmocka_unit_test(garbage), cmocka_unit_test(keys),  cmocka_unit_test(flags),
		cmocka_unit_test(live),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
