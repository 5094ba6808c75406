// SPDX-License-Identifier: Apache-2.0
/*
 * Moves carried out: a child's real threads and memory, a vmm's monitor that is scripted, a
 * topology that is made up (processors of this machine on two nodes), and what is noted for a
 * crash.
 */
#include "memd/place.h"

#include <sched.h>

#include "common/clock.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/cgroup_cpuset.h"
#include "memd/guest_qmp.h"
#include "memd/pin.h"
#include "memd/vcpus.h"
#include "tests/unit/child.h"
#include "tests/unit/monitor.h"
#include "tests/unit/tree.h"

static struct {
	struct tree tree;
	int rootfd;
	sd_event *event;
	struct config config;
	struct guests guests;
	struct memcg memcg;
	struct account account;
	struct act act;
	struct nodes_cpus cpus;
	struct place *place;
	struct monitor monitor;
	char failed[400];
	uint64_t now_us;
	/* of the scripted vmm */
	const char *status;
	bool refuse;
	uint64_t node, rate;
	unsigned int asked, cancelled;
	pid_t child, restored;
	uint64_t all[NODES_CPU_WORDS];
} w;

static void on_failed(void *ctx, const char *text)
{
	(void)ctx;
	snprintf(w.failed, sizeof(w.failed), "%s", text);
}

/* The first processor is of node 0, all others of node 1. */
static void make_topology(void)
{
	bool first = true;

	assert_int_equal(nodes_cpus_read(w.rootfd, &w.cpus), 0);
	for (size_t cpu = 0; cpu < NODES_CPUS_MAX; cpu++) {
		if (!(w.cpus.online[cpu / 64] >> cpu % 64 & 1))
			continue;
		w.cpus.node[cpu] = first ? 0 : 1;
		first = false;
	}
}

static int setup(void **state)
{
	static const struct guests_hooks hooks = {0};

	memset(&w, 0, sizeof(w));
	w.tree = tree_new(NULL);
	w.rootfd = kfile_open_root("/");
	w.status = "{\"status\":\"active\",\"longest-slice-us\":7}";
	w.config.guest_timeout_us = 2 * USEC_PER_SEC;
	snprintf(w.config.guest_globs, sizeof(w.config.guest_globs), "%s/*.qmp", w.tree.root);
	assert_true(sd_event_new(&w.event) >= 0);
	assert_int_equal(guests_init(&w.guests, w.event, &w.config, &hooks, false, w.rootfd), 0);
	w.memcg = w.guests.memcg;
	w.guests.memcg.cpuset = false; /* the machine's own has none of these nodes */
	account_init(&w.account);
	w.act = (struct act){.rootfd = w.rootfd,
			     .guests = &w.guests,
			     .account = &w.account,
			     .failed = on_failed};
	snprintf(w.act.dir, sizeof(w.act.dir), "%s", w.tree.root);
	make_topology();
	assert_int_equal(place_open(&w.act, &w.cpus, &w.place), 0);
	w.child = child_new(child_fill, &(size_t){32 * MIB});
	assert_int_equal(vcpus_allowed(w.rootfd, w.child, w.child, w.all), 0);
	w.monitor.package = "vmm 0.1.0";
	monitor_open(&w.monitor, w.tree.root, "web.qmp");
	w.now_us = clock_now_us();
	return 0;
}

static int teardown(void **state)
{
	place_close(w.place);
	guests_fini(&w.guests);
	monitor_close(&w.monitor);
	sd_event_unref(w.event);
	child_end(w.child);
	close(w.rootfd);
	tree_free(&w.tree);
	return 0;
}

static void answer(json_object *message)
{
	const char *command = json_get_str(message, "execute");
	json_object *args = json_get_obj(message, "arguments");
	uint64_t id = 0;
	char text[512];
	const char *value = NULL;

	json_get_u64(message, "id", &id);
	if (strcmp(command, "qmp_capabilities") == 0 || strcmp(command, "query-name") == 0)
		value = "{}";
	else if (strcmp(command, "query-memory-size-summary") == 0)
		value = "{\"base-memory\":33554432,\"plugged-memory\":0}";
	else if (strcmp(command, "__memd-query-place") == 0)
		value = w.status;
	if (strcmp(command, "__memd-cancel-place") == 0) {
		w.cancelled++;
		value = "{}";
	}
	if (strcmp(command, "__memd-place") == 0) {
		w.asked++;
		json_get_u64(args, "host-node", &w.node);
		json_get_u64(args, "bytes-per-second", &w.rate);
		value = w.refuse ? NULL : "{}";
	}
	if (value)
		snprintf(text, sizeof(text), "{\"return\":%s,\"id\":%llu}\r\n", value,
			 (unsigned long long)id);
	else
		snprintf(text, sizeof(text),
			 "{\"error\":{\"class\":\"GenericError\",\"desc\":\"not \\u0007now\"},"
			 "\"id\":%llu}\r\n",
			 (unsigned long long)id);
	monitor_tell(&w.monitor, text);
}

static void settle(void)
{
	monitor_settle(&w.monitor, w.event, answer);
}

/* A guest behind the monitor; its process is the child, whatever the socket says. */
static struct guest *find_guest(bool ours)
{
	struct guest *guest;

	w.monitor.package = ours ? "vmm 0.1.0" : "Debian";
	guests_scan(&w.guests, w.now_us);
	settle();
	assert_int_equal(w.guests.n, 1);
	guest = w.guests.v[0];
	assert_int_equal(guest->phase, GUEST_READY);
	guest->pid = w.child;
	guest->starttime = 4711;
	assert_int_equal(vcpus_reserve(&guest->cpus, 1), 0);
	guest->cpus.n = 1;
	guest->cpus.v[0].tid = w.child;
	guest->survey.full = true;
	guest->survey.ram_node_bytes[0] = 8 * MIB;
	guest->survey.ram_node_bytes[1] = 24 * MIB;
	return guest;
}

static void order(struct guest *guest, uint64_t to, uint64_t bytes)
{
	struct pol_action action = {.kind = POL_NUMA_MOVE,
				    .guest = guest->id,
				    .from = 1 << 1,
				    .gain_us = 5000000,
				    .to = to,
				    .to2 = bytes,
				    .to3 = 64 * MIB,
				    .reason = POL_WHY_NUMA_REMOTE};

	place_act(w.place, &action, w.now_us);
}

static void tick(void)
{
	w.now_us += USEC_PER_SEC;
	place_tick(w.place, w.now_us);
	settle();
}

static const struct account_entry *entry(const struct guest *guest)
{
	return account_last(&w.account, POL_NUMA_MOVE, guest->id);
}

static bool runs_on(const uint64_t *words)
{
	uint64_t now[NODES_CPU_WORDS];

	assert_int_equal(vcpus_allowed(w.rootfd, w.child, w.child, now), 0);
	return memcmp(now, words, sizeof(now)) == 0;
}

static void test_vmm_moves_itself(void **state)
{
	struct guest *guest = find_guest(true);
	uint64_t node0[NODES_CPU_WORDS], number;
	AUTO_JSON json_object *decisions = NULL;
	json_object *one;

	nodes_cpus_of(&w.cpus, 0, node0);
	order(guest, 0, 24 * MIB);
	settle();
	assert_int_equal(w.asked, 1);
	assert_int_equal(w.node, 0);
	assert_int_equal(w.rate, 64 * MIB);
	assert_true(guest->numa_moving);
	assert_true(runs_on(node0));
	order(guest, 0, 24 * MIB); /* one at a time */
	assert_int_equal(w.asked, 1);
	tick();
	tick();
	assert_int_equal(guest->place.status, GUEST_PLACE_ACTIVE);
	w.status = "{\"status\":\"completed\",\"longest-slice-us\":9}";
	tick();
	tick();
	assert_int_equal(guest->survey_us, 0); /* a look is wanted */
	assert_true(guest->numa_moving);
	tick();
	assert_int_equal(entry(guest)->outcome, ACCOUNT_PENDING);
	guest->survey_start_us = w.now_us + 1;
	guest->survey.ram_node_bytes[0] = 32 * MIB;
	guest->survey.ram_node_bytes[1] = 0;
	tick();
	assert_int_equal(entry(guest)->outcome, ACCOUNT_DONE);
	assert_contains(entry(guest)->text, "25.0 % of its memory was there, now 100.0 %");
	assert_false(guest->numa_moving);
	assert_int_equal(w.place->moves[0].longest_us, 9);
	decisions = account_json(&w.account, NULL, 1);
	one = json_object_array_get_idx(decisions, 0);
	assert_string_equal(json_get_str(one, "action"), "numa-move");
	assert_string_equal(json_get_str(one, "unit"), "node");
	assert_true(json_get_u64(one, "from", &number) && number == 1);
	assert_true(json_get_u64(one, "expected_gain_us", &number) && number == 5000000);

	/* At the end all is as it was. */
	assert_int_equal(pin_leave(&w.guests, w.rootfd, w.act.dir), 1);
	assert_true(runs_on(w.all));
	assert_int_equal(pin_leave(&w.guests, w.rootfd, w.act.dir), 0);
}

static void test_vmm_refuses(void **state)
{
	struct guest *guest = find_guest(true);

	w.refuse = true;
	order(guest, 0, 24 * MIB);
	settle();
	tick();
	assert_int_equal(entry(guest)->outcome, ACCOUNT_FAILED);
	assert_string_equal(entry(guest)->error, "not ?now");
	assert_contains(w.failed, "its move to node 0 failed: not ?now");
	assert_false(guest->numa_moving);
	/* The next one may come. */
	w.refuse = false;
	w.status = "{\"status\":\"failed\",\"error-desc\":\"Cannot allocate memory\"}";
	order(guest, 0, 24 * MIB);
	settle();
	tick();
	tick();
	assert_int_equal(entry(guest)->outcome, ACCOUNT_FAILED);
	assert_string_equal(entry(guest)->error, "Cannot allocate memory");
	assert_int_equal(w.place->n_moves, 2);
}

static void test_hangs_or_goes(void **state)
{
	struct guest *guest = find_guest(true);

	order(guest, 0, 24 * MIB);
	settle();
	for (int i = 0; i < 200 && w.place->active; i++) {
		w.now_us += USEC_PER_SEC;
		place_tick(w.place, w.now_us);
	}
	assert_false(w.place->active);
	assert_string_equal(entry(guest)->error, "it does not come to an end");
	guest->place.status = GUEST_PLACE_NONE;
	order(guest, 0, 24 * MIB);
	settle();
	guest->pid = w.child + 1;
	tick();
	assert_false(w.place->active);
	assert_int_equal(entry(guest)->outcome, ACCOUNT_FAILED);
}

/* A guest that is reset begins a new life under another id: its monitor is told to end the move. */
static void test_reset(void **state)
{
	struct guest *guest = find_guest(true);
	uint64_t id = guest->id;

	order(guest, 0, 24 * MIB);
	settle();
	tick();
	guest_begin_life(guest);
	assert_true(guest->id > id);
	assert_false(guest->numa_moving);
	tick();
	assert_false(w.place->active);
	assert_int_equal(w.cancelled, 1);
	assert_contains(w.place->moves[0].error, "was reset");
	order(guest, 0, 24 * MIB);
	settle();
	assert_true(guest->numa_moving);
	assert_int_equal(w.asked, 2);
}

/* memd stops or is reset: a move under way ends where it is, and nobody is asked to look. */
static void test_cancelled(void **state)
{
	struct guest *guest = find_guest(true);
	AUTO_JSON json_object *moves = NULL;

	place_cancel(w.place); /* none is under way */
	order(guest, 0, 24 * MIB);
	settle();
	tick();
	place_cancel(w.place);
	settle();
	assert_int_equal(w.cancelled, 1);
	assert_false(w.place->active);
	assert_false(guest->numa_moving);
	assert_int_equal(entry(guest)->outcome, ACCOUNT_FAILED);
	assert_contains(entry(guest)->error, "what has moved stays there");
	assert_string_equal(w.failed, ""); /* nothing that an operator has to know of */
	moves = place_moves_json(w.place);
	assert_string_equal(json_get_str(json_object_array_get_idx(moves, 0), "state"),
			    "cancelled");
	place_cancel(w.place);
	tick();
	settle();
	assert_int_equal(w.cancelled, 1);

	/* One that hangs is told to end, too, and the next may come. */
	order(guest, 0, 24 * MIB);
	settle();
	w.now_us += 200 * USEC_PER_SEC;
	place_tick(w.place, w.now_us);
	settle();
	assert_int_equal(w.cancelled, 2);
	order(guest, 0, 24 * MIB);
	settle();
	assert_int_equal(w.asked, 3);
}

/* Others are moved from outside; here there is one node, so that all is looked at and stays. */
static void test_worker_moves_others(void **state)
{
	struct guest *guest = find_guest(false);
	struct footprint foot;

	assert_int_equal(footprint_quick(w.rootfd, w.child, &foot), 0);
	guest->starttime = foot.starttime;
	order(guest, 0, 24 * MIB);
	for (int i = 0; i < 500 && w.place->moves[0].phase == PLACE_MEMORY; i++) {
		usleep(10000);
		w.now_us = clock_now_us();
		place_tick(w.place, w.now_us);
	}
	if (w.place->moves[0].phase == PLACE_FAILED && strstr(w.failed, "not implemented"))
		skip();
	assert_int_equal(w.place->moves[0].phase, PLACE_LOOK);
	assert_int_equal(w.asked, 0);
	/* A look that never comes ends it all the same. */
	w.now_us += 61 * USEC_PER_SEC;
	tick();
	assert_int_equal(entry(guest)->outcome, ACCOUNT_DONE);
	assert_int_equal(w.place->moves[0].phase, PLACE_DONE);
}

static void on_restored(void *ctx, pid_t pid, const char *list, int error)
{
	assert_int_equal(error, 0);
	assert_true(strlen(list) > 0);
	w.restored = pid;
}

/* The note again, with the child's own start time. */
static void note_starttime(void)
{
	struct footprint foot;
	char before[256], now[256], line[600];
	uint64_t node1[NODES_CPU_WORDS];

	nodes_cpus_of(&w.cpus, 1, node1);
	kfile_list_format(w.all, NODES_CPUS_MAX, before, sizeof(before));
	kfile_list_format(node1, NODES_CPUS_MAX, now, sizeof(now));
	assert_int_equal(footprint_quick(w.rootfd, w.child, &foot), 0);
	snprintf(line, sizeof(line), "nonsense\n%d %llu %s %s\n", (int)w.child,
		 (unsigned long long)foot.starttime, before, now);
	tree_set(&w.tree, "pinned", line);
}

/* Threads alone: nothing is asked of anybody. */
static void test_threads_alone(void **state)
{
	struct guest *guest = find_guest(true);
	uint64_t node1[NODES_CPU_WORDS];

	nodes_cpus_of(&w.cpus, 1, node1);
	if (!node1[0])
		skip(); /* one processor */
	order(guest, 1, 0);
	assert_true(runs_on(node1));
	assert_int_equal(w.asked, 0);
	assert_int_equal(w.place->moves[0].phase, PLACE_LOOK);

	/* A memd after a crash knows what was before; by start time, so not of another process. */
	free(guest->cpus.pin);
	guest->cpus.pin = NULL;
	guest->starttime = 4712;
	pin_recall(guest, w.act.dir);
	assert_null(guest->cpus.pin);
	guest->starttime = 4711;
	pin_recall(guest, w.act.dir);
	assert_non_null(guest->cpus.pin);
	/* Without one, `memctl reset` undoes it, but not to another process of that number. */
	w.restored = 0;
	assert_int_equal(pin_restore(w.rootfd, w.act.dir, on_restored, NULL), 0);
	assert_true(runs_on(node1));
	free(guest->cpus.pin);
	guest->cpus.pin = NULL;
	note_starttime();
	assert_int_equal(pin_restore(w.rootfd, w.act.dir, on_restored, NULL), 1);
	assert_int_equal(w.restored, w.child);
	assert_true(runs_on(w.all));
	assert_int_equal(pin_restore(w.rootfd, w.act.dir, on_restored, NULL), 0);
	w.place->active = guest->numa_moving = false;
	order(guest, 1, 0);
	assert_true(runs_on(node1));
	assert_int_equal(pin_leave(&w.guests, w.rootfd, w.act.dir), 1);
	assert_true(runs_on(w.all));
}

/* After a crash: what was noted of a process that is not found again yet stays noted. */
static void test_threads_of_others(void **state)
{
	AUTO_FD int root = tree_rootfd(&w.tree);
	struct guest *guest = find_guest(true);
	uint64_t node1[NODES_CPU_WORDS];
	struct footprint foot;
	char line[64], gone[64], note[512];

	nodes_cpus_of(&w.cpus, 1, node1);
	if (!node1[0])
		skip();
	assert_int_equal(footprint_quick(w.rootfd, getpid(), &foot), 0);
	snprintf(gone, sizeof(gone), "%d %llu 0 0\n", (int)getpid(),
		 (unsigned long long)foot.starttime - 1);
	snprintf(line, sizeof(line), "%d %llu 0 0\n", (int)getpid(),
		 (unsigned long long)foot.starttime);
	snprintf(note, sizeof(note), "%s%s", gone, line);
	tree_set(&w.tree, "pinned", note);
	pin_recall(guest, w.act.dir);
	order(guest, 1, 0);
	assert_true(kfile_read(root, "pinned", note, sizeof(note)) > 0);
	assert_contains(note, line);
	assert_null(strstr(note, gone));
	assert_contains(note, " 4711 ");
	assert_int_equal(pin_leave(&w.guests, w.rootfd, w.act.dir), 1);
	assert_true(kfile_read(root, "pinned", note, sizeof(note)) > 0);
	assert_string_equal(note, line);
}

/* The machine's own cpuset, on one with a single node: the move is not begun, and it says why. */
static void test_cpuset_without_the_node(void **state)
{
	struct guest *guest = find_guest(true);
	struct memcg_cpuset cpuset;

	w.guests.memcg = w.memcg;
	if (memcg_cpuset_of(w.rootfd, &w.memcg, w.child, &cpuset) < 0 || cpuset.mems[0] & 2)
		skip();
	order(guest, 1, 0);
	assert_int_equal(w.place->moves[0].phase, PLACE_FAILED);
	assert_contains(w.place->moves[0].error, "stands aside: cpuset /");
	assert_contains(w.place->moves[0].error, " has no node 1");
	assert_contains(w.failed, w.place->moves[0].error);
	assert_true(runs_on(w.all));
	assert_null(guest->cpus.pin);
}

/* Pinned by somebody else meanwhile: that stays. */
static void test_strangers_stay(void **state)
{
	struct guest *guest = find_guest(true);
	uint64_t node1[NODES_CPU_WORDS], node0[NODES_CPU_WORDS];
	cpu_set_t set;

	nodes_cpus_of(&w.cpus, 0, node0);
	nodes_cpus_of(&w.cpus, 1, node1);
	if (!node1[0])
		skip();
	order(guest, 1, 0);
	CPU_ZERO(&set);
	for (int cpu = 0; cpu < 64; cpu++)
		if (node0[0] >> cpu & 1)
			CPU_SET(cpu, &set);
	assert_int_equal(sched_setaffinity(w.child, sizeof(set), &set), 0);
	vcpus_look(w.rootfd, guest, &w.cpus);
	assert_true(guest->cpus.pinned);
	pin_leave(&w.guests, w.rootfd, w.act.dir);
	assert_true(runs_on(node0));
}

static void test_no_processor_there(void **state)
{
	struct guest *guest = find_guest(true);

	order(guest, 5, 24 * MIB);
	assert_int_equal(entry(guest)->outcome, ACCOUNT_FAILED);
	assert_false(w.place->active);
	assert_null(guest->cpus.pin);
	assert_true(runs_on(w.all));
}

static void test_dry_run(void **state)
{
	struct guest *guest = find_guest(true);

	w.act.dry_run = true;
	order(guest, 0, 24 * MIB);
	assert_int_equal(entry(guest)->outcome, ACCOUNT_DRY_RUN);
	assert_false(w.place->active);
	assert_int_equal(w.place->n_moves, 0);
	assert_true(runs_on(w.all));
	/* On a captured host there is nothing that moves. */
	place_act(NULL, &(struct pol_action){.guest = guest->id}, w.now_us);
	place_tick(NULL, w.now_us);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_vmm_moves_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vmm_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hangs_or_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancelled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_worker_moves_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads_of_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cpuset_without_the_node, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strangers_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_processor_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dry_run, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
