// SPDX-License-Identifier: Apache-2.0
/*
 * Status, guests and report as JSON, from what the last tick has seen: building one reads no file
 * but KSM's knobs and asks nobody. An absent number is null, never 0.
 */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/size.h"
#include "memd/chunk.h"
#include "memd/hugepage.h"
#include "memd/merge.h"
#include "memd/misfit.h"
#include "memd/numa_report.h"
#include "memd/probe.h"
#include "memd/report.h"
#include "memd/report_cgroup.h"
#include "memd/report_idle.h"
#include "memd/report_swap.h"

static json_object *new_document(void)
{
	json_object *doc = json_object_new_object();

	json_add_i64(doc, "schema", 1);
	return doc;
}

/* ---- status ---- */

static const char *mode_name(const struct daemon *daemon)
{
	if (daemon->act.stopped)
		return "stopped";
	return daemon->options->dry_run ? "dry-run" : "active";
}

static void add_tick(const struct daemon *daemon, json_object *doc)
{
	json_object *tick = json_object_new_object();

	json_add_u64(tick, "count", daemon->ticks);
	json_add_u64(tick, "last_us", daemon->tick_last_us);
	json_add_u64(tick, "max_us", daemon->tick_max_us);
	json_object_object_add(doc, "tick", tick);
}

static bool is_ballooned(const struct guest *guest)
{
	return pol_has(guest->actual_bytes) && guest->actual_bytes < guest->memory_bytes;
}

static void add_guest_counts(const struct daemon *daemon, json_object *doc)
{
	json_object *counts = json_object_new_object();
	uint64_t total = 0, answering = 0, ballooned = 0;

	for (size_t i = 0; i < daemon->guests.n; i++) {
		const struct guest *guest = daemon->guests.v[i];

		if (!guest->listed)
			continue;
		total++;
		answering += guest_is_answering(guest);
		ballooned += guest->known && is_ballooned(guest);
	}
	json_add_u64(counts, "total", total);
	json_add_u64(counts, "answering", answering);
	json_add_u64(counts, "ballooned", ballooned);
	json_object_object_add(doc, "guests", counts);
}

/* Knobs as they are now, and as they were before memd where it has changed them. */
static void add_ksm(const struct daemon *daemon, json_object *doc)
{
	const struct ksm *ksm = daemon->act.ksm;
	json_object *now = json_object_new_object(), *original = json_object_new_object();
	char value[UNDO_VALUE_MAX], why[256];

	json_add_bool(now, "managed", !daemon_ksm_aside(daemon, why, sizeof(why)));
	for (enum ksm_knob knob = 0; knob < KSM_KNOB_COUNT; knob++) {
		const char *was =
			daemon->undo ? undo_original(daemon->undo, ksm_knob_path(knob)) : NULL;

		if (!ksm_has(ksm, knob))
			continue;
		json_add_str(now, ksm_knob_name(knob),
			     ksm_knob_read(ksm, knob, value, sizeof(value)) < 0 ? NULL : value);
		if (was)
			json_add_str(original, ksm_knob_name(knob), was);
	}
	json_object_object_add(now, "original", original);
	json_object_object_add(doc, "ksm", now);
}

static void add_aside(json_object *list, const char *what, const char *why)
{
	json_object *one;

	if (!why)
		return;
	one = json_object_new_object();
	json_add_str(one, "what", what);
	json_add_str(one, "why", why);
	json_object_array_add(list, one);
}

static void add_changes(const struct daemon *daemon, json_object *doc)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; daemon->undo && i < undo_count(daemon->undo); i++) {
		struct undo_entry entry = undo_get(daemon->undo, i);
		json_object *one = json_object_new_object();
		char value[UNDO_VALUE_MAX] = "";
		bool read = false;

		for (enum ksm_knob knob = 0; knob < KSM_KNOB_COUNT && !read; knob++)
			read = strcmp(ksm_knob_path(knob), entry.path) == 0 &&
			       ksm_knob_read(daemon->act.ksm, knob, value, sizeof(value)) >= 0;
		json_add_str(one, "file", entry.path);
		json_add_str(one, "original", entry.original);
		json_add_str(one, "current", read ? value : NULL);
		json_object_array_add(list, one);
	}
	json_object_object_add(doc, "changes", list);
}

json_object *report_status(const struct daemon *daemon)
{
	json_object *doc = new_document(), *aside = json_object_new_array();
	json_object *errors = json_object_new_array(), *trace = json_object_new_object();
	uint64_t first =
		daemon->n_errors > DAEMON_ERRORS_MAX ? daemon->n_errors - DAEMON_ERRORS_MAX : 0;
	char why[256];

	json_add_str(doc, "version", MEMD_VERSION);
	json_add_str(doc, "mode", mode_name(daemon));
	json_add_u64(doc, "uptime_us", clock_now_us() - daemon->start_us);
	add_tick(daemon, doc);
	json_add_str(doc, "state", pol_state_name(daemon->state));
	json_add_u64(doc, "need_bytes", daemon->need_bytes);
	add_guest_counts(daemon, doc);
	json_object_object_add(doc, "misfits", misfits_json(&daemon->guests, clock_now_us()));
	add_ksm(daemon, doc);
	json_object_object_add(
		doc, "merging",
		merge_json(&daemon->guests, &daemon->merge, &daemon->crossed, daemon->crossed_us));
	json_object_object_add(doc, "swap", report_swap(daemon));
	json_object_object_add(doc, "reclaim", report_reclaim(daemon));
	json_object_object_add(doc, "idle_tracking", report_idle(daemon));
	add_aside(aside, "ksm", daemon_ksm_aside(daemon, why, sizeof(why)));
	add_aside(aside, "balloon", daemon_balloon_aside(daemon, why, sizeof(why)));
	add_aside(aside, "numa", daemon_numa_aside(daemon, why, sizeof(why)));
	json_object_object_add(doc, "standing_aside", aside);
	json_object_object_add(doc, "node_notes", nodes_notes_json(&daemon->nodes));
	json_object_object_add(doc, "node_changes", numa_report_news(daemon));
	for (uint64_t i = first; i < daemon->n_errors; i++)
		json_object_array_add(
			errors, json_object_new_string(daemon->errors[i % DAEMON_ERRORS_MAX]));
	json_object_object_add(doc, "errors", errors);
	add_changes(daemon, doc);
	json_add_str(trace, "path", daemon->record ? record_path(daemon->record) : NULL);
	json_add_u64(trace, "bytes", daemon->record ? record_bytes(daemon->record) : 0);
	json_object_object_add(doc, "trace", trace);
	return doc;
}

/* ---- guests ---- */

static bool mergeable(const struct guest *guest, const char **ret_reason)
{
	const char *reason = guest->merge_asked ? "" : guest->merge_reason;
	bool can = guest->merge_asked;

	/* What the host's kernel says of its mappings beats what its monitor was told. */
	if (guest->survey.full) {
		can = guest->survey.mergeable;
		if (can || guest->merge_asked)
			reason = guest->survey.mergeable_reason;
	}
	*ret_reason = *reason ? reason : NULL;
	return can;
}

static uint64_t footprint_of(const struct guest *guest, uint64_t value)
{
	return guest->foot_valid ? value : POL_ABSENT;
}

static void add_identity(const struct guest *guest, json_object *one)
{
	json_add_str(one, "name", guest->name);
	json_add_u64(one, "id", guest->id);
	json_add_u64(one, "pid", guest->pid > 0 ? (uint64_t)guest->pid : POL_ABSENT);
	json_add_str(one, "hypervisor", guest->ours ? "vmm" : "qemu");
	json_add_str(one, "version", guest->version[0] ? guest->version : NULL);
	json_add_str(one, "socket", guest->path);
	json_add_bool(one, "answering", guest_is_answering(guest));
}

/* Second-level tables: bytes by page size, and what part is in large pages. */
static void add_mapped(const struct guest *guest, json_object *one)
{
	const uint64_t *mapped = guest->mapped_bytes;
	uint64_t large = 0, all = 0;

	for (size_t i = 0; i < GUEST_MAPPED_SIZES; i++) {
		if (!pol_has(mapped[i]))
			continue;
		all += mapped[i];
		large += i == GUEST_MAPPED_4K ? 0 : mapped[i];
	}
	json_add_u64(one, "mapped_4k_bytes", mapped[GUEST_MAPPED_4K]);
	json_add_u64(one, "mapped_2m_bytes", mapped[GUEST_MAPPED_2M]);
	json_add_u64(one, "mapped_1g_bytes", mapped[GUEST_MAPPED_1G]);
	json_add_u64(one, "large_pages_ppm",
		     all && pol_has(mapped[GUEST_MAPPED_4K])
			     ? (uint64_t)((double)large / (double)all * 1e6 + 0.5)
			     : POL_ABSENT);
}

static void add_memory(const struct guest *guest, json_object *one)
{
	const struct guest *g = guest;
	const struct config_guest *section = config_find_guest(g->all->config, g->name);
	const struct pol_view *v = &g->view;
	const char *reason;
	bool can = mergeable(g, &reason);

	json_add_u64(one, "memory_bytes", g->memory_bytes);
	json_add_u64(one, "actual_bytes", g->actual_bytes);
	json_add_u64(one, "target_bytes", g->target_bytes);
	json_add_u64(one, "resident_bytes", footprint_of(g, g->foot.resident_bytes));
	json_add_u64(one, "swapped_bytes", footprint_of(g, g->foot.swapped_bytes));
	add_mapped(g, one);
	json_add_u64(one, "saved_bytes",
		     g->ksm_bytes + g->balloon_bytes + g->reported_bytes + g->mem_bytes);
	json_add_u64(one, "floor_bytes", g->has_view ? v->floor_bytes : POL_ABSENT);
	json_add_u64(one, "working_set_bytes", g->has_view ? v->working_set_bytes : POL_ABSENT);
	json_add_u64(one, "entitled_bytes", g->has_view ? v->entitled_bytes : POL_ABSENT);
	json_add_u64(one, "shares", section ? section->shares : 1000);
	json_add_bool(one, "mergeable", can);
	json_add_str(one, "mergeable_reason", reason);
}

/* null: it has none. */
static void add_mem_device(const struct guest *guest, json_object *one)
{
	json_object *device = NULL;

	if (guest->mem_max_bytes) {
		device = json_object_new_object();
		json_add_u64(device, "size_bytes", guest->mem_size_bytes);
		json_add_u64(device, "requested_bytes", guest->mem_requested_bytes);
		json_add_u64(device, "max_bytes", guest->mem_max_bytes);
		json_add_u64(device, "block_bytes", guest->mem_block_bytes);
		json_add_bool(device, "stuck", guest->has_view && guest->view.device_stuck);
	}
	json_object_object_add(one, "mem_device", device);
}

/* null: merged as a whole, or not at all. */
static void add_chunks(const struct guest *guest, json_object *one)
{
	const struct guest_chunks *chunks = chunk_is_used(guest) ? guest->chunks : NULL;
	json_object *obj = NULL;
	uint64_t on = 0;

	if (chunks) {
		obj = json_object_new_object();
		for (size_t i = 0; i < chunks->n; i++)
			on += chunks->on[i];
		json_add_u64(obj, "chunk_bytes", CHUNK_BYTES);
		json_add_u64(obj, "chunks", chunks->n);
		json_add_u64(obj, "merged_chunks", chunks->allowed ? on : 0);
		json_add_bool(obj, "sampled", chunks->sampled);
		json_add_u64(obj, "expected_bytes",
			     chunks->sampled ? chunks->expected_bytes : POL_ABSENT);
		json_add_u64(obj, "attainable_bytes",
			     chunks->sampled ? chunks->all_bytes : POL_ABSENT);
	}
	json_object_object_add(one, "merge_chunks", obj);
}

static void add_stats(const struct guest *guest, json_object *one)
{
	json_object *stats = json_object_new_object();
	const struct guest_stats *s = &guest->stats;

	json_add_u64(stats, "total_bytes", s->total_bytes);
	json_add_u64(stats, "free_bytes", s->free_bytes);
	json_add_u64(stats, "available_bytes", s->available_bytes);
	json_add_u64(stats, "cache_bytes", s->cache_bytes);
	json_add_u64(stats, "swap_in_bytes", s->swap_in_bytes);
	json_add_u64(stats, "swap_out_bytes", s->swap_out_bytes);
	json_add_u64(stats, "major_faults", s->major_faults);
	json_add_u64(stats, "oom_kills", s->oom_kills);
	json_add_u64(stats, "alloc_stalls", s->alloc_stalls);
	json_add_u64(stats, "age_us", guest_stats_age_us(guest, clock_now_us()));
	json_object_object_add(one, "stats", stats);
}

static void add_note(json_object *notes, const char *text)
{
	if (text && *text)
		json_object_array_add(notes, json_object_new_string(text));
}

static json_object *notes_of(const struct guest *guest)
{
	json_object *notes = json_object_new_array();
	char text[GUEST_NOTE_MAX];
	const char *why = NULL;

	add_note(notes, guest->note);
	if (!guest->known) {
		add_note(notes, "has not told yet what it is");
		return notes;
	}
	if (!guest_is_managed(guest, &why)) {
		snprintf(text, sizeof(text), "its balloon is left alone: %s", why);
		add_note(notes, text);
	} else if (!guest->deflate_on_oom) {
		add_note(notes, "its balloon was started without deflate-on-oom: if it runs out of "
				"memory, its own OOM killer acts before the balloon gives back");
	}
	if (guest->pool)
		add_note(notes, "its memory is huge pages of the pool: what its balloon takes goes "
				"back to the pool and is not available to others");
	if (guest->stats_rejected)
		add_note(notes, "its statistics contradict what the host knows and are ignored");
	else if (guest->has_view && guest->view.trust != POL_TRUST_OK)
		add_note(notes, pol_trust_text(guest->view.trust));
	if (guest->has_view && guest->view.trouble)
		add_note(notes, "it showed trouble lately (OOM kill, stalls or swap-in): nothing "
				"is taken from it");
	if (guest->has_view && guest->view.stuck)
		add_note(notes, "its balloon does not follow");
	if (guest->mem_max_bytes) {
		snprintf(text, sizeof(text), "its memory device has %s of %s, %s asked for%s",
			 SIZE_TEXT(guest->mem_size_bytes), SIZE_TEXT(guest->mem_max_bytes),
			 SIZE_TEXT(guest->mem_requested_bytes),
			 guest->has_view && guest->view.device_stuck
				 ? ": it does not follow, the balloon is used instead"
				 : "");
		add_note(notes, text);
	}
	if (merge_off_text(guest, text, sizeof(text)))
		add_note(notes, text);
	if (merge_marks_text(guest, text, sizeof(text)))
		add_note(notes, text);
	add_note(notes, report_reclaim_note(guest, text, sizeof(text)));
	add_note(notes, report_cgroup_note(guest, text, sizeof(text)));
	if (!guest->running)
		add_note(notes, "it is paused");
	return notes;
}

json_object *report_guests(const struct daemon *daemon)
{
	json_object *doc = new_document(), *list = json_object_new_array();

	for (size_t i = 0; i < daemon->guests.n; i++) {
		const struct guest *guest = daemon->guests.v[i];
		const struct config_guest *section;
		json_object *one;

		if (!guest->listed)
			continue;
		section = config_find_guest(daemon->config, guest->name);
		one = json_object_new_object();
		add_identity(guest, one);
		add_memory(guest, one);
		add_mem_device(guest, one);
		json_add_bool(one, "has_balloon", guest->balloon_path[0] && guest->balloon_active);
		json_add_bool(one, "deflate_on_oom", guest->deflate_on_oom);
		json_add_bool(one, "reporting", guest->reporting);
		json_add_str(one, "domain", section && section->domain[0] ? section->domain : NULL);
		add_chunks(guest, one);
		json_object_object_add(one, "reclaim", report_guest_reclaim(guest));
		json_object_object_add(one, "cgroup", report_guest_cgroup(daemon, guest));
		json_add_u64(one, "in_use_bytes",
			     guest->has_view ? guest->view.hot_bytes : POL_ABSENT);
		json_object_object_add(one, "idle", report_guest_idle(guest, clock_now_us()));
		add_stats(guest, one);
		json_object_object_add(one, "notes", notes_of(guest));
		json_object_array_add(list, one);
	}
	json_object_object_add(doc, "guests", list);
	return doc;
}

/* ---- report ---- */

static json_object *host_json(const struct daemon *daemon)
{
	const struct pol_host *host = &daemon->snapshot;
	json_object *one = json_object_new_object(), *nodes = json_object_new_array();
	json_object *ksm = json_object_new_object();
	const char *paging = probe_text(daemon->probe, "second_level_paging");
	struct hugepage hugepage;

	json_add_u64(one, "memory_bytes", host->memory_bytes);
	json_add_u64(one, "free_bytes", host->free_bytes);
	json_add_u64(one, "available_bytes", host->available_bytes);
	json_add_u64(one, "swap_bytes", host->swap_bytes);
	json_add_u64(one, "swap_used_bytes",
		     pol_has(host->swap_bytes) && pol_has(host->swap_free_bytes)
			     ? host->swap_bytes - host->swap_free_bytes
			     : POL_ABSENT);
	hugepage_read(daemon->act.rootfd, &hugepage);
	json_add_u64(one, "huge_page_bytes", hugepage_pool_bytes(&hugepage));
	json_add_str(one, "state", pol_state_name(daemon->state));
	json_add_str(one, "second_level_paging", paging ? paging : "none");
	for (size_t i = 0; i < host->n_nodes; i++) {
		json_object *node = json_object_new_object();

		json_add_u64(node, "node", host->nodes[i].node);
		json_add_u64(node, "memory_bytes", host->nodes[i].memory_bytes);
		json_add_u64(node, "free_bytes", host->nodes[i].free_bytes);
		json_object_array_add(nodes, node);
	}
	json_object_object_add(one, "nodes", nodes);
	json_add_u64(ksm, "saved_bytes",
		     daemon->savings.ksm_bytes + daemon->savings.ksm_other_bytes);
	json_object_object_add(
		ksm, "cpu_seconds",
		pol_has(host->ksm.cpu_us)
			? json_object_new_double((double)host->ksm.cpu_us / USEC_PER_SEC)
			: NULL);
	json_object_object_add(one, "ksm", ksm);
	json_object_object_add(one, "swap", report_swap(daemon));
	return one;
}

static json_object *nodes_of(const struct daemon *daemon, const struct guest *guest)
{
	json_object *nodes = json_object_new_object();

	for (size_t i = 0; guest->survey.full && i < POL_NODES_MAX; i++) {
		bool exists = false;
		char key[8];

		for (size_t j = 0; j < daemon->snapshot.n_nodes; j++)
			exists |= daemon->snapshot.nodes[j].node == i;
		if (!exists || !pol_has(guest->survey.node_bytes[i]))
			continue;
		snprintf(key, sizeof(key), "%zu", i);
		json_add_u64(nodes, key, guest->survey.node_bytes[i]);
	}
	return nodes;
}

/* One line on what is out of the ordinary, or null. */
static const char *state_note(const struct guest *guest)
{
	const char *why = NULL;

	if (guest->note[0])
		return guest->note;
	if (guest->has_view && guest->view.trouble)
		return "in trouble: given memory first";
	if (guest->has_view && guest->view.stuck)
		return "its balloon does not follow";
	return guest_is_managed(guest, &why) ? NULL : why;
}

json_object *report_report(const struct daemon *daemon)
{
	const struct savings *s = &daemon->savings;
	json_object *doc = new_document(), *list = json_object_new_array();
	json_object *savings = json_object_new_object();

	json_object_object_add(doc, "host", host_json(daemon));
	for (size_t i = 0; i < daemon->guests.n; i++) {
		const struct guest *guest = daemon->guests.v[i];
		json_object *one;

		if (!guest->known)
			continue;
		one = json_object_new_object();
		add_identity(guest, one);
		add_memory(guest, one);
		json_object_object_add(one, "nodes", nodes_of(daemon, guest));
		json_add_u64(one, "ksm_bytes", guest->ksm_bytes);
		json_add_u64(one, "ksm_merging_bytes",
			     footprint_of(guest, guest->foot.ksm_merging_bytes));
		json_add_u64(one, "balloon_bytes", guest->balloon_bytes);
		json_add_u64(one, "reported_bytes", guest->reported_bytes);
		json_add_u64(one, "virtio_mem_bytes", guest->mem_bytes);
		json_add_str(one, "state_note", state_note(guest));
		json_object_array_add(list, one);
	}
	json_object_object_add(doc, "guests", list);
	json_add_u64(savings, "ksm_bytes", s->ksm_bytes);
	json_add_u64(savings, "ksm_other_bytes", s->ksm_other_bytes);
	json_add_u64(savings, "balloon_bytes", s->balloon_bytes);
	json_add_u64(savings, "reported_bytes", s->reported_bytes);
	json_add_u64(savings, "virtio_mem_bytes", s->mem_bytes);
	json_add_u64(savings, "total_bytes", s->total_bytes);
	json_object_object_add(doc, "savings", savings);
	return doc;
}
