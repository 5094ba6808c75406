/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of merging as memd carries it out: a guest by a scripted monitor behind a real socket,
 * KSM's files on a captured tree.
 */
#ifndef MEMD_TESTS_MERGE_WORLD_H
#define MEMD_TESTS_MERGE_WORLD_H

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

static inline void merge_on_failed(void *ctx, const char *text)
{
	(void)ctx;
	snprintf(w.failed, sizeof(w.failed), "%s", text);
}

static inline void merge_on_switched(void *ctx, struct guest *guest, uint64_t cookie, int error,
				     const char *desc)
{
	(void)ctx;
	w.done++;
	w.cookie = cookie;
	w.error = error;
	merge_act_done(&w.act, guest, cookie, error, desc);
}

static inline int merge_setup(void **state)
{
	static const struct guests_hooks hooks = {.merge_done = merge_on_switched};

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
	assert_int_equal(undo_open(w.dir, "/", &w.undo), 0);
	account_init(&w.account);
	w.act = (struct act){
		.rootfd = host_rootfd(w.host),
		.undo = w.undo,
		.ksm = host_ksm(w.host),
		.guests = &w.guests,
		.account = &w.account,
		.failed = merge_on_failed,
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

static inline int merge_teardown(void **state)
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

static inline json_object *merge_memdevs(void)
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
static inline json_object *merge_set(json_object *args)
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

static inline json_object *merge_value_of(const char *command, json_object *args)
{
	if (strcmp(command, "query-memory-size-summary") == 0)
		return json_tokener_parse("{\"base-memory\":536870912,\"plugged-memory\":0}");
	if (strcmp(command, "query-memdev") == 0)
		return merge_memdevs();
	if (strcmp(command, "qom-set") == 0)
		return merge_set(args);
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

static inline void merge_answer(json_object *message)
{
	const char *command = json_get_str(message, "execute");
	AUTO_JSON json_object *reply = json_object_new_object();
	json_object *value = merge_value_of(command, json_get_obj(message, "arguments"));
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

static inline void merge_settle(void)
{
	monitor_settle(&w.monitor, w.event, merge_answer);
}

static inline struct guest *merge_ready(void)
{
	for (int i = 0; i < 2; i++) {
		guests_scan(&w.guests, clock_now_us());
		guests_poll(&w.guests, clock_now_us());
		merge_settle();
	}
	assert_int_equal(w.guests.n, 1);
	assert_int_equal(w.guests.v[0]->phase, GUEST_READY);
	return w.guests.v[0];
}

static inline struct pol_guest merge_snapshot(uint64_t later_us)
{
	struct pol_guest one;
	bool any;

	assert_int_equal(guests_snapshot(&w.guests, clock_now_us() + later_us, &one, 1, &any), 1);
	return one;
}

/* A look at the process's mappings, begun now. */
static inline void merge_look(struct guest *guest, uint64_t marked_bytes)
{
	guest->survey = (struct footprint){.full = true,
					   .marked_bytes = marked_bytes,
					   .bound_mask = 2,
					   .seen_mask = 3,
					   .mergeable = true};
	guest->survey_start_us = guest->survey_us = clock_now_us() + 1;
}

static inline void merge_order(struct guest *guest, enum pol_action_kind kind, uint64_t to,
			       uint64_t to2)
{
	struct pol_action action = {.kind = kind,
				    .guest = guest ? guest->id : 0,
				    .to = to,
				    .to2 = to2,
				    .reason = POL_WHY_DOMAIN_OTHER};
	struct pol_plan plan = {.actions = &action, .n_actions = 1};

	act_plan(&w.act, &plan, clock_now_us());
	merge_settle();
}

static inline enum account_outcome merge_outcome_of(uint64_t number)
{
	assert_int_equal(w.account.ring[number].number, number);
	return w.account.ring[number].outcome;
}

static inline void merge_assert_file(const char *name, const char *value)
{
	char path[128], text[64];

	snprintf(path, sizeof(path), KSM "%s", name);
	assert_string_equal(tree_get(&w.tree, path, text, sizeof(text)), value);
}

#define MERGE_TEST(test) cmocka_unit_test_setup_teardown(test, merge_setup, merge_teardown)

#endif
