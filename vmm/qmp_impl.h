/* SPDX-License-Identifier: Apache-2.0 */
/* Between the qmp*.c files only: the commands, each a wire_command_fn with the struct vm as ctx. */
#ifndef MEMD_VMM_QMP_IMPL_H
#define MEMD_VMM_QMP_IMPL_H

#include <stddef.h>

#include "common/wire.h"
#include "vmm/vm.h"

/* The object of a vCPU, by its index. */
#define QMP_CPU_PATH	 "/machine/unattached/device[%u]"
#define QMP_CPU_PATH_MAX 64

/* qmp_memory.c */
int qmp_balloon(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);
int qmp_query_balloon(void *ctx, json_object *args, json_object **ret_value,
		      struct wire_error *err);
int qmp_query_memdev(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);
int qmp_query_memory_size_summary(void *ctx, json_object *args, json_object **ret_value,
				  struct wire_error *err);
int qmp_query_memory_devices(void *ctx, json_object *args, json_object **ret_value,
			     struct wire_error *err);
int qmp_query_returned(void *ctx, json_object *args, json_object **ret_value,
		       struct wire_error *err);

/*
 * Memory backends by index: those of the guest nodes first, "ram0" ..., then those of the memory
 * devices, "vmem0" ...; the id is also the name below /objects.
 */
#define QMP_BACKEND_ID_MAX 24
size_t qmp_backend_count(const struct vm *vm);
const char *qmp_backend_id(const struct vm *vm, size_t index, char buf[QMP_BACKEND_ID_MAX]);
const struct ram_config *qmp_backend_config(const struct vm *vm, size_t index);
bool qmp_backend_merge(const struct vm *vm, size_t index);
int qmp_backend_set_merge(struct vm *vm, size_t index, bool on); /* as ram_set_merge */

/* Host nodes of a memory backend as a JSON array of numbers. */
json_object *qmp_host_nodes_new(const struct ram_config *config);

/* qmp_object.c */
int qmp_qom_list(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);
int qmp_qom_get(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);
int qmp_qom_set(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);

/* qmp_merge.c */
int qmp_merge(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);
int qmp_query_merge(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);

/* qmp_place.c */
int qmp_place(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);
int qmp_cancel_place(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);
int qmp_query_place(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);

/* qmp_stats.c */
int qmp_query_stats(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);

/* qmp_block.c */
int qmp_query_block(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);
int qmp_query_blockstats(void *ctx, json_object *args, json_object **ret_value,
			 struct wire_error *err);

#endif
