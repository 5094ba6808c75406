// SPDX-License-Identifier: Apache-2.0
/* Moves between nodes: when they pay, when not, and what they stand aside for. */
#include "tests/unit/policy_nodes.h"

static const struct pol_action *run(struct scene *s, unsigned int ticks, uint64_t cpu_us)
{
	const struct pol_action *move = NULL;

	while (ticks-- && !move) {
		for (size_t i = 0; i < s->host.n_guests; i++)
			s->guests[i].cpu_us += cpu_us;
		scene_step(s);
		move = scene_kind(s, POL_NUMA_MOVE);
	}
	return move;
}

static enum pol_numa_why why(const struct scene *s, uint64_t guest)
{
	return scene_view(s, guest)->numa;
}

/* A move as it is ordered: the snapshot shows it for a while, and then what it brought. */
static void carry_out(struct scene *s, const struct pol_action *move)
{
	struct pol_guest *g = scene_find(s, move->guest);
	uint32_t to = (uint32_t)move->to;

	g->numa_moving = true;
	assert_null(run(s, 8, 500000));
	assert_int_equal(why(s, g->id), POL_NUMA_MOVING);
	g->numa_moving = false;
	set_place(g, to, to);
}

static void test_memory_comes_to_the_processors(void **state)
{
	struct scene s;
	const struct pol_action *move;

	open_scene(&s, 2);
	set_place(&s.guests[1], 1, 0);
	s.host.nodes[1].cpus = 0; /* the threads cannot go there */
	move = run(&s, 30, 500000);
	assert_non_null(move);
	assert_int_equal(move->guest, 2);
	assert_int_equal(move->from, 1u << 1);
	assert_int_equal(move->to, 0);
	assert_int_equal(move->to2, 2 * GIB);
	assert_int_equal(move->to3, s.config.numa_bytes_per_s);
	assert_int_equal(move->reason, POL_WHY_NUMA_REMOTE);
	assert_true(move->gain_us >= 2 * move->cost_us);
	assert_int_equal(why(&s, 1), POL_NUMA_LOCAL);
	assert_int_equal(scene_view(&s, 1)->local_ppm, PPM);
	assert_int_equal(scene_view(&s, 2)->local_ppm, 0);
	carry_out(&s, move);
	assert_null(run(&s, 200, 500000));
	assert_int_equal(why(&s, 2), POL_NUMA_LOCAL);
	scene_close(&s);
}

/* Where both nodes have processors, threads are cheaper to move than memory. */
static void test_processors_come_to_the_memory(void **state)
{
	struct scene s;
	const struct pol_action *move;

	open_scene(&s, 1);
	set_place(&s.guests[0], 1, 0);
	move = run(&s, 30, 500000);
	assert_non_null(move);
	assert_int_equal(move->to, 1);
	assert_int_equal(move->to2, 0);
	assert_int_equal(move->from, 0);
	scene_close(&s);

	/* Also one that takes all of a processor, if the node has just one and nobody else. */
	open_scene(&s, 1);
	s.host.nodes[0].cpus = s.host.nodes[1].cpus = 1;
	set_place(&s.guests[0], 1, 0);
	move = run(&s, 30, 1000000);
	assert_non_null(move);
	assert_int_equal(move->to, 1);
	assert_int_equal(move->to2, 0);
	scene_close(&s);

	/* Not when they are busy there. */
	open_scene(&s, 5);
	set_place(&s.guests[0], 1, 0);
	for (size_t i = 1; i < 5; i++)
		set_place(&s.guests[i], 1, 1);
	move = run(&s, 30, 850000);
	assert_non_null(move);
	assert_int_equal(move->guest, 1);
	assert_int_equal(move->to, 0);
	assert_int_equal(move->to2, 2 * GIB);
	scene_close(&s);
}

/* vCPUs that run here and there are brought together with the memory. */
static void test_roaming_guest_is_pinned_where_it_is(void **state)
{
	struct scene s;
	const struct pol_action *move;

	open_scene(&s, 1);
	s.guests[0].cpu_node_ppm = 600000;
	move = run(&s, 30, 500000);
	assert_non_null(move);
	assert_int_equal(scene_view(&s, 1)->local_ppm, 600000);
	assert_int_equal(move->to, 0);
	assert_int_equal(move->to2, 0);
	scene_close(&s);
}

static void test_watched_first(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	assert_null(run(&s, 20, 500000));
	set_place(&s.guests[0], 1, 0);
	s.host.nodes[1].cpus = 0;
	assert_null(run(&s, 5, 500000));
	assert_int_equal(why(&s, 1), POL_NUMA_WATCH);
	/* Interrupted: from the beginning. */
	set_place(&s.guests[0], 0, 0);
	assert_null(run(&s, 1, 500000));
	set_place(&s.guests[0], 1, 0);
	assert_null(run(&s, 5, 500000));
	assert_non_null(run(&s, 1, 500000));
	scene_close(&s);
}

static void test_one_at_a_time(void **state)
{
	struct scene s;
	const struct pol_action *move;
	size_t moves = 0;

	open_scene(&s, 2);
	s.host.nodes[1].cpus = 0;
	set_place(&s.guests[0], 1, 0);
	set_place(&s.guests[1], 1, 0);
	move = run(&s, 30, 500000);
	assert_non_null(move);
	for (size_t i = 0; i < s.plan->n_actions; i++)
		moves += s.plan->actions[i].kind == POL_NUMA_MOVE;
	assert_int_equal(moves, 1);
	s.guests[0].numa_moving = true;
	assert_null(run(&s, 30, 500000));
	assert_int_equal(why(&s, 2), POL_NUMA_TURN);
	s.guests[0].numa_moving = false;
	set_place(&s.guests[0], 0, 0);
	move = run(&s, 10, 500000);
	assert_non_null(move);
	assert_int_equal(move->guest, 2);
	scene_close(&s);
}

/* Threads alone take no time: they do not wait for a guest that gains more, by its memory. */
static void test_the_quick_go_first(void **state)
{
	struct scene s;
	const struct pol_action *move;

	open_scene(&s, 2);
	s.guests[0].node_bytes[0] = 3 * GIB; /* runs here and there, half of the time near */
	s.guests[0].cpu_node_ppm = 500000;
	set_place(&s.guests[1], 1, 0); /* runs far from all it has, and has no room there */
	s.guests[1].vcpus = 4;
	s.host.nodes[1].cpus = 3;
	move = run(&s, 30, 500000);
	assert_non_null(move);
	assert_int_equal(move->guest, 1);
	assert_int_equal(move->to2, 0);
	s.guests[0].cpu_node_ppm = PPM;
	move = run(&s, 30, 500000);
	assert_non_null(move);
	assert_int_equal(move->guest, 2);
	assert_int_equal(move->to2, 2 * GIB);
	assert_true(move->gain_us > 0);
	scene_close(&s);
}

/* A move that brought nothing is tried again after ever longer rests. */
static void test_rests_double(void **state)
{
	struct scene s;
	uint64_t before, gap[3];

	open_scene(&s, 1);
	s.host.nodes[1].cpus = 0;
	set_place(&s.guests[0], 1, 0);
	assert_non_null(run(&s, 30, 500000));
	for (int i = 0; i < 3; i++) {
		before = s.now_us;
		assert_non_null(run(&s, 4000, 500000));
		gap[i] = (s.now_us - before) / SEC;
	}
	assert_in_range(gap[0], 60, 80);
	assert_in_range(gap[1], 120, 150);
	assert_in_range(gap[2], 240, 270);
	scene_close(&s);
}

static void test_stays_when_it_does_not_pay(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	s.host.nodes[1].cpus = 0;
	set_place(&s.guests[0], 1, 0);
	assert_null(run(&s, 60, 2000)); /* 0.2 % of a processor */
	assert_int_equal(why(&s, 1), POL_NUMA_IDLE);
	assert_null(run(&s, 60, 15000)); /* copying 2 GiB costs more than that is spared */
	assert_int_equal(why(&s, 1), POL_NUMA_COST);
	s.host.nodes[0].free_bytes = 2 * GIB; /* the reserve is missing */
	assert_null(run(&s, 60, 500000));
	assert_int_equal(why(&s, 1), POL_NUMA_ROOM);
	s.host.nodes[0].free_bytes = POL_ABSENT;
	assert_null(run(&s, 60, 500000));
	assert_int_equal(why(&s, 1), POL_NUMA_ROOM);
	s.host.nodes[0].free_bytes = 6 * GIB;
	s.guests[0].vcpus = 8;
	assert_null(run(&s, 60, 500000));
	assert_int_equal(why(&s, 1), POL_NUMA_ROOM);
	s.guests[0].vcpus = POL_ABSENT;
	assert_non_null(run(&s, 60, 500000));
	scene_close(&s);

	/* A little that lies elsewhere is none. */
	open_scene(&s, 1);
	s.guests[0].node_bytes[0] = 200 * MIB;
	s.guests[0].node_bytes[1] = 10 * MIB;
	assert_null(run(&s, 60, 500000));
	assert_int_equal(why(&s, 1), POL_NUMA_LOCAL);
	scene_close(&s);
}

/* Files that can be dropped are room, but no place for huge pages. */
static void test_files_are_room(void **state)
{
	struct pol_node node = {.memory_bytes = 1000 * MIB, .free_bytes = 10 * MIB};
	struct scene s;

	open_scene(&s, 1);
	assert_int_equal(numa_room(&s.config, &node), 0);
	node.cache_bytes = 60 * MIB; /* of which half counts: 40 MiB are the reserve */
	assert_int_equal(numa_room(&s.config, &node), 0);
	node.cache_bytes = 500 * MIB;
	assert_int_equal(numa_room(&s.config, &node), 430 * MIB);
	node.cache_bytes = 5000 * MIB;
	assert_int_equal(numa_room(&s.config, &node), 960 * MIB);
	node.cache_bytes = POL_ABSENT;
	node.free_bytes = POL_ABSENT;
	assert_int_equal(numa_room(&s.config, &node), 0);

	s.host.nodes[1].cpus = 0;
	set_place(&s.guests[0], 1, 0);
	s.guests[0].huge_bytes = 2 * GIB;
	s.host.nodes[0].free_bytes = 400 * MIB;
	assert_null(run(&s, 20, 26000));
	assert_int_equal(why(&s, 1), POL_NUMA_ROOM);
	s.host.nodes[0].cache_bytes = 4 * GIB;
	assert_null(run(&s, 20, 26000));
	assert_int_equal(why(&s, 1), POL_NUMA_COST);
	assert_non_null(run(&s, 60, 500000));
	scene_close(&s);
}

/* Huge pages that would find no place are a cost. */
static void test_broken_huge_pages_cost(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	s.host.nodes[1].cpus = 0;
	set_place(&s.guests[0], 1, 0);
	s.guests[0].huge_bytes = 2 * GIB;
	s.host.nodes[0].free_bytes = 2 * GIB + 400 * MIB;
	assert_null(run(&s, 60, 26000));
	assert_int_equal(why(&s, 1), POL_NUMA_COST);
	s.guests[0].huge_bytes = 0;
	assert_non_null(run(&s, 60, 26000));
	scene_close(&s);
}

static void test_stands_aside(void **state)
{
	static const enum pol_numa_why bars[] = {POL_NUMA_UNKNOWN, POL_NUMA_MANAGE, POL_NUMA_BOUND,
						 POL_NUMA_PINNED,  POL_NUMA_POOL,   POL_NUMA_SPLIT,
						 POL_NUMA_BEYOND};
	struct scene s;

	open_scene(&s, 1);
	s.host.nodes[1].cpus = 0;
	set_place(&s.guests[0], 1, 0);
	for (size_t i = 0; i < sizeof(bars) / sizeof(bars[0]); i++) {
		s.guests[0].numa_bar = bars[i];
		assert_null(run(&s, 20, 500000));
		assert_int_equal(why(&s, 1), bars[i]);
		assert_int_equal(s.plan->numa, POL_NUMA_FREE);
	}
	s.guests[0].numa_bar = POL_NUMA_FREE;
	s.host.numa_balancing = 1;
	assert_null(run(&s, 20, 500000));
	assert_int_equal(why(&s, 1), POL_NUMA_BALANCING);
	assert_int_equal(s.plan->numa, POL_NUMA_BALANCING);
	s.host.numa_balancing = 2; /* tiering moves what is cold, not who runs where */
	assert_non_null(run(&s, 20, 500000));
	scene_close(&s);

	open_scene(&s, 1);
	set_place(&s.guests[0], 1, 0);
	s.config.numa_manage = false;
	pol_configure(s.pol, &s.config);
	assert_null(run(&s, 20, 500000));
	assert_int_equal(s.plan->numa, POL_NUMA_OFF);
	scene_close(&s);
}

/* One node, a node without memory, no nodes told, nothing known of the guest. */
static void test_odd_hosts(void **state)
{
	struct scene s;

	open_scene(&s, 1);
	set_place(&s.guests[0], 1, 0);
	s.host.nodes[1].memory_bytes = 0;
	assert_null(run(&s, 20, 500000));
	assert_int_equal(s.plan->numa, POL_NUMA_ONE);
	s.host.n_nodes = 1;
	assert_null(run(&s, 20, 500000));
	assert_int_equal(s.plan->numa, POL_NUMA_ONE);
	s.host.n_nodes = 0;
	assert_null(run(&s, 20, 500000));
	assert_int_equal(s.plan->numa, POL_NUMA_ONE);
	scene_close(&s);

	open_scene(&s, 1);
	set_place(&s.guests[0], 1, 0);
	s.guests[0].cpu_node = POL_ABSENT;
	assert_null(run(&s, 20, 500000));
	assert_int_equal(why(&s, 1), POL_NUMA_UNKNOWN);
	assert_int_equal(scene_view(&s, 1)->local_ppm, POL_ABSENT);
	s.guests[0].cpu_node = 0;
	for (uint32_t i = 0; i < POL_PLACE_NODES; i++)
		s.guests[0].node_bytes[i] = POL_ABSENT;
	assert_null(run(&s, 20, 500000));
	assert_int_equal(why(&s, 1), POL_NUMA_UNKNOWN);
	/* Its home has gone offline. */
	s.guests[0].node_bytes[1] = GIB;
	s.host.nodes[0].node = 5;
	assert_null(run(&s, 20, 500000));
	assert_int_equal(why(&s, 1), POL_NUMA_UNKNOWN);
	scene_close(&s);
}

/* Distances that are not told count as a hop. */
static void test_distances(void **state)
{
	struct pol_node node = {.node = 1, .distance = {31, 7, 0, POL_ABSENT, 254, 100000}};

	assert_int_equal(numa_distance(&node, 0), 31);
	assert_int_equal(numa_distance(&node, 1), 10);
	assert_int_equal(numa_distance(&node, 2), 20);
	assert_int_equal(numa_distance(&node, 3), 20);
	assert_int_equal(numa_distance(&node, 4), 254);
	assert_int_equal(numa_distance(&node, 5), 255);
	assert_int_equal(numa_distance(&node, 99), 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_comes_to_the_processors),
		cmocka_unit_test(test_processors_come_to_the_memory),
		cmocka_unit_test(test_roaming_guest_is_pinned_where_it_is),
		cmocka_unit_test(test_watched_first),
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_the_quick_go_first),
		cmocka_unit_test(test_rests_double),
		cmocka_unit_test(test_stays_when_it_does_not_pay),
		cmocka_unit_test(test_files_are_room),
		cmocka_unit_test(test_broken_huge_pages_cost),
		cmocka_unit_test(test_stands_aside),
		cmocka_unit_test(test_odd_hosts),
		cmocka_unit_test(test_distances),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
