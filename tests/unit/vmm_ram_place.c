// SPDX-License-Identifier: Apache-2.0
/* RAM moves to another host node, on real memory and by the real thread; here mostly to node 0. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/size.h"
#include "vmm/ram.h"

#define BYTES (16 * MIB)
#define PAGE  (4 * KIB)

static struct ram *start(enum ram_policy policy)
{
	struct ram_config config = {
		.size_bytes = BYTES, .pages = RAM_PAGES_THP, .policy = policy, .merge = true};
	struct ram *ram;

	if (policy != RAM_POLICY_DEFAULT)
		config.host_nodes[0] = 1;
	assert_int_equal(ram_new(&config, 1, &ram), 0);
	memset(ram_ptr(ram, 0, BYTES / 2), 7, BYTES / 2);
	return ram;
}

static struct ram_place_state wait_for_end(struct ram *ram)
{
	struct ram_place_state state;

	for (unsigned int i = 0; i < 3000; i++) {
		ram_place_state(ram, &state);
		if (state.status != RAM_PLACE_ACTIVE)
			break;
		usleep(10000);
	}
	return state;
}

/* A kernel without NUMA says so at once. */
static int begin(struct ram *ram, unsigned int node, uint64_t rate)
{
	int r = ram_place(ram, node, rate);

	if (r == -ENOSYS)
		skip();
	return r;
}

static void test_moves(void **state)
{
	struct ram *ram = start(RAM_POLICY_DEFAULT);
	struct ram_place_state place;
	uint64_t bytes[RAM_HOST_NODES];
	bool merged = ram_merge(ram, 0);

	ram_place_state(ram, &place);
	assert_int_equal(place.status, RAM_PLACE_NONE);
	assert_int_equal(begin(ram, 0, 0), 0);
	place = wait_for_end(ram);
	assert_int_equal(place.status, RAM_PLACE_COMPLETED);
	assert_int_equal(place.error, 0);
	assert_int_equal(place.done_bytes, BYTES);
	assert_int_equal(place.total_bytes, BYTES);
	assert_true(place.longest_us > 0 && place.longest_us <= place.took_us);
	/* What the guest has is there, on that node, and what it takes later will be. */
	for (uint64_t at = 0; at < BYTES / 2; at += PAGE)
		assert_int_equal(*(uint8_t *)ram_ptr(ram, at, 1), 7);
	assert_int_equal(ram_node_config(ram, 0)->policy, RAM_POLICY_PREFERRED);
	assert_int_equal(ram_node_config(ram, 0)->host_nodes[0], 1);
	memset(ram_ptr(ram, 0, BYTES), 8, BYTES);
	assert_int_equal(ram_placement(ram, 0, bytes), 0);
	assert_int_equal(bytes[0], BYTES);
	assert_int_equal(ram_merge(ram, 0), merged);
	/* And once more, by the same thread. */
	assert_int_equal(ram_place(ram, 0, GIB), 0);
	assert_int_equal(wait_for_end(ram).status, RAM_PLACE_COMPLETED);
	ram_free(ram);
}

/* A binding that was asked for stays one. */
static void test_bound_stays_bound(void **state)
{
	struct ram *ram = start(RAM_POLICY_BIND);

	assert_int_equal(begin(ram, 0, GIB), 0);
	assert_int_equal(wait_for_end(ram).status, RAM_PLACE_COMPLETED);
	assert_int_equal(ram_node_config(ram, 0)->policy, RAM_POLICY_BIND);
	ram_free(ram);
}

static void test_keeps_to_its_rate(void **state)
{
	struct ram *ram = start(RAM_POLICY_DEFAULT);
	uint64_t begin_us = clock_now_us(), took_us;
	struct ram_place_state place;

	/* Half of it is there: 8 MiB. */
	assert_int_equal(begin(ram, 0, 16 * MIB), 0);
	assert_int_equal(ram_place(ram, 0, 0), -EBUSY);
	place = wait_for_end(ram);
	took_us = clock_now_us() - begin_us;
	assert_int_equal(place.status, RAM_PLACE_COMPLETED);
	assert_true(took_us >= 490000); /* half a second */
	ram_free(ram);

	/* What is not there takes no time, whatever the rate. */
	ram = start(RAM_POLICY_DEFAULT);
	assert_int_equal(ram_discard(ram, 0, BYTES, RAM_GIVER_BALLOON), 0);
	begin_us = clock_now_us();
	assert_int_equal(ram_place(ram, 0, MIB), 0);
	place = wait_for_end(ram);
	assert_int_equal(place.status, RAM_PLACE_COMPLETED);
	assert_int_equal(place.done_bytes, BYTES);
	assert_true(clock_now_us() - begin_us < 4000000);
	ram_free(ram);
}

/* Ended while it moves: at once, and nothing is lost. */
static void test_stops(void **state)
{
	struct ram *ram = start(RAM_POLICY_DEFAULT);
	uint64_t begin_us;

	assert_int_equal(begin(ram, 0, MIB), 0); /* for 8 s */
	usleep(100000);
	begin_us = clock_now_us();
	ram_place_stop(ram);
	ram_place_stop(ram);
	assert_true(clock_now_us() - begin_us < 2000000);
	assert_int_equal(*(uint8_t *)ram_ptr(ram, 0, 1), 7);
	ram_free(ram);
}

/* Cancelled between two slices; the next move is as the first. */
static void test_is_cancelled(void **state)
{
	struct ram *ram = start(RAM_POLICY_DEFAULT);
	struct ram_place_state place;
	uint64_t begin_us;

	ram_place_cancel(ram);			 /* no move has ever been */
	assert_int_equal(begin(ram, 0, MIB), 0); /* for 8 s */
	usleep(100000);
	begin_us = clock_now_us();
	ram_place_cancel(ram);
	place = wait_for_end(ram);
	assert_true(clock_now_us() - begin_us < 1000000);
	assert_int_equal(place.status, RAM_PLACE_CANCELLED);
	assert_int_equal(place.error, 0);
	assert_in_range(place.done_bytes, 2 * MIB, BYTES - 2 * MIB);
	ram_place_cancel(ram); /* and none is under way */
	assert_int_equal(ram_place(ram, 0, 0), 0);
	place = wait_for_end(ram);
	assert_int_equal(place.status, RAM_PLACE_COMPLETED);
	assert_int_equal(place.done_bytes, BYTES);
	for (uint64_t at = 0; at < BYTES / 2; at += PAGE)
		assert_int_equal(*(uint8_t *)ram_ptr(ram, at, 1), 7);
	ram_free(ram);
}

static void test_refuses(void **state)
{
	struct ram_config configs[2] = {{.size_bytes = BYTES}, {.size_bytes = BYTES}};
	static uint8_t buffer[2 * 4096] __attribute__((aligned(4096)));
	struct ram *ram = start(RAM_POLICY_DEFAULT);

	assert_int_equal(begin(ram, 900, 0), -ENODEV);
	assert_int_equal(ram_place(ram, RAM_HOST_NODES, 0), -ENODEV);
	assert_int_equal(ram_node_config(ram, 0)->policy, RAM_POLICY_DEFAULT);
	ram_free(ram);
	assert_int_equal(ram_new(configs, 2, &ram), 0);
	assert_int_equal(ram_place(ram, 0, 0), -EOPNOTSUPP);
	ram_free(ram);
	assert_int_equal(ram_new_buffer(buffer, 0, sizeof(buffer), &ram), 0);
	assert_int_equal(ram_place(ram, 0, 0), -EOPNOTSUPP);
	ram_free(ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_bound_stays_bound),
		cmocka_unit_test(test_keeps_to_its_rate),
		cmocka_unit_test(test_stops),
		cmocka_unit_test(test_is_cancelled),
		cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
