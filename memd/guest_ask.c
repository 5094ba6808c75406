// SPDX-License-Identifier: Apache-2.0
/* What a guest's monitor is asked for: at first, each tick, and to change something. */
#include "memd/guest_ask.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "memd/guest_qmp.h"

/* These change slowly: asked again every so many polls. */
#define RETURNED_EVERY 5
#define MAPPED_EVERY   5
#define FACTS_EVERY    30

static json_object *qom_args(const char *path, const char *property)
{
	json_object *args = json_object_new_object();

	json_add_str(args, "path", path);
	if (property)
		json_add_str(args, "property", property);
	return args;
}

static bool is_open(const struct guest *guest, enum guest_request_kind kind)
{
	for (size_t i = 0; i < GUEST_REQUEST_MAX; i++)
		if (guest->requests[i].kind == kind)
			return true;
	return false;
}

void guest_ask_facts(struct guest *guest)
{
	static const struct {
		enum guest_request_kind kind;
		const char *command, *path;
	} asks[] = {
		{GUEST_REQUEST_NAME, "query-name", NULL},
		{GUEST_REQUEST_STATUS, "query-status", NULL},
		{GUEST_REQUEST_SIZE, "query-memory-size-summary", NULL},
		{GUEST_REQUEST_PERIPHERAL, "qom-list", "/machine/peripheral"},
		{GUEST_REQUEST_ANONYMOUS, "qom-list", "/machine/peripheral-anon"},
		{GUEST_REQUEST_MEMDEV, "query-memdev", NULL},
		{GUEST_REQUEST_DEVICES, "query-memory-devices", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(asks) && guest->conn; i++)
		guest_qmp_send(guest, asks[i].kind, asks[i].command,
			       asks[i].path ? qom_args(asks[i].path, NULL) : NULL, 0);
}

void guest_ask_balloon(struct guest *guest)
{
	const char *path = guest->balloon_path;

	guest_qmp_send(guest, GUEST_REQUEST_DEFLATE_ON_OOM, "qom-get",
		       qom_args(path, "deflate-on-oom"), 0);
	guest_qmp_send(guest, GUEST_REQUEST_REPORTING, "qom-get",
		       qom_args(path, "free-page-reporting"), 0);
	guest_qmp_send(guest, GUEST_REQUEST_INTERVAL, "qom-get",
		       qom_args(path, "guest-stats-polling-interval"), 0);
}

int guest_ask_interval(struct guest *guest, uint64_t seconds)
{
	json_object *args = qom_args(guest->balloon_path, "guest-stats-polling-interval");

	json_add_u64(args, "value", seconds);
	return guest_qmp_send(guest, GUEST_REQUEST_SET_INTERVAL, "qom-set", args, 0);
}

void guest_qmp_restore_interval(struct guest *guest)
{
	if (guest->phase == GUEST_READY && guest->poll_interval_set &&
	    guest_ask_interval(guest, guest->poll_interval_s) == 0)
		guest->poll_interval_set = false;
}

/* How much the second-level tables map with which pages. Nothing waits for the answer. */
static void ask_mapped(struct guest *guest)
{
	static const char *const names[] = {"pages_4k", "pages_2m", "pages_1g"};
	json_object *args = json_object_new_object(), *list = json_object_new_array();
	json_object *providers = json_object_new_array(), *kvm = json_object_new_object();

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		json_object_array_add(list, json_object_new_string(names[i]));
	json_add_str(kvm, "provider", "kvm");
	json_object_object_add(kvm, "names", list);
	json_object_array_add(providers, kvm);
	json_add_str(args, "target", "vm");
	json_object_object_add(args, "providers", providers);
	guest_qmp_send(guest, GUEST_REQUEST_MAPPED, "query-stats", args, 0);
}

void guest_qmp_poll(struct guest *guest, uint64_t now_us)
{
	(void)now_us;
	/* A monitor that has not answered yet gets no second question. */
	if (is_open(guest, GUEST_REQUEST_BALLOON) || is_open(guest, GUEST_REQUEST_STATS))
		return;
	guest->ticks++;
	guest_qmp_send(guest, GUEST_REQUEST_BALLOON, "query-balloon", NULL, guest->ticks);
	if (guest->conn && guest->mem_max_bytes && !is_open(guest, GUEST_REQUEST_DEVICES))
		guest_qmp_send(guest, GUEST_REQUEST_DEVICES, "query-memory-devices", NULL,
			       guest->ticks);
	if (guest->conn && guest->balloon_path[0])
		guest_qmp_send(guest, GUEST_REQUEST_STATS, "qom-get",
			       qom_args(guest->balloon_path, "guest-stats"), guest->ticks);
	if (guest->conn && guest->ours && guest->ticks % RETURNED_EVERY == 1)
		guest_qmp_send(guest, GUEST_REQUEST_RETURNED, "__memd-query-returned", NULL,
			       guest->ticks);
	if (guest->conn && !guest->mapped_refused && guest->ticks % MAPPED_EVERY == 2 &&
	    !is_open(guest, GUEST_REQUEST_MAPPED))
		ask_mapped(guest);
	if (guest->conn && (guest->facts_due || guest->ticks % FACTS_EVERY == 0)) {
		guest->facts_due = false;
		guest_qmp_send(guest, GUEST_REQUEST_SIZE, "query-memory-size-summary", NULL, 0);
		if (guest->conn)
			guest_qmp_send(guest, GUEST_REQUEST_MEMDEV, "query-memdev", NULL, 0);
		if (guest->conn && !guest->mem_max_bytes && !guest->devices_refused)
			guest_qmp_send(guest, GUEST_REQUEST_DEVICES, "query-memory-devices", NULL,
				       0);
	}
}

static int set_requested(struct guest *guest, uint64_t requested)
{
	json_object *args = qom_args(guest->mem_path, "requested-size");
	int r;

	json_add_u64(args, "value", requested);
	r = guest_qmp_send(guest, GUEST_REQUEST_SET_REQUESTED, "qom-set", args, 0);
	if (r == 0)
		guest->mem_requested_bytes = requested;
	return r;
}

int guest_qmp_set_target(struct guest *guest, uint64_t bytes, uint64_t cookie)
{
	return guest_qmp_set_size(guest, bytes, guest->mem_max_bytes, cookie);
}

int guest_qmp_set_size(struct guest *guest, uint64_t bytes, uint64_t requested, uint64_t cookie)
{
	json_object *args;
	int r = 0;

	if (guest->phase != GUEST_READY || !guest->balloon_active)
		return -ENOTCONN;
	if (!guest->mem_max_bytes)
		requested = 0;
	else if (requested != guest->mem_requested_bytes)
		r = set_requested(guest, requested);
	if (r < 0)
		return r;
	args = json_object_new_object();
	/* The balloon counts without virtio-mem; a target of 0 is refused. */
	requested += guest->other_mem_bytes;
	json_add_u64(args, "value", bytes > requested ? bytes - requested : 1);
	r = guest_qmp_send(guest, GUEST_REQUEST_SET_TARGET, "balloon", args, cookie);
	if (r == 0) {
		guest->target_bytes = bytes;
		guest->target_sent_us = clock_now_us();
	}
	return r;
}
