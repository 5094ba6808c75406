// SPDX-License-Identifier: Apache-2.0
/* Moves between nodes: when they pay, when not, and what they stand aside for. */
#include <errno.h>

#include "tests/unit/policy_scene.h"

/* Two nodes of 8 GiB with four processors each, and guests of 2 GiB that take half of one. */
static void open_scene(struct scene *s, size_t n)
{
	scene_open(s, n);
	s->host.memory_bytes = 16 * GIB;
	s->host.available_bytes = s->host.free_bytes = 12 * GIB;
	s->host.numa_balancing = 0;
	s->host.n_nodes = 2;
	for (uint32_t i = 0; i < 2; i++)
		s->host.nodes[i] = (struct pol_node){
			.node = i,
			.memory_bytes = 8 * GIB,
			.free_bytes = 6 * GIB,
			.cpus = 4,
			.distance = {i ? 21 : 10, i ? 10 : 21},
		};
	for (size_t i = 0; i < n; i++) {
		struct pol_guest *g = &s->guests[i];

		g->node_bytes[0] = 2 * GIB;
		for (uint32_t k = 1; k < POL_PLACE_NODES; k++)
			g->node_bytes[k] = 0;
		g->huge_bytes = GIB;
		g->vcpus = 1;
		g->cpu_node = 0;
		g->cpu_node_ppm = PPM;
	}
}

/* All of its memory on a node, its vCPUs on another. */
static void set_place(struct pol_guest *g, uint32_t memory, uint32_t cpu)
{
	g->node_bytes[0] = g->node_bytes[1] = 0;
	g->node_bytes[memory] = 2 * GIB;
	g->cpu_node = cpu;
}

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

/* ---- where a new guest goes ---- */

static struct pol_place place(const struct scene *s, struct pol_place_want want)
{
	struct pol_place out;

	assert_int_equal(pol_place(&s->config, &s->host, &want, &out), 0);
	return out;
}

static void test_place_in_one_node(void **state)
{
	struct scene s;
	struct pol_place p;

	open_scene(&s, 1);
	s.host.nodes[1].free_bytes = 5 * GIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 4 * GIB, .cpus = 4});
	assert_int_equal(p.why, POL_PLACE_OK);
	assert_int_equal(p.nodes, 1);
	assert_int_equal(p.bytes[0], 4 * GIB);
	assert_int_equal(p.move_guest, 0);
	assert_false(p.crowded);
	/* The reserve of node 0 stays: 4 % of 8 GiB. */
	s.host.nodes[0].free_bytes = 4 * GIB + 300 * MIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 4 * GIB, .cpus = 4});
	assert_int_equal(p.nodes, 2);
	/* More processors than either has: still one node, and it is told. */
	p = place(&s, (struct pol_place_want){.memory_bytes = 4 * GIB, .cpus = 6});
	assert_int_equal(p.nodes, 2);
	assert_true(p.crowded);
	/* A node without processors comes last. */
	s.host.nodes[1].cpus = 0;
	s.host.nodes[0].free_bytes = 5 * GIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 4 * GIB, .cpus = 1});
	assert_int_equal(p.nodes, 1);
	scene_close(&s);
}

static void test_place_beside_friends(void **state)
{
	struct scene s;
	struct pol_place p;

	open_scene(&s, 2);
	set_place(&s.guests[1], 1, 1);
	s.guests[1].domain = 7;
	s.host.ksm.across_nodes = 1;
	p = place(&s,
		  (struct pol_place_want){.memory_bytes = GIB, .has_domain = true, .domain = 7});
	assert_int_equal(p.nodes, 2);
	p = place(&s, (struct pol_place_want){.memory_bytes = GIB, .partner = 1});
	assert_int_equal(p.nodes, 1);
	p = place(&s, (struct pol_place_want){.memory_bytes = GIB, .partner = 2});
	assert_int_equal(p.nodes, 2);
	/* Kept apart by nodes: not where another domain is. */
	s.host.ksm.across_nodes = 0;
	p = place(&s, (struct pol_place_want){
			      .memory_bytes = 7 * GIB, .has_domain = true, .domain = 7});
	assert_int_equal(p.nodes, 0);
	assert_int_equal(p.why, POL_PLACE_DOMAIN);
	p = place(&s,
		  (struct pol_place_want){.memory_bytes = GIB, .has_domain = true, .domain = 8});
	assert_int_equal(p.why, POL_PLACE_DOMAIN);
	scene_close(&s);
}

/* Four nodes in a ring: the fewest, and of those the nearest. */
static void test_place_over_several(void **state)
{
	struct scene s;
	struct pol_place p;

	open_scene(&s, 0);
	s.host.n_nodes = 4;
	for (uint32_t i = 0; i < 4; i++) {
		s.host.nodes[i] = (struct pol_node){
			.node = i, .memory_bytes = 8 * GIB, .free_bytes = 4 * GIB, .cpus = 4};
		for (uint32_t k = 0; k < 4; k++)
			s.host.nodes[i].distance[k] = i == k ? 10 : (i + k) % 2 ? 30 : 21;
	}
	s.host.nodes[1].free_bytes = 5 * GIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 6 * GIB, .cpus = 8});
	assert_int_equal(p.nodes, 1u << 1 | 1u << 3); /* near each other, and 1 is the roomiest */
	assert_int_equal(p.bytes[1], 3 * GIB);	      /* in equal parts, */
	assert_int_equal(p.bytes[3], 3 * GIB);
	s.host.nodes[3].free_bytes = 2 * GIB; /* as far as there is room above the reserve */
	s.host.nodes[0].free_bytes = s.host.nodes[2].free_bytes = GIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 6 * GIB + 4096, .cpus = 8});
	assert_int_equal(p.nodes, 1u << 1 | 1u << 3);
	assert_int_equal(p.bytes[3], numa_room(&s.config, &s.host.nodes[3]) / (2 * MIB) * 2 * MIB);
	assert_int_equal(p.bytes[1], 6 * GIB + 4096 - p.bytes[3]);
	s.host.nodes[0].free_bytes = s.host.nodes[2].free_bytes = 4 * GIB;
	s.host.nodes[3].free_bytes = 4 * GIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 14 * GIB, .cpus = 8});
	assert_int_equal(__builtin_popcount(p.nodes), 4);
	p = place(&s, (struct pol_place_want){.memory_bytes = 40 * GIB, .cpus = 8});
	assert_int_equal(p.why, POL_PLACE_NO_MEMORY);
	assert_int_equal(p.nodes, 0);
	assert_int_equal(p.missing_bytes, 40 * GIB - p.room_bytes);
	scene_close(&s);
}

/* What would have to move: the smallest guest that makes the room, to where there is some. */
static void test_place_by_moving(void **state)
{
	struct scene s;
	struct pol_place p;

	open_scene(&s, 3);
	set_place(&s.guests[1], 0, 0);
	s.guests[1].node_bytes[0] = GIB;
	s.host.nodes[0].free_bytes = 3 * GIB;
	s.host.nodes[1].free_bytes = 2 * GIB;
	p = place(&s, (struct pol_place_want){.memory_bytes = 3 * GIB, .cpus = 2});
	assert_int_equal(p.nodes, 3); /* meanwhile: over both */
	assert_int_equal(p.move_guest, 2);
	assert_int_equal(p.move_bytes, GIB);
	assert_int_equal(p.move_from, 0);
	assert_int_equal(p.move_to, 1);
	s.guests[1].numa_bar = POL_NUMA_BOUND;
	p = place(&s, (struct pol_place_want){.memory_bytes = 3 * GIB, .cpus = 2});
	assert_int_equal(p.move_guest, 0); /* the others have 2 GiB: more than there is room for */
	scene_close(&s);
}

static void test_place_on_pools(void **state)
{
	struct scene s;
	struct pol_place p;
	struct pol_place_want want = {
		.memory_bytes = 3 * GIB + 1, .cpus = 1, .pages = POL_PLACE_1G};

	open_scene(&s, 1);
	for (int i = 0; i < 2; i++)
		s.host.nodes[i].pool_2m_bytes = s.host.nodes[i].pool_1g_bytes = POL_ABSENT;
	p = place(&s, want);
	assert_int_equal(p.why, POL_PLACE_NO_POOL);
	s.host.nodes[1].pool_1g_bytes = 4 * GIB;
	s.host.nodes[1].free_bytes = 0; /* no matter: the pool is apart */
	p = place(&s, want);
	assert_int_equal(p.nodes, 2);
	assert_int_equal(p.bytes[1], 4 * GIB); /* whole pages */
	s.host.nodes[1].pool_1g_bytes = 3 * GIB;
	p = place(&s, want);
	assert_int_equal(p.why, POL_PLACE_NO_POOL);
	assert_int_equal(p.missing_bytes, GIB);
	scene_close(&s);
}

static void test_place_refuses(void **state)
{
	struct scene s;
	struct pol_place out;
	struct pol_place_want want = {.cpus = 1};

	open_scene(&s, 0);
	assert_int_equal(pol_place(&s.config, &s.host, &want, &out), -EINVAL);
	want.memory_bytes = GIB;
	s.host.nodes[0].cpus = s.host.nodes[1].cpus = 0;
	assert_int_equal(place(&s, want).why, POL_PLACE_NO_CPU);
	s.host.n_nodes = 0;
	assert_int_equal(pol_place(&s.config, &s.host, &want, &out), -EINVAL);
	scene_close(&s);
	for (int w = 0; w <= POL_PLACE_COUNT; w++)
		assert_true(strlen(pol_place_text((enum pol_place_why)w)) > 5);
	for (int w = 0; w <= POL_NUMA_COUNT; w++) {
		assert_true(strlen(pol_numa_text((enum pol_numa_why)w)) > 5);
		assert_true(strlen(pol_numa_name((enum pol_numa_why)w)) > 1);
	}
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
		cmocka_unit_test(test_place_in_one_node),
		cmocka_unit_test(test_place_beside_friends),
		cmocka_unit_test(test_place_over_several),
		cmocka_unit_test(test_place_by_moving),
		cmocka_unit_test(test_place_on_pools),
		cmocka_unit_test(test_place_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
