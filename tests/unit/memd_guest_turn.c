// SPDX-License-Identifier: Apache-2.0
/* Which guests are asked in a tick, and whose processes are looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/size.h"
#include "memd/guest_turn.h"

#define MANY  1000
#define TURNS 4 /* of MANY, by GUESTS_ASKED_CALM */

static struct {
	struct config config;
	struct guests guests;
	struct guest guest[MANY];
	struct guest *v[MANY];
	unsigned int asked[MANY], looked[MANY], whole[MANY];
	uint64_t now_us;
} w;

static int setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	w.now_us = 1000 * USEC_PER_SEC;
	w.config.tick_us = USEC_PER_SEC;
	w.guests = (struct guests){
		.config = &w.config, .v = w.v, .n = MANY, .capacity = MANY, .calm = true};
	for (size_t i = 0; i < MANY; i++) {
		w.v[i] = &w.guest[i];
		w.guest[i] = (struct guest){
			.all = &w.guests,
			.id = i + 1,
			.ticks = 100,
			.memory_bytes = 512 * MIB,
			.actual_bytes = 512 * MIB,
			.ready_us = USEC_PER_SEC,
		};
	}
	return 0;
}

static void run(unsigned int ticks)
{
	memset(w.asked, 0, sizeof(w.asked));
	memset(w.looked, 0, sizeof(w.looked));
	memset(w.whole, 0, sizeof(w.whole));
	for (unsigned int tick = 0; tick < ticks; tick++) {
		size_t asked = 0;

		guest_turns(&w.guests, w.now_us);
		for (size_t i = 0; i < w.guests.n; i++) {
			asked += !w.guest[i].rests;
			w.asked[i] += !w.guest[i].rests;
			w.looked[i] += w.guest[i].looked_at != GUEST_LOOK_NOT;
			w.whole[i] += w.guest[i].looked_at == GUEST_LOOK_WHOLE;
			w.guest[i].ticks += !w.guest[i].rests;
			if (w.guest[i].looked_at)
				assert_false(w.guest[i].rests);
		}
		if (w.guests.n > GUESTS_ASKED_CALM && w.config.tick_us == USEC_PER_SEC)
			assert_true(asked <=
				    (w.guests.calm ? w.guests.n / TURNS + 8 : GUESTS_ASKED_MOST));
		w.now_us += USEC_PER_SEC;
	}
}

static void test_calm(void **state)
{
	(void)state;
	run(16);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(w.asked[i], 16 / TURNS);
		assert_int_equal(w.looked[i], 1);
		assert_int_equal(w.whole[i], 1);
	}
}

/* Looking at a thousand processes at once is what a tick cannot afford. */
static void test_looks_spread(void **state)
{
	(void)state;
	for (unsigned int tick = 0; tick < 16; tick++) {
		size_t looked = 0;

		run(1);
		for (size_t i = 0; i < MANY; i++)
			looked += w.looked[i];
		assert_in_range(looked, MANY / 16 - 2, MANY / 16 + 2);
	}
}

static void test_few(void **state)
{
	(void)state;
	w.guests.n = GUESTS_ASKED_CALM;
	run(4);
	for (size_t i = 0; i < w.guests.n; i++) {
		assert_int_equal(w.asked[i], 4);
		assert_int_equal(w.whole[i], 4);
	}
}

/* A host that is not calm: each in its turn, and no more a tick than can be afforded. */
static void test_pressed(void **state)
{
	(void)state;
	w.guests.calm = false;
	run(16);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(w.asked[i], 16 / TURNS);
		assert_int_equal(w.looked[i], 16 / TURNS);
		/* as often as on a calm one */
		assert_int_equal(w.whole[i], 1);
	}
}

/* Looks at all there is to see are dear: not many of them in one tick. */
static void test_pressed_looks_spread(void **state)
{
	(void)state;
	w.guests.calm = false;
	for (unsigned int tick = 0; tick < 16; tick++) {
		size_t whole = 0;

		run(1);
		for (size_t i = 0; i < MANY; i++)
			whole += w.whole[i];
		assert_in_range(whole, MANY / 16 - 4, MANY / 16 + 4);
	}
}

/* Those in need are asked every tick, however many balloons move besides. */
static void test_pressed_need_comes_first(void **state)
{
	(void)state;
	w.guests.calm = false;
	for (size_t i = 0; i < MANY; i++) {
		w.guest[i].target_sent_us = w.now_us;
		w.guest[i].ready_us = USEC_PER_SEC;
	}
	for (size_t i = 0; i < MANY; i += 7) {
		w.guest[i].actual_bytes = 400 * MIB;
		w.guest[i].has_view = w.guest[i].view.trouble = true;
		w.guest[i].view.working_set_bytes = w.guest[i].view.floor_bytes = 100 * MIB;
	}
	run(10);
	for (size_t i = 0; i < MANY; i++) {
		assert_true(w.asked[i] >= 10 / 5); /* of the others each within 5 s */
		if (i % 7 == 0)
			assert_int_equal(w.asked[i], 10);
	}
}

static void set_size(struct guest *guest, uint64_t actual_bytes)
{
	guest->actual_bytes = actual_bytes;
	guest->has_view = true;
	guest->view.working_set_bytes = 200 * MIB;
	guest->view.floor_bytes = 270 * MIB;
}

/* All are near their floor, as on a host that has taken what it can: nobody waits longer for that,
 * and the few that suffer are asked every tick. */
static void test_pressed_all_near_floor(void **state)
{
	unsigned int since[MANY] = {0};

	(void)state;
	w.guests.calm = false;
	for (size_t i = 0; i < MANY; i++) {
		set_size(&w.guest[i], 280 * MIB);
		w.guest[i].view.trouble = i % 50 == 0;
	}
	for (unsigned int tick = 0; tick < 40; tick++) {
		run(1);
		for (size_t i = 0; i < MANY; i++) {
			since[i] = w.asked[i] ? 0 : since[i] + 1;
			assert_true(since[i] < TURNS);
			if (i % 50 == 0)
				assert_int_equal(since[i], 0);
		}
	}
}

/* What is left of a tick is for those near their floor, before balloons that move. */
static void test_pressed_near_floor_before_moving(void **state)
{
	(void)state;
	w.guests.calm = false;
	for (size_t i = 0; i < MANY; i++)
		w.guest[i].target_sent_us = w.now_us;
	for (size_t i = 0; i < MANY; i += 20)
		set_size(&w.guest[i], 280 * MIB);
	run(8);
	for (size_t i = 0; i < MANY; i++)
		if (i % 20 == 0)
			assert_int_equal(w.asked[i], 8);
		else
			assert_in_range(w.asked[i], 8 / TURNS, 8 / TURNS + 2);
}

/* When all are in need nobody is left out, and no tick is longer for it. */
static void test_pressed_all_in_need(void **state)
{
	(void)state;
	w.guests.calm = false;
	for (size_t i = 0; i < MANY; i++)
		w.guest[i].late = true;
	run(20);
	for (size_t i = 0; i < MANY; i++)
		assert_in_range(w.asked[i], 20 / TURNS, 20 / TURNS * 2);
}

/* Numbers must not get too old to be used. */
static void test_long_ticks(void **state)
{
	(void)state;
	w.config.tick_us = 2 * USEC_PER_SEC;
	for (unsigned int tick = 0; tick < 4; tick++) {
		guest_turns(&w.guests, w.now_us);
		for (size_t i = 0; i < MANY; i++)
			w.asked[i] += !w.guest[i].rests;
	}
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(w.asked[i], 2);
	/* Of such ticks there are fewer: more are asked in each. */
	w.guests.calm = false;
	run(15);
	for (size_t i = 0; i < MANY; i++)
		assert_in_range(w.asked[i], 7, 8);
	w.config.tick_us = 10 * USEC_PER_SEC;
	guest_turns(&w.guests, w.now_us);
	for (size_t i = 0; i < MANY; i++)
		assert_false(w.guest[i].rests);
}

/* Each of these has a reason to be asked every tick; their like with plenty has not. */
static void test_lively(void **state)
{
	struct guest *g = w.guest;

	(void)state;
	g[1].late = true;
	g[2].target_sent_us = w.now_us - 2 * USEC_PER_SEC;
	/* less than promised, and near the floor */
	set_size(&g[3], 330 * MIB);
	/* less than promised, and nobody knows what it uses */
	g[5] = g[3];
	g[5].view.working_set_bytes = POL_ABSENT;
	/* less than promised, and far above the floor */
	g[6] = g[3];
	g[6].actual_bytes = 400 * MIB;
	g[7].ready_us = w.now_us;
	g[9].mem_max_bytes = g[9].mem_requested_bytes = 128 * MIB;
	g[10].merge_open = 1;
	run(4);
	assert_int_equal(w.asked[1], 4);
	assert_int_equal(w.asked[2], 4);
	assert_int_equal(w.asked[3], 4);
	assert_int_equal(w.asked[5], 4);
	assert_int_equal(w.asked[6], 1);
	assert_int_equal(w.asked[7], 4);
	assert_int_equal(w.asked[9], 4);
	assert_int_equal(w.asked[10], 4);
	assert_int_equal(w.asked[11], 1);
	assert_int_equal(w.whole[3], 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_calm, setup),
		cmocka_unit_test_setup(test_looks_spread, setup),
		cmocka_unit_test_setup(test_few, setup),
		cmocka_unit_test_setup(test_pressed, setup),
		cmocka_unit_test_setup(test_pressed_looks_spread, setup),
		cmocka_unit_test_setup(test_pressed_need_comes_first, setup),
		cmocka_unit_test_setup(test_pressed_all_near_floor, setup),
		cmocka_unit_test_setup(test_pressed_near_floor_before_moving, setup),
		cmocka_unit_test_setup(test_pressed_all_in_need, setup),
		cmocka_unit_test_setup(test_long_ticks, setup),
		cmocka_unit_test_setup(test_lively, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
