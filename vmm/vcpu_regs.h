/* SPDX-License-Identifier: Apache-2.0 */
/* Registers of a vCPU: those it starts with, and a log of them when KVM gives up. */
#ifndef MEMD_VMM_VCPU_REGS_H
#define MEMD_VMM_VCPU_REGS_H

#include <linux/kvm.h>

#include "vmm/boot.h"

/* Model-specific registers that firmware would have set, on every CPU. Logs what is wrong. */
int vcpu_regs_set_msrs(unsigned int cpu, int fd);

/* The state boot.h promises for entry->mode. -errno. */
int vcpu_regs_set_entry(int fd, const struct boot_entry *entry);

/* Where the guest stands, at error level. */
void vcpu_regs_log(unsigned int cpu, int fd);
/* What run->internal says. */
void vcpu_regs_log_internal(unsigned int cpu, const struct kvm_run *run);

#endif
