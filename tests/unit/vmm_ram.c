// SPDX-License-Identifier: Apache-2.0
/*
 * Guest RAM on real memory of the host: layout and accessors, page modes as the kernel reads them
 * back, giving back and the account of it, and the huge page pool. Pool tests want 2 MiB pages of
 * the host and take them from a pool that they enlarge for their time when they may.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/log.h"
#include "common/size.h"
#include "vmm/layout.h"
#include "vmm/ram.h"

#define POOL_2M "sys/kernel/mm/hugepages/hugepages-2048kB/"
#define HUGE	(2 * MIB)

static int root = -1;
static uint64_t pool_before; /* nr_hugepages to restore; UINT64_MAX: untouched */
static char said[4096];

/* ---- helpers ---- */

static struct ram *new_ram(const struct ram_config *configs, size_t n)
{
	struct ram *ram;

	assert_int_equal(ram_new(configs, n, &ram), 0);
	return ram;
}

static struct ram *new_one(enum ram_pages pages, uint64_t bytes)
{
	struct ram_config config = {.size_bytes = bytes, .pages = pages};

	return new_ram(&config, 1);
}

/* ram_new that fails; what it logs is in said. */
static int refused(const struct ram_config *configs, size_t n)
{
	int saved = dup(2), r;
	FILE *f = tmpfile();
	struct ram *ram = NULL;
	size_t len;

	dup2(fileno(f), 2);
	r = ram_new(configs, n, &ram);
	dup2(saved, 2);
	close(saved);
	rewind(f);
	len = fread(said, 1, sizeof(said) - 1, f);
	said[len] = '\0';
	fclose(f);
	if (r == 0)
		ram_free(ram);
	else
		assert_null(ram);
	return r;
}

static void assert_said(const char *part)
{
	if (!strstr(said, part))
		fail_msg("no '%s' in: %s", part, said);
}

static uint8_t *hva(struct ram *ram, uint64_t gpa)
{
	uint8_t *p = ram_ptr(ram, gpa, 1);

	assert_non_null(p);
	return p;
}

static uint64_t resident(struct ram *ram, uint64_t gpa, uint64_t len)
{
	unsigned char *vec = malloc(len / 4096);
	uint64_t n = 0;

	assert_int_equal(mincore(hva(ram, gpa), len, vec), 0);
	for (uint64_t i = 0; i < len / 4096; i++)
		n += vec[i] & 1;
	free(vec);
	return n * 4096;
}

static void assert_returned(struct ram *ram, uint64_t balloon, uint64_t reporting)
{
	uint64_t b = 1, r = 1;

	assert_int_equal(ram_returned(ram, &b, &r), 0);
	assert_int_equal(b, balloon);
	assert_int_equal(r, reporting);
}

/* VmFlags line of the mapping at p. */
static void read_flags(const void *p, char *buf, size_t n)
{
	AUTO_FILE FILE *f = fopen("/proc/self/smaps", "r");
	bool inside = false;
	char line[512];

	buf[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		uint64_t from, to;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) == 2)
			inside = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(buf, n, "%s", line);
	}
}

static bool has_flag(const void *p, const char *flag)
{
	char flags[512], word[8];

	read_flags(p, flags, sizeof(flags));
	snprintf(word, sizeof(word), " %s ", flag);
	return strstr(flags, word) != NULL;
}

static bool have_ksm(void)
{
	uint64_t v;

	return kfile_read_u64(root, "sys/kernel/mm/ksm/run", &v) == 0;
}

static uint64_t pool_free(void)
{
	uint64_t v = 0;

	(void)kfile_read_u64(root, POOL_2M "free_hugepages", &v);
	return v;
}

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

/* ---- giving back ---- */

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

/* ---- the pool ---- */

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
	struct ram *ram = new_pool();
	uint64_t taken = pool_free(), n;
	struct ram_config other = {.pages = RAM_PAGES_2M};
	struct ram *thief;
	uint8_t *p = hva(ram, 0);

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
		cmocka_unit_test(test_account),
		cmocka_unit_test(test_discard_bounds),
		cmocka_unit_test(test_swapped_is_not_returned),
		cmocka_unit_test(test_pool_modes),
		cmocka_unit_test(test_pool_too_small),
		cmocka_unit_test(test_pool_partial),
		cmocka_unit_test(test_pool_reporting),
		cmocka_unit_test(test_pool_drained),
	};

	log_init("vmm", LOG_LEVEL_INFO);
	root = kfile_open_root("/");
	return cmocka_run_group_tests_name("vmm_ram", tests, pool_setup, pool_teardown);
}
