// SPDX-License-Identifier: Apache-2.0
/* Cgroups of both versions on trees: where the controllers are, files by meaning, owners, cpusets.
 */
#include "tests/unit/tree.h"

#include "common/size.h"
#include "memd/cgroup_cpuset.h"
#include "memd/cgroup_file.h"
#include "memd/cgroup_owner.h"
#include "memd/host.h"
#include "memd/pin.h"

#define V1 "sys/fs/cgroup/memory"
#define CS "sys/fs/cgroup/cpuset"
#define V2 "sys/fs/cgroup"

static const char v1_mounts[] =
	"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
	"34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
	"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
	"40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
	"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
static const char v2_mounts[] = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";

static struct {
	struct tree tree;
	int rootfd;
	struct memcg memcg;
	struct nodes_cpus cpus;
} w;

static void open_tree(const char *mounts)
{
	w.tree = tree_new(NULL);
	w.rootfd = tree_rootfd(&w.tree);
	tree_set(&w.tree, "proc/self/mountinfo", mounts);
	tree_set(&w.tree, "sys/devices/system/cpu/online", "0-3\n");
	tree_set(&w.tree, "sys/devices/system/node/online", "0-2\n");
	tree_set(&w.tree, "sys/devices/system/node/has_memory", "0-2\n");
	tree_set(&w.tree, "sys/devices/system/node/node0/cpulist", "0-1\n");
	tree_set(&w.tree, "sys/devices/system/node/node1/cpulist", "2-3\n");
	tree_set(&w.tree, "sys/devices/system/node/node2/cpulist", "\n");
	assert_int_equal(nodes_cpus_read(w.rootfd, &w.cpus), 0);
}

static int open_v1(void **state)
{
	(void)state;
	open_tree(v1_mounts);
	tree_set(&w.tree, V2 "/unified/cgroup.controllers", "\n");
	tree_set(&w.tree, "proc/7/cgroup",
		 "9:name=systemd:/\n4:memory:/shop/a\n3:cpuset:/\n0::/\n");
	return memcg_read(w.rootfd, &w.memcg);
}

static int open_v2(void **state)
{
	(void)state;
	open_tree(v2_mounts);
	tree_set(&w.tree, V2 "/cgroup.controllers", "cpuset cpu memory\n");
	tree_set(&w.tree, "proc/7/cgroup", "0::/shop/a\n");
	return memcg_read(w.rootfd, &w.memcg);
}

static int shut(void **state)
{
	(void)state;
	close(w.rootfd);
	tree_free(&w.tree);
	return 0;
}

static void assert_path(enum memcg_controller controller, const char *wanted)
{
	char path[MEMCG_PATH_MAX];

	assert_int_equal(memcg_path(w.rootfd, &w.memcg, controller, 7, path, sizeof(path)), 0);
	assert_string_equal(path, wanted);
}

static void test_v1_controllers(void **state)
{
	assert_int_equal(w.memcg.version, MEMCG_HYBRID);
	assert_true(w.memcg.memory && !w.memcg.memory_v2);
	assert_true(w.memcg.cpuset && !w.memcg.cpuset_v2);
	assert_string_equal(memcg_where(&w.memcg, MEMCG_CPUSET), CS);
	assert_path(MEMCG_MEMORY, V1 "/shop/a");
	assert_path(MEMCG_CPUSET, CS);
}

static void test_v2_controllers(void **state)
{
	char path[MEMCG_PATH_MAX];

	assert_int_equal(w.memcg.version, MEMCG_V2);
	assert_true(w.memcg.memory_v2 && w.memcg.cpuset_v2);
	assert_path(MEMCG_MEMORY, V2 "/shop/a");
	assert_path(MEMCG_CPUSET, V2 "/shop/a");
	tree_set(&w.tree, V2 "/cgroup.controllers", "cpu memory\n");
	assert_int_equal(memcg_read(w.rootfd, &w.memcg), 0);
	assert_false(w.memcg.cpuset);
	assert_int_equal(memcg_path(w.rootfd, &w.memcg, MEMCG_CPUSET, 7, path, sizeof(path)),
			 -ENOENT);
}

static void test_files(void **state)
{
	char text[64];

	assert_string_equal(memcg_file_name(MEMCG_CURRENT, true), "memory.current");
	assert_string_equal(memcg_file_name(MEMCG_CURRENT, false), "memory.usage_in_bytes");
	/* v1 has no floor: its soft limit is none. */
	assert_null(memcg_file_name(MEMCG_LOW, false));
	assert_null(memcg_file_name(MEMCG_MIGRATE, true));
	for (enum memcg_file file = 0; file < MEMCG_FILES; file++)
		assert_true(memcg_file_name(file, true) || memcg_file_name(file, false));
	tree_set(&w.tree, V2 "/shop/a/memory.low", "4096\n");
	assert_true(memcg_file_exists(w.rootfd, MEMCG_LOW, true, V2 "/shop/a"));
	assert_false(memcg_file_exists(w.rootfd, MEMCG_LOW, false, V2 "/shop/a"));
	assert_int_equal(
		memcg_file_read(w.rootfd, MEMCG_LOW, false, V2 "/shop/a", text, sizeof(text)),
		-ENOENT);
	assert_int_equal(memcg_file_write(w.rootfd, MEMCG_LOW, true, V2 "/shop/a", "8192"), 0);
	assert_int_equal(
		memcg_file_read(w.rootfd, MEMCG_LOW, true, V2 "/shop/a", text, sizeof(text)), 4);
	assert_string_equal(text, "8192");
	assert_int_equal(memcg_file_path(MEMCG_LOW, true, V2 "/shop/a", text, 20), -E2BIG);
}

static void assert_limit(const char *text, uint64_t bytes)
{
	uint64_t value = 1;

	assert_int_equal(memcg_limit_parse(text, &value), 0);
	assert_int_equal(value, bytes);
}

static void test_limits(void **state)
{
	uint64_t value;
	char text[32];

	assert_limit("max\n", POL_ABSENT);
	assert_limit("9223372036854771712\n", POL_ABSENT);
	assert_limit("9223372036854710272\n", POL_ABSENT); /* pages of 64 KiB */
	assert_limit("0\n", 0);
	assert_limit("104857600", 100 * MIB);
	assert_int_equal(memcg_limit_parse("maximum\n", &value), -EINVAL);
	assert_int_equal(memcg_limit_parse("-1\n", &value), -EINVAL);
	assert_int_equal(memcg_limit_parse("", &value), -EINVAL);
	assert_string_equal(memcg_limit_format(POL_ABSENT, true, text, sizeof(text)), "max");
	assert_string_equal(memcg_limit_format(POL_ABSENT, false, text, sizeof(text)), "-1");
	assert_string_equal(memcg_limit_format(host_page_bytes() + 1, true, text, sizeof(text)),
			    "4096");
}

static void test_statistics(void **state)
{
	static const char v1_stat[] = "workingset_refault_anon 1\nswap 0\n"
				      "total_workingset_refault_anon 7\n";
	static const char v2_stat[] = "anon 1\nworkingset_refault_anon 5\n";

	assert_int_equal(memcg_stat_refaults(v1_stat, false), 7 * host_page_bytes());
	assert_int_equal(memcg_stat_refaults(v2_stat, true), 5 * host_page_bytes());
	assert_int_equal(memcg_stat_refaults("pswpin 2\nworkingset_refault_anon 5\n", true),
			 2 * host_page_bytes());
	assert_int_equal(memcg_stat_refaults("anon 1\n", true), POL_ABSENT);
	assert_int_equal(memcg_stat_refaults("pswpin 18446744073709551615\n", true), POL_ABSENT);
}

static void test_memory_by_node(void **state)
{
	static const char v1_text[] = "total=279 N0=200 N1=79\nfile=4 N0=4 N1=0\n"
				      "hierarchical_total=300 N0=200 N1=100\n"
				      "hierarchical_file=4 N0=4 N1=0\n";
	static const char v2_text[] =
		"anon N0=1000 N1=20\nfile N0=500 N1=0\nfile_mapped N0=9 N1=9\n"
		"anon_thp N0=7 N1=7\nslab_reclaimable N0=0 N1=3 N99=5\n";
	uint64_t bytes[POL_NODES_MAX] = {77};

	assert_int_equal(memcg_nodes_parse(v1_text, false, bytes), 0);
	assert_int_equal(bytes[0], 200 * host_page_bytes());
	assert_int_equal(bytes[1], 100 * host_page_bytes());
	assert_int_equal(memcg_nodes_parse(v2_text, true, bytes), 0);
	assert_int_equal(bytes[0], 1500);
	assert_int_equal(bytes[1], 23);
	assert_int_equal(bytes[2], 0);
	assert_int_equal(memcg_nodes_parse("", true, bytes), -EINVAL);
	assert_int_equal(memcg_nodes_parse("total=1 N0=1\n", true, bytes), -EINVAL);
	assert_int_equal(memcg_nodes_parse("anon N0\n", true, bytes), -EINVAL);
	assert_int_equal(memcg_nodes_parse("anon x=1\n", true, bytes), -EINVAL);
	assert_int_equal(memcg_nodes_parse("anon N0=18446744073709551615\n", true, bytes), -EINVAL);
	assert_int_equal(bytes[0], 1500); /* untouched by failures */
}

static void assert_owner(const char *lines, enum memcg_owner owner, const char *wanted)
{
	enum memcg_owner found;
	char who[64], text[128];

	tree_set(&w.tree, "proc/8/cgroup", lines);
	assert_int_equal(memcg_owner_of(w.rootfd, 8, &found, who, sizeof(who)), 0);
	assert_int_equal(found, owner);
	assert_string_equal(memcg_owner_text(found, who, text, sizeof(text)), wanted);
}

static void test_owners(void **state)
{
	enum memcg_owner found;
	char who[64];

	assert_owner("0::/\n", MEMCG_NOBODY, "");
	assert_owner("0::/shop/memd-web1-42\n", MEMCG_NOBODY, "");
	assert_owner("0::/system.slice/vmm@web.service\n", MEMCG_SYSTEMD,
		     "systemd's unit vmm@web.service");
	assert_owner("0::/user.slice/user-0.slice/session-3.scope\n", MEMCG_SYSTEMD,
		     "systemd's unit session-3.scope");
	/* Delegated to somebody, who has made more below: still of that unit. */
	assert_owner("0::/system.slice/ci.service/runner/7\n", MEMCG_SYSTEMD,
		     "systemd's unit ci.service");
	assert_owner("0::/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/emulator\n",
		     MEMCG_LIBVIRT, "libvirt's machine-qemu\\x2d1\\x2dweb.scope");
	assert_owner("4:memory:/machine/qemu-1-web.libvirt-qemu\n0::/\n", MEMCG_LIBVIRT,
		     "libvirt's qemu-1-web.libvirt-qemu");
	assert_owner("4:memory:/docker/0123\n0::/\n", MEMCG_CONTAINER,
		     "a container manager's docker");
	assert_owner("0::/kubepods/besteffort/pod1/2\n", MEMCG_CONTAINER,
		     "a container manager's kubepods");
	/* v1: systemd has told the kernel nothing but its own hierarchy, and yet it is a unit. */
	assert_owner("9:name=systemd:/system.slice/sshd.service\n4:memory:/\n3:cpuset:/\n",
		     MEMCG_SYSTEMD, "systemd's unit sshd.service");
	assert_owner("garbage\n\n::\n", MEMCG_NOBODY, "");
	assert_int_equal(memcg_owner_of(w.rootfd, 9999, &found, who, sizeof(who)), -ESRCH);
}

/* ---- cpusets ---- */

static void set_root_cpuset(const char *dir, bool v2)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, memcg_file_name(MEMCG_CPUS_NOW, v2));
	tree_set(&w.tree, path, "0-3\n");
	snprintf(path, sizeof(path), "%s/%s", dir, memcg_file_name(MEMCG_MEMS_NOW, v2));
	tree_set(&w.tree, path, "0-2\n");
}

static void assert_lacks(uint64_t node, const char *wanted)
{
	char buf[200];
	const char *text =
		memcg_cpuset_lacks(w.rootfd, &w.memcg, 7, &w.cpus, node, buf, sizeof(buf));

	if (!wanted)
		assert_null(text);
	else
		assert_string_equal(text, wanted);
}

static void test_v1_cpuset_lacks(void **state)
{
	assert_lacks(1, NULL); /* nothing is known */
	set_root_cpuset(CS, false);
	assert_lacks(0, NULL);
	assert_lacks(POL_ABSENT, NULL);
	tree_set(&w.tree, "proc/7/cgroup", "4:memory:/\n3:cpuset:/vms/a\n");
	tree_set(&w.tree, CS "/vms/a/cpuset.effective_cpus", "0-1\n");
	tree_set(&w.tree, CS "/vms/a/cpuset.effective_mems", "0\n");
	assert_lacks(0, NULL);
	assert_lacks(1, "stands aside: cpuset /vms/a has no node 1");
	assert_lacks(7, "stands aside: cpuset /vms/a has no node 7");
	assert_lacks(POL_ABSENT, "stands aside: cpuset /vms/a has no node 1");
	tree_set(&w.tree, CS "/vms/a/cpuset.effective_mems", "0-2\n");
	assert_lacks(POL_ABSENT, "stands aside: cpuset /vms/a has no processor of node 1");
	assert_lacks(2, NULL); /* which has none */
	tree_set(&w.tree, CS "/vms/a/cpuset.effective_mems", "many\n");
	assert_lacks(1, NULL);
}

/* Placement asks before it touches a thread. */
static void test_pin_stands_aside(void **state)
{
	struct config config = {0};
	struct guests all = {.rootfd = w.rootfd, .config = &config, .memcg = w.memcg};
	struct guest guest = {.all = &all, .pid = 7, .name = "web"};
	char why[128];

	set_root_cpuset(CS, false);
	tree_set(&w.tree, "proc/7/cgroup", "4:memory:/\n3:cpuset:/vms/a\n");
	tree_set(&w.tree, CS "/vms/a/cpuset.effective_cpus", "0-1\n");
	tree_set(&w.tree, CS "/vms/a/cpuset.effective_mems", "0\n");
	assert_int_equal(pin_guest(w.rootfd, &guest, &w.cpus, 1, "", why, sizeof(why)), -ENXIO);
	assert_string_equal(why, "stands aside: cpuset /vms/a has no node 1");
	assert_null(guest.cpus.pin);
	/* Within it, what stops it here is that the process is of paper. */
	assert_int_equal(pin_guest(w.rootfd, &guest, &w.cpus, 0, "", why, sizeof(why)), -ENOENT);
	assert_string_equal(why, "");
	assert_int_equal(pin_guest(w.rootfd, &guest, &w.cpus, 2, "", why, sizeof(why)), -ENODEV);
}

/* A cgroup without the controller has its parent's. */
static void test_v2_cpuset_lacks(void **state)
{
	json_object *json;

	set_root_cpuset(V2, true);
	tree_set(&w.tree, V2 "/shop/cpuset.cpus.effective", "2-3\n");
	tree_set(&w.tree, V2 "/shop/cpuset.mems.effective", "1\n");
	assert_lacks(0, "stands aside: cpuset /shop has no node 0");
	assert_lacks(1, NULL);
	json = memcg_cpuset_json(w.rootfd, &w.memcg, 7);
	assert_string_equal(
		json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN),
		"{\"path\":\"sys\\/fs\\/cgroup\\/shop\",\"cpus\":\"2-3\",\"mems\":\"1\"}");
	json_object_put(json);
}

static void assert_file(const char *path, const char *text)
{
	char buf[64];

	assert_string_equal(tree_get(&w.tree, path, buf, sizeof(buf)), text);
}

static void make_cpuset(const char *dir, bool v2, const char *mems_now)
{
	static const enum memcg_file files[] = {MEMCG_CPUS, MEMCG_MEMS, MEMCG_MIGRATE};
	char path[200];

	for (size_t i = 0; i < 3; i++) {
		if (!memcg_file_name(files[i], v2))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, memcg_file_name(files[i], v2));
		tree_set(&w.tree, path, "");
	}
	/* What the kernel would make of it. */
	snprintf(path, sizeof(path), "%s/%s", dir, memcg_file_name(MEMCG_MEMS_NOW, v2));
	tree_set(&w.tree, path, mems_now);
}

static void test_v1_cpuset_is_set(void **state)
{
	const uint64_t node1[NODES_WORDS] = {2}, node2[NODES_WORDS] = {4}, both[NODES_WORDS] = {3},
		       none[NODES_WORDS] = {8};

	set_root_cpuset(CS, false);
	make_cpuset(CS "/memd-a", false, "1\n");
	assert_int_equal(memcg_cpuset_set(w.rootfd, false, CS "/memd-a", &w.cpus, node1), 0);
	assert_file(CS "/memd-a/cpuset.mems", "1");
	assert_file(CS "/memd-a/cpuset.cpus", "2-3");
	assert_file(CS "/memd-a/cpuset.memory_migrate", "1");
	/* A node without processors: those of the parent, which v1 wants to be told. */
	make_cpuset(CS "/memd-b", false, "2\n");
	assert_int_equal(memcg_cpuset_set(w.rootfd, false, CS "/memd-b", &w.cpus, node2), 0);
	assert_file(CS "/memd-b/cpuset.cpus", "0-3");
	/* All as the parent has it. */
	assert_int_equal(memcg_cpuset_set(w.rootfd, false, CS "/memd-b", &w.cpus, NULL), 0);
	assert_file(CS "/memd-b/cpuset.mems", "0-2");
	assert_int_equal(memcg_cpuset_set(w.rootfd, false, CS "/memd-b", &w.cpus, none), -ENXIO);
	/* The kernel has given it others. */
	assert_int_equal(memcg_cpuset_set(w.rootfd, false, CS "/memd-b", &w.cpus, both), -ERANGE);
}

static void test_v2_cpuset_is_set(void **state)
{
	const uint64_t node0[NODES_WORDS] = {1};

	set_root_cpuset(V2, true);
	make_cpuset(V2 "/memd-a", true, "0\n");
	assert_int_equal(memcg_cpuset_set(w.rootfd, true, V2 "/memd-a", &w.cpus, node0), 0);
	assert_file(V2 "/memd-a/cpuset.mems", "0");
	assert_file(V2 "/memd-a/cpuset.cpus", "0-1");
}

int main(void)
{
#define ON_V1(test) cmocka_unit_test_setup_teardown(test, open_v1, shut)
#define ON_V2(test) cmocka_unit_test_setup_teardown(test, open_v2, shut)
	const struct CMUnitTest tests[] = {
		ON_V1(test_v1_controllers),
		ON_V2(test_v2_controllers),
		ON_V2(test_files),
		ON_V1(test_limits),
		ON_V1(test_statistics),
		ON_V1(test_memory_by_node),
		ON_V1(test_owners),
		ON_V1(test_v1_cpuset_lacks),
		ON_V1(test_pin_stands_aside),
		ON_V2(test_v2_cpuset_lacks),
		ON_V1(test_v1_cpuset_is_set),
		ON_V2(test_v2_cpuset_is_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
