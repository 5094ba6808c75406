// SPDX-License-Identifier: Apache-2.0
/* Events of the machine: see vm_events.h. */
#include "vmm/vm_events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/wire.h"
#include "vmm/qmp.h"
#include "vmm/ram.h"

/* An amount that changes often: told at most once a second. */
struct amount {
	uint64_t bytes; /* to be sent when the timer fires */
	uint64_t sent_us;
	bool waits;
};

struct vm_events {
	struct wire_server *server;
	struct loop_source *timer;
	uint64_t timer_us; /* when it fires, 0: it is not set */
	struct amount balloon, mem[RAM_PLUGS_MAX];
};

static struct amount *amount_at(struct vm_events *events, size_t index)
{
	return index < RAM_PLUGS_MAX ? &events->mem[index] : &events->balloon;
}

static void events_send_amount(struct vm_events *events, size_t index, uint64_t now_us)
{
	struct amount *amount = amount_at(events, index);
	const char *name = "BALLOON_CHANGE";
	json_object *data;

	amount->waits = false;
	amount->sent_us = now_us;
	if (!events->server)
		return;
	data = json_object_new_object();
	if (amount == &events->balloon) {
		json_add_u64(data, "actual", amount->bytes);
	} else {
		char path[64];

		name = "MEMORY_DEVICE_SIZE_CHANGE";
		snprintf(path, sizeof(path), QMP_MEM_PATH, index);
		json_add_str(data, "id", path + QMP_MEM_PATH_PREFIX);
		json_add_u64(data, "size", amount->bytes);
		json_add_str(data, "qom-path", path);
	}
	wire_server_event(events->server, name, data);
}

/* Fire when the first amount that waits is due. */
static void events_set_timer(struct vm_events *events, uint64_t now_us)
{
	uint64_t first_us = 0;

	for (size_t i = 0; i <= RAM_PLUGS_MAX; i++) {
		const struct amount *amount = amount_at(events, i);

		if (amount->waits && (!first_us || amount->sent_us + USEC_PER_SEC < first_us))
			first_us = amount->sent_us + USEC_PER_SEC;
	}
	if (first_us)
		loop_timer_set(events->timer, first_us > now_us ? first_us - now_us : 1, 0);
}

static void events_on_timer(void *ctx, uint32_t bits)
{
	struct vm_events *events = ctx;
	uint64_t now_us = clock_now_us();

	for (size_t i = 0; i <= RAM_PLUGS_MAX; i++) {
		const struct amount *amount = amount_at(events, i);

		if (amount->waits && now_us - amount->sent_us >= USEC_PER_SEC)
			events_send_amount(events, i, now_us);
	}
	events_set_timer(events, now_us);
}

static void events_change_amount(struct vm_events *events, size_t index, uint64_t bytes)
{
	struct amount *amount = amount_at(events, index);
	uint64_t now_us = clock_now_us();

	amount->bytes = bytes;
	if (amount->waits)
		return;
	if (!amount->sent_us || now_us - amount->sent_us >= USEC_PER_SEC) {
		events_send_amount(events, index, now_us);
		return;
	}
	amount->waits = true;
	events_set_timer(events, now_us);
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
	events_change_amount(events, RAM_PLUGS_MAX, actual_bytes);
}

void vm_events_mem(struct vm_events *events, size_t index, uint64_t size_bytes)
{
	events_change_amount(events, index, size_bytes);
}
