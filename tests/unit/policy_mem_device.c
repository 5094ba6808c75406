// SPDX-License-Identifier: Apache-2.0
/* Guests with a virtio-mem device: what it takes and gives, and what is left to the balloon. */
#include "tests/unit/policy_scene.h"

#define BLOCK (2 * MIB)
#define BASE  GIB
#define MAX   GIB

/* Half of guest 1's 2 GiB is a device's, all plugged. */
static void open_with_device(struct scene *s, size_t n)
{
	scene_open(s, n);
	s->obey = true;
	s->guests[0].mem_max_bytes = MAX;
	s->guests[0].mem_size_bytes = s->guests[0].mem_requested_bytes = MAX;
	s->guests[0].mem_block_bytes = BLOCK;
}

/* What must hold of each order to a guest with a device. */
static void check_order(const struct pol_guest *g, const struct pol_action *a)
{
	uint64_t base = g->memory_bytes - g->mem_max_bytes;

	assert_int_equal(a->to2 % g->mem_block_bytes, 0);
	assert_true(a->to2 <= g->mem_max_bytes);
	assert_true(a->to2 < a->to);
	assert_true(a->to - a->to2 <= base);
}

/* One step, after which the device, too, is where it was asked to be. */
static const struct pol_action *step(struct scene *s)
{
	const struct pol_action *a;

	scene_step(s);
	a = scene_action(s, 1);
	if (a) {
		check_order(&s->guests[0], a);
		s->guests[0].mem_size_bytes = s->guests[0].mem_requested_bytes = a->to2;
	}
	return a;
}

static void test_device_goes_first(void **state)
{
	const struct pol_action *a;
	struct scene s;

	open_with_device(&s, 1);
	scene_settle(&s);
	s.host.available_bytes = 50 * MIB;
	a = step(&s);
	assert_non_null(a);
	assert_true(a->to < 2 * GIB);
	assert_int_equal(a->rung, POL_RUNG_MEM_DEVICE);
	/* All of it by the device, but for what is no whole block. */
	assert_in_range(a->to2 + BASE - a->to, 0, BLOCK - 1);
	assert_true(a->gain_bytes > 0);
	scene_close(&s);
}

static void test_balloon_below_the_device(void **state)
{
	const struct pol_action *a;
	struct scene s;
	bool below = false;

	open_with_device(&s, 1);
	scene_settle(&s);
	for (int t = 0; t < 60; t++) {
		s.host.available_bytes = 50 * MIB;
		a = step(&s);
		if (!a)
			continue;
		assert_true(a->to >= a->floor_bytes);
		if (a->to < BASE) {
			assert_int_equal(a->to2, 0);
			below = true;
		}
	}
	assert_true(below);
	scene_close(&s);
}

static void test_gives_by_the_device(void **state)
{
	const struct pol_action *a = NULL;
	struct scene s;

	open_with_device(&s, 1);
	s.guests[0].actual_bytes = BASE;
	s.guests[0].mem_size_bytes = s.guests[0].mem_requested_bytes = 0;
	s.guests[0].resident_bytes = BASE;
	s.guests[0].stat_total_bytes = BASE - 40 * MIB;
	s.guests[0].stat_free_bytes = 300 * MIB;
	s.guests[0].stat_available_bytes = 400 * MIB;
	s.guests[0].stat_cache_bytes = 100 * MIB;
	scene_settle(&s);
	s.guests[0].stat_available_bytes = 20 * MIB;
	s.guests[0].stat_free_bytes = 10 * MIB;
	for (int t = 0; t < 10 && !a; t++)
		a = step(&s);
	assert_non_null(a);
	assert_true(a->to > BASE);
	assert_true(a->to2 >= a->to - BASE);
	scene_close(&s);
}

/* The guest cannot take its blocks offline: after a while the balloon does what is left. */
static void test_stuck_device(void **state)
{
	const struct pol_action *a = NULL;
	struct scene s;
	uint64_t target;

	open_with_device(&s, 1);
	scene_settle(&s);
	s.obey = false;
	s.host.available_bytes = 50 * MIB;
	scene_step(&s);
	a = scene_action(&s, 1);
	assert_non_null(a);
	target = a->to;
	s.guests[0].mem_requested_bytes = a->to2;
	/* 64 MiB came, no more. */
	s.guests[0].mem_size_bytes -= 64 * MIB;
	s.guests[0].actual_bytes -= 64 * MIB;
	for (int t = 0; t < 60; t++) {
		s.host.available_bytes = 50 * MIB;
		scene_step(&s);
		a = scene_action(&s, 1);
		if (a && a->reason == POL_WHY_DEVICE_STUCK)
			break;
	}
	assert_non_null(a);
	check_order(&s.guests[0], a);
	assert_int_equal(a->reason, POL_WHY_DEVICE_STUCK);
	assert_true(a->to <= target);
	assert_int_equal(a->to2, MAX - 64 * MIB);
	assert_true(scene_view(&s, 1)->device_stuck);
	assert_false(scene_view(&s, 1)->stuck);
	/* The balloon follows: all is well, and later the device is tried again. */
	s.guests[0].mem_requested_bytes = a->to2;
	s.guests[0].actual_bytes = a->to;
	for (int t = 0; t < 120; t++) {
		s.host.available_bytes = 4 * GIB;
		scene_step(&s);
	}
	assert_false(scene_view(&s, 1)->device_stuck);
	scene_close(&s);
}

/* What the device was to bring is left to the balloon only as far as the guest can still spare it.
 */
static void test_stuck_device_and_a_guest_that_grew(void **state)
{
	struct scene s;
	struct pol_guest *g = &s.guests[0];
	const struct pol_action *a;
	uint64_t target, spare;
	bool stuck = false;

	open_with_device(&s, 1);
	g->stat_available_bytes = 400 * MIB;
	g->stat_free_bytes = g->stat_cache_bytes = 200 * MIB;
	scene_settle(&s);
	s.obey = false;
	s.host.available_bytes = 50 * MIB;
	scene_step(&s);
	a = scene_action(&s, 1);
	assert_non_null(a);
	target = a->to;
	assert_in_range(target - a->floor_bytes, 0, 4 * MIB);
	g->mem_requested_bytes = a->to2;
	g->mem_size_bytes -= 64 * MIB;
	g->actual_bytes -= 64 * MIB;
	g->stat_available_bytes -= 64 * MIB;
	g->stat_free_bytes -= 64 * MIB;
	/* Slowly, and not so much that it is in need. */
	spare = s.pol->now[0].reserve / 6;
	for (int t = 0; t < 60 && !stuck; t++) {
		if (spare >= MIB) {
			spare -= MIB;
			g->stat_available_bytes -= MIB;
			g->stat_free_bytes -= MIB;
		}
		s.host.available_bytes = 50 * MIB;
		scene_step(&s);
		stuck = scene_view(&s, 1)->device_stuck;
		a = scene_action(&s, 1);
		assert_true(!a || a->to >= min_u64(a->floor_bytes, g->actual_bytes));
	}
	assert_true(stuck);
	assert_true(scene_view(&s, 1)->floor_bytes > target);
	scene_close(&s);
}

/* Both stuck: the guest is stuck as one with a balloon alone, and what was ordered is taken back.
 */
static void test_stuck_device_and_balloon(void **state)
{
	bool stuck = false;
	struct scene s;

	open_with_device(&s, 1);
	scene_settle(&s);
	s.obey = false;
	for (int t = 0; t < 120 && !stuck; t++) {
		const struct pol_action *a;

		s.host.available_bytes = 50 * MIB;
		scene_step(&s);
		a = scene_action(&s, 1);
		if (a) {
			check_order(&s.guests[0], a);
			s.guests[0].mem_requested_bytes = a->to2;
		}
		stuck = scene_view(&s, 1)->stuck;
		if (stuck) {
			assert_true(a && a->to == s.guests[0].actual_bytes);
			assert_true(a && a->to2 == MAX);
		}
	}
	assert_true(stuck);
	scene_close(&s);
}

/* Nonsense about the device is as no device, whatever it is. */
static void test_nonsense(void **state)
{
	static const uint64_t values[] = {0,	   1,	       MIB,	   BLOCK,  GIB,
					  2 * GIB, UINT64_MAX, 1ULL << 63, 3 * MIB};
	const size_t n = sizeof(values) / sizeof(values[0]);

	for (size_t i = 0; i < n * n * n; i++) {
		const struct pol_action *a;
		struct scene s;

		open_with_device(&s, 1);
		s.guests[0].mem_max_bytes = values[i % n];
		s.guests[0].mem_size_bytes = values[i / n % n];
		s.guests[0].mem_block_bytes = values[i / n / n];
		scene_settle(&s);
		s.host.available_bytes = 50 * MIB;
		scene_step(&s);
		a = scene_action(&s, 1);
		if (a && a->to2)
			check_order(&s.guests[0], a);
		scene_close(&s);
	}
}

/* Sizes of guests are decided as if there were no device: only the means differ. */
static void test_same_sizes(void **state)
{
	struct scene with, without;

	open_with_device(&with, 3);
	open_with_device(&without, 3);
	without.guests[0].mem_max_bytes = without.guests[0].mem_size_bytes = 0;
	for (int t = 0; t < 90; t++) {
		if (t > 30 && t < 60)
			with.host.available_bytes = without.host.available_bytes =
				(uint64_t)(60 + t % 7 * 100) * MIB;
		step(&with);
		scene_step(&without);
		assert_int_equal(with.plan->n_actions, without.plan->n_actions);
		for (size_t i = 0; i < with.plan->n_actions; i++) {
			assert_int_equal(with.plan->actions[i].to, without.plan->actions[i].to);
			assert_int_equal(without.plan->actions[i].to2, 0);
		}
	}
	scene_close(&with);
	scene_close(&without);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device_goes_first),
		cmocka_unit_test(test_balloon_below_the_device),
		cmocka_unit_test(test_gives_by_the_device),
		cmocka_unit_test(test_stuck_device),
		cmocka_unit_test(test_stuck_device_and_a_guest_that_grew),
		cmocka_unit_test(test_stuck_device_and_balloon),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_same_sizes),
	};

	return cmocka_run_group_tests_name("policy_mem_device", tests, NULL, NULL);
}
