// SPDX-License-Identifier: Apache-2.0
/* A guest's own cgroup, what it reads back from swap, and what of it may be swapped out at all. */
#include "tests/unit/tree.h"

#include "common/clock.h"
#include "common/size.h"
#include "memd/guest_swap.h"
#include "memd/host.h"

#define CG    "sys/fs/cgroup"
#define SCOPE CG "/machine.slice/vm.scope"
#define PID   4242

struct scene {
	struct tree tree;
	struct guests guests;
	struct config config;
	struct guest guest;
};

static void set_cgroup(struct scene *s, const char *path)
{
	char line[200];

	snprintf(line, sizeof(line), "0::%s\n", path);
	tree_set(&s->tree, "proc/4242/cgroup", line);
}

/* A v2 host; the guest is alone in its scope, with a threaded child as libvirt makes it. */
static void open_scene(struct scene *s)
{
	*s = (struct scene){.tree = tree_new(NULL)};
	tree_set(&s->tree, "proc/self/mountinfo",
		 "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
	tree_set(&s->tree, CG "/cgroup.controllers", "cpu memory\n");
	tree_set(&s->tree, CG "/memory.reclaim", "");
	tree_set(&s->tree, CG "/machine.slice/cgroup.procs", "");
	tree_set(&s->tree, CG "/machine.slice/memory.swap.max", "max\n");
	tree_set(&s->tree, SCOPE "/cgroup.procs", "4242\n");
	tree_set(&s->tree, SCOPE "/memory.swap.max", "max\n");
	tree_set(&s->tree, SCOPE "/memory.reclaim", "");
	tree_set(&s->tree, SCOPE "/memory.current", "1000000\n");
	tree_set(&s->tree, SCOPE "/memory.swap.current", "20000\n");
	tree_set(&s->tree, SCOPE "/memory.stat", "anon 5\nworkingset_refault_anon 4\n");
	tree_set(&s->tree, SCOPE "/memory.pressure",
		 "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\n"
		 "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n");
	tree_set(&s->tree, SCOPE "/vcpu0/cgroup.procs", "");
	set_cgroup(s, "/machine.slice/vm.scope/vcpu0");
	s->guests.rootfd = tree_rootfd(&s->tree);
	s->guests.config = &s->config;
	memcg_read(s->guests.rootfd, &s->guests.memcg);
	assert_true(s->guests.memcg.memory_v2);
	s->guest.all = &s->guests;
	s->guest.pid = PID;
	s->guest.foot_valid = s->guest.survey.full = true;
	s->guest.foot.swapped_bytes = MIB;
	s->guest.foot.resident_bytes = s->guest.foot.anon_bytes = 100 * MIB;
	s->guest.foot.locked_bytes = POL_ABSENT;
}

static void close_scene(struct scene *s)
{
	guest_swap_forget(&s->guest);
	close(s->guests.rootfd);
	tree_free(&s->tree);
}

static void find_fails(struct scene *s, int error)
{
	char path[GUEST_CGROUP_PATH_MAX];

	assert_int_equal(
		guest_cgroup_find(s->guests.rootfd, &s->guests.memcg, PID, path, sizeof(path)),
		error);
}

static void own_cgroup_is_found(void **state)
{
	struct scene s;
	struct guest_cgroup *cgroup;

	(void)state;
	open_scene(&s);
	guest_swap_look(&s.guest, 100 * USEC_PER_SEC);
	cgroup = &s.guest.swap->cgroup;
	assert_string_equal(cgroup->path, SCOPE);
	assert_true(cgroup->reclaim);
	assert_int_equal(cgroup->current_bytes, 1000000);
	assert_int_equal(cgroup->swap_bytes, 20000);
	assert_int_equal(cgroup->psi_some_us, 77);
	assert_int_equal(cgroup->refault_bytes, 4 * host_page_bytes());
	close_scene(&s);
}

/* What is done to a cgroup is done to all in it. */
static void shared_cgroup_is_none(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	tree_set(&s.tree, SCOPE "/cgroup.procs", "4242\n1\n");
	find_fails(&s, -EBUSY);
	tree_set(&s.tree, SCOPE "/cgroup.procs", "4242\n");
	tree_set(&s.tree, SCOPE "/helper/cgroup.procs", "99\n");
	find_fails(&s, -EBUSY);
	guest_swap_look(&s.guest, 100 * USEC_PER_SEC);
	assert_string_equal(s.guest.swap->cgroup.path, "");
	assert_int_equal(s.guest.swap->cgroup.psi_some_us, POL_ABSENT);
	/* The root is everybody's; nor is one that is too deep believed. */
	set_cgroup(&s, "/");
	find_fails(&s, -ENOENT);
	set_cgroup(&s, "/../other");
	find_fails(&s, -ENOENT);
	set_cgroup(&s, "/machine.slice/vm.scope");
	tree_set(&s.tree, SCOPE "/helper/cgroup.procs", "");
	tree_set(&s.tree, SCOPE "/a/b/c/d/e/cgroup.procs", "");
	find_fails(&s, -EBUSY);
	close_scene(&s);
}

/* It is looked for again after a while, and at once when it is another process. */
static void cgroup_is_looked_for_again(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	guest_swap_look(&s.guest, 100 * USEC_PER_SEC);
	tree_set(&s.tree, SCOPE "/cgroup.procs", "4242\n77\n");
	guest_swap_look(&s.guest, 101 * USEC_PER_SEC);
	assert_string_equal(s.guest.swap->cgroup.path, SCOPE);
	guest_swap_look(&s.guest, 131 * USEC_PER_SEC);
	assert_string_equal(s.guest.swap->cgroup.path, "");
	s.guest.pid = 77;
	tree_set(&s.tree, "proc/77/cgroup", "0::/machine.slice/vm.scope\n");
	tree_set(&s.tree, SCOPE "/cgroup.procs", "77\n");
	guest_swap_look(&s.guest, 132 * USEC_PER_SEC);
	assert_string_equal(s.guest.swap->cgroup.path, SCOPE);
	close_scene(&s);
}

static void v1_has_none(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	s.guests.memcg.memory_v2 = false;
	find_fails(&s, -ENOENT);
	guest_swap_look(&s.guest, 100 * USEC_PER_SEC);
	assert_int_equal(s.guest.swap->cgroup.current_bytes, POL_ABSENT);
	close_scene(&s);
}

static uint64_t refaults(struct scene *s)
{
	struct pol_guest p = {0};

	guest_swap_look(&s->guest, 100 * USEC_PER_SEC);
	guest_swap_snapshot(&s->guest, &p);
	return p.refault_bytes;
}

/* Each sign alone tells of what was read back; together they are not added up. */
static void what_is_read_back(void **state)
{
	struct scene s;
	struct footprint *foot = &s.guest.foot;
	uint64_t page = host_page_bytes();

	(void)state;
	open_scene(&s);
	foot->major_faults = 1000;
	assert_int_equal(refaults(&s), 0);
	foot->major_faults += 3;
	assert_int_equal(refaults(&s), 3 * page);
	tree_set(&s.tree, SCOPE "/memory.stat", "pswpin 14\nworkingset_refault_anon 8\n");
	assert_int_equal(refaults(&s), 13 * page);
	foot->major_faults += 2;
	foot->swapped_bytes -= 20 * page;
	foot->resident_bytes += 30 * page;
	assert_int_equal(refaults(&s), 33 * page);
	/* Swap that the balloon has dropped was not read back. */
	foot->swapped_bytes -= 20 * page;
	foot->resident_bytes -= 30 * page;
	assert_int_equal(refaults(&s), 33 * page);
	/* Faults of a process that has nothing in swap are of files. */
	foot->swapped_bytes = 0;
	refaults(&s);
	foot->major_faults += 100;
	assert_int_equal(refaults(&s), 33 * page);
	/* Another process counts from anew. */
	s.guest.pid = 77;
	foot->major_faults = 1;
	assert_int_equal(refaults(&s), 33 * page);
	close_scene(&s);
}

static uint64_t reclaimable(const struct scene *s)
{
	struct pol_guest p = {0};

	guest_swap_snapshot(&s->guest, &p);
	return p.reclaimable_bytes;
}

static bool is_blind(const struct scene *s)
{
	struct pol_guest p = {0};

	guest_swap_snapshot(&s->guest, &p);
	return p.reclaim_blind;
}

/* What memd itself reads back is no sign of the guest's; how much it is comes later. */
static void what_memd_reads_back(void **state)
{
	struct scene s;
	struct footprint *foot = &s.guest.foot;
	uint64_t page = host_page_bytes();

	(void)state;
	open_scene(&s);
	assert_int_equal(refaults(&s), 0);
	s.guests.reading_back = true;
	foot->swapped_bytes -= 13 * page;
	foot->resident_bytes += 13 * page;
	assert_int_equal(refaults(&s), 0);
	s.guests.reading_back = false;
	s.guest.swap->ours_bytes = 10 * page;
	assert_int_equal(refaults(&s), 3 * page);
	foot->swapped_bytes -= page;
	foot->resident_bytes += page;
	assert_int_equal(refaults(&s), 4 * page);
	s.guest.swap->ours_bytes = 10 * page;
	assert_int_equal(refaults(&s), 4 * page);
	/* Faults of its own are the guest's, whatever memd reads. */
	s.guest.swap->ours_bytes = 10 * page;
	foot->major_faults += 3;
	tree_set(&s.tree, SCOPE "/memory.stat", "pswpin 9\nworkingset_refault_anon 8\n");
	assert_int_equal(refaults(&s), 7 * page);
	close_scene(&s);
}

static void what_may_be_read_back(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	s.guest.foot.swapped_bytes = 2000000;
	tree_set(&s.tree, SCOPE "/memory.max", "max\n");
	assert_true(guest_swap_may_read(&s.guest, GIB));
	/* It has 1000000 of: */
	tree_set(&s.tree, SCOPE "/memory.max", "5000000\n");
	assert_true(guest_swap_may_read(&s.guest, 2000000));
	assert_true(guest_swap_may_read(&s.guest, GIB));
	s.guest.foot.swapped_bytes = GIB;
	assert_false(guest_swap_may_read(&s.guest, 2000001));
	tree_set(&s.tree, SCOPE "/memory.high", "3000000\n");
	assert_true(guest_swap_may_read(&s.guest, 1000000));
	assert_false(guest_swap_may_read(&s.guest, 1000001));
	/* And of those above it, of which others may take as much as is read. */
	tree_set(&s.tree, CG "/machine.slice/memory.current", "7000000\n");
	tree_set(&s.tree, CG "/machine.slice/memory.max", "8000000\n");
	s.guest.foot.swapped_bytes = 1000;
	assert_true(guest_swap_may_read(&s.guest, 500000));
	assert_false(guest_swap_may_read(&s.guest, 500001));
	tree_set(&s.tree, CG "/machine.slice/memory.max", "6000000\n");
	assert_false(guest_swap_may_read(&s.guest, 1));
	tree_set(&s.tree, CG "/machine.slice/memory.max", "max\n");
	tree_set(&s.tree, SCOPE "/memory.high", "what\n");
	assert_false(guest_swap_may_read(&s.guest, 1));
	tree_set(&s.tree, SCOPE "/memory.high", "max\n");
	assert_true(guest_swap_may_read(&s.guest, 1));
	/* A limit holds for a cgroup that others are in, too. */
	s.guest.foot.swapped_bytes = GIB;
	tree_set(&s.tree, SCOPE "/cgroup.procs", "4242\n4243\n");
	assert_false(guest_swap_may_read(&s.guest, 2000001));
	tree_set(&s.tree, SCOPE "/memory.max", "max\n");
	assert_true(guest_swap_may_read(&s.guest, 2000001));
	/* One that we do not see. */
	set_cgroup(&s, "/../other.scope");
	assert_false(guest_swap_may_read(&s.guest, 1));
	set_cgroup(&s, "/gone.scope");
	assert_false(guest_swap_may_read(&s.guest, 1));
	set_cgroup(&s, "/machine.slice/vm.scope");
	assert_true(guest_swap_may_read(&s.guest, 1));
	s.guest.pool = true;
	assert_false(guest_swap_may_read(&s.guest, 1));
	close_scene(&s);
}

static void what_may_be_swapped_out(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s);
	assert_int_equal(reclaimable(&s), 100 * MIB);
	s.guest.foot.locked_bytes = 30 * MIB;
	assert_int_equal(reclaimable(&s), 70 * MIB);
	s.guest.foot.locked_bytes = 300 * MIB;
	assert_int_equal(reclaimable(&s), 0);
	s.guest.foot.locked_bytes = 0;
	s.guest.pool = true;
	assert_int_equal(reclaimable(&s), 0);
	s.guest.pool = false;
	s.guest.survey.pinned = "a device";
	assert_int_equal(reclaimable(&s), 0);
	assert_string_equal(guest_swap_why_not(&s.guest), "a device");
	s.guest.survey.pinned = NULL;
	/* Not looked into yet, or it cannot be. */
	s.guest.survey.full = false;
	assert_int_equal(reclaimable(&s), 0); /* whose process it is nobody knows */
	s.guest.known = true;
	s.guest.pid = 4711;
	assert_int_equal(reclaimable(&s), POL_ABSENT);
	assert_true(is_blind(&s));
	s.guests.sees_idle = true;
	assert_false(is_blind(&s));
	s.guests.sees_idle = false;
	s.guest.pool = true;
	assert_int_equal(reclaimable(&s), 0);
	s.guest.pool = false;
	s.guest.survey_us = 1;
	assert_int_equal(reclaimable(&s), 0);
	assert_false(is_blind(&s));
	s.guest.survey.full = true;
	assert_true(is_blind(&s));
	s.guest.foot.anon_bytes = POL_ABSENT;
	assert_int_equal(reclaimable(&s), POL_ABSENT);
	assert_false(is_blind(&s));
	close_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_cgroup_is_found),
		cmocka_unit_test(shared_cgroup_is_none),
		cmocka_unit_test(cgroup_is_looked_for_again),
		cmocka_unit_test(v1_has_none),
		cmocka_unit_test(what_is_read_back),
		cmocka_unit_test(what_memd_reads_back),
		cmocka_unit_test(what_may_be_read_back),
		cmocka_unit_test(what_may_be_swapped_out),
	};

	return cmocka_run_group_tests_name("memd_guest_swap", tests, NULL, NULL);
}
