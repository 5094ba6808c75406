// SPDX-License-Identifier: Apache-2.0
/* CPUID tables: the place of each CPU as Linux reads it out of them, and what must not be there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cpuid.h"

#define LEAF(f, i, flag, a, b, c, d)                                                             \
	{                                                                                        \
		.function = f, .index = i, .flags = flag, .eax = a, .ebx = b, .ecx = c, .edx = d \
	}

static struct kvm_cpuid2 *table(const struct kvm_cpuid_entry2 *entries, unsigned int n)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + n * sizeof(*entries));

	cpuid->nent = n;
	memcpy(cpuid->entries, entries, n * sizeof(*entries));
	return cpuid;
}

static const struct kvm_cpuid_entry2 intel[] = {
	LEAF(0x0, 0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69),
	/* APIC id, count, flush size and brand of the host's CPU; TSC deadline absent */
	LEAF(0x1, 0, 0, 0xc06f2, 0x33200842, 0x00202000, 0x0f8bfbff),
	LEAF(0x4, 0, 1, 0xfc000121, 0x02c0003f, 0x3f, 0),
	LEAF(0x4, 3, 1, 0xfc1fc163, 0x04c0003f, 0x33fff, 0),
	LEAF(0x4, 4, 1, 0, 0, 0, 0),
	LEAF(0xa, 0, 0, 0x07300404, 0, 0, 0x603),
	LEAF(0xb, 0, 1, 1, 2, 0x100, 0x33),
	LEAF(0xb, 1, 1, 6, 64, 0x201, 0x33),
	LEAF(0x1f, 0, 1, 1, 2, 0x100, 0x33),
	LEAF(0x80000000, 0, 0, 0x80000008, 0, 0, 0),
	LEAF(0x80000002, 0, 0, 0x20555043, 0, 0, 0),
	LEAF(0x80000007, 0, 0, 0, 0, 0, 0x100),
	LEAF(0x80000008, 0, 0, 0x3930, 0, 0, 0),
};

static const struct kvm_cpuid_entry2 amd[] = {
	LEAF(0x0, 0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65),
	LEAF(0x1, 0, 0, 0xa00f11, 0x33200842, 0x00202000, 0x178bfbff),
	LEAF(0xb, 0, 1, 1, 2, 0x100, 0x33),
	LEAF(0x80000000, 0, 0, 0x80000022, 0, 0, 0),
	LEAF(0x80000001, 0, 0, 0xa00f11, 0, 0x01c00002, 0),
	LEAF(0x80000008, 0, 0, 0x3030, 0, 0x7007, 0),
	LEAF(0x8000001d, 0, 1, 0x00004121, 0, 0, 0),
	LEAF(0x8000001d, 3, 1, 0x0001c163, 0, 0, 0),
	LEAF(0x8000001e, 0, 0, 0x33, 0x0119, 0x0101, 7),
	LEAF(0x80000022, 0, 0, 1, 6, 0, 0),
};

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *cpuid, uint32_t function,
					   uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
			return &cpuid->entries[i];
	fail_msg("leaf %x.%u is not there", function, index);
	return NULL;
}

static void intel_core_5_of_6(void **state)
{
	const struct cpuid_place place = {
		.cpu = 5, .cpus = 6, .package_cpus = 6, .deadline_timer = true};
	struct kvm_cpuid2 *supported = table(intel, sizeof(intel) / sizeof(intel[0]));
	struct kvm_cpuid2 *cpuid = cpuid_new(supported, &place);

	assert_non_null(cpuid);
	assert_true(cpuid->nent <= supported->nent + CPUID_EXTRA);
	assert_int_equal(find(cpuid, 1, 0)->ebx, 0x05080842);
	assert_int_equal(find(cpuid, 1, 0)->ecx, 0x00202000 | 1U << 24 | 1U << 31);
	assert_int_equal(find(cpuid, 1, 0)->edx >> 28 & 1, 1);
	/* L1: this core alone; L3: all 8 places of the package; 8 places per package. */
	assert_int_equal(find(cpuid, 4, 0)->eax, 7U << 26 | 0x121);
	assert_int_equal(find(cpuid, 4, 3)->eax, 7U << 26 | 7 << 14 | 0x163);
	assert_int_equal(find(cpuid, 4, 4)->eax, 0);
	for (uint32_t leaf = 0xb; leaf <= 0x1f; leaf += 0x14) {
		assert_int_equal(find(cpuid, leaf, 0)->eax, 0);
		assert_int_equal(find(cpuid, leaf, 0)->ebx, 1);
		assert_int_equal(find(cpuid, leaf, 0)->ecx, 0x100);
		assert_int_equal(find(cpuid, leaf, 1)->eax, 3);
		assert_int_equal(find(cpuid, leaf, 1)->ebx, 6);
		assert_int_equal(find(cpuid, leaf, 1)->ecx, 0x201);
		assert_int_equal(find(cpuid, leaf, 2)->ebx, 0);
		assert_int_equal(find(cpuid, leaf, 2)->ecx, 2);
		assert_int_equal(find(cpuid, leaf, 2)->edx, 5);
		assert_int_equal(find(cpuid, leaf, 1)->flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	}
	assert_int_equal(find(cpuid, 0xa, 0)->eax, 0);
	assert_int_equal(find(cpuid, 0x80000007, 0)->edx, 0);
	assert_int_equal(find(cpuid, 0x80000002, 0)->eax, 0x20555043);
	/* What KVM said stays as it was: it serves the next CPU too. */
	assert_memory_equal(supported->entries, intel, sizeof(intel));
	free(cpuid);
	free(supported);
}

static void single_cpu(void **state)
{
	const struct cpuid_place place = {.cpus = 1, .package_cpus = 1};
	struct kvm_cpuid2 *supported = table(intel, sizeof(intel) / sizeof(intel[0]));
	struct kvm_cpuid2 *cpuid = cpuid_new(supported, &place);

	assert_int_equal(find(cpuid, 1, 0)->ebx, 0x00010842);
	assert_int_equal(find(cpuid, 1, 0)->edx >> 28 & 1, 0);
	assert_int_equal(find(cpuid, 1, 0)->ecx >> 24 & 1, 0);
	assert_int_equal(find(cpuid, 0xb, 1)->eax, 0);
	assert_int_equal(find(cpuid, 0xb, 1)->ebx, 1);
	assert_int_equal(find(cpuid, 4, 3)->eax, 0x163);
	free(cpuid);
	free(supported);
}

static void amd_second_package(void **state)
{
	const struct cpuid_place place = {.cpu = 3, .cpus = 4, .package_cpus = 2};
	struct kvm_cpuid2 *supported = table(amd, sizeof(amd) / sizeof(amd[0]));
	struct kvm_cpuid2 *cpuid = cpuid_new(supported, &place);

	assert_int_equal(find(cpuid, 0x80000008, 0)->ecx, 0x1001);
	assert_int_equal(find(cpuid, 0x8000001d, 0)->eax, 0x121);
	assert_int_equal(find(cpuid, 0x8000001d, 3)->eax, 1 << 14 | 0x163);
	assert_int_equal(find(cpuid, 0x8000001e, 0)->eax, 3);
	assert_int_equal(find(cpuid, 0x8000001e, 0)->ebx, 1);
	assert_int_equal(find(cpuid, 0x8000001e, 0)->ecx, 1);
	/* CMP_LEGACY for two cores, no counters. */
	assert_int_equal(find(cpuid, 0x80000001, 0)->ecx, 0x00400002);
	assert_int_equal(find(cpuid, 0x80000022, 0)->eax, 0);
	free(cpuid);
	free(supported);
}

static void packages_do_not_span_nodes(void **state)
{
	assert_int_equal(cpuid_package_cpus(1, 1), 1);
	assert_int_equal(cpuid_package_cpus(6, 1), 6);
	assert_int_equal(cpuid_package_cpus(64, 1), 64);
	assert_int_equal(cpuid_package_cpus(8, 2), 4);
	assert_int_equal(cpuid_package_cpus(4, 4), 1);
	/* APIC ids without holes need powers of two. */
	assert_int_equal(cpuid_package_cpus(6, 2), 1);
	assert_int_equal(cpuid_package_cpus(5, 2), 1);
	assert_int_equal(cpuid_package_cpus(2, 4), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(intel_core_5_of_6),
		cmocka_unit_test(single_cpu),
		cmocka_unit_test(amd_second_package),
		cmocka_unit_test(packages_do_not_span_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
