// SPDX-License-Identifier: Apache-2.0
/* Events of the machine: see vm_events.h. */
#include "vmm/vm_events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/wire.h"

struct vm_events {
	struct wire_server *server;
	struct loop_source *timer;
	uint64_t balloon_sent_us;
	uint64_t balloon_bytes; /* to be sent when the timer fires */
	bool balloon_waits;
};

static void events_send_balloon(struct vm_events *events)
{
	json_object *data = json_object_new_object();

	events->balloon_waits = false;
	events->balloon_sent_us = clock_now_us();
	json_add_u64(data, "actual", events->balloon_bytes);
	if (events->server)
		wire_server_event(events->server, "BALLOON_CHANGE", data);
	else
		json_object_put(data);
}

static void events_on_timer(void *ctx, uint32_t bits)
{
	struct vm_events *events = ctx;

	if (events->balloon_waits)
		events_send_balloon(events);
}

struct vm_events *vm_events_new(struct loop *loop)
{
	struct vm_events *events = calloc(1, sizeof(*events));

	if (!events)
		return NULL;
	events->timer = loop_timer(loop, events_on_timer, events);
	if (!events->timer) {
		free(events);
		return NULL;
	}
	return events;
}

void vm_events_free(struct vm_events *events)
{
	if (!events)
		return;
	loop_remove(events->timer);
	free(events);
}

void vm_events_set_server(struct vm_events *events, struct wire_server *server)
{
	events->server = server;
}

void vm_events_send(struct vm_events *events, const char *name)
{
	if (events->server)
		wire_server_event(events->server, name, NULL);
}

void vm_events_power(struct vm_events *events, const char *name, bool by_guest, const char *reason)
{
	json_object *data;

	if (!events->server)
		return;
	data = json_object_new_object();
	json_add_bool(data, "guest", by_guest);
	json_add_str(data, "reason", reason);
	wire_server_event(events->server, name, data);
}

void vm_events_disk(struct vm_events *events, unsigned int index, bool is_write, int err)
{
	json_object *data;
	char name[16];

	if (!events->server)
		return;
	data = json_object_new_object();
	snprintf(name, sizeof(name), VM_DISK_NAME, index);
	json_add_str(data, "device", name);
	json_add_str(data, "node-name", name);
	json_add_str(data, "operation", is_write ? "write" : "read");
	json_add_str(data, "action", "report");
	json_add_bool(data, "nospace", err == ENOSPC || err == EDQUOT);
	json_add_str(data, "reason", strerror(err));
	wire_server_event(events->server, "BLOCK_IO_ERROR", data);
}

void vm_events_balloon(struct vm_events *events, uint64_t actual_bytes)
{
	uint64_t since = clock_now_us() - events->balloon_sent_us;

	events->balloon_bytes = actual_bytes;
	if (events->balloon_waits)
		return;
	if (!events->balloon_sent_us || since >= USEC_PER_SEC) {
		events_send_balloon(events);
		return;
	}
	events->balloon_waits = true;
	loop_timer_set(events->timer, USEC_PER_SEC - since, 0);
}
