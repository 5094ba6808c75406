// SPDX-License-Identifier: Apache-2.0
/*
 * The registry: from guests to the policy's snapshot; guest_scan.c finds them. Pointers to guests
 * stay valid until the next guests_scan(); everything here may only change what they hold.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "memd/chunk.h"
#include "memd/guest.h"
#include "memd/guest_max.h"
#include "memd/guest_qmp.h"
#include "memd/guest_turn.h"
#include "memd/guest_watch.h"
#include "memd/guest_swap.h"
#include "memd/pageout.h"
#include "memd/vcpus.h"

/* A guest that refused to switch its merging is not asked again before. */
#define MERGE_REFUSED_US (60 * USEC_PER_SEC)

int guests_init(struct guests *guests, sd_event *event, const struct config *config,
		const struct guests_hooks *hooks, bool dry_run, int rootfd)
{
	int r;

	*guests = (struct guests){
		.event = event,
		.config = config,
		.hooks = *hooks,
		.dry_run = dry_run,
		.rootfd = rootfd,
		.next_id = 1,
		.capacity = GUESTS_MAX,
		/* All at once: a tick under memory pressure must not grow this. */
		.v = calloc(GUESTS_MAX, sizeof(struct guest *)),
	};
	if (!guests->v)
		return -ENOMEM;
	memcg_read(rootfd, &guests->memcg);
	guests->sees_idle = pageout_sees_idle(rootfd);
	r = guest_watch_open(guests);
	if (r < 0)
		guests_fini(guests);
	return r;
}

void guest_free(struct guest *guest)
{
	guest_qmp_drop(guest, NULL);
	chunk_forget(guest);
	guest_swap_forget(guest);
	free(guest->cgroup_why);
	vcpus_forget(&guest->cpus);
	free(guest);
}

void guests_fini(struct guests *guests)
{
	guests->hooks = (struct guests_hooks){0};
	for (size_t i = 0; i < guests->n; i++)
		guest_free(guests->v[i]);
	guest_watch_close(guests);
	free(guests->v);
	*guests = (struct guests){.epoll_fd = -1};
}

void guest_name_clean(const char *name, char *buf, size_t n)
{
	size_t used = 0;

	while (*name && used + 1 < n) {
		unsigned char c = (unsigned char)*name++;
		size_t more = c >= 0xf0 && c < 0xf5 ? 3 : c >= 0xe0 ? 2 : c >= 0xc2 ? 1 : 0;
		bool good = c >= 0x20 && c != 0x7f && (c < 0x80 || (c >= 0xc2 && c < 0xf5));

		for (size_t i = 0; good && c >= 0x80 && i < more; i++)
			good = ((unsigned char)name[i] & 0xc0) == 0x80;
		if (!good || c < 0x80) {
			buf[used++] = good ? (char)c : '?';
			continue;
		}
		if (used + more + 1 >= n)
			break;
		buf[used++] = (char)c;
		for (; more > 0; more--)
			buf[used++] = *name++;
	}
	buf[used] = '\0';
}

/* "/run/memd/guests/web1.qmp" -> "web1": what a guest is called until it says otherwise. */
static void name_from_path(struct guest *guest)
{
	const char *base = strrchr(guest->path, '/');
	char name[GUEST_PATH_MAX];
	size_t len;

	snprintf(name, sizeof(name), "%s", base ? base + 1 : guest->path);
	len = strlen(name);
	if (len > 4 && strcmp(name + len - 4, ".qmp") == 0)
		name[len - 4] = '\0';
	guest_name_clean(name, guest->name, sizeof(guest->name));
}

/* What one life of the guest has shown. */
static void clear_life(struct guest *guest)
{
	guest->actual_bytes = guest->target_bytes = guest->balloon_actual_bytes = POL_ABSENT;
	guest->target_sent_us = guest->mem_most_bytes = 0;
	guest->returned_mem_bytes = guest->returned_balloon_bytes = guest->returned_reported_bytes =
		POL_ABSENT;
	memset(guest->mapped_bytes, 0xff, sizeof(guest->mapped_bytes));
	memset(&guest->stats, 0xff, sizeof(guest->stats));
	guest->stats.last_update_s = 0;
	guest->stats_seen_us = guest->emptied_us = 0;
	guest->stats_rejected = guest->driver_seen = guest->renew = guest->balloon_active = false;
	guest->below = false;
	guest->has_view = false;
	guest->doubt_us = 0;
	guest->hot = (struct guest_hot){.source = IDLE_NONE};
	/* A move goes by the id, so nobody would end it for the new life. */
	guest->numa_moving = false;
}

void guest_forget(struct guest *guest)
{
	name_from_path(guest);
	clear_life(guest);
	guest->note[0] = guest->version[0] = guest->balloon_path[0] = guest->merge_reason[0] = '\0';
	guest->known = guest->ours = guest->balloon_refused = guest->mapped_refused = false;
	guest->deflate_on_oom = guest->reporting = guest->merge_asked = guest->pool = false;
	guest->release = guest->late = guest->poll_interval_set = guest->foot_valid = false;
	guest->running = true;
	guest->recalled = false;
	guest->memory_bytes = guest->poll_interval_s = POL_ABSENT;
	guest->survey = (struct footprint){0};
	guest->survey_us = guest->survey_start_us = 0;
	guest->ksm_bytes = guest->balloon_bytes = guest->reported_bytes = guest->mem_bytes = 0;
	guest->base_bytes = guest->plugged_bytes = guest->other_bytes = guest->other_mem_bytes = 0;
	guest->mem_max_bytes = guest->mem_size_bytes = guest->mem_requested_bytes = 0;
	guest->mem_block_bytes = 0;
	guest->devices_refused = false;
	guest->n_backends = 0;
	memset(guest->backends, 0, sizeof(guest->backends));
	guest->merge_refused_us = guest->merge_set_us = 0;
	vcpus_forget(&guest->cpus);
	guest->cpus =
		(struct guest_cpus){.told = POL_ABSENT, .node = POL_ABSENT, .node_ppm = POL_ABSENT};
	guest->place = (struct guest_place){0};
	guest->repair = (struct pol_repair_past){0};
	free(guest->cgroup_why);
	guest->cgroup_why = NULL;
	guest->threads = guest->vhost = POL_ABSENT;
	chunk_forget(guest);
}

void guest_begin_life(struct guest *guest)
{
	struct guests *all = guest->all;
	size_t i;

	guest->release |= pol_has(guest->target_bytes) ? guest->target_bytes < guest->memory_bytes
						       : guest->below && guest_is_inherited(guest);
	clear_life(guest);
	guest->id = all->next_id++;
	for (i = 0; i < all->n && all->v[i] != guest; i++)
		;
	if (i == all->n)
		return;
	/* The newest id goes last: the policy wants them sorted. */
	for (; i + 1 < all->n; i++)
		all->v[i] = all->v[i + 1];
	all->v[all->n - 1] = guest;
}

void guests_poll(struct guests *guests, uint64_t now_us)
{
	/* guest_begin_life() moves a guest to the end: those wait until the others were seen. */
	for (size_t i = 0, left = guests->n; left > 0; left--) {
		struct guest *guest = guests->v[i];

		guest->bytes_in = guest->messages_in = 0;
		guest_qmp_check(guest, now_us);
		if (!guest->renew) {
			i++;
			continue;
		}
		guest_begin_life(guest);
		if (guests->hooks.changed)
			guests->hooks.changed(guests->hooks.ctx, guest, "reset");
	}
	guest_turns(guests, now_us);
	/* One more than are asked, so that an answer in here does not end the poll too early. */
	guests->polling = 1;
	for (size_t i = 0; i < guests->n; i++) {
		struct guest *guest = guests->v[i];

		guest->polls_left = 0;
		if (guest->phase != GUEST_READY || guest->rests)
			continue;
		/* The same for one that is lost as it is asked. */
		guest->polls_left = 1;
		guests->polling++;
		guest_qmp_poll(guest, now_us);
		if (guest->polls_left > 0 && --guest->polls_left == 0)
			guests->polling--;
	}
	if (--guests->polling == 0 && guests->hooks.polled)
		guests->hooks.polled(guests->hooks.ctx);
}

static int look(const struct guest *guest, struct footprint *foot)
{
	int rootfd = guest->all->rootfd;

	if (guest->foot_valid && guest->looked_at == GUEST_LOOK_BRIEF)
		return footprint_again(rootfd, guest->pid, foot);
	return footprint_quick(rootfd, guest->pid, foot);
}

void guests_look(struct guests *guests, uint64_t now_us)
{
	for (size_t i = 0; i < guests->n; i++) {
		struct guest *guest = guests->v[i];

		if (guest->looked_at == GUEST_LOOK_NOT && guest->foot_valid)
			continue;
		guest->foot_valid =
			guest->known && guest->pid > 0 && look(guest, &guest->foot) == 0;
		guest_swap_look(guest, now_us);
	}
}

struct guest *guests_find_process(const struct guests *guests, pid_t pid, uint64_t starttime)
{
	for (size_t i = 0; i < guests->n; i++)
		if (guests->v[i]->pid == pid && guests->v[i]->starttime == starttime)
			return guests->v[i];
	return NULL;
}

struct guest *guests_find(const struct guests *guests, uint64_t id)
{
	size_t low = 0, high = guests->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (guests->v[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < guests->n && guests->v[low]->id == id ? guests->v[low] : NULL;
}

bool guests_have_said(const struct guests *guests)
{
	for (size_t i = 0; i < guests->n; i++)
		if (guests->v[i]->phase == GUEST_GREETING || guests->v[i]->phase == GUEST_SETUP)
			return false;
	return true;
}

bool guest_is_answering(const struct guest *guest)
{
	return guest->phase == GUEST_READY && !guest->late;
}

bool guest_is_managed(const struct guest *guest, const char **ret_why)
{
	const char *why = NULL;

	if (!config_manages(guest->all->config, guest->name))
		why = "manage=no in its section of the configuration";
	else if (guest->balloon_refused)
		why = "its hypervisor refuses to balloon it";
	else if (!guest->balloon_path[0])
		why = "it has no balloon device";
	else if (!guest->balloon_active)
		why = "its balloon device is not active";
	else if (!guest->driver_seen)
		why = "no balloon driver has shown itself in the guest yet";
	if (why && ret_why)
		*ret_why = why;
	return !why;
}

uint64_t guest_held_bytes(const struct guest *guest)
{
	/* What balloons count: without virtio-mem devices. */
	uint64_t mem = guest->mem_max_bytes + guest->other_mem_bytes;
	uint64_t full = guest->memory_bytes > mem ? guest->memory_bytes - mem : 0;

	if (!guest->balloon_active || !pol_has(guest->memory_bytes) ||
	    !pol_has(guest->balloon_actual_bytes) || guest->balloon_actual_bytes >= full)
		return 0;
	return full - guest->balloon_actual_bytes;
}

bool guest_is_inherited(const struct guest *guest)
{
	return guest->all->balloons && !pol_has(guest->target_bytes) &&
	       guest->target_sent_us == 0 && guest_is_managed(guest, NULL);
}

uint64_t guest_taken_bytes(const struct guest *guest)
{
	uint64_t has = guest->target_bytes;

	if (guest_is_inherited(guest) && guest_held_bytes(guest) > GUEST_SLACK_BYTES)
		has = guest->actual_bytes;
	return has < guest->memory_bytes ? guest->memory_bytes - has : 0;
}

bool guest_can_switch_merge(const struct guest *guest)
{
	if (guest->n_backends == 0 || guest->n_backends > GUEST_BACKENDS_MAX)
		return false;
	for (size_t i = 0; i < guest->n_backends; i++)
		if (guest->backends[i].merge && !guest->backends[i].id[0])
			return false;
	return true;
}

uint64_t guest_stats_age_us(const struct guest *guest, uint64_t now_us)
{
	if (guest->stats_seen_us == 0 || guest->stats_rejected || now_us < guest->stats_seen_us)
		return POL_ABSENT;
	return now_us - guest->stats_seen_us;
}

static uint64_t both(uint64_t a, uint64_t b)
{
	return pol_has(a) && pol_has(b) ? a + b : POL_ABSENT;
}

static void snapshot_stats(const struct guest *guest, uint64_t now_us, struct pol_guest *p)
{
	const struct guest_stats *s = &guest->stats;

	p->stat_age_us = guest_stats_age_us(guest, now_us);
	if (!pol_has(p->stat_age_us)) {
		p->stat_total_bytes = p->stat_free_bytes = p->stat_available_bytes = POL_ABSENT;
		p->stat_cache_bytes = p->stat_swap_in_bytes = p->stat_swap_out_bytes = POL_ABSENT;
		p->stat_major_faults = p->stat_oom_kills = p->stat_alloc_stalls = POL_ABSENT;
		p->stat_scanned_bytes = p->stat_reclaimed_bytes = POL_ABSENT;
		return;
	}
	p->stat_total_bytes = s->total_bytes;
	p->stat_free_bytes = s->free_bytes;
	p->stat_available_bytes = s->available_bytes;
	p->stat_cache_bytes = s->cache_bytes;
	p->stat_swap_in_bytes = s->swap_in_bytes;
	p->stat_swap_out_bytes = s->swap_out_bytes;
	p->stat_major_faults = s->major_faults;
	p->stat_oom_kills = s->oom_kills;
	p->stat_alloc_stalls = s->alloc_stalls;
	p->stat_scanned_bytes = both(s->async_scan_bytes, s->direct_scan_bytes);
	p->stat_reclaimed_bytes = both(s->async_reclaim_bytes, s->direct_reclaim_bytes);
}

bool guest_is_off_by_us(const struct guest *guest)
{
	for (size_t i = 0; i < guest->n_backends && i < GUEST_BACKENDS_MAX; i++)
		if (guest->backends[i].ours)
			return true;
	return false;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
	if (!pol_has(a))
		return b;
	return pol_has(b) ? a + b : a;
}

static void snapshot_merge(const struct guest *guest, uint64_t now_us, struct pol_guest *p)
{
	/* A look from before the switch tells nothing of after it. */
	bool looked = guest->survey.full && !guest->merge_open &&
		      guest->survey_start_us > guest->merge_set_us;

	p->domain = config_domain(guest->all->config, guest->name);
	p->merge_on = guest->merge_asked || (chunk_is_used(guest) && guest->chunks->allowed);
	p->merge_switch =
		guest_can_switch_merge(guest) &&
		(guest->merge_asked || guest_is_off_by_us(guest)) &&
		(!guest->merge_refused_us || now_us - guest->merge_refused_us > MERGE_REFUSED_US);
	p->marked_bytes = looked ? guest->survey.marked_bytes : POL_ABSENT;
	p->bound_mask = guest->survey.full ? guest->survey.bound_mask : POL_ABSENT;
	p->seen_mask = guest->survey.full ? guest->survey.seen_mask : POL_ABSENT;
	p->merging_bytes = p->rmap_bytes = POL_ABSENT;
	if (guest->foot_valid) {
		p->merging_bytes = sum(guest->foot.ksm_merging_bytes, guest->foot.ksm_zero_bytes);
		p->rmap_bytes = guest->foot.ksm_rmap_bytes;
	}
	p->ksm_bytes = guest->ksm_bytes;
	p->crossed_bytes = POL_ABSENT;
}

/* Where it is; see vcpus.h and footprint.h. */
static void snapshot_place(const struct guest *guest, struct pol_guest *p)
{
	bool looked = guest->survey.full;

	for (size_t i = 0; i < POL_PLACE_NODES; i++)
		p->node_bytes[i] = looked ? guest->survey.ram_node_bytes[i] : POL_ABSENT;
	p->huge_bytes = looked ? guest->survey.anon_huge_bytes : POL_ABSENT;
	p->vcpus = guest->cpus.told;
	p->cpu_node = guest->cpus.node;
	p->cpu_node_ppm = guest->cpus.node_ppm;
	p->numa_bar = vcpus_bar(guest);
	p->numa_moving = guest->numa_moving;
}

static void snapshot_hot(const struct guest *guest, uint64_t now_us, struct pol_guest *p)
{
	p->hot_bytes = p->hot_us = p->hot_age_us = POL_ABSENT;
	if (guest->hot.source == IDLE_NONE || now_us < guest->hot.seen_us)
		return;
	p->hot_bytes = guest->hot.bytes;
	p->hot_us = guest->hot.window_us;
	p->hot_age_us = now_us - guest->hot.seen_us;
}

static void snapshot_guest(const struct guest *guest, uint64_t now_us, struct pol_guest *p)
{
	const struct config_guest *section = config_find_guest(guest->all->config, guest->name);

	*p = (struct pol_guest){
		.id = guest->id,
		.memory_bytes = guest->memory_bytes,
		.min_bytes = section ? section->min_bytes : POL_ABSENT,
		.shares = section ? section->shares : 1000,
		.answering = guest_is_answering(guest),
		.has_balloon = guest_is_managed(guest, NULL),
		.deflate_on_oom = guest->deflate_on_oom,
		.reporting = guest->reporting,
		.pool = guest->pool,
		.mergeable = guest->merge_asked && (!guest->survey.full || guest->survey.mergeable),
		.mem_max_bytes = guest->mem_max_bytes,
		.mem_size_bytes = guest->mem_size_bytes,
		.mem_requested_bytes = guest->mem_requested_bytes,
		.mem_block_bytes = guest->mem_block_bytes,
		.actual_bytes = guest->actual_bytes,
		.target_bytes = guest->target_bytes,
		.resident_bytes = guest->foot_valid ? guest->foot.resident_bytes : POL_ABSENT,
		.swapped_bytes = guest->foot_valid ? guest->foot.swapped_bytes : POL_ABSENT,
		.cpu_us = guest->foot_valid ? guest->foot.cpu_us : POL_ABSENT,
		.saved_bytes = guest->ksm_bytes + guest->balloon_bytes + guest->reported_bytes +
			       guest->mem_bytes,
	};
	snprintf(p->name, sizeof(p->name), "%s", guest->name);
	snapshot_stats(guest, now_us, p);
	if (section)
		guest_max_apply(section->max_bytes, p);
	snapshot_merge(guest, now_us, p);
	guest_swap_snapshot(guest, p);
	snapshot_place(guest, p);
	snapshot_hot(guest, now_us, p);
	if (pol_has(p->min_bytes) && p->min_bytes > p->memory_bytes)
		p->min_bytes = p->memory_bytes;
}

size_t guests_snapshot(const struct guests *guests, uint64_t now_us, struct pol_guest *ret,
		       size_t max, bool *ret_mergeable_any)
{
	bool mergeable = false;
	size_t n = 0;

	for (size_t i = 0; i < guests->n && n < max; i++) {
		if (!guests->v[i]->known)
			continue;
		snapshot_guest(guests->v[i], now_us, &ret[n]);
		mergeable |= ret[n].mergeable;
		n++;
	}
	*ret_mergeable_any = mergeable;
	return n;
}
