// SPDX-License-Identifier: Apache-2.0
/* The bus: who gets an access, what nobody's reads look like, overlaps, borders, one lock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "vmm/bus.h"

struct probe {
	uint64_t offset;
	unsigned int len, reads, writes;
	uint8_t data[8];
	bool inside;
	bool overlapped;
};

static void probe_read(void *ctx, uint64_t offset, uint8_t *data, unsigned int len)
{
	struct probe *probe = ctx;

	probe->offset = offset;
	probe->len = len;
	probe->reads++;
	memset(data, 0x5a, len);
}

static void probe_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned int len)
{
	struct probe *probe = ctx;

	probe->overlapped |= probe->inside;
	probe->inside = true;
	probe->offset = offset;
	probe->len = len;
	probe->writes++;
	memcpy(probe->data, data, len);
	probe->inside = false;
}

static const struct bus_ops ops = {.read = probe_read, .write = probe_write};

static int setup(void **state)
{
	*state = bus_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	bus_free(*state);
	return 0;
}

static void finds_the_device(void **state)
{
	struct probe a = {0}, b = {0}, c = {0};
	uint8_t data[4] = {1, 2, 3, 4};

	/* Not in order of address. */
	assert_int_equal(bus_add(*state, BUS_MMIO, 0x3000, 0x1000, &ops, &c), 0);
	assert_int_equal(bus_add(*state, BUS_MMIO, 0x1000, 0x1000, &ops, &a), 0);
	assert_int_equal(bus_add(*state, BUS_MMIO, 0x2000, 0x1000, &ops, &b), 0);
	bus_write(*state, BUS_MMIO, 0x1ffc, data, 4);
	assert_int_equal(a.writes, 1);
	assert_int_equal(a.offset, 0xffc);
	assert_memory_equal(a.data, data, 4);
	bus_read(*state, BUS_MMIO, 0x2000, data, 4);
	assert_int_equal(b.reads, 1);
	assert_int_equal(b.offset, 0);
	assert_int_equal(data[3], 0x5a);
	bus_read(*state, BUS_MMIO, 0x3fff, data, 1);
	assert_int_equal(c.reads, 1);
	assert_int_equal(c.offset, 0xfff);
}

static void nobody_there(void **state)
{
	struct probe a = {0};
	uint8_t data[8];

	assert_int_equal(bus_add(*state, BUS_PIO, 0x3f8, 8, &ops, &a), 0);
	for (uint64_t addr = 0x3f0; addr <= 0x408; addr += 0x18) {
		memset(data, 0, sizeof(data));
		bus_read(*state, BUS_PIO, addr, data, 4);
		assert_memory_equal(data, "\xff\xff\xff\xff\0\0\0\0", 8);
	}
	/* The other space. */
	bus_read(*state, BUS_MMIO, 0x3f8, data, 1);
	bus_write(*state, BUS_MMIO, 0x3f8, data, 1);
	/* Across either border: not all of it is the device's. */
	bus_read(*state, BUS_PIO, 0x3f7, data, 2);
	bus_write(*state, BUS_PIO, 0x3ff, data, 2);
	assert_int_equal(data[0], 0xff);
	assert_int_equal(a.reads + a.writes, 0);
}

static void refuses_overlaps(void **state)
{
	struct probe a = {0};

	assert_int_equal(bus_add(*state, BUS_MMIO, 0x1000, 0x1000, &ops, &a), 0);
	assert_int_equal(bus_add(*state, BUS_MMIO, 0x1000, 0x1000, &ops, &a), -EEXIST);
	assert_int_equal(bus_add(*state, BUS_MMIO, 0xfff, 2, &ops, &a), -EEXIST);
	assert_int_equal(bus_add(*state, BUS_MMIO, 0x1fff, 1, &ops, &a), -EEXIST);
	assert_int_equal(bus_add(*state, BUS_MMIO, 0, 0x10000, &ops, &a), -EEXIST);
	assert_int_equal(bus_add(*state, BUS_MMIO, 0x2000, 1, &ops, &a), 0);
	assert_int_equal(bus_add(*state, BUS_MMIO, 0, 0x1000, &ops, &a), 0);
	assert_int_equal(bus_add(*state, BUS_PIO, 0x1000, 1, &ops, &a), 0);
}

static void refuses_nonsense(void **state)
{
	struct probe a = {0};
	int r = 0;

	assert_int_equal(bus_add(*state, BUS_MMIO, 0x1000, 0, &ops, &a), -EINVAL);
	assert_int_equal(bus_add(*state, BUS_MMIO, UINT64_MAX - 1, 4, &ops, &a), -EINVAL);
	assert_int_equal(bus_add(*state, BUS_PIO, 0xffff, 2, &ops, &a), -EINVAL);
	assert_int_equal(bus_add(*state, BUS_PIO, 0x10000, 1, &ops, &a), -EINVAL);
	assert_int_equal(bus_add(*state, BUS_PIO, 0xffff, 1, &ops, &a), 0);
	for (uint64_t i = 0; i < 1000 && !r; i++)
		r = bus_add(*state, BUS_MMIO, i * 16, 16, &ops, &a);
	assert_int_equal(r, -ENOSPC);
}

static struct bus *shared_bus;

static void *write_often(void *arg)
{
	uint8_t byte = 0;

	for (int i = 0; i < 20000; i++)
		bus_write(shared_bus, BUS_MMIO, 0x1000, &byte, 1);
	return NULL;
}

static void one_access_at_a_time(void **state)
{
	pthread_t threads[3];
	struct probe a = {0};

	shared_bus = *state;
	assert_int_equal(bus_add(*state, BUS_MMIO, 0x1000, 1, &ops, &a), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_often, NULL), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(a.writes, 60000);
	assert_false(a.overlapped);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(finds_the_device), T(nobody_there),	      T(refuses_overlaps),
		T(refuses_nonsense), T(one_access_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
