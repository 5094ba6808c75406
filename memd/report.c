// SPDX-License-Identifier: Apache-2.0
/*
 * Status, guests and report as JSON, from what the last tick has seen: building one reads no file
 * but KSM's knobs and asks nobody. An absent number is null, never 0.
 */
#include <string.h>

#include "common/clock.h"
#include "memd/hugepage.h"
#include "memd/merge.h"
#include "memd/misfit.h"
#include "memd/numa_report.h"
#include "memd/probe.h"
#include "memd/report.h"
#include "memd/report_guest.h"
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
		int r = undo_read(daemon->act.rootfd, entry.path, value, sizeof(value));

		json_add_str(one, "file", entry.path);
		json_add_str(one, "original", entry.original);
		json_add_str(one, "current", r < 0 ? NULL : value);
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
	json_object_object_add(doc, "merging",
			       merge_json(&daemon->guests, &daemon->merge, &daemon->anchored,
					  &daemon->crossed, daemon->crossed_us));
	json_add_u64(doc, "split_bytes", daemon->splits.sum.split_bytes);
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

json_object *report_guests(const struct daemon *daemon)
{
	json_object *doc = new_document(), *list = json_object_new_array();

	for (size_t i = 0; i < daemon->guests.n; i++) {
		const struct guest *guest = daemon->guests.v[i];

		if (guest->listed)
			json_object_array_add(list, report_guest(daemon, guest));
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

json_object *report_report(const struct daemon *daemon)
{
	const struct savings *s = &daemon->savings;
	json_object *doc = new_document(), *list = json_object_new_array();
	json_object *savings = json_object_new_object();

	json_object_object_add(doc, "host", host_json(daemon));
	for (size_t i = 0; i < daemon->guests.n; i++) {
		const struct guest *guest = daemon->guests.v[i];

		if (guest->known)
			json_object_array_add(list, report_guest_saved(daemon, guest));
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
