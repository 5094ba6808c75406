// SPDX-License-Identifier: Apache-2.0
/*
 * Cgroups made for guests, on trees of both versions: who gets one and who does not, the note, and
 * the way back at each kind of end. The kernel's part (what a directory holds, who is in it) is
 * played by hands of the test.
 */
#include "tests/unit/tree.h"

#include "common/clock.h"
#include "memd/guest_group.h"

#define V1	"sys/fs/cgroup/memory"
#define CS	"sys/fs/cgroup/cpuset"
#define V2	"sys/fs/cgroup"
#define NOTE	"run/cgroups"
#define MINUTES (60 * USEC_PER_SEC)

static struct {
	struct tree tree;
	int rootfd;
	struct memcg memcg;
	struct nodes_cpus cpus;
	struct config config;
	struct guests all;
	struct guest guest;
	struct guest_groups *groups;
	int make_error, move_error, remove_error;
	const char *mems_now; /* what a new cpuset gets */
	char why[GUEST_NOTE_MAX];
} w;

/* ---- the kernel's part ---- */

static void set_lines(pid_t pid, const char *memory, const char *cpuset)
{
	char path[64], text[512];

	snprintf(path, sizeof(path), "proc/%d/cgroup", (int)pid);
	if (w.memcg.memory_v2)
		snprintf(text, sizeof(text), "0::%s\n", memory);
	else
		snprintf(text, sizeof(text), "9:name=systemd:/\n4:memory:%s\n3:cpuset:%s\n0::/\n",
			 memory, cpuset);
	tree_set(&w.tree, path, text);
}

static void where_is(pid_t pid, enum memcg_controller c, char *buf)
{
	assert_int_equal(memcg_path(w.rootfd, &w.memcg, c, pid, buf, MEMCG_PATH_MAX), 0);
}

static int hand_make(int rootfd, const struct memcg *memcg, unsigned int controllers,
		     const char *name)
{
	const char *where = memcg_where(memcg, (enum memcg_controller)__builtin_ctz(controllers));
	static const char *const files[] = {"cpuset.cpus", "cpuset.mems", "cpuset.memory_migrate",
					    "memory.usage_in_bytes", "memory.current"};
	char path[2 * MEMCG_PATH_MAX];

	if (w.make_error)
		return w.make_error;
	snprintf(path, sizeof(path), "%s/%s/cgroup.procs", where, name);
	if (faccessat(rootfd, path, F_OK, 0) == 0)
		return -EEXIST;
	tree_set(&w.tree, path, "");
	for (size_t i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", where, name, files[i]);
		tree_set(&w.tree, path, "");
	}
	snprintf(path, sizeof(path), "%s/%s/%s", where, name,
		 memcg_file_name(MEMCG_MEMS_NOW, memcg->cpuset_v2));
	tree_set(&w.tree, path, w.mems_now);
	return 0;
}

static int hand_remove(int rootfd, const struct memcg *memcg, unsigned int controllers,
		       const char *name)
{
	const char *where = memcg_where(memcg, (enum memcg_controller)__builtin_ctz(controllers));
	char path[2 * MEMCG_PATH_MAX], text[32] = "";

	if (w.remove_error)
		return w.remove_error;
	snprintf(path, sizeof(path), "%s/%s", where, name);
	if (faccessat(rootfd, path, F_OK, 0) < 0)
		return 0;
	strcat(path, "/cgroup.procs");
	tree_get(&w.tree, path, text, sizeof(text));
	assert_string_equal(text, "");
	*strrchr(path, '/') = '\0';
	tree_remove(&w.tree, path);
	return 0;
}

static void change_line(pid_t pid, const char *to)
{
	const char *memory_where = memcg_where(&w.memcg, MEMCG_MEMORY);
	char memory[MEMCG_PATH_MAX], cpuset[MEMCG_PATH_MAX];
	bool cs = !w.memcg.cpuset_v2 && strncmp(to, CS, strlen(CS)) == 0;

	where_is(pid, MEMCG_MEMORY, memory);
	where_is(pid, MEMCG_CPUSET, cpuset);
	snprintf(cs ? cpuset : memory, MEMCG_PATH_MAX, "%s", to);
	set_lines(pid, memory[strlen(memory_where)] ? memory + strlen(memory_where) : "/",
		  cpuset[strlen(CS)] ? cpuset + strlen(CS) : "/");
}

static int hand_move(int rootfd, pid_t pid, const char *to)
{
	char path[2 * MEMCG_PATH_MAX], text[16];

	if (w.move_error)
		return w.move_error;
	snprintf(path, sizeof(path), "%s/cgroup.procs", to);
	snprintf(text, sizeof(text), "%d\n", (int)pid);
	tree_set(&w.tree, path, text);
	change_line(pid, to);
	return 0;
}

static int hand_move_all(int rootfd, const char *dir, const char *to)
{
	char path[2 * MEMCG_PATH_MAX], text[16] = "";

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	if (faccessat(rootfd, path, F_OK, 0) < 0)
		return 0;
	tree_get(&w.tree, path, text, sizeof(text));
	tree_set(&w.tree, path, "");
	if (text[0])
		change_line((pid_t)atoi(text), to);
	return 0;
}

static const struct memcg_hands hands = {hand_make, hand_remove, hand_move, hand_move_all};

/* ---- the scene: guest web1, process 42, in a shell's cgroup with others ---- */

static void set_process(pid_t pid, uint64_t starttime, const char *cpus)
{
	char path[64], text[512];

	snprintf(path, sizeof(path), "proc/%d/stat", (int)pid);
	snprintf(text, sizeof(text),
		 "%d (qemu) S 1 1 1 0 -1 4194560 1 0 0 0 5 1 0 0 20 0 3 0 %llu 1 1 1 1 1 1 1 1 0 0 "
		 "0 0 0 0 0 17 0 0 0 0 0 0\n",
		 (int)pid, (unsigned long long)starttime);
	tree_set(&w.tree, path, text);
	snprintf(text, sizeof(text),
		 "Name:\tqemu\nState:\tS (sleeping)\nVmRSS:\t1 kB\nCpus_allowed_list:\t%s\n", cpus);
	snprintf(path, sizeof(path), "proc/%d/status", (int)pid);
	tree_set(&w.tree, path, text);
	snprintf(path, sizeof(path), "proc/%d/task/%d/status", (int)pid, (int)pid);
	tree_set(&w.tree, path, text);
}

static void open_groups(void)
{
	char dir[PATH_MAX];

	assert_int_equal(guest_groups_open(w.rootfd, &w.memcg, &hands, &w.cpus,
					   tree_path(&w.tree, "run", dir, sizeof(dir)), &w.groups),
			 0);
}

static void set_up(const char *mounts)
{
	memset(&w, 0, sizeof(w));
	w.mems_now = "0-1\n";
	w.tree = tree_new(NULL);
	w.rootfd = tree_rootfd(&w.tree);
	tree_shell("mkdir %s/run", w.tree.root);
	tree_set(&w.tree, "proc/self/mountinfo", mounts);
	tree_set(&w.tree, "sys/devices/system/cpu/online", "0-3\n");
	tree_set(&w.tree, "sys/devices/system/node/online", "0-1\n");
	tree_set(&w.tree, "sys/devices/system/node/has_memory", "0-1\n");
	tree_set(&w.tree, "sys/devices/system/node/node0/cpulist", "0-1\n");
	tree_set(&w.tree, "sys/devices/system/node/node1/cpulist", "2-3\n");
	assert_int_equal(nodes_cpus_read(w.rootfd, &w.cpus), 0);
	set_process(42, 777, "0-3");
	w.all.rootfd = w.rootfd;
	w.all.config = &w.config;
	w.guest.all = &w.all;
	w.guest.pid = 42;
	w.guest.starttime = 777;
	snprintf(w.guest.name, sizeof(w.guest.name), "web/1");
}

static int open_v1(void **state)
{
	(void)state;
	set_up("34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
	       "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
	assert_int_equal(memcg_read(w.rootfd, &w.memcg), 0);
	tree_set(&w.tree, V1 "/cgroup.procs", "1\n");
	tree_set(&w.tree, V1 "/shell/cgroup.procs", "42\n55\n");
	tree_set(&w.tree, V1 "/shell/memory.usage_in_bytes", "1\n");
	tree_set(&w.tree, V1 "/shell/memory.use_hierarchy", "1\n");
	tree_set(&w.tree, CS "/cpuset.effective_cpus", "0-3\n");
	tree_set(&w.tree, CS "/cpuset.effective_mems", "0-1\n");
	set_lines(42, "/shell", "/");
	open_groups();
	return 0;
}

static int open_v2(void **state)
{
	(void)state;
	set_up("30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
	tree_set(&w.tree, V2 "/cgroup.controllers", "cpuset cpu memory\n");
	tree_set(&w.tree, V2 "/cgroup.subtree_control", "cpuset memory\n");
	tree_set(&w.tree, V2 "/cgroup.procs", "1\n42\n");
	tree_set(&w.tree, V2 "/cpuset.cpus.effective", "0-3\n");
	tree_set(&w.tree, V2 "/cpuset.mems.effective", "0-1\n");
	assert_int_equal(memcg_read(w.rootfd, &w.memcg), 0);
	set_lines(42, "/", "/");
	open_groups();
	return 0;
}

static int shut(void **state)
{
	(void)state;
	guest_groups_close(w.groups);
	close(w.rootfd);
	tree_free(&w.tree);
	return 0;
}

static int take(const char *nodes)
{
	return guest_groups_take(w.groups, &w.guest, nodes, w.why, sizeof(w.why));
}

static void assert_at(enum memcg_controller c, const char *wanted)
{
	char path[MEMCG_PATH_MAX];

	where_is(42, c, path);
	assert_string_equal(path, wanted);
}

static bool is_there(const char *path)
{
	return faccessat(w.rootfd, path, F_OK, 0) == 0;
}

static void assert_file(const char *path, const char *text)
{
	char buf[256];

	assert_string_equal(tree_get(&w.tree, path, buf, sizeof(buf)), text);
}

/* As after kill -9. */
static void restart(void)
{
	guest_groups_close(w.groups);
	w.groups = NULL;
	open_groups();
}

/* ---- there and back ---- */

static void test_v1_made_below_where_it_was(void **state)
{
	assert_int_equal(take(""), 0);
	assert_at(MEMCG_MEMORY, V1 "/shell/memd-web_1-42");
	assert_at(MEMCG_CPUSET, CS); /* nothing to do there */
	assert_file(NOTE, "42 777 1 " V1 "/shell/memd-web_1-42");
	assert_non_null(guest_groups_find(w.groups, &w.guest));
	assert_int_equal(take(""), 0); /* it has one */
	assert_int_equal(guest_groups_leave_all(w.groups, NULL, NULL), 1);
	assert_at(MEMCG_MEMORY, V1 "/shell");
	assert_false(is_there(V1 "/shell/memd-web_1-42"));
	assert_file(NOTE, "");
	assert_null(guest_groups_find(w.groups, &w.guest));
}

static void test_v1_confined(void **state)
{
	w.mems_now = "1\n";
	assert_int_equal(take("1"), 0);
	assert_at(MEMCG_MEMORY, V1 "/shell/memd-web_1-42");
	assert_at(MEMCG_CPUSET, CS "/memd-web_1-42");
	assert_file(CS "/memd-web_1-42/cpuset.mems", "1");
	assert_file(CS "/memd-web_1-42/cpuset.cpus", "2-3");
	assert_file(CS "/memd-web_1-42/cpuset.memory_migrate", "1");
	/* Its section says otherwise now. */
	w.mems_now = "0\n";
	assert_int_equal(take("0"), 0);
	assert_file(CS "/memd-web_1-42/cpuset.mems", "0");
	assert_int_equal(take(""), 0);
	assert_at(MEMCG_CPUSET, CS);
	assert_false(is_there(CS "/memd-web_1-42"));
	assert_int_equal(guest_groups_leave_all(w.groups, NULL, NULL), 1);
}

static void test_v2_made_in_the_root(void **state)
{
	w.mems_now = "0\n";
	assert_int_equal(take("0"), 0);
	assert_at(MEMCG_MEMORY, V2 "/memd-web_1-42");
	assert_file(V2 "/memd-web_1-42/cpuset.mems", "0");
	assert_file(NOTE, "42 777 3 " V2 "/memd-web_1-42"); /* one directory for both */
	guest_groups_leave(w.groups, &w.guest);
	assert_at(MEMCG_MEMORY, V2);
	assert_false(is_there(V2 "/memd-web_1-42"));
}

/* ---- who gets none ---- */

static void assert_none(int error, const char *why)
{
	char before[MEMCG_PATH_MAX];

	where_is(42, MEMCG_MEMORY, before);
	assert_int_equal(take(""), error);
	assert_contains(w.why, why);
	assert_at(MEMCG_MEMORY, before);
	assert_false(is_there(NOTE));
}

static void test_somebody_elses_are_left_alone(void **state)
{
	set_lines(42, "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt", "/");
	assert_none(-EPERM, "its cgroup is libvirt's machine-qemu\\x2d1\\x2dweb.scope");
	set_lines(42, "/user.slice/session-3.scope", "/");
	assert_none(-EPERM, "its cgroup is systemd's unit session-3.scope");
	/* Also where systemd has made none in this hierarchy. */
	tree_set(&w.tree, "proc/42/cgroup",
		 "9:name=systemd:/system.slice/vmm.service\n4:memory:/\n3:cpuset:/\n");
	assert_none(-EPERM, "its cgroup is systemd's unit vmm.service");
	set_lines(42, "/docker/0123", "/");
	assert_none(-EPERM, "its cgroup is a container manager's docker");
	tree_remove(&w.tree, "proc/42/cgroup");
	assert_int_equal(take(""), -ESRCH);
}

static void test_its_own_is_enough(void **state)
{
	tree_set(&w.tree, V1 "/mine/cgroup.procs", "42\n");
	tree_set(&w.tree, V1 "/mine/memory.usage_in_bytes", "1\n");
	set_lines(42, "/mine", "/");
	assert_none(-EALREADY, "it has one of its own, /" V1 "/mine");
}

static void test_v1_without_hierarchy(void **state)
{
	tree_set(&w.tree, V1 "/shell/memory.use_hierarchy", "0\n");
	assert_none(-EOPNOTSUPP, "/" V1 "/shell/memory.use_hierarchy is off");
}

static void test_v2_elsewhere(void **state)
{
	tree_set(&w.tree, V2 "/shell/cgroup.procs", "42\n55\n");
	tree_set(&w.tree, V2 "/shell/memory.current", "1\n");
	set_lines(42, "/shell", "/");
	assert_none(-EOPNOTSUPP, "cgroup v2 allows no children with limits");
	set_lines(42, "/../shell", "/");
	assert_none(-EOPNOTSUPP, "out of memd's sight");
	set_lines(42, "/", "/");
	tree_set(&w.tree, V2 "/cgroup.subtree_control", "cpuset\n");
	assert_none(-EOPNOTSUPP, "/" V2 "/cgroup.subtree_control does not have memory");
	/* Of v2 all controllers change at once, and a pinned thread may lose that. */
	tree_set(&w.tree, V2 "/cgroup.subtree_control", "cpuset memory\n");
	set_process(42, 777, "1");
	assert_none(-EPERM, "pinned to processors");
}

static void test_failures_leave_nothing(void **state)
{
	w.make_error = -EROFS;
	assert_int_equal(take(""), -EROFS);
	assert_contains(w.why, "memd-web_1-42 cannot be made: Read-only file system");
	w.make_error = 0;
	w.move_error = -EINVAL;
	assert_int_equal(take(""), -EINVAL);
	assert_contains(w.why, "does not take its process");
	assert_false(is_there(V1 "/shell/memd-web_1-42"));
	w.move_error = 0;
	assert_int_equal(take("5"), -ENXIO);
	assert_contains(w.why, "there is no such node with memory here");
	assert_false(is_there(CS "/memd-web_1-42"));
	assert_false(is_there(V1 "/shell/memd-web_1-42"));
	assert_at(MEMCG_MEMORY, V1 "/shell");
	w.mems_now = "0\n"; /* the cgroup above has no more */
	assert_int_equal(take("1"), -ERANGE);
	assert_contains(w.why, "the cgroup above does not have them all");
	assert_file(NOTE, "");
	assert_null(guest_groups_find(w.groups, &w.guest));
}

/* ---- ends ---- */

static void test_goes_with_its_process(void **state)
{
	assert_int_equal(take(""), 0);
	guest_groups_tick(w.groups, clock_now_us());
	assert_true(is_there(V1 "/shell/memd-web_1-42"));
	/* It cannot be looked at, which says nothing. */
	tree_set(&w.tree, "proc/42/stat", "nonsense");
	guest_groups_tick(w.groups, clock_now_us());
	assert_true(is_there(V1 "/shell/memd-web_1-42"));
	assert_non_null(guest_groups_find(w.groups, &w.guest));
	/* It has ended, but the kernel is not through with it. */
	tree_remove(&w.tree, "proc/42/stat");
	tree_set(&w.tree, V1 "/shell/memd-web_1-42/cgroup.procs", "");
	w.remove_error = -EBUSY;
	guest_groups_tick(w.groups, clock_now_us());
	assert_true(is_there(V1 "/shell/memd-web_1-42"));
	w.remove_error = 0;
	guest_groups_tick(w.groups, clock_now_us());
	assert_false(is_there(V1 "/shell/memd-web_1-42"));
	assert_file(NOTE, "");
}

/* A pid that somebody else has by now is not taken for the guest. */
static void test_reused_pid(void **state)
{
	assert_int_equal(take(""), 0);
	tree_set(&w.tree, V1 "/shell/memd-web_1-42/cgroup.procs", "");
	set_process(42, 999, "0-3");
	guest_groups_tick(w.groups, clock_now_us());
	assert_false(is_there(V1 "/shell/memd-web_1-42"));
}

static void test_outlives_a_crash(void **state)
{
	w.mems_now = "1\n";
	assert_int_equal(take("1"), 0);
	restart();
	assert_int_equal(w.groups->n, 1);
	assert_int_equal(w.groups->v[0].n, 2);
	guest_groups_tick(w.groups, clock_now_us());
	assert_at(MEMCG_MEMORY, V1 "/shell/memd-web_1-42");
	/* The guest is found again: it stays where it is. */
	assert_int_equal(take("1"), 0);
	guest_groups_tick(w.groups, clock_now_us() + 2 * MINUTES);
	assert_at(MEMCG_CPUSET, CS "/memd-web_1-42");
	/* Killed, and it is not to be confined any more. */
	restart();
	assert_int_equal(take(""), 0);
	assert_at(MEMCG_CPUSET, CS);
	assert_at(MEMCG_MEMORY, V1 "/shell/memd-web_1-42");
	/* Killed again, and nobody claims it. */
	restart();
	guest_groups_tick(w.groups, clock_now_us() + 2 * MINUTES);
	assert_at(MEMCG_MEMORY, V1 "/shell");
	assert_at(MEMCG_CPUSET, CS);
	assert_file(NOTE, "");
}

static int told;
static char last_path[MEMCG_PATH_MAX];
static int last_error;

static void hear(void *ctx, const char *path, int error)
{
	(void)ctx;
	told++;
	last_error = error;
	snprintf(last_path, sizeof(last_path), "%s", path);
}

static void test_restored_without_a_memd(void **state)
{
	char dir[PATH_MAX];

	tree_path(&w.tree, "run", dir, sizeof(dir));
	assert_int_equal(guest_groups_restore(w.rootfd, dir, &hands, hear, NULL), 0);
	assert_int_equal(told, 0);
	w.mems_now = "1\n";
	assert_int_equal(take("1"), 0);
	w.remove_error = -EBUSY;
	assert_int_equal(guest_groups_restore(w.rootfd, dir, &hands, hear, NULL), 2);
	assert_int_equal(last_error, -EBUSY);
	w.remove_error = 0;
	told = 0;
	assert_int_equal(guest_groups_restore(w.rootfd, dir, &hands, hear, NULL), 2);
	assert_int_equal(told, 2);
	assert_int_equal(last_error, 0);
	assert_string_equal(last_path, V1 "/shell/memd-web_1-42");
	assert_at(MEMCG_MEMORY, V1 "/shell");
	assert_false(is_there(CS "/memd-web_1-42"));
	assert_file(NOTE, "");
}

/* Who could write the note could have any cgroup emptied and removed: only memd's own are. */
static void test_note_is_not_believed_blindly(void **state)
{
	tree_set(&w.tree, NOTE,
		 "42 777 1 " V1 "/shell\n"
		 "42 777 1 " V1 "/../memory/memd-x-1\n"
		 "42 777 1 sys/kernel/memd-x-1\n"
		 "42 777 9 " V1 "/memd-x-1\n"
		 "42 777 0 " V1 "/memd-x-1\n"
		 "42 777 1 " V1 "memd-x-1\n"
		 "nonsense\n"
		 "43 778 1 " V1 "/a b/memd-x-1\n");
	restart();
	assert_int_equal(w.groups->n, 1);
	assert_int_equal(w.groups->v[0].pid, 43);
	assert_string_equal(w.groups->v[0].at[0].path, V1 "/a b/memd-x-1");
}

int main(void)
{
#define ON_V1(test) cmocka_unit_test_setup_teardown(test, open_v1, shut)
#define ON_V2(test) cmocka_unit_test_setup_teardown(test, open_v2, shut)
	const struct CMUnitTest tests[] = {
		ON_V1(test_v1_made_below_where_it_was),
		ON_V1(test_v1_confined),
		ON_V2(test_v2_made_in_the_root),
		ON_V1(test_somebody_elses_are_left_alone),
		ON_V1(test_its_own_is_enough),
		ON_V1(test_v1_without_hierarchy),
		ON_V2(test_v2_elsewhere),
		ON_V1(test_failures_leave_nothing),
		ON_V1(test_goes_with_its_process),
		ON_V1(test_reused_pid),
		ON_V1(test_outlives_a_crash),
		ON_V1(test_restored_without_a_memd),
		ON_V1(test_note_is_not_believed_blindly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
