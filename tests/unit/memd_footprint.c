// SPDX-License-Identifier: Apache-2.0
/* Processes captured in the lab (QEMU with each kind of memory), broken ones, and live ones. */
#include "tests/unit/tree.h"

#include <sys/mman.h>

#include "common/cleanup.h"
#include "common/size.h"
#include "memd/footprint.h"
#include "tests/unit/child.h"

#define KVM_PRIVATE 217 /* -accel kvm, memory-backend-ram */
#define KVM_SHARED  218 /* memory-backend-memfd share=on */
#define KVM_HUGETLB 219 /* hugetlb=on */
#define TCG_PRIVATE 220 /* -accel tcg, a code buffer of 1 GiB beside the RAM */
#define STAT_BEGIN  "(x) S 1 1 1 0 -1 0 0 0 0 0 "

static struct footprint full(int rootfd, pid_t pid)
{
	struct footprint f;

	assert_int_equal(footprint_full(rootfd, pid, &f), 0);
	assert_true(f.full);
	return f;
}

static void quick_numbers(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct footprint f;

	assert_int_equal(footprint_quick(rootfd, KVM_HUGETLB, &f), 0);
	assert_int_equal(f.starttime, 985);
	assert_int_equal(f.cpu_us, (68 + 145) * (1000000 / sysconf(_SC_CLK_TCK)));
	assert_int_equal(f.hugetlb_bytes, 131072 * KIB);
	assert_int_equal(f.resident_bytes, (49500 + 131072) * KIB);
	assert_int_equal(f.swapped_bytes, 0);
	assert_int_equal(f.shared_bytes, 0);
	assert_int_equal(f.anon_bytes, 26656 * KIB);
	assert_int_equal(f.locked_bytes, 0);
	assert_int_equal(f.major_faults, 60);
	assert_int_equal(f.ksm_merging_bytes, 28 * 4096);
	assert_int_equal(f.ksm_zero_bytes, 22 * 4096);
	assert_int_equal(f.ksm_rmap_bytes, 28 * 64);
	assert_false(f.full);
	assert_false(pol_has(f.anon_huge_bytes));
	assert_false(pol_has(f.mergeable_bytes));
	assert_false(pol_has(f.node_bytes[0]));
	assert_int_equal(footprint_quick(rootfd, KVM_SHARED, &f), 0);
	assert_int_equal(f.shared_bytes, 262144 * KIB);
}

/* What pressure moves is read again; faults only while they tell something. */
static void again(void **state)
{
	static const char status[] = "Name:\tx\nState:\tS (sleeping)\nVmLck:\t4 kB\n"
				     "VmRSS:\t700 kB\nRssAnon:\t600 kB\nRssShmem:\t50 kB\n"
				     "VmSwap:\t%s kB\nHugetlbPages:\t0 kB\n";
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct footprint f, before;
	char text[256];

	assert_int_equal(footprint_quick(rootfd, KVM_HUGETLB, &f), 0);
	before = f;
	tree_set(&tree, "proc/219/ksm_stat", "ksm_merging_pages 1000\n");
	tree_set(&tree, "proc/219/stat",
		 "7 (x) S 1 1 1 0 -1 0 0 0 90 0 2000 0 0 0 20 0 1 0 985 0 0\n");
	snprintf(text, sizeof(text), status, "0");
	tree_set(&tree, "proc/219/status", text);
	assert_int_equal(footprint_again(rootfd, KVM_HUGETLB, &f), 0);
	assert_int_equal(f.resident_bytes, 700 * KIB);
	assert_int_equal(f.anon_bytes, 600 * KIB);
	assert_int_equal(f.shared_bytes, 50 * KIB);
	assert_int_equal(f.locked_bytes, 4 * KIB);
	assert_int_equal(f.hugetlb_bytes, 0);
	assert_int_equal(f.major_faults, before.major_faults);
	assert_int_equal(f.cpu_us, before.cpu_us);
	assert_int_equal(f.ksm_merging_bytes, before.ksm_merging_bytes);
	assert_int_equal(f.starttime, 985);
	snprintf(text, sizeof(text), status, "8");
	tree_set(&tree, "proc/219/status", text);
	assert_int_equal(footprint_again(rootfd, KVM_HUGETLB, &f), 0);
	assert_int_equal(f.swapped_bytes, 8 * KIB);
	assert_int_equal(f.major_faults, 90);
	/* The last of it has come back: by faults. */
	tree_set(&tree, "proc/219/stat",
		 "7 (x) S 1 1 1 0 -1 0 0 0 95 0 2000 0 0 0 20 0 1 0 985 0 0\n");
	snprintf(text, sizeof(text), status, "0");
	tree_set(&tree, "proc/219/status", text);
	assert_int_equal(footprint_again(rootfd, KVM_HUGETLB, &f), 0);
	assert_int_equal(f.swapped_bytes, 0);
	assert_int_equal(f.major_faults, 95);
	before = f;
	tree_set(&tree, "proc/219/status", "Name:\tx\nState:\tZ (zombie)\n");
	assert_int_equal(footprint_again(rootfd, KVM_HUGETLB, &f), -ESRCH);
	assert_int_equal(footprint_again(rootfd, 999999, &f), -ESRCH);
	assert_memory_equal(&f, &before, sizeof(f));
}

static void private_memory(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct footprint f = full(rootfd, KVM_PRIVATE);

	assert_int_equal(f.mergeable_bytes, 264192 * KIB);
	assert_int_equal(f.anon_huge_bytes, 10240 * KIB);
	assert_true(f.mergeable);
	assert_string_equal(f.mergeable_reason, "");
	tree_set(&tree, "sys/kernel/mm/ksm/run", "0\n");
	f = full(rootfd, KVM_PRIVATE);
	assert_true(f.mergeable); /* it could, should KSM run */
	assert_contains(f.mergeable_reason, "run is 0");
	tree_remove(&tree, "sys/kernel/mm/ksm");
	f = full(rootfd, KVM_PRIVATE);
	assert_false(f.mergeable);
	assert_contains(f.mergeable_reason, "no KSM");
}

static void shared_memory(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct footprint f = full(rootfd, KVM_SHARED);

	assert_int_equal(f.mergeable_bytes, 2048 * KIB); /* QEMU's own odds and ends */
	assert_int_equal(f.ram_bytes, (262144 + 2048) * KIB);
	assert_false(f.mergeable);
	assert_contains(f.mergeable_reason, "256 MiB is shared memory");
}

/* Marked mergeable, and yet KSM cannot: told from what the process has open. */
static void pinned_memory(void **state)
{
	static const char *const opened[][2] = {
		{"/dev/vfio/12", "VFIO"},
		{"/dev/vfio/devices/vfio0", "VFIO"},
		{"/dev/vhost-vdpa-0", "vDPA"},
		{"/dev/sev", "encrypted"},
		{"anon_inode:[kvm-gmem]", "guest_memfd"},
	};
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct footprint f;

	for (size_t i = 0; i < ARRAY_SIZE(opened); i++) {
		tree_shell("ln -sfn '%s' %s/proc/%d/fd/99", opened[i][0], tree.root, KVM_PRIVATE);
		f = full(rootfd, KVM_PRIVATE);
		assert_false(f.mergeable);
		assert_contains(f.mergeable_reason, opened[i][1]);
		assert_contains(f.mergeable_reason, "which KSM never merges");
	}
	/* a container without a device; and shared memory stays the first reason */
	tree_shell("ln -sfn /dev/vfio/vfio %s/proc/%d/fd/99", tree.root, KVM_PRIVATE);
	f = full(rootfd, KVM_PRIVATE);
	assert_true(f.mergeable);
	assert_string_equal(f.mergeable_reason, "");
	tree_shell("ln -sfn /dev/vfio/12 %s/proc/%d/fd/99", tree.root, KVM_SHARED);
	f = full(rootfd, KVM_SHARED);
	assert_contains(f.mergeable_reason, "shared memory");
}

static void hugetlb_memory(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct footprint f = full(rootfd, KVM_HUGETLB);

	assert_false(f.mergeable);
	assert_contains(f.mergeable_reason, "128 MiB is hugetlb");
	/* 64 huge pages count in full on their node */
	assert_true(f.node_bytes[0] > 131072 * KIB && f.node_bytes[0] < f.resident_bytes);
	assert_int_equal(f.node_bytes[1], 0);
	assert_int_equal(f.node_bytes[POL_NODES_MAX - 1], 0);
}

/* The code buffer is neither guest memory nor a reason. */
static void tcg_memory(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct footprint f = full(rootfd, TCG_PRIVATE);

	assert_int_equal(f.mergeable_bytes, 264192 * KIB);
	assert_true(f.ram_bytes < 512 * MIB);
	assert_true(f.mergeable);
	assert_string_equal(f.mergeable_reason, "");
	assert_int_equal(footprint_is_kvm(rootfd, TCG_PRIVATE), 0);
	assert_int_equal(footprint_is_kvm(rootfd, KVM_PRIVATE), 1);
	assert_int_equal(footprint_is_kvm(rootfd, 4242), -ESRCH);
}

static void old_kernel(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.1");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct footprint f = full(rootfd, 177);

	/* ksm_stat has the rmap items only; the merging pages have a file of their own */
	assert_int_equal(f.ksm_rmap_bytes, 66097 * 64);
	assert_int_equal(f.ksm_merging_bytes, 66069ULL * 4096);
	assert_false(pol_has(f.ksm_zero_bytes));
	/* merged pages stay resident, and on the node they were bound to */
	assert_int_equal(f.resident_bytes, 309876 * KIB);
	assert_int_equal(f.node_bytes[1], 268431360);
	assert_int_equal(f.node_bytes[0], 41476096);
	assert_string_equal(f.mergeable_reason, "");

	f = full(rootfd, 178); /* mem-merge=off */
	assert_int_equal(f.mergeable_bytes, 0);
	assert_false(f.mergeable);
	assert_contains(f.mergeable_reason, "not marked mergeable");
}

static void gone_or_going(void **state)
{
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	struct footprint f = {.resident_bytes = 42};

	assert_int_equal(footprint_quick(rootfd, 4242, &f), -ESRCH);
	assert_int_equal(footprint_full(rootfd, 4242, &f), -ESRCH);
	tree_set(&tree, "proc/4242/stat",
		 "4242 (x) Z 1 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 9 0 0\n");
	assert_int_equal(footprint_quick(rootfd, 4242, &f), -ESRCH);
	/* exiting: the memory is gone, the process not yet */
	tree_set(&tree, "proc/4242/stat",
		 "4242 (x) S 1 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 9 0 0\n");
	tree_set(&tree, "proc/4242/status", "Name:\tx\nState:\tS (sleeping)\nThreads:\t1\n");
	assert_int_equal(footprint_quick(rootfd, 4242, &f), -ESRCH);
	/* it went between status and smaps, or exits now */
	tree_set(&tree, "proc/4242/status", "Name:\tx\nState:\tS (sleeping)\nVmRSS:\t7 kB\n");
	assert_int_equal(footprint_full(rootfd, 4242, &f), -ESRCH);
	tree_set(&tree, "proc/4242/smaps", "");
	assert_int_equal(footprint_full(rootfd, 4242, &f), -ESRCH);
	assert_int_equal(f.resident_bytes, 42);
	assert_int_equal(footprint_quick(rootfd, 4242, &f), 0);
	assert_int_equal(f.resident_bytes, 7 * KIB);
	assert_false(pol_has(f.swapped_bytes));
	assert_false(pol_has(f.ksm_merging_bytes));
}

/* A process chooses its own name. */
static void odd_names(void **state)
{
	static const char *const comms[] = {"a b", ")", "(((", "a) Z 1 1 1", ") R (", "x\n) Z 1"};

	for (size_t i = 0; i < ARRAY_SIZE(comms); i++) {
		AUTO_TREE struct tree tree = tree_new(NULL);
		AUTO_FD int rootfd = tree_rootfd(&tree);
		struct footprint f;
		char stat[256];

		snprintf(stat, sizeof(stat),
			 "7 (%s) S 1 1 1 0 -1 0 0 0 0 0 3 4 0 0 20 0 1 0 99 0 0\n", comms[i]);
		tree_set(&tree, "proc/7/stat", stat);
		tree_set(&tree, "proc/7/status", "Name:\tx\nState:\tS\nVmRSS:\t7 kB\n");
		assert_int_equal(footprint_quick(rootfd, 7, &f), 0);
		assert_int_equal(f.starttime, 99);
		assert_int_equal(f.cpu_us, 7 * (1000000 / sysconf(_SC_CLK_TCK)));
	}
}

static void garbage(void **state)
{
	static const char *const stats[] = {"",
					    "7",
					    "7 (x",
					    "7 (x)",
					    "7 (x) S",
					    "7 " STAT_BEGIN "x y",
					    "7 " STAT_BEGIN "1 2 0 0 20 0 1 0"};
	static const char *const statuses[] = {"", "VmRSS", "Name:\tx\nState:\tS\nVmRSS:\tmuch\n",
					       "Name:\tx\nState:\tS\nVmRSS:\t-4 kB\n"};
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);
	char smaps[200 * 1024];
	struct footprint f;

	for (size_t i = 0; i < ARRAY_SIZE(stats); i++) {
		tree_set(&tree, "proc/217/stat", stats[i]);
		assert_int_equal(footprint_quick(rootfd, KVM_PRIVATE, &f), -EIO);
	}
	tree_set(&tree, "proc/217/stat", "7 " STAT_BEGIN "1 2 0 0 20 0 1 0 5 0 0\n");
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		tree_set(&tree, "proc/217/status", statuses[i]);
		assert_int_equal(footprint_quick(rootfd, KVM_PRIVATE, &f), -EIO);
	}
	tree_set(&tree, "proc/217/status", "Name:\tx\nState:\tS\nVmRSS:\t7 kB\nVmSwap:\tx kB\n");
	tree_set(&tree, "proc/217/ksm_stat",
		 "ksm_rmap_items -1\nksm_merging_pages 99999999999999999999\nksm_zero_pages x\n");
	tree_remove(&tree, "proc/217/ksm_merging_pages");
	assert_int_equal(footprint_quick(rootfd, KVM_PRIVATE, &f), 0);
	assert_false(pol_has(f.swapped_bytes));
	assert_false(pol_has(f.ksm_rmap_bytes));
	assert_false(pol_has(f.ksm_merging_bytes));
	assert_false(pol_has(f.ksm_zero_bytes));

	memset(smaps, 'A', sizeof(smaps));
	tree_set_bytes(&tree, "proc/217/smaps", smaps, sizeof(smaps));
	assert_int_equal(footprint_full(rootfd, KVM_PRIVATE, &f), -EIO);
	/* a mapping that ends before it begins, a flag line before any mapping, one without flags
	 */
	tree_set(&tree, "proc/217/smaps",
		 "VmFlags: mg ht\nAnonHugePages: 4 kB\n9000-1000 rw-p 0 00:00 0\nVmFlags: mg\n"
		 "100000-4100000 rw-p 00000000 00:00 0\n");
	tree_set(&tree, "proc/217/numa_maps",
		 "1000 default N0=5 N99=7 N1=x N=3 kernelpagesize_kB=4\n\n2000 default N1=1\n");
	f = full(rootfd, KVM_PRIVATE);
	assert_int_equal(f.mergeable_bytes, 0);
	assert_int_equal(f.anon_huge_bytes, 0);
	assert_int_equal(f.ram_bytes, 64 * MIB);
	assert_int_equal(f.node_bytes[0], 5 * 4096);
	assert_int_equal(f.node_bytes[1], 0);	  /* pages of unknown size */
	tree_remove(&tree, "proc/217/numa_maps"); /* no CONFIG_NUMA */
	assert_false(pol_has(full(rootfd, KVM_PRIVATE).node_bytes[0]));
}

/* Where mergeable memory may be: only a strict binding says so, and only with nothing elsewhere. */
static void node_masks(void **state)
{
	static const struct {
		const char *numa_maps;
		uint64_t bound, seen;
		bool any;
	} cases[] = {
		{"100000 bind:1 anon=5 N1=5 kernelpagesize_kB=4\n9000000 bind:1\n", 2, 2, true},
		{"100000 bind:0-1 N1=5 kernelpagesize_kB=4\n9000000 bind=static:3\n", 0xb, 2, true},
		/* bound later than it was touched, or merged */
		{"100000 bind:1 N0=1 N1=4 kernelpagesize_kB=4\n9000000 bind:1\n", 2, 3, true},
		{"100000 bind:1 N1=5 kernelpagesize_kB=4\n9000000 default\n", POL_ABSENT, 2, true},
		{"100000 prefer:1 N1=5 kernelpagesize_kB=4\n9000000 bind:1\n", POL_ABSENT, 2, true},
		{"100000 interleave:0-1\n9000000 bind:1\n", POL_ABSENT, 0, true},
		{"100000 bind:1\n", POL_ABSENT, POL_ABSENT, true}, /* a mapping is missing */
		{"100000 bind:\n9000000 bind:1\n", POL_ABSENT, 0, true},
		{"100000 bind:1,x\n9000000 bind:1\n", POL_ABSENT, 0, true},
		{"100000 bind:70\n9000000 bind:1\n", POL_ABSENT, 0, true},
		{"100000 bind:1 N99=1 kernelpagesize_kB=4\n9000000 bind:1\n", 2, POL_ABSENT, true},
		/* others of the process do not count */
		{"1000 default N0=9\n100000 bind:1\n9000000 bind:0\n", 3, 0, true},
		{"", POL_ABSENT, POL_ABSENT, false},
	};
	AUTO_TREE struct tree tree = tree_new("npt-6.12");
	AUTO_FD int rootfd = tree_rootfd(&tree);

	/* RAM that is not marked, firmware that is. */
	tree_set(&tree, "proc/217/smaps",
		 "1000-2000 rw-p 00000000 00:00 0\nVmFlags: rd wr\n"
		 "100000-4100000 rw-p 00000000 00:00 0\nVmFlags: rd wr\n"
		 "9000000-9040000 rw-p 00000000 00:00 0\nVmFlags: rd wr mg\n");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct footprint f;

		tree_set(&tree, "proc/217/numa_maps", cases[i].numa_maps);
		f = full(rootfd, KVM_PRIVATE);
		if (f.bound_mask != cases[i].bound || f.seen_mask != cases[i].seen)
			fail_msg("%s: %llx %llx", cases[i].numa_maps,
				 (unsigned long long)f.bound_mask, (unsigned long long)f.seen_mask);
		assert_int_equal(f.marked_bytes, 256 * KIB);
		assert_int_equal(f.mergeable_bytes, 0);
		/* A part that is bound is enough to be left alone. */
		assert_int_equal(f.bound_any, cases[i].any);
	}
	/* Of RAM alone, not of the rest of the process. */
	tree_set(&tree, "proc/217/numa_maps",
		 "1000 default N0=9 kernelpagesize_kB=4\n"
		 "100000 prefer:1 N0=1 N1=4 kernelpagesize_kB=4\n"
		 "9000000 default N1=2 kernelpagesize_kB=4\n");
	assert_int_equal(full(rootfd, KVM_PRIVATE).node_bytes[0], 10 * 4096);
	assert_int_equal(full(rootfd, KVM_PRIVATE).ram_node_bytes[0], 4096);
	assert_int_equal(full(rootfd, KVM_PRIVATE).ram_node_bytes[1], 6 * 4096);
	assert_int_equal(full(rootfd, KVM_PRIVATE).ram_node_bytes[2], 0);
	tree_remove(&tree, "proc/217/numa_maps");
	assert_false(pol_has(full(rootfd, KVM_PRIVATE).bound_mask));
	assert_false(pol_has(full(rootfd, KVM_PRIVATE).ram_node_bytes[0]));
}

/* ---- live ---- */

struct held {
	size_t private_bytes, merge_bytes, shared_bytes;
};

static bool hold(void *arg)
{
	const struct held *held = arg;
	size_t total = held->private_bytes + held->merge_bytes;
	char *p =
		mmap(NULL, total + MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *s = held->shared_bytes ? mmap(NULL, held->shared_bytes, PROT_READ | PROT_WRITE,
					    MAP_SHARED | MAP_ANONYMOUS, -1, 0)
				     : NULL;

	if (p == MAP_FAILED || s == MAP_FAILED)
		return false;
	madvise(p, total + MIB, MADV_NOHUGEPAGE);
	if (held->merge_bytes)
		madvise(p, held->merge_bytes, MADV_MERGEABLE);
	for (size_t i = 0; i < total; i += 4096)
		p[i] = (char)(i / 4096 + 1);
	for (size_t i = 0; i < held->shared_bytes; i += 4096)
		s[i] = 1;
	return true;
}

static void live_process(void **state)
{
	AUTO_FD int rootfd = open("/", O_PATH | O_DIRECTORY);
	struct held held = {.merge_bytes = 48 * MIB, .shared_bytes = 96 * MIB};
	pid_t pid = child_new(hold, &held);
	struct footprint f, q;
	uint64_t on_nodes = 0;
	int status;

	assert_int_equal(footprint_quick(rootfd, pid, &q), 0);
	f = full(rootfd, pid);
	assert_true(q.resident_bytes >= 144 * MIB && q.resident_bytes < 200 * MIB);
	assert_int_equal(q.shared_bytes, 96 * MIB);
	assert_true(f.starttime > 0 && f.starttime == q.starttime);
	if (access("/sys/kernel/mm/ksm/run", F_OK) == 0) {
		assert_int_equal(f.mergeable_bytes, 48 * MIB);
		assert_true(f.mergeable);
	}
	assert_true(strlen(f.mergeable_reason) > 0); /* KSM is off, or two thirds are shared */
	for (size_t i = 0; i < POL_NODES_MAX && pol_has(f.node_bytes[i]); i++)
		on_nodes += f.node_bytes[i];
	if (pol_has(f.node_bytes[0]))
		assert_true(on_nodes >= 144 * MIB && on_nodes <= f.resident_bytes + 4 * MIB);
	assert_int_equal(footprint_is_kvm(rootfd, pid), 0);

	kill(pid, SIGKILL);
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(footprint_quick(rootfd, pid, &q), -ESRCH); /* a zombie */
	assert_int_equal(footprint_full(rootfd, pid, &q), -ESRCH);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(footprint_quick(rootfd, pid, &q), -ESRCH);
}

static void live_unmarked(void **state)
{
	AUTO_FD int rootfd = open("/", O_PATH | O_DIRECTORY);
	struct held held = {.private_bytes = 64 * MIB};
	pid_t pid = child_new(hold, &held);
	struct footprint f = full(rootfd, pid);

	assert_int_equal(f.mergeable_bytes, 0);
	assert_false(f.mergeable);
	if (access("/sys/kernel/mm/ksm/run", F_OK) == 0)
		assert_contains(f.mergeable_reason, "not marked mergeable");
	child_end(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quick_numbers),  cmocka_unit_test(again),
		cmocka_unit_test(private_memory), cmocka_unit_test(shared_memory),
		cmocka_unit_test(pinned_memory),  cmocka_unit_test(hugetlb_memory),
		cmocka_unit_test(tcg_memory),	  cmocka_unit_test(old_kernel),
		cmocka_unit_test(gone_or_going),  cmocka_unit_test(odd_names),
		cmocka_unit_test(garbage),	  cmocka_unit_test(node_masks),
		cmocka_unit_test(live_process),	  cmocka_unit_test(live_unmarked),
	};

	return cmocka_run_group_tests_name("memd_footprint", tests, NULL, NULL);
}
