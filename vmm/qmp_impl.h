/* SPDX-License-Identifier: Apache-2.0 */
/* Between the qmp*.c files only: the commands, each a wire_command_fn with the struct vm as ctx. */
#ifndef MEMD_VMM_QMP_IMPL_H
#define MEMD_VMM_QMP_IMPL_H

#include <stddef.h>

#include "common/wire.h"
#include "vmm/vm.h"

/* The id of a guest node's memory backend: "ram0" ..., also its name below /objects. */
#define QMP_BACKEND_ID "ram%u"
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

/* Host nodes of a memory backend as a JSON array of numbers. */
json_object *qmp_host_nodes_new(const struct ram_config *config);

/* qmp_object.c */
int qmp_qom_list(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);
int qmp_qom_get(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);
int qmp_qom_set(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);

/* qmp_merge.c */
int qmp_merge(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);
int qmp_query_merge(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);

/* qmp_stats.c */
int qmp_query_stats(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);

/* qmp_block.c */
int qmp_query_block(void *ctx, json_object *args, json_object **ret_value, struct wire_error *err);
int qmp_query_blockstats(void *ctx, json_object *args, json_object **ret_value,
			 struct wire_error *err);

#endif
