// SPDX-License-Identifier: Apache-2.0
/* The host's swap from /proc/swaps, zram's and zswap's files: devices, what a byte costs, rates. */
#include "tests/unit/tree.h"

#include "common/clock.h"
#include "common/size.h"
#include "memd/swap.h"

#define HEAD "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"

struct scene {
	struct tree tree;
	int rootfd;
	struct swap *swap;
	struct pol_host host;
};

static void open_scene(struct scene *s, const char *swaps)
{
	*s = (struct scene){.tree = tree_new(NULL)};
	if (swaps)
		tree_set(&s->tree, "proc/swaps", swaps);
	s->rootfd = tree_rootfd(&s->tree);
	assert_int_equal(swap_open(s->rootfd, &s->swap), 0);
}

static void close_scene(struct scene *s)
{
	swap_close(s->swap);
	close(s->rootfd);
	tree_free(&s->tree);
}

static const struct swap_state *look(struct scene *s, const char *meminfo)
{
	swap_sense(s->swap, meminfo, &s->host);
	assert_int_equal(s->host.swap_cost_ppm, swap_state(s->swap)->cost_ppm);
	return swap_state(s->swap);
}

static void without_swap(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s, NULL);
	assert_int_equal(look(&s, "")->n_devices, 0);
	assert_int_equal(s.host.swap_cost_ppm, POL_ABSENT);
	close_scene(&s);
	open_scene(&s, HEAD);
	assert_int_equal(look(&s, "")->n_devices, 0);
	assert_int_equal(s.host.swap_cost_ppm, POL_ABSENT);
	close_scene(&s);
}

static void a_disk_costs_nothing(void **state)
{
	struct scene s;
	const struct swap_state *now;

	(void)state;
	open_scene(&s, HEAD "/dev/vdb\\040x   partition\t1048576\t\t4096\t\t-2\n");
	now = look(&s, "");
	assert_int_equal(now->n_devices, 1);
	assert_string_equal(now->devices[0].name, "/dev/vdb\\040x");
	assert_int_equal(now->devices[0].bytes, 1024 * MIB);
	assert_int_equal(now->devices[0].used_bytes, 4 * MIB);
	assert_int_equal(now->devices[0].priority, -2);
	assert_false(now->devices[0].zram);
	assert_int_equal(now->cost_ppm, 0);
	close_scene(&s);
}

/* zram: half is expected until enough is stored, then what is measured. */
static void zram_costs_what_it_takes(void **state)
{
	struct scene s;
	const struct swap_state *now;

	(void)state;
	open_scene(&s, HEAD "/dev/zram3 partition 524288 1024 100\n");
	tree_set(&s.tree, "sys/block/zram3/mm_stat", "1048576 1000 100000 0 1 2 3 4 5\n");
	now = look(&s, "");
	assert_true(now->devices[0].zram);
	assert_int_equal(now->devices[0].stored_bytes, 1048576);
	assert_int_equal(now->devices[0].taken_bytes, 100000);
	assert_int_equal(now->cost_ppm, 500000);
	tree_set(&s.tree, "sys/block/zram3/mm_stat", "100000000 1 25000000 0 1 2 3 4 5\n");
	assert_int_equal(look(&s, "")->cost_ppm, 250000);
	/* What does not compress takes more than it is. */
	tree_set(&s.tree, "sys/block/zram3/mm_stat", "100000000 1 101000000 0 1 2 3 4 5\n");
	assert_int_equal(look(&s, "")->cost_ppm, 1000000);
	/* At its limit it takes nothing more. */
	tree_set(&s.tree, "sys/block/zram3/mm_stat", "100000000 1 25000000 26000000 1 2 3 4 5\n");
	assert_int_equal(look(&s, "")->cost_ppm, 1000000);
	tree_set(&s.tree, "sys/block/zram3/mm_stat", "nonsense\n");
	assert_int_equal(look(&s, "")->cost_ppm, 0);
	close_scene(&s);
}

/* The one of highest priority that has room is filled next. */
static void the_next_device_counts(void **state)
{
	struct scene s;
	const struct swap_state *now;

	(void)state;
	open_scene(&s, HEAD "/dev/vdb partition 1048576 0 -2\n"
			    "/dev/zram0 partition 524288 0 100\n"
			    "/swap file 1048576 0 5\n");
	tree_set(&s.tree, "sys/block/zram0/mm_stat", "100000000 1 30000000 0 1 2 3 4 5\n");
	now = look(&s, "");
	assert_int_equal(now->n_devices, 3);
	assert_string_equal(now->devices[0].name, "/dev/zram0");
	assert_string_equal(now->devices[1].name, "/swap");
	assert_int_equal(now->cost_ppm, 300000);
	tree_set(&s.tree, "proc/swaps",
		 HEAD "/dev/vdb partition 1048576 0 -2\n"
		      "/dev/zram0 partition 524288 524288 100\n");
	assert_int_equal(look(&s, "")->cost_ppm, 0);
	tree_set(&s.tree, "proc/swaps", HEAD "/dev/zram0 partition 524288 524288 100\n");
	assert_int_equal(look(&s, "")->cost_ppm, POL_ABSENT);
	close_scene(&s);
}

static void zswap_stands_before_a_disk(void **state)
{
	struct scene s;
	const struct swap_state *now;

	(void)state;
	open_scene(&s, HEAD "/dev/vdb partition 1048576 0 -2\n");
	tree_set(&s.tree, "sys/module/zswap/parameters/enabled", "Y\n");
	now = look(&s, "MemTotal: 5 kB\n");
	assert_true(now->zswap);
	assert_int_equal(now->zswapped_bytes, POL_ABSENT);
	assert_int_equal(now->cost_ppm, 500000);
	now = look(&s, "Zswap:  10240 kB\nZswapped:   51200 kB\n");
	assert_int_equal(now->zswap_bytes, 10 * MIB);
	assert_int_equal(now->cost_ppm, 200000);
	tree_set(&s.tree, "sys/module/zswap/parameters/enabled", "N\n");
	assert_int_equal(look(&s, "Zswap:  10240 kB\nZswapped:   51200 kB\n")->cost_ppm, 0);
	close_scene(&s);
}

static void lines_that_make_no_sense(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s, HEAD "/dev/vdb partition lots 0 -2\n"
			    "/dev/vdc partition 100 200 -2\n"
			    "/dev/vdd partition 18446744073709551615 0 -2\n"
			    "/dev/vde\n\n"
			    "/dev/vdf partition 1048576 0 -2\n");
	assert_int_equal(look(&s, "")->n_devices, 1);
	assert_string_equal(swap_state(s.swap)->devices[0].name, "/dev/vdf");
	close_scene(&s);
}

static void rates(void **state)
{
	struct scene s;
	const struct swap_state *now;

	(void)state;
	open_scene(&s, NULL);
	now = swap_state(s.swap);
	assert_int_equal(now->in_bytes_per_s, POL_ABSENT);
	s.host.swap_in_bytes = 5 * MIB;
	s.host.swap_out_bytes = 50 * MIB;
	swap_follow(s.swap, 10 * USEC_PER_SEC, &s.host);
	assert_int_equal(now->in_bytes_per_s, POL_ABSENT);
	s.host.swap_in_bytes = 7 * MIB;
	s.host.swap_out_bytes = 150 * MIB;
	swap_follow(s.swap, 10 * USEC_PER_SEC + 100, &s.host); /* too soon to tell */
	assert_int_equal(now->in_bytes_per_s, POL_ABSENT);
	swap_follow(s.swap, 12 * USEC_PER_SEC, &s.host);
	assert_int_equal(now->in_bytes_per_s, MIB);
	assert_int_equal(now->out_bytes_per_s, 50 * MIB);
	s.host.swap_in_bytes = 0; /* went back */
	swap_follow(s.swap, 14 * USEC_PER_SEC, &s.host);
	assert_int_equal(now->in_bytes_per_s, POL_ABSENT);
	s.host.swap_in_bytes = POL_ABSENT;
	swap_follow(s.swap, 16 * USEC_PER_SEC, &s.host);
	assert_int_equal(now->out_bytes_per_s, POL_ABSENT);
	close_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_swap),
		cmocka_unit_test(a_disk_costs_nothing),
		cmocka_unit_test(zram_costs_what_it_takes),
		cmocka_unit_test(the_next_device_counts),
		cmocka_unit_test(zswap_stands_before_a_disk),
		cmocka_unit_test(lines_that_make_no_sense),
		cmocka_unit_test(rates),
	};

	return cmocka_run_group_tests_name("memd_swap", tests, NULL, NULL);
}
