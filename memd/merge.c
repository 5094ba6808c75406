// SPDX-License-Identifier: Apache-2.0
/*
 * Merging switched off and on by the policy's word. A guest is switched by its monitor and believed
 * only when the host's kernel says the same (footprint.marked_bytes of a look begun afterwards).
 */
#include "memd/merge.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/size.h"
#include "memd/chunk.h"
#include "memd/guest_qmp.h"
#include "memd/note.h"
#include "memd/unmerge.h"

#define KEEP_NAME "merge-off"

/* ---- what is known ---- */

bool merge_is_unsorted(const struct guests *guests, const struct guest **ret_guest)
{
	if (!config_has_domains(guests->config))
		return false;
	for (size_t i = 0; i < guests->n; i++) {
		const struct guest *guest = guests->v[i];

		if (guest->known || !guest->listed || guest->pid <= 0 ||
		    (guest->survey.full && guest->survey.marked_bytes == 0))
			continue;
		if (ret_guest)
			*ret_guest = guest;
		return true;
	}
	return false;
}

/* ---- what outlives a crash: lines of "PID STARTTIME BACKEND" ---- */

static void fill_note(FILE *file, const struct guests *guests)
{
	for (size_t i = 0; i < guests->n; i++) {
		const struct guest *guest = guests->v[i];

		for (size_t k = 0; k < guest->n_backends && k < GUEST_BACKENDS_MAX; k++)
			if (guest->backends[k].ours)
				fprintf(file, "%d %" PRIu64 " %s\n", (int)guest->pid,
					guest->starttime, guest->backends[k].id);
	}
}

int merge_keep(const struct guests *guests, const char *dir)
{
	return note_write_guests(dir, KEEP_NAME, guests, fill_note);
}

void merge_recall(struct guest *guest, const char *dir)
{
	char path[CONFIG_PATH_MAX + 32], line[160];
	FILE *file;

	guest->recalled = true;
	snprintf(path, sizeof(path), "%s/" KEEP_NAME, dir);
	file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		uint64_t starttime;
		char id[64];
		int pid;

		if (sscanf(line, "%d %" SCNu64 " %63s", &pid, &starttime, id) != 3 ||
		    pid != guest->pid || starttime != guest->starttime)
			continue;
		for (size_t k = 0; k < guest->n_backends && k < GUEST_BACKENDS_MAX; k++)
			if (strcmp(guest->backends[k].id, id) == 0 && !guest->backends[k].merge)
				guest->backends[k].ours = true;
	}
	fclose(file);
}

/* ---- guests ---- */

static int set_merge(struct act *act, struct guest *guest, bool on, uint64_t number)
{
	int r = guest_qmp_set_merge(guest, on, number), kept;

	/* After the order, which says which backends; a crash in between leaves one off too many.
	 */
	kept = act->dir[0] ? merge_keep(act->guests, act->dir) : 0;
	if (kept < 0)
		act_complain(act, "%s/" KEEP_NAME ": cannot be written: %s", act->dir,
			     strerror(-kept));
	return r;
}

static void act_guest(struct act *act, const struct pol_action *action, uint64_t now_us)
{
	struct guest *guest = guests_find(act->guests, action->guest);
	uint64_t number;
	int r;

	if (!guest)
		return;
	number = account_add(act->account, action, guest->name, POL_ABSENT, act_wall_us(), now_us,
			     act->tick, act->dry_run ? ACCOUNT_DRY_RUN : ACCOUNT_PENDING);
	log_info("guest %s: %smerging %s: %s", guest->name, act->dry_run ? "would switch " : "",
		 action->to ? "on" : "off", pol_reason_text(action->reason));
	if (act->dry_run)
		return;
	r = set_merge(act, guest, action->to, number);
	if (r == -EALREADY)
		account_settle(act->account, number, ACCOUNT_UNNEEDED, NULL);
	else if (r < 0)
		account_settle(act->account, number, ACCOUNT_FAILED, strerror(-r));
}

void merge_act_done(struct act *act, struct guest *guest, uint64_t number, int error,
		    const char *desc)
{
	char clean[160];

	/* Let the kernel be looked at now. */
	guest->survey_us = 0;
	if (error == 0) {
		account_settle(act->account, number, ACCOUNT_DONE, NULL);
		return;
	}
	guest_name_clean(desc ? desc : strerror(-error), clean, sizeof(clean));
	account_settle(act->account, number, ACCOUNT_FAILED, clean);
	act_complain(act, "guest %s: its merging cannot be switched: %s", guest->name, clean);
}

/* Could guests that are mergeable, or were before memd, be of more than one trust domain? */
static bool is_mixed(const struct guests *guests)
{
	bool any = false;
	uint32_t first = 0;

	for (size_t i = 0; i < guests->n; i++) {
		const struct guest *guest = guests->v[i];
		uint32_t domain = config_domain(guests->config, guest->name);
		bool part = guest->merge_asked;

		for (size_t k = 0; k < guest->n_backends && k < GUEST_BACKENDS_MAX; k++)
			part |= guest->backends[k].ours;
		/* One that is gone has left its socket's file at most. */
		if (!part || !guest->listed)
			continue;
		if (any && domain != first)
			return true;
		any = true;
		first = domain;
	}
	return false;
}

void merge_leave(struct act *act)
{
	bool mixed = is_mixed(act->guests);

	for (size_t i = 0; i < act->guests->n; i++) {
		struct guest *guest = act->guests->v[i];
		bool ours = false;

		for (size_t k = 0; k < guest->n_backends && k < GUEST_BACKENDS_MAX; k++)
			ours |= guest->backends[k].ours;
		if (!ours || !guest->listed)
			continue;
		/* As it was found: all of it. */
		if (!mixed)
			chunk_forget(guest);
		if (mixed)
			log_warn("guest %s: its merging stays off: with it on, it could be merged "
				 "with guests of other trust domains",
				 guest->name);
		else if (set_merge(act, guest, true, 0) == 0)
			log_info("guest %s: merging on, as before memd", guest->name);
	}
}

/* ---- nodes ---- */

/* -EBUSY: one is under way; -errno of one that has ended; 0. */
static int end_unmerge(struct act *act)
{
	int error = 0;

	if (!act->unmerge)
		return 0;
	if (!unmerge_is_done(act->unmerge, &error))
		return -EBUSY;
	unmerge_free(act->unmerge);
	act->unmerge = NULL;
	ksm_count_anew(act->ksm);
	return error;
}

bool merge_is_unmerging(const struct act *act)
{
	int error;

	return act->unmerge && !unmerge_is_done(act->unmerge, &error);
}

/* Journalled like every other file, but written by a thread: it lasts. */
static int begin_unmerge(struct act *act)
{
	int r = end_unmerge(act);

	if (r == 0)
		r = undo_record_unmerge(act->undo, act->rootfd);
	return r < 0 ? r : unmerge_start(act->rootfd, ksm_knob_path(KSM_RUN), &act->unmerge);
}

bool merge_may_restore(struct act *act)
{
	int r = end_unmerge(act);

	if (r == -EBUSY)
		return false;
	/* Once is enough: what cannot be restored all the same is told, and stays in the journal.
	 */
	if (!act->unmerges_to_restore && act->undo && undo_must_unmerge(act->undo, act->rootfd)) {
		log_info("unmerging all, so that KSM can be set back as it was");
		r = begin_unmerge(act);
		act->unmerges_to_restore = r == 0;
		if (r == 0)
			return false;
	}
	act->unmerges_to_restore = false;
	if (r < 0)
		act_complain(act, "merged pages cannot be unmerged: %s", strerror(-r));
	return true;
}

static int set_nodes(struct act *act, const struct pol_action *action)
{
	if (action->to2)
		return begin_unmerge(act);
	/* The kernel's lock is held until it has ended: never wait for that here. */
	if (end_unmerge(act) == -EBUSY)
		return -EBUSY;
	/* Where pages lie has changed, too. */
	for (size_t i = 0; i < act->guests->n; i++)
		act->guests->v[i]->survey_us = 0;
	return act_set_ksm(act, KSM_MERGE_ACROSS_NODES, action->to ? "1" : "0", NULL);
}

static void act_nodes(struct act *act, const struct pol_action *action, uint64_t now_us)
{
	uint64_t number = account_add(act->account, action, NULL, POL_ABSENT, act_wall_us(), now_us,
				      act->tick, act->dry_run ? ACCOUNT_DRY_RUN : ACCOUNT_PENDING);
	int r;

	log_info("%s%s: %s", act->dry_run ? "would " : "",
		 action->to2  ? "unmerge all, so that merge_across_nodes can be set"
		 : action->to ? "set merge_across_nodes to 1"
			      : "set merge_across_nodes to 0",
		 pol_reason_text(action->reason));
	if (act->dry_run)
		return;
	r = set_nodes(act, action);
	if (r < 0) {
		account_settle(act->account, number, ACCOUNT_FAILED, strerror(-r));
		act_complain(act, "%s: cannot be set: %s", ksm_knob_path(KSM_MERGE_ACROSS_NODES),
			     r == -EBUSY ? "pages are still merged, or being unmerged"
					 : strerror(-r));
		return;
	}
	account_settle(act->account, number, ACCOUNT_DONE, NULL);
}

void merge_act(struct act *act, const struct pol_action *action, uint64_t now_us)
{
	if (action->kind == POL_MERGE)
		act_guest(act, action, now_us);
	else
		act_nodes(act, action, now_us);
}

/* ---- telling ---- */

bool merge_off_text(const struct guest *guest, char *buf, size_t n)
{
	if (!guest->has_view || guest->view.merge_off == POL_WHY_NONE)
		return false;
	snprintf(buf, n, "its merging is %s off: %s",
		 guest->merge_asked ? "to be switched" : "switched",
		 pol_reason_text(guest->view.merge_refused ? POL_WHY_NOT_FIT
							   : guest->view.merge_off));
	return true;
}

bool merge_marks_text(const struct guest *guest, char *buf, size_t n)
{
	if (!guest->known || guest->ours || guest->merge_asked || guest->merge_open ||
	    !guest->survey.full || guest->survey_start_us <= guest->merge_set_us ||
	    guest->survey.marked_bytes == 0)
		return false;
	snprintf(buf, n,
		 "its merging is off, but KSM may still merge %s of it: firmware and video memory "
		 "that QEMU marks; with -machine mem-merge=off, and merge=on for its memory "
		 "backends, it does not",
		 SIZE_TEXT(guest->survey.marked_bytes));
	return true;
}

static void add_name(json_object *list, const struct guests *guests, uint64_t id)
{
	const struct guest *guest = guests_find(guests, id);

	json_object_array_add(list, guest ? json_object_new_string(guest->name) : NULL);
}

static json_object *crossed_json(const struct guests *guests,
				 const struct isolation_result *crossed)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < crossed->n_pairs; i++) {
		json_object *one = json_object_new_object(), *names = json_object_new_array();

		add_name(names, guests, crossed->pairs[i].a);
		add_name(names, guests, crossed->pairs[i].b);
		json_object_object_add(one, "guests", names);
		json_add_u64(one, "shared_bytes", crossed->pairs[i].bytes);
		json_object_array_add(list, one);
	}
	return list;
}

json_object *merge_json(const struct guests *guests, const struct pol_merge_view *view,
			const struct anchor_result *anchored,
			const struct isolation_result *crossed, uint64_t crossed_us)
{
	json_object *one = json_object_new_object();
	const struct guest *culprit = guests_find(guests, view->guest);
	const char *domain = config_domain_name(guests->config, view->domain);
	bool checked = crossed_us && !crossed->error;

	if (view->stopped && !culprit)
		merge_is_unsorted(guests, &culprit);
	json_add_bool(one, "domains", config_has_domains(guests->config));
	json_add_str(one, "mode", pol_merge_mode_name(view->mode));
	json_add_str(one, "domain", view->has_domain ? domain : NULL);
	json_add_bool(one, "stopped", view->stopped);
	json_add_str(one, "why", view->stopped ? pol_reason_text(view->why) : NULL);
	json_add_str(one, "guest", view->stopped && culprit ? culprit->name : NULL);
	json_add_u64(one, "exposure_bytes", view->exposure_bytes);
	json_add_u64(one, "cow_bytes_per_second", view->cow_bytes_per_s);
	json_add_u64(one, "cow_reserve_bytes", view->cow_reserve_bytes);
	json_add_bool(one, "cow_cliff", view->cliff);
	json_add_u64(one, "anchored_bytes", anchored->held_bytes);
	json_add_u64(one, "anchored_shared_bytes", anchored->shared_bytes);
	json_add_u64(one, "back_bytes", anchored->back_bytes);
	json_add_u64(one, "back_read_bytes", anchored->read_bytes);
	json_add_u64(one, "cross_domain_bytes", checked ? crossed->cross_bytes : POL_ABSENT);
	json_object_object_add(one, "cross_domain", crossed_json(guests, crossed));
	json_add_u64(one, "checked_age_us", checked ? clock_now_us() - crossed_us : POL_ABSENT);
	json_add_str(one, "check_error",
		     crossed_us && crossed->error ? strerror(-crossed->error) : NULL);
	return one;
}
