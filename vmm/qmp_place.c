// SPDX-License-Identifier: Apache-2.0
/*
 * QMP about the host nodes of guest RAM, which QEMU does not have: `__memd-place` begins a move and
 * returns at once, `__memd-query-place` tells how far it is, `__memd-cancel-place` lets it end
 * early.
 */
#include <errno.h>
#include <string.h>

#include "vmm/qmp_impl.h"

int qmp_place(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	uint64_t node = UINT64_MAX, rate = 0;
	int r;

	(void)json_get_u64(args, "host-node", &node);
	if (node >= RAM_HOST_NODES)
		return wire_fail(err, -EINVAL, NULL,
				 "Parameter 'host-node' expects a number below %d", RAM_HOST_NODES);
	(void)json_get_u64(args, "bytes-per-second", &rate);
	if (rate && rate < RAM_PLACE_RATE_MIN)
		return wire_fail(err, -EINVAL, NULL,
				 "Parameter 'bytes-per-second' expects at least %llu",
				 (unsigned long long)RAM_PLACE_RATE_MIN);
	r = ram_place(vm_ram(ctx), (unsigned int)node, rate);
	if (r == -EBUSY)
		return wire_fail(err, r, NULL, "A move is under way (see __memd-query-place)");
	if (r == -ENODEV)
		return wire_fail(err, r, NULL,
				 "The host has no node %llu with memory for this process",
				 (unsigned long long)node);
	if (r == -EOPNOTSUPP)
		return wire_fail(err, r, NULL,
				 "Only a guest with one NUMA node, and without pages of the host's "
				 "pools, can be moved");
	return r < 0 ? wire_fail(err, r, NULL, "Cannot move: %s", strerror(-r)) : 0;
}

int qmp_cancel_place(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	ram_place_cancel(vm_ram(ctx));
	return 0;
}

int qmp_query_place(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	static const char *const names[] = {
		[RAM_PLACE_NONE] = "none",	     [RAM_PLACE_ACTIVE] = "active",
		[RAM_PLACE_COMPLETED] = "completed", [RAM_PLACE_FAILED] = "failed",
		[RAM_PLACE_CANCELLED] = "cancelled",
	};
	struct ram_place_state state;
	json_object *value = json_object_new_object();

	ram_place_state(vm_ram(ctx), &state);
	json_add_str(value, "status", names[state.status]);
	if (state.status != RAM_PLACE_NONE) {
		json_add_u64(value, "host-node", state.host_node);
		json_add_u64(value, "total-bytes", state.total_bytes);
		json_add_u64(value, "done-bytes", state.done_bytes);
		json_add_u64(value, "elapsed-us", state.took_us);
		json_add_u64(value, "longest-slice-us", state.longest_us);
	}
	if (state.error)
		json_add_str(value, "error-desc", strerror(state.error));
	*ret_value = value;
	return 0;
}
