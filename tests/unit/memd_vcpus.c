// SPDX-License-Identifier: Apache-2.0
/* Threads of guests: who is a vCPU, where they run, who has pinned them; and processors by node. */
#include "memd/vcpus.h"

#include "common/clock.h"
#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/wire.h"
#include "tests/unit/tree.h"

#define NODES "sys/devices/system/node/"

static struct {
	struct tree tree;
	int rootfd;
	struct config config;
	struct guests guests;
	struct guest guest;
	struct nodes_cpus cpus;
} w;

static void set_thread(int tid, const char *comm, unsigned int ticks, unsigned int cpu,
		       const char *cpus, const char *mems)
{
	char path[96], text[512];

	snprintf(path, sizeof(path), "proc/100/task/%d/stat", tid);
	snprintf(text, sizeof(text),
		 "%d (%s) S 1 1 1 0 -1 4194560 1 0 0 0 %u 1 0 0 20 0 3 0 5 1 1 1 1 1 1 1 1 0 0 0 0 "
		 "0 0 0 17 %u 0 0 0 0 0\n",
		 tid, comm, ticks, cpu);
	tree_set(&w.tree, path, text);
	snprintf(path, sizeof(path), "proc/100/task/%d/comm", tid);
	snprintf(text, sizeof(text), "%s\n", comm);
	tree_set(&w.tree, path, text);
	snprintf(path, sizeof(path), "proc/100/task/%d/status", tid);
	snprintf(text, sizeof(text),
		 "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t%s\nMems_allowed:\t3\n"
		 "Mems_allowed_list:\t%s\nvoluntary_ctxt_switches:\t1\n",
		 cpus, mems);
	tree_set(&w.tree, path, text);
}

static int setup(void **state)
{
	memset(&w, 0, sizeof(w));
	w.tree = tree_new(NULL);
	tree_set(&w.tree, "sys/devices/system/cpu/online", "0-7\n");
	tree_set(&w.tree, NODES "online", "0-1,3\n");
	tree_set(&w.tree, NODES "has_memory", "0-1\n");
	tree_set(&w.tree, NODES "has_cpu", "0-1,3\n");
	tree_set(&w.tree, NODES "node0/cpulist", "0-2,6\n");
	tree_set(&w.tree, NODES "node0/distance", "10 21 31\n");
	tree_set(&w.tree, NODES "node1/cpulist", "3-5\n");
	tree_set(&w.tree, NODES "node1/distance", "21 10 31\n");
	tree_set(&w.tree, NODES "node3/cpulist", "7\n");
	w.rootfd = tree_rootfd(&w.tree);
	assert_int_equal(nodes_cpus_read(w.rootfd, &w.cpus), 0);
	w.guests.config = &w.config;
	w.guest.all = &w.guests;
	w.guest.pid = 100;
	w.guest.survey.full = true;
	w.guest.cpus.told = POL_ABSENT;
	snprintf(w.guest.name, sizeof(w.guest.name), "web");
	return 0;
}

static int teardown(void **state)
{
	close(w.rootfd);
	vcpus_forget(&w.guest.cpus);
	tree_free(&w.tree);
	return 0;
}

static void tell(const char *text)
{
	json_object *value = text ? json_tokener_parse(text) : NULL;

	vcpus_told(&w.guest, value);
	json_object_put(value);
}

static void look(void)
{
	vcpus_look(w.rootfd, &w.guest, &w.cpus);
}

static void test_processors_by_node(void **state)
{
	uint64_t words[NODES_CPU_WORDS];
	struct nodes_cpus cpus;
	struct nodes nodes;

	assert_int_equal(nodes_of_cpu(&w.cpus, 6), 0);
	assert_int_equal(nodes_of_cpu(&w.cpus, 4), 1);
	assert_int_equal(nodes_of_cpu(&w.cpus, 7), 3);
	assert_int_equal(nodes_of_cpu(&w.cpus, 8), POL_ABSENT);
	assert_int_equal(nodes_of_cpu(&w.cpus, 5000), POL_ABSENT);
	assert_int_equal(w.cpus.memory[0], 3);
	nodes_cpus_of(&w.cpus, 0, words);
	assert_int_equal(words[0], 0x47);
	nodes_cpus_of(&w.cpus, 2, words);
	assert_int_equal(words[0], 0);
	assert_int_equal(nodes_read(w.rootfd, &nodes), 0);
	assert_int_equal(nodes.nodes[0].cpus, 4);
	assert_int_equal(nodes.nodes[2].cpus, 1);

	/* Offline: no longer of its node; a node without a list has an unknown number. */
	tree_set(&w.tree, "sys/devices/system/cpu/online", "0-5\n");
	tree_remove(&w.tree, NODES "node1/cpulist");
	assert_int_equal(nodes_cpus_read(w.rootfd, &cpus), 0);
	assert_int_equal(nodes_of_cpu(&cpus, 6), POL_ABSENT);
	assert_int_equal(nodes_of_cpu(&cpus, 4), POL_ABSENT);
	nodes_cpus_of(&cpus, 0, words);
	assert_int_equal(words[0], 0x7);
	assert_int_equal(nodes_read(w.rootfd, &nodes), 0);
	assert_int_equal(nodes.nodes[1].cpus, POL_ABSENT);

	/* A kernel without NUMA: one node; one that tells nothing: an error. */
	tree_remove(&w.tree, NODES);
	assert_int_equal(nodes_cpus_read(w.rootfd, &cpus), 0);
	assert_int_equal(nodes_of_cpu(&cpus, 5), 0);
	assert_int_equal(nodes_of_cpu(&cpus, 6), POL_ABSENT);
	assert_int_equal(cpus.memory[0], 1);
	tree_remove(&w.tree, "sys/devices/system/cpu/online");
	assert_int_equal(nodes_cpus_read(w.rootfd, &cpus), -ENOENT);
}

static void test_monitor_is_not_believed_blindly(void **state)
{
	tell("[{\"thread-id\":101,\"props\":{\"node-id\":0}},{\"thread-id\":102,\"props\":{}},"
	     "{\"thread-id\":\"x\"},{\"thread-id\":0},{\"thread-id\":9999999999},7]");
	assert_int_equal(w.guest.cpus.n, 2);
	assert_int_equal(w.guest.cpus.told, 6);
	assert_int_equal(w.guest.cpus.v[1].tid, 102);
	assert_int_equal(w.guest.cpus.guest_nodes, 1);
	tell("{\"thread-id\":101}");
	assert_int_equal(w.guest.cpus.n, 0);
	assert_int_equal(w.guest.cpus.told, POL_ABSENT);
	tell(NULL);
	look();
	assert_int_equal(w.guest.cpus.node, POL_ABSENT);
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_UNKNOWN);
}

static void test_home_is_where_time_is_spent(void **state)
{
	set_thread(101, "CPU 0/KVM", 1000, 4, "0-7", "0-1");
	set_thread(102, "a) R (b", 1000, 0, "0-7", "0-1");
	tell("[{\"thread-id\":101},{\"thread-id\":102}]");
	look();
	/* Not seen running yet: where they ran last. */
	assert_true(w.guest.cpus.node <= 1);
	assert_int_equal(w.guest.cpus.node_ppm, 500000);
	assert_int_equal(w.guest.cpus.v[0].node, 1);
	assert_int_equal(w.guest.cpus.v[1].node, 0);
	set_thread(101, "CPU 0/KVM", 1030, 4, "0-7", "0-1");
	set_thread(102, "a) R (b", 1010, 0, "0-7", "0-1");
	look();
	assert_int_equal(w.guest.cpus.node, 1);
	assert_int_equal(w.guest.cpus.node_ppm, 750000);
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_FREE);
	/* It goes elsewhere, and what was fades. */
	for (unsigned int i = 1; i < 40; i++) {
		set_thread(101, "CPU 0/KVM", 1030 + 30 * i, 1, "0-7", "0-1");
		look();
	}
	assert_int_equal(w.guest.cpus.node, 0);
	assert_true(w.guest.cpus.node_ppm > 980000);
	/* One thread ends. */
	tree_remove(&w.tree, "proc/100/task/102");
	look();
	assert_int_equal(w.guest.cpus.v[1].node, POL_ABSENT);
	assert_int_equal(w.guest.cpus.node, 0);
	/* And both: nothing is known of limits any more. */
	tree_remove(&w.tree, "proc/100/task/101");
	look();
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_UNKNOWN);
}

static void test_what_bars_a_move(void **state)
{
	static struct config_guest section = {.name = "web", .manage = false};

	set_thread(101, "vcpu0", 10, 4, "0-7", "0-1");
	tell("[{\"thread-id\":101,\"props\":{\"node-id\":0}}]");
	look();
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_FREE);
	set_thread(101, "vcpu0", 10, 4, "3-5", "0-1");
	look();
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_PINNED);
	/* By us: not somebody else's. */
	w.guest.cpus.pin = calloc(1, sizeof(*w.guest.cpus.pin));
	assert_non_null(w.guest.cpus.pin);
	nodes_cpus_of(&w.cpus, 1, w.guest.cpus.pin->now);
	look();
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_FREE);
	set_thread(101, "vcpu0", 10, 4, "3", "0-1");
	look();
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_PINNED);
	/* More than is online is no limit. */
	set_thread(101, "vcpu0", 10, 4, "0-127", "0-1");
	look();
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_FREE);
	set_thread(101, "vcpu0", 10, 4, "0-7", "1");
	look();
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_BOUND);
	set_thread(101, "vcpu0", 10, 4, "0-7", "0-1");
	look();
	/* Where the policy does not weigh what is there. */
	w.guest.survey.seen_mask = 1ULL << 9 | 1;
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_BEYOND);
	w.guest.survey.seen_mask = 3;
	w.guest.cpus.v[0].node = 8;
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_BEYOND);
	w.guest.cpus.v[0].node = 7;
	w.guest.survey.bound_any = true;
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_BOUND);
	w.guest.survey.bound_any = false;
	w.guest.pool = true;
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_POOL);
	w.guest.pool = false;
	tell("[{\"thread-id\":101,\"props\":{\"node-id\":0}},"
	     "{\"thread-id\":102,\"props\":{\"node-id\":1}}]");
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_SPLIT);
	w.config.guests = &section;
	w.config.n_guests = 1;
	assert_int_equal(vcpus_bar(&w.guest), POL_NUMA_MANAGE);
}

static void test_all_threads(void **state)
{
	AUTO_FREE pid_t *tids = NULL;
	size_t n = 0, vhost = 0;

	assert_int_equal(vcpus_threads(w.rootfd, 100, &tids, &n, &vhost), -ESRCH);
	set_thread(100, "qemu", 1, 0, "0", "0");
	set_thread(101, "CPU 0/KVM", 1, 0, "0", "0");
	set_thread(102, "vhost-100", 1, 0, "0", "0");
	assert_int_equal(vcpus_threads(w.rootfd, 100, &tids, &n, &vhost), 0);
	assert_int_equal(n, 3);
	assert_int_equal(vhost, 1);
	free(tids);
	tids = NULL;

	/* Before Linux 6.4: threads of the kernel, found by their name alone. */
	tree_remove(&w.tree, "proc/100/task/102");
	tree_set(&w.tree, "proc/77/comm", "vhost-100\n");
	tree_set(&w.tree, "proc/78/comm", "vhost-1001\n");
	assert_int_equal(vcpus_threads(w.rootfd, 100, &tids, &n, &vhost), 0);
	assert_int_equal(n, 2); /* it has nothing to do with vhost */
	assert_int_equal(vhost, 0);
	free(tids);
	tids = NULL;
	tree_shell("mkdir %s/proc/100/fd && ln -s /dev/vhost-net %s/proc/100/fd/9", w.tree.root,
		   w.tree.root);
	assert_int_equal(vcpus_threads(w.rootfd, 100, &tids, &n, &vhost), 0);
	assert_int_equal(n, 3);
	assert_int_equal(vhost, 1);
}

/* The machine itself: what the kernel prints is what is read. */
static void test_real_threads(void **state)
{
	AUTO_FD int rootfd = kfile_open_root("/");
	AUTO_FREE pid_t *tids = NULL;
	uint64_t allowed[NODES_CPU_WORDS];
	size_t n = 0;
	struct nodes_cpus cpus;

	assert_int_equal(vcpus_threads(rootfd, getpid(), &tids, &n, NULL), 0);
	assert_true(n >= 1);
	assert_int_equal(vcpus_allowed(rootfd, getpid(), getpid(), allowed), 0);
	assert_true(allowed[0] || allowed[1]);
	assert_int_equal(nodes_cpus_read(rootfd, &cpus), 0);
	w.guest.pid = getpid();
	assert_int_equal(vcpus_reserve(&w.guest.cpus, 1), 0);
	w.guest.cpus.n = 1;
	w.guest.cpus.v[0].tid = getpid();
	w.guest.cpus.v[0].cpu_us = POL_ABSENT;
	vcpus_look(rootfd, &w.guest, &cpus);
	assert_true(w.guest.cpus.limits_known);
	assert_true(pol_has(w.guest.cpus.v[0].cpu));
	assert_true(pol_has(w.guest.cpus.node));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_processors_by_node, setup, teardown),
		cmocka_unit_test_setup_teardown(test_monitor_is_not_believed_blindly, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_home_is_where_time_is_spent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_bars_a_move, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_real_threads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
