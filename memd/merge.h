/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the policy decides of merging, carried out on guests and on the host, and what memd has to
 * remember for it: whose merging it has switched off, in DIR/merge-off, so that a memd after a
 * crash knows them from guests that were started with merge=off.
 */
#ifndef MEMD_MERGE_H
#define MEMD_MERGE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "memd/act.h"
#include "memd/anchor.h"
#include "memd/guest.h"
#include "memd/isolation.h"
#include "policy/policy.h"

/*
 * With trust domains in use: is there a process that may hold mergeable memory of a guest and has
 * not told yet what it is? *ret_guest (may be NULL): one of them.
 */
bool merge_is_unsorted(const struct guests *guests, const struct guest **ret_guest);

/* Write down whose merging memd has switched off. 0 or -errno. */
int merge_keep(const struct guests *guests, const char *dir);

/* A guest was found: was its merging switched off by a memd before this one? */
void merge_recall(struct guest *guest, const char *dir);

/* Carry out POL_MERGE and POL_KSM_NODES. now_us as given to pol_step(). */
void merge_act(struct act *act, const struct pol_action *action, uint64_t now_us);

/*
 * May KSM's files be restored, without waiting for the kernel to unmerge all? Begins that where it
 * has to be, and until it has ended the answer is no.
 */
bool merge_may_restore(struct act *act);

/* Is the kernel unmerging all? Until it has, KSM's run and merge_across_nodes hold up who writes
 * them. */
bool merge_is_unmerging(const struct act *act);

/* The answer to it (guests_hooks.merge_done). */
void merge_act_done(struct act *act, struct guest *guest, uint64_t number, int error,
		    const char *desc);

/*
 * At a clean stop: switch on what memd has switched off, unless guests of several trust domains
 * could then be merged with each other.
 */
void merge_leave(struct act *act);

/* Why the guest's merging is off, or to be; false: it is not. */
bool merge_off_text(const struct guest *guest, char *buf, size_t n);

/* What stays mergeable of it though it is off; false: nothing, or that is not known yet. */
bool merge_marks_text(const struct guest *guest, char *buf, size_t n);

/* The "merging" object of query-status; crossed_us: when the last look came, 0: none yet. */
json_object *merge_json(const struct guests *guests, const struct pol_merge_view *view,
			const struct anchor_result *anchored,
			const struct isolation_result *crossed, uint64_t crossed_us);

#endif
