// SPDX-License-Identifier: Apache-2.0
/*
 * One guest does not do as it should, beside three that do, on a host short of memory: what becomes
 * of the three is what becomes of them beside a guest that is left alone. A balloon that hangs, a
 * monitor that falls silent, statistics of 2^64-1, of 0, from the future, and ones that change sign
 * each tick (a negative number is no number: absent).
 */
#include "tests/unit/policy_scene.h"

#define ODD   1 /* its id: the first in every list */
#define GOOD  3
#define TICKS 90

struct outcome {
	uint64_t good[GOOD], odd, available;
	unsigned int trusted; /* ticks in which the odd one's numbers were */
	unsigned int stuck;   /* ticks in which it was */
	uint64_t odd_least;   /* smallest target that it was given */
};

typedef void (*misfit_fn)(struct pol_guest *odd, unsigned int tick);

/* One second of a host whose available memory is what is not held. */
static void live(struct scene *s, bool follows)
{
	scene_step(s);
	for (size_t i = 0; i < s->plan->n_actions; i++) {
		const struct pol_action *a = &s->plan->actions[i];

		if (a->kind == POL_BALLOON && (a->guest != ODD || follows))
			scene_obey(s, a);
	}
}

/* misfit changes the odd one's numbers before each tick; NULL: it is left alone. */
static struct outcome run(misfit_fn misfit, bool follows)
{
	struct outcome out = {.odd_least = POL_ABSENT};
	struct scene s;

	scene_open(&s, 1 + GOOD);
	for (unsigned int tick = 0; tick < TICKS; tick++) {
		if (tick == 20) /* all have settled; then somebody takes 3.6 GiB */
			s.host.available_bytes = 400 * MIB;
		if (misfit)
			misfit(&s.guests[0], tick);
		else
			s.guests[0].has_balloon = false;
		live(&s, follows);
		out.trusted += scene_view(&s, ODD)->stats_trusted;
		out.stuck += scene_view(&s, ODD)->stuck;
		if (pol_has(s.guests[0].target_bytes))
			out.odd_least = min_u64(out.odd_least, s.guests[0].target_bytes);
	}
	for (size_t i = 0; i < GOOD; i++)
		out.good[i] = s.guests[i + 1].actual_bytes;
	out.odd = s.guests[0].actual_bytes;
	out.available = s.host.available_bytes;
	scene_close(&s);
	return out;
}

/* Each good guest ends where it does beside one that is left alone, or better off; and the host is
 * as well. */
static struct outcome assert_no_effect(misfit_fn misfit, bool follows)
{
	struct outcome alone = run(NULL, true), beside = run(misfit, follows);

	for (size_t i = 0; i < GOOD; i++) {
		assert_true(alone.good[i] < 1900 * MIB); /* there was something to take */
		assert_true(beside.good[i] + 32 * MIB >= alone.good[i]);
	}
	assert_true(beside.available + 64 * MIB >= alone.available);
	return beside;
}

static void nothing_odd(struct pol_guest *odd, unsigned int tick)
{
	(void)odd;
	(void)tick;
}

static void test_balloon_that_hangs(void **state)
{
	struct outcome out = assert_no_effect(nothing_odd, false);

	(void)state;
	assert_true(out.stuck > TICKS / 2);
	assert_int_equal(out.odd, 2 * GIB);
}

static void silent(struct pol_guest *odd, unsigned int tick)
{
	odd->answering = tick < 10;
}

static void test_monitor_that_falls_silent(void **state)
{
	struct outcome out = assert_no_effect(silent, true);

	(void)state;
	assert_int_equal(out.odd, 2 * GIB);
	assert_int_equal(out.odd_least, POL_ABSENT);
	assert_int_equal(out.trusted, 10);
}

static void all_stats(struct pol_guest *odd, uint64_t value)
{
	odd->stat_total_bytes = odd->stat_free_bytes = odd->stat_available_bytes = value;
	odd->stat_cache_bytes = odd->stat_swap_in_bytes = odd->stat_swap_out_bytes = value;
	odd->stat_major_faults = odd->stat_oom_kills = odd->stat_alloc_stalls = value;
	odd->stat_scanned_bytes = odd->stat_reclaimed_bytes = value;
}

static void ones(struct pol_guest *odd, unsigned int tick)
{
	(void)tick;
	all_stats(odd, UINT64_MAX);
}

static void test_statistics_of_ones(void **state)
{
	struct outcome out = assert_no_effect(ones, true);

	(void)state;
	assert_int_equal(out.odd, 2 * GIB);
	assert_int_equal(out.trusted, 0);
}

static void nearly_ones(struct pol_guest *odd, unsigned int tick)
{
	all_stats(odd, UINT64_MAX - 1 - tick % 2);
}

/* Numbers out of this world that are no "absent". A proven liar may be held to its share. */
static void test_statistics_of_nearly_ones(void **state)
{
	struct outcome out = assert_no_effect(nearly_ones, true);

	(void)state;
	assert_int_equal(out.trusted, 0);
}

static void zeros(struct pol_guest *odd, unsigned int tick)
{
	(void)tick;
	all_stats(odd, 0);
}

static void test_statistics_of_zeros(void **state)
{
	struct outcome out = assert_no_effect(zeros, true);

	(void)state;
	assert_int_equal(out.trusted, 0);
}

static void future(struct pol_guest *odd, unsigned int tick)
{
	(void)tick;
	odd->stat_age_us = UINT64_MAX - 5 * SEC; /* now less a moment to come, in 64 bits */
}

static void test_statistics_from_the_future(void **state)
{
	struct outcome out = assert_no_effect(future, true);

	(void)state;
	assert_int_equal(out.odd, 2 * GIB);
	assert_int_equal(out.trusted, 0);
}

static void signs(struct pol_guest *odd, unsigned int tick)
{
	struct pol_guest good = scene_guest(ODD);
	uint64_t gone = odd->memory_bytes - odd->actual_bytes;

	if (tick % 2) {
		all_stats(odd, POL_ABSENT);
		return;
	}
	odd->stat_total_bytes = good.stat_total_bytes - gone;
	odd->stat_free_bytes = sub_sat(good.stat_free_bytes, gone);
	odd->stat_available_bytes = sub_sat(good.stat_available_bytes, gone);
	odd->stat_cache_bytes = good.stat_cache_bytes;
	odd->stat_swap_in_bytes = odd->stat_swap_out_bytes = odd->stat_major_faults = 0;
	odd->stat_oom_kills = odd->stat_alloc_stalls = 0;
}

/* What its good numbers allow may be taken, and no more: not a byte on the strength of the bad
 * ones.
 */
static void test_statistics_that_change_sign(void **state)
{
	struct outcome out = assert_no_effect(signs, true);

	(void)state;
	assert_int_equal(out.trusted, TICKS / 2);
	assert_true(out.odd >= 600 * MIB + 256 * MIB); /* in use, and its reserve */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_balloon_that_hangs),
		cmocka_unit_test(test_monitor_that_falls_silent),
		cmocka_unit_test(test_statistics_of_ones),
		cmocka_unit_test(test_statistics_of_nearly_ones),
		cmocka_unit_test(test_statistics_of_zeros),
		cmocka_unit_test(test_statistics_from_the_future),
		cmocka_unit_test(test_statistics_that_change_sign),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
