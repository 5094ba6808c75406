// SPDX-License-Identifier: Apache-2.0
/* Host states, need, and looking ahead; the configuration's check; words for everything. */
#include <errno.h>

#include "tests/unit/policy_scene.h"

static struct marks marks_of(uint64_t memory_bytes)
{
	struct pol_config config;
	struct marks m;

	pol_config_default(&config);
	host_state_marks(&config, memory_bytes, &m);
	return m;
}

static void assert_near(uint64_t bytes, uint64_t mib)
{
	assert_in_range(bytes / MIB, mib ? mib - 1 : 0, mib + 1);
}

/* A head start in bytes on small hosts, no waste on large ones, ESX's proportions on all. */
static void test_thresholds_suit_host_size(void **state)
{
	static const struct {
		uint64_t memory, high_mib;
	} cases[] = {
		{4 * GIB, 512},	  {8 * GIB, 640},      {16 * GIB, 983},
		{64 * GIB, 3932}, {1024 * GIB, 16384},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct marks m = marks_of(cases[i].memory);

		assert_near(m.high, cases[i].high_mib);
		assert_near(m.soft, cases[i].high_mib * 4 / 6);
		assert_near(m.hard, cases[i].high_mib * 2 / 6);
		assert_near(m.low, cases[i].high_mib / 6);
		assert_true(m.goal > m.high + m.hysteresis);
		assert_true(m.ease >= m.goal && m.plenty > m.ease);
	}
}

static void test_thresholds_of_any_host_are_ordered(void **state)
{
	for (uint64_t memory = 1; memory < BYTES_MAX; memory = memory * 3 + 1) {
		struct marks m = marks_of(memory);

		assert_true(m.low <= m.hard && m.hard <= m.soft && m.soft <= m.high);
		assert_true(m.high <= memory && m.high <= m.goal && m.goal <= m.plenty);
	}
}

static void test_states_are_entered_at_once(void **state)
{
	struct marks m = marks_of(8 * GIB);

	assert_int_equal(host_state_next(&m, POL_STATE_HIGH, m.soft), POL_STATE_HIGH);
	assert_int_equal(host_state_next(&m, POL_STATE_HIGH, m.soft - 1), POL_STATE_SOFT);
	assert_int_equal(host_state_next(&m, POL_STATE_HIGH, m.hard - 1), POL_STATE_HARD);
	assert_int_equal(host_state_next(&m, POL_STATE_HIGH, m.low - 1), POL_STATE_LOW);
	assert_int_equal(host_state_next(&m, POL_STATE_HIGH, 0), POL_STATE_LOW);
	assert_int_equal(host_state_next(&m, POL_STATE_SOFT, 0), POL_STATE_LOW);
}

static void test_states_are_left_past_the_hysteresis(void **state)
{
	struct marks m = marks_of(8 * GIB);

	assert_int_equal(host_state_next(&m, POL_STATE_LOW, m.low + m.hysteresis - 1),
			 POL_STATE_LOW);
	assert_int_equal(host_state_next(&m, POL_STATE_LOW, m.low + m.hysteresis), POL_STATE_HARD);
	assert_int_equal(host_state_next(&m, POL_STATE_HARD, m.hard + m.hysteresis - 1),
			 POL_STATE_HARD);
	assert_int_equal(host_state_next(&m, POL_STATE_HARD, m.hard + m.hysteresis),
			 POL_STATE_SOFT);
	/* Ballooning is over when `high` is back, not before. */
	assert_int_equal(host_state_next(&m, POL_STATE_SOFT, m.soft + m.hysteresis),
			 POL_STATE_SOFT);
	assert_int_equal(host_state_next(&m, POL_STATE_SOFT, m.high), POL_STATE_HIGH);
	assert_int_equal(host_state_next(&m, POL_STATE_LOW, m.plenty), POL_STATE_HIGH);
}

static void test_state_does_not_flap(void **state)
{
	struct marks m = marks_of(8 * GIB);
	const uint64_t around[] = {m.soft, m.hard, m.low};

	for (size_t i = 0; i < 3; i++) {
		enum pol_state now = POL_STATE_HIGH, before = POL_STATE_HIGH;
		unsigned int changes = 0;

		for (int t = 0; t < 100; t++) {
			now = host_state_next(&m, now,
					      around[i] + (t % 2 ? 20 : -20) * (int64_t)MIB);
			changes += now != before;
			before = now;
		}
		assert_int_equal(changes, 1);
	}
}

static void test_need_is_what_is_missing_to_the_goal(void **state)
{
	struct marks m = marks_of(8 * GIB);
	struct scene s;

	scene_open(&s, 0);
	scene_run(&s, 3);
	assert_int_equal(s.plan->need_bytes, 0);
	assert_int_equal(s.plan->high_bytes, m.high);
	assert_int_equal(s.plan->low_bytes, m.low);
	s.host.available_bytes = m.high - 1;
	scene_run(&s, 60); /* until the fall is forgotten */
	assert_int_equal(s.plan->need_bytes, m.goal - (m.high - 1));
	/* Not over before it is clear above `high`, and then not again before `high`. */
	s.host.available_bytes = m.high + m.hysteresis - 1;
	scene_run(&s, 3);
	assert_true(s.plan->need_bytes > 0);
	s.host.available_bytes = m.high + m.hysteresis;
	scene_step(&s);
	assert_int_equal(s.plan->need_bytes, 0);
	for (int t = 0; t < 64; t++) {
		s.host.available_bytes -= m.hysteresis / 64;
		scene_step(&s);
	}
	assert_true(s.host.available_bytes >= m.high);
	assert_int_equal(s.plan->need_bytes, 0);
	scene_close(&s);
}

static void test_fast_fall_is_foreseen(void **state)
{
	struct scene s;

	scene_open(&s, 0);
	s.host.available_bytes = 2300 * MIB;
	scene_run(&s, 5);
	/* 200 MiB/s: `high` is several seconds away, and so is help. */
	for (int t = 0; t < 4; t++) {
		s.host.available_bytes -= 200 * MIB;
		scene_step(&s);
	}
	assert_int_equal(s.plan->state, POL_STATE_HIGH);
	assert_in_range(s.plan->fall_bytes_per_s, 150 * MIB, 200 * MIB);
	assert_true(s.plan->need_bytes > 0);
	/* It stops: forgotten within seconds. */
	scene_run(&s, 15);
	assert_int_equal(s.plan->need_bytes, 0);
	scene_close(&s);
}

/* Falls that its balloons cannot follow: for a minute more is kept than the goal, then no more. */
static void test_falls_faster_than_balloons_are_remembered(void **state)
{
	for (int fast = 0; fast < 2; fast++) {
		struct marks m = marks_of(8 * GIB);
		uint64_t wanted;
		struct scene s;

		scene_open(&s, 1);
		s.obey = fast;
		/* The speed of its balloon is learned: 256 MiB a tick, or what is supposed. */
		s.host.available_bytes = fast ? 600 * MIB : 2200 * MIB;
		scene_run(&s, 30);
		s.host.available_bytes = 2200 * MIB;
		scene_run(&s, 20);
		for (int t = 0; t < 5; t++) {
			s.host.available_bytes -= 260 * MIB;
			scene_step(&s);
		}
		assert_true(s.host.available_bytes > m.goal);
		scene_run(&s, 15);
		wanted = s.plan->need_bytes;
		if (fast)
			assert_int_equal(wanted, 0);
		else
			assert_in_range(wanted, 64 * MIB, m.ease - s.host.available_bytes);
		scene_run(&s, 120);
		assert_int_equal(s.plan->need_bytes, 0);
		scene_close(&s);
	}
}

/*
 * For some minutes as much is to be ready as such a fall takes that balloons cannot follow. A fast
 * one is no help when its guest needs all it has, or is left alone.
 */
static void test_falls_have_more_kept_ready(void **state)
{
	enum { SLOW, FAST, AT_FLOOR, HELD_BACK, HUGE };

	for (int kind = SLOW; kind <= HUGE; kind++) {
		struct marks m = marks_of(8 * GIB);
		struct scene s;

		scene_open(&s, kind == FAST ? 6 : 1);
		s.obey = kind != SLOW;
		/* The speed of its balloon is learned: 256 MiB a tick, or what is supposed. */
		s.host.available_bytes = kind == SLOW ? 2200 * MIB : 600 * MIB;
		scene_run(&s, 30);
		s.host.available_bytes = 2200 * MIB;
		scene_run(&s, 20);
		/* After a gift, or not. */
		for (size_t i = 0; i < s.host.n_guests; i++)
			s.pol->past[i].hold_us = kind == HELD_BACK ? s.now_us + 3600 * SEC : 0;
		assert_int_equal(s.pol->tick.ready, m.soft);
		for (int t = 0; t < 5; t++) {
			s.host.available_bytes -= kind == HUGE ? (t ? 0 : 1300 * MIB) : 260 * MIB;
			if (kind == AT_FLOOR || kind == HUGE) {
				s.guests[0].stat_available_bytes = 272 * MIB;
				s.guests[0].stat_free_bytes = 100 * MIB;
				s.guests[0].resident_bytes = 2 * GIB;
			}
			scene_step(&s);
		}
		for (int minutes = 0; minutes < 2; minutes++) {
			if (kind != FAST)
				assert_in_range(s.pol->tick.ready, m.goal, m.ease);
			else if (minutes == 0) /* before it is given something, and left it */
				assert_in_range(s.pol->tick.ready, m.soft, m.soft + 16 * MIB);
			scene_run(&s, 60);
		}
		scene_run(&s, 480);
		assert_in_range(s.pol->tick.ready, m.soft, m.soft + 320 * MIB);
		scene_run(&s, 1500);
		assert_in_range(s.pol->tick.ready, m.soft, m.soft + 16 * MIB);
		scene_close(&s);
	}
}

static void test_distant_or_small_falls_are_ignored(void **state)
{
	struct scene s;

	scene_open(&s, 0);
	s.host.available_bytes = 7 * GIB;
	for (int t = 0; t < 10; t++) {
		s.host.available_bytes -= 200 * MIB;
		scene_step(&s);
		assert_int_equal(s.plan->need_bytes, 0);
	}
	s.host.available_bytes = 800 * MIB;
	scene_run(&s, 60);
	for (int t = 0; t < 10; t++) {
		s.host.available_bytes -= 5 * MIB;
		scene_step(&s);
		assert_int_equal(s.plan->need_bytes, 0);
	}
	scene_close(&s);
}

/* A guest can fill no more than its size, however fast it starts. */
static void test_fall_counts_no_more_than_the_guest_has_room(void **state)
{
	struct scene s;

	scene_open(&s, 1);
	s.guests[0].resident_bytes = 1500 * MIB;
	s.host.available_bytes = 1900 * MIB;
	scene_settle(&s);
	assert_int_equal(s.plan->n_actions, 0);
	for (int t = 0; t < 2; t++) {
		s.host.available_bytes -= 200 * MIB;
		s.guests[0].resident_bytes += 200 * MIB;
		scene_step(&s);
		/* 1500 MiB are left, the guest can take 148 more. */
		assert_int_equal(s.plan->need_bytes, 0);
	}
	scene_close(&s);
}

static void test_defaults_pass_the_check(void **state)
{
	struct pol_config config;
	const char *why = "untouched";

	pol_config_default(&config);
	assert_int_equal(pol_config_check(&config, &why), 0);
	assert_string_equal(why, "untouched");
}

static void test_check_names_what_is_wrong(void **state)
{
#define BAD(member, value, word)                                            \
	do {                                                                \
		struct pol_config config;                                   \
		const char *why = NULL;                                     \
		pol_config_default(&config);                                \
		config.member = value;                                      \
		assert_int_equal(pol_config_check(&config, &why), -EINVAL); \
		assert_non_null(strstr(why, word));                         \
	} while (0)
	BAD(low_ppm, 0, "low");
	BAD(hard_ppm, 10000, "hard");
	BAD(soft_ppm, 20000, "soft");
	BAD(high_ppm, 40000, "high");
	BAD(high_ppm, 600000, "high");
	BAD(hysteresis_ppm, 70000, "hysteresis");
	BAD(high_max_bytes, 0, "high-max");
	BAD(guest_reserve_ppm, 950000, "guest-reserve");
	BAD(guest_reserve_max_bytes, 0, "guest-reserve-max");
	BAD(step_bytes, MIB, "step");
	BAD(stats_max_age_us, 0, "stats-max-age");
	BAD(stuck_after_us, 0, "stuck-after");
	BAD(idle_tax_ppm, 1000000, "idle-tax");
	BAD(ksm_cpu_ppm, 0, "ksm-cpu");
	BAD(ksm_cpu_ppm, 1000001, "ksm-cpu");
	BAD(ksm_trial_us, 0, "ksm-trial");
#undef BAD
}

static void test_everything_has_a_word(void **state)
{
	for (int i = 0; i <= POL_STATE_LOW; i++)
		assert_string_not_equal(pol_state_name((enum pol_state)i), "unknown");
	for (int i = 0; i <= POL_KSM_RATE; i++)
		assert_string_not_equal(pol_action_name((enum pol_action_kind)i), "unknown");
	for (int i = 0; i < POL_RUNG_COUNT; i++)
		assert_string_not_equal(pol_rung_name((enum pol_rung)i), "unknown");
	for (int i = 0; i < POL_WHY_COUNT; i++)
		assert_string_not_equal(pol_reason_text((enum pol_reason)i), "unknown");
	for (int i = 0; i < POL_TRUST_COUNT; i++)
		assert_string_not_equal(pol_trust_text((enum pol_trust)i), "unknown");
	assert_string_equal(pol_state_name((enum pol_state)99), "unknown");
	assert_string_equal(pol_reason_text((enum pol_reason) - 1), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_thresholds_suit_host_size),
		cmocka_unit_test(test_thresholds_of_any_host_are_ordered),
		cmocka_unit_test(test_states_are_entered_at_once),
		cmocka_unit_test(test_states_are_left_past_the_hysteresis),
		cmocka_unit_test(test_state_does_not_flap),
		cmocka_unit_test(test_need_is_what_is_missing_to_the_goal),
		cmocka_unit_test(test_fast_fall_is_foreseen),
		cmocka_unit_test(test_falls_faster_than_balloons_are_remembered),
		cmocka_unit_test(test_falls_have_more_kept_ready),
		cmocka_unit_test(test_distant_or_small_falls_are_ignored),
		cmocka_unit_test(test_fall_counts_no_more_than_the_guest_has_room),
		cmocka_unit_test(test_defaults_pass_the_check),
		cmocka_unit_test(test_check_names_what_is_wrong),
		cmocka_unit_test(test_everything_has_a_word),
	};

	return cmocka_run_group_tests_name("policy_state", tests, NULL, NULL);
}
