// SPDX-License-Identifier: Apache-2.0
/* A guest as JSON: who it is, what memory it has, what is saved with it, and notes for people. */
#include "memd/report_guest.h"

#include <stdio.h>

#include "common/clock.h"
#include "common/size.h"
#include "memd/chunk.h"
#include "memd/guest_max.h"
#include "memd/merge.h"
#include "memd/report_cgroup.h"
#include "memd/report_idle.h"
#include "memd/report_swap.h"

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
	json_add_u64(stats, "async_scan_bytes", s->async_scan_bytes);
	json_add_u64(stats, "direct_scan_bytes", s->direct_scan_bytes);
	json_add_u64(stats, "async_reclaim_bytes", s->async_reclaim_bytes);
	json_add_u64(stats, "direct_reclaim_bytes", s->direct_reclaim_bytes);
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
	else if (guest_max_exceeded(guest))
		add_note(notes, "it uses more than max= of its section allows: its balloon takes "
				"nothing more until it uses less");
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

json_object *report_guest(const struct daemon *daemon, const struct guest *guest)
{
	const struct config_guest *section = config_find_guest(daemon->config, guest->name);
	json_object *one = json_object_new_object();

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
	json_add_u64(one, "in_use_bytes", guest->has_view ? guest->view.hot_bytes : POL_ABSENT);
	json_object_object_add(one, "idle", report_guest_idle(guest, clock_now_us()));
	add_stats(guest, one);
	json_object_object_add(one, "notes", notes_of(guest));
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

json_object *report_guest_saved(const struct daemon *daemon, const struct guest *guest)
{
	json_object *one = json_object_new_object();

	add_identity(guest, one);
	add_memory(guest, one);
	json_object_object_add(one, "nodes", nodes_of(daemon, guest));
	json_add_u64(one, "ksm_bytes", guest->ksm_bytes);
	json_add_u64(one, "ksm_merging_bytes", footprint_of(guest, guest->foot.ksm_merging_bytes));
	json_add_u64(one, "balloon_bytes", guest->balloon_bytes);
	json_add_u64(one, "reported_bytes", guest->reported_bytes);
	json_add_u64(one, "virtio_mem_bytes", guest->mem_bytes);
	json_add_str(one, "state_note", state_note(guest));
	return one;
}
