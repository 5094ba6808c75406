// SPDX-License-Identifier: Apache-2.0
/*
 * Histories under another law. The simulator stands in for a recorded host: what it shows one law
 * is replayed under another, and held against what the simulator does with that other law itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "policy/parts.h"
#include "policy/replay.h"
#include "policy/simulate.h"

#define GUESTS	12
#define SECONDS 1800

static void open_host(struct sim *sim, const struct law *law, uint64_t memory)
{
	static const enum sim_work works[] = {SIM_IDLE,	  SIM_DATABASE, SIM_IDLE,
					      SIM_STEADY, SIM_IDLE,	SIM_BATCH};
	struct pol_config config;

	pol_config_default(&config);
	config.ksm_manage = false;
	assert_int_equal(sim_open(sim, law, &config, GUESTS), 0);
	sim->memory = memory;
	for (size_t i = 0; i < GUESTS; i++) {
		struct sim_guest *g = sim_add(sim, works[i % 6], SIM_SOUND, GIB, 7 * i + 1);

		g->min = GIB / 4;
		g->touched = sub_sat(g->actual, g->used + g->cache) / 6;
	}
}

static uint64_t balloon_orders(const struct pol_plan *plan)
{
	uint64_t n = 0;

	for (size_t i = 0; i < plan->n_actions; i++)
		n += plan->actions[i].kind == POL_BALLOON;
	return n;
}

static void assert_same_plan(const struct pol_plan *a, const struct pol_plan *b, int t)
{
	if (a->n_actions != b->n_actions || a->state != b->state)
		fail_msg("tick %d: %zu orders and %zu", t, a->n_actions, b->n_actions);
	for (size_t i = 0; i < a->n_actions; i++)
		assert_memory_equal(&a->actions[i], &b->actions[i], sizeof(a->actions[i]));
}

/* The same law sees what it saw and does what it did, tick by tick. */
static void test_same_law_does_the_same(void **state)
{
	for (size_t k = 0; law_at(k); k++) {
		struct sim sim;
		struct replay *replay;

		open_host(&sim, law_at(k), 6 * GIB);
		replay = replay_new(law_at(k), &sim.config, GUESTS, 0);
		assert_non_null(replay);
		for (int t = 0; t < SECONDS; t++) {
			const struct pol_host *seen;

			assert_int_equal(sim_tick(&sim), 0);
			assert_int_equal(replay_tick(replay, &sim.host, balloon_orders(sim.plan),
						     sim.now_us),
					 0);
			assert_same_plan(sim.plan, replay_plan(replay), t);
			seen = replay_host(replay);
			assert_true(seen->available_bytes == sim.host.available_bytes);
			for (size_t i = 0; i < GUESTS; i++)
				assert_memory_equal(&seen->guests[i], &sim.in[i],
						    sizeof(sim.in[i]));
		}
		assert_int_equal(replay_regret(replay)->decisions, sim.regret.decisions);
		assert_true(replay_regret(replay)->taken_bytes == sim.regret.taken_bytes);
		replay_free(replay);
		sim_close(&sim);
	}
}

/* Without a law the record is only counted. */
static void test_as_recorded(void **state)
{
	struct sim sim;
	struct replay *replay;

	open_host(&sim, &law_mom, 6 * GIB);
	replay = replay_new(NULL, &sim.config, GUESTS, 0);
	assert_non_null(replay);
	for (int t = 0; t < SECONDS; t++) {
		assert_int_equal(sim_tick(&sim), 0);
		assert_int_equal(
			replay_tick(replay, &sim.host, balloon_orders(sim.plan), sim.now_us), 0);
		assert_null(replay_plan(replay));
	}
	assert_true(sim.regret.decisions > 0 && sim.regret.taken_bytes > 0);
	assert_int_equal(replay_regret(replay)->decisions, sim.regret.decisions);
	assert_int_equal(replay_regret(replay)->taken_bytes, sim.regret.taken_bytes);
	assert_int_equal(replay_regret(replay)->low_ticks, sim.regret.low_ticks);
	replay_free(replay);
	sim_close(&sim);
}

static uint64_t per_cent_off(uint64_t a, uint64_t b)
{
	return mul_div(a > b ? a - b : b - a, 100, max_u64(max_u64(a, b), 1));
}

/* What is worked out from a record made under one law against the other law's own history. */
static void compare(const struct law *made, const struct law *other, uint64_t memory,
		    uint64_t most_off)
{
	struct sim record, truth;
	struct replay *replay;
	const struct regret *r;

	open_host(&record, made, memory);
	open_host(&truth, other, memory);
	replay = replay_new(other, &record.config, GUESTS, 0);
	assert_non_null(replay);
	for (int t = 0; t < SECONDS; t++) {
		assert_int_equal(sim_tick(&record), 0);
		assert_int_equal(sim_tick(&truth), 0);
		assert_int_equal(replay_tick(replay, &record.host, 0, record.now_us), 0);
	}
	r = replay_regret(replay);
	print_message("             %s from a record of %s: available %u (true %u), idle %u "
		      "(%u), swapped %u (%u) MiB, taken %u (%u) MiB, orders %u (%u)\n",
		      other->name, made->name, (unsigned int)(r->available_byte_s / SECONDS / MIB),
		      (unsigned int)(truth.regret.available_byte_s / SECONDS / MIB),
		      (unsigned int)(r->idle_byte_s / SECONDS / MIB),
		      (unsigned int)(truth.regret.idle_byte_s / SECONDS / MIB),
		      (unsigned int)(r->swapped_byte_s / SECONDS / MIB),
		      (unsigned int)(truth.regret.swapped_byte_s / SECONDS / MIB),
		      (unsigned int)(r->taken_bytes / MIB),
		      (unsigned int)(truth.regret.taken_bytes / MIB), (unsigned int)r->decisions,
		      (unsigned int)truth.regret.decisions);
	assert_in_range(per_cent_off(r->available_byte_s, truth.regret.available_byte_s), 0,
			most_off);
	replay_free(replay);
	sim_close(&record);
	sim_close(&truth);
}

static void test_other_laws_fare_as_they_do(void **state)
{
	/* No law at all is the record that says least: all there is to know must be inferred. */
	compare(&law_none, &law_memd, 12 * GIB, 15);
	compare(&law_none, &law_mom, 12 * GIB, 15);
	compare(&law_none, &law_pve, 8 * GIB, 15);
	compare(&law_none, &law_squeezed, 8 * GIB, 15);
	compare(&law_memd, &law_none, 12 * GIB, 15);
	compare(&law_memd, &law_mom, 8 * GIB, 15);
	compare(&law_mom, &law_memd, 8 * GIB, 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_law_does_the_same),
		cmocka_unit_test(test_as_recorded),
		cmocka_unit_test(test_other_laws_fare_as_they_do),
	};

	return cmocka_run_group_tests_name("policy_replay", tests, NULL, NULL);
}
