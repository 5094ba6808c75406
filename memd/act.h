/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only place that changes the host or a guest: KSM's files, each journalled before it is
 * written and read back after, and balloon targets. In a dry run it decides the same and says so.
 */
#ifndef MEMD_ACT_H
#define MEMD_ACT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/undo.h"
#include "memd/account.h"
#include "memd/guest.h"
#include "memd/host.h"
#include "memd/ksm.h"

struct act {
	int rootfd;
	struct undo *undo; /* NULL in a dry run */
	struct ksm *ksm;
	struct guests *guests;
	struct account *account;
	char dir[CONFIG_PATH_MAX]; /* the runtime directory, "": nothing is kept there */
	struct unmerge *unmerge;   /* under way, see merge.c; */
	bool unmerges_to_restore;  /* not for the policy, but to give KSM's files back */
	struct reclaim_work *reclaim;
	struct place *place; /* moves between nodes; NULL: none are made */
	bool dry_run;
	bool stopped;	   /* after act_reset(): nothing is changed any more */
	bool nice_refused; /* ksmd's nice value cannot be set; it has been told */
	/* As of this tick, kept up to date by the daemon: saved by KSM; what remains taken of a
	 * byte in swap. */
	uint64_t ksm_bytes, swap_cost_ppm;
	uint64_t tick;
	/* Something could not be done; text is one line. */
	void (*failed)(void *ctx, const char *text);
	void *ctx;
	struct log_limit limit;
};

/* Tell act->failed, in one line; the wall clock for the account. Shared with merge.c and reclaim.c.
 */
void act_complain(const struct act *act, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
uint64_t act_wall_us(void);

/* In a dry run: is that what the last decision said, too? */
bool act_is_told(const struct act *act, const struct pol_action *action);

/* Carry out a plan in its order. now_us as given to pol_step(). */
void act_plan(struct act *act, const struct pol_plan *plan, uint64_t now_us);

/* Give the whole of its memory to each guest whose new life began under an old target. */
void act_release(struct act *act, uint64_t now_us);

/* The answer to a balloon command (guests_hooks.target_done). */
void act_target_done(struct act *act, struct guest *guest, uint64_t number, int error,
		     const char *desc);

/*
 * Set one KSM file: 0 when it says value afterwards; *ret_changed (may be NULL): it did not before.
 * -EIO: it was written and says something else; -EBUSY: the kernel is unmerging all; -errno of
 * undo_record() or the write.
 */
int act_set_ksm(struct act *act, enum ksm_knob knob, const char *value, bool *ret_changed);

/* Put all files back. Adds {"file","value","result"} per file to restored (may be NULL). */
int act_restore(struct act *act, json_object *restored);
/* Those below a directory alone. */
int act_restore_below(struct act *act, const char *dir);

/*
 * Give back what was taken from guests, biggest first, those for whom the host keeps more than
 * keep_free_bytes available. For a clean stop. Returns how many guests were given memory.
 */
size_t act_deflate(struct act *act, uint64_t available_bytes, uint64_t keep_free_bytes);

#endif
