// SPDX-License-Identifier: Apache-2.0
/* The ring of decisions and the measuring of their gains; see account.h. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/wire.h"
#include "memd/account.h"

#define PPM	    1000000ULL
#define LEARN_LEAST 3 /* measured decisions that tell something */
#define LEARN_PARTS 8 /* an older one counts an eighth less than the next */

const char *account_outcome_name(enum account_outcome outcome)
{
	static const char *const names[] = {
		[ACCOUNT_PENDING] = "pending",	 [ACCOUNT_DONE] = "done",
		[ACCOUNT_FAILED] = "failed",	 [ACCOUNT_DRY_RUN] = "dry-run",
		[ACCOUNT_UNNEEDED] = "unneeded",
	};

	return names[outcome];
}

void account_init(struct account *account)
{
	memset(account, 0, sizeof(*account));
	account->next = 1;
}

static struct account_entry *slot(struct account *account, uint64_t number)
{
	struct account_entry *entry = &account->ring[number % ACCOUNT_MAX];

	return number && entry->number == number ? entry : NULL;
}

/* By what a decision is measured. */
enum measure { MEASURE_KSM, MEASURE_HELD, MEASURE_TAKEN, MEASURE_NOT };

static enum measure measure_of(const struct pol_action *action)
{
	if (action->kind == POL_BALLOON)
		return MEASURE_HELD;
	if (action->kind == POL_POOL || action->kind == POL_COLLAPSE)
		return MEASURE_NOT;
	return action->kind == POL_RECLAIM ? MEASURE_TAKEN : MEASURE_KSM;
}

/* Two decisions whose gains cannot be told apart while both are open. */
static bool is_same_thing(const struct pol_action *a, const struct pol_action *b)
{
	return measure_of(a) == measure_of(b) && measure_of(a) != MEASURE_NOT &&
	       a->guest == b->guest;
}

static void learn(struct account *account, const struct account_entry *entry, uint64_t now_us)
{
	struct account_rung *rung = &account->rungs[entry->action.rung];
	uint64_t expected = entry->action.gain_bytes, measured = entry->measured_bytes;

	/* What came by itself is no merit. */
	if (measured > expected)
		measured = expected;
	rung->n++;
	rung->expected_bytes = rung->expected_bytes / LEARN_PARTS * (LEARN_PARTS - 1) + expected;
	rung->measured_bytes = rung->measured_bytes / LEARN_PARTS * (LEARN_PARTS - 1) + measured;
	rung->measured_us = now_us;
}

static void close_entry(struct account *account, struct account_entry *entry, uint64_t bytes_now,
			uint64_t now_us)
{
	uint64_t base = entry->baseline_bytes;

	entry->open = false;
	if (!pol_has(bytes_now) || !pol_has(base))
		return;
	/* KSM raises what is saved, the others lower what is held; a loss is no gain, not a
	 * negative one. */
	if (measure_of(&entry->action) == MEASURE_KSM)
		entry->measured_bytes = bytes_now > base ? bytes_now - base : 0;
	else
		entry->measured_bytes = base > bytes_now ? base - bytes_now : 0;
	learn(account, entry, now_us);
}

uint64_t account_kept_ppm(const struct account *account, enum pol_rung rung, uint64_t now_us)
{
	const struct account_rung *r = &account->rungs[rung];
	uint64_t kept, age;

	if (r->n < LEARN_LEAST || r->expected_bytes == 0)
		return POL_ABSENT;
	kept = (uint64_t)((unsigned __int128)r->measured_bytes * PPM / r->expected_bytes);
	kept = kept > PPM ? PPM : kept ? kept : 1;
	age = now_us > r->measured_us ? now_us - r->measured_us : 0;
	if (age > ACCOUNT_FORGET_US)
		age = ACCOUNT_FORGET_US;
	return kept + (uint64_t)((unsigned __int128)(PPM - kept) * age / ACCOUNT_FORGET_US);
}

uint64_t account_add(struct account *account, const struct pol_action *action, const char *guest,
		     uint64_t baseline_bytes, uint64_t wall_us, uint64_t now_us, uint64_t tick,
		     enum account_outcome outcome)
{
	struct account_entry *entry;

	if (outcome != ACCOUNT_DRY_RUN)
		for (size_t i = 0; i < ACCOUNT_MAX; i++)
			if (account->ring[i].open &&
			    is_same_thing(&account->ring[i].action, action))
				/* Of two in one tick the last is measured for both. */
				close_entry(account, &account->ring[i],
					    account->ring[i].now_us == now_us ? POL_ABSENT
									      : baseline_bytes,
					    now_us);
	entry = &account->ring[account->next % ACCOUNT_MAX];
	*entry = (struct account_entry){
		.number = account->next++,
		.wall_us = wall_us,
		.now_us = now_us,
		.tick = tick,
		.action = *action,
		.outcome = outcome,
		.baseline_bytes = baseline_bytes,
		.measured_bytes = POL_ABSENT,
	};
	snprintf(entry->guest, sizeof(entry->guest), "%s", guest ? guest : "");
	entry->open = pol_has(baseline_bytes) && action->gain_bytes > 0 &&
		      (outcome == ACCOUNT_PENDING || outcome == ACCOUNT_DONE);
	return entry->number;
}

void account_settle(struct account *account, uint64_t number, enum account_outcome outcome,
		    const char *error)
{
	struct account_entry *entry = slot(account, number);

	if (!entry)
		return;
	entry->outcome = outcome;
	if (outcome == ACCOUNT_FAILED || outcome == ACCOUNT_UNNEEDED)
		entry->open = false;
	snprintf(entry->error, sizeof(entry->error), "%s", error ? error : "");
}

void account_set_text(struct account *account, uint64_t number, const char *text)
{
	struct account_entry *entry = slot(account, number);

	if (entry)
		snprintf(entry->text, sizeof(entry->text), "%s", text ? text : "");
}

void account_measure(struct account *account, uint64_t now_us, uint64_t ksm_bytes,
		     account_now_fn now, void *ctx)
{
	static const uint64_t due_us[] = {
		[MEASURE_KSM] = ACCOUNT_KSM_US,
		[MEASURE_HELD] = ACCOUNT_BALLOON_US,
		[MEASURE_TAKEN] = ACCOUNT_RECLAIM_US,
	};

	for (size_t i = 0; i < ACCOUNT_MAX; i++) {
		struct account_entry *entry = &account->ring[i];
		enum measure measure = measure_of(&entry->action);

		if (!entry->open || now_us - entry->now_us < due_us[measure])
			continue;
		/* It may take longer than that to see what is cold. */
		if (measure == MEASURE_TAKEN && entry->outcome == ACCOUNT_PENDING)
			continue;
		close_entry(account, entry,
			    measure == MEASURE_KSM
				    ? ksm_bytes
				    : now(ctx, entry->action.kind, entry->action.guest),
			    now_us);
	}
}

const struct account_entry *account_last(const struct account *account, enum pol_action_kind kind,
					 uint64_t guest)
{
	for (uint64_t number = account->next; number-- > 1;) {
		const struct account_entry *entry = &account->ring[number % ACCOUNT_MAX];

		if (entry->number != number)
			break;
		if (entry->action.kind == kind && entry->action.guest == guest)
			return entry;
	}
	return NULL;
}

static json_object *inputs_json(const struct pol_action *a)
{
	json_object *inputs = json_object_new_object();

	json_add_str(inputs, "state", pol_state_name(a->state));
	json_add_u64(inputs, "available_bytes", a->available_bytes);
	json_add_u64(inputs, "need_bytes", a->need_bytes);
	if (measure_of(a) == MEASURE_HELD || measure_of(a) == MEASURE_TAKEN) {
		json_add_u64(inputs, "floor_bytes", a->floor_bytes);
		json_add_u64(inputs, "working_set_bytes", a->working_set_bytes);
		json_add_u64(inputs, "hot_bytes", a->hot_bytes);
		json_add_u64(inputs, "entitled_bytes", a->entitled_bytes);
	}
	if (a->kind == POL_KSM_RATE) {
		json_add_u64(inputs, "sleep_millisecs", a->to2);
		json_add_bool(inputs, "urgent", a->to4 == 1);
	}
	if (a->other)
		json_add_u64(inputs, "for_guest_id", a->other);
	return inputs;
}

static json_object *rejected_json(const struct pol_action *a)
{
	json_object *rejected = json_object_new_array();

	for (unsigned int rung = POL_RUNG_NONE; rung < POL_RUNG_COUNT; rung++) {
		json_object *one;

		if (!(a->rejected & (1U << rung)))
			continue;
		one = json_object_new_object();
		json_add_str(one, "rung", pol_rung_name(rung));
		json_add_str(one, "why", pol_reason_text(a->rejected_why[rung]));
		json_object_array_add(rejected, one);
	}
	return rejected;
}

void account_add_time(json_object *obj, const char *key, uint64_t wall_us)
{
	time_t seconds = (time_t)(wall_us / USEC_PER_SEC);
	char date[40], text[48];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%03uZ", date,
		 (unsigned int)(wall_us % USEC_PER_SEC / 1000));
	json_add_str(obj, key, text);
}

/* For scripts; people get reason_text. */
static const char *reason_name(enum pol_reason reason)
{
	static const char *const names[] = {
		[POL_WHY_NONE] = "none",
		[POL_WHY_TROUBLE] = "trouble",
		[POL_WHY_GUEST_NEEDS] = "guest-needs",
		[POL_WHY_HOST_SHORT] = "host-short",
		[POL_WHY_FOR_OTHER] = "for-other",
		[POL_WHY_HOST_PLENTY] = "host-plenty",
		[POL_WHY_KSM_GAIN] = "ksm-gain",
		[POL_WHY_KSM_PRESSURE] = "ksm-pressure",
		[POL_WHY_KSM_NO_GAIN] = "ksm-no-gain",
		[POL_WHY_KSM_NOTHING] = "ksm-nothing",
		[POL_WHY_RELEASE] = "release",
		[POL_WHY_COLLECT] = "collect",
		[POL_WHY_DEVICE_STUCK] = "device-stuck",
		[POL_WHY_KSM_LOST] = "ksm-lost",
		[POL_WHY_KSM_FOUND] = "ksm-found",
		[POL_WHY_KSM_BACK] = "ksm-back",
		[POL_WHY_DOMAIN_APART] = "domain-apart",
		[POL_WHY_DOMAIN_TURN] = "domain-turn",
		[POL_WHY_DOMAIN_OTHER] = "domain-other",
		[POL_WHY_DOMAIN_UNSORTED] = "domain-unsorted",
		[POL_WHY_DOMAIN_STUCK] = "domain-stuck",
		[POL_WHY_NOT_FIT] = "not-fit",
		[POL_WHY_MERGE_COST] = "merge-cost",
		[POL_WHY_MERGE_AGAIN] = "merge-again",
		[POL_WHY_COW_CLIFF] = "cow-cliff",
		[POL_WHY_RECLAIM] = "reclaim",
		[POL_WHY_RECLAIM_AHEAD] = "reclaim-ahead",
		[POL_WHY_NUMA_REMOTE] = "numa-remote",
		[POL_WHY_NUMA_RESERVE] = "numa-reserve",
		[POL_WHY_ACROSS_GAIN] = "across-gain",
		[POL_WHY_ACROSS_FAR] = "across-far",
		[POL_WHY_ACROSS_SET] = "across-set",
		[POL_WHY_ACROSS_CHANGE] = "across-change",
		[POL_WHY_POOL_PENDING] = "pool-pending",
		[POL_WHY_POOL_SHORT] = "pool-short",
		[POL_WHY_POOL_IDLE] = "pool-idle",
		[POL_WHY_POOL_BACK] = "pool-back",
		[POL_WHY_HUGE_BROKEN] = "huge-broken",
		[POL_WHY_DOMAIN_CROSSED] = "domain-crossed",
	};

	return reason < ARRAY_SIZE(names) && names[reason] ? names[reason] : "other";
}

static const char *unit(enum pol_action_kind kind)
{
	switch (kind) {
	case POL_BALLOON:
	case POL_RECLAIM:
		return "bytes";
	case POL_KSM_RATE:
		return "pages_to_scan";
	case POL_MERGE:
		return "merge";
	case POL_KSM_NODES:
		return "merge_across_nodes";
	case POL_NUMA_MOVE:
		return "node";
	case POL_POOL:
		return "pages";
	case POL_COLLAPSE:
		return "bytes";
	default:
		return "run";
	}
}

/* A move may come from several nodes: then it has no one number. */
static uint64_t from_of(const struct pol_action *a)
{
	if (a->kind != POL_NUMA_MOVE)
		return a->from;
	return a->from && !(a->from & (a->from - 1)) ? (uint64_t)__builtin_ctzll(a->from)
						     : POL_ABSENT;
}

/* Is its gain processor time of the guest's, not memory? */
static bool is_for_time(const struct pol_action *a)
{
	return a->kind == POL_NUMA_MOVE || a->kind == POL_COLLAPSE ||
	       (a->kind == POL_KSM_NODES && a->gain_us);
}

void account_describe(json_object *one, const struct pol_action *a, const char *guest,
		      const char *text)
{
	json_add_str(one, "guest", guest);
	json_add_str(one, "action", pol_action_name(a->kind));
	json_add_u64(one, "from", from_of(a));
	json_add_u64(one, "to", a->to);
	json_add_str(one, "unit", unit(a->kind));
	json_add_str(one, "rung", pol_rung_name(a->rung));
	json_add_str(one, "reason", reason_name(a->reason));
	json_add_str(one, "reason_text", text ? text : pol_reason_text(a->reason));
	json_object_object_add(one, "inputs", inputs_json(a));
	json_add_u64(one, "expected_gain_bytes", a->gain_bytes);
	json_add_u64(one, "expected_gain_us", is_for_time(a) ? a->gain_us : POL_ABSENT);
	json_add_u64(one, "cost_us", a->cost_us);
	json_object_object_add(one, "rejected", rejected_json(a));
}

static json_object *entry_json(const struct account_entry *entry)
{
	json_object *one = json_object_new_object();

	account_add_time(one, "time", entry->wall_us);
	json_add_u64(one, "tick", entry->tick);
	account_describe(one, &entry->action, entry->guest[0] ? entry->guest : NULL,
			 entry->text[0] ? entry->text : NULL);
	json_add_u64(one, "measured_gain_bytes", entry->measured_bytes);
	json_add_str(one, "outcome", account_outcome_name(entry->outcome));
	json_add_str(one, "error", entry->error[0] ? entry->error : NULL);
	return one;
}

json_object *account_json(const struct account *account, const char *guest, size_t limit)
{
	json_object *decisions = json_object_new_array();
	uint64_t oldest = account->next > ACCOUNT_MAX ? account->next - ACCOUNT_MAX : 1;
	uint64_t first = account->next;
	size_t found = 0;

	/* Back from the newest until there are enough, then out in order. */
	while (first > oldest && found < limit) {
		const struct account_entry *entry = &account->ring[--first % ACCOUNT_MAX];

		if (!guest || strcmp(entry->guest, guest) == 0)
			found++;
	}
	for (uint64_t number = first; number < account->next; number++) {
		const struct account_entry *entry = &account->ring[number % ACCOUNT_MAX];

		if (!guest || strcmp(entry->guest, guest) == 0)
			json_object_array_add(decisions, entry_json(entry));
	}
	return decisions;
}
