/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices of the machine: made from the options by one static table, put on the bus, and wired
 * to KVM. The wiring is done again for the new VM of each reset; the devices and their host ends
 * stay.
 */
#ifndef MEMD_VMM_DEVICES_H
#define MEMD_VMM_DEVICES_H

#include "vmm/balloon.h"
#include "vmm/blk.h"
#include "vmm/bus.h"
#include "vmm/kvm.h"
#include "vmm/loop.h"
#include "vmm/options.h"
#include "vmm/power.h"
#include "vmm/ram.h"

struct devices;

/* What devices need of the machine around them. */
struct devices_config {
	const struct options *options;
	struct bus *bus;
	struct loop *loop;
	struct ram *ram;
	const struct power_events *power;
	balloon_change_fn balloon_changed;
	blk_error_fn disk_failed;
	void (*quit)(void *ctx); /* typed at the terminal */
	void (*mem_changed)(void *ctx, size_t index, uint64_t plugged_bytes);
	void *ctx; /* of all five */
};

/* Logs what is wrong. */
int devices_new(const struct devices_config *config, struct devices **ret_devices);
void devices_free(struct devices *devices); /* NULL is fine */

/* Register interrupts and queue notifications with the VM that kvm_build has just made. */
int devices_wire(struct devices *devices, struct kvm *kvm);
/* To the state after power-on. */
void devices_reset(struct devices *devices);
/* While the vCPUs stand: see virtio_pause. */
void devices_pause(struct devices *devices);
void devices_resume(struct devices *devices);

unsigned int devices_virtio_count(const struct devices *devices);
struct virtio_device *devices_balloon(const struct devices *devices); /* NULL: none */
/* In the order of the options; NULL: no such disk. */
struct virtio_device *devices_disk(const struct devices *devices, unsigned int index);
/* The network interface of that number; NULL: there are not so many. */
struct virtio_device *devices_net(const struct devices *devices, unsigned int index);
/* By the order of their options; NULL: no such one. */
struct virtio_device *devices_mem(const struct devices *devices, size_t index);
void devices_press_power(struct devices *devices);

#endif
