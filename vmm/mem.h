/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-mem (virtio 1.2 section 5.15): the guest plugs and unplugs blocks of one region of
 * pluggable memory, as far as the host asks it to. The memory itself is ram_plug.c's.
 */
#ifndef MEMD_VMM_MEM_H
#define MEMD_VMM_MEM_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/loop.h"
#include "vmm/virtio.h"

struct mem_config {
	struct ram *ram;
	size_t plug; /* index of its region in ram */
	uint64_t requested_bytes;
	struct loop *loop;
	/* In the loop's thread, when the plugged size has changed (MEMORY_DEVICE_SIZE_CHANGE). */
	void (*changed)(void *ctx, size_t plug, uint64_t plugged_bytes);
	/* Does any device use this memory now, by its queues or for a request in flight? */
	bool (*in_use)(void *ctx, uint64_t gpa, uint64_t len);
	void *changed_ctx, *in_use_ctx;
};

/* NULL: out of memory. */
struct virtio_device *mem_new(const struct mem_config *config);

/*
 * How much the guest should have plugged (QMP `qom-set requested-size`). -EINVAL: no multiple of
 * the block size; -ERANGE: more than the region has. A guest without a driver gets to know later.
 */
int mem_set_requested(struct virtio_device *dev, uint64_t bytes);
uint64_t mem_requested_bytes(const struct virtio_device *dev);
uint64_t mem_plugged_bytes(const struct virtio_device *dev);
size_t mem_plug(const struct virtio_device *dev); /* index of its region */

/* The machine was reset, and ram_discard_all has unplugged all: as QEMU, what is asked for stays.
 */
void mem_machine_reset(struct virtio_device *dev);

#endif
