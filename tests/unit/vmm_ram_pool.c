// SPDX-License-Identifier: Apache-2.0
/*
 * Guest RAM of the host's pool of 2 MiB pages: taken at start, given back by whole pages, and never
 * missing. The pages are of a pool that is enlarged for the time of the tests when that may be.
 */
#include "tests/unit/real_ram.h"

#include <numaif.h>

#define POOL_2M "sys/kernel/mm/hugepages/hugepages-2048kB/"

static uint64_t pool_before; /* nr_hugepages to restore; UINT64_MAX: untouched */

static uint64_t pool_free(void)
{
	uint64_t v = 0;

	(void)kfile_read_u64(root, POOL_2M "free_hugepages", &v);
	return v;
}

static int pool_setup(void **state)
{
	uint64_t n;

	pool_before = UINT64_MAX;
	if (pool_free() >= 16 || kfile_read_u64(root, POOL_2M "nr_hugepages", &n) < 0)
		return 0;
	if (kfile_write_u64(root, POOL_2M "nr_hugepages", n + 16) == 0)
		pool_before = n;
	return 0;
}

static int pool_teardown(void **state)
{
	if (pool_before != UINT64_MAX)
		(void)kfile_write_u64(root, POOL_2M "nr_hugepages", pool_before);
	return 0;
}

/* A large pool is somebody's: all of it is not taken, not even for a moment. */
#define DRAINABLE 512 /* pages */

/* 8 pool pages as RAM, or skip. */
static struct ram *new_pool(void)
{
	if (pool_free() < 8)
		skip();
	return new_one(RAM_PAGES_2M, 8 * HUGE);
}

static void test_pool_modes(void **state)
{
	struct ram_config config = {.size_bytes = 4 * HUGE,
				    .pages = RAM_PAGES_2M,
				    .merge = true,
				    .policy = RAM_POLICY_BIND,
				    .host_nodes = {1}};
	uint64_t before = pool_free();
	struct ram *ram;

	if (before < 8)
		skip();
	assert_int_equal(refused(&config, 1), 0); /* taken, with a warning */
	assert_said("KSM never merges");
	assert_said("pages=thp");
	config.merge = false;
	ram = new_ram(&config, 1);
	/* All taken at start, not only reserved. */
	assert_int_equal(pool_free(), before - 4);
	assert_true(has_flag(hva(ram, 0), "ht"));
	assert_false(ram_merge(ram, 0));
	assert_int_equal(ram_set_merge(ram, 0, true), -EOPNOTSUPP);
	assert_int_equal(ram_set_merge(ram, 0, false), 0);
	assert_int_equal(ram_page_bytes(ram, 0), HUGE);
	ram_free(ram);
	assert_int_equal(pool_free(), before);
}

static void test_pool_too_small(void **state)
{
	uint64_t n = pool_free();
	struct ram_config config = {.size_bytes = (n + 7) * HUGE, .pages = RAM_PAGES_2M};
	struct ram_config two[2] = {
		{.size_bytes = (n / 2 + 1) * HUGE, .pages = RAM_PAGES_2M},
		{.size_bytes = (n / 2 + 7) * HUGE, .pages = RAM_PAGES_2M},
	};
	char number[64];
	uint64_t total = 0;

	if (kfile_read_u64(root, POOL_2M "nr_hugepages", &total) < 0)
		skip();
	assert_int_equal(refused(&config, 1), -ENOMEM);
	snprintf(number, sizeof(number), "%" PRIu64 " pages wanted, %" PRIu64 " free", n + 7, n);
	assert_said("2M huge page pool of this host is too small");
	assert_said(number);
	snprintf(number, sizeof(number), "echo %" PRIu64 " > /" POOL_2M "nr_hugepages", total + 7);
	assert_said(number);
	/* Two guest nodes that only together are too much */
	assert_int_equal(refused(two, 2), -ENOMEM);
	assert_said("memory node 1");
	assert_int_equal(pool_free(), n);
	/* Bound: the pool of the node counts */
	config.policy = RAM_POLICY_BIND;
	config.host_nodes[0] = 1;
	assert_int_equal(refused(&config, 1), -ENOMEM);
	assert_said("host node 0");
	assert_said("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages");
}

static void test_pool_partial(void **state)
{
	struct ram *ram = new_pool();
	uint64_t taken = pool_free();
	uint8_t *p = hva(ram, 0);

	memset(p, 5, 8 * HUGE);
	/* Parts of host page 1, in an odd order, over several calls. */
	assert_int_equal(ram_discard(ram, HUGE + MIB, MIB, RAM_GIVER_BALLOON), 0);
	assert_int_equal(ram_discard(ram, HUGE, 512 * KIB, RAM_GIVER_BALLOON), 0);
	assert_int_equal(ram_discard(ram, HUGE, 512 * KIB, RAM_GIVER_BALLOON), 0); /* again */
	assert_int_equal(pool_free(), taken);
	assert_returned(ram, 0, 0);
	/* A part that is taken back keeps it from adding up. */
	assert_int_equal(ram_reuse(ram, HUGE, 4096), 0);
	assert_int_equal(ram_discard(ram, HUGE + 512 * KIB, 512 * KIB, RAM_GIVER_BALLOON), 0);
	assert_int_equal(pool_free(), taken);
	assert_int_equal(p[HUGE], 5);
	assert_int_equal(ram_discard(ram, HUGE, 4096, RAM_GIVER_BALLOON), 0);
	assert_int_equal(pool_free(), taken + 1);
	assert_returned(ram, HUGE, 0);
	assert_int_equal(p[HUGE - 1], 5);
	assert_int_equal(p[2 * HUGE], 5);

	/* The guest uses one 4 KiB of it again: the pool page comes back. */
	assert_int_equal(ram_reuse(ram, HUGE + 8192, 4096), 0);
	assert_int_equal(pool_free(), taken);
	assert_true(has_flag(p + HUGE, "ht"));
	assert_int_equal(p[HUGE + 8192], 0);
	assert_returned(ram, 0, 0);
	/* The others are in the balloon still: that one completes the page again. */
	p[HUGE + 8192] = 1;
	assert_int_equal(ram_discard(ram, HUGE + 8192, 4096, RAM_GIVER_BALLOON), 0);
	assert_int_equal(pool_free(), taken + 1);
	ram_free(ram);
	assert_int_equal(pool_free(), taken + 8);
}

static void test_pool_reporting(void **state)
{
	struct ram_config config = {.size_bytes = 8 * HUGE,
				    .pages = RAM_PAGES_2M,
				    .policy = RAM_POLICY_BIND,
				    .host_nodes = {1}};
	struct ram *ram;
	uint64_t taken;
	uint8_t *p;
	int mode;

	if (pool_free() < 8)
		skip();
	ram = new_ram(&config, 1);
	taken = pool_free();
	p = hva(ram, 0);
	memset(p, 5, 8 * HUGE);
	/* Halves never add up, because the guest uses them again without a word. */
	assert_int_equal(ram_discard(ram, 0, MIB, RAM_GIVER_REPORTING), 0);
	assert_int_equal(ram_discard(ram, MIB, MIB, RAM_GIVER_REPORTING), 0);
	assert_int_equal(pool_free(), taken);
	assert_int_equal(p[0], 5);
	/* Of a range only its whole pages: 1, 2 and 3. */
	assert_int_equal(ram_discard(ram, MIB, 8 * MIB - MIB + MIB, RAM_GIVER_REPORTING), 0);
	assert_int_equal(pool_free(), taken + 3);
	assert_returned(ram, 0, 3 * HUGE);
	assert_int_equal(p[MIB], 5);
	assert_int_equal(p[8 * MIB], 5);
	/* Touched without a word: ordinary memory of the same node, whatever the pool has. */
	assert_int_equal(get_mempolicy(&mode, NULL, 0, p + HUGE, MPOL_F_ADDR), 0);
	assert_int_equal(mode, MPOL_BIND);
	p[HUGE] = 9;
	assert_false(has_flag(p + HUGE, "ht"));
	assert_int_equal(pool_free(), taken + 3);
	/* The balloon takes a part of a page that went and was touched, and gives it back: what
	 * lies beside it stays as it is. */
	assert_int_equal(ram_discard(ram, HUGE + MIB, 4096, RAM_GIVER_BALLOON), 0);
	assert_int_equal(ram_reuse(ram, HUGE + MIB, 4096), 0);
	assert_int_equal(p[HUGE], 9);
	ram_free(ram);
}

static void test_pool_drained(void **state)
{
	struct ram_config other = {.pages = RAM_PAGES_2M};
	struct ram *ram, *thief;
	uint64_t taken, n;
	uint8_t *p;

	if (pool_free() > DRAINABLE)
		skip();
	ram = new_pool();
	taken = pool_free();
	p = hva(ram, 0);
	memset(p, 5, 8 * HUGE);
	assert_int_equal(ram_discard(ram, 0, 4 * HUGE, RAM_GIVER_BALLOON), 0);
	assert_int_equal(pool_free(), taken + 4);
	/* Another guest really gets them, all that are free. */
	n = pool_free();
	other.size_bytes = n * HUGE;
	thief = new_ram(&other, 1);
	memset(hva(thief, 0), 6, n * HUGE);
	assert_int_equal(pool_free(), 0);
	/* Reuse, and use without reuse: no SIGBUS, ordinary memory. */
	assert_int_equal(ram_reuse(ram, 0, HUGE), 0);
	memset(p, 7, 2 * HUGE);
	assert_int_equal(p[HUGE + 5], 7);
	assert_false(has_flag(p, "ht"));
	assert_returned(ram, 2 * HUGE, 0);
	/* Reset with an empty pool, then with pages in it. */
	ram_discard_all(ram);
	assert_int_equal(p[0], 0);
	assert_int_equal(p[5 * HUGE], 0);
	assert_false(has_flag(p, "ht"));
	ram_free(thief);
	p[0] = 1;
	ram_discard_all(ram);
	assert_int_equal(p[0], 0);
	assert_true(has_flag(p, "ht"));
	assert_int_equal(pool_free(), taken);
	assert_returned(ram, 0, 0);
	ram_free(ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pool_modes),   cmocka_unit_test(test_pool_too_small),
		cmocka_unit_test(test_pool_partial), cmocka_unit_test(test_pool_reporting),
		cmocka_unit_test(test_pool_drained),
	};

	log_init("vmm", LOG_LEVEL_INFO);
	root = kfile_open_root("/");
	return cmocka_run_group_tests_name("vmm_ram_pool", tests, pool_setup, pool_teardown);
}
