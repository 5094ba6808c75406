/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account of decisions: what each was expected to bring and what it did bring, in a ring of
 * fixed size for `memctl explain`. Nothing is allocated after account_init().
 */
#ifndef MEMD_ACCOUNT_H
#define MEMD_ACCOUNT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

#define ACCOUNT_MAX 512
/* When the gain is measured, unless the next decision on the same thing comes first; of reclaim not
 * before it is settled. */
#define ACCOUNT_BALLOON_US 5000000ULL
#define ACCOUNT_RECLAIM_US 5000000ULL
#define ACCOUNT_KSM_US	   30000000ULL
/* What was learned of a rung is forgotten within so long: it gets another try. */
#define ACCOUNT_FORGET_US 600000000ULL

enum account_outcome {
	ACCOUNT_PENDING,
	ACCOUNT_DONE,
	ACCOUNT_FAILED,
	ACCOUNT_DRY_RUN,
	ACCOUNT_UNNEEDED
};
const char *account_outcome_name(enum account_outcome outcome);

struct account_entry {
	uint64_t number; /* from 1, 0: free */
	uint64_t wall_us, now_us, tick;
	char guest[POL_NAME_MAX]; /* "" for the host */
	struct pol_action action;
	char text[200]; /* instead of the reason's text, or "" */
	enum account_outcome outcome;
	char error[128];	 /* why it failed */
	bool open;		 /* gain still to be measured */
	uint64_t baseline_bytes; /* held by or taken for the guest, or saved by KSM, when decided */
	uint64_t measured_bytes; /* POL_ABSENT: not (yet) */
};

/* Promised and brought, older decisions counting less, and when that was measured last. */
struct account_rung {
	unsigned int n;
	uint64_t expected_bytes, measured_bytes, measured_us;
};

struct account {
	struct account_entry ring[ACCOUNT_MAX];
	uint64_t next; /* number of the next entry */
	struct account_rung rungs[POL_RUNG_COUNT];
};

void account_init(struct account *account);

/*
 * Add a decision. baseline_bytes: for a balloon what the host holds for the guest now (resident and
 * swapped), for reclaim what of memory that takes (see reclaim.h), for KSM what it saves now;
 * POL_ABSENT: not known, so nothing will be measured. An earlier open decision on the same thing is
 * measured with it and closed, so that no byte is counted for two. Returns its number.
 */
uint64_t account_add(struct account *account, const struct pol_action *action, const char *guest,
		     uint64_t baseline_bytes, uint64_t wall_us, uint64_t now_us, uint64_t tick,
		     enum account_outcome outcome);

/* How it ended. error may be NULL. An entry that has left the ring is no error. */
void account_settle(struct account *account, uint64_t number, enum account_outcome outcome,
		    const char *error);

/* Explain the entry in other words than its reason's; NULL: in those. */
void account_set_text(struct account *account, uint64_t number, const char *text);

/*
 * Measure what is due. now(ctx, kind, guest id) says what an action of that kind on that guest is
 * measured by, as of now, POL_ABSENT when it is gone; ksm_bytes is what KSM saves now.
 */
typedef uint64_t (*account_now_fn)(void *ctx, enum pol_action_kind kind, uint64_t guest);
void account_measure(struct account *account, uint64_t now_us, uint64_t ksm_bytes,
		     account_now_fn now, void *ctx);

/* What the rung brought of what it promised lately, ppm, at most 1000000; POL_ABSENT: too few of
 * its decisions were measured. */
uint64_t account_kept_ppm(const struct account *account, enum pol_rung rung, uint64_t now_us);

/* The newest decision of that kind on that guest, NULL: none in the ring. */
const struct account_entry *account_last(const struct account *account, enum pol_action_kind kind,
					 uint64_t guest);

/* Adds to `one` what an action says: who, what, why, the numbers it used, and what was rejected.
 * guest NULL: the host; text: instead of the reason's, or NULL. */
void account_describe(json_object *one, const struct pol_action *action, const char *guest,
		      const char *text);

/* A wall-clock time in RFC 3339, UTC with milliseconds. */
void account_add_time(json_object *obj, const char *key, uint64_t wall_us);

/*
 * The "decisions" array of query-explain, newest last. guest (may be NULL): only that name's;
 * limit: at most so many of the newest. The caller puts it.
 */
json_object *account_json(const struct account *account, const char *guest, size_t limit);

#endif
