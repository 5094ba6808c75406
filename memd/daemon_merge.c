// SPDX-License-Identifier: Apache-2.0
/* The daemon's work on merging beside its ticks: is it isolated, and which chunks pay? */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/size.h"
#include "memd/anchor_back.h"
#include "memd/daemon.h"
#include "memd/guest_swap.h"

#define CROSSED_EVERY_US (30 * USEC_PER_SEC)
/* A look takes 16 bytes for each mapping of a merged page; the service may have 256 MiB beside what
 * the anchor holds. */
#define CROSSED_MERGED_MOST (128 * MIB / 16 * 4 * KIB)

/* The next look at merged pages to keep, when the last one found nothing new, or failed. */
#define ANCHOR_EVERY_US	 (4 * USEC_PER_SEC)
#define ANCHOR_FAILED_US (60 * USEC_PER_SEC)
/* What copies may take of the memory that is available, until ksmd has merged them. */
#define ANCHOR_NEW_PART 8

/* Did something happen that what was found last says nothing of, or may have undone? */
static bool is_outdated(const struct daemon *daemon)
{
	return daemon->crossed.start_us <= daemon->crossed_since_us;
}

static bool is_switching(const struct guests *guests)
{
	for (size_t i = 0; i < guests->n; i++)
		if (guests->v[i]->merge_open)
			return true;
	return false;
}

/* Sooner where it is waited for: KSM stands still, or something was shared. But after the looks
 * there is a rest, so not in the middle of a change. */
static bool is_look_due(const struct daemon *daemon, uint64_t now_us)
{
	if (daemon->crossed_us && now_us - daemon->crossed_us >= CROSSED_EVERY_US)
		return true;
	return (!daemon->crossed_us ||
		(is_outdated(daemon) && (daemon->merge.stopped || daemon->crossed.cross_bytes))) &&
	       !is_switching(&daemon->guests);
}

/* Guests of several domains: what do they share? */
static void check_isolation(struct daemon *daemon, uint64_t now_us)
{
	struct isolation_guest guests[GUESTS_MAX];
	uint64_t merged = 0;
	bool several = false;
	size_t n = 0;

	if (!config_has_domains(daemon->config) || !is_look_due(daemon, now_us))
		return;
	for (size_t i = 0; i < daemon->guests.n; i++) {
		const struct guest *guest = daemon->guests.v[i];

		if (!guest->known || guest->pid <= 0)
			continue;
		guests[n++] = (struct isolation_guest){
			.id = guest->id,
			.starttime = guest->starttime,
			.pid = guest->pid,
			.domain = config_domain(daemon->config, guest->name),
		};
		several |= guests[n - 1].domain != guests[0].domain;
		if (guest->foot_valid && pol_has(guest->foot.ksm_merging_bytes))
			merged += guest->foot.ksm_merging_bytes;
	}
	if (several && merged <= CROSSED_MERGED_MOST) {
		isolation_start(daemon->isolation, guests, n);
		return;
	}
	free(daemon->crossed.crossed);
	daemon->crossed =
		(struct isolation_result){.error = several ? -E2BIG : 0, .start_us = now_us};
	daemon->crossed_us = several ? now_us : 0;
}

void daemon_merge_changed(struct daemon *daemon)
{
	daemon->crossed_since_us = clock_now_us();
}

void daemon_merge_acted(struct daemon *daemon, const struct pol_plan *plan)
{
	if (daemon->act.dry_run || daemon->act.stopped)
		return;
	for (size_t i = 0; i < plan->n_actions; i++) {
		const struct pol_action *action = &plan->actions[i];

		if (action->kind == POL_KSM_NODES || (action->kind == POL_KSM_RUN && !action->to))
			daemon_merge_changed(daemon);
	}
}

void daemon_merge_snapshot(struct daemon *daemon)
{
	const struct isolation_result *look = &daemon->crossed;
	bool holds = daemon->crossed_us && !look->error && !is_outdated(daemon);
	size_t at = 0;

	daemon->snapshot.ksm.back_bytes = daemon->anchored.back_bytes;
	daemon->snapshot.ksm.back_us = daemon->anchored.back_us;
	for (size_t i = 0; i < daemon->snapshot.n_guests; i++) {
		struct pol_guest *guest = &daemon->snapshot_guests[i];

		while (holds && at < look->n && look->crossed[at].id < guest->id)
			at++;
		guest->crossed_bytes = holds && at < look->n && look->crossed[at].id == guest->id
					       ? look->crossed[at].bytes
					       : POL_ABSENT;
	}
}

static void tell_anchor(struct daemon *daemon, const struct anchor_result *result)
{
	if (result->error && result->error != daemon->anchored.error)
		daemon_error(daemon, "merged pages cannot be kept from being swapped: %s%s",
			     strerror(-result->error),
			     result->error == -EPERM || result->error == -ENOMEM ||
					     result->error == -EAGAIN
				     ? ": it takes CAP_IPC_LOCK, CAP_SYS_ADMIN and CAP_SYS_PTRACE"
				     : "");
	if (result->held_bytes && !daemon->anchored.held_bytes)
		log_info("merged pages that many guests share are kept in memory from now on");
}

static struct anchor_guest anchor_guest_of(const struct guest *guest, uint64_t back_bytes)
{
	struct anchor_guest one = {
		.id = guest->id, .starttime = guest->starttime, .pid = guest->pid};

	if (guest->foot_valid && pol_has(guest->foot.swapped_bytes))
		one.swapped_bytes = guest->foot.swapped_bytes;
	one.may_read = back_bytes && one.swapped_bytes >= BACK_LEAST_BYTES &&
		       guest_swap_may_read(guest, back_bytes);
	return one;
}

/* Merged pages are kept in memory as far as the policy wants that. */
static void work_on_anchor(struct daemon *daemon, uint64_t now_us)
{
	struct anchor_guest guests[GUESTS_MAX];
	size_t n = 0;
	struct anchor_bounds bounds = {
		.most_bytes = daemon->merge.anchor_bytes,
		.new_bytes = daemon->snapshot.available_bytes / ANCHOR_NEW_PART,
		.back_bytes = daemon->merge.back_bytes,
		.full_scans = daemon->snapshot.ksm.full_scans,
	};

	if (!daemon->anchor)
		return;
	if (daemon->ksm_leaving || !daemon->merge.anchor_bytes) {
		if (anchor_let_go(daemon->anchor))
			daemon->anchored = (struct anchor_result){
				.back_bytes = daemon->anchored.back_bytes,
				.read_bytes = daemon->anchored.read_bytes,
				.back_us = daemon->anchored.back_us,
			};
		return;
	}
	if (now_us < daemon->anchor_again_us || !daemon->merge.anchor_grows ||
	    !anchor_may_start(daemon->anchor))
		return;
	for (size_t i = 0; i < daemon->guests.n; i++) {
		const struct guest *guest = daemon->guests.v[i];

		if (guest->known && guest->pid > 0 && guest->merge_asked)
			guests[n++] = anchor_guest_of(guest, bounds.back_bytes);
	}
	if (n == 0 || anchor_start(daemon->anchor, guests, n, &bounds) < 0)
		return;
	daemon->guests.reading_back = bounds.back_bytes > 0;
	daemon->merge.back_bytes = 0; /* until the policy says so again */
}

static void note_read_back(struct daemon *daemon)
{
	daemon->guests.reading_back = false;
	for (size_t i = 0; i < daemon->guests.n; i++) {
		struct guest *guest = daemon->guests.v[i];

		if (guest->swap)
			guest->swap->ours_bytes += anchor_read_of(daemon->anchor, guest->id);
	}
}

static int on_anchor(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;
	struct anchor_result result;

	(void)source;
	(void)fd;
	(void)revents;
	if (anchor_take(daemon->anchor, &result) < 0)
		return 0;
	tell_anchor(daemon, &result);
	daemon->anchored = result;
	note_read_back(daemon);
	/* While there is something to add it goes on; then once in a while. */
	daemon->anchor_again_us = clock_now_us();
	if (result.error)
		daemon->anchor_again_us += ANCHOR_FAILED_US;
	else if (result.quiet)
		daemon->anchor_again_us += ANCHOR_EVERY_US;
	return 0;
}

/* Merging by chunks, while KSM is ours to set. */
static void work_on_chunks(struct daemon *daemon)
{
	if (!daemon->policy.ksm_manage || daemon->act.stopped || !daemon->snapshot.ksm.present)
		return;
	chunk_poll(&daemon->guests);
	chunk_work_begin(daemon->chunk_work, &daemon->guests, daemon->config->policy.ksm_cpu_ppm);
}

static int on_chunks(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;
	uint64_t available = daemon->snapshot.available_bytes;

	(void)source;
	(void)fd;
	(void)revents;
	chunk_work_end(daemon->chunk_work, &daemon->guests,
		       available > daemon->high_bytes ? available - daemon->high_bytes : 0);
	return 0;
}

static const char *name_of(const struct daemon *daemon, uint64_t id)
{
	const struct guest *guest = guests_find(&daemon->guests, id);

	return guest ? guest->name : "(gone)";
}

static int on_isolation(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct daemon *daemon = userdata;
	struct isolation_result *result = &daemon->crossed;
	struct isolation_crossed *before = result->crossed;

	(void)source;
	(void)fd;
	(void)revents;
	if (isolation_take(daemon->isolation, result) < 0)
		return 0;
	free(before);
	daemon->crossed_us = clock_now_us();
	for (size_t i = 0; i < result->n_pairs; i++)
		daemon_error(daemon, "guests %s and %s are of different trust domains and share %s",
			     name_of(daemon, result->pairs[i].a),
			     name_of(daemon, result->pairs[i].b),
			     SIZE_TEXT(result->pairs[i].bytes));
	if (result->error)
		log_debug("whether trust domains share pages cannot be checked: %s",
			  strerror(-result->error));
	return 0;
}

void daemon_merge_tick(struct daemon *daemon, uint64_t now_us)
{
	check_isolation(daemon, now_us);
	work_on_chunks(daemon);
	work_on_anchor(daemon, now_us);
}

int daemon_merge_sources(struct daemon *daemon)
{
	int r = sd_event_add_io(daemon->event, NULL, isolation_fd(daemon->isolation), EPOLLIN,
				on_isolation, daemon);

	if (r >= 0 && daemon->anchor)
		r = sd_event_add_io(daemon->event, &daemon->anchor_source,
				    anchor_fd(daemon->anchor), EPOLLIN, on_anchor, daemon);
	if (r >= 0)
		r = sd_event_add_io(daemon->event, NULL, chunk_work_fd(daemon->chunk_work), EPOLLIN,
				    on_chunks, daemon);
	return r;
}

void daemon_anchor_leave(struct daemon *daemon)
{
	daemon->anchor_source = sd_event_source_disable_unref(daemon->anchor_source);
	/* All that is held would be ours alone when it is unmerged, and locked. */
	anchor_close(daemon->anchor);
	daemon->anchor = NULL;
	daemon->anchored = (struct anchor_result){0};
	daemon->guests.reading_back = false;
}
