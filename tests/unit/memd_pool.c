// SPDX-License-Identifier: Apache-2.0
/*
 * Pools on a made-up host whose kernel is played by the test: the queue, the worker, the journal,
 * and the way back.
 */
#include "memd/pool.h"

#include <errno.h>
#include <inttypes.h>

#include "common/cleanup.h"
#include "common/kfile.h"
#include "common/size.h"
#include "memd/pool_work.h"
#include "policy/policy.h"
#include "tests/unit/tree.h"

#define NODE1 "sys/devices/system/node/node1/hugepages/hugepages-2048kB/"
#define HOST  "sys/kernel/mm/hugepages/hugepages-2048kB/"

static struct {
	struct tree tree;
	int rootfd;
	struct config config;
	struct guests guests;
	struct account account;
	struct act act;
	struct undo *undo;
	struct pools *pools;
	struct pol_host snapshot;
	struct pools_host host;
	uint64_t now_us;
	_Atomic uint64_t gives; /* pages the kernel has */
	_Atomic unsigned int compactions;
} w;

static void set_pool(const char *dir, const char *file, uint64_t value)
{
	char path[160], text[24];

	snprintf(path, sizeof(path), "%s%s", dir, file);
	snprintf(text, sizeof(text), "%" PRIu64 "\n", value);
	tree_set(&w.tree, path, text);
}

static uint64_t pool(const char *file)
{
	char path[160];
	uint64_t value = 0;

	snprintf(path, sizeof(path), "%s%s", NODE1, file);
	assert_int_equal(kfile_read_u64(w.rootfd, path, &value), 0);
	return value;
}

/* The kernel: what it gives is free, what it takes back was. */
static int write_pool(int rootfd, const char *path, uint64_t value)
{
	uint64_t total = pool("nr_hugepages"), free = pool("free_hugepages");

	if (strstr(path, "compact")) {
		w.compactions++;
		return kfile_write_u64(rootfd, path, value);
	}
	assert_string_equal(path, NODE1 "nr_hugepages");
	value = value > total && value > w.gives ? w.gives : value;
	assert_true(value >= total - free);
	set_pool(NODE1, "free_hugepages", free + value - total);
	set_pool(NODE1, "nr_hugepages", value);
	return 0;
}

static void make_node(unsigned int node, uint64_t free_kb)
{
	char path[160], text[200];

	snprintf(path, sizeof(path), "sys/devices/system/node/node%u/meminfo", node);
	snprintf(text, sizeof(text),
		 "Node %u MemTotal: 8388608 kB\nNode %u MemFree: %" PRIu64 " kB\n", node, node,
		 free_kb);
	tree_set(&w.tree, path, text);
	for (unsigned int i = 0; i < 3; i++) {
		static const char *const files[] = {"nr_hugepages", "free_hugepages",
						    "surplus_hugepages"};

		snprintf(path, sizeof(path),
			 "sys/devices/system/node/node%u/hugepages/hugepages-2048kB/", node);
		set_pool(path, files[i], 0);
	}
	snprintf(path, sizeof(path), "sys/devices/system/node/node%u/compact", node);
	tree_set(&w.tree, path, "");
}

static int setup(void **state)
{
	char run[PATH_MAX];

	memset(&w, 0, sizeof(w));
	w.tree = tree_new(NULL);
	w.rootfd = tree_rootfd(&w.tree);
	make_node(0, 1 << 20);
	make_node(1, 4 << 20);
	tree_set(&w.tree, "sys/devices/system/node/online", "0-1\n");
	tree_set(&w.tree, "sys/devices/system/node/has_memory", "0-1\n");
	tree_set(&w.tree, "sys/devices/system/node/has_cpu", "0-1\n");
	set_pool(HOST, "nr_hugepages", 0);
	set_pool(HOST, "free_hugepages", 0);
	set_pool(HOST, "resv_hugepages", 0);
	set_pool(HOST, "surplus_hugepages", 0);
	assert_int_equal(undo_open(tree_path(&w.tree, "run", run, sizeof(run)), "/", &w.undo), 0);
	account_init(&w.account);
	w.act = (struct act){
		.rootfd = w.rootfd, .guests = &w.guests, .account = &w.account, .undo = w.undo};
	w.config.huge_pages = POL_POOL_MANAGE;
	pol_config_default(&w.config.policy);
	w.snapshot.available_bytes = 6 * GIB;
	w.host = (struct pools_host){&w.snapshot, POL_STATE_HIGH, GIB};
	w.now_us = 1000 * 1000000ull;
	w.gives = UINT64_MAX;
	assert_int_equal(pools_open(&w.act, write_pool, &w.pools), 0);
	return 0;
}

static int teardown(void **state)
{
	pools_close(w.pools);
	undo_close(w.undo);
	close(w.rootfd);
	tree_free(&w.tree);
	return 0;
}

/* Until the worker is done. */
static void settle(void)
{
	const struct account_entry *entry = account_last(&w.account, POL_POOL, 0);

	assert_non_null(entry);
	for (int i = 0; i < 2000 && entry->outcome == ACCOUNT_PENDING; i++) {
		usleep(1000);
		pools_tick(w.pools, &w.config, &w.host, w.now_us += 1000);
		entry = account_last(&w.account, POL_POOL, 0);
	}
	assert_int_not_equal(entry->outcome, ACCOUNT_PENDING);
}

static json_object *want(uint64_t pages, uint64_t nodes, bool done)
{
	struct pools_want want = {.name = "db",
				  .key = 42,
				  .page_bytes = 2 * MIB,
				  .pages = pages,
				  .nodes = nodes,
				  .done = done};
	json_object *answer = NULL;

	assert_int_equal(pools_ask(w.pools, &w.config, &w.host, &want, w.now_us += 100000, &answer),
			 0);
	return answer;
}

static void assert_state(json_object *answer, const char *state, const char *why)
{
	assert_string_equal(json_get_str(answer, "state"), state);
	assert_contains(json_get_str(answer, "why"), why);
	json_object_put(answer);
}

static void test_work(void **state)
{
	struct pool_job job = {.write = write_pool,
			       .rootfd = w.rootfd,
			       .node = 1,
			       .page_bytes = 2 * MIB,
			       .pages = 100};
	atomic_bool cancel = false;

	pool_work_run(&job, &cancel);
	assert_int_equal(job.error, 0);
	assert_int_equal(job.before, 0);
	assert_int_equal(job.after, 100);
	assert_int_equal(pool("nr_hugepages"), 100);
	/* 60 in use, 30 of the rest reserved somewhere: asked for none, it keeps them. */
	set_pool(NODE1, "free_hugepages", 40);
	set_pool(HOST, "resv_hugepages", 30);
	job.pages = 0;
	pool_work_run(&job, &cancel);
	assert_int_equal(job.floor, 90);
	assert_int_equal(job.after, 90);
	assert_int_equal(pool("nr_hugepages"), 90);
	job.node = 5;
	pool_work_run(&job, &cancel);
	assert_int_equal(job.error, -ENOENT);
	/* Told to end: not a page more. */
	atomic_store(&cancel, true);
	job.node = 1;
	job.pages = 500;
	pool_work_run(&job, &cancel);
	assert_int_equal(pool("nr_hugepages"), 90);
}

static void test_from_ask_to_done(void **state)
{
	const struct account_entry *entry;
	json_object *doc;

	assert_state(want(256, 1 << 1, false), "waiting",
		     "node 1: 0 of 256 pages of 2 MiB are free: the pool is being enlarged");
	assert_string_equal(undo_original(w.undo, NODE1 "nr_hugepages"), "0");
	settle();
	assert_int_equal(pool("nr_hugepages"), 256);
	assert_state(want(256, 1 << 1, false), "ready", "256 of 256");
	entry = account_last(&w.account, POL_POOL, 0);
	assert_int_equal(entry->outcome, ACCOUNT_DONE);
	assert_contains(entry->text, "pages of 2 MiB on node 1: a guest waits");
	/* It has taken them. */
	set_pool(NODE1, "free_hugepages", 0);
	json_object_put(want(256, 1 << 1, true));
	doc = pools_json(w.pools, &w.config, &w.host, w.now_us);
	assert_int_equal(json_object_array_length(json_get_array(doc, "waiting")), 0);
	assert_int_equal(json_object_array_length(json_get_array(doc, "pools")), 2);
	json_object_put(doc);
	/* Gone: the pool goes back, and is then as it was found. */
	set_pool(NODE1, "free_hugepages", 256);
	pools_tick(w.pools, &w.config, &w.host, w.now_us += 1000000);
	pools_tick(w.pools, &w.config, &w.host, w.now_us += 40 * 1000000ull);
	settle();
	assert_int_equal(pool("nr_hugepages"), 0);
}

/* Between what was found and what we made of it, but somebody else's word: that stays. */
static void test_set_by_somebody_else(void **state)
{
	json_object_put(want(256, 1 << 1, false));
	settle();
	json_object_put(want(256, 1 << 1, true));
	pools_tick(w.pools, &w.config, &w.host, w.now_us += 1000000);
	/* Once is nothing: two files are read one after the other. */
	set_pool(NODE1, "surplus_hugepages", 1);
	pools_tick(w.pools, &w.config, &w.host, w.now_us += 1000000);
	set_pool(NODE1, "surplus_hugepages", 0);
	pools_tick(w.pools, &w.config, &w.host, w.now_us += 1000000);
	assert_string_equal(undo_original(w.undo, NODE1 "nr_hugepages"), "0");
	pools_tick(w.pools, &w.config, &w.host, w.now_us += 40 * 1000000ull);
	settle();
	assert_int_equal(pool("nr_hugepages"), 0);
	assert_non_null(undo_original(w.undo, NODE1 "nr_hugepages"));

	set_pool(NODE1, "nr_hugepages", 128);
	set_pool(NODE1, "free_hugepages", 128);
	for (int i = 0; i < 100; i++)
		pools_tick(w.pools, &w.config, &w.host, w.now_us += 1000000);
	assert_int_equal(pool("nr_hugepages"), 128);
	assert_null(undo_original(w.undo, NODE1 "nr_hugepages"));
	assert_int_equal(undo_restore(w.undo, w.rootfd, NULL, NULL), 0);
	assert_int_equal(pool("nr_hugepages"), 128);
	/* Enlarged again, this is what is given back. */
	json_object_put(want(256, 1 << 1, false));
	settle();
	assert_int_equal(pool("nr_hugepages"), 256);
	assert_string_equal(undo_original(w.undo, NODE1 "nr_hugepages"), "128");
}

/* The kernel has 100 of 256: refused with the numbers, and not asked every second. */
static void test_pieces(void **state)
{
	w.gives = 100;
	json_object_put(want(256, 1 << 1, false));
	settle();
	assert_int_equal(w.compactions, 1);
	assert_int_equal(account_last(&w.account, POL_POOL, 0)->outcome, ACCOUNT_FAILED);
	assert_contains(account_last(&w.account, POL_POOL, 0)->error, "100 of 256 pages");
	assert_state(want(256, 1 << 1, false), "waiting",
		     "node 1: 100 of 256 pages of 2 MiB are free: the memory there is too "
		     "fragmented");
	/* Where it may go elsewhere, the rest comes from there: but node 0 has 0.6 GiB. */
	assert_state(want(256, 0, false), "waiting", "all nodes: ");
}

static void test_refusals(void **state)
{
	struct pools_want many = {.name = "x", .page_bytes = 2 * MIB, .pages = 1 << 20};
	json_object *answer = NULL;
	int r = 0;

	assert_state(want(1 << 20, 0, false), "waiting", "has not so much memory to spare");
	w.config.huge_pages = POL_POOL_WATCH;
	assert_state(want(1 << 20, 0, false), "refused", "huge-pages=manage would let it");
	w.config.huge_pages = POL_POOL_MANAGE;
	w.host.state = POL_STATE_SOFT;
	assert_state(want(256, 0, false), "waiting", "has not so much memory to spare");
	for (many.key = 0; many.key < POL_PENDING_MAX + 1 && r == 0; many.key++) {
		r = pools_ask(w.pools, &w.config, &w.host, &many, w.now_us, &answer);
		if (r == 0)
			json_object_put(answer);
	}
	assert_int_equal(r, -EAGAIN);
	/* Who does not ask again is forgotten. */
	w.now_us += POOL_FORGET_US + 1000000;
	assert_int_equal(pools_ask(w.pools, &w.config, &w.host, &many, w.now_us, &answer), 0);
	json_object_put(answer);
}

static void test_dry_run(void **state)
{
	w.act.dry_run = true;
	w.act.undo = NULL;
	json_object_put(want(256, 1 << 1, false));
	json_object_put(want(256, 1 << 1, false));
	assert_int_equal(account_last(&w.account, POL_POOL, 0)->outcome, ACCOUNT_DRY_RUN);
	assert_int_equal(w.account.next, 2);
	assert_int_equal(pool("nr_hugepages"), 0);
}

/* ---- the way back ---- */

static enum undo_result result;
static char current[64];

static void on_report(void *ctx, const struct undo_report *report)
{
	result = report->result;
	snprintf(current, sizeof(current), "%s", report->current ? report->current : "");
}

static void test_undo(void **state)
{
	assert_int_equal(undo_record(w.undo, NODE1 "nr_hugepages", "10", "256"), 0);
	/* Less than asked for is ours, too; 40 in use and 5 reserved stay, and the rest for later.
	 */
	set_pool(NODE1, "nr_hugepages", 200);
	set_pool(NODE1, "free_hugepages", 160);
	set_pool(HOST, "resv_hugepages", 5);
	assert_int_equal(undo_restore(w.undo, w.rootfd, on_report, NULL), 0);
	assert_int_equal(result, UNDO_PARTLY);
	assert_string_equal(current, "45");
	assert_int_equal(pool("nr_hugepages"), 45);
	assert_int_equal(undo_count(w.undo), 1);
	set_pool(HOST, "resv_hugepages", 0);
	set_pool(NODE1, "free_hugepages", 45);
	assert_int_equal(undo_restore(w.undo, w.rootfd, on_report, NULL), 0);
	assert_int_equal(result, UNDO_RESTORED);
	assert_int_equal(pool("nr_hugepages"), 10);
	assert_int_equal(undo_count(w.undo), 0);
	/* Somebody has made it larger than we ever did. */
	assert_int_equal(undo_record(w.undo, NODE1 "nr_hugepages", "10", "256"), 0);
	set_pool(NODE1, "nr_hugepages", 512);
	assert_int_equal(undo_restore(w.undo, w.rootfd, on_report, NULL), 0);
	assert_int_equal(result, UNDO_LEFT);
	assert_int_equal(pool("nr_hugepages"), 512);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_work, setup, teardown),
		cmocka_unit_test_setup_teardown(test_from_ask_to_done, setup, teardown),
		cmocka_unit_test_setup_teardown(test_set_by_somebody_else, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dry_run, setup, teardown),
		cmocka_unit_test_setup_teardown(test_undo, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
