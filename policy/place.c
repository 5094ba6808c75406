// SPDX-License-Identifier: Apache-2.0
/*
 * Where a new guest goes. Every set of nodes is tried (at most 255 of them): the smallest that has
 * room is best, then one with enough processors, then the nearest together, then the one in the
 * company of its sharing partner or its trust domain, then the roomiest.
 */
#include <errno.h>

#include "policy/parts.h"

#define SETS (1u << POL_PLACE_NODES)

struct places {
	const struct pol_config *config;
	const struct pol_host *host;
	const struct pol_place_want *want;
	const struct pol_node *nodes[POL_PLACE_NODES]; /* by number, NULL: not there */
	uint64_t room[POL_PLACE_NODES];		       /* what of it can be used */
	uint64_t friends[POL_PLACE_NODES];	       /* bytes of guests whose company is wanted */
	bool barred[POL_PLACE_NODES];		       /* guests of other trust domains are there */
};

struct rank {
	unsigned int n_nodes;
	bool crowded;
	uint64_t distance, friends, room;
};

const char *pol_place_text(enum pol_place_why why)
{
	switch (why) {
	case POL_PLACE_OK:
		return "it fits";
	case POL_PLACE_NO_MEMORY:
		return "the nodes have not so much memory free above their reserves";
	case POL_PLACE_NO_POOL:
		return "the nodes' pools of that page size have not so much free";
	case POL_PLACE_NO_CPU:
		return "no node that is known has a processor";
	case POL_PLACE_DOMAIN:
		return "what is free lies on nodes with guests of other trust domains, which are "
		       "kept apart by nodes";
	default:
		return "unknown";
	}
}

static uint64_t page_bytes(enum pol_place_pages pages)
{
	return pages == POL_PLACE_1G ? GIB : pages == POL_PLACE_2M ? 2 * MIB : PAGE;
}

static uint64_t room_of(const struct places *p, const struct pol_node *node)
{
	uint64_t pool = p->want->pages == POL_PLACE_1G ? node->pool_1g_bytes : node->pool_2m_bytes;

	if (p->want->pages == POL_PLACE_SMALL)
		return numa_room(p->config, node);
	return pol_has(pool)
		       ? bytes_in(pool) / page_bytes(p->want->pages) * page_bytes(p->want->pages)
		       : 0;
}

static uint64_t on_node(const struct pol_guest *guest, uint32_t node)
{
	return pol_has(guest->node_bytes[node]) ? bytes_in(guest->node_bytes[node]) : 0;
}

static void look(struct places *p)
{
	const struct pol_host *host = p->host;

	for (size_t i = 0; i < host->n_nodes && i < POL_NODES_MAX; i++) {
		const struct pol_node *node = &host->nodes[i];

		if (node->node >= POL_PLACE_NODES)
			continue;
		p->nodes[node->node] = node;
		p->room[node->node] = room_of(p, node);
	}
	for (size_t g = 0; g < host->n_guests; g++) {
		const struct pol_guest *guest = &host->guests[g];
		bool other = p->want->has_domain && guest->domain != p->want->domain;
		bool friend = guest->id == p->want->partner ||
			      (p->want->has_domain && !other && !p->want->partner);

		for (uint32_t n = 0; n < POL_PLACE_NODES; n++) {
			uint64_t bytes = on_node(guest, n);

			if (friend)
				p->friends[n] = add_sat(p->friends[n], bytes);
			/* Only where KSM merges within nodes do nodes keep domains apart. */
			if (other && host->ksm.across_nodes == 0 && bytes >= MIB &&
			    !FAULT(place_domain))
				p->barred[n] = true;
		}
	}
}

static struct rank rank_of(const struct places *p, unsigned int set)
{
	struct rank rank = {0};
	uint64_t cpus = 0;

	for (uint32_t a = 0; a < POL_PLACE_NODES; a++) {
		if (!(set & 1u << a))
			continue;
		rank.n_nodes++;
		rank.room = add_sat(rank.room, p->room[a]);
		rank.friends = add_sat(rank.friends, p->friends[a]);
		cpus += min_u64(p->nodes[a]->cpus, 65536);
		for (uint32_t b = 0; b < POL_PLACE_NODES; b++)
			if (set & 1u << b)
				rank.distance += numa_distance(p->nodes[a], b);
	}
	rank.crowded = p->want->cpus > cpus;
	return rank;
}

/* Is a before b? */
static bool goes_before(const struct rank *a, const struct rank *b)
{
	if (a->n_nodes != b->n_nodes)
		return a->n_nodes < b->n_nodes;
	if (a->crowded != b->crowded)
		return b->crowded;
	if (a->distance != b->distance)
		return a->distance < b->distance;
	if (a->friends != b->friends)
		return a->friends > b->friends;
	return a->room > b->room;
}

/* Nodes that exist, are allowed and can give anything. */
static unsigned int usable(const struct places *p, bool with_barred)
{
	unsigned int set = 0;

	for (uint32_t n = 0; n < POL_PLACE_NODES; n++)
		if (p->nodes[n] && p->room[n] && (with_barred || !p->barred[n]))
			set |= 1u << n;
	return set;
}

static uint64_t room_in(const struct places *p, unsigned int set)
{
	uint64_t sum = 0;

	for (uint32_t n = 0; n < POL_PLACE_NODES; n++)
		if (set & 1u << n)
			sum = add_sat(sum, p->room[n]);
	return sum;
}

/*
 * In equal parts, since vCPUs are dealt to a guest's nodes so, and in whole huge pages; what a node
 * with less room lacks the others take, the roomiest last.
 */
static void fill(const struct places *p, uint64_t need, struct pol_place *place)
{
	uint64_t unit = max_u64(page_bytes(p->want->pages), 2 * MIB);
	unsigned int left = place->nodes;

	while (left && need) {
		uint32_t least = (uint32_t)__builtin_ctz(left);
		uint64_t part = round_up(need / (unsigned int)__builtin_popcount(left), unit);

		for (uint32_t n = least; n < POL_PLACE_NODES; n++)
			if (left & 1u << n && p->room[n] < p->room[least])
				least = n;
		left &= ~(1u << least);
		if (left)
			part = min_u64(part, p->room[least] / unit * unit);
		place->bytes[least] = left ? min_u64(need, part) : need;
		need -= place->bytes[least];
		if (!place->bytes[least])
			place->nodes &= ~(1u << least);
	}
}

/* ---- what would have to move ---- */

/* The smallest guest whose move makes room in one node, to a node that has room for it. */
static void find_move(const struct places *p, uint64_t need, struct pol_place *place)
{
	unsigned int set = usable(p, false);

	for (uint32_t n = 0; n < POL_PLACE_NODES; n++) {
		uint64_t missing = need - min_u64(need, p->room[n]);

		if (!(set & 1u << n) || !p->nodes[n] || !p->nodes[n]->cpus)
			continue;
		for (size_t g = 0; g < p->host->n_guests; g++) {
			const struct pol_guest *guest = &p->host->guests[g];
			uint64_t bytes = on_node(guest, n);

			if (guest->numa_bar != POL_NUMA_FREE || bytes < missing ||
			    (place->move_guest && bytes >= place->move_bytes))
				continue;
			for (uint32_t to = 0; to < POL_PLACE_NODES; to++) {
				if (to == n || !p->nodes[to] || !p->nodes[to]->cpus ||
				    p->room[to] < bytes)
					continue;
				place->move_guest = guest->id;
				place->move_bytes = bytes;
				place->move_from = n;
				place->move_to = to;
				break;
			}
		}
	}
}

static enum pol_place_why why_not(const struct places *p, uint64_t need)
{
	if (room_in(p, usable(p, true)) >= need)
		return POL_PLACE_DOMAIN;
	return p->want->pages == POL_PLACE_SMALL ? POL_PLACE_NO_MEMORY : POL_PLACE_NO_POOL;
}

int pol_place(const struct pol_config *config, const struct pol_host *host,
	      const struct pol_place_want *want, struct pol_place *ret_place)
{
	struct places p = {.config = config, .host = host, .want = want};
	struct pol_place place = {0};
	struct rank best = {0};
	uint64_t need = bytes_in(want->memory_bytes);
	unsigned int set;
	bool any_cpu = false;

	if (!want->memory_bytes || !pol_has(want->memory_bytes) || !host->n_nodes)
		return -EINVAL;
	need = round_up(need, page_bytes(want->pages));
	look(&p);
	set = usable(&p, false);
	place.room_bytes = room_in(&p, set);
	for (unsigned int s = 1; s < SETS; s++) {
		struct rank rank;

		if (s & ~set)
			continue;
		rank = rank_of(&p, s);
		if ((rank.room < need && !FAULT(place_room)) ||
		    (place.nodes && !goes_before(&rank, &best)))
			continue;
		best = rank;
		place.nodes = s;
	}
	for (uint32_t n = 0; n < POL_PLACE_NODES; n++)
		any_cpu |= p.nodes[n] && p.nodes[n]->cpus;
	place.crowded = place.nodes && best.crowded;
	if (!any_cpu) {
		place.why = POL_PLACE_NO_CPU;
		place.nodes = 0;
	} else if (!place.nodes) {
		place.why = why_not(&p, need);
		place.missing_bytes = sub_sat(need, place.room_bytes);
	}
	fill(&p, need, &place);
	if (best.n_nodes != 1 && want->pages == POL_PLACE_SMALL && any_cpu)
		find_move(&p, need, &place);
	*ret_place = place;
	return 0;
}
