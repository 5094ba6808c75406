/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM of one machine: /dev/kvm, and the VM fd with its interrupt chip and memory slots, which can
 * be dropped and built anew for a guest reset. Works on any KVM with the in-kernel interrupt chip,
 * hardware-assisted or not. Source: Linux Documentation/virt/kvm/api.rst.
 */
#ifndef MEMD_VMM_KVM_H
#define MEMD_VMM_KVM_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/ram.h"

struct kvm;

/*
 * Open /dev/kvm and check that it has what we need. Logs what is wrong and the fix: -ENOENT (no
 * KVM), -EACCES (not allowed), -EOPNOTSUPP (a capability is missing).
 */
int kvm_open(struct kvm **ret_kvm);
void kvm_close(struct kvm *kvm); /* the VM too; NULL is fine */

/* The VM fd, interrupt chip (24 IOAPIC pins) and one memory slot per region. Logs what is wrong. */
int kvm_build(struct kvm *kvm, const struct ram *ram);
/* Give the VM back; its vCPU fds must be closed by then for the memory to be freed. */
void kvm_drop(struct kvm *kvm);

int kvm_vm_fd(const struct kvm *kvm);	     /* -1: not built */
size_t kvm_run_bytes(const struct kvm *kvm); /* of a vCPU's shared page */
unsigned int kvm_cpus_max(const struct kvm *kvm);
/* 0 or 1, or a number: KVM_CHECK_EXTENSION. */
int kvm_capability(const struct kvm *kvm, int capability);
/* What KVM can show a guest: KVM_GET_SUPPORTED_CPUID, for the caller to copy. */
const struct kvm_cpuid2 *kvm_cpuid(const struct kvm *kvm);

/* A write to the eventfd is an edge on this pin. */
int kvm_add_irqfd(struct kvm *kvm, int fd, unsigned int gsi);
/* A guest write of value (4 bytes) at this address signals the eventfd and nothing else. */
int kvm_add_ioeventfd(struct kvm *kvm, int fd, uint64_t addr, uint32_t value);

/*
 * The guest's clock stands still between the two, so that a stopped guest does not see time jump.
 * KVMs that cannot do it let it run on.
 */
void kvm_clock_stop(struct kvm *kvm);
void kvm_clock_start(struct kvm *kvm);

#endif
