// SPDX-License-Identifier: Apache-2.0
/*
 * The tick: ask the guests, and when all have answered, or a little later without those that have
 * not, sense the host, decide, act, account and record. Nothing in here waits for anybody.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-daemon.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/size.h"
#include "memd/control.h"
#include "memd/daemon.h"
#include "memd/guest_qmp.h"
#include "memd/merge.h"
#include "memd/misfit.h"
#include "memd/reclaim.h"
#include "memd/pin.h"
#include "memd/place.h"

/* How long a tick waits for answers before it goes on with what it has. */
#define GRACE_US     200000ULL
#define STATUS_EVERY 10 /* ticks */
#define CALM_S	     10 /* must last so long, twice */
/* To restore a host may mean to unmerge all, and to wait for pools of huge pages. */
#define RESTORE_MOST_US (600 * USEC_PER_SEC)

void daemon_error(struct daemon *daemon, const char *fmt, ...)
{
	char *slot = daemon->errors[daemon->n_errors % DAEMON_ERRORS_MAX];
	const char *last =
		daemon->errors[(daemon->n_errors + DAEMON_ERRORS_MAX - 1) % DAEMON_ERRORS_MAX];
	char line[DAEMON_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (daemon->n_errors > 0 && strcmp(last, line) == 0)
		return;
	log_err("%s", line);
	memcpy(slot, line, sizeof(line));
	daemon->n_errors++;
}

static uint64_t wall_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t held_by(void *ctx, enum pol_action_kind kind, uint64_t id)
{
	const struct daemon *daemon = ctx;
	const struct guest *guest = guests_find(&daemon->guests, id);

	if (!guest || !guest->foot_valid || !pol_has(guest->foot.resident_bytes))
		return POL_ABSENT;
	if (kind == POL_RECLAIM)
		return reclaim_taken_bytes(&daemon->act, guest);
	return guest->foot.resident_bytes +
	       (pol_has(guest->foot.swapped_bytes) ? guest->foot.swapped_bytes : 0);
}

static void keep_views(struct daemon *daemon, const struct pol_plan *plan, uint64_t now_us)
{
	for (size_t i = 0; i < plan->n_views; i++) {
		struct guest *guest = guests_find(&daemon->guests, plan->views[i].guest);

		if (!guest)
			continue;
		guest->view = plan->views[i];
		guest->has_view = true;
		misfit_follow(guest, now_us);
	}
}

static bool sense(struct daemon *daemon, uint64_t now_us)
{
	struct pol_host *host = &daemon->snapshot;
	int r = host_sense(daemon->host, host);

	if (r < 0) {
		daemon_error(daemon, "the host cannot be read: %s", strerror(-r));
		return false;
	}
	guests_look(&daemon->guests, now_us);
	daemon_numa_look(daemon, now_us);
	savings_count(&daemon->guests, &host->ksm, host_page_bytes(), daemon->anchored.held_bytes,
		      &daemon->savings);
	host->guests = daemon->snapshot_guests;
	host->n_guests = guests_snapshot(&daemon->guests, now_us, daemon->snapshot_guests,
					 GUESTS_MAX, &host->ksm.mergeable_any);
	host->ksm.unsorted = merge_is_unsorted(&daemon->guests, NULL);
	daemon_across_snapshot(daemon, now_us);
	daemon_merge_snapshot(daemon);
	if (daemon->ksm_aside)
		host->ksm.present = false;
	reclaim_snapshot(&daemon->act, now_us, host);
	daemon->sensed = true;
	return true;
}

/*
 * Right after the start guests are still being asked what they are. To decide without them would
 * be to decide that there are none; one that hangs delays this by its deadline only.
 */
static bool is_settled(struct daemon *daemon, uint64_t now_us)
{
	if (daemon->settled)
		return true;
	daemon->settled = now_us - daemon->start_us >
			  daemon->config->guest_timeout_us + daemon->config->tick_us;
	if (!daemon->settled && daemon->ticks > 0)
		daemon->settled = guests_have_said(&daemon->guests);
	return daemon->settled;
}

/* Nothing is wanted, and at the present rate of fall nothing will be for a while. */
static bool is_calm(const struct daemon *daemon, const struct pol_plan *plan)
{
	return plan->state == POL_STATE_HIGH && plan->need_bytes == 0 &&
	       daemon->snapshot.available_bytes / 2 > plan->high_bytes &&
	       (daemon->snapshot.available_bytes / 2 - plan->high_bytes) / CALM_S >
		       plan->fall_bytes_per_s;
}

static void decide_and_act(struct daemon *daemon, uint64_t now_us)
{
	const struct pol_plan *plan = NULL;
	enum pol_state before = daemon->state;
	int r = pol_step(daemon->pol, &daemon->snapshot, now_us, &plan);

	if (r < 0) {
		daemon_error(daemon, "the policy refuses this snapshot: %s", strerror(-r));
		return;
	}
	daemon->state = plan->state;
	daemon->need_bytes = plan->need_bytes;
	daemon->high_bytes = plan->high_bytes;
	if (plan->merge.stopped && !daemon->merge.stopped)
		log_warn("KSM stands still: %s", pol_reason_text(plan->merge.why));
	if (plan->merge.cliff && !daemon->merge.cliff)
		log_warn("%s: guests are given what they need, and no more",
			 pol_reason_text(POL_WHY_COW_CLIFF));
	daemon->merge = plan->merge;
	if (plan->split_huge && !daemon->splits.wanted && daemon->options->dry_run)
		log_info("would split guests' huge pages: the kernel swaps guests");
	daemon->splits.wanted = plan->split_huge;
	daemon->guests.calm = is_calm(daemon, plan);
	daemon->numa = plan->numa;
	if (before != plan->state)
		log_info("host memory is %s: %s available, wanted free and missing %s",
			 pol_state_name(plan->state), SIZE_TEXT(daemon->snapshot.available_bytes),
			 SIZE_TEXT(plan->need_bytes));
	if (pol_has(plan->again_us))
		daemon_wake(daemon, plan->again_us);
	keep_views(daemon, plan, now_us);
	daemon->act.ksm_bytes = daemon->savings.ksm_bytes + daemon->savings.ksm_other_bytes;
	daemon->act.swap_cost_ppm = daemon->snapshot.swap_cost_ppm;
	daemon->act.tick = daemon->ticks;
	act_plan(&daemon->act, plan, now_us);
	if (daemon->options->dry_run)
		pol_not_done(daemon->pol);
	daemon_merge_acted(daemon, plan);
	act_release(&daemon->act, now_us);
	account_measure(&daemon->account, now_us, daemon->act.ksm_bytes, held_by, daemon);
	if (daemon->record) {
		r = record_tick(daemon->record, &daemon->snapshot, plan, wall_now_us(), now_us);
		if (r < 0)
			daemon_error(daemon, "%s: the trace cannot be written: %s",
				     record_path(daemon->record), strerror(-r));
	}
}

static void tell_systemd(struct daemon *daemon)
{
	size_t answering = 0, known = 0;
	const struct pol_host *host = &daemon->snapshot;

	sd_notify(0, "WATCHDOG=1");
	if (daemon->ticks % STATUS_EVERY != 1 || host->memory_bytes == 0)
		return;
	for (size_t i = 0; i < daemon->guests.n; i++) {
		known += daemon->guests.v[i]->known;
		answering += guest_is_answering(daemon->guests.v[i]);
	}
	sd_notifyf(0,
		   "STATUS=%zu guests (%zu answering), %" PRIu64 "%% of the host's memory "
		   "available, state %s, %s saved%s",
		   known, answering, host->available_bytes * 100 / host->memory_bytes,
		   pol_state_name(daemon->state), SIZE_TEXT(daemon->savings.total_bytes),
		   daemon->act.stopped	      ? ", stopped by reset"
		   : daemon->options->dry_run ? ", dry run"
					      : "");
}

void daemon_be_patient(bool on)
{
	const uint64_t more_us = on ? RESTORE_MOST_US : 0;
	uint64_t us;

	if (sd_watchdog_enabled(0, &us) > 0)
		sd_notifyf(0, "WATCHDOG=1\nWATCHDOG_USEC=%" PRIu64, us + more_us);
	if (on)
		sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%" PRIu64, more_us);
}

static void finish_tick(struct daemon *daemon)
{
	uint64_t now_us = clock_now_us();

	if (!daemon->in_tick)
		return;
	daemon->in_tick = false;
	sd_event_source_set_enabled(daemon->grace, SD_EVENT_OFF);
	daemon_aside_tick(daemon, now_us);
	if (sense(daemon, now_us) && is_settled(daemon, now_us))
		decide_and_act(daemon, now_us);
	daemon_survey_next(daemon);
	daemon_merge_tick(daemon, now_us);
	daemon_across_tick(daemon, now_us);
	daemon_huge_tick(daemon, now_us);
	daemon_idle_tick(daemon, now_us);
	place_tick(daemon->act.place, now_us);
	daemon_cgroup_tick(daemon, now_us);
	daemon->ticks++;
	daemon->tick_last_us = clock_now_us() - daemon->tick_start_us;
	if (daemon->tick_last_us > daemon->tick_max_us)
		daemon->tick_max_us = daemon->tick_last_us;
	tell_systemd(daemon);
}

void daemon_begin_tick(struct daemon *daemon)
{
	uint64_t now_us = clock_now_us(), grace = daemon->config->tick_us / 2;

	if (daemon->in_tick) /* answers of the last one never came and its grace is not over */
		finish_tick(daemon);
	daemon->in_tick = true;
	daemon->tick_start_us = now_us;
	daemon->grace_us = now_us + (grace < GRACE_US ? grace : GRACE_US);
	sd_event_source_set_time(daemon->grace, daemon->grace_us);
	sd_event_source_set_enabled(daemon->grace, SD_EVENT_ONESHOT);
	daemon_wake_watch(daemon);
	guests_scan(&daemon->guests, now_us);
	guests_poll(&daemon->guests, now_us);
}

void daemon_hurry(struct daemon *daemon, uint64_t until_us)
{
	if (until_us >= daemon->grace_us)
		return;
	daemon->grace_us = until_us;
	sd_event_source_set_time(daemon->grace, until_us);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct daemon *daemon = userdata;
	uint64_t now_us = clock_now_us();

	(void)usec;
	daemon_begin_tick(daemon);
	/* On a fixed grid, but after a stall (or a suspend) there is nothing to catch up on. */
	daemon->next_tick_us += daemon->config->tick_us;
	if (daemon->next_tick_us <= now_us)
		daemon->next_tick_us = now_us + daemon->config->tick_us;
	sd_event_source_set_time(source, daemon->next_tick_us);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int on_grace(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	finish_tick(userdata);
	return 0;
}

static void on_polled(void *ctx)
{
	finish_tick(ctx);
}

static void on_target_done(void *ctx, struct guest *guest, uint64_t cookie, int error,
			   const char *desc)
{
	struct daemon *daemon = ctx;

	act_target_done(&daemon->act, guest, cookie, error, desc);
}

static void on_merge_done(void *ctx, struct guest *guest, uint64_t cookie, int error,
			  const char *desc)
{
	struct daemon *daemon = ctx;

	/* Without a cookie it was about chunks, of which there is no end. */
	if (cookie)
		daemon_merge_changed(daemon);
	merge_act_done(&daemon->act, guest, cookie, error, desc);
}

static void on_changed(void *ctx, struct guest *guest, const char *what)
{
	struct daemon *daemon = ctx;
	bool is_found = strcmp(what, "found") == 0;

	if (is_found && daemon->act.dir[0]) {
		merge_recall(guest, daemon->act.dir);
		pin_recall(guest, daemon->act.dir);
	}
	if (is_found)
		daemon_cgroup_found(daemon, guest);
	else if (strcmp(what, "gone") == 0)
		daemon_cgroup_gone(daemon, guest);
	if (is_found && (daemon->settled || guests_have_said(&daemon->guests)))
		daemon_wake(daemon, 0);
	if (is_found)
		log_info("guest %s found: %s %s, pid %d, %s%s", guest->name,
			 guest->ours ? "vmm" : "QEMU", guest->version, (int)guest->pid,
			 SIZE_TEXT(guest->memory_bytes),
			 guest->balloon_path[0] ? "" : ", no balloon");
	else if (strcmp(what, "reset") != 0)
		log_info("guest %s is %s", guest->name, what);
	else if (log_limit_pass(&guest->resets, NULL)) /* one that crashes as it boots */
		log_info("guest %s was reset: it starts afresh", guest->name);
}

const struct guests_hooks daemon_guests_hooks = {
	.target_done = on_target_done,
	.merge_done = on_merge_done,
	.polled = on_polled,
	.changed = on_changed,
};

static void say_config(void *ctx, bool error, const char *text)
{
	if (error)
		daemon_error(ctx, "%s", text);
	else
		log_warn("%s", text);
}

void daemon_open_record(struct daemon *daemon)
{
	const struct config *config = daemon->config;
	int r;

	if (!config->trace[0])
		return;
	r = record_open(config->trace, config->trace_bytes, daemon->options->dry_run,
			&daemon->record);
	if (r < 0)
		daemon_error(daemon,
			     "%s: no trace is written: %s (trace= names another file, trace=off "
			     "is none)",
			     config->trace, strerror(-r));
}

static void reopen_record(struct daemon *daemon, const struct config *old)
{
	const struct config *new = daemon->config;

	if (strcmp(new->trace, old->trace) == 0 && new->trace_bytes == old->trace_bytes)
		return;
	record_close(daemon->record);
	daemon->record = NULL;
	daemon_open_record(daemon);
	if (daemon->record)
		record_resume(daemon->record);
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
	struct daemon *daemon = userdata;
	struct config *new, *old = daemon->config;
	uint64_t now_us = clock_now_us();

	(void)source;
	(void)si;
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, now_us);
	if (config_load(&daemon->options->source, say_config, daemon, &new) < 0) {
		log_err("configuration not reloaded; the one in force stays");
	} else {
		/* Paths that are open or that others know cannot move under a running daemon. */
		if (config_keep_places(new, old))
			log_warn("socket, runtime-dir and state-dir change at the next start only");
		daemon->config = new;
		daemon->guests.config = new;
		log_init("memd", new->log_level);
		reopen_record(daemon, old);
		daemon_look_around(daemon, now_us); /* applies the policy's part, too */
		daemon_cgroup_reload(daemon);
		daemon_merge_changed(daemon);
		daemon->next_tick_us = now_us + new->tick_us;
		sd_event_source_set_time(daemon->timer, daemon->next_tick_us);
		config_free(old);
		log_info("configuration reloaded");
	}
	sd_notify(0, "READY=1");
	return 0;
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
	struct daemon *daemon = userdata;

	(void)source;
	log_info("stopping (%s)", strsignal((int)si->ssi_signo));
	return sd_event_exit(daemon->event, 0);
}

static int add_sources(struct daemon *daemon)
{
	uint64_t now_us = clock_now_us();
	sd_event *event = daemon->event;
	int r;

	daemon->next_tick_us = now_us;
	r = sd_event_add_time(event, &daemon->timer, CLOCK_MONOTONIC, now_us, 1000, on_timer,
			      daemon);
	if (r >= 0)
		r = sd_event_add_time(event, &daemon->grace, CLOCK_MONOTONIC, 0, 1000, on_grace,
				      daemon);
	if (r >= 0)
		r = sd_event_source_set_enabled(daemon->grace, SD_EVENT_OFF);
	/* Before guests and clients: a flood of theirs must not hold up a tick. */
	if (r >= 0)
		r = sd_event_source_set_priority(daemon->timer, SD_EVENT_PRIORITY_IMPORTANT);
	if (r >= 0)
		r = sd_event_source_set_priority(daemon->grace, SD_EVENT_PRIORITY_IMPORTANT);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGTERM, on_stop, daemon);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, on_stop, daemon);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGHUP, on_hangup, daemon);
	if (r >= 0)
		r = daemon_survey_sources(daemon);
	if (r >= 0)
		r = daemon_merge_sources(daemon);
	if (r >= 0)
		r = daemon_across_sources(daemon);
	if (r >= 0)
		r = daemon_idle_sources(daemon);
	if (r >= 0)
		r = daemon_wake_sources(daemon);
	return r;
}

int daemon_run(struct daemon *daemon)
{
	int r = add_sources(daemon);

	if (r < 0) {
		log_err("the event loop cannot be set up: %s", strerror(-r));
		return r;
	}
	sd_notify(0, "READY=1\nSTATUS=looking for guests");
	r = sd_event_loop(daemon->event);
	if (r < 0)
		log_err("the event loop failed: %s", strerror(-r));
	return r;
}

json_object *daemon_reset(struct daemon *daemon)
{
	json_object *answer = json_object_new_object(), *restored = json_object_new_array();

	if (!daemon->act.stopped)
		log_info("reset: the host gets its settings back, and memd stands still until it "
			 "is started again");
	daemon->act.stopped = true;
	daemon->stopped_us = clock_now_us();
	daemon_be_patient(true);
	daemon_anchor_leave(daemon);
	daemon_idle_leave(daemon);
	daemon_numa_leave(daemon);
	daemon_huge_leave(daemon);
	act_restore(&daemon->act, restored);
	daemon_cgroup_leave(daemon, restored);
	if (daemon->config->on_stop == CONFIG_STOP_DEFLATE)
		act_deflate(&daemon->act, daemon->snapshot.available_bytes, daemon->high_bytes);
	daemon_be_patient(false);
	json_object_object_add(answer, "restored", restored);
	return answer;
}
