// SPDX-License-Identifier: Apache-2.0
/*
 * Pools of huge pages are memory that nothing else can use, so they are as large as need is:
 *
 *   while the host has memory   as they were found, or larger by what is in use and by what the
 *                               guest at the head of the queue lacks
 *   while it is short           what is in use, reserved, or about to be taken
 *
 * One guest at a time has the pools of a page size enlarged for it: the largest one that waits is
 * then the most that is ever held ready. Where the kernel gives fewer pages than asked, memory
 * there is in pieces: other nodes are tried for a guest that is not bound, else a growing pause is
 * made.
 */
#include "policy/pool.h"

#include "policy/parts.h"

/* A pool that is larger than it need be shrinks after so long, one that was taken from grows. */
#define EXCESS_US (30 * SEC)
#define LACK_US	  (60 * SEC)
/* What is given back leaves the host this many times as much to spare. */
#define BACK_FACTOR    2
#define RETRY_LEAST_US (2 * SEC)
#define RETRY_MOST_US  (120 * SEC)

const char *pol_pool_text(enum pol_pool_why why)
{
	switch (why) {
	case POL_POOL_OK:
		return "they are free";
	case POL_POOL_COMING:
		return "the pool is being enlarged";
	case POL_POOL_TURN:
		return "another guest that waits for such pages came first";
	case POL_POOL_MEMORY:
		return "the host has not so much memory to spare there";
	case POL_POOL_PIECES:
		return "the memory there is too fragmented for more";
	case POL_POOL_NONE:
		return "there is no pool of that page size there";
	case POL_POOL_UNMANAGED:
		return "memd does not size the pools here (huge-pages=manage would let it)";
	default:
		return "unknown";
	}
}

uint64_t pol_pool_floor(uint64_t total, uint64_t free, uint64_t reserved)
{
	return sub_sat(total, free) + min_u64(free, reserved);
}

/* ---- one page size ---- */

/* What of each pool is spoken for in this tick, pages; by index of the pool. */
struct size {
	const struct pol_pool_host *in;
	struct pol_pools *pools;
	uint64_t now_us, page_bytes, spare;
	uint64_t claimed[POL_POOLS_MAX];
	bool grown; /* somebody is at the head of the queue already */
};

static struct pol_pool_past *past_of(struct pol_pools *pools, uint32_t node, uint64_t page_bytes)
{
	for (size_t i = 0; i < pools->n; i++)
		if (pools->past[i].node == node && pools->past[i].page_bytes == page_bytes)
			return &pools->past[i];
	if (pools->n == POL_POOLS_MAX)
		return NULL;
	pools->past[pools->n] = (struct pol_pool_past){.node = node, .page_bytes = page_bytes};
	return &pools->past[pools->n++];
}

static bool is_for(const struct size *s, const struct pol_pending *guest, size_t i)
{
	const struct pol_pool *pool = &s->in->pools[i];

	return pool->page_bytes == s->page_bytes &&
	       (!guest || !guest->nodes || (pool->node < 64 && guest->nodes >> pool->node & 1));
}

/* Free, and not spoken for, in the pools that it may use; NULL: in all. */
static uint64_t left_for(const struct size *s, const struct pol_pending *guest)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->in->n_pools; i++)
		if (is_for(s, guest, i))
			sum = add_sat(sum, sub_sat(s->in->pools[i].free, s->claimed[i]));
	return sum;
}

static uint64_t reserved(const struct size *s)
{
	uint64_t most = 0;

	for (size_t i = 0; i < s->in->n_pools; i++)
		if (is_for(s, NULL, i))
			most = max_u64(most, s->in->pools[i].reserved);
	return most;
}

/* The fullest first, so that it is about what the kernel takes. */
static void claim(struct size *s, const struct pol_pending *guest, uint64_t pages)
{
	while (pages) {
		size_t best = POL_POOLS_MAX;
		uint64_t most = 0;

		for (size_t i = 0; i < s->in->n_pools; i++) {
			uint64_t left = sub_sat(s->in->pools[i].free, s->claimed[i]);

			if (is_for(s, guest, i) && left > most) {
				most = left;
				best = i;
			}
		}
		if (best == POL_POOLS_MAX)
			return;
		most = min_u64(most, pages);
		s->claimed[best] += most;
		pages -= most;
	}
}

/* ---- growing ---- */

static uint64_t growth_of(struct size *s, const struct pol_pending *guest, size_t i)
{
	const struct pol_pool *pool = &s->in->pools[i];
	const struct pol_pool_past *past = past_of(s->pools, pool->node, pool->page_bytes);

	if (!is_for(s, guest, i) || !past || (s->now_us < past->retry_us && !FAULT(pool_retry)))
		return 0;
	return (FAULT(pool_spare) ? pool->room_bytes : min_u64(pool->room_bytes, s->spare)) /
	       s->page_bytes;
}

/* How long until a pool that it may use is tried again; 0: none of them has to wait. */
static uint64_t pause_of(struct size *s, const struct pol_pending *guest)
{
	uint64_t least = 0;

	for (size_t i = 0; i < s->in->n_pools; i++) {
		const struct pol_pool *pool = &s->in->pools[i];
		const struct pol_pool_past *past = past_of(s->pools, pool->node, pool->page_bytes);

		if (!is_for(s, guest, i) || !past || s->now_us >= past->retry_us)
			continue;
		if (!least || past->retry_us - s->now_us < least)
			least = past->retry_us - s->now_us;
	}
	return least;
}

static bool is_preferred(const struct size *s, const struct pol_pending *guest, size_t i)
{
	return s->in->pools[i].node < 64 && guest->prefer >> s->in->pools[i].node & 1;
}

/* Enlarge what it may use by so much in all, what is preferred and the roomiest first. False: that
 * cannot be. */
static bool grow(struct size *s, const struct pol_pending *guest, uint64_t missing,
		 struct pol_pool_plan *plan)
{
	uint64_t more[POL_POOLS_MAX] = {0};

	while (missing) {
		size_t best = POL_POOLS_MAX;
		uint64_t most = 0, part;
		bool wanted = false;

		for (size_t i = 0; i < s->in->n_pools; i++) {
			part = more[i] ? 0 : growth_of(s, guest, i);
			if (part && (is_preferred(s, guest, i) > wanted ||
				     (part > most && is_preferred(s, guest, i) == wanted))) {
				most = part;
				best = i;
				wanted = is_preferred(s, guest, i);
			}
		}
		if (best == POL_POOLS_MAX)
			return false;
		more[best] = min_u64(most, missing);
		missing -= more[best];
		s->spare -= more[best] * s->page_bytes;
	}
	for (size_t i = 0; i < s->in->n_pools; i++) {
		if (!more[i])
			continue;
		plan->orders[i].pages = s->in->pools[i].total + more[i];
		plan->orders[i].why = POL_WHY_POOL_PENDING;
	}
	return true;
}

static bool is_busy(const struct size *s, const struct pol_pending *guest)
{
	for (size_t i = 0; i < s->in->n_pools; i++)
		if (is_for(s, guest, i) && s->in->pools[i].busy)
			return true;
	return false;
}

static bool has_pool(const struct size *s, const struct pol_pending *guest)
{
	for (size_t i = 0; i < s->in->n_pools; i++)
		if (is_for(s, guest, i))
			return true;
	return false;
}

/* Why the guest waits; what can be done about it is in the plan. */
static enum pol_pool_why serve(struct size *s, const struct pol_pending *guest, uint64_t missing,
			       struct pol_pool_plan *plan, uint64_t *ret_retry_us)
{
	uint64_t spare = s->spare;

	if (!has_pool(s, guest))
		return POL_POOL_NONE;
	if (s->in->mode != POL_POOL_MANAGE)
		return POL_POOL_UNMANAGED;
	if (s->grown && !FAULT(pool_turn))
		return POL_POOL_TURN;
	s->grown = true;
	if (is_busy(s, guest))
		return POL_POOL_COMING;
	if (grow(s, guest, missing, plan))
		return POL_POOL_COMING;
	s->spare = spare;
	*ret_retry_us = pause_of(s, guest);
	return *ret_retry_us ? POL_POOL_PIECES : POL_POOL_MEMORY;
}

static void answer_one(struct size *s, size_t g, struct pol_pool_plan *plan)
{
	const struct pol_pending *guest = &s->in->pending[g];
	uint64_t anywhere = sub_sat(left_for(s, NULL), reserved(s));
	uint64_t have = min_u64(min_u64(left_for(s, guest), anywhere), guest->pages);
	uint64_t retry_us = 0;

	/* What is there already is kept for it. */
	if (!FAULT(pool_claim))
		claim(s, guest, have);
	plan->answers[g].have_pages = have;
	if (have >= guest->pages) {
		plan->answers[g].answer = POL_POOL_READY;
		plan->answers[g].why = POL_POOL_OK;
		return;
	}
	plan->answers[g].why = serve(s, guest, guest->pages - have, plan, &retry_us);
	plan->answers[g].retry_us = retry_us;
	plan->answers[g].answer =
		plan->answers[g].why == POL_POOL_NONE || plan->answers[g].why == POL_POOL_UNMANAGED
			? POL_POOL_REFUSED
			: POL_POOL_WAIT;
}

/* ---- what nobody waits for ---- */

/* Has it been so for long enough? *since: 0, when it is not so. */
static bool lasts(bool is_so, uint64_t *since, uint64_t now_us, uint64_t for_us)
{
	if (!is_so)
		*since = 0;
	else if (!*since)
		*since = now_us ? now_us : 1;
	return is_so && now_us - *since >= for_us;
}

static void settle(struct size *s, size_t i, struct pol_pool_plan *plan)
{
	const struct pol_pool *pool = &s->in->pools[i];
	struct pol_pool_past *past = past_of(s->pools, pool->node, pool->page_bytes);
	bool short_of = s->in->state != POL_STATE_HIGH;
	uint64_t in_use = sub_sat(pool->total, pool->free), floor, target, lack;
	bool excess, back;

	if (!past || pool->busy || pol_has(plan->orders[i].pages) || s->now_us < past->retry_us)
		return;
	floor = max_u64(pol_pool_floor(pool->total, pool->free, pool->reserved),
			in_use + min_u64(s->claimed[i], pool->free));
	if (FAULT(pool_floor))
		floor = in_use;
	target = floor;
	if (!short_of)
		target = max_u64(max_u64(floor, pool->base),
				 in_use + min_u64(pool->owed, pool->free));
	lack = sub_sat(pool->base, pool->total) * s->page_bytes;
	excess = lasts(pool->total > target, &past->excess_us, s->now_us,
		       short_of || FAULT(pool_excess) ? 0 : EXCESS_US);
	back = lasts(lack && !short_of && !s->grown, &past->lack_us, s->now_us, LACK_US);
	if (excess) {
		plan->orders[i].pages = target;
		plan->orders[i].why = short_of ? POL_WHY_POOL_SHORT : POL_WHY_POOL_IDLE;
	} else if (back &&
		   ((lack <= pool->room_bytes / BACK_FACTOR && lack <= s->spare / BACK_FACTOR) ||
		    FAULT(pool_back))) {
		plan->orders[i].pages = pool->base;
		plan->orders[i].why = POL_WHY_POOL_BACK;
		s->spare -= lack;
	}
}

static void decide_size(struct size *s, struct pol_pool_plan *plan)
{
	for (size_t g = 0; g < s->in->n_pending; g++) {
		const struct pol_pending *guest = &s->in->pending[g];

		if (!guest->granted || guest->page_bytes != s->page_bytes)
			continue;
		plan->answers[g].answer = POL_POOL_READY;
		plan->answers[g].why = POL_POOL_OK;
		plan->answers[g].have_pages = min_u64(left_for(s, guest), guest->pages);
		claim(s, guest, guest->pages);
		/* Until it has them, what it lacks cannot be told from what others lack. */
		s->grown = true;
	}
	for (size_t g = 0; g < s->in->n_pending; g++)
		if (!s->in->pending[g].granted && s->in->pending[g].page_bytes == s->page_bytes)
			answer_one(s, g, plan);
	for (size_t i = 0; i < s->in->n_pools; i++)
		if (is_for(s, NULL, i))
			settle(s, i, plan);
}

void pol_pools_decide(struct pol_pools *pools, const struct pol_pool_host *in, uint64_t now_us,
		      struct pol_pool_plan *ret_plan)
{
	struct pol_pool_plan plan = {0};
	uint64_t spare = bytes_in(in->spare_bytes), done = 0;

	for (size_t i = 0; i < POL_POOLS_MAX; i++)
		plan.orders[i].pages = POL_ABSENT;
	/* A page size that no pool has. */
	for (size_t g = 0; g < in->n_pending; g++) {
		plan.answers[g].answer = POL_POOL_REFUSED;
		plan.answers[g].why = POL_POOL_NONE;
	}
	/* From the smallest size up; what one lets the pools grow by, the next cannot have. */
	for (;;) {
		struct size s = {.in = in, .pools = pools, .now_us = now_us, .spare = spare};

		s.page_bytes = UINT64_MAX;
		for (size_t i = 0; i < in->n_pools; i++)
			if (in->pools[i].page_bytes > done)
				s.page_bytes = min_u64(s.page_bytes, in->pools[i].page_bytes);
		if (s.page_bytes == UINT64_MAX)
			break;
		done = s.page_bytes;
		decide_size(&s, &plan);
		spare = s.spare;
	}
	if (in->mode == POL_POOL_OFF)
		for (size_t i = 0; i < POL_POOLS_MAX; i++)
			plan.orders[i].pages = POL_ABSENT;
	*ret_plan = plan;
}

void pol_pools_tell(struct pol_pools *pools, uint32_t node, uint64_t page_bytes, bool done,
		    uint64_t now_us)
{
	struct pol_pool_past *past = past_of(pools, node, page_bytes);

	if (!past)
		return;
	past->backoff_us =
		done ? 0 : clamp_u64(2 * past->backoff_us, RETRY_LEAST_US, RETRY_MOST_US);
	past->retry_us = done ? 0 : now_us + past->backoff_us;
}
