// SPDX-License-Identifier: Apache-2.0
/* More guests than can be asked for memory in one tick. */
#define SCENE_MAX 300

#include "tests/unit/reclaim_scene.h"

static void open_many(struct scene *s)
{
	scene_open(s, SCENE_MAX);
	s->host.memory_bytes = 1024 * GIB;
	s->host.available_bytes = s->host.free_bytes = 512 * GIB;
}

static unsigned int count(const struct scene *s, enum pol_action_kind kind)
{
	unsigned int n = 0;

	for (size_t i = 0; i < s->plan->n_actions; i++)
		n += s->plan->actions[i].kind == kind;
	return n;
}

/* Of nobody more is remembered than was ordered. */
static void assert_asked_is_ordered(const struct scene *s)
{
	for (size_t i = 0; i < SCENE_MAX; i++) {
		const struct pol_action *a = scene_action(s, s->guests[i].id);

		assert_int_equal(scene_view(s, s->guests[i].id)->target_bytes,
				 a ? a->to : s->guests[i].actual_bytes);
	}
}

static void test_takes_are_bounded_and_bring_as_much(void **state)
{
	struct scene s;
	uint64_t gain = 0;

	(void)state;
	open_many(&s);
	scene_settle(&s);
	s.host.available_bytes = s.plan->high_bytes - GIB;
	scene_step(&s);
	assert_int_equal(count(&s, POL_BALLOON), POL_TAKES_MAX);
	for (size_t i = 0; i < s.plan->n_actions; i++)
		gain += s.plan->actions[i].gain_bytes;
	assert_true(gain >= s.plan->need_bytes);
	assert_asked_is_ordered(&s);
	scene_close(&s);
}

/* All of them in their turn, and nobody is taken for stuck. */
static void test_who_is_left_out_is_asked_later(void **state)
{
	struct scene s;
	size_t asked = 0;

	(void)state;
	open_many(&s);
	scene_settle(&s);
	s.obey = true;
	s.host.available_bytes = s.plan->low_bytes / 8;
	for (int t = 0; t < 120; t++) {
		scene_step(&s);
		assert_true(count(&s, POL_BALLOON) <= POL_TAKES_MAX);
		s.host.available_bytes = s.plan->low_bytes / 8;
	}
	for (size_t i = 0; i < SCENE_MAX; i++) {
		asked += s.guests[i].actual_bytes < 2 * GIB;
		assert_false(scene_view(&s, s.guests[i].id)->stuck);
	}
	assert_int_equal(asked, SCENE_MAX);
	scene_close(&s);
}

/* Those stay that bring most, wherever they are in the list. */
static void test_who_brings_most_is_asked(void **state)
{
	struct scene s;

	(void)state;
	open_many(&s);
	for (size_t i = 200; i < SCENE_MAX; i++) {
		s.guests[i].memory_bytes = s.guests[i].actual_bytes = 4 * GIB;
		s.guests[i].resident_bytes = 4 * GIB;
		s.guests[i].stat_total_bytes = 4 * GIB - 40 * MIB;
		s.guests[i].stat_free_bytes += 2 * GIB;
		s.guests[i].stat_available_bytes += 2 * GIB;
	}
	scene_settle(&s);
	s.host.available_bytes = s.plan->low_bytes / 8;
	scene_step(&s);
	assert_int_equal(count(&s, POL_BALLOON), POL_TAKES_MAX);
	for (size_t i = 200; i < SCENE_MAX; i++)
		assert_non_null(scene_action(&s, s.guests[i].id));
	scene_close(&s);
}

/* So is what is collected before the host is short. */
static void test_collecting_is_bounded(void **state)
{
	struct scene s;
	unsigned int n;

	(void)state;
	open_many(&s);
	scene_settle(&s);
	s.host.available_bytes = s.plan->high_bytes + 256 * MIB;
	for (int t = 0; t < 20; t++) {
		scene_step(&s);
		n = count(&s, POL_BALLOON);
		assert_true(n <= POL_TAKES_MAX);
		if (n)
			break;
	}
	assert_true(n > 0);
	scene_close(&s);
}

/* Guests in trouble are not kept waiting for others: what is given is not bounded. */
static void test_gives_are_not_bounded(void **state)
{
	struct scene s;

	(void)state;
	open_many(&s);
	for (size_t i = 0; i < SCENE_MAX; i++)
		s.guests[i].actual_bytes = GIB;
	scene_run(&s, 2);
	for (size_t i = 0; i < SCENE_MAX; i++) {
		s.guests[i].stat_free_bytes = s.guests[i].stat_available_bytes = 16 * MIB;
		s.guests[i].stat_oom_kills++;
	}
	scene_step(&s);
	assert_int_equal(count(&s, POL_BALLOON), SCENE_MAX);
	scene_close(&s);
}

static void make_large(struct scene *s)
{
	s->host.memory_bytes = 1024 * GIB;
	s->host.available_bytes = s->host.free_bytes = 512 * GIB;
	s->host.swap_bytes = s->host.swap_free_bytes = 512 * GIB;
	scene_run(s, 40);
}

/* As much as from fewer guests, and each of them in its turn. */
static void test_reclaim_goes_round(void **state)
{
	struct scene s;
	size_t asked = 0;

	(void)state;
	scene_open_silent(&s, SCENE_MAX);
	make_large(&s);
	s.host.available_bytes = s.plan->high_bytes - 256 * MIB;
	scene_step(&s);
	assert_int_equal(count(&s, POL_RECLAIM), POL_RECLAIMS_MAX);
	assert_null(reclaim_of(&s, SCENE_MAX));
	assert_true(obey_reclaim(&s, 0) >= 256 * MIB);
	for (int t = 0; t < 60; t++) {
		s.host.available_bytes = s.plan->high_bytes - 256 * MIB;
		scene_step(&s);
		assert_true(count(&s, POL_RECLAIM) <= POL_RECLAIMS_MAX);
		obey_reclaim(&s, 0);
	}
	for (size_t i = 0; i < SCENE_MAX; i++) {
		asked += s.guests[i].swapped_bytes > 0;
		/* What was not asked of it is not held against it. */
		assert_int_not_equal(scene_view(&s, s.guests[i].id)->reclaim_off,
				     POL_WHY_NOTHING_LEFT);
	}
	assert_int_equal(asked, SCENE_MAX);
	scene_close(&s);
}

/* Also of those that have more than their share for long. */
static void test_reclaim_begins_where_it_ended(void **state)
{
	struct scene s;

	(void)state;
	scene_open_silent(&s, SCENE_MAX);
	for (size_t i = 0; i < 100; i++)
		s.guests[i].shares = 10;
	make_large(&s);
	s.host.available_bytes = s.plan->high_bytes - 256 * MIB;
	scene_step(&s);
	assert_int_equal(count(&s, POL_RECLAIM), POL_RECLAIMS_MAX);
	assert_non_null(reclaim_of(&s, 64));
	obey_reclaim(&s, 0);
	s.host.reclaim_busy = true;
	scene_run(&s, 5);
	s.host.reclaim_busy = false;
	s.host.available_bytes = s.plan->high_bytes - 256 * MIB;
	scene_step(&s);
	for (uint64_t id = 65; id <= 100; id++)
		assert_non_null(reclaim_of(&s, id));
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_takes_are_bounded_and_bring_as_much),
		cmocka_unit_test(test_who_is_left_out_is_asked_later),
		cmocka_unit_test(test_who_brings_most_is_asked),
		cmocka_unit_test(test_collecting_is_bounded),
		cmocka_unit_test(test_gives_are_not_bounded),
		cmocka_unit_test(test_reclaim_goes_round),
		cmocka_unit_test(test_reclaim_begins_where_it_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
