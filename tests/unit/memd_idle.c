// SPDX-License-Identifier: Apache-2.0
/*
 * Looks at memory in use on trees: DAMON's interface set up, read, given back, and never touched
 * when it is somebody else's; generations; processes that go meanwhile. What the kernel does in
 * these files the lab's tests see.
 */
#include "tests/unit/tree.h"

#include <poll.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/size.h"
#include "common/undo.h"
#include "memd/damon.h"
#include "memd/idle.h"
#include "memd/lru_gen.h"

#define ADMIN	"sys/kernel/mm/damon/admin/kdamonds/"
#define CONTEXT ADMIN "0/contexts/0/"

struct world {
	struct tree tree;
	int rootfd;
	char undo_dir[80];
	struct undo *undo;
};

static void set_zero(struct world *w, const char *below, const char *file)
{
	char path[160];

	snprintf(path, sizeof(path), "%s%s", below, file);
	tree_set(&w->tree, path, "0\n");
}

/* The files as a kernel has them once the numbers above them are written. */
static void open_damon(struct world *w, const char *operations, size_t n)
{
	static const char *const context[] = {
		"monitoring_attrs/intervals/sample_us",
		"monitoring_attrs/intervals/aggr_us",
		"monitoring_attrs/intervals/update_us",
		"monitoring_attrs/nr_regions/max",
		"targets/nr_targets",
		"schemes/nr_schemes",
	};
	static const char *const target[] = {
		"pid_target",	 "regions/nr_regions", "regions/0/start",
		"regions/0/end", "regions/1/start",    "regions/1/end",
	};
	static const char *const scheme[] = {
		"action",
		"access_pattern/sz/min",
		"access_pattern/sz/max",
		"access_pattern/nr_accesses/min",
		"access_pattern/nr_accesses/max",
		"access_pattern/age/min",
		"access_pattern/age/max",
		"filters/nr_filters",
		"filters/0/type",
		"filters/0/matching",
		"filters/0/damon_target_idx",
		"tried_regions/total_bytes",
	};
	char below[96];

	tree_set(&w->tree, ADMIN "nr_kdamonds", "0\n");
	tree_set(&w->tree, ADMIN "0/state", "off\n");
	tree_set(&w->tree, ADMIN "0/pid", "-1\n");
	tree_set(&w->tree, ADMIN "0/contexts/nr_contexts", "0\n");
	tree_set(&w->tree, CONTEXT "avail_operations", operations);
	tree_set(&w->tree, CONTEXT "operations", "vaddr\n");
	for (size_t i = 0; i < ARRAY_SIZE(context); i++)
		set_zero(w, CONTEXT, context[i]);
	for (size_t i = 0; i < n; i++) {
		snprintf(below, sizeof(below), CONTEXT "targets/%zu/", i);
		for (size_t k = 0; k < ARRAY_SIZE(target); k++)
			set_zero(w, below, target[k]);
		snprintf(below, sizeof(below), CONTEXT "schemes/%zu/", i);
		for (size_t k = 0; k < ARRAY_SIZE(scheme); k++)
			set_zero(w, below, scheme[k]);
	}
}

static int setup(void **state)
{
	static struct world world;
	struct world *w = &world;

	*w = (struct world){.tree = tree_new(NULL)};
	w->rootfd = tree_rootfd(&w->tree);
	snprintf(w->undo_dir, sizeof(w->undo_dir), "%.63s/undo", w->tree.root);
	assert_int_equal(undo_open(w->undo_dir, "/", &w->undo), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	undo_close(w->undo);
	close(w->rootfd);
	tree_free(&w->tree);
	return 0;
}

static void set_maps(struct world *w, int pid, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "proc/%d/maps", pid);
	tree_set(&w->tree, path, text);
}

#define RAM "7f0000000000-7f0010000000 rw-p 00000000 00:00 0 \n" /* 256 MiB */

static const char *file(struct world *w, const char *path)
{
	static char text[128];

	return tree_get(&w->tree, path, text, sizeof(text));
}

static void test_ranges(void **state)
{
	struct world *w = *state;
	struct damon_target target;

	set_maps(w, 7,
		 "00400000-00500000 r-xp 00000000 08:01 12 /usr/bin/vmm\n"
		 "01000000-03000000 rw-p 00000000 00:00 0 [heap]\n" RAM
		 "7f1000000000-7f1000800000 rw-p 00000000 00:00 0 \n"
		 "7f2000000000-7f2010000000 rw-s 00000000 00:01 5 /memfd:ram (deleted)\n"
		 "7f3000000000-7f3010000000 rw-p 00000000 00:10 6 /anon_hugepage (deleted)\n"
		 "no line of it\n"
		 "7f4000000000-7f4002000000 rw-p 00000000 00:00 0 [anon:ram]\n");
	assert_int_equal(damon_target_fill(w->rootfd, 7, &target), 0);
	assert_int_equal(target.n, 2);
	assert_int_equal(target.ranges[0].start, 0x7f0000000000);
	assert_int_equal(target.ranges[1].end - target.ranges[1].start, 32 * MIB);
	assert_int_equal(damon_target_fill(w->rootfd, 8, &target), -ESRCH);
	set_maps(w, 9, "");
	assert_int_equal(damon_target_fill(w->rootfd, 9, &target), 0);
	assert_int_equal(target.n, 0);
}

static void test_set_up_and_read(void **state)
{
	struct world *w = *state;
	struct damon_target targets[2];
	uint64_t hot[2];
	const char *why = "";

	open_damon(w, "vaddr\nfvaddr\npaddr\n", 2);
	set_maps(w, 7, RAM);
	set_maps(w, 8, RAM "7f4000000000-7f4002000000 rw-p 00000000 00:00 0 \n");
	for (int i = 0; i < 2; i++)
		assert_int_equal(damon_target_fill(w->rootfd, 7 + i, &targets[i]), 0);
	assert_int_equal(damon_start(w->rootfd, targets, 2, &why), 0);
	assert_string_equal(file(w, ADMIN "nr_kdamonds"), "1");
	assert_string_equal(file(w, ADMIN "0/state"), "on");
	assert_string_equal(file(w, CONTEXT "operations"), "fvaddr");
	assert_string_equal(file(w, CONTEXT "targets/1/pid_target"), "8");
	assert_string_equal(file(w, CONTEXT "targets/1/regions/nr_regions"), "2");
	assert_string_equal(file(w, CONTEXT "schemes/1/action"), "stat");
	assert_string_equal(file(w, CONTEXT "schemes/1/filters/0/damon_target_idx"), "1");
	assert_string_equal(file(w, CONTEXT "schemes/1/filters/0/matching"), "N");
	/* What was idle comes back as what was not. */
	tree_set(&w->tree, CONTEXT "schemes/0/tried_regions/total_bytes", "201326592\n");
	tree_set(&w->tree, CONTEXT "schemes/1/tried_regions/total_bytes", "999999999999\n");
	assert_int_equal(damon_read(w->rootfd, targets, 2, hot), 0);
	assert_string_equal(file(w, ADMIN "0/state"), "update_schemes_tried_bytes");
	assert_int_equal(hot[0], 64 * MIB);
	assert_int_equal(hot[1], 0);
	tree_set(&w->tree, CONTEXT "schemes/1/tried_regions/total_bytes", "many\n");
	assert_int_equal(damon_read(w->rootfd, targets, 2, hot), -EINVAL);
	assert_int_equal(damon_stop(w->rootfd), 0);
	assert_string_equal(file(w, ADMIN "0/state"), "off");
	assert_string_equal(file(w, ADMIN "nr_kdamonds"), "0");
}

/* A kernel without it, one that is too old, and one whose DAMON is somebody else's. */
static void test_cannot(void **state)
{
	struct world *w = *state;
	struct damon_target target = {.pid = 7, .n = 1, .ranges = {{4096, 8192}}};
	const char *why = "";

	assert_int_equal(damon_start(w->rootfd, &target, 1, &why), -ENOENT);
	assert_contains(why, "CONFIG_DAMON_SYSFS");
	open_damon(w, "paddr\n", 1);
	assert_int_equal(damon_start(w->rootfd, &target, 1, &why), -EOPNOTSUPP);
	assert_contains(why, "CONFIG_DAMON_VADDR");
	assert_string_equal(file(w, ADMIN "nr_kdamonds"), "0");
	tree_set(&w->tree, CONTEXT "avail_operations", "vaddr\nfvaddr\n");
	tree_remove(&w->tree, CONTEXT "schemes/0/filters");
	assert_int_equal(damon_start(w->rootfd, &target, 1, &why), -EOPNOTSUPP);
	assert_contains(why, "6.6");
	assert_string_equal(file(w, ADMIN "nr_kdamonds"), "0");
	tree_set(&w->tree, ADMIN "nr_kdamonds", "1\n");
	tree_set(&w->tree, ADMIN "0/state", "on\n");
	assert_int_equal(damon_start(w->rootfd, &target, 1, &why), -EBUSY);
	assert_string_equal(file(w, ADMIN "0/state"), "on");
	assert_string_equal(file(w, ADMIN "nr_kdamonds"), "1");
}

/* After kill -9: the next memd, or memctl reset, stops it first and then takes it away. */
static void test_journal(void **state)
{
	struct world *w = *state;

	open_damon(w, "fvaddr\n", 1);
	assert_int_equal(damon_record(w->undo), 0);
	tree_set(&w->tree, ADMIN "nr_kdamonds", "1\n");
	tree_set(&w->tree, ADMIN "0/state", "on\n");
	undo_close(w->undo);
	assert_int_equal(undo_open(w->undo_dir, "/", &w->undo), 0);
	assert_int_equal(undo_count(w->undo), 2);
	assert_int_equal(undo_restore(w->undo, w->rootfd, NULL, NULL), 0);
	assert_string_equal(file(w, ADMIN "0/state"), "off");
	assert_string_equal(file(w, ADMIN "nr_kdamonds"), "0");
	/* What was given back is not given back again. */
	assert_int_equal(damon_record(w->undo), 0);
	assert_int_equal(undo_record(w->undo, "sys/kernel/mm/ksm/run", "0", "1"), 0);
	damon_forget(w->undo);
	assert_int_equal(undo_count(w->undo), 1);
	undo_close(w->undo);
	assert_int_equal(undo_open(w->undo_dir, "/", &w->undo), 0);
	assert_int_equal(undo_count(w->undo), 1);
	assert_non_null(undo_original(w->undo, "sys/kernel/mm/ksm/run"));
}

static const struct idle_guest *look(struct idle *idle, const struct idle_guest *guests, size_t n,
				     bool use_damon)
{
	const struct idle_guest *results = NULL;
	struct pollfd done = {.fd = idle_fd(idle), .events = POLLIN};

	assert_int_equal(idle_start(idle, guests, n, use_damon), 0);
	assert_int_equal(poll(&done, 1, 20000), 1);
	assert_int_equal(idle_take(idle, &results), n);
	return results;
}

static void test_looks(void **state)
{
	struct world *w = *state;
	struct idle_guest guests[] = {
		{.guest = 1, .pid = 7, .cgroup = "/a"},
		{.guest = 2, .pid = 8, .cgroup = "/b"},
		{.guest = 3, .pid = 9},
	};
	const struct idle_guest *results;
	struct idle *idle;

	set_maps(w, 7, RAM);
	assert_int_equal(idle_open(w->rootfd, &idle), 0);
	/* Nothing is there: nothing is told, and it says why. */
	results = look(idle, guests, 3, true);
	for (int i = 0; i < 3; i++)
		assert_int_equal(results[i].source, IDLE_NONE);
	assert_contains(idle_state(idle)->mglru_why, "CONFIG_LRU_GEN");
	assert_contains(idle_state(idle)->damon_why, "CONFIG_DAMON_SYSFS");
	assert_true(idle_state(idle)->damon_never);
	idle_close(idle);

	open_damon(w, "fvaddr\n", 1);
	tree_set(&w->tree, "sys/kernel/mm/lru_gen/enabled", "0x0007\n");
	tree_set(&w->tree, "proc/sys/kernel/osrelease", "6.1.0\n");
	tree_shell("mkdir -p %s/proc/7/fd %s/proc/8/fd && ln -s anon_inode:kvm-vm %s/proc/8/fd/5",
		   w->tree.root, w->tree.root, w->tree.root);
	tree_set(&w->tree, LRU_GEN_FILE,
		 "memcg 5 /a\n node 0\n 1 30000 100 0\n 2 15000 10 0\n 3 1000 1 0\n"
		 "memcg 6 /b\n node 0\n 1 30000 100 0\n 2 15000 10 0\n 3 1000 1 0\n");
	assert_int_equal(idle_open(w->rootfd, &idle), 0);
	/* Of 6.1 a guest under KVM is not believed; one without is. DAMON watches who has memory.
	 */
	results = look(idle, guests, 3, true);
	assert_int_equal(results[0].source, IDLE_MGLRU);
	assert_int_equal(results[0].hot_bytes, 11 * 4 * KIB);
	assert_int_equal(results[1].source, IDLE_NONE);
	assert_int_equal(results[2].source, IDLE_NONE);
	assert_null(idle_state(idle)->mglru_why);
	assert_true(idle_state(idle)->watches);
	assert_int_equal(idle_state(idle)->watched, 1);
	assert_string_equal(file(w, CONTEXT "targets/0/pid_target"), "7");
	/* No longer wanted: taken away at once. */
	tree_set(&w->tree, "proc/sys/kernel/osrelease", "6.12.1\n");
	results = look(idle, guests, 3, false);
	assert_int_equal(results[1].source, IDLE_MGLRU);
	assert_false(idle_state(idle)->watches);
	assert_string_equal(file(w, ADMIN "nr_kdamonds"), "0");
	/* And at the end. */
	look(idle, guests, 3, true);
	assert_string_equal(file(w, ADMIN "nr_kdamonds"), "1");
	idle_close(idle);
	assert_string_equal(file(w, ADMIN "nr_kdamonds"), "0");
	assert_string_equal(file(w, ADMIN "0/state"), "off");
}

/* Nobody to watch, all gone, files that hold nothing. */
static void test_vanishing(void **state)
{
	struct world *w = *state;
	struct idle_guest guest = {.guest = 1, .pid = 7, .cgroup = "/a"};
	struct idle *idle;

	open_damon(w, "fvaddr\n", 1);
	tree_set(&w->tree, "sys/kernel/mm/lru_gen/enabled", "0x0007\n");
	tree_set(&w->tree, LRU_GEN_FILE, "");
	assert_int_equal(idle_open(w->rootfd, &idle), 0);
	assert_int_equal(look(idle, &guest, 1, true)->source, IDLE_NONE);
	assert_false(idle_state(idle)->watches);
	assert_contains(idle_state(idle)->damon_why, "no guest");
	set_maps(w, 7, RAM);
	assert_int_equal(look(idle, &guest, 1, true)->source, IDLE_NONE);
	assert_true(idle_state(idle)->watches);
	/* The kdamond has ended with what it watched: begun anew with who is there. */
	guest.guest = 2;
	guest.pid = 10;
	set_maps(w, 10, RAM);
	look(idle, &guest, 1, true);
	assert_string_equal(file(w, CONTEXT "targets/0/pid_target"), "10");
	idle_close(idle);
}

/* More than can be watched at once: in turns. */
static void test_turns(void **state)
{
	struct world *w = *state;
	struct idle_guest guests[40];
	struct idle *idle;

	open_damon(w, "fvaddr\n", DAMON_TARGETS_MAX);
	for (int i = 0; i < 40; i++) {
		guests[i] = (struct idle_guest){.guest = (uint64_t)i + 1, .pid = 100 + i};
		set_maps(w, 100 + i, RAM);
	}
	assert_int_equal(idle_open(w->rootfd, &idle), 0);
	look(idle, guests, 40, true);
	assert_int_equal(idle_state(idle)->watched, DAMON_TARGETS_MAX);
	assert_string_equal(file(w, CONTEXT "targets/0/pid_target"), "100");
	assert_string_equal(file(w, CONTEXT "targets/31/pid_target"), "131");
	look(idle, guests, 40, true);
	assert_string_equal(file(w, CONTEXT "targets/0/pid_target"), "132");
	assert_string_equal(file(w, CONTEXT "targets/8/pid_target"), "100");
	idle_close(idle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(test_set_up_and_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cannot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_journal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_looks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vanishing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_turns, setup, teardown),
	};

	return cmocka_run_group_tests_name("memd_idle", tests, NULL, NULL);
}
