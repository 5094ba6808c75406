// SPDX-License-Identifier: Apache-2.0
/*
 * Guest RAM on real memory of the host: layout and accessors, page modes as the kernel reads them
 * back, and host nodes.
 */
#include "tests/unit/real_ram.h"

#include <numaif.h>

#include "vmm/layout.h"

/* ---- layout and accessors ---- */

static void test_layout(void **state)
{
	/* Nothing of it is touched, so the sizes are free of charge. */
	struct ram_config configs[3] = {
		{.size_bytes = 1 * GIB}, {.size_bytes = 4 * GIB}, {.size_bytes = 512 * MIB}};
	struct ram *ram = new_ram(configs, 3);
	static const struct {
		uint64_t gpa, len;
		unsigned int node;
	} want[] = {{0, 1 * GIB, 0},
		    {1 * GIB, 2 * GIB, 1},
		    {4 * GIB, 2 * GIB, 1},
		    {6 * GIB, 512 * MIB, 2}};

	assert_int_equal(ram_region_count(ram), ARRAY_SIZE(want));
	assert_int_equal(ram_node_count(ram), 3);
	assert_int_equal(ram_size_bytes(ram), 5 * GIB + 512 * MIB);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		const struct ram_region *r = ram_region(ram, i);

		assert_int_equal(r->gpa, want[i].gpa);
		assert_int_equal(r->size_bytes, want[i].len);
		assert_int_equal(r->node, want[i].node);
		assert_int_equal((uintptr_t)r->hva % HUGE, 0);
	}
	assert_int_equal(ram_node_config(ram, 1)->size_bytes, 4 * GIB);
	ram_free(ram);
	ram_free(NULL);
}

static void test_node_at_hole(void **state)
{
	/* A node that ends at the hole: the next one starts behind it. */
	struct ram_config configs[2] = {{.size_bytes = 3 * GIB}, {.size_bytes = 1 * GIB}};
	struct ram *ram = new_ram(configs, 2);

	assert_int_equal(ram_region_count(ram), 2);
	assert_int_equal(ram_region(ram, 1)->gpa, LAYOUT_HIGH_START);
	ram_free(ram);
}

static void test_accessors(void **state)
{
	struct ram_config configs[2] = {{.size_bytes = 4 * MIB}, {.size_bytes = 4 * MIB}};
	struct ram *ram = new_ram(configs, 2);
	const uint64_t border = 4 * MIB, end = 8 * MIB;
	char text[9] = "";

	assert_non_null(ram_ptr(ram, 0, border));
	assert_non_null(ram_ptr(ram, end - 1, 1));
	assert_null(ram_ptr(ram, 0, 0));
	assert_null(ram_ptr(ram, 0, border + 1)); /* across regions */
	assert_null(ram_ptr(ram, end, 1));
	assert_null(ram_ptr(ram, end - 4, 5));
	assert_null(ram_ptr(ram, end - 4, UINT64_MAX));
	assert_null(ram_ptr(ram, UINT64_MAX, 1));
	assert_null(ram_ptr(ram, UINT64_MAX - 4095, 4096));
	assert_int_equal(ram_room(ram, 0), border);
	assert_int_equal(ram_room(ram, border - 1), 1);
	assert_int_equal(ram_room(ram, end), 0);
	assert_int_equal(ram_room(ram, UINT64_MAX), 0);

	assert_int_equal(ram_write(ram, border - 4, "abcdefgh", 8), 0);
	assert_memory_equal(ram_ptr(ram, border - 4, 4), "abcd", 4);
	assert_memory_equal(ram_ptr(ram, border, 4), "efgh", 4);
	assert_int_equal(ram_read(ram, border - 4, text, 8), 0);
	assert_string_equal(text, "abcdefgh");

	/* Not all RAM: nothing is copied. */
	assert_int_equal(ram_write(ram, end - 4, "abcdefgh", 8), -EFAULT);
	assert_int_equal(*(uint32_t *)ram_ptr(ram, end - 4, 4), 0);
	assert_int_equal(ram_read(ram, end - 4, text, 8), -EFAULT);
	assert_string_equal(text, "abcdefgh");
	assert_int_equal(ram_read(ram, 0, text, UINT64_MAX), -EFAULT);
	assert_int_equal(ram_write(ram, UINT64_MAX - 1, "ab", 2), -EFAULT);
	assert_int_equal(ram_read(ram, end, text, 0), 0);
	ram_free(ram);
}

static void test_buffer(void **state)
{
	void *buffer = aligned_alloc(4096, 64 * KIB);
	uint8_t *odd = malloc(64 * KIB + 4096 + 1);
	struct ram *ram = NULL;

	assert_int_equal(ram_new_buffer(buffer, 0x100, 64 * KIB, &ram), -EINVAL);
	assert_int_equal(ram_new_buffer(buffer, 0, 100, &ram), -EINVAL);
	assert_int_equal(ram_new_buffer(buffer, 0, 0, &ram), -EINVAL);
	assert_int_equal(ram_new_buffer(NULL, 0, 4096, &ram), -EINVAL);
	assert_int_equal(ram_new_buffer(buffer, -4096ULL, 8192, &ram), -EINVAL);
	assert_null(ram);
	assert_int_equal(ram_new_buffer(buffer, MIB, 64 * KIB, &ram), 0);
	assert_null(ram_ptr(ram, 0, 1));
	assert_ptr_equal(ram_ptr(ram, MIB, 64 * KIB), buffer);
	memset(buffer, 7, 64 * KIB);
	assert_int_equal(ram_discard(ram, MIB + 8 * KIB, 8 * KIB, RAM_GIVER_BALLOON), 0);
	assert_int_equal(((uint8_t *)buffer)[8 * KIB], 0);
	assert_int_equal(((uint8_t *)buffer)[16 * KIB], 7);
	/* Looking at it brought the first page in again. */
	assert_returned(ram, 4 * KIB, 0);
	ram_discard_all(ram);
	assert_int_equal(((uint8_t *)buffer)[0], 0);
	ram_free(ram);

	/* A buffer off the page borders may not be discarded: its pages hold other things. */
	assert_int_equal(ram_new_buffer((void *)(((uintptr_t)odd | 4095) + 2), 0, 32 * KIB, &ram),
			 0);
	memset(ram_ptr(ram, 0, 1), 7, 32 * KIB);
	assert_int_equal(ram_discard(ram, 0, 4096, RAM_GIVER_BALLOON), -EINVAL);
	assert_int_equal(*(uint8_t *)ram_ptr(ram, 0, 1), 7);
	ram_free(ram);
	free(odd);
	free(buffer);
}

/* ---- modes ---- */

static bool have_ksm(void)
{
	uint64_t v;

	return kfile_read_u64(root, "sys/kernel/mm/ksm/run", &v) == 0;
}

static void test_modes(void **state)
{
	struct ram_config configs[2] = {
		{.size_bytes = 16 * MIB, .pages = RAM_PAGES_THP, .merge = true, .prealloc = true},
		{.size_bytes = 16 * MIB, .pages = RAM_PAGES_SMALL, .merge = false}};
	struct ram *ram = new_ram(configs, 2);
	uint8_t *thp = ram_region(ram, 0)->hva, *small = ram_region(ram, 1)->hva;

	assert_true(has_flag(thp, "hg"));
	assert_false(has_flag(thp, "nh"));
	assert_true(has_flag(thp, "dd") && has_flag(small, "dd"));
	assert_true(has_flag(small, "nh"));
	assert_int_equal(ram_page_bytes(ram, 0), 4096);
	assert_int_equal(resident(ram, 0, 16 * MIB), 16 * MIB);
	assert_int_equal(resident(ram, 16 * MIB, 16 * MIB), 0);
	if (have_ksm()) {
		assert_true(ram_merge(ram, 0) && has_flag(thp, "mg"));
		assert_false(ram_merge(ram, 1) || has_flag(small, "mg"));
		assert_int_equal(ram_set_merge(ram, 1, true), 0);
		assert_true(ram_merge(ram, 1) && has_flag(small, "mg"));
		assert_int_equal(ram_set_merge(ram, 0, false), 0);
		assert_false(ram_merge(ram, 0) || has_flag(thp, "mg"));
	}
	assert_int_equal(ram_set_merge(ram, 2, true), -EINVAL);
	assert_false(ram_merge(ram, 2));
	/* prealloc holds over a reset, the other stays absent */
	memset(thp, 1, 16 * MIB);
	ram_discard_all(ram);
	assert_int_equal(thp[5 * MIB], 0);
	assert_int_equal(resident(ram, 0, 16 * MIB), 16 * MIB);
	assert_int_equal(resident(ram, 16 * MIB, 16 * MIB), 0);
	ram_free(ram);
}

/* Where it lies is told for what is there, and nothing for what is not. */
static void test_placement(void **state)
{
	struct ram_config configs[2] = {{.size_bytes = 64 * MIB,
					 .policy = RAM_POLICY_BIND,
					 .host_nodes = {1},
					 .prealloc = true},
					{.size_bytes = 64 * MIB}};
	uint64_t bytes[RAM_HOST_NODES], sum = 0;
	struct ram *ram = new_ram(configs, 2);

	if (ram_placement(ram, 0, bytes) == -ENOSYS) {
		ram_free(ram);
		skip();
	}
	assert_int_equal(bytes[0], 64 * MIB);
	assert_int_equal(ram_placement(ram, 1, bytes), 0);
	for (size_t i = 0; i < RAM_HOST_NODES; i++)
		sum += bytes[i];
	assert_int_equal(sum, 0);
	memset(hva(ram, 64 * MIB), 1, 32 * MIB);
	assert_int_equal(ram_placement(ram, 1, bytes), 0);
	for (size_t i = 0; i < RAM_HOST_NODES; i++)
		sum += bytes[i];
	assert_int_equal(sum, 32 * MIB);
	ram_free(ram);
}

static void test_dump(void **state)
{
	struct ram_config config = {.size_bytes = 4 * MIB, .dump = true};
	struct ram *ram = new_ram(&config, 1);

	assert_false(has_flag(hva(ram, 0), "dd"));
	ram_free(ram);
}

static void test_huge_at_once(void **state)
{
	char mode[32] = "";
	struct ram *ram;

	(void)kfile_read_choice(root, "sys/kernel/mm/transparent_hugepage/enabled", mode,
				sizeof(mode));
	if (strcmp(mode, "always") != 0 && strcmp(mode, "madvise") != 0)
		skip();
	/* The advice came before the first touch: one byte brings a huge page in. */
	ram = new_one(RAM_PAGES_THP, 8 * MIB);
	*hva(ram, 3 * MIB) = 1;
	assert_int_equal(resident(ram, 0, 8 * MIB), HUGE);
	ram_free(ram);
	ram = new_one(RAM_PAGES_SMALL, 8 * MIB);
	*hva(ram, 3 * MIB) = 1;
	assert_int_equal(resident(ram, 0, 8 * MIB), 4096);
	ram_free(ram);
}

static void test_populate_threads(void **state)
{
	/* Enough for several threads and for slices that do not divide it. */
	struct ram_config config = {
		.size_bytes = 300 * MIB + 4096, .pages = RAM_PAGES_SMALL, .prealloc = true};
	struct ram *ram = new_ram(&config, 1);

	assert_int_equal(resident(ram, 0, 300 * MIB + 4096), 300 * MIB + 4096);
	ram_free(ram);
}

static void test_refusals(void **state)
{
	struct ram_config config = {.size_bytes = 3 * MIB + 1};
	struct ram_config two[2] = {{.size_bytes = 2 * MIB + 4096}, {.size_bytes = 2 * MIB}};

	assert_int_equal(refused(&config, 1), -EINVAL);
	assert_said("3145729");
	assert_int_equal(refused(&config, 0), -EINVAL);
	assert_int_equal(refused(two, 2), -EINVAL);
	assert_said("several nodes");
}

/* ---- host nodes ---- */

static void test_bind(void **state)
{
	struct ram_config config = {
		.size_bytes = 8 * MIB, .policy = RAM_POLICY_BIND, .host_nodes = {1}};
	unsigned long mask[RAM_HOST_NODES / 64 + 1];
	char text[64];
	struct ram *ram;
	int mode;

	if (kfile_read(root, "sys/devices/system/node/has_memory", text, sizeof(text)) < 0 ||
	    text[0] != '0')
		skip();
	static const struct {
		enum ram_policy policy;
		int mode;
	} cases[] = {{RAM_POLICY_BIND, MPOL_BIND},
		     {RAM_POLICY_PREFERRED, MPOL_PREFERRED},
		     {RAM_POLICY_INTERLEAVE, MPOL_INTERLEAVE}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		config.policy = cases[i].policy;
		ram = new_ram(&config, 1);
		memset(mask, 0, sizeof(mask));
		assert_int_equal(get_mempolicy(&mode, mask, RAM_HOST_NODES + 1, hva(ram, 5 * MIB),
					       MPOL_F_ADDR),
				 0);
		assert_int_equal(mode, cases[i].mode);
		assert_int_equal(mask[0], 1);
		ram_free(ram);
	}
	config.host_nodes[15] = 1ULL << 63; /* node 1023: the last bit is not cut off */
	assert_int_equal(refused(&config, 1), -ENODEV);
	assert_said("no node 1023 with memory");
	assert_said("it has: 0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_node_at_hole),
		cmocka_unit_test(test_accessors),
		cmocka_unit_test(test_buffer),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_placement),
		cmocka_unit_test(test_dump),
		cmocka_unit_test(test_huge_at_once),
		cmocka_unit_test(test_populate_threads),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_bind),
	};

	log_init("vmm", LOG_LEVEL_INFO);
	root = kfile_open_root("/");
	return cmocka_run_group_tests_name("vmm_ram", tests, NULL, NULL);
}
