// SPDX-License-Identifier: Apache-2.0
/* virtio-rng: buffers come back full of different bytes, bounded, whatever the driver asks. */
#include "virtio_driver.h"
#include "vmm/rng.h"

static int setup(void **state)
{
	struct driver *d = driver_new();

	driver_attach(d, rng_new(d->ram));
	driver_start(d, 0, 1, 64);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	driver_free(*state);
	return 0;
}

static void fills_buffers(void **state)
{
	struct driver *d = *state;
	uint8_t zero[64] = {0};

	set_desc(d, 0, 0, 0x80000, 64, VIRTIO_DESC_WRITE | VIRTIO_DESC_NEXT, 1);
	set_desc(d, 0, 1, FAKE_HIGH_GPA, 64, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(used_at(d, 0, 0).len, 128);
	assert_memory_not_equal(at(d, 0x80000, 64), zero, 64);
	assert_memory_not_equal(at(d, FAKE_HIGH_GPA, 64), zero, 64);
	assert_memory_not_equal(at(d, FAKE_HIGH_GPA, 64), at(d, 0x80000, 64), 64);
	assert_memory_equal(at(d, 0x80000 + 64, 64), zero, 64);
	assert_int_equal(irqs(d), 1);
}

static void large_request_is_cut(void **state)
{
	struct driver *d = *state;

	set_desc(d, 0, 0, FAKE_SECOND_GPA, FAKE_REGION_BYTES, VIRTIO_DESC_WRITE, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(used_at(d, 0, 0).len, 65536);
	assert_int_equal(*(uint64_t *)at(d, FAKE_SECOND_GPA + 65536, 8), 0);
}

static void readable_buffer_is_left_alone(void **state)
{
	struct driver *d = *state;

	set_desc(d, 0, 0, 0x80000, 64, 0, 0);
	offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(used_at(d, 0, 0).len, 0);
	assert_int_equal(*(uint64_t *)at(d, 0x80000, 8), 0);
	assert_false(needs_reset(d));
}

static void flood_is_served_in_turns(void **state)
{
	struct driver *d = *state;

	set_desc(d, 0, 0, FAKE_SECOND_GPA, FAKE_REGION_BYTES, VIRTIO_DESC_WRITE, 0);
	for (unsigned int i = 0; i < 64; i++)
		offer(d, 0, 0);
	kick(d, 0);
	assert_int_equal(used_idx(d, 0), 16);
	while (fake_loop_poll(&d->loop))
		;
	assert_int_equal(used_idx(d, 0), 64);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(fills_buffers),
		T(large_request_is_cut),
		T(readable_buffer_is_left_alone),
		T(flood_is_served_in_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
