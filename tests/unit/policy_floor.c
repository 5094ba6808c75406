// SPDX-License-Identifier: Apache-2.0
/* Working set, floor, trust in what a guest says, and the signs that it suffers. */
#include "tests/unit/policy_scene.h"

#define RESERVE (256 * MIB) /* an eighth of 2 GiB */

static void test_floor_is_working_set_and_reserve(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	scene_step(&s);
	assert_int_equal(scene_view(&s, 1)->working_set_bytes, 600 * MIB);
	assert_int_equal(scene_view(&s, 1)->floor_bytes, 600 * MIB + RESERVE);
	assert_true(scene_view(&s, 1)->stats_trusted);
	scene_close(&s);
}

/* MemTotal shrinks with the balloon or not, depending on deflate-on-oom: no difference. */
static void test_working_set_is_the_same_with_deflate_on_oom(void **state)
{
	for (int oom = 0; oom < 2; oom++) {
		struct scene s;

		scene_open(&s, 1);
		s.guests[0].deflate_on_oom = oom;
		s.guests[0].actual_bytes = 1536 * MIB;
		s.guests[0].stat_total_bytes = (oom ? 2048 : 1536) * MIB - 40 * MIB;
		s.guests[0].stat_free_bytes = 536 * MIB;
		s.guests[0].stat_available_bytes = 936 * MIB;
		scene_step(&s);
		assert_int_equal(scene_view(&s, 1)->working_set_bytes, 600 * MIB);
		scene_close(&s);
	}
}

static void test_configured_minimum_is_a_floor(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	s.guests[0].min_bytes = 1500 * MIB;
	s.guests[1].min_bytes = 64 * GIB;
	scene_step(&s);
	assert_int_equal(scene_view(&s, 1)->floor_bytes, 1500 * MIB);
	assert_int_equal(scene_view(&s, 2)->floor_bytes, 2 * GIB);
	scene_close(&s);
}

/* What it used of late it may use again, and the host has what it freed already. */
static void test_reporting_guest_keeps_room_for_a_while(void **state)
{
	struct scene s;

	scene_open(&s, 2);
	s.guests[0].reporting = true;
	scene_run(&s, 5);
	for (int i = 0; i < 2; i++) {
		s.guests[i].stat_free_bytes -= 400 * MIB;
		s.guests[i].stat_available_bytes -= 400 * MIB;
	}
	scene_run(&s, 3);
	for (int i = 0; i < 2; i++) {
		s.guests[i].stat_free_bytes += 400 * MIB;
		s.guests[i].stat_available_bytes += 400 * MIB;
	}
	scene_run(&s, 18);
	assert_int_equal(scene_view(&s, 1)->floor_bytes, GIB - 24 * MIB + RESERVE);
	assert_true(scene_view(&s, 2)->floor_bytes < 700 * MIB + RESERVE);
	scene_run(&s, 30);
	assert_true(scene_view(&s, 1)->floor_bytes < 700 * MIB + RESERVE);
	scene_close(&s);
}

static void test_small_guests_keep_a_small_reserve(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	s.guests[0].memory_bytes = s.guests[0].actual_bytes = 256 * MIB;
	s.guests[0].stat_total_bytes = 230 * MIB;
	s.guests[0].stat_free_bytes = 100 * MIB;
	s.guests[0].stat_available_bytes = 156 * MIB;
	s.guests[0].stat_cache_bytes = 60 * MIB;
	scene_step(&s);
	assert_int_equal(scene_view(&s, 1)->floor_bytes, 100 * MIB + 48 * MIB);
	scene_close(&s);
}

static void test_working_set_rises_at_once_and_falls_slowly(void **state)
{
	struct scene s;
	uint64_t after_5 = 0;

	scene_open(&s, 1);
	scene_run(&s, 5);
	s.guests[0].stat_available_bytes = 448 * MIB;
	s.guests[0].stat_free_bytes = 48 * MIB;
	scene_step(&s);
	assert_int_equal(scene_view(&s, 1)->working_set_bytes, 1600 * MIB);
	scene_run(&s, 60);
	s.guests[0].stat_available_bytes = 1448 * MIB;
	s.guests[0].stat_free_bytes = 1048 * MIB;
	for (int t = 1; t <= 60; t++) {
		scene_step(&s);
		if (t == 1)
			assert_true(scene_view(&s, 1)->working_set_bytes > 1400 * MIB);
		if (t == 5)
			after_5 = scene_view(&s, 1)->working_set_bytes;
	}
	assert_true(after_5 > 1000 * MIB);
	assert_in_range(scene_view(&s, 1)->working_set_bytes, 600 * MIB, 601 * MIB);
	scene_close(&s);
}

/* Numbers from before the balloon moved are set beside the size of that time. */
static void test_moving_balloon_is_not_use(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	scene_run(&s, 5);
	for (int t = 0; t < 5; t++) {
		/* 100 MiB a second down, numbers two seconds old. */
		s.guests[0].actual_bytes -= 100 * MIB;
		s.guests[0].stat_age_us = 2 * SEC;
		if (t >= 2) {
			s.guests[0].stat_free_bytes -= 100 * MIB;
			s.guests[0].stat_available_bytes -= 100 * MIB;
		}
		scene_step(&s);
		assert_int_equal(scene_view(&s, 1)->working_set_bytes, 600 * MIB);
	}
	scene_close(&s);
}

struct lie {
	const char *name;
	enum pol_trust trust;
	struct pol_guest guest;
};

static void make_lies(struct lie *lies, size_t *ret_n)
{
	size_t n = 0;
	struct pol_guest good = scene_guest(1);

#define LIE(text, kind, ...)                              \
	do {                                              \
		lies[n] = (struct lie){text, kind, good}; \
		struct pol_guest *g = &lies[n++].guest;   \
		__VA_ARGS__;                              \
	} while (0)
	LIE("never sent", POL_TRUST_ABSENT, g->stat_age_us = POL_ABSENT);
	LIE("no total", POL_TRUST_ABSENT, g->stat_total_bytes = POL_ABSENT);
	LIE("neither available nor free", POL_TRUST_ABSENT,
	    g->stat_available_bytes = g->stat_free_bytes = POL_ABSENT);
	LIE("stale", POL_TRUST_STALE, g->stat_age_us = 11 * SEC);
	LIE("age 2^64-2", POL_TRUST_STALE, g->stat_age_us = UINT64_MAX - 1);
	LIE("zero total", POL_TRUST_LIES, g->stat_total_bytes = 0);
	LIE("total above memory", POL_TRUST_LIES, g->stat_total_bytes = 2 * GIB + 1);
	LIE("available above total", POL_TRUST_LIES,
	    g->stat_available_bytes = g->stat_total_bytes + 1);
	LIE("free above total", POL_TRUST_LIES, g->stat_free_bytes = g->stat_total_bytes + 1);
	LIE("cache above total", POL_TRUST_LIES, g->stat_cache_bytes = g->stat_total_bytes + 1);
	LIE("available above its size", POL_TRUST_LIES, g->actual_bytes = GIB);
	LIE("all 2^64-2", POL_TRUST_LIES,
	    g->stat_total_bytes = g->stat_free_bytes = g->stat_available_bytes = UINT64_MAX - 1);
#undef LIE
	*ret_n = n;
}

/* Nothing is taken from a guest that cannot be judged, however short the host is. */
static void test_untrusted_numbers_take_nothing(void **state)
{
	struct lie lies[16];
	size_t n;

	make_lies(lies, &n);
	for (size_t i = 0; i < n; i++) {
		struct scene s;

		scene_open(&s, 1);
		s.guests[0] = lies[i].guest;
		s.host.available_bytes = 400 * MIB;
		for (int t = 0; t < 40; t++) {
			scene_step(&s);
			if (s.plan->n_actions || scene_view(&s, 1)->trust != lies[i].trust)
				fail_msg("%s: %zu actions, trust %d", lies[i].name,
					 s.plan->n_actions, scene_view(&s, 1)->trust);
			assert_false(scene_view(&s, 1)->stats_trusted);
			assert_int_equal(scene_view(&s, 1)->floor_bytes,
					 lies[i].guest.actual_bytes);
			assert_false(pol_has(scene_view(&s, 1)->working_set_bytes));
		}
		scene_close(&s);
	}
}

/* Hard pressed, a guest that contradicts itself for long keeps its share, not more. */
static void test_proven_liar_is_bound_by_its_share(void **state)
{
	struct scene s;

	scene_open(&s, 3);
	s.obey = true;
	s.guests[0].stat_total_bytes = 0;
	s.guests[0].deflate_on_oom = true; /* so it does not follow the balloon */
	for (int i = 1; i < 3; i++) {
		s.guests[i].actual_bytes = s.guests[i].resident_bytes = GIB;
		s.guests[i].stat_total_bytes = 984 * MIB;
		s.guests[i].stat_available_bytes = 500 * MIB;
		s.guests[i].stat_free_bytes = 100 * MIB;
	}
	s.host.available_bytes = 1500 * MIB;
	scene_settle(&s);
	assert_int_equal(s.guests[0].actual_bytes, 2 * GIB);
	for (int t = 0; t < 60; t++) {
		s.host.available_bytes = 100 * MIB;
		scene_step(&s);
		const struct pol_action *a = scene_action(&s, 1);
		if (a)
			assert_true(a->to >= a->entitled_bytes);
	}
	assert_true(s.guests[0].actual_bytes < 2 * GIB);
	scene_close(&s);
}

static void test_counters_going_back_are_not_trusted(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	s.obey = true;
	s.guests[0].stat_major_faults = 1000;
	scene_run(&s, 3);
	assert_true(scene_view(&s, 1)->stats_trusted);
	s.guests[0].stat_major_faults = 10;
	scene_step(&s);
	assert_int_equal(scene_view(&s, 1)->trust, POL_TRUST_BACK);
	assert_int_equal(scene_view(&s, 1)->floor_bytes, 2 * GIB);
	/* Restarted: from then on its numbers count again, after a time to start. */
	s.guests[0].stat_major_faults = 20;
	s.host.available_bytes = 500 * MIB;
	scene_step(&s);
	assert_true(scene_view(&s, 1)->stats_trusted);
	scene_run(&s, 5);
	assert_null(scene_action(&s, 1));
	scene_run(&s, 10);
	assert_true(s.guests[0].target_bytes < 2 * GIB);
	scene_close(&s);
}

/* A guest that is squeezed to 1 GiB, of which `available` is left. */
static void squeezed(struct scene *s, uint64_t available)
{
	scene_open(s, 1);
	s->host.available_bytes = 900 * MIB;
	s->guests[0].actual_bytes = GIB;
	s->guests[0].resident_bytes = GIB;
	s->guests[0].stat_total_bytes = 984 * MIB;
	s->guests[0].stat_available_bytes = available;
	s->guests[0].stat_free_bytes = available / 2;
	s->guests[0].stat_cache_bytes = available / 2;
	s->guests[0].stat_swap_in_bytes = s->guests[0].stat_major_faults = 0;
	scene_run(s, 20);
	s->guests[0].stat_cache_bytes++; /* a fresh sample */
	scene_step(s);
	assert_int_equal(s->plan->n_actions, 0);
}

static void assert_trouble(struct scene *s, bool expected)
{
	scene_step(s);
	assert_int_equal(scene_view(s, 1)->trouble, expected);
	if (!expected)
		return;
	assert_non_null(scene_action(s, 1));
	assert_int_equal(scene_action(s, 1)->reason, POL_WHY_TROUBLE);
	assert_true(scene_action(s, 1)->to > GIB);
}

static void test_signs_of_trouble(void **state)
{
	struct scene s;

#define SIGN(available, expected, change)      \
	do {                                   \
		squeezed(&s, available);       \
		s.guests[0].change;            \
		s.guests[0].stat_free_bytes++; \
		assert_trouble(&s, expected);  \
		scene_close(&s);               \
	} while (0)
	SIGN(600 * MIB, true, stat_oom_kills += 1);
	SIGN(300 * MIB, true, stat_alloc_stalls += 1);
	SIGN(600 * MIB, true, stat_alloc_stalls += 200);
	SIGN(600 * MIB, true, stat_swap_in_bytes += 4 * MIB);
	SIGN(240 * MIB, true, stat_swap_in_bytes += 256 * KIB);
	SIGN(240 * MIB, true, stat_major_faults += 500);
	SIGN(300 * MIB, true, stat_scanned_bytes += 20 * MIB);
	SIGN(300 * MIB, true, stat_scanned_bytes += 20 * MIB;
	     s.guests[0].stat_reclaimed_bytes += MIB);
	/* It gets something for its pains, or has hardly begun. */
	SIGN(300 * MIB, false, stat_scanned_bytes += 20 * MIB;
	     s.guests[0].stat_reclaimed_bytes += 2 * MIB);
	SIGN(300 * MIB, false, stat_scanned_bytes += 64 * KIB);
	/* The same with room is something else. */
	SIGN(900 * MIB, false, stat_alloc_stalls += 1);
	SIGN(900 * MIB, false, stat_swap_in_bytes += 256 * KIB);
	SIGN(900 * MIB, false, stat_major_faults += 5000);
	SIGN(900 * MIB, false, stat_scanned_bytes += 20 * MIB);
#undef SIGN
}

static void test_absent_counters_are_no_trouble(void **state)
{
	struct scene s;

	squeezed(&s, 600 * MIB);
	s.guests[0].stat_oom_kills = s.guests[0].stat_alloc_stalls = POL_ABSENT;
	s.guests[0].stat_free_bytes++;
	assert_trouble(&s, false);
	s.guests[0].stat_oom_kills = 7; /* seen for the first time */
	s.guests[0].stat_free_bytes++;
	assert_trouble(&s, false);
	scene_close(&s);
	squeezed(&s, 300 * MIB);
	s.guests[0].stat_reclaimed_bytes = POL_ABSENT;
	s.guests[0].stat_scanned_bytes += 20 * MIB;
	s.guests[0].stat_free_bytes++;
	assert_trouble(&s, false);
	scene_close(&s);
}

/* It deflates its own balloon only when it had nothing left. */
static void test_deflating_by_itself_is_trouble(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	s.guests[0].deflate_on_oom = true;
	s.host.available_bytes = 600 * MIB;
	s.obey = true;
	scene_settle(&s);
	assert_true(s.guests[0].actual_bytes < 2 * GIB);
	s.host.available_bytes = 900 * MIB;
	scene_run(&s, 30);
	assert_int_equal(s.plan->n_actions, 0);
	s.guests[0].actual_bytes += 32 * MIB;
	scene_step(&s);
	assert_true(scene_view(&s, 1)->trouble);
	assert_int_equal(scene_action(&s, 1)->reason, POL_WHY_TROUBLE);
	assert_true(scene_action(&s, 1)->to >= scene_action(&s, 1)->from + 32 * MIB);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_floor_is_working_set_and_reserve),
		cmocka_unit_test(test_working_set_is_the_same_with_deflate_on_oom),
		cmocka_unit_test(test_configured_minimum_is_a_floor),
		cmocka_unit_test(test_reporting_guest_keeps_room_for_a_while),
		cmocka_unit_test(test_small_guests_keep_a_small_reserve),
		cmocka_unit_test(test_working_set_rises_at_once_and_falls_slowly),
		cmocka_unit_test(test_moving_balloon_is_not_use),
		cmocka_unit_test(test_untrusted_numbers_take_nothing),
		cmocka_unit_test(test_proven_liar_is_bound_by_its_share),
		cmocka_unit_test(test_counters_going_back_are_not_trusted),
		cmocka_unit_test(test_signs_of_trouble),
		cmocka_unit_test(test_absent_counters_are_no_trouble),
		cmocka_unit_test(test_deflating_by_itself_is_trouble),
	};

	return cmocka_run_group_tests_name("policy_floor", tests, NULL, NULL);
}
