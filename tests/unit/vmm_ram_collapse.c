// SPDX-License-Identifier: Apache-2.0
/* Huge pages come back behind the balloon, on real memory and by the real thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/size.h"
#include "vmm/bus.h"
#include "vmm/ram.h"

#define HUGE  (2 * MIB)
#define PAGE  (4 * KIB)
#define BYTES (16 * MIB)

static struct bus *bus;
static uint64_t told_bytes;

static void collapsed(void *ctx, uint64_t gpa, uint64_t len)
{
	assert_int_equal(gpa % HUGE, 0);
	told_bytes += len;
}

/* AnonHugePages of the mapping of RAM. */
static uint64_t huge_bytes(struct ram *ram)
{
	AUTO_FILE FILE *f = fopen("/proc/self/smaps", "r");
	uintptr_t base = (uintptr_t)ram_ptr(ram, 0, 1);
	uint64_t bytes = 0, kib;
	bool inside = false;
	char line[512];

	while (fgets(line, sizeof(line), f)) {
		uint64_t a, b;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &a, &b) == 2)
			inside = a < base + ram_size_bytes(ram) && b > base;
		else if (inside && sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1)
			bytes += kib * KIB;
	}
	return bytes;
}

static struct ram *start(bool prealloc)
{
	struct ram_config config = {
		.size_bytes = BYTES, .pages = RAM_PAGES_THP, .prealloc = prealloc};
	struct ram_collapse_stats stats;
	struct ram *ram;

	assert_int_equal(ram_new(&config, 1, &ram), 0);
	assert_false(ram_collapse_stats(ram, &stats));
	assert_int_equal(ram_collapse_start(ram, bus, collapsed, NULL), 0);
	told_bytes = 0;
	if (!ram_collapse_stats(ram, &stats)) {
		ram_free(ram);
		return NULL;
	}
	memset(ram_ptr(ram, 0, BYTES), 7, BYTES);
	assert_int_equal(huge_bytes(ram), BYTES);
	return ram;
}

static void wait_for_huge(struct ram *ram, uint64_t bytes)
{
	for (unsigned int i = 0; i < 400 && huge_bytes(ram) != bytes; i++)
		usleep(100000);
	assert_int_equal(huge_bytes(ram), bytes);
}

static uint64_t torn_bytes(struct ram *ram)
{
	struct ram_collapse_stats stats;

	bus_lock(bus);
	assert_true(ram_collapse_stats(ram, &stats));
	bus_unlock(bus);
	return stats.torn_units * HUGE;
}

/* Every huge page loses a part, gets it back, is filled again, and becomes one again. */
static void test_comes_back(void **state)
{
	struct ram *ram = start(false);

	if (!ram)
		skip();
	bus_lock(bus);
	for (uint64_t at = 0; at < BYTES; at += HUGE)
		assert_int_equal(ram_discard_lazily(ram, at + 8 * PAGE, 64 * PAGE), 0);
	assert_false(ram_settle(ram, true));
	assert_int_equal(huge_bytes(ram), 0);
	assert_int_equal(ram_reuse(ram, 0, BYTES), 0);
	for (uint64_t at = 0; at < BYTES; at += HUGE)
		memset(ram_ptr(ram, at + 8 * PAGE, 64 * PAGE), 9, 64 * PAGE);
	bus_unlock(bus);
	wait_for_huge(ram, BYTES);
	for (uint64_t at = 0; at < BYTES; at += PAGE) {
		bool was_given = at % HUGE >= 8 * PAGE && at % HUGE < 72 * PAGE;

		assert_int_equal(*(uint8_t *)ram_ptr(ram, at, 1), was_given ? 9 : 7);
	}
	/* Its last words come with the end of the round. */
	for (unsigned int i = 0; i < 400 && torn_bytes(ram); i++)
		usleep(100000);
	assert_int_equal(torn_bytes(ram), 0);
	ram_collapse_stop(ram);
	assert_int_equal(told_bytes, BYTES);
	ram_free(ram);
}

/* What the balloon still holds, and what is mostly empty, stays as it is. */
static void test_left_alone(void **state)
{
	struct ram *ram = start(false);

	if (!ram)
		skip();
	bus_lock(bus);
	assert_int_equal(ram_discard_lazily(ram, 0, PAGE), 0);
	assert_int_equal(ram_discard_lazily(ram, HUGE, 400 * PAGE), 0);
	assert_int_equal(ram_discard_lazily(ram, 2 * HUGE, 20 * PAGE), 0);
	assert_false(ram_settle(ram, true));
	assert_int_equal(ram_reuse(ram, HUGE, 2 * HUGE), 0);
	bus_unlock(bus);
	wait_for_huge(ram, BYTES - 2 * HUGE);
	usleep(300000);
	assert_int_equal(huge_bytes(ram), BYTES - 2 * HUGE);
	assert_int_equal(torn_bytes(ram), 2 * HUGE);
	ram_free(ram);
}

/* prealloc=on: what the balloon gave back is there again, untouched. */
static void test_prealloc(void **state)
{
	struct ram *ram = start(true);

	if (!ram)
		skip();
	bus_lock(bus);
	assert_int_equal(ram_discard_lazily(ram, 0, 4 * HUGE + 100 * PAGE), 0);
	assert_false(ram_settle(ram, true));
	assert_int_equal(ram_reuse(ram, 0, 4 * HUGE + 100 * PAGE), 0);
	bus_unlock(bus);
	wait_for_huge(ram, BYTES);
	assert_int_equal(*(uint8_t *)ram_ptr(ram, 0, 1), 0);
	assert_int_equal(*(uint8_t *)ram_ptr(ram, BYTES - 1, 1), 7);
	ram_free(ram);
}

/* Ended while it has work to do, again and again. */
static void test_stop(void **state)
{
	for (unsigned int i = 0; i < 20; i++) {
		struct ram *ram = start(false);

		if (!ram)
			skip();
		bus_lock(bus);
		assert_int_equal(ram_discard_lazily(ram, PAGE, 4 * HUGE), 0);
		assert_int_equal(ram_reuse(ram, PAGE, 4 * HUGE), 0);
		bus_unlock(bus);
		usleep(i * 1000);
		ram_free(ram);
	}
}

static int setup(void **state)
{
	bus = bus_new();
	return bus ? 0 : -1;
}

static int teardown(void **state)
{
	bus_free(bus);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_comes_back),
		cmocka_unit_test(test_left_alone),
		cmocka_unit_test(test_prealloc),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests_name("vmm_ram_collapse", tests, setup, teardown);
}
