/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QMP events of the machine, in QEMU's words (qapi/run-state.json, machine.json). BALLOON_CHANGE
 * and, per device, MEMORY_DEVICE_SIZE_CHANGE come at most once a second, with the latest amount, as
 * QEMU does it.
 */
#ifndef MEMD_VMM_VM_EVENTS_H
#define MEMD_VMM_VM_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/loop.h"

/* What a disk is called in QMP, by its index. */
#define VM_DISK_NAME "disk%u"

struct vm_events;
struct wire_server;

struct vm_events *vm_events_new(struct loop *loop);				 /* NULL: errno */
void vm_events_free(struct vm_events *events);					 /* NULL is fine */
void vm_events_set_server(struct vm_events *events, struct wire_server *server); /* NULL: none */

void vm_events_send(struct vm_events *events, const char *name);
/* SHUTDOWN and RESET. */
void vm_events_power(struct vm_events *events, const char *name, bool by_guest, const char *reason);
/* BLOCK_IO_ERROR (qapi/block-core.json): the guest was told, and goes on. err: errno. */
void vm_events_disk(struct vm_events *events, unsigned int index, bool is_write, int err);
/* MEMORY_DEVICE_SIZE_CHANGE of the memory device with this index, as seldom. */
void vm_events_mem(struct vm_events *events, size_t index, uint64_t size_bytes);
void vm_events_balloon(struct vm_events *events, uint64_t actual_bytes);

#endif
