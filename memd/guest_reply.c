// SPDX-License-Identifier: Apache-2.0
/*
 * Monitors' answers to facts and numbers. Nothing here sends; nothing here is believed beyond its
 * type and range.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/size.h"
#include "memd/chunk.h"
#include "memd/guest_reply.h"
#include "memd/guest_stats.h"
#include "memd/vcpus.h"

static bool get_bytes(json_object *obj, const char *key, uint64_t *ret_bytes)
{
	uint64_t bytes;

	if (!json_get_u64(obj, key, &bytes) || bytes > GUEST_BYTES_MAX)
		return false;
	*ret_bytes = bytes;
	return true;
}

int guest_reply_greeting(struct guest *guest, json_object *message)
{
	json_object *version = json_get_obj(json_get_obj(message, "QMP"), "version");
	json_object *qemu = json_get_obj(version, "qemu");
	const char *package = json_get_str(version, "package");
	uint64_t major = 0, minor = 0, micro = 0;

	if (!version)
		return -EPROTO;
	guest->ours = package && strncmp(package, "vmm ", 4) == 0;
	if (guest->ours) {
		guest_name_clean(package + 4, guest->version, sizeof(guest->version));
	} else {
		json_get_u64(qemu, "major", &major);
		json_get_u64(qemu, "minor", &minor);
		json_get_u64(qemu, "micro", &micro);
		snprintf(guest->version, sizeof(guest->version), "%" PRIu64 ".%" PRIu64 ".%" PRIu64,
			 major, minor, micro);
	}
	return 0;
}

static void take_name(struct guest *guest, json_object *value)
{
	const char *name = json_get_str(value, "name");

	if (name && *name)
		guest_name_clean(name, guest->name, sizeof(guest->name));
}

static void count_memory(struct guest *guest)
{
	if (!guest->base_bytes)
		return;
	/* Both numbers of a moving device come by one answer: plugged_bytes is another's. */
	if (guest->mem_max_bytes)
		guest->memory_bytes = guest->base_bytes + guest->other_bytes + guest->mem_max_bytes;
	else
		guest->memory_bytes = guest->base_bytes + guest->plugged_bytes;
}

/* What the guest has: what is not in the balloon, and what is plugged. */
static void count_actual(struct guest *guest)
{
	uint64_t actual = guest->balloon_actual_bytes;

	if (!pol_has(actual) || !guest->balloon_active)
		return;
	actual += guest->mem_size_bytes + guest->other_mem_bytes;
	/* A little above the promised memory happens while memory is being plugged. */
	guest->actual_bytes = actual > guest->memory_bytes ? guest->memory_bytes : actual;
}

static void take_size(struct guest *guest, json_object *value)
{
	uint64_t base, plugged = 0;

	if (!get_bytes(value, "base-memory", &base) || base == 0)
		return;
	get_bytes(value, "plugged-memory", &plugged);
	guest->base_bytes = base;
	guest->plugged_bytes = plugged;
	count_memory(guest);
}

/* Fit for a QOM path in a command as it is. */
static bool is_plain(const char *name)
{
	for (; *name; name++)
		if ((unsigned char)*name < ' ' || *name == '"' || *name == '\\')
			return false;
	return true;
}

/*
 * QEMU's MemoryDeviceInfo. Of a virtio-mem device all that it may have is the guest's; balloons
 * count DIMMs as theirs, and virtio-mem not (hw/virtio/virtio-balloon.c, get_current_ram_size).
 */
static void take_memory_devices(struct guest *guest, json_object *value)
{
	uint64_t others = 0, other_mem = 0;
	bool found = false;

	if (!json_object_is_type(value, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		json_object *device = json_object_array_get_idx(value, i);
		json_object *data = json_get_obj(device, "data");
		const char *type = json_get_str(device, "type"), *id = json_get_str(data, "id");
		uint64_t size = 0, max = 0, requested = 0, block = 0;
		bool is_mem = type && strcmp(type, "virtio-mem") == 0;

		if (!get_bytes(data, "size", &size))
			continue;
		if (is_mem && !found && id && is_plain(id) && get_bytes(data, "max-size", &max) &&
		    get_bytes(data, "requested-size", &requested) &&
		    get_bytes(data, "block-size", &block) && block && size <= max &&
		    requested <= max &&
		    (size_t)snprintf(guest->mem_path, sizeof(guest->mem_path),
				     "/machine/peripheral/%s", id) < sizeof(guest->mem_path)) {
			found = true;
			guest->mem_max_bytes = max;
			guest->mem_size_bytes = size;
			guest->mem_requested_bytes = requested;
			guest->mem_block_bytes = block;
			if (size > guest->mem_most_bytes)
				guest->mem_most_bytes = size;
			continue;
		}
		others += size;
		other_mem += is_mem ? size : 0;
	}
	if (!found)
		guest->mem_max_bytes = guest->mem_size_bytes = 0;
	guest->other_bytes = others;
	guest->other_mem_bytes = other_mem;
	count_memory(guest);
	count_actual(guest);
}

/* The first child whose type is a virtio-balloon, on whichever transport. */
static void take_devices(struct guest *guest, json_object *value, const char *parent)
{
	static const char prefix[] = "child<virtio-balloon";

	if (!json_object_is_type(value, json_type_array) || guest->balloon_path[0])
		return;
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		json_object *child = json_object_array_get_idx(value, i);
		const char *type = json_get_str(child, "type");
		const char *name = json_get_str(child, "name");
		char path[sizeof(guest->balloon_path)];

		if (!type || !name || !is_plain(name) ||
		    strncmp(type, prefix, sizeof(prefix) - 1) != 0)
			continue;
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", parent, name) >= sizeof(path))
			continue;
		memcpy(guest->balloon_path, path, sizeof(path));
		return;
	}
}

static void take_backend(struct guest *guest, size_t i, json_object *dev)
{
	const char *pages = json_get_str(dev, "__memd-pages"), *id = json_get_str(dev, "id");
	struct guest_backend backend = {
		.pool = pages && (strcmp(pages, "2M") == 0 || strcmp(pages, "1G") == 0),
	};

	json_get_bool(dev, "merge", &backend.merge);
	json_get_bool(dev, "share", &backend.shared);
	if (id && strlen(id) < sizeof(backend.id) && !strchr(id, '/'))
		snprintf(backend.id, sizeof(backend.id), "%s", id);
	if (i >= GUEST_BACKENDS_MAX) {
		guest->merge_asked |= backend.merge && !backend.shared && !backend.pool;
		return;
	}
	/* On again, whoever did it: no longer a matter of ours, unless part of it is off. */
	backend.ours = (!backend.merge || chunk_is_used(guest)) && guest->backends[i].ours &&
		       strcmp(guest->backends[i].id, backend.id) == 0;
	guest->backends[i] = backend;
}

static void take_memdevs(struct guest *guest, json_object *value)
{
	const char *reason = "no memory backend is listed";

	if (!json_object_is_type(value, json_type_array))
		return;
	guest->merge_asked = false;
	guest->n_backends = json_object_array_length(value);
	guest->pool = guest->n_backends > 0;
	for (size_t i = 0; i < guest->n_backends; i++)
		take_backend(guest, i, json_object_array_get_idx(value, i));
	for (size_t i = 0; i < guest->n_backends && i < GUEST_BACKENDS_MAX; i++) {
		const struct guest_backend *backend = &guest->backends[i];

		guest->pool &= backend->pool;
		if (backend->shared)
			reason = "its memory is shared (share=on), which KSM never merges";
		else if (backend->pool)
			reason = "its memory is in hugetlb pages, which KSM never merges";
		else if (backend->merge)
			guest->merge_asked = true;
		else if (backend->ours)
			reason = "memd has switched its merging off";
		else
			reason = "it was started with merge=off";
	}
	snprintf(guest->merge_reason, sizeof(guest->merge_reason), "%s",
		 guest->merge_asked ? "" : reason);
}

/*
 * Back to full in one look, and not because we asked: the guest was reset or its driver is gone.
 * Either way what we knew of it is void. Or it took all of its balloon since it ran out of memory:
 * then its statistics go on, which guest_stats_take() sees. They can tell only on a connection that
 * they were seen on before: while there was none, it may have been reset and have booted.
 */
static void judge_full(struct guest *guest, uint64_t now_us)
{
	if (guest->deflate_on_oom && guest->stats_seen_us > guest->ready_us &&
	    guest_stats_age_us(guest, now_us) < guest->all->config->policy.stats_max_age_us) {
		guest->emptied_us = now_us;
		guest->emptied_tick = guest->ticks;
		guest->emptied = guest->stats;
	} else {
		guest->renew = true;
	}
}

/* Well below its memory, by us: held is what its balloon held then. */
static bool was_below(const struct guest *guest, uint64_t before, uint64_t held)
{
	const uint64_t full = guest->memory_bytes, target = guest->target_bytes;

	if (!pol_has(target))
		return held > GUEST_SLACK_BYTES && guest_is_inherited(guest);
	return target + GUEST_SLACK_BYTES < full && before + GUEST_SLACK_BYTES < full;
}

static void take_actual(struct guest *guest, json_object *value, uint64_t now_us)
{
	uint64_t actual, before = guest->actual_bytes, held = guest_held_bytes(guest);

	if (!get_bytes(value, "actual", &actual)) {
		guest->balloon_active = false;
		return;
	}
	guest->balloon_active = true;
	guest->balloon_actual_bytes = actual;
	count_actual(guest);
	actual = guest->actual_bytes;
	guest->below |= guest_held_bytes(guest) > GUEST_SLACK_BYTES;
	if (actual + guest->mem_max_bytes < guest->memory_bytes + guest->mem_size_bytes)
		guest->driver_seen = true;
	if (pol_has(before) && was_below(guest, before, held) && actual == guest->memory_bytes)
		judge_full(guest, now_us);
	else if (guest->emptied_us &&
		 now_us - guest->emptied_us > guest->all->config->policy.stats_max_age_us)
		guest->renew = true; /* and no statistics since */
}

static void take_returned(struct guest *guest, json_object *value)
{
	get_bytes(value, "balloon-bytes", &guest->returned_balloon_bytes);
	get_bytes(value, "virtio-mem-bytes", &guest->returned_mem_bytes);
	/* A running total may exceed the guest's size: savings.c bounds it. */
	json_get_u64(value, "reported-bytes", &guest->returned_reported_bytes);
}

/* query-stats of the VM: one entry per provider, each a list of names and numbers of pages. */
static void take_mapped(struct guest *guest, json_object *value)
{
	static const struct {
		const char *name;
		uint64_t bytes;
	} sizes[GUEST_MAPPED_SIZES] = {
		[GUEST_MAPPED_4K] = {"pages_4k", 4 * KIB},
		[GUEST_MAPPED_2M] = {"pages_2m", 2 * MIB},
		[GUEST_MAPPED_1G] = {"pages_1g", GIB},
	};
	json_object *first =
		json_object_is_type(value, json_type_array) && json_object_array_length(value)
			? json_object_array_get_idx(value, 0)
			: NULL;
	json_object *list = json_get_array(first, "stats");

	memset(guest->mapped_bytes, 0xff, sizeof(guest->mapped_bytes));
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		json_object *item = json_object_array_get_idx(list, i);
		const char *name = json_get_str(item, "name");
		uint64_t pages;

		for (size_t k = 0; name && k < GUEST_MAPPED_SIZES; k++)
			if (strcmp(name, sizes[k].name) == 0 &&
			    json_get_u64(item, "value", &pages) &&
			    pages <= GUEST_BYTES_MAX / sizes[k].bytes)
				guest->mapped_bytes[k] = pages * sizes[k].bytes;
	}
}

/* Its own words, made harmless. */
static void fail_place(struct guest *guest, const char *why)
{
	guest->place.status = GUEST_PLACE_FAILED;
	guest_name_clean(why ? why : "no reason given", guest->place.error,
			 sizeof(guest->place.error));
}

static void take_place(struct guest *guest, json_object *value)
{
	const char *status = json_get_str(value, "status");

	json_get_u64(value, "longest-slice-us", &guest->place.longest_us);
	if (status && strcmp(status, "completed") == 0)
		guest->place.status = GUEST_PLACE_COMPLETED;
	else if (!status || strcmp(status, "active") != 0)
		fail_place(guest, json_get_str(value, "error-desc"));
}

static void take_flag(json_object *value, bool *ret_flag)
{
	if (json_object_is_type(value, json_type_boolean))
		*ret_flag = json_object_get_boolean(value);
}

void guest_reply_value(struct guest *guest, enum guest_request_kind kind, json_object *value,
		       uint64_t now_us)
{
	switch (kind) {
	case GUEST_REQUEST_NAME:
		take_name(guest, value);
		break;
	case GUEST_REQUEST_STATUS:
		json_get_bool(value, "running", &guest->running);
		break;
	case GUEST_REQUEST_SIZE:
		take_size(guest, value);
		break;
	case GUEST_REQUEST_PERIPHERAL:
		take_devices(guest, value, "/machine/peripheral");
		break;
	case GUEST_REQUEST_ANONYMOUS:
		take_devices(guest, value, "/machine/peripheral-anon");
		break;
	case GUEST_REQUEST_MEMDEV:
		take_memdevs(guest, value);
		break;
	case GUEST_REQUEST_DEVICES:
		take_memory_devices(guest, value);
		break;
	case GUEST_REQUEST_CPUS:
		vcpus_told(guest, value);
		break;
	case GUEST_REQUEST_DEFLATE_ON_OOM:
		take_flag(value, &guest->deflate_on_oom);
		break;
	case GUEST_REQUEST_REPORTING:
		take_flag(value, &guest->reporting);
		break;
	case GUEST_REQUEST_INTERVAL:
		guest->poll_interval_s = 0;
		if (json_object_is_type(value, json_type_int) && json_object_get_int64(value) > 0)
			guest->poll_interval_s = json_object_get_uint64(value);
		break;
	case GUEST_REQUEST_BALLOON:
		take_actual(guest, value, now_us);
		break;
	case GUEST_REQUEST_STATS:
		guest_stats_take(guest, value, now_us);
		break;
	case GUEST_REQUEST_RETURNED:
		take_returned(guest, value);
		break;
	case GUEST_REQUEST_MAPPED:
		take_mapped(guest, value);
		break;
	case GUEST_REQUEST_QUERY_MERGE:
		chunk_take_runs(guest, value);
		break;
	case GUEST_REQUEST_PLACE:
		guest->place.status = GUEST_PLACE_ACTIVE;
		break;
	case GUEST_REQUEST_QUERY_PLACE:
		take_place(guest, value);
		break;
	default:
		break;
	}
}

void guest_reply_error(struct guest *guest, enum guest_request_kind kind, const char *class,
		       const char *desc)
{
	char clean[GUEST_NOTE_MAX - 64];

	guest_name_clean(desc ? desc : "no reason given", clean, sizeof(clean));
	switch (kind) {
	case GUEST_REQUEST_BALLOON:
		guest->balloon_active = false;
		guest->balloon_refused = class && strcmp(class, WIRE_KVM_MISSING_CAP) == 0;
		break;
	case GUEST_REQUEST_DEVICES:
		guest->devices_refused = true;
		break;
	case GUEST_REQUEST_QUERY_MERGE:
		chunk_take_runs(guest, NULL);
		break;
	case GUEST_REQUEST_PLACE:
	case GUEST_REQUEST_QUERY_PLACE:
		fail_place(guest, desc);
		break;
	case GUEST_REQUEST_MAPPED:
		/* QEMU before 7.1, or a kernel without binary statistics. */
		guest->mapped_refused = true;
		break;
	case GUEST_REQUEST_INTERVAL:
		/* Not asked again: without it there are just no statistics. */
		guest->poll_interval_s = 0;
		break;
	case GUEST_REQUEST_SET_INTERVAL:
		guest->poll_interval_set = false;
		log_warn("guest %s: cannot have its statistics polled: %s", guest->name, clean);
		break;
	case GUEST_REQUEST_SIZE:
	case GUEST_REQUEST_MEMDEV:
	case GUEST_REQUEST_STATS:
	case GUEST_REQUEST_SET_REQUESTED:
	case GUEST_REQUEST_SET_TARGET:
	case GUEST_REQUEST_SET_MERGE:
		log_debug("guest %s: %s: %s", guest->name, guest_request_name(kind), clean);
		break;
	default:
		break;
	}
}

void guest_reply_event(struct guest *guest, json_object *message)
{
	const char *event = json_get_str(message, "event");

	if (strcmp(event, "RESET") == 0)
		guest->renew = true;
	else if (strcmp(event, "STOP") == 0)
		guest->running = false;
	else if (strcmp(event, "RESUME") == 0)
		guest->running = true;
	else if (strcmp(event, "MEMORY_DEVICE_SIZE_CHANGE") == 0)
		guest->facts_due = true;
}
