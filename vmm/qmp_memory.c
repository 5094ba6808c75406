// SPDX-License-Identifier: Apache-2.0
/*
 * QMP about the guest's memory: the balloon, memory devices, the memory backends (one per guest
 * node and memory device) and what was given back to the host. Source: QEMU qapi/machine.json.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/balloon.h"
#include "vmm/mem.h"
#include "vmm/qmp.h"
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

size_t qmp_backend_count(const struct vm *vm)
{
	return ram_node_count(vm_ram(vm)) + ram_plug_count(vm_ram(vm));
}

const char *qmp_backend_id(const struct vm *vm, size_t index, char buf[QMP_BACKEND_ID_MAX])
{
	size_t n_nodes = ram_node_count(vm_ram(vm));

	if (index < n_nodes)
		snprintf(buf, QMP_BACKEND_ID_MAX, "ram%zu", index);
	else
		snprintf(buf, QMP_BACKEND_ID_MAX, "vmem%zu", index - n_nodes);
	return buf;
}

const struct ram_config *qmp_backend_config(const struct vm *vm, size_t index)
{
	size_t n_nodes = ram_node_count(vm_ram(vm));

	return index < n_nodes ? ram_node_config(vm_ram(vm), (unsigned int)index)
			       : &ram_plug_config(vm_ram(vm), index - n_nodes)->memory;
}

bool qmp_backend_merge(const struct vm *vm, size_t index)
{
	size_t n_nodes = ram_node_count(vm_ram(vm));

	return index < n_nodes ? ram_merge(vm_ram(vm), (unsigned int)index)
			       : ram_plug_merge(vm_ram(vm), index - n_nodes);
}

int qmp_backend_set_merge(struct vm *vm, size_t index, bool on)
{
	size_t n_nodes = ram_node_count(vm_ram(vm));

	return index < n_nodes ? ram_set_merge(vm_ram(vm), (unsigned int)index, on)
			       : ram_plug_set_merge(vm_ram(vm), index - n_nodes, on);
}

int qmp_query_memdev(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	json_object *list = json_object_new_array();
	struct ram_collapse_stats huge;

	for (size_t i = 0; i < qmp_backend_count(ctx); i++) {
		const struct ram_config *config = qmp_backend_config(ctx, i);
		json_object *item = json_object_new_object();
		char id[QMP_BACKEND_ID_MAX];

		json_add_str(item, "id", qmp_backend_id(ctx, i, id));
		json_add_u64(item, "size", config->size_bytes);
		json_add_bool(item, "merge", qmp_backend_merge(ctx, i));
		json_add_bool(item, "dump", config->dump);
		json_add_bool(item, "prealloc", config->prealloc);
		json_add_bool(item, "share", false);
		json_add_bool(item, "reserve", false);
		json_object_object_add(item, "host-nodes", qmp_host_nodes_new(config));
		json_add_str(item, "policy", ram_policy_name(config->policy));
		json_add_str(item, "__memd-pages", ram_pages_name(config->pages));
		if (i < ram_node_count(vm_ram(ctx)))
			json_object_object_add(item, "__memd-placement",
					       placement_new(vm_ram(ctx), (unsigned int)i));
		if (i == 0 && ram_collapse_stats(vm_ram(ctx), &huge))
			json_object_object_add(item, "__memd-huge", huge_new(&huge));
		json_object_array_add(list, item);
	}
	*ret_value = list;
	return 0;
}

static uint64_t plugged_bytes(const struct vm *vm)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < ram_plug_count(vm_ram(vm)); i++)
		bytes += ram_plug_size_bytes(vm_ram(vm), i);
	return bytes;
}

int qmp_query_memory_size_summary(void *ctx, json_object *args, json_object **ret_value,
				  struct wire_error *err)
{
	*ret_value = json_object_new_object();
	json_add_u64(*ret_value, "base-memory", ram_size_bytes(vm_ram(ctx)));
	json_add_u64(*ret_value, "plugged-memory", plugged_bytes(ctx));
	return 0;
}

/* VirtioMEMDeviceInfo */
int qmp_query_memory_devices(void *ctx, json_object *args, json_object **ret_value,
			     struct wire_error *err)
{
	const struct ram *ram = vm_ram(ctx);
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < ram_plug_count(ram); i++) {
		const struct ram_region *region = ram_plug_region(ram, i);
		json_object *item = json_object_new_object(), *data = json_object_new_object();
		char path[64], id[QMP_BACKEND_ID_MAX];

		snprintf(path, sizeof(path), QMP_MEM_PATH, i);
		json_add_str(data, "id", path + QMP_MEM_PATH_PREFIX);
		json_add_u64(data, "memaddr", region->gpa);
		json_add_u64(data, "requested-size", mem_requested_bytes(vm_mem(ctx, i)));
		json_add_u64(data, "size", ram_plug_size_bytes(ram, i));
		json_add_u64(data, "max-size", region->size_bytes);
		json_add_u64(data, "block-size", ram_plug_config(ram, i)->block_bytes);
		json_add_u64(data, "node", region->node);
		snprintf(path, sizeof(path), "/objects/%s",
			 qmp_backend_id(ctx, ram_node_count(ram) + i, id));
		json_add_str(data, "memdev", path);
		json_add_str(item, "type", "virtio-mem");
		json_object_object_add(item, "data", data);
		json_object_array_add(list, item);
	}
	*ret_value = list;
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
	json_add_u64(*ret_value, "virtio-mem-bytes", ram_plug_returned(vm_ram(ctx)));
	/* Does a driver in the guest run the balloon, and does it report free pages? */
	json_add_bool(*ret_value, "driver", balloon && balloon_has_driver(balloon));
	json_add_bool(*ret_value, "reporting", balloon && balloon_is_reporting(balloon));
	json_object_object_add(*ret_value, "balloon-counters", counters_new(balloon));
	return 0;
}
