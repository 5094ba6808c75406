// SPDX-License-Identifier: Apache-2.0
/* The step as a whole: bad snapshots, guests coming and going, order, repeatability, cost. */
#include <errno.h>
#include <malloc.h>
#include <time.h>

#include "tests/unit/policy_scene.h"

static int step(struct scene *s)
{
	return pol_step(s->pol, &s->host, ++s->now_us, &s->plan);
}

static void test_bad_snapshots_are_refused_and_change_nothing(void **state)
{
	struct scene s;
	struct pol_host good;
	struct pol_guest swap;
	enum pol_state before;
	const struct pol_plan *plan;

	scene_open(&s, 2);
	s.host.available_bytes = 300 * MIB;
	scene_step(&s);
	before = s.pol->host.state;
	plan = s.plan;
	good = s.host;

	s.host.memory_bytes = 0;
	assert_int_equal(step(&s), -EINVAL);
	s.host.memory_bytes = POL_ABSENT;
	assert_int_equal(step(&s), -EINVAL);
	s.host = good;
	s.host.available_bytes = s.host.free_bytes = POL_ABSENT;
	assert_int_equal(step(&s), -EINVAL);
	s.host = good;
	s.host.guests = NULL;
	assert_int_equal(step(&s), -EINVAL);
	s.host = good;
	swap = s.guests[0];
	s.guests[0] = s.guests[1];
	s.guests[1] = swap;
	assert_int_equal(step(&s), -EINVAL);
	s.guests[1] = s.guests[0];
	assert_int_equal(step(&s), -EINVAL);

	assert_ptr_equal(s.plan, plan);
	assert_int_equal(s.pol->host.state, before);
	assert_int_equal(s.pol->n_past, 2);
	scene_close(&s);
}

static void test_available_absent_falls_back_on_free(void **state)
{
	struct scene s;

	scene_open(&s, 0);
	s.host.available_bytes = POL_ABSENT;
	s.host.free_bytes = 50 * MIB;
	scene_step(&s);
	assert_int_equal(s.plan->state, POL_STATE_LOW);
	scene_close(&s);
}

static void test_host_without_guests_is_fine(void **state)
{
	struct scene s;

	scene_open(&s, 0);
	s.host.guests = NULL;
	s.host.available_bytes = 0;
	scene_run(&s, 10);
	assert_int_equal(s.plan->n_actions + s.plan->n_views, 0);
	assert_int_equal(s.plan->state, POL_STATE_LOW);
	scene_close(&s);
}

static void test_guests_beyond_max_are_left_alone(void **state)
{
	struct scene s;

	scene_open(&s, 6);
	pol_free(s.pol);
	s.pol = pol_new(&s.config, 2);
	s.host.available_bytes = 300 * MIB;
	scene_settle(&s);
	assert_int_equal(s.plan->n_views, 2);
	assert_true(pol_has(s.guests[0].target_bytes) && pol_has(s.guests[1].target_bytes));
	for (int i = 2; i < 6; i++)
		assert_false(pol_has(s.guests[i].target_bytes));
	pol_free(s.pol);
	s.pol = pol_new(&s.config, 0);
	scene_run(&s, 20);
	assert_int_equal(s.plan->n_actions, 0);
	scene_close(&s);
}

/* What is remembered belongs to the guest, whoever comes and goes beside it. */
static void test_memory_follows_the_guest(void **state)
{
	struct scene s;
	struct pol_guest kept;

	scene_open(&s, 3);
	scene_settle(&s);
	s.guests[2].stat_oom_kills = 1;
	scene_step(&s);
	assert_true(scene_view(&s, 3)->trouble == false || s.plan->n_actions == 0);
	kept = s.guests[2];
	s.guests[0] = kept;
	s.host.n_guests = 1;
	s.host.available_bytes = 600 * MIB;
	scene_run(&s, 60);
	/* Still held after its OOM kill. */
	assert_int_equal(s.plan->n_actions, 0);
	/* One with another id starts anew. */
	s.guests[0].id = 9;
	scene_run(&s, 12);
	assert_true(pol_has(s.guests[0].target_bytes));
	scene_close(&s);
}

static void test_taking_comes_before_giving(void **state)
{
	struct scene s;
	unsigned int both = 0;

	scene_open(&s, 4);
	s.obey = true;
	s.guests[0].actual_bytes = s.guests[0].resident_bytes = GIB;
	s.guests[0].stat_total_bytes = 984 * MIB;
	s.guests[0].stat_available_bytes = 300 * MIB;
	s.guests[0].stat_free_bytes = s.guests[0].stat_cache_bytes = 150 * MIB;
	s.host.available_bytes = 1300 * MIB;
	scene_settle(&s);
	for (int t = 0; t < 5; t++) {
		bool took = false, gave = false;

		s.guests[0].stat_oom_kills++;
		s.host.available_bytes -= 250 * MIB;
		scene_step(&s);
		for (size_t i = 0; i < s.plan->n_actions; i++) {
			if (s.plan->actions[i].to < s.plan->actions[i].from) {
				assert_false(gave);
				took = true;
			} else {
				gave = true;
			}
		}
		both += gave && took;
	}
	assert_true(both > 0);
	scene_close(&s);
}

static void test_views_match_the_snapshot(void **state)
{
	struct scene s;

	scene_open(&s, 4);
	s.guests[1].answering = false;
	s.guests[2].memory_bytes = s.guests[2].actual_bytes = POL_ABSENT;
	scene_step(&s);
	assert_int_equal(s.plan->n_views, 4);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(s.plan->views[i].guest, s.guests[i].id);
	assert_int_equal(s.plan->views[0].target_bytes, 2 * GIB);
	assert_int_equal(s.plan->views[1].trust, POL_TRUST_STALE);
	assert_int_equal(s.plan->views[2].entitled_bytes, POL_ABSENT);
	scene_close(&s);
}

static void test_time_that_stands_or_goes_back_is_survived(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	s.host.available_bytes = 500 * MIB;
	scene_settle(&s);
	assert_int_equal(pol_step(s.pol, &s.host, s.now_us, &s.plan), 0);
	assert_int_equal(pol_step(s.pol, &s.host, 0, &s.plan), 0);
	assert_int_equal(pol_step(s.pol, &s.host, UINT64_MAX, &s.plan), 0);
	assert_int_equal(pol_step(s.pol, &s.host, 1, &s.plan), 0);
	scene_close(&s);
}

static void test_configure_keeps_history(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	s.host.available_bytes = 1300 * MIB;
	scene_settle(&s);
	s.config.guest_reserve_ppm = 0;
	s.config.guest_reserve_bytes = 64 * MIB;
	pol_configure(s.pol, &s.config);
	scene_step(&s);
	assert_int_equal(scene_view(&s, 1)->floor_bytes, 664 * MIB);
	assert_true(scene_view(&s, 1)->stats_trusted);
	scene_close(&s);
}

static void test_same_inputs_same_plan(void **state)
{
	struct scene a, b;

	scene_open(&a, 5);
	scene_open(&b, 5);
	for (int t = 0; t < 200; t++) {
		a.host.available_bytes = b.host.available_bytes =
			(uint64_t)(200 + (t * 37) % 1500) * MIB;
		a.guests[t % 5].stat_available_bytes ^= (uint64_t)t * MIB;
		b.guests[t % 5].stat_available_bytes ^= (uint64_t)t * MIB;
		scene_step(&a);
		scene_step(&b);
		assert_int_equal(a.plan->n_actions, b.plan->n_actions);
		assert_int_equal(a.plan->need_bytes, b.plan->need_bytes);
		for (size_t i = 0; i < a.plan->n_actions; i++)
			assert_memory_equal(&a.plan->actions[i], &b.plan->actions[i],
					    sizeof(a.plan->actions[i]));
	}
	scene_close(&a);
	scene_close(&b);
}

/* A dry run goes on saying what would be done: nobody seems not to follow. */
static void test_orders_that_are_not_carried_out(void **state)
{
	struct scene s;
	uint64_t to = 0;

	scene_open(&s, 3);
	s.obey = false;
	s.guests[2].has_balloon = false;
	s.guests[2].reclaimable_bytes = s.guests[2].resident_bytes;
	s.host.swap_bytes = s.host.swap_free_bytes = 4 * GIB;
	scene_run(&s, 60);
	s.host.available_bytes = 60 * MIB;
	for (int t = 0; t < 60; t++) {
		const struct pol_action *a;

		s.now_us += SEC;
		assert_int_equal(pol_step(s.pol, &s.host, s.now_us, &s.plan), 0);
		pol_not_done(s.pol);
		a = scene_action(&s, 1);
		assert_non_null(a);
		if (t > 5) /* lower floors of a pressed host */
			assert_true(!to || a->to == to);
		to = t > 5 ? a->to : 0;
		assert_false(scene_view(&s, 1)->stuck);
		assert_int_not_equal(scene_view(&s, 3)->reclaim_off, POL_WHY_NOTHING_LEFT);
	}
	scene_close(&s);
}

static void test_no_allocation_after_new(void **state)
{
#if !defined(__SANITIZE_ADDRESS__) /* its allocator keeps no such books */
	struct scene s;
	struct mallinfo2 before, after;

	scene_open(&s, 8);
	s.obey = true;
	scene_step(&s);
	before = mallinfo2();
	for (int t = 0; t < 200; t++) {
		s.host.available_bytes = (uint64_t)(100 + (t * 61) % 1500) * MIB;
		scene_step(&s);
	}
	after = mallinfo2();
	assert_int_equal(before.uordblks, after.uordblks);
	assert_int_equal(before.hblks, after.hblks);
	scene_close(&s);
#else
	skip();
#endif
}

/* 1000 guests, all of them moving: well within a tick's 10 ms of CPU. */
static void test_thousand_guests_are_cheap(void **state)
{
	enum { N = 1000, TICKS = 50 };
	struct pol_guest *guests = calloc(N, sizeof(*guests));
	struct pol_config config;
	struct pol_host host = {.memory_bytes = 1024 * GIB, .guests = guests, .n_guests = N};
	const struct pol_plan *plan;
	struct timespec from, to;
	struct pol *pol;
	double ms;

	assert_non_null(guests);
	pol_config_default(&config);
	pol = pol_new(&config, N);
	assert_non_null(pol);
	for (size_t i = 0; i < N; i++)
		guests[i] = scene_guest(i + 1);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	for (uint64_t t = 1; t <= TICKS; t++) {
		host.available_bytes = (t * 7 % 24) * GIB;
		for (size_t i = 0; i < N; i++) {
			guests[i].stat_available_bytes -= (i + t) % 7 * MIB;
			guests[i].stat_free_bytes -= (i + t) % 5 * MIB;
		}
		assert_int_equal(pol_step(pol, &host, t * SEC, &plan), 0);
		for (size_t i = 0; i < plan->n_actions; i++)
			if (plan->actions[i].kind == POL_BALLOON) {
				struct pol_guest *g = &guests[plan->actions[i].guest - 1];

				g->actual_bytes = g->target_bytes = plan->actions[i].to;
			}
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
	print_message("             1000 guests: %.2f ms a step\n", ms / TICKS);
#if !defined(__SANITIZE_ADDRESS__)
	assert_true(ms / TICKS < 10);
#endif
	pol_free(pol);
	free(guests);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_snapshots_are_refused_and_change_nothing),
		cmocka_unit_test(test_available_absent_falls_back_on_free),
		cmocka_unit_test(test_host_without_guests_is_fine),
		cmocka_unit_test(test_guests_beyond_max_are_left_alone),
		cmocka_unit_test(test_memory_follows_the_guest),
		cmocka_unit_test(test_taking_comes_before_giving),
		cmocka_unit_test(test_views_match_the_snapshot),
		cmocka_unit_test(test_time_that_stands_or_goes_back_is_survived),
		cmocka_unit_test(test_configure_keeps_history),
		cmocka_unit_test(test_same_inputs_same_plan),
		cmocka_unit_test(test_orders_that_are_not_carried_out),
		cmocka_unit_test(test_no_allocation_after_new),
		cmocka_unit_test(test_thousand_guests_are_cheap),
	};

	return cmocka_run_group_tests_name("policy_step", tests, NULL, NULL);
}
