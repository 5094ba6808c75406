// SPDX-License-Identifier: Apache-2.0
/*
 * Rebalancing between NUMA nodes: does moving a guest's memory to where its vCPUs run (or both to a
 * third node) save more time than it costs? Gain and cost are microseconds of processor time:
 *
 *   gain  what the guest will be spared: its CPU time over a horizon, times the part of it that
 *         waits for memory, times how much farther its memory is than it could be (SLIT)
 *   cost  copying what has to move, and filling again the huge pages expected to break
 *
 * When nobody gains by a move, a node below its reserve is relieved: the guest that costs least to
 * move goes to another node, memory and threads.
 *
 * One move at a time, watched for a while first, with a rest behind it that doubles while moves
 * bring nothing. Where the kernel's automatic balancing, or somebody's pinning, is at work, this
 * stands aside: two movers would pull at the same pages.
 */
#include "policy/parts.h"

/* A move must have looked right for so long. */
#define WATCH_US (5 * SEC)
/* After a move of the guest; doubled while it is not where it should be. */
#define REST_FIRST_US (60 * SEC)
#define REST_LAST_US  (3600 * SEC)
/* The guest is reckoned to go on like this for so long. */
#define HORIZON_US (600 * SEC)
/* Part of a guest's CPU time that waits for memory, were all of it near. */
#define MEMORY_PPM 300000ull
/* So much local is good enough, and less to move than that is not worth it. */
#define LOCAL_PPM   980000ull
#define LEAST_BYTES (16 * MIB)
/* Less than this of a processor is idle. */
#define IDLE_PPM 10000ull
/* Copying, remapping and the faults after it: bytes per microsecond. */
#define COPY_BYTES_PER_US 1024ull
/* A move is followed by a look at what it brought. */
#define LOOK_US (2 * SEC)
/* A huge page that breaks costs this much until it is whole again. */
#define BROKEN_US  1000ull
#define HUGE_BYTES (2 * MIB)
/* It must pay by this factor. */
#define PAY_FACTOR 2
/* A node's processors are full at this, ppm of them. */
#define FULL_PPM 800000ull
/* Time constant of the CPU use. */
#define CPU_TAU_US (10 * SEC)
#define NEAR	   10ull /* SLIT: a node to itself */

uint64_t numa_waiting_us(uint64_t cpu_ppm, uint64_t span_us, uint64_t penalty_ppm)
{
	return mul_div(mul_div(cpu_ppm, span_us, PPM), mul_div(penalty_ppm, MEMORY_PPM, PPM), PPM);
}

static const struct pol_node *find_node(const struct pol_host *host, uint64_t number)
{
	for (size_t i = 0; i < host->n_nodes && i < POL_NODES_MAX; i++)
		if (host->nodes[i].node == number && number < POL_PLACE_NODES)
			return &host->nodes[i];
	return NULL;
}

/* All that is known of where it lies; 0: nothing is. */
static uint64_t placed_bytes(const struct pol_guest *in)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < POL_PLACE_NODES; i++)
		if (pol_has(in->node_bytes[i]))
			sum += bytes_in(in->node_bytes[i]);
	return sum;
}

static uint64_t bytes_on(const struct pol_guest *in, uint64_t node)
{
	return node < POL_PLACE_NODES && pol_has(in->node_bytes[node])
		       ? bytes_in(in->node_bytes[node])
		       : 0;
}

/* How much longer accesses from a node take than near ones, ppm: memory weighed by distance. */
static uint64_t penalty_from(const struct pol_guest *in, const struct pol_node *node,
			     uint64_t total)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < POL_PLACE_NODES; i++)
		sum += mul_div(mul_div(bytes_on(in, i), PPM, total), numa_distance(node, i) - NEAR,
			       NEAR);
	return sum;
}

static uint64_t home_ppm(const struct pol_guest *in)
{
	return pol_has(in->cpu_node_ppm) ? min_u64(in->cpu_node_ppm, PPM) : PPM;
}

/* The same for the guest as it runs now: partly on its home, else anywhere. */
static uint64_t penalty_now(const struct pol_host *host, const struct pol_guest *in, uint64_t total)
{
	const struct pol_node *home = find_node(host, in->cpu_node);
	uint64_t other = 0, others = 0, at_home = home_ppm(in);

	for (size_t i = 0; i < host->n_nodes && i < POL_NODES_MAX; i++) {
		const struct pol_node *node = &host->nodes[i];

		if (!node->cpus || node->node >= POL_PLACE_NODES || node == home)
			continue;
		other += penalty_from(in, node, total);
		others++;
	}
	other = others ? other / others : 0;
	return mul_div(penalty_from(in, home, total), at_home, PPM) +
	       mul_div(other, PPM - at_home, PPM);
}

/* Of its accesses, ppm: vCPUs off their home find what lies elsewhere near as often as not. */
static uint64_t local_ppm(const struct pol_host *host, const struct pol_guest *in, uint64_t total)
{
	uint64_t here = mul_div(bytes_on(in, in->cpu_node), PPM, total), at_home = home_ppm(in);
	uint64_t others = 0;

	for (size_t i = 0; i < host->n_nodes && i < POL_NODES_MAX; i++)
		others += host->nodes[i].cpus && host->nodes[i].node != in->cpu_node;
	return mul_div(here, at_home, PPM) +
	       (others ? mul_div(PPM - here, PPM - at_home, PPM) / others : 0);
}

static void follow_cpu(const struct now_host *tick, struct now_guest *guest)
{
	struct numa_past *past = &guest->past->numa;
	uint64_t cpu = guest->in->cpu_us, dt_us = tick->now_us - past->at_us;

	if (pol_has(cpu) && past->at_us && cpu >= past->cpu_us && dt_us) {
		uint64_t ppm = min_u64(mul_div(cpu - past->cpu_us, PPM, dt_us), 4096 * PPM);
		uint64_t gap = ppm > past->cpu_ppm ? ppm - past->cpu_ppm : past->cpu_ppm - ppm;
		uint64_t part = mul_div(gap, min_u64(dt_us, CPU_TAU_US), CPU_TAU_US);

		if (!past->cpu_ppm) /* the first, or the end of idleness */
			part = gap;
		past->cpu_ppm = ppm > past->cpu_ppm ? past->cpu_ppm + part : past->cpu_ppm - part;
	}
	past->at_us = pol_has(cpu) ? tick->now_us : 0;
	past->cpu_us = cpu;
}

/* ---- one guest ---- */

struct move {
	struct now_guest *guest;
	const struct pol_node *to;
	uint64_t bytes, gain_us, cost_us;
};

static bool pays(const struct move *move)
{
	return move->gain_us / PAY_FACTOR >= move->cost_us || FAULT(numa_pays);
}

static bool is_better(const struct move *a, const struct move *b)
{
	return sub_sat(a->gain_us, a->cost_us) > sub_sat(b->gain_us, b->cost_us);
}

/* What it takes: to look at what came of it, and to move at a fourth of the rate, for it rests. */
static uint64_t time_of(const struct pol *pol, const struct move *move)
{
	return LOOK_US + mul_div(move->bytes, 4 * SEC, max_u64(pol->config.numa_bytes_per_s, MIB));
}

/*
 * Of two guests, one after the other: first who gains more in the time that it takes, so that
 * nobody whose threads alone have to move waits for another one's memory.
 */
static bool goes_first(const struct pol *pol, const struct move *a, const struct move *b)
{
	return (unsigned __int128)sub_sat(a->gain_us, a->cost_us) * time_of(pol, b) >
	       (unsigned __int128)sub_sat(b->gain_us, b->cost_us) * time_of(pol, a);
}

/* It could as well run elsewhere: its memory does not hold it where it runs, and nobody else does.
 */
static bool is_loose(const struct now_guest *guest)
{
	uint64_t local = guest->past->numa.local_ppm;

	return guest->in->numa_bar == POL_NUMA_FREE && !guest->in->numa_moving && pol_has(local) &&
	       local < LOCAL_PPM;
}

/* What of a node's load is the guest's: where it belongs, all that it takes. */
static uint64_t own_load(const struct now_guest *guest, uint64_t node)
{
	return guest->in->cpu_node == node && !is_loose(guest) ? guest->past->numa.cpu_ppm : 0;
}

/* The guest begins to count where it runs, and ceases to. */
static void add_load(struct pol *pol, const struct now_guest *guest)
{
	uint64_t node = guest->in->cpu_node;

	if (node < POL_PLACE_NODES)
		pol->tick.node_load[node] += own_load(guest, node);
}

static void drop_load(struct pol *pol, const struct now_guest *guest)
{
	uint64_t node = guest->in->cpu_node;

	if (node < POL_PLACE_NODES)
		pol->tick.node_load[node] -= own_load(guest, node);
}

/* Processor time on a node, ppm of one, by the guests that belong there but this one. */
static uint64_t load_on(const struct pol *pol, uint32_t node, const struct now_guest *but)
{
	return pol->tick.node_load[node] - own_load(but, node);
}

/*
 * May all of its vCPUs run there? Where they are already they do; elsewhere if the node is not full
 * then, or at least no more crowded by others than their home.
 */
static bool has_processors(const struct pol *pol, const struct pol_host *host,
			   const struct now_guest *guest, const struct pol_node *node)
{
	const struct pol_node *home = find_node(host, guest->in->cpu_node);
	uint64_t cpus = min_u64(node->cpus, 65536),
		 home_cpus = home ? min_u64(home->cpus, 65536) : 0;
	uint64_t load;

	if (!cpus || (pol_has(guest->in->vcpus) && guest->in->vcpus > cpus))
		return false;
	if (node == home || FAULT(numa_crowd))
		return true;
	load = load_on(pol, node->node, guest);
	return load + guest->past->numa.cpu_ppm <= cpus * FULL_PPM ||
	       (home && load * home_cpus <= load_on(pol, home->node, guest) * cpus);
}

/* Copying, and huge pages of the guest that have to move and will find no place. */
static uint64_t cost_of(const struct pol *pol, const struct pol_guest *in,
			const struct pol_node *to, uint64_t total, uint64_t bytes)
{
	uint64_t huge = pol_has(in->huge_bytes) ? bytes_in(in->huge_bytes) : 0;
	uint64_t room = numa_free_room(&pol->config, to);

	huge = mul_div(min_u64(huge, total), bytes, total);
	/* A node that is nearly full afterwards has hardly a huge page left, nor has one of files.
	 */
	return bytes / COPY_BYTES_PER_US +
	       sub_sat(huge, sub_sat(room, bytes)) / HUGE_BYTES * BROKEN_US;
}

/* The best node for it; to NULL: none has room. */
static struct move best_move(const struct pol *pol, const struct pol_host *host,
			     struct now_guest *guest, uint64_t total)
{
	struct move best = {.guest = guest};
	uint64_t gain = numa_waiting_us(guest->past->numa.cpu_ppm, HORIZON_US,
					penalty_now(host, guest->in, total));

	for (size_t i = 0; i < host->n_nodes && i < POL_NODES_MAX; i++) {
		const struct pol_node *node = &host->nodes[i];
		uint64_t bytes = total - bytes_on(guest->in, node->node);
		uint64_t room = numa_room(&pol->config, node);
		struct move move = {.guest = guest, .to = node, .bytes = bytes, .gain_us = gain};

		if (node->node >= POL_PLACE_NODES || (bytes > room && !FAULT(numa_room)) ||
		    !has_processors(pol, host, guest, node))
			continue;
		move.cost_us = cost_of(pol, guest->in, node, total, bytes);
		if (!best.to || is_better(&move, &best))
			best = move;
	}
	return best;
}

/* How near its memory is: with that it may become loose, or no longer be. */
static void look(struct pol *pol, const struct pol_host *host, struct now_guest *guest,
		 uint64_t total)
{
	const struct pol_guest *in = guest->in;
	struct numa_past *past = &guest->past->numa;

	drop_load(pol, guest);
	past->local_ppm = POL_ABSENT;
	/* What lies on nodes beyond is not known here. */
	if (total && find_node(host, in->cpu_node) && in->numa_bar != POL_NUMA_BEYOND)
		past->local_ppm = local_ppm(host, in, total);
	add_load(pol, guest);
}

/* Why the guest stays, or POL_NUMA_WATCH with *ret_move: what would pay. host_bar: why all do. */
static enum pol_numa_why judge(struct pol *pol, const struct pol_host *host,
			       struct now_guest *guest, enum pol_numa_why host_bar,
			       struct move *ret_move)
{
	const struct pol_guest *in = guest->in;
	struct numa_past *past = &guest->past->numa;
	uint64_t total = placed_bytes(in);

	look(pol, host, guest, total);
	if (in->numa_moving)
		return POL_NUMA_MOVING;
	if (in->numa_bar != POL_NUMA_FREE && !FAULT(numa_bar))
		return in->numa_bar <= POL_NUMA_BEYOND ? in->numa_bar : POL_NUMA_UNKNOWN;
	if (!pol_has(past->local_ppm))
		return POL_NUMA_UNKNOWN;
	if (past->local_ppm >= LOCAL_PPM ||
	    (home_ppm(in) >= LOCAL_PPM && total - bytes_on(in, in->cpu_node) < LEAST_BYTES)) {
		past->backoff_us = 0;
		return POL_NUMA_LOCAL;
	}
	if (host_bar != POL_NUMA_FREE)
		return host_bar;
	if (past->cpu_ppm < IDLE_PPM && !FAULT(numa_idle))
		return POL_NUMA_IDLE;
	if (pol->tick.now_us < past->rest_us && !FAULT(numa_rest))
		return POL_NUMA_REST;
	*ret_move = best_move(pol, host, guest, total);
	if (!ret_move->to)
		return POL_NUMA_ROOM;
	return pays(ret_move) ? POL_NUMA_WATCH : POL_NUMA_COST;
}

/* ---- all of them ---- */

static enum pol_numa_why host_bar(const struct pol *pol, const struct pol_host *host)
{
	size_t with_memory = 0;

	for (size_t i = 0; i < host->n_nodes && i < POL_NODES_MAX; i++)
		with_memory +=
			pol_has(host->nodes[i].memory_bytes) && host->nodes[i].memory_bytes > 0;
	if (!pol->config.numa_manage)
		return POL_NUMA_OFF;
	if (with_memory < 2)
		return POL_NUMA_ONE;
	if (pol_has(host->numa_balancing) && host->numa_balancing & 1 && !FAULT(numa_balancing))
		return POL_NUMA_BALANCING;
	return POL_NUMA_FREE;
}

static void order(struct pol *pol, const struct move *move, enum pol_reason reason)
{
	struct numa_past *past = &move->guest->past->numa;
	const struct pol_guest *in = move->guest->in;
	struct pol_action *action =
		plan_add(pol, move->guest, POL_NUMA_MOVE, reason, POL_RUNG_NONE);

	for (uint32_t i = 0; i < POL_PLACE_NODES; i++)
		if (i != move->to->node && bytes_on(in, i))
			action->from |= 1ull << i;
	action->to = move->to->node;
	action->to2 = move->bytes;
	action->to3 = pol->config.numa_bytes_per_s;
	action->gain_us = move->gain_us;
	action->cost_us = move->cost_us;
	past->backoff_us = clamp_u64(2 * past->backoff_us, REST_FIRST_US, REST_LAST_US);
	/* What the move itself takes comes on top. */
	past->rest_us = pol->tick.now_us + past->backoff_us +
			mul_div(move->bytes, SEC, max_u64(pol->config.numa_bytes_per_s, MIB));
	past->watched = false;
	past->why = POL_NUMA_MOVING;
}

/* ---- nodes below their reserve ---- */

static bool may_leave(const struct pol *pol, const struct now_guest *guest)
{
	return guest->in->numa_bar == POL_NUMA_FREE && !guest->in->numa_moving &&
	       pol_has(guest->past->numa.local_ppm) &&
	       pol->tick.now_us >= guest->past->numa.rest_us;
}

/* Where the guest could go for the node's sake: with the fewest bytes, then to the roomiest. */
static struct move leave_move(const struct pol *pol, const struct pol_host *host,
			      struct now_guest *guest, const struct pol_node *from, uint64_t most)
{
	struct move best = {.guest = guest, .bytes = most};
	uint64_t total = placed_bytes(guest->in), best_room = 0;

	for (size_t i = 0; i < host->n_nodes && i < POL_NODES_MAX; i++) {
		const struct pol_node *node = &host->nodes[i];
		uint64_t bytes = total - bytes_on(guest->in, node->node);
		uint64_t room = numa_room(&pol->config, node);

		if (node == from || node->node >= POL_PLACE_NODES ||
		    (bytes > room && !FAULT(numa_relief_room)) || bytes > best.bytes ||
		    (bytes == best.bytes && room <= best_room) ||
		    !has_processors(pol, host, guest, node))
			continue;
		best.to = node;
		best.bytes = bytes;
		best_room = room;
		best.cost_us = cost_of(pol, guest->in, node, total, bytes);
	}
	return best;
}

/* The guest that gives a node most of what it lacks, and of those the one with least to move. */
static struct move best_relief(const struct pol *pol, const struct pol_host *host)
{
	struct move best = {0};
	uint64_t best_given = 0;

	for (size_t n = 0; n < host->n_nodes && n < POL_NODES_MAX; n++) {
		const struct pol_node *node = &host->nodes[n];
		uint64_t lack = numa_lack(&pol->config, node);

		for (size_t i = 0; i < pol->n_now && lack; i++) {
			struct now_guest *guest = &pol->now[i];
			uint64_t given = min_u64(bytes_on(guest->in, node->node), lack);
			struct move move;

			if (given < min_u64(lack, LEAST_BYTES) || given < best_given ||
			    !may_leave(pol, guest))
				continue;
			move = leave_move(pol, host, guest, node,
					  given == best_given ? best.bytes : BYTES_MAX);
			if (!move.to || (given == best_given && move.bytes >= best.bytes))
				continue;
			best = move;
			best_given = given;
		}
	}
	return best;
}

static void relieve(struct pol *pol, const struct pol_host *host, bool is_time)
{
	struct move move = {0};
	struct numa_past *past;

	if (is_time)
		move = best_relief(pol, host);
	for (size_t i = 0; i < pol->n_now; i++)
		if (&pol->now[i] != move.guest)
			pol->now[i].past->numa.spare_us = 0;
	if (!move.guest)
		return;
	past = &move.guest->past->numa;
	if (!past->spare_us)
		past->spare_us = pol->tick.now_us;
	if (pol->tick.now_us - past->spare_us < WATCH_US && !FAULT(numa_relief_watch))
		return;
	past->spare_us = 0;
	order(pol, &move, POL_WHY_NUMA_RESERVE);
}

void numa_decide(struct pol *pol, const struct pol_host *host)
{
	enum pol_numa_why bar = host_bar(pol, host);
	struct move best = {0};
	bool busy = false, watching = false;

	pol->plan.numa = bar;
	for (size_t i = 0; i < pol->n_now; i++) {
		follow_cpu(&pol->tick, &pol->now[i]);
		add_load(pol, &pol->now[i]);
		busy |= pol->now[i].in->numa_moving && !FAULT(numa_turn);
	}
	for (size_t i = 0; i < pol->n_now; i++) {
		struct now_guest *guest = &pol->now[i];
		struct numa_past *past = &guest->past->numa;
		struct move move = {0};

		past->why = judge(pol, host, guest, bar, &move);
		if (bar != POL_NUMA_FREE)
			past->why = bar;
		if (past->why != POL_NUMA_WATCH) {
			past->watched = false;
			continue;
		}
		watching = true;
		if (!past->watched || past->to != move.to->node) {
			past->watched = true;
			past->to = move.to->node;
			past->since_us = pol->tick.now_us;
		}
		if (busy)
			past->why = POL_NUMA_TURN;
		else if ((pol->tick.now_us - past->since_us >= WATCH_US || FAULT(numa_watch)) &&
			 (!best.to || goes_first(pol, &move, &best)))
			best = move;
	}
	if (best.to)
		order(pol, &best, POL_WHY_NUMA_REMOTE);
	relieve(pol, host, bar == POL_NUMA_FREE && !busy && !watching);
}
