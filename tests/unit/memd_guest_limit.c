// SPDX-License-Identifier: Apache-2.0
/*
 * Floors and limits in guests' own cgroups, on trees of both versions: what is set, how seldom,
 * what of others' is respected, and what is there again afterwards.
 */
#include "tests/unit/tree.h"

#include "common/clock.h"
#include "common/size.h"
#include "memd/act.h"
#include "memd/guest_swap.h"
#include "memd/host.h"

#define V1  "sys/fs/cgroup/memory/own"
#define V2  "sys/fs/cgroup/own"
#define SEC USEC_PER_SEC

static struct {
	struct tree tree;
	struct config config;
	struct config_guest section;
	struct guests all;
	struct guest guest;
	struct act act;
	uint64_t now_us;
	char failed[400];
} w;

static void hear(void *ctx, const char *text)
{
	snprintf(w.failed, sizeof(w.failed), "%s", text);
}

static void set_up(const char *mounts, const char *line)
{
	char dir[PATH_MAX];

	memset(&w, 0, sizeof(w));
	w.tree = tree_new(NULL);
	w.now_us = 1000 * SEC;
	tree_set(&w.tree, "proc/self/mountinfo", mounts);
	tree_set(&w.tree, "proc/42/cgroup", line);
	w.all.rootfd = w.act.rootfd = tree_rootfd(&w.tree);
	w.all.config = &w.config;
	w.config.cgroup_limits = true;
	assert_int_equal(undo_open(tree_path(&w.tree, "run", dir, sizeof(dir)), "/", &w.act.undo),
			 0);
	w.act.failed = hear;
	w.guest.all = &w.all;
	snprintf(w.guest.name, sizeof(w.guest.name), "web");
	w.guest.pid = 42;
	w.guest.known = w.guest.foot_valid = w.guest.has_view = true;
	w.guest.memory_bytes = 1024 * MIB;
	w.guest.view = (struct pol_view){
		.stats_trusted = true,
		.floor_bytes = 300 * MIB,
		.resident_floor_bytes = 128 * MIB,
		.swap_most_bytes = 896 * MIB,
	};
}

static int open_v2(void **state)
{
	set_up("30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", "0::/own\n");
	tree_set(&w.tree, "sys/fs/cgroup/cgroup.controllers", "memory\n");
	tree_set(&w.tree, V2 "/cgroup.procs", "42\n");
	tree_set(&w.tree, V2 "/memory.current", "1000000\n");
	tree_set(&w.tree, V2 "/memory.low", "0\n");
	tree_set(&w.tree, V2 "/memory.swap.max", "max\n");
	return memcg_read(w.all.rootfd, &w.all.memcg);
}

static int open_v1(void **state)
{
	set_up("35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
	       "4:memory:/own\n");
	tree_set(&w.tree, V1 "/cgroup.procs", "42\n");
	tree_set(&w.tree, V1 "/memory.usage_in_bytes", "1000000\n");
	tree_set(&w.tree, V1 "/memory.memsw.usage_in_bytes", "1500000\n");
	tree_set(&w.tree, V1 "/memory.stat", "total_workingset_refault_anon 3\n");
	tree_set(&w.tree, V1 "/memory.limit_in_bytes", "9223372036854771712\n");
	tree_set(&w.tree, V1 "/memory.memsw.limit_in_bytes", "9223372036854771712\n");
	tree_set(&w.tree, V1 "/memory.soft_limit_in_bytes", "9223372036854771712\n");
	return memcg_read(w.all.rootfd, &w.all.memcg);
}

static int shut(void **state)
{
	guest_swap_forget(&w.guest);
	undo_close(w.act.undo);
	close(w.all.rootfd);
	tree_free(&w.tree);
	return 0;
}

/* One tick, some seconds after the one before. */
static void tick(uint64_t seconds)
{
	w.now_us += seconds * SEC;
	guest_swap_look(&w.guest, w.now_us);
	guest_limits_follow(&w.act, &w.guest, w.now_us);
}

static void assert_is(const char *path, uint64_t bytes)
{
	char text[64], wanted[32];

	snprintf(wanted, sizeof(wanted), "%llu", (unsigned long long)bytes);
	assert_string_equal(tree_get(&w.tree, path, text, sizeof(text)), wanted);
}

static void assert_text(const char *path, const char *wanted)
{
	char text[64];

	assert_string_equal(tree_get(&w.tree, path, text, sizeof(text)), wanted);
}

static const struct guest_limit *limit(enum guest_limit_kind kind)
{
	return &w.guest.swap->limits->of[kind];
}

static void test_v2_set_and_put_back(void **state)
{
	struct undo_entry entry;

	tick(1);
	assert_string_equal(w.failed, "");
	assert_is(V2 "/memory.low", 300 * MIB);
	assert_is(V2 "/memory.swap.max", 896 * MIB);
	assert_int_equal(undo_count(w.act.undo), 2);
	entry = undo_get(w.act.undo, 0);
	assert_string_equal(entry.path, V2 "/memory.low");
	assert_string_equal(entry.original, "0");
	entry = undo_get(w.act.undo, 1);
	assert_string_equal(entry.original, "max");
	/* The guest leaves. */
	guest_limits_leave(&w.act, &w.guest);
	assert_text(V2 "/memory.low", "0");
	assert_text(V2 "/memory.swap.max", "max");
	assert_int_equal(undo_count(w.act.undo), 0);
	assert_null(w.guest.swap->limits);
	guest_limits_leave(&w.act, &w.guest); /* nothing to do */
}

/* Without numbers of its own the floor is what must stay resident: all it has is caution. */
static void test_floor_of_a_silent_guest(void **state)
{
	w.guest.view.stats_trusted = false;
	tick(1);
	assert_is(V2 "/memory.low", 128 * MIB);
}

static void test_written_on_change_alone(void **state)
{
	tick(1);
	w.guest.view.floor_bytes = 310 * MIB;
	tick(60);
	assert_is(V2 "/memory.low", 300 * MIB); /* within a sixteenth */
	w.guest.view.floor_bytes = 400 * MIB;
	tick(1);
	assert_is(V2 "/memory.low", 400 * MIB);
	w.guest.view.floor_bytes = 500 * MIB;
	tick(5);
	assert_is(V2 "/memory.low", 400 * MIB); /* ten seconds have not passed */
	tick(6);
	assert_is(V2 "/memory.low", 500 * MIB);
	w.guest.view.floor_bytes = 200 * MIB + 1;
	tick(11);
	assert_is(V2 "/memory.low", 201 * MIB); /* whole MiB */
	assert_int_equal(undo_count(w.act.undo), 2);
	assert_string_equal(undo_original(w.act.undo, V2 "/memory.low"), "0");
}

static void test_others_limits_hold(void **state)
{
	tree_set(&w.tree, V2 "/memory.low", "max\n");
	tree_set(&w.tree, V2 "/memory.swap.max", "104857600\n");
	tick(1);
	assert_text(V2 "/memory.low", "max");
	assert_is(V2 "/memory.swap.max", 100 * MIB);
	w.guest.view.swap_most_bytes = 50 * MIB;
	tick(11);
	assert_is(V2 "/memory.swap.max", 50 * MIB);
	assert_string_equal(undo_original(w.act.undo, V2 "/memory.swap.max"), "104857600");
}

static void test_changed_by_somebody_else(void **state)
{
	tick(1);
	tree_set(&w.tree, V2 "/memory.low", "1048576\n");
	w.guest.view.floor_bytes = 600 * MIB;
	tick(11);
	assert_text(V2 "/memory.low", "1048576");
	assert_string_equal(limit(GUEST_LIMIT_LOW)->why_not, "somebody else has changed it since");
	tick(60);
	guest_limits_leave(&w.act, &w.guest);
	assert_text(V2 "/memory.low", "1048576");
}

static void ask_for_swap_max(uint64_t bytes)
{
	w.section = (struct config_guest){.name = "web", .manage = true, .swap_max_bytes = bytes};
	w.config.guests = &w.section;
	w.config.n_guests = 1;
}

static void test_swap_max_of_the_section(void **state)
{
	ask_for_swap_max(0);
	tick(1);
	assert_text(V2 "/memory.swap.max", "0");
}

/* No more is reclaimed by memd itself than may be in swap. */
static void test_swap_max_bounds_reclaim(void **state)
{
	struct pol_guest p = {0};

	tick(1);
	w.guest.survey.full = true;
	w.guest.foot.anon_bytes = 500 * MIB;
	w.guest.foot.locked_bytes = POL_ABSENT;
	w.guest.foot.swapped_bytes = 40 * MIB;
	guest_swap_snapshot(&w.guest, &p);
	assert_int_equal(p.reclaimable_bytes, 500 * MIB);
	ask_for_swap_max(100 * MIB);
	guest_swap_snapshot(&w.guest, &p);
	assert_int_equal(p.reclaimable_bytes, 60 * MIB);
	w.guest.foot.swapped_bytes = 140 * MIB;
	guest_swap_snapshot(&w.guest, &p);
	assert_int_equal(p.reclaimable_bytes, 0);
}

static void assert_why_not(const char *wanted)
{
	char buf[200];
	const char *why = guest_limits_why_not(&w.guest, buf, sizeof(buf));

	assert_contains(why, wanted);
}

static void test_not_where_it_is_somebody_elses(void **state)
{
	tick(1);
	assert_is(V2 "/memory.low", 300 * MIB);
	/* Shared from now on: put back. */
	tree_set(&w.tree, V2 "/cgroup.procs", "42\n43\n");
	tick(40);
	assert_why_not("shares its cgroup");
	assert_text(V2 "/memory.low", "0");
	assert_int_equal(undo_count(w.act.undo), 0);
	tree_set(&w.tree, "proc/42/cgroup", "0::/\n");
	tick(40);
	assert_why_not("no cgroup of its own");
	tree_set(&w.tree, "proc/42/cgroup", "0::/machine.slice/vm.scope\n");
	tree_set(&w.tree, "sys/fs/cgroup/machine.slice/vm.scope/cgroup.procs", "42\n");
	tree_set(&w.tree, "sys/fs/cgroup/machine.slice/vm.scope/memory.current", "1\n");
	tree_set(&w.tree, "sys/fs/cgroup/machine.slice/vm.scope/memory.low", "0\n");
	tick(40);
	assert_why_not("systemd's unit vm.scope, to be set there");
	assert_text("sys/fs/cgroup/machine.slice/vm.scope/memory.low", "0");
	w.config.cgroup_limits = false;
	assert_why_not("cgroup-limits=off");
}

static void test_nothing_in_a_dry_run(void **state)
{
	w.act.dry_run = true;
	tick(1);
	w.act.dry_run = false;
	w.act.stopped = true;
	tick(1);
	assert_text(V2 "/memory.low", "0");
	w.act.stopped = false;
	w.guest.has_view = false;
	tick(1);
	assert_text(V2 "/memory.low", "0");
}

static void test_refused_is_told_and_tried_again_late(void **state)
{
	tree_set(&w.tree, V2 "/memory.low", "many\n");
	tick(1);
	assert_contains(w.failed, "guest web: memory.low of its cgroup cannot be set to 300 MiB");
	w.failed[0] = '\0';
	tick(30);
	assert_string_equal(w.failed, "");
	tick(31);
	assert_contains(w.failed, "memory.low");
	assert_is(V2 "/memory.swap.max", 896 * MIB); /* the other one is set */
}

/* v1 has no floor, and one limit for both, which is above all that the guest can need. */
static void test_v1_limit(void **state)
{
	const uint64_t most = (1024 + 128 + 256 + 100) * MIB;

	ask_for_swap_max(100 * MIB);
	tick(1);
	assert_string_equal(w.guest.swap->cgroup.path, V1);
	assert_int_equal(w.guest.swap->cgroup.current_bytes, 1000000);
	assert_int_equal(w.guest.swap->cgroup.swap_bytes, 500000);
	assert_int_equal(w.guest.swap->cgroup.refault_bytes, 3 * host_page_bytes());
	assert_is(V1 "/memory.limit_in_bytes", most);
	assert_is(V1 "/memory.memsw.limit_in_bytes", most);
	/* Put back last first: the one on both may never be the lower one. */
	assert_string_equal(undo_get(w.act.undo, 1).path, V1 "/memory.memsw.limit_in_bytes");
	assert_contains(limit(GUEST_LIMIT_LOW)->why_not, "soft limit is the opposite");
	assert_text(V1 "/memory.soft_limit_in_bytes", "9223372036854771712");
	/* It is promised more: at once. */
	w.guest.memory_bytes = 2048 * MIB;
	tick(1);
	assert_is(V1 "/memory.memsw.limit_in_bytes", (2048 + 256 + 256 + 100) * MIB);
	assert_is(V1 "/memory.limit_in_bytes", (2048 + 256 + 256 + 100) * MIB);
	guest_limits_leave(&w.act, &w.guest);
	assert_text(V1 "/memory.limit_in_bytes", "9223372036854771712");
	assert_text(V1 "/memory.memsw.limit_in_bytes", "9223372036854771712");
}

static void test_v1_bars(void **state)
{
	/* Nobody asks for it. */
	tick(1);
	assert_contains(limit(GUEST_LIMIT_SWAP)->why_not, "only with swap-max");
	assert_text(V1 "/memory.memsw.limit_in_bytes", "9223372036854771712");
	guest_limits_leave(&w.act, &w.guest);
	ask_for_swap_max(896 * MIB);
	/* Near to what is charged the write itself would reclaim. */
	tree_set(&w.tree, V1 "/memory.usage_in_bytes", "2400000000\n");
	tick(1);
	assert_int_equal(undo_count(w.act.undo), 0);
	assert_null(limit(GUEST_LIMIT_SWAP)->why_not);
	guest_limits_leave(&w.act, &w.guest);
	tree_set(&w.tree, V1 "/memory.usage_in_bytes", "1\n");
	tree_set(&w.tree, V1 "/memory.limit_in_bytes", "4194304000\n");
	tick(1);
	assert_string_equal(limit(GUEST_LIMIT_SWAP)->why_not,
			    "somebody has set memory.limit_in_bytes");
	guest_limits_leave(&w.act, &w.guest);
	tree_remove(&w.tree, V1 "/memory.memsw.limit_in_bytes");
	tick(1);
	assert_contains(limit(GUEST_LIMIT_SWAP)->why_not, "does not count swap by cgroup");
	assert_int_equal(undo_count(w.act.undo), 0);
}

int main(void)
{
#define ON_V1(test) cmocka_unit_test_setup_teardown(test, open_v1, shut)
#define ON_V2(test) cmocka_unit_test_setup_teardown(test, open_v2, shut)
	const struct CMUnitTest tests[] = {
		ON_V2(test_v2_set_and_put_back),
		ON_V2(test_floor_of_a_silent_guest),
		ON_V2(test_written_on_change_alone),
		ON_V2(test_others_limits_hold),
		ON_V2(test_changed_by_somebody_else),
		ON_V2(test_swap_max_of_the_section),
		ON_V2(test_swap_max_bounds_reclaim),
		ON_V2(test_not_where_it_is_somebody_elses),
		ON_V2(test_nothing_in_a_dry_run),
		ON_V2(test_refused_is_told_and_tried_again_late),
		ON_V1(test_v1_limit),
		ON_V1(test_v1_bars),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
