// SPDX-License-Identifier: Apache-2.0
/* Questions that change nothing: a copy of the policy, what can be spared, one more guest. */
#include "policy/outlook.h"
#include "tests/unit/policy_scene.h"

#define RESERVE (256 * MIB) /* of a guest of 2 GiB, which uses 600 MiB */

static void assert_same_plan(const struct pol_plan *a, const struct pol_plan *b)
{
	assert_int_equal(a->n_actions, b->n_actions);
	for (size_t i = 0; i < a->n_actions; i++) {
		assert_int_equal(a->actions[i].guest, b->actions[i].guest);
		assert_int_equal(a->actions[i].to, b->actions[i].to);
		assert_int_equal(a->actions[i].reason, b->actions[i].reason);
		assert_int_equal(a->actions[i].gain_bytes, b->actions[i].gain_bytes);
	}
}

/* The copy decides what the policy would, and the policy decides the same whether it was asked or
 * not, however often and in whatever state the host is. */
static void test_copy_changes_nothing(void **state)
{
	struct scene asked, twin;

	(void)state;
	scene_open_merging(&asked, 4);
	scene_open_merging(&twin, 4);
	asked.obey = twin.obey = true;
	for (int t = 0; t < 120; t++) {
		const struct pol_plan *plan;
		struct pol *copy = pol_copy(asked.pol);

		assert_non_null(copy);
		asked.host.available_bytes = twin.host.available_bytes =
			t < 40 ? 4 * GIB : (uint64_t)(300 + t * 7) * MIB;
		assert_int_equal(pol_step(copy, &asked.host, asked.now_us + SEC, &plan), 0);
		scene_step(&twin);
		assert_same_plan(plan, twin.plan);
		/* and on, as if it were the policy itself */
		for (int k = 2; k < 5; k++)
			assert_int_equal(pol_step(copy, &asked.host, asked.now_us + k * SEC, &plan),
					 0);
		pol_free(copy);
		scene_step(&asked);
		assert_same_plan(asked.plan, twin.plan);
	}
	assert_true(asked.guests[0].actual_bytes < 2 * GIB);
	scene_close(&asked);
	scene_close(&twin);
}

static struct pol_spare spare_of(const struct scene *s, uint64_t id)
{
	struct pol_spare spare;

	pol_spare(s->pol, (size_t)id - 1, &spare);
	return spare;
}

/* Each guest's reason, and what can be had where there is none. */
static void test_spare(void **state)
{
	struct scene s;
	struct pol_spare spare;

	(void)state;
	scene_open(&s, 6);
	scene_run(&s, 2);
	assert_int_equal(spare_of(&s, 1).keep, POL_KEEP_YOUNG);
	assert_int_equal(spare_of(&s, 1).guest_bytes, 0);
	scene_settle(&s);
	spare = spare_of(&s, 1);
	assert_int_equal(spare.keep, POL_KEEP_NONE);
	assert_int_equal(spare.guest_bytes, 2 * GIB - 600 * MIB - RESERVE);
	assert_in_range(spare.host_bytes, spare.guest_bytes - 64 * MIB, spare.guest_bytes);

	s.guests[1].answering = false;
	s.guests[2].stat_age_us = 3600 * SEC;
	s.guests[3].stat_oom_kills++;
	s.guests[3].stat_free_bytes++;
	s.guests[4].stat_available_bytes = s.guests[4].stat_free_bytes = 200 * MIB;
	s.guests[4].stat_cache_bytes = 0;
	s.guests[5].pool = true;
	scene_step(&s);
	assert_int_equal(spare_of(&s, 2).keep, POL_KEEP_ALONE);
	assert_int_equal(spare_of(&s, 3).keep, POL_KEEP_DOUBT);
	assert_int_equal(spare_of(&s, 4).keep, POL_KEEP_TROUBLE);
	assert_int_equal(spare_of(&s, 5).keep, POL_KEEP_FLOOR);
	/* What it gives up goes to the pool: the host gains nothing. */
	assert_int_equal(spare_of(&s, 6).keep, POL_KEEP_NONE);
	assert_int_equal(spare_of(&s, 6).host_bytes, 0);
	scene_step(&s);
	assert_int_equal(spare_of(&s, 4).keep, POL_KEEP_HELD);
	for (enum pol_keep keep = 0; keep < POL_KEEP_COUNT; keep++)
		assert_true(strlen(pol_keep_text(keep)) > 10);
	scene_close(&s);
}

/* Not at its floor: it has cache, most of it merged, and that is left to it while there is swap. */
static void test_spare_of_merged_cache(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s, 1);
	s.guests[0].reclaimable_bytes = s.guests[0].resident_bytes;
	s.host.swap_bytes = s.host.swap_free_bytes = 4 * GIB;
	scene_cache_merged(&s.guests[0], s.guests[0].stat_available_bytes - 64 * MIB);
	scene_settle(&s);
	assert_int_equal(spare_of(&s, 1).keep, POL_KEEP_CACHE);
	assert_int_equal(spare_of(&s, 1).guest_bytes, 0);
	/* Nor is that of one of whose memory nobody sees what is idle, merged or not. */
	s.guests[0].ksm_bytes = s.guests[0].merging_bytes = 0;
	s.guests[0].reclaim_blind = true;
	scene_run(&s, 2);
	assert_int_equal(spare_of(&s, 1).keep, POL_KEEP_CACHE);
	s.host.swap_free_bytes = 0;
	scene_run(&s, 2);
	assert_int_equal(spare_of(&s, 1).keep, POL_KEEP_NONE);
	scene_close(&s);
}

static void test_spare_of_a_stuck_balloon(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s, 1);
	s.host.available_bytes = 500 * MIB;
	scene_run(&s, 30); /* nothing moves */
	assert_int_equal(spare_of(&s, 1).keep, POL_KEEP_STUCK);
	scene_close(&s);
}

struct answer {
	struct pol_outlook outlook;
	uint64_t taken, least_above_floor;
};

/* Four guests of 2 GiB that use 600 MiB each, on a host with so much available. */
static struct answer ask(uint64_t available, uint64_t more)
{
	struct answer answer = {.least_above_floor = UINT64_MAX};
	struct pol_guest guests[4];
	struct pol_host host;
	struct scene s;
	struct pol *copy;

	scene_open(&s, 4);
	scene_settle(&s);
	s.host.available_bytes = s.host.free_bytes = available;
	host = s.host;
	memcpy(guests, s.guests, sizeof(guests));
	host.guests = guests;
	copy = pol_copy(s.pol);
	assert_non_null(copy);
	assert_int_equal(pol_outlook(copy, &host, guests, s.now_us, more, &answer.outlook), 0);
	for (size_t i = 0; i < 4; i++) {
		answer.taken += 2 * GIB - guests[i].actual_bytes;
		answer.least_above_floor =
			min_u64(answer.least_above_floor, guests[i].actual_bytes);
	}
	assert_int_equal(s.guests[0].actual_bytes, 2 * GIB);
	pol_free(copy);
	scene_close(&s);
	return answer;
}

static void test_one_more_that_fits(void **state)
{
	struct answer plenty = ask(5 * GIB, GIB), tight = ask(2 * GIB, 4 * GIB);

	(void)state;
	assert_true(plenty.outlook.fits);
	assert_int_equal(plenty.taken, 0);
	assert_int_equal(plenty.outlook.missing_bytes, 0);
	assert_int_equal(plenty.outlook.end_bytes, 4 * GIB);
	assert_int_equal(plenty.outlook.least_bytes, 4 * GIB);
	assert_int_equal(plenty.outlook.worst, POL_STATE_HIGH);

	/* What the new one takes came from the host or from the others, and nothing else did. */
	assert_true(tight.outlook.fits);
	assert_true(tight.taken > 2 * GIB);
	assert_in_range(2 * GIB + tight.taken - tight.outlook.end_bytes, 4 * GIB - 64 * MIB,
			4 * GIB + 384 * MIB); /* not all that is free in a guest is held */
	assert_true(tight.outlook.seconds > 10);
	assert_true(tight.outlook.least_bytes < tight.outlook.end_bytes + MIB);
}

static void test_one_more_that_does_not_fit(void **state)
{
	struct answer a = ask(2 * GIB, 16 * GIB);

	(void)state;
	assert_false(a.outlook.fits);
	assert_int_equal(a.outlook.worst, POL_STATE_LOW);
	/* Down to the floors and no further; of the sum so much is missing. */
	assert_in_range(a.least_above_floor, 600 * MIB + RESERVE / 2,
			600 * MIB + RESERVE + 8 * MIB);
	assert_in_range(a.outlook.missing_bytes, 16 * GIB - 2 * GIB - a.taken,
			16 * GIB - 2 * GIB - a.taken + 1200 * MIB);
}

/* Nobody new: what becomes of the host as it is. */
static void test_nobody_new(void **state)
{
	struct answer a = ask(500 * MIB, 0);

	(void)state;
	assert_true(a.outlook.fits);
	assert_true(a.taken > 100 * MIB);
}

/* Four guests without balloons that hold 2 GiB each, swap of so much, which frees but a part; busy:
 * asked while memd swaps some of it out already. */
static struct answer ask_swap(uint64_t swap, uint64_t cost_ppm, uint64_t more, bool busy)
{
	struct answer answer = {0};
	struct pol_guest guests[4];
	struct pol_host host;
	struct scene s;
	struct pol *copy;
	uint64_t swapped = 0;

	scene_open_silent(&s, 4);
	s.host.swap_bytes = s.host.swap_free_bytes = swap;
	s.host.swap_cost_ppm = cost_ppm;
	scene_run(&s, 60);
	if (busy) {
		s.host.available_bytes = 500 * MIB;
		scene_run(&s, 1);
		assert_non_null(scene_kind(&s, POL_RECLAIM));
		s.host.available_bytes = 4 * GIB;
		s.host.reclaim_busy = true;
	}
	host = s.host;
	memcpy(guests, s.guests, sizeof(guests));
	host.guests = guests;
	copy = pol_copy(s.pol);
	assert_non_null(copy);
	assert_int_equal(pol_outlook(copy, &host, guests, s.now_us, more, &answer.outlook), 0);
	for (size_t i = 0; i < 4; i++) {
		swapped += guests[i].swapped_bytes;
		assert_int_equal(guests[i].resident_bytes + guests[i].swapped_bytes, 2 * GIB);
		assert_int_equal(guests[i].actual_bytes, 2 * GIB);
	}
	assert_int_equal(answer.outlook.swapped_bytes, swapped);
	assert_int_equal(host.swap_free_bytes, swap - swapped);
	/* 4 us a page before anything was measured. */
	assert_in_range(answer.outlook.swap_us, sub_sat(swapped / PAGE * 4, 1000),
			swapped / PAGE * 4);
	pol_free(copy);
	scene_close(&s);
	return answer;
}

/* What can go to swap counts, with its price; where swap is memory, for less. */
static void test_one_more_by_swap(void **state)
{
	struct answer none = ask_swap(0, 0, 4 * GIB, false);
	struct answer disk = ask_swap(8 * GIB, 0, 4 * GIB, false);
	struct answer zram = ask_swap(8 * GIB, 500000, 4 * GIB, false);
	struct answer full = ask_swap(GIB, 0, 8 * GIB, false);

	(void)state;
	assert_false(none.outlook.fits);
	assert_int_equal(none.outlook.swapped_bytes, 0);
	assert_true(disk.outlook.fits);
	assert_in_range(disk.outlook.swapped_bytes, disk.outlook.end_bytes,
			disk.outlook.end_bytes + MIB);
	assert_true(zram.outlook.fits);
	assert_in_range(zram.outlook.swapped_bytes, 2 * zram.outlook.end_bytes - MIB,
			2 * zram.outlook.end_bytes + MIB);
	/* A twentieth of swap stays free, whatever comes. */
	assert_false(full.outlook.fits);
	assert_in_range(full.outlook.swapped_bytes, 900 * MIB, GIB - GIB / 20);
}

/* What is being swapped out when somebody asks is done in a moment, and more can be. */
static void test_one_more_while_swapping(void **state)
{
	struct answer disk = ask_swap(8 * GIB, 0, 4 * GIB, true);

	(void)state;
	assert_true(disk.outlook.fits);
	assert_in_range(disk.outlook.swapped_bytes, disk.outlook.end_bytes,
			disk.outlook.end_bytes + MIB);
}

/* What each could spare by swap, beside its balloon and never twice; and all that swap takes. */
static void test_spare_by_swap(void **state)
{
	uint64_t us_per_gib;
	struct scene s;

	(void)state;
	scene_open(&s, 3);
	s.host.swap_bytes = s.host.swap_free_bytes = 4 * GIB;
	s.host.swap_cost_ppm = 250000;
	s.host.rung_ppm[POL_RUNG_RECLAIM] = 500000;
	for (int i = 0; i < 3; i++)
		s.guests[i].reclaimable_bytes = 2 * GIB;
	s.guests[1].reclaimable_bytes = 0;
	s.guests[2].has_balloon = false;
	scene_run(&s, 60);
	/* No balloon: down to an eighth of it. */
	assert_int_equal(spare_of(&s, 3).swap_bytes, 2 * GIB - 256 * MIB);
	assert_in_range(spare_of(&s, 3).swap_gain_bytes, (2 * GIB - 256 * MIB) / 8 * 3 - MIB,
			(2 * GIB - 256 * MIB) / 8 * 3);
	assert_int_equal(spare_of(&s, 2).swap_bytes, 0);
	assert_true(spare_of(&s, 2).host_bytes > 0);
	assert_int_equal(spare_of(&s, 1).swap_bytes,
			 2 * GIB - 256 * MIB - spare_of(&s, 1).host_bytes);
	/* A fifth of swap is left free; 4 us a page. */
	assert_in_range(pol_swap_room(s.pol, &us_per_gib), 3 * GIB, 4 * GIB / 10 * 8 + MIB);
	assert_int_equal(us_per_gib, GIB / PAGE * 4);
	s.config.reclaim_manage = false;
	pol_configure(s.pol, &s.config);
	scene_step(&s);
	assert_int_equal(pol_swap_room(s.pol, &us_per_gib), 0);
	assert_int_equal(spare_of(&s, 3).swap_bytes, 0);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy_changes_nothing),
		cmocka_unit_test(test_spare),
		cmocka_unit_test(test_spare_of_merged_cache),
		cmocka_unit_test(test_spare_of_a_stuck_balloon),
		cmocka_unit_test(test_one_more_that_fits),
		cmocka_unit_test(test_one_more_that_does_not_fit),
		cmocka_unit_test(test_nobody_new),
		cmocka_unit_test(test_one_more_by_swap),
		cmocka_unit_test(test_one_more_while_swapping),
		cmocka_unit_test(test_spare_by_swap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
