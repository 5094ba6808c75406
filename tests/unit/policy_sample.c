// SPDX-License-Identifier: Apache-2.0
/*
 * A guest's numbers are of some moment since the last look, its size is of now, and in between its
 * balloon may have moved by hundreds of MiB. One need is answered once: what a guest with constant
 * or steadily growing use was given is not taken from it again soon, nor what was taken given back.
 * Balloons as fast as vmm's and as slow as those of an emulated guest; numbers every second and
 * every other. MEMD_SAMPLE=1 prints every decision.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "policy/parts.h"
#include "policy/simulate.h"

#define GUESTS	 7
#define SMALL	 (768 * MIB)
#define USES	 (190 * MIB)
#define CACHE	 (60 * MIB)
#define LARGE	 (3 * GIB)
#define GROWN	 (2400 * MIB)
#define SOON_US	 (30 * SEC)
#define AGAIN_US (60 * SEC)

struct balloons {
	uint64_t down_mib, up_mib, all_mib; /* per second */
};

static const struct balloons speeds[] = {{1024, 4096, 2048}, {200, 2048, 300}, {30, 370, 60}};
#define N_SPEEDS (sizeof(speeds) / sizeof(speeds[0]))

struct watch {
	uint64_t taken_us[GUESTS], given_us[GUESTS], size[GUESTS];
	unsigned int back_soon, taken_again, orders;
};

struct world {
	struct sim sim;
	struct watch watch;
};

static void open_world(struct world *w, const struct balloons *b, uint64_t stats_every_us,
		       uint64_t memory_mib)
{
	struct pol_config config;

	*w = (struct world){0};
	pol_config_default(&config);
	config.ksm_manage = false;
	assert_int_equal(sim_open(&w->sim, &law_memd, &config, GUESTS), 0);
	w->sim.memory = memory_mib * MIB;
	w->sim.own = 300 * MIB;
	w->sim.balloons_per_s = b->all_mib * MIB;
	w->sim.stats_every_us = stats_every_us;
	for (int i = 0; i < GUESTS; i++) {
		struct sim_guest *g = sim_add(&w->sim, SIM_SCRIPT, SIM_SOUND, i ? SMALL : LARGE, 0);

		g->used = g->want = g->need = g->base = USES;
		g->cache = g->want_cache = CACHE;
		g->touched = 100 * MIB;
		g->inflate_per_s = b->down_mib * MIB;
		g->deflate_per_s = b->up_mib * MIB;
	}
}

static void look(struct world *w, const struct pol_action *a)
{
	struct watch *watch = &w->watch;
	uint64_t i = a->guest - 1, now_us = w->sim.now_us;

	watch->orders++;
	if (a->to < a->from) {
		if (watch->given_us[i] && now_us - watch->given_us[i] < AGAIN_US)
			watch->taken_again++;
		watch->taken_us[i] = now_us;
	} else if (a->to > a->from) {
		if (watch->taken_us[i] && now_us - watch->taken_us[i] < SOON_US)
			watch->back_soon++;
		watch->given_us[i] = now_us;
	}
	if (getenv("MEMD_SAMPLE"))
		print_message("  %4llu s %s g%llu %llu -> %llu MiB, has %llu, floor %llu, needs "
			      "%llu: %s (host %llu, need %llu)\n",
			      (unsigned long long)(now_us / SEC), pol_state_name(a->state),
			      (unsigned long long)a->guest, (unsigned long long)(a->from / MIB),
			      (unsigned long long)(a->to / MIB),
			      (unsigned long long)(w->sim.guests[i].actual / MIB),
			      (unsigned long long)(a->floor_bytes / MIB),
			      (unsigned long long)(a->working_set_bytes / MIB),
			      pol_reason_text(a->reason),
			      (unsigned long long)(a->available_bytes / MIB),
			      (unsigned long long)(a->need_bytes / MIB));
}

static void run(struct world *w, unsigned int ticks)
{
	while (ticks--) {
		assert_int_equal(sim_tick(&w->sim), 0);
		for (size_t i = 0; i < w->sim.plan->n_actions; i++)
			look(w, &w->sim.plan->actions[i]);
	}
}

static void assert_answered_once(const struct world *w, const char *what, const struct balloons *b,
				 uint64_t stats_every_us)
{
	uint64_t moved = w->sim.regret.taken_bytes + w->sim.regret.given_bytes;

	print_message("             %s, balloons %4u/%4u MiB/s, numbers every %u s: %u orders, "
		      "%u MiB moved, %u in vain, given back soon %u, taken again %u\n",
		      what, (unsigned int)b->down_mib, (unsigned int)b->up_mib,
		      (unsigned int)(stats_every_us / SEC), w->watch.orders,
		      (unsigned int)(moved / MIB), (unsigned int)(w->sim.regret.vain_bytes / MIB),
		      w->watch.back_soon, w->watch.taken_again);
	assert_int_equal(w->watch.back_soon, 0);
	assert_int_equal(w->watch.taken_again, 0);
	assert_int_equal(w->sim.regret.guest_ooms, 0);
}

/* The least that its working set and its reserve come to, and the most that puts it at ease, or
 * would have if it had gone on growing until the next grant: four seconds, and two that its
 * numbers are late. */
static void assert_at_ease(const struct world *w, size_t i, uint64_t mib_per_s)
{
	const struct sim_guest *g = &w->sim.guests[i];
	uint64_t uses = g->actual - sim_guest_available(g), reserve = g->memory / 8;
	uint64_t most = reserve + max_u64(reserve, 6 * mib_per_s * MIB);

	assert_true(g->actual + ARRIVED_BYTES >= uses + reserve);
	assert_true(g->actual <= uses + most + g->memory / 64);
}

/* The demo: one guest comes to want most of its promise, and others, who use little, pay. */
static void test_who_pays_for_another_is_not_given_it_back(void **state)
{
	static const uint64_t rates[] = {30, 62, 120, 250};

	for (size_t b = 0; b < N_SPEEDS; b++)
		for (uint64_t every = 1; every <= 2; every++)
			for (size_t r = 0; r < sizeof(rates) / sizeof(rates[0]); r++) {
				struct world w;
				struct sim_guest *g;

				open_world(&w, &speeds[b], every * SEC, 4864);
				run(&w, 30);
				g = &w.sim.guests[0];
				g->steps[0] =
					(struct sim_step){w.sim.now_us + 1, GROWN, rates[r] * MIB};
				run(&w, 200);
				assert_int_equal(g->used, GROWN);
				assert_answered_once(&w, "another grows", &speeds[b], every * SEC);
				assert_int_equal(w.sim.regret.short_byte_s, 0);
				for (size_t i = 1; i < GUESTS; i++)
					assert_true(w.sim.guests[i].actual + ARRIVED_BYTES >=
						    USES + CACHE / 10 + SMALL / 8);
				sim_close(&w.sim);
			}
}

/* Squeezed close to what it uses, it comes to use more: steadily, or at once. */
static void test_need_is_answered_once(void **state)
{
	static const uint64_t rates[] = {2, 5, 10, 25, 60, 150};

	for (size_t b = 0; b < N_SPEEDS; b++)
		for (uint64_t every = 1; every <= 2; every++)
			for (size_t r = 0; r < sizeof(rates) / sizeof(rates[0]); r++) {
				struct world w;
				struct sim_guest *g;

				/* Short at first, then well, but without plenty. */
				open_world(&w, &speeds[b], every * SEC, 3000);
				run(&w, 150);
				w.sim.own = 500 * MIB;
				run(&w, 60);
				w.watch = (struct watch){0};
				g = &w.sim.guests[3];
				assert_true(g->actual < 500 * MIB);
				g->steps[0] = (struct sim_step){w.sim.now_us + 1, USES + 150 * MIB,
								rates[r] * MIB};
				run(&w, 300);
				assert_int_equal(g->used, USES + 150 * MIB);
				assert_answered_once(&w, "it grows     ", &speeds[b], every * SEC);
				assert_at_ease(&w, 3, rates[r]);
				/* What is there between two samples can be asked of no policy. */
				if (rates[r] * every <= SMALL / 8 / MIB / 2)
					assert_int_equal(w.sim.regret.short_byte_s, 0);
				sim_close(&w.sim);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_pays_for_another_is_not_given_it_back),
		cmocka_unit_test(test_need_is_answered_once),
	};

	return cmocka_run_group_tests_name("policy_sample", tests, NULL, NULL);
}
