/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vCPUs of a machine: one thread each, which lives as long as the process, and one KVM fd each,
 * which is built anew at every reset. A gate holds all of them out of the guest while it is shut.
 */
#ifndef MEMD_VMM_VCPU_H
#define MEMD_VMM_VCPU_H

#include "vmm/boot.h"
#include "vmm/bus.h"
#include "vmm/kvm.h"

/* Called in a vCPU's thread without bus_lock; that vCPU goes on only as far as the gate. */
struct vcpu_events {
	void (*reset)(void *ctx);  /* triple fault */
	void (*failed)(void *ctx); /* KVM cannot run the guest on; it is logged why */
};

struct vcpus;

/* n threads "vcpu0"..., waiting at the shut gate. Logs what is wrong. */
int vcpus_new(unsigned int n, struct bus *bus, const struct vcpu_events *events, void *ctx,
	      struct vcpus **ret_vcpus);
/* Ends the threads; gate shut or not. Without bus_lock. NULL is fine. */
void vcpus_free(struct vcpus *vcpus);

/*
 * Make the KVM side, with the gate shut; n_nodes: of the guest, for its topology. vcpus_drop gives
 * it back, after a failure too. Logs what is wrong.
 */
int vcpus_build(struct vcpus *vcpus, struct kvm *kvm, unsigned int n_nodes);
void vcpus_drop(struct vcpus *vcpus);

/* The registers with which the first CPU enters the kernel. Logs what is wrong. */
int vcpus_set_entry(struct vcpus *vcpus, const struct boot_entry *entry);

/* Open the gate. */
void vcpus_start(struct vcpus *vcpus);
/* Shut it and drive all out of the guest, without waiting; any thread. */
void vcpus_stop_soon(struct vcpus *vcpus);
/*
 * Shut it and wait until all are out, their last access to a device done. Called with bus_lock
 * held, which is given up for the wait.
 */
void vcpus_stop(struct vcpus *vcpus);

/*
 * Have the first vCPU map [gpa, gpa + len) into the second-level tables, in as large pages as the
 * host has there (KVM_PRE_FAULT_MEMORY). Any thread; nothing happens where KVM cannot do it, and a
 * machine that is stopped does it when it goes on.
 */
void vcpus_prefault(struct vcpus *vcpus, uint64_t gpa, uint64_t len);

/* For KVM_KVMCLOCK_CTRL: tell each guest clock that it was stopped, so that no watchdog barks. */
void vcpus_tell_stopped(struct vcpus *vcpus);

unsigned int vcpus_count(const struct vcpus *vcpus);
int vcpus_tid(const struct vcpus *vcpus, unsigned int cpu);	 /* host thread id */
int vcpus_stats_fd(const struct vcpus *vcpus, unsigned int cpu); /* -1: none; stays ours */

#endif
