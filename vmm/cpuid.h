/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vCPU says about itself: KVM's supported CPUID with the place of this CPU in the machine
 * put in and what we do not offer taken out. Sources: Intel SDM volume 2A, CPUID; AMD APM volume 3
 * appendix E; Linux Documentation/virt/kvm/x86/cpuid.rst.
 */
#ifndef MEMD_VMM_CPUID_H
#define MEMD_VMM_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>

/* Entries cpuid_new() adds at most. */
#define CPUID_EXTRA 8

struct cpuid_place {
	unsigned int cpu;	   /* APIC id */
	unsigned int package_cpus; /* cores of one package; packages are aligned runs of APIC ids */
	unsigned int cpus;	   /* of the machine */
	bool deadline_timer;	   /* KVM_CAP_TSC_DEADLINE_TIMER */
};

/*
 * Cores per package for n_cpus dealt in equal runs to n_nodes: a package must not span nodes, and
 * its APIC ids are an aligned power of two.
 */
unsigned int cpuid_package_cpus(unsigned int n_cpus, unsigned int n_nodes);

/* The table for one CPU, for the caller to free(3). NULL: out of memory. */
struct kvm_cpuid2 *cpuid_new(const struct kvm_cpuid2 *supported, const struct cpuid_place *place);

#endif
