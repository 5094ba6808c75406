// SPDX-License-Identifier: Apache-2.0
/* What a guest's monitor is asked for: at first, each tick, and to change something. */
#include "memd/guest_ask.h"

#include <inttypes.h>
#include <stdio.h>
#include <errno.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "memd/guest_qmp.h"

/* These change slowly: asked again every so many polls. */
#define RETURNED_EVERY 5
#define MAPPED_EVERY   5
#define FACTS_EVERY    30

/* Of paths that is_plain() in guest_reply.c has let pass: nothing in them wants escaping. */
struct args {
	char text[320];
};

static const char *qom_path(struct args *args, const char *path)
{
	snprintf(args->text, sizeof(args->text), "{\"path\":\"%s\"}", path);
	return args->text;
}

static const char *qom_property(struct args *args, const char *path, const char *property)
{
	snprintf(args->text, sizeof(args->text), "{\"path\":\"%s\",\"property\":\"%s\"}", path,
		 property);
	return args->text;
}

static const char *qom_value(struct args *args, const char *path, const char *property,
			     uint64_t value)
{
	snprintf(args->text, sizeof(args->text),
		 "{\"path\":\"%s\",\"property\":\"%s\",\"value\":%" PRIu64 "}", path, property,
		 value);
	return args->text;
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
		{GUEST_REQUEST_CPUS, "query-cpus-fast", NULL},
	};

	struct args args;

	guest_qmp_cork(guest);
	for (size_t i = 0; i < ARRAY_SIZE(asks) && guest->conn; i++)
		guest_qmp_send(guest, asks[i].kind, asks[i].command,
			       asks[i].path ? qom_path(&args, asks[i].path) : NULL, 0);
	guest_qmp_uncork(guest);
}

void guest_ask_balloon(struct guest *guest)
{
	const char *path = guest->balloon_path;
	struct args args;

	guest_qmp_send(guest, GUEST_REQUEST_DEFLATE_ON_OOM, "qom-get",
		       qom_property(&args, path, "deflate-on-oom"), 0);
	guest_qmp_send(guest, GUEST_REQUEST_REPORTING, "qom-get",
		       qom_property(&args, path, "free-page-reporting"), 0);
	guest_qmp_send(guest, GUEST_REQUEST_INTERVAL, "qom-get",
		       qom_property(&args, path, "guest-stats-polling-interval"), 0);
}

int guest_ask_interval(struct guest *guest, uint64_t seconds)
{
	struct args args;

	return guest_qmp_send(
		guest, GUEST_REQUEST_SET_INTERVAL, "qom-set",
		qom_value(&args, guest->balloon_path, "guest-stats-polling-interval", seconds), 0);
}

void guest_qmp_restore_interval(struct guest *guest)
{
	if (guest->phase == GUEST_READY && guest->poll_interval_set &&
	    guest_ask_interval(guest, guest->poll_interval_s) == 0)
		guest->poll_interval_set = false;
}

/* How much the second-level tables map with which pages. Nothing waits for the answer. */
#define MAPPED_ARGS                                                          \
	"{\"target\":\"vm\",\"providers\":[{\"provider\":\"kvm\",\"names\":" \
	"[\"pages_4k\",\"pages_2m\",\"pages_1g\"]}]}"

static void ask_tick(struct guest *guest)
{
	struct args args;

	guest_qmp_send(guest, GUEST_REQUEST_BALLOON, "query-balloon", NULL, guest->ticks);
	if (guest->conn && guest->mem_max_bytes && !is_open(guest, GUEST_REQUEST_DEVICES))
		guest_qmp_send(guest, GUEST_REQUEST_DEVICES, "query-memory-devices", NULL,
			       guest->ticks);
	if (guest->conn && guest->balloon_path[0])
		guest_qmp_send(guest, GUEST_REQUEST_STATS, "qom-get",
			       qom_property(&args, guest->balloon_path, "guest-stats"),
			       guest->ticks);
	if (guest->conn && guest->ours && guest->ticks % RETURNED_EVERY == 1)
		guest_qmp_send(guest, GUEST_REQUEST_RETURNED, "__memd-query-returned", NULL,
			       guest->ticks);
	if (guest->conn && !guest->mapped_refused && guest->ticks % MAPPED_EVERY == 2 &&
	    !is_open(guest, GUEST_REQUEST_MAPPED))
		guest_qmp_send(guest, GUEST_REQUEST_MAPPED, "query-stats", MAPPED_ARGS, 0);
	if (guest->conn && (guest->facts_due || guest->ticks % FACTS_EVERY == 0)) {
		guest->facts_due = false;
		guest_qmp_send(guest, GUEST_REQUEST_SIZE, "query-memory-size-summary", NULL, 0);
		if (guest->conn)
			guest_qmp_send(guest, GUEST_REQUEST_MEMDEV, "query-memdev", NULL, 0);
		if (guest->conn)
			guest_qmp_send(guest, GUEST_REQUEST_CPUS, "query-cpus-fast", NULL, 0);
		if (guest->conn && !guest->mem_max_bytes && !guest->devices_refused)
			guest_qmp_send(guest, GUEST_REQUEST_DEVICES, "query-memory-devices", NULL,
				       0);
	}
}

void guest_qmp_poll(struct guest *guest, uint64_t now_us)
{
	(void)now_us;
	/* A monitor that has not answered yet gets no second question. */
	if (is_open(guest, GUEST_REQUEST_BALLOON) || is_open(guest, GUEST_REQUEST_STATS))
		return;
	guest->ticks++;
	guest_qmp_cork(guest);
	ask_tick(guest);
	guest_qmp_uncork(guest);
}

static int set_requested(struct guest *guest, uint64_t requested)
{
	struct args args;
	int r = guest_qmp_send(guest, GUEST_REQUEST_SET_REQUESTED, "qom-set",
			       qom_value(&args, guest->mem_path, "requested-size", requested), 0);

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
	struct args args;
	int r = 0;

	if (guest->phase != GUEST_READY || !guest->balloon_active)
		return -ENOTCONN;
	if (!guest->mem_max_bytes)
		requested = 0;
	else if (requested != guest->mem_requested_bytes)
		r = set_requested(guest, requested);
	if (r < 0)
		return r;
	/* The balloon counts without virtio-mem; a target of 0 is refused. */
	requested += guest->other_mem_bytes;
	snprintf(args.text, sizeof(args.text), "{\"value\":%" PRIu64 "}",
		 bytes > requested ? bytes - requested : 1);
	r = guest_qmp_send(guest, GUEST_REQUEST_SET_TARGET, "balloon", args.text, cookie);
	if (r == 0) {
		guest->target_bytes = bytes;
		guest->target_sent_us = clock_now_us();
	}
	return r;
}

int guest_qmp_place(struct guest *guest, uint32_t node, uint64_t bytes_per_s)
{
	json_object *args;
	int r;

	if (guest->phase != GUEST_READY)
		return -ENOTCONN;
	args = json_object_new_object();
	json_add_u64(args, "host-node", node);
	json_add_u64(args, "bytes-per-second", bytes_per_s);
	r = guest_qmp_send_json(guest, GUEST_REQUEST_PLACE, "__memd-place", args, 0);
	if (r == 0)
		guest->place = (struct guest_place){.status = GUEST_PLACE_ASKED};
	return r;
}

void guest_qmp_ask_place(struct guest *guest)
{
	if (guest->place.status == GUEST_PLACE_ACTIVE && !is_open(guest, GUEST_REQUEST_QUERY_PLACE))
		guest_qmp_send(guest, GUEST_REQUEST_QUERY_PLACE, "__memd-query-place", NULL, 0);
}

void guest_qmp_cancel_place(struct guest *guest)
{
	if (guest->phase == GUEST_READY &&
	    (guest->place.status == GUEST_PLACE_ASKED || guest->place.status == GUEST_PLACE_ACTIVE))
		guest_qmp_send(guest, GUEST_REQUEST_CANCEL_PLACE, "__memd-cancel-place", NULL, 0);
	guest->place.status = GUEST_PLACE_NONE;
}
