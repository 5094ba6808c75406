// SPDX-License-Identifier: Apache-2.0
/* A recorded history under another law; see replay.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/parts.h"
#include "policy/replay.h"

#define GAP_MOST_US	   (10 * SEC) /* a longer silence of the record counts as so much */
#define INFLATE_PER_S	   (64 * MIB) /* until the record shows a balloon move */
#define DEFLATE_PER_S	   (256 * MIB)
#define KEEP_BYTES	   (16 * MIB) /* a guest's kernel does not let free memory fall below */
#define BEAR_US		   (2 * SEC)  /* how long a guest stands being short before it kills */
#define KILL_PAUSE_US	   (30 * SEC)
#define HOST_KILL_EVERY_US (60 * SEC)
#define STUCK_US	   (5 * SEC)

/* One model: how much the host holds of what is free in the guest. */
struct model {
	uint64_t actual, use, touched; /* use: with the page cache */
};

struct replay_guest {
	uint64_t id;
	bool known;
	struct model rec, law;
	uint64_t target; /* the law's, or as recorded before it has asked for anything */
	uint64_t inflate_per_s, deflate_per_s;
	uint64_t asked;	   /* the recorded target a tick ago */
	uint64_t still_us; /* the recorded size has not changed for so long */
	uint64_t room;	   /* what its balloon could take at most */
	uint64_t short_us, pause_us, stalls, ooms; /* beyond the recorded ones */
	uint64_t rec_stalls, rec_ooms;
	struct regret_guest regret;
};

struct replay {
	const struct law *law;
	void *law_state;
	struct pol_config config;
	uint32_t min_ppm;
	size_t max_guests, n;
	struct replay_guest *rows, *next;
	struct pol_guest *in;
	struct pol_host host;
	const struct pol_plan *plan;
	bool seen;
	uint64_t now_us, dt_us, host_kill_us, overflow;
	enum pol_state state;
	struct regret regret;
};

struct replay *replay_new(const struct law *law, const struct pol_config *config, size_t max_guests,
			  uint32_t min_ppm)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	size_t n = max_guests ? max_guests : 1;

	if (!replay)
		return NULL;
	replay->law = law;
	replay->config = *config;
	replay->max_guests = max_guests;
	replay->min_ppm = min_ppm;
	replay->rows = calloc(n, sizeof(*replay->rows));
	replay->next = calloc(n, sizeof(*replay->next));
	replay->in = calloc(n, sizeof(*replay->in));
	regret_begin(&replay->regret);
	if (!replay->rows || !replay->next || !replay->in || replay_restart(replay) < 0) {
		replay_free(replay);
		return NULL;
	}
	return replay;
}

void replay_free(struct replay *replay)
{
	if (!replay)
		return;
	if (replay->law)
		replay->law->close(replay->law_state);
	free(replay->rows);
	free(replay->next);
	free(replay->in);
	free(replay);
}

void replay_configure(struct replay *replay, const struct pol_config *config)
{
	replay->config = *config;
	if (replay->law)
		replay->law->configure(replay->law_state, config);
}

int replay_restart(struct replay *replay)
{
	void *state = NULL;

	if (replay->law) {
		state = replay->law->open(&replay->config, replay->max_guests);
		if (!state)
			return -ENOMEM;
		replay->law->close(replay->law_state);
		replay->law_state = state;
	}
	replay->n = 0;
	replay->seen = false;
	replay->overflow = 0;
	replay->state = POL_STATE_HIGH;
	return 0;
}

const struct regret *replay_regret(const struct replay *replay)
{
	return &replay->regret;
}

const struct pol_host *replay_host(const struct replay *replay)
{
	return replay->seen ? &replay->host : NULL;
}

const struct pol_plan *replay_plan(const struct replay *replay)
{
	return replay->plan;
}

/* Both lists are sorted by id. */
static void match_rows(struct replay *replay, const struct pol_host *recorded)
{
	size_t n = min_u64(recorded->n_guests, replay->max_guests), old = 0;
	struct replay_guest *before = replay->rows;

	for (size_t i = 0; i < n; i++) {
		uint64_t id = recorded->guests[i].id;

		while (old < replay->n && before[old].id < id)
			old++;
		if (old < replay->n && before[old].id == id)
			replay->next[i] = before[old];
		else
			replay->next[i] = (struct replay_guest){.id = id, .target = POL_ABSENT};
	}
	replay->rows = replay->next;
	replay->next = before;
	replay->n = n;
}

/* ---- one guest ---- */

static bool has_size(const struct pol_guest *rec)
{
	return pol_has(rec->memory_bytes) && pol_has(rec->actual_bytes) && rec->actual_bytes &&
	       rec->memory_bytes <= BYTES_MAX && rec->actual_bytes <= rec->memory_bytes;
}

static bool has_numbers(const struct pol_guest *rec)
{
	return pol_has(rec->stat_age_us) && pol_has(rec->stat_free_bytes) &&
	       rec->stat_free_bytes <= rec->actual_bytes && pol_has(rec->stat_available_bytes) &&
	       rec->stat_available_bytes <= rec->actual_bytes;
}

/* How fast the balloon is, and whether it moves at all, as far as the record shows it. */
static void learn_balloon(struct replay_guest *g, const struct pol_guest *rec, uint64_t dt_us)
{
	uint64_t before = g->rec.actual, now = rec->actual_bytes;

	if (now == before) {
		bool asked = pol_has(g->asked) && (g->asked > before + ARRIVED_BYTES ||
						   g->asked + ARRIVED_BYTES < before);

		g->still_us = asked ? g->still_us + dt_us : 0;
		return;
	}
	g->still_us = 0;
	if (now < before)
		g->inflate_per_s = max_u64(g->inflate_per_s, mul_div(before - now, SEC, dt_us));
	else
		g->deflate_per_s = max_u64(g->deflate_per_s, mul_div(now - before, SEC, dt_us));
}

/*
 * Its size changed though nobody asked for that: restarted, or out of memory. It would have anyway.
 * Orders of the last tick show in this snapshot only, those of the one before in both.
 */
static bool moved_by_itself(const struct replay_guest *g, const struct pol_guest *rec)
{
	uint64_t before = g->rec.actual, now = rec->actual_bytes;
	uint64_t most = max_u64(pol_has(g->asked) ? g->asked : 0,
				pol_has(rec->target_bytes) ? rec->target_bytes : 0);
	uint64_t least = min_u64(g->asked, rec->target_bytes);

	if (now > before)
		return now > max_u64(most, before) + ARRIVED_BYTES;
	return now + ARRIVED_BYTES < min_u64(least, before);
}

static uint64_t next_size(const struct replay *replay, const struct replay_guest *g,
			  const struct pol_guest *rec)
{
	uint64_t size = g->law.actual, dt_us = replay->dt_us, most;

	if (!replay->law || (size == g->rec.actual && g->target == rec->target_bytes))
		return rec->actual_bytes;
	if (moved_by_itself(g, rec)) {
		size = rec->actual_bytes > g->rec.actual
			       ? add_sat(size, rec->actual_bytes - g->rec.actual)
			       : sub_sat(size, g->rec.actual - rec->actual_bytes);
		return clamp_u64(size, min_u64(MIB, rec->memory_bytes), rec->memory_bytes);
	}
	if (!pol_has(g->target) || !rec->answering || !rec->has_balloon || g->still_us >= STUCK_US)
		return min_u64(size, rec->memory_bytes);
	if (g->target < size) {
		most = mul_div(g->inflate_per_s ? g->inflate_per_s : INFLATE_PER_S, dt_us, SEC);
		most = min_u64(most, g->room);
		return size - min_u64(size - g->target, most);
	}
	most = mul_div(g->deflate_per_s ? g->deflate_per_s : DEFLATE_PER_S, dt_us, SEC);
	return min_u64(size + min_u64(g->target - size, most), rec->memory_bytes);
}

/* The balloon takes free memory, work takes free memory and leaves some: of each as much is held by
 * the host as of all that is free. */
static void follow(struct model *m, uint64_t actual, uint64_t use, bool reporting)
{
	uint64_t free = sub_sat(m->actual, m->use), part;

	if (actual < m->actual) {
		part = min_u64(m->actual - actual, free);
		m->touched -= min_u64(m->touched, mul_div(m->touched, part, free));
		free -= part;
	} else {
		free += actual - m->actual;
	}
	if (use > m->use) {
		part = min_u64(use - m->use, free);
		m->touched -= min_u64(m->touched, mul_div(m->touched, part, free));
	} else if (!reporting) {
		m->touched += m->use - use;
	}
	m->actual = actual;
	m->use = use;
	m->touched = min_u64(m->touched, sub_sat(actual, use));
}

/* a + (to - from), not below 0. */
static uint64_t shift(uint64_t a, uint64_t from, uint64_t to)
{
	return to > from ? add_sat(a, to - from) : sub_sat(a, from - to);
}

/* What the guest would say; returns what it would lack. */
static uint64_t shift_numbers(const struct replay_guest *g, const struct pol_guest *rec,
			      struct pol_guest *in)
{
	uint64_t was = rec->actual_bytes, is = g->law.actual;
	uint64_t keep = min_u64(rec->stat_free_bytes, KEEP_BYTES), lacks, gone = sub_sat(was, is);

	lacks = sub_sat(gone, rec->stat_available_bytes);
	in->stat_available_bytes = shift(rec->stat_available_bytes, was, is);
	in->stat_free_bytes = shift(rec->stat_free_bytes, was, is);
	if (in->stat_free_bytes < keep) {
		if (pol_has(rec->stat_cache_bytes))
			in->stat_cache_bytes =
				sub_sat(rec->stat_cache_bytes, gone + keep - rec->stat_free_bytes);
		in->stat_free_bytes = min_u64(keep, is);
	}
	if (pol_has(rec->stat_total_bytes) && !rec->deflate_on_oom)
		in->stat_total_bytes = shift(rec->stat_total_bytes, was, is);
	return lacks;
}

static void suffer(struct replay *replay, struct replay_guest *g, uint64_t lacks, bool deflates,
		   uint64_t memory)
{
	struct regret *regret = &replay->regret;

	if (!lacks) {
		g->short_us = 0;
		return;
	}
	regret->short_byte_s += mul_div(lacks, replay->dt_us, SEC);
	regret->stall_us += replay->dt_us;
	g->stalls += mul_div(100, replay->dt_us, SEC);
	g->short_us += replay->dt_us;
	if (deflates) {
		uint64_t to = min_u64(g->law.actual + lacks, memory);

		regret_move(regret, &g->regret, g->law.actual, to, replay->now_us);
		follow(&g->law, to, min_u64(g->law.use + lacks, to), false);
	} else if (g->short_us >= BEAR_US && replay->now_us >= g->pause_us) {
		regret->guest_ooms++;
		g->ooms++;
		g->short_us = 0;
		g->pause_us = replay->now_us + KILL_PAUSE_US;
	}
}

/* What it went through in the record counts where it would have had no more. */
static void count_recorded(struct replay *replay, struct replay_guest *g,
			   const struct pol_guest *rec)
{
	bool no_more = g->law.actual <= rec->actual_bytes;

	if (pol_has(rec->stat_oom_kills)) {
		if (g->known && no_more)
			replay->regret.guest_ooms +=
				min_u64(sub_sat(rec->stat_oom_kills, g->rec_ooms), 10);
		g->rec_ooms = rec->stat_oom_kills;
	}
	if (pol_has(rec->stat_alloc_stalls)) {
		if (g->known && no_more && rec->stat_alloc_stalls > g->rec_stalls)
			replay->regret.stall_us += replay->dt_us;
		g->rec_stalls = rec->stat_alloc_stalls;
	}
}

static void meet(struct replay_guest *g, const struct pol_guest *rec)
{
	uint64_t use = rec->actual_bytes;

	if (has_numbers(rec))
		use -= rec->stat_free_bytes;
	g->rec = (struct model){.actual = rec->actual_bytes, .use = use};
	if (pol_has(rec->resident_bytes))
		g->rec.touched =
			min_u64(sub_sat(rec->resident_bytes, use), rec->actual_bytes - use);
	g->law = g->rec;
	g->asked = g->target = rec->target_bytes;
}

/* One guest of the snapshot: *in becomes what the law sees. Returns how much more (or, above 2^63,
 * less) the host would hold of it, mod 2^64. */
static uint64_t replay_guest(struct replay *replay, struct replay_guest *g,
			     const struct pol_guest *rec, struct pol_guest *in)
{
	uint64_t size, use, held, lacks;
	bool numbers = has_numbers(rec);

	*in = *rec;
	if (replay->min_ppm && !pol_has(rec->min_bytes) && pol_has(rec->memory_bytes))
		in->min_bytes = ppm_of(rec->memory_bytes, replay->min_ppm);
	if (!has_size(rec))
		return 0;
	if (!g->known)
		meet(g, rec);
	else if (replay->dt_us)
		learn_balloon(g, rec, replay->dt_us);
	count_recorded(replay, g, rec);
	size = g->known ? next_size(replay, g, rec) : rec->actual_bytes;
	regret_move(&replay->regret, &g->regret, g->law.actual, size, replay->now_us);
	use = numbers ? rec->actual_bytes - rec->stat_free_bytes : rec->actual_bytes;
	follow(&g->rec, rec->actual_bytes, use, rec->reporting);
	g->known = true;
	g->asked = rec->target_bytes;

	/* With the new size in place, what the guest would say. */
	in->actual_bytes = size;
	if (numbers) {
		uint64_t before = g->law.actual;

		g->law.actual = size;
		lacks = shift_numbers(g, rec, in);
		g->law.actual = before;
		follow(&g->law, size, size - min_u64(in->stat_free_bytes, size), rec->reporting);
		g->room = in->stat_available_bytes;
		suffer(replay, g, lacks, rec->deflate_on_oom, rec->memory_bytes);
		in->actual_bytes = g->law.actual;
	} else {
		follow(&g->law, size, size, rec->reporting);
		g->room = size / 2;
	}
	if (replay->law)
		in->target_bytes = g->target;
	if (pol_has(rec->stat_alloc_stalls))
		in->stat_alloc_stalls = add_sat(rec->stat_alloc_stalls, g->stalls);
	if (pol_has(rec->stat_oom_kills))
		in->stat_oom_kills = add_sat(rec->stat_oom_kills, g->ooms);
	replay->regret.idle_byte_s += mul_div(g->law.touched, replay->dt_us, SEC);
	if (!pol_has(rec->resident_bytes))
		return 0;
	held = shift(rec->resident_bytes, g->rec.use + g->rec.touched, g->law.use + g->law.touched);
	/* A process may hold a little more than its guest has. */
	in->resident_bytes = min_u64(held, max_u64(in->actual_bytes, rec->resident_bytes));
	return in->resident_bytes - rec->resident_bytes;
}

/* ---- the host ---- */

static void replay_host_memory(struct replay *replay, const struct pol_host *rec, uint64_t more)
{
	struct pol_host *host = &replay->host;
	bool less = more >> 63;
	uint64_t bytes = less ? 0 - more : more, available, overflow = 0;

	*host = *rec;
	host->guests = replay->in;
	host->n_guests = replay->n;
	available = pol_has(rec->available_bytes) ? rec->available_bytes : rec->free_bytes;
	if (less) {
		available = min_u64(add_sat(available, bytes), rec->memory_bytes);
	} else {
		overflow = sub_sat(bytes, available);
		available = sub_sat(available, bytes);
	}
	if (pol_has(rec->available_bytes))
		host->available_bytes = available;
	if (pol_has(rec->free_bytes))
		host->free_bytes = less ? min_u64(add_sat(rec->free_bytes, bytes), available)
					: sub_sat(rec->free_bytes, bytes);
	replay->regret.swap_out_bytes += sub_sat(overflow, replay->overflow);
	replay->regret.swapped_byte_s += mul_div(overflow, replay->dt_us, SEC);
	replay->overflow = overflow;
	if (overflow && pol_has(rec->swap_free_bytes)) {
		host->swap_free_bytes = sub_sat(rec->swap_free_bytes, overflow);
		if (overflow > rec->swap_free_bytes && replay->now_us >= replay->host_kill_us) {
			replay->regret.host_ooms++;
			replay->host_kill_us = replay->now_us + HOST_KILL_EVERY_US;
		}
	}
}

static uint64_t obey(struct replay *replay)
{
	uint64_t orders = 0;

	for (size_t k = 0; k < replay->plan->n_actions; k++) {
		const struct pol_action *a = &replay->plan->actions[k];

		for (size_t i = 0; a->kind == POL_BALLOON && i < replay->n; i++) {
			if (replay->rows[i].id != a->guest)
				continue;
			replay->rows[i].target = a->to;
			orders++;
		}
	}
	return orders;
}

int replay_tick(struct replay *replay, const struct pol_host *recorded, uint64_t recorded_orders,
		uint64_t now_us)
{
	uint64_t more = 0, available, orders = recorded_orders, stalls = replay->regret.stall_us;
	struct marks marks;
	int r;

	if (!recorded->memory_bytes || recorded->memory_bytes > BYTES_MAX)
		return -EINVAL;
	replay->dt_us = replay->seen ? min_u64(sub_sat(now_us, replay->now_us), GAP_MOST_US) : 0;
	replay->now_us = now_us;
	match_rows(replay, recorded);
	for (size_t i = 0; i < replay->n; i++)
		more += replay_guest(replay, &replay->rows[i], &recorded->guests[i],
				     &replay->in[i]);
	replay_host_memory(replay, recorded, more);
	replay->seen = true;
	if (replay->law) {
		r = replay->law->step(replay->law_state, &replay->host, now_us, &replay->plan);
		if (r < 0)
			return r;
		orders = obey(replay);
	}
	if (replay->regret.stall_us > stalls)
		replay->regret.short_least_us += replay->dt_us;
	available = pol_has(replay->host.available_bytes) ? replay->host.available_bytes
							  : replay->host.free_bytes;
	host_state_marks(&replay->config, recorded->memory_bytes, &marks);
	replay->state = host_state_next(&marks, replay->state, available);
	regret_tick(&replay->regret, replay->state, available, orders, replay->dt_us);
	return 0;
}
