// SPDX-License-Identifier: Apache-2.0
/*
 * CPUID tables: see cpuid.h. Taken out: the invariant TSC, so that guests keep to kvmclock, which
 * stands still while they are stopped; and the performance counters, which cost each exit and leak
 * the host's timing. One thread per core; the cores of a package share the last-level cache.
 */
#include "vmm/cpuid.h"

#include <cpuid.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CPUID_MAX_BASIC	   0x0
#define CPUID_FEATURES	   0x1
#define CPUID_CACHE	   0x4
#define CPUID_PERF	   0xa
#define CPUID_TOPOLOGY	   0xb
#define CPUID_TOPOLOGY_V2  0x1f
#define CPUID_EXT_MAX	   0x80000000
#define CPUID_EXT_FEATURES 0x80000001
#define CPUID_BRAND	   0x80000002 /* three leaves */
#define CPUID_POWER	   0x80000007
#define CPUID_SIZES	   0x80000008
#define CPUID_AMD_CACHE	   0x8000001d
#define CPUID_AMD_TOPOLOGY 0x8000001e
#define CPUID_AMD_PERF	   0x80000022

#define FEATURE_ECX_DEADLINE   (1U << 24)
#define FEATURE_ECX_HYPERVISOR (1U << 31)
#define FEATURE_EDX_HTT	       (1U << 28)
#define EXT_ECX_CMP_LEGACY     (1U << 1)
#define EXT_ECX_PERFCTR	       (3U << 23) /* core and north bridge */
#define POWER_EDX_INVARIANT    (1U << 8)

/* First four letters of the vendor, in EBX of leaf 0. */
#define VENDOR_AMD   0x68747541U
#define VENDOR_HYGON 0x6f677948U

#define TOPOLOGY_SMT  1U
#define TOPOLOGY_CORE 2U

unsigned int cpuid_package_cpus(unsigned int n_cpus, unsigned int n_nodes)
{
	unsigned int run;

	if (n_nodes <= 1)
		return n_cpus;
	run = n_cpus / n_nodes;
	return n_cpus % n_nodes || !run || run & (run - 1) ? 1 : run;
}

static struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, uint32_t function)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function)
			return &cpuid->entries[i];
	return NULL;
}

static void cpuid_remove(struct kvm_cpuid2 *cpuid, uint32_t function)
{
	uint32_t left = 0;

	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function != function)
			cpuid->entries[left++] = cpuid->entries[i];
	cpuid->nent = left;
}

/* Bits of an APIC id that number the cores of a package. */
static unsigned int cpuid_core_bits(const struct cpuid_place *place)
{
	unsigned int bits = 0;

	while (1U << bits < place->package_cpus)
		bits++;
	return bits;
}

/* Leaf 0xb or 0x1f: threads, cores, end of list. */
static void cpuid_add_topology(struct kvm_cpuid2 *cpuid, uint32_t function,
			       const struct cpuid_place *place)
{
	const struct {
		uint32_t shift, count, type;
	} levels[] = {
		{0, 1, TOPOLOGY_SMT},
		{cpuid_core_bits(place), place->package_cpus, TOPOLOGY_CORE},
		{0, 0, 0},
	};

	for (uint32_t i = 0; i < 3; i++)
		cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){
			.function = function,
			.index = i,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			.eax = levels[i].shift,
			.ebx = levels[i].count,
			.ecx = levels[i].type << 8 | i,
			.edx = place->cpu,
		};
}

/* Who shares a cache: bits 14 to 25 of leaf 4 and of its AMD twin. */
static void cpuid_fix_cache(struct kvm_cpuid_entry2 *entry, const struct cpuid_place *place)
{
	uint32_t type = entry->eax & 0x1f, level = entry->eax >> 5 & 7;
	uint32_t cores = (1U << cpuid_core_bits(place)) - 1;

	if (!type)
		return;
	entry->eax &= 0x3fff;
	if (level >= 3)
		entry->eax |= cores << 14;
	if (entry->function == CPUID_CACHE)
		entry->eax |= (cores < 0x3f ? cores : 0x3f) << 26;
}

static void cpuid_fix_features(struct kvm_cpuid_entry2 *entry, const struct cpuid_place *place)
{
	uint32_t ids = 1U << cpuid_core_bits(place);

	entry->ebx = (entry->ebx & 0xffff) | ids << 16 | place->cpu << 24;
	entry->ecx |= FEATURE_ECX_HYPERVISOR;
	if (place->deadline_timer)
		entry->ecx |= FEATURE_ECX_DEADLINE;
	if (place->package_cpus > 1)
		entry->edx |= FEATURE_EDX_HTT;
	else
		entry->edx &= ~FEATURE_EDX_HTT;
}

static void cpuid_fix_entry(struct kvm_cpuid_entry2 *entry, const struct cpuid_place *place,
			    bool is_amd)
{
	uint32_t cores = place->package_cpus - 1;

	switch (entry->function) {
	case CPUID_FEATURES:
		cpuid_fix_features(entry, place);
		break;
	case CPUID_CACHE:
	case CPUID_AMD_CACHE:
		cpuid_fix_cache(entry, place);
		break;
	case CPUID_PERF:
	case CPUID_AMD_PERF:
		entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
		break;
	case CPUID_EXT_FEATURES:
		entry->ecx &= ~(EXT_ECX_PERFCTR | EXT_ECX_CMP_LEGACY);
		if (is_amd && cores)
			entry->ecx |= EXT_ECX_CMP_LEGACY;
		break;
	case CPUID_POWER:
		entry->edx &= ~POWER_EDX_INVARIANT;
		break;
	case CPUID_SIZES:
		entry->ecx = cpuid_core_bits(place) << 12 | (cores < 0xff ? cores : 0xff);
		break;
	case CPUID_AMD_TOPOLOGY:
		entry->eax = place->cpu;
		entry->ebx = place->cpu % (1U << cpuid_core_bits(place));
		entry->ecx = place->cpu >> cpuid_core_bits(place) & 0xff;
		entry->edx = 0;
		break;
	}
}

/* The processor's name, where KVM does not pass it on. */
static void cpuid_fix_brand(struct kvm_cpuid2 *cpuid)
{
	unsigned int max = __get_cpuid_max(CPUID_EXT_MAX, NULL);

	for (uint32_t leaf = CPUID_BRAND; leaf < CPUID_BRAND + 3 && leaf <= max; leaf++) {
		struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, leaf);

		if (entry && !(entry->eax | entry->ebx | entry->ecx | entry->edx))
			__cpuid(leaf, entry->eax, entry->ebx, entry->ecx, entry->edx);
	}
}

struct kvm_cpuid2 *cpuid_new(const struct kvm_cpuid2 *supported, const struct cpuid_place *place)
{
	size_t n = supported->nent;
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + (n + CPUID_EXTRA) * sizeof(cpuid->entries[0]));
	const struct kvm_cpuid_entry2 *max;
	bool is_amd;

	if (!cpuid)
		return NULL;
	cpuid->nent = supported->nent;
	memcpy(cpuid->entries, supported->entries, n * sizeof(cpuid->entries[0]));
	cpuid_remove(cpuid, CPUID_TOPOLOGY);
	cpuid_remove(cpuid, CPUID_TOPOLOGY_V2);
	max = cpuid_find(cpuid, CPUID_MAX_BASIC);
	is_amd = max && (max->ebx == VENDOR_AMD || max->ebx == VENDOR_HYGON);
	for (uint32_t i = 0; i < cpuid->nent; i++)
		cpuid_fix_entry(&cpuid->entries[i], place, is_amd);
	cpuid_fix_brand(cpuid);
	if (max && max->eax >= CPUID_TOPOLOGY)
		cpuid_add_topology(cpuid, CPUID_TOPOLOGY, place);
	if (max && max->eax >= CPUID_TOPOLOGY_V2)
		cpuid_add_topology(cpuid, CPUID_TOPOLOGY_V2, place);
	return cpuid;
}
