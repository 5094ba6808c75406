// SPDX-License-Identifier: Apache-2.0
/*
 * What the balloon holds of transparent huge pages: pieces of a huge page wait for each other, each
 * run goes with one madvise, nothing waits for ever, and what is used again is not lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/size.h"
#include "vmm/ram.h"

#define HUGE  (2 * MIB)
#define PAGE  (4 * KIB)
#define BYTES (16 * MIB)

static unsigned int n_drops;
static uint64_t dropped_bytes;

/* In the place of libc's: counts what the code under test gives back. */
int madvise(void *addr, size_t len, int advice)
{
	if (advice == MADV_DONTNEED) {
		n_drops++;
		dropped_bytes += len;
	}
	return (int)syscall(SYS_madvise, addr, len, advice);
}

static struct ram *new_ram(enum ram_pages pages, uint64_t bytes)
{
	struct ram_config config = {.size_bytes = bytes, .pages = pages};
	struct ram *ram;

	assert_int_equal(ram_new(&config, 1, &ram), 0);
	memset(ram_ptr(ram, 0, bytes), 7, bytes);
	n_drops = 0;
	dropped_bytes = 0;
	return ram;
}

static uint64_t resident(struct ram *ram)
{
	uint64_t bytes = ram_size_bytes(ram), n = 0;
	unsigned char *vec = malloc(bytes / PAGE);

	assert_int_equal(mincore(ram_ptr(ram, 0, bytes), bytes, vec), 0);
	for (uint64_t i = 0; i < bytes / PAGE; i++)
		n += vec[i] & 1;
	free(vec);
	return n * PAGE;
}

static void hold(struct ram *ram, uint64_t gpa, uint64_t len)
{
	assert_int_equal(ram_discard_lazily(ram, gpa, len), 0);
}

/* Requests of 1 MiB, as Linux sends them, upwards and downwards: one madvise per huge page. */
static void test_pieces(void **state)
{
	struct ram *ram = new_ram(RAM_PAGES_THP, BYTES);

	for (uint64_t at = 0; at < 4 * HUGE; at += MIB)
		hold(ram, at, MIB);
	assert_int_equal(n_drops, 4);
	for (uint64_t at = 8 * HUGE; at > 4 * HUGE; at -= MIB)
		hold(ram, at - MIB, MIB);
	assert_int_equal(n_drops, 8);
	assert_int_equal(dropped_bytes, BYTES);
	assert_int_equal(resident(ram), 0);
	assert_false(ram_settle(ram, false));
	assert_int_equal(n_drops, 8);
	ram_free(ram);
}

/* One call over many huge pages is one run; its ragged ends wait. */
static void test_one_run(void **state)
{
	struct ram *ram = new_ram(RAM_PAGES_THP, BYTES);

	hold(ram, HUGE - 3 * PAGE, 4 * HUGE + 5 * PAGE);
	assert_int_equal(n_drops, 1);
	assert_int_equal(dropped_bytes, 4 * HUGE);
	assert_true(ram_settle(ram, false));
	assert_int_equal(n_drops, 1);
	assert_false(ram_settle(ram, false));
	assert_int_equal(n_drops, 3);
	assert_int_equal(dropped_bytes, 4 * HUGE + 5 * PAGE);
	assert_int_equal(resident(ram), BYTES - dropped_bytes);
	/* The rest of a huge page that was begun completes it. */
	hold(ram, 0, HUGE - 3 * PAGE);
	assert_int_equal(n_drops, 4);
	assert_int_equal(resident(ram), BYTES - 5 * HUGE - 2 * PAGE);
	ram_free(ram);
}

/* Given back in pieces and used again, a huge page comes back as one. */
static void test_comes_back_huge(void **state)
{
	AUTO_FD int root = kfile_open_root("/");
	struct ram *ram;
	char mode[32] = "";

	(void)kfile_read_choice(root, "sys/kernel/mm/transparent_hugepage/enabled", mode,
				sizeof(mode));
	if (strcmp(mode, "always") != 0 && strcmp(mode, "madvise") != 0)
		skip();
	ram = new_ram(RAM_PAGES_THP, BYTES);
	for (uint64_t at = 0; at < BYTES; at += MIB)
		hold(ram, at, MIB);
	assert_int_equal(resident(ram), 0);
	assert_int_equal(ram_reuse(ram, 0, BYTES), 0);
	for (uint64_t at = 0; at < BYTES; at += HUGE)
		*(uint8_t *)ram_ptr(ram, at + 5 * PAGE, 1) = 1;
	assert_int_equal(resident(ram), BYTES);
	ram_free(ram);
}

/* Used again before it went: it never goes, and its content stays. */
static void test_reuse_of_waiting(void **state)
{
	struct ram *ram = new_ram(RAM_PAGES_THP, BYTES);

	hold(ram, 0, MIB);
	hold(ram, 3 * HUGE, 8 * PAGE);
	assert_int_equal(ram_reuse(ram, 0, 512 * KIB), 0);
	assert_int_equal(ram_reuse(ram, 3 * HUGE, 8 * PAGE), 0);
	(void)ram_settle(ram, false);
	assert_false(ram_settle(ram, false));
	assert_int_equal(n_drops, 1);
	assert_int_equal(dropped_bytes, 512 * KIB);
	assert_int_equal(*(uint8_t *)ram_ptr(ram, 0, 1), 7);
	assert_int_equal(*(uint8_t *)ram_ptr(ram, 3 * HUGE, 1), 7);
	/* What was used again does not count when the rest of its huge page is held. */
	hold(ram, 512 * KIB, HUGE - 512 * KIB);
	ram_settle(ram, true);
	assert_int_equal(*(uint8_t *)ram_ptr(ram, 512 * KIB - 1, 1), 7);
	assert_int_equal(*(uint8_t *)ram_ptr(ram, 512 * KIB, 1), 0);
	ram_free(ram);
}

/* The account looks at what is really gone, so asking for it leaves nothing waiting. */
static void test_account(void **state)
{
	struct ram *ram = new_ram(RAM_PAGES_THP, BYTES);
	uint64_t balloon, reported;

	hold(ram, PAGE, PAGE);
	hold(ram, HUGE, HUGE);
	hold(ram, 5 * HUGE, MIB);
	assert_int_equal(ram_returned(ram, &balloon, &reported), 0);
	assert_int_equal(balloon, PAGE + HUGE + MIB);
	assert_int_equal(reported, 0);
	assert_int_equal(resident(ram), BYTES - balloon);
	ram_discard_all(ram);
	assert_false(ram_settle(ram, true));
	assert_int_equal(ram_returned(ram, &balloon, &reported), 0);
	assert_int_equal(balloon, 0);
	ram_free(ram);
}

/* A guest that gives single pages of very many huge pages cannot hold them all back. */
static void test_too_many(void **state)
{
	struct ram_config config = {.size_bytes = 2 * GIB, .pages = RAM_PAGES_THP};
	struct ram *ram;

	assert_int_equal(ram_new(&config, 1, &ram), 0);
	n_drops = 0;
	for (uint64_t at = 0; at < 2 * GIB; at += HUGE)
		hold(ram, at, PAGE);
	assert_in_range(n_drops, 700, 800);
	for (unsigned int calls = 0; ram_settle(ram, true); calls++)
		assert_in_range(calls, 0, 8);
	assert_int_equal(n_drops, 1024);
	ram_free(ram);
}

/* Scattered numbers end up the same. */
static void test_scattered(void **state)
{
	struct ram *ram = new_ram(RAM_PAGES_THP, BYTES);
	uint32_t order[BYTES / PAGE];

	for (uint32_t i = 0; i < BYTES / PAGE; i++)
		order[i] = i;
	srandom(1);
	for (uint32_t i = BYTES / PAGE - 1; i > 0; i--) {
		uint32_t j = (uint32_t)random() % (i + 1), other = order[j];

		order[j] = order[i];
		order[i] = other;
	}
	for (uint32_t i = 0; i < BYTES / PAGE; i++) {
		hold(ram, order[i] * PAGE, PAGE);
		if (i == BYTES / PAGE / 2)
			while (ram_settle(ram, true))
				;
	}
	assert_int_equal(resident(ram), 0);
	ram_free(ram);
}

/* A last piece that is no whole huge page; and small pages, which wait the same way. */
static void test_ends(void **state)
{
	struct ram *ram = new_ram(RAM_PAGES_THP, 5 * MIB);

	hold(ram, 4 * MIB, 512 * KIB);
	assert_int_equal(n_drops, 0);
	hold(ram, 4 * MIB + 512 * KIB, 512 * KIB);
	assert_int_equal(n_drops, 1);
	assert_int_equal(resident(ram), 4 * MIB);
	ram_free(ram);
	/* Every second page, then the others: one run in the end. */
	ram = new_ram(RAM_PAGES_SMALL, BYTES);
	for (uint64_t at = 0; at < HUGE; at += 2 * PAGE)
		hold(ram, at, PAGE);
	for (uint64_t at = PAGE; at < HUGE; at += 2 * PAGE)
		hold(ram, at, PAGE);
	assert_int_equal(n_drops, 1);
	assert_int_equal(dropped_bytes, HUGE);
	assert_false(ram_settle(ram, true));
	ram_free(ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),		cmocka_unit_test(test_one_run),
		cmocka_unit_test(test_comes_back_huge), cmocka_unit_test(test_reuse_of_waiting),
		cmocka_unit_test(test_account),		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_scattered),	cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests_name("vmm_ram_hold", tests, NULL, NULL);
}
