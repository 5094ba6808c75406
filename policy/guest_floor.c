// SPDX-License-Identifier: Apache-2.0
/*
 * What one guest needs: whether its numbers can be trusted, its working set, the floor that no
 * rung may cross, and the signs that it suffers.
 *
 * Working set = actual - available, with `actual` (memory less balloon, the hypervisor's figure)
 * taken at the time of the numbers. It does not use stat_total: without deflate-on-oom Linux
 * subtracts the balloon from MemTotal, with it MemTotal stays and the balloon's pages count as
 * used (drivers/virtio/virtio_balloon.c, fill_balloon); in both cases the balloon's pages are
 * neither free nor available, so this difference is the same, and it contains the memory that the
 * guest's kernel reserved at boot, which is really in use. Page cache that the guest could drop
 * counts as available (si_mem_available).
 */
#include "policy/parts.h"

#define WS_FAST_US (8 * SEC)
#define WS_SLOW_US (60 * SEC)
#define WS_PEAK_US (20 * SEC) /* and as long before */
/* Kernels round and sample at different instants: not every small contradiction is a lie. */
#define SLACK_BYTES (16 * MIB)
/* A guest seen for the first time, or restarted, is still starting what it is there for. */
#define YOUNG_US   (10 * SEC)
#define TROUBLE_US (10 * SEC)
/* Between the guest's measuring and the hypervisor's having the numbers, at most. */
#define ON_ITS_WAY_US (250 * MSEC)
/* Contradictions for this long are not a matter of timing. */
#define LIAR_US (10 * SEC)

/* Of so much a second that a guest's kernel looks at, it gets less than one part in so many. A
 * stream of files gives up about all of it, anonymous memory with swap a tenth. With generations
 * (MGLRU) only what it picks counts as looked at, and the sign is rarer. */
#define VAIN_BYTES_PER_S MIB
#define VAIN_PART	 16

enum { STAT_TOTAL, STAT_FREE, STAT_AVAILABLE, STAT_CACHE, STAT_COUNTERS };

/* The guest's size at a past moment: between the ticks around it, in proportion. */
static uint64_t actual_at(const struct guest_past *past, uint64_t when_us, uint64_t actual)
{
	uint64_t later = actual, later_us = when_us;

	for (unsigned int i = 0; i < past->ring_n; i++) {
		unsigned int at = (past->ring_at + ACTUAL_RING - 1 - i) % ACTUAL_RING;
		uint64_t size = past->ring_actual[at], us = past->ring_us[at];
		uint64_t moved = size > later ? size - later : later - size, part;

		if (us > when_us) {
			later = size;
			later_us = us;
			continue;
		}
		part = mul_div(moved, when_us - us, sub_sat(later_us, us));
		return size > later ? size - part : size + part;
	}
	return later;
}

/*
 * The guest's size when it measured, so that a moving balloon is not taken for memory in use, nor
 * what it took for memory still free. When that was is known only roughly. Hypervisors tell whole
 * seconds of their own clock, and memd dates numbers by when it first sees them: it was since the
 * last look, unless they are said to be older, or up to a second later, when two of them bear the
 * same second. Of the sizes it had meanwhile the largest counts for the floor; for all else the one
 * at which it uses what it used before, or grows as it grew.
 */
static void place_sample(const struct now_host *tick, struct now_guest *guest, uint64_t available)
{
	struct guest_past *past = guest->past;
	uint64_t grown = mul_div(past->growth, sub_sat(tick->now_us, past->sample_us), SEC);
	uint64_t most, least;
	uint64_t sent_us = sub_sat(tick->now_us, guest->in->stat_age_us);
	uint64_t to_us = min_u64(add_sat(sent_us, SEC), tick->now_us), from_us = to_us, size;

	/* The ring's last entry is of this look. */
	if (past->ring_n > 1)
		from_us = past->ring_us[(past->ring_at + ACTUAL_RING - 2) % ACTUAL_RING];
	from_us = clamp_u64(sub_sat(from_us, ON_ITS_WAY_US), sub_sat(sent_us, SEC + ON_ITS_WAY_US),
			    sent_us);
	size = actual_at(past, from_us, guest->actual);
	most = least = size;
	size = actual_at(past, to_us, guest->actual);
	most = max_u64(most, size);
	least = min_u64(least, size);
	for (unsigned int i = 0; i < past->ring_n; i++) {
		if (past->ring_us[i] < from_us || past->ring_us[i] > to_us)
			continue;
		most = max_u64(most, past->ring_actual[i]);
		least = min_u64(least, past->ring_actual[i]);
	}
	past->size_most = most;
	past->size_likely = least;
	if (past->sampled)
		past->size_likely =
			clamp_u64(past->used + grown + min_u64(available, most), least, most);
	if (FAULT(sample_place))
		past->size_most = past->size_likely = guest->actual;
}

static void remember_actual(struct guest_past *past, uint64_t now_us, uint64_t actual)
{
	past->ring_us[past->ring_at] = now_us;
	past->ring_actual[past->ring_at] = actual;
	past->ring_at = (past->ring_at + 1) % ACTUAL_RING;
	if (past->ring_n < ACTUAL_RING)
		past->ring_n++;
}

static bool went_back(uint64_t before, uint64_t after)
{
	return pol_has(before) && pol_has(after) && after < before;
}

static bool counters_went_back(const struct guest_past *past, const struct pol_guest *in)
{
	return past->sampled && (went_back(past->swap_in, in->stat_swap_in_bytes) ||
				 went_back(past->swap_out, in->stat_swap_out_bytes) ||
				 went_back(past->faults, in->stat_major_faults) ||
				 went_back(past->ooms, in->stat_oom_kills) ||
				 went_back(past->stalls, in->stat_alloc_stalls) ||
				 went_back(past->scanned, in->stat_scanned_bytes) ||
				 went_back(past->reclaimed, in->stat_reclaimed_bytes));
}

static void keep_counters(struct guest_past *past, const struct pol_guest *in)
{
	past->swap_in = in->stat_swap_in_bytes;
	past->swap_out = in->stat_swap_out_bytes;
	past->faults = in->stat_major_faults;
	past->ooms = in->stat_oom_kills;
	past->stalls = in->stat_alloc_stalls;
	past->scanned = in->stat_scanned_bytes;
	past->reclaimed = in->stat_reclaimed_bytes;
}

/*
 * A later sample than the last one used? Ages are coarse (QEMU tells whole seconds), so a change of
 * values counts too.
 */
static bool is_new_sample(struct guest_past *past, const struct pol_guest *in, uint64_t now_us)
{
	const uint64_t stat[5] = {
		[STAT_TOTAL] = in->stat_total_bytes,
		[STAT_FREE] = in->stat_free_bytes,
		[STAT_AVAILABLE] = in->stat_available_bytes,
		[STAT_CACHE] = in->stat_cache_bytes,
		[STAT_COUNTERS] = in->stat_swap_in_bytes + in->stat_swap_out_bytes +
				  in->stat_major_faults + in->stat_oom_kills +
				  in->stat_alloc_stalls + in->stat_scanned_bytes +
				  in->stat_reclaimed_bytes,
	};
	uint64_t sent_us = sub_sat(now_us, in->stat_age_us);
	bool changed = !past->sampled || sent_us >= past->sent_us + 900 * MSEC;

	for (unsigned int i = 0; i < 5; i++) {
		changed |= past->stat[i] != stat[i];
		past->stat[i] = stat[i];
	}
	if (changed)
		past->sent_us = sent_us;
	return changed;
}

/* Trust, and with it `free` and `available`. */
static enum pol_trust judge(const struct pol_config *config, const struct now_host *tick,
			    struct now_guest *guest)
{
	const struct pol_guest *in = guest->in;
	uint64_t total = in->stat_total_bytes, free = in->stat_free_bytes;
	uint64_t available = in->stat_available_bytes, size = 0;

	if (!pol_has(in->stat_age_us))
		return POL_TRUST_ABSENT;
	if (in->stat_age_us > config->stats_max_age_us && !FAULT(stale))
		return POL_TRUST_STALE;
	/* Linux before 4.6 and some drivers do not tell what is available: free is less. */
	if (!pol_has(available))
		available = free;
	if (!pol_has(total) || !pol_has(available))
		return POL_TRUST_ABSENT;
	if (!pol_has(free))
		free = 0;
	/* One sample, one size: what is decided on it stays right until there is a newer one. */
	guest->fresh = is_new_sample(guest->past, in, tick->now_us);
	if (guest->fresh)
		place_sample(tick, guest, available);
	guest->actual_then = guest->past->size_most;
	guest->actual_late = guest->past->size_likely;
	/* The largest it was of late: a lie must be one whatever the age's error. */
	for (unsigned int i = 0; i < guest->past->ring_n; i++)
		size = max_u64(size, guest->past->ring_actual[i]);
	size += SLACK_BYTES;
	if ((!total || total > guest->memory || available > total || free > total ||
	     (pol_has(in->stat_cache_bytes) && in->stat_cache_bytes > total) || available > size ||
	     free > size) &&
	    !FAULT(lies))
		return POL_TRUST_LIES;
	if (counters_went_back(guest->past, in) && !FAULT(restart))
		return POL_TRUST_BACK;
	guest->free = min_u64(free, guest->actual_then);
	guest->available = min_u64(available, guest->actual_then);
	return POL_TRUST_OK;
}

/* The most so far is that of the time before now. */
static void turn_peak(uint64_t peak[2])
{
	peak[1] = peak[0];
	peak[0] = 0;
}

/*
 * The most of the latest sample and of a fast average: rises at once, falls over some seconds. The
 * slow average on top of that (ESX takes the most of all) tells what was in use of late: it is not
 * taxed as idle and not collected in good times, but when the host is short, memory that a guest
 * freed half a minute ago is the best there is. But for a guest that reports it: then the host has
 * it already, and the balloon would only be in the way when the guest needs as much again.
 */
static void follow_working_set(const struct now_host *tick, struct now_guest *guest, bool fresh,
			       uint64_t since_us)
{
	struct guest_past *past = guest->past;
	uint64_t most = sub_sat(guest->actual_then, guest->available);
	uint64_t used = sub_sat(guest->actual_late, guest->available);
	uint64_t filled = sub_sat(guest->actual_late, guest->free);

	if (!past->sampled) {
		past->ws_fast = past->ws_slow = past->ws = past->ws_late = most;
		past->ws_peak[0] = past->ws_peak[1] = used;
		past->filled_peak[0] = past->filled_peak[1] = filled;
		past->peak_us = tick->now_us;
		past->used = used;
		past->used_then = guest->actual_late;
		past->growth = 0;
		return;
	}
	past->ws_fast = ewma(past->ws_fast, used, tick->dt_us, WS_FAST_US);
	past->ws_slow = ewma(past->ws_slow, used, tick->dt_us, WS_SLOW_US);
	past->ws = FAULT(working_set_peak) ? past->ws_fast : max_u64(most, past->ws_fast);
	past->ws_late = max_u64(used, max_u64(past->ws_fast, past->ws_slow));
	if (tick->now_us - past->peak_us >= WS_PEAK_US) {
		past->peak_us = tick->now_us;
		turn_peak(past->ws_peak);
		turn_peak(past->filled_peak);
	}
	past->ws_peak[0] = max_u64(past->ws_peak[0], used);
	past->filled_peak[0] = max_u64(past->filled_peak[0], filled);
	/* Cache that it could drop, and reads all the time: not idle. The floor is what its own
	 * numbers say all the same, or it would raise that by reading. */
	if (pol_has(guest->hot) && !FAULT(hot_cache))
		past->ws_late = max_u64(past->ws_late, min_u64(guest->hot, filled));
	if (fresh) {
		/* An inflating balloon blurs what is available (cache that goes was only partly
		 * counted as such): that is not growth. */
		uint64_t shrank = sub_sat(past->used_then, guest->actual_late);
		uint64_t rate = mul_div(sub_sat(used, past->used + shrank / 4), SEC,
					max_u64(since_us, 500 * MSEC));

		guest->grew = sub_sat(used, past->used);
		past->growth = max_u64(rate, past->growth / 2);
		past->used = used;
		past->used_then = guest->actual_late;
	} else if (since_us > 4 * SEC) {
		past->growth = 0;
	}
}

static uint64_t rise(uint64_t before, uint64_t after)
{
	return pol_has(before) && pol_has(after) ? sub_sat(after, before) : 0;
}

/* Its kernel goes through its memory and finds next to nothing that it could do without. */
static bool scans_in_vain(const struct guest_past *past, const struct pol_guest *in, uint64_t span)
{
	uint64_t scanned = rise(past->scanned, in->stat_scanned_bytes);
	uint64_t reclaimed = rise(past->reclaimed, in->stat_reclaimed_bytes);

	return mul_div(scanned, SEC, span) >= VAIN_BYTES_PER_S && reclaimed < scanned / VAIN_PART &&
	       pol_has(in->stat_reclaimed_bytes) && !FAULT(sign_scans);
}

/*
 * Signs since the last sample that the guest has too little. Where plenty is available the same
 * signs have another cause (a limit inside the guest, data coming back from swap, a start): then
 * more memory would not help, but none is taken either. Sets *ret_held for that, and *ret_grave
 * when somebody waited or was killed for memory.
 */
static bool suffers(const struct now_guest *guest, const struct pol_guest *in, uint64_t since_us,
		    bool *ret_held, bool *ret_grave)
{
	const struct guest_past *past = guest->past;
	uint64_t span = max_u64(since_us, 500 * MSEC);
	uint64_t swap_in = mul_div(rise(past->swap_in, in->stat_swap_in_bytes), SEC, span);
	uint64_t faults = mul_div(rise(past->faults, in->stat_major_faults), SEC, span);
	uint64_t stalls = rise(past->stalls, in->stat_alloc_stalls);
	uint64_t ooms = rise(past->ooms, in->stat_oom_kills);
	uint64_t available = guest->available, reserve = guest->reserve;
	bool sign = swap_in >= MIB || (swap_in >= 128 * KIB && available < reserve) ||
		    mul_div(stalls, SEC, span) >= 50 || (stalls && available < 2 * reserve) ||
		    (faults >= 100 && available < reserve) ||
		    (available < 2 * reserve && scans_in_vain(past, in, span));

	if (FAULT(sign_oom))
		ooms = 0;
	if (FAULT(sign_rates))
		sign = false;
	*ret_held = ooms || sign;
	*ret_grave = ooms || stalls;
	return ooms || (sign && available < 4 * reserve);
}

static void sense_trusted(const struct pol_config *config, const struct now_host *tick,
			  struct now_guest *guest)
{
	struct guest_past *past = guest->past;
	bool fresh = guest->fresh, held = false;
	uint64_t since_us = past->sampled ? sub_sat(tick->now_us, past->sample_us) : 0, needs;

	follow_working_set(tick, guest, fresh, since_us);
	if (past->sampled && fresh && suffers(guest, guest->in, since_us, &held, &guest->grave))
		guest->distress = true;
	if (held && !FAULT(trouble_hold))
		guest_hold(tick, past, config->trouble_hold_us);
	if (fresh) {
		keep_counters(past, guest->in);
		past->sample_us = tick->now_us;
	}
	if (!past->adopted) {
		past->adopted = true;
		past->young_us = FAULT(young) ? 0 : tick->now_us + YOUNG_US;
	}
	past->sampled = true;
	needs = past->ws;
	if (guest->in->reporting && !FAULT(floor_reports))
		needs = max_u64(needs, max_u64(past->ws_peak[0], past->ws_peak[1]));
	guest->floor = clamp_u64(needs + guest->reserve, guest->min, guest->memory);
	if (FAULT(floor))
		guest->floor = guest->min;
	if (FAULT(floor_reserve))
		guest->floor = clamp_u64(past->ws, guest->min, guest->memory);
	if (FAULT(floor_min))
		guest->floor = min_u64(past->ws + guest->reserve, guest->memory);
}

void guest_sense(const struct pol_config *config, const struct now_host *tick,
		 struct now_guest *guest)
{
	struct guest_past *past = guest->past;

	guest->reserve = clamp_u64(ppm_of(guest->memory, config->guest_reserve_ppm),
				   config->guest_reserve_bytes, config->guest_reserve_max_bytes);
	guest->reserve = min_u64(guest->reserve, guest->memory / 2);
	remember_actual(past, tick->now_us, guest->actual);
	guest->trust = judge(config, tick, guest);
	if (guest->trust != POL_TRUST_LIES)
		past->lies_since_us = 0;
	if (guest->trust == POL_TRUST_OK) {
		sense_trusted(config, tick, guest);
	} else {
		/* Nothing is taken from a guest that cannot be judged. */
		guest->floor = max_u64(guest->actual, min_u64(guest->min, guest->memory));
		if (FAULT(floor_untrusted))
			guest->floor = guest->min;
		past->growth = 0;
		if (guest->trust == POL_TRUST_LIES && !past->lies_since_us)
			past->lies_since_us = max_u64(tick->now_us, 1);
		if (guest->trust == POL_TRUST_BACK) {
			keep_counters(past, guest->in);
			past->sampled = false;
			past->young_us = FAULT(restart_young) ? 0 : tick->now_us + YOUNG_US;
		}
	}
	guest->liar = past->lies_since_us && tick->now_us - past->lies_since_us >= LIAR_US &&
		      !FAULT(liar);
}

uint64_t guest_comfort(const struct now_guest *guest)
{
	return clamp_u64(guest->past->ws_late + 2 * guest->reserve, guest->floor, guest->memory);
}

void guest_hold(const struct now_host *tick, struct guest_past *past, uint64_t for_us)
{
	if (tick->now_us >= past->hold_us)
		past->hold_used = 0;
	past->hold_used = max_u64(past->hold_used, past->used);
	past->hold_us = max_u64(past->hold_us, add_sat(tick->now_us, for_us));
}

void guest_conclude(const struct now_host *tick, struct now_guest *guest)
{
	struct guest_past *past = guest->past;
	uint64_t target = past->target;
	bool held;

	/* What did not come is nothing to live on. */
	if (balloon_is_owed(guest) && !FAULT(owed_urgent))
		target = guest->actual;
	if (tick->now_us >= past->sore_us)
		past->sore = 0;
	if (guest->distress)
		past->trouble_us = tick->now_us + TROUBLE_US;
	guest->urgent = guest->trust == POL_TRUST_OK &&
			add_sat(guest->available, target) < guest->actual_late + guest->reserve / 4;
	guest->starves =
		(guest->distress || guest->urgent) && guest->trust == POL_TRUST_OK &&
		((guest->held_known && guest->held + guest->reserve / 4 >= guest->actual) ||
		 FAULT(starves_on_its_word));
	held = tick->now_us < past->hold_us;
	guest->young = tick->now_us < past->young_us;
	guest->freed = held && tick->now_us >= past->trouble_us &&
		       past->ws + guest->reserve / 4 < past->hold_used;
	guest->held_back =
		!past->adopted || guest->distress || (held && !guest->freed) || guest->young;
	if (FAULT(held_back))
		guest->held_back = false;
}
