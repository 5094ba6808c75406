// SPDX-License-Identifier: Apache-2.0
/*
 * A whole host settles: guests started in the worst order, moves carried out as they are ordered,
 * each taking its time; and nodes below their reserve.
 */
#include "tests/unit/policy_scene.h"

#define NODES  4
#define NODE   (1700 * MIB) /* of memory, of which the rest of the host has 100 MiB */
#define OTHERS (100 * MIB)
#define CPU_US 550000 /* that a guest takes of a second */
#define RATE   (64 * MIB)
#define ROAM_S 15

struct world {
	struct scene s;
	uint64_t until_us; /* the move under way takes so long */
	struct pol_action move;
	uint64_t moved, last_us; /* bytes, when the last move began */
	unsigned int moves;
};

static uint64_t sum_of(const struct pol_guest *g)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < NODES; i++)
		sum += g->node_bytes[i];
	return sum;
}

static void count_free(struct scene *s)
{
	for (uint32_t i = 0; i < NODES; i++) {
		s->host.nodes[i].free_bytes = NODE - OTHERS;
		for (size_t g = 0; g < s->host.n_guests; g++)
			s->host.nodes[i].free_bytes -= s->guests[g].node_bytes[i];
	}
}

/* The nodes of the host, two processors each, and n guests that are nowhere yet. */
static void open_world(struct world *w, size_t n)
{
	struct scene *s = &w->s;

	*w = (struct world){0};
	scene_open(s, n);
	s->host.memory_bytes = NODES * NODE;
	s->host.numa_balancing = 0;
	s->host.n_nodes = NODES;
	for (uint32_t i = 0; i < NODES; i++) {
		s->host.nodes[i] = (struct pol_node){.node = i, .memory_bytes = NODE, .cpus = 2};
		for (uint32_t k = 0; k < NODES; k++)
			s->host.nodes[i].distance[k] = i == k ? 10 : 20;
	}
	for (size_t i = 0; i < n; i++) {
		memset(s->guests[i].node_bytes, 0, sizeof(s->guests[i].node_bytes));
		s->guests[i].vcpus = 1;
		s->guests[i].cpu_us = 0;
	}
}

/* Memory comes from the first node that has some. */
static void start_guest(struct world *w, size_t i, uint64_t bytes, uint32_t cpu_node)
{
	struct pol_guest *g = &w->s.guests[i];

	for (uint32_t n = 0; n < NODES && bytes; n++) {
		uint64_t part;

		count_free(&w->s);
		part = min_u64(bytes, w->s.host.nodes[n].free_bytes);
		g->node_bytes[n] = part;
		bytes -= part;
	}
	assert_int_equal(bytes, 0);
	g->huge_bytes = sum_of(g);
	g->cpu_node = cpu_node;
	g->cpu_node_ppm = 600000; /* they roam */
}

static void begin(struct world *w, const struct pol_action *move)
{
	w->move = *move;
	w->until_us = w->s.now_us + SEC + mul_div(move->to2, SEC, RATE);
	w->moved += move->to2;
	w->last_us = w->s.now_us;
	w->moves++;
	scene_find(&w->s, move->guest)->numa_moving = true;
}

static void end(struct world *w)
{
	struct pol_guest *g = scene_find(&w->s, w->move.guest);
	uint64_t all = sum_of(g);

	memset(g->node_bytes, 0, sizeof(g->node_bytes));
	g->node_bytes[w->move.to] = all;
	g->cpu_node = w->move.to;
	g->cpu_node_ppm = PPM;
	g->numa_moving = false;
	w->until_us = 0;
}

/* Who has not been brought anywhere is run now here, now there. */
static void roam(struct scene *s)
{
	for (size_t i = 0; i < s->host.n_guests; i++)
		if (s->guests[i].cpu_node_ppm < PPM && !s->guests[i].numa_moving)
			s->guests[i].cpu_node = (s->now_us / (ROAM_S * SEC) + i) % NODES;
}

static void run(struct world *w, unsigned int seconds)
{
	struct scene *s = &w->s;

	while (seconds--) {
		const struct pol_action *move;

		for (size_t i = 0; i < s->host.n_guests; i++)
			s->guests[i].cpu_us += CPU_US;
		if (w->until_us && s->now_us >= w->until_us)
			end(w);
		roam(s);
		count_free(s);
		scene_step(s);
		move = scene_kind(s, POL_NUMA_MOVE);
		if (move)
			begin(w, move);
	}
}

static uint64_t local_ppm(const struct world *w)
{
	uint64_t near = 0, all = 0;

	for (size_t i = 0; i < w->s.host.n_guests; i++) {
		const struct pol_guest *g = &w->s.guests[i];

		near += mul_div(g->node_bytes[g->cpu_node], g->cpu_node_ppm, PPM);
		all += sum_of(g);
	}
	return mul_div(near, PPM, all);
}

static size_t below_reserve(const struct world *w)
{
	size_t n = 0;

	for (uint32_t i = 0; i < NODES; i++)
		n += numa_room(&w->s.config, &w->s.host.nodes[i]) == 0;
	return n;
}

static void print_world(const struct world *w)
{
	for (size_t i = 0; i < w->s.host.n_guests; i++) {
		const struct pol_guest *g = &w->s.guests[i];

		print_message("guest %zu: on", i + 1);
		for (uint32_t n = 0; n < NODES; n++)
			print_message(" %llu", (unsigned long long)(g->node_bytes[n] / MIB));
		print_message(" MiB, runs on %llu, %s\n", (unsigned long long)g->cpu_node,
			      pol_numa_name(scene_view(&w->s, g->id)->numa));
	}
}

/* The smallest first, all from node 0 on: full nodes, guests over two of them, an empty one. */
static void test_worst_order(void **state)
{
	static const uint64_t sizes[] = {320, 320, 320, 320, 320, 384,
					 384, 384, 448, 448, 512, 640};
	enum { N = sizeof(sizes) / sizeof(sizes[0]) };
	struct world w;
	unsigned int before;
	uint64_t start_us;

	open_world(&w, N);
	for (size_t i = 0; i < N; i++)
		start_guest(&w, i, sizes[i] * MIB, 3 - i % 3);
	count_free(&w.s);
	start_us = w.s.now_us;
	assert_true(local_ppm(&w) < 400000);
	assert_int_equal(below_reserve(&w), 3);
	run(&w, 180);
	if (local_ppm(&w) < 950000 || below_reserve(&w))
		print_world(&w);
	print_message("%u moves, %llu MiB, the last after %llu s\n", w.moves,
		      (unsigned long long)(w.moved / MIB),
		      (unsigned long long)((w.last_us - start_us) / SEC));
	assert_true(local_ppm(&w) >= 950000);
	assert_int_equal(below_reserve(&w), 0);
	/* What has to go to the empty node, and little more. */
	assert_in_range(w.moved / MIB, 300, 2400);
	/* And then there is peace. */
	before = w.moves;
	run(&w, 1200);
	assert_int_equal(w.moves, before);
	scene_close(&w.s);
}

/* ---- nodes below their reserve ---- */

/* Three guests at home on node 0, which is full but for 20 MiB; the second is the smallest. */
static void open_full(struct world *w)
{
	static const uint64_t sizes[] = {600, 380, 600};

	open_world(w, 3);
	for (size_t i = 0; i < 3; i++) {
		start_guest(w, i, sizes[i] * MIB, 0);
		w->s.guests[i].cpu_node_ppm = PPM;
	}
	count_free(&w->s);
}

/* Without carrying anything out. */
static const struct pol_action *wait_for_move(struct world *w, unsigned int seconds)
{
	const struct pol_action *move = NULL;

	while (seconds-- && !move) {
		for (size_t i = 0; i < w->s.host.n_guests; i++)
			w->s.guests[i].cpu_us += 100000;
		scene_step(&w->s);
		move = scene_kind(&w->s, POL_NUMA_MOVE);
	}
	return move;
}

static void test_the_cheapest_leaves(void **state)
{
	struct world w;
	const struct pol_action *move;

	open_full(&w);
	w.s.host.nodes[3].free_bytes -= MIB; /* so that 1 is the roomiest, and the first */
	assert_null(wait_for_move(&w, 5));
	move = wait_for_move(&w, 2);
	assert_non_null(move);
	assert_int_equal(move->reason, POL_WHY_NUMA_RESERVE);
	assert_int_equal(move->guest, 2);
	assert_int_equal(move->from, 1);
	assert_int_equal(move->to, 1);
	assert_int_equal(move->to2, 380 * MIB);
	assert_int_equal(move->gain_us, 0);
	assert_true(move->cost_us > 0);
	begin(&w, move);
	run(&w, 300);
	assert_int_equal(w.moves, 1);
	assert_int_equal(below_reserve(&w), 0);
	scene_close(&w.s);

	/* One that nobody wants to move stays; then the next smallest, to the roomiest node. */
	open_full(&w);
	w.s.guests[1].numa_bar = POL_NUMA_BOUND;
	w.s.host.nodes[1].free_bytes = GIB;
	w.s.host.nodes[2].free_bytes = 1400 * MIB;
	w.s.host.nodes[3].free_bytes = 0;
	move = wait_for_move(&w, 10);
	assert_non_null(move);
	assert_int_equal(move->guest, 1);
	assert_int_equal(move->to, 2);
	scene_close(&w.s);

	/* Who gives all that is missing comes before who gives less for less. */
	open_full(&w);
	w.s.guests[1].node_bytes[0] = 30 * MIB;
	w.s.host.nodes[0].free_bytes = 0;
	move = wait_for_move(&w, 10);
	assert_non_null(move);
	assert_int_equal(move->guest, 1);
	scene_close(&w.s);
}

static void test_nobody_leaves(void **state)
{
	struct world w;

	/* Files can be dropped. */
	open_full(&w);
	w.s.host.nodes[0].cache_bytes = 200 * MIB;
	assert_null(wait_for_move(&w, 20));
	w.s.host.nodes[0].cache_bytes = POL_ABSENT;
	assert_non_null(wait_for_move(&w, 20));
	scene_close(&w.s);

	/* No node has room and its own reserve. */
	open_full(&w);
	for (uint32_t i = 1; i < NODES; i++)
		w.s.host.nodes[i].free_bytes = 400 * MIB;
	assert_null(wait_for_move(&w, 20));
	w.s.host.nodes[2].free_bytes = 500 * MIB;
	assert_non_null(wait_for_move(&w, 20));
	scene_close(&w.s);

	/* Not while another one is moved, and not at once behind it. */
	open_full(&w);
	w.s.guests[0].numa_moving = true;
	assert_null(wait_for_move(&w, 20));
	w.s.guests[0].numa_moving = false;
	assert_null(wait_for_move(&w, 5));
	assert_non_null(wait_for_move(&w, 2));
	scene_close(&w.s);

	/* Nor where nothing is moved, or what a node has is not known. */
	open_full(&w);
	w.s.host.numa_balancing = 1;
	assert_null(wait_for_move(&w, 20));
	w.s.host.numa_balancing = 0;
	w.s.host.nodes[0].free_bytes = POL_ABSENT;
	assert_null(wait_for_move(&w, 20));
	scene_close(&w.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_worst_order),
		cmocka_unit_test(test_the_cheapest_leaves),
		cmocka_unit_test(test_nobody_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
