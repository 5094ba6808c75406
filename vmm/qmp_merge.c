// SPDX-License-Identifier: Apache-2.0
/*
 * QMP about merging by ranges, which QEMU does not have: `__memd-merge` and `__memd-query-merge`.
 * A range is given by "gpa", or by "offset" into guest RAM counted without the hole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "vmm/qmp_impl.h"

#define RANGES_MAX 16384
#define RUNS_MAX   4096 /* in one answer: far below what a client takes as one message */

/* Where a byte of guest RAM counted without the hole lies, or UINT64_MAX behind its end. */
static uint64_t gpa_of(const struct ram *ram, uint64_t offset)
{
	for (size_t i = 0; i < ram_region_count(ram); i++) {
		const struct ram_region *region = ram_region(ram, i);

		if (offset < region->size_bytes)
			return region->gpa + offset;
		offset -= region->size_bytes;
	}
	return UINT64_MAX;
}

static int read_range(const struct ram *ram, json_object *item, size_t index,
		      struct ram_merge_range *ret_range, struct wire_error *err)
{
	bool is_object = json_object_is_type(item, json_type_object);
	uint64_t gpa, offset, len;
	bool has_gpa = is_object && json_get_u64(item, "gpa", &gpa);
	bool has_offset = is_object && json_get_u64(item, "offset", &offset), merge;

	if (has_gpa == has_offset)
		return wire_fail(err, -EINVAL, NULL,
				 "Parameter 'ranges[%zu]' expects one of 'gpa' and 'offset', a "
				 "number",
				 index);
	if (!json_get_u64(item, "length", &len))
		return wire_fail(err, -EINVAL, NULL,
				 "Parameter 'ranges[%zu].length' expects a number", index);
	if (!json_get_bool(item, "merge", &merge))
		return wire_fail(err, -EINVAL, NULL,
				 "Parameter 'ranges[%zu].merge' expects a boolean", index);
	*ret_range = (struct ram_merge_range){
		.gpa = has_gpa ? gpa : gpa_of(ram, offset), .len = len, .merge = merge};
	return 0;
}

int qmp_merge(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	json_object *list = json_get_array(args, "ranges");
	size_t n = json_object_array_length(list);
	AUTO_FREE struct ram_merge_range *ranges = NULL;
	struct ram *ram = vm_ram(ctx);
	char why[RAM_WHY_MAX];
	int r;

	if (n > RANGES_MAX)
		return wire_fail(err, -E2BIG, NULL,
				 "Parameter 'ranges' has %zu elements, at most %d are taken", n,
				 RANGES_MAX);
	ranges = calloc(n + 1, sizeof(*ranges));
	if (!ranges)
		return wire_fail(err, -ENOMEM, NULL, "Out of memory");
	for (size_t i = 0; i < n; i++) {
		r = read_range(ram, json_object_array_get_idx(list, i), i, &ranges[i], err);
		if (r < 0)
			return r;
	}
	r = ram_merge_ranges(ram, ranges, n, why);
	return r < 0 ? wire_fail(err, r, NULL, "Cannot change merging: %s", why) : 0;
}

/*
 * Which backend a run is of, and where in this process it lies: who may look at that (memd, to find
 * duplicates) has no other way to know. Not of pluggable memory, which is switched as a whole.
 */
static void add_place(struct vm *vm, uint64_t gpa, json_object *item)
{
	const struct ram *ram = vm_ram(vm);
	char id[QMP_BACKEND_ID_MAX];

	for (size_t i = 0; i < ram_region_count(ram); i++) {
		const struct ram_region *region = ram_region(ram, i);

		if (gpa < region->gpa || gpa - region->gpa >= region->size_bytes)
			continue;
		json_add_str(item, "memdev", qmp_backend_id(vm, region->node, id));
		json_add_u64(item, "host-address",
			     (uint64_t)(uintptr_t)region->hva + (gpa - region->gpa));
	}
}

int qmp_query_merge(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err)
{
	const struct ram *ram = vm_ram(ctx);
	json_object *runs = json_object_new_array();
	struct ram_merge_range run;
	uint64_t gpa = 0;
	bool more;

	(void)json_get_u64(args, "gpa", &gpa);
	for (more = ram_merge_run(ram, gpa, &run);
	     more && json_object_array_length(runs) < RUNS_MAX;
	     more = ram_merge_run(ram, run.gpa + run.len, &run)) {
		json_object *item = json_object_new_object();

		json_add_u64(item, "gpa", run.gpa);
		json_add_u64(item, "length", run.len);
		json_add_bool(item, "merge", run.merge);
		add_place(ctx, run.gpa, item);
		json_object_array_add(runs, item);
	}
	*ret_value = json_object_new_object();
	json_object_object_add(*ret_value, "runs", runs);
	/* There is more: ask again from here. */
	if (more)
		json_add_u64(*ret_value, "next-gpa", run.gpa);
	return 0;
}
