// SPDX-License-Identifier: Apache-2.0
/*
 * The peers' laws against what is published of them: constants, formulas and order of things, in
 * cases small enough to be worked out by hand.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "policy/law.h"
#include "tests/unit/policy_guest.h"

#define MAX 8

struct bench {
	const struct law *law;
	void *state;
	struct pol_host host;
	struct pol_guest guests[MAX];
	const struct pol_plan *plan;
	uint64_t now_us;
	bool obey; /* balloons are where they are asked to be at once; the host does not change */
};

static void bench_open(struct bench *b, const struct law *law, size_t n, uint64_t available_mib)
{
	struct pol_config config;

	*b = (struct bench){.law = law, .now_us = 100 * SEC};
	pol_config_default(&config);
	b->state = law->open(&config, MAX);
	assert_non_null(b->state);
	b->host = (struct pol_host){
		.memory_bytes = 10000 * MIB,
		.available_bytes = available_mib * MIB,
		.guests = b->guests,
		.n_guests = n,
	};
	for (size_t i = 0; i < n; i++) {
		b->guests[i] = scene_guest(i + 1);
		b->guests[i].memory_bytes = b->guests[i].actual_bytes = 2000 * MIB;
		b->guests[i].resident_bytes = 2000 * MIB;
		b->guests[i].stat_free_bytes = 1000 * MIB;
		b->guests[i].min_bytes = 400 * MIB;
	}
}

static void bench_close(struct bench *b)
{
	b->law->close(b->state);
}

/* Steps a second at a time until there are orders, at most so many; returns how many it took. */
static unsigned int until_orders(struct bench *b, unsigned int most)
{
	for (unsigned int t = 1; t <= most; t++) {
		assert_int_equal(b->law->step(b->state, &b->host, b->now_us, &b->plan), 0);
		b->now_us += SEC;
		for (size_t k = 0; k < b->plan->n_actions; k++) {
			const struct pol_action *a = &b->plan->actions[k];

			assert_int_equal(a->kind, POL_BALLOON);
			b->guests[a->guest - 1].target_bytes = a->to;
			if (b->obey)
				b->guests[a->guest - 1].actual_bytes = a->to;
		}
		if (b->plan->n_actions)
			return t;
	}
	return 0;
}

static uint64_t ordered(const struct bench *b, uint64_t guest)
{
	for (size_t k = 0; k < b->plan->n_actions; k++)
		if (b->plan->actions[k].guest == guest)
			return b->plan->actions[k].to;
	return 0;
}

/* ---- all of them ---- */

static void test_table_of_laws(void **state)
{
	size_t n = 0;

	for (; law_at(n); n++) {
		assert_ptr_equal(law_find(law_at(n)->name), law_at(n));
		assert_true(strlen(law_at(n)->text) > 0);
	}
	assert_int_equal(n, 5);
	assert_null(law_find("ksmtuned"));
	assert_null(law_find(""));
}

/* A snapshot that makes no sense is refused by all, and guests that cannot be moved are left alone.
 */
static void test_refuses_and_leaves_alone(void **state)
{
	for (size_t i = 0; law_at(i); i++) {
		struct bench b;

		bench_open(&b, law_at(i), 3, 100);
		b.guests[0].has_balloon = false;
		b.guests[1].answering = false;
		b.guests[2].actual_bytes = POL_ABSENT;
		assert_int_equal(until_orders(&b, 60), 0);
		b.guests[2].id = 1;
		assert_int_equal(b.law->step(b.state, &b.host, b.now_us, &b.plan), -EINVAL);
		b.guests[2].id = 3;
		b.host.memory_bytes = 0;
		assert_int_equal(b.law->step(b.state, &b.host, b.now_us, &b.plan), -EINVAL);
		bench_close(&b);
	}
}

/* Values that no guest should send do no harm: targets stay within what was promised. */
static void test_extremes(void **state)
{
	static const uint64_t values[] = {0, 1, POL_ABSENT, POL_ABSENT - 1, 1ull << 63, 1ull << 50};

	for (size_t i = 0; law_at(i); i++) {
		for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
			struct bench b;

			bench_open(&b, law_at(i), 3, 500);
			b.guests[0].stat_free_bytes = values[v];
			b.guests[1].actual_bytes = values[v];
			b.guests[1].min_bytes = values[v];
			b.guests[2].shares = values[v];
			b.guests[2].resident_bytes = values[v];
			for (int t = 0; t < 5; t++) {
				until_orders(&b, 20);
				for (size_t k = 0; k < b.plan->n_actions; k++)
					assert_true(b.plan->actions[k].to <= BYTES_MAX);
			}
			bench_close(&b);
		}
	}
}

static void test_none_does_nothing(void **state)
{
	struct bench b;

	bench_open(&b, &law_none, 3, 1);
	assert_int_equal(until_orders(&b, 100), 0);
	assert_int_equal(b.plan->state, POL_STATE_LOW);
	bench_close(&b);
}

/* Guests come and go: what is remembered goes with its guest. */
static void test_rows_follow_their_guests(void **state)
{
	struct bench b;

	bench_open(&b, &law_mom, 3, 1000);
	assert_int_equal(until_orders(&b, 11), 11);
	/* Guest 2 leaves; 3 moves to its place and keeps its averages: used 1000 MiB. */
	b.guests[1] = b.guests[2];
	b.host.n_guests = 2;
	b.guests[1].stat_free_bytes = 0;
	assert_int_equal(until_orders(&b, 10), 10);
	assert_true(ordered(&b, 3) == 1900 * MIB);
	bench_close(&b);
}

/* ---- MOM ---- */

/* Below 20 % free all are shrunk by 5 % of what they have, every 10 s. */
static void test_mom_shrinks_by_5_percent(void **state)
{
	struct bench b;

	bench_open(&b, &law_mom, 2, 1990);
	b.obey = true;
	assert_int_equal(until_orders(&b, 60), 11);
	assert_true(ordered(&b, 1) == 1900 * MIB && ordered(&b, 2) == 1900 * MIB);
	assert_int_equal(until_orders(&b, 60), 10);
	assert_true(ordered(&b, 1) == 1805 * MIB);
	bench_close(&b);
}

/* The floor is used + 20 % of the size, scaled by how far the host is below 20 %. */
static void test_mom_floor_scales_with_pressure(void **state)
{
	struct bench b;

	/* 10 % of the host free: 0.20 * 0.10 / 0.20 = 10 % of 2000 MiB above 1750 MiB in use. */
	bench_open(&b, &law_mom, 1, 1000);
	b.guests[0].stat_free_bytes = 250 * MIB;
	assert_int_equal(until_orders(&b, 60), 11);
	assert_in_range(ordered(&b, 1) / KIB, 1950 * KIB - 1, 1950 * KIB);
	bench_close(&b);
}

/* At 5 % and less the guest is forced to swap: the floor lies below what it uses. */
static void test_mom_critical_forces_guests_to_swap(void **state)
{
	struct bench b;

	/* 2 % free: 0.02 - 0.05 = -3 % of 2000 MiB from 1990 MiB in use. */
	bench_open(&b, &law_mom, 1, 200);
	b.guests[0].stat_free_bytes = 10 * MIB;
	assert_int_equal(until_orders(&b, 60), 11);
	assert_in_range(ordered(&b, 1) / MIB, 1929, 1930);
	bench_close(&b);
}

/* Changes up to 0.25 % are not made, and the page cache counts as used. */
static void test_mom_dead_band(void **state)
{
	struct bench b;

	bench_open(&b, &law_mom, 1, 1000);
	b.guests[0].stat_cache_bytes = 900 * MIB;
	b.guests[0].stat_available_bytes = 1000 * MIB;
	b.guests[0].stat_free_bytes = 204 * MIB; /* used + 10 % leaves 4 MiB: 0.2 % */
	assert_int_equal(until_orders(&b, 60), 0);
	b.guests[0].stat_free_bytes = 210 * MIB;
	assert_true(until_orders(&b, 100) > 0);
	assert_true(ordered(&b, 1) < 1995 * MIB && ordered(&b, 1) > 1989 * MIB);
	bench_close(&b);
}

/* Never below the configured minimum. */
static void test_mom_minimum(void **state)
{
	struct bench b;

	bench_open(&b, &law_mom, 1, 1000);
	b.guests[0].min_bytes = 1950 * MIB;
	assert_int_equal(until_orders(&b, 60), 11);
	assert_true(ordered(&b, 1) == 1950 * MIB);
	bench_close(&b);
}

/* From 20 % free on all grow by 5 %, or at once to 20 % above what they use; up to all of it. */
static void test_mom_grows(void **state)
{
	struct bench b;

	bench_open(&b, &law_mom, 3, 2000);
	b.guests[0].actual_bytes = 1000 * MIB;
	b.guests[0].stat_free_bytes = 500 * MIB;
	b.guests[1].actual_bytes = 1000 * MIB;
	b.guests[1].stat_free_bytes = 50 * MIB;
	b.guests[2].actual_bytes = 1960 * MIB;
	assert_int_equal(until_orders(&b, 60), 11);
	assert_true(ordered(&b, 1) == 1050 * MIB);
	assert_true(ordered(&b, 2) == 1150 * MIB);
	assert_true(ordered(&b, 3) == 2000 * MIB);
	bench_close(&b);
}

/* The host's free memory is an average over 50 s: a sudden fall is seen late. */
static void test_mom_averages_over_ten_samples(void **state)
{
	struct bench b;

	bench_open(&b, &law_mom, 1, 5000);
	assert_int_equal(until_orders(&b, 50), 0);
	b.host.available_bytes = 500 * MIB;
	/* Seven of ten samples at 500 and three at 5000 are below 2000 for the first time. */
	assert_in_range(until_orders(&b, 100), 31, 40);
	bench_close(&b);
}

/* ---- Proxmox VE ---- */

/* 80 % of the host's memory is the goal; within 10 MiB of it nothing happens. */
static void test_pve_dead_zone(void **state)
{
	struct bench b;

	bench_open(&b, &law_pve, 2, 1991);
	assert_int_equal(until_orders(&b, 100), 0);
	b.host.available_bytes = 1989 * MIB;
	assert_true(until_orders(&b, 11) > 0);
	bench_close(&b);
}

/* At most 100 MiB a guest and round of 10 s. */
static void test_pve_most_change(void **state)
{
	struct bench b;

	bench_open(&b, &law_pve, 2, 100);
	b.obey = true;
	assert_int_equal(until_orders(&b, 100), 1);
	assert_true(ordered(&b, 1) == 1900 * MIB && ordered(&b, 2) == 1900 * MIB);
	assert_int_equal(until_orders(&b, 100), 10);
	assert_true(ordered(&b, 1) == 1800 * MIB);
	bench_close(&b);
}

/* What is above the minimum is split by shares. */
static void test_pve_splits_by_shares(void **state)
{
	struct bench b;

	/*
	 * 60 MiB to take: 3140 above the minima, of which 785 and 2355. Guest 1 is far above its
	 * part and goes down by 100, guest 2 is below its part and left out; the 40 MiB too much
	 * then go back to guest 1.
	 */
	bench_open(&b, &law_pve, 2, 1940);
	b.guests[0].shares = 1000;
	b.guests[1].shares = 3000;
	assert_int_equal(until_orders(&b, 100), 1);
	assert_true(ordered(&b, 1) == 1940 * MIB);
	assert_int_equal(ordered(&b, 2), 0);
	bench_close(&b);

	/* Equal shares and equal sizes: 30 MiB each. */
	bench_open(&b, &law_pve, 2, 1940);
	assert_int_equal(until_orders(&b, 100), 1);
	assert_true(ordered(&b, 1) == 1970 * MIB && ordered(&b, 2) == 1970 * MIB);
	bench_close(&b);
}

/* Guests with a quarter of their minimum free are shrunk first, the others grown first. */
static void test_pve_lists(void **state)
{
	struct bench b;

	bench_open(&b, &law_pve, 2, 1950);
	b.guests[0].stat_free_bytes = 101 * MIB;
	b.guests[1].stat_free_bytes = 100 * MIB;
	assert_int_equal(until_orders(&b, 100), 1);
	assert_true(ordered(&b, 1) == 1950 * MIB);
	assert_int_equal(ordered(&b, 2), 0);
	bench_close(&b);

	bench_open(&b, &law_pve, 2, 2050);
	b.guests[0].actual_bytes = b.guests[1].actual_bytes = 1000 * MIB;
	b.guests[0].stat_free_bytes = 101 * MIB;
	b.guests[1].stat_free_bytes = 100 * MIB;
	assert_int_equal(until_orders(&b, 100), 1);
	assert_int_equal(ordered(&b, 1), 0);
	assert_true(ordered(&b, 2) == 1050 * MIB);
	bench_close(&b);
}

/* No minimum or no shares: not one of its guests. Never below a minimum. */
static void test_pve_who_takes_part(void **state)
{
	struct bench b;

	bench_open(&b, &law_pve, 3, 100);
	b.obey = true;
	b.guests[0].min_bytes = POL_ABSENT;
	b.guests[1].shares = 0;
	b.guests[2].min_bytes = 1850 * MIB;
	assert_int_equal(until_orders(&b, 100), 1);
	assert_int_equal(b.plan->n_actions, 1);
	assert_true(ordered(&b, 3) == 1900 * MIB);
	assert_int_equal(until_orders(&b, 100), 10);
	assert_true(ordered(&b, 3) == 1850 * MIB);
	assert_int_equal(until_orders(&b, 100), 0);
	bench_close(&b);
}

/* ---- squeezed ---- */

/* All at the same fraction of their range; 9 MiB stay with the host. */
static void test_squeezed_gamma(void **state)
{
	struct bench b;
	uint64_t one, two;

	/* 0 free, 1600 and 600 MiB above the minima, 9 MiB for the host: 2191 of a range of 2200.
	 */
	bench_open(&b, &law_squeezed, 2, 0);
	b.guests[1].memory_bytes = b.guests[1].actual_bytes = b.guests[1].resident_bytes =
		1000 * MIB;
	assert_int_equal(until_orders(&b, 100), 1);
	one = ordered(&b, 1) - 400 * MIB;
	two = ordered(&b, 2) - 400 * MIB;
	assert_in_range(one / KIB, 1600 * KIB * 2191 / 2200 - 64, 1600 * KIB * 2191 / 2200);
	assert_in_range(two / KIB, 600 * KIB * 2191 / 2200 - 64, 600 * KIB * 2191 / 2200);
	bench_close(&b);
}

/* Free first; when nothing is left to free, give. */
static void test_squeezed_two_phases(void **state)
{
	struct bench b;

	bench_open(&b, &law_squeezed, 2, 9);
	b.guests[1].actual_bytes = b.guests[1].resident_bytes = 400 * MIB;
	assert_int_equal(until_orders(&b, 100), 1);
	assert_in_range(ordered(&b, 1) / MIB, 1199, 1200);
	assert_int_equal(ordered(&b, 2), 0);
	assert_int_equal(until_orders(&b, 3), 0);
	b.guests[0].actual_bytes = b.guests[0].resident_bytes = b.guests[0].target_bytes;
	b.host.available_bytes = 809 * MIB;
	assert_int_equal(until_orders(&b, 3), 1);
	assert_int_equal(ordered(&b, 1), 0);
	assert_in_range(ordered(&b, 2) / MIB, 1199, 1200);
	bench_close(&b);
}

/* What a guest has and has not touched is not there for others. */
static void test_squeezed_counts_untouched_memory_as_given(void **state)
{
	struct bench b;

	bench_open(&b, &law_squeezed, 2, 1000);
	b.guests[0].resident_bytes = 500 * MIB; /* 1500 of the 1000 MiB free are its */
	assert_int_equal(until_orders(&b, 100), 1);
	/* -500 free and 3200 above the minima, less 9: 2691 of 3200. */
	assert_in_range((ordered(&b, 1) - 400 * MIB) / MIB, 1345, 1346);
	bench_close(&b);
}

/* No progress for 5 s: the others do without it; back when it moves. 20 s: uncooperative. */
static void test_squeezed_stuck(void **state)
{
	struct bench b;

	bench_open(&b, &law_squeezed, 2, 0);
	assert_int_equal(until_orders(&b, 100), 1);
	assert_in_range(ordered(&b, 2) / KIB, 1995 * KIB, 1996 * KIB);
	b.guests[1].actual_bytes = b.guests[1].resident_bytes = ordered(&b, 2);
	b.host.available_bytes = 2000 * MIB - ordered(&b, 2);
	/* Guest 1 does not move. After five seconds guest 2 is asked for its part, too. */
	assert_int_equal(until_orders(&b, 100), 6);
	assert_int_equal(ordered(&b, 1), 0);
	assert_true(ordered(&b, 2) < 1992 * MIB);
	assert_false(b.plan->views[0].stuck);
	b.guests[1].actual_bytes = b.guests[1].resident_bytes = ordered(&b, 2);
	b.host.available_bytes = 9 * MIB;
	for (int t = 0; t < 16; t++)
		until_orders(&b, 1);
	assert_true(b.plan->views[0].stuck);
	b.guests[0].actual_bytes -= 2 * MIB;
	until_orders(&b, 1);
	assert_false(b.plan->views[0].stuck);
	bench_close(&b);
}

/* No configured minimum is no range. */
static void test_squeezed_without_range(void **state)
{
	struct bench b;

	bench_open(&b, &law_squeezed, 2, 0);
	b.guests[0].min_bytes = b.guests[1].min_bytes = POL_ABSENT;
	assert_int_equal(until_orders(&b, 100), 0);
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_of_laws),
		cmocka_unit_test(test_refuses_and_leaves_alone),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_none_does_nothing),
		cmocka_unit_test(test_rows_follow_their_guests),
		cmocka_unit_test(test_mom_shrinks_by_5_percent),
		cmocka_unit_test(test_mom_floor_scales_with_pressure),
		cmocka_unit_test(test_mom_critical_forces_guests_to_swap),
		cmocka_unit_test(test_mom_dead_band),
		cmocka_unit_test(test_mom_minimum),
		cmocka_unit_test(test_mom_grows),
		cmocka_unit_test(test_mom_averages_over_ten_samples),
		cmocka_unit_test(test_pve_dead_zone),
		cmocka_unit_test(test_pve_most_change),
		cmocka_unit_test(test_pve_splits_by_shares),
		cmocka_unit_test(test_pve_lists),
		cmocka_unit_test(test_pve_who_takes_part),
		cmocka_unit_test(test_squeezed_gamma),
		cmocka_unit_test(test_squeezed_two_phases),
		cmocka_unit_test(test_squeezed_counts_untouched_memory_as_given),
		cmocka_unit_test(test_squeezed_stuck),
		cmocka_unit_test(test_squeezed_without_range),
	};

	return cmocka_run_group_tests_name("policy_law", tests, NULL, NULL);
}
