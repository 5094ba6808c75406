// SPDX-License-Identifier: Apache-2.0
/*
 * QMP about the guest's memory: the balloon, the memory backends (one per guest node, named ram0,
 * ram1, ...) and what was given back to the host. Source: QEMU qapi/machine.json.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/balloon.h"
#include "vmm/qmp_impl.h"

/* The guest's balloon, or NULL with err filled as QEMU does. */
static struct virtio_device *need_balloon(struct vm *vm, struct wire_error *err)
{
	struct virtio_device *balloon = vm_balloon(vm);

	if (!balloon)
		wire_fail(err, -ENODEV, WIRE_DEVICE_NOT_ACTIVE,
			  "No balloon device has been activated");
	return balloon;
}

int qmp_balloon(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	struct virtio_device *balloon = need_balloon(ctx, err);
	uint64_t value;
	int r;

	if (!balloon)
		return -ENODEV;
	if (!json_get_u64(args, "value", &value) || value == 0)
		return wire_fail(err, -EINVAL, NULL, "Parameter 'target' expects a size");
	r = balloon_set_target(balloon, value);
	/* A guest without a driver yet is no error: the target waits for it, as in QEMU. */
	if (r < 0 && r != -ENOTCONN)
		return wire_fail(err, r, NULL, "Cannot set the balloon: %s", strerror(-r));
	return 0;
}

int qmp_query_balloon(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	struct virtio_device *balloon = need_balloon(ctx, err);

	if (!balloon)
		return -ENODEV;
	*ret_value = json_object_new_object();
	json_add_u64(*ret_value, "actual", balloon_actual_bytes(balloon));
	return 0;
}

json_object *qmp_host_nodes_new(const struct ram_config *config)
{
	json_object *list = json_object_new_array();

	for (unsigned int node = 0; node < RAM_HOST_NODES; node++)
		if (config->host_nodes[node / 64] & (1ULL << (node % 64)))
			json_object_array_add(list, json_object_new_uint64(node));
	return list;
}

/* Of all of RAM, so with the first backend alone. */
static json_object *huge_new(const struct ram_collapse_stats *stats)
{
	json_object *obj = json_object_new_object();

	json_add_u64(obj, "collapsed-bytes", stats->collapsed_units * RAM_MERGE_CHUNK);
	json_add_u64(obj, "torn-bytes", stats->torn_units * RAM_MERGE_CHUNK);
	json_add_u64(obj, "failures", stats->failures);
	json_add_str(obj, "last-error", stats->last_error ? strerror(stats->last_error) : NULL);
	return obj;
}

/* Bytes by host node; null where the kernel does not tell. */
static json_object *placement_new(const struct ram *ram, unsigned int node)
{
	uint64_t bytes[RAM_HOST_NODES];
	json_object *list;

	if (ram_placement(ram, node, bytes) < 0)
		return NULL;
	list = json_object_new_array();
	for (unsigned int i = 0; i < RAM_HOST_NODES; i++) {
		json_object *item;

		if (!bytes[i])
			continue;
		item = json_object_new_object();
		json_add_u64(item, "host-node", i);
		json_add_u64(item, "bytes", bytes[i]);
		json_object_array_add(list, item);
	}
	return list;
}

int qmp_query_memdev(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	const struct ram *ram = vm_ram(ctx);
	json_object *list = json_object_new_array();
	struct ram_collapse_stats huge;

	for (unsigned int node = 0; node < ram_node_count(ram); node++) {
		const struct ram_config *config = ram_node_config(ram, node);
		json_object *item = json_object_new_object();
		char id[16];

		snprintf(id, sizeof(id), QMP_BACKEND_ID, node);
		json_add_str(item, "id", id);
		json_add_u64(item, "size", config->size_bytes);
		json_add_bool(item, "merge", ram_merge(ram, node));
		json_add_bool(item, "dump", config->dump);
		json_add_bool(item, "prealloc", config->prealloc);
		json_add_bool(item, "share", false);
		json_add_bool(item, "reserve", false);
		json_object_object_add(item, "host-nodes", qmp_host_nodes_new(config));
		json_add_str(item, "policy", ram_policy_name(config->policy));
		json_add_str(item, "__memd-pages", ram_pages_name(config->pages));
		json_object_object_add(item, "__memd-placement", placement_new(ram, node));
		if (node == 0 && ram_collapse_stats(ram, &huge))
			json_object_object_add(item, "__memd-huge", huge_new(&huge));
		json_object_array_add(list, item);
	}
	*ret_value = list;
	return 0;
}

int qmp_query_memory_size_summary(void *ctx, json_object *args, json_object **ret_value,
				  struct wire_error *err)
{
	*ret_value = json_object_new_object();
	json_add_u64(*ret_value, "base-memory", ram_size_bytes(vm_ram(ctx)));
	json_add_u64(*ret_value, "plugged-memory", 0);
	return 0;
}

int qmp_query_memory_devices(void *ctx, json_object *args, json_object **ret_value,
			     struct wire_error *err)
{
	/* vmm has no pluggable memory, so the list has no entry. */
	*ret_value = json_object_new_array();
	return 0;
}

static json_object *counters_new(const struct virtio_device *balloon)
{
	struct balloon_counters counters;
	json_object *obj;

	if (!balloon)
		return NULL;
	balloon_counters(balloon, &counters);
	obj = json_object_new_object();
	json_add_u64(obj, "inflated-pages", counters.inflated_pages);
	json_add_u64(obj, "deflated-pages", counters.deflated_pages);
	json_add_u64(obj, "reported-bytes", counters.reported_bytes);
	json_add_u64(obj, "discards", counters.discards);
	json_add_u64(obj, "errors", counters.errors);
	return obj;
}

int qmp_query_returned(void *ctx, json_object *args, json_object **ret_value,
		       struct wire_error *err)
{
	const struct virtio_device *balloon = vm_balloon(ctx);
	uint64_t balloon_bytes, reported_bytes;
	int r = ram_returned(vm_ram(ctx), &balloon_bytes, &reported_bytes);

	if (r < 0)
		return wire_fail(err, r, NULL, "Cannot look at the page tables: %s", strerror(-r));
	*ret_value = json_object_new_object();
	json_add_u64(*ret_value, "balloon-bytes", balloon_bytes);
	json_add_u64(*ret_value, "reported-bytes", reported_bytes);
	/* Does a driver in the guest run the balloon, and does it report free pages? */
	json_add_bool(*ret_value, "driver", balloon && balloon_has_driver(balloon));
	json_add_bool(*ret_value, "reporting", balloon && balloon_is_reporting(balloon));
	json_object_object_add(*ret_value, "balloon-counters", counters_new(balloon));
	return 0;
}
