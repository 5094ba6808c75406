// SPDX-License-Identifier: Apache-2.0
/* The probe's answers on captured hosts, on made ones (EPT, no KVM, cgroup v1), and on ruins. */
#include "tests/unit/tree.h"

#include <json-c/json.h>

#include "common/cleanup.h"
#include "common/wire.h"
#include "memd/cgroup.h"
#include "memd/probe.h"

static const char *const keys[] = {"kernel",
				   "cpu_vendor",
				   "kvm",
				   "second_level_paging",
				   "second_level_page_sizes",
				   "second_level_large_pages",
				   "nested",
				   "ksm",
				   "ksm_smart_scan",
				   "ksm_advisor",
				   "ksm_zero_pages",
				   "ksm_general_profit",
				   "ksm_process_stat",
				   "numa_nodes",
				   "numa_balancing",
				   "transparent_hugepage",
				   "huge_page_pools",
				   "swap",
				   "zswap",
				   "psi",
				   "cgroup_version",
				   "cgroup_memory",
				   "damon",
				   "mglru",
				   "idle_page_tracking",
				   "idle_tracking",
				   "other_managers"};

static const char *string_of(json_object *fact, const char *name)
{
	json_object *value;

	assert_true(json_object_object_get_ex(fact, name, &value));
	return json_object_get_string(value);
}

static json_object *fact_of(json_object *doc, const char *key)
{
	json_object *facts = json_object_object_get(doc, "facts");

	for (size_t i = 0; i < json_object_array_length(facts); i++) {
		json_object *fact = json_object_array_get_idx(facts, i);

		if (!strcmp(string_of(fact, "key"), key))
			return fact;
	}
	fail_msg("no fact %s", key);
	return NULL;
}

/* Every key once and in order, each with a source, and never neither value nor reason. */
static json_object *probe(const char *root)
{
	json_object *doc = NULL, *facts;

	assert_int_equal(probe_run(root, &doc), 0);
	assert_int_equal(json_object_get_int(json_object_object_get(doc, "schema")), 1);
	facts = json_object_object_get(doc, "facts");
	assert_int_equal(json_object_array_length(facts), ARRAY_SIZE(keys));
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		json_object *fact = json_object_array_get_idx(facts, i);

		assert_string_equal(string_of(fact, "key"), keys[i]);
		if (!string_of(fact, "value") && !string_of(fact, "reason"))
			fail_msg("%s has neither value nor reason", keys[i]);
		if (string_of(fact, "source"))
			assert_int_equal(string_of(fact, "source")[0], '/');
		else
			assert_string_equal(keys[i], "nested"); /* without KVM there is no file */
		string_of(fact, "detail");
	}
	return doc;
}

/* value NULL: must be absent. part NULL: there must be no reason; "": whatever it says. */
static void expect(json_object *doc, const char *key, const char *value, const char *part)
{
	json_object *fact = fact_of(doc, key);
	const char *is = string_of(fact, "value"), *reason = string_of(fact, "reason");

	if ((value == NULL) != (is == NULL) || (value && strcmp(value, is) != 0))
		fail_msg("%s is %s, not %s (%s)", key, is ? is : "null", value ? value : "null",
			 reason ? reason : "");
	if (part == NULL && reason)
		fail_msg("%s: unexpected reason %s", key, reason);
	if (part && part[0])
		assert_contains(reason, part);
}

static void expect_detail(json_object *doc, const char *key, const char *part)
{
	assert_contains(string_of(fact_of(doc, key), "detail"), part);
}

static void lab_6_12(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_JSON json_object *doc = probe(tree.root);

	expect(doc, "kernel", "6.12.107+deb13-cloud-amd64", NULL);
	expect(doc, "cpu_vendor", "amd", NULL);
	expect_detail(doc, "cpu_vendor", "emulated by QEMU");
	expect(doc, "kvm", "kvm_amd", NULL);
	expect(doc, "second_level_paging", "npt", NULL);
	expect(doc, "second_level_page_sizes", "4K 2M 1G", NULL);
	expect(doc, "second_level_large_pages", "true", NULL);
	expect_detail(doc, "second_level_large_pages", "tdp_mmu=Y");
	expect(doc, "nested", "true", NULL);
	expect(doc, "ksm", "running", NULL);
	expect(doc, "ksm_smart_scan", "true", NULL);
	expect(doc, "ksm_advisor", "none", NULL);
	expect(doc, "ksm_zero_pages", "true", NULL);
	expect(doc, "ksm_general_profit", "685056", NULL);
	expect(doc, "ksm_process_stat", "true", NULL);
	expect(doc, "numa_nodes", "2", NULL);
	expect_detail(doc, "numa_nodes", "node 1: 3.9 GiB, no processor");
	expect_detail(doc, "numa_nodes", "distances from 0: 10 20");
	expect(doc, "transparent_hugepage", "always", NULL);
	expect(doc, "huge_page_pools", "134217728", NULL);
	expect_detail(doc, "huge_page_pools", "2 MiB on node 0: 64 pages, 0 free");
	expect(doc, "swap", "0", "no swap device");
	expect(doc, "psi", "on", NULL);
	expect(doc, "cgroup_version", "2", NULL);
	expect(doc, "cgroup_memory", "v2", NULL);
	expect(doc, "damon", "sysfs", NULL);
	expect(doc, "mglru", "on", NULL);
	expect(doc, "idle_page_tracking", NULL, "CONFIG_IDLE_PAGE_TRACKING");
	expect(doc, "idle_tracking", NULL, "cannot be seen from the host");
	expect_detail(doc, "idle_tracking", "debugfs is not mounted");
	tree_set(&tree, "sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds", "0\n");
	tree_set(&tree, "sys/kernel/debug/lru_gen", "");
	json_object_put(doc);
	doc = probe(tree.root);
	expect(doc, "idle_tracking", "damon mglru", NULL);
	expect(doc, "other_managers", NULL, "none is running");
	assert_string_equal(probe_text(doc, "second_level_paging"), "npt");
	assert_null(probe_text(doc, "numa_nodes")); /* no text */
	assert_int_equal(json_object_get_int64(probe_value(doc, "numa_nodes")), 2);
	assert_null(probe_value(doc, "no such key"));
}

static void lab_6_1(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.1");
	AUTO_JSON json_object *doc = probe(tree.root);

	expect(doc, "second_level_paging", "npt", NULL);
	expect(doc, "ksm_smart_scan", NULL, "came with Linux 6.7; this is 6.1.0-50-cloud-amd64");
	expect(doc, "ksm_advisor", NULL, "6.8");
	expect(doc, "ksm_zero_pages", "false", "6.6");
	expect(doc, "ksm_general_profit", NULL, "6.4");
	expect(doc, "ksm_process_stat", "true", "6.6");
	expect(doc, "damon", NULL, "CONFIG_DAMON_SYSFS");
	expect(doc, "mglru", "off", NULL);
	expect(doc, "huge_page_pools", "0", "the pools are empty");
}

static void shadow_paging(void **state)
{
	AUTO_TREE struct tree tree = tree_new("pvm-6.18");
	AUTO_JSON json_object *doc = probe(tree.root);

	expect(doc, "cpu_vendor", "intel", NULL);
	expect_detail(doc, "cpu_vendor", "itself a virtual machine");
	expect(doc, "kvm", "kvm_pvm", "without VT-x or AMD-V");
	expect(doc, "second_level_paging", "none", "shadow page tables");
	expect(doc, "second_level_page_sizes", NULL, "no second-level paging");
	expect(doc, "second_level_large_pages", NULL, "no second-level paging");
	expect(doc, "nested", NULL, "kvm_pvm has no such parameter");
	expect(doc, "cgroup_version", "hybrid", NULL);
	expect(doc, "cgroup_memory", "v1", "memory.reclaim");
	expect(doc, "zswap", "off", NULL);
	expect(doc, "mglru", NULL, "CONFIG_LRU_GEN");
}

/* An Intel host, as its files are documented. */
static void intel_ept(void **state)
{
	AUTO_TREE struct tree tree = tree_new("pvm-6.18");
	json_object *doc;

	tree_remove(&tree, "sys/module/kvm_pvm");
	tree_set(&tree, "proc/cpuinfo",
		 "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold\n"
		 "flags\t\t: fpu vmx pdpe1gb\n"
		 "vmx flags\t: vnmi invvpid ept_x_only ept_ad ept_1gb ept vpid pml\n\n"
		 "processor\t: 1\nvendor_id\t: Other\n");
	tree_set(&tree, "sys/module/kvm_intel/parameters/ept", "Y\n");
	tree_set(&tree, "sys/module/kvm_intel/parameters/eptad", "Y\n");
	tree_set(&tree, "sys/module/kvm_intel/parameters/pml", "N\n");
	tree_set(&tree, "sys/module/kvm_intel/parameters/nested", "1\n");
	tree_set(&tree, "sys/module/kvm/parameters/nx_huge_pages", "Y\n");
	doc = probe(tree.root);
	expect(doc, "kvm", "kvm_intel", NULL);
	expect(doc, "second_level_paging", "ept", NULL);
	expect_detail(doc, "second_level_paging", "ept_ad; ept_1gb");
	expect_detail(doc, "second_level_paging", "eptad=Y; pml=N");
	expect(doc, "second_level_page_sizes", "4K 2M 1G", NULL);
	expect(doc, "second_level_large_pages", "true", "split into 4K");
	expect(doc, "nested", "true", NULL);
	json_object_put(doc);

	tree_set(&tree, "sys/module/kvm_intel/parameters/ept", "N\n");
	doc = probe(tree.root);
	expect(doc, "second_level_paging", "none", "load it again with ept=1");
	json_object_put(doc);

	tree_set(&tree, "proc/cpuinfo",
		 "vendor_id\t: GenuineIntel\nflags\t\t: vmx\nvmx flags\t: vpid\n");
	doc = probe(tree.root);
	expect(doc, "second_level_paging", "none", "the processor has no EPT");
	json_object_put(doc);

	tree_set(&tree, "sys/module/kvm_intel/parameters/ept", "maybe\n");
	doc = probe(tree.root);
	expect(doc, "second_level_paging", "none", "not Y or N");
	json_object_put(doc);

	tree_set(&tree, "sys/module/kvm_intel/parameters/ept", "1\n");
	doc = probe(tree.root);
	expect(doc, "second_level_paging", "ept", NULL);
	expect(doc, "second_level_page_sizes", "4K 2M", NULL);
	json_object_put(doc);
}

static void no_kvm(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	json_object *doc;

	tree_remove(&tree, "sys/module/kvm_amd");
	doc = probe(tree.root);
	expect(doc, "kvm", NULL, "modprobe kvm_amd");
	expect(doc, "second_level_paging", "none", "AMD-V");
	expect(doc, "nested", NULL, "no KVM");
	json_object_put(doc);
	tree_set(&tree, "proc/cpuinfo", "vendor_id\t: CentaurHauls\nflags\t\t: fpu\n");
	doc = probe(tree.root);
	expect(doc, "cpu_vendor", "CentaurHauls", NULL);
	expect(doc, "kvm", NULL, "neither VT-x (vmx) nor AMD-V (svm)");
	json_object_put(doc);
}

static void amd_npt_off(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	json_object *doc;

	tree_set(&tree, "sys/module/kvm_amd/parameters/npt", "N\n");
	doc = probe(tree.root);
	expect(doc, "second_level_paging", "none", "load it again with npt=1");
	json_object_put(doc);
	tree_remove(&tree, "sys/devices/virtual/misc/kvm");
	doc = probe(tree.root);
	expect(doc, "kvm", "kvm_amd", "no /dev/kvm");
	json_object_put(doc);
}

static void swap_devices(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	json_object *doc;

	tree_set(&tree, "proc/swaps",
		 "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
		 "/dev/zram0                              partition\t1048572\t\t1024\t\t100\n"
		 "/swap\\040file                            file\t\t1024\t\t0\t\t-2\n"
		 "broken line\n/dev/x partition many 0 1\n");
	doc = probe(tree.root);
	expect(doc, "swap", "1074786304", NULL); /* (1048572 + 1024) KiB */
	expect_detail(doc, "swap", "/dev/zram0");
	expect_detail(doc, "swap", "1 MiB used, priority 100");
	expect_detail(doc, "swap", "priority -2");
	json_object_put(doc);
	tree_remove(&tree, "proc/swaps");
	doc = probe(tree.root);
	expect(doc, "swap", NULL, "CONFIG_SWAP");
	json_object_put(doc);
}

static void rivals(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	json_object *doc;

	tree_set(&tree, "proc/800/comm", "systemd-oomd\n");
	tree_set(&tree, "proc/800/status", "Name:\tx\nUid:\t0\t0\t0\t0\n");
	doc = probe(tree.root);
	expect(doc, "other_managers", "systemd-oomd", NULL); /* told, not fought */
	json_object_put(doc);
	tree_remove(&tree, "proc/800");
	tree_set(&tree, "proc/801/comm", "ksmtuned\n");
	tree_set(&tree, "proc/801/status", "Name:\tx\nUid:\t0\t0\t0\t0\n");
	tree_set(&tree, "proc/802/comm", "ksmtuned\n");
	tree_set(&tree, "proc/802/status", "Name:\tx\nUid:\t0\t0\t0\t0\n");
	doc = probe(tree.root);
	expect(doc, "other_managers", "ksmtuned", "stop one of the two"); /* once */
	expect_detail(doc, "other_managers", "systemctl disable --now ksmtuned");
	expect(doc, "ksm", "running", "ksmtuned");
	json_object_put(doc);
}

static void ruins(void **state)
{
	static const char *const files[] = {"proc/cpuinfo",
					    "proc/swaps",
					    "proc/vmstat",
					    "proc/meminfo",
					    "proc/pressure/memory",
					    "proc/self/mountinfo",
					    "proc/self/ksm_stat",
					    "proc/sys/kernel/osrelease",
					    "proc/sys/kernel/numa_balancing",
					    "sys/kernel/mm/ksm/run",
					    "sys/kernel/mm/ksm/smart_scan",
					    "sys/kernel/mm/ksm/advisor_mode",
					    "sys/kernel/mm/ksm/general_profit",
					    "sys/kernel/mm/lru_gen/enabled",
					    "sys/kernel/mm/transparent_hugepage/enabled",
					    "sys/kernel/mm/transparent_hugepage/hpage_pmd_size",
					    "sys/devices/system/node/online",
					    "sys/devices/system/node/node0/meminfo",
					    "sys/devices/system/node/node1/distance",
					    "sys/module/kvm_amd/parameters/npt",
					    "sys/module/kvm/parameters/tdp_mmu",
					    "sys/fs/cgroup/cgroup.controllers"};
	char lengthy[20000];
	json_object *doc;

	memset(lengthy, '9', sizeof(lengthy));
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		AUTO_TREE struct tree tree = tree_new("npt-6.12");

		tree_set_bytes(&tree, files[i], lengthy, sizeof(lengthy));
		json_object_put(probe(tree.root));
		tree_set(&tree, files[i], "\xff[\x01\n[[[]]] - - : -5 kB\n");
		json_object_put(probe(tree.root));
		tree_set(&tree, files[i], "-1\n");
		json_object_put(probe(tree.root));
		tree_set_bytes(&tree, files[i], "\0\0\0", 3);
		json_object_put(probe(tree.root));
		tree_set(&tree, files[i], "");
		json_object_put(probe(tree.root));
		tree_remove(&tree, files[i]);
		json_object_put(probe(tree.root));
	}
	{
		AUTO_TREE struct tree tree = tree_new(NULL); /* nothing at all */

		doc = probe(tree.root);
		expect(doc, "kernel", NULL, "cannot be read");
		expect(doc, "cpu_vendor", NULL, "cannot be read");
		expect(doc, "second_level_paging", "none", "");
		expect(doc, "ksm", NULL, "no KSM");
		expect(doc, "numa_nodes", NULL, "");
		expect(doc, "cgroup_version", NULL, "");
		json_object_put(doc);
	}
	assert_int_equal(probe_run("/nonexistent/root", &doc), -ENOENT);
}

static void the_machine_itself(void **state)
{
	AUTO_JSON json_object *doc = probe("/");

	assert_non_null(probe_text(doc, "kernel"));
	assert_non_null(probe_text(doc, "second_level_paging"));
}

/* ---- cgroups ---- */

static struct memcg memcg(const struct tree *tree)
{
	AUTO_FD int rootfd = tree_rootfd(tree);
	struct memcg m;

	assert_int_equal(memcg_read(rootfd, &m), 0);
	return m;
}

static void cgroup_versions(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	struct memcg m = memcg(&tree);

	assert_int_equal(m.version, MEMCG_V2);
	assert_true(m.memory && m.memory_v2 && m.reclaim);
	assert_string_equal(m.where, "sys/fs/cgroup");

	tree_set(&tree, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n");
	m = memcg(&tree);
	assert_int_equal(m.version, MEMCG_V2);
	assert_false(m.memory);
	assert_contains(m.reason, "cgroup_disable=memory");

	/* a copy in a chroot comes first; the one below /sys is meant */
	tree_set(&tree, "proc/self/mountinfo",
		 "40 1 0:34 / /srv/root/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		 "41 1 0:34 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n"
		 "42 1 0:35 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
		 "43 1 0:36 / /with\\040space rw - cgroup cgroup rw,memory\n"
		 "44 1 0:37 / broken\n - \n");
	m = memcg(&tree);
	assert_int_equal(m.version, MEMCG_V1);
	assert_true(m.memory);
	assert_false(m.memory_v2);
	assert_string_equal(m.where, "sys/fs/cgroup/memory");

	/* "memory_recursiveprot" is an option of cgroup2, not a controller */
	tree_set(&tree, "proc/self/mountinfo",
		 "42 1 0:35 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu,memory_x\n");
	m = memcg(&tree);
	assert_false(m.memory);
	tree_set(&tree, "proc/self/mountinfo", "");
	m = memcg(&tree);
	assert_int_equal(m.version, MEMCG_NONE);
	assert_contains(m.reason, "no cgroup file system");
}

static void cgroup_of_a_process(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct memcg m = memcg(&tree);
	char where[64];

	assert_int_equal(memcg_of(rootfd, &m, 217, where, sizeof(where)), 0);
	assert_string_equal(where, "sys/fs/cgroup");
	assert_int_equal(memcg_of(rootfd, &m, 4242, where, sizeof(where)), -ESRCH);
	tree_set(&tree, "proc/217/cgroup", "4:memory:/v1\n0::/machine.slice/a.scope\n");
	assert_int_equal(memcg_of(rootfd, &m, 217, where, sizeof(where)), 0);
	assert_string_equal(where, "sys/fs/cgroup/machine.slice/a.scope");
	assert_int_equal(memcg_of(rootfd, &m, 217, where, 20), -E2BIG);
	m.memory_v2 = false;
	snprintf(m.where, sizeof(m.where), "sys/fs/cgroup/memory");
	assert_int_equal(memcg_of(rootfd, &m, 217, where, sizeof(where)), 0);
	assert_string_equal(where, "sys/fs/cgroup/memory/v1");
	tree_set(&tree, "proc/217/cgroup", "garbage\n5:cpu\n");
	assert_int_equal(memcg_of(rootfd, &m, 217, where, sizeof(where)), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lab_6_12),	   cmocka_unit_test(lab_6_1),
		cmocka_unit_test(shadow_paging),   cmocka_unit_test(intel_ept),
		cmocka_unit_test(no_kvm),	   cmocka_unit_test(amd_npt_off),
		cmocka_unit_test(swap_devices),	   cmocka_unit_test(rivals),
		cmocka_unit_test(ruins),	   cmocka_unit_test(the_machine_itself),
		cmocka_unit_test(cgroup_versions), cmocka_unit_test(cgroup_of_a_process),
	};

	return cmocka_run_group_tests_name("memd_probe", tests, NULL, NULL);
}
