/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual machine: KVM fds, memory slots, interrupt chip, vCPU threads and the run state, tied
 * to RAM, bus, loop and devices. A guest reset builds the KVM side anew, so no state is left over;
 * RAM, QMP connections and host-side settings stay.
 */
#ifndef MEMD_VMM_VM_H
#define MEMD_VMM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/loop.h"
#include "vmm/options.h"
#include "vmm/ram.h"

struct wire_server;
struct virtio_device;

/* QEMU's RunState names are vm_state_name(): "prelaunch" "running" "paused" "shutdown"
 * "internal-error". */
enum vm_state { VM_PRELAUNCH, VM_RUNNING, VM_PAUSED, VM_SHUTDOWN, VM_INTERNAL_ERROR };

struct vm;

/* Open, map and bind all that needs privileges or paths. Logs what is wrong. */
int vm_new(const struct options *options, struct vm **ret_vm);
/*
 * Start the vCPUs' threads, confine the calling one, which is to run the loop, and build the
 * machine. Nothing here or later opens a file. Logs what is wrong.
 */
int vm_start(struct vm *vm);
void vm_free(struct vm *vm); /* NULL is fine; stops the vCPUs */

/* Run until the guest powers off, a `quit`, or a signal. Returns the process's exit status. */
int vm_run(struct vm *vm);

const struct options *vm_options(const struct vm *vm);
struct ram *vm_ram(const struct vm *vm);
struct loop *vm_loop(const struct vm *vm);
struct bus *vm_bus(const struct vm *vm);
struct virtio_device *vm_balloon(const struct vm *vm);			/* NULL: none */
struct virtio_device *vm_disk(const struct vm *vm, unsigned int index); /* NULL: no such */
struct virtio_device *vm_net(const struct vm *vm, unsigned int index);	/* NULL: not so many */
struct virtio_device *vm_mem(const struct vm *vm, size_t index);	/* NULL: no such */
enum vm_state vm_state(const struct vm *vm);
const char *vm_state_name(enum vm_state state);

/* For QMP; called in the loop's thread. Events STOP, RESUME, SHUTDOWN, RESET are sent by these. */
int vm_stop(struct vm *vm); /* returns when every vCPU is out of the guest */
int vm_cont(struct vm *vm);
void vm_powerdown(struct vm *vm); /* ACPI power button */
void vm_reset(struct vm *vm, bool by_guest);
void vm_quit(struct vm *vm); /* host-qmp-quit */

/* Power transitions asked for by the guest (devices call these, any thread). */
void vm_guest_shutdown(struct vm *vm);
void vm_guest_reset(struct vm *vm);

/* vCPUs for query-cpus-fast: host thread id and state; -EINVAL: no such CPU. */
unsigned int vm_cpu_count(const struct vm *vm);
int vm_cpu_thread(const struct vm *vm, unsigned int cpu, int *ret_tid, unsigned int *ret_node);

/* fds for query-stats (KVM_GET_STATS_FD): VM (-1) or vCPU; an fd for the caller to close, or
 * -errno. */
int vm_stats_fd(struct vm *vm, int cpu);

/* The server that events go to (set by qmp.c). */
void vm_set_events(struct vm *vm, struct wire_server *server);

#endif
