// SPDX-License-Identifier: Apache-2.0
/* Guests' chunks: where they lie, which are on, and telling the guests. */
#include "memd/chunk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/size.h"
#include "memd/guest_qmp.h"

#define GUEST_CHUNK_BYTES_MAX (1ULL << 46)
/* Regions that end within a chunk count as whole ones: so much more than the guest was promised. */
#define ROUND_BYTES (2 * CHUNK_REGIONS_MAX * CHUNK_BYTES)
#define GROWN_BYTES (32 * MIB)
/* A guest that KSM has merged more of is not unmerged before it is known what for. */
#define MERGED_LEAST (64 * MIB)

/* ---- where they lie ---- */

static bool can_be_used(const struct guest *guest)
{
	return guest->ours && guest->phase == GUEST_READY && !guest->pool &&
	       !guest->mem_max_bytes && guest->all->config->merge_unit == CONFIG_MERGE_CHUNK &&
	       !guest->all->dry_run && guest_can_switch_merge(guest) &&
	       (guest->merge_asked || guest_is_off_by_us(guest));
}

static void ask_runs(struct guest *guest, uint64_t gpa)
{
	json_object *args = json_object_new_object();

	json_add_u64(args, "gpa", gpa);
	guest->chunks->asked_gpa = gpa;
	guest->chunks->asking = guest_qmp_send_json(guest, GUEST_REQUEST_QUERY_MERGE,
						    "__memd-query-merge", args, 0) == 0;
}

/* Is the backend one whose merging is a matter of ours? */
static bool is_merged_backend(const struct guest *guest, const char *id)
{
	for (size_t i = 0; i < guest->n_backends && i < GUEST_BACKENDS_MAX; i++)
		if (id && strcmp(guest->backends[i].id, id) == 0)
			return guest->backends[i].merge || guest->backends[i].ours;
	return false;
}

/* One run: it joins the region before it, or begins one. */
static int add_run(struct guest *guest, json_object *run)
{
	struct guest_chunks *chunks = guest->chunks;
	struct chunk_region *last = &chunks->regions[chunks->n_regions ? chunks->n_regions - 1 : 0];
	uint64_t gpa, bytes, address;
	size_t n;
	bool merge = false, *on;

	if (!json_get_u64(run, "gpa", &gpa) || !json_get_u64(run, "length", &bytes) ||
	    gpa % CHUNK_BYTES || !bytes || bytes > GUEST_CHUNK_BYTES_MAX)
		return -EPROTO;
	if (!json_get_u64(run, "host-address", &address) ||
	    !is_merged_backend(guest, json_get_str(run, "memdev")))
		return 0;
	n = (bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
	/* A monitor that lies must not have memory taken here without end. */
	if ((chunks->n + n) * CHUNK_BYTES > guest->memory_bytes + ROUND_BYTES)
		return -EPROTO;
	json_get_bool(run, "merge", &merge);
	if (chunks->n_regions && last->gpa + last->bytes == gpa &&
	    last->address + last->bytes == address && last->bytes % CHUNK_BYTES == 0) {
		last->bytes += bytes;
	} else {
		if (chunks->n_regions == CHUNK_REGIONS_MAX)
			return -E2BIG;
		chunks->regions[chunks->n_regions++] =
			(struct chunk_region){.gpa = gpa, .bytes = bytes, .address = address};
	}
	on = reallocarray(chunks->on, chunks->n + n, sizeof(*on));
	if (!on)
		return -ENOMEM;
	memset(on + chunks->n, merge, n);
	chunks->on = on;
	chunks->n += n;
	return 0;
}

static void begin(struct guest *guest)
{
	struct guest_chunks *chunks = guest->chunks;
	uint64_t merged = guest->foot_valid && pol_has(guest->foot.ksm_merging_bytes)
				  ? guest->foot.ksm_merging_bytes
				  : 0;

	chunks->ready = true;
	chunks->allowed = guest->merge_asked;
	/* One that a memd before this one has treated so goes on from there. */
	if (guest_is_off_by_us(guest) || merged > MERGED_LEAST)
		return;
	memset(chunks->on, 0, chunks->n);
	chunks->dirty = true;
}

void chunk_take_runs(struct guest *guest, json_object *value)
{
	struct guest_chunks *chunks = guest->chunks;
	json_object *runs = json_get_array(value, "runs");
	uint64_t next;
	int r = runs ? 0 : -EOPNOTSUPP;

	if (!chunks || !chunks->asking)
		return;
	chunks->asking = false;
	for (size_t i = 0; r == 0 && i < json_object_array_length(runs); i++)
		r = add_run(guest, json_object_array_get_idx(runs, i));
	if (r == 0 && json_get_u64(value, "next-gpa", &next)) {
		if (next > chunks->asked_gpa) {
			ask_runs(guest, next);
			return;
		}
		r = -EPROTO; /* it would go round for ever */
	}
	if (r == 0 && chunks->n > 0) {
		begin(guest);
		return;
	}
	/* Merged as a whole then. */
	chunks->failed = true;
	if (r < 0)
		log_debug("guest %s: not merged by chunks: %s", guest->name, strerror(-r));
}

void chunk_forget(struct guest *guest)
{
	if (!guest->chunks)
		return;
	free(guest->chunks->on);
	free(guest->chunks);
	guest->chunks = NULL;
}

/* ---- telling the guest ---- */

static void add_range(json_object *list, uint64_t gpa, uint64_t bytes, bool merge)
{
	json_object *one = json_object_new_object();

	json_add_u64(one, "gpa", gpa);
	json_add_u64(one, "length", bytes);
	json_add_bool(one, "merge", merge);
	json_object_array_add(list, one);
}

json_object *chunk_ranges(const struct guest_chunks *chunks, bool allowed)
{
	json_object *list = json_object_new_array();
	const bool *on = chunks->on;

	for (size_t i = 0; i < chunks->n_regions; i++) {
		const struct chunk_region *region = &chunks->regions[i];
		size_t n = (region->bytes + CHUNK_BYTES - 1) / CHUNK_BYTES, to;

		for (size_t at = 0; at < n; at = to) {
			uint64_t off = at * CHUNK_BYTES, end;

			for (to = at + 1; to < n && (!allowed || on[to] == on[at]);)
				to++;
			end = to == n ? region->bytes : to * CHUNK_BYTES;
			add_range(list, region->gpa + off, end - off, allowed && on[at]);
		}
		on += n;
	}
	return list;
}

void chunk_poll(struct guests *guests)
{
	for (size_t i = 0; i < guests->n; i++) {
		struct guest *guest = guests->v[i];

		if (!guest->chunks && can_be_used(guest)) {
			guest->chunks = calloc(1, sizeof(*guest->chunks));
			if (guest->chunks)
				ask_runs(guest, 0);
		} else if (chunk_is_used(guest) && guest->chunks->dirty && !guest->merge_open &&
			   guest->phase == GUEST_READY && guest->chunks->allowed) {
			guest_qmp_set_merge(guest, true, 0);
		} else if (guest->chunks && !guest->chunks->ready && !guest->chunks->failed &&
			   !guest->chunks->asking && can_be_used(guest)) {
			chunk_forget(guest); /* the connection broke: from the beginning */
		}
	}
}

/* ---- choosing ---- */

static bool is_due(const struct guest *guest)
{
	const struct guest_chunks *chunks = guest->chunks;
	uint64_t now = guest->foot.resident_bytes;

	if (!chunks->sampled)
		return true;
	return guest->foot_valid && pol_has(now) &&
	       now > chunks->sampled_bytes + chunks->sampled_bytes / 10 + GROWN_BYTES;
}

/* Whether it is merged by chunks is being asked: it is no matter of sampling yet. */
static bool is_being_asked(const struct guest *guest)
{
	return guest->chunks ? !guest->chunks->ready && !guest->chunks->failed : can_be_used(guest);
}

size_t chunk_targets(const struct guests *guests, struct chunk_target *targets,
		     enum chunk_due *ret_due)
{
	size_t n = 0;

	*ret_due = CHUNK_DUE_NONE;
	for (size_t i = 0; i < guests->n; i++) {
		const struct guest *guest = guests->v[i];
		struct chunk_target *target = &targets[n];
		bool used = chunk_is_used(guest);

		if (!guest->known || guest->pid <= 0 ||
		    (!used && (!guest->merge_asked || is_being_asked(guest))))
			continue;
		*target = (struct chunk_target){
			.id = guest->id,
			.pid = guest->pid,
			.domain = config_domain(guests->config, guest->name),
			.whole = !used,
			.whole_bytes = guest->memory_bytes,
		};
		if (used) {
			memcpy(target->regions, guest->chunks->regions, sizeof(target->regions));
			target->n_regions = guest->chunks->n_regions;
			target->again = is_due(guest);
			if (target->again && *ret_due != CHUNK_DUE_NEW)
				*ret_due = guest->chunks->sampled ? CHUNK_DUE_GROWN : CHUNK_DUE_NEW;
		}
		n++;
	}
	return n;
}

/* All chunks of one domain one after the other, and what is chosen of them. */
struct choice {
	struct chunk_score *scores;
	bool *on;
	size_t n;
};

/* The guest's chunks as chosen, within what unmerging may take. again: it has been read now. */
static void take_choice(struct guest *guest, bool again, const struct chunk_score *scores, bool *on,
			uint64_t *room_bytes)
{
	struct guest_chunks *chunks = guest->chunks;
	uint64_t off_bytes = 0, gain = 0, all = 0;
	size_t n_on = 0;

	chunk_join(on, chunks->n, CHUNK_RUNS_MAX);
	for (size_t i = 0; i < chunks->n; i++)
		off_bytes += chunks->on[i] && !on[i] ? scores[i].present * 4 * KIB : 0;
	if (off_bytes > *room_bytes)
		for (size_t i = 0; i < chunks->n; i++)
			on[i] |= chunks->on[i];
	else
		*room_bytes -= off_bytes;
	for (size_t i = 0; i < chunks->n; i++) {
		gain += on[i] ? scores[i].gain : 0;
		all += scores[i].gain;
		n_on += on[i];
	}
	chunks->dirty |= memcmp(chunks->on, on, chunks->n) != 0;
	memcpy(chunks->on, on, chunks->n);
	if (again || !chunks->sampled)
		chunks->sampled_bytes = guest->foot_valid && pol_has(guest->foot.resident_bytes)
						? guest->foot.resident_bytes
						: 0;
	chunks->sampled = true;
	chunks->expected_bytes = gain * (4 * KIB / 16);
	chunks->all_bytes = all * (4 * KIB / 16);
	log_debug("guest %s: %zu of %zu chunks merged, for %s of %s", guest->name, n_on, chunks->n,
		  SIZE_TEXT(chunks->expected_bytes), SIZE_TEXT(chunks->all_bytes));
}

static struct guest *guest_of(struct guests *guests, const struct chunk_target *target)
{
	struct guest *guest = target->whole ? NULL : guests_find(guests, target->id);

	return guest && chunk_is_used(guest) && guest->chunks->n == chunk_count(target) ? guest
											: NULL;
}

static void choose_domain(struct guests *guests, const struct chunk_target *targets, size_t n,
			  const struct chunk_samples *samples, uint32_t domain,
			  struct choice *choice, uint64_t *room_bytes)
{
	const struct chunk_score *scores = samples->scores;
	size_t at = 0;

	choice->n = 0;
	for (size_t i = 0; i < n; scores += chunk_count(&targets[i]), i++) {
		const struct guest *guest = guest_of(guests, &targets[i]);

		if (!guest || targets[i].domain != domain)
			continue;
		memcpy(choice->scores + choice->n, scores, guest->chunks->n * sizeof(*scores));
		memcpy(choice->on + choice->n, guest->chunks->on, guest->chunks->n);
		choice->n += guest->chunks->n;
	}
	chunk_choose(choice->scores, choice->on, choice->n, NULL);
	for (size_t i = 0; i < n; i++) {
		struct guest *guest = guest_of(guests, &targets[i]);

		if (!guest || targets[i].domain != domain)
			continue;
		take_choice(guest, targets[i].again, choice->scores + at, choice->on + at,
			    room_bytes);
		at += guest->chunks->n;
	}
}

int chunk_update(struct guests *guests, const struct chunk_target *targets, size_t n,
		 const struct chunk_samples *samples, uint64_t room_bytes)
{
	AUTO_FREE struct chunk_score *scores = calloc(samples->n + 1, sizeof(*scores));
	AUTO_FREE bool *on = calloc(samples->n + 1, sizeof(*on));
	struct choice choice = {.scores = scores, .on = on};

	if (!scores || !on)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		bool seen = false;

		for (size_t k = 0; k < i; k++)
			seen |= targets[k].domain == targets[i].domain;
		if (!seen)
			choose_domain(guests, targets, n, samples, targets[i].domain, &choice,
				      &room_bytes);
	}
	return 0;
}
