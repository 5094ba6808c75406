// SPDX-License-Identifier: Apache-2.0
/* The working set as the host sees it: how far it is believed, and what follows from it. */
#include "tests/unit/policy_scene.h"

static void see(struct scene *s, uint64_t id, uint64_t hot_bytes, uint64_t age_us)
{
	struct pol_guest *g = scene_find(s, id);

	g->hot_bytes = hot_bytes;
	g->hot_us = 10 * SEC;
	g->hot_age_us = age_us;
}

/* What goes to swap of the guest. */
static uint64_t swap_out(struct scene *s, uint64_t id, unsigned int ticks)
{
	uint64_t sum = 0;

	while (ticks--) {
		scene_step(s);
		for (size_t i = 0; i < s->plan->n_actions; i++) {
			const struct pol_action *a = &s->plan->actions[i];
			struct pol_guest *g = scene_find(s, a->guest);

			if (a->kind != POL_RECLAIM)
				continue;
			g->resident_bytes -= a->from - a->to;
			g->reclaimable_bytes -= a->from - a->to;
			s->host.available_bytes += a->gain_bytes;
			if (a->guest == id)
				sum += a->from - a->to;
		}
	}
	return sum;
}

static uint64_t believed(struct scene *s)
{
	scene_step(s);
	return s->plan->views[0].hot_bytes;
}

/* The older the look, the less of what it found idle still counts as that. */
static void test_a_look_fades(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s, 1);
	assert_int_equal(believed(&s), POL_ABSENT);
	see(&s, 1, 512 * MIB, 0);
	assert_int_equal(believed(&s), 512 * MIB);
	see(&s, 1, 512 * MIB, 150 * SEC);
	assert_int_equal(believed(&s), 512 * MIB + 768 * MIB);
	see(&s, 1, 512 * MIB, 299 * SEC);
	assert_true(believed(&s) > 2040 * MIB);
	see(&s, 1, 512 * MIB, 300 * SEC);
	assert_int_equal(believed(&s), POL_ABSENT);
	/* More than is resident: it came and went. */
	see(&s, 1, 3 * GIB, 0);
	assert_int_equal(believed(&s), 2 * GIB);
	/* What it has taken up since then is in use. */
	see(&s, 1, 512 * MIB, 0);
	s.guests[0].resident_bytes = GIB;
	assert_int_equal(believed(&s), 512 * MIB);
	s.guests[0].resident_bytes = POL_ABSENT;
	assert_int_equal(believed(&s), POL_ABSENT);
	scene_close(&s);
}

/* A moment's sample, and numbers out of this world, are nothing. */
static void test_what_is_not_believed(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s, 1);
	see(&s, 1, 512 * MIB, 0);
	s.guests[0].hot_us = 4 * SEC;
	assert_int_equal(believed(&s), POL_ABSENT);
	s.guests[0].hot_us = POL_ABSENT;
	assert_int_equal(believed(&s), POL_ABSENT);
	see(&s, 1, 512 * MIB, POL_ABSENT);
	assert_int_equal(believed(&s), POL_ABSENT);
	see(&s, 1, UINT64_MAX - 1, 0);
	assert_int_equal(believed(&s), 2 * GIB);
	see(&s, 1, 0, 0);
	assert_int_equal(believed(&s), 0);
	scene_close(&s);
}

/* Of what is asked of two guests that say nothing, at once, the second one's part in per mille.
 * They are so large that one of them could bring what is needed. */
static uint64_t part_of_second(uint64_t first_hot, uint64_t second_hot)
{
	struct scene s;
	uint64_t first, second;

	scene_open_silent(&s, 2);
	s.config.step_bytes = 4 * GIB;
	pol_configure(s.pol, &s.config);
	for (int i = 0; i < 2; i++)
		s.guests[i].memory_bytes = s.guests[i].actual_bytes = s.guests[i].resident_bytes =
			s.guests[i].reclaimable_bytes = 64 * GIB;
	see(&s, 1, first_hot, SEC);
	see(&s, 2, second_hot, SEC);
	scene_run(&s, 40);
	s.host.available_bytes = 600 * MIB;
	first = swap_out(&s, 1, 1);
	second = 64 * GIB - s.guests[1].resident_bytes;
	assert_true(second > 64 * MIB);
	scene_close(&s);
	return second * 1000 / (first + second);
}

/* The one that the host sees idle goes to swap first. */
static void test_idle_goes_first(void **state)
{
	(void)state;
	assert_in_range(part_of_second(POL_ABSENT, POL_ABSENT), 490, 510);
	assert_in_range(part_of_second(32 * GIB, 32 * GIB), 490, 510);
	assert_int_equal(part_of_second(48 * GIB, 4 * GIB), 1000);
}

/* Until the host is in want nothing that is in use goes, whatever it lacks; then that goes, too. */
static void test_hot_memory_stays(void **state)
{
	struct scene s;

	(void)state;
	scene_open_silent(&s, 1);
	see(&s, 1, 1900 * MIB, SEC);
	scene_run(&s, 40);
	for (int t = 0; t < 60; t++) {
		s.host.available_bytes = 440 * MIB;
		swap_out(&s, 1, 1);
		assert_true(s.plan->state <= POL_STATE_SOFT);
		assert_true(s.guests[0].resident_bytes >= 1900 * MIB);
	}
	assert_true(s.guests[0].resident_bytes < 2 * GIB - 64 * MIB);
	assert_true(s.plan->views[0].resident_floor_bytes >= 1900 * MIB);
	for (int t = 0; t < 30; t++) {
		s.host.available_bytes = 100 * MIB;
		swap_out(&s, 1, 1);
	}
	assert_true(s.plan->state >= POL_STATE_HARD);
	assert_true(s.guests[0].resident_bytes < 1900 * MIB);
	scene_close(&s);
}

/* Two guests of the same numbers, one of which reads all of its cache all the time: that is not
 * idle, so it is entitled to more, though its floor is the same. */
static uint64_t entitled(uint64_t hot_bytes, uint64_t *ret_floor)
{
	uint64_t bytes;
	struct scene s;

	scene_open(&s, 4);
	for (uint64_t id = 1; id <= 4; id++) {
		scene_find(&s, id)->resident_bytes = GIB;
		see(&s, id, id == 1 ? hot_bytes : 300 * MIB, 0);
	}
	s.host.available_bytes = s.host.free_bytes = 300 * MIB;
	scene_run(&s, 3);
	bytes = s.plan->views[0].entitled_bytes;
	*ret_floor = s.plan->views[0].floor_bytes;
	scene_close(&s);
	return bytes;
}

static void test_hot_cache_is_not_idle(void **state)
{
	uint64_t cold_floor, hot_floor, all_floor;
	uint64_t cold = entitled(300 * MIB, &cold_floor), hot = entitled(960 * MIB, &hot_floor);
	uint64_t all = entitled(GIB, &all_floor);

	(void)state;
	assert_true(hot > cold + 100 * MIB);
	assert_int_equal(cold_floor, hot_floor);
	/* Free memory that it touches is free all the same: no more than what it uses and caches.
	 */
	assert_in_range(all, hot, hot + 64 * MIB);
	assert_int_equal(cold_floor, all_floor);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_look_fades),
		cmocka_unit_test(test_what_is_not_believed),
		cmocka_unit_test(test_idle_goes_first),
		cmocka_unit_test(test_hot_memory_stays),
		cmocka_unit_test(test_hot_cache_is_not_idle),
	};

	return cmocka_run_group_tests_name("policy_hot", tests, NULL, NULL);
}
