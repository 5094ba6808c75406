// SPDX-License-Identifier: Apache-2.0
/*
 * A thousand guests: what one step costs, and that it allocates nothing, in good times and in bad
 * ones, with guests of every kind coming and going.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "policy/parts.h"
#include "tests/unit/allocations.h"
#include "tests/unit/policy_guest.h"

#define MANY	     1000
#define TICKS	     200
#define COST_MOST_US 10000

static struct {
	struct pol_config config;
	struct pol *pol;
	struct pol_host host;
	struct pol_guest guests[MANY];
	const struct pol_plan *plan;
	uint64_t now_us, cost_us[TICKS], next_id, rng;
	size_t actions;
} w;

static uint64_t pick(uint64_t below)
{
	w.rng = w.rng * 6364136223846793005ull + 1442695040888963407ull;
	return (w.rng >> 33) % below;
}

static struct pol_guest make_guest(void)
{
	struct pol_guest guest = scene_guest(w.next_id++);

	guest.merge_switch = guest.merge_on = guest.mergeable = true;
	guest.marked_bytes = guest.memory_bytes;
	guest.domain = pick(3) ? 0 : 1;
	guest.deflate_on_oom = pick(2);
	if (pick(8) == 0) {
		guest.mem_max_bytes = guest.mem_size_bytes = guest.mem_requested_bytes = 512 * MIB;
		guest.mem_block_bytes = 2 * MIB;
	}
	return guest;
}

static int setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	w.now_us = 1000 * SEC;
	w.next_id = w.rng = 1;
	pol_config_default(&w.config);
	w.pol = pol_new(&w.config, MANY);
	assert_non_null(w.pol);
	w.host = (struct pol_host){
		.memory_bytes = 2048 * GIB,
		.free_bytes = 256 * GIB,
		.available_bytes = 256 * GIB,
		.psi_some_us = POL_ABSENT,
		.psi_full_us = POL_ABSENT,
		.guests = w.guests,
		.n_guests = MANY,
		.ksm = {.present = true,
			.mergeable_any = true,
			.pages_to_scan = 100,
			.sleep_ms = 20,
			.zero_pages = POL_ABSENT,
			.across_nodes = 1},
	};
	for (size_t i = 0; i < MANY; i++)
		w.guests[i] = make_guest();
	return 0;
}

/* Eight nodes, and every guest would rather be elsewhere. */
static int setup_nodes(void **state)
{
	setup(state);
	w.host.numa_balancing = 0;
	w.host.n_nodes = POL_PLACE_NODES;
	for (uint32_t i = 0; i < POL_PLACE_NODES; i++) {
		w.host.nodes[i] = (struct pol_node){
			.node = i,
			.memory_bytes = 256 * GIB,
			.free_bytes = i ? 64 * GIB : 4 * GIB,
			.cpus = 64,
		};
		for (uint32_t k = 0; k < POL_PLACE_NODES; k++)
			w.host.nodes[i].distance[k] = i == k ? 10 : 21;
	}
	for (size_t i = 0; i < MANY; i++) {
		w.guests[i].node_bytes[pick(POL_PLACE_NODES)] = w.guests[i].memory_bytes;
		w.guests[i].huge_bytes = GIB;
		w.guests[i].vcpus = 1;
		w.guests[i].cpu_node = pick(POL_PLACE_NODES);
		w.guests[i].cpu_node_ppm = PPM;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pol_free(w.pol);
	return 0;
}

static struct pol_guest *find(uint64_t id)
{
	for (size_t i = 0; i < MANY; i++)
		if (w.guests[i].id == id)
			return &w.guests[i];
	return NULL;
}

static void obey(void)
{
	for (size_t i = 0; i < w.plan->n_actions; i++) {
		const struct pol_action *a = &w.plan->actions[i];
		struct pol_guest *guest = a->guest ? find(a->guest) : NULL;

		if (a->kind == POL_BALLOON && guest) {
			guest->target_bytes = a->to;
			guest->actual_bytes = a->to;
			guest->mem_requested_bytes = guest->mem_size_bytes = a->to2;
		} else if (a->kind == POL_KSM_RUN) {
			w.host.ksm.run = a->to;
		} else if (a->kind == POL_MERGE && guest) {
			guest->merge_on = guest->mergeable = a->to;
		}
	}
	w.actions += w.plan->n_actions;
}

/* Each guest's numbers move, and it is replaced now and then. */
static void live(void)
{
	size_t gone = pick(4) ? MANY : pick(MANY);

	for (size_t i = 0; i < MANY; i++) {
		struct pol_guest *g = &w.guests[i];

		g->stat_age_us = pick(2) * SEC;
		g->stat_available_bytes = pick(g->actual_bytes);
		g->stat_free_bytes = pick(g->stat_available_bytes + 1);
		g->stat_total_bytes = g->memory_bytes - 40 * MIB;
		g->stat_cache_bytes = 0;
		g->resident_bytes = g->actual_bytes - pick(g->actual_bytes / 2);
		g->stat_major_faults += pick(200);
		g->cpu_us += pick(SEC);
	}
	if (gone < MANY) {
		memmove(&w.guests[gone], &w.guests[gone + 1],
			(MANY - 1 - gone) * sizeof(w.guests[0]));
		w.guests[MANY - 1] = make_guest();
	}
}

static uint64_t cpu_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * SEC + (uint64_t)ts.tv_nsec / 1000;
}

static int ascending(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The host's memory by tick; returns what nine of ten ticks stayed below. */
static uint64_t run(uint64_t (*available)(unsigned int tick))
{
	for (unsigned int tick = 0; tick < TICKS; tick++) {
		uint64_t begin;

		live();
		w.now_us += SEC;
		w.host.available_bytes = w.host.free_bytes = available(tick);
		begin = cpu_now_us();
		allocations_counted = true;
		assert_int_equal(pol_step(w.pol, &w.host, w.now_us, &w.plan), 0);
		allocations_counted = false;
		w.cost_us[tick] = cpu_now_us() - begin;
		obey();
	}
	qsort(w.cost_us, TICKS, sizeof(w.cost_us[0]), ascending);
	print_message("of %d guests a step takes %llu us, at most %llu; %zu actions in %d steps\n",
		      MANY, (unsigned long long)w.cost_us[TICKS / 2],
		      (unsigned long long)w.cost_us[TICKS - 1], w.actions, TICKS);
	return w.cost_us[TICKS * 9 / 10];
}

static uint64_t plenty(unsigned int tick)
{
	return 1024 * GIB - tick % 2 * GIB;
}

static uint64_t nothing(unsigned int tick)
{
	return 4 * GIB + tick % 3 * GIB;
}

static uint64_t up_and_down(unsigned int tick)
{
	return (tick / 20 % 2 ? 600 * GIB : 30 * GIB) - tick % 20 * 3 * GIB / 2;
}

static void test_step(uint64_t (*available)(unsigned int tick))
{
	uint64_t cost_us = run(available);

	assert_true(w.actions > TICKS);
#if ALLOCATIONS_COUNTED
	assert_true(cost_us <= COST_MOST_US);
	assert_int_equal(allocations, 0);
#else
	(void)cost_us;
#endif
}

static void test_plenty(void **state)
{
	(void)state;
	test_step(plenty);
}

static void test_nothing(void **state)
{
	(void)state;
	test_step(nothing);
}

static void test_up_and_down(void **state)
{
	(void)state;
	test_step(up_and_down);
}

/* The hook counts: otherwise the tests above say nothing. */
static void test_hook(void **state)
{
	unsigned long before = allocations;
	void *volatile p;

	(void)state;
	allocations_counted = true;
	p = malloc(10);
	allocations_counted = false;
	free(p);
	assert_int_equal(allocations - before, ALLOCATIONS_COUNTED);
	allocations = before;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_plenty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_up_and_down, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plenty, setup_nodes, teardown),
		cmocka_unit_test(test_hook),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
