// SPDX-License-Identifier: Apache-2.0
/*
 * Merging switched by the policy's word: guests by a scripted monitor behind a real socket, KSM's
 * files on a captured tree, and what is remembered of it across a crash.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/undo.h"
#include "memd/chunk.h"
#include "memd/guest_qmp.h"
#include "memd/host.h"
#include "memd/merge.h"
#include "memd/unmerge.h"
#include "tests/unit/monitor.h"
#include "tests/unit/tree.h"

#define KSM "sys/kernel/mm/ksm/"
#define VMM_RUNS                                                                       \
	"{\"runs\":[{\"gpa\":0,\"length\":8388608,\"merge\":true,\"memdev\":\"ram0\"," \
	"\"host-address\":1048576}]}"

struct backend {
	const char *id;
	bool merge, share;
};

static struct {
	struct tree tree;
	sd_event *event;
	struct host *host;
	struct undo *undo;
	struct account account;
	struct config config;
	struct config_guest sections[3];
	struct guests guests;
	struct act act;
	char failed[512], dir[128];

	struct monitor monitor;
	bool refuse;
	char ranges[1024]; /* last asked for */
	struct backend backends[12];
	size_t n;
	unsigned int sets, asked;
	/* from the hooks */
	unsigned int done;
	int error;
	uint64_t cookie;
} w;

static void on_failed(void *ctx, const char *text)
{
	(void)ctx;
	snprintf(w.failed, sizeof(w.failed), "%s", text);
}

static void on_merge(void *ctx, struct guest *guest, uint64_t cookie, int error, const char *desc)
{
	(void)ctx;
	w.done++;
	w.cookie = cookie;
	w.error = error;
	merge_act_done(&w.act, guest, cookie, error, desc);
}

static int setup(void **state)
{
	static const struct guests_hooks hooks = {.merge_done = on_merge};

	(void)state;
	memset(&w, 0, sizeof(w));
	w.tree = tree_new("npt-6.12");
	tree_set(&w.tree, KSM "run", "1\n");
	tree_set(&w.tree, KSM "merge_across_nodes", "1\n");
	w.config.guest_timeout_us = 2 * USEC_PER_SEC;
	w.config.guests = w.sections;
	snprintf(w.config.guest_globs, sizeof(w.config.guest_globs), "%s/*.qmp", w.tree.root);
	assert_true(sd_event_new(&w.event) >= 0);
	assert_int_equal(
		guests_init(&w.guests, w.event, &w.config, &hooks, false, tree_rootfd(&w.tree)), 0);
	assert_int_equal(host_open(w.tree.root, &w.host), 0);
	tree_path(&w.tree, "run", w.dir, sizeof(w.dir));
	assert_int_equal(undo_open(w.dir, &w.undo), 0);
	account_init(&w.account);
	w.act = (struct act){
		.rootfd = host_rootfd(w.host),
		.undo = w.undo,
		.ksm = host_ksm(w.host),
		.guests = &w.guests,
		.account = &w.account,
		.failed = on_failed,
	};
	snprintf(w.act.dir, sizeof(w.act.dir), "%s", w.dir);
	w.monitor.package = "Debian";
	monitor_open(&w.monitor, w.tree.root, "web1.qmp");
	w.backends[0] = (struct backend){"ram0", true, false};
	w.backends[1] = (struct backend){"ram1", true, false};
	w.backends[2] = (struct backend){"off", false, false}; /* its owner wants it so */
	w.n = 3;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close(w.guests.rootfd);
	guests_fini(&w.guests);
	monitor_close(&w.monitor);
	unmerge_free(w.act.unmerge);
	undo_close(w.undo);
	host_close(w.host);
	sd_event_unref(w.event);
	tree_free(&w.tree);
	return 0;
}

static json_object *memdevs(void)
{
	json_object *list = json_object_new_array();

	w.asked++;
	for (size_t i = 0; i < w.n; i++) {
		json_object *one = json_object_new_object();

		if (w.backends[i].id)
			json_add_str(one, "id", w.backends[i].id);
		json_add_bool(one, "merge", w.backends[i].merge);
		json_add_bool(one, "share", w.backends[i].share);
		json_object_array_add(list, one);
	}
	return list;
}

/* NULL: refused. */
static json_object *set_merge(json_object *args)
{
	const char *path = json_get_str(args, "path");

	w.sets++;
	assert_string_equal(json_get_str(args, "property"), "merge");
	assert_memory_equal(path, "/objects/", 9);
	for (size_t i = 0; i < w.n; i++)
		if (!w.refuse && strcmp(w.backends[i].id, path + 9) == 0) {
			assert_true(json_get_bool(args, "value", &w.backends[i].merge));
			return json_object_new_object();
		}
	return NULL;
}

static json_object *value_of(const char *command, json_object *args)
{
	if (strcmp(command, "query-memory-size-summary") == 0)
		return json_tokener_parse("{\"base-memory\":536870912,\"plugged-memory\":0}");
	if (strcmp(command, "query-memdev") == 0)
		return memdevs();
	if (strcmp(command, "qom-set") == 0)
		return set_merge(args);
	if (strcmp(command, "__memd-query-merge") == 0)
		return json_tokener_parse(VMM_RUNS);
	if (strcmp(command, "__memd-merge") == 0) {
		json_object *ranges = json_get_array(args, "ranges");

		snprintf(w.ranges, sizeof(w.ranges), "%s",
			 json_object_to_json_string_ext(ranges, JSON_C_TO_STRING_PLAIN));
		w.backends[0].merge = strstr(w.ranges, "true") != NULL;
		return w.refuse ? NULL : json_object_new_object();
	}
	if (strcmp(command, "qom-list") == 0 || strcmp(command, "query-memory-devices") == 0)
		return json_object_new_array();
	return strcmp(command, "query-balloon") == 0 ? NULL : json_object_new_object();
}

static void answer(json_object *message)
{
	const char *command = json_get_str(message, "execute");
	AUTO_JSON json_object *reply = json_object_new_object();
	json_object *value = value_of(command, json_get_obj(message, "arguments"));
	uint64_t id = 0;

	assert_true(json_get_u64(message, "id", &id));
	if (value)
		json_object_object_add(reply, "return", value);
	else
		json_object_object_add(
			reply, "error",
			json_tokener_parse("{\"class\":\"GenericError\",\"desc\":\"not here\"}"));
	json_add_u64(reply, "id", id);
	monitor_tell(&w.monitor, json_object_to_json_string(reply));
	monitor_tell(&w.monitor, "\r\n");
}

static void settle(void)
{
	monitor_settle(&w.monitor, w.event, answer);
}

static struct guest *ready(void)
{
	for (int i = 0; i < 2; i++) {
		guests_scan(&w.guests, clock_now_us());
		guests_poll(&w.guests, clock_now_us());
		settle();
	}
	assert_int_equal(w.guests.n, 1);
	assert_int_equal(w.guests.v[0]->phase, GUEST_READY);
	return w.guests.v[0];
}

static struct pol_guest snapshot(uint64_t later_us)
{
	struct pol_guest one;
	bool any;

	assert_int_equal(guests_snapshot(&w.guests, clock_now_us() + later_us, &one, 1, &any), 1);
	return one;
}

/* A look at the process's mappings, begun now. */
static void look(struct guest *guest, uint64_t marked_bytes)
{
	guest->survey = (struct footprint){.full = true,
					   .marked_bytes = marked_bytes,
					   .bound_mask = 2,
					   .seen_mask = 3,
					   .mergeable = true};
	guest->survey_start_us = guest->survey_us = clock_now_us() + 1;
}

static void order(struct guest *guest, enum pol_action_kind kind, uint64_t to, uint64_t to2)
{
	struct pol_action action = {.kind = kind,
				    .guest = guest ? guest->id : 0,
				    .to = to,
				    .to2 = to2,
				    .reason = POL_WHY_DOMAIN_OTHER};
	struct pol_plan plan = {.actions = &action, .n_actions = 1};

	act_plan(&w.act, &plan, clock_now_us());
	settle();
}

static enum account_outcome outcome_of(uint64_t number)
{
	assert_int_equal(w.account.ring[number].number, number);
	return w.account.ring[number].outcome;
}

static void assert_file(const char *name, const char *value)
{
	char path[128], text[64];

	snprintf(path, sizeof(path), KSM "%s", name);
	assert_string_equal(tree_get(&w.tree, path, text, sizeof(text)), value);
}

/* ---- guests ---- */

static void test_off_and_on(void **state)
{
	struct guest *guest = ready();
	struct pol_guest p = snapshot(0);

	(void)state;
	assert_true(p.merge_on && p.merge_switch);
	assert_false(pol_has(p.marked_bytes)); /* not looked at yet: may be anything, anywhere */
	assert_false(pol_has(p.bound_mask));
	look(guest, 512 << 20);
	p = snapshot(0);
	assert_int_equal(p.marked_bytes, 512 << 20);
	assert_int_equal(p.bound_mask, 2);

	w.asked = 0;
	order(guest, POL_MERGE, 0, 0);
	assert_int_equal(w.sets, 2);
	assert_int_equal(w.asked, 1); /* and what it says now */
	assert_int_equal(w.done, 1);
	assert_int_equal(w.error, 0);
	assert_int_equal(outcome_of(1), ACCOUNT_DONE);
	assert_false(w.backends[0].merge || w.backends[1].merge || w.backends[2].merge);
	assert_int_equal(guest->survey_us, 0); /* to be looked at at once */
	p = snapshot(0);
	assert_true(!p.merge_on && p.merge_switch && !p.mergeable);
	assert_false(pol_has(p.marked_bytes)); /* the look before says nothing any more */
	assert_string_equal(guest->merge_reason, "it was started with merge=off");
	look(guest, 0);
	assert_int_equal(snapshot(0).marked_bytes, 0);
	order(guest, POL_MERGE, 0, 0);
	assert_int_equal(outcome_of(2), ACCOUNT_UNNEEDED);

	/* On again: those that were, and no other. */
	order(guest, POL_MERGE, 1, 0);
	assert_true(w.backends[0].merge && w.backends[1].merge && !w.backends[2].merge);
	p = snapshot(0);
	assert_true(p.merge_on && p.merge_switch);
	assert_false(pol_has(p.marked_bytes));
}

static void test_started_off_is_not_ours(void **state)
{
	struct pol_guest p;

	(void)state;
	w.backends[0].merge = w.backends[1].merge = false;
	ready();
	p = snapshot(0);
	assert_false(p.merge_on || p.merge_switch);
	order(w.guests.v[0], POL_MERGE, 1, 0);
	assert_int_equal(w.sets, 0);
	assert_int_equal(outcome_of(1), ACCOUNT_UNNEEDED);
}

static void test_refused(void **state)
{
	struct guest *guest = ready();

	(void)state;
	w.refuse = true;
	order(guest, POL_MERGE, 0, 0);
	assert_int_equal(w.done, 1);
	assert_int_equal(outcome_of(1), ACCOUNT_FAILED);
	assert_contains(w.failed, "not here");
	assert_true(snapshot(0).merge_on);
	assert_false(snapshot(0).merge_switch);
	assert_true(snapshot(100 * USEC_PER_SEC).merge_switch); /* another try, later */
}

static void test_broken_off(void **state)
{
	struct guest *guest = ready();

	(void)state;
	w.monitor.silent = true;
	order(guest, POL_MERGE, 0, 0);
	assert_int_equal(w.done, 0);
	assert_false(pol_has(snapshot(0).marked_bytes));
	order(guest, POL_MERGE, 1, 0); /* one at a time */
	assert_int_equal(outcome_of(2), ACCOUNT_FAILED);
	guest_qmp_drop(guest, "test");
	assert_int_equal(w.done, 1);
	assert_int_equal(w.error, -EPIPE);
	assert_int_equal(outcome_of(1), ACCOUNT_FAILED);
	order(guest, POL_MERGE, 0, 0);
	assert_int_equal(outcome_of(3), ACCOUNT_FAILED);
}

static void test_backends_that_cannot_be_named(void **state)
{
	struct guest *guest;

	(void)state;
	w.backends[1].id = NULL;
	guest = ready();
	assert_true(snapshot(0).merge_on);
	assert_false(snapshot(0).merge_switch);
	order(guest, POL_MERGE, 0, 0);
	assert_int_equal(w.sets, 0);
	assert_int_equal(outcome_of(1), ACCOUNT_FAILED);
}

static void test_too_many_backends(void **state)
{
	(void)state;
	for (size_t i = 0; i < 12; i++)
		w.backends[i] = (struct backend){"r", i == 11, false};
	w.n = 12;
	ready();
	assert_true(snapshot(0).merge_on);
	assert_false(snapshot(0).merge_switch);
}

static void test_dry_run(void **state)
{
	struct guest *guest = ready();

	(void)state;
	w.act.dry_run = true;
	order(guest, POL_MERGE, 0, 0);
	order(NULL, POL_KSM_NODES, 0, 1);
	assert_int_equal(w.sets, 0);
	assert_file("run", "1");
	assert_int_equal(outcome_of(1), ACCOUNT_DRY_RUN);
	assert_int_equal(outcome_of(2), ACCOUNT_DRY_RUN);
}

/* Another memd, which has seen nothing, knows what the one before has switched off. */
static void test_remembered(void **state)
{
	struct guest *guest = ready();

	(void)state;
	order(guest, POL_MERGE, 0, 0);
	for (size_t i = 0; i < 3; i++)
		guest->backends[i].ours = false;
	assert_false(snapshot(0).merge_switch);
	merge_recall(guest, w.dir);
	assert_true(snapshot(0).merge_switch);
	assert_true(guest->backends[0].ours && guest->backends[1].ours && !guest->backends[2].ours);
	/* Another process with the same pid is another guest. */
	guest->backends[0].ours = guest->backends[1].ours = false;
	guest->starttime++;
	merge_recall(guest, w.dir);
	assert_false(snapshot(0).merge_switch);
	merge_recall(guest, "/nonexistent");
	assert_int_equal(merge_keep(&w.guests, "/nonexistent"), -ENOENT);
}

static void add_section(size_t i, const char *name, const char *domain, uint32_t number)
{
	snprintf(w.sections[i].name, sizeof(w.sections[i].name), "%s", name);
	snprintf(w.sections[i].domain, sizeof(w.sections[i].domain), "%s", domain);
	w.sections[i].domain_number = number;
	w.config.n_guests = i + 1;
}

static void test_left_as_found(void **state)
{
	struct guest *guest = ready();

	(void)state;
	order(guest, POL_MERGE, 0, 0);
	merge_leave(&w.act);
	settle();
	assert_true(w.backends[0].merge && w.backends[1].merge && !w.backends[2].merge);
}

/* Guests of two domains: what is off stays off, whoever sets KSM afterwards. */
static void test_left_apart(void **state)
{
	struct guest *guest = ready(), other = {.merge_asked = true};

	(void)state;
	order(guest, POL_MERGE, 0, 0);
	add_section(0, "web1", "a", 1);
	snprintf(other.name, sizeof(other.name), "other");
	w.guests.v[w.guests.n++] = &other;
	merge_leave(&w.act);
	settle();
	assert_false(w.backends[0].merge || w.backends[1].merge);
	w.guests.n--;
}

static void test_unsorted(void **state)
{
	struct guest other = {.listed = true, .pid = 99};
	const struct guest *culprit = NULL;

	(void)state;
	ready();
	w.guests.v[w.guests.n++] = &other;
	assert_false(merge_is_unsorted(&w.guests, NULL)); /* no domains in use */
	add_section(0, "web1", "a", 1);
	assert_true(merge_is_unsorted(&w.guests, &culprit));
	assert_ptr_equal(culprit, &other);
	/* The kernel has nothing of it marked, or there is nobody. */
	other.survey.full = true;
	assert_false(merge_is_unsorted(&w.guests, NULL));
	other.survey.marked_bytes = 4096;
	assert_true(merge_is_unsorted(&w.guests, NULL));
	other.listed = false;
	assert_false(merge_is_unsorted(&w.guests, NULL));
	w.guests.n--;
}

static void test_domain_of_a_guest(void **state)
{
	(void)state;
	add_section(0, "x", "", 0);
	add_section(1, "web1", "b", 2);
	ready();
	assert_int_equal(snapshot(0).domain, 2);
	assert_string_equal(config_domain_name(&w.config, 2), "b");
	assert_string_equal(config_domain_name(&w.config, 0), "");
	assert_string_equal(config_domain_name(&w.config, 77), "");
	assert_int_equal(config_domain(&w.config, "x"), 0);
	assert_int_equal(config_domain(&w.config, "nobody"), 0);
}

/* A vmm guest is merged by chunks: off until sampled, then those chosen, off and on as a whole. */
static void test_by_chunks(void **state)
{
#define RANGE(gpa, length, merge) "{\"gpa\":" gpa ",\"length\":" length ",\"merge\":" merge "}"
	struct guest *guest;

	(void)state;
	w.monitor.package = "vmm 0.1.0";
	w.n = 1;
	guest = ready();
	chunk_poll(&w.guests);
	settle();
	assert_true(chunk_is_used(guest));
	assert_true(snapshot(0).merge_on);
	chunk_poll(&w.guests);
	settle();
	assert_string_equal(w.ranges, "[" RANGE("0", "8388608", "false") "]");
	assert_false(guest->merge_asked);
	assert_true(snapshot(0).merge_on && snapshot(0).merge_switch); /* allowed all the same */

	guest->chunks->on[2] = guest->chunks->dirty = true;
	chunk_poll(&w.guests);
	settle();
	assert_string_equal(w.ranges, "[" RANGE("0", "4194304", "false") "," RANGE(
					      "4194304", "2097152",
					      "true") "," RANGE("6291456", "2097152", "false") "]");
	assert_true(guest->merge_asked);
	w.ranges[0] = '\0';
	chunk_poll(&w.guests); /* nothing new, nothing said */
	settle();
	assert_string_equal(w.ranges, "");

	order(guest, POL_MERGE, 0, 0);
	assert_string_equal(w.ranges, "[" RANGE("0", "8388608", "false") "]");
	assert_true(!snapshot(0).merge_on && snapshot(0).merge_switch);
	guest->chunks->dirty = true; /* a new choice waits for its turn */
	w.ranges[0] = '\0';
	chunk_poll(&w.guests);
	settle();
	assert_string_equal(w.ranges, "");
	order(guest, POL_MERGE, 1, 0);
	assert_contains(w.ranges, RANGE("4194304", "2097152", "true"));
	assert_true(snapshot(0).merge_on);
	assert_int_equal(w.sets, 0);

	/* At the end all of it is as it was. */
	merge_leave(&w.act);
	settle();
	assert_int_equal(w.sets, 1);
	assert_true(w.backends[0].merge);
	assert_false(chunk_is_used(guest));
}

/* One of the older vmm, or merge-unit=guest. */
static void test_not_by_chunks(void **state)
{
	(void)state;
	w.monitor.package = "vmm 0.1.0";
	w.config.merge_unit = CONFIG_MERGE_GUEST;
	ready();
	chunk_poll(&w.guests);
	settle();
	assert_null(w.guests.v[0]->chunks);
	order(w.guests.v[0], POL_MERGE, 0, 0);
	assert_int_equal(w.sets, 2);
}

/* ---- nodes ---- */

static void test_nodes(void **state)
{
	(void)state;
	order(NULL, POL_KSM_NODES, 0, 0);
	assert_file("merge_across_nodes", "0");
	assert_file("run", "1");
	assert_string_equal(undo_original(w.undo, KSM "merge_across_nodes"), "1");
	assert_int_equal(outcome_of(1), ACCOUNT_DONE);
	assert_int_equal(act_restore(&w.act, NULL), 0);
	assert_file("merge_across_nodes", "1");
}

/* All is unmerged first, by a thread, journalled: then the value. */
static void test_unmerge_first(void **state)
{
	int error;

	(void)state;
	order(NULL, POL_KSM_NODES, 0, 1);
	assert_non_null(w.act.unmerge);
	while (!unmerge_is_done(w.act.unmerge, &error))
		usleep(1000);
	assert_int_equal(error, 0);
	assert_file("run", "2");
	assert_file("merge_across_nodes", "1");
	assert_string_equal(undo_original(w.undo, KSM "run"), "1");
	order(NULL, POL_KSM_NODES, 0, 0);
	assert_null(w.act.unmerge);
	assert_file("merge_across_nodes", "0");
	assert_int_equal(act_restore(&w.act, NULL), 0);
	assert_file("run", "1");
	assert_file("merge_across_nodes", "1");
}

static void test_unmerge_fails(void **state)
{
	char path[160];
	int error;

	(void)state;
	tree_path(&w.tree, KSM "run", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/full", path), 0);
	/* It cannot even be read: nothing is begun. */
	order(NULL, POL_KSM_NODES, 0, 1);
	assert_null(w.act.unmerge);
	assert_int_equal(outcome_of(1), ACCOUNT_FAILED);
	assert_contains(w.failed, "merge_across_nodes");
	/* A write that the kernel refuses is told at the next order. */
	assert_int_equal(unmerge_start(w.act.rootfd, KSM "no-such-file", &w.act.unmerge), 0);
	while (!unmerge_is_done(w.act.unmerge, &error))
		usleep(1000);
	assert_int_equal(error, -ENOENT);
	order(NULL, POL_KSM_NODES, 0, 1);
	assert_int_equal(outcome_of(2), ACCOUNT_FAILED);
	assert_null(w.act.unmerge);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_off_and_on),
		TEST(test_started_off_is_not_ours),
		TEST(test_refused),
		TEST(test_broken_off),
		TEST(test_backends_that_cannot_be_named),
		TEST(test_too_many_backends),
		TEST(test_dry_run),
		TEST(test_remembered),
		TEST(test_left_as_found),
		TEST(test_left_apart),
		TEST(test_unsorted),
		TEST(test_domain_of_a_guest),
		TEST(test_by_chunks),
		TEST(test_not_by_chunks),
		TEST(test_nodes),
		TEST(test_unmerge_first),
		TEST(test_unmerge_fails),
	};

	return cmocka_run_group_tests_name("memd_merge", tests, NULL, NULL);
}
