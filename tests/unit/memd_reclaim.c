// SPDX-License-Identifier: Apache-2.0
/* Reclaim's orders: by which way, of which process, and what is told of how they ended. */
#include "tests/unit/sharing_tree.h"

#include <poll.h>

#include "common/clock.h"
#include "common/size.h"
#include "memd/reclaim.h"
#include "memd/reclaim_work.h"

#define CG    "sys/fs/cgroup"
#define SCOPE CG "/vm.scope"

struct scene {
	struct tree tree;
	int rootfd;
	struct memcg memcg;
	struct reclaim_work *work;
	struct reclaim_order order;
	const struct reclaim_order *done;
};

static size_t advised;
static uint64_t faults; /* the process's, after the next advice */
static struct scene *scene;

static void set_stat(struct scene *s, uint64_t major)
{
	char path[64], text[200];

	snprintf(path, sizeof(path), "proc/%d/stat", (int)getpid());
	snprintf(text, sizeof(text),
		 "%d (vm) S 1 1 1 0 -1 0 1 0 %llu 0 5 5 0 0 20 0 1 0 900 1000000 1000\n",
		 (int)getpid(), (unsigned long long)major);
	tree_set(&s->tree, path, text);
}

static void set_status(struct scene *s, uint64_t rss_kib)
{
	char path[64], text[256];

	snprintf(path, sizeof(path), "proc/%d/status", (int)getpid());
	snprintf(text, sizeof(text),
		 "Name:\tvm\nState:\tS (sleeping)\nVmLck:\t0 kB\nVmRSS:\t%llu kB\n"
		 "RssAnon:\t%llu kB\nRssShmem:\t0 kB\nVmSwap:\t0 kB\n",
		 (unsigned long long)rss_kib, (unsigned long long)rss_kib);
	tree_set(&s->tree, path, text);
}

static ssize_t advise(int pidfd, const struct iovec *ranges, size_t n)
{
	size_t sum = 0;

	assert_true(pidfd >= 0);
	for (size_t i = 0; i < n; i++)
		sum += ranges[i].iov_len;
	advised += sum;
	set_status(scene, 65536 - advised / 1024);
	if (faults)
		set_stat(scene, faults);
	return (ssize_t)sum;
}

/* This test's process is the guest: 64 MiB, of which 32 MiB are RAM and present. */
static void open_scene(struct scene *s, bool v2)
{
	char path[64];

	*s = (struct scene){.tree = tree_new(NULL)};
	scene = s;
	advised = faults = 0;
	set_stat(s, 7);
	set_status(s, 65536);
	snprintf(path, sizeof(path), "proc/%d/maps", (int)getpid());
	tree_set(&s->tree, path, "7f0000000000-7f0002000000 rw-p 00000000 00:00 0 \n");
	for (uint64_t i = 0; i < 32 * MIB / 4096; i++)
		tree_map(&s->tree, getpid(), i, FRAME_OWN);
	s->rootfd = tree_rootfd(&s->tree);
	if (v2) {
		tree_set(&s->tree, "proc/self/mountinfo",
			 "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
		tree_set(&s->tree, CG "/cgroup.controllers", "cpu memory\n");
		snprintf(path, sizeof(path), "%d\n", (int)getpid());
		tree_set(&s->tree, SCOPE "/cgroup.procs", path);
		tree_set(&s->tree, SCOPE "/memory.swap.max", "max\n");
		tree_set(&s->tree, SCOPE "/memory.reclaim", "");
		tree_set(&s->tree, SCOPE "/memory.current", "60000000\n");
		snprintf(path, sizeof(path), "proc/%d/cgroup", (int)getpid());
		tree_set(&s->tree, path, "0::/vm.scope\n");
	}
	memcg_read(s->rootfd, &s->memcg);
	assert_int_equal(reclaim_work_open(s->rootfd, &s->memcg, advise, &s->work), 0);
	s->order = (struct reclaim_order){
		.guest = 3,
		.number = 9,
		.pid = getpid(),
		.starttime = 900,
		.bytes = 12 * MIB,
	};
}

static void close_scene(struct scene *s)
{
	reclaim_work_close(s->work);
	close(s->rootfd);
	tree_free(&s->tree);
}

static void go(struct scene *s)
{
	struct pollfd poll_fd = {.fd = reclaim_work_fd(s->work), .events = POLLIN};

	assert_int_equal(reclaim_work_start(s->work, &s->order, 1), 0);
	assert_true(reclaim_work_is_busy(s->work));
	assert_int_equal(reclaim_work_start(s->work, &s->order, 1), -EBUSY);
	assert_int_equal(poll(&poll_fd, 1, 20000), 1);
	assert_int_equal(reclaim_work_take(s->work, &s->done), 1);
	assert_false(reclaim_work_is_busy(s->work));
	assert_int_equal(s->done->guest, 3);
	assert_int_equal(s->done->number, 9);
}

static void from_outside(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s, false);
	go(&s);
	assert_int_equal(s.done->error, 0);
	assert_int_equal(s.done->way, RECLAIM_PAGEOUT);
	assert_int_equal(advised, 12 * MIB);
	assert_int_equal(s.done->done_bytes, 12 * MIB);
	assert_false(s.done->refaults);
	assert_int_equal(reclaim_work_bytes(s.work), 12 * MIB);
	assert_true(reclaim_work_us(s.work) > 0);
	close_scene(&s);
}

/* A guest that reads back while it is being sent out is left alone. */
static void ends_when_it_is_read_back(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s, false);
	faults = 7 + 8 * 256; /* 8 MiB of them */
	go(&s);
	assert_true(s.done->refaults);
	assert_int_equal(advised, 8 * MIB);
	close_scene(&s);
}

/* The pid is another process's by now, or nobody's. */
static void another_process(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s, false);
	s.order.starttime = 901;
	go(&s);
	assert_int_equal(s.done->error, -ESRCH);
	assert_int_equal(advised, 0);
	s.order.pid = 0x3ffffff;
	go(&s);
	assert_int_equal(s.done->error, -ESRCH);
	close_scene(&s);
}

/* Devices that write to its memory by themselves want it to stay. */
static void pinned_process(void **state)
{
	struct scene s;

	(void)state;
	open_scene(&s, false);
	tree_shell("mkdir -p %s/proc/%d/fd; ln -s /dev/vfio/12 %s/proc/%d/fd/9", s.tree.root,
		   (int)getpid(), s.tree.root, (int)getpid());
	go(&s);
	assert_int_equal(s.done->error, -EBUSY);
	assert_int_equal(advised, 0);
	close_scene(&s);
}

static void own_cgroup(void **state)
{
	struct scene s;
	char text[64];

	(void)state;
	open_scene(&s, true);
	go(&s);
	assert_int_equal(s.done->error, 0);
	assert_int_equal(s.done->way, RECLAIM_CGROUP);
	assert_int_equal(advised, 0);
	assert_string_equal(tree_get(&s.tree, SCOPE "/memory.reclaim", text, sizeof(text)),
			    "4194304 swappiness=200"); /* the last piece */
	/* Moved there with what it has charged elsewhere. */
	tree_set(&s.tree, SCOPE "/memory.current", "4096\n");
	go(&s);
	assert_int_equal(s.done->way, RECLAIM_PAGEOUT);
	tree_set(&s.tree, SCOPE "/memory.current", "60000000\n");
	advised = 0;
	set_status(&s, 65536);
	/* With somebody else in it, it is not the guest's alone. */
	tree_set(&s.tree, SCOPE "/cgroup.procs", "1\n");
	go(&s);
	assert_int_equal(s.done->way, RECLAIM_PAGEOUT);
	assert_int_equal(advised, 12 * MIB);
	close_scene(&s);
}

static uint64_t held_now(void *ctx, enum pol_action_kind kind, uint64_t id)
{
	(void)ctx;
	(void)kind;
	(void)id;
	return 64 * MIB;
}

/* Marked idle, and looked at ten seconds later: unless the host cannot wait. */
static void want_does_not_wait(void **state)
{
	static const struct pol_action action = {.kind = POL_RECLAIM,
						 .guest = 3,
						 .gain_bytes = 12 * MIB,
						 .rung = POL_RUNG_RECLAIM,
						 .reason = POL_WHY_RECLAIM};
	static struct account account;
	struct pol_plan plan = {.state = POL_STATE_SOFT};
	struct guests guests = {0};
	struct act act = {.account = &account, .guests = &guests};
	const struct account_entry *entry;
	struct scene s;
	uint64_t start_us;

	(void)state;
	open_scene(&s, false);
	for (uint64_t i = 0; i < 32 * MIB / 4096; i++)
		tree_map(&s.tree, getpid(), i, FRAME_OWN | (1000 + i));
	tree_set(&s.tree, "sys/kernel/mm/page_idle/bitmap", "");
	account_init(&account);
	act.reclaim = s.work;
	s.order.number = account_add(&account, &action, "vm", 64 * MIB, 1, 0, 1, ACCOUNT_PENDING);
	entry = account_last(&account, POL_RECLAIM, 3);
	assert_int_equal(reclaim_work_start(s.work, &s.order, 1), 0);
	start_us = clock_now_us();
	usleep(100000);
	reclaim_act(&act, &plan, 0);
	usleep(100000);
	reclaim_act_done(&act);
	/* What is under way has brought nothing yet, which is not its fault. */
	account_measure(&account, ACCOUNT_RECLAIM_US, 0, held_now, NULL);
	assert_int_equal(entry->outcome, ACCOUNT_PENDING);
	assert_true(entry->open);
	plan.state = POL_STATE_HARD;
	reclaim_act(&act, &plan, 0);
	while (entry->outcome == ACCOUNT_PENDING) {
		usleep(1000);
		reclaim_act_done(&act);
	}
	assert_true(clock_now_us() - start_us < PAGEOUT_AGE_US);
	assert_int_equal(entry->outcome, ACCOUNT_FAILED);
	assert_contains(entry->error, "could not wait");
	account_measure(&account, 2 * ACCOUNT_RECLAIM_US, 0, held_now, NULL);
	assert_true(entry->measured_bytes == POL_ABSENT);
	assert_int_equal(advised, 0);
	/* What is for any memory is worked on. */
	s.order.any = true;
	assert_int_equal(reclaim_work_start(s.work, &s.order, 1), 0);
	reclaim_act(&act, &plan, 0);
	while (!reclaim_work_take(s.work, &s.done))
		usleep(1000);
	assert_int_equal(advised, 12 * MIB);
	assert_false(s.done->hurried);
	close_scene(&s);
}

/* Of what is in swap, what remains taken of it. */
static void what_is_taken(void **state)
{
	struct guest guest = {.foot_valid = true};
	struct act act = {.swap_cost_ppm = 250000};

	(void)state;
	guest.foot.resident_bytes = 100 * MIB;
	guest.foot.swapped_bytes = 80 * MIB;
	assert_int_equal(reclaim_taken_bytes(&act, &guest), 120 * MIB);
	act.swap_cost_ppm = POL_ABSENT;
	assert_int_equal(reclaim_taken_bytes(&act, &guest), 100 * MIB);
	guest.foot_valid = false;
	assert_int_equal(reclaim_taken_bytes(&act, &guest), POL_ABSENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_outside),	   cmocka_unit_test(ends_when_it_is_read_back),
		cmocka_unit_test(another_process), cmocka_unit_test(pinned_process),
		cmocka_unit_test(own_cgroup),	   cmocka_unit_test(want_does_not_wait),
		cmocka_unit_test(what_is_taken),
	};

	return cmocka_run_group_tests_name("memd_reclaim", tests, NULL, NULL);
}
