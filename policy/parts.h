/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the policy offer each other; tick.h has the numbers of one tick, past.h what is
 * remembered between ticks. Private to policy/.
 */
#ifndef MEMD_POLICY_PARTS_H
#define MEMD_POLICY_PARTS_H

#include "policy/fault.h"
#include "policy/past.h"
#include "policy/policy.h"
#include "policy/tick.h"

struct pol {
	struct pol_config config;
	struct host_past host;
	struct ksm_past ksm;
	struct merge_past merge;
	struct reclaim_past reclaim;
	size_t max_guests, n_past;
	struct guest_past *past, *past_next; /* sorted by id; swapped every step */
	struct now_guest *now;
	struct share_claim *claims; /* scratch, one per guest */
	size_t n_now;
	struct now_host tick;
	struct pol_plan plan;
	size_t max_actions;
};

/* Less is available than is to be, or was a moment ago. */
static inline bool is_short(const struct pol *pol)
{
	return pol->host.is_short || pol->tick.state >= POL_STATE_SOFT;
}

/* In want: guests wait for memory soon, or do. */
static inline bool is_pressed(const struct pol *pol)
{
	return pol->tick.state >= POL_STATE_HARD;
}

/* ---- host_state.c ---- */

/* The thresholds in bytes for a host of memory_bytes. */
void host_state_marks(const struct pol_config *config, uint64_t memory_bytes,
		      struct marks *ret_marks);

/* The state after `before`: downward at once, upward only past the hysteresis. */
enum pol_state host_state_next(const struct marks *marks, enum pol_state before,
			       uint64_t available_bytes);

/* Fills state, predicted, need, ready and ease of pol->tick; returned: host bytes that balloons
 * freed since the last tick. */
void host_state_sense(struct pol *pol, uint64_t returned_bytes);

/* ---- guest_floor.c ---- */

/* Reads one guest's numbers: trust, working set, reserve, floor, distress. */
void guest_sense(const struct pol_config *config, const struct now_host *tick,
		 struct now_guest *guest);

/* Nothing is taken from the guest for a time. */
void guest_hold(const struct now_host *tick, struct guest_past *past, uint64_t for_us);

/* After balloon_follow(): trouble, urgency, and whether anything may be taken. */
void guest_conclude(const struct now_host *tick, struct now_guest *guest);

/* The size that leaves the guest at ease: what it used of late and twice its reserve. */
uint64_t guest_comfort(const struct now_guest *guest);

/* ---- hot.c ---- */

/* Fills `hot` from what the host's kernel saw in use, as far as that can still be trusted. */
void hot_sense(struct now_guest *guest);

/* ---- balloon.c ---- */

/* Follows the guest's balloon since the last tick: progress, arrival, stuck, moved by itself.
 * Returns the host bytes it freed meanwhile. */
uint64_t balloon_follow(const struct pol_config *config, const struct now_host *tick,
			struct now_guest *guest);

/* Host bytes freed when the guest's size goes from `from` to `to`. */
uint64_t balloon_gain(const struct now_guest *guest, uint64_t from, uint64_t to);

/* The size down to which the balloon finds free memory; below, page cache. */
uint64_t balloon_free_end(const struct now_guest *guest);

/* Of the guest's free memory, what the host holds. */
uint64_t balloon_backed_free(const struct now_guest *guest);

/* So much stays free: below that the guest's kernel reclaims. */
uint64_t balloon_kept_free(const struct now_guest *guest);

/* Host bytes still to come from a balloon on its way, within lead_us at its learned speed. */
uint64_t balloon_coming(const struct now_guest *guest, uint64_t lead_us);

/* Host bytes a second that the balloon can free at best. */
uint64_t balloon_yield(const struct pol *pol, const struct now_guest *guest);

/* First sight: what the guest has is its target. */
void balloon_adopt(const struct now_host *tick, struct now_guest *guest);

/* Stuck on the way up: what it was given has not come. */
bool balloon_is_owed(const struct now_guest *guest);

/* Stuck so that nothing can be taken by it: not when it only does not give back. */
bool balloon_is_stuck(const struct now_guest *guest);

/* Smallest change worth an order. */
uint64_t balloon_least(const struct now_guest *guest);

/* Records a new target. */
void balloon_ask(const struct now_host *tick, struct now_guest *guest, uint64_t target);

/* ---- balloon_cache.c ---- */

/* What a byte of the guest's page cache frees when the guest drops it, ppm: nothing where others
 * map the same page. */
uint64_t balloon_cache_ppm(const struct now_guest *guest);

/* What is to become of a guest's page cache, as of the last tick. */
enum cache_way {
	CACHE_LEFT,	  /* swapping, by memd or by the kernel, frees more or hurts less */
	CACHE_TAKEN,	  /* as any other memory */
	CACHE_PACED,	  /* so much in a time from all guests together, each in its turn */
	CACHE_PACED_LAST, /* and so much of it is merged that others' comes first */
};
enum cache_way balloon_cache_way(const struct pol *pol, const struct now_guest *guest);

/* `floor`, or the size down to which there is free memory where the cache below is not to be had:
 * now, or in time. */
uint64_t balloon_cache_floor(const struct pol *pol, const struct now_guest *guest, uint64_t floor,
			     bool in_time);

/* The pace: bytes of cache that may be taken now; the most from one guest at once; so many are. */
uint64_t balloon_cache_credit(const struct pol *pol);
uint64_t balloon_cache_most(const struct pol *pol);
void balloon_cache_took(struct pol *pol, uint64_t bytes);

/* ---- mem_device.c ---- */

/* No progress for too long: was it the memory device? Then the balloon does the rest. */
bool mem_device_give_up(const struct now_host *tick, struct now_guest *guest);

/* Says in each order how much of it is the memory device's, and orders what was resplit. */
void mem_device_plan(struct pol *pol);

/* ---- share.c ---- */

/* Fills `entitled` of all usable guests. */
void share_entitle(struct pol *pol);

/*
 * Spreads `need` over n claims, so that what the guests hold, idle memory taxed, becomes equal per
 * share, or as near as their limits allow. Fills `part` of each; returns their sum.
 */
struct share_claim {
	uint64_t held, working_set, shares;
	uint64_t limit; /* the most it can bring */
	uint64_t part;
};
uint64_t share_spread(const struct pol_config *config, struct share_claim *claims, size_t n,
		      uint64_t need);

/* ---- balloon_give.c ---- */

/* Decides what guests in need get now. Returns what others should be asked for on top of the
 * host's need, and for whom. */
uint64_t give_decide(struct pol *pol, uint64_t *ret_other);

/* Once the host is well again: puts squeezed guests at ease. */
void give_comfort_decide(struct pol *pol);

/* Decides what is given back because the host has had plenty for a while. */
void give_back_decide(struct pol *pol);

/* Adds what was decided, and releases, to the plan. */
void give_plan(struct pol *pol);

/* ---- balloon_take.c ---- */

/* Shares out the taking of `need` host bytes and adds it to the plan: for the host up to
 * host_need, for the guest `other` beyond. When that is nothing, collects up to `ease` of what
 * guests have free and do not miss. */
void take_decide(struct pol *pol, uint64_t need, uint64_t host_need, uint64_t other, uint64_t ease);

/* ---- reclaim_trouble.c ---- */

/* What the host holds of the guest in memory; 0: not known. */
uint64_t reclaim_resident(const struct now_guest *guest);

/* So much of a guest stays resident whatever happens. */
uint64_t reclaim_least(const struct now_guest *guest);

/* Follows how the host's tasks, and a guest, took what was reclaimed; settles the guest's last
 * order and fills its reclaim.floor. */
void reclaim_follow_host(struct pol *pol, const struct pol_host *host);
void reclaim_follow_guest(struct pol *pol, const struct pol_host *host, struct now_guest *guest);

/* Is nothing asked of the guest for now, for past->hold_why? */
bool reclaim_on_hold(const struct pol *pol, const struct guest_reclaim *past);

/* ---- reclaim.c ---- */

/* Can nobody tell memd what of the guest is cold? Then nothing is reclaimed, unless asked for. */
bool reclaim_is_blind(const struct pol *pol, const struct now_guest *guest);

/* What of a byte that goes to swap comes free: swap may be memory itself (zram). */
uint64_t reclaim_net_ppm(const struct pol_host *host);

/* Orders what is to be swapped out: of the `need` host bytes, what balloons cannot bring in time;
 * and what is missing to tick.ready. */
void reclaim_decide(struct pol *pol, const struct pol_host *host, uint64_t need);

/*
 * Of the guest, after reclaim_decide(): bytes that could go to swap besides what its balloon can
 * give, in time; 0: nothing, or not now. What swap has room for is another matter.
 */
uint64_t reclaim_spare(const struct now_guest *guest, uint64_t balloon_bytes);

/* Host bytes that come free when so many go to swap, as far as such promises were kept; and the
 * time that it takes. */
uint64_t reclaim_gain(const struct pol *pol, uint64_t bytes);
uint64_t reclaim_cost_us(const struct pol *pol, uint64_t bytes);

/* ---- ksm_worth.c ---- */

/* What is new is merged by so many full scans: the first may be half of one, the next only learns
 * which pages hold still. */
#define KSM_SCANS_LEAST 3

/*
 * Follows KSM's counters: ksmd's allowance, the price of a page, the yield of full scans and of the
 * patrol. held: mergeable bytes of all guests. False: a counter went back, so that nothing can be
 * said of this tick and what is measured starts anew.
 */
bool ksm_follow(struct pol *pol, const struct pol_ksm *in, uint64_t held);

/* Something to merge appeared: full scans count from now. */
void ksm_begin(struct pol *pol, enum ksm_news news, uint64_t held);

/* Bytes that scanning everything could bring now, on patrol; *ret_news: by what sign. */
uint64_t ksm_backlog(const struct pol *pol, uint64_t held, enum ksm_news *ret_news);
/* Read back from swap, and not yet seen by ksmd as of the last tick. */
uint64_t ksm_back_bytes(const struct pol *pol, const struct pol_ksm *in);

/* Bytes that a campaign must promise to be begun: worth its CPU time, and not a trifle. */
uint64_t ksm_threshold(const struct pol *pol, uint64_t held, enum ksm_news news);

/* CPU time of one full scan. */
uint64_t ksm_scan_cost_us(const struct pol *pol, uint64_t held);

/* CPU time that a page of a campaign takes, as far as is known, ns. */
uint64_t ksm_page_ns(const struct pol *pol);

/* How many times more memory is worth on a short host. */
uint64_t ksm_urgency(const struct pol *pol);

/* Is a full scan within_us of its end, by its pace, that may be the campaign's last? */
bool ksm_may_end(const struct pol *pol, uint64_t held, uint64_t within_us);

/* How long guests' memory must not grow any more before it is scanned at full rate; 0: it may be.
 * On a host that is short it always may. */
uint64_t ksm_rush_left_us(const struct pol *pol);

/* The share of a core that ksmd may take now, ppm. */
uint64_t ksm_duty(const struct pol *pol, bool patrol);

/* ---- ksm.c ---- */

/* Adds KSM's actions to the plan. */
void ksm_decide(struct pol *pol, const struct pol_host *host);

/* ---- merge.c ---- */

/*
 * Where KSM may merge: guests' merging on and off, merge_across_nodes. Sets pol->merge.forbid when
 * KSM must not run at all, and then stops it; comes before ksm_decide(), which honours that.
 */
void merge_decide(struct pol *pol, const struct pol_host *host);

/* Host memory that unmerging may take now. */
uint64_t merge_room(const struct pol *pol);

/* May it be ordered now? Not the same again and again: each time later, from 10 s on. */
bool merge_may_order(bool same, uint64_t now_us, uint64_t *when_us, uint64_t *wait_us);

/* ---- merge_across.c ---- */

/* Have the kernel keep one tree for all nodes (to 1) or one for each (0): true: it does, or is
 * about to. */
bool merge_set_nodes(struct pol *pol, const struct pol_host *host, uint64_t to,
		     enum pol_reason why);

/*
 * Whether pages of different nodes are to be merged, unless trust domains decide that; fills the
 * view. True: it is being changed, and KSM has to stand still meanwhile.
 */
bool merge_across(struct pol *pol, const struct pol_host *host);

/* ---- merge_anchor.c ---- */

/* How much of what is merged is to be kept in memory: fills the view. changing: all is about to be
 * unmerged, for merge_across_nodes. */
void merge_anchor(struct pol *pol, const struct pol_host *host, bool changing);

/* ---- huge_split.c ---- */

/* Does the kernel swap guests of a host in want, so that their huge pages are better split? */
bool huge_split(const struct pol *pol, const struct pol_host *host);

/* ---- merge_domain.c ---- */

/* May the kernel merge some of it now, as far as is known? */
bool merge_may(const struct pol_guest *in);

/* Has it, or can it have, a part in merging? */
bool merge_has_part(const struct pol_guest *in);

/* Remembers of guests that are off whether something of them stays mergeable. */
void merge_look_for_marks(struct pol *pol);

/* Mergeable, and nothing memd can do makes all of it otherwise. */
bool merge_is_stuck(const struct now_guest *guest);

/* Bytes that merging it saves, or can be expected to. */
uint64_t merge_gain(const struct now_guest *guest);

/* Fills pol->merge.domains. */
void merge_domains_list(struct pol *pol);

/* One of them; NULL: no guest of it has a part. */
struct merge_domain *merge_domain_find(struct pol *pol, uint32_t domain);

/* Is every domain bound to nodes that no other is bound to? */
bool merge_domains_bound_apart(const struct merge_past *past);

/* Does every domain (or: of those that are mergeable now) lie on nodes where no other does? */
bool merge_domains_lie_apart(const struct merge_past *past, bool mergeable_only);

/* How many are mergeable now. */
size_t merge_domains_mergeable(const struct merge_past *past);

/* Does the guest lie on nodes where nothing of another domain's does? */
bool merge_lies_alone(const struct pol *pol, const struct pol_guest *in);

/* ---- merge_cost.c ---- */

/* Which guests' merging does not pay: fills cost_off. */
void merge_cost(struct pol *pol, const struct pol_ksm *in);

/* The bytes that CPU time spent in each hour has to hold: what it is worth. */
uint64_t merge_worth(uint64_t cpu_us);

/* What writes could claim back, and what is collected for that: raises the tick's ease, fills the
 * view and says in pol->merge.cliff that it could be more than there is. Merging goes on then: what
 * is merged and claimed back is no worse than what was never merged; but none of it is given away.
 */
void merge_guard(struct pol *pol, const struct pol_host *host);

/* ---- numa.c, node.c ---- */

/* Adds the move that pays most to the plan, if one does and none is under way. */
void numa_decide(struct pol *pol, const struct pol_host *host);

/* What of the node may be used: free and files that can be dropped less the reserve; 0: not known.
 */
uint64_t numa_room(const struct pol_config *config, const struct pol_node *node);

/* The same of what is free alone: huge pages find a place in nothing else. */
uint64_t numa_free_room(const struct pol_config *config, const struct pol_node *node);

/* What is missing of the reserve; 0: nothing, or not known. */
uint64_t numa_lack(const struct pol_config *config, const struct pol_node *node);

/* Between two nodes as the firmware tells it, 10: the same; unknown ones are taken for 20. */
uint64_t numa_distance(const struct pol_node *from, uint32_t to);

/* Of the CPU time of so many processors (ppm of one) in a span, what goes into waiting for memory
 * when accesses take so much longer than near ones. */
uint64_t numa_waiting_us(uint64_t cpu_ppm, uint64_t span_us, uint64_t penalty_ppm);

/* ---- policy.c ---- */

/* The next free action of the plan, filled with the tick's inputs and, if not NULL, the guest's. */
struct pol_action *plan_add(struct pol *pol, const struct now_guest *guest,
			    enum pol_action_kind kind, enum pol_reason reason, enum pol_rung rung);

/* Why memory is taken though page reporting and merging free some: they come before all else. */
void plan_reject_passive(const struct pol *pol, const struct now_guest *guest,
			 struct pol_action *action);

static inline void plan_reject(struct pol_action *action, enum pol_rung rung, enum pol_reason why)
{
	action->rejected |= 1u << rung;
	action->rejected_why[rung] = why;
}

#endif
