// SPDX-License-Identifier: Apache-2.0
/* Reclaim to swap: what stops it, and for how long. */
#include "tests/unit/reclaim_scene.h"

/* The guest reads back what went: it is left alone, with what it has, and for longer each time. */
static void test_refaults_stop_it(void **state)
{
	struct scene s;
	uint64_t resident;

	scene_open_silent(&s, 2);
	make_short(&s, 500 * MIB);
	run_reclaim(&s, 3);
	assert_true(s.guests[0].swapped_bytes > 0);
	s.host.available_bytes = 500 * MIB;
	for (int t = 0; t < 4; t++) {
		s.guests[0].refault_bytes += 4 * MIB;
		run_reclaim(&s, 1);
	}
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_REFAULTS);
	assert_int_equal(scene_view(&s, 2)->reclaim_off, POL_WHY_NONE);
	resident = s.guests[0].resident_bytes;
	for (int t = 0; t < 25; t++) {
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 1);
		assert_int_equal(s.guests[0].resident_bytes, resident);
	}
	assert_true(s.guests[1].resident_bytes < resident);
	/* What it needed back is nearly a floor after the hold, and as time goes by less so. */
	for (int t = 0; t < 60; t++) {
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 1);
	}
	assert_in_range(scene_view(&s, 1)->resident_floor_bytes, resident * 4 / 5, resident - 1);
	assert_in_range(s.guests[0].resident_bytes, resident * 4 / 5, resident - 1);
	assert_true(s.guests[1].resident_bytes < resident / 2);
	/* That is for memd: the kernel may, rather than kill. */
	assert_int_equal(scene_view(&s, 1)->swap_most_bytes,
			 s.guests[0].memory_bytes - s.guests[0].memory_bytes / 8);
	scene_close(&s);
}

/* Ticks until something is taken from the guest again; not more than 100. */
static unsigned int left_alone(struct scene *s, uint64_t available)
{
	uint64_t resident = s->guests[0].resident_bytes;

	for (unsigned int t = 0; t < 100; t++) {
		s->host.available_bytes = available;
		run_reclaim(s, 1);
		if (s->guests[0].resident_bytes < resident)
			return t;
	}
	return 100;
}

/* In want a host asks again soon: of all guests something has been read back by then. */
static void test_trouble_is_short_on_a_host_in_want(void **state)
{
	static const struct {
		uint64_t available, refaults;
		unsigned int least, most;
	} cases[] = {
		{400 * MIB, 8 * MIB, 20, 31},  /* soft: the first is no longer than this */
		{180 * MIB, 40 * MIB, 10, 18}, /* hard */
		{60 * MIB, 200 * MIB, 2, 6},   /* low */
	};

	for (size_t i = 0; i < 3; i++) {
		struct scene s;
		uint64_t floor;

		scene_open_silent(&s, 1);
		s.guests[0].memory_bytes = s.guests[0].actual_bytes = 4 * GIB;
		s.guests[0].resident_bytes = s.guests[0].reclaimable_bytes = 4 * GIB;
		make_short(&s, cases[i].available);
		assert_true(left_alone(&s, cases[i].available) < 10);
		for (int t = 0; t < 3; t++) {
			s.guests[0].refault_bytes += cases[i].refaults;
			s.host.available_bytes = cases[i].available;
			run_reclaim(&s, 1);
		}
		assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_REFAULTS);
		floor = scene_view(&s, 1)->resident_floor_bytes;
		assert_in_range(left_alone(&s, cases[i].available), cases[i].least, cases[i].most);
		/* What it had then is forgotten as it goes on, or with it. */
		assert_true(scene_view(&s, 1)->resident_floor_bytes < (i ? floor / 4 : floor));
		scene_close(&s);
	}
}

/* Orders that bring nothing: in good times ever longer apart, in want once around the clock. What
 * comes at last ends that. */
static void test_nothing_left_is_asked_again(void **state)
{
	static const struct {
		uint64_t available;
		unsigned int least, most;
	} cases[] = {
		{500 * MIB, 2, 4},   /* high */
		{400 * MIB, 8, 12},  /* soft */
		{180 * MIB, 13, 20}, /* hard */
		{60 * MIB, 13, 20},  /* low */
	};

	for (size_t i = 0; i < 4; i++) {
		struct scene s;
		unsigned int orders = 0;

		scene_open_silent(&s, 1);
		make_short(&s, cases[i].available);
		for (int t = 0; t < 100; t++) {
			s.host.available_bytes = cases[i].available;
			scene_step(&s);
			orders += reclaim_of(&s, 1) != NULL;
		}
		assert_in_range(orders, cases[i].least, cases[i].most);
		assert_true(left_alone(&s, 60 * MIB) < 8);
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 3);
		assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_NONE);
		scene_close(&s);
	}
}

/* The limit of what may be read back rises with the want: just below it nothing is held back. */
static void test_some_is_read_back_in_want(void **state)
{
	static const struct {
		uint64_t available, mib_s;
	} cases[] = {{500 * MIB, 1}, {400 * MIB, 4}, {180 * MIB, 16}, {60 * MIB, 64}};

	for (size_t i = 0; i < 4; i++) {
		struct scene s;

		scene_open_silent(&s, 1);
		make_short(&s, cases[i].available);
		for (int t = 0; t < 8; t++) {
			s.guests[0].refault_bytes += cases[i].mib_s * MIB * 9 / 10;
			s.host.available_bytes = cases[i].available;
			scene_step(&s);
			assert_int_not_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_REFAULTS);
		}
		for (int t = 0; t < 8; t++) {
			s.guests[0].refault_bytes += cases[i].mib_s * MIB * 5;
			s.host.available_bytes = cases[i].available;
			scene_step(&s);
		}
		assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_REFAULTS);
		scene_close(&s);
	}
}

/* The guest's own cgroup waits for memory; and without one the host's tasks do. */
static void test_pressure_stops_it(void **state)
{
	struct scene s;

	scene_open_silent(&s, 2);
	s.guests[0].psi_some_us = 0;
	make_short(&s, 500 * MIB);
	for (int t = 0; t < 10; t++) {
		s.guests[0].psi_some_us += 20 * MSEC;
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 1);
	}
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_PRESSURE);
	assert_int_equal(scene_view(&s, 2)->reclaim_off, POL_WHY_NONE);
	scene_close(&s);

	scene_open_silent(&s, 1);
	s.host.psi_some_us = s.host.reclaim_us = 0;
	scene_run(&s, 40);
	s.host.available_bytes = 500 * MIB;
	/* Waiting that is memd's own reclaim does not count. */
	for (int t = 0; t < 10; t++) {
		s.host.psi_some_us += 100 * MSEC;
		s.host.reclaim_us += 100 * MSEC;
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 1);
	}
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_NONE);
	for (int t = 0; t < 5; t++) {
		s.host.psi_some_us += 100 * MSEC;
		scene_step(&s);
	}
	assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_PRESSURE);
	/* That was not this guest's doing: however often it comes, it is over when it is over. */
	for (int n = 0; n < 6; n++) {
		s.host.psi_some_us += 1000 * MSEC;
		run_reclaim(&s, 3);
		assert_int_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_PRESSURE);
		s.host.available_bytes = 500 * MIB;
		run_reclaim(&s, 6);
		assert_int_not_equal(scene_view(&s, 1)->reclaim_off, POL_WHY_PRESSURE);
	}
	scene_close(&s);
}

/* An order for cold memory that a host in want cuts short, or that found none, is no reason to ask
 * that guest for nothing. */
static void test_want_asks_whom_it_did_not_let_wait(void **state)
{
	struct scene s;

	scene_open_silent(&s, 1);
	make_short(&s, 400 * MIB);
	for (int t = 0; t < 10 && !reclaim_of(&s, 1); t++)
		scene_step(&s);
	assert_non_null(reclaim_of(&s, 1));
	assert_int_equal(reclaim_of(&s, 1)->to2, 0);
	s.host.reclaim_busy = true;
	scene_run(&s, 3);
	s.host.available_bytes = 60 * MIB;
	scene_step(&s);
	assert_null(reclaim_of(&s, 1));
	s.host.reclaim_busy = false;
	scene_step(&s);
	assert_non_null(reclaim_of(&s, 1));
	assert_int_equal(reclaim_of(&s, 1)->to2, 1);
	scene_close(&s);
}

/* What does not come is not asked for again and again. */
static void test_order_that_brings_nothing_is_not_repeated(void **state)
{
	struct scene s;
	unsigned int orders = 0;

	scene_open_silent(&s, 1);
	make_short(&s, 500 * MIB);
	for (int t = 0; t < 300; t++) {
		scene_step(&s);
		orders += reclaim_of(&s, 1) != NULL;
	}
	assert_in_range(orders, 2, 5); /* 30 s, 60 s, 120 s apart */
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refaults_stop_it),
		cmocka_unit_test(test_trouble_is_short_on_a_host_in_want),
		cmocka_unit_test(test_nothing_left_is_asked_again),
		cmocka_unit_test(test_some_is_read_back_in_want),
		cmocka_unit_test(test_pressure_stops_it),
		cmocka_unit_test(test_want_asks_whom_it_did_not_let_wait),
		cmocka_unit_test(test_order_that_brings_nothing_is_not_repeated),
	};

	return cmocka_run_group_tests_name("policy_reclaim_trouble", tests, NULL, NULL);
}
