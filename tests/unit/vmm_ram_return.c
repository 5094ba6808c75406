// SPDX-License-Identifier: Apache-2.0
/* Guest RAM given back to the host, on real memory, and the account of it. */
#include "tests/unit/real_ram.h"

static void test_account(void **state)
{
	struct ram *ram = new_one(RAM_PAGES_SMALL, 16 * MIB);
	uint8_t *p = hva(ram, 0);

	assert_returned(ram, 0, 0);
	/* What was never touched frees nothing. */
	assert_int_equal(ram_discard(ram, 8 * MIB, 1 * MIB, RAM_GIVER_BALLOON), 0);
	assert_returned(ram, 0, 0);

	memset(p, 1, 4 * MIB);
	assert_int_equal(ram_discard(ram, 0, 1 * MIB, RAM_GIVER_BALLOON), 0);
	assert_int_equal(ram_discard(ram, 1 * MIB, 2 * MIB, RAM_GIVER_REPORTING), 0);
	assert_returned(ram, 1 * MIB, 2 * MIB);
	assert_int_equal(resident(ram, 0, 16 * MIB), 1 * MIB);
	/* Given again while absent: counted once, for the last giver. */
	assert_int_equal(ram_discard(ram, 1 * MIB, 1 * MIB, RAM_GIVER_BALLOON), 0);
	assert_int_equal(ram_discard(ram, 0, 1 * MIB, RAM_GIVER_BALLOON), 0);
	assert_returned(ram, 2 * MIB, 1 * MIB);
	/* Touched without a word: not free any more, nor after a second look. */
	p[2 * MIB] = 1;
	assert_returned(ram, 2 * MIB, 1 * MIB - 4096);
	/* Deflated: nobody's merit, until it is reported. */
	assert_int_equal(ram_reuse(ram, 0, 1 * MIB), 0);
	assert_returned(ram, 1 * MIB, 1 * MIB - 4096);
	assert_int_equal(ram_discard(ram, 0, 512 * KIB, RAM_GIVER_REPORTING), 0);
	assert_returned(ram, 1 * MIB, 1 * MIB + 512 * KIB - 4096);
	/* Reset by the device: neither. */
	assert_int_equal(ram_discard(ram, 1 * MIB, 1 * MIB, RAM_GIVER_RESET), 0);
	assert_returned(ram, 0, 1 * MIB + 512 * KIB - 4096);
	ram_discard_all(ram);
	assert_returned(ram, 0, 0);
	assert_int_equal(resident(ram, 0, 16 * MIB), 0);
	ram_free(ram);
}

static void test_discard_bounds(void **state)
{
	struct ram_config configs[2] = {{.size_bytes = 4 * MIB}, {.size_bytes = 4 * MIB}};
	struct ram *ram = new_ram(configs, 2);

	memset(hva(ram, 0), 1, 4 * MIB);
	memset(hva(ram, 4 * MIB), 1, 4 * MIB);
	assert_int_equal(ram_discard(ram, 1, 4096, RAM_GIVER_BALLOON), -EINVAL);
	assert_int_equal(ram_discard(ram, 4096, 100, RAM_GIVER_BALLOON), -EINVAL);
	assert_int_equal(ram_discard(ram, 8 * MIB, 4096, RAM_GIVER_BALLOON), -EFAULT);
	assert_int_equal(ram_discard(ram, 4 * MIB, 5 * MIB, RAM_GIVER_BALLOON), -EFAULT);
	assert_int_equal(ram_discard(ram, 0, -4096ULL, RAM_GIVER_BALLOON), -EFAULT);
	assert_int_equal(ram_discard(ram, -4096ULL, 8192, RAM_GIVER_BALLOON), -EFAULT);
	assert_int_equal(ram_reuse(ram, 8 * MIB, 4096), -EFAULT);
	assert_int_equal(ram_reuse(ram, 8, 4096), -EINVAL);
	assert_int_equal(ram_discard(ram, 0, 0, RAM_GIVER_BALLOON), 0);
	assert_int_equal(resident(ram, 0, 4 * MIB) + resident(ram, 4 * MIB, 4 * MIB), 8 * MIB);
	/* Across the border of two regions */
	assert_int_equal(ram_discard(ram, 3 * MIB, 2 * MIB, RAM_GIVER_BALLOON), 0);
	assert_int_equal(resident(ram, 0, 4 * MIB), 3 * MIB);
	assert_int_equal(resident(ram, 4 * MIB, 4 * MIB), 3 * MIB);
	assert_returned(ram, 2 * MIB, 0);
	ram_free(ram);
}

static void test_swapped_is_not_returned(void **state)
{
	struct ram *ram = new_one(RAM_PAGES_SMALL, 4 * MIB);
	char text[512];

	/* Only the header line: no swap to try it with. */
	if (kfile_read(root, "proc/swaps", text, sizeof(text)) < 0 || !strstr(text, "/")) {
		ram_free(ram);
		skip();
	}
	memset(hva(ram, 0), 1, 4 * MIB);
	assert_int_equal(ram_discard(ram, 0, 1 * MIB, RAM_GIVER_BALLOON), 0);
	memset(hva(ram, 0), 1, 1 * MIB);
	if (madvise(hva(ram, 0), 1 * MIB, MADV_PAGEOUT) == 0)
		assert_returned(ram, 0, 0);
	ram_free(ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_account),
		cmocka_unit_test(test_discard_bounds),
		cmocka_unit_test(test_swapped_is_not_returned),
	};

	log_init("vmm", LOG_LEVEL_INFO);
	root = kfile_open_root("/");
	return cmocka_run_group_tests_name("vmm_ram_return", tests, NULL, NULL);
}
