// SPDX-License-Identifier: Apache-2.0
/*
 * Carrying plans out. A KSM file is changed in four steps (read, journal, write, read back) so that
 * a crash at any point leaves a journal that undo_restore() understands; equal values are never
 * written again. A kernel advisor that drives pages_to_scan is switched off first, journalled too.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/act.h"
#include "memd/guest_max.h"
#include "memd/guest_qmp.h"
#include "memd/ksm_nice.h"
#include "memd/merge.h"
#include "memd/reclaim.h"
#include "memd/place.h"
#include "memd/unmerge.h"

void act_complain(const struct act *act, const char *fmt, ...)
{
	char line[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (act->failed)
		act->failed(act->ctx, line);
}

uint64_t act_wall_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

/* Resident and swapped: what a balloon can lower. */
static uint64_t held_bytes(const struct guest *guest)
{
	if (!guest->foot_valid || !pol_has(guest->foot.resident_bytes))
		return POL_ABSENT;
	return guest->foot.resident_bytes +
	       (pol_has(guest->foot.swapped_bytes) ? guest->foot.swapped_bytes : 0);
}

int act_set_ksm(struct act *act, enum ksm_knob knob, const char *value, bool *ret_changed)
{
	const char *path = ksm_knob_path(knob);
	char was[UNDO_VALUE_MAX], now[UNDO_VALUE_MAX];
	int r = ksm_knob_read(act->ksm, knob, was, sizeof(was));

	if (r < 0)
		return r;
	if ((knob == KSM_RUN || knob == KSM_MERGE_ACROSS_NODES) && merge_is_unmerging(act))
		return -EBUSY;
	if (strcmp(was, value) == 0) {
		if (ret_changed)
			*ret_changed = false;
		return 0;
	}
	r = undo_record(act->undo, path, was, value);
	if (r < 0) {
		act_complain(act, "the undo journal cannot be written (%s), so /%s is not touched",
			     strerror(-r), path);
		return r;
	}
	r = kfile_write(act->rootfd, path, value);
	if (r < 0)
		return r;
	r = ksm_knob_read(act->ksm, knob, now, sizeof(now));
	if (r < 0)
		return r;
	if (strcmp(now, value) != 0)
		return -EIO;
	if (ret_changed)
		*ret_changed = true;
	return 0;
}

static int set_number(struct act *act, enum ksm_knob knob, uint64_t value, bool *changed)
{
	char text[24];
	bool one = false;
	int r;

	snprintf(text, sizeof(text), "%" PRIu64, value);
	r = act_set_ksm(act, knob, text, &one);
	if (r < 0)
		act_complain(act, "%s: cannot be set to %s: %s", ksm_knob_path(knob), text,
			     r == -EIO ? "it was written and reads back as something else"
				       : strerror(-r));
	*changed |= one;
	return r;
}

/* While the kernel's advisor runs, it writes pages_to_scan and we cannot. */
static int take_from_advisor(struct act *act, bool *changed)
{
	bool one = false;
	int r;

	if (!ksm_has(act->ksm, KSM_ADVISOR_MODE))
		return 0;
	r = act_set_ksm(act, KSM_ADVISOR_MODE, "none", &one);
	if (r < 0)
		act_complain(act, "%s: cannot be set to none: %s", ksm_knob_path(KSM_ADVISOR_MODE),
			     strerror(-r));
	if (one)
		log_info("KSM's advisor drove the scan rate; memd does now (restored at stop)");
	*changed |= one;
	return r;
}

/*
 * Zero pages go to the kernel's own, where that is counted (6.6+): one comparison instead of a
 * search, and no chain of copies. Without it ksmd is slower, and that is told, but it works.
 */
static int take_over(struct act *act, bool *changed)
{
	int r = take_from_advisor(act, changed);

	if (r == 0 && ksm_has(act->ksm, KSM_USE_ZERO_PAGES) && ksm_counts_zero_pages(act->ksm))
		set_number(act, KSM_USE_ZERO_PAGES, 1, changed);
	return r;
}

static int do_ksm(struct act *act, const struct pol_action *action, bool *changed)
{
	int r;

	if (action->kind == POL_KSM_RUN) {
		/* A running ksmd without our rates would scan at the advisor's. */
		r = action->to == 1 ? take_over(act, changed) : 0;
		if (r == 0)
			r = set_number(act, KSM_RUN, action->to, changed);
		if (r == 0 && action->to == 0)
			ksm_nice_set(act, false, changed);
		return r;
	}
	r = take_over(act, changed);
	if (r == 0)
		r = set_number(act, KSM_PAGES_TO_SCAN, action->to, changed);
	if (r == 0)
		r = set_number(act, KSM_SLEEP_MILLISECS, action->to2, changed);
	if (r == 0 && ksm_has(act->ksm, KSM_SMART_SCAN))
		set_number(act, KSM_SMART_SCAN, action->to3, changed);
	if (r == 0)
		ksm_nice_set(act, action->to4 == 1, changed);
	return r;
}

static void say_ksm(const struct act *act, const struct pol_action *a)
{
	const char *mood = act->dry_run ? "would set " : "";

	if (a->kind == POL_KSM_RUN)
		log_info("%sKSM %s: %s", mood, a->to ? "on" : "off", pol_reason_text(a->reason));
	else
		log_debug("%sKSM rate %" PRIu64 " -> %" PRIu64 " pages, sleep %" PRIu64 " ms: %s",
			  mood, a->from, a->to, a->to2, pol_reason_text(a->reason));
}

static void act_ksm(struct act *act, const struct pol_action *action, uint64_t now_us)
{
	uint64_t number;
	bool changed = false;
	int r;

	if (act->dry_run) {
		account_add(act->account, action, NULL, POL_ABSENT, act_wall_us(), now_us,
			    act->tick, ACCOUNT_DRY_RUN);
		say_ksm(act, action);
		return;
	}
	number = account_add(act->account, action, NULL, act->ksm_bytes, act_wall_us(), now_us,
			     act->tick, ACCOUNT_PENDING);
	r = do_ksm(act, action, &changed);
	if (r < 0) {
		account_settle(act->account, number, ACCOUNT_FAILED, strerror(-r));
		return;
	}
	account_settle(act->account, number, changed ? ACCOUNT_DONE : ACCOUNT_UNNEEDED, NULL);
	if (changed)
		say_ksm(act, action);
}

static void say_balloon(struct act *act, const struct guest *guest, const struct pol_action *a,
			const char *text)
{
	unsigned int dropped = 0;

	if (!log_limit_pass(&act->limit, &dropped))
		return;
	if (dropped)
		log_info("%u more balloon decisions (memctl explain shows all)", dropped);
	log_info("guest %s: %s%s %s -> %s: %s", guest->name, act->dry_run ? "would set " : "",
		 guest->mem_max_bytes ? "size" : "balloon", SIZE_TEXT(a->from), SIZE_TEXT(a->to),
		 text ? text : pol_reason_text(a->reason));
}

/* What of the order is the memory device's, and why; NULL: nothing. */
static const char *explain_device(const struct guest *guest, const struct pol_action *a, char *buf,
				  size_t n)
{
	bool down = a->to2 < guest->mem_requested_bytes;

	if (!guest->mem_max_bytes || a->to2 == guest->mem_requested_bytes)
		return NULL;
	snprintf(buf, n, "virtio-mem %c%s: %s", down ? '-' : '+',
		 SIZE_TEXT(down ? guest->mem_requested_bytes - a->to2
				: a->to2 - guest->mem_requested_bytes),
		 pol_reason_text(a->reason));
	return buf;
}

static int act_balloon(struct act *act, const struct pol_action *action, const char *text,
		       uint64_t now_us)
{
	struct guest *guest = guests_find(act->guests, action->guest);
	char device[240];
	uint64_t number, to;
	int r;

	if (!guest)
		return -ESRCH;
	to = guest_max_target(guest, action->to);
	if (!text)
		text = explain_device(guest, action, device, sizeof(device));
	if (act->dry_run) {
		account_add(act->account, action, guest->name, POL_ABSENT, act_wall_us(), now_us,
			    act->tick, ACCOUNT_DRY_RUN);
		say_balloon(act, guest, action, text);
		return 0;
	}
	number = account_add(act->account, action, guest->name, held_bytes(guest), act_wall_us(),
			     now_us, act->tick, ACCOUNT_PENDING);
	account_set_text(act->account, number, text);
	if (guest->target_bytes == to && guest->actual_bytes == to &&
	    (!guest->mem_max_bytes || guest->mem_requested_bytes == action->to2)) {
		account_settle(act->account, number, ACCOUNT_UNNEEDED, NULL);
		return 0;
	}
	r = guest_qmp_set_size(guest, to, action->to2, number);
	if (r < 0) {
		account_settle(act->account, number, ACCOUNT_FAILED, strerror(-r));
		return r;
	}
	say_balloon(act, guest, action, text);
	return 0;
}

void act_target_done(struct act *act, struct guest *guest, uint64_t number, int error,
		     const char *desc)
{
	char clean[160];

	if (error == 0) {
		account_settle(act->account, number, ACCOUNT_DONE, NULL);
		return;
	}
	guest_name_clean(desc ? desc : strerror(-error), clean, sizeof(clean));
	account_settle(act->account, number, ACCOUNT_FAILED, clean);
	act_complain(act, "guest %s: balloon command failed: %s", guest->name, clean);
}

/* A dry run changes nothing, so the policy says the same every tick: told once is enough. */
bool act_is_told(const struct act *act, const struct pol_action *action)
{
	const struct account_entry *last =
		act->dry_run ? account_last(act->account, action->kind, action->guest) : NULL;

	if (!last || last->action.reason != action->reason)
		return false;
	/* It asks for some of what is resident, which is never twice the same. */
	if (action->kind == POL_RECLAIM)
		return last->action.rung == action->rung;
	return last->action.to == action->to && last->action.to2 == action->to2;
}

void act_plan(struct act *act, const struct pol_plan *plan, uint64_t now_us)
{
	if (act->stopped)
		return;
	for (size_t i = 0; i < plan->n_actions; i++) {
		const struct pol_action *action = &plan->actions[i];

		if (action->kind == POL_RECLAIM || act_is_told(act, action))
			continue;
		if (action->kind == POL_MERGE || action->kind == POL_KSM_NODES)
			merge_act(act, action, now_us);
		else if (action->kind == POL_NUMA_MOVE)
			place_act(act->place, action, now_us);
		else if (action->kind != POL_BALLOON)
			act_ksm(act, action, now_us);
		else
			act_balloon(act, action, NULL, now_us);
	}
	reclaim_act(act, plan, now_us);
}

void act_release(struct act *act, uint64_t now_us)
{
	for (size_t i = 0; i < act->guests->n; i++) {
		struct guest *guest = act->guests->v[i];
		struct pol_action action = {
			.kind = POL_BALLOON,
			.guest = guest->id,
			.from = guest->actual_bytes,
			.to = guest->memory_bytes,
			.to2 = guest->mem_max_bytes,
			.rung = POL_RUNG_NONE,
			.reason = POL_WHY_RELEASE,
			.working_set_bytes = POL_ABSENT,
			.hot_bytes = POL_ABSENT,
			.entitled_bytes = POL_ABSENT,
		};

		if (!guest->release || act->stopped || act->dry_run)
			continue;
		/* Tried again while its driver is still away: the device keeps the target. */
		if (guest->phase != GUEST_READY || !guest->balloon_active)
			continue;
		if (act_balloon(act, &action, "it was reset: a new boot begins with all its memory",
				now_us) == 0) {
			guest->release = false;
			guest->target_bytes = POL_ABSENT; /* not a wish of the policy's */
		}
	}
}

struct restore {
	struct act *act;
	json_object *list;
};

static void on_restored(void *ctx, const struct undo_report *report)
{
	struct restore *restore = ctx;
	char path[UNDO_PATH_MAX + 1];
	const char *what;
	json_object *one;

	if (!report->path) {
		log_warn("undo journal: line %u makes no sense and is dropped", report->line);
		return;
	}
	what = undo_path_text(report->path, path, sizeof(path));
	if (report->result == UNDO_RESTORED)
		log_info("%s: back to %s", what, report->original);
	else if (report->result == UNDO_LEFT && report->error == -ENOENT)
		log_info("%s: is gone, and with it what memd had set (it was %s before)", what,
			 report->original);
	else if (report->result == UNDO_LEFT)
		log_warn("%s: left at %s: somebody else has set it since (it was %s before memd)",
			 what, report->current ? report->current : "an unreadable value",
			 report->original);
	else if (report->result == UNDO_PARTLY)
		log_warn("%s: at %s, not %s: the rest is in use, or memory is too fragmented for "
			 "it; the next memd, or memctl reset, tries again",
			 what, report->current, report->original);
	else if (report->result == UNDO_FAILED && restore->act)
		act_complain(restore->act, "%s: cannot be restored to %s: %s", what,
			     report->original, strerror(-report->error));
	if (!restore->list)
		return;
	one = json_object_new_object();
	json_add_str(one, "file", report->path);
	json_add_str(one, "value", report->original);
	json_add_str(one, "result", undo_result_name(report->result));
	json_object_array_add(restore->list, one);
}

int act_restore(struct act *act, json_object *restored)
{
	struct restore restore = {.act = act, .list = restored};
	int r;

	unmerge_free(act->unmerge);
	act->unmerge = NULL;
	r = act->undo ? undo_restore(act->undo, act->rootfd, on_restored, &restore) : 0;
	if (act->ksm)
		ksm_count_anew(act->ksm);
	return r;
}

int act_restore_below(struct act *act, const char *dir)
{
	struct restore restore = {.act = act};

	return act->undo ? undo_restore_below(act->undo, act->rootfd, dir, on_restored, &restore)
			 : 0;
}

struct taken {
	struct guest *guest;
	uint64_t bytes;
};

static int most_first(const void *a, const void *b)
{
	const struct taken *x = a, *y = b;

	return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : 0;
}

size_t act_deflate(struct act *act, uint64_t available_bytes, uint64_t keep_free_bytes)
{
	struct taken list[GUESTS_MAX];
	size_t given = 0, n = 0;

	if (act->dry_run)
		return 0;
	for (size_t i = 0; i < act->guests->n && n < GUESTS_MAX; i++) {
		struct guest *guest = act->guests->v[i];
		uint64_t taken = guest->balloon_active ? guest_taken_bytes(guest) : 0;

		if (taken)
			list[n++] = (struct taken){guest, taken};
	}
	qsort(list, n, sizeof(list[0]), most_first);
	for (size_t i = 0; i < n; i++) {
		struct guest *guest = list[i].guest;

		/* There may be room for a smaller one. */
		if (available_bytes < keep_free_bytes + list[i].bytes) {
			log_info("guest %s: %s of it stay taken: the host has not so much to spare",
				 guest->name, SIZE_TEXT(list[i].bytes));
			continue;
		}
		if (guest_qmp_set_target(guest, guest->memory_bytes, 0) == 0) {
			log_info("guest %s: given back %s", guest->name, SIZE_TEXT(list[i].bytes));
			available_bytes -= list[i].bytes;
			given++;
		}
		guest->target_bytes = POL_ABSENT; /* done, one way or the other */
	}
	return given;
}
