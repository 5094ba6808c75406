// SPDX-License-Identifier: Apache-2.0
/* Rules that hold for every plan (policy_rules.h), checked on seeded random histories. */
#include "tests/unit/policy_history.h"

/* 10 s; sanitizers make ten times that of it. */
#ifdef __SANITIZE_ADDRESS__
#define STEPS 100000
#else
#define STEPS 1000000
#endif

/* A place is one: of nodes that there are, all of the guest in it, or it says why not. */
static bool is_place_sane(struct history *h)
{
	struct pol_place_want want = {
		.memory_bytes = once_in(20) ? extreme() : 1 + below(16 * GIB),
		.cpus = below(20),
		.pages = (enum pol_place_pages)below(3),
		.has_domain = once_in(2),
		.domain = (uint32_t)below(3),
	};
	struct pol_place place;
	uint64_t sum = 0;

	if (pol_place(&h->config, &h->host, &want, &place) < 0)
		return !want.memory_bytes || !pol_has(want.memory_bytes) || !h->host.n_nodes;
	for (uint32_t k = 0; k < POL_PLACE_NODES; k++) {
		if (place.bytes[k] && !(place.nodes >> k & 1))
			return false;
		sum = add_sat(sum, place.bytes[k]);
	}
	if (place.nodes >> h->host.n_nodes || place.why >= POL_PLACE_COUNT)
		return false;
	if (place.why != POL_PLACE_OK)
		return !place.nodes && !sum;
	return place.nodes && sum >= min_u64(want.memory_bytes, BYTES_MAX);
}

/* Every rule in every step, and the same plan from a twin fed the same. */
static void test_rules_hold_in_random_histories(void **state)
{
	uint64_t steps = 0, want = steps_wanted(STEPS), orders = 0, moves = 0;

	for (uint64_t seed = first_seed(); steps < want; seed++) {
		struct history h;
		struct pol *pol, *twin;
		size_t max = 1 + seed % (GUESTS + 4);

		rng = seed;
		start(&h);
		pol = pol_new(&h.config, max);
		twin = pol_new(&h.config, max);
		assert_true(pol && twin);
		for (int t = 0; t < 300; t++, steps++) {
			const struct pol_plan *plan = NULL, *other = NULL;
			const char *broken;
			int r = pol_step(pol, &h.host, h.now_us, &plan);

			assert_int_equal(pol_step(twin, &h.host, h.now_us, &other), r);
			if (r == 0) {
				broken = rules_check(&h.config, &h.host, plan, max);
				if (broken)
					fail_msg("seed %llu tick %d: %s", (unsigned long long)seed,
						 t, broken);
				assert_int_equal(plan->n_actions, other->n_actions);
				for (size_t i = 0; i < plan->n_actions; i++)
					assert_memory_equal(&plan->actions[i], &other->actions[i],
							    sizeof(plan->actions[i]));
				orders += plan->n_actions;
				for (size_t i = 0; i < plan->n_actions; i++)
					moves += plan->actions[i].kind == POL_NUMA_MOVE;
				obey(&h, plan);
			}
			if (t % 8 == 0 && !is_place_sane(&h))
				fail_msg("seed %llu tick %d: a place that is none",
					 (unsigned long long)seed, t);
			disturb(&h);
		}
		pol_free(pol);
		pol_free(twin);
	}
	print_message("             %llu steps, %llu orders, %llu moves\n",
		      (unsigned long long)steps, (unsigned long long)orders,
		      (unsigned long long)moves);
	assert_true(orders > steps / 50);
	assert_true(moves > steps / 5000);
}

/* Page cache that balloons may have a pace for. */
static bool may_be_paced(const struct history *h, const struct pol_action *a)
{
	return a->kind == POL_BALLOON && a->rung == POL_RUNG_BALLOON_CACHE &&
	       rules_guest(&h->host, a->guest)->reclaim_blind;
}

/*
 * Guests that obey at once, and nothing else changes: at rest within 60 ticks. Reclaim alone takes
 * longer: it asks every second tick, and for an eighth at most. And so does page cache where it has
 * a pace: 512 s for as much as the host has.
 */
static void test_constant_input_comes_to_rest(void **state)
{
	uint64_t runs = steps_wanted(STEPS) / 200;

	for (uint64_t seed = first_seed(); runs--; seed++) {
		struct history h;
		struct pol *pol;
		const struct pol_plan *plan;
		unsigned int late = 0;
		int reclaimed = 0; /* last, in this tick: that changes what is constant */

		rng = seed;
		start(&h);
		h.wild = false;
		h.now_us = 1000 * SEC;

		/* 60 steps of this take all of the largest guest. */
		h.config.step_bytes = max_u64(h.config.step_bytes, 256 * MIB);
		for (size_t i = 0; i < h.host.n_guests; i++)
			while (h.guests[i].memory_bytes > 9 * GIB)
				h.guests[i] = random_guest(&h);
		/* The model's samples are of now; ages are known to a second. */
		for (size_t i = 0; i < h.host.n_guests; i++) {
			h.guests[i].id = i + 1;
			h.guests[i].seen_mask = h.guests[i].bound_mask;
			if (pol_has(h.guests[i].stat_age_us))
				h.guests[i].stat_age_us %= SEC;
		}
		pol = pol_new(&h.config, GUESTS);
		assert_non_null(pol);
		for (int t = 0; t < 200; t++) {
			h.now_us += SEC;
			assert_int_equal(pol_step(pol, &h.host, h.now_us, &plan), 0);
			for (size_t i = 0; i < plan->n_actions; i++) {
				const struct pol_action *a = &plan->actions[i];
				struct pol_guest *g;

				if (a->kind == POL_RECLAIM || may_be_paced(&h, a))
					reclaimed = t;
				late += t >= (a->kind == POL_RECLAIM ? 150 : reclaimed + 60);
				obey_ksm(&h, a);
				obey_reclaim(&h, a);
				if (a->kind != POL_BALLOON)
					continue;
				g = (struct pol_guest *)(uintptr_t)rules_guest(&h.host, a->guest);
				if (a->to < g->actual_bytes) {
					uint64_t bytes = g->actual_bytes - a->to;
					uint64_t free = min_u64(bytes, g->stat_free_bytes);

					g->stat_free_bytes -= free;
					g->stat_cache_bytes =
						sub_sat(g->stat_cache_bytes, bytes - free);
					g->stat_available_bytes =
						sub_sat(g->stat_available_bytes, bytes);
					if (pol_has(g->resident_bytes))
						g->resident_bytes =
							min_u64(g->resident_bytes, a->to);
					h.host.available_bytes += a->gain_bytes;
				} else {
					g->stat_free_bytes += a->to - g->actual_bytes;
					g->stat_available_bytes += a->to - g->actual_bytes;
				}
				g->actual_bytes = g->target_bytes = g->stat_total_bytes = a->to;
			}
		}
		if (late)
			fail_msg("seed %llu: %u orders after 60 ticks", (unsigned long long)seed,
				 late);
		pol_free(pol);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules_hold_in_random_histories),
		cmocka_unit_test(test_constant_input_comes_to_rest),
	};

	return cmocka_run_group_tests_name("policy_properties", tests, NULL, NULL);
}
